/* probe.c - one run of a check program: rules in order, as HAProxy's one rule machine runs them (spec 3.2 to 3.5).
 *
 * Sans-IO. Whoever moves the bytes asks what the probe wants and tells it what happened and when; the probe alone
 * turns that into a status. Deadlines (spec 2.3) are its own: the connect phase has inter, or the smaller of inter and
 * `timeout connect` where `timeout check` is set too; what follows has `timeout check` from the connection on, or the
 * rest of the same inter.
 */
#include <errno.h>
#include <string.h>

#include "sample.h"

void probe_init(rf_probe *probe, uint8_t *memory, uint32_t bufsize)
{
    memset(probe, 0, offsetof(rf_probe, http));
    probe->in = memory;
    probe->in_max = bufsize;
    probe->room = memory + bufsize;
    probe->variables.room = probe->room + room_of(bufsize);
    probe->variables.room_len = bufsize;
}

void probe_bind(rf_probe *probe, const rf_program *program, const struct aim *aim, const struct facts *facts)
{
    probe->program = program;
    probe->aim = aim;
    probe->facts = facts;
}

static const struct compiled *rule_at(const rf_probe *probe)
{
    return &probe->program->rules[probe->rule < probe->program->rules_len ? probe->rule : probe->program->rules_len - 1];
}

static void finish(rf_probe *probe, uint64_t now_ns)
{
    /* HAProxy's HTTP side says good-bye to TLS before the reset; its byte side does not (run on 2.6). */
    if (probe->layers.stage != LAYERS_NONE)
        layers_end(probe, (probe->program->flags & RF_PROG_HTTP) != 0 && probe->layers.stage == LAYERS_OPEN);
    const uint64_t spent = now_ns > probe->started_ns ? now_ns - probe->started_ns : 0;
    const uint64_t ms = spent / RF_NS_PER_MS;
    probe->result.done_ns = now_ns;
    probe->result.duration_us = spent / 1000;
    probe->result.duration_ms = ms > INT32_MAX ? INT32_MAX : (int32_t)ms;
    probe->state = PROBE_DONE;
    probe->deadline_ns = RF_NEVER;
}

static bool is_variable(const rf_rule *rule)
{
    return rule->kind == RF_RULE_SET || rule->kind == RF_RULE_UNSET;
}

/* `on-success` of the last expect, else the words of its kind of list; and `status-code`. */
static void tell_success(rf_probe *probe, const rf_rule *last)
{
    static const char WORD[] = "(tcp-check)";
    const int32_t status = last->ok_status ? last->ok_status : RF_L7OK;
    int64_t code;
    if (last->status_code.len > 0 && format_number(probe, last->status_code, &code))
        probe->result.code = (int16_t)code; /* as wide as in HAProxy */
    if (probe->result.fleeting) {
        probe->result.status = (uint16_t)status;
        probe->result.verdict = rf_verdict_of(status);
        return;
    }
    const bool tcp_check = (probe->program->flags & RF_PROG_TCPCHECK) != 0;
    if (last->on_success.len == 0) {
        result_set(&probe->result, status, WORD, tcp_check ? sizeof WORD - 1 : 0);
        return;
    }
    uint32_t len = format_text(probe, last->on_success, probe->room, RF_TEXT_MAX);
    len = len < RF_TEXT_MAX ? len : RF_TEXT_MAX;
    result_set(&probe->result, status, (const char *)probe->room, len);
}

/* The last rule of the list was passed: what that means depends on its kind (spec 3.3). Variables mean nothing, but HAProxy
 * forgets the code of a reply when it comes to one. */
