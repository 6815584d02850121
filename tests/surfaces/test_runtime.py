"""The runtime API: what a real haproxy 2.6 answers byte for byte, and what is our own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from surfaces_kit import FakeApi, ask

from risefall.state.server import Admin, Op
from risefall.surfaces.calls import Level
from risefall.surfaces.handlers import COMMANDS
from risefall.surfaces.runtime import LINE_MAX, SESSION_COMMANDS, USAGES, Session, cut_command, split_words
from risefall.surfaces.usage import closest


def talk(data: bytes, *, level: Level = Level.ADMIN, dialect: str = "2.6", api: FakeApi | None = None) -> bytes:
    return Session(api or FakeApi(dialect), level).feed(data)


# --- beside a real one ----------------------------------------------------------------------------

SAME = [
    # one reply each, in one go and in pieces
    b"show backend\n",
    b"show backend\nget weight b1/s2\n",
    b"show backend;get weight b1/s2\n",
    b"  show \t backend  x\r\n",
    b"show backend",
    b"quit\n",
    b"quit;show backend\n",
    b"get weight b1/s2\\\n",
    b"get weight b1\\/s2\n",
    b"get weight b\\1/s\\2;get weight b1/s\\\\2\n",
    b"get weight b1/s2\\;x;get weight b1/s2\\ x\n",
    # prompts
    b"prompt\nshow backend\n",
    b"prompt;get weight b1/s2;get weight b1/s5\nprompt\nshow backend\nquit\n",
    b"prompt\nprompt\nshow backend\n",
    b"prompt\nquit\nshow backend\n",
    # payloads
    b"prompt;get weight <<\nb1/s2\n\nshow backend\n",
    b"get weight b1/s2 <<\nfoo\n\nshow backend\n",
    b"get weight b1/s2<<\n\n",
    b"get weight b1/s2 <<;show backend\n\nshow backend\n",
    b"show backend;get weight b1/s2 <<\n\n",
    b"get weight b1/s2 <<\nfoo\n",
    # levels and severities
    b"show cli level;operator;show cli level;user;show cli level;user;operator;show cli level\n",
    b"user;set weight b1/s2 9;set server b1/s2 state maint;enable health x;disable agent b1/s2;get weight b1/s2\n",
    b"set severity-output number;show cli level;get weight b1/s2;get weight b1/x;set weight b1/s2 999;show backend\n",
    b"set severity-output string;show cli level;get weight b1/x;set severity-output none;get weight b1/x\n",
    b"set severity-output;set severity-output foo\n",
    b"set severity-output number;set weight b1/s2 1x;show stat nope 1 1;show servers state nope;user;set weight\n",
    # servers and their refusals
    b"get weight;get weight b1;get weight b1/;get weight /s1;get weight nope/s1;get weight fe/s1;get weight b1/s9\n",
    b"get weight #4/#2;get weight b1/#20;get weight #4/s2;get weight dis/s1;get weight b1/s2 more\n",
    b"set server;set server b1;set server b1/;set server /s1;set server nope/s1;set server fe/s1;set server b1/s9\n",
    b"set server b1/s2;set server b1/s2 foo;set server b1/s2 name x;set server dis/s1;set server dis/s1 state ready\n",
    b"set server b1/s2 state;set server b1/s2 state on;set server b1/s2 health;set server b1/s2 health on\n",
    b"set server b1/s3 health up;set server b1/s3 health x;set server b1/s2 agent up;set server li/l1 agent x\n",
    b"set server b1/s2 weight;set weight b1/s2;set weight b1/s2 -1;set weight b1/s2 257;set weight b1/s2 -5%\n",
    b"set weight b1/s2 x;set weight b1/s2 5x;set weight st/s1 2;set weight st/s1 3;set weight dis/s1 1\n",
    b"enable server;enable server /s1;enable server b1/s9;disable server nope/s1;disable health;enable agent b1/s2\n",
    b"enable health b1/s2;enable health b1/s3;disable agent b1/s2;enable server dis/s1;enable health dis/s1\n",
    b"set weight b1/s2 5;set server b1/s2 weight 100%;enable server b1/s2;disable health b1/s2;enable health b1/s1\n",
    b"show stat nope 4 -1;show stat domain;show stat domain foo;show stat dis 7 -1 typed;show stat 4 0 1 json\n",
    b"show servers state nope;show servers state fe\n",
    b"show servers conn nope;show servers conn fe\n",
    # addresses
    b"set server b1/s2 addr;set server b1/s2 addr 127.0.0.1 port 2;set server b1/s2 addr 127.0.0.1;set server b1/s2 addr x\n",
    b"set server b1/s1 addr 127.0.0.1 port +1;set server b1/s1 addr 127.0.0.1 port x;set server b1/s1 addr 127.1\n",
    b"set server b1/s7 check-addr;set server b1/s2 check-addr 127.0.0.1;set server b1/s1 check-addr 127.0.0.1 port x\n",
    b"set server b1/s1 check-port;set server b1/s1 check-port 65536;set server b1/s1 check-port x;set server b1/s1 agent-port\n",
    b"set server b1/s1 agent-port 5;set server b1/s1 agent-addr;set server b1/s1 agent-addr 127.0.0.1;set server b1/s1 agent-send\n",
    b"set server li/l1 agent-addr x;set server li/l1 agent-port -1;set server li/l1 agent-addr 127.0.0.1 port 70000\n",
    b"set severity-output number;set server b1/s2 addr 127.0.0.1;set server b1/s1 check-port x;set server b1/s2 agent-send x\n",
    b"set server b1/s2 fqdn;set server b1/s2 fqdn foo.bar;set server b1/s2 ssl;set server b1/s2 ssl on\n",
    # limits, counters, frontends, and what belongs to traffic
    b"set maxconn server;set maxconn server b1/s2;set maxconn server b1/s2 x;set maxconn server b1/s2 5x\n",
    b"set maxconn server dis/s1 5;set maxconn server nope/s1 5;set severity-output number;set maxconn server b1/s2 x\n",
    b"set maxconn frontend;set maxconn frontend b1 5;set maxconn frontend fe;set maxconn frontend fe -1;set maxconn global\n",
    b"set rate-limit;set rate-limit sessions;set rate-limit sessions global\n",
    b"clear counters;clear counters foo;operator;clear counters;clear counters all;user;clear counters\n",
    b"disable frontend;disable frontend nope;disable frontend b1;enable frontend;enable frontend fe;shutdown frontend nope\n",
    b"set severity-output number;enable frontend fe;shutdown sessions server b1/s2;shutdown sessions server b1/nope\n",
    b"shutdown session;shutdown session 0x0;shutdown session foo;shutdown sessions server\n",
    b"show table;show table b1;show peers;show peers x;show map;show map x;show acl x;show errors nope;show sess 0x1\n",
    b"show resolvers foo;show startup-logs;show env NO_SUCH_NAME;user;show env;show errors;show sess\n",
    b"set timeout;set timeout foo;set timeout cli;set timeout cli x;set timeout cli 0;set timeout cli 5;set timeout cli 5s\n",
    b"experimental-mode;experimental-mode on;experimental-mode;expert-mode;expert-mode x;expert-mode;operator;expert-mode\n",
]
"""What 2.6.12 and we answer alike; nothing in it changes the peer for good."""


@pytest.mark.parametrize("data", SAME, ids=range(len(SAME)))
def test_answers_are_haproxys(peer: str, data: bytes) -> None:
    assert talk(data) == ask(peer, data)


@pytest.mark.parametrize(
    "data", [b"set weight b1/s2 5\n", b"show cli level;operator\n", b"get weight b1/s2;disable server b1/s2;quit\n"]
)
def test_a_user_is_refused_as_at_haproxys(peer: str, data: bytes) -> None:
    assert talk(data, level=Level.USER) == ask(f"{peer}.user", data)


@pytest.mark.parametrize("data", [b"\n", b"help\n", b"foo\n", b"help show st\n", b"show servers\n", b"sho stat\n"])
def test_lists_are_laid_out_as_haproxys(peer: str, data: bytes) -> None:
    """The title, the last three lines, and the columns; which commands there are is another matter."""
    mine, theirs = talk(data).splitlines(), ask(peer, data).splitlines()
    assert mine[0] == theirs[0]
    assert mine[-4:] == theirs[-4:]
    assert all(line[:2] == b"  " and line[42:44] == b": " for line in mine[1:-1])
    assert b"show stat [desc|json|no-maint|typed|up]*: report proxies and servers" in talk(b"help\n")


# --- sessions -------------------------------------------------------------------------------------


def test_without_a_prompt_a_session_ends_with_its_last_line() -> None:
    session = Session(FakeApi(), Level.ADMIN)
    assert session.feed(b"get weight b1/s2\nget wei") == b"5 (initial 5)\n\n"
    assert not session.closed
    assert session.feed(b"ght b1/s5\n") == b"7 (initial 7)\n\n"
    assert session.closed
    assert session.feed(b"get weight b1/s2\n") == b""


def test_with_a_prompt_it_goes_on() -> None:
    session = Session(FakeApi(), Level.ADMIN)
    assert session.feed(b"prompt\n") == b"\n> "
    assert session.feed(b"get weight b1/s2\n") == b"5 (initial 5)\n\n> "
    assert not session.closed
    assert session.feed(b"quit\n") == b""
    assert session.closed


ONE_WAY = [data for data in SAME if b"prompt" not in data]


@given(st.lists(st.integers(0, 200)), st.sampled_from(ONE_WAY))
@example([10], b"get weight b1/s2 <<\nfoo\n\nshow backend\n")
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int], data: bytes) -> None:
    """With a prompt; without one a session ends where nothing more has come."""
    data = b"prompt\n" + data
    session, pieces, start = Session(FakeApi(), Level.ADMIN), [], 0
    for cut in (*(cut for cut in sorted(cuts) if 7 < cut < len(data)), len(data)):
        pieces.append(session.feed(data[start:cut]))
        start = cut
    assert b"".join(pieces) == talk(data)


@given(st.binary(max_size=300))
@example(b"\\")
@example(b"<<\n\n")
@example(b";;\n")
def test_no_bytes_break_a_session(data: bytes) -> None:
    session = Session(FakeApi(), Level.ADMIN)
    session.feed(data)
    session.feed(b"\n\nshow backend\n")


def test_lines_that_are_too_long_end_the_session() -> None:
    """Said once, whether or not the line's end has come."""
    for data in (b"x" * (LINE_MAX + 1), b"x" * (LINE_MAX + 1) + b"\nshow backend\n"):
        session = Session(FakeApi(), Level.ADMIN)
        assert session.feed(data) == b"Line or payload too long, at most 16384 bytes are read.\n\n"
        assert session.closed
    longest = b"get weight b1/s2 "
    assert talk(longest + b"x" * (LINE_MAX - len(longest)) + b"\n") == b"5 (initial 5)\n\n"


