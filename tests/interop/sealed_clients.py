"""The client's ends of channels: checks, commands and remote listeners. See sealed_peer.py."""
from __future__ import annotations

import hashlib
import os
from typing import Any

from sealed_channels import NOT_PERMITTED, RESET, UNKNOWN_KIND, Channel, End, text_of
from sealed_keys import Reader
from sealed_streams import Loop, Part


class Check(Part, End):
    """Sends random data, and compares what an echo sends back."""

    def __init__(self, loop: Loop, size: int, waits: bool) -> None:
        self.left, self.waits = size, waits
        self.sent, self.received, self.got = hashlib.sha256(), hashlib.sha256(), 0
        self.status: int | None = None
        self.text = ""
        self.code: int | None = None
        loop.parts.append(self)

    def pump(self) -> bool:
        size = min(self.left, self.channel.may_send())
        if self.waits and not self.channel.replied or self.channel.eof_out:
            return False
        if size:
            data = os.urandom(size)
            self.sent.update(data)
            self.left -= size
            self.channel.send(data)
        elif not self.left:
            self.channel.send_eof()
        return bool(size)

    def on_reply(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        if status:
            self.code = RESET

    def on_data(self, data: bytes) -> None:
        self.received.update(data)
        self.got += len(data)
        self.channel.took(len(data))

    def on_eof(self) -> None:
        self.channel.took_eof()

    def on_close(self, code: int) -> None:
        self.code = code

    def is_equal(self) -> bool:
        return self.code == 0 and self.channel.closed_out == 0 and self.sent.digest() == self.received.digest()


class Echo(Part, End):
    """Sends back what comes."""

    def __init__(self, loop: Loop) -> None:
        self.pending, self.size = bytearray(), 0
        self.code: int | None = None
        loop.parts.append(self)

    def pump(self) -> bool:
        size = min(len(self.pending), self.channel.may_send())
        if size:
            self.channel.send(bytes(self.pending[:size]))
            del self.pending[:size]
            self.channel.took(size)
        elif self.channel.eof_in and not self.pending and not self.channel.eof_out:
            self.channel.send_eof()
            self.channel.took_eof()
        return bool(size)

    def on_data(self, data: bytes) -> None:
        self.pending += data
        self.size += len(data)

    def on_close(self, code: int) -> None:
        self.code = code


class Run(Part, End):
    """A command at the server: its input is given, its output is kept."""

    def __init__(self, loop: Loop, data: bytes) -> None:
        self.input, self.out, self.errors = bytearray(data), bytearray(), bytearray()
        self.status: int | None = None
        self.text = ""
        self.code: int | None = None
        self.exit: tuple[int, int] | None = None
        loop.parts.append(self)

    def pump(self) -> bool:
        size = min(len(self.input), self.channel.may_send())
        if size:
            self.channel.send(bytes(self.input[:size]))
            del self.input[:size]
        elif (not self.input or self.exit) and not self.channel.eof_out:
            self.channel.send_eof()
        return bool(size)

    def on_reply(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        if status:
            self.code = RESET

    def on_data(self, data: bytes) -> None:
        self.out += data
        self.channel.took(len(data))

    def on_stderr(self, data: bytes) -> None:
        self.errors += data
        self.channel.took(len(data))

    def on_exit(self, how: int, number: int) -> None:
        self.exit = how, number

    def on_eof(self) -> None:
        self.channel.took_eof()

    def on_close(self, code: int) -> None:
        self.code = code


class Remote:
    """A listener at the server, whose connections are echoed here."""

    def __init__(self, loop: Loop, address: str) -> None:
        self.loop, self.echoes = loop, []  # type: ignore[var-annotated]
        self.answer: dict[str, Any] | None = None
        self.unlistened: int | None = None
        loop.channels.on_open = self.open
        self.number = loop.channels.ask("listen", self.answered, address=address)

    def answered(self, fields: dict[str, Any]) -> None:
        self.answer = fields

    def open(self, channel: Channel) -> None:
        if channel.kind != "accepted":
            return channel.refuse(UNKNOWN_KIND, "only accepted channels are welcome here")
        reader = Reader(channel.argument)
        number = reader.uint(4)
        text_of(reader.vector(2))
        reader.end()
        if number != self.number or not self.answer or self.answer["status"]:
            return channel.refuse(NOT_PERMITTED, "nobody listens for this")
        self.echoes.append(Echo(self.loop))
        return channel.accept(self.echoes[-1])

    def unlisten(self) -> None:
        def answered(fields: dict[str, Any]) -> None:
            self.unlistened = fields["status"]
        self.loop.channels.ask("unlisten", answered, listen=self.number)


def ended(items: list[Any]) -> bool:
    """Whether every channel is over."""
    return all(item.channel.closed_out is not None and item.code is not None for item in items)