static void succeed(rf_probe *probe, uint64_t now_ns)
{
    const int32_t code = probe->result.code;
    uint32_t end = probe->program->rules_len;
    while (end > 1 && is_variable(&probe->program->rules[end - 1].rule)) {
        end--;
        probe->result.code = 0;
    }
    const rf_rule *last = &probe->program->rules[end - 1].rule;
    static const char WORD[] = "(tcp-check)";
    if (last->kind == RF_RULE_EXPECT) {
        if (code == 404 && (probe->program->flags & RF_PROG_DISABLE404) && !probe->stopped)
            result_set(&probe->result, RF_L7OKC, NULL, 0);
        else
            tell_success(probe, last);
    } else if (last->kind == RF_RULE_CONNECT) {
        const bool implicit = (last->flags & RF_RULE_IMPLICIT) != 0;
        result_set(&probe->result, probe->layers.tls_used ? RF_L6OK : RF_L4OK, WORD, implicit ? 0 : sizeof WORD - 1);
    } else {
        result_set(&probe->result, RF_L7OK, WORD, sizeof WORD - 1);
    }
    finish(probe, now_ns);
}

/* How the connection that is open ends: as the last connect before a rule says. */
static uint8_t close_before(const rf_probe *probe, uint32_t rule)
{
    for (uint32_t i = rule; i-- > 0;) {
        const rf_rule *before = &probe->program->rules[i].rule;
        if (before->kind == RF_RULE_CONNECT)
            return before->flags & RF_RULE_LINGER ? RF_CLOSE_FIN : RF_CLOSE_RST;
    }
    return RF_CLOSE_RST;
}

static void want_connection(rf_probe *probe, uint64_t now_ns)
{
    const struct aim *aim = probe->aim;
    int32_t limit_ms = aim->inter_ms;
    if (aim->check_ms > 0 && aim->connect_ms > 0 && aim->connect_ms < limit_ms)
        limit_ms = aim->connect_ms;
    probe->deadline_ns = probe->connect_deadline_ns = now_ns + (uint64_t)limit_ms * RF_NS_PER_MS;
    const bool http = (probe->program->flags & RF_PROG_HTTP) != 0; /* ends all but its last connection in the ordinary way */
    if (probe->connection == 0)
        probe->close = RF_CLOSE_NONE;
    else
        probe->close = http ? RF_CLOSE_FIN : close_before(probe, probe->rule);
    probe->connection++;
    probe->state = PROBE_CONNECT;
    probe->closed_by_peer = 0;
    if (probe->layers.stage != LAYERS_NONE)
        layers_end(probe, false);
    probe->layers.tls_used = false;
    probe->layers.told_local = false;
}

static void want_process(rf_probe *probe, uint64_t now_ns)
{
    const struct aim *aim = probe->aim;
    int32_t limit_ms = aim->inter_ms;
    if (aim->check_ms > 0 && aim->connect_ms > 0 && aim->connect_ms < limit_ms)
        limit_ms = aim->connect_ms;
    probe->deadline_ns = now_ns + (uint64_t)limit_ms * RF_NS_PER_MS;
    probe->state = PROBE_PROCESS;
}

static bool sends_head(const rf_probe *probe)
{
    return probe->out_len >= 5 && memcmp(probe->out, "HEAD ", 5) == 0;
}

/* Goes on from the present rule until something has to happen outside. */
static void go_on(rf_probe *probe, uint64_t now_ns, bool last_read)
{
    for (uint32_t turns = 0; turns <= probe->program->rules_len; turns++) { /* each turn passes a rule or returns */
        if (probe->rule >= probe->program->rules_len) {
            succeed(probe, now_ns);
            return;
        }
        const struct compiled *at = rule_at(probe);
        if (at->rule.kind == RF_RULE_CONNECT) {
            want_connection(probe, now_ns);
            return;
        }
        if (at->rule.kind == RF_RULE_PROCESS) {
            want_process(probe, now_ns);
            return;
        }
        if (is_variable(&at->rule)) {
            if (at->rule.kind == RF_RULE_SET)
                rule_set_variable(probe, &at->rule);
            else
                variables_unset(&probe->variables, at->rule.variable);
            if (probe->chain == probe->rule)
                probe->chain++;
            probe->rule++;
            continue;
        }
        if (at->rule.kind == RF_RULE_SEND) {
            if (!send_build(probe, &at->rule)) {
                finish(probe, now_ns);
                return;
            }
            probe->in_len = 0;
            probe->out_done = 0;
            http_reset(&probe->http, sends_head(probe), probe->in_max);
            if (probe->out_len > 0) {
                probe->state = PROBE_SEND;
                return;
            }
            probe->chain = ++probe->rule;
            continue;
        }
        const int eval = expect_eval(probe, at, last_read || probe->closed_by_peer);
        if (eval == EXPECT_STOP) {
            finish(probe, now_ns);
            return;
        }
        if (eval == EXPECT_WAIT) {
            /* Later bytes may falsify a negated rule that passed provisionally: begin again at the first of them. */
            probe->rule = probe->chain;
            probe->state = PROBE_RECV;
            return;
        }
        probe->rule++;
        if (!(at->rule.flags & RF_RULE_NEGATE) && probe->chain == probe->rule - 1)
            probe->chain = probe->rule;
    }
    RF_ASSERT(!"a probe that goes on for ever");
}

