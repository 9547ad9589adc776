"""The loop that serves channels, and the server's ends of them: sockets, commands, listeners. See sealed_peer.py.
The client's ends are in sealed_clients.py."""
from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from typing import Any

from sealed_channels import (ACCEPTED, LISTENER_LIMIT, NO_SUCH_NAME, NOT_PERMITTED, REFUSED, RESET, STDERR_LIMIT,
                             TIMED_OUT, TOO_MANY, UNKNOWN_KIND, UNREACHABLE, Channel, End, text_of)
from sealed_keys import PeerError, uint, vector
from sealed_session import Session

OUTBOX_LIMIT = 1 << 18
CONNECT_SECONDS = 5.0


def split_address(text: str) -> tuple[str, int]:
    """`host:port` or `[address]:port`."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not port.isdecimal() or int(port) > 65535 or (":" in bare and bare == host):
        raise ValueError(f"no address: {text}")
    return bare, int(port)


def address_of(sock: socket.socket, peer: Any) -> str:
    """An address as a text of the protocol."""
    if sock.family == socket.AF_UNIX:
        return sock.getsockname()
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"


# The loop

class Part:
    """Something that the loop serves: `wants` gives descriptors to wait for, `ready` gets them, `pump` may send."""

    def wants(self) -> list[tuple[int, int]]:
        return []

    def ready(self, fd: int) -> None: ...

    def pump(self) -> bool:
        """Sends one record at the most; whether it has sent one."""
        return False

    def shut(self) -> None:
        """The session has ended."""


class Loop:
    """One session in channel mode, served by one thread that never waits for one thing alone."""

    def __init__(self, session: Session, args: Any) -> None:
        assert session.channels is not None
        self.session, self.args, self.channels = session, args, session.channels
        self.channels.window = args.window
        self.parts: list[Part] = []
        self.wire = session.wire
        self.wire.begin_queue()

    def run(self, until: Any) -> None:
        """Serves until this is true, or the peer has said close_notify. Channels that are left then are reset."""
        try:
            while not self.session.closed_in:
                if until():
                    return
                self.once()
        except PeerError:
            with contextlib.suppress(OSError):
                self.wire.end_queue(self.args.deadline)  # the alert
            raise
        finally:
            for part in list(self.parts):
                part.shut()

    def once(self) -> None:
        sent = False
        for part in list(self.parts):
            if len(self.wire.outbox or b"") < OUTBOX_LIMIT:
                sent = part.pump() or sent
        if sent and self.args.update_keys and not self.session.init:
            self.session.update_key()
        poller = select.poll()
        wire = self.wire.sock.fileno()
        poller.register(wire, select.POLLIN | (select.POLLOUT if self.wire.outbox else 0))
        by_fd: dict[int, Part] = {}
        masks: dict[int, int] = {}
        for part in self.parts:
            for fd, mask in part.wants():
                # What is read goes to the wire; while that is full, nothing is read.
                if mask == select.POLLIN and len(self.wire.outbox or b"") >= OUTBOX_LIMIT:
                    continue
                by_fd[fd], masks[fd] = part, masks.get(fd, 0) | mask
        for fd, mask in masks.items():
            poller.register(fd, mask)
        found = poller.poll(0 if sent else self.args.deadline * 1000)
        if not found and not sent:
            raise TimeoutError("nothing has happened for too long")
        for fd, mask in found:
            if fd != wire:
                by_fd[fd].ready(fd)
                continue
            with contextlib.suppress(BlockingIOError):
                self.wire.flush()
            if mask & ~select.POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    self.wire.fill()
            while self.wire.has_record() and not self.session.closed_in:
                self.session.step()

    def goodbye(self) -> None:
        self.wire.end_queue(self.args.deadline)
        self.session.say_goodbye()


# Ends that relay

class Relay(Part, End):
    """A channel and a pair of descriptors; of a socket, both are the same."""

    def __init__(self, loop: Loop, read: int, write: int) -> None:
        self.loop, self.read, self.write = loop, read, write
        self.pending = bytearray()
        self.read_open = self.write_open = True
        loop.parts.append(self)
        for fd in (read, write):
            os.set_blocking(fd, False)

    def wants(self) -> list[tuple[int, int]]:
        found = [(self.write, select.POLLOUT)] if self.pending else []
        if self.read_open and self.channel.may_send():
            found.append((self.read, select.POLLIN))
        return found

    def ready(self, fd: int) -> None:
        if fd == self.write and self.pending:
            self.write_out()
        if fd == self.read and self.read_open and self.channel.may_send():
            self.read_in()

    def read_in(self) -> None:
        try:
            data = os.read(self.read, self.channel.may_send())
        except BlockingIOError:
            return
        except OSError:
            return self.abort()
        if data:
            return self.channel.send(data)
        self.read_open = False
        return self.on_read_end()

    def on_read_end(self) -> None:
        self.channel.send_eof()
        self.settled()

    def on_data(self, data: bytes) -> None:
        self.pending += data
        self.write_out()

    def write_out(self) -> None:
        size = 0
        while self.pending:
            try:
                written = os.write(self.write, self.pending)
            except BlockingIOError:
                break
            except OSError:
                return self.on_write_failure(size)
            del self.pending[:written]
            size += written
        if size:
            self.channel.took(size)
        return self.on_eof()

    def on_write_failure(self, written: int) -> None:
        self.abort()

    def on_eof(self) -> None:
        if self.channel.eof_in and not self.pending and self.write_open:
            self.write_open = False
            self.end_write()
            self.channel.took_eof()
        self.settled()

    def settled(self) -> None:
        if self.channel.closed_out is not None and self in self.loop.parts:
            self.loop.parts.remove(self)
            self.release(self.channel.closed_out == 0)

    def abort(self) -> None:
        """The local end is broken: so is the channel."""
        self.channel.close(RESET, "the other end was reset")
        self.settled()

    def on_close(self, code: int) -> None:
        self.settled()

    def shut(self) -> None:
        if self in self.loop.parts:
            self.loop.parts.remove(self)
            self.release(False)

    def end_write(self) -> None: ...
    def release(self, is_whole: bool) -> None: ...


class SocketRelay(Relay):
    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(None)
        super().__init__(loop, sock.fileno(), sock.fileno())

    def end_write(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def release(self, is_whole: bool) -> None:
        if not is_whole and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
        self.sock.close()


class CommandRelay(Relay):
    """A command: its output is the data, its errors and its end are notes."""

    def __init__(self, loop: Loop, argv: list[str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.errors = self.process.stderr.fileno()
        self.errors_open = True
        super().__init__(loop, self.process.stdout.fileno(), self.process.stdin.fileno())
        os.set_blocking(self.errors, False)

    def wants(self) -> list[tuple[int, int]]:
        more = self.errors_open and self.channel.may_send()
        return super().wants() + ([(self.errors, select.POLLIN)] if more else [])

    def ready(self, fd: int) -> None:
        if fd != self.errors:
            return super().ready(fd)
        size = min(self.channel.may_send(), STDERR_LIMIT)
        if not size:
            return None  # the output has used it up
        data = os.read(fd, size)
        if data:
            return self.channel.send_stderr(data)
        self.errors_open = False
        return self.on_read_end()

    def on_read_end(self) -> None:
        if self.read_open or self.errors_open:
            return
        code = self.process.wait(CONNECT_SECONDS)
        # In front of the Eof: whoever has both Eof may close, and drops what comes then.
        self.channel.send_exit(int(code < 0), abs(code))
        super().on_read_end()

    def on_write_failure(self, written: int) -> None:
        """A command need not read its input."""
        size, self.pending = written + len(self.pending), bytearray()
        self.channel.took(size)
        self.on_eof()

    def end_write(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def release(self, is_whole: bool) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                file.close()  # type: ignore[union-attr]


# Server

class Service:
    """The server's side: the kinds forward and exec, and listeners."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.args = loop, loop.args
        self.commands = dict(text.split("=", 1) for text in loop.args.commands)
        self.listeners: dict[int, Listener] = {}
        loop.channels.on_open, loop.channels.on_ask = self.open, self.ask

    def open(self, channel: Channel) -> None:
        if channel.kind not in ("forward", "exec"):
            return channel.refuse(UNKNOWN_KIND, f"no kind is called {channel.kind}")
        argument = text_of(channel.argument)
        if channel.kind == "forward":
            return self.forward(channel, argument)
        if argument not in self.commands:
            return channel.refuse(NO_SUCH_NAME, f"no command is called {argument}"[:255])
        return channel.accept(CommandRelay(self.loop, self.commands[argument].split()))

    def forward(self, channel: Channel, target: str) -> None:
        if self.args.targets and target not in self.args.targets:
            return channel.refuse(NOT_PERMITTED, "this target is not permitted")
        try:
            sock = connected(target)
        except (socket.gaierror, ValueError) as error:
            return channel.refuse(NO_SUCH_NAME, str(error)[:80])
        except ConnectionRefusedError as error:
            return channel.refuse(REFUSED, str(error)[:80])
        except TimeoutError as error:
            return channel.refuse(TIMED_OUT, str(error)[:80])
        except OSError as error:
            return channel.refuse(UNREACHABLE, str(error)[:80])
        return channel.accept(SocketRelay(self.loop, sock))

    def ask(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        if name == "unlisten":
            listener = self.listeners.pop(fields["listen"], None)
            if listener is None:
                return {"status": NO_SUCH_NAME}
            listener.shut()
            return {"status": ACCEPTED}
        if len(self.listeners) >= LISTENER_LIMIT:
            return {"status": TOO_MANY, "text": "too many listeners"}
        try:
            sock = listening(fields["address"])
        except (socket.gaierror, ValueError) as error:
            return {"status": NO_SUCH_NAME, "text": str(error)[:80]}
        except OSError as error:
            return {"status": REFUSED, "text": str(error)[:80]}
        self.listeners[fields["no"]] = Listener(self.loop, sock, fields["no"])
        return {"status": ACCEPTED, "port": 0 if sock.family == socket.AF_UNIX else sock.getsockname()[1]}


def connected(target: str) -> socket.socket:
    if not target.startswith("/"):
        return socket.create_connection(split_address(target), CONNECT_SECONDS)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(CONNECT_SECONDS)
    sock.connect(target)
    return sock


def listening(address: str) -> socket.socket:
    if not address.startswith("/"):
        host, port = split_address(address)
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(address)
    sock.listen()
    return sock


class Listener(Part):
    def __init__(self, loop: Loop, sock: socket.socket, number: int) -> None:
        self.loop, self.sock, self.number = loop, sock, number
        sock.setblocking(False)
        loop.parts.append(self)

    def wants(self) -> list[tuple[int, int]]:
        return [(self.sock.fileno(), select.POLLIN)]

    def ready(self, fd: int) -> None:
        try:
            sock, peer = self.sock.accept()
        except OSError:
            return
        origin = vector(2, address_of(sock, peer).encode())
        relay = SocketRelay(self.loop, sock)
        self.loop.channels.open("accepted", uint(4, self.number) + origin, relay)

    def shut(self) -> None:
        if self in self.loop.parts:
            self.loop.parts.remove(self)
            self.sock.close()
