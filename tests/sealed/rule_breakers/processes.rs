//! Every failed handshake of the program ends at once, says its reason, and has the exit code that README
//! gives it.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use vpn_proto::sealed::{Kex, KexKeyPair, Part};

use crate::support::adversary::{
    Answer, Auth, CLIENT_SEED, Caller, Gate, Hello, Records, SERVER_SEED, STRANGER_SEED, Secrets,
    frame, key_line, long, names, opener, public, read_part, respond, sha256,
};
use crate::support::{Ended, Keys, Server, accept, client_of, known_line, listener, read_to_end};

/// How long after its cause a handshake may still be there.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A server with the key that our client knows, in the middle of a handshake.
struct Serving {
    stream: TcpStream,
    hello: Vec<u8>,
}

impl Serving {
    /// Takes a client's first message.
    fn accept(listener: &TcpListener) -> Self {
        let mut stream = accept(listener);
        stream.set_nodelay(true).unwrap();
        let hello = read_part(&mut stream, Part::Hello);
        Self { stream, hello }
    }

    fn says(mut self, bytes: &[u8]) -> Option<TcpStream> {
        self.stream.write_all(bytes).unwrap();
        Some(self.stream)
    }

    fn rejects(self, body: &[u8]) -> Option<TcpStream> {
        self.says(&[b"\xf5VPN\x01".to_vec(), frame(0x0e, body)].concat())
    }

    /// ServerHello, and a ServerAuth that is edited.
    fn flight(&self, edit: impl FnOnce(&mut Auth)) -> (Vec<u8>, Vec<u8>, Secrets, Vec<u8>) {
        let (share, exchanged) = respond(&self.hello);
        let answer = Answer::new(&share).encode();
        let secrets = Secrets::new(None, &exchanged, &sha256(&[&self.hello, &answer]));
        let transcript = [self.hello.as_slice(), &answer].concat();
        let mut auth = Auth::of_server();
        edit(&mut auth);
        let frame = auth.encode(&secrets.server, &transcript);
        let record = Records::new(secrets.server).padded(0x16, &frame, 256);
        (answer, record, secrets, [transcript, frame].concat())
    }

    /// An honest handshake up to Ready, instead of which comes what `act` seals.
    fn instead_of_ready(mut self, act: fn(&mut Records) -> Vec<u8>) -> Option<TcpStream> {
        let (answer, record, secrets, transcript) = self.flight(|_| {});
        self.stream.write_all(&[answer, record].concat()).unwrap();
        let proof = read_part(&mut self.stream, Part::Record);
        let proof = opener(secrets.client).open(&proof).unwrap().payload;
        let [_, server] = secrets.session(&sha256(&[&transcript, &proof]));
        let bytes = act(&mut Records::new(server));
        self.says(&bytes)
    }
}

/// A client of ours that meets such a server; how it ended, and how long after the last that the
/// server did.
fn client_meets(serve: fn(&TcpListener) -> Option<TcpStream>) -> (Ended, Duration) {
    let (listener, port) = listener();
    let keys = Keys::new();
    let identity = keys.path("client");
    let line = known_line(&format!("127.0.0.1:{port}"), &key_line(&SERVER_SEED));
    let known = keys.folder.file("known", line);
    let server = std::thread::spawn(move || {
        // The connection stays open: the client has to end by itself.
        let stream = serve(&listener);
        (Instant::now(), stream, listener)
    });
    let known = known.to_str().unwrap();
    let args = ["--sealed", "--identity", &identity, "--known-servers", known, "-q", "-m", "x"];
    let ended = client_of(port, &args, b"");
    let (cause, ..) = server.join().unwrap();
    (ended, cause.elapsed())
}

