//! Every wrong frame has its error.

use super::*;

/// A name, frames of a wrong peer, and the error that the last one causes at a server with channel 1
/// open.
type Case = (&'static str, Vec<(u8, Vec<u8>)>, &'static str);

fn frame(kind: u8, id: u8, rest: &[u8]) -> (u8, Vec<u8>) {
    (kind, [&[0, 0, 0, id][..], rest].concat())
}

fn open(id: u8) -> (u8, Vec<u8>) {
    frame(0x20, id, &[0, 0, 0, 9, 1, b'x', 0, 0])
}

fn data(id: u8, length: usize) -> (u8, Vec<u8>) {
    frame(0x22, id, &vec![0; length])
}

fn eof(id: u8) -> (u8, Vec<u8>) {
    frame(0x24, id, &[])
}

fn close(id: u8, code: u8) -> (u8, Vec<u8>) {
    frame(0x25, id, &[code, 0])
}

/// Frames out of order.
fn frames_out_of_order() -> Vec<Case> {
    vec![
        ("an even identifier of a client", vec![open(2)], "identifier of a new channel"),
        ("the identifier 0", vec![open(0)], "identifier of a new channel"),
        ("an identifier again", vec![open(1)], "identifier of a new channel"),
        ("a lower identifier", vec![open(7), open(5)], "identifier of a new channel"),
        ("data of no channel", vec![data(3, 1)], "a channel that is not open"),
        ("an end of no channel", vec![eof(3)], "a channel that is not open"),
        ("credit of no channel", vec![frame(0x23, 3, &[0, 0, 0, 1])], "a channel that is not open"),
        ("a close of no channel", vec![close(3, 1)], "a channel that is not open"),
        (
            "an exit of no channel",
            vec![frame(0x26, 3, &[2, 0, 0, 0, 0, 0])],
            "a channel that is not open",
        ),
        ("an answer of no channel", vec![frame(0x21, 3, &[0; 6])], "a channel that is not open"),
        ("an answer to no request", vec![frame(0x21, 1, &[0; 6])], "an answer to no request"),
        ("data behind its end", vec![eof(1), data(1, 1)], "data behind its end"),
        ("two ends", vec![eof(1), eof(1)], "a second end of a channel"),
        (
            "an exit of an opener",
            vec![frame(0x26, 1, &[2, 0, 0, 0, 0, 0])],
            "a note of a channel without notes",
        ),
        (
            "standard error of an opener",
            vec![frame(0x26, 1, &[1, 7])],
            "a note of a channel without notes",
        ),
        (
            "data beyond the credit",
            vec![data(1, 16_380), data(1, 16_380), data(1, 16_380), data(1, 16_380), data(1, 17)],
            "more data than credit",
        ),
        ("a normal close without an end", vec![close(1, 0)], "a channel closed before its end"),
        (
            "a normal close before our end",
            vec![eof(1), close(1, 0)],
            "a channel closed before its end",
        ),
        ("a frame behind a close", vec![close(1, 1), data(1, 1)], "a channel that is not open"),
        ("two closes", vec![close(1, 1), close(1, 1)], "a channel that is not open"),
    ]
}

/// Fields with values that may not be.
fn wrong_fields() -> Vec<Case> {
    vec![
        ("data of no bytes", vec![data(1, 0)], "data of no bytes"),
        ("a note of no bytes", vec![frame(0x26, 1, &[1])], "data of no bytes"),
        ("credit of no bytes", vec![frame(0x23, 1, &[0; 4])], "a credit of 0"),
        ("credit of 2^31", vec![frame(0x23, 1, &[0x80, 0, 0, 0])], "too much credit"),
        (
            "credit of 2^31 - 1 again",
            vec![frame(0x23, 1, &[0x7f, 0xff, 0xff, 0xff])],
            "too much credit",
        ),
        (
            "an opening credit of 2^31",
            vec![(0x20, vec![0, 0, 0, 3, 0x80, 0, 0, 0, 1, b'x', 0, 0])],
            "too much credit",
        ),
        ("an unknown note", vec![frame(0x26, 1, &[3])], "subject of a note"),
        ("an unknown exit", vec![frame(0x26, 1, &[2, 2, 0, 0, 0, 0])], "end of a command"),
        ("an empty kind", vec![(0x20, vec![0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0])], "kind of a channel"),
        (
            "a kind with a capital",
            vec![(0x20, vec![0, 0, 0, 3, 0, 0, 0, 9, 1, b'X', 0, 0])],
            "kind of a channel",
        ),
        ("a text that is not UTF-8", vec![frame(0x25, 1, &[1, 1, 0xff])], "text of a channel"),
        ("bytes left over", vec![frame(0x24, 1, &[0])], "trailing bytes"),
        ("a frame cut off", vec![(0x24, vec![0, 0, 0])], "a field is cut off"),
        ("an unknown question", vec![frame(0x27, 1, &[9])], "question"),
        ("a question with the number 0", vec![frame(0x27, 0, &[2, 0, 0, 0, 0])], "a question"),
        (
            "a question again",
            vec![frame(0x27, 1, &[2, 0, 0, 0, 0]), frame(0x27, 1, &[2, 0, 0, 0, 0])],
            "a question",
        ),
        ("an answer to no question", vec![frame(0x27, 1, &[0x82, 0])], "an answer to no question"),
    ]
}

#[test]
fn every_wrong_frame_has_its_error() {
    for (name, frames, error) in frames_out_of_order().into_iter().chain(wrong_fields()) {
        let mut server = attacked();
        let (last, before) = frames.split_last().unwrap();
        deliver(before, &mut server).unwrap_or_else(|error| panic!("{name}: {error}"));
        let wrong = deliver(std::slice::from_ref(last), &mut server);
        match wrong {
            Err(SealedError::Malformed(got)) => assert_eq!(got, error, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}
