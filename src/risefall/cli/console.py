"""Where tables go: rich's console, with a closed pipe as quiet here as everywhere."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from risefall.cli.main import ClosedPipe
from risefall.config.text import printable

PIPE_COLUMNS = 100_000
"""As wide as any line; a file or a pipe has no width."""


class Screen(Console):
    """stdout for people. Nothing is highlighted or taken for markup unless asked."""

    def show(self, picture: RenderableType) -> None:
        """Prints what may be wider than the terminal; what goes elsewhere has no blanks at the ends of its lines."""
        if self.is_terminal:
            self.print(picture, crop=False, soft_wrap=isinstance(picture, Text))
            return
        with self.capture() as kept:
            self.print(picture, crop=False, soft_wrap=isinstance(picture, Text))
        for line in kept.get().splitlines():
            self.out(line.rstrip(), highlight=False)

    def on_broken_pipe(self) -> None:
        """rich would end the process with 1, which here means that a server is down."""
        raise ClosedPipe


def open_screen() -> Screen:
    """A terminal as wide as it is; what goes elsewhere as wide as it wants, unless COLUMNS says how wide."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Screen(highlight=False, width=PIPE_COLUMNS) if piped else Screen(highlight=False)


def grid(*heads: str) -> Table:
    """A table without lines, whose columns fold."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def plain(text: str) -> Text:
    """Foreign text: neither markup nor control characters."""
    return Text(printable(text))
