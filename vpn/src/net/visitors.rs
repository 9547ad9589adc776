//! What each source has done lately, and whether its next connection is taken (PROTOCOL.md §4.7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;

use super::limits::{MINUTE, SOURCES, SourceLimits};
use super::source::{Network, Source};

/// The records of all sources, with a bound on their number.
#[derive(Clone, Debug)]
pub struct Visitors(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    limits: SourceLimits,
    exempt: Vec<Network>,
    half_open: usize,
    records: HashMap<Source, Record>,
}

/// What is known of one source.
#[derive(Debug)]
struct Record {
    half_open: usize,
    /// How many more connections it may open now, and when that was counted.
    tokens: f64,
    counted: Instant,
    /// Until when its penalties last, if they are beyond what is forgiven.
    penalised_until: Instant,
    is_barred: bool,
}

/// How a connection offended before it was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// It could not say who it is.
    Authentication,
    /// It went without authenticating.
    None,
    /// It broke the protocol.
    Protocol,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Turned {
    /// Too many handshakes of this source are under way.
    #[error("its source has {0} handshakes under way")]
    HalfOpen(usize),
    /// It opened too many connections within a minute.
    #[error("its source opens connections too often")]
    Rate,
    /// Its source is penalised.
    #[error("its source is penalised for {} more seconds", .0.as_secs() + 1)]
    Penalty(Duration),
    /// So many handshakes are under way in all that some are dropped at random.
    #[error("{0} handshakes are under way: dropped at random")]
    Random(usize),
}

/// One connection whose handshake is under way. Dropped without a word it counts as an
/// [`Offence::None`].
#[derive(Debug)]
pub struct Visit {
    book: Option<(Visitors, Source)>,
    offence: Option<Offence>,
}

impl Visitors {
    /// Nobody is known yet; connections from `exempt` networks are counted in the total only.
    pub fn new(limits: SourceLimits, exempt: Vec<Network>) -> Self {
        let records = HashMap::new();
        Self(Arc::new(Mutex::new(Book { limits, exempt, half_open: 0, records })))
    }

    /// Takes a connection, or says why not.
    ///
    /// # Errors
    ///
    /// [`Turned`]; the connection is to be closed without a word.
    pub fn enter(&self, address: std::net::IpAddr) -> Result<Visit, Turned> {
        let draw = rand::rng().random_range(0..100);
        self.enter_at(address, Instant::now(), draw)
    }

    fn enter_at(
        &self,
        address: std::net::IpAddr,
        now: Instant,
        draw: u32,
    ) -> Result<Visit, Turned> {
        let source = Source::of(address);
        let mut book = self.lock();
        let book = &mut *book;
        let limits = book.limits;
        if draw < limits.drop_chance(book.half_open) {
            return Err(Turned::Random(book.half_open));
        }
        if book.exempt.iter().any(|network| network.contains(address)) {
            book.half_open += 1;
            return Ok(Visit { book: Some((self.clone(), Source::SELF)), offence: None });
        }
        if book.records.len() >= SOURCES && !book.records.contains_key(&source) {
            book.records.retain(|_, record| !record.is_forgotten(now));
            if book.records.len() >= SOURCES {
                // So many addresses at work: it is no use to count each of them.
                book.half_open += 1;
                return Ok(Visit { book: Some((self.clone(), Source::SELF)), offence: None });
            }
        }
        let record = book.records.entry(source).or_insert_with(|| Record {
            half_open: 0,
            tokens: f64::from(limits.new_per_minute),
            counted: now,
            penalised_until: now,
            is_barred: false,
        });
        record.refill(now, limits);
        let penalty = record.penalised_until.saturating_duration_since(now);
        if record.is_barred && !penalty.is_zero() {
            return Err(Turned::Penalty(penalty));
        }
        record.is_barred = false;
        if record.half_open >= limits.half_open {
            return Err(Turned::HalfOpen(record.half_open));
        }
        if record.tokens < 1.0 {
            return Err(Turned::Rate);
        }
        record.tokens -= 1.0;
        record.half_open += 1;
        book.half_open += 1;
        Ok(Visit { book: Some((self.clone(), source)), offence: Some(Offence::None) })
    }

    fn leave(&self, source: Source, offence: Option<Offence>, now: Instant) {
        let mut book = self.lock();
        book.half_open = book.half_open.saturating_sub(1);
        let limits = book.limits;
        let Some(record) = book.records.get_mut(&source) else { return };
        record.half_open = record.half_open.saturating_sub(1);
        if let Some(offence) = offence {
            record.penalise(limits.penalty(offence), now, limits);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing that panics happens under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn refill(&mut self, now: Instant, limits: SourceLimits) {
        let most = f64::from(limits.new_per_minute);
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * most / MINUTE.as_secs_f64()).min(most);
        self.counted = now;
    }

    fn penalise(&mut self, penalty: Duration, now: Instant, limits: SourceLimits) {
        let until = self.penalised_until.max(now) + penalty;
        self.penalised_until = until.min(now + limits.penalty_cap);
        if self.penalised_until.duration_since(now) >= limits.penalty_min {
            self.is_barred = true;
        }
    }

    /// Whether a record says no more than that of somebody new would.
    fn is_forgotten(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted);
        self.half_open == 0 && self.penalised_until <= now && passed >= MINUTE
    }
}

