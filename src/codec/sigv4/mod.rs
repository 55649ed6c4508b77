//! AWS Signature Version 4 as S3 applies it: reading a claim, verifying it, and signing.
//!
//! May use: `base`, `codec::date`, `codec::uri`, aws-lc-rs and the `http` types. The clock is an
//! argument and secrets come from the caller, so a request is handled in two steps: `parse` says
//! who claims to be calling (or that nobody does), the caller looks up the secret, and `verify`
//! decides. Signatures are compared in constant time. The derived keys and the scratch buffer
//! live in a `SigningKeyCache` that the caller owns, so that a verified request costs one hash of
//! its canonical form, one HMAC and hardly an allocation.
//!
//! Document: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API Reference.

mod canonical;
mod claim;
mod error;
mod key;
mod sign;
mod verify;

pub use canonical::RequestView;
pub use claim::{Claim, claimed_service, has_query_claim, parse};
pub use error::{AuthError, Mismatch};
pub use key::{ChunkSeed, KeyScope, SigningKey, SigningKeyCache};
pub use sign::{Presign, SignError, Signer};
pub use verify::{PayloadKind, Terms, Verified, payload_kind, verify};

/// The only algorithm, in `Authorization` and `X-Amz-Algorithm`.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service in the scope of everything but IAM and STS.
pub const SERVICE: &str = "s3";

impl<'a> Terms<'a> {
    /// Of S3.
    pub fn s3(region: &'a str) -> Terms<'a> {
        Terms { region, service: SERVICE, body_sha256: None }
    }
}

pub const TERMINATOR: &str = "aws4_request";

pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
pub const STREAMING_SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
pub const STREAMING_SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
pub const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// SHA-256 of the empty string.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[cfg(test)]
mod tests;
