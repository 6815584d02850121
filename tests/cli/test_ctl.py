"""`risefall ctl` against risefall and against the real haproxy: the same commands, the same words, the same exit codes."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctl_kit import Peer, ctl, running, wait_until

from risefall.engine.play import OK, Player
from risefall.surfaces.peer import State


@pytest.fixture(scope="module", params=["risefall", "haproxy"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One peer for all tests."""
    with socket.socket() as unheard, Player(listeners=4, connections=64) as player:
        unheard.bind(("127.0.0.1", 0))  # bound and not listening: refused as long as it lasts
        _, port = player.listen("127.0.0.1", 0, OK)
        folder = tmp_path_factory.mktemp(request.param)
        with running(request.param, folder, up=port, down=unheard.getsockname()[1]) as peer:
            yield peer


@pytest.fixture
def peer(program: Peer) -> Iterator[Peer]:
    """The peer, and afterwards everything as it was."""
    yield program
    done = program.ctl("ready", "*/*")
    assert done.exit_code == 0, done.output
    program.ctl("weight", "*/*", "100%")
    program.until(lambda now: (now["app/ap01"], now["app/ap02"], now["app/dead"]) == (State.UP, State.UP, State.DOWN))


# --- changes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), [("drain", State.DRAIN), ("maint", State.MAINT)])
def test_drain_and_maint_and_back(peer: Peer, word: str, state: State) -> None:
    done = peer.ctl(word, "app/ap01")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"app/ap01: {word}: done\n", "")
    assert peer.states()["app/ap01"] is state
    assert peer.ctl("ready", "app/ap01").exit_code == 0
    peer.until(lambda now: now["app/ap01"] is State.UP)


def test_a_pattern_tells_what_it_comes_to(peer: Peer) -> None:
    done = peer.ctl("drain", "app/*")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"app/{name}: drain: done" for name in ("ap01", "ap02", "dead")]
    assert "drain 3 servers: app/ap01, app/ap02, app/dead\n" in done.stderr
    assert "warning: no server of app is left in service\n" in done.stderr
    assert peer.states()["web/w1"] is State.UNCHECKED


def test_names_may_be_numbers_and_repeat(peer: Peer) -> None:
    rows = csv.DictReader(peer.ctl("raw", "show stat -1 4 -1").stdout.removeprefix("# ").splitlines())
    row = next(row for row in rows if row["svname"] == "ap02")
    done = peer.ctl("drain", f"#{row['iid']}/#{row['sid']}", "app/ap02", "a*/ap02")
    assert done.stdout == "app/ap02: drain: done\n"


def test_dry_run_does_nothing(peer: Peer) -> None:
    done = peer.ctl("maint", "app/ap0?", "--dry-run", "--json")
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["planned", "planned"]
    assert peer.states()["app/ap01"] is State.UP


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("app/ap99", "no server matches 'app/ap99'; nearest: app/ap0"),
        ("ap/ap01", "no server matches 'ap/ap01'; nearest: app/ap01"),
        ("zzz/*", "no server matches 'zzz/*'\n"),
    ],
)
def test_what_matches_nothing_is_refused_and_nothing_is_done(peer: Peer, name: str, said: str) -> None:
    done = peer.ctl("maint", "app/ap01", name)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Nothing was done." in done.stderr
    assert peer.states()["app/ap01"] is State.UP


def test_weights(peer: Peer) -> None:
    assert peer.ctl("weight", "app/ap0*", "25%").exit_code == 0
    assert peer.weight("app/ap01") == "25 (initial 100)"
    assert peer.ctl("weight", "app/ap01", "7").exit_code == 0
    assert peer.weight("app/ap01") == "7 (initial 100)"
    assert peer.weight("app/ap02") == "25 (initial 100)"
    assert "no server of web is left" in peer.ctl("weight", "web/w1", "0").stderr


@pytest.mark.parametrize("weight", ["257", "x", "5%%", "", "²"])
def test_a_weight_that_is_none_is_misuse(weight: str) -> None:
    done = ctl("--socket", "/nowhere/x.sock", "weight", "app/ap01", "--", weight)
    assert done.exit_code == 2
    assert "is no weight" in done.stderr


def test_health_is_forced(peer: Peer) -> None:
    assert peer.ctl("health", "web/w1", "down").exit_code == 0
    assert peer.states()["web/w1"] is State.DOWN
    assert peer.ctl("health", "web/w1", "up").exit_code == 0
    assert peer.states()["web/w1"] is State.UNCHECKED


