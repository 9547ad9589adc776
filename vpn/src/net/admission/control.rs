//! The entrance of a server: a new connection is admitted or refused.

use std::net::IpAddr;
use std::time::Instant;

use rand::RngExt;

use super::handle::Admission;
use super::source_record::Refused;
use super::table::{ConnectionTable, Eviction, SharedTable};
use crate::net::limits::SourceLimits;
use crate::net::source::Network;

/// Admission control for the connections of a server (PROTOCOL.md §3.7, §4.7).
///
/// It knows every connection that has not authenticated, and what their sources did lately. Clones
/// share one table.
#[derive(Clone, Debug)]
pub struct AdmissionControl(SharedTable);

impl AdmissionControl {
    /// A control with these limits. Connections from `exempt` networks have no rate and no penalties.
    pub fn new(limits: SourceLimits, exempt: Vec<Network>) -> Self {
        Self(SharedTable::new(ConnectionTable::new(Some(limits), exempt)))
    }

    /// A control without limits of single sources. Only the number of sessions is limited.
    pub(in crate::net) fn unlimited() -> Self {
        Self(SharedTable::new(ConnectionTable::new(None, Vec::new())))
    }

    /// Whether there are limits besides the number of sessions.
    pub(in crate::net) fn is_limited(&self) -> bool {
        self.0.lock().is_limited()
    }

    /// Enters a new connection. `has_slot` is false if all sessions are in use: then another
    /// connection has to be evicted. The [`Eviction`] resolves if this connection is evicted later.
    ///
    /// # Errors
    ///
    /// [`Refused`] if there is no room.
    pub(in crate::net) fn enter(
        &self,
        address: IpAddr,
        has_slot: bool,
    ) -> Result<(Admission, Eviction), Refused> {
        let draw = rand::rng().random_range(0..100);
        self.enter_at(address, has_slot, Instant::now(), draw)
    }

    fn enter_at(
        &self,
        address: IpAddr,
        has_slot: bool,
        now: Instant,
        draw: u32,
    ) -> Result<(Admission, Eviction), Refused> {
        let (id, eviction) = self.0.lock().enter(address, has_slot, now, draw)?;
        Ok((Admission::new(self.0.clone(), id), eviction))
    }

    /// Evicts a connection that has not authenticated, if there is one, because the system has no
    /// resources for another one.
    pub(in crate::net) fn make_room(&self) {
        self.0.lock().make_room();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::super::offence::Offence;
    use super::*;
    use crate::net::limits::{MINUTE, SOURCES};
    use crate::net::source::Source;

    const LIMITS: SourceLimits = SourceLimits::DEFAULT;
    const START: usize = LIMITS.early_drop.0;
    const FULL: usize = LIMITS.early_drop.2;

    type Entered = Result<(Admission, Eviction), Refused>;

    fn control(exempt: &str) -> AdmissionControl {
        AdmissionControl::new(LIMITS, exempt.split(',').filter_map(Network::parse).collect())
    }

    /// A source that was not seen before. No two of them share a network.
    fn address(number: usize) -> IpAddr {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        [20 + high, low, 0, 1].into()
    }

    fn is_evicted(eviction: &mut Eviction) -> bool {
        match eviction.try_recv() {
            Ok(_) => true,
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Closed) => panic!("not in the table any more"),
        }
    }

    /// Enters `count` connections from one address.
    fn many(control: &AdmissionControl, from: IpAddr, count: usize) -> Vec<(Admission, Eviction)> {
        (0..count).map(|_| control.enter_at(from, true, Instant::now(), 99).unwrap()).collect()
    }

    #[test]
    fn every_source_is_served_while_there_is_room() {
        let control = control("");
        let now = Instant::now();
        let mut held = many(&control, address(1), START);
        assert!(held.iter_mut().all(|(_, eviction)| !is_evicted(eviction)));
        // From then on this source replaces its own connections. Silent ones go before the oldest one,
        // which has made progress.
        held[0].0.advance(false);
        let _new = control.enter_at(address(1), true, now, 0).unwrap();
        assert!(!is_evicted(&mut held[0].1) && is_evicted(&mut held[1].1));
        assert_eq!(control.0.lock().half_open(), START);
    }

