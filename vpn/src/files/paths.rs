//! Paths that users write.

use std::path::{Path, PathBuf};

use vpn_proto::Printable;

/// A path for messages. Characters that could move the cursor or hide text are escaped.
pub fn shown(path: &Path) -> String {
    Printable(path.as_os_str().as_encoded_bytes()).to_string()
}

/// The home folder: `$HOME`, or the entry of passwd(5) if the variable is not set.
pub fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The path that a setting of a file means. `~/` is the home folder. Any other relative path starts
/// from `folder`, the folder of the file.
///
/// # Errors
///
/// A message for the user if the path begins with `~user`, or there is no home folder.
pub fn resolve(folder: &Path, name: &Path) -> Result<PathBuf, String> {
    let expanded = expand(name)?;
    Ok(folder.join(expanded))
}

/// The path that a user means. `~/` is the home folder.
///
/// # Errors
///
/// A message for the user if the path begins with `~user`, or there is no home folder.
pub fn expand(name: &Path) -> Result<PathBuf, String> {
    let bytes = name.as_os_str().as_encoded_bytes();
    if !bytes.starts_with(b"~") {
        return Ok(name.to_owned());
    }
    let mut parts = name.components();
    let first = parts.next().map(|part| part.as_os_str().to_owned());
    if first.is_some_and(|first| first == "~") {
        let home = home().ok_or("there is no home folder for ~; write the whole path")?;
        return Ok(home.join(parts.as_path()));
    }
    Err(format!("'{}': only ~/ is known; write the whole path", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = home().unwrap();
        assert_eq!(resolve(Path::new("/etc"), Path::new("~/x/y")).unwrap(), home.join("x/y"));
        assert_eq!(resolve(Path::new("/etc"), Path::new("x")).unwrap(), Path::new("/etc/x"));
        assert_eq!(resolve(Path::new("/etc"), Path::new("/x~")).unwrap(), Path::new("/x~"));
        let error = resolve(Path::new("/etc"), Path::new("~root/x")).unwrap_err();
        assert!(error.contains("write the whole path"), "{error}");
    }
}
