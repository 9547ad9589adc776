//! What holds for any bytes whatsoever. Fuzz targets, their corpora and the property tests all go
//! through these functions, which panic where something does not hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use num_bigint::BigUint;
use vpn::config::{ConfigError, Overrides, Settings, Source};
use vpn_proto::classic::{
    Chaining, ClassicParams, ClientHandshake, ClientSession, Dialect, DialectPlan, Event,
    HANDSHAKE_LIMIT, Handshake, MacRule, OpenError, Opener, Sealer, ServerHandshake, ServerSession,
    SessionKeys, Strip, TAG_DIGITS, Telling, Timing,
};
use vpn_proto::sealed::{
    AuthSent, ClientConfig, ClientHello, Decision, Event as SealedEvent, Gated, HelloSent,
    Identity, Kex, KexKeyPair, Limits, Part, Ready, RecordOpener, RecordSealer, ServerConfig,
    ServerFlightSent, Session, TrafficSecret, next_length,
};
use vpn_proto::{
    Choice, DhTask, EnabledSuite, ExponentSeed, Group, HandshakeError, Offer, Printable, Profile,
    Separator, SuiteId, SupportedBy, candidates, select,
};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

/// A check by the name of its fuzz target.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ALL: [Check; 12] = [
    ("choice", choice),
    ("config", config),
    ("data_stream", data_stream),
    ("dhmke", dhmke),
    ("first_byte", first_byte),
    ("proposal", proposal),
    ("sealed_answer", sealed_answer),
    ("sealed_auth", sealed_auth),
    ("sealed_hello", sealed_hello),
    ("sealed_records", sealed_records),
    ("sealed_session", sealed_session),
    ("server_session", server_session),
];

/// The longest ciphertext in these checks, short enough to be exceeded.
const LIMIT: usize = 1024;
/// The smallest group: these checks are about parsing, not about strength.
const GROUP: Group = Group::Modp2048;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::linked().unwrap());

fn enabled() -> Vec<EnabledSuite> {
    let suite = |name: &str, sizes: &[u32]| {
        let suite = REGISTRY.find(name).unwrap();
        let sizes = sizes.iter().map(|bits| KeySize::from_bits(*bits).unwrap()).collect();
        EnabledSuite { suite, wire_name: suite.name(), sizes }
    };
    vec![suite("AES", &[128, 256]), suite("Blowfish", &[112, 448]), suite("DES3", &[192])]
}

fn params(plan: DialectPlan, telling: Telling) -> ClassicParams {
    let mut plan = plan;
    plan.base.group = GROUP;
    let timing = Timing::default();
    ClassicParams { enabled: enabled().into(), plan, timing, message_limit: LIMIT, telling }
}

/// A short exponent makes these checks quick.
fn seed(byte: u8) -> ExponentSeed {
    ExponentSeed::danger_from_exponent(GROUP, &[0x5a, byte, 0x77, 0x11, 0x09, 0xfe, 0x13, 0x21])
}

fn server(plan: DialectPlan) -> ServerHandshake {
    ServerHandshake::with_seed(params(plan, Telling::Everything), seed(1))
}

fn pieces(data: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    data.chunks(size.max(1))
}

/// The sizes of pieces to cut bytes into: one piece, the smallest ones, and some in between. A handshake
/// looks at all that it has with each piece, and a fuzzer has more to do: what is longer than a message
/// of this group is cut into 64 and 128 pieces.
fn slicings(data: &[u8]) -> [usize; 3] {
    let most = |pieces| data.len().div_ceil(pieces);
    [data.len(), if data.len() > 640 { most(64) } else { 1 }, most(128).max(7)]
}

/// Feeds a handshake, then silence for as long as silence can change something.
fn feed<H: Handshake>(
    handshake: &mut H,
    data: &[u8],
    size: usize,
    now: Instant,
) -> Result<(), HandshakeError> {
    for piece in pieces(data, size) {
        handshake.handle_input(piece, now)?;
    }
    let mut last = now;
    while let Some(due) = handshake.poll_timeout() {
        assert!(due > last && due <= now + Duration::from_secs(60), "a timer out of bounds");
        last = due;
        handshake.handle_timeout(due)?;
    }
    Ok(())
}

/// What a handshake has to say: what it sends, which cipher was chosen, what is to be checked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    sent: Vec<Vec<u8>>,
    chosen: Option<String>,
    number: Option<BigUint>,
}

fn said<H: Handshake>(handshake: &mut H) -> Said {
    let mut said = Said::default();
    while let Some(bytes) = handshake.poll_transmit() {
        said.sent.push(bytes);
    }
    while let Some(event) = handshake.poll_event() {
        match event {
            Event::Chosen(id) => said.chosen = Some(id.to_string()),
            Event::Compute(DhTask::Check(_, value)) => said.number = Some(value),
            Event::Compute(_) | Event::Note(_) => {}
        }
    }
    assert!(said.sent.len() <= 3, "more is sent than a handshake has");
    said
}

