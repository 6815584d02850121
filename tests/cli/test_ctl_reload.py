"""`risefall ctl preflight` and `reload`, beside a running risefall and a real haproxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from ctl_kit import CONFIG, Peer, ctl, running, wait_until

from risefall.cli.ctl_preflight import Foreseen
from risefall.engine.play import OK, Player
from risefall.errors import ConfigError

NEW = """
defaults
  mode http
  option httpchk
  timeout connect 1s
  timeout check 1s
backend app
  server ap01 127.0.0.1:{down} check inter 50ms
  server ap02 127.0.0.1:{up} check inter 50ms weight 100
  server dead 127.0.0.1:{up} check inter 50ms
  server born 127.0.0.1:{up} check inter 50ms
  server still 127.0.0.1:{down} check inter 50ms
  server off 127.0.0.1:{down} check disabled
backend web
  server w1 127.0.0.1:{up}
"""


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """One that answers, and one that refuses as long as this lasts."""
    with socket.socket() as unheard, Player(listeners=4, connections=64) as player:
        unheard.bind(("127.0.0.1", 0))
        yield player.listen("127.0.0.1", 0, OK)[1], unheard.getsockname()[1]


def outlooks(text: str) -> dict[str, str]:
    """By server, from `--json`."""
    rows = [msgspec.json.decode(line, type=Foreseen) for line in text.splitlines()]
    return {f"{row.backend}/{row.server}": row.outlook for row in rows}


@pytest.mark.parametrize("name", ["risefall", "haproxy"])
def test_what_would_go_down_is_told_before(name: str, ports: tuple[int, int], tmp_path: Path) -> None:
    up, down = ports
    new = tmp_path / "new.cfg"
    new.write_text(NEW.format(up=up, down=down))
    with running(name, tmp_path, up=up, down=down) as peer:
        told = peer.ctl("preflight", "-f", str(new), "--json")
        assert told.exit_code == 1
        assert outlooks(told.stdout) == {
            "app/ap01": "would go DOWN",
            "app/ap02": "stays UP",
            "app/dead": "would come UP",
            "app/born": "new, and passes",
            "app/still": "new, and would go DOWN",
            "app/off": "stays in maintenance",
            "web/w1": "has no check",
            "long/t1": "would be gone",
        }
        shown = peer.ctl("preflight", "-f", str(new), env={"COLUMNS": "160"}).stdout
        assert "app/ap01" in shown
        assert "app/ap02" not in shown
        assert "1 would go DOWN, 1 new, and would go DOWN, 1 would come UP" in shown
        assert peer.states()["app/ap01"].name == "UP"


def test_alone_and_in_vain(ports: tuple[int, int], tmp_path: Path) -> None:
    up, _ = ports
    new = tmp_path / "new.cfg"
    new.write_text(f"backend b\n  mode tcp\n  timeout connect 1s\n  server s 127.0.0.1:{up} check\n")
    nobody = str(tmp_path / "nobody.sock")
    lost = ctl("--socket", nobody, "preflight", "-f", str(new))
    assert lost.exit_code == 3
    assert "--alone" in lost.stderr
    done = ctl("preflight", "--alone", "-f", str(new))
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 new, and passes")
    new.write_text("backend b\n  server s 127.0.0.1:x check\n")
    assert isinstance(ctl("preflight", "--alone", "-f", str(new)).exception, ConfigError)


def test_reload_says_what_came_of_it(ports: tuple[int, int], tmp_path: Path) -> None:
    up, down = ports
    with running("risefall", tmp_path, up=up, down=down) as peer:
        path = tmp_path / "t.cfg"
        done = peer.ctl("reload")
        assert (done.exit_code, done.stdout) == (
            0,
            "reloaded: 5 servers as before, 0 changed, 0 added, 0 removed\n",
        )
        path.write_text(CONFIG.format(folder=tmp_path, up=up, down=down) + "backend x\n  server y 127.0.0.1:z check\n")
        refused = peer.ctl("reload")
        assert refused.exit_code == 1
        assert refused.stderr.startswith("not reloaded: ")
        assert "127.0.0.1:z" in refused.stderr
        path.write_text(CONFIG.format(folder=tmp_path, up=up, down=down).replace("server ap02", "server ap03"))
        assert "1 added, 1 removed" in peer.ctl("reload").stdout
        wait_until(lambda: "app/ap03" in peer.states(), "the new server")
        assert Peer.states(peer)["app/ap01"].name == "UP"
    assert ctl("--socket", str(tmp_path / "nobody.sock"), "reload").exit_code == 3
