"""Channels of the sealed profile (PROTOCOL.md §4.10): frames 20h to 27h, and the rules of their use. No sockets, no
clock. See sealed_peer.py; sealed_streams.py has the ends of channels."""
from __future__ import annotations

import re
from typing import Any, Callable

from sealed_keys import PeerError, Policy, Reader, uint, vector

CHANNEL_TYPES = range(0x20, 0x28)
DATA_LIMIT, STDERR_LIMIT = 16380, 16379
FIRST_CREDIT, CREDIT_LIMIT = 65536, 2 ** 31 - 1
CHANNEL_LIMIT, UNANSWERED_LIMIT, LISTENER_LIMIT = 1024, 128, 64
(ACCEPTED, NOT_PERMITTED, REFUSED, UNREACHABLE, NO_SUCH_NAME, TIMED_OUT, TOO_MANY, UNKNOWN_KIND) = range(8)
NORMAL, RESET, POLICY_CODE, DRAIN = range(4)

# Frames

# Name: type, `what` (none where a frame has none), the fields in front of `what`, and those behind it.
LAYOUTS: dict[str, tuple[int, int | None, str, str]] = {
    "ChanOpen": (0x20, None, "id:u32 credit:u32 kind:name argument:bytes", ""),
    "ChanReply": (0x21, None, "id:u32 status:u8 credit:u32 text:text", ""),
    "ChanData": (0x22, None, "id:u32 data:rest", ""),
    "ChanCredit": (0x23, None, "id:u32 more:positive", ""),
    "ChanEof": (0x24, None, "id:u32", ""),
    "ChanClose": (0x25, None, "id:u32 code:u8 text:text", ""),
    "ChanNote stderr": (0x26, 1, "id:u32", "data:rest"),
    "ChanNote exit": (0x26, 2, "id:u32", "how:how number:u32"),
    "Ask listen": (0x27, 0x01, "no:u32", "address:long"),
    "Ask unlisten": (0x27, 0x02, "no:u32", "listen:u32"),
    "Answer listen": (0x27, 0x81, "no:u32", "status:u8 port:u16 text:text"),
    "Answer unlisten": (0x27, 0x82, "no:u32", "status:u8"),
}
SIZES = {"u8": 1, "how": 1, "u16": 2, "u32": 4, "positive": 4}
COUNTS = {"name": 1, "text": 1, "bytes": 2, "long": 2}


def layout(fields: str) -> list[tuple[str, str]]:
    return [(name, form) for field in fields.split() for name, form in [field.split(":")]]


def packed(form: str, value: Any) -> bytes:
    if form in SIZES:
        return uint(SIZES[form], value)
    raw = value.encode() if isinstance(value, str) else value
    return vector(COUNTS[form], raw) if form in COUNTS else raw


def pack(name: str, **fields: Any) -> tuple[int, bytes]:
    """The type and the payload of a frame."""
    kind, what, front, back = LAYOUTS[name]
    parts = [packed(form, fields.pop(field)) for field, form in layout(front)]
    parts += [] if what is None else [uint(1, what)]
    parts += [packed(form, fields.pop(field)) for field, form in layout(back)]
    if fields:
        raise ValueError(f"{name} has no {fields}")
    return kind, b"".join(parts)


def taken(reader: Reader, form: str) -> Any:
    if form in SIZES:
        value = reader.uint(SIZES[form])
        if (form == "positive" and not value) or (form == "how" and value > 1):
            raise PeerError(f"a number that may not be {value}")
        return value
    raw = reader.vector(COUNTS[form]) if form in COUNTS else reader.rest()
    if form == "rest" and not raw:
        raise PeerError("a frame without data")
    return text_of(raw, form) if form in ("name", "text", "long") else raw


def text_of(raw: bytes, form: str = "text") -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise PeerError("a text that is not UTF-8") from error
    if form == "name" and not re.fullmatch("[a-z0-9.@-]{1,32}", text):
        raise PeerError("a malformed name")
    return text


def parse(kind: int, payload: bytes) -> tuple[str, dict[str, Any]]:
    """The name and the fields of a frame; anything but exactly one frame is malformed."""
    reader = Reader(payload)
    forms = [(name, *rest) for name, (number, *rest) in LAYOUTS.items() if number == kind]
    if not forms:
        raise PeerError(f"frame {kind:02x} is unknown")
    fields = {field: taken(reader, form) for field, form in layout(forms[0][2])}
    what = None if forms[0][1] is None else reader.uint(1)
    found = next((form for form in forms if form[1] == what), None)
    if found is None:
        raise PeerError(f"frame {kind:02x} with an unknown {what:02x}")
    fields |= {field: taken(reader, form) for field, form in layout(found[3])}
    reader.end()
    return found[0], fields


# One channel

class End:
    """What a channel belongs to. Whoever handed data over calls `took`, and behind the Eof `took_eof`."""
    channel: "Channel"

    def on_reply(self, status: int, text: str) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def on_stderr(self, data: bytes) -> None: ...
    def on_exit(self, how: int, number: int) -> None: ...
    def on_eof(self) -> None: ...
    def on_close(self, code: int) -> None: ...


