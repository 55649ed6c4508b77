//! The decision: does this claim hold, now and here, and what does it say about the body.
//!
//! May use: the rest of `sigv4`, `base`. The order of the checks is AWS's: scope, time, what is
//! signed, payload, signature. The comparison takes the same time whatever differs. A success
//! means: who sent this request knows the secret, and method, path, query, host, every `x-amz-`
//! header and the payload line are as they were signed.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;

use super::canonical::{Reading, RequestView, Scope, append_string_to_sign, readings_agree, write_request};
use super::claim::{Claim, malformed_header};
use super::error::{AuthError, Mismatch};
use super::key::{ChunkSeed, SigningKey, SigningKeyCache};
use super::{STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD};
use crate::base::limits::CLOCK_SKEW_SECONDS_MAX;
use crate::base::time::Nanos;

/// What a signature says about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadKind {
    /// Any body goes.
    Unsigned,
    /// The whole body hashes to this.
    Sha256([u8; 32]),
    /// The body is aws-chunked: `codec::chunked` decodes it. Unsigned streams always have a trailer.
    Streaming { signed: bool, trailer: bool },
}

#[derive(Debug, Clone)]
pub struct Verified {
    pub payload: PayloadKind,
    /// There exactly when the payload is a signed stream.
    pub seed: Option<ChunkSeed>,
}

/// What a claim has to be for.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub region: &'a str,
    pub service: &'a str,
    /// The hash of a body that was read already, for services whose clients send no header with it.
    pub body_sha256: Option<&'a str>,
}

/// Judges a claim against the secret of its access key.
pub fn verify(
    claim: &Claim<'_>,
    secret: &str,
    request: &RequestView<'_>,
    now: Nanos,
    terms: &Terms<'_>,
    cache: &mut SigningKeyCache,
) -> Result<Verified, AuthError> {
    check_scope(claim, terms)?;
    check_time(claim, now)?;
    check_signed_headers(claim, request.headers)?;
    let payload_text = match terms.body_sha256 {
        Some(hash) => hash,
        None => payload_text(claim, request)?,
    };
    let payload = PayloadKind::parse(payload_text)?;
    let key = cache.key(secret, &claim.signing_scope());
    let signature = check_signature(claim, request, payload_text, &key, &mut cache.scratch)?;
    let seed = matches!(payload, PayloadKind::Streaming { signed: true, .. }).then(|| ChunkSeed {
        key,
        signature,
        timestamp: *claim.timestamp.as_bytes(),
        scope: scope_of(claim).text().into(),
    });
    Ok(Verified { payload, seed })
}

/// The payload kind that the headers name; `None` when they name none. For anonymous requests.
pub fn payload_kind(headers: &HeaderMap) -> Result<Option<PayloadKind>, AuthError> {
    content_sha256(headers)?.map(PayloadKind::parse).transpose()
}

impl PayloadKind {
    /// Reads the value of `x-amz-content-sha256`.
    pub fn parse(text: &str) -> Result<PayloadKind, AuthError> {
        match text {
            UNSIGNED_PAYLOAD => Ok(PayloadKind::Unsigned),
            STREAMING_SIGNED => Ok(PayloadKind::Streaming { signed: true, trailer: false }),
            STREAMING_SIGNED_TRAILER => Ok(PayloadKind::Streaming { signed: true, trailer: true }),
            STREAMING_UNSIGNED_TRAILER => Ok(PayloadKind::Streaming { signed: false, trailer: true }),
            _ => {
                let mut hash = [0; 32];
                hex::decode_to_slice(text, &mut hash).map_err(|_| AuthError::BadContentSha256)?;
                Ok(PayloadKind::Sha256(hash))
            }
        }
    }

    /// Compares the hash of the body that came with the one that was signed.
    pub fn check_sha256(&self, computed: &[u8; 32]) -> Result<(), AuthError> {
        match self {
            PayloadKind::Sha256(claimed) if claimed != computed => Err(AuthError::ContentSha256Mismatch {
                claimed: hex::encode(claimed),
                computed: hex::encode(computed),
            }),
            _ => Ok(()),
        }
    }
}

fn scope_of<'a>(claim: &Claim<'a>) -> Scope<'a> {
    Scope { date: claim.date, region: claim.region, service: claim.service }
}

fn check_scope(claim: &Claim<'_>, terms: &Terms<'_>) -> Result<(), AuthError> {
    let (region, service) = (terms.region, terms.service);
    if claim.service != service {
        let reason = format!("incorrect service {:?}. This endpoint belongs to {service:?}.", claim.service);
        return Err(bad_scope(claim, reason, None));
    }
    if claim.region != region {
        let reason = format!("the region '{}' is wrong; expecting '{region}'", claim.region);
        return Err(bad_scope(claim, reason, Some(region.into())));
    }
    Ok(())
}

fn bad_scope(claim: &Claim<'_>, reason: String, expected_region: Option<Box<str>>) -> AuthError {
    match claim.expires_s {
        None => AuthError::HeaderMalformed { reason, expected_region },
        Some(_) => AuthError::QueryMalformed {
            reason: format!("Error parsing the X-Amz-Credential parameter; {reason}"),
            expected_region,
        },
    }
}

