//! The values of the catalog, one type a key family, with their bytes on disk.
//!
//! Each value begins with the version of its layout; a decoder knows all versions up to its own
//! and answers `None` to anything else, so damaged or newer bytes never panic. The location of an
//! inline body stands at a fixed place of the value, because it is only known when the batch that
//! carries it is written. Layout: `docs/FORMAT.md`, section Catalog values.

use super::attached;
use super::meta::{Attached, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, Headers, ObjectMeta};
use crate::base::ids::LogId;
use crate::base::time::Nanos;
use crate::codec::wire::{Put, Take};
use crate::pool::stripe::Extent;

const LAYOUT: u8 = 1;
const VERSION_LAYOUT: u8 = 2;

/// Where a body stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub log: LogId,
    /// Bytes from the start of the log segment.
    pub offset: u32,
}

/// Where the bytes of a version are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// No bytes at all.
    Empty,
    /// In a log segment, until it is retired.
    Inline { at: LogPosition, crc: u32 },
    /// Among other small objects in a pack of the same shard.
    Packed { pack: u64, offset: u32, crc: u32 },
    /// In stripes of its own.
    Striped(Extent),
    /// The parts of a multipart upload, in order; their extents stay in the part records.
    Parts { upload: u128, parts: Vec<PartRef> },
    /// A delete marker: no object at all.
    Marker,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRef {
    pub number: u16,
    pub size: u64,
    pub checksum: Option<Vec<u8>>,
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub meta: ObjectMeta,
    pub storage: Storage,
    /// Its id is `null`: it was written while its bucket was not versioned. A key has at most one.
    pub null: bool,
}

/// Where the null version of a key stands, when its order is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NullOrder(pub u64);

/// What a listing shows of a version, decoded without the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub size: u64,
    pub modified: Nanos,
    pub etag: ETag,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Canonical id of an owner who does not own the bucket; only where it was asked for.
    pub owner: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketValue {
    pub id: u64,
    pub created: Nanos,
    pub owner: String,
    pub region: String,
}

/// A setting of a bucket: the document as it would be answered to who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingValue {
    pub document: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadValue {
    pub initiated: Nanos,
    /// Canonical id of the account of whoever began it.
    pub owner: String,
    pub initiator: Option<Initiator>,
    pub headers: Headers,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// What the object will have.
    pub attached: Attached,
}

/// The user who began an upload; a root stands for its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    /// The unique id: no other user ever has it.
    pub id: String,
    /// As it was then.
    pub arn: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartValue {
    pub size: u64,
    pub modified: Nanos,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
    /// `None` for a part without bytes.
    pub extent: Option<Extent>,
}

/// A coded extent full of small objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackValue {
    pub extent: Extent,
    /// Objects in it that are still current.
    pub live: u32,
    /// Their bytes.
    pub live_bytes: u32,
    /// Bytes of all objects it was made with. Behind them, to the end of the extent, stands the
    /// directory (`catalog::directory`).
    pub bodies: u32,
}

/// Parts that nothing refers to any more, still to be freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageValue {
    pub upload: u128,
}

// ---- Version ----

/// Bytes in front of the fixed place of an inline location: layout and storage kind.
const INLINE_AT: usize = 2;
const KIND_EMPTY: u8 = 0;
const KIND_INLINE: u8 = 1;
const KIND_PACKED: u8 = 2;
const KIND_STRIPED: u8 = 3;
const KIND_PARTS: u8 = 4;
const KIND_MARKER: u8 = 5;
/// Added to the kind of a null version.
const NULL: u8 = 0x80;

