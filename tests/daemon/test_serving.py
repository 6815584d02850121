"""What `--serve config` opens, keeps and closes, across reloads and beside others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
from daemon_kit import ask, loaded, running, until

from risefall.config.haproxy.plan import Loaded
from risefall.daemon.service import Service

READY, FAILED = b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable"


def port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


@pytest.fixture
def ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return [port_of(one), port_of(two)]


async def get(port: int, path: str = "/mon") -> bytes:
    """The first line of an answer; nothing where nobody listens."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return b""
    with trio.fail_after(20):
        async with stream:
            await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join([data async for data in stream]).partition(b"\r\n")[0]


def config(port: int, condition: str = "nbsrv(b) lt 1", more: str = "", path: str = "/mon") -> str:
    return (
        f"global\n  stats timeout 5s\n{more}frontend f\n  mode http\n  bind 127.0.0.1:{port}\n  monitor-uri {path}\n"
        f"  monitor fail if {{ {condition} }}\nbackend b\n  mode http\n  server s 127.0.0.1:1\n"
    )


class File:
    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self) -> Loaded:
        return loaded(self.text)


def test_nothing_is_opened_unasked(ports: list[int], tmp_path: Path) -> None:
    async def scenario() -> None:
        text = config(ports[0], more=f"  stats socket {tmp_path}/x.sock\n")
        async with running(text):
            assert await get(ports[0]) == b""
            assert not (tmp_path / "x.sock").exists()

    trio.run(scenario)


def test_a_reload_keeps_opens_and_closes(ports: list[int], tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "x.sock"
        file = File(config(ports[0], more=f"  stats socket {path} level admin\n"))
        async with running(file.text, reread=file, serve_config=True) as service:
            assert await get(ports[0]) == READY
            assert "b,s," in await ask(path, "show stat")
            inode = path.stat().st_ino
            await ask(path, "disable server b/s")
            assert await get(ports[0]) == FAILED
            file.text = config(ports[0], "always_false", more=f"  stats socket {path} level admin\n", path="/new")
            await service.reload()
            assert (await get(ports[0], "/new"), await get(ports[0])) == (READY, FAILED)
            assert path.stat().st_ino == inode
            file.text = config(ports[1])
            await service.reload()
            await until(lambda: not path.exists(), "the socket is gone")
            assert (await get(ports[0]), await get(ports[1])) == (b"", FAILED)
            file.text = config(ports[1], more=f"  stats socket {path} level user mode 600\n")
            await service.reload()
            assert await ask(path, "disable server b/s") == "Permission denied\n\n"
            assert path.stat().st_mode & 0o777 == 0o600
            await service_ends(service)

    async def service_ends(service: Service) -> None:
        assert (str(tmp_path / "x.sock"), 1) in [(name, int(level)) for name, level in service.api.sockets()]

    trio.run(scenario)
    assert not (tmp_path / "x.sock").exists()


def test_an_address_in_use_is_told_and_the_run_goes_on(
    ports: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "held.sock"

    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as living, socket.create_server(("127.0.0.1", 0)) as held:
            living.bind(str(path))
            living.listen()
            text = config(port_of(held), more=f"  stats socket {path}\n  stats socket {tmp_path}/no/where.sock\n")
            async with running(text, serve_config=True, log="stderr") as service:
                assert service.fleet.count == 1
                assert service.api.sockets() == []

    trio.run(scenario)
    said = capfd.readouterr().err
    assert "another process serves this socket" in said
    assert "Address already in use" in said
    assert "no/where.sock: not served: cannot listen here" in said
    assert path.exists()


def test_an_inherited_socket_is_always_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        handed = socket.socket(socket.AF_UNIX)
        handed.bind(str(tmp_path / "handed.sock"))
        handed.listen()
        text = config(1, more=f"  stats socket fd@{handed.detach()} level admin\n")
        async with running(text):
            assert "b,s," in await ask(tmp_path / "handed.sock", "show stat")

    trio.run(scenario)


def test_an_error_file_of_no_use_is_told(ports: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_bytes(b"nonsense")

    async def scenario() -> None:
        text = config(ports[0]).replace(
            "  monitor-uri", f"  errorfile 503 {tmp_path}/bad\n  errorfile 200 /no/file\n  monitor-uri"
        )
        async with running(text, serve_config=True, log="stderr"):
            assert await get(ports[0]) == READY

    trio.run(scenario)
    said = capfd.readouterr().err
    assert "has no end of its headers; the usual text is served" in said
    assert "/no/file: No such file" in said


def test_those_of_monitor_net_always_get_200(ports: list[int]) -> None:
    async def scenario() -> None:
        text = config(ports[0], "always_true").replace("  monitor-uri", "  monitor-net 127.0.0.0/8\n  monitor-uri")
        async with running(text, serve_config=True):
            assert (await get(ports[0]), await get(ports[0], "/other")) == (READY, READY)

    trio.run(scenario)