def test_a_refusal_shows_the_peers_words(peer: Peer) -> None:
    done = peer.ctl("agent", "app/ap01", "down")
    assert done.exit_code == 1
    assert done.stderr.endswith("app/ap01: agent down: refused: agent checks are not enabled on this server.\n")
    told = json.loads(peer.ctl("agent", "app/ap01", "down", "--json").stdout)
    assert told == {
        "socket": peer.socket,
        "backend": "app",
        "server": "ap01",
        "order": "agent down",
        "outcome": "refused",
        "reply": "agent checks are not enabled on this server.",
    }


def test_a_level_that_is_too_low_says_what_to_do(peer: Peer) -> None:
    if peer.name == "risefall":
        assert not (peer.folder / "user.sock").exists()  # `run` opens nothing of the config's own
        return
    done = ctl("drain", "app/ap01", "--socket", str(peer.folder / "user.sock"))
    assert done.exit_code == 1
    assert "app/ap01: drain: refused: Permission denied\n  help: " in done.stderr
    assert "level admin" in done.stderr


# --- show -------------------------------------------------------------------------------------------------


def test_show_servers(peer: Peer) -> None:
    done = peer.ctl("show")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert lines[0].split() == ["server", "status", "since", "weight", "sessions", "check", "ms", "reason"]
    assert [line.split()[0] for line in lines[1:]] == ["app/ap01", "app/ap02", "app/dead", "web/w1", "long/t1"]
    dead = next(line for line in lines if line.startswith("app/dead"))
    assert "DOWN" in dead
    assert "L4CON" in dead
    assert "Connection refused" in dead
    assert "\x1b" not in done.stdout


def test_show_servers_json(peer: Peer) -> None:
    objects = [json.loads(line) for line in peer.ctl("show", "servers", "app", "--json").stdout.splitlines()]
    assert [one["server"] for one in objects] == ["ap01", "ap02", "dead"]
    first, _, dead = objects
    assert (first["state"], first["status"], first["weight"], first["check_status"]) == ("up", "UP", 100, "L7OK")
    assert (dead["state"], dead["check_status"], dead["check_code"], dead["agent_status"]) == (
        "down",
        "L4CON",
        None,
        None,
    )
    assert list(dead) == [
        "socket", "backend", "server", "status", "state", "weight", "sessions", "queued", "since_s", "downtime_s", "backup",
        "address", "check_status", "check_code", "check_ms", "check_text", "agent_status", "agent_text", "tracked",
    ]  # fmt: skip


def test_show_stat_and_backends(peer: Peer) -> None:
    rows = [json.loads(line) for line in peer.ctl("show", "stat", "a*", "--json").stdout.splitlines()]
    assert [row["svname"] for row in rows] == ["ap01", "ap02", "dead", "BACKEND"]
    assert (rows[0]["pxname"], rows[0]["act"], rows[0]["tracked"]) == ("app", 1, None)
    lines = peer.ctl("show", "backends").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[f"{name}/BACKEND", "UP"] for name in ("app", "web", "long")]


def test_show_info(peer: Peer) -> None:
    facts = json.loads(peer.ctl("show", "info", "--json").stdout)
    assert facts["Name"] == "HAProxy"
    assert facts["Build info"].startswith("risefall ") == (peer.name == "risefall")
    assert peer.ctl("show", "info", "Process_num").stdout.split() == ["Process_num", "1"]
    assert peer.ctl("show", "info", "Nix").exit_code == 2


def test_show_anything_else_is_the_peers_own(peer: Peer) -> None:
    done = peer.ctl("show", "servers", "state", "web")
    assert done.stdout.startswith("1\n# be_id be_name ")
    assert " web 1 w1 127.0.0.1 " in done.stdout
    refused = peer.ctl("show", "nonsense")
    assert refused.exit_code == 1
    assert "Unknown command" in refused.stderr
    assert "risefall ctl show servers nonsense" in refused.stderr
    assert peer.ctl("show", "web/*", "--json").stdout == peer.ctl("show", "servers", "web", "--json").stdout
    assert peer.ctl("show", "errors").exit_code == 0


def test_a_filter_that_means_nothing_is_told(peer: Peer) -> None:
    done = peer.ctl("show", "servers", "apq", "web")
    assert done.exit_code == 2
    assert "no server matches 'apq'" in done.stderr
    assert "web/w1" in done.stdout


def test_watch_repeats(peer: Peer) -> None:
    done = peer.ctl("show", "servers", "web", "--json", "--watch", "--every", "10ms", "--for", "100ms")
    assert done.exit_code == 0
    assert {json.loads(line)["server"] for line in done.stdout.splitlines()} == {"w1"}
    assert len(done.stdout.splitlines()) > 1


# --- wait -------------------------------------------------------------------------------------------------