impl Visit {
    /// A visit that nobody counts, for servers without these limits.
    pub fn uncounted() -> Self {
        Self { book: None, offence: None }
    }

    /// The handshake is over, and the peer is who it says it is.
    pub fn succeed(mut self) {
        self.offence = None;
    }

    /// The handshake is over, and how.
    pub fn offend(mut self, offence: Offence) {
        if self.offence.is_some() {
            self.offence = Some(offence);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some((visitors, source)) = self.book.take() {
            visitors.leave(source, self.offence, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SourceLimits = SourceLimits::DEFAULT;

    fn visitors(exempt: &str) -> Visitors {
        Visitors::new(LIMITS, exempt.split(',').filter_map(Network::parse).collect())
    }

    /// A source that nothing is known of.
    fn address(last: u8) -> std::net::IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_source_has_so_many_handshakes_at_once() {
        let all = visitors("");
        let now = Instant::now();
        let mut visits: Vec<Visit> =
            (0..LIMITS.half_open).map(|_| all.enter_at(address(1), now, 99).unwrap()).collect();
        let turned = all.enter_at(address(1), now, 99).unwrap_err();
        assert_eq!(turned, Turned::HalfOpen(LIMITS.half_open));
        assert!(all.enter_at(address(2), now, 99).is_ok());
        visits.pop().unwrap().succeed();
        assert!(all.enter_at(address(1), now, 99).is_ok());
    }

    #[test]
    fn a_source_opens_so_many_a_minute() {
        let all = visitors("");
        let now = Instant::now();
        for _ in 0..LIMITS.new_per_minute {
            all.enter_at(address(1), now, 99).unwrap().succeed();
        }
        assert_eq!(all.enter_at(address(1), now, 99).unwrap_err(), Turned::Rate);
        // One more every three seconds.
        let later = now + MINUTE / LIMITS.new_per_minute + Duration::from_millis(1);
        all.enter_at(address(1), later, 99).unwrap().succeed();
        assert_eq!(all.enter_at(address(1), later, 99).unwrap_err(), Turned::Rate);
    }

    #[test]
    fn penalties_add_up_to_a_cap_and_pass() {
        let all = visitors("");
        let now = Instant::now();
        let enter = |at| all.enter_at(address(1), at, 99);
        let leave = |visit: Visit, offence, at| {
            let (visitors, source) = { visit }.book.take().unwrap();
            visitors.leave(source, Some(offence), at);
        };
        // Whoever goes without authenticating now and then is forgiven.
        leave(enter(now).unwrap(), Offence::None, now);
        leave(enter(now).unwrap(), Offence::Authentication, now);
        let turned = enter(now).unwrap_err();
        assert_eq!(turned, Turned::Penalty(Duration::from_secs(6)));
        let later = now + Duration::from_secs(6);
        // Three that were taken before the first of them offended.
        let visits = [enter(later).unwrap(), enter(later).unwrap(), enter(later).unwrap()];
        for visit in visits {
            leave(visit, Offence::Protocol, later);
        }
        assert_eq!(enter(later).unwrap_err(), Turned::Penalty(Duration::from_secs(90)));
        for _ in 0..100 {
            all.leave(Source::of(address(1)), Some(Offence::Protocol), later);
        }
        assert_eq!(enter(later).unwrap_err(), Turned::Penalty(LIMITS.penalty_cap));
        assert!(enter(later + LIMITS.penalty_cap).is_ok());
        assert!(all.enter_at(address(2), later, 99).is_ok());
    }

    #[test]
    fn exempt_networks_are_counted_in_the_total_only() {
        let all = visitors("192.0.2.0/24");
        let now = Instant::now();
        let visits: Vec<Visit> =
            (0..40).map(|_| all.enter_at(address(1), now, 99).unwrap()).collect();
        assert_eq!(all.lock().half_open, 40);
        assert!(all.lock().records.is_empty());
        drop(visits);
        assert_eq!(all.lock().half_open, 0);
    }

    #[test]
    fn handshakes_are_dropped_at_random_before_there_are_too_many() {
        let chance = |half_open| LIMITS.drop_chance(half_open);
        assert_eq!((chance(0), chance(63), chance(64)), (0, 0, 30));
        assert_eq!((chance(160), chance(255), chance(256), chance(999)), (65, 99, 100, 100));
        let all = visitors("192.0.2.0/24");
        let now = Instant::now();
        let _visits: Vec<Visit> =
            (0..64).map(|_| all.enter_at(address(1), now, 0).unwrap()).collect();
        assert_eq!(all.enter_at(address(1), now, 29).unwrap_err(), Turned::Random(64));
        assert!(all.enter_at(address(1), now, 30).is_ok());
    }

    #[test]
    fn the_book_has_a_bound_and_forgets() {
        let all = visitors("");
        let now = Instant::now();
        for number in 0..SOURCES {
            let address = std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap());
            all.enter_at(address.into(), now, 99).unwrap().succeed();
        }
        assert_eq!(all.lock().records.len(), SOURCES);
        all.enter_at([203, 0, 113, 1].into(), now, 99).unwrap().succeed();
        assert_eq!(all.lock().records.len(), SOURCES);
        all.enter_at([203, 0, 113, 1].into(), now + MINUTE, 99).unwrap().succeed();
        assert_eq!(all.lock().records.len(), 1);
    }
}
