//! What can go wrong between an object and the drives of a pool.
//!
//! Contains the error of the drive layer; the layers above contain this one, and conversions go up only. The text is
//! for operators: what clients are told is chosen at the edge (`s3::error`).

use crate::base::ids::{DriveId, ShardId};
use crate::drive::device::DriveError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// No room for the chunks; reads and deletes go on.
    #[error("the pool is full")]
    Full,
    /// Too few drives in service to keep the promise of the scheme.
    #[error("{good} of the {needed} chunks that are needed could be written")]
    NotWritable { good: usize, needed: usize },
    #[error("row {row} of the extent has {good} good blocks and needs {needed}")]
    Unreadable { row: u32, good: usize, needed: usize },
    /// All copies of a mirrored piece are gone or wrong.
    #[error("none of {copies} copies is readable{}", .first.map(|drive| format!(", the first one on drive {drive}")).unwrap_or_default())]
    NoCopy { copies: usize, first: Option<DriveId> },
    /// What was acknowledged is not there any more; says what, and where it stood.
    #[error("the log has lost acknowledged records: {0}")]
    LogLost(String),
    /// No drive has a manifest of this shard that can be read, and it had one.
    #[error("the manifest of shard {shard} is readable on none of the {drives} drives")]
    NoManifest { shard: ShardId, drives: usize },
    /// More bytes came than were announced.
    #[error("more than the announced {0} bytes came")]
    Overrun(u64),
    /// The record describes something this pool cannot hold.
    #[error("damaged record: {0}")]
    Damaged(&'static str),
    /// Whoever decides about the space has too much to do: try again.
    #[error("the owner of the space is busy")]
    Busy,
    /// Whoever decides about the space cannot: why.
    #[error("{0}")]
    NoSpaceMap(String),
    /// Tasks are being ended with their runtime.
    #[error("the server is stopping")]
    Stopped,
}
