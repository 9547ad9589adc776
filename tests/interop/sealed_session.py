"""Sessions of the sealed profile over a socket, both roles. See sealed_peer.py."""
from __future__ import annotations

import argparse
import socket
import time
from typing import Any

from sealed_channels import CHANNEL_TYPES, Channels
from sealed_keys import (ACCESS_DENIED, ALERTS, CLOSE_NOTIFY, DRAINING, POLICY, PeerError, Reader, Schedule, Silent,
                         frame, uint, vector)
from sealed_proto import (ALERT, DATA, EOF, HANDSHAKE, HELLO_LIMIT, KEY_UPDATE, OPEN, OPEN_REPLY, PAYLOAD_LIMIT, PING,
                          PONG, PREFACE, REJECTS, REKEY_DONE, REKEY_INIT, REKEY_REPLY, Half, Suite, open_frame)

FRESH_LIMIT = 2 * 3600.0
NO_SUITE, RETRY = 1, 2
CHANNELS_VERSION = b"\x01"


class Truncated(PeerError):
    alert = None


class NoAnswer(PeerError):
    exit_code, alert = 3, None


class NotAccepted(PeerError):
    exit_code, alert = 4, None


class Alerted(PeerError):
    """The other side ended the session and said why."""
    alert = None

    def __init__(self, code: int) -> None:
        super().__init__(f"alert {ALERTS[code] if code < len(ALERTS) else code}")
        self.exit_code = {ACCESS_DENIED: 5, POLICY: 8}.get(code, 7)


class Rejected(PeerError):
    """A Reject, sent or received."""
    exit_code, alert = 4, None

    def __init__(self, code: int, kexes: list[str], suites: list[str]) -> None:
        super().__init__(f"{REJECTS.get(code, code)}: kex {kexes}, suites {suites}")
        self.code, self.kexes = code, kexes


