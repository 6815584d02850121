/* wheel.c - timers of one millisecond, in four wheels of 256.
 *
 * A timer due within 256 ms lies in the first wheel at its own millisecond; later ones lie in a coarser wheel and
 * are moved down ("cascaded") when their block begins. Every timer is an index into one array, linked into its
 * bucket's list, so that setting and unsetting cost a few stores whatever the number of timers. Timers of one
 * millisecond come out in the order in which they were set: those that cascade were set earlier than any that was
 * set into the finer wheel directly, hence they go in front.
 */
#include <string.h>

#include "internal.h"

enum { LEVELS = 4, BITS = 8, BUCKETS = 1 << BITS, MASK = BUCKETS - 1, WORDS = BUCKETS / 64 };
enum { SEARCH_MAX = 32 }; /* timers looked at to sleep longer */

struct node {
    uint64_t due_ms;
    uint32_t next, prev;
    uint32_t bucket; /* 1 + level * BUCKETS + index, or 0 while it is not set, so that memory nobody touched is right */
};
struct bucket {
    uint32_t head, tail;
};
struct rf_wheel {
    uint64_t base_ms; /* every timer due before it has come out */
    uint32_t timers_max;
    struct node *nodes;
    struct bucket buckets[LEVELS * BUCKETS];
    uint64_t filled[LEVELS][WORDS];
};

rf_wheel *rf_wheel_new(uint32_t timers_max, uint64_t now_ms)
{
    rf_wheel *wheel = calloc(1, sizeof *wheel);
    if (wheel == NULL)
        return NULL;
    wheel->base_ms = now_ms;
    for (uint32_t i = 0; i < LEVELS * BUCKETS; i++)
        wheel->buckets[i] = (struct bucket){RF_NONE, RF_NONE};
    wheel->timers_max = timers_max;
    wheel->nodes = calloc(timers_max, sizeof *wheel->nodes);
    if (wheel->nodes == NULL) {
        rf_wheel_free(wheel);
        return NULL;
    }
    return wheel;
}

void rf_wheel_free(rf_wheel *wheel)
{
    if (wheel == NULL)
        return;
    free(wheel->nodes);
    free(wheel);
}

static uint32_t bucket_for(const rf_wheel *wheel, uint64_t due_ms)
{
    const uint64_t delta = due_ms - wheel->base_ms;
    for (uint32_t level = 0; level < LEVELS; level++) {
        if (delta < (UINT64_C(1) << (BITS * (level + 1))))
            return level * BUCKETS + (uint32_t)((due_ms >> (BITS * level)) & MASK);
    }
    /* Further than the wheels reach: wait in the last bucket of the coarsest and be placed again from there. */
    const uint64_t far = wheel->base_ms + (UINT64_C(1) << (BITS * LEVELS)) - 1;
    return (LEVELS - 1) * BUCKETS + (uint32_t)((far >> (BITS * (LEVELS - 1))) & MASK);
}

static void mark(rf_wheel *wheel, uint32_t bucket, bool filled)
{
    uint64_t *word = &wheel->filled[bucket / BUCKETS][(bucket & MASK) / 64];
    const uint64_t bit = UINT64_C(1) << (bucket & 63);
    *word = filled ? *word | bit : *word & ~bit;
}

void wheel_push(rf_wheel *wheel, uint32_t timer, uint64_t due_ms)
{
    struct node *node = &wheel->nodes[timer];
    RF_ASSERT(node->bucket == 0);
    node->due_ms = due_ms < wheel->base_ms ? wheel->base_ms : due_ms;
    const uint32_t index = bucket_for(wheel, node->due_ms);
    struct bucket *bucket = &wheel->buckets[index];
    node->bucket = index + 1;
    node->next = RF_NONE;
    node->prev = bucket->tail;
    if (bucket->tail == RF_NONE)
        bucket->head = timer;
    else
        wheel->nodes[bucket->tail].next = timer;
    bucket->tail = timer;
    mark(wheel, index, true);
}

void rf_wheel_unset(rf_wheel *wheel, uint32_t timer)
{
    RF_ASSERT(timer < wheel->timers_max);
    struct node *node = &wheel->nodes[timer];
    if (node->bucket == 0)
        return;
    struct bucket *bucket = &wheel->buckets[node->bucket - 1];
    if (node->prev == RF_NONE)
        bucket->head = node->next;
    else
        wheel->nodes[node->prev].next = node->next;
    if (node->next == RF_NONE)
        bucket->tail = node->prev;
    else
        wheel->nodes[node->next].prev = node->prev;
    if (bucket->head == RF_NONE)
        mark(wheel, node->bucket - 1, false);
    node->bucket = 0;
}

void rf_wheel_set(rf_wheel *wheel, uint32_t timer, uint64_t due_ms)
{
    rf_wheel_unset(wheel, timer);
    wheel_push(wheel, timer, due_ms);
}