/* A probe of its own and all that a slot lends to one in an engine. */
struct own {
    rf_probe probe;
    struct aim aim;
    struct tls_session *session;
    uint64_t random, count;
};

rf_probe *rf_probe_new(rf_program *program, const rf_check *check, const char *site, uint32_t site_len)
{
    RF_ASSERT(program != NULL && check->inter_ms > 0 && site_len <= SITE_MAX);
    const size_t facts_len = sizeof(struct facts) + site_len;
    const size_t facts_room = (facts_len + 15) & ~(size_t)15;
    const size_t scratch_len = 4 * (size_t)program->bufsize;
    uint8_t *memory = calloc(1, sizeof(struct own) + facts_room + probe_memory(program->bufsize) + scratch_len);
    if (memory == NULL)
        return NULL;
    struct own *own = (struct own *)memory;
    rf_probe *probe = &own->probe;
    struct aim *aim = &own->aim;
    struct facts *facts = (struct facts *)(memory + sizeof *own);
    uint8_t *buffers = (uint8_t *)facts + facts_room;
    *aim = (struct aim){.inter_ms = check->inter_ms,
                        .connect_ms = check->connect_ms,
                        .check_ms = check->check_ms,
                        .initial_weight = check->initial_weight,
                        .port = check->to.port,
                        .family = check->to.family,
                        .late_check_timeout = check->late_check_timeout,
                        .static_weights = check->static_weights};
    facts->weight = check->weight;
    facts->site_len = (uint16_t)site_len;
    if (site_len > 0)
        memcpy(facts->site, site, site_len);
    probe_init(probe, buffers, program->bufsize);
    probe_bind(probe, program, aim, facts);
    probe->transport = check->transport;
    probe->layers.target = check->to;
    probe->session = &own->session;
    probe->scratch = buffers + probe_memory(program->bufsize);
    probe->random = &own->random;
    probe->count = &own->count;
    own->random = UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)probe;
    probe->last_status = RF_INI;
    rf_program_hold(program);
    rf_transport_hold(check->transport);
    return probe;
}

void rf_probe_free(rf_probe *probe)
{
    if (probe == NULL)
        return;
    probe_abandon(probe);
    rf_program_drop((rf_program *)probe->program);
    rf_transport_drop((rf_transport *)probe->transport);
    free(*probe->session);
    free(probe);
}

void rf_probe_facts(rf_probe *probe, int32_t last_status, int32_t last_code, const char *state_text, int32_t weight,
                    int32_t total_weight, int32_t stopped)
{
    struct facts *facts = (struct facts *)probe->facts; /* its own: see rf_probe_new */
    probe->last_status = last_status;
    probe->last_code = last_code;
    probe->total_weight = total_weight;
    probe->stopped = stopped != 0;
    facts->weight = weight;
    const size_t len = strnlen(state_text, RF_STATE_TEXT_MAX);
    memcpy(facts->state_text, state_text, len);
    facts->state_text_len = (uint8_t)len;
}

/* Ends a run without a verdict. */
void probe_abandon(rf_probe *probe)
{
    if (probe->layers.stage != LAYERS_NONE)
        layers_end(probe, false);
    probe->state = PROBE_IDLE;
}

