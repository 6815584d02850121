"""What the runtime API has where HAProxy 3 is imitated, and has not where 2.6 is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
from surfaces_kit import FakeApi

from risefall.surfaces.calls import Level
from risefall.surfaces.runtime import Session
from risefall.surfaces.serve import serve


def talk(data: bytes, *, level: Level = Level.ADMIN, dialect: str = "3", api: FakeApi | None = None) -> bytes:
    return Session(api or FakeApi(dialect), level).feed(data)


NOT_DELETED = b"Failed. Only servers in maintenance mode can be deleted.\n\n"
POINTED_AT = b"Failed. This server cannot be removed at runtime due to other configuration elements pointing to it.\n\n"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"echo\n", b"\n\n"),
        (b"echo  ==M1  two\\ words;echo M2\n", b"==M1 two words\n\nM2\n\n"),
        (b"set severity-output number;echo M1\n", b"\n[6]: M1\n\n"),
        (b"wait\n", b"Expects a duration in milliseconds.\n\n"),
        (b"wait 0\n", b"Invalid duration.\n\n"),
        (b"wait soon\n", b"Invalid duration.\n\n"),
        (b"wait 2x srv-removable b1/s2\n", b"Invalid duration.\n\n"),
        (b"wait 2s srv-removable\n", b"Missing server name (<backend>/<server>).\n\n"),
        (b"wait 2s srv-removable b1\n", b"Require 'backend/server'.\n\n"),
        (b"wait 2s srv-removable nope/s1\n", b"Failed. No such backend.\n\n"),
        (b"wait 2s srv-removable b1/nope\n", b"Failed. No such server.\n\n"),
        (b"wait 2s srv-removable b1/s2\n", NOT_DELETED),
        (b"disable server b1/s1;wait 2s srv-removable b1/s1\n", b"\n" + POINTED_AT),
        (b"clear counters server nope/s1\n", b"No such backend.\n\n"),
        (b"clear counters server b1/nope\n", b"No such server.\n\n"),
        (b"clear counters server b1/s1 force\n", b"Server counters cleared.\n\n"),
        (b"operator;clear counters server b1/s1\n", b"\nPermission denied\n\n"),
        (b"disable server b1/s2;wait 2s srv-removable b1/s2;del server b1/s2\n", b"\nDone.\n\nServer deleted.\n\n"),
    ],
)
def test_answers(said: bytes, answer: bytes) -> None:
    assert talk(said) == answer


def test_wait_tells_how() -> None:
    for said in (b"wait -h\n", b"wait 2s sunshine\n"):
        assert talk(said).startswith(b"Usage: wait {-h|<duration>} [condition [args...]]\n")


def test_waiting_is_for_admins() -> None:
    assert talk(b"wait 1s\n", level=Level.OPERATOR) == b"Permission denied\n\n"


def test_26_knows_none_of_them() -> None:
    for said in (b"echo M1\n", b"wait 1s\n"):
        answer = talk(said, dialect="2.6")
        assert answer.startswith(b"Unknown command")
        assert said.split()[0] not in answer.split(b":", 1)[1]
    assert b"srv-removable" not in talk(b"help\n", dialect="2.6")
    assert b"  echo <text> " in talk(b"help\n")


def test_clearing_the_counters_of_one_server() -> None:
    api = FakeApi("3")
    for server in api.fleet.servers:
        server.downs = 3
    talk(b"clear counters server b1/s1\n", api=api)
    cleared = [server.name for server in api.fleet.servers if not server.downs]
    assert cleared == ["s1"]


NOT_NAMED = b"Server must be in maintenance mode to be renamed (set server <b>/<s> state maint).\n\n"
REFERENCED = b"Cannot rename: server's name is statically referenced (use-server, track, or sample argument).\n\n"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"set server b1/s2 name\n", b"set server <b>/<s> name requires a new name.\n\n"),
        (b"set server b1/s2 name blue\n", NOT_NAMED),
        (b"disable server b1/s2;set server b1/s2 name bad/name\n", b"\nServer name contains invalid characters.\n\n"),
        (b"disable server b1/s2;set server b1/s2 name " + b"x" * 64 + b"\n", b"\nServer name too long.\n\n"),
        (
            b"disable server b1/s2;set server b1/s2 name s5\n",
            b"\nA server with the same name already exists in this backend.\n\n",
        ),
        (b"disable server b1/s1;set server b1/s1 name blue\n", b"\n" + REFERENCED),
        (b"disable server b1/s2;set server b1/s2 name s2\n", b"\nServer name updated.\n\n"),
        (
            b"disable server b1/s2;set server b1/s2 name blue;set server b1/s2 state ready;enable server b1/blue\n",
            b"\nServer name updated.\n\nNo such server.\n\n\n",
        ),
    ],
)
def test_names(said: bytes, answer: bytes) -> None:
    """The story of HAProxy's own cli_set_server_name.vtc."""
    assert talk(said) == answer


def test_a_new_name_is_shown() -> None:
    api = FakeApi("3")
    talk(b"disable server b1/s2;set server b1/s2 name blue\n", api=api)
    assert b"\n4 b1 2 blue 127.0.0.1" in talk(b"show servers state b1\n", api=api)
    assert b"usage: set server" in talk(b"set server b1/s2 name blue\n", dialect="2.6")


