//! The catalog layer.
