/* api/timers.h - a wheel of timers alone, for tests. Part of risefall.h. */
#ifndef RF_API_TIMERS_H
#define RF_API_TIMERS_H

#include "base.h"

/* cffi: begin */
/* Timers alone, for tests: a wheel of <timers_max> timers, each named by its index. */
typedef struct rf_wheel rf_wheel;
rf_wheel *rf_wheel_new(uint32_t timers_max, uint64_t now_ms);
void rf_wheel_free(rf_wheel *wheel);
void rf_wheel_set(rf_wheel *wheel, uint32_t timer, uint64_t due_ms);
void rf_wheel_unset(rf_wheel *wheel, uint32_t timer);
int32_t rf_wheel_advance(rf_wheel *wheel, uint64_t now_ms, uint32_t *out, uint32_t out_max);
uint64_t rf_wheel_next_ms(const rf_wheel *wheel); /* when something has to be done: fired, or only opened */
uint64_t rf_wheel_wake_ms(const rf_wheel *wheel); /* until when one may sleep: nothing fires before; not before the other */
/* cffi: end */

#endif
