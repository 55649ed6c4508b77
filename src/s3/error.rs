//! From what went wrong to what the client is told: S3 code, HTTP status, message, XML.
//!
//! Owns the one table of codes and the one exhaustive match from the store's errors to it; no other
//! file of the edge names a status for a failure. May use `object::error` and the codecs' errors.
//! The codes and statuses are those of
//! https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; where S3 has no word
//! (full drives) the choice is explained at the table.
//!
//! Invariant: an `S3Error` is cold. It is boxed, so that a `Result` on the hot path stays small.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use http::header::{ALLOW, LAST_MODIFIED};

use super::response::BUCKET_REGION;
use super::versions::{DELETE_MARKER, VERSION_ID};
use crate::base::limits::CLOCK_SKEW_SECONDS_MAX;
use crate::base::time::Nanos;
use crate::codec::chunked::ChunkError;
use crate::codec::date::{amz_date, http_date, iso8601_ms};
use crate::codec::form::FormError;
use crate::codec::sigv4::{AuthError, Mismatch};
use crate::codec::xml::{self, Fault, XmlError};
use crate::object::error::ObjectError;

macro_rules! codes {
    ($($name:ident $status:literal $message:literal;)*) => {
        /// An S3 error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// As it stands in `<Code>`.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            const fn status_number(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// The text used when the place of the failure has nothing better to say.
            pub const fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs";
    AccessDenied 403 "Access Denied";
    AccessForbidden 403 "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed 400 "The authorization header you provided is invalid.";
    AuthorizationQueryParametersError 400 "The authorization query parameters that you provided are not valid.";
    BadDigest 400 "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest 400 "Bad Request";
    BucketAlreadyExists 409 "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Select a different name and try again.";
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.";
    IllegalLocationConstraintException 400 "The specified location constraint is incompatible for the region specific endpoint this request was sent to.";
    IllegalVersioningConfigurationException 400 "The versioning configuration specified in the request is invalid.";
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    // S3 itself never runs out of room. RFC 4918 section 11.5 has the status, and it is the code
    // that tells a client to stop, where 503 would make it try for ever.
    InsufficientStorage 507 "The drives are full. Delete objects or add drives, then try again.";
    InternalError 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId 403 "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument 400 "Invalid Argument";
    InvalidBucketAclWithBlockPublicAccessError 400 "Bucket cannot have public ACLs set with BlockPublicAccess enabled";
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.";
    InvalidChunkSizeError 400 "Only the last chunk is allowed to have a size less than 8192 bytes.";
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid.";
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid. The valid value is AES256.";
    InvalidLocationConstraint 400 "The specified location constraint is not valid.";
    InvalidPart 400 "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber 416 "The requested partnumber is not satisfiable.";
    InvalidPartOrder 400 "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange 416 "The requested range is not satisfiable.";
    InvalidRedirectLocation 400 "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
    InvalidRequest 400 "The request is not valid.";
    InvalidRetentionPeriod 400 "The retention period specified is not valid.";
    InvalidStorageClass 400 "The storage class you specified is not valid.";
    InvalidS3DestinationBucket 400 "The destination bucket does not exist or belongs to another account.";
    InvalidTag 400 "The tag provided was not a valid tag.";
    InvalidToken 400 "The provided token is malformed or otherwise invalid.";
    InvalidTargetBucketForLogging 400 "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group.";
    InvalidURI 400 "Couldn't parse the specified URI.";
    KeyTooLongError 400 "Your key is too long.";
    MalformedACLError 400 "The ACL that you provided was not well formed or did not validate against our published schema.";
    MalformedPolicy 400 "The policy is not well formed.";
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.";
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema.";
    MaxMessageLengthExceeded 400 "Your request was too big.";
    MaxPostPreDataLengthExceededError 400 "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError 400 "Request Body is empty";
    MissingSecurityHeader 400 "Your request is missing a required header.";
    NoSuchBucket 404 "The specified bucket does not exist";
    NoSuchBucketPolicy 404 "The bucket policy does not exist.";
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist.";
    NoSuchConfiguration 404 "The specified configuration does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist.";
    NoSuchObjectLockConfiguration 404 "The specified object does not have an ObjectLock configuration.";
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found.";
    InvalidBucketOwnerAWSAccountID 400 "The value of the expected bucket owner parameter must be an AWS account ID.";
    NoSuchVersion 404 "The specified version does not exist.";
    NoSuchTagSet 404 "The TagSet does not exist.";
    NoSuchUpload 404 "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration.";
    NotImplemented 501 "A header or parameter you provided implies functionality that is not implemented.";
    NotModified 304 "Not Modified";
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket.";
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Try again.";
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found.";
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold.";
    // S3 itself has no quota of a bucket. The code is that of other AWS services, and 403 tells a client
    // not to try again.
    QuotaExceeded 403 "The bucket holds as much as its quota allows. Delete objects or ask the operator, then try again.";
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found.";
    RequestHeaderSectionTooLarge 400 "Your request header section exceeds the maximum allowed size.";
    RequestTimeTooSkewed 403 "The difference between the request time and the current time is too large.";
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.";
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found.";
    ServiceUnavailable 503 "Too few drives are healthy to write safely. Please try again.";
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown 503 "Please reduce your request rate.";
    TooManyBuckets 400 "You have attempted to create more buckets than allowed.";
    TooManyConfigurations 400 "You are attempting to create a new configuration but have already reached the limit of configurations.";
    TooManyParts 400 "You have attempted to upload more parts than allowed.";
    UnresolvableGrantByEmailAddress 400 "The email address you provided does not match any account on record.";
    UnexpectedContent 400 "This request contains unsupported content.";
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl Code {
    pub const COUNT: usize = Code::ALL.len();

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A failure as the client is told of it.
pub struct S3Error(Box<Inner>);

struct Inner {
    code: Code,
    message: Cow<'static, str>,
    /// Further elements of the XML body, in order.
    fields: Vec<(&'static str, String)>,
    /// Further response headers, e.g. `Content-Range` of a 416.
    headers: Vec<(http::HeaderName, String)>,
}

pub type Result<T> = std::result::Result<T, S3Error>;

impl S3Error {
    #[cold]
    pub fn new(code: Code) -> Self {
        Self::with(code, code.message())
    }

    #[cold]
    pub fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        S3Error(Box::new(Inner { code, message, fields: Vec::new(), headers: Vec::new() }))
    }

    /// `InvalidArgument` with the two elements AWS adds to name the culprit.
    pub fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with(Code::InvalidArgument, message).field("ArgumentName", name).field("ArgumentValue", value)
    }

    /// A feature of S3 that is not built here, named in the message.
    pub fn not_implemented(what: &str) -> Self {
        Self::with(Code::NotImplemented, format!("{} ({what})", Code::NotImplemented.message()))
    }

    /// `resource` is `SERVICE`, `BUCKET` or `OBJECT`, or a sub-resource, which is told in the same manner.
    pub fn method_not_allowed(resource: &str) -> Self {
        Self::new(Code::MethodNotAllowed).field("ResourceType", resource.to_ascii_uppercase())
    }

    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.fields.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: http::HeaderName, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0.fields
    }

    pub fn headers(&self) -> &[(http::HeaderName, String)] {
        &self.0.headers
    }

    fn has_field(&self, name: &str) -> bool {
        self.0.fields.iter().any(|(field, _)| *field == name)
    }

    /// The body S3 sends: code, message, the elements of this error, what was asked for, and the
    /// id under which the request is found. `bucket` and `key` are what the request addressed.
    pub fn to_xml(&self, place: &Place<'_>) -> Vec<u8> {
        let mut details = self.details(place);
        details.push(("HostId", place.host_id));
        xml::error(&xml::ErrorDocument {
            code: self.code().name(),
            message: self.message(),
            resource: place.resource,
            request_id: place.request_id,
            details: &details,
        })
    }

    /// What is said besides code and message.
    pub(super) fn details<'a>(&'a self, place: &Place<'a>) -> Vec<(&'a str, &'a str)> {
        let fields = self.fields().iter().map(|(name, value)| (*name, &**value));
        let mut details: Vec<(&str, &str)> = fields.collect();
        let names_key =
            matches!(self.code(), Code::NoSuchKey | Code::NoSuchVersion) && !self.has_field("Key");
        if let (true, Some(key)) = (names_key, place.key) {
            details.push(("Key", key));
        }
        if let (Code::NoSuchVersion, Some(version)) = (self.code(), place.version) {
            details.push(("VersionId", version));
        }
        if self.code() == Code::MethodNotAllowed {
            details.insert(0, ("Method", place.method));
        }
        if let (true, false, Some(bucket)) = (self.names_bucket(), self.has_field("BucketName"), place.bucket)
        {
            details.push(("BucketName", bucket));
        }
        details
    }

    fn names_bucket(&self) -> bool {
        matches!(
            self.code(),
            Code::NoSuchBucket
                | Code::BucketAlreadyOwnedByYou
                | Code::BucketAlreadyExists
                | Code::BucketNotEmpty
                | Code::InvalidBucketName
                | Code::NoSuchBucketPolicy
                | Code::NoSuchCORSConfiguration
                | Code::NoSuchLifecycleConfiguration
                | Code::NoSuchPublicAccessBlockConfiguration
                | Code::NoSuchTagSet
                | Code::NoSuchWebsiteConfiguration
                | Code::ObjectLockConfigurationNotFoundError
                | Code::OwnershipControlsNotFoundError
                | Code::ReplicationConfigurationNotFoundError
                | Code::ServerSideEncryptionConfigurationNotFoundError
        )
    }
}

