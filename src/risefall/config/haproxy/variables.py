"""Environment variables in addresses, which HAProxy reads without quotes as well: `server app ${HOST}:80`.

Everywhere else they are expanded in double quotes alone (`lexer.py`). One that is not set is empty here, so that `${HOST}:80`
is every address of this machine. Observed with 2.6.12 and 3.0.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from risefall.config.haproxy.model import Line
from risefall.config.text import Wrong

VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]*)\}?|([A-Za-z0-9_]*))")
PLACES = {
    "server": 2, "server-template": 3, "bind": 1, "log": 1, "nameserver": 2, "peer": 2, "source": 1, "dispatch": 1,
}  # fmt: skip
"""Of the words that are addresses, by the keyword of the line."""
BEFORE = frozenset(("addr", "socks4", "source"))
"""Words of servers and connect rules that an address follows."""
WITH_WORDS = frozenset(("server", "server-template", "default-server", "tcp-check", "http-check"))


def places(words: Sequence[str]) -> Iterator[int]:
    """Where a line holds addresses."""
    place = 2 if words[:2] == ("stats", "socket") else PLACES.get(words[0], len(words))
    if place < len(words):
        yield place
    if words[0] in WITH_WORDS:
        yield from (at for at in range(place + 1 if words[0] in PLACES else 1, len(words)) if words[at - 1] in BEFORE)


def expand(line: Line, env: Mapping[str, str]) -> tuple[Line, list[Wrong]]:
    """The line with its addresses expanded, and what is to be told: variables that are not set.

    An address of which nothing is left stays as it is: HAProxy refuses it, and so does whoever reads it.
    """
    words = list(line.words)
    told = []
    for at in places(line.words):
        names = [braced or bare for braced, bare in VARIABLE.findall(words[at])]
        text = VARIABLE.sub(lambda found: env.get(found[1] or found[2] or "", ""), words[at])
        if not names or not text:
            continue
        missing = next((name for name in names if name not in env), None)
        if missing is not None:
            told.append(
                Wrong(
                    f"'{words[at]}': the environment variable '{missing}' is not set, and HAProxy reads '{text}'",
                    at,
                    help=f'set it, or give it a default in double quotes: "${{{missing or "NAME"}-10.0.0.7}}"',
                )
            )
        words[at] = text
    return msgspec.structs.replace(line, words=tuple(words)), told
