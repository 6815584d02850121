"""Small configurations and whether HAProxy 2.6 takes them: what `tests/config` says of risefall, `tests/diff` says of haproxy.

A row is the lines of one `listen` section, separated by ` ;; `, or whole sections where it begins with `:`.
"""

from __future__ import annotations

TAKEN = r"""
server s 127.0.0.1:80 check port 70000
server s 127.0.0.1:80 check port -1 agent-check agent-port 99999999999
server s 127.0.0.1:80a check
server s 127.0.0.1:080 check
server s 10.0.0.1:80,81 check
server s * check
server s 0.0.0.0 check
server s localhost check
server s -a_b-.c.:80 check init-addr none
server s :80 check port 0
server s 127.0.0.1:-5 check port 80
server s /run/x check
server s unix@/run/x check
server s abns@x check
server s abns@ check
server s unix@ check
server s 127.0.0.1 check addr /run/x
server s 127.0.0.1 check addr 127.0.0.2:5
server s 127.0.0.1:80 check addr :81
server s ipv6@[::1]:80 check
server s :::80 check
server s 127.1:80 check
server s 127.0.0.1:80 weight
server s 127.0.0.1:80 weight 50%
server s 127.0.0.1:80 maxconn
server s 127.0.0.1:80 init-addr
server s 127.0.0.1:80 resolve-opts
server s 127.0.0.1:80 check inter 2sx
server s 127.0.0.1:80 check rise 2x fall 3x
server s 127.0.0.1:80 check rise 4294967298
server s 127.0.0.1:80 source localhost
server s 127.0.0.1:80 source 127.0.0.1:10-20
server s 127.0.0.1:80 source 0.0.0.0 usesrc clientip
server s 127.0.0.1:80 proto none
mode http ;; server s 127.0.0.1:80 proto h2
server s 127.0.0.1:80 check-proto h2
option httpchk ;; server s 127.0.0.1:80 check check-proto h2
server s 127.0.0.1:80 check check-proto none
server s 127.0.0.1:80 proxy-v2-options ssl,crc32c
server-template s 3x 127.0.0.1:80
server-template s 1-3-5 127.0.0.1:80 check
server-template s x-1 127.0.0.1:80
default-server id ;; server s 127.0.0.1:80
source localhost
timeout check 1sx
timeout check 0
option httpchk GET / HTTP/1.1\nHost:x
option httpchk GET / HTTP/1.1\r\nHost:\ x\r\nA(b):\ c
option httpchk GET / HTTP/1.1\r\nX:\ a\r\n\ b
option httpchk GET / HTTP/1.1\r\nContent-Length:\ 3\r\n\r\nabc
option httpchk ;; http-check expect ! ! status 200
option httpchk ;; http-check expect !!status 200
option httpchk ;; http-check expect status 200,
option httpchk ;; http-check set-var-fmt(check.a)
option httpchk ;; http-check set-var-fmt(check.a) a b
option httpchk ;; http-check set-var(check.a) int(1) if TRUE
option httpchk ;; http-check set-var(check.a) str(a), upper
option httpchk ;; http-check set-var(check.a,ifexists) int(1)
option httpchk ;; http-check comment a b
option httpchk ;; http-check connect proto h2
option tcp-check ;; tcp-check connect proto none
option tcp-check ;; tcp-check send 100%
option tcp-check ;; tcp-check connect port 80 ;; server s 127.0.0.1 check
option tcp-check ;; tcp-check connect addr 127.0.0.1:5 ;; server s 127.0.0.1 check
http-check connect ;; http-check send meth GET ;; option httpchk
option smtpchk FOO bar
option mysql-check user a pre-41
server-state-file-name
disabled ;; server s 127.0.0.1 check
disabled ;; server s 127.0.0.1:80 track nosuch/s
:defaults from ;; mode http
:defaults a ;; mode http ;; :backend b from a
:defaults ;; option tcp-check ;; tcp-check connect port 81 ;; :listen b ;; bind :2 ;; option tcp-check ;; server s 127.0.0.1 check
:defaults ;; option tcp-check ;; tcp-check connect port 81 ;; :listen b ;; bind :2 ;; server s 127.0.0.1 check
:resolvers r ;; nameserver a localhost:53 ;; hold valid 5sx
:global ;; grace 5s ;; quiet ;; max-spread-checks 5sx ;; stats timeout 5sx
:.if 0 ;; foo ;; .elif 1 ;; .else ;; foo ;; .endif
"""

