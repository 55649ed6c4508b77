//! What policies may ask about a request: the condition keys, answered from its head.
//!
//! Values are looked up when a policy names them and not before. A key whose header or parameter the
//! request does not have has no value. May use `codec::{policy, date, uri}`, `iam`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;

use super::auth::{Proof, Scheme};
use crate::base::time::Nanos;
use crate::codec::date::iso8601_ms;
use crate::codec::policy::{Context, Key, Name, Values};
use crate::codec::uri::{Query, decode_query};
use crate::iam::Caller;

/// A request as policies see it.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub caller: &'r Caller,
    pub proof: Option<Proof>,
    pub headers: &'r HeaderMap,
    pub query: &'r Query<'r>,
    pub source: Option<IpAddr>,
    pub now: Nanos,
    pub region: &'r str,
    /// Account id of the owner of the bucket.
    pub resource_account: Option<&'r str>,
    /// The version a request is about, when it names one.
    pub version: Option<&'r str>,
    /// Of the object that is there; `None` when nobody looked.
    pub object_tags: Option<&'r [(String, String)]>,
    /// Tags in the body; those in the header are found here.
    pub request_tags: Option<&'r [(String, String)]>,
    /// `LocationConstraint` of a new bucket.
    pub location: Option<&'r str>,
}

impl<'r> Facts<'r> {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query.get(name).map(Cow::Borrowed)
    }

    /// Name and value of each tag that the request brings.
    fn new_tags(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        if let Some(tags) = self.request_tags {
            let borrow = |(name, value): &'r (String, String)| {
                (Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_str()))
            };
            return tags.iter().map(borrow).collect();
        }
        let Some(text) = self.headers.get("x-amz-tagging").and_then(|value| value.to_str().ok()) else {
            return Vec::new();
        };
        let decode = |raw: &'r str| decode_query(raw).unwrap_or(Cow::Borrowed(raw));
        let pair = |pair: &'r str| pair.split_once('=').unwrap_or((pair, ""));
        let pairs = text.split('&').filter(|text| !text.is_empty()).map(pair);
        pairs.map(|(name, value)| (decode(name), decode(value))).collect()
    }

    fn new_tag(&self, name: &str) -> Option<Cow<'_, str>> {
        self.new_tags().into_iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }

    fn new_tag_keys(&self) -> Values<'_> {
        match self.new_tags() {
            tags if tags.is_empty() => Values::None,
            tags => Values::Many(tags.into_iter().map(|(name, _)| name).collect()),
        }
    }

    fn old_tag(&self, name: &str) -> Option<Cow<'_, str>> {
        let tags = self.object_tags?;
        tags.iter().find(|(have, _)| have == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
    }

    /// `bucket/key`, decoded, without the slash in front that some clients send.
    fn copy_source(&self) -> Option<Cow<'_, str>> {
        let text = self.headers.get("x-amz-copy-source")?.to_str().ok()?;
        let path = text.split_once("?versionId=").map_or(text, |(path, _)| path);
        let path = decode_query(path).unwrap_or(Cow::Borrowed(path));
        Some(match path.strip_prefix('/') {
            Some(rest) => Cow::Owned(rest.to_owned()),
            None => path,
        })
    }

    fn auth_type(&self) -> Option<Cow<'_, str>> {
        let proof = self.proof?;
        Some(Cow::Borrowed(if proof.presigned { "REST-QUERY-STRING" } else { "REST-HEADER" }))
    }

    /// Milliseconds since the request was signed.
    fn signature_age(&self) -> Option<Cow<'_, str>> {
        let age = self.now.0.saturating_sub(self.proof?.time.0);
        Some(Cow::Owned((age / 1_000_000).to_string()))
    }

    fn remaining_days(&self) -> Option<Cow<'_, str>> {
        let until = self.header("x-amz-object-lock-retain-until-date")?;
        let until = crate::codec::date::parse_iso8601(&until)?;
        const DAY: u64 = 24 * 3600;
        let seconds = until.seconds().saturating_sub(self.now.seconds());
        Some(Cow::Owned(seconds.div_ceil(DAY).to_string()))
    }
}

