"""Bulk: one transfer over one connection, from a file to a reader that counts."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import peers, results
from .bench import find
from .procs import Failed, descendants, free_port, until

MB, GB = 1e6, 1e9
LABELS = {
    "ours": "vpn pipe, AES-256-CBC + HMAC-SHA256",
    "ours-discard": "vpn to discard, the same suite",
    "ssh-cbc": "ssh pipe, aes256-cbc + hmac-sha2-256-etm",
    "ssh-gcm": "ssh pipe, aes256-gcm",
    "libssl-1.2": "libssl direct, TLS 1.2 AES256-SHA256",
    "libssl-1.3": "libssl direct, TLS 1.3 AES-256-GCM",
    "openssl-1.2": "openssl s_client pipe, TLS 1.2 AES256-SHA256",
    "openssl-1.3": "openssl s_client pipe, TLS 1.3 AES-256-GCM",
    "socat-1.2": "socat OPENSSL pipe, TLS 1.2 AES256-SHA256",
    "stunnel-1.2": "stunnel pair, TLS 1.2 AES256-SHA256",
    "stunnel-1.3": "stunnel pair, TLS 1.3 AES-256-GCM",
    "spiped": "spiped pair, AES-256-CTR + HMAC-SHA256",
    "tcp": "raw TCP, the limit",
}
METRICS = ["rate", "cpu", "helpers"]


class Bulk:
    """The transfers. Each returns MB/s, and processor seconds for each GB.

    `cpu` is the time of the compared programs. `helpers` is the time of our programs that read the file or count,
    if the compared ones do not.
    """

    def __init__(self, bench):
        self.bench, self.folder, self.load = bench, bench.folder, bench.load
        self.bytes = bench.options.bytes
        self.patience = 60 + self.bytes / (10 * MB)
        self.data = self.folder / "data"
        block = os.urandom(1 << 20)
        with open(self.data, "wb") as data:
            for at in range(0, self.bytes, len(block)):
                data.write(block[:self.bytes - at])

    def measure(self, transfer):
        with self.bench.programs() as programs, open(self.data, "rb") as data:
            return transfer(programs, data)

    def outcome(self, counted, processes, helpers):
        if counted["bytes"] != self.bytes:
            raise Failed(f"{counted['bytes']} bytes arrived")
        per_gb = GB / self.bytes
        cpu = sum(process.spent() for process in processes)
        return {"rate": self.bytes / counted["seconds"] / MB, "cpu": cpu * per_gb, "helpers": helpers * per_gb}

    def drain(self, programs, server):
        """Starts a server, and counts its output."""
        reader, writer = os.pipe()
        try:
            drain = programs.start([self.load, "drain", "--bytes", self.bytes], stdin=reader, stdout="file")
            return server(writer), drain
        finally:
            os.close(reader)
            os.close(writer)

    def drained(self, processes, drain):
        drain.wait(self.patience)
        return self.outcome(drain.answer(), processes, drain.cpu)

    def ours(self, programs, data):
        port = []

        def server(out):
            process, at = self.bench.serve_vpn(programs, "pipe", stdin=subprocess.DEVNULL, stdout=out)
            port.append(at)
            return process

        server, drain = self.drain(programs, server)
        client = programs.start(self.bench.vpn_client(port[0], "--pipe"), stdin=data)
        for process in (client, server):
            # A pipe that was cut has no result.
            process.wait(self.patience)
        return self.drained([client, server], drain)

    def ours_discard(self, programs, data):
        server, port = self.bench.serve_vpn(programs, "discard")
        # There is no reader; the time is that of the client process.
        start = time.monotonic()
        client = programs.start(self.bench.vpn_client(port, "--pipe"), stdin=data)
        client.wait(self.patience)
        seconds = time.monotonic() - start
        return self.outcome({"bytes": self.bytes, "seconds": seconds}, [client, server], 0)

    def ssh(self, suite):
        def transfer(programs, data):
            server, port = peers.sshd(self.bench, programs)
            drain = f"'{self.load}' drain --bytes {self.bytes}"
            client = programs.start(peers.ssh(self.bench, port, suite, drain), stdin=data, stdout="file")
            client.wait(self.patience)
            # The time of the session's processes counts after they have been reaped.
            until(lambda: not descendants(server.pid), "sshd still has children")
            counted = client.answer()
            outcome = self.outcome(counted, [client, server], counted["cpu"])
            # The helper was a child of sshd.
            outcome["cpu"] -= outcome["helpers"]
            return outcome
        return transfer

    def forwarded(self, front):
        """A transfer through a forwarder in front of a port."""
        def transfer(programs, data):
            port = free_port()
            sink = programs.serve([self.load, "sink", "--port", port, "--bytes", self.bytes], port, stdout="file")
            entry, processes = front(self.bench, programs, port)
            feed = programs.ask([self.load, "feed", "--port", entry], self.patience, stdin=data)
            sink.wait()
            return self.outcome(sink.answer(), processes, feed["cpu"] + sink.cpu)
        return transfer

    def backward(self, front):
        """The same from behind the forwarder to the client."""
        def transfer(programs, data):
            port = free_port()
            source = programs.serve([self.load, "source", "--port", port], port, stdin=data, stdout="file")
            entry, processes = front(self.bench, programs, port)
            counted = programs.ask([self.load, "fetch", "--port", entry, "--bytes", self.bytes], self.patience)
            source.wait()
            return self.outcome(counted, processes, counted["cpu"] + source.cpu)
        return transfer

    def libssl(self, version):
        def transfer(programs, data):
            pem, port = peers.certificate(self.folder), free_port()
            script = Path(__file__).with_name("tls_end.py")

            def end(role):
                return [sys.executable, script, role, version, port, pem, self.bytes]

            server = programs.serve(end("receive"), port, stdout="file")
            client = programs.start(end("send"), stdin=data)
            client.wait(self.patience)
            server.wait()
            return self.outcome(server.answer(), [client, server], 0)
        return transfer

    def openssl(self, version):
        program = "openssl"
        flags = {"1.2": ["-tls1_2", "-cipher", peers.CBC], "1.3": ["-tls1_3", "-ciphersuites", peers.GCM]}[version]

        def transfer(programs, data):
            path, pem, port = find(program), peers.certificate(self.folder), free_port()
            command = [path, "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", pem, *flags]
            server, drain = self.drain(programs, lambda out: programs.serve(command, port, stdout=out))
            client = programs.start([path, "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", *flags], stdin=data)
            return self.drained([client, server], drain)
        return transfer

    def socat(self, programs, data):
        path, pem, port = find("socat"), peers.certificate(self.folder), free_port()
        # Its usual blocks of 8 KiB would make it slower.
        path = [path, "-u", "-b", 65536]
        suite = f"verify=0,cipher={peers.CBC},openssl-max-proto-version=TLS1.2"
        listen = f"OPENSSL-LISTEN:{port},bind=127.0.0.1,cert={pem},{suite}"
        server, drain = self.drain(programs, lambda out: programs.serve([*path, listen, "STDOUT"], port, stdout=out))
        client = programs.start([*path, "STDIN", f"OPENSSL:127.0.0.1:{port},{suite}"], stdin=data)
        return self.drained([client, server], drain)

    def peers(self):
        return [
            ("ours", self.ours), ("ours-discard", self.ours_discard),
            ("ssh-cbc", self.ssh(peers.SSH_CBC)), ("ssh-gcm", self.ssh(peers.SSH_GCM)),
            ("libssl-1.2", self.libssl("1.2")), ("libssl-1.3", self.libssl("1.3")),
            ("openssl-1.2", self.openssl("1.2")), ("openssl-1.3", self.openssl("1.3")),
            ("socat-1.2", self.socat),
            ("stunnel-1.2", self.forwarded(peers.stunnel("TLSv1.2"))),
            ("stunnel-1.3", self.forwarded(peers.stunnel("TLSv1.3"))),
            ("spiped", self.forwarded(peers.spiped)), ("tcp", self.forwarded(peers.plain)),
        ]


def check_room(bench):
    free = shutil.disk_usage(bench.folder).free
    if free < 2 * bench.options.bytes:
        raise SystemExit(f"peers: {bench.folder} has room for {free / GB:.1f} GB only; set TMPDIR")


def measure(bench):
    check_room(bench)
    bulk = Bulk(bench)
    taken, skipped = bench.take_turns(bench.chosen(bulk.peers()), bulk.measure)
    rows = results.collect(taken, LABELS, ("ours", "ours-discard"), METRICS)
    return results.document("bulk", bench, rows, skipped, bytes=bench.options.bytes)


def show(document):
    """Head and rows of the table."""
    head = ["one connection over loopback", "MB/s", "min", "max", "we / it", "CPU s per GB", "and helpers"]
    rows = []
    for row in sorted(document["results"], key=lambda row: -row["rate"]["median"]):
        rate = row["rate"]
        ratio = f"{1 / rate['of_ours']:.2f}" if "of_ours" in rate else "-"
        rows.append([row["label"], *(results.number(rate[part]) for part in ("median", "min", "max")), ratio,
                     results.number(row["cpu"]["median"]), results.number(row["helpers"]["median"])])
    return head, rows
