"""`resolvers` sections: whom to ask for names at run time, how often, and how long to believe an old answer.

A section `default` is there even where no file writes it: it asks the name servers of the machine. Source:
spec/haproxy-checks.md §9.6; haproxy configuration manual 2.6, §5.3.2; errors of 2.6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.model import Family, Line, NameServer, Resolvers, Section
from risefall.config.haproxy.units import LENIENT, atoi, parse_time
from risefall.config.text import Diagnostics, Wrong, nearest

DEFAULT = "default"
HOLDS = ("valid", "nx", "refused", "timeout", "other", "obsolete")
TIMEOUTS = ("resolve", "retry")
PAYLOAD_MIN, PAYLOAD_MAX = 12, 65535
DATAGRAM = ("udp@", "udp4@", "udp6@")
WORDS = (
    "nameserver", "parse-resolv-conf", "hold", "resolve_retries", "timeout", "accepted_payload_size",
)  # fmt: skip

Fields = dict[str, Any]


def read_resolvers(section: Section, known: Mapping[str, Resolvers], diagnostics: Diagnostics) -> Resolvers:
    """One section; what is wrong is noted, and the rest of it holds."""
    fields: Fields = {"name": section.name, "nameservers": [], "parse_resolv_conf": False}
    lines = [
        (section.head, head_reader(known)),
        *((line, READERS.get(line.words[0], unknown)) for line in section.lines),
    ]
    for line, reader in lines:
        try:
            reader(fields, line)
        except Wrong as wrong:
            diagnostics.add(wrong, line.file, line.line, line.raw, error=True)
    fields["nameservers"] = tuple(fields["nameservers"])
    return Resolvers(**fields)


def implied() -> Resolvers:
    """The section that HAProxy has without being told."""
    return Resolvers(DEFAULT, parse_resolv_conf=True)


Reader = Callable[[Fields, Line], None]


def head_reader(known: Mapping[str, Resolvers]) -> Reader:
    def head(fields: Fields, line: Line) -> None:
        name = fields["name"]
        if not name:
            raise Wrong("missing name for resolvers section", 1, help="such as resolvers dns")
        if name in known:
            raise Wrong(f"resolvers '{name}' has same name as another resolvers", 1, help="use distinct names")

    return head


def nameserver(fields: Fields, line: Line) -> None:
    words = line.words
    if len(words) < 3:
        raise Wrong(
            "'nameserver' expects <name> and <addr>[:<port>] as arguments",
            len(words),
            help="such as nameserver dns1 10.0.0.53:53",
        )
    name, text = words[1], words[2]
    if any(one.name == name for one in fields["nameservers"]):
        raise Wrong(f"nameserver '{name}' has same name as another nameserver", 1, help="use distinct names")
    prefix, sign, rest = text.partition("@")
    datagram = prefix + sign in DATAGRAM
    stream = bool(sign) and prefix.startswith("tcp")
    address = parse_address(rest if datagram else text, 2)
    if address.family is Family.NAME:
        raise Wrong(
            f"a name server that is a name is left out: '{text}'",
            2,
            help="write its address, such as 10.0.0.53:53",
            soft=True,
        )
    if address.family not in (Family.IPV4, Family.IPV6):
        raise Wrong(f"a name server wants an IP address, got '{text}'", 2, help="such as 10.0.0.53:53")
    if address.mapped or not address.port:
        raise Wrong(f"missing port specification in '{text}'", 2, help=f"the usual one is {text}:53")
    fields["nameservers"].append(NameServer(name, address, stream, datagram))


def parse_resolv_conf(fields: Fields, line: Line) -> None:
    fields["parse_resolv_conf"] = True


def hold(fields: Fields, line: Line) -> None:
    words = line.words
    if len(words) < 3:
        raise Wrong("'hold' expects an <event> and a <time> as arguments", len(words), help="such as hold nx 30s")
    event = words[1]
    if event not in HOLDS:
        meant = nearest(event, HOLDS)
        raise Wrong(
            f"'hold' unknown <event>: '{event}', expects either 'nx', 'timeout', 'valid', 'obsolete' or 'other'",
            1,
            help=f"did you mean '{meant}'?" if meant else "'refused' is known too",
        )
    fields[f"hold_{event}_ms"] = parse_time(words[2], f"'hold {event}'", 2)


def timeout(fields: Fields, line: Line) -> None:
    words = line.words
    if len(words) < 3:
        raise Wrong(
            "'timeout' expects 'retry' or 'resolve' and <time> as arguments", len(words), help="timeout retry 1s"
        )
    if words[1] not in TIMEOUTS:
        raise Wrong(
            f"'timeout' expects 'retry' or 'resolve' and <time> as arguments got '{words[1]}'",
            1,
            help=f"did you mean '{nearest(words[1], TIMEOUTS) or 'resolve'}'?",
        )
    fields[f"{words[1]}_ms"] = parse_time(words[2], f"'timeout {words[1]}'", 2)


def resolve_retries(fields: Fields, line: Line) -> None:
    if len(line.words) < 2:
        raise Wrong("'resolve_retries' expects <nb> as argument", 1, help="such as resolve_retries 3")
    fields["retries"] = max(0, atoi(line.words[1]))


def accepted_payload_size(fields: Fields, line: Line) -> None:
    text = line.words[1] if len(line.words) > 1 else ""
    if not LENIENT.match(text):
        raise Wrong("'accepted_payload_size' expects an integer argument", 1, help="such as 4096")
    size = atoi(text)
    if not PAYLOAD_MIN <= size <= PAYLOAD_MAX:
        raise Wrong(
            f"'accepted_payload_size' must be between {PAYLOAD_MIN} and {PAYLOAD_MAX} inclusive (was {text})",
            1,
            help="such as 4096",
        )
    fields["payload_bytes"] = size


def unknown(fields: Fields, line: Line) -> None:
    word = line.words[0]
    meant = nearest(word, WORDS)
    raise Wrong(
        f"unknown keyword '{word}' in 'resolvers' section",
        0,
        help=f"did you mean '{meant}'?" if meant else "haproxy manual §5.3.2 lists them",
    )


READERS: dict[str, Reader] = {
    "nameserver": nameserver,
    "parse-resolv-conf": parse_resolv_conf,
    "hold": hold,
    "timeout": timeout,
    "resolve_retries": resolve_retries,
    "accepted_payload_size": accepted_payload_size,
}
