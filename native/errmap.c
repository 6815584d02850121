/* errmap.c - all that is decided about an errno, in one table.
 *
 * SELF: a want of this machine (descriptors, memory, local ports). It ends a check as SOCKERR and must not move
 * the counter: the server did nothing wrong. HAProxy counts these; the difference is on purpose and listed.
 * Source: spec 3.4, 3.5 (texts of 3: "<name> returned by OS (<strerror>)").
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const struct errno_meaning MEANINGS[] = {
    {ECONNREFUSED, "ECONNREFUSED", NULL, RF_BLAME_SERVER},
    {ECONNRESET, "ECONNRESET", NULL, RF_BLAME_SERVER},
    {ENETUNREACH, "ENETUNREACH", NULL, RF_BLAME_SERVER},
    {EPIPE, "EPIPE", NULL, RF_BLAME_SERVER},
    {ETIMEDOUT, NULL, NULL, RF_BLAME_SERVER},
    {EHOSTUNREACH, NULL, NULL, RF_BLAME_SERVER},
    {EINVAL, "EINVAL", NULL, RF_BLAME_SERVER},
    {EFAULT, "EFAULT", NULL, RF_BLAME_SERVER},
    {EBADF, "EBADF", NULL, RF_BLAME_SERVER},
    {EAFNOSUPPORT, NULL, "Protocol or address family not supported", RF_BLAME_SERVER},
    {EMFILE, NULL, "Too many sockets on the process", RF_BLAME_SELF},
    {ENFILE, NULL, "Too many sockets on the system", RF_BLAME_SELF},
    {ENOBUFS, "ENOBUFS", "Out of system buffers", RF_BLAME_SELF},
    {ENOMEM, "ENOMEM", "Out of system buffers", RF_BLAME_SELF},
    {EADDRNOTAVAIL, NULL, "Out of local source ports on the system", RF_BLAME_SELF},
    {EADDRINUSE, NULL, "Local source address already in use", RF_BLAME_SELF},
};

static const struct errno_meaning UNKNOWN = {0, NULL, NULL, RF_BLAME_SERVER};

const struct errno_meaning *rf_errno_meaning(int32_t error)
{
    for (size_t i = 0; i < sizeof MEANINGS / sizeof MEANINGS[0]; i++) {
        if (MEANINGS[i].error == error)
            return &MEANINGS[i];
    }
    return &UNKNOWN;
}

const char *rf_errno_text(int32_t error, char *buf, size_t len)
{
    RF_ASSERT(len > 0);
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    return strerror_r(error, buf, len);
#else
    if (strerror_r(error, buf, len) != 0)
        snprintf(buf, len, "error %d", (int)error);
    return buf;
#endif
}
