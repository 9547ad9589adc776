//! No message out of place goes unpunished behind the handshake, in both directions.

use vpn_proto::sealed::{Alert, Kex, KexError, KexKeyPair, SealedError, Undelivered};

use super::readies::bad_alerts;
use super::session_peer::{
    ALERT, DATA, EOF, Facing, HANDSHAKE, KEY_UPDATE, OPEN, OPEN_REPLY, PING, PONG, Peer, bad,
    broken, broken_form, cut, open_payload, out_of_place,
};
use super::{Case, Said, Seen, case, silent};
use crate::support::adversary::{field, frame, frame_of_length, long};

pub(super) fn cases() -> Vec<Case> {
    [both_roles(Facing::Server), both_roles(Facing::Client), to_servers(), to_clients()]
        .into_iter()
        .flatten()
        .collect()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn both_roles(facing: Facing) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut open = |name: &str, expected: Seen, act: fn(&mut Peer)| {
        cases.push(case(format!("to a {facing:?}: {name}"), expected, move || {
            let mut peer = Peer::opened(facing);
            act(&mut peer);
            peer.seen()
        }));
    };
    open("a whole conversation", Seen::Accepted, |p| {
        p.send(DATA, b"one");
        p.send(DATA, b"");
        p.send(PING, b"");
        p.send(PING, &[1; 64]);
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
        p.records.ratchet();
        p.send(PONG, &[1; 64]);
        p.send(ALERT, &[0, 5, 0, 0, 0, 1]);
        p.send(DATA, &[7; 16_384]);
        p.send(EOF, b"");
        p.send(ALERT, &[0, 0]);
        assert!(p.honest.is_closed);
        assert_eq!((p.honest.session.handle_eof(), p.honest.said), (Ok(()), Said::Alert(0)));
    });
    // Records.
    open("the end without close_notify", silent(SealedError::Cut), |p| {
        p.honest.error = p.honest.session.handle_eof().err();
        p.honest.say();
    });
    open("the end after Eof without close_notify", silent(SealedError::Cut), |p| {
        p.send(EOF, b"");
        p.honest.error = p.honest.session.handle_eof().err();
        p.honest.say();
    });
    open("a spoilt tag", bad(), |p| {
        let mut record = p.records.seal(DATA, b"x");
        *record.last_mut().unwrap() ^= 1;
        p.bytes(&record);
    });
    open("a spoilt ciphertext", bad(), |p| {
        let mut record = p.records.seal(DATA, b"x");
        record[2] ^= 0x80;
        p.bytes(&record);
    });
    open("another length that would do", bad(), |p| {
        let mut record = p.records.seal(DATA, &[0; 40]);
        record[1] -= 16;
        p.bytes(&record);
    });
    open("a record repeated", bad(), |p| {
        let record = p.records.seal(DATA, b"x");
        p.bytes(&record.repeat(2));
    });
    open("a record left out", bad(), |p| {
        p.records.seal(DATA, b"x");
        p.send(DATA, b"y");
    });
    open("two records in the wrong order", bad(), |p| {
        let first = p.records.seal(DATA, b"x");
        let second = p.records.seal(DATA, b"y");
        p.bytes(&[second, first].concat());
    });
    open("its own record comes back", bad(), |p| {
        let received = p.received.clone();
        assert!(!received.is_empty());
        p.bytes(&received);
    });
    open("a record of length 0", broken_form("record length"), |p| p.bytes(&[0, 0]));
    open("a record of a tag alone", broken_form("record length"), |p| {
        let record = p.records.raw(&[]);
        p.bytes(&record);
    });
    open("a record of half a block", broken_form("record length"), |p| {
        p.bytes(&[vec![0, 40], vec![0; 40]].concat());
    });
    open("a length one above the limit", broken_form("record length"), |p| {
        p.bytes(&16_433u16.to_be_bytes());
    });
    open("a length of all ones", broken_form("record length"), |p| p.bytes(&[0xff, 0xff]));
    open("a record as long as can be", Seen::Accepted, |p| {
        let record = p.records.padded(DATA, &[7; 16_384], 16_400);
        p.bytes(&record);
    });
    open("a payload one above the limit", broken_form("padding"), |p| {
        let mut inner = vec![DATA];
        inner.extend(16_385u16.to_be_bytes());
        inner.resize(16_400, 7);
        let record = p.records.raw(&inner);
        p.bytes(&record);
    });
    open("an inner length one beyond", broken_form("inner length"), |p| {
        let record = p.records.raw(&[&[DATA, 0, 14], &[0; 13][..]].concat());
        p.bytes(&record);
    });
    open("an inner length of all ones", broken_form("inner length"), |p| {
        let record = p.records.raw(&[&[DATA, 0xff, 0xff], &[0; 13][..]].concat());
        p.bytes(&record);
    });
    open("the first byte of padding not zero", broken_form("padding"), |p| {
        let record = p.records.raw(&[&[DATA, 0, 12], &[0; 12][..], &[1]].concat());
        p.bytes(&record);
    });
    open("the last byte of padding not zero", broken_form("padding"), |p| {
        let mut inner = [DATA, 0, 0].to_vec();
        inner.resize(4096, 0);
        inner[4095] = 0x80;
        let record = p.records.raw(&inner);
        p.bytes(&record);
    });
    open("PKCS #7 padding", broken_form("padding"), |p| {
        let record = p.records.raw(&[&[DATA, 0, 5], &b"hello"[..], &[8; 8]].concat());
        p.bytes(&record);
    });
    open("a wrong tag with wrong padding", bad(), |p| {
        // The tag comes first: nothing is said about what is inside.
        let mut record = p.records.raw(&[0xff; 16]);
        record[20] ^= 1;
        p.bytes(&record);
    });
    // Data and its end.
    open("Eof with a payload", out_of_place(EOF), |p| p.send(EOF, b"x"));
    open("Eof repeated", out_of_place(EOF), |p| {
        p.send(EOF, b"");
        p.send(EOF, b"");
    });
    open("data after Eof", out_of_place(DATA), |p| {
        p.send(EOF, b"");
        p.send(DATA, b"late");
    });
    open("empty data after Eof", out_of_place(DATA), |p| {
        p.send(EOF, b"");
        p.send(DATA, b"");
    });
    open("a ping after Eof", Seen::Accepted, |p| {
        p.send(EOF, b"");
        p.send(PING, b"x");
    });
    // Ping and pong.
    open("a ping of 65 bytes", out_of_place(PING), |p| p.send(PING, &[0; 65]));
    open("a pong of 65 bytes", out_of_place(PONG), |p| p.send(PONG, &[0; 65]));
    open("a ping as long as can be", out_of_place(PING), |p| p.send(PING, &[0; 16_384]));
    open("a pong that nobody asked for", Seen::Accepted, |p| p.send(PONG, b"x"));
    // Key updates.
    let epoch = || broken_form("epoch of a key update");
    open("a key update to the present epoch", epoch(), |p| p.send(KEY_UPDATE, &[0; 4]));
    open("a key update that skips one", epoch(), |p| p.send(KEY_UPDATE, &[0, 0, 0, 2]));
    open("a key update of all ones", epoch(), |p| p.send(KEY_UPDATE, &[0xff; 4]));
    open("a key update of the other byte order", epoch(), |p| p.send(KEY_UPDATE, &[1, 0, 0, 0]));
    open("a key update of 3 bytes", broken_form("a field is cut off"), |p| {
        p.send(KEY_UPDATE, &[0, 0, 1]);
    });
    open("an empty key update", broken_form("a field is cut off"), |p| p.send(KEY_UPDATE, &[]));
    open("a key update of 5 bytes", broken_form("trailing bytes"), |p| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1, 0]);
    });
    open("old keys after a key update", bad(), |p| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
        p.send(DATA, b"old");
    });
    open("new keys without a key update", bad(), |p| {
        p.records.ratchet();
        p.send(DATA, b"new");
    });
    open("a key update under the new keys", bad(), |p| {
        p.records.ratchet();
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
    });
    open("the sequence starting again after a key update", bad(), |p| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
        p.records.ratchet();
        p.records.sequence = 0;
        p.send(DATA, b"x");
    });
    open("a key update twice", epoch(), |p| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
        p.records.ratchet();
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
    });
    open("ten key updates", Seen::Accepted, |p| {
        for number in 1..=10 {
            p.send(KEY_UPDATE, &[0, 0, 0, number]);
            p.records.ratchet();
        }
        p.send(DATA, b"x");
    });
    // Handshake messages.
    open(
        "an empty handshake record",
        Seen::Mixed(0, Seen::Accepted.into(), Seen::Accepted.into()),
        |p| {
            p.send(HANDSHAKE, b"");
        },
    );
    open("two key updates in a record", broken_form("trailing bytes"), |p| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1, 0, 0, 0, 2]);
    });
    // Ends.
    open("data after close_notify", Seen::Accepted, |p| {
        p.send(ALERT, &[0, 0]);
        p.send(DATA, b"ignored");
        p.bytes(b"whatever it is");
        assert!(p.honest.is_closed && p.honest.said == Said::Alert(0));
    });
    open("data after another alert", silent(SealedError::Alert(Alert::Policy)), |p| {
        p.send(ALERT, &[0, 6]);
        p.send(DATA, b"x");
    });
    let empty_handshake = match facing {
        Facing::Server => broken_form("frame header"),
        Facing::Client => out_of_place(HANDSHAKE),
    };
    for case in cases.iter_mut().filter(|case| case.name.ends_with("an empty handshake record")) {
        case.expected = empty_handshake.clone();
    }
    for content in [0, 1, 0x13, 0x14, 0x1e, 0x80, 0xff] {
        let name = format!("to a {facing:?}: a record of type {content:02x}");
        cases.push(case(name, out_of_place(content), move || {
            let mut peer = Peer::opened(facing);
            peer.send(content, b"x");
            peer.seen()
        }));
    }
    for (alert, code) in [
        (Alert::AccessDenied, 1u16),
        (Alert::ProtocolError, 2),
        (Alert::Busy, 3),
        (Alert::Timeout, 4),
        (Alert::Policy, 6),
        (Alert::Replaced, 7),
        (Alert::Undelivered(Undelivered::Unspecified), 8),
        (Alert::Unknown(9), 9),
        (Alert::Unknown(0xffff), 0xffff),
    ] {
        let name = format!("to a {facing:?}: the alert {alert}");
        cases.push(case(name, silent(SealedError::Alert(alert)), move || {
            let mut peer = Peer::opened(facing);
            peer.send(ALERT, &code.to_be_bytes());
            peer.seen()
        }));
    }
    for (name, payload) in bad_alerts() {
        let name = format!("to a {facing:?}: an alert {name}");
        cases.push(case(name, broken_form("alert"), move || {
            let mut peer = Peer::opened(facing);
            peer.send(ALERT, payload);
            peer.seen()
        }));
    }
    for content in [DATA, EOF] {
        let name = format!("to a {facing:?}: {content:02x} before anything is open");
        cases.push(case(name, out_of_place(content), move || {
            let mut peer = Peer::new(facing);
            peer.send(content, b"");
            peer.seen()
        }));
    }
    for (name, content, payload) in [
        ("data", DATA, &b"hello"[..]),
        ("Eof", EOF, b""),
        ("ping", PING, b"x"),
        ("pong", PONG, b"x"),
        ("a key update", KEY_UPDATE, &[0, 0, 0, 1]),
        ("close_notify", ALERT, &[0, 0]),
    ] {
        let name = format!("to a {facing:?}: {name} cut at every length");
        cases.push(case(name, silent(SealedError::Cut), move || cut(facing, content, payload)));
    }
    cases
}

