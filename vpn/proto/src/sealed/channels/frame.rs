//! The frames of channels (PROTOCOL.md §4.10). A record has exactly one frame.

use std::borrow::Cow;

use crate::sealed::error::SealedError;
use crate::sealed::record::{MAX_PAYLOAD, content};
use crate::sealed::wire::{Reader, put_long, put_short};

/// The longest name of a kind in bytes.
const MAX_KIND: usize = 32;
/// The size of the identifier in front of the data, in bytes.
pub(super) const ID: usize = 4;
/// The most bytes of data in a frame.
pub const MAX_DATA: usize = MAX_PAYLOAD - ID;
/// The most bytes of a note with standard error.
pub(super) const MAX_NOTE: usize = MAX_DATA - 1;
/// What a note is about.
const STANDARD_ERROR: u8 = 1;
const EXIT: u8 = 2;
/// Marks the answer to a question.
const ANSWER: u8 = 0x80;

/// Why a channel was not opened: the status of ChanReply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenStatus {
    /// The client's line in `authorized_clients` does not permit it.
    NotPermitted,
    /// The target refuses connections.
    Refused,
    /// The target cannot be reached.
    Unreachable,
    /// The target's name does not exist.
    NoSuchName,
    /// The target does not answer in time.
    Timeout,
    /// There are too many channels.
    TooMany,
    /// The peer does not know this kind of channel.
    UnknownKind,
    /// A code that this version does not know.
    Unknown(u8),
}

impl OpenStatus {
    /// The code on the wire. It is not 0.
    pub fn code(self) -> u8 {
        match self {
            Self::NotPermitted => 1,
            Self::Refused => 2,
            Self::Unreachable => 3,
            Self::NoSuchName => 4,
            Self::Timeout => 5,
            Self::TooMany => 6,
            Self::UnknownKind => 7,
            Self::Unknown(code) => code,
        }
    }

    /// The status of a code; `None` for 0, which is success.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::NotPermitted,
            2 => Self::Refused,
            3 => Self::Unreachable,
            4 => Self::NoSuchName,
            5 => Self::Timeout,
            6 => Self::TooMany,
            7 => Self::UnknownKind,
            code => Self::Unknown(code),
        })
    }
}

/// Why a channel ended: the code of ChanClose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// Both directions have ended, and the sender has handed over everything.
    Normal,
    /// The sender does not go on with the channel. Bytes may be lost.
    Reset,
    /// A rule of the sender forbids it.
    Policy,
    /// The sender stops.
    Draining,
    /// A code that this version does not know. It counts as a reset.
    Unknown(u8),
}

impl CloseCode {
    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Reset => 1,
            Self::Policy => 2,
            Self::Draining => 3,
            Self::Unknown(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Normal,
            1 => Self::Reset,
            2 => Self::Policy,
            3 => Self::Draining,
            code => Self::Unknown(code),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelExit {
    /// It returned this code.
    Code(u32),
    /// This signal ended it.
    Signal(u32),
}

/// Which stream data belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// The data of the channel, ChanData.
    Data,
    /// Standard error of a command, a note.
    StandardError,
}

/// A question to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Listen at this address: `host:port`, `[address]:port` or an absolute path.
    Listen(String),
    /// End the listener with this number.
    Unlisten(u32),
}

