//! InventoryConfiguration: lists of a bucket's objects, made again and again.
//!
//! A bucket has several, told apart by their id. Lists are CSV: the other formats, and encrypting a
//! list on its own, are refused, and so are fields of which this server has nothing to tell. Beside it stands
//! a document of ours: when a list was last made.

use super::super::read::{
    BAD_WORD, Document, Fault, MISSING, UNEXPECTED, XmlError, once, parse_bool, parse_number, texts,
};
use super::super::write::XmlWriter;
use super::Configuration;
use crate::base::limits::{INVENTORY_ID_BYTES_MAX, INVENTORY_PREFIX_BYTES_MAX, KEY_BYTES_MAX};
use crate::base::time::Nanos;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    pub id: String,
    pub enabled: bool,
    /// As it was sent: an ARN.
    pub bucket: String,
    pub account: Option<String>,
    pub prefix: Option<String>,
    /// Only keys that begin so.
    pub filter: Option<String>,
    pub all_versions: bool,
    pub weekly: bool,
    pub fields: Vec<String>,
}

/// How far the reports of an inventory are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRun {
    pub id: String,
    /// When the newest one was begun, whole or not: names of its lists follow from that.
    pub begun: Nanos,
    /// When the newest one was begun that is whole.
    pub whole: Option<Nanos>,
}

const FIELDS: &[&str] = &[
    "Size",
    "LastModifiedDate",
    "StorageClass",
    "ETag",
    "IsMultipartUploaded",
    "EncryptionStatus",
    "ObjectLockRetainUntilDate",
    "ObjectLockMode",
    "ObjectLockLegalHoldStatus",
    "ChecksumAlgorithm",
    "ObjectOwner",
];

/// Known to S3, of which there is nothing here.
const FIELDS_ABSENT: &[&str] = &[
    "ReplicationStatus",
    "IntelligentTieringAccessTier",
    "BucketKeyStatus",
    "ObjectAccessControlList",
    "LifecycleExpirationDate",
];

const ARN: &str = "arn:aws:s3:::";

impl Inventory {
    /// Name of the bucket that the lists go to.
    pub fn destination(&self) -> &str {
        self.bucket.strip_prefix(ARN).unwrap_or(&self.bucket)
    }

    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|found| found == field)
    }

    /// The elements without a root, as one document or as part of a list.
    pub fn write(&self, w: &mut XmlWriter) {
        w.open("Destination");
        w.open("S3BucketDestination");
        w.optional("AccountId", self.account.as_deref());
        w.text("Bucket", &self.bucket);
        w.text("Format", "CSV");
        w.optional("Prefix", self.prefix.as_deref());
        w.close("S3BucketDestination");
        w.close("Destination");
        w.boolean("IsEnabled", self.enabled);
        if let Some(prefix) = &self.filter {
            w.open("Filter");
            w.text("Prefix", prefix);
            w.close("Filter");
        }
        w.text("Id", &self.id);
        w.text("IncludedObjectVersions", if self.all_versions { "All" } else { "Current" });
        if !self.fields.is_empty() {
            w.open("OptionalFields");
            self.fields.iter().for_each(|field| w.text("Field", field));
            w.close("OptionalFields");
        }
        w.open("Schedule");
        w.text("Frequency", if self.weekly { "Weekly" } else { "Daily" });
        w.close("Schedule");
    }
}

impl Configuration for Inventory {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "InventoryConfiguration")?;
        let (mut target, mut enabled, mut filter, mut id) = (None, None, None, None);
        let (mut versions, mut fields, mut schedule) = (None, None, None);
        while let Some(element) = document.child()? {
            match element.name() {
                b"Destination" => once(&mut target, read_destination(&mut document)?)?,
                b"IsEnabled" => once(&mut enabled, parse_bool(&document.text()?)?)?,
                b"Filter" => once(&mut filter, texts(&mut document, &[b"Prefix"])?)?,
                b"Id" => once(&mut id, document.text()?)?,
                b"IncludedObjectVersions" => once(&mut versions, document.text()?)?,
                b"OptionalFields" => once(&mut fields, read_fields(&mut document)?)?,
                b"Schedule" => once(&mut schedule, texts(&mut document, &[b"Frequency"])?)?,
                _ => return Err(UNEXPECTED),
            }
        }
        document.close()?;
        let [account, bucket, prefix] = target.ok_or(MISSING)?;
        let [frequency] = schedule.ok_or(MISSING)?;
        let bucket = bucket.ok_or(MISSING)?;
        if bucket.strip_prefix(ARN).is_none_or(|name| name.is_empty() || name.contains(['/', ':'])) {
            return Err(XmlError::Invalid(Fault::Argument, "Invalid bucket ARN.".into()));
        }
        let filter = filter.map(|[prefix]| prefix.ok_or(MISSING)).transpose()?;
        check_length(filter.as_deref(), KEY_BYTES_MAX)?;
        check_length(prefix.as_deref(), INVENTORY_PREFIX_BYTES_MAX)?;
        Ok(Inventory {
            id: checked_id(id.ok_or(MISSING)?)?,
            enabled: enabled.ok_or(MISSING)?,
            bucket,
            account,
            prefix,
            filter,
            all_versions: word(versions, ["All", "Current"])?,
            weekly: word(frequency, ["Weekly", "Daily"])?,
            fields: fields.unwrap_or_default(),
        })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("InventoryConfiguration");
        self.write(&mut w);
        w.close("InventoryConfiguration");
        w.finish()
    }
}

