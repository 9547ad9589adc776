"""Many sessions: the memory of idle ones, and the speed of busy ones."""
import subprocess
import sys
import time
from pathlib import Path

from . import peers, results
from .procs import Failed, free_port, resident_kib, until

# The memory counts when it has not changed for this time, in seconds: our server frees buffers after an idle second.
SETTLED = 2.5
MEMORY_LABELS = {
    "ours": "vpn server, message service",
    "stunnel-1.2": "stunnel server, TLS 1.2",
    "stunnel-1.3": "stunnel server, TLS 1.3",
    "spiped": "spiped server",
}
BUSY_LABELS = {
    "ours": "vpn message service",
    "tcp": "raw TCP echo",
    "stunnel-1.2": "stunnel pair, TLS 1.2 AES256-SHA256, echo behind it",
}


def settled_kib(pid):
    """Resident memory in KiB, when it no longer changes."""
    since, last = time.monotonic(), resident_kib(pid)

    def is_settled():
        nonlocal since, last
        now = resident_kib(pid)
        if abs(now - last) > 16:
            since, last = time.monotonic(), now
        return time.monotonic() - since > SETTLED

    until(is_settled, "the memory does not settle")
    return last


class Crowd:
    def __init__(self, bench):
        self.bench, self.load = bench, bench.load

    def ours(self, programs):
        """Our server, and the arguments to reach it."""
        server, port = self.bench.serve_vpn(programs)
        return server, ["--port", port, "--keys", self.bench.folder]

    def echo(self, front):
        def start(programs):
            port = free_port()
            echo = programs.serve([self.load, "echo", "--port", port], port)
            entry, processes = front(self.bench, programs, port)
            return (processes or [echo])[-1], ["--port", entry]
        return start

    def memory(self, start):
        """The server's memory in KiB for each number of sessions, and for one session."""
        steps = self.bench.options.steps
        with self.bench.programs() as programs:
            server, to = start(programs)
            found = {"0": settled_kib(server.pid)}
            command = [self.load, "hold", "--steps", ",".join(str(step) for step in steps), *to]
            hold = programs.start(command, stdin=subprocess.PIPE, stdout="file")
            for step in steps:
                def is_held():
                    if hold.poll() is not None:
                        raise Failed(f"{hold} ended with {hold.code}: {hold.words()}")
                    return f"held {step}\n" in Path(hold.said).read_text()

                until(is_held, f"{step} sessions are not held", 60 + step / 20)
                found[str(step)] = settled_kib(server.pid)
                hold.popen.stdin.write(b"\n")
                hold.popen.stdin.flush()
            hold.wait()
        return {**found, "slope": (found[str(steps[-1])] - found["0"]) / steps[-1]}

    def busy(self, what):
        start, sessions = what
        seconds = self.bench.options.seconds
        with self.bench.programs() as programs:
            _, to = start(programs)
            command = [self.load, "busy", "--sessions", sessions, "--seconds", seconds, *to]
            answer = programs.ask(command, 60 + 3 * seconds + sessions / 20)
        return {metric: answer[metric] for metric in ("per_second", "p50", "p99")}


def memory(bench):
    crowd = Crowd(bench)
    found = bench.chosen([("ours", crowd.ours), ("stunnel-1.2", crowd.echo(peers.stunnel("TLSv1.2"))),
                          ("stunnel-1.3", crowd.echo(peers.stunnel("TLSv1.3"))), ("spiped", crowd.echo(peers.spiped))])
    taken, skipped = bench.take_turns(found, crowd.memory)
    metrics = ["slope", "0", *(str(step) for step in bench.options.steps)]
    rows = results.collect(taken, MEMORY_LABELS, ("ours",), metrics)
    return results.document("memory", bench, rows, skipped, steps=bench.options.steps)


def show_memory(document):
    steps = ["0", *(str(step) for step in document["steps"])]
    head = ["resident memory of the server in MiB, with idle sessions", *(f"{int(step):,}" for step in steps),
            "KiB a session", "we / it"]
    rows = []
    for row in sorted(document["results"], key=lambda row: row["slope"]["median"]):
        slope = row["slope"]
        ratio = f"{1 / slope['of_ours']:.2f}" if "of_ours" in slope else "-"
        rows.append([row["label"], *(results.number(row[step]["median"] / 1024) for step in steps),
                     f"{slope['median']:.1f}", ratio])
    return head, rows


def busy(bench):
    crowd = Crowd(bench)
    found = bench.chosen([("ours", crowd.ours), ("tcp", crowd.echo(peers.plain)),
                          ("stunnel-1.2", crowd.echo(peers.stunnel("TLSv1.2")))])
    rows, skipped = [], {}
    for sessions in bench.options.sessions:
        print(f"  {sessions} sessions", file=sys.stderr)
        taken, left = bench.take_turns([(name, (start, sessions)) for name, start in found], crowd.busy)
        skipped.update({f"{name}, {sessions} sessions": why for name, why in left.items()})
        more = results.collect(taken, BUSY_LABELS, ("ours",), ["per_second", "p50", "p99"])
        rows += [{**row, "sessions": sessions} for row in more]
    return results.document("busy", bench, rows, skipped, seconds=bench.options.seconds)


def show_busy(document):
    head = ["busy sessions", "at once", "round trips a second", "min", "max", "we / it", "median µs", "99 % µs"]
    rows = []
    for row in document["results"]:
        rate = row["per_second"]
        ratio = f"{1 / rate['of_ours']:.2f}" if "of_ours" in rate else "-"
        rows.append([row["label"], f"{row['sessions']:,}", *(results.number(rate[part]) for part in ("median", "min", "max")),
                     ratio, results.number(row["p50"]["median"]), results.number(row["p99"]["median"])])
    return head, rows
