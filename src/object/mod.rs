//! What S3 means, without HTTP: buckets, objects, listings, uploads, each decided by one owner.

pub mod error;
pub mod condition;
pub mod keylock;
pub mod pins;
pub mod spots;
pub mod settings;
pub mod buckets;
pub mod identities;
pub mod cache;
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
pub mod pressure;
pub mod forge;
pub mod runs;
pub mod reader;
pub mod writer;
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
