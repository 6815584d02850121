"""Every row of the check language, haproxy 2.6 beside `risefall run --as 2.6`: the same statuses, codes, texts and bytes."""

from __future__ import annotations

import shutil

import pytest

from dialogue_kit import Case, Said, run
from dialogues_external import SCRIPTS, external_cases
from dialogues_http import AUTHORITIES, CONNECTIONS, FORMS, HTTP_RULES, INHERITED, METHODS
from dialogues_presets import PRESETS
from dialogues_tcp import RULES
from dialogues_tls import TLS_NAMES, tls_cases

FIXED = [*PRESETS, *RULES, *HTTP_RULES, *METHODS, *CONNECTIONS, *AUTHORITIES, *FORMS, *INHERITED]
EXTERNAL = [f"external {name}" for name in (*SCRIPTS, "noexec", "true", "false", "missing")]
NAMES = [*(case.name for case in FIXED), *EXTERNAL, *TLS_NAMES]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Said, Said]]:
    """What haproxy and risefall said of each case; one run of each."""
    for program in ("haproxy", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("dialogues")
    cases: list[Case] = [*FIXED, *external_cases(folder), *tls_cases(folder)]
    theirs, ours = run("haproxy", cases, folder), run("risefall", cases, folder)
    return {case.name: pair for case, pair in zip(cases, zip(theirs, ours, strict=True), strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_risefall_says_what_haproxy_says(name: str, outcomes: dict[str, tuple[Said, Said]]) -> None:
    """Status, code and text of the first check, and the bytes on the wire."""
    theirs, ours = outcomes[name]
    assert ours == theirs
