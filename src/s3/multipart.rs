//! The multipart family: Create, UploadPart, Complete, Abort, ListParts, ListMultipartUploads.
//! UploadPartCopy is in `copy`.
//!
//! An upload has one checksum algorithm from its creation on; parts are hashed with it whatever the
//! client sends along, so that the checksum of the whole can be made from theirs without reading a
//! byte. A client that names none gets what AWS gives: CRC64NVME of the full object.

use http::StatusCode;
use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue};

use super::body::Promise;
use super::error::{Code, Result, S3Error};
use super::expiration::{abort_headers, expiration_header};
use super::list::{Options, Owners, STANDARD, page_limit};
use super::put::{DEFAULT_CHECKSUM, attached, begin_transfer, check_size, fill};
use super::response::{Reply, checksum_headers, checksum_text, empty, etag_text, etag_value, xml};
use super::service::{Call, location};
use super::versions::version_header;
use super::{conditions, headers};
use crate::base::limits::PART_NUMBER_MAX;
use crate::base::rest::rest;
use crate::codec::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use crate::codec::date::iso8601_ms;
use crate::codec::uri::Query;
use crate::codec::xml::{
    self as documents, ChecksumText, CompleteMultipartUploadResult, CompletedPart,
    InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult, Owner, PartEntry,
    UploadEntry as UploadText, parse_complete_multipart_upload,
};
use crate::iam::Caller;
use crate::object::decisions::events::Cause;
use crate::object::meta::{Checksum as StoredChecksum, ETag};
use crate::object::store::{
    Complete, Initiator, NewUpload, PartClaim, PartPage, UploadEntry, UploadInfo, UploadPage, UploadQuery,
    is_upload_id,
};

const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-checksum-algorithm");
const TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

// ---- Create ----

pub(super) async fn create(call: Call<'_>) -> Result<Reply> {
    for name in ["if-match", "if-none-match"] {
        if call.headers.contains_key(name) {
            return Err(S3Error::not_implemented(name));
        }
    }
    let stored = headers::stored(call.headers)?;
    let (algorithm, kind) = checksum_of_upload(call.headers)?;
    let initiator = match call.caller {
        Caller::User(user) => Some(Initiator { id: user.value.id.clone(), arn: user.arn.clone() }),
        _ => None,
    };
    // Anonymous callers are refused before.
    let owner = call.caller.canonical().ok_or(Code::AccessDenied)?;
    let new = NewUpload {
        owner: owner.to_owned(),
        initiator,
        headers: stored,
        checksum: Some((algorithm, kind)),
        attached: attached(&call)?,
    };
    let upload = call.edge.store.create_upload(call.bucket, call.key, new).await?;
    let (bucket, key, upload_id) = (call.bucket, call.key, &*upload.upload_id);
    let result = InitiateMultipartUploadResult { bucket, key, upload_id };
    let mut reply = xml(documents::initiate_multipart_upload(&result));
    reply.headers_mut().insert(ALGORITHM, HeaderValue::from_static(algorithm.name()));
    reply.headers_mut().insert(TYPE, HeaderValue::from_static(kind.name()));
    abort_headers(reply.headers_mut(), &call, upload.initiated);
    Ok(reply)
}

