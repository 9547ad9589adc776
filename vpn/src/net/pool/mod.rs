//! The threads that compute key exchanges, and which computation is next.

mod dh_pool;
mod queue;
mod spare;

pub use dh_pool::{DhPool, PoolError};
pub(super) use dh_pool::{Job, Rank, Ticket};
