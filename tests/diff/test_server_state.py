"""HAProxy's server-state file, given to haproxy 2.6 and to risefall: the same servers come of it, and the same words."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haproxy_kit import needs_haproxy
from risefall.errors import PeerLost
from risefall.surfaces.client import Client

DEADLINE_S = 20.0
UNCHECKED = "1"
"""srv_check_status before the first check."""
SAID = re.compile(r"server[ -]state| server '|Server b|mismatch")
HEAD = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr "
    "srv_agent_port\n"
)
VALUES = {
    "op": "2", "admin": "0", "uw": "1", "iw": "1", "since": "100", "status": "15", "result": "3", "health": "4",
    "check": "6", "agent": "0", "addr": "127.0.0.1", "fqdn": "-", "port": "1", "check_port": "0", "check_addr": "-",
    "agent_addr": "-", "agent_port": "0",
}  # fmt: skip
pytestmark = needs_haproxy


def row(server: str, backend: str = "b", **values: object) -> str:
    """One line of a state file."""
    v = {name: str(value) for name, value in {**VALUES, **values}.items()}
    assert v.keys() == VALUES.keys()
    return (
        f"2 {backend} 1 {server} {v['addr']} {v['op']} {v['admin']} {v['uw']} {v['iw']} {v['since']} {v['status']} "
        f"{v['result']} {v['health']} {v['check']} {v['agent']} 0 0 {v['fqdn']} {v['port']} - 0 {v['check_port']} "
        f"{v['check_addr']} {v['agent_addr']} {v['agent_port']}\n"
    )


def config(folder: Path, body: str, load: str = "global") -> str:
    return (
        f"global\n  stats socket {folder}/s.sock level admin\n  server-state-file {folder}/state\n"
        f"  server-state-base {folder}\ndefaults\n  timeout connect 1s\n  timeout server 1s\n  timeout client 1s\n"
        f"  load-server-state-from-file {load}\n{body}"
    )


def outcome(name: str, folder: Path, text: str, state: str | None) -> tuple[list[str], dict[str, str], list[str]]:
    """Rows of `show servers state` (ages to ten seconds), statuses, and what was said of the state file."""
    folder.mkdir(exist_ok=True)
    (folder / "c.cfg").write_text(text)
    if state is not None:
        (folder / "state").write_text(state)
    commands = {
        "haproxy": ["haproxy", "-db", "-f", str(folder / "c.cfg")],
        "risefall": [
            sys.executable, "-m", "risefall", "run", "--as", "2.6", "-f", str(folder / "c.cfg"), "--socket",
            str(folder / "s.sock"),
        ],
    }  # fmt: skip
    error = folder / f"{name}.err"
    with error.open("wb") as stderr:
        process = subprocess.Popen(commands[name], stderr=stderr, stdin=subprocess.DEVNULL)
    try:
        client = connected(folder, process)
        rows = rows_at_rest(client)
        stat = client.ask("show stat -1 4 -1").text.splitlines()[1:]
    finally:
        process.terminate()
        process.wait(10)
    said = [line for line in error.read_text().splitlines() if SAID.search(line) and "Layer" not in line]
    return (
        [aged(line) for line in rows if line],
        {line.split(",")[1]: " ".join(line.split(",")[17:21]) for line in stat if line},
        [
            re.sub(r"^\[[A-Z]+\] *\(\d+\) : (config : )?|^risefall: ", "", line).replace(str(folder), "F")
            for line in said
        ],
    )


def rows_at_rest(client: Client) -> list[str]:
    """The rows once the server in front, if there is one, has been checked: HAProxy has done so before it answers."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        rows = client.ask("show servers state").text.splitlines()[2:]
        if not any(" first " in line and line.split()[10] == UNCHECKED for line in rows):
            return rows
        assert time.monotonic() < deadline
        time.sleep(0.01)


