/* answer_thread.h - an answerer's own: what its thread (answer.c) and those who call it (answer_calls.c) share, under a lock. */
#ifndef RISEFALL_ANSWER_THREAD_H
#define RISEFALL_ANSWER_THREAD_H

#include <pthread.h>

#include "answer_places.h"
#include "answer_words.h"

enum { RF_ANSWER_LISTENERS_MAX = 64 };
enum { RF_ANSWER_WAKE = 0, RF_ANSWER_LISTENER = 1, RF_ANSWER_GUEST = 2 };

struct rf_listener {
    int fd;
    uint32_t service, by_text;
    uint64_t services;
};

struct rf_answerer {
    rf_answerer_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below */
    uint32_t running, stopping;
    int epoll_fd, wake_fd, event_fd;
    uint64_t paused_until_ns;

    struct rf_listener listeners[RF_ANSWER_LISTENERS_MAX];
    uint32_t listeners_len;
    struct rf_words words;
    rf_answerer_counts counts; /* but `open` and `told_lost`, which places and words have */
    rf_told unknown;           /* who last asked for what no service of the port is called, and for what */
    struct rf_places places;   /* the thread's own, but for the networks that may ask */
};

/* What epoll tells of a descriptor: its kind, which of them, and of a place who has it. */
static inline uint64_t rf_answer_event(uint32_t kind, uint32_t index, uint16_t turn)
{
    return (uint64_t)kind << 48 | (uint64_t)turn << 32 | index;
}

/* Somebody should drain what was told. */
void rf_answer_wake(const rf_answerer *answerer);

#endif
