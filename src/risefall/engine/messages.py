"""Converters that look into messages of protocols: FIX, MQTT, JSON Web Tokens; and AES-GCM.

Source: haproxy configuration manual 2.6, §7.3.1; which words each takes was run on 2.6.12.
"""

from __future__ import annotations

import base64
import binascii
import struct
from pathlib import Path

from risefall.engine import tls
from risefall.engine._native import lib
from risefall.engine.converters import make_json_query
from risefall.engine.fetches import UINT32_MAX
from risefall.engine.layout import NotChecked, Op, raw
from risefall.engine.samples import Args, Kind, Sample

NO_VARIABLE = -1
FIX_TAGS = {"beginstring": 8, "bodylength": 9, "checksum": 10, "msgtype": 35, "sendercompid": 49, "targetcompid": 56}


def fields(*numbers: int, **words: int) -> dict[str, int]:
    """What can be asked of a packet: properties by number, and words."""
    return words | {str(number): number for number in numbers}


ANSWER = fields(31, 38, reason_code=lib.RF_MQTT_REASON)
PACKETS: dict[str, tuple[int, int, dict[str, int]]] = {
    "connect": (
        1,
        lib.RF_MQTT_CONNECT,
        fields(
            *(1, 2, 3, 8, 9, 17, 21, 22, 23, 24, 25, 33, 34, 38, 39),
            flags=lib.RF_MQTT_FLAGS,
            protocol_name=lib.RF_MQTT_PROTOCOL,
            protocol_version=lib.RF_MQTT_VERSION,
            client_identifier=lib.RF_MQTT_CLIENT,
            will_topic=lib.RF_MQTT_WILL_TOPIC,
            will_payload=lib.RF_MQTT_WILL_PAYLOAD,
            username=lib.RF_MQTT_USER,
            password=lib.RF_MQTT_PASSWORD,
            keepalive=lib.RF_MQTT_KEEPALIVE,
        ),
    ),
    "connack": (
        2,
        lib.RF_MQTT_CONNACK,
        fields(
            *(17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42),
            flags=lib.RF_MQTT_FLAGS,
            protocol_version=lib.RF_MQTT_VERSION,
            reason_code=lib.RF_MQTT_REASON,
        ),
    ),
    "publish": (3, lib.RF_MQTT_OTHER, fields(1, 2, 3, 8, 9, 11, 35, 38)),
    "puback": (4, lib.RF_MQTT_OTHER, ANSWER),
    "pubrec": (5, lib.RF_MQTT_OTHER, ANSWER),
    "pubrel": (6, lib.RF_MQTT_OTHER, ANSWER),
    "pubcomp": (7, lib.RF_MQTT_OTHER, ANSWER),
    "subscribe": (8, lib.RF_MQTT_OTHER, fields(11, 38)),
    "suback": (9, lib.RF_MQTT_OTHER, fields(31, 38)),
    "unsubscribe": (10, lib.RF_MQTT_OTHER, fields(38)),
    "unsuback": (11, lib.RF_MQTT_OTHER, fields(31, 38)),
    "disconnect": (14, lib.RF_MQTT_OTHER, fields(17, 28, 31, 38, reason_code=lib.RF_MQTT_REASON)),
    "auth": (15, lib.RF_MQTT_OTHER, fields(21, 22, 31, 38)),
}
"""By name: its number, the one in C (of others than these two none is read: they have no value), and its fields."""
BY_NUMBER = {str(number): name for name, (number, _code, _known) in PACKETS.items()}
KEY_BITS = (128, 192, 256)
ALGORITHMS = ("none", *(f"{family}{bits}" for family in ("HS", "RS", "ES") for bits in (256, 384, 512)))


def make_fix_tag(args: Args) -> list[Op]:
    word = args.string(0)
    number = int(word) if word.isascii() and word.isdecimal() else FIX_TAGS.get(word.lower(), 0)
    if not 0 < number <= UINT32_MAX:
        raise NotChecked(f"'{args.name}': unknown FIX tag name '{word}'")
    return [Op(lib.RF_CONV_FIX_TAG, number)]


