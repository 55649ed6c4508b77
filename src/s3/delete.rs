//! DeleteObject and DeleteObjects.
//!
//! Without a version id the current version goes, which in a versioned bucket leaves a delete marker;
//! with one that version goes for good. Deleting what is not there succeeds, as S3 has it, unless a condition asks for
//! it. A batch needs a digest of its document, because one flipped bit could name another object.

use http::StatusCode;

use super::access_log::{BATCH_DELETE, Note};
use super::error::{Code, Result, S3Error};
use super::response::{Reply, empty, xml};
use super::route::check_key;
use super::service::Call;
use super::versions::{asked_version, marker_header, version_header};
use super::{conditions, lock};
use crate::base::join::join_all;
use crate::base::limits::DELETES_AT_ONCE_MAX;
use crate::base::rest::rest;
use crate::codec::xml::{self as documents, DeleteObject, DeleteResult, DeletedObject, FailedDelete};
use crate::object::decisions::events::Cause;
use crate::object::store::{Deleted, Deletion};

pub(super) async fn delete_object(call: Call<'_>) -> Result<Reply> {
    let deletion = Deletion {
        version_id: asked_version(call.query).map(str::to_owned),
        conditions: conditions::of_delete(call.headers)?,
        bypass: lock::bypasses(&call)?,
        origin: call.origin(Cause::Plain),
    };
    let deleted = call.edge.store.delete(call.bucket, call.key, deletion).await?;
    let mut reply = empty(StatusCode::NO_CONTENT);
    version_header(reply.headers_mut(), deleted.version_id.as_deref());
    marker_header(reply.headers_mut(), deleted.marker);
    Ok(reply)
}

pub(super) async fn delete_objects(mut call: Call<'_>) -> Result<Reply> {
    let promise = call.promise()?;
    if !promise.has_digest() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    let bypass = lock::bypasses(&call)?;
    call.edge.store.bucket(call.bucket).await?;
    let document = call.payload(promise, None).document().await?;
    // What a batch takes while it is worked on depends on its keys, not on its bytes.
    let _turn = call.edge.batches.acquire().await;
    let request = documents::parse_delete(&document, rest).await?;
    drop(document);
    let mut outcomes = Vec::with_capacity(request.objects.len());
    // Together, so that they share the batches of the log.
    for objects in request.objects.chunks(DELETES_AT_ONCE_MAX) {
        // The client was long with its keys, or the drives with others: the rules of this moment count.
        call.judge_again().await?;
        let done = join_all(objects.iter().map(|object| delete_one(&call, object, bypass))).await;
        note(&call, objects, &done)?;
        outcomes.extend(done);
    }
    if let Some(busy) = all_busy(&outcomes) {
        return Err(busy);
    }
    let pairs = || request.objects.iter().zip(&outcomes);
    let errors: Vec<FailedDelete<'_>> = pairs()
        .filter_map(|(object, outcome)| {
            let error = outcome.as_ref().err()?;
            let (code, message) = (error.code().name(), error.message());
            Some(FailedDelete { key: &object.key, version_id: object.version_id.as_deref(), code, message })
        })
        .collect();
    let deleted: Vec<DeletedObject<'_>> = pairs()
        .filter(|_| !request.quiet)
        .filter_map(|(object, outcome)| Some((object, outcome.as_ref().ok()?)))
        .map(|(object, outcome)| DeletedObject {
            key: &object.key,
            version_id: object.version_id.as_deref(),
            delete_marker: outcome.marker,
            delete_marker_version_id: outcome.version_id.as_deref().filter(|_| outcome.marker),
        })
        .collect();
    let result = DeleteResult { deleted: &deleted, errors: &errors };
    Ok(xml(documents::delete_result(&result, rest).await))
}

/// The error of a batch of which nothing was done because the server could not now: as an answer of its own clients try
/// again by themselves, which they do not for errors inside of a document.
fn all_busy(outcomes: &[Result<Deleted>]) -> Option<S3Error> {
    let busy = |outcome: &Result<Deleted>| {
        let code = outcome.as_ref().err()?.code();
        matches!(code, Code::SlowDown | Code::ServiceUnavailable).then_some(code)
    };
    let first = busy(outcomes.first()?)?;
    outcomes.iter().all(|outcome| busy(outcome).is_some()).then(|| first.into())
}

/// A line of the access log for each object.
fn note(call: &Call<'_>, objects: &[DeleteObject], outcomes: &[Result<Deleted>]) -> Result<()> {
    let rules = call.rules()?;
    if rules.logging.is_none() {
        return Ok(());
    }
    for (object, outcome) in objects.iter().zip(outcomes) {
        let made = outcome.as_ref().ok().and_then(|deleted| deleted.version_id.as_deref());
        let code = outcome.as_ref().err().map(S3Error::code);
        let note = Note {
            bucket: call.bucket,
            operation: BATCH_DELETE,
            key: &object.key,
            version: made.or(object.version_id.as_deref()),
            status: code.map_or(StatusCode::NO_CONTENT, Code::status).as_u16(),
            error: code.map(Code::name),
            size: None,
        };
        call.note(rules, &note);
    }
    Ok(())
}

async fn delete_one(call: &Call<'_>, object: &DeleteObject, bypass: bool) -> Result<Deleted> {
    check_key(&object.key)?;
    if object.key.is_empty() {
        return Err(S3Error::with(Code::InvalidArgument, "A key cannot be empty"));
    }
    // Some clients write an element for the version they do not mean.
    let version_id = object.version_id.clone().filter(|id| !id.is_empty());
    call.admit_delete(&object.key, version_id.as_deref(), object.etag.as_deref(), bypass)?;
    let (conditions, origin) = (conditions::of_entry(object), call.origin(Cause::Plain));
    let deletion = Deletion { version_id, conditions, bypass, origin };
    Ok(call.edge.store.delete(call.bucket, &object.key, deletion).await?)
}
