/* play.c - plays backends: listeners that answer as they were told, for benches, the demo and tests.
 *
 * One thread with one epoll plays them all. A connection costs accept, one read, one write, one epoll_ctl and a
 * close: HAProxy withholds the last ACK of a handshake, so its request has mostly come when accept() returns, and is
 * read before the connection is given to epoll; its RST is then told as an event and closed without a read.
 * Listeners are level-triggered (a batch may leave some behind), connections edge-triggered.
 *
 * Callers and the thread share one lock, which the thread holds while it works on a batch of events and never while
 * it sleeps. Connections live in a pool that is used last in, first out, so a few hot ones serve any rate.
 */
#include "play.h"

#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

enum {
    BATCH = 256,  /* events a turn */
    DUE_MAX = 256 /* timers a turn */
};

/* --- the thread -------------------------------------------------------------------------------------- */

static int sleep_ms(rf_play *play)
{
    uint64_t next = rf_wheel_next_ms(play->wheel);
    if (play->starved && play->starved_until_ms < next)
        next = play->starved_until_ms;
    if (next == RF_NEVER)
        return -1;
    return next <= play->now_ms ? 0 : next - play->now_ms > 60000 ? 60000 : (int)(next - play->now_ms);
}

static void play_turn(rf_play *play, const struct epoll_event *events, int events_len)
{
    uint32_t due[DUE_MAX];
    play->now_ns = rf_played_clock(CLOCK_MONOTONIC);
    play->now_ms = play->now_ns / RF_NS_PER_MS;
    for (int i = 0; i < events_len; i++) {
        uint64_t data = events[i].data.u64;
        uint64_t count;
        if (data >> 56 == FOR_CONNECTION)
            rf_played_event_of(play, data, events[i].events);
        else if (data >> 56 == FOR_LISTENER)
            rf_played_listener_event(play, &play->listeners[(uint32_t)data]);
        else if (read(play->wake, &count, sizeof count) < 0)
            continue; /* somebody else's wake-up was taken already */
    }
    int32_t due_len = rf_wheel_advance(play->wheel, play->now_ms, due, DUE_MAX);
    for (int32_t i = 0; i < due_len; i++)
        if (play->connections[due[i]].fd >= 0)
            rf_played_due(play, &play->connections[due[i]]);
    if (play->starved && play->now_ms >= play->starved_until_ms) {
        play->starved = false;
        rf_played_watch_listeners(play, true);
    }
}

static void *play_thread(void *argument)
{
    rf_play *play = argument;
    struct epoll_event events[BATCH];
    int wait_ms = 0;
    for (bool stop = false; !stop;) {
        int n = epoll_wait(play->epoll, events, BATCH, wait_ms);
        pthread_mutex_lock(&play->lock);
        play_turn(play, events, n > 0 ? n : 0);
        wait_ms = sleep_ms(play);
        stop = play->stop;
        pthread_mutex_unlock(&play->lock);
    }
    return NULL;
}

static void wake(rf_play *play)
{
    uint64_t one = 1;
    ssize_t written = write(play->wake, &one, sizeof one);
    (void)written; /* the counter is full only while a wake-up is under way */
}

static int start_thread(rf_play *play, int32_t cpu)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&play->thread, NULL, play_thread, play);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0 && cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        pthread_setaffinity_np(play->thread, sizeof set, &set); /* as good as it gets: a missing core is no error */
    }
    return error;
}

static void play_free(rf_play *play)
{
    for (uint32_t i = 0; i < play->listeners_len; i++) {
        struct listener *listener = &play->listeners[i];
        rf_played_shut_door(play, listener);
        if (listener->fd >= 0)
            close(listener->fd);
        rf_played_script_drop(listener->script);
        rf_played_delays_drop(listener->delays);
        free(listener->kept);
    }
    if (play->epoll >= 0)
        close(play->epoll);
    if (play->wake >= 0)
        close(play->wake);
    rf_wheel_free(play->wheel);
    free(play->listeners);
    free(play->connections);
    free(play->inputs);
    free(play->notes);
    pthread_mutex_destroy(&play->lock);
    free(play);
}

