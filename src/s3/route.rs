//! Which operation a request asks for, and on which bucket and key.
//!
//! Owns the list of operations, the table from method and sub-resource to operation, and the
//! reading of path-style and virtual-host-style addresses. Pure: no state, no I/O. May use
//! `codec::uri` and `s3::error`.
//!
//! Invariant: a query parameter that S3 knows as a sub-resource is never ignored. It selects an
//! operation that is built, or the answer is NotImplemented. Parameters S3 does not know are
//! ignored, as S3 does (clients send `x-id=PutObject` and the like).

use std::borrow::Cow;

use http::header::ALLOW;
use http::{HeaderMap, Method};

use super::error::{Code, Result, S3Error};
use crate::base::limits::KEY_BYTES_MAX;
use crate::codec::uri::{Query, decode_path};

macro_rules! operations {
    ($($name:ident)*) => {
        /// What a request asks for. `Other` stands for everything that is not built.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation { $($name,)* }

        impl Operation {
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The name in the S3 API.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }
        }
    };
}

operations! {
    Other Operator Preflight Website
    ListBuckets CreateBucket HeadBucket DeleteBucket GetBucketLocation
    ListObjects ListObjectsV2 ListObjectVersions ListMultipartUploads DeleteObjects
    GetObject HeadObject PutObject CopyObject DeleteObject GetObjectAttributes
    GetObjectTagging PutObjectTagging DeleteObjectTagging
    GetBucketVersioning PutBucketVersioning GetObjectLockConfiguration PutObjectLockConfiguration
    GetObjectRetention PutObjectRetention GetObjectLegalHold PutObjectLegalHold
    PutBucketAcl PutObjectAcl PutBucketPolicy DeleteBucketPolicy IamQuery
    GetBucketAcl GetObjectAcl GetBucketPolicy GetBucketPolicyStatus
    CreateMultipartUpload UploadPart UploadPartCopy CompleteMultipartUpload AbortMultipartUpload ListParts
    PostObject PutBucketTagging DeleteBucketTagging PutBucketCors DeleteBucketCors PutBucketWebsite DeleteBucketWebsite
    PutBucketEncryption DeleteBucketEncryption PutPublicAccessBlock DeletePublicAccessBlock
    PutBucketOwnershipControls DeleteBucketOwnershipControls PutBucketRequestPayment PutBucketLogging
    PutBucketLifecycleConfiguration DeleteBucketLifecycle PutBucketNotificationConfiguration
    GetBucketInventoryConfiguration PutBucketInventoryConfiguration DeleteBucketInventoryConfiguration
    ListBucketInventoryConfigurations
    GetBucketTagging GetBucketCors GetBucketWebsite GetBucketEncryption GetPublicAccessBlock
    GetBucketOwnershipControls GetBucketRequestPayment GetBucketLogging GetBucketLifecycleConfiguration
    GetBucketNotificationConfiguration
    GetBucketReplication GetBucketAccelerateConfiguration
}

/// What an operation does with a setting of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    None,
    Reads,
    Sets,
    Removes,
    Inventory,
}

impl Operation {
    pub const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn setting(self) -> Access {
        use Operation::*;
        match self {
            GetBucketTagging
            | GetBucketCors
            | GetBucketWebsite
            | GetBucketEncryption
            | GetPublicAccessBlock
            | GetBucketOwnershipControls
            | GetBucketRequestPayment
            | GetBucketLogging
            | GetBucketLifecycleConfiguration
            | GetBucketNotificationConfiguration => Access::Reads,
            PutBucketTagging
            | PutBucketCors
            | PutBucketWebsite
            | PutBucketEncryption
            | PutPublicAccessBlock
            | PutBucketOwnershipControls
            | PutBucketRequestPayment
            | PutBucketLogging
            | PutBucketLifecycleConfiguration
            | PutBucketNotificationConfiguration => Access::Sets,
            DeleteBucketTagging
            | DeleteBucketCors
            | DeleteBucketWebsite
            | DeleteBucketEncryption
            | DeletePublicAccessBlock
            | DeleteBucketOwnershipControls
            | DeleteBucketLifecycle => Access::Removes,
            PutBucketInventoryConfiguration
            | DeleteBucketInventoryConfiguration
            | GetBucketInventoryConfiguration
            | ListBucketInventoryConfigurations => Access::Inventory,
            _ => Access::None,
        }
    }

