//! `--explain` and `--keylog`: who watches the sessions of this process.

use std::time::Duration;

use super::args::Common;
use super::console;
use super::failure::Failure;
use crate::files::shown;
use crate::output::Stream;
use crate::term::{Explain, KeyLog, Label, Observers, Printer, Unread};

/// The observers that the command line asks for, and the thread that prints for them.
pub(super) struct Watching {
    pub(super) observers: Observers,
    printer: Option<Printer>,
}

impl Watching {
    /// Opens what there is to open, and warns of what gives keys away.
    pub(super) fn start(args: &Common, unread: Unread) -> Result<Self, Failure> {
        let mut observers = Observers::default();
        let mut printer = None;
        if let Some(path) = &args.keylog {
            let log = KeyLog::open(path)?;
            Stream::tell(format_args!(
                "warning: the keys of every session go to {}; who reads it can read them all",
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

    /// Waits until everything was printed, or for that long. Sessions must be over.
    pub(super) fn finish(self, within: Option<Duration>) {
        drop(self.observers);
        if let Some(printer) = self.printer {
            // If standard error is gone there is nowhere to say so.
            let _ = printer.finish(within);
        }
    }
}