fn check_time(claim: &Claim<'_>, now: Nanos) -> Result<(), AuthError> {
    let (request_s, now_s) = (claim.time.seconds(), now.seconds());
    match claim.expires_s {
        None if request_s.abs_diff(now_s) > CLOCK_SKEW_SECONDS_MAX => {
            Err(AuthError::TimeTooSkewed { request: claim.time, server: now })
        }
        Some(_) if request_s > now_s.saturating_add(CLOCK_SKEW_SECONDS_MAX) => {
            Err(AuthError::NotYetValid { request: claim.time, server: now })
        }
        Some(seconds) if request_s.saturating_add(seconds) < now_s => Err(AuthError::Expired {
            expires: Nanos::from_seconds(request_s.saturating_add(seconds)),
            server: now,
            seconds,
        }),
        _ => Ok(()),
    }
}

/// `host` and every `x-amz-` header must be signed, or a proxy could add one. The content hash is
/// exempt: its value is the payload line of the canonical request.
fn check_signed_headers(claim: &Claim<'_>, headers: &HeaderMap) -> Result<(), AuthError> {
    let is_signed =
        |name: &str| claim.signed_headers.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    let mut missing: Vec<&str> = Vec::new();
    if !is_signed("host") {
        missing.push("host");
    }
    let must = headers.keys().map(|name| name.as_str());
    let must = must.filter(|name| name.starts_with("x-amz-") && *name != CONTENT_SHA256);
    missing.extend(must.filter(|name| !is_signed(name)));
    if missing.is_empty() {
        return Ok(());
    }
    Err(AuthError::HeadersNotSigned { names: missing.join(", ") })
}

const CONTENT_SHA256: &str = "x-amz-content-sha256";

fn content_sha256(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let value = headers.get(CONTENT_SHA256);
    value.map(|value| value.to_str().map_err(|_| AuthError::BadContentSha256)).transpose()
}

/// The last line of the canonical request. A presigned URL says nothing of the payload unless it
/// carries the parameter or the header, which need not be signed: it may not say something else.
fn payload_text<'r>(claim: &Claim<'_>, request: &RequestView<'r>) -> Result<&'r str, AuthError> {
    let header = content_sha256(request.headers)?;
    if claim.expires_s.is_none() {
        return header.ok_or(AuthError::MissingContentSha256);
    }
    match (request.query.get_any_case(CONTENT_SHA256), header) {
        (Some(signed), Some(sent)) if signed != sent => Err(AuthError::BadContentSha256),
        (signed, sent) => Ok(signed.or(sent).unwrap_or(UNSIGNED_PAYLOAD)),
    }
}

/// Gives the signature as bytes when it holds under one of the two readings of the target.
fn check_signature(
    claim: &Claim<'_>,
    request: &RequestView<'_>,
    payload: &str,
    key: &SigningKey,
    scratch: &mut Vec<u8>,
) -> Result<[u8; 32], AuthError> {
    let first = sign_into(scratch, claim, request, payload, key, Reading::Encoded)?;
    if first.matches {
        return Ok(first.computed);
    }
    // The error shows what AWS would have signed, so it is made from the first reading.
    let mismatch = first.mismatch(claim, scratch);
    if !readings_agree(request) {
        let second = sign_into(scratch, claim, request, payload, key, Reading::AsSent)?;
        if second.matches {
            return Ok(second.computed);
        }
    }
    Err(AuthError::SignatureMismatch(Box::new(mismatch)))
}

/// The signature of one reading. The scratch buffer then holds the canonical request up to
/// `text_start` and the string to sign from there.
struct Attempt {
    computed: [u8; 32],
    matches: bool,
    text_start: usize,
}

fn sign_into(
    scratch: &mut Vec<u8>,
    claim: &Claim<'_>,
    request: &RequestView<'_>,
    payload: &str,
    key: &SigningKey,
    reading: Reading,
) -> Result<Attempt, AuthError> {
    write_request(scratch, request, claim.signed_headers, payload, reading)
        .map_err(|error| malformed_header(error.to_string()))?;
    let text_start = append_string_to_sign(scratch, &claim.timestamp, &scope_of(claim));
    let computed = key.sign(scratch.get(text_start..).unwrap_or_default());
    let mut digits = [0; 64];
    hex::encode_to_slice(computed, &mut digits).expect("64 digits for 32 bytes");
    let matches = verify_slices_are_equal(&digits, claim.signature.as_bytes()).is_ok();
    Ok(Attempt { computed, matches, text_start })
}

impl Attempt {
    fn mismatch(&self, claim: &Claim<'_>, scratch: &[u8]) -> Mismatch {
        let (canonical, to_sign) = scratch.split_at_checked(self.text_start).unwrap_or((scratch, &[]));
        Mismatch {
            access_key: claim.access_key.into(),
            provided: claim.signature.into(),
            string_to_sign: String::from_utf8_lossy(to_sign).into_owned(),
            canonical_request: String::from_utf8_lossy(canonical).into_owned(),
        }
    }
}
