"""agent.toml: what is read, and each message for what is wrong."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from risefall.agent.load import KINDS, load_settings, parse_settings
from risefall.agent.settings import Combine, Condition, Cpu, Op, Say, Settings
from risefall.errors import ConfigError


def parse(text: str) -> Settings:
    return parse_settings(textwrap.dedent(text))


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_a_whole_file() -> None:
    made = parse("""\
        [agent]
        listen = ["0.0.0.0:9777", "[::]:9777"]
        allow = ["10.0.0.0/8"]

        [service.app]
        combine = "product"
        smooth = "10s"
        stale = 5000
        [[service.app.signal]]
        kind = "cpu"
        every = "500ms"
        curve = [[50, 100], [90, 10]]
        [[service.app.state]]
        say = "drain"
        signal = "cpu"
        op = ">"
        value = 99
        for = "1m"

        [service.db]
        send = "postgres"
        default = true
        """)
    app = made.service["app"]
    assert app.signal == (Cpu(name="cpu", every_ms=500, curve=((50, 100), (90, 10))),)
    assert (app.send, app.combine, app.smooth_ms, app.stale_ms) == ("app", Combine.PRODUCT, 10_000, 5000)
    assert app.state == (Condition(say=Say.DRAIN, signal="cpu", op=Op.MORE, value=99, for_ms=60_000),)
    assert made.service["db"].send == "postgres"


def test_nothing_is_a_configuration() -> None:
    assert parse("") == Settings()


def test_an_unknown_key_has_its_line_its_place_and_the_nearest_key() -> None:
    assert complaint("""\
        [service.app]
        [[service.app.signal]]
        kind = "cpu"
        [[service.app.signal]]
        kind = "memory"
        evry = "1s"
        """) == (
        "agent.toml:6:1: error: service.app.signal[2].evry: there is no such key here\n"
        '    evry = "1s"\n'
        "    ^\n"
        "  help: did you mean 'every'?"
    )


def test_all_errors_of_a_file_come_at_once_in_the_order_of_its_lines() -> None:
    said = complaint("""\
        [agent]
        lisen = []
        connections = 0
        [service.app]
        floor = 0
        smooth = "soon"
        combine = "mim"
        [[service.app.signal]]
        kind = "cpuu"
        """)
    assert [line for line in said.splitlines() if "error:" in line] == [
        "agent.toml:2:1: error: agent.lisen: there is no such key here",
        "agent.toml:3:1: error: agent.connections: expected a whole number >= 1, not 0",
        "agent.toml:5:1: error: service.app.floor: expected a whole number >= 1, not 0",
        "agent.toml:6:1: error: service.app.smooth: 'soon' is no time",
        "agent.toml:7:1: error: service.app.combine: 'mim' is not one of: min, product, mean",
        "agent.toml:9:1: error: service.app.signal[1].kind: there is no signal of kind 'cpuu'",
    ]
    assert "did you mean 'min'?" in said
    assert "did you mean 'cpu'?" in said
    assert "load alone never takes a server out" in said


CASES = [
    ("x = \n", "agent.toml:1:5: error: this is no TOML: Invalid value"),
    ("[agent]\nlisten = ['9777']", "agent.listen[1]: '9777' is no address with a port"),
    ("[agent]\nlisten = [1]", "agent.listen: expected a text, got a whole number"),
    ("agent = 1", "agent: this must be a table"),
    ("[agent]\nallow = ['10.0.0.1/8']", "agent.allow[1]: 10.0.0.1/8 has host bits set"),
    ("[service.a]\n[service.b]\nsend = 'a'", "service.b.send: 'a' already means the service 'a'"),
    ("[service.a]\ndefault=true\n[service.b]\ndefault=true", "service.b.default: 'a' is the default already"),
    ("[[service.a.signal]]\nkind='cpu'\n[[service.a.signal]]\nkind='cpu'", "service.a.signal[2].name: there is a signal"),
    ("[[service.a.signal]]\nkind='cpu'\ncurve=[[2,1],[1,2]]", "signal[1].curve: the values must rise: 1 follows 2"),
    ("[[service.a.signal]]\nkind='cpu'\ncurve=[[1,200]]", "asks for a weight above 100"),
    ("[[service.a.signal]]\nkind='load'\nminutes=2", "the kernel has no average of 2 minutes"),
    ("[[service.a.signal]]\nkind='psi'\nseconds=11", "the kernel has no average of 11 s"),
    ("[[service.a.signal]]\nkind='cpu'\nevery='20s'", "it can be older than 'stale' allows"),
    ("[[service.a.signal]]\nkind='connections'", "service.a.signal[1]: 'port' is missing"),
    ("[[service.a.signal]]\nkind='connections'\nport=0", "signal[1].port: expected a whole number >= 1, not 0"),
    ("[[service.a.signal]]\nkind='command'\nrun=[]", "signal[1].run: expected a list of length >= 1"),
    ("[[service.a.signal]]\nkind='json'\nurl='ftp://x'\npath='a'", "signal[1].url: 'ftp://x' cannot stand here"),
    ("[[service.a.signal]]\nname='x'", "service.a.signal[1]: a signal needs a 'kind'"),
    ("[service.a.maxconn]\nsignal='cpu'\ncurve=[[0,1]]", "service.a.maxconn.signal: this service has no signal 'cpu'"),
    ("[[service.a.state]]\nsay='drain'\nsignal='x'\nop='>'", "service.a.state[1]: '>' needs a 'value'"),
    ("[[service.a.state]]\nsay='up'\nsignal='x'\nop='>'\nvalue=1", "state[1].say: 'up' is not one of: down, stopped"),
    ("[service.a]\nstale_word='failed'", "'failed' is not one of: down, stopped, fail, up, silence"),
    ('[[service.a.state]]\nsay="drain"\nsignal="x"\nop=">"\nvalue=1\nreason="a\\nb"', "state[1].reason: 'a?b' cannot"),
]  # fmt: skip


STEPS = [
    ("listen = ':9777'", "it belongs under [agent]"),
    ("[agent]\nsmooth = '5s'", "it belongs under [service.NAME]"),
    ("[service.a]\nhttp = ':80'", "it belongs under [agent]"),
    ("[agent]\nlisten = '0.0.0.0:9777'", 'write listen = ["0.0.0.0:9777"]'),
    ("[service.a]\nsignal = 'cpu'", "write [[service.a.signal]] and its keys below"),
    ("[[service.a.signal]]\nkind='cpu'\ncurve='50'", "write points: [[50, 100], [90, 10]]"),
    ("[[service.a.state]]\nsay='down'\nsignal='x'\nop='='\nvalue=1", "did you mean '=='?"),
    ("[agent]\nhttp = '127.0.0.1:9777'", "give the pages a port of their own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "step"), STEPS, ids=[step for _, step in STEPS])
def test_the_next_step_is_the_one_that_was_missed(text: str, step: str) -> None:
    assert f"  help: {step}" in complaint(text)


@pytest.mark.parametrize(("text", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    said = complaint(text)
    assert message in said
    assert "help: " in said
    assert said.startswith("agent.toml:")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings("/nowhere/agent.toml")


def test_the_example_of_the_documents_is_read_and_names_every_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
    made = parse_settings(text.partition("```toml\n")[2].partition("```")[0])
    assert len(made.service["app"].signal) == 3
    table = set(re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE))
    assert table == set(KINDS)