    const fn takes_version(self) -> bool {
        use Operation::*;
        matches!(
            self,
            GetObject
                | HeadObject
                | DeleteObject
                | GetObjectAttributes
                | GetObjectAcl
                | PutObjectAcl
                | GetObjectTagging
                | PutObjectTagging
                | DeleteObjectTagging
                | GetObjectRetention
                | PutObjectRetention
                | GetObjectLegalHold
                | PutObjectLegalHold
        )
    }
}

/// The bucket and key of a request; the key is decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Target<'r> {
    pub bucket: Option<Cow<'r, str>>,
    pub key: Option<Cow<'r, str>>,
}

/// Reads the address. `host` is the Host header, `domains` are the base domains under which a
/// first label (or labels) names a bucket.
pub(super) fn target<'r>(host: Option<&'r str>, raw_path: &'r str, domains: &[String]) -> Result<Target<'r>> {
    let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
    let (bucket, raw_key) = match host.and_then(|host| host_bucket(host, domains)) {
        Some(bucket) => (Cow::Borrowed(bucket), path),
        None => {
            let (raw_bucket, raw_key) = path.split_once('/').unwrap_or((path, ""));
            (decode(raw_bucket)?, raw_key)
        }
    };
    if bucket.is_empty() {
        // A path such as `//key` addresses nothing.
        return if raw_key.is_empty() { Ok(Target::default()) } else { Err(Code::InvalidBucketName.into()) };
    }
    if raw_key.is_empty() {
        return Ok(Target { bucket: Some(bucket), key: None });
    }
    let key = decode(raw_key)?;
    check_key(&key)?;
    Ok(Target { bucket: Some(bucket), key: Some(key) })
}

/// Every key is allowed but one that is too long.
pub(super) fn check_key(key: &str) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::new(Code::KeyTooLongError)
        .field("Size", key.len().to_string())
        .field("MaxSizeAllowed", KEY_BYTES_MAX.to_string()))
}

fn decode(raw: &str) -> Result<Cow<'_, str>> {
    decode_path(raw).map_err(|_| Code::InvalidURI.into())
}

/// What stands in front of a configured domain.
pub(super) fn host_bucket<'h>(host: &'h str, domains: &[String]) -> Option<&'h str> {
    let name = without_port(host);
    domains.iter().find_map(|domain| {
        let dot = name.len().checked_sub(domain.len() + 1)?;
        let (bucket, suffix) = name.split_at_checked(dot)?;
        let suffix = suffix.strip_prefix('.')?;
        (suffix.eq_ignore_ascii_case(domain) && !bucket.is_empty()).then_some(bucket)
    })
}

/// An IPv6 literal keeps its brackets and matches no domain.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Names under which S3 knows sub-resources and operations. Parameters that merely qualify one
/// (`uploadId`, `partNumber`, `versionId`) are judged by `route`.
const SUB_RESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "append",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// True for a parameter that takes part in choosing the operation, what it is about, or how it is answered.
pub(super) fn chooses(name: &str) -> bool {
    const QUALIFIERS: [&str; 4] = ["partNumber", "uploadId", "versionId", "select-type"];
    SUB_RESOURCES.contains(&name) || QUALIFIERS.contains(&name) || name.starts_with("response-")
}

/// Chooses the operation.
pub(super) fn route(
    method: &Method,
    target: &Target<'_>,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Operation> {
    if method == Method::OPTIONS {
        return Ok(Operation::Preflight);
    }
    let sub = sub_resource(query)?;
    let find = |method: &Method| match (&target.bucket, &target.key) {
        (None, _) => service_operation(method, sub),
        (Some(_), None) => bucket_operation(method, sub, query),
        (Some(_), Some(_)) => object_operation(method, sub, query, headers),
    };
    let operation = find(method).map_err(|error| match error.code() {
        Code::MethodNotAllowed => {
            let allowed = METHODS.iter().filter(|method| find(method).is_ok());
            let names: Vec<&str> = allowed.map(Method::as_str).collect();
            error.header(ALLOW, names.join(", "))
        }
        _ => error,
    })?;
    check_version(operation, query)?;
    Ok(operation)
}

/// Of which some are allowed where another is not (RFC 9110 section 15.5.6).
const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];

/// At most one sub-resource is asked for.
fn sub_resource<'q>(query: &'q Query<'_>) -> Result<Option<&'q str>> {
    let mut found: Option<&str> = None;
    for pair in query.pairs() {
        // Presigned requests have six parameters that need no look at the table.
        if pair.name.starts_with(['X', 'x']) || !SUB_RESOURCES.contains(&&*pair.name) {
            continue;
        }
        match found {
            Some(first) if first != pair.name => {
                return Err(conflicting(first, &pair.name));
            }
            _ => found = Some(&pair.name),
        }
    }
    Ok(found)
}

