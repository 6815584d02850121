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
 * Units: _ns monotonic nanoseconds, _ms milliseconds. Nothing here reads a clock but rf_start's thread.
 * Source of every rule: spec/haproxy-checks.md, by section where it stands.
 */
#ifndef RISEFALL_H
#define RISEFALL_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin -- the cdef is taken from here, so the API is written down once */
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

/* --- check programs ------------------------------------------------------------------------------ */

/* A piece of a program's blob. */
typedef struct {
    uint32_t at, len;
} rf_span;

/* One operation of a log-format or a sample expression (sample.h). A format is a run of them: TEXT appends, a fetch gives a
 * value, converters change it, EMIT appends it. An expression alone has no TEXT and no EMIT. */
typedef struct {
    uint32_t code;           /* RF_OP_, RF_FETCH_ or RF_CONV_ */
    int32_t regex;           /* of a converter: 1 + its place among the program's regexes; filled in by rf_program_new */
    int64_t number, number2;
    rf_span text, other;
} rf_op;
enum {
    RF_OP_TEXT = 0,        /* appends text */
    RF_OP_EMIT = 1,        /* appends the value */
    RF_OP_FACT = 2,        /* appends the number-th text of the site given to rf_add */
    RF_OP_STATE = 3,       /* appends the word that rf_command last set as state_text */
    RF_OP_WEIGHT = 4,      /* appends the effective weight */
    RF_OP_TOTAL = 5,       /* appends the total weight of the check's group */
    RF_OP_HEADER = 6,      /* SEND: begins a header, its name is text; nothing of it is said if its value turns out empty */
    RF_OP_HEADER_END = 7,
    RF_OP_NO_BODY = 9,     /* SEND: text, if the body, the last number operations of this format, gives nothing */
    RF_OP_LENGTH = 8,      /* SEND: a content-length header for the body: the last number operations of this format;
                            * number2: also when they give nothing */
    RF_OP_CONNECTION_END = 10, /* SEND: ends a header as HEADER_END does; what rf_connection_value() makes of its value */
    RF_OP_CONNECTION = 11, /* SEND: rf_connection_line() of those headers and of number (RF_SAID_); number2: HTTP/1.1 */
    RF_OP_URI = 12,        /* SEND: begins a URI */
    RF_OP_AUTHORITY = 13,  /* SEND: behind a URI: begins the Host header's value, which becomes its authority if it has one */
    RF_OP_URI_END = 14,    /* SEND: one that turned out empty is `/` */
    RF_OP_LAST = 14
};
/* What the Connection headers of a request say. ANY: something. */
enum { RF_SAID_ANY = 1, RF_SAID_CLOSE = 2, RF_SAID_UPGRADE = 4 };
/* Number of RF_OP_EMIT, or-ed. DASH: `-` for nothing. HEX: a number in as many hexadecimal digits, or more. */
enum { RF_EMIT_QUOTE = 1, RF_EMIT_ESCAPE = 2, RF_EMIT_DASH = 4, RF_EMIT_HEX2 = 8, RF_EMIT_HEX4 = 16 };
/* Fetches: each begins an expression. */
enum {
    RF_FETCH_TEXT = 100,       /* text */
    RF_FETCH_BIN = 101,        /* text, as binary */
    RF_FETCH_INT = 102,        /* number */
    RF_FETCH_BOOL = 103,       /* number */
    RF_FETCH_FACT = 104,       /* the number-th text of the site */
    RF_FETCH_DATE = 105,       /* time of day, plus number; number2: RF_UNIT_ */
    RF_FETCH_DATE_US = 106,    /* microseconds of the running second */
    RF_FETCH_RAND = 107,       /* number: below it, 0: any 32 bits */
    RF_FETCH_UUID = 108,       /* version 4 */
    RF_FETCH_VAR = 109,        /* number: of the variable, may be RF_VARIABLE_NONE; number2 1: text where it is unset */
    RF_FETCH_PAYLOAD = 110,    /* number: offset, number2: length, 0: all the rest */
    RF_FETCH_PAYLOAD_LV = 111, /* low 32 bits of number: offset of the length, high: RF_LV_; of number2: size of the length, high:
                                * offset of the payload from where RF_LV_ says */
    RF_FETCH_LEN = 112,
    RF_FETCH_STATUS = 113,
    RF_FETCH_HDR = 114,        /* text: name, empty: any; number: which one, negative from the last, 0: the last */
    RF_FETCH_FHDR = 115,       /* the same, values are not split on commas */
    RF_FETCH_HDR_CNT = 116,
    RF_FETCH_FHDR_CNT = 117,
    RF_FETCH_VER = 118,
    RF_FETCH_BODY = 119,
    RF_FETCH_BODY_LEN = 120,
    RF_FETCH_HDRS = 121,
    RF_FETCH_HDR_NAMES = 122,  /* text: what stands between them */
    RF_FETCH_COUNT = 124,      /* how often this was asked before */
    RF_FETCH_IPV4 = 125,       /* number */
    RF_FETCH_IPV6 = 126,       /* text: 16 bytes */
    RF_FETCH_COOKIE = 127,     /* text: name of a cookie that the reply sets, empty: any; the last of them */
    RF_FETCH_COOKIE_CNT = 128, /* the same */
    RF_FETCH_HDRS_BIN = 129,
    RF_FETCH_HDR_IP = 130,     /* as HDR, undefined where it is no address */
    RF_FETCH_END = 131,        /* number: RF_END_ of the connection; undefined without one */
    RF_FETCH_TLS = 132,        /* number: RF_TLS_ of the connection */
    RF_FETCH_HTTP_MAJOR = 133,
    RF_FETCH_LAST = 133
};
enum { RF_VARIABLE_NONE = 0x7fffffff }; /* one that is never set */
enum { RF_UNIT_S = 0, RF_UNIT_MS = 1, RF_UNIT_US = 2 };
enum { RF_LV_START = 0, RF_LV_FORWARD = 1, RF_LV_BACK = 2 };
/* Converters: each changes the value before it. An operand is number; with number2 1 the number-th variable. */
enum {
    RF_CONV_ADD = 200,
    RF_CONV_SUB = 201,
    RF_CONV_MUL = 202,
    RF_CONV_DIV = 203,
    RF_CONV_MOD = 204,
    RF_CONV_AND = 205,
    RF_CONV_OR = 206,
    RF_CONV_XOR = 207,
    RF_CONV_NEG = 208,
    RF_CONV_CPL = 209,
    RF_CONV_NOT = 210,
    RF_CONV_BOOL = 211,
    RF_CONV_ODD = 212,
    RF_CONV_EVEN = 213,
    RF_CONV_INT = 214, /* only the cast; number 1: as HAProxy reads numbers of headers and cookies, see loose_number() */
    RF_CONV_TEXT = 215,
    RF_CONV_LOWER = 216,
    RF_CONV_UPPER = 217,
    RF_CONV_LENGTH = 218,
    RF_CONV_BYTES = 219,    /* number: offset, number2: length, -1: the rest */
    RF_CONV_LTRIM = 220,    /* text: characters */
    RF_CONV_RTRIM = 221,    /* text */
    RF_CONV_CUT_CRLF = 222,
    RF_CONV_CONCAT = 223,   /* text, the number-th variable where number2 is 1, other */
    RF_CONV_FIELD = 224,    /* number: which one, number2: how many, 0: all; text: delimiters */
    RF_CONV_WORD = 225,     /* the same */
    RF_CONV_REGSUB = 226,   /* regex (text: its pattern), other: replacement, number: RF_REGSUB_ */
    RF_CONV_HEX = 227,
    RF_CONV_HEX2I = 228,
    RF_CONV_BASE64 = 229,
    RF_CONV_B64DEC = 230,
    RF_CONV_UB64ENC = 231,
    RF_CONV_UB64DEC = 232,
    RF_CONV_URL_DEC = 233,  /* number 1: `+` is a blank everywhere */
    RF_CONV_URL_ENC = 234,
    RF_CONV_JSON = 235,     /* number: RF_JSON_ */
    RF_CONV_STRCMP = 236,   /* with the number-th variable */
    RF_CONV_IIF = 237,      /* text when true, other when false */
    RF_CONV_HTONL = 238,
    RF_CONV_BE2DEC = 239,   /* text: separator, number: bytes a piece, number2 1: no shorter last piece */
    RF_CONV_BE2HEX = 240,
    RF_CONV_CRC32 = 241,    /* hashes: number 1: avalanche */
    RF_CONV_CRC32C = 242,
    RF_CONV_DJB2 = 243,
    RF_CONV_SDBM = 244,
    RF_CONV_LTIME = 246,    /* text: strftime's format, number: offset */
    RF_CONV_UTIME = 247,
    RF_CONV_HTTP_DATE = 248, /* number: offset, number2: RF_UNIT_ */
    RF_CONV_SET_VAR = 249,  /* number: of the variable, number2: RF_IF_; undefined where one does not hold; text: what is kept instead */
    RF_CONV_UNSET_VAR = 250,
    RF_CONV_HOST_ONLY = 251,
    RF_CONV_PORT_ONLY = 252,
    RF_CONV_WT6 = 253,
    RF_CONV_XXH32 = 254,    /* number: seed */
    RF_CONV_XXH64 = 255,
    RF_CONV_XXH3 = 256,
    RF_CONV_DIGEST = 257,   /* number: RF_DIGEST_ */
    RF_CONV_HMAC = 258,     /* number: RF_DIGEST_; text: the key, or with number2 >= 0 base64 in the number2-th variable */
    RF_CONV_SAME = 259,     /* as bytes as the number-th variable */
    RF_CONV_ADD_ITEM = 260, /* text: delimiter, other: suffix; number2 1: the number-th variable */
    RF_CONV_JSON_QUERY = 261, /* text: the path; number 1: numbers become integers */
    RF_CONV_BIN = 262,     /* only the casts */
    RF_CONV_IPV4 = 263,
    RF_CONV_IPV6 = 264,
    RF_CONV_ADDR = 265,    /* either */
    RF_CONV_INSTEAD = 266, /* number; number2: RF_INSTEAD_ */
    RF_CONV_IPMASK = 267,  /* number: mask of IPv4; text: that of IPv6, 16 bytes or none */
    RF_CONV_LOOK_UP = 268, /* the number its text has in the number-th text of the site: lines of a number, a blank, a name */
    RF_CONV_LANGUAGE = 269, /* text: languages, each ends with `;`; other: where none fits */
    RF_CONV_PROTOBUF = 270, /* text: path, 4 bytes a field, lowest first; number: RF_PB_; number2 1: behind gRPC's framing */
    RF_CONV_MAP = 271,      /* number: RF_MAP_ of the key, number2: of what it gives; text: the table, see maps.c; other: where none fits */
    RF_CONV_FIX_VALID = 272,
    RF_CONV_FIX_TAG = 273,  /* number: of the tag */
    RF_CONV_MQTT_VALID = 274,
    RF_CONV_MQTT_FIELD = 275, /* number: RF_MQTT_ packet, number2: property, or from RF_MQTT_FLAGS on what else it has */
    RF_CONV_JWT_PART = 276, /* number 0: header, 1: payload */
    RF_CONV_JWT_VERIFY = 277, /* algorithm: text, or the number-th variable; key: other, or the number2-th; -1: no variable */
    RF_CONV_AES_GCM = 278,  /* number: bits; text: nonce, key, tag in turn: one byte 0 and a length of 4, or 1 and a variable's number */
    RF_CONV_PARAM = 279,    /* text: name, other: between parameters */
    RF_CONV_FORWARDED = 280, /* number: RF_FORWARDED_ */
    RF_CONV_LAST = 280
};
enum { RF_INSTEAD_INT = 0, RF_INSTEAD_BOOL = 1, RF_INSTEAD_NOTHING = 2 };
enum { RF_PB_RAW = 0, RF_PB_INT = 1, RF_PB_INT32 = 2, RF_PB_ZIGZAG = 3, RF_PB_FIXED32 = 4, RF_PB_SFIXED32 = 5,
       RF_PB_FLOAT = 6, RF_PB_FIXED64 = 7, RF_PB_DOUBLE = 8 };
