//! Who is told about sessions besides the user at the terminal.

use super::explain::{Explain, Narrator};
use super::keylog::KeyLog;
use crate::net::PumpError;
use crate::proto::SessionError;
use crate::proto::classic::{DialectPlan, Note, Role, Telling, Trouble};

/// A running commentary, a key log, both, or (the default) nobody.
#[derive(Clone, Debug, Default)]
pub struct Observers {
    /// Where sessions are explained.
    pub explain: Option<Explain>,
    /// Where keys are written to.
    pub key_log: Option<KeyLog>,
}

impl Observers {
    /// How much a session has to tell for these.
    pub fn telling(&self) -> Telling {
        match (&self.explain, &self.key_log) {
            (Some(_), _) => Telling::Everything,
            (None, Some(_)) => Telling::Keys,
            (None, None) => Telling::Nothing,
        }
    }

    /// Watches one session of this side.
    pub(super) async fn watch(&self, role: Role, plan: DialectPlan, peer: String) -> Watch {
        let key_log = self.key_log.clone();
        let mut narrator = self.explain.as_ref().map(|explain| explain.narrate(role, plan, peer));
        if let Some(narrator) = &mut narrator {
            narrator.begin().await;
        }
        Watch { key_log, narrator }
    }
}

/// The observers of one session.
#[derive(Debug)]
pub(super) struct Watch {
    key_log: Option<KeyLog>,
    narrator: Option<Narrator>,
}

impl Watch {
    pub(super) async fn tell(&mut self, note: Note) {
        if let (Note::Established(session), Some(key_log)) = (&note, &self.key_log)
            && let Err(error) = key_log.record(session)
        {
            // The session is worth more than its line in the log.
            log::error!("cannot write to the key log: {error}");
        }
        if let Some(narrator) = &mut self.narrator {
            narrator.tell(&note).await;
        }
    }

    /// The handshake failed.
    pub(super) async fn fail_handshake(&mut self, error: &PumpError) {
        if let Some(narrator) = &mut self.narrator {
            let trouble = match error {
                PumpError::Handshake(error) => Trouble::Handshake(error),
                PumpError::Io(_) | PumpError::Full => Trouble::Lost,
                PumpError::TimedOut => Trouble::Silence,
            };
            narrator.fail(trouble, &error.to_string()).await;
        }
    }

    /// The session failed.
    pub(super) async fn fail_session(&mut self, error: &SessionError) {
        if let Some(narrator) = &mut self.narrator {
            narrator.fail(Trouble::Session(error), &error.to_string()).await;
        }
    }

    /// The connection broke, or the peer fell silent.
    pub(super) async fn fail(&mut self, trouble: Trouble<'_>, words: &str) {
        if let Some(narrator) = &mut self.narrator {
            narrator.fail(trouble, words).await;
        }
    }

    /// Returns once everything told so far was printed.
    pub(super) async fn flush(&self) {
        if let Some(narrator) = &self.narrator {
            narrator.flush().await;
        }
    }
}
