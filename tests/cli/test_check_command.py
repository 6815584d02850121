"""`risefall check`: every server once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cli_kit import risefall
from risefall.engine.play import OK, Act, Player, When, http_reply


@pytest.fixture
def ports() -> Iterator[tuple[int, int, int]]:
    """A sound backend, one that answers 503, and an agent."""
    with Player(listeners=4, connections=64) as player:
        _, sound = player.listen("127.0.0.1", 0, OK)
        _, busy = player.listen("127.0.0.1", 0, Act(http_reply(503, "Busy")))
        _, agent = player.listen("127.0.0.1", 0, Act(b"up 50%\n", when=When.ACCEPT))
        yield sound, busy, agent


def check(servers: str, *options: str, lines: str = "option httpchk") -> tuple[int, str, str]:
    return risefall("check", "-f", "-", *options, stdin=f"backend b\n  {lines}\n{servers}")


def test_all_sound(ports: tuple[int, int, int]) -> None:
    sound, _, agent = ports
    code, out, _ = check(f"  server s1 127.0.0.1:{sound} check agent-check agent-port {agent}\n")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()[1:3]] == [
        ["b/s1", "health", "passed", "L7OK"], ["b/s1", "agent", "passed", "L7OK"],
    ]  # fmt: skip
    assert out.splitlines()[-1] == "2 passed"


def test_one_failed(ports: tuple[int, int, int], free_port: int) -> None:
    sound, busy, _ = ports
    servers = f"  server s1 127.0.0.1:{sound} check\n  server s2 127.0.0.1:{busy} check\n  server s3 127.0.0.1:{free_port} check\n"
    code, out, _ = check(servers, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert list(rows[0]) == ["backend", "server", "kind", "outcome", "status", "code", "duration_ms", "reason"]
    assert [(row["outcome"], row["status"], row["code"]) for row in rows] == [
        ("passed", "L7OK", 200), ("failed", "L7STS", 503), ("failed", "L4CON", None),
    ]  # fmt: skip


def test_disabled_and_unchecked_do_not_count(ports: tuple[int, int, int]) -> None:
    sound, busy, _ = ports
    servers = f"  server s1 127.0.0.1:{sound} check\n  server s2 127.0.0.1:{busy} check disabled\n  server s3 127.0.0.1:{busy}\n"
    code, out, _ = check(servers)
    assert code == 0
    assert out.splitlines()[-1] == "1 passed, 1 disabled, 1 unchecked"


def test_what_cannot_be_checked_is_exit_code_3(ports: tuple[int, int, int]) -> None:
    code, out, _ = check(f"  server s1 127.0.0.1:{ports[0]} check namespace none-such\n")
    assert code == 3
    assert "cannot open namespace 'none-such': No such file or directory" in out


def test_more_servers_than_slots(ports: tuple[int, int, int]) -> None:
    servers = "".join(f"  server s{i} 127.0.0.1:{ports[0]} check\n" for i in range(50))
    code, out, _ = check(servers, "--slots", "2")
    assert (code, out.splitlines()[-1]) == (0, "50 passed")
