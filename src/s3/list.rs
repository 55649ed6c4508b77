//! ListObjects, ListObjectsV2 and ListObjectVersions, and the tokens that continue a listing.
//!
//! A continuation token is the place to go on after, sealed with a keyed hash over it and the bucket,
//! so that it means the same on every core and after a restart, and a forged one is refused. May use
//! `object::store`, `codec::{xml, date}`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{Result, S3Error};
use super::response::{BUCKET_REGION, Reply, etag_text, set, xml};
use super::service::Call;
use crate::base::limits::LIST_KEYS_MAX;
use crate::base::rest::rest;
use crate::codec::date::{FixedText, iso8601_ms};
use crate::codec::uri::Query;
use crate::codec::xml::{
    ListBucketResult, ListBucketV1, ListBucketV2, ObjectEntry, Owner, XmlWriter,
    list_objects_v1 as document_v1, list_objects_v2 as document_v2,
};
use crate::object::error::ObjectError;
use crate::object::store::{
    ListEntry, ListPage, ListQuery, ListedObject, VersionEntry, VersionInfo, VersionPage, VersionQuery,
};

/// What both versions of the listing and its kin ask for.
pub(super) struct Options<'q> {
    pub prefix: &'q str,
    pub delimiter: Option<&'q str>,
    pub limit: usize,
    pub url_encoded: bool,
}

impl<'q> Options<'q> {
    /// `limit` is the name of the parameter that bounds the page.
    pub(super) fn read(query: &'q Query<'_>, limit: &str) -> Result<Self> {
        let url_encoded = match query.get("encoding-type") {
            None => false,
            Some("url") => true,
            Some(other) => {
                let message = "Invalid Encoding Method specified in Request";
                return Err(S3Error::argument("encoding-type", other, message));
            }
        };
        Ok(Options {
            prefix: query.get("prefix").unwrap_or(""),
            delimiter: query.get("delimiter").filter(|delimiter| !delimiter.is_empty()),
            limit: page_limit(query, limit)?,
            url_encoded,
        })
    }
}

/// A page holds at most a thousand entries, whatever is asked for.
pub(super) fn page_limit(query: &Query<'_>, name: &str) -> Result<usize> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(LIST_KEYS_MAX) };
    let limit: i32 = text.parse().map_err(|_| {
        S3Error::argument(name, text, format!("Provided {name} not an integer or within integer range"))
    })?;
    let limit = usize::try_from(limit).map_err(|_| {
        S3Error::argument(name, text, format!("Argument {name} must be an integer between 0 and 2147483647"))
    })?;
    Ok(limit.min(LIST_KEYS_MAX))
}

pub(super) async fn list_objects(mut call: Call<'_>) -> Result<Reply> {
    let options = Options::read(call.query, "max-keys")?;
    call.lists(options.limit).await?;
    let marker = call.query.get("marker").unwrap_or("");
    let page = fetch(&call, &options, marker).await?;
    let (texts, prefixes) = (texts(&page), prefixes(&page));
    let owners = Owners::of_objects(&call, &page);
    let contents = contents(&page, &texts, Some(&owners));
    let result = result(&call, &options, &contents, &prefixes, page.truncated);
    // S3 tells version 1 where to go on only when there is a delimiter; otherwise it is the last key.
    let next_marker = last_place(&page).filter(|_| page.truncated && options.delimiter.is_some());
    Ok(listed(&call, document_v1(&result, &ListBucketV1 { marker, next_marker }, rest).await))
}

pub(super) async fn list_objects_v2(mut call: Call<'_>) -> Result<Reply> {
    let options = Options::read(call.query, "max-keys")?;
    call.lists(options.limit).await?;
    let start_after = call.query.get("start-after").filter(|key| !key.is_empty());
    let token = call.query.get("continuation-token");
    // An empty token is none, as an empty marker is.
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => Cow::Owned(call.edge.tokens.open(call.bucket, token)?),
        None => Cow::Borrowed(start_after.unwrap_or("")),
    };
    let fetch_owner = call.query.get("fetch-owner").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let page = fetch(&call, &options, &after).await?;
    let (texts, prefixes) = (texts(&page), prefixes(&page));
    let owners = fetch_owner.then(|| Owners::of_objects(&call, &page));
    let contents = contents(&page, &texts, owners.as_ref());
    let result = result(&call, &options, &contents, &prefixes, page.truncated);
    let next = last_place(&page).filter(|_| page.truncated);
    let next = next.map(|place| call.edge.tokens.seal(call.bucket, place));
    let v2 =
        ListBucketV2 { continuation_token: token, next_continuation_token: next.as_deref(), start_after };
    Ok(listed(&call, document_v2(&result, &v2, rest).await))
}