impl Configuration for InventoryRun {
    fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut document = Document::open(body, "InventoryRun")?;
        let [id, begun, whole] = texts(&mut document, &[b"Id", b"Begun", b"Whole"])?;
        document.close()?;
        Ok(InventoryRun {
            id: checked_id(id.ok_or(MISSING)?)?,
            begun: Nanos(parse_number(&begun.ok_or(MISSING)?)?),
            whole: whole.map(|whole| parse_number(&whole)).transpose()?.map(Nanos),
        })
    }

    fn render(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_root("InventoryRun");
        w.text("Id", &self.id);
        w.number("Begun", self.begun.0);
        if let Some(whole) = self.whole {
            w.number("Whole", whole.0);
        }
        w.close("InventoryRun");
        w.finish()
    }
}

fn check_length(prefix: Option<&str>, bytes_max: usize) -> Result<(), XmlError> {
    match prefix.is_none_or(|prefix| prefix.len() <= bytes_max) {
        true => Ok(()),
        false => Err(XmlError::Invalid(Fault::Argument, "The prefix is too long".into())),
    }
}

/// Whether it is the first of two words.
fn word(text: Option<String>, words: [&str; 2]) -> Result<bool, XmlError> {
    let text = text.ok_or(MISSING)?;
    if text == words[0] { Ok(true) } else { (text == words[1]).then_some(false).ok_or(BAD_WORD) }
}

fn checked_id(id: String) -> Result<String, XmlError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !id.is_empty() && id.len() <= INVENTORY_ID_BYTES_MAX && id.bytes().all(plain) {
        true => Ok(id),
        false => {
            Err(XmlError::Invalid(Fault::Argument, "The specified configuration id is not valid".into()))
        }
    }
}

/// Account, bucket, prefix.
fn read_destination(document: &mut Document<'_>) -> Result<[Option<String>; 3], XmlError> {
    let mut found = None;
    while let Some(element) = document.child()? {
        match element.name() {
            b"S3BucketDestination" => once(&mut found, read_bucket(document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    found.ok_or(MISSING)
}

fn read_bucket(document: &mut Document<'_>) -> Result<[Option<String>; 3], XmlError> {
    let (mut account, mut bucket, mut format, mut prefix) = (None, None, None, None);
    while let Some(element) = document.child()? {
        match element.name() {
            b"AccountId" => once(&mut account, document.text()?)?,
            b"Bucket" => once(&mut bucket, document.text()?)?,
            b"Format" => once(&mut format, document.text()?)?,
            b"Prefix" => once(&mut prefix, document.text()?)?,
            b"Encryption" => return Err(XmlError::Unsupported("Encryption".into())),
            _ => return Err(UNEXPECTED),
        }
    }
    match format.ok_or(MISSING)?.as_str() {
        "CSV" => Ok([account, bucket, prefix]),
        "ORC" | "Parquet" => Err(XmlError::Unsupported("Format".into())),
        _ => Err(BAD_WORD),
    }
}

fn read_fields(document: &mut Document<'_>) -> Result<Vec<String>, XmlError> {
    let mut fields: Vec<String> = Vec::new();
    while let Some(element) = document.child()? {
        if element.name() != b"Field" {
            return Err(UNEXPECTED);
        }
        let field = document.text()?;
        if FIELDS_ABSENT.contains(&field.as_str()) {
            return Err(XmlError::Unsupported(field));
        }
        if !FIELDS.contains(&field.as_str()) || fields.contains(&field) {
            return Err(BAD_WORD);
        }
        fields.push(field);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        Inventory {
            id: "list-1".into(),
            enabled: true,
            bucket: "arn:aws:s3:::lists".into(),
            account: None,
            prefix: Some("p".into()),
            filter: Some("only/".into()),
            all_versions: true,
            weekly: false,
            fields: vec!["Size".into(), "ETag".into()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bare = Inventory {
            prefix: None,
            filter: None,
            fields: vec![],
            weekly: true,
            account: Some("1".into()),
            ..inventory()
        };
        for inventory in [inventory(), bare] {
            assert_eq!(Inventory::parse(&inventory.render()), Ok(inventory));
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        for whole in [None, Some(Nanos(7))] {
            let run = InventoryRun { id: "list-1".into(), begun: Nanos(u64::MAX), whole };
            assert_eq!(InventoryRun::parse(&run.render()), Ok(run));
        }
        assert_eq!(inventory().destination(), "lists");
    }

    #[test]
    fn what_is_refused() {
        let text = String::from_utf8(inventory().render()).unwrap();
        for (from, to, code) in [
            ("CSV", "ORC", "NotImplemented"),
            ("CSV", "TXT", "MalformedXML"),
            ("<Id>list-1</Id>", "<Id>a b</Id>", "InvalidArgument"),
            ("<Id>list-1</Id>", "", "MalformedXML"),
            ("Daily", "Hourly", "MalformedXML"),
            (">All<", ">Some<", "MalformedXML"),
            ("<Field>ETag</Field>", "<Field>Size</Field>", "MalformedXML"),
            ("<Field>ETag</Field>", "<Field>BucketKeyStatus</Field>", "NotImplemented"),
            ("arn:aws:s3:::lists", "lists", "InvalidArgument"),
            ("arn:aws:s3:::lists", "arn:aws:s3:::lists/x", "InvalidArgument"),
            ("<IsEnabled>true</IsEnabled>", "", "MalformedXML"),
            ("<Filter><Prefix>only/</Prefix></Filter>", "<Filter/>", "MalformedXML"),
        ] {
            let body = text.replace(from, to);
            assert_ne!(body, text);
            assert_eq!(Inventory::parse(body.as_bytes()).map_err(|e| e.code()), Err(code), "{to}");
        }
    }
}
