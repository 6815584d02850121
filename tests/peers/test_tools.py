"""Programs that nobody here wrote, unchanged, on risefall's socket; the same is expected of them on haproxy's.

Those that want the statistics page over HTTP (check_haproxy, munin's haproxy_ and haproxy_ng) are left out: no page yet.
"""

from __future__ import annotations

import csv
import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from haproxyadmin import haproxy as haproxyadmin
from haproxyadmin.exceptions import CommandFailed

from peers_kit import Missing, held_port, program, until
from risefall.engine.play import OK, Player
from tools_kit import ServedApi, Terminal, api_of, ended, output, shell

F1, F8, F9, F10, DOWN, ESCAPE = "\x1b[[A", "\x1b[19~", "\x1b[20~", "\x1b[21~", "\x1b[B", "\x1b"
"""Keys of the terminal `linux`."""

Apis = dict[str, ServedApi]


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[int, int]]:
    """A port that answers 200, and one that refuses."""
    with Player(listeners=16, connections=256) as player, held_port() as closed:
        yield player.listen("127.0.0.1", 0, OK)[1], closed.getsockname()[1]


@pytest.fixture(scope="module", params=["risefall", "haproxy"])
def api(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, places: tuple[int, int]
) -> Iterator[ServedApi]:
    """Each of the two; what a test changes, it takes back."""
    up, down = places
    try:
        with api_of(request.param, tmp_path_factory.mktemp("tools"), up=up, down=down) as one:
            yield one
    except Missing as error:
        pytest.skip(str(error))


def have(name: str) -> None:
    """Skips where a program is not installed."""
    try:
        program(name, "/usr/lib/nagios/plugins")
    except Missing as error:
        pytest.skip(str(error))


# --- one-liners -----------------------------------------------------------------------------------


def test_socat_and_cut(api: ServedApi) -> None:
    """The line of every handbook."""
    have("socat")
    told = shell(f"echo 'show stat' | socat stdio unix-connect:{api.path} | cut -d, -f1,2,18")
    assert told.splitlines()[0] == "# pxname,svname,status"
    assert {"app,ap01,UP", "app,dead,DOWN", "app,BACKEND,UP", "other,w1,no check", "front,FRONTEND,OPEN"} <= set(
        told.splitlines()
    )


def test_nc_and_the_columns_of_the_field(api: ServedApi) -> None:
    have("nc")
    told = shell(f"echo 'show stat -1 4 -1' | nc -U {api.path} | cut -d, -f2,18")
    assert told.splitlines() == ["svname,status", "ap01,UP", "ap02,UP", "dead,DOWN", "w1,no check", "ap01,UP",
                                 "dead,DOWN", ""]  # fmt: skip


def test_the_fields_commands_by_socat(api: ServedApi) -> None:
    """`disable server`, `enable server`, `set weight`, as the field's scripts say them; nothing is answered but a line feed."""
    have("socat")
    for command, status, weight in (
        ("disable server app/ap01", "MAINT", "10"),
        ("enable server app/ap01", "UP", "10"),
        ("set weight app/ap01 0%", "UP", "0"),
        ("set weight app/ap01 100%", "UP", "10"),
    ):
        assert shell(f"echo '{command}' | socat stdio unix-connect:{api.path}") == "\n"
        until(lambda status=status: api.column("status")["app/ap01"] == status, f"{command}: {status}")  # type: ignore[misc]
        assert api.column("weight")["app/ap01"] == weight


def test_a_chain_by_socat_on_several_lines(api: ServedApi) -> None:
    have("socat")
    told = shell(f"printf 'get weight app/ap01; show version\\nshow backend\\n' | socat - UNIX-CONNECT:{api.path}")
    assert told.startswith("10 (initial 10)\n\n")
    assert told.endswith("\n# name\napp\nother\nbroken\n\n")


def test_awk_by_column_name(api: ServedApi) -> None:
    """How careful scripts find a column, as telegraf's and datadog's readers do it by the header."""
    have("socat")
    script = (
        'NR==1 {sub(/^# /, ""); for (i = 1; i <= NF; i++) at[$i] = i; next} '
        'NF > 1 && $at["type"] == 2 {print $at["pxname"] "/" $at["svname"], $at["check_status"]}'
    )
    told = shell(f"echo 'show stat' | socat stdio {api.path} | awk -F, '{script}'").replace("* ", "")
    assert told.splitlines() == ["app/ap01 L7OK", "app/ap02 L7OK", "app/dead L4CON", "other/w1 ", "other/ap01 L4OK",
                                 "broken/dead L4CON"]  # fmt: skip


