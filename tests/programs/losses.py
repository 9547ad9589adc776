"""Large transfers, servers that are killed, and a path with delays and cuts."""
import queue
import random
import select
import signal
import socket
import threading
import time

from sockets import RESET, WAIT, Target, blocks, connect, echo, hash_of, pieces_of, receive_exactly, reset
from start import LOOPBACK, Failed, case, check, until

MEGABYTE = 1 << 20


def send_all(connection, length, seed):
    """Sends bytes, and ends this direction. A reset is for the one who reads."""
    try:
        for block in blocks(length, seed):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
    except (*RESET, OSError):
        pass


def duplex(connection, length, seed, other_seed):
    """Sends and receives at the same time. Returns whether what arrived is right."""
    sender = threading.Thread(target=send_all, args=(connection, length, seed), daemon=True)
    sender.start()
    received = hash_of(pieces_of(connection))
    sender.join()
    return received == hash_of(blocks(length, other_seed))


@case(long_seconds=1800)
def a_large_transfer_keeps_every_byte(bench):
    # Half of it in each direction, at the same time.
    length = bench.short_or_long(150 * MEGABYTE, 5 * 1024 * MEGABYTE)
    target = Target(bench, lambda connection: duplex(connection, length, 1, 2))
    _, _, port = bench.forward(target.port)
    with connect(port) as connection:
        check(duplex(connection, length, 2, 1), "other bytes have come to the client")
    check(target.outcome(), "other bytes have come to the target")


def send_for_ever(connection):
    """Sends until nobody is there."""
    try:
        while True:
            for block in blocks(64 * MEGABYTE, 6):
                connection.sendall(block)
    except RESET:
        pass


def take_for_ever(connection):
    try:
        for _ in pieces_of(connection):
            pass
    except RESET:
        pass


def answers(port):
    """Whether an echo answers through a forward."""
    try:
        with connect(port) as connection:
            connection.settimeout(5)
            connection.sendall(b"there?")
            return receive_exactly(connection, 6) == b"there?"
    except (Failed, *RESET, TimeoutError):
        return False


class Upload(threading.Thread):
    """Sends in a thread until the peer ends. One thread does both, because a system tells of a reset only once."""

    def __init__(self, connection):
        super().__init__(daemon=True)
        self.connection, self.count, self.is_clean = connection, 0, None
        self.start()

    def run(self):
        self.connection.setblocking(False)
        watch = select.poll()
        watch.register(self.connection, select.POLLIN | select.POLLOUT)
        try:
            while True:
                events = watch.poll(WAIT * 1000)
                if events[0][1] & ~select.POLLOUT:
                    self.is_clean = self.connection.recv(1) == b""
                    return
                self.count += self.connection.send(bytes(1 << 16))
        except RESET:
            self.is_clean = False


def check_ended_servers(bench, number_of_signal, rounds, lasting):
    """Ends the server in the middle of two transfers and starts it again, some times. Its sessions last so many seconds."""
    targets = [Target(bench, serve) for serve in (send_for_ever, take_for_ever, echo)]
    server = bench.server()
    client = bench.client(server, *(word for target in targets for word in ("-L", f"{LOOPBACK}:0:{LOOPBACK}:{target.port}")))
    dice = random.Random(12)
    for number in range(rounds):
        with connect(client.ports[0]) as down, connect(client.ports[1]) as up:
            upload = Upload(up)
            began = time.monotonic()
            receive_exactly(down, dice.randrange(1, 8 * MEGABYTE))
            until("the upload runs", lambda: upload.count > MEGABYTE)
            # A client waits longer and longer for a server whose sessions end within a second.
            while time.monotonic() - began < lasting:
                receive_exactly(down, MEGABYTE)
            server.end(number_of_signal)
            rest, is_clean = rest_of(down)
            check(not is_clean, f"round {number}: a clean end after {rest} more bytes")
            upload.join(WAIT)
            check(upload.is_clean is False, f"round {number}: the upload has {'a clean' if upload.is_clean else 'no'} end")
        server = bench.server(port=server.port)
        until(f"round {number}: the client forwards again", lambda: answers(client.ports[2]), seconds=5)


@case(long_seconds=1200)
def a_killed_server_is_never_a_clean_end(bench):
    check_ended_servers(bench, signal.SIGKILL, bench.short_or_long(5, 50), bench.short_or_long(1.1, 0))


@case()
def a_stopped_server_is_never_a_clean_end(bench):
    check_ended_servers(bench, signal.SIGTERM, bench.short_or_long(2, 10), 1.1)


@case()
def a_client_is_back_soon_after_an_outage(bench):
    target = Target(bench, echo)
    server, _, port = bench.forward(target.port)
    until("the forward works", lambda: answers(port))
    for number in range(bench.short_or_long(1, 5)):
        server.end(signal.SIGKILL)
        # The length of the outage is what this case is about.
        time.sleep(bench.short_or_long(0.5, 45))
        server = bench.server(port=server.port)
        until(f"outage {number}: the client forwards again", lambda: answers(port), seconds=5)