class Channel:
    def __init__(self, owner: "Channels", number: int, kind: str, argument: bytes, ours: bool) -> None:
        self.owner, self.id, self.kind, self.argument, self.ours = owner, number, kind, argument, ours
        self.window = owner.window
        self.credit = self.granted = FIRST_CREDIT      # bytes that we may send, and bytes that the peer may
        self.untaken = 0                               # received, but not handed over
        self.replied = self.eof_in = self.eof_out = self.eof_taken = self.has_exit = False
        self.closed_in: int | None = None
        self.closed_out: int | None = None
        self.end = End()

    def write(self, name: str, **fields: Any) -> None:
        self.owner.write(*pack(name, id=self.id, **fields))

    # The acceptor's answer

    def accept(self, end: End) -> None:
        self.end, end.channel, self.replied = end, self, True
        more = max(0, self.window - FIRST_CREDIT)
        self.granted += more
        self.write("ChanReply", status=ACCEPTED, credit=more, text="")

    def refuse(self, status: int, text: str) -> None:
        """This is our ChanClose, too."""
        self.replied, self.closed_out = True, RESET
        self.write("ChanReply", status=status, credit=0, text=text)
        self.owner.forget(self)

    # Sending

    def may_send(self) -> int:
        """Bytes that may go now."""
        open_ = not self.eof_out and self.closed_out is None and (self.replied or self.ours)
        return min(self.credit, DATA_LIMIT) if open_ else 0

    def send(self, data: bytes) -> None:
        assert 0 < len(data) <= self.may_send()
        self.credit -= len(data)
        self.write("ChanData", data=data)

    def send_stderr(self, data: bytes) -> None:
        assert 0 < len(data) <= min(self.may_send(), STDERR_LIMIT)
        self.credit -= len(data)
        self.write("ChanNote stderr", data=data)

    def send_exit(self, how: int, number: int) -> None:
        if self.closed_out is None:
            self.write("ChanNote exit", how=how, number=number)

    def send_eof(self) -> None:
        if not self.eof_out and self.closed_out is None:
            self.eof_out = True
            self.write("ChanEof")
            self.settle()

    def close(self, code: int, text: str = "") -> None:
        """Both directions at once, unless the code is 0."""
        if self.closed_out is None:
            self.closed_out = code
            self.write("ChanClose", code=code, text=text)
            self.owner.forget(self)

    # What was handed over

    def took(self, size: int) -> None:
        self.untaken -= size
        room = self.window - self.granted - self.untaken
        if not self.eof_in and self.closed_out is None and room >= max(1, self.window // 2):
            self.granted += room
            self.write("ChanCredit", more=room)
        self.settle()

    def took_eof(self) -> None:
        self.eof_taken = True
        self.settle()

    def settle(self) -> None:
        """ChanClose 0, if both directions have ended and everything was handed over."""
        waits = self.ours and self.kind == "exec" and not self.has_exit and self.closed_in is None
        if self.eof_out and self.eof_taken and not self.untaken and not waits:
            self.close(NORMAL)

    # Receiving

    def take(self, name: str, fields: dict[str, Any]) -> None:
        if self.closed_in is not None:
            raise PeerError(f"{name} behind a ChanClose")
        if name == "ChanReply":
            return self.take_reply(**fields)
        if name == "ChanClose":
            return self.take_close(fields["code"])
        if self.ours and not self.replied and self.closed_out is None:
            raise PeerError(f"{name} before the answer")
        if self.closed_out is not None:
            # Dropped until the peer's ChanClose, which may be a normal one behind its ChanEof.
            self.eof_in |= name == "ChanEof"
            return None
        if name == "ChanCredit":
            return self.more_credit(fields["more"])
        if name == "ChanEof":
            return self.take_eof()
        if name == "ChanData":
            return self.take_data(fields["data"])
        return self.take_note(name, fields)

    def take_reply(self, id: int, status: int, credit: int, text: str) -> None:
        if not self.ours or self.replied:
            raise PeerError("an answer that nobody waits for")
        self.replied = True
        if status == ACCEPTED:
            if self.closed_out is None:
                self.more_credit(credit)
                self.end.on_reply(status, text)
            return
        self.closed_in = RESET
        self.close(RESET)
        self.owner.forget(self)
        self.end.on_reply(status, text)

    def more_credit(self, more: int) -> None:
        if self.credit + more > CREDIT_LIMIT:
            raise PeerError("too much credit")
        self.credit += more

    def spend(self, data: bytes) -> None:
        self.granted -= len(data)
        self.untaken += len(data)
        if self.granted < 0:
            raise PeerError("data beyond the credit")

    def take_data(self, data: bytes) -> None:
        if self.eof_in:
            raise PeerError("data behind a ChanEof")
        self.spend(data)
        self.end.on_data(data)

    def take_eof(self) -> None:
        if self.eof_in:
            raise PeerError("a second ChanEof")
        self.eof_in = True
        self.end.on_eof()

    def take_note(self, name: str, fields: dict[str, Any]) -> None:
        if not self.ours or self.kind != "exec":
            raise PeerError("a note that does not belong here")
        if name == "ChanNote stderr":
            self.spend(fields["data"])
            return self.end.on_stderr(fields["data"])
        if self.has_exit:
            raise PeerError("a second exit")
        self.has_exit = True
        self.end.on_exit(fields["how"], fields["number"])
        return self.settle()

    def take_close(self, code: int) -> None:
        if self.ours and not self.replied and self.closed_out is None:
            raise PeerError("a ChanClose before the answer")
        if code == NORMAL and not (self.eof_in and self.eof_out):
            raise PeerError("a ChanClose with code 0 too early")
        self.closed_in = code
        if code != NORMAL and not self.ours and not self.replied:
            return self.refuse(REFUSED, "the channel was closed")
        if code != NORMAL:
            self.close(RESET)
        self.settle()
        self.owner.forget(self)
        return self.end.on_close(code)


# All channels of a session

class Channels:
    """Frames come in by `take` and go out by `write`. `on_open` gets the peer's channels, `on_ask` the questions."""

    def __init__(self, is_client: bool, write: Callable[[int, bytes], None], window: int = FIRST_CREDIT,
                 limit: int = CHANNEL_LIMIT) -> None:
        self.is_client, self.write, self.window, self.limit = is_client, write, window, limit
        self.live: dict[int, Channel] = {}
        self.next_id, self.peer_id = (1, 0) if is_client else (2, -1)
        self.last_no = {True: 0, False: -1}  # of our questions, which begin with 1, and of the peer's
        self.asked: dict[int, tuple[str, Callable[[dict[str, Any]], None]]] = {}
        self.on_open: Callable[[Channel], None] = lambda channel: channel.refuse(UNKNOWN_KIND, "no kind is known here")
        self.on_ask: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda name, fields: {"status": NOT_PERMITTED}

    def open(self, kind: str, argument: bytes, end: End) -> Channel:
        channel = Channel(self, self.next_id, kind, argument, True)
        channel.granted, channel.end, end.channel = self.window, end, channel
        self.next_id += 2
        self.live[channel.id] = channel
        channel.write("ChanOpen", credit=self.window, kind=kind, argument=argument)
        return channel

    def ask(self, name: str, answered: Callable[[dict[str, Any]], None], **fields: Any) -> int:
        self.last_no[True] += 1
        self.asked[self.last_no[True]] = name, answered
        self.write(*pack(f"Ask {name}", no=self.last_no[True], **fields))
        return self.last_no[True]

    def forget(self, channel: Channel) -> None:
        """A channel is over when ChanClose was sent and received."""
        if channel.closed_in is not None and channel.closed_out is not None:
            self.live.pop(channel.id, None)

    def take(self, kind: int, payload: bytes) -> None:
        name, fields = parse(kind, payload)
        if name == "ChanOpen":
            return self.take_open(**fields)
        if name.startswith("Ask"):
            return self.take_ask(name, fields)
        if name.startswith("Answer"):
            asked, answered = self.asked.pop(fields["no"], ("", None))
            if answered is None or name != f"Answer {asked}":
                raise PeerError("an answer to no question")
            return answered(fields)
        if fields["id"] not in self.live:
            raise PeerError(f"{name} for a channel that was never opened or is over")
        return self.live[fields["id"]].take(name, fields)

    def take_open(self, id: int, credit: int, kind: str, argument: bytes) -> None:
        if id % 2 == int(not self.is_client) and id > self.peer_id and id:
            self.peer_id = id
        else:
            raise PeerError(f"a ChanOpen with the id {id}")
        if credit > CREDIT_LIMIT:
            raise PeerError("too much credit")
        if len(self.live) >= self.limit + max(self.limit, UNANSWERED_LIMIT):
            raise Policy("too many channels")
        counted = [c for c in self.live.values() if c.closed_out is None]
        unanswered = [c for c in counted if not c.ours and not c.replied]
        channel = self.live[id] = Channel(self, id, kind, argument, False)
        channel.credit = credit
        if len(counted) >= self.limit or len(unanswered) >= UNANSWERED_LIMIT:
            return channel.refuse(TOO_MANY, "too many channels")
        return self.on_open(channel)

    def take_ask(self, name: str, fields: dict[str, Any]) -> None:
        if self.is_client or fields["no"] <= self.last_no[False]:
            raise PeerError(f"a question out of turn: {fields['no']}")
        self.last_no[False] = fields["no"]
        answer = self.on_ask(name.split()[1], fields)
        if name == "Ask listen":
            answer = {"port": 0, "text": "", **answer}
        self.write(*pack(name.replace("Ask", "Answer"), no=fields["no"], **answer))
