"""The settings of servers as the runtime API reports them: the story of HAProxy's own server_settings.vtc.

Left out are pools of connections, of which there are none, and `init-state none` over an inherited one, which does nothing there
against its documentation.
"""

from __future__ import annotations

import re
import socket

import trio
from daemon_kit import running, say

CONFIG = """\
defaults
  mode http
  option httpchk GET /
  timeout connect 5s
  timeout check 1h
backend be
  id 7
  default-server check addr 127.0.0.1 port {port} inter 100ms rise 4 fall 5 init-state fully-down
  server s_up    127.0.0.1:18001 id 1 init-state up
  server s_down  127.0.0.1:18001 id 2 init-state down
  server s_fup   127.0.0.1:18001 id 3 init-state fully-up
  server s_fdown 127.0.0.1:18001 id 4 init-state fully-down
  server s_inhrt 127.0.0.1:18001 id 7
  server s_maint 127.0.0.1:18001 id 6 init-state up disabled
backend be2
  id 8
  server s_plain 127.0.0.1:18001 id 1 backup weight 30 maxconn 7 minconn 2 maxqueue 11 pool-purge-delay 12s \
pool-max-conn 5 pool-low-conn 3 max-reuse 6 non-stick
  server s_agent 127.0.0.1:18001 id 2 agent-check agent-addr 127.0.0.9 agent-port {port} agent-inter 1h
"""

TYPED = (
    ("be 4 1", "S.7.1.N.status.1:T:str:UP 1/5"),
    ("be 4 2", "S.7.2.N.status.1:T:str:DOWN 3/4"),
    ("be 4 3", "S.7.3.N.status.1:T:str:UP"),
    ("be 4 4", "S.7.4.N.status.1:T:str:DOWN"),
    ("be 4 7", "S.7.7.N.status.1:T:str:DOWN"),
    ("be 4 6", "S.7.6.N.status.1:T:str:MAINT"),
    ("be2 4 1", "S.8.1.N.status.1:T:str:no check"),
    ("be 4 2", "S.7.2.N.check_rise.1:T:u32:4"),
    ("be 4 2", "S.7.2.N.check_fall.1:T:u32:5"),
    ("be 4 2", "S.7.2.N.check_health.1:T:u32:3"),
    ("be 4 4", "S.7.4.N.check_health.1:T:u32:0"),
    ("be2 4 1", "S.8.1.N.weight.1:T:u32:30"),
    ("be2 4 1", "S.8.1.N.slim.1:T:u32:7"),
    ("be2 4 1", "S.8.1.N.qlimit.1:T:u32:11"),
    ("be2 4 1", "S.8.1.N.act.1:T:u32:0"),
    ("be2 4 1", "S.8.1.N.bck.1:T:u32:1"),
)
LINES = (
    ("show servers state be", r"\n7 be 1 s_up 127[.]0[.]0[.]1 [^\n]* {port} 127[.]0[.]0[.]1 "),
    ("show servers state be2", r"\n8 be2 2 s_agent 127[.]0[.]0[.]1 [^\n]* 127[.]0[.]0[.]9 {port}"),
    ("show servers state be2", r"\n8 be2 1 s_plain 127[.]0[.]0[.]1 "),
    ("show servers conn", r"\nbe/s_up 7/1 127[.]0[.]0[.]1 18001 - 5000 "),
)


def test_server_settings() -> None:
    """The checks come to a listener that never answers, so that what holds at the start stays."""
    wrong: list[str] = []

    async def scenario(port: int) -> None:
        async with running(CONFIG.format(port=port), "3") as service:
            for query, line in TYPED:
                pattern = re.escape(line).replace("N", "[0-9]+", 1).replace("T", "[A-Za-z]+", 1)
                if not re.search(f"^{pattern}$", say(service, f"show stat {query} typed"), re.MULTILINE):
                    wrong.append(line)
            wrong.extend(
                line for command, line in LINES if not re.search(line.format(port=port), say(service, command))
            )

    with socket.socket() as sink:
        sink.bind(("127.0.0.1", 0))
        sink.listen(64)
        trio.run(scenario, sink.getsockname()[1])
    assert not wrong
