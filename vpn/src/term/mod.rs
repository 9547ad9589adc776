//! How the program talks to a person: console, running commentary, key log, and the texts that a
//! person types.

mod console;
mod explain;
mod keylog;
mod observe;
mod texts;

pub use console::{Console, ConsoleClosed, Label, Printer, Unread};
pub use explain::Explain;
pub use keylog::KeyLog;
pub use observe::Observers;
pub(crate) use observe::Watch;
pub(crate) use texts::QUIT;
pub use texts::{Said, Texts};
