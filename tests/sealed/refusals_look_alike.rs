//! Clients that are turned away all get the same bytes in the same record, for every reason.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use vpn_proto::sealed::{
    Decision, Gated, Kex, KexKeyPair, Part, PeerIdentity, Ready, SealedError, ServerConfig,
};

use crate::support::adversary::{
    Auth, CLIENT_SEED, FacingServer, Gate, Hello, Records, STRANGER_SEED, Secrets, key_line,
    opener, psk, public, read_flight, read_part, server_config, sha256, split_hello,
};
use crate::support::{Keys, Server};

/// An alert: length, one padded plaintext of 64 bytes, tag.
const ALERT: usize = 2 + 64 + 32;

/// A client's whole handshake; its stream, and the keys of what the server says then.
fn prove(
    server: &Server,
    server_key: [u8; 32],
    psk: Option<u8>,
    edit: impl FnOnce(&mut Auth),
) -> (TcpStream, [u8; 32]) {
    let mut stream = server.connect();
    let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
    let mut hello = Hello::new(pair.share());
    hello.gate = match psk {
        Some(byte) => Gate::Keyed(vec![byte; 32], "psk"),
        None => Gate::Keyed(server_key.to_vec(), "pub"),
    };
    let hello = hello.encode();
    stream.write_all(&hello).unwrap();
    let answer = read_part(&mut stream, Part::Hello);
    let record = read_part(&mut stream, Part::Record);
    // A PSK that the server has not counts as none.
    let (transcript, _, secrets) = read_flight(pair, &hello, &[answer, record].concat(), None);
    let mut auth = Auth::of_client();
    edit(&mut auth);
    let frame = auth.encode(&secrets.client, &transcript);
    stream.write_all(&Records::new(secrets.client).padded(0x16, &frame, 256)).unwrap();
    let [_, server] = secrets.session(&sha256(&[&transcript, &frame]));
    (stream, server)
}

/// All that the server says until it closes: the sizes of its records, and what is in them.
fn answer((mut stream, keys): (TcpStream, [u8; 32])) -> (Vec<usize>, Vec<(u8, Vec<u8>)>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes within the deadline");
    let (mut sizes, mut contents) = (Vec::new(), Vec::new());
    let mut opener = opener(keys);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let record = read_part(&mut rest, Part::Record);
        let opened = opener.open(&record).unwrap();
        sizes.push(record.len());
        contents.push((opened.content, opened.payload.to_vec()));
    }
    (sizes, contents)
}

#[test]
fn every_refusal_is_the_same_bytes() {
    let keys = Keys::new();
    let known = key_line(&CLIENT_SEED);
    let list = |text: String| keys.folder.file("authorized", text);
    list(format!("max-sessions=1 {known}\n"));
    let secret = keys.private("psk", &format!("{}\n", "05".repeat(32)));
    let server = keys.server(&["--psk", secret.to_str().unwrap()]);
    let key = keys.public("server").bytes;
    type Edit = fn(&mut Auth);
    let line = |options: &str| format!("{options} {known}\n");
    let anonymous: Edit = |auth| *auth = auth.clone().anonymous();
    let stranger: Edit = |a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED);
    // The list that the server reads, the PSK of the client, its proof, and why it is turned away.
    let cases: [(&str, String, Option<u8>, Edit); 12] = [
        ("its key is unknown", line(""), None, stranger),
        ("its key has expired", line("expires=\"2020-01-01\""), None, |_| {}),
        ("an address that its key is not for", line("from=\"10.0.0.0/8\""), None, |_| {}),
        ("as many sessions as it may have", line("max-sessions=1"), None, |_| {}),
        ("its key is unknown", "# nobody\n".to_owned(), None, |_| {}),
        ("the list of authorized clients cannot be read", "(gone)".to_owned(), None, |_| {}),
        ("its key is unknown", "?\n".to_owned(), None, |_| {}),
        ("the signature is not that of the key", line(""), None, |a| a.spoil_signature[0] = 1),
        ("the signature is not that of the key", line(""), None, |a| a.key = [0xff; 32]),
        ("the Finished MAC is not that of", line(""), None, |a| a.spoil_mac[31] = 0x80),
        ("it shows no key", line(""), Some(6), anonymous),
        ("it shows no key", line(""), None, anonymous),
    ];
    // One session that stays, so that there is no room for a second.
    let (mut first, _) = prove(&server, key, None, |_| {});
    assert_eq!(read_part(&mut first, Part::Record).len(), 290);
    let expected = (vec![ALERT], vec![(0x15, vec![0, 1])]);
    for (reason, text, psk, edit) in cases {
        match text.as_str() {
            "(gone)" => std::fs::remove_file(keys.path("authorized")).unwrap(),
            _ => drop(list(text)),
        }
        assert_eq!(answer(prove(&server, key, psk, edit)), expected, "{reason}");
        server.log.until(reason);
    }
    // The same client is let in when there is no reason against it.
    list(line("max-sessions=2"));
    let (mut second, secret) = prove(&server, key, None, |_| {});
    let ready = read_part(&mut second, Part::Record);
    assert_eq!(opener(secret).open(&ready).unwrap().content, 0x16);
}

