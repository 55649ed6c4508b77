//! The dates on which lifecycle rules remove things, as answers tell them.
//!
//! `x-amz-expiration` of a current object, `x-amz-abort-date` and `x-amz-abort-rule-id` of an upload. Dates are those
//! of the calendar, whatever `--lifecycle-day` says. Where a bucket has no rules, asking costs one look at
//! `Rules::expires`. May use `object::lifecycle`, which knows the dates.
//! https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html

use http::{HeaderMap, HeaderName};

use super::response::set;
use super::service::Call;
use crate::base::time::Nanos;
use crate::codec::date::http_date;
use crate::codec::uri::encode_component;
use crate::object::lifecycle::{Day, Facts, abort, expiry};
use crate::object::meta::ObjectMeta;

const EXPIRATION: HeaderName = HeaderName::from_static("x-amz-expiration");
const ABORT_DATE: HeaderName = HeaderName::from_static("x-amz-abort-date");
const ABORT_RULE: HeaderName = HeaderName::from_static("x-amz-abort-rule-id");

/// When the current version of the key expires, and why.
pub(super) fn expiration_header(headers: &mut HeaderMap, call: &Call<'_>, meta: &ObjectMeta) {
    if call.rules.as_ref().is_some_and(|rules| rules.expires) {
        set_expiration(headers, call, meta);
    }
}

#[cold]
fn set_expiration(headers: &mut HeaderMap, call: &Call<'_>, meta: &ObjectMeta) {
    let Ok(bucket) = call.edge.store.settings(call.bucket) else { return };
    let Some(lifecycle) = &bucket.settings.lifecycle else { return };
    if let Some((date, rule)) = expiry(lifecycle, call.key, &Facts::of(meta, false), Day::REAL) {
        let (date, id) = (http_date(date), encode_component(&rule.id));
        set(headers, EXPIRATION, &format!("expiry-date=\"{date}\", rule-id=\"{id}\""));
    }
}

/// When the upload is aborted if it is not completed, and why.
pub(super) fn abort_headers(headers: &mut HeaderMap, call: &Call<'_>, initiated: Nanos) {
    if !call.rules.as_ref().is_some_and(|rules| rules.expires) {
        return;
    }
    let Ok(bucket) = call.edge.store.settings(call.bucket) else { return };
    let Some(lifecycle) = &bucket.settings.lifecycle else { return };
    if let Some((date, rule)) = abort(lifecycle, call.key, initiated, Day::REAL) {
        set(headers, ABORT_DATE, &http_date(date));
        set(headers, ABORT_RULE, &rule.id);
    }
}
