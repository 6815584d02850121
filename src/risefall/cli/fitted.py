"""Tables that fit the terminal: names are never broken, and what matters less is left out where there is no room.

Somebody who sees a name in two pieces cannot search for it, nor copy it. So a column either has the room that it wants or
is left out, which is said below the table; only texts for people (reasons) are folded. A file or a pipe has no width:
there everything is shown, a row a line.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2
FOLD_LEAST = 16
"""Least width of a column that may be folded."""


class Column(msgspec.Struct, frozen=True):
    """One column. rank: 0 always stays, of the others the lowest come first where there is not room for all.

    shorter: what it says where there is not room for all. folds: its texts may take several lines.
    """

    head: str
    cells: Sequence[Text]
    rank: int = 0
    shorter: Sequence[Text] = ()
    right: bool = False
    folds: bool = False

    @property
    def least(self) -> int:
        """The width that it must have."""
        width = max(len(self.head), *(cell.cell_len for cell in self.cells), 0)
        return min(width, max(FOLD_LEAST, len(self.head))) if self.folds else width

    @property
    def speaks(self) -> bool:
        return any(cell.plain for cell in self.cells)


class Fitted(msgspec.Struct, frozen=True):
    """The table; columns that have nothing to say are not shown."""

    columns: Sequence[Column]

    def fit(self, width: int) -> tuple[list[Column], list[Column]]:
        """The columns that are shown in so much room, and those that are left out for want of it."""
        wanted = [one for one in self.columns if not one.rank or one.speaks]
        if room_of(wanted) <= width:
            return wanted, []
        wanted = [msgspec.structs.replace(one, cells=one.shorter or one.cells) for one in wanted]
        shown = [one for one in wanted if not one.rank]
        for one in sorted(wanted, key=lambda one: one.rank):
            if one.rank and room_of([*shown, one]) <= width:
                shown.append(one)
        heads = {one.head for one in shown}
        return [one for one in wanted if one.head in heads], [one for one in wanted if one.head not in heads]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, left_out = self.fit(options.max_width)
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP // 2))
        for one in shown:
            table.add_column(
                one.head,
                justify="right" if one.right else "left",
                overflow="fold",
                min_width=one.least,
                no_wrap=not one.folds,
            )
        for cells in zip(*(one.cells for one in shown), strict=True):
            table.add_row(*cells)
        yield from console.render(table, options.update(max_width=max(options.max_width, room_of(shown))))
        if left_out:
            names = ", ".join(one.head for one in left_out)
            yield Text(f"not shown in {options.max_width} columns: {names}", style="dim")


def room_of(columns: Sequence[Column]) -> int:
    """The least that these columns take."""
    return sum(one.least for one in columns) + GAP * (len(columns) - 1)


def fitted(
    heads: Sequence[str], rows: Sequence[Sequence[str | Text]], *, drop: Sequence[str] = (), fold: str = ""
) -> Fitted:
    """A table of rows. drop: heads of columns that may go where there is no room, the first one first; fold: of the one that folds."""
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    ranks = {head: len(drop) - at for at, head in enumerate(drop)}
    return Fitted(
        [
            Column(head, [row[at] for row in cells], rank=ranks.get(head, 0), folds=head == fold)
            for at, head in enumerate(heads)
        ]
    )
