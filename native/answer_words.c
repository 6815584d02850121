/* answer_words.c - see answer_words.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answer_words.h"
#include "internal.h"

bool rf_words_open(struct rf_words *words)
{
    memset(words->buckets, 0xff, sizeof words->buckets);
    words->peers = calloc(RF_ANSWER_PEERS_MAX, sizeof *words->peers);
    return words->peers != NULL;
}

void rf_words_close(struct rf_words *words)
{
    free(words->peers);
}

/* --- whom a text asks for ------------------------------------------------------------------------------------------ */

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

/* The next word of a text, from *at on; its length. */
static uint32_t next_word(const char *text, uint32_t len, uint32_t *at, const char **word)
{
    while (*at < len && is_blank(text[*at]))
        (*at)++;
    const uint32_t from = *at;
    while (*at < len && !is_blank(text[*at]))
        (*at)++;
    *word = text + from;
    return *at - from;
}

/* A word as it can be shown to people and kept in a file. */
static void copy_plain(char out[RF_ANSWER_TAG_MAX + 1], const char *word, uint32_t len)
{
    for (uint32_t i = 0; i < len && i < RF_ANSWER_TAG_MAX; i++)
        out[i] = word[i] > ' ' && word[i] <= '~' ? word[i] : '?';
}

void rf_words_read(const struct rf_words *words, const char *text, uint32_t len, uint64_t services, uint32_t fallback,
                   struct rf_asked *out)
{
    *out = (struct rf_asked){.service = fallback};
    uint32_t at = 0;
    const char *name, *tag;
    const uint32_t name_len = next_word(text, len, &at, &name);
    if (name_len == 0)
        return;
    out->unknown = true;
    for (uint32_t i = 0; i < words->names_len; i++) {
        const struct rf_answer_name *known = &words->names[i];
        if (known->len != name_len || memcmp(known->text, name, name_len) != 0 || (services >> known->service & 1) == 0)
            continue;
        out->service = known->service;
        out->unknown = false;
        break;
    }
    if (out->unknown)
        copy_plain(out->word, name, name_len);
    const uint32_t tag_len = next_word(text, len, &at, &tag);
    copy_plain(out->tag, tag, tag_len);
}

/* --- peers --------------------------------------------------------------------------------------------------------- */

static uint32_t bucket_of(const uint8_t ip[16], const char *tag)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ ip[i]) * 16777619u;
    for (; *tag != '\0'; tag++)
        hash = (hash ^ (uint8_t)*tag) * 16777619u;
    return hash % RF_ANSWER_BUCKETS;
}

static void unhash(struct rf_words *words, uint32_t index)
{
    uint32_t *at = &words->buckets[bucket_of(words->peers[index].ip, words->peers[index].tag)];
    while (*at != index)
        at = &words->peers[*at].next;
    *at = words->peers[index].next;
}

/* The place for another peer: a new one, or that of whoever is owed nothing and has not come for longest. */
static uint32_t place_for_peer(struct rf_words *words)
{
    if (words->peers_len < RF_ANSWER_PEERS_MAX)
        return words->peers_len++;
    uint32_t found = 0;
    for (uint32_t i = 1; i < words->peers_len; i++) {
        const struct rf_peer *peer = &words->peers[i], *best = &words->peers[found];
        const bool owing = peer->owing > 0, best_owing = best->owing > 0;
        if (owing != best_owing ? !owing : peer->seen_ns < best->seen_ns)
            found = i;
    }
    unhash(words, found);
    return found;
}

struct rf_peer *rf_words_peer(struct rf_words *words, const uint8_t ip[16], const char *tag)
{
    const uint32_t bucket = bucket_of(ip, tag);
    for (uint32_t at = words->buckets[bucket]; at != RF_NONE; at = words->peers[at].next) {
        if (memcmp(words->peers[at].ip, ip, 16) == 0 && strcmp(words->peers[at].tag, tag) == 0)
            return &words->peers[at];
    }
    const uint32_t index = place_for_peer(words);
    struct rf_peer *peer = &words->peers[index];
    memset(peer, 0, sizeof *peer);
    memcpy(peer->ip, ip, 16);
    memcpy(peer->tag, tag, strlen(tag) + 1);
    peer->next = words->buckets[bucket];
    words->buckets[bucket] = index;
    return peer;
}

/* --- what is said -------------------------------------------------------------------------------------------------- */

static void set_owed(struct rf_peer *peer, uint32_t service, uint32_t owed)
{
    peer->owing += owed > 0;
    peer->owing -= peer->told[service].owed > 0;
    peer->told[service].unreported |= peer->told[service].owed != owed;
    peer->told[service].owed = owed;
}

void rf_words_pick(struct rf_words *words, struct rf_peer *peer, uint32_t service, uint64_t now_ns, struct rf_spoken *out)
{
    const rf_answer *answer = &words->answers[service];
    *out = (struct rf_spoken){.stale = now_ns > answer->good_until_ns};
    const bool owed = peer->told[service].owed > 0;
    const bool same = owed && peer->told[service].known && peer->told[service].word == answer->word;
    out->ready = answer->takes == 0 && owed;
    const bool news = answer->takes > 0 ? !same : out->ready;
    const uint32_t which = (out->stale ? (uint32_t)RF_ANSWER_STALE : 0u) + (news ? (uint32_t)RF_ANSWER_NEWS : 0u);
    const uint32_t len = answer->len[which];
    if (len == 0)
        return;
    memcpy(out->line, answer->line[which], len);
    out->line[len] = '\n';
    out->len = len + 1;
    if (answer->takes > 0)
        set_owed(peer, service, answer->takes);
}

bool rf_words_sent(struct rf_words *words, struct rf_peer *peer, uint32_t service, const struct rf_spoken *spoken,
                   uint64_t now_ns)
{
    const uint32_t word = words->answers[service].word;
    if (spoken->ready)
        set_owed(peer, service, peer->told[service].owed - 1);
    if (!peer->told[service].known || peer->told[service].word != word)
        peer->told[service].unreported = 1;
    peer->told[service].known = 1;
    peer->told[service].word = word;
    peer->told[service].at_ns = peer->seen_ns = now_ns;
    if (!peer->told[service].unreported)
        return false;
    if (words->told_len == RF_ANSWER_TOLD_MAX) {
        words->told_lost++; /* it stays unreported: its next answer reports it */
        return true;
    }
    peer->told[service].unreported = 0;
    rf_told *told = &words->told[words->told_len++];
    *told = (rf_told){.service = service, .word = word, .owed = peer->told[service].owed, .at_ns = now_ns};
    memcpy(told->ip, peer->ip, 16);
    memcpy(told->tag, peer->tag, sizeof told->tag);
    return true;
}