void rf_probe_start(rf_probe *probe, uint64_t now_ns)
{
    probe_abandon(probe);
    probe->now_ns = now_ns;
    probe->farewell_len = 0;
    variables_clear(&probe->variables);
    probe->rule = probe->chain = 0;
    probe->in_len = probe->out_len = probe->out_done = 0;
    probe->connection = 0;
    probe->close = RF_CLOSE_NONE;
    probe->closed_by_peer = 0;
    probe->started_ns = now_ns;
    memset(&probe->result, 0, offsetof(rf_result, text));
    probe->result.text[0] = 0;
    go_on(probe, now_ns, false);
}

/* Whether the handshake's last ACK may be withheld: data or an RST takes its place at once. A peer that is to speak
 * first would hear of the connection only after its own 40 to 200 ms; one that is closed with FIN is to be seen whole. */
static bool ack_may_wait(const rf_probe *probe, bool linger)
{
    uint32_t next = probe->rule + 1;
    while (next < probe->program->rules_len && is_variable(&probe->program->rules[next].rule))
        next++;
    return next < probe->program->rules_len ? probe->program->rules[next].rule.kind == RF_RULE_SEND : !linger;
}

/* Where the connection of the rule at hand goes: port, and address where it is not the check's own (spec 2.5). */
static void aim_connect(rf_probe *probe, const rf_rule *rule, uint32_t layers, rf_want *out)
{
    rf_address *to = &probe->layers.goal;
    const struct aim *aim = probe->aim;
    int64_t port = rule->port;
    if (port == 0 && rule->format.len > 0 && (!format_number(probe, rule->format, &port) || port < 0 || port > UINT16_MAX))
        port = 0;
    if (rule->address.len == sizeof *to) {
        memcpy(to, program_at(probe->program, rule->address), sizeof *to);
        if (port == 0)
            port = to->port;
        out->to = to;
    }
    out->port = (uint16_t)(port != 0 ? port : aim->port);
    if (layers & RF_LAYER_SOCKS4) { /* the proxy is called; it hears where it is to go from layer SOCKS4 */
        if (out->to == NULL)
            *to = probe->layers.target;
        to->port = out->port;
        out->to = &probe->transport->spec.socks4;
        out->port = out->to->port;
    }
}

static void want_connect(rf_probe *probe, rf_want *out)
{
    const rf_rule *rule = &rule_at(probe)->rule;
    const bool linger = (rule->flags & RF_RULE_LINGER) != 0;
    const uint32_t layers = layers_of(probe, rule);
    out->kind = RF_WANT_CONNECT;
    out->close = probe->close;
    out->port = rule->port ? rule->port : probe->aim->port;
    out->how = (layers != 0 || ack_may_wait(probe, linger) ? RF_HOW_QUIET_ACK : 0) | (linger ? RF_HOW_FRESH_SOCKET : 0) |
               (layers & RF_LAYER_PROXY_V1 || probe->program->reads_ends ? RF_HOW_TELL_ADDRESSES : 0);
    if (layers & RF_LAYER_SOCKS4 || rule->address.len > 0 || rule->format.len > 0)
        aim_connect(probe, rule, layers, out);
}

static void want_done(rf_probe *probe, rf_want *out)
{
    out->kind = RF_WANT_DONE;
    out->close = close_before(probe, probe->rule < probe->program->rules_len ? probe->rule + 1 : probe->rule);
    out->out = probe->room;
    out->out_len = probe->farewell_len;
}

void rf_probe_want(rf_probe *probe, rf_want *out)
{
    *out = (rf_want){.deadline_ns = probe->deadline_ns, .connection = probe->connection};
    if (probe->layers.want != LAYERS_WANT_RULES) {
        layers_want(probe, out);
        return;
    }
    switch (probe->state) {
    case PROBE_CONNECT:
        want_connect(probe, out);
        return;
    case PROBE_SEND:
        out->kind = RF_WANT_SEND;
        out->out = probe->out + probe->out_done;
        out->out_len = probe->out_len - probe->out_done;
        return;
    case PROBE_RECV:
        out->kind = RF_WANT_RECV;
        out->in = probe->in + probe->in_len;
        out->in_max = probe->in_max - probe->in_len;
        return;
    case PROBE_PROCESS:
        out->kind = RF_WANT_PROCESS;
        return;
    default:
        RF_ASSERT(probe->state == PROBE_DONE);
        want_done(probe, out);
    }
}

