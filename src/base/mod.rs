//! Words every layer shares: ids, bounds, figures, time, rests and tasks. Owns no state and performs no I/O.
//!
//! Whatever stands here is used by all layers and uses none of them; it waits for other futures and for timers, and
//! for nothing outside the process.

pub mod budget;
pub mod ids;
pub mod join;
pub mod limits;
pub mod metrics;
pub mod rest;
pub mod task;
pub mod time;
pub mod wait_group;
pub mod whole;
