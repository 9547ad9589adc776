"""`sealed_peer.py verify`: the known answers of the specification, and whole sessions byte for byte."""
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealed_channels import CHANNEL_TYPES, Channel, Channels, End, pack, parse
from sealed_keys import (CURVE_L, KEXES, FiniteField, PeerError, Reader, Schedule, gate, raw_public, sha256,
                         small_order, uint, vector, verify_strict)
from sealed_proto import (ALERT, CLIENT_AUTH, DATA, EOF, HANDSHAKE, KEY_UPDATE, OPEN, OPEN_REPLY, PREFACE, READY,
                          SERVER_AUTH, SERVER_HELLO, Half, Hello, Suite, auth_frame, open_auth, open_frame,
                          parse_server_hello, server_hello)
from sealed_vectors import channel_parts, named, unnamed

# No PSK, kex_secret = bytes 00..3F, TH2 = SHA-256("TH2"), TH4 = SHA-256("TH4"), suite aes-256-cbc.
KNOWN = """
ES     33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a
HS     05355c277fda50beef20f909983d87abcf596da470ed4d473cae2e771e7e72c3
c_hs   81eb4f94e8597c1e2639b8fb088849907e50776f14a1f722877afb985e1ef6ea
MS     4c845398181676a4e194915af65f51c13bf7298f91b05729ac02f9079eb5c5b9
c_ap   66d185162529474f9169d4e06998e8fa1853df07f75cd08f4ac7ab1a2d187204
key    9693431628b20f9a1b73d1abbe40700aee93f085b244b27245c5ab7502115b77
mac    c11cbc513dd5f350b4a7c1531c8c4221285713e461084ce2311ae01afccd6f12
ivkey  33f4e425f305dcb989b2d395dace60aa5ec080c3bbfa458edcdc2790868e2211
seq0   0030a2899dc7d65953c78d5cf59b244cc85633f4988a8327d1e8aaa54d692217534eefc2b01433469d67f8fc0700a9a7895f
seq1   00306e062a8982bce370b0b4e7b6369a971cb19f4a5d1ca3d45057988bf2b5bb68043708ab637c6049c7967cd6a00f7856b8
next   c1f23523d137079203bdb3814ff9743cffba214d0fdb297a896b116a3c72a225
"""


class Checks:
    """Counts what agrees, names what does not."""

    def __init__(self) -> None:
        self.count, self.failed, self.where = 0, 0, ""

    def __call__(self, what: str, got: Any, expected: Any) -> None:
        self.count += 1
        if got != expected:
            self.failed += 1
            shown = [v.hex() if isinstance(v, bytes) else repr(v) for v in (got, expected)]
            print(f"MISMATCH {self.where}: {what}\n  got      {shown[0][:200]}\n  expected {shown[1][:200]}")

    def refused(self, what: str, attempt: Callable[[], Any]) -> None:
        """Something that must not be taken."""
        try:
            got: Any = attempt()
        except PeerError:
            got = False
        self(f"refused: {what}", bool(got), False)


def known_answers(check: Checks) -> None:
    schedule = Schedule(None, bytes(range(64)), sha256(b"TH2"))
    early = {"ES": schedule.early, "HS": schedule.handshake, "c_hs": schedule.c_hs, "MS": schedule.master}
    schedule.application(sha256(b"TH4"))
    half = Half(Suite("aes-256-cbc"), schedule.c_ap)
    got = {**early, "c_ap": schedule.c_ap, "key": half.key, "mac": half.mac_key, "ivkey": half.iv_key,
           "seq0": half.seal(DATA, b"hello"), "seq1": half.seal(DATA, b"hello")}
    half.ratchet()
    got["next"] = half.secret
    for line in KNOWN.split("\n")[1:-1]:
        name, value = line.split()
        check(name, got.pop(name), bytes.fromhex(value))
    check("known answers left over", got, {})


