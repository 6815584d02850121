"""Whether the checks of a plan can be made, before any is: what a compiler makes of each distinct rule set, or why it makes nothing.

Only rules that hold an expression, a format or a regular expression can fail, so that a plan of others costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import (
    Address,
    Config,
    ConnectRule,
    Expect,
    ExpectRule,
    Family,
    HttpSendRule,
    Match,
    Rule,
    RuleSet,
    TcpSendRule,
    VarRule,
)
from risefall.config.haproxy.plan import Loaded, PlannedServer

PLAIN = frozenset((Expect.STATUS, Expect.STRING, Expect.BINARY, Expect.HDR, Expect.FHDR))


def may_fail(rule: Rule) -> bool:
    """Whether a rule holds what only a compiler can judge."""
    match rule:
        case ConnectRule():
            return bool(rule.port_expr)
        case HttpSendRule():
            return rule.uri_lf or rule.body_lf or any("%" in header.value for header in rule.headers)
        case TcpSendRule():
            return rule.lf is not None
        case ExpectRule():
            halves = [half for half in (rule.name, rule.value) if half is not None]
            judged = any(half.lf or half.match is Match.REG for half in halves) or rule.kind not in PLAIN
            return judged or bool(rule.on_success or rule.on_error or rule.status_code)
        case VarRule():
            return True


def reasons(loaded: Loaded) -> list[str]:
    """For each planned server, in order: why its health check cannot be made, by its rules or its address, or nothing."""
    found: dict[tuple[int, str], str] = {}
    doubtful: dict[int, bool] = {}
    out = []
    for server in loaded.planned:
        rules = server.rules
        if id(rules) not in doubtful:
            doubtful[id(rules)] = any(may_fail(rule) for rule in rules.rules)
        to = server.check_addr
        if to is not None and to.family is Family.ELSEWHERE:
            out.append(unreachable(to))
            continue
        if not (server.check and doubtful[id(rules)]):
            out.append("")
            continue
        key = id(rules), server.proxy.unique_id_format
        if key not in found:
            found[key] = reason(loaded.config, loaded.dialect, server)
        out.append(found[key])
    return out


def unreachable(to: Address) -> str:
    """Why an address has no endpoint."""
    from risefall.engine.names import Unresolved, endpoint

    found = endpoint(to, 0, {})
    assert isinstance(found, Unresolved)
    return found.why


def reason(config: Config, dialect: Dialect, server: PlannedServer) -> str:
    """Why the rules of one server cannot be run, or nothing; wherever their connections may lead."""
    from risefall.engine.around import Around
    from risefall.engine.names import NOWHERE, Found, key_of
    from risefall.engine.programs import Compiler, NotChecked

    addresses = (rule.addr for rule in connects(server.rules))
    found: Found = {key_of(address): NOWHERE for address in addresses if address is not None}
    compiler = Compiler(dialect, config.global_.bufsize, found, config.global_.variables, Around(config))
    try:
        compiler.health(server.rules, server.proxy.unique_id_format)
    except NotChecked as why:
        return str(why)
    return ""


def connects(rules: RuleSet) -> Sequence[ConnectRule]:
    """The connect rules of a list."""
    return [rule for rule in rules.rules if isinstance(rule, ConnectRule)]