fn conflicting(first: &str, second: &str) -> S3Error {
    let message = format!("Conflicting query string parameters: {first}, {second}");
    S3Error::argument("ResourceType", second, message)
}

/// A version id is for operations on one version.
fn check_version(operation: Operation, query: &Query<'_>) -> Result<()> {
    match query.get("versionId") {
        None => Ok(()),
        Some("") => Err(S3Error::argument("versionId", "", "Version id cannot be the empty string")),
        Some(_) if operation.takes_version() => Ok(()),
        Some(id) => Err(S3Error::argument("versionId", id, "This operation does not accept a version-id.")),
    }
}

fn service_operation(method: &Method, sub: Option<&str>) -> Result<Operation> {
    match (method.as_str(), sub) {
        ("GET", None) => Ok(Operation::ListBuckets),
        ("POST", None) => Ok(Operation::IamQuery),
        (_, None) => Err(S3Error::method_not_allowed("SERVICE")),
        (_, Some(sub)) => Err(S3Error::not_implemented(sub)),
    }
}

fn bucket_operation(method: &Method, sub: Option<&str>, query: &Query<'_>) -> Result<Operation> {
    let operation = match (method.as_str(), sub) {
        ("GET", None) => return list_operation(query),
        ("PUT", None) => Operation::CreateBucket,
        ("HEAD", None) => Operation::HeadBucket,
        ("DELETE", None) => Operation::DeleteBucket,
        ("POST", Some("delete")) => Operation::DeleteObjects,
        ("PUT", Some("acl")) => Operation::PutBucketAcl,
        ("PUT", Some("policy")) => Operation::PutBucketPolicy,
        ("DELETE", Some("policy")) => Operation::DeleteBucketPolicy,
        ("GET", Some("inventory")) if query.has("id") => Operation::GetBucketInventoryConfiguration,
        ("GET", Some("inventory")) => Operation::ListBucketInventoryConfigurations,
        ("PUT", Some("versioning")) => Operation::PutBucketVersioning,
        ("PUT", Some("object-lock")) => Operation::PutObjectLockConfiguration,
        ("GET", Some(sub)) => return bucket_reading(sub),
        ("PUT", Some(sub)) => return bucket_setting(sub),
        ("DELETE", Some(sub)) => return bucket_unsetting(sub),
        ("POST", None) => return Ok(Operation::PostObject),
        (_, Some(sub)) => return Err(bucket_refusal(sub)),
        _ => return Err(S3Error::method_not_allowed("BUCKET")),
    };
    Ok(operation)
}

fn list_operation(query: &Query<'_>) -> Result<Operation> {
    match query.get("list-type") {
        None => Ok(Operation::ListObjects),
        Some("2") => Ok(Operation::ListObjectsV2),
        Some(other) => Err(S3Error::argument("list-type", other, "Invalid List Type specified in Query")),
    }
}

fn bucket_reading(sub: &str) -> Result<Operation> {
    Ok(match sub {
        "location" => Operation::GetBucketLocation,
        "uploads" => Operation::ListMultipartUploads,
        "versions" => Operation::ListObjectVersions,
        "versioning" => Operation::GetBucketVersioning,
        "acl" => Operation::GetBucketAcl,
        "tagging" => Operation::GetBucketTagging,
        "cors" => Operation::GetBucketCors,
        "policy" => Operation::GetBucketPolicy,
        "policyStatus" => Operation::GetBucketPolicyStatus,
        "lifecycle" => Operation::GetBucketLifecycleConfiguration,
        "website" => Operation::GetBucketWebsite,
        "encryption" => Operation::GetBucketEncryption,
        "replication" => Operation::GetBucketReplication,
        "object-lock" => Operation::GetObjectLockConfiguration,
        "publicAccessBlock" => Operation::GetPublicAccessBlock,
        "ownershipControls" => Operation::GetBucketOwnershipControls,
        "requestPayment" => Operation::GetBucketRequestPayment,
        "logging" => Operation::GetBucketLogging,
        "notification" => Operation::GetBucketNotificationConfiguration,
        "accelerate" => Operation::GetBucketAccelerateConfiguration,
        _ => return Err(bucket_refusal(sub)),
    })
}

