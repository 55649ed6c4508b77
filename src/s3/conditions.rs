//! Conditional headers: from HTTP to `object::decisions::condition`.
//!
//! Pure. Dates of RFC 9110 that cannot be read are ignored, as its section 13.1.3 asks; the time of
//! a deletion is S3's own and is refused then, because ignoring it would delete. Entity tags are
//! taken as they come. What a write cannot honour is refused, not ignored: S3 has no
//! If-Modified-Since on writes and only `*` for If-None-Match there.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};

use super::error::{Code, Result, S3Error};
use super::headers;
use crate::base::time::Nanos;
use crate::codec::date::{parse_http_date, parse_iso8601};
use crate::codec::xml::DeleteObject;
use crate::object::decisions::condition::{Conditions, TagMatch};

/// Of GetObject and HeadObject.
pub(super) fn of_read(headers: &HeaderMap) -> Result<Conditions> {
    Ok(Conditions {
        if_match: tags(headers, IF_MATCH.as_str())?,
        if_none_match: tags(headers, IF_NONE_MATCH.as_str())?,
        if_modified_since: seconds(headers, IF_MODIFIED_SINCE.as_str()),
        if_unmodified_since: seconds(headers, IF_UNMODIFIED_SINCE.as_str()),
        ..Conditions::default()
    })
}

/// Of CopyObject and UploadPartCopy, on what is copied.
pub(super) fn of_source(headers: &HeaderMap) -> Result<Conditions> {
    Ok(Conditions {
        if_match: tags(headers, "x-amz-copy-source-if-match")?,
        if_none_match: tags(headers, "x-amz-copy-source-if-none-match")?,
        if_modified_since: seconds(headers, "x-amz-copy-source-if-modified-since"),
        if_unmodified_since: seconds(headers, "x-amz-copy-source-if-unmodified-since"),
        ..Conditions::default()
    })
}

/// Of PutObject, CopyObject and CompleteMultipartUpload, on what is replaced.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Conditions> {
    refuse_dates(headers)?;
    let if_match = tags(headers, IF_MATCH.as_str())?;
    let if_none_match = tags(headers, IF_NONE_MATCH.as_str())?;
    if matches!(if_none_match, Some(TagMatch::Tags(_))) {
        return Err(S3Error::not_implemented("If-None-Match with an entity tag on a write"));
    }
    if if_match.is_some() && if_none_match.is_some() {
        return Err(S3Error::not_implemented("If-Match together with If-None-Match"));
    }
    Ok(Conditions { if_match, if_none_match, ..Conditions::default() })
}

/// Of DeleteObject.
pub(super) fn of_delete(headers: &HeaderMap) -> Result<Conditions> {
    refuse_dates(headers)?;
    if headers.contains_key(IF_NONE_MATCH) {
        return Err(S3Error::not_implemented(IF_NONE_MATCH.as_str()));
    }
    Ok(Conditions {
        if_match: tags(headers, IF_MATCH.as_str())?,
        if_match_modified: exact_seconds(headers, "x-amz-if-match-last-modified-time")?,
        if_match_size: headers::number(headers, "x-amz-if-match-size")?,
        ..Conditions::default()
    })
}

/// Of AbortMultipartUpload: the second in which the upload has to have begun.
pub(super) fn initiated_time(headers: &HeaderMap) -> Result<Option<u64>> {
    exact_seconds(headers, "x-amz-if-match-initiated-time")
}

/// Of an entry of DeleteObjects.
pub(super) fn of_entry(object: &DeleteObject) -> Conditions {
    Conditions {
        if_match: object.etag.as_deref().map(TagMatch::parse),
        if_match_modified: object.last_modified.map(Nanos::seconds),
        if_match_size: object.size,
        ..Conditions::default()
    }
}

fn refuse_dates(headers: &HeaderMap) -> Result<()> {
    for name in [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        if headers.contains_key(&name) {
            return Err(S3Error::not_implemented(name.as_str()));
        }
    }
    Ok(())
}

fn tags(headers: &HeaderMap, name: &str) -> Result<Option<TagMatch>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text =
        value.to_str().map_err(|_| S3Error::with(Code::InvalidArgument, "An entity tag is not text"))?;
    Ok(Some(TagMatch::parse(text)))
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    parse_http_date(text).map(|time| time.seconds())
}

fn exact_seconds(headers: &HeaderMap, name: &str) -> Result<Option<u64>> {
    let Some(text) = headers::text(headers, name)? else { return Ok(None) };
    let time = parse_http_date(text).or_else(|| parse_iso8601(text));
    let message = format!("{name} is not a time");
    time.map(|time| Some(time.seconds())).ok_or_else(|| S3Error::argument(name, text, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn reads_take_all_four() {
        let read = of_read(&headers(&[
            ("if-match", "\"a\", b"),
            ("if-none-match", "*"),
            ("if-modified-since", "Thu, 01 Jan 1970 00:01:00 GMT"),
            ("if-unmodified-since", "yesterday"),
        ]))
        .unwrap();
        assert_eq!(read.if_match, Some(TagMatch::Tags(vec!["a".into(), "b".into()])));
        assert_eq!(read.if_none_match, Some(TagMatch::Any));
        assert_eq!((read.if_modified_since, read.if_unmodified_since), (Some(60), None));
        assert!(of_source(&headers(&[("if-match", "a")])).unwrap().is_empty());
    }

    #[test]
    fn writes_refuse_what_they_cannot_honour() {
        for pairs in [
            &[("if-none-match", "\"a\"")][..],
            &[("if-none-match", "*"), ("if-match", "\"a\"")],
            &[("if-modified-since", "Thu, 01 Jan 1970 00:01:00 GMT")],
        ] {
            assert_eq!(of_write(&headers(pairs)).unwrap_err().code(), Code::NotImplemented);
        }
        assert!(of_write(&headers(&[("if-none-match", "*")])).is_ok());
        assert!(of_delete(&headers(&[("if-match", "*")])).is_ok());
        assert_eq!(of_delete(&headers(&[("if-none-match", "*")])).unwrap_err().code(), Code::NotImplemented);
    }

    #[test]
    fn deletions_take_a_size_and_a_time() {
        const TIME: &str = "x-amz-if-match-last-modified-time";
        let read =
            of_delete(&headers(&[("x-amz-if-match-size", "7"), (TIME, "Thu, 01 Jan 1970 00:01:00 GMT")]))
                .unwrap();
        assert_eq!((read.if_match_size, read.if_match_modified), (Some(7), Some(60)));
        let read = of_delete(&headers(&[(TIME, "1970-01-01T00:01:00.500Z")])).unwrap();
        assert_eq!((read.if_match_size, read.if_match_modified), (None, Some(60)));
        for pair in [("x-amz-if-match-size", "-1"), ("x-amz-if-match-size", "x"), (TIME, "yesterday")] {
            assert_eq!(of_delete(&headers(&[pair])).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
