"""Whole configurations: files, folders, stdin, the environment, strictness, and the field's own files."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risefall.config.haproxy import plan, read, sources
from risefall.config.haproxy.keywords import CHECK_OPTIONS, GLOBAL_WORDS, PROXY_WORDS, SECTIONS, SERVER_WORDS
from risefall.config.text import Source
from risefall.errors import ConfigError

FIELD = sorted((Path(__file__).parents[3] / "shared" / "corpus" / "haproxy").glob("*.cfg"))


def test_several_files_and_folders(tmp_path: Path) -> None:
    """A folder gives its *.cfg in the order of their bytes; defaults of an earlier file reach later ones."""
    (tmp_path / "d").mkdir()
    (tmp_path / "a.cfg").write_text("defaults\n  timeout check 7s\n")
    (tmp_path / "d" / "2.cfg").write_text("  server s2 1.1.1.2:1 check\n")
    (tmp_path / "d" / "10.cfg").write_text("backend b\n  server s1 1.1.1.1:1 check\n")
    (tmp_path / "d" / ".hidden.cfg").write_text("nonsense\n")
    (tmp_path / "d" / "note.txt").write_text("nonsense\n")
    found = plan(read(sources([str(tmp_path / "a.cfg"), str(tmp_path / "d")], io.StringIO())))
    assert [(one.config.name, one.timeout_check_ms) for one in found] == [("s1", 7000), ("s2", 7000)]


def test_stdin() -> None:
    (source,) = sources(["-"], io.StringIO("backend b\n"))
    assert (source.name, source.text) == ("<stdin>", "backend b\n")


def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        sources(["/nonexistent/x.cfg"], io.StringIO())


def test_errors_of_all_files_come_at_once() -> None:
    bad = "backend {0}\n  server s1 1.1.1.1:1 check fall 0\n  server s2 1.1.1.1:1 chek\n"
    with pytest.raises(ConfigError) as raised:
        read([Source("a.cfg", bad.format("a")), Source("b.cfg", bad.format("b"))])
    heads = [line.split(": error")[0] for line in str(raised.value).splitlines() if ": error: " in line]
    assert heads == ["a.cfg:2:34", "a.cfg:3:23", "b.cfg:2:34", "b.cfg:3:23"]


def test_strict_turns_warnings_into_errors() -> None:
    text = "backend b\n  frobnicate\n"
    assert read([Source("a.cfg", text)]).warnings
    with pytest.raises(ConfigError, match="unknown keyword 'frobnicate'"):
        read([Source("a.cfg", text)], strict=True)


def test_environment() -> None:
    text = 'global\n  setenv PORT 81\n  presetenv HOST 9.9.9.9\nbackend b\n  server s1 "${HOST}:${PORT}"\n'
    (server,) = plan(read([Source("a.cfg", text)], env={"HOST": "1.2.3.4"}))
    assert (server.config.address.host, server.config.address.port) == ("1.2.3.4", 81)


def test_lines_with_placeholders_are_left_out_and_told() -> None:
    text = "backend b\n  server <<HOST>> <<IP:PORT>> check\n  server s1 ${IP} check\n  server s2 {{ ip }}:80\n  server s3 1.1.1.1:1\n"
    config = read([Source("a.cfg", text)])
    assert [server.name for server in config.proxies[0].servers] == ["s3"]
    assert [warning.count("never filled in") for warning in config.warnings] == [1, 1, 1]


def test_a_second_server_of_one_name_is_told() -> None:
    config = read([Source("a.cfg", "backend b\n  server s1 1.1.1.1:1\n  server s1 1.1.1.2:1\n")])
    assert len(config.proxies[0].servers) == 2
    assert "another server named 's1' was already defined at line 2" in config.warnings[0]


@pytest.mark.skipif(not FIELD, reason="the configurations of the field are not beside this checkout")
@pytest.mark.parametrize("dialect", ["2.6", "3"])
def test_the_fields_files_are_read(dialect: str) -> None:
    """All of them, old and odd ones too; each that has a server line has a server in its plan."""
    for path in FIELD:
        text = path.read_text(errors="surrogateescape")
        planned = plan(read([Source(path.name, text)], dialect=dialect, env=dict(os.environ)))
        if re.search(r"^\s*server\s+[^<\s]", text, re.MULTILINE):
            assert planned, path.name


WORDS = [*SECTIONS, *PROXY_WORDS, *GLOBAL_WORDS, *SERVER_WORDS, *CHECK_OPTIONS, "global", "expect", "send", "string", "status",
         "10.0.0.1:80", "::1:80", "host:80", "/run/x", "10s", "0", "-1", "2x", "200-399", "\"", "'", "\\", "#", "${X}", '"${X}"', ".if",
         ".else", ".endif", "defined(X)", "(", ")", "<<X>>", "hdr", "name", "value", "-m", "reg", "[", "\x00", "\udcff", "from", "!"]  # fmt: skip
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=30).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(st.text(max_size=300), LINES), dialect=st.sampled_from(["2.6", "3"]), strict=st.booleans())
def test_any_text_is_read_or_refused_in_our_own_words(text: str, dialect: str, strict: bool) -> None:
    with contextlib.suppress(ConfigError):
        plan(read([Source("any.cfg", text)], dialect=dialect, strict=strict, env={"X": "y"}))


NUMBERED = [
    "backend b\n  server s1 1.1.1.1:1 check {} 7N", "backend b\n  server s1 1.1.1.1:N", "backend b\n  server s1 N:1",
    "backend b\n  server s1 [N::1]:1", "backend b\n  server-template s 1-N h:1", "backend b\n  id N",
    "backend b\n  option httpchk\n  http-check expect status 1-N", "backend b\n  option httpchk\n  http-check expect min-recv N string x",
    "backend b\n  option tcp-check\n  tcp-check connect port N", "backend b\n  timeout check N", "backend b\n  retries N",
    "backend b\n  log stdout len N local0", "global\n  spread-checks N", "global\n  maxconn N", "global\n  tune.bufsize N",
    "global\n  stats socket /x mode N", ".if N\n.endif", ".if version_atleast(N)\n.endif",
]  # fmt: skip


@pytest.mark.parametrize("text", [*[NUMBERED[0].format(word) for word in sorted(SERVER_WORDS)], *NUMBERED[1:]])
def test_numbers_longer_than_python_converts(text: str) -> None:
    """int() refuses 4301 digits with a ValueError; the reader reads on or says so in its own words."""
    refused = ""
    try:
        plan(read([Source("any.cfg", text.replace("N", "9" * 5000) + "\n")]))
    except ConfigError as error:
        refused = str(error)
    assert "Exceeds the limit" not in refused


def test_reading_needs_neither_sockets_nor_the_engine() -> None:
    code = "import sys, risefall.config.haproxy; print(*(m for m in ('trio', 'socket', 'cffi', 'risefall.engine') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


MIXED = """\
defaults first
  mode http
defaults second from first
backend taken
defaults third
  mode http
backend also
backend named from third
"""


def test_defaults_that_are_named_and_taken_without_a_word() -> None:
    """As 2.6.12 tells: of proxies that take them, wherever the name is said, and not of defaults that begin with others."""
    (found,) = read([Source("t.cfg", MIXED)], dialect="2.6").warnings
    assert found.splitlines()[0] == (
        "t.cfg:7:1: warning: defaults section 'third' (declared at t.cfg:5) is explicitly referenced by another proxy and "
        "implicitly used here"
    )
