//! What scrubs and repairs ask of a shard: which extents it has, which blocks are bad, where a mended one goes.
//!
//! The passes themselves are upkeep, a layer above. Invariant: a repair changes where bytes are, never what they are.

pub mod board;
pub mod spots;
pub mod holdings;
pub mod mending;
