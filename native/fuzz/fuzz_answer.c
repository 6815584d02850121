/* fuzz_answer.c - any agent-sends, in any order and beside any orders: a text names a service of its port or nobody, a tag
 * can be shown, and `ready` is owed by exactly those services that somebody was told to leave. */
#include <string.h>

#include "../answer_words.h"
#include "../internal.h"

enum { SERVICES = 3, PEERS = 8 };

static void say(struct rf_words *words, uint32_t service, uint32_t takes)
{
    rf_answer *answer = &words->answers[service];
    answer->word++;
    answer->takes = takes;
    answer->good_until_ns = 1000;
    for (uint32_t which = 0; which < RF_ANSWER_LINES; which++) {
        answer->len[which] = which == RF_ANSWER_STALE ? 0 : RF_ANSWER_LINE_MAX - which;
        memset(answer->line[which], 'a', answer->len[which]);
    }
}

static void check(const struct rf_words *words)
{
    RF_ASSERT(words->peers_len <= RF_ANSWER_PEERS_MAX && words->told_len <= RF_ANSWER_TOLD_MAX);
    for (uint32_t i = 0; i < words->peers_len; i++) {
        uint32_t owing = 0;
        for (uint32_t service = 0; service < RF_ANSWER_SERVICES_MAX; service++)
            owing += words->peers[i].told[service].owed > 0;
        RF_ASSERT(owing == words->peers[i].owing);
    }
}

static void ask(struct rf_words *words, uint8_t how, const char *text, uint32_t len, uint64_t now_ns)
{
    struct rf_asked asked;
    rf_words_read(words, text, len, how & 7u, (how & 8) != 0 ? 0 : RF_ANSWER_NOBODY, &asked);
    RF_ASSERT(asked.service == RF_ANSWER_NOBODY || asked.service < SERVICES);
    RF_ASSERT(asked.service == RF_ANSWER_NOBODY || (how & 8) != 0 || (how >> asked.service & 1) != 0);
    RF_ASSERT(memchr(asked.tag, 0, sizeof asked.tag) != NULL);
    for (const char *at = asked.tag; *at != '\0'; at++)
        RF_ASSERT(*at > ' ' && *at <= '~');
    if (asked.service == RF_ANSWER_NOBODY)
        return;
    const uint8_t ip[16] = {[15] = (uint8_t)(how >> 4) % PEERS};
    struct rf_peer *peer = rf_words_peer(words, ip, asked.tag);
    const uint32_t owed = peer->told[asked.service].owed;
    struct rf_spoken spoken;
    rf_words_pick(words, peer, asked.service, now_ns, &spoken);
    RF_ASSERT(spoken.len <= RF_ANSWER_LINE_MAX + 1 && (spoken.len == 0 || spoken.line[spoken.len - 1] == '\n'));
    RF_ASSERT(!spoken.ready || (owed > 0 && words->answers[asked.service].takes == 0));
    if (spoken.len > 0 && (how & 16) != 0)
        (void)rf_words_sent(words, peer, asked.service, &spoken, now_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct rf_words words; /* large */
    memset(&words, 0, sizeof words);
    if (!rf_words_open(&words))
        return 0;
    static const char *const names[SERVICES] = {"app", "db", "a"};
    for (uint32_t i = 0; i < SERVICES; i++) {
        words.names[i] = (struct rf_answer_name){.service = i, .len = (uint32_t)strlen(names[i])};
        memcpy(words.names[i].text, names[i], words.names[i].len);
    }
    words.names_len = SERVICES;
    uint64_t now_ns = 0;
    while (len > 0) { /* how, a text, a line feed; or an order: 0xff, of whom and how many */
        const uint8_t how = *data;
        if (how == 0xff && len > 1) {
            say(&words, data[1] % SERVICES, data[1] / SERVICES % 4);
            data += 2;
            len -= 2;
            continue;
        }
        const uint8_t *end = memchr(data, '\n', len);
        const size_t size = end != NULL ? (size_t)(end - data) : len;
        const uint32_t text_len = size > RF_ANSWER_TEXT_MAX + 1 ? RF_ANSWER_TEXT_MAX : size > 0 ? (uint32_t)size - 1 : 0;
        ask(&words, how, (const char *)data + 1, text_len, now_ns);
        now_ns += how;
        len -= end != NULL ? size + 1 : size;
        data += end != NULL ? size + 1 : size;
    }
    check(&words);
    rf_words_close(&words);
    return 0;
}