impl Question {
    /// Whether this is an answer to it.
    pub(super) fn fits(&self, answer: &Answer) -> bool {
        match self {
            Self::Listen(_) => !matches!(answer, Answer::Unlistened(_)),
            Self::Unlisten(_) => matches!(answer, Answer::Unlistened(_)),
        }
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The listener is there.
    Listening {
        /// Its port; 0 for a path.
        port: u16,
    },
    /// There is no such listener.
    NotListening {
        /// Why.
        status: OpenStatus,
        /// The reason as text.
        text: String,
    },
    /// The listener has ended. `None` is success.
    Unlistened(Option<OpenStatus>),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// ChanOpen: a new channel.
    Open {
        /// The channel.
        id: u32,
        /// The bytes that the acceptor may send.
        credit: u32,
        /// What the channel is for.
        kind: Cow<'a, str>,
        /// The argument for it.
        argument: Cow<'a, [u8]>,
    },
    /// ChanReply: the answer to ChanOpen. `refusal` is `None` if the channel is accepted.
    Reply {
        /// The channel.
        id: u32,
        /// Why it is refused.
        refusal: Option<OpenStatus>,
        /// The bytes that the opener may send, besides the first 65,536.
        credit: u32,
        /// The reason as text.
        text: Cow<'a, str>,
    },
    /// ChanData, or ChanNote with standard error.
    Data {
        /// The channel.
        id: u32,
        /// The stream of the data.
        stream: StreamKind,
        /// At least one byte.
        data: Cow<'a, [u8]>,
    },
    /// ChanCredit: the receiver may send more.
    Credit {
        /// The channel.
        id: u32,
        /// Bytes, not 0.
        more: u32,
    },
    /// ChanEof: the sender's direction has ended.
    Eof {
        /// The channel.
        id: u32,
    },
    /// ChanClose: the sender has ended the channel.
    Close {
        /// The channel.
        id: u32,
        /// Why.
        code: CloseCode,
        /// The reason as text.
        text: Cow<'a, str>,
    },
    /// ChanNote: how a command ended.
    Exit {
        /// The channel.
        id: u32,
        /// The end of the command.
        exit: ChannelExit,
    },
    /// A question.
    Ask {
        /// Its number.
        number: u32,
        /// The question.
        question: Question,
    },
    /// The answer to a question.
    Answer {
        /// The number of the question.
        number: u32,
        /// The answer.
        answer: Answer,
    },
}

impl<'a> Frame<'a> {
    /// Reads the payload of a record of this type.
    ///
    /// # Errors
    ///
    /// [`SealedError::Malformed`] if the frame has the wrong form.
    pub fn parse(kind: u8, payload: &'a [u8]) -> Result<Self, SealedError> {
        let mut reader = Reader::new(payload);
        let id = reader.u32()?;
        let frame = match kind {
            content::CHAN_OPEN => Self::Open {
                id,
                credit: reader.u32()?,
                kind: Cow::Borrowed(kind_name(reader.short()?)?),
                argument: Cow::Borrowed(reader.long()?),
            },
            content::CHAN_REPLY => Self::Reply {
                id,
                refusal: OpenStatus::from_code(reader.u8()?),
                credit: reader.u32()?,
                text: Cow::Borrowed(text(reader.short()?)?),
            },
            content::CHAN_DATA => {
                Self::Data { id, stream: StreamKind::Data, data: data(reader.take_rest())? }
            }
            content::CHAN_CREDIT => match reader.u32()? {
                0 => return Err(SealedError::Malformed("a credit of 0")),
                more => Self::Credit { id, more },
            },
            content::CHAN_EOF => Self::Eof { id },
            content::CHAN_CLOSE => Self::Close {
                id,
                code: CloseCode::from_code(reader.u8()?),
                text: Cow::Borrowed(text(reader.short()?)?),
            },
            content::CHAN_NOTE => match reader.u8()? {
                STANDARD_ERROR => Self::Data {
                    id,
                    stream: StreamKind::StandardError,
                    data: data(reader.take_rest())?,
                },
                EXIT => Self::Exit { id, exit: exit(&mut reader)? },
                _ => return Err(SealedError::Malformed("subject of a note")),
            },
            content::ASK => question_or_answer(id, &mut reader)?,
            _ => return Err(SealedError::Unexpected { expected: content::CHAN_DATA, got: kind }),
        };
        reader.finish()?;
        Ok(frame)
    }

    /// The frame with its own memory.
    pub fn into_owned(self) -> Frame<'static> {
        let text = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Open { id, credit, kind, argument } => {
                let argument = Cow::Owned(argument.into_owned());
                Frame::Open { id, credit, kind: text(kind), argument }
            }
            Self::Reply { id, refusal, credit, text: reason } => {
                Frame::Reply { id, refusal, credit, text: text(reason) }
            }
            Self::Data { id, stream, data } => {
                Frame::Data { id, stream, data: Cow::Owned(data.into_owned()) }
            }
            Self::Credit { id, more } => Frame::Credit { id, more },
            Self::Eof { id } => Frame::Eof { id },
            Self::Close { id, code, text: reason } => Frame::Close { id, code, text: text(reason) },
            Self::Exit { id, exit } => Frame::Exit { id, exit },
            Self::Ask { number, question } => Frame::Ask { number, question },
            Self::Answer { number, answer } => Frame::Answer { number, answer },
        }
    }

    /// The type of the record, and the payload up to the data of [`Frame::Data`]. The data follows.
    pub fn header(&self) -> (u8, Vec<u8>) {
        let mut to = Vec::new();
        let kind = match self {
            Self::Open { id, credit, kind, argument } => {
                put_u32s(&mut to, [*id, *credit]);
                put_short(&mut to, kind.as_bytes());
                put_long(&mut to, argument);
                content::CHAN_OPEN
            }
            Self::Reply { id, refusal, credit, text } => {
                put_u32s(&mut to, [*id]);
                to.push(refusal.map_or(0, OpenStatus::code));
                put_u32s(&mut to, [*credit]);
                put_text(&mut to, text);
                content::CHAN_REPLY
            }
            Self::Data { id, stream, .. } => {
                let (kind, header) = data_header(*id, *stream);
                return (kind, header.as_slice().to_vec());
            }
            Self::Credit { id, more } => {
                put_u32s(&mut to, [*id, *more]);
                content::CHAN_CREDIT
            }
            Self::Eof { id } => {
                put_u32s(&mut to, [*id]);
                content::CHAN_EOF
            }
            Self::Close { id, code, text } => {
                put_u32s(&mut to, [*id]);
                to.push(code.code());
                put_text(&mut to, text);
                content::CHAN_CLOSE
            }
            Self::Exit { id, exit } => {
                let (what, number) = match exit {
                    ChannelExit::Code(code) => (0, *code),
                    ChannelExit::Signal(signal) => (1, *signal),
                };
                put_u32s(&mut to, [*id]);
                to.extend_from_slice(&[EXIT, what]);
                put_u32s(&mut to, [number]);
                content::CHAN_NOTE
            }
            Self::Ask { number, question } => {
                put_u32s(&mut to, [*number]);
                put_question(&mut to, question);
                content::ASK
            }
            Self::Answer { number, answer } => {
                put_u32s(&mut to, [*number]);
                put_answer(&mut to, answer);
                content::ASK
            }
        };
        (kind, to)
    }
}

