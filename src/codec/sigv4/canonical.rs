//! The canonical request and the string to sign, written into a buffer of the caller.
//!
//! May use: `codec::uri`, the `http` types. Two readings of the same target exist among clients:
//! AWS decodes and encodes again, some signers (botocore's) sign the target as they send it. The
//! two differ only when a client sends a target that is not in S3's own encoding; `Reading` names
//! them and the verifier tries the second only when the first differs. Both come from the same
//! bytes, so accepting either opens no gap between what is signed and what is done.
//! Paths are never normalised. A header with several values joins them with commas; white space
//! inside a value folds to one space.

use std::borrow::Cow;

use aws_lc_rs::digest;
use http::{HeaderMap, Method};
use smallvec::SmallVec;

use super::ALGORITHM;
use crate::codec::uri::{Pair, Query, UriError, canonical_component, canonical_path};

/// The parts of a request that a signature covers, borrowed.
#[derive(Clone, Copy)]
pub struct RequestView<'r> {
    pub method: &'r Method,
    /// The path as it was sent, still percent-encoded.
    pub raw_path: &'r str,
    pub query: &'r Query<'r>,
    pub headers: &'r HeaderMap,
}

/// How the target is brought into its signed form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Decoded, then encoded as S3 does.
    Encoded,
    /// As it was sent.
    AsSent,
}

/// Replaces `out` by the canonical request. `signed_headers` is the list as the client wrote it.
pub(super) fn write_request(
    out: &mut Vec<u8>,
    request: &RequestView<'_>,
    signed_headers: &str,
    payload: &str,
    reading: Reading,
) -> Result<(), UriError> {
    out.clear();
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b'\n');
    let path = match reading {
        Reading::Encoded => canonical_path(request.raw_path)?,
        Reading::AsSent => Cow::Borrowed(request.raw_path),
    };
    out.extend_from_slice(if path.is_empty() { b"/" } else { path.as_bytes() });
    out.push(b'\n');
    write_query(out, request.query, reading)?;
    out.push(b'\n');
    for name in signed_headers.split(';') {
        write_header(out, request.headers, name);
    }
    out.push(b'\n');
    out.extend_from_slice(signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload.as_bytes());
    Ok(())
}

/// Appends the string to sign for the canonical request in `out[..]`, and tells where it starts.
pub(super) fn append_string_to_sign(out: &mut Vec<u8>, timestamp: &str, scope: &Scope<'_>) -> usize {
    let hash = digest::digest(&digest::SHA256, out);
    let start = out.len();
    out.extend_from_slice(ALGORITHM.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(timestamp.as_bytes());
    out.push(b'\n');
    scope.write(out);
    out.push(b'\n');
    push_hex(out, hash.as_ref());
    start
}

/// `date/region/s3/aws4_request`.
pub(super) struct Scope<'a> {
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Scope<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for piece in [self.date, "/", self.region, "/", self.service, "/", super::TERMINATOR] {
            out.extend_from_slice(piece.as_bytes());
        }
    }

    pub(super) fn text(&self) -> String {
        [self.date, self.region, self.service, super::TERMINATOR].join("/")
    }
}

/// True when both readings of this request give the same text.
pub(super) fn readings_agree(request: &RequestView<'_>) -> bool {
    let same = |raw: &str, canonical: Result<Cow<'_, str>, UriError>| canonical.is_ok_and(|c| c == raw);
    same(request.raw_path, canonical_path(request.raw_path))
        && request.query.pairs().iter().all(|pair| {
            same(pair.raw_name, canonical_component(pair.raw_name))
                && same(pair.raw_value, canonical_component(pair.raw_value))
        })
}

pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Parameters sorted by encoded name, then value; repeats stay; the signature itself is left out.
fn write_query(out: &mut Vec<u8>, query: &Query<'_>, reading: Reading) -> Result<(), UriError> {
    let mut sorted: SmallVec<[(Cow<'_, str>, Cow<'_, str>); 8]> = SmallVec::new();
    for pair in query.pairs().iter().filter(|pair| !is_signature(pair)) {
        sorted.push(match reading {
            Reading::Encoded => (canonical_component(pair.raw_name)?, canonical_component(pair.raw_value)?),
            Reading::AsSent => (Cow::Borrowed(pair.raw_name), Cow::Borrowed(pair.raw_value)),
        });
    }
    sorted.sort_unstable();
    for (at, (name, value)) in sorted.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
    Ok(())
}

fn is_signature(pair: &Pair<'_>) -> bool {
    pair.name.eq_ignore_ascii_case("x-amz-signature")
}

/// A signed header that the request does not carry has no line, so that the signature cannot match
/// even when the client signed it empty.
fn write_header(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    let values = headers.get_all(name);
    if values.iter().next().is_none() {
        return;
    }
    out.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.push(b':');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_folded(out, value.as_bytes());
    }
    out.push(b'\n');
}

fn write_folded(out: &mut Vec<u8>, value: &[u8]) {
    let folded_already = !value.windows(2).any(|pair| pair == b"  ")
        && !value.contains(&b'\t')
        && value.first() != Some(&b' ')
        && value.last() != Some(&b' ');
    if folded_already {
        return out.extend_from_slice(value);
    }
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}
