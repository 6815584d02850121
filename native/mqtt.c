/* mqtt.c - the converters mqtt_is_valid and mqtt_field_value: CONNECT and CONNACK of MQTT 3.1, 3.1.1 and 5.0 (HAProxy 2.6,
 * mqtt.c; run against it). Source: OASIS, MQTT 3.1.1 and 5.0, chapters 2, 3.1 and 3.2. */
#include <string.h>
#include <strings.h>

#include "sample.h"

enum { VERSION_3_1 = 3, VERSION_3_1_1 = 4, VERSION_5 = 5 };
enum { FLAG_RESERVED = 1, FLAG_WILL = 4, FLAGS_OF_WILL = 0x3c, QOS_3_ALONE = 0x18, FLAG_PASSWORD = 0x40, FLAG_USER = 0x80 };
enum { LENGTH_BYTES_MAX = 4, PROPERTIES = 43, AUTH_METHOD = 21, AUTH_DATA = 22, USER_PROPERTY = 38 };

/* What a property holds: a number of some bytes, or a text behind its length. */
enum { BYTE = 1, TWO = 2, FOUR = 4, TEXT = 5, PAIR = 6 };
enum { IN_CONNECT = 1, IN_WILL = 2, IN_CONNACK = 4 };
static const struct {
    uint8_t holds, where;
    uint32_t least, most; /* of the number; of a text its length at least */
} PROPERTY[PROPERTIES] = {
    [1] = {BYTE, IN_WILL, 0, 1},
    [2] = {FOUR, IN_WILL, 0, UINT32_MAX},
    [3] = {TEXT, IN_WILL, 0, 0},
    [8] = {TEXT, IN_WILL, 0, 0},
    [9] = {TEXT, IN_WILL, 0, 0},
    [17] = {FOUR, IN_CONNECT | IN_CONNACK, 0, UINT32_MAX},
    [18] = {TEXT, IN_CONNACK, 1, 0},
    [19] = {TWO, IN_CONNACK, 0, UINT32_MAX},
    [21] = {TEXT, IN_CONNECT | IN_CONNACK, 0, 0},
    [22] = {TEXT, IN_CONNECT | IN_CONNACK, 0, 0},
    [23] = {BYTE, IN_CONNECT, 0, 1},
    [24] = {FOUR, IN_WILL, 0, UINT32_MAX},
    [25] = {BYTE, IN_CONNECT, 0, 1},
    [26] = {TEXT, IN_CONNACK, 0, 0},
    [28] = {TEXT, IN_CONNACK, 0, 0},
    [31] = {TEXT, IN_CONNACK, 0, 0},
    [33] = {TWO, IN_CONNECT | IN_CONNACK, 1, UINT32_MAX},
    [34] = {TWO, IN_CONNECT | IN_CONNACK, 0, UINT32_MAX},
    [36] = {BYTE, IN_CONNACK, 0, 1},
    [37] = {BYTE, IN_CONNACK, 0, 1},
    [38] = {PAIR, IN_CONNECT | IN_WILL | IN_CONNACK, 0, 0},
    [39] = {FOUR, IN_CONNECT | IN_CONNACK, 1, UINT32_MAX},
    [40] = {BYTE, IN_CONNACK, 0, 1},
    [41] = {BYTE, IN_CONNACK, 0, 1},
    [42] = {BYTE, IN_CONNACK, 0, 1},
};

struct text {
    const uint8_t *at;
    uint32_t len;
};
struct packet {
    uint32_t type, version, flags, reason, keepalive;
    struct text protocol, client, will_topic, will_payload, user, password;
    struct text texts[PROPERTIES];
    uint32_t numbers[PROPERTIES];
    uint64_t seen;
    bool unknown; /* a property of no CONNACK, at which HAProxy waits for more */
};

/* --- reading; all return false where too little is left ------------------------------------------------------------ */

static bool take(struct text *from, uint32_t len, struct text *out)
{
    if (len > from->len)
        return false;
    *out = (struct text){from->at, len};
    from->at += len;
    from->len -= len;
    return true;
}

