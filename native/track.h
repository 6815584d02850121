/* track.h - the parts of risefall-track, the program that keepalived runs as its vrrp_script.
 *
 * It is started every few seconds, so its price is that of fork and exec: no stdio, no locale, no resolver, no threads, no
 * memory from the heap. All waits share one deadline. Nothing here is in Python's module.
 */
#ifndef RISEFALL_TRACK_H
#define RISEFALL_TRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RT_GOOD = 0,
    RT_BAD = 1,
    RT_MISUSE = 2,
    RT_UNKNOWN = 3, /* nobody could say: the fallback decides, a failure without one */
};

enum {
    RT_REASON_MAX = 400,
    RT_PACKET_MAX = 1024, /* a question or an answer of the daemon: facts.h says what they hold */
    RT_LINE_MAX = 256,
};

typedef struct {
    char text[RT_REASON_MAX];
    size_t len;
} rt_text;

/* Text. What does not fit is cut; control characters become '?', since the line may go to a log. */
void rt_add(rt_text *to, const char *text);
void rt_add_bytes(rt_text *to, const char *bytes, size_t len);
void rt_add_number(rt_text *to, uint64_t number);
void rt_add_errno(rt_text *to, int error);

/* --- what reads foreign bytes or words; pure, fuzzed by fuzz/fuzz_track.c ------------------------------------ */

typedef struct {
    int family; /* AF_INET or AF_INET6 */
    uint8_t address[16];
    uint16_t port;
} rt_address;

typedef struct {
    rt_address to;
    const char *host; /* as written, with the port: what the Host header says */
    size_t host_len;
    const char *path; /* "" stands for "/" */
} rt_url;

bool rt_parse_number(const char *text, uint64_t max, uint64_t *out);
bool rt_parse_duration(const char *text, uint64_t *out_ns); /* 500ms, 0.5s, 2m, 1h, 1d; a unit must be there */
bool rt_parse_address(const char *text, size_t len, uint16_t port, rt_address *out); /* port: 0 when it must be said */
bool rt_parse_url(const char *text, rt_url *out);
bool rt_parse_codes(const char *text);                  /* 200 or 200-399, several by commas */
bool rt_code_expected(const char *codes, uint16_t code); /* codes: which rt_parse_codes has accepted */

/* The code of an HTTP status line: 0 when more bytes are needed, -1 when it is none. */
int rt_status_line(const char *bytes, size_t len);

typedef struct { /* an answer to `show info`, line by line, however it is cut */
    char line[RT_LINE_MAX];
    size_t len;
    bool cut, haproxy, told, stopping;
} rt_info;
void rt_info_feed(rt_info *info, const char *bytes, size_t len);
void rt_info_end(rt_info *info);

/* The daemon's answer: a digit or '?', a space, text. Gives RT_GOOD, RT_BAD or RT_UNKNOWN. */
int rt_parse_answer(const char *bytes, size_t len, rt_text *why);

/* --- the checks. Each gives RT_GOOD, RT_BAD or RT_UNKNOWN, and the reason. ----------------------------------- */

uint64_t rt_now_ns(void);

typedef struct {
    uint64_t deadline_ns; /* monotonic */
    rt_text *why;
} rt_run;

int rt_ask(rt_run *run, const char *socket_path, const char *kind, const char *name, const char *least);
int rt_tcp(rt_run *run, const rt_address *to);
int rt_http(rt_run *run, const rt_url *url, const char *codes);
int rt_unix(rt_run *run, const char *path);
int rt_haproxy(rt_run *run, const char *path);
int rt_file(rt_run *run, const char *path, uint64_t newer_than_ns); /* 0: it need only be there */
int rt_process(rt_run *run, const char *name);

/* Whether keepalived's script security accepts the copy at <path> (NULL: this one); prints what it finds. */
int rt_where(const char *path);
void rt_print(int fd, const char *text);

#endif
