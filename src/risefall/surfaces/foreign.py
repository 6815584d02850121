"""HAProxy's commands about what risefall has none of: maps, ACLs and tables to write to, TLS files, HAProxy's own inside.

Where a HAProxy without any of it has an answer that a script can live with, that is the answer; the rest is refused
clearly, and not with `Unknown command`, which a person would take for a slip of the pen. `help` lists none of them.
Source: run on 2.6.12.
"""

from __future__ import annotations

from risefall.surfaces.calls import Api, Call, Command, Handler, Level, Reply, command, refuse, says

NO_ACL = "Unknown ACL identifier. Please use #<id> or <file>."
NO_MAP = "Unknown map identifier. Please use #<id> or <file>."
NO_TABLE = "No such table"


def _wants(count: int, missing: str, otherwise: str) -> Handler:
    """Refused for words that are missing, else since there is no such thing."""

    def run(api: Api, call: Call) -> Reply:
        return refuse(otherwise if len(call.words) >= count or (count > 1 and call.payload) else missing)

    return run


def _empty(head: str, unknown: str) -> Handler:
    """A list of nothing. unknown: what is said where one of the list is asked for."""

    def run(api: Api, call: Call) -> Reply:
        if call.words and unknown:
            return refuse(unknown)
        return says(head) if head else Reply()

    return run


def _refused(name: str, why: str) -> Handler:
    text = f"'{name}' is a command of HAProxy that risefall does not have: {why}."
    return lambda api, call: refuse(text)


def _dynamic_cookie(api: Api, call: Call) -> Reply:
    """Taken and forgotten: cookies are for traffic."""
    name = call.word(0)
    if not name:
        return refuse("A backend name is expected.")
    found = any(proxy.has_backend and name in (proxy.name, f"#{proxy.id}") for proxy in api.fleet.proxies)
    return Reply() if found else refuse("No such backend.")


def _row(name: str, run: Handler, level: Level = Level.USER) -> Command:
    return command(name, "", "", run, level)


_LISTS = (
    ("add acl", 2, "'add acl' expects two parameters: ACL identifier and pattern.", NO_ACL),
    (
        "add map", 3,
        "'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier) and a payload",
        NO_MAP,
    ),
    ("clear acl", 1, "Missing ACL identifier.", NO_ACL),
    ("clear map", 1, "Missing map identifier.", NO_MAP),
    (
        "clear table", 1,
        'Required arguments: <table> "data.<store_data_type>" <operator> <value> or <table> key <key>', NO_TABLE,
    ),
    ("commit acl", 1, "Missing version number.", NO_ACL),
    ("commit map", 1, "Missing version number.", NO_MAP),
    ("del acl", 2, "This command expects two parameters: ACL identifier and key.", NO_ACL),
    ("del map", 2, "This command expects two parameters: map identifier and key.", NO_MAP),
    ("get acl", 2, "Missing ACL identifier and/or key.", NO_ACL),
    ("get map", 2, "Missing map identifier and/or key.", NO_MAP),
    ("prepare acl", 1, NO_ACL, NO_ACL),
    ("prepare map", 1, NO_MAP, NO_MAP),
    ("set map", 3, "'set map' expects three parameters: map identifier, key and value.", NO_MAP),
    ("set table", 1, "Required arguments: <table> key <key> [data.<store_data_type> <value>]*", NO_TABLE),
)  # fmt: skip
"""Name, words it needs, what is said without them, and with them."""

_EMPTY = (
    ("show ssl ca-file", "# filename", "Can't display the CA file : Not found!"),
    ("show ssl cert", "", "Can't display the certificate: Not found or the certificate is a bundle!"),
    ("show ssl crl-file", "# filename", "Can't display the CRL file : Not found!"),
    ("show ssl crt-list", "", "didn't find the specified filename"),
    ("show ssl ocsp-response", "", "Invalid certificate ID: not found!"),
    ("show tls-keys", "# id (file)", "'show tls-keys' unable to locate referenced filename"),
)
"""Name, first line, and what is said of one that is not there."""

_INSIDE = (
    "show activity", "show dev", "show events", "show fd", "show libs", "show pools", "show profiling", "show quic",
    "show ssl", "show tasks", "show threads", "show trace",
)  # fmt: skip
_TLS = ("abort ssl", "add ssl", "commit ssl", "del ssl", "dump ssl", "new ssl", "set ssl")
_OTHERS = {
    "debug": "it would show or break HAProxy's own inside",
    "httpclient": "it makes requests for checks alone",
    "set anon": "it has nothing to hide from its own operators",
    "set profiling": "it has no profiler; 'run --stats' tells lateness and durations",
    "show anon": "it has nothing to hide from its own operators",
    "trace": "it has nothing of HAProxy's to trace; 'risefall probe' shows each step of a check",
}

FOREIGN = (
    *(_row(name, _wants(count, missing, none)) for name, count, missing, none in _LISTS),
    *(_row(name, _empty(head, unknown)) for name, head, unknown in _EMPTY),
    _row("get var", _wants(1, "Missing process-wide variable identifier.", "Variable not found."), Level.OPERATOR),
    _row("show cache", _empty("", ""), Level.ADMIN),
    _row("disable dynamic-cookie backend", _dynamic_cookie, Level.ADMIN),
    _row("enable dynamic-cookie backend", _dynamic_cookie, Level.ADMIN),
    _row("set dynamic-cookie-key backend", _dynamic_cookie, Level.ADMIN),
    *(_row(name, _refused(name, "it tells of HAProxy's own inside")) for name in _INSIDE),
    *(_row(name, _refused(name, "certificates are read from their files; 'reload' reads them again")) for name in _TLS),
    *(_row(name, _refused(name, why)) for name, why in _OTHERS.items()),
)
"""Looked up after all that risefall has; longer names first where one begins with another."""

FOREIGN_3 = (
    *FOREIGN,
    *(
        _row(
            f"{word} backend", _refused(f"{word} backend", "backends are those of its files, and it routes no traffic")
        )
        for word in ("add", "del", "publish", "unpublish")
    ),
)
"""The same where HAProxy 3 is imitated; backends at run time are 3.4's."""
