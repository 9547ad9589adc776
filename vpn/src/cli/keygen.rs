//! `vpn keygen` and `vpn fingerprint`.

use std::path::{Path, PathBuf};

use gethostname::gethostname;

use super::args::{FingerprintArgs, KeygenArgs};
use super::failure::{Exit, Failure};
use super::print;
use crate::files::{NewFile, Role, create_folder, expand, shown, write_pair};
use crate::trust::{config_folder, generate, read_public_keys};

/// The file name of the default key in the user's folder.
pub(super) const DEFAULT_NAME: &str = "id_ed25519";

pub(super) fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let path = match &args.out {
        Some(path) => expand(path).map_err(|words| Failure::new(Exit::Usage, words))?,
        None => own_folder()?.join(DEFAULT_NAME),
    };
    if path.file_name().is_none() {
        return Err(Failure::new(Exit::Usage, "--out names no file"));
    }
    let public_path = with_pub(&path);
    let comment = args.comment.clone().unwrap_or_else(|| {
        let user = std::env::var("USER").unwrap_or_else(|_| "vpn".to_owned());
        let text = format!("{user}@{}", gethostname().to_string_lossy());
        text.replace(char::is_control, "?")
    });
    if comment.contains(char::is_control) {
        return Err(Failure::new(Exit::Usage, "a comment is one line without control characters"));
    }
    let (private, public) = generate(&comment, &mut rand::rng())
        .map_err(|error| Failure::new(Exit::Local, format_args!("cannot make a key: {error}")))?;
    let text = format!("{public}\n");
    let private = NewFile { path: &path, bytes: private.as_bytes(), is_secret: true };
    let half = NewFile { path: &public_path, bytes: text.as_bytes(), is_secret: false };
    write_pair(private, half, Role::Identity, args.force)?;
    print(&format!("{}\n{}\n", shown(&path), public.summary()))
}

pub(super) fn show(args: &FingerprintArgs) -> Result<(), Failure> {
    let mut text = String::new();
    for key in read_public_keys(&args.file)? {
        text.push_str(&key.summary());
        text.push('\n');
    }
    print(&text)
}

/// The user's folder. It is made if it does not exist.
fn own_folder() -> Result<PathBuf, Failure> {
    let folder = config_folder().ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no home folder").hint("name a file with --out")
    })?;
    create_folder(&folder, Role::Identity)?;
    Ok(folder)
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
