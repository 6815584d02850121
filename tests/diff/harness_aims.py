"""Scenarios of commands that send checks elsewhere: `set server b/s addr`, `check-addr`, `agent-port` ...

Source: spec §2.5, §5.4.
"""

from __future__ import annotations

from harness import Scenario, Until
from harness_state import BAD, LINES, do, story
from risefall.engine.play import OK, Act, Then, When

UP_AGENT = Act(b"up\n", When.ACCEPT, Then.FIN)
DOWN_AGENT = Act(b"down\n", When.ACCEPT, Then.FIN)
TWO = {"s1": (OK,), "s2": (BAD,)}
ELSEWHERE = {"s2": "127.0.0.7"}

AIMS = [
    Scenario(
        "addr-and-port",
        "5.4 2.5",
        ("s1 {s1} check inter 200ms rise 2 fall 3",),
        TWO,
        lines=LINES,
        hosts=ELSEWHERE,
        steps=(
            do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 addr {s2.host}"),
            # Another program may listen on this address and the old port, so only what follows is waited for.
            do(Until(), "set server {b}/s1 addr {s2.host} port {s2.port}"),
            do(Until(log="s1 is DOWN"), "set server {b}/s1 addr {s1.host} port {s1.port}"),
            do(Until(checks="s1+3", status="s1=UP"), "show servers state {b}"),
            do(Until(checks="s1+1")),
        ),
    ),
    Scenario(
        "addr-in-send-state",
        "5.4 3.8",
        ("s1 {s1} check inter 200ms rise 2 fall 3",),
        {"s1": (OK,), "s2": (OK,)},
        lines=(*LINES, "http-check send-state"),
        requests=("s2",),
        steps=(
            do(Until(checks="s1+6", status="s1=UP"), "set server {b}/s1 addr {s2.host} port {s2.port}"),
            do(Until(checks="s2+4")),
        ),
    ),
    Scenario(
        "check-addr-and-port",
        "5.4 2.5",
        ("s1 {s1} check inter 200ms rise 2 fall 3",),
        TWO,
        lines=LINES,
        hosts=ELSEWHERE,
        steps=(
            do(Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 check-addr {s2.host} port {s2.port}"),
            do(Until(log="s1 is DOWN"), "set server {b}/s1 check-addr {s1.host} port {s1.port}"),
            do(
                Until(checks="s1+3", status="s1=UP"), "set server {b}/s1 check-port 0", "set server {b}/s1 check-port 0"
            ),
            do(Until(checks="s1+2", status="s1=UP")),
        ),
    ),
    Scenario(
        "agent-addr-and-port",
        "5.4 4.1",
        ("s1 {s1} agent-check agent-port {a1.port} agent-inter 200ms",),
        {"s1": (OK,), "a1": (UP_AGENT,), "a2": (DOWN_AGENT,)},
        hosts={"a2": "127.0.0.7"},
        lines=LINES[1:],
        steps=(
            do(Until(checks="a1+2"), "set server {b}/s1 agent-addr {a2.host} port {a2.port}"),
            do(Until(log="s1 is DOWN"), "set server {b}/s1 agent-addr {a1.host}"),
            do(Until(), "set server {b}/s1 agent-port {a1.port}"),
            do(Until(log="s1 is UP")),
        ),
    ),
]

SAME_ADDRESS = "set server {b}/s1 addr {s1.host}"

AIM_REFUSALS = [
    story(
        "addr-refusals",
        "5.4",
        do(
            Until(checks="s1+1"),
            "set server {b}/s1 addr",
            SAME_ADDRESS,
            f"{SAME_ADDRESS} port {{s1.port}}",
            f"{SAME_ADDRESS} port",
            f"{SAME_ADDRESS} port x",
            f"{SAME_ADDRESS} port +1",
            f"{SAME_ADDRESS} foo",
            "set server {b}/s1 addr foo",
            "set server {b}/s1 addr 1.2",
            "set server {b}/s1 addr /tmp/x",
            "set server {b}/s1 check-addr",
            "set server {b}/s1 check-addr foo",
            f"{SAME_ADDRESS.replace(' addr', ' check-addr')} port",
            f"{SAME_ADDRESS.replace(' addr', ' check-addr')} port 70000",
            "set server {b}/s1 check-port",
            "set server {b}/s1 check-port x",
            "set server {b}/s1 check-port 4x",
            "set server {b}/s1 check-port 65536",
            "set server {b}/s1 check-port 99999999999",
            "set server {b}/s1 check-port -1",
            "set server {b}/s1 agent-addr",
            "set server {b}/s1 agent-addr 127.0.0.1",
            "set server {b}/s1 agent-port",
            "set server {b}/s1 agent-port 3",
        ),
        do(Until(checks="s1+2")),
    ),
    story(
        "addr-unchecked",
        "5.4",
        do(
            Until(status="s1=no check"),
            "set server {b}/s1 check-addr 127.0.0.3",
            "set server {b}/s1 check-port 3",
            "set server {b}/s1 addr 127.0.0.3",
            "set server {b}/s1 addr 127.0.0.3 port 70000",
            "set server {b}/s1 addr ::1 port 99999999999",
            "set server {b}/s1 addr *",
            "set server {b}/s1 addr 127.0.0.4",
            "show servers conn {b}",
        ),
        do(Until(status="s1=no check")),
        server="s1 {s1}",
    ),
    story(
        "addr-port-map",
        "5.4",
        do(
            Until(checks="s1+2"),
            "set server {b}/s1 addr {s1.host} port -1",
            "set server {b}/s1 addr {s1.host} port -1",
            "set server {b}/s1 addr {s1.host} port +5",
            "set server {b}/s1 check-port 0",
            "set server {b}/s1 addr {s1.host} port 5",
            "set server {b}/s1 addr {s1.host} port +x",
        ),
        do(Until(checks="s1+2")),
        server="s1 {s1.host} check inter 200ms port {s1.port}",
    ),
]

AIM_COMMANDS: list[Scenario] = [*AIMS, *AIM_REFUSALS]
