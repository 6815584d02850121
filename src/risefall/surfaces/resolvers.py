"""`show resolvers [<id>]`: what was asked of each name server, and what came of it.

Source: run on 2.6.12. Differs: the section `default`, which is there unasked, is shown where servers use it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

COUNTERS = (
    "sent", "snd_error", "valid", "update", "cname", "cname_error", "any_err", "nx", "timeout", "refused", "other",
    "invalid", "too_big", "truncated", "outdated",
)  # fmt: skip


class NoResolvers(ValueError):
    """The section asked for does not exist; the text is HAProxy's."""


class Tally(msgspec.Struct):
    """The counters of one section, by name server and by names of `COUNTERS`."""

    name: str
    nameservers: dict[str, Counter[str]] = {}


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
            lines.extend(f"  {f'{counter}:':<12} {counts[counter]}\n" for counter in COUNTERS)
    return "".join(lines)
