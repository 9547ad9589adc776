//! `authorized_clients`: the clients that a server lets in, and what they may do (PROTOCOL.md §4.8).
//!
//! A line is like one of OpenSSH's authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT), with other
//! options:
//!
//! `permit="message,exec:backup" from="10.0.0.0/8" expires="2027-01-01" max-sessions=4
//! ssh-ed25519 AAAA… comment`
//!
//! When the server starts, every line has to be right. Later, a wrong line is skipped and the log
//! names it: a mistake while the file is edited must not lock out everybody.
//!
//! The modules use each other in one direction: `file` -> `list` -> `line` -> `grant` ->
//! `permit` -> `names`.

mod file;
mod grant;
mod line;
mod list;
mod names;
mod permit;

pub use file::AuthorizedClients;
pub use grant::Grant;
pub use list::ClientList;
pub use names::ServiceNames;
pub use permit::Permit;
