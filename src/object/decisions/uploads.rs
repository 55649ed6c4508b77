//! Multipart uploads at the owner of their key: begin, record parts, complete, abort, free.
//!
//! The upload, its parts and the finished version live in the shard of the key, so completing is
//! one record that refers to the parts where they are and copies no byte. Part records outlive the
//! upload: they hold the extents of the finished object.
//! Source: AWS "Uploading and copying objects using multipart upload".

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::commit::{BucketRef, Installed};
use super::events::Subject;
use crate::base::join::join_groups;
use crate::base::limits::{OBJECT_BYTES_MAX, PART_BYTES_MIN, PARTS_AT_ONCE, PARTS_FREED_AT_ONCE};
use crate::base::rest::{Stint, rest};
use crate::base::time::Nanos;
use crate::catalog::event::EventKind;
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::usage::Usage;
use crate::catalog::value::{GarbageValue, PartRef, PartValue, Storage, UploadValue, Version};
use crate::codec::checksum::{self, ChecksumAlgorithm, Combined, Composite};
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ChecksumKind, ETag, ObjectMeta};
use crate::object::registry::usage::charge;
use crate::object::shard::{Shard, damaged};
use crate::object::store::{Complete, Part, PartClaim};

/// Which upload a request is about.
#[derive(Clone, Debug)]
pub struct UploadRef {
    pub bucket: BucketRef,
    pub key: String,
    pub upload: u128,
}

impl UploadRef {
    pub fn catalog_key(&self) -> Vec<u8> {
        key::upload(self.bucket.id, &self.key, self.upload)
    }
}

impl Shard {
    pub async fn begin_upload(
        self: Rc<Self>,
        upload: UploadRef,
        value: UploadValue,
    ) -> Result<(), ObjectError> {
        self.admit().await?;
        let put = Operation::Put { key: upload.catalog_key(), value: value.encode() };
        self.commit(&upload.bucket, vec![put], &[]).await
    }

    pub async fn upload_value(&self, upload: &UploadRef) -> Result<UploadValue, ObjectError> {
        let value = self.get(&upload.catalog_key()).await?.ok_or(ObjectError::NoSuchUpload)?;
        UploadValue::decode(&value).ok_or_else(|| damaged("upload"))
    }

    /// Records a part in place of an earlier one of the same number. Its space is the shard's from
    /// the call on, whether it succeeds or not.
    pub async fn put_part(
        self: Rc<Self>,
        upload: UploadRef,
        number: u16,
        part: PartValue,
    ) -> Result<(), ObjectError> {
        let extent = part.extent.clone();
        let result = self.try_put_part(&upload, number, part).await;
        if let (Err(error), Some(extent)) = (&result, extent) {
            self.abandon(&extent, error);
        }
        result
    }

    async fn try_put_part(
        &self,
        upload: &UploadRef,
        number: u16,
        part: PartValue,
    ) -> Result<(), ObjectError> {
        self.admit().await?;
        // Beside other parts, so that they share the batches of the log.
        let _guard = self.locks.share(&upload.catalog_key()).await;
        self.upload_value(upload).await?;
        let at = key::part(upload.upload, number);
        let _part = self.locks.lock(&at).await;
        let before = self.part(&at).await?;
        let usage =
            Usage::parts(part.size) - before.as_ref().map_or(Usage::NONE, |part| Usage::parts(part.size));
        let mut operations = vec![Operation::Put { key: at, value: part.encode() }];
        operations.extend(before.and_then(|part| part.extent).map(Operation::Free));
        loop {
            let bucket = self.bucket(&upload.bucket)?;
            if self.commit_under(&upload.bucket, &bucket, operations.clone(), usage, &[]).await? {
                return Ok(());
            }
        }
    }

    pub(in crate::object) async fn part(&self, at: &[u8]) -> Result<Option<PartValue>, ObjectError> {
        match self.get(at).await? {
            None => Ok(None),
            Some(value) => PartValue::decode(&value).map(Some).ok_or_else(|| damaged("part")),
        }
    }

    /// One part of a finished object.
    pub async fn part_of(self: Rc<Self>, upload: u128, number: u16) -> Result<PartValue, ObjectError> {
        self.part(&key::part(upload, number)).await?.ok_or_else(|| damaged("reference to a part"))
    }

    /// Parts behind number `after`, in order.
    pub async fn parts(
        &self,
        upload: u128,
        after: u16,
        limit: usize,
    ) -> Result<Vec<(u16, PartValue)>, ObjectError> {
        let mut scan =
            self.index.scan(key::parts_from(upload, after.saturating_add(1)), key::parts_end(upload));
        let mut parts = Vec::new();
        while parts.len() < limit
            && let Some((at, value)) = scan.next().await?
        {
            let (_, number) = key::parse_part(&at).ok_or_else(|| damaged("part key"))?;
            parts.push((number, PartValue::decode(&value).ok_or_else(|| damaged("part"))?));
        }
        Ok(parts)
    }