/// What a request addressed, for the text of its error.
#[derive(Default)]
pub struct Place<'a> {
    pub resource: &'a str,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    /// That the request names.
    pub version: Option<&'a str>,
    pub method: &'a str,
    pub request_id: &'a str,
    pub host_id: &'a str,
}

impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code().name(), self.message())
    }
}

impl From<Code> for S3Error {
    fn from(code: Code) -> Self {
        S3Error::new(code)
    }
}

/// The one place where a failure of the store gets its S3 code.
impl From<ObjectError> for S3Error {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NoSuchBucket => Code::NoSuchBucket.into(),
            ObjectError::BucketAlreadyOwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
            ObjectError::BucketAlreadyExists => Code::BucketAlreadyExists.into(),
            ObjectError::BucketNotEmpty => Code::BucketNotEmpty.into(),
            ObjectError::TooManyBuckets => Code::TooManyBuckets.into(),
            ObjectError::InvalidBucketState(message) => S3Error::with(Code::InvalidBucketState, message),
            ObjectError::TooManyConfigurations(message) => {
                S3Error::with(Code::TooManyConfigurations, message)
            }
            ObjectError::NoSuchKey => Code::NoSuchKey.into(),
            ObjectError::NoSuchUpload => Code::NoSuchUpload.into(),
            ObjectError::NoSuchVersion => Code::NoSuchVersion.into(),
            ObjectError::InvalidVersionId => {
                S3Error::with(Code::InvalidArgument, "Invalid version id specified")
                    .field("ArgumentName", "versionId")
            }
            ObjectError::DeleteMarker { version, modified, named } => marked(version, modified, named),
            ObjectError::Locked => {
                S3Error::with(Code::AccessDenied, "Access Denied because object protected by object lock.")
            }
            ObjectError::InvalidPart(number) => {
                S3Error::new(Code::InvalidPart).field("PartNumber", number.to_string())
            }
            ObjectError::InvalidPartOrder => Code::InvalidPartOrder.into(),
            ObjectError::PartTooSmall { number, size } => S3Error::new(Code::EntityTooSmall)
                .field("ProposedSize", size.to_string())
                .field("MinSizeAllowed", crate::base::limits::PART_BYTES_MIN.to_string())
                .field("PartNumber", number.to_string()),
            ObjectError::EntityTooLarge => Code::EntityTooLarge.into(),
            ObjectError::PreconditionFailed(condition) => {
                S3Error::new(Code::PreconditionFailed).field("Condition", condition)
            }
            ObjectError::NotModified => Code::NotModified.into(),
            ObjectError::BadRequest(message) => S3Error::with(Code::InvalidRequest, message),
            ObjectError::BadDigest => Code::BadDigest.into(),
            ObjectError::QuotaExceeded => Code::QuotaExceeded.into(),
            ObjectError::StorageFull => Code::InsufficientStorage.into(),
            ObjectError::Outdated => Code::OperationAborted.into(),
            ObjectError::SlowDown => Code::SlowDown.into(),
            ObjectError::NotWritable => Code::ServiceUnavailable.into(),
            ObjectError::Unreadable(reason) => {
                tracing::error!(reason, "object data cannot be read");
                Code::InternalError.into()
            }
        }
    }
}

