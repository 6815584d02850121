"""Virtual servers when the whole file is known: what they inherit, and what keepalived sets right.

Source: spec/keepalived-track.md §11.1, §11.3, §11.4; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from typing import Any

from risefall.config.keepalived.blocks import Draft, Values, Walk
from risefall.config.keepalived.checkers import DEFAULTS
from risefall.config.keepalived.model import Checker, RealServer, ServerGroup, SorryServer, VirtualServer
from risefall.config.keepalived.servers import PERSISTENCE_S, Servers

INHERITED = (
    "retry",
    "delay_before_retry_ms",
    "warmup_ms",
    "connect_timeout_ms",
    "delay_loop_ms",
    "alpha",
    "inhibit_on_failure",
)
"""What a real server takes from its virtual server."""


class Pool:
    """Completes the virtual servers of one reading."""

    def __init__(self, walk: Walk, servers: Servers, defaults: Values) -> None:
        """defaults: the values of `global_defs`."""
        self._walk = walk
        self._servers = servers
        self._defaults = defaults

    def finish(self) -> tuple[VirtualServer, ...]:
        return tuple(one for draft in self._servers.virtual if (one := self._virtual(draft)) is not None)

    def _alert(self, values: Values, otherwise: bool) -> bool:
        for given in (
            values.get("smtp_alert"),
            self._defaults.get("smtp_alert_checker"),
            self._defaults.get("smtp_alert"),
        ):
            if given is not None:
                return bool(given)
        return otherwise

    def _virtual(self, draft: Draft) -> VirtualServer | None:
        values, reals = draft.values, draft.values.get("servers", [])
        group = next((one for one in self._servers.groups if one.name == values.get("group")), None)
        name = self._name(values)
        if "group" in values and group is None:
            text = (
                f"Virtual server group {values['group']} specified but not configured - ignoring virtual server {name}"
            )
            self._walk.warn(draft.line, text, "add a virtual_server_group of that name: this block is ignored", 2)
            return None
        if not reals:
            text = f"Virtual server {name} has no real servers - ignoring"
            self._walk.warn(draft.line, text, "add real_server ADDRESS PORT { … }")
            return None
        self._service(draft, group)
        name = self._name(values)
        if "scheduler" not in values:
            text = f"Virtual server {name}: no scheduler set, setting default 'wlc'"
            self._walk.warn(draft.line, text, "add lb_algo")
        servers = self._reals(draft, name)
        self._quorum(draft, name, sum(server.weight for server in servers))
        if group is not None:
            self._group_ports(draft, group, name, servers)
        fields = {field: values[field] for field in VirtualServer.__struct_fields__ if field in values}
        fields["smtp_alert"] = self._alert(values, False)
        sorry = values.get("sorry_server")
        if sorry is not None:
            fields["sorry_server"] = self._sorry(draft, name, sorry, servers)
        fields["name"], fields["real_servers"], fields["place"] = name, servers, draft.place
        if group is not None and not fields["family"]:
            fields["family"] = next((entry.family for entry in group.entries if entry.family), 4)
        fields["method"] = values.get("method") or "NAT"
        return VirtualServer(**fields)

    @staticmethod
    def _name(values: Values) -> str:
        """As keepalived's messages name it."""
        if "group" in values:
            return f"[{values['group']}]:0"
        if values.get("fwmark"):
            return f"FWM {values['fwmark']}"
        return f"[{values.get('address', '')}]:{(values.get('protocol') or 'none').lower()}:{values.get('port', 0)}"

    def _service(self, draft: Draft, group: ServerGroup | None) -> None:
        """Protocol, persistence and what firewall marks exclude."""
        values, walk = draft.values, self._walk
        marks = any(entry.fwmark is not None for entry in group.entries) if group else "fwmark" in values
        ranges = [entry for entry in group.entries if entry.fwmark is None] if group else []
        if values.get("ha_suspend") and marks:
            text = f"Virtual server {self._name(values)}: cannot use ha_suspend with fwmarks - clearing ha_suspend"
            walk.warn(draft.at("ha_suspend"), text, "take it out")
            values["ha_suspend"] = False
        if ranges or not (group or marks):
            if "protocol" not in values:
                text = f"Virtual server {self._name(values)}: no protocol set - defaulting to UDP"
                walk.warn(draft.line, text, "add 'protocol TCP'")
                values["protocol"] = "UDP"
            if values.get("ops") and values["protocol"] != "UDP":
                text = f"Virtual server {self._name(values)}: one packet scheduling requires UDP - resetting"
                walk.warn(draft.at("ops"), text, "take it out")
        ports = [entry.port for entry in ranges] if group else [values["port"]] if "port" in values else []
        if not values.get("persistence_timeout_s") and 0 in ports:
            text = f"Virtual server {self._name(values)}: zero port only valid for persistent services - setting"
            walk.warn(draft.line, text, "write a port, or add persistence_timeout")
            values["persistence_timeout_s"] = PERSISTENCE_S
        if "protocol" in values and marks and not ranges:
            text = f"Warning: Virtual server {self._name(values)}: protocol specified for fwmark - protocol will be ignored"
            walk.warn(draft.at("protocol"), text, "take it out")
            del values["protocol"]

    def _reals(self, draft: Draft, name: str) -> tuple[RealServer, ...]:
        values = draft.values
        found: list[RealServer] = []
        for server in values["servers"]:
            one = server.values
            if any((other.address, other.port) == (one["address"], one["port"]) for other in found):
                text = f"VS {name}: real server {self._real_name(values, one)} is duplicated - removing second rs"
                self._walk.warn(server.line, text, "take one out", 1)
                continue
            if not one["method"] and not values.get("method"):
                text = f"Virtual server {name}: no forwarding method set, setting default NAT"
                self._walk.warn(draft.line, text, "add 'lb_kind NAT', DR or TUN")
                values["method"] = "NAT"
            one["method"] = one["method"] or values["method"]
            for field in INHERITED:
                if field not in one and field in values:
                    one[field] = values[field]
            one.setdefault("weight", values.get("weight", 1))
            one["smtp_alert"] = self._alert(one, True)
            self._port(values, server, name)
            fields = {field: one[field] for field in RealServer.__struct_fields__ if field in one}
            fields["checkers"] = tuple(self._checker(checker, one) for checker in one.get("checkers", ()))
            found.append(RealServer(place=server.place, **fields))
        return tuple(found)

    @staticmethod
    def _real_name(values: Values, one: Values) -> str:
        return f"[{one['address']}]:{(values.get('protocol') or 'none').lower()}:{one['port']}"

    def _port(self, values: Values, server: Draft, name: str) -> None:
        """Without NAT a real server has the port of its virtual server."""
        one = server.values
        if "group" in values:
            return
        own = values.get("port", 0)
        shown = self._real_name(values, one)
        if one["method"] != "NAT" and values.get("fwmark") and one["port"]:
            text = f"WARNING - fwmark virtual server {name}, real server {shown} has port specified - clearing"
            self._walk.warn(server.line, text, "write port 0", 2)
            one["port"] = 0
        elif one["method"] != "NAT" and one["port"] and one["port"] != own:
            text = f"WARNING - virtual server {name} and real server {shown} ports don't match - resetting"
            self._walk.warn(server.line, text, f"write port {own}, or lb_kind NAT", 2)
            one["port"] = own
        elif not one["port"] and not values.get("fwmark"):
            one["port"] = own

    def _sorry(self, draft: Draft, name: str, sorry: Values, servers: tuple[RealServer, ...]) -> SorryServer:
        """Without NAT it has the port of its virtual server; where it is a real server too, it is inhibited as that is."""
        values, walk, line = draft.values, self._walk, draft.at("sorry_server")
        method = sorry["method"] or values.get("method") or "NAT"
        given, own = sorry["port"], values.get("port", 0)
        if method != "NAT" and given:
            text = ""
            if values.get("fwmark"):
                text, help = "sorry server has port specified - clearing", "write no port"
            elif "group" in values:
                text, help = "sorry server has port specified - port will be ignored", "write no port"
            elif given != own:
                text, help = "and sorry server ports don't match - resetting", f"write port {own}, or lb_kind NAT"
                walk.warn(line, f"WARNING - virtual server {name} {text}", help, 2)
                text = ""
            if text:
                walk.warn(line, f"WARNING - virtual server {name}, {text}", help, 2)
        port = given if method == "NAT" and given else own
        inhibit = sorry["inhibit"]
        for one in servers:
            if (one.address, one.port) == (sorry["address"], port) and one.inhibit_on_failure != inhibit:
                shown = f"[{one.address}]:{(values.get('protocol') or 'none').lower()}:{one.port}"
                verb = "setting" if one.inhibit_on_failure else "clearing"
                text = f"Virtual server {name}: real server {shown} matches sorry server, but inhibit setting differs, {verb} on sorry server"
                walk.warn(line, text, "write both alike", 1)
                inhibit = one.inhibit_on_failure
        return SorryServer(**{**sorry, "method": method, "port": port, "inhibit": inhibit})

    def _group_ports(self, draft: Draft, group: ServerGroup, name: str, servers: tuple[RealServer, ...]) -> None:
        """Without NAT the ports of a group count, not those of the real servers."""
        protocol = (draft.values.get("protocol") or "none").lower()
        for one in servers:
            if one.method == "NAT" or not one.port:
                continue
            line = next(server.line for server in draft.values["servers"] if server.place == one.place)
            shown = f"[{one.address}]:{protocol}:{one.port}"
            if any(entry.fwmark is not None for entry in group.entries):
                text = f"WARNING - fwmark virtual server {name}, real server {shown} has port specified - port will be ignored"
                self._walk.warn(line, text, "write port 0", 2)
            for entry in group.entries:
                if entry.fwmark is None and entry.port != one.port:
                    text = (
                        f"virtual server {name}:[{entry.first},{entry.port}] and real server {shown} ports don't match"
                    )
                    self._walk.warn(line, text, f"write port {entry.port}, or lb_kind NAT", 2)
                    break

    def _quorum(self, draft: Draft, name: str, total: int) -> None:
        values = draft.values
        quorum = values.setdefault("quorum", 1)
        if quorum > total:
            text = (
                f"Warning - quorum {quorum} for {name} exceeds total weight of real servers {total},"
                f" reducing quorum to {total}"
            )
            self._walk.warn(draft.at("quorum"), text, "lower the quorum, or raise weights", 1)
            quorum = values["quorum"] = total
        if values.get("hysteresis", 0) >= quorum:
            least = (quorum - 1) & 0xFFFFFFFF
            text = (
                f"Virtual server {name}: hysteresis {values.get('hysteresis', 0)} >= quorum {quorum};"
                f" setting hysteresis to {least}"
            )
            self._walk.warn(draft.at("hysteresis"), text, "lower the hysteresis", 1)
            values["hysteresis"] = least

    def _checker(self, draft: Draft, server: Values) -> Checker:
        """One checker with what it takes from its real server."""
        values: Values = dict(draft.values)
        kind = values.setdefault("kind", draft.name)
        own = DEFAULTS.get(kind, {"retry": 1, "delay_before_retry_ms": 1000})
        values.setdefault("alpha", server.get("alpha", False))
        values.setdefault("retry", server.get("retry", own["retry"]))
        values.setdefault("connect_timeout_ms", server.get("connect_timeout_ms", 5000))
        loop = values.setdefault("delay_loop_ms", server.get("delay_loop_ms", 60_000))
        values.setdefault("warmup_ms", server.get("warmup_ms", loop))
        before: Any = server.get("delay_before_retry_ms", own["delay_before_retry_ms"])
        values.setdefault("delay_before_retry_ms", loop if before is None else before)
        if kind == "MISC_CHECK" and not values.get("timeout_ms"):
            values["timeout_ms"] = loop
        if kind in ("FILE_CHECK", "BFD_CHECK"):
            values["alpha"] = values["alpha"] and kind == "BFD_CHECK"
        if isinstance(values.get("urls"), list):
            values["urls"] = tuple(values["urls"])
        known = {field: value for field, value in values.items() if field in Checker.__struct_fields__}
        return Checker(place=draft.place, **known)
