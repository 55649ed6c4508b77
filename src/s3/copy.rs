//! CopyObject and UploadPartCopy.
//!
//! The bytes go from a stream of the source into a Writer on this core. MD5 and checksum are taken
//! from the source where it has them for exactly these bytes, because the store verifies what it
//! reads; only what is missing is computed. A copy that takes long answers 200 with white space
//! while it works, as S3 does, so that clients do not give up; an error then comes in the body.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::access_log::{COPY_SOURCE, Note, PART_COPY_SOURCE};
use super::authorize::Site;
use super::body::{catch_up, hash_step};
use super::error::{Code, Place, Result, S3Error};
use super::expiration::expiration_header;
use super::facts::Said;
use super::headers;
use super::multipart::{named_algorithm, part_number, upload_id};
use super::put::{DEFAULT_CHECKSUM, attached, begin_transfer};
use super::response::{Reply, checksum_text, etag_text, late, set, xml};
use super::route::check_key;
use super::service::Call;
use super::settings::{charged_by, charged_header};
use super::versions::{SOURCE_VERSION_ID, version_header};
use super::{bucket, conditions, tagging};
use crate::base::limits::{BUFFER_LOOK_SECONDS, COPY_SILENCE_SECONDS_MAX, PUT_BYTES_MAX};
use crate::base::time::Nanos;
use crate::codec::checksum::{ChecksumAlgorithm, Digests};
use crate::codec::date::iso8601_ms;
use crate::codec::md5::Md5Lanes;
use crate::codec::policy::Action;
use crate::codec::uri::{decode_path, decode_query};
use crate::codec::xml::{self as documents, ChecksumText, CopyResult};
use crate::iam::rules::Rules;
use crate::object::decisions::events::Cause;
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ChecksumKind, ETag, Headers, ObjectMeta};
use crate::object::store::{Commit, Object, ObjectStream, Writer};

/// What `x-amz-copy-source` names.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    bucket: String,
    key: String,
    version: Option<String>,
}

impl Source {
    /// `[/]bucket/key[?versionId=id]`, percent-encoded as in a query: a `+` is a space, as S3 has it.
    fn read(value: &str) -> Result<Source> {
        let bad = || {
            let message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
            S3Error::argument("x-amz-copy-source", value, message)
        };
        let (path, version) = match value.split_once("?versionId=") {
            Some((path, version)) => (path, Some(decode_path(version).map_err(|_| bad())?.into_owned())),
            None => (value, None),
        };
        if version.as_deref() == Some("") {
            return Err(S3Error::argument("versionId", "", "Version id cannot be the empty string"));
        }
        if path.starts_with("arn:") {
            return Err(S3Error::not_implemented("access points"));
        }
        let path = decode_query(path).map_err(|_| bad())?;
        let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(bad)?;
        if !bucket::is_valid_name(bucket) || key.is_empty() {
            return Err(bad());
        }
        check_key(key)?;
        Ok(Source { bucket: bucket.to_owned(), key: key.to_owned(), version })
    }

    /// Reading it is a request of its own in the access log of its bucket. Tags that go along take rights of their own.
    /// Tells whether the caller pays for it, too.
    async fn open(&self, call: &Call<'_>, operation: &str, with_tags: bool) -> Result<(Object, bool)> {
        let rules = call.rules_of_source(&self.bucket).map_err(|error| match error.code() {
            Code::NoSuchBucket => error.field("BucketName", &*self.bucket),
            _ => error,
        })?;
        let opened = match charged_by(call, &rules) {
            Ok(is_charged) => self.find(call, &rules, with_tags).await.map(|object| (object, is_charged)),
            Err(refusal) => Err(refusal),
        };
        let code = opened.as_ref().err().map(S3Error::code);
        let object = opened.as_ref().ok().map(|(object, _)| object);
        let note = Note {
            bucket: &self.bucket,
            operation,
            key: &self.key,
            version: object.and_then(Object::version_id).or(self.version.as_deref()),
            status: code.map_or(StatusCode::OK, Code::status).as_u16(),
            error: code.map(Code::name),
            size: object.map(|object| object.meta().size),
        };
        call.note(&rules, &note);
        opened
    }

