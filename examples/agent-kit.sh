# Sourced by the run scripts of the agent's examples: free ports, an agent, a HAProxy, and what is seen there.
# Needs haproxy and python3. Installs risefall into .venv, unless RISEFALL says what to run.
set -euo pipefail
if [ -z "${RISEFALL-}" ]; then
    (cd ../.. && . .ci/setup-env && pip install -q .)
    RISEFALL=$(cd ../.. && pwd)/.venv/bin/risefall
fi
work=$(mktemp -d)
chmod 755 "$work"
undo=()
finish() {
    for each in "${undo[@]-}"; do eval "$each" >/dev/null 2>&1 || true; done
    kill $(jobs -p) 2>/dev/null || true
    wait || true
    rm -rf "$work"
}
trap finish EXIT

until_says() { # FILE PATTERN: what the file says there, within twenty seconds
    for _ in $(seq 200); do
        grep -m1 -E "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "not within twenty seconds: $2" >&2
    cat "$1" >&2
    return 1
}
free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
agent() { # NAME FILE: an agent on a free port, which is then in $port; its control socket is $work/NAME.sock
    RISEFALL_AGENT_SOCKET=$work/$1.sock $RISEFALL agent -f "$2" --listen 127.0.0.1:0 2>"$work/$1.told" &
    agent_pid=$!
    port=$(until_says "$work/$1.told" '^answering on' | sed 's/.*://')
}
start_haproxy() {
    SOCKETS=$work haproxy -q -db -f haproxy.cfg &
    until [ -S "$work/admin.sock" ]; do sleep 0.05; done
}
reaches() { # BACKEND/SERVER PATTERN: until its row in `ctl show` is so
    for _ in $(seq 200); do
        $RISEFALL ctl --socket "$work/admin.sock" show servers >"$work/seen"
        grep -qE "^$1 +$2" "$work/seen" && return
        sleep 0.1
    done
    echo "$1 is not '$2' within twenty seconds:" >&2
    cat "$work/seen" >&2
    return 1
}
table() { # TITLE
    echo "--- $1"
    $RISEFALL ctl --socket "$work/admin.sock" show servers
}
