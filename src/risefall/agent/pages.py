"""A number out of a JSON page or out of a Prometheus page, and the fetching of such a page.

Source of the text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4).
"""

from __future__ import annotations

import http.client
import re
import time
from urllib.parse import urlsplit

import msgspec

PAGE_BYTES_MAX = 4 << 20
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{.*\})?\s+(\S+)(?:\s+-?\d+)?\s*")
LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
ESCAPE = re.compile(r"\\(.)")


def json_number(page: bytes, path: str) -> float:
    """The number at a path such as `pool.0.idle`. ValueError where there is none.

    A key that itself has dots is found too: the longest name that fits is taken first.
    """
    try:
        value = msgspec.json.decode(page)
    except msgspec.DecodeError as error:
        raise ValueError(f"the page is no JSON: {error}") from error
    value = step_into(value, path.removeprefix("$.").split("."), path)
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise ValueError(f"'{path}' is a text: '{value[:40]}'") from error
    if not isinstance(value, int | float):
        raise ValueError(f"'{path}' is no number")
    return finite(float(value))


def step_into(value: object, steps: list[str], path: str) -> object:
    """What is at the end of the steps."""
    while steps:
        if isinstance(value, list) and steps[0].lstrip("-").isdigit():
            index = int(steps[0])
            if not -len(value) <= index < len(value):
                raise ValueError(f"'{path}': the list has only {len(value)} elements")
            value, steps = value[index], steps[1:]
        elif isinstance(value, dict):
            fits = next((size for size in range(len(steps), 0, -1) if ".".join(steps[:size]) in value), 0)
            if not fits:
                raise ValueError(f"'{path}': there is no '{steps[0]}'")
            value, steps = value[".".join(steps[:fits])], steps[fits:]
        else:
            raise ValueError(f"'{path}': nothing can be inside of what is before '{steps[0]}'")
    return value


def finite(value: float) -> float:
    if value != value or abs(value) == float("inf"):
        raise ValueError("the number is not finite")
    return value


def prometheus_number(page: str, metric: str, labels: dict[str, str]) -> float:
    """The sum of a metric's samples that have these labels, whatever others they have. ValueError when there is none."""
    total, found = 0.0, False
    for line in page.split("\n"):
        if not line.startswith(metric):
            continue
        sample = SAMPLE.fullmatch(line)
        if sample is None or sample[1] != metric:
            continue
        if labels and not labels.items() <= parse_labels(sample[2] or "").items():
            continue
        total, found = total + float(sample[3]), True
    if not found:
        what = "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else ""
        raise ValueError(f"the page has no sample of {metric}{what}")
    return finite(total)


def parse_labels(text: str) -> dict[str, str]:
    """`{a="x",b="y\\n"}` as names and values."""
    unescape = {"n": "\n"}
    return {
        found[1]: ESCAPE.sub(lambda escape: unescape.get(escape[1], escape[1]), found[2])
        for found in LABEL.finditer(text[1:-1])
    }


def fetch_page(url: str, timeout_s: float) -> bytes:
    """A page by GET, within the time in all. Blocks: for a thread. Raises OSError or ValueError with what went wrong.

    Redirects are not followed: who is asked for a number should have it.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + timeout_s
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "localhost", parts.port, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "risefall-agent", "Connection": "close"})
        socket = connection.sock
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        data = b""
        while len(data) <= PAGE_BYTES_MAX:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the page was not whole within {timeout_s:g} s")
            socket.settimeout(left)  # one byte a second would keep a limit on each read alone from ever ending
            piece = response.read1(65536)
            if not piece:
                return data
            data += piece
        raise ValueError(f"the page is longer than {PAGE_BYTES_MAX} bytes")
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()
