"""`risefall vrrp` on virtual servers: the plan, one round against real servers on loopback, the objects, the exit code."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli_kit import risefall
from risefall.cli.main import group

CORPUS = sorted((Path(__file__).parents[2].parent / "shared" / "corpus" / "keepalived").glob("*.conf"))
HEAD = (
    "global_defs {{\n router_id t\n lvs_notify_fifo {folder}/fifo\n}}\n"
    "bfd_instance b {{\n neighbor_ip 127.0.0.9\n source_ip 127.0.0.8\n}}\n"
)
POOL = """virtual_server 10.0.0.1 80 {{
 delay_loop 6
 lb_algo rr
 lb_kind NAT
 protocol TCP
 quorum 3
 retry 2
 warmup 0
 sorry_server 127.0.0.1 8009
 quorum_down "{folder}/called.sh quorum down"
 real_server 127.0.0.1 {up} {{
  weight 2
  HTTP_GET {{
   url {{
    path /alive
   }}
  }}
 }}
 real_server 127.0.0.1 {down} {{
  notify_down "{folder}/called.sh server down"
  TCP_CHECK {{
   connect_timeout 2
  }}
 }}
 real_server 127.0.0.1 53 {{
  weight 0
  BFD_CHECK {{
   name b
  }}
 }}
 real_server 127.0.0.2 {down} {{
  MISC_CHECK {{
   misc_path "{folder}/misc.sh"
   misc_dynamic
  }}
 }}
}}
"""


@pytest.fixture
def web() -> Iterator[int]:
    """A server on loopback that says 200; its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(4096)
                        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def path(tmp_path: Path, web: int, free_port: int) -> str:
    for name, text in (("misc.sh", "exit 9"), ("called.sh", f'echo "$@" >> {tmp_path}/calls')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    file = tmp_path / "keepalived.conf"
    file.write_text((HEAD + POOL).format(folder=tmp_path, up=web, down=free_port))
    return str(file)


def test_the_plan(path: str, free_port: int) -> None:
    result = CliRunner().invoke(group, ["vrrp", "--plan", "-f", path], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in (
        "[10.0.0.1]:tcp:80  rr NAT   3 of 4  sorry server [127.0.0.1]:tcp:8009, quorum_down calls",
        "HTTP_GET /alive",
        "2 after 3s",
        "not checked: BFD is not spoken",
    ):
        assert words in result.output


def test_the_plan_as_objects(path: str) -> None:
    result = CliRunner().invoke(group, ["vrrp", "--plan", "--json", "-f", path])
    _, one = [json.loads(line) for line in result.output.splitlines()]  # behind the bfd
    assert (one["kind"], one["quorum"], one["name"]) == ("virtual_server", 3, "[10.0.0.1]:tcp:80")
    checkers = {checker["kind"]: checker for real in one["real_servers"] for checker in real["checkers"]}
    assert checkers["BFD_CHECK"]["why_not"] == "BFD is not spoken"
    assert (checkers["HTTP_GET"]["retry"], checkers["HTTP_GET"]["why_not"]) == (2, "")


def test_one_round(path: str, web: int, free_port: int) -> None:
    code, out, _err = risefall("vrrp", "-f", path, "--once", "--json")
    assert code == 1
    found = [json.loads(line) for line in out.splitlines()]
    lines = [one["text"] for one in found if one["kind"] == "log"]
    notified = [one["text"] for one in found if one["kind"] == "notify"]
    assert f"TCP_CHECK on service [127.0.0.1]:tcp:{free_port} failed." in lines
    assert f"Remote Web server [127.0.0.1]:tcp:{web} succeed on service." in lines
    assert any(text.endswith("called.sh server down") for text in notified)
    pool = found[-1]
    states = {one["name"]: (one["state"], one["checked"], one["weight"]) for one in pool["servers"]}
    assert (pool["kind"], pool["quorum"], pool["weight"], pool["sorry_active"]) == ("virtual_server", "UP", 9, False)
    assert states == {
        f"[127.0.0.1]:tcp:{web}": ("UP", True, 2),
        f"[127.0.0.1]:tcp:{free_port}": ("DOWN", True, 1),
        "[127.0.0.1]:tcp:53": ("UP", False, 0),
        f"[127.0.0.2]:tcp:{free_port}": ("UP", True, 7),
    }


def test_it_shows_a_table(path: str, web: int) -> None:
    code, out, _ = risefall("vrrp", "-f", path, "--once")
    assert code == 1
    for words in ("[10.0.0.1]:tcp:80  UP", "passed (200)", "UP, not checked", "7 (of 1)", "BFD is not spoken"):
        assert words in out


def test_healthy_is_0(tmp_path: Path, web: int) -> None:
    text = HEAD.format(folder=tmp_path) + POOL.format(folder=tmp_path, up=web, down=web)
    start = text.index(" real_server 127.0.0.2")
    file = tmp_path / "k.conf"
    file.write_text(text[:start] + "}\n")
    assert risefall("vrrp", "-f", str(file), "--once")[0] == 0


def test_with_notify_it_calls(path: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "risefall", "vrrp", "-f", path, "--notify", "--json"], stdout=subprocess.DEVNULL
    )
    calls = tmp_path / "calls"
    deadline = time.monotonic() + 30
    try:
        while not (calls.exists() and "server down" in calls.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1


@pytest.mark.skipif(not CORPUS, reason="the configurations of the field are not beside this checkout")
def test_those_of_the_field_are_planned() -> None:
    """Never contacted: only their plan is made."""
    seen = 0
    for one in CORPUS:
        if "virtual_server" not in one.read_text(errors="replace"):
            continue
        result = CliRunner().invoke(group, ["vrrp", "--plan", "--json", "-f", str(one)])
        assert result.exit_code == 0, one
        seen += sum('"kind":"virtual_server"' in line for line in result.stdout.splitlines())
    assert seen >= 5