def rest_of(connection):
    """How many bytes still arrive, and whether the end is clean."""
    count = 0
    try:
        for piece in pieces_of(connection):
            count += len(piece)
    except RESET:
        return count, False
    return count, True


class Relay:
    """Stands between client and server. It delays what it reads, and can cut its connections.

    TCP keeps the order, so what is held back holds up everything behind it, as a lost segment does.
    """

    def __init__(self, bench, port):
        self.server = port
        # Every piece takes `latency` seconds. This share of the pieces takes `delay` seconds more.
        self.latency, self.share, self.delay = 0, 0, 0
        self.dice = random.Random(13)
        # Bytes until all connections are cut, or None.
        self.until_cut = None
        self.lock = threading.Lock()
        self.connections = []
        self.listener = socket.create_server((LOOPBACK, 0))
        self.port = self.listener.getsockname()[1]
        bench.closing.callback(self.stop)
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = connect(self.server)
            pair = (client, server)
            with self.lock:
                self.connections.append(pair)
            for one, other in (pair, pair[::-1]):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = queue.Queue(maxsize=4096)
                threading.Thread(target=self.take, args=(one, line), daemon=True).start()
                threading.Thread(target=self.pass_on, args=(line, other), daemon=True).start()

    def take(self, source, line):
        """Reads pieces, and says when each is to be passed on."""
        try:
            while piece := source.recv(16_384):
                extra = self.delay if self.dice.random() < self.share else 0
                line.put((time.monotonic() + self.latency + extra, piece))
        except OSError:
            pass
        line.put((0, b""))

    def pass_on(self, line, sink):
        try:
            while True:
                due, piece = line.get()
                time.sleep(max(0, due - time.monotonic()))
                if not piece:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(piece)
                self.count(len(piece))
        except OSError:
            return None

    def count(self, length):
        if self.until_cut is not None:
            self.until_cut -= length
            if self.until_cut < 0:
                self.until_cut = None
                self.cut()

    def cut(self):
        """Resets all connections. Returns how many."""
        with self.lock:
            pairs, self.connections = self.connections, []
        for connection in (connection for pair in pairs for connection in pair):
            try:
                # Wakes up the thread that reads.
                connection.shutdown(socket.SHUT_RD)
                reset(connection)
            except OSError:
                pass
        return len(pairs)


def behind_relay(bench, serve):
    """A target, and a client that reaches its server through a relay. Returns target, relay and the port."""
    target = Target(bench, serve)
    relay = Relay(bench, bench.server().port)
    client = bench.client(relay.port, "-L", f"{LOOPBACK}:0:{LOOPBACK}:{target.port}")
    return target, relay, client.ports[0]


@case(seconds=90)
def delays_on_the_path_change_no_byte(bench):
    length = 5 * MEGABYTE
    target, relay, port = behind_relay(bench, lambda connection: duplex(connection, length, 3, 4))
    paths = [(share, delay) for share in (0.001, 0.01, 0.05) for delay in (0.05, 0.2)]
    for number in range(bench.short_or_long(4, 20)):
        # The short run has both delays and all shares.
        relay.share, relay.delay = paths[(number * 3 + number // 2) % len(paths)]
        with connect(port) as connection:
            check(duplex(connection, length, 4, 3), f"transfer {number}: other bytes at the client")
        check(target.outcome(), f"transfer {number}: other bytes at the target")


@case()
def a_path_that_becomes_slower_stays_usable(bench):
    length = 10 * MEGABYTE
    _, relay, port = behind_relay(bench, lambda connection: send_all(connection, length, 5))
    # The first session begins on a fast path. Then a round trip takes 50 ms.
    for latency, most in ((0, 5), (0.025, 3)):
        relay.latency = latency
        began = time.monotonic()
        check(whole_transfer(port, length), "a reset")
        took = time.monotonic() - began
        # A window of 64 KiB takes 8 s, one of 4 MiB less than a second.
        check(took < most, f"10 MiB took {took:.1f} s with {latency * 1000:.0f} ms in each direction")


@case()
def a_cut_path_is_never_a_clean_end(bench):
    length = 10 * MEGABYTE

    def serve(connection):
        send_all(connection, length, 5)
    _, relay, port = behind_relay(bench, serve)
    dice = random.Random(14)
    for number in range(bench.short_or_long(5, 50)):
        relay.until_cut = dice.randrange(length // 2)
        with connect(port) as connection:
            count, is_clean = rest_of(connection)
            check(not is_clean, f"cut {number}: a clean end after {count} of {length} bytes")
        # The client connects again.
        until(f"cut {number}: a whole transfer", lambda: whole_transfer(port, length), seconds=10)
        began = time.monotonic()
        # A client waits longer and longer for a server whose sessions end within a second.
        while time.monotonic() - began < 1.1:
            check(whole_transfer(port, length), f"cut {number}: a reset without a cut")


def whole_transfer(port, length):
    """Whether everything came. Fails for a clean end before that."""
    try:
        with connect(port) as connection:
            digest = hash_of(pieces_of(connection))
    except RESET:
        return False
    check(digest == hash_of(blocks(length, 5)), "a clean end with other bytes")
    return True
