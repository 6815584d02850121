"""The plan of real configurations against what haproxy 2.6 itself says of every server.

Each file is run by haproxy in a network namespace that has nothing but lo. risefall reads the file as it is; since 2.6
refuses most files of the field, haproxy gets a copy that is mended without touching a server: a last line feed, `bind`
lines for addresses in section lines, and the lines gone that its own alerts name. Takes some seconds in real time.
"""

from __future__ import annotations

import csv
import io
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from haproxy_kit import stop, want_haproxy
from risefall.config.haproxy import PlannedServer, plan, read
from risefall.config.haproxy.model import Address, Family
from risefall.config.text import Source

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "haproxy"
FILES = sorted(CORPUS.glob("*.cfg"))
COMPARED_MIN = 30
MENDS_MAX = 12
START_S = 15.0
POLL_S = 0.02
ALERT = re.compile(r"\[ALERT\].*?(?:parsing )?\[([^\]:]+):(\d+)\]")
SECTION_ADDRESS = re.compile(r"^(\s*(?:listen|frontend)\s+\S+)\s+((?!from\b)\S+)\s*$", re.MULTILINE)
OWN_PLACES = re.compile(r"^\s*(chroot|stats\s+socket|pidfile|user|group|uid|gid)\b.*$", re.MULTILINE)
"""Of the machine that the file was written for; none of them says anything of a server."""
STATS_SOCKET = re.compile(r"^\s*stats\s+socket\b", re.MULTILINE)
KEPT = re.compile(r"\s*(server|default-server|server-template|backend|listen|frontend|defaults|global)\b")


def isolated(argv: list[str]) -> list[str]:
    """A command in a network namespace of its own, where the addresses of others may be bound, but lead nowhere."""
    setup = 'ip link set lo up && echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind && exec "$@"'
    return ["unshare", "--net", "sh", "-c", setup, "sh", *argv]


@pytest.fixture(scope="module", autouse=True)
def _haproxy() -> None:
    want_haproxy()
    if subprocess.run(isolated(["true"]), capture_output=True, check=False).returncode:
        pytest.skip("needs a network namespace of its own, which only root may make")


class Refused(Exception):
    """haproxy 2.6 does not run the file, not even mended."""


def mend(text: str, folder: Path) -> Path:
    """A copy that haproxy 2.6 takes. Raises Refused with its words."""
    text = OWN_PLACES.sub("#", SECTION_ADDRESS.sub(r"\1\n    bind \2", text))
    lines = (text + ("" if text.endswith("\n") else "\n")).splitlines()
    path = folder / "haproxy.cfg"
    for _ in range(MENDS_MAX):
        path.write_text("\n".join(lines) + "\n", errors="surrogateescape")
        done = subprocess.run(
            isolated(["haproxy", "-c", "-dr", "-f", str(path)]),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode in (0, 2):
            return path
        bad = {int(line) for name, line in ALERT.findall(done.stderr) if name == str(path)}
        bad = {line for line in bad if not KEPT.match(lines[line - 1])}
        if not bad:
            raise Refused(next((line for line in done.stderr.splitlines() if "ALERT" in line), done.stderr[-300:]))
        for line in bad:
            lines[line - 1] = "#"
    raise Refused("too much to mend")


def ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: client.recv(65536), b"")).decode("utf-8", "surrogateescape")


def answers(path: Path) -> bool:
    """Whether somebody listens there already."""
    try:
        return "Uptime" in ask(path, "show info")
    except OSError:
        return False


Rows = dict[tuple[str, str], list[dict[str, str]]]


def said_by_haproxy(config: Path, folder: Path, *, socket_first: bool) -> tuple[Rows, Rows]:
    """Rows of `show servers state` and of `show stat` by backend and server; names may stand twice.

    socket_first: the stats socket, which counts as a proxy, comes before those of the file, else behind them.
    """
    sock = folder / "stats.sock"
    extra = folder / "extra.cfg"
    extra.write_text(f"global\n    stats socket {sock} level admin\n")
    first, second = (extra, config) if socket_first else (config, extra)
    argv = isolated(["haproxy", "-db", "-dr", "-n", "100", "-f", str(first), "-f", str(second)])
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + START_S
        while not answers(sock):
            if process.poll() is not None or time.monotonic() > end:
                raise Refused(output.read_text(errors="replace")[-300:])
            time.sleep(POLL_S)
        _, head, *lines = ask(sock, "show servers state").splitlines()
        columns = head.removeprefix("# ").split()
        states: Rows = {}
        for line in filter(None, lines):
            row = dict(zip(columns, line.split(" "), strict=False))
            states.setdefault((row["be_name"], row["srv_name"]), []).append(row)
        stats: Rows = {}
        for row in csv.DictReader(io.StringIO(ask(sock, "show stat -1 4 -1").removeprefix("# "))):
            if row["pxname"]:
                stats.setdefault((row["pxname"], row["svname"]), []).append(row)
        return states, stats
    finally:
        stop(process)


