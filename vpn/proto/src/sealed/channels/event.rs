//! The events of channels, for the caller.

use super::frame::{Answer, ChannelExit, CloseCode, OpenStatus, Question};

/// An event of the channels of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The peer wants to open a channel. Answer with [`Channels::accept`](super::Channels::accept)
    /// or [`Channels::refuse`](super::Channels::refuse).
    Requested {
        /// The channel.
        id: u32,
        /// What it is for.
        kind: String,
        /// The argument.
        argument: Vec<u8>,
    },
    /// The peer has accepted our channel.
    Accepted {
        /// The channel.
        id: u32,
    },
    /// The peer has refused our channel, which is over.
    Refused {
        /// The channel.
        id: u32,
        /// Why.
        status: OpenStatus,
        /// The reason as text.
        text: String,
    },
    /// There is something to receive: bytes, or the end.
    Readable {
        /// The channel.
        id: u32,
    },
    /// There is room to send.
    Writable {
        /// The channel.
        id: u32,
    },
    /// The command of the channel has ended.
    Exit {
        /// The channel.
        id: u32,
        /// How.
        exit: ChannelExit,
    },
    /// The channel is over. After [`CloseCode::Normal`] the peer has handed over every byte.
    Closed {
        /// The channel.
        id: u32,
        /// Why.
        code: CloseCode,
        /// The reason as text.
        text: String,
    },
    /// The peer asks something. Answer with [`Channels::answer`](super::Channels::answer).
    Asked {
        /// The number of the question.
        number: u32,
        /// The question.
        question: Question,
    },
    /// The peer has answered our question.
    Answered {
        /// The number of the question.
        number: u32,
        /// The answer.
        answer: Answer,
    },
}
