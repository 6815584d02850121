"""Scenarios of states: the counter, 404, backups, trackers, maintenance, commands, pace and deadlines.

Source: spec §1.2-1.4, §1.8, §1.10, §2.1, §2.3, §2.5, §5, §6.2, §6.3, §11.1, §11.2.
"""

from __future__ import annotations

from harness import Scenario, Step, Until
from risefall.engine.play import OK, SILENT, Act, Door, Then, http_reply

LINES = ("option httpchk", "option log-health-checks")
SHORT = LINES[:1]
PLAIN = "s1 {s1} check inter 200ms rise 2 fall 3"
BAD = Act(http_reply(503, "Busy"))
GONE = Act(http_reply(404, "Not Found"))
EOF_ = Act(b"", then=Then.FIN)


def story(
    name: str, spec: str, *steps: Step, acts: tuple[Act, ...] = (OK,), server: str = PLAIN, **more: object
) -> Scenario:
    """One server, its acts, and what is done to it."""
    return Scenario(name, spec, (server,), {"s1": acts}, steps=steps, **{"lines": LINES, **more})  # type: ignore[arg-type]


def counter(
    name: str, acts: tuple[Act, ...], server: str = PLAIN, spec: str = "1.2 1.3 6.2", **more: object
) -> Scenario:
    """Acts that run through; the scenario ends two checks after the last of them began to repeat."""
    return story(name, spec, Step(Until(checks=f"s1+{len(acts) + 2}")), acts=acts, server=server, **more)


TRACE = (OK, OK, BAD, BAD, OK, BAD, BAD, BAD, BAD, EOF_, OK, BAD, OK, OK)

COUNTERS = [
    counter("trace", TRACE, spec="11.1 1.2 1.3 6.2 6.3"),
    counter("trace-unlogged", TRACE, lines=SHORT, spec="11.1 6.3"),
    counter("rise-1-fall-1", (OK, BAD, OK, BAD, BAD, OK), "s1 {s1} check inter 200ms rise 1 fall 1"),
    counter("rise-3-fall-2", (BAD, OK, OK, BAD, OK, OK, OK, BAD, OK), "s1 {s1} check inter 200ms rise 3 fall 2"),
    counter(
        "rise-1-fall-4", (OK, BAD, BAD, BAD, OK, BAD, BAD, BAD, BAD, OK), "s1 {s1} check inter 200ms rise 1 fall 4"
    ),
    counter("first-fails", (BAD, OK, OK)),
    counter("first-fails-unlogged", (BAD, OK, OK), lines=SHORT),
    counter("other-failure-while-down", (BAD, BAD, EOF_, EOF_, BAD)),
    counter(
        "404-trace",
        (OK, GONE, GONE, OK, GONE, BAD, GONE, OK),
        lines=(*LINES, "http-check disable-on-404"),
        spec="1.4 11.2",
    ),
    counter("404-first", (GONE, OK), lines=(*LINES, "http-check disable-on-404"), spec="1.4 11.2"),
    counter(
        "404-to-down", (OK, GONE, BAD, BAD, BAD, GONE, OK, OK), lines=(*LINES, "http-check disable-on-404"), spec="1.4"
    ),
    counter(
        "404-to-down-unlogged",
        (OK, GONE, BAD, BAD, BAD, OK, OK),
        lines=(*SHORT, "http-check disable-on-404"),
        spec="1.4 6.3",
    ),
    counter(
        "404-beats-expect",
        (OK, GONE),
        lines=(*LINES, "http-check disable-on-404", "http-check expect status 404"),
        spec="1.4",
    ),
    counter("404-expected", (GONE, OK, OK), lines=(*LINES, "http-check expect status 404"), spec="3.9"),
    counter(
        "send-state-words",
        (OK, BAD, BAD, BAD, OK, OK),
        lines=(*LINES, "http-check send-state"),
        spec="3.8",
        requests=("s1",),
    ),
    counter(
        "send-state-nolb",
        (OK, GONE, BAD, GONE),
        lines=(*LINES, "http-check send-state", "http-check disable-on-404"),
        spec="3.8",
        requests=("s1",),
    ),
    counter(
        "backup-alone",
        (OK, BAD, BAD, BAD, OK, OK),
        f"{PLAIN} backup",
        spec="1.10 6.2 6.3",
    ),
    counter("weight-0", (OK, BAD, BAD, BAD, OK, OK), f"{PLAIN} weight 0", spec="6.2 6.3"),
    counter(
        "listen-says-proxy",
        (BAD, OK, OK),
        kind="listen",
        lines=(*LINES, "bind {folder}/listen.sock"),
        spec="6.3",
    ),
]