    #[test]
    fn silent_connections_of_any_address_keep_no_other_source_out() {
        for exempt in ["", "20.0.0.0/8"] {
            let control = control(exempt);
            let mut silent = many(&control, address(1), FULL);
            let newcomers: Vec<_> = (2..30)
                .map(|n| control.enter_at(address(n), true, Instant::now(), 0).unwrap())
                .collect();
            let evicted = silent.iter_mut().filter_map(|(_, e)| e.try_recv().ok()).count();
            // Each newcomer replaced one of the silent connections.
            assert!(evicted >= newcomers.len());
            for (_admission, mut eviction) in newcomers {
                assert!(!is_evicted(&mut eviction));
            }
            assert!(control.0.lock().half_open() <= FULL);
        }
    }

    #[test]
    fn many_networks_of_one_customer_keep_no_other_source_out() {
        let control = control("");
        let now = Instant::now();
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 1, n, 0, 0, 0, 1]);
        let _attackers: Vec<Entered> =
            (0..1000).map(|n| control.enter_at(of(n % 256), true, now, 99)).collect();
        for number in 0..20 {
            let other = IpAddr::from([0x2001, 0xdb8, 0x1000 + number, 1, 0, 0, 0, 1]);
            let (_admission, mut eviction) = control.enter_at(other, true, now, 0).unwrap();
            // It stays while the attackers connect again.
            for n in 0..100 {
                let _ = control.enter_at(of(n), true, now, 0);
            }
            assert!(!is_evicted(&mut eviction));
        }
    }

    #[test]
    fn early_drop_is_by_chance_among_equals_and_bounds_the_half_open_connections() {
        let chance = |half_open| LIMITS.drop_chance(half_open);
        assert_eq!((chance(0), chance(63), chance(64)), (0, 0, 30));
        assert_eq!((chance(160), chance(255), chance(256), chance(999)), (65, 99, 100, 100));
        let control = control("");
        let now = Instant::now();
        let mut held: Vec<_> =
            (0..START).map(|n| control.enter_at(address(n), true, now, 0).unwrap()).collect();
        held.push(control.enter_at(address(START), true, now, 30).unwrap());
        assert_eq!(control.0.lock().half_open(), START + 1);
        held.push(control.enter_at(address(START + 1), true, now, 29).unwrap());
        assert_eq!(control.0.lock().half_open(), START + 1);
        assert_eq!(held.iter_mut().filter_map(|(_, e)| e.try_recv().ok()).count(), 1);
        for n in 1000..2000 {
            held.push(control.enter_at(address(n), true, now, 99).unwrap());
        }
        assert_eq!(control.0.lock().half_open(), FULL);
    }

    #[test]
    fn a_source_above_its_rate_is_refused_only_when_there_is_little_room() {
        let control = control("");
        let now = Instant::now();
        let enter = |at| control.enter_at(address(1), true, at, 0);
        let connect_and_leave = |at| enter(at).map(|(admission, _)| admission.excuse());
        for _ in 0..2 * LIMITS.new_per_minute {
            connect_and_leave(now).unwrap();
        }
        let _others: Vec<_> = (0..START + 9)
            .map(|n| control.enter_at(address(100 + n), true, now, 99).unwrap())
            .collect();
        assert_eq!(connect_and_leave(now), Err(Refused::Rate));
        // The rate allows one more every three seconds.
        let later = now + MINUTE / LIMITS.new_per_minute + Duration::from_millis(1);
        assert_eq!(
            (connect_and_leave(later), connect_and_leave(later)),
            (Ok(()), Err(Refused::Rate))
        );
    }

    #[test]
    fn penalties_add_up_to_a_cap_and_expire() {
        let control = control("");
        let now = Instant::now();
        let enter = |at| control.enter_at(address(1), true, at, 0);
        let penalise = |offence, at| control.0.lock().penalise(Source::of(address(1)), offence, at);
        let _others: Vec<_> = (0..START + 9)
            .map(|n| control.enter_at(address(100 + n), true, now, 99).unwrap())
            .collect();
        // A single small penalty is not enforced.
        penalise(Offence::NoAuth, now);
        drop(enter(now).unwrap().0);
        penalise(Offence::AuthFailed, now);
        let refused = enter(now).unwrap_err();
        assert!(matches!(refused, Refused::Penalty(left) if left.as_secs() >= 6), "{refused:?}");
        for _ in 0..100 {
            penalise(Offence::Protocol, now);
        }
        assert_eq!(enter(now).unwrap_err(), Refused::Penalty(LIMITS.penalty_cap));
        assert!(enter(now + LIMITS.penalty_cap).is_ok());
        assert!(control.enter_at(address(2), true, now, 99).is_ok());
    }

    #[test]
    fn a_penalised_source_is_served_while_there_is_room() {
        let control = control("");
        let now = Instant::now();
        for _ in 0..100 {
            control.0.lock().penalise(Source::of(address(1)), Offence::Protocol, now);
        }
        assert!(control.enter_at(address(1), true, now, 99).is_ok());
    }

    #[test]
    fn exempt_sources_have_no_rate_and_no_penalties() {
        let control = control("20.0.0.0/8");
        let now = Instant::now();
        let _held = many(&control, address(1), START);
        for _ in 0..100 {
            let (admission, _) = control.enter_at(address(2), true, now, 99).unwrap();
            admission.penalise(Offence::Protocol);
        }
        assert!(control.enter_at(address(2), true, now, 99).is_ok());
        assert!(control.0.lock().record(Source::of(address(2))).is_none());
    }

    #[test]
    fn without_a_slot_a_handshake_is_evicted_first_and_then_one_of_several_silent_sessions() {
        let control = AdmissionControl::unlimited();
        let now = Instant::now();
        let enter = |n, has_slot| control.enter_at(address(n), has_slot, now, 99);
        let (session, mut session_eviction) = enter(1, true).unwrap();
        session.establish();
        assert_eq!(session_eviction.try_recv(), Err(TryRecvError::Closed));
        let (one, mut one_eviction) = enter(2, true).unwrap();
        let (other, mut other_eviction) = enter(2, true).unwrap();
        one.await_first_message();
        other.await_first_message();
        let (_handshake, mut handshake_eviction) = enter(3, true).unwrap();
        let (fourth, _eviction) = enter(4, false).unwrap();
        assert!(is_evicted(&mut handshake_eviction) && !is_evicted(&mut one_eviction));
        fourth.establish();
        let (fifth, _eviction) = enter(5, false).unwrap();
        assert!(is_evicted(&mut one_eviction) && !is_evicted(&mut other_eviction));
        fifth.establish();
        // The only session of a source stays, even if it is silent.
        assert_eq!(enter(6, false).unwrap_err(), Refused::Full);
        assert!(!is_evicted(&mut other_eviction));
    }

    #[test]
    fn an_evicted_connection_costs_no_penalty() {
        let control = control("");
        let (admission, _eviction) = many(&control, address(1), 1).pop().unwrap();
        let _others = many(&control, address(2), FULL);
        let _more = control.enter_at(address(3), false, Instant::now(), 99).unwrap();
        drop(admission);
        let table = control.0.lock();
        assert!(!table.record(Source::of(address(2))).unwrap().is_penalised());
    }

    #[test]
    fn the_number_of_remembered_sources_has_a_bound() {
        let control = control("");
        let now = Instant::now();
        for number in 0..SOURCES + 1000 {
            let address = std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap());
            control.enter_at(address.into(), true, now, 99).unwrap().0.excuse();
        }
        let table = control.0.lock();
        assert!(!table.has_connections() && table.half_open() == 0);
        let of = |number: u32| Source::of(std::net::Ipv4Addr::from_bits(number).into());
        assert!(table.record(of(0)).is_none() && table.record(of(1000)).is_some());
    }
}
