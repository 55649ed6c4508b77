//! What can go wrong between the drives and what is kept on several of them.

use crate::base::ids::DriveId;
use crate::drive::device::DriveError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Not enough drives have room.
    #[error("the drives are full")]
    Full,
    /// Too few drives are in service for a write to be safe.
    #[error("no safe set of drives to write to")]
    NotWritable,
    /// Fewer intact pieces than are needed.
    #[error("not readable: {0}")]
    Unreadable(String),
    /// One drive failed where no other can stand in for it.
    #[error(transparent)]
    Drive(DriveError),
}

impl From<DriveError> for PoolError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Full(_) => PoolError::Full,
            other => PoolError::Drive(other),
        }
    }
}

impl PoolError {
    pub fn of_io(drive: DriveId, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => PoolError::Full,
            _ => PoolError::Drive(DriveError::Failed {
                drive,
                operation: "preallocate",
                cause: error.to_string(),
            }),
        }
    }
}
