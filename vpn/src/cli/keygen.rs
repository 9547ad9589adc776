//! `vpn keygen` and `vpn fingerprint`.

use std::path::{Path, PathBuf};

use gethostname::gethostname;

use super::args::{FingerprintArgs, KeygenArgs};
use super::failure::{Exit, Failure};
use super::print;
use crate::identity::{create_folder, fingerprint, folder, generate, read_public_key, write_new};

/// The name of our own key in our folder.
pub(super) const DEFAULT_NAME: &str = "id_ed25519";

pub(super) fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let path = match &args.out {
        Some(path) => path.clone(),
        None => own_folder()?.join(DEFAULT_NAME),
    };
    let public_path = with_pub(&path);
    let comment = args.comment.clone().unwrap_or_else(|| {
        let user = std::env::var("USER").unwrap_or_else(|_| "vpn".to_owned());
        format!("{user}@{}", gethostname().to_string_lossy())
    });
    if comment.contains(['\n', '\r']) {
        return Err(Failure::new(Exit::Usage, "a comment is one line"));
    }
    let (private, public) = generate(&comment, &mut rand::rng())
        .map_err(|error| Failure::new(Exit::Local, format_args!("cannot make a key: {error}")))?;
    // Neither file is written if one of them must not be.
    for file in [&path, &public_path] {
        if !args.force && file.exists() {
            let problem = format!("{} exists already", file.display());
            return Err(Failure::new(Exit::Local, problem).hint("--force replaces it"));
        }
    }
    write_new(&path, &private, true, args.force)?;
    write_new(&public_path, &format!("{public}\n"), false, args.force)?;
    print(&format!("{}\n{} {}\n", path.display(), fingerprint(&public.bytes), public.comment))
}

pub(super) fn show(args: &FingerprintArgs) -> Result<(), Failure> {
    let key = read_public_key(&args.file)?;
    print(&format!("{} {}\n", fingerprint(&key.bytes), key.comment))
}

/// Our folder, which is made if it is not there.
fn own_folder() -> Result<PathBuf, Failure> {
    let folder = folder().ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no home folder").hint("name a file with --out")
    })?;
    create_folder(&folder)?;
    Ok(folder)
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}