/* How a map compares, and what it gives; OTHERWISE: something also where nothing fits. */
enum { RF_MAP_EQUAL = 0, RF_MAP_BEGIN = 1, RF_MAP_END = 2, RF_MAP_WITHIN = 3, RF_MAP_DIRECTORY = 4, RF_MAP_DOMAIN = 5,
       RF_MAP_NUMBER = 6, RF_MAP_ADDRESS = 7, RF_MAP_REGEX = 8, RF_MAP_REGEX_FILL = 9 };
enum { RF_MAP_TEXT = 0, RF_MAP_INT = 1, RF_MAP_IP = 2, RF_MAP_OTHERWISE = 4 };
/* Of a Forwarded header (RFC 7239): its fields, whether it is one, and of one node in it. */
enum { RF_FORWARDED_PROTO = 0, RF_FORWARDED_HOST = 1, RF_FORWARDED_BY = 2, RF_FORWARDED_FOR = 3, RF_FORWARDED_VALID = 4,
       RF_FORWARDED_NODE_NAME = 5, RF_FORWARDED_NODE_PORT = 6, RF_FORWARDED_FIRST = RF_FORWARDED_PROTO,
       RF_FORWARDED_LAST = RF_FORWARDED_NODE_PORT };
/* Ends of a connection; what there is to know of its TLS, the first ten in the order of the TLS module's own. */
enum { RF_END_SRC = 0, RF_END_DST = 1, RF_END_SRC_PORT = 2, RF_END_DST_PORT = 3 };
enum { RF_TLS_ALPN = 0, RF_TLS_CIPHER = 1, RF_TLS_PROTOCOL = 2, RF_TLS_SESSION_ID = 3, RF_TLS_MASTER_KEY = 4, RF_TLS_CLIENT_RANDOM = 5,
       RF_TLS_SERVER_RANDOM = 6, RF_TLS_UNIQUE_ID = 7, RF_TLS_KEY_BITS = 8, RF_TLS_USED_BITS = 9, RF_TLS_THERE = 10, RF_TLS_RESUMED = 11,
       RF_TLS_ERROR = 12, RF_TLS_LAST = 12 };