/// A server that refuses does so in one line that fits a terminal, and says the same again.
fn assert_refusal<H: Handshake>(handshake: &mut H, error: &HandshakeError, now: Instant) {
    let again = handshake.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap_err();
    assert_eq!(&again, error);
    assert_eq!(&handshake.handle_eof().unwrap_err(), error);
    assert!(handshake.take_session().is_none() && handshake.poll_timeout().is_none());
    assert_one_line(&error.to_string());
    if let Some(words) = error.refusal() {
        assert_one_line(&words);
    }
}

fn assert_one_line(text: &str) {
    assert_eq!(text, Printable(text.as_bytes()).to_string(), "not fit for a terminal");
    assert!(text.len() < 8 * HANDSHAKE_LIMIT, "{} bytes are no line", text.len());
}

/// Arbitrary bytes as a client's proposal.
pub(crate) fn proposal(data: &[u8]) {
    let enabled = enabled();
    if let Some(offer) = str::from_utf8(data).ok().and_then(|text| Offer::parse(text).ok()) {
        assert_eq!(Offer::parse(&offer.to_wire()).as_ref(), Ok(&offer));
        assert_selected(&enabled, &offer);
    }
    // However it is cut: the same answer.
    let now = Instant::now();
    let mut outcomes = slicings(data).into_iter().map(|size| {
        let mut server = server(DialectPlan::AUTO);
        let outcome = feed(&mut server, data, size, now);
        if let Err(error) = &outcome {
            let sent = said(&mut server);
            assert_eq!(sent.number, None);
            assert_refusal(&mut server, error, now);
            // Of two things that are wrong, the one that comes first is said.
            return Err("refused");
        }
        Ok(said(&mut server))
    });
    let whole = outcomes.next().unwrap();
    // Nothing is kept that is longer than a line may be.
    let is_unending = !data.iter().take(HANDSHAKE_LIMIT + 2).any(|byte| *byte == b'\n');
    assert!(data.len() <= HANDSHAKE_LIMIT || !is_unending || whole.is_err(), "not bounded");
    for sliced in outcomes {
        assert_eq!(whole, sliced);
    }
}

/// Selection by another way: of all pairs that both have, one with the most bits.
fn assert_selected(enabled: &[EnabledSuite], offer: &Offer) {
    let has = |suite: &EnabledSuite, bits: u32| {
        let names = [suite.suite.name()].into_iter().chain(suite.suite.aliases().iter().copied());
        let names: Vec<&str> = names.collect();
        let named = offer.entries().iter().filter(|o| names.contains(&o.name.as_str()));
        named.flat_map(|o| &o.sizes).any(|size| *size == bits)
    };
    let pairs = enabled.iter().flat_map(|e| e.sizes.iter().map(move |s| (e, s.bits())));
    let longest = pairs.filter(|(e, bits)| has(e, *bits)).map(|(_, bits)| bits).max();
    let selection = select(enabled, offer);
    assert_eq!(selection.as_ref().map(|s| s.id.size.bits()), longest);
    let both = candidates(enabled, offer).into_iter().filter(|c| c.has == SupportedBy::Both);
    assert_eq!(both.map(|c| c.bits).max(), longest);
    if let Some(selection) = selection {
        let Choice { name, bits } = &selection.choice;
        assert!(offer.entries().iter().any(|o| o.name == *name && o.sizes.contains(bits)));
    }
}

/// Arbitrary bytes as a server's choice.
pub(crate) fn choice(data: &[u8]) {
    if let Some((choice, _)) = str::from_utf8(data).ok().and_then(|text| Choice::parse(text).ok()) {
        for separator in [Separator::Colon, Separator::Comma] {
            let wire = choice.to_wire(separator);
            assert_eq!(Choice::parse(&wire), Ok((choice.clone(), separator)));
        }
    }
    for plan in [DialectPlan::AUTO, DialectPlan::fixed(Dialect::CAPTURE)] {
        choice_by(plan, data);
    }
}

fn choice_by(plan: DialectPlan, data: &[u8]) {
    let now = Instant::now();
    let mut outcomes = slicings(data).into_iter().map(|size| {
        let params = params(plan, Telling::Everything);
        let mut client = ClientHandshake::with_seed(params, seed(2), now);
        assert_eq!(said(&mut client).sent.len(), 1);
        let outcome = feed(&mut client, data, size, now);
        let said = said(&mut client);
        if let Some(chosen) = &said.chosen {
            let offered = enabled();
            let mut offered = offered.iter().flat_map(|e| {
                e.sizes.iter().map(|size| SuiteId { suite: e.suite, size: *size }.to_string())
            });
            assert!(offered.any(|o| o == *chosen), "{chosen} was not on offer");
        }
        match outcome {
            Ok(()) => said.chosen.ok_or_else(|| "waiting".to_owned()),
            Err(error) => {
                assert_refusal(&mut client, &error, now);
                Err("refused".to_owned())
            }
        }
    });
    let whole = outcomes.next().unwrap();
    for sliced in outcomes {
        assert_eq!(whole, sliced);
    }
}

