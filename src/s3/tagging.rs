//! Tags of objects: as a header of the operations that make one, and as documents of their own.
//!
//! Tags are judged here, before anything is stored; they belong to a version and change without
//! making a new one. May use `codec::{uri, xml}`, `object::decisions::amend`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html

use http::{HeaderMap, HeaderName, StatusCode};

use super::error::{Result, S3Error};
use super::facts::Said;
use super::response::{Reply, empty, set_number, xml};
use super::service::Call;
use super::versions::{asked_version, version_header};
use super::{amend, headers};
use crate::base::limits::TAGS_MAX;
use crate::codec::policy::Action;
use crate::codec::uri::{Pair, Query};
use crate::codec::xml::{Configuration, Tags, check_tags};
use crate::object::decisions::amend::Amendment;
use crate::object::decisions::events::Cause;
use crate::object::store::Object;

const TAGGING: &str = "x-amz-tagging";
const COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");

/// The tags that a new object brings along, as the query string in its header.
pub(super) fn of_header(headers: &HeaderMap) -> Result<Vec<(String, String)>> {
    let Some(text) = headers::text(headers, TAGGING)? else { return Ok(Vec::new()) };
    let malformed = || {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
                       parameters without tag name duplicates.";
        S3Error::argument(TAGGING, text, message)
    };
    let query = Query::parse(text).map_err(|_| malformed())?;
    let tag = |pair: &Pair<'_>| (pair.name.to_string(), pair.value.to_string());
    let tags = query.pairs().iter().map(tag).collect::<Vec<_>>();
    let mut keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    if keys.contains(&"") || keys.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(malformed());
    }
    check_tags(&tags, TAGS_MAX)?;
    Ok(tags)
}

/// Whether a copy takes the tags of its source; otherwise it has those of its header.
pub(super) fn copies_tags(headers: &HeaderMap) -> Result<bool> {
    match headers::text(headers, "x-amz-tagging-directive")? {
        None | Some("COPY") => Ok(true),
        Some("REPLACE") => Ok(false),
        Some(other) => Err(S3Error::argument("x-amz-tagging-directive", other, "Unknown tagging directive.")),
    }
}

/// How many tags there are, for who may read them; nothing when there are none.
pub(super) fn count_header(headers: &mut HeaderMap, call: &Call<'_>, object: &Object) {
    let tags = &object.meta().attached.tags;
    let action =
        asked_version(call.query).map_or(Action::GetObjectTagging, |_| Action::GetObjectVersionTagging);
    if !tags.is_empty() && call.may_hear(action, object) {
        set_number(headers, COUNT, tags.len() as u64);
    }
}

pub(super) async fn get_object_tagging(call: Call<'_>) -> Result<Reply> {
    let object = call.open(Action::GetObjectTagging, Action::GetObjectVersionTagging).await?;
    // A set has no order; whoever compares two finds them alike when both are sorted.
    let mut tags = object.meta().attached.tags.clone();
    tags.sort();
    let mut reply = xml(Tags(tags).render());
    version_header(reply.headers_mut(), object.version_id());
    Ok(reply)
}

pub(super) async fn put_object_tagging(mut call: Call<'_>) -> Result<Reply> {
    let tags = wanted_tags(&mut call).await?;
    amend(&call, Said::ObjectTags(&tags), &tags, Cause::Plain, StatusCode::OK).await
}

pub(super) async fn wanted_tags(call: &mut Call<'_>) -> Result<Vec<(String, String)>> {
    let promise = call.promise()?;
    let document = call.payload(promise, None).document().await?;
    let Tags(tags) = Tags::parse(&document)?;
    check_tags(&tags, TAGS_MAX)?;
    Ok(tags)
}

pub(super) async fn delete_object_tagging(call: Call<'_>) -> Result<Reply> {
    amend(&call, Said::Nothing, &[], Cause::Untag, StatusCode::NO_CONTENT).await
}

async fn amend(
    call: &Call<'_>,
    said: Said<'_>,
    tags: &[(String, String)],
    cause: Cause,
    status: StatusCode,
) -> Result<Reply> {
    let changed = amend::amend(call, said, cause, |_, _| Ok(Amendment::Tags(tags.to_vec()))).await?;
    let mut reply = empty(status);
    version_header(reply.headers_mut(), changed.as_deref());
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::Code;
    use http::HeaderValue;

    fn read(text: &str) -> std::result::Result<Vec<(String, String)>, Code> {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(TAGGING), HeaderValue::from_str(text).unwrap())]);
        of_header(&headers).map_err(|error| error.code())
    }

    #[test]
    fn tags_of_a_header() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(of_header(&HeaderMap::new()).unwrap(), []);
        assert_eq!(read("").unwrap(), []);
        assert_eq!(read("a=1&b=x%20y&c").unwrap(), [pair("a", "1"), pair("b", "x y"), pair("c", "")]);
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        assert_eq!(read(&many(TAGS_MAX)).unwrap().len(), TAGS_MAX);
        assert_eq!(read(&many(TAGS_MAX + 1)), Err(Code::InvalidTag));
        assert_eq!(read("a=1&a=2"), Err(Code::InvalidArgument));
        assert_eq!(read("=1"), Err(Code::InvalidArgument));
        assert_eq!(read("a?=1"), Err(Code::InvalidTag));
        assert_eq!(read("a=%zz"), Err(Code::InvalidArgument));
    }
}
