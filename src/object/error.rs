//! What can go wrong with buckets and objects, in the words of S3.
//!
//! The S3 code and status of each are chosen in one table at the edge (`s3/error.rs`). Errors of
//! the layers below are folded in here; what a client cannot act on becomes `Unreadable`.

use thiserror::Error;

use crate::base::time::Nanos;
use crate::catalog::error::CatalogError;
use crate::catalog::log::LogError;
use crate::pool::error::PoolError;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ObjectError {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("bucket already owned by you")]
    BucketAlreadyOwnedByYou,
    #[error("bucket name is taken")]
    BucketAlreadyExists,
    #[error("bucket not empty")]
    BucketNotEmpty,
    #[error("too many buckets")]
    TooManyBuckets,
    /// A setting that the others of the bucket do not allow; text for the client.
    #[error("{0}")]
    InvalidBucketState(&'static str),
    /// More configurations of one kind than a bucket may have, or a larger one.
    #[error("{0}")]
    TooManyConfigurations(&'static str),
    #[error("no such key")]
    NoSuchKey,
    /// The id is of no version of this key.
    #[error("no such version")]
    NoSuchVersion,
    #[error("invalid version id")]
    InvalidVersionId,
    /// What was to be read is a delete marker; `named`: its id was asked for.
    #[error("a delete marker")]
    DeleteMarker { version: String, modified: Nanos, named: bool },
    /// A version under object lock may not be removed, nor its lock be weakened.
    #[error("object protected by object lock")]
    Locked,
    #[error("no such upload")]
    NoSuchUpload,
    /// A part named in CompleteMultipartUpload is absent or has another ETag or checksum.
    #[error("invalid part {0}")]
    InvalidPart(u16),
    #[error("part numbers are not ascending")]
    InvalidPartOrder,
    /// A part other than the last is below 5 MiB.
    #[error("part {number} of {size} bytes is too small")]
    PartTooSmall { number: u16, size: u64 },
    #[error("the object is too large")]
    EntityTooLarge,
    /// The name of the request condition that did not hold, e.g. `If-Match`.
    #[error("{0} did not hold")]
    PreconditionFailed(&'static str),
    #[error("not modified")]
    NotModified,
    /// The supplied checksum or type does not fit the upload; text for the client.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A whole-object checksum given to CompleteMultipartUpload differs from the parts'.
    #[error("checksum does not match")]
    BadDigest,
    /// What was to be added is more than the operator lets the bucket hold.
    #[error("the quota of the bucket is reached")]
    QuotaExceeded,
    /// No drive set has room: writes are refused, reads and deletes go on.
    #[error("the drives are full")]
    StorageFull,
    /// What was to be changed is not any more as it was when that was allowed.
    #[error("changed meanwhile")]
    Outdated,
    /// A bounded queue or pool is full: try again.
    #[error("busy")]
    SlowDown,
    /// Too few drives in service to write safely.
    #[error("no safe set of drives to write to")]
    NotWritable,
    /// Fewer than k intact chunks: the bytes cannot be read now.
    #[error("object data cannot be read: {0}")]
    Unreadable(String),
}

impl From<PoolError> for ObjectError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Full => ObjectError::StorageFull,
            PoolError::NotWritable { .. } => ObjectError::NotWritable,
            PoolError::Overrun(_) => ObjectError::EntityTooLarge,
            PoolError::Busy | PoolError::Stopped => ObjectError::SlowDown,
            other => ObjectError::Unreadable(other.to_string()),
        }
    }
}

impl From<CatalogError> for ObjectError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Pool(error) => error.into(),
            other => ObjectError::Unreadable(other.to_string()),
        }
    }
}

impl ObjectError {
    /// The same, told to somebody who deletes: room in the log comes when upkeep has emptied some of it, so he is to
    /// wait, as clients do when they are told so, and not to make room.
    pub fn while_freeing(self) -> Self {
        if self == ObjectError::StorageFull { ObjectError::SlowDown } else { self }
    }
}

impl From<LogError> for ObjectError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Stopped => ObjectError::NotWritable,
            LogError::Full => ObjectError::StorageFull,
            LogError::TooLarge => ObjectError::EntityTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::content::writer::back_to_pool;

    #[test]
    fn what_the_pool_says_keeps_its_meaning_through_every_layer() {
        let unsafe_now = PoolError::NotWritable { good: 1, needed: 2 };
        for (below, above) in [
            (PoolError::Full, ObjectError::StorageFull),
            (PoolError::Busy, ObjectError::SlowDown),
            (unsafe_now, ObjectError::NotWritable),
        ] {
            assert_eq!(ObjectError::from(below.clone()), above);
            assert_eq!(ObjectError::from(CatalogError::from(below)), above);
            assert_eq!(ObjectError::from(back_to_pool(above.clone())), above);
        }
        let unreadable = ObjectError::Unreadable("a space map".into());
        assert_eq!(ObjectError::from(back_to_pool(unreadable.clone())), unreadable);
    }
}
