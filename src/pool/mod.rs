//! Many drives as one: placement, stripes, mirrored extents, log segments.

pub mod extent;
pub mod stripe;
