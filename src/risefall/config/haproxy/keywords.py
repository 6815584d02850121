"""The words that HAProxy knows, and since or until when.

What is not here is unknown to every HAProxy that risefall imitates. Source: spec/haproxy-checks.md §9.4, §9.8;
`haproxy -dKcfg` of 2.6; haproxy configuration manual 2.6 and 3.4, §3-§5; CHANGELOG for what was removed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.dialect import Dialect


class Since(msgspec.Struct, frozen=True):
    """Which of the imitated versions know a word, and how to say so."""

    words: str
    old: bool
    new: bool

    def known(self, dialect: Dialect) -> bool:
        return self.old if dialect.program_sections else self.new


NEW = Since("not known to HAProxy 2.6, only to later ones", old=False, new=True)
OLD = Since("not known to HAProxy 3 any more", old=True, new=False)


def gone(version: str) -> Since:
    return Since(f"gone since HAProxy {version}", old=False, new=False)


SECTIONS: dict[str, Since | None] = {
    "global": None, "defaults": None, "frontend": None, "backend": None, "listen": None, "userlist": None,
    "peers": None, "mailers": None, "namespace_list": None, "resolvers": None, "ring": None, "cache": None,
    "http-errors": None, "log-forward": None, "fcgi-app": None,
    "program": Since("gone since HAProxy 3.3", old=True, new=False),
    "healthcheck": NEW, "traces": NEW, "log-profile": NEW, "crt-store": NEW, "acme": NEW, "rhttp": NEW,
}  # fmt: skip

STRICT_LINES = frozenset(
    [
        "server",
        "default-server",
        "server-template",
        "http-check",
        "tcp-check",
        "external-check",
        "timeout",
        "load-server-state-from-file",
        "source",
        "id",
        "disabled",
        "enabled",
    ]
)
"""First words of lines on which a wrong word is an error."""

CHECK_OPTIONS = frozenset(
    [
        "httpchk",
        "tcp-check",
        "ssl-hello-chk",
        "smtpchk",
        "mysql-check",
        "pgsql-check",
        "redis-check",
        "ldap-check",
        "spop-check",
        "external-check",
        "log-health-checks",
    ]
)


def is_strict(words: Sequence[str]) -> bool:
    """Whether what is wrong on this line is an error: it decides what is checked, and how."""
    first = words[0]
    if first in STRICT_LINES:
        return True
    if first in ("no", "default") and len(words) > 2:
        words = words[1:]
    return words[0] == "option" and len(words) > 1 and words[1] in CHECK_OPTIONS


SERVER_WORDS: dict[str, tuple[int, Since | None]] = {}
"""Every server keyword: how many words it takes, and who knows it. -1: a number of its own."""


def _add(count: int, names: str, since: Since | None = None) -> None:
    for name in names.split():
        SERVER_WORDS[name] = (count, since)


_add(
    0,
    "agent-check backup check check-send-proxy check-ssl check-via-socks4 disabled enabled force-sslv3 force-tlsv10 "
    "force-tlsv11 force-tlsv12 force-tlsv13 no-agent-check no-backup no-check no-check-send-proxy no-check-ssl "
    "no-send-proxy no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-ssl no-sslv3 no-tlsv10 no-tlsv11 "
    "no-tlsv12 no-tlsv13 no-ssl-reuse no-tls-tickets no-verifyhost send-proxy send-proxy-v2 send-proxy-v2-ssl "
    "send-proxy-v2-ssl-cn ssl ssl-reuse tfo no-tfo tls-tickets allow-0rtt non-stick stick",
)
_add(
    1,
    "addr agent-addr agent-inter agent-port agent-send alpn ca-file check-alpn check-proto check-sni ciphers ciphersuites "
    "crl-file crt downinter error-limit fall fastinter id init-addr inter maxconn namespace npn observe on-error "
    "on-marked-down on-marked-up port proto proxy-v2-options resolve-net resolve-opts resolve-prefer resolvers rise "
    "slowstart sni socks4 ssl-max-ver ssl-min-ver tcp-ut track usesrc verify verifyhost weight cookie log-proto max-reuse "
    "maxqueue minconn pool-low-conn pool-max-conn pool-purge-delay redir ws ca-sign-file ca-sign-pass",
)
_add(-1, "source")
_add(
    0, "check-reuse-pool no-check-reuse-pool check-sni-auto no-check-sni-auto strict-maxconn sni-auto no-sni-auto", NEW
)
_add(0, "renegotiate no-renegotiate no-proxy-v2-tlv-fmt check-pool-conn-name-auto", NEW)
_add(
    1,
    "check-pool-conn-name healthcheck init-state guid hash-key idle-ping pool-conn-name log-bufsize shard curves sigalgs "
    "client-sigalgs ktls ech cc tcp-md5sig quic-cc-algo",
    NEW,
)
_add(0, "transparent", gone("1.3"))

REMOVED: dict[str, tuple[str, str]] = {
    "appsession": ("1.6", "use 'stick-table' and 'stick on'"),
    "block": ("2.1", "use 'http-request deny'"),
    "cliexp": ("1.3", "use 'reqirep' of its day, today 'http-request'"),
    "clitimeout": ("2.1", "use 'timeout client'"),
    "contimeout": ("2.1", "use 'timeout connect'"),
    "srvtimeout": ("2.1", "use 'timeout server'"),
    "srvexp": ("1.3", "use 'http-response'"),
    "dispatch": ("3.3", "use 'server'"),
    "grace": ("2.4", "use 'grace' or 'hard-stop-after' in global"),
    "monitor-net": ("2.1", "use 'http-request return status 200 if { src ... }'"),
    "nbproc": ("2.5", "use 'nbthread'"),
    "bind-process": ("2.7", "use 'thread' on bind lines"),
    "redisp": ("2.1", "use 'option redispatch'"),
    "redispatch": ("2.1", "use 'option redispatch'"),
    "reqadd": ("2.1", "use 'http-request add-header'"),
    "reqallow": ("2.1", "use 'http-request allow'"),
    "reqdel": ("2.1", "use 'http-request del-header'"),
    "reqdeny": ("2.1", "use 'http-request deny'"),
    "reqiallow": ("2.1", "use 'http-request allow'"),
    "reqidel": ("2.1", "use 'http-request del-header'"),
    "reqideny": ("2.1", "use 'http-request deny'"),
    "reqipass": ("2.1", "use 'http-request allow'"),
    "reqirep": ("2.1", "use 'http-request replace-header' or 'replace-path'"),
    "reqitarpit": ("2.1", "use 'http-request tarpit'"),
    "reqpass": ("2.1", "use 'http-request allow'"),
    "reqrep": ("2.1", "use 'http-request replace-header' or 'replace-path'"),
    "reqsetbe": ("2.1", "use 'use_backend'"),
    "reqisetbe": ("2.1", "use 'use_backend'"),
    "reqtarpit": ("2.1", "use 'http-request tarpit'"),
    "rspadd": ("2.1", "use 'http-response add-header'"),
    "rspdel": ("2.1", "use 'http-response del-header'"),
    "rspdeny": ("2.1", "use 'http-response deny'"),
    "rspidel": ("2.1", "use 'http-response del-header'"),
    "rspideny": ("2.1", "use 'http-response deny'"),
    "rspirep": ("2.1", "use 'http-response replace-header'"),
    "rsprep": ("2.1", "use 'http-response replace-header'"),
    "debug": ("2.7", "use the -d option"),
    "quiet": ("2.7", "use the -q option"),
    "tune.chksize": ("2.4", "'tune.bufsize' is used instead"),
    "option forceclose": ("2.0", "use 'option httpclose'"),
    "option http-tunnel": ("2.1", "it has no effect"),
    "option http-use-htx": ("2.1", "it is always on"),
    "option http_proxy": ("2.6", "use 'http-request do-resolve' and 'set-dst'"),
    "option independant-streams": ("2.1", "write 'option independent-streams'"),
}
"""What HAProxy has taken away: since which version, and what takes its place."""


def removed(word: str, dialect: Dialect) -> tuple[str, str] | None:
    """Since when the imitated HAProxy does not know a word any more, and the repair; None if it was not removed."""
    found = REMOVED.get(word)
    if found and version(found[0]) <= version(dialect.version):
        return found
    return None


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


PROXY_WORDS = frozenset(
    [
        "acl",
        "backlog",
        "balance",
        "bind",
        "block",
        "capture",
        "clitcpka-cnt",
        "clitcpka-idle",
        "clitcpka-intvl",
        "compression",
        "cookie",
        "declare",
        "default-server",
        "default_backend",
        "description",
        "disabled",
        "dispatch",
        "dynamic-cookie-key",
        "email-alert",
        "enabled",
        "errorfile",
        "errorfiles",
        "errorloc",
        "errorloc302",
        "errorloc303",
        "external-check",
        "filter",
        "force-be-switch",
        "force-persist",
        "fullconn",
        "guid",
        "hash-balance-factor",
        "hash-preserve-affinity",
        "hash-type",
        "http-after-response",
        "http-check",
        "http-error",
        "http-request",
        "http-response",
        "http-reuse",
        "http-send-name-header",
        "id",
        "ignore-persist",
        "load-server-state-from-file",
        "log",
        "log-format",
        "log-format-sd",
        "log-steps",
        "log-tag",
        "max-keep-alive-queue",
        "max-session-srv-conns",
        "maxconn",
        "mode",
        "monitor",
        "monitor-uri",
        "no",
        "option",
        "persist",
        "quic-initial",
        "rate-limit",
        "redirect",
        "retries",
        "retry-on",
        "server",
        "server-state-file-name",
        "server-template",
        "source",
        "srvtcpka-cnt",
        "srvtcpka-idle",
        "srvtcpka-intvl",
        "stats",
        "stick",
        "stick-table",
        "tcp-check",
        "tcp-request",
        "tcp-response",
        "timeout",
        "transparent",
        "unique-id-format",
        "unique-id-header",
        "use-fcgi-app",
        "use-server",
        "use_backend",
        "default",
        "error-log-format",
        "fcgi-app",
        "option",
        "http-error",
        "crt",
    ]
)
GLOBAL_WORDS = frozenset(
    [
        "51degrees-cache-size",
        "51degrees-data-file",
        "51degrees-property-name-list",
        "51degrees-property-separator",
        "anonkey",
        "busy-polling",
        "ca-base",
        "chroot",
        "close-spread-time",
        "cluster-secret",
        "cpu-map",
        "cpu-policy",
        "cpu-set",
        "crt-base",
        "daemon",
        "default-path",
        "description",
        "deviceatlas-json-file",
        "deviceatlas-log-level",
        "dns-accept-family",
        "expose-deprecated-directives",
        "expose-experimental-directives",
        "external-check",
        "fd-hard-limit",
        "force-cfg-parser-pause",
        "gid",
        "grace",
        "group",
        "h1-accept-payload-with-any-method",
        "h1-case-adjust",
        "h1-case-adjust-file",
        "h1-do-not-close-on-insecure-transfer-encoding",
        "h2-workaround-bogus-websocket-clients",
        "hard-stop-after",
        "harden.reject-privileged-ports.tcp",
        "harden.reject-privileged-ports.quic",
        "http-err-codes",
        "http-fail-codes",
        "insecure-fork-wanted",
        "insecure-setuid-wanted",
        "issuers-chain-path",
        "key-base",
        "limited-quic",
        "localpeer",
        "log",
        "log-send-hostname",
        "log-tag",
        "lua-load",
        "lua-load-per-thread",
        "lua-prepend-path",
        "master-worker",
        "max-spread-checks",
        "maxcompcpuusage",
        "maxcomprate",
        "maxconn",
        "maxconnrate",
        "maxpipes",
        "maxsessrate",
        "maxsslconn",
        "maxsslrate",
        "maxzlibmem",
        "mworker-max-reloads",
        "mworker-prog",
        "nbthread",
        "no-memory-trimming",
        "no-quic",
        "node",
        "noepoll",
        "noevports",
        "nogetaddrinfo",
        "nokqueue",
        "noktls",
        "nopoll",
        "noreuseport",
        "nosplice",
        "numa-cpu-mapping",
        "ocsp-update.disable",
        "ocsp-update.httpproxy",
        "ocsp-update.maxdelay",
        "ocsp-update.mindelay",
        "ocsp-update.mode",
        "pidfile",
        "pp2-never-send-local",
        "presetenv",
        "prealloc-fd",
        "profiling.memory",
        "profiling.tasks",
        "resetenv",
        "server-state-base",
        "server-state-file",
        "set-dumpable",
        "set-var",
        "set-var-fmt",
        "setcap",
        "setenv",
        "shm-stats-file",
        "shm-stats-file-max-objects",
        "spread-checks",
        "ssl-default-bind-ciphers",
        "ssl-default-bind-ciphersuites",
        "ssl-default-bind-client-sigalgs",
        "ssl-default-bind-curves",
        "ssl-default-bind-options",
        "ssl-default-bind-sigalgs",
        "ssl-default-server-ciphers",
        "ssl-default-server-ciphersuites",
        "ssl-default-server-client-sigalgs",
        "ssl-default-server-curves",
        "ssl-default-server-options",
        "ssl-default-server-sigalgs",
        "ssl-dh-param-file",
        "ssl-engine",
        "ssl-load-extra-del-ext",
        "ssl-load-extra-files",
        "ssl-mode-async",
        "ssl-passphrase-cmd",
        "ssl-propquery",
        "ssl-provider",
        "ssl-provider-path",
        "ssl-security-level",
        "ssl-server-verify",
        "ssl-skip-self-issued-ca",
        "stats",
        "stats-file",
        "strict-limits",
        "thread-group",
        "thread-groups",
        "thread-hard-limit",
        "uid",
        "ulimit-n",
        "unix-bind",
        "unsetenv",
        "user",
        "wurfl-cache-size",
        "wurfl-data-file",
        "wurfl-information-list",
        "wurfl-information-list-separator",
        "wurfl-patch-file",
        "warn-blocked-traffic-after",
        "no",
        "default",
        "tune.bufsize",
        "zero-warning",
        "stress-level",
        "httpclient.resolvers.disabled",
    ]
)
GLOBAL_PREFIXES = ("tune.", "httpclient.", "debug.", "51degrees", "wurfl-", "deviceatlas-", "acme.", "ot-", "ssl-f-use")
OPTIONS = frozenset(
    [
        "abortonclose",
        "accept-invalid-http-request",
        "accept-invalid-http-response",
        "accept-unsafe-violations-in-http-request",
        "accept-unsafe-violations-in-http-response",
        "allbackups",
        "checkcache",
        "clitcpka",
        "contstats",
        "disable-h2-upgrade",
        "dontlog-normal",
        "dontlognull",
        "external-check",
        "forwardfor",
        "forwarded",
        "h1-case-adjust-bogus-client",
        "h1-case-adjust-bogus-server",
        "http-buffer-request",
        "http-drop-request-trailers",
        "http-drop-response-trailers",
        "http-ignore-probes",
        "http-keep-alive",
        "http-no-delay",
        "http-pretend-keepalive",
        "http-restrict-req-hdr-names",
        "http-server-close",
        "http-use-proxy-header",
        "httpchk",
        "httpclose",
        "httplog",
        "httpslog",
        "idle-close-on-response",
        "independent-streams",
        "ldap-check",
        "log-health-checks",
        "log-separate-errors",
        "logasap",
        "mysql-check",
        "nolinger",
        "originalto",
        "persist",
        "pgsql-check",
        "prefer-last-server",
        "redis-check",
        "redispatch",
        "smtpchk",
        "socket-stats",
        "splice-auto",
        "splice-request",
        "splice-response",
        "spop-check",
        "srvtcpka",
        "ssl-hello-chk",
        "tcp-check",
        "tcp-smart-accept",
        "tcp-smart-connect",
        "tcpka",
        "tcplog",
        "transparent",
        "assume-rfc6587-ntf",
        "dont-parse-log",
        "tcpchk-implicit",
        "use-small-buffers",
        "host",
    ]
)
TIMEOUTS = frozenset(
    [
        "check",
        "client",
        "client-fin",
        "client-hs",
        "connect",
        "http-keep-alive",
        "http-request",
        "queue",
        "server",
        "server-fin",
        "tarpit",
        "tunnel",
    ]
)
