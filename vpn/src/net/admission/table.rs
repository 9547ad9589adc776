//! The unauthenticated connections of a server, and which of them is evicted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::offence::Offence;
use super::source_record::{Refused, SourceRecord};
use super::source_tree::{EvictionKey, SourceTree};
use crate::net::limits::{KNOWN_CLIENT_CREDIT, PROGRESS_CREDIT, SOURCES, SourceLimits};
use crate::net::lru::LruMap;
use crate::net::source::{Network, Source};

/// Resolves when a connection is evicted. The text is the reason for the log.
pub(in crate::net) type Eviction = oneshot::Receiver<&'static str>;

/// A table that several threads use.
#[derive(Clone)]
pub(super) struct SharedTable(Arc<Mutex<ConnectionTable>>);

impl SharedTable {
    pub(super) fn new(table: ConnectionTable) -> Self {
        Self(Arc::new(Mutex::new(table)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ConnectionTable> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SharedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may have thousands of entries.
        f.write_str("SharedTable(..)")
    }
}

/// The unauthenticated connections, and what their sources did lately.
pub(super) struct ConnectionTable {
    /// `None` on a server that limits only the number of its sessions.
    limits: Option<SourceLimits>,
    exempt: Vec<Network>,
    sources: LruMap<Source, SourceRecord>,
    last_id: u64,
    connections: HashMap<u64, Connection>,
    /// Connections whose handshake is not complete.
    half_open: SourceTree,
    /// Connections with a key and without a valid message. Their peers may be anybody.
    unverified: SourceTree,
}

struct Connection {
    source: Source,
    key: EvictionKey,
    is_unverified: bool,
    is_known: bool,
    evict: oneshot::Sender<&'static str>,
    /// What the source is penalised for if the connection ends now.
    offence: Option<Offence>,
}

/// How far a connection has come. The order is that of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The handshake has failed and the peer has to be told, or the peer has closed its side.
    Closing,
    /// The peer has sent nothing yet, or not the next message.
    Silent,
    /// The peer has sent a message.
    Progressed,
    /// The peer has shown that it knows our key or a PSK.
    Known,
}

impl ConnectionTable {
    /// An empty table. Connections from `exempt` networks have no rate and no penalties.
    pub(super) fn new(limits: Option<SourceLimits>, exempt: Vec<Network>) -> Self {
        Self {
            limits,
            exempt,
            sources: LruMap::new(SOURCES),
            last_id: 0,
            connections: HashMap::new(),
            half_open: SourceTree::default(),
            unverified: SourceTree::default(),
        }
    }

    /// Whether there are limits besides the number of sessions.
    pub(super) fn is_limited(&self) -> bool {
        self.limits.is_some()
    }

    /// Enters a new connection, and evicts another one if there is no room.
    ///
    /// `has_slot` is false if all sessions are in use. `draw` is a random number below 100.
    ///
    /// # Errors
    ///
    /// [`Refused`] if there is no room and no connection that may be evicted.
    pub(super) fn enter(
        &mut self,
        address: IpAddr,
        has_slot: bool,
        now: Instant,
        draw: u32,
    ) -> Result<(u64, Eviction), Refused> {
        let source = Source::of(address);
        let victim = match self.early_drop(source, address, now, draw)? {
            None if !has_slot => Some(self.victim_for_slot(source).ok_or(Refused::Full)?),
            victim => victim,
        };
        if let Some(id) = victim {
            self.evict(id);
        }
        Ok(self.insert(source, address, now))
    }

    /// The connection that a new one replaces because many handshakes are under way, if any.
    fn early_drop(
        &mut self,
        source: Source,
        address: IpAddr,
        now: Instant,
        draw: u32,
    ) -> Result<Option<u64>, Refused> {
        let Some(limits) = self.limits else { return Ok(None) };
        // Connections are counted also while there is room.
        let busy = if self.is_counted(address) { self.count(source, &limits, now) } else { Ok(()) };
        let half_open = self.half_open.len();
        if half_open < limits.early_drop.0 {
            return Ok(None);
        }
        let has_to_drop = draw < limits.drop_chance(half_open);
        match busy {
            // A source that is too busy may replace only one of its own connections.
            Err(refused) if has_to_drop => match (self.half_open.victim_of(source), refused) {
                (None, Some(refused)) => Err(refused),
                (own, _) => Ok(own),
            },
            Err(_) => Ok(None),
            Ok(()) => Ok(self
                .half_open
                .victim_of_larger_than(source)
                .or_else(|| has_to_drop.then(|| self.half_open.victim()).flatten())),
        }
    }

    /// The connection whose session slot a new one gets, if there is one that may be evicted.
    fn victim_for_slot(&self, source: Source) -> Option<u64> {
        self.half_open
            .victim_of_larger_than(source)
            .or_else(|| self.half_open.victim())
            .or_else(|| self.unverified.victim_of_several())
    }

