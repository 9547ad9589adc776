"""The classic protocol as functions: no sockets, no clock. See classic_peer.py."""
from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from Crypto.Cipher import AES, DES, DES3, Blowfish
from diffiehellman.diffiehellman import DiffieHellman
from diffiehellman.exceptions import MalformedPublicKey

Choice = Tuple[str, int]
Offer = List[Tuple[str, List[int]]]

MODULES: Dict[str, Any] = {
    "AES": AES, "DES3": DES3, "3DES": DES3, "TDES": DES3, "Blowfish": Blowfish, "DES": DES}
SIZES = {"AES": (128, 192, 256), "DES3": (128, 192), "3DES": (128, 192), "TDES": (128, 192),
         "Blowfish": tuple(range(32, 449, 8)), "DES": (56,)}
NO_CIPHER, BAD_HMAC, PREFIX = "Could not agree on a cipher", "Bad HMAC", "Server says: "
TAG = 64
EOL = {"none": b"", "lf": b"\n", "crlf": b"\r\n"}


class PeerError(Exception):
    """The other side, or the key it agreed to, broke the protocol."""


class BadHmac(PeerError):
    pass


@dataclass(frozen=True)
class Dialect:
    name: str
    line_end: str = "none"      # none, lf, crlf: of handshake messages, sent and required
    separator: str = ":"        # between name and size in ChosenCipher
    mac: str = "per-message"    # or cumulative: over all ciphertext so far
    cbc: str = "chain"          # or restart: every message starts at the IV
    reply: str = "plain"        # prefixed: with PREFIX; filled: zero-filled to 16 besides
    strip: str = "both"         # sides of a decrypted text NULs are taken from, or right

    def reply_to(self, text: str) -> bytes:
        raw = text[::-1].encode()
        if self.reply == "filled":
            raw += bytes(-len(raw) % 16)
        return raw if self.reply == "plain" else PREFIX.encode() + raw

    def as_read(self, text: str) -> str:
        return text.rstrip("\0") if self.strip == "right" else text.strip("\0")


DIALECTS = {d.name: d for d in (
    Dialect("spec"),
    Dialect("capture", separator=",", mac="cumulative", reply="filled"),
    Dialect("field2020", separator=",", mac="cumulative", reply="prefixed"),
    Dialect("lines", line_end="lf", separator=",", strip="right"))}


def shown(reply: bytes) -> str:
    """What a client prints for a reply: no prefix, no fill, no line end."""
    text = reply.decode(errors="replace")
    return (text[len(PREFIX):] if text.startswith(PREFIX) else text).rstrip("\r\n").strip("\0")


# Negotiation and key exchange: text and numbers only

ITEM = r"[ ]*[A-Za-z0-9][A-Za-z0-9_-]*[ ]*:[ ]*\[(?:[ ]*[0-9]{1,5}(?:[ ]*,[ ]*[0-9]{1,5})*)?[ ]*\][ ]*"
PROPOSAL = re.compile(rf"ProposedCiphers:({ITEM}(?:,{ITEM})*)(?:\r?\n)?")
CHOSEN = re.compile(r"ChosenCipher:[ ]*([A-Za-z0-9][A-Za-z0-9_-]*)[ ]*[:,][ ]*([0-9]{1,5})[ ]*(?:\r?\n)?")
DHMKE = re.compile(r"DHMKE:[ ]*([0-9]+)[ ]*(?:\r?\n)?")


def matched(pattern: "re.Pattern[str]", raw: bytes, expected: str) -> "re.Match[str]":
    found = pattern.fullmatch(raw.decode(errors="replace"))
    if not found:
        raise PeerError(f"expected {expected}, got {raw[:80]!r}")
    return found


def build_proposal(offer: Offer) -> str:
    return "ProposedCiphers:" + ",".join(f"{name}:[{','.join(map(str, sizes))}]" for name, sizes in offer)


def parse_proposal(raw: bytes) -> Offer:
    items = matched(PROPOSAL, raw, "ProposedCiphers:NAME:[BITS,...],...")[1]
    return [(name, [int(n) for n in re.findall("[0-9]+", sizes)])
            for name, sizes in re.findall(r"([A-Za-z0-9][A-Za-z0-9_-]*)[ ]*:[ ]*\[([^]]*)\]", items)]


def select(supported: Offer, proposed: Offer) -> Optional[Choice]:
    """The longest key both have; on a tie the first of the server's list."""
    theirs = {(name, bits) for name, sizes in proposed for bits in sizes}
    common = [(name, bits) for name, sizes in supported for bits in sizes if (name, bits) in theirs]
    return max(common, key=lambda choice: choice[1]) if common else None


