"""The checks: each of the matrix meets every peer; the others belong to one peer."""

from __future__ import annotations

from peers_kit import Case
from peers_mysql import FULL
from peers_postgres import ASKED, REFUSED
from peers_redis import PASSWORD

TCP = "option tcp-check"
REDIS_MASTER = (
    TCP,
    "tcp-check connect",
    f"tcp-check send AUTH\\ {PASSWORD}\\r\\n",
    "tcp-check expect string +OK",
    "tcp-check send PING\\r\\n",
    "tcp-check expect string +PONG",
    "tcp-check send info\\ replication\\r\\n",
    "tcp-check expect string role:master",
    "tcp-check send QUIT\\r\\n",
    "tcp-check expect string +OK",
)
SMTP_DIALOGUE = (
    TCP,
    "tcp-check connect",
    "tcp-check expect rstring ^220[\\ -]",
    "tcp-check send EHLO\\ localhost\\r\\n",
    "tcp-check expect rstring (^|\\n)250\\ ",  # the last line of several, which may come one by one
    "tcp-check send QUIT\\r\\n",
    "tcp-check expect rstring ^221[\\ -] comment good-bye",
)
TLS_CONNECT = (TCP, "tcp-check connect ssl")

MATRIX: dict[str, tuple[tuple[str, ...], str]] = {
    "connect": ((), ""),
    "redis-check": (("option redis-check",), ""),
    "redis-dialogue": (REDIS_MASTER, ""),
    "pgsql-check": (("option pgsql-check user postgres",), ""),
    "mysql-check": (("option mysql-check",), ""),
    "mysql-post-41": (("option mysql-check user haproxy post-41",), ""),
    "mysql-pre-41": (("option mysql-check user haproxy pre-41",), ""),
    "ldap-check": (("option ldap-check",), ""),
    "smtpchk": (("option smtpchk EHLO localhost",), ""),
    "smtp-dialogue": (SMTP_DIALOGUE, ""),
    "ssl-hello-chk": (("option ssl-hello-chk",), ""),
    "httpchk": (("option httpchk GET /",), ""),
    "httpchk-tls": (("option httpchk GET /",), "check-ssl verify none"),
    "tls-connect": (TLS_CONNECT, "verify none"),
    "send-proxy": (("option httpchk GET /",), "check-send-proxy"),
}
PORTS = (
    "redis",
    "redis-auth",
    "redis-replica",
    "http",
    "https",
    "h2",
    "h2c",
    "proxy",
    "proxy-tls",
    "pgsql",
    "mysql",
    "ldap",
    "ldap-closed",
    "smtp",
)
"""Of the matrix, in the order of the table's columns."""


def matrix_name(check: str, port: str) -> str:
    """How a cell of the matrix is called."""
    return f"{check} at {port}"


EITHER = {matrix_name("send-proxy", port): ("L7RSP", "SOCKERR") for port in ("pgsql", "mysql")} | {
    matrix_name(check, port): (status, "SOCKERR")
    for port in ("ldap", "ldap-closed")
    for check, status in (
        ("pgsql-check", "L7RSP"), ("mysql-post-41", "L7RSP"), ("mysql-pre-41", "L7RSP"), ("ssl-hello-chk", "L6RSP"),
    )
}  # fmt: skip
"""Where a server says something (MariaDB) or ends its stream (PostgreSQL when the request comes after the header, slapd) and
resets at once: what a check makes of it depends on whether the reset is there when it looks. haproxy itself says now one,
now the other; the programs may differ."""


def matrix_cases() -> list[Case]:
    """Every check at every peer."""
    return [Case(matrix_name(check, port), port, *how) for check, how in MATRIX.items() for port in PORTS]


BELIEVE = "check-ssl verify required ca-file {pki}/ca.pem"
DOUBT = "check-ssl verify required ca-file {pki}/stranger.pem"
GET = "option httpchk GET"


