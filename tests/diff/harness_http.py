"""Scenarios of httpchk: every reply, every expect, every form of the request. Source: spec §3.4, §3.5, §3.8, §3.9."""

from __future__ import annotations

from harness import Scenario, Step, Until
from risefall.engine.play import OK, SILENT, Act, Door, Then, When, http_reply

LOGGED = ("option log-health-checks",)
ONE = "s1 {s1} check inter 200ms rise 1 fall 1"


def raw(reply: bytes, then: Then = Then.STAY, delay_ms: int = 0, gap_ms: int = 0) -> Act:
    """These bytes, and nothing is added to them."""
    return Act(reply, then=then, delay_ms=delay_ms, gap_ms=gap_ms)


def http(status: int, reason: str = "", body: bytes = b"", *headers: str) -> Act:
    return Act(http_reply(status, reason, body, headers))


def verdict(
    name: str, spec: str, *acts: Act, lines: tuple[str, ...] = ("option httpchk",), words: str = ONE
) -> Scenario:
    """One server whose first check ends one way, and the next two the same way."""
    steps = (Step(Until(log="Health check for server")), Step(Until(checks="s1+2")))
    return Scenario(name, spec, (words,), {"s1": acts}, lines=(*LOGGED, *lines), steps=steps)


def expects(name: str, act: Act, *rules: str, spec: str = "3.9") -> Scenario:
    """httpchk with these `http-check expect` rules."""
    return verdict(
        f"expect-{name}", spec, act, lines=("option httpchk GET /", *(f"http-check expect {r}" for r in rules))
    )


def request(name: str, *lines: str, servers: tuple[str, ...] = (ONE,)) -> Scenario:
    """The bytes of the request."""
    return Scenario(
        f"request-{name}",
        "3.8",
        servers,
        {"s1": (OK,)},
        lines=(*LOGGED, *lines),
        steps=(Step(Until(log="Health check", checks="s1+2")),),
        requests=("s1",),
    )


HEAD = b"HTTP/1.1 200 OK\r\n"