/* What MQTT packets have besides numbered properties. */
enum { RF_MQTT_CONNECT = 1, RF_MQTT_CONNACK = 2, RF_MQTT_OTHER = 3 };
enum { RF_MQTT_FLAGS = 256, RF_MQTT_REASON, RF_MQTT_VERSION, RF_MQTT_PROTOCOL, RF_MQTT_CLIENT, RF_MQTT_WILL_TOPIC, RF_MQTT_WILL_PAYLOAD,
       RF_MQTT_USER, RF_MQTT_PASSWORD, RF_MQTT_KEEPALIVE, RF_MQTT_LAST = RF_MQTT_KEEPALIVE };
/* One format evaluated by itself, for tests and fuzzing. */
typedef struct {
    const rf_op *ops;
    const uint8_t *blob, *in, *site; /* in: what the peer sent. site: see rf_probe_new */
    uint32_t ops_len, blob_len, in_len;
    uint8_t http, as_number; /* in is parsed as a reply; an expression, whose number is written: a status-code */
    uint16_t site_len;
    int32_t weight, total_weight;
    uint64_t now_ns; /* since 1970 */
} rf_sample_case;
/* Length of what was written, more than out_max where it was cut; negative: refused. */
int64_t rf_sample_test(const rf_sample_case *given, uint8_t *out, uint32_t out_max);
enum { RF_DIGEST_MD5 = 0, RF_DIGEST_SHA1 = 1, RF_DIGEST_SHA224 = 2, RF_DIGEST_SHA256 = 3, RF_DIGEST_SHA384 = 4, RF_DIGEST_SHA512 = 5 };
enum { RF_REGSUB_GLOBAL = 1, RF_REGSUB_CASELESS = 2 };
enum { RF_JSON_ASCII = 0, RF_JSON_UTF8 = 1, RF_JSON_UTF8S = 2, RF_JSON_UTF8P = 3, RF_JSON_UTF8PS = 4 };
/* A run of operations. */
typedef struct {
    uint32_t at, len;
} rf_format;

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