rf_play *rf_play_open(uint32_t listeners_max, uint32_t connections_max, int32_t cpu)
{
    RF_ASSERT(listeners_max > 0 && connections_max > 0 && connections_max < RF_NONE && cpu < CPU_SETSIZE);
    rf_play *play = calloc(1, sizeof *play);
    if (play == NULL)
        goto no_memory;
    pthread_mutex_init(&play->lock, NULL);
    play->epoll = epoll_create1(EPOLL_CLOEXEC);
    play->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    play->now_ms = rf_played_clock(CLOCK_MONOTONIC) / RF_NS_PER_MS;
    play->wall_ns = rf_played_clock(CLOCK_MONOTONIC);
    play->listeners_max = listeners_max;
    play->connections_max = connections_max;
    play->listeners = calloc(listeners_max, sizeof *play->listeners);
    play->connections = calloc(connections_max, sizeof *play->connections);
    play->inputs = malloc(connections_max * sizeof *play->inputs);
    play->wheel = rf_wheel_new(connections_max, play->now_ms);
    if (play->listeners == NULL || play->connections == NULL || play->inputs == NULL || play->wheel == NULL)
        goto no_memory;
    for (uint32_t i = 0; i < connections_max; i++) {
        play->connections[i].fd = -1;
        play->connections[i].next_free = i + 1 < connections_max ? i + 1 : RF_NONE;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = rf_played_event(FOR_WAKE, 0, 0)};
    int error = EMFILE;
    if (play->epoll >= 0 && play->wake >= 0 && epoll_ctl(play->epoll, EPOLL_CTL_ADD, play->wake, &event) == 0)
        error = start_thread(play, cpu);
    if (error == 0)
        return play;
    rf_refuse(RF_ERRNO, error, "rf_play_open: %s", strerror(error));
    play_free(play);
    return NULL;
no_memory:
    rf_refuse(RF_NOMEM, ENOMEM, "rf_play_open: out of memory");
    if (play != NULL)
        play_free(play);
    return NULL;
}

void rf_play_close(rf_play *play)
{
    if (play == NULL)
        return;
    pthread_mutex_lock(&play->lock);
    play->stop = true;
    pthread_mutex_unlock(&play->lock);
    wake(play);
    pthread_join(play->thread, NULL);
    for (uint32_t i = 0; i < play->connections_max; i++)
        if (play->connections[i].fd >= 0)
            rf_played_close(play, &play->connections[i], true);
    play_free(play);
}

/* --- calls of other threads -------------------------------------------------------------------------- */

int32_t rf_play_listen(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out, uint16_t *port_out)
{
    union any_address unused;
    if (rf_played_address(at, &unused) == 0)
        return rf_refuse(RF_BAD, 0, "rf_play_listen: no such address");
    pthread_mutex_lock(&play->lock);
    int32_t result = rf_played_add_listener(play, at, backlog > INT32_MAX ? INT32_MAX : backlog, listener_out, port_out);
    pthread_mutex_unlock(&play->lock);
    return result;
}

static int32_t no_listener(uint32_t listener)
{
    return rf_refuse(RF_STALE, 0, "there is no listener %u", listener);
}