def test_a_payload_that_is_too_long_ends_the_session() -> None:
    session = Session(FakeApi(), Level.ADMIN)
    assert session.feed(b"get weight b1/s2 <<\n") == b""
    answers = [session.feed(b"x" * 1000 + b"\n") for _ in range(30)]
    assert answers.count(b"Line or payload too long, at most 16384 bytes are read.\n\n") == 1
    assert session.closed


def test_words_and_commands() -> None:
    assert split_words(b"  a \tb\\ c \\\\ d\\") == ["a", "b c", "\\", "d"]
    assert split_words(b"\\ ") == [" "]
    assert len(split_words(b"x " * 99)) == 64
    assert cut_command(b"a\\;b;c;d") == (b"a\\;b", b"c;d")
    assert cut_command(b"a") == (b"a", None)
    assert cut_command(b"a;") == (b"a", b"")


# --- commands -------------------------------------------------------------------------------------


def test_a_change_is_handed_to_the_daemon() -> None:
    api = FakeApi()
    assert talk(b"set server b1/s5 state maint;disable server b1/s2;set weight b1/s6 9\n", api=api) == b"\n\n\n"
    assert len(api.applied) == 3
    assert api.applied[0].changed == [5]
    assert api.applied[0].lines[0].text.startswith("Server b1/s5 ")
    assert (api.fleet.servers[5].admin, api.fleet.servers[5].op) == (Admin.FMAINT, Op.STOPPED)
    assert (api.fleet.servers[2].admin, api.fleet.servers[6].uweight) == (Admin.FMAINT, 9)
    assert talk(b"enable server b1/s2;get weight b1/s6\n", api=api) == b"\n9 (initial 1)\n\n"
    assert api.fleet.servers[2].admin == Admin(0)


