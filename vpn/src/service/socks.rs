//! The server's side of SOCKS5 (RFC 1928), up to the reply. It knows nothing of channels.
//!
//! The only method is "no authentication", and the only command is CONNECT. Names are not looked up
//! here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fast_socks5::server::{NoAuthentication, Socks5ServerProtocol, SocksServerError};
use fast_socks5::util::target_addr::{AddrError, TargetAddr};
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::limits::{CLOSE, SOCKS};
use crate::net::{lingering_close, send};
use crate::output::Reason;
use crate::session::Target;
use crate::trust::Host;

/// The version of the protocol, the first byte of every message.
const VERSION: u8 = 5;
/// A greeting or a request has at most this many bytes.
const READ: usize = 262;
/// The first byte of SOCKS4.
const VERSION_4: u8 = 4;

/// A client of a SOCKS5 proxy that waits for the reply.
#[derive(Debug)]
pub(super) struct SocksRequest {
    /// What the client wants to be connected to: `host:port`, or `[address]:port` for an IPv6 address.
    /// A name is in lower case and has no dot at its end.
    pub(super) target: String,
    stream: TcpStream,
    /// What the client has sent behind its request.
    early: Vec<u8>,
}

/// Why a target is not reached, as SOCKS5 says it (RFC 1928 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocksReply {
    /// Something else failed.
    GeneralFailure,
    /// A rule forbids it.
    NotAllowed,
    /// The network of the target cannot be reached.
    NetworkUnreachable,
    /// The host cannot be reached, or there is no host of the name.
    HostUnreachable,
    /// The host refuses the connection.
    ConnectionRefused,
    /// The host did not answer in time.
    TimedOut,
}

/// Why there is no request. The client has been told as far as SOCKS5 has words for it, and the
/// connection is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocksError {
    /// The connection failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// The client closed before its request was complete.
    #[error("the client closed before it had said what it wants")]
    Closed,
    /// The client took too long.
    #[error("the client did not say what it wants in time")]
    TimedOut,
    /// The client speaks SOCKS4.
    #[error("the client speaks SOCKS4, and this is a SOCKS5 proxy; with curl, use socks5h://")]
    Socks4,
    /// The client speaks to an HTTP proxy.
    #[error(
        "the client wants an HTTP proxy, and this is a SOCKS5 proxy; with curl, use socks5h://"
    )]
    Http,
    /// The client speaks another protocol.
    #[error("the client does not speak SOCKS5 (its first byte is {0:02x}h)")]
    OtherProtocol(u8),
    /// The client wants to authenticate.
    #[error("the client insists on authentication, which this proxy does not have")]
    NoMethod,
    /// The client wants something else than CONNECT.
    #[error("the client wants something else than a TCP connection")]
    Command,
    /// The client uses a type of address that does not exist.
    #[error("the client uses an unknown type of address")]
    AddressType,
    /// The target is no host and port.
    #[error("{0}")]
    Target(String),
}

/// Hears what the client of a SOCKS5 proxy wants. The client has 10 seconds. A wrong request is answered
/// and the connection closed.
///
/// The log has a warning about a client that speaks SOCKS4 or HTTP. Other errors are for the caller to
/// log.
///
/// # Errors
///
/// [`SocksError`] if there is no request that could be fulfilled.
pub(super) async fn negotiate(stream: TcpStream) -> Result<SocksRequest, SocksError> {
    negotiate_within(stream, SOCKS).await
}

async fn negotiate_within(stream: TcpStream, within: Duration) -> Result<SocksRequest, SocksError> {
    let mut buffered = Unanswered { stream, read: Vec::new(), taken: 0 };
    let result = timeout(within, read_request(&mut buffered)).await;
    let Unanswered { stream, mut read, taken } = buffered;
    let error = match result.unwrap_or(Err(SocksError::TimedOut)) {
        Ok(target) => {
            let early = read.split_off(taken);
            return Ok(SocksRequest { target, stream, early });
        }
        Err(error) => error,
    };
    if matches!(error, SocksError::Socks4 | SocksError::Http) {
        log::warn!("SOCKS proxy: {error}");
    }
    match error.answer() {
        Some(answer) => say(stream, &answer).await,
        None if error.is_over() => {}
        None => lingering_close(stream).await,
    }
    Err(error)
}

