"""`risefall probe`: one check, each step told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_kit import risefall
from risefall.engine.play import OK, SILENT, Act, Player, When, http_reply


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=4, connections=64) as one:
        yield one


def test_http_tells_each_step(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(http_reply(503, "Busy")))
    url = f"http://127.0.0.1:{port}/health?x=1"
    code, out, _ = risefall("probe", url, "--method", "GET", "--http-version", "HTTP/1.1", "--header", "Host: shop")
    assert code == 1
    for words in ("connected", "sent ", "got ", "closed with RST", "failed: L7STS (Layer7 wrong status), code 503"):
        assert words in out
    assert player.request(listener, 0) == b"GET /health?x=1 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n"


def test_expectations(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(http_reply(200, "OK", b"all is well")))
    assert risefall("probe", f"http://127.0.0.1:{port}/", "--expect-string", "well")[0] == 0
    assert risefall("probe", f"http://127.0.0.1:{port}/", "--expect-string", "ill")[0] == 1
    assert risefall("probe", f"http://127.0.0.1:{port}/", "--expect-status", "204,300-399")[0] == 1


def test_tcp_and_unix(player: Player, tmp_path: Path) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    path = str(tmp_path / "s.sock")
    player.listen(path, 0, OK)
    for url in (f"tcp://127.0.0.1:{port}", f"tcp://{path}"):
        code, out, _ = risefall("probe", url)
        assert (code, "passed: L4OK" in out) == (0, True)


def test_agent(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"up 50% # fine\n", when=When.ACCEPT))
    code, out, _ = risefall("probe", f"agent://127.0.0.1:{port}", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["status"], found["text"]) == (0, "L7OK", "via agent : up (fine)")


def test_refused_names_the_likely_cause(free_port: int) -> None:
    code, out, _ = risefall("probe", f"tcp://127.0.0.1:{free_port}")
    assert code == 1
    assert "L4CON" in out
    assert "likely: nobody listens on that port" in out


def test_silence_ends_at_the_deadline(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, SILENT)
    code, out, _ = risefall("probe", f"http://127.0.0.1:{port}/", "--inter", "300")
    assert (code, "L7TOUT" in out) == (1, True)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://:80", "http://127.0.0.1:99999/", "nonsense"]
)
def test_what_is_no_target_is_exit_code_2(url: str) -> None:
    code, _, err = risefall("probe", url)
    assert code == 2
    assert "Traceback" not in err
