"""The tables of expectations beside the tests: what haproxy 2.6.12 said, by check and peer or state.

`matrix.txt`: sound peers, a row for each check, a column for each peer. `own.txt`: checks that belong to one peer.
`states.txt`: a column for each state. A word is a status, with `/` its code where that is not 0; `|` is between those that may be.
RISEFALL_RECORD=1 writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from peers_checks import EITHER, MATRIX, PORTS, matrix_name, own_cases, state_cases
from peers_kit import Both

STATES = ("starting", "sound", "stopped", "killed", "gone")


def render_grid(rows: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """A table as text: its first line names the columns; two spaces or more part the words."""
    lines = [["", *columns], *([row, *(cell(row, column) for column in columns)] for row in rows)]
    widths = [max(map(len, words)) + 2 for words in zip(*lines, strict=True)]
    padded = ("".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def parse_grid(text: str) -> dict[tuple[str, str], str]:
    """Undoes `render_grid`: words by row and column."""
    head, *lines = text.splitlines() or [""]
    columns = head.split()
    found = {}
    for line in lines:
        row, *words = filter(None, map(str.strip, line.split("  ")))
        assert len(words) == len(columns), line
        found |= {(row, column): word for column, word in zip(columns, words, strict=True)}
    return found


class Table(msgspec.Struct):
    """Expected words by state and case."""

    words: dict[str, dict[str, str]]

    @classmethod
    def of(cls, outcomes: Mapping[str, Mapping[str, Both]]) -> Table:
        """What haproxy said."""
        return cls(
            {
                state: {
                    name: "|".join(EITHER.get(name, (theirs.short(),)))
                    for name, (theirs, _) in said.items()
                    if theirs is not None
                }
                for state, said in outcomes.items()
            }
        )

    @classmethod
    def read(cls, folder: Path) -> Table:
        """As the files have it."""
        words: dict[str, dict[str, str]] = {state: {} for state in STATES}
        for (name, state), word in parse_grid((folder / "states.txt").read_text()).items():
            words[state][name] = word
        for (check, port), word in parse_grid((folder / "matrix.txt").read_text()).items():
            words["sound"][matrix_name(check, port)] = word
        for (name, _), word in parse_grid((folder / "own.txt").read_text()).items():
            words["sound"][name] = word
        return cls(words)

    def write(self, folder: Path) -> None:
        """Replaces the files."""
        sound = self.words["sound"]
        matrix = render_grid(list(MATRIX), PORTS, lambda check, port: sound[matrix_name(check, port)])
        (folder / "matrix.txt").write_text(matrix)
        own = render_grid([case.name for case in own_cases()], ("sound",), lambda name, _: sound[name])
        (folder / "own.txt").write_text(own)
        states = render_grid([case.name for case in state_cases()], STATES, lambda name, state: self.words[state][name])
        (folder / "states.txt").write_text(states)
