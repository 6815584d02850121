"""`risefall vrrp`: the tables, the objects, the verdict."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from risefall.cli.main import group

TEXT = """vrrp_script chk {
    script "/usr/bin/test -e /run/ok"
    weight -20
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    priority 110
    virtual_ipaddress {
        10.0.0.1
    }
    track_script {
        chk
    }
}
virtual_server 10.0.0.1 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 10.0.0.2 80 {
        TCP_CHECK {
        }
    }
}
"""


def write(folder: Path, text: str = TEXT) -> str:
    path = folder / "keepalived.conf"
    path.write_text(text)
    return str(path)


def test_tables(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["vrrp", "--plan", "-f", write(tmp_path)], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for word in ("/usr/bin/test -e /run/ok", "chk -20", "10.0.0.1/32", "TCP_CHECK", "1 after 1s", "1s to 61s"):
        assert word in result.output


def test_objects(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["vrrp", "--plan", "--json", "-f", write(tmp_path)])
    found = [json.loads(line) for line in result.output.splitlines()]
    assert [one["kind"] for one in found] == ["script", "instance", "virtual_server"]
    assert found[1]["track_scripts"][0]["weight"] == -20


def test_check_config(tmp_path: Path) -> None:
    path = write(tmp_path)
    result = CliRunner().invoke(group, ["vrrp", "--check-config", "-f", path])
    assert (result.exit_code, result.output) == (0, f"{path}: valid\n")


def test_errors_and_their_warnings_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT.replace("virtual_router_id 51", "virtual_router_id 300"))
    result = CliRunner().invoke(group, ["vrrp", "--check-config", "-f", path])
    assert result.exit_code != 0
    assert "VRID '300' not valid" in result.output
    assert "the virtual router id must be set" in str(result.exception)


def test_executable_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    Path(path).chmod(0o755)
    result = CliRunner().invoke(group, ["vrrp", "-f", path])
    assert "not a regular non-executable file" in str(result.exception)
