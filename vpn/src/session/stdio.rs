//! Standard input and output as the local ends of byte streams.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "linux")]
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

#[cfg(target_os = "linux")]
use super::streams::CHUNK;
use super::streams::{Drain, Feed};

/// The wanted size of a pipe of the system, in bytes: two chunks, so that both of its ends can
/// work. Linux limits the pipes of a user to 64 MiB in all; after that new pipes are small.
#[cfg(target_os = "linux")]
const PIPE_ROOM: usize = 2 * CHUNK;

/// The right to use standard input and output for a pipe. There is only one in a process, because
/// two pipes would mix their bytes.
#[derive(Debug)]
pub(crate) struct Stdio(());

impl Stdio {
    /// Returns the right once; `None` after that.
    pub(crate) fn take() -> Option<Self> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        (!IS_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    /// How many bytes standard input still has, if it is a regular file. A file of the system that does
    /// not know its size has none.
    pub(crate) fn input_size() -> Option<u64> {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd;
            let own = io::stdin().as_fd().try_clone_to_owned().ok()?;
            size_left(&mut own.into())
        }
        #[cfg(not(unix))]
        None
    }

    /// Starts to read standard input, and opens standard output.
    pub(crate) fn open(self) -> (Feed, Drain) {
        (stdin(), stdout())
    }

    /// As [`Stdio::open`], with standard error too.
    pub(crate) fn open_all(self) -> (Feed, Drain, Drain) {
        (stdin(), stdout(), stderr())
    }
}

fn stderr() -> Drain {
    #[cfg(unix)]
    if let Ok(file) = unbuffered(&io::stderr()) {
        return Drain::of(file);
    }
    Drain::of(io::stderr())
}

/// The bytes between the position and the end of a regular file.
#[cfg(unix)]
fn size_left(file: &mut std::fs::File) -> Option<u64> {
    use std::io::Seek;
    let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let left = about.len().checked_sub(file.stream_position().ok()?)?;
    (left > 0).then_some(left)
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

/// The same stream without the standard library's buffer, which would only copy our large chunks.
#[cfg(unix)]
fn unbuffered(stream: &impl std::os::fd::AsFd) -> io::Result<std::fs::File> {
    let stream = stream.as_fd().try_clone_to_owned()?;
    #[cfg(target_os = "linux")]
    widen(&stream);
    Ok(stream.into())
}

/// Makes a pipe hold more. With the usual 64 KiB its ends wait for each other four times a chunk.
#[cfg(target_os = "linux")]
fn widen(stream: &std::os::fd::OwnedFd) {
    // A stream that is not a pipe has no such size. The system may refuse more wide pipes.
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
        // The system refuses a wide pipe if the user has too many.
        let (other, _writer) = io::pipe().unwrap();
        let expected = match fcntl_setpipe_size(&other, PIPE_ROOM) {
            Ok(_) => PIPE_ROOM,
            Err(_) => before,
        };
        widen(&reader);
        assert_eq!(fcntl_getpipe_size(&reader).unwrap(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn only_what_is_left_of_a_regular_file_has_a_size() {
        use std::io::{Seek, SeekFrom};
        let mut file = std::fs::File::open(env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml");
        let file = file.as_mut().unwrap();
        let size = file.metadata().unwrap().len();
        assert_eq!(size_left(file), Some(size));
        file.seek(SeekFrom::Start(10)).unwrap();
        assert_eq!(size_left(file), Some(size - 10));
        for position in [size, size + 1] {
            file.seek(SeekFrom::Start(position)).unwrap();
            assert_eq!(size_left(file), None);
        }
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(size_left(&mut std::os::fd::OwnedFd::from(reader).into()), None);
        let null = &mut std::fs::File::open("/dev/null").unwrap();
        assert_eq!(size_left(null), None);
    }

    #[test]
    fn standard_input_and_output_are_handed_out_once() {
        assert!(Stdio::take().is_some());
        // It is not given out again: bytes that were read and written cannot be taken back.
        assert!(Stdio::take().is_none());
    }
}