def test_checks_are_switched() -> None:
    api = FakeApi()
    assert talk(b"disable health li/l1;disable agent li/l1\n", api=api) == b"\n\n"
    one = api.fleet.servers[0]
    assert one.health is not None
    assert one.agent is not None
    assert (one.health.enabled, one.agent.enabled) == (False, False)
    assert talk(b"set server li/l1 agent up\n", api=api) == b"agent checks are not enabled on this server.\n\n"
    assert talk(b"enable agent li/l1;enable health li/l1;set server li/l1 health up\n", api=api) == b"\n\n\n"
    assert (one.health.enabled, one.agent.enabled, one.op) == (True, True, Op.RUNNING)


def test_a_refusal_changes_nothing() -> None:
    api = FakeApi()
    talk(
        b"set weight b1/s2 999;set server b1/s2 state x;set server nope/s1 state maint;user;disable server b1/s2\n",
        api=api,
    )
    assert api.applied == []


def test_todays_refusals_end_with_two_line_feeds() -> None:
    assert talk(b"set weight b1/s2 5x\n") == b"Trailing garbage in weight string\n"
    assert talk(b"set weight b1/s2 5x\n", dialect="3") == b"Trailing garbage in weight string\n\n"
    assert talk(b"set server /s1 state up\n", dialect="3") == b"No such backend.\n\n"
    assert b"health | name | ssl" in talk(b"set server b1/s2\n", dialect="3")


