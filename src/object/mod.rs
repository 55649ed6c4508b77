//! What S3 means, without HTTP: buckets, objects, listings, uploads, each decided by one owner.
//!
//! The way in is `store`. What it is asked for is decided by a `shard` on the `core` that owns it; bytes are taken in
//! and given out where the client is; what is due later is found by `tending` and done by its background cores.
//! `open` brings it all up. Uses the catalog for names and the pool for bytes.
//! Invariants: every decision about a key is made on the core that owns its shard, under the lock of the key, and takes
//! effect only through a record.

// The frame: who owns what, and how one core asks another.
pub mod error;
pub mod core;
pub mod shard;
pub mod store;
pub mod open;

pub mod decisions;
pub mod lifecycle;
pub mod registry;
pub mod content;
pub mod packing;
pub mod tending;
pub mod repair;

pub use crate::catalog::meta;
