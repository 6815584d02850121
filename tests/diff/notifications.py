"""Plays of what keepalived calls, writes and mails when a state changes: spec §6."""

from __future__ import annotations

from evaluation import HEAD, SURROUNDINGS, Play, instance, script, tracks

MAILED = """global_defs {{
 notification_email {{
  ops@example.org
  night@example.org
 }}
 notification_email_from ka@example.org
 smtp_server 127.0.0.1 {port}
 smtp_connect_timeout 5
 smtp_helo_name lb1.example.org
{more}}}
"""
ALL = "".join(
    f' {kind} "{{own}}/notify.sh group {kind}"\n'
    for kind in ("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop")
)
MEMBER = script("member", "/usr/bin/test ! -s {common}/member", "interval 1")


def mails(more: str = "") -> Play:
    """Two instances in a group, through FAULT and back; instances and group call every kind, and mail."""
    config = HEAD + MAILED.replace("{more}", more) + MEMBER
    members = " group {{\n  VI_1\n  VI_2\n }}\n"
    config += f"vrrp_sync_group G {{{{\n{members}{ALL} smtp_alert\n}}}}\n"
    config += instance("  smtp_alert\n" + tracks("script", "member"))
    config += instance("  smtp_alert\n", name="VI_2", vrid=52, priority=140, interface="eth1")
    steps = (
        ("VRRP_Group(G) Syncing instances to MASTER state", "member", "1"),
        ("VRRP_Group(G) Syncing instances to FAULT state", "member", ""),
    )
    until = ("VRRP_Group(G) Syncing instances to MASTER state|2",)
    return Play(config, steps=steps, until=until, mails=12 if more else 15)


def no_email_faults() -> Play:
    """FAULT calls, but does not mail."""
    return mails(" no_email_faults\n")


def full() -> Play:
    """Nobody reads the FIFO, and it is full: its lines are lost, and nothing else."""
    config = HEAD + MEMBER + instance(tracks("script", "member"))
    steps = (("(VI_1) Entering MASTER STATE", "member", "1"), ("(VI_1) Entering FAULT STATE", "member", ""))
    return Play(config, steps=steps, until=("(VI_1) Entering MASTER STATE|2",), full=True)


def called() -> Play:
    """What a notify program finds around it: environment, ids, umask, limits, descriptors, signals, arguments."""
    text = instance().replace("{own}/notify.sh 'the master'", "{own}/look.sh 'a b' c")
    return Play(HEAD + text, (("look.sh", SURROUNDINGS),), until=("(VI_1) Entering MASTER STATE",), looks=True)


GONE = 'setsid sh -c "while grep -q State:.[^Z] /proc/{pid}/status 2>/dev/null; do sleep 0.05; done; echo gone >> {own}/{name}" &'
"""Outside of the script's group: tells when a process has ended."""
LADDERS = {
    "deaf": ("echo start >> {own}/deaf; trap 'echo TERM >> {own}/deaf' TERM; {gone} while :; do sleep 0.2; done", "$$"),
    "heir": (
        "echo start >> {own}/heir; sh -c \"trap '' TERM; while :; do sleep 0.2; done\" & child=$!; {gone} exec sleep 60",
        "$child",
    ),
    "polite": (
        "echo start >> {own}/polite; trap 'echo TERM >> {own}/polite; exit 0' TERM; {gone} while :; do sleep 0.1; done",
        "$$",
    ),
}
EXPIRED = """n=$(cat {own}/expired.n 2>/dev/null || echo 0); n=$((n+1)); echo $n > {own}/expired.n
trap "echo TERM $n >> {own}/expired" TERM; while :; do sleep 0.2; done"""
"""Ignores SIGTERM, and is due again when its time is over: which run is told to end, and which one is killed."""
WRITTEN = {"deaf": 3, "heir": 2, "polite": 3, "slow": 7, "expired": 3}
"""Lines of each record that are compared: what comes after them is of another run."""


def ladders() -> Play:
    """Which signals reach a run that is too long, and whom else of its group; and runs that meet the next one."""
    config = HEAD + "".join(
        script(name, f"{{own}}/{name}.sh", "interval 30", "timeout 1", "weight 3") for name in LADDERS
    )
    config += script("slow", "{own}/slow.sh", "interval 1", "timeout 10", "weight 3")
    config += script("expired", "{own}/expired.sh", "interval 2", "weight 3")
    config += instance(tracks("script", *WRITTEN))
    programs = tuple(
        (f"{name}.sh", body.replace("{gone}", GONE.replace("{pid}", pid).replace("{name}", name)))
        for name, (body, pid) in LADDERS.items()
    )
    programs += (("slow.sh", "echo start >> {own}/slow; sleep 1.5; echo end >> {own}/slow"), ("expired.sh", EXPIRED))
    until = ("VRRP_Script(deaf) timed_out", "(VI_1) Entering MASTER STATE")
    return Play(config, programs, until=until, luck=True, overlaps=True, written=tuple(WRITTEN.items()))


NOTIFIED = {
    "mails": mails, "no-email-faults": no_email_faults, "full": full, "called": called, "ladders": ladders,
}  # fmt: skip
