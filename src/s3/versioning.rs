//! Versioning and object lock of buckets: GetBucketVersioning, PutBucketVersioning,
//! GetObjectLockConfiguration, PutObjectLockConfiguration, and what CreateBucket sets of them.
//!
//! May use `codec::xml`, `object::registry::settings`. Whether the two go together is judged where settings are
//! stored.

use http::{HeaderMap, StatusCode};

use super::error::{Code, Result, S3Error};
use super::headers;
use super::response::{Reply, empty, xml};
use super::service::Call;
use super::settings::digested_document;
use crate::codec::xml::{Configuration, ObjectLock, Versioning, XmlWriter};
use crate::object::registry::settings::Setting;

const LOCK_ENABLED: &str = "x-amz-bucket-object-lock-enabled";

/// What a new bucket is set to by its headers.
pub(super) fn of_new_bucket(headers: &HeaderMap) -> Result<Vec<Setting>> {
    match headers::text(headers, LOCK_ENABLED)? {
        None => Ok(Vec::new()),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(Vec::new()),
        Some(text) if text.eq_ignore_ascii_case("true") => {
            Ok(vec![Setting::Versioning(Versioning::Enabled), Setting::ObjectLock(ObjectLock::default())])
        }
        Some(other) => Err(S3Error::argument(LOCK_ENABLED, other, "The value must be true or false")),
    }
}

pub(super) async fn get_bucket_versioning(call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.settings(call.bucket)?;
    Ok(xml(match &bucket.settings.versioning {
        Some(state) => state.render(),
        None => {
            let mut w = XmlWriter::new();
            w.open_root("VersioningConfiguration");
            w.close("VersioningConfiguration");
            w.finish()
        }
    }))
}

pub(super) async fn put_bucket_versioning(mut call: Call<'_>) -> Result<Reply> {
    let promise = call.promise()?;
    let document = call.document(promise).await?;
    let setting = Setting::Versioning(Versioning::parse(&document)?);
    call.edge.store.set_setting(call.bucket, setting).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn get_object_lock(call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.settings(call.bucket)?;
    let lock = bucket.settings.object_lock.as_ref().ok_or(Code::ObjectLockConfigurationNotFoundError)?;
    Ok(xml(lock.render()))
}

pub(super) async fn put_object_lock(mut call: Call<'_>) -> Result<Reply> {
    let document = digested_document(&mut call).await?;
    let setting = Setting::ObjectLock(ObjectLock::parse(&document)?);
    call.edge.store.set_setting(call.bucket, setting).await?;
    Ok(empty(StatusCode::OK))
}
