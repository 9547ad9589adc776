//! Fresh key exchanges in an established session (PROTOCOL.md §4.5).

use std::pin::Pin;
use std::task::Poll;

use super::pool::DhPool;
use super::sealed_error::SealedIoError;
use super::source::Source;
use vpn_proto::sealed::{Event, KexError, KexKeyPair, KexSecret, SealedError, Session};

/// The fresh key exchanges of one session: at most one at a time, as client or as server.
#[derive(Debug)]
pub(super) struct Rekey {
    pool: DhPool,
    source: Source,
    pending: Option<Pending>,
    /// Our key pair as the client, until the server has answered.
    key_pair: Option<KexKeyPair>,
}

/// A computation in the pool. Its result is `None` if the runtime shuts down.
struct Pending(Pin<Box<dyn Future<Output = Option<KexResult>> + Send>>);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending(..)")
    }
}

/// The result of a computation.
pub(super) enum KexResult {
    /// Our key pair, as the client.
    Pair(KexKeyPair),
    /// Our share and the secret, as the server.
    Answer(Result<(Vec<u8>, KexSecret), KexError>),
    /// The secret, as the client.
    Secret(Result<KexSecret, KexError>),
}

impl Rekey {
    /// No exchange yet. Later ones are computed in `pool` and count for `source`.
    pub(super) fn new(pool: &DhPool, source: Source) -> Self {
        Self { pool: pool.clone(), source, pending: None, key_pair: None }
    }

    /// Starts an exchange as the client, if one is due and none is under way.
    pub(super) fn start_if_due(&mut self, session: &Session) {
        if session.is_exchange_due() && self.pending.is_none() && self.key_pair.is_none() {
            let kex = session.kex();
            self.compute(move || KexKeyPair::generate(kex, &mut rand::rng()), KexResult::Pair);
        }
    }

    /// Handles an event that belongs to an exchange. Returns any other event.
    pub(super) fn handle_event(&mut self, event: Event, session: &Session) -> Option<Event> {
        match event {
            Event::ExchangeWanted(share) => {
                let kex = session.kex();
                self.compute(move || kex.respond(&share, &mut rand::rng()), KexResult::Answer);
                None
            }
            Event::ExchangeAnswered(share) => {
                let pair = self.key_pair.take()?;
                self.compute(move || pair.finish(&share), KexResult::Secret);
                None
            }
            event => Some(event),
        }
    }

    /// Gives a computation to the pool. It starts when its result is first asked for.
    fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        wrap: fn(T) -> KexResult,
    ) {
        let (pool, source) = (self.pool.clone(), self.source);
        let result = async move { pool.compute("rekey", source, work).await.map(wrap) };
        self.pending = Some(Pending(Box::pin(result)));
    }

    /// The result of the computation under way, if it is complete. Does not wait.
    pub(super) async fn poll_result(&mut self) -> Poll<Option<KexResult>> {
        let Some(pending) = &mut self.pending else { return Poll::Pending };
        std::future::poll_fn(|context| Poll::Ready(pending.0.as_mut().poll(context))).await
    }

    /// Waits for the result of the computation under way; forever if there is none. The result has to
    /// be given to [`Rekey::handle_result`].
    ///
    /// Cancel safety: nothing is lost if the future is dropped.
    pub(super) async fn result(&mut self) -> Option<KexResult> {
        match &mut self.pending {
            Some(pending) => pending.0.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the result of a computation to the session.
    ///
    /// # Errors
    ///
    /// [`SealedIoError`] if the computation or the exchange has failed.
    pub(super) fn handle_result(
        &mut self,
        result: Option<KexResult>,
        session: &mut Session,
    ) -> Result<(), SealedIoError> {
        self.pending = None;
        match result.ok_or(SealedIoError::TimedOut)? {
            KexResult::Pair(pair) => {
                // The session may have ended meanwhile.
                if session.is_exchange_due() {
                    session.begin_exchange(pair.share())?;
                    self.key_pair = Some(pair);
                }
            }
            KexResult::Answer(answer) => {
                let (share, secret) = answer.map_err(SealedError::from)?;
                session.answer_exchange(&share, &secret)?;
            }
            KexResult::Secret(secret) => {
                let secret = secret.map_err(SealedError::from)?;
                let result = session.finish_exchange(&secret);
                log::debug!("a fresh key exchange is over");
                result?;
            }
        }
        Ok(())
    }
}
