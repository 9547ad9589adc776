"""Frames and records of the sealed profile, as functions: no sockets, no clock. See sealed_peer.py."""
from __future__ import annotations

import hmac
import os
import re
from dataclasses import dataclass, field
from typing import Any

from Crypto.Cipher import AES, DES3, Blowfish
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealed_keys import (PeerError, Policy, Reader, Silent, expand_label, frame, mac, raw_public, sha256, uint,
                         vector, verify_strict)

PREFACE = b"\xf5VPN\x01"
CLIENT_HELLO, SERVER_HELLO, SERVER_AUTH, CLIENT_AUTH, READY, REJECT = 0x01, 0x02, 0x0B, 0x0C, 0x0D, 0x0E
REKEY_INIT, REKEY_REPLY, REKEY_DONE = 0x10, 0x11, 0x12
ALERT, HANDSHAKE, DATA, KEY_UPDATE, PING, PONG, OPEN, OPEN_REPLY, EOF = range(0x15, 0x1E)
REJECTS = {1: "no_common_suite", 2: "kex_retry", 3: "busy"}
HELLO_LIMIT, PAYLOAD_LIMIT, RECORD_LIMIT, TAG, AUTH_BODY = 4096, 16384, 16432, 32, 129


# Hello and authentication

def open_frame(data: bytes, kind: int) -> bytes:
    """The body of the one frame that `data` has to be."""
    reader = Reader(data)
    if reader.uint(1) != kind:
        raise PeerError(f"frame {data[0]:02x} where {kind:02x} is due")
    body = reader.vector(3)
    reader.end()
    return body


def names(reader: Reader, most: int) -> list[str]:
    count = reader.uint(1)
    if not 1 <= count <= most:
        raise PeerError(f"a list of {count} names")
    found = [reader.vector(1).decode("latin-1") for _ in range(count)]
    if not all(re.fullmatch("[a-z0-9.@-]{1,32}", name) for name in found) or len(set(found)) != count:
        raise PeerError("a malformed name, or one twice")
    return found


def name_list(items: list[str]) -> bytes:
    return uint(1, len(items)) + b"".join(vector(1, name.encode()) for name in items)


@dataclass
class Hello:
    """M1."""
    kexes: list[str]
    suites: list[str]
    index: int
    share: bytes
    random: bytes = field(default_factory=lambda: os.urandom(32))
    extensions: bytes = b""
    gate: bytes = b""

    def before_gate(self) -> bytes:
        body = self.random + name_list(self.kexes) + name_list(self.suites) + uint(1, self.index)
        body += vector(2, self.share) + vector(2, self.extensions)
        return PREFACE + uint(1, CLIENT_HELLO) + uint(3, len(body) + 32) + body

    def build(self) -> bytes:
        return self.before_gate() + self.gate

    @classmethod
    def parse(cls, data: bytes) -> "Hello":
        if data[:5] != PREFACE or len(data) > HELLO_LIMIT:
            raise PeerError("no hello")
        reader = Reader(open_frame(data[5:], CLIENT_HELLO))
        random, kexes, suites = reader.take(32), names(reader, 8), names(reader, 32)
        hello = cls(kexes, suites, reader.uint(1), reader.vector(2), random, reader.vector(2), reader.take(32))
        reader.end()
        Reader(hello.extensions).pairs()
        if hello.index >= len(kexes):
            raise PeerError("a share for no kex")
        return hello


def grease() -> bytes:
    """An extension that nobody knows: 0A0A, 1A1A … FAFA, with 0 to 16 bytes."""
    byte = os.urandom(1)[0] & 0xF0 | 0x0A
    return bytes([byte, byte]) + vector(2, os.urandom(os.urandom(1)[0] % 17))


def server_hello(random: bytes, kex: int, suite: int, share: bytes) -> bytes:
    return PREFACE + frame(SERVER_HELLO, random + bytes([kex, suite]) + vector(2, share) + vector(2, b""))


def parse_server_hello(body: bytes) -> tuple[int, int, bytes]:
    reader = Reader(body)
    reader.take(32)
    kex, suite, share = reader.uint(1), reader.uint(1), reader.vector(2)
    Reader(reader.vector(2)).pairs()
    reader.end()
    return kex, suite, share


def to_sign(kind: int, before: bytes) -> bytes:
    side = b"server" if kind == SERVER_AUTH else b"client"
    return b" " * 64 + b"vpn sealed1 " + side + b" auth\0" + sha256(before)


def auth_frame(kind: int, so_far: bytes, key: Ed25519PrivateKey | None, finished: bytes) -> bytes:
    """ServerAuth or ClientAuth, behind the bytes so far."""
    start = uint(1, kind) + uint(3, AUTH_BODY)
    start += b"\x01" + raw_public(key) if key else bytes(33)
    start += key.sign(to_sign(kind, so_far + start)) if key else bytes(64)
    return start + mac(finished, sha256(so_far, start))


