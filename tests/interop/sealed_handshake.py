"""The handshakes of the sealed profile over a socket, both roles. See sealed_peer.py."""
from __future__ import annotations

import argparse
import hmac
import os
import socket
from typing import Any

from sealed_keys import (KEXES, Denied, PeerError, Reader, Schedule, Silent, WrongServer, frame, gate, raw_public,
                         sha256, uint, vector)
from sealed_proto import (ALERT, CLIENT_AUTH, HANDSHAKE, PREFACE, READY, REJECT, SERVER_AUTH, SERVER_HELLO, Half, Hello,
                          Suite, auth_frame, grease, name_list, names, open_auth, open_frame, parse_server_hello,
                          server_hello)
from sealed_session import NO_SUITE, RETRY, Alerted, NoAnswer, NotAccepted, Rejected, Session, Truncated, Wire, alert


# The client's handshake

def connect(args: argparse.Namespace) -> Session:
    kex = args.share or args.kex[0]
    try:
        return shake(args, kex)
    except Rejected as reject:
        others = [k for k in args.kex if k.name in reject.kexes]
        if reject.code != RETRY or not others or others[0] is kex:
            raise
        return shake(args, others[0])  # once; a second Reject is final


def shake(args: argparse.Namespace, kex: Any) -> Session:
    psk = args.psk[0] if args.psk else None
    wire = Wire(socket.create_connection((args.host, args.port), args.deadline), args)
    private, share = kex.offer()
    # A server passes over the names that it does not know.
    kexes, suites = (["x-unknown", *(item.name for item in items)] for items in (args.kex, args.suite))
    hello = Hello(kexes, suites, kexes.index(kex.name), share, extensions=grease())
    hello.gate = gate(psk, args.server_key, hello.before_gate())
    m1 = hello.build()
    wire.send(m1)
    try:
        m2 = wire.hello()
    except Truncated as error:
        raise NoAnswer("closed without an answer: is the server's key or PSK another one?") from error
    if m2[5] == REJECT:
        raise read_reject(open_frame(m2[5:], REJECT))
    kex_index, suite_index, share = parse_server_hello(open_frame(m2[5:], SERVER_HELLO))
    if kex_index != hello.index or not 1 <= suite_index <= len(args.suite):
        raise PeerError("a choice of what was not offered")
    suite, secret = args.suite[suite_index - 1], kex.finish(private, share)
    schedule = Schedule(psk, secret, sha256(m1, m2))
    ours, theirs = Half(suite, schedule.c_hs), Half(suite, schedule.s_hs)
    try:
        auth = open_server_auth(wire.record(theirs), theirs, (psk, secret, m1 + m2), args.server_key)
    except PeerError as error:
        if error.alert is not None:
            wire.send(ours.seal(*alert(error.alert)))
        raise
    so_far = m1 + m2 + auth
    answer = auth_frame(CLIENT_AUTH, so_far, args.identity, ours.finished())
    wire.send(ours.seal(HANDSHAKE, answer))
    schedule.application(sha256(so_far, answer))
    session = Session(wire, schedule, kex, suite, True)
    kind, data = session.receive.open(wire.record(session.receive))
    if kind == ALERT:
        raise Alerted(Reader(data).uint(2))
    ready = Reader(open_frame(data, READY)) if kind == HANDSHAKE else Reader(b"\xff")
    if ready.uint(1) != 0:
        raise PeerError("the server is not ready")
    ready.pairs()
    return session


def read_reject(body: bytes) -> Rejected:
    reader = Reader(body)
    code = reader.uint(1)
    kexes, suites = (names(reader, 8), names(reader, 32)) if code in (NO_SUITE, RETRY) else ([], [])
    reader.end()
    return Rejected(code, kexes, suites)


