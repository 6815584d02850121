"""`http-check` rules, spec §3.2, §3.6, §3.8, §3.9: formats, rounds and connections, status options, comments."""

from __future__ import annotations

from dialogue_kit import Case, script

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: foo, bar\r\nx-n: 42\r\n\r\nhello"
OPTION = "option httpchk GET / HTTP/1.1"
Steps = tuple[int | bytes | float, ...]
ROWS: list[tuple[str, tuple[str, ...], Steps, str]] = [
    ("hdr lf", ('send hdr x-srv "%[srv_name]" hdr x-none "%[var(check.no)]" hdr host "%[be_name]"',), (60, OK), ""),
    ("uri-lf", ('send uri-lf "/%[srv_name]"',), (30, OK), ""),
    ("uri-lf empty", ('send meth GET uri-lf "%[var(check.a)]"',), (18, OK), ""),
    ("uri-lf of two that are empty", ('send meth GET uri-lf "%[var(check.a)]%[str()]"',), (18, OK), ""),
    ("uri-lf empty in quotes", ('send meth GET uri-lf "%{+Q}o%[var(check.a)]"',), (18, OK), ""),
    ("uri-lf of one that is empty", ('send meth GET uri-lf "%[var(check.a)]?x"',), (18, OK), ""),
    ("body-lf", ('send meth POST body-lf "name=%[srv_name]"',), (60, OK), ""),
    ("body-lf empty get", ('send body-lf "%[var(check.a)]"',), (30, OK), ""),
    ("body-lf empty post", ('send meth POST body-lf "%[var(check.a)]"',), (30, OK), ""),
    ("string-lf", ('expect string-lf "%[str(ell)]"',), (30, OK), ""),
    ("string-lf no", ('expect string-lf "%[str(elx)]"',), (30, OK), ""),
    ("string-lf empty", ('expect string-lf "%[var(check.a)]"',), (30, OK), ""),
    ("!string-lf", ('expect ! string-lf "%[str(elx)]"',), (30, OK), ""),
    ("name-lf", ('expect hdr name-lf "x-%[str(a)]" value -m str bar',), (30, OK), ""),
    ("value-lf", ('expect hdr name x-a value-lf "b%[str(ar)]"',), (30, OK), ""),
    ("value-lf no", ('expect hdr name x-a value-lf "b%[str(ax)]"',), (30, OK), ""),
    (
        "on-success",
        ('expect status 200 on-success "st %[status] %[res.hdr(x-a,1)] %[res.body] %[res.ver]"',),
        (30, OK),
        "",
    ),
    ("on-error", ('expect status 404 on-error "st %[status] %[res.fhdr(x-a)] %[res.body]"',), (30, OK), ""),
    ("status-code", ('expect status 200 status-code "res.hdr(x-n)"',), (30, OK), ""),
    ("status-code fail", ('expect status 404 status-code "res.hdr(x-n)"',), (30, OK), ""),
    ("status-code body", ('expect string zz min-recv 1 error-status L7STS status-code "res.hdr(x-n)"',), (30, OK), ""),
    ("two expects", ("expect status 200", "expect string hello", "expect hdr name x-a"), (30, OK), ""),
    ("two expects fail", ("expect status 200", "expect string hellx", "expect hdr name x-a"), (30, OK), ""),
    (
        "rounds same conn",
        ("connect", "send uri /1", "expect status 200", "connect", "send uri /2", "expect status 404"),
        (30, OK),
        "",
    ),
    (
        "rounds",
        (
            "connect",
            "send uri /1 ver HTTP/1.0",
            "expect status 200",
            "connect",
            "send uri /2 ver HTTP/1.1",
            "expect status 200",
        ),
        (22, OK),
        "",
    ),
    ("connect port", ("connect port 1", "send uri /x"), (30, OK), ""),
    ("connect addr comment", ("connect addr 127.0.0.1 port 1 comment cc", "send uri /x"), (30, OK), ""),
    ("connect send-proxy", ("connect send-proxy", "send uri /x"), (60, OK), ""),
    ("connect linger", ("connect linger", "send uri /x"), (30, OK), ""),
    ("set-var", ("set-var(check.u) str(/foo)", 'send uri-lf "%[var(check.u)]"'), (30, OK), ""),
    ("set-var connect", ("set-var(check.u) str(/foo)", "connect", 'send uri-lf "%[var(check.u)]"'), (22, OK), ""),
    (
        "var from reply",
        (
            "connect",
            "send uri /1",
            "expect status 200",
            "set-var(check.h) res.hdr(x-n)",
            "connect",
            'send uri-lf "/%[var(check.h)]"',
            "expect status 404",
        ),
        (30, OK),
        "",
    ),
    ("ok-status", ("expect status 200 ok-status L7OKC",), (30, OK), ""),
    ("error-status", ("expect status 404 error-status L4CON",), (30, OK), ""),
    ("tout-status", ("expect status 404 tout-status L4TOUT",), (30,), ""),
    ("comment", ("comment one", "send uri /x comment two", "expect status 404 comment three"), (30, OK), ""),
    ("comment carried", ("comment one", "send uri /x", "expect status 404"), (30, OK), ""),
]
HTTP_RULES = [
    Case(f"http {name}, {then}", (OPTION, *(f"http-check {line}" for line in lines)), script(*steps, then=then), words)
    for name, lines, steps, words in ROWS
    for then in ("close", "stay")
]
METHODS = [
    Case(
        f"empty body-lf of {method}",
        (f"option httpchk {method}", 'http-check send body-lf "%[var(check.a)]"'),
        script(18, OK),
    )
    for method in ("GET / HTTP/1.0", "GET / HTTP/1.1", "DELETE / HTTP/1.1", "HEAD / HTTP/1.1", "POST / HTTP/1.1")
]
CONNECTIONS = [
    Case(
        f"HTTP/{version} connection {value}",
        ("option httpchk", f"http-check send meth GET uri / ver HTTP/{version} hdr a b hdr connection {value} hdr c d"),
        script(18, OK),
    )
    for value in (
        "upgrade", "Upgrade", "close", "CLOSE", "Keep-Alive", "closed", "a;close", "close,a", '"a, keep-alive,  b"', '"a,b , c"',
        '", a ,,b"', '"keep-alive, close"', "a,close,keep-alive", "close,upgrade", "a hdr connection close", '"%[str(up)]"', '"%[str(close)]"', '"%[str(keep-alive)]"',
        '"%[str(upgrade)]"', '"%[var(check.a)]"', '"%[str(a)],b , Close"', 'close hdr connection "%[str(a)]"', '" "', '" close "',
        '"a,b , close"', '"close , a"', '"a,"', '"\\"a,close\\",b"',
    )
    for version in ("1.0", "1.1")
]  # fmt: skip
"""What a request says of its connection by itself."""
AUTHORITIES = [
    Case(f"Host {host} of {uri}", ("option httpchk", f"http-check send meth GET {uri} hdr host {host}"), script(18, OK))
    for uri in (
        "uri http://a/x", 'uri-lf "http://a/%[srv_name]"', "uri http://u@v@a:1", "uri foo", "uri foo/bar", "uri *", "uri 1http://a",
        "uri http://a?x/y", "uri http://@/x", 'uri-lf "%[var(check.a)]"',
    )
    for host in ("longer:80", '"%[srv_name]"', '"%[var(check.a)]"')
]  # fmt: skip
"""Which part of a URI the Host header replaces."""
FORMS = [
    Case(" ; ".join(lines), lines, script(12, 0.1, OK))
    for lines in (
        (r"option httpchk GET / HTTP/1.1\nHost:x",),
        (r"option httpchk GET / HTTP/1.1\rHost:x",),
        (r"option httpchk GET / HTTP/1.1\r\nHost:\ x",),
        (r"option httpchk GET / HTTP/1.1\r\nHost:\ x\r\nX-A:\ \ b\ c\ \r\nX-B:",),
        (r"option httpchk GET / HTTP/1.1\r\nA(b):x\r\nX\ A:b",),
        (r"option httpchk GET / HTTP/1.1\r\nX:a\r\n\ more\r\nY:b",),
        (r"option httpchk GET / HTTP/1.1\r\nHost:\ x\r\n\r\n",),
        (r"option httpchk HEAD / HTTP/1.1\r\nHost:\ x\r\n\r\n",),
        (r"option httpchk POST / HTTP/1.1\r\nHost:\ x\r\n\r\n",),
        (r"option httpchk GET / HTTP/1.0\r\nHost:\ x\r\n\r\n",),
        (r"option httpchk GET / HTTP/1.1\r\nHost:\ x\r\n\r\n", "http-check send hdr A b"),
        (r"option httpchk POST / HTTP/1.1\r\nContent-Length:\ 3\r\n\r\nabc",),
        (r"option httpchk POST / HTTP/1.0\r\nContent-Length:\ 4\r\n\r\nabc",),
        (r"option httpchk GET / HTTP/1.1\r\nContent-Length:\ 3",),
        (r"option httpchk POST / HTTP/1.1\r\nContent-Length:\ 0",),
        (r"option httpchk GET / HTTP/1.1\r\nContent-Length:\ 0\r\n\r\n",),
        (r"option httpchk GET / HTTP/1.1\r\nTransfer-Encoding:\ chunked",),
        (r"option httpchk POST / HTTP/1.1\r\nTransfer-Encoding:\ chunked\r\n\r\nabc",),
        (r"option httpchk GET / HTTP/1.1\r\nConnection:\ keep-alive",),
        (r"option httpchk GET / HTTP/1.1\\r\\nHost:\ x",),
        (r"option httpchk GET / HTTP/1.1\r\nX:%[str(a)]\r\nY:%%",),
        (r"option httpchk GET / HTTP/1.1\r\nHost:x", "http-check send hdr Host y"),
        ("option httpchk GET / HTTP/2",),
        ("option httpchk GET / HTTP/2.0",),
        ("option httpchk GET / http/1.1",),
        ("http-check send uri /b ver HTTP/1.0", "option httpchk GET /a HTTP/1.1"),
        ("http-check connect linger", "option httpchk GET / HTTP/1.1"),
        ("option httpchk", "http-check expect ! ! status 200"),
        ("option httpchk", "http-check expect ! !string hello"),
        ("option httpchk", "http-check expect !! string hellx"),
        ("option httpchk GET /", r'http-check send body "a\x00b"'),
        ("option tcp-check", "tcp-check set-var(check.x) int(1)"),
        ("option tcp-check", "tcp-check connect", "tcp-check unset-var(check.x)"),
        (
            "option httpchk",
            'http-check expect status 200 on-success "a%[status]"',
            "http-check set-var(check.x) int(1)",
        ),
        ("option httpchk", "http-check expect status 200 ok-status L7OKC", "http-check unset-var(check.x)"),
        (
            "option httpchk",
            "http-check disable-on-404",
            "http-check expect status 200",
            "http-check unset-var(check.x)",
        ),
    )
]
"""Forms of a request that the field has gathered over the years."""
SAYS = "tcp-check send abcdefghijklmnopqrst"
INHERITED = [
    Case(f"{' ; '.join(defaults)} / {' ; '.join(lines)}", lines, script(12, 0.1, OK), defaults=defaults)
    for defaults, lines in (
        (("option httpchk GET /d",), ()),
        (("option httpchk GET /d",), ("option httpchk",)),
        (("option httpchk GET /d",), ("http-check disable-on-404",)),
        (("option httpchk GET /d", "http-check expect status 404"), ("http-check comment x",)),
        (("option httpchk GET /d", "http-check send hdr a b"), ("http-check send hdr c d",)),
        (("option httpchk GET /d", "http-check send hdr a b"), ("option httpchk GET /own",)),
        (("http-check send uri /d",), ("option httpchk",)),
        (("http-check send uri /d", "option httpchk"), ("option tcp-check",)),
        (("option tcp-check", SAYS), ()),
        (("option tcp-check", SAYS), ("option tcp-check",)),
        (("option tcp-check", SAYS), ("option smtpchk", "option tcp-check")),
        (("option tcp-check", SAYS), ("option httpchk GET /own", "option tcp-check")),
        (("option tcp-check", SAYS), ("tcp-check send 12345678901234567890",)),
        (("option tcp-check", SAYS), ("tcp-check comment x",)),
        (("option tcp-check", SAYS), ("option httpchk GET /own",)),
        ((SAYS,), ("option tcp-check",)),
        ((SAYS, "option redis-check"), ("option tcp-check", "tcp-check expect string 200")),
        (("option redis-check",), ("option tcp-check",)),
    )
]
"""What of the rules of defaults holds in a backend."""
