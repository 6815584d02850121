"""`show info`: facts about the process, under HAProxy's names.

What a checker has no figure for is 0, as HAProxy says it for what it was built without. `Name` is that of the API and
not of who serves it: clients such as haproxyadmin refuse to talk to any other. `Build info` says who it is.
Source: spec/haproxy-checks.md §7.4, §7.6; names, order, tags and types were compared with 2.6.12.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.surfaces.columns import Format, json_value, tag_words

Value = str | int | float

RELEASED = "2026/11/24"
"""The day of this version; clients such as hatop want one."""


class Fact(msgspec.Struct, frozen=True):
    """One line. position: HAProxy's number of it; default "" leaves the line out unless a value is given."""

    position: int
    name: str
    tag: str
    kind: str
    default: str
    text: str


def _facts(lines: str) -> tuple[Fact, ...]:
    facts = []
    for line in lines.strip().splitlines():
        head, name, text = (part.strip() for part in line.split("|"))
        position, tag, kind, *default = head.split()
        facts.append(Fact(int(position), name, tag, kind, default[0] if default else "", text))
    return tuple(facts)


BASE = _facts("""
0  POS str HAProxy | Name | name of the API
1  POS str          | Version | version of the program
2  POS str          | Release_date | date of its release
3  CGS u32 1 | Nbthread | threads
4  CGS u32 1 | Nbproc | processes, always 1
5  KGP u32 1 | Process_num | number of the process, always 1
6  SGP u32 0 | Pid | process id
7  MDP str   | Uptime | time since the start
8  MDP u32 0 | Uptime_sec | seconds since the start
9  CLP u32 0 | Memmax_MB | limit of memory, in MB
10 MGP u32 0 | PoolAlloc_MB | memory taken, in MB
11 MGP u32 0 | PoolUsed_MB | memory in use, in MB
12 MCP u32 0 | PoolFailed | allocations that failed
13 CLP u32 0 | Ulimit-n | limit of file descriptors
14 CLP u32 0 | Maxsock | limit of sockets
15 CLP u32 0 | Maxconn | limit of connections
16 CLP u32 0 | Hard_maxconn | hard limit of connections
17 MGP u32 0 | CurrConns | connections now
18 MCP u32 0 | CumConns | connections in total
19 MCP u32 0 | CumReq | requests in total
20 MMP u32 0 | MaxSslConns | limit of TLS connections
21 MGP u32 0 | CurrSslConns | TLS connections now
22 MCP u32 0 | CumSslConns | TLS connections in total
23 CLP u32 0 | Maxpipes | limit of pipes
24 MGP u32 0 | PipesUsed | pipes in use
25 MGP u32 0 | PipesFree | pipes that are free
26 MRP u32 0 | ConnRate | connections in the last second
27 CLP u32 0 | ConnRateLimit | limit of connections in a second
28 MMP u32 0 | MaxConnRate | most connections in a second
29 MRP u32 0 | SessRate | sessions in the last second
30 CLP u32 0 | SessRateLimit | limit of sessions in a second
31 MRP u32 0 | MaxSessRate | most sessions in a second
32 MRP u32 0 | SslRate | TLS connections in the last second
33 CLP u32 0 | SslRateLimit | limit of TLS connections in a second
34 MMP u32 0 | MaxSslRate | most TLS connections in a second
35 MGP u32 0 | SslFrontendKeyRate | TLS keys of frontends in the last second
36 MMP u32 0 | SslFrontendMaxKeyRate | most TLS keys of frontends in a second
37 MGP u32 0 | SslFrontendSessionReuse_pct | TLS sessions of frontends used again, in percent
38 MRP u32 0 | SslBackendKeyRate | TLS keys of backends in the last second
39 MMP u32 0 | SslBackendMaxKeyRate | most TLS keys of backends in a second
40 MCP u32 0 | SslCacheLookups | lookups in the TLS session cache
41 MCP u32 0 | SslCacheMisses | lookups that missed
42 MRP u32 0 | CompressBpsIn | bytes into compression in the last second
43 MRP u32 0 | CompressBpsOut | bytes out of compression in the last second
44 CLP u32 0 | CompressBpsRateLim | limit of bytes out of compression in a second
47 MGP u32 0 | Tasks | tasks; here the checks
48 MGP u32 0 | Run_queue | tasks that run; here the checks on their way
49 MaP u32 0 | Idle_pct | share of the last second spent waiting, in percent
50 COS str   | node | name of the node
51 COS str   | description | description of the node
52 MGP u32 0 | Stopping | 1 while the process stops
53 MGP u32 0 | Jobs | active jobs
54 MGP u32 0 | Unstoppable Jobs | active jobs that cannot be stopped
55 MGP u32 0 | Listeners | active listeners
56 MGP u32 0 | ActivePeers | active connections to peers
57 MGP u32 0 | ConnectedPeers | connected peers
58 MGP u32 0 | DroppedLogs | log lines that no target took
59 MGP u32 0 | BusyPolling | 1 while polling is busy
60 MGP u32 0 | FailedResolutions | names that could not be resolved
61 MGP u64 0 | TotalBytesOut | bytes sent
62 MGP u64 0 | TotalSplicdedBytesOut | bytes sent through pipes
63 MRP u64 0 | BytesOutRate | bytes sent in the last second
64 MGP u32 0 | DebugCommandsIssued | debug commands given
65 MCP u32 0 | CumRecvLogs | log messages received
66 POS str   | Build info | what was built
67 CLP u32 0 | Memmax_bytes | limit of memory, in bytes
68 MGP u64 0 | PoolAlloc_bytes | memory taken, in bytes
69 MGP u64 0 | PoolUsed_bytes | memory in use, in bytes
70 MDP u32 0 | Start_time_sec | start, in seconds since 1970
71 SGP str 0 | Tainted | experimental features in use
""")

