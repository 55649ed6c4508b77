//! Many drives as one: placement, stripes, mirrored extents, log segments.

pub mod error;
pub mod extent;
pub mod stripe;
pub mod mirror;
pub mod budget;
pub mod write;
pub mod read;

mod gather;
