//! Names to versions: keys, values, records, the log, and the ordered index of a shard.

pub mod key;
pub mod meta;
mod attached;
pub mod value;
pub mod usage;
pub mod identity;
pub mod event;
pub mod directory;
pub mod record;
pub mod batch;
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
