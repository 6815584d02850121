/* track.c - main() of risefall-track: one check, one exit code, one line when it fails.
 *
 * keepalived counts 0 as good and all else as bad, shows no output, and takes a check that traps its SIGTERM and exits 0
 * for a good one: so signals keep their default here. A check that hangs in the kernel ends by an alarm a little after the
 * deadline. Where even that cannot be heard (a file on a dead mount waits for fatal signals only), a second timer kills, which
 * is a failure too, without a line.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "track.h"

#ifndef RISEFALL_VERSION
#define RISEFALL_VERSION "unknown"
#endif

static const char RUN_SOCKET[] = "/run/risefall/run.sock";
static const char AGENT_SOCKET[] = "/run/risefall/agent.sock";
static const uint64_t TIMEOUT_NS = UINT64_C(500000000);
static const uint64_t TIMEOUT_MAX_NS = UINT64_C(3600000000000);
static const uint64_t ALARM_AFTER_NS = UINT64_C(20000000);
static const uint64_t KILL_AFTER_NS = UINT64_C(50000000);
static const uint64_t NS_PER_S = UINT64_C(1000000000);

static const char HELP[] =
    "Usage: risefall-track KIND WHAT [OPTIONS] [--fallback KIND WHAT [OPTIONS]]\n"
    "\n"
    "One check for keepalived's vrrp_script: exit 0 good, 1 bad (one line on stderr says why), 2 misuse.\n"
    "\n"
    "Answered by risefall on this machine:\n"
    "  server BACKEND/SERVER       the server is up\n"
    "  backend BACKEND             at least --min-up N of its servers are up (1)\n"
    "  script NAME                 the script of 'risefall run --scripts' is good\n"
    "  agent SERVICE               'risefall agent' says up, with at least --min-weight N percent\n"
    "\n"
    "Checked directly, without a daemon:\n"
    "  tcp ADDRESS:PORT            it accepts a connection\n"
    "  http URL                    it answers with --expect CODES (200-399)\n"
    "  unix PATH                   it accepts a connection\n"
    "  haproxy SOCKET              HAProxy answers there, and is not stopping\n"
    "  process NAME                a process of this name runs, and is no zombie\n"
    "  file PATH                   it is there; changed within --newer-than TIME\n"
    "\n"
    "Options:\n"
    "  --timeout TIME              for all of it, the fallback included (500ms)\n"
    "  --socket PATH               risefall's runtime socket ($RISEFALL_SOCKET, of agents $RISEFALL_AGENT_SOCKET,\n"
    "                              else /run/risefall/run.sock, agent.sock)\n"
    "  --fallback KIND ...         the direct check that decides when the daemon cannot\n"
    "  --log                       the reason of a failure goes to syslog too\n"
    "  --where [PATH]              whether keepalived's enable_script_security accepts this copy\n"
    "  --version, --help\n"
    "\n"
    "Addresses are numeric; an IPv6 one stands in brackets. TIME has a unit: 500ms, 30s, 5m.\n"
    "\n"
    "Examples:\n"
    "  risefall-track server app/ap01\n"
    "  risefall-track backend app --min-up 2 --fallback tcp 127.0.0.1:80\n"
    "  risefall-track haproxy /run/haproxy/admin.sock --log\n"
    "  risefall-track http http://127.0.0.1:8080/ok --expect 200,204\n"
    "  risefall-track file /run/backup.stamp --newer-than 30s\n";

enum kind { SERVER, BACKEND, SCRIPT, AGENT, TCP, HTTP, UNIX, HAPROXY, PROCESS, FILE_, KINDS };
static const char *const KIND_NAMES[KINDS] = {"server", "backend", "script",  "agent",   "tcp",
                                              "http",   "unix",    "haproxy", "process", "file"};

struct check {
    enum kind kind;
    const char *what;
    const char *least;  /* of backend and agent */
    const char *codes;  /* of http */
    const char *socket; /* of those that ask a daemon */
    uint64_t newer_than_ns;
    rt_address address;
    rt_url url;
};

struct plan {
    struct check first, fallback;
    bool has_fallback, log;
    uint64_t timeout_ns;
};

void rt_print(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        const ssize_t wrote = write(fd, text, left);
        if (wrote <= 0)
            return;
        text += wrote;
        left -= (size_t)wrote;
    }
}

static int misuse(const char *what, const char *word)
{
    rt_print(STDERR_FILENO, "risefall-track: ");
    rt_print(STDERR_FILENO, what);
    if (word != NULL) {
        rt_print(STDERR_FILENO, ": ");
        rt_print(STDERR_FILENO, word);
    }
    rt_print(STDERR_FILENO, "\nSee 'risefall-track --help'.\n");
    return RT_MISUSE;
}

static bool asks_daemon(const struct check *check)
{
    return check->kind <= AGENT;
}

