//! Frames in words, for explanations and logs. Control characters of the peer are escaped.

use std::fmt;

use super::frame::{Answer, ChannelExit, CloseCode, Frame, OpenStatus, Question, StreamKind};
use crate::text::Printable;

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { id, credit, kind, argument } => {
                let argument = Printable(argument);
                write!(f, "ChanOpen: channel {id} for {kind} '{argument}'")?;
                write!(f, "; the other side may send {credit} bytes on it")
            }
            Self::Reply { id, refusal: None, credit, .. } => {
                write!(f, "ChanReply: channel {id} is accepted")?;
                write!(f, "; besides the first 65536 bytes, {credit} more may be sent")
            }
            Self::Reply { id, refusal: Some(status), text, .. } => {
                write!(f, "ChanReply: channel {id} is refused, {status}")?;
                reason(f, text)
            }
            Self::Data { id, stream: StreamKind::Data, data } => {
                write!(f, "ChanData: {} bytes of channel {id}", data.len())
            }
            Self::Data { id, stream: StreamKind::StandardError, data } => {
                write!(f, "ChanNote: {} bytes of standard error of channel {id}", data.len())
            }
            Self::Credit { id, more } => {
                write!(f, "ChanCredit: {more} more bytes may be sent on channel {id}")
            }
            Self::Eof { id } => write!(f, "ChanEof: this direction of channel {id} has ended"),
            Self::Close { id, code: CloseCode::Normal, .. } => {
                write!(f, "ChanClose: channel {id} is over, and every byte was handed over")
            }
            Self::Close { id, code, text } => {
                write!(f, "ChanClose: channel {id} is reset, code {}", code.code())?;
                reason(f, text)
            }
            Self::Exit { id, exit: ChannelExit::Code(code) } => {
                write!(f, "ChanNote: the command of channel {id} ended with {code}")
            }
            Self::Exit { id, exit: ChannelExit::Signal(signal) } => {
                write!(f, "ChanNote: signal {signal} ended the command of channel {id}")
            }
            Self::Ask { number, question: Question::Listen(at) } => {
                write!(f, "Ask {number}: listen at {}", Printable(at.as_bytes()))
            }
            Self::Ask { number, question: Question::Unlisten(listen) } => {
                write!(f, "Ask {number}: end the listener of Ask {listen}")
            }
            Self::Answer { number, answer } => {
                write!(f, "Answer to Ask {number}: ")?;
                match answer {
                    Answer::Listening { port } => write!(f, "listening, port {port}"),
                    Answer::NotListening { status, text } => {
                        write!(f, "not listening, {status}")?;
                        reason(f, text)
                    }
                    Answer::Unlistened(None) => f.write_str("the listener has ended"),
                    Answer::Unlistened(Some(status)) => write!(f, "{status}"),
                }
            }
        }
    }
}

/// Appends the reason of a peer, if it gives one.
fn reason(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text {
        "" => Ok(()),
        text => write!(f, ": {}", Printable(text.as_bytes())),
    }
}

impl fmt::Display for OpenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPermitted => "not permitted",
            Self::Refused => "connection refused, or in use",
            Self::Unreachable => "unreachable",
            Self::NoSuchName => "there is no such name",
            Self::Timeout => "no answer in time",
            Self::TooMany => "too many",
            Self::UnknownKind => "unknown kind",
            Self::Unknown(code) => return write!(f, "code {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// Frames, and their lines.
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn lines() -> Vec<(Frame<'static>, &'static str)> {
        let text = Cow::Borrowed;
        vec![
            (
                Frame::Open { id: 1, credit: 9, kind: text("forward"), argument: b"a:80\n".into() },
                "ChanOpen: channel 1 for forward 'a:80\\n'; the other side may send 9 bytes on it",
            ),
            (
                Frame::Reply { id: 1, refusal: None, credit: 5, text: text("") },
                "ChanReply: channel 1 is accepted; besides the first 65536 bytes, 5 more may be sent",
            ),
            (
                Frame::Reply {
                    id: 1,
                    refusal: Some(OpenStatus::NoSuchName),
                    credit: 0,
                    text: text("no\x1b"),
                },
                "ChanReply: channel 1 is refused, there is no such name: no\\x1b",
            ),
            (
                Frame::Data { id: 1, stream: StreamKind::Data, data: b"abc".into() },
                "ChanData: 3 bytes of channel 1",
            ),
            (
                Frame::Data { id: 1, stream: StreamKind::StandardError, data: b"abc".into() },
                "ChanNote: 3 bytes of standard error of channel 1",
            ),
            (Frame::Credit { id: 1, more: 7 }, "ChanCredit: 7 more bytes may be sent on channel 1"),
            (Frame::Eof { id: 1 }, "ChanEof: this direction of channel 1 has ended"),
            (
                Frame::Close { id: 1, code: CloseCode::Normal, text: text("") },
                "ChanClose: channel 1 is over, and every byte was handed over",
            ),
            (
                Frame::Close { id: 1, code: CloseCode::Policy, text: text("") },
                "ChanClose: channel 1 is reset, code 2",
            ),
            (
                Frame::Exit { id: 1, exit: ChannelExit::Code(3) },
                "ChanNote: the command of channel 1 ended with 3",
            ),
            (
                Frame::Exit { id: 1, exit: ChannelExit::Signal(9) },
                "ChanNote: signal 9 ended the command of channel 1",
            ),
            (
                Frame::Ask { number: 2, question: Question::Listen("localhost:0".to_owned()) },
                "Ask 2: listen at localhost:0",
            ),
            (
                Frame::Ask { number: 3, question: Question::Unlisten(2) },
                "Ask 3: end the listener of Ask 2",
            ),
            (
                Frame::Answer { number: 2, answer: Answer::Listening { port: 80 } },
                "Answer to Ask 2: listening, port 80",
            ),
            (
                Frame::Answer {
                    number: 2,
                    answer: Answer::NotListening {
                        status: OpenStatus::Refused,
                        text: "taken".to_owned(),
                    },
                },
                "Answer to Ask 2: not listening, connection refused, or in use: taken",
            ),
            (
                Frame::Answer { number: 3, answer: Answer::Unlistened(None) },
                "Answer to Ask 3: the listener has ended",
            ),
            (
                Frame::Answer {
                    number: 3,
                    answer: Answer::Unlistened(Some(OpenStatus::Unknown(99))),
                },
                "Answer to Ask 3: code 99",
            ),
        ]
    }

    #[test]
    fn frames_are_one_line_with_escaped_texts() {
        for (frame, line) in lines() {
            assert_eq!(frame.to_string(), line);
        }
    }
}