/// The algorithm and type an upload is created with.
fn checksum_of_upload(headers: &HeaderMap) -> Result<(ChecksumAlgorithm, ChecksumType)> {
    let algorithm = named_algorithm(headers)?;
    let kind = named_type(headers)?;
    if algorithm.is_none() && kind.is_some() {
        let message =
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    let chosen = algorithm.unwrap_or(DEFAULT_CHECKSUM);
    let kind = kind.unwrap_or(chosen.default_type());
    if !chosen.allows(kind) {
        let (kind, chosen) = (kind.name(), chosen.name());
        let message =
            format!("The {kind} checksum type cannot be used with the {chosen} checksum algorithm.");
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    Ok((chosen, kind))
}

/// `x-amz-checksum-algorithm`.
pub(super) fn named_algorithm(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>> {
    let Some(name) = headers::text(headers, ALGORITHM.as_str())? else { return Ok(None) };
    let message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                   [CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128]";
    let algorithm = ChecksumAlgorithm::parse(name);
    algorithm.map(Some).ok_or_else(|| S3Error::with(Code::InvalidRequest, message))
}

fn named_type(headers: &HeaderMap) -> Result<Option<ChecksumType>> {
    let Some(name) = headers::text(headers, TYPE.as_str())? else { return Ok(None) };
    let message = "Value for x-amz-checksum-type header is invalid.";
    ChecksumType::parse(name).map(Some).ok_or_else(|| S3Error::with(Code::InvalidRequest, message))
}

// ---- Parts ----

pub(super) fn upload_id<'q>(query: &'q Query<'_>) -> &'q str {
    query.get("uploadId").unwrap_or("")
}

pub(super) fn part_number(query: &Query<'_>) -> Result<u16> {
    let text = query.get("partNumber").unwrap_or("");
    text.parse().ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number)).ok_or_else(|| {
        let message = format!("Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive");
        S3Error::argument("partNumber", text, message)
    })
}

pub(super) async fn upload_part(mut call: Call<'_>) -> Result<Reply> {
    let (upload_id, number) = (upload_id(call.query), part_number(call.query)?);
    let promise = call.promise()?;
    let size = promise.size_needed()?;
    check_size(size)?;
    begin_transfer(call.intake, size)?;
    let store = &call.edge.store;
    let upload = store.upload(call.bucket, call.key, upload_id).await?;
    let wanted = algorithm_of_part(&upload, &promise)?;
    let is_asked = promise.algorithm().is_some();
    let mut writer = store.upload_part(call.bucket, call.key, upload_id, number, Some(size)).await?;
    let mut payload = call.payload(promise, wanted);
    fill(&mut writer, &mut payload).await?;
    let writer = writer.settle().await?;
    let digested = payload.finish().await?;
    let etag = ETag { md5: digested.md5, parts: 0 };
    let sent = digested.checksum.map(StoredChecksum::of_whole);
    let kept = digested.wanted.map(StoredChecksum::of_whole).or_else(|| sent.clone());
    let part = writer.commit_part(etag, kept).await?;
    let mut reply = empty(StatusCode::OK);
    reply.headers_mut().insert(ETAG, etag_value(&part.etag));
    // One that the client did not send is kept for the whole, and not told.
    if let Some(sent) = sent.filter(|_| is_asked) {
        checksum_headers(reply.headers_mut(), &sent);
        // Only whole objects have a type.
        reply.headers_mut().remove(TYPE);
    }
    Ok(reply)
}

/// What a part must be hashed with. CRC64NVME may be the choice of this server and not of the
/// client, so a part may then bring another; otherwise it must be the upload's. A checksum that is made of
/// those of the parts needs them from the client.
fn algorithm_of_part(upload: &UploadInfo, promise: &Promise) -> Result<Option<ChecksumAlgorithm>> {
    let Some((wanted, kind)) = upload.checksum else { return Ok(None) };
    let fits = match promise.algorithm() {
        Some(sent) => sent == wanted || wanted == DEFAULT_CHECKSUM,
        None => kind == ChecksumType::FullObject,
    };
    if fits {
        return Ok(Some(wanted));
    }
    let wanted = wanted.name().to_lowercase();
    let sent = promise.algorithm().map_or("null".to_owned(), |sent| sent.name().to_lowercase());
    let message = format!(
        "Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual checksum Type: {sent}"
    );
    Err(S3Error::with(Code::InvalidRequest, message))
}

// ---- Complete and abort ----

pub(super) async fn complete(mut call: Call<'_>) -> Result<Reply> {
    let conditions = conditions::of_write(call.headers)?;
    let upload_id = upload_id(call.query);
    let origin = call.origin(Cause::Plain);
    let promise = call.promise_of_document()?;
    let claimed = claimed_checksum(call.headers)?;
    let kind = named_type(call.headers)?;
    let size = claimed_size(call.headers)?;
    if let Some((claimed, _)) = &claimed {
        let upload = call.edge.store.upload(call.bucket, call.key, upload_id).await?;
        check_claimed(&upload, claimed)?;
    }
    let document = call.payload(promise, None).document().await?;
    let request = parse_complete_multipart_upload(&document, rest).await?;
    drop(document);
    let parts = request.parts.into_iter().map(claim).collect::<Result<Vec<_>>>()?;
    if claimed.as_ref().and_then(|(_, counted)| *counted).is_some_and(|counted| counted != parts.len()) {
        return Err(Code::BadDigest.into());
    }
    let checksum = claimed.map(|(checksum, _)| (checksum.algorithm(), checksum.bytes().to_vec()));
    let complete = Complete { parts, conditions, checksum, kind, size, origin };
    let store = &call.edge.store;
    let committed = store.complete_upload(call.bucket, call.key, upload_id, complete).await?;
    let meta = committed.meta;
    let value = meta.checksum.as_ref().map(checksum_text);
    let checksum = meta.checksum.as_ref().zip(value.as_deref());
    let document = documents::complete_multipart_upload(&CompleteMultipartUploadResult {
        location: &location(&call),
        bucket: call.bucket,
        key: call.key,
        etag: &etag_text(&meta.etag),
        checksum: checksum.map(|(sum, value)| ChecksumText { algorithm: sum.algorithm, value }),
        checksum_type: meta.checksum.as_ref().map(|checksum| checksum.kind),
    });
    let mut reply = xml(document);
    version_header(reply.headers_mut(), committed.version_id.as_deref());
    expiration_header(reply.headers_mut(), &call, &meta);
    Ok(reply)
}

/// The size that the object is to have.
fn claimed_size(headers: &HeaderMap) -> Result<Option<u64>> {
    const SIZE: &str = "x-amz-mp-object-size";
    match headers::text(headers, SIZE)? {
        Some(text) if text.starts_with('-') => {
            let message = format!("Value for {SIZE} header is less than zero: '{text}'");
            Err(S3Error::with(Code::InvalidRequest, message))
        }
        _ => headers::number(headers, SIZE),
    }
}

/// The checksum that the object is to have. A composite one may come with its number of parts.
fn claimed_checksum(headers: &HeaderMap) -> Result<Option<(Checksum, Option<usize>)>> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(text) = headers::text(headers, algorithm.header())? else { continue };
        let invalid = || {
            let message = format!("Value for {} header is invalid.", algorithm.header());
            S3Error::with(Code::InvalidRequest, message)
        };
        let (value, parts) = text.split_once('-').map_or((text, None), |(value, parts)| (value, Some(parts)));
        let counted = parts.map(|parts| number_of_parts(parts).ok_or_else(invalid)).transpose()?;
        let value = Checksum::from_base64(algorithm, value).map_err(|_| invalid())?;
        if found.replace((value, counted)).is_some() {
            return Err(S3Error::with(Code::InvalidRequest, ONE_CHECKSUM));
        }
    }
    Ok(found)
}