/* Whether the word of a check means something. */
static int look_at(struct check *check)
{
    const char *what = check->what;
    const char *slash = strchr(what, '/');
    if (*what == '\0' || strlen(what) > RT_PACKET_MAX / 2 || strchr(what, '\n') != NULL)
        return misuse("this cannot be a name", what);
    switch (check->kind) {
    case SERVER:
        if (slash == NULL || slash == what || slash[1] == '\0')
            return misuse("a server is written BACKEND/SERVER", what);
        break;
    case TCP:
        if (!rt_parse_address(what, strlen(what), 0, &check->address))
            return misuse("wants a numeric address and a port, such as 127.0.0.1:80 or [::1]:80", what);
        break;
    case HTTP:
        if (!rt_parse_url(what, &check->url))
            return misuse("wants a URL with a numeric address, such as http://127.0.0.1/ok (https: ask 'server' of the daemon)", what);
        break;
    case UNIX:
    case HAPROXY:
        if (strlen(what) >= sizeof((struct sockaddr_un *)0)->sun_path)
            return misuse("the path is too long for a socket", what);
        break;
    case PROCESS:
        if (slash != NULL)
            return misuse("wants the name of a process, not a path", what);
        break;
    case BACKEND:
    case SCRIPT:
    case AGENT:
    case FILE_:
    case KINDS:
        break;
    }
    return RT_GOOD;
}

/* The value of option <name> at argv[*at], as --name VALUE or --name=VALUE; NULL when it is another word. */
static const char *value_of(char **argv, int *at, const char *name)
{
    const char *word = argv[*at];
    const size_t len = strlen(name);
    if (strncmp(word, name, len) != 0 || (word[len] != '=' && word[len] != '\0'))
        return NULL;
    if (word[len] == '=')
        return word + len + 1;
    if (argv[*at + 1] == NULL)
        return "";
    return argv[++*at];
}

/* What `risefall ctl` asks too. keepalived hands its own environment on; a path that hangs on a folder means nothing there. */
static const char *usual_socket(enum kind kind)
{
    const char *told = getenv(kind == AGENT ? "RISEFALL_AGENT_SOCKET" : "RISEFALL_SOCKET");
    if (told != NULL && *told == '/')
        return told;
    return kind == AGENT ? AGENT_SOCKET : RUN_SOCKET;
}

static int read_check(char **argv, int *at, struct plan *plan, struct check *check)
{
    memset(check, 0, sizeof *check);
    for (check->kind = SERVER; check->kind < KINDS; check->kind++)
        if (argv[*at] != NULL && strcmp(argv[*at], KIND_NAMES[check->kind]) == 0)
            break;
    if (check->kind == KINDS)
        return misuse(argv[*at] != NULL ? "no such kind" : "wants a kind and what to check", argv[*at]);
    if (argv[*at + 1] == NULL)
        return misuse("wants what to check", argv[*at]);
    check->what = argv[*at + 1];
    check->least = "1";
    check->codes = "200-399";
    check->socket = usual_socket(check->kind);
    for (*at += 2; argv[*at] != NULL; ++*at) {
        const char *value, *word = argv[*at];
        uint64_t number;
        if (strcmp(word, "--log") == 0) {
            plan->log = true;
        } else if ((value = value_of(argv, at, "--timeout")) != NULL) {
            if (!rt_parse_duration(value, &plan->timeout_ns) || plan->timeout_ns == 0 || plan->timeout_ns > TIMEOUT_MAX_NS)
                return misuse("--timeout wants a time with a unit, such as 500ms", value);
        } else if (asks_daemon(check) && (value = value_of(argv, at, "--socket")) != NULL) {
            if (*value == '\0')
                return misuse("--socket wants a path", NULL);
            check->socket = value;
        } else if (check->kind == BACKEND && (value = value_of(argv, at, "--min-up")) != NULL) {
            if (!rt_parse_number(value, 1000000, &number) || number == 0)
                return misuse("--min-up wants a count of 1 or more", value);
            check->least = value;
        } else if (check->kind == AGENT && (value = value_of(argv, at, "--min-weight")) != NULL) {
            if (!rt_parse_number(value, 256, &number))
                return misuse("--min-weight wants a weight of 0 to 256", value);
            check->least = value;
        } else if (check->kind == HTTP && (value = value_of(argv, at, "--expect")) != NULL) {
            if (!rt_parse_codes(value))
                return misuse("--expect wants codes, such as 200 or 200-299,401", value);
            check->codes = value;
        } else if (check->kind == FILE_ && (value = value_of(argv, at, "--newer-than")) != NULL) {
            if (!rt_parse_duration(value, &check->newer_than_ns) || check->newer_than_ns == 0)
                return misuse("--newer-than wants a time with a unit, such as 30s", value);
        } else if (strcmp(word, "--fallback") == 0) {
            break;
        } else {
            return misuse("this word does not belong here", word);
        }
    }
    return look_at(check);
}

static int read_plan(char **argv, struct plan *plan)
{
    int at = 1;
    int code = read_check(argv, &at, plan, &plan->first);
    if (code != RT_GOOD || argv[at] == NULL)
        return code;
    if (!asks_daemon(&plan->first))
        return misuse("only what asks the daemon can have a --fallback", NULL);
    at++;
    plan->has_fallback = true;
    code = read_check(argv, &at, plan, &plan->fallback);
    if (code != RT_GOOD)
        return code;
    if (argv[at] != NULL || asks_daemon(&plan->fallback))
        return misuse("--fallback wants one check that needs no daemon", NULL);
    return RT_GOOD;
}

