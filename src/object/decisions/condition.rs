//! Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, and the
//! size and time that only deletions have.
//!
//! Source: RFC 9110 section 13, and AWS "Conditional requests". Evaluated against the current
//! object while its key is locked (writes) or against the version that is read (reads).

use crate::object::error::ObjectError;
use crate::object::meta::{ETag, ObjectMeta};

/// `*` or a list of entity tags, without their quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagMatch {
    Any,
    Tags(Vec<String>),
}

/// The conditions of one request. Times are whole seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub if_match: Option<TagMatch>,
    pub if_none_match: Option<TagMatch>,
    pub if_modified_since: Option<u64>,
    pub if_unmodified_since: Option<u64>,
    /// Exactly this time. Of deletions only, as is the size.
    pub if_match_modified: Option<u64>,
    pub if_match_size: Option<u64>,
}

impl TagMatch {
    /// Parses a header value: `*`, or tags with or without quotes, separated by commas; a weak
    /// mark `W/` is ignored as S3 ignores it.
    pub fn parse(value: &str) -> Self {
        if value.trim() == "*" {
            return TagMatch::Any;
        }
        let clean = |tag: &str| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()
        };
        TagMatch::Tags(value.split(',').map(clean).collect())
    }

    fn holds(&self, etag: &ETag) -> bool {
        match self {
            TagMatch::Any => true,
            TagMatch::Tags(tags) => {
                let quoted = etag.quoted();
                tags.iter().any(|tag| tag == quoted.trim_matches('"'))
            }
        }
    }
}

impl Conditions {
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// For reads of an existing object; the order is that of RFC 9110 section 13.2.2, so a
    /// matching If-Match outranks If-Unmodified-Since and If-None-Match outranks
    /// If-Modified-Since.
    pub fn check_read(&self, meta: &ObjectMeta) -> Result<(), ObjectError> {
        let modified = meta.modified.seconds();
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.holds(&meta.etag) => {
                return Err(ObjectError::PreconditionFailed("If-Match"));
            }
            (None, Some(since)) if modified > since => {
                return Err(ObjectError::PreconditionFailed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if tags.holds(&meta.etag) => Err(ObjectError::NotModified),
            (None, Some(since)) if modified <= since => Err(ObjectError::NotModified),
            _ => Ok(()),
        }
    }

    /// For copy sources: as `check_read`, but what would be 304 on a read is 412 here.
    pub fn check_source(&self, meta: &ObjectMeta) -> Result<(), ObjectError> {
        match self.check_read(meta) {
            Err(ObjectError::NotModified) => Err(ObjectError::PreconditionFailed(match self.if_none_match {
                Some(_) => "x-amz-copy-source-If-None-Match",
                None => "x-amz-copy-source-If-Modified-Since",
            })),
            other => other,
        }
    }

    /// For writes, against the current object if there is one. If-Match on an absent key is
    /// `NoSuchKey`, as AWS documents for conditional writes.
    pub fn check_write(&self, current: Option<&ObjectMeta>) -> Result<(), ObjectError> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(ObjectError::NoSuchKey),
            (Some(tags), Some(meta)) if !tags.holds(&meta.etag) => {
                return Err(ObjectError::PreconditionFailed("If-Match"));
            }
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(tags), Some(meta)) if tags.holds(&meta.etag) => {
                Err(ObjectError::PreconditionFailed("If-None-Match"))
            }
            _ => Ok(()),
        }
    }

    /// For deletions. Size and time hold for an absent key, as AWS documents them; If-Match does
    /// not.
    pub fn check_delete(&self, current: Option<&ObjectMeta>) -> Result<(), ObjectError> {
        self.check_write(current)?;
        let Some(meta) = current else { return Ok(()) };
        if self.if_match_modified.is_some_and(|time| time != meta.modified.seconds()) {
            return Err(ObjectError::PreconditionFailed("x-amz-if-match-last-modified-time"));
        }
        if self.if_match_size.is_some_and(|size| size != meta.size) {
            return Err(ObjectError::PreconditionFailed("x-amz-if-match-size"));
        }
        Ok(())
    }
}
