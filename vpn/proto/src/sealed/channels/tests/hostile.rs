//! What a hostile peer may not do, and how much memory it may take.

use super::*;

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let listening = Answer::Listening { port: 1 };
    let refused = Answer::NotListening { status: OpenStatus::Refused, text: String::new() };
    let ended = Answer::Unlistened(None);
    let listen = Question::Listen("localhost:0".to_owned());
    for (question, answer, fits) in [
        (&listen, &listening, true),
        (&listen, &refused, true),
        (&listen, &ended, false),
        (&Question::Unlisten(1), &ended, true),
        (&Question::Unlisten(1), &listening, false),
        (&Question::Unlisten(1), &refused, false),
    ] {
        let mut client = Channels::new(Role::Client, ChannelLimits::default());
        let number = client.ask(question.clone()).unwrap();
        let handled = client.handle(Frame::Answer { number, answer: answer.clone() });
        let wrong = SealedError::Malformed("an answer to no question");
        assert_eq!(handled, if fits { Ok(()) } else { Err(wrong) }, "{question:?} {answer:?}");
    }
}

#[test]
fn notes_come_from_the_acceptor_of_a_command_only() {
    let id = 1;
    let error = Frame::Data { id, stream: StreamKind::StandardError, data: b"x".into() };
    let exit = Frame::Exit { id, exit: ChannelExit::Code(0) };
    let eof = Frame::Eof { id };
    let none = "a note of a channel without notes";
    for (kind, frames, wrong) in [
        ("exec", vec![&error, &exit, &error, &eof], None),
        ("exec", vec![&exit, &exit], Some("a second end of a command")),
        ("exec", vec![&eof, &exit], Some("the end of a command behind that of its channel")),
        ("exec", vec![&eof, &error], Some("data behind its end")),
        ("forward", vec![&error], Some(none)),
        ("forward", vec![&exit], Some(none)),
    ] {
        let mut pair = Pair::new();
        assert_eq!(pair.open_kind(kind), id);
        let handled = frames.into_iter().try_for_each(|frame| pair.client.handle(frame.clone()));
        assert_eq!(handled.err(), wrong.map(SealedError::Malformed), "{kind}");
    }
}

#[test]
fn a_peer_that_does_not_read_the_answers_is_stopped() {
    let mut server = Channels::new(Role::Server, ChannelLimits::default());
    let mut handled = 0;
    let error = (1..).step_by(2).find_map(|id| {
        let open = Frame::Open { id, credit: 0, kind: "x".into(), argument: b"".into() };
        let close = Frame::Close { id, code: CloseCode::Reset, text: "".into() };
        let result = server.handle(open).and_then(|()| server.handle(close));
        events(&mut server);
        assert_eq!(server.accept(id), Err(ChannelError::Closed));
        handled += 1;
        result.err()
    });
    assert_eq!(error, Some(SealedError::Limit("the number of answers to send")));
    assert_eq!((handled, server.control.len(), server.count()), (16_385, 16_384, 0));
}

#[test]
fn bytes_of_a_slow_user_take_no_more_memory_than_twice_their_number() {
    let two = [StreamKind::Data, StreamKind::StandardError];
    for streams in [&two[..1], &two] {
        let mut pair = Pair::new();
        let id = pair.open_kind("exec");
        let mut sent = [Vec::new(), Vec::new()];
        for n in 0..65_536 {
            let (stream, byte) = (streams[n % streams.len()], n.to_be_bytes()[7]);
            sent[n % streams.len()].push(byte);
            pair.client.handle_data(id, stream, Zeroizing::new(vec![byte])).unwrap();
            events(&mut pair.client);
        }
        let state::Channel::Live(live) = &pair.client.channels[&id] else { panic!() };
        let memory: usize = live.received.iter().map(|(_, bytes)| bytes.capacity() + 32).sum();
        assert!(memory <= 2 * 65_536 + 64 * 32, "{memory}");
        // Each stream keeps its order.
        let mut received = [Vec::new(), Vec::new()];
        while let Some((stream, bytes)) = pair.client.receive(id) {
            received[usize::from(stream == StreamKind::StandardError)].extend_from_slice(&bytes);
        }
        assert_eq!(received, sent);
    }
}

#[test]
fn an_honest_opener_is_refused_by_a_small_limit_and_goes_on() {
    let mut pair = Pair::limited(ChannelLimits { channels: 1, ..ChannelLimits::default() });
    let first = pair.open();
    // It does not know the limit, and opens as many as it may, 128 of them at once.
    let ids: Vec<u32> =
        std::iter::from_fn(|| pair.client.open("forward", b"x:1").ok()).take(2000).collect();
    assert_eq!(ids.len(), 1023);
    pair.run();
    let is_refused = |event: &ChannelEvent| {
        matches!(event, ChannelEvent::Refused { status: OpenStatus::TooMany, .. })
    };
    assert_eq!(events(&mut pair.client).iter().filter(|event| is_refused(event)).count(), 1023);
    assert_eq!((pair.client.count(), pair.server.count()), (1, 1));
    pair.client.send(first, StreamKind::Data, b"on".to_vec()).unwrap();
    pair.run();
    assert_eq!(take(&mut pair.server, first, pair.now), b"on");
}

#[test]
fn requests_that_are_closed_at_once_cause_no_more_work_than_others() {
    let mut server = Channels::new(Role::Server, ChannelLimits::default());
    let mut requests = Vec::new();
    for id in (1..2000).step_by(2) {
        let open = Frame::Open { id, credit: 0, kind: "x".into(), argument: b"".into() };
        server.handle(open).unwrap();
        server.handle(Frame::Close { id, code: CloseCode::Reset, text: "".into() }).unwrap();
        requests.extend(events(&mut server).into_iter().filter_map(|event| match event {
            ChannelEvent::Requested { id, .. } => Some(id),
            _ => None,
        }));
    }
    // The user has not answered these, so it may still be about to connect to 128 targets.
    assert_eq!((requests.len(), server.count(), server.requested), (128, 0, 128));
    assert_eq!(server.accept(requests[0]), Err(ChannelError::Closed));
    server.refuse(requests[1], OpenStatus::Refused, "");
    for &id in &requests[2..] {
        server.reset(id, CloseCode::Reset, "");
    }
    server.reset(requests[3], CloseCode::Reset, "");
    assert_eq!((server.requested, server.abandoned.len()), (0, 0));
}

#[test]
fn few_bytes_keep_no_large_buffer() {
    let mut server = attacked();
    let mut data = Zeroizing::new(Vec::with_capacity(17 * 16_384));
    data.extend_from_slice(b"xy");
    server.handle_data(1, StreamKind::Data, data).unwrap();
    let state::Channel::Live(live) = &server.channels[&1] else { panic!() };
    assert!(live.received[0].1.capacity() <= 4096);
    // The buffer is used for something else.
    assert!(server.take_large_buffer().is_some_and(|buffer| buffer.is_empty()));
    // A buffer that is a quarter full stays.
    let mut data = Zeroizing::new(Vec::with_capacity(40_000));
    data.extend_from_slice(&[7; 10_000]);
    let place = data.as_ptr();
    server.receive(1).unwrap();
    server.handle_data(1, StreamKind::Data, data).unwrap();
    assert_eq!(server.receive(1).unwrap().1.as_ptr(), place);
}
