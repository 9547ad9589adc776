"""`sealed_peer.py selftest`: the peer's channels against themselves, over loopback and in both roles."""
from __future__ import annotations

import argparse
import base64
import contextlib
import faulthandler
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealed_channels import End, pack
from sealed_handshake import connect
from sealed_keys import KEXES, raw_public
from sealed_proto import DATA, EOF, Suite
from sealed_session import CHANNELS_VERSION, Alerted, Session, Truncated

PEER = str(Path(__file__).with_name("sealed_peer.py"))
SEEDS = {"server": "02" * 32, "client": "01" * 32}


class Wrong(Exception):
    """What the test is there to find."""


def expect(what: str, got: Any, expected: Any) -> None:
    if got != expected:
        shown = [text if len(text) < 300 else f"{text[:140]} … {text[-140:]}" for text in (repr(got), repr(expected))]
        raise Wrong(f"{what}: {shown[0]}, expected {shown[1]}")


# Targets

def answering(answer: Callable[[socket.socket], None]) -> str:
    """A target with this answer; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def forever() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    def one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            answer(sock)

    threading.Thread(target=forever, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def late_echo(sock: socket.socket) -> None:
    """Answers only behind the end of what it gets."""
    data = bytearray()
    while more := sock.recv(65536):
        data += more
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def reset(sock: socket.socket) -> None:
    sock.recv(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


# Both programs

class World:
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.echo, self.late, self.reset = answering(echo), answering(late_echo), answering(reset)
        for side, seed in SEEDS.items():
            raw = raw_public(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))
            blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + raw).decode()
            self.path(side).write_text(f"ssh-ed25519 {blob} {side}\n", encoding="ascii")

    def path(self, side: str) -> Path:
        return self.folder / f"{side}.pub"

    @contextlib.contextmanager
    def server(self, *more: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        command = [sys.executable, PEER, "server", "--identity", SEEDS["server"],
                   "--authorized-clients", str(self.path("client")), *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            port = int(process.stdout.readline().split()[1])
            # Nobody reads its events, which are few.
            try:
                yield port, process
            finally:
                process.kill()

    def dial(self, command: str, port: int, *more: str) -> subprocess.Popen[str]:
        start = [sys.executable, PEER, command, "--port", str(port), "--identity", SEEDS["client"],
                 "--server-key", str(self.path("server")), *more]
        return subprocess.Popen(start, stdout=subprocess.PIPE, text=True)

    def client(self, command: str, port: int, *more: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the last event."""
        with self.dial(command, port, *more) as process:
            lines = process.communicate()[0].splitlines()
            return process.returncode, json.loads(lines[-1]) if lines else {}

    def session(self, port: int) -> Session:
        """A session of our own in channel mode, to break the rules in."""
        identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEEDS["client"]))
        server = raw_public(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEEDS["server"])))
        hybrid = [KEXES["x25519-mlkem768"]]
        args = argparse.Namespace(host="127.0.0.1", port=port, identity=identity, psk=[], kex=hybrid, share=None,
                                  split=0, suite=[Suite("aes-256-cbc")], server_key=server, deadline=20.0)
        session = connect(args)
        session.open_service("channels", CHANNELS_VERSION)
        return session


# Tests

def forwards(world: World) -> None:
    runs = [("default", [], [], world.echo, 1_000_000), ("half-close", [], [], world.late, 300_000),
            ("tiny windows", ["--window", "1000"], ["--window", "700"], world.echo, 150_000),
            ("windows of one byte", ["--window", "1"], ["--window", "1"], world.late, 2_000),
            ("large windows", ["--window", "1000000"], ["--window", "1000000"], world.echo, 3_000_000),
            ("nothing to say", [], [], world.late, 0),
            ("pieces and new keys", ["--split", "999", "--update-keys"],
             ["--fresh-exchange", "--update-keys", "--wait"], world.echo, 200_000)]
    for what, at_server, at_client, target, size in runs:
        with world.server(*at_server) as (port, _):
            arguments = ["--target", target, "--channels", "3", "--size", str(size), *at_client]
            code, event = world.client("forward", port, *arguments)
            found = {key: event.get(key) for key in ("channels", "equal", "bytes", "codes")}
            expect(what, (code, found), (0, {"channels": 3, "equal": 3, "bytes": 3 * size, "codes": [0, 0, 0]}))


def refusals(world: World) -> None:
    with world.server("--target", "no.such.name.invalid:1", "--target", "nonsense", "--target", world.echo,
                      "--target", (closed := nobody())) as (port, _):
        for target, status in ((closed, 2), ("127.0.0.1:1", 1), ("nonsense", 4), ("no.such.name.invalid:1", 4)):
            code, event = world.client("forward", port, "--target", target, "--channels", "2", "--size", "100000")
            expect(f"forward to {target}", (code, event["event"], event["status"]), (1, "refused", status))
        code, event = world.client("exec", port, "--name", "none")
        expect("exec of nothing", (code, event["status"]), (1, 4))


