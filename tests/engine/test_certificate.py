"""Certificates as people want them: against another reader, and against rubbish."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certs_kit import authority, leaf
from risefall.engine.certificate import DAY_S, Certificate, parse_certificate, parse_time

DER = ssl.PEM_cert_to_DER_cert(leaf().cert_chain_pems[0].bytes().decode())
CA_DER = ssl.PEM_cert_to_DER_cert(authority().cert_pem.bytes().decode())


@pytest.mark.parametrize("der", [DER, CA_DER])
def test_it_reads_what_another_reader_reads(der: bytes) -> None:
    ours, theirs = parse_certificate(der), x509.load_der_x509_certificate(der)
    assert ours.not_before_s == theirs.not_valid_before_utc.timestamp()
    assert ours.not_after_s == theirs.not_valid_after_utc.timestamp()
    assert ours.issuer == "Test Authority"


def test_the_names() -> None:
    ours = parse_certificate(DER)
    assert (ours.subject, ours.names) == ("shop.example", ("shop.example", "127.0.0.1"))
    assert ours.days_left(time.time()) == 90


def test_days_left_are_whole_and_may_be_gone() -> None:
    one = Certificate("s", "i", (), 0, 10 * DAY_S)
    assert [one.days_left(at * DAY_S) for at in (0, 9.5, 10, 10.5, 12)] == [10, 0, 0, -1, -2]


def test_times_of_both_kinds() -> None:
    assert parse_time(0x17, b"491231235959Z") == parse_time(0x18, b"20491231235959Z")
    assert parse_time(0x17, b"700101000000Z") == 0
    for kind, text in ((0x17, b"70"), (0x18, b"x"), (0x13, b"700101000000Z"), (0x18, b"20490001000000Z")):
        with pytest.raises(ValueError):  # noqa: PT011 - the words do not matter
            parse_time(kind, text)


@given(st.binary(max_size=80))
def test_rubbish_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_certificate(der)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.integers(0, len(DER)))
def test_a_damaged_certificate_is_read_or_refused(at: int, byte: int, cut: int) -> None:
    damaged = DER[:at] + bytes([byte]) + DER[at + 1 :]
    for der in (damaged, damaged[:cut]):
        with suppress(ValueError):
            assert isinstance(parse_certificate(der), Certificate)


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    evil = parse_certificate(DER.replace(b"shop.example", b"sho\x1b[2J.exam"))
    assert evil.names == ("sho?[2J.exam", "127.0.0.1")
