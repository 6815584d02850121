/* api/expressions.h - log-formats and sample expressions: runs of operations. Part of risefall.h. */
#ifndef RF_API_EXPRESSIONS_H
#define RF_API_EXPRESSIONS_H

#include "base.h"

/* cffi: begin */
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

/* request.c: a request's Connection header without the words that HAProxy speaks for itself, in place; *said gets RF_SAID_ of
 * all that was there. Returns the length that is left: of an empty one nothing is sent. */
uint32_t rf_connection_value(uint8_t *value, uint32_t len, uint32_t *said);
/* The header line that HAProxy adds itself; may be empty. modern: of HTTP/1.1. */
const char *rf_connection_line(uint32_t said, int32_t modern);
/* The part of a URI that the Host header replaces; 0: it has none, else 1. */
int32_t rf_uri_authority(const uint8_t *uri, uint32_t len, rf_span *out);
/* cffi: end */

#endif