def test_show_version_and_the_tables() -> None:
    assert talk(b"show version\n") == b"2.6.12\n\n"
    assert talk(b"show stat\n").startswith(b"# pxname,svname,")
    assert talk(b"show stat domain proxy b1 4 5 typed\n").startswith(b"S.4.5.0.pxname.1:KNS:str:b1\n")
    assert talk(b"show stat domain resolvers\n").startswith(b"# id,pid,sent,send_error,valid,update,cname,")
    assert b",127.0.0.1:2," in talk(b"show stat\n", level=Level.OPERATOR)
    assert b",127.0.0.1:2," not in talk(b"operator;user;show stat\n")
    assert talk(b"show servers state b1\n").startswith(b"1\n# be_id ")
    assert talk(b"show info json\n").startswith(b'[{"field":{"pos":0,"name":"Name"}')


def test_every_command_is_found_and_listed_once() -> None:
    assert len({usage.words for usage in USAGES}) == len(USAGES) == len(COMMANDS) + len(SESSION_COMMANDS)
    for usage in USAGES:
        assert usage.words == tuple(usage.shown.replace("[", " ").replace("<", " ").split()[: len(usage.words)])
        assert len(usage.shown) <= 40


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("show servers", ["show servers conn", "show servers state"]),
        ("show st", ["show startup-logs", "show stat"]),
        ("set serv", ["set server"]),
        ("shwo stat", ["show stat"]),
        ("show stats", ["show stat"]),
        ("disable", ["disable agent", "disable frontend", "disable health", "disable server"]),
        ("set maxconn foo", ["set maxconn frontend", "set maxconn global", "set maxconn server"]),
        ("show health", []),
        ("@1 show version", ["show version"]),
        ("zzzzzz", []),
    ],
)
def test_close_matches(typed: str, names: list[str]) -> None:
    assert [" ".join(usage.words) for usage in closest(typed.split(), USAGES)] == names


def test_answers_need_no_socket_and_no_engine() -> None:
    """In a fresh interpreter; only `serve` and `syslog` touch sockets."""
    names = [
        "runtime",
        "handlers",
        "changes",
        "keeping",
        "looks",
        "calls",
        "usage",
        "csv",
        "columns",
        "servers_state",
        "info",
        "live",
    ]
    code = (
        "import sys, " + ", ".join(f"risefall.surfaces.{name}" for name in names) + "\n"
        "wrong = {name for name in sys.modules if name in ('trio', 'socket') or name.startswith('risefall.engine')}\n"
        "sys.exit(f'{wrong}' if wrong else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_long_answers_come_in_pieces() -> None:
    """Each is made when it is asked for."""
    api = FakeApi()
    pieces = Session(api, Level.ADMIN).feed_pieces(b"show stat\n")
    first = [next(pieces) for _ in range(3)]
    api.fleet.servers[9].name = "renamed"
    assert b"".join((*first, *pieces)) == talk(b"show stat\n", api=api)
