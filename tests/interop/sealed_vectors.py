"""`sealed_peer.py record`: the vectors of channels, always the same. `sealed_verify.py` checks them."""
from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealed_channels import LAYOUTS, pack
from sealed_keys import KEXES, Schedule, frame, gate, raw_public, sha256, uint, vector
from sealed_proto import (ALERT, CLIENT_AUTH, HANDSHAKE, KEY_UPDATE, OPEN, OPEN_REPLY, READY, SERVER_AUTH, Half, Hello,
                          Suite, auth_frame, server_hello)

ABOUT = ("channel_sessions are like sessions, with the service 'channels'; payload_hex is the content of a record, and "
         "frame and fields are what it says, with data and argument in hexadecimal. channel_frames are frames alone; "
         "those without fields are malformed. channel_courses are frames in the order in which one side (role) sends "
         "and receives them; the last one, which it receives, ends the session with this alert, or is in order if that "
         "is null.")


def accepted(number: int, address: str) -> bytes:
    return uint(4, number) + vector(2, address.encode())


def named(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The name and the fields, as JSON has them."""
    what = LAYOUTS[name][1]
    shown = {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}
    return {"frame": name, "fields": shown | ({} if what is None else {"what": what})}


def unnamed(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The reverse."""
    fields = {key: value for key, value in entry["fields"].items() if key != "what"}
    return entry["frame"], {key: bytes.fromhex(value) if key in ("data", "argument") else value
                            for key, value in fields.items()}


# The recorded session

def conversation() -> list[tuple[str, str, dict[str, Any]]]:
    """Who says what in channel mode."""
    said: list[tuple[str, str, dict[str, Any]]] = []

    def client(name: str, **fields: Any) -> None:
        said.append(("client", name, fields))

    def server(name: str, **fields: Any) -> None:
        said.append(("server", name, fields))

    # A forward: data before the answer, both directions, credit, a half-close, a clean end.
    client("ChanOpen", id=1, credit=65536, kind="forward", argument=b"127.0.0.1:7")
    client("ChanData", id=1, data=b"hello")
    server("ChanReply", id=1, status=0, credit=196608, text="")
    server("ChanData", id=1, data=b"hello")
    client("ChanCredit", id=1, more=65536)
    server("ChanCredit", id=1, more=5)
    client("KeyUpdate")
    client("ChanData", id=1, data=bytes(range(256)))
    client("ChanEof", id=1)
    server("ChanData", id=1, data="héllo".encode())
    server("ChanEof", id=1)
    server("ChanClose", id=1, code=0, text="")
    client("ChanClose", id=1, code=0, text="")
    # Refusals, one of them with data on its way.
    client("ChanOpen", id=3, credit=65536, kind="forward", argument=b"[::1]:9")
    client("ChanData", id=3, data=b"lost")
    server("ChanReply", id=3, status=2, credit=0, text="connection refused")
    client("ChanClose", id=3, code=1, text="")
    client("ChanOpen", id=5, credit=0, kind="x-new@example.org", argument=b"")
    server("ChanReply", id=5, status=7, credit=0, text="no such kind")
    client("ChanClose", id=5, code=1, text="")
    # A command: errors, an exit in front of the Eof.
    client("ChanOpen", id=7, credit=0, kind="exec", argument=b"backup")
    server("ChanReply", id=7, status=0, credit=0, text="")
    client("ChanCredit", id=7, more=1000)
    server("ChanNote stderr", id=7, data=b"no space left\n")
    server("ChanData", id=7, data=b"42\n")
    client("ChanEof", id=7)
    server("ChanNote exit", id=7, how=0, number=3)
    server("ChanEof", id=7)
    client("ChanClose", id=7, code=0, text="")
    server("ChanClose", id=7, code=0, text="")
    # A listener; its connection is reset by the client.
    client("Ask listen", no=1, address="127.0.0.1:0")
    server("Answer listen", no=1, status=0, port=40000, text="")
    server("ChanOpen", id=2, credit=65536, kind="accepted", argument=accepted(1, "192.0.2.1:50000"))
    client("ChanReply", id=2, status=0, credit=0, text="")
    server("ChanData", id=2, data=b"ping")
    client("ChanData", id=2, data=b"pong")
    client("ChanClose", id=2, code=1, text="reset by the user")
    server("ChanClose", id=2, code=1, text="")
    client("Ask unlisten", no=2, listen=1)
    server("Answer unlisten", no=2, status=0)
    client("Ask listen", no=3, address="/run/vpn.sock")
    server("Answer listen", no=3, status=1, port=0, text="not permitted")
    return said


def private(label: str, size: int) -> bytes:
    return b"".join(sha256(b"vpn channel vectors", label.encode(), uint(1, n)) for n in range(size // 32 + 1))[:size]


def channel_session() -> dict[str, Any]:
    kex, suite = KEXES["ffdhe3072"], Suite("aes-256-cbc")
    seeds = {side: private(f"{side} identity", 32) for side in ("client", "server")}
    keys = {side: Ed25519PrivateKey.from_private_bytes(seed) for side, seed in seeds.items()}
    exponents = {side: int.from_bytes(private(f"{side} exponent", 50), "big") | 1 << 399 for side in seeds}
    _, share = kex.offer(exponents["client"])
    hello = Hello([kex.name], [suite.name], 0, share, private("client random", 32), bytes.fromhex("3a3a0003abcdef"))
    hello.gate = gate(None, raw_public(keys["server"]), hello.before_gate())
    m1 = hello.build()
    answer, secret = kex.answer(share, exponents["server"])
    m2 = server_hello(private("server random", 32), 0, 0, answer)
    schedule = Schedule(None, secret, sha256(m1, m2))
    halves = {"client": Half(suite, schedule.c_hs), "server": Half(suite, schedule.s_hs)}
    wire: list[dict[str, Any]] = [{"from": "client", "what": "M1", "hex": m1.hex()},
                                  {"from": "server", "what": "M2", "hex": m2.hex()}]

    def say(side: str, kind: int, payload: bytes, more: dict[str, Any] | None = None) -> None:
        wire.append({"from": side, "what": f"{kind:02x}", "payload_hex": payload.hex(), **(more or {}),
                     "hex": halves[side].seal(kind, payload).hex()})

    so_far, auth = m1 + m2, {}
    for side, kind in (("server", SERVER_AUTH), ("client", CLIENT_AUTH)):
        auth[side] = auth_frame(kind, so_far, keys[side], halves[side].finished())
        so_far += auth[side]
        say(side, HANDSHAKE, auth[side])
    schedule.application(sha256(so_far))
    halves = {"client": Half(suite, schedule.c_ap), "server": Half(suite, schedule.s_ap)}
    ready = b"\0" + uint(2, 1) + vector(2, uint(4, 60)) + uint(2, 3) + vector(2, b"channels")
    say("server", HANDSHAKE, frame(READY, ready))
    say("client", OPEN, vector(1, b"channels") + vector(2, b"\x01"))
    say("server", OPEN_REPLY, b"\0")
    for side, name, fields in conversation():
        if name == "KeyUpdate":
            say(side, KEY_UPDATE, uint(4, 1))
            halves[side].ratchet()
        else:
            say(side, *pack(name, **fields), named(name, fields))
    for side in ("client", "server"):
        say(side, ALERT, uint(2, 0))
    found: dict[str, Any] = {"kex": kex.name, "suite": suite.name, "service": "channels", "psk_hex": None}
    found |= {f"{side}_identity_seed_hex": seed.hex() for side, seed in seeds.items()}
    found |= {f"{side}_kex_private": {"exponent_hex": uint(50, value).hex()} for side, value in exponents.items()}
    found |= {"kex_secret_hex": secret.hex(), "m1_hex": m1.hex(), "m2_hex": m2.hex()}
    found |= {f"{side}_auth_frame_hex": auth[side].hex() for side in ("server", "client")}
    secrets = ("c_hs", "s_hs", "c_ap", "s_ap", "exporter", "sid")
    found |= {f"{name}_hex": getattr(schedule, name).hex() for name in secrets}
    return found | {"th4_hex": schedule.th.hex(), "wire": wire}


# Frames alone

def valid_frames() -> list[dict[str, Any]]:
    most = 2 ** 31 - 1
    frames: list[tuple[str, str, dict[str, Any]]] = [
        ("open a forward", "ChanOpen", dict(id=1, credit=65536, kind="forward", argument=b"db.example.org:5432")),
        ("open a forward to a path", "ChanOpen", dict(id=0xFFFFFFFF, credit=1, kind="forward",
                                                      argument=b"/run/db.sock")),
        ("open without credit", "ChanOpen", dict(id=3, credit=0, kind="exec", argument=b"backup")),
        ("open with all credit", "ChanOpen", dict(id=5, credit=most, kind="exec", argument=b"")),
        ("open with the longest name", "ChanOpen", dict(id=7, credit=1, kind="a9.@-" + "x" * 27, argument=b"\x00\xff")),
        ("open by a listener", "ChanOpen", dict(id=2, credit=65536, kind="accepted",
                                                argument=accepted(1, "[2001:db8::1]:50000"))),
        ("accept", "ChanReply", dict(id=1, status=0, credit=0, text="")),
        ("accept with credit", "ChanReply", dict(id=1, status=0, credit=most - 65536, text="")),
        *((f"refuse with {status}", "ChanReply", dict(id=1, status=status, credit=0, text="négatif"))
          for status in range(1, 8)),
        ("refuse with the longest text", "ChanReply", dict(id=1, status=1, credit=0, text="x" * 255)),
        ("one byte", "ChanData", dict(id=1, data=b"\x00")),
        ("some bytes", "ChanData", dict(id=1, data=bytes(range(255)))),
        ("one more", "ChanCredit", dict(id=1, more=1)),
        ("all that may be", "ChanCredit", dict(id=1, more=most)),
        ("no more", "ChanEof", dict(id=1)),
        *((f"close with {code}", "ChanClose", dict(id=1, code=code, text="")) for code in range(4)),
        ("close with a text", "ChanClose", dict(id=1, code=2, text="päuse")),
        ("an error", "ChanNote stderr", dict(id=1, data=b"no\n")),
        ("exit 0", "ChanNote exit", dict(id=1, how=0, number=0)),
        ("exit by a signal", "ChanNote exit", dict(id=1, how=1, number=9)),
        ("exit with the largest number", "ChanNote exit", dict(id=1, how=0, number=0xFFFFFFFF)),
        ("listen", "Ask listen", dict(no=1, address="127.0.0.1:0")),
        ("listen at a path", "Ask listen", dict(no=2, address="/run/x.sock")),
        ("unlisten", "Ask unlisten", dict(no=3, listen=1)),
        ("listening", "Answer listen", dict(no=1, status=0, port=40000, text="")),
        ("not listening", "Answer listen", dict(no=1, status=2, port=0, text="in use")),
        ("unlistened", "Answer unlisten", dict(no=3, status=0)),
    ]
    found = []
    for name, frame_name, fields in frames:
        kind, payload = pack(frame_name, **fields)
        found.append({"name": name, "type": f"{kind:02x}", "payload": payload.hex(), **named(frame_name, fields)})
    return found


def malformed_frames() -> list[dict[str, Any]]:
    number = "00000001"
    opening = number + "00010000"
    frames = [
        ("ChanOpen: empty", 0x20, ""), ("ChanOpen: cut in the id", 0x20, "000001"),
        ("ChanOpen: cut in the credit", 0x20, number + "0001"), ("ChanOpen: no kind", 0x20, opening),
        ("ChanOpen: cut in the kind", 0x20, opening + "04" + b"exe".hex()),
        ("ChanOpen: no argument", 0x20, opening + "04" + b"exec".hex()),
        ("ChanOpen: cut in the argument", 0x20, opening + "04" + b"exec".hex() + "0002" + "78"),
        ("ChanOpen: a byte left over", 0x20, opening + "04" + b"exec".hex() + "0001" + "7878"),
        ("ChanOpen: an empty kind", 0x20, opening + "00" + "0000"),
        ("ChanOpen: a kind of 33 letters", 0x20, opening + "21" + "78" * 33 + "0000"),
        ("ChanOpen: a kind in capitals", 0x20, opening + "04" + b"Exec".hex() + "0000"),
        ("ChanOpen: a kind with an underscore", 0x20, opening + "04" + b"ex_c".hex() + "0000"),
        ("ChanOpen: a kind that is not ASCII", 0x20, opening + "02" + "é".encode().hex() + "0000"),
        ("ChanReply: no credit", 0x21, number + "00"), ("ChanReply: no text", 0x21, number + "0000000000"),
        ("ChanReply: a cut text", 0x21, number + "010000000002" + "78"),
        ("ChanReply: a text that is not UTF-8", 0x21, number + "010000000001" + "ff"),
        ("ChanReply: a text with a surrogate", 0x21, number + "010000000003" + "eda080"),
        ("ChanReply: a byte left over", 0x21, number + "00000000000000"),
        ("ChanData: no data", 0x22, number), ("ChanData: cut in the id", 0x22, "0000"),
        ("ChanCredit: nothing", 0x23, number), ("ChanCredit: zero", 0x23, number + "00000000"),
        ("ChanCredit: cut", 0x23, number + "000001"), ("ChanCredit: a byte left over", 0x23, number + "0000000100"),
        ("ChanEof: empty", 0x24, ""), ("ChanEof: a byte left over", 0x24, number + "00"),
        ("ChanClose: no code", 0x25, number), ("ChanClose: no text", 0x25, number + "00"),
        ("ChanClose: a text that is not UTF-8", 0x25, number + "0101c0"),
        ("ChanClose: a byte left over", 0x25, number + "000000"),
        ("ChanNote: nothing", 0x26, number), ("ChanNote: an unknown what", 0x26, number + "03" + "78"),
        ("ChanNote: a what of zero", 0x26, number + "00"),
        ("ChanNote: an exit without a number", 0x26, number + "0200"),
        ("ChanNote: a cut exit", 0x26, number + "0200000000"),
        ("ChanNote: an exit of no kind", 0x26, number + "020200000001"),
        ("ChanNote: an exit with a byte left over", 0x26, number + "02000000000100"),
        ("Ask: nothing", 0x27, number), ("Ask: an unknown question", 0x27, number + "03"),
        ("Ask: an unknown answer", 0x27, number + "8300"), ("Ask: listen without an address", 0x27, number + "01"),
        ("Ask: listen at a cut address", 0x27, number + "01" + "0002" + "78"),
        ("Ask: listen with a byte left over", 0x27, number + "01" + "0001" + "7878"),
        ("Ask: listen at what is not UTF-8", 0x27, number + "01" + "0001" + "80"),
        ("Ask: unlisten with a cut number", 0x27, number + "02" + "000001"),
        ("Ask: unlisten with a byte left over", 0x27, number + "02" + "0000000100"),
        ("Ask: an answer without a text", 0x27, number + "81" + "000000"),
        ("Ask: an answer with a byte left over", 0x27, number + "81" + "0000000000"),
        ("Ask: an answer to unlisten with a byte left over", 0x27, number + "82" + "0000"),
        ("Ask: an empty answer to unlisten", 0x27, number + "82"),
    ]
    return [{"name": name, "type": f"{kind:02x}", "payload": payload} for name, kind, payload in frames]


# Courses: violations, and what looks like one

def courses() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def against(role: str, name: str, *steps: tuple[str, str, dict[str, Any]], alert: int | None = 2) -> None:
        frames = []
        for who, frame_name, fields in steps:
            kind, payload = pack(frame_name, **fields)
            frames.append({"from": who, "type": f"{kind:02x}", "payload": payload.hex(), **named(frame_name, fields)})
        found.append({"name": name, "role": role, "alert": alert, "frames": frames})

    def c(name: str, **fields: Any) -> tuple[str, str, dict[str, Any]]:
        return "client", name, fields

    def s(name: str, **fields: Any) -> tuple[str, str, dict[str, Any]]:
        return "server", name, fields

    def opening(number: int = 1, kind: str = "forward", credit: int = 65536) -> tuple[str, str, dict[str, Any]]:
        argument = accepted(1, "192.0.2.1:1") if kind == "accepted" else b"backup" if kind == "exec" else b"127.0.0.1:7"
        return ("server" if kind == "accepted" else "client", "ChanOpen",
                {"id": number, "credit": credit, "kind": kind, "argument": argument})

    yes = s("ChanReply", id=1, status=0, credit=0, text="")
    no = s("ChanReply", id=1, status=1, credit=0, text="")
    eofs = (c("ChanEof", id=1), s("ChanEof", id=1))
    most = 2 ** 31 - 1
    full = [c("ChanData", id=1, data=bytes(size)) for size in (16380, 16380, 16380, 16380, 16)]
    # Identifiers
    against("server", "an even id of a client", opening(2))
    against("server", "an id twice", opening(1), yes, opening(1))
    against("server", "an id below another", opening(5), s("ChanReply", id=5, status=0, credit=0, text=""), opening(3))
    against("client", "an odd id of a server", opening(1, "accepted"))
    for step in (c("ChanData", id=1, data=b"x"), c("ChanCredit", id=1, more=1), c("ChanEof", id=1),
                 c("ChanClose", id=1, code=1, text="")):
        against("server", f"{step[1]} for an id that was never opened", step)
        against("server", f"{step[1]} for an id that was passed over", opening(3),
                s("ChanReply", id=3, status=0, credit=0, text=""), step)
        against("server", f"{step[1]} for a channel that is over", opening(), yes, *eofs,
                s("ChanClose", id=1, code=0, text=""), c("ChanClose", id=1, code=0, text=""), step)
        against("server", f"{step[1]} for a refused channel that is over", opening(), no,
                c("ChanClose", id=1, code=1, text=""), step)
    against("client", "an answer for an id that was never opened", yes)
    # A channel's life
    for step in (s("ChanData", id=1, data=b"x"), s("ChanCredit", id=1, more=1), s("ChanEof", id=1),
                 s("ChanNote stderr", id=1, data=b"x"), s("ChanNote exit", id=1, how=0, number=0)):
        against("client", f"{step[1]} before the answer", opening(kind="exec"), step)
    against("client", "a second answer", opening(), yes, yes)
    against("server", "an answer by the opener", opening(), c("ChanReply", id=1, status=0, credit=0, text=""))
    against("server", "a second ChanEof", opening(), yes, c("ChanEof", id=1), c("ChanEof", id=1))
    against("server", "data behind a ChanEof", opening(), yes, c("ChanEof", id=1), c("ChanData", id=1, data=b"x"))
    against("server", "ChanClose 0 before both ChanEof", opening(), yes, c("ChanClose", id=1, code=0, text=""))
    against("server", "ChanClose 0 before the receiver's ChanEof", opening(), yes, c("ChanEof", id=1),
            c("ChanClose", id=1, code=0, text=""))
    against("server", "ChanClose 0 before the sender's ChanEof", opening(), yes, s("ChanEof", id=1),
            c("ChanClose", id=1, code=0, text=""))
    against("server", "a second ChanClose", opening(), yes, c("ChanClose", id=1, code=1, text=""),
            s("ChanClose", id=1, code=1, text=""), c("ChanClose", id=1, code=1, text=""))
    against("server", "a second ChanClose 0, in front of the answer to the first", opening(), yes, *eofs,
            c("ChanClose", id=1, code=0, text=""), c("ChanClose", id=1, code=0, text=""))
    against("client", "a ChanClose before the answer", opening(), s("ChanClose", id=1, code=1, text=""))
    # Credit
    against("server", "one byte beyond the credit", opening(), yes, *full, c("ChanData", id=1, data=b"x"))
    against("server", "one byte beyond the credit, before the answer", opening(), *full, c("ChanData", id=1, data=b"x"))
    against("client", "data without credit", opening(credit=0), yes, s("ChanData", id=1, data=b"x"))
    against("client", "standard error without credit", opening(kind="exec", credit=3), yes,
            s("ChanData", id=1, data=b"xx"), s("ChanNote stderr", id=1, data=b"xx"))
    against("server", "too much credit in a ChanOpen", opening(credit=most + 1))
    against("server", "too much credit in all", opening(credit=most), yes, c("ChanCredit", id=1, more=1))
    against("client", "too much credit in an answer", opening(), s("ChanReply", id=1, status=0, credit=most, text=""))
    # Notes
    against("client", "a note of a forward", opening(), yes, s("ChanNote stderr", id=1, data=b"x"))
    against("server", "a note by the opener", opening(kind="exec"), yes, c("ChanNote stderr", id=1, data=b"x"))
    against("client", "a second exit", opening(kind="exec"), yes, s("ChanNote exit", id=1, how=0, number=0),
            s("ChanNote exit", id=1, how=0, number=0))
    # Questions
    listen, answer = c("Ask listen", no=1, address="127.0.0.1:0"), s("Answer listen", no=1, status=0, port=1, text="")
    against("server", "a question with a number twice", listen, answer, listen)
    against("client", "a question by a server", s("Ask listen", no=1, address="127.0.0.1:0"))
    against("client", "an answer to no question", answer)
    against("client", "an answer to another question", listen, s("Answer unlisten", no=1, status=0))
    against("client", "a second answer to a question", listen, answer, answer)
    # What crosses on its way is no violation.
    reset = c("ChanClose", id=1, code=1, text="")
    for step in (s("ChanData", id=1, data=b"x"), s("ChanCredit", id=1, more=1), s("ChanEof", id=1)):
        against("client", f"{step[1]} behind one's own ChanClose", opening(), yes, reset, step, alert=None)
    against("client", "data beyond the credit behind one's own ChanClose", opening(credit=0), yes, reset,
            s("ChanData", id=1, data=b"x"), alert=None)
    against("client", "two ChanClose that cross", opening(), yes, reset, s("ChanClose", id=1, code=1, text=""),
            alert=None)
    against("client", "a ChanClose 0 that crosses one's own ChanClose", opening(), yes, c("ChanEof", id=1), reset,
            s("ChanEof", id=1), s("ChanClose", id=1, code=0, text=""), alert=None)
    against("client", "an acceptance behind one's own ChanClose", opening(), reset, yes, alert=None)
    against("client", "a refusal behind one's own ChanClose", opening(), reset, no, alert=None)
    against("server", "data behind one's own refusal", opening(), no, c("ChanData", id=1, data=b"x"), alert=None)
    against("server", "credit for a direction that has ended", opening(), yes, s("ChanEof", id=1),
            c("ChanCredit", id=1, more=1), alert=None)
    against("server", "ids that are passed over", opening(1), yes, opening(7), alert=None)
    against("server", "all of the credit, before the answer", opening(), *full, alert=None)
    against("server", "all of the credit in a ChanOpen", opening(credit=most), alert=None)
    against("client", "all of the credit in an answer", opening(),
            s("ChanReply", id=1, status=0, credit=most - 65536, text=""), alert=None)
    return found


def channel_parts() -> dict[str, Any]:
    return {"about_channels": ABOUT, "channel_sessions": [channel_session()],
            "channel_frames": valid_frames() + malformed_frames(), "channel_courses": courses()}


def record(path: str) -> int:
    """Writes the vectors of channels; all others stay as they are."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    data = json.loads(text)
    if json.dumps(data, indent=1) + "\n" != text:
        raise ValueError(f"{path} has another layout")
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(data | channel_parts(), indent=1) + "\n")
    return 0