def test_the_readers_of_agents(api: ServedApi) -> None:
    """What telegraf's and datadog's plugins rely on: as many fields as names, numbers where they read numbers."""
    rows = list(csv.reader(api.ask("show stat").removeprefix("# ").splitlines()))
    names, body = rows[0], [row for row in rows[1:] if row]
    assert {len(row) for row in body} <= {len(names)}
    texts = {"pxname", "svname", "status", "check_status", "last_chk", "check_desc", "addr", "mode", "algo", "cookie",
             "last_agt", "agent_status", "agent_desc", "tracked", "proto", "-", ""}  # fmt: skip
    for row in body:
        assert all(re.fullmatch(r"-?\d*", value) for name, value in zip(names, row, strict=True) if name not in texts)
    facts = dict(line.split(": ", 1) for line in api.ask("show info").splitlines() if line)
    assert facts["Name"] == "HAProxy"
    assert int(facts["Uptime_sec"]) >= 0
    assert re.fullmatch(r"\d+d \d+h\d\dm\d\ds", facts["Uptime"])


def test_json_against_the_schema(api: ServedApi) -> None:
    """As a client generated from `show schema json` reads it."""
    definitions = json.loads(api.ask("show schema json"))["definitions"]
    types = definitions["typedValue"]["definitions"]
    for command in ("show stat json", "show info json"):
        told = json.loads(api.ask(command))
        for item in told if command == "show info json" else [item for row in told for item in row]:
            assert set(item["field"]) == set(definitions["field"]["required"])
            assert all(word in definitions["tags"][key]["enum"] for key, word in item["tags"].items())
            kind = types[f"{item['value']['type']}Value"]["properties"]["value"]
            assert isinstance(item["value"]["value"], {"string": str, "integer": int}[kind["type"]])


# --- monitoring -----------------------------------------------------------------------------------


def test_debians_check_haproxy_stats(api: ServedApi) -> None:
    """Of monitoring-plugins-contrib: 2 with a server down, 0 for a proxy that is sound, 2 for one in MAINT unless told."""
    have("check_haproxy_stats")
    words = ("check_haproxy_stats", "-s", str(api.path))
    done = ended(*words)
    assert done.returncode == 2
    told = r"Check haproxy CRITICAL - server: app:dead is DOWN( \(check status: connection error\))?; "  # none while one runs
    assert re.search(told, done.stdout), done.stdout
    assert "BACKEND: broken is DOWN; " in done.stdout
    assert output(*words, "-p", "other").startswith("Check haproxy OK - checked proxies: other|")
    api.ask("set server other/ap01 state maint")
    try:
        assert ended(*words, "-p", "other").returncode == 2
        assert output(*words, "-p", "other", "-m").startswith("Check haproxy OK")
    finally:
        api.ask("set server other/ap01 state ready")
    api.settle()