/// A key whose current version is a delete marker is absent; a marker itself has nothing to read.
fn marked(version: String, modified: Nanos, named: bool) -> S3Error {
    let error = match named {
        false => S3Error::new(Code::NoSuchKey),
        true => S3Error::new(Code::MethodNotAllowed)
            .field("ResourceType", "DeleteMarker")
            .header(ALLOW, "DELETE")
            .header(LAST_MODIFIED, http_date(modified).as_str()),
    };
    error.header(DELETE_MARKER, "true").header(VERSION_ID, version)
}

impl From<AuthError> for S3Error {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        let as_code = |code: Code| S3Error::with(code, message.clone());
        let iso = |time| iso8601_ms(time).as_str().to_owned();
        match error {
            AuthError::HeaderMalformed { expected_region, .. } => {
                with_region(as_code(Code::AuthorizationHeaderMalformed), expected_region)
            }
            AuthError::QueryMalformed { expected_region, .. } => {
                with_region(as_code(Code::AuthorizationQueryParametersError), expected_region)
            }
            AuthError::UnsupportedMechanism | AuthError::MissingContentSha256 => {
                as_code(Code::InvalidRequest)
            }
            AuthError::TwoMechanisms | AuthError::UnknownMechanism | AuthError::OldHeaderMalformed => {
                as_code(Code::InvalidArgument).field("ArgumentName", "Authorization")
            }
            AuthError::BadContentSha256 => {
                as_code(Code::InvalidArgument).field("ArgumentName", "x-amz-content-sha256")
            }
            AuthError::MissingDate | AuthError::OldQueryMalformed { .. } => as_code(Code::AccessDenied),
            AuthError::Outdated { expires, server } => {
                as_code(Code::AccessDenied).field("Expires", iso(expires)).field("ServerTime", iso(server))
            }
            AuthError::ContentSha256Mismatch { claimed, computed } => {
                as_code(Code::XAmzContentSHA256Mismatch)
                    .field("ClientComputedContentSHA256", claimed)
                    .field("S3ComputedContentSHA256", computed)
            }
            AuthError::TimeTooSkewed { request, server } => as_code(Code::RequestTimeTooSkewed)
                .field("RequestTime", amz_date(request).as_str())
                .field("ServerTime", iso(server))
                .field("MaxAllowedSkewMilliseconds", (CLOCK_SKEW_SECONDS_MAX * 1000).to_string()),
            AuthError::Expired { expires, server, seconds } => as_code(Code::AccessDenied)
                .field("X-Amz-Expires", seconds.to_string())
                .field("Expires", iso(expires))
                .field("ServerTime", iso(server)),
            AuthError::NotYetValid { request, server } => as_code(Code::AccessDenied)
                .field("RequestTime", iso(request))
                .field("ServerTime", iso(server)),
            AuthError::HeadersNotSigned { names } => {
                as_code(Code::AccessDenied).field("HeadersNotSigned", names)
            }
            AuthError::SignatureMismatch(mismatch) => mismatched(*mismatch),
        }
    }
}

