"""`show resolvers`, as 2.6.12 shows it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from risefall.surfaces.resolvers import NoResolvers, Tally, show_resolver_stat, show_resolvers

TALLIES = [Tally("r", {"ns1": Counter(sent=4, valid=3, outdated=1)}), Tally("none")]
SHOWN = """\
Resolvers section r
 nameserver ns1:
  sent:        4
  snd_error:   0
  valid:       3
  update:      0
  cname:       0
  cname_error: 0
  any_err:     0
  nx:          0
  timeout:     0
  refused:     0
  other:       0
  invalid:     0
  too_big:     0
  truncated:   0
  outdated:    1
"""


def test_what_is_shown() -> None:
    assert show_resolvers(TALLIES) == f"{SHOWN}Resolvers section none\n"
    assert show_resolvers(TALLIES, "r") == SHOWN


def test_a_section_that_is_not_there() -> None:
    with pytest.raises(NoResolvers, match=r"^Can't find that resolvers section$"):
        show_resolvers(TALLIES, "q")


def test_the_table() -> None:
    """`show stat domain resolvers`; words that belong to servers are passed over, as there."""
    head, row = show_resolver_stat(TALLIES, ["r", "-1", "-1", "up", "desc"]).splitlines()
    assert head.endswith(
        "# id,pid,sent,send_error,valid,update,cname,cname_error,any_err,nx,timeout,refused,other,invalid,too_big,"
        "truncated,outdated,"
    )
    assert row == "ns1,r,4,0,3,0,0,0,0,0,0,0,0,0,0,0,1,"
    typed = show_resolver_stat(TALLIES, ["typed", "desc"]).splitlines()
    assert typed[:4] == [
        'N.0.id:CGP:str:ns1:"ID"', 'N.1.pid:CGP:str:r:"Parent ID"', 'N.2.sent:MGP:u64:4:"Sent"',
        'N.3.send_error:MGP:u64:0:"Send error"',
    ]  # fmt: skip
    assert show_resolver_stat(TALLIES, ["typed"]).endswith("N.16.outdated:MGP:u64:1\n")
    table = json.loads(show_resolver_stat(TALLIES, ["json"]))
    assert table[0][2] == {
        "field": {"pos": 2, "name": "sent"},
        "tags": {"origin": "Metric", "nature": "Gauge", "scope": "Process"},
        "value": {"type": "u64", "value": 4},
    }
