//! `#[needs(…)]`, above `#[test]`: where a program is missing that a test needs, the test is ignored,
//! with the command that installs it as the reason. So `cargo test` counts it as ignored and not as
//! passed.
//!
//! ```ignore
//! #[needs(python)]
//! #[test]
//! fn the_other_side_understands_us() {}
//! ```
//!
//! With `VPN_INTEROP_REQUIRED=1` nothing is ignored; a test that lacks something fails.

use proc_macro::{TokenStream, TokenTree};

/// What can be needed, and the command that installs it where it is missing: `build.rs` looks for it.
const KNOWN: [(&str, &str); 3] = [
    ("python", env!("NEEDS_PYTHON")),
    ("libgcrypt", env!("NEEDS_LIBGCRYPT")),
    ("ssh_keygen", env!("NEEDS_SSH_KEYGEN")),
];

/// Ignores a test where something is missing: `python` (with the packages of the interop peers),
/// `libgcrypt` or `ssh_keygen`. It stands above `#[test]`.
#[proc_macro_attribute]
pub fn needs(what: TokenStream, test: TokenStream) -> TokenStream {
    let what = what.to_string();
    let Some((_, install)) = KNOWN.iter().find(|(name, _)| *name == what) else {
        let known = KNOWN.map(|(name, _)| name).join(", ");
        return error(&format!("'{what}' is unknown; there are: {known}"));
    };
    if !is_test(test.clone()) {
        return error("needs(…) has to stand above #[test]");
    }
    if install.is_empty() {
        return test;
    }
    let mut ignored = parsed(&format!("#[ignore = {install:?}]"));
    ignored.extend(test);
    ignored
}

/// Whether `#[test]` is among the attributes.
fn is_test(item: TokenStream) -> bool {
    let mut tokens = item.into_iter();
    while matches!(tokens.next(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#') {
        if tokens.next().is_some_and(|attribute| attribute.to_string() == "[test]") {
            return true;
        }
    }
    false
}

fn error(message: &str) -> TokenStream {
    parsed(&format!("compile_error!({message:?});"))
}

fn parsed(text: &str) -> TokenStream {
    text.parse().expect("this is Rust")
}