/* Every layer of the connection stands: the connect phase is over. */
void probe_up(rf_probe *probe, uint64_t now_ns)
{
    const struct aim *aim = probe->aim;
    if (aim->check_ms > 0) {
        const uint64_t deadline = now_ns + (uint64_t)aim->check_ms * RF_NS_PER_MS;
        const bool local = aim->family == RF_UNIX || aim->family == RF_ABSTRACT;
        const bool late = aim->late_check_timeout && !local;
        probe->deadline_ns = late && deadline < probe->connect_deadline_ns ? probe->connect_deadline_ns : deadline;
    }
    probe->in_len = 0;
    http_reset(&probe->http, false, probe->in_max);
    probe->chain = ++probe->rule;
    go_on(probe, now_ns, false);
}

void rf_probe_connected(rf_probe *probe, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_CONNECT && probe->layers.want == LAYERS_WANT_RULES);
    probe->now_ns = now_ns;
    const uint32_t layers = layers_of(probe, &rule_at(probe)->rule);
    if (layers == 0)
        probe_up(probe, now_ns);
    else
        layers_start(probe, layers);
}

void probe_said(rf_probe *probe, uint64_t now_ns)
{
    probe->chain = ++probe->rule;
    go_on(probe, now_ns, false);
}

void rf_probe_sent(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    probe->now_ns = now_ns;
    if (probe->layers.want == LAYERS_WANT_SEND) {
        layers_sent(probe, len, now_ns);
        return;
    }
    RF_ASSERT(probe->state == PROBE_SEND && len <= probe->out_len - probe->out_done);
    probe->out_done += len;
    if (probe->out_done == probe->out_len)
        probe_said(probe, now_ns);
}

void probe_heard(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_RECV && len <= probe->in_max - probe->in_len);
    probe->in_len += len;
    if (len == 0)
        probe->closed_by_peer = 1;
    go_on(probe, now_ns, len == 0);
}

void rf_probe_received(rf_probe *probe, uint32_t len, uint64_t now_ns)
{
    probe->now_ns = now_ns;
    if (probe->layers.want == LAYERS_WANT_RECV)
        layers_received(probe, len, now_ns);
    else
        probe_heard(probe, len, now_ns);
}

static void tell_errno(rf_probe *probe, int32_t where, int32_t error)
{
    char buf[96];
    if (error == 0)
        return;
    const struct errno_meaning *meaning = rf_errno_meaning(error);
    const char *text = rf_errno_text(error, buf, sizeof buf);
    if (where != RF_AT_STREAM)
        result_appendf(&probe->result, "%s (%s)", meaning->layer ? meaning->layer : "General socket error", text);
    else if (meaning->name != NULL && (probe->program->flags & RF_PROG_OS_ERRNO_TEXT))
        result_appendf(&probe->result, "%s returned by OS (%s)", meaning->name, text);
    else
        result_appendf(&probe->result, "%s", text);
}

/* A layer, or the connection behind it, failed for good. */
void probe_broke(rf_probe *probe, int32_t status, const char *text, uint64_t now_ns)
{
    result_set(&probe->result, status, text, text != NULL ? strlen(text) : 0);
    expect_suffix(probe, rule_at(probe));
    finish(probe, now_ns);
}

void rf_probe_tls_begins(rf_probe *probe)
{
    RF_ASSERT(probe->state == PROBE_CONNECT && probe->layers.stage == LAYERS_NONE);
    probe->layers.tls_used = true;
}

void rf_probe_tls_failed(rf_probe *probe, const char *text, uint64_t now_ns)
{
    RF_ASSERT(probe->state != PROBE_DONE && probe->state != PROBE_IDLE);
    probe->now_ns = now_ns;
    probe_broke(probe, RF_L6RSP, text, now_ns);
}

void rf_probe_socks_failed(rf_probe *probe, const char *text, uint64_t now_ns)
{
    RF_ASSERT(probe->state != PROBE_DONE && probe->state != PROBE_IDLE);
    probe->now_ns = now_ns;
    probe_broke(probe, RF_SOCKERR, text, now_ns);
}