class Wire:
    """A buffer and deadlines."""

    def __init__(self, sock: socket.socket, args: argparse.Namespace) -> None:
        self.sock, self.split, self.buffer = sock, args.split, bytearray()
        self.outbox: bytearray | None = None  # what waits to be written, where nobody may wait
        sock.settimeout(args.deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        if self.outbox is not None:
            self.outbox += data
            return
        step = self.split or len(data)
        for at in range(0, len(data), step):
            self.sock.sendall(data[at:at + step])

    def read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Truncated("the connection ended without a close_notify")
            self.buffer += data
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def begin_queue(self) -> None:
        """From here on nothing waits: `flush` writes and `fill` reads what goes at once."""
        self.outbox = bytearray()
        self.sock.setblocking(False)

    def end_queue(self, deadline: float) -> None:
        """Writes what is left; back to reads and writes that wait."""
        rest, self.outbox = self.outbox or bytearray(), None
        self.sock.settimeout(deadline)
        if rest:
            self.send(bytes(rest))

    def flush(self) -> None:
        if self.outbox:
            sent = self.sock.send(self.outbox[:self.split or 1 << 20])
            del self.outbox[:sent]

    def fill(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Truncated("the connection ended without a close_notify")
        self.buffer += data

    def has_record(self) -> bool:
        return len(self.buffer) >= 2 and len(self.buffer) >= 2 + int.from_bytes(self.buffer[:2], "big")

    def record(self, half: Half) -> bytes:
        length = int.from_bytes(self.read(2), "big")
        half.check_length(length)
        return self.read(length)

    def hello(self) -> bytes:
        """A preface and the frame behind it."""
        head = self.read(5)
        if head != PREFACE:
            raise Silent(f"{head!r} where the preface is due")
        head += self.read(4)
        size = int.from_bytes(head[6:], "big")
        if len(head) + size > HELLO_LIMIT:
            raise Silent("a hello of more than 4096 bytes")
        return head + self.read(size)


def alert(code: int) -> tuple[int, bytes]:
    return ALERT, uint(2, code)


class Session:
    """Both directions under application keys, and one service."""

    def __init__(self, wire: Wire, schedule: Schedule, kex: Any, suite: Suite, is_client: bool) -> None:
        self.wire, self.schedule, self.kex, self.is_client = wire, schedule, kex, is_client
        client, server = Half(suite, schedule.c_ap), Half(suite, schedule.s_ap)
        self.send, self.receive = (client, server) if is_client else (server, client)
        self.peer: bytes | None = None
        self.by_psk = False
        self.inbox = bytearray()
        self.service: bytes | None = None           # server: what Open asked for
        self.argument = b""
        self.channels: Channels | None = None       # in channel mode
        self.closed_out = False
        self.asked = ""                             # client: the service that Open asked for
        self.opened = self.eof_in = self.closed_in = False
        self.init: tuple[Any, bytes] | None = None  # client: the exchange that waits for its reply
        self.next_c_ap: bytes | None = None         # server: what RekeyDone will switch to
        self.pinged: bytes | None = None
        self.since = time.monotonic()

    # Sending

    def write(self, kind: int, payload: bytes) -> None:
        if self.send.blocks >= self.send.hard // 2 and kind not in (ALERT, KEY_UPDATE) and not self.init:
            self.update_key()
        self.wire.send(self.send.seal(kind, payload))

    def update_key(self) -> None:
        self.write(KEY_UPDATE, uint(4, self.send.epoch + 1))
        self.send.ratchet()

    def begin_exchange(self) -> None:
        """Client only."""
        private, share = self.kex.offer()
        init = frame(REKEY_INIT, vector(2, share))
        self.write(HANDSHAKE, init)
        self.init = private, init

    def fresh_exchange(self) -> None:
        """Client only; data that comes meanwhile is kept."""
        self.begin_exchange()
        while self.init:
            self.step()

    def ping(self, data: bytes) -> None:
        """A ping and its answer; data that comes meanwhile is kept."""
        self.write(PING, data)
        self.pinged = data
        while self.pinged is not None:
            self.step()

    def write_message(self, text: bytes) -> None:
        data = vector(4, text)
        for at in range(0, len(data), PAYLOAD_LIMIT):
            self.write(DATA, data[at:at + PAYLOAD_LIMIT])

    # Receiving

    def step(self) -> None:
        """Takes one record in; tells the peer what is wrong with it."""
        try:
            if time.monotonic() - self.since > FRESH_LIMIT:
                raise PeerError("two hours without a fresh key exchange")
            if self.closed_in:
                raise Truncated("the session has ended")
            self.take(*self.receive.open(self.wire.record(self.receive)))
        except PeerError as error:
            if error.alert is not None:
                self.write(*alert(error.alert))
            raise

    def take(self, kind: int, payload: bytes) -> None:
        reader = Reader(payload)
        if kind == ALERT:
            code = reader.uint(2)
            self.closed_in = code == CLOSE_NOTIFY
            if code not in (CLOSE_NOTIFY, DRAINING):
                raise Alerted(code)
        elif kind == HANDSHAKE:
            self.rekey(payload)
        elif kind == KEY_UPDATE:
            if reader.uint(4) != self.receive.epoch + 1 or self.next_c_ap:
                raise PeerError("a key update out of turn")
            reader.end()
            self.receive.ratchet()
        elif kind == PING and len(payload) <= 64:
            self.write(PONG, payload)
        elif kind == PONG and payload == self.pinged:
            self.pinged = None
        elif kind in CHANNEL_TYPES and self.channels is not None:
            if not self.closed_out:  # behind our close_notify there are no channels
                self.channels.take(kind, payload)
        elif kind == DATA and self.opened and not self.eof_in and self.channels is None:
            self.inbox += payload
        elif kind == EOF and self.opened and not self.eof_in and not payload and self.channels is None:
            self.eof_in = True
        elif kind == OPEN and not self.is_client and self.service is None:
            self.service, self.argument = reader.vector(1), reader.vector(2)
            reader.end()
        elif kind == OPEN_REPLY and self.is_client and not self.opened:
            if reader.uint(1) != 0:
                raise PeerError(f"the service was refused: {reader.rest().decode(errors='replace')}")
            self.opened = True
            if self.asked == "channels":  # at once: a record behind this one may be a channel's
                self.channels = Channels(True, self.write)
        else:
            raise PeerError(f"record {kind:02x} out of turn")

    def rekey(self, data: bytes) -> None:
        if self.is_client:
            if not self.init:
                raise PeerError("a reply to no exchange")
            private, init = self.init
            reader = Reader(open_frame(data, REKEY_REPLY))
            share = reader.vector(2)
            reader.end()
            self.schedule.rekey(init, data, self.kex.finish(private, share))
            self.receive.fresh(self.schedule.s_ap)
            self.write(HANDSHAKE, frame(REKEY_DONE, b""))
            self.send.fresh(self.schedule.c_ap)
            self.init, self.since = None, time.monotonic()
        elif self.next_c_ap is None:
            reader = Reader(open_frame(data, REKEY_INIT))
            share, secret = self.kex.answer(reader.vector(2))
            reader.end()
            reply = frame(REKEY_REPLY, vector(2, share))
            self.write(HANDSHAKE, reply)
            self.schedule.rekey(data, reply, secret)
            self.send.fresh(self.schedule.s_ap)
            self.next_c_ap = self.schedule.c_ap
        else:
            if open_frame(data, REKEY_DONE):
                raise PeerError("a RekeyDone with a body")
            self.receive.fresh(self.next_c_ap)
            self.next_c_ap, self.since = None, time.monotonic()

    def read_message(self, most: int) -> bytes | None:
        """The next message; none once the peer has no more."""
        while True:
            if len(self.inbox) >= 4:
                size = int.from_bytes(self.inbox[:4], "big")
                if size > most:
                    self.write(*alert(POLICY))
                    raise PeerError(f"a message of {size} bytes")
                if len(self.inbox) >= 4 + size:
                    message = bytes(self.inbox[4:4 + size])
                    del self.inbox[:4 + size]
                    return message
            if self.eof_in or self.closed_in:
                if self.inbox:
                    raise Truncated("the end inside a message")
                return None
            self.step()

    # Services and the end

    def open_service(self, name: str, argument: bytes = b"") -> None:
        self.asked = name
        self.write(OPEN, vector(1, name.encode()) + vector(2, argument))
        while not self.opened:
            self.step()

    def accept_service(self, known: list[str]) -> None:
        while self.service is None:
            self.step()
        if self.service.decode("latin-1") not in known:
            self.write(OPEN_REPLY, b"\x01no such service")
            raise PeerError(f"service {self.service!r} is unknown")
        if self.service == b"channels" and self.argument != CHANNELS_VERSION:
            self.write(OPEN_REPLY, b"\x01no such version of channels")
            raise PeerError(f"channels of version {self.argument.hex()}")
        self.write(OPEN_REPLY, b"\0")
        self.opened = True
        if self.service == b"channels":
            self.channels = Channels(False, self.write)

    def close(self) -> None:
        """Client: Eof, drain, close_notify and its answer."""
        self.write(EOF, b"")
        while not self.eof_in and not self.closed_in:
            self.step()
        if self.inbox:
            raise PeerError("data that nobody asked for")
        self.write(*alert(CLOSE_NOTIFY))
        while not self.closed_in:
            self.step()
        self.wire.sock.close()

    def finish(self) -> None:
        """Server: no more from us either; then the close_notify is answered."""
        if not self.closed_in:
            self.write(EOF, b"")
        while not self.closed_in:
            self.step()
        self.write(*alert(CLOSE_NOTIFY))
        self.wire.sock.shutdown(socket.SHUT_WR)

    def say_goodbye(self) -> None:
        """close_notify in channel mode, where either side may be the first; then the end of the connection."""
        self.closed_out = True
        self.write(*alert(CLOSE_NOTIFY))
        while not self.closed_in:
            self.step()
        self.wire.sock.shutdown(socket.SHUT_WR)
