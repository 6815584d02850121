"""The trio driver: over memory in virtual time, and over real sockets."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
import trio.testing

from native_kit import GET, agent_program, http_program, run_probe, spec, tcp_program
from risefall.engine import native
from risefall.engine.drive import CallError, Driver, SocketWire, Step, StepKind
from risefall.engine.native import Endpoint, Probe, Program, Want
from risefall.status import Status

REPLY = b"HTTP/1.1 200 OK\r\n\r\n"


class FakeWire:
    """A peer that does what a list says: bytes, an errno, or a wait of so many seconds first."""

    def __init__(self, *script: bytes | float | OSError | CallError, connect_s: float = 0) -> None:
        self.script = list(script)
        self.connect_s = connect_s
        self.sent = b""
        self.ended: list[int] = []

    async def _play(self) -> bytes:
        while self.script:
            item = self.script.pop(0)
            if isinstance(item, bytes):
                return item
            if isinstance(item, Exception):
                raise item
            await trio.sleep(item)
        await trio.sleep_forever()
        raise AssertionError

    async def connect(self, want: Want) -> None:
        if self.script and isinstance(self.script[0], Exception):
            await self._play()
        await trio.sleep(self.connect_s)

    async def send(self, data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        self.sent += data[:7]
        return len(data[:7])

    async def receive(self, room: int) -> bytes:
        return await self._play()

    def end(self, how: int, last: bytes = b"") -> None:
        self.ended.append(how)


async def run(program: Program, wire: FakeWire, **words: int) -> tuple[native.ProbeResult, list[Step]]:
    steps: list[Step] = []
    result = await Driver(Probe(program, spec(**words)), wire, steps.append).run()
    return result, steps


def in_virtual_time(test):  # type: ignore[no-untyped-def]
    def call() -> None:
        trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))

    call.__name__, call.__doc__ = test.__name__, test.__doc__
    return call


@in_virtual_time
async def test_a_silent_server_is_l7tout_at_timeout_check_not_before() -> None:
    started = trio.current_time()
    result, steps = await run(http_program(), FakeWire(), check_ms=2500)
    assert result.status is Status.L7TOUT
    assert trio.current_time() - started == pytest.approx(2.5, abs=0.001)
    assert [step.kind for step in steps][-2:] == [StepKind.TIMED_OUT, StepKind.CLOSED]


@in_virtual_time
async def test_a_slow_connect_is_l4tout_at_inter() -> None:
    started = trio.current_time()
    result, _ = await run(http_program(), FakeWire(connect_s=5))
    assert result.status is Status.L4TOUT
    assert trio.current_time() - started == pytest.approx(1.0, abs=0.001)


@in_virtual_time
async def test_a_dripping_server_has_one_deadline_for_all_its_drops() -> None:
    drops: list[bytes | float] = []
    for byte in REPLY:
        drops += [0.1, bytes([byte])]
    assert (await run(http_program(), FakeWire(*drops)))[0].status is Status.L7TOUT
    assert (await run(http_program(), FakeWire(*drops), check_ms=3000))[0].status is Status.L7OK


@in_virtual_time
async def test_the_transcript_tells_every_byte() -> None:
    wire = FakeWire(REPLY[:9], REPLY[9:])
    result, steps = await run(http_program(), wire)
    assert result.status is Status.L7OK
    assert wire.sent == b"GET / HTTP/1.0\r\n\r\n"
    assert b"".join(step.data for step in steps if step.kind is StepKind.SENT) == wire.sent
    assert b"".join(step.data for step in steps if step.kind is StepKind.RECEIVED) == REPLY
    assert wire.ended[-1] == native.CLOSE_RST


@in_virtual_time
async def test_errnos_are_reported_not_judged() -> None:
    for failure, status in (
        (OSError(errno.ECONNREFUSED, ""), Status.L4CON),
        (CallError(native.AT_CONNECT, errno.ENETUNREACH), Status.L4CON),
        (CallError(native.AT_SOCKET, errno.EMFILE), Status.SOCKERR),
    ):
        result, steps = await run(tcp_program(), FakeWire(failure))
        assert result.status is status
        assert steps[1].kind is StepKind.FAILED


@in_virtual_time
async def test_an_outer_cancel_is_no_result_and_leaves_nothing_open() -> None:
    wire = FakeWire()
    with trio.move_on_after(0.3) as scope:
        await run(http_program(), wire)
    assert scope.cancelled_caught
    assert wire.ended


@pytest.mark.parametrize(
    ("program", "reply"),
    [(http_program(), REPLY), (agent_program("hi\n"), b"down 40% # why\n"), (http_program(request=None), b"x")],
)
def test_over_a_real_socket_it_says_what_the_probe_alone_says(program: Program, reply: bytes) -> None:
    async def scenario() -> native.ProbeResult:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]

            async def serve(stream: trio.SocketStream) -> None:
                try:
                    await stream.send_all(reply)
                    if reply == b"x":
                        await stream.send_eof()
                    await stream.receive_some()
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(trio.serve_listeners, serve, listeners)
            to = Endpoint(4, socket.inet_aton("127.0.0.1"), port)
            with trio.fail_after(10):
                result = await Driver(Probe(program, spec(port)), SocketWire(to)).run()
            nursery.cancel_scope.cancel()
            return result

    over_socket = trio.run(scenario)
    alone = run_probe(program, [reply])
    assert (over_socket.status, over_socket.text, over_socket.weight) == (alone.status, alone.text, alone.weight)


def test_real_refusals(free_port: int, tmp_path: object) -> None:
    async def scenario(to: Endpoint) -> native.ProbeResult:
        with trio.fail_after(10):
            return await Driver(Probe(tcp_program(), spec(to.port)), SocketWire(to)).run()

    refused = trio.run(scenario, Endpoint(4, socket.inet_aton("127.0.0.1"), free_port))
    assert (refused.status, refused.text) == (Status.L4CON, b"Connection refused")
    absent = trio.run(scenario, Endpoint(1, f"{tmp_path}/none.sock".encode()))
    assert absent.status is Status.SOCKERR
    assert GET.method == "GET"