fn bucket_setting(sub: &str) -> Result<Operation> {
    Ok(match sub {
        "tagging" => Operation::PutBucketTagging,
        "cors" => Operation::PutBucketCors,
        "website" => Operation::PutBucketWebsite,
        "encryption" => Operation::PutBucketEncryption,
        "publicAccessBlock" => Operation::PutPublicAccessBlock,
        "ownershipControls" => Operation::PutBucketOwnershipControls,
        "requestPayment" => Operation::PutBucketRequestPayment,
        "logging" => Operation::PutBucketLogging,
        "lifecycle" => Operation::PutBucketLifecycleConfiguration,
        "notification" => Operation::PutBucketNotificationConfiguration,
        "inventory" => Operation::PutBucketInventoryConfiguration,
        _ => return Err(bucket_refusal(sub)),
    })
}

fn bucket_unsetting(sub: &str) -> Result<Operation> {
    Ok(match sub {
        "tagging" => Operation::DeleteBucketTagging,
        "cors" => Operation::DeleteBucketCors,
        "website" => Operation::DeleteBucketWebsite,
        "encryption" => Operation::DeleteBucketEncryption,
        "publicAccessBlock" => Operation::DeletePublicAccessBlock,
        "ownershipControls" => Operation::DeleteBucketOwnershipControls,
        "lifecycle" => Operation::DeleteBucketLifecycle,
        "inventory" => Operation::DeleteBucketInventoryConfiguration,
        _ => return Err(bucket_refusal(sub)),
    })
}