def test_what_is_unknown_is_told_in_todays_words() -> None:
    close = b"Unknown command: 'sohw', but maybe one of the following ones is a better match:\n"
    assert talk(b"sohw stat\n").startswith(close)
    assert b"\n  prompt [help | n | i | p | timed ]*     : toggle" in talk(b"sohw stat\n")
    assert b"\n  prompt                                  : toggle" in talk(b"sohw stat\n", dialect="2.6")


UP = b"\n[1:01:01:01]> "
"""The prompt that tells the time since the start, see `FakeApi.info`."""


@pytest.mark.parametrize(
    ("said", "answer", "ends"),
    [
        # one line, one answer, and no more
        (b"echo a\n", b"a\n\n", True),
        (b"\n", b"\n", True),
        (b"echo a;\n", b"a\n\n\n", True),
        # modes
        (b"prompt i\necho a\n", b"\na\n\n", False),
        (b"prompt i\necho a\nprompt n\n", b"\na\n\n\n", True),
        (b"prompt p\necho a\n", b"\n> a\n\n> ", False),
        (b"prompt n p\n\n", b"\n> \n> ", False),
        # alone: n or i to p, p to n
        (b"prompt\n", b"\n> ", False),
        (b"prompt i\nprompt\n", b"\n\n> ", False),
        (b"prompt\nprompt\n", b"\n> \n", True),
        # only the last command of a line has a prompt
        (b"prompt;echo a;echo b\n", b"\na\n\nb\n\n> ", False),
        # the time
        (b"prompt timed\necho a\n", UP + b"a\n" + UP, False),
        (b"prompt timed\nprompt timed\n", UP + b"\n> ", False),
        (b"prompt timed i\nprompt\n", b"\n" + UP, False),
        # payloads end with what stands behind the mark
        (b"echo a <<EOF\nx\n\nEOF\n", b"a\n\n", True),
        (b"echo a <<\nx\n\n", b"a\n\n", True),
        (b"echo a<<E\n", b"a<<E\n\n", True),
        (b"echo <<E;echo b\n", b"<<E\n\nb\n\n", True),
        (b"echo <<" + b"x" * 65 + b"\n", b"<<" + b"x" * 65 + b"\n\n", True),
    ],
)
def test_how_a_session_goes_on(said: bytes, answer: bytes, ends: bool) -> None:
    """As src/cli.c of HAProxy 3.4 has it."""
    session = Session(FakeApi("3"), Level.ADMIN)
    assert session.feed(said) == answer
    assert session.closed == ends


def test_a_payload_has_prompts_of_its_own() -> None:
    session = Session(FakeApi("3"), Level.ADMIN)
    told = [session.feed(line) for line in (b"prompt\n", b"echo a <<E\n", b"x\n", b"E\n")]
    assert told == [b"\n> ", b"+ ", b"+ ", b"a\n\n> "]


def test_prompt_tells_how() -> None:
    assert talk(b"prompt help\n").startswith(b"Usage: prompt [help | n | i | p | timed]*\n")
    told = talk(b"set severity-output number;prompt help;prompt sunshine\n")
    assert told.startswith(b"\n[6]: Usage: ")
    assert b"\n\n[3]: Usage: " in told


def test_26_looks_at_no_word_behind_prompt() -> None:
    for words in (b"", b" n", b" timed", b" sunshine"):
        assert talk(b"prompt" + words + b"\necho\n", dialect="2.6").startswith(b"\n> Unknown command")


def test_backends_of_the_runtime_are_refused_by_name() -> None:
    for word in (b"add", b"del", b"publish", b"unpublish"):
        answer = talk(word + b" backend x from y\n")
        assert answer.startswith(b"'" + word + b" backend' is a command of HAProxy that risefall does not have: ")
        assert talk(word + b" backend x\n", dialect="2.6").startswith(b"Unknown command")


async def _ask(path: Path, said: bytes) -> bytes:
    """All that is answered to a client that says this and nothing more."""
    with trio.fail_after(60):
        async with await trio.open_unix_socket(str(path)) as client:
            await client.send_all(said)
            client.socket.shutdown(socket.SHUT_WR)
            return b"".join([piece async for piece in client])


def test_wait_lets_time_pass_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve(str(path), FakeApi("3"), level=Level.ADMIN, task_status=task_status)
            )
            before = trio.current_time()
            assert await _ask(path, b"echo M1;wait 150ms;echo M2\n") == b"M1\n\nDone.\n\nM2\n\n"
            assert trio.current_time() - before >= 0.15
            nursery.cancel_scope.cancel()

    trio.run(scenario)


def test_what_was_said_before_a_wait_comes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve(str(path), FakeApi("3"), level=Level.ADMIN, task_status=task_status)
            )
            with trio.fail_after(60):
                async with await trio.open_unix_socket(str(path)) as client:
                    await client.send_all(b"echo M1;wait 1d\n")
                    assert await client.receive_some() == b"M1\n\n"
            nursery.cancel_scope.cancel()

    trio.run(scenario)


def test_a_wait_ends_with_its_client(tmp_path: Path) -> None:
    """Its place is free again, and what it wanted done afterwards is not done."""
    path = tmp_path / "sock"
    api = FakeApi("3")

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: serve(str(path), api, level=Level.ADMIN, clients_max=1, task_status=task_status)
            )
            client = await trio.open_unix_socket(str(path))
            await client.send_all(b"echo M1;wait 1d;disable server b1/s2\n")
            assert await client.receive_some() == b"M1\n\n"
            await client.aclose()
            assert await _ask(path, b"echo M2\n") == b"M2\n\n"
            nursery.cancel_scope.cancel()

    trio.run(scenario)
    assert not api.applied
