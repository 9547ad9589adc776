//! Reading files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::paths::expand;
use super::problem::{DEADLINE, FileError, FileProblem, io_message};
use super::role::{Protection, Role};

/// The contents of a file, and the state of the file when it was read.
#[derive(Clone)]
pub struct Contents {
    /// The bytes of the file. They are wiped on drop.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The state of the file.
    pub stamp: Stamp,
    /// The reason why other users could have changed the file, as an error. It matters for roles with
    /// [`Protection::None`] only: a file of another role is not read in this case.
    pub trust: Result<(), FileProblem>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl Contents {
    /// The text of the file, without a byte order mark.
    ///
    /// # Errors
    ///
    /// [`NotText`] if the bytes are not UTF-8.
    pub fn text(&self) -> Result<&str, NotText> {
        text_of(&self.bytes)
    }
}

/// The text of these bytes, as [`Contents::text`] returns it.
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, NotText> {
    let start = bytes.get(..2).unwrap_or_default();
    if matches!(start, [0xff, 0xfe] | [0xfe, 0xff]) || bytes.iter().take(64).any(|b| *b == 0) {
        // In UTF-16 every second byte of English text is zero.
        let every_second = |from: usize, is_zero: bool| {
            bytes.iter().skip(from).step_by(2).take(16).all(|b| (*b == 0) == is_zero)
        };
        let is_utf16 = start.first().is_some_and(|b| *b >= 0xfe)
            || (every_second(0, true) && every_second(1, false))
            || (every_second(0, false) && every_second(1, true));
        return Err(NotText { line: 1, is_utf16 });
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        NotText { line, is_utf16: false }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The error for a file that is not UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *.is_utf16 { "UTF-16 text; save it as UTF-8" } else { "not UTF-8 text" })]
pub struct NotText {
    /// The number of the first line that is not UTF-8. The first line is 1.
    pub line: usize,
    /// Whether the file is UTF-16 text. Some editors and shells write that.
    pub is_utf16: bool,
}

/// The state of a file. Two states with the same stamp have the same contents, if the first one was
/// settled ([`Stamp::is_settled`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device, inode, owner and mode.
    identity: [u64; 4],
    /// The times of the last change of contents (mtime) and metadata (ctime), in nanoseconds since
    /// 1970-01-01 (inode(7)).
    changed: [i128; 2],
    /// The length in bytes.
    length: u64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let time = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
            Self {
                identity: [meta.dev(), meta.ino(), meta.uid().into(), meta.mode().into()],
                changed: [
                    time(meta.mtime(), meta.mtime_nsec()),
                    time(meta.ctime(), meta.ctime_nsec()),
                ],
                length: meta.len(),
            }
        }
        #[cfg(not(unix))]
        {
            let since = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).ok();
            let time = meta.modified().ok().and_then(since).map_or(0, |d| d.as_nanos());
            let time = i128::try_from(time).unwrap_or(0);
            Self { identity: [0; 4], changed: [time, 0], length: meta.len() }
        }
    }

    /// Whether a change at the time `now` would give another stamp. A file system counts time in ticks.
    /// Two changes within one tick have the same time.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let now = i128::try_from(now).unwrap_or(i128::MAX);
        let latest = self.changed[0].max(self.changed[1]);
        // Some file systems count seconds, or pairs of seconds.
        let tick = if latest % 1_000_000_000 == 0 { 2_000_000_000 } else { 50_000_000 };
        now - latest > tick || latest > now
    }
}

/// Reads a file that a user has named.
///
/// # Errors
///
/// [`FileError`] if the file cannot be read, is not a regular file, is too long, other users could read
/// or change it, or its disk does not answer within [`DEADLINE`].
pub fn read(path: &Path, role: Role) -> Result<Contents, FileError> {
    let path = expanded(path, role)?;
    let for_thread = path.clone();
    with_deadline(DEADLINE, move || read_now(&for_thread, role))
        .and_then(|result| result)
        .map_err(|problem| FileError::new(role, &path, problem))
}

