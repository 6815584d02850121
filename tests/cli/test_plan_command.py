"""`risefall plan` as a person and as a program call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEYS = [
    "backend", "server", "addr", "port", "fqdn", "check", "agent", "check_kind", "check_addr", "check_port",
    "agent_addr", "agent_port", "inter_ms", "fastinter_ms", "downinter_ms", "rise", "fall", "timeout_connect_ms",
    "timeout_check_ms", "agent_inter_ms", "weight", "backup", "disabled", "track", "ssl", "file", "line",
]  # fmt: skip
TEXT = """\
defaults
    timeout connect 5s
    timeout check 1500ms
backend web
    option httpchk GET /health
    server app1 127.0.0.1:8001 check inter 2s fastinter 500ms downinter 5s rise 3 fall 4 weight 20
    server app2 127.0.0.1:8002 check port 9002 backup agent-check agent-port 7002 agent-inter 10s
    server app3 127.0.0.1:8003 track app1 disabled
    server app4 unix@/run/app.sock check
    server app5 [::1]:8005 check ssl verify none
backend named
    server app6 app.invalid:8006 check init-addr none
"""
LIMIT_S = 60


def risefall(*words: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of the program; `text` is its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "risefall", *words],
        input=text,
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def rows(*words: str, text: str = TEXT) -> dict[str, dict[str, Any]]:
    """What --json prints, by the server's name."""
    done = risefall("plan", "-f", "-", "--json", "--no-resolve", *words, text=text)
    assert (done.returncode, done.stderr) == (0, "")
    return {row["server"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_json_has_exactly_the_promised_keys() -> None:
    found = rows()
    assert list(found) == ["app1", "app2", "app3", "app4", "app5", "app6"]
    for row in found.values():
        assert list(row) == KEYS


def test_json_of_a_checked_server() -> None:
    assert rows()["app1"] == {
        "backend": "web", "server": "app1", "addr": "127.0.0.1", "port": 8001, "fqdn": None, "check": True,
        "agent": False, "check_kind": "http", "check_addr": "127.0.0.1", "check_port": 8001, "agent_addr": None,
        "agent_port": None, "inter_ms": 2000, "fastinter_ms": 500, "downinter_ms": 5000, "rise": 3, "fall": 4,
        "timeout_connect_ms": 5000, "timeout_check_ms": 1500, "agent_inter_ms": None, "weight": 20, "backup": False,
        "disabled": False, "track": None, "ssl": False, "file": "<stdin>", "line": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("app2", {"check_port": 9002, "agent": True, "agent_addr": "127.0.0.1", "agent_port": 7002,
                  "agent_inter_ms": 10_000, "backup": True, "fastinter_ms": None, "inter_ms": 2000}),
        ("app3", {"check": False, "check_kind": None, "check_addr": None, "check_port": None, "inter_ms": None,
                  "rise": None, "fall": None, "ssl": None, "track": "web/app1", "disabled": True}),
        ("app4", {"addr": "/run/app.sock", "port": None, "check_addr": "/run/app.sock", "check_port": None}),
        ("app5", {"addr": "::1", "ssl": True}),
        ("app6", {"backend": "named", "addr": None, "fqdn": "app.invalid", "port": 8006, "check_addr": None,
                  "check_port": 8006, "check_kind": "tcp"}),
    ],
)  # fmt: skip
def test_json_says_null_where_a_thing_does_not_apply(server: str, expected: dict[str, object]) -> None:
    row = rows()[server]
    assert {name: row[name] for name in expected} == expected


def test_a_name_of_this_host_is_resolved() -> None:
    done = risefall("plan", "-f", "-", "--json", text="backend b\n    server s1 localhost:80 check\n")
    row = json.loads(done.stdout)
    assert row["fqdn"] == "localhost"
    assert row["addr"] in ("127.0.0.1", "::1")
    assert row["check_addr"] == row["addr"]


def test_table() -> None:
    done = risefall("plan", "-f", "-", "--no-resolve", text=TEXT)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["server", "check", "to", "every", "rise/fall", "notes"]
    assert lines[0].split() == [
        "web/app1", "http", "127.0.0.1:8001", "2s", "fast", "500ms", "down", "5s", "3/4", "weight", "20",
    ]  # fmt: skip
    assert "tracks web/app1" in lines[2]
    assert "[::1]:8005" in lines[4]
    assert "app.invalid:8006" in lines[5]
    assert "not resolved" in lines[5]
    assert lines[-1].startswith("6 servers, 5 checked, 1 with an agent: ")
    assert "\x1b" not in done.stdout, "no colour into a pipe"


def test_errors_go_to_stderr_and_give_2(tmp_path: Path) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text("backend b\n    server s1 127.0.0.1:80 check fall 0\n    server s2 127.0.0.1:80 chek\n")
    done = risefall("plan", "-f", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path}:2:39: error: 'fall' wants a count of 1 or more, got '0'" in done.stderr
    assert f"{path}:3:28: error: unknown keyword 'chek'" in done.stderr
    assert "did you mean 'check'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_gives_2(tmp_path: Path) -> None:
    done = risefall("plan", "-f", str(tmp_path / "none.cfg"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.cfg: error: cannot be read: No such file or directory" in done.stderr


def test_warnings_leave_the_plan_alone_and_strict_refuses_them() -> None:
    text = "backend b\n    frobnicate\n    server s1 127.0.0.1:80 check\n"
    done = risefall("plan", "-f", "-", "--json", text=text)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "<stdin>:2:5: warning: unknown keyword 'frobnicate'" in done.stderr
    refused = risefall("plan", "-f", "-", "--json", "--strict", text=text)
    assert (refused.returncode, refused.stdout) == (2, "")


def test_the_version_to_imitate() -> None:
    text = "backend b\n    server s1 127.0.0.1:80 check init-state down\n"
    assert risefall("plan", "-f", "-", "--as", "3", text=text).returncode == 0
    done = risefall("plan", "-f", "-", "--as", "2.6", text=text)
    assert done.returncode == 2
    assert "'init-state' is not known to HAProxy 2.6" in done.stderr


def test_files_and_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "one.cfg").write_text("backend a\n    server s1 127.0.0.1:1 check\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "2.cfg").write_text("backend c\n    server s3 127.0.0.1:3 check\n")
    (tmp_path / "more" / "1.cfg").write_text("backend b\n    server s2 127.0.0.1:2 check\n")
    done = risefall("plan", "-f", str(tmp_path / "one.cfg"), "-f", str(tmp_path / "more"), "--json")
    assert [json.loads(line)["backend"] for line in done.stdout.splitlines()] == ["a", "b", "c"]


def test_a_wrong_option_gives_2() -> None:
    done = risefall("plan", "--jsno")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def into_closed_pipe(tmp_path: Path, form: list[str]) -> tuple[int, str]:
    """Exit code and stderr where the reader is gone before the first byte, and more comes than a pipe holds."""
    path = tmp_path / "many.cfg"
    lines = "".join(f"    server s{number} 127.0.0.1:{number} check\n" for number in range(1, 3000))
    path.write_text(f"backend b\n{lines}")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "risefall", "plan", "-f", str(path), *form],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, form: list[str]) -> None:
    assert into_closed_pipe(tmp_path, form)[1] == ""


@pytest.mark.parametrize("form", [["--json"], []])
def test_a_closed_pipe_is_no_failure(tmp_path: Path, form: list[str]) -> None:
    """1 would say that some server is down."""
    assert into_closed_pipe(tmp_path, form)[0] == 0


UNSOUND = """\
backend a
    option httpchk
    http-check expect rstring a{2,1}
    server s1 127.0.0.1:80 check
    server s2 127.0.0.1:80
backend b
    option tcp-check
    tcp-check send-lf %[nosuchfetch]
    server s3 127.0.0.1:80 check
backend c
    option tcp-check
    tcp-check connect addr elsewhere.invalid port 5
    tcp-check expect rstring ^ok
    server s4 127.0.0.1:80 check
"""


def test_rules_that_do_not_compile_are_told() -> None:
    """In JSON by a key of their own, which other servers have not, and in the summary."""
    found = rows(text=UNSOUND)
    assert {name: row.get("not_checked", "") for name, row in found.items()} == {
        "s1": "check program: refused (regex 'a{2,1}' is invalid (error=numbers out of order in {} quantifier, erroffset=5))",
        "s2": "",
        "s3": "send-lf: the fetch 'nosuchfetch' is not supported",
        "s4": "",
    }
    done = risefall("plan", "-f", "-", "--no-resolve", text=UNSOUND)
    assert "not checked: send-lf" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("4 servers, 1 checked, 2 not checked, 0 with an agent: 0.5 checks")
