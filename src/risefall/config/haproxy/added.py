"""The words behind `add server`: read as a line of the backend, refused as HAProxy's runtime API does.

A server that is added knows nothing of `default-server`, has an address from the first, and may not say everything that
a line of the file may. Source: spec/haproxy-checks.md §5.5; texts and their order: run on 2.6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.judging import check_mux_fits, has_port, mux_fits
from risefall.config.haproxy.keywords import SERVER_WORDS
from risefall.config.haproxy.model import Line, Proxy, RuleSet, Server, ServerSettings
from risefall.config.haproxy.servers import FLAGS, PLAIN, ServerReader, check_name
from risefall.config.haproxy.variables import expand
from risefall.config.text import Wrong

REFUSED = frozenset(
    [
        "cookie",
        "init-addr",
        "log-proto",
        "max-reuse",
        "namespace",
        "no-agent-check",
        "no-check",
        "no-check-send-proxy",
        "no-check-ssl",
        "no-send-proxy-v2-ssl",
        "no-send-proxy-v2-ssl-cn",
        "no-ssl",
        "non-stick",
        "redir",
        "resolve-net",
        "resolve-opts",
        "resolve-prefer",
        "resolvers",
        "socks4",
        "ssl-reuse",
        "stick",
        "tcp-ut",
    ]
)
"""What 2.6 takes in a file only."""

DYNAMIC_TEXT = (
    "allow-0rtt alpn ca-file check-alpn check-sni check-ssl ciphers ciphersuites client-sigalgs crl-file curves crt "
    "force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 force-tlsv13 ktls no-check-sni-auto no-renegotiate "
    "no-sni-auto no-ssl-reuse no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 no-tls-tickets npn renegotiate "
    "send-proxy-v2-ssl send-proxy-v2-ssl-cn sigalgs sni ssl ssl-min-ver ssl-max-ver tls-tickets verify verifyhost "
    "backup cookie disabled error-limit guid ws hash-key id idle-ping init-state maxconn maxqueue minconn no-backup "
    "no-send-proxy no-send-proxy-v2 no-tfo observe on-error on-marked-down on-marked-up pool-conn-name "
    "pool-low-conn pool-max-conn pool-purge-delay proto proxy-v2-options send-proxy send-proxy-v2 "
    "set-proxy-v2-tlv-fmt shard slowstart source strict-maxconn tfo track usesrc weight healthcheck addr agent-addr "
    "agent-check agent-inter agent-port agent-send check check-pool-conn-name check-proto check-reuse-pool "
    "check-send-proxy check-via-socks4 rise fall inter fastinter downinter port"
)
DYNAMIC = tuple(DYNAMIC_TEXT.split())
"""What 3.4 takes, in the order of its `add server help`."""
REFUSED_3 = frozenset(SERVER_WORDS) - frozenset(DYNAMIC)

MEANT = re.compile(r"did you mean '(.*)'")
NO_WORDS = "'server' expects <name> and <addr>[:<port>] as arguments."
NO_CA = (
    "verify is enabled by default but no CA file specified. If you're running on a LAN where you're certain to trust the "
    "server's certificate, please set an explicit 'verify none' statement on the 'server' line, or use "
    "'ssl-server-verify none' in the global section to disable server-side verifications by default."
)
PLACE = "the runtime API"


class NotAdded(Exception):
    """HAProxy's refusal of an added server, without line feeds."""


class Added(Server, frozen=True, gc=False):
    """A server of the runtime API. enabled: it does not start in maintenance."""

    enabled: bool = False


def read_added(
    proxy: Proxy,
    name: str,
    words: Sequence[str],
    dialect: Dialect,
    verify: str,
    new_id: Callable[[int], int],
    proxies: Sequence[Proxy] = (),
    healthchecks: Mapping[str, RuleSet] = {},
    env: Mapping[str, str] = {},
) -> Added:
    """The server that `add server <proxy>/<name> <words>` describes.

    verify: the global `ssl-server-verify`. new_id: the id for one that asks for an id, or for none (0). proxies: whose settings it
    may ask for with `from`. healthchecks: the sections of that name. env: the environment that addresses read. Raises: NotAdded.
    """
    if not words:
        raise NotAdded(NO_WORDS)
    line, _ = expand(Line(PLACE, 0, "", ("server", name, *words)), env)
    reader = ServerReader(dialect, lambda wrong, line: None, dict(proxy.default_server), inherits=False)
    reader.origins = lambda wanted: next(
        (dict(one.default_server) for one in proxies if one.has_backend and one.name == wanted), None
    )
    refused = REFUSED_3 if dialect.newer_added else REFUSED
    try:
        if not PLAIN.fullmatch(name):
            check_name(name, 1)
        _, address, settings, forced = reader.server(line)
    except Wrong as wrong:
        _refuse_first(line.words, len(line.words) if wrong.at is None else wrong.at, refused)
        raise NotAdded(_text(wrong, line.words)) from None
    _refuse_first(line.words, len(line.words), refused)
    settings = stripped(settings)
    number = new_id(forced)
    server = Added(
        name, address, settings, number, PLACE, 0, bool(forced), enabled=_is_last(line.words, "enabled", "disabled")
    )
    _judge(proxy, server, settings, verify, healthchecks)
    return server


