//! What a connection knows of its path, and the settings of its socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::sealed_connection::SealedConnection;
use super::socket::{limit_unsent, set_user_timeout};

impl SealedConnection {
    /// Registers the socket with the runtime of the caller. Before, it belongs to the runtime that has
    /// accepted it.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn register_here(mut self) -> io::Result<Self> {
        self.stream = TcpStream::from_std(self.stream.into_std()?)?;
        Ok(self)
    }

    /// Measures how long a ping and its answer take.
    pub fn measure_round_trip(&mut self) {
        // A session that is being closed needs no ping.
        let _ = self.session.ping(&self.pings.next(Instant::now()));
    }

    /// Measures the round trip if the last measurement was begun before this time and is complete.
    pub fn measure_if_older(&mut self, than: Duration) {
        if self.pings.may_measure(than, Instant::now()) {
            self.measure_round_trip();
        }
    }

    /// Whether everything that had arrived was read since the last call.
    pub fn take_drained(&mut self) -> bool {
        std::mem::take(&mut self.has_drained)
    }

    /// The shortest round trip that was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.pings.round_trip()
    }

    /// Asks the peer for a sign of life. The session ends if nothing comes from it in this time.
    pub fn probe(&mut self, within: Duration) {
        self.measure_round_trip();
        self.probe.get_or_insert_with(|| Instant::now() + within);
    }

    /// The address of this side.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Ends the connection when sent bytes are not acknowledged for this time, where the system can.
    pub fn set_user_timeout(&self, time: Duration) {
        if let Err(error) = set_user_timeout(&self.stream, time) {
            log::debug!("no timeout of the connection: {error}");
        }
    }

    /// Lets the system hold about this many bytes that are not sent yet, where it can. What is sent
    /// later, and is more urgent, waits for less.
    pub fn limit_unsent(&self, bytes: u32) {
        if let Err(error) = limit_unsent(&self.stream, bytes) {
            log::debug!("no limit of unsent bytes: {error}");
        }
    }
}
