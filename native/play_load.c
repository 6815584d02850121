/* play_load.c - how long played answers take, and what was seen: latency distributions, capacity, notes. */
#include "play.h"

enum { WAITING_MAX = 10000 }; /* requests that wait, as far as they make the service slower */

/* splitmix64: good enough to draw from a table, and repeatable. */
static uint64_t draw(rf_play *play)
{
    uint64_t mixed = play->random += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

/* Joins the queue of a listener that answers one after another. Returns the wait until its answer, microseconds. */
static uint64_t queue_us(struct listener *listener, uint64_t now_us)
{
    uint64_t left_us = listener->busy_until_us > now_us ? listener->busy_until_us - now_us : 0;
    uint64_t waiting = left_us / listener->service_us;
    if (waiting > WAITING_MAX)
        waiting = WAITING_MAX;
    uint64_t service_us = listener->service_us + listener->service_us * waiting * listener->drop_pct / 100;
    listener->busy_until_us = now_us + left_us + service_us;
    return left_us + service_us;
}

uint32_t rf_played_delay_ms(rf_play *play, struct listener *listener)
{
    uint64_t us = 0;
    if (listener->delays != NULL)
        us += listener->delays->us[draw(play) % listener->delays->len];
    if (listener->service_us > 0)
        us += queue_us(listener, play->now_ns / 1000);
    if (us == 0)
        return 0;
    us += draw(play) % 1000;
    return us / 1000 > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)(us / 1000);
}

void rf_played_delays_drop(struct delays *delays)
{
    if (delays != NULL && --delays->holders == 0)
        free(delays);
}

void rf_played_note(rf_play *play, uint32_t listener, uint32_t what, uint64_t at_ns, uint64_t took_ns)
{
    if (play->notes == NULL)
        return;
    if (play->notes_in - play->notes_out == RF_PLAY_NOTES) {
        play->notes_lost++;
        return;
    }
    play->notes[play->notes_in++ % RF_PLAY_NOTES] =
        (rf_play_note){.at_ns = at_ns, .took_ns = took_ns, .listener = listener, .what = what};
}

/* --- calls of other threads -------------------------------------------------------------------------- */

int32_t rf_play_latency(rf_play *play, uint32_t listener, const uint32_t *delays_us, uint32_t delays_len, uint64_t seed)
{
    if (delays_len > RF_PLAY_DELAYS_MAX)
        return rf_refuse(RF_BAD, 0, "rf_play_latency: %u delays, at most %d", delays_len, RF_PLAY_DELAYS_MAX);
    struct delays *delays = NULL;
    if (delays_len > 0) {
        delays = malloc(sizeof *delays + delays_len * sizeof delays->us[0]);
        if (delays == NULL)
            return rf_refuse(RF_NOMEM, ENOMEM, "rf_play_latency: out of memory");
        *delays = (struct delays){.holders = 1, .len = delays_len};
        memcpy(delays->us, delays_us, delays_len * sizeof delays->us[0]);
    }
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    play->random = seed;
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            rf_played_delays_drop(play->listeners[i].delays);
            play->listeners[i].delays = delays;
            if (delays != NULL)
                delays->holders++;
            result = RF_OK;
        }
    rf_played_delays_drop(delays);
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? rf_refuse(RF_STALE, 0, "there is no listener %u", listener) : result;
}

int32_t rf_play_capacity(rf_play *play, uint32_t listener, uint32_t service_us, uint32_t drop_pct)
{
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            play->listeners[i].service_us = service_us;
            play->listeners[i].drop_pct = drop_pct;
            play->listeners[i].busy_until_us = 0;
            rf_played_note(play, i, RF_PLAY_TURNED, rf_played_clock(CLOCK_MONOTONIC), 0);
            result = RF_OK;
        }
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? rf_refuse(RF_STALE, 0, "there is no listener %u", listener) : result;
}

int32_t rf_play_notes(rf_play *play, rf_play_note *out, uint32_t out_max, uint64_t *lost_out)
{
    uint32_t len = 0;
    pthread_mutex_lock(&play->lock);
    if (play->notes == NULL)
        play->notes = malloc(RF_PLAY_NOTES * sizeof *play->notes);
    while (play->notes != NULL && len < out_max && play->notes_out < play->notes_in)
        out[len++] = play->notes[play->notes_out++ % RF_PLAY_NOTES];
    *lost_out = play->notes_lost;
    bool without = play->notes == NULL;
    pthread_mutex_unlock(&play->lock);
    return without ? rf_refuse(RF_NOMEM, ENOMEM, "rf_play_notes: out of memory") : (int32_t)len;
}
