"""What fetches and converters have in common: kinds of values, their arguments, and what they may name of a program.

Source: haproxy configuration manual 2.6, §7.3; the kinds are those that `haproxy -dKcnv -dKsmp` of 2.6.12 prints.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from risefall.config.haproxy.formats import Call
from risefall.engine._native import lib
from risefall.engine.around import Around
from risefall.engine.layout import NotChecked, Op, raw

INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
INT64_MAX = 2**63 - 1

CONDITIONS = {
    "ifexists": lib.RF_IF_EXISTS,
    "ifnotexists": lib.RF_IF_NOT_EXISTS,
    "ifempty": lib.RF_IF_EMPTY,
    "ifnotempty": lib.RF_IF_NOT_EMPTY,
    "ifset": lib.RF_IF_SET,
    "ifnotset": lib.RF_IF_NOT_SET,
    "ifgt": lib.RF_IF_GREATER,
    "iflt": lib.RF_IF_LESS,
}


def conditions_of(words: Sequence[str], what: str) -> int:
    """Conditions of set-var as bits. Raises NotChecked."""
    for word in words:
        if word not in CONDITIONS:
            raise NotChecked(f"{what}: unknown condition '{word}'")
    return sum({CONDITIONS[word] for word in words})


class Kind(enum.Enum):
    """What a fetch or a converter gives; ANY is known when it runs."""

    TEXT = enum.auto()
    BIN = enum.auto()
    INT = enum.auto()
    BOOL = enum.auto()
    METH = enum.auto()
    IPV4 = enum.auto()
    IPV6 = enum.auto()
    ADDR = enum.auto()
    MAPPED = enum.auto()
    """An address out of a map: HAProxy lets nothing follow that looks at it."""
    ANY = enum.auto()


NUMBERS = frozenset((Kind.INT, Kind.BOOL))
ADDRESSES = frozenset((Kind.IPV4, Kind.IPV6, Kind.ADDR))
NO_CAST = {
    Kind.BIN: NUMBERS | ADDRESSES,
    Kind.METH: NUMBERS | ADDRESSES,
    Kind.BOOL: ADDRESSES,
    Kind.IPV4: frozenset((Kind.BOOL,)),
    Kind.IPV6: NUMBERS,
    Kind.ADDR: frozenset((Kind.BOOL,)),
    Kind.MAPPED: frozenset(Kind) - {Kind.ANY},
}
"""What a value of one kind cannot become: HAProxy refuses such an expression."""


class Program(Protocol):
    """What an expression may ask of the program that it belongs to."""

    around: Around | None
    """Names of the configuration; None where they need not be there."""
    newer: bool
    """What HAProxy has since 2.6 is there, too."""

    def variable(self, name: str) -> int: ...

    def writable(self, name: str) -> int: ...

    def unique_id(self) -> int: ...

    def fact(self, name: str) -> int: ...

    def environment(self, name: str) -> bytes | None: ...


METHODS = frozenset((b"OPTIONS", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"TRACE", b"CONNECT"))
OTHER_METHOD = b"OPTIONS"
"""What a variable makes of a method that HAProxy has no number for."""


def kept_method(ops: Sequence[Op]) -> bytes:
    """A method as a variable keeps it; nothing where `ops` do not begin with one."""
    said = ops[0].text if ops else b""
    return said if said in METHODS else OTHER_METHOD


class Args:
    """Arguments of one call, by place."""

    def __init__(self, call: Call, program: Program) -> None:
        self.name = call.name
        self.bare = call.args is None
        """No parentheses at all."""
        self.program = program
        self._args = call.args or ()

    def __len__(self) -> int:
        return len(self._args)

    def has(self, at: int) -> bool:
        return at < len(self._args)

    def string(self, at: int, default: str = "") -> str:
        return self._args[at] if self.has(at) else default

    def text(self, at: int) -> bytes:
        return raw(self.string(at))

    def strings(self, at: int) -> Sequence[str]:
        """All from there on."""
        return self._args[at:]

    def number(self, at: int, default: int = 0, *, least: int = -INT64_MAX - 1, most: int = INT64_MAX) -> int:
        """An integer; what does not fit 64 bits is the nearest that does, as in HAProxy."""
        if not self.has(at):
            return default
        word = self._args[at]
        if not INTEGER.fullmatch(word):
            raise NotChecked(f"'{self.name}': argument {at + 1} has to be an integer, got '{word}'")
        number = min(max(int(word), -INT64_MAX - 1), INT64_MAX)
        if not least <= number <= most:
            raise NotChecked(f"'{self.name}': argument {at + 1} lies outside {least} .. {most}: '{word}'")
        return number

    def word(self, at: int, known: dict[str, int], default: int) -> int:
        """One of some words, as its number."""
        if not self.has(at):
            return default
        if (word := self._args[at]) not in known:
            raise NotChecked(f"'{self.name}': argument {at + 1} is one of {', '.join(known)}, got '{word}'")
        return known[word]

    def variable(self, at: int) -> int:
        return self.program.variable(self.string(at))

    def writable(self, at: int) -> int:
        return self.program.writable(self.string(at))


class Sample(NamedTuple):
    """How a fetch or a converter is made. takes: ANY for a fetch. least, most: arguments."""

    make: Callable[[Args], list[Op]]
    takes: Kind
    gives: Kind
    least: int = 0
    most: int = 0


def compile_call(known: dict[str, Sample], what: str, call: Call, program: Program) -> tuple[list[Op], Sample]:
    """One fetch or converter as operations. Raises NotChecked, which names it."""
    sample = known.get(call.name)
    if sample is None:
        raise NotChecked(f"the {what} '{call.name}' is not supported")
    args = Args(call, program)
    if len(args) < sample.least:
        raise NotChecked(f"'{call.name}': missing arguments (got {len(args)}, wants {sample.least})")
    if len(args) > sample.most:
        raise NotChecked(f"'{call.name}': too many arguments (got {len(args)}, takes {sample.most})")
    return sample.make(args), sample
