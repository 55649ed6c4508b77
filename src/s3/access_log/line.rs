//! One line of an access log: its fields in the order AWS documents, and the names it has for operations.
//!
//! Pure. A field that a request does not have is `-`. A line is one line of visible ASCII whatever a client sent:
//! spaces, quotes, controls and other bytes are percent-encoded where they come from outside. What is known only at
//! the end of the answer, bytes sent and time taken, is put in then (`Rendered::write`).
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use http::{Method, Version};

use crate::base::time::Nanos;
use crate::codec::date::log_date;
use crate::codec::uri::{decode_path, encode_path_into};
use crate::s3::auth::{Carrier, Proof, Scheme};
use crate::s3::route::Operation;

/// The fields of a line; a default one is all dashes.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub owner: &'a str,
    pub bucket: &'a str,
    /// When the request came.
    pub time: Nanos,
    pub peer: Option<IpAddr>,
    pub requester: Option<&'a str>,
    pub request_id: &'a str,
    pub operation: &'a str,
    /// Decoded.
    pub key: Option<&'a str>,
    pub method: &'a str,
    /// As sent, `without_credentials`; empty for what was no request.
    pub uri: Cow<'a, str>,
    pub protocol: Version,
    /// 0 for what was no request.
    pub status: u16,
    pub error: Option<&'a str>,
    pub size: Option<u64>,
    pub turn_around_ms: Option<u64>,
    pub referer: Option<&'a [u8]>,
    pub agent: Option<&'a [u8]>,
    pub version: Option<&'a str>,
    pub host_id: &'a str,
    /// How the request was signed, if it was.
    pub proof: Option<Proof>,
    pub host: Option<&'a str>,
    pub by_acl: bool,
}

/// Parameters whose values would let in whoever reads them, while they last.
const CREDENTIALS: [&str; 3] = ["X-Amz-Signature", "X-Amz-Security-Token", "Signature"];

/// Path and query without what a presigned URL is trusted for.
pub(super) fn without_credentials(uri: &str) -> Cow<'_, str> {
    let Some((path, query)) = uri.split_once('?') else { return Cow::Borrowed(uri) };
    let named = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        // A name counts however it is written.
        let meant = decode_path(name).ok()?;
        let is_one = CREDENTIALS.iter().any(|one| meant.eq_ignore_ascii_case(one));
        (is_one && !value.is_empty()).then(|| name.len() + 1)
    };
    if query.split('&').all(|pair| named(pair).is_none()) {
        return Cow::Borrowed(uri);
    }
    let kept = |pair| named(pair).and_then(|end| str::get(pair, ..end)).unwrap_or(pair);
    let pairs: Vec<&str> = query.split('&').map(kept).collect();
    Cow::Owned(format!("{path}?{}", pairs.join("&")))
}

/// A line without what only the end of the answer tells.
pub(super) struct Rendered {
    pub time: Nanos,
    head: Vec<u8>,
    size: Option<u64>,
    tail: Vec<u8>,
}

impl Line<'_> {
    pub(super) fn render(&self) -> Rendered {
        let mut head = Vec::with_capacity(256);
        word(&mut head, self.owner.as_bytes());
        word(&mut head, self.bucket.as_bytes());
        put(&mut head, format_args!("[{}] ", log_date(self.time).as_str()));
        match self.peer {
            Some(peer) => put(&mut head, format_args!("{} ", peer.to_canonical())),
            None => head.extend_from_slice(b"- "),
        }
        word(&mut head, self.requester.unwrap_or("").as_bytes());
        word(&mut head, self.request_id.as_bytes());
        word(&mut head, self.operation.as_bytes());
        match self.key {
            Some(key) => encode_path_into(&mut head, key.as_bytes()),
            None => head.push(b'-'),
        }
        head.push(b' ');
        self.request(&mut head);
        word(&mut head, self.error.unwrap_or("").as_bytes());
        Rendered { time: self.time, head, size: self.size, tail: self.tail() }
    }

    fn request(&self, head: &mut Vec<u8>) {
        if self.status == 0 {
            return head.extend_from_slice(b"\"-\" - ");
        }
        // Methods are tokens, but a client may make up one of its own.
        head.push(b'"');
        visible(head, self.method.as_bytes(), b' ');
        head.push(b' ');
        visible(head, self.uri.as_bytes(), b' ');
        put(head, format_args!(" {:?}\" {} ", self.protocol, self.status));
    }

    fn tail(&self) -> Vec<u8> {
        let mut tail = Vec::with_capacity(192);
        number(&mut tail, self.turn_around_ms);
        quoted(&mut tail, self.referer);
        quoted(&mut tail, self.agent);
        word(&mut tail, self.version.unwrap_or("").as_bytes());
        word(&mut tail, self.host_id.as_bytes());
        let signature = self.proof.map_or("-", |proof| match proof.scheme {
            Scheme::V2 => "SigV2",
            Scheme::V4 => "SigV4",
        });
        let authentication = self.proof.map_or("-", |proof| match proof.carrier {
            Carrier::Query => "QueryString",
            Carrier::Header | Carrier::Form => "AuthHeader",
        });
        // TLS ends in front of this server.
        put(&mut tail, format_args!("{signature} - {authentication} "));
        word(&mut tail, self.host.unwrap_or("").as_bytes());
        let by_acl = if self.by_acl { "Yes" } else { "-" };
        put(&mut tail, format_args!("- - {by_acl}\n"));
        tail
    }
}