/// Reads a file as [`read`] does, but without a deadline. The caller has one.
pub(crate) fn read_blocking(path: &Path, role: Role) -> Result<Contents, FileError> {
    read_now(path, role).map_err(|problem| FileError::new(role, path, problem))
}

/// Checks that a file can be read, and returns its state. There is no deadline. The caller has one.
pub(crate) fn stat_blocking(path: &Path, role: Role) -> Result<Stamp, FileError> {
    let stat = || {
        let (_, meta) = open(path)?;
        check_permissions(path, &meta, role.protection())?;
        Ok(Stamp::of(&meta))
    };
    stat().map_err(|problem| FileError::new(role, path, problem))
}

/// The path with the home folder in place of `~/`.
pub(super) fn expanded(path: &Path, role: Role) -> Result<PathBuf, FileError> {
    expand(path).map_err(|message| FileError::new(role, path, FileProblem::Path(message)))
}

fn read_now(path: &Path, role: Role) -> Result<Contents, FileProblem> {
    let (mut file, meta) = open(path)?;
    let trust = match role.protection() {
        Protection::None => check_permissions(path, &meta, Protection::Integrity),
        protection => {
            check_permissions(path, &meta, protection)?;
            Ok(())
        }
    };
    let bytes = read_bytes(&mut file, meta.len(), role.max_bytes())?;
    Ok(Contents { bytes, stamp: Stamp::of(&meta), trust })
}

/// Reads all bytes of a file. `reported` is the length that the system reports; it may be wrong.
fn read_bytes(file: &mut File, reported: u64, max: u64) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    if reported > max {
        return Err(FileProblem::TooLong(max));
    }
    // The buffer is replaced by hand: a vector that grows would leave copies of secrets in memory.
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let expected = usize::try_from(reported).unwrap_or(limit);
    let mut bytes = Zeroizing::new(vec![0; expected + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileProblem::of_reading(&error)),
        }
        if length > limit {
            return Err(FileProblem::TooLong(max));
        }
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * length).clamp(4096, limit + 1)]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Opens a regular file. Does not wait if it is a pipe or a device.
fn open(path: &Path) -> Result<(File, Metadata), FileProblem> {
    // Opening a device may have effects, so the type is checked before. The check of the open file
    // decides.
    let before =
        std::fs::metadata(path).map_err(|error| match FileProblem::of_reading(&error) {
            // A missing file may be the same as an empty one. A link with a missing target is an error.
            FileProblem::Missing if std::fs::symlink_metadata(path).is_ok() => {
                FileProblem::Dangling
            }
            problem => problem,
        })?;
    check_regular(&before)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| FileProblem::of_reading(&error))?;
    let meta = file.metadata().map_err(|error| FileProblem::of_reading(&error))?;
    check_regular(&meta)?;
    Ok((file, meta))
}

/// Checks that a file is a regular file.
pub(super) fn check_regular(meta: &Metadata) -> Result<(), FileProblem> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Err(FileProblem::NotRegular("a pipe"));
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Err(FileProblem::NotRegular("a device"));
        }
        if kind.is_socket() {
            return Err(FileProblem::NotRegular("a socket"));
        }
    }
    Err(FileProblem::NotRegular(if kind.is_dir() { "a folder" } else { "something else" }))
}

#[cfg(unix)]
fn check_permissions(
    path: &Path,
    meta: &Metadata,
    protection: Protection,
) -> Result<(), FileProblem> {
    super::permissions::check(path, meta, protection)
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata, _: Protection) -> Result<(), FileProblem> {
    Ok(())
}

/// Runs `work` on a thread and waits for the result until the deadline. After the deadline the thread
/// is left alone, because a disk that does not answer cannot be interrupted.
pub(super) fn with_deadline<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileProblem> {
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::Builder::new().name("file".to_owned()).spawn(move || {
        // After the deadline nobody receives the result.
        let _ = sender.send(work());
    });
    thread.map_err(|error| FileProblem::Io(io_message(&error)))?;
    receiver.recv_timeout(deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => FileProblem::TimedOut,
        RecvTimeoutError::Disconnected => FileProblem::Io("reading it failed".to_owned()),
    })
}
