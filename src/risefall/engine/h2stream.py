"""One HTTP/2 request and its answer, without I/O: bytes in, bytes out. A thin layer over the `h2` library.

What is bounded, and how. Frames are cut here, before the library sees them, so at most one frame is kept (16384 bytes, the
size that we announce by saying nothing). A header block may take `head_max` bytes decoded; its CONTINUATION frames are
counted by the library. Body bytes wait in `body` until they are taken; whoever feeds takes them before it feeds more.
Each frame of the peer asks for one small answer at most (PING, SETTINGS), and the caller sends these before it reads on.

One frame at a time has a second reason: a GOAWAY that still covers our stream announces an end, it is not one, but the
library takes nothing after it. Source: RFC 9113 §3.4, §4.1, §6.8.
"""

from __future__ import annotations

from collections.abc import Sequence

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

FRAME_MAX = 16384
FRAME_HEAD = 9
SETTINGS = 4
NOT_IN_VALUES = (b"\r", b"\n", b"\0")

Pair = tuple[bytes, bytes]


class StreamFault(Exception):
    """The peer broke the protocol, or gave the stream or the connection up; the text says how."""


class H2Stream:
    """One stream on a connection of its own."""

    def __init__(self, head_max: int = FRAME_MAX) -> None:
        config = h2.config.H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.decoder.max_header_list_size = head_max
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100,
            },
        )
        self._h2.initiate_connection()
        self._raw = bytearray()
        self._greeted = False
        self._unsent = b""
        self.stream = 0
        self.heads: list[list[Pair]] = []
        """Header blocks as they come: informational ones, then the final one."""
        self.body = bytearray()
        self.trailers: list[Pair] = []
        self.ended = False

    def request(self, headers: Sequence[Pair], body: bytes = b"") -> None:
        """Queues the request; pseudo-headers first."""
        self.stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(self.stream, headers, end_stream=not body)
        self._unsent = body
        self._push()

    def out(self) -> bytes:
        """What has to be sent now."""
        return self._h2.data_to_send()

    def feed(self, data: bytes) -> None:
        """Bytes of the peer. Raises StreamFault; what came before the fault stands."""
        self._raw += data
        while len(self._raw) >= FRAME_HEAD and not self.ended:
            length = int.from_bytes(self._raw[:3], "big")
            self._greet(length)
            if len(self._raw) < FRAME_HEAD + length:
                return
            frame = bytes(self._raw[: FRAME_HEAD + length])
            del self._raw[: FRAME_HEAD + length]
            self._frame(frame)

    def _greet(self, length: int) -> None:
        """The first frame shows whether the peer speaks HTTP/2 at all."""
        if not self._greeted and bytes(self._raw[:5]) == b"HTTP/":
            raise StreamFault("it speaks HTTP/1, not HTTP/2")
        if not self._greeted and self._raw[3] != SETTINGS:
            raise StreamFault("it does not speak HTTP/2")
        if length > FRAME_MAX:
            raise StreamFault(f"HTTP/2: a frame of {length} bytes, {FRAME_MAX} are allowed")
        self._greeted = True

    def _frame(self, frame: bytes) -> None:
        try:
            events = self._h2.receive_data(frame)
        except h2.exceptions.ProtocolError as error:
            raise StreamFault(f"HTTP/2: {error or type(error).__name__}") from error
        for event in events:
            self._take(event)
        if self._unsent and not self.ended:
            self._push()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self.heads.append(self._sound(event.headers))
            case h2.events.TrailersReceived():
                self.trailers = self._sound(event.headers)
            case h2.events.DataReceived():
                self.body += event.data
                if event.flow_controlled_length:
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset():
                raise StreamFault(f"HTTP/2: the server reset the stream ({code_name(event.error_code)})")
            case h2.events.ConnectionTerminated():
                self._going_away(event)
            case _:
                pass  # settings, pings and windows: the library answers

    def _sound(self, headers: Sequence[tuple[bytes, bytes]]) -> list[Pair]:
        """A block as bytes; a line end inside would become another header in the text of HTTP/1."""
        pairs = [(bytes(name), bytes(value)) for name, value in headers]
        if any(bad in part for pair in pairs for part in pair for bad in NOT_IN_VALUES):
            raise StreamFault("HTTP/2: a header holds a line end or a NUL")
        return pairs

    def _going_away(self, event: h2.events.ConnectionTerminated) -> None:
        covered = event.last_stream_id is not None and event.last_stream_id >= self.stream > 0
        if event.error_code != h2.errors.ErrorCodes.NO_ERROR or not covered:
            why = bytes(event.additional_data or b"")[:80].decode("latin-1")
            text = f"HTTP/2: the server goes away ({code_name(event.error_code)})"
            raise StreamFault(text + (f": {why}" if why else ""))
        self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN

    def _push(self) -> None:
        """Sends as much of the body as the peer's windows take."""
        while self._unsent:
            room = min(self._h2.local_flow_control_window(self.stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                return
            piece, self._unsent = self._unsent[:room], self._unsent[room:]
            self._h2.send_data(self.stream, piece, end_stream=not self._unsent)


def code_name(code: int | h2.errors.ErrorCodes | None) -> str:
    """`REFUSED_STREAM`, or the number of a code that nobody named."""
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"code {code}"
