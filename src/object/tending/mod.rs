//! The upkeep of a shard: when it is due, how it yields, and who does it.
//!
//! Rounds run on the core of the shard and hand heavy work to the background core beside it. Invariant: a round
//! gives way to clients unless what it does is urgent (`pace`).

pub mod tend;
mod rhythm;
pub mod pressure;
pub mod background;
pub mod pace;
pub mod forge;
pub mod runs;