PACES = [
    counter(
        "pace",
        (OK, OK, BAD, BAD, BAD, BAD, OK, OK, OK, OK),
        "s1 {s1} check inter 700ms fastinter 200ms downinter 400ms rise 3 fall 3",
        spec="2.1",
        gaps=("s1",),
    ),
    counter("pace-inter-alone", (OK, BAD, BAD, BAD, OK, OK, OK), spec="2.1", gaps=("s1",)),
    counter("pace-slow-replies", (Act(OK.reply, delay_ms=120),), spec="2.1 2.4", gaps=("s1",)),
    counter(
        "pace-silent",
        (SILENT,) * 4,
        "s1 {s1} check inter 500ms fastinter 100ms downinter 200ms",
        spec="2.3",
        gaps=("s1",),
    ),
    story(
        "silent-inter",
        "2.3",
        Step(Until(log="is DOWN")),
        acts=(SILENT,),
        server="s1 {s1} check inter 300ms",
        timed=True,
    ),
    story(
        "silent-timeout-connect-alone",
        "2.3",
        Step(Until(log="is DOWN")),
        acts=(SILENT,),
        server="s1 {s1} check inter 300ms",
        lines=(*LINES, "timeout connect 100ms"),
        timed=True,
    ),
    story(
        "silent-timeout-check-late",
        "2.3 trap 7",
        Step(Until(log="is DOWN")),
        acts=(SILENT,),
        server="s1 {s1} check inter 500ms",
        lines=(*LINES, "timeout check 150ms"),
        timed=True,
    ),
    story(
        "timeout-check-late-still-passes",
        "2.3 trap 7",
        Step(Until(log="Health check")),
        acts=(Act(OK.reply, delay_ms=300),),
        server="s1 {s1} check inter 500ms",
        lines=(*LINES, "timeout check 100ms"),
        timed=True,
    ),
    story(
        "silent-timeout-check-longer",
        "2.3",
        Step(Until(log="is DOWN")),
        acts=(SILENT,),
        server="s1 {s1} check inter 200ms",
        lines=(*LINES, "timeout check 400ms"),
        timed=True,
    ),
    story(
        "late-answer-within-timeout-check",
        "2.3 trap 6",
        Step(Until(checks="s1+3", log="Health check")),
        acts=(Act(OK.reply, delay_ms=300),),
        server="s1 {s1} check inter 200ms",
        lines=(*LINES, "timeout check 600ms", "timeout connect 100ms"),
        timed=True,
    ),
    story(
        "deaf-timeout-connect-alone",
        "2.3 trap 5",
        Step(Until(log="is DOWN")),
        server="s1 {s1} check inter 400ms",
        lines=(*LINES, "timeout connect 100ms"),
        doors={"s1": Door.DEAF},
        timed=True,
    ),
    story(
        "deaf-timeout-connect-and-check",
        "2.3",
        Step(Until(log="is DOWN")),
        server="s1 {s1} check inter 400ms",
        lines=(*LINES, "timeout connect 100ms", "timeout check 2s"),
        doors={"s1": Door.DEAF},
        timed=True,
    ),
    story(
        "deaf-tcp",
        "2.3",
        Step(Until(log="is DOWN")),
        server="s1 {s1} check inter 300ms",
        lines=LINES[1:],
        doors={"s1": Door.DEAF},
        timed=True,
    ),
]


def aimed(name: str, server: str) -> Scenario:
    """A server whose own address refuses, and whose checks go to s2."""
    return Scenario(
        name,
        "2.5",
        (server,),
        {"s1": (OK,), "s2": (OK,)},
        lines=LINES,
        hosts={"s2": "127.0.0.7"},
        doors={"s1": Door.REFUSE},
        steps=(Step(Until(checks="s2+3", log="Health check")),),
    )


TARGETS = [
    aimed("aim-addr-port", "s1 {s1} check inter 200ms addr {s2.host} port {s2.port}"),
    aimed("aim-addr-with-port", "s1 {s1} check inter 200ms addr {s2}"),
    aimed("aim-addr-own-port", "s1 {s1.host}:{s2.port} check inter 200ms addr {s2.host}"),
    aimed("aim-port-own-addr", "s1 {s2.host}:{s1.port} check inter 200ms port {s2.port}"),
    aimed("aim-no-port", "s1 {s2.host} check inter 200ms port {s2.port}"),
    aimed("aim-source", "s1 {s2} check inter 200ms source 127.0.0.9"),
]