/// Arbitrary bytes behind the head of a public value.
pub(crate) fn dhmke(data: &[u8]) {
    let now = Instant::now();
    let wire = [b"DHMKE:", data].concat();
    let read = |size: usize, (plan, proposal): (DialectPlan, &[u8])| {
        let mut server = server(plan);
        feed(&mut server, proposal, usize::MAX, now).unwrap();
        assert_eq!(said(&mut server).sent.len(), 1);
        let outcome = feed(&mut server, &wire, size, now);
        let said = said(&mut server);
        match outcome {
            Ok(()) => Ok(said.number),
            Err(error) => {
                assert_refusal(&mut server, &error, now);
                Err(error.refusal())
            }
        }
    };
    // With line ends a number waits for its own; without, it may end itself.
    let unended: (_, &[u8]) = (DialectPlan::AUTO, b"ProposedCiphers:AES:[256]");
    let ended: (_, &[u8]) = (DialectPlan::fixed(Dialect::LINES), b"ProposedCiphers:AES:[256]\n");
    for plan in [unended, ended] {
        let whole = read(wire.len(), plan);
        if let Ok(Some(number)) = &whole {
            // Digits, blanks before them, nothing else up to where the number ends.
            let text = data.trim_ascii_start();
            let digits: Vec<u8> = text.iter().copied().take_while(u8::is_ascii_digit).collect();
            assert!(!digits.is_empty() && digits.len() <= GROUP.digits());
            assert!(data[..data.len() - text.len()].iter().all(|b| *b == b' '));
            assert_eq!(Some(number), BigUint::parse_bytes(&digits, 10).as_ref());
        }
        let [_, small, middle] = slicings(&wire);
        for size in [small, middle] {
            let sliced = read(size, plan);
            let ends_itself = |n: &BigUint| n * 10u8 >= *GROUP.prime();
            match (&whole, &sliced) {
                // What ends itself before something that does not belong there may be taken first.
                (Err(_), Ok(Some(number))) => assert!(ends_itself(number), "{number}"),
                // A number beyond the prime may be cut where a number below it would end; it is
                // refused as out of range in the one case and as a bad message in the other.
                (Ok(Some(number)), _) if number >= GROUP.prime() => assert_ne!(sliced, Ok(None)),
                (Err(_), Err(_)) => {}
                _ => assert_eq!(whole, sliced),
            }
        }
    }
}

/// Bytes as decisions; zeros when there are no more.
struct Decisions<'a>(&'a [u8]);

impl<'a> Decisions<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        if limit == 0 { 0 } else { number % limit }
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn cell(decision: u8) -> (SuiteId, SessionKeys) {
    let cells = [("AES", 128), ("AES", 256), ("Blowfish", 112), ("DES3", 192), ("DES", 56)];
    let (name, bits) = cells[usize::from(decision) % cells.len()];
    let suite = REGISTRY.find(name).unwrap();
    let size = KeySize::from_bits(bits).unwrap();
    let characters = |from: u8, count: usize| -> Zeroizing<Vec<u8>> {
        let digits = b"0123456789abcdef".iter().cycle().skip(from.into());
        Zeroizing::new(digits.step_by(3).take(count).copied().collect())
    };
    let keys =
        SessionKeys { key: characters(1, size.bytes()), iv: characters(5, suite.block_size()) };
    (SuiteId { suite, size }, keys)
}

