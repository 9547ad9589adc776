//! Messages of the classic handshake mean the same however they are cut, and what is wrong is refused.

use std::time::{Duration, Instant};

use num_bigint::BigUint;
use vpn_proto::classic::{
    ClassicParams, ClientHandshake, Dialect, DialectPlan, Event, HANDSHAKE_LIMIT, Handshake,
    ServerHandshake, Telling, Timing,
};
use vpn_proto::{
    Choice, DhTask, EnabledSuite, ExponentSeed, HandshakeError, Offer, Separator, SuiteId,
    SupportedBy, candidates, select,
};

use super::{GROUP, LIMIT, assert_one_line, enabled, pieces};

pub(super) fn params(plan: DialectPlan, telling: Telling) -> ClassicParams {
    let mut plan = plan;
    plan.base.group = GROUP;
    let timing = Timing::default();
    ClassicParams { enabled: enabled().into(), plan, timing, message_limit: LIMIT, telling }
}

/// A short exponent makes these checks quick.
pub(super) fn seed(byte: u8) -> ExponentSeed {
    ExponentSeed::danger_from_exponent(GROUP, &[0x5a, byte, 0x77, 0x11, 0x09, 0xfe, 0x13, 0x21])
}

pub(super) fn server(plan: DialectPlan) -> ServerHandshake {
    ServerHandshake::with_seed(params(plan, Telling::Everything), seed(1))
}

/// The sizes of pieces to cut bytes into: one piece, the smallest ones, and some in between. A handshake
/// looks at all that it has with each piece, and a fuzzer has more to do: what is longer than a message
/// of this group is cut into 64 and 128 pieces.
fn slicings(data: &[u8]) -> [usize; 3] {
    let most = |pieces| data.len().div_ceil(pieces);
    [data.len(), if data.len() > 640 { most(64) } else { 1 }, most(128).max(7)]
}

/// Feeds a handshake, then silence for as long as silence can change something.
pub(super) fn feed<H: Handshake>(
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

/// What a handshake sends, which cipher was chosen, and which number is to be checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    sent: Vec<Vec<u8>>,
    chosen: Option<String>,
    number: Option<BigUint>,
}

pub(super) fn said<H: Handshake>(handshake: &mut H) -> Said {
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
pub(super) fn assert_refusal<H: Handshake>(
    handshake: &mut H,
    error: &HandshakeError,
    now: Instant,
) {
    let again = handshake.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap_err();
    assert_eq!(&again, error);
    assert_eq!(&handshake.handle_eof().unwrap_err(), error);
    assert!(handshake.take_session().is_none() && handshake.poll_timeout().is_none());
    assert_one_line(&error.to_string());
    if let Some(words) = error.refusal() {
        assert_one_line(&words);
    }
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
            // If two things are wrong, the first one that arrives is the reason.
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
