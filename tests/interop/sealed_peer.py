#!/usr/bin/env python3
"""An independent peer for the sealed profile, to test the Rust program against.

It was written from the specification and the known answers alone and shares no code with the program. The block
ciphers are pycryptodome's; ML-KEM, X25519 and Ed25519 are those of the package `cryptography`; the groups of RFC 7919
come from their formula, the key schedule from hmac and hashlib.

    sealed_peer.py verify --vectors sealed.json
    sealed_peer.py client --port 4600 --identity id_ed25519 --server-key server.pub --text hello
    sealed_peer.py server --identity id_ed25519 --authorized-clients authorized_clients --sessions 1
    sealed_peer.py forward --port 4600 … --target 127.0.0.1:7 --channels 3 --size 1000000
    sealed_peer.py exec --port 4600 … --name backup --input text
    sealed_peer.py listen --port 4600 … --address 127.0.0.1:0 --accept 2
    sealed_peer.py selftest
    sealed_peer.py record --vectors sealed.json

`forward` sends random data on all channels at once to a target that echoes, and compares. `exec` runs a command of
the server. `listen` echoes on connections to the server. `record` writes the vectors of channels anew.

An identity is a file as ssh-keygen writes it, or its 32 bytes in hexadecimal. The client prints the replies, one a
line; the server prints `PORT <n>` and then one JSON object a line, as `forward`, `exec` and `listen` do. Exit codes are
those of the program; 1 means that a channel was refused, or did not end well.
"""
from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import socket
import sys
import threading
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # noqa: E402

from sealed_channels import FIRST_CREDIT  # noqa: E402
from sealed_clients import Check, Remote, Run, ended  # noqa: E402
from sealed_keys import KEXES, PeerError  # noqa: E402
from sealed_proto import Suite  # noqa: E402
from sealed_handshake import accept, connect  # noqa: E402
from sealed_session import CHANNELS_VERSION, Rejected, Wire  # noqa: E402
from sealed_streams import Loop, Service  # noqa: E402
from sealed_vectors import record  # noqa: E402
from sealed_verify import verify  # noqa: E402

MESSAGE_LIMIT = 1 << 20
PRINTING = threading.Lock()