    /// Hands every part out, a few of them in memory at a time.
    async fn each_part(&self, upload: u128, mut take: impl FnMut(u16, PartValue)) -> Result<(), ObjectError> {
        let (mut after, mut stint) = (0, Stint::new(PARTS_AT_ONCE));
        loop {
            let parts = self.parts(upload, after, PARTS_AT_ONCE).await?;
            let Some((last, _)) = parts.last() else { return Ok(()) };
            after = *last;
            let is_last = parts.len() < PARTS_AT_ONCE;
            parts.into_iter().for_each(|(number, part)| take(number, part));
            if is_last {
                return Ok(());
            }
            stint.step(PARTS_AT_ONCE).await;
        }
    }

    /// Links the named parts into the object.
    pub async fn complete_upload(
        self: Rc<Self>,
        upload: UploadRef,
        complete: Complete,
        now: Nanos,
    ) -> Result<Installed, ObjectError> {
        self.log.admit_freeing().await?;
        let object = key::version(upload.bucket.id, &upload.key, key::ORDER_UNVERSIONED);
        let guards = self.locks.lock_all(vec![upload.catalog_key(), object]).await;
        let value = match self.upload_value(&upload).await {
            Err(ObjectError::NoSuchUpload) => return self.completed_before(&upload).await,
            value => value?,
        };
        let used: BTreeSet<u16> = complete.parts.iter().map(|part| part.number).collect();
        let (mut stored, mut parts, mut unused) = (BTreeMap::new(), Usage::NONE, false);
        // Extents of all of them together may be larger than the memory there is.
        let take = |number, part: PartValue| {
            parts += Usage::parts(part.size);
            match used.contains(&number) {
                true => drop(stored.insert(number, PartValue { extent: None, ..part })),
                false => unused = true,
            }
        };
        self.each_part(upload.upload, take).await?;
        let linked = link(&upload, value, &complete, &stored, now).await?;
        let installed = loop {
            let bucket = self.bucket(&upload.bucket)?;
            let mut version = linked.clone();
            let check = |current: Option<&ObjectMeta>| complete.conditions.check_write(current);
            let mut change = self.installing(&bucket, &upload.key, &mut version, check).await?;
            change.operations.push(Operation::Delete { key: upload.catalog_key() });
            let version_id = change.version_id.as_deref();
            let subject =
                Subject { named: &upload.bucket, key: &upload.key, version_id, meta: Some(&version.meta) };
            let (kind, origin) = (EventKind::CreatedComplete, &complete.origin);
            let _ticket = self.tell(&mut change.operations, &bucket, kind, subject, origin)?;
            let usage = change.usage - parts;
            if self.commit_under(&upload.bucket, &bucket, change.operations, usage, &[]).await? {
                break Installed { meta: version.meta, version_id: change.version_id };
            }
        };
        drop(guards);
        if unused && let Err(error) = self.free_unused(upload.upload, &used).await {
            tracing::warn!(shard = %self.id, %error, "parts that were not used stay until the object is deleted");
        }
        self.collect_later();
        Ok(installed)
    }

    /// The object is visible: whoever deletes it frees the same parts, but not while this does.
    async fn free_unused(&self, upload: u128, used: &BTreeSet<u16>) -> Result<(), ObjectError> {
        let _guard = self.locks.lock(&key::garbage(upload)).await;
        self.free_parts(upload, |number| !used.contains(&number)).await
    }

    /// A client whose answer was lost asks again: as long as the object is what the upload made it, the
    /// answer is the same.
    async fn completed_before(&self, upload: &UploadRef) -> Result<Installed, ObjectError> {
        let bucket = self.bucket(&upload.bucket)?;
        let newest = self.newest(&bucket, &upload.key).await?.ok_or(ObjectError::NoSuchUpload)?;
        let version_id = bucket.settings.versioning.map(|_| newest.id(upload.bucket.id, &upload.key));
        match newest.version {
            Version { meta, storage: Storage::Parts { upload: made_by, .. }, .. }
                if made_by == upload.upload =>
            {
                Ok(Installed { meta, version_id })
            }
            _ => Err(ObjectError::NoSuchUpload),
        }
    }

    pub async fn abort_upload(self: Rc<Self>, upload: UploadRef) -> Result<(), ObjectError> {
        self.abort(upload).await.map_err(ObjectError::while_freeing)
    }

