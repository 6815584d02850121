"""The command as a whole: help, version, exit codes, pipes; the demo; what must not be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cli_kit import risefall

ROOT = Path(__file__).parents[2]
KEYS = [
    "backend",
    "server",
    "addr",
    "port",
    "fqdn",
    "check",
    "agent",
    "check_kind",
    "check_addr",
    "check_port",
    "agent_addr",
    "agent_port",
    "inter_ms",
    "fastinter_ms",
    "downinter_ms",
    "rise",
    "fall",
    "timeout_connect_ms",
    "timeout_check_ms",
    "agent_inter_ms",
    "weight",
    "backup",
    "disabled",
    "track",
    "ssl",
    "file",
    "line",
]


def test_help_lists_every_command() -> None:
    code, out, _ = risefall("--help")
    assert code == 0
    for name in ("plan", "check", "run", "ctl", "probe", "demo"):
        assert f"  {name} " in out


def test_version() -> None:
    code, out, _ = risefall("--version")
    assert code == 0
    assert out.startswith("risefall 0.")


def test_usage_errors() -> None:
    for arguments in (["frob"], ["plan"], ["plan", "--frob"], ["run", "-f", "-", "--for", "1x"]):
        code, _, err = risefall(*arguments)
        assert (code, "Error" in err, "Traceback" in err) == (2, True, False)


def test_a_bad_configuration_is_exit_code_2() -> None:
    code, out, err = risefall("plan", "-f", "-", stdin="backend b\n  server s1 1.1.1.1:1 chek\n")
    assert (code, out) == (2, "")
    assert err.startswith("<stdin>:2:24: error: unknown keyword 'chek'") or "error: unknown keyword 'chek'" in err
    assert "Traceback" not in err


def test_plan_json() -> None:
    text = "backend b\n  option httpchk\n  server s1 10.0.0.7:80 check\n  server s2 app.invalid:81\n"
    code, out, _ = risefall("plan", "-f", "-", "--no-resolve", "--json", stdin=text)
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert list(first) == KEYS
    assert (first["check_kind"], first["check_addr"], first["check_port"], first["inter_ms"], first["ssl"]) == (
        "http", "10.0.0.7", 80, 2000, False,
    )  # fmt: skip
    assert (second["addr"], second["fqdn"], second["check_kind"], second["rise"]) == (None, "app.invalid", None, None)


def test_plan_table() -> None:
    text = "backend b\n  server s1 10.0.0.7:80 check inter 90s fastinter 500 weight 5 backup\n"
    _, out, _ = risefall("plan", "-f", "-", stdin=text)
    assert out.splitlines()[1].split() == [
        "b/s1",
        "tcp",
        "10.0.0.7:80",
        "90s",
        "fast",
        "500ms",
        "2/3",
        "backup,",
        "weight",
        "5",
    ]


def test_strict_and_warnings() -> None:
    text = "backend b\n  frobnicate\n"
    code, _, err = risefall("plan", "-f", "-", stdin=text)
    assert (code, "warning: unknown keyword 'frobnicate'" in err) == (0, True)
    code, _, err = risefall("plan", "-f", "-", "--strict", stdin=text)
    assert (code, "error: unknown keyword 'frobnicate'" in err) == (2, True)


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    path = tmp_path / "big.cfg"
    path.write_text("backend b\n" + "".join(f"  server s{i} 10.0.0.7:80 check\n" for i in range(5000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "risefall", "plan", "-f", str(path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()


def test_demo_plays_to_its_end() -> None:
    code, out, _ = risefall("demo", "--for", "4s")
    assert code == 0
    assert "Health check for server shop/sound succeeded, reason: Layer7 check passed, code: 200" in out
    assert "Backup Server cache/redis2 is DOWN" in out
    assert "6 servers, " in out.splitlines()[-2]


def test_the_example_is_the_demos_own() -> None:
    assert (ROOT / "examples/demo/haproxy.cfg").read_bytes() == (ROOT / "src/risefall/cli/demo.cfg").read_bytes()
    assert subprocess.run(["bash", "-n", str(ROOT / "examples/demo/run")], check=False).returncode == 0


def test_surfaces_know_no_engine_and_help_no_trio() -> None:
    for modules, banned in (
        ("risefall.surfaces.runtime, risefall.surfaces.syslog", "risefall.engine"),
        ("risefall.cli.main", "trio"),
    ):
        code = f"import sys, {modules}; print({banned!r} in sys.modules)"
        assert (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
        )
