//! A version as a line of a report, and the names of its columns: CSV in which everything is quoted.
//!
//! Keys are percent-encoded, so that no line has a quote or a line end in it. What a version does not have is
//! empty, the id of a null version too. Pure: a version in, bytes out.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html

use super::Order;
use crate::catalog::value::Version;
use crate::codec::date::iso8601_ms;
use crate::codec::uri::encode_path_into;
use crate::object::decisions::versions;

/// A version and its place.
pub struct Listed<'v> {
    pub key: &'v str,
    pub order: u64,
    pub version: &'v Version,
    pub is_latest: bool,
}

/// Names of the columns, in their order.
pub fn columns(order: &Order) -> Vec<&str> {
    let inventory = &order.inventory;
    let mut names = vec!["Bucket", "Key"];
    if inventory.all_versions {
        names.extend(["VersionId", "IsLatest", "IsDeleteMarker"]);
    }
    names.extend(inventory.fields.iter().map(String::as_str));
    names
}

/// Appends the line of a version.
pub fn write(out: &mut Vec<u8>, order: &Order, listed: &Listed<'_>) {
    quoted(out, order.source.name.as_bytes());
    out.extend_from_slice(b",\"");
    encode_path_into(out, listed.key.as_bytes());
    out.push(b'"');
    if order.inventory.all_versions {
        let id = match listed.version.null {
            true => String::new(),
            false => versions::id(order.source.id, listed.key, listed.order, false),
        };
        for text in [&id, word(listed.is_latest), word(listed.version.is_marker())] {
            out.push(b',');
            quoted(out, text.as_bytes());
        }
    }
    for field in &order.inventory.fields {
        out.push(b',');
        quoted(out, value(field, order, listed.version).as_bytes());
    }
    out.push(b'\n');
}

/// Nothing that is quoted has a quote in it.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn word(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

fn value(field: &str, order: &Order, version: &Version) -> String {
    let (meta, attached) = (&version.meta, &version.meta.attached);
    match field {
        "LastModifiedDate" => return iso8601_ms(meta.modified).as_str().to_owned(),
        "ObjectOwner" => return attached.owner.clone().unwrap_or_else(|| order.owner.clone()),
        _ if version.is_marker() => return String::new(),
        _ => {}
    }
    let retention = attached.retention;
    match field {
        "Size" => meta.size.to_string(),
        "StorageClass" => "STANDARD".to_owned(),
        "ETag" => meta.etag.quoted().trim_matches('"').to_owned(),
        "IsMultipartUploaded" => word(meta.etag.parts > 0).to_owned(),
        // Nothing is sealed yet, whatever the bucket says of encryption.
        "EncryptionStatus" => "NOT-SSE".to_owned(),
        "ObjectLockRetainUntilDate" => {
            retention.map_or_else(String::new, |found| iso8601_ms(found.until).as_str().to_owned())
        }
        "ObjectLockMode" => retention.map_or_else(String::new, |found| found.mode.name().to_owned()),
        "ObjectLockLegalHoldStatus" => {
            if attached.legal_hold == Some(true) { "On" } else { "Off" }.to_owned()
        }
        "ChecksumAlgorithm" => {
            meta.checksum.as_ref().map_or_else(String::new, |found| found.algorithm.name().to_owned())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::base::time::Nanos;
    use crate::catalog::value::Storage;
    use crate::codec::xml::Inventory;
    use crate::object::decisions::commit::BucketRef;
    use crate::object::meta::{ETag, ObjectMeta};

    fn order(all_versions: bool, fields: &[&str]) -> Order {
        let named = |name: &str, id| BucketRef { name: name.into(), id };
        let inventory = Inventory {
            id: "i".into(),
            enabled: true,
            bucket: "arn:aws:s3:::lists".into(),
            account: None,
            prefix: None,
            filter: None,
            all_versions,
            weekly: false,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        Order {
            source: named("data", 7),
            owner: "me".into(),
            destination: named("lists", 8),
            inventory: Arc::new(inventory),
            begun: Nanos(0),
            lines_max: 1,
        }
    }

    fn line(order: &Order, key: &str, version: &Version) -> String {
        let mut out = Vec::new();
        write(&mut out, order, &Listed { key, order: 5, version, is_latest: true });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_the_columns_that_were_asked_for() {
        let fields =
            ["Size", "ETag", "IsMultipartUploaded", "ObjectLockMode", "ObjectOwner", "EncryptionStatus"];
        let meta = ObjectMeta { size: 12, etag: ETag { md5: [0xab; 16], parts: 2 }, ..ObjectMeta::default() };
        let version = Version { meta, storage: Storage::Empty, null: false };
        let current = order(false, &fields);
        let etag = format!("{}-2", "ab".repeat(16));
        let expected =
            format!("\"data\",\"a/%22b%0A%2B%20\",\"12\",\"{etag}\",\"true\",\"\",\"me\",\"NOT-SSE\"\n");
        assert_eq!(line(&current, "a/\"b\n+ ", &version), expected);
        assert_eq!(columns(&current).len(), 2 + fields.len());
        let all = order(true, &["Size", "LastModifiedDate"]);
        let id = versions::id(7, "k", 5, false);
        let marker = Version::marker(Nanos(0));
        let expected =
            format!("\"data\",\"k\",\"{id}\",\"true\",\"true\",\"\",\"1970-01-01T00:00:00.000Z\"\n");
        assert_eq!(line(&all, "k", &marker), expected);
        let null = Version { null: true, ..version };
        assert!(line(&all, "k", &null).starts_with("\"data\",\"k\",\"\",\"true\",\"false\",\"12\","));
        assert_eq!(
            columns(&all),
            ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate"]
        );
    }
}
