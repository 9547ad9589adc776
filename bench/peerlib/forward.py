"""Forwarded connections: bulk, many at once, round trips, short ones, idle ones, and keystrokes beside bulk."""
import subprocess
import sys
from pathlib import Path

from . import bulk, peers, results, rtt
from .crowd import settled_kib
from .procs import Failed, free_port, until

MB = 1e6
CBC, GCM = "aes256-cbc + hmac-sha2-256-etm", "aes256-gcm"
LABELS = {
    "ours": "vpn -L, AES-256-CBC + HMAC-SHA256",
    "ours-socks": "vpn -D, AES-256-CBC + HMAC-SHA256",
    "ours-3": "vpn -L --carriers 3, the same suite",
    "ours-socks-1": "vpn -D --carriers 1, the same suite",
    "ssh-cbc": f"ssh -L, {CBC}",
    "ssh-gcm": f"ssh -L, {GCM}",
    "ssh-socks-cbc": f"ssh -D, {CBC}",
    "ssh-socks-gcm": f"ssh -D, {GCM}",
    "stunnel-1.3": "stunnel pair, TLS 1.3 AES-256-GCM",
    "socat": "socat pair, TCP",
    "tcp": "raw TCP, the limit",
}
OURS = {"ours", "ours-3", "ours-socks", "ours-socks-1"}
# The fronts of a port. `socks` are proxies, which the client asks for the port.
FRONTS = {
    "ours": peers.vpn_forward(),
    "ours-socks": peers.vpn_forward(socks=True),
    "ours-3": peers.vpn_forward("--carriers", "3"),
    "ours-socks-1": peers.vpn_forward("--carriers", "1", socks=True),
    "ssh-cbc": peers.ssh_forward(peers.SSH_CBC),
    "ssh-gcm": peers.ssh_forward(peers.SSH_GCM),
    "ssh-socks-cbc": peers.ssh_forward(peers.SSH_CBC, socks=True),
    "ssh-socks-gcm": peers.ssh_forward(peers.SSH_GCM, socks=True),
    "stunnel-1.3": peers.stunnel("TLSv1.3"),
    "socat": peers.socat,
    "tcp": peers.plain,
}
# The clients of many and of short connections: SOCKS5 proxies, or listeners with one target.
VIA = ["socks", "listen"]
# A server takes 1,024 channels of a session.
CHANNELS = 1000


def enter(bench, programs, name, port):
    """Starts a front of a port. Returns the arguments to reach the port, and the processes."""
    front, processes = FRONTS[name](bench, programs, port)
    return ["--port", front, *(["--socks", port] if "socks" in name else [])], processes


def cases(bench, names, found, metrics, measure):
    """Measures every peer in each case, such as up and down. The first name is the base of the ratios.

    `found` are the cases. `measure` gets a peer's name and a case.
    """
    rows, skipped = [], {}
    asked = bench.chosen([(name, name) for name in names], ours=names[0])
    for case in found:
        print(f"  {case}:", file=sys.stderr)
        turns = [(name, (name, case)) for name, _ in asked]
        taken, left = bench.take_turns(turns, lambda what: measure(*what))
        skipped.update({f"{name}, {case}": why for name, why in left.items()})
        ours = (names[0], *sorted(OURS - {names[0]}))
        rows += [{**row, "case": case} for row in results.collect(taken, LABELS, ours, metrics)]
    return rows, skipped


def ratio(value):
    """Ours divided by theirs."""
    return f"{1 / value['of_ours']:.2f}" if value.get("of_ours") else "-"


def span(value):
    return [results.number(value[part]) for part in ("median", "min", "max")]


# One connection.

def measure_bulk(bench):
    bulk.check_room(bench)
    transfers = bulk.Bulk(bench)

    def one(name, way):
        how = {"up": transfers.forwarded, "down": transfers.backward}[way]
        return transfers.measure(how(FRONTS[name]))

    names = ["ours", "ssh-cbc", "ssh-gcm", "stunnel-1.3", "tcp"]
    rows, skipped = cases(bench, names, ["up", "down"], bulk.METRICS, one)
    return results.document("forward_bulk", bench, rows, skipped, bytes=bench.options.bytes)


def show_bulk(document):
    head = ["one forwarded connection", "way", "MB/s", "min", "max", "we / it", "CPU s per GB", "and helpers"]
    rows = [[row["label"], row["case"], *span(row["rate"]), ratio(row["rate"]), results.number(row["cpu"]["median"]),
             results.number(row["helpers"]["median"])] for row in document["results"]]
    return head, rows