int32_t rf_play_script(rf_play *play, uint32_t listener, const rf_play_act *acts, uint32_t acts_len,
                       uint32_t repeat_from, const uint8_t *blob, uint32_t blob_len)
{
    if (acts_len == 0 || acts_len > RF_PLAY_ACTS_MAX || repeat_from >= acts_len)
        return rf_refuse(RF_BAD, 0, "rf_play_script: %u acts, from act %u on again", acts_len, repeat_from);
    uint32_t bad = rf_played_script_bad_act(acts, acts_len, repeat_from, blob_len);
    if (bad < acts_len)
        return rf_refuse(RF_BAD, 0, "rf_play_script: act %u cannot be played", bad);
    struct script *script = rf_played_script_new(acts, acts_len, repeat_from, blob, blob_len);
    if (script == NULL)
        return rf_refuse(RF_NOMEM, ENOMEM, "rf_play_script: out of memory");
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            rf_played_script_drop(play->listeners[i].script);
            play->listeners[i].script = script;
            play->listeners[i].next_act = 0;
            rf_played_note(play, i, RF_PLAY_TURNED, rf_played_clock(CLOCK_MONOTONIC), 0);
            script->holders++;
            result = RF_OK;
        }
    rf_played_script_drop(script);
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_door(rf_play *play, uint32_t listener, int32_t door)
{
    if (door < RF_PLAY_OPEN || door > RF_PLAY_DEAF)
        return rf_refuse(RF_BAD, 0, "rf_play_door: no door %d", door);
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            rf_played_shut_door(play, &play->listeners[i]);
            result = door == RF_PLAY_REFUSE ? RF_OK : rf_played_open_door(play, &play->listeners[i], door);
            if (result != RF_OK)
                break;
            rf_played_note(play, i, RF_PLAY_TURNED, rf_played_clock(CLOCK_MONOTONIC), 0);
        }
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_counts(rf_play *play, uint32_t listener, rf_play_tally *out)
{
    int32_t result = listener == RF_NONE ? RF_OK : RF_STALE;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            const rf_play_tally *tally = &play->listeners[i].tally;
            out->accepts += tally->accepts;
            out->requests += tally->requests;
            out->answers += tally->answers;
            out->bytes_in += tally->bytes_in;
            out->bytes_out += tally->bytes_out;
            out->resets += tally->resets;
            out->ends += tally->ends;
            out->overlong += tally->overlong;
            out->open += tally->open;
            result = RF_OK;
        }
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_request(rf_play *play, uint32_t listener, uint32_t back, uint8_t *out, uint32_t out_max)
{
    int32_t result = -1;
    pthread_mutex_lock(&play->lock);
    const struct listener *from = listener < play->listeners_len ? &play->listeners[listener] : NULL;
    if (from != NULL && from->kept != NULL && back < RF_PLAY_KEPT && back < from->tally.requests) {
        const struct kept *kept = &from->kept[(from->tally.requests - 1 - back) % RF_PLAY_KEPT];
        result = (int32_t)(kept->len < out_max ? kept->len : out_max);
        memcpy(out, kept->bytes, (size_t)result);
    }
    pthread_mutex_unlock(&play->lock);
    return result;
}

int32_t rf_play_times(rf_play *play, uint32_t listener, uint64_t *out_ns, uint32_t out_max)
{
    uint32_t len = 0;
    pthread_mutex_lock(&play->lock);
    if (listener < play->listeners_len) {
        const struct listener *from = &play->listeners[listener];
        uint64_t accepts = from->tally.accepts;
        uint32_t most = out_max < RF_PLAY_TIMES ? out_max : RF_PLAY_TIMES;
        len = accepts < most ? (uint32_t)accepts : most;
        for (uint32_t i = 0; i < len; i++)
            out_ns[i] = from->times_ns[(accepts - len + i) % RF_PLAY_TIMES];
    }
    pthread_mutex_unlock(&play->lock);
    return (int32_t)len;
}

void rf_play_busy(rf_play *play, uint64_t *cpu_ns, uint64_t *wall_ns)
{
    clockid_t clock;
    uint64_t cpu_now = 0;
    pthread_mutex_lock(&play->lock);
    if (pthread_getcpuclockid(play->thread, &clock) == 0)
        cpu_now = rf_played_clock(clock);
    uint64_t wall_now = rf_played_clock(CLOCK_MONOTONIC);
    *cpu_ns = cpu_now - play->cpu_ns;
    *wall_ns = wall_now - play->wall_ns;
    play->cpu_ns = cpu_now;
    play->wall_ns = wall_now;
    pthread_mutex_unlock(&play->lock);
}
