"""`show resolvers [<id>]`, `show stat domain resolvers`: what was asked of each name server, and what came of it.

Source: run on 2.6.12. Differs: the section `default`, which is there unasked, is shown where servers use it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.surfaces.columns import Format, tag_words

COUNTERS = (
    "sent", "snd_error", "valid", "update", "cname", "cname_error", "any_err", "nx", "timeout", "refused", "other",
    "invalid", "too_big", "truncated", "outdated",
)  # fmt: skip


COUNTERS_3 = (*COUNTERS, "tcp_fallback")


class NoResolvers(ValueError):
    """The section asked for does not exist; the text is HAProxy's."""


class Tally(msgspec.Struct):
    """The counters of one section, by name server and by names of `COUNTERS`."""

    name: str
    nameservers: dict[str, Counter[str]] = {}
    counters: tuple[str, ...] = COUNTERS


def counters_of(dialect: Dialect) -> tuple[str, ...]:
    """What is counted of each name server."""
    return COUNTERS_3 if dialect.dns_over_tcp else COUNTERS


def show_resolvers(tallies: Iterable[Tally], wanted: str = "") -> str:
    """The reply. wanted: the name of a section, "" for all. Raises: NoResolvers."""
    found = [tally for tally in tallies if wanted in ("", tally.name)]
    if wanted and not found:
        raise NoResolvers("Can't find that resolvers section")
    lines = []
    for tally in found:
        lines.append(f"Resolvers section {tally.name}\n")
        for name, counts in tally.nameservers.items():
            lines.append(f" nameserver {name}:\n")
            lines.extend(f"  {f'{counter}:':<12} {counts[counter]}\n" for counter in tally.counters)
    return "".join(lines)


# --- the same as a table -------------------------------------------------------------------------------------

SHOWN = {"snd_error": "send_error"}
"""Names of counters that the table spells otherwise."""

TEXTS = {"cname": "CNAME", "cname_error": "CNAME error", "any_err": "Any errors", "nx": "NX"}
"""Descriptions that are not the name itself."""


def columns_of(counters: Iterable[str]) -> list[tuple[str, str, str, str]]:
    """Name, tag, type and description of each column."""
    names = [SHOWN.get(counter, counter) for counter in counters]
    texts = [TEXTS.get(name, name.replace("_", " ").capitalize()) for name in names]
    return [
        ("id", "CGP", "str", "ID"),
        ("pid", "CGP", "str", "Parent ID"),
        *((name, "MGP", "u64", text) for name, text in zip(names, texts, strict=True)),
    ]


def show_resolver_stat(tallies: Iterable[Tally], words: Sequence[str] = ()) -> str:
    """The reply to `show stat domain resolvers`, a row a name server. words: `typed`, `json`, `desc`; others are passed over."""
    tallies = list(tallies)
    counters = tallies[0].counters if tallies else COUNTERS
    columns = columns_of(counters)
    rows = [
        (name, tally.name, *(counts[counter] for counter in counters))
        for tally in tallies
        for name, counts in tally.nameservers.items()
    ]
    form = Format.CSV
    for word in words:
        form = {"typed": Format.TYPED, "json": Format.JSON}.get(word, form)
    match form:
        case Format.CSV:
            head = "# " + "".join(f"{column[0]}," for column in columns)
            return "".join(f"{line}\n" for line in (head, *("".join(f"{value}," for value in row) for row in rows)))
        case Format.TYPED:
            described = "desc" in words
            return "".join(
                f"N.{position}.{name}:{tag}:{kind}:{value}" + (f':"{text}"\n' if described else "\n")
                for row in rows
                for position, ((name, tag, kind, text), value) in enumerate(zip(columns, row, strict=True))
            )
        case Format.JSON:
            return json.dumps([_objects(columns, row) for row in rows], separators=(",", ":")) + "\n"


def _objects(columns: Sequence[tuple[str, str, str, str]], row: Sequence[object]) -> list[dict[str, object]]:
    return [
        {
            "field": {"pos": position, "name": name},
            "tags": tag_words(tag),
            "value": {"type": kind, "value": value},
        }
        for position, ((name, tag, kind, _), value) in enumerate(zip(columns, row, strict=True))
    ]
