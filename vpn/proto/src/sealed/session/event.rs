//! The events of a session.

use zeroize::Zeroizing;

use crate::sealed::alert::Alert;
use crate::sealed::channels::{Frame, StreamKind};

/// An event of a session, for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client asks for a service. Answer with
    /// [`Session::reply_open`](super::Session::reply_open).
    Open {
        /// The name of the service.
        service: String,
        /// The argument for the service.
        argument: Vec<u8>,
    },
    /// The server answered the request for a service.
    OpenReply {
        /// 0 if the service is open, or a code for the reason.
        status: u8,
        /// The reason as text.
        text: String,
    },
    /// Data from the peer. Wiped on drop.
    Data(Zeroizing<Vec<u8>>),
    /// Data of a channel, from one frame or more. Wiped on drop.
    ChannelData {
        /// The channel.
        id: u32,
        /// The stream of the data.
        stream: StreamKind,
        /// The data.
        data: Zeroizing<Vec<u8>>,
    },
    /// Another frame of channels, for [`Channels::handle`](crate::sealed::Channels::handle).
    Frame(Frame<'static>),
    /// The peer will send no more data.
    Eof,
    /// The peer ended the session and waits for our answer. Call
    /// [`Session::close`](super::Session::close) when all its data was delivered, or with another
    /// alert if it was not. Without an answer the peer counts the session as cut.
    CloseRequested,
    /// The peer ended the session after we did.
    Closed,
    /// The peer sent another alert: it ended the session, or will end it soon.
    Alert(Alert),
    /// The answer to a ping, with the payload of the ping.
    Pong(Vec<u8>),
    /// The client started a new key exchange with this share. Answer with
    /// [`Session::answer_exchange`](super::Session::answer_exchange).
    ExchangeWanted(Vec<u8>),
    /// The server answered a new key exchange with this share. Continue with
    /// [`Session::finish_exchange`](super::Session::finish_exchange). Nothing else is read before
    /// that.
    ExchangeAnswered(Vec<u8>),
}
