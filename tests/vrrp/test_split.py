"""`risefall vrrp --split` of scripts that come from elsewhere, and of the configurations of the field."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from risefall.cli.main import group
from risefall.config.keepalived import read
from risefall.config.text import Source, read_file
from risefall.daemon.scripts import read_scripts
from risefall.errors import ConfigError
from risefall.evaluator.split import _compare, flat_text, scripts_text, split

CORPUS = sorted((Path(__file__).parents[3] / "shared" / "corpus" / "keepalived").glob("*"))
MAIN = """! the whole of it
$DIR=/usr/lib/checks
$CHK=vrrp_script defined { \\
  script "$DIR/defined 'a b'" \\
  weight -5 \\
}
include checks/*.conf
$CHK
~SEQ(n, 1, 2) vrrp_script many$n { script "$DIR/many $n" }
@me vrrp_script here {
@me   script "$DIR/here"
@me }
@you vrrp_script there { script "$DIR/there" }
vrrp_instance VI_1 {
  interface eth0   # the only one
  virtual_router_id 51
  @me priority 120
  notify "/n.sh \\"q x\\" ${_INSTANCE}"
  virtual_ipaddress {
    10.0.0.1/24 dev eth0 label eth0:1
  }
  track_script {
    included
    defined
    many1
    many2 weight 3
    here
  }
}
"""


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "one.conf").write_text(
        "vrrp_script included {\n  script /usr/bin/true\n  interval 3\n  rise 2\n  user nobody\n}\n"
    )
    (tmp_path / "keepalived.conf").write_text(MAIN)
    return tmp_path / "keepalived.conf"


def test_scripts_that_come_from_elsewhere(main: Path) -> None:
    """From an include, a definition, a repeater and a condition: all are written out, and nothing else changes."""
    into = main.parent / "split"
    words = ["vrrp", "--split", str(main), "--into", str(into), "--track", "/opt/track", "--config-id", "me"]
    result = CliRunner().invoke(group, words, catch_exceptions=False)
    assert result.exit_code == 0
    scripts = read_scripts(str(into / "scripts.conf"), lambda line: None)
    before = read(read_file(str(main)), config_id="me")
    assert [(one.name, one.command, one.interval_ms, one.rise, one.weight) for one in scripts.scripts] == [
        (one.name, one.command, one.interval_ms, one.rise, one.weight) for one in before.scripts
    ]
    asking = read(read_file(str(into / "keepalived.conf")), config_id="elsewhere")
    assert [one.command.argv for one in asking.scripts] == [
        ("/opt/track", "script", name) for name in ("included", "defined", "many1", "many2", "here")
    ]
    (now,), (was,) = asking.instances, before.instances
    said = [(one.priority, [vip.label for vip in one.vips], one.notify.any, one.nopreempt) for one in (now, was)]
    assert said[0] == said[1]
    assert [(one.name, one.weight) for one in now.track_scripts] == [
        (one.name, one.weight) for one in was.track_scripts
    ]
    assert "checks" not in (into / "keepalived.conf").read_text()


def test_what_would_not_come_out_the_same_is_refused(main: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("risefall.evaluator.split.flat_text", lambda *words: "vrrp_script included {\n script /x\n}\n")
    with pytest.raises(ConfigError, match="its scripts cannot be replaced"):
        split(read(read_file(str(main)), config_id="me"), str(main), str(main.parent / "no"), "/opt/track", "me")
    assert not (main.parent / "no").exists()


@pytest.mark.skipif(not CORPUS, reason="the configurations of the field are not beside this checkout")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_configurations_of_the_field_come_out_the_same(path: Path, tmp_path: Path) -> None:
    """Line by line and written out: scripts and all the rest say what they said."""
    try:
        config = read(read_file(str(path)), config_id="me")
    except ConfigError:
        return  # nor does keepalived start with it: tests/diff/test_keepalived_reader.py
    for at in split(config, str(path), str(tmp_path / "split"), "/opt/track", "me"):
        again = read(read_file(at), config_id="me")
        assert [one.name for one in again.scripts] == [one.name for one in config.scripts]
    source = Source(str(path), read_file(str(path)).text)
    _compare(config, (scripts_text(config), flat_text(config, source, "/opt/track", "me")), str(path), "me")
