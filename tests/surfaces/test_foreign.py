"""Commands of HAProxy that are about what risefall has none of: its answers beside haproxy's, and what is refused."""

from __future__ import annotations

import re

import pytest
from surfaces_kit import FakeApi, ask

from risefall.surfaces.calls import Level
from risefall.surfaces.foreign import FOREIGN
from risefall.surfaces.handlers import COMMANDS
from risefall.surfaces.runtime import SESSION_COMMANDS, Session
from risefall.surfaces.usage import ALWAYS

ALIKE = (
    "add acl", "add acl x", "add acl x y", "add map", "add map x y", "add map x y z", "clear acl", "clear acl x",
    "clear map", "clear map x", "clear table", "clear table x", "commit acl", "commit acl @1 x", "commit map @1 x",
    "del acl x", "del map", "get acl x y", "get acl x", "get map x y", "get map", "get var", "get var x", "prepare acl",
    "prepare map x", "set map x y", "set map x y z", "set table", "set table x key y", "show cache", "show tls-keys",
    "show tls-keys x", "show ssl cert", "show ssl cert x", "show ssl crl-file", "show ssl crt-list",
    "show ssl crt-list x", "show ssl ocsp-response", "disable dynamic-cookie backend b1",
    "enable dynamic-cookie backend nix", "set dynamic-cookie-key backend b1 key", "enable dynamic-cookie backend",
    "operator; show cache", "user; get var x", "user; get map x y", "operator; enable dynamic-cookie backend b1",
)  # fmt: skip


def talk(line: str, level: Level = Level.ADMIN) -> str:
    return Session(FakeApi(), level).feed(f"{line}\n".encode()).decode()


@pytest.mark.parametrize("line", ALIKE)
def test_what_a_haproxy_without_any_says(peer: str, line: str) -> None:
    assert talk(line) == ask(peer, f"{line}\n".encode()).decode()


def test_the_rest_is_refused_by_name() -> None:
    assert talk("show fd 3") == (
        "'show fd' is a command of HAProxy that risefall does not have: it tells of HAProxy's own inside.\n\n"
    )
    assert talk("trace h1 sink stdout", Level.USER).startswith(
        "'trace' is a command of HAProxy that risefall does not "
    )
    assert "'reload' reads them again" in talk("commit ssl cert x")


def test_every_command_of_haproxys_help_is_known(peer: str) -> None:
    """Nothing that HAProxy lists is answered with `Unknown command`."""
    listed = ask(peer, b"help\n").decode().splitlines()[1:]
    names = [re.split(r" *[<\[({]|  ", line.strip(), maxsplit=1)[0].split(":")[0].strip() for line in listed if line]
    assert len(names) > 90
    known = [usage.words for usage in (*SESSION_COMMANDS, *ALWAYS)]
    known += [command.usage.words for command in (*COMMANDS, *FOREIGN)]
    missing = [name for name in names if not any(tuple(name.split()[: len(one)]) == one for one in known)]
    assert missing == []


def test_help_lists_only_what_there_is() -> None:
    assert "trace" not in talk("help")
    assert "show schema json" in talk("help")


def test_a_name_is_changed_in_the_file() -> None:
    """Where names are resolved the refusal says what to do; elsewhere it is HAProxy's."""
    assert talk("set server b1/s7 fqdn a.example") == (
        "'set server <srv> fqdn' is not supported by risefall; change the file and say 'reload'.\n\n"
    )
    assert talk("set server b1/s1 fqdn a.example") == (
        "set server <b>/<s> fqdn failed because no resolution is configured.\n\n"
    )