REPLIES = [
    verdict(f"reply-{status}", "3.9", http(status, reason))
    for status, reason in [
        (200, "OK"),
        (204, "No Content"),
        (301, "Moved"),
        (399, "Last Good"),
        (400, "Bad Request"),
        (404, "Not Found"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
        (599, "Own Word"),
        (999, "Far Out"),
        (100, "Continue"),
        (101, "Switching Protocols"),
        (199, "Early"),
    ]
] + [
    verdict("reply-100-then-200", "3.9", raw(b"HTTP/1.1 100 Continue\r\n\r\n" + OK.reply)),
    verdict("reply-no-reason-good", "3.9", raw(b"HTTP/1.1 200\r\n\r\n")),
    verdict("reply-no-reason-bad", "3.9", raw(b"HTTP/1.1 503\r\n\r\n")),
    verdict("reply-blank-reason-bad", "3.9", raw(b"HTTP/1.1 503 \r\n\r\n")),
    verdict("reply-http10", "3.9", raw(b"HTTP/1.0 503 Old\r\n\r\n")),
    verdict("reply-http2-word", "3.9", raw(b"HTTP/2.0 200 OK\r\n\r\n")),
    verdict("reply-http09", "3.9", raw(b"hello, this is a page\r\n", Then.FIN)),
    verdict("reply-lower-case", "3.9", raw(b"http/1.1 200 OK\r\n\r\n")),
    verdict("reply-bare-lf", "3.9", raw(b"HTTP/1.1 200 OK\nX: y\n\n")),
    verdict("reply-two-digits", "3.9", raw(b"HTTP/1.1 20 OK\r\n\r\n")),
    verdict("reply-four-digits", "3.9", raw(b"HTTP/1.1 2000 OK\r\n\r\n")),
    verdict("reply-letters-for-status", "3.9", raw(b"HTTP/1.1 abc OK\r\n\r\n")),
    verdict("reply-leading-blank-line", "3.9", raw(b"\r\nHTTP/1.1 200 OK\r\n\r\n")),
    verdict("reply-leading-space", "3.9", raw(b" HTTP/1.1 200 OK\r\n\r\n")),
    verdict("reply-version-10.10", "3.9", raw(b"HTTP/10.10 200 OK\r\n\r\n")),
    verdict("reply-header-without-colon", "3.9", raw(HEAD + b"nonsense\r\n\r\n")),
    verdict("reply-header-with-space", "3.9", raw(HEAD + b"bad name: x\r\n\r\n")),
    verdict("reply-folded-header", "3.9", raw(HEAD + b"X: a\r\n b\r\n\r\n")),
    verdict("reply-nul-in-header", "3.9", raw(HEAD + b"X: a\x00b\r\n\r\n")),
    verdict("reply-nul-in-reason", "3.9", raw(b"HTTP/1.1 503 a\x00b\r\n\r\n")),
    verdict("reply-empty-header-name", "3.9", raw(HEAD + b": x\r\n\r\n")),
    verdict("reply-content-length-garbage", "3.9", raw(HEAD + b"Content-Length: abc\r\n\r\n")),
    verdict("reply-content-length-negative", "3.9", raw(HEAD + b"Content-Length: -1\r\n\r\n")),
    verdict("reply-content-length-twice-same", "3.9", raw(HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n")),
    verdict("reply-content-length-twice-other", "3.9", raw(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
    verdict("reply-transfer-encoding-unknown", "3.9", raw(HEAD + b"Transfer-Encoding: zip\r\n\r\n")),
    # A broken chunk behind a sound head is left out: HAProxy's verdict depends on whether both come in one segment.
    verdict("reply-truncated-body", "3.9", raw(HEAD + b"Content-Length: 5\r\n\r\nab", Then.FIN)),
    verdict("reply-half-head-stay", "3.4", raw(HEAD + b"X: y\r\n")),
    verdict("reply-half-head-fin", "3.9", raw(HEAD + b"X: y\r\n", Then.FIN)),
    verdict("reply-half-status-line-fin", "3.9", raw(b"HTTP/1.", Then.FIN)),
    verdict("reply-status-line-only-fin", "3.9", raw(b"HTTP/1.1 200 OK", Then.FIN)),
    verdict("reply-fin", "3.9", raw(b"", Then.FIN)),
    verdict("reply-fin-before-request", "3.9", Act(b"", When.ACCEPT, Then.FIN)),
    verdict("reply-rst", "3.4", raw(b"", Then.RST)),
    verdict("reply-silence", "3.4", SILENT),
    verdict("reply-before-request", "3.9", Act(OK.reply, When.ACCEPT)),
    verdict("reply-whole-then-fin", "3.9", raw(OK.reply, Then.FIN)),
    verdict("reply-drip", "3.9", raw(b"HTTP/1.1 200 OK\r\n\r\n", gap_ms=5)),
    verdict("reply-drip-too-slow", "3.4", raw(b"HTTP/1.1 200 OK\r\n\r\n", gap_ms=40)),
    verdict("reply-delayed", "2.4", raw(OK.reply, delay_ms=100)),
    verdict("reply-late", "2.3", raw(OK.reply, delay_ms=400)),
    verdict("reply-long-reason", "1.1", raw(b"HTTP/1.1 503 " + b"x" * 300 + b"\r\n\r\n")),
    verdict("reply-quotes-in-reason", "6.2", raw(b'HTTP/1.1 503 say "no" <b>, it\'s\r\n\r\n')),
    verdict("reply-bytes-in-reason", "6.2", raw("HTTP/1.1 503 zu \xe9 \t\x7f\x01 end\r\n\r\n".encode("latin-1"))),
    verdict("reply-utf8-reason", "6.2", raw("HTTP/1.1 503 für später\r\n\r\n".encode())),
    verdict("reply-endless-headers", "3.9", Act(HEAD + b"X-Filler: abcdefghijklmnop\r\n" * 8, endless=True)),
    verdict("reply-endless-garbage", "3.9", Act(b"garbage" * 100, endless=True)),
    verdict("reply-huge-status-line", "3.9", raw(b"HTTP/1.1 503 " + b"y" * 20000 + b"\r\n\r\n")),
    verdict("reply-many-headers", "3.9", raw(HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(99)) + b"\r\n")),
    verdict("reply-too-many-headers", "3.9", raw(HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(120)) + b"\r\n")),
    verdict("reply-big-body", "3.9", http(200, "OK", b"z" * 60000)),
    verdict("reply-204-with-body", "3.9", raw(b"HTTP/1.1 204 No Content\r\n\r\nbody")),
]

BODY = http(200, "OK", b"all is well here")
CHUNKED = raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\nall is\r\n5\r\n well\r\n0\r\n\r\n")
UNTIL_END = raw(HEAD + b"\r\nall is well", Then.FIN)
OPEN_END = raw(HEAD + b"\r\nall is well")
SHORT = raw(HEAD + b"Content-Length: 100\r\n\r\nall is well", Then.FIN)
SHORT_OPEN = raw(HEAD + b"Content-Length: 100\r\n\r\nall is well")
TWO = http(200, "OK", b"", "X-One: alpha, beta ,gamma", "x-one: Delta", "X-Two: Value", "X-Empty:")

EXPECTS = [
    expects("status-same", OK, "status 200"),
    expects("status-other", http(201, "Created"), "status 200"),
    expects("status-range", http(299, "Edge"), "status 200-299"),
    expects("status-range-out", http(300, "Choices"), "status 200-299"),
    expects("status-list", http(207, "Multi"), "status 201,203-210,404"),
    expects("status-list-404", http(404, "Not Found"), "status 201,203-210,404"),
    expects("status-list-out", http(202, "Accepted"), "status 201,203-210,404"),
    expects("status-trailing-comma", OK, "status 200,"),
    expects("status-100", http(100, "Continue"), "status 100"),
    expects("not-status", OK, "! status 200"),
    expects("not-status-passes", http(503, "Busy"), "! status 200-299"),
    expects("not-attached", http(503, "Busy"), "!status 500-599"),
    expects("rstatus", http(204, "No Content"), "rstatus ^20[0-4]"),
    expects("rstatus-out", http(205, "Reset"), "rstatus ^20[0-4]"),
    expects("not-rstatus", http(503, "Busy"), "! rstatus ^5"),
    expects("not-rstatus-passes", OK, "! rstatus ^5"),
    expects("string", BODY, "string well"),
    expects("string-missing", BODY, "string ill"),
    expects("string-case", BODY, "string Well"),
    expects("string-not-in-headers", BODY, "string Content-Length"),
    expects("string-status-ignored", http(503, "Busy", b"well"), "string well"),
    expects("string-no-body", OK, "string well"),
    expects("string-no-body-open", raw(HEAD + b"\r\n"), "string well"),
    expects("not-string", BODY, "! string well"),
    expects("not-string-passes", BODY, "! string ill"),
    expects("not-string-no-body", OK, "! string ill"),
    expects("rstring", BODY, "rstring we[lL]+"),
    expects("rstring-missing", BODY, "rstring ^well"),
    expects("not-rstring", BODY, "! rstring w.ll"),
    expects("not-rstring-passes", BODY, "! rstring ^well"),
    expects("string-chunked", CHUNKED, "string is\\ well"),
    expects("string-chunked-missing", CHUNKED, "string 5"),
    expects("string-until-end", UNTIL_END, "string well"),
    expects("string-until-end-missing", UNTIL_END, "string ill"),
    expects("string-open-end", OPEN_END, "string well"),
    expects("string-open-end-missing", OPEN_END, "string ill"),
    expects("string-truncated", SHORT, "string well"),
    expects("string-truncated-missing", SHORT, "string ill"),
    expects("string-short-open-missing", SHORT_OPEN, "string ill"),
    expects("not-string-open-end", OPEN_END, "! string ill"),
    expects("string-drip", raw(BODY.reply, gap_ms=1), "string well"),
    expects("string-big-body", http(200, "OK", b"z" * 40000 + b"well"), "string well"),
    expects("string-big-body-early", http(200, "OK", b"well" + b"z" * 40000), "string well"),
    expects("min-recv-reached", SHORT_OPEN, "min-recv 5 string ill"),
    expects("min-recv-not-reached", SHORT_OPEN, "min-recv 50 string ill"),
    expects("min-recv-not-reached-fin", SHORT, "min-recv 50 string ill"),
    expects("min-recv-negated", SHORT_OPEN, "min-recv 5 ! string ill"),
    expects("hdr-present", TWO, "hdr name x-two"),
    expects("hdr-absent", TWO, "hdr name x-three"),
    expects("not-hdr-absent", TWO, "! hdr name x-three"),
    expects("not-hdr-present", TWO, "! hdr name x-two"),
    expects("hdr-empty-present", TWO, "hdr name x-empty"),
    expects("hdr-value", TWO, "hdr name x-two value Value"),
    expects("hdr-value-case", TWO, "hdr name X-TWO value value"),
    expects("hdr-comma", TWO, "hdr name x-one value beta"),
    expects("hdr-second-line", TWO, "hdr name x-one value Delta"),
    expects("hdr-whole-line", TWO, 'hdr name x-one value "alpha, beta ,gamma"'),
    expects("fhdr-whole-line", TWO, 'fhdr name x-one value "alpha, beta ,gamma"'),
    expects("fhdr-part", TWO, "fhdr name x-one value beta"),
    expects("hdr-beg", TWO, "hdr name x-two value -m beg Val"),
    expects("hdr-end", TWO, "hdr name x-two value -m end lue"),
    expects("hdr-sub", TWO, "hdr name x-two value -m sub alu"),
    expects("hdr-reg", TWO, "hdr name x-two value -m reg ^V.*e$"),
    expects("hdr-reg-case", TWO, "hdr name x-two value -m reg ^v"),
    expects("hdr-name-beg", TWO, "hdr name -m beg x-t value Value"),
    expects("hdr-name-end", TWO, "hdr name -m end two value Value"),
    expects("hdr-name-sub", TWO, "hdr name -m sub -tw value Value"),
    expects("hdr-name-reg", TWO, "hdr name -m reg X-[a-z]wo value Value"),
    expects("fhdr-sub", TWO, "fhdr name x-one value -m sub beta"),
    expects("fhdr-reg", TWO, "fhdr name x-one value -m reg ^alpha.*gamma$"),
    expects("not-fhdr-sub", TWO, "! fhdr name x-one value -m sub beta"),
    expects("several-all", BODY, "status 200", "string well", "hdr name content-length value 16"),
    expects("several-first-fails", http(500, "Broken", b"well"), "status 200", "string well"),
    expects("several-last-fails", BODY, "status 200", "string ill"),
    expects("comment", http(500, "Broken"), 'comment "my comment" status 200', spec="3.6"),
    expects("comment-string", BODY, 'comment "my comment" string ill', spec="3.6"),
    expects("comment-timeout", SILENT, 'comment "my comment" status 200', spec="3.5"),
    expects("comment-eof", raw(b"", Then.FIN), 'comment "my comment" status 200', spec="3.5"),
    expects("comment-rst", raw(b"", Then.RST), 'comment "my comment" status 200', spec="3.5"),
    expects("ok-status-l6ok", OK, "ok-status L6OK status 200", spec="3.6"),
    expects("ok-status-l4ok", OK, "ok-status L4OK status 200", spec="3.6"),
    expects("ok-status-l7okc", OK, "ok-status L7OKC status 200", spec="1.4"),
    expects("error-status-l4con", http(500, "Broken"), "error-status L4CON status 200"),
    expects("error-status-l6rsp", http(500, "Broken"), "error-status L6RSP status 200"),
    expects("error-status-l7rsp", http(500, "Broken"), "error-status L7RSP status 200"),
    expects("error-status-l7sts", BODY, "error-status L7STS string ill"),
    expects("error-status-l7okc", http(500, "Broken"), "error-status L7OKC status 200", spec="1.4"),
    expects("tout-status-l4tout", SILENT, "tout-status L4TOUT status 200", spec="3.6"),
    expects("tout-status-l6tout", SILENT, "tout-status L6TOUT status 200", spec="3.6"),
    expects("garbage", raw(b"garbage\r\n\r\n", Then.FIN), "status 200"),
]

SEND = "http-check send"
REQUESTS = [
    request("default", "option httpchk"),
    request("uri", "option httpchk /health"),
    request("method-uri", "option httpchk GET /health"),
    request("http10", "option httpchk GET /x HTTP/1.0"),
    request("http11", "option httpchk HEAD /x HTTP/1.1"),
    request("http11-hdr", "option httpchk GET / HTTP/1.1", f'{SEND} hdr Host foo hdr User-Agent "my agent"'),
    request("post-no-body", "option httpchk POST /x HTTP/1.1"),
    request(
        "put-body", "option httpchk", f'{SEND} meth PUT uri /a ver HTTP/1.1 hdr Host foo hdr X 1 hdr X 2 body "he llo"'
    ),
    request("get-body", "option httpchk", f"{SEND} meth GET uri /a body hello"),
    request("delete-options-trace", "option httpchk DELETE /x HTTP/1.1"),
    request("own-words", "option httpchk FOO x BAR"),
    request("http09", "option httpchk HEAD /x HTTP/0.9"),
    request("http20", "option httpchk GET /x HTTP/2.0"),
    request("absolute-uri", "option httpchk GET http://www.example.org/x HTTP/1.1"),
    request("keep-alive-11", "option httpchk GET / HTTP/1.1", f"{SEND} hdr Connection keep-alive"),
    request("keep-alive-10", "option httpchk GET / HTTP/1.0", f"{SEND} hdr Connection keep-alive"),
    request("dropped-headers", "option httpchk", f"{SEND} hdr Content-Length 5 hdr Transfer-Encoding chunked hdr X y"),
    request("send-before-option", f"{SEND} meth GET uri /first hdr A b", "option httpchk HEAD /second"),
    request("send-after-option", "option httpchk HEAD /second", f"{SEND} meth GET uri /first hdr A b"),
    request("send-part", "option httpchk HEAD /second HTTP/1.1", f"{SEND} uri /first"),
    request("old-trick", "option httpchk GET / HTTP/1.1\\r\\nHost:\\ www\\r\\nX-Two:\\ b"),
    request("send-state", "option httpchk", "http-check send-state"),
    request("send-state-hdr", "option httpchk POST /", f"{SEND} hdr A b body hello", "http-check send-state"),
    request("ipv6", "option httpchk GET /six"),
    request("unix", "option httpchk GET /unix"),
]
REQUESTS[-2] = Scenario(**{f: getattr(REQUESTS[-2], f) for f in Scenario.__struct_fields__} | {"hosts": {"s1": "::1"}})
REQUESTS[-1] = Scenario(**{f: getattr(REQUESTS[-1], f) for f in Scenario.__struct_fields__} | {"hosts": {"s1": "unix"}})

CONNECTS = [
    Scenario(
        "connect-refused",
        "3.4 3.5",
        (ONE,),
        {"s1": (OK,)},
        doors={"s1": Door.REFUSE},
        steps=(Step(Until(log="is DOWN")),),
    ),
    Scenario(
        "connect-refused-tcp",
        "3.4 3.5",
        (ONE,),
        {"s1": (OK,)},
        lines=LOGGED,
        doors={"s1": Door.REFUSE},
        steps=(Step(Until(log="is DOWN")),),
    ),
    Scenario(
        "connect-tcp",
        "2.7 3.3",
        (ONE,),
        {"s1": (SILENT,)},
        lines=LOGGED,
        steps=(Step(Until(log="Health check"), doors={"s1": Door.REFUSE}), Step(Until(log="is DOWN"))),
    ),
    Scenario(
        "connect-deaf",
        "2.3 3.4",
        (ONE,),
        {"s1": (OK,)},
        doors={"s1": Door.DEAF},
        steps=(Step(Until(log="is DOWN")),),
        timed=True,
    ),
    Scenario(
        "connect-unix-refused",
        "3.5",
        (ONE,),
        {"s1": (OK,)},
        hosts={"s1": "unix"},
        doors={"s1": Door.REFUSE},
        steps=(Step(Until(log="is DOWN")),),
    ),
    Scenario(
        "connect-ipv6-refused",
        "3.5",
        (ONE,),
        {"s1": (OK,)},
        hosts={"s1": "::1"},
        doors={"s1": Door.REFUSE},
        steps=(Step(Until(log="is DOWN")),),
    ),
]


def inherits(
    name: str, *lines: str, act: Act = OK, defaults: tuple[str, ...] = ("option httpchk GET /inherited",)
) -> Scenario:
    """A backend with these lines under defaults with those."""
    return Scenario(
        f"inherit-{name}",
        "3.2 trap 11",
        (ONE,),
        {"s1": (act,)},
        lines=(*LOGGED, *lines),
        defaults=defaults,
        steps=(Step(Until(log="Health check for server")), Step(Until(checks="s1+2"))),
        requests=("s1",),
    )


DEFAULTS = [
    inherits("all"),
    inherits("own-expect", "http-check expect status 200"),
    inherits("own-expect-fin", "http-check expect status 200", act=Act(b"", When.ACCEPT, Then.FIN)),
    inherits("own-send", "http-check send meth GET uri /own"),
    inherits("own-option", "option httpchk HEAD /own"),
    inherits("disable-on-404", "http-check disable-on-404", act=http(404, "Not Found")),
    inherits("send-state", "http-check send-state"),
    inherits(
        "rules",
        defaults=("option httpchk GET /d", "http-check send hdr A b", "http-check expect status 404"),
        act=http(404, "Not Found"),
    ),
    inherits("404-from-defaults", act=http(404, "Not Found"), defaults=("option httpchk", "http-check disable-on-404")),
    inherits("server-words", defaults=("option httpchk GET /d", "default-server inter 1h rise 7 fall 7")),
]

HTTP = [*REPLIES, *EXPECTS, *REQUESTS, *CONNECTS, *DEFAULTS]
