/* facts.c - the table of facts that risefall-track is answered from (facts.h).
 *
 * The lock is held for one entry at a time, but for a growth of the table, the end of a sweep and what is kept of an earlier
 * run, which walk it: some milliseconds with 100,000 servers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "facts_table.h"

enum { BUCKETS_FIRST = 256, TEXT_ROOM = 23 };
static const char *const KIND_NAMES[RF_FACT_KINDS] = {"server", "backend", "script", "agent"};

static uint32_t hash_of(uint32_t kind, const char *name, uint32_t len)
{
    uint32_t hash = UINT32_C(2166136261) ^ kind; /* FNV-1a */
    for (uint32_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)name[i]) * UINT32_C(16777619);
    return hash;
}

static struct fact **place_of(const rf_facts *facts, uint32_t kind, const char *name, uint32_t len)
{
    const uint32_t hash = hash_of(kind, name, len);
    struct fact **at = &facts->buckets[hash & (facts->buckets_len - 1)];
    while (*at != NULL && !((*at)->hash == hash && (*at)->kind == kind && (*at)->name_len == len &&
                            memcmp((*at)->bytes, name, len) == 0))
        at = &(*at)->next;
    return at;
}

static void grow(rf_facts *facts)
{
    const uint32_t wider = facts->buckets_len * 4;
    struct fact **buckets = calloc(wider, sizeof(*buckets));
    if (buckets == NULL)
        return; /* longer chains, still right */
    for (uint32_t i = 0; i < facts->buckets_len; i++)
        for (struct fact *one = facts->buckets[i], *next; one != NULL; one = next) {
            next = one->next;
            one->next = buckets[one->hash & (wider - 1)];
            buckets[one->hash & (wider - 1)] = one;
        }
    free(facts->buckets);
    facts->buckets = buckets;
    facts->buckets_len = wider;
}

static void count_change(rf_facts *facts)
{
    __atomic_fetch_add(&facts->changes, 1, __ATOMIC_RELAXED);
}

static void take_out(rf_facts *facts, struct fact **at)
{
    struct fact *gone = *at;
    *at = gone->next;
    facts->count--;
    free(gone);
    count_change(facts);
}

rf_facts *rf_facts_open(uint64_t stale_ns)
{
    rf_facts *facts = calloc(1, sizeof *facts);
    if (facts == NULL)
        return NULL;
    facts->buckets = calloc(BUCKETS_FIRST, sizeof(*facts->buckets));
    facts->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (facts->buckets == NULL || facts->wake_fd < 0) {
        if (facts->wake_fd >= 0)
            close(facts->wake_fd);
        free(facts->buckets);
        free(facts);
        return NULL;
    }
    facts->buckets_len = BUCKETS_FIRST;
    facts->listen_fd = -1;
    facts->stale_ns = stale_ns;
    facts->touched_ns = rf_now_ns();
    pthread_mutex_init(&facts->lock, NULL);
    return facts;
}

/* With the lock held. */
static int32_t put(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len, uint32_t good, uint32_t weight,
                   const char *text, uint32_t text_len)
{
    struct fact **at = place_of(facts, kind, name, name_len);
    struct fact *one = *at;
    if (one != NULL && one->good == good && one->weight == weight && one->text_len == text_len &&
        memcmp(one->bytes + name_len, text, text_len) == 0) {
        one->sweep = facts->sweep[kind];
        return RF_OK;
    }
    if (one == NULL || one->text_room < text_len) {
        const uint32_t room = text_len > TEXT_ROOM ? RF_FACT_TEXT_MAX : TEXT_ROOM;
        struct fact *made = malloc(sizeof(*made) + name_len + room);
        if (made == NULL)
            return rf_refuse(RF_ERRNO, ENOMEM, "malloc");
        made->next = one != NULL ? one->next : NULL;
        made->hash = hash_of(kind, name, name_len);
        made->name_len = (uint16_t)name_len;
        made->text_room = (uint16_t)room;
        made->kind = (uint8_t)kind;
        memcpy(made->bytes, name, name_len);
        free(one);
        facts->count += one == NULL;
        *at = one = made;
    }
    one->sweep = facts->sweep[kind];
    one->weight = weight;
    one->good = (uint8_t)good;
    one->text_len = (uint16_t)text_len;
    memcpy(one->bytes + name_len, text, text_len);
    count_change(facts);
    if (facts->count > facts->buckets_len)
        grow(facts);
    return RF_OK;
}