/* --- where a check goes --------------------------------------------------------------------------- */

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

/* --- the probe -------------------------------------------------------------------------------------- */

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

/* request.c: a request's Connection header without the words that HAProxy speaks for itself, in place; *said gets RF_SAID_ of
 * all that was there. Returns the length that is left: of an empty one nothing is sent. */
uint32_t rf_connection_value(uint8_t *value, uint32_t len, uint32_t *said);
/* The header line that HAProxy adds itself; may be empty. modern: of HTTP/1.1. */
const char *rf_connection_line(uint32_t said, int32_t modern);
/* The part of a URI that the Host header replaces; 0: it has none, else 1. */
int32_t rf_uri_authority(const uint8_t *uri, uint32_t len, rf_span *out);

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

/* --- processes (spawn.c) -------------------------------------------------------------------------------------- */

enum {
    RF_SPAWN_NEW_GROUP = 1, /* leads a process group of its own, of which all end with it */
    RF_SPAWN_NULL_STDIO = 2, /* 0 to 2 are /dev/null; else 0 alone is, 1 and 2 stay what they are */
    RF_SPAWN_GROUPS = 4, /* its supplementary groups are <groups>, none if groups_len is 0 */
    RF_SPAWN_UMASK = 8,
    RF_SPAWN_DIE_WITH_US = 16 /* SIGTERM when the thread that started it ends */
};
typedef struct {
    const char *path;               /* for execve: no search */
    const char *const *argv, *const *envp; /* ended by NULL */
    uint32_t uid, gid;              /* UINT32_MAX: as they are */
    uint32_t flags;                 /* RF_SPAWN_ */
    const uint32_t *groups;
    uint32_t groups_len, umask;
    int32_t *error_out;             /* NULL, or gets the errno of what kept the program from being executed, else 0 */
} rf_spawn_order;
/* Starts a process with every descriptor from 3 on closed, signals at their defaults, none blocked. A path that cannot be
 * executed is a process that exits with 255 at once, as in HAProxy. RF_ERRNO: it could not be started. */
int32_t rf_spawn(const rf_spawn_order *order, int32_t *pid_out, int32_t *pidfd_out);
/* RF_OK: it has ended, all that was left of its group is killed, and it is reaped; status: exit code, or -signal.
 * RF_FULL: it still runs. */
int32_t rf_spawn_reap(int32_t pidfd, int32_t pid, int32_t *status_out);
void rf_spawn_signal_group(int32_t pid, int32_t signal);

/* --- the counter (spec 1.2, 1.3, 2.1) ------------------------------------------------------------------ */

/* Next counter after <verdict>; 0 .. rise + fall - 1. */
int32_t rf_counter_next(int32_t health, int32_t rise, int32_t fall, int32_t verdict);
/* The same for a check that may be an agent's, whose failures below L7STS change nothing (spec 4.4). */
int32_t rf_counter_after(int32_t health, int32_t rise, int32_t fall, int32_t verdict, int32_t status, int32_t agent);
/* Milliseconds from a check's completion to the next one: full: inter, 0: downinter, else fastinter (0: unset). */
int32_t rf_counter_pace(int32_t health, int32_t rise, int32_t fall, int32_t inter_ms, int32_t fastinter_ms,
                        int32_t downinter_ms);

/* --- the engine ------------------------------------------------------------------------------------------ */

typedef struct rf_engine rf_engine; /* opaque; owned from rf_open to rf_close */

