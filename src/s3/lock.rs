//! Object lock of single versions: headers of the operations that make one, retention and legal hold
//! as documents, and the right to ignore governance.
//!
//! What is stored here is enforced by the store whoever removes a version. May use `codec::xml`,
//! `object::{amend, meta}`.
//! https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::body::Promise;
use super::error::{Code, Result, S3Error};
use super::facts::Said;
use super::response::{Reply, empty, set, xml};
use super::route::Operation;
use super::service::Call;
use super::settings::{digested, present};
use super::{amend, headers, tagging};
use crate::base::time::Nanos;
use crate::codec::date::{iso8601_ms, parse_iso8601};
use crate::codec::policy::Action;
use crate::codec::xml::{self as documents, RetentionMode};
use crate::object::decisions::amend::{Amendment, needs_lock};
use crate::object::decisions::events::Cause;
use crate::object::meta::{Attached, Retention};
use crate::object::store::Object;

const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
const HOLD: HeaderName = HeaderName::from_static("x-amz-object-lock-legal-hold");
const BYPASS: &str = "x-amz-bypass-governance-retention";

/// What the headers of PutObject, CopyObject and CreateMultipartUpload ask for.
pub(super) fn of_headers(call: &Call<'_>, attached: &mut Attached) -> Result<()> {
    attached.retention = retention_asked(call.headers, call.edge.store.now())?;
    attached.legal_hold = hold_asked(call.headers)?;
    if attached.retention.is_some() || attached.legal_hold.is_some() {
        needs_lock(&*call.edge.store.settings(call.bucket)?)?;
    }
    Ok(())
}

fn retention_asked(headers: &HeaderMap, now: Nanos) -> Result<Option<Retention>> {
    let mode = headers::text(headers, MODE.as_str())?;
    let until = headers::text(headers, UNTIL.as_str())?;
    let (mode, until) = match (mode, until) {
        (None, None) => return Ok(None),
        (Some(mode), Some(until)) => (mode, until),
        _ => {
            let message =
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(S3Error::with(Code::InvalidArgument, message));
        }
    };
    let mode = RetentionMode::from_name(mode)
        .ok_or_else(|| S3Error::argument(MODE.as_str(), mode, "Unknown wormMode directive."))?;
    let until = parse_iso8601(until).ok_or_else(|| {
        let message = "The retain until date must be provided in ISO 8601 format";
        S3Error::argument(UNTIL.as_str(), until, message)
    })?;
    check_future(until, now)?;
    Ok(Some(Retention { mode, until }))
}

fn check_future(until: Nanos, now: Nanos) -> Result<()> {
    if until > now {
        return Ok(());
    }
    Err(S3Error::argument(UNTIL.as_str(), &iso8601_ms(until), "The retain until date must be in the future!"))
}

fn hold_asked(headers: &HeaderMap) -> Result<Option<bool>> {
    match headers::text(headers, HOLD.as_str())? {
        None => Ok(None),
        Some("ON") => Ok(Some(true)),
        Some("OFF") => Ok(Some(false)),
        Some(other) => {
            let message = "Legal Hold must be either of 'ON' or 'OFF'";
            Err(S3Error::argument(HOLD.as_str(), other, message))
        }
    }
}

/// The lock of a version, as GetObject and HeadObject tell it to who may ask for it.
pub(super) fn lock_headers(headers: &mut HeaderMap, call: &Call<'_>, object: &Object) {
    let attached = &object.meta().attached;
    let told = |action| call.may_hear(action, object);
    if let Some(retention) = attached.retention.as_ref().filter(|_| told(Action::GetObjectRetention)) {
        headers.insert(MODE, HeaderValue::from_static(retention.mode.name()));
        set(headers, UNTIL, &iso8601_ms(retention.until));
    }
    if let Some(on) = attached.legal_hold.filter(|_| told(Action::GetObjectLegalHold)) {
        headers.insert(HOLD, HeaderValue::from_static(if on { "ON" } else { "OFF" }));
    }
}

/// For a PutObject whose object will be locked, by its headers or by the default of the bucket: a lock is for bytes
/// that arrived as they were sent, so who asks for one says what they were.
pub(super) fn check_digest(call: &Call<'_>, attached: &Attached, promise: &Promise) -> Result<()> {
    let locked =
        attached.retention.is_some() || attached.legal_hold.is_some() || call.rules()?.locks_by_default;
    if promise.has_digest() || !locked {
        return Ok(());
    }
    let message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock \
                   parameters";
    Err(S3Error::with(Code::InvalidRequest, message))
}

/// Whether the caller wants to ignore governance, and may. This is the one place where it is asked.
pub(super) fn bypasses(call: &Call<'_>) -> Result<bool> {
    match headers::text(call.headers, BYPASS)? {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(S3Error::argument(BYPASS, other, "The value must be true or false")),
    }
}

// ---- Documents ----

