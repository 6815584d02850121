"""The whole evaluation with real processes and files, without keepalived; and what the daemon makes of scripts."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from risefall.cli.main import group
from risefall.config.keepalived import read
from risefall.config.text import Source, read_file
from risefall.daemon.scripts import Scripts, TrackFiles, read_scripts
from risefall.errors import ConfigError, StartError
from risefall.evaluator.calling import send
from risefall.evaluator.node import Node
from risefall.vrrp.notify import Mail
from risefall.vrrp.trackers import DOWN, UP, Kind

CORPUS = sorted((Path(__file__).parents[3] / "shared" / "corpus" / "keepalived").glob("*"))
NOT_STARTED = ("ngyuki-sandbox-example-haproxy", "linzeyan-k8s_cluster")
"""A template, and one without a router id: keepalived does not start with them."""
DEADLINE_S = 20.0
RISEFALL = [sys.executable, "-m", "risefall"]
TEXT = """global_defs {
  dynamic_interfaces
  vrrp_notify_fifo OWN/fifo
}
vrrp_script chk {
  script "/usr/bin/test ! -s OWN/flag"
  interval 1
}
vrrp_script light {
  script "OWN/light.sh"
  interval 1
  weight -20
}
track_file tf {
  file OWN/tf
}
vrrp_track_process own {
  process OWN/sleeper 1000
  weight 3
}
vrrp_instance VI_1 {
  interface rfnone0
  dont_track_primary
  virtual_router_id 51
  priority 100
  notify OWN/notify.sh
  virtual_ipaddress {
    10.0.0.1
  }
  track_script {
    chk
    light
  }
  track_file {
    tf weight 2
  }
  track_process {
    own
  }
}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "keepalived.conf").write_text(TEXT.replace("OWN", str(tmp_path)))
    (tmp_path / "tf").write_text("4\n")
    (tmp_path / "flag").write_text("")
    for name, body in (("light.sh", "exit 0"), ("notify.sh", f'echo "$*" >> {tmp_path}/calls')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def once(own: Path, *words: str) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run(
        [*RISEFALL, "vrrp", "-f", str(own / "keepalived.conf"), "--once", "--json", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def wait(seen: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_once(own: Path) -> None:
    code, told = once(own)
    assert code == 0
    scripts = {one["name"]: one["state"] for one in told if one["kind"] == "script"}
    instance = next(one for one in told if one["kind"] == "instance")
    assert scripts == {"chk": "GOOD", "light": "GOOD"}
    assert (instance["state"], instance["total"]) == ("MASTER", 108)
    (own / "flag").write_text("1")
    (own / "light.sh").write_text("#!/bin/sh\nexit 3\n")
    code, told = once(own)
    instance = next(one for one in told if one["kind"] == "instance")
    assert (code, instance["state"], instance["faults"], instance["total"]) == (1, "FAULT", ["script chk"], 88)
    assert next(one["last"] for one in told if one.get("name") == "light") == "exit 3"


def test_follows_and_notifies_and_leaves_nothing(own: Path) -> None:
    """A file and a process change; programs are called, the FIFO is written and removed; every script ends with the evaluator."""
    (own / "light.sh").write_text(
        f"#!/bin/sh\nsleep 1000 & echo $! > {own}/pid.new; mv {own}/pid.new {own}/pid; wait\n"
    )
    sleeper = own / "sleeper"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", sleeper)
    log = own / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [*RISEFALL, "vrrp", "-f", str(own / "keepalived.conf"), "--notify", "--json"], stdout=output, stderr=output
        )
    try:
        wait(
            lambda: (own / "calls").exists() and "INSTANCE VI_1 BACKUP" in (own / "calls").read_text(), log.read_text()
        )
        wait(lambda: (own / "pid").exists(), "the script has not begun")
        (own / "tf").write_text("9\n")
        wait(
            lambda: "effective priority from 108 to 118" in log.read_text() or "to 98" in log.read_text(),
            log.read_text(),
        )
        asleep = subprocess.Popen([sleeper, "1000"])
        try:
            wait(lambda: "Quorum gained for tracked process own" in log.read_text(), log.read_text())
        finally:
            asleep.kill()
            asleep.wait()
        wait(lambda: "Quorum lost for tracked process own" in log.read_text(), log.read_text())
        pid = int((own / "pid").read_text())
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(timeout=DEADLINE_S)
    assert code == 1  # light hangs, and so is down
    assert "INSTANCE VI_1 STOP" in (own / "calls").read_text()
    assert not (own / "fifo").exists()
    wait(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), f"{pid} is left")


def test_live_table(own: Path) -> None:
    """On a terminal the tables are drawn again and again, with the last lines below."""
    ours, theirs = os.openpty()
    words = [*RISEFALL, "vrrp", "-f", str(own / "keepalived.conf")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    running = subprocess.Popen(
        words, stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    seen = b""

    def shown() -> bool:
        nonlocal seen
        with contextlib.suppress(OSError):  # EIO: nobody writes any more
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536)
        return b"would notify: run" in seen and b"100 + 8" in seen and b"if it failed" in seen

    try:
        wait(shown, "no table")
    finally:
        running.terminate()
        wait(lambda: shown() and running.poll() is not None, "it does not end")
        os.close(ours)


def test_mails_as_keepalived_writes_them(tmp_path: Path) -> None:
    """The dialogue and the headers of spec §6.5, to a sink."""
    got: list[bytes] = []

    def sink(listening: socket.socket) -> None:
        with listening.accept()[0] as peer, peer.makefile("rwb") as lines:
            lines.write(b"220 sink\r\n")
            lines.flush()
            in_data = False
            for line in lines:
                got.append(line.rstrip(b"\r\n"))
                if in_data:
                    in_data = line != b".\r\n"
                    if in_data:
                        continue
                    answer = b"250 taken"
                else:
                    in_data = line.upper().startswith(b"DATA")
                    answer = (
                        b"354 go on" if in_data else b"221 bye" if line.upper().startswith(b"QUIT") else b"250 fine"
                    )
                lines.write(answer + b"\r\n")
                lines.flush()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=sink, args=(listening,), daemon=True)
        thread.start()
        text = f"""global_defs {{
  router_id lb1
  notification_email {{
    ops@example.org
    night@example.org
  }}
  notification_email_from ka@example.org
  smtp_server 127.0.0.1 {listening.getsockname()[1]}
  smtp_helo_name lb1.example.org
}}
"""
        config = read(Source("keepalived.conf", text))
        send(
            Mail("[lb1] VRRP Instance VI_1 - Entering MASTER state", "=> VRRP Instance is now owning VRRP VIPs <="),
            config,
        )
        thread.join(DEADLINE_S)
    said = [line.decode() for line in got]
    dialogue = [line for line in said if line.split(" ")[0].upper() in ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "QUIT")]
    assert [line.lower() for line in dialogue] == [
        "helo lb1.example.org",
        "mail from:<ka@example.org>",
        "rcpt to:<ops@example.org>",
        "rcpt to:<night@example.org>",
        "data",
        "quit",
    ]
    assert "Subject: [lb1] VRRP Instance VI_1 - Entering MASTER state" in said
    assert "X-Mailer: Keepalived" in said
    assert "To: ops@example.org, night@example.org" in said
    assert "=> VRRP Instance is now owning VRRP VIPs <=" in said


def test_no_interface_no_start(own: Path) -> None:
    text = (own / "keepalived.conf").read_text().replace("  dynamic_interfaces\n", "")
    (own / "keepalived.conf").write_text(text)
    result = CliRunner().invoke(group, ["vrrp", "-f", str(own / "keepalived.conf"), "--once"])
    assert isinstance(result.exception, StartError)
    assert "no interface rfnone0 of VI_1" in str(result.exception)


@pytest.mark.parametrize(
    "words", [["--once", "--plan"], ["--check-config", "--once"], ["--once", "--notify"], ["--peer", "0"]]
)
def test_misuse(own: Path, words: list[str]) -> None:
    result = CliRunner().invoke(group, ["vrrp", "-f", str(own / "keepalived.conf"), *words])
    assert result.exit_code == 2


@pytest.mark.skipif(not CORPUS, reason="the configurations of the field are not beside this checkout")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_configuration_of_the_field_makes_a_node(path: Path) -> None:
    """It starts, hears all its scripts fail and pass, and comes to a state; none of its scripts is run here."""
    if path.name.startswith(NOT_STARTED):
        with pytest.raises(ConfigError):
            read(read_file(str(path)), config_id="me")
        return
    config = read(read_file(str(path)), config_id="me")
    node = Node(config)
    node.start()
    for reading in (DOWN, UP):
        for name in node.wanted(Kind.SCRIPT):
            node.read(Kind.SCRIPT, name, reading)
        node.settle()
        for view in node.instances():
            assert view.effective == 255 or 1 <= view.effective <= 254
            assert view.state in ("MASTER", "BACKUP", "FAULT")
            assert (view.state == "FAULT") >= bool(view.faults)
    assert node.drain() or not config.instances


# --- the scripts of the daemon ------------------------------------------------------------------------------------------


def write_scripts(own: Path, *blocks: tuple[str, str]) -> str:
    text = "".join(
        f'vrrp_script {name} {{\n  script "{command}"\n  interval 1\n  weight -7\n}}\n' for name, command in blocks
    )
    (own / "scripts.conf").write_text(text)
    return str(own / "scripts.conf")


def test_run_scripts_writes_track_files(own: Path) -> None:
    path = write_scripts(own, ("good", "/bin/true"), ("turns", f"/usr/bin/test ! -s {own}/flag"))
    (own / "tracks").mkdir()
    environment = {**os.environ, "RISEFALL_SOCKET": str(own / "run.sock")}
    running = subprocess.Popen(
        [*RISEFALL, "run", "--scripts", path, "--track-dir", str(own / "tracks")], env=environment
    )
    try:
        found = lambda: {one.name: one.read_text() for one in (own / "tracks").iterdir() if one.suffix != ".new"}  # noqa: E731
        wait(lambda: found() == {"good": "0\n", "turns": "0\n"}, "no track files")
        (own / "flag").write_text("1")
        wait(lambda: found() == {"good": "0\n", "turns": "1\n"}, "the failure is not seen")
        (own / "flag").write_text("")
        wait(lambda: found()["turns"] == "0\n", "the recovery is not seen")
    finally:
        running.terminate()
        running.wait(timeout=DEADLINE_S)


def test_publishers_are_told_each_result(own: Path) -> None:
    import trio

    told: list[tuple[str, bool, int, str]] = []

    class Told:
        def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
            told.append((name, good, weight, reason))

        def forget_script(self, name: str) -> None:
            told.append((name, False, 0, "forgotten"))

    config = read_scripts(write_scripts(own, ("bad", "/bin/false")), lambda text: None)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Scripts(config, [Told()], lambda line: None).run)
            with trio.fail_after(DEADLINE_S):
                while len(told) < 2:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(run)
    assert told == [("bad", False, -7, "exit 1"), ("bad", False, -7, "exit 1"), ("bad", False, 0, "forgotten")]


