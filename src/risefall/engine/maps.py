"""The converters map_*: a map file, read when the configuration is, becomes a table that C looks a value up in.

Source: haproxy configuration manual 2.6, §7.3.1 map; what the file may hold was run on 2.6.12. Differs: a name of a host as an
address is refused, since reading a file must not wait for a resolver.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from risefall.engine._native import lib
from risefall.engine.layout import NotChecked, Op, raw
from risefall.engine.samples import INT64_MAX, Args, Kind, Sample

METHODS = {
    "str": (lib.RF_MAP_EQUAL, Kind.TEXT),
    "beg": (lib.RF_MAP_BEGIN, Kind.TEXT),
    "end": (lib.RF_MAP_END, Kind.TEXT),
    "sub": (lib.RF_MAP_WITHIN, Kind.TEXT),
    "dir": (lib.RF_MAP_DIRECTORY, Kind.TEXT),
    "dom": (lib.RF_MAP_DOMAIN, Kind.TEXT),
    "int": (lib.RF_MAP_NUMBER, Kind.INT),
    "ip": (lib.RF_MAP_ADDRESS, Kind.ADDR),
    "reg": (lib.RF_MAP_REGEX, Kind.TEXT),
    "regm": (lib.RF_MAP_REGEX_FILL, Kind.TEXT),
}
GIVEN = {"": (lib.RF_MAP_TEXT, Kind.TEXT), "int": (lib.RF_MAP_INT, Kind.INT), "ip": (lib.RF_MAP_IP, Kind.MAPPED)}
"""What comes out, by the second half of the name."""
INTEGER = re.compile(rb"-?[0-9]+")
Key = TypeVar("Key")
BLANKS = b" \t"
IPV4_BITS = 32


class Entry(NamedTuple):
    """One line of a map. line: its number."""

    key: bytes
    value: bytes
    line: int


def read(name: str, path: str) -> list[Entry]:
    """The lines of a map file. name: the converter. Raises NotChecked."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise NotChecked(f"'{name}': failed to open pattern file <{path}>: {error.strerror}") from error
    return list(entries(text))


def entries(text: bytes) -> Iterator[Entry]:
    """Keys end at the first blank, values with the line; a `#` is a comment only at the very begin of a line."""
    for number, whole in enumerate(text.split(b"\n"), 1):
        line = whole.split(b"\r")[0].lstrip(BLANKS)
        if whole.startswith(b"#") or not line:
            continue
        key = re.split(rb"[ \t]", line, maxsplit=1)[0]
        yield Entry(key, line[len(key) :].strip(BLANKS), number)


# --- keys and values -------------------------------------------------------------------------------------


def number_of(text: bytes) -> int:
    """Raises ValueError."""
    if not INTEGER.fullmatch(text):
        raise ValueError
    return min(max(int(text), -INT64_MAX - 1), INT64_MAX)


def range_key(text: bytes) -> bytes:
    """`5`, `1:10` or `1-10`, `:10` and `10:`. A sign is a range from the least on, as in HAProxy. Raises ValueError."""
    found = re.search(rb"[:-]", text)
    if found is None:
        low = high = number_of(text)
    else:
        before, behind = text[: found.start()], text[found.end() :]
        if not before and not behind:
            raise ValueError
        low = number_of(before) if before else -INT64_MAX - 1
        high = number_of(behind) if behind else INT64_MAX
    if low > high:
        raise ValueError
    return struct.pack("<qq", low, high)


def network(text: bytes) -> tuple[bytes, int, bool]:
    """Address and mask one behind the other, how many bits the mask has, and whether it has holes. Raises ValueError."""
    word, _slash, said = text.decode("ascii").partition("/")
    address = ipaddress.ip_address(word)
    bits = address.max_prefixlen
    every = (1 << bits) - 1
    mask = every
    if said.isdecimal() and int(said) <= bits:
        mask = every << (bits - int(said)) & every
    elif said and bits == IPV4_BITS:
        mask = int(ipaddress.IPv4Address(said))
    elif said:
        raise ValueError
    ones = mask.bit_count()
    size = bits // 8
    key = (int(address) & mask).to_bytes(size, "big") + mask.to_bytes(size, "big")
    return key, ones, mask != every << (bits - ones) & every


