//! Frames are read as they were written.

use super::*;

/// A frame of every form.
fn all() -> Vec<Frame<'static>> {
    let id = 7;
    let text = || "nö".into();
    let mut all = vec![
        Frame::Open { id, credit: 9, kind: "a.b@c-1".into(), argument: vec![0, 255].into() },
        Frame::Credit { id, more: 1 },
        Frame::Eof { id },
        Frame::Exit { id, exit: ChannelExit::Code(u32::MAX) },
        Frame::Exit { id, exit: ChannelExit::Signal(9) },
        Frame::Ask { number: 1, question: Question::Listen("[::1]:0".to_owned()) },
        Frame::Ask { number: 2, question: Question::Unlisten(1) },
        Frame::Answer { number: 1, answer: Answer::Listening { port: 65_535 } },
        Frame::Answer { number: 2, answer: Answer::Unlistened(None) },
    ];
    for stream in [StreamKind::Data, StreamKind::StandardError] {
        all.push(Frame::Data { id, stream, data: b"x".into() });
    }
    for code in 0..=255 {
        let refusal = OpenStatus::from_code(code);
        all.push(Frame::Reply { id, refusal, credit: 3, text: text() });
        all.push(Frame::Answer { number: 3, answer: Answer::Unlistened(refusal) });
        if let Some(status) = refusal {
            let answer = Answer::NotListening { status, text: "nö".to_owned() };
            all.push(Frame::Answer { number: 4, answer });
        }
    }
    for code in [
        CloseCode::Normal,
        CloseCode::Reset,
        CloseCode::Policy,
        CloseCode::Draining,
        CloseCode::Unknown(4),
        CloseCode::Unknown(255),
    ] {
        all.push(Frame::Close { id, code, text: text() });
    }
    all
}

fn written(frame: &Frame<'_>) -> (u8, Vec<u8>) {
    let (kind, mut payload) = frame.header();
    if let Frame::Data { data, .. } = frame {
        payload.extend_from_slice(data);
    }
    (kind, payload)
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    for frame in all() {
        let (kind, payload) = written(&frame);
        let read = Frame::parse(kind, &payload).unwrap();
        assert_eq!(read, frame);
        assert_eq!(read.into_owned(), frame);
        // Each frame has its length, except for data.
        if !matches!(frame, Frame::Data { .. }) {
            let longer = [&payload[..], &[0]].concat();
            assert_eq!(Frame::parse(kind, &longer), Err(SealedError::Malformed("trailing bytes")));
        }
        for length in 0..payload.len() {
            assert!(Frame::parse(kind, &payload[..length]).is_err(), "{frame:?} cut to {length}");
        }
    }
}

#[test]
fn codes_have_their_numbers() {
    let known = [
        OpenStatus::NotPermitted,
        OpenStatus::Refused,
        OpenStatus::Unreachable,
        OpenStatus::NoSuchName,
        OpenStatus::Timeout,
        OpenStatus::TooMany,
        OpenStatus::UnknownKind,
        OpenStatus::Unknown(8),
    ];
    assert_eq!(known.map(OpenStatus::code), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(OpenStatus::from_code(0), None);
    let ends = [CloseCode::Normal, CloseCode::Reset, CloseCode::Policy, CloseCode::Draining];
    assert_eq!(ends.map(CloseCode::code), [0, 1, 2, 3]);
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let text = "é".repeat(200);
    let close = Frame::Close { id: 1, code: CloseCode::Reset, text: text.as_str().into() };
    let (kind, payload) = close.header();
    let Ok(Frame::Close { text: read, .. }) = Frame::parse(kind, &payload) else { panic!() };
    assert_eq!(*read, text[..254]);
}

#[test]
fn other_types_are_no_frames() {
    for got in [0x17, 0x1f, 0x28] {
        let expected = Err(SealedError::Unexpected { expected: 0x22, got });
        assert_eq!(Frame::parse(got, &[0; 20]), expected);
    }
}
