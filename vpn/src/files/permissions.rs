//! Checks whether other users could have changed a file, as StrictModes of sshd_config(5) does.
//!
//! The file and every folder above it must belong to us or to root. Only the owner may be able to
//! write to them. There are two exceptions for folders:
//!
//! * A folder with the sticky bit, such as `/tmp`. In it, users cannot rename or remove the files of
//!   others.
//! * A folder that its group can write to, if the owner is the only member of the group. Many systems
//!   give each user such a group.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problem::FileProblem;
use super::role::Protection;

/// The most symbolic links that are followed, as in Linux (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The sticky bit of a mode (inode(7)).
const STICKY: u32 = 0o1000;

/// Checks an open file. `path` is its path, and `meta` the metadata of the open file.
pub(super) fn check(
    path: &Path,
    meta: &Metadata,
    protection: Protection,
) -> Result<(), FileProblem> {
    let wrong = |what, mode| FileProblem::Permissions { what, mode, path: path.to_owned() };
    match protection {
        Protection::None => return Ok(()),
        Protection::Secrecy if meta.mode() & 0o077 != 0 => return Err(wrong("readable", "600")),
        Protection::Integrity if meta.mode() & 0o022 != 0 => return Err(wrong("writable", "644")),
        Protection::Secrecy | Protection::Integrity => {}
    }
    if !is_ours(meta.uid()) {
        return Err(FileProblem::Owner { owner: meta.uid() });
    }
    let found = std::fs::canonicalize(path).map_err(|error| FileProblem::of_reading(&error))?;
    let there = std::fs::metadata(&found).map_err(|error| FileProblem::of_reading(&error))?;
    if (there.dev(), there.ino()) != (meta.dev(), meta.ino()) {
        return Err(FileProblem::Replaced);
    }
    // Check the folder of the file, and the folders of all links that lead to it.
    let mut seen = HashSet::new();
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = folder_of(&at);
        check_folders(&folder, &mut seen)?;
        match std::fs::read_link(&at) {
            Ok(target) => at = folder.join(target),
            Err(_) => return check_folders(&folder_of(&found), &mut seen),
        }
    }
    Err(FileProblem::Io("its symbolic links go round in a circle".to_owned()))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks a folder and all folders above it. `seen` has the folders that are checked already.
fn check_folders(folder: &Path, seen: &mut HashSet<PathBuf>) -> Result<(), FileProblem> {
    let folder = std::fs::canonicalize(folder).map_err(|error| FileProblem::of_reading(&error))?;
    for folder in folder.ancestors() {
        if !seen.insert(folder.to_owned()) {
            return Ok(());
        }
        let meta = std::fs::metadata(folder).map_err(|error| FileProblem::of_reading(&error))?;
        let problem = |owner| FileProblem::Folder { folder: folder.to_owned(), owner };
        if !is_ours(meta.uid()) {
            return Err(problem(Some(meta.uid())));
        }
        let mode = meta.mode();
        let is_group_harmless = mode & 0o020 == 0 || is_private_group(meta.gid(), meta.uid());
        if mode & STICKY == 0 && (mode & 0o002 != 0 || !is_group_harmless) {
            return Err(problem(None));
        }
    }
    Ok(())
}

/// Whether this user ID is root's or ours.
fn is_ours(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Whether a user is the only member of a group. Only the local files of the system are read.
fn is_private_group(group: u32, user: u32) -> bool {
    let list = |path| std::fs::read_to_string(path).unwrap_or_default();
    is_private(group, user, &list("/etc/group"), &list("/etc/passwd"))
}

/// Whether a user is the only member of a group, by the contents of group(5) and passwd(5).
fn is_private(group: u32, user: u32, groups: &str, users: &str) -> bool {
    let number = |text: Option<&&str>| text.and_then(|text| text.parse::<u32>().ok());
    let mut name = None;
    for line in users.lines() {
        let parts: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (number(parts.get(2)), number(parts.get(3)));
        if uid == Some(user) {
            name = name.or_else(|| parts.first().copied());
        } else if gid == Some(group) {
            // It is the primary group of another user.
            return false;
        }
    }
    let Some(name) = name else { return false };
    let mut is_listed = false;
    for line in groups.lines() {
        let parts: Vec<&str> = line.split(':').collect();
        if number(parts.get(2)) == Some(group) {
            let mut members = parts.get(3).copied().unwrap_or_default().split(',');
            if !members.all(|member| member.is_empty() || member == name) {
                return false;
            }
            is_listed = true;
        }
    }
    is_listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_if_its_owner_is_the_only_member() {
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                     bob:x:1001:1001::/home/bob:/bin/sh\neve:x:1002:50::/:/bin/sh\n";
        let groups = "root:x:0:\nann:x:1000:\nbob:x:1001:ann\nstaff:x:50:\nlone:x:60:ann\n";
        let is = |group, user| is_private(group, user, groups, users);
        assert!(is(1000, 1000) && is(60, 1000));
        // There is another member, it is the primary group of another user, or it is not known.
        assert!(!is(1001, 1001) && !is(50, 1000) && !is(61, 1000) && !is(1000, 77));
        assert!(!is_private(1000, 1000, "", ""));
    }
}