TRACKING = [
    Scenario(
        "track",
        "1.8 6.3",
        (PLAIN, "t1 {s1} track {b}/s1", "t2 {s1} track t1 backup", "other {o1} check inter 200ms"),
        {"s1": (OK,), "o1": (Act(OK.reply, delay_ms=40),)},  # later than s1, for sure, on both sides
        lines=LINES,
        steps=(
            Step(Until(checks="s1+3", status="other=UP"), scripts={"s1": (BAD,)}),
            Step(Until(log="s1 is DOWN"), scripts={"s1": (OK,)}),
            Step(Until(log="s1 is UP"), cli=("set server {b}/s1 state maint",)),
            Step(Until(status=r"t2=MAINT \(via .*"), cli=("set server {b}/s1 state ready",)),
            Step(Until(status="s1=UP", checks="s1+1"), cli=("set server {b}/s1 state drain",)),
            Step(
                Until(status="t2=DRAIN", checks="s1+1"),
                cli=("set server {b}/t1 state maint", "set server {b}/s1 state ready"),
            ),
            Step(
                Until(status="s1=UP", checks="s1+1"),
                cli=("set server {b}/t1 state ready", "set server {b}/t1 health down"),
            ),
            Step(Until(status="t2=UP", checks="s1+1"), cli=("set server {b}/s1 health down",)),
            Step(Until(log="s1 is UP")),
        ),
    ),
    Scenario(
        "track-unlogged",
        "1.8 6.3",
        (PLAIN, "t1 {s1} track s1 weight 7"),
        {"s1": (OK,)},
        lines=SHORT,
        steps=(
            Step(Until(checks="s1+3"), scripts={"s1": (BAD,)}),
            Step(Until(log="t1 is DOWN"), scripts={"s1": (OK,)}),
            Step(Until(log="t1 is UP")),
        ),
    ),
    Scenario(
        "track-404",
        "1.8 1.4",
        (PLAIN, "t1 {s1} track s1"),
        {"s1": (OK,)},
        lines=(*LINES, "http-check disable-on-404"),
        steps=(
            Step(Until(checks="s1+3"), scripts={"s1": (GONE,)}),
            Step(Until(log="t1 is stopping"), scripts={"s1": (OK,)}),
            Step(Until(log="t1 is UP"), scripts={"s1": (GONE, BAD)}),
            Step(Until(log="t1 is DOWN")),
        ),
    ),
    Scenario(
        "track-disabled",
        "1.8 1.10",
        (f"{PLAIN} disabled", "t1 {s1} track s1"),
        {"s1": (OK,)},
        lines=LINES,
        steps=(
            Step(Until(status="t1=MAINT .*"), cli=("enable server {b}/s1",)),
            Step(Until(checks="s1+3", status="t1=UP")),
        ),
    ),
    Scenario(
        "track-drain",
        "1.8 5.2",
        (PLAIN, "t1 {s1} track s1"),
        {"s1": (OK,)},
        lines=LINES,
        steps=(
            Step(Until(checks="s1+3", status="s1=UP"), cli=("set server {b}/s1 state drain",)),
            Step(Until(status="t1=DRAIN"), cli=("set server {b}/t1 state drain",)),
            Step(Until(checks="s1+1"), cli=("set server {b}/s1 state ready",)),
            Step(Until(checks="s1+1"), cli=("set server {b}/s1 state drain",)),
            Step(Until(checks="s1+1"), cli=("set server {b}/t1 state ready",)),
            Step(Until(checks="s1+1"), cli=("set server {b}/s1 state ready",)),
            Step(Until(checks="s1+1", status="t1=UP")),
        ),
    ),
]

