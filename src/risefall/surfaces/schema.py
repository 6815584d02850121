"""`show schema json`: what the JSON of `show stat` and `show info` looks like, as a JSON schema.

HAProxy's own schema, odd places included: `typedValue` where its rows say `value`, `pos` beside `properties`.
Source: run on 2.6.12; tests/surfaces/test_schema.py compares them.
"""

from __future__ import annotations

import json
from functools import cache

from risefall.surfaces.columns import JSON_INT_MAX, NATURES, ORIGINS, SCOPES

INTEGERS = {
    "s32": (-(2**31), 2**31 - 1), "s64": (-JSON_INT_MAX, JSON_INT_MAX),
    "u32": (0, 2**32 - 1), "u64": (0, JSON_INT_MAX),
}  # fmt: skip
UNKNOWN = "Unknown"

Schema = dict[str, object]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _words(*words: str) -> Schema:
    return {"type": "string", "enum": [*words]}


def _natural(least: int = 0) -> Schema:
    return {"type": "integer", "minimum": least}


def _array(title: str, head: Schema, value: str) -> Schema:
    """A list of items that begin with `head`. value: how the schema calls the value."""
    common = ("field", "processNum", "tags")
    return {
        "title": title,
        "type": "array",
        "items": {
            "title": "InfoItem",
            "type": "object",
            "properties": {**head, **{name: _ref(name) for name in common}, value: _ref("typedValue")},
            "required": [*head, *common, "value"],
        },
    }


def _value(kind: Schema, value: Schema) -> Schema:
    return {"properties": {"type": kind, "value": value}, "required": ["type", "value"]}


def _typed_value() -> Schema:
    kinds: Schema = {
        f"{kind}Value": _value(_words(kind), {"type": "integer", "minimum": low, "maximum": high})
        for kind, (low, high) in INTEGERS.items()
    }
    kinds["strValue"] = _value(_words("str"), {"type": "string"})
    one_of = [_ref(f"typedValue/definitions/{name}") for name in kinds]
    kinds["unknownValue"] = _value(_natural(), _words("unknown"))
    return {"type": "object", "oneOf": one_of, "definitions": kinds}


@cache
def show_schema() -> str:
    """The reply, ended; the protocol's own line feed comes after it."""
    row: Schema = {
        "objType": {"enum": ["Frontend", "Backend", "Listener", "Server", UNKNOWN]},
        "proxyId": _natural(),
        "id": _natural(),
    }
    error = {
        "title": "Error",
        "type": "object",
        "properties": {"errorStr": {"type": "string"}},
        "required": ["errorStr"],
    }
    tags = {
        "type": "object",
        "origin": _words(*ORIGINS.values(), UNKNOWN),
        "nature": _words(*NATURES.values(), UNKNOWN),
        "scope": _words(*SCOPES.values(), UNKNOWN),
        "required": ["origin", "nature", "scope"],
    }
    field = {"type": "object", "pos": _natural(), "name": {"type": "string"}, "required": ["pos", "name"]}
    schema: Schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "oneOf": [_array("Info", {}, "value"), _array("Stat", row, "typedValue"), error],
        "definitions": {"field": field, "processNum": _natural(1), "tags": tags, "typedValue": _typed_value()},
    }
    # The one blank of HAProxy's text, for whoever compares it byte by byte.
    return json.dumps(schema, separators=(",", ":")).replace('"Avg",', '"Avg", ') + "\n"