def emit(event: str, **fields: Any) -> None:
    with PRINTING:
        print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def fingerprint(public: bytes) -> str:
    """As ssh-keygen shows it."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + public
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def reversed_text(text: bytes) -> bytes:
    """By Unicode scalar value; what is not UTF-8, by byte."""
    try:
        return text.decode()[::-1].encode()
    except UnicodeDecodeError:
        return text[::-1]


# Arguments

def identity(text: str) -> Ed25519PrivateKey:
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))
    key = load_ssh_private_key(Path(text).read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{text} is no Ed25519 key")
    return key


def public_keys(path: str) -> list[bytes]:
    """The keys of a .pub file or of lines without options."""
    keys = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        kind, blob = line.split()[:2]
        raw = base64.b64decode(blob, validate=True)
        if kind != "ssh-ed25519" or raw[:19] != b"\0\0\0\x0bssh-ed25519\0\0\0\x20" or len(raw) != 51:
            raise ValueError(f"{path}: expected lines of ssh-ed25519 KEY, without options")
        keys.append(raw[19:])
    return keys


def server_key(text: str) -> bytes | None:
    return None if text == "none" else public_keys(text)[0]


def authorized(args: argparse.Namespace) -> list[bytes]:
    """Read anew for every client."""
    return public_keys(args.authorized_clients) if args.authorized_clients else []


def psk(path: str) -> bytes:
    key = bytes.fromhex(Path(path).read_text(encoding="ascii").strip())
    if len(key) < 32 or not any(key):
        raise ValueError("a PSK has 32 or more bytes, not all of them zero")
    return key


def listed(known: Any) -> Any:
    def parse(text: str) -> list[Any]:
        return [known(name) for name in text.split(",")]
    return parse


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify")
    check.add_argument("--vectors", required=True)
    again = commands.add_parser("record")
    again.add_argument("--vectors", required=True)
    own = commands.add_parser("selftest")
    own.add_argument("--deadline", type=int, default=60, help="seconds for all of it")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--host", default="127.0.0.1")
    both.add_argument("--identity", type=identity)
    both.add_argument("--psk", type=psk, action="append", default=[])
    both.add_argument("--kex", type=listed(KEXES.__getitem__), default=list(KEXES.values()), help="in this order")
    both.add_argument("--suite", "--suites", type=listed(Suite), default=[Suite("aes-256-cbc")], help="in this order")
    both.add_argument("--update-keys", action="store_true", help="a key update after every message of ours")
    both.add_argument("--ping", action="store_true", help="a ping before every message of ours")
    both.add_argument("--split", type=int, default=0, help="write this many bytes at once")
    both.add_argument("--window", type=int, default=FIRST_CREDIT, help="bytes that a channel may have in flight to us")
    both.add_argument("--deadline", type=float, default=20.0, help="seconds for every read and write")
    dialing = argparse.ArgumentParser(add_help=False, parents=[both])
    dialing.add_argument("--port", type=int, required=True)
    dialing.add_argument("--server-key", type=server_key, help="a .pub file, or none for the first contact")
    dialing.add_argument("--share", type=KEXES.__getitem__, help="the kex to send a share for, if not the first")
    channel_arguments(commands, dialing)
    client = commands.add_parser("client", parents=[dialing])
    client.add_argument("--text", dest="texts", action="append", default=[])
    client.add_argument("--text-file", dest="texts", action="append", type=text_of)
    client.add_argument("--fresh-exchange", action="store_true", help="a fresh key exchange between messages")
    client.add_argument("--pipeline", action="store_true", help="send all messages, then read: for short ones")
    server = commands.add_parser("server", parents=[both])
    server.add_argument("--port", type=int, default=0)
    server.add_argument("--authorized-clients")
    server.add_argument("--gate", choices=("optional", "required"), default="optional")
    server.add_argument("--sessions", type=int, default=0, help="end after this many; 0 means never")
    server.add_argument("--target", dest="targets", action="append", default=[], help="permit only these targets")
    server.add_argument("--command", dest="commands", action="append", default=[], help="NAME=PROGRAM ARGUMENTS…")
    return parser.parse_args()


def channel_arguments(commands: Any, dialing: argparse.ArgumentParser) -> None:
    forward = commands.add_parser("forward", parents=[dialing])
    forward.add_argument("--target", required=True, help="something that echoes")
    forward.add_argument("--channels", type=int, default=1)
    forward.add_argument("--size", type=int, default=1 << 20, help="bytes on each channel")
    forward.add_argument("--wait", action="store_true", help="no data before the server's answer")
    forward.add_argument("--fresh-exchange", action="store_true", help="a fresh key exchange on the way")
    execute = commands.add_parser("exec", parents=[dialing])
    execute.add_argument("--name", required=True)
    execute.add_argument("--input", default="", help="the command's standard input")
    listen = commands.add_parser("listen", parents=[dialing])
    listen.add_argument("--address", required=True)
    listen.add_argument("--accept", type=int, default=1, help="end after this many connections")


# Client and server

def run_client(args: argparse.Namespace) -> None:
    session = connect(args)
    session.open_service("message")
    print(f"{session.kex.name}, {session.send.suite.name}", file=sys.stderr, flush=True)

    def say(text: str, last: bool) -> None:
        if args.ping:
            session.ping(text.encode()[:64])
        session.write_message(text.encode())
        if args.update_keys:
            session.update_key()
        if args.fresh_exchange and not last:
            session.fresh_exchange()

    def hear(text: str) -> None:
        reply = session.read_message(MESSAGE_LIMIT)
        if reply != reversed_text(text.encode()):
            raise PeerError(f"{len(reply or b'')} bytes that are not the text reversed")
        print((reply or b"").decode(), flush=True)

    for number, text in enumerate(args.texts, 1):
        say(text, number == len(args.texts))
        if not args.pipeline:
            hear(text)
    for text in args.texts if args.pipeline else []:
        hear(text)
    session.close()
    print(f"epochs {session.send.epoch} and {session.receive.epoch}", file=sys.stderr)


def open_channels(args: argparse.Namespace) -> Loop:
    session = connect(args)
    session.open_service("channels", CHANNELS_VERSION)
    return Loop(session, args)


def say_refused(status: int | None, text: str) -> int:
    emit("refused", status=status, text=text)
    return 1


def run_forward(args: argparse.Namespace) -> int:
    loop = open_channels(args)
    checks = [Check(loop, args.size, args.wait) for _ in range(args.channels)]
    for check in checks:
        loop.channels.open("forward", args.target.encode(), check)
    if args.fresh_exchange:
        loop.session.begin_exchange()
    loop.run(lambda: ended(checks))
    loop.goodbye()
    refused = [check for check in checks if check.status != 0]
    if refused:
        return say_refused(refused[0].status, refused[0].text)
    good = sum(check.is_equal() for check in checks)
    emit("forwarded", channels=len(checks), equal=good, bytes=sum(check.got for check in checks),
         codes=[check.code for check in checks], epochs=[loop.session.send.epoch, loop.session.receive.epoch])
    return 0 if good == len(checks) else 1


def run_exec(args: argparse.Namespace) -> int:
    loop = open_channels(args)
    run = Run(loop, args.input.encode())
    loop.channels.open("exec", args.name.encode(), run)
    loop.run(lambda: ended([run]))
    loop.goodbye()
    if run.status != 0:
        return say_refused(run.status, run.text)
    emit("ended", stdout=run.out.decode(errors="replace"), stderr=run.errors.decode(errors="replace"),
         exit=run.exit and {"signal" if run.exit[0] else "code": run.exit[1]}, close=run.code)
    return 0 if run.exit else 1


def run_listen(args: argparse.Namespace) -> int:
    loop = open_channels(args)
    remote = Remote(loop, args.address)
    loop.run(lambda: remote.answer is not None)
    answer = remote.answer or {"status": None, "text": ""}
    if answer["status"] != 0:
        loop.goodbye()
        return say_refused(answer["status"], answer["text"])
    emit("listening", port=answer["port"])
    loop.run(lambda: len(remote.echoes) >= args.accept and ended(remote.echoes))
    remote.unlisten()
    loop.run(lambda: remote.unlistened is not None)
    loop.goodbye()
    codes = [echo.code for echo in remote.echoes]
    emit("echoed", connections=len(codes), bytes=sum(echo.size for echo in remote.echoes), codes=codes,
         unlisten=remote.unlistened)
    return 0 if not any(codes) else 1


def serve_channels(session: Any, args: argparse.Namespace) -> None:
    loop = Loop(session, args)
    Service(loop)
    loop.run(lambda: False)
    loop.goodbye()


def serve(sock: socket.socket, args: argparse.Namespace) -> None:
    """One connection, from its first byte to the end of its session."""
    session = accept(Wire(sock, args), args, lambda: authorized(args))
    emit("established", kex=session.kex.name, suite=session.send.suite.name, psk=session.by_psk,
         client=fingerprint(session.peer) if session.peer else None)
    session.accept_service(["message", "channels"] if session.peer else ["message"])
    if session.channels:
        serve_channels(session, args)
        return emit("closed", sent=session.send.epoch, received=session.receive.epoch)
    while (text := session.read_message(MESSAGE_LIMIT)) is not None:
        emit("message", text=text.decode(errors="replace"))
        if args.ping:
            session.ping(text[:64])
        session.write_message(reversed_text(text))
        if args.update_keys:
            session.update_key()
    session.finish()
    emit("closed", sent=session.send.epoch, received=session.receive.epoch)


def run_server(args: argparse.Namespace) -> int:
    listener = socket.create_server((args.host, args.port))
    ended: list[bool] = []
    change = threading.Condition()

    def one(sock: socket.socket) -> None:
        result: bool | None = False  # none where all there was is a Reject
        try:
            with sock:
                serve(sock, args)
            result = True
        except Rejected as error:
            result = None
            emit("rejected", reason=str(error))
        except (PeerError, OSError) as error:
            emit("failed", kind=type(error).__name__, reason=str(error))
        finally:
            with change:
                ended.extend([] if result is None else [result])
                change.notify()

    def forever() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    print(f"PORT {listener.getsockname()[1]}", flush=True)
    threading.Thread(target=forever, daemon=True).start()
    with change:
        change.wait_for(lambda: args.sessions and len(ended) >= args.sessions)
        return 0 if all(ended) else 1


def main() -> int:
    try:
        args = arguments()
        if args.command == "verify":
            return verify(args.vectors)
        if args.command == "record":
            return record(args.vectors)
        if args.command == "selftest":
            from sealed_selftest import selftest  # it starts this program
            return selftest(args.deadline)
        others = {"server": run_server, "forward": run_forward, "exec": run_exec, "listen": run_listen}
        if args.command in others:
            return others[args.command](args)
        run_client(args)
        return 0
    except PeerError as error:
        print(f"sealed_peer: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError, KeyError) as error:
        print(f"sealed_peer: {type(error).__name__}: {error}", file=sys.stderr)
        return 3 if isinstance(error, OSError) else 2


if __name__ == "__main__":
    sys.exit(main())