fn number_of_parts(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|parts| is_number && *parts > 0)
}

const PART_CHECKSUM: &str = "Invalid Base64 or multiple checksums present in request";
const ONE_CHECKSUM: &str = "Expecting a single checksum. Multiple checksum Types are not allowed.";

/// A checksum of another algorithm than the upload's could not be compared with anything.
fn check_claimed(upload: &UploadInfo, claimed: &Checksum) -> Result<()> {
    match upload.checksum {
        Some((wanted, _)) if wanted != claimed.algorithm() => {
            let message = format!(
                "The upload was created using a {} checksum. The complete request must use the same.",
                wanted.name().to_lowercase()
            );
            Err(S3Error::with(Code::InvalidRequest, message))
        }
        _ => Ok(()),
    }
}

fn claim(part: CompletedPart) -> Result<PartClaim> {
    let number = u16::try_from(part.part_number).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    let number = number.ok_or_else(|| {
        let message = format!("PartNumber must be >= 1 and <= {PART_NUMBER_MAX}");
        S3Error::argument("PartNumber", &part.part_number.to_string(), message)
    })?;
    if part.checksums.len() > 1 {
        return Err(S3Error::with(Code::InvalidArgument, PART_CHECKSUM));
    }
    let checksum = part.checksums.first().map(|sum| (sum.algorithm(), sum.bytes().to_vec()));
    Ok(PartClaim { number, etag: part.etag, checksum })
}

