//! A classic session is the same however its bytes are cut, and every other order of messages is refused.
//! Both ends are in memory; the test moves the bytes and the time.

use std::time::{Duration, Instant};

use vpn::session::reversed;
use vpn_proto::classic::{
    ClassicParams, ClientHandshake, ClientSession, Dialect, DialectPlan, Event, Handshake, LineEnd,
    MacRule, ReplyForm, ServerHandshake, ServerSession, Telling, Timing,
};
use vpn_proto::{DhTask, EnabledSuite, Group, HandshakeError, SessionError};
use vpn_suite::{KeySize, Registry};

use crate::any_bytes::checks::classic_session::try_work as compute;

/// How a stream is cut into pieces.
#[derive(Clone, Copy, Debug)]
enum Slicing {
    Whole,
    Bytes,
    /// Pseudo-random pieces of 1 to 40 bytes.
    Random(u64),
    /// Two pieces, cut here.
    At(usize),
}

impl Slicing {
    fn cut(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut state = match self {
            Self::Whole => return vec![bytes.to_vec()],
            Self::Bytes => return bytes.chunks(1).map(<[u8]>::to_vec).collect(),
            Self::At(at) => {
                let (a, b) = bytes.split_at(at.min(bytes.len()));
                return [a, b].into_iter().filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect();
            }
            Self::Random(seed) => seed | 1,
        };
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            let size = usize::try_from(state >> 33).unwrap() % 40 + 1;
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        pieces
    }
}

/// Suites by name and size, as a configuration would enable them.
fn suites(list: &[(&str, u32)]) -> Vec<EnabledSuite> {
    let registry = Registry::linked().unwrap();
    let suite = |&(name, bits): &(&str, u32)| {
        let suite = registry.find(name).unwrap();
        let sizes = vec![KeySize::from_bits(bits).unwrap()];
        EnabledSuite { suite, wire_name: suite.name(), sizes }
    };
    list.iter().map(suite).collect()
}

/// A small group keeps these tests quick; the vectors use the real one.
fn params(list: &[(&str, u32)], mut plan: DialectPlan) -> ClassicParams {
    plan.base.group = Group::Modp2048;
    let (timing, telling) = (Timing::default(), Telling::Nothing);
    let enabled = suites(list).into();
    ClassicParams { enabled, plan, timing, message_limit: 64 * 1024, telling }
}

