"""The checkers of a real server: their keywords and what they are when everything is inherited.

Source: spec/keepalived-track.md §11.1, §11.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import re

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import (
    Draft,
    Keyword,
    Table,
    Values,
    Walk,
    boolean,
    command_of,
    flag,
    number,
    passed,
    text,
    timer,
    word,
)
from risefall.config.keepalived.model import Command, Line, Place, Tracked, Url
from risefall.config.keepalived.trackers import Known, is_address, user_read
from risefall.config.keepalived.words import shell_words
from risefall.config.text import nearest

DNS_TYPES = ("A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY")
PROTOCOLS = {"1.0": "1.0", "1.1": "1.1", "1.0C": "1.0C", "1.0c": "1.0C"}
WEIGHT_MAX = 2**31 - 1
STATUS = re.compile(r"([0-9]+)(?:-([0-9]+))?")
DEFAULTS: dict[str, dict[str, int | None]] = {
    "MISC_CHECK": {"retry": 0, "delay_before_retry_ms": 1000},
    "DNS_CHECK": {"retry": 3, "delay_before_retry_ms": None},
    "HTTP_GET": {"retry": 1, "delay_before_retry_ms": 3000},
    "SSL_GET": {"retry": 1, "delay_before_retry_ms": 3000},
}
"""Where a kind differs from one retry after one second; None is the pause between checks."""


def _begin(walk: Walk, line: Line) -> None:
    walk.open.append(Draft(line.words[0], line, kind=line.words[0]))


def _address(field: str, other: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        given, keyword = word(line), line.words[0]
        family = is_address(given)
        if not family:
            walk.warn(line, f"Invalid {keyword} address {given} - ignoring", "write a numeric address", 1)
            return
        against = walk.draft.values.get(other)
        if against is None and field == "bindto" and walk.draft.name != "SMTP_CHECK":
            against = next(draft.values["address"] for draft in reversed(walk.open) if "address" in draft.values)
        if against and is_address(against) != family:
            partner = "bindto" if field == "connect_ip" else "connect_ip"
            text_ = f"{keyword} address {given} does not match address family of {partner} - skipping"
            walk.warn(line, text_, "use addresses of one family", 1)
            return
        walk.set(line, field, given)
        walk.leftover(line, 2)

    return Keyword(read)


def _bind_if(walk: Walk, line: Line) -> None:
    given = word(line)
    if len(given) > 15:
        walk.warn(line, f"Interface name {given} is too long - ignoring", "the most are 15 characters", 1)
        return
    walk.set(line, "bind_if", given)


PACE: Table = {
    "retry": number("retry", 0, numbers.UINT_MAX, "Invalid retry connection value '{value}'"),
    "delay_before_retry": timer("delay_before_retry_ms", "Invalid delay_before_retry connection value '{value}'"),
    "warmup": timer("warmup_ms", "Invalid warmup connection value '{value}'"),
    "delay_loop": timer("delay_loop_ms", "delay_loop '{value}' is invalid - ignoring", low=1),
    "alpha": boolean("alpha", "Invalid alpha parameter {value}"),
    "log_all_failures": boolean("log_all_failures", "Invalid log_all_failures parameter {value}"),
}
COMMON: Table = {
    **PACE,
    "connect_ip": _address("connect_ip", "bindto"),
    "connect_port": number("connect_port", 1, 65535, "Invalid checker connect_port '{value}'"),
    "bindto": _address("bindto", "connect_ip"),
    "bind_port": number("bind_port", 1, 65535, "Invalid checker bind_port '{value}'"),
    "bind_if": Keyword(_bind_if),
    "connect_timeout": timer(
        "connect_timeout_ms", "connect_timeout {value} invalid - ignoring", low=1, high=numbers.UINT_MAX
    ),
    "fwmark": number("fwmark", 0, numbers.UINT_MAX, "Invalid fwmark connection value '{value}'"),
}


def _keep(walk: Walk) -> None:
    """Hands the checker over to its real server, which stands below it in the stack."""
    draft = walk.draft
    if draft.dead:
        return
    given = draft.values.get("connect_ip", "")
    if given.lower().startswith("fe80:") and "bind_if" not in draft.values:
        text_ = f"Checker link local address {given} requires a bind_if"
        walk.warn(draft.line, text_, "add bind_if: the checker is left out")
        return
    walk.open[-2].values.setdefault("checkers", []).append(draft)


# --- HTTP_GET, SSL_GET ------------------------------------------------------------------------------------------------------


def _status(walk: Walk, line: Line) -> None:
    found = walk.draft.values.setdefault("status", [])
    for at, given in enumerate(line.words[1:], 1):
        parts = STATUS.fullmatch(given)
        low = int(parts.group(1)[:9]) if parts else 0
        high = int(parts.group(2)[:9]) if parts and parts.group(2) else low
        if not 100 <= low <= high <= 599:
            walk.warn(
                line, f"Invalid HTTP_GET status code '{given}'", "write codes from 100 to 599, such as 200-299", at
            )
        else:
            found.append((low, high))


def _digest(walk: Walk, line: Line) -> None:
    given = word(line)
    if "digest" in walk.draft.values:
        walk.warn(line, f"Digest '{given}' is a duplicate", "the first one stays; take one out", 1)
    elif len(given) != 32:
        text_ = f"digest '{given}' character length should be 32 rather than {len(given)}"
        walk.warn(line, text_, "genhash -s ADDRESS -p PORT -u PATH prints it", 1)
    elif not re.fullmatch(r"[0-9a-fA-F]*", given):
        walk.warn(line, f"Unable to interpret hex digit in '{given}'", "write 32 hexadecimal digits", 1)
    else:
        walk.set(line, "digest", given.lower())
    walk.leftover(line, 2)


def _regex(walk: Walk, line: Line) -> None:
    words = shell_words(line.text)
    if len(words) != 2:
        walk.warn(line, "regex missing or too many fields", "put it into double quotes", 1)
        return
    walk.set(line, "regex", words[1])


def _offset(kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) != 2:
            walk.warn(line, f"Missing or too may options for regex_{kind}_offset", "write one number", 1)
        elif not line.words[1].isdigit():
            text_ = f"Invalid regex_{kind}_offset {line.words[1]} specified"
            walk.warn(line, text_, "write a number of bytes", 1)
        else:
            walk.set(line, f"regex_{kind}_offset", int(line.words[1][:18]))

    return Keyword(read)


def _url_begin(walk: Walk, line: Line) -> None:
    walk.open.append(Draft("url", line))


def _url_end(walk: Walk) -> None:
    draft = walk.draft
    if "path" not in draft.values:
        walk.warn(draft.line, "HTTP/SSL_GET checker url has no path - ignoring", "add 'path /'")
        return
    values: Values = dict(draft.values)
    values.pop("others", None)
    status = tuple(values.pop("status", ())) or ((200, 299),)
    walk.open[-2].values.setdefault("urls", []).append(Url(status=status, place=draft.place, **values))


URL: Table = {
    "path": text("path"),
    "digest": Keyword(_digest),
    "status_code": Keyword(_status),
    "virtualhost": text("virtualhost", absent="Missing HTTP_GET virtualhost name"),
    "regex": Keyword(_regex),
    "regex_no_match": flag("regex_no_match"),
    "regex_options": Keyword(lambda walk, line: walk.set(line, "regex_options", line.words[1:])),
    "regex_min_offset": _offset("min"),
    "regex_max_offset": _offset("max"),
    "regex_stack": passed(),
}


def _old_retry(walk: Walk, line: Line) -> None:
    walk.warn(line, "nb_get_retry is deprecated - please use 'retry'", "write retry", 0)
    message = f"Invalid nb_get_retry value '{word(line)}'"
    value = walk.judge(line, 1, numbers.unsigned(word(line), 0, numbers.UINT_MAX), message)
    if value is not None:
        walk.set(line, "retry", value)


def _protocol(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.warn(line, "Missing http_protocol version", "write 1.0, 1.0C or 1.1", 1)
    elif line.words[1] not in PROTOCOLS:
        walk.warn(line, f"Invalid http_protocol version {line.words[1]}", "write 1.0, 1.0C or 1.1", 1)
    else:
        walk.set(line, "http_protocol", PROTOCOLS[line.words[1]])


def _http_end(walk: Walk) -> None:
    if not walk.draft.values.get("urls"):
        text_ = "HTTP/SSL_GET checker has no urls specified - ignoring"
        walk.warn(walk.draft.line, text_, "add 'url { path / }' on lines of its own")
        return
    _keep(walk)


HTTP: Table = {
    **COMMON,
    "nb_get_retry": Keyword(_old_retry),
    "virtualhost": text("virtualhost", absent="HTTP_GET virtualhost name missing"),
    "http_protocol": Keyword(_protocol),
    "enable_sni": boolean("enable_sni", "Invalid enable_sni parameter {value}"),
    "fast_recovery": boolean("fast_recovery", "Invalid fast_recovery parameter {value}"),
    "url": Keyword(_url_begin, URL, _url_end),
}


# --- MISC_CHECK ---------------------------------------------------------------------------------------------------------------


def _misc_path(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        return
    found = command_of(walk, line, user=False)
    if found is not None:
        walk.set(line, "command", found)


def _misc_user(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.warn(line, "No user specified for misc checker script", "write a user behind it", 1)
        return
    user_read(walk, line)


def _misc_timeout(walk: Walk, line: Line) -> None:
    given = word(line)
    message = f"Invalid misc_timeout value '{given}'"
    value = walk.judge(line, 1, numbers.unsigned(given, 0, numbers.SECONDS_MAX), message)
    if value is not None:
        walk.set(line, "timeout_ms", value * 1000)
    walk.leftover(line, 2)


def _misc_end(walk: Walk) -> None:
    values = walk.draft.values
    user, group = values.pop("user", (None, None))
    if "command" not in values:
        text_ = "No script path has been specified for MISC_CHECKER - skipping"
        walk.warn(walk.draft.line, text_, "add 'misc_path \"/path/of/command arguments\"'")
        return
    values["command"] = Command(values["command"].argv, user, group)
    _keep(walk)


MISC: Table = {
    **PACE,
    "misc_path": Keyword(_misc_path),
    "misc_timeout": Keyword(_misc_timeout),
    "misc_dynamic": flag("dynamic"),
    "user": Keyword(_misc_user),
}

# --- SMTP, DNS, UDP -------------------------------------------------------------------------------------------------------------


def _host_begin(walk: Walk, line: Line) -> None:
    walk.open.append(Draft("host", line))


def _host_end(walk: Walk) -> None:
    values = walk.draft.values
    if "connect_timeout_ms" not in values:
        values["connect_timeout_ms"] = 0  # that of the block above, and of the server, does not count
        text_ = "keepalived 2.2.7 takes connect_timeout 0 for this host: its check always fails"
        walk.warn(walk.draft.line, text_, "write connect_timeout into the host block")
    walk.open[-2].values.setdefault("hosts", []).append({**values, "place": walk.draft.place})
    text_ = "The SMTP_CHECK host block is deprecated. Please define additional checkers."
    walk.warn(walk.draft.line, text_, "write one SMTP_CHECK for each host")


def _smtp_end(walk: Walk) -> None:
    """Each `host` is a checker of its own; beside them the block is one if it names a connection."""
    values = walk.draft.values
    hosts = values.pop("hosts", [])
    connection = ("connect_ip", "connect_port", "bindto", "bind_port", "bind_if", "fwmark", "connect_timeout_ms")
    if not hosts or any(field in values for field in connection):
        _keep(walk)
    for host in hosts:
        draft = Draft("SMTP_CHECK", walk.draft.line, **{**values, **host})
        draft.values.pop("place")
        walk.open[-2].values.setdefault("checkers", []).append(draft)


SMTP: Table = {
    **COMMON,
    "helo_name": text("helo_name", absent="SMTP_CHECK helo name missing"),
    "host": Keyword(_host_begin, COMMON, _host_end),
}


def _dns_type(walk: Walk, line: Line) -> None:
    given = word(line)
    if given.upper() not in DNS_TYPES:
        walk.warn(line, f"Unknown DNS check type {given} - ignoring", f"known are {', '.join(DNS_TYPES)}", 1)
        return
    walk.set(line, "dns_type", given.upper())


def _dns_name(walk: Walk, line: Line) -> None:
    given = word(line)
    if "dns_name" in walk.draft.values:
        walk.warn(line, "DNS_CHECK name already specified - ignoring", "the first one stays; take one out", 0)
    elif ".." in given or (given.startswith(".") and given != "."):
        walk.warn(line, f"DNS_CHECK name '{given}' has empty label - ignoring", "write one dot between labels", 1)
    else:
        walk.set(line, "dns_name", given)


DNS: Table = {**COMMON, "type": Keyword(_dns_type), "name": Keyword(_dns_name)}


def _payload(field: str, what: str, pattern: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        given = "".join("".join(line.words[1:]).split())
        if field == "reply":
            walk.set(line, "require_reply", True)
            if not given:
                return
        elif len(line.words) < 2:
            walk.warn(line, "UDP_CHECK payload requires a payload", "write hexadecimal digits", 1)
            return
        if not re.fullmatch(pattern, given):
            walk.warn(line, f"Invalid hex string for UDP_CHECK {what}", "write pairs of hexadecimal digits", 1)
            return
        walk.set(line, field, " ".join(line.words[1:]))

    return Keyword(read)


def _udp_end(walk: Walk) -> None:
    values = walk.draft.values
    low, high = values.get("min_reply_length", 0), values.get("max_reply_length", 255)
    if low > high:
        text_ = f"UDP_CHECK min_reply length {low} > max_reply_length {high} - will always fail"
        walk.warn(walk.draft.line, text_, "write min_reply_length below max_reply_length")
    _keep(walk)


UDP: Table = {
    **COMMON,
    "payload": _payload("payload", "payload", r"[0-9a-fA-F]+"),
    "require_reply": _payload("reply", "reply", r"[0-9a-fA-FxX]+"),
    "min_reply_length": number(
        "min_reply_length",
        0,
        65535,
        "UDP_CHECK min length {value} not valid - must be between 0 & 65535",
        lenient=False,
    ),
    "max_reply_length": number(
        "max_reply_length",
        0,
        65535,
        "UDP_CHECK max length {value} not valid - must be between 0 & 65535",
        lenient=False,
    ),
}

# --- FILE_CHECK, BFD_CHECK ------------------------------------------------------------------------------------------------------


def _file(walk: Walk, line: Line, known: Known) -> None:
    given = word(line)
    found = known.find("file", given)
    if found is None:
        meant = nearest(given, [one.name for one in known.files])
        help = f"did you mean '{meant}'?" if meant else "define the track_file above this line"
        walk.warn(line, f"track_file {given} not found", help, 1)
        return
    walk.set(line, "definition", found)


def _file_weight(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.warn(line, "track file weight missing", "write a number behind it", 1)
        return
    message = f"weight for track file must be in [{-WEIGHT_MAX}..{WEIGHT_MAX}] inclusive. Ignoring..."
    value = walk.judge(line, 1, numbers.signed(line.words[1], -WEIGHT_MAX, WEIGHT_MAX), message)
    if value is None:
        return
    option = line.words[2] if len(line.words) > 2 else "noreverse"
    if option not in ("reverse", "noreverse"):
        text_ = f"unknown track file weight option {option} - ignoring"
        walk.warn(line, text_, "write reverse or noreverse", 2)
        return
    walk.set(line, "weight", (value, option == "reverse"))


def _file_end(walk: Walk) -> None:
    values = walk.draft.values
    definition = values.pop("definition", None)
    weight, reverse = values.pop("weight", (None, False))
    if definition is None:
        text_ = "FILE_CHECK has no track_file specified - ignoring"
        walk.warn(walk.draft.line, text_, "add 'track_file NAME'")
        return
    if weight is None:
        weight, reverse = definition.weight, definition.reverse
    values["tracked"] = Tracked(definition.name, weight, reverse, walk.draft.place)
    _keep(walk)


def _bfd(walk: Walk, line: Line, known: Known) -> None:
    draft = walk.draft
    server = walk.open[-2].name if len(walk.open) > 1 else ""
    if draft.dead:
        return
    if len(line.words) != 2:
        text_ = f"({server}) BFD_CHECK - No or too many names specified - skipping checker"
        walk.warn(line, text_, "write one name", 1)
        draft.dead = True
    elif (found := known.find("bfd", line.words[1])) is None or not found.checker:
        text_ = f"({server}) BFD_CHECK - BFD {line.words[1]} not configured"
        walk.warn(line, text_, "define the bfd_instance above this line", 1)
        draft.dead = True
    else:
        walk.set(line, "tracked", Tracked(found.name, place=Place(line.file, line.line)))


def _bfd_end(walk: Walk) -> None:
    if not walk.draft.dead and "tracked" not in walk.draft.values:
        server = walk.open[-2].name if len(walk.open) > 1 else ""
        text_ = f"({server}) No name has been specified for BFD_CHECKER - skipping"
        walk.warn(walk.draft.line, text_, "add 'name BFD'")
        return
    _keep(walk)


def table(known: Known) -> Table:
    """The checkers by keyword."""
    file_ = {"track_file": Keyword(lambda walk, line: _file(walk, line, known)), "weight": Keyword(_file_weight)}
    bfd = {
        "name": Keyword(lambda walk, line: _bfd(walk, line, known)),
        "alpha": boolean("alpha", "Invalid alpha parameter {value}"),
    }
    return {
        "MISC_CHECK": Keyword(_begin, MISC, _misc_end),
        "SMTP_CHECK": Keyword(_begin, SMTP, _smtp_end),
        "TCP_CHECK": Keyword(_begin, COMMON, _keep),
        "PING_CHECK": Keyword(_begin, COMMON, _keep),
        "UDP_CHECK": Keyword(_begin, UDP, _udp_end),
        "HTTP_GET": Keyword(_begin, HTTP, _http_end),
        "SSL_GET": Keyword(_begin, HTTP, _http_end),
        "DNS_CHECK": Keyword(_begin, DNS, _keep),
        "FILE_CHECK": Keyword(_begin, file_, _file_end),
        "BFD_CHECK": Keyword(_begin, bfd, _bfd_end),
    }