pub(super) async fn abort(call: Call<'_>) -> Result<Reply> {
    let (store, id) = (&call.edge.store, upload_id(call.query));
    if let Some(begun) = conditions::initiated_time(call.headers)? {
        // When an upload began never changes, so that it may be looked at before.
        let upload = store.upload(call.bucket, call.key, id).await?;
        if upload.initiated.seconds() != begun {
            return Err(Code::PreconditionFailed.into());
        }
    }
    store.abort_upload(call.bucket, call.key, id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

// ---- Listings ----

pub(super) async fn list_parts(mut call: Call<'_>) -> Result<Reply> {
    let limit = page_limit(call.query, "max-parts")?;
    call.lists(limit).await?;
    let marker = part_marker(call.query)?;
    let id = upload_id(call.query);
    let page = call.edge.store.list_parts(call.bucket, call.key, id, marker, limit).await?;
    let mut reply = xml(parts_document(&call, &page, marker, limit));
    abort_headers(reply.headers_mut(), &call, page.upload.initiated);
    Ok(reply)
}

/// A marker behind the last part there can be is a marker behind the last part.
fn part_marker(query: &Query<'_>) -> Result<u16> {
    let Some(text) = query.get("part-number-marker").filter(|text| !text.is_empty()) else { return Ok(0) };
    let marker: u32 = text.parse().map_err(|_| {
        S3Error::argument(
            "part-number-marker",
            text,
            "Provided part-number-marker not an integer or within integer range",
        )
    })?;
    Ok(u16::try_from(marker).unwrap_or(PART_NUMBER_MAX).min(PART_NUMBER_MAX))
}

fn parts_document(call: &Call<'_>, page: &PartPage, marker: u16, limit: usize) -> Vec<u8> {
    let texts: Vec<_> = page
        .parts
        .iter()
        .map(|part| {
            let checksum = part.checksum.as_ref().map(|sum| (sum.algorithm, checksum_text(sum)));
            (iso8601_ms(part.modified), etag_text(&part.etag), checksum)
        })
        .collect();
    let entries: Vec<PartEntry<'_>> = page
        .parts
        .iter()
        .zip(&texts)
        .map(|(part, (modified, etag, checksum))| PartEntry {
            part_number: part.number.into(),
            last_modified: modified,
            etag,
            size: part.size,
            checksum: checksum
                .as_ref()
                .map(|(algorithm, value)| ChecksumText { algorithm: *algorithm, value }),
        })
        .collect();
    let owners = Owners::new(call, std::iter::once(&*page.upload.owner));
    documents::list_parts(&ListPartsResult {
        bucket: call.bucket,
        key: call.key,
        upload_id: &page.upload.upload_id,
        initiator: initiator(&page.upload, &owners),
        owner: owners.of(Some(&page.upload.owner)),
        storage_class: STANDARD,
        checksum: page.upload.checksum,
        part_number_marker: marker.into(),
        next_part_number_marker: page.parts.last().map_or(0, |part| part.number.into()),
        max_parts: limit as u64,
        is_truncated: page.truncated,
        parts: &entries,
    })
}

/// A user goes by ARN and name, a root as its account.
fn initiator<'a>(upload: &'a UploadInfo, owners: &'a Owners<'_>) -> Owner<'a> {
    match &upload.initiator {
        Some(user) => Owner { id: &user.arn, display_name: user.arn.rsplit('/').next().unwrap_or("") },
        None => owners.of(Some(&upload.owner)),
    }
}

pub(super) async fn list_uploads(mut call: Call<'_>) -> Result<Reply> {
    let options = Options::read(call.query, "max-uploads")?;
    call.lists(options.limit).await?;
    let key_marker = call.query.get("key-marker").unwrap_or("");
    // S3 ignores an upload marker without a key marker, and documents it.
    let upload_id_marker =
        call.query.get("upload-id-marker").filter(|_| !key_marker.is_empty()).unwrap_or("");
    if !upload_id_marker.is_empty() && !is_upload_id(upload_id_marker) {
        return Err(S3Error::argument("upload-id-marker", upload_id_marker, "Invalid uploadId marker"));
    }
    let page = call
        .edge
        .store
        .list_uploads(UploadQuery {
            bucket: call.bucket.to_owned(),
            prefix: options.prefix.to_owned(),
            delimiter: options.delimiter.unwrap_or("").to_owned(),
            key_marker: key_marker.to_owned(),
            upload_id_marker: upload_id_marker.to_owned(),
            limit: options.limit,
        })
        .await?;
    Ok(xml(uploads_document(&call, &options, &page, (key_marker, upload_id_marker)).await))
}

