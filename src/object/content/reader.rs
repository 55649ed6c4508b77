//! Reading one version: looking it up, keeping it readable, and its bytes as a stream.
//!
//! The lookup happens at the owner of the key and holds what it finds; the bytes are read on the
//! core that serves the client, wherever they are: in the log, in a pack, in stripes, or in parts,
//! whose extents are looked up one after the other as the stream reaches them. Small bodies are read
//! in one go (`Object::small`): nobody keeps an object that has one while it waits for a client,
//! because a segment of the log is not given back before its readers are gone.

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::cache::Place;
use super::pins::{Held, Hold};
use crate::base::ids::ShardId;
use crate::base::limits::INLINE_BYTES_MAX;
use crate::catalog::key;
use crate::catalog::value::{LogPosition, PartRef, Storage, Version};
use crate::object::core::{Core, Loan};
use crate::object::decisions::commit::BucketRef;
use crate::object::error::ObjectError;
use crate::object::meta::ObjectMeta;
use crate::object::registry::buckets::Bucket;
use crate::object::repair::spots::Spot;
use crate::object::shard::{Shard, damaged};
use crate::object::store::Result;
use crate::pool::logs;
use crate::pool::read::{Hearer, RangeReader};
use crate::pool::stripe::Extent;

/// One version opened for reading: its bytes stay readable until this is dropped.
pub struct Object {
    core: Rc<Core>,
    shard: ShardId,
    /// Catalog key of a version that names an extent of its own.
    at: Option<Vec<u8>>,
    version: Version,
    /// In a bucket that is or was versioned.
    version_id: Option<String>,
    pack: Option<Rc<Extent>>,
    #[expect(dead_code, reason = "held for its Drop")]
    keep: Option<Keep>,
}

/// What keeps the bytes from being freed.
#[expect(dead_code, reason = "held for their Drop")]
enum Keep {
    Here(Hold),
    There(Loan),
}

/// What a lookup at the owner gives.
struct Opened {
    /// Catalog key of a version that names an extent of its own.
    at: Option<Vec<u8>>,
    version: Version,
    version_id: Option<String>,
    pack: Option<Extent>,
    held: Option<Held>,
}

impl Object {
    /// Looks up the current version of a key, or the one of an id, in its shard.
    pub(in crate::object) async fn open(
        core: Rc<Core>,
        shard: ShardId,
        (name, bucket): (&str, Rc<Bucket>),
        key: &str,
        id: Option<&str>,
    ) -> Result<Object> {
        core.beat();
        let (found, keep) = match core.local(shard) {
            Some(home) => {
                // Pinned before the lookup, so that nothing found can be freed in between.
                let _pin = home.pins.pin();
                let found = look_up(home, &bucket, key, id).await?;
                let keep = found.held.map(|held| Keep::Here(home.pins.hold(held)));
                (found, keep)
            }
            None => {
                let peers = core.peers.clone();
                let named = BucketRef { name: name.to_owned(), id: bucket.value.id };
                let (key, id) = (key.to_owned(), id.map(str::to_owned));
                let opened = core.on_shard(shard, move |home| async move {
                    let _pin = home.pins.pin();
                    // The settings that the owner goes by, which may be newer than ours.
                    let bucket = home.bucket(&named)?;
                    let found = look_up(&home, &bucket, &key, id.as_deref()).await?;
                    let loan = found.held.map(|held| home.pins.lend(held, &peers, shard));
                    Ok((found, loan))
                });
                let (found, loan) = opened.await?;
                (found, loan.map(Keep::There))
            }
        };
        let Opened { at, version, version_id, pack, .. } = found;
        Ok(Object { core, shard, at, version, version_id, pack: pack.map(Rc::new), keep })
    }

    /// In a bucket that is or was versioned.
    pub fn version_id(&self) -> Option<&str> {
        self.version_id.as_deref()
    }

    pub fn meta(&self) -> &ObjectMeta {
        &self.version.meta
    }

    /// Byte range and number of parts for `?partNumber=`; `None` when there is no such part. An
    /// object that was put in one piece has one part.
    pub fn part(&self, number: u16) -> Option<(Range<u64>, u16)> {
        let Storage::Parts { parts, .. } = &self.version.storage else {
            return (number == 1).then_some((0..self.meta().size, 1));
        };
        let mut start = 0;
        // Parts count from one in the order in which they were completed, whatever their numbers.
        for (index, part) in parts.iter().enumerate() {
            if index + 1 == usize::from(number) {
                return Some((start..start + part.size, parts.len() as u16));
            }
            start += part.size;
        }
        None
    }

