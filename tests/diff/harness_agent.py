"""Scenarios of the agent-check: every word, every way not to answer. Source: spec §4."""

from __future__ import annotations

from harness import Scenario, Step, Until
from risefall.engine.play import OK, SILENT, Act, Door, Then, When, http_reply

LINES = ("option httpchk", "option log-health-checks")
AGENT = "agent-check agent-inter 200ms agent-port {a1.port}"
CHECKED = f"s1 {{s1}} check inter 200ms rise 2 fall 2 weight 100 {AGENT}"
ALONE = f"s1 {{s1}} weight 100 {AGENT}"
BAD = Act(http_reply(503, "Busy"))

# 2.6 looks for the end of a line beyond the bytes that have come, in what the last owner of the buffer left there: the
# list pointers of its memory pool come first, and now and then hold a byte that ends a line. The 23rd byte never does:
# it is in the upper end of a pointer. So unfinished lines are 22 bytes long, and none comes in pieces.
UNFINISHED_DOWN = b"down # without an end!"
UNFINISHED_UP = b"up # without an end..."
assert len(UNFINISHED_DOWN) == len(UNFINISHED_UP) == 22


def says(line: str | bytes, then: Then = Then.FIN) -> Act:
    """An agent that answers at once with these bytes; text gets a newline."""
    data = line if isinstance(line, bytes) else line.encode() + b"\n"
    return Act(data, When.ACCEPT, then)


def agent(
    name: str, *acts: Act, server: str = CHECKED, lines: tuple[str, ...] = LINES, spec: str = "4.2 4.3"
) -> Scenario:
    """One server with a sound health check and this agent, until the last answer came three times."""
    steps = (Step(Until(checks=f"a1+{len(acts) + 2}")),)
    plays = {"s1": (OK,), "a1": acts}
    return Scenario(f"agent-{name}", spec, (server,), plays, lines=lines, steps=steps)


def word(name: str, line: str | bytes) -> Scenario:
    """After an `up`, this line, again and again."""
    return agent(f"word-{name}", says("up"), says(line))


WORDS = [
    word("up", "up"),
    word("up-upper", "UP"),
    word("down", "down"),
    word("stopped", "stopped"),
    word("fail", "fail"),
    word("failed", "failed"),
    word("down-description", "down # disk is full"),
    word("down-description-tight", "down #disk"),
    word("fail-hash-inside", "fail#x"),
    word("ready", "ready"),
    word("drain", "drain"),
    word("maint", "maint"),
    word("percent", "75%"),
    word("percent-0", "0%"),
    word("percent-200", "200%"),
    word("percent-30000", "30000%"),
    word("percent-garbage", "75%x"),
    word("percent-negative", "-5%"),
    word("percent-apart", "75 %"),
    word("number", "75"),
    word("weight-word", "weight:30"),
    word("maxconn", "maxconn:30"),
    word("maxconn-empty", "maxconn:"),
    word("maxconn-garbage", "maxconn:x"),
    word("maxconn-trailing", "maxconn:30x"),
    word("unknown", "foo"),
    word("unknown-two", "foo bar"),
    word("unknown-up", "foo up"),
    word("unknown-up-description", "foo up # fine"),
    word("unknown-down", "foo down"),
    word("unknown-down-description", "foo down # why"),
    word("unknown-percent", "foo 50%"),
    word("garbage-percent-down", "75%x down"),
    word("empty", ""),
    word("description-only", "# just telling"),
    word("separators", " ,\t50%,,up,\tready "),
    word("last-health-wins", "down up"),
    word("last-health-wins-2", "up down"),
    word("last-admin-wins", "drain maint ready"),
    word("last-weight-wins", "5% 60%"),
    word("all-kinds", "75%,maxconn:30,maint,down"),
    word("carriage-return", b"down\rup\n"),
    word("crlf", b"down # x\r\n"),
    word("second-line-ignored", b"50%\ndown\n"),
    word("nul", b"down\x00\n"),
    word("bytes-in-description", b'down # "<\xe9>" \x01\n'),
    word("long-description", "down # " + "d" * 300),
    word("long-unknown", "u" * 300),
    agent("incomplete-up", says("up"), says(UNFINISHED_DOWN), spec="4.2"),
    agent("incomplete-down", says("down"), says(UNFINISHED_UP), spec="4.2"),
    agent("incomplete-first", says(UNFINISHED_DOWN), spec="4.2"),
    agent("incomplete-open", says("up"), says(UNFINISHED_DOWN, Then.STAY), spec="4.2 4.4"),
    agent("incomplete-after-words", says("50%"), says(UNFINISHED_DOWN), spec="4.2"),
    agent("stays-open", says("down", Then.STAY), spec="4.1"),
]

NO_ANSWER = [
    agent("silent", says("up"), SILENT, spec="4.4"),
    agent("silent-while-down", says("down"), SILENT, spec="4.4"),
    agent("ends", says("up"), Act(b"", When.ACCEPT, Then.FIN), spec="4.4"),
    agent("ends-while-down", says("down"), Act(b"", When.ACCEPT, Then.FIN), spec="4.4"),
    agent("resets", says("up"), Act(b"", When.ACCEPT, Then.RST, delay_ms=20), spec="4.4"),
    Scenario(
        "agent-refuses-while-down",
        "4.4",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        steps=(
            Step(Until(checks="a1+2", log="is DOWN"), doors={"a1": Door.REFUSE}),
            Step(Until(checks="s1+4", log="reason: Layer4"), doors={"a1": Door.OPEN}, scripts={"a1": (says("up"),)}),
            Step(Until(log="is UP")),
            Step(Until(checks="a1+2")),
        ),
    ),
    Scenario(
        "agent-refuses-from-start",
        "4.4",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        doors={"a1": Door.REFUSE},
        steps=(Step(Until(checks="s1+5")),),
    ),
    Scenario(
        "agent-deaf",
        "4.4",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        doors={"a1": Door.DEAF},
        steps=(Step(Until(checks="s1+5")),),
    ),
]

