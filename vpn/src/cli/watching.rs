//! `--explain` and `--keylog`: who watches the sessions of this process.

use super::args::Common;
use super::failure::Failure;
use super::wants_colour;
use crate::files::shown;
use crate::service::{Console, Explain, KeyLog, Label, Observers, Printer};

/// The observers that the command line asks for, and the thread that prints for them.
pub(super) struct Watching {
    pub(super) observers: Observers,
    printer: Option<Printer>,
}

impl Watching {
    /// Opens what there is to open, and warns of what gives keys away.
    pub(super) fn start(args: &Common) -> Result<Self, Failure> {
        let mut observers = Observers::default();
        let mut printer = None;
        if let Some(path) = &args.keylog {
            let log = KeyLog::open(path)?;
            eprintln!(
                "vpn: warning: the keys of every session go to {}; whoever reads it reads them all",
                shown(path)
            );
            observers.key_log = Some(log);
        }
        if let Some(what) = &args.explain {
            let has_secrets = what == "secrets";
            if has_secrets {
                eprintln!("vpn: warning: keys are shown here; do not pass this output on");
            }
            let stderr = std::io::stderr();
            let has_colour = wants_colour(&stderr);
            let (console, thread) = Console::start(stderr, Label::NONE);
            observers.explain = Some(Explain { console, has_secrets, has_colour });
            printer = Some(thread);
        }
        Ok(Self { observers, printer })
    }

    /// Waits until everything was printed. Sessions must be over.
    pub(super) fn finish(self) {
        drop(self.observers);
        if let Some(printer) = self.printer {
            // If standard error is gone there is nowhere to say so.
            let _ = printer.finish();
        }
    }
}
