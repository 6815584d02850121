"""Who owns something of C or of the kernel, and gives it back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

from risefall.engine._native import ffi
from risefall.engine.native.calls import refusal


class Closing(ABC):
    """Closed at the end of its `with`, if not before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds. More than once is once."""


class Owned(Closing):
    """What C has made for one object, from that call until `close`."""

    def __init__(self, pointer: Any, free: Callable[[Any], None], call: str) -> None:
        """call: named in the error. Raises: NativeError where C refused."""
        if pointer == ffi.NULL:
            raise refusal(call)
        self._pointer = pointer
        self._free = free

    @property
    def closed(self) -> bool:
        return self._pointer is None

    def close(self) -> None:
        """Ends its thread, if it has one, and frees it. More than once is once."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)
