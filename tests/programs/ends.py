"""Half-closes and resets after every kind of length: a reset never becomes a clean end, a clean end never loses bytes."""
import socket
import threading

from sockets import RESET, WAIT, Target, connect, data, receive, receive_exactly, reset
from start import Failed, case, check

# Around nothing, a record, the first window, and more than a window.
LENGTHS = (0, 1, 16_379, 16_380, 16_381, 65_535, 65_536, 65_537, 1 << 20, 3_000_000)
# What the other direction carries.
ANSWER = data(300_000, 99)


class Plan:
    """What the target does with each connection, in the order of the connections. The cases have one at a time."""

    def __init__(self, bench):
        self.serve = None
        self.target = Target(bench, lambda connection: self.serve(connection))
        _, _, self.port = bench.forward(self.target.port)

    def connect(self, serve):
        self.serve = serve
        return connect(self.port)


def is_beginning(received, sent, whole):
    """Fails unless what arrived is what was sent, up to some point or the whole of it."""
    check(sent[:len(received)] == received, f"other bytes: {len(received)} of {len(sent)}")
    check(not whole or len(received) == len(sent), f"{len(received)} of {len(sent)} bytes have arrived")


def check_reset(result, sent, who):
    """`result` is what `receive` returned to somebody whose peer has reset."""
    received, is_clean = result
    check(not is_clean, f"{who} saw a clean end after {len(received)} of {len(sent)} bytes, not a reset")
    is_beginning(received, sent, whole=False)


def check_clean(result, sent, who):
    received, is_clean = result
    check(is_clean, f"{who} saw a reset after {len(received)} of {len(sent)} bytes, not a clean end")
    is_beginning(received, sent, whole=True)


def for_all_lengths(bench, exchange, lengths=LENGTHS):
    """Calls `exchange(plan, bytes)` for each length, several times: a race is not lost each time."""
    plan = Plan(bench)
    for turn in range(bench.short_or_long(3, 50)):
        for length in lengths:
            try:
                exchange(plan, data(length, length))
            except (Failed, OSError) as error:
                raise Failed(f"length {length}, turn {turn}: {type(error).__name__} {error}") from None


@case()
def a_client_ends_its_direction_and_reads_the_rest(bench):
    def exchange(plan, sent):
        def serve(connection):
            result = receive(connection)
            connection.sendall(ANSWER)
            return result
        with plan.connect(serve) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            check_clean(receive(connection), ANSWER, "the client")
        check_clean(plan.target.outcome(), sent, "the target")
    for_all_lengths(bench, exchange)


@case()
def a_target_ends_its_direction_and_reads_the_rest(bench):
    def exchange(plan, sent):
        def serve(connection):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return receive(connection)
        with plan.connect(serve) as connection:
            check_clean(receive(connection), sent, "the client")
            connection.sendall(ANSWER)
        check_clean(plan.target.outcome(), ANSWER, "the target")
    for_all_lengths(bench, exchange)


@case()
def both_end_at_the_same_time(bench):
    def exchange(plan, sent):
        def serve(connection):
            sender = threading.Thread(target=finish, args=(connection, sent), daemon=True)
            sender.start()
            result = receive(connection)
            sender.join()
            return result

        def finish(connection, what):
            connection.sendall(what)
            connection.shutdown(socket.SHUT_WR)
        with plan.connect(serve) as connection:
            sender = threading.Thread(target=finish, args=(connection, sent), daemon=True)
            sender.start()
            check_clean(receive(connection), sent, "the client")
            sender.join()
        check_clean(plan.target.outcome(), sent, "the target")
    for_all_lengths(bench, exchange)


@case()
def a_client_resets_after_some_bytes(bench):
    def exchange(plan, sent):
        has_begun = threading.Event()

        def serve(connection):
            has_begun.set()
            return receive(connection)
        connection = plan.connect(serve)
        # Before that, a reset may end the request, and the target hears of nothing.
        check(has_begun.wait(WAIT), "the target has no connection")
        connection.sendall(sent)
        reset(connection)
        check_reset(plan.target.outcome(), sent, "the target")
    for_all_lengths(bench, exchange)


@case()
def a_target_resets_after_some_bytes(bench):
    def exchange(plan, sent):
        def serve(connection):
            # Otherwise the reset may come before the client has noticed its connection.
            receive_exactly(connection, 1)
            connection.sendall(sent)
            reset(connection)
        with plan.connect(serve) as connection:
            connection.sendall(b"x")
            check_reset(receive(connection), sent, "the client")
        plan.target.outcome()
    for_all_lengths(bench, exchange)


@case()
def a_target_resets_after_some_bytes_that_it_received(bench):
    def exchange(plan, sent):
        def serve(connection):
            # One more byte: without any, the reset may come before the client has noticed its connection.
            receive_exactly(connection, 1 + len(sent))
            reset(connection)
        with plan.connect(serve) as connection:
            connection.sendall(b"x" + sent)
            check_reset(receive(connection), b"", "the client")
        plan.target.outcome()
    for_all_lengths(bench, exchange)


@case()
def a_target_that_closes_without_reading_is_a_reset(bench):
    def exchange(plan, sent):
        may_close = threading.Event()

        def serve(connection):
            # One byte says that the others are on their way.
            receive_exactly(connection, 1)
            may_close.wait(10)
            # Now bytes wait unread, so the system sends a reset.
            connection.recv(1, socket.MSG_PEEK)
        with plan.connect(serve) as connection:
            connection.sendall(b"x" + sent)
            may_close.set()
            check_reset(receive(connection), b"", "the client")
        plan.target.outcome()
    for_all_lengths(bench, exchange, [length for length in LENGTHS if length])


@case()
def a_client_resets_in_the_middle_of_an_answer(bench):
    def exchange(plan, sent):
        def serve(connection):
            # Much more than every buffer on the way, so the target notices while it sends.
            try:
                while True:
                    connection.sendall(sent + ANSWER)
            except RESET:
                return True
        connection = plan.connect(serve)
        # At least one byte: before that, a reset may end the request, and the target hears of nothing.
        receive_exactly(connection, max(1, len(sent)))
        reset(connection)
        check(plan.target.outcome(), "the target has sent everything")
    for_all_lengths(bench, exchange)


@case()
def a_reset_follows_a_half_close(bench):
    def exchange(plan, sent):
        # First the target has ended its direction, and the client resets.
        def end_and_receive(connection):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return receive(connection)
        connection = plan.connect(end_and_receive)
        check_clean(receive(connection), sent, "the client")
        connection.sendall(ANSWER)
        reset(connection)
        check_reset(plan.target.outcome(), ANSWER, "the target")

        # Then the client has ended its direction, and the target resets.
        def receive_and_reset(connection):
            result = receive(connection)
            connection.sendall(ANSWER)
            reset(connection)
            return result
        with plan.connect(receive_and_reset) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            check_reset(receive(connection), ANSWER, "the client")
        check_clean(plan.target.outcome(), sent, "the target")
    for_all_lengths(bench, exchange)


@case()
def a_target_that_refuses_is_a_reset(bench):
    refusing = socket.socket()
    refusing.bind(("127.0.0.1", 0))
    bench.closing.callback(refusing.close)
    _, _, port = bench.forward(refusing.getsockname()[1])
    for length in LENGTHS:
        result, is_clean = b"", False
        try:
            with connect(port) as connection:
                connection.sendall(data(length))
                result, is_clean = receive(connection)
        except RESET:
            pass
        check(not is_clean, f"length {length}: a clean end for a target that refuses")
        check(result == b"", f"length {length}: {len(result)} bytes from nowhere")
