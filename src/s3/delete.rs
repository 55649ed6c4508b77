//! DeleteObject and DeleteObjects.
//!
//! Deleting what is not there succeeds, as S3 has it, unless a condition asks for it. A batch needs
//! a digest of its document, because one flipped bit could name another object.

use http::StatusCode;

use super::conditions;
use super::error::{Code, Result, S3Error};
use super::response::{Reply, empty, xml};
use super::route::check_key;
use super::service::{Call, rest};
use crate::base::join::join_all;
use crate::base::limits::DELETES_AT_ONCE_MAX;
use crate::codec::xml::{self as documents, DeleteObject, DeleteResult, DeletedObject, FailedDelete};

pub(super) async fn delete_object(call: Call<'_>) -> Result<Reply> {
    let conditions = conditions::of_delete(call.headers)?;
    call.edge.store.delete(call.bucket, call.key, conditions).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_objects(mut call: Call<'_>) -> Result<Reply> {
    let promise = call.promise()?;
    if !promise.has_digest() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(S3Error::with(Code::InvalidRequest, message));
    }
    call.edge.store.bucket(call.bucket).await?;
    let document = call.payload(promise, None).document().await?;
    let request = documents::parse_delete(&document, rest).await?;
    let mut outcomes = Vec::with_capacity(request.objects.len());
    // Together, so that they share the batches of the log.
    for objects in request.objects.chunks(DELETES_AT_ONCE_MAX) {
        outcomes.extend(join_all(objects.iter().map(|object| delete_one(&call, object))).await);
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
        .filter(|(_, outcome)| !request.quiet && outcome.is_ok())
        .map(|(object, _)| DeletedObject {
            key: &object.key,
            version_id: object.version_id.as_deref(),
            delete_marker: false,
            delete_marker_version_id: None,
        })
        .collect();
    let result = DeleteResult { deleted: &deleted, errors: &errors };
    Ok(xml(documents::delete_result(&result, rest).await))
}

async fn delete_one(call: &Call<'_>, object: &DeleteObject) -> Result<()> {
    check_key(&object.key)?;
    if object.key.is_empty() {
        return Err(S3Error::with(Code::InvalidArgument, "A key cannot be empty"));
    }
    if object.version_id.as_deref().is_some_and(|version| version != "null") {
        return Err(S3Error::not_implemented("VersionId"));
    }
    call.admit_delete(&object.key, object.version_id.as_deref())?;
    Ok(call.edge.store.delete(call.bucket, &object.key, conditions::of_entry(object)).await?)
}