def nginx_cases() -> list[Case]:
    """What the matrix does not ask of nginx."""
    http, named = (f"{GET} /",), (f"{GET} /name", "http-check expect string localhost")
    protocol = f"{GET} /protocol"
    asked = "http-check send meth GET uri /protocol ver HTTP/1.1 hdr host localhost"
    over_h2 = ("option httpchk", asked, "http-check expect string HTTP/2.0")
    header = ("option httpchk", "http-check send meth GET uri /from ver HTTP/1.1 hdr host localhost")
    dialogue = (
        TCP, "tcp-check connect ssl", "tcp-check send GET\\ /\\ HTTP/1.0\\r\\n\\r\\n", "tcp-check expect string fine",
    )  # fmt: skip
    return [
        Case("503", "http", (f"{GET} /down",)),
        Case("404", "http", (f"{GET} /gone",)),
        Case("404, disable-on-404", "http", (f"{GET} /gone", "http-check disable-on-404")),
        Case("301", "http", (f"{GET} /moved",)),
        Case("401", "http", (f"{GET} /secret",)),
        Case("401 wanted", "http", (f"{GET} /secret", "http-check expect status 401")),
        Case("options", "http", ("option httpchk",)),
        Case("expect string", "http", (f"{GET} /", "http-check expect string fine")),
        Case("expect no string", "http", (f"{GET} /", "http-check expect ! string fine")),
        Case("expect header", "http", (f"{GET} /", "http-check expect hdr name server value -m beg nginx")),
        Case("http/1.1 without host", "http", ("option httpchk GET / HTTP/1.1",)),
        Case("http/1.1", "http", ("option httpchk", "http-check send meth GET uri / ver HTTP/1.1 hdr host localhost")),
        Case("verify", "https", http, BELIEVE),
        Case("verify, stranger's ca", "https", http, DOUBT),
        Case("verify, expired", "https-expired", http, BELIEVE),
        Case("verify none, expired", "https-expired", http, "check-ssl verify none"),
        Case("verify, another name", "https-other", http, BELIEVE),
        Case("verifyhost", "https", http, f"{BELIEVE} verifyhost localhost"),
        Case("verifyhost, another name", "https-other", http, f"{BELIEVE} verifyhost localhost"),
        Case("verifyhost, its name", "https-other", http, f"{BELIEVE} verifyhost other.example"),
        Case("check-sni", "https", named, f"{BELIEVE} check-sni localhost"),
        Case("check-sni, verify none", "https", named, "check-ssl verify none check-sni localhost"),
        Case("check-sni, another name", "https-other", http, f"{BELIEVE} check-sni localhost"),
        Case("no sni", "https", named, BELIEVE),
        Case("alpn http/1.1", "h2", (protocol, "http-check expect string alpn\\ http/1.1"), "check-ssl verify none check-alpn http/1.1"),
        Case("alpn h2", "h2", over_h2, "check-ssl verify none check-alpn h2"),
        Case("alpn h2 or http/1.1", "h2", over_h2, "check-ssl verify none check-alpn h2,http/1.1"),
        Case("alpn h2 without host", "h2", (protocol,), "check-ssl verify none check-alpn h2"),
        Case("alpn h2 of the server", "h2", over_h2, "ssl verify none alpn h2,http/1.1"),
        Case("alpn h2 of a rule", "h2", (over_h2[0], "http-check connect ssl alpn h2", *over_h2[1:]), "verify none"),
        Case("alpn h2 at http/1.1", "https", (protocol,), "check-ssl verify none check-alpn h2"),
        Case("proto h2", "h2c", over_h2, "check-proto h2"),
        Case("proto h2 without host", "h2c", (f"{GET} /",), "check-proto h2"),
        Case("proto h2 at http/1.1", "http", (f"{GET} /",), "check-proto h2"),
        Case("tls 1.2", "https", (protocol, "http-check expect string TLSv1.2"), "check-ssl verify none ssl-max-ver TLSv1.2"),
        Case("client certificate", "https-client", (f"{GET} /who",), "check-ssl verify none crt {pki}/sound.pem"),
        Case("no client certificate", "https-client", (f"{GET} /who",), "check-ssl verify none"),
        Case("tls dialogue", "https", dialogue, "verify none"),
        Case("proxy v1", "proxy", (*header, "http-check expect string from\\ 127.0.0.1"), "check-send-proxy"),
        Case("proxy v2", "proxy", (*header, "http-check expect string from\\ 127.0.0.1"), "send-proxy-v2 check-send-proxy"),
        Case("proxy v1 and tls", "proxy-tls", (*header, "http-check expect string from\\ 127.0.0.1"), "check-send-proxy check-ssl verify none"),
        Case("proxy v2 and tls", "proxy-tls", header, "send-proxy-v2 check-send-proxy check-ssl verify none"),
        Case("proxy of a rule", "proxy", (TCP, "tcp-check connect send-proxy", *dialogue[2:])),
    ]  # fmt: skip


