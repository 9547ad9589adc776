//! Starts the observers of sessions: `--explain` and `--keylog`.

use std::time::Duration;

use super::args::Common;
use super::console;
use super::failure::Failure;
use crate::files::shown;
use crate::output::Stream;
use crate::term::{Explain, KeyLog, Label, Observers, Printer, Unread};

/// The observers that the command line asks for, and their printing thread.
pub(super) struct Observation {
    pub(super) observers: Observers,
    printer: Option<Printer>,
}

impl Observation {
    /// Opens the key log and the console for explanations. It prints a warning if they show keys.
    pub(super) fn start(args: &Common, unread: Unread) -> Result<Self, Failure> {
        let mut observers = Observers::default();
        let mut printer = None;
        if let Some(path) = &args.keylog {
            let log = KeyLog::open(path)?;
            Stream::tell(format_args!(
                "warning: the keys of every session go to {}; with it, anybody can read the sessions",
                shown(path)
            ));
            observers.key_log = Some(log);
        }
        if let Some(what) = &args.explain {
            let has_secrets = what == "secrets";
            if has_secrets {
                Stream::tell("warning: keys are shown here; do not pass this output on");
            }
            let has_colour = Stream::Err.has_colour();
            let (console, thread) = console(Stream::Err, Label::NONE, unread)?;
            observers.explain = Some(Explain { console, has_secrets, has_colour });
            printer = Some(thread);
        }
        Ok(Self { observers, printer })
    }

    /// Waits until everything is printed, at most for `within`. All sessions must be over before.
    pub(super) fn finish(self, within: Option<Duration>) {
        drop(self.observers);
        if let Some(printer) = self.printer {
            // A failure of standard error cannot be reported.
            let _ = printer.finish(within);
        }
    }
}
