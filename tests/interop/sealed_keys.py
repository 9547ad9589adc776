"""Bytes, key exchange, signatures and key schedule of the sealed profile, as functions. See sealed_peer.py."""
from __future__ import annotations

import functools
import hashlib
import hmac
import os
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

(CLOSE_NOTIFY, ACCESS_DENIED, PROTOCOL_ERROR, BUSY, TIMEOUT, DRAINING, POLICY, REPLACED, UNDELIVERED) = range(9)
ALERTS = "close_notify access_denied protocol_error busy timeout draining policy replaced undelivered".split()
ZERO = bytes(32)


class PeerError(Exception):
    """The other side broke the protocol, or ended it. Exit codes are those of the program itself."""
    exit_code, alert = 7, PROTOCOL_ERROR


class Silent(PeerError):
    """What is answered by closing without a word."""
    alert = None


class Denied(PeerError):
    exit_code, alert = 5, ACCESS_DENIED


class WrongServer(PeerError):
    exit_code, alert = 6, ACCESS_DENIED


class Policy(PeerError):
    exit_code, alert = 8, POLICY


# Bytes

def uint(size: int, value: int) -> bytes:
    return value.to_bytes(size, "big")


def vector(size: int, data: bytes) -> bytes:
    return uint(size, len(data)) + data


def frame(kind: int, body: bytes) -> bytes:
    return uint(1, kind) + vector(3, body)