SEVERAL = [
    Scenario(
        "running-on-backup",
        "1.10 6.3",
        (PLAIN, "bk {b1} check inter 200ms rise 2 fall 3 backup", "b2 {b1} check inter 200ms backup"),
        {"s1": (OK,), "b1": (OK,)},
        lines=SHORT,
        steps=(
            Step(Until(checks="b1+6", status="s1=UP"), scripts={"s1": (BAD,)}),
            Step(Until(log="s1 is DOWN"), scripts={"s1": (OK,)}),
            Step(Until(log="s1 is UP"), cli=("disable server {b}/s1",)),
            Step(Until(log="s1 is going"), cli=("disable server {b}/bk", "disable server {b}/b2")),
            Step(Until(log="no server"), cli=("enable server {b}/s1", "enable server {b}/bk", "enable server {b}/b2")),
            Step(Until(checks="b1+4", status="s1=UP")),
        ),
    ),
    Scenario(
        "all-go-down",
        "6.3",
        (PLAIN, "s2 {s2} check inter 200ms", "s3 {s3} check inter 200ms backup"),
        {"s1": (OK,), "s2": (OK,), "s3": (OK,)},
        lines=LINES,
        steps=(
            Step(Until(checks="s3+3", status="s1=UP"), scripts={"s1": (BAD,)}),
            Step(Until(log="s1 is DOWN"), scripts={"s3": (EOF_,)}),
            Step(Until(log="s3 is DOWN"), doors={"s2": Door.REFUSE}),
            Step(Until(log="no server"), doors={"s2": Door.OPEN}),
            Step(Until(log="s2 is UP"), scripts={"s1": (OK,)}),
            Step(Until(log="s1 is UP"), scripts={"s3": (OK,)}),
            Step(Until(log="s3 is UP")),
        ),
        ordered=False,
    ),
]


def do(until: Until, *cli: str) -> Step:
    """Commands, when it is time for them."""
    return Step(until, cli=cli)


