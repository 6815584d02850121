/* transport.c - what lies between the rules and the socket: SOCKS4, the PROXY header, TLS (spec 2.6 to 2.8).
 *
 * Neither the rules nor a driver knows of it. The rules want to send and to receive plain bytes; the driver is told what
 * the lowest layer wants. All of it belongs to the connect phase, under the connect phase's deadline, until the last
 * layer stands. TLS comes from a module of its own, as a table of functions; without it a transport that needs TLS
 * cannot be made.
 *
 * `room` is free for it: a request that is put together there has become TLS records before anything is received.
 */
#include <arpa/inet.h>
#include <string.h>

#include "sample.h"
#include "tls/tls.h"

static const struct rf_tls_ops *tls_ops; /* set once, before any engine runs */
_Static_assert((int)RF_TLS_ALPN == (int)TLS_FACT_ALPN && (int)RF_TLS_USED_BITS == (int)TLS_FACT_USED_BITS, "one order of facts");

enum { SESSION_MAX = 8192, SOCKS_REPLY = 8 };

int32_t rf_use_tls(const void *functions)
{
    const struct rf_tls_ops *ops = functions;
    if (ops == NULL || ops->abi != RF_TLS_ABI)
        return rf_refuse(RF_BAD, 0, "the TLS module is of another build: build risefall again");
    tls_ops = ops;
    return RF_OK;
}

const struct rf_tls_ops *transport_tls(void)
{
    return tls_ops;
}

bool transport_has_tls(void)
{
    return tls_ops != NULL;
}

/* --- transports ----------------------------------------------------------------------------------------------- */

rf_transport *rf_transport_new(const rf_transport_spec *spec)
{
    if (((spec->layers & RF_LAYER_TLS) && spec->tls == NULL) || (spec->tls != NULL && tls_ops == NULL)) {
        rf_refuse(RF_BAD, 0, "TLS without its module: install libssl-dev and build risefall again");
        return NULL;
    }
    if ((spec->layers & RF_LAYER_SOCKS4) && spec->socks4.family != RF_INET && spec->socks4.family != RF_INET6) {
        rf_refuse(RF_BAD, 0, "SOCKS4 without an address of its proxy");
        return NULL;
    }
    const size_t sni_len = spec->sni != NULL ? strlen(spec->sni) + 1 : 0;
    rf_transport *transport = calloc(1, sizeof *transport + sni_len + spec->alpn_len);
    if (transport == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        return NULL;
    }
    transport->holders = 1;
    transport->spec = *spec;
    transport->copies = (uint8_t *)(transport + 1);
    if (spec->sni != NULL)
        transport->spec.sni = memcpy(transport->copies, spec->sni, sni_len);
    if (spec->alpn_len > 0)
        transport->spec.alpn = memcpy(transport->copies + sni_len, spec->alpn, spec->alpn_len);
    if (spec->tls != NULL)
        tls_ops->hold(spec->tls);
    return transport;
}

void rf_transport_hold(rf_transport *transport)
{
    if (transport != NULL)
        __atomic_add_fetch(&transport->holders, 1, __ATOMIC_RELAXED);
}

