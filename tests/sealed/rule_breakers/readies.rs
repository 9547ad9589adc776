//! No Ready but the right one is accepted.

use vpn_proto::sealed::{Alert, Part, SealedError, Undelivered, next_length};

use super::{Case, Said, Seen, case, malformed, silent, unexpected};
use crate::support::adversary::{
    Answer, Auth, FacingClient, Records, client_config, field, frame, frame_of_length, opener,
    sha256,
};

/// A record without its last byte.
pub(super) fn shortened(mut record: Vec<u8>) -> Vec<u8> {
    record.pop();
    for length in 0..=record.len() {
        assert_eq!(next_length(Part::Record, &record[..length]), Ok(None));
    }
    record
}

/// Alerts that are none.
pub(super) fn bad_alerts() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("that is empty", b""),
        ("of one byte", b"\0"),
        ("0 with a byte behind", b"\0\0\0"),
        ("1 with a hint", b"\0\x01\0\0\0\0"),
        ("5 without a hint", b"\0\x05"),
        ("5 with half a hint", b"\0\x05\0\0"),
        ("5 with a byte behind", b"\0\x05\0\0\0\0\0"),
        ("7 with a byte behind", b"\0\x07\0"),
    ]
}

/// What a client that has proved itself makes of what comes then; `old` are the keys of the
/// handshake.
fn readies_with(act: impl FnOnce(&mut Records, &mut Records) -> Vec<u8>) -> Seen {
    let facing = FacingClient::start(client_config());
    let answer = Answer::new(&facing.share).encode();
    let secrets = facing.secrets(&answer);
    let mut transcript = [facing.hello.as_slice(), &answer].concat();
    let auth = Auth::of_server().encode(&secrets.server, &transcript);
    let mut old = Records::new(secrets.server);
    let record = old.padded(0x16, &auth, 256);
    transcript.extend(auth);
    let state = facing.state.on_first(&answer).unwrap().on_record(&record).unwrap();
    let (state, proof) = state.accept().unwrap();
    let proof = opener(secrets.client).open(&proof).unwrap().payload;
    // The client's proof is what an honest server expects, to the byte.
    assert_eq!(proof.as_slice(), Auth::of_client().encode(&secrets.client, &transcript));
    transcript.extend(proof.iter());
    let [_, server] = secrets.session(&sha256(&[&transcript]));
    let bytes = act(&mut Records::new(server), &mut old);
    let record = match next_length(Part::Record, &bytes) {
        Ok(Some(length)) => &bytes[..length],
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    match state.on_record(record) {
        Ok((mut session, _)) => match session.handle_input(&bytes[record.len()..]) {
            Ok(()) => Seen::Accepted,
            Err(error) => {
                let said = session.poll_transmit().map_or(Said::Nothing, |_| Said::Other);
                Seen::Ended(error, said)
            }
        },
        Err(error) => silent(error),
    }
}

pub(super) fn readies() -> Vec<Case> {
    let ready = |name: &str, expected: Seen, body: Vec<u8>| {
        case(format!("Ready: {name}"), expected, move || {
            readies_with(|records, _| records.padded(0x16, &frame(0x0d, &body), 256))
        })
    };
    let sent = |name: &str, expected: Seen, act: fn(&mut Records, &mut Records) -> Vec<u8>| {
        case(format!("Ready: {name}"), expected, move || readies_with(act))
    };
    let with = |fields: &[Vec<u8>]| [vec![0], fields.concat()].concat();
    let cut = || malformed("a field is cut off");
    let bad = || silent(SealedError::BadRecord);
    let whole = || with(&[field(1, &[0, 0, 0, 9]), field(3, b"message")]);
    let mut cases = vec![
        ready("as it should be", Seen::Accepted, whole()),
        ready("without fields", Seen::Accepted, vec![0]),
        ready("an unknown field", Seen::Accepted, with(&[field(4, b"x"), field(0xffff, b"")])),
        ready("empty", cut(), Vec::new()),
        ready("status 1", malformed("status of Ready"), vec![1]),
        ready("status of all ones", malformed("status of Ready"), vec![255]),
        ready(
            "a field twice",
            malformed("a field occurs twice"),
            with(&[field(3, b"a"), field(3, b"a")]),
        ),
        ready(
            "an unknown field twice",
            malformed("a field occurs twice"),
            with(&[field(9, b""), field(1, &[0; 4]), field(9, b"")]),
        ),
        ready("a keepalive of 3 bytes", cut(), with(&[field(1, &[0; 3])])),
        ready("a keepalive of 5 bytes", malformed("trailing bytes"), with(&[field(1, &[0; 5])])),
        ready("a largest message of no bytes", cut(), with(&[field(2, b"")])),
        ready("services that are not UTF-8", malformed("services"), with(&[field(3, b"\xff")])),
        ready("a field's type cut off", cut(), vec![0, 0]),
        ready("a field's length cut off", cut(), vec![0, 0, 1, 0]),
        ready("a field's data cut off", cut(), vec![0, 0, 1, 0, 4, 0, 0, 0]),
        sent("missing", silent(SealedError::Cut), |_, _| Vec::new()),
        sent("under the keys of the handshake", bad(), |_, old| {
            old.padded(0x16, &frame(0x0d, &[0]), 256)
        }),
        sent("late, by one number", bad(), |records, _| {
            records.sequence = 1;
            records.padded(0x16, &frame(0x0d, &[0]), 256)
        }),
        sent("repeated byte by byte", bad(), |records, _| {
            records.padded(0x16, &frame(0x0d, &[0]), 256).repeat(2)
        }),
        sent(
            "repeated",
            Seen::Ended(SealedError::Unexpected { expected: 0x17, got: 0x0d }, Said::Other),
            |records, _| {
                let first = records.padded(0x16, &frame(0x0d, &[0]), 256);
                [first, records.padded(0x16, &frame(0x0d, &[0]), 256)].concat()
            },
        ),
        sent("a byte behind", malformed("frame length"), |records, _| {
            records.padded(0x16, &[frame(0x0d, &[0]), vec![0]].concat(), 256)
        }),
        sent("a length beyond", malformed("frame length"), |records, _| {
            records.padded(0x16, &frame_of_length(0x0d, 2, &[0]), 256)
        }),
        sent("a length of all ones", malformed("frame length"), |records, _| {
            records.padded(0x16, &frame_of_length(0x0d, 0x00ff_ffff, &[0]), 256)
        }),
        sent("half a header", malformed("frame header"), |records, _| {
            records.padded(0x16, &[0x0d, 0], 256)
        }),
        sent("an empty record", malformed("frame header"), |records, _| records.seal(0x16, &[])),
        sent("padding that is not zero", malformed("padding"), |records, _| {
            let mut inner = [vec![0x16, 0, 5], frame(0x0d, &[0])].concat();
            inner.resize(256, 1);
            records.raw(&inner)
        }),
        sent("an inner length beyond", malformed("inner length"), |records, _| {
            records.raw(&[&[0x16, 0xff, 0xff], &[0; 13][..]].concat())
        }),
        case("Ready: cut at every length", silent(SealedError::Cut), || {
            readies_with(|records, _| shortened(records.padded(0x16, &frame(0x0d, &[0]), 256)))
        }),
    ];
    for kind in [1, 2, 0x0b, 0x0c, 0x0e, 0x10, 0x11, 0x12, 0xff] {
        let name = format!("Ready: frame of type {kind:02x}");
        cases.push(case(name, unexpected(0x0d, kind), move || {
            readies_with(|records, _| records.padded(0x16, &frame(kind, &[0]), 256))
        }));
    }
    for content in [0, 0x14, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0xff] {
        let name = format!("Ready: instead a record of type {content:02x}");
        cases.push(case(name, unexpected(0x16, content), move || {
            readies_with(|records, _| records.seal(content, &[0, 0, 0, 1]))
        }));
    }
    for (alert, payload) in [
        (Alert::CloseNotify, &[0, 0][..]),
        (Alert::AccessDenied, &[0, 1]),
        (Alert::ProtocolError, &[0, 2]),
        (Alert::Busy, &[0, 3]),
        (Alert::Timeout, &[0, 4]),
        (Alert::Draining(7), &[0, 5, 0, 0, 0, 7]),
        (Alert::Policy, &[0, 6]),
        (Alert::Replaced, &[0, 7]),
        (Alert::Undelivered(Undelivered::Output), &[0, 8, 1]),
        (Alert::Undelivered(Undelivered::Input), &[0, 8, 2]),
        (Alert::Undelivered(Undelivered::Unspecified), &[0, 8, 3, 4]),
        (Alert::Unknown(9), &[0, 9]),
    ] {
        let name = format!("Ready: instead the alert {alert}, {payload:02x?}");
        cases.push(case(name, silent(SealedError::Alert(alert)), move || {
            readies_with(|records, _| records.padded(0x15, payload, 64))
        }));
    }
    for (name, payload) in bad_alerts() {
        cases.push(case(
            format!("Ready: instead an alert {name}"),
            malformed("alert"),
            move || readies_with(|records, _| records.padded(0x15, payload, 64)),
        ));
    }
    cases
}
