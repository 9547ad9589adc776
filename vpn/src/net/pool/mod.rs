//! The crypto pool: a bounded number of threads that compute key exchanges, and a fair queue for them
//! (PROTOCOL.md §3.7, §4.7).

mod dh_pool;
mod lane;
mod priority;
mod queue;
mod spare;
mod usage;

pub use dh_pool::{DhPool, PoolError};
pub(super) use dh_pool::{Job, JobId};
pub(super) use priority::Priority;
