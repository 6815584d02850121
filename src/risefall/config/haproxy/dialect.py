"""Which HAProxy is imitated: one table, a field for each row of the spec's comparison (§12).

`2.6` is Debian's 2.6.12, the peer of the differential tests; `3` is today's. Behaviours that are accidents of a
development snapshot are never imitated. Passed down as data: nobody compares version numbers.
"""

from __future__ import annotations

import msgspec


class Dialect(msgspec.Struct, frozen=True):
    """What differs between the two, by row of spec §12. True is always what `3` does, unless it says otherwise."""

    name: str
    version: str
    """What `version_atleast()` and `version_before()` of `.if` compare with."""
    init_state: bool
    exact_check_timeout: bool
    """False: a `timeout check` that ends before the connect deadline fires only then (a defect of 2.6, trap 7)."""
    random_start: bool
    """The start-up stagger is randomised by spread-checks."""
    os_errno_text: bool
    """`ECONNREFUSED returned by OS (Connection refused)` instead of `Connection refused`."""
    hex_pattern: bool
    """`(expect binary ...)` of a time-out is told in hex instead of raw bytes."""
    bare_comment: bool
    """The comment of an empty response is not quoted."""
    no_reason_text: bool
    """A reply without reason phrase that fails its rule says which rule."""
    httpchk_host: bool
    """`option httpchk <method> <uri> <version> <host>` is accepted."""
    version_headers: bool
    """2.6 only: headers hidden in the version word of `option httpchk` are split off, with a warning."""
    tcp_check_drops_rules: bool
    """A repeated `option tcp-check` drops the rules inherited from defaults."""
    check_flags_in_rules: bool
    """disable-on-404 and send-state belong to the rule set, not to the proxy."""
    h2_in_checks: bool
    """A check speaks HTTP/2 where the server's own `alpn` chose it; where `check-alpn` or a rule's did, each version does."""
    auto_sni: bool
    healthcheck_sections: bool
    mysql_post_80: bool
    unique_id_in_checks: bool
    """`unique-id` and `%ID` have a value in a check."""
    newer_converters: bool
    """Converters that came after 2.6: `param`, `rfc7239_...`, the whole header or payload of a JSON Web Token."""
    spop_capabilities: bool
    """An AGENT-HELLO must name its capabilities, and FIN is its only flag; 2.6 reads names and flags leniently."""
    comment_captures: bool
    """`\\1` in the comment of a regular expression is what it has found."""
    agent_weight_word: bool
    """The agent word `weight:`."""
    reuse_pool: bool
    external_preserve_env: bool
    native_mail: bool
    """2.6 only: email alerts without Lua."""
    csv_extended: bool
    """119 columns before the module columns instead of 103."""
    servers_conn_long: bool
    """`show servers conn` has the columns served and idle_sess."""
    typed_persistence: bool
    """A fourth letter in typed tags."""
    hana_duration: int
    """CSV's check_duration of a HANA result."""
    drain_leaves_via: bool
    """`is UP (leaving drain) via b/x` for a tracker that leaves an inherited drain."""
    drain_remains_short: bool
    """`remains in drain mode via b/x` without `is leaving forced drain but`."""
    addr_nothing_changed: bool
    cli_double_newline: bool
    """CLI refusals marked in spec §5.4 end with two line feeds."""
    add_server_from: bool
    set_server_name: bool
    newer_commands: bool
    """`echo`, `wait` and `add server help` of the runtime API."""
    newer_added: bool
    """What `add server` takes and how it refuses."""
    dns_over_tcp: bool
    """A name server without `udp@` is asked again over TCP when its answer is cut (3.5)."""
    newer_addresses: bool
    """Servers at `rhttp@`, and those of `mode log` at `udp@`, whose checks connect all the same."""
    empty_argument_fatal: bool
    warn_unitless: bool
    observe_fastinter: bool
    program_sections: bool
    """2.6 only."""


DIALECTS = {
    "2.6": Dialect(
        name="2.6", version="2.6.12", init_state=False, exact_check_timeout=False, random_start=False,
        os_errno_text=False, hex_pattern=False, bare_comment=False, no_reason_text=False, httpchk_host=False,
        version_headers=True, tcp_check_drops_rules=False, check_flags_in_rules=False, h2_in_checks=False,
        auto_sni=False, healthcheck_sections=False, mysql_post_80=False, unique_id_in_checks=False, newer_converters=False, spop_capabilities=False, comment_captures=False,
        agent_weight_word=False, reuse_pool=False, external_preserve_env=False, native_mail=True, csv_extended=False,
        servers_conn_long=False, typed_persistence=False, hana_duration=2**64 - 1, drain_leaves_via=False, drain_remains_short=False,
        addr_nothing_changed=False, cli_double_newline=False, add_server_from=False, set_server_name=False, newer_commands=False, newer_added=False, dns_over_tcp=False, newer_addresses=False,
        empty_argument_fatal=False, warn_unitless=False, observe_fastinter=False, program_sections=True,
    ),
    "3": Dialect(
        name="3", version="3.4.0", init_state=True, exact_check_timeout=True, random_start=True,
        os_errno_text=True, hex_pattern=True, bare_comment=True, no_reason_text=True, httpchk_host=True,
        version_headers=False, tcp_check_drops_rules=True, check_flags_in_rules=True, h2_in_checks=True,
        auto_sni=True, healthcheck_sections=True, mysql_post_80=True, unique_id_in_checks=True, newer_converters=True, spop_capabilities=True, comment_captures=True,
        agent_weight_word=True, reuse_pool=True, external_preserve_env=True, native_mail=False, csv_extended=True,
        servers_conn_long=True, typed_persistence=True, hana_duration=0, drain_leaves_via=True, drain_remains_short=True,
        addr_nothing_changed=True, cli_double_newline=True, add_server_from=True, set_server_name=True, newer_commands=True, newer_added=True, dns_over_tcp=True, newer_addresses=True,
        empty_argument_fatal=True, warn_unitless=True, observe_fastinter=True, program_sections=False,
    ),
}  # fmt: skip