    /// The parts of a multipart object, with their checksums; empty for another.
    pub fn parts(&self) -> &[PartRef] {
        match &self.version.storage {
            Storage::Parts { parts, .. } => parts,
            _ => &[],
        }
    }

    /// The whole body of a small object in one go; `None` for a larger one, which is streamed.
    pub async fn small(&self) -> Result<Option<Bytes>> {
        match &self.version.storage {
            Storage::Empty | Storage::Marker => Ok(Some(Bytes::new())),
            Storage::Inline { at, crc } => self.inline(*at, *crc).await.map(Some),
            Storage::Packed { pack, offset, crc } => self.packed(*pack, *offset, *crc).await.map(Some),
            Storage::Striped(_) | Storage::Parts { .. } => Ok(None),
        }
    }

    fn small_len(&self) -> Result<usize> {
        let len = usize::try_from(self.meta().size).unwrap_or(usize::MAX);
        match len <= INLINE_BYTES_MAX {
            true => Ok(len),
            false => Err(damaged("length of a small object")),
        }
    }

    async fn inline(&self, at: LogPosition, crc: u32) -> Result<Bytes> {
        let place = Place { shard: 0, packed: false, container: at.log.0, offset: at.offset };
        if let Some(body) = self.core.bodies.get(&place) {
            return Ok(body);
        }
        let len = self.small_len()?;
        let mirrors = self.core.logs.get(at.log);
        let mirrors =
            mirrors.ok_or_else(|| ObjectError::Unreadable(format!("log segment {} is lost", at.log)))?;
        let intact = |bytes: &[u8]| crc32c::crc32c(bytes) == crc;
        let turn = self.core.next_turn();
        // What waits for drives is apart, here and below, so that a read of what is in memory is small.
        let body = Box::pin(logs::read(&self.core.pool, &mirrors, at.offset, len, turn, intact)).await?;
        self.core.bodies.insert(place, &body);
        Ok(body)
    }

    async fn packed(&self, pack: u64, offset: u32, crc: u32) -> Result<Bytes> {
        let place = Place { shard: self.shard.0, packed: true, container: pack, offset };
        if let Some(body) = self.core.bodies.get(&place) {
            return Ok(body);
        }
        let len = self.small_len()?;
        let extent = self.pack.as_ref().ok_or_else(|| damaged("pack reference"))?;
        let hearer = self.hearer(key::pack(pack));
        let body = Box::pin(self.core.reads.read_small(extent, u64::from(offset), len, hearer)).await?;
        if crc32c::crc32c(&body) != crc {
            return Err(damaged("object in a pack"));
        }
        self.core.bodies.insert(place, &body);
        Ok(body)
    }

    /// Puts what is found damaged in the extent of the value at `key` on the list of things to repair.
    fn hearer(&self, key: Vec<u8>) -> Hearer {
        let (core, shard) = (self.core.clone(), self.shard);
        Rc::new(move |damage| core.spots.push(Spot { shard, key: key.clone(), row: damage.row }))
    }

    /// Streams `range`, which lies within the size.
    pub fn stream(self, range: Range<u64>) -> ObjectStream {
        assert!(range.start <= range.end && range.end <= self.meta().size);
        ObjectStream { object: self, rest: range, reader: None, part: None, ended: false }
    }
}

async fn look_up(home: &Shard, bucket: &Bucket, key: &str, id: Option<&str>) -> Result<Opened> {
    let mut last = None;
    loop {
        let found = home.find(bucket, key, id).await?;
        let pack = match pack_of(home, &found.version).await {
            // The last object may have left the pack meanwhile; if this one still says so, it is damage.
            Err(_) if last.as_ref() != Some(&found.version.storage) => {
                last = Some(found.version.storage);
                continue;
            }
            pack => pack?,
        };
        let version_id = bucket.settings.versioning.map(|_| found.id(bucket.value.id, key));
        let held = held(&found.version.storage, pack.as_ref());
        let has_extent = matches!(found.version.storage, Storage::Striped(_));
        let at = has_extent.then(|| key::version(bucket.value.id, key, found.order));
        return Ok(Opened { at, version: found.version, version_id, pack, held });
    }
}