    async fn abort(&self, upload: UploadRef) -> Result<(), ObjectError> {
        self.log.admit_freeing().await?;
        let guard = self.locks.lock(&upload.catalog_key()).await;
        self.upload_value(&upload).await?;
        let garbage = GarbageValue { upload: upload.upload }.encode();
        let mut operations = vec![
            Operation::Delete { key: upload.catalog_key() },
            Operation::Put { key: key::garbage(upload.upload), value: garbage },
        ];
        operations.extend(charge(upload.bucket.id, self.given_back(upload.upload).await?));
        self.commit_internal(operations).await?;
        drop(guard);
        self.collect_later();
        Ok(())
    }

    /// Aborts every upload of a bucket that is being deleted.
    pub async fn abort_uploads(self: Rc<Self>, bucket: u64) -> Result<(), ObjectError> {
        let mut scan = self.index.scan(key::uploads_from(bucket, b""), key::uploads_end(bucket, b""));
        while let Some((at, _)) = scan.next().await? {
            let (_, upload) = key::parse_upload(&at).ok_or_else(|| damaged("upload key"))?;
            self.log.admit_freeing().await?;
            let _guard = self.locks.lock(&at).await;
            // A client may have aborted it meanwhile, and its parts were given back then.
            if self.get(&at).await?.is_none() {
                continue;
            }
            let garbage = GarbageValue { upload }.encode();
            let put = Operation::Put { key: key::garbage(upload), value: garbage };
            let mut operations = vec![Operation::Delete { key: at.to_vec() }, put];
            operations.extend(charge(bucket, self.given_back(upload).await?));
            self.commit_internal(operations).await?;
        }
        self.collect_later();
        Ok(())
    }

    /// What the bucket holds less without the parts of an upload. The caller holds the lock of the upload.
    async fn given_back(&self, upload: u128) -> Result<Usage, ObjectError> {
        let mut usage = Usage::NONE;
        self.each_part(upload, |_, part| usage = usage - Usage::parts(part.size)).await?;
        Ok(usage)
    }

    /// Deletes the parts that `unwanted` chooses and disowns their space. The caller holds the lock of the
    /// upload's garbage, and nobody records parts any more: each is freed once.
    pub async fn free_parts(&self, upload: u128, unwanted: impl Fn(u16) -> bool) -> Result<(), ObjectError> {
        let (mut after, mut stint) = (0, Stint::new(PARTS_AT_ONCE));
        loop {
            let parts = self.parts(upload, after, PARTS_AT_ONCE).await?;
            let Some((last, _)) = parts.last() else { return Ok(()) };
            after = *last;
            // Where none of them is unwanted nothing else waits.
            stint.step(parts.len()).await;
            let numbers = parts.into_iter().map(|(number, _)| number).filter(|number| unwanted(*number));
            let numbers: Vec<u16> = numbers.collect();
            join_groups(&numbers, PARTS_FREED_AT_ONCE, |number| self.free_part(upload, *number)).await?;
        }
    }

    /// Under its lock, since a part may be on its way to another place. A part of many stripes is as large as a
    /// record should be: each has one of its own.
    async fn free_part(&self, upload: u128, number: u16) -> Result<(), ObjectError> {
        self.log.admit_freeing().await?;
        let at = &key::part(upload, number);
        let _guard = self.locks.lock(at).await;
        let Some(part) = self.part(at).await? else { return Ok(()) };
        let mut operations = vec![Operation::Delete { key: at.to_vec() }];
        operations.extend(part.extent.map(Operation::Free));
        self.commit_internal(operations).await
    }
}

/// The version that the claims of CompleteMultipartUpload make of the stored parts.
async fn link(
    upload: &UploadRef,
    value: UploadValue,
    complete: &Complete,
    stored: &BTreeMap<u16, PartValue>,
    now: Nanos,
) -> Result<Version, ObjectError> {
    check_order(&complete.parts)?;
    let mut parts = Vec::with_capacity(complete.parts.len());
    let mut size = 0u64;
    for (index, claim) in complete.parts.iter().enumerate() {
        if index > 0 && index.is_multiple_of(PARTS_AT_ONCE) {
            rest().await;
        }
        let part = stored.get(&claim.number).ok_or(ObjectError::InvalidPart(claim.number))?;
        check_claim(claim, part, value.checksum)?;
        if part.size < PART_BYTES_MIN && index + 1 < complete.parts.len() {
            return Err(ObjectError::PartTooSmall { number: claim.number, size: part.size });
        }
        size += part.size;
        let checksum = part.checksum.as_ref().map(|checksum| checksum.value.clone());
        parts.push((PartRef { number: claim.number, size: part.size, checksum }, part));
    }
    if size > OBJECT_BYTES_MAX {
        return Err(ObjectError::EntityTooLarge);
    }
    if complete.size.is_some_and(|claimed| claimed != size) {
        return Err(ObjectError::BadRequest("The provided object size does not match the sum of the parts"));
    }
    let checksum = combine(&value, complete, &parts).await?;
    let md5 = checksum::multipart_md5(parts.iter().map(|(_, part)| &part.etag.md5));
    let etag = ETag { md5, parts: parts.len() as u16 };
    let (headers, attached) = (value.headers, value.attached);
    let meta = ObjectMeta { size, modified: now, etag, checksum, headers, attached };
    let parts = parts.into_iter().map(|(part, _)| part).collect();
    Ok(Version { meta, storage: Storage::Parts { upload: upload.upload, parts }, null: false })
}