/// Texts, sealed, then altered as the bytes say, and cut as they say.
pub(crate) fn data_stream(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (id, keys) = cell(decisions.byte());
    let switches = decisions.byte();
    let mac = if switches & 1 == 0 { MacRule::PerMessage } else { MacRule::Cumulative };
    let chaining = if switches & 2 == 0 { Chaining::Chain } else { Chaining::Restart };
    let both = [MacRule::PerMessage, MacRule::Cumulative];
    let rules = if switches & 4 == 0 { &both[..] } else { &[mac] };
    let step = usize::from(decisions.byte()) + 1;
    let mut sealer = Sealer::new(id, &keys, mac, chaining).unwrap();
    let (mut stream, mut texts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    // Where the first alteration is; everything before that has to arrive.
    let mut altered: Option<usize> = None;
    for _ in 0..32 {
        let op = decisions.byte();
        let at = match op % 8 {
            0..=3 => {
                let length = decisions.byte().into();
                let text = decisions.take(length).to_vec();
                stream.extend(sealer.seal(&text).unwrap());
                texts.push(text);
                ends.push(stream.len());
                continue;
            }
            4 if !stream.is_empty() => {
                let at = decisions.below(stream.len());
                stream[at] ^= decisions.byte() | 1;
                at
            }
            5 => {
                let at = decisions.below(stream.len() + 1);
                let inserted = decisions.take(9).to_vec();
                stream.splice(at..at, inserted);
                at
            }
            6 if !stream.is_empty() => {
                let at = decisions.below(stream.len());
                let end = (at + 1 + decisions.below(80)).min(stream.len());
                stream.drain(at..end);
                at
            }
            7 if !ends.is_empty() => {
                // The last message once more.
                let start = ends.len().checked_sub(2).map_or(0, |i| ends[i]);
                let end = ends[ends.len() - 1].min(stream.len());
                let at = stream.len();
                let again = stream.get(start..end).unwrap_or_default().to_vec();
                stream.extend(again);
                at
            }
            _ => break,
        };
        altered = Some(altered.map_or(at, |before| before.min(at)));
    }
    let strip = |text: &Vec<u8>| -> Vec<u8> {
        let start = text.iter().position(|b| *b != 0).unwrap_or(text.len());
        let end = text.iter().rposition(|b| *b != 0).map_or(start, |last| last + 1);
        text[start..end].to_vec()
    };
    let sure = ends.iter().filter(|end| altered.is_none_or(|at| **end <= at)).count();
    let mut opener = Opener::new(id, &keys, rules, chaining, Strip::Both, LIMIT).unwrap();
    let mut opened = Vec::new();
    for piece in pieces(&stream, step) {
        opener.push(piece);
        match drain(&mut opener, &mut opened) {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, OpenError::TooLong { limit: LIMIT }), "{error}");
                assert!(altered.is_some());
                break;
            }
        }
        assert!(opener.pending() <= LIMIT + TAG_DIGITS + step + 16, "{}", opener.pending());
    }
    let expected: Vec<Vec<u8>> = texts.iter().map(strip).collect();
    assert!(opened.len() >= sure, "{} of {sure} messages arrived", opened.len());
    assert_eq!(opened[..sure], expected[..sure]);
    if altered.is_none() {
        assert_eq!(opened.len(), expected.len());
        assert_eq!(opener.pending(), 0);
    }
    if mac == MacRule::PerMessage {
        // Each is a message that was sealed, though perhaps not in its place (PROTOCOL.md §3.8): then
        // its first block decrypts to something else, unless every message starts at the IV.
        let block = id.suite.block_size();
        for text in &opened {
            assert!(
                texts.iter().zip(&expected).any(|(sealed, whole)| {
                    text == whole
                        || chaining == Chaining::Chain && is_displaced(text, sealed, block)
                }),
                "a text that was not sealed"
            );
        }
    }
    if rules == [MacRule::Cumulative] && chaining == Chaining::Chain {
        // Nothing but what was sealed, in its order. But where a text ends is not authenticated:
        // without the HMAC between them two messages are one (PROTOCOL.md §3.8).
        let joined = |texts: &[Vec<u8>]| -> Vec<u8> {
            texts.iter().flatten().copied().filter(|byte| *byte != 0).collect()
        };
        assert!(joined(&expected).starts_with(&joined(&opened)), "a text that was not sealed");
    }
}

/// Whether a text can be what a sealed one decrypts to behind another message: the same from its
/// second block on, without the zeros at its ends.
fn is_displaced(text: &[u8], sealed: &[u8], block: usize) -> bool {
    let padded = sealed.len().next_multiple_of(16);
    let rest = sealed.get(block..).unwrap_or_default();
    let end = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let start = rest[..end].iter().position(|byte| *byte != 0).unwrap_or(end);
    text.len() <= padded && text.ends_with(&rest[start..end])
}

fn drain(opener: &mut Opener, opened: &mut Vec<Vec<u8>>) -> Result<(), OpenError> {
    while let Some(text) = opener.next_message()? {
        opened.push(text);
    }
    Ok(())
}

/// Arbitrary bytes as a configuration.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let source = Source::File(PathBuf::from("c.toml"));
    match Settings::parse(text, source, &REGISTRY, &Overrides::default()) {
        Ok(settings) => {
            assert!(!settings.ciphers.enabled.is_empty());
            for entry in settings.ciphers.enabled.iter() {
                assert!(!entry.sizes.is_empty());
                assert!(entry.sizes.iter().all(|s| entry.suite.key_sizes().contains(*s)));
            }
            // What it enables can be offered, and is understood.
            let offer = Offer::from_enabled(&settings.ciphers.enabled);
            assert_eq!(Offer::parse(&offer.to_wire()), Ok(offer.clone()));
            assert!(select(&settings.ciphers.enabled, &offer).is_some());
        }
        Err(error) => {
            let words = error.to_string();
            assert_eq!(words, Printable(words.as_bytes()).to_string(), "not fit for a terminal");
            let ConfigError::Problem { line, .. } = error else { panic!("{error}") };
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}: {words}");
        }
    }
}

