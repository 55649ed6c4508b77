//! Words every layer shares: ids, bounds, figures and time. Owns no state and performs no I/O.

pub mod ids;
pub mod join;
pub mod limits;
pub mod metrics;
pub mod time;
