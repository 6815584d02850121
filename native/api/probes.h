/* api/probes.h - one run of a check, sans-IO. Part of risefall.h. */
#ifndef RF_API_PROBES_H
#define RF_API_PROBES_H

#include "checks.h"

/* cffi: begin */
enum { RF_WANT_CONNECT = 1, RF_WANT_SEND = 2, RF_WANT_RECV = 3, RF_WANT_DONE = 4, RF_WANT_PROCESS = 5 };
/* Where an errno came from: making the socket, connect() itself, the connection later, or its own TLS (a driver's that does it). */
enum { RF_AT_SOCKET = 1, RF_AT_CONNECT = 2, RF_AT_STREAM = 3, RF_AT_TLS = 4 };
enum { RF_CLOSE_NONE = 0, RF_CLOSE_RST = 1, RF_CLOSE_FIN = 2 };
enum {
    RF_HOW_QUIET_ACK = 1,   /* withhold the handshake's last ACK (TCP_QUICKACK off): data, or the RST, takes its place */
    RF_HOW_FRESH_SOCKET = 2, /* this connection ends with FIN: its socket cannot be used again */
    RF_HOW_TELL_ADDRESSES = 4 /* rf_probe_addresses() has to be called before rf_probe_connected() */
};

/* What a probe wants next. `close` comes first: the open connection, if any, is ended that way before anything else. */
typedef struct {
    int32_t kind;         /* RF_WANT_ */
    int32_t close;        /* RF_CLOSE_ */
    uint32_t how;         /* CONNECT: RF_HOW_ */
    uint32_t out_len;     /* SEND: bytes at out. DONE: last words, said if they go out at once */
    const uint8_t *out;
    uint8_t *in;          /* RECV: room for in_max bytes */
    uint32_t in_max;
    const rf_address *to; /* CONNECT: where to, but for the port; NULL: the check's own address */
    uint16_t port;        /* CONNECT: the port to use, 0 for UNIX sockets */
    uint16_t connection;  /* which connection of this run, from 1: a new number asks for a new connection */
    uint64_t deadline_ns; /* tell it rf_probe_time() then */
} rf_want;

enum { RF_ADMIN_NONE = 0, RF_ADMIN_READY = 1, RF_ADMIN_DRAIN = 2, RF_ADMIN_MAINT = 3 };
enum { RF_WEIGHT_NONE = 0, RF_WEIGHT_RELATIVE = 1, RF_WEIGHT_ABSOLUTE = 2 };

/* What one run found. text is not terminated; bytes are as the peer sent them. */
typedef struct {
    uint16_t status;      /* RF_ */
    uint8_t verdict;      /* RF_UNKNOWN ... */
    uint8_t self_blame;   /* our own want (no descriptor, no port): the counter must not move */
    int32_t code;
    int32_t duration_ms;
    int32_t error;        /* errno behind it, 0: none */
    uint64_t done_ns;     /* when the verdict fell: when its last bytes came in, not when we looked */
    uint64_t duration_us;
    uint8_t admin;        /* agent: RF_ADMIN_ */
    uint8_t weight_kind;  /* agent: RF_WEIGHT_ */
    uint8_t has_maxconn;
    uint8_t text_len;
    uint8_t fleeting;     /* the text is for the event alone: HAProxy logs it and shows none (mysql, ldap, spop that pass) */
    int32_t weight;       /* percent or absolute */
    int32_t maxconn;
    char text[RF_TEXT_MAX + 1];
} rf_result;

typedef struct rf_probe rf_probe;

/* One probe of its own, for any driver but the native one. site: the texts of RF_OP_FACT, each behind its length as two bytes,
 * the low one first; may be empty. NULL: out of memory. */
rf_probe *rf_probe_new(rf_program *program, const rf_check *check, const char *site, uint32_t site_len);
void rf_probe_free(rf_probe *probe);
/* Facts that the next run reads: status and verdict of the run before, the state word, weights, server stopped or not. */
void rf_probe_facts(rf_probe *probe, int32_t last_status, int32_t last_code, const char *state_text, int32_t weight,
                    int32_t total_weight, int32_t stopped);
void rf_probe_start(rf_probe *probe, uint64_t now_ns);
void rf_probe_want(rf_probe *probe, rf_want *out);
/* What happened, by whoever moves the bytes. Each may be called only when the want fits (asserted), errors at any time. */
/* Both ends of the connection, for the layer that tells them to the peer. */
void rf_probe_addresses(rf_probe *probe, const rf_address *local, const rf_address *remote);
void rf_probe_connected(rf_probe *probe, uint64_t now_ns);
void rf_probe_sent(rf_probe *probe, uint32_t len, uint64_t now_ns);
void rf_probe_received(rf_probe *probe, uint32_t len, uint64_t now_ns); /* 0: the peer ended its stream */
void rf_probe_failed(rf_probe *probe, int32_t where, int32_t error, uint64_t now_ns);
/* A driver that does TLS itself, of a socket that is connected: it begins the handshake; rf_probe_connected() comes behind it. */
void rf_probe_tls_begins(rf_probe *probe);
/* It could not: text as HAProxy words it ("SSL handshake failure"). */
void rf_probe_tls_failed(rf_probe *probe, const char *text, uint64_t now_ns);
/* The same of SOCKS4: a SOCKERR. */
void rf_probe_socks_failed(rf_probe *probe, const char *text, uint64_t now_ns);
/* A stream socket, not blocking, in the namespace of a descriptor (as root): RF_INET or RF_INET6. A negative errno: why not. */
int32_t rf_socket_within(int32_t netns, int32_t family);
/* The process ended: exit code 0 to 255, or -1: by a signal. */
void rf_probe_exited(rf_probe *probe, int32_t code, uint64_t now_ns);
void rf_probe_time(rf_probe *probe, uint64_t now_ns); /* does nothing before the deadline */
/* TLS state of the open connection, for rf_tls_peer_of() of module _tls; NULL: none. Valid until the next call. */
const void *rf_probe_tls(const rf_probe *probe);
void rf_probe_result(const rf_probe *probe, rf_result *out); /* once it wants DONE */
/* cffi: end */

#endif
