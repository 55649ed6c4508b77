//! The drive layer.