def shown(address: Address | None) -> str:
    """As `show servers state` shows an address: `-` for none, a UNIX socket, or a name that nobody could look up."""
    numeric = address is not None and address.family in (Family.IPV4, Family.IPV6)
    return address.host if address is not None and numeric else "-"


def as_state(server: PlannedServer) -> dict[str, str]:
    """What the plan says, in the columns of `show servers state`."""
    address, settings = server.config.address, server.config.settings
    inet = address.family in (Family.IPV4, Family.IPV6, Family.NAME)
    return {
        "be_id": str(server.proxy.id),
        "srv_id": str(server.config.id),
        "srv_addr": shown(address),
        "srv_port": str(max(0, address.port)) if inet and not address.mapped else "0",
        "srv_fqdn": address.host if address.family is Family.NAME else "-",
        "srv_iweight": str(server.weight),
        "srv_use_ssl": str(int(settings.ssl)),
        "configured": str(int(server.check)),
        "agent": str(int(server.agent)),
        "cmaint": str(int(settings.disabled)),
        "srv_check_port": str(settings.port),
        "srv_check_addr": shown(settings.addr),
        "srv_agent_addr": shown(settings.agent_addr or settings.addr),
        "srv_agent_port": str(settings.agent_port or settings.port),
    }


def theirs_as_state(row: dict[str, str]) -> dict[str, str]:
    wanted = {
        name: row[name]
        for name in ("be_id", "srv_id", "srv_addr", "srv_port", "srv_fqdn", "srv_iweight", "srv_use_ssl")
    }
    wanted |= {name: row[name] for name in ("srv_check_port", "srv_check_addr", "srv_agent_addr")}
    agent = int(row["srv_agent_state"])
    return wanted | {
        "configured": str(int(row["srv_check_state"]) >> 1 & 1),
        "agent": str(agent >> 1 & 1),
        "cmaint": str(int(row["srv_admin_state"]) >> 2 & 1),
        "srv_agent_port": row["srv_agent_port"],
    }


def as_stat(server: PlannedServer) -> dict[str, str]:
    """What the plan says, in columns of `show stat`."""
    checked = server.check and not server.disabled
    return {
        "weight": str(server.weight),
        "act": str(int(not server.backup)),
        "bck": str(int(server.backup)),
        "check_rise": str(server.rise) if server.check else "",
        "check_fall": str(server.fall) if server.check else "",
        "tracked": f"{server.track.backend}/{server.track.server}" if server.track else "",
        "checked": str(int(checked)),
    }


def theirs_as_stat(row: dict[str, str]) -> dict[str, str]:
    names = ("weight", "act", "bck", "check_rise", "check_fall", "tracked")
    return {name: row[name] for name in names} | {"checked": str(int(bool(row["check_status"])))}


@pytest.mark.skipif(not FILES, reason="the configurations of the field are not beside this checkout")
def test_plans_are_what_haproxy_says(tmp_path: Path) -> None:
    """Names, ids of proxies and servers, addresses, ports, weights, counts and kinds of every server of every file."""
    refused: dict[str, str] = {}
    different: list[str] = []
    for number, path in enumerate(FILES):
        folder = tmp_path / str(number)  # short, for the path of the socket
        folder.mkdir()
        text = path.read_text(errors="surrogateescape")
        planned = plan(read([Source(path.name, text)], dialect="2.6", env=dict(os.environ)))
        try:
            own = bool(STATS_SOCKET.search(text))
            states, stats = said_by_haproxy(mend(text, folder), folder, socket_first=own)
        except Refused as why:
            refused[path.name] = str(why)
            continue
        ours: dict[tuple[str, str], list[PlannedServer]] = {}
        for server in planned:
            ours.setdefault((server.proxy.name, server.config.name), []).append(server)
        if ours.keys() != states.keys():
            different.append(f"{path.name}: servers {sorted(ours.keys() ^ states.keys())}")
            continue
        for key, servers in ours.items():
            told = stats.get(key, [{}] * len(servers))
            for server, row, stat in zip(servers, states[key], told, strict=True):
                mine, theirs = as_state(server), theirs_as_state(row)
                if stat:
                    maintained = bool(int(row["srv_admin_state"]) & 0x23)
                    paused = {"checked": "0", "check_rise": "", "check_fall": ""} if maintained else {}
                    mine |= as_stat(server) | paused
                    theirs |= theirs_as_stat(stat)
                for name in mine:
                    if mine[name] != theirs[name]:
                        different.append(
                            f"{path.name}: {'/'.join(key)}: {name}: {mine[name]!r}, haproxy says {theirs[name]!r}"
                        )
    assert not different, "\n".join(different)
    reasons = "\n".join(f"{name}: {why}" for name, why in refused.items())
    assert len(FILES) - len(refused) >= COMPARED_MIN, f"haproxy 2.6 does not run, even mended:\n{reasons}"