def aged(line: str) -> str:
    words = line.split()
    words[9] = str(int(words[9]) // 10 * 10)
    return " ".join(words)


def connected(folder: Path, process: subprocess.Popen[bytes]) -> Client:
    client = Client(str(folder / "s.sock"))
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            client.ask("show info")
        except PeerLost:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return client


# The server in front takes the stagger's beginning and is checked at once; the others are not for minutes: of them only the file speaks.
FIRST = "  server first 127.0.0.1:1 check inter 600s\n"
TAIL = "127.0.0.1:1 check inter 600s"


def compare(tmp_path: Path, body: str, state: str | None, load: str = "global", *, lines: bool = True) -> Iterator[str]:
    """Asserts that both say the same; yields what was said."""
    both = {
        name: outcome(name, tmp_path / name, config(tmp_path / name, body, load), state)
        for name in ("haproxy", "risefall")
    }
    assert both["risefall"][0] == both["haproxy"][0]
    assert both["risefall"][1] == both["haproxy"][1]
    if lines:
        assert sorted(both["risefall"][2]) == sorted(both["haproxy"][2])
    yield from both["haproxy"][2]


ROWS = {
    "running": {},
    "running low": {"health": 2},
    "stopped": {"op": 0, "health": 0, "result": 2, "status": 8},
    "stopped high": {"op": 0, "health": 1},
    "stopping": {"op": 3, "health": 3},
    "stopping low": {"op": 3, "health": 0},
    "maintenance": {"op": 0, "admin": 1, "health": 0},
    "drained": {"admin": 8},
    "was disabled in the file": {"op": 0, "admin": 5, "health": 0},
    "inherited maintenance": {"op": 0, "admin": 2},
    "unresolved": {"op": 0, "admin": 32},
    "weight": {"uw": 7},
    "weight of another file": {"uw": 7, "iw": 5},
    "weight 0": {"uw": 0},
    "drained by weight": {"admin": 8, "uw": 0, "iw": 0},
    "check off": {"check": 2},
    "address": {"addr": "127.0.0.9", "port": 99},
    "check port": {"check_port": 9},
    "check address": {"check_addr": "127.0.0.8"},
    "status 0": {"status": 0, "result": 0, "health": 0},
    "bad status": {"status": 99},
    "bad op": {"op": 9},
    "bad admin": {"admin": 9},
    "bad weight": {"uw": "x"},
    "bad initial weight": {"iw": 300},
    "bad port": {"port": 99999},
    "bad result": {"result": 9},
    "bad check state": {"check": 99},
    "health out of range": {"health": 99},
}


def test_every_row(tmp_path: Path) -> None:
    """All of them at once: a server each, and no check for minutes."""
    names = {name: name.replace(" ", "_") for name in ROWS}
    body = "backend b\n" + "".join(f"  server {name} {TAIL}\n" for name in ["first", *names.values()])
    state = HEAD + "".join(row(names[name], **values) for name, values in ROWS.items())
    said = list(compare(tmp_path, body, state))
    assert "Server b/stopped is DOWN, changed from server-state after a reload. 29 active" in "\n".join(said)
    assert "server-state application failed for server 'b/bad_op', invalid srv_op_state value '9'" in said


ODD = {
    "op": ["-1", "4", "x", "2x", "0x1", "+2", "99999999999999999999"],
    "admin": ["3", "9", "12", "13", "16", "33", "36", "40", "64", "65", "127", "128", "x", "-1", "-"],
    "uw": ["256", "257", "-1", "1x", "x", "-"],
    "iw": ["256", "300", "-1", "x", "0"],
    "since": ["0", "x", "100x", "1000000"],
    "status": ["-", "20", "21", "22", "x", "4", "3"],
    "result": ["-1", "5", "x"],
    "health": ["-1", "99", "x", "3x"],
    "check": ["-1", "31", "32", "x", "0", "3", "14"],
    "agent": ["-1", "31", "32", "x", "18"],
    "fqdn": ["localhost", "a_b.test", "foo/bar", "-x"],
    "addr": ["-", "::1", "localhost", "999.1.1.1", "/tmp/x", "x.y"],
    "port": ["0", "65535", "65536", "x", "-", "-1", "+1", "7x"],
    "check_port": ["65535", "65536", "x", "-", "-1", "7x"],
    "check_addr": ["::1", "0.0.0.0", "x.y", "/tmp/x"],
    "agent_port": ["5", "x", "65536", "-"],
    "agent_addr": ["127.0.0.7", "::1", "x.y"],
}  # fmt: skip


@pytest.mark.parametrize("agent", ["", " agent-check agent-port 1 agent-inter 600s"])
def test_odd_values(tmp_path: Path, agent: str) -> None:
    """One server for each value that a hand may have written, or a program that is none of HAProxy's."""
    cases = {f"{name}_{number}": {name: value} for name, values in ODD.items() for number, value in enumerate(values)}
    cases["several"] = {"op": "x", "uw": "999", "port": "65536", "health": "y"}
    cases["drained_otherwise"] = {"admin": "8", "iw": "7"}
    body = "backend b\n" + "".join(f"  server {name} {TAIL}{agent}\n" for name in ["first", *cases])
    said = list(compare(tmp_path, body, HEAD + "".join(row(name, **values) for name, values in cases.items())))
    assert (
        "server-state application failed for server 'b/several', invalid srv_op_state value 'x', "
        "invalid srv_uweight value '999', invalid srv_check_health value 'y', invalid srv_port value '65536'"
    ) in said
    assert "Server b/drained_otherwise remains in forced drain mode." in said
    assert ("server-state partially applied for server 'b/agent_addr_2', invalid addr 'x.y'" in said) is bool(agent)


KINDS = {
    "plain": "127.0.0.1:1",
    "checked": TAIL,
    "once": f"{TAIL} rise 1 fall 1",
    "often": f"{TAIL} rise 3 fall 5",
    "slow": f"{TAIL} slowstart 600s",
    "slowly_off": f"{TAIL} slowstart 600s disabled",
    "off": f"{TAIL} disabled",
    "backup": f"{TAIL} backup",
    "drained": f"{TAIL} weight 0",
    "heavy": f"{TAIL} weight 10",
    "named": "localhost:1 check inter 600s",
    "tracker": "127.0.0.1:1 track b/checked0",
}


@pytest.mark.parametrize("balance", ["roundrobin", "source"])
def test_every_state_of_every_kind(tmp_path: Path, balance: str) -> None:
    """Operational and administrative states, weights and counters of servers that are not all alike."""
    states: list[dict[str, object]] = [
        {"op": op, "admin": admin, "health": health}
        for op, health in ((0, 0), (1, 1), (2, 4), (3, 2))
        for admin in (0, 1, 4, 5, 8, 12)
    ]
    states += [{"uw": 0}, {"uw": 7}, {"iw": 10, "uw": 5}, {"iw": 0, "uw": 0, "admin": 8}, {"iw": 0, "uw": 0}]
    states += [{"addr": "127.0.0.9", "fqdn": "localhost"}, {"addr": "127.0.0.9"}]
    body, state = f"backend b\n  balance {balance}\n{FIRST}", HEAD
    for kind, words in KINDS.items():
        for number, values in enumerate(states):
            body += f"  server {kind}{number} {words}\n"
            # HAProxy keeps what a row says of a check that is not there
            seen = {"status": 1, "result": 0} if kind in ("plain", "tracker") else {}
            state += row(f"{kind}{number}", **{**values, **seen})
    list(compare(tmp_path, body, state))


def test_disabled_now_and_then(tmp_path: Path) -> None:
    body = f"backend b\n{FIRST}  server same {TAIL} disabled\n  server enabled {TAIL} disabled\n  server new {TAIL} disabled\n"
    state = HEAD + row("same", op=0, admin=5) + row("enabled", admin=4) + row("new")
    list(compare(tmp_path, body, state, lines=False))


def test_agents(tmp_path: Path) -> None:
    agent = "agent-check agent-port 1 agent-inter 600s"
    body = f"backend b\n  server first {TAIL} {agent}\n  server on {TAIL} {agent}\n  server off {TAIL} {agent}\n"
    state = HEAD + row("on", agent=22, agent_port=5, agent_addr="127.0.0.7") + row("off", agent=18)
    list(compare(tmp_path, body, state))


@pytest.mark.parametrize(
    "state",
    [
        None,
        "",
        HEAD.replace("1\n", "2\n", 1) + row("s", op=0),
        "1\nfoo bar\n\n",
        HEAD + row("s", op=0).rstrip("\n"),
        HEAD + " ".join(row("s", op=0).split()[:20]) + "\n",
        HEAD + row("s", op=0).rstrip("\n") + " 1 2 3\n",
        HEAD + row("s", op=0) + row("s"),
        HEAD + row("other", op=0) + row("s", backend="zz", op=0),
        HEAD + row("s", op=0) + "garbage\n",
        HEAD + row("s", op=0) + row("s", op=3).rstrip("\n"),
        HEAD + "  \n\t# a comment\n \t" + row("s", op=0).replace(" ", " \t "),
        HEAD + row("s", op=0).rstrip("\n") + "\r\n",
        HEAD + row("s", op=0).replace(" ", "\x0b", 1),
        HEAD + "#" * 1990 + "\n" + row("s", op=0),
        HEAD + "#" * 2100 + "\n" + row("s", op=0),
        " +01\n" + row("s", op=0),
        "1 \n" + row("s", op=0),
        "1",
        "\n1\n" + row("s", op=0),
    ],
    ids=[
        "none",
        "empty",
        "version",
        "garbage",
        "cut",
        "short",
        "long",
        "twice",
        "unknown",
        "garbage-later",
        "cut-later",
        "blanks",
        "carriage",
        "other-blank",
        "long-comment",
        "too-long",
        "odd-version",
        "version-blank",
        "version-cut",
        "no-version",
    ],
)
def test_files(tmp_path: Path, state: str | None) -> None:
    list(compare(tmp_path, f"backend b\n{FIRST}  server s {TAIL}\n", state))


@pytest.mark.parametrize("name", ["", "use-backend-name", "other", "missing"])
def test_a_file_for_each_backend(tmp_path: Path, name: str) -> None:
    line = f"  server-state-file-name {name}\n" if name else ""
    for program in ("haproxy", "risefall"):
        (tmp_path / program).mkdir()
        (tmp_path / program / "b").write_text(HEAD + row("s", op=0))
        (tmp_path / program / "other").write_text(HEAD + row("s", admin=1, op=0))
    list(compare(tmp_path, f"backend b\n{line}{FIRST}  server s {TAIL}\n", HEAD, "local"))


def test_rows_of_other_ids(tmp_path: Path) -> None:
    """In a file of its own a backend looks at ids as well."""
    own = HEAD + "".join(
        [
            row("id", op=0).replace("2 b", "9 b", 1),
            row("name", op=0).replace("2 b", "2 zz", 1),
            row("forced", op=0).replace("2 b", "2 zz", 1).replace(" 0 0 - ", " 1 0 - ", 1),  # is no help
            row("neither", op=0).replace("2 b", "9 zz", 1),
            row("gone", op=0),
            row("twice", op=0),
            row("twice", op=3),
        ]
    )
    for program in ("haproxy", "risefall"):
        (tmp_path / program).mkdir()
        (tmp_path / program / "b").write_text(own)
    names = ("id", "name", "forced", "neither", "twice")
    body = f"backend b\n{FIRST}" + "".join(f"  server {name} {TAIL}\n" for name in names)
    said = list(compare(tmp_path, body, HEAD, "local"))
    assert "Proxy 'b': can't find server 'gone' in backend 'b'" in said
    assert len([line for line in said if "mismatch" in line]) == 3


def test_not_asked_for(tmp_path: Path) -> None:
    list(compare(tmp_path, f"backend b\n{FIRST}  server s {TAIL}\n", HEAD + row("s", op=0), "none"))
