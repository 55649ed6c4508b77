//! One device: superblock, segments, free space, health.

pub mod device;
pub mod segment;
pub mod spans;
pub mod bitmap;
pub mod space;
pub mod superblock;