fn listed(call: &Call<'_>, document: Vec<u8>) -> Reply {
    let mut reply = xml(document);
    set(reply.headers_mut(), BUCKET_REGION, &call.edge.settings.region);
    reply
}

async fn fetch(call: &Call<'_>, options: &Options<'_>, after: &str) -> Result<ListPage> {
    if options.limit == 0 {
        // An empty page that claims to be complete, as S3 answers it.
        call.edge.store.bucket(call.bucket).await?;
        return Ok(ListPage { entries: Vec::new(), truncated: false });
    }
    let query = ListQuery {
        bucket: call.bucket.to_owned(),
        prefix: options.prefix.to_owned(),
        delimiter: options.delimiter.unwrap_or("").to_owned(),
        after: after.to_owned(),
        limit: options.limit,
    };
    Ok(call.edge.store.list(query).await?)
}

/// The key or common prefix that the next page starts after.
fn last_place(page: &ListPage) -> Option<&str> {
    page.entries.last().map(|entry| match entry {
        ListEntry::Object(object) => &*object.key,
        ListEntry::Prefix(prefix) => prefix,
    })
}

/// The texts of a page's objects that are not kept as text, in order.
type Texts = Vec<(FixedText<24>, String)>;

fn texts(page: &ListPage) -> Texts {
    let text = |object: &ListedObject| (iso8601_ms(object.modified), etag_text(&object.etag));
    objects(page).map(text).collect()
}

fn objects(page: &ListPage) -> impl Iterator<Item = &ListedObject> {
    page.entries.iter().filter_map(|entry| match entry {
        ListEntry::Object(object) => Some(object),
        ListEntry::Prefix(_) => None,
    })
}

fn prefixes(page: &ListPage) -> Vec<&str> {
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        ListEntry::Prefix(prefix) => Some(&**prefix),
        ListEntry::Object(_) => None,
    });
    prefixes.collect()
}

fn contents<'p>(
    page: &'p ListPage,
    texts: &'p Texts,
    owners: Option<&'p Owners<'p>>,
) -> Vec<ObjectEntry<'p>> {
    objects(page)
        .zip(texts)
        .map(|(object, (modified, etag))| ObjectEntry {
            key: &object.key,
            last_modified: modified,
            etag,
            size: object.size,
            storage_class: STANDARD,
            checksum: object.checksum,
            owner: owners.map(|owners| owners.of(object.owner.as_deref())),
        })
        .collect()
}

/// Who owns what is on a page: nearly always the owner of the bucket, and a few others by name.
pub(super) struct Owners<'c> {
    bucket: Owner<'c>,
    others: BTreeMap<String, String>,
}

impl<'c> Owners<'c> {
    /// `ids` are the canonical ids on the page.
    pub(super) fn new<'p>(call: &'c Call<'_>, ids: impl Iterator<Item = &'p str>) -> Owners<'c> {
        let mut others = BTreeMap::new();
        for id in ids {
            if !others.contains_key(id) {
                let account = call.edge.store.identities().account_of_canonical(id);
                let name = account.map_or_else(String::new, |account| account.value.name.clone());
                others.insert(id.to_owned(), name);
            }
        }
        Owners { bucket: owner(call), others }
    }

    fn of_objects(call: &'c Call<'_>, page: &ListPage) -> Owners<'c> {
        Owners::new(call, objects(page).filter_map(|object| object.owner.as_deref()))
    }

    /// `None` is the owner of the bucket.
    pub(super) fn of(&self, id: Option<&str>) -> Owner<'_> {
        match id.and_then(|id| self.others.get_key_value(id)) {
            Some((id, name)) => Owner { id, display_name: name },
            None => self.bucket,
        }
    }
}

/// The one storage class.
pub(super) const STANDARD: &str = "STANDARD";