class Reader:
    """Takes a message apart; what is short or left over is malformed."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = bytes(data), 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise PeerError("a message ends too early")
        self.at += size
        return self.data[self.at - size:self.at]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.uint(size))

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)

    def end(self) -> None:
        if self.at != len(self.data):
            raise PeerError("bytes behind the end of a message")

    def pairs(self) -> dict[int, bytes]:
        """`type u16 | len u16 | data` to the end, no type twice."""
        found: dict[int, bytes] = {}
        while self.at < len(self.data):
            kind = self.uint(2)
            if kind in found:
                raise PeerError(f"extension {kind:04x} twice")
            found[kind] = self.vector(2)
        return found


# Key exchange

@functools.lru_cache(maxsize=None)
def euler(bits: int) -> int:
    """floor(e * 2^bits), with guard bits for the roundings of the series."""
    term = total = 1 << (bits + 64)
    n = 1
    while term:
        term //= n
        total += term
        n += 1
    return total >> 64


class FiniteField:
    """A group of RFC 7919: p = 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1, generator 2."""

    def __init__(self, bits: int, x: int) -> None:
        self.name, self.bits, self.x, self.size = f"ffdhe{bits}", bits, x, bits // 8

    @functools.cached_property
    def prime(self) -> int:
        b = self.bits
        return (1 << b) - (1 << (b - 64)) + ((euler(b - 130) + self.x) << 64) - 1

    def offer(self, private: Any = None) -> tuple[Any, bytes]:
        # The specification names no length; 400 bits are what RFC 7919 advises for the largest group.
        exponent = int.from_bytes(os.urandom(50), "big") | 1 << 399 if private is None else private
        return exponent, uint(self.size, pow(2, exponent, self.prime))

    def finish(self, private: Any, share: bytes) -> bytes:
        y = int.from_bytes(share, "big")
        if len(share) != self.size or not 2 <= y <= self.prime - 2:
            raise PeerError("a share outside its group")
        return uint(self.size, pow(y, private, self.prime))

    def answer(self, share: bytes, private: Any = None) -> tuple[bytes, bytes]:
        private, ours = self.offer(private)
        return ours, self.finish(private, share)


class Hybrid:
    """ML-KEM-768 and X25519; the library checks the keys of FIPS 203."""
    name = "x25519-mlkem768"

    def offer(self, private: Any = None) -> tuple[Any, bytes]:
        seed, scalar = private or (os.urandom(64), os.urandom(32))
        kem, dh = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed), X25519PrivateKey.from_private_bytes(scalar)
        return (kem, dh), kem.public_key().public_bytes_raw() + dh.public_key().public_bytes_raw()

    def exchange(self, dh: X25519PrivateKey, public: bytes) -> bytes:
        secret = dh.exchange(X25519PublicKey.from_public_bytes(public))
        if secret == ZERO:
            raise PeerError("an X25519 result of zeros")
        return secret

    def finish(self, private: Any, share: bytes) -> bytes:
        if len(share) != 1088 + 32:
            raise PeerError("a share of another length")
        try:
            return private[0].decapsulate(share[:1088]) + self.exchange(private[1], share[1088:])
        except ValueError as error:
            raise PeerError(f"a bad share: {error}") from error

    def answer(self, share: bytes, private: Any = None) -> tuple[bytes, bytes]:
        if len(share) != 1184 + 32:
            raise PeerError("a share of another length")
        try:
            first, sealed = mlkem.MLKEM768PublicKey.from_public_bytes(share[:1184]).encapsulate()
            dh = X25519PrivateKey.generate()
            return sealed + dh.public_key().public_bytes_raw(), first + self.exchange(dh, share[1184:])
        except ValueError as error:
            raise PeerError(f"a bad share: {error}") from error


KEXES = {kex.name: kex for kex in
         (Hybrid(), FiniteField(3072, 2625351), FiniteField(4096, 5736041), FiniteField(8192, 10965728))}


# Signatures

def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


CURVE_P = 2 ** 255 - 19
CURVE_D = -121665 * pow(121666, -1, CURVE_P) % CURVE_P
CURVE_L = 2 ** 252 + 27742317777372353535851937790883648493


@functools.lru_cache(maxsize=None)
def small_order() -> frozenset[int]:
    """The y of the points of order 1, 2, 4 and 8; of the last, d y^4 + 2 y^2 - 1 = 0."""
    def root(n: int) -> int:
        r = pow(n, (CURVE_P + 3) // 8, CURVE_P)
        return r if r * r % CURVE_P == n else r * pow(2, (CURVE_P - 1) // 4, CURVE_P) % CURVE_P
    found = {0, 1, CURVE_P - 1}
    for sign in (1, -1):
        square = (sign * root((1 + CURVE_D) % CURVE_P) - 1) * pow(CURVE_D, -1, CURVE_P) % CURVE_P
        y = root(square)
        if y * y % CURVE_P == square:
            found |= {y, CURVE_P - y}
    return frozenset(found)


def verify_strict(public: bytes, signature: bytes, message: bytes) -> bool:
    for point in (public, signature[:32]):
        y = int.from_bytes(point, "little") & (1 << 255) - 1
        if y >= CURVE_P or y in small_order():
            return False
    if int.from_bytes(signature[32:], "little") >= CURVE_L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# Key schedule

def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def expand(secret: bytes, info: bytes, size: int) -> bytes:
    out = block = b""
    for counter in range(1, 2 + size // 32):
        block = mac(secret, block + info + uint(1, counter))
        out += block
    return out[:size]


extract = mac


def expand_label(secret: bytes, label: str, context: bytes, size: int) -> bytes:
    info = uint(2, size) + vector(1, b"vpn sealed1 " + label.encode()) + vector(1, context)
    return expand(secret, info, size)


def gate(psk: bytes | None, public: bytes | None, hello: bytes) -> bytes:
    """The gate of a hello whose other bytes these are; random where neither key is known."""
    if psk is None and public is None:
        return os.urandom(32)
    secret, info = (psk, b"psk") if psk is not None else (public or b"", b"pub")
    return mac(expand(extract(b"vpn sealed1 gate", secret), info, 32), hello)


class Schedule:
    """From the PSK and the first key exchange to every later secret."""

    def __init__(self, psk: bytes | None, kex_secret: bytes, th2: bytes) -> None:
        self.early = extract(ZERO, psk or ZERO)
        self.handshake = extract(expand_label(self.early, "derived", b"", 32), kex_secret)
        self.c_hs, self.s_hs = (expand_label(self.handshake, label, th2, 32) for label in ("c hs", "s hs"))
        self.master = extract(expand_label(self.handshake, "derived", b"", 32), ZERO)

    def application(self, th: bytes) -> None:
        self.th = th
        self.c_ap, self.s_ap = (expand_label(self.master, label, th, 32) for label in ("c ap", "s ap"))
        self.exporter = expand_label(self.master, "exporter", th, 32)
        self.sid = expand_label(self.master, "sid", th, 16)

    def rekey(self, init: bytes, reply: bytes, kex_secret: bytes) -> None:
        th = sha256(self.th, init, reply)
        self.master = extract(expand_label(self.master, "rekey", th, 32), kex_secret)
        self.application(th)
