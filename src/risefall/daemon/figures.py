"""What the engines know of checks, for the tables of the runtime API: one record, or those of many servers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from risefall.daemon.placed import Placed
from risefall.engine.native import Handle, Record
from risefall.engine.workers import Workers


class Known:
    """The records of one fleet; a `Block` of `surfaces.live`."""

    def __init__(self, placed: Placed, workers: Workers) -> None:
        self._placed = placed
        self._engines = workers.engines

    def __call__(self, index: int, which: int) -> Record | None:
        """The engine's figures of one check."""
        check = self._placed.check_id(index, which)
        return None if check is None else self._engines[check.worker].snapshot([check.handle])[0]

    def block(self, indices: Sequence[int], which: int) -> list[tuple[Any, ...] | None]:
        """Those of many, plain."""
        found: list[tuple[Any, ...] | None] = [None] * len(indices)
        wanted: dict[int, tuple[list[int], list[Handle]]] = {}
        for place, (worker, handle) in enumerate(self._placed.places(indices, which)):
            if handle:
                places, handles = wanted.setdefault(worker, ([], []))
                places.append(place)
                handles.append(handle)
        for number, (places, handles) in wanted.items():
            for place, figures in zip(places, self._engines[number].figures(handles), strict=True):
                found[place] = figures if figures[0] else None
        return found
