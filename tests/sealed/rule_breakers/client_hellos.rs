//! No ClientHello breaks a server.

use std::sync::{Arc, LazyLock};

use num_bigint::BigUint;
use vpn_proto::sealed::{
    Decision, Gated, Kex, KexError, KexKeyPair, Part, Psk, Ready, SealedError, ServerConfig,
    next_length,
};

use super::{Case, SOMEWHERE, Said, Seen, all, case, malformed, silent, unexpected};
use crate::support::adversary::{
    Auth, FacingServer, Gate, Hello, STRANGER_SEED, field, long, names, psk, public, server_config,
};

const HYBRID: &str = "x25519-mlkem768";

/// What a server makes of a stream that starts with a ClientHello; with one that it answers, the
/// client goes on to the end of the handshake.
fn hears(config: ServerConfig, psk: Option<u8>, stream: &[u8]) -> Seen {
    let (hello, rest) = match next_length(Part::Hello, stream) {
        Ok(Some(length)) => stream.split_at(length),
        Ok(None) => return silent(SealedError::Cut),
        Err(error) => return silent(error),
    };
    let gated = match Gated::on_hello(Arc::new(config), hello) {
        Ok(gated) => gated,
        Err(refusal) => {
            let said = match refusal.answer.as_deref() {
                None => Said::Nothing,
                Some([0xf5, b'V', b'P', b'N', 1, 0x0e, 0, _, _, code, ..]) => Said::Reject(*code),
                Some(_) => Said::Other,
            };
            return Seen::Ended(refusal.error, said);
        }
    };
    let (state, flight) = match gated.respond(&mut rand::rng()) {
        Ok(answered) => answered,
        Err(error) => return silent(error),
    };
    let facing = FacingServer::take(state, pair(), hello, &flight, psk);
    let auth = Auth::of_client().encode(&facing.secrets.client, &facing.transcript);
    let mut records = crate::support::adversary::Records::new(facing.secrets.client);
    let record = [rest, &records.padded(0x16, &auth, 256)].concat();
    match next_length(Part::Record, &record) {
        Ok(Some(length)) => {
            let admit = |_| Decision::Admit(Ready::default());
            match facing.state.on_record(&record[..length], admit) {
                Ok(_) => Seen::Accepted,
                Err(refusal) => silent(refusal.error),
            }
        }
        Ok(None) => silent(SealedError::Cut),
        Err(error) => silent(error),
    }
}

pub(super) fn pair() -> KexKeyPair {
    KexKeyPair::danger_hybrid(&[7; 64], &[9; 32])
}

/// The share of that pair.
pub(super) fn share() -> &'static [u8] {
    static SHARE: LazyLock<Vec<u8>> = LazyLock::new(|| pair().share().to_vec());
    &SHARE
}

/// A ClientHello that is edited, to a server that wants the gate.
fn m1(name: &str, expected: Seen, edit: impl Fn(&mut Hello) + 'static) -> Case {
    m1_to(name, server_config(), expected, edit)
}

fn m1_to(
    name: &str,
    config: ServerConfig,
    expected: Seen,
    edit: impl Fn(&mut Hello) + 'static,
) -> Case {
    case(format!("ClientHello: {name}"), expected, move || {
        let mut hello = Hello::new(share());
        edit(&mut hello);
        hears(config, None, &hello.encode())
    })
}

/// Makes a ClientHello so long, by its extensions.
pub(super) fn fill(hello: &mut Hello, length: usize) {
    let others = 9 + hello.body_length() - hello.extensions.len() + 32;
    hello.extensions = long(&field(0xffff, &vec![0; length - others - 6]));
}

pub(super) fn kex(error: KexError) -> Seen {
    silent(SealedError::Kex(error))
}

fn nothing_in_common(what: &'static str, theirs: &str) -> Seen {
    let ours = match what {
        "cipher suite" => "aes-256-cbc, aes-128-cbc",
        _ => "x25519-mlkem768, ffdhe3072",
    };
    let (theirs, ours) = (theirs.to_owned(), ours.to_owned());
    Seen::Ended(SealedError::NothingInCommon { what, theirs, ours }, Said::Reject(1))
}

