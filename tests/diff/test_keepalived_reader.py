"""The reader of keepalived.conf against `keepalived -t` of 2.2.7, over the field's files and one file a rule.

keepalived runs in a network namespace of its own that has the interfaces the file names. Compared is, line by line, who
has something to say: each of our sentences must be one of keepalived's, but for those that it has no words for (OWN), and
each line that keepalived complains about must have one of ours. About a hundred and sixty short runs: half a minute.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from risefall.config.keepalived import read
from risefall.config.text import read_file
from risefall.errors import ConfigError

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "tests" / "data" / "bad-keepalived").glob("*.conf"))
CORPUS = sorted((ROOT.parent / "shared" / "corpus" / "keepalived").glob("*.conf"))
VERSION = "Keepalived v2.2.7"
TIMEOUT_S = 20
OURS = re.compile(r".*?:(\d+)(?::\d+)?: (?:warning|error): (.*)")
THEIRS = re.compile(r"\((?:.*: )?Line (\d+)\) (.*)")
NAMES = re.compile(r"(?:^|\s)(?:interface|dev)\s+([A-Za-z][\w.-]{0,14})(?=\s|$)", re.MULTILINE)
OWN = re.compile(
    r"keepalived ignores '|Warning - script \S+ is not used|vrrp_script \S+ stands here for the second time"
    r"|init_fail has no effect|line of \d+ bytes|keepalived 2\.2\.7 takes"
    r"|Unable to parse script|.*holds itself|.*host block is deprecated|.*No VIP specified"
)
"""What keepalived does without a word, or says only when it runs; and what it does not come to when it ends before."""
HOST = re.compile(
    r"SECURITY VIOLATION|Disabling |WARNING - interface|.*not found/accessible"
    r"|Unsafe permissions|.*does not support multicast|Unable to set|kernel|There are insecure|Reduced|.*does not exist"
)
"""What it says of this machine rather than of the file."""
ABSENT = "Non-existent interface specified in configuration"
DIES = ("parameter-fwmark", "definition-of-itself")
"""Rules at which 2.2.7 crashes, or never ends."""


def skip_reason() -> str:
    """Why this cannot run here; empty when it can."""
    if shutil.which("keepalived") is None:
        return "keepalived is not installed"
    version = subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False)
    if VERSION not in version.stderr:
        return f"keepalived is not {VERSION}"
    inside = ["unshare", "-n", "ip", "link", "add", "eth0", "type", "bridge"]
    if subprocess.run(inside, capture_output=True, check=False).returncode:
        return "no network namespaces: not root"
    return ""


WHY_NOT = skip_reason()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def keepalived(path: Path) -> tuple[int, set[tuple[int, str]]]:
    """Exit code and what is said, by line; line 0 for what is said of the whole."""
    script = ["ip link set lo up"]
    for index, name in enumerate(sorted({"eth0", "eth1", *NAMES.findall(path.read_text(errors="replace"))} - {"lo"})):
        script.append(f"ip link add {name} type bridge && ip link set {name} up")
        script.append(f"ip addr add 10.255.{index}.1/24 dev {name}")
    script.append(f"exec timeout {TIMEOUT_S} keepalived -t -i me -f {path}")
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", "\n".join(script)],
        capture_output=True,
        check=False,
        timeout=2 * TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
    )
    said = set()
    for line in done.stderr.decode(errors="replace").splitlines():
        found = THEIRS.match(line)
        said.add((int(found[1]), found[2]) if found else (0, line))
    return done.returncode, {(line, text) for line, text in said if text.strip() and not HOST.match(text)}


def risefall(path: Path) -> tuple[bool, set[tuple[int, str]]]:
    """Whether the file is read, and what is said, by line."""
    said: list[str] = []
    good = True
    try:
        read(read_file(str(path)), config_id="me", hear=said.append)
    except ConfigError as error:
        said.append(str(error))
        good = False
    found = [OURS.match(line) for text in said for line in text.splitlines()]
    return good, {(int(one[1]), one[2]) for one in found if one}


@pytest.mark.parametrize(
    "path", [path for path in [*RULES, *CORPUS] if path.stem not in DIES], ids=lambda path: path.stem
)
def test_same_complaints(path: Path) -> None:
    code, theirs = keepalived(path)
    good, ours = risefall(path)
    words = {text for _, text in theirs}
    missing = any("is missing a parameter" in text for text in words)
    ended = missing or ABSENT in words  # then it does not come to what only shows when all is read
    if not ended:
        unknown = {text for _, text in ours if not OWN.match(text)} - words
        assert not unknown, f"keepalived says {sorted(theirs)}"
    lines = {line for line, _ in ours}
    missed = {(line, text) for line, text in theirs if line and line not in lines and text not in {t for _, t in ours}}
    assert not missed
    if code == 2:
        assert missing
        assert not good
    if not theirs:
        assert good or any(OWN.match(text) for _, text in ours)
