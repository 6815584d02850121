"""PCRE2 as a library of the system, for regexes that are matched piece by piece as keepalived does (partial, hard).

The compiled module has PCRE2 too, but only whole matches. Opened when the first regex is made.
Source: pcre2api(3), pcre2partial(3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cffi import FFI

LIBRARY = "libpcre2-8.so.0"
PARTIAL_HARD = 0x20
ERROR_PARTIAL = -2
INFO_MAXLOOKBEHIND = 15
NAMES = (
    "allow_empty_class",
    "alt_bsux",
    "auto_callout",
    "caseless",
    "dollar_endonly",
    "dotall",
    "dupnames",
    "extended",
    "firstline",
    "match_unset_backref",
    "multiline",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "ucp",
    "ungreedy",
    "utf",
    "never_backslash_c",
    "alt_circumflex",
    "alt_verbnames",
    "use_offset_limit",
)
"""Options of pcre2_compile by their words, in the order of their bits."""
BITS = {name: 1 << bit for bit, name in enumerate(NAMES)}

_ffi = FFI()
_ffi.cdef(
    """
    typedef struct code code; typedef struct data data;
    code *pcre2_compile_8(const char *, size_t, uint32_t, int *, size_t *, void *);
    void pcre2_code_free_8(code *);
    data *pcre2_match_data_create_from_pattern_8(const code *, void *);
    void pcre2_match_data_free_8(data *);
    int pcre2_match_8(const code *, const char *, size_t, size_t, uint32_t, data *, void *);
    size_t *pcre2_get_ovector_pointer_8(data *);
    int pcre2_pattern_info_8(const code *, uint32_t, void *);
    int pcre2_get_error_message_8(int, char *, size_t);
    """
)
_opened: Any = None


class RegexError(ValueError):
    """A regex that cannot be compiled, or no library to compile it with; says why."""


def _library() -> Any:
    global _opened
    if _opened is None:
        try:
            _opened = _ffi.dlopen(LIBRARY)
        except OSError:
            raise RegexError(f"{LIBRARY} is not on this machine") from None
    return _opened


class Regex:
    """One compiled regex. Not to be used by two threads at once."""

    def __init__(self, pattern: bytes, options: Iterable[str] = ()) -> None:
        """options: words of `NAMES`; others are left out, as keepalived does. Raises: RegexError."""
        lib = self._lib = _library()
        bits = 0
        for option in options:
            bits |= BITS.get(option, 0)
        error, offset = _ffi.new("int *"), _ffi.new("size_t *")
        code = lib.pcre2_compile_8(pattern, len(pattern), bits, error, offset, _ffi.NULL)
        if code == _ffi.NULL:
            text = _ffi.new("char[256]")
            lib.pcre2_get_error_message_8(error[0], text, 256)
            raise RegexError(f"{_ffi.string(text).decode()} at offset {offset[0]}")
        self._code = _ffi.gc(code, lib.pcre2_code_free_8)
        self._data = _ffi.gc(lib.pcre2_match_data_create_from_pattern_8(code, _ffi.NULL), lib.pcre2_match_data_free_8)
        look = _ffi.new("uint32_t *")
        lib.pcre2_pattern_info_8(code, INFO_MAXLOOKBEHIND, look)
        self.max_lookbehind: int = look[0]

    def match(self, subject: bytes, start: int) -> tuple[int, int]:
        """What pcre2_match returns with PARTIAL_HARD (0 or more: a match), and where the match or its part begins."""
        result = self._lib.pcre2_match_8(self._code, subject, len(subject), start, PARTIAL_HARD, self._data, _ffi.NULL)
        if result < 0 and result != ERROR_PARTIAL:
            return result, 0
        return result, self._lib.pcre2_get_ovector_pointer_8(self._data)[0]
