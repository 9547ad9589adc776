#!/usr/bin/env python3
"""An independent peer for the classic protocol, to test the Rust program against.

It was written from the specification and the known answers alone and shares no code with the program. The ciphers
are pycryptodome's and the key exchange is the package `diffiehellman` (group 18, 640 + 64 bit exponents), as in the
Python programs found in the field. Output is one JSON object a line; the server prints `PORT <n>` before them.

    classic_peer.py server --cipher AES:128,192,256 --cipher DES3:192 --once
    classic_peer.py client --port 4600 --cipher AES:256 --cipher DES3:192 --message hello
    classic_peer.py verify --vectors classic.json
"""
from __future__ import annotations

import argparse
import json
import re
import socket
import statistics
import sys
import threading
import time
from dataclasses import replace
from typing import Callable, List, Tuple

sys.dont_write_bytecode = True

from classic_proto import (BAD_HMAC, CHOSEN, DIALECTS, EOL, NO_CIPHER, SIZES, TAG, BadHmac,  # noqa: E402
                           Channel, Dialect, DiffieHellman, PeerError, build_chosen, build_proposal, key_exchange,
                           key_iv, parse_chosen, parse_dhmke, parse_proposal, select, shared_secret, shown)

HANDSHAKE_LIMIT, MESSAGE_LIMIT, REPLY_SILENCE = 4096, 65536, 0.5


# The connection: a buffer and deadlines

class Wire:
    def __init__(self, sock: socket.socket, args: argparse.Namespace) -> None:
        self.sock, self.args, self.buffer = sock, args, bytearray()
        self.eof = self.line_ends = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        step = self.args.slice or len(data) or 1
        self.sock.settimeout(self.args.deadline)
        for at in range(0, len(data), step):
            self.sock.sendall(data[at:at + step])
            if self.args.slice_pause and at + step < len(data):
                time.sleep(self.args.slice_pause)

    def fill(self, wait: float) -> bool:
        """Waits for bytes or the end of the stream; False means silence."""
        if self.eof:
            return True
        self.sock.settimeout(max(wait, 0.001))
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            return False
        self.buffer += data
        self.eof = not data
        return True

    def drain(self, wait: float) -> None:
        """Reads to the end of the stream, for a limited time."""
        until = time.monotonic() + wait
        while not self.eof and time.monotonic() < until:
            self.fill(until - time.monotonic())

    def handshake_message(self, head: str, last: str, until: float, line_end: str,
                          complete: Callable[[bytes], bool] = lambda raw: False) -> bytes:
        """One handshake message: up to a line end, or complete by itself, or `last` and silence behind it.

        Where line ends are required, or the peer sent one before, only a line end will do; but a peer that says
        something else altogether (a refusal) is heard out until it is silent.
        """
        buffer = self.buffer
        while True:
            while buffer[:1] in (b"\n", b"\r"):
                del buffer[:1]
            if b"\n" in buffer:
                raw = bytes(buffer[:buffer.index(b"\n") + 1])
                del buffer[:len(raw)]
                self.line_ends = True
                return raw
            raw = bytes(buffer)
            foreign = raw[:len(head)] != head.encode()[:len(raw)]
            by_line = (self.line_ends or line_end != "none") and not foreign
            if raw and (self.eof or (not by_line and complete(raw))):
                break
            if self.eof:
                raise PeerError(f"the peer closed where {head} was expected")
            if len(raw) > HANDSHAKE_LIMIT:
                raise PeerError(f"more than {HANDSHAKE_LIMIT} bytes where {head} was expected")
            left = until - time.monotonic()
            if left <= 0:
                raise PeerError(f"deadline: {head} was expected, got {raw[:80]!r}")
            if not self.fill(min(left, self.args.quiet) if raw else left) and raw:
                if foreign or (not by_line and re.search(last, raw[-8:].decode(errors="replace"))):
                    break
        buffer.clear()
        return raw

    def dhmke(self, dh: DiffieHellman, dialect: Dialect, until: float) -> int:
        most = len(str(dh.prime))

        def complete(raw: bytes) -> bool:
            digits = raw.partition(b":")[2].strip(b" ")
            if len(digits) > most:
                raise PeerError(f"a number of more than {most} digits")
            return digits.isdigit() and len(digits) >= most - 1 and 10 * int(digits) >= dh.prime
        raw = self.handshake_message("DHMKE:", r"[0-9][ ]*\Z", until, dialect.line_end, complete)
        complete(raw.rstrip(b"\r\n"))
        return parse_dhmke(raw)


Events = Callable[..., None]
PRINTING = threading.Lock()


def emitter(**always: Any) -> Events:
    def emit(event: str, **fields: Any) -> None:
        with PRINTING:
            print(json.dumps({"event": event, **fields, **always}, ensure_ascii=False), flush=True)
    return emit


def reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PeerError) else f"{type(error).__name__}: {error}"


# Server

def serve_session(wire: Wire, args: argparse.Namespace, dialect: Dialect, emit: Events) -> None:
    start = time.monotonic()
    until, end = start + args.secure_deadline, EOL[dialect.line_end]
    raw = wire.handshake_message("ProposedCiphers:", r"\][ ]*\Z", until, dialect.line_end)
    choice = select(args.cipher, parse_proposal(raw))
    if choice is None:
        raise PeerError(NO_CIPHER)
    wire.send(build_chosen(choice, dialect.separator).encode() + end)
    emit("chosen", cipher=choice[0], bits=choice[1])
    dh = key_exchange(args.residue)
    number = wire.dhmke(dh, dialect, until)
    dh.generate_public_key()
    shared_key = shared_secret(dh, number)
    wire.send(f"DHMKE:{dh.public_key}".encode() + end)  # after its own computation, as in the capture
    channel = Channel(choice[0], *key_iv(shared_key, choice), dialect)
    emit("established", handshake_seconds=round(time.monotonic() - start, 4))
    until = time.monotonic() + args.deadline
    while True:
        text = channel.take(wire.buffer)
        if text is not None:
            emit("message", text=text)
            wire.send(dialect.reply_to(text))
            until = time.monotonic() + args.deadline
        elif wire.eof and not wire.buffer:
            return
        elif len(wire.buffer) > MESSAGE_LIMIT + TAG:
            raise PeerError(f"a message of more than {MESSAGE_LIMIT} bytes")
        else:
            left = until - time.monotonic()
            tagged = channel.ends_in_tag(wire.buffer)
            if wire.eof or left <= 0:
                raise BadHmac(BAD_HMAC) if tagged else PeerError(
                    f"{'the end' if wire.eof else 'deadline'} with {len(wire.buffer)} bytes of a message")
            if not wire.fill(min(left, args.quiet) if tagged else left) and tagged:
                raise BadHmac(BAD_HMAC)


def serve(args: argparse.Namespace, dialect: Dialect) -> int:
    threads: List[threading.Thread] = []
    failed: List[int] = []

    def run(sock: socket.socket, number: int) -> None:
        emit = emitter(session=number)
        with sock:
            wire = Wire(sock, args)
            try:
                serve_session(wire, args, dialect, emit)
                emit("closed")
            except (PeerError, OSError) as error:
                failed.append(number)
                emit("error", error=reason(error))
                if isinstance(error, BadHmac) or (isinstance(error, PeerError) and dialect.name == "spec"):
                    try:
                        wire.send(reason(error).encode() + EOL[dialect.line_end])
                        sock.shutdown(socket.SHUT_WR)
                        wire.drain(1)  # closing on unread bytes would reset the connection and lose the text
                    except OSError:
                        pass

    with socket.create_server((args.host, args.port)) as listener:
        print(f"PORT {listener.getsockname()[1]}", flush=True)
        listener.settimeout(args.accept_deadline)
        while not args.sessions or len(threads) < args.sessions:
            try:
                sock, _ = listener.accept()
            except socket.timeout:
                emitter()("error", error="deadline: no client came")
                return 1
            threads.append(threading.Thread(target=run, args=(sock, len(threads) + 1), daemon=True))
            threads[-1].start()
    for thread in threads:
        thread.join()
    return 1 if failed else 0


# Client

def converse(wire: Wire, args: argparse.Namespace, dialect: Dialect, emit: Events) -> float:
    start = time.monotonic()
    until, end = start + args.secure_deadline, EOL[dialect.line_end]
    wire.send(build_proposal(args.cipher).encode() + end)
    offered = {(name, bits) for name, sizes in args.cipher for bits in sizes}

    def complete(raw: bytes) -> bool:  # offered, and no offered size goes on after these digits
        found = CHOSEN.fullmatch(raw.decode(errors="replace"))
        sizes = [str(b) for n, b in offered if found and n == found[1] and str(b).startswith(found[2])]
        return bool(found) and sizes == [found[2]]
    choice = parse_chosen(wire.handshake_message("ChosenCipher:", r"[0-9][ ]*\Z", until, dialect.line_end, complete))
    emit("chosen", cipher=choice[0], bits=choice[1])
    if choice not in offered:
        raise PeerError(f"the server chose {choice[0]} {choice[1]}, which was not offered")
    dh = key_exchange(args.residue)
    dh.generate_public_key()
    wire.send(f"DHMKE:{dh.public_key}".encode() + end)
    shared_key = shared_secret(dh, wire.dhmke(dh, dialect, until))
    channel = Channel(choice[0], *key_iv(shared_key, choice), dialect)
    seconds = time.monotonic() - start
    emit("established", handshake_seconds=round(seconds, 4))
    for text in args.message:
        wire.send(channel.seal(text))
        expected = dialect.reply_to(dialect.as_read(text))
        until = time.monotonic() + args.deadline
        while expected and wire.buffer != expected and not wire.eof:
            left = until - time.monotonic()
            if not wire.fill(min(left, REPLY_SILENCE) if wire.buffer else left):
                break
        if not expected:
            continue
        raw = bytes(wire.buffer)
        wire.buffer.clear()
        if not raw:
            raise PeerError("the server closed instead of a reply" if wire.eof else "deadline: no reply")
        emit("reply", text=shown(raw), raw_hex=raw.hex(), as_in_dialect=raw == expected)
        if shown(raw) != shown(expected):
            raise PeerError(f"expected the reply {shown(expected)!r}, got {shown(raw)!r}")
    wire.sock.shutdown(socket.SHUT_WR)
    wire.drain(args.close_wait)
    if wire.buffer:
        raise PeerError(f"unexpected bytes at the end: {bytes(wire.buffer)[:80]!r}")
    emit("closed", by_server=wire.eof)
    return seconds