pub(super) async fn get_object_retention(call: Call<'_>) -> Result<Reply> {
    let retention = attached(&call, Action::GetObjectRetention)
        .await?
        .retention
        .ok_or(Code::NoSuchObjectLockConfiguration)?;
    Ok(xml(documents::retention(retention.mode, retention.until)))
}

pub(super) async fn get_object_legal_hold(call: Call<'_>) -> Result<Reply> {
    let on = attached(&call, Action::GetObjectLegalHold)
        .await?
        .legal_hold
        .ok_or(Code::NoSuchObjectLockConfiguration)?;
    Ok(xml(documents::legal_hold(on)))
}

async fn attached(call: &Call<'_>, action: Action) -> Result<Attached> {
    let opened = call.open(action, action).await;
    // Who may not ask learns nothing of the bucket either; all others do before they hear of the key.
    match opened {
        Err(refusal) if refusal.code() == Code::AccessDenied => Err(refusal),
        opened => {
            needs_lock(&*call.edge.store.settings(call.bucket)?)?;
            Ok(opened?.meta().attached.clone())
        }
    }
}

pub(super) async fn put_object_retention(mut call: Call<'_>) -> Result<Reply> {
    let (retention, bypass) = wanted_retention(&mut call).await?;
    amend(&call, Said::Retention(retention.as_ref()), Amendment::Retention { retention, bypass }).await
}

pub(super) async fn put_object_legal_hold(mut call: Call<'_>) -> Result<Reply> {
    let on = wanted_hold(&mut call).await?;
    amend(&call, Said::LegalHold(on), Amendment::LegalHold(on)).await
}

/// S3 reads the document before it looks for the version: to whom may know that the key is not there, what is wrong
/// with the document is told first.
pub(super) async fn told_first(mut call: Call<'_>, refusal: S3Error) -> S3Error {
    let read = match call.operation {
        _ if !matches!(refusal.code(), Code::NoSuchKey | Code::NoSuchVersion) => return refusal,
        Operation::PutObjectRetention => wanted_retention(&mut call).await.map(drop),
        Operation::PutObjectLegalHold => wanted_hold(&mut call).await.map(drop),
        Operation::PutObjectTagging => tagging::wanted_tags(&mut call).await.map(drop),
        _ => return refusal,
    };
    read.err().unwrap_or(refusal)
}

/// And whether it is to hold whatever governance says.
async fn wanted_retention(call: &mut Call<'_>) -> Result<(Option<Retention>, bool)> {
    let bypass = bypasses(call)?;
    needs_lock(&*call.edge.store.settings(call.bucket)?)?;
    let document = document(call).await?;
    let retention = documents::parse_retention(&document)?;
    let retention = retention.map(|(mode, until)| Retention { mode, until });
    if let Some(retention) = &retention {
        check_future(retention.until, call.edge.store.now())?;
    }
    Ok((retention, bypass))
}

async fn wanted_hold(call: &mut Call<'_>) -> Result<bool> {
    needs_lock(&*call.edge.store.settings(call.bucket)?)?;
    let document = document(call).await?;
    Ok(documents::parse_legal_hold(&document)?)
}

/// Who may change the object is judged by `amend`, when what is wrong with the document has been told.
async fn document(call: &mut Call<'_>) -> Result<Vec<u8>> {
    let promise = digested(call)?;
    present(call.payload(promise, None).document().await?)
}

async fn amend(call: &Call<'_>, said: Said<'_>, amendment: Amendment) -> Result<Reply> {
    amend::amend(call, said, Cause::Plain, |_, _| Ok(amendment.clone())).await?;
    Ok(empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_retention_is_a_mode_and_a_date_in_the_future() {
        let now = Nanos::from_seconds(1_800_000_000);
        let read = |pairs: &[_]| retention_asked(&headers(pairs), now).map_err(|error| error.code());
        let until = Nanos::from_seconds(1_893_456_000);
        let both = [(MODE, "COMPLIANCE"), (UNTIL, "2030-01-01T00:00:00Z")];
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&both), Ok(Some(Retention { mode: RetentionMode::Compliance, until })));
        for pairs in [
            &[(MODE, "COMPLIANCE")][..],
            &[(UNTIL, "2030-01-01T00:00:00Z")],
            &[(MODE, "compliance"), (UNTIL, "2030-01-01T00:00:00Z")],
            &[(MODE, "COMPLIANCE"), (UNTIL, "2020-01-01T00:00:00Z")],
            &[(MODE, "COMPLIANCE"), (UNTIL, "soon")],
        ] {
            assert_eq!(read(pairs), Err(Code::InvalidArgument), "{pairs:?}");
        }
    }

    #[test]
    fn a_hold_is_on_or_off() {
        assert_eq!(hold_asked(&headers(&[(HOLD, "ON")])).unwrap(), Some(true));
        assert_eq!(hold_asked(&headers(&[(HOLD, "OFF")])).unwrap(), Some(false));
        assert_eq!(hold_asked(&headers(&[(HOLD, "on")])).unwrap_err().code(), Code::InvalidArgument);
    }
}
