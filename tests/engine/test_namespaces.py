"""Checks whose servers are in another network namespace, and those that name a client's address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, (peer, _) = listener.accept()
    with client:
        client.recv(4096)
        client.sendall(b"HTTP/1.1 200 " + sys.argv[1].encode() + b"-" + peer.encode() + b"\\r\\ncontent-length: 0\\r\\n\\r\\n")
"""


H2_SERVER = """
import contextlib, socket, sys
import h2.config, h2.connection, h2.events
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, (peer, _) = listener.accept()
    with client:
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, validate_inbound_headers=False))
        server.initiate_connection()
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                for event in server.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        server.send_headers(event.stream_id, [(":status", sys.argv[1] + peer[-1])], end_stream=True)
                client.sendall(server.data_to_send())
"""
"""Its status ends as the address of who asks."""


def ip(*words: str) -> bool:
    """`ip ...`; whether it worked."""
    return subprocess.run(["ip", *words], capture_output=True, check=False, timeout=20).returncode == 0


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace that has nothing but lo."""
    name = f"rf-{os.getpid()}"
    if not shutil.which("ip") or not ip("netns", "add", name):
        pytest.skip("network namespaces cannot be made here")
    try:
        assert ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


def serve(within: list[str], tag: str, server: str = SERVER) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([*within, sys.executable, "-c", server, tag], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def check(tmp_path: Path, text: str) -> dict[str, dict[str, object]]:
    """Rows of `risefall check`, by server. A check that fails tells the reason phrase: who was asked, and by whom."""
    path = tmp_path / "t.cfg"
    path.write_text(f"defaults\n  mode http\n  timeout connect 2s\n  timeout check 2s\n  option httpchk\n{text}")
    ran = subprocess.run(
        [sys.executable, "-m", "risefall", "check", "-f", str(path), "--as", "2.6", "--json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode in (0, 1, 3), ran.stderr
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    return {row["server"]: row for row in rows}


def test_each_connection_is_made_where_its_server_is(namespace: str, tmp_path: Path) -> None:
    inside, port_inside = serve(["ip", "netns", "exec", namespace], "inside")
    outside, port_outside = serve([], "outside")
    try:
        rows = check(
            tmp_path,
            "  http-check expect rstatus nothing\nbackend b\n"
            f"  server in 127.0.0.1:{port_inside} check namespace {namespace}\n"
            f"  server from 127.0.0.1:{port_inside} check namespace {namespace} source 127.0.0.9\n"
            f"  server out 127.0.0.1:{port_outside} check\n"
            f"  server any 127.0.0.1:{port_outside} check namespace *\n",
        )
    finally:
        for process in (inside, outside):
            process.kill()
            process.communicate()
    assert {name: row["reason"] for name, row in rows.items()} == {
        "in": "inside-127.0.0.1",
        "from": "inside-127.0.0.9",
        "out": "outside-127.0.0.1",
        "any": "outside-127.0.0.1",
    }


def test_http2_too(namespace: str, tmp_path: Path) -> None:
    """Made by the other driver: where its server is, and from the address that the line says."""
    process, port = serve(["ip", "netns", "exec", namespace], "20", H2_SERVER)
    try:
        rows = check(
            tmp_path,
            f"backend b\n  server in 127.0.0.1:{port} check check-proto h2 namespace {namespace}\n"
            f"  server from 127.0.0.1:{port} check check-proto h2 namespace {namespace} source 127.0.0.9\n",
        )
    finally:
        process.kill()
        process.communicate()
    assert {name: (row["status"], row["code"]) for name, row in rows.items()} == {
        "in": ("L7OK", 201),
        "from": ("L7OK", 209),
    }


def test_one_that_is_not_there(tmp_path: Path) -> None:
    (row,) = check(tmp_path, "backend b\n  server s 127.0.0.1:1 check namespace none-such\n").values()
    assert (row["outcome"], row["reason"]) == (
        "not checked",
        "cannot open namespace 'none-such': No such file or directory",
    )


def test_usesrc_means_a_client_that_a_check_has_not(tmp_path: Path) -> None:
    """As 2.6 does: the plain source address."""
    process, port = serve([], "x")
    try:
        rows = check(
            tmp_path,
            "  http-check expect rstatus nothing\nbackend b\n"
            + "".join(
                f"  server s{number} 127.0.0.1:{port} check source 127.0.0.{number} usesrc {word}\n"
                for number, word in ((2, "clientip"), (3, "client"), (4, "127.0.0.77"))
            ),
        )
    finally:
        process.kill()
        process.communicate()
    assert {name: row["reason"] for name, row in rows.items()} == {
        f"s{number}": f"x-127.0.0.{number}" for number in (2, 3, 4)
    }
