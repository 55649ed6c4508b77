//! What S3 means, without HTTP: buckets, objects, listings, uploads, each decided by one owner.
//!
//! The way in is `store`. What it is asked for is decided by a `shard` on the `core` that owns it; bytes are taken in
//! and given out by `writer` and `reader` on the core where the client is; what is due later is found by `tend` and
//! done by `background`. `open` brings it all up. The modules below are grouped in that way. Uses the catalog for names
//! and the pool for bytes.
//! Invariants: every decision about a key is made on the core that owns its shard, under the lock of the key, and takes
//! effect only through a record.

// The frame: who owns what, and how one core asks another.
pub mod error;
pub mod core;
pub mod shard;
pub mod store;
pub mod open;

// Decisions of the owner of a key, under its lock.
pub mod keylock;
pub mod condition;
pub mod commit;
pub mod versions;
pub mod amend;
pub mod retention;
pub mod uploads;
pub mod list;
pub mod events;
pub mod lifecycle;

// What every core has in memory: buckets, their settings and usage, accounts.
pub mod buckets;
pub mod settings;
pub mod usage;
pub mod identities;

// The bytes of objects: in, out, and kept as long as somebody reads them.
pub mod writer;
pub mod deposit;
pub mod reader;
pub mod cache;
pub mod pins;

// Small objects: out of the log into packs, and out of packs that are mostly dead.
pub mod pack;
pub mod packs;
pub mod compact;

// The upkeep of a shard: when it is due, how it yields, and who does it.
pub mod tend;
mod rhythm;
pub mod pressure;
pub mod background;
pub mod pace;
pub mod forge;
pub mod runs;

// What scrubs and repairs ask of a shard.
pub mod board;
pub mod spots;
pub mod holdings;
pub mod mending;

pub use crate::catalog::meta;