impl Version {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put(Vec::with_capacity(160));
        put.u8(VERSION_LAYOUT);
        let null = if self.null { NULL } else { 0 };
        let meta = &self.meta;
        match &self.storage {
            Storage::Empty => {
                put.u8(KIND_EMPTY | null);
            }
            Storage::Inline { at, crc } => {
                put.u8(KIND_INLINE | null).u64(at.log.0).u32(at.offset).u32(*crc);
            }
            Storage::Packed { pack, offset, crc } => {
                put.u8(KIND_PACKED | null).u64(*pack).u32(*offset).u32(*crc);
            }
            Storage::Striped(extent) => {
                put.u8(KIND_STRIPED | null).bytes(&extent_bytes(extent));
            }
            Storage::Parts { upload, parts } => {
                put.u8(KIND_PARTS | null).u128(*upload).varint(parts.len() as u64);
                parts.iter().for_each(|part| put_part_ref(&mut put, part));
            }
            Storage::Marker => {
                put.u8(KIND_MARKER | null).u64(meta.modified.0);
                attached::put(&mut put, &meta.attached);
                return put.0;
            }
        }
        put.varint(meta.size).u64(meta.modified.0).raw(&meta.etag.md5).u16(meta.etag.parts);
        put_checksum(&mut put, meta.checksum.as_ref());
        put_headers(&mut put, &meta.headers);
        attached::put(&mut put, &meta.attached);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        let (storage, null) = take_storage(&mut take)?;
        if storage == Storage::Marker {
            let mut marker = Version::marker(Nanos(take.u64()?));
            (marker.null, marker.meta.attached) = (null, attached::take(&mut take)?);
            return Some(marker);
        }
        let listed = take_listed(&mut take)?;
        let checksum = take_checksum(&mut take)?;
        let headers = take_headers(&mut take)?;
        let (size, modified, etag) = (listed.0, listed.1, listed.2);
        let attached = attached::take(&mut take)?;
        Some(Version {
            meta: ObjectMeta { size, modified, etag, checksum, headers, attached },
            storage,
            null,
        })
    }

    /// A delete marker.
    pub fn marker(modified: Nanos) -> Self {
        let meta = ObjectMeta { modified, ..ObjectMeta::default() };
        Version { meta, storage: Storage::Marker, null: false }
    }

    pub fn is_marker(&self) -> bool {
        self.storage == Storage::Marker
    }

    /// Whether an encoded version is a delete marker.
    pub fn encodes_marker(encoded: &[u8]) -> bool {
        kind(encoded) == Some(KIND_MARKER)
    }

    /// How many parts an encoded version lists: stepping over them takes time.
    pub fn encoded_parts(encoded: &[u8]) -> usize {
        if kind(encoded) != Some(KIND_PARTS) {
            return 0;
        }
        let mut take = Take(encoded);
        let count = take.raw(2 + 16).and_then(|_| take.varint()).unwrap_or(0);
        // A count that is a lie ends with the bytes.
        usize::try_from(count).unwrap_or(usize::MAX).min(encoded.len())
    }

    /// Whether an encoded version is a null version.
    pub fn encodes_null(encoded: &[u8]) -> bool {
        encoded.get(1).is_some_and(|kind| kind & NULL != 0)
    }

    /// Writes the location of an inline body into an encoded version that comes with it; false if
    /// it has none, or has one already because its body came with an earlier record.
    pub fn patch_location(encoded: &mut [u8], at: LogPosition) -> bool {
        if kind(encoded) != Some(KIND_INLINE) {
            return false;
        }
        let Some(place) = encoded.get_mut(INLINE_AT..INLINE_AT + 12) else { return false };
        if place[..8].iter().any(|byte| *byte != 0) {
            return false;
        }
        place[..8].copy_from_slice(&at.log.0.to_le_bytes());
        place[8..].copy_from_slice(&at.offset.to_le_bytes());
        true
    }

    /// Whether an encoded version has stripes of its own.
    pub fn is_striped(encoded: &[u8]) -> bool {
        kind(encoded) == Some(KIND_STRIPED)
    }

    /// The storage alone.
    pub fn decode_storage(bytes: &[u8]) -> Option<Storage> {
        Some(take_storage(&mut Take(bytes))?.0)
    }
}

fn kind(encoded: &[u8]) -> Option<u8> {
    encoded.get(1).map(|kind| kind & !NULL)
}

impl Listed {
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if skip_storage(&mut take)? == KIND_MARKER {
            let (modified, etag) = (Nanos(take.u64()?), ETag::default());
            return Some(Listed { size: 0, modified, etag, checksum: None, owner: None });
        }
        let (size, modified, etag) = take_listed(&mut take)?;
        let checksum = take_checksum_head(&mut take)?;
        Some(Listed { size, modified, etag, checksum, owner: None })
    }

    /// With the owner, which stands behind everything else.
    pub fn decode_owned(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if skip_storage(&mut take)? == KIND_MARKER {
            take.u64()?;
        } else {
            take_listed(&mut take)?;
            take_checksum(&mut take)?;
            take_headers(&mut take)?;
        }
        let owner = attached::take(&mut take)?.owner;
        Some(Listed { owner, ..Listed::decode(bytes)? })
    }
}

fn take_listed(take: &mut Take<'_>) -> Option<(u64, Nanos, ETag)> {
    let (size, modified) = (take.varint()?, Nanos(take.u64()?));
    Some((size, modified, ETag { md5: take.array()?, parts: take.u16()? }))
}

