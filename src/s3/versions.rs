//! Versions at the edge: the id a request asks for, and the headers that tell which one was meant.
//!
//! Pure. May use `codec::uri`. An id is opaque here: the store judges it, and what it does not know is an error of the
//! store.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::response::set;
use crate::codec::uri::Query;

pub(super) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
pub(super) const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
pub(super) const SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");

pub(super) fn asked_version<'q>(query: &'q Query<'_>) -> Option<&'q str> {
    query.get("versionId")
}

/// Where the bucket is or was versioned, the id.
pub(super) fn version_header(headers: &mut HeaderMap, id: Option<&str>) {
    if let Some(id) = id {
        set(headers, VERSION_ID, id);
    }
}

pub(super) fn marker_header(headers: &mut HeaderMap, marker: bool) {
    if marker {
        headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    }
}