def open_auth(kind: int, so_far: bytes, data: bytes, finished: bytes) -> tuple[bytes | None, bool]:
    """The public key, None with kind 0, and whether signature and MAC are right."""
    body = open_frame(data, kind)
    if len(body) != AUTH_BODY or body[0] > 1:
        raise PeerError("an authentication of another shape")
    public, signature, tag = body[1:33], body[33:97], body[97:]
    right = hmac.compare_digest(mac(finished, sha256(so_far, data[:-32])), tag)
    if body[0] == 0:
        if any(body[1:97]):
            raise PeerError("a key or signature where there is none")
        return None, right
    return public, verify_strict(public, signature, to_sign(kind, so_far + data[:37])) and right


# Records

MODULES = {"aes": (AES, (128, 192, 256)), "des3": (DES3, (128, 192)), "blowfish": (Blowfish, range(32, 449, 8))}


class Suite:
    def __init__(self, name: str) -> None:
        found = re.fullmatch("([a-z0-9]+)-([0-9]{1,4})-cbc", name)
        if not found or found[1] not in MODULES or int(found[2]) not in MODULES[found[1]][1]:
            raise ValueError(f"no suite is called {name}")
        self.name, self.module, self.bits = name, MODULES[found[1]][0], int(found[2])
        self.block, self.key_size = self.module.block_size, self.bits // 8

    def rank(self) -> tuple[bool, int]:
        return self.block > 8, self.bits


class Half:
    """One direction: its traffic secret, keys, sequence number and blocks under the key."""

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self.suite, self.seq, self.epoch = suite, 0, 0
        self.hard = 1 << (suite.block * 8 // 4)
        self.install(secret)

    def install(self, secret: bytes) -> None:
        self.secret, self.blocks, size = secret, 0, self.suite.key_size
        self.key = expand_label(secret, f"key {self.suite.name}", b"", size)
        self.mac_key, self.iv_key = expand_label(secret, "mac", b"", 32), expand_label(secret, "iv", b"", size)
        try:
            self.cipher(self.key)
            self.ivs = self.cipher(self.iv_key)
        except ValueError as error:
            raise PeerError(f"a weak key: {error}") from error

    def finished(self) -> bytes:
        return expand_label(self.secret, "fin", b"", 32)

    def ratchet(self) -> None:
        self.fresh(expand_label(self.secret, "upd", b"", 32))

    def fresh(self, secret: bytes) -> None:
        self.epoch += 1
        self.install(secret)

    def cipher(self, key: bytes, iv: bytes | None = None) -> Any:
        module = self.suite.module
        return module.new(key, module.MODE_ECB) if iv is None else module.new(key, module.MODE_CBC, iv)

    def next_cipher(self, size: int) -> Any:
        """The cipher of the record that is next, with `size` bytes of ciphertext."""
        self.blocks += size // self.suite.block
        if self.blocks > self.hard or self.seq >= 1 << 48:
            raise Policy("the limit of a key")
        iv = self.ivs.encrypt(uint(self.suite.block, self.seq))
        self.seq += 1
        return self.cipher(self.key, iv)

    def tag(self, length: int, ciphertext: bytes) -> bytes:
        return mac(self.mac_key, uint(8, self.seq) + uint(2, length) + ciphertext)

    def seal(self, kind: int, payload: bytes) -> bytes:
        plain = uint(1, kind) + vector(2, payload)
        plain += bytes(-len(plain) % {HANDSHAKE: 256, ALERT: 64}.get(kind, self.suite.block))
        seq, ciphertext = self.seq, self.next_cipher(len(plain)).encrypt(plain)
        length = len(ciphertext) + TAG
        return uint(2, length) + ciphertext + mac(self.mac_key, uint(8, seq) + uint(2, length) + ciphertext)

    def check_length(self, length: int) -> None:
        if not self.suite.block + TAG <= length <= RECORD_LIMIT or (length - TAG) % self.suite.block:
            raise Silent(f"a record of length {length}")

    def open(self, body: bytes) -> tuple[int, bytes]:
        ciphertext, tag = body[:-TAG], body[-TAG:]
        if not hmac.compare_digest(tag, self.tag(len(body), ciphertext)):
            raise Silent("a record with a bad tag")
        reader = Reader(self.next_cipher(len(ciphertext)).decrypt(ciphertext))
        kind, payload = reader.uint(1), reader.vector(2)
        if any(reader.rest()) or len(payload) > PAYLOAD_LIMIT:
            raise PeerError("a record with bad padding")
        return kind, payload