/* What went wrong while a layer was at work, before the rules had the connection. Only TLS counts as layer 6 (run on 2.6). */
static void layer_failed(rf_probe *probe, int32_t error, uint64_t now_ns)
{
    char buf[96];
    const bool tls = probe->layers.stage == LAYERS_SHAKE;
    const char *what = tls                                           ? "SSL handshake failure"
                       : probe->layers.stage == LAYERS_SOCKS_HEAR ? "SOCKS4 Proxy read error during handshake"
                       : probe->layers.stage == LAYERS_SOCKS_SAY  ? "SOCKS4 Proxy write error during handshake"
                                                                  : "";
    probe->result.error = error;
    result_set(&probe->result, tls ? RF_L6RSP : RF_SOCKERR, what, strlen(what));
    if (error != 0 && !tls) /* of a handshake 3 tells no errno, and 2.6 only where it happens to notice the reset by a read */
        result_appendf(&probe->result, what[0] ? " (%s)" : "%s", rf_errno_text(error, buf, sizeof buf));
    expect_suffix(probe, rule_at(probe));
    finish(probe, now_ns);
}

void rf_probe_failed(rf_probe *probe, int32_t where, int32_t error, uint64_t now_ns)
{
    RF_ASSERT(probe->state != PROBE_DONE && probe->state != PROBE_IDLE);
    probe->now_ns = now_ns;
    if (probe->layers.want != LAYERS_WANT_RULES && probe->state == PROBE_CONNECT) {
        layer_failed(probe, error, now_ns);
        return;
    }
    const bool self = where != RF_AT_STREAM && rf_errno_meaning(error)->blame == RF_BLAME_SELF;
    /* An RST that comes with the last bytes is an end of stream; HAProxy lets the rules decide on what is there. */
    const bool has_data = (probe->program->flags & RF_PROG_HTTP) ? probe->http.head_done : probe->in_len > 0;
    if (probe->state == PROBE_RECV && has_data) {
        probe->closed_by_peer = 1;
        go_on(probe, now_ns, true);
        if (probe->state == PROBE_DONE)
            return;
    }
    probe->result.self_blame = self;
    probe->result.error = error;
    const bool connecting = probe->state == PROBE_CONNECT;
    result_set(&probe->result, self || where == RF_AT_SOCKET || !connecting ? RF_SOCKERR : RF_L4CON, NULL, 0);
    tell_errno(probe, where, error);
    expect_suffix(probe, rule_at(probe));
    finish(probe, now_ns);
}

void rf_probe_exited(rf_probe *probe, int32_t code, uint64_t now_ns)
{
    RF_ASSERT(probe->state == PROBE_PROCESS);
    probe->now_ns = now_ns;
    probe->result.code = code;
    result_set(&probe->result, code == 0 ? RF_PROCOK : RF_PROCERR, NULL, 0);
    finish(probe, now_ns);
}

void rf_probe_time(rf_probe *probe, uint64_t now_ns)
{
    if (probe->state == PROBE_DONE || probe->state == PROBE_IDLE || now_ns < probe->deadline_ns)
        return;
    probe->now_ns = now_ns;
    const struct compiled *at = rule_at(probe);
    int32_t status = RF_L7TOUT;
    if (probe->state == PROBE_PROCESS) {
        status = RF_PROCTOUT;
        probe->result.code = probe->last_code; /* HAProxy leaves it as it was */
    } else if (probe->state == PROBE_CONNECT) {
        const bool shaking = probe->layers.tls_used; /* of the driver's TLS: a layer of ours is past its handshake with this set */
        status = probe->layers.stage == LAYERS_NONE    ? (shaking ? RF_L6TOUT : RF_L4TOUT)
                 : probe->layers.stage == LAYERS_SHAKE ? RF_L6TOUT
                                                       : RF_L7TOUT;
    } else if (at->rule.kind == RF_RULE_EXPECT && at->rule.tout_status) {
        status = at->rule.tout_status;
    }
    result_set(&probe->result, status, NULL, 0);
    expect_suffix(probe, at);
    finish(probe, now_ns);
}

void rf_probe_result(const rf_probe *probe, rf_result *out)
{
    RF_ASSERT(probe->state == PROBE_DONE);
    *out = probe->result;
}
