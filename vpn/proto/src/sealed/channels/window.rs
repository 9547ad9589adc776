//! The receiving window of a channel: how many bytes the peer may send (PROTOCOL.md §4.10).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The first window of every channel in bytes.
pub const FIRST_WINDOW: u32 = 64 * 1024;
/// The largest window of a channel in bytes.
const MAX_WINDOW: u32 = 4 * 1024 * 1024;
/// Two batches of full records fit: one is on its way while the other one is opened. A window above
/// this grows only with the path, and is halved while bytes wait to be read. In bytes.
const TWO_BATCHES: u32 = 512 * 1024;
/// Up to there a window grows if half of it is used up in this time, even if two round trips are
/// shorter.
const QUICK: Duration = Duration::from_millis(5);

/// The memory that the windows of many sessions share.
#[derive(Debug)]
pub struct WindowBudget {
    limit: usize,
    used: AtomicUsize,
}

impl WindowBudget {
    /// A budget of this many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// The bytes that are reserved now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let reserved = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserved).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The windows of a session together.
#[derive(Debug)]
pub(super) struct SessionBudget {
    /// No window grows if the windows of the session would exceed this many bytes.
    pub(super) growth: usize,
    pub(super) used: usize,
    pub(super) program: Option<Arc<WindowBudget>>,
}

impl SessionBudget {
    fn reserve(&mut self, bytes: usize) -> bool {
        let is_reserved = self.program.as_ref().is_none_or(|program| program.reserve(bytes));
        if is_reserved {
            self.used += bytes;
        }
        is_reserved
    }

    fn release(&mut self, bytes: usize) {
        self.used -= bytes;
        if let Some(program) = &self.program {
            program.release(bytes);
        }
    }
}

impl Drop for SessionBudget {
    fn drop(&mut self) {
        if let Some(program) = &self.program {
            program.release(self.used);
        }
    }
}

/// The window of one channel.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) size: u32,
    /// The bytes that the peer may still send.
    pub(super) granted: u32,
    /// The bytes that the user has taken since the last grant.
    pub(super) taken: u32,
    /// The last grant, and the one before.
    grants: [Option<Grant>; 2],
}

/// A grant of credit.
#[derive(Clone, Copy, Debug)]
struct Grant {
    at: Instant,
    /// [`Path::drained`] then.
    drained: u64,
    /// The bytes that were taken since the grant before.
    taken: u32,
}

/// What is known of the path of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// How long a round trip takes.
    pub(super) round_trip: Option<Duration>,
    /// How often everything that had arrived was read.
    pub(super) drained: u64,
}

impl Window {
    /// The first window. `None` if there is no memory for it.
    pub(super) fn new(budget: &mut SessionBudget) -> Option<Self> {
        let is_reserved = budget.reserve(FIRST_WINDOW as usize);
        is_reserved.then_some(Self {
            size: FIRST_WINDOW,
            granted: FIRST_WINDOW,
            taken: 0,
            grants: [None; 2],
        })
    }

    /// Counts bytes from the peer. Returns whether it was allowed to send them.
    pub(super) fn receive(&mut self, bytes: usize) -> bool {
        let rest = u32::try_from(bytes).ok().and_then(|bytes| self.granted.checked_sub(bytes));
        self.granted = rest.unwrap_or(self.granted);
        rest.is_some()
    }

    /// Counts bytes that the user has taken. Returns the credit for the peer, if it is time for it.
    pub(super) fn take(
        &mut self,
        bytes: usize,
        path: Path,
        now: Instant,
        budget: &mut SessionBudget,
    ) -> Option<u32> {
        // The user takes only what was received, and that was counted as a u32.
        self.taken = self.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.taken < self.size / 2 {
            return None;
        }
        let taken = std::mem::take(&mut self.taken);
        let mut credit = taken;
        // Bytes come and are taken in bursts, so a large window is judged by the last two grants.
        let (before, limit) = match (self.size < TWO_BATCHES, self.grants) {
            (true, [last, _]) => (last, path.round_trip.map(|time| (2 * time).max(QUICK))),
            (false, [last, before]) => {
                let both = f64::from(taken) + last.map_or(0.0, |last| f64::from(last.taken));
                // How long a whole window takes at most.
                let share = both / f64::from(self.size);
                (before, path.round_trip.map(|time| (2 * time).mul_f64(share)))
            }
        };
        let since = before.map(|before| now.saturating_duration_since(before.at));
        let is_used_up = since.zip(limit).is_some_and(|(since, limit)| since <= limit);
        let more = self.size.min(MAX_WINDOW - self.size);
        let was_drained = before.is_none_or(|before| before.drained != path.drained);
        if is_used_up
            && was_drained
            && more > 0
            && budget.used + more as usize <= budget.growth
            && budget.reserve(more as usize)
        {
            self.size += more;
            credit += more;
        } else if !was_drained && self.size > TWO_BATCHES {
            // We are slower than the path. A large window is only a queue, and all channels wait in it.
            let less = self.size / 2;
            self.size -= less;
            credit = credit.saturating_sub(less);
            budget.release(less as usize);
        }
        self.grants = [Some(Grant { at: now, drained: path.drained, taken }), self.grants[0]];
        self.granted += credit;
        (credit > 0).then_some(credit)
    }