def test_a_script_that_keepalived_would_drop_keeps_the_daemon_from_starting(own: Path) -> None:
    """Left out, it would never fail: whoever asks for it would be told nothing."""
    config = read_scripts(write_scripts(own, ("gone", "/nonexistent/x")), lambda text: None)
    with pytest.raises(StartError, match="gone cannot run: Script /nonexistent/x cannot be accessed"):
        Scripts(config, (), lambda line: None)


def test_track_files_that_cannot_be_written_are_told_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    files = TrackFiles(str(tmp_path / "later"), said.append)
    files.publish_script("chk", True, 0, "exit 0")
    assert said == [f"track file {tmp_path}/later/chk cannot be written: No such file or directory"]
    (tmp_path / "later").mkdir()
    files.publish_script("chk", True, 0, "exit 0")
    assert (tmp_path / "later" / "chk").read_text() == "0\n"


def test_who_asks_for_itself_is_refused_with_its_chain(own: Path) -> None:
    (own / "asks.sh").write_text(
        "#!/bin/sh\n# risefall-track script innocent\n/opt/r/risefall-track --timeout 1 script c || exit 1\n"
    )
    (own / "calls.sh").write_text(f"#!/bin/sh\nexec {own}/asks.sh\n")
    path = write_scripts(
        own,
        ("a", "/opt/r/risefall-track script b"),
        ("b", f"{own}/calls.sh"),
        ("c", "/bin/sh -c 'risefall-track script a'"),
        ("self", "/opt/r/risefall-track script self"),
        ("innocent", "/opt/r/risefall-track script a"),
    )
    with pytest.raises(ConfigError) as caught:
        read_scripts(path, lambda text: None)
    text = str(caught.value)
    assert f"{path}:1: error: vrrp_script a asks risefall for itself: a -> b -> c -> a" in text
    assert f"{own}/asks.sh:3 asks for c" in text
    assert "self -> self" in text
    assert text.count("error:") == 2


