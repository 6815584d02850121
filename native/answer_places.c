/* answer_places.c - see answer_places.h. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer_places.h"

bool rf_places_open(struct rf_places *places, uint32_t max)
{
    places->max = max;
    places->free = places->waiting.oldest = places->waiting.newest = RF_NONE;
    places->lingering = places->waiting;
    places->guests = calloc(max, sizeof *places->guests);
    return rf_sources_open(&places->sources, max) && places->guests != NULL;
}

void rf_places_close(struct rf_places *places)
{
    for (uint32_t i = 0; i < places->used; i++) {
        if (places->guests[i].used)
            close(places->guests[i].fd);
    }
    free(places->guests);
    rf_sources_close(&places->sources);
}

/* --- lists of connections ----------------------------------------------------------------------------------------- */

static void list_push(struct rf_places *places, struct rf_list *list, uint32_t index)
{
    struct rf_guest *guest = &places->guests[index];
    guest->older = list->newest;
    guest->newer = RF_NONE;
    if (list->newest == RF_NONE)
        list->oldest = index;
    else
        places->guests[list->newest].newer = index;
    list->newest = index;
}

static void list_drop(struct rf_places *places, struct rf_list *list, uint32_t index)
{
    const struct rf_guest *guest = &places->guests[index];
    if (guest->older == RF_NONE)
        list->oldest = guest->newer;
    else
        places->guests[guest->older].newer = guest->newer;
    if (guest->newer == RF_NONE)
        list->newest = guest->older;
    else
        places->guests[guest->newer].older = guest->older;
}

/* The same for the answered ones of one source. */
static void answered_push(struct rf_places *places, uint32_t index)
{
    struct rf_guest *guest = &places->guests[index];
    struct rf_list *list = &places->sources.all[guest->source].answered;
    guest->elder = list->newest;
    guest->younger = RF_NONE;
    if (list->newest == RF_NONE)
        list->oldest = index;
    else
        places->guests[list->newest].younger = index;
    list->newest = index;
}

static void answered_drop(struct rf_places *places, uint32_t index)
{
    const struct rf_guest *guest = &places->guests[index];
    struct rf_list *list = &places->sources.all[guest->source].answered;
    if (guest->elder == RF_NONE)
        list->oldest = guest->younger;
    else
        places->guests[guest->elder].younger = guest->younger;
    if (guest->younger == RF_NONE)
        list->newest = guest->elder;
    else
        places->guests[guest->younger].elder = guest->elder;
}

/* --- coming and going --------------------------------------------------------------------------------------------- */

uint32_t rf_places_take(struct rf_places *places, int fd, const uint8_t ip[16], uint32_t source, const uint8_t from[16])
{
    RF_ASSERT(places->open < places->max);
    uint32_t index = places->free;
    if (index == RF_NONE)
        index = places->used++;
    else
        places->free = places->guests[index].newer;
    struct rf_guest *guest = &places->guests[index];
    *guest = (struct rf_guest){.fd = fd, .used = 1, .turn = (uint16_t)(guest->turn + 1)};
    guest->source = rf_sources_enter(&places->sources, source, from);
    memcpy(guest->ip, ip, 16);
    list_push(places, &places->waiting, index);
    places->open++;
    return index;
}

void rf_places_answered(struct rf_places *places, uint32_t index, uint64_t deadline_ns)
{
    struct rf_guest *guest = &places->guests[index];
    list_drop(places, &places->waiting, index);
    guest->answered = 1;
    guest->deadline_ns = deadline_ns;
    list_push(places, &places->lingering, index);
    answered_push(places, index);
}

void rf_reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

void rf_places_end(struct rf_places *places, uint32_t index, bool rudely)
{
    struct rf_guest *guest = &places->guests[index];
    list_drop(places, guest->answered ? &places->lingering : &places->waiting, index);
    if (guest->answered)
        answered_drop(places, index);
    if (rudely)
        rf_reset(guest->fd);
    else
        close(guest->fd);
    rf_sources_leave(&places->sources, guest->source);
    places->open--;
    guest->used = 0;
    guest->newer = places->free;
    places->free = index;
}

void rf_places_make_room(struct rf_places *places)
{
    const uint32_t oldest = places->lingering.oldest != RF_NONE ? places->lingering.oldest : places->waiting.oldest;
    rf_places_end(places, oldest, !places->guests[oldest].answered);
}

uint64_t rf_places_next_ns(const struct rf_places *places)
{
    uint64_t next_ns = RF_NEVER;
    const uint32_t oldest[2] = {places->waiting.oldest, places->lingering.oldest};
    for (int i = 0; i < 2; i++) {
        if (oldest[i] != RF_NONE && places->guests[oldest[i]].deadline_ns < next_ns)
            next_ns = places->guests[oldest[i]].deadline_ns;
    }
    return next_ns;
}