typedef struct {
    uint32_t slots;       /* checks under way at once, at most */
    uint32_t checks_max;  /* checks that it will ever hold at once */
    uint32_t ring_len;    /* events that wait for rf_drain; a power of two */
    uint32_t queue_len;   /* commands that wait; a power of two */
    uint32_t bufsize;     /* input buffer of a slot, bytes */
    uint32_t groups;      /* how many total weights */
    uint32_t gather_us;   /* most that a wake-up waits for company, 0: never */
    uint32_t handshakes;  /* TLS handshakes under way at once, at most; 0: 64 */
    uint32_t processes;   /* processes at once, at most; 0: 64 */
    uint32_t sessions_bytes; /* for TLS sessions kept to be resumed, at most; 0: 64 MiB */
    uint64_t seed;        /* of spread-checks */
} rf_options;

/* NULL: rf_last_error() and rf_last_errno() say why. */
rf_engine *rf_open(const rf_options *options);
void rf_close(rf_engine *engine); /* stops the thread first, closes every socket */

/* Adds a check. Before rf_start at once, after it through the queue. site: see rf_probe_new. */
int32_t rf_add(rf_engine *engine, rf_program *program, const rf_check *check, const char *site, uint32_t site_len,
               uint64_t *handle_out);
int32_t rf_remove(rf_engine *engine, uint64_t check);

/* Which fields of a command count. */
enum {
    RF_SET_HEALTH = 1,
    RF_SET_PAUSED = 2,
    RF_SET_ENABLED = 4,
    RF_SET_STOPPED = 8,
    RF_SET_STATE_TEXT = 16,
    RF_SET_WEIGHT = 32,
    RF_SET_TARGET = 64,  /* to: a new address; the run under way is given up and a new one starts at once */
    RF_SET_NOW = 128,    /* check at once */
    RF_SET_TOUCHED = 256,  /* the next result is told even when it is the same as the last */
    RF_SET_KEEP_PACE = 512 /* with RF_SET_TARGET: the run under way goes on, and none starts before its time */
};
typedef struct {
    uint64_t check;
    uint32_t set;   /* RF_SET_, or-ed */
    uint32_t epoch; /* not 0: events of runs that completed before this command carry an older one */
    int32_t health, weight;
    uint8_t paused, enabled, stopped, state_text_len;
    char state_text[RF_STATE_TEXT_MAX + 1];
    rf_address to;
} rf_order;
/* RF_FULL: the queue is full, nothing was done. */
int32_t rf_command(rf_engine *engine, const rf_order *order);
/* Observed traffic (spec 1.6): the counter is at most <ceiling>, then one failed check counts, of status HANA and with this text;
 * no text: nothing counts. Either way the next check comes after fastinter at the latest; <again>: the one behind it too, whatever
 * the counter. RF_FULL: say it again. */
int32_t rf_observed(rf_engine *engine, uint64_t check, int32_t ceiling, uint32_t again, const char *text, uint32_t text_len);
/* The end of an outside check's run; one that was given up meanwhile is ignored. RF_FULL: the queue is full, say it again. */
int32_t rf_report(rf_engine *engine, uint64_t check, uint32_t run, const rf_result *result);
int32_t rf_group_weight(rf_engine *engine, uint32_t group, int32_t total_weight);
/* Other texts of a check's site (see rf_probe_new), and another process where it has one (NULL: the same), from now on: its server
 * has got another address. A process that was started already goes on. */
int32_t rf_set_site(rf_engine *engine, uint64_t check, const char *site, uint32_t site_len, rf_process *process);
/* Another program for a check, from its next run on; one that tells no facts and needs no TLS. Both are held. */
int32_t rf_set_program(rf_engine *engine, uint64_t check, rf_program *program);

enum {
    RF_EV_STATUS = 1,  /* the status number differs from the last one */
    RF_EV_COUNTER = 2, /* the counter moved */
    RF_EV_WORDS = 4,   /* agent: admin, weight or maxconn words */
    RF_EV_TOUCHED = 8, /* told because a command touched this check */
    RF_EV_RUN = 16     /* no result: an outside check is due; result is its last one */
};
typedef struct {
    uint64_t check, tag;
    uint32_t epoch;
    uint32_t flags; /* RF_EV_ */
    int32_t health; /* counter after this result */
    uint16_t last_status;
    uint16_t late_us_capped; /* how late it started, at most 65535 */
    uint32_t run;            /* of RF_EV_RUN: to be named in the report */
    uint64_t due_ns, done_ns;
    rf_result result;
} rf_event;
/* Moves at most <out_max> events into <out>, oldest first; returns how many. Never sleeps, never allocates. */
int32_t rf_drain(rf_engine *engine, rf_event *out, uint32_t out_max);
/* Handles of checks of which an event was dropped since last asked; read their records. */
int32_t rf_drain_dirty(rf_engine *engine, uint64_t *out, uint32_t out_max);
int32_t rf_event_fd(rf_engine *engine); /* readable while there is something to drain */
void rf_event_clear(rf_engine *engine); /* before draining */
/* Now and then, by the commanding thread: gives back the memory that a burst of commands has filled. */
void rf_rest(rf_engine *engine);