def test_split(own: Path) -> None:
    """Both files are read as they should, and keepalived takes both."""
    conf = own / "keepalived.conf"
    text = conf.read_text().replace('"OWN', '"').replace("  interval 1\n}", "  interval 2\n  rise 2\n  fall 3\n}", 1)
    text = text.replace(
        "  dynamic_interfaces\n", "  dynamic_interfaces\n  script_user root\n  enable_script_security\n"
    )
    conf.write_text(text + "# the end\n")
    into = own / "split"
    result = CliRunner().invoke(group, ["vrrp", "--split", str(conf), "--into", str(into), "--track", "/bin/true"])
    assert (result.exit_code, result.output) == (0, f"{into}/scripts.conf\n{into}/keepalived.conf\n")
    scripts = read_scripts(str(into / "scripts.conf"), lambda line: None).scripts
    assert [(one.name, one.interval_ms, one.rise, one.fall) for one in scripts] == [
        ("chk", 2000, 2, 3),
        ("light", 1000, 1, 1),
    ]
    asking = read(read_file(str(into / "keepalived.conf")))
    assert [one.command.argv for one in asking.scripts] == [
        ("/bin/true", "script", "chk"),
        ("/bin/true", "script", "light"),
    ]
    assert asking.scripts[1].weight == -20
    assert (into / "keepalived.conf").read_text().endswith("# the end\n")
    keepalived = shutil.which("keepalived", path="/usr/sbin:/usr/bin")
    if keepalived is not None and os.geteuid() == 0:
        for name in ("scripts.conf", "keepalived.conf"):
            done = subprocess.run(
                [keepalived, "-t", "-f", into / name], capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, done.stderr
    again = CliRunner().invoke(group, ["vrrp", "--split", str(conf), "--into", str(into)])
    assert "is there already" in str(again.exception)
