//! Who could have changed a file, as sshd's StrictModes asks.
//!
//! A file is trusted if it, and every folder above it, belongs to us or to root and only the owner can
//! write there. Two folders are fine although others can write to them. One has the sticky bit, like
//! `/tmp`: there nobody can rename or remove what belongs to somebody else. The other is writable for
//! a group that has no member but the folder's owner, as many systems set up each user.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Care, FileProblem};

/// More links than this are a circle.
const LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// Checks an open file, found at this path.
pub(super) fn check(path: &Path, meta: &Metadata, care: Care) -> Result<(), FileProblem> {
    let distrusted = |what, mode| FileProblem::Distrusted { what, mode, path: path.to_owned() };
    match care {
        Care::None => return Ok(()),
        Care::Secret if meta.mode() & 0o077 != 0 => return Err(distrusted("readable", "600")),
        Care::Unchanged if meta.mode() & 0o022 != 0 => return Err(distrusted("writable", "644")),
        Care::Secret | Care::Unchanged => {}
    }
    if !is_ours(meta.uid()) {
        return Err(FileProblem::Owner { owner: meta.uid() });
    }
    let found = std::fs::canonicalize(path).map_err(|error| FileProblem::of(&error))?;
    let there = std::fs::metadata(&found).map_err(|error| FileProblem::of(&error))?;
    if (there.dev(), there.ino()) != (meta.dev(), meta.ino()) {
        return Err(FileProblem::Replaced);
    }
    // The folder of the file, and those of the links that lead to it.
    let mut seen = HashSet::new();
    let mut at = path.to_owned();
    for _ in 0..LINKS {
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

/// Checks a folder and all above it.
fn check_folders(folder: &Path, seen: &mut HashSet<PathBuf>) -> Result<(), FileProblem> {
    let folder = std::fs::canonicalize(folder).map_err(|error| FileProblem::of(&error))?;
    for folder in folder.ancestors() {
        if !seen.insert(folder.to_owned()) {
            return Ok(());
        }
        let meta = std::fs::metadata(folder).map_err(|error| FileProblem::of(&error))?;
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

fn is_ours(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Whether nobody but this user is in a group, as far as the system's own lists say.
fn is_private_group(group: u32, user: u32) -> bool {
    let list = |path| std::fs::read_to_string(path).unwrap_or_default();
    is_private(group, user, &list("/etc/group"), &list("/etc/passwd"))
}

fn is_private(group: u32, user: u32, groups: &str, users: &str) -> bool {
    let number = |text: Option<&&str>| text.and_then(|text| text.parse::<u32>().ok());
    let mut name = None;
    for line in users.lines() {
        let parts: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (number(parts.get(2)), number(parts.get(3)));
        if uid == Some(user) {
            name = name.or_else(|| parts.first().copied());
        } else if gid == Some(group) {
            // The first group of somebody else.
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
    fn a_group_of_one_is_its_owners_own() {
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                     bob:x:1001:1001::/home/bob:/bin/sh\neve:x:1002:50::/:/bin/sh\n";
        let groups = "root:x:0:\nann:x:1000:\nbob:x:1001:ann\nstaff:x:50:\nlone:x:60:ann\n";
        let is = |group, user| is_private(group, user, groups, users);
        assert!(is(1000, 1000) && is(60, 1000));
        // It has another member, or is the first group of somebody else, or nothing is known of it.
        assert!(!is(1001, 1001) && !is(50, 1000) && !is(61, 1000) && !is(1000, 77));
        assert!(!is_private(1000, 1000, "", ""));
    }
}
