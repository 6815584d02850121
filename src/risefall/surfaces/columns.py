"""The columns of `show stat`: one line each, in order.

A line says: name, tag of `typed` (origin, nature, scope), type, where a checker shows a constant 0 (F frontend,
B backend, S server; small: in `mode http` only; `-`: nowhere), and what `desc` tells of it.
Source: spec/haproxy-checks.md §7.3, §7.4; tests/surfaces/test_csv.py compares all but the descriptions, which are
our own, with the installed haproxy.
"""

from __future__ import annotations

from enum import Enum

import msgspec

JSON_INT_MAX = 2**53 - 1


class Format(Enum):
    """How the rows are written."""

    CSV = "csv"
    TYPED = "typed"
    JSON = "json"


class Column(msgspec.Struct, frozen=True):
    """One column; `zeros` as in the head of this file. `-` in `kind` is the separator, which is no field."""

    name: str
    tag: str
    kind: str
    zeros: str
    text: str

    def tag_for(self, row: str) -> str:
        """The tag in a row of kind F, B or S."""
        return BACKEND_TAGS.get(self.name, self.tag) if row == "B" else self.tag

    @property
    def persistent(self) -> bool:
        """Whether today's HAProxy could carry the value over a reload: its counters."""
        return self.kind == "u64" and self.tag[1] == "C"


BACKEND_TAGS = {"act": "MGP", "bck": "MGP", "rate": "MGP", "rate_max": "MGP"}


def _table(lines: str) -> tuple[Column, ...]:
    return tuple(map(_column, lines.strip().splitlines()))


def _column(line: str) -> Column:
    first, _, text = line.partition("|")
    name, tag, kind, zeros = first.split()
    return Column(name, tag, kind, zeros, text.strip())


BASE = _table("""
pxname                  KNS str -   | name of the proxy
svname                  KNS str -   | name of the server, or FRONTEND, or BACKEND
qcur                    MGP u32 BS  | connections in the queue now
qmax                    MMP u32 BS  | most connections in the queue
scur                    MGP u32 FBS | sessions now
smax                    MMP u32 FBS | most sessions
slim                    CLP u32 -   | limit of sessions
stot                    MCP u64 FBS | sessions in total
bin                     MCP u64 FBS | bytes of requests
bout                    MCP u64 FBS | bytes of responses
dreq                    MCP u64 FB  | requests denied
dresp                   MCP u64 FBS | responses denied
ereq                    MCP u64 F   | invalid requests
econ                    MCP u64 BS  | failed connections to servers
eresp                   MCP u64 BS  | invalid responses
wretr                   MCP u64 BS  | connections tried again
wredis                  MCP u64 BS  | requests sent to another server
status                  SGP str -   | state; of a server as its checks say
weight                  MaP u32 -   | effective weight; of a backend the sum over its usable servers
act                     SGP u32 -   | active servers that are usable
bck                     SGP u32 -   | backup servers that are usable
chkfail                 MCP u64 -   | health checks that failed
chkdown                 MCP u64 -   | times that checks took it from UP to DOWN
lastchg                 MAP u32 -   | seconds since the state changed
downtime                MCP u32 -   | seconds spent DOWN
qlimit                  CGS u32 -   | limit of the queue (maxqueue)
pid                     KGP u32 -   | number of the worker, always 1
iid                     KGS u32 -   | id of the proxy
sid                     KGS u32 -   | id of the server
throttle                MaP u32 -   | percentage of the weight that a slowstart allows
lbtot                   MCP u64 BS  | requests that balancing routed
tracked                 CNS str -   | server that it tracks
type                    CGS u32 -   | 0 frontend, 1 backend, 2 server
rate                    MRP u32 FBS | sessions in the last second
rate_lim                CLP u32 F   | limit of sessions in a second
rate_max                MMP u32 FBS | most sessions in a second
check_status            MOP str -   | status of the last health check, after '* ' while one runs
check_code              MOP u32 -   | code that the last health check got
check_duration          MDP u64 -   | duration of the last health check, in ms
hrsp_1xx                MCP u64 fbs | responses with status 100-199
hrsp_2xx                MCP u64 fbs | responses with status 200-299
hrsp_3xx                MCP u64 fbs | responses with status 300-399
hrsp_4xx                MCP u64 fbs | responses with status 400-499
hrsp_5xx                MCP u64 fbs | responses with status 500-599
hrsp_other              MCP u64 fbs | responses with any other status
hanafail                MCP u64 -   | health checks that failed because of observed traffic
req_rate                MRP u32 F   | requests in the last second
req_rate_max            MMP u32 F   | most requests in a second
req_tot                 MCP u64 Fbs | requests in total
cli_abrt                MCP u64 BS  | transfers ended by the client
srv_abrt                MCP u64 BS  | transfers ended by the server
comp_in                 MCP u64 FB  | bytes given to compression
comp_out                MCP u64 FB  | bytes out of compression
comp_byp                MCP u64 FB  | bytes that went past compression
comp_rsp                MCP u64 FB  | responses compressed
lastsess                MAP s32 -   | seconds since the last traffic, -1 for none
last_chk                MOP str -   | what the last health check told
last_agt                MOP str -   | what the last agent check told
qtime                   MaP u32 BS  | average time in the queue, in ms
ctime                   MaP u32 BS  | average time to connect, in ms
rtime                   MaP u32 BS  | average time to respond, in ms
ttime                   MaP u32 BS  | average time in total, in ms
agent_status            MOP str -   | status of the last agent check, after '* ' while one runs
agent_code              MOP u32 -   | code that the last agent check got
agent_duration          MDP u64 -   | duration of the last agent check, in ms
check_desc              MOP str -   | status of the last health check in words
agent_desc              MOP str -   | status of the last agent check in words
check_rise              CGS u32 -   | health checks to pass before UP
check_fall              CGS u32 -   | health checks to fail before DOWN
check_health            CGS u32 -   | counter of the health check: good from rise on, at most rise + fall - 1
agent_rise              CGS u32 -   | agent checks to pass before UP
agent_fall              CGS u32 -   | agent checks to fail before DOWN
agent_health            CGS u32 -   | counter of the agent check: good from rise on, at most rise + fall - 1
addr                    CGS str -   | address and port of the server
cookie                  CNS str -   | cookie value of the server, cookie name of the backend
mode                    CGS str -   | mode of the proxy
algo                    CGS str -   | balancing of the backend
conn_rate               MRP u32 F   | connections in the last second
conn_rate_max           MMP u32 F   | most connections in a second
conn_tot                MCP u64 F   | connections in total
intercepted             MCP u64 f   | requests answered here
dcon                    MCP u64 F   | connections denied
dses                    MCP u64 F   | sessions denied
wrew                    MCP u64 FBS | header rewrites that failed
connect                 MCP u64 BS  | connections to servers
reuse                   MCP u64 BS  | connections used again
cache_lookups           MCP u64 fb  | lookups in the cache
cache_hits              MCP u64 fb  | lookups that hit
srv_icur                MGP u32 S   | idle connections now
src_ilim                CLP u32 -   | limit of idle connections
qtime_max               MMP u32 BS  | longest time in the queue, in ms
ctime_max               MMP u32 BS  | longest time to connect, in ms
rtime_max               MMP u32 BS  | longest time to respond, in ms
ttime_max               MMP u32 BS  | longest time in total, in ms
eint                    MCP u64 FBS | internal errors
idle_conn_cur           MGP u32 S   | unsafe idle connections now
safe_conn_cur           MGP u32 S   | safe idle connections now
used_conn_cur           MGP u32 S   | connections in use now
need_conn_est           MGP u32 S   | connections thought to be needed
uweight                 MaP u32 -   | user weight; of a backend the sum over its usable servers
agg_server_status       MGP u32 B   | unused here
agg_server_check_status MGP u32 B   | unused here
agg_check_status        MGP u32 B   | unused here
""")

