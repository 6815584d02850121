/* api/counting.h - the rise/fall counter and the pace that follows from it (spec 1.2, 1.3, 2.1). Part of risefall.h. */
#ifndef RF_API_COUNTING_H
#define RF_API_COUNTING_H

#include "base.h"

/* cffi: begin */
/* Next counter after <verdict>; 0 .. rise + fall - 1. */
int32_t rf_counter_next(int32_t health, int32_t rise, int32_t fall, int32_t verdict);
/* The same for a check that may be an agent's, whose failures below L7STS change nothing (spec 4.4). */
int32_t rf_counter_after(int32_t health, int32_t rise, int32_t fall, int32_t verdict, int32_t status, int32_t agent);
/* Milliseconds from a check's completion to the next one: full: inter, 0: downinter, else fastinter (0: unset). */
int32_t rf_counter_pace(int32_t health, int32_t rise, int32_t fall, int32_t inter_ms, int32_t fastinter_ms,
                        int32_t downinter_ms);
/* cffi: end */

#endif