/// The storage, and whether the version is null.
fn take_storage(take: &mut Take<'_>) -> Option<(Storage, bool)> {
    if take.u8()? != VERSION_LAYOUT {
        return None;
    }
    let kind = take.u8()?;
    let storage = match kind & !NULL {
        KIND_EMPTY => Storage::Empty,
        KIND_INLINE => {
            let at = LogPosition { log: LogId(take.u64()?), offset: take.u32()? };
            Storage::Inline { at, crc: take.u32()? }
        }
        KIND_PACKED => Storage::Packed { pack: take.u64()?, offset: take.u32()?, crc: take.u32()? },
        KIND_STRIPED => Storage::Striped(extent_from(take.bytes()?)?),
        KIND_PARTS => {
            let (upload, count) = (take.u128()?, take.varint()?);
            Storage::Parts { upload, parts: (0..count).map(|_| take_part_ref(take)).collect::<Option<_>>()? }
        }
        KIND_MARKER => Storage::Marker,
        _ => return None,
    };
    Some((storage, kind & NULL != 0))
}

/// Gives the kind.
fn skip_storage(take: &mut Take<'_>) -> Option<u8> {
    if take.u8()? != VERSION_LAYOUT {
        return None;
    }
    let kind = take.u8()? & !NULL;
    match kind {
        KIND_EMPTY | KIND_MARKER => {}
        KIND_INLINE | KIND_PACKED => drop(take.raw(16)?),
        KIND_STRIPED => drop(take.bytes()?),
        KIND_PARTS => {
            let (_, count) = (take.u128()?, take.varint()?);
            for _ in 0..count {
                skip_part_ref(take)?;
            }
        }
        _ => return None,
    }
    Some(kind)
}

fn put_part_ref(put: &mut Put, part: &PartRef) {
    put.u16(part.number).varint(part.size).bytes(part.checksum.as_deref().unwrap_or(&[]));
}

fn skip_part_ref(take: &mut Take<'_>) -> Option<()> {
    take.u16()?;
    take.varint()?;
    take.bytes().map(drop)
}

fn take_part_ref(take: &mut Take<'_>) -> Option<PartRef> {
    let (number, size, checksum) = (take.u16()?, take.varint()?, take.bytes()?);
    Some(PartRef { number, size, checksum: (!checksum.is_empty()).then(|| checksum.to_vec()) })
}

// ---- The other families ----

impl BucketValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u64(self.id).u64(self.created.0);
        put.bytes(self.owner.as_bytes()).bytes(self.region.as_bytes());
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (id, created) = (take.u64()?, Nanos(take.u64()?));
        Some(BucketValue { id, created, owner: take_text(&mut take)?, region: take_text(&mut take)? })
    }
}

impl SettingValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).bytes(&self.document);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(SettingValue { document: layout(bytes)?.bytes()?.to_vec() })
    }
}

impl UploadValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u64(self.initiated.0).bytes(self.owner.as_bytes());
        let user = self.initiator.as_ref();
        put.bytes(user.map_or("", |user| &user.id).as_bytes());
        put.bytes(user.map_or("", |user| &user.arn).as_bytes());
        put_checksum_head(&mut put, self.checksum);
        put_headers(&mut put, &self.headers);
        attached::put(&mut put, &self.attached);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (initiated, owner) = (Nanos(take.u64()?), take_text(&mut take)?);
        let (id, arn) = (take_text(&mut take)?, take_text(&mut take)?);
        let initiator = (!id.is_empty()).then_some(Initiator { id, arn });
        let checksum = take_checksum_head(&mut take)?;
        let (headers, attached) = (take_headers(&mut take)?, attached::take(&mut take)?);
        Some(UploadValue { initiated, owner, initiator, headers, checksum, attached })
    }
}

impl PartValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).varint(self.size).u64(self.modified.0).raw(&self.etag.md5).u16(self.etag.parts);
        put_checksum(&mut put, self.checksum.as_ref());
        put.bytes(&self.extent.as_ref().map(extent_bytes).unwrap_or_default());
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (size, modified, etag) = take_listed(&mut take)?;
        let checksum = take_checksum(&mut take)?;
        let extent = match take.bytes()? {
            [] => None,
            bytes => Some(extent_from(bytes)?),
        };
        Some(PartValue { size, modified, etag, checksum, extent })
    }
}

impl NullOrder {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u64(self.0);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(NullOrder(layout(bytes)?.u64()?))
    }
}

impl PackValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u32(self.live).u32(self.live_bytes).u32(self.bodies);
        put.bytes(&extent_bytes(&self.extent));
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = layout(bytes)?;
        let (live, live_bytes, bodies) = (take.u32()?, take.u32()?, take.u32()?);
        let extent = extent_from(take.bytes()?)?;
        (u64::from(bodies) <= extent.size).then_some(PackValue { extent, live, live_bytes, bodies })
    }

    /// Less than half of what it was made with is alive: worth writing anew.
    pub fn is_sparse(&self) -> bool {
        u64::from(self.live_bytes) * 2 < u64::from(self.bodies)
    }
}