EXTENSION = _facts("""
72 MCP u32 0 | TotalWarnings | warnings given
73 MCP u32 0 | MaxconnReached | times that the limit of connections was reached
74 MDP u32 0 | BootTime_ms | duration of the start, in ms
75 MGP u32 0 | Niced_tasks | tasks with a nice value
76 MGP u64 0 | CurrStreams | streams now
77 MGP u64 0 | CumStreams | streams in total
78 MGP u32 0 | BlockedTrafficWarnings | warnings of blocked traffic
79 MCP u64 0 | PatternsAdded | patterns added
80 MCP u64 0 | PatternsFreed | patterns freed
81 CGS u32 1 | NbThreadGroups | groups of threads
""")

RATES = frozenset({
    "ConnRate", "SessRate", "SslRate", "SslFrontendKeyRate", "SslFrontendSessionReuse_pct", "SslBackendKeyRate",
    "CompressBpsIn", "CompressBpsOut",
})  # fmt: skip
EXACT = RATES | {"Uptime_sec", "Start_time_sec"}
"""What `float` tells with decimals; of rates it also says that they are some."""

RENAMED = {"TotalSplicdedBytesOut": "TotalSplicedBytesOut"}
"""Spelt rightly since."""


def render_uptime(seconds: int) -> str:
    """`0d 0h02m43s`."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours // 24}d {hours % 24}h{minute:02d}m{second:02d}s"


def trimmed(value: float) -> str:
    """As HAProxy writes one: at most six decimals, no zeros at the end."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _shown(dialect: Dialect, info: Mapping[str, Value], *, exact: bool) -> Iterator[tuple[Fact, str, str]]:
    """Each fact with its name and value. exact: with decimals, where there are any."""
    values = {"Uptime": render_uptime(int(info.get("Uptime_sec", 0))), "Release_date": RELEASED, **info}
    values.setdefault("Build info", values.get("Version", ""))
    for fact in (*BASE, *EXTENSION) if dialect.csv_extended else BASE:
        name = RENAMED.get(fact.name, fact.name) if dialect.csv_extended else fact.name
        value = values.get(name, fact.default)
        if exact and name in EXACT:
            tag = "MRP" if name in RATES else fact.tag
            yield msgspec.structs.replace(fact, kind="flt", tag=tag), name, trimmed(float(value or 0))
        elif value != "":
            yield fact, name, str(int(value) if isinstance(value, float) else value)


def show_info(dialect: Dialect, info: Mapping[str, Value], words: Sequence[str] = ()) -> str:
    """The whole reply, each line ended; the protocol's own line feed comes after it.

    Args:
        info: values by HAProxy's name; `Version` and `Pid` at least, the rest as far as it is known.
        words: `typed`, `json`, `desc`, `float`; others are passed over, as HAProxy does.
    """
    form = Format.CSV
    for word in words:
        form = {"typed": Format.TYPED, "json": Format.JSON}.get(word, form)
    described = "desc" in words
    facts = _shown(dialect, info, exact="float" in words)
    match form:
        case Format.CSV:
            return "".join(f"{name}: {value}{_told(fact, described)}\n" for fact, name, value in facts)
        case Format.TYPED:
            last = "V" if dialect.typed_persistence else ""
            return "".join(
                f"{fact.position}.{name}.1:{fact.tag}{last}:{fact.kind}:{value}{_told(fact, described)}\n"
                for fact, name, value in facts
            )
        case Format.JSON:
            return json.dumps([_object(*shown) for shown in facts], separators=(",", ":")) + "\n"


def _told(fact: Fact, described: bool) -> str:
    return f':"{fact.text}"' if described else ""


def _object(fact: Fact, name: str, value: str) -> dict[str, object]:
    return {
        "field": {"pos": fact.position, "name": name},
        "processNum": 1,
        "tags": tag_words(fact.tag),
        "value": {"type": fact.kind, "value": json_value(fact.kind, value)},
    }