/// The type of the record and the header of a frame with data, as [`Frame::header`].
pub(super) fn data_header(id: u32, stream: StreamKind) -> (u8, DataHeader) {
    let [a, b, c, d] = id.to_be_bytes();
    let bytes = [a, b, c, d, STANDARD_ERROR];
    match stream {
        StreamKind::Data => (content::CHAN_DATA, DataHeader { bytes, length: ID }),
        StreamKind::StandardError => (content::CHAN_NOTE, DataHeader { bytes, length: ID + 1 }),
    }
}

/// The bytes in front of the data of a frame.
pub(super) struct DataHeader {
    bytes: [u8; ID + 1],
    length: usize,
}

impl DataHeader {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The most bytes of data in one frame of this stream.
pub(super) fn max_data(stream: StreamKind) -> usize {
    match stream {
        StreamKind::Data => MAX_DATA,
        StreamKind::StandardError => MAX_NOTE,
    }
}

fn put_u32s<const N: usize>(to: &mut Vec<u8>, numbers: [u32; N]) {
    for number in numbers {
        to.extend_from_slice(&number.to_be_bytes());
    }
}

/// Appends a text with a length field of one byte. A longer text is cut.
fn put_text(to: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u8::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_short(to, &text.as_bytes()[..end]);
}

fn put_question(to: &mut Vec<u8>, question: &Question) {
    match question {
        Question::Listen(address) => {
            to.push(1);
            put_long(to, address.as_bytes());
        }
        Question::Unlisten(number) => {
            to.push(2);
            put_u32s(to, [*number]);
        }
    }
}

fn put_answer(to: &mut Vec<u8>, answer: &Answer) {
    let code = |status: &Option<OpenStatus>| status.map_or(0, OpenStatus::code);
    match answer {
        Answer::Listening { port } => {
            to.extend_from_slice(&[ANSWER | 1, 0]);
            to.extend_from_slice(&port.to_be_bytes());
            put_text(to, "");
        }
        Answer::NotListening { status, text } => {
            to.extend_from_slice(&[ANSWER | 1, status.code(), 0, 0]);
            put_text(to, text);
        }
        Answer::Unlistened(status) => to.extend_from_slice(&[ANSWER | 2, code(status)]),
    }
}

fn question_or_answer(number: u32, reader: &mut Reader<'_>) -> Result<Frame<'static>, SealedError> {
    let question = |question| Frame::Ask { number, question };
    let answer = |answer| Frame::Answer { number, answer };
    Ok(match reader.u8()? {
        1 => question(Question::Listen(text(reader.long()?)?.to_owned())),
        2 => question(Question::Unlisten(reader.u32()?)),
        0x81 => {
            let (status, port) = (OpenStatus::from_code(reader.u8()?), reader.u16()?);
            let text = text(reader.short()?)?.to_owned();
            answer(match status {
                None => Answer::Listening { port },
                Some(status) => Answer::NotListening { status, text },
            })
        }
        0x82 => answer(Answer::Unlistened(OpenStatus::from_code(reader.u8()?))),
        _ => return Err(SealedError::Malformed("question")),
    })
}

fn exit(reader: &mut Reader<'_>) -> Result<ChannelExit, SealedError> {
    match (reader.u8()?, reader.u32()?) {
        (0, code) => Ok(ChannelExit::Code(code)),
        (1, signal) => Ok(ChannelExit::Signal(signal)),
        _ => Err(SealedError::Malformed("end of a command")),
    }
}

fn kind_name(name: &[u8]) -> Result<&str, SealedError> {
    let is_allowed = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'@' | b'-');
    if name.is_empty() || name.len() > MAX_KIND || !name.iter().all(is_allowed) {
        return Err(SealedError::Malformed("kind of a channel"));
    }
    text(name)
}

fn text(bytes: &[u8]) -> Result<&str, SealedError> {
    str::from_utf8(bytes).map_err(|_| SealedError::Malformed("text of a channel"))
}

fn data(bytes: &[u8]) -> Result<Cow<'_, [u8]>, SealedError> {
    match bytes {
        [] => Err(SealedError::Malformed("data of no bytes")),
        bytes => Ok(Cow::Borrowed(bytes)),
    }
}