# Many connections.

def measure_many(bench):
    connections = bench.options.connections
    each = max(bench.options.total // connections, 1)

    def one(name, way):
        with bench.programs() as programs:
            port = free_port()
            programs.serve([bench.load, "target", "--port", port], port)
            to, processes = enter(bench, programs, name, port)
            command = [bench.load, "flood", *to, "--connections", connections, "--bytes", each, "--way", way]
            answer = programs.ask(command, 60 + answer_seconds(each * connections))
            cpu = sum(process.spent() for process in processes)
        return {"rate": answer["bytes"] / answer["seconds"] / MB, "cpu": cpu * 1e9 / answer["bytes"]}

    names = ["ours", "ours-3", "ssh-cbc", "ssh-gcm", "tcp"]
    if bench.options.via == "socks":
        names = ["ours-socks", "ours-socks-1", "ssh-socks-cbc", "ssh-socks-gcm", "tcp"]
    rows, skipped = cases(bench, names, ["up", "down"], ["rate", "cpu"], one)
    return results.document("forward_many", bench, rows, skipped, connections=connections, bytes=each * connections)


def answer_seconds(size):
    """The time for a transfer by the slowest peer."""
    return size / (10 * MB)


def show_many(document):
    head = [f"{document['connections']:,} connections at once", "way", "MB/s", "min", "max", "we / it", "CPU s per GB"]
    rows = [[row["label"], row["case"], *span(row["rate"]), ratio(row["rate"]), results.number(row["cpu"]["median"])]
            for row in document["results"]]
    return head, rows


# Round trips.

def measure_rtt(bench):
    trips = rtt.Rtt(bench)
    names = ["ours", "ssh-cbc", "ssh-gcm", "stunnel-1.3", "socat", "tcp"]
    asked = bench.chosen([(name, trips.echo(FRONTS[name], "--threads")) for name in names])
    taken, skipped = bench.take_turns(asked, trips.measure)
    rows = results.collect(taken, LABELS, ("ours",), rtt.METRICS)
    return results.document("forward_rtt", bench, rows, skipped, count=bench.options.count)


def show_rtt(document):
    head = ["round trip of 16 bytes through a forward", "median µs", "min", "max", "99 %", "we / it"]
    found = sorted(document["results"], key=lambda row: row["p50"]["median"])
    rows = [[row["label"], *span(row["p50"]), results.number(row["p99"]["median"]), ratio(row["p50"])] for row in found]
    return head, rows


# Short connections.

def measure_opens(bench):
    seconds = bench.options.seconds

    def one(name, at_once):
        with bench.programs() as programs:
            port = free_port()
            programs.serve([bench.load, "echo", "--port", port], port)
            to, processes = enter(bench, programs, name, port)
            command = [bench.load, "opens", *to, "--at-once", at_once, "--seconds", seconds]
            answer = programs.ask(command, 60 + 3 * seconds)
            cpu = sum(process.spent() for process in processes)
        return {"per_second": answer["per_second"], "p99": answer["p99"], "cpu": cpu * 1e6 / answer["count"]}

    names = ["ours", "ssh-cbc", "socat", "tcp"]
    if bench.options.via == "socks":
        names = ["ours-socks", "ours", "ssh-socks-cbc", "ssh-cbc", "socat", "tcp"]
    rows, skipped = cases(bench, names, ["1", "32"], ["per_second", "p99", "cpu"], one)
    return results.document("forward_opens", bench, rows, skipped, seconds=seconds)


def show_opens(document):
    head = ["short connections", "at once", "a second", "min", "max", "we / it", "99 % µs", "CPU µs each"]
    rows = [[row["label"], row["case"], *span(row["per_second"]), ratio(row["per_second"]),
             results.number(row["p99"]["median"]), results.number(row["cpu"]["median"])] for row in document["results"]]
    return head, rows


# Idle connections.

def hold(bench, programs, entries, count):
    """Holds this many idle connections in all. Each has had one round trip."""
    for index, entry in enumerate(entries):
        share = count // len(entries) + (index < count % len(entries))
        process = programs.start([bench.load, "hold", "--steps", share, "--port", entry], stdin=subprocess.PIPE, stdout="file")

        def is_held():
            if process.poll() is not None:
                raise Failed(f"{process} ended with {process.code}: {process.words()}")
            return f"held {share}\n" in Path(process.said).read_text()

        until(is_held, f"{share} connections are not held", 60 + share / 20)


def vpn_clients(bench, programs, port):
    """One server, and as many clients as its limit of channels needs."""
    server, middle = bench.serve_vpn(programs, grants="forward")
    entries, clients = [], []
    for _ in range(-(-bench.options.idle // CHANNELS)):
        front = free_port()
        what = ["-L", f"127.0.0.1:{front}:127.0.0.1:{port}", "--no-reconnect"]
        clients.append(programs.serve(bench.vpn_client(middle, *what), front))
        entries.append(front)
    return entries, clients, server


def vpn_carriers(bench, programs, port):
    """One server, and one client with several sessions."""
    carriers = min(16, -(-bench.options.idle // CHANNELS) + 1)
    entry, (client, server) = peers.vpn_forward("--carriers", str(carriers))(bench, programs, port)
    return [entry], [client], server


def ssh_client(bench, programs, port):
    entry, (client, server) = FRONTS["ssh-cbc"](bench, programs, port)
    return [entry], [client], server


IDLE_LABELS = {
    "ours": "vpn -L, a client for each 1,000",
    "ours-carriers": "vpn -L, one client with --carriers",
    "ssh-cbc": f"ssh -L, one client, {CBC}",
}


def measure_idle(bench):
    count = bench.options.idle

    def one(start):
        with bench.programs() as programs:
            port = free_port()
            programs.serve([bench.load, "echo", "--port", port], port)
            entries, clients, server = start(bench, programs, port)
            # The first connection makes what all need.
            hold(bench, programs, entries, len(entries))
            before = [sum(settled_kib(client.pid) for client in clients), settled_kib(server.pid)]
            hold(bench, programs, entries, count)
            after = [sum(settled_kib(client.pid) for client in clients), settled_kib(server.pid)]
        return {"client": (after[0] - before[0]) / count, "server": (after[1] - before[1]) / count}

    found = bench.chosen([("ours", vpn_clients), ("ours-carriers", vpn_carriers), ("ssh-cbc", ssh_client)])
    taken, skipped = bench.take_turns(found, one)
    rows = results.collect(taken, IDLE_LABELS, ("ours", "ours-carriers"), ["client", "server"])
    return results.document("forward_idle", bench, rows, skipped, connections=count)


def show_idle(document):
    head = [f"KiB of an idle connection, of {document['connections']:,}", "client", "min", "max", "we / it",
            "server", "min", "max", "we / it"]
    rows = [[row["label"], *span(row["client"]), ratio(row["client"]), *span(row["server"]), ratio(row["server"])]
            for row in document["results"]]
    return head, rows


# Keystrokes.

KEYS = ["p50", "p99", "max", "bulk"]


def measure_keys(bench):
    seconds = bench.options.seconds

    def one(name, way):
        with bench.programs() as programs:
            port = free_port()
            programs.serve([bench.load, "target", "--port", port], port)
            to, _ = enter(bench, programs, name, port)
            ways = [] if way == "none" else ["--way", way]
            answer = programs.ask([bench.load, "keys", *to, "--seconds", seconds, *ways], 60 + 3 * seconds)
        return {metric: answer[metric] for metric in KEYS}

    names = ["ours", "ssh-cbc", "ssh-gcm", "tcp"]
    rows, skipped = cases(bench, names, ["none", "up", "down"], KEYS, one)
    return results.document("forward_keys", bench, rows, skipped, seconds=seconds)


def show_keys(document):
    head = ["a keystroke beside bulk", "bulk", "median µs", "99 % µs", "99 %, highest", "we / it", "max µs", "bulk MB/s"]
    rows = [[row["label"], row["case"], results.number(row["p50"]["median"]), results.number(row["p99"]["median"]),
             results.number(row["p99"]["max"]), ratio(row["p99"]), results.number(row["max"]["max"]),
             results.number(row["bulk"]["median"])] for row in document["results"]]
    return head, rows


BENCHMARKS = {
    "forward_bulk": (measure_bulk, show_bulk),
    "forward_many": (measure_many, show_many),
    "forward_rtt": (measure_rtt, show_rtt),
    "forward_opens": (measure_opens, show_opens),
    "forward_idle": (measure_idle, show_idle),
    "forward_keys": (measure_keys, show_keys),
}
