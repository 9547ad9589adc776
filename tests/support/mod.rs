//! What several tests need, once: the program and its ends, keys, sockets, peers that a test writes by
//! hand. Every wait has a deadline, and every child is killed when the test ends.

pub(crate) mod adversary;
mod cells;
pub(crate) mod classic;
mod deadlines;
mod dice;
#[cfg(unix)]
mod ends;
mod folders;
pub(crate) mod in_memory;
#[cfg(unix)]
mod keys;
#[cfg(unix)]
pub(crate) mod pipes;
mod processes;
#[cfg(unix)]
pub(crate) mod python;
#[cfg(unix)]
mod relay;
mod roles;
pub(crate) mod sealed;
mod servers;
mod sockets;
#[cfg(target_os = "linux")]
mod terminals;

pub(crate) use cells::run_all;
pub(crate) use deadlines::{DEADLINE, wait_until};
pub(crate) use dice::Dice;
#[cfg(unix)]
pub(crate) use ends::{Listening, Place, Socket};
pub(crate) use folders::{TempDir, data, files_in};
#[cfg(unix)]
pub(crate) use folders::{fifo, set_mode};
#[cfg(unix)]
pub(crate) use keys::{Keys, known_line};
pub(crate) use processes::{Ended, Lines, Process, Running, finish, read_in_time, run, vpn};
#[cfg(unix)]
pub(crate) use relay::{Cut, Relay};
pub(crate) use roles::Role;
pub(crate) use servers::{SHIPPED, Server, ServerBuilder, client_of, port_in};
pub(crate) use sockets::{accept, connect, listener, read_to_end};
#[cfg(target_os = "linux")]
pub(crate) use terminals::Terminal;
