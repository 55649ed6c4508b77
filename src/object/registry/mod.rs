//! What every core has in memory: buckets, their settings and usage, accounts.
//!
//! The records live in one shard; its owner decides about them. Invariant: every core has heard of a change before
//! that is acknowledged, and sums are what all shards together say.

pub mod buckets;
pub mod settings;
pub mod usage;
pub mod identities;