static bool take_number(struct text *from, uint32_t bytes, uint32_t *out)
{
    struct text text;
    if (!take(from, bytes, &text))
        return false;
    uint32_t number = 0;
    for (uint32_t i = 0; i < bytes; i++)
        number = number << 8 | text.at[i];
    *out = number;
    return true;
}

static bool take_text(struct text *from, struct text *out)
{
    uint32_t len;
    return take_number(from, 2, &len) && take(from, len, out);
}

static bool take_length(struct text *from, uint32_t *out)
{
    uint32_t number = 0, byte = 0x80;
    for (uint32_t i = 0; i < LENGTH_BYTES_MAX && (byte & 0x80); i++) {
        if (!take_number(from, 1, &byte))
            return false;
        number |= (byte & 0x7f) << (7 * i);
    }
    *out = number;
    return !(byte & 0x80);
}

static bool take_property(struct text *from, uint32_t where, struct packet *packet)
{
    struct text second;
    uint32_t id;
    if (!take_length(from, &id))
        return false;
    if (id >= PROPERTIES || !(PROPERTY[id].where & where)) {
        packet->unknown = where == IN_CONNACK;
        return false;
    }
    if (id != USER_PROPERTY && (packet->seen >> id & 1))
        return false;
    packet->seen |= UINT64_C(1) << id;
    switch (PROPERTY[id].holds) {
    case TEXT:
        return take_text(from, &packet->texts[id]) && packet->texts[id].len >= PROPERTY[id].least;
    case PAIR:
        return take_text(from, &second) && take_text(from, &second);
    default:
        return take_number(from, PROPERTY[id].holds, &packet->numbers[id]) && packet->numbers[id] >= PROPERTY[id].least &&
               packet->numbers[id] <= PROPERTY[id].most;
    }
}

static bool take_properties(struct text *from, uint32_t where, struct packet *packet)
{
    struct text all;
    uint32_t len;
    if (!take_length(from, &len) || !take(from, len, &all))
        return false;
    packet->seen = 0;
    while (all.len > 0) { /* each takes a byte at least */
        if (!take_property(&all, where, packet))
            return false;
    }
    return true;
}

static bool is_word(struct text text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.at, word, text.len) == 0;
}

/* Either name with any version, as HAProxy takes them. */
static bool known_protocol(const struct packet *packet)
{
    return packet->version >= VERSION_3_1 && packet->version <= VERSION_5 &&
           (is_word(packet->protocol, "MQTT") || is_word(packet->protocol, "MQIsdp"));
}

static bool read_connect(struct text *from, struct packet *packet)
{
    if (!take_text(from, &packet->protocol) || !take_number(from, 1, &packet->version) || !known_protocol(packet) ||
        !take_number(from, 1, &packet->flags) || (packet->flags & FLAG_RESERVED) || (packet->flags & FLAGS_OF_WILL) == QOS_3_ALONE || !take_number(from, 2, &packet->keepalive))
        return false;
    if (packet->version == VERSION_5 && !take_properties(from, IN_CONNECT, packet))
        return false;
    if (packet->texts[AUTH_DATA].len > 0 && packet->texts[AUTH_METHOD].len == 0)
        return false;
    if (!take_text(from, &packet->client))
        return false;
    if (packet->flags & FLAG_WILL) {
        if (packet->version == VERSION_5 && !take_properties(from, IN_WILL, packet))
            return false;
        if (!take_text(from, &packet->will_topic) || !take_text(from, &packet->will_payload))
            return false;
    }
    if ((packet->flags & FLAG_USER) && !take_text(from, &packet->user))
        return false;
    return !(packet->flags & FLAG_PASSWORD) || take_text(from, &packet->password);
}

/* Which version it is shows in its length, whatever may follow it. */
static bool read_connack(struct text *from, struct packet *packet)
{
    packet->version = from->len == 2 ? VERSION_3_1_1 : VERSION_5;
    return take_number(from, 1, &packet->flags) && packet->flags <= 1 && take_number(from, 1, &packet->reason) &&
           (packet->version != VERSION_5 || take_properties(from, IN_CONNACK, packet));
}