static int run_check(const struct check *check, rt_run *run)
{
    switch (check->kind) {
    case SERVER:
    case BACKEND:
    case SCRIPT:
    case AGENT:
        return rt_ask(run, check->socket, KIND_NAMES[check->kind], check->what, check->least);
    case TCP:
        return rt_tcp(run, &check->address);
    case HTTP:
        return rt_http(run, &check->url, check->codes);
    case UNIX:
        return rt_unix(run, check->what);
    case HAPROXY:
        return rt_haproxy(run, check->what);
    case PROCESS:
        return rt_process(run, check->what);
    case FILE_:
        return rt_file(run, check->what, check->newer_than_ns);
    case KINDS:
        break;
    }
    return RT_BAD;
}

static void begin_line(rt_text *line, const struct check *check)
{
    rt_add(line, KIND_NAMES[check->kind]);
    rt_add(line, " ");
    rt_add(line, check->what);
    rt_add(line, ": ");
}

static const struct check *under_way;
static bool logged;

static void tell(const rt_text *line)
{
    rt_text whole = {.len = 0};
    rt_add(&whole, "risefall-track: ");
    rt_add(&whole, line->text);
    if (logged) { /* as syslog(3) does, daemon.warning, but never waiting for it */
        static const struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
        rt_text packet = {.len = 0};
        rt_add(&packet, "<28>");
        rt_add(&packet, whole.text);
        const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0)
            (void)sendto(fd, packet.text, packet.len, MSG_NOSIGNAL, (const struct sockaddr *)&to, sizeof to);
    }
    if (whole.len + 1 < sizeof whole.text)
        whole.text[whole.len++] = '\n';
    whole.text[whole.len] = '\0';
    rt_print(STDERR_FILENO, whole.text);
}

static void too_late(int number)
{
    (void)number;
    rt_text line = {.len = 0};
    begin_line(&line, under_way);
    rt_add(&line, "did not end in time");
    tell(&line);
    _exit(RT_BAD);
}

static void set_alarm(uint64_t after_ns)
{
    const struct sigaction action = {.sa_handler = too_late};
    const struct itimerval timer = {.it_value = {.tv_sec = (time_t)(after_ns / NS_PER_S),
                                                 .tv_usec = (suseconds_t)(after_ns % NS_PER_S / 1000)}};
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    (void)sigaction(SIGALRM, &action, NULL);
    (void)sigprocmask(SIG_UNBLOCK, &alarm, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);

    struct sigevent kill = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    int last; /* as the kernel counts timers; the C library's own functions would link in its threads */
    after_ns += KILL_AFTER_NS;
    const long then[4] = {0, 0, (long)(after_ns / NS_PER_S), (long)(after_ns % NS_PER_S)}; /* an itimerspec of the kernel */
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &kill, &last) == 0)
        (void)syscall(SYS_timer_settime, last, 0, then, NULL);
}

static int run_plan(const struct plan *plan)
{
    const uint64_t start_ns = rt_now_ns();
    rt_text why = {.len = 0}, line = {.len = 0};
    under_way = &plan->first;
    logged = plan->log;
    set_alarm(plan->timeout_ns + ALARM_AFTER_NS);
    /* A daemon that hangs must leave time for the fallback: half of it. */
    rt_run run = {.deadline_ns = start_ns + (plan->has_fallback ? plan->timeout_ns / 2 : plan->timeout_ns), .why = &why};
    int verdict = run_check(&plan->first, &run);
    begin_line(&line, &plan->first);
    rt_add(&line, why.text);
    if (verdict == RT_UNKNOWN && plan->has_fallback) {
        under_way = &plan->fallback;
        why.len = 0;
        why.text[0] = '\0';
        run.deadline_ns = start_ns + plan->timeout_ns;
        verdict = run_check(&plan->fallback, &run);
        rt_add(&line, "; ");
        begin_line(&line, &plan->fallback);
        rt_add(&line, why.text);
    }
    if (verdict == RT_GOOD)
        return RT_GOOD;
    tell(&line);
    return RT_BAD;
}

/* A descriptor 0, 1 or 2 that is closed would be taken by a socket, and a reason written to the peer. */
static void hold_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    if (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 || fcntl(STDIN_FILENO, F_GETFD) < 0)
        hold_standard_fds();
    if (argc < 1)
        return RT_MISUSE;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        rt_print(STDOUT_FILENO, HELP);
        return RT_GOOD;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        rt_print(STDOUT_FILENO, "risefall-track " RISEFALL_VERSION "\n");
        return RT_GOOD;
    }
    if ((argc == 2 || argc == 3) && strcmp(argv[1], "--where") == 0)
        return rt_where(argv[2]);
    struct plan plan = {.timeout_ns = TIMEOUT_NS};
    const int code = read_plan(argv, &plan);
    return code == RT_GOOD ? run_plan(&plan) : code;
}
