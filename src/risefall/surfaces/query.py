"""What `show stat` is asked for: the words behind it. Source: spec/haproxy-checks.md §7.3."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from risefall.state.fleet import Fleet
from risefall.surfaces.columns import Format

ANY = -1
FRONTENDS, BACKENDS, SERVERS = 1, 2, 4


class Query(msgspec.Struct, frozen=True):
    """What of the fleet is asked for. iid, kinds (bits) and sid are ANY or a limit.

    legends: addresses, cookies and balancing are shown, from level operator on.
    """

    iid: int = ANY
    kinds: int = ANY
    sid: int = ANY
    format: Format = Format.CSV
    desc: bool = False
    up: bool = False
    no_maint: bool = False
    legends: bool = True

    def wants(self, kind: int) -> bool:
        return bool(self.kinds & kind)


class BadQuery(ValueError):
    """The words after `show stat` make no sense; the text is HAProxy's."""


def leading_int(word: str) -> int:
    """C's atoi: the number at the start of a word, 0 for none."""
    end = 1 if word[:1] in ("-", "+") else 0
    while end < len(word) and word[end] in "0123456789":
        end += 1
    return int(word[:end]) if word[:end] not in ("", "-", "+") else 0


def parse_query(words: Sequence[str], fleet: Fleet, *, legends: bool = True) -> Query:
    """Reads the words after `show stat`, without `domain proxy`.

    Words that are no option are passed over, as HAProxy does; three words in front are `<iid|proxy> <type> <sid>`.
    Raises: BadQuery for a proxy that does not exist.
    """
    iid, kinds, sid = ANY, ANY, ANY
    if len(words) >= 3:
        iid = _iid_of(words[0], fleet)
        kinds, sid = leading_int(words[1]), leading_int(words[2])
        words = words[3:]
    form = Format.CSV
    for word in words:
        form = {"typed": Format.TYPED, "json": Format.JSON}.get(word, form)
    return Query(iid, kinds, sid, form, "desc" in words, "up" in words, "no-maint" in words, legends)


def _iid_of(word: str, fleet: Fleet) -> int:
    for proxy in fleet.proxies:
        if word in (proxy.name, f"#{proxy.id}"):
            return proxy.id
    iid = leading_int(word)
    if not iid:
        raise BadQuery("No such proxy.")
    return iid
