"""`show servers state`: the lines that another start reads back (`load-server-state-from-file`).

Source: spec/haproxy-checks.md §7.5; haproxy management manual 2.6 §9.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, ServerState
from risefall.status import Status, Verdict
from risefall.surfaces.live import RecordOf, view_of

FORMAT = "1"
HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
IN_PROGRESS, CONFIGURED, ENABLED, PAUSED, IS_AGENT = 0x01, 0x02, 0x04, 0x08, 0x10


class NoBackend(ValueError):
    """The backend asked for does not exist; the text is HAProxy's."""


def check_bits(check: CheckState, in_progress: bool) -> int:
    """The bits that health checks and agents share."""
    return (
        IN_PROGRESS * in_progress
        | CONFIGURED * check.configured
        | ENABLED * (check.configured and check.enabled)
        | PAUSED * check.paused
    )


def _health(index: int, server: ServerState, record: RecordOf) -> tuple[int, int, int, int]:
    """Status, verdict, counter and state bits of the health check; HAProxy gives every server one, idle or not."""
    check = server.health
    if check is None:
        # What the file has disabled is paused, check or not, and without a check for ever.
        paused = PAUSED if Admin.CMAINT in server.admin else 0
        return Status.INI, Verdict.UNKNOWN, server.idle_health, paused
    view = view_of(check, record(index, HEALTH))
    # A maintenance holds the counter at 0, whatever a check that was already under way found.
    health = check.health if check.paused else view.health
    return view.status, view.verdict, health, check_bits(check, view.in_progress)


def _agent_bits(index: int, server: ServerState, record: RecordOf) -> int:
    check = server.agent
    if check is None:
        return 0
    live = record(index, AGENT)
    return IS_AGENT | check_bits(check, live is not None and live.in_progress)


def _lines(fleet: Fleet, record: RecordOf, now_ms: int, backend: str) -> Iterator[str]:
    for proxy in fleet.proxies:
        if not proxy.has_backend or backend not in ("", proxy.name, f"#{proxy.id}"):
            continue
        for index in proxy.own:
            server = fleet.servers[index]
            status, verdict, health, bits = _health(index, server, record)
            numeric = server.address and server.address[0] not in "/@"
            yield (
                f"{proxy.id} {proxy.name} {server.sid} {server.name} {server.address if numeric else '-'} "
                f"{server.op:d} {server.admin:d} {server.uweight} {server.iweight} "
                f"{max(0, now_ms - server.changed_ms) // 1000} {status:d} {verdict:d} {health} {bits} "
                f"{_agent_bits(index, server, record)} {proxy.forced_id:d} {server.forced_id:d} {server.fqdn or '-'} "
                f"{server.port} {server.srv_record or '-'} {-1 if server.ssl_refused else int(server.ssl)} {server.check_port} {server.check_addr or '-'} "
                f"{server.agent_addr or '-'} {server.agent_port}\n"
            )


def state_pieces(fleet: Fleet, record: RecordOf, now_ms: int, backend: str = "") -> Iterator[str]:
    """The reply line by line, each ended; the protocol's own line feed comes after it.

    Args:
        now_ms: monotonic, the clock of the fleet's `changed_ms`.
        backend: its name or `#<id>`; "" for all.
    Raises: NoBackend, at once.
    """
    _find_backend(fleet, backend)
    return chain((f"{FORMAT}\n{HEADER}\n",), _lines(fleet, record, now_ms, backend))


CONN_HEAD = (
    "# bkname/svname bkid/svid addr port - purge_delay {used} unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[1]\n"
)
PURGE_DELAY_MS = 5000


def _conn_lines(fleet: Fleet, backend: str) -> Iterator[str]:
    counts = "0 0 0 0 0" if fleet.dialect.servers_conn_long else "0 0 0"
    for proxy in fleet.proxies:
        if not proxy.has_backend or backend not in ("", proxy.name, f"#{proxy.id}"):
            continue
        for index in proxy.own:
            server = fleet.servers[index]
            numeric = server.address and server.address[0] not in "/@"
            yield (
                f"{proxy.name}/{server.name} {proxy.id}/{server.sid} {server.address if numeric else '-'} {server.port} "
                f"- {0 if server.dynamic else PURGE_DELAY_MS} {counts} 0 0 {'0 0' if server.dynamic else '-1 0 0'}\n"
            )


def conn_pieces(fleet: Fleet, backend: str = "") -> Iterator[str]:
    """`show servers conn`, line by line: nobody is connected. Raises: NoBackend, at once."""
    _find_backend(fleet, backend)
    used = (
        "served used_cur used_max need_est idle_sess"
        if fleet.dialect.servers_conn_long
        else "used_cur used_max need_est"
    )
    return chain((CONN_HEAD.format(used=used),), _conn_lines(fleet, backend))


def _find_backend(fleet: Fleet, backend: str) -> None:
    if backend and not any(proxy.has_backend and backend in (proxy.name, f"#{proxy.id}") for proxy in fleet.proxies):
        raise NoBackend("Can't find backend.")


def show_servers_state(fleet: Fleet, record: RecordOf, now_ms: int, backend: str = "") -> str:
    """The whole reply at once, as a state file holds it; see `state_pieces`."""
    return "".join(state_pieces(fleet, record, now_ms, backend))
