"""Frontends that answer by themselves: their binds, conditions and files, and what is refused with its place."""

from __future__ import annotations

import pytest

from risefall.config.haproxy import read
from risefall.config.haproxy.fronts import Front, read_fronts
from risefall.config.text import Source
from risefall.errors import ConfigError

TAIL = "backend b\n  server s1 127.0.0.1:1\n  server s2 127.0.0.1:2\nlisten l\n  mode http\n  server x 127.0.0.1:3\n"


def fronts(text: str) -> list[Front]:
    return read_fronts(read([Source("t.cfg", text + TAIL)], dialect="3"))


def one(lines: str) -> Front:
    (found,) = fronts(f"frontend f\n  mode http\n  monitor-uri /m\n{lines}\n")
    return found


def test_who_answers() -> None:
    text = (
        "defaults web\n  mode http\n  monitor-uri /d\n  errorfile 503 /e503\ndefaults plain\n  mode http\n"
        "frontend a from web\n  bind :80\nfrontend b from plain\n  bind :81\n"
        "frontend c from plain\n  bind :82\n  monitor-net 10.0.0.0/8 192.168.0.1\n"
        "frontend d\n  mode tcp\n  monitor-uri /x\n  bind :83\n"
    )
    found = {front.name: front for front in fronts(text)}
    assert sorted(found) == ["a", "c"]
    assert (found["a"].monitor_uri, found["a"].errorfiles) == ("/d", (("503", "/e503"),))
    assert [str(network) for network in found["c"].networks] == ["10.0.0.0/8", "192.168.0.1/32"]


def test_binds() -> None:
    front = one(
        "  bind 127.0.0.1:80,[::1]:81 v6only\n  bind *:8000-8002\n  bind /run/x.sock mode 660 user u\n  bind :443 ssl crt x"
    )
    shown = [(bind.address.host, bind.address.port, bind.why_not) for bind in front.binds]
    assert shown == [
        ("127.0.0.1", 80, ""),
        ("::1", 81, ""),
        ("0.0.0.0", 8000, ""),
        ("0.0.0.0", 8001, ""),
        ("0.0.0.0", 8002, ""),
        ("/run/x.sock", 0, ""),
        ("0.0.0.0", 443, "'ssl' binds are not served"),
    ]
    assert front.binds[1].v6only
    assert (front.binds[5].mode, front.binds[5].user) == ("660", "u")


def test_conditions() -> None:
    front = one(
        "  acl few nbsrv(b) lt 2\n  acl few nbsrv(b) gt 9\n  monitor fail if few !TRUE or ! { srv_is_up(b/s1) }\n"
        "  monitor fail unless { nbsrv(b) 1:3 5 le 7 } || !few"
    )
    first, second = front.fails
    assert [[(term.negated, len(term.tests)) for term in choice] for choice in first.choices] == [
        [(False, 2), (True, 1)],
        [(True, 1)],
    ]
    assert second.unless
    assert second.choices[0][0].tests[0].bounds == ((1, 3), (5, 5), (None, 7))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("  monitor fail if { nbsrv(zz) lt 1 }", "unable to find backend 'zz'"),
        ("  monitor fail if { srv_is_up(b/zz) }", "unable to find server 'zz' in proxy 'b'"),
        ("  monitor fail if { srv_is_up() }", "'srv_is_up' wants a server"),
        ("  monitor fail if nope", "no such ACL : 'nope'"),
        ("  acl lower nbsrv(b) lt 1\n  monitor fail if lowr", "no such ACL : 'lowr'"),
        ("  monitor fail", "requires either 'if' or 'unless'"),
        ("  monitor fail when TRUE", "requires either 'if' or 'unless'"),
        ("  monitor foo", "only supports 'fail'"),
        ("  monitor fail if { nbsrv(b) foo 1 }", "'foo' is not a number"),
        ("  monitor fail if { hdr(x) -m found }", "it needs traffic"),
        ("  monitor fail if { nbsrv(b),add(1) gt 2 }", "converters"),
        ("  monitor fail if { nbsrv(b) lt 1", "missing closing '}'"),
        ("  monitor fail if { src 10.0.0.300 }", "is no address or network"),
        ("  monitor fail if { nbsrv(b) -f /x }", "'-f' is not supported"),
        ("  bind :1-9999", "a range of 9999 ports"),
    ],
)
def test_what_is_refused(lines: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        one(lines)
    assert said in str(refused.value)
    assert "t.cfg:" in str(refused.value)


def test_an_acl_that_nobody_asks_may_be_anything() -> None:
    assert one("  acl bot hdr_sub(user-agent) -i bot\n  monitor fail if { nbsrv(b) lt 1 }").fails
