//! One device: superblock, segments, free space, health.

pub mod device;
pub mod segment;
pub mod space;
pub mod superblock;