fn to_servers() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut fresh = |name: &str, expected: Seen, act: fn(&mut Peer)| {
        cases.push(case(format!("to a server: {name}"), expected, move || {
            let mut peer = Peer::new(Facing::Server);
            act(&mut peer);
            peer.seen()
        }));
    };
    let cut = || broken_form("a field is cut off");
    let share = || KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng()).share().to_vec();
    let init = move || frame(0x10, &long(&share()));
    fresh("Open as it should be", Seen::Accepted, |p| p.send(OPEN, &open_payload()));
    fresh("Open twice", out_of_place(OPEN), |p| {
        p.send(OPEN, &open_payload());
        p.send(OPEN, &open_payload());
    });
    fresh("an empty Open", cut(), |p| p.send(OPEN, b""));
    fresh("Open with a name beyond", cut(), |p| p.send(OPEN, b"\x08message"));
    fresh("Open without an argument", cut(), |p| p.send(OPEN, b"\x07message"));
    fresh("Open with half a length", cut(), |p| p.send(OPEN, b"\x07message\0"));
    fresh("Open with an argument beyond", cut(), |p| p.send(OPEN, b"\x07message\xff\xff"));
    fresh("Open with a byte behind", broken_form("trailing bytes"), |p| {
        p.send(OPEN, b"\x07message\0\0\0");
    });
    fresh("Open of what is not UTF-8", broken_form("name of a service"), |p| {
        p.send(OPEN, b"\x01\xff\0\0");
    });
    fresh("OpenReply", out_of_place(OPEN_REPLY), |p| p.send(OPEN_REPLY, &[0]));
    fresh("OpenReply after Open", out_of_place(OPEN_REPLY), |p| {
        p.send(OPEN, &open_payload());
        p.send(OPEN_REPLY, &[0]);
    });
    // Fresh exchanges.
    let mut exchange = |name: &str, expected: Seen, act: Box<dyn FnOnce(&mut Peer)>| {
        cases.push(case(format!("to a server: {name}"), expected, move || {
            let mut peer = Peer::opened(Facing::Server);
            act(&mut peer);
            peer.seen()
        }));
    };
    let frames = |frames: Vec<Vec<u8>>| -> Box<dyn FnOnce(&mut Peer)> {
        Box::new(move |p| frames.iter().for_each(|frame| p.handshake(frame)))
    };
    let done = || frame(0x12, &[]);
    exchange("RekeyInit and RekeyDone", Seen::Accepted, frames(vec![init(), done()]));
    exchange(
        "RekeyInit twice",
        broken(SealedError::Unexpected { expected: 0x12, got: 0x10 }),
        frames(vec![init(), init()]),
    );
    exchange(
        "RekeyDone before RekeyInit",
        broken(SealedError::Unexpected { expected: 0x10, got: 0x12 }),
        frames(vec![done()]),
    );
    exchange("RekeyDone twice", bad(), frames(vec![init(), done(), done()]));
    exchange(
        "RekeyDone with a body",
        broken_form("end of an exchange"),
        frames(vec![init(), frame(0x12, &[0])]),
    );
    exchange(
        "RekeyReply",
        broken(SealedError::Unexpected { expected: 0x10, got: 0x11 }),
        frames(vec![frame(0x11, &long(&[0; 1120]))]),
    );
    exchange(
        "RekeyReply for RekeyDone",
        broken(SealedError::Unexpected { expected: 0x12, got: 0x11 }),
        frames(vec![init(), frame(0x11, &long(&[0; 1120]))]),
    );
    exchange("RekeyInit without a share", cut(), frames(vec![frame(0x10, &[])]));
    exchange("RekeyInit with a share beyond", cut(), frames(vec![frame(0x10, &[0xff, 0xff, 1])]));
    exchange(
        "RekeyInit with a byte behind its share",
        broken_form("trailing bytes"),
        frames(vec![frame(0x10, &[0, 1, 2, 3])]),
    );
    exchange(
        "RekeyInit with a length one more",
        broken_form("frame length"),
        frames(vec![frame_of_length(0x10, 3, &[0, 0])]),
    );
    exchange("half a header", broken_form("frame header"), frames(vec![vec![0x10, 0, 0]]));
    exchange("two RekeyInits in a record", broken_form("frame length"), {
        frames(vec![[init(), init()].concat()])
    });
    exchange(
        "a key update between RekeyInit and RekeyDone",
        broken_form("epoch of a key update"),
        {
            let init = init();
            Box::new(move |p| {
                p.handshake(&init);
                p.send(KEY_UPDATE, &[0, 0, 0, 1]);
            })
        },
    );
    exchange("data between RekeyInit and RekeyDone", Seen::Accepted, {
        let init = init();
        Box::new(move |p| {
            p.handshake(&init);
            p.send(DATA, b"under the old keys");
            p.handshake(&frame(0x12, &[]));
        })
    });
    exchange("old keys after RekeyDone", bad(), {
        let init = init();
        Box::new(move |p| {
            p.handshake(&init);
            p.handshake(&frame(0x12, &[]));
            p.send(DATA, b"under the old keys");
        })
    });
    exchange("the next keys of the ratchet after RekeyDone", bad(), {
        let init = init();
        Box::new(move |p| {
            p.handshake(&init);
            p.handshake(&frame(0x12, &[]));
            p.records.ratchet();
            p.send(DATA, b"x");
        })
    });
    exchange("Open cut at every length", silent(SealedError::Cut), {
        Box::new(|p| {
            *p = Peer::new(Facing::Server);
            let record = p.records.seal(OPEN, &open_payload());
            p.cut(&record);
        })
    });
    exchange("RekeyInit cut at every length", silent(SealedError::Cut), {
        let init = init();
        Box::new(move |p| {
            let record = p.records.padded(HANDSHAKE, &init, 256);
            p.cut(&record);
        })
    });
    for kind in [0, 1, 2, 0x0b, 0x0c, 0x0d, 0x0e, 0xff] {
        let expected = SealedError::Unexpected { expected: 0x10, got: kind };
        let name = format!("a frame of type {kind:02x}");
        exchange(&name, broken(expected), frames(vec![frame(kind, &[0, 0])]));
    }
    for (name, share, error) in [
        ("no bytes", vec![], KexError::Length { expected: 1216, got: 0 }),
        ("ffdhe3072", vec![7; 384], KexError::Length { expected: 1216, got: 384 }),
        ("all ones", vec![0xff; 1216], KexError::KemKey),
    ] {
        // What is computed outside of the session ends it there.
        let name = format!("RekeyInit with a share of {name}");
        exchange(&name, silent(SealedError::Kex(error)), frames(vec![frame(0x10, &long(&share))]));
    }
    cases
}