def open_server_auth(body: bytes, half: Half, known: tuple[bytes | None, bytes, bytes],
                     expected: bytes | None) -> bytes:
    psk, secret, so_far = known
    try:
        kind, data = half.open(body)
    except Silent:
        if psk is None:
            raise
        # Whether the server goes on without the PSK shows in its keys.
        Half(half.suite, Schedule(None, secret, sha256(so_far)).s_hs).open(body)
        raise NotAccepted("PSK not accepted")
    if kind != HANDSHAKE:
        raise PeerError(f"record {kind:02x} where ServerAuth is due")
    public, right = open_auth(SERVER_AUTH, so_far, data, half.finished())
    if not right or (public is None and psk is None):
        raise Denied("the server's authentication is wrong")
    if expected is not None and public != expected:
        raise WrongServer("the server has another key")
    return data


# The server's handshake

def accept(wire: Wire, args: argparse.Namespace, authorized: Any) -> Session:
    m1 = wire.hello()
    try:
        hello = Hello.parse(m1)
    except PeerError as error:
        raise Silent(f"malformed hello: {error}") from error
    psk = open_gate(hello, args)
    kex, suite = choose(wire, hello, args)
    try:
        share, secret = kex.answer(hello.share)
    except PeerError as error:
        raise Silent(f"malformed share: {error}") from error
    m2 = server_hello(os.urandom(32), hello.index, hello.suites.index(suite.name), share)
    schedule = Schedule(psk, secret, sha256(m1, m2))
    ours, theirs = Half(suite, schedule.s_hs), Half(suite, schedule.c_hs)
    auth = auth_frame(SERVER_AUTH, m1 + m2, args.identity, ours.finished())
    wire.send(m2 + ours.seal(HANDSHAKE, auth))
    kind, data = theirs.open(wire.record(theirs))
    if kind == ALERT:
        raise Alerted(Reader(data).uint(2))
    schedule.application(sha256(m1, m2, auth, data))
    session = Session(wire, schedule, kex, suite, False)
    try:
        if kind != HANDSHAKE:
            raise PeerError(f"record {kind:02x} where ClientAuth is due")
        session.peer, right = open_auth(CLIENT_AUTH, m1 + m2 + auth, data, theirs.finished())
        session.by_psk = psk is not None
        if not right or (psk is None if session.peer is None else session.peer not in authorized()):
            raise Denied("a client that is not authorized")
    except PeerError as error:
        session.write(*alert(error.alert or 0))
        raise
    services = b"message,channels" if session.peer else b"message"
    parameters = {1: uint(4, 30), 2: uint(4, 1 << 20), 3: services}
    ready = b"\0" + b"".join(uint(2, kind) + vector(2, value) for kind, value in parameters.items())
    session.write(HANDSHAKE, frame(READY, ready))
    return session


def open_gate(hello: Hello, args: argparse.Namespace) -> bytes | None:
    """The PSK that the gate selects."""
    before, public = hello.before_gate(), raw_public(args.identity) if args.identity else None
    matches = [hmac.compare_digest(gate(psk, None, before), hello.gate) for psk in args.psk]
    by_key = public is not None and hmac.compare_digest(gate(None, public, before), hello.gate)
    psk = next((psk for psk, match in zip(args.psk, matches) if match), None)
    if psk is None and ((args.gate == "required" and not by_key) or public is None):
        raise Silent("the gate does not match")
    return psk


def choose(wire: Wire, hello: Hello, args: argparse.Namespace) -> tuple[Any, Suite]:
    """The first kex of the client's that is enabled here; the longest key, small blocks last."""
    enabled = {k.name for k in args.kex}
    kex = next((name for name in hello.kexes if name in enabled), None)
    common = [suite for suite in args.suite if suite.name in hello.suites]
    if kex is not None and common and kex == hello.kexes[hello.index]:
        return KEXES[kex], max(common, key=Suite.rank)
    lists = [k.name for k in args.kex], [s.name for s in args.suite]
    code = RETRY if kex is not None and common else NO_SUITE
    wire.send(PREFACE + frame(REJECT, uint(1, code) + name_list(lists[0]) + name_list(lists[1])))
    raise Rejected(code, *lists)
