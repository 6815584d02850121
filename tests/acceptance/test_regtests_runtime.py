"""Stories of HAProxy's own regression tests of the runtime API, as far as they speak of checks and of what a server is."""

from __future__ import annotations

from story_kit import Story


def test_counters_of_servers_without_a_check(story: Story) -> None:
    """1be_40srv_odd_health_checks, 40be_2srv_odd_health_checks: they have the rise and fall of their lines all the same."""
    story.listening("s1", 1)
    text = (
        "backend be\n  default-server rise 5 fall 4\n  server plain {s1}\n  server own {s1} rise 1\n"
        "  server off {s1} disabled\n  server follower {s1} track be/checked\n  server checked {s1} check inter 60s\n"
        "backend other\n  server plain {s1}\n  server off {s1} disabled\n"
    )
    with story.run(text, dialect="2.6") as running:
        rows = running.ask("show servers state").splitlines()[2:]
        counters = {f"{row.split()[1]}/{row.split()[3]}": tuple(row.split()[12:14]) for row in rows if row}
        assert counters == {
            "be/plain": ("5", "0"), "be/own": ("1", "0"), "be/off": ("0", "8"), "be/follower": ("5", "0"),
            "be/checked": (counters["be/checked"][0], "6"), "other/plain": ("2", "0"), "other/off": ("0", "8"),
        }  # fmt: skip
        for command, name, health, state in (
            ("set server be/plain health up", "be/plain", "8", "0"),
            ("set server be/own health down", "be/own", "0", "0"),
            ("disable server other/plain", "other/plain", "0", "0"),
            ("enable server other/plain", "other/plain", "0", "0"),
            ("enable server other/off", "other/off", "0", "8"),
        ):
            assert running.ask(command) == "\n"
            row = running.server(name)
            assert (row["srv_check_health"], row["srv_check_state"]) == (health, state), command


ADDED = [
    ("check send-proxy", b"hi"),
    ("check send-proxy check-send-proxy", b"PROXY TCP4 127.0.0.1"),
    ("check ssl verify none", b"hi"),
    ("check ssl verify none check-ssl", b"\x16\x03\x01"),
]


def test_added_servers_are_checked(story: Story) -> None:
    """cli_add_check_server: their checks begin when they are enabled, and inherit neither TLS nor the PROXY protocol."""
    for number in range(len(ADDED)):
        story.server(f"s{number}", 2, then="stay")
    text = "backend be1\n  option log-health-checks\n  option tcp-check\n  tcp-check send hi\n"
    with story.run(text, dialect="2.6") as running:
        for number, (words, _) in enumerate(ADDED):
            name = f"be1/s{number}"
            line = f"add server {name} {story.words[f's{number}']} {words} inter 200ms rise 1 fall 1"
            assert running.ask(line) == "New server registered.\n\n"
            assert running.ask(f"enable server {name}") == "\n"
            running.said(rf"Server {name} is UP/READY \(leaving forced maintenance\)\.")
            assert running.ask(f"enable health {name}") == "\n"
        for number, (words, expected) in enumerate(ADDED):
            story.wait(lambda number=number: story.got(f"s{number}"), words)
            assert story.got(f"s{number}").startswith(expected), words
        assert running.ask("del server be1/s0").strip() == "Only servers in maintenance mode can be deleted."
        assert (
            running.ask("disable health be1/s0; disable server be1/s0; del server be1/s0").strip() == "Server deleted."
        )


def test_added_servers_that_track(story: Story) -> None:
    """cli_add_track_server: what is tracked cannot be deleted, and what tracks follows until it is gone."""
    story.server("s1", then="stay")
    text = "backend be1\n  server srv {s1} check inter 60s\n  server bare {s1}\n"
    refused = "unable to use be1/bare for tracking as it does not have any check nor agent enabled."
    with story.run(text) as running:
        address = story.words["s1"]
        assert running.ask(f"add server be1/s0 {address} track be1/bare").strip() == refused
        for number in (1, 2):
            assert running.ask(f"add server be1/s{number} {address} track be1/srv").strip() == "New server registered."
            running.ask(f"enable server be1/s{number}")
        refused = "unable to use be1/s1 for tracking as it is a dynamic server."
        assert running.ask(f"add server be1/s3 {address} track be1/s1").strip() == refused
        running.ask("disable server be1/srv")
        for name in ("srv", "s1", "s2"):
            running.said(rf"Server be1/{name} is going DOWN for maintenance")
        assert running.ask("del server be1/s1").strip() == "Server deleted."
        running.ask("enable server be1/srv")
        story.wait(lambda: running.lines().count("Server be1/s2 is UP/READY") == 2, "the follower that is left")
        assert running.lines().count("Server be1/s1 is UP/READY") == 1
