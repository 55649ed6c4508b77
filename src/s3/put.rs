//! PutObject.
//!
//! The body streams from the connection through the digests into the store's Writer; the object is
//! committed only after the body kept every promise of its headers. A Writer that is dropped, because
//! the body was wrong or the client went away, leaves nothing behind.

use http::StatusCode;
use http::header::ETAG;

use super::body::{Intake, Payload};
use super::error::{Code, Result, S3Error};
use super::expiration::expiration_header;
use super::response::{Reply, checksum_headers, empty, etag_value};
use super::service::Call;
use super::versions::version_header;
use super::{acl, conditions, headers, lock, tagging};
use crate::base::limits::{INLINE_BYTES_MAX, PUT_BYTES_MAX};
use crate::codec::checksum::ChecksumAlgorithm;
use crate::object::decisions::events::Cause;
use crate::object::meta::{Attached, Checksum, ETag};
use crate::object::store::{Commit, Writer};

/// What AWS stores when the client brings no checksum; at tens of GB/s it costs nothing beside MD5.
pub(super) const DEFAULT_CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc64Nvme;

pub(super) async fn put_object(mut call: Call<'_>) -> Result<Reply> {
    let conditions = conditions::of_write(call.headers)?;
    let stored = headers::stored(call.headers)?;
    let attached = attached(&call)?;
    let origin = call.origin(Cause::Plain);
    let promise = call.promise()?;
    lock::check_digest(&call, &attached, &promise)?;
    let size = promise.size_needed()?;
    check_size(size)?;
    call.look_for_place(Cause::Plain).await?;
    begin_transfer(call.intake, size)?;
    let mut writer = call.edge.store.put(call.bucket, call.key, Some(size)).await?;
    let wanted = promise.algorithm().unwrap_or(DEFAULT_CHECKSUM);
    let mut payload = call.payload(promise, Some(wanted));
    fill(&mut writer, &mut payload).await?;
    let writer = writer.settle().await?;
    let digested = payload.finish().await?;
    let etag = ETag { md5: digested.md5, parts: 0 };
    let checksum = digested.checksum.map(Checksum::of_whole);
    let commit = Commit { headers: stored, etag, checksum, attached, conditions, origin };
    let committed = writer.commit(commit).await?;
    let mut reply = empty(StatusCode::OK);
    reply.headers_mut().insert(ETAG, etag_value(&committed.meta.etag));
    if let Some(checksum) = &committed.meta.checksum {
        checksum_headers(reply.headers_mut(), checksum);
    }
    version_header(reply.headers_mut(), committed.version_id.as_deref());
    expiration_header(reply.headers_mut(), &call, &committed.meta);
    Ok(reply)
}

/// What a new object has attached to it from the start.
pub(super) fn attached(call: &Call<'_>) -> Result<Attached> {
    let mut attached = Attached { tags: tagging::of_header(call.headers)?, ..Attached::default() };
    lock::of_headers(call, &mut attached)?;
    acl::of_new_object(call, &mut attached)?;
    Ok(attached)
}

/// Of one PutObject or UploadPart.
pub(super) fn check_size(size: u64) -> Result<()> {
    if size <= PUT_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::new(Code::EntityTooLarge)
        .field("ProposedSize", size.to_string())
        .field("MaxSizeAllowed", PUT_BYTES_MAX.to_string()))
}

/// What is larger than a record of the log holds takes memory of transfers, and its time.
pub(super) fn begin_transfer(intake: &Intake, size: u64) -> Result<()> {
    if size <= INLINE_BYTES_MAX as u64 { Ok(()) } else { intake.begin_transfer() }
}

pub(super) async fn fill(writer: &mut Writer, payload: &mut Payload<'_>) -> Result<()> {
    while let Some(data) = payload.next_for(&|| writer.gives_way()).await? {
        writer.write(data).await?;
    }
    Ok(())
}