fn mismatched(mismatch: Mismatch) -> S3Error {
    let error = S3Error::with(Code::SignatureDoesNotMatch, Code::SignatureDoesNotMatch.message())
        .field("AWSAccessKeyId", mismatch.access_key)
        .field("StringToSignBytes", spaced_hex(&mismatch.string_to_sign))
        .field("StringToSign", mismatch.string_to_sign)
        .field("SignatureProvided", mismatch.provided);
    match mismatch.canonical_request {
        // Version 2 has none.
        canonical if canonical.is_empty() => error,
        canonical => {
            error.field("CanonicalRequestBytes", spaced_hex(&canonical)).field("CanonicalRequest", canonical)
        }
    }
}

fn with_region(error: S3Error, expected: Option<Box<str>>) -> S3Error {
    match expected {
        Some(region) => error.header(BUCKET_REGION, &*region).field("Region", region),
        None => error,
    }
}

/// `61 62 0a`, as AWS shows the bytes behind a text.
fn spaced_hex(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

impl From<FormError> for S3Error {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Malformed => Code::MalformedPOSTRequest.into(),
            FormError::FieldsTooLarge => Code::MaxPostPreDataLengthExceededError.into(),
        }
    }
}

impl From<ChunkError> for S3Error {
    fn from(error: ChunkError) -> Self {
        if let ChunkError::TooSmall { chunk, size } = error {
            return S3Error::with(Code::InvalidChunkSizeError, error.to_string())
                .field("Chunk", chunk.to_string())
                .field("BadChunkSize", size.to_string());
        }
        let code = match error {
            ChunkError::Malformed(_) | ChunkError::TooLong { .. } | ChunkError::Incomplete { .. } => {
                Code::IncompleteBody
            }
            ChunkError::TooSmall { .. } => Code::InvalidChunkSizeError,
            ChunkError::MalformedTrailer(_) => Code::MalformedTrailerError,
            ChunkError::SignatureMismatch => Code::SignatureDoesNotMatch,
        };
        S3Error::with(code, error.to_string())
    }
}

