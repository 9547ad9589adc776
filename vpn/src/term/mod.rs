//! The program's contact with the user: the console, `--explain`, the key log, and the texts that
//! the user types.

mod block;
mod console;
mod explain;
mod keylog;
mod observe;
mod progress;
mod texts;

pub use console::{Console, ConsoleClosed, Label, Printer, Unread};
pub use explain::Explain;
pub use keylog::KeyLog;
pub use observe::Observers;
pub(crate) use observe::SessionObserver;
pub use progress::{Counted, Progress};
pub(crate) use texts::QUIT;
pub use texts::{NextText, Texts};
