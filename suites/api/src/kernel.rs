//! The choice between kernels. A kernel is code for one kind of processor; it has a portable twin
//! with the same results.

use std::sync::{PoisonError, RwLock};

/// What is forced in this process.
enum Forced {
    /// One kernel for each kind of work at most, by their names. An empty list forces nothing.
    Named(Vec<&'static str>),
    /// The portable kernel for every kind of work.
    Portable,
}

static FORCED: RwLock<Forced> = RwLock::new(Forced::Named(Vec::new()));

/// Forces the portable kernel for every kind of work, or lets the fastest ones be used again. Takes
/// effect with the next key.
///
/// It is for tests and measurements. The results are the same. A later call of this function or of
/// [`force_kernels`] replaces an earlier one.
pub fn force_portable(is_forced: bool) {
    force(if is_forced { Forced::Portable } else { Forced::Named(Vec::new()) });
}

/// Forces kernels by their names, for the kinds of work that have a kernel of that name. Other work
/// is done by the fastest kernel. With no names nothing is forced. Takes effect with the next key.
///
/// It is for tests and measurements. The results are the same. A name without a kernel has no
/// effect. [`CipherSuite::kernels`](crate::CipherSuite::kernels) has the names of a suite.
pub fn force_kernels(names: &[&'static str]) {
    force(Forced::Named(names.to_vec()));
}

/// Returns whether the portable kernels are forced.
pub fn is_portable_forced() -> bool {
    matches!(*FORCED.read().unwrap_or_else(PoisonError::into_inner), Forced::Portable)
}

/// Chooses the kernel for a kind of work: the one that is forced, or else the first of `all`.
///
/// `all` has the kernels that the processor can run, the fastest first. `portable` is the one that
/// every processor can run, and `name` returns the name of a kernel.
///
/// ```
/// use vpn_suite::{choose_kernel, force_kernels};
///
/// let choose = || choose_kernel(["vectors", "generic"].into_iter(), "generic", |name| name);
/// assert_eq!(choose(), "vectors");
/// force_kernels(&["generic"]);
/// assert_eq!(choose(), "generic");
/// # force_kernels(&[]);
/// ```
pub fn choose_kernel<K: Copy>(
    mut all: impl Iterator<Item = K>,
    portable: K,
    name: impl Fn(K) -> &'static str,
) -> K {
    match &*FORCED.read().unwrap_or_else(PoisonError::into_inner) {
        Forced::Portable => portable,
        Forced::Named(names) => {
            let Some(fastest) = all.next() else { return portable };
            let mut all = [fastest].into_iter().chain(all);
            all.find(|kernel| names.contains(&name(*kernel))).unwrap_or(fastest)
        }
    }
}

fn force(what: Forced) {
    *FORCED.write().unwrap_or_else(PoisonError::into_inner) = what;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because what is forced is global.
    #[test]
    fn what_is_forced_is_chosen() {
        let choose = |all: &[&'static str]| choose_kernel(all.iter().copied(), "last", |name| name);
        let all = ["first", "second", "last"];
        assert_eq!(choose(&all), "first");
        assert_eq!(choose(&[]), "last");
        for name in all {
            force_kernels(&["elsewhere", name]);
            assert_eq!(choose(&all), name);
            assert!(!is_portable_forced());
        }
        force_kernels(&["elsewhere"]);
        assert_eq!(choose(&all), "first");
        force_portable(true);
        assert_eq!(choose(&all), "last");
        assert!(is_portable_forced());
        force_kernels(&["second"]);
        assert_eq!(choose(&all), "second");
        force_portable(false);
        assert_eq!(choose(&all), "first");
    }
}
