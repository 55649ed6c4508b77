//! GetObjectAttributes: what is known of an object, without its bytes.
//!
//! Answers exactly the attributes that were asked for. Parts are listed with their numbers, sizes
//! and, where the checksum of the whole is made of theirs, their checksums.

use http::header::LAST_MODIFIED;

use super::error::{Code, Result, S3Error};
use super::list::STANDARD;
use super::response::{Reply, checksum_text, etag_text, last_modified, xml};
use super::service::Call;
use super::versions::{asked_version, version_header};
use super::{conditions, headers};
use crate::base::limits::LIST_KEYS_MAX;
use crate::codec::policy::Action;
use crate::codec::xml::XmlWriter;
use crate::object::meta::{Checksum, ChecksumKind};
use crate::object::store::Object;

#[derive(Default)]
struct Asked {
    etag: bool,
    checksum: bool,
    parts: bool,
    class: bool,
    size: bool,
}

impl Asked {
    fn read(call: &Call<'_>) -> Result<Asked> {
        let mut asked = Asked::default();
        let mut any = false;
        for value in call.headers.get_all("x-amz-object-attributes") {
            let text = value.to_str().unwrap_or("");
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let slot = match name {
                    "ETag" => &mut asked.etag,
                    "Checksum" => &mut asked.checksum,
                    "ObjectParts" => &mut asked.parts,
                    "StorageClass" => &mut asked.class,
                    "ObjectSize" => &mut asked.size,
                    _ => return Err(bad_attributes(name)),
                };
                *slot = true;
                any = true;
            }
        }
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
        if any { Ok(asked) } else { Err(S3Error::with(Code::InvalidRequest, message)) }
    }
}

fn bad_attributes(value: &str) -> S3Error {
    S3Error::argument("x-amz-object-attributes", value, "Invalid attribute name specified.")
}

pub(super) async fn get_object_attributes(call: Call<'_>) -> Result<Reply> {
    let asked = Asked::read(&call)?;
    let limit = headers::number(call.headers, "x-amz-max-parts")?.unwrap_or(LIST_KEYS_MAX as u64);
    let marker = headers::number(call.headers, "x-amz-part-number-marker")?.unwrap_or(0);
    let id = asked_version(call.query);
    let found = call.edge.store.open_version(call.bucket, call.key, id).await;
    // S3 wants both, the second because of what attributes tell of the bytes.
    let (attributes, bytes) = match id {
        None => (Action::GetObjectAttributes, Action::GetObject),
        Some(_) => (Action::GetObjectVersionAttributes, Action::GetObjectVersion),
    };
    let object = call.opened(attributes, found)?;
    let object = call.opened(bytes, Ok(object))?;
    conditions::of_read(call.headers)?.check_read(object.meta())?;
    let meta = object.meta();
    let mut w = XmlWriter::new();
    w.open_root("GetObjectAttributesResponse");
    if asked.etag {
        w.text("ETag", &etag_text(&meta.etag));
    }
    if let Some(checksum) = meta.checksum.as_ref().filter(|_| asked.checksum) {
        w.open("Checksum");
        // Without the number of parts that HeadObject adds to a composite one: S3 leaves it out here.
        let bare = Checksum { parts: 0, ..checksum.clone() };
        w.text(checksum.algorithm.element(), &checksum_text(&bare));
        w.text("ChecksumType", checksum.kind.name());
        w.close("Checksum");
    }
    if asked.parts && meta.etag.parts > 0 {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(LIST_KEYS_MAX);
        write_parts(&mut w, &object, marker, limit);
    }
    if asked.class {
        w.text("StorageClass", STANDARD);
    }
    if asked.size {
        w.number("ObjectSize", meta.size);
    }
    w.close("GetObjectAttributesResponse");
    let mut reply = xml(w.finish());
    reply.headers_mut().insert(LAST_MODIFIED, last_modified(meta.modified));
    version_header(reply.headers_mut(), object.version_id());
    Ok(reply)
}

fn write_parts(w: &mut XmlWriter, object: &Object, marker: u64, limit: usize) {
    let behind = || object.parts().iter().filter(|part| u64::from(part.number) > marker);
    let last = behind().take(limit).last();
    w.open("ObjectParts");
    w.number("PartsCount", object.parts().len() as u64);
    w.number("PartNumberMarker", marker);
    w.number("NextPartNumberMarker", last.map_or(0, |part| part.number.into()));
    w.number("MaxParts", limit as u64);
    w.boolean("IsTruncated", limit > 0 && behind().count() > limit);
    let composite = object.meta().checksum.as_ref().filter(|sum| sum.kind == ChecksumKind::Composite);
    for part in behind().take(limit) {
        w.open("Part");
        w.number("PartNumber", part.number.into());
        w.number("Size", part.size);
        if let (Some(whole), Some(value)) = (composite, &part.checksum) {
            let (algorithm, value) = (whole.algorithm, value.clone());
            let checksum = Checksum { algorithm, kind: ChecksumKind::FullObject, value, parts: 0 };
            w.text(algorithm.element(), &checksum_text(&checksum));
        }
        w.close("Part");
    }
    w.close("ObjectParts");
}
