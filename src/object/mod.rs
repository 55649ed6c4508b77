//! What S3 means, without HTTP.

pub mod error;
pub mod condition;

pub use crate::catalog::meta;