/// The two ends of a connection.
struct Pair {
    client: ClientHandshake,
    server: ServerHandshake,
    now: Instant,
    slicing: Slicing,
    /// Everything that went over the wire, by direction.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new(client: ClassicParams, server: ClassicParams, slicing: Slicing) -> Self {
        let now = Instant::now();
        Self {
            client: ClientHandshake::new(client, &mut rand::rng(), now),
            server: ServerHandshake::new(server, &mut rand::rng()),
            now,
            slicing,
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Moves bytes, work and time until both ends are done or one has failed.
    fn run(&mut self) -> Result<(ClientSession, ServerSession), HandshakeError> {
        let (mut client, mut server) = (None, None);
        for _ in 0..10_000 {
            let to_server = compute(&mut self.client)?;
            let to_client = compute(&mut self.server)?;
            self.to_server.extend(&to_server);
            self.to_client.extend(&to_client);
            for piece in self.slicing.cut(&to_server) {
                self.server.handle_input(&piece, self.now)?;
            }
            for piece in self.slicing.cut(&to_client) {
                self.client.handle_input(&piece, self.now)?;
            }
            client = client.or_else(|| self.client.take_session());
            server = server.or_else(|| self.server.take_session());
            if client.is_some() && server.is_some() {
                return Ok((client.take().unwrap(), server.take().unwrap()));
            }
            if to_server.is_empty() && to_client.is_empty() {
                // Nothing moves, so time passes up to the next timer.
                let due = [self.client.poll_timeout(), self.server.poll_timeout()];
                let Some(due) = due.into_iter().flatten().min() else { continue };
                self.now = due;
                self.client.handle_timeout(due)?;
                self.server.handle_timeout(due)?;
            }
        }
        panic!("the handshake does not come to an end");
    }
}

const TEXTS: [&str; 6] = ["hello", "", "0123456789abcdef", "héllo 日本 👩‍🚀", "a\0b", "\\quit"];

/// Exchanges texts over an established pair.
fn talk(client: &mut ClientSession, server: &mut ServerSession, slicing: Slicing) {
    let long = "x".repeat(3000);
    let mut now = Instant::now();
    for text in TEXTS.iter().copied().chain([long.as_str(), "bye"]) {
        let message = client.send(text, now).unwrap();
        let mut received = Vec::new();
        for piece in slicing.cut(&message) {
            server.handle_input(&piece, now);
            while let Some(text) = server.next_text(now).unwrap() {
                received.push(text);
            }
        }
        assert_eq!(received, [text.as_bytes()], "{slicing:?}");
        let reply = server.reply(&reversed(text.as_bytes()));
        let mut shown = None;
        for piece in slicing.cut(&reply) {
            client.handle_input(&piece, now);
            shown = shown.or_else(|| client.next_reply(now).unwrap());
        }
        now += Timing::default().quiet;
        let shown = shown.or_else(|| client.next_reply(now).unwrap());
        assert_eq!(shown.unwrap(), reversed(text.as_bytes()), "{slicing:?}");
    }
}

fn established(client: ClassicParams, server: ClassicParams) -> (ClientSession, ServerSession) {
    Pair::new(client, server, Slicing::Whole).run().unwrap()
}

const ALL: [(&str, u32); 8] = [
    ("AES", 128),
    ("AES", 192),
    ("AES", 256),
    ("DES3", 128),
    ("DES3", 192),
    ("Blowfish", 32),
    ("Blowfish", 112),
    ("Blowfish", 448),
];

#[test]
fn every_suite_in_every_dialect_and_slicing_is_one_session() {
    let auto = DialectPlan::AUTO;
    let plans = |d: Dialect| DialectPlan::fixed(d);
    let pairs = [
        (auto, auto),
        (plans(Dialect::SPEC), plans(Dialect::SPEC)),
        (plans(Dialect::CAPTURE), plans(Dialect::CAPTURE)),
        (plans(Dialect::LINES), plans(Dialect::LINES)),
        // One side follows the other.
        (auto, plans(Dialect::SPEC)),
        (auto, plans(Dialect::CAPTURE)),
        (auto, plans(Dialect::LINES)),
        (plans(Dialect::SPEC), auto),
        (plans(Dialect::LINES), auto),
    ];
    for (i, (client, server)) in pairs.into_iter().enumerate() {
        for (j, cell) in ALL.iter().enumerate() {
            let seed = u64::try_from(i * 100 + j).unwrap();
            for slicing in [Slicing::Whole, Slicing::Bytes, Slicing::Random(seed)] {
                let (ours, theirs) = (params(&[*cell], client), params(&[*cell], server));
                let mut pair = Pair::new(ours, theirs, slicing);
                let (mut client, mut server) = pair.run().unwrap();
                assert_eq!(client.suite().to_string(), format!("{}{}", cell.0, cell.1));
                talk(&mut client, &mut server, slicing);
            }
        }
    }
}

#[test]
fn any_two_pieces_are_one_handshake() {
    let cell = [("AES", 256)];
    for plan in [DialectPlan::AUTO, DialectPlan::fixed(Dialect::LINES)] {
        for at in 0..64 {
            let mut pair = Pair::new(params(&cell, plan), params(&cell, plan), Slicing::At(at));
            let (mut client, mut server) = pair.run().unwrap();
            talk(&mut client, &mut server, Slicing::At(at));
        }
    }
}

#[test]
fn auto_takes_over_what_the_peer_shows() {
    let cell = [("AES", 256)];
    let auto = || params(&cell, DialectPlan::AUTO);
    let fixed = |d| params(&cell, DialectPlan::fixed(d));
    let (client, _) = established(auto(), fixed(Dialect::SPEC));
    assert_eq!(
        (client.dialect().line_end, client.dialect().mac),
        (LineEnd::None, MacRule::PerMessage)
    );
    let (client, _) = established(auto(), fixed(Dialect::CAPTURE));
    assert_eq!(
        (client.dialect().line_end, client.dialect().mac),
        (LineEnd::None, MacRule::Cumulative)
    );
    let (client, _) = established(auto(), fixed(Dialect::LINES));
    assert_eq!(
        (client.dialect().line_end, client.dialect().mac),
        (LineEnd::Lf, MacRule::PerMessage)
    );
    let mut pair = Pair::new(fixed(Dialect::LINES), auto(), Slicing::Whole);
    pair.run().unwrap();
    assert!(pair.to_client.starts_with(b"ChosenCipher:AES,256\nDHMKE:"));
    assert!(pair.to_client.ends_with(b"\n"));
    let crlf = Dialect { line_end: LineEnd::CrLf, ..Dialect::LINES };
    let mut pair = Pair::new(fixed(crlf), auto(), Slicing::Whole);
    pair.run().unwrap();
    assert!(pair.to_client.starts_with(b"ChosenCipher:AES,256\r\nDHMKE:"));
}

#[test]
fn a_server_tries_both_hmac_rules_and_keeps_the_one_that_fits() {
    let cell = [("AES", 256)];
    for mac in [MacRule::Cumulative, MacRule::PerMessage] {
        let plan = DialectPlan::fixed(Dialect { mac, ..Dialect::SPEC });
        let (mut client, mut server) =
            established(params(&cell, plan), params(&cell, DialectPlan::AUTO));
        assert_eq!(server.mac_rule(), None);
        talk(&mut client, &mut server, Slicing::Whole);
        assert_eq!(server.mac_rule(), Some(mac));
    }
}

#[test]
fn a_client_that_waits_in_vain_sends_a_lone_line_feed() {
    let cell = [("AES", 256)];
    let start = Instant::now();
    let mut client =
        ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), start);
    assert_eq!(compute(&mut client).unwrap(), b"ProposedCiphers:AES:[256]");
    assert_eq!(client.poll_timeout(), Some(start + Duration::from_millis(1500)));
    client.handle_timeout(start + Duration::from_millis(1499)).unwrap();
    assert_eq!(client.poll_transmit(), None);
    client.handle_timeout(start + Duration::from_millis(1500)).unwrap();
    assert_eq!(client.poll_transmit(), Some(b"\n".to_vec()));
    // Once is enough.
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn a_line_end_in_a_write_of_its_own_is_waited_for() {
    let cell = [("AES", 256)];
    let of_here = params(&cell, DialectPlan::AUTO).timing.without_network();
    for (timing, settled) in [(Timing::default(), 50), (of_here, 20)] {
        for (comes, answer) in [(true, "ChosenCipher:AES,256\n"), (false, "ChosenCipher:AES:256")] {
            let params = ClassicParams { timing, ..params(&cell, DialectPlan::AUTO) };
            let mut server = ServerHandshake::new(params, &mut rand::rng());
            let now = Instant::now();
            server.handle_input(b"ProposedCiphers:AES:[256]", now).unwrap();
            let due = now + Duration::from_millis(settled);
            assert_eq!(server.poll_timeout(), Some(due));
            let just_before = due - Duration::from_millis(1);
            server.handle_timeout(just_before).unwrap();
            if comes {
                server.handle_input(b"\n", just_before).unwrap();
            }
            server.handle_timeout(due).unwrap();
            assert_eq!(server.poll_transmit().as_deref(), Some(answer.as_bytes()));
        }
    }
    // What a user has set lower stays.
    let quick = Timing { settled: Duration::from_millis(5), ..Timing::default() };
    assert_eq!(quick.without_network(), quick);
}