/// A session as far as a genuine client takes it, and then arbitrary bytes, silence and the end.
pub(crate) fn server_session(data: &[u8]) {
    let mut decisions = Decisions(data);
    let start = decisions.byte();
    let now = Instant::now();
    if start % 4 == 3 {
        established(&mut decisions, now);
        return;
    }
    let plans = [
        DialectPlan::AUTO,
        DialectPlan::fixed(Dialect::SPEC),
        DialectPlan::fixed(Dialect::CAPTURE),
        DialectPlan::fixed(Dialect::LINES),
    ];
    let plan = plans[usize::from(start >> 2) % plans.len()];
    let mut server = server(plan);
    let mut client = ClientHandshake::with_seed(params(plan, Telling::Nothing), seed(3), now);
    // The genuine part: nothing, the proposal, or the whole handshake.
    for _ in 0..start % 4 {
        let from_client = work(&mut client);
        feed(&mut server, &from_client, usize::MAX, now).unwrap();
        let from_server = work(&mut server);
        feed(&mut client, &from_server, usize::MAX, now).unwrap();
    }
    let mut session = None;
    let mut now = now;
    for _ in 0..64 {
        let op = decisions.byte();
        let outcome = match op % 8 {
            0..=5 => {
                let length = decisions.below(600);
                server.handle_input(decisions.take(length), now)
            }
            6 => match server.poll_timeout() {
                Some(due) => {
                    assert!(due > now && due <= now + Duration::from_secs(60));
                    now = due;
                    server.handle_timeout(now)
                }
                None => Ok(()),
            },
            _ => server.handle_eof(),
        };
        if let Err(error) = outcome {
            said(&mut server);
            assert_refusal(&mut server, &error, now);
            return;
        }
        let computed = try_work(&mut server);
        if let Err(error) = computed {
            assert_refusal(&mut server, &error, now);
            return;
        }
        session = session.or_else(|| server.take_session());
        if session.is_some() || decisions.0.is_empty() {
            break;
        }
    }
    if let Some(mut session) = session {
        // Nobody has the key but the client, which sends nothing from here on.
        assert_eq!(converse(&mut session, &mut decisions, now), Vec::<Vec<u8>>::new());
    }
}

/// An established session: genuine messages, then anything.
fn established(decisions: &mut Decisions<'_>, now: Instant) {
    let (id, keys) = cell(decisions.byte());
    let dialect = if decisions.byte() & 1 == 0 { Dialect::SPEC } else { Dialect::CAPTURE };
    let params = params(DialectPlan::fixed(dialect), Telling::Everything);
    let mut client = ClientSession::resume(id, &keys, dialect, &params).unwrap();
    let mut server = ServerSession::resume(id, &keys, dialect, &params).unwrap();
    for _ in 0..decisions.byte() % 4 {
        let length = decisions.byte().into();
        let text = String::from_utf8_lossy(decisions.take(length)).into_owned();
        if text.len() > LIMIT {
            continue;
        }
        let message = client.send(&text, now).unwrap();
        server.handle_input(&message, now);
        let received = server.next_text(now).unwrap().unwrap();
        assert_eq!(received, text.trim_matches('\0').as_bytes());
        let reply = server.reply(&vpn::session::reversed(&received));
        client.handle_input(&reply, now);
        client.next_reply(now + Timing::default().quiet).unwrap();
    }
    assert_eq!(server.next_text(now), Ok(None));
    assert_eq!(converse(&mut server, decisions, now), Vec::<Vec<u8>>::new());
}

