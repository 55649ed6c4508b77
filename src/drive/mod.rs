//! One device: superblock, segments, free space, health.
//!
//! Owns what stands on one drive and who may write to it: `device` is the only way to its bytes, `health` says what
//! it is good for. Uses `io`. Knows no other drive, so nothing here decides what is safe to write: that is `pool`.

pub mod health;
pub mod device;
pub mod segment;
pub mod spans;
pub mod bitmap;
pub mod space;
pub mod superblock;