async fn uploads_document(
    call: &Call<'_>,
    options: &Options<'_>,
    page: &UploadPage,
    markers: (&str, &str),
) -> Vec<u8> {
    let uploads = || {
        page.entries.iter().filter_map(|entry| match entry {
            UploadEntry::Upload(upload) => Some(upload),
            UploadEntry::Prefix(_) => None,
        })
    };
    let owners = Owners::new(call, uploads().map(|upload| &*upload.owner));
    let dates: Vec<_> = uploads().map(|upload| iso8601_ms(upload.initiated)).collect();
    let entries: Vec<UploadText<'_>> = uploads()
        .zip(&dates)
        .map(|(upload, date)| UploadText {
            key: &upload.key,
            upload_id: &upload.upload_id,
            initiated: date,
            initiator: initiator(upload, &owners),
            owner: owners.of(Some(&upload.owner)),
            storage_class: STANDARD,
            checksum: upload.checksum,
        })
        .collect();
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        UploadEntry::Prefix(prefix) => Some(&**prefix),
        UploadEntry::Upload(_) => None,
    });
    let prefixes: Vec<&str> = prefixes.collect();
    let next = page.entries.last().filter(|_| page.truncated).map(|entry| match entry {
        UploadEntry::Upload(upload) => (&*upload.key, &*upload.upload_id),
        UploadEntry::Prefix(prefix) => (&**prefix, ""),
    });
    let result = ListMultipartUploadsResult {
        bucket: call.bucket,
        prefix: options.prefix,
        delimiter: options.delimiter,
        key_marker: markers.0,
        upload_id_marker: markers.1,
        next_key_marker: next.map(|(key, _)| key),
        next_upload_id_marker: next.map(|(_, id)| id),
        max_uploads: options.limit as u64,
        is_truncated: page.truncated,
        url_encoded: options.url_encoded,
        uploads: &entries,
        common_prefixes: &prefixes,
    };
    documents::list_multipart_uploads(&result, rest).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_checksum_of_an_upload() {
        use ChecksumAlgorithm::*;
        use ChecksumType::*;
        let of = |pairs: &[_]| checksum_of_upload(&headers(pairs)).map_err(|error| error.code());
        assert_eq!(of(&[]), Ok((Crc64Nvme, FullObject)));
        assert_eq!(of(&[("x-amz-checksum-algorithm", "CRC32")]), Ok((Crc32, Composite)));
        let full = ("x-amz-checksum-type", "FULL_OBJECT");
        assert_eq!(of(&[("x-amz-checksum-algorithm", "CRC32"), full]), Ok((Crc32, FullObject)));
        assert_eq!(of(&[("x-amz-checksum-algorithm", "SHA256"), full]), Err(Code::InvalidRequest));
        let composite = ("x-amz-checksum-type", "COMPOSITE");
        assert_eq!(of(&[("x-amz-checksum-algorithm", "CRC64NVME"), composite]), Err(Code::InvalidRequest));
        assert_eq!(of(&[("x-amz-checksum-algorithm", "MD4")]), Err(Code::InvalidRequest));
        assert_eq!(of(&[full]), Err(Code::InvalidRequest));
    }

    #[test]
    fn a_composite_claim_may_name_its_parts() {
        let with = claimed_checksum(&headers(&[("x-amz-checksum-crc32", "AAAAAA==-3")])).unwrap();
        let without = claimed_checksum(&headers(&[("x-amz-checksum-crc32", "AAAAAA==")])).unwrap();
        assert_eq!(with.as_ref().and_then(|(_, counted)| *counted), Some(3));
        assert_eq!(with.map(|(sum, _)| (sum, None)), without);
        for wrong in ["AAAAAA==-0", "AAAAAA==-3a", "AAAAAA==--3", "AAAAAA==-+3", "AAAAAA==-", "AAAAA==-3"] {
            let refused = claimed_checksum(&headers(&[("x-amz-checksum-crc32", wrong)])).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidRequest, "{wrong}");
        }
        let two = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")];
        assert_eq!(claimed_checksum(&headers(&two)).unwrap_err().code(), Code::InvalidRequest);
    }

    #[test]
    fn part_numbers_and_markers() {
        let number = |text: &str| part_number(&Query::parse(text).unwrap()).map_err(|error| error.code());
        assert_eq!(number("partNumber=10000"), Ok(10_000));
        for bad in ["partNumber=0", "partNumber=10001", "partNumber=", "partNumber=1x"] {
            assert_eq!(number(bad), Err(Code::InvalidArgument), "{bad}");
        }
        let marker = |text: &str| part_marker(&Query::parse(text).unwrap()).map_err(|error| error.code());
        assert_eq!(marker(""), Ok(0));
        assert_eq!(marker("part-number-marker=70000"), Ok(PART_NUMBER_MAX));
        assert_eq!(marker("part-number-marker=-1"), Err(Code::InvalidArgument));
    }

    #[test]
    fn claims_outside_the_numbers_of_parts_are_refused() {
        let part = |part_number| CompletedPart { part_number, etag: "e".into(), checksums: Vec::new() };
        assert_eq!(claim(part(3)).unwrap().number, 3);
        assert_eq!(claim(part(0)).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(claim(part(70_000)).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(claim(part(-4)).unwrap_err().code(), Code::InvalidArgument);
    }
}
