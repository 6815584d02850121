"""Stories of HAProxy's own regression tests of checks (spec §10): what a frontend answers by itself, and `connect ssl`."""

from __future__ import annotations

import socket
import ssl

import pytest

from certs_kit import server_context
from serve_kit import LIMIT_S, serving
from story_kit import OK, Story, names, statuses


def asked(port: int, request: bytes) -> bytes:
    """Status line of what is answered."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as client:
        client.sendall(request)
        return client.recv(65536).partition(b"\r\n")[0]


def test_monitor_uri(story: Story, free_port: int) -> None:
    """http-monitor-uri: by path, by absolute URI, to the letter; what else is asked goes on to servers, of which there are none."""
    story.words["front"] = f"127.0.0.1:{free_port}"
    text = (
        "frontend fe\n  mode http\n  bind {front}\n  monitor-uri /health-check\n  monitor fail if {{ nbsrv(be) lt 1 }}\n"
        "  default_backend be\nbackend be\n  mode http\n  server srv 127.0.0.1:1\n"
    )
    yes, no, elsewhere = b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable", b"HTTP/1.1 503 Service Unavailable"
    requests = {
        b"GET /health-check HTTP/1.1\r\nHost: a\r\n\r\n": yes,
        b"GET /health-check HTTP/1.0\r\n\r\n": yes,
        b"HEAD /health-check HTTP/1.1\r\nHost: a\r\n\r\n": yes,
        b"GET http://a/health-check HTTP/1.1\r\nHost: a\r\n\r\n": yes,
        b"GET /Health-Check HTTP/1.1\r\nHost: a\r\n\r\n": elsewhere,
        b"GET /health-check/ HTTP/1.1\r\nHost: a\r\n\r\n": elsewhere,
        b"GET /health-check?x HTTP/1.1\r\nHost: a\r\n\r\n": elsewhere,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": elsewhere,
    }
    with story.run(text, serve="config") as running:
        running.becomes("be/srv", srv_op_state="2")
        story.wait(lambda: answers(free_port), "the frontend")
        assert {request: asked(free_port, request) for request in requests} == requests
        running.ask("disable server be/srv")
        running.becomes("be/srv", srv_op_state="0")
        story.wait(lambda: asked(free_port, next(iter(requests))) == no, "the monitor that fails")


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), LIMIT_S).close()
    except ConnectionRefusedError:
        return False
    return True


class Met:
    """What the clients of a TLS server asked for."""

    def __init__(self, alpn: tuple[str, ...] = ()) -> None:
        self.context = server_context(alpn=alpn)
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self.names: list[str | None] = []
        self.chosen: list[str | None] = []

    def handle(self, secure: socket.socket) -> None:
        """Answers a ping."""
        assert isinstance(secure, ssl.SSLSocket)
        self.chosen.append(secure.selected_alpn_protocol())
        if secure.recv(4096) == b"ping":
            secure.sendall(b"pong")


def test_tcp_checks_over_tls(story: Story) -> None:
    """tcp-check-ssl: which connect rules speak TLS, and with which name and protocols."""
    met = Met(alpn=("h2", "http/1.1"))
    with serving(met.handle, met.context) as port:
        story.listening("s1", port)
        story.server("s2", 4, b"pong")
        dialogue = "  tcp-check send ping\n  tcp-check expect string pong\n"
        rows = (
            ("", "ssl verify none"),  # inherited by what connects by itself
            ("connect default", "ssl verify none sni str(a.example) check-sni b.example"),
            ("connect ssl sni c.example alpn http/1.1", "verify none"),
            ("connect port {s1_port} ssl sni d.example", "verify none"),
            ("connect default alpn h2", "check-ssl verify none check-alpn http/1.1"),
        )
        results = {}
        for number, (rule, words) in zip(names(len(rows)), rows, strict=True):
            line = f"  tcp-check {rule}\n" if rule else ""
            server = f"  server srv {{s1}} check inter 2s {words}\n"
            results |= story.check(f"backend be{number}\n  option tcp-check\n{line}{dialogue}{server}")
    clear = story.check(  # a rule inherits nothing
        f"backend be\n  option tcp-check\n  tcp-check connect\n{dialogue}  server srv {{s2}} check ssl verify none\n"
    )
    assert statuses(results) == {"be1": "L7OK", "be2": "L7OK", "be3": "L7OK", "be4": "L7OK", "be5": "L7OK"}
    assert met.names == [None, "b.example", "c.example", "d.example", None]
    assert met.chosen == [None, None, "http/1.1", None, "h2"]
    assert statuses(clear) == {"be": "L7OK"}


@pytest.mark.parametrize("tls", [True, False])
def test_an_old_hello(story: Story, tls: bool) -> None:
    """ssl-hello-check: a real TLS listener answers the old hello, if only with an alert; a plain HTTP server does not."""
    if not tls:
        story.server("s1", 126, b"HTTP/1.1 400 Bad Request\r\n\r\n" + OK)
        assert story.check("backend be\n  option ssl-hello-chk\n  server srv {s1} check\n")["be/srv"][0] == "L6RSP"
        return
    with serving(lambda secure: None, server_context()) as port:
        story.listening("s1", port)
        assert story.check("backend be\n  option ssl-hello-chk\n  server srv {s1} check\n")["be/srv"][0] == "L6OK"
