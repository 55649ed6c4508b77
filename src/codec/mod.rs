//! The codec layer.

pub mod erasure;