/// What has to stay while the bytes are read.
fn held(storage: &Storage, pack: Option<&Extent>) -> Option<Held> {
    match storage {
        Storage::Empty | Storage::Marker => None,
        Storage::Inline { at, .. } => Some(Held::Log(at.log)),
        Storage::Packed { .. } => pack.map(|pack| Held::Extent(pack.nonce)),
        Storage::Striped(extent) => Some(Held::Extent(extent.nonce)),
        Storage::Parts { upload, .. } => Some(Held::Upload(*upload)),
    }
}

async fn pack_of(shard: &Shard, version: &Version) -> Result<Option<Extent>> {
    match version.storage {
        Storage::Packed { pack, .. } => shard.pack_extent(pack).await.map(Some),
        _ => Ok(None),
    }
}

/// The bytes of a range of an object, in order.
pub struct ObjectStream {
    object: Object,
    /// What no reader has been made for yet.
    rest: Range<u64>,
    reader: Option<RangeReader>,
    /// Keeps the part that is being read, which may be moved meanwhile.
    part: Option<Loan>,
    ended: bool,
}

impl ObjectStream {
    /// The next bytes; `None` at the end or behind an error.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.object.core.beat();
        while !self.ended {
            if let Some(reader) = &mut self.reader {
                match reader.next().await {
                    Some(Ok(bytes)) => return Some(Ok(bytes)),
                    Some(Err(error)) => return self.end(error.into()),
                    None => self.reader = None,
                }
            } else if self.rest.is_empty() {
                self.ended = true;
            } else {
                match self.advance().await {
                    Ok(Some(bytes)) => return Some(Ok(bytes)),
                    Ok(None) => {}
                    Err(error) => return self.end(error),
                }
            }
        }
        None
    }

    fn end(&mut self, error: ObjectError) -> Option<Result<Bytes>> {
        self.ended = true;
        Some(Err(error))
    }

    /// Makes the next reader, or gives the bytes of a small object.
    async fn advance(&mut self) -> Result<Option<Bytes>> {
        let range = self.rest.clone();
        match &self.object.version.storage {
            Storage::Striped(extent) => {
                let extent = Rc::new(extent.clone());
                if range.end > extent.size {
                    return Err(damaged("size of an object"));
                }
                let at = self.object.at.clone().expect("a striped version comes with its key");
                let hearer = self.object.hearer(at);
                let reader = self.object.core.reads.read_range(extent, range.clone());
                self.reader = Some(reader.heard_by(hearer));
                self.rest = range.end..range.end;
                Ok(None)
            }
            Storage::Parts { .. } => self.advance_part().await.map(|()| None),
            _ => {
                let body = self.object.small().await?.ok_or_else(|| damaged("storage"))?;
                self.rest = range.end..range.end;
                let (start, end) = (range.start as usize, range.end as usize);
                (end <= body.len()).then(|| body.slice(start..end)).map(Some).ok_or_else(|| damaged("size"))
            }
        }
    }

    /// A reader for the rest of the part in which the rest of the range begins.
    async fn advance_part(&mut self) -> Result<()> {
        let Storage::Parts { upload, parts } = &self.object.version.storage else { return Ok(()) };
        let (number, bounds) = locate(parts, self.rest.start).ok_or_else(|| damaged("parts"))?;
        let upload = *upload;
        let (peers, shard) = (self.object.core.peers.clone(), self.object.shard);
        let found = self.object.core.on_shard(shard, move |home| async move {
            let _pin = home.pins.pin();
            let part = home.clone().part_of(upload, number).await?;
            let extent = part.extent.ok_or_else(|| damaged("part"))?;
            let loan = home.pins.lend(Held::Extent(extent.nonce), &peers, shard);
            Ok((extent, loan))
        });
        let (extent, loan) = found.await?;
        let end = self.rest.end.min(bounds.end);
        let inside = self.rest.start - bounds.start..end - bounds.start;
        if inside.end > extent.size {
            return Err(damaged("size of a part"));
        }
        let hearer = self.object.hearer(key::part(upload, number));
        self.reader = Some(self.object.core.reads.read_range(Rc::new(extent), inside).heard_by(hearer));
        self.part = Some(loan);
        self.rest.start = end;
        Ok(())
    }
}

/// The part that holds byte `at`, and the bytes it holds.
fn locate(parts: &[PartRef], at: u64) -> Option<(u16, Range<u64>)> {
    let mut start = 0u64;
    for part in parts {
        let end = start.checked_add(part.size)?;
        if at < end {
            return Some((part.number, start..end));
        }
        start = end;
    }
    None
}