/// Reads the request, and answers the choice of a method on the way. The result is the target.
async fn read_request(stream: &mut Unanswered) -> Result<String, SocksError> {
    let protocol = Socks5ServerProtocol::start(&mut *stream);
    protocol.negotiate_auth(&[NoAuthentication]).await.map_err(SocksError::of)?;
    send(&mut stream.stream, &[VERSION, 0], CLOSE).await?;
    // The method was negotiated above. This is the state behind it.
    let protocol = Socks5ServerProtocol::skip_auth_this_is_not_rfc_compliant(stream);
    let (_, command, target) = protocol.read_command().await.map_err(SocksError::of)?;
    if command != Socks5Command::TCPConnect {
        return Err(SocksError::Command);
    }
    let (host, port) = target_of(target)?;
    match port {
        0 => Err(SocksError::Target("the client wants a connection to port 0".to_owned())),
        port => Ok(Target::Host(host, port).to_string()),
    }
}

/// The host and port of a request.
fn target_of(target: TargetAddr) -> Result<(Host, u16), SocksError> {
    let (text, port) = match target {
        TargetAddr::Ip(address) => (address.ip().to_string(), address.port()),
        TargetAddr::Domain(name, port) => (name, port),
    };
    match Host::parse(&text) {
        Ok((host, None)) => Ok((host, port)),
        Ok((_, Some(_))) => {
            Err(SocksError::Target("the client sends a name with a port in it".to_owned()))
        }
        Err(error) => Err(SocksError::Target(error.to_string())),
    }
}

impl SocksRequest {
    /// Tells the client that it is connected. Returns its connection, and the data that it has sent
    /// already.
    ///
    /// # Errors
    ///
    /// The client does not take the reply, or has closed.
    pub(super) async fn accept(mut self) -> io::Result<(TcpStream, Vec<u8>)> {
        send(&mut self.stream, &reply(ReplyError::Succeeded), CLOSE).await?;
        Ok((self.stream, self.early))
    }

    /// Tells the client why it is not connected, and closes its connection.
    pub(super) async fn refuse(self, why: SocksReply) {
        say(self.stream, &reply(why.into())).await;
    }
}

/// Sends a last message, and closes the connection so that it arrives.
async fn say(mut stream: TcpStream, message: &[u8]) {
    // A client that has gone cannot be told anything.
    if send(&mut stream, message, CLOSE).await.is_ok() {
        lingering_close(stream).await;
    }
}

/// A reply: the address is that of our end of the connection, which we do not know. So it is zero.
fn reply(code: ReplyError) -> [u8; 10] {
    const IPV4: u8 = 1;
    [VERSION, code.as_u8(), 0, IPV4, 0, 0, 0, 0, 0, 0]
}

impl From<SocksReply> for ReplyError {
    fn from(why: SocksReply) -> Self {
        match why {
            SocksReply::GeneralFailure => Self::GeneralFailure,
            SocksReply::NotAllowed => Self::ConnectionNotAllowed,
            SocksReply::NetworkUnreachable => Self::NetworkUnreachable,
            SocksReply::HostUnreachable => Self::HostUnreachable,
            SocksReply::ConnectionRefused => Self::ConnectionRefused,
            SocksReply::TimedOut => Self::TtlExpired,
        }
    }
}

impl SocksError {
    /// The error of the library that reads requests.
    fn of(error: SocksServerError) -> Self {
        match error {
            SocksServerError::Io { source, .. } => Self::of_io(source),
            SocksServerError::UnsupportedSocksVersion(VERSION_4) => Self::Socks4,
            // The methods of HTTP are words in capitals.
            SocksServerError::UnsupportedSocksVersion(b'A'..=b'Z') => Self::Http,
            SocksServerError::UnsupportedSocksVersion(first) => Self::OtherProtocol(first),
            SocksServerError::AuthMethodUnacceptable(_) => Self::NoMethod,
            SocksServerError::UnknownCommand(_) => Self::Command,
            SocksServerError::AddrError(error) => match error {
                AddrError::IncorrectAddressType => Self::AddressType,
                AddrError::IPv4Unreadable(source)
                | AddrError::IPv6Unreadable(source)
                | AddrError::PortNumberUnreadable(source)
                | AddrError::DomainLenUnreadable(source)
                | AddrError::DomainContentUnreadable(source) => Self::of_io(source),
                _ => Self::Target("the client sends a name that is not UTF-8".to_owned()),
            },
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }

    fn of_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }

    /// The last message to the client. `None` if SOCKS5 has none.
    fn answer(&self) -> Option<Vec<u8>> {
        const NO_METHOD: u8 = 0xff;
        Some(match self {
            Self::NoMethod => vec![VERSION, NO_METHOD],
            Self::Command => reply(ReplyError::CommandNotSupported).to_vec(),
            Self::AddressType => reply(ReplyError::AddressTypeNotSupported).to_vec(),
            Self::Target(_) => reply(ReplyError::GeneralFailure).to_vec(),
            _ => return None,
        })
    }

