//! The bytes of objects: in, out, and kept as long as somebody reads them.
//!
//! Works on the core where the client is. Invariant: an extent belongs to the writer until the owner of the
//! key has taken it, and to the owner from then on.

pub mod writer;
pub mod deposit;
pub mod reader;
pub mod cache;
pub mod pins;