def call(args: argparse.Namespace, dialect: Dialect) -> int:
    times: List[float] = []
    emit = emitter()
    for _ in range(args.repeat):
        try:
            with socket.create_connection((args.host, args.port), args.deadline) as sock:
                times.append(converse(Wire(sock, args), args, dialect, emit))
        except (PeerError, OSError) as error:
            emit("error", error=reason(error))
            return 1
    if args.repeat > 1:
        emit("timing", handshakes=len(times), median_seconds=round(statistics.median(times), 4),
             min_seconds=round(min(times), 4), max_seconds=round(max(times), 4))
    return 0


def cipher(value: str) -> Tuple[str, List[int]]:
    name, _, sizes = value.partition(":")
    try:
        return name, [int(bits) for bits in sizes.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME:BITS[,BITS...], got {value!r}") from None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="an independent peer for the classic protocol")
    commands = parser.add_subparsers(dest="command", required=True)
    peer = argparse.ArgumentParser(add_help=False)
    peer.add_argument("--host", default="127.0.0.1")
    peer.add_argument("--cipher", action="append", type=cipher, required=True, metavar="NAME:BITS,...")
    peer.add_argument("--dialect", choices=sorted(DIALECTS), default="spec")
    peer.add_argument("--separator", help="in ChosenCipher")
    peer.add_argument("--mac", choices=["per-message", "cumulative"])
    peer.add_argument("--cbc", choices=["chain", "restart"])
    peer.add_argument("--reply", choices=["plain", "prefixed", "filled"])
    peer.add_argument("--line-end", choices=sorted(EOL))
    peer.add_argument("--deadline", type=float, default=30, help="seconds, for every single wait")
    peer.add_argument("--secure-deadline", type=float, help="seconds, for the handshake (default: --deadline)")
    peer.add_argument("--quiet", type=float, default=0.2, help="seconds of silence that end a message without line end")
    peer.add_argument("--residue", choices=["euler", "jacobi"], default="euler", help="how public values are checked")
    peer.add_argument("--slice", type=int, default=0, metavar="N", help="send in pieces of N bytes")
    peer.add_argument("--slice-pause", type=float, default=0, help="seconds between pieces")
    server = commands.add_parser("server", parents=[peer])
    server.add_argument("--port", type=int, default=0)
    server.add_argument("--sessions", type=int, default=0, metavar="N", help="end after N (default: serve on)")
    server.add_argument("--once", dest="sessions", action="store_const", const=1)
    server.add_argument("--accept-deadline", type=float, default=300, help="seconds; ends a server nobody calls")
    client = commands.add_parser("client", parents=[peer])
    client.add_argument("--port", type=int, default=4600)
    client.add_argument("--message", action="append", default=[], metavar="TEXT")
    client.add_argument("--repeat", type=int, default=1, metavar="N", help="N sessions one after the other, timed")
    client.add_argument("--close-wait", type=float, default=2, help="seconds to wait for the server to close too")
    commands.add_parser("verify").add_argument("--vectors", required=True)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.command == "verify":
        from classic_verify import verify
        return verify(args.vectors)
    args.secure_deadline = args.secure_deadline or args.deadline
    fields = {name: getattr(args, name) for name in ("separator", "mac", "cbc", "reply", "line_end")}
    dialect = replace(DIALECTS[args.dialect], **{name: value for name, value in fields.items() if value is not None})
    if args.command == "server":
        wrong = [f"{name} {bits}" for name, sizes in args.cipher for bits in sizes if bits not in SIZES.get(name, ())]
        if wrong:
            emitter()("error", error=f"unknown cipher: {', '.join(wrong)}")
            return 2
        return serve(args, dialect)
    return call(args, dialect)


if __name__ == "__main__":
    sys.exit(main())
