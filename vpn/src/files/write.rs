//! Writing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::read::{is_regular, within};
use super::{DEADLINE, FileError, FileProblem, Role, plain};

/// A file to be written.
#[derive(Clone, Copy)]
pub struct NewFile<'a> {
    /// Where it is to be.
    pub path: &'a Path,
    /// What it is to say.
    pub bytes: &'a [u8],
    /// Whether it is for its owner alone.
    pub is_secret: bool,
}

impl std::fmt::Debug for NewFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes a file that was not there, or may be replaced. Whatever fails, the old one stays whole.
///
/// # Errors
///
/// [`FileProblem::Exists`] unless `may_replace`; if it is no regular file; what the system says.
pub fn write_new(file: NewFile<'_>, role: Role, may_replace: bool) -> Result<(), FileError> {
    let failed = |problem| FileError::new(role, file.path, problem);
    check_target(file.path, may_replace).map_err(failed)?;
    let beside = Beside::write(file).map_err(|e| failed(FileProblem::writing(&e)))?;
    beside.into_place(may_replace).map_err(failed)?;
    sync_folder(file.path);
    Ok(())
}

/// Writes two files that belong together: both, or neither.
///
/// # Errors
///
/// As [`write_new`].
pub fn write_pair(
    first: NewFile<'_>,
    second: NewFile<'_>,
    role: Role,
    may_replace: bool,
) -> Result<(), FileError> {
    for file in [first, second] {
        check_target(file.path, may_replace)
            .map_err(|problem| FileError::new(role, file.path, problem))?;
    }
    let failed =
        |file: NewFile<'_>, e: &io::Error| FileError::new(role, file.path, FileProblem::writing(e));
    // All that needs room on the disk comes before anything is replaced.
    let new_first = Beside::write(first).map_err(|e| failed(first, &e))?;
    let new_second = Beside::write(second).map_err(|e| failed(second, &e))?;
    let old = Beside::keep(first.path).map_err(|e| failed(first, &e))?;
    new_first
        .into_place(may_replace)
        .map_err(|problem| FileError::new(role, first.path, problem))?;
    if let Err(problem) = new_second.into_place(may_replace) {
        let undone = match old {
            Some(old) => old.into_place(true).is_ok(),
            None => std::fs::remove_file(first.path).is_ok(),
        };
        if !undone {
            log::error!("{} is new, but its other half is not", super::shown(first.path));
        }
        return Err(FileError::new(role, second.path, problem));
    }
    sync_folder(first.path);
    Ok(())
}

/// Refuses what cannot be replaced, or must not be.
fn check_target(path: &Path, may_replace: bool) -> Result<(), FileProblem> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(|error| FileProblem::writing(&error))?,
    };
    if meta.file_type().is_symlink() {
        return Err(FileProblem::Link);
    }
    is_regular(&meta)?;
    if may_replace { Ok(()) } else { Err(FileProblem::Exists) }
}

/// A file beside the one that it is to become; it goes away unless it does.
struct Beside {
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Beside {
    /// A name in the same folder that nobody else has.
    fn name(target: &Path) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", rand::random::<u64>()));
        target.with_file_name(name)
    }

    fn write(file: NewFile<'_>) -> io::Result<Self> {
        let path = Self::name(file.path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(if file.is_secret { 0o600 } else { 0o644 });
        }
        let mut written = options.open(&path)?;
        let beside = Self { path: Some(path), target: file.path.to_owned() };
        written.write_all(file.bytes)?;
        written.sync_all()?;
        Ok(beside)
    }

    /// Gives a file a second name, if it is there, to bring it back by.
    fn keep(target: &Path) -> io::Result<Option<Self>> {
        let path = Self::name(target);
        match std::fs::hard_link(target, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Some disks know no second names.
            Err(_) => {
                let created = Self { path: Some(path.clone()), target: target.to_owned() };
                std::fs::copy(target, &path)?;
                return Ok(Some(created));
            }
        }
        Ok(Some(Self { path: Some(path), target: target.to_owned() }))
    }

    /// Takes its place, at once.
    fn into_place(mut self, may_replace: bool) -> Result<(), FileProblem> {
        let Some(path) = &self.path else { return Ok(()) };
        if !may_replace {
            // Unlike renaming, linking never replaces what somebody else has put there meanwhile.
            match std::fs::hard_link(path, &self.target) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(FileProblem::Exists);
                }
                Err(_) => check_target(&self.target, false)?,
            }
        }
        std::fs::rename(path, &self.target).map_err(|error| FileProblem::writing(&error))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may not be there.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Has a new name survive a loss of power, where the system can do that.
fn sync_folder(path: &Path) {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            log::debug!("{}: {}", super::shown(folder), plain(&error));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Adds a line to a file that people edit, or makes one for its owner alone. The last line may lack
/// its end. A line that is there already is not added. Whatever fails, the old text stays whole.
///
/// # Errors
///
/// If it is no regular file, or what the system says.
pub fn append_line(path: &Path, role: Role, line: &str) -> Result<(), FileError> {
    let path = &super::place(path, role)?;
    let (place, line) = (path.clone(), line.to_owned());
    within(DEADLINE, move || append_now(&place, &line))
        .and_then(|result| result)
        .map_err(|problem| FileError::new(role, path, problem))
}

fn append_now(path: &Path, line: &str) -> Result<(), FileProblem> {
    let writing = |error: io::Error| FileProblem::writing(&error);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        make_folder(folder).map_err(writing)?;
    }
    let mut file = open_append_now(path, true)?;
    // Another client may be doing the same. Locks are not to be had everywhere.
    if let Err(error) = file.lock() {
        log::debug!("{}: {}", super::shown(path), plain(&error));
    }
    let mut old = Vec::new();
    let most = Role::KnownServers.most();
    (&mut file).take(most + 1).read_to_end(&mut old).map_err(writing)?;
    if old.len() as u64 + line.len() as u64 + 2 > most {
        return Err(FileProblem::TooLong(most));
    }
    if old.split(|b| *b == b'\n').any(|l| l.trim_ascii_end() == line.as_bytes()) {
        return Ok(());
    }
    let is_ended = old.last().is_none_or(|last| *last == b'\n');
    let text = format!("{}{line}\n", if is_ended { "" } else { "\n" });
    file.seek(SeekFrom::End(0)).map_err(writing)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a line would make the file unreadable.
        if file.set_len(old.len() as u64).is_err() {
            log::error!("{}: its last line may be cut", super::shown(path));
        }
        return Err(FileProblem::writing(&error));
    }
    Ok(())
}

