/* risefall.h - the whole C API of risefall's hot path.
 *
 * C does what happens on every check: timers, sockets, the running of a check, the rise/fall counter.
 * It owns no meaning: whether a server is in maintenance, what its agent's words do to it, who is told,
 * is decided above. Two things stand here, usable apart:
 *
 *   a probe   one run of a check program. Sans-IO: bytes, errnos and the time go in, what it wants next,
 *             until when it waits and how to close come out. It turns time-outs and errnos into statuses;
 *             drivers only report them.
 *   an engine a thread with timers, a counter and a result record for each check, slots for the checks
 *             under way, and one driver (epoll) that moves the bytes of their probes.
 *
 * Each part of the API stands in a file of its own in api/, in marks from which cffi takes its cdef, so that it is written
 * down once. Only this header is included by name.
 *
 * Units: _ns monotonic nanoseconds, _ms milliseconds. Nothing here reads a clock but rf_start's thread.
 * Source of every rule: spec/haproxy-checks.md, by section where it stands.
 */
#ifndef RISEFALL_H
#define RISEFALL_H

#include "api/base.h"
#include "api/expressions.h"
#include "api/rules.h"
#include "api/checks.h"
#include "api/probes.h"
#include "api/spawning.h"
#include "api/counting.h"
#include "api/engines.h"
#include "api/simulation.h"
#include "api/timers.h"
#include "api/playing.h"

#endif
