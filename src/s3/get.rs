//! GetObject, HeadObject and GetObjectAttributes.
//!
//! What is read is decided before anything is read: conditions first, then range or part. A small
//! object is answered in one piece from memory; a larger one streams, and its first piece is read
//! before the answer begins, so that drives that fail are an error and not a torn answer.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, EXPIRES, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::body::Intake;
use super::conditions;
use super::error::{Code, Result, S3Error};
use super::expiration::expiration_header;
use super::headers::{self, RangeAsked};
use super::lock::lock_headers;
use super::response::{
    Body, Reply, Streaming, checksum_headers, empty, etag_value, object_headers, set, set_length, set_number,
};
use super::service::Call;
use super::tagging::count_header;
use super::versions::{asked_version, version_header};
use crate::base::limits::PART_NUMBER_MAX;
use crate::codec::date::{http_date, parse_http_date};
use crate::codec::policy::Action;
use crate::codec::uri::Query;
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ChecksumKind, ObjectMeta};
use crate::object::store::Object;

pub(super) async fn get_object(call: Call<'_>) -> Result<Reply> {
    let (object, found) = find(&call).await?;
    let mut reply = head(&call, &object, &found)?;
    *reply.body_mut() = read(call.intake, object, found.range).await?;
    Ok(reply)
}

pub(super) async fn head_object(call: Call<'_>) -> Result<Reply> {
    let (object, found) = find(&call).await?;
    let mut reply = head(&call, &object, &found)?;
    set_length(reply.headers_mut(), found.range.end - found.range.start);
    Ok(reply)
}

/// Which bytes are answered.
struct Selection {
    range: Range<u64>,
    /// 206 with Content-Range.
    partial: bool,
    /// Of a multipart object, when a part was asked for.
    parts: Option<u16>,
    /// That of the part.
    checksum: Option<Checksum>,
}

async fn find(call: &Call<'_>) -> Result<(Object, Selection)> {
    let conditions = conditions::of_read(call.headers)?;
    let id = asked_version(call.query);
    let action = id.map_or(Action::GetObject, |_| Action::GetObjectVersion);
    let found = call.edge.store.open_version(call.bucket, call.key, id).await;
    let object = call.opened(action, found)?;
    match conditions.check_read(object.meta()) {
        Err(ObjectError::NotModified) => return Err(not_modified(object.meta())),
        other => other?,
    }
    let selection = select(call, &object)?;
    Ok((object, selection))
}

/// 304 repeats what a cache needs to go on using its copy (RFC 9110 section 15.4.5).
pub(super) fn not_modified(meta: &ObjectMeta) -> S3Error {
    let mut error = S3Error::new(Code::NotModified)
        .header(ETAG, meta.etag.quoted())
        .header(LAST_MODIFIED, http_date(meta.modified).as_str());
    for (name, value) in [(CACHE_CONTROL, &meta.headers.cache_control), (EXPIRES, &meta.headers.expires)] {
        if let Some(value) = value {
            error = error.header(name, &**value);
        }
    }
    error
}

fn select(call: &Call<'_>, object: &Object) -> Result<Selection> {
    let size = object.meta().size;
    let range = call.headers.get(RANGE);
    if let Some(number) = part_number(call.query)? {
        if range.is_some() {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Err(S3Error::with(Code::InvalidRequest, message));
        }
        return select_part(object, number);
    }
    let whole = Selection { range: 0..size, partial: false, parts: None, checksum: None };
    let Some(range) = range.filter(|_| range_still_holds(call.headers, object.meta())) else {
        return Ok(whole);
    };
    match headers::range(range.to_str().unwrap_or(""), size) {
        RangeAsked::Whole => Ok(whole),
        RangeAsked::Part(range) => Ok(Selection { range, partial: true, parts: None, checksum: None }),
        RangeAsked::Unsatisfiable => Err(S3Error::new(Code::InvalidRange)
            .field("RangeRequested", range.to_str().unwrap_or(""))
            .field("ActualObjectSize", size.to_string())
            .header(CONTENT_RANGE, format!("bytes */{size}"))),
    }
}

fn select_part(object: &Object, number: u16) -> Result<Selection> {
    let (range, parts) = object.part(number).ok_or_else(|| {
        S3Error::new(Code::InvalidPartNumber).field("PartNumberRequested", number.to_string())
    })?;
    let multipart = object.meta().etag.parts > 0;
    // An empty range has no Content-Range form.
    let partial = range.start < range.end;
    let checksum = part_checksum(object, number);
    Ok(Selection { range, partial, parts: multipart.then_some(parts), checksum })
}

/// Parts have checksums of their own where that of the whole is made of them.
fn part_checksum(object: &Object, number: u16) -> Option<Checksum> {
    let whole = object.meta().checksum.as_ref().filter(|sum| sum.kind == ChecksumKind::Composite)?;
    let part = object.parts().get(usize::from(number).checked_sub(1)?)?;
    let (algorithm, kind, value) = (whole.algorithm, ChecksumKind::Composite, part.checksum.clone()?);
    Some(Checksum { algorithm, kind, value, parts: 0 })
}

fn part_number(query: &Query<'_>) -> Result<Option<u16>> {
    let Some(text) = query.get("partNumber") else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=PART_NUMBER_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(S3Error::argument(
            "partNumber",
            text,
            format!("Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"),
        )),
    }
}

/// If-Range (RFC 9110 section 13.1.5): the range counts only for the version the client knows.
fn range_still_holds(headers: &HeaderMap, meta: &ObjectMeta) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    if value.as_bytes().starts_with(b"\"") {
        return *value == etag_value(&meta.etag);
    }
    let date = value.to_str().ok().and_then(parse_http_date);
    date.is_some_and(|date| date.seconds() == meta.modified.seconds())
}

