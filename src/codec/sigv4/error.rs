//! Why a request is not authenticated. Each variant carries what its S3 error document shows; the
//! edge chooses status and XML, `code` names the S3 error code it belongs to.
//!
//! May use: `base::time`. The messages are AWS's own where AWS documents or sends one, because
//! people search for them.

use crate::base::time::Nanos;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The `Authorization` header cannot be read or its scope is wrong.
    #[error("The authorization header is malformed; {reason}")]
    HeaderMalformed { reason: String, expected_region: Option<Box<str>> },

    /// The `X-Amz-*` query parameters cannot be read or their scope is wrong.
    #[error("{reason}")]
    QueryMalformed { reason: String, expected_region: Option<Box<str>> },

    /// An `Authorization` header of Version 2 cannot be read.
    #[error("AWS authorization header is invalid. Expected AwsAccessKeyId:signature")]
    OldHeaderMalformed,

    /// The parameters of a URL that is presigned with Version 2 cannot be read.
    #[error("{reason}")]
    OldQueryMalformed { reason: String },

    /// Another scheme.
    #[error("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")]
    UnsupportedMechanism,

    /// An Authorization header that speaks of something else.
    #[error("Unsupported Authorization Type")]
    UnknownMechanism,

    #[error(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
         string parameter or the Authorization header should be specified"
    )]
    TwoMechanisms,

    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    MissingDate,

    #[error("Missing required header for this request: x-amz-content-sha256")]
    MissingContentSha256,

    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid \
         sha256 value."
    )]
    BadContentSha256,

    /// The body is not the one that was signed.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    ContentSha256Mismatch { claimed: String, computed: String },

    #[error("The difference between the request time and the current time is too large.")]
    TimeTooSkewed { request: Nanos, server: Nanos },

    /// A presigned URL after its time.
    #[error("Request has expired")]
    Expired { expires: Nanos, server: Nanos, seconds: u64 },

    /// The same of Version 2, where the URL says when it ends.
    #[error("Request has expired")]
    Outdated { expires: Nanos, server: Nanos },

    /// A presigned URL whose date lies further ahead than clocks differ.
    #[error("Request is not valid yet")]
    NotYetValid { request: Nanos, server: Nanos },

    /// `host`, or an `x-amz-` header that is there, is not signed. Names are joined by `, `.
    #[error("There were headers present in the request which were not signed")]
    HeadersNotSigned { names: String },

    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method."
    )]
    SignatureMismatch(Box<Mismatch>),
}

/// What the client can compare with its own calculation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub access_key: String,
    pub provided: String,
    pub string_to_sign: String,
    /// Bytes that are not UTF-8 are replaced.
    pub canonical_request: String,
}

impl AuthError {
    /// The S3 error code, for answers to operators. What clients of S3 are told stands in `s3::error`.
    pub fn code(&self) -> &'static str {
        match self {
            AuthError::HeaderMalformed { .. } => "AuthorizationHeaderMalformed",
            AuthError::QueryMalformed { .. } => "AuthorizationQueryParametersError",
            AuthError::UnsupportedMechanism | AuthError::MissingContentSha256 => "InvalidRequest",
            AuthError::TwoMechanisms
            | AuthError::UnknownMechanism
            | AuthError::OldHeaderMalformed
            | AuthError::BadContentSha256 => "InvalidArgument",
            AuthError::ContentSha256Mismatch { .. } => "XAmzContentSHA256Mismatch",
            AuthError::TimeTooSkewed { .. } => "RequestTimeTooSkewed",
            AuthError::MissingDate
            | AuthError::OldQueryMalformed { .. }
            | AuthError::Expired { .. }
            | AuthError::Outdated { .. }
            | AuthError::NotYetValid { .. }
            | AuthError::HeadersNotSigned { .. } => "AccessDenied",
            AuthError::SignatureMismatch(_) => "SignatureDoesNotMatch",
        }
    }
}
