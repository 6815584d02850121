"""A real server in a thread, in clear text or over TLS, for what runs in another process."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Handler = Callable[[socket.socket], None]
LIMIT_S = 20.0


@contextmanager
def serving(handler: Handler, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a listener whose connections go to `handler`, one after another; a failed handshake is passed over."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), connection:
                    connection.settimeout(LIMIT_S)
                    if context is None:
                        handler(connection)
                        continue
                    with context.wrap_socket(connection, server_side=True) as secure:
                        handler(secure)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT_S)


def answering(reply: bytes, until: bytes = b"\r\n\r\n") -> Handler:
    """Reads until `until` is there, answers, and waits for the other end."""

    def handle(connection: socket.socket) -> None:
        got = b""
        while until not in got:
            piece = connection.recv(4096)
            if not piece:
                return
            got += piece
        connection.sendall(reply)
        while connection.recv(4096):
            pass

    return handle
