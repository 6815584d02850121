"""ACLs and the conditions made of them, as far as the health of servers and the plain facts of a request can decide them.

`acl NAME FETCH [flags] [operator] value...` and anonymous `{ FETCH ... }`; a condition is `if` or `unless` and terms, where
blanks mean and, `or` and `||` mean or, `!` means not. Source: haproxy configuration manual 2.6, §7.1, §7.2; spec §8.2.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from risefall.config.text import Wrong, nearest

INTEGERS = frozenset(
    [
        "nbsrv",
        "connslots",
        "be_conn_free",
        "srv_conn_free",
        "avg_queue",
        "queue",
        "srv_conn",
        "srv_queue",
        "srv_sess_rate",
        "be_conn",
        "be_sess_rate",
        "fe_conn",
        "fe_sess_rate",
        "srv_weight",
        "srv_uweight",
        "srv_iweight",
        "be_id",
        "fe_id",
        "dst_port",
    ]
)
BOOLEANS = frozenset(["srv_is_up", "always_true", "always_false"])
TEXTS = frozenset(["path", "method", "be_name", "fe_name"])
ADDRESSES = frozenset(("src",))
FETCHES = INTEGERS | BOOLEANS | TEXTS | ADDRESSES
OF_SERVERS = frozenset(
    ["srv_is_up", "srv_conn_free", "srv_conn", "srv_queue", "srv_sess_rate", "srv_weight", "srv_uweight", "srv_iweight"]
)
OF_BACKENDS = frozenset(["nbsrv", "connslots", "be_conn_free", "avg_queue", "queue", "be_conn", "be_sess_rate"])
OPERATORS = frozenset(("eq", "ge", "gt", "le", "lt"))
METHODS = ("found", "bool", "int", "str", "beg", "end", "sub", "ip")
BUILT_IN = {
    "TRUE": ("always_true",),
    "FALSE": ("always_false",),
    "LOCALHOST": ("src", "127.0.0.1/8", "::1"),
    "METH_GET": ("method", "GET", "HEAD"),
    "METH_HEAD": ("method", "HEAD"),
    "METH_POST": ("method", "POST"),
    "METH_OPTIONS": ("method", "OPTIONS"),
    "METH_PUT": ("method", "PUT"),
    "METH_DELETE": ("method", "DELETE"),
    "METH_CONNECT": ("method", "CONNECT"),
    "METH_TRACE": ("method", "TRACE"),
}
CALL = re.compile(r"([A-Za-z0-9_.]+)(?:\(([^()]*)\))?(,.*)?")
RANGE = re.compile(r"(-?\d+)?(:)?(-?\d+)?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Bounds = tuple[int | None, int | None]


class Test(msgspec.Struct, frozen=True):
    """One comparison. args: backend, or backend and server. bounds, texts, networks: any of them matches.

    how: `int`, `bool`, `ip`, or `str`, `beg`, `end`, `sub` of texts; `found`: there is a value at all.
    """

    fetch: str
    args: tuple[str, ...] = ()
    how: str = "int"
    bounds: tuple[Bounds, ...] = ()
    texts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    caseless: bool = False


class Term(msgspec.Struct, frozen=True):
    """One name or `{ ... }`. tests: one of them is enough."""

    negated: bool
    tests: tuple[Test, ...]


class Condition(msgspec.Struct, frozen=True):
    """choices: true when all terms of one of them hold; `unless` turns that round."""

    unless: bool
    choices: tuple[tuple[Term, ...], ...]


Acls = Mapping[str, Sequence[Test]]
Known = Callable[[str, str], str]
"""`known(backend, server)`: "" where they exist (server "" for none asked), else what is wrong."""


def read_test(words: Sequence[str], at: int, own: str, known: Known) -> Test:
    """A fetch with its flags, operator and values. own: the proxy that it stands in. Raises: Wrong."""
    found = CALL.fullmatch(words[0]) if words else None
    if found is None:
        raise Wrong("a condition wants a fetch", at, help="such as nbsrv(backend) lt 1")
    name, inside, converters = found.groups()
    if name not in FETCHES:
        meant = nearest(name, FETCHES)
        raise Wrong(
            f"'{name}' cannot be decided here: it needs traffic",
            at,
            help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(sorted(FETCHES)),
        )
    if converters:
        raise Wrong(f"converters behind '{name}' are not supported here", at, help="compare its plain value")
    args = read_args(name, inside or "", at, own, known)
    how = "ip" if name in ADDRESSES else "str" if name in TEXTS else "bool" if name in BOOLEANS else "int"
    return read_patterns(name, args, how, words, at)


def read_args(name: str, inside: str, at: int, own: str, known: Known) -> tuple[str, ...]:
    """Backend, or backend and server, that a fetch asks about. Raises: Wrong for those that are not there."""
    given = inside.strip()
    if name in OF_SERVERS:
        backend, slash, server = given.rpartition("/")
        pair = (backend if slash else own, server)
        if not server or (why := known(*pair)):
            raise Wrong(why if server else f"'{name}' wants a server", at, help=f"such as {name}(backend/server)")
        return pair
    if name in OF_BACKENDS:
        if why := known(given or own, ""):
            raise Wrong(why, at, help=f"such as {name}(backend)")
        return (given or own,)
    if given:
        raise Wrong(f"'{name}' takes no argument here", at, help="remove it")
    return ()


def read_patterns(name: str, args: tuple[str, ...], how: str, words: Sequence[str], at: int) -> Test:
    """Flags, operator and values behind a fetch. Raises: Wrong."""
    place, caseless = 1, False
    while place < len(words) and words[place].startswith("-") and not words[place][1:2].isdigit():
        flag = words[place]
        place += 1
        if flag == "--":
            break
        if flag == "-i":
            caseless = True
        elif flag == "-m" and place < len(words) and words[place] in METHODS:
            how = words[place]
            place += 1
        elif flag not in ("-n", "-u"):
            raise Wrong(f"'{flag}' is not supported here", at + place - 1, help="known are -i, -m and --")
    values = words[place:]
    if how == "int":
        return Test(name, args, how, bounds=tuple(read_bounds(values, at + place)))
    if how == "ip":
        return Test(name, args, how, networks=tuple(read_network(value, at + place) for value in values))
    if how == "bool":
        bounds = tuple(read_bounds(values, at + place)) or ((1, None),)
        return Test(name, args, how, bounds=bounds)
    return Test(name, args, how, texts=tuple(values), caseless=caseless)


def read_bounds(values: Sequence[str], at: int) -> Iterator[Bounds]:
    """`[eq|ge|gt|le|lt] n m:n ...` as inclusive bounds. Raises: Wrong."""
    operator = "eq"
    for offset, value in enumerate(values):
        if value in OPERATORS:
            operator = value
            continue
        found = RANGE.fullmatch(value)
        if not value or found is None or (found[1] is None and found[3] is None):
            raise Wrong(
                f"'{value}' is not a number", at + offset, help="write a number, a range n:m, or eq ge gt le lt"
            )
        low = int(found[1]) if found[1] is not None else None
        high = int(found[3]) if found[3] is not None else None
        if found[2] is not None:
            yield low, high
            continue
        assert low is not None
        yield {
            "eq": (low, low),
            "ge": (low, None),
            "gt": (low + 1, None),
            "le": (None, low),
            "lt": (None, low - 1),
        }[operator]


def read_network(value: str, at: int) -> Network:
    """Raises: Wrong."""
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise Wrong(f"'{value}' is no address or network", at, help="such as 10.0.0.0/8") from None


def read_condition(words: Sequence[str], at: int, acls: Acls, own: str, known: Known) -> Condition:
    """`if ...` or `unless ...`, from word `at` of its line on. Raises: Wrong."""
    if not words or words[0] not in ("if", "unless"):
        raise Wrong(
            "'monitor fail' requires either 'if' or 'unless' followed by a condition",
            at,
            help="such as if { nbsrv lt 1 }",
        )
    choices: list[tuple[Term, ...]] = []
    terms: list[Term] = []
    place, negated = 1, False
    while place < len(words):
        word = words[place]
        if word in ("or", "||"):
            choices.append(tuple(terms))
            terms = []
            place += 1
            continue
        while word.startswith("!"):
            negated, word = not negated, word[1:]
        if word == "":
            place += 1
            continue
        if word == "{":
            end = next((k for k in range(place + 1, len(words)) if words[k] == "}"), None)
            if end is None:
                raise Wrong("missing closing '}' in condition", at + place, help="write blanks around { and }")
            tests: Sequence[Test] = (read_test(words[place + 1 : end], at + place + 1, own, known),)
            place = end + 1
        else:
            tests = named(word, at + place, acls, own, known)
            place += 1
        terms.append(Term(negated, tuple(tests)))
        negated = False
    choices.append(tuple(terms))
    return Condition(words[0] == "unless", tuple(choices))


def named(name: str, at: int, acls: Acls, own: str, known: Known) -> Sequence[Test]:
    """The tests of a named ACL. Raises: Wrong."""
    if name in acls:
        return acls[name]
    if name in BUILT_IN:
        return (read_test(BUILT_IN[name], at, own, known),)
    meant = nearest(name, [*acls, *BUILT_IN])
    raise Wrong(
        f"no such ACL : '{name}'", at, help=f"did you mean '{meant}'?" if meant else "an anonymous one is { fetch ... }"
    )
