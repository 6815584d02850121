/* api/rules.h - check programs: what a check does, step by step. Part of risefall.h. */
#ifndef RF_API_RULES_H
#define RF_API_RULES_H

#include "expressions.h"

/* cffi: begin */
enum {
    RF_RULE_CONNECT = 1,
    RF_RULE_SEND = 2,
    RF_RULE_EXPECT = 3,
    RF_RULE_SET = 4,    /* set-var: the value of format, an expression; with RF_RULE_TEXT the text that a format gives */
    RF_RULE_UNSET = 5,
    RF_RULE_PROCESS = 6 /* external-check: the only rule of its program */
};

/* Patterns of an EXPECT. The HTTP_ ones read a parsed reply, the others the bytes as they came. */
enum {
    RF_EXP_HTTP_STATUS = 1,  /* pattern: pairs of int32 (min, max), inclusive */
    RF_EXP_HTTP_RSTATUS = 2, /* pattern: regex on the three digits */
    RF_EXP_HTTP_STRING = 3,  /* pattern: bytes in the body */
    RF_EXP_HTTP_RSTRING = 4, /* pattern: regex on the body */
    RF_EXP_HTTP_HDR = 5,     /* name/value matches, values split on commas */
    RF_EXP_HTTP_FHDR = 6,    /* the same on whole header lines */
    RF_EXP_AGENT = 7,        /* one line of agent words (spec 4.2) */
    RF_EXP_STRING = 8,       /* pattern: bytes anywhere */
    RF_EXP_REGEX = 9,        /* pattern: regex on the bytes */
    RF_EXP_BINARY = 10,      /* as STRING; only messages differ */
    RF_EXP_BINARY_REGEX = 11, /* pattern: regex on the upper-case hex dump */
    RF_EXP_STRING_LF = 12,    /* format: bytes anywhere (of the body, in an HTTP program) */
    RF_EXP_BINARY_LF = 13,    /* the same, hexadecimal digits */
    RF_EXP_MYSQL = 14,        /* the first packet; the last rule of its list tells the server's version */
    RF_EXP_MYSQL_OK = 15,     /* the packet behind the first */
    RF_EXP_LDAP = 16,         /* the answer to a bind */
    RF_EXP_SPOP = 17          /* an AGENT-HELLO */
};

enum { RF_MATCH_NONE = 0, RF_MATCH_STR = 1, RF_MATCH_BEG = 2, RF_MATCH_END = 3, RF_MATCH_SUB = 4, RF_MATCH_REG = 5 };

enum {
    RF_RULE_NEGATE = 1,  /* `!` */
    RF_RULE_LINGER = 2,  /* CONNECT: end this connection with FIN, not RST */
    RF_RULE_IMPLICIT = 4, /* CONNECT that no rule asked for: "initial connection step", no success text */
    RF_RULE_DEFAULT = 8,  /* CONNECT: with the layers, SNI and ALPN of the check's transport, and those of its own */
    RF_RULE_HEX = 16,     /* SEND: the format gives hexadecimal digits */
    RF_RULE_TEXT = 32     /* SET: a format, not an expression */
};
/* Of a variable that is to be set: whether it has a value, what the new value is, how its own number compares with it. */
enum {
    RF_IF_EXISTS = 1,
    RF_IF_NOT_EXISTS = 2,
    RF_IF_EMPTY = 4,
    RF_IF_NOT_EMPTY = 8,
    RF_IF_SET = 16,
    RF_IF_NOT_SET = 32,
    RF_IF_GREATER = 64,
    RF_IF_LESS = 128
};

/* What lies between the rules and the socket, from the socket on. */
enum { RF_LAYER_SOCKS4 = 1, RF_LAYER_PROXY_V1 = 2, RF_LAYER_PROXY_V2 = 4, RF_LAYER_TLS = 8 };

/* One step. CONNECT: port (0: what format says, else the check's own), address, layers, sni, alpn. SEND: format.
 * SET, UNSET: variable. EXPECT: the rest. */
typedef struct {
    uint16_t kind;   /* RF_RULE_ */
    uint16_t flags;  /* RF_RULE_NEGATE ... */
    int32_t step;    /* the number that messages tell; 0 for the implicit connect */
    uint16_t expect; /* RF_EXP_ */
    uint16_t port;
    uint16_t name_match, value_match; /* RF_MATCH_, value NONE: presence is enough */
    uint16_t ok_status, error_status, tout_status;
    uint16_t layers;   /* RF_LAYER_, or-ed */
    int32_t min_recv; /* -1: none */
    uint32_t variable; /* its number in this program */
    uint32_t conditions; /* SET: RF_IF_, all of which must hold */
    rf_format format, name_format, value_format, on_success, on_error;
    rf_format status_code; /* an expression */
    rf_span pattern, name, value, comment;
    rf_span address;   /* an rf_address; empty: the check's own. Its port counts where none else is given */
    rf_span sni, alpn; /* alpn as TLS has it: names with a length byte each */
} rf_rule;

enum {
    RF_PROG_HTTP = 1,         /* replies are HTTP: the header block is parsed before any expect sees it */
    RF_PROG_TCPCHECK = 2,     /* messages carry "at step N of tcp-check" and "(tcp-check)" */
    RF_PROG_AGENT = 4,        /* rise and fall are 1, failures below L7STS change nothing */
    RF_PROG_DISABLE404 = 8,   /* http-check disable-on-404 */
    RF_PROG_OS_ERRNO_TEXT = 16, /* 3: "ECONNREFUSED returned by OS (Connection refused)" */
    RF_PROG_NO_REASON_TEXT = 32, /* 3: a reply without reason phrase tells which match failed */
    RF_PROG_AGENT_WEIGHT = 64,   /* 3: the agent word `weight:` */
    RF_PROG_BARE_COMMENT = 128,  /* 3: comment of an empty response is not quoted */
    RF_PROG_HEX_PATTERN = 256,   /* 3: binary patterns are told in hex */
    RF_PROG_SPOP_CAPABILITIES = 512, /* 3: an AGENT-HELLO is read as today: it names its capabilities ... */
    RF_PROG_CAPTURES = 1024       /* 3: \1 in a comment is what a regular expression has found */
};

typedef struct rf_program rf_program; /* immutable; shared by every check with the same rules */

/* Compiles rules: checks them, copies the blob, compiles every regex. bufsize: input buffer, bytes.
 * NULL: rf_last_error() says why (bad span, bad regex with its offset, out of memory). */
rf_program *rf_program_new(const rf_rule *rules, uint32_t rules_len, const rf_op *ops, uint32_t ops_len,
                           const uint8_t *blob, uint32_t blob_len, uint32_t flags, uint32_t bufsize);
/* Counts holders: rf_program_new gives one to its caller, rf_add and rf_probe_new one to each check and probe. */
void rf_program_drop(rf_program *program);
/* cffi: end */

#endif
