//! What S3 means, without HTTP: buckets, objects, listings, uploads, each decided by one owner.
//!
//! `store` is the way in, `core` and `shard` are where decisions are made, `open` brings it all up. Uses the catalog for
//! names and the pool for bytes. Invariants: every decision about a key is made on the core that owns its shard, under
//! the lock of the key, and takes effect only through a record.

pub mod error;
pub mod condition;
pub mod keylock;
pub mod pins;
pub mod spots;
pub mod settings;
pub mod usage;
pub mod buckets;
pub mod identities;
pub mod cache;
pub mod events;
pub mod shard;
pub mod versions;
pub mod retention;
pub mod packs;
pub mod commit;
pub mod amend;
pub mod uploads;
pub mod list;
pub mod core;
pub mod background;
pub mod pace;
mod rhythm;
pub mod pressure;
pub mod forge;
pub mod runs;
pub mod reader;
pub mod writer;
pub mod deposit;
pub mod pack;
pub mod compact;
pub mod tend;
pub mod holdings;
pub mod mending;
pub mod lifecycle;
pub mod board;
pub mod open;
pub mod store;

pub use crate::catalog::meta;
