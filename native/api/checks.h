/* api/checks.h - one check: where it goes, through what, how often. Part of risefall.h. */
#ifndef RF_API_CHECKS_H
#define RF_API_CHECKS_H

#include "rules.h"

/* cffi: begin */
enum { RF_INET = 4, RF_INET6 = 6, RF_UNIX = 1, RF_ABSTRACT = 2 };

/* addr: network order; 4 bytes (INET), 16 (INET6), a path or abstract name of addr_len bytes. */
typedef struct {
    uint8_t family;
    uint8_t addr_len;
    uint16_t port;
    uint32_t scope; /* of a link-local INET6 address */
    uint8_t addr[108];
} rf_address;

/* What the connections of a check go through, as its server line says; immutable, shared, counted. */
typedef struct rf_transport rf_transport;
typedef struct {
    uint32_t layers;       /* RF_LAYER_ of a `default` or implicit connect */
    uint32_t proxy_v2;     /* not 0: RF_LAYER_PROXY_V1, of a rule too, means version 2 here */
    void *tls;             /* rf_tls_context of module _tls, NULL: none. Rules with TLS need it too */
    rf_address socks4;     /* family 0: none */
    const char *sni;       /* NULL: none */
    const uint8_t *alpn;   /* as TLS has it */
    uint32_t alpn_len;
} rf_transport_spec;
/* NULL: rf_last_error() says why (no TLS module, no address for SOCKS4). */
rf_transport *rf_transport_new(const rf_transport_spec *spec);
void rf_transport_drop(rf_transport *transport);
/* The functions of module _tls, from its rf_tls_layer(); once, before the first transport with TLS. RF_BAD: of another ABI. */
int32_t rf_use_tls(const void *functions);

/* What an external-check starts; immutable, shared, counted. */
typedef struct rf_process rf_process;
/* Copies path, arguments and environment. NULL: rf_last_error() says why. */
rf_process *rf_process_new(const char *path, const char *const *argv, uint32_t argv_len, const char *const *envp,
                           uint32_t envp_len);
void rf_process_drop(rf_process *process);

/* All of one check that its server says. A program's rules may override the address and the port. */
typedef struct {
    rf_address to;
    rf_address from;    /* `source`; family 0: the kernel chooses */
    uint16_t from_port_max; /* last of a port range, 0: none */
    char interface[16]; /* `source ... interface` */
    int32_t netns; /* descriptor of the network namespace that connections are made in, which outlives the engine; 0: our own */
    int32_t inter_ms, fastinter_ms, downinter_ms; /* fastinter, downinter: 0 when unset */
    int32_t connect_ms; /* `timeout connect`, 0 unset */
    int32_t check_ms;   /* `timeout check`, 0 unset */
    int32_t rise, fall;
    int32_t health;     /* counter to start with, 0 .. rise + fall - 1 */
    int32_t spread_pct; /* spread-checks */
    uint32_t group;     /* whose total weight RF_OP_TOTAL tells */
    int32_t weight;     /* RF_OP_WEIGHT */
    int32_t initial_weight; /* agent: what a percentage is relative to */
    uint8_t enabled, paused, stopped;
    uint8_t late_check_timeout; /* 2.6's late `timeout check` (trap 7) */
    uint8_t static_weights;     /* agent: the balance algorithm takes 0% and 100% only */
    uint8_t outside;            /* its runs are made elsewhere: RF_EV_RUN asks for each, rf_report brings its end */
    rf_transport *transport; /* NULL: plain */
    rf_process *process;     /* of an external-check */
    uint64_t first_ns;  /* when its first check is due */
    uint64_t tag;       /* the caller's own word for it, handed back in events */
} rf_check;
/* cffi: end */

#endif
