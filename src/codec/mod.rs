//! Bytes in, bytes out. No I/O, no clock, no state beyond what a caller holds.

pub mod wire;