REFUSED = r"""
server s 127.0.0.1 check
server s 127.0.0.1:0 check
server s 127.0.0.1:+5 check
server s 127.0.0.1 check addr 127.0.0.2
server s 127.0.0.1:80-81
server s 127.0.0.1:65536
server s 127.0.0.1:a
server s 127.0.0.1:80 check addr 127.0.0.2:+1
server s 127.0.0.1:80 check addr udp@127.0.0.1:5
server s 127.0.0.1:80 source 127.0.0.1:+5
server s 127.0.0.1:80 weight 257
server s 127.0.0.1:80 rise 0
server s 127.0.0.1:80 fall 2147483648
server s 127.0.0.1:80 check inter 0
server s 127.0.0.1:80 check inter 2x
server s 127.0.0.1:80 check inter 25d
server s 127.0.0.1:80 init-addr 127.1
server s 127.0.0.1:80 init-addr 1
server s 127.0.0.1:80 pool-purge-delay x
server s 127.0.0.1:80 proxy-v2-options foo
server s 127.0.0.1:80 proto foo
server s 127.0.0.1:80 proto h2
mode http ;; server s 127.0.0.1:80 proto none
server s 127.0.0.1:80 check check-proto h2
option httpchk ;; server s 127.0.0.1:80 check check-proto none
server s 127.0.0.1:80 agent-check
server s 127.0.0.1:80 agent-check agent-port 5 agent-addr /x
server s a..b:80 init-addr none
server s 127.0.0.1:80 check track s
server s 127.0.0.1:80 usesrc clientip
server s 127.0.0.1:80 id 1 ;; server t 127.0.0.1:80 id 1
server-template s 0 127.0.0.1:80
server-template s 5-3 127.0.0.1:80
server-template s 1-x 127.0.0.1:80
source 127.0.0.1:10-20
source 127.0.0.1 foo
timeout check 1x
timeout check
timeout check 1s 2
timeout connect 25d
mode foo
balance foo
external-check command /bin/true x
id 0
id 1 2
disabled x
disabled ;; server s 127.0.0.1:80 agent-check
disabled ;; server s 127.0.0.1:80 check track nosuch/s
load-server-state-from-file foo
no option log-health-checks x
option httpchk GET / HTTP/1.1\r\nHost
option httpchk GET / HTTP/1.1\r\n:x
option httpchk GET / HTTP/1.1\r\nHost:x\r\nHost:y
option httpchk GET / HTTP/1.1\r\nContent-Length:\ x
option httpchk GET / HTTP/1.1\r\nX:\ 100%
option httpchk GET / HTTP/1.1 host
option httpchk ;; http-check expect status 200-300-400
option httpchk ;; http-check expect status 300-200
option httpchk ;; http-check expect hdr name-lf -m reg x
option httpchk ;; http-check expect on-error "100%" status 200
option httpchk ;; http-check expect string-lf %[
option httpchk ;; http-check expect status-code int(1 status 200
option httpchk ;; http-check send hdr x 50%
option httpchk ;; http-check send uri-lf "% a"
option httpchk ;; http-check set-var(check.a,foo) int(1)
option httpchk ;; http-check set-var(check.a) str(a b)
option httpchk ;; http-check set-var(foo.a) int(1)
option httpchk ;; http-check connect proto none
option tcp-check ;; tcp-check connect proto h2
option tcp-check ;; tcp-check send-lf 100%
option tcp-check ;; tcp-check connect port int(80) ;; server s 127.0.0.1 check
option tcp-check ;; tcp-check connect ;; server s 127.0.0.1 check
option tcp-check ;; tcp-check connect addr unix@/a ;; server s 127.0.0.1 check
:defaults a from nosuch
:backend b from nosuch
:defaults a ;; :defaults a ;; :backend b from a
:backend
:backend a/b
:backend a ;; id 5 ;; :backend b ;; id 5
:defaults ;; tcp-check connect port 81 ;; :listen b ;; bind :2 ;; option tcp-check ;; server s 127.0.0.1 check
:defaults ;; option tcp-check ;; tcp-check connect port 81 ;; :listen b ;; bind :2 ;; option smtpchk ;; option tcp-check ;; server s 127.0.0.1 check
:.if 1
:.endif
:.if foo ;; .endif
:.if 1 ;; .else ;; .elif 1 ;; .endif
:.if 1 ;; .endif x
:.foo
:.notice a b
"""


def rows(table: str) -> list[str]:
    """The rows of one of the two."""
    return table.strip().splitlines()


def config(row: str) -> str:
    """A row as a configuration."""
    if not row.startswith(":"):
        row = f":listen x ;; bind :1 ;; {row}"
    lines = [line[1:] if line.startswith(":") and line[:2] != "::" else f" {line}" for line in row.split(" ;; ")]
    return "\n".join([*lines, "listen last", " bind :1", " server s 127.0.0.1:80 check", ""])