void rf_transport_drop(rf_transport *transport)
{
    if (transport == NULL || __atomic_sub_fetch(&transport->holders, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    if (transport->spec.tls != NULL)
        tls_ops->drop(transport->spec.tls);
    free(transport);
}

uint32_t layers_of(const rf_probe *probe, const rf_rule *rule)
{
    if (probe->transport == NULL)
        return rule->layers & ~(uint32_t)(RF_LAYER_SOCKS4 | RF_LAYER_TLS); /* nothing says where to, or with what */
    const rf_transport_spec *spec = &probe->transport->spec;
    const bool inherits = (rule->flags & (RF_RULE_DEFAULT | RF_RULE_IMPLICIT)) != 0;
    uint32_t layers = rule->layers | (inherits ? spec->layers : 0);
    if ((layers & RF_LAYER_PROXY_V1) && spec->proxy_v2)
        layers ^= RF_LAYER_PROXY_V1 | RF_LAYER_PROXY_V2;
    return spec->socks4.family == 0 ? layers & ~(uint32_t)RF_LAYER_SOCKS4 : layers;
}

/* --- SOCKS4 and PROXY -------------------------------------------------------------------------------------------- */

static const rf_rule *connect_rule(const rf_probe *probe)
{
    return &probe->program->rules[probe->rule].rule;
}

static void say(rf_probe *probe, uint32_t len)
{
    probe->layers.out = probe->room;
    probe->layers.out_len = len;
    probe->layers.out_done = 0;
    probe->layers.want = LAYERS_WANT_SEND;
}

/* Version 4, connect, port, IPv4 address (there is no other here), user "HAProxy". */
static void socks_say(rf_probe *probe)
{
    static const char USER[] = "HAProxy";
    const rf_address *to = &probe->layers.goal;
    uint8_t *at = probe->room;
    at[0] = 4;
    at[1] = 1;
    at[2] = (uint8_t)(to->port >> 8);
    at[3] = (uint8_t)to->port;
    if (to->family == RF_INET)
        memcpy(at + 4, to->addr, 4);
    else
        memset(at + 4, 0, 4);
    memcpy(at + 8, USER, sizeof USER);
    probe->layers.stage = LAYERS_SOCKS_SAY;
    say(probe, 8 + sizeof USER);
}

static uint32_t proxy_line(const struct layers *layers, char *out, size_t max)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    const rf_address *local = &layers->local, *remote = &layers->remote;
    const int family = local->family == RF_INET ? AF_INET : AF_INET6;
    if (!layers->told_local || local->family != remote->family || (local->family != RF_INET && local->family != RF_INET6) ||
        inet_ntop(family, local->addr, from, sizeof from) == NULL || inet_ntop(family, remote->addr, to, sizeof to) == NULL)
        return (uint32_t)snprintf(out, max, "PROXY UNKNOWN\r\n");
    return (uint32_t)snprintf(out, max, "PROXY TCP%d %s %s %u %u\r\n", local->family == RF_INET ? 4 : 6, from, to,
                              local->port, remote->port);
}

static void proxy_say(rf_probe *probe, uint32_t layer)
{
    /* A check speaks for nobody: command LOCAL, no addresses. */
    static const uint8_t V2_LOCAL[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0, 0, 0};
    enum { LINE_MAX = 108 };
    probe->layers.stage = LAYERS_PROXY;
    if (layer == RF_LAYER_PROXY_V1) {
        say(probe, proxy_line(&probe->layers, (char *)probe->room, LINE_MAX));
        return;
    }
    memcpy(probe->room, V2_LOCAL, sizeof V2_LOCAL);
    say(probe, sizeof V2_LOCAL);
}

/* --- TLS ----------------------------------------------------------------------------------------------------------- */

static bool tls_open(rf_probe *probe)
{
    const rf_rule *rule = connect_rule(probe);
    const rf_transport_spec *spec = &probe->transport->spec;
    const bool inherits = (rule->flags & (RF_RULE_DEFAULT | RF_RULE_IMPLICIT)) != 0;
    char name[256];
    const char *sni = inherits ? spec->sni : NULL;
    if (rule->sni.len > 0 && rule->sni.len < sizeof name) {
        memcpy(name, program_at(probe->program, rule->sni), rule->sni.len);
        name[rule->sni.len] = 0;
        sni = name;
    }
    const bool own_alpn = rule->alpn.len > 0;
    const uint8_t *alpn = own_alpn ? program_at(probe->program, rule->alpn) : inherits ? spec->alpn : NULL;
    const uint32_t alpn_len = own_alpn ? rule->alpn.len : inherits ? spec->alpn_len : 0;
    const struct tls_session *kept = probe->session != NULL ? *probe->session : NULL;
    probe->layers.tls = tls_ops->open(spec->tls, sni, alpn, alpn_len, kept ? kept->bytes : NULL, kept ? kept->len : 0);
    return probe->layers.tls != NULL;
}

/* Records that wait to be sent. */
static bool tls_say(rf_probe *probe)
{
    struct layers *layers = &probe->layers;
    layers->out_done = 0;
    layers->out_len = tls_ops->pending(layers->tls, &layers->out);
    if (layers->out_len == 0)
        return false;
    layers->want = LAYERS_WANT_SEND;
    return true;
}

static void tls_failed(rf_probe *probe, uint64_t now_ns)
{
    probe_broke(probe, RF_L6RSP, tls_ops->why(probe->layers.tls), now_ns);
}

static void tls_keep_session(rf_probe *probe)
{
    if (probe->session == NULL)
        return;
    uint8_t bytes[SESSION_MAX];
    const uint32_t len = tls_ops->session(probe->layers.tls, bytes, sizeof bytes);
    if (len == 0)
        return;
    struct tls_session *session = *probe->session;
    if (session == NULL || session->len != len) {
        struct tls_session *other = realloc(session, sizeof *other + len);
        if (other == NULL)
            return;
        *probe->session = session = other;
        session->len = len;
    }
    memcpy(session->bytes, bytes, len);
}

/* Goes on with the handshake; true: something outside has to happen first, or the run is over. */
static bool shake(rf_probe *probe, uint64_t now_ns)
{
    const int32_t result = tls_ops->handshake(probe->layers.tls);
    if (result == TLS_FAILED) {
        tls_failed(probe, now_ns);
        return true;
    }
    if (result == TLS_OK) { /* its last flight goes out with the first words of the rules, or as the last words of all */
        probe->layers.stage = LAYERS_OPEN;
        probe->layers.tls_used = true;
        probe->layers.resumed = tls_ops->resumed(probe->layers.tls) == 1;
        probe_up(probe, now_ns);
        return false;
    }
    if (!tls_say(probe))
        probe->layers.want = LAYERS_WANT_RECV;
    return true;
}

static bool open_send(rf_probe *probe, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    if (!layers->written) {
        if (tls_ops->write(layers->tls, probe->out, probe->out_len) != TLS_OK) {
            probe_broke(probe, RF_SOCKERR, NULL, now_ns);
            return true;
        }
        layers->written = true;
    }
    if (tls_say(probe))
        return true;
    layers->written = false;
    probe_said(probe, now_ns);
    return false;
}

static bool open_receive(rf_probe *probe, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    const int32_t got = tls_ops->read(layers->tls, probe->in + probe->in_len, probe->in_max - probe->in_len);
    if (got > 0 || got == TLS_END) {
        probe_heard(probe, got > 0 ? (uint32_t)got : 0, now_ns);
        return false;
    }
    if (got == TLS_FAILED) {
        probe_broke(probe, RF_SOCKERR, "SSL fatal error", now_ns);
        return true;
    }
    if (tls_say(probe)) /* an answer to the peer's key update */
        return true;
    layers->want = LAYERS_WANT_RECV;
    return true;
}

/* --- the order of things --------------------------------------------------------------------------------------------- */

static void next_layer(rf_probe *probe, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    if (layers->todo & RF_LAYER_SOCKS4) {
        layers->todo &= (uint8_t)~RF_LAYER_SOCKS4;
        socks_say(probe);
    } else if (layers->todo & (RF_LAYER_PROXY_V1 | RF_LAYER_PROXY_V2)) {
        const uint32_t layer = layers->todo & RF_LAYER_PROXY_V2 ? RF_LAYER_PROXY_V2 : RF_LAYER_PROXY_V1;
        layers->todo &= (uint8_t) ~(RF_LAYER_PROXY_V1 | RF_LAYER_PROXY_V2);
        proxy_say(probe, layer);
    } else if (layers->todo & RF_LAYER_TLS) {
        layers->todo &= (uint8_t)~RF_LAYER_TLS;
        layers->stage = LAYERS_SHAKE;
        if (tls_open(probe))
            layers_turn(probe, now_ns);
        else
            probe_broke(probe, RF_SOCKERR, NULL, now_ns);
    } else {
        layers->stage = LAYERS_NONE;
        layers->want = LAYERS_WANT_RULES;
        probe_up(probe, now_ns);
    }
}

void layers_start(rf_probe *probe, uint32_t todo)
{
    probe->layers.todo = (uint8_t)todo;
    probe->layers.in_len = 0;
    next_layer(probe, probe->now_ns);
}

/* TLS moves until it waits for the driver: each turn changes what the rules want, or ends the loop. */
void layers_turn(rf_probe *probe, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    for (;;) {
        if (layers->stage == LAYERS_SHAKE) {
            if (shake(probe, now_ns))
                return;
        } else if (layers->stage == LAYERS_OPEN && probe->state == PROBE_SEND) {
            if (open_send(probe, now_ns))
                return;
        } else if (layers->stage == LAYERS_OPEN && probe->state == PROBE_RECV) {
            if (open_receive(probe, now_ns))
                return;
        } else {
            layers->want = LAYERS_WANT_RULES;
            return;
        }
    }
}

void layers_want(const rf_probe *probe, rf_want *out)
{
    const struct layers *layers = &probe->layers;
    if (layers->want == LAYERS_WANT_SEND) {
        out->kind = RF_WANT_SEND;
        out->out = layers->out + layers->out_done;
        out->out_len = layers->out_len - layers->out_done;
        return;
    }
    RF_ASSERT(layers->want == LAYERS_WANT_RECV);
    out->kind = RF_WANT_RECV;
    out->in = probe->room + layers->in_len;
    out->in_max = layers->stage == LAYERS_SOCKS_HEAR ? SOCKS_REPLY - layers->in_len : room_of(probe->in_max);
}

void layers_sent(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    RF_ASSERT(len <= layers->out_len - layers->out_done);
    if (layers->tls != NULL) {
        tls_ops->taken(layers->tls, len);
        if (!tls_say(probe))
            layers_turn(probe, now_ns);
        return;
    }
    layers->out_done += len;
    if (layers->out_done < layers->out_len)
        return;
    if (layers->stage == LAYERS_SOCKS_SAY) {
        layers->stage = LAYERS_SOCKS_HEAR;
        layers->in_len = 0;
        layers->want = LAYERS_WANT_RECV;
    } else {
        next_layer(probe, now_ns);
    }
}

static void socks_heard(rf_probe *probe, uint64_t now_ns)
{
    enum { GRANTED = 90 };
    struct layers *layers = &probe->layers;
    if (layers->in_len < SOCKS_REPLY)
        return;
    if (probe->room[0] == 0 && probe->room[1] == GRANTED) {
        layers->in_len = 0;
        next_layer(probe, now_ns);
    } else {
        probe_broke(probe, RF_SOCKERR, "SOCKS4 Proxy deny the request", now_ns);
    }
}

void layers_received(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    struct layers *layers = &probe->layers;
    if (layers->stage == LAYERS_SOCKS_HEAR) {
        layers->in_len += len;
        if (len == 0)
            probe_broke(probe, RF_SOCKERR, "SOCKS4 Proxy read error during handshake", now_ns);
        else
            socks_heard(probe, now_ns);
        return;
    }
    if (len == 0)
        tls_ops->feed_end(layers->tls);
    else if (tls_ops->feed(layers->tls, probe->room, len) != TLS_OK) {
        probe_broke(probe, RF_SOCKERR, "Out of system buffers", now_ns);
        return;
    }
    layers_turn(probe, now_ns);
}

void layers_end(rf_probe *probe, bool farewell)
{
    struct layers *layers = &probe->layers;
    probe->farewell_len = 0;
    if (layers->tls != NULL) {
        tls_keep_session(probe);
        if (farewell)
            tls_ops->close(layers->tls);
        const uint8_t *raw; /* an alert that says why, the end of a handshake, or the good-bye */
        const uint32_t len = tls_ops->pending(layers->tls, &raw);
        if (len <= room_of(probe->in_max)) {
            memcpy(probe->room, raw, len);
            probe->farewell_len = len;
        }
        tls_ops->end(layers->tls);
    }
    layers->tls = NULL;
    layers->stage = LAYERS_NONE;
    layers->want = LAYERS_WANT_RULES;
    layers->todo = 0;
    layers->written = false;
}

void rf_probe_addresses(rf_probe *probe, const rf_address *local, const rf_address *remote)
{
    probe->layers.local = *local;
    probe->layers.remote = *remote;
    probe->layers.told_local = true;
}

const void *rf_probe_tls(const rf_probe *probe)
{
    return probe->layers.tls;
}

/* --- fetches that look at the connection ----------------------------------------------------------------------- */

static struct value end_of(const rf_address *address, bool port)
{
    if (address->family != RF_INET && address->family != RF_INET6)
        return (struct value){.kind = VALUE_NONE};
    if (port)
        return (struct value){.kind = VALUE_INT, .number = address->port};
    const uint8_t *at = address->addr;
    if (address->family == RF_INET6)
        return (struct value){.kind = VALUE_IPV6, .bytes = at, .len = 16};
    return (struct value){.kind = VALUE_IPV4, .number = (int64_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]};
}

static struct value tls_value(struct sample_run *run, int64_t which)
{
    static const struct value NOTHING = {.kind = VALUE_NONE};
    struct tls *tls = run->layers != NULL ? run->layers->tls : NULL;
    const bool text = which <= RF_TLS_PROTOCOL, number = which >= RF_TLS_KEY_BITS;
    uint32_t max;
    if (which == RF_TLS_THERE || which == RF_TLS_RESUMED)
        return (struct value){.kind = VALUE_BOOL, .number = tls != NULL && (which == RF_TLS_THERE || run->layers->resumed)};
    if (tls == NULL)
        return NOTHING;
    if (which == RF_TLS_ERROR) /* one that failed ended the check */
        return (struct value){.kind = VALUE_INT, .number = 0};
    uint8_t *room = sample_room(run, &NOTHING, &max);
    const uint32_t found = tls_ops->fact(tls, (uint32_t)which, room, max);
    if (found == 0)
        return NOTHING;
    if (number)
        return (struct value){.kind = VALUE_INT, .number = found};
    return (struct value){.kind = text ? VALUE_TEXT : VALUE_BIN, .bytes = room, .len = found};
}

struct value connection_fetch(struct sample_run *run, const rf_op *op)
{
    if (op->code == RF_FETCH_TLS)
        return tls_value(run, op->number);
    if (run->layers == NULL || !run->layers->told_local)
        return (struct value){.kind = VALUE_NONE};
    const bool dst = op->number == RF_END_DST || op->number == RF_END_DST_PORT;
    return end_of(dst ? &run->layers->remote : &run->layers->local, op->number >= RF_END_SRC_PORT);
}