/// Arbitrary bytes to an established session; what it takes for messages.
fn converse(
    session: &mut ServerSession,
    decisions: &mut Decisions<'_>,
    start: Instant,
) -> Vec<Vec<u8>> {
    let (mut now, mut texts) = (start, Vec::new());
    loop {
        let is_last = decisions.0.is_empty();
        let outcome = match decisions.byte() % 8 {
            _ if is_last => session.handle_eof(),
            0..=5 => {
                let length = decisions.below(600);
                session.handle_input(decisions.take(length), now);
                Ok(())
            }
            6 => match session.poll_timeout() {
                Some(due) => {
                    assert!(due <= now + Duration::from_secs(60));
                    now = now.max(due);
                    session.handle_timeout(now)
                }
                None => Ok(()),
            },
            _ => session.handle_eof(),
        };
        let outcome = outcome.and_then(|()| {
            loop {
                match session.next_text(now) {
                    Ok(Some(text)) => texts.push(text),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        });
        while session.poll_note().is_some() {}
        if let Err(error) = outcome {
            assert_eq!(session.next_text(now), Err(error.clone()));
            assert_eq!(session.handle_eof(), Err(error.clone()));
            assert_eq!(session.poll_timeout(), None);
            assert_one_line(&error.to_string());
            if let Some(words) = error.refusal() {
                assert_one_line(&words);
            }
            return texts;
        }
        if is_last {
            return texts;
        }
    }
}

/// Arbitrary bytes from a server to a client that waits for the reply to its text.
pub(crate) fn reply(text: &str, data: &[u8], size: usize) {
    let (id, keys) = cell(0);
    let quiet = Timing::default().quiet;
    for dialect in [Dialect::SPEC, Dialect::CAPTURE] {
        let params = params(DialectPlan::fixed(dialect), Telling::Everything);
        let now = Instant::now();
        let mut client = ClientSession::resume(id, &keys, dialect, &params).unwrap();
        assert_eq!(client.next_reply(now), Ok(None), "nothing was asked for");
        client.send(text, now).unwrap();
        let expected = vpn::session::reversed(text.trim_matches('\0').as_bytes());
        let mut outcome = Ok(None);
        let mut taken = 0;
        for piece in pieces(data, size) {
            client.handle_input(piece, now);
            taken += piece.len();
            assert!(client.poll_timeout().is_some_and(|due| due == now + quiet));
            outcome = client.next_reply(now);
            match &outcome {
                // Before there was silence only what was expected is a reply.
                Ok(Some(reply)) => assert_eq!(*reply, expected),
                // Zeros and line ends may come without end; they are not kept.
                Ok(None) => assert!(
                    data[..taken].iter().filter(|byte| !b"\0\r\n".contains(byte)).count()
                        <= LIMIT + 64
                ),
                Err(error) => assert_one_line(&error.to_string()),
            }
            if outcome != Ok(None) {
                break;
            }
        }
        if outcome == Ok(None) {
            outcome = client.next_reply(now + quiet);
        }
        match outcome {
            Ok(Some(reply)) => {
                assert!(reply.len() <= LIMIT + 64 && client.poll_timeout().is_none())
            }
            // Still waiting: nothing came but what may have been left over.
            Ok(None) => assert!(data.iter().all(|byte| b"\0\r\n".contains(byte))),
            Err(error) => assert_one_line(&error.to_string()),
        }
    }
}

/// As [`try_work`], where nothing can go wrong.
pub(crate) fn work(handshake: &mut impl Handshake) -> Vec<u8> {
    try_work(handshake).unwrap()
}

/// Runs what a handshake wants computed; what it wants to send.
pub(crate) fn try_work(handshake: &mut impl Handshake) -> Result<Vec<u8>, HandshakeError> {
    let mut sent = Vec::new();
    loop {
        while let Some(bytes) = handshake.poll_transmit() {
            sent.extend(bytes);
        }
        match handshake.poll_event() {
            Some(Event::Compute(task)) => handshake.handle_outcome(task.run())?,
            Some(Event::Chosen(_) | Event::Note(_)) => {}
            None => return Ok(sent),
        }
    }
}

/// Arbitrary bytes as the first message of either side of the sealed profile.
pub(crate) fn sealed_hello(data: &[u8]) {
    static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
        Arc::new(ServerConfig {
            enabled: enabled().into(),
            kex: vec![Kex::X25519MlKem768],
            identity: Some(Identity::from_seed(&[1; 32])),
            psks: Vec::new(),
            is_gate_required: false,
            limits: Limits::default(),
        })
    });
    static CLIENT: LazyLock<(Arc<ClientConfig>, Vec<u8>)> = LazyLock::new(|| {
        let config = Arc::new(ClientConfig {
            enabled: enabled().into(),
            kex: vec![Kex::X25519MlKem768],
            identity: None,
            server_key: None,
            psk: None,
            limits: Limits::default(),
        });
        let start = HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng());
        (config, start.unwrap().1)
    });
    // Where a stream is cut does not depend on what comes behind.
    if let Ok(Some(length)) = next_length(Part::Hello, data) {
        assert!(length <= data.len());
        assert_eq!(next_length(Part::Hello, &data[..length]), Ok(Some(length)));
        assert_eq!(next_length(Part::Hello, &data[..length - 1]), Ok(None));
    }
    let (config, hello) = &*CLIENT;
    let client = || {
        let pair = KexKeyPair::danger_hybrid(&[7; 64], &[9; 32]);
        HelloSent::danger_replay(config.clone(), pair, hello).unwrap()
    };
    match Gated::on_hello(SERVER.clone(), data) {
        Ok(gated) => {
            // Whatever the share is: an answer, or silence.
            let _ = gated.respond(&mut rand::rng());
        }
        Err(refusal) => {
            assert_one_line(&Printable(refusal.error.to_string().as_bytes()).to_string());
            if let Some(answer) = refusal.answer {
                // A client can read why.
                assert!(client().on_first(&answer).is_err());
            }
        }
    }
    if let Ok(state) = client().on_first(data) {
        // Nobody but a server with a key gets further.
        assert!(state.on_record(data).is_err());
    }
}

