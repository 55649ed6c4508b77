//! A run: an immutable, sorted piece of the index on mirrored extents.
//!
//! Layout, first byte to last: data blocks; behind every few hundred of them the filter block and
//! the index block of this *partition*; at the end, in an extent of its own, the footer with the
//! root index (one entry a partition). `writer` makes a run in one pass, `reader` looks keys up,
//! `cursor` walks. Only footers always stay in memory; every other block is read through the block
//! cache. Invariants: a block is used only after it has been checked against the checksum in the
//! block that refers to it; a run that no manifest names gives its space back when it is dropped.

pub mod block;
pub mod cursor;
pub mod entries;
pub mod filter;
pub mod footer;
pub mod reader;
pub mod store;
pub mod mend;
pub mod writer;
