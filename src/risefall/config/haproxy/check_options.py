"""`option httpchk` and the presets: which kind of check a section asks for, and with what.

Source: spec/haproxy-checks.md §3.8, §3.10; haproxy configuration manual 2.6, §4.2 option httpchk, smtpchk, mysql-check, pgsql-check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind, Header
from risefall.config.haproxy.rule_lines import Sends, check_format
from risefall.config.text import Wrong

BLANKS = " \t"
Warn = Callable[[Wrong], None]

KINDS = {
    "httpchk": CheckKind.HTTP, "tcp-check": CheckKind.TCP_CHECK, "ssl-hello-chk": CheckKind.SSL_HELLO,
    "smtpchk": CheckKind.SMTP, "mysql-check": CheckKind.MYSQL, "pgsql-check": CheckKind.PGSQL,
    "redis-check": CheckKind.REDIS, "ldap-check": CheckKind.LDAP, "spop-check": CheckKind.SPOP,
    "external-check": CheckKind.EXTERNAL,
}  # fmt: skip


def httpchk_request(words: Sequence[str], dialect: Dialect, warn: Warn) -> Sends:
    """`option httpchk [<method>] [<uri>] [<version>] [<host>]`; words begin with `httpchk` (spec §3.8)."""
    given = words[1:]
    if len(given) > (4 if dialect.httpchk_host else 3):
        raise Wrong(
            f"'option httpchk' cannot handle unexpected argument '{given[-1]}'",
            len(words),
            help="put headers on 'http-check send' lines",
        )
    if len(given) <= 1:
        return Sends(uri=given[0] if given else None)
    method, uri = given[0], given[1]
    version = given[2] if len(given) > 2 else None
    headers: tuple[Header, ...] = (Header("Host", given[3]),) if len(given) > 3 else ()
    body = None
    if version and "\r\n" in version:  # a lone line feed or carriage return is sent as it is
        known = "are deprecated" if dialect.version_headers else "are refused by HAProxy 3; read as 2.6 reads them"
        warn(
            Wrong(
                f"headers hidden in the version of 'option httpchk' {known}",
                4,
                help="use an 'http-check send' line with hdr instead",
            )
        )
        version, headers, body = split_version(version)
    return Sends(method, uri, version=version, headers=headers, body=body)


def split_version(text: str) -> tuple[str, tuple[Header, ...], str | None]:
    """The old trick: version, headers and body in one word."""
    head, blank, body = text.partition("\r\n\r\n")
    version, *lines = head.split("\r\n")
    headers: list[Header] = []
    for line in filter(None, lines):
        if line[0] in " \t" and headers:  # goes on with the value before it
            headers[-1] = Header(headers[-1].name, f"{headers[-1].value}  {line}".strip(BLANKS), hidden=True)
            continue
        name, colon, value = line.partition(":")
        header = Header(name, check_format(value.strip(BLANKS), 4), hidden=True)
        if not colon or not name or is_wrong(header, headers):
            raise Wrong(
                f"'option httpchk' : unable to parse the request '{line}'",
                4,
                help="use an 'http-check send' line with hdr instead",
            )
        headers.append(header)
    return version, tuple(headers), body if blank else None


def is_wrong(header: Header, before: Sequence[Header]) -> bool:
    """Whether HAProxy's reader of messages ends at a header: a second Host, or a length that is none."""
    match header.name.lower():
        case "content-length":
            return not header.value.isdecimal()
        case "host":
            return any(one.name.lower() == "host" and one.value != header.value for one in before)
    return False


def plain_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """A preset without arguments."""
    if len(words) > 1:
        raise Wrong(f"'option {words[0]}' cannot handle unexpected argument '{words[1]}'", 2, help="remove it")
    return ()


def httpchk_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    return ()


def smtpchk_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Any greeting but HELO and EHLO with a host is `HELO localhost`."""
    if len(words) > 3:
        raise Wrong(f"'option smtpchk' cannot handle unexpected argument '{words[3]}'", 4, help="remove it")
    if len(words) == 3 and words[1] in ("HELO", "EHLO"):
        return tuple(words[1:])
    return "HELO", "localhost"


def mysql_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    versions = ("post-41", "pre-41", "post-80") if dialect.mysql_post_80 else ("post-41", "pre-41")
    if len(words) == 1:
        return ()
    if words[1] != "user":
        raise Wrong(
            f"'option mysql-check' only supports optional values: 'user' (got '{words[1]}')",
            2,
            help="write user <name>",
        )
    if len(words) < 3:
        raise Wrong("'option mysql-check user' expects <username> as argument", 3, help="write the name of a user")
    if len(words) > 3 and words[3] not in versions:
        raise Wrong(
            f"keyword 'user' only supports {' and '.join(repr(v) for v in versions)} (got '{words[3]}')",
            4,
            help=f"write one of {', '.join(versions)}",
        )
    if len(words) > 4:
        raise Wrong(f"'option mysql-check' cannot handle unexpected argument '{words[4]}'", 5, help="remove it")
    return "user", words[2], words[3] if len(words) > 3 else "post-41"


def pgsql_option(words: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    if len(words) < 3:
        raise Wrong(
            "'option pgsql-check' expects 'user <username>' as argument", len(words) + 1, help="write user <name>"
        )
    if words[1] != "user":
        raise Wrong("'option pgsql-check' only supports optional values: 'user'", 2, help="write user <name>")
    if len(words) > 3:
        raise Wrong(f"'option pgsql-check' cannot handle unexpected argument '{words[3]}'", 4, help="remove it")
    return "user", words[2]


OPTION_READERS: dict[CheckKind, Callable[[Sequence[str], Dialect], tuple[str, ...]]] = {
    CheckKind.HTTP: httpchk_option,
    CheckKind.TCP_CHECK: plain_option,
    CheckKind.SSL_HELLO: plain_option,
    CheckKind.SMTP: smtpchk_option,
    CheckKind.MYSQL: mysql_option,
    CheckKind.PGSQL: pgsql_option,
    CheckKind.REDIS: plain_option,
    CheckKind.LDAP: plain_option,
    CheckKind.SPOP: plain_option,
    CheckKind.EXTERNAL: plain_option,
}