impl From<XmlError> for S3Error {
    fn from(error: XmlError) -> Self {
        let code = match error {
            XmlError::Malformed(_) => Code::MalformedXML,
            XmlError::Unsupported(_) => Code::NotImplemented,
            XmlError::BadChecksum(_) => Code::InvalidArgument,
            XmlError::Invalid(Fault::Argument, _) => Code::InvalidArgument,
            XmlError::Invalid(Fault::Request, _) => Code::InvalidRequest,
            XmlError::Invalid(Fault::RetentionPeriod, _) => Code::InvalidRetentionPeriod,
            XmlError::Invalid(Fault::Tag, _) => Code::InvalidTag,
            XmlError::Invalid(Fault::Versioning, _) => Code::IllegalVersioningConfigurationException,
        };
        S3Error::with(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_its_own_index() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.index(), at);
            assert_eq!(code.status().as_u16(), code.status_number());
            assert!(!code.message().is_empty());
        }
    }

    #[test]
    fn the_body_names_what_was_asked_for_and_escapes_it() {
        let place = Place {
            resource: "/b/<k>&",
            bucket: Some("b"),
            key: Some("<k>&"),
            request_id: "ID",
            host_id: "H",
            ..Place::default()
        };
        let xml = String::from_utf8(S3Error::from(ObjectError::NoSuchKey).to_xml(&place)).unwrap();
        assert!(xml.contains("<Code>NoSuchKey</Code>"), "{xml}");
        assert!(xml.contains("<Key>&lt;k&gt;&amp;</Key>"), "{xml}");
        assert!(xml.contains("<Resource>/b/&lt;k&gt;&amp;</Resource><RequestId>ID</RequestId>"), "{xml}");
        let place = Place { version: Some("v"), method: "PUT", ..place };
        let xml = String::from_utf8(S3Error::from(ObjectError::NoSuchVersion).to_xml(&place)).unwrap();
        assert!(xml.contains("<Key>&lt;k&gt;&amp;</Key><VersionId>v</VersionId>"), "{xml}");
        let xml = String::from_utf8(S3Error::new(Code::MethodNotAllowed).to_xml(&place)).unwrap();
        assert!(xml.contains("<Method>PUT</Method>"), "{xml}");
    }

    #[test]
    fn a_failed_condition_is_named() {
        let error = S3Error::from(ObjectError::PreconditionFailed("If-Match"));
        assert_eq!(error.code().status(), 412);
        assert_eq!(error.fields(), [("Condition", "If-Match".to_owned())]);
    }

    #[test]
    fn full_and_unsafe_drives_are_told_apart_from_a_busy_server() {
        let status = |error: ObjectError| S3Error::from(error).code().status().as_u16();
        assert_eq!(status(ObjectError::StorageFull), 507);
        assert_eq!(status(ObjectError::SlowDown), 503);
        assert_eq!(S3Error::from(ObjectError::NotWritable).code(), Code::ServiceUnavailable);
    }
}
