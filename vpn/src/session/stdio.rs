//! Standard input and output as the local ends of byte streams.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "linux")]
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

#[cfg(target_os = "linux")]
use super::streams::CHUNK;
use super::streams::{Drain, Feed};

/// What a pipe of the system should hold in bytes: two chunks, so that both of its ends can work. A
/// user may have 64 MiB of them in all before every new pipe becomes small.
#[cfg(target_os = "linux")]
const PIPE_ROOM: usize = 2 * CHUNK;
/// The right to use standard input and output for a pipe. A process has them once, so there is one
/// of it: two pipes would run into each other.
#[derive(Debug)]
pub(crate) struct Stdio(());

impl Stdio {
    /// The right, unless somebody has it or has had it.
    pub(crate) fn take() -> Option<Self> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        (!IS_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    /// Starts reading the one and makes the other ready to be written.
    pub(crate) fn open(self) -> (Feed, Drain) {
        (stdin(), stdout())
    }
}

fn stdin() -> Feed {
    #[cfg(unix)]
    if let Ok(file) = unbuffered(&io::stdin()) {
        return Feed::of(file);
    }
    Feed::of(io::stdin())
}

fn stdout() -> Drain {
    #[cfg(unix)]
    if let Ok(file) = unbuffered(&io::stdout()) {
        return Drain::of(file);
    }
    Drain::of(io::stdout())
}

/// The same stream without the standard library's buffer, which would only copy chunks like ours.
#[cfg(unix)]
fn unbuffered(stream: &impl std::os::fd::AsFd) -> io::Result<std::fs::File> {
    let stream = stream.as_fd().try_clone_to_owned()?;
    #[cfg(target_os = "linux")]
    widen(&stream);
    Ok(stream.into())
}

/// Makes a pipe hold more: both ends of one that holds 64 KiB wait for each other four times a chunk.
#[cfg(target_os = "linux")]
fn widen(stream: &std::os::fd::OwnedFd) {
    // What is not a pipe has no such size, and a user who has many wide pipes gets no more of them.
    if fcntl_getpipe_size(stream).is_ok_and(|size| size < PIPE_ROOM)
        && let Err(error) = fcntl_setpipe_size(stream, PIPE_ROOM)
    {
        log::debug!("a pipe stays as small as it is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_become_wide() {
        let (reader, _writer) = io::pipe().unwrap();
        let reader = std::os::fd::OwnedFd::from(reader);
        let before = fcntl_getpipe_size(&reader).unwrap();
        // Whoever has too many wide pipes gets no more of them.
        let (other, _writer) = io::pipe().unwrap();
        let expected = match fcntl_setpipe_size(&other, PIPE_ROOM) {
            Ok(_) => PIPE_ROOM,
            Err(_) => before,
        };
        widen(&reader);
        assert_eq!(fcntl_getpipe_size(&reader).unwrap(), expected);
    }

    #[test]
    fn standard_input_and_output_are_handed_out_once() {
        assert!(Stdio::take().is_some());
        // Not even once its owner is gone: what was read and written stays read and written.
        assert!(Stdio::take().is_none());
    }
}
