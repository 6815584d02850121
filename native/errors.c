/* errors.c - why the last call of this thread was refused, for rf_last_error(). */
#include <stdarg.h>

#include "internal.h"

/* Per thread and not per engine: a call that fails to make an engine has no engine to keep it in. */
static _Thread_local char last_text[256];
static _Thread_local int32_t last_errno_value;

int32_t rf_refuse(int32_t result, int32_t error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_text, sizeof last_text, format, args);
    va_end(args);
    last_errno_value = error;
    return result;
}

const char *rf_last_error(void)
{
    return last_text;
}

int32_t rf_last_errno(void)
{
    return last_errno_value;
}

uint32_t rf_abi(void)
{
    return RF_ABI;
}

uint32_t rf_features(void)
{
#ifdef RF_HAVE_PCRE2
    const uint32_t regexes = 1;
#else
    const uint32_t regexes = 0;
#endif
    return regexes | (transport_has_tls() ? 2u : 0u);
}
