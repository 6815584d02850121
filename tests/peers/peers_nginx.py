"""nginx: plain, with TLS and certificates that are sound, expired or another's, with HTTP/2, behind PROXY headers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from peers_kit import Peer, program

PORTS = {
    "http": "",
    "https": "ssl",
    "https-expired": "ssl",
    "https-other": "ssl",
    "https-client": "ssl",
    "h2": "ssl http2",
    "h2c": "http2",
    "proxy": "proxy_protocol",
    "proxy-tls": "ssl proxy_protocol",
}
CERTIFICATES = {"https-expired": "expired", "https-other": "other"}
LOCATIONS = """
        location / { return 200 "fine\\n"; }
        location = /down { return 503 "down\\n"; }
        location = /gone { return 404; }
        location = /moved { return 301 /; }
        location = /secret { auth_basic "peers"; auth_basic_user_file passwords; }
        location = /from { return 200 "from $proxy_protocol_addr to $proxy_protocol_server_port\\n"; }
        location = /protocol { return 200 "$server_protocol over $ssl_protocol alpn $ssl_alpn_protocol\\n"; }
        location = /name { return 200 "asked for $ssl_server_name, host $host\\n"; }
        location = /who { return 200 "client $ssl_client_verify\\n"; }
"""
MAIN = """
daemon off;
worker_processes 1;
user {user};
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 5s;
    {temporary}
    ssl_session_cache off;
    {servers}
}}
"""


def certificates(folder: Path) -> Path:
    """A CA, a stranger's CA, and certificates of the first: sound and expired for localhost, one for another name."""
    path, pki = program("openssl"), folder / "pki"
    pki.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run([path, *words], cwd=pki, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj", f"/CN={name}"
        )
    for name, host, days in (
        ("sound", "localhost", "30"),
        ("expired", "localhost", "-1"),
        ("other", "other.example", "30"),
    ):
        (pki / f"{name}.names").write_text(f"subjectAltName=DNS:{host}")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", days, "-extfile", f"{name}.names", "-out", f"{name}.crt",
        )  # fmt: skip
        (pki / f"{name}.pem").write_text((pki / f"{name}.crt").read_text() + (pki / f"{name}.key").read_text())
    return pki


def server_block(name: str, port: int, pki: Path) -> str:
    """One port of nginx."""
    words = PORTS[name]
    lines = [f"listen 127.0.0.1:{port} {words};"]
    if "ssl" in words:
        pem = pki / f"{CERTIFICATES.get(name, 'sound')}.pem"
        lines += [f"ssl_certificate {pem};", f"ssl_certificate_key {pem};"]
    if name == "https-client":
        lines += ["ssl_verify_client on;", f"ssl_client_certificate {pki}/ca.pem;"]
    return "server {\n        " + "\n        ".join(lines) + LOCATIONS + "    }\n"


def nginx(folder: Path, pki: Path) -> Peer:
    """One nginx with all the ports."""
    path = program("nginx")
    peer = Peer("nginx", folder, tuple(PORTS), hello=b"GET / HTTP/1.0\r\n\r\n", answer=rb"HTTP/1\.1 200 ")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = MAIN.format(
        user="root" if peer.folder.owner() == "root" else peer.folder.owner(),
        temporary=" ".join(f"{kind}_temp_path {kind};" for kind in kinds),
        servers="".join(server_block(name, port, pki) for name, port in peer.ports.items()),
    )
    (peer.folder / "nginx.conf").write_text(text)
    (peer.folder / "passwords").write_text("")
    peer.argv = [path, "-p", f"{peer.folder}/", "-c", f"{peer.folder}/nginx.conf", "-e", "error.log"]
    return peer