fn to_clients() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut fresh = |name: &str, expected: Seen, act: fn(&mut Peer)| {
        cases.push(case(format!("to a client: {name}"), expected, move || {
            let mut peer = Peer::new(Facing::Client);
            act(&mut peer);
            peer.seen()
        }));
    };
    let answer = || broken_form("answer of a service");
    fresh("OpenReply before Open", out_of_place(OPEN_REPLY), |p| p.send(OPEN_REPLY, &[0]));
    fresh("OpenReply twice", out_of_place(OPEN_REPLY), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, &[0]);
        p.send(OPEN_REPLY, &[0]);
    });
    fresh("an empty OpenReply", answer(), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, &[]);
    });
    fresh("OpenReply that is not UTF-8", answer(), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, &[0, 0xff]);
    });
    fresh("data before OpenReply", out_of_place(DATA), |p| {
        p.honest_opens();
        p.send(DATA, b"early");
    });
    fresh("Eof before OpenReply", out_of_place(EOF), |p| {
        p.honest_opens();
        p.send(EOF, b"");
    });
    fresh("data after a refusal", out_of_place(DATA), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, b"\x01no");
        p.send(DATA, b"x");
    });
    fresh("acceptance after a refusal", out_of_place(OPEN_REPLY), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, b"\x01no");
        p.send(OPEN_REPLY, &[0]);
    });
    fresh("Open", out_of_place(OPEN), |p| p.send(OPEN, &open_payload()));
    fresh("Open after OpenReply", out_of_place(OPEN), |p| {
        p.honest_opens();
        p.send(OPEN_REPLY, &[0]);
        p.send(OPEN, &open_payload());
    });
    fresh("OpenReply cut at every length", silent(SealedError::Cut), |p| {
        p.honest_opens();
        let record = p.records.seal(OPEN_REPLY, b"\0text");
        p.cut(&record);
    });
    for kind in [0, 1, 2, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x12, 0xff] {
        // A server starts no exchange, and answers none that was not begun.
        let name = format!("to a client: a frame of type {kind:02x}");
        cases.push(case(name, out_of_place(kind), move || {
            let mut peer = Peer::opened(Facing::Client);
            peer.handshake(&frame(kind, &long(&[0; 1120])));
            peer.seen()
        }));
    }
    let mut renewing = |name: &str, expected: Seen, act: fn(&mut Peer, Vec<u8>)| {
        cases.push(case(format!("to a client: {name}"), expected, move || {
            let mut peer = Peer::opened(Facing::Client);
            let share = peer.honest_renews();
            act(&mut peer, share);
            peer.seen()
        }));
    };
    renewing("RekeyReply as it should be", Seen::Accepted, |p, share| {
        p.handshake(&frame(0x11, &long(&share)));
        assert_eq!(p.honest.session.epochs(), [1, 1]);
    });
    renewing("data before RekeyReply", Seen::Accepted, |p, share| {
        p.send(DATA, b"under the old keys");
        p.handshake(&frame(0x11, &long(&share)));
    });
    renewing("a key update before RekeyReply", Seen::Accepted, |p, share| {
        p.send(KEY_UPDATE, &[0, 0, 0, 1]);
        p.records.ratchet();
        p.handshake(&frame(0x11, &long(&share)));
    });
    renewing("RekeyReply twice", bad(), |p, share| {
        p.handshake(&frame(0x11, &long(&share)));
        p.handshake(&frame(0x11, &long(&share)));
    });
    renewing("old keys after RekeyReply", bad(), |p, share| {
        p.handshake(&frame(0x11, &long(&share)));
        p.send(DATA, b"x");
    });
    renewing("the next keys of the ratchet after RekeyReply", bad(), |p, share| {
        p.handshake(&frame(0x11, &long(&share)));
        p.records.ratchet();
        p.send(DATA, b"x");
    });
    renewing("RekeyReply without a share", broken_form("a field is cut off"), |p, _| {
        p.handshake(&frame(0x11, &[]));
    });
    renewing("RekeyReply with a byte behind", broken_form("trailing bytes"), |p, share| {
        p.handshake(&frame(0x11, &[long(&share), vec![0]].concat()));
    });
    renewing("RekeyReply with fields", broken_form("trailing bytes"), |p, share| {
        p.handshake(&frame(0x11, &[long(&share), field(1, b"")].concat()));
    });
    renewing(
        "RekeyReply of ffdhe3072",
        silent(SealedError::Kex(KexError::Length { expected: 1120, got: 384 })),
        |p, _| p.handshake(&frame(0x11, &long(&[7; 384]))),
    );
    renewing(
        "RekeyReply with X25519 0",
        silent(SealedError::Kex(KexError::ZeroResult)),
        |p, share| {
            p.handshake(&frame(0x11, &long(&[&share[..1088], &[0; 32]].concat())));
        },
    );
    for kind in [0x10, 0x12, 0x0d, 2] {
        let expected = SealedError::Unexpected { expected: 0x11, got: kind };
        let name = format!("to a client: a frame of type {kind:02x} for RekeyReply");
        cases.push(case(name, broken(expected), move || {
            let mut peer = Peer::opened(Facing::Client);
            let share = peer.honest_renews();
            peer.handshake(&frame(kind, &long(&share)));
            peer.seen()
        }));
    }
    cases
}
