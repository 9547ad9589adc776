//! Every connection that has not proved itself yet, and which of them has to go when there are too many
//! (PROTOCOL.md §3.7, §4.7).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::oneshot;

use super::handle::Admission;
use super::source_tree::{Crowd, Standing};
use crate::net::limits::{KNOWN_CLIENT_CREDIT, MINUTE, PROGRESS_CREDIT, SOURCES, SourceLimits};
use crate::net::lru::LruMap;
use crate::net::source::{Network, Source};

/// The connections of a server that have not proved themselves yet, and what their sources did lately.
#[derive(Clone)]
pub struct Visitors(Arc<Mutex<Book>>);

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // There may be thousands of them.
        f.write_str("Visitors(..)")
    }
}

struct Book {
    /// None on a server that has no handshakes to limit but by the number of its sessions.
    limits: Option<SourceLimits>,
    exempt: Vec<Network>,
    history: LruMap<Source, Record>,
    next: u64,
    connections: HashMap<u64, Connection>,
    /// Those whose handshake is not over.
    half_open: Crowd,
    /// Those with a key and without a word: their peers may be anybody, and may never speak.
    wordless: Crowd,
}

struct Connection {
    source: Source,
    standing: Standing,
    is_wordless: bool,
    is_known: bool,
    evict: oneshot::Sender<&'static str>,
    /// What it costs its source if it goes now.
    offence: Option<Offence>,
}

/// What speaks for a connection, beyond how long it has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// Its handshake has failed and only the peer has to hear so, or the peer has closed its side.
    Over,
    /// It has not said anything yet, or not what comes next.
    Silent,
    /// It has come further.
    Heard,
    /// It has shown that it knows our key or a PSK.
    Known,
}