/// Status and headers, without the body and without its length, which follows from the body.
fn head(call: &Call<'_>, object: &Object, found: &Selection) -> Result<Reply> {
    let meta = object.meta();
    let mut reply = empty(if found.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let headers = reply.headers_mut();
    headers.reserve(16);
    object_headers(headers, meta);
    version_header(headers, object.version_id());
    count_header(headers, call, object);
    lock_headers(headers, call, object);
    if call.caller.is_anonymous() && call.query.pairs().iter().any(|pair| pair.name.starts_with("response-"))
    {
        let message = "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    // One that is asked for by its id may be an old one; where there are no versions it is not.
    if object.version_id().is_none() || asked_version(call.query).is_none() {
        expiration_header(headers, call, meta);
    }
    override_headers(headers, call.query)?;
    if found.partial {
        let (first, last) = (found.range.start, found.range.end - 1);
        set(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{}", meta.size));
    }
    if let Some(parts) = found.parts {
        set_number(headers, HeaderName::from_static("x-amz-mp-parts-count"), parts.into());
    }
    // A checksum of the whole says nothing about a range.
    let whole = found.range == (0..meta.size) && found.parts.is_none();
    let checksum = found.checksum.as_ref().or(meta.checksum.as_ref().filter(|_| whole));
    if let Some(checksum) = checksum.filter(|_| wants_checksum(call.headers)) {
        checksum_headers(headers, checksum);
    }
    Ok(reply)
}

fn wants_checksum(headers: &HeaderMap) -> bool {
    headers.get("x-amz-checksum-mode").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"ENABLED"))
}

/// The `response-*` parameters.
fn override_headers(headers: &mut HeaderMap, query: &Query<'_>) -> Result<()> {
    for pair in query.pairs() {
        let name = match pair.name.strip_prefix("response-") {
            Some("content-type") => CONTENT_TYPE,
            Some("content-language") => CONTENT_LANGUAGE,
            Some("expires") => EXPIRES,
            Some("cache-control") => CACHE_CONTROL,
            Some("content-disposition") => CONTENT_DISPOSITION,
            Some("content-encoding") => CONTENT_ENCODING,
            _ => continue,
        };
        let value = HeaderValue::from_bytes(pair.value.as_bytes())
            .map_err(|_| S3Error::argument(&pair.name, &pair.value, "A header cannot carry this value"))?;
        headers.insert(name, value);
    }
    Ok(())
}

async fn read(intake: &Intake, object: Object, range: Range<u64>) -> Result<Body> {
    let length = range.end - range.start;
    if length == 0 {
        return Ok(Body::Empty);
    }
    if let Some(whole) = object.small().await? {
        return Ok(Body::Full(slice(&whole, &range)?));
    }
    Box::pin(stream(intake, object, range)).await
}

/// Waits for the first bytes, so that an object that cannot be read is an error and no broken body.
async fn stream(intake: &Intake, object: Object, range: Range<u64>) -> Result<Body> {
    intake.begin_transfer()?;
    let length = range.end - range.start;
    let mut stream = object.stream(range);
    match stream.next().await {
        Some(first) => Ok(Body::Stream(Box::new(Streaming::new(first?, stream, length)))),
        None => Err(Code::InternalError.into()),
    }
}

fn slice(whole: &Bytes, range: &Range<u64>) -> Result<Bytes> {
    let at = |offset: u64| usize::try_from(offset).ok().filter(|offset| *offset <= whole.len());
    match (at(range.start), at(range.end)) {
        (Some(start), Some(end)) => Ok(whole.slice(start..end)),
        _ => Err(Code::InternalError.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Nanos;
    use crate::object::meta::{Attached, ETag, Headers};

    #[test]
    fn overrides_replace_stored_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let query =
            Query::parse("response-content-type=a%2Fb&response-content-disposition=x%3D%22y%22").unwrap();
        override_headers(&mut headers, &query).unwrap();
        assert_eq!(headers[CONTENT_TYPE], "a/b");
        assert_eq!(headers[CONTENT_DISPOSITION], "x=\"y\"");
        let split = Query::parse("response-expires=a%0D%0Ab").unwrap();
        assert_eq!(override_headers(&mut headers, &split).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn part_numbers() {
        let number = |text: &str| part_number(&Query::parse(text).unwrap()).map_err(|error| error.code());
        assert_eq!(number(""), Ok(None));
        assert_eq!(number("partNumber=10000"), Ok(Some(10_000)));
        for bad in ["partNumber=0", "partNumber=10001", "partNumber=-1", "partNumber=x", "partNumber="] {
            assert_eq!(number(bad), Err(Code::InvalidArgument), "{bad}");
        }
    }

    #[test]
    fn if_range_guards_a_range() {
        let meta = ObjectMeta {
            size: 1,
            modified: Nanos(784_111_777_500_000_000),
            etag: ETag { md5: [0xab; 16], parts: 0 },
            checksum: None,
            headers: Headers::default(),
            attached: Attached::default(),
        };
        let holds = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_RANGE, HeaderValue::from_str(value).unwrap());
            range_still_holds(&headers, &meta)
        };
        assert!(holds(&format!("\"{}\"", "ab".repeat(16))));
        assert!(!holds("\"other\"") && !holds("nonsense"));
        assert!(holds("Sun, 06 Nov 1994 08:49:37 GMT") && !holds("Sun, 06 Nov 1994 08:49:38 GMT"));
    }
}
