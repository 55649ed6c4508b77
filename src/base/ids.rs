//! Identities: pool, drive, shard, log. Small copyable numbers with one meaning each.
//!
//! Each is a type of its own, so that a drive is never taken for a shard. They stand in records and headers, whose
//! codecs read the numbers; what a number means beyond its type is the business of whoever hands it out.

use std::fmt;

/// Identity of a pool: random, made at format, written in every structure on its drives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u128);

/// Position of a drive in its pool, 0-based; fixed for the life of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriveId(pub u16);

/// One slice of the namespace, 0-based; their number is fixed at format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A log segment: unique for the life of the pool, never reused.
/// `epoch << 32 | stream << 24 | n`: see `docs/FORMAT.md`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool:{:032x}", self.0)
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

macro_rules! small_id {
    ($name:ident, $prefix:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}
small_id!(DriveId, "drive:");
small_id!(ShardId, "shard:");
small_id!(LogId, "log:");