#[test]
fn a_client_ends_at_once_and_says_why() {
    type Serve = fn(&TcpListener) -> Option<TcpStream>;
    let cases: [(&str, i32, &str, Serve); 18] = [
        ("it closes, twice", 3, "closed without an answer", |l| {
            drop(Serving::accept(l));
            drop(Serving::accept(l));
            None
        }),
        ("it closes inside its hello", 7, "the connection was cut", |l| {
            let serving = Serving::accept(l);
            let (answer, ..) = serving.flight(|_| {});
            serving.says(&answer[..40]);
            None
        }),
        ("it closes behind its hello", 7, "the connection was cut", |l| {
            let serving = Serving::accept(l);
            let (answer, ..) = serving.flight(|_| {});
            serving.says(&answer);
            None
        }),
        ("it is a web server", 7, "this is no server of the sealed profile", |l| {
            Serving::accept(l).says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        }),
        ("it is a classic server", 7, "this is no server of the sealed profile", |l| {
            Serving::accept(l).says(b"Could not agree on a cipher")
        }),
        ("no suite in common", 4, "no cipher suite in common", |l| {
            let names = [names(&["ffdhe3072"]), names(&["x"])].concat();
            Serving::accept(l).rejects(&[vec![1], names].concat())
        }),
        ("no kex in common", 4, "no key exchange in common", |l| {
            let names = [names(&["x"]), names(&["x"])].concat();
            Serving::accept(l).rejects(&[vec![1], names].concat())
        }),
        ("another kex twice", 4, "the server wants another key exchange", |l| {
            let names = [names(&["ffdhe3072"]), names(&["x"])].concat();
            Serving::accept(l).rejects(&[&[2], names.as_slice()].concat());
            Serving::accept(l).rejects(&[&[2], names.as_slice()].concat())
        }),
        ("another kex that we have not", 4, "the server wants another key exchange", |l| {
            let names = [names(&["x"]), names(&["x"])].concat();
            Serving::accept(l).rejects(&[vec![2], names].concat())
        }),
        ("busy, twice", 10, "the server is busy", |l| {
            Serving::accept(l).rejects(&[3]);
            Serving::accept(l).rejects(&[3])
        }),
        ("a share that is none", 7, "the key exchange failed", |l| {
            Serving::accept(l).says(&Answer::new(&[0; 5]).encode())
        }),
        ("a suite that we have not", 7, "malformed: index of the suite", |l| {
            let answer = Answer { suite_index: 99, ..Answer::new(&[0; 1120]) };
            Serving::accept(l).says(&answer.encode())
        }),
        ("a signature that is none", 6, "authentication failed: the signature", |l| {
            let serving = Serving::accept(l);
            let (answer, record, ..) = serving.flight(|a| a.spoil_signature[3] = 1);
            serving.says(&[answer, record].concat())
        }),
        ("another key than the known one", 6, "has changed", |l| {
            let serving = Serving::accept(l);
            let (answer, record, ..) = serving.flight(|a| {
                (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED);
            });
            serving.says(&[answer, record].concat())
        }),
        ("a record that was altered", 7, "a record was altered", |l| {
            let serving = Serving::accept(l);
            let (answer, mut record, ..) = serving.flight(|_| {});
            record[9] ^= 1;
            serving.says(&[answer, record].concat())
        }),
        ("we are turned away", 5, "access_denied", |l| {
            Serving::accept(l).instead_of_ready(|r| r.padded(0x15, &[0, 1], 64))
        }),
        ("it is not ready", 7, "malformed: status of Ready", |l| {
            Serving::accept(l).instead_of_ready(|r| r.padded(0x16, &frame(0x0d, &[1]), 256))
        }),
        ("data where Ready should be", 7, "message 17 where 16 should be", |l| {
            Serving::accept(l).instead_of_ready(|r| r.seal(0x17, b"olleh"))
        }),
    ];
    let wrong = cases.into_iter().filter_map(|(name, code, why, serve)| {
        let (ended, after) = client_meets(serve);
        let is_right = ended.code == Some(code)
            && ended.stderr.starts_with("vpn: ")
            && ended.stderr.contains(why)
            && ended.stdout.is_empty()
            && after < AT_ONCE;
        (!is_right).then(|| format!("{name}: after {after:?}, {ended:?}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A server that knows one client, its key, and the folder with their files.
fn start(more: &[&str]) -> (Server, [u8; 32], Keys) {
    let keys = Keys::new();
    keys.folder.file("authorized", format!("{}\n", key_line(&CLIENT_SEED)));
    (keys.server(more), keys.public("server").bytes, keys)
}

#[test]
fn a_server_ends_a_handshake_at_once_and_logs_why() {
    type Call = fn(&mut Caller);
    let (server, server_key, _keys) = start(&["--gate", "required"]);
    // How many bytes the client hears at the end.
    let cases: [(&str, usize, &str, Call); 14] = [
        ("no preface", 0, "malformed: preface", |c| c.says(b"\xf5VPN\x02\x01\0\0\0")),
        ("too long a hello", 0, "malformed: length", |c| c.says(b"\xf5VPN\x01\x01\xff\xff\xff")),
        ("the end inside a hello", 0, "the connection was cut", |c| {
            let hello = c.hello(&[0; 1216]).encode();
            c.says(&hello[..300]);
            c.stream.shutdown(Shutdown::Write).unwrap();
        }),
        ("a Ready for a hello", 0, "message 0d where 01 should be", |c| {
            let hello = Hello { kind: 0x0d, ..c.hello(&[0; 1216]) };
            c.says(&hello.encode());
        }),
        ("no gate", 0, "the gate does not match", |c| {
            c.says(&Hello { gate: Gate::Bytes(vec![1; 32]), ..c.hello(&[0; 1216]) }.encode());
        }),
        ("a share that is none", 0, "the key exchange failed", |c| {
            let hello = c.hello(&[0; 5]).encode();
            c.says(&hello);
        }),
        ("nothing in common", 94, "no cipher suite in common", |c| {
            c.says(&Hello { suites: names(&["x"]), ..c.hello(&[0; 1216]) }.encode());
        }),
        ("a share for the second best", 94, "wants another key exchange", |c| {
            c.says(&Hello { index: 1, share: long(&[2; 384]), ..c.hello(&[]) }.encode());
        }),
        ("a second hello for a proof", 1457, "malformed: record length", |c| {
            let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
            let hello = c.hello(pair.share()).encode();
            c.says(&hello.repeat(2));
        }),
        ("a proof that was altered", 0, "a record was altered", |c| {
            c.proves(|_| {}, 1);
        }),
        ("an unknown key", 98, "its key is unknown", |c| {
            c.proves(|a| (a.key, a.signer) = (public(&STRANGER_SEED), STRANGER_SEED), 0);
        }),
        ("a signature that is none", 98, "the signature is not that of the key", |c| {
            c.proves(|a| a.spoil_signature[0] = 1, 0);
        }),
        ("a MAC that is none", 98, "the Finished MAC is not", |c| {
            c.proves(|a| a.spoil_mac[0] = 1, 0);
        }),
        ("no kind of proof", 0, "malformed: kind of an authentication", |c| {
            c.proves(|a| a.kind = 9, 0);
        }),
    ];
    let mut wrong = Vec::new();
    for (name, heard, why, call) in cases {
        let mut calling = Caller { stream: server.connect(), server_key };
        call(&mut calling);
        let cause = Instant::now();
        let last = read_to_end(&mut calling.stream);
        let after = cause.elapsed();
        if after >= AT_ONCE || last.len() != heard {
            wrong.push(format!("{name}: {} bytes after {after:?}", last.len()));
        }
        drop(calling);
        server.log.until(why);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nobody else has to suffer for it.
    let mut calling = Caller { stream: server.connect(), server_key };
    calling.proves(|_| {}, 0);
    assert_eq!(read_part(&mut calling.stream, Part::Record).len(), 290);
}

#[test]
fn a_peer_that_begins_with_neither_profile_hears_nothing() {
    let (server, ..) = start(&["--classic"]);
    for words in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-OpenSSH\r\n",
        b" ProposedCiphers:AES:[256]",
        b"proposedCiphers:AES:[256]",
        b"\n",
        b"\0",
        b"\xf4",
        b"\xff\xff",
    ] {
        let mut stream = server.connect();
        stream.write_all(words).unwrap();
        assert_eq!(read_to_end(&mut stream), b"", "{words:?}");
        server.log.until("closed, it speaks no profile");
    }
    // Both profiles go on being spoken there.
    server.assert_alive();
}

#[test]
fn a_fresh_share_that_cannot_be_used_breaks_the_protocol() {
    let (server, server_key, _keys) = start(&[]);
    let mut calling = Caller { stream: server.connect(), server_key };
    let [client, theirs] = calling.proves(|_| {}, 0);
    let (mut records, mut heard) = (Records::new(client), opener(theirs));
    let mut answer = |calling: &mut Caller| {
        let record = read_part(&mut calling.stream, Part::Record);
        let opened = heard.open(&record).unwrap();
        (opened.content, opened.payload.to_vec())
    };
    assert_eq!(answer(&mut calling).0, 0x16);
    calling.says(&records.padded(0x16, &frame(0x10, &long(&[0xff; 1216])), 256));
    assert_eq!(answer(&mut calling), (0x15, vec![0, 2]));
    server.log.until("the key exchange failed: the ML-KEM key is not one");
}
