//! No proof but the right one is accepted, neither ServerAuth nor ClientAuth.

use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Part, PeerIdentity, Ready, SealedError, ServerConfig,
    Undelivered, next_length,
};
use vpn_suite::testkit::unhex;

use super::readies::{bad_alerts, shortened};
use super::{Case, Said, Seen, case, malformed, silent, unexpected};
use crate::support::adversary::{
    Answer, Auth, CLIENT_CONTEXT, CLIENT_SEED, FacingClient, FacingServer, Gate, Hello, Records,
    SERVER_CONTEXT, SERVER_SEED, STRANGER_SEED, client_config, finished, frame, opener, psk,
    public, server_config, sha256,
};

/// The order of the group (RFC 8032 §5.1), little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// What a peer has that proves who it is.
struct Prover {
    side: Side,
    /// Keys of the handshake, his own first.
    own: [u8; 32],
    other: [u8; 32],
    /// Everything before his proof.
    transcript: Vec<u8>,
    /// The last record that he has received, and the frame in it.
    received: Vec<u8>,
    received_frame: Vec<u8>,
    records: Records,
}

impl Prover {
    fn auth(&self) -> Auth {
        match self.side {
            Side::Client => Auth::of_client(),
            Side::Server => Auth::of_server(),
        }
    }

    /// The honest frame.
    fn honest(&self) -> Vec<u8> {
        self.auth().encode(&self.own, &self.transcript)
    }

    /// A frame that is edited.
    fn edited(&self, edit: impl FnOnce(&mut Auth)) -> Sent {
        let mut auth = self.auth();
        edit(&mut auth);
        Sent::Frame(auth.encode(&self.own, &self.transcript))
    }
}

/// What he sends.
enum Sent {
    /// A handshake record with this in it.
    Frame(Vec<u8>),
    /// These bytes, and the end.
    Bytes(Vec<u8>),
}

/// What the honest side makes of it.
fn proves(side: Side, act: impl FnOnce(&mut Prover) -> Sent) -> Seen {
    match side {
        Side::Client => facing_server(server_config(), None, |_| {}, act),
        Side::Server => facing_client(client_config(), act),
    }
}