/// Sealed records, altered and cut as the bytes say: nothing comes out that was not put in.
pub(crate) fn sealed_records(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (id, _) = cell(decisions.byte());
    let secret = TrafficSecret::danger_from_bytes([decisions.byte(); 32]);
    let Ok(keys) = secret.record_keys(id) else { return };
    let mut sealer = RecordSealer::new(keys);
    let mut opener = RecordOpener::new(secret.record_keys(id).unwrap());
    let (mut stream, mut sent, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..decisions.byte() % 8 {
        let (content, pad_to) = (decisions.byte(), usize::from(decisions.byte() % 3) * 64);
        let length = decisions.byte().into();
        let payload = decisions.take(length).to_vec();
        stream.extend(sealer.seal(content, &payload, pad_to.max(1)).unwrap());
        sent.push((content, payload));
        ends.push(stream.len());
    }
    let mut altered = stream.len();
    while !decisions.0.is_empty() {
        let at = decisions.below(stream.len() + 1);
        match decisions.byte() % 3 {
            0 if at < stream.len() => stream[at] ^= decisions.byte() | 1,
            1 => {
                let inserted = decisions.take(40).to_vec();
                stream.splice(at..at, inserted);
            }
            _ => stream.truncate(at),
        }
        altered = altered.min(at);
    }
    let sure = ends.iter().filter(|end| **end <= altered).count();
    let mut opened = Vec::new();
    while let Ok(Some(length)) = next_length(Part::Record, &stream) {
        let record: Vec<u8> = stream.drain(..length).collect();
        let Ok(record) = opener.open(&record) else { break };
        opened.push((record.content, record.payload.to_vec()));
    }
    assert!(opened.len() >= sure, "{} of {sure} records", opened.len());
    assert!(sent.starts_with(&opened), "a record that was not sealed");
}

/// Arbitrary bytes as the first of a connection: text is never taken for the sealed profile, and what
/// either profile can read is taken for that one.
pub(crate) fn first_byte(data: &[u8]) {
    let Some(first) = data.first() else { return };
    let profile = Profile::of_first_byte(*first);
    if str::from_utf8(data).is_ok() {
        assert_ne!(profile, Some(Profile::Sealed));
    }
    if ClientHello::parse(data).is_ok() {
        assert_eq!(profile, Some(Profile::Sealed));
    }
    if next_length(Part::Hello, data).is_ok() {
        assert_eq!(profile, Some(Profile::Sealed));
    }
    if str::from_utf8(data).is_ok_and(|text| Offer::parse(text).is_ok()) {
        assert_eq!(profile, Some(Profile::Classic));
    }
}

/// A server and a client of the sealed profile that know each other.
static SEALED: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let server = Identity::from_seed(&[1; 32]);
    let client = ClientConfig {
        enabled: enabled().into(),
        kex: vec![Kex::X25519MlKem768],
        identity: Some(Identity::from_seed(&[2; 32])),
        server_key: Some(server.public_key()),
        psk: None,
        limits: Limits::default(),
    };
    let server = ServerConfig {
        enabled: enabled().into(),
        kex: vec![Kex::X25519MlKem768],
        identity: Some(server),
        psks: Vec::new(),
        is_gate_required: true,
        limits: Limits::default(),
    };
    (Arc::new(server), Arc::new(client))
});

/// A client's first message and the server's, field by field as the bytes say: a client that reads
/// it has agreed to what it had offered, and believes nobody without the keys.
pub(crate) fn sealed_answer(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (_, config) = &*SEALED;
    let start = HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng());
    let (state, _) = start.unwrap();
    let mut body = vec![7; 32];
    let (kex, suite) = (decisions.byte(), decisions.byte());
    body.extend([kex, suite]);
    let share_length = match decisions.byte() % 4 {
        0 => decisions.below(2000),
        _ => 1120,
    };
    let counted = match decisions.byte() % 8 {
        0 => decisions.below(0x1_0000),
        _ => share_length,
    };
    let filling = decisions.byte();
    body.extend(u16::try_from(counted % 0x1_0000).unwrap().to_be_bytes());
    body.extend(vec![filling; share_length]);
    // The extensions are what is left of the bytes, with or without a length that fits.
    if decisions.byte() % 8 > 0 {
        let length = u16::try_from(decisions.0.len() % 0x1_0000).unwrap();
        body.extend(length.to_be_bytes());
    }
    body.extend(decisions.0);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [b"\xf5VPN\x01\x02", &length[1..], &body].concat();
    match state.on_first(&message) {
        Ok(state) => {
            assert!(kex == 0 && share_length == 1120 && message.len() <= 4096);
            assert!(usize::from(suite) < 5);
            assert!(state.on_record(&[vec![0, 48], vec![filling; 48]].concat()).is_err());
        }
        Err(error) => assert_one_line(&Printable(error.to_string().as_bytes()).to_string()),
    }
}

/// Both sides up to the client's proof, and the secrets of the handshake, the client's first.
fn sealed_halves() -> (ServerFlightSent, AuthSent, Vec<u8>, [TrafficSecret; 2], SuiteId) {
    let (server, client) = &*SEALED;
    let mut rng = rand::rng();
    let kex = Kex::X25519MlKem768;
    let (client, hello) = HelloSent::start(client.clone(), kex, &mut rng).unwrap();
    let gated = Gated::on_hello(server.clone(), &hello).unwrap();
    let id = gated.suite();
    let (server, flight) = gated.respond(&mut rng).unwrap();
    let (first, second) = flight.split_at(next_length(Part::Hello, &flight).unwrap().unwrap());
    let client = client.on_first(first).unwrap().on_record(second).unwrap();
    let (client, proof) = client.accept().unwrap();
    let (_, secrets) = server.key_log();
    let secrets = secrets.map(|secret| TrafficSecret::danger_from_bytes(*secret));
    (server, client, proof, secrets, id)
}

