"""Checks classic_proto.py against the known answers. See classic_peer.py."""
from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional

from classic_proto import (DIALECTS, EOL, Channel, Dialect, DiffieHellman, PeerError, build_chosen, build_proposal,
                           encode_secret, key_exchange, key_iv, parse_chosen, parse_dhmke, parse_proposal, select,
                           shared_secret, shown)

Vector = Dict[str, Any]
NAMES = {  # the dialects of the vectors this peer speaks
    "capture": DIALECTS["capture"], "field2020": DIALECTS["field2020"], "field2025": DIALECTS["lines"],
    "text": Dialect("text", mac="cumulative", reply="filled"),
    "restart-permsg": Dialect("restart-permsg", separator=",", cbc="restart", reply="prefixed")}


def outcome(function: Callable[[bytes], Any], raw: bytes, expect: Vector) -> bool:
    try:
        got = function(raw)
    except PeerError:
        return "error" in expect
    return "ok" in expect and json.dumps(got) == json.dumps(expect["ok"])


def wire_of(vector: Vector) -> bytes:
    return bytes.fromhex(vector["wire_hex"]) if "wire_hex" in vector else vector["wire"].encode()


def channel(vector: Vector, dialect: Dialect) -> Channel:
    return Channel(vector["cipher"], bytes.fromhex(vector["key_hex"]), bytes.fromhex(vector["iv_hex"]), dialect)


def pairs(offer: List[Any]) -> List[Any]:
    return [(name, sizes) for name, sizes in offer]


def proposal_build(v: Vector) -> Optional[bool]:
    dialect = NAMES.get(v["dialect"])
    return build_proposal(pairs(v["offer"])) + EOL[dialect.line_end].decode() == v["wire"] if dialect else None


def dh_parse(v: Vector) -> Optional[bool]:
    if "refuse" in v.get("note", "") and "ok" in v["expect"]:
        return None  # the answer is free
    return outcome(lambda raw: str(parse_dhmke(raw)), wire_of(v), v["expect"])


def dh_check(v: Vector) -> bool:
    number = int(v["number"]) if "number" in v else int(v["number_hex"], 16)
    return all(key_exchange(residue).verify_public_key(number) == v["accept"] for residue in ("euler", "jacobi"))


def exchange_side(private_hex: str) -> DiffieHellman:
    dh = DiffieHellman(group=18, key_length=640)
    dh._DiffieHellman__private_key = int(private_hex, 16)  # the package has no way in
    dh.generate_public_key()
    return dh


def dh_exchange(v: Vector) -> bool:
    client, server = exchange_side(v["client_private_hex"]), exchange_side(v["server_private_hex"])
    return (f"DHMKE:{client.public_key}" == v["client_wire"] and f"DHMKE:{server.public_key}" == v["server_wire"]
            and shared_secret(client, parse_dhmke(v["server_wire"].encode())) == v["shared_key"]
            and shared_secret(server, parse_dhmke(v["client_wire"].encode())) == v["shared_key"]
            and encode_secret(client.shared_secret) == v["shared_key"])


def key_and_iv(v: Vector) -> Optional[bool]:
    if "dialect" in v:
        return None  # a padded key, of a dialect this peer does not speak
    key, iv = key_iv(v["shared_key"], (v["cipher"], v["size"]))
    if v.get("usable") is False:
        try:
            Channel(v["cipher"], key, iv, DIALECTS["spec"])
            return False
        except PeerError:
            pass
    return (key.hex(), iv.hex()) == (v["key_hex"], v["iv_hex"])


def texts_pass(v: Vector, dialect: Dialect, messages: List[Vector]) -> bool:
    """Seals and opens; the stream is handed over whole and byte by byte."""
    sealing, frames = channel(v, dialect), []
    for message in messages:
        frames.append(bytes.fromhex(message["ciphertext_hex"]) + message["hmac"].encode())
        if sealing.seal(message["text"]) != frames[-1]:
            return False
    stream, opened = b"".join(frames), [message["opened"] for message in messages]
    for step in (len(stream), 1):
        opening, buffer, got = channel(v, dialect), bytearray(), []
        for at in range(0, len(stream), step):
            buffer += stream[at:at + step]
            text = opening.take(buffer)
            while text is not None:
                got.append(text)
                text = opening.take(buffer)
        if got != opened or buffer:
            return False
    return True


