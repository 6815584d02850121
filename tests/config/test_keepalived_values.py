"""What a keepalived.conf says: lines, definitions, includes, defaults, inheritance."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.config.keepalived import read
from risefall.config.keepalived.definitions import SEQUENCE_MAX
from risefall.config.keepalived.lexer import Lines
from risefall.config.keepalived.model import Config, Match
from risefall.config.keepalived.words import shell_words, split, uncomment
from risefall.config.text import Diagnostics, Source, Wrong, read_file
from risefall.errors import ConfigError

CORPUS = sorted((Path(__file__).parents[3] / "shared" / "corpus" / "keepalived").glob("*.conf"))
TEMPLATES = {
    "linzeyan-k8s_cluster__conf-keepalived.conf",
    "ngyuki-sandbox-example-haproxy__files-keepalived.conf.j2.conf",
}
"""Not filled in: keepalived does not start with them either."""
INSTANCE = """vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {{
        10.0.0.1/24
    }}
{}
}}
"""


def lines_of(text: str, name: str = "k.conf") -> list[tuple[str, ...]]:
    lines = Lines(Source(name, text), "me", Diagnostics(), draw=lambda low, high: high)
    found = []
    while (line := lines.next()) is not None:
        found.append(line.words)
    return found


def reading(text: str, name: str = "k.conf") -> Config:
    return read(Source(name, text), config_id="me")


# --- lines --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b # c", [("a", "b")]),
        ("a b!c", [("a", "b")]),
        (r"a \# b\!c", [("a", "#", "b!c")]),
        ('abc"def g"hi', [("abc", "def g", "hi")]),
        ('a "x # y ! z"', [("a", "x # y ! z")]),
        ("x { a 1 b 2 }", [("x",), ("{",), ("a", "1", "b", "2"), ("}",)]),
        ("x{a}", [("x",), ("{",), ("a",), ("}",)]),
        ('x "{ }"', [("x", "{ }")]),
        ("x '{'", [("x", "'"), ("{",), ("'",)]),
        ("a\r\nb\r\n\n\tc", [("a",), ("b",), ("c",)]),
    ],
)
def test_one_line(text: str, words: list[tuple[str, ...]]) -> None:
    assert lines_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$A=1 2\nx $A ${A}b", [("x", "1", "2", "1", "2b")]),
        ("$A=$B\n$B=3\nx $A", [("x", "3")]),
        ("x $NO $A.b ${NO}", [("x", "$NO", "$A.b", "$"), ("{",), ("NO",), ("}",)]),
        ("$M=a 1 \\\n  b 2 \\\n  c 3\n$M\nd", [("a", "1"), ("b", "2"), ("c", "3"), ("d",)]),
        ("$M=a \\\n b\nx $M y", [("x", "$M", "y")]),
        ("x ${_INSTANCE} e${_HASH}f", [("x", "me", "e")]),
        ("x ${_RANDOM} ${_RANDOM 5 9}", [("x", "32767", "9")]),
        ("@me a\n@you b\n@^you c\n@^me d", [("a",), ("c",)]),
        ("~SEQ(i, 1, 3) e$i\n~SEQ(i, 2) f$i", [("e1",), ("e2",), ("e3",), ("f1",), ("f2",)]),
        ("~SEQ(i, 4, -2, 0) x${i}y", [("x4y",), ("x2y",), ("x0y",)]),
        ("~SEQx(i, 9, 10) x$i", [("x9",), ("xa",)]),
        ("~LST(v, a, b) x $v", [("x", "a"), ("x", "b")]),
        ("~LST({v,w}, {a,1}, {b}) x $v,$w", [("x", "a,1"), ("x", "b,")]),
    ],
)
def test_definitions(text: str, words: list[tuple[str, ...]]) -> None:
    assert lines_of(text) == words


def test_definition_with_braces_on_several_lines_makes_a_block() -> None:
    config = reading("$V=vrrp_instance A { \\\n interface eth0 \\\n virtual_router_id 5 \\\n }\n$V\n")
    assert [(one.name, one.vrid) for one in config.instances] == [("A", 5)]


def test_sequence_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="of more than"):
        reading(f"~SEQ(i, 1, {SEQUENCE_MAX * 10}) x$i\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('script "/a b"', ["script", "/a b"]),
        ("a\"b c\"'d'", ["ab cd"]),
        (r"\x41\102\n\q", ["AB\nq"]),
        (r"'it'\''s'", ["it's"]),
        ('""', [""]),
    ],
)
def test_shell_words(text: str, words: list[str]) -> None:
    assert shell_words(text) == words


@pytest.mark.parametrize("text", ["'a", '"a', "a\\"])
def test_shell_words_without_end(text: str) -> None:
    with pytest.raises(Wrong):
        shell_words(text)


def test_comment_keeps_the_backslash_at_its_end() -> None:
    assert uncomment("# a \\") == ("\\", False)
    assert split('a "b') == (["a"], True)


# --- includes -------------------------------------------------------------------------------------------------------------


def test_includes_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.conf").write_text("router_id b ${_PWD}\n")
    (tmp_path / "a.conf").write_text("include d/{b,c}.conf\n")
    (tmp_path / "d" / "c.conf").write_text("include e/*.conf\n")
    main = tmp_path / "k.conf"
    main.write_text("global_defs {\ninclude a.conf\n}\n")
    config = read(read_file(str(main)))
    assert config.global_.router_id == "b"
    assert "Config files missing 'e/*.conf'" in config.warnings[-1]


def test_executable_include_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("global_defs {\nrouter_id a\n}\n")
    (tmp_path / "a.conf").chmod(0o755)
    (tmp_path / "k.conf").write_text("include a.conf\n")
    config = read(read_file(str(tmp_path / "k.conf")))
    assert config.global_.router_id is None
    assert "is not a regular non-executable file - skipping" in config.warnings[0]
    (tmp_path / "k.conf").write_text("includer a.conf\n")
    with pytest.raises(ConfigError, match="chmod a-x"):
        read(read_file(str(tmp_path / "k.conf")))


def test_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.conf").write_text("include k.conf\n")
    with pytest.raises(ConfigError, match="let no file include itself"):
        read(read_file(str(tmp_path / "k.conf")))


# --- values -----------------------------------------------------------------------------------------------------------------


def test_script_and_tracker() -> None:
    config = reading(
        "vrrp_script chk {\n script \"/usr/bin/test -e '/run/a b'\"\n interval 2\n timeout 3\n weight -20 reverse\n"
        " rise 2\n fall 3\n user nobody nogroup\n}\n"
        + INSTANCE.format("track_script {\nchk\n}\nstate BACKUP\npriority 101")
    )
    (script,) = config.scripts
    assert script.command.argv == ("/usr/bin/test", "-e", "/run/a b")
    assert (script.command.user, script.command.group) == ("nobody", "nogroup")
    assert (script.interval_ms, script.timeout_ms, script.rise, script.fall) == (2000, 3000, 2, 3)
    (instance,) = config.instances
    assert [(one.name, one.weight, one.reverse) for one in instance.track_scripts] == [("chk", -20, True)]
    assert (instance.priority, instance.vips[0].address, instance.vips[0].prefix) == (101, "10.0.0.1", 24)
    assert config.warnings == ()


def test_weight_of_an_entry_replaces_the_definition() -> None:
    config = reading(
        "vrrp_script a {\nscript /bin/true\nweight 3 reverse\n}\n"
        + INSTANCE.format("track_script {\na weight -7 noreverse\n}")
    )
    (one,) = config.instances[0].track_scripts
    assert (one.weight, one.reverse) == (-7, False)


def test_number_with_something_behind_it_counts_outside_of_the_test() -> None:
    config = reading("vrrp_script a {\nscript /bin/true\ninterval 1.5\n}\n" + INSTANCE.format("track_script {\na\n}"))
    assert config.scripts[0].interval_ms == 1000
    assert "invalid number '1.5'" in config.warnings[0]


def test_escapes_are_undone_twice() -> None:
    config = reading('vrrp_script a {\nscript "/x \\"d e\\""\n}\n' + INSTANCE.format("track_script {\na\n}"))
    assert config.scripts[0].command.argv == ("/x", "d e")


def test_process_match() -> None:
    config = reading("vrrp_track_process p {\nprocess nginx -g x\nquorum_max 0\n}\n" + INSTANCE.format(""))
    (one,) = config.processes
    assert (one.path, one.arguments, one.match, one.full_command) == ("nginx", ("-g", "x"), Match.EXACT, True)
    assert (one.quorum, one.quorum_max) == (0, 0)


def test_advert_interval_is_rounded() -> None:
    assert reading(INSTANCE.format("advert_int 0.5")).instances[0].advert_int_ms == 1000
    assert reading(INSTANCE.format("version 3\nadvert_int 0.5")).instances[0].advert_int_ms == 500


def test_master_without_priority_is_an_owner() -> None:
    instance = reading(INSTANCE.format("state MASTER")).instances[0]
    assert (instance.priority, instance.wants_master) == (255, True)


def test_group_drops_weighted_scripts_of_its_members() -> None:
    group = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\n%s}\n"
    two = INSTANCE.format("").replace("VI_1", "VI_2").replace("51", "52")
    script = "vrrp_script a {\nscript /bin/true\nweight -20\n}\n"
    one = INSTANCE.format("track_script {\na\n}")
    assert reading(script + group % "" + one + two).instances[0].track_scripts == ()
    kept = reading(script + group % "sync_group_tracking_weight\n" + one + two)
    assert kept.instances[0].track_scripts[0].weight == -20
    assert kept.groups[0].members == ("VI_1", "VI_2")


def test_checkers_inherit() -> None:
    config = reading(
        "virtual_server 10.0.0.1 80 {\nlb_algo rr\nlb_kind NAT\nprotocol TCP\ndelay_loop 6\nretry 4\n"
        "real_server 10.0.0.2 8080 {\nconnect_timeout 2\n"
        "HTTP_GET {\nurl {\npath /ok\nstatus_code 200 301-302\n}\n}\n"
        'DNS_CHECK {\nretry 2\n}\nMISC_CHECK {\nmisc_path "/c h"\ndelay_before_retry 2.5\n}\n}\n'
        "real_server 10.0.0.3 0 {\nTCP_CHECK {\n}\n}\n}\n"
    )
    (virtual,) = config.virtual_servers
    http, dns, misc = virtual.real_servers[0].checkers
    assert http.urls[0].status == ((200, 200), (301, 302))
    assert (http.delay_loop_ms, http.retry, http.delay_before_retry_ms, http.connect_timeout_ms) == (
        6000,
        4,
        3000,
        2000,
    )
    assert (dns.retry, dns.delay_before_retry_ms) == (2, 6000)
    assert (misc.command and misc.command.argv, misc.delay_before_retry_ms) == (("/c", "h"), 2500)
    assert virtual.real_servers[1].port == 80
    assert virtual.real_servers[1].checkers[0].retry == 4


def test_unknown_block_ends_the_block_it_stands_in() -> None:
    config = reading(INSTANCE.format("wibble {\na 1\n}\npriority 7"))
    assert config.instances[0].priority == 100
    assert any("Unknown keyword 'priority'" in warning for warning in config.warnings)


# --- all of it ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CORPUS, reason="the configurations of the field are not beside this checkout")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_field_files_are_read(path: Path) -> None:
    if path.name in TEMPLATES:
        with pytest.raises(ConfigError):
            read(read_file(str(path)))
    else:
        assert read(read_file(str(path))).instances


@given(st.text(alphabet=" \t\n{}\"'\\$#!@~=,()abAB01.vrp_", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reading("vrrp_instance A {\n" + text + "\n" + INSTANCE.format(text))
    except ConfigError as error:
        said = str(error)
        if "  help: " not in said:
            raise


def test_the_reader_knows_nothing_of_clocks_and_sockets() -> None:
    code = (
        "import sys, risefall.config.keepalived; assert not {'trio', 'socket', 'click'} & set(sys.modules);"
        "assert not [m for m in sys.modules if m.startswith('risefall.') and not m.startswith("
        "('risefall.config.keepalived', 'risefall.config.text', 'risefall.errors')) and m != 'risefall.config']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
