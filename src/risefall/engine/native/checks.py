"""One check as C takes it: the program that it runs, what its connections go through, and where it goes how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native.calls import Endpoint, Foreign, digest, fill_address, refusal


class Transport:
    """What the connections of checks go through; shared by all servers that say the same. See `rf_transport_spec`."""

    def __init__(
        self,
        layers: int,
        *,
        tls: Foreign | None = None,
        socks4: Endpoint | None = None,
        sni: str = "",
        alpn: bytes = b"",
        proxy_v2: bool = False,
    ) -> None:
        """tls: a context of module _tls. Raises NativeError."""
        spec = ffi.new("rf_transport_spec *")
        spec.layers = layers
        spec.proxy_v2 = proxy_v2
        spec.tls = ffi.NULL if tls is None else ffi.cast("void *", tls.address)
        if socks4 is not None:
            fill_address(spec.socks4, socks4)
        self.mark = digest(layers, tls.mark if tls else None, socks4, sni.encode("utf-8", "replace"), alpn, proxy_v2)
        kept_sni, kept_alpn = ffi.new("char[]", sni.encode("utf-8", "surrogateescape")), ffi.new("uint8_t[]", alpn)
        spec.sni = kept_sni if sni else ffi.NULL
        spec.alpn, spec.alpn_len = kept_alpn, len(alpn)
        pointer = lib.rf_transport_new(spec)
        if pointer == ffi.NULL:
            raise refusal("transport")
        self.pointer = ffi.gc(pointer, lib.rf_transport_drop)  # a last net; checks and probes hold it too


class Process:
    """What an external-check starts. See `rf_process_new`."""

    def __init__(self, path: bytes, argv: Sequence[bytes], env: Sequence[bytes]) -> None:
        """Raises NativeError."""
        self.mark = digest(path, argv, env)
        kept = [[ffi.new("char[]", word) for word in words] for words in (argv, env)]
        arrays = [ffi.new("char *[]", words) if words else ffi.NULL for words in kept]
        pointer = lib.rf_process_new(path, arrays[0], len(argv), arrays[1], len(env))
        if pointer == ffi.NULL:
            raise refusal("external-check")
        self.pointer = ffi.gc(pointer, lib.rf_process_drop)


class Program:
    """A compiled check program, shared by every check with the same rules.

    mark: the same for programs that do the same, so that a reload can tell what has changed.
    """

    def __init__(self, rules: Any, ops: Any, blob: bytes, flags: int, bufsize: int) -> None:
        """`rules` and `ops` are cffi arrays of `rf_rule` and `rf_op`. Raises NativeError for a bad regex."""
        self._pointer = lib.rf_program_new(rules, len(rules), ops, len(ops), blob, len(blob), flags, bufsize)
        if self._pointer == ffi.NULL:
            raise refusal("check program")
        self.mark = digest(bytes(ffi.buffer(rules)), bytes(ffi.buffer(ops)), blob, flags, bufsize)
        self.pointer = ffi.gc(self._pointer, lib.rf_program_drop)  # a last net; engines and probes hold it too


class CheckSpec(msgspec.Struct, frozen=True):
    """All that C needs to run one check; field by field `rf_check`. Times are ms, first_ns is on the engine's clock."""

    to: Endpoint
    inter_ms: int
    rise: int
    fall: int
    health: int
    tag: int
    first_ns: int
    fastinter_ms: int = 0
    downinter_ms: int = 0
    connect_ms: int = 0
    check_ms: int = 0
    spread_pct: int = 0
    group: int = 0
    weight: int = 1
    initial_weight: int = 1
    enabled: bool = True
    paused: bool = False
    stopped: bool = False
    late_check_timeout: bool = False
    static_weights: bool = False
    source: Endpoint | None = None
    source_port_max: int = 0
    interface: str = ""
    netns: int = 0
    site: bytes = b""
    transport: Transport | None = None
    process: Process | None = None
    outside: bool = False
    """Its runs are made elsewhere: an event asks for each (`Event.run`), a report brings its end."""


def fill_check(out: Any, spec: CheckSpec) -> None:
    """Writes a spec into an `rf_check`."""
    ffi.memmove(out, bytes(ffi.sizeof("rf_check")), ffi.sizeof("rf_check"))
    fill_address(out.to, spec.to)
    if spec.source is not None:
        fill_address(getattr(out, "from"), spec.source)
        out.from_port_max = spec.source_port_max
    out.netns = spec.netns
    interface = spec.interface.encode()[:15]
    ffi.memmove(out.interface, interface, len(interface))
    for name in (
        "inter_ms", "fastinter_ms", "downinter_ms", "connect_ms", "check_ms", "rise", "fall", "health", "spread_pct",
        "group", "weight", "initial_weight", "enabled", "paused", "stopped", "late_check_timeout", "static_weights",
        "outside", "first_ns", "tag",
    ):  # fmt: skip
        setattr(out, name, getattr(spec, name))
    out.transport = ffi.NULL if spec.transport is None else spec.transport.pointer
    out.process = ffi.NULL if spec.process is None else spec.process.pointer
