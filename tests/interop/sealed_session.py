"""Handshakes and sessions of the sealed profile over a socket, both roles. See sealed_peer.py."""
from __future__ import annotations

import argparse
import hmac
import os
import socket
import time
from typing import Any

from sealed_keys import KEXES, Denied, PeerError, Reader, Schedule, Silent, WrongServer, gate, raw_public, sha256, uint, vector
from sealed_proto import (ACCESS_DENIED, ALERT, ALERTS, CLIENT_AUTH, CLOSE_NOTIFY, DATA, DRAINING, EOF, HANDSHAKE,
                          HELLO_LIMIT, KEY_UPDATE, OPEN, OPEN_REPLY, PAYLOAD_LIMIT, PING, POLICY, PONG, PREFACE, READY,
                          REJECT, REJECTS, REKEY_DONE, REKEY_INIT, REKEY_REPLY, SERVER_AUTH, SERVER_HELLO, Half, Hello,
                          Suite, auth_frame, frame, grease, name_list, names, open_auth, open_frame, parse_server_hello,
                          server_hello)

FRESH_LIMIT = 2 * 3600.0
NO_SUITE, RETRY = 1, 2


class Truncated(PeerError):
    alert = None


class NoAnswer(PeerError):
    exit_code, alert = 3, None


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
        sock.settimeout(args.deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
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
        self.opened = self.eof_in = self.closed_in = False
        self.init: tuple[Any, bytes] | None = None  # client: the exchange that waits for its reply
        self.next_c_ap: bytes | None = None         # server: what RekeyDone will switch to
        self.since = time.monotonic()

    # Sending

    def write(self, kind: int, payload: bytes) -> None:
        if self.send.blocks >= self.send.hard // 2 and kind not in (ALERT, KEY_UPDATE) and not self.init:
            self.update_key()
        self.wire.send(self.send.seal(kind, payload))

    def update_key(self) -> None:
        self.write(KEY_UPDATE, uint(4, self.send.epoch + 1))
        self.send.ratchet()

    def fresh_exchange(self) -> None:
        """Client only; data that comes meanwhile is kept."""
        private, share = self.kex.offer()
        init = frame(REKEY_INIT, vector(2, share))
        self.write(HANDSHAKE, init)
        self.init = private, init
        while self.init:
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
        elif kind == PONG:
            pass
        elif kind == DATA and self.opened and not self.eof_in:
            self.inbox += payload
        elif kind == EOF and self.opened and not self.eof_in and not payload:
            self.eof_in = True
        elif kind == OPEN and not self.is_client and self.service is None:
            self.service = reader.vector(1)
            reader.vector(2)
            reader.end()
        elif kind == OPEN_REPLY and self.is_client and not self.opened:
            if reader.uint(1) != 0:
                raise PeerError(f"the service was refused: {reader.rest().decode(errors='replace')}")
            self.opened = True
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

    def open_service(self, name: str) -> None:
        self.write(OPEN, vector(1, name.encode()) + vector(2, b""))
        while not self.opened:
            self.step()

    def accept_service(self, known: list[str]) -> None:
        while self.service is None:
            self.step()
        if self.service.decode("latin-1") not in known:
            self.write(OPEN_REPLY, b"\x01no such service")
            raise PeerError(f"service {self.service!r} is unknown")
        self.write(OPEN_REPLY, b"\0")
        self.opened = True

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


# The client's handshake

def connect(args: argparse.Namespace) -> Session:
    kex = args.share or args.kex[0]
    try:
        return shake(args, kex)
    except Rejected as reject:
        others = [k for k in args.kex if k.name in reject.kexes]
        if reject.code != RETRY or not others or others[0] is kex:
            raise
        return shake(args, others[0])  # once; a second Reject is final


def shake(args: argparse.Namespace, kex: Any) -> Session:
    psk = args.psk[0] if args.psk else None
    wire = Wire(socket.create_connection((args.host, args.port), args.deadline), args)
    private, share = kex.offer()
    hello = Hello([k.name for k in args.kex], [s.name for s in args.suite], args.kex.index(kex), share,
                  extensions=grease())
    hello.gate = gate(psk, args.server_key, hello.before_gate())
    m1 = hello.build()
    wire.send(m1)
    try:
        m2 = wire.hello()
    except Truncated as error:
        raise NoAnswer("closed without an answer: is the server's key or PSK another one?") from error
    if m2[5] == REJECT:
        raise read_reject(open_frame(m2[5:], REJECT))
    kex_index, suite_index, share = parse_server_hello(open_frame(m2[5:], SERVER_HELLO))
    if kex_index != hello.index or suite_index >= len(args.suite):
        raise PeerError("a choice of what was not offered")
    suite, secret = args.suite[suite_index], kex.finish(private, share)
    schedule = Schedule(psk, secret, sha256(m1, m2))
    ours, theirs = Half(suite, schedule.c_hs), Half(suite, schedule.s_hs)
    try:
        auth = open_server_auth(wire.record(theirs), theirs, (psk, secret, m1 + m2), args.server_key)
    except PeerError as error:
        if error.alert is not None:
            wire.send(ours.seal(*alert(error.alert)))
        raise
    so_far = m1 + m2 + auth
    answer = auth_frame(CLIENT_AUTH, so_far, args.identity, ours.finished())
    wire.send(ours.seal(HANDSHAKE, answer))
    schedule.application(sha256(so_far, answer))
    session = Session(wire, schedule, kex, suite, True)
    kind, data = session.receive.open(wire.record(session.receive))
    if kind == ALERT:
        raise Alerted(Reader(data).uint(2))
    ready = Reader(open_frame(data, READY)) if kind == HANDSHAKE else Reader(b"\xff")
    if ready.uint(1) != 0:
        raise PeerError("the server is not ready")
    ready.pairs()
    return session


def read_reject(body: bytes) -> Rejected:
    reader = Reader(body)
    code = reader.uint(1)
    kexes, suites = (names(reader, 8), names(reader, 32)) if code in (NO_SUITE, RETRY) else ([], [])
    reader.end()
    return Rejected(code, kexes, suites)


def open_server_auth(body: bytes, half: Half, known: tuple[bytes | None, bytes, bytes], expected: bytes | None) -> bytes:
    psk, secret, so_far = known
    try:
        kind, data = half.open(body)
    except Silent:
        if psk is None:
            raise
        # Whether the server goes on without the PSK shows in its keys.
        Half(half.suite, Schedule(None, secret, sha256(so_far)).s_hs).open(body)
        error = Denied("PSK not accepted")
        error.alert = None
        raise error
    if kind != HANDSHAKE:
        raise PeerError(f"record {kind:02x} where ServerAuth is due")
    public, right = open_auth(SERVER_AUTH, so_far, data, half.finished())
    if not right or (public is None and psk is None):
        raise Denied("the server's authentication is wrong")
    if expected is not None and public != expected:
        raise WrongServer("the server has another key")
    return data


# The server's handshake

def accept(wire: Wire, args: argparse.Namespace, authorized: Any) -> Session:
    m1 = wire.hello()
    try:
        hello = Hello.parse(m1)
    except PeerError as error:
        raise Silent(f"malformed hello: {error}") from error
    psk = open_gate(hello, args)
    kex, suite = choose(wire, hello, args)
    try:
        share, secret = kex.answer(hello.share)
    except PeerError as error:
        raise Silent(f"malformed share: {error}") from error
    m2 = server_hello(os.urandom(32), hello.index, hello.suites.index(suite.name), share)
    schedule = Schedule(psk, secret, sha256(m1, m2))
    ours, theirs = Half(suite, schedule.s_hs), Half(suite, schedule.c_hs)
    auth = auth_frame(SERVER_AUTH, m1 + m2, args.identity, ours.finished())
    wire.send(m2 + ours.seal(HANDSHAKE, auth))
    kind, data = theirs.open(wire.record(theirs))
    if kind == ALERT:
        raise Alerted(Reader(data).uint(2))
    schedule.application(sha256(m1, m2, auth, data))
    session = Session(wire, schedule, kex, suite, False)
    try:
        if kind != HANDSHAKE:
            raise PeerError(f"record {kind:02x} where ClientAuth is due")
        session.peer, right = open_auth(CLIENT_AUTH, m1 + m2 + auth, data, theirs.finished())
        session.by_psk = psk is not None
        if not right or (psk is None if session.peer is None else session.peer not in authorized()):
            raise Denied("a client that is not authorized")
    except PeerError as error:
        session.write(*alert(error.alert or 0))
        raise
    parameters = {1: uint(4, 30), 2: uint(4, 1 << 20), 3: b"message"}
    session.write(HANDSHAKE, frame(READY, b"\0" + b"".join(uint(2, t) + vector(2, v) for t, v in parameters.items())))
    return session


def open_gate(hello: Hello, args: argparse.Namespace) -> bytes | None:
    """The PSK that the gate selects."""
    before, public = hello.before_gate(), raw_public(args.identity) if args.identity else None
    matches = [hmac.compare_digest(gate(psk, None, before), hello.gate) for psk in args.psk]
    by_key = public is not None and hmac.compare_digest(gate(None, public, before), hello.gate)
    psk = next((psk for psk, match in zip(args.psk, matches) if match), None)
    if psk is None and ((args.gate == "required" and not by_key) or public is None):
        raise Silent("the gate does not match")
    return psk


def choose(wire: Wire, hello: Hello, args: argparse.Namespace) -> tuple[Any, Suite]:
    """The first kex of the client's that is enabled here; the longest key, small blocks last."""
    enabled = {k.name for k in args.kex}
    kex = next((name for name in hello.kexes if name in enabled), None)
    common = [suite for suite in args.suite if suite.name in hello.suites]
    if kex is not None and common and kex == hello.kexes[hello.index]:
        return KEXES[kex], max(common, key=Suite.rank)
    lists = [k.name for k in args.kex], [s.name for s in args.suite]
    code = RETRY if kex is not None and common else NO_SUITE
    wire.send(PREFACE + frame(REJECT, uint(1, code) + name_list(lists[0]) + name_list(lists[1])))
    raise Rejected(code, *lists)
