//! Writing files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::paths::shown;
use super::problem::{DEADLINE, FileError, FileProblem, io_message};
use super::read::{check_regular, expanded, with_deadline};
use super::role::Role;

/// A file to write.
#[derive(Clone, Copy)]
pub struct NewFile<'a> {
    /// The path of the file.
    pub path: &'a Path,
    /// The contents.
    pub bytes: &'a [u8],
    /// Whether only the owner may read the file: mode 0600 instead of 0644.
    pub is_secret: bool,
}

impl std::fmt::Debug for NewFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes a file. `may_replace` says whether an old file may be replaced. A failure leaves the old file
/// whole.
///
/// # Errors
///
/// [`FileError`] if the file cannot be written, something other than a regular file is there, or a file
/// is there and may not be replaced.
pub fn write_new(file: NewFile<'_>, role: Role, may_replace: bool) -> Result<(), FileError> {
    let failed = |problem| FileError::new(role, file.path, problem);
    check_target(file.path, may_replace).map_err(failed)?;
    let new = TempFile::write(file).map_err(|e| failed(FileProblem::of_writing(&e)))?;
    new.persist(may_replace).map_err(failed)?;
    sync_folder(file.path);
    Ok(())
}

/// Writes two files that belong together. Either both are written or none.
///
/// # Errors
///
/// [`FileError`] if one of the files cannot be written, as for [`write_new`].
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
    let failed = |file: NewFile<'_>, e: &io::Error| {
        FileError::new(role, file.path, FileProblem::of_writing(e))
    };
    // The steps that need space on the disk come before anything is replaced.
    let new_first = TempFile::write(first).map_err(|e| failed(first, &e))?;
    let new_second = TempFile::write(second).map_err(|e| failed(second, &e))?;
    let old = TempFile::back_up(first.path).map_err(|e| failed(first, &e))?;
    new_first.persist(may_replace).map_err(|problem| FileError::new(role, first.path, problem))?;
    if let Err(problem) = new_second.persist(may_replace) {
        let undone = match old {
            Some(old) => old.persist(true).is_ok(),
            None => std::fs::remove_file(first.path).is_ok(),
        };
        if !undone {
            log::error!("{} is new, but its other half is not", shown(first.path));
        }
        return Err(FileError::new(role, second.path, problem));
    }
    sync_folder(first.path);
    Ok(())
}

/// Checks that a path can be written: nothing is there, or a regular file that may be replaced.
fn check_target(path: &Path, may_replace: bool) -> Result<(), FileProblem> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(|error| FileProblem::of_writing(&error))?,
    };
    if meta.file_type().is_symlink() {
        return Err(FileProblem::Link);
    }
    check_regular(&meta)?;
    if may_replace { Ok(()) } else { Err(FileProblem::Exists) }
}

/// A temporary file in the folder of its target. It is removed on drop unless it has replaced the
/// target.
struct TempFile {
    path: Option<PathBuf>,
    target: PathBuf,
}

impl TempFile {
    /// An unused path in the same folder.
    fn path_beside(target: &Path) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{:016x}", rand::random::<u64>()));
        target.with_file_name(name)
    }

    /// Writes the new contents of a target.
    fn write(file: NewFile<'_>) -> io::Result<Self> {
        let path = Self::path_beside(file.path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(if file.is_secret { 0o600 } else { 0o644 });
        }
        let mut written = options.open(&path)?;
        let new = Self { path: Some(path), target: file.path.to_owned() };
        written.write_all(file.bytes)?;
        written.sync_all()?;
        Ok(new)
    }

    /// Keeps the old contents of a target, if there is a file.
    fn back_up(target: &Path) -> io::Result<Option<Self>> {
        let path = Self::path_beside(target);
        match std::fs::hard_link(target, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Some file systems have no hard links.
            Err(_) => {
                let created = Self { path: Some(path.clone()), target: target.to_owned() };
                std::fs::copy(target, &path)?;
                return Ok(Some(created));
            }
        }
        Ok(Some(Self { path: Some(path), target: target.to_owned() }))
    }

    /// Moves the file to its target in one step (rename(2)).
    fn persist(mut self, may_replace: bool) -> Result<(), FileProblem> {
        let Some(path) = &self.path else { return Ok(()) };
        if !may_replace {
            // A hard link, unlike rename, never replaces a file that was put there in the meantime.
            match std::fs::hard_link(path, &self.target) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(FileProblem::Exists);
                }
                Err(_) => check_target(&self.target, false)?,
            }
        }
        std::fs::rename(path, &self.target).map_err(|error| FileProblem::of_writing(&error))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The file may not exist. There is nothing to do about an error.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a folder to the disk, so that a new name in it survives a loss of power (fsync(2)).
