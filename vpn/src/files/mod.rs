//! Files that users name: one way to read them, one way to write them.
//!
//! [`read()`] is the only function of the program that reads a file of a user. It reads regular files
//! only, and at most [`Role::max_bytes`] bytes. It opens the file once and checks owner and mode of the
//! open file. It has a deadline, because a network disk may never answer.
//!
//! [`write_new`] and [`write_pair`] replace files. A failure leaves the old files whole.
//! [`append_line`] adds a line to a file that people edit, too.
//!
//! The modules use each other in one direction: `write` -> `read` -> `permissions` -> `problem` ->
//! `role` -> `paths`.

mod paths;
#[cfg(unix)]
mod permissions;
mod problem;
mod read;
mod role;
mod write;

pub use paths::{expand, home, resolve, shown};
pub use problem::{DEADLINE, FileError, FileProblem, io_message};
pub use read::{Contents, NotText, Stamp, read};
pub(crate) use read::{read_blocking, stat_blocking, text_of};
pub use role::{Protection, Role};
pub use write::{NewFile, append_line, create_folder, open_append, write_new, write_pair};
