//! Reading.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::{Care, DEADLINE, FileError, FileProblem, Role};

/// What a file says, and what it was like when it was read.
#[derive(Clone)]
pub struct Contents {
    /// What it says. Wiped on drop.
    pub bytes: Zeroizing<Vec<u8>>,
    /// What it was like.
    pub stamp: Stamp,
    /// Whether nobody else could have changed it. A file of a role with more care than
    /// [`Care::None`] is not read if somebody could.
    pub trust: Result<(), FileProblem>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl Contents {
    /// What it says without a byte order mark, if it is UTF-8; the offset of the first byte that
    /// is not, otherwise.
    ///
    /// # Errors
    ///
    /// Where it stops being text, and whether it is UTF-16.
    pub fn text(&self) -> Result<&str, NotText> {
        text_of(&self.bytes)
    }
}

/// As [`Contents::text`].
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

/// A file is not UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if *.is_utf16 { "UTF-16 text; save it as UTF-8" } else { "not UTF-8 text" })]
pub struct NotText {
    /// The line where that shows, from 1.
    pub line: usize,
    /// Whether it is UTF-16, as some editors and shells write.
    pub is_utf16: bool,
}

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device, inode, owner and mode.
    identity: [u64; 4],
    /// When content and properties changed last, in nanoseconds.
    changed: [i128; 2],
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

    /// Whether a change now would show in a new stamp: a file that was written within one tick of
    /// its disk's clock can be written again without a trace.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let now = i128::try_from(now).unwrap_or(i128::MAX);
        let latest = self.changed[0].max(self.changed[1]);
        // Some disks count whole seconds, or every second one.
        let tick = if latest % 1_000_000_000 == 0 { 2_000_000_000 } else { 50_000_000 };
        now - latest > tick || latest > now
    }
}

/// Reads a file that a user has named.
///
/// # Errors
///
/// [`FileError`] says which file, what it is for, and what is wrong.
pub fn read(path: &Path, role: Role) -> Result<Contents, FileError> {
    let path = super::place(path, role)?;
    let place = path.clone();
    within(DEADLINE, move || read_now(&place, role))
        .and_then(|result| result)
        .map_err(|problem| FileError::new(role, &path, problem))
}

/// As [`read`], for a thread that may be held up: its caller has a deadline.
pub(crate) fn read_here(path: &Path, role: Role) -> Result<Contents, FileError> {
    read_now(path, role).map_err(|problem| FileError::new(role, path, problem))
}

/// Looks at a file without reading it: what it is like now, if it is fit to be read. For a thread
/// that may be held up, as [`read_here`].
pub(crate) fn look_here(path: &Path, role: Role) -> Result<Stamp, FileError> {
    let look = || {
        let (_, meta) = open(path)?;
        trust(path, &meta, role.care())?;
        Ok(Stamp::of(&meta))
    };
    look().map_err(|problem| FileError::new(role, path, problem))
}

fn read_now(path: &Path, role: Role) -> Result<Contents, FileProblem> {
    let (mut file, meta) = open(path)?;
    let care = role.care();
    let checked = if care == Care::None { Care::Unchanged } else { care };
    let trust = trust(path, &meta, checked);
    if care != Care::None {
        trust.clone()?;
    }
    let most = role.most();
    if meta.len() > most {
        return Err(FileProblem::TooLong(most));
    }
    // The length may be a lie, and a buffer that grows by itself would leave copies of secrets.
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let expected = usize::try_from(meta.len()).unwrap_or(limit);
    let mut bytes = Zeroizing::new(vec![0; expected + 1]);
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileProblem::of(&error)),
        }
        if length > limit {
            return Err(FileProblem::TooLong(most));
        }
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (2 * length).clamp(4096, limit + 1)]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(length);
    Ok(Contents { bytes, stamp: Stamp::of(&meta), trust })
}

/// Opens a regular file; does not wait for what is none.
fn open(path: &Path) -> Result<(File, Metadata), FileProblem> {
    // Opening some devices does something, so they are not opened; the second look counts.
    let before = std::fs::metadata(path).map_err(|error| match FileProblem::of(&error) {
        // Nobody is to take a link whose target is not there just now for no file at all.
        FileProblem::Missing if std::fs::symlink_metadata(path).is_ok() => FileProblem::Dangling,
        problem => problem,
    })?;
    is_regular(&before)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| FileProblem::of(&error))?;
    let meta = file.metadata().map_err(|error| FileProblem::of(&error))?;
    is_regular(&meta)?;
    Ok((file, meta))
}

pub(super) fn is_regular(meta: &Metadata) -> Result<(), FileProblem> {
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
fn trust(path: &Path, meta: &Metadata, care: Care) -> Result<(), FileProblem> {
    super::trust::check(path, meta, care)
}

#[cfg(not(unix))]
fn trust(_: &Path, _: &Metadata, _: Care) -> Result<(), FileProblem> {
    Ok(())
}

/// Does something that a disk may never finish, and waits only so long for it.
pub(super) fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileProblem> {
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::Builder::new().name("file".to_owned()).spawn(move || {
        // Nobody waits any more if it took too long.
        let _ = sender.send(work());
    });
    thread.map_err(|error| FileProblem::Io(super::plain(&error)))?;
    receiver.recv_timeout(deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => FileProblem::TimedOut,
        RecvTimeoutError::Disconnected => FileProblem::Io("reading it failed".to_owned()),
    })
}