/// Of the bucket.
pub(super) fn owner<'c>(call: &'c Call<'_>) -> Owner<'c> {
    match &call.rules {
        Some(rules) => Owner { id: &rules.owner, display_name: &rules.owner_name },
        None => Owner { id: "", display_name: "" },
    }
}

fn result<'p>(
    call: &'p Call<'_>,
    options: &'p Options<'_>,
    contents: &'p [ObjectEntry<'p>],
    common_prefixes: &'p [&'p str],
    is_truncated: bool,
) -> ListBucketResult<'p> {
    ListBucketResult {
        bucket: call.bucket,
        prefix: options.prefix,
        delimiter: options.delimiter,
        max_keys: options.limit as u64,
        is_truncated,
        url_encoded: options.url_encoded,
        contents,
        common_prefixes,
    }
}

// ---- Versions ----

pub(super) async fn list_object_versions(mut call: Call<'_>) -> Result<Reply> {
    let options = Options::read(call.query, "max-keys")?;
    call.lists(options.limit).await?;
    let key_marker = call.query.get("key-marker").unwrap_or("");
    let version_marker = call.query.get("version-id-marker").unwrap_or("");
    if !version_marker.is_empty() && key_marker.is_empty() {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(S3Error::argument("version-id-marker", version_marker, message));
    }
    let query = VersionQuery {
        bucket: call.bucket.to_owned(),
        prefix: options.prefix.to_owned(),
        delimiter: options.delimiter.unwrap_or("").to_owned(),
        key_marker: key_marker.to_owned(),
        version_id_marker: version_marker.to_owned(),
        limit: options.limit,
    };
    let page = call.edge.store.list_versions(query).await.map_err(|error| match error {
        ObjectError::InvalidVersionId => {
            S3Error::argument("version-id-marker", version_marker, "Invalid version id specified")
        }
        other => other.into(),
    })?;
    Ok(xml(versions_document(&call, &options, &page, (key_marker, version_marker)).await))
}

async fn versions_document(
    call: &Call<'_>,
    options: &Options<'_>,
    page: &VersionPage,
    markers: (&str, &str),
) -> Vec<u8> {
    let encoded = options.url_encoded;
    let foreign = page.entries.iter().filter_map(|entry| match entry {
        VersionEntry::Version(version) => version.listed.owner.as_deref(),
        VersionEntry::Prefix(_) => None,
    });
    let owners = Owners::new(call, foreign);
    let mut w = XmlWriter::with_capacity(1024 + page.entries.len() * 384);
    w.open_root("ListVersionsResult");
    w.text("Name", call.bucket);
    w.listed("Prefix", options.prefix, encoded);
    w.listed("KeyMarker", markers.0, encoded);
    w.text("VersionIdMarker", markers.1);
    match page.entries.last().filter(|_| page.truncated) {
        None => {}
        Some(VersionEntry::Prefix(prefix)) => w.listed("NextKeyMarker", prefix, encoded),
        Some(VersionEntry::Version(version)) => {
            w.listed("NextKeyMarker", &version.key, encoded);
            w.optional("NextVersionIdMarker", page.next_version.as_deref());
        }
    }
    w.number("MaxKeys", options.limit as u64);
    if let Some(delimiter) = options.delimiter {
        w.listed("Delimiter", delimiter, encoded);
    }
    if encoded {
        w.text("EncodingType", "url");
    }
    w.boolean("IsTruncated", page.truncated);
    for entry in &page.entries {
        if let VersionEntry::Version(version) = entry {
            w.entry(&rest).await;
            write_version(&mut w, version, owners.of(version.listed.owner.as_deref()), encoded);
        }
    }
    for entry in &page.entries {
        if let VersionEntry::Prefix(prefix) = entry {
            w.entry(&rest).await;
            w.open("CommonPrefixes");
            w.listed("Prefix", prefix, encoded);
            w.close("CommonPrefixes");
        }
    }
    w.close("ListVersionsResult");
    w.finish()
}

