//! A peer of the sealed profile that breaks one rule is refused by the honest side, with the words that the
//! rule has.

mod client_hellos;
#[cfg(unix)]
mod processes;
mod proofs;
mod readies;
mod server_hellos;
mod session;
mod session_peer;

use vpn_proto::sealed::SealedError;

/// What the peer hears when the honest side gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// A Reject with this code.
    Reject(u8),
    /// An alert of this code, which opens under the keys that it should be sealed with.
    Alert(u16),
    /// Something else.
    Other,
}

/// How a case ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The honest side takes it.
    Accepted,
    Ended(SealedError, Said),
    /// The variants of a case differ, with the number of the first that does.
    Mixed(usize, Box<Self>, Box<Self>),
}

impl Seen {
    fn is_anywhere(&self) -> bool {
        matches!(self, Self::Ended(SealedError::Malformed(SOMEWHERE), _))
    }

    /// The same, wherever it was that a message is malformed.
    fn anywhere(self) -> Self {
        match self {
            Self::Ended(SealedError::Malformed(_), said) => {
                Self::Ended(SealedError::Malformed(SOMEWHERE), said)
            }
            seen => seen,
        }
    }
}

/// Where a message is malformed whose parts are read in other places than they were written.
pub(super) const SOMEWHERE: &str = "somewhere";

/// The honest side says nothing.
pub(super) fn silent(error: SealedError) -> Seen {
    Seen::Ended(error, Said::Nothing)
}

pub(super) fn malformed(what: &'static str) -> Seen {
    silent(SealedError::Malformed(what))
}

pub(super) fn unexpected(expected: u8, got: u8) -> Seen {
    silent(SealedError::Unexpected { expected, got })
}

/// One outcome of many variants; wherever a message was cut, it is malformed.
pub(super) fn all(variants: impl Iterator<Item = Seen>) -> Seen {
    let mut variants = variants.map(Seen::anywhere).enumerate();
    let (_, first) = variants.next().unwrap();
    match variants.find(|(_, seen)| *seen != first) {
        None => first,
        Some((number, seen)) => Seen::Mixed(number, Box::new(first), Box::new(seen)),
    }
}

/// A case, what should come of it, and how to see what does.
pub(super) struct Case {
    name: String,
    expected: Seen,
    run: Box<dyn FnOnce() -> Seen>,
}

pub(super) fn case(
    name: impl Into<String>,
    expected: Seen,
    run: impl FnOnce() -> Seen + 'static,
) -> Case {
    Case { name: name.into(), expected, run: Box::new(run) }
}

/// Runs all cases, and tells of every one that ends in another way than it should.
fn assert_all(cases: Vec<Case>, at_least: usize) {
    let mut names: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
    assert!(names.len() >= at_least, "only {} cases", names.len());
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        panic!("two cases are called '{}'", twice[0]);
    }
    let wrong = cases.into_iter().filter_map(|case| {
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case.run));
        match seen {
            Ok(seen) if seen == case.expected => None,
            // Where it is malformed is not the point.
            Ok(seen) if case.expected.is_anywhere() && seen.clone().anywhere() == case.expected => {
                None
            }
            Ok(seen) => Some(format!("{}: {seen:?} instead of {:?}", case.name, case.expected)),
            Err(_) => Some(format!("{}: a panic", case.name)),
        }
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.join("\n"));
}

#[test]
fn no_first_message_breaks_the_other_side() {
    let mut cases = client_hellos::cases();
    cases.extend(server_hellos::cases());
    assert_all(cases, 120);
}

#[test]
fn no_proof_and_no_ready_but_the_right_one_is_accepted() {
    let mut cases = proofs::cases();
    cases.extend(readies::readies());
    assert_all(cases, 120);
}

#[test]
fn no_message_out_of_place_goes_unpunished_in_a_session() {
    assert_all(session::cases(), 120);
}
