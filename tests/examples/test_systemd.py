"""The unit files are sound, as systemd itself judges them, and say what `risefall run` does."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from risefall.cli.main import COMMANDS

FOLDER = Path(__file__).parents[2] / "examples" / "systemd"
SERVICE = (FOLDER / "risefall.service").read_text()


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    files = []
    for source in FOLDER.iterdir():
        path = tmp_path / source.name
        path.write_text(source.read_text().replace("/usr/local/bin/risefall", "/bin/true"))
        files.append(str(path))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False, timeout=60
    )
    told = [line for line in done.stderr.splitlines() if "risefall" in line]
    assert (done.returncode, told) == (0, [])


def test_the_agents_unit_has_no_privilege_and_its_socket_is_where_ctl_looks() -> None:
    unit = (FOLDER / "risefall-agent.service").read_text()
    for line in (
        "Type=notify",
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "RuntimeDirectory=risefall",
        "Environment=RISEFALL_AGENT_SOCKET=/run/risefall/agent.sock",
    ):
        assert f"\n{line}\n" in unit
    assert "agent" in COMMANDS


def test_the_service_starts_what_there_is() -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(SERVICE)
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[1] in COMMANDS
    assert service["Environment"] == f"RISEFALL_SOCKET=/run/{service['RuntimeDirectory']}/run.sock"
    assert service["CapabilityBoundingSet"] == ""