/* A check's last result, as it stands now. */
typedef struct {
    uint64_t check, tag;
    uint32_t epoch;
    int32_t health;
    uint32_t fails;      /* failed results while the counter was above 0 */
    uint8_t in_progress, enabled, paused, reserved;
    uint64_t done_ns, runs;
    rf_result result;
} rf_record;
/* Records of <len> handles, each consistent in itself; a stale handle gives check 0. Returns how many were found. */
int32_t rf_snapshot(rf_engine *engine, const uint64_t *checks, uint32_t len, rf_record *out);

/* Log-linear histogram of microseconds: 8 buckets an octave. rf_bucket_us gives a bucket's upper edge. */
typedef struct {
    uint64_t count, sum_us, max_us;
    uint64_t buckets[RF_HISTOGRAM_BUCKETS];
} rf_histogram;
uint64_t rf_bucket_us(uint32_t bucket);

typedef struct {
    uint64_t started, finished, passed, failed, neutral, self_blamed, timed_out, evicted;
    uint64_t events, events_dropped, commands, wakeups, polls;
    uint64_t self_errno[8]; /* which errnos self_blamed had: a bit each, by number */
    uint32_t checks, slots, in_flight, suspects_in_flight, waiting, sockets_kept;
    uint32_t handshakes, processes, sessions_bytes; /* as of now */
    uint64_t resumed;                               /* TLS handshakes that resumed a session */
    rf_histogram late;         /* due to started, checks whose last run did not time out */
    rf_histogram late_suspect; /* the same, of the others */
    rf_histogram duration;
} rf_statistics;
void rf_statistics_read(rf_engine *engine, rf_statistics *out);

/* Test seam: the next <times> calls of <call> by this engine fail with <error>. Calls: RF_CALL_. */
enum { RF_CALL_SOCKET = 0, RF_CALL_CONNECT = 1, RF_CALL_SEND = 2, RF_CALL_RECV = 3, RF_CALLS = 4 };
void rf_inject(rf_engine *engine, int32_t call, int32_t error, uint32_t times);

/* The thread: started once, stopped once. It blocks every signal. cpu: -1, or the one to run on. */
int32_t rf_start(rf_engine *engine, int32_t cpu);
int32_t rf_stop(rf_engine *engine);
int32_t rf_running(const rf_engine *engine);
/* Wakes the thread for one turn and changes nothing else: whoever sees `polls` rise after it knows that the thread moves,
 * also where no check is due for hours. */
void rf_nudge(rf_engine *engine);
/* One turn without a thread (tests, simulators): takes commands, events of the sockets and due timers, sleeps never.
 * Returns when it wants to be called again at the latest, UINT64_MAX: only when a socket or a command calls. */
uint64_t rf_step(rf_engine *engine, uint64_t now_ns);
uint64_t rf_now_ns(void);

uint32_t rf_abi(void);
uint32_t rf_features(void); /* bit 0: PCRE2, bit 1: a TLS module is in use */
const char *rf_last_error(void); /* of this thread's last refused call */
int32_t rf_last_errno(void);

/* --- checks in virtual time (sim.c) ----------------------------------------------------------------------- */

enum { RF_SIM_CELLS = 1024, RF_SIM_EDGES = 1025, RF_SIM_LEVELS = 3 };
/* What a server, or the way to it, is like for a while: SILENT swallows packets, HUNG accepts and says nothing until it
 * is over, WRONG answers what the check does not want. */
enum { RF_SIM_PLAIN = 0, RF_SIM_REFUSED = 1, RF_SIM_SILENT = 2, RF_SIM_HUNG = 3, RF_SIM_WRONG = 4 };
/* How a check can end: no connection in time, none wanted, no reply in time, a reset, a wrong reply, a good one. */
enum {
    RF_SIM_END_SILENT = 0,
    RF_SIM_END_REFUSED = 1,
    RF_SIM_END_HUNG = 2,
    RF_SIM_END_RESET = 3,
    RF_SIM_END_WRONG = 4,
    RF_SIM_END_GOOD = 5,
    RF_SIM_ENDS = 6
};

/* How long a thing takes: quantiles in microseconds at equal steps, the last step once more in as many, and its last too. */
typedef struct {
    uint32_t us[3][1025];
} rf_sim_latency;

/* From begin_ns until the next of its list begins. Chances in 2^-32. */
typedef struct {
    uint64_t begin_ns;
    uint32_t kind;     /* RF_SIM_ */
    uint32_t slow_pct; /* of a reply's time; 100: as it is */
    uint32_t loss;     /* of one packet; TCP sends it again */
    uint32_t wrong;    /* of a reply */
} rf_sim_stretch;

/* What checks have in common. Limits and verdicts are a real probe's; the reply is awaited until the later of
 * start + reply_floor_ns and connection + reply_after_ns. */
typedef struct {
    int32_t inter_ms, fastinter_ms, downinter_ms; /* fastinter, downinter: 0 when unset */
    int32_t rise, fall, spread_pct;
    uint64_t connect_limit_ns, reply_floor_ns, reply_after_ns;
    uint64_t plain_limit_ns; /* what is over by then, from the start on, has met every limit */
    uint32_t connect_latency, reply_latency;
    uint32_t trips;          /* round trips until the connection stands: 1, more with TLS */
    uint8_t connect_only, agent;
    uint8_t verdict[6];      /* of each RF_SIM_END_ */
    uint16_t status[6];
} rf_sim_class;

