"""`risefall run` answers risefall-track, before and after a reload, and while one goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import trio
from daemon_kit import until

from risefall.daemon import kept_facts
from risefall.daemon.kept_facts import AGE_MAX_S, FactsFile
from risefall.engine.facts import Facts, Kind

TRACK = Path(sysconfig.get_path("scripts")) / "risefall-track"
LIMIT_S = 60
HEAD = "defaults\n  mode tcp\n  timeout connect 1s\nbackend app\n"


def ask(path: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([TRACK, *words, "--socket", path], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def wait(path: Path, expected: str, *words: str) -> None:
    """Until the daemon says it."""
    limit = time.monotonic() + LIMIT_S
    while expected not in (said := ask(path, *words)[1]) or (not expected and said):
        assert time.monotonic() < limit, said
        time.sleep(0.02)


def test_run_answers_and_a_reload_delays_and_spoils_nothing(tmp_path: Path) -> None:
    config, path = tmp_path / "h.cfg", tmp_path / "r"
    many = "".join(f"  server m{number} 127.0.0.1:9\n" for number in range(5000))
    config.write_text(HEAD + "  server a 127.0.0.1:1 check inter 200ms fall 1\n  server b 127.0.0.1:2\n" + many)
    command = [sys.executable, "-m", "risefall", "run", "-f", str(config), "--socket", str(path), "--log", "none"]
    with subprocess.Popen([*command, "--state-dir", "none"], env={**os.environ}) as daemon:
        try:
            wait(path, "server app/a: DOWN", "server", "app/a")
            assert ask(path, "server", "app/b") == (0, "")
            assert "5001 of 5002 servers up, 5002 wanted" in ask(path, "backend", "app", "--min-up", "5002")[1]
            wait(path, "none of this name", "server", "app/new")
            config.write_text(config.read_text() + "  server new 127.0.0.1:3\n")
            daemon.send_signal(signal.SIGHUP)
            runs = 0
            while ask(path, "server", "app/new")[0]:
                runs += 1
                assert runs < 20_000
                assert ask(path, "server", "app/b") == (0, "")
                assert "DOWN" in ask(path, "server", "app/a")[1]
            assert runs > 0
            daemon.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)  # all its threads have
            assert "did not answer in time" in ask(path, "server", "app/b", "--timeout", "100ms")[1]
            daemon.send_signal(signal.SIGCONT)
            assert ask(path, "server", "app/b", "--timeout", "20s") == (0, "")
            daemon.terminate()
            assert daemon.wait(LIMIT_S) == 0
            assert "cannot be asked" in ask(path, "server", "app/b")[1]
            assert not Path(f"{path}.track").exists()
        finally:
            daemon.kill()


def command_of(config: Path, socket: Path, state: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "risefall", "run", "-f", str(config), "--socket", str(socket), "--log", "none"]
    return [*words, "--state-dir", str(state), *more]


def end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    assert daemon.wait(LIMIT_S) == 0


def test_servers_that_come_and_go_at_run_time(tmp_path: Path) -> None:
    """`add server` and `del server` are published, and the backend's count with them."""
    config, path = tmp_path / "h.cfg", tmp_path / "r"
    config.write_text(HEAD + "  server a 127.0.0.1:1\n")
    with subprocess.Popen(command_of(config, path, Path("none"))) as daemon:
        try:
            wait(path, "none of this name", "server", "app/new")

            def say(line: str) -> None:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(LIMIT_S)
                    client.connect(str(path))
                    client.sendall(f"{line}\n".encode())
                    while client.recv(1000):
                        pass

            say("add server app/new 127.0.0.1:2")
            assert "MAINT" in ask(path, "server", "app/new")[1]
            assert "1 of 2 servers up" in ask(path, "backend", "app", "--min-up", "2")[1]
            say("enable server app/new")
            assert ask(path, "server", "app/new") == (0, "")
            assert ask(path, "backend", "app", "--min-up", "2") == (0, "")
            say("disable server app/new; del server app/new")
            assert "none of this name" in ask(path, "server", "app/new")[1]
            assert "1 of 1 servers up" in ask(path, "backend", "app", "--min-up", "2")[1]
            end(daemon)
        finally:
            daemon.kill()