/// What is known of one source.
#[derive(Debug)]
struct Record {
    /// How many more connections it may open now, and when that was counted.
    tokens: f64,
    counted: Instant,
    /// Until when its penalties last, if they are beyond what is forgiven.
    penalised_until: Instant,
    is_penalised: bool,
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

impl Offence {
    /// How long the source counts as too busy for this.
    fn penalty(self, limits: &SourceLimits) -> Duration {
        match self {
            Self::Authentication => limits.penalty_authentication,
            Self::None => limits.penalty_none,
            Self::Protocol => limits.penalty_protocol,
        }
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Turned {
    /// All sessions are taken by peers that have proved themselves.
    #[error("all sessions are taken")]
    Full,
    /// There is little room left, and its source opened too many connections within a minute.
    #[error("its source opens connections too often while there is little room")]
    Rate,
    /// There is little room left, and its source is penalised.
    #[error("its source is penalised for {} more seconds while there is little room", .0.as_secs() + 1)]
    Penalty(Duration),
}

/// Resolves when a connection has to make room for another, with the words for the log.
pub(in crate::net) type Eviction = oneshot::Receiver<&'static str>;

impl Visitors {
    /// Nobody is known yet; connections from `exempt` networks have no rate and no penalties.
    pub fn new(limits: SourceLimits, exempt: Vec<Network>) -> Self {
        Self::with(Some(limits), exempt)
    }

    /// As many as there are sessions, wherever they come from.
    pub(in crate::net) fn unlimited() -> Self {
        Self::with(None, Vec::new())
    }

    fn with(limits: Option<SourceLimits>, exempt: Vec<Network>) -> Self {
        Self(Arc::new(Mutex::new(Book {
            limits,
            exempt,
            history: LruMap::new(SOURCES),
            next: 0,
            connections: HashMap::new(),
            half_open: Crowd::default(),
            wordless: Crowd::default(),
        })))
    }

    /// Whether there are limits beyond the number of sessions.
    pub(in crate::net) fn is_limited(&self) -> bool {
        self.lock().limits.is_some()
    }

    /// Takes a connection, or says why not. Without a free slot for it another one has to go.
    pub(in crate::net) fn enter(
        &self,
        address: IpAddr,
        has_slot: bool,
    ) -> Result<(Admission, Eviction), Turned> {
        let draw = rand::rng().random_range(0..100);
        self.enter_at(address, has_slot, Instant::now(), draw)
    }

    fn enter_at(
        &self,
        address: IpAddr,
        has_slot: bool,
        now: Instant,
        draw: u32,
    ) -> Result<(Admission, Eviction), Turned> {
        let source = Source::of(address);
        let mut book = self.lock();
        let number = book.enter(source, address, has_slot, now, draw)?;
        let (evict, eviction) = oneshot::channel();
        let standing = (Some(now), number);
        book.half_open.insert(source, standing, number);
        let offence = book.is_counted(address).then_some(Offence::None);
        let (is_wordless, is_known) = (false, false);
        let connection = Connection { source, standing, is_wordless, is_known, evict, offence };
        book.connections.insert(number, connection);
        Ok((Admission::new(self.clone(), number), eviction))
    }

    /// Has a connection make room where the system has none for another, if there is one to do so.
    pub(in crate::net) fn make_room(&self) {
        let mut book = self.lock();
        let last = book.half_open.last().or_else(|| book.wordless.last_of_several());
        if let Some(number) = last {
            book.evict(number);
        }
    }

    /// The connection has come further, and may have shown that it knows our key or a PSK.
    pub(in crate::net) fn advance(&self, number: u64, is_known: bool) {
        let worth = if is_known { Worth::Known } else { Worth::Heard };
        self.lock().restand(number, worth, false);
    }

    /// It is the peer's turn to say something.
    pub(in crate::net) fn await_peer(&self, number: u64) {
        let mut book = self.lock();
        // A client that knows our key keeps the time that it has for that.
        if book.connections.get(&number).is_some_and(|connection| !connection.is_known) {
            book.restand(number, Worth::Silent, false);
        }
    }

    /// The peer has closed its side.
    pub(in crate::net) fn abandon(&self, number: u64) {
        self.lock().restand(number, Worth::Over, false);
    }

    /// The handshake is over, and the peer may be anybody.
    pub(in crate::net) fn await_word(&self, number: u64) {
        let mut book = self.lock();
        book.restand(number, Worth::Silent, true);
        if let Some(connection) = book.connections.get_mut(&number) {
            connection.offence = None;
        }
    }

    /// The handshake is over because of this, if anybody is to blame.
    pub(in crate::net) fn offend(&self, number: u64, offence: Option<Offence>, now: Instant) {
        let mut book = self.lock();
        book.restand(number, Worth::Over, false);
        let Some(connection) = book.connections.get_mut(&number) else { return };
        let (source, counted) = (connection.source, connection.offence.take());
        if let (Some(_), Some(offence)) = (counted, offence) {
            book.penalise(source, offence, now);
        }
    }

    /// The connection has proved itself: it stays.
    pub(in crate::net) fn establish(&self, number: u64) {
        self.lock().forget(number);
    }

    /// The connection is closed.
    pub(in crate::net) fn leave(&self, number: u64, now: Instant) {
        let mut book = self.lock();
        if let Some(Connection { source, offence: Some(offence), .. }) = book.forget(number) {
            book.penalise(source, offence, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Nothing that panics happens under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Whether the rate and the penalties of single sources are about this address.
    fn is_counted(&self, address: IpAddr) -> bool {
        self.limits.is_some() && !self.exempt.iter().any(|network| network.contains(address))
    }

    /// Makes room for a connection where that is needed: its number.
    fn enter(
        &mut self,
        source: Source,
        address: IpAddr,
        has_slot: bool,
        now: Instant,
        draw: u32,
    ) -> Result<u64, Turned> {
        let busy = match self.limits {
            Some(limits) if self.is_counted(address) => self.is_too_busy(source, limits, now),
            _ => Ok(()),
        };
        let half_open = self.half_open.len();
        let victim = match self.limits {
            Some(limits) if half_open >= limits.early_drop.0 => {
                let has_to = draw < limits.drop_chance(half_open);
                match busy {
                    // It has no claim to the place of anybody but its own.
                    Err(turned) if has_to => match (self.half_open.last_of(source), turned) {
                        (None, Some(turned)) => return Err(turned),
                        (own, _) => own,
                    },
                    Err(_) => None,
                    Ok(()) => self
                        .half_open
                        .last_of_more_than(source)
                        .or_else(|| has_to.then(|| self.half_open.last()).flatten()),
                }
            }
            _ => None,
        };
        let victim = match victim {
            None if !has_slot => {
                let of_more = self.half_open.last_of_more_than(source);
                let any = of_more.or_else(|| self.half_open.last());
                Some(any.or_else(|| self.wordless.last_of_several()).ok_or(Turned::Full)?)
            }
            victim => victim,
        };
        if let Some(number) = victim {
            self.evict(number);
        }
        self.next += 1;
        Ok(self.next)
    }

    /// Counts a connection of a source, and says whether it does more than it should.
    fn is_too_busy(
        &mut self,
        source: Source,
        limits: SourceLimits,
        now: Instant,
    ) -> Result<(), Option<Turned>> {
        let has_many = self.half_open.of(source) >= limits.half_open;
        let record = self.history.entry(source, || Record::new(now, limits));
        record.refill(now, limits);
        let penalty = record.penalised_until.saturating_duration_since(now);
        record.is_penalised &= !penalty.is_zero();
        let has_token = record.tokens >= 1.0;
        if has_token {
            record.tokens -= 1.0;
        }
        match (record.is_penalised, has_token) {
            (true, _) => Err(Some(Turned::Penalty(penalty))),
            (_, false) => Err(Some(Turned::Rate)),
            _ if has_many => Err(None),
            _ => Ok(()),
        }
    }

    /// Gives a connection another place among those of its source.
    fn restand(&mut self, number: u64, worth: Worth, is_wordless: bool) {
        let now = Instant::now();
        let until = match worth {
            Worth::Over => None,
            Worth::Silent => Some(now),
            Worth::Heard => Some(now + PROGRESS_CREDIT),
            Worth::Known => Some(now + KNOWN_CLIENT_CREDIT),
        };
        let standing = (until, number);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let source = connection.source;
        connection.is_known = worth == Worth::Known;
        let old = std::mem::replace(&mut connection.standing, standing);
        let was_wordless = std::mem::replace(&mut connection.is_wordless, is_wordless);
        self.crowd(was_wordless).remove(source, old);
        self.crowd(is_wordless).insert(source, standing, number);
    }

    fn crowd(&mut self, is_wordless: bool) -> &mut Crowd {
        if is_wordless { &mut self.wordless } else { &mut self.half_open }
    }

    fn forget(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        self.crowd(connection.is_wordless).remove(connection.source, connection.standing);
        Some(connection)
    }

    /// Tells a connection to make room.
    fn evict(&mut self, number: u64) {
        let Some(connection) = self.forget(number) else { return };
        let why = if connection.is_wordless {
            "its session, in which it said nothing, had to make room for others"
        } else {
            "its handshake had to make room for others"
        };
        // If it ended just now there is room as well.
        let _ = connection.evict.send(why);
    }

    fn penalise(&mut self, source: Source, offence: Offence, now: Instant) {
        if let Some(limits) = self.limits {
            let record = self.history.entry(source, || Record::new(now, limits));
            record.penalise(offence.penalty(&limits), now, limits);
        }
    }
}

impl Record {
    fn new(now: Instant, limits: SourceLimits) -> Self {
        let tokens = f64::from(limits.new_per_minute);
        Self { tokens, counted: now, penalised_until: now, is_penalised: false }
    }

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
            self.is_penalised = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use oneshot::error::TryRecvError;

    use super::*;

    const LIMITS: SourceLimits = SourceLimits::DEFAULT;
    const START: usize = LIMITS.early_drop.0;
    const FULL: usize = LIMITS.early_drop.2;

    type Entered = Result<(Admission, Eviction), Turned>;

    fn visitors(exempt: &str) -> Visitors {
        Visitors::new(LIMITS, exempt.split(',').filter_map(Network::parse).collect())
    }

    /// A source that nothing is known of, in a network of its own.
    fn address(number: usize) -> IpAddr {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        [20 + high, low, 0, 1].into()
    }

    fn has_to_go(eviction: &mut Eviction) -> bool {
        match eviction.try_recv() {
            Ok(_) => true,
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Closed) => panic!("forgotten"),
        }
    }

    /// So many connections from one address.
    fn many(all: &Visitors, from: IpAddr, count: usize) -> Vec<(Admission, Eviction)> {
        (0..count).map(|_| all.enter_at(from, true, Instant::now(), 99).unwrap()).collect()
    }

    #[test]
    fn as_long_as_there_is_room_every_source_is_served() {
        let all = visitors("");
        let now = Instant::now();
        let mut held = many(&all, address(1), START);
        assert!(held.iter_mut().all(|(_, eviction)| !has_to_go(eviction)));
        // Beyond that, a source with so many takes its own places: that of the oldest, but first those
        // of others that said nothing.
        held[0].0.advance(false);
        let _new = all.enter_at(address(1), true, now, 0).unwrap();
        assert!(!has_to_go(&mut held[0].1) && has_to_go(&mut held[1].1));
        assert_eq!(all.lock().half_open.len(), START);
    }

    #[test]
    fn silent_connections_shut_nobody_out_whichever_address_holds_them() {
        for exempt in ["", "20.0.0.0/8"] {
            let all = visitors(exempt);
            let mut silent = many(&all, address(1), FULL);
            let newcomers: Vec<_> = (2..30)
                .map(|n| all.enter_at(address(n), true, Instant::now(), 0).unwrap())
                .collect();
            let gone = silent.iter_mut().filter_map(|(_, e)| e.try_recv().ok()).count();
            // With one counted address the oldest had to go all the time.
            assert!(gone >= newcomers.len());
            for (_admission, mut eviction) in newcomers {
                assert!(!has_to_go(&mut eviction));
            }
            assert!(all.lock().half_open.len() <= FULL);
        }
    }

    #[test]
    fn many_networks_of_one_customer_shut_nobody_out() {
        let all = visitors("");
        let now = Instant::now();
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]);
        let _attackers: Vec<Entered> =
            (0..1000).map(|n| all.enter_at(of(n % 256), true, now, 99)).collect();
        for number in 0..20 {
            let other = IpAddr::from([0x2001, 0xdb8, 0x1000 + number, 1, 0, 0, 0, 1]);
            let (_admission, mut eviction) = all.enter_at(other, true, now, 0).unwrap();
            // It stays while the attackers go on.
            for n in 0..100 {
                let _ = all.enter_at(of(n), true, now, 0);
            }
            assert!(!has_to_go(&mut eviction));
        }
    }

    #[test]
    fn among_equals_one_goes_by_chance_and_never_are_there_too_many() {
        let chance = |half_open| LIMITS.drop_chance(half_open);
        assert_eq!((chance(0), chance(63), chance(64)), (0, 0, 30));
        assert_eq!((chance(160), chance(255), chance(256), chance(999)), (65, 99, 100, 100));
        let all = visitors("");
        let now = Instant::now();
        let mut held: Vec<_> =
            (0..START).map(|n| all.enter_at(address(n), true, now, 0).unwrap()).collect();
        held.push(all.enter_at(address(START), true, now, 30).unwrap());
        assert_eq!(all.lock().half_open.len(), START + 1);
        held.push(all.enter_at(address(START + 1), true, now, 29).unwrap());
        assert_eq!(all.lock().half_open.len(), START + 1);
        assert_eq!(held.iter_mut().filter_map(|(_, e)| e.try_recv().ok()).count(), 1);
        for n in 1000..2000 {
            held.push(all.enter_at(address(n), true, now, 99).unwrap());
        }
        assert_eq!(all.lock().half_open.len(), FULL);
    }

    #[test]
    fn a_source_that_comes_too_often_is_turned_away_only_where_there_is_little_room() {
        let all = visitors("");
        let now = Instant::now();
        let enter = |at| all.enter_at(address(1), true, at, 0);
        let come_and_go = |at| enter(at).map(|(admission, _)| admission.excuse());
        for _ in 0..2 * LIMITS.new_per_minute {
            come_and_go(now).unwrap();
        }
        let _others: Vec<_> = (0..START + 9)
            .map(|n| all.enter_at(address(100 + n), true, now, 99).unwrap())
            .collect();
        assert_eq!(come_and_go(now), Err(Turned::Rate));
        // One more every three seconds.
        let later = now + MINUTE / LIMITS.new_per_minute + Duration::from_millis(1);
        assert_eq!((come_and_go(later), come_and_go(later)), (Ok(()), Err(Turned::Rate)));
    }

    #[test]
    fn penalties_add_up_to_a_cap_and_pass() {
        let all = visitors("");
        let now = Instant::now();
        let enter = |at| all.enter_at(address(1), true, at, 0);
        let penalise = |offence, at| all.lock().penalise(Source::of(address(1)), offence, at);
        let _others: Vec<_> = (0..START + 9)
            .map(|n| all.enter_at(address(100 + n), true, now, 99).unwrap())
            .collect();
        // Whoever goes without authenticating now and then is forgiven.
        penalise(Offence::None, now);
        drop(enter(now).unwrap().0);
        penalise(Offence::Authentication, now);
        let turned = enter(now).unwrap_err();
        assert!(matches!(turned, Turned::Penalty(left) if left.as_secs() >= 6), "{turned:?}");
        for _ in 0..100 {
            penalise(Offence::Protocol, now);
        }
        assert_eq!(enter(now).unwrap_err(), Turned::Penalty(LIMITS.penalty_cap));
        assert!(enter(now + LIMITS.penalty_cap).is_ok());
        assert!(all.enter_at(address(2), true, now, 99).is_ok());
    }

    #[test]
    fn a_penalised_source_is_served_while_there_is_room() {
        let all = visitors("");
        let now = Instant::now();
        for _ in 0..100 {
            all.lock().penalise(Source::of(address(1)), Offence::Protocol, now);
        }
        assert!(all.enter_at(address(1), true, now, 99).is_ok());
    }

    #[test]
    fn exempt_sources_have_no_rate_and_no_penalties() {
        let all = visitors("20.0.0.0/8");
        let now = Instant::now();
        let _held = many(&all, address(1), START);
        for _ in 0..100 {
            let (admission, _) = all.enter_at(address(2), true, now, 99).unwrap();
            admission.offend(Offence::Protocol);
        }
        assert!(all.enter_at(address(2), true, now, 99).is_ok());
        assert!(all.lock().history.get(&Source::of(address(2))).is_none());
    }

    #[test]
    fn without_a_slot_a_handshake_makes_room_and_then_who_holds_several_sessions_and_says_nothing()
    {
        let all = Visitors::unlimited();
        let now = Instant::now();
        let enter = |n, has_slot| all.enter_at(address(n), has_slot, now, 99);
        let (session, mut session_goes) = enter(1, true).unwrap();
        session.establish();
        assert_eq!(session_goes.try_recv(), Err(TryRecvError::Closed));
        let (one, mut one_goes) = enter(2, true).unwrap();
        let (other, mut other_goes) = enter(2, true).unwrap();
        one.await_word();
        other.await_word();
        let (_shaking, mut shaking_goes) = enter(3, true).unwrap();
        let (fourth, _eviction) = enter(4, false).unwrap();
        assert!(has_to_go(&mut shaking_goes) && !has_to_go(&mut one_goes));
        fourth.establish();
        let (fifth, _eviction) = enter(5, false).unwrap();
        assert!(has_to_go(&mut one_goes) && !has_to_go(&mut other_goes));
        fifth.establish();
        // One session stays, whether somebody speaks in it or not.
        assert_eq!(enter(6, false).unwrap_err(), Turned::Full);
        assert!(!has_to_go(&mut other_goes));
    }

    #[test]
    fn who_has_to_make_room_is_not_penalised_for_it() {
        let all = visitors("");
        let (admission, _eviction) = many(&all, address(1), 1).pop().unwrap();
        let _others = many(&all, address(2), FULL);
        let _more = all.enter_at(address(3), false, Instant::now(), 99).unwrap();
        drop(admission);
        let book = all.lock();
        let record = book.history.get(&Source::of(address(2))).unwrap();
        assert!(!record.is_penalised);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let all = visitors("");
        let now = Instant::now();
        for number in 0..SOURCES + 1000 {
            let address = std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap());
            all.enter_at(address.into(), true, now, 99).unwrap().0.excuse();
        }
        let book = all.lock();
        assert!(book.connections.is_empty() && book.half_open.len() == 0);
        let of = |number: u32| Source::of(std::net::Ipv4Addr::from_bits(number).into());
        assert!(book.history.get(&of(0)).is_none() && book.history.get(&of(1000)).is_some());
    }
}