COMMANDS = [
    story(
        "maint-ready-drain",
        "5.2 5.3 6.3",
        do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 state maint"),
        do(Until(status="s1=MAINT"), "set server {b}/s1 state maint"),
        do(Until(status="s1=MAINT"), "set server {b}/s1 state ready"),
        do(Until(checks="s1+2", status="s1=UP"), "set server {b}/s1 state ready", "set server {b}/s1 state drain"),
        do(Until(checks="s1+2", status="s1=DRAIN"), "set server {b}/s1 state maint"),
        do(Until(status="s1=MAINT"), "set server {b}/s1 state drain"),
        do(Until(checks="s1+2", status="s1=DRAIN"), "set server {b}/s1 state ready"),
        do(Until(checks="s1+2", status="s1=UP"), "disable server {b}/s1"),
        do(Until(status="s1=MAINT"), "enable server {b}/s1"),
        do(Until(checks="s1+2", status="s1=UP")),
    ),
    story(
        "maint-while-down",
        "5.2 5.3 6.3",
        do(Until(log="is DOWN"), "set server {b}/s1 state maint"),
        do(Until(status="s1=MAINT"), "set server {b}/s1 state ready"),
        do(Until(log="is DOWN"), "set server {b}/s1 state drain"),
        do(Until(checks="s1+2"), "set server {b}/s1 state ready"),
        do(Until(checks="s1+2")),
        acts=(BAD,),
    ),
    story(
        "drain-then-down",
        "6.3",
        do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 state drain"),
        Step(Until(status="s1=DRAIN"), scripts={"s1": (BAD,)}),
        Step(Until(status="s1=DOWN", checks="s1+2"), scripts={"s1": (OK,)}),
        do(Until(status="s1=DRAIN", checks="s1+2"), "set server {b}/s1 state ready"),
        do(Until(status="s1=UP")),
        lines=SHORT,
    ),
    story(
        "disabled-then-enabled",
        "1.10 5.3",
        do(Until(status="s1=MAINT"), "enable server {b}/s1"),
        do(Until(checks="s1+3", status="s1=UP")),
        server=f"{PLAIN} disabled",
    ),
    story(
        "disabled-then-drain",
        "1.10 5.2",
        do(Until(status="s1=MAINT"), "set server {b}/s1 state drain"),
        do(Until(checks="s1+3", status="s1=DRAIN")),
        server=f"{PLAIN} disabled",
    ),
    story(
        "health-forced",
        "5.4 1.2",
        do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 health down"),
        do(Until(log="is UP"), "set server {b}/s1 health stopping"),
        do(Until(log="is UP"), "set server {b}/s1 health up"),
        do(Until(checks="s1+2", status="s1=UP")),
        server="s1 {s1} check inter 600ms rise 2 fall 3",  # a forced state lasts until the next check: time to be seen
    ),
    story(
        "health-forced-unchecked",
        "5.4 1.1",
        do(Until(status="s1=no check"), "set server {b}/s1 health down"),
        do(Until(status="s1=DOWN"), "set server {b}/s1 health up"),
        do(Until(status="s1=no check"), "set server {b}/s1 health stopping"),
        do(Until(status="s1=NOLB"), "set server {b}/s1 health up"),
        do(Until(status="s1=no check"), "set server {b}/s1 state drain"),
        do(Until(status="s1=DRAIN"), "set server {b}/s1 state ready"),
        do(Until(status="s1=no check")),
        server="s1 {s1}",
    ),
    story(
        "health-disabled",
        "5.4 7.2",
        do(Until(checks="s1+3", status="s1=UP"), "disable health {b}/s1"),
        Step(Until(status="s1=no check"), scripts={"s1": (BAD,)}, cli=("enable health {b}/s1",)),
        do(Until(log="is DOWN"), "disable health {b}/s1"),
        Step(Until(status="s1=DOWN"), scripts={"s1": (OK,)}, cli=("enable health {b}/s1",)),
        do(Until(log="is UP")),
    ),
    story(
        "weights",
        "5.4 6.2 6.3",
        do(Until(checks="s1+3", status="s1=UP"), "set weight {b}/s1 0", "get weight {b}/s1"),
        do(Until(log="no server"), "set weight {b}/s1 50%", "get weight {b}/s1"),
        do(Until(checks="s1+1"), "set server {b}/s1 weight 30000%", "get weight {b}/s1"),
        do(Until(checks="s1+1"), "set server {b}/s1 weight 0%"),
        Step(Until(checks="s1+1"), scripts={"s1": (BAD,)}),
        Step(Until(log="is DOWN"), cli=("set weight {b}/s1 100%",), scripts={"s1": (OK,)}),
        do(Until(log="is UP"), "get weight {b}/s1"),
        do(Until(checks="s1+1")),
        server=f"{PLAIN} weight 40",
    ),
    story(
        "maint-phase",
        "5.3 trap 29",
        do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 state maint"),
        do(Until(status="s1=MAINT"), "set server {b}/s1 state ready"),
        do(Until(status="s1=UP 1/3")),
        do(Until(status="s1=UP", checks="s1+2")),
        server="s1 {s1} check inter 800ms rise 2 fall 3",
    ),
    story(
        "refusals",
        "5.4",
        do(
            Until(checks="s1+1"),
            "set server",
            "set server foo",
            "set server foo/bar state ready",
            "set server {b}/nope state ready",
            "set server {b}/s1",
            "set server {b}/s1 nonsense",
            "set server {b}/s1 state",
            "set server {b}/s1 state foo",
            "set server {b}/s1 health foo",
            "set server {b}/s1 agent up",
            "set server {b}/s1 agent foo",
            "set server {b}/s1 weight",
            "set server {b}/s1 weight 300",
            "set server {b}/s1 weight -1",
            "set server {b}/s1 weight x",
            "set server {b}/s1 weight 5x",
            "set server {b}/s1 weight -5%",
            "set weight {b}/s1",
            "set weight {b}/s1 257",
            "enable agent {b}/s1",
            "disable agent {b}/s1",
            "enable health {b}/s1",
            "enable server {b}/nope",
            "disable server nope",
            "enable health",
            "get weight {b}/s1",
            "get weight {b}/nope",
        ),
        do(Until(checks="s1+2")),
    ),
    story(
        "refusals-unchecked",
        "5.4",
        do(
            Until(status="s1=no check"), "enable health {b}/s1", "disable health {b}/s1", "set server {b}/s1 agent down"
        ),
        do(Until(status="s1=no check")),
        server="s1 {s1}",
    ),
    story(
        "show-refusals",
        "7.3 7.5",
        do(Until(checks="s1+1"), "show servers state nope", "show stat nope -1 -1", "show stat {b} 1 -1"),
        do(Until(checks="s1+2")),
    ),
    story(
        "proxy-disabled",
        "1.10 5.4",
        do(
            Until(),
            "set server {b}/s1 state maint",
            "enable server {b}/s1",
            "set weight {b}/s1 5",
            "enable health {b}/s1",
        ),
        lines=(*LINES, "disabled"),
    ),
    story(
        "static-balance",
        "5.4 4.2",
        do(
            Until(checks="s1+1"),
            "set weight {b}/s1 50%",
            "set weight {b}/s1 0%",
            "set weight {b}/s1 100%",
            "set weight {b}/s1 20",
        ),
        do(Until(checks="s1+2"), "get weight {b}/s1"),
        do(Until(checks="s1+1")),
        lines=(*LINES, "balance static-rr"),
        server=f"{PLAIN} weight 20",
    ),
]

STATES = [*COUNTERS, *PACES, *TARGETS, *TRACKING, *SEVERAL, *COMMANDS]
