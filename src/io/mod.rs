//! The io layer.