/// A type and a payload, sealed by somebody who has the keys of the handshake, for a proof of the
/// client, for one of the server, and for Ready.
pub(crate) fn sealed_auth(data: &[u8]) {
    let Some((content, payload)) = data.split_first() else { return };
    let payload = &payload[..payload.len().min(16_384)];
    let seal = |secret: &TrafficSecret, id: SuiteId| {
        RecordSealer::new(secret.record_keys(id).unwrap()).seal(*content, payload, 1).unwrap()
    };
    let (server, client, _, [client_secret, _], id) = sealed_halves();
    // Nobody signs what cannot be known beforehand.
    let result = server
        .on_record(&seal(&client_secret, id), |peer| panic!("{peer:?} proved out of nothing"));
    let refusal = result.unwrap_err();
    assert_one_line(&Printable(refusal.error.to_string().as_bytes()).to_string());
    // Alert 1 under the next keys, or silence.
    assert!(refusal.answer.is_none_or(|answer| answer.len() == 2 + 64 + 32));
    let [_, server_secret] = client.key_log();
    let secret = TrafficSecret::danger_from_bytes(*server_secret);
    match client.on_record(&seal(&secret, id)) {
        Ok((session, ready)) => {
            assert_eq!((*content, &payload[..1], payload[4]), (0x16, &[0x0d][..], 0));
            assert!(ready.services.is_none_or(|services| services.len() < payload.len()));
            assert!(!session.is_closed());
        }
        Err(error) => assert_one_line(&Printable(error.to_string().as_bytes()).to_string()),
    }
    let (_, config) = &*SEALED;
    let (state, hello) =
        HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng()).unwrap();
    let gated = Gated::on_hello(SEALED.0.clone(), &hello).unwrap();
    let (server, flight) = gated.respond(&mut rand::rng()).unwrap();
    let first = next_length(Part::Hello, &flight).unwrap().unwrap();
    let (_, [_, secret]) = server.key_log();
    let secret = TrafficSecret::danger_from_bytes(*secret);
    let state = state.on_first(&flight[..first]).unwrap();
    let error = state.on_record(&seal(&secret, id)).unwrap_err();
    assert_one_line(&Printable(error.to_string().as_bytes()).to_string());
}

/// Records of a peer that has the keys of a session, one after the other as the bytes say.
pub(crate) fn sealed_session(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (server, client, proof, _, id) = sealed_halves();
    let admit = |_| Decision::Admit(Ready::default());
    let (server, _, ready) = server.on_record(&proof, admit).unwrap();
    let (mut client, _) = client.on_record(&ready).unwrap();
    let [client_secret, server_secret] =
        client.traffic_secrets().map(|secret| TrafficSecret::danger_from_bytes(*secret));
    let is_client = decisions.byte() % 2 == 1;
    let (session, secret) = if is_client {
        client.open("message", b"").unwrap();
        (client, server_secret)
    } else {
        (server, client_secret)
    };
    let mut sealer = RecordSealer::new(secret.record_keys(id).unwrap());
    if is_client {
        // Ready was the server's first record.
        sealer.seal(0x16, b"", 1).unwrap();
    }
    converse_sealed(session, &mut sealer, &mut decisions);
}

/// What comes out was put in, in order, and an error is the end.
fn converse_sealed(mut session: Session, sealer: &mut RecordSealer, decisions: &mut Decisions<'_>) {
    let (mut is_open, mut is_at_end) = (false, false);
    while !decisions.0.is_empty() {
        let content = decisions.byte();
        let length = usize::from(decisions.byte());
        let record = sealer.seal(content, decisions.take(length), 1).unwrap();
        let result = session.handle_input(&record);
        while let Some(event) = session.poll_event() {
            match event {
                SealedEvent::Open { .. } => {
                    assert!(!is_open, "a second service");
                    session.reply_open(0, "").unwrap();
                    is_open = true;
                }
                SealedEvent::OpenReply { status, .. } => {
                    assert!(!is_open, "a second answer");
                    is_open = status == 0;
                }
                SealedEvent::Data(_) => assert!(is_open && !is_at_end, "data out of place"),
                SealedEvent::Eof => {
                    assert!(is_open && !is_at_end, "an end out of place");
                    is_at_end = true;
                }
                _ => {}
            }
        }
        let said: usize = std::iter::from_fn(|| session.poll_transmit()).map(|r| r.len()).sum();
        assert!(said <= record.len() + 200, "{said} bytes for {}", record.len());
        if let Err(error) = result {
            assert_one_line(&Printable(error.to_string().as_bytes()).to_string());
            // It stays so.
            assert_eq!(session.handle_input(b"x"), Err(error.clone()));
            assert_eq!(session.handle_eof(), Err(error));
            return;
        }
        if session.is_closed() {
            return;
        }
    }
    assert!(session.handle_eof().is_err());
}
