/* facts.h - what risefall-track is told: a table of facts that Python keeps fresh, and a thread that answers from it.
 *
 * A fact is a name of a kind, whether it is good, a weight (of backends: how many servers are up) and a few words. Python
 * puts it when it changes. The thread takes no part in checks and never the GIL: a start, a reload or a garbage collection
 * delays no answer. What Python can no longer keep fresh, because it hangs, is answered as not known: it says that it
 * lives by rf_facts_touch.
 *
 * A question is one packet: KIND \n NAME \n LEAST; the answer another: `0`, `1` or `?` (not known), a space, words. The
 * socket is of the sequenced-packet kind, so that neither side has to look for ends.
 *
 * Calls come from any thread.
 */
#ifndef RISEFALL_FACTS_H
#define RISEFALL_FACTS_H

#include "risefall.h"

/* cffi: begin */
enum { RF_FACT_NAME_MAX = 511, RF_FACT_TEXT_MAX = 255, RF_FACT_PACKET_MAX = 1024 };
enum { RF_FACT_SERVER = 0, RF_FACT_BACKEND = 1, RF_FACT_SCRIPT = 2, RF_FACT_AGENT = 3, RF_FACT_KINDS = 4 };
enum { RF_FACT_UNKNOWN = 0, RF_FACT_GOOD = 1, RF_FACT_BAD = 2 };

typedef struct rf_facts rf_facts; /* owned from rf_facts_open to rf_facts_close */

/* stale_ns: after so long without a touch nothing is known any more. NULL: no memory. */
rf_facts *rf_facts_open(uint64_t stale_ns);
void rf_facts_close(rf_facts *facts); /* stops the thread; does not close the listening socket */

/* Answers on a listening socket (AF_UNIX, SOCK_SEQPACKET, non-blocking), which the caller keeps open. Once. */
int32_t rf_facts_listen(rf_facts *facts, int32_t fd);

int32_t rf_facts_put(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len, uint32_t good, uint32_t weight,
                     const char *text, uint32_t text_len);
void rf_facts_drop(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len);

/* Whether all of a kind have been put: a name that is not there is then bad, and not known before. */
void rf_facts_ready(rf_facts *facts, uint32_t kind, uint32_t ready);

/* What is neither put nor held between the two is dropped. rf_facts_hold: whether there is such a fact; it stays as it is. */
void rf_facts_sweep_begin(rf_facts *facts, uint32_t kind);
uint32_t rf_facts_hold(rf_facts *facts, uint32_t kind, const char *name, uint32_t name_len);
uint32_t rf_facts_sweep_end(rf_facts *facts, uint32_t kind);

void rf_facts_touch(rf_facts *facts);
uint64_t rf_facts_answered(rf_facts *facts);
uint64_t rf_facts_changes(rf_facts *facts); /* rises with every fact that became another one */

/* For a restart: what is known, from *bucket (0 at first) on, which is moved; 0 bytes at the end. A bucket that does not fit
 * into an empty <out> is told in part. */
uint32_t rf_facts_save(rf_facts *facts, uint32_t *bucket, char *out, uint32_t out_max);
/* Puts what was saved, as words of the time before the restart; how many, or RF_BAD where it cannot be read. */
int32_t rf_facts_restore(rf_facts *facts, const char *bytes, uint32_t len);

/* The answer to one question, as the thread gives it; its length. out: RF_FACT_PACKET_MAX bytes. */
uint32_t rf_facts_ask(rf_facts *facts, const char *question, uint32_t len, char *out);
/* cffi: end */

#endif
