//! Names to versions: keys, values, records, the log, and the ordered index of a shard.
//!
//! Uses pool and drives for where its bytes stand, and knows nothing of what S3 means by a value. A record is durable
//! in the log before the index has it; runs of the index never change. `model` and `naive` are the measure the index
//! is held against in tests.

pub mod key;
pub mod meta;
mod attached;
pub mod value;
pub mod usage;
pub mod keyuse;
pub mod identity;
pub mod event;
pub mod directory;
pub mod record;
pub mod batch;
pub mod admission;
pub mod unreadable;
pub mod log;
pub mod replay;

pub mod cache;
pub mod error;
pub mod forge;
pub mod index;
pub mod levels;
pub mod memtable;
pub mod merge;
pub mod run;
pub mod scan;
pub mod union;

#[cfg(test)]
mod model;
#[cfg(test)]
mod naive;
