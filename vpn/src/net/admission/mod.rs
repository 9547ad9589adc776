//! Which connections a server keeps before they have authenticated (PROTOCOL.md §3.7, §4.7).
//!
//! A server enters each new connection into [`AdmissionControl`] and gets an [`Admission`] for it. The
//! session tells the admission how far it has come. When there is no room for a new connection, the
//! control evicts one that has not authenticated, or refuses the new one.

mod control;
mod handle;
mod offence;
mod source_record;
mod source_tree;
mod table;

pub use control::AdmissionControl;
pub use handle::Admission;
pub use offence::Offence;
pub(in crate::net) use source_record::Refused;
pub(in crate::net) use table::Eviction;