#[test]
fn late_line_ends_are_swallowed() {
    let cell = [("AES", 256)];
    let plan = DialectPlan::fixed(Dialect::SPEC);
    let mut server = ServerHandshake::new(params(&cell, plan), &mut rand::rng());
    let mut client = ClientHandshake::new(params(&cell, plan), &mut rand::rng(), Instant::now());
    let now = Instant::now();
    server.handle_input(&compute(&mut client).unwrap(), now).unwrap();
    client.handle_input(&compute(&mut server).unwrap(), now).unwrap();
    server.handle_input(b"\r\n", now).unwrap();
    server.handle_input(&compute(&mut client).unwrap(), now).unwrap();
    server.handle_input(b"\n", now).unwrap();
    client.handle_input(&compute(&mut server).unwrap(), now).unwrap();
    client.handle_input(b"\n", now).unwrap();
    compute(&mut client).unwrap();
    let (mut client, mut server) = (client.take_session().unwrap(), server.take_session().unwrap());
    talk(&mut client, &mut server, Slicing::Whole);
}

#[test]
fn a_number_that_does_not_end_itself_waits_for_silence() {
    let cell = [("AES", 256)];
    let plan = DialectPlan::fixed(Dialect::SPEC);
    let mut server = ServerHandshake::new(params(&cell, plan), &mut rand::rng());
    let now = Instant::now();
    server.handle_input(b"ProposedCiphers:AES:[256]", now).unwrap();
    compute(&mut server).unwrap();
    server.handle_input(b"DHMKE:4", now).unwrap();
    assert!(server.poll_event().is_none());
    let due = server.poll_timeout().unwrap();
    assert_eq!(due, now + Timing::default().quiet);
    // More digits: it was not whole.
    server.handle_input(b"9", due).unwrap();
    assert!(server.poll_event().is_none());
    server.handle_timeout(server.poll_timeout().unwrap()).unwrap();
    match server.poll_event() {
        Some(Event::Compute(task)) => assert!(format!("{task:?}").contains("49")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_choice_and_a_public_value_may_come_in_one_piece() {
    let cell = [("AES", 256)];
    let now = Instant::now();
    let wire = format!("ChosenCipher:AES:256DHMKE:{}", "7".repeat(616));
    for slicing in [Slicing::Whole, Slicing::Bytes, Slicing::At(20), Slicing::At(23)] {
        let mut client =
            ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), now);
        for piece in slicing.cut(wire.as_bytes()) {
            client.handle_input(&piece, now).unwrap();
        }
        let mut has_share = false;
        while let Some(event) = client.poll_event() {
            has_share |= matches!(event, Event::Compute(DhTask::Check(..)));
        }
        assert!(has_share, "{slicing:?}");
    }
}

/// Blanks around the number of a choice are allowed; the choice may have ended itself before them.
#[test]
fn blanks_behind_a_choice_are_the_same_in_one_piece_and_in_many() {
    let cell = [("AES", 256)];
    let now = Instant::now();
    let share = format!("DHMKE:{}\n", "7".repeat(616));
    for between in ["   ", "  \n", " \r\n", "\r\r  \n", " \r \r\n", "\r \n\r\n"] {
        let wire = format!("ChosenCipher:AES:256{between}{share}");
        for slicing in (20..25).map(Slicing::At).chain([Slicing::Whole, Slicing::Bytes]) {
            let mut client =
                ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), now);
            for piece in slicing.cut(wire.as_bytes()) {
                let result = client.handle_input(&piece, now);
                assert_eq!(result, Ok(()), "{between:?}, {slicing:?}");
            }
            let events = std::iter::from_fn(|| client.poll_event());
            let has_share =
                events.filter(|event| matches!(event, Event::Compute(DhTask::Check(..)))).count();
            assert_eq!(has_share, 1, "{between:?}, {slicing:?}");
        }
    }
}