/* MESSAGE_WHOLE: one whole packet. MESSAGE_CUT: the begin of one. MESSAGE_WRONG. */
static int32_t read_packet(struct text from, struct packet *packet)
{
    struct text rest;
    uint32_t first, len;
    *packet = (struct packet){0};
    if (from.len < 2)
        return MESSAGE_CUT;
    if (!take_number(&from, 1, &first) || !take_length(&from, &len))
        return MESSAGE_WRONG;
    packet->type = first >> 4;
    if ((first & 0xf) != 0 || (packet->type != RF_MQTT_CONNECT && packet->type != RF_MQTT_CONNACK))
        return MESSAGE_WRONG;
    if (len > from.len)
        return MESSAGE_CUT;
    rest = from; /* with what follows the packet, as HAProxy reads */
    if (!(packet->type == RF_MQTT_CONNECT ? read_connect(&rest, packet) : read_connack(&rest, packet)))
        return packet->unknown ? MESSAGE_CUT : MESSAGE_WRONG;
    return from.len - rest.len == len ? MESSAGE_WHOLE : MESSAGE_WRONG;
}

/* --- converters ---------------------------------------------------------------------------------------------------- */

bool mqtt_valid(struct value *value)
{
    struct packet packet;
    uint8_t number[8];
    if (!cast_bin(value, number))
        return false;
    const int32_t found = read_packet((struct text){value->bytes, value->len}, &packet);
    *value = (struct value){.kind = VALUE_BOOL, .number = found == MESSAGE_WHOLE};
    return found != MESSAGE_CUT;
}

static bool give_text(struct value *value, struct text text)
{
    *value = (struct value){.kind = VALUE_BIN, .bytes = text.at, .len = text.len};
    return text.at != NULL;
}

/* Numbers are given as texts, as HAProxy does. */
static bool give_number(struct sample_run *run, struct value *value, uint32_t number)
{
    *value = (struct value){.kind = VALUE_INT, .number = number};
    if (!cast_text(run, value))
        return false;
    value->kind = VALUE_BIN;
    return true;
}

static bool give_property(struct sample_run *run, const struct packet *packet, uint32_t id, struct value *value)
{
    if (packet->version != VERSION_5 || PROPERTY[id].holds == PAIR)
        return false;
    if (PROPERTY[id].holds == TEXT)
        return give_text(value, packet->texts[id]);
    return give_number(run, value, packet->numbers[id]);
}

bool mqtt_field(struct sample_run *run, const rf_op *op, struct value *value, uint8_t number[8])
{
    struct packet packet;
    if (!cast_bin(value, number) || read_packet((struct text){value->bytes, value->len}, &packet) != MESSAGE_WHOLE ||
        packet.type != op->number)
        return false;
    switch (op->number2) {
    case RF_MQTT_FLAGS:
        return give_number(run, value, packet.flags);
    case RF_MQTT_REASON:
        return give_number(run, value, packet.reason);
    case RF_MQTT_VERSION:
        return give_number(run, value, packet.version);
    case RF_MQTT_KEEPALIVE:
        return give_number(run, value, packet.keepalive);
    case RF_MQTT_PROTOCOL:
        return give_text(value, packet.protocol);
    case RF_MQTT_CLIENT:
        return give_text(value, packet.client);
    case RF_MQTT_WILL_TOPIC:
        return give_text(value, packet.will_topic);
    case RF_MQTT_WILL_PAYLOAD:
        return give_text(value, packet.will_payload);
    case RF_MQTT_USER:
        return give_text(value, packet.user);
    case RF_MQTT_PASSWORD:
        return give_text(value, packet.password);
    default:
        return give_property(run, &packet, (uint32_t)op->number2, value);
    }
}

bool mqtt_knows(const rf_op *op)
{
    if (op->number < RF_MQTT_CONNECT || op->number > RF_MQTT_OTHER)
        return false;
    return (op->number2 >= RF_MQTT_FLAGS && op->number2 <= RF_MQTT_LAST) ||
           (op->number2 > 0 && op->number2 < PROPERTIES);
}
