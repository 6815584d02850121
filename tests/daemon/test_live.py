"""Expressions of checks that read what other servers are, while those change."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from cli_kit import risefall

CONFIG = """defaults
  timeout connect 1s
  timeout check 1s
backend a
  option tcp-check
  tcp-check send-lf '<%[nbsrv(b)] %[srv_is_up(b/s1)] %[str(b),nbsrv]>'
  server s 127.0.0.1:{port} check inter 200ms
backend b
  server s1 127.0.0.1:1 check inter 100ms fall 3
  server s2 127.0.0.1:1
"""


def test_a_check_tells_what_other_servers_are_now(tmp_path: Path) -> None:
    """Both at the start and after one of them went DOWN."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hear() -> None:
            while len(heard) < 5:
                taken, _peer = listener.accept()
                with taken:
                    taken.settimeout(5)
                    heard.append(taken.recv(100))

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        path = tmp_path / "a.cfg"
        path.write_text(CONFIG.format(port=listener.getsockname()[1]))
        risefall("run", "-f", str(path), "--for", "2s")
        thread.join(5)
    assert heard[0] == b"<2 1 2>"
    assert heard[-1] == b"<1 0 1>"