#[test]
fn a_failed_handshake_repeats_its_error() {
    let cell = [("AES", 256)];
    let now = Instant::now();
    let mut server = ServerHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng());
    let first = server.handle_input(b"GET /", now).unwrap_err();
    assert_eq!(server.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap_err(), first);
    assert_eq!(server.handle_eof().unwrap_err(), first);
    assert!(server.take_session().is_none());
    assert!(server.poll_transmit().unwrap().starts_with(b"Expected ProposedCiphers:"));
    assert_eq!(server.poll_transmit(), None);
    let mut client = ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), now);
    let first = client.handle_input(b"ChosenCipher:AES:128\n", now).unwrap_err();
    assert!(matches!(first, HandshakeError::NotOffered { .. }));
    assert_eq!(client.handle_input(b"ChosenCipher:AES:256\n", now).unwrap_err(), first);
}

#[test]
fn messages_in_the_wrong_state_are_refused() {
    let cell = [("AES", 256)];
    let now = Instant::now();
    let share = format!("DHMKE:{}\n", "5".repeat(616));
    for wrong in ["ChosenCipher:AES:256\n", &share, "Bad HMAC\n"] {
        let mut server = ServerHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng());
        assert!(matches!(
            server.handle_input(wrong.as_bytes(), now),
            Err(HandshakeError::Offer { .. })
        ));
    }
    for wrong in ["ChosenCipher:AES:256\n", "ProposedCiphers:AES:[256]\n", "Bad HMAC\n"] {
        let mut server = ServerHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng());
        server.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap();
        compute(&mut server).unwrap();
        assert!(matches!(
            server.handle_input(wrong.as_bytes(), now),
            Err(HandshakeError::KeyShare { .. })
        ));
    }
    for wrong in ["ProposedCiphers:AES:[256]\n", &share, "anything\n"] {
        let mut client =
            ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), now);
        assert!(matches!(
            client.handle_input(wrong.as_bytes(), now),
            Err(HandshakeError::Refused { .. })
        ));
    }
    for wrong in ["ProposedCiphers:AES:[256]\n", "ChosenCipher:AES:256\n"] {
        let mut client =
            ClientHandshake::new(params(&cell, DialectPlan::AUTO), &mut rand::rng(), now);
        client.handle_input(b"ChosenCipher:AES:256\n", now).unwrap();
        compute(&mut client).unwrap();
        assert!(matches!(
            client.handle_input(wrong.as_bytes(), now),
            Err(HandshakeError::Refused { .. })
        ));
    }
}