fn object_operation(
    method: &Method,
    sub: Option<&str>,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Operation> {
    let upload = query.get("uploadId").is_some();
    let part = query.get("partNumber").is_some();
    let copy = headers.contains_key("x-amz-copy-source");
    let operation = match (method.as_str(), sub, upload) {
        ("GET", None, false) => Operation::GetObject,
        ("GET", None, true) => Operation::ListParts,
        ("GET", Some("attributes"), false) => Operation::GetObjectAttributes,
        ("GET", Some("acl"), false) => Operation::GetObjectAcl,
        ("PUT", Some("acl"), false) => Operation::PutObjectAcl,
        ("GET", Some("tagging"), false) => Operation::GetObjectTagging,
        ("PUT", Some("tagging"), false) => Operation::PutObjectTagging,
        ("DELETE", Some("tagging"), false) => Operation::DeleteObjectTagging,
        ("GET", Some("retention"), false) => Operation::GetObjectRetention,
        ("PUT", Some("retention"), false) => Operation::PutObjectRetention,
        ("GET", Some("legal-hold"), false) => Operation::GetObjectLegalHold,
        ("PUT", Some("legal-hold"), false) => Operation::PutObjectLegalHold,
        ("HEAD", None, false) => Operation::HeadObject,
        ("PUT", None, true) if part && copy => Operation::UploadPartCopy,
        ("PUT", None, true) if part => Operation::UploadPart,
        ("PUT", None, true) => return Err(missing("partNumber", "uploadId")),
        ("PUT", None, false) if part => return Err(missing("uploadId", "partNumber")),
        ("PUT", None, false) if copy => Operation::CopyObject,
        ("PUT", None, false) => Operation::PutObject,
        ("DELETE", None, false) => Operation::DeleteObject,
        ("DELETE", None, true) => Operation::AbortMultipartUpload,
        ("POST", Some("uploads"), false) => Operation::CreateMultipartUpload,
        ("POST", None, true) => Operation::CompleteMultipartUpload,
        (_, Some(sub), true) => return Err(conflicting(sub, "uploadId")),
        (_, Some(sub), false) => return Err(refusal(sub, OBJECT_SUB_RESOURCES)),
        _ => return Err(S3Error::method_not_allowed("OBJECT")),
    };
    Ok(operation)
}

/// Sub-resources of an object that are built; not every method asks for them.
const OBJECT_SUB_RESOURCES: &[&str] = &["acl", "attributes", "legal-hold", "retention", "tagging", "uploads"];
/// The same of a bucket. What S3 can set and we cannot is not among them.
const BUCKET_SUB_RESOURCES: &[&str] = &[
    "acl",
    "cors",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "requestPayment",
    "tagging",
    "uploads",
    "versioning",
    "versions",
    "website",
];

fn bucket_refusal(sub: &str) -> S3Error {
    refusal(sub, BUCKET_SUB_RESOURCES)
}

/// A method that nothing is built for: nor does S3 know one for a sub-resource that is built.
fn refusal(sub: &str, built: &[&str]) -> S3Error {
    match built.contains(&sub) {
        true => S3Error::method_not_allowed(sub),
        false => S3Error::not_implemented(sub),
    }
}

fn missing(wanted: &str, given: &str) -> S3Error {
    S3Error::argument(wanted, "", format!("This operation does not accept {given} without {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn routed(method: &str, path: &str, query: &str) -> std::result::Result<Operation, Code> {
        let query = Query::parse(query).unwrap();
        let target = target(None, path, &[]).unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        route(&method, &target, &query, &HeaderMap::new()).map_err(|error| error.code())
    }

    #[test]
    fn the_table() {
        use Operation::*;
        for (method, path, query, operation) in [
            ("GET", "/", "", ListBuckets),
            ("GET", "/b", "", ListObjects),
            ("GET", "/b/", "list-type=2&prefix=x", ListObjectsV2),
            ("GET", "/b", "location", GetBucketLocation),
            ("GET", "/b", "versioning=", GetBucketVersioning),
            ("PUT", "/b", "versioning", PutBucketVersioning),
            ("PUT", "/b", "object-lock", PutObjectLockConfiguration),
            ("GET", "/b", "uploads", ListMultipartUploads),
            ("GET", "/b", "inventory&id=1", GetBucketInventoryConfiguration),
            ("GET", "/b", "inventory", ListBucketInventoryConfigurations),
            ("PUT", "/b", "cors", PutBucketCors),
            ("DELETE", "/b", "lifecycle", DeleteBucketLifecycle),
            ("PUT", "/b", "x-id=CreateBucket", CreateBucket),
            ("HEAD", "/b", "", HeadBucket),
            ("POST", "/b", "", PostObject),
            ("DELETE", "/b", "", DeleteBucket),
            ("POST", "/b", "delete", DeleteObjects),
            ("POST", "/", "", IamQuery),
            ("PUT", "/b", "acl", PutBucketAcl),
            ("PUT", "/b", "policy", PutBucketPolicy),
            ("DELETE", "/b", "policy", DeleteBucketPolicy),
            ("PUT", "/b/k", "acl", PutObjectAcl),
            ("GET", "/b/k", "partNumber=1&versionId=null", GetObject),
            ("GET", "/b/k", "uploadId=u", ListParts),
            ("GET", "/b/k", "attributes", GetObjectAttributes),
            ("HEAD", "/b/k", "", HeadObject),
            ("GET", "/b/k", "versionId=any", GetObject),
            ("DELETE", "/b/k", "versionId=any", DeleteObject),
            ("GET", "/b/k", "tagging&versionId=any", GetObjectTagging),
            ("PUT", "/b/k", "tagging", PutObjectTagging),
            ("DELETE", "/b/k", "tagging", DeleteObjectTagging),
            ("PUT", "/b/k", "retention", PutObjectRetention),
            ("GET", "/b/k", "legal-hold", GetObjectLegalHold),
            ("PUT", "/b/k", "", PutObject),
            ("PUT", "/b/k", "partNumber=1&uploadId=u", UploadPart),
            ("DELETE", "/b/k", "", DeleteObject),
            ("DELETE", "/b/k", "uploadId=u", AbortMultipartUpload),
            ("POST", "/b/k", "uploads", CreateMultipartUpload),
            ("POST", "/b/k", "uploadId=u", CompleteMultipartUpload),
            ("OPTIONS", "/b/k", "", Preflight),
        ] {
            assert_eq!(routed(method, path, query), Ok(operation), "{method} {path}?{query}");
        }
    }

    #[test]
    fn what_is_not_built_is_refused() {
        for (method, path, query, code) in [
            ("GET", "/b/k", "torrent", Code::NotImplemented),
            ("POST", "/b/k", "select&select-type=2", Code::NotImplemented),
            ("PUT", "/b", "replication", Code::NotImplemented),
            ("PUT", "/b", "accelerate", Code::NotImplemented),
            ("GET", "/b", "retention", Code::NotImplemented),
            ("GET", "/b/k", "cors", Code::NotImplemented),
            ("DELETE", "/b", "notification", Code::MethodNotAllowed),
            ("PUT", "/b", "location", Code::MethodNotAllowed),
            ("PATCH", "/b", "cors", Code::MethodNotAllowed),
            ("POST", "/b", "versions", Code::MethodNotAllowed),
            ("GET", "/b", "delete", Code::MethodNotAllowed),
            ("DELETE", "/b/k", "acl", Code::MethodNotAllowed),
            ("GET", "/b/k", "uploads", Code::MethodNotAllowed),
            ("PUT", "/b/k", "attributes", Code::MethodNotAllowed),
            ("GET", "/b/k", "tagging&uploadId=u", Code::InvalidArgument),
            ("PUT", "/b/k", "versionId=null", Code::InvalidArgument),
            ("GET", "/b/k", "versionId=null&uploadId=u", Code::InvalidArgument),
            ("GET", "/b/k", "versionId=", Code::InvalidArgument),
            ("GET", "/b", "acl&policy", Code::InvalidArgument),
            ("PUT", "/b/k", "partNumber=1", Code::InvalidArgument),
            ("PUT", "/b/k", "uploadId=u", Code::InvalidArgument),
            ("PUT", "/", "", Code::MethodNotAllowed),
            ("PATCH", "/b/k", "", Code::MethodNotAllowed),
        ] {
            assert_eq!(routed(method, path, query), Err(code), "{method} {path}?{query}");
        }
    }

    #[test]
    fn who_uses_a_wrong_method_hears_of_the_right_ones() {
        for (method, path, query, allowed) in [
            ("PATCH", "/", "", "GET, POST"),
            ("PATCH", "/b", "", "GET, HEAD, PUT, POST, DELETE"),
            ("POST", "/b", "policy", "GET, PUT, DELETE"),
            ("PUT", "/b", "location", "GET"),
            ("DELETE", "/b/k", "acl", "GET, PUT"),
            ("GET", "/b/k", "uploads", "POST"),
        ] {
            let (query, target) = (Query::parse(query).unwrap(), target(None, path, &[]).unwrap());
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let error = route(&method, &target, &query, &HeaderMap::new()).unwrap_err();
            assert_eq!(error.headers(), [(ALLOW, allowed.to_owned())], "{method} {path}");
        }
    }

    #[test]
    fn no_sub_resource_begins_like_a_parameter_of_a_signature() {
        assert!(!SUB_RESOURCES.iter().any(|name| name.starts_with(['X', 'x'])));
    }

    #[test]
    fn a_copy_source_makes_a_put_a_copy() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-copy-source"),
            HeaderValue::from_static("/a/b"),
        )]);
        let target = target(None, "/b/k", &[]).unwrap();
        let routed =
            |query: &str| route(&Method::PUT, &target, &Query::parse(query).unwrap(), &headers).unwrap();
        assert_eq!(routed(""), Operation::CopyObject);
        assert_eq!(routed("partNumber=1&uploadId=u"), Operation::UploadPartCopy);
    }

    fn addressed(host: &str, path: &str) -> (Option<String>, Option<String>) {
        let domains = ["s3.example.com".to_owned(), "localhost".to_owned()];
        let target = target(Some(host), path, &domains).unwrap();
        (target.bucket.map(Cow::into_owned), target.key.map(Cow::into_owned))
    }

    #[test]
    fn addresses_of_both_styles() {
        let of = |bucket: &str, key: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (some(bucket), some(key))
        };
        assert_eq!(addressed("s3.example.com", "/"), of("", ""));
        assert_eq!(addressed("s3.example.com:9000", "/b"), of("b", ""));
        assert_eq!(addressed("s3.example.com", "/b/"), of("b", ""));
        assert_eq!(addressed("s3.example.com", "/b/a//b/./c/"), of("b", "a//b/./c/"));
        assert_eq!(addressed("s3.example.com", "/b//x"), of("b", "/x"));
        assert_eq!(addressed("b.S3.example.com:9000", "/k%20%C3%BC+"), of("b", "k ü+"));
        assert_eq!(addressed("my.dotted.localhost", "/"), of("my.dotted", ""));
        assert_eq!(addressed("127.0.0.1:9000", "/b/k"), of("b", "k"));
        assert_eq!(addressed("[::1]:9000", "/b/k"), of("b", "k"));
        assert_eq!(addressed(".localhost", "/b/k"), of("b", "k"));
        assert_eq!(addressed("ülocalhost", "/b/k"), of("b", "k"));
    }

    #[test]
    fn bad_addresses() {
        let code = |path: &str| target(None, path, &[]).unwrap_err().code();
        assert_eq!(code("//k"), Code::InvalidBucketName);
        assert_eq!(code("/b/%zz"), Code::InvalidURI);
        assert_eq!(code("/b/%ff"), Code::InvalidURI);
        assert_eq!(code(&format!("/b/{}", "k".repeat(1025))), Code::KeyTooLongError);
        assert!(target(None, &format!("/b/{}", "%C3%BC".repeat(512)), &[]).is_ok());
    }
}