fn check_order(claims: &[PartClaim]) -> Result<(), ObjectError> {
    if claims.is_empty() {
        return Err(ObjectError::BadRequest("You must specify at least one part"));
    }
    match claims.windows(2).all(|pair| pair[0].number < pair[1].number) {
        true => Ok(()),
        false => Err(ObjectError::InvalidPartOrder),
    }
}

/// `kept` is the algorithm of the upload. Parts may come with another one where the upload has the one that is
/// chosen here when nobody says otherwise; what was verified then is not kept, and its value cannot be told.
fn check_claim(
    claim: &PartClaim,
    part: &PartValue,
    upload: Option<(ChecksumAlgorithm, ChecksumKind)>,
) -> Result<(), ObjectError> {
    let kept = upload.map(|(algorithm, _)| algorithm);
    if claim.checksum.is_none() && matches!(upload, Some((_, ChecksumKind::Composite))) {
        return Err(ObjectError::BadRequest(
            "The upload was created with a composite checksum. The complete request must include the checksum \
             for each part.",
        ));
    }
    let etag = claim.etag.trim_matches('"');
    let mut matches = etag == part.etag.quoted().trim_matches('"');
    if let Some((algorithm, value)) = &claim.checksum {
        matches &= match &part.checksum {
            Some(stored) if stored.algorithm == *algorithm => stored.value == *value,
            _ => kept.is_none_or(|kept| kept == ChecksumAlgorithm::Crc64Nvme),
        };
    }
    if matches { Ok(()) } else { Err(ObjectError::InvalidPart(claim.number)) }
}

/// The checksum of the whole: of the parts' checksums, or of all bytes, without reading one.
async fn combine(
    value: &UploadValue,
    complete: &Complete,
    parts: &[(PartRef, &PartValue)],
) -> Result<Option<Checksum>, ObjectError> {
    let Some((algorithm, kind)) = value.checksum else { return Ok(None) };
    if complete.kind.is_some_and(|asked| asked != kind) {
        return Err(ObjectError::BadDigest);
    }
    let of_part = |part: &PartValue| {
        let checksum = part.checksum.as_ref().filter(|checksum| checksum.algorithm == algorithm);
        checksum.and_then(|checksum| checksum::Checksum::from_bytes(algorithm, &checksum.value).ok())
    };
    let sums: Option<Vec<_>> =
        parts.iter().map(|(_, part)| of_part(part).map(|sum| (sum, part.size))).collect();
    let claimed = complete.checksum.as_ref();
    if claimed.is_some_and(|(claimed, _)| *claimed != algorithm || sums.is_none()) {
        return Err(ObjectError::BadRequest(
            "The upload has no checksum of the type that was sent with its completion",
        ));
    }
    let Some(sums) = sums else { return Ok(None) };
    let (value, count) = match (kind, Combined::new(algorithm)) {
        (ChecksumKind::FullObject, Some(mut combined)) => {
            for steps in sums.chunks(PARTS_AT_ONCE) {
                steps.iter().for_each(|(sum, size)| combined.push(sum, *size));
                if sums.len() > PARTS_AT_ONCE {
                    rest().await;
                }
            }
            (combined.finish().bytes().to_vec(), 0)
        }
        _ => {
            let mut composite = Composite::new(algorithm);
            sums.iter().for_each(|(sum, _)| composite.push(sum));
            (composite.finish().0.bytes().to_vec(), parts.len() as u16)
        }
    };
    if claimed.is_some_and(|(_, claimed)| *claimed != value) {
        return Err(ObjectError::BadDigest);
    }
    Ok(Some(Checksum { algorithm, kind, value, parts: count }))
}

/// A part as a listing shows it.
pub fn describe(number: u16, part: PartValue) -> Part {
    Part { number, size: part.size, modified: part.modified, etag: part.etag, checksum: part.checksum }
}