def test_a_daemon_that_comes_back_says_at_once_what_it_knew(tmp_path: Path) -> None:
    """While its configuration is still being read, here from a FIFO; then what it finds. A file that is too old is not used."""
    config, path, fifo, state = tmp_path / "h.cfg", tmp_path / "r", tmp_path / "fifo", tmp_path / "state"
    scripts, flag = tmp_path / "scripts.conf", tmp_path / "good"
    scripts.write_text(f'vrrp_script chk {{\n  script "/usr/bin/test -e {flag}"\n  interval 1\n}}\n')
    text = HEAD + "  server a 127.0.0.1:1 check inter 100ms fall 1\n  server b 127.0.0.1:2\n"
    config.write_text(text)
    with subprocess.Popen(command_of(config, path, state, "--scripts", str(scripts))) as daemon:
        try:
            wait(path, "app/a: DOWN", "server", "app/a")
            wait(path, "chk: exit 1", "script", "chk")
            end(daemon)
        finally:
            daemon.kill()
    os.mkfifo(fifo)
    kept = state / "r.facts"
    old = kept.read_bytes()
    for age_s in (0, 3600):
        kept.write_bytes(old)
        os.utime(kept, (time.time() - age_s,) * 2)
        with subprocess.Popen(command_of(fifo, path, state, "--scripts", str(scripts))) as daemon:
            try:
                with fifo.open("w") as write:  # the daemon has it open for reading, and waits for the rest
                    if age_s:
                        assert "app/a: not known yet" in ask(path, "server", "app/a")[1]
                        assert "chk: not known yet" in ask(path, "script", "chk")[1]
                    else:
                        assert "app/a: DOWN (before the restart)" in ask(path, "server", "app/a")[1]
                        assert ask(path, "server", "app/b") == (0, "")
                        assert "1 of 2 servers up (before" in ask(path, "backend", "app", "--min-up", "2")[1]
                        assert "chk: exit 1 (before the restart)" in ask(path, "script", "chk")[1]
                        flag.touch()
                    assert "not known yet" in ask(path, "server", "app/new")[1]
                    write.write(text.replace("server b", "server new"))
                wait(path, "", "script", "chk")
                wait(path, "", "server", "app/new")
                wait(path, "none of this name", "server", "app/b")
                assert "before" not in ask(path, "server", "app/a")[1]
                end(daemon)
            finally:
                daemon.kill()


def test_only_what_this_run_has_said_of_late_is_taken(tmp_path: Path) -> None:
    memory = FactsFile(str(tmp_path), "/run/a/run.sock.track")
    with Facts(3_600_000_000_000) as facts:
        assert memory.load(facts) == 0
        facts.put(Kind.SERVER, b"app/a", True, 0, b"UP")
        assert memory.write(facts)
    file = tmp_path / "run.facts"
    good, now = file.read_bytes(), time.time()
    for taken, data, age_s, asked_at in (
        (1, good, 0, "a"),
        (0, good, 0, "b"),
        (0, good[:-1], 0, "a"),
        (0, b"", 0, "a"),
        (0, good, AGE_MAX_S + 60, "a"),
        (0, good, -AGE_MAX_S - 60, "a"),
    ):
        file.write_bytes(data)
        os.utime(file, (now - age_s,) * 2)
        with Facts(3_600_000_000_000) as facts:
            assert FactsFile(str(tmp_path), f"/run/{asked_at}/run.sock.track").load(facts) == taken
    for nowhere in (FactsFile("", "/run/a/run.sock.track"), FactsFile(str(tmp_path), "")):
        with Facts(3_600_000_000_000) as facts:
            assert (nowhere.load(facts), nowhere.write(facts)) == (0, False)


def test_what_did_not_change_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is killed after a quiet day has said so seconds before."""
    monkeypatch.setattr(kept_facts, "EVERY_S", 0.01)
    memory = FactsFile(str(tmp_path), "/run/run.sock.track")
    file = tmp_path / "run.facts"

    async def main() -> None:
        with Facts(3_600_000_000_000) as facts:
            facts.put(Kind.SERVER, b"app/a", True, 0, b"UP")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(memory.run, facts)
                await until(file.exists, "written")
                number = file.stat().st_ino
                os.utime(file, (0, 0))
                await until(lambda: file.stat().st_mtime > 0, "confirmed")
                assert file.stat().st_ino == number
                facts.put(Kind.SERVER, b"app/a", False, 0, b"DOWN")
                await until(lambda: b"DOWN" in file.read_bytes(), "written again")
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_scripts_of_the_daemon_are_asked_by_name(tmp_path: Path) -> None:
    """`run --scripts` runs each once; risefall-track says what came of it, and tells a wrong name from one not run yet."""
    scripts, path, file = tmp_path / "scripts.conf", tmp_path / "r", tmp_path / "good"
    scripts.write_text(
        f'vrrp_script file {{\n  script "/usr/bin/test -e {file}"\n  interval 1\n  rise 1\n  fall 1\n}}\n'
        'vrrp_script slow {\n  script "/usr/bin/sleep 50"\n  interval 60\n  timeout 55\n}\n'
    )
    command = [sys.executable, "-m", "risefall", "run", "--scripts", str(scripts), "--socket", str(path)]
    with subprocess.Popen([*command, "--log", "none", "--state-dir", "none"]) as daemon:
        try:
            wait(path, "script file: exit 1", "script", "file")
            assert "none of this name" in ask(path, "script", "fiel")[1]
            assert "slow: no result yet" in ask(path, "script", "slow")[1]
            asked = [TRACK, "script", "slow", "--socket", path, "--fallback", "file", __file__]
            assert subprocess.run(asked, check=False).returncode == 0
            file.touch()
            wait(path, "", "script", "file")
            daemon.terminate()
            assert daemon.wait(LIMIT_S) == 0
        finally:
            daemon.kill()