def stripped(settings: ServerSettings) -> ServerSettings:
    """Its check takes neither TLS nor the PROXY protocol from the traffic: it has what its own words say (run on 2.6.12)."""
    send_proxy = settings.send_proxy if settings.check_send_proxy else ""
    return msgspec.structs.replace(settings, check_ssl=bool(settings.check_ssl), send_proxy=send_proxy)


def _refuse_first(words: Sequence[str], end: int, refused: frozenset[str]) -> None:
    """Raises: NotAdded for the first keyword before `end` that is for files only."""
    at = 3
    while at < end:
        word = words[at]
        if word in refused:
            raise NotAdded(f"'{word}' option is not accepted for dynamic server")
        count = 0 if word in FLAGS else SERVER_WORDS.get(word, (0, None))[0]
        at += 1 + max(count, 0)


def _is_last(words: Sequence[str], wanted: str, other: str) -> bool:
    found = [word for word in words[3:] if word in (wanted, other)]
    return bool(found) and found[-1] == wanted


def _text(wrong: Wrong, words: Sequence[str]) -> str:
    """What 2.6 says where the reader of files says it better."""
    text, name = str(wrong), words[1]
    if wrong.at == 2:
        return PORT.sub(r"\1", text)
    if text.startswith("unknown keyword"):
        meant = MEANT.search(wrong.help)
        return f"{text}; did you mean '{meant[1]}' maybe ?" if meant else f"{text}."
    for pattern, theirs in TEXTS:
        if match := pattern.match(text):
            return match.expand(theirs).replace("NAME", name)
    return f"{text.rstrip('.')}."


PORT = re.compile(r"^(invalid port '[^']*') in .*")
TEXTS = tuple(
    (re.compile(pattern), theirs)
    for pattern, theirs in (
        (r"('(?:agent-|fast|down)?inter') expects an argument", r"\1 expects a delay as argument.."),
        (
            r"'inter' wants a time, got '[0-9]*(.)",
            r"unexpected character '\1' in 'agent-inter' argument of server NAME..",
        ),
        (r"('[a-z-]+') wants a time, got '[0-9]*(.)", r"unexpected character '\2' in \1 argument of server NAME.."),
        (r"(invalid value 0 for argument '[a-z-]+')", r"\1 of server NAME.."),
        (r"('(?:rise|fall)') wants a count", r"\1 has to be > 0.."),
        (r"custom id has to be", r"'id' : custom id has to be > 0."),
        (r"(weight of server .*)", r"\1.."),
    )
)


def _judge(
    proxy: Proxy, server: Server, settings: ServerSettings, verify: str, healthchecks: Mapping[str, RuleSet]
) -> None:
    """What stands against a server as a whole. Raises: NotAdded."""
    if settings.track and settings.check:
        raise NotAdded("unable to enable checks and tracking at the same time!")
    tls = settings.ssl or settings.check_ssl
    words = dict(settings.tls)
    if settings.healthcheck and settings.healthcheck not in healthchecks:
        raise NotAdded(f"unable to find required healthcheck '{settings.healthcheck}'.")
    rules = healthchecks.get(settings.healthcheck, proxy.checks)
    if not mux_fits(settings, proxy.mode):
        raise NotAdded("MUX protocol is not usable for server.")
    if not check_mux_fits(settings, rules):
        raise NotAdded(
            f"config: backend '{proxy.name}': server '{server.name}' uses an incompatible MUX protocol for the selected "
            "check type"
        )
    if tls and verify == "required" and words.get("verify") != "none" and "ca-file" not in words:
        raise NotAdded(NO_CA)
    if settings.check and not has_port(server, rules):
        raise NotAdded(
            f"config: backend '{proxy.name}': server '{server.name}' has neither service port nor check port nor "
            "tcp_check rule 'connect' with port information."
        )
    if settings.agent_check and not (settings.agent_port or settings.port):
        raise NotAdded(f"server {server.name} does not have agent port. Agent check has been disabled.")
