"""Where tables go: rich's console, with a closed pipe as quiet here as everywhere."""

from __future__ import annotations

from rich.console import Console

from risefall.cli.main import ClosedPipe


class Screen(Console):
    """stdout for people. Nothing is highlighted or taken for markup unless asked."""

    def on_broken_pipe(self) -> None:
        """rich would end the process with 1, which here means that a server is down."""
        raise ClosedPipe