/// Opens a file to append to, for its owner alone. It may be a pipe or a device, but no symbolic
/// link: whoever put that there chose what is written to and made private. Nothing waits for a reader.
///
/// # Errors
///
/// If it is a link or a folder, or what the system says.
pub fn open_append(path: &Path, role: Role) -> Result<File, FileError> {
    let path = &super::place(path, role)?;
    let place = path.clone();
    within(DEADLINE, move || {
        if std::fs::symlink_metadata(&place).is_ok_and(|meta| meta.file_type().is_symlink()) {
            return Err(FileProblem::Link);
        }
        let file = open_append_now(&place, false)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, PermissionsExt};
            let writing = |error: io::Error| FileProblem::writing(&error);
            let meta = file.metadata().map_err(writing)?;
            // The owner of a file can read what comes into it, and so can the reader of a pipe.
            let own = rustix::process::geteuid().as_raw();
            let is_trusted = meta.uid() == own || (!meta.is_file() && meta.uid() == 0);
            if !is_trusted {
                return Err(FileProblem::Owner { owner: meta.uid() });
            }
            // A file that was there already may be open to others; a pipe or terminal has no mode.
            if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
                file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(writing)?;
            }
        }
        Ok(file)
    })
    .and_then(|result| result)
    .map_err(|problem| FileError::new(role, path, problem))
}

fn open_append_now(path: &Path, follows_links: bool) -> Result<File, FileProblem> {
    match std::fs::metadata(path) {
        // A device is not opened to find out that it is one.
        Ok(meta) if follows_links || meta.is_dir() => is_regular(&meta)?,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileProblem::writing(&error)),
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, !follows_links);
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    #[cfg(not(unix))]
    let _ = follows_links;
    let file = options.open(path).map_err(|error| FileProblem::writing(&error))?;
    if follows_links {
        let meta = file.metadata().map_err(|error| FileProblem::writing(&error))?;
        is_regular(&meta)?;
    }
    Ok(file)
}

/// Makes a folder for its owner alone, unless it is there.
///
/// # Errors
///
/// What the system says.
pub fn create_folder(folder: &Path, role: Role) -> Result<(), FileError> {
    make_folder(folder).map_err(|error| FileError::new(role, folder, FileProblem::writing(&error)))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("vpn-write-{:016x}", rand::random::<u64>());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let name =
                |e: io::Result<std::fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<String> = std::fs::read_dir(&self.0).unwrap().map(name).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn file<'a>(path: &'a Path, text: &'a str) -> NewFile<'a> {
        NewFile { path, bytes: text.as_bytes(), is_secret: true }
    }

    #[test]
    fn a_pair_is_written_both_or_none() {
        let folder = Folder::new();
        let (a, b) = (folder.0.join("a"), folder.0.join("b"));
        write_pair(file(&a, "1"), file(&b, "1"), Role::Identity, false).unwrap();
        let error = write_pair(file(&a, "2"), file(&b, "2"), Role::Identity, false).unwrap_err();
        assert_eq!(error.problem, FileProblem::Exists);
        write_pair(file(&a, "2"), file(&b, "2"), Role::Identity, true).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&a), read(&b)), ("2".to_owned(), "2".to_owned()));
        assert_eq!(folder.names(), ["a", "b"]);
        // The second one cannot be put in its place at the last moment: the first one is undone.
        std::fs::remove_file(&b).unwrap();
        let (first, second) = (Beside::write(file(&a, "3")), Beside::write(file(&b, "3")));
        let (first, second) = (first.unwrap(), second.unwrap());
        std::fs::create_dir(&b).unwrap();
        let old = Beside::keep(&a).unwrap().unwrap();
        first.into_place(true).unwrap();
        second.into_place(true).unwrap_err();
        old.into_place(true).unwrap();
        assert_eq!((read(&a), folder.names()), ("2".to_owned(), vec!["a".to_owned(), "b".into()]));
    }

    #[test]
    fn a_line_is_added_behind_one_without_an_end_and_not_twice() {
        let folder = Folder::new();
        let path = folder.0.join("deeper/list");
        append_line(&path, Role::KnownServers, "one").unwrap();
        std::fs::write(&path, "one\ntwo").unwrap();
        append_line(&path, Role::KnownServers, "three").unwrap();
        append_line(&path, Role::KnownServers, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_folders_are_not_written_through() {
        let folder = Folder::new();
        let (target, link) = (folder.0.join("target"), folder.0.join("link"));
        std::fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for may_replace in [false, true] {
            let error = write_new(file(&link, "new"), Role::Identity, may_replace).unwrap_err();
            assert_eq!(error.problem, FileProblem::Link);
        }
        assert_eq!(open_append(&link, Role::KeyLog).unwrap_err().problem, FileProblem::Link);
        let error = write_new(file(&folder.0, "new"), Role::Identity, true).unwrap_err();
        assert_eq!(error.problem, FileProblem::NotRegular("a folder"));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
    }
}
