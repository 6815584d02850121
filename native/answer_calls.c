/* answer_calls.c - what Python asks of an answerer while its thread runs (answer.h). */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "answer_thread.h"

int32_t rf_answerer_listen(rf_answerer *answerer, int32_t fd, uint64_t services, uint32_t service, uint32_t by_text)
{
    if (service != RF_ANSWER_NOBODY && service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services", RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    const uint32_t index = answerer->listeners_len;
    if (index == RF_ANSWER_LISTENERS_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d listeners", RF_ANSWER_LISTENERS_MAX);
    } else {
        answerer->listeners[index] = (struct rf_listener){fd, service, by_text, services};
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = rf_answer_event(RF_ANSWER_LISTENER, index, 0)};
        if (epoll_ctl(answerer->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            result = rf_refuse(RF_ERRNO, errno, "epoll");
        else
            answerer->listeners_len++;
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

int32_t rf_answerer_name(rf_answerer *answerer, const char *text, uint32_t service)
{
    const size_t len = strlen(text);
    if (len == 0 || len > RF_ANSWER_TEXT_MAX || service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "a name of 1 to %d bytes, and one of %d services", RF_ANSWER_TEXT_MAX,
                         RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    if (answerer->words.names_len == RF_ANSWER_NAMES_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d names", RF_ANSWER_NAMES_MAX);
    } else {
        struct rf_answer_name *name = &answerer->words.names[answerer->words.names_len++];
        name->service = service;
        name->len = (uint32_t)len;
        memcpy(name->text, text, len + 1);
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

int32_t rf_answerer_allow(rf_answerer *answerer, const uint8_t ip[16], uint32_t bits)
{
    if (bits > 128)
        return rf_refuse(RF_BAD, EINVAL, "at most 128 bits");
    pthread_mutex_lock(&answerer->lock);
    const bool taken = rf_sources_allow(&answerer->places.sources, ip, bits);
    pthread_mutex_unlock(&answerer->lock);
    return taken ? RF_OK : rf_refuse(RF_FULL, 0, "at most %d networks", RF_ANSWER_ALLOWED_MAX);
}

static bool is_line(const char *line, uint32_t len)
{
    return len <= RF_ANSWER_LINE_MAX && memchr(line, '\n', len) == NULL && memchr(line, '\r', len) == NULL &&
           memchr(line, 0, len) == NULL;
}

int32_t rf_answerer_say(rf_answerer *answerer, const rf_answer *said)
{
    bool good = said->service < RF_ANSWER_SERVICES_MAX;
    for (int i = 0; i < RF_ANSWER_LINES; i++)
        good = good && is_line(said->line[i], said->len[i]);
    if (!good)
        return rf_refuse(RF_BAD, EINVAL, "lines of at most %d bytes, for one of %d services", RF_ANSWER_LINE_MAX,
                         RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    answerer->words.answers[said->service] = *said;
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

static bool is_tag(const char tag[RF_ANSWER_TAG_MAX + 1])
{
    return memchr(tag, 0, RF_ANSWER_TAG_MAX + 1) != NULL;
}

int32_t rf_answerer_remember(rf_answerer *answerer, const rf_told *told)
{
    if (told->service >= RF_ANSWER_SERVICES_MAX || !is_tag(told->tag))
        return rf_refuse(RF_BAD, EINVAL, "at most %d services, and a tag of %d bytes", RF_ANSWER_SERVICES_MAX,
                         RF_ANSWER_TAG_MAX);
    pthread_mutex_lock(&answerer->lock);
    struct rf_peer *peer = rf_words_peer(&answerer->words, told->ip, told->tag);
    peer->owing += told->owed > 0;
    peer->owing -= peer->told[told->service].owed > 0;
    peer->told[told->service].owed = told->owed;
    peer->told[told->service].word = told->word;
    peer->told[told->service].known = 1;
    peer->told[told->service].at_ns = told->at_ns;
    if (told->at_ns > peer->seen_ns)
        peer->seen_ns = told->at_ns;
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

int32_t rf_answerer_ask(rf_answerer *answerer, const uint8_t ip[16], const char *tag, uint32_t service, uint64_t now_ns,
                        uint32_t sent, char *out)
{
    if (service >= RF_ANSWER_SERVICES_MAX || strlen(tag) > RF_ANSWER_TAG_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services, and a tag of %d bytes", RF_ANSWER_SERVICES_MAX,
                         RF_ANSWER_TAG_MAX);
    struct rf_spoken spoken;
    pthread_mutex_lock(&answerer->lock);
    struct rf_peer *peer = rf_words_peer(&answerer->words, ip, tag);
    rf_words_pick(&answerer->words, peer, service, now_ns, &spoken);
    if (spoken.len > 0 && sent && rf_words_sent(&answerer->words, peer, service, &spoken, now_ns))
        rf_answer_wake(answerer);
    pthread_mutex_unlock(&answerer->lock);
    memcpy(out, spoken.line, spoken.len);
    return (int32_t)spoken.len;
}

int32_t rf_answerer_drain(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    pthread_mutex_lock(&answerer->lock);
    struct rf_words *words = &answerer->words;
    const uint32_t n = words->told_len < max ? words->told_len : max;
    memcpy(out, words->told, n * sizeof *out);
    memmove(words->told, words->told + n, (words->told_len - n) * sizeof *out);
    words->told_len -= n;
    uint64_t count;
    if (words->told_len == 0 && read(answerer->event_fd, &count, sizeof count) < 0)
        count = 0;
    pthread_mutex_unlock(&answerer->lock);
    return (int32_t)n;
}

int32_t rf_answerer_peers(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    uint32_t n = 0;
    pthread_mutex_lock(&answerer->lock);
    const struct rf_words *words = &answerer->words;
    for (uint32_t i = 0; i < words->peers_len; i++) {
        const struct rf_peer *peer = &words->peers[i];
        for (uint32_t service = 0; service < RF_ANSWER_SERVICES_MAX && n < max; service++) {
            if (peer->told[service].at_ns == 0 && peer->told[service].owed == 0)
                continue;
            out[n] = (rf_told){.service = service,
                               .word = peer->told[service].word,
                               .owed = peer->told[service].owed,
                               .at_ns = peer->told[service].at_ns};
            memcpy(out[n].tag, peer->tag, sizeof out[n].tag);
            memcpy(out[n++].ip, peer->ip, 16);
        }
    }
    pthread_mutex_unlock(&answerer->lock);
    return (int32_t)n;
}

int32_t rf_answerer_unknown(rf_answerer *answerer, rf_told *out)
{
    pthread_mutex_lock(&answerer->lock);
    *out = answerer->unknown;
    const bool any = answerer->counts.unknown > 0;
    pthread_mutex_unlock(&answerer->lock);
    return any;
}

int32_t rf_answerer_event_fd(const rf_answerer *answerer)
{
    return answerer->event_fd;
}

void rf_answerer_counts_read(rf_answerer *answerer, rf_answerer_counts *out)
{
    pthread_mutex_lock(&answerer->lock);
    *out = answerer->counts;
    out->open = answerer->places.open;
    out->told_lost = answerer->words.told_lost;
    pthread_mutex_unlock(&answerer->lock);
}
