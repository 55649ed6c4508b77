//! The codec layer.