impl Context for Facts<'_> {
    // tidy: table
    fn values(&self, key: &Key) -> Values<'_> {
        let parameter = key.parameter.as_deref().unwrap_or("");
        let owned = |text: String| Some(Cow::Owned(text));
        let own = |text: &'static str| Some(Cow::Borrowed(text));
        Values::from(match key.name {
            Name::CurrentTime => owned(iso8601_ms(self.now).as_str().to_owned()),
            Name::EpochTime => owned(self.now.seconds().to_string()),
            Name::SourceIp => self.source.map(|address| Cow::Owned(address.to_canonical().to_string())),
            // TLS ends in front of this server, which cannot tell.
            Name::SecureTransport => own("false"),
            Name::UserAgent => self.header("user-agent"),
            Name::Referer => self.header("referer"),
            Name::PrincipalArn => self.caller.arn().map(Cow::Owned),
            Name::PrincipalAccount => self.caller.account().map(|account| Cow::Borrowed(account.id.as_str())),
            Name::PrincipalType => own(self.caller.kind()),
            Name::UserId => Some(Cow::Borrowed(self.caller.id())),
            Name::UserName => match self.caller {
                Caller::User(user) => Some(Cow::Borrowed(user.name.as_str())),
                _ => None,
            },
            Name::PrincipalIsService | Name::ViaService => {
                own(if matches!(self.caller, Caller::Service(_)) { "true" } else { "false" })
            }
            Name::PrincipalServiceName | Name::PrincipalServiceNames => match self.caller {
                Caller::Service(name) => own(name),
                _ => None,
            },
            Name::RequestedRegion => Some(Cow::Borrowed(self.region)),
            Name::ResourceAccount | Name::ResourceAccountGlobal => self.resource_account.map(Cow::Borrowed),
            Name::RequestTag | Name::RequestObjectTag => self.new_tag(parameter),
            Name::RequestObjectTagKeys | Name::TagKeys => return self.new_tag_keys(),
            Name::ExistingObjectTag => self.old_tag(parameter),
            Name::Prefix => self.parameter("prefix"),
            Name::Delimiter => self.parameter("delimiter"),
            Name::MaxKeys => self.parameter("max-keys"),
            Name::VersionId => self.version.map(Cow::Borrowed),
            Name::Acl => self.header("x-amz-acl"),
            Name::CopySource => self.copy_source(),
            Name::MetadataDirective => self.header("x-amz-metadata-directive"),
            Name::GrantRead => self.header("x-amz-grant-read"),
            Name::GrantWrite => self.header("x-amz-grant-write"),
            Name::GrantReadAcp => self.header("x-amz-grant-read-acp"),
            Name::GrantWriteAcp => self.header("x-amz-grant-write-acp"),
            Name::GrantFullControl => self.header("x-amz-grant-full-control"),
            Name::Encryption => self.header("x-amz-server-side-encryption"),
            Name::EncryptionKey => self.header("x-amz-server-side-encryption-aws-kms-key-id"),
            Name::EncryptionCustomer => self.header("x-amz-server-side-encryption-customer-algorithm"),
            Name::StorageClass => self.header("x-amz-storage-class").or(own("STANDARD")),
            Name::WebsiteRedirect => self.header("x-amz-website-redirect-location"),
            Name::ObjectOwnership => self.header("x-amz-object-ownership"),
            Name::ContentSha256 => {
                self.header("x-amz-content-sha256").or(self.proof.and(own("UNSIGNED-PAYLOAD")))
            }
            Name::LockMode => self.header("x-amz-object-lock-mode"),
            Name::LockHold => self.header("x-amz-object-lock-legal-hold"),
            Name::LockUntil => self.header("x-amz-object-lock-retain-until-date"),
            Name::LockDays => self.remaining_days(),
            Name::LocationConstraint => self.location.map(Cow::Borrowed),
            Name::SignatureVersion => self.proof.map(|proof| match proof.scheme {
                Scheme::V2 => Cow::Borrowed("AWS"),
                Scheme::V4 => Cow::Borrowed("AWS4-HMAC-SHA256"),
            }),
            Name::AuthType => self.auth_type(),
            Name::SignatureAge => self.signature_age(),
            Name::IfMatch => self.header("if-match"),
            Name::IfNoneMatch => self.header("if-none-match"),
            _ => None,
        })
    }
}