EFFECTS = [
    Scenario(
        "agent-down-keeps-inter",
        "2.1",
        (f"s1 {{s1}} check inter 200ms fastinter 400ms downinter 600ms {AGENT}",),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        steps=(Step(Until(checks="s1+6")),),
        gaps=("s1", "a1"),
    ),
    agent("sequence", says("up"), says("down"), says("down"), says("up"), says("drain"), says("ready"), spec="4.5"),
    agent("maint-needs-ready", says("maint"), says("up"), says("up"), says("ready"), says("up"), spec="4.5"),
    agent("drain-ready", says("drain 50%"), says("up"), says("ready 100%"), spec="4.5"),
    agent("weights", says("50%"), says("0%"), says("up"), says("100%"), spec="4.5"),
    agent("alone-down", says("down # alone"), server=ALONE, spec="4.5 7.2"),
    agent("alone-up", says("up"), server=ALONE, spec="4.5 7.2"),
    agent("alone-sequence", says("up"), says("down"), says("up"), server=ALONE, spec="4.5"),
    agent("alone-no-log", says("up"), says("down # why"), says("up"), server=ALONE, lines=LINES[:1], spec="6.3"),
    agent(
        "no-log", says("up"), says("down # why"), says("up"), says("drain"), says("ready"), lines=LINES[:1], spec="6.3"
    ),
    Scenario(
        "agent-up-but-check-down",
        "1.3 4.5",
        (CHECKED,),
        {"s1": (BAD, BAD, BAD), "a1": (says("down"), says("down"), says("up"))},
        lines=LINES,
        steps=(Step(Until(checks="a1+5")), Step(Until(checks="s1+3"), scripts={"s1": (OK,)}), Step(Until(log="is UP"))),
        ordered=False,
    ),
    Scenario(
        "agent-down-check-goes-down-too",
        "1.3 7.2",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        steps=(
            Step(Until(checks="s1+3", log="is DOWN"), scripts={"s1": (BAD,)}),
            Step(Until(checks="s1+4"), scripts={"a1": (says("up"),)}),
            Step(Until(checks="a1+3"), scripts={"s1": (OK,)}),
            Step(Until(log="is UP")),
        ),
    ),
    Scenario(
        "agent-and-operator",
        "4.5 5.2",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("up"),)},
        lines=LINES,
        steps=(
            Step(Until(checks="a1+3", status="s1=UP"), cli=("set server {b}/s1 state maint",)),
            Step(Until(checks="a1+3", status="s1=MAINT"), scripts={"a1": (says("ready"),)}),
            Step(Until(status="s1=UP"), scripts={"a1": (says("up"),)}),
            Step(Until(checks="a1+2"), cli=("set server {b}/s1 state drain",)),
            Step(Until(checks="a1+2", status="s1=DRAIN.*"), cli=("set server {b}/s1 agent down",)),
            Step(Until(checks="a1+3", status="s1=DRAIN.*"), cli=("enable server {b}/s1",)),
            Step(Until(status="s1=UP")),
        ),
    ),
    Scenario(
        "agent-switched-off",
        "4.5 5.4",
        (CHECKED,),
        {"s1": (OK,), "a1": (says("down"),)},
        lines=LINES,
        steps=(
            Step(Until(checks="a1+3", status=r"s1=DOWN \(agent\)"), cli=("disable agent {b}/s1",)),
            Step(Until(status="s1=UP"), cli=("enable agent {b}/s1",)),
            Step(Until(status=r"s1=DOWN \(agent\)", checks="a1+2")),
        ),
    ),
    Scenario(
        "agent-address",
        "4.1 2.5",
        (f"s1 {{s1}} check inter 200ms rise 1 fall 1 {AGENT} agent-addr {{a1.host}}",),
        {"s1": (OK,), "a1": (says("50%"),)},
        lines=LINES,
        hosts={"a1": "127.0.0.5"},
        steps=(Step(Until(checks="a1+3")),),
    ),
]

# In a process of its own: in 2.6 one agent-send anywhere lets every agent of the process wait for the handshake's last
# ACK, which is withheld although there is nothing to send, for up to 200 ms.
AGENT_SEND = [
    agent(
        "send",
        Act(b"up\n", When.BYTES, Then.FIN, bytes_wanted=5),
        server=f"{CHECKED} agent-send hello",
        spec="4.1",
    ),
    Scenario(
        "send-changed",
        "4.1 5.4",
        (f"{CHECKED} agent-send hello",),
        {"s1": (OK,), "a1": (Act(b"up\n", When.BYTES, Then.FIN, bytes_wanted=5),)},
        lines=LINES,
        requests=("a1",),
        steps=(
            Step(Until(checks="a1+2"), cli=("set server {b}/s1 agent-send other",)),
            Step(Until(checks="a1+2")),
        ),
    ),
]

SPACER = Scenario(
    "spacer", "2.2", tuple(f"s{n} {{s1}} check inter 4s" for n in range(1, 9)), {"s1": (OK,)}, ordered=False
)
"""Its `inter` of more than a second spreads the first checks of all others, so that a server's check and its agent
never run at the same moment: what an agent's word does to a check under way is a matter of chance. Its own checks are
the first ones: a program that begins slowly does them late and together, and nobody compares their order."""

AGENT_CHECKS = [SPACER, *WORDS, *NO_ANSWER, *EFFECTS]
