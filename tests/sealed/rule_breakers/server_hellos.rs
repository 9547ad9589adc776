//! No ServerHello and no Reject breaks a client.

use std::sync::Arc;

use vpn_proto::sealed::{ClientConfig, HelloSent, KexError, Part, SealedError, next_length};

use super::client_hellos::{kex, pair, share, small_orders};
use super::{Case, SOMEWHERE, Seen, all, case, malformed, silent, unexpected};
use crate::support::adversary::{
    Answer, Auth, FacingClient, Hello, client_config, field, frame, long, names, opener,
    split_hello,
};

/// What a client makes of a stream that should start with a ServerHello. It says nothing whatever it
/// is: the first thing it says is its proof.
fn reads(config: ClientConfig, edit: impl FnOnce(&FacingClient, &mut Answer) -> Edit) -> Seen {
    let facing = FacingClient::start(config);
    let mut answer = Answer::new(&facing.share);
    let edit = edit(&facing, &mut answer);
    let honest = answer.encode();
    let sent = match edit {
        Edit::Fields => honest.clone(),
        Edit::Stream(stream) => stream,
        Edit::After(spoil) => spoil(honest.clone()),
    };
    // The server goes by what it meant to send.
    let secrets = facing.secrets(&honest);
    let transcript = [facing.hello.as_slice(), &honest].concat();
    let auth = Auth::of_server().encode(&secrets.server, &transcript);
    let record = crate::support::adversary::Records::new(secrets.server).padded(0x16, &auth, 256);
    let stream = [sent, record].concat();
    let (first, rest) = match next_length(Part::Hello, &stream) {
        Ok(Some(length)) => stream.split_at(length),
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    let state = match facing.state.on_first(first) {
        Ok(state) => state,
        Err(error) => return silent(error),
    };
    let record = match next_length(Part::Record, rest) {
        Ok(Some(length)) => &rest[..length],
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    match state.on_record(record) {
        Ok(_) => Seen::Accepted,
        Err(error) => silent(error),
    }
}

enum Edit {
    /// The fields are changed, and the server knows.
    Fields,
    /// Something else is sent.
    Stream(Vec<u8>),
    /// It is changed on the way.
    After(fn(Vec<u8>) -> Vec<u8>),
}

fn m2(name: &str, expected: Seen, edit: impl Fn(&mut Answer) + 'static) -> Case {
    case(format!("ServerHello: {name}"), expected, move || {
        reads(client_config(), |_, answer| {
            edit(answer);
            Edit::Fields
        })
    })
}

fn m2_after(name: &str, expected: Seen, spoil: fn(Vec<u8>) -> Vec<u8>) -> Case {
    case(format!("ServerHello: {name}"), expected, move || {
        reads(client_config(), |_, _| Edit::After(spoil))
    })
}

/// What a client makes of these bytes and the end of the stream.
fn reads_only(bytes: &[u8]) -> Seen {
    match next_length(Part::Hello, bytes) {
        Ok(None) => silent(SealedError::Cut),
        Err(error) => silent(error),
        Ok(Some(length)) => {
            let (config, hello) = (Arc::new(client_config()), Hello::new(share()).encode());
            let state = HelloSent::danger_replay(config, pair(), &hello).unwrap();
            match state.on_first(&bytes[..length]) {
                Ok(_) => silent(SealedError::Cut),
                Err(error) => silent(error),
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    [server_hellos(), rejects()].into_iter().flatten().collect()
}

fn server_hellos() -> Vec<Case> {
    let length = |got| kex(KexError::Length { expected: 1120, got });
    let bad = || silent(SealedError::BadRecord);
    let index = "the key exchange is not that of our share";
    let mut cases = vec![
        m2("as it should be", Seen::Accepted, |_| {}),
        m2("length one more than there is", malformed("trailing bytes"), |a| a.more_length = 1),
        m2("length beyond everything", silent(SealedError::Cut), |a| a.more_length = 600),
        m2("length one less than there is", malformed("a field is cut off"), |a| {
            a.more_length = -1;
        }),
        m2("length 0", malformed("a field is cut off"), |a| {
            a.more_length = -i32::try_from(a.body_length()).unwrap();
        }),
        m2("length of all ones", malformed("length"), |a| {
            a.more_length = 0x00ff_ffff - i32::try_from(a.body_length()).unwrap();
        }),
        m2("of 4097 bytes", malformed("length"), |a| {
            let more = 4097 - 9 - a.body_length() - 4;
            a.extensions = long(&field(0xffff, &vec![0; more]));
        }),
        m2("another of the client's kexes", malformed(index), |a| a.kex_index = 1),
        m2("a kex beyond the list", malformed(index), |a| a.kex_index = 2),
        m2("a kex of all ones", malformed(index), |a| a.kex_index = 255),
        m2("the second best suite, and keys of the best", malformed(SOMEWHERE), |a| {
            a.suite_index = 1
        }),
        m2("a suite beyond the list", malformed("index of the suite"), |a| a.suite_index = 2),
        m2("a suite of all ones", malformed("index of the suite"), |a| a.suite_index = 255),
        m2("an empty share", length(0), |a| a.share = long(&[])),
        m2("a share of one byte less", length(1119), |a| a.share = long(&[9; 1119])),
        m2("a share of one byte more", length(1121), |a| a.share = long(&[9; 1121])),
        m2("a share with no X25519", length(1088), |a| a.share = long(&[9; 1088])),
        m2("a share for a client of ffdhe3072", length(384), |a| a.share = long(&[9; 384])),
        m2("a share beyond the message", malformed("a field is cut off"), |a| {
            a.share = vec![0xff; 2];
        }),
        m2("an ML-KEM ciphertext of another key", bad(), |a| a.share[2..1090].fill(9)),
        m2("an unknown extension", Seen::Accepted, |a| {
            a.extensions = long(&field(0x1a1a, b"x"));
        }),
        m2("an extension twice", malformed("a field occurs twice"), |a| {
            a.extensions = long(&field(0x1a1a, b"x").repeat(2));
        }),
        m2("an extension cut off", malformed("a field is cut off"), |a| {
            a.extensions = long(&[0x1a, 0x1a, 0]);
        }),
        m2("extensions beyond the message", malformed("a field is cut off"), |a| {
            a.extensions = vec![0, 9];
        }),
        m2("a byte behind the extensions", malformed("trailing bytes"), |a| a.tail = vec![0]),
        m2("another random value", Seen::Accepted, |a| a.random = [0; 32]),
        m2_after("missing", malformed("preface"), |_| Vec::new()),
        m2_after("repeated", malformed("record length"), |m| m.repeat(2)),
        m2_after("late, behind a record", malformed("preface"), |m| {
            [vec![0, 48], vec![7; 48], m].concat()
        }),
        m2_after("with a bit of the random value spoilt", bad(), |mut m| {
            m[9] ^= 1;
            m
        }),
        m2_after("with the suite changed on the way", bad(), |mut m| {
            m[9 + 32 + 1] = 1;
            m
        }),
        m2_after("with the ciphertext changed on the way", bad(), |mut m| {
            m[9 + 32 + 2 + 2] ^= 1;
            m
        }),
        m2_after("with an extension put in on the way", bad(), |mut m| {
            let end = m.len() - 2;
            m.truncate(end);
            m.extend(long(&field(1, b"")));
            m[8] += 4;
            m
        }),
        m2_after("a classic choice", malformed("preface"), |_| b"ChosenCipher:AES:256\n".to_vec()),
        m2_after("a classic refusal", malformed("preface"), |_| {
            b"Could not agree on a cipher".to_vec()
        }),
        case("ServerHello: our own first message comes back", unexpected(2, 1), || {
            reads(client_config(), |facing, _| Edit::Stream(facing.hello.clone()))
        }),
        case("ServerHello: cut at every length", silent(SealedError::Cut), || {
            let whole = Answer::new(&[9; 1120]).encode();
            all((0..whole.len()).map(|n| reads_only(&whole[..n])))
        }),
        case("ServerHello: whole, with a body cut at every length", malformed(SOMEWHERE), || {
            let whole = Answer::new(&[9; 1120]);
            all((0..whole.body_length())
                .map(|keep| reads_only(&Answer { keep, ..whole.clone() }.encode())))
        }),
        case("ServerHello: whole, and nothing behind", silent(SealedError::Cut), || {
            reads_only(&Answer::new(&[9; 1120]).encode())
        }),
    ];
    for at in 0..5 {
        let name = format!("preface spoilt at {at}");
        cases.push(m2(&name, malformed("preface"), move |a| a.preface[at] ^= 1));
    }
    for kind in [0, 1, 0x0b, 0x0c, 0x0d, 0x10, 0x16, 0xff] {
        let name = format!("type {kind:02x}");
        cases.push(m2(&name, unexpected(2, kind), move |a| a.kind = kind));
    }
    for (name, point) in small_orders() {
        cases.push(m2(&format!("X25519 {name}"), kex(KexError::ZeroResult), move |a| {
            a.share[2 + 1088..].copy_from_slice(&point);
        }));
    }
    cases
}

fn rejects() -> Vec<Case> {
    let reject = |name: &str, expected: Seen, body: Vec<u8>| {
        case(format!("Reject: {name}"), expected, move || {
            reads_only(&[b"\xf5VPN\x01".to_vec(), frame(0x0e, &body)].concat())
        })
    };
    let lists =
        |code: u8| [&[code], names(&["ffdhe3072"]).as_slice(), &names(&["des3-192-cbc"])].concat();
    let retry =
        SealedError::KexRetry { theirs: "ffdhe3072".to_owned(), suites: "des3-192-cbc".to_owned() };
    let no_suite = SealedError::NothingInCommon {
        what: "cipher suite",
        theirs: "des3-192-cbc".to_owned(),
        ours: "aes-256-cbc, aes-128-cbc".to_owned(),
    };
    let no_kex = SealedError::NothingInCommon {
        what: "key exchange",
        theirs: "x".to_owned(),
        ours: "x25519-mlkem768, ffdhe3072".to_owned(),
    };
    let cut = || malformed("a field is cut off");
    let nine: Vec<String> = (0..9).map(|n| format!("k{n}")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    let mut cases = vec![
        reject("no suite in common", silent(no_suite), lists(1)),
        reject(
            "no kex in common",
            silent(no_kex),
            [&[1][..], &names(&["x"]), &names(&["y"])].concat(),
        ),
        reject("another kex is wanted", silent(retry), lists(2)),
        reject("busy", silent(SealedError::Busy), vec![3]),
        reject("empty", cut(), Vec::new()),
        reject("no lists", cut(), vec![1]),
        reject("no second list", cut(), [&[2][..], &names(&["ffdhe3072"])].concat()),
        reject("an empty list", malformed("count of names"), vec![1, 0, 0]),
        reject(
            "nine kexes",
            malformed("count of names"),
            [&[2][..], &names(&nine), &names(&["y"])].concat(),
        ),
        reject(
            "a name twice",
            malformed("a name occurs twice"),
            [&[2][..], &names(&["x", "x"]), &names(&["y"])].concat(),
        ),
        reject(
            "an escape in a name",
            malformed("name"),
            [&[2][..], &names(&["\x1b[2j"]), &names(&["y"])].concat(),
        ),
        reject(
            "a byte behind the lists",
            malformed("trailing bytes"),
            [lists(2), vec![0]].concat(),
        ),
        reject("lists with busy", malformed("trailing bytes"), lists(3)),
        case("Reject: cut at every length", silent(SealedError::Cut), move || {
            let whole = [b"\xf5VPN\x01".to_vec(), frame(0x0e, &lists(2))].concat();
            all((0..whole.len()).map(|n| reads_only(&whole[..n])))
        }),
        case("Reject: late, behind a ServerHello", malformed("record length"), || {
            reads(client_config(), |_, _| {
                Edit::After(|m| [m, b"\xf5VPN\x01\x0e\x00\x00\x01\x03".to_vec()].concat())
            })
        }),
        case(
            "Reject: late, in a record",
            silent(SealedError::Unexpected { expected: 0x0b, got: 0x0e }),
            || {
                let facing = FacingClient::start(client_config());
                let answer = Answer::new(&facing.share).encode();
                let secrets = facing.secrets(&answer);
                let record = crate::support::adversary::Records::new(secrets.server)
                    .seal(0x16, &frame(0x0e, &[3]));
                assert!(
                    opener(secrets.server).open(&record).is_ok()
                        && split_hello(&answer).1.is_empty()
                );
                match facing.state.on_first(&answer).unwrap().on_record(&record) {
                    Ok(_) => Seen::Accepted,
                    Err(error) => silent(error),
                }
            },
        ),
    ];
    for code in [0, 4, 255] {
        let name = format!("code {code}");
        cases.push(reject(&name, malformed("code of a Reject"), lists(code)));
    }
    cases
}