def groups(check: Checks) -> None:
    """RFC 7919: p and (p-1)/2 pass Fermat's test, and 2 generates the subgroup of that order."""
    for group in KEXES.values():
        if isinstance(group, FiniteField):
            p = group.prime
            check(f"{group.name} has its size", p.bit_length(), group.bits)
            check(f"{group.name} p", pow(3, p - 1, p), 1)
            check(f"{group.name} (p-1)/2", pow(3, p // 2 - 1, p // 2), 1)
            check(f"{group.name} order of 2", pow(2, p // 2, p), 1)
            for y in (0, 1, p - 1, p):
                check.refused(f"{group.name} share", lambda: group.finish(5, uint(group.size, y)))
            check.refused(f"{group.name} short share", lambda: group.finish(5, uint(group.size - 1, 4)))


def strictness(check: Checks) -> None:
    """What a lenient Ed25519, ML-KEM or X25519 takes."""
    key = Ed25519PrivateKey.from_private_bytes(sha256(b"a key"))
    public, signature = raw_public(key), key.sign(b"text")
    check("a signature", verify_strict(public, signature, b"text"), True)
    check.refused("another text", lambda: verify_strict(public, signature, b"test"))
    s = int.from_bytes(signature[32:], "little") + CURVE_L
    check.refused("S + L", lambda: verify_strict(public, signature[:32] + s.to_bytes(32, "little"), b"text"))
    check("points of small order", len(small_order()), 5)
    for y in small_order():
        point = y.to_bytes(32, "little")
        check.refused("small-order A", lambda: verify_strict(point, signature[:32] + bytes(32), b"text"))
        check.refused("small-order R", lambda: verify_strict(public, point + bytes(32), b"text"))
    # With A of order 1 any message has the signature R = [S]B; a lenient verifier takes S = 0, R = 1.
    one = b"\x01" + bytes(31)
    check.refused("the signature of nobody", lambda: verify_strict(one, one + bytes(32), b"text"))
    hybrid = KEXES["x25519-mlkem768"]
    private, share = hybrid.offer()
    check.refused("an encapsulation key that is not reduced", lambda: hybrid.answer(b"\xff\xff" + share[2:]))
    check.refused("an X25519 share of zeros", lambda: hybrid.answer(share[:1184] + bytes(32)))
    answer, secret = hybrid.answer(share)
    check("both have the secret", hybrid.finish(private, answer), secret)
    check.refused("an X25519 answer of zeros", lambda: hybrid.finish(private, answer[:1088] + bytes(32)))
    check.refused("a short answer", lambda: hybrid.finish(private, answer[:-1]))


def secret(session: dict[str, Any], hello: Hello, m2: bytes, check: Checks) -> bytes:
    """The secret of the first exchange, as each side computes it whose private values are given."""
    kex = KEXES[session["kex"]]
    ours, theirs = session["client_kex_private"], session["server_kex_private"]
    share = parse_server_hello(open_frame(m2[5:], SERVER_HELLO))[2]
    if isinstance(kex, FiniteField):
        private, again = kex.offer(int(ours["exponent_hex"], 16))
        answer, by_server = kex.answer(hello.share, int(theirs["exponent_hex"], 16))
        check("server's share", answer, share)
        check("server's kex secret", by_server.hex(), session["kex_secret_hex"])
    else:
        private, again = kex.offer((bytes.fromhex(ours["mlkem_seed_hex"]), bytes.fromhex(ours["x25519_hex"])))
    check("client's share", again, hello.share)
    found = kex.finish(private, share)
    check("client's kex secret", found.hex(), session["kex_secret_hex"])
    return found


def contents(session: dict[str, Any], auth: dict[str, bytes]) -> list[tuple[str, int, bytes | None]]:
    """Who says what, record by record; None where the vectors leave the content open."""
    said: list[tuple[str, int, bytes | None]] = [
        ("server", HANDSHAKE, auth["server"]), ("client", HANDSHAKE, auth["client"]), ("server", HANDSHAKE, None),
        ("client", OPEN, vector(1, b"message") + vector(2, b"")), ("server", OPEN_REPLY, None)]
    for epoch, text in enumerate(session.get("messages", []), 1):
        said.append(("client", DATA, vector(4, text.encode())))
        said.append(("server", DATA, vector(4, text[::-1].encode())))
        if session["client_updates_key_after_each_message"]:
            said.append(("client", KEY_UPDATE, uint(4, epoch)))
    if session.get("service") == "channels":
        # What the records say is checked as frames, and as a conversation.
        return said[:3] + [(step["from"], int(step["what"], 16), bytes.fromhex(step["payload_hex"]))
                           for step in session["wire"][5:]]
    sides = ("client", "server")
    return said + [(side, EOF, b"") for side in sides] + [(side, ALERT, uint(2, 0)) for side in sides]


def replay(session: dict[str, Any], check: Checks) -> int:
    """One session; the number of its records."""
    m1, m2 = bytes.fromhex(session["m1_hex"]), bytes.fromhex(session["m2_hex"])
    psk = bytes.fromhex(session["psk_hex"]) if session["psk_hex"] else None
    identity = {side: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)) if seed else None
                for side in ("client", "server") for seed in [session[f"{side}_identity_seed_hex"]]}
    hello = Hello.parse(m1)
    public = raw_public(identity["server"]) if identity["server"] else None
    check("M1 again", hello.build(), m1)
    check("gate", gate(psk, public, hello.before_gate()), hello.gate)
    check("M1's kex", hello.kexes[hello.index], session["kex"])
    kex, suite, share = parse_server_hello(open_frame(m2[5:], SERVER_HELLO))
    check("M2 again", server_hello(m2[9:41], kex, suite, share), m2)
    check("M2's choice", (kex, hello.suites[suite]), (hello.index, session["suite"]))
    schedule = Schedule(psk, secret(session, hello, m2, check), sha256(m1, m2))
    suite_of = Suite(session["suite"])
    sending = {"client": Half(suite_of, schedule.c_hs), "server": Half(suite_of, schedule.s_hs)}
    so_far, auth = m1 + m2, {}
    for side, kind in (("server", SERVER_AUTH), ("client", CLIENT_AUTH)):
        finished = sending[side].finished()
        auth[side] = auth_frame(kind, so_far, identity[side], finished)
        check(f"{side}'s authentication", auth[side].hex(), session[f"{side}_auth_frame_hex"])
        key = identity[side]
        check(f"{side} is who it is", open_auth(kind, so_far, auth[side], finished),
              (raw_public(key) if key else None, True))
        for at in (40, 100, 132):
            check.refused(f"{side}'s authentication altered",
                          lambda: open_auth(kind, so_far, flip(auth[side], at), finished)[1])
        so_far += auth[side]
    schedule.application(sha256(so_far))
    for name, value in (("th4", schedule.th), ("c_hs", schedule.c_hs), ("s_hs", schedule.s_hs), ("c_ap", schedule.c_ap),
                        ("s_ap", schedule.s_ap), ("exporter", schedule.exporter), ("sid", schedule.sid)):
        check(name, value.hex(), session[f"{name}_hex"])
    wire = [(step["from"], bytes.fromhex(step["hex"])) for step in session["wire"]]
    check("the wire begins with the hellos", wire[:2], [("client", m1), ("server", m2)])
    said = contents(session, auth)
    check("number of records", len(wire) - 2, len(said))
    opening = {side: Half(suite_of, half.secret) for side, half in sending.items()}
    for number, ((side, raw), (who, kind, payload)) in enumerate(zip(wire[2:], said)):
        check.where = f"{session['kex']}, {session['suite']}, record {number} ({kind:02x})"
        check("the side", side, who)
        opening[side].check_length(len(raw) - 2)
        body, at = raw[2:], 11 * number % (len(raw) - 2)
        check.refused("one bit of it altered", lambda: opening[side].open(flip(body, at)))
        check.refused("a block less of it", lambda: opening[side].open(body[suite_of.block:]))
        found = opening[side].open(body)
        if payload is None:
            payload = found[1]
            check_open_content(kind, payload, check)
        check("opened", found, (kind, payload))
        check("sealed", sending[side].seal(kind, payload), raw)
        switch(side, number, kind, (sending, opening), schedule, suite_of)
    return len(wire) - 2


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]


def check_open_content(kind: int, payload: bytes, check: Checks) -> None:
    """Ready with status 0 and well-formed parameters; OpenReply with status 0."""
    reader = Reader(open_frame(payload, READY) if kind == HANDSHAKE else payload)
    check("status", reader.uint(1), 0)
    if kind == HANDSHAKE:
        reader.pairs()


def switch(side: str, number: int, kind: int, maps: Any, schedule: Schedule, suite: Suite) -> None:
    """Application keys behind the two authentications; the next ones behind a key update."""
    for halves in maps:
        if number < 2:
            halves[side] = Half(suite, schedule.s_ap if side == "server" else schedule.c_ap)
        elif kind == KEY_UPDATE:
            halves[side].ratchet()


def malformed_hellos(m1: bytes, check: Checks) -> None:
    hello = Hello.parse(m1)
    again = [("no kex", {"kexes": []}), ("nine kexes", {"kexes": [f"k{n}" for n in range(9)]}),
             ("a kex twice", {"kexes": ["a", "a"]}), ("33 suites", {"suites": [f"s{n}" for n in range(33)]}),
             ("a name in capitals", {"suites": ["AES"]}), ("an empty name", {"suites": [""]}),
             ("a share for no kex", {"index": len(hello.kexes)}), ("more than 4096 bytes", {"share": bytes(4000)}),
             ("an extension twice", {"extensions": 2 * bytes.fromhex("0a0a0000")}),
             ("an extension cut", {"extensions": bytes.fromhex("0a0a0001")})]
    for what, change in again:
        check.refused(what, lambda: Hello.parse(replace(hello, **change).build()))
    check.refused("another version", lambda: Hello.parse(PREFACE[:4] + b"\x02" + m1[5:]))
    check.refused("a byte too many", lambda: Hello.parse(m1 + b"\0"))
    check.refused("a byte too few", lambda: Hello.parse(m1[:-1]))


# Channels

class Player:
    """One side of a conversation: it says what is written, and takes what the other side says."""

    def __init__(self, is_client: bool) -> None:
        self.said: list[tuple[int, bytes]] = []
        self.answer: dict[str, Any] = {}
        self.channels = Channels(is_client, lambda kind, payload: self.said.append((kind, payload)))
        self.channels.on_open = lambda channel: None
        self.channels.on_ask = lambda name, fields: self.answer

    def say(self, name: str, fields: dict[str, Any]) -> tuple[int, bytes]:
        """The frame that this side sends now, be it of its own or because it is written."""
        if not self.said:
            self.perform(name, dict(fields))
        return self.said.pop(0)

    def perform(self, name: str, fields: dict[str, Any]) -> None:
        if name == "ChanOpen":
            self.channels.window = fields["credit"]
            self.channels.next_id = fields["id"]
            self.channels.open(fields["kind"], fields["argument"], End())
        elif name.startswith("Ask"):
            number = fields.pop("no")
            self.channels.last_no[True] = number - 1
            self.channels.ask(name.split()[1], lambda fields: None, **fields)
        else:
            self.perform_on(self.channels.live[fields.pop("id")], name, fields)

    def perform_on(self, channel: Channel, name: str, fields: dict[str, Any]) -> None:
        if name == "ChanReply" and fields["status"]:
            channel.refuse(fields["status"], fields["text"])
        elif name == "ChanReply":
            channel.window = 65536 + fields["credit"]
            channel.accept(End())
        elif name == "ChanData":
            channel.send(fields["data"])
        elif name == "ChanCredit":
            channel.granted += fields["more"]
            channel.write(name, **fields)
        elif name == "ChanEof":
            channel.send_eof()
        elif name == "ChanClose":
            channel.close(fields["code"], fields["text"])
        elif name == "ChanNote stderr":
            channel.send_stderr(fields["data"])
        else:
            channel.send_exit(fields["how"], fields["number"])

    def hear(self, kind: int, payload: bytes, next_: dict[str, Any] | None) -> None:
        """`next_` is what this side says next: the answer to a question, perhaps."""
        if next_ and next_["frame"].startswith("Answer"):
            self.answer = {key: value for key, value in next_["fields"].items() if key not in ("no", "what")}
        self.channels.take(kind, payload)


def converse(frames: list[dict[str, Any]], check: Checks) -> None:
    """A conversation, as both sides."""
    for is_client in (True, False):
        player, ours = Player(is_client), "client" if is_client else "server"
        for number, step in enumerate(frames):
            if step["from"] == ours:
                check(f"{ours}'s frame {number}", player.say(*unnamed(step)), raw_frame(step))
            else:
                after = next((later for later in frames[number + 1:] if later["from"] == ours), None)
                player.hear(*raw_frame(step), after)
        check(f"{ours} has said it all", (player.said, list(player.channels.live)), ([], []))


def raw_frame(step: dict[str, Any]) -> tuple[int, bytes]:
    return int(step.get("what") or step["type"], 16), bytes.fromhex(step.get("payload_hex") or step["payload"])


def frames_alone(entries: list[dict[str, Any]], check: Checks) -> None:
    for entry in entries:
        check.where = f"frame, {entry['name']}"
        kind, payload = raw_frame(entry)
        if "fields" not in entry:
            check.refused("it", lambda: parse(kind, payload))
            continue
        (name, fields), (frame, again) = parse(kind, payload), unnamed(entry)
        check("parsed", named(name, fields), {key: entry[key] for key in ("frame", "fields")})
        check("packed", pack(frame, **again), (kind, payload))
        for size in range(len(payload)):
            # Data may be shorter; nothing else may.
            if "data" not in fields or size <= len(payload) - len(fields["data"]):
                check.refused(f"the first {size} bytes of it", lambda: parse(kind, payload[:size]))
        if "data" not in fields:
            check.refused("a byte more", lambda: parse(kind, payload + b"x"))


def course(entry: dict[str, Any], check: Checks) -> None:
    check.where = f"course, {entry['name']}"
    player = Player(entry["role"] == "client")
    *before, last = entry["frames"]
    for number, step in enumerate(before):
        after = entry["frames"][number + 1]
        if step["from"] == entry["role"]:
            check("said", player.say(*unnamed(step)), raw_frame(step))
        else:
            player.hear(*raw_frame(step), after if after["from"] == entry["role"] else None)
    try:
        player.hear(*raw_frame(last), None)
        check("no alert", None, entry["alert"])
    except PeerError as error:
        check("the alert", error.alert, entry["alert"])


def channels(data: dict[str, Any], check: Checks) -> None:
    """All vectors of channels."""
    check.where = "channels"
    expected = channel_parts()
    check("the vectors are those that `record` writes", {key: data.get(key) for key in expected}, expected)
    for session in data["channel_sessions"]:
        replay(session, check)
        frames = [step for step in session["wire"][2:] if int(step["what"], 16) in CHANNEL_TYPES]
        check.where = "the conversation"
        converse(frames, check)
        frames_alone([{**step, "name": step["frame"]} for step in frames], check)
    frames_alone(data["channel_frames"], check)
    for entry in data["channel_courses"]:
        course(entry, check)


def verify(path: str) -> int:
    check = Checks()
    for what, part in (("known answers", known_answers), ("groups", groups), ("strictness", strictness)):
        before, check.where = check.count, what
        part(check)
        print(f"{what}: {check.count - before} checks")
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    sessions = data["sessions"]
    check("sessions in the file", bool(sessions), True)
    for session in sessions:
        before, check.where = check.count, f"{session['kex']}, {session['suite']}"
        malformed_hellos(bytes.fromhex(session["m1_hex"]), check)
        records = replay(session, check)
        psk = ", with a PSK" if session["psk_hex"] else ""
        print(f"session {session['kex']}, {session['suite']}{psk}: {records} records, {check.count - before} checks")
    before = check.count
    channels(data, check)
    print(f"channels: {len(data['channel_frames'])} frames, {len(data['channel_courses'])} courses, "
          f"{check.count - before} checks")
    print(f"{len(sessions) + len(data['channel_sessions'])} sessions, {check.count} checks, {check.failed} mismatches")
    return 1 if check.failed else 0