typedef struct {
    uint32_t server, prober, klass;
    int32_t health;
    uint64_t first_ms;
} rf_sim_check;

/* A check turned good or bad. since_ns: start of the first check of the streak that did it. */
typedef struct {
    uint64_t done_ns, since_ns;
    uint32_t check;
    uint16_t status;
    uint8_t good;
} rf_sim_event;

/* What the network does with one check, whatever its deadlines; UINT64_MAX: never. reply: RF_SIM_END_RESET ... */
typedef struct {
    uint64_t connect_ns, reply_ns;
    uint32_t refused, reply;
} rf_sim_wire;

typedef struct {
    uint64_t checks, fails;
    uint32_t server_peak, prober_peak; /* most checks that began in one second, of its server and its prober */
    int32_t health;
} rf_sim_tally;

typedef struct {
    uint32_t checks_max, servers, probers, classes_max, latencies_max;
    uint64_t seed;
} rf_sim_options;

typedef struct rf_sim rf_sim; /* owned from rf_sim_open to rf_sim_close; one thread at a time */

rf_sim *rf_sim_open(const rf_sim_options *options);
void rf_sim_close(rf_sim *sim);
/* These give the number of what was added. Stretches and latencies come before the checks that use them. */
int32_t rf_sim_latency_add(rf_sim *sim, const rf_sim_latency *latency);
int32_t rf_sim_class_add(rf_sim *sim, const rf_sim_class *klass);
int32_t rf_sim_add(rf_sim *sim, const rf_sim_check *check);
int32_t rf_sim_server(rf_sim *sim, uint32_t server, const rf_sim_stretch *stretches, uint32_t len);
int32_t rf_sim_way(rf_sim *sim, uint32_t prober, const rf_sim_stretch *stretches, uint32_t len);
/* Its prober begins anew: counter and first check as told. */
int32_t rf_sim_restart(rf_sim *sim, uint32_t check, uint64_t first_ms, int32_t health);
/* Counts the checks that begin from then on, in bins. */
int32_t rf_sim_watch(rf_sim *sim, uint64_t from_ms, uint64_t bin_ms, uint32_t bins);
uint32_t rf_sim_bins(const rf_sim *sim, uint64_t *out, uint32_t out_max);
/* Lets every check begin that is due before until_ms. How many events; before the end is reached when there is no room for
 * 1024 more, then rf_sim_now_ms() is less and it is called again. Events are not in the order of done_ns, but those of a
 * check are, and none is told later that is over before rf_sim_now_ms(). */
int64_t rf_sim_run(rf_sim *sim, uint64_t until_ms, rf_sim_event *out, uint32_t out_max);
uint64_t rf_sim_now_ms(const rf_sim *sim);
uint64_t rf_sim_checks(const rf_sim *sim);
int32_t rf_sim_tally_read(const rf_sim *sim, uint32_t check, rf_sim_tally *out);
/* For the slow way, which goes through probes: what the network does with the count-th check, from 0, that starts then; how
 * long it pauses after it. Before rf_sim_run. */
int32_t rf_sim_wired(rf_sim *sim, uint32_t check, uint64_t count, uint64_t start_ns, rf_sim_wire *out);
int32_t rf_sim_pause(rf_sim *sim, uint32_t check, uint64_t count, int32_t pace_ms, int64_t *out_ms);

/* Timers alone, for tests: a wheel of <timers_max> timers, each named by its index. */
typedef struct rf_wheel rf_wheel;
rf_wheel *rf_wheel_new(uint32_t timers_max, uint64_t now_ms);
void rf_wheel_free(rf_wheel *wheel);
void rf_wheel_set(rf_wheel *wheel, uint32_t timer, uint64_t due_ms);
void rf_wheel_unset(rf_wheel *wheel, uint32_t timer);
int32_t rf_wheel_advance(rf_wheel *wheel, uint64_t now_ms, uint32_t *out, uint32_t out_max);
uint64_t rf_wheel_next_ms(const rf_wheel *wheel); /* when something has to be done: fired, or only opened */
uint64_t rf_wheel_wake_ms(const rf_wheel *wheel); /* until when one may sleep: nothing fires before; not before the other */
/* cffi: end */

/* --- played backends, for benches, demo and tests (play.c) ------------------------------------------------ */

/* cffi: begin */
enum { RF_PLAY_KEPT = 8, RF_PLAY_TIMES = 64, RF_PLAY_REQUEST_MAX = 4096, RF_PLAY_ACTS_MAX = 4096, RF_PLAY_DELAYS_MAX = 4096,
       RF_PLAY_NOTES = 1 << 17 };