    /// Counts a connection of a source.
    ///
    /// # Errors
    ///
    /// The source is too busy. `None` if that is because of its handshakes under way, for which no
    /// connection is refused.
    fn count(
        &mut self,
        source: Source,
        limits: &SourceLimits,
        now: Instant,
    ) -> Result<(), Option<Refused>> {
        let has_many = self.half_open.count(source) >= limits.half_open;
        let record = self.sources.entry(source, || SourceRecord::new(now, limits));
        record.count(now, limits)?;
        if has_many { Err(None) } else { Ok(()) }
    }

    /// Whether the rate and the penalties of a source hold for this address.
    fn is_counted(&self, address: IpAddr) -> bool {
        self.is_limited() && !self.exempt.iter().any(|network| network.contains(address))
    }

    fn insert(&mut self, source: Source, address: IpAddr, now: Instant) -> (u64, Eviction) {
        self.last_id += 1;
        let id = self.last_id;
        let (evict, eviction) = oneshot::channel();
        let key = (Some(now), id);
        self.half_open.insert(source, key, id);
        let offence = self.is_counted(address).then_some(Offence::NoAuth);
        let (is_unverified, is_known) = (false, false);
        let connection = Connection { source, key, is_unverified, is_known, evict, offence };
        self.connections.insert(id, connection);
        (id, eviction)
    }

    /// Evicts a connection, if one may be evicted, because the system has no resources for another.
    pub(super) fn make_room(&mut self) {
        let victim = self.half_open.victim().or_else(|| self.unverified.victim_of_several());
        if let Some(id) = victim {
            self.evict(id);
        }
    }

    /// The handshake has made progress. `is_known` if the peer knows our key or a PSK.
    pub(super) fn advance(&mut self, id: u64, is_known: bool) {
        let stage = if is_known { Stage::Known } else { Stage::Progressed };
        self.set_stage(id, stage, false);
    }

    /// The peer has to answer.
    pub(super) fn await_peer(&mut self, id: u64) {
        // A client that knows our key keeps its credit.
        if self.connections.get(&id).is_some_and(|connection| !connection.is_known) {
            self.set_stage(id, Stage::Silent, false);
        }
    }

    /// The peer has closed its side.
    pub(super) fn close(&mut self, id: u64) {
        self.set_stage(id, Stage::Closing, false);
    }

    /// The handshake is complete, and the peer is not authenticated.
    pub(super) fn await_first_message(&mut self, id: u64) {
        self.set_stage(id, Stage::Silent, true);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.offence = None;
        }
    }

    /// The handshake has failed. The source is penalised for `offence`, unless that is `None` or the
    /// source is exempt.
    pub(super) fn fail(&mut self, id: u64, offence: Option<Offence>, now: Instant) {
        self.set_stage(id, Stage::Closing, false);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (source, counted) = (connection.source, connection.offence.take());
        if let (Some(_), Some(offence)) = (counted, offence) {
            self.penalise(source, offence, now);
        }
    }

    /// The connection has ended.
    pub(super) fn leave(&mut self, id: u64, now: Instant) {
        if let Some((source, Some(offence))) = self.remove(id) {
            self.penalise(source, offence, now);
        }
    }

    /// Removes a connection, so that it cannot be evicted. Returns its source, and what the source
    /// would be penalised for.
    pub(super) fn remove(&mut self, id: u64) -> Option<(Source, Option<Offence>)> {
        self.take(id).map(|connection| (connection.source, connection.offence))
    }

    fn take(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.tree(connection.is_unverified).remove(connection.source, connection.key);
        Some(connection)
    }

    fn evict(&mut self, id: u64) {
        let Some(connection) = self.take(id) else { return };
        let reason = if connection.is_unverified {
            "its session, in which it said nothing, had to make room for others"
        } else {
            "its handshake had to make room for others"
        };
        // If nobody receives it, the connection has just ended by itself.
        let _ = connection.evict.send(reason);
    }

    /// Changes the place of a connection in the order of eviction.
    fn set_stage(&mut self, id: u64, stage: Stage, is_unverified: bool) {
        let now = Instant::now();
        let time = match stage {
            Stage::Closing => None,
            Stage::Silent => Some(now),
            Stage::Progressed => Some(now + PROGRESS_CREDIT),
            Stage::Known => Some(now + KNOWN_CLIENT_CREDIT),
        };
        let key = (time, id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let source = connection.source;
        connection.is_known = stage == Stage::Known;
        let old = std::mem::replace(&mut connection.key, key);
        let was_unverified = std::mem::replace(&mut connection.is_unverified, is_unverified);
        self.tree(was_unverified).remove(source, old);
        self.tree(is_unverified).insert(source, key, id);
    }

    fn tree(&mut self, is_unverified: bool) -> &mut SourceTree {
        if is_unverified { &mut self.unverified } else { &mut self.half_open }
    }

    pub(super) fn penalise(&mut self, source: Source, offence: Offence, now: Instant) {
        if let Some(limits) = self.limits {
            let record = self.sources.entry(source, || SourceRecord::new(now, &limits));
            record.penalise(offence.penalty(&limits), now, &limits);
        }
    }
}

#[cfg(test)]
impl ConnectionTable {
    pub(super) fn half_open(&self) -> usize {
        self.half_open.len()
    }

    pub(super) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    pub(super) fn record(&self, source: Source) -> Option<&SourceRecord> {
        self.sources.get(&source)
    }
}
