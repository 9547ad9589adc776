"""Many channels: memory and descriptors stay flat. A reader that stops holds nobody else up."""
import contextlib
import random
import socket
import threading
import time

from sockets import RESET, WAIT, Target, blocks, check_echo, connect, echo, hash_of, pieces_of, receive, receive_exactly
from start import case, check, descriptors, memory, until

MEGABYTE = 1 << 20
# How much more memory a program may have after the same work again.
SLACK = 4 * MEGABYTE


class Watch:
    """The memory and the descriptors of programs at one moment."""

    def __init__(self, *programs):
        self.before = [(program, memory(program.pid), descriptors(program.pid)) for program in programs]

    def check_flat(self):
        """Fails if there is more now. The last channels may take a moment to end."""
        for program, memory_before, descriptors_before in self.before:
            until(f"{program.name} had {descriptors_before} descriptors and closes the others",
                  lambda program=program, most=descriptors_before: descriptors(program.pid) <= most)
            more = memory(program.pid) - memory_before
            check(more <= SLACK, f"{program.name} has {more >> 10} KiB more than {memory_before >> 10} KiB")


@case()
def channels_one_after_the_other_leave_nothing(bench):
    target = Target(bench, echo)
    server, client, port = bench.forward(target.port)
    dice = random.Random(4)
    watch = None
    for number in range(100 + bench.short_or_long(1_000, 10_000)):
        # After some channels the programs have what they need.
        if number == 100:
            watch = Watch(server, client)
        sent = dice.randbytes(dice.randrange(3000))
        check_echo(port, sent)
        check(target.outcome() == len(sent), f"channel {number}: other bytes at the target")
    watch.check_flat()


@case()
def many_channels_at_once_leave_nothing(bench):
    count = bench.short_or_long(200, 1_000)
    target = Target(bench, echo)
    server, client, port = bench.forward(target.port)

    def wave():
        """Opens all channels, uses all of them twice, and ends them."""
        connections = []
        for number in range(count):
            connections.append(connect(port))
            # The channel is open when something comes back.
            connections[-1].sendall(b"open?")
            check(receive_exactly(connections[-1], 5) == b"open?", f"other bytes in channel {number}")
        for turn in range(2):
            sent = [random.Random(turn * count + number).randbytes(10_000) for number in range(count)]
            for connection, piece in zip(connections, sent):
                connection.sendall(piece)
            for number, (connection, piece) in enumerate(zip(connections, sent)):
                check(receive_exactly(connection, len(piece)) == piece, f"other bytes in channel {number}")
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for number, connection in enumerate(connections):
            check(receive(connection) == (b"", True), f"channel {number} has no clean end")
            connection.close()
        for _ in connections:
            check(target.outcome() == 20_005, "other bytes at the target")

    before = Watch(server, client)
    wave()
    # Memory that was used once may stay. It does not grow by the same work.
    until("all channels are over", lambda: all(descriptors(program.pid) <= most for program, _, most in before.before))
    again = Watch(server, client)
    for _ in range(bench.short_or_long(2, 5)):
        wave()
    again.check_flat()


@case()
def connections_in_a_burst_all_work(bench):
    # Below the limit of 1,024 channels of a session.
    count, good = 1_000, 0
    _, _, port = bench.forward(Target(bench, echo).port)
    connections = []
    for number in range(count):
        with contextlib.suppress(*RESET):
            connection = connect(port)
            connections.append((number, connection))
            connection.sendall(b"%9d" % number)
    for number, connection in connections:
        with connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            good += receive(connection) == (b"%9d" % number, True)
    check(good == count, f"{count - good} of {count} connections did not work")


# What a stopped reader may keep: the window of 4 MiB, and buffers of sockets at both ends.
HELD = 32 * MEGABYTE
# What the other side has to send.
MUCH = 96 * MEGABYTE


def check_stopped_reader(bench, server, client, ports, stopped, sent):
    """`sent()` is how much the sender got rid of; `stopped` ends the stop, and returns a hash of what arrived."""
    watch = Watch(server, client)
    amounts = [-1]

    def is_stopped():
        time.sleep(0.2)
        amounts.append(sent())
        return amounts[-1] > 0 and amounts[-1] == amounts[-2]
    until("the sender has to wait", is_stopped)
    check(amounts[-1] < HELD, f"the sender has sent {amounts[-1] >> 20} MiB to a reader that has stopped")
    times = []
    with connect(ports[1]) as other:
        for number in range(300):
            began = time.monotonic()
            other.sendall(b"%16d" % number)
            check(receive_exactly(other, 16) == b"%16d" % number, "other bytes in the other channel")
            times.append(time.monotonic() - began)
    p99 = sorted(times)[len(times) * 99 // 100]
    check(p99 < 1, f"the other channel's p99 is {p99:.2f} s")
    for program, before, _ in watch.before:
        more = memory(program.pid) - before
        check(more < HELD, f"{program.name} has {more >> 20} MiB more for a reader that has stopped")
    # Buffers of the system may still grow a little.
    check(sent() - amounts[-1] <= 2 * MEGABYTE, "the sender went on")
    check(stopped() == hash_of(blocks(MUCH, 8)), "other bytes arrived after the stop")


class Sending:
    """Sends much in a thread, and counts."""

    def __init__(self, connection):
        self.connection, self.count = connection, 0

    def run(self):
        for block in blocks(MUCH, 8):
            view = memoryview(block)
            while view:
                self.count += (done := self.connection.send(view))
                view = view[done:]
        self.connection.shutdown(socket.SHUT_WR)


@case()
def a_client_that_stops_reading_holds_up_nobody(bench):
    sendings = []

    def serve(connection):
        sendings.append(Sending(connection))
        sendings[0].run()
    server = bench.server()
    client = bench.client(server, *(word for target in (Target(bench, serve), Target(bench, echo))
                                    for word in ("-L", f"127.0.0.1:0:127.0.0.1:{target.port}")))
    with connect(client.ports[0]) as reader:
        until("the target has a connection", lambda: sendings)
        check_stopped_reader(bench, server, client, client.ports, lambda: hash_of(pieces_of(reader)), lambda: sendings[0].count)


@case()
def a_target_that_stops_reading_holds_up_nobody(bench):
    may_read = threading.Event()

    def serve(connection):
        may_read.wait(WAIT)
        return hash_of(pieces_of(connection))
    target = Target(bench, serve)
    server = bench.server()
    client = bench.client(server, *(word for port in (target.port, Target(bench, echo).port)
                                    for word in ("-L", f"127.0.0.1:0:127.0.0.1:{port}")))
    with connect(client.ports[0]) as connection:
        sending = Sending(connection)
        threading.Thread(target=sending.run, daemon=True).start()

        def stopped():
            may_read.set()
            return target.outcome()
        check_stopped_reader(bench, server, client, client.ports, stopped, lambda: sending.count)