    fn site<'a>(&'a self, rules: &'a Rules) -> Site<'a> {
        let (bucket, key, version) = (&*self.bucket, &*self.key, self.version.as_deref());
        Site { rules, bucket, key, version, said: Said::Nothing }
    }

    async fn find(&self, call: &Call<'_>, rules: &Rules, with_tags: bool) -> Result<Object> {
        let version = self.version.as_deref();
        let site = self.site(rules);
        let found = call.edge.store.open_version(&self.bucket, &self.key, version).await;
        let marker = match &found {
            Err(ObjectError::DeleteMarker { named, .. }) => Some(*named),
            _ => None,
        };
        let action = version.map_or(Action::GetObject, |_| Action::GetObjectVersion);
        let object = call.opened_as(&site, action, found).map_err(|error| match (error.code(), marker) {
            (Code::AccessDenied, _) => error,
            (_, Some(true)) => S3Error::with(Code::InvalidRequest, MARKER_SOURCE),
            (_, Some(false)) | (Code::NoSuchKey, _) => S3Error::new(Code::NoSuchKey).field("Key", &*self.key),
            _ => error,
        })?;
        conditions::of_source(call.headers)?.check_source(object.meta())?;
        if with_tags && !object.meta().attached.tags.is_empty() {
            call.admit_copied_tags(&site, &object)?;
        }
        Ok(object)
    }
}

const MARKER_SOURCE: &str =
    "The source of a copy request may not specifically refer to a delete marker by version id.";

fn source(call: &Call<'_>) -> Result<Source> {
    Source::read(headers::text(call.headers, "x-amz-copy-source")?.unwrap_or(""))
}

