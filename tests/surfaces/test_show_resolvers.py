"""`show resolvers`, as 2.6.12 shows it."""

from __future__ import annotations

from collections import Counter

import pytest

from risefall.surfaces.resolvers import NoResolvers, Tally, show_resolvers

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
