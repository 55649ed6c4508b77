//! Small objects: out of the log into packs, and out of packs that are mostly dead.
//!
//! Invariant: what is moved is written and recorded at its new place before the old one is given up.

pub mod pack;
pub mod packs;
pub mod compact;