impl GarbageValue {
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        put.u8(LAYOUT).u128(self.upload);
        put.0
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(GarbageValue { upload: layout(bytes)?.u128()? })
    }
}

fn layout(bytes: &[u8]) -> Option<Take<'_>> {
    let mut take = Take(bytes);
    (take.u8()? == LAYOUT).then_some(take)
}

// ---- Shared fields ----

/// An extent alone, so that a reader who does not need it can step over it.
pub(super) fn extent_bytes(extent: &Extent) -> Vec<u8> {
    let mut put = Put::default();
    extent.encode(&mut put);
    put.0
}

pub(super) fn extent_from(bytes: &[u8]) -> Option<Extent> {
    Extent::decode(&mut Take(bytes))
}

fn algorithm_byte(algorithm: ChecksumAlgorithm) -> u8 {
    match algorithm {
        ChecksumAlgorithm::Crc32 => 1,
        ChecksumAlgorithm::Crc32c => 2,
        ChecksumAlgorithm::Crc64Nvme => 3,
        ChecksumAlgorithm::Sha1 => 4,
        ChecksumAlgorithm::Sha256 => 5,
        ChecksumAlgorithm::Sha512 => 6,
        ChecksumAlgorithm::Md5 => 7,
        ChecksumAlgorithm::XxHash64 => 8,
        ChecksumAlgorithm::XxHash3 => 9,
        ChecksumAlgorithm::XxHash128 => 10,
    }
}

/// Algorithm in the low bits, `FULL_OBJECT` in the highest; 0 is no checksum.
fn put_checksum_head(put: &mut Put, head: Option<(ChecksumAlgorithm, ChecksumKind)>) {
    put.u8(match head {
        None => 0,
        Some((algorithm, ChecksumKind::Composite)) => algorithm_byte(algorithm),
        Some((algorithm, ChecksumKind::FullObject)) => algorithm_byte(algorithm) | 0x80,
    });
}

fn take_checksum_head(take: &mut Take<'_>) -> Option<Option<(ChecksumAlgorithm, ChecksumKind)>> {
    let byte = take.u8()?;
    let kind = if byte & 0x80 == 0 { ChecksumKind::Composite } else { ChecksumKind::FullObject };
    let byte = byte & 0x7f;
    if byte == 0 {
        return Some(None);
    }
    let algorithm =
        ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm_byte(*algorithm) == byte)?;
    Some(Some((algorithm, kind)))
}

fn put_checksum(put: &mut Put, checksum: Option<&Checksum>) {
    put_checksum_head(put, checksum.map(|c| (c.algorithm, c.kind)));
    if let Some(checksum) = checksum {
        put.u16(checksum.parts).bytes(&checksum.value);
    }
}

fn take_checksum(take: &mut Take<'_>) -> Option<Option<Checksum>> {
    let Some((algorithm, kind)) = take_checksum_head(take)? else { return Some(None) };
    let parts = take.u16()?;
    Some(Some(Checksum { algorithm, kind, parts, value: take.bytes()?.to_vec() }))
}

/// Present system headers as (index, text), then the user's pairs.
fn put_headers(put: &mut Put, headers: &Headers) {
    let fields = [
        &headers.content_type,
        &headers.cache_control,
        &headers.content_disposition,
        &headers.content_encoding,
        &headers.content_language,
        &headers.expires,
        &headers.website_redirect,
    ];
    put.u8(fields.iter().filter(|field| field.is_some()).count() as u8);
    for (index, field) in fields.iter().enumerate() {
        if let Some(text) = field {
            put.u8(index as u8).bytes(text.as_bytes());
        }
    }
    put.varint(headers.user.len() as u64);
    for (name, value) in &headers.user {
        put.bytes(name.as_bytes()).bytes(value.as_bytes());
    }
}

fn take_headers(take: &mut Take<'_>) -> Option<Headers> {
    let mut headers = Headers::default();
    for _ in 0..take.u8()? {
        let (index, text) = (take.u8()?, take_text(take)?);
        *header_field(&mut headers, index)? = Some(text);
    }
    for _ in 0..take.varint()? {
        headers.user.push((take_text(take)?, take_text(take)?));
    }
    Some(headers)
}

fn header_field(headers: &mut Headers, index: u8) -> Option<&mut Option<String>> {
    Some(match index {
        0 => &mut headers.content_type,
        1 => &mut headers.cache_control,
        2 => &mut headers.content_disposition,
        3 => &mut headers.content_encoding,
        4 => &mut headers.content_language,
        5 => &mut headers.expires,
        6 => &mut headers.website_redirect,
        _ => return None,
    })
}

