"""`show schema json` beside a real haproxy's."""

from __future__ import annotations

import json

from surfaces_kit import ask

from risefall.surfaces.schema import show_schema


def test_it_is_haproxys_byte_for_byte(peer: str) -> None:
    assert f"{show_schema()}\n" == ask(peer, b"show schema json\n").decode()


def test_what_it_names_is_defined() -> None:
    schema = json.loads(show_schema())
    assert [one["title"] for one in schema["oneOf"]] == ["Info", "Stat", "Error"]
    for part in ("field", "processNum", "tags", "typedValue"):
        assert f'"#/definitions/{part}"' in show_schema()
        assert part in schema["definitions"]