def hmac_error(v: Vector) -> bool:
    if "frame_hex" in v:
        buffer = bytearray.fromhex(v["frame_hex"])
        text = channel(v, DIALECTS["spec"]).take(buffer)
        return text == v["expect"]["ok"] if "ok" in v["expect"] else text is None or bool(buffer)
    opening, buffer = channel(v, DIALECTS["capture"]), bytearray().join(map(bytes.fromhex, v["frames_hex"]))
    return opening.take(buffer) is not None and opening.take(buffer) is None and opening.ends_in_tag(buffer)


def reply(v: Vector) -> bool:
    read = {name: NAMES[name].as_read(v["text"]) for name in ("capture", "field2020", "field2025")}
    raw = {name: NAMES[name].reply_to(text) for name, text in read.items()}
    return (read["capture"] == v["text_as_read"] and all(raw[name].hex() == v[f"{name}_hex"] for name in raw)
            and shown(raw["capture"]) == v["client_shows"])


def conversation(v: Vector, exchanges: Dict[str, Vector]) -> Optional[bool]:
    dialect = NAMES.get(v["dialect"])
    if dialect is None:
        return None
    end, exchange = EOL[dialect.line_end].decode(), exchanges[v["exchange"]]
    choice = select(pairs(v["server_supports"]), pairs(v["client_offers"]))
    if choice != (v["cipher"], v["size"]):
        return False
    sealing = Channel(choice[0], *key_iv(exchange["shared_key"], choice), dialect)
    wire = [text.encode() for text in (
        build_proposal(pairs(v["client_offers"])) + end, build_chosen(choice, dialect.separator) + end,
        exchange["client_wire"] + end, exchange["server_wire"] + end)]
    for text in v["texts"]:
        wire += [sealing.seal(text), dialect.reply_to(dialect.as_read(text))]
    return [raw.hex() for raw in wire] == [message["hex"] for message in v["wire"]]


def verify(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    exchanges = {v["name"]: v for v in vectors.get("dh_exchange", [])}
    checks: Dict[str, Callable[[Vector], Optional[bool]]] = {
        "proposal_build": proposal_build,
        "proposal_parse": lambda v: outcome(parse_proposal, wire_of(v), v["expect"]),
        "select": lambda v: select(pairs(v["supported"]), pairs(v["proposed"])) == (v["expect"] and tuple(v["expect"])),
        "chosen_build": lambda v: build_chosen((v["cipher"], v["size"]), NAMES[v["dialect"]].separator) == v["wire"],
        "chosen_parse": lambda v: outcome(parse_chosen, wire_of(v), v["expect"]),
        "dh_parse": dh_parse,
        "dh_check": dh_check,
        "dh_exchange": dh_exchange,
        "shared_key_encoding": lambda v: encode_secret(int(v["secret_hex"], 16)) == v["shared_key"],
        "key_iv": key_and_iv,
        "message": lambda v: texts_pass(v, DIALECTS["spec"], [v]),
        "sequence": lambda v: texts_pass(v, Dialect("", mac=v["mac"], cbc=v["cbc"]), v["messages"]),
        "hmac_error": hmac_error,
        "reply": reply,
        "reply_read": lambda v: shown(wire_of(v)) == v["shown"],
        "conversation": lambda v: conversation(v, exchanges)}
    bad = 0
    for name, check in checks.items():
        results = [check(v) for v in vectors.get(name, [])]
        passed, failed = results.count(True), [n for n, result in enumerate(results) if result is False]
        bad += len(failed) + (passed == 0)
        skipped = f", {results.count(None)} of dialects not spoken or with a free answer" if None in results else ""
        missing = "" if passed or failed else ", NO VECTORS"
        print(f"{name}: {passed} passed{skipped}{missing}" + (f", FAILED: {failed}" if failed else ""))
    print("failed" if bad else "ok")
    return 1 if bad else 0
