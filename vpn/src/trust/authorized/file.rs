//! The file `authorized_clients`, read again whenever it has changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::list::ClientList;
use super::names::ServiceNames;
use crate::files::{self, Contents, FileError, FileProblem, Role, Stamp, text_of};
use crate::trust::error::TrustError;

/// How long a client waits until the file is read from the disk.
const DEADLINE: Duration = Duration::from_secs(2);
/// The most wrong lines that are logged for one state of the file.
const MAX_LOGGED: usize = 20;

/// The file `authorized_clients`. A change takes effect for the next client that connects.
#[derive(Clone, Debug)]
pub struct AuthorizedClients(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    services: ServiceNames,
    state: Mutex<State>,
    /// Held while the file is checked, so that one client checks it at a time.
    check: tokio::sync::Mutex<()>,
    /// Whether a thread is still reading the file. It may be stuck after the deadline.
    is_reading: AtomicBool,
}

#[derive(Debug)]
struct State {
    list: Arc<ClientList>,
    stamp: Stamp,
    /// Whether a later change would show in the stamp.
    is_settled: bool,
    /// The error that was logged last. It is not logged again, so that strangers cannot fill the log.
    logged: Option<FileError>,
}

/// The result of checking the file on the disk.
enum Checked {
    /// The file has changed. Has the time of the check and the new contents.
    Changed(SystemTime, Contents),
    /// The file has not changed.
    Unchanged(Arc<ClientList>),
    /// The file cannot be used. The log says why.
    Unusable,
}

impl AuthorizedClients {
    /// Reads the file at `path`. Its lines may permit `services`.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if the file cannot be read, other users could change it, or a line is wrong.
    pub fn open(path: &Path, services: ServiceNames) -> Result<Self, TrustError> {
        let now = SystemTime::now();
        let contents = files::read(path, Role::AuthorizedClients)?;
        if let Err(error) = text_of(&contents.bytes)
            && error.is_utf16
        {
            return Err(TrustError::line(path, error.line, error));
        }
        let (list, faults) = ClientList::parse(&contents.bytes, &services);
        if let Some((line, problem)) = faults.into_iter().next() {
            return Err(TrustError::line(path, line, problem));
        }
        if list.is_empty() {
            log::warn!("{}: nobody is listed, so no key is let in", files::shown(path));
        }
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            services,
            state: Mutex::new(State::new(Arc::new(list), now, &contents)),
            check: tokio::sync::Mutex::default(),
            is_reading: AtomicBool::new(false),
        })))
    }

    /// The clients that the file lists now. The file is read only if it has changed, and on a thread
    /// that may block.
    ///
    /// Returns `None` if the file cannot be read or other users could change it. Then nobody is let
    /// in, and the log says why.
    pub async fn current(&self) -> Option<Arc<ClientList>> {
        let shared = &self.0;
        let _check = shared.check.lock().await;
        if shared.is_reading.swap(true, Ordering::AcqRel) {
            // The last check is stuck. A second thread would get stuck, too.
            return None;
        }
        let reader = shared.clone();
        let checking = spawn_blocking(move || {
            let checked = reader.check_file();
            reader.is_reading.store(false, Ordering::Release);
            checked
        });
        let (now, contents) = match timeout(DEADLINE, checking).await {
            Ok(Ok(Checked::Unchanged(list))) => return Some(list),
            Ok(Ok(Checked::Changed(now, contents))) => (now, contents),
            Ok(Ok(Checked::Unusable)) => return None,
            Ok(Err(_)) => {
                // The thread panicked, so it no longer reads.
                shared.is_reading.store(false, Ordering::Release);
                return None;
            }
            Err(_) => {
                let problem = FileProblem::TimedOut;
                shared.log_error(&FileError::new(Role::AuthorizedClients, &shared.path, problem));
                return None;
            }
        };
        // The deadline is for the disk only. Parsing a long list takes a bounded time.
        let parser = shared.clone();
        spawn_blocking(move || parser.replace_list(now, &contents)).await.ok()
    }
}

impl State {
    /// The state after reading `contents` at the time `now`.
    fn new(list: Arc<ClientList>, now: SystemTime, contents: &Contents) -> Self {
        let stamp = contents.stamp.clone();
        Self { list, is_settled: stamp.is_settled(now), stamp, logged: None }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_file(&self) -> Checked {
        let now = SystemTime::now();
        let stamp = match files::stat_blocking(&self.path, Role::AuthorizedClients) {
            Ok(stamp) => stamp,
            Err(error) => {
                self.log_error(&error);
                return Checked::Unusable;
            }
        };
        {
            let mut state = self.state();
            if state.is_settled && state.stamp == stamp {
                state.logged = None;
                return Checked::Unchanged(state.list.clone());
            }
        }
        match files::read_blocking(&self.path, Role::AuthorizedClients) {
            Ok(contents) => Checked::Changed(now, contents),
            Err(error) => {
                self.log_error(&error);
                Checked::Unusable
            }
        }
    }

    fn replace_list(&self, now: SystemTime, contents: &Contents) -> Arc<ClientList> {
        let (list, faults) = ClientList::parse(&contents.bytes, &self.services);
        let list = Arc::new(list);
        let mut state = self.state();
        if state.stamp != contents.stamp {
            self.log_faults(&faults);
        }
        *state = State::new(list.clone(), now, contents);
        list
    }

    /// Logs the wrong lines. They are skipped.
    fn log_faults(&self, faults: &[(usize, String)]) {
        for (line, problem) in faults.iter().take(MAX_LOGGED) {
            let error = TrustError::line(&self.path, *line, problem);
            log::warn!("{error}; this line is skipped");
        }
        if faults.len() > MAX_LOGGED {
            let more = faults.len() - MAX_LOGGED;
            log::warn!("{}: {more} more lines are skipped", files::shown(&self.path));
        }
    }

    /// Logs why no client can be let in, unless it is the same error as before.
    fn log_error(&self, error: &FileError) {
        let mut state = self.state();
        if state.logged.as_ref() != Some(error) {
            log::error!("{error}; nobody is let in by a key");
            state.logged = Some(error.clone());
        }
    }
}
