"""`tcp-check` rules, spec §2.6, §2.7, §3.2 to §3.7: each on a connection that closes and on one that stays open."""

from __future__ import annotations

from dialogue_kit import Case, script

BIG = b"q" * 20000
TOO_LONG = "expect min-recv 1 string " + "y" * 150
Steps = tuple[int | bytes | float, ...]
ROWS: list[tuple[str, tuple[str, ...], Steps, str]] = [
    ("plain", (), (), ""),
    ("connect", ("connect",), (), ""),
    ("connect linger", ("connect linger",), (), ""),
    ("send only", ("send hello",), (5,), ""),
    ("send binary", ("send-binary 00ff",), (2,), ""),
    ("expect string ok", ("expect string bye",), (b"good bye",), ""),
    ("expect string no", ("expect string bye",), (b"good day",), ""),
    ("expect string empty", ("expect string bye",), (), ""),
    ("expect string comment", ("expect string bye comment why",), (b"good day",), ""),
    ("comment rule", ("comment before", "send x", "expect string bye"), (1, b"good day"), ""),
    ("comment rule empty", ("comment before", "send x", "expect string bye"), (1,), ""),
    ("neg ok", ("expect !string bye",), (b"good day",), ""),
    ("neg bad", ("expect !string bye",), (b"good bye",), ""),
    ("neg empty", ("expect !string bye",), (), ""),
    ("neg minrecv", ("expect min-recv 4 !string bye",), (b"good day",), ""),
    ("pos minrecv", ("expect min-recv 4 string bye",), (b"good day",), ""),
    ("minrecv short", ("expect min-recv 40 string bye",), (b"good bye",), ""),
    ("minrecv 0", ("expect min-recv 0 string bye",), (b"good day",), ""),
    ("rstring ok", ("expect rstring ^g.*y$",), (b"good day",), ""),
    ("rstring no", ("expect rstring ^x",), (b"good day",), ""),
    ("rstring nul", ("expect rstring b",), (b"a\x00b",), ""),
    ("binary ok", ("expect binary 01ff",), (b"\x00\x01\xff",), ""),
    ("binary no", ("expect binary 01ff",), (b"\x00\x01\xfe",), ""),
    ("binary longer", ("expect binary 01ff0102",), (b"\x01\xff",), ""),
    ("rbinary ok", ("expect rbinary ^6C",), (b"lo",), ""),
    ("rbinary no", ("expect rbinary 6c",), (b"lo",), ""),
    ("!rbinary", ("expect ! rbinary 6C",), (b"lo",), ""),
    ("chain ok", ("expect string a", "expect string b"), (b"ab",), ""),
    ("chain no", ("expect string a", "expect string b", "expect string c"), (b"ab",), ""),
    ("chain neg", ("expect !string x", "expect string b"), (b"ab",), ""),
    ("chain neg later", ("expect !string x", "expect string b"), (b"a", 0.05, b"xb"), ""),
    ("error-status", ("expect string b error-status L7STS",), (b"a",), ""),
    ("error-status L4CON", ("expect string b error-status L4CON min-recv 1",), (b"a",), ""),
    ("ok-status", ("expect string b ok-status L4OK",), (b"b",), ""),
    ("ok-status okc", ("expect string b ok-status L7OKC",), (b"b",), ""),
    ("tout-status", ("expect string b tout-status L6TOUT",), (b"a",), ""),
    ("on-success text", ('expect string b on-success "all fine"',), (b"b",), ""),
    ("on-error text", ('expect string b min-recv 1 on-error "all bad"',), (b"a",), ""),
    ("on-error comment", ('expect string b min-recv 1 on-error "all bad" comment hey',), (b"a",), ""),
    ("two", ("send a", "expect string b", "send c", "expect string d"), (1, b"b", 2, b"d"), ""),
    ("two no", ("send a", "expect string b", "send c", "expect string d"), (1, b"b", 2, b"x"), ""),
    ("string late", ("send-binary 61", "expect string b", "send c"), (1, b"b", 2), ""),
    ("long desc", (TOO_LONG,), (b"x",), ""),
    ("quote desc", ('expect min-recv 1 string "a\\"b\\\\ c"',), (b"x",), ""),
    ("last comment", ("expect string b", "comment end"), (b"b",), ""),
    (
        "ends",
        (
            "set-var(check.a) bc_src,ipmask(8)",
            'send-lf "%[bc_src] %[bc_dst] %[var(check.a)] %[bc_src_port,bool] %[bc_dst_port,bool]"',
            'send-lf " %[bc_err] %[bc_err_str] <%[bc_http_major]> %[ssl_bc] <%[ssl_bc_protocol]> %[ssl_bc_is_resumed]."',
        ),
        (54,),
        "",
    ),
    ("ends behind a source", ('send-lf "%[bc_src] %[bc_dst]"',), (19,), "source 127.0.0.9"),
    ("proxy v1", ("send x", "expect string y"), (45, b"y"), "check-send-proxy"),
    ("proxy v2", ("send x", "expect string y"), (29, b"y"), "check-send-proxy send-proxy-v2"),
    ("proxy rule", ("connect send-proxy", "send x", "expect string y"), (45, b"y"), ""),
    ("proxy rule v2", ("connect send-proxy", "send x", "expect string y"), (29, b"y"), "send-proxy-v2"),
    ("proxy default", ("connect default", "send x", "expect string y"), (45, b"y"), "send-proxy"),
    ("proxy not inherited", ("connect", "send x", "expect string y"), (1, b"y"), "send-proxy"),
    ("proxy moved", ("send x", "expect string y"), (1, b"y"), "send-proxy port {port}"),
    ("proxy only", (), (44,), "check-send-proxy"),
    ("port refused", ("connect port 1",), (), ""),
    ("port refused comment", ("connect port 1 comment nope",), (), ""),
    ("two connects", ("connect", "send a", "expect string b", "connect", "send c", "expect string d"), (1, b"bd"), ""),
    ("two connects 2nd refused", ("connect", "expect string b", "connect port 1 comment two"), (b"b",), ""),
    ("connect addr", ("connect addr 127.0.0.1 port 1",), (), ""),
    ("garbage big", ("expect string zzz",), (BIG,), ""),
    (
        "socks ok",
        ("send x", "expect string y"),
        (16, b"\x00Z\x00\x00\x00\x00\x00\x00", 17, b"y"),
        "check-via-socks4 socks4 127.0.0.1:{port}",
    ),
    ("socks deny", ("send x",), (16, b"\x00[\x00\x00\x00\x00\x00\x00"), "check-via-socks4 socks4 127.0.0.1:{port}"),
    ("socks silent", ("send x",), (16,), "check-via-socks4 socks4 127.0.0.1:{port}"),
    (
        "socks rule",
        ("connect via-socks4", "send x", "expect string y"),
        (16, b"\x00Z\x00\x00\x00\x00\x00\x00", 17, b"y"),
        "socks4 127.0.0.1:{port}",
    ),
    ("send-lf", ('send-lf "%[srv_name] %[be_name] %[str(x)]\\n"', "expect string y"), (6, b"y"), ""),
    ("send-lf empty", ('send-lf "%[var(check.none)]"', "expect string y"), (b"y",), ""),
    ("send-binary-lf", ('send-binary-lf "61%[str(62)]"', "expect string y"), (2, b"y"), ""),
    ("send-binary-lf odd", ('send-binary-lf "61%[str(6)]"', "expect string y"), (2, b"y"), ""),
    ("send-binary-lf bad", ('send-binary-lf "61%[str(zz)]"', "expect string y"), (2, b"y"), ""),
    ("string-lf ok", ('expect string-lf "%[str(bye)]"',), (b"good bye",), ""),
    ("string-lf no", ('expect string-lf "%[str(bye)]"',), (b"good day",), ""),
    ("string-lf no minrecv", ('expect min-recv 1 string-lf "%[str(bye)]"',), (b"good day",), ""),
    ("string-lf empty", ('expect string-lf "%[var(check.x)]"',), (b"good day",), ""),
    ("string-lf empty comment", ('expect string-lf "%[var(check.x)]" comment hey',), (b"good day",), ""),
    ("string-lf empty onerror", ('expect string-lf "%[var(check.x)]" on-error hey',), (b"good day",), ""),
    ("string-lf long", ('expect string-lf "%[str(abcdefghijk)]"',), (b"abc",), ""),
    ("!string-lf long", ('expect ! string-lf "%[str(abcdefghijk)]"',), (b"abc",), ""),
    ("!string-lf", ('expect ! string-lf "%[str(abc)]"',), (b"abc",), ""),
    ("binary-lf ok", ('expect binary-lf "62%[str(79)]"',), (b"good bye",), ""),
    ("binary-lf no", ('expect min-recv 1 binary-lf "62%[str(7a)]"',), (b"good bye",), ""),
    ("binary-lf bad", ('expect binary-lf "62%[str(7)]"',), (b"good bye",), ""),
    ("on-success", ('expect string b on-success "got %[res.payload(0,3)] len %[res.len]"',), (b"abcdef",), ""),
    ("on-error", ('expect string z min-recv 1 on-error "got %[res.payload(0,3)] len %[res.len]"',), (b"abcdef",), ""),
    ("on-error empty", ('expect string z min-recv 1 on-error "%[var(check.x)]"',), (b"abcdef",), ""),
    ("on-success empty", ('expect string a on-success "%[var(check.x)]"',), (b"abcdef",), ""),
    ("status-code", ('expect string b status-code "res.payload(0,3)"',), (b"123b",), ""),
    ("status-code int", ("expect string b status-code int(77)",), (b"123b",), ""),
    (
        "status-code fail",
        ('expect string z min-recv 1 error-status L7STS status-code "res.payload(0,3)"',),
        (b"123b",),
        "",
    ),
    ("status-code nan", ('expect string b status-code "res.payload(0,3)"',), (b"xyzb",), ""),
    ("set-var", ("set-var(check.a) str(hello)", 'send-lf "%[var(check.a)]"', "expect string y"), (5, b"y"), ""),
    (
        "set-var from reply",
        ("expect string b", "set-var(check.a) res.payload(0,2)", 'send-lf "<%[var(check.a)]>"', "expect string y"),
        (b"ab", 4, b"y"),
        "",
    ),
    (
        "unset-var",
        ("set-var(check.a) str(hello)", "unset-var(check.a)", 'send-lf "x%[var(check.a)]"', "expect string y"),
        (1, b"y"),
        "",
    ),
    (
        "set-var-fmt",
        ('set-var-fmt(check.a) "%[str(he)]llo"', 'send-lf "%[var(check.a)]"', "expect string y"),
        (5, b"y"),
        "",
    ),
    ("set-var step no", ("set-var(check.a) str(hello)", "expect string zz"), (b"y",), ""),
    ("connect port expr", ("connect port int({port})", "send a", "expect string y"), (1, b"y"), ""),
    (
        "connect port expr var",
        ("set-var(check.p) int({port})", "connect port var(check.p)", "send a", "expect string y"),
        (1, b"y"),
        "",
    ),
    ("connect port expr zero", ("connect port var(check.p)", "send a", "expect string y"), (1, b"y"), ""),
    ("proxy var", ('send-lf "%b/%s"', "expect string y"), (3, b"y"), ""),
]
CONDITIONS = ("ifexists", "ifnotexists", "ifempty", "ifnotempty", "ifset", "ifnotset", "ifgt", "iflt", "ifset,ifgt")


def condition_row(condition: str) -> tuple[str, tuple[str, ...], Steps, str]:
    """A variable for each pair of a value before and a new one, set under the condition; then all of them are sent."""
    lines, sent = [], ""
    for at, before in enumerate(("", "int(5)", "str(abc)", "bool(1)")):
        for other, new in enumerate(("int(3)", "int(9)", "int(5)", "str(7)", "str(x),bytes(3)", "bool(0)")):
            name = f"check.v{at}{other}"
            lines += [f"set-var({name}) {before}"] if before else []
            lines.append(f"set-var({name},{condition}) {new}")
            sent += f"<%[var({name})]>"
    return f"set-var {condition}", (*lines, f'send-lf "{sent}."', "expect string y"), (49, b"y"), ""


ROWS += [condition_row(condition) for condition in CONDITIONS]
RULES = [
    Case(
        f"tcp {name}, {then}",
        ("option tcp-check", *(f"tcp-check {line}" for line in lines)),
        script(*steps, then=then),
        words,
    )
    for name, lines, steps, words in ROWS
    for then in ("close", "stay")
]
