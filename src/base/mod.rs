//! Words every layer shares: ids, bounds and time. Owns no state and performs no I/O.

pub mod ids;
pub mod limits;
pub mod time;
