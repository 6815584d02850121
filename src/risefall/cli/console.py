"""Where tables go: rich's console, with a closed pipe as quiet here as everywhere."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from risefall.cli.main import ClosedPipe
from risefall.config.text import printable


class Screen(Console):
    """stdout for people. Nothing is highlighted or taken for markup unless asked."""

    def on_broken_pipe(self) -> None:
        """rich would end the process with 1, which here means that a server is down."""
        raise ClosedPipe


def grid(*heads: str) -> Table:
    """A table without lines, whose columns fold."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def plain(text: str) -> Text:
    """Foreign text: neither markup nor control characters."""
    return Text(printable(text))
