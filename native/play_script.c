/* play_script.c - what played backends say: acts, shared by the listeners and connections that hold them. */
#include "play.h"

void rf_played_script_drop(struct script *script)
{
    if (script == NULL || --script->holders > 0)
        return;
    free(script->acts);
    free(script->blob);
    free(script);
}

struct script *rf_played_script_new(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from,
                                    const uint8_t *blob, uint32_t blob_len)
{
    struct script *script = calloc(1, sizeof *script);
    if (script == NULL)
        return NULL;
    script->holders = 1;
    script->acts_len = acts_len;
    script->repeat_from = repeat_from;
    script->acts = malloc(acts_len * sizeof *acts);
    script->blob = malloc((size_t)blob_len + 1);
    if (script->acts == NULL || script->blob == NULL) {
        rf_played_script_drop(script);
        return NULL;
    }
    memcpy(script->acts, acts, acts_len * sizeof *acts);
    if (blob_len > 0)
        memcpy(script->blob, blob, blob_len);
    return script;
}

/* The first act of the next connection; moves on behind the last act of its dialogue. */
const rf_play_act *rf_played_script_take(struct listener *listener)
{
    const struct script *script = listener->script;
    const rf_play_act *first = &script->acts[listener->next_act];
    while (script->acts[listener->next_act].then == RF_PLAY_NEXT) /* ends: the last act of a script is another one */
        listener->next_act++;
    if (++listener->next_act == script->acts_len)
        listener->next_act = script->repeat_from;
    return first;
}

/* The first act that cannot be played; <acts_len>: all can. The last one, and the one before a round, end a dialogue. */
uint32_t rf_played_script_bad_act(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from, uint32_t blob_len)
{
    for (uint32_t i = 0; i < acts_len; i++) {
        uint32_t last_then = i + 1 == acts_len || i + 1 == repeat_from ? RF_PLAY_RST : RF_PLAY_NEXT;
        if (acts[i].when > RF_PLAY_NEVER || acts[i].then > last_then || acts[i].bytes > RF_PLAY_REQUEST_MAX ||
            acts[i].reply.at > blob_len || acts[i].reply.len > blob_len - acts[i].reply.at)
            return i;
    }
    return acts_len;
}
