"""Sockets of the cases: targets of forwards, and what a connection has received."""
import hashlib
import queue
import random
import socket
import struct
import threading

from start import LOOPBACK, Failed, check

# How long a socket may wait for its peer, in seconds.
WAIT = 30
# What a peer says by a reset. A socket that was reset before it could send says the second.
RESET = (ConnectionResetError, BrokenPipeError)
BLOCK = 1 << 20


def blocks(length, seed):
    """Bytes in blocks of 1 MiB, cheap to make and all different."""
    base = bytearray(random.Random(seed).randbytes(BLOCK))
    for number in range(-(-length // BLOCK)):
        base[:8] = number.to_bytes(8, "big")
        yield bytes(memoryview(base)[:length - number * BLOCK])


def data(length, seed=0):
    return b"".join(blocks(length, seed))


def hash_of(pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def connect(port, host=LOOPBACK):
    connection = socket.create_connection((host, port), timeout=WAIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def reset(connection):
    """Closes a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def pieces_of(connection):
    """What arrives, up to a clean end. A reset is an exception."""
    while piece := connection.recv(1 << 18):
        yield piece


def receive(connection):
    """What arrives, and whether the end was clean."""
    received = bytearray()
    try:
        for piece in pieces_of(connection):
            received += piece
    except RESET:
        return bytes(received), False
    return bytes(received), True


def receive_exactly(connection, length):
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(min(length - len(received), 1 << 18))
        if not piece:
            raise Failed(f"the end came after {len(received)} of {length} bytes")
        received += piece
    return bytes(received)


class Target:
    """Listens on loopback. Each connection has a thread that calls `serve` with it and closes it.

    What `serve` returns, or its exception, can be read with `outcome`, in the order of the ends.
    """

    def __init__(self, bench, serve):
        self.serve = serve
        self.outcomes = queue.SimpleQueue()
        self.listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        bench.closing.callback(self.stop)
        threading.Thread(target=self.accept, daemon=True).start()

    def stop(self):
        # Only this wakes up a thread in accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        connection.settimeout(WAIT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                result = self.serve(connection)
            except Exception as error:
                result = error
        self.outcomes.put(result)

    def outcome(self):
        try:
            result = self.outcomes.get(timeout=WAIT)
        except queue.Empty:
            raise Failed(f"the target has not ended within {WAIT} s") from None
        if isinstance(result, Exception):
            raise Failed(f"the target: {type(result).__name__}: {result}")
        return result


def echo(connection):
    """Sends back what arrives, until the end of it."""
    count = 0
    for piece in pieces_of(connection):
        connection.sendall(piece)
        count += len(piece)
    return count


def check_echo(port, sent):
    """Sends bytes through a port to an echo, ends, and compares what comes back."""
    with connect(port) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received, is_clean = receive(connection)
    check(is_clean, f"a reset after {len(received)} of {len(sent)} bytes")
    check(received == sent, f"other bytes: {len(received)} instead of {len(sent)}")