def make_mqtt_field(args: Args) -> list[Op]:
    kind, field = args.string(0).lower(), args.string(1).lower()
    kind = BY_NUMBER.get(kind, kind)
    if kind not in PACKETS:
        raise NotChecked(f"'{args.name}': unknown MQTT type '{args.string(0)}', or one that has no fields to read")
    _number, code, known = PACKETS[kind]
    if field not in known:
        raise NotChecked(f"'{args.name}': unknown MQTT field name '{args.string(1)}' for packet type '{kind}'")
    return [Op(lib.RF_CONV_MQTT_FIELD, code, known[field])]


def make_jwt_verify(args: Args) -> list[Op]:
    """The key of HS is the secret itself; of RS and ES it is the name of a PEM file, whose contents stand behind the name."""
    algorithm, key = args.string(0), args.string(1)
    named, kept = "." in algorithm, b""
    if not named and algorithm not in ALGORITHMS:
        raise NotChecked(
            f"'{args.name}': the algorithm '{algorithm}' is not supported, these are: {', '.join(ALGORITHMS)}"
        )
    public = named or algorithm[:2] in ("RS", "ES")
    if public:
        if not tls.load():
            raise NotChecked(f"'{args.name}': {tls.NO_TLS}")
        kept = contents(key)
    by_variable = "." in key and not kept and not Path(key).exists() and key.split(".")[0] in SCOPES
    return [
        Op(
            lib.RF_CONV_JWT_VERIFY,
            args.variable(0) if named else NO_VARIABLE,
            args.variable(1) if by_variable else NO_VARIABLE,
            b"" if named else raw(algorithm),
            b"" if by_variable else raw(key) + (b"\0" + kept if public else b""),
        )
    ]


def token_part(part: int, *, whole: bool) -> Sample:
    """A value in a token's header or payload, by its path; without one the whole of it, which 2.6 fails to give."""

    def make(args: Args) -> list[Op]:
        if not args.has(0):
            return [Op(lib.RF_CONV_JWT_PART, part)] if whole else [Op(lib.RF_CONV_INSTEAD, 0, lib.RF_INSTEAD_NOTHING)]
        return [Op(lib.RF_CONV_JWT_PART, part), *make_json_query(args)]

    return Sample(make, Kind.BIN, Kind.ANY, 0, 2)


SCOPES = ("proc", "sess", "txn", "req", "res", "check")


def contents(path: str) -> bytes:
    """Nothing of a file that cannot be read: HAProxy takes it, and says -5 of each token."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def make_aes_gcm(args: Args) -> list[Op]:
    bits = args.number(0)
    if bits not in KEY_BITS:
        raise NotChecked(f"'{args.name}': key size must be 128, 192 or 256 (bits)")
    if not tls.load():
        raise NotChecked(f"'{args.name}': {tls.NO_TLS}")
    said = b""
    for at in (1, 2, 3):
        word = args.string(at)
        if "." in word:
            said += struct.pack("<BI", 1, args.variable(at))
            continue
        try:
            secret = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotChecked(f"'{args.name}': argument {at + 1} is neither base64 nor a variable: '{word}'") from error
        said += struct.pack("<BI", 0, len(secret)) + secret
    return [Op(lib.RF_CONV_AES_GCM, bits, text=said)]


TOKENS = {
    "jwt_header_query": token_part(0, whole=True),
    "jwt_payload_query": token_part(1, whole=True),
}
TOKENS_BEFORE = {
    "jwt_header_query": token_part(0, whole=False),
    "jwt_payload_query": token_part(1, whole=False),
}
"""As 2.6 has them."""
MESSAGES = {
    "fix_is_valid": Sample(lambda args: [Op(lib.RF_CONV_FIX_VALID)], Kind.BIN, Kind.BOOL),
    "fix_tag_value": Sample(make_fix_tag, Kind.BIN, Kind.BIN, 1, 1),
    "mqtt_is_valid": Sample(lambda args: [Op(lib.RF_CONV_MQTT_VALID)], Kind.BIN, Kind.BOOL),
    "mqtt_field_value": Sample(make_mqtt_field, Kind.BIN, Kind.TEXT, 2, 2),
    "jwt_verify": Sample(make_jwt_verify, Kind.TEXT, Kind.INT, 2, 2),
    "aes_gcm_dec": Sample(make_aes_gcm, Kind.BIN, Kind.BIN, 4, 4),
}