EXTENSION = _table("""
srid                    MCP u32 -   | revision of the server's id
sess_other              MCP u64 F   | sessions other than HTTP
h1sess                  MCP u64 F   | HTTP/1 sessions
h2sess                  MCP u64 F   | HTTP/2 sessions
h3sess                  MCP u64 F   | HTTP/3 sessions
req_other               MCP u64 F   | requests other than HTTP
h1req                   MCP u64 F   | HTTP/1 requests
h2req                   MCP u64 F   | HTTP/2 requests
h3req                   MCP u64 F   | HTTP/3 requests
proto                   MOP str -   | protocol of a listener
priv_idle_cur           MGP u32 S   | private idle connections now
reqbin                  MCP u64 FBS | bytes of requests in
reqbout                 MCP u64 FBS | bytes of requests out
resbin                  MCP u64 FBS | bytes of responses in
resbout                 MCP u64 FBS | bytes of responses out
cache_hint_hits         MCP u64 fb  | lookups that a hint spared
""")

SEPARATOR = Column("-", "", "-", "-", "")
COLUMNS = {False: (*BASE, SEPARATOR), True: (*BASE, *EXTENSION, SEPARATOR)}
"""By `dialect.csv_extended`."""

AT = {column.name: position for position, column in enumerate((*BASE, *EXTENSION))}
"""Position of a column; those of 2.6 are the same in both dialects, whose readers go by name all the same."""

ORIGINS = {"M": "Metric", "S": "Status", "K": "Key", "C": "Config", "P": "Product"}
NATURES = {
    "G": "Gauge", "L": "Limit", "m": "Min", "M": "Max", "R": "Rate", "C": "Counter", "D": "Duration", "A": "Age",
    "T": "Time", "N": "Name", "O": "Output", "a": "Avg",
}  # fmt: skip
SCOPES = {"C": "Cluster", "P": "Process", "S": "Service", "s": "System"}


def tag_words(tag: str) -> dict[str, str]:
    """`SGP` as JSON spells it."""
    return {"origin": ORIGINS[tag[0]], "nature": NATURES[tag[1]], "scope": SCOPES[tag[2]]}


def json_value(kind: str, value: str) -> str | int | float | None:
    """A value as JSON has it; None for a number that JSON's readers would round, which is left out."""
    if kind == "str":
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if kind == "flt" and "." in value:
        return float(value)
    number = int(value)
    return number if number <= JSON_INT_MAX else None
