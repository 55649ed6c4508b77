//! Basalt: S3 object storage for NVMe.
//!
//! The layers, bottom to top. A module may use only what stands above its own line in this list;
//! `tests/tidy.rs` fails when one reaches the other way. The map with the reasons is
//! `docs/ARCHITECTURE.md`.

/// Ids, bounds, figures and time: words every layer shares.
pub mod base;
/// Bytes in, bytes out: checksums, erasure code, signatures, chunked bodies, XML, policies. No I/O.
pub mod codec;
/// The world: files on drives (io_uring, threads, simulated), buffers, clock, randomness.
pub mod io;
/// One device: superblock, segments, free space, health.
pub mod drive;
/// Many drives as one: placement, stripes, mirrored extents, log segments.
pub mod pool;
/// Names to versions: records, log, memtable, runs, merges, scans.
pub mod catalog;
/// What S3 means, without HTTP.
pub mod object;
/// Work nobody waits for: repair, scrub, lifecycle, inventories, notifications.
pub mod upkeep;
/// Who is calling and what they may do: accounts, users, ACLs, the one evaluator.
pub mod iam;
/// The client edge: HTTP, authentication, routing, errors.
pub mod s3;
/// The operator edge under `/-/`, and the commands that look at a server or a drive from outside.
pub mod admin;
/// Flags, environment and file as one structure.
pub mod config;
/// Builds every layer bottom-up and runs the cores.
pub mod server;