fn sync_folder(path: &Path) {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            log::debug!("{}: {}", shown(folder), io_message(&error));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Adds a line to a file that people edit, too. Creates the file with mode 0600 and its folder with
/// mode 0700 if they are missing. The last line of the file may have no line end. A line that is there
/// already is not added again. A failure leaves the old text whole.
///
/// # Errors
///
/// [`FileError`] if the file cannot be written, is not a regular file, or would be too long.
pub fn append_line(path: &Path, role: Role, line: &str) -> Result<(), FileError> {
    let path = &expanded(path, role)?;
    let (for_thread, line) = (path.clone(), line.to_owned());
    with_deadline(DEADLINE, move || append_now(&for_thread, &line))
        .and_then(|result| result)
        .map_err(|problem| FileError::new(role, path, problem))
}

fn append_now(path: &Path, line: &str) -> Result<(), FileProblem> {
    let writing = |error: io::Error| FileProblem::of_writing(&error);
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        make_folder(folder).map_err(writing)?;
    }
    let mut file = open_append_now(path, true)?;
    // Another client may add a line at the same time. Some file systems have no locks.
    if let Err(error) = file.lock() {
        log::debug!("{}: {}", shown(path), io_message(&error));
    }
    let mut old = Vec::new();
    let most = Role::KnownServers.max_bytes();
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
        // An incomplete line would make the file invalid.
        if file.set_len(old.len() as u64).is_err() {
            log::error!("{}: its last line may be cut", shown(path));
        }
        return Err(FileProblem::of_writing(&error));
    }
    Ok(())
}

/// Opens a file to append to. Only the owner can read it. It may be a pipe or a device; opening a pipe
/// does not wait for a reader.
///
/// A symbolic link is refused. Another user could have made it, to have a file of ours changed.
///
/// # Errors
///
/// [`FileError`] if the file cannot be opened, is a symbolic link or a folder, or belongs to another
/// user.
pub fn open_append(path: &Path, role: Role) -> Result<File, FileError> {
    let path = &expanded(path, role)?;
    let for_thread = path.clone();
    with_deadline(DEADLINE, move || {
        if std::fs::symlink_metadata(&for_thread).is_ok_and(|meta| meta.file_type().is_symlink()) {
            return Err(FileProblem::Link);
        }
        let file = open_append_now(&for_thread, false)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, PermissionsExt};
            let writing = |error: io::Error| FileProblem::of_writing(&error);
            let meta = file.metadata().map_err(writing)?;
            // The owner of a file can read it. A pipe or device may belong to root.
            let own = rustix::process::geteuid().as_raw();
            let is_trusted = meta.uid() == own || (!meta.is_file() && meta.uid() == 0);
            if !is_trusted {
                return Err(FileProblem::Owner { owner: meta.uid() });
            }
            // An old file may be readable by others. The mode of a pipe or terminal stays.
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
        // Opening a device may have effects, so its type is checked before.
        Ok(meta) if follows_links || meta.is_dir() => check_regular(&meta)?,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileProblem::of_writing(&error)),
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
    let file = options.open(path).map_err(|error| FileProblem::of_writing(&error))?;
    if follows_links {
        let meta = file.metadata().map_err(|error| FileProblem::of_writing(&error))?;
        check_regular(&meta)?;
    }
    Ok(file)
}

/// Creates a folder with mode 0700, and the folders above it, unless they exist.
///
/// # Errors
///
/// [`FileError`] if the system reports an error.
pub fn create_folder(folder: &Path, role: Role) -> Result<(), FileError> {
    make_folder(folder)
        .map_err(|error| FileError::new(role, folder, FileProblem::of_writing(&error)))
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

    /// A folder that is removed at the end of the test.
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
    fn of_a_pair_both_files_are_written_or_none() {
        let folder = Folder::new();
        let (a, b) = (folder.0.join("a"), folder.0.join("b"));
        write_pair(file(&a, "1"), file(&b, "1"), Role::Identity, false).unwrap();
        let error = write_pair(file(&a, "2"), file(&b, "2"), Role::Identity, false).unwrap_err();
        assert_eq!(error.problem, FileProblem::Exists);
        write_pair(file(&a, "2"), file(&b, "2"), Role::Identity, true).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&a), read(&b)), ("2".to_owned(), "2".to_owned()));
        assert_eq!(folder.names(), ["a", "b"]);
        // If the second file cannot replace its target, the first one is undone.
        std::fs::remove_file(&b).unwrap();
        let (first, second) = (TempFile::write(file(&a, "3")), TempFile::write(file(&b, "3")));
        let (first, second) = (first.unwrap(), second.unwrap());
        std::fs::create_dir(&b).unwrap();
        let old = TempFile::back_up(&a).unwrap().unwrap();
        first.persist(true).unwrap();
        second.persist(true).unwrap_err();
        old.persist(true).unwrap();
        assert_eq!((read(&a), folder.names()), ("2".to_owned(), vec!["a".to_owned(), "b".into()]));
    }

    #[test]
    fn a_line_is_added_once_also_behind_a_line_without_an_end() {
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