fn write_version(w: &mut XmlWriter, version: &VersionInfo, owner: Owner<'_>, encoded: bool) {
    let element = if version.is_delete_marker { "DeleteMarker" } else { "Version" };
    w.open(element);
    w.listed("Key", &version.key, encoded);
    w.text("VersionId", &version.version_id);
    w.boolean("IsLatest", version.is_latest);
    w.text("LastModified", &iso8601_ms(version.listed.modified));
    if !version.is_delete_marker {
        w.etag(&etag_text(&version.listed.etag));
        w.number("Size", version.listed.size);
        w.text("StorageClass", STANDARD);
        if let Some((algorithm, kind)) = version.listed.checksum {
            w.text("ChecksumAlgorithm", algorithm.name());
            w.text("ChecksumType", kind.name());
        }
    }
    w.open("Owner");
    w.text("ID", owner.id);
    w.text("DisplayName", owner.display_name);
    w.close("Owner");
    w.close(element);
}

// ---- Tokens ----

/// Seals and opens continuation tokens.
pub(super) struct Tokens(hmac::Key);

/// Forging a token gains nothing but a listing that starts elsewhere; half a hash is plenty.
const MAC_BYTES: usize = 16;

impl Tokens {
    pub(super) fn new(secret: &str) -> Tokens {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&root, b"basalt continuation token");
        Tokens(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    pub(super) fn seal(&self, bucket: &str, place: &str) -> String {
        let mut token = Vec::with_capacity(MAC_BYTES + place.len());
        token.extend_from_slice(&self.mac(bucket, place));
        token.extend_from_slice(place.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    pub(super) fn open(&self, bucket: &str, token: &str) -> Result<String> {
        let opened = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let (mac, place) = bytes.split_first_chunk::<MAC_BYTES>()?;
            let place = std::str::from_utf8(place).ok()?;
            let same = verify_slices_are_equal(mac, &self.mac(bucket, place)).is_ok();
            same.then(|| place.to_owned())
        };
        opened().ok_or_else(|| {
            S3Error::argument("continuation-token", token, "The continuation token provided is incorrect")
        })
    }

    /// The length in front keeps bucket and place apart.
    fn mac(&self, bucket: &str, place: &str) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&(bucket.len() as u64).to_le_bytes());
        context.update(bucket.as_bytes());
        context.update(place.as_bytes());
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("HMAC-SHA-256 is longer than this")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;
    use crate::object::meta::ETag;
    use crate::s3::error::Code;

    #[test]
    fn tokens_open_where_they_were_sealed_and_nowhere_else() {
        let tokens = Tokens::new("secret");
        for place in ["", "a/b", "ü\u{0}&"] {
            let token = tokens.seal("b", place);
            assert_eq!(tokens.open("b", &token).unwrap(), place);
            assert!(tokens.open("c", &token).is_err());
            assert!(Tokens::new("other").open("b", &token).is_err());
        }
        for forged in ["", "x", "a/b", &URL_SAFE_NO_PAD.encode("no mac at all, but long")] {
            assert_eq!(tokens.open("b", forged).unwrap_err().code(), Code::InvalidArgument, "{forged}");
        }
    }

    #[test]
    fn page_limits() {
        let limit = |text: &str| page_limit(&Query::parse(text).unwrap(), "max-keys").map_err(|e| e.code());
        assert_eq!(limit(""), Ok(1000));
        assert_eq!(limit("max-keys="), Ok(1000));
        assert_eq!(limit("max-keys=0"), Ok(0));
        assert_eq!(limit("max-keys=5000"), Ok(1000));
        for bad in ["max-keys=-1", "max-keys=x", "max-keys=2147483648"] {
            assert_eq!(limit(bad), Err(Code::InvalidArgument), "{bad}");
        }
    }

    #[test]
    fn a_page_is_split_into_objects_and_prefixes() {
        let object = ListedObject {
            key: "a".into(),
            size: 1,
            modified: Nanos::default(),
            etag: ETag::default(),
            checksum: None,
            owner: None,
        };
        let entries = vec![ListEntry::Object(object), ListEntry::Prefix("b/".into())];
        let page = ListPage { entries, truncated: true };
        assert_eq!(prefixes(&page), ["b/"]);
        let texts = texts(&page);
        let contents = contents(&page, &texts, None);
        assert_eq!((contents.len(), contents[0].key), (1, "a"));
        assert_eq!(contents[0].last_modified, "1970-01-01T00:00:00.000Z");
        assert_eq!(last_place(&page), Some("b/"));
    }
}
