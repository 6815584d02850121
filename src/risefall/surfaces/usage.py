"""The list of commands that `help` and an unknown command print, in HAProxy's layout.

Which commands are close is our own rule, simpler than HAProxy's: the same words in front, then what begins alike, then
what is spelt alike. Source: spec/haproxy-checks.md §7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import msgspec

ALL = "Unknown command. Please enter one of the following commands only:"
CLOSE = "Unknown command, but maybe one of the following ones is a better match:"
CLOSE_3 = "Unknown command: '{word}', but maybe one of the following ones is a better match:"
"""The same in HAProxy 3, which answers an empty line with nothing."""

HELP = "The following commands are valid at this level:"

MATCHES_MAX = 5
ALIKE = 0.5
"""Share of letters in common from which on a command is offered."""

NEXT_BEST = 0.8
"""The same beside the closest command, as a share of its share."""


class Usage(msgspec.Struct, frozen=True):
    """What is printed of one command. words: what is typed to call it."""

    words: tuple[str, ...]
    shown: str
    text: str


def _always(prompt: str) -> tuple[Usage, ...]:
    return (
        Usage(("help",), "help [<command>]", "list matching or all commands"),
        Usage(("prompt",), prompt, "toggle interactive mode with prompt"),
        Usage(("quit",), "quit", "disconnect"),
    )


ALWAYS, ALWAYS_3 = _always("prompt"), _always("prompt [help | n | i | p | timed ]*")
"""At the end of every list, in 2.6 and in HAProxy 3."""


def render_usage(title: str, usages: Sequence[Usage]) -> str:
    """A title and a line a command, ended each."""
    return f"{title}\n" + "".join(f"  {usage.shown:<40}: {usage.text}\n" for usage in usages)


def closest(typed: Sequence[str], usages: Sequence[Usage]) -> list[Usage]:
    """The commands that `typed` may have meant, in the order of `usages`; all of them for no words."""
    known = max((_common(typed, usage.words) for usage in usages), default=0)
    fitting = [usage for usage in usages if _common(typed, usage.words) == known]
    rest = " ".join(typed[known:])
    if not rest:
        return fitting
    if len(typed) == known + 1:
        begun = [usage for usage in fitting if len(usage.words) > known and usage.words[known].startswith(typed[known])]
        if begun:
            return begun
    scores = {usage.words: _alike(rest, " ".join(usage.words[known:])) for usage in fitting}
    best = sorted(fitting, key=lambda usage: -scores[usage.words])[:MATCHES_MAX]
    least = max(ALIKE, scores[best[0].words] * NEXT_BEST) if best else ALIKE
    close = [usage for usage in fitting if usage in best and scores[usage.words] >= least]
    return fitting if known and not close and len(fitting) <= MATCHES_MAX else close


def _common(typed: Sequence[str], words: Sequence[str]) -> int:
    """How many words in front are the same."""
    count = 0
    for mine, theirs in zip(typed, words, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def _alike(typed: str, words: str) -> float:
    # A line of 16 KiB is no reason to compare 16 KiB; what cannot come to `ALIKE` is not compared at all.
    typed = typed[:80]
    if 2 * min(len(typed), len(words)) < ALIKE * (len(typed) + len(words)):
        return 0.0
    matcher = SequenceMatcher(None, typed, words, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= ALIKE else 0.0
