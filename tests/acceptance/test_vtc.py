"""What `vtc.py` makes of configurations; the files that it runs are HAProxy's own and not here."""

from __future__ import annotations

import pytest
import vtc

CONFIG = """\
global
  stats socket /tmp/s level admin
defaults
  mode tcp
  option log-health-checks
listen front
  bind :80
  log 127.0.0.1:514 local0
  server s 10.0.0.7:80 check-via-socks4 check inter 1s agent-check agent-port 9 weight 3
backend b
  option httpchk GET /
  http-check expect status 200
  server t 10.0.0.8:80 track front/s cookie check-in
"""


def test_frontends_are_left_without_checks() -> None:
    assert vtc.fronts(CONFIG) == (
        "global\ndefaults\n  mode tcp\nlisten front\n  bind :80\n  server s 10.0.0.7:80 inter 1s weight 3\n"
        "backend b\n  server t 10.0.0.8:80 cookie check-in\n"
    )
    assert vtc.fronts("backend b\n  server s 10.0.0.7:80 check\n") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("backend b\n  server s 10.0.0.7:80\n", False),
        ("backend b\n  server s 10.0.0.7:80 no-check weight 2\n", False),
        ("backend b\n  server s 10.0.0.7:80 check\n", True),
        ("backend b\n  default-server check inter 1s\n", True),
        ("backend b\n  option httpchk\n", True),
        ("frontend f\n  monitor-uri /up\n", True),
        ("frontend f\n  http-request set-header x check\n", False),
    ],
)
def test_who_checks(text: str, expected: bool) -> None:
    assert vtc.checks(text) is expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("version_atleast(2.4)", 0),
        ("version_atleast(9.0)", 1),
        ("streq(\"foo bar\",'foo bar')", 0),
        ("", 1),
        ("!(0))", 1),
    ],
)
def test_conditions(text: str, code: int) -> None:
    assert vtc.condition(text, "3") == code
