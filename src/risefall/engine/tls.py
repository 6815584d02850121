"""TLS settings of server lines to contexts of module _tls: one for each distinct setting.

Where the module is missing, every use says so. Source: spec/haproxy-checks.md §2.6, §2.8; haproxy configuration manual 2.6,
§3.1 ssl-default-server-*, ca-base, crt-base, ssl-server-verify; §5.2 ca-file, crt, verify and the other TLS words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from risefall.config.haproxy.model import Config, ServerSettings
from risefall.engine import native
from risefall.engine.layout import NotChecked

try:
    from risefall.engine._tls import ffi, lib
except ImportError:  # built without OpenSSL's headers, or libssl is gone
    ffi = lib = None

NO_CA_FILE = "verify is enabled by default but no CA file specified: add 'ca-file <file>', or 'verify none'"
NO_TLS = "this build has no TLS: install libssl-dev and build risefall again"
VERSIONS = {"SSLv3": 0x0300, "TLSv1.0": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
SUFFIXES = {"sslv3": 0x0300, "tlsv10": 0x0301, "tlsv11": 0x0302, "tlsv12": 0x0303, "tlsv13": 0x0304}
OLDEST, NEWEST = 0x0301, 0x0304
GLOBAL_WORDS = {
    "ssl-default-server-ciphers": "ciphers",
    "ssl-default-server-ciphersuites": "ciphersuites",
    "ssl-default-server-curves": "curves",
    "ssl-default-server-sigalgs": "sigalgs",
    "ssl-default-server-client-sigalgs": "client-sigalgs",
}


class TlsSettings(msgspec.Struct, frozen=True):
    """Field by field `rf_tls_settings`; empty and 0: unset."""

    ca_file: str = ""
    crl_file: str = ""
    crt: str = ""
    ciphers: str = ""
    ciphersuites: str = ""
    curves: str = ""
    sigalgs: str = ""
    client_sigalgs: str = ""
    verify_host: str = ""
    verify: bool = True
    version_min: int = 0
    version_max: int = 0
    tickets: bool = True
    reuse: bool = True


def available() -> bool:
    """Whether this build can do TLS."""
    return lib is not None


def load() -> bool:
    """Hands the module to the engine; False where there is none."""
    if lib is not None:
        native.use_tls(int(ffi.cast("uintptr_t", lib.rf_tls_layer())))
    return available()


def version_bounds(words: Mapping[str, str]) -> tuple[int, int]:
    """Oldest and newest TLS version that the words leave, 0 where they say nothing. `no-` words cut from the ends."""
    low, high = VERSIONS.get(words.get("ssl-min-ver", ""), 0), VERSIONS.get(words.get("ssl-max-ver", ""), 0)
    for suffix, version in SUFFIXES.items():
        if f"force-{suffix}" in words:
            return version, version
    barred = {version for suffix, version in SUFFIXES.items() if f"no-{suffix}" in words}
    first, last = low or OLDEST, high or NEWEST
    while first in barred and first < last:
        first += 1
    while last in barred and last > first:
        last -= 1
    return (first if first != OLDEST else low), (last if last != NEWEST else high)


def global_words(config: Config) -> dict[str, str]:
    """What the `global` sections say for all servers, by the words of a server line."""
    words: dict[str, str] = {}
    for section in config.tree:
        if section.kind != "global":
            continue
        for line in section.lines:
            if line.words[0] in GLOBAL_WORDS and len(line.words) > 1:
                words[GLOBAL_WORDS[line.words[0]]] = line.words[1]
            elif line.words[0] == "ssl-default-server-options":
                words |= option_words(line.words[1:])
    return words


def option_words(options: Iterable[str]) -> dict[str, str]:
    """`ssl-default-server-options` as words of a server line."""
    words: dict[str, str] = {}
    rest = iter(options)
    for word in rest:
        words[word] = next(rest, "") if word in ("ssl-min-ver", "ssl-max-ver") else ""
    return words


def under(base: str, path: str) -> str:
    """A path below ca-base or crt-base, where it is relative."""
    return path if not base or not path or path.startswith(("/", "@")) else os.path.join(base, path)


class Contexts:
    """Makes each distinct context once; called with the settings of a server."""

    def __init__(self, config: Config) -> None:
        self._global = config.global_
        self._words = global_words(config)
        self._made: dict[TlsSettings, Any] = {}

    def settings(self, server: ServerSettings) -> TlsSettings:
        """All words of one server, with those that the global section gives."""
        words = self._words | dict(server.tls) | {word[0]: "" for word in server.other if len(word) == 1}
        low, high = version_bounds(words)
        return TlsSettings(
            ca_file=under(self._global.ca_base, words.get("ca-file", "")),
            crl_file=under(self._global.ca_base, words.get("crl-file", "")),
            crt=under(self._global.crt_base, words.get("crt", "")),
            ciphers=words.get("ciphers", ""),
            ciphersuites=words.get("ciphersuites", ""),
            curves=words.get("curves", ""),
            sigalgs=words.get("sigalgs", ""),
            client_sigalgs=words.get("client-sigalgs", ""),
            verify_host=words.get("verifyhost", ""),
            verify=words.get("verify", self._global.ssl_server_verify) != "none",
            version_min=low,
            version_max=high,
            tickets="no-tls-tickets" not in words,
            reuse="no-ssl-reuse" not in words,
        )

    def __call__(self, server: ServerSettings) -> Any:
        """The context of a server. Raises NotChecked with the reason."""
        settings = self.settings(server)
        if settings not in self._made:
            try:
                self._made[settings] = new_context(settings)
            except NotChecked as why:
                self._made[settings] = why
        made = self._made[settings]
        if isinstance(made, NotChecked):
            raise made
        return made


def new_context(settings: TlsSettings) -> Any:
    """One `rf_tls_context`, dropped with its last holder. Raises NotChecked."""
    if not load():
        raise NotChecked(NO_TLS)
    if settings.verify and not settings.ca_file:
        raise NotChecked(NO_CA_FILE)
    given = ffi.new("rf_tls_settings *")
    kept = []
    for name in (
        "ca_file", "crl_file", "crt", "ciphers", "ciphersuites", "curves", "sigalgs", "client_sigalgs", "verify_host",
    ):  # fmt: skip
        value = getattr(settings, name)
        if value:
            kept.append(ffi.new("char[]", value.encode("utf-8", "surrogateescape")))
            setattr(given, name, kept[-1])
    given.verify = lib.RF_TLS_VERIFY_REQUIRED if settings.verify else lib.RF_TLS_VERIFY_NONE
    given.version_min, given.version_max = settings.version_min, settings.version_max
    given.flags = (0 if settings.tickets else lib.RF_TLS_NO_TICKETS) | (0 if settings.reuse else lib.RF_TLS_NO_REUSE)
    why = ffi.new("char[]", lib.RF_TLS_WHY_MAX)
    context = lib.rf_tls_context_new(given, why, lib.RF_TLS_WHY_MAX)
    if context == ffi.NULL:
        raise NotChecked(ffi.string(why).decode("utf-8", "replace"))
    mark = native.digest(settings, file_stamps(settings.ca_file, settings.crl_file, settings.crt))
    return native.foreign(ffi.gc(context, lib.rf_tls_context_drop), ffi, mark)


def file_stamps(*paths: str) -> list[tuple[int, int, int] | None]:
    """What shows that a file is another one now, though its name is the same."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            found = os.stat(path) if path else None
        except OSError:
            found = None
        stamps.append(None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino))
    return stamps