fn take_text(take: &mut Take<'_>) -> Option<String> {
    Some(std::str::from_utf8(take.bytes()?).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::attached::tests::any_attached;
    use proptest::prelude::*;

    fn headers() -> impl Strategy<Value = Headers> {
        let user = prop::collection::vec((".{0,9}", ".{0,9}"), 0..4);
        (any::<Option<String>>(), any::<Option<String>>(), user).prop_map(|(content_type, expires, user)| {
            Headers { content_type, expires, user, ..Headers::default() }
        })
    }

    fn storage() -> impl Strategy<Value = Storage> {
        let part = (1u16..10_000, any::<u64>(), any::<bool>()).prop_map(|(number, size, summed)| PartRef {
            number,
            size,
            checksum: summed.then(|| vec![7; 8]),
        });
        prop_oneof![
            Just(Storage::Empty),
            (0u64..3, any::<u32>(), any::<u32>()).prop_map(|(log, offset, crc)| Storage::Inline {
                at: LogPosition { log: LogId(log), offset },
                crc
            }),
            (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(pack, offset, crc)| Storage::Packed {
                pack,
                offset,
                crc
            }),
            (any::<u128>(), prop::collection::vec(part, 0..5))
                .prop_map(|(upload, parts)| Storage::Parts { upload, parts }),
            Just(Storage::Marker),
        ]
    }

    fn version() -> impl Strategy<Value = Version> {
        let checksum = prop::option::of(any::<[u8; 4]>().prop_map(|value| Checksum {
            algorithm: ChecksumAlgorithm::Crc32c,
            kind: ChecksumKind::FullObject,
            value: value.to_vec(),
            parts: 0,
        }));
        let numbers = (any::<u64>(), any::<u64>(), any::<[u8; 16]>(), any::<bool>());
        (numbers, checksum, headers(), storage(), any_attached()).prop_map(
            |((size, modified, md5, null), checksum, headers, storage, attached)| {
                let (modified, etag) = (Nanos(modified), ETag { md5, parts: 0 });
                if storage == Storage::Marker {
                    let mut marker = Version::marker(modified);
                    (marker.null, marker.meta.attached) = (null, attached);
                    return marker;
                }
                let meta = ObjectMeta { size, modified, etag, checksum, headers, attached };
                Version { meta, storage, null }
            },
        )
    }

    proptest! {
        #[test]
        fn versions_come_back(version in version()) {
            let encoded = version.encode();
            let decoded = Version::decode(&encoded);
            prop_assert_eq!(decoded.as_ref(), Some(&version));
            let listed = Listed::decode(&encoded).expect("what decodes whole decodes in part");
            prop_assert_eq!(listed.size, version.meta.size);
            prop_assert_eq!(listed.checksum.is_some(), version.meta.checksum.is_some());
            prop_assert_eq!(Version::encodes_marker(&encoded), version.is_marker());
            prop_assert_eq!(Version::encodes_null(&encoded), version.null);
            let owned = Listed::decode_owned(&encoded).expect("so it does with the owner");
            prop_assert_eq!(owned, Listed { owner: version.meta.attached.owner.clone(), ..listed });
            let parts = match &version.storage {
                Storage::Parts { parts, .. } => parts.len(),
                _ => 0,
            };
            prop_assert_eq!(Version::encoded_parts(&encoded), parts);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = (Version::decode(&bytes), Listed::decode(&bytes), PartValue::decode(&bytes));
            let _ = (UploadValue::decode(&bytes), BucketValue::decode(&bytes), PackValue::decode(&bytes));
            let _ = (SettingValue::decode(&bytes), Listed::decode_owned(&bytes));
            let _ = Version::encoded_parts(&bytes);
            let _ = (NullOrder::decode(&bytes), Version::encodes_null(&bytes), Version::encodes_marker(&bytes));
        }

        #[test]
        fn a_location_is_patched_in_place(version in version(), log: u64, offset: u32) {
            let at = LogPosition { log: LogId(log), offset };
            let mut encoded = version.encode();
            let patched = Version::patch_location(&mut encoded, at);
            let decoded = Version::decode(&encoded).expect("still a version");
            match (decoded.storage, &version.storage) {
                (Storage::Inline { at: found, .. }, Storage::Inline { at: before, .. }) if before.log.0 == 0 => {
                    prop_assert!(patched && found == at)
                }
                (other, before) => prop_assert!(!patched && other == *before),
            }
        }
    }
}
