"""The table of formats and expressions against an installed haproxy 2.6: what it sends, and what it refuses.

Rows of kind `format` are sent by a tcp-check, the others are evaluated on a reply, kept in a variable, and sent after it. One
process runs them all; it takes about two seconds in real time.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from haproxy_kit import want_haproxy
from sample_kit import AROUND, HEARD, ROOT, VARIABLES, Row, rows

PART = 16
"""Rows in one check: a line of the configuration has at most 64 words."""
DEADLINE_S = 20.0
END = b"<end>"
HEAD = """defaults
  timeout connect 5s
  timeout server 3s
  timeout client 5s
  timeout check 5s
"""
Hear = Callable[[socket.socket], bytes]


@pytest.fixture(scope="module", autouse=True)
def _haproxy() -> None:
    want_haproxy()


def head(folder: Path) -> str:
    """What stands ahead of the backends that are compared."""
    return (HEAD + AROUND).format(folder=folder)


def quoted(text: str) -> str:
    """A word of a configuration, whatever it holds."""
    return "'" + text.replace("'", "'\\''") + "'"


def sending(part: list[Row]) -> Iterator[str]:
    """Rules that send formats, each between its marks."""
    yield "option tcp-check"
    yield "tcp-check connect linger"
    for name, expression in VARIABLES.items():
        yield f"tcp-check set-var({name}) {expression}"
    for number, row in enumerate(part):
        yield f"tcp-check send-lf {quoted(f'<{number}>{row.text}</{number}>')}"
    yield f"tcp-check send {END.decode()}"


def answering(part: list[Row]) -> Iterator[str]:
    """Rules that hear a reply first."""
    yield "option tcp-check"
    yield "tcp-check connect linger"
    yield "tcp-check expect string ~"
    for number, row in enumerate(part):
        yield f"tcp-check set-var(check.v{number}) {quoted(row.text)}"
    for number in range(len(part)):
        yield f"tcp-check send-lf '<{number}>%[var(check.v{number})]</{number}>'"
    yield f"tcp-check send {END.decode()}"


def asking(part: list[Row]) -> Iterator[str]:
    """The same of a HTTP reply; values come in the headers of a second request."""
    headers = [f"hdr x '<{number}>%[var(check.v{number})]</{number}>'" for number in range(len(part))]
    yield "mode http"
    yield "option httpchk"
    yield "http-check connect"
    yield "http-check send uri /1"
    yield "http-check expect rstring ."
    for number, row in enumerate(part):
        yield f"http-check set-var(check.v{number}) {quoted(row.text)}"
    yield "http-check connect"
    yield f"http-check send uri /{END.decode()} {' '.join(headers)}"
    yield "http-check expect status 200"


def hear_stream(heard: bytes) -> Hear:
    """One connection: says what is to be heard, and reads up to the end."""

    def hear(listener: socket.socket) -> bytes:
        taken, _peer = listener.accept()
        with taken:
            taken.settimeout(DEADLINE_S)
            taken.sendall(heard)
            return read_until(taken, END)

    return hear


def hear_http(heard: bytes) -> Hear:
    """Two connections: the second request holds what was found."""

    def hear(listener: socket.socket) -> bytes:
        while True:
            taken, _peer = listener.accept()
            with taken:
                taken.settimeout(DEADLINE_S)
                request = read_until(taken, b"\r\n\r\n")
                taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if END in request else heard)
                if END in request:
                    return request

    return hear


def read_until(taken: socket.socket, end: bytes) -> bytes:
    """All that comes, up to some bytes."""
    read = b""
    while end not in read and (more := taken.recv(65536)):
        read += more
    return read


RULES: dict[str, tuple[Callable[[list[Row]], Iterable[str]], Hear]] = {
    "format": (sending, hear_stream(b"")),
    "tcp": (answering, hear_stream(HEARD["tcp"])),
    "hello": (answering, hear_stream(HEARD["hello"])),
    "http": (asking, hear_http(HEARD["http"])),
    "more": (asking, hear_http(HEARD["more"])),
    "numbers": (asking, hear_http(HEARD["numbers"])),
}


class Part:
    """Some rows of one kind, and a listener that one backend checks."""

    def __init__(self, number: int, kind: str, part: list[Row]) -> None:
        rules, self._hear = RULES[kind]
        self.rows = part
        self.said = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        port = self._listener.getsockname()[1]
        server = f"server srv1 127.0.0.1:{port} check inter 1s"
        self.section = "\n  ".join([f"backend be{number}", *rules(part), server]) + "\n"
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self._listener:
            self.said = self._hear(self._listener)

    def written(self) -> dict[str, bytes | None]:
        """What came, by the text of its row."""
        found: dict[str, bytes | None] = {}
        for number, row in enumerate(self.rows):
            match = re.search(rb"<%d>(.*?)</%d>" % (number, number), self.said, re.DOTALL)
            found[row.text] = match.group(1) if match else None
        return found


def parts() -> list[Part]:
    """All rows that haproxy takes."""
    out: list[Part] = []
    taken = [row for row in rows() if row.written is not None]
    for kind in RULES:
        of_kind = [row for row in taken if row.kind == kind]
        for at in range(0, len(of_kind), PART):
            out.append(Part(len(out) + 1, kind, of_kind[at : at + PART]))
    return out


def names_backend(row: Row) -> bool:
    """Whether it tells which backend it stands in: only one of them is be1."""
    return "be_" in row.text or "%b" in row.text


def test_rows_that_are_written(tmp_path: Path) -> None:
    """Byte for byte."""
    made = parts()
    config = tmp_path / "c.cfg"
    config.write_text(head(tmp_path) + "".join(part.section for part in made))
    with subprocess.Popen(
        ["haproxy", "-db", "-f", str(config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    ) as program:
        for part in made:
            part.thread.join(DEADLINE_S)
        program.terminate()
        told = program.communicate()[0].decode()
    wrong = {
        (row.kind, row.text): (row.written, theirs)
        for part in made
        for row, theirs in zip(part.rows, part.written().values(), strict=True)
        if theirs != (row.written or "").encode("latin-1") and not names_backend(row)
    }
    assert not wrong, told


def test_rows_that_are_refused(tmp_path: Path) -> None:
    """Each is an alert at its own line. haproxy counts alerts and stops: hence a few at a time."""
    refused = [row for row in rows() if row.written is None]
    taken = [text for at in range(0, len(refused), PART) for text in not_refused(tmp_path, refused[at : at + PART])]
    assert taken == []


def not_refused(folder: Path, part: list[Row]) -> list[str]:
    """Texts for which haproxy has no alert."""
    lines = [*head(folder).splitlines(), "backend be1", "option tcp-check", "tcp-check connect"]
    first = len(lines) + 1
    for row in part:
        rule = "send-lf" if row.kind == "format" else "set-var(check.a)"
        lines.append(f"tcp-check {rule} {quoted(row.text)}")
    config = folder / "refused.cfg"
    config.write_text("\n".join([*lines, "server srv1 127.0.0.1:1 check"]) + "\n")
    command = ["haproxy", "-c", "-f", str(config)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stderr
    alerts = {int(line) for line in re.findall(rf"\[ALERT\].*{config.name}:(\d+)\]", told)}
    taken = [row for at, row in enumerate(part) if first + at not in alerts]
    if len(part) > 1:  # names are looked for last, and only in a file that has no other fault
        return [text for row in taken for text in not_refused(folder, [row])]
    return [row.text for row in taken]