#[test]
fn the_end_of_the_stream_is_clean_between_messages_only() {
    let cell = [("AES", 256)];
    let plan = DialectPlan::fixed(Dialect::SPEC);
    let mut pair = Pair::new(params(&cell, plan), params(&cell, plan), Slicing::Whole);
    pair.run().unwrap();
    let (to_server, to_client) = (pair.to_server.clone(), pair.to_client.clone());
    let now = Instant::now();
    for cut in 0..to_server.len() {
        let mut server = ServerHandshake::new(params(&cell, plan), &mut rand::rng());
        server.handle_input(&to_server[..cut.min(25)], now).unwrap();
        compute(&mut server).unwrap();
        if cut > 25 {
            server.handle_input(&to_server[25..cut], now).unwrap();
        }
        // A number cut short is another number; it may pass for one, the session then ends.
        if server.handle_eof().is_ok() {
            assert!(cut > 25 + "DHMKE:".len(), "{cut}");
        }
    }
    for cut in 0..to_client.len() {
        let mut client = ClientHandshake::new(params(&cell, plan), &mut rand::rng(), now);
        compute(&mut client).unwrap();
        client.handle_input(&to_client[..cut.min(20)], now).unwrap();
        compute(&mut client).unwrap();
        if cut > 20 {
            client.handle_input(&to_client[20..cut], now).unwrap();
        }
        if client.handle_eof().is_ok() {
            assert!(cut > 20 + "DHMKE:".len(), "{cut}");
        }
    }
    let (mut client, mut server) = established(params(&cell, plan), params(&cell, plan));
    let message = client.send("hello", now).unwrap();
    assert_eq!(server.handle_eof(), Ok(()));
    for cut in 1..message.len() {
        let (mut client, mut server) = established(params(&cell, plan), params(&cell, plan));
        let message = client.send("hello", now).unwrap();
        server.handle_input(&message[..cut], now);
        assert_eq!(server.next_text(now), Ok(None));
        assert!(server.handle_eof().is_err(), "{cut}");
    }
    server.handle_input(&message, now);
    assert_eq!(server.next_text(now), Ok(Some(b"hello".to_vec())));
    assert_eq!(server.handle_eof(), Ok(()));
}

#[test]
fn no_flipped_bit_of_a_message_gets_through() {
    let cell = [("AES", 256)];
    let plan = DialectPlan::fixed(Dialect::SPEC);
    let now = Instant::now();
    let (mut client, _) = established(params(&cell, plan), params(&cell, plan));
    let bits = client.send("hello", now).unwrap().len() * 8;
    for bit in 0..bits {
        let (mut client, mut server) = established(params(&cell, plan), params(&cell, plan));
        let mut message = client.send("hello", now).unwrap();
        message[bit / 8] ^= 1 << (bit % 8);
        server.handle_input(&message, now);
        assert_eq!(server.next_text(now), Ok(None), "bit {bit}");
        let due = server.poll_timeout().unwrap();
        let error = server.handle_timeout(due).unwrap_err();
        assert!(matches!(error, SessionError::BadHmac { .. }), "bit {bit}: {error}");
        assert!(due - now <= Timing::default().stall);
        assert_eq!(server.next_text(due), Err(error));
    }
}