impl Rendered {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// `sent`: bytes of the body that went out.
    pub(super) fn write(&self, out: &mut Vec<u8>, sent: u64, total_ms: Option<u64>) {
        out.extend_from_slice(&self.head);
        for figure in [Some(sent).filter(|sent| *sent > 0), self.size, total_ms] {
            number(out, figure);
        }
        out.extend_from_slice(&self.tail);
    }
}

fn number(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => put(out, format_args!("{number} ")),
        None => out.extend_from_slice(b"- "),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = out.write_fmt(text);
}

/// A field that holds no space, and the space behind it.
fn word(out: &mut Vec<u8>, text: &[u8]) {
    match text {
        b"" => out.push(b'-'),
        text => visible(out, text, b'%'),
    }
    out.push(b' ');
}

fn quoted(out: &mut Vec<u8>, text: Option<&[u8]>) {
    out.push(b'"');
    match text {
        None | Some(b"") => out.push(b'-'),
        Some(text) => visible(out, text, b' '),
    }
    out.extend_from_slice(b"\" ");
}

/// Bytes as they are where a line may hold them; `kept` is one more of those.
fn visible(out: &mut Vec<u8>, text: &[u8], kept: u8) {
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'!'..=b'~' => out.push(*byte),
            _ if *byte == kept => out.push(*byte),
            _ => put(out, format_args!("%{byte:02X}")),
        }
    }
}

// ---- Names of operations ----

pub(in crate::s3) const BATCH_DELETE: &str = "BATCH.DELETE.OBJECT";
pub(in crate::s3) const COPY_SOURCE: &str = "REST.COPY.OBJECT_GET";
pub(in crate::s3) const PART_COPY_SOURCE: &str = "REST.COPY.PART_GET";

/// `REST.method.resource`. `keyed`: the request names an object.
pub(super) fn operation(operation: Operation, method: &Method, keyed: bool) -> String {
    match operation {
        Operation::CopyObject => "REST.COPY.OBJECT".to_owned(),
        Operation::UploadPartCopy => "REST.COPY.PART".to_owned(),
        Operation::Website => format!("WEBSITE.{method}.OBJECT"),
        operation => format!("REST.{method}.{}", resource(operation, keyed)),
    }
}

