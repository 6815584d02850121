/* api/base.h - what every call may answer, how a check ended, and the module itself. Part of risefall.h. */
#ifndef RF_API_BASE_H
#define RF_API_BASE_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */
enum { RF_ABI = 1, RF_TEXT_MAX = 127, RF_STATE_TEXT_MAX = 31, RF_HISTOGRAM_BUCKETS = 320 };

/* Results of calls. */
enum {
    RF_OK = 0,
    RF_FULL = -1,  /* a bounded queue or pool has no room now; try again later */
    RF_STALE = -2, /* a handle whose check is gone */
    RF_BAD = -3,   /* arguments that cannot be: the text of rf_last_error() says which */
    RF_NOMEM = -4,
    RF_ERRNO = -5 /* a system call refused; its errno is in rf_last_errno() */
};

/* How a check ended: HAProxy's numbers (spec 3.1). */
enum {
    RF_UNK = 0,
    RF_INI = 1,
    RF_START = 2,
    RF_CHECKED = 3,
    RF_HANA = 4,
    RF_SOCKERR = 5,
    RF_L4OK = 6,
    RF_L4TOUT = 7,
    RF_L4CON = 8,
    RF_L6OK = 9,
    RF_L6TOUT = 10,
    RF_L6RSP = 11,
    RF_L7TOUT = 12,
    RF_L7RSP = 13,
    RF_HAS_CODE = 14, /* marker: statuses above it have a meaningful code */
    RF_L7OK = 15,
    RF_L7OKC = 16,
    RF_L7STS = 17,
    RF_PROCERR = 18,
    RF_PROCTOUT = 19,
    RF_PROCOK = 20
};

/* What it means for the counter: HAProxy's srv_check_result (spec 7.5). */
enum { RF_UNKNOWN = 0, RF_NEUTRAL = 1, RF_FAILED = 2, RF_PASSED = 3, RF_CONDPASS = 4 };

/* A piece of a program's blob. */
typedef struct {
    uint32_t at, len;
} rf_span;

uint64_t rf_now_ns(void);
uint32_t rf_abi(void);
uint32_t rf_features(void); /* bit 0: PCRE2, bit 1: a TLS module is in use */
const char *rf_last_error(void); /* of this thread's last refused call */
int32_t rf_last_errno(void);
/* cffi: end */

#endif
