//! Bytes in, bytes out: dates, URIs, checksums, signatures, chunked bodies and XML as S3 speaks
//! them, and the frames and erasure code of what stands on the drives. Nothing here performs I/O,
//! reads a clock or knows a connection; time and randomness are arguments. Every decoder takes
//! hostile bytes and is fuzzed alone.

pub mod wire;
pub mod erasure;
pub mod frame;
pub mod date;
pub mod uri;
pub mod prefixes;
pub mod md5;
pub mod checksum;
pub mod sigv4;
pub mod sigv2;
pub mod chunked;
pub mod xml;
pub mod form;
pub mod postpolicy;
pub mod policy;
