"""An HTTP/2 server in memory, as a wire: what the client sends is fed to it at once, its answers wait to be received."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import h2.config
import h2.connection
import h2.events
import trio

from risefall.engine.native import Endpoint, Want

Headers = Sequence[tuple[str, str]]
Play = Callable[["H2Server", int], None]


class H2Server:
    """`play(server, stream)` is called when a request is whole; `server.h2` and `server.say()` answer it."""

    def __init__(self, play: Play, *, settings: dict[int, int] | None = None, room: int = 1 << 20) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1", validate_inbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.update_settings(settings)
        self.h2.initiate_connection()
        self.play = play
        self.room = room
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.waiting = bytearray(self.h2.data_to_send())
        self.over = False
        self.endings: list[int] = []
        self.reads: list[int] = []

    def say(self, raw: bytes) -> None:
        """Bytes that no library would write."""
        self.waiting += self.h2.data_to_send() + raw

    async def connect(self, want: Want) -> None:
        await trio.lowlevel.checkpoint()

    async def send(self, data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        self.take(data[:100])
        return len(data[:100])

    def take(self, data: bytes) -> None:
        """Bytes of the client."""
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.headers = [(str(name), str(value)) for name, value in event.headers]
            if isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if isinstance(event, h2.events.StreamEnded):
                self.play(self, event.stream_id)
        self.waiting += self.h2.data_to_send()

    async def receive(self, room: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.waiting and not self.over:
            await trio.sleep_forever()
        out = bytes(self.waiting[: min(room, self.room)])
        del self.waiting[: len(out)]
        self.reads.append(len(out))
        return out

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        raise AssertionError

    def end(self, how: int, last: bytes = b"") -> None:
        self.endings.append(how)


def answer(status: str, *headers: tuple[str, str], body: bytes = b"", end: bool = True) -> Play:
    """A play of one answer."""

    def play(server: H2Server, stream: int) -> None:
        server.h2.send_headers(stream, [(":status", status), *headers], end_stream=end and not body)
        if body:
            server.h2.send_data(stream, body, end_stream=end)

    return play
