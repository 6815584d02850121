"""Servers that come and go, and checks that are sent elsewhere, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from daemon_kit import running, say, status, until

from risefall.engine import workers
from risefall.engine.play import OK, Act, Player, Then, When, http_reply

HTTP = "defaults\n  mode http\n  option httpchk GET /\n  timeout check 5s\n"
BUSY = Act(http_reply(503, "Busy"))


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def test_a_place_is_used_again(player: Player) -> None:
    """News of the old server's checks never move the new one, and places do not grow."""
    _, good = player.listen("127.0.0.1", 0, OK)
    _, bad = player.listen("127.0.0.1", 0, BUSY)

    async def scenario() -> None:
        async with running(f"{HTTP}backend b\n  server s1 127.0.0.1:{good} check inter 60ms\n") as service:
            for turn in range(6):
                port, word = (good, "UP") if turn % 2 else (bad, "DOWN")
                reply = say(service, f"add server b/new 127.0.0.1:{port} check inter 30ms rise 1 fall 1\n")
                assert reply == "New server registered.\n\n"
                say(service, "enable health b/new;enable server b/new\n")
                await until(lambda word=word: status(service, "b/new") == word, word)
                assert len(service.fleet.servers) == 2
                assert say(service, "disable server b/new;del server b/new\n") == "\nServer deleted.\n"
                assert service.fleet.count == 1
            await until(
                lambda: sum(one.checks for one in service.present.join.workers.statistics()) == 1, "one check left"
            )

    trio.run(scenario)


def test_an_added_server_tells_its_state(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        text = f"{HTTP}backend b\n  http-check send-state\n  server s1 127.0.0.1:{port}\n"
        async with running(text) as service:
            say(service, f"add server b/new 127.0.0.1:{port} check inter 30ms weight 4\n")
            say(service, "enable health b/new;enable server b/new\n")
            seen = b"x-haproxy-server-state: UP; address=127.0.0.1"
            await until(lambda: seen in (player.request(listener, 0) or b""), "a request that tells UP")
            request = player.request(listener, 0) or b""
            assert b"name=b/new;" in request
            assert b"weight=4/5;" in request

    trio.run(scenario)


def test_an_agent_is_sent_another_text(player: Player) -> None:
    agent, port = player.listen("127.0.0.1", 0, Act(b"up\n", When.BYTES, Then.FIN, bytes_wanted=5))

    async def scenario() -> None:
        words = f"agent-check agent-port {port} agent-inter 30ms agent-send first"
        async with running(f"{HTTP}backend b\n  server s1 127.0.0.1:{port} {words}\n") as service:
            await until(lambda: player.request(agent, 0) == b"first", "the file's text")
            assert say(service, "set server b/s1 agent-send other\n") == "\n"
            await until(lambda: player.request(agent, 0) == b"other", "the new text")

    trio.run(scenario)


def test_an_address_counts_from_the_next_check_on(player: Player) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)
    _, bad = player.listen("127.0.0.1", 0, BUSY)

    async def scenario() -> None:
        text = f"{HTTP}backend b\n  server s1 127.0.0.1:{good} check inter 30ms rise 1 fall 1\n"
        async with running(text) as service:
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            say(service, f"set server b/s1 check-port {bad}\n")
            await until(lambda: status(service, "b/s1") == "DOWN", "DOWN at the other port")
            say(service, f"set server b/s1 addr 127.0.0.1 port {good};set server b/s1 check-port 0\n")
            await until(lambda: status(service, "b/s1") == "UP", "UP at its own port again")

    trio.run(scenario)


def test_an_external_check_is_told_the_address_of_today(tmp_path: Path) -> None:
    """As an argument and in its environment; a server that comes later is no other case."""
    command, told = tmp_path / "check", tmp_path / "told"
    command.write_text(f'#!/bin/sh\necho "$3 $4 $HAPROXY_SERVER_ADDR $HAPROXY_SERVER_PORT" >> {told}\n')
    command.chmod(0o755)
    text = (
        "global\n  external-check\n  insecure-fork-wanted\ndefaults\n  timeout check 5s\nbackend b\n"
        f"  option external-check\n  external-check command {command}\n  server s1 127.0.0.1:81 check inter 40ms\n"
    )

    def lines() -> set[str]:
        return set(told.read_text().splitlines()) if told.exists() else set()

    async def scenario() -> None:
        async with running(text) as service:
            await until(lambda: "127.0.0.1 81 127.0.0.1 81" in lines(), "the address of the file")
            say(service, "set server b/s1 addr 127.0.0.9 port 82\n")
            await until(lambda: "127.0.0.9 82 127.0.0.9 82" in lines(), "that of the command")
            say(service, "add server b/new 127.0.0.3:83 check inter 40ms;enable health b/new;enable server b/new\n")
            await until(lambda: "127.0.0.3 83 127.0.0.3 83" in lines(), "that of a new server")
            say(service, "set server b/new addr ::1 port 84\n")
            await until(lambda: "::1 84 ::1 84" in lines(), "its other one")

    trio.run(scenario)


