//! Names to versions: keys, values, records, the log, and the ordered index of a shard.

pub mod key;
pub mod meta;
pub mod value;
pub mod record;
pub mod batch;
pub mod log;
pub mod replay;