def typed_value(gives: int, text: bytes) -> bytes:
    """A value as C wants it. Raises ValueError."""
    if gives == lib.RF_MAP_INT:
        return struct.pack("<q", number_of(text))
    if gives == lib.RF_MAP_IP:
        return ipaddress.ip_address(text.decode("ascii")).packed
    return text


def in_order(how: int, found: list[Entry]) -> list[tuple[bytes, Entry]]:
    """Keys as C wants them, in the order in which the first that fits is the right one. Raises ValueError with the entry."""
    if how == lib.RF_MAP_EQUAL:
        first: dict[bytes, Entry] = {}
        for entry in found:
            first.setdefault(entry.key, entry)
        return sorted(first.items())
    if how == lib.RF_MAP_BEGIN:
        return [(entry.key, entry) for entry in sorted(found, key=lambda entry: -len(entry.key))]
    if how == lib.RF_MAP_NUMBER:
        return [(told(entry, range_key, "number range"), entry) for entry in found]
    if how == lib.RF_MAP_ADDRESS:
        nets = [(*told(entry, network, "IPv4 or IPv6 address"), entry) for entry in found]
        nets.sort(key=lambda net: (net[2], 0 if net[2] else -net[1]))
        return [(key + bytes([holes]), entry) for key, _ones, holes, entry in nets]
    return [(entry.key, entry) for entry in found]


def told(entry: Entry, make: Callable[[bytes], Key], what: str) -> Key:
    """A key made; what is wrong with it is told with its line. Raises NotChecked."""
    try:
        return make(entry.key)
    except ValueError as error:
        raise NotChecked(
            f"{entry.key.decode(errors='replace')!r} is not a valid {what} at line {entry.line}"
        ) from error


def table(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """As native/maps.c reads it."""
    at = 4 + 16 * len(pairs)
    head, texts = [struct.pack("<I", len(pairs))], []
    for pair in pairs:
        for text in pair:
            head.append(struct.pack("<II", at, len(text)))
            texts.append(text)
            at += len(text)
    return b"".join(head + texts)


def make_map(how: int, gives: int) -> Callable[[Args], list[Op]]:
    def make(args: Args) -> list[Op]:
        path = args.string(0)
        if not path:
            raise NotChecked(f"'{args.name}': the file of the map is missing")
        other = b""
        if args.has(1):
            try:
                other = typed_value(gives, raw(args.string(1)))
            except ValueError:
                raise NotChecked(f"'{args.name}': '{args.string(1)}' cannot be what it gives") from None
        pairs = []
        try:
            for key, entry in in_order(how, read(args.name, path)):
                try:
                    pairs.append((key, typed_value(gives, entry.value)))
                except ValueError:
                    said = entry.value.decode(errors="replace")
                    raise NotChecked(f"unable to parse '{said}' at line {entry.line}") from None
        except NotChecked as error:
            raise NotChecked(f"'{args.name}': {error} of file '{path}'") from error
        number = gives | (lib.RF_MAP_OTHERWISE if args.has(1) else 0)
        return [Op(lib.RF_CONV_MAP, how, number, table(pairs), other)]

    return make


def all_maps() -> Iterator[tuple[str, Sample]]:
    """`map`, `map_METHOD`, `map_METHOD_int`, `map_METHOD_ip`."""
    for method, (how, takes) in METHODS.items():
        for word, (gives, kind) in GIVEN.items():
            if method == "regm" and word:
                continue
            name = f"map_{method}_{word}" if word else f"map_{method}"
            yield name, Sample(make_map(how, gives), takes, kind, 1, 2)
    yield "map", Sample(make_map(lib.RF_MAP_EQUAL, lib.RF_MAP_TEXT), Kind.TEXT, Kind.TEXT, 1, 2)


MAPS = dict(all_maps())