def redis_cases() -> list[Case]:
    """What the matrix does not ask of redis."""
    replica = (TCP, "tcp-check send info\\ replication\\r\\n", "tcp-check expect string role:slave")
    wrong = (TCP, "tcp-check send AUTH\\ wrong\\r\\n", "tcp-check expect rstring ^-")
    return [
        Case("role:slave", "redis-replica", replica),
        Case("role:slave at the master", "redis", replica),
        Case("wrong password", "redis-auth", wrong),
        Case("wrong password, min-recv", "redis-auth", (*wrong[:2], "tcp-check expect min-recv 3 string +OK")),
    ]


def postgres_cases() -> list[Case]:
    """What the matrix does not ask of PostgreSQL."""
    return [
        Case("user asked for a password", "pgsql", (f"option pgsql-check user {ASKED}",)),
        Case("user refused", "pgsql", (f"option pgsql-check user {REFUSED}",)),
        Case("user unknown", "pgsql", ("option pgsql-check user nobody-known",)),
    ]


def mysql_cases() -> list[Case]:
    """What the matrix does not ask of MariaDB."""
    option = "option mysql-check"
    return [
        Case("mysql user unknown, post-41", "mysql", (f"{option} user nobody-known post-41",)),
        Case("mysql user unknown, pre-41", "mysql", (f"{option} user nobody-known pre-41",)),
        Case("mysql user with a password, post-41", "mysql", (f"{option} user locked post-41",)),
        Case("mysql user, no version said", "mysql", (f"{option} user haproxy",)),
        Case("too many connections", FULL, (option,)),
        Case("too many connections, post-41", FULL, (f"{option} user haproxy post-41",)),
        Case("too many connections, pre-41", FULL, (f"{option} user haproxy pre-41",)),
    ]


def smtp_cases() -> list[Case]:
    """What the matrix does not ask of an SMTP server."""
    refused = (*SMTP_DIALOGUE[:3], "tcp-check send NONSENSE\\r\\n", "tcp-check expect rstring ^500")
    early = (*SMTP_DIALOGUE[:5], "tcp-check send MAIL\\ FROM:<a@localhost>\\r\\n", "tcp-check expect rstring ^530")
    within = (TCP, "tcp-check connect ssl", *SMTP_DIALOGUE[2:])
    return [
        Case("helo by default", "smtp", ("option smtpchk",)),
        Case("helo", "smtp", ("option smtpchk HELO check.example",)),
        Case("ehlo without name", "smtp", ("option smtpchk EHLO",)),
        Case("another word than helo", "smtp", ("option smtpchk NOOP localhost",)),
        Case("unknown command", "smtp", refused),
        Case("smtpchk within tls", "smtps", ("option smtpchk EHLO localhost",), BELIEVE),
        Case("smtpchk within tls, stranger's ca", "smtps", ("option smtpchk EHLO localhost",), DOUBT),
        Case("smtp dialogue within tls", "smtps", within, "verify none"),
        Case("smtpchk before starttls", "smtp-starttls", ("option smtpchk EHLO localhost",)),
        Case("mail before starttls", "smtp-starttls", early),
    ]


def own_cases() -> list[Case]:
    """All checks that belong to one peer."""
    return [*redis_cases(), *nginx_cases(), *postgres_cases(), *mysql_cases(), *smtp_cases()]


STATES: dict[str, tuple[str, ...]] = {
    "redis": ("connect", "redis-check", "redis-dialogue"),
    "http": ("connect", "httpchk", "send-proxy"),
    "pgsql": ("connect", "pgsql-check"),
    "mysql": ("connect", "mysql-check", "mysql-post-41", "mysql-pre-41"),
    "ldap": ("connect", "ldap-check"),
    "smtp": ("connect", "smtpchk", "smtp-dialogue"),
    "https": ("connect", "httpchk-tls", "tls-connect", "ssl-hello-chk"),
}
"""Checks that go on while their peer has not started, is stopped, is killed and is gone."""


def state_cases() -> list[Case]:
    """The same checks for each state of the peers."""
    return [Case(matrix_name(check, port), port, *MATRIX[check]) for port, checks in STATES.items() for check in checks]
