"""What C makes of a request's Connection headers and of its URI's authority, for any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from risefall.engine._native import ffi, lib

PIECES = st.lists(
    st.sampled_from([b"close", b"Keep-Alive", b"upgrade", b"a", b",", b" ", b"\t", b'"', b"\\", b"\0"]), max_size=12
)
URIS = st.lists(
    st.sampled_from([b"http", b"://", b"/", b"@", b"a.example", b":80", b"*", b"?", b"1", b"\0"]), max_size=8
)


def left(value: bytes) -> tuple[bytes, int]:
    said = ffi.new("uint32_t *")
    text = bytearray(value)
    return bytes(text[: lib.rf_connection_value(ffi.from_buffer(text), len(text), said)]), said[0]


@given(PIECES)
def test_what_is_left_of_a_connection_header(pieces: list[bytes]) -> None:
    """It never grows, and has none of HAProxy's own words."""
    value = b"".join(pieces)
    kept, said = left(value)
    assert len(kept) <= len(value)
    assert bool(said & lib.RF_SAID_ANY) == bool(value)
    if b'"' not in value:
        assert not {word.strip(b" \t").lower() for word in kept.split(b",")} & {b"close", b"keep-alive"}


@given(URIS)
def test_an_authority_lies_within_its_uri(pieces: list[bytes]) -> None:
    uri, span = b"".join(pieces), ffi.new("rf_span *")
    if lib.rf_uri_authority(uri, len(uri), span):
        found = uri[span.at : span.at + span.len]
        assert span.at + span.len <= len(uri)
        assert not set(found) & set(b"/@")
        assert uri[:1] not in (b"", b"/", b"*")
    else:
        assert uri[:1] in (b"", b"/", b"*")