    /// Whether there is nobody to wait for when the connection is closed.
    fn is_over(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed | Self::TimedOut)
    }
}

/// The connection of a client, for the library that reads requests. The library reads a few bytes at a
/// time, and the system is asked for more at once. What the library writes is dropped: it would answer a
/// cut request with "connection refused", although nobody was asked.
#[derive(Debug)]
struct Unanswered {
    stream: TcpStream,
    /// What was read, and how much of it the library has.
    read: Vec<u8>,
    taken: usize,
}

impl AsyncRead for Unanswered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, read, taken } = &mut *self;
        if *taken == read.len() {
            let mut bytes = [0; READ];
            let mut more = ReadBuf::new(&mut bytes);
            ready!(Pin::new(stream).poll_read(context, &mut more))?;
            *read = more.filled().to_vec();
            *taken = 0;
        }
        let count = buffer.remaining().min(read.len() - *taken);
        buffer.put_slice(&read[*taken..*taken + count]);
        *taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unanswered {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const HELLO: &[u8] = &[5, 1, 0];

    /// A client, and the negotiation with it.
    async fn pair(within: Duration) -> (TcpStream, JoinHandle<Result<SocksRequest, SocksError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, tokio::spawn(negotiate_within(stream, within)))
    }

    async fn in_time<T>(future: impl Future<Output = T>) -> T {
        timeout(PATIENCE, future).await.expect("in time")
    }

    /// Sends `sent`, closes the sending side, and returns what the client hears and the result.
    async fn hears(sent: &[u8]) -> (Vec<u8>, Result<String, String>) {
        let (mut client, negotiation) = pair(PATIENCE).await;
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let result = in_time(negotiation).await.unwrap();
        let result = result.map(|request| request.target).map_err(|error| error.to_string());
        let mut heard = Vec::new();
        in_time(client.read_to_end(&mut heard)).await.unwrap();
        (heard, result)
    }

    fn request(command: u8, kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        [HELLO, &[5, command, 0, kind], address, &port.to_be_bytes()].concat()
    }

    fn named(name: &[u8], port: u16) -> Vec<u8> {
        request(1, 3, &[&[u8::try_from(name.len()).unwrap()], name].concat(), port)
    }

    #[tokio::test]
    async fn every_type_of_address_becomes_a_target() {
        let long = format!("{}.example", vec!["x".repeat(60); 3].join("."));
        for (sent, target) in [
            (request(1, 1, &[192, 0, 2, 1], 80), "192.0.2.1:80"),
            (request(1, 4, &[0; 16], 443), "[::]:443"),
            (
                request(1, 4, &"fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets(), 1),
                "[fd00::1]:1",
            ),
            (named(b"Intranet.Example.", 8080), "intranet.example:8080"),
            (named(b"::1", 80), "[::1]:80"),
            (named(b"127.1", 80), "127.0.0.1:80"),
            (named(long.as_bytes(), 65535), &format!("{long}:65535")),
        ] {
            assert_eq!(hears(&sent).await, (vec![5, 0], Ok(target.to_owned())), "{sent:?}");
        }
        // The client may offer other methods, too.
        let mut sent = named(b"a", 80);
        sent.splice(..3, [5, 3, 2, 0, 1]);
        assert_eq!(hears(&sent).await, (vec![5, 0], Ok("a:80".to_owned())));
    }

    #[tokio::test]
    async fn wrong_requests_get_the_reply_that_says_why() {
        let reply = |code: u8| vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let command = "the client wants something else than a TCP connection";
        for (sent, heard, words) in [
            (request(2, 1, &[192, 0, 2, 1], 80), reply(7), command),
            (request(3, 1, &[0; 4], 0), reply(7), command),
            (request(9, 1, &[192, 0, 2, 1], 80), reply(7), command),
            (
                request(1, 2, &[192, 0, 2, 1], 80),
                reply(8),
                "the client uses an unknown type of address",
            ),
            (
                request(1, 1, &[192, 0, 2, 1], 0),
                reply(1),
                "the client wants a connection to port 0",
            ),
            (named(b"", 80), reply(1), "the host's name is empty"),
            (named(b"\xff", 80), reply(1), "the client sends a name that is not UTF-8"),
            (named(b"a:1", 80), reply(1), "the client sends a name with a port in it"),
            (named(b"/run/db.sock", 80), reply(1), "'/run/db.sock' has a path; leave it out: "),
            (named(b"a\x1b", 80), reply(1), "'a\\x1b' is no host: '\\x1b' cannot stand in it"),
            (
                vec![5, 1, 2],
                vec![5, 0xff],
                "the client insists on authentication, which this proxy does not have",
            ),
            (
                vec![5, 0],
                vec![5, 0xff],
                "the client insists on authentication, which this proxy does not have",
            ),
        ] {
            assert_eq!(hears(&sent).await, (heard, Err(words.to_owned())), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn other_protocols_are_named_and_hear_nothing() {
        let http =
            "the client wants an HTTP proxy, and this is a SOCKS5 proxy; with curl, use socks5h://";
        for (sent, words) in [
            (
                &[4, 1, 0, 80, 192, 0, 2, 1, 0][..],
                "the client speaks SOCKS4, and this is a SOCKS5 proxy; with curl, use socks5h://",
            ),
            (b"CONNECT a:80 HTTP/1.1\r\n\r\n", http),
            (b"GET http://a/ HTTP/1.1\r\n\r\n", http),
            (&[0x16, 3, 1, 0, 5], "the client does not speak SOCKS5 (its first byte is 16h)"),
        ] {
            assert_eq!(hears(sent).await, (vec![], Err(words.to_owned())), "{sent:?}");
        }
        // The version of the second message counts, too.
        let mut sent = named(b"a", 80);
        sent[3] = 4;
        let (heard, result) = hears(&sent).await;
        assert_eq!(heard, [5, 0]);
        assert!(result.unwrap_err().contains("SOCKS4"));
    }

    #[tokio::test]
    async fn a_request_that_is_cut_anywhere_is_not_answered() {
        let whole = named(b"example.org", 80);
        for end in 0..whole.len() {
            let (heard, result) = hears(&whole[..end]).await;
            let expected: &[u8] = if end < HELLO.len() { &[] } else { &[5, 0] };
            assert_eq!(heard, expected, "{end}");
            let words = "the client closed before it had said what it wants";
            assert_eq!(result, Err(words.to_owned()), "{end}");
        }
    }

    #[tokio::test]
    async fn a_slow_client_is_given_up() {
        for sent in [&[][..], &[5], HELLO, &[5, 1, 0, 5, 1, 0, 3, 200, b'a']] {
            let (mut client, negotiation) = pair(Duration::from_millis(100)).await;
            client.write_all(sent).await.unwrap();
            let error = in_time(negotiation).await.unwrap().unwrap_err();
            assert!(matches!(error, SocksError::TimedOut), "{sent:?}: {error}");
            // The connection is closed, by a reset if something was unread.
            let _ = in_time(client.read_to_end(&mut Vec::new())).await;
        }
    }

    #[tokio::test]
    async fn an_accepted_client_hears_success_and_its_data_is_untouched() {
        let (mut client, negotiation) = pair(PATIENCE).await;
        // Some clients send data behind the request, without waiting.
        client.write_all(&[&named(b"a", 80)[..], b"GET /"].concat()).await.unwrap();
        let request = in_time(negotiation).await.unwrap().unwrap();
        assert_eq!(request.target, "a:80");
        assert_eq!(request.stream.peer_addr().unwrap(), client.local_addr().unwrap());
        let (mut stream, mut data) = in_time(request.accept()).await.unwrap();
        let mut rest = vec![0; 5 - data.len()];
        in_time(stream.read_exact(&mut rest)).await.unwrap();
        data.append(&mut rest);
        assert_eq!(&data, b"GET /");
        drop(stream);
        let mut heard = Vec::new();
        in_time(client.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[tokio::test]
    async fn a_refused_client_hears_the_truth() {
        for (why, code) in [
            (SocksReply::GeneralFailure, 1),
            (SocksReply::NotAllowed, 2),
            (SocksReply::NetworkUnreachable, 3),
            (SocksReply::HostUnreachable, 4),
            (SocksReply::ConnectionRefused, 5),
            (SocksReply::TimedOut, 6),
        ] {
            let (mut client, negotiation) = pair(PATIENCE).await;
            client.write_all(&named(b"a", 80)).await.unwrap();
            let request = in_time(negotiation).await.unwrap().unwrap();
            let refused = tokio::spawn(request.refuse(why));
            let mut heard = Vec::new();
            in_time(client.read_to_end(&mut heard)).await.unwrap();
            assert_eq!(heard, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{why:?}");
            drop(client);
            in_time(refused).await.unwrap();
        }
    }
}
