/* counter.c - the rise/fall counter and the pace that follows from it (spec 1.2, 2.1).
 *
 * One counter, 0 .. full, full = rise + fall - 1; good when it is at least rise. It is not linear: a pass that
 * reaches rise jumps to full, a failure that falls below rise jumps to 0, so nothing adds up across a reversal.
 */
#include "internal.h"

int32_t rf_counter_next(int32_t health, int32_t rise, int32_t fall, int32_t verdict)
{
    RF_ASSERT(rise >= 1 && fall >= 1 && health >= 0);
    const int64_t full = (int64_t)rise + fall - 1;
    const int32_t top = full > INT32_MAX ? INT32_MAX : (int32_t)full;
    switch (verdict) {
    case RF_PASSED:
    case RF_CONDPASS:
        if (health >= top)
            return top;
        return health + 1 >= rise ? top : health + 1;
    case RF_FAILED:
        if (health == 0)
            return 0;
        return health - 1 < rise ? 0 : health - 1;
    default:
        return health;
    }
}

int32_t rf_counter_after(int32_t health, int32_t rise, int32_t fall, int32_t verdict, int32_t status, int32_t agent)
{
    if (agent && verdict == RF_FAILED && status < RF_HAS_CODE)
        return health; /* an agent that is gone changes nothing */
    return rf_counter_next(health, rise, fall, verdict);
}

int32_t rf_counter_pace(int32_t health, int32_t rise, int32_t fall, int32_t inter_ms, int32_t fastinter_ms,
                        int32_t downinter_ms)
{
    RF_ASSERT(inter_ms > 0);
    if ((int64_t)health >= (int64_t)rise + fall - 1)
        return inter_ms;
    if (health == 0)
        return downinter_ms ? downinter_ms : inter_ms;
    return fastinter_ms ? fastinter_ms : inter_ms;
}