def resets(world: World) -> None:
    with world.server() as (port, process):
        code, event = world.client("forward", port, "--target", world.reset, "--size", "5000000")
        expect("a target that resets", (code, event["codes"]), (1, [1]))
        # The other way: a target sees the client's reset, also where the session just ends.
        for ends in ("close", "session"):
            seen: list[str] = []
            change = threading.Event()

            def watch(sock: socket.socket) -> None:
                try:
                    while sock.recv(65536):
                        pass
                    seen.append("an end")
                except ConnectionResetError:
                    seen.append("a reset")
                change.set()

            session = world.session(port)
            channel = session.channels.open("forward", answering(watch).encode(), End())
            while not channel.replied:
                session.step()
            if ends == "close":
                channel.close(1)
                while session.channels.live:
                    session.step()
            session.say_goodbye()
            expect(f"a reset by {ends} arrives", (change.wait(20), seen), (True, ["a reset"]))
        session = world.session(port)
        channel = session.channels.open("forward", world.echo.encode(), End())
        try:
            while True:
                session.step()
                if channel.replied:
                    process.kill()
        except Truncated as truncated:
            expect("a server that dies", truncated.exit_code, 7)


def commands(world: World) -> None:
    script = world.folder / "script"
    script.write_text("cat; echo oops >&2; exit 3\n", encoding="ascii")
    with world.server("--command", f"three=sh {script}", "--command", "killed=python3 -c __import__('os').abort()",
                      "--command", "deaf=true", "--window", "50") as (port, _):
        text = "0123456789" * 10_000
        code, event = world.client("exec", port, "--name", "three", "--input", text, "--window", "100")
        expect("exec", (code, event), (0, {"event": "ended", "stdout": text, "stderr": "oops\n", "exit": {"code": 3},
                                           "close": 0}))
        code, event = world.client("exec", port, "--name", "killed")
        expect("a signal", (code, event["exit"], event["close"]), (0, {"signal": 6}, 0))
        code, event = world.client("exec", port, "--name", "deaf", "--input", text)
        expect("a command that does not read", (code, event["exit"], event["close"]), (0, {"code": 0}, 0))


def listeners(world: World) -> None:
    with world.server() as (port, _):
        with world.dial("listen", port, "--address", "127.0.0.1:0", "--accept", "2", "--window", "100") as client:
            assert client.stdout
            listening = json.loads(client.stdout.readline())["port"]
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", listening), 20) as sock:
                    data = b"x" * 30_000
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    got = b""
                    while more := sock.recv(65536):
                        got += more
                    expect("the listener's echo", got == data, True)
            event = json.loads(client.stdout.readline())
            expect("listen", (client.wait(), event), (0, {"event": "echoed", "connections": 2, "bytes": 60_000,
                                                          "codes": [0, 0], "unlisten": 0}))
        code, event = world.client("listen", port, "--address", world.echo)
        expect("an address in use", (code, event["event"], event["status"]), (1, "refused", 2))
        path = str(world.folder / "a.sock")
        with world.dial("listen", port, "--address", path) as client:
            assert client.stdout
            expect("the port of a path", json.loads(client.stdout.readline())["port"], 0)
            code, event = world.client("forward", port, "--target", path, "--size", "100000")
            expect("forward to a path", (code, event["equal"], client.wait()), (0, 1, 0))


def alerts(world: World) -> None:
    """What the state machine refuses ends the session, with the right alert; sealed_verify.py has all the rules."""
    def after(frames: list[tuple[int, bytes]], port: int) -> str:
        session = world.session(port)
        assert session.channels
        session.channels.take = lambda kind, payload: None  # type: ignore[method-assign]
        try:
            for kind, payload in frames:
                session.write(kind, payload)
            while True:
                session.step()
        except Alerted as alerted:
            return str(alerted)

    def opening(number: int, kind: str = "x-none") -> tuple[int, bytes]:
        return pack("ChanOpen", id=number, credit=0, kind=kind, argument=b"")

    with world.server() as (port, _):
        for what, frames, alert in (
                ("an even id", [opening(2)], "protocol_error"),
                ("data for nothing", [(0x22, b"\0\0\0\1x")], "protocol_error"),
                ("a frame cut", [(0x20, b"\0\0\0\1")], "protocol_error"), ("17h", [(DATA, b"x")], "protocol_error"),
                ("1Dh", [(EOF, b"")], "protocol_error"), ("28h", [(0x28, b"")], "protocol_error"),
                ("2,049 channels", [opening(1 + 2 * number) for number in range(2049)], "policy")):
            expect(what, after(frames, port), f"alert {alert}")


def selftest(seconds: int) -> int:
    faulthandler.dump_traceback_later(seconds, exit=True)
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        tests = (forwards, refusals, resets, commands, listeners, alerts)
        for test in tests:
            try:
                test(world)
            except Wrong as wrong:
                print(f"sealed_peer: {test.__name__}: {wrong}", file=sys.stderr)
                return 1
            print(f"{test.__name__}: ok", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return 0