pub(super) async fn copy_object(call: Call<'_>) -> Result<Reply> {
    let source = source(&call)?;
    let replace = replaces_metadata(&call)?;
    let redirect = headers::website_redirect(call.headers)?;
    // Copying an older version to the front is how it is restored.
    let restores = source.version.is_some() && is_versioned(&call)?;
    let changes =
        replace || restores || redirect.is_some() || call.headers.contains_key("x-amz-storage-class");
    if !changes && source.bucket == call.bucket && source.key == call.key {
        let message = "This copy request is illegal because it is trying to copy an object to itself without \
                       changing the object's metadata, storage class, website redirect location or encryption \
                       attributes.";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    let conditions = conditions::of_write(call.headers)?;
    let named = named_algorithm(call.headers)?;
    let replaced = if replace { Some(headers::stored(call.headers)?) } else { None };
    let mut attached = attached(&call)?;
    let origin = call.origin(Cause::Copy);
    let copies_tags = tagging::copies_tags(call.headers)?;
    let (object, is_charged) = source.open(&call, COPY_SOURCE, copies_tags).await?;
    call.trace.set_size(object.meta().size);
    if copies_tags {
        attached.tags.clone_from(&object.meta().attached.tags);
    }
    let source_version = object.version_id().map(str::to_owned);
    let size = object.meta().size;
    check_source_size(size)?;
    // A redirect is not copied along.
    let kept = || Headers { website_redirect: redirect, ..object.meta().headers.clone() };
    let headers = replaced.unwrap_or_else(kept);
    let sums = Sums::of_whole(object.meta(), named);
    call.look_for_place(Cause::Copy).await?;
    begin_transfer(call.intake, size)?;
    let writer = call.edge.store.put(call.bucket, call.key, Some(size)).await?;
    let lanes = call.edge.md5.clone();
    let work = async move {
        let (writer, digested) = transfer(object, 0..size, writer, sums, &lanes).await?;
        let etag = ETag { md5: digested.md5, parts: 0 };
        let commit = Commit { headers, etag, checksum: digested.checksum, attached, conditions, origin };
        let committed = writer.commit(commit).await?;
        let meta = committed.meta;
        let text = document(meta.modified, &meta.etag, meta.checksum.as_ref(), documents::copy_object);
        Ok((text, Some((meta, committed.version_id))))
    };
    answer(&call, source_version, is_charged, work).await
}

fn is_versioned(call: &Call<'_>) -> Result<bool> {
    Ok(call.edge.store.settings(call.bucket)?.settings.versioning.is_some())
}

fn replaces_metadata(call: &Call<'_>) -> Result<bool> {
    match headers::text(call.headers, "x-amz-metadata-directive")? {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => {
            Err(S3Error::argument("x-amz-metadata-directive", other, "Unknown metadata directive."))
        }
    }
}

pub(super) async fn upload_part_copy(call: Call<'_>) -> Result<Reply> {
    let (upload_id, number) = (upload_id(call.query), part_number(call.query)?);
    let source = source(&call)?;
    let asked = headers::text(call.headers, "x-amz-copy-source-range")?;
    // What no source could satisfy is told before one is looked for.
    let asked = asked.map(AskedRange::parse).transpose()?;
    let store = &call.edge.store;
    let upload = store.upload(call.bucket, call.key, upload_id).await?;
    let (object, is_charged) = source.open(&call, PART_COPY_SOURCE, false).await?;
    let source_version = object.version_id().map(str::to_owned);
    let size = object.meta().size;
    let range = match asked {
        Some(asked) => asked.within(size)?,
        None => 0..size,
    };
    check_source_size(range.end - range.start)?;
    call.trace.set_size(range.end - range.start);
    let wanted = upload.checksum.map(|(algorithm, _)| algorithm);
    let sums = match range == (0..size) {
        true => Sums::of_whole(object.meta(), wanted),
        false => Sums { md5: None, checksum: None, wanted: wanted.unwrap_or(DEFAULT_CHECKSUM) },
    };
    let length = range.end - range.start;
    begin_transfer(call.intake, length)?;
    let writer = store.upload_part(call.bucket, call.key, upload_id, number, Some(length)).await?;
    let lanes = call.edge.md5.clone();
    let work = async move {
        let (writer, digested) = transfer(object, range, writer, sums, &lanes).await?;
        let etag = ETag { md5: digested.md5, parts: 0 };
        let part = writer.commit_part(etag, digested.checksum).await?;
        Ok((document(part.modified, &part.etag, part.checksum.as_ref(), documents::copy_part), None))
    };
    answer(&call, source_version, is_charged, work).await
}

/// `bytes=first-last`, both there.
struct AskedRange<'t> {
    text: &'t str,
    first: u64,
    last: u64,
}

impl<'t> AskedRange<'t> {
    fn parse(text: &'t str) -> Result<Self> {
        let number =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        let bounds = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-'));
        let bounds = bounds.and_then(|(first, last)| Some((number(first)?, number(last)?)));
        let (first, last) = bounds.filter(|(first, last)| first <= last).ok_or_else(|| {
            let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and \
                           last are the zero-based offsets of the first and last bytes to copy";
            bad_range(text, message.to_owned())
        })?;
        Ok(AskedRange { text, first, last })
    }

    fn within(self, size: u64) -> Result<Range<u64>> {
        if self.last >= size {
            let message = format!("Range specified is not valid for source object of size: {size}");
            return Err(bad_range(self.text, message));
        }
        Ok(self.first..self.last + 1)
    }
}

fn bad_range(text: &str, message: String) -> S3Error {
    S3Error::argument("x-amz-copy-source-range", text, message)
}

fn check_source_size(size: u64) -> Result<()> {
    if size <= PUT_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
    );
    Err(S3Error::with(Code::InvalidRequest, message))
}

/// What is known of the bytes before they are read, and what is wanted of them.
struct Sums {
    md5: Option<[u8; 16]>,
    checksum: Option<Checksum>,
    wanted: ChecksumAlgorithm,
}

