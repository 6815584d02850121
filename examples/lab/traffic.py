"""The two ends of the lab's traffic: `serve NAME ADDRESS` is a backend, `ask ADDRESS` a client that prints who answered.

A line of the client is JSON: [when, node, backend], in nanoseconds of the machine's monotonic clock; null where nobody did.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
EVERY_S = 0.05
PATIENCE_S = 0.3


def serve(name: str, address: str) -> None:
    """Answers every request with its name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, PORT), Handler)
    print("ready", flush=True)
    server.serve_forever()


def ask(address: str) -> None:
    """One request after the other, each on a connection of its own, as new clients come."""
    while True:
        node = backend = None
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            if answer.status == 200:
                node, backend = answer.getheader("X-Node"), answer.read().decode()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        print(json.dumps([time.monotonic_ns(), node, backend]), flush=True)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3])
    else:
        ask(sys.argv[2])