fn facing_server(
    config: ServerConfig,
    psk: Option<u8>,
    hello: impl FnOnce(&mut Hello),
    act: impl FnOnce(&mut Prover) -> Sent,
) -> Seen {
    let facing = FacingServer::start(config, psk, hello);
    let auth = opener(facing.secrets.server).open(&facing.record).unwrap().payload.to_vec();
    let mut prover = Prover {
        side: Side::Client,
        own: facing.secrets.client,
        other: facing.secrets.server,
        transcript: facing.transcript.clone(),
        received: facing.record.clone(),
        received_frame: auth,
        records: Records::new(facing.secrets.client),
    };
    let bytes = match act(&mut prover) {
        Sent::Frame(frame) => prover.records.padded(0x16, &frame, 256),
        Sent::Bytes(bytes) => bytes,
    };
    let record = match next_length(Part::Record, &bytes) {
        Ok(Some(length)) => &bytes[..length],
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    // The transcript goes on with what was in the record.
    let frame = opener(prover.own).open(record).map_or_else(|_| Vec::new(), |o| o.payload.to_vec());
    let [_, server] = facing.session(&frame);
    let decide = |peer| match peer {
        PeerIdentity::Key(key) if key != public(&CLIENT_SEED) => Decision::Deny("unknown"),
        _ => Decision::Admit(Ready::default()),
    };
    match facing.state.on_record(record, decide) {
        Ok((mut session, _, ready)) => {
            let ready = opener(server).open(&ready).unwrap();
            assert_eq!((ready.content, ready.payload[0]), (0x16, 0x0d));
            match session.handle_input(&bytes[record.len()..]) {
                Ok(()) => Seen::Accepted,
                Err(error) => silent(error),
            }
        }
        Err(refusal) => {
            let said = refusal.answer.map_or(Said::Nothing, |answer| {
                // Once ClientAuth is decrypted, nothing is said but under s_ap.
                match opener(server).open(&answer) {
                    Ok(opened) if opened.content == 0x15 && opened.payload.len() == 2 => {
                        Said::Alert(u16::from_be_bytes([opened.payload[0], opened.payload[1]]))
                    }
                    _ => Said::Other,
                }
            });
            Seen::Ended(refusal.error, said)
        }
    }
}

fn facing_client(config: ClientConfig, act: impl FnOnce(&mut Prover) -> Sent) -> Seen {
    let facing = FacingClient::start(config);
    let answer = Answer::new(&facing.share).encode();
    let secrets = facing.secrets(&answer);
    let mut prover = Prover {
        side: Side::Server,
        own: secrets.server,
        other: secrets.client,
        transcript: [facing.hello.as_slice(), &answer].concat(),
        received: facing.hello.clone(),
        received_frame: facing.hello.clone(),
        records: Records::new(secrets.server),
    };
    let bytes = match act(&mut prover) {
        Sent::Frame(frame) => prover.records.padded(0x16, &frame, 256),
        Sent::Bytes(bytes) => bytes,
    };
    let state = facing.state.on_first(&answer).unwrap();
    let record = match next_length(Part::Record, &bytes) {
        Ok(Some(length)) => &bytes[..length],
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    let state = match state.on_record(record) {
        Ok(state) => state,
        Err(error) => return silent(error),
    };
    let (state, _) = state.accept().unwrap();
    // What comes behind is read under the keys of the session.
    match next_length(Part::Record, &bytes[record.len()..]) {
        Ok(None) => Seen::Accepted,
        Err(error) => silent(error),
        Ok(Some(length)) => match state.on_record(&bytes[record.len()..][..length]) {
            Ok(_) => Seen::Accepted,
            Err(error) => silent(error),
        },
    }
}

/// The words of a failed authentication, and what the peer hears of it.
fn denied(side: Side, reason: &'static str) -> Seen {
    let said = if side == Side::Client { Said::Alert(1) } else { Said::Nothing };
    Seen::Ended(SealedError::Authentication(reason), said)
}

/// Keys of small order, and those with a second encoding, for which some verifiers take a signature
/// that anybody can make: R = A, S = 0.
fn small_order_keys(side: Side, label: &str, expected: impl Fn() -> Seen) -> Vec<Case> {
    [
        ("0", "0000000000000000000000000000000000000000000000000000000000000000"),
        ("0, odd", "0000000000000000000000000000000000000000000000000000000000000080"),
        ("1", "0100000000000000000000000000000000000000000000000000000000000000"),
        ("1, odd", "0100000000000000000000000000000000000000000000000000000000000080"),
        ("p-1", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("p", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("p+1", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ("order 8 too", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ]
    .into_iter()
    .flat_map(|(name, key)| {
        let key: [u8; 32] = unhex(key).try_into().unwrap();
        let one = {
            let mut one = [0; 32];
            one[0] = 1;
            one
        };
        [("R is the key", key), ("R is 1", one)].map(|(which, r)| {
            case(format!("{label}: key y={name}, {which}, S is 0"), expected(), move || {
                let signature = [r, [0; 32]].concat().try_into().unwrap();
                proves(side, |p| p.edited(|a| (a.key, a.signature) = (key, Some(signature))))
            })
        })
    })
    .collect()
}

pub(super) fn cases() -> Vec<Case> {
    [proofs(Side::Client), proofs(Side::Server), client_auths(), server_auths()]
        .into_iter()
        .flatten()
        .collect()
}

/// Cases for both proofs alike.
fn proofs(side: Side) -> Vec<Case> {
    let (label, own, other) = match side {
        Side::Client => ("ClientAuth", 0x0c, 0x0b),
        Side::Server => ("ServerAuth", 0x0b, 0x0c),
    };
    let mut cases = Vec::new();
    let mut sent = |name: &str, expected: Seen, act: fn(&mut Prover) -> Sent| {
        cases.push(case(format!("{label}: {name}"), expected, move || proves(side, act)));
    };
    let bad_signature = || denied(side, "the signature is not that of the key");
    let bad_mac = || denied(side, "the Finished MAC is not that of the transcript");
    let bad_kind = || malformed("kind of an authentication");
    let bad = || silent(SealedError::BadRecord);
    sent("as it should be", Seen::Accepted, |p| Sent::Frame(p.honest()));
    sent("missing", silent(SealedError::Cut), |_| Sent::Bytes(Vec::new()));
    // Records.
    sent("repeated", bad(), |p| {
        let frame = p.honest();
        let records = [p.records.padded(0x16, &frame, 256), p.records.padded(0x16, &frame, 256)];
        Sent::Bytes(records.concat())
    });
    sent("repeated byte by byte", bad(), |p| {
        let frame = p.honest();
        Sent::Bytes(p.records.padded(0x16, &frame, 256).repeat(2))
    });
    sent("late, by one number", bad(), |p| {
        p.records.sequence = 1;
        Sent::Frame(p.honest())
    });
    sent("sealed under the other direction's keys", bad(), |p| {
        let mut records = Records::new(p.other);
        Sent::Bytes(records.padded(0x16, &p.honest(), 256))
    });
    sent("sealed under no key", bad(), |p| {
        Sent::Bytes(Records::new([0; 32]).padded(0x16, &p.honest(), 256))
    });
    sent("in the clear", bad(), |p| Sent::Bytes(p.honest().repeat(200)));
    sent("without padding", Seen::Accepted, |p| {
        let frame = p.honest();
        Sent::Bytes(p.records.seal(0x16, &frame))
    });
    sent("with as much padding as fits", Seen::Accepted, |p| {
        let frame = p.honest();
        Sent::Bytes(p.records.padded(0x16, &frame, 16_400))
    });
    sent("with a block of padding too much", malformed("record length"), |p| {
        let frame = p.honest();
        Sent::Bytes(p.records.padded(0x16, &frame, 16_416))
    });
    sent("with padding that is not zero", malformed("padding"), |p| {
        let mut inner = [vec![0x16, 0, 133], p.honest()].concat();
        inner.resize(255, 0);
        inner.push(1);
        Sent::Bytes(p.records.raw(&inner))
    });
    sent("with an inner length beyond the record", malformed("inner length"), |p| {
        let mut inner = [vec![0x16, 1, 0], p.honest()].concat();
        inner.resize(256, 0);
        Sent::Bytes(p.records.raw(&inner))
    });
    sent("an empty record", malformed("frame header"), |_| Sent::Frame(Vec::new()));
    sent("a record of length 0", malformed("record length"), |_| Sent::Bytes(vec![0, 0]));
    sent("a record of no block", malformed("record length"), |p| Sent::Bytes(p.records.raw(&[])));
    sent("a record of half a block", malformed("record length"), |p| {
        let mut record = p.records.raw(&[0; 16]);
        record.truncate(2 + 8 + 32);
        record[1] = 40;
        Sent::Bytes(record)
    });
    sent("a record of all ones", malformed("record length"), |_| Sent::Bytes(vec![0xff; 600]));
    sent("a spoilt tag", bad(), |p| {
        let frame = p.honest();
        let mut record = p.records.padded(0x16, &frame, 256);
        *record.last_mut().unwrap() ^= 1;
        Sent::Bytes(record)
    });
    // Frames.
    sent("two frames in a record", malformed("frame length"), |p| {
        Sent::Frame(p.honest().repeat(2))
    });
    sent("a byte behind", malformed("frame length"), |p| p.edited(|a| a.tail = vec![0]));
    sent("a body one longer", malformed("length of an authentication"), |p| {
        p.edited(|a| (a.length, a.tail) = (Some(130), vec![0]))
    });
    sent("a length one more", malformed("frame length"), |p| p.edited(|a| a.length = Some(130)));
    sent("a length one less", malformed("frame length"), |p| p.edited(|a| a.length = Some(128)));
    sent("a length of 0", malformed("frame length"), |p| p.edited(|a| a.length = Some(0)));
    sent("a length of all ones", malformed("frame length"), |p| {
        p.edited(|a| a.length = Some(0x00ff_ffff))
    });
    sent("half a frame", malformed("frame length"), |p| p.edited(|a| a.keep = 70));
    sent("half a header", malformed("frame header"), |p| p.edited(|a| a.keep = 3));
    // Fields.
    sent("kind 2", bad_kind(), |p| p.edited(|a| a.kind = 2));
    sent("kind of all ones", bad_kind(), |p| p.edited(|a| a.kind = 255));
    sent("no kind, and yet a key", bad_kind(), |p| p.edited(|a| a.kind = 0));
    sent("no kind, and yet a signature", bad_kind(), |p| {
        p.edited(|a| (a.kind, a.key) = (0, [0; 32]))
    });
    sent("a key that is none", bad_signature(), |p| p.edited(|a| a.key = [0xff; 32]));
    sent("a key of zeros", bad_signature(), |p| p.edited(|a| a.key = [0; 32]));
    sent("a key with a bit spoilt", bad_signature(), |p| p.edited(|a| a.key[7] ^= 4));
    sent("a key that somebody else signs for", bad_signature(), |p| {
        p.edited(|a| a.signer = STRANGER_SEED)
    });
    sent("a signature of zeros", bad_signature(), |p| p.edited(|a| a.signature = Some([0; 64])));
    sent("a signature of ones", bad_signature(), |p| p.edited(|a| a.signature = Some([255; 64])));
    sent("a spoilt R", bad_signature(), |p| p.edited(|a| a.spoil_signature[0] = 1));
    sent("a spoilt S", bad_signature(), |p| p.edited(|a| a.spoil_signature[32] = 1));
    sent("an S beyond the order", bad_signature(), |p| {
        // S + L verifies where S is not checked.
        let honest = p.honest();
        let mut signature: [u8; 64] = honest[37..101].try_into().unwrap();
        let mut carry = 0;
        for (digit, more) in signature[32..].iter_mut().zip(unhex(ORDER)) {
            let sum = u16::from(*digit) + u16::from(more) + carry;
            [*digit, _] = sum.to_le_bytes();
            carry = sum >> 8;
        }
        p.edited(|a| a.signature = Some(signature))
    });
    sent("a signature with the other side's words", bad_signature(), |p| {
        let is_client = p.side == Side::Client;
        p.edited(|a| a.context = if is_client { SERVER_CONTEXT } else { CLIENT_CONTEXT })
    });
    sent("a signature with TLS's words", bad_signature(), |p| {
        p.edited(|a| a.context = b"TLS 1.3, server CertificateVerify")
    });
    sent("a signature with no words", bad_signature(), |p| p.edited(|a| a.context = b""));
    sent("a signature with other filling", bad_signature(), |p| p.edited(|a| a.fill = 0));
    sent("a signature of another session", bad_signature(), |p| {
        let other = p.auth().encode(&p.own, b"another transcript");
        p.edited(|a| a.signature = Some(other[37..101].try_into().unwrap()))
    });
    sent("a signature without the last message", bad_signature(), |p| {
        let shorter = p.transcript.len() - 1;
        let other = p.auth().encode(&p.own, &p.transcript[..shorter]);
        p.edited(|a| a.signature = Some(other[37..101].try_into().unwrap()))
    });
    sent("everything of another session", bad_mac(), |p| {
        p.edited(|a| a.transcript = Some(b"another transcript".to_vec()))
    });
    sent("a MAC of zeros", bad_mac(), |p| p.edited(|a| a.mac = Some([0; 32])));
    sent("the first bit of the MAC spoilt", bad_mac(), |p| p.edited(|a| a.spoil_mac[0] = 0x80));
    sent("the last bit of the MAC spoilt", bad_mac(), |p| p.edited(|a| a.spoil_mac[31] = 1));
    sent("a MAC with the other side's key", bad_mac(), |p| {
        let other = p.other;
        p.edited(|a| a.mac_secret = Some(other))
    });
    sent("a MAC before the signature", bad_mac(), |p| {
        // Of the transcript that the signature is of.
        let mac = finished(&p.own, &sha256(&[&p.transcript, &p.honest()[..37]]));
        p.edited(|a| a.mac = Some(mac))
    });
    sent("nothing right", bad_mac(), |p| {
        p.edited(|a| (a.spoil_signature, a.spoil_mac) = ([1; 64], [1; 32]))
    });
    cases.push(case(
        format!("{label}: cut at every length"),
        silent(SealedError::Cut),
        move || {
            proves(side, |p| {
                let frame = p.honest();
                Sent::Bytes(shortened(p.records.padded(0x16, &frame, 256)))
            })
        },
    ));
    let short = || malformed("length of an authentication");
    cases.push(case(
        format!("{label}: whole, with a body cut at every length"),
        short(),
        move || {
            let mut seen = (0..129u32).map(|n| {
                proves(side, |p| {
                    let keep = 4 + usize::try_from(n).unwrap();
                    p.edited(|a| (a.length, a.keep) = (Some(n), keep))
                })
            });
            match seen.find(|seen| *seen != short()) {
                None => short(),
                Some(other) => other,
            }
        },
    ));
    for kind in [other, 0, 1, 2, 0x0d, 0x0e, 0x10, 0x11, 0x12, 0xff] {
        let name = format!("{label}: frame of type {kind:02x}");
        cases.push(case(name, unexpected(own, kind), move || {
            proves(side, |p| p.edited(|a| a.frame = kind))
        }));
    }
    for content in [0, 0x14, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0xff] {
        let name = format!("{label}: in a record of type {content:02x}");
        cases.push(case(name, unexpected(0x16, content), move || {
            proves(side, |p| {
                let frame = p.honest();
                Sent::Bytes(p.records.padded(content, &frame, 256))
            })
        }));
    }
    cases.extend(small_order_keys(side, label, bad_signature));
    cases
}

fn client_auths() -> Vec<Case> {
    let with_psk = || ServerConfig { psks: vec![psk(5)], ..server_config() };
    let keyed = |h: &mut Hello| h.gate = Gate::Keyed(vec![5; 32], "psk");
    let sent = |name: &str, expected: Seen, act: fn(&mut Prover) -> Sent| {
        case(format!("ClientAuth: {name}"), expected, move || proves(Side::Client, act))
    };
    let no_key = || denied(Side::Client, "it shows no key");
    let mut cases = vec![
        sent("an unknown key, well proved", denied(Side::Client, "unknown"), |p| {
            p.edited(|a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED))
        }),
        sent("the server's own key, well proved", denied(Side::Client, "unknown"), |p| {
            p.edited(|a| (a.key, a.signer) = (public(&SERVER_SEED), SERVER_SEED))
        }),
        sent("no key, and no PSK either", no_key(), |p| {
            let auth = p.auth().anonymous();
            Sent::Frame(auth.encode(&p.own, &p.transcript))
        }),
        sent("the server's record comes back", silent(SealedError::BadRecord), |p| {
            Sent::Bytes(p.received.clone())
        }),
        sent("the server's frame comes back", unexpected(0x0c, 0x0b), |p| {
            Sent::Frame(p.received_frame.clone())
        }),
        sent(
            "the server's proof with our type",
            denied(Side::Client, "the Finished MAC is not that of the transcript"),
            |p| {
                let mut frame = p.received_frame.clone();
                frame[0] = 0x0c;
                Sent::Frame(frame)
            },
        ),
        sent(
            "the server's proof with our type and MAC",
            denied(Side::Client, "the signature is not that of the key"),
            |p| {
                let theirs: [u8; 64] = p.received_frame[37..101].try_into().unwrap();
                p.edited(|a| (a.key, a.signature) = (public(&SERVER_SEED), Some(theirs)))
            },
        ),
        sent("a second ClientHello instead", malformed("record length"), |p| {
            Sent::Bytes(p.transcript.clone())
        }),
        case("ClientAuth: no key but the PSK", Seen::Accepted, move || {
            facing_server(with_psk(), Some(5), keyed, |p| {
                let auth = p.auth().anonymous();
                Sent::Frame(auth.encode(&p.own, &p.transcript))
            })
        }),
        case(
            "ClientAuth: an unknown key and the PSK",
            denied(Side::Client, "unknown"),
            move || {
                facing_server(with_psk(), Some(5), keyed, |p| {
                    p.edited(|a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED))
                })
            },
        ),
        case(
            "ClientAuth: no key, and a PSK that the gate was not keyed with",
            no_key(),
            move || {
                facing_server(
                    with_psk(),
                    None,
                    |_| {},
                    |p| {
                        let auth = p.auth().anonymous();
                        Sent::Frame(auth.encode(&p.own, &p.transcript))
                    },
                )
            },
        ),
        sent("early data under the keys of the handshake", silent(SealedError::BadRecord), |p| {
            let frame = p.honest();
            let proof = p.records.padded(0x16, &frame, 256);
            Sent::Bytes([proof, p.records.seal(0x17, b"early")].concat())
        }),
    ];
    for (alert, code) in [
        (Alert::CloseNotify, 0),
        (Alert::AccessDenied, 1),
        (Alert::ProtocolError, 2),
        (Alert::Timeout, 4),
        (Alert::Undelivered(Undelivered::Unspecified), 8),
        (Alert::Unknown(9), 9),
        (Alert::Unknown(65_535), 65_535),
    ] {
        let name = format!("ClientAuth: alert {code} instead");
        cases.push(case(name, silent(SealedError::Alert(alert)), move || {
            proves(Side::Client, |p| {
                Sent::Bytes(p.records.padded(0x15, &u16::to_be_bytes(code), 64))
            })
        }));
    }
    for (name, payload) in bad_alerts() {
        let name = format!("ClientAuth: instead an alert {name}");
        cases.push(case(name, malformed("alert"), move || {
            proves(Side::Client, |p| Sent::Bytes(p.records.padded(0x15, payload, 64)))
        }));
    }
    cases
}

fn server_auths() -> Vec<Case> {
    let sent = |name: &str, expected: Seen, act: fn(&mut Prover) -> Sent| {
        case(format!("ServerAuth: {name}"), expected, move || proves(Side::Server, act))
    };
    let anonymous = |p: &mut Prover| {
        let auth = p.auth().anonymous();
        Sent::Frame(auth.encode(&p.own, &p.transcript))
    };
    let not_shown = || denied(Side::Server, "the server shows no key");
    let mut cases = vec![
        sent(
            "another key, well proved",
            silent(SealedError::ServerKey { got: public(&STRANGER_SEED) }),
            |p| p.edited(|a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED)),
        ),
        sent(
            "the client's own key, well proved",
            silent(SealedError::ServerKey { got: public(&CLIENT_SEED) }),
            |p| p.edited(|a| (a.key, a.signer) = (public(&CLIENT_SEED), CLIENT_SEED)),
        ),
        sent("no key where one is known", not_shown(), anonymous),
        case("ServerAuth: no key on first contact", not_shown(), move || {
            facing_client(ClientConfig { server_key: None, ..client_config() }, anonymous)
        }),
        case("ServerAuth: another PSK than ours", silent(SealedError::PskNotAccepted), move || {
            // The server that answers knows none.
            let config = ClientConfig { server_key: None, psk: Some(psk(5)), ..client_config() };
            facing_client(config, anonymous)
        }),
        case("ServerAuth: a key, but another PSK", silent(SealedError::PskNotAccepted), || {
            facing_client(ClientConfig { psk: Some(psk(5)), ..client_config() }, |p| {
                Sent::Frame(p.honest())
            })
        }),
        sent("our first message comes back", malformed("record length"), |p| {
            Sent::Bytes(p.received.clone())
        }),
        sent("our first message comes back in a record", unexpected(0x0b, 0xf5), |p| {
            Sent::Frame(p.received_frame.clone())
        }),
        sent("Ready instead", unexpected(0x0b, 0x0d), |_| Sent::Frame(frame(0x0d, &[0]))),
    ];
    for code in [0u16, 1, 2, 3, 6] {
        // Before Ready a server says nothing at all.
        let name = format!("ServerAuth: alert {code} instead");
        cases.push(case(name, unexpected(0x16, 0x15), move || {
            proves(Side::Server, |p| Sent::Bytes(p.records.padded(0x15, &code.to_be_bytes(), 64)))
        }));
    }
    cases
}
