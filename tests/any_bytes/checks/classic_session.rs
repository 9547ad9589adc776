//! No bytes in any state of a classic session become a text, or end it in another way than the first time.

use std::time::{Duration, Instant};

use vpn_proto::HandshakeError;
use vpn_proto::classic::{
    ClientHandshake, ClientSession, Dialect, DialectPlan, Event, Handshake, ServerHandshake,
    ServerSession, Telling, Timing,
};

use super::classic_handshake::{assert_refusal, feed, params, said, seed, server};
use super::{Decisions, LIMIT, assert_one_line, cell, pieces};

/// A session as far as a genuine client takes it, and then arbitrary bytes, silence and the end.
pub(crate) fn server_session(data: &[u8]) {
    let mut decisions = Decisions(data);
    let start = decisions.byte();
    let mut now = Instant::now();
    if start % 4 == 3 {
        established(&mut decisions, now);
        return;
    }
    let mut server = begun(start, now);
    let mut session = None;
    for _ in 0..64 {
        let outcome = step(&mut server, &mut decisions, &mut now);
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

/// A server behind the genuine part: nothing, the proposal, or the whole handshake.
fn begun(start: u8, now: Instant) -> ServerHandshake {
    let plans = [
        DialectPlan::AUTO,
        DialectPlan::fixed(Dialect::SPEC),
        DialectPlan::fixed(Dialect::CAPTURE),
        DialectPlan::fixed(Dialect::LINES),
    ];
    let plan = plans[usize::from(start >> 2) % plans.len()];
    let mut server = server(plan);
    let mut client = ClientHandshake::with_seed(params(plan, Telling::Nothing), seed(3), now);
    for _ in 0..start % 4 {
        let from_client = work(&mut client);
        feed(&mut server, &from_client, usize::MAX, now).unwrap();
        let from_server = work(&mut server);
        feed(&mut client, &from_server, usize::MAX, now).unwrap();
    }
    server
}

/// Bytes, silence up to the next timer, or the end.
fn step(
    server: &mut ServerHandshake,
    decisions: &mut Decisions<'_>,
    now: &mut Instant,
) -> Result<(), HandshakeError> {
    match decisions.byte() % 8 {
        0..=5 => {
            let length = decisions.below(600);
            server.handle_input(decisions.take(length), *now)
        }
        6 => match server.poll_timeout() {
            Some(due) => {
                assert!(due > *now && due <= *now + Duration::from_secs(60));
                *now = due;
                server.handle_timeout(due)
            }
            None => Ok(()),
        },
        _ => server.handle_eof(),
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