/* When an act answers; one that goes on with a connection may answer at once too (AT_ACCEPT). */
enum {
    RF_PLAY_AT_REQUEST = 0, /* per whole HTTP request: up to CRLFCRLF, then content-length bytes */
    RF_PLAY_AT_ACCEPT = 1,  /* at once, as agents and banners do */
    RF_PLAY_AT_BYTES = 2,   /* once `bytes` bytes came */
    RF_PLAY_NEVER = 3
};
/* What follows the answer. */
enum {
    RF_PLAY_STAY = 0,
    RF_PLAY_FIN = 1,
    RF_PLAY_RST = 2,
    RF_PLAY_NEXT = 3 /* the act behind this one goes on with the connection: a dialogue */
};
/* What a listener does with those who knock. */
enum {
    RF_PLAY_OPEN = 0,
    RF_PLAY_REFUSE = 1, /* the port stays ours, nobody listens */
    RF_PLAY_DEAF = 2    /* the accept queue is full: the kernel drops every SYN */
};

/* How one connection is played. An empty reply with FIN or RST ends it without a word. */
typedef struct {
    uint16_t when, then; /* RF_PLAY_AT_..., RF_PLAY_STAY ... */
    uint32_t bytes;      /* of RF_PLAY_AT_BYTES */
    uint32_t delay_ms;   /* before the first byte */
    uint32_t gap_ms;     /* between bytes; 0: all in one write */
    uint32_t endless;    /* not 0: the reply is repeated until the peer goes */
    rf_span reply;       /* in the blob of rf_play_script */
} rf_play_act;

typedef struct {
    uint64_t accepts, requests, answers, bytes_in, bytes_out;
    uint64_t resets;   /* connections that the peer reset */
    uint64_t ends;     /* connections that the peer ended with FIN */
    uint64_t overlong; /* connections cut because a request did not fit RF_PLAY_REQUEST_MAX */
    uint64_t open;     /* connections open now */
} rf_play_tally;

/* What a player has seen, told by rf_play_notes. */
enum {
    RF_PLAY_TURNED = 0,   /* a script or a door was changed: from here on it behaves otherwise */
    RF_PLAY_ACCEPTED = 1,
    RF_PLAY_ANSWERED = 2, /* took: since the request was whole */
    RF_PLAY_ENDED = 3     /* the connection is closed, by whomever; took: since it was accepted */
};
typedef struct {
    uint64_t at_ns, took_ns; /* monotonic */
    uint32_t listener, what;
} rf_play_note;

typedef struct rf_play rf_play; /* owned from rf_play_open to rf_play_close */

/* Starts a thread that plays up to <listeners_max> listeners and <connections_max> connections; more of these wait in
 * the kernel's queue. cpu: -1, or the one to run on. NULL: rf_last_error() says why. Calls below may come from any thread. */
rf_play *rf_play_open(uint32_t listeners_max, uint32_t connections_max, int32_t cpu);
void rf_play_close(rf_play *play);
/* Listens at an address (port 0: the kernel picks; the one in use is told). RF_FULL, RF_BAD, RF_ERRNO. */
int32_t rf_play_listen(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out, uint16_t *port_out);
/* Connection k of a listener (from this call on, counted from 0) plays act k, where a dialogue counts as one; after the
 * last one it goes round from act <repeat_from> on. listener UINT32_MAX: all of them. Connections under way keep their
 * act. */
int32_t rf_play_script(rf_play *play, uint32_t listener, const rf_play_act *acts, uint32_t acts_len,
                       uint32_t repeat_from, const uint8_t *blob, uint32_t blob_len);
int32_t rf_play_door(rf_play *play, uint32_t listener, int32_t door);
/* Each answer waits one of these besides its act's delay_ms, drawn anew with equal chance (a table of quantiles is a
 * distribution), rounded to a millisecond up or down by chance so that the mean holds. 0 of them: none. */
int32_t rf_play_latency(rf_play *play, uint32_t listener, const uint32_t *delays_us, uint32_t delays_len, uint64_t seed);
/* Answers come one after another, each <service_us> after the one before (0: no such limit), and <drop_pct> percent
 * longer for every request that waits already: a capacity that falls under load. */
int32_t rf_play_capacity(rf_play *play, uint32_t listener, uint32_t service_us, uint32_t drop_pct);
/* Moves notes of all listeners out, oldest first; how many. They are kept from the first call on, RF_PLAY_NOTES at
 * most; <lost_out>: how many were dropped since the start because nobody fetched them. */
int32_t rf_play_notes(rf_play *play, rf_play_note *out, uint32_t out_max, uint64_t *lost_out);
/* Counts of one listener, or of all together (UINT32_MAX). */
int32_t rf_play_counts(rf_play *play, uint32_t listener, rf_play_tally *out);
/* Bytes of a whole request, 0 for the last one, at most RF_PLAY_KEPT - 1 back; its length, or -1: never came. */
int32_t rf_play_request(rf_play *play, uint32_t listener, uint32_t back, uint8_t *out, uint32_t out_max);
/* When the last connections of a listener were accepted, oldest first, at most RF_PLAY_TIMES; how many there are. */
int32_t rf_play_times(rf_play *play, uint32_t listener, uint64_t *out_ns, uint32_t out_max);
/* CPU time of the thread and wall time, both since this was last asked. */
void rf_play_busy(rf_play *play, uint64_t *cpu_ns, uint64_t *wall_ns);
/* cffi: end */

#endif