/* Puts the timers of one bucket in front of those that lie where they belong now. */
static void cascade(rf_wheel *wheel, uint32_t level)
{
    const uint32_t index = level * BUCKETS + (uint32_t)((wheel->base_ms >> (BITS * level)) & MASK);
    uint32_t timer = wheel->buckets[index].tail;
    wheel->buckets[index] = (struct bucket){RF_NONE, RF_NONE};
    mark(wheel, index, false);
    while (timer != RF_NONE) { /* from the last to the first, each to the front: their order stays */
        struct node *node = &wheel->nodes[timer];
        const uint32_t before = node->prev;
        node->bucket = 1 + bucket_for(wheel, node->due_ms);
        struct bucket *bucket = &wheel->buckets[node->bucket - 1];
        node->prev = RF_NONE;
        node->next = bucket->head;
        if (bucket->head == RF_NONE)
            bucket->tail = timer;
        else
            wheel->nodes[bucket->head].prev = timer;
        bucket->head = timer;
        mark(wheel, node->bucket - 1, true);
        timer = before;
    }
}

/* First filled bucket of a level at or after <from>, going round once; RF_NONE when it is empty. */
static uint32_t find_filled(const rf_wheel *wheel, uint32_t level, uint32_t from)
{
    for (uint32_t i = 0; i <= WORDS; i++) {
        const uint32_t word = (from / 64 + i) % WORDS;
        uint64_t bits = wheel->filled[level][word];
        if (i == 0)
            bits &= ~UINT64_C(0) << (from & 63);
        else if (i == WORDS)
            bits &= (UINT64_C(1) << (from & 63)) - 1;
        if (bits)
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return RF_NONE;
}

/* The earliest timer of a coarse bucket, or the beginning of its block when that would be a long search. */
static uint64_t earliest(const rf_wheel *wheel, uint32_t bucket, uint64_t begin_ms)
{
    uint64_t found = RF_NEVER;
    uint32_t timer = wheel->buckets[bucket].head;
    for (uint32_t i = 0; timer != RF_NONE; i++, timer = wheel->nodes[timer].next) {
        if (i == SEARCH_MAX)
            return begin_ms;
        if (wheel->nodes[timer].due_ms < found)
            found = wheel->nodes[timer].due_ms;
    }
    return found > begin_ms ? found : begin_ms;
}

/* <exact>: look into coarse buckets instead of stopping where they have to be opened. */
static uint64_t next_ms(const rf_wheel *wheel, bool exact)
{
    uint64_t next = RF_NEVER;
    for (uint32_t level = 0; level < LEVELS; level++) {
        const uint32_t shift = BITS * level;
        const uint64_t block = wheel->base_ms >> shift;
        /* A coarse bucket is opened when its block begins; that of the block under way is already open. */
        const uint64_t first = level == 0 || (wheel->base_ms & ((UINT64_C(1) << shift) - 1)) == 0 ? block : block + 1;
        const uint32_t found = find_filled(wheel, level, (uint32_t)(first & MASK));
        if (found == RF_NONE)
            continue;
        uint64_t at = (first + ((found - (uint32_t)(first & MASK)) & MASK)) << shift;
        if (exact && level > 0 && level < LEVELS - 1) /* in the coarsest some lie that are due much later */
            at = earliest(wheel, level * BUCKETS + found, at);
        if (at < next)
            next = at;
    }
    return next;
}

uint64_t rf_wheel_next_ms(const rf_wheel *wheel)
{
    return next_ms(wheel, false);
}

uint64_t rf_wheel_wake_ms(const rf_wheel *wheel)
{
    return next_ms(wheel, true);
}

int32_t rf_wheel_advance(rf_wheel *wheel, uint64_t now_ms, uint32_t *out, uint32_t out_max)
{
    uint32_t n = 0;
    while (wheel->base_ms <= now_ms) {
        const uint64_t next = rf_wheel_next_ms(wheel);
        if (next > now_ms) {
            wheel->base_ms = now_ms + 1;
            /* The blocks that began on the way were empty; the one that begins right here is opened next time. */
            break;
        }
        wheel->base_ms = next;
        for (uint32_t level = LEVELS - 1; level >= 1; level--) {
            if ((next & ((UINT64_C(1) << (BITS * level)) - 1)) == 0)
                cascade(wheel, level);
        }
        const uint32_t index = (uint32_t)(next & MASK);
        while (wheel->buckets[index].head != RF_NONE) {
            if (n == out_max)
                return (int32_t)n;
            const uint32_t timer = wheel->buckets[index].head;
            rf_wheel_unset(wheel, timer);
            out[n++] = timer;
        }
        wheel->base_ms = next + 1;
    }
    return (int32_t)n;
}
