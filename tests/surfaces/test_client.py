"""The client of the runtime API against peers that are old, slow, endless, or no runtime socket at all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from risefall.errors import PeerLost
from risefall.surfaces.client import Client, Place, command_line, parse_place
from risefall.surfaces.peer import Row, State, matching, matching_filter, nearest, parse_stat, read_servers, state_of
from risefall.surfaces.runtime import cut_command, split_words
from serve_kit import serving


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/run/x.sock", Place("/run/x.sock")),
        ("./x:1", Place("./x:1")),
        ("x.sock", Place("x.sock")),
        ("unix@/run/x", Place("/run/x")),
        ("abns@name", Place("\0name")),
        ("127.0.0.1:9999", Place("127.0.0.1", 9999)),
        ("ipv4@localhost:1", Place("localhost", 1)),
        ("[::1]:65535", Place("::1", 65535)),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", ":1", "host:", "host:0", "host:65536", "host:x", "host:²", "unix@", "ipv4@host"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="no"):
        parse_place(text)


def test_words_arrive_as_they_are() -> None:
    words = ("set", "server", r"b a/s;\x", "state")
    command, rest = cut_command(command_line(*words).encode())
    assert (split_words(command), rest) == (list(words), None)


def say(*replies: bytes) -> Callable[[socket.socket], None]:
    """Answers one connection after another, by what stands in its line; the last reply stays."""
    left = list(replies)

    def handle(connection: socket.socket) -> None:
        connection.makefile().readline()
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return handle


def test_a_peer_without_severities_is_asked_once_for_them() -> None:
    """Before 1.8 nobody knows the command, and would carry out what stands behind it all the same."""
    unknown = b"Unknown command. Please enter one of the following commands only :\n  help\n\n"
    with serving(say(unknown, b"\n", unknown, b"Permission denied\n\n")) as port:
        client = Client(f"127.0.0.1:{port}")
        assert not client.order("set", "server", "b/s", "state", "drain").refused
        assert client.ask("nonsense").refused
        assert client.ask("set weight b/s 1").refused


def test_severities_tell_refusals_and_are_not_shown() -> None:
    with serving(say(b"\n", b"\n[6]: 2.6\n\n[3]: No such server.\n\n", b"\n[4]: IP changed\n\n")) as port:
        client = Client(f"127.0.0.1:{port}")
        both = client.ask("show version;set weight b/x 1")
        assert (both.text, both.refused) == ("2.6\n\nNo such server.\n", True)
        changed = client.ask("set server b/s addr 127.0.0.2")
        assert (changed.text, changed.refused) == ("IP changed\n", False)


def test_a_silent_peer_costs_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(PeerLost, match=r"no whole answer within 0.05 s"):
            client.ask("show stat")


def test_a_dripping_peer_does_not_outlast_it() -> None:
    def drip(connection: socket.socket) -> None:
        connection.settimeout(0.01)
        while True:
            try:
                if not connection.recv(100):
                    return
            except TimeoutError:
                connection.sendall(b"x")

    with serving(drip) as port, pytest.raises(PeerLost, match="no whole answer"):
        Client(f"127.0.0.1:{port}", timeout_s=0.1).ask("show stat")


def test_an_endless_answer_is_cut() -> None:
    def flood(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    with serving(flood) as port, pytest.raises(PeerLost, match="longer than 1000000 bytes"):
        Client(f"127.0.0.1:{port}", reply_max_bytes=1_000_000).ask("show stat")


def test_a_command_that_fits_no_buffer_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(PeerLost, match="too long"):
        Client(str(tmp_path / "x")).ask("x" * 1_048_577)


def test_what_is_no_runtime_socket_is_said() -> None:
    bad = serving(say(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with bad as port, pytest.raises(PeerLost, match=r"gave no table: HTTP/1\.1 400 Bad Request"):
        read_servers(Client(f"127.0.0.1:{port}"))
    with serving(lambda connection: None) as port, pytest.raises(PeerLost):
        Client(f"127.0.0.1:{port}").ask("show stat")


def test_who_is_not_there_gets_a_next_step(tmp_path: Path, free_port: int) -> None:
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    for name, said in (
        (str(left), "is what a process that ended has left"),
        (f"127.0.0.1:{free_port}", "is it running?"),
    ):
        with pytest.raises(PeerLost, match=said):
            Client(name).ask("show stat")
    with pytest.raises(PeerLost, match="check the path"):
        Client("/" + "x" * 200).ask("show stat")


# --- rows and names ---------------------------------------------------------------------------------------

CSV = """# pxname,svname,status,weight,scur,iid,sid,type,last_chk,-,
app,FRONTEND,OPEN,,3,2,0,0,,,
app,ap01,UP,1,0,2,1,2,"said ""no"", and left",,
app,ap02,DRAIN,1,,2,2,2,,,
web,ap01,DOWN 1/2,x,-1,3,1,2,,,
"""


def rows() -> list[Row]:
    return [row for row in parse_stat(CSV) if row.text("type") == "2"]


def test_columns_are_read_by_name() -> None:
    first, second, third = rows()
    assert first.text("last_chk") == 'said "no", and left'
    assert (first.number("weight"), second.number("scur"), third.number("weight"), third.number("scur")) == (
        1,
        None,
        None,
        -1,
    )
    assert first.text("agent_status") == ""
    with pytest.raises(ValueError, match="no CSV"):
        parse_stat("No such proxy.\n")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("app/ap01", ["app/ap01"]),
        ("*/ap01", ["app/ap01", "web/ap01"]),
        ("#2/#2", ["app/ap02"]),
        ("[aw]*/*2", ["app/ap02"]),
        ("app/", []),
        ("APP/ap01", []),
    ],
)
def test_what_a_pattern_means(pattern: str, names: list[str]) -> None:
    assert [row.name for row in matching(rows(), pattern)] == names


def test_a_filter_without_a_slash_means_backends() -> None:
    assert [row.name for row in matching_filter(rows(), "w*")] == ["web/ap01"]


def test_nearest_names_stay_in_their_backend() -> None:
    names = ["app/ap01", "app/ap02", "web/w1"]
    assert sorted(nearest(names, "app/ap10")) == ["app/ap01", "app/ap02"]
    assert nearest(names, "wbe/w1") == ["web/w1"]
    assert nearest(names, "web/*9") == ["web/w1"]
    assert nearest(names, "q") == []


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("UP", State.UP),
        ("UP 1/3", State.GOING),
        ("no check", State.UNCHECKED),
        ("DOWN", State.DOWN),
        ("DOWN 1/2", State.GOING),
        ("DOWN (agent)", State.DOWN),
        ("DRAIN (agent)", State.DRAIN),
        ("DRAIN 1/3", State.DRAIN),
        ("MAINT (via app/ap01)", State.MAINT),
        ("MAINT (resolution)", State.MAINT),
        ("NOLB 2/3", State.GOING),
        ("OPEN", State.UP),
        ("something new", State.GOING),
    ],
)
def test_states_of_status_words(status: str, state: State) -> None:
    assert state_of(status) is state
