/* times.c - converters that write a number as a time of day. */
#include <string.h>
#include <time.h>

#include "sample.h"

/* strftime wants C strings; a format longer than this is cut, as any text longer than the room is. */
enum { FORMAT_MAX = 512 };
/* Years beyond what fits an int: HAProxy masks the same bits away. */
static const uint64_t TIME_MASK = UINT64_C(0x007fffffffffffff);

bool time_text(struct sample_run *run, const rf_op *op, struct value *value)
{
    char format[FORMAT_MAX];
    struct tm parts;
    uint32_t max;
    if (!cast_int(value))
        return false;
    const uint32_t len = op->text.len < FORMAT_MAX - 1 ? op->text.len : FORMAT_MAX - 1;
    memcpy(format, program_at(run->program, op->text), len);
    format[len] = 0;
    const time_t at = (time_t)(((uint64_t)value->number + (uint64_t)op->number) & TIME_MASK);
    if ((op->code == RF_CONV_UTIME ? gmtime_r(&at, &parts) : localtime_r(&at, &parts)) == NULL)
        return false;
    uint8_t *room = sample_room(run, value, &max);
    const size_t n = len > 0 && max > 0 ? strftime((char *)room, max, format, &parts) : 0;
    *value = (struct value){.kind = VALUE_TEXT, .bytes = room, .len = (uint32_t)n};
    return true;
}

bool http_date(struct sample_run *run, const rf_op *op, struct value *value)
{
    static const char DAYS[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char MONTHS[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const int64_t PARTS[] = {1, 1000, 1000000};
    struct tm parts;
    uint32_t max;
    if (!cast_int(value))
        return false;
    const int64_t sum = (int64_t)((uint64_t)value->number + (uint64_t)op->number);
    const time_t at = (time_t)((uint64_t)(sum / PARTS[op->number2]) & TIME_MASK);
    if (gmtime_r(&at, &parts) == NULL)
        return false;
    char fraction[24] = "";
    if (op->number2 != RF_UNIT_S) {
        const int64_t rest = sum % PARTS[op->number2];
        const unsigned digits = (unsigned)(rest < 0 ? -rest : rest); /* below a million */
        snprintf(fraction, sizeof fraction, op->number2 == RF_UNIT_MS ? ".%03u" : ".%06u", digits);
    }
    uint8_t *room = sample_room(run, value, &max);
    const int len = snprintf((char *)room, max, "%s, %02d %s %04lld %02d:%02d:%02d%s GMT", DAYS[parts.tm_wday], parts.tm_mday,
                             MONTHS[parts.tm_mon], 1900 + (long long)parts.tm_year, parts.tm_hour, parts.tm_min, parts.tm_sec,
                             fraction);
    *value = (struct value){.kind = VALUE_TEXT, .bytes = room, .len = (uint32_t)len};
    return len > 0 && (uint32_t)len < max;
}