def test_expressions_know_the_names_of_the_configuration(player: Player) -> None:
    """Those of an added server, too: stick tables, backends, servers."""
    _, good = player.listen("127.0.0.1", 0, OK)
    text = (
        "defaults\n  timeout check 5s\nbackend table\n  stick-table type string len 8 size 10\n"
        "backend b\n  option tcp-check\n  tcp-check set-var(check.none) str(x),in_table(table)\n"
        f"  tcp-check set-var(check.up) str(b),nbsrv,add({good - 1}),add(check.none)\n"
        "  tcp-check set-var(check.queue) str(b/s1),srv_queue,add(check.up)\n"
        f"  tcp-check connect port var(check.queue)\n  server s1 127.0.0.1:{good}\n"
    )

    async def scenario() -> None:
        async with running(text) as service:
            reply = say(service, "add server b/new 127.0.0.1:9 check inter 30ms rise 1 fall 1\n")
            assert reply == "New server registered.\n\n"
            say(service, "enable health b/new;enable server b/new\n")
            await until(lambda: "L4OK" in say(service, "show stat\n"), "L4OK")

    trio.run(scenario)


def test_there_is_no_room_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal leaves nothing behind."""
    monkeypatch.setattr(workers, "CHECKS_MIN", 100)

    async def scenario() -> None:
        async with running(f"{HTTP}backend b\n  server s1 127.0.0.1:1\n") as service:
            for number in range(200):
                reply = say(service, f"add server b/n{number} 127.0.0.1:1 check inter 60s\n")
                if reply != "New server registered.\n\n":
                    break
            assert "no room for more than 100 checks" in reply
            assert service.fleet.count == number + 1
            assert say(service, f"del server b/n{number}\n") == "No such server.\n"

    trio.run(scenario)


def test_a_renamed_server_says_its_new_name(player: Player) -> None:
    """In its checks, at once, too; and nothing else about them changes."""
    listener, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        words = "http-check send hdr x-name %[srv_name]"
        text = f"{HTTP}backend b\n  {words}\n  server s1 127.0.0.1:{port} check inter 30ms\n"
        async with running(text, "3") as service:
            await until(lambda: b"x-name: s1\r\n" in (player.request(listener, 0) or b""), "the old name")
            assert say(service, "disable server b/s1;set server b/s1 name blue\n") == "\nServer name updated.\n\n"
            say(service, "enable server b/blue\n")
            await until(lambda: b"x-name: blue\r\n" in (player.request(listener, 0) or b""), "the new name")
            assert status(service, "b/blue") == "UP"

    trio.run(scenario)


def test_what_haproxy_3_takes_of_an_added_server() -> None:
    async def scenario() -> None:
        text = (
            f"{HTTP}backend b\n  default-server weight 10 inter 7s\n  server s1 127.0.0.1:1\n"
            "backend st\n  balance uri\n  server s1 127.0.0.1:1\n"
        )
        registered = "New server registered.\n\n"
        async with running(text, "3") as service:
            assert say(service, "add server b/n1 127.0.0.1:1 cookie c1 init-state down\n") == registered
            assert say(service, "add server b/n2 127.0.0.1:1 from be:\n") == registered
            assert say(service, "add server st/n 127.0.0.1:1\n") == (
                "Backend does not support dynamic servers : backend 'st' uses a non dynamic load balancing method.\n\n"
            )
            assert say(service, "get weight b/n1;get weight b/n2\n") == "1 (initial 1)\n\n10 (initial 10)\n\n"
            for words, answer in (
                ("n2", "Already exists a server with the same name in backend."),
                ("x", "'server' expects <name> and <addr>[:<port>] as arguments."),
                ("x 127.0.0.1:1 enabled", "'enabled' option is not accepted for dynamic server"),
                ("x 127.0.0.1:1 no-check", "'no-check' option is not accepted for dynamic server"),
                ("x 127.0.0.1:1 from be:nope", "from: unknown backend instance 'nope'."),
                ("x 127.0.0.1:1 from nope", "invalid 'nope' value for 'from' keyword."),
                ("x 127.0.0.1:1 from", "from: missing value."),
                ("x 127.0.0.1:1 no-such-keyword-here", "unknown keyword 'no-such-keyword-here'."),
            ):
                assert say(service, f"add server b/{words}\n") == f"{answer}\n\n"
            listed = say(service, "add server help\n").split("\n")
            assert listed[0] == "List of keywords supported for dynamic server:"
            assert {"cookie", "init-state", "weight"} < set(listed)

    trio.run(scenario)