def metrics(port: int) -> dict[str, float]:
    """What an exporter tells; empty while it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return {}
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_the_prometheus_exporter(api: ServedApi, tmp_path: Path) -> None:
    have("prometheus-haproxy-exporter")
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    words = [f"--haproxy.scrape-uri=unix:{api.path}", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "log").open("wb") as log:
        exporter = subprocess.Popen([program("prometheus-haproxy-exporter"), *words], stdout=log, stderr=log)
    try:
        until(lambda: "haproxy_up" in metrics(port), "the exporter tells of a scrape")
        told = metrics(port)
    finally:
        exporter.kill()
        exporter.wait()
    assert told["haproxy_up"] == 1
    assert told["haproxy_exporter_csv_parse_failures_total"] == 0
    servers = {name: value for name, value in told.items() if name.startswith("haproxy_server_up")}
    assert servers == {
        f'haproxy_server_up{{backend="{backend}",server="{server}"}}': float(server != "dead")
        for backend, server in (("app", "ap01"), ("app", "ap02"), ("app", "dead"), ("other", "w1"), ("other", "ap01"),
                                ("broken", "dead"))
    }  # fmt: skip
    assert told['haproxy_backend_up{backend="broken"}'] == 0
    assert told['haproxy_server_weight{backend="app",server="ap01"}'] == 10
    assert told['haproxy_backend_current_server{backend="app"}'] == 2
    assert [name for name in told if name.startswith("haproxy_version_info{release_date=") and '=""' not in name]


# --- haproxyadmin ---------------------------------------------------------------------------------


def test_haproxyadmin_reads(api: ServedApi) -> None:
    one = haproxyadmin.HAProxy(socket_file=str(api.path))
    assert (one.nodename, int(one.uptimesec) >= 0, bool(one.version), bool(one.releasedate)) == (
        "here",
        True,
        True,
        True,
    )
    assert [backend.name for backend in one.backends()] == ["app", "other", "broken"]
    assert [frontend.name for frontend in one.frontends()] == ["front"]
    assert (one.frontend("front").status, one.frontend("front").iid) == ("OPEN", 2)
    app = one.backend("app")
    assert (app.status, app.iid, app.requests, app.metric("weight")) == ("UP", 3, 0, 20)
    assert {server.name: server.status for server in app.servers()} == {"ap01": "UP", "ap02": "UP", "dead": "DOWN"}
    ap01 = app.server("ap01")
    assert (int(ap01.sid), int(ap01.weight), ap01.address) == (1, 10, "127.0.0.1")
    assert ap01.check_status.removeprefix("* ") == "L7OK"
    assert (int(ap01.port) > 0, ap01.requests, ap01.metric("lastchg") >= 0) == (True, 0, True)
    assert len(one.server("ap01")) == 2
    assert one.show_map() == ["# id (file) description"]
    assert one.show_acl()[0].startswith("# id (file) description")
    assert "Total events captured" in one.errors()[0][1][0]
    assert [facts["Name"] for facts in one.info()] == ["HAProxy"]


def test_haproxyadmin_changes(api: ServedApi) -> None:
    one = haproxyadmin.HAProxy(socket_file=str(api.path))
    server = one.backend("other").server("ap01")
    port = int(server.port)
    try:
        for state, status in (("maint", "MAINT"), ("drain", "DRAIN"), ("ready", "UP"), ("disable", "MAINT"),
                              ("enable", "UP")):  # fmt: skip
            assert server.setstate(state)
            until(lambda status=status: server.status == status, f"{state}: {status}")  # type: ignore[misc]
        assert server.setweight(2)
        assert int(server.weight) == 2
        assert server.setweight("100%")
        assert int(server.weight) == 1
        server.address = "127.0.0.9"
        assert server.address == "127.0.0.9"
        server.port = port + 1
        assert int(server.port) == port + 1
    finally:
        api.ask(f"set server other/ap01 addr 127.0.0.1 port {port}; set server other/ap01 state ready")
    assert one.frontend("front").disable()
    until(lambda: one.frontend("front").status in ("STOP", "PAUSED"), "the frontend is paused")
    assert one.frontend("front").enable()
    assert one.frontend("front").status == "OPEN"
    assert one.clearcounters(all=True)
    assert one.setratelimitsess(100)
    with pytest.raises(CommandFailed, match="Unknown map identifier"):
        one.add_map("/etc/none.map", "key", "value")
    api.settle()


# --- hatop ----------------------------------------------------------------------------------------


def choose(hatop: Terminal, server: str, proxy: str) -> None:
    """Moves down from the top to a server's line."""
    first, wanted = hatop.row(">>> "), hatop.row(f"{server} ", f">>> {proxy} ")
    hatop.press(DOWN * (wanted - first))
    hatop.until(lambda _: hatop.marked(wanted))


def shows(hatop: Terminal, server: str, proxy: str, word: str) -> None:
    """Waits for a word in a server's line."""
    hatop.until(lambda _: word in hatop.line(f"{server} ", f">>> {proxy} ").split())


def test_hatop(api: ServedApi) -> None:
    """Every page, keys that change a server, and a command typed into its own command line."""
    have("hatop")
    with Terminal(["hatop", "-s", str(api.path), "-i", "1"]) as hatop:
        hatop.until(lambda text: ">>> broken" in text and "BACKEND " in text.partition(">>> broken")[2])
        for server, proxy, words in (
            ("ap01", "app", ("10", "UP", "L7OK")), ("dead", "broken", ("DOWN", "L4CON")), ("w1", "other", ("-", "none")),
            ("FRONTEND", "front", ("OPEN",)),
        ):  # fmt: skip
            assert set(words) <= set(hatop.line(f"{server} ", f">>> {proxy} ").split())
        assert "Proxies:   4   Services:   10" in hatop.text
        choose(hatop, "ap02", "app")
        hatop.press(F10)
        shows(hatop, "ap02", "app", "MAINT")
        assert api.column("status")["app/ap02"] == "MAINT"
        hatop.press(F9)
        shows(hatop, "ap02", "app", "UP")
        hatop.press(F8)
        hatop.until(lambda _: api.column("weight")["app/ap02"] == "20")
        shows(hatop, "ap02", "app", "20")
        for page, column in (("2", "LBTOT"), ("3", "5xx"), ("4", "ECONN"), ("1", "STATUS")):
            hatop.press(page)
            hatop.until(lambda text, column=column: column in text)  # type: ignore[misc]
        hatop.press("5")
        hatop.until(lambda text: "haproxy command line" in text)
        hatop.press("set weight app/ap02 100%\r")
        hatop.until(lambda _: api.column("weight")["app/ap02"] == "10")
        hatop.press("show info\r")
        hatop.until(lambda text: "Tainted: 0" in text)
        hatop.press(f"{ESCAPE}q")
        assert hatop.wait() == 0
    api.settle()