def build_chosen(choice: Choice, separator: str) -> str:
    return f"ChosenCipher:{choice[0]}{separator}{choice[1]}"


def parse_chosen(raw: bytes) -> Choice:
    found = matched(CHOSEN, raw, "ChosenCipher:NAME:BITS")
    return found[1], int(found[2])


def parse_dhmke(raw: bytes) -> int:
    return int(matched(DHMKE, raw, "DHMKE:NUMBER")[1])


def jacobi(a: int, n: int) -> int:
    """The Jacobi symbol: 1 for a quadratic residue of a prime, as Euler's criterion says with a long power."""
    a, symbol = a % n, 1
    while a:
        twos = (a & -a).bit_length() - 1
        a >>= twos
        if twos & 1 and n & 7 in (3, 5):
            symbol = -symbol
        if a & n & 3 == 3:
            symbol = -symbol
        a, n = n % a, a
    return symbol if n == 1 else 0


class QuickDiffieHellman(DiffieHellman):
    """The package's key exchange, with a check of public values that takes milliseconds and not seconds."""

    def verify_public_key(self, other_public_key: int) -> bool:
        return self.prime - 1 > other_public_key > 2 and jacobi(other_public_key, self.prime) == 1


def key_exchange(residue: str) -> DiffieHellman:
    """With the package's own check, or with ours."""
    return {"euler": DiffieHellman, "jacobi": QuickDiffieHellman}[residue](group=18, key_length=640)


def shared_secret(dh: DiffieHellman, number: int) -> str:
    """The shared key; refuses what is out of range or no quadratic residue."""
    try:
        dh.generate_shared_secret(number)
    except MalformedPublicKey as error:  # a BaseException in this package
        raise PeerError("the public value is out of range or no quadratic residue") from error
    return dh.shared_key


def encode_secret(secret: int) -> str:
    return hashlib.sha256(secret.to_bytes(secret.bit_length() // 8 + 1, "big")).hexdigest()


def key_iv(shared_key: str, choice: Choice) -> Tuple[bytes, bytes]:
    name, bits = choice
    key = shared_key[:bits // 8].encode() + (b"\0" if name == "DES" else b"")
    return key, shared_key[-MODULES[name].block_size:].encode()


class Channel:
    """One direction of messages: CBC state and HMAC state. Either seals or opens, never both."""

    def __init__(self, name: str, key: bytes, iv: bytes, dialect: Dialect) -> None:
        self.module, self.key, self.iv, self.dialect = MODULES[name], key, iv, dialect
        self.block = self.module.block_size
        self.scanned = 0
        self.mac = hmac.new(key, digestmod="sha256")
        try:
            self.cbc = self.module.new(key, self.module.MODE_CBC, iv)
        except ValueError as error:
            raise PeerError(f"{name} refuses the key: {error}") from error

    def state(self) -> Any:
        if self.dialect.cbc == "restart":
            return self.module.new(self.key, self.module.MODE_CBC, self.iv)
        return self.cbc

    def next_mac(self, ciphertext: bytes) -> Any:
        mac = self.mac.copy()
        mac.update(ciphertext)
        return mac

    def accept(self, mac: Any) -> None:
        if self.dialect.mac == "cumulative":
            self.mac = mac

    def seal(self, text: str) -> bytes:
        raw = text.encode()
        ciphertext = self.state().encrypt(raw + bytes(-len(raw) % 16))
        mac = self.next_mac(ciphertext)
        self.accept(mac)
        return ciphertext + mac.hexdigest().encode()

    def take(self, buffer: bytearray) -> Optional[str]:
        """Removes the first message of the buffer and opens it; None if there is none yet."""
        while self.scanned + TAG <= len(buffer):
            at, self.scanned = self.scanned, self.scanned + self.block
            tag = bytes(buffer[at:at + TAG])
            if re.fullmatch(b"[0-9a-f]{64}", tag) is None:
                continue
            mac = self.next_mac(bytes(buffer[:at]))
            if hmac.compare_digest(mac.hexdigest().encode(), tag):
                self.accept(mac)
                text = self.state().decrypt(bytes(buffer[:at]))
                del buffer[:at + TAG]
                self.scanned = 0
                try:
                    return self.dialect.as_read(text.decode())
                except UnicodeDecodeError as error:
                    raise PeerError(f"the decrypted text is not UTF-8: {error}") from error
        return None

    def ends_in_tag(self, buffer: bytearray) -> bool:
        """Whole blocks, then what looks like an HMAC: with silence behind it, a wrong one."""
        body = len(buffer) - TAG
        return body >= 0 and body % self.block == 0 and bool(re.fullmatch(b"[0-9a-fA-F]{64}", bytes(buffer[body:])))
