//! What policies may ask about a request: the condition keys, answered from its head and from what its body says.
//!
//! Values are looked up when a policy names them and not before. A key whose header or parameter the
//! request does not have has no value. An operation whose body is asked for is judged twice: before the body is read,
//! when the keys that it brings are open (`Said::Unread`), and with what it says. Which operations these are is
//! `of_body`. May use `codec::{policy, date, uri}`, `iam`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;

use super::auth::{Carrier, Proof, Scheme};
use super::headers;
use super::route::Operation;
use crate::base::time::Nanos;
use crate::codec::date::{iso8601_ms, parse_iso8601};
use crate::codec::policy::{Action, Context, Key, Name, Values};
use crate::codec::uri::{Query, decode_query};
use crate::iam::Caller;
use crate::object::meta::Retention;

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
    pub said: Said<'r>,
    /// Whether what is written becomes an object, when something is written.
    pub creates_object: Option<bool>,
}

/// Of what the body of a request says, that for which policies may ask.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Said<'r> {
    /// Nothing of that kind.
    #[default]
    Nothing,
    /// It has not been read, and says what belongs under these keys.
    Unread(&'static [Name]),
    ObjectTags(&'r [(String, String)]),
    BucketTags(&'r [(String, String)]),
    NewBucket {
        location: Option<&'r str>,
        tags: &'r [(String, String)],
    },
    /// `None` takes one away.
    Retention(Option<&'r Retention>),
    LegalHold(bool),
    InventoryFields(&'r [String]),
    /// One object of a batch, by the ETag it has to have.
    Entry(Option<&'r str>),
}

/// The keys of which the values stand in the body of an operation, which then asks again (`admit_said`).
pub(super) fn of_body(operation: Operation) -> &'static [Name] {
    match operation {
        Operation::PutObjectTagging => &[Name::RequestObjectTag, Name::RequestObjectTagKeys],
        Operation::PutObjectRetention => &[Name::LockMode, Name::LockUntil, Name::LockDays],
        Operation::PutObjectLegalHold => &[Name::LockHold],
        Operation::PutBucketTagging => &[Name::RequestTag, Name::TagKeys],
        Operation::CreateBucket => &[Name::LocationConstraint, Name::RequestTag, Name::TagKeys],
        Operation::PutBucketInventoryConfiguration => &[Name::InventoryFields],
        _ => &[],
    }
}

/// `s3:ObjectCreationOperation`, which comes with writes only: the pieces of an object are none yet.
pub(super) fn creates_object(operation: Operation, action: Action) -> Option<bool> {
    use Operation::{
        CompleteMultipartUpload, CopyObject, CreateMultipartUpload, PutObject, UploadPart, UploadPartCopy,
    };
    match operation {
        _ if action != Action::PutObject => None,
        PutObject | CopyObject | CompleteMultipartUpload => Some(true),
        CreateMultipartUpload | UploadPart | UploadPartCopy => Some(false),
        _ => None,
    }
}

impl<'r> Facts<'r> {
    /// All of it where it stands there more than once: an operation may read each of them.
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next()?;
        Some(values.fold(first, |all, next| Cow::Owned(format!("{all},{next}"))))
    }

    /// As operations read it.
    fn text(&self, name: &str) -> Option<&'r str> {
        headers::text(self.headers, name).ok().flatten()
    }

    fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query.get(name).map(Cow::Borrowed)
    }

    /// Name and value of each tag that an object is to have.
    fn new_tags(&self) -> Vec<Pair<'_>> {
        if let Said::ObjectTags(tags) = self.said {
            return borrowed(tags);
        }
        // A copy has those of its source, unless it replaces them.
        let is_copied = self.headers.contains_key("x-amz-copy-source")
            && self.text("x-amz-tagging-directive") != Some("REPLACE");
        let Some(text) = self.text("x-amz-tagging").filter(|_| !is_copied) else { return Vec::new() };
        let decode = |raw: &'r str| decode_query(raw).unwrap_or(Cow::Borrowed(raw));
        let pair = |pair: &'r str| pair.split_once('=').unwrap_or((pair, ""));
        let pairs = text.split('&').filter(|text| !text.is_empty()).map(pair);
        pairs.map(|(name, value)| (decode(name), decode(value))).collect()
    }

    /// Those that a bucket is to have.
    fn new_bucket_tags(&self) -> Vec<Pair<'_>> {
        match self.said {
            Said::BucketTags(tags) | Said::NewBucket { tags, .. } => borrowed(tags),
            _ => Vec::new(),
        }
    }

    fn old_tag(&self, name: &str) -> Option<Cow<'_, str>> {
        let tags = self.object_tags?;
        tags.iter().find(|(have, _)| have == name).map(|(_, value)| Cow::Borrowed(value.as_str()))
    }

    /// `bucket/key`, decoded, without the slash in front that some clients send.
    fn copy_source(&self) -> Option<Cow<'_, str>> {
        let text = self.text("x-amz-copy-source")?;
        let path = text.split_once("?versionId=").map_or(text, |(path, _)| path);
        let path = decode_query(path).unwrap_or(Cow::Borrowed(path));
        Some(match path.strip_prefix('/') {
            Some(rest) => Cow::Owned(rest.to_owned()),
            None => path,
        })
    }

    fn auth_type(&self) -> Option<Cow<'_, str>> {
        let proof = self.proof?;
        Some(Cow::Borrowed(match proof.carrier {
            Carrier::Header => "REST-HEADER",
            Carrier::Query => "REST-QUERY-STRING",
            Carrier::Form => "POST",
        }))
    }

    /// Milliseconds since the request was signed.
    fn signature_age(&self) -> Option<Cow<'_, str>> {
        let age = self.now.0.saturating_sub(self.proof?.time.0);
        Some(Cow::Owned((age / 1_000_000).to_string()))
    }

    fn lock_mode(&self) -> Option<Cow<'_, str>> {
        match self.said {
            Said::Retention(retention) => Some(Cow::Borrowed(retention?.mode.name())),
            _ => self.header("x-amz-object-lock-mode"),
        }
    }

    fn lock_hold(&self) -> Option<Cow<'_, str>> {
        match self.said {
            Said::LegalHold(on) => Some(Cow::Borrowed(if on { "ON" } else { "OFF" })),
            _ => self.header("x-amz-object-lock-legal-hold"),
        }
    }

    fn lock_until(&self) -> Option<Cow<'_, str>> {
        match self.said {
            Said::Retention(retention) => Some(Cow::Owned(iso8601_ms(retention?.until).as_str().to_owned())),
            _ => self.header("x-amz-object-lock-retain-until-date"),
        }
    }

    fn remaining_days(&self) -> Option<Cow<'_, str>> {
        let until = match self.said {
            Said::Retention(retention) => retention?.until,
            _ => parse_iso8601(&self.header("x-amz-object-lock-retain-until-date")?)?,
        };
        const DAY: u64 = 24 * 3600;
        let seconds = until.seconds().saturating_sub(self.now.seconds());
        Some(Cow::Owned(seconds.div_ceil(DAY).to_string()))
    }

    fn if_match(&self) -> Option<Cow<'_, str>> {
        match self.said {
            Said::Entry(etag) => etag.map(Cow::Borrowed),
            _ => self.header("if-match"),
        }
    }

    fn inventory_fields(&self) -> Values<'_> {
        match self.said {
            Said::InventoryFields(fields) => many(fields.iter().map(|field| Cow::Borrowed(field.as_str()))),
            _ => Values::None,
        }
    }
}

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn borrowed(tags: &[(String, String)]) -> Vec<Pair<'_>> {
    let borrow = |(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value));
    tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).map(borrow).collect()
}

