"""Single lines in many forms, read by risefall and by `keepalived -t` of 2.2.7: both must say the same of each.

One line of a file in tests/data/keepalived-forms is one configuration; `;` ends a line in it, and the name of the file says what stands
around it. keepalived takes about 10 ms for each, all in one network namespace.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from test_keepalived_reader import ABSENT, HOST, OWN, ROOT, THEIRS, WHY_NOT, risefall

FORMS = ROOT / "tests" / "data" / "keepalived-forms"
HEAD = " interface eth0\n virtual_router_id 5\n virtual_ipaddress {\n  10.0.0.1/24\n }\n"
INSTANCE = f"vrrp_instance A {{\n{HEAD}%s\n}}\n"
AROUND = {
    "global": "global_defs {\n%s\n}\n" + INSTANCE % "",
    "instance": INSTANCE,
    "routes": INSTANCE % "virtual_routes {\n%s\n}",
    "whole": "%s",
    "rules": INSTANCE % "virtual_rules {\n%s\n}",
}
NUMBER = re.compile(r"(?:(?:negative|invalid) )?number '")
"""What `-t` says of a number before the keyword itself has its say; outside of it only the first is said, and it counts."""
DEADLINE_S = 120

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def keepalived(folder: Path, count: int) -> list[set[tuple[int, str]]]:
    """What is said of each of the files 0.conf, 1.conf ..., by line."""
    script = ["ip link set lo up"]
    for index in range(2):
        script.append(f"ip link add eth{index} type bridge && ip link set eth{index} up")
        script.append(f"ip addr add 10.255.{index}.1/24 dev eth{index}")
    for half in range(2):  # both at once
        pids = " ".join(f"--{kind}={folder}/{kind}{half}" for kind in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid"))
        each = f"timeout 5 keepalived -t -i me -f {folder}/$i.conf {pids} 2>{folder}/$i.said"
        script.append(f"for i in $(seq {half} 2 {count - 1}); do {each}; done &")
    script.append("wait")
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    inside = ["unshare", "-n", "sh", "-c", "\n".join(script)]
    subprocess.run(inside, check=True, capture_output=True, timeout=DEADLINE_S, env=environment)
    found = []
    for number in range(count):
        said = set()
        for line in (folder / f"{number}.said").read_text(errors="replace").splitlines():
            match = THEIRS.match(line)
            said.add((int(match[1]), match[2]) if match else (0, line))
        found.append({(line, text) for line, text in said if text.strip() and not HOST.match(text)})
    return found


def compared(theirs: set[tuple[int, str]], ours: set[tuple[int, str]]) -> tuple[list[str], list[str]]:
    """What only keepalived says, and what only risefall says."""
    numbers = {line for line, text in ours if NUMBER.match(text)}
    ended = any("is missing a parameter" in text for _, text in theirs)
    words, own = {text for _, text in theirs}, {text for _, text in ours}
    if ended:  # it does not come to the rest
        words = {text for text in words if "is missing a parameter" in text}
        own &= words
    on_line = {text for line, text in theirs if line in numbers and line}
    only_theirs = {text for text in words - own if not NUMBER.match(text) and text not in on_line}
    only_ours = {text for line, text in ours if text in own - words and line not in numbers}
    return sorted(only_theirs), sorted(text for text in only_ours if not OWN.match(text))


@pytest.mark.parametrize("kind", sorted(AROUND))
def test_same_sentences(kind: str, tmp_path: Path) -> None:
    forms = (FORMS / f"{kind}.txt").read_text().splitlines()
    for number, form in enumerate(forms):
        (tmp_path / f"{number}.conf").write_text(AROUND[kind] % form.replace(";", "\n"))
    wrong = {}
    for number, (form, theirs) in enumerate(zip(forms, keepalived(tmp_path, len(forms)), strict=True)):
        _, ours = risefall(tmp_path / f"{number}.conf")
        assert (0, ABSENT) not in theirs, form
        difference = compared(theirs, ours)
        if any(difference):
            wrong[form] = difference
    assert not wrong


def test_every_file_has_its_surroundings() -> None:
    assert {path.stem for path in FORMS.glob("*.txt")} == set(AROUND)
