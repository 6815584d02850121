"""What every call into C needs: whether the compiled module fits, its refusals as errors, values that go both ways."""

from __future__ import annotations

import errno
import hashlib
from typing import Any

import msgspec

from risefall.engine._native import ffi, lib
from risefall.errors import NativeError

ABI = 1

FAMILY = {4: lib.RF_INET, 6: lib.RF_INET6, 1: lib.RF_UNIX, 2: lib.RF_ABSTRACT}
"""`config.haproxy.model.Family` to native; the other families have to be resolved first."""

if lib.rf_abi() != ABI:
    raise ImportError(f"risefall: the compiled module has ABI {lib.rf_abi()}, this package wants {ABI}: build it again")


def has_regex() -> bool:
    """Whether this build has PCRE2."""
    return bool(lib.rf_features() & 1)


def refusal(call: str) -> NativeError:
    """The error behind a call that C refused."""
    number = lib.rf_last_errno()
    return NativeError(call, errno.errorcode.get(number, "refused"), ffi.string(lib.rf_last_error()).decode("latin-1"))


def now_ns() -> int:
    """The engine's clock: monotonic nanoseconds."""
    return int(lib.rf_now_ns())


def digest(*parts: object) -> bytes:
    """Sixteen bytes that are the same for the same values, in this run and the next."""
    try:
        encoded = msgspec.msgpack.encode(parts)
    except UnicodeEncodeError:  # a path that is no UTF-8
        encoded = repr(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).digest()


class Endpoint(msgspec.Struct, frozen=True):
    """A resolved address. family: 4, 6, 1 (UNIX path) or 2 (abstract name); packed: network order or the name's bytes."""

    family: int
    packed: bytes
    port: int = 0
    scope: int = 0


def read_address(address: Any) -> Endpoint:
    """An `rf_address` as an endpoint."""
    packed = bytes(ffi.buffer(address.addr, address.addr_len))
    return Endpoint(
        {lib.RF_INET: 4, lib.RF_INET6: 6}.get(address.family, address.family), packed, address.port, address.scope
    )


def fill_address(target: Any, endpoint: Endpoint) -> None:
    """Writes an endpoint into an `rf_address`."""
    target.family = FAMILY[endpoint.family]
    target.addr_len = len(endpoint.packed)
    target.port = endpoint.port
    target.scope = endpoint.scope
    ffi.memmove(target.addr, endpoint.packed, len(endpoint.packed))


class Foreign(msgspec.Struct, frozen=True):
    """A pointer of another compiled module; owner keeps alive what it points to. mark: see `Program.mark`."""

    address: int
    owner: Any
    mark: bytes = b""


def foreign(pointer: Any, ffi_of_owner: Any, mark: bytes = b"") -> Foreign:
    """A pointer of another module for this one."""
    return Foreign(int(ffi_of_owner.cast("uintptr_t", pointer)), pointer, mark)


def socket_within(netns: int, family: int) -> int:
    """The descriptor of a socket in another namespace, or a negative errno. family: 4 or 6, as in Endpoint."""
    return int(lib.rf_socket_within(netns, family))


def use_tls(functions: int) -> None:
    """Takes the functions of module _tls, by their address. Raises NativeError when it is of another build."""
    if lib.rf_use_tls(ffi.cast("void *", functions)) != lib.RF_OK:
        raise refusal("TLS")
