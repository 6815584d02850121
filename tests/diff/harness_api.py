"""Scenarios of servers that come and go, of agents that are sent another text, and of what else operators say.

Source: spec §5.4, §5.5, §7.2, §7.6.
"""

from __future__ import annotations

from harness import Scenario, Until
from harness_state import LINES, PLAIN, do, story
from risefall.engine.play import OK, Act, Then, When

ADD = "add server {b}/new"

GROWTH = [
    Scenario(
        "add-check-delete",
        "5.5 5.3",
        (PLAIN,),
        {"s1": (OK,), "n1": (OK,)},
        lines=LINES,
        steps=(
            do(Until(checks="s1+3", status="s1=UP"), ADD + " {n1} check inter 200ms rise 2 fall 3"),
            do(Until(status="new=MAINT"), "show servers state {b}", "enable health {b}/new"),
            do(Until(checks="n1+3", status="new=MAINT"), "enable server {b}/new"),
            do(Until(checks="n1+3", status="new=UP"), "del server {b}/new", "disable server {b}/new"),
            do(Until(status="new=MAINT"), "del server {b}/new", "del server {b}/new", "show servers state {b}"),
            do(Until(checks="s1+1"), ADD + " {n1} weight 7"),
            do(Until(status="new=MAINT"), "enable server {b}/new"),
            do(Until(status="new=no check"), "set server {b}/new weight 50%", "get weight {b}/new"),
            do(Until(checks="s1+1")),
        ),
    ),
    Scenario(
        "add-agent",
        "5.5 4.1",
        (PLAIN,),
        {"s1": (OK,), "a1": (Act(b"down\n", When.ACCEPT, Then.FIN),)},
        lines=LINES,
        steps=(
            do(Until(checks="s1+3"), ADD + " {s1} agent-check agent-port {a1.port} agent-inter 200ms"),
            do(Until(status="new=MAINT"), "enable server {b}/new"),
            do(Until(status="new=no check"), "enable agent {b}/new"),
            do(Until(log="new is DOWN"), "disable server {b}/new"),
            do(Until(status="new=MAINT")),
        ),
    ),
    Scenario(
        "add-tracker",
        "5.5 1.8",
        (PLAIN, "t1 {s1} track s1"),
        {"s1": (OK,)},
        lines=LINES,
        steps=(
            do(Until(checks="s1+3", status="s1=UP"), ADD + " {s1} track {b}/s1", "enable server {b}/new"),
            do(Until(status="new=UP", checks="s1+1"), "disable server {b}/s1", "del server {b}/s1"),
            do(Until(status=r"new=MAINT \(via .*"), "enable server {b}/s1"),
            do(Until(status="new=UP", checks="s1+2"), "disable server {b}/new", "del server {b}/new"),
            do(Until(checks="s1+1"), "disable server {b}/s1", "del server {b}/s1", "enable server {b}/s1"),
            do(Until(checks="s1+2", status="s1=UP")),
        ),
    ),
    story(
        "delete-of-the-file",
        "5.5",
        do(Until(checks="s1+2"), "del server {b}/s1", "disable server {b}/s1"),
        do(Until(status="s1=MAINT"), "del server {b}/s1", "show servers state {b}", ADD + " {s1} check"),
        do(Until(status="new=MAINT"), "show servers conn {b}"),
        do(Until()),
    ),
]

REFUSALS = story(
    "add-refusals",
    "5.5",
    do(
        Until(checks="s1+1"),
        "add server",
        "add server {b}",
        "add server {b}/",
        "add server /x",
        "add server nope/x",
        "add server {b}/s1 127.0.0.1:1",
        "add server {b}/s1 127.0.0.1:1 foo",
        ADD,
        f"{ADD} 127.0.0.1:1 foo",
        f"{ADD} 127.0.0.1:1 from",
        f"{ADD} 127.0.0.1:1 wheight 3",
        f"{ADD} 127.0.0.1:1 cookie x",
        f"{ADD} 127.0.0.1:1 check resolvers x",
        f"{ADD} 127.0.0.1:1 check no-check",
        f"{ADD} 127.0.0.1:1 weight 300",
        f"{ADD} 127.0.0.1:1 inter",
        f"{ADD} 127.0.0.1:1 inter x",
        f"{ADD} 127.0.0.1:1 inter 0",
        f"{ADD} 127.0.0.1:1 rise 0",
        f"{ADD} 127.0.0.1:1 id 0",
        f"{ADD} 127.0.0.1:1 ssl",
        f"{ADD} 127.0.0.1:1 track nope",
        f"{ADD} 127.0.0.1:1 track nope/s1",
        f"{ADD} 127.0.0.1:1 track s1 check",
        f"{ADD} 127.0.0.1:1 agent-check",
        f"{ADD} 127.0.0.1 check",
        f"{ADD} 127.0.0.1:+3 check",
        f"{ADD} 127.0.0.1:70000",
        f"{ADD} 127.0.0.1:1-2",
        "add server {b}/n/w 127.0.0.1:1",
        "del server",
        "del server {b}",
        "del server nope/x",
        "del server {b}/nope",
        "del server {b}/s1",
    ),
    do(Until(checks="s1+2")),
)

KEEPING = [
    story(
        "add-static",
        "5.5",
        do(Until(checks="s1+1"), "add server {b}/n 127.0.0.1:1"),
        do(Until(checks="s1+1")),
        lines=(*LINES, "balance static-rr"),
    ),
    story(
        "frontend-switched",
        "7.2",
        do(
            Until(checks="s1+1"),
            "disable frontend {b}",
            "disable frontend {b}",
            "enable frontend {b}",
            "enable frontend {b}",
        ),
        do(Until(checks="s1+1")),
        kind="listen",
        lines=(*LINES, "bind {folder}/switched.sock"),
    ),
    story(
        "limits-and-ssl",
        "5.4 7.3",
        do(
            Until(checks="s1+1"),
            "set maxconn server {b}/s1",
            "set maxconn server {b}/s1 x",
            "set maxconn server {b}/s1 5x",
            "set maxconn server {b}/s1 7",
            "set server {b}/s1 ssl",
            "set server {b}/s1 ssl off",
            "set server {b}/s1 ssl on",
            "set server {b}/s1 fqdn",
            "set server {b}/s1 fqdn foo.example",
            "shutdown sessions server {b}/s1",
        ),
        do(Until(checks="s1+1")),
        server="s1 {s1} check no-check-ssl inter 200ms ssl verify none",
    ),
]

API: list[Scenario] = [*GROWTH, REFUSALS, *KEEPING]
