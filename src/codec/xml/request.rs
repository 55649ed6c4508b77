//! The documents that clients send: Delete, CompleteMultipartUpload, CreateBucketConfiguration.
//!
//! May use: `xml::read`, `codec::{checksum, date}`, `base::limits`. An element that stands at most
//! once is refused the second time. Elements that the shape does not have are malformed; checksums
//! of algorithms this server does not compute are reported as unsupported.

use super::bucket::read_tag_set;
use super::read::{
    Document, TWICE, UNEXPECTED, XmlError, once, parse_bool, parse_integer, parse_number, texts,
};
use crate::base::limits::{DELETE_KEYS_MAX, PART_NUMBER_MAX};
use crate::base::time::Nanos;
use crate::codec::checksum::{Checksum, ChecksumAlgorithm};
use crate::codec::date::{parse_http_date, parse_iso8601};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    pub quiet: bool,
    /// At least one, at most `DELETE_KEYS_MAX`, in the order of the request.
    pub objects: Vec<DeleteObject>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteObject {
    pub key: String,
    pub version_id: Option<String>,
    /// Without quotes; `*` stays itself.
    pub etag: Option<String>,
    pub last_modified: Option<Nanos>,
    pub size: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// At least one, at most `PART_NUMBER_MAX`, in the order of the request.
    pub parts: Vec<CompletedPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// As it was written, whether or not a part can have it.
    pub part_number: i64,
    /// Without quotes.
    pub etag: String,
    pub checksums: Vec<Checksum>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateBucketConfiguration {
    pub location_constraint: Option<String>,
    /// `Location` or `Bucket` is there: a directory bucket is wanted.
    pub directory_bucket: bool,
    pub tags: Vec<(String, String)>,
}

/// Reads the body of DeleteObjects; rests now and then.
pub async fn parse_delete(body: &[u8], rest: impl AsyncFn()) -> Result<Delete, XmlError> {
    let mut document = Document::open(body, "Delete")?;
    let (mut quiet, mut objects) = (None, Vec::new());
    while let Some(element) = document.entry(&rest).await? {
        match element.name() {
            b"Quiet" => once(&mut quiet, parse_bool(&document.text()?)?)?,
            b"Object" if objects.len() < DELETE_KEYS_MAX => objects.push(delete_object(&mut document)?),
            b"Object" => return Err(XmlError::Malformed("it names too many objects")),
            _ => return Err(UNEXPECTED),
        }
    }
    document.close()?;
    if objects.is_empty() {
        return Err(XmlError::Malformed("it names no object"));
    }
    Ok(Delete { quiet: quiet.unwrap_or(false), objects })
}

fn delete_object(document: &mut Document<'_>) -> Result<DeleteObject, XmlError> {
    let mut object = DeleteObject::default();
    let mut key = None;
    while let Some(element) = document.child()? {
        let text = document.text()?;
        match element.name() {
            b"Key" => once(&mut key, text)?,
            b"VersionId" => once(&mut object.version_id, text)?,
            b"ETag" => once(&mut object.etag, unquote(&text))?,
            b"LastModifiedTime" => {
                let time = parse_http_date(&text).or_else(|| parse_iso8601(&text));
                once(&mut object.last_modified, time.ok_or(XmlError::Malformed("a time cannot be read"))?)?;
            }
            b"Size" => once(&mut object.size, parse_number(&text)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    object.key = key.ok_or(XmlError::Malformed("an object has no key"))?;
    Ok(object)
}

/// Reads the body of CompleteMultipartUpload; rests now and then.
pub async fn parse_complete_multipart_upload(
    body: &[u8],
    rest: impl AsyncFn(),
) -> Result<CompleteMultipartUpload, XmlError> {
    let mut document = Document::open(body, "CompleteMultipartUpload")?;
    let mut parts = Vec::new();
    while let Some(element) = document.entry(&rest).await? {
        match element.name() {
            b"Part" if parts.len() < usize::from(PART_NUMBER_MAX) => {
                parts.push(completed_part(&mut document)?)
            }
            b"Part" => return Err(XmlError::Malformed("it names too many parts")),
            _ => return Err(UNEXPECTED),
        }
    }
    document.close()?;
    if parts.is_empty() {
        return Err(XmlError::Malformed("it names no part"));
    }
    Ok(CompleteMultipartUpload { parts })
}

fn completed_part(document: &mut Document<'_>) -> Result<CompletedPart, XmlError> {
    let (mut part_number, mut etag, mut checksums) = (None, None, Vec::new());
    while let Some(element) = document.child()? {
        let text = document.text()?;
        match element.name() {
            b"PartNumber" => once(&mut part_number, parse_integer(&text)?)?,
            b"ETag" => once(&mut etag, unquote(&text))?,
            // Some clients write the elements of the checksums they did not compute, empty.
            name if name.starts_with(b"Checksum") && text.is_empty() => {}
            name if name.starts_with(b"Checksum") => add_checksum(&mut checksums, name, &text)?,
            _ => return Err(UNEXPECTED),
        }
    }
    match (part_number, etag) {
        (Some(part_number), Some(etag)) => Ok(CompletedPart { part_number, etag, checksums }),
        _ => Err(XmlError::Malformed("a part has no number or no ETag")),
    }
}

fn add_checksum(checksums: &mut Vec<Checksum>, element: &[u8], text: &str) -> Result<(), XmlError> {
    let name = std::str::from_utf8(element).map_err(|_| UNEXPECTED)?;
    let algorithm = ChecksumAlgorithm::from_element(name)
        .ok_or_else(|| XmlError::Unsupported(name.chars().take(64).collect()))?;
    if checksums.iter().any(|checksum| checksum.algorithm() == algorithm) {
        return Err(TWICE);
    }
    let checksum = Checksum::from_base64(algorithm, text);
    checksums.push(checksum.map_err(|_| XmlError::BadChecksum(algorithm.element()))?);
    Ok(())
}

/// Reads the body of CreateBucket; an empty one asks for the defaults.
pub fn parse_create_bucket_configuration(body: &[u8]) -> Result<CreateBucketConfiguration, XmlError> {
    let mut configuration = CreateBucketConfiguration::default();
    if body.is_empty() {
        return Ok(configuration);
    }
    let (mut location, mut bucket, mut tags) = (None, None, None);
    let mut document = Document::open(body, "CreateBucketConfiguration")?;
    while let Some(element) = document.child()? {
        match element.name() {
            b"LocationConstraint" => once(&mut configuration.location_constraint, document.text()?)?,
            b"Location" => once(&mut location, texts(&mut document, &[b"Type", b"Name"])?)?,
            b"Bucket" => once(&mut bucket, texts(&mut document, &[b"DataRedundancy", b"Type"])?)?,
            b"Tags" => once(&mut tags, read_tag_set(&mut document)?)?,
            _ => return Err(UNEXPECTED),
        }
    }
    document.close()?;
    configuration.directory_bucket = location.is_some() || bucket.is_some();
    configuration.tags = tags.unwrap_or_default();
    Ok(configuration)
}

fn unquote(etag: &str) -> String {
    let etag = etag.trim();
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use crate::base::limits::XML_PIECE_BYTES_MAX;

    /// The outcome of reading that needs no rest of any length.
    fn at_once<T>(reading: impl Future<Output = T>) -> T {
        match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing is waited for"),
        }
    }

    fn parse_delete(body: &[u8]) -> Result<Delete, XmlError> {
        at_once(super::parse_delete(body, async || {}))
    }

    fn parse_complete_multipart_upload(body: &[u8]) -> Result<CompleteMultipartUpload, XmlError> {
        at_once(super::parse_complete_multipart_upload(body, async || {}))
    }

    fn malformed<T: std::fmt::Debug>(result: Result<T, XmlError>) -> bool {
        matches!(result, Err(XmlError::Malformed(_)))
    }

    #[test]
    fn reads_a_delete() {
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><!-- two -->
              <Object><Key>a &amp; b&#x0D;&#10;<![CDATA[<c>]]></Key><VersionId>null</VersionId></Object>
              <Object><ETag>&quot;abc&quot;</ETag><Key> ü </Key><Size>12</Size>
                <LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime></Object>
              <Quiet>true</Quiet>
            </Delete>
            "#;
        let delete = parse_delete(body.as_bytes()).unwrap();
        assert!(delete.quiet);
        assert_eq!(delete.objects[0].key, "a & b\r\n<c>");
        assert_eq!(delete.objects[0].version_id.as_deref(), Some("null"));
        let want = DeleteObject {
            key: " ü ".into(),
            version_id: None,
            etag: Some("abc".into()),
            last_modified: Some(Nanos::from_seconds(784_111_777)),
            size: Some(12),
        };
        assert_eq!(delete.objects[1], want);
    }

    #[test]
    fn refuses_what_is_not_a_delete() {
        let object = "<Object><Key>k</Key></Object>";
        assert!(parse_delete(format!("<Delete>{object}</Delete>").as_bytes()).is_ok());
        assert!(parse_delete(format!("\u{feff}<x:Delete>{object}</x:Delete>").as_bytes()).is_ok());
        for body in [
            String::new(),
            "<Delete/>".into(),
            "<Delete></Delete>".into(),
            format!("<Remove>{object}</Remove>"),
            format!("<Delete>{object}"),
            format!("<Delete>{object}</Remove>"),
            format!("<Delete>{object}</Delete><Delete/>"),
            format!("<Delete>{object}</Delete>text"),
            format!("<Delete>text{object}</Delete>"),
            format!("<Delete>{object}<Quiet>yes</Quiet></Delete>"),
            format!("<Delete>{object}<Quiet>true</Quiet><Quiet>true</Quiet></Delete>"),
            format!("<Delete>{object}<Other/></Delete>"),
            format!("<!DOCTYPE Delete [<!ENTITY e \"x\">]><Delete>{object}</Delete>"),
            format!("<?php x?><Delete>{object}</Delete>"),
            "<Delete><Object><Key>&e;</Key></Object></Delete>".into(),
            "<Delete><Object><Key>&#0;</Key></Object></Delete>".into(),
            "<Delete><Object><Key>&#xD800;</Key></Object></Delete>".into(),
            "<Delete><Object><Key>a&b</Key></Object></Delete>".into(),
            "<Delete><Object><Key>a<b/>c</Key></Object></Delete>".into(),
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>".into(),
            "<Delete><Object><VersionId>b</VersionId></Object></Delete>".into(),
            "<Delete><Object><Key>a</Key><Size>-1</Size></Object></Delete>".into(),
            format!("<Delete>{}</Delete>", object.repeat(DELETE_KEYS_MAX + 1)),
            "<a>".repeat(100_000),
        ] {
            assert!(malformed(parse_delete(body.as_bytes())), "{:.200}", body);
        }
        assert!(malformed(parse_delete(b"<Delete><Object><Key>\xff</Key></Object></Delete>")));
        assert!(malformed(parse_delete(&vec![b' '; crate::base::limits::XML_BODY_BYTES_MAX + 1])));
        let full = format!("<Delete>{}</Delete>", object.repeat(DELETE_KEYS_MAX));
        assert_eq!(parse_delete(full.as_bytes()).unwrap().objects.len(), DELETE_KEYS_MAX);
    }

    #[test]
    fn rests_while_it_reads_a_long_document() {
        let longest = format!("<Object><Key>{}</Key></Object>", "&quot;".repeat(1024));
        let (rests, read) = (Cell::new(0), DELETE_KEYS_MAX * longest.len());
        let rest = async || rests.set(rests.get() + 1);
        let body = format!("<Delete>{}</Delete>", longest.repeat(DELETE_KEYS_MAX));
        let delete = at_once(super::parse_delete(body.as_bytes(), rest)).unwrap();
        assert_eq!(delete.objects[DELETE_KEYS_MAX - 1].key, "\"".repeat(1024));
        assert!(rests.get() >= read / XML_PIECE_BYTES_MAX, "it rested {} times", rests.get());
    }

    #[test]
    fn no_piece_of_a_document_is_long() {
        let (short, long) = (XML_PIECE_BYTES_MAX / 16, XML_PIECE_BYTES_MAX);
        for (piece, len) in [(" ", 1), ("<!---->", 7), ("<!-->-->", 8)] {
            let delete = |count: usize| {
                let filler = piece.repeat(count / len);
                format!("{filler}<Delete>{filler}<Object><Key>k</Key></Object>{filler}</Delete>{filler}")
            };
            assert!(parse_delete(delete(short).as_bytes()).is_ok(), "{piece}");
            assert!(malformed(parse_delete(delete(long).as_bytes())), "{piece}");
        }
        for piece in ["k", "&lt;", "\r", "<![CDATA[]]>", "<!--x-->"] {
            let delete = |count: usize| {
                let filler = piece.repeat(count / piece.len());
                let objects = format!("<Object><Key>{filler}</Key></Object>").repeat(40);
                format!("<Delete>{objects}</Delete>")
            };
            assert!(parse_delete(delete(short).as_bytes()).is_ok(), "{piece}");
            assert!(malformed(parse_delete(delete(long).as_bytes())), "{piece}");
        }
        for one in [format!("<Delete a='{}'>", "'b='".repeat(long)), format!("<!--{}-->", ">".repeat(long))] {
            assert!(malformed(parse_delete(format!("{one}<Delete>").as_bytes())));
        }
    }

    #[test]
    fn reads_completed_parts() {
        let body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e1\"</ETag>\
            <ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumSHA256/></Part>\
            <Part><ETag>e2</ETag><PartNumber>70000</PartNumber></Part></CompleteMultipartUpload>";
        let parts = parse_complete_multipart_upload(body).unwrap().parts;
        let checksum = Checksum::of(ChecksumAlgorithm::Crc32, b"123456789");
        assert_eq!(parts[0], CompletedPart { part_number: 1, etag: "e1".into(), checksums: vec![checksum] });
        assert_eq!(parts[1], CompletedPart { part_number: 70_000, etag: "e2".into(), checksums: vec![] });
        let with = |inner: &str| {
            let body = format!("<CompleteMultipartUpload><Part>{inner}</Part></CompleteMultipartUpload>");
            parse_complete_multipart_upload(body.as_bytes()).map_err(|error| error.code())
        };
        assert_eq!(with("<PartNumber>1</PartNumber>"), Err("MalformedXML"));
        assert_eq!(with("<PartNumber>x</PartNumber><ETag>e</ETag>"), Err("MalformedXML"));
        assert_eq!(with("<ChecksumCRC16>AAAA</ChecksumCRC16>"), Err("NotImplemented"));
        assert_eq!(with("<ChecksumCRC32>AAAA</ChecksumCRC32>"), Err("InvalidArgument"));
        assert!(malformed(parse_complete_multipart_upload(b"<CompleteMultipartUpload/>")));
    }

    #[test]
    fn reads_a_bucket_configuration() {
        assert_eq!(parse_create_bucket_configuration(b"").unwrap(), CreateBucketConfiguration::default());
        let body = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
            <Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>";
        let configuration = parse_create_bucket_configuration(body).unwrap();
        assert_eq!(configuration.location_constraint.as_deref(), Some("eu-west-1"));
        assert_eq!(configuration.tags, [("a".to_string(), "b".to_string())]);
        assert!(!configuration.directory_bucket);
        let body =
            b"<CreateBucketConfiguration><Location><Type>AvailabilityZone</Type><Name>x</Name></Location>\
            </CreateBucketConfiguration>";
        assert!(parse_create_bucket_configuration(body).unwrap().directory_bucket);
    }

    proptest! {
        #[test]
        fn no_input_panics(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            dense in "(<Delete>|<Object>|<Key>|</Key>|</Object>|</Delete>|&|;|#x|41|<|>|/|!|\\[|CDATA\\[|\\]\\]>|--|\\?|\r\n|x| |\"){0,30}",
        ) {
            for body in [&noise[..], dense.as_bytes()] {
                let _ = parse_delete(body);
                let _ = parse_complete_multipart_upload(body);
                let _ = parse_create_bucket_configuration(body);
            }
        }

        #[test]
        fn written_keys_are_read_back(key in any::<String>()) {
            let mut writer = super::super::XmlWriter::new();
            writer.open("Delete");
            writer.open("Object");
            writer.text("Key", &key);
            writer.close("Object");
            writer.close("Delete");
            let read = parse_delete(&writer.finish());
            // NUL cannot be written in any XML.
            prop_assert!(key.contains('\0') || read.unwrap().objects[0].key == key);
        }
    }
}
