"""Round trips of 16 bytes, one after the other, in one connection."""
import shlex

from . import peers, results
from .procs import free_port

LABELS = {
    "ours": "vpn message service, a client with the library",
    "ours-cli": "vpn message service, `vpn client -q` through pipes",
    "tcp": "raw TCP echo, a thread that blocks",
    "tcp-tasks": "raw TCP echo, a task of tokio",
    "stunnel-1.2": "stunnel pair, TLS 1.2 AES256-SHA256, echo behind it",
    "stunnel-1.3": "stunnel pair, TLS 1.3 AES-256-GCM, echo behind it",
    "spiped": "spiped pair, echo behind it",
    "ssh-cbc": "ssh pipe to cat, aes256-cbc + hmac-sha2-256-etm",
    "ssh-gcm": "ssh pipe to cat, aes256-gcm",
}
METRICS = ["p50", "p99"]


class Rtt:
    """The measurements. Each returns the median and the 99th percentile of one connection's round trips, in µs."""

    def __init__(self, bench):
        self.bench, self.load = bench, bench.load
        self.count = bench.options.count
        self.patience = 60 + self.count / 500

    def measure(self, how):
        with self.bench.programs() as programs:
            answer = how(programs)
        return {metric: answer[metric] for metric in METRICS}

    def ask(self, programs, *to):
        return programs.ask([self.load, "rtt", "--count", self.count, *to], self.patience)

    def echo(self, front, *flags):
        def how(programs):
            port = free_port()
            programs.serve([self.load, "echo", "--port", port, *flags], port)
            entry, _ = front(self.bench, programs, port)
            return self.ask(programs, "tcp", "--port", entry)
        return how

    def ours(self, programs):
        _, port = self.bench.serve_vpn(programs)
        return self.ask(programs, "sealed", "--port", port, "--keys", self.bench.folder)

    def ours_cli(self, programs):
        _, port = self.bench.serve_vpn(programs)
        return self.ask(programs, "run", "--", *self.bench.vpn_client(port, "-q"))

    def ssh(self, suite):
        def how(programs):
            _, port = peers.sshd(self.bench, programs)
            return self.ask(programs, "run", "--", *peers.ssh(self.bench, port, suite, shlex.quote("cat")))
        return how

    def peers(self):
        return [
            ("ours", self.ours), ("ours-cli", self.ours_cli),
            ("tcp", self.echo(peers.plain, "--threads")), ("tcp-tasks", self.echo(peers.plain)),
            ("stunnel-1.2", self.echo(peers.stunnel("TLSv1.2"), "--threads")),
            ("stunnel-1.3", self.echo(peers.stunnel("TLSv1.3"), "--threads")),
            ("spiped", self.echo(peers.spiped, "--threads")),
            ("ssh-cbc", self.ssh(peers.SSH_CBC)), ("ssh-gcm", self.ssh(peers.SSH_GCM)),
        ]


def measure(bench):
    rtt = Rtt(bench)
    taken, skipped = bench.take_turns(bench.chosen(rtt.peers()), rtt.measure)
    rows = results.collect(taken, LABELS, ("ours", "ours-cli"), METRICS)
    return results.document("rtt", bench, rows, skipped, count=bench.options.count)


def show(document):
    head = ["round trip of 16 bytes", "median µs", "min", "max", "99 %", "we / it"]
    rows = []
    for row in sorted(document["results"], key=lambda row: row["p50"]["median"]):
        p50 = row["p50"]
        ratio = f"{1 / p50['of_ours']:.2f}" if "of_ours" in p50 else "-"
        rows.append([row["label"], *(results.number(p50[part]) for part in ("median", "min", "max")),
                     results.number(row["p99"]["median"]), ratio])
    return head, rows