int32_t rf_facts_put(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len, uint32_t good, uint32_t weight,
                     const char *text, uint32_t text_len)
{
    RF_ASSERT(kind < RF_FACT_KINDS && good <= RF_FACT_BAD);
    if (name_len == 0 || name_len > RF_FACT_NAME_MAX)
        return rf_refuse(RF_BAD, 0, "the name of a fact is empty or too long");
    pthread_mutex_lock(&facts->lock);
    const int32_t result =
        put(facts, kind, name, name_len, good, weight, text, text_len < RF_FACT_TEXT_MAX ? text_len : RF_FACT_TEXT_MAX);
    pthread_mutex_unlock(&facts->lock);
    return result;
}

uint32_t rf_facts_hold(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len)
{
    RF_ASSERT(kind < RF_FACT_KINDS);
    pthread_mutex_lock(&facts->lock);
    struct fact *one = *place_of(facts, kind, name, name_len);
    if (one != NULL)
        one->sweep = facts->sweep[kind];
    pthread_mutex_unlock(&facts->lock);
    return one != NULL;
}

void rf_facts_drop(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len)
{
    pthread_mutex_lock(&facts->lock);
    struct fact **at = place_of(facts, kind, name, name_len);
    if (*at != NULL)
        take_out(facts, at);
    pthread_mutex_unlock(&facts->lock);
}

void rf_facts_ready(rf_facts *facts, uint32_t kind, uint32_t ready)
{
    RF_ASSERT(kind < RF_FACT_KINDS);
    __atomic_store_n(&facts->ready[kind], ready, __ATOMIC_RELEASE);
}

void rf_facts_sweep_begin(rf_facts *facts, uint32_t kind)
{
    RF_ASSERT(kind < RF_FACT_KINDS);
    pthread_mutex_lock(&facts->lock);
    facts->sweep[kind]++;
    pthread_mutex_unlock(&facts->lock);
}

uint32_t rf_facts_sweep_end(rf_facts *facts, uint32_t kind)
{
    RF_ASSERT(kind < RF_FACT_KINDS);
    uint32_t dropped = 0;
    pthread_mutex_lock(&facts->lock);
    for (uint32_t i = 0; i < facts->buckets_len; i++)
        for (struct fact **at = &facts->buckets[i]; *at != NULL;) {
            if ((*at)->kind == kind && (*at)->sweep != facts->sweep[kind]) {
                take_out(facts, at);
                dropped++;
            } else {
                at = &(*at)->next;
            }
        }
    pthread_mutex_unlock(&facts->lock);
    return dropped;
}

void rf_facts_touch(rf_facts *facts)
{
    __atomic_store_n(&facts->touched_ns, rf_now_ns(), __ATOMIC_RELAXED);
}

uint64_t rf_facts_answered(rf_facts *facts)
{
    return __atomic_load_n(&facts->answered, __ATOMIC_RELAXED);
}

uint64_t rf_facts_changes(rf_facts *facts)
{
    return __atomic_load_n(&facts->changes, __ATOMIC_RELAXED);
}

/* --- over a restart ---------------------------------------------------------------------------------------- */

struct saved { /* before the name and the text of each, without a gap to the next; read again by the same machine */
    uint32_t weight;
    uint16_t name_len, text_len;
    uint8_t kind, good, zero[2];
};
_Static_assert(sizeof(struct saved) == 12, "has no padding that would be written");

static uint32_t bytes_of(const struct fact *one)
{
    return (uint32_t)sizeof(struct saved) + one->name_len + one->text_len;
}

uint32_t rf_facts_save(rf_facts *facts, uint32_t *bucket, char *out, uint32_t out_max)
{
    uint32_t len = 0;
    pthread_mutex_lock(&facts->lock);
    for (; *bucket < facts->buckets_len; ++*bucket) {
        uint32_t need = 0;
        for (const struct fact *one = facts->buckets[*bucket]; one != NULL; one = one->next)
            need += bytes_of(one);
        if (need > out_max - len && len > 0)
            break;
        for (const struct fact *one = facts->buckets[*bucket]; one != NULL; one = one->next) {
            if (one->good == RF_FACT_UNKNOWN || bytes_of(one) > out_max - len)
                continue;
            const struct saved head = {.weight = one->weight, .name_len = one->name_len, .text_len = one->text_len,
                                       .kind = one->kind, .good = one->good};
            memcpy(out + len, &head, sizeof head);
            memcpy(out + len + sizeof head, one->bytes, (size_t)one->name_len + one->text_len);
            len += bytes_of(one);
        }
    }
    pthread_mutex_unlock(&facts->lock);
    return len;
}