impl Sums {
    /// The ETag of a plain object is its MD5; a full-object checksum is that of the same bytes. A copy
    /// keeps the algorithm of its source unless another is named.
    fn of_whole(meta: &ObjectMeta, named: Option<ChecksumAlgorithm>) -> Sums {
        let kept = meta.checksum.as_ref();
        let wanted = named.or(kept.map(|sum| sum.algorithm)).unwrap_or(DEFAULT_CHECKSUM);
        let same = |sum: &&Checksum| sum.algorithm == wanted && sum.kind == ChecksumKind::FullObject;
        Sums {
            md5: (meta.etag.parts == 0).then_some(meta.etag.md5),
            checksum: kept.filter(same).cloned(),
            wanted,
        }
    }
}

/// The digests of what was copied.
struct Copied {
    md5: [u8; 16],
    checksum: Option<Checksum>,
}

async fn transfer(
    object: Object,
    range: Range<u64>,
    mut writer: Writer,
    sums: Sums,
    lanes: &Md5Lanes,
) -> Result<(Writer, Copied)> {
    let length = range.end - range.start;
    let wanted = sums.checksum.is_none().then_some(sums.wanted);
    let mut digests = Digests::new(sums.md5.is_none().then_some(lanes), false, wanted);
    let mut stream = object.stream(range);
    while let Some(mut piece) = next_piece(&mut stream, &writer).await? {
        while !piece.is_empty() {
            writer.write(hash_step(&mut piece, &mut digests).await).await?;
        }
    }
    if writer.len() != length {
        return Err(Code::InternalError.into());
    }
    drop(stream);
    let writer = writer.settle().await?;
    catch_up(&mut digests).await;
    let values = digests.finish();
    let md5 = sums.md5.or(values.md5).expect("the MD5 is known or computed");
    Ok((writer, Copied { md5, checksum: sums.checksum.or(values.checksum.map(Checksum::of_whole)) }))
}

