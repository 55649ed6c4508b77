//! Bytes in, bytes out: dates, URIs, checksums, signatures, chunked bodies and XML as S3 speaks
//! them. Nothing here performs I/O, reads a clock or knows a connection; time and randomness are
//! arguments. Every decoder takes hostile bytes and is fuzzed alone.

pub mod date;
pub mod uri;
pub mod checksum;
pub mod sigv4;
pub mod chunked;
pub mod xml;