// tidy: table
fn resource(operation: Operation, keyed: bool) -> &'static str {
    use Operation::*;
    match operation {
        GetBucketLocation => "LOCATION",
        ListObjectVersions => "BUCKETVERSIONS",
        ListMultipartUploads | CreateMultipartUpload => "UPLOADS",
        UploadPart => "PART",
        CompleteMultipartUpload | AbortMultipartUpload | ListParts => "UPLOAD",
        DeleteObjects => "MULTI_OBJECT_DELETE",
        PostObject => "OBJECT",
        Preflight => "PREFLIGHT",
        GetObjectAttributes => "OBJECT_ATTRIBUTES",
        GetObjectTagging | PutObjectTagging | DeleteObjectTagging => "OBJECT_TAGGING",
        GetBucketTagging | PutBucketTagging | DeleteBucketTagging => "TAGGING",
        GetBucketVersioning | PutBucketVersioning => "VERSIONING",
        GetObjectLockConfiguration | PutObjectLockConfiguration => "OBJECT_LOCK_CONFIGURATION",
        GetObjectRetention | PutObjectRetention => "OBJECT_LOCK_RETENTION",
        GetObjectLegalHold | PutObjectLegalHold => "OBJECT_LOCK_LEGALHOLD",
        GetBucketAcl | PutBucketAcl | GetObjectAcl | PutObjectAcl => "ACL",
        GetBucketPolicy | PutBucketPolicy | DeleteBucketPolicy => "BUCKETPOLICY",
        GetBucketPolicyStatus => "POLICY_STATUS",
        GetBucketCors | PutBucketCors | DeleteBucketCors => "CORS",
        GetBucketWebsite | PutBucketWebsite | DeleteBucketWebsite => "WEBSITE",
        GetBucketEncryption | PutBucketEncryption | DeleteBucketEncryption => "ENCRYPTION",
        GetPublicAccessBlock | PutPublicAccessBlock | DeletePublicAccessBlock => "PUBLIC_ACCESS_BLOCK",
        GetBucketOwnershipControls | PutBucketOwnershipControls | DeleteBucketOwnershipControls => {
            "OWNERSHIP_CONTROLS"
        }
        GetBucketRequestPayment | PutBucketRequestPayment => "REQUEST_PAYMENT",
        GetBucketLogging | PutBucketLogging => "LOGGING_STATUS",
        GetBucketLifecycleConfiguration | PutBucketLifecycleConfiguration | DeleteBucketLifecycle => {
            "LIFECYCLE"
        }
        GetBucketNotificationConfiguration | PutBucketNotificationConfiguration => "NOTIFICATION",
        GetBucketInventoryConfiguration
        | PutBucketInventoryConfiguration
        | DeleteBucketInventoryConfiguration
        | ListBucketInventoryConfigurations => "INVENTORY",
        GetBucketReplication => "REPLICATION",
        GetBucketAccelerateConfiguration => "ACCELERATE",
        _ if keyed => "OBJECT",
        _ => "BUCKET",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line<'_>, sent: u64, total_ms: u64) -> String {
        let mut out = Vec::new();
        line.render().write(&mut out, sent, Some(total_ms));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn presigned_urls_are_of_no_use_to_a_reader() {
        for (sent, logged) in [
            ("/b/k", "/b/k"),
            ("/b/k?versionId=Signature&x", "/b/k?versionId=Signature&x"),
            (
                "/b/k?X-Amz-Expires=9&X-Amz-Signature=ab%2F&a=b&X-Amz-Security-Token=t",
                "/b/k?X-Amz-Expires=9&X-Amz-Signature=&a=b&X-Amz-Security-Token=",
            ),
            ("/?x-amz-signature=ab", "/?x-amz-signature="),
            ("/?X%2dAmz%2DSignature=ab&%zz=1", "/?X%2dAmz%2DSignature=&%zz=1"),
            ("/?AWSAccessKeyId=a&Expires=1&Signature=b%3d=", "/?AWSAccessKeyId=a&Expires=1&Signature="),
        ] {
            assert_eq!(without_credentials(sent), logged);
        }
    }

    #[test]
    fn all_fields_in_their_order() {
        let line = Line {
            owner: "OWNER",
            bucket: "b",
            time: Nanos(1_549_411_238_999_000_000),
            peer: "::ffff:192.0.2.3".parse().ok(),
            requester: Some("arn:aws:iam::1:user/ann"),
            request_id: "ID",
            operation: "REST.GET.OBJECT",
            key: Some("a b/ü\""),
            method: "GET",
            uri: "/b/a%20b?x=\"".into(),
            protocol: Version::HTTP_11,
            status: 206,
            error: None,
            size: Some(4096),
            turn_around_ms: Some(3),
            referer: Some(b"http://r/"),
            agent: Some(b"an \"agent\"\xff"),
            version: Some("v1"),
            host_id: "basalt",
            proof: Some(Proof { carrier: Carrier::Query, scheme: Scheme::V4, time: Nanos(0) }),
            host: Some("b.s3.localhost:9000"),
            by_acl: true,
        };
        assert_eq!(
            text(&line, 113, 7),
            "OWNER b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/ann ID REST.GET.OBJECT \
             a%20b/%C3%BC%22 \"GET /b/a%20b?x=%22 HTTP/1.1\" 206 - 113 4096 7 3 \"http://r/\" \
             \"an %22agent%22%FF\" v1 basalt SigV4 - QueryString b.s3.localhost:9000 - - Yes\n"
        );
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        let bare = Line {
            method: "GET",
            uri: "/".into(),
            error: Some("AccessDenied"),
            status: 403,
            ..Line::default()
        };
        assert_eq!(
            text(&bare, 0, 1),
            "- - [01/Jan/1970:00:00:00 +0000] - - - - - \"GET / HTTP/1.1\" 403 AccessDenied - - 1 - \"-\" \"-\" - - - - - \
             - - - -\n"
        );
    }

    #[test]
    fn what_was_no_request_has_none() {
        let mut out = Vec::new();
        let line = Line { requester: Some("AmazonS3"), key: Some("k"), size: Some(5), ..Line::default() };
        line.render().write(&mut out, 0, None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "- - [01/Jan/1970:00:00:00 +0000] - AmazonS3 - - k \"-\" - - - 5 - - \"-\" \"-\" - - - - - - - - -\n"
        );
    }

    #[test]
    fn names() {
        let name = |wanted, method: &str, keyed| operation(wanted, &method.parse().unwrap(), keyed);
        assert_eq!(name(Operation::GetObject, "GET", true), "REST.GET.OBJECT");
        assert_eq!(name(Operation::ListObjectsV2, "GET", false), "REST.GET.BUCKET");
        assert_eq!(name(Operation::Other, "PATCH", true), "REST.PATCH.OBJECT");
        assert_eq!(name(Operation::Website, "HEAD", true), "WEBSITE.HEAD.OBJECT");
        assert_eq!(name(Operation::DeleteObjects, "POST", false), "REST.POST.MULTI_OBJECT_DELETE");
    }
}