#[test]
fn records_under_another_psk_are_answered_with_nothing() {
    // A client that mixes in another PSK has other keys, so its record has a bad tag, which gets no alert.
    let answered_with = |gated_with: u8, mixed: u8| {
        let psks = vec![psk(5)];
        let config = ServerConfig { psks, is_gate_required: false, ..server_config() };
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        let gate = Gate::Keyed(vec![gated_with; 32], "psk");
        let hello = Hello { gate, ..Hello::new(pair.share()) }.encode();
        let gated = Gated::on_hello(Arc::new(config), &hello).unwrap();
        let (state, flight) = gated.respond(&mut rand::rng()).unwrap();
        let (answer, _) = split_hello(&flight);
        let exchanged = pair.finish(&answer[45..45 + 1120]).unwrap();
        let th2 = sha256(&[&hello, answer]);
        let secrets = Secrets::new(Some(mixed), exchanged.as_bytes(), &th2);
        let auth = Auth::of_client().anonymous().encode(&secrets.client, b"");
        let record = Records::new(secrets.client).padded(0x16, &auth, 256);
        let refusal = state.on_record(&record, |_| Decision::Deny("")).unwrap_err();
        (refusal.error, refusal.answer.map(|answer| answer.len()))
    };
    assert_eq!(answered_with(6, 6), (SealedError::BadRecord, None));
    assert_eq!(answered_with(5, 6), (SealedError::BadRecord, None));
    // With the right one, it is the proof that fails.
    let (error, answer) = answered_with(5, 5);
    assert!(matches!(error, SealedError::Authentication(_)));
    assert_eq!(answer, Some(ALERT));
}

#[test]
fn a_key_is_proved_before_it_is_looked_up() {
    // The list of clients is not looked at for a key that nobody has proved, so no answer, and no
    // time that it takes, tells whether such a key is in it.
    let asked = |edit: fn(&mut Auth)| {
        let facing = FacingServer::start(server_config(), None, |_| {});
        let mut auth = Auth::of_client();
        edit(&mut auth);
        let frame = auth.encode(&facing.secrets.client, &facing.transcript);
        let record = Records::new(facing.secrets.client).padded(0x16, &frame, 256);
        let count = Cell::new(0);
        let decide = |peer| {
            count.set(count.get() + 1);
            match peer {
                PeerIdentity::Key(key) if key == public(&CLIENT_SEED) => {
                    Decision::Admit(Ready::default())
                }
                _ => Decision::Deny("unknown"),
            }
        };
        let result = facing.state.on_record(&record, decide);
        (count.get(), result.is_ok())
    };
    assert_eq!(asked(|_| {}), (1, true));
    assert_eq!(asked(|a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED)), (1, false));
    for edit in [
        (|a| a.spoil_signature[0] = 1) as fn(&mut Auth),
        |a| a.spoil_mac[0] = 1,
        |a| a.key = public(&STRANGER_SEED),
        |a| *a = a.clone().anonymous(),
    ] {
        assert_eq!(asked(edit), (0, false));
    }
}
