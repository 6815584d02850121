/* answer_places.h - the places of the answerer's connections, and which of them goes when there are too many.
 *
 * Waiting and lingering connections stand in two lists, oldest first, since each list has one time limit; so the oldest of a
 * list is the next whose time is over. Answered ones stand in a list of their source besides. No more than a close() and
 * what comes before it is done to a descriptor here; what is said and heard is answer.c's.
 */
#ifndef RISEFALL_ANSWER_PLACES_H
#define RISEFALL_ANSWER_PLACES_H

#include "answer.h"
#include "answer_sources.h"

struct rf_guest {
    int fd;
    uint8_t ip[16];
    uint32_t listener, source, older, newer, elder, younger; /* elder, younger: among the answered of its source */
    uint64_t deadline_ns;
    uint32_t text_len, discarded;
    uint16_t turn; /* another one for each connection that has this place: news of the one before are not this one's */
    uint8_t answered, used;
    char text[RF_ANSWER_TEXT_MAX + 1];
};

struct rf_places {
    struct rf_guest *guests; /* max of them, by their places */
    uint32_t max, open, used, free;
    struct rf_list waiting, lingering;
    struct rf_sources sources;
};

bool rf_places_open(struct rf_places *places, uint32_t max);
/* Ends every connection. */
void rf_places_close(struct rf_places *places);
/* A place for a connection, which then waits for its text. There must be room. source, from: by rf_sources_find. */
uint32_t rf_places_take(struct rf_places *places, int fd, const uint8_t ip[16], uint32_t source, const uint8_t from[16]);
/* A waiting connection has had its answer, and lingers. */
void rf_places_answered(struct rf_places *places, uint32_t index, uint64_t deadline_ns);
/* rudely: by a reset. */
void rf_places_end(struct rf_places *places, uint32_t index, bool rudely);
/* Ends the oldest connection, answered ones first. */
void rf_places_make_room(struct rf_places *places);
/* When the time of the next one is over; RF_NEVER without any. */
uint64_t rf_places_next_ns(const struct rf_places *places);
/* Closes a descriptor by a reset. */
void rf_reset(int fd);

#endif