pub(super) fn retry(theirs: &str) -> Seen {
    let (theirs, suites) = (theirs.to_owned(), "aes-256-cbc, aes-128-cbc".to_owned());
    Seen::Ended(SealedError::KexRetry { theirs, suites }, Said::Reject(2))
}

/// Every encoding of a point of small order that X25519 must not take (RFC 7748 §7).
pub(super) fn small_orders() -> Vec<(&'static str, [u8; 32])> {
    let number = |hex: &str| vpn_suite::testkit::unhex(hex).try_into().unwrap();
    let all_ones = |low: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (low, 0x7f);
        bytes
    };
    vec![
        ("0", [0; 32]),
        ("1", number("0100000000000000000000000000000000000000000000000000000000000000")),
        ("p-1", all_ones(0xec)),
        ("p", all_ones(0xed)),
        ("p+1", all_ones(0xee)),
        ("order 8", number("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
        ("order 8 too", number("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")),
    ]
}

/// The prime of ffdhe3072, from RFC 7919's formula: 2^3072 - 2^3008 + ([2^2942 e] + 2625351) 2^64 - 1.
fn prime_3072() -> BigUint {
    let one = BigUint::from(1u8);
    let guard = 64;
    let (mut e, mut term) = (BigUint::default(), &one << (2942 + guard));
    for k in 1u32.. {
        e += &term;
        term /= k;
        if term == BigUint::default() {
            break;
        }
    }
    let middle = ((e >> guard) + 2_625_351u32) << 64;
    (&one << 3072) - (&one << 3008) + middle - one
}

/// A ClientHello for ffdhe3072 with this value as its share.
fn m1_ffdhe(name: &str, expected: Seen, value: BigUint) -> Case {
    let config = ServerConfig { kex: vec![Kex::Ffdhe3072], ..server_config() };
    m1_to(name, config, expected, move |h| {
        h.kex = names(&["ffdhe3072"]);
        let digits = value.to_bytes_be();
        h.share = long(&[vec![0; 384 - digits.len()], digits].concat());
    })
}

pub(super) fn cases() -> Vec<Case> {
    [client_hellos(), names_of_client_hellos(), shares_of_client_hellos(), gates()]
        .into_iter()
        .flatten()
        .collect()
}

fn client_hellos() -> Vec<Case> {
    let stream = |name: &str, expected: Seen, edit: fn(Vec<u8>) -> Vec<u8>| {
        case(format!("ClientHello: {name}"), expected, move || {
            let stream = edit(Hello::new(share()).encode());
            hears(server_config(), None, &stream)
        })
    };
    let mut cases = vec![
        m1("as it should be", Seen::Accepted, |_| {}),
        stream("missing", silent(SealedError::Cut), |_| Vec::new()),
        stream("repeated", malformed("record length"), |m| m.repeat(2)),
        stream("with a byte behind", silent(SealedError::Malformed("record length")), |m| {
            [m, vec![0xff]].concat()
        }),
        stream("late, behind a record", malformed("preface"), |m| {
            [vec![0, 48], vec![7; 48], m].concat()
        }),
        stream("a classic proposal", malformed("preface"), |_| {
            b"ProposedCiphers:AES:[256]".to_vec()
        }),
        stream("a server's first bytes", unexpected(1, 0x0e), |_| {
            b"\xf5VPN\x01\x0e\x00\x00\x01\x03".to_vec()
        }),
        case("ClientHello: cut at every length", silent(SealedError::Cut), || {
            let whole = Hello::new(share()).encode();
            all((0..whole.len()).map(|n| hears(server_config(), None, &whole[..n])))
        }),
        case("ClientHello: whole, with a body cut at every length", malformed(SOMEWHERE), || {
            let whole = Hello::new(share());
            all((0..whole.body_length()).map(|keep| {
                let hello = Hello { keep, ..whole.clone() };
                hears(server_config(), None, &hello.encode())
            }))
        }),
        m1("length one more than there is", silent(SealedError::Cut), |h| h.more_length = 1),
        m1("length one less than there is", malformed("a field is cut off"), |h| {
            h.more_length = -1;
        }),
        m1("length 0", malformed("no gate"), |h| {
            h.more_length = -i32::try_from(h.body_length() + 32).unwrap();
        }),
        m1("length of all ones", malformed("length"), |h| {
            h.more_length = 0x00ff_ffff - i32::try_from(h.body_length() + 32).unwrap();
        }),
        m1("of 4096 bytes", Seen::Accepted, |h| fill(h, 4096)),
        m1("of 4097 bytes", malformed("length"), |h| fill(h, 4097)),
        m1("another random value", Seen::Accepted, |h| h.random = [0; 32]),
        m1("an index beyond the list", malformed("index of the key exchange"), |h| h.index = 2),
        m1("an index of all ones", malformed("index of the key exchange"), |h| h.index = 255),
        m1("a share for the second best", retry("x25519-mlkem768, ffdhe3072"), |h| h.index = 1),
        m1("a share for what nobody knows", retry("x25519-mlkem768, new"), |h| {
            h.kex = names(&[HYBRID, "new"]);
            h.index = 1;
        }),
        m1("something between extensions and gate", malformed("trailing bytes"), |h| {
            h.before_gate = vec![0];
        }),
        m1("no extensions", Seen::Accepted, |h| h.extensions = long(&[])),
        m1("an empty extension", Seen::Accepted, |h| h.extensions = long(&field(0x0a0a, &[]))),
        m1("an unknown extension", Seen::Accepted, |h| {
            h.extensions = long(&[field(0x0a0a, &[1]), field(9, &[2; 99])].concat());
        }),
        m1("an extension twice", malformed("a field occurs twice"), |h| {
            h.extensions = long(&field(0x3a3a, b"x").repeat(2));
        }),
        m1("an extension twice, not in a row", malformed("a field occurs twice"), |h| {
            h.extensions = long(&[field(7, b"x"), field(8, b""), field(7, b"y")].concat());
        }),
        m1("an extension beyond the others", malformed("a field is cut off"), |h| {
            h.extensions = long(&[0x0a, 0x0a, 0, 2, 1]);
        }),
        m1("extensions beyond the message", malformed("a field is cut off"), |h| {
            h.extensions = [0xff, 0xff].to_vec();
        }),
        m1("a length of extensions that is cut off", malformed("a field is cut off"), |h| {
            h.extensions = vec![0];
        }),
    ];
    for at in 0..5 {
        let name = format!("preface spoilt at {at}");
        cases.push(m1(&name, malformed("preface"), move |h| h.preface[at] ^= 1));
    }
    for kind in [0, 2, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x16, 0xff] {
        let name = format!("type {kind:02x}");
        cases.push(m1(&name, unexpected(1, kind), move |h| h.kind = kind));
    }
    for length in 1..4 {
        let name = format!("{length} bytes of an extension");
        cases.push(m1(&name, malformed("a field is cut off"), move |h| {
            h.extensions = long(&[0x0a, 0x0a, 0][..length]);
        }));
    }
    cases
}

fn names_of_client_hellos() -> Vec<Case> {
    let mut cases = Vec::new();
    let good = |which: &str| if which == "kex" { HYBRID } else { "aes-256-cbc" };
    for which in ["kex", "suite"] {
        let most = if which == "kex" { 8 } else { 32 };
        let mut list = |name: &str, expected: Seen, bytes: Vec<u8>| {
            cases.push(m1(&format!("{which} list: {name}"), expected, move |h| {
                *if which == "kex" { &mut h.kex } else { &mut h.suites } = bytes.clone();
            }));
        };
        let good = good(which);
        let numbered: Vec<String> = (0..40).map(|n| format!("name-{n}")).collect();
        let with = |count: usize| {
            let more = numbered.iter().map(String::as_str).take(count - 1);
            names(&std::iter::once(good).chain(more).collect::<Vec<_>>())
        };
        let raw = |name: &[u8]| {
            let mut list = names(&[good]);
            list[0] = 2;
            list.push(name.len().try_into().unwrap());
            list.extend(name);
            list
        };
        list("empty", malformed("count of names"), vec![0]);
        list("as long as can be", Seen::Accepted, with(most));
        list("one too long", malformed("count of names"), with(most + 1));
        list("count of all ones", malformed("count of names"), {
            let mut list = with(2);
            list[0] = 255;
            list
        });
        list("a name more than counted", malformed(SOMEWHERE), {
            let mut list = with(2);
            list[0] = 1;
            list
        });
        list("a name less than counted", malformed(SOMEWHERE), {
            let mut list = with(2);
            list[0] = 3;
            list
        });
        list("a name twice", malformed("a name occurs twice"), names(&[good, good]));
        list("an unknown name twice", malformed("a name occurs twice"), names(&[good, "x", "x"]));
        list("an unknown name", Seen::Accepted, names(&[good, "unknown"]));
        list("a name of 32 bytes", Seen::Accepted, raw(&[b'x'; 32]));
        list("a name of 33 bytes", malformed("name"), raw(&[b'x'; 33]));
        list("an empty name", malformed("name"), raw(b""));
        list("a capital letter", malformed("name"), raw(b"Aes-256-cbc"));
        list("a blank", malformed("name"), raw(b"aes 256"));
        list("an underscore", malformed("name"), raw(b"aes_256"));
        list("a comma", malformed("name"), raw(b"aes,des"));
        list("a NUL", malformed("name"), raw(b"aes\0"));
        list("an escape", malformed("name"), raw(b"\x1b[2j"));
        list("not ASCII", malformed("name"), raw("é".as_bytes()));
        list("every mark that a name may have", Seen::Accepted, raw(b"a-z.0@9"));
    }
    cases.push(m1("nothing but unknown suites", nothing_in_common("cipher suite", "x, y"), |h| {
        h.suites = names(&["x", "y"]);
    }));
    cases.push(m1("nothing but unknown kexes", nothing_in_common("key exchange", "x, y"), |h| {
        h.kex = names(&["x", "y"]);
    }));
    cases.push(m1("a suite of the classic name", nothing_in_common("cipher suite", "aes"), |h| {
        h.suites = names(&["aes"]);
    }));
    cases
}

fn shares_of_client_hellos() -> Vec<Case> {
    let length = |expected, got| kex(KexError::Length { expected, got });
    let mut cases = vec![
        m1("an empty share", length(1216, 0), |h| h.share = long(&[])),
        m1("a share of one byte less", length(1216, 1215), |h| {
            h.share = long(&share()[1..]);
        }),
        m1("a share of one byte more", length(1216, 1217), |h| {
            h.share = long(&[share(), &[0]].concat());
        }),
        m1("a share with no X25519", length(1216, 1184), |h| {
            h.share = long(&share()[..1184]);
        }),
        m1("a share beyond the message", malformed("a field is cut off"), |h| {
            h.share = vec![0xff; 2];
        }),
        m1("an ML-KEM key beyond the modulus", kex(KexError::KemKey), |h| h.share[2..8].fill(0xff)),
        m1("a share of ML-KEM behind X25519", kex(KexError::KemKey), |h| {
            h.share = long(&[&[0xff; 32], &share()[..1184]].concat());
        }),
    ];
    for (name, point) in small_orders() {
        cases.push(m1(&format!("X25519 {name}"), kex(KexError::ZeroResult), move |h| {
            h.share[2 + 1184..].copy_from_slice(&point);
        }));
    }
    let p = prime_3072();
    let outside = || kex(KexError::OutOfRange);
    for (name, value) in [
        ("0", BigUint::from(0u8)),
        ("1", BigUint::from(1u8)),
        ("p-1", &p - 1u8),
        ("p", p.clone()),
        ("p+1", &p + 1u8),
        ("p+2", &p + 2u8),
        ("2^3072-1", (BigUint::from(1u8) << 3072) - 1u8),
    ] {
        cases.push(m1_ffdhe(&format!("ffdhe3072 {name}"), outside(), value));
    }
    for (name, bytes) in [("383 bytes", 383), ("385 bytes", 385), ("no bytes", 0)] {
        let config = ServerConfig { kex: vec![Kex::Ffdhe3072], ..server_config() };
        let name = format!("ffdhe3072 of {name}");
        cases.push(m1_to(&name, config, length(384, bytes), move |h| {
            h.kex = names(&["ffdhe3072"]);
            h.share = long(&vec![5; bytes]);
        }));
    }
    cases
}

fn gates() -> Vec<Case> {
    let shut = || silent(SealedError::Gate);
    let open = || ServerConfig { is_gate_required: false, ..server_config() };
    let with_psk = || ServerConfig { psks: vec![psk(5), psk(6)], ..server_config() };
    let psk_only = || ServerConfig { identity: None, is_gate_required: false, ..with_psk() };
    let random = |h: &mut Hello| h.gate = Gate::Bytes(vec![0x77; 32]);
    let keyed = |with: &'static [u8; 32], info: &'static str| {
        move |h: &mut Hello| h.gate = Gate::Keyed(with.to_vec(), info)
    };
    let mut cases = vec![
        m1("no gate", malformed(SOMEWHERE), |h| h.gate = Gate::Bytes(Vec::new())),
        m1("random bytes for a gate", shut(), random),
        m1("a gate of the server's key as if it were a PSK", shut(), |h| {
            h.gate = Gate::Keyed(public(&crate::support::adversary::SERVER_SEED).to_vec(), "psk");
        }),
        m1("a gate of another server's key", shut(), |h| {
            h.gate = Gate::Keyed(public(&STRANGER_SEED).to_vec(), "pub");
        }),
        m1("a gate for other bytes", shut(), |h| {
            let other = Hello { random: [1; 32], ..h.clone() }.encode();
            h.gate = Gate::Bytes(other[other.len() - 32..].to_vec());
        }),
        m1_to("a gate of a PSK that is not there", with_psk(), shut(), keyed(&[7; 32], "psk")),
        m1_to("a gate of a PSK as if it were a key", with_psk(), shut(), keyed(&[5; 32], "pub")),
        m1_to("random bytes for an optional gate", open(), Seen::Accepted, random),
        m1_to(
            "random bytes for a server that has PSKs alone",
            psk_only(),
            silent(SealedError::Authentication("no PSK matches")),
            random,
        ),
        m1("a wrong gate, nothing in common", shut(), move |h| {
            h.suites = names(&["x"]);
            random(h);
        }),
        m1("a wrong gate, a share for the second best", shut(), move |h| {
            h.index = 1;
            random(h);
        }),
        m1("a wrong gate, a share that cannot be", shut(), move |h| {
            h.share = long(&[]);
            random(h);
        }),
    ];
    for at in [0, 15, 31] {
        for bit in [1, 0x80] {
            let name = format!("a gate with bit {bit:02x} of byte {at} spoilt");
            cases.push(m1(&name, shut(), move |h| {
                let whole = h.encode();
                let mut gate = whole[whole.len() - 32..].to_vec();
                gate[at] ^= bit;
                h.gate = Gate::Bytes(gate);
            }));
        }
    }
    for byte in [5, 6] {
        cases.push(case(format!("ClientHello: a gate of PSK {byte}"), Seen::Accepted, move || {
            let config = ServerConfig { identity: None, ..with_psk() };
            let mut hello = Hello::new(share());
            hello.gate = Gate::Keyed(vec![byte; 32], "psk");
            hears(config, Some(byte), &hello.encode())
        }));
    }
    cases.push(case("PSK: all zero or too short is none", Seen::Accepted, || {
        let new = |bytes: &[u8]| Psk::new(bytes.to_vec().into()).is_none();
        assert!(new(&[0; 32]) && new(&[0; 64]) && new(&[1; 31]) && new(&[]));
        Seen::Accepted
    }));
    cases
}