    /// Returns the memory.
    pub(super) fn release(self, budget: &mut SessionBudget) {
        budget.release(self.size as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(growth: usize, program: usize) -> SessionBudget {
        SessionBudget { growth, used: 0, program: Some(WindowBudget::new(program)) }
    }

    /// A path of 50 ms whose bytes were read `drained` times.
    fn path(drained: u64) -> Path {
        Path { round_trip: Some(Duration::from_millis(50)), drained }
    }

    #[test]
    fn credit_comes_back_by_halves() {
        let mut budget = budget(1 << 20, 1 << 20);
        let mut window = Window::new(&mut budget).unwrap();
        let now = Instant::now();
        assert!(window.receive(65_536) && !window.receive(1));
        assert_eq!(window.take(32_767, path(1), now, &mut budget), None);
        assert_eq!(window.take(1, path(1), now, &mut budget), Some(32_768));
        assert!(window.receive(32_768) && !window.receive(1));
    }

    #[test]
    fn a_window_doubles_when_it_is_used_up_within_two_round_trips() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let mut now = Instant::now();
        let mut drained = 0;
        let mut take = |window: &mut Window, bytes: usize, after: u64| {
            now += Duration::from_millis(after);
            drained += 1;
            window.take(bytes, path(drained), now, &mut budget)
        };
        assert_eq!(take(&mut window, 32_768, 0), Some(32_768));
        assert_eq!(take(&mut window, 32_768, 101), Some(32_768));
        assert_eq!(take(&mut window, 32_768, 100), Some(32_768 + 65_536));
        assert_eq!(window.size, 131_072);
        for _ in 0..10 {
            take(&mut window, 4 << 20, 1);
        }
        assert_eq!((window.size, budget.used), (MAX_WINDOW, 4 << 20));
    }

    #[test]
    fn a_large_window_keeps_its_size_if_a_whole_one_comes_at_once() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let mut now = Instant::now();
        let mut sizes = Vec::new();
        for drained in 1..=40 {
            // All had been read before the burst, and not before its second half.
            for _ in 0..2 {
                let half = (window.size / 2) as usize;
                window.take(half, path(drained), now, &mut budget);
            }
            sizes.push(window.size);
            now += Duration::from_millis(50);
        }
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert_eq!(sizes.last(), Some(&MAX_WINDOW));
    }

    #[test]
    fn a_large_window_grows_if_each_grant_is_a_whole_one() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let mut now = Instant::now();
        let mut sizes = Vec::new();
        for drained in 1..=10 {
            window.take(window.size as usize, path(drained), now, &mut budget);
            sizes.push(window.size >> 10);
            now += Duration::from_millis(60);
        }
        assert_eq!(sizes, [64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096, 4096]);
    }

    #[test]
    fn a_burst_does_not_make_a_large_window_grow() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let (mut now, mut drained) = (Instant::now(), 0);
        let mut take = |window: &mut Window, after: u64| {
            now += Duration::from_millis(after);
            drained += 1;
            let half = (window.size / 2) as usize;
            window.take(half, path(drained), now, &mut budget);
            window.size
        };
        while take(&mut window, 1) < TWO_BATCHES {}
        // Half of it at once, and half of it after more than two round trips.
        for after in [101, 0, 101, 0, 101, 0] {
            assert_eq!(take(&mut window, after), TWO_BATCHES, "{after}");
        }
        assert_eq!(take(&mut window, 100), 2 * TWO_BATCHES);
    }

    #[test]
    fn a_window_does_not_grow_while_bytes_wait_at_the_receiver() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let now = Instant::now();
        for drained in [1, 1, 1] {
            assert_eq!(window.take(32_768, path(drained), now, &mut budget), Some(32_768));
        }
        assert_eq!(window.take(32_768, path(2), now, &mut budget), Some(32_768 + 65_536));
    }

    #[test]
    fn a_large_window_shrinks_while_bytes_wait_at_the_receiver() {
        let mut budget = budget(1 << 30, 1 << 30);
        let mut window = Window::new(&mut budget).unwrap();
        let now = Instant::now();
        for drained in 1..=20 {
            window.receive(window.granted as usize);
            let _ =
                window.take((window.size - window.taken) as usize, path(drained), now, &mut budget);
        }
        assert_eq!((window.size, budget.used), (MAX_WINDOW, 4 << 20));
        let mut sizes = Vec::new();
        for _ in 0..5 {
            assert!(window.receive((window.size / 2) as usize));
            let half = (window.size / 2) as usize;
            let credit = window.take(half, path(20), now, &mut budget);
            sizes.push((window.size, credit));
            assert_eq!((window.granted, budget.used), (window.size, window.size as usize));
        }
        let mib = 1 << 20;
        assert_eq!(
            sizes,
            [
                // There were times without waiting bytes since the last but one.
                (4 * mib, Some(2 * mib)),
                (2 * mib, None),
                (mib, None),
                (mib / 2, None),
                (mib / 2, Some(mib / 4)),
            ]
        );
    }

    #[test]
    fn without_memory_windows_do_not_grow_and_new_ones_are_refused() {
        let now = Instant::now();
        for mut budget in [budget(65_536, 1 << 20), budget(1 << 20, 65_536)] {
            let mut window = Window::new(&mut budget).unwrap();
            for drained in 0..3 {
                assert_eq!(window.take(32_768, path(drained), now, &mut budget), Some(32_768));
            }
            assert_eq!(window.size, FIRST_WINDOW);
        }
        let program = WindowBudget::new(100_000);
        let mut session = SessionBudget { growth: 0, used: 0, program: Some(program.clone()) };
        let window = Window::new(&mut session).unwrap();
        assert!(Window::new(&mut session).is_none());
        window.release(&mut session);
        let _lost = Window::new(&mut session).unwrap();
        assert_eq!(program.used(), 65_536);
        drop(session);
        assert_eq!(program.used(), 0);
    }
}
