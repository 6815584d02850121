/* result.c - what a status means for the counter (spec 3.1), and the text that goes with it. */
#include <stdarg.h>
#include <string.h>

#include "internal.h"

uint8_t rf_verdict_of(int32_t status)
{
    switch (status) {
    case RF_CHECKED:
        return RF_NEUTRAL;
    case RF_L4OK:
    case RF_L6OK:
    case RF_L7OK:
    case RF_PROCOK:
        return RF_PASSED;
    case RF_L7OKC:
        return RF_CONDPASS;
    case RF_UNK:
    case RF_INI:
    case RF_START:
        return RF_UNKNOWN;
    default:
        return RF_FAILED;
    }
}

void result_append(rf_result *result, const char *text, size_t len)
{
    const size_t room = RF_TEXT_MAX - result->text_len;
    if (len > room)
        len = room;
    const char *nul = memchr(text, 0, len); /* HAProxy keeps the text as a C string */
    if (nul != NULL)
        len = (size_t)(nul - text);
    memcpy(result->text + result->text_len, text, len);
    result->text_len = (uint8_t)(result->text_len + len);
    result->text[result->text_len] = 0;
}

void result_appendf(rf_result *result, const char *format, ...)
{
    char text[RF_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len > 0)
        result_append(result, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
}

void result_set(rf_result *result, int32_t status, const char *text, size_t len)
{
    result->status = (uint16_t)status;
    result->verdict = rf_verdict_of(status);
    result->text_len = 0;
    result->text[0] = 0;
    if (len > 0)
        result_append(result, text, len);
}