/// The next bytes of the source. Copies that all hold memory for writing while they wait for some to read with would
/// wait for ever: one whose memory others want gives it up, as a slow client does.
async fn next_piece(stream: &mut ObjectStream, writer: &Writer) -> Result<Option<Bytes>> {
    let is_wanted = async {
        loop {
            tokio::time::sleep(Duration::from_secs(BUFFER_LOOK_SECONDS)).await;
            if writer.gives_way() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        piece = stream.next() => Ok(piece.transpose()?),
        () = is_wanted => Err(Code::SlowDown.into()),
    }
}

fn document(
    modified: Nanos,
    etag: &ETag,
    checksum: Option<&Checksum>,
    write: impl Fn(&CopyResult<'_>) -> Vec<u8>,
) -> Vec<u8> {
    let value = checksum.map(checksum_text);
    let text = checksum.zip(value.as_deref());
    write(&CopyResult {
        last_modified: &iso8601_ms(modified),
        etag: &etag_text(etag),
        checksum: text.map(|(sum, value)| ChecksumText { algorithm: sum.algorithm, value }),
        checksum_type: checksum.map(|sum| sum.kind),
    })
}

/// What a copy has made: an object and the id of its version, but for a part.
type Made = Option<(ObjectMeta, Option<String>)>;

/// Waits for the work in silence for a while, then answers while it goes on. The work gives the
/// document and the version it made, if it made one, which headers can only tell of an answer that waited.
async fn answer(
    call: &Call<'_>,
    source_version: Option<String>,
    is_charged: bool,
    work: impl Future<Output = Result<(Vec<u8>, Made)>> + 'static,
) -> Result<Reply> {
    let mut work = Box::pin(work);
    let silence = Duration::from_secs(COPY_SILENCE_SECONDS_MAX);
    let mut reply = match tokio::time::timeout(silence, &mut work).await {
        Ok(result) => {
            let (document, made) = result?;
            let mut reply = xml(document);
            if let Some((meta, version)) = made {
                version_header(reply.headers_mut(), version.as_deref());
                expiration_header(reply.headers_mut(), call, &meta);
            }
            reply
        }
        Err(_) => answer_late(call, silence, work),
    };
    if let Some(id) = source_version {
        set(reply.headers_mut(), SOURCE_VERSION_ID, &id);
    }
    charged_header(reply.headers_mut(), is_charged);
    Ok(reply)
}

fn answer_late(
    call: &Call<'_>,
    silence: Duration,
    work: impl Future<Output = Result<(Vec<u8>, Made)>> + 'static,
) -> Reply {
    let (resource, request_id) = (call.path.to_owned(), call.request_id.to_owned());
    let (bucket, key) = (call.bucket.to_owned(), call.key.to_owned());
    let host_id = call.edge.settings.host_id.clone();
    let document = async move {
        work.await.map(|(document, _)| document).unwrap_or_else(|error| {
            error.to_xml(&Place {
                resource: &resource,
                bucket: Some(&bucket),
                key: Some(&key),
                version: None,
                method: "PUT",
                request_id: &request_id,
                host_id: &host_id,
            })
        })
    };
    late(document, silence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let read = |value: &str| Source::read(value).map_err(|error| error.code());
        let at = |bucket: &str, key: &str, version: Option<&str>| {
            Ok(Source { bucket: bucket.into(), key: key.into(), version: version.map(str::to_owned) })
        };
        let of = |bucket: &str, key: &str| at(bucket, key, None);
        assert_eq!(read("buck/key"), of("buck", "key"));
        assert_eq!(read("/buck/a//b%20%C3%BC%3F"), of("buck", "a//b ü?"));
        assert_eq!(read("buck%2Fkey"), of("buck", "key"));
        assert_eq!(read("buck/a+b%2Bc"), of("buck", "a b+c"));
        assert_eq!(read("buck/key?versionId=null"), at("buck", "key", Some("null")));
        assert_eq!(read("buck/key?versionId="), Err(Code::InvalidArgument));
        assert_eq!(read("arn:aws:s3:us-east-1:1:accesspoint/a/object/k"), Err(Code::NotImplemented));
        for bad in ["", "buck", "buck/", "/", "BAD/key", "buck/%zz"] {
            assert_eq!(read(bad), Err(Code::InvalidArgument), "{bad}");
        }
    }

    fn copied_range(text: &str, size: u64) -> Result<Range<u64>> {
        AskedRange::parse(text)?.within(size)
    }

    #[test]
    fn ranges_of_a_source_are_exact() {
        assert_eq!(copied_range("bytes=0-9", 10).unwrap(), 0..10);
        assert_eq!(copied_range("bytes=9-9", 10).unwrap(), 9..10);
        for bad in [
            "bytes=0-10",
            "bytes=5-4",
            "bytes=-5",
            "bytes=5-",
            "0-5",
            "bytes=+0-5",
            "bytes=0-18446744073709551615",
        ] {
            assert_eq!(copied_range(bad, 10).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn known_sums_are_not_computed_again() {
        let value = vec![7; 8];
        let algorithm = ChecksumAlgorithm::Crc64Nvme;
        let mut meta = ObjectMeta {
            size: 1,
            modified: Nanos(0),
            etag: ETag { md5: [1; 16], parts: 0 },
            checksum: Some(Checksum { algorithm, kind: ChecksumKind::FullObject, value, parts: 0 }),
            ..ObjectMeta::default()
        };
        let sums = Sums::of_whole(&meta, None);
        assert!(sums.md5.is_some() && sums.checksum.is_some());
        let sums = Sums::of_whole(&meta, Some(ChecksumAlgorithm::Sha256));
        assert!(sums.checksum.is_none() && sums.wanted == ChecksumAlgorithm::Sha256);
        meta.etag.parts = 2;
        assert!(Sums::of_whole(&meta, None).md5.is_none());
    }
}