#[test]
fn ciphertext_is_bounded_to_the_byte() {
    let cell = [("AES", 256)];
    let plan = DialectPlan::fixed(Dialect::SPEC);
    let now = Instant::now();
    let (mut client, mut server) = established(params(&cell, plan), params(&cell, plan));
    let longest = "x".repeat(client.longest_text());
    assert_eq!(longest.len(), 64 * 1024);
    server.handle_input(&client.send(&longest, now).unwrap(), now);
    assert_eq!(server.next_text(now).unwrap().unwrap(), longest.as_bytes());
    let too_long = client.send(&format!("{longest}x"), now).unwrap_err();
    assert!(matches!(too_long, SessionError::TextTooLong { len: 65_537, limit: 65_536 }));
    // One block more than a server takes, with a tag that would fit.
    let mut generous = params(&cell, plan);
    generous.message_limit += 16;
    let (mut client, mut server) = established(generous, params(&cell, plan));
    server.handle_input(&client.send(&format!("{longest}x"), now).unwrap(), now);
    assert!(matches!(server.next_text(now), Err(SessionError::Open(_))));
}

#[test]
fn a_server_that_prefixes_its_replies_is_waited_for() {
    let cell = [("AES", 256)];
    let (mut client, _) =
        established(params(&cell, DialectPlan::AUTO), params(&cell, DialectPlan::AUTO));
    let now = Instant::now();
    let late = now + Duration::from_secs(5);
    // As long as nothing showed, silence may be the answer to an empty text.
    client.send("", now).unwrap();
    assert_eq!(client.next_reply(client.poll_timeout().unwrap()), Ok(Some(Vec::new())));
    client.send("hello", now).unwrap();
    client.handle_input(b"Server says: olleh", now);
    assert_eq!(client.next_reply(now).unwrap().unwrap(), b"olleh");
    client.send("", now).unwrap();
    assert_eq!(client.poll_timeout(), None);
    assert_eq!(client.next_reply(late), Ok(None));
    client.handle_input(b"Server says: ", late);
    assert_eq!(client.next_reply(late), Ok(Some(Vec::new())));
}

#[test]
fn filling_and_line_ends_that_come_late_are_not_the_next_reply() {
    let cell = [("AES", 256)];
    let quiet = Timing::default().quiet;
    for late in [&b"\0\0\0\0\0\0\0\0\0\0\0"[..], b"\n", b"\r\n"] {
        let (mut client, _) =
            established(params(&cell, DialectPlan::AUTO), params(&cell, DialectPlan::AUTO));
        let mut now = Instant::now();
        for (text, reply) in [("hello", "olleh"), ("", ""), ("abc", "cba"), ("x\ny", "y\nx")] {
            client.send(text, now).unwrap();
            client.handle_input(late, now);
            assert_eq!(client.next_reply(now), Ok(None), "{text:?}");
            client.handle_input(format!("Server says: {reply}").as_bytes(), now);
            assert_eq!(client.next_reply(now).unwrap().unwrap(), reply.as_bytes());
            now += quiet;
        }
        // A reply that starts with a line end keeps it.
        client.send("a\n", now).unwrap();
        client.handle_input(b"\na", now);
        assert_eq!(client.next_reply(now).unwrap().unwrap(), b"\na");
    }
}

#[test]
fn replies_of_every_form_reach_the_client() {
    let cell = [("AES", 256)];
    for reply in [ReplyForm::Plain, ReplyForm::Prefixed, ReplyForm::Filled] {
        let plan = DialectPlan::fixed(Dialect { reply, ..Dialect::SPEC });
        let (mut client, mut server) =
            established(params(&cell, DialectPlan::AUTO), params(&cell, plan));
        talk(&mut client, &mut server, Slicing::Bytes);
    }
}