fn named<'a>(tags: Vec<Pair<'a>>, name: &str) -> Option<Cow<'a, str>> {
    tags.into_iter().find(|(have, _)| have == name).map(|(_, value)| value)
}

fn names(tags: Vec<Pair<'_>>) -> Values<'_> {
    many(tags.into_iter().map(|(name, _)| name))
}

fn many<'a>(values: impl Iterator<Item = Cow<'a, str>>) -> Values<'a> {
    match values.collect::<Vec<_>>() {
        values if values.is_empty() => Values::None,
        values => Values::Many(values),
    }
}

impl Context for Facts<'_> {
    fn open(&self) -> &'static [Name] {
        match self.said {
            Said::Unread(names) => names,
            _ => &[],
        }
    }

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
            Name::RequestTag => named(self.new_bucket_tags(), parameter),
            Name::TagKeys => return names(self.new_bucket_tags()),
            Name::RequestObjectTag => named(self.new_tags(), parameter),
            Name::RequestObjectTagKeys => return names(self.new_tags()),
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
            Name::LockMode => self.lock_mode(),
            Name::LockHold => self.lock_hold(),
            Name::LockUntil => self.lock_until(),
            Name::LockDays => self.remaining_days(),
            Name::LocationConstraint => match self.said {
                Said::NewBucket { location, .. } => location.map(Cow::Borrowed),
                _ => None,
            },
            Name::InventoryFields => return self.inventory_fields(),
            Name::CreationOperation => {
                self.creates_object.and_then(|yes| own(if yes { "true" } else { "false" }))
            }
            Name::SignatureVersion => self.proof.map(|proof| match proof.scheme {
                Scheme::V2 => Cow::Borrowed("AWS"),
                Scheme::V4 => Cow::Borrowed("AWS4-HMAC-SHA256"),
            }),
            Name::AuthType => self.auth_type(),
            Name::SignatureAge => self.signature_age(),
            Name::IfMatch => self.if_match(),
            Name::IfNoneMatch => self.header("if-none-match"),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::catalog::identity::{AccountValue, UserValue};
    use crate::codec::policy::Origin;
    use crate::codec::xml::RetentionMode;
    use crate::object::registry::identities::{Account, User};

    const NOW: Nanos = Nanos(1_800_000_000_000_000_000);
    const DAY: u64 = 24 * 3600;

    fn ann() -> Caller {
        let (name, canonical) = ("one".to_owned(), "c".to_owned());
        let value = AccountValue { name, canonical, created: NOW, disabled: false, keys: vec![] };
        let account = Rc::new(Account { id: "111122223333".into(), value: Arc::new(value) });
        let (id, path, arn) = ("AIDA".into(), "/".into(), "arn:aws:iam::111122223333:user/ann".into());
        let value = Arc::new(UserValue { id, path, created: NOW, keys: vec![], policies: vec![] });
        Caller::User(Rc::new(User { account, name: "ann".into(), arn, value, policies: Some(vec![]) }))
    }

    /// A request that has all that a head can have.
    const HEADERS: &[(&str, &str)] = &[
        ("user-agent", "u"),
        ("referer", "r"),
        ("x-amz-acl", "private"),
        ("x-amz-copy-source", "b/k"),
        ("x-amz-metadata-directive", "COPY"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-grant-read", "id=c"),
        ("x-amz-grant-write", "id=c"),
        ("x-amz-grant-read-acp", "id=c"),
        ("x-amz-grant-write-acp", "id=c"),
        ("x-amz-grant-full-control", "id=c"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-object-ownership", "ObjectWriter"),
        ("if-match", "e"),
        ("if-none-match", "*"),
    ];

    /// What is written as headers by those operations that have no body for it.
    const HEADERS_OF_BODIES: &[(&str, &str)] = &[
        ("x-amz-tagging", "t=v"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z"),
    ];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn tags() -> Vec<(String, String)> {
        vec![("t".to_owned(), "v".to_owned())]
    }

    /// What the request has for a key, asked as `s3:KEY/t` where it is a family.
    fn values(name: Name, headers: &HeaderMap, said: Said<'_>) -> Vec<String> {
        let (query, tags, caller) = (Query::parse("prefix=p&delimiter=d&max-keys=1").unwrap(), tags(), ann());
        let proof = Proof { carrier: Carrier::Query, scheme: Scheme::V4, time: NOW };
        let facts = Facts {
            caller: &caller,
            proof: Some(proof),
            headers,
            query: &query,
            source: Some([127, 0, 0, 1].into()),
            now: NOW,
            region: "eu-west-1",
            resource_account: Some("111122223333"),
            version: Some("null"),
            object_tags: Some(&tags),
            said,
            creates_object: creates_object(Operation::PutObject, Action::PutObject),
        };
        let key = Key::parse(name.text()).or_else(|| Key::parse(&format!("{}/t", name.text())));
        match facts.values(&key.expect("its name is its own")) {
            Values::None => Vec::new(),
            Values::One(value) => vec![value.into_owned()],
            Values::Many(values) => values.into_iter().map(Cow::into_owned).collect(),
        }
    }

    /// A new key does not pass before it says where its value comes from, and has one there.
    #[test]
    fn every_key_of_a_policy_has_its_value_where_it_says() {
        let all = headers(&[HEADERS, HEADERS_OF_BODIES].concat());
        for name in Name::ALL {
            let found = values(*name, &all, Said::Nothing);
            match name.origin() {
                Origin::Request => assert!(!found.is_empty(), "{name:?} has no value in a request"),
                Origin::Body => {
                    let is_read = BODIES.iter().any(|operation| of_body(*operation).contains(name));
                    assert!(is_read, "{name:?} is read from no body");
                }
                // Those of deliveries are walked over in `iam::delivery`.
                Origin::Delivery | Origin::Absent | Origin::Untold => {
                    assert!(found.is_empty(), "{name:?} has {found:?}, and says that it has nothing");
                }
            }
        }
    }

    const BODIES: [Operation; 6] = [
        Operation::PutObjectTagging,
        Operation::PutObjectRetention,
        Operation::PutObjectLegalHold,
        Operation::PutBucketTagging,
        Operation::CreateBucket,
        Operation::PutBucketInventoryConfiguration,
    ];

    #[test]
    fn what_a_body_brings_is_open_until_it_is_read() {
        let (tags, fields, none) = (tags(), vec!["Size".to_owned(), "ETag".to_owned()], HeaderMap::new());
        let until = Nanos::from_seconds(NOW.seconds() + 10 * DAY);
        let retention = Retention { mode: RetentionMode::Compliance, until };
        let bodies = [
            Said::ObjectTags(&tags),
            Said::Retention(Some(&retention)),
            Said::LegalHold(true),
            Said::BucketTags(&tags),
            Said::NewBucket { location: Some("eu-west-1"), tags: &tags },
            Said::InventoryFields(&fields),
        ];
        for (operation, said) in BODIES.into_iter().zip(bodies) {
            for name in of_body(operation) {
                assert_eq!(name.origin(), Origin::Body, "{name:?}");
                assert!(!values(*name, &none, said).is_empty(), "{operation:?} does not tell {name:?}");
                assert!(values(*name, &none, Said::Nothing).is_empty(), "{name:?} comes from nowhere");
            }
        }
        assert_eq!(values(Name::LockDays, &none, bodies[1]), ["10"]);
        assert_eq!(values(Name::LockMode, &none, bodies[1]), ["COMPLIANCE"]);
        assert_eq!(values(Name::InventoryFields, &none, bodies[5]), ["Size", "ETag"]);
        assert!(values(Name::LockMode, &none, Said::Retention(None)).is_empty());
    }

    #[test]
    fn a_body_counts_and_not_a_header_that_its_operation_does_not_have() {
        let sent = headers(&[HEADERS, HEADERS_OF_BODIES].concat());
        assert_eq!(values(Name::LockMode, &sent, Said::Nothing), ["GOVERNANCE"]);
        assert!(values(Name::LockMode, &sent, Said::Retention(None)).is_empty());
        assert!(values(Name::LockDays, &sent, Said::Retention(None)).is_empty());
        assert_eq!(values(Name::LockHold, &sent, Said::LegalHold(false)), ["OFF"]);
        assert!(values(Name::RequestObjectTagKeys, &sent, Said::ObjectTags(&[])).is_empty());
        assert_eq!(values(Name::IfMatch, &sent, Said::Entry(Some("of one"))), ["of one"]);
        assert!(values(Name::IfMatch, &sent, Said::Entry(None)).is_empty());
        // Tags of objects have keys of their own.
        assert!(values(Name::TagKeys, &sent, Said::Nothing).is_empty());
    }

    #[test]
    fn pieces_of_an_object_create_none() {
        use Operation::{CompleteMultipartUpload, CreateMultipartUpload, UploadPart};
        let asked = |operation| creates_object(operation, Action::PutObject);
        assert_eq!((asked(CompleteMultipartUpload), asked(UploadPart)), (Some(true), Some(false)));
        assert_eq!(asked(CreateMultipartUpload), Some(false));
        assert_eq!(creates_object(Operation::CopyObject, Action::GetObject), None);
    }
}