int32_t rf_facts_restore(rf_facts *facts, const char *bytes, uint32_t len)
{
    static const char before[] = " (before the restart)";
    enum { BEFORE_LEN = sizeof before - 1 };
    int32_t taken = 0, result = RF_OK;
    pthread_mutex_lock(&facts->lock);
    while (len > 0 && result == RF_OK) {
        struct saved head;
        char text[RF_FACT_TEXT_MAX];
        if (len < sizeof head)
            break;
        memcpy(&head, bytes, sizeof head);
        if (head.kind >= RF_FACT_KINDS || (head.good != RF_FACT_GOOD && head.good != RF_FACT_BAD) || head.name_len == 0 ||
            head.name_len > RF_FACT_NAME_MAX || head.text_len > RF_FACT_TEXT_MAX ||
            len - sizeof head < (size_t)head.name_len + head.text_len)
            break;
        const char *name = bytes + sizeof head, *words = name + head.name_len;
        uint32_t text_len = head.text_len;
        memcpy(text, words, text_len);
        /* A run that ended before it had news of its own has said so already. */
        if (!(text_len >= BEFORE_LEN && memcmp(text + text_len - BEFORE_LEN, before, BEFORE_LEN) == 0)) {
            if (text_len > RF_FACT_TEXT_MAX - BEFORE_LEN)
                text_len = RF_FACT_TEXT_MAX - BEFORE_LEN;
            memcpy(text + text_len, before, BEFORE_LEN);
            text_len += BEFORE_LEN;
        }
        result = put(facts, head.kind, name, head.name_len, head.good, head.weight, text, text_len);
        taken += result == RF_OK;
        const uint32_t used = (uint32_t)sizeof head + head.name_len + head.text_len;
        bytes += used;
        len -= used;
    }
    pthread_mutex_unlock(&facts->lock);
    if (result != RF_OK)
        return result;
    return len == 0 ? taken : rf_refuse(RF_BAD, 0, "saved facts that cannot be read");
}

/* --- answers ----------------------------------------------------------------------------------------------- */

static uint32_t say(char *out, char verdict, const char *words)
{
    const size_t len = strlen(words);
    out[0] = verdict;
    out[1] = ' ';
    memcpy(out + 2, words, len);
    return (uint32_t)len + 2;
}

static uint32_t say_fact(const struct fact *one, uint32_t least, char *out)
{
    const bool weighed = one->kind == RF_FACT_BACKEND || one->kind == RF_FACT_AGENT;
    const bool few = one->good == RF_FACT_GOOD && weighed && one->weight < least;
    uint32_t len = say(out, one->good == RF_FACT_UNKNOWN ? '?' : one->good == RF_FACT_GOOD && !few ? '0' : '1', "");
    memcpy(out + len, one->bytes + one->name_len, one->text_len);
    len += one->text_len;
    if (few)
        len += (uint32_t)snprintf(out + len, RF_FACT_PACKET_MAX - len, ", %u wanted", least);
    return len;
}

uint32_t rf_facts_ask(rf_facts *facts, const char *question, uint32_t len, char *out)
{
    const char *end = question + len;
    const char *first = memchr(question, '\n', len);
    const char *second = first != NULL ? memchr(first + 1, '\n', (size_t)(end - first - 1)) : NULL;
    uint32_t kind = 0, least = 0;
    if (second == NULL || end - second > 8)
        return say(out, '1', "the daemon does not understand the question");
    for (const char *at = second + 1; at < end; at++) {
        if (*at < '0' || *at > '9')
            return say(out, '1', "the daemon does not understand the question");
        least = least * 10 + (uint32_t)(*at - '0');
    }
    while (kind < RF_FACT_KINDS && !(strlen(KIND_NAMES[kind]) == (size_t)(first - question) &&
                                     memcmp(KIND_NAMES[kind], question, (size_t)(first - question)) == 0))
        kind++;
    if (kind == RF_FACT_KINDS)
        return say(out, '1', "the daemon does not know this kind");
    const bool ready = __atomic_load_n(&facts->ready[kind], __ATOMIC_ACQUIRE) != 0;
    const uint64_t now_ns = rf_now_ns(), touched_ns = __atomic_load_n(&facts->touched_ns, __ATOMIC_RELAXED);
    if (now_ns > touched_ns && now_ns - touched_ns > facts->stale_ns)
        return say(out, '?', ready ? "the daemon hangs: its facts are old" : "not known yet, the daemon is starting");
    uint32_t said = 0;
    pthread_mutex_lock(&facts->lock);
    const struct fact *one = *place_of(facts, kind, first + 1, (uint32_t)(second - first - 1));
    if (one != NULL)
        said = say_fact(one, least, out);
    pthread_mutex_unlock(&facts->lock);
    if (said > 0)
        return said;
    return ready ? say(out, '1', "the daemon has none of this name") : say(out, '?', "not known yet");
}

void rf_facts_close(rf_facts *facts)
{
    rf_facts_stop(facts);
    for (uint32_t i = 0; i < facts->buckets_len; i++)
        while (facts->buckets[i] != NULL)
            take_out(facts, &facts->buckets[i]);
    close(facts->wake_fd);
    pthread_mutex_destroy(&facts->lock);
    free(facts->buckets);
    free(facts);
}
