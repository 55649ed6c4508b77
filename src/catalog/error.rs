//! What can go wrong below the catalog's surface.
//!
//! Owns `CatalogError`, the one error of this layer. A store's failure is carried up as it is;
//! bytes that every copy got wrong, or that are well sealed but make no sense, are `Corrupt`.
//! Broken invariants of our own code assert instead.

use std::sync::Arc;

use crate::pool::error::PoolError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    /// No copy of a structure is what it should be. `what` names the structure.
    #[error("catalog: {what} of run {run} is corrupt on every copy")]
    Corrupt { what: &'static str, run: u64 },
    /// The bytes given to `Index::open` are not an encoding of levels that this version reads.
    #[error("catalog: the list of runs is malformed: {0}")]
    Levels(&'static str),
    /// The drives or their space failed.
    #[error("catalog: {0}")]
    Pool(#[from] PoolError),
    /// The store failed otherwise, or its work was given up.
    #[error("catalog: {0}")]
    Store(Arc<std::io::Error>),
}

impl From<std::io::Error> for CatalogError {
    fn from(error: std::io::Error) -> Self {
        CatalogError::Store(Arc::new(error))
    }
}

pub type Result<T, E = CatalogError> = std::result::Result<T, E>;
