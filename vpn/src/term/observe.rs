//! The observers of sessions: `--explain` and `--keylog`.

use super::explain::{Explain, Narrator};
use super::keylog::KeyLog;
use crate::files::io_message;
use crate::net::ClassicIoError;
use vpn_proto::SessionError;
use vpn_proto::classic::{Advice, Diagnosis, DialectPlan, Note, Role, Telling, Trouble};

/// `--explain`, `--keylog`, both, or (the default) neither.
#[derive(Clone, Debug, Default)]
pub struct Observers {
    /// Where sessions are explained.
    pub explain: Option<Explain>,
    /// Where keys are written to.
    pub key_log: Option<KeyLog>,
}

impl Observers {
    /// The notes that a session of this side has to make for its observers. A client always makes
    /// all of them: if it fails, they show which setting would have helped.
    pub fn telling(&self, role: Role) -> Telling {
        match (role, &self.explain, &self.key_log) {
            (Role::Client, ..) | (_, Some(_), _) => Telling::Everything,
            (Role::Server, None, Some(_)) => Telling::Keys,
            (Role::Server, None, None) => Telling::Nothing,
        }
    }

    /// Makes the observer of one session. `peer` is the peer's address or name.
    pub(crate) async fn observe(
        &self,
        role: Role,
        plan: DialectPlan,
        peer: String,
    ) -> SessionObserver {
        let key_log = self.key_log.clone();
        let mut narrator = self.explain.as_ref().map(|explain| explain.narrate(role, plan, peer));
        if let Some(narrator) = &mut narrator {
            narrator.begin().await;
        }
        SessionObserver { key_log, narrator, story: Diagnosis::new(role, plan) }
    }
}

/// The observers of one session.
#[derive(Debug)]
pub(crate) struct SessionObserver {
    key_log: Option<KeyLog>,
    narrator: Option<Narrator>,
    story: Diagnosis,
}

impl SessionObserver {
    /// Passes a note of the session on: to the key log, the diagnosis and `--explain`.
    pub(crate) async fn note(&mut self, note: Note) {
        if let (Note::Established(session), Some(key_log)) = (&note, &self.key_log)
            && let Err(error) = key_log.record(session)
        {
            // The session is worth more than its line in the log.
            log::error!("cannot write to the key log: {}", io_message(&error));
        }
        let before = self.story.advise_meanwhile().len();
        self.story.hear(&note);
        if let Some(narrator) = &mut self.narrator {
            let advice = self.story.advise_meanwhile();
            narrator.tell(&note, advice.get(before..).unwrap_or_default()).await;
        }
    }

    /// Reports a failed handshake. Returns the setting that is most likely to help, if there is
    /// one.
    pub(crate) async fn fail_handshake(&mut self, error: &ClassicIoError) -> Option<Advice> {
        let trouble = match error {
            ClassicIoError::Handshake(error) => Trouble::Handshake(error),
            ClassicIoError::Io(_) | ClassicIoError::Full => Trouble::Lost,
            ClassicIoError::TimedOut => Trouble::Silence,
        };
        self.fail(trouble, &error.to_string()).await
    }

    /// Reports a failed session. Returns the same as [`SessionObserver::fail_handshake`].
    pub(crate) async fn fail_session(&mut self, error: &SessionError) -> Option<Advice> {
        self.fail(Trouble::Session(error), &error.to_string()).await
    }

    /// Reports a failure with its text. Returns the same as [`SessionObserver::fail_handshake`].
    pub(crate) async fn fail(&mut self, trouble: Trouble<'_>, words: &str) -> Option<Advice> {
        let mut advice = self.story.advise(trouble);
        if let Some(narrator) = &mut self.narrator {
            narrator.fail(words, &advice).await;
        }
        let certain = advice.iter().position(|advice| advice.is_certain);
        (!advice.is_empty()).then(|| advice.swap_remove(certain.unwrap_or(0)))
    }

    /// Waits until everything so far is printed.
    pub(crate) async fn flush(&self) {
        if let Some(narrator) = &self.narrator {
            narrator.flush().await;
        }
    }
}
