//! What S3 means, without HTTP.

pub mod error;
pub mod meta;
pub mod condition;
pub mod store;