def test_wait_ends_with_what_it_waits_for(peer: Peer) -> None:
    peer.ctl("maint", "app/ap0*")
    environment = {**os.environ, "RISEFALL_SOCKET": peer.socket}
    command = [sys.executable, "-m", "risefall", "ctl", "wait", "app/ap0*", "--state", "up", "--every", "20ms"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        peer.ctl("ready", "app/ap0*")
        out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, err) == (0, "app/ap01: UP, 0 sessions\napp/ap02: UP, 0 sessions\n", "")


def test_wait_gives_up_at_its_deadline(peer: Peer) -> None:
    done = peer.ctl("wait", "app/ap01", "app/dead", "--state", "up", "--timeout", "100ms", "--every", "20ms")
    assert done.exit_code == 1
    assert done.stdout == "app/ap01: UP, 0 sessions\n"
    assert done.stderr == "app/dead: DOWN, 0 sessions: not reached within 100ms\n"


def test_a_drained_server_that_is_down_is_drained(peer: Peer) -> None:
    peer.ctl("drain", "app/dead")
    done = peer.ctl("wait", "app/dead", "--state", "drain", "--sessions", "0", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["status"] == "DOWN"


def test_wait_for_the_last_session(peer: Peer) -> None:
    if peer.name == "risefall":
        assert peer.ctl("wait", "long/t1", "--sessions", "0").exit_code == 0  # it carries no traffic
        return
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(peer.folder / "in.sock"))
        client.sendall(b"GET")
        wait_until(
            lambda: "long/t1: no check, 1 sessions" in peer.ctl("wait", "long/t1", "--sessions", "1").stdout,
            "no session",
        )
        peer.ctl("drain", "long/t1")
        both = ("wait", "long/t1", "--state", "drain", "--sessions", "0", "--every", "20ms")
        done = peer.ctl(*both, "--timeout", "100ms")
        assert (done.exit_code, done.stderr) == (1, "long/t1: DRAIN, 1 sessions: not reached within 100ms\n")
    assert peer.ctl(*both).stdout == "long/t1: DRAIN, 0 sessions\n"


def test_wait_for_nothing_is_misuse(peer: Peer) -> None:
    assert peer.ctl("wait", "app/ap01").exit_code == 2


# --- raw --------------------------------------------------------------------------------------------------


def test_raw_lines(peer: Peer) -> None:
    done = peer.ctl("raw", "get weight app/ap01; get weight app/dead", "get weight web/w1")
    assert (done.exit_code, done.stdout) == (0, "100 (initial 100)\n\n1 (initial 1)\n1 (initial 1)\n")


def test_raw_reads_standard_input(peer: Peer) -> None:
    done = peer.ctl(
        "raw", "-", stdin="# a comment\n\nget weight app/ap01\nset server app/zz state maint\nget weight web/w1\n"
    )
    assert done.exit_code == 1
    assert done.stdout == "100 (initial 100)\n1 (initial 1)\n"
    assert done.stderr == "No such server.\n"


def test_raw_payload_goes_with_its_line(peer: Peer) -> None:
    done = peer.ctl("raw", "-", "--json", stdin="set server app/zz state <<\nmaint\nmore\n\nget weight web/w1\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["line"], first["refused"]) == ("set server app/zz state <<", True)
    assert second["reply"] == "1 (initial 1)\n"


# --- several peers, completion ----------------------------------------------------------------------------


def test_a_command_goes_to_each_socket(peer: Peer, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.sock")
    done = ctl("drain", "app/ap01", "--socket", gone, "--socket", peer.socket)
    assert done.exit_code == 3
    assert done.stdout == f"{peer.socket}: app/ap01: drain: done\n"
    assert done.stderr.startswith(f"{gone}: No such file or directory; is `risefall run` or haproxy running?")


def completions(peer: Peer, words: str, socket_path: str = "") -> list[str]:
    """What bash would offer for the last word."""
    environment = {
        **os.environ,
        "_RISEFALL_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "RISEFALL_SOCKET": socket_path or peer.socket,
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "risefall"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_names_are_completed(peer: Peer, tmp_path: Path) -> None:
    assert completions(peer, "risefall ctl drain app/a") == ["app/ap01", "app/ap02"]
    assert completions(peer, f"risefall ctl --socket {peer.socket} ready w", "/nowhere") == ["web/w1"]
    assert completions(peer, "risefall ctl show servers ") == ["app", "long", "web"]
    assert completions(peer, "risefall ctl show back") == ["backends"]
    assert completions(peer, "risefall ctl drain app/a", str(tmp_path / "gone.sock")) == [""]
