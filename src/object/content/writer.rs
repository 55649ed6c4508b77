//! Taking in the bytes of an object or a part: small ones are kept for the log, others go to the
//! drives in stripes while they arrive.
//!
//! Nothing is visible before `commit`. A writer that is dropped leaves nothing behind: its space
//! goes back to the shard when the last write to it has ended.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::base::ids::{LogId, ShardId};
use crate::base::limits::{INLINE_BYTES_MAX, LARGE_BYTES_MIN, PUT_BYTES_MAX};
use crate::catalog::key;
use crate::catalog::value::{LogPosition, PartValue, Storage, Version};
use crate::object::core::{Core, Loan};
use crate::object::decisions::commit::{BucketRef, PutVersion};
use crate::object::decisions::uploads::UploadRef;
use crate::object::error::ObjectError;
use crate::object::meta::{Checksum, ETag, ObjectMeta};
use crate::object::shard::Shard;
use crate::object::store::{Commit, Committed, Part, Result, Target};
use crate::pool::error::PoolError;
use crate::pool::extent::Address;
use crate::pool::segments::Purpose;
use crate::pool::stripe::{Extent, Stripe};
use crate::pool::write::{Allocator, ExtentWriter, Written};

/// Takes the body of a PUT or of a part.
pub struct Writer {
    core: Rc<Core>,
    target: Target,
    sink: Sink,
    /// Decoded length, when the client announced it.
    size: Option<u64>,
    taken: u64,
    /// What the bucket has room for.
    room: u64,
}

enum Sink {
    /// Up to the inline limit, in one piece as long as one piece came.
    Small(Bytes),
    Stripes(Box<ExtentWriter<ShardAllocator>>),
    Settled(Written<ShardAllocator>),
}

impl Writer {
    /// `room` is the most bytes that the bucket takes.
    pub(in crate::object) fn new(core: Rc<Core>, target: Target, size: Option<u64>, room: u64) -> Self {
        Writer { core, target, sink: Sink::Small(Bytes::new()), size, taken: 0, room }
    }

    /// For work of the server's own, whose core may know no buckets: of a size that nobody knows, and judged by
    /// the bucket when it is committed.
    pub fn beside(core: Rc<Core>, bucket: BucketRef, key: String) -> Self {
        let shard = key::shard_of(bucket.id, key.as_bytes(), core.shard_count());
        let target = Target { bucket, key, shard, part: None };
        Writer::new(core, target, None, u64::MAX)
    }

    /// Takes the next bytes of the body; waits when drives are slower than the client.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        self.core.beat();
        self.taken += data.len() as u64;
        if self.taken > PUT_BYTES_MAX {
            return Err(ObjectError::EntityTooLarge);
        }
        if self.taken > self.room {
            return Err(ObjectError::QuotaExceeded);
        }
        if let Sink::Small(held) = &mut self.sink {
            if self.taken as usize <= INLINE_BYTES_MAX && !self.target.is_part() {
                *held = join(std::mem::take(held), data);
                return Ok(());
            }
            let held = std::mem::take(held);
            let mut stripes = self.stripes();
            if !held.is_empty() {
                stripes.write(held).await?;
            }
            self.sink = Sink::Stripes(Box::new(stripes));
        }
        match &mut self.sink {
            Sink::Stripes(stripes) => Ok(stripes.write(data).await?),
            Sink::Small(_) | Sink::Settled(_) => {
                unreachable!("replaced above; settled is after the last write")
            }
        }
    }

    /// Everything is there: waits until it is on the drives, where it has to be before a record may name it. `commit`
    /// sees to that itself; this is for who has something to do in between.
    pub async fn settle(mut self) -> Result<Self> {
        if let Sink::Stripes(stripes) = self.sink {
            self.sink = Sink::Settled(Box::pin(flushed(*stripes)).await?);
        }
        Ok(self)
    }

    fn stripes(&self) -> ExtentWriter<ShardAllocator> {
        let large = self.size.is_some_and(|size| size >= LARGE_BYTES_MIN);
        let path = if large { &self.core.writes_large } else { &self.core.writes };
        let allocator =
            ShardAllocator { core: self.core.clone(), shard: self.target.shard, purpose: Purpose::Objects };
        let nonce = self.core.pool.world.random_u64();
        path.extent(allocator, nonce, Some(self.size.unwrap_or(PUT_BYTES_MAX)))
    }

    /// To be asked while nothing comes: whether others wait for the memory that this holds. It is to be dropped then.
    pub fn gives_way(&self) -> bool {
        matches!(&self.sink, Sink::Stripes(stripes) if stripes.gives_way())
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.taken
    }

    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Commits the object durably, or fails and leaves what was there.
    pub async fn commit(self, commit: Commit) -> Result<Committed> {
        assert!(!self.target.is_part());
        let (core, target, size) = (self.core, self.target, self.taken);
        let (storage, body) = match self.sink {
            Sink::Small(body) => (inline(&body), body),
            Sink::Stripes(stripes) => {
                (Storage::Striped(Box::pin(flushed(*stripes)).await?.into_extent()), Bytes::new())
            }
            Sink::Settled(written) => (Storage::Striped(written.into_extent()), Bytes::new()),
        };
        let meta = ObjectMeta {
            size,
            modified: core.pool.world.now(),
            etag: commit.etag,
            checksum: commit.checksum,
            headers: commit.headers,
            attached: commit.attached,
        };
        let put = Box::new(PutVersion {
            bucket: target.bucket,
            key: target.key,
            version: Version { meta, storage, null: false },
            body,
            conditions: commit.conditions,
            origin: commit.origin,
        });
        let extent = match &put.version.storage {
            Storage::Striped(extent) => Some(extent.clone()),
            _ => None,
        };
        hand_over(&core, target.shard, extent, move |shard| shard.put_version(put)).await
    }

    /// For a writer from `upload_part`: records the part durably.
    pub async fn commit_part(self, etag: ETag, checksum: Option<Checksum>) -> Result<Part> {
        let (core, target, size) = (self.core, self.target, self.taken);
        let (upload, number) = target.part.expect("made by upload_part");
        let extent = match self.sink {
            Sink::Small(_) => None,
            Sink::Stripes(stripes) => Some(flushed(*stripes).await?.into_extent()),
            Sink::Settled(written) => Some(written.into_extent()),
        };
        let modified = core.pool.world.now();
        let part = PartValue { size, modified, etag, checksum: checksum.clone(), extent };
        let upload = UploadRef { bucket: target.bucket, key: target.key, upload };
        let extent = part.extent.clone();
        hand_over(&core, target.shard, extent, move |shard| shard.put_part(upload, number, part)).await?;
        Ok(Part { number, size, modified, etag, checksum })
    }
}

fn join(held: Bytes, data: Bytes) -> Bytes {
    if held.is_empty() {
        return data;
    }
    let mut both = BytesMut::with_capacity(held.len() + data.len());
    both.extend_from_slice(&held);
    both.extend_from_slice(&data);
    both.freeze()
}

fn inline(body: &Bytes) -> Storage {
    if body.is_empty() {
        return Storage::Empty;
    }
    // The place in the log is filled in when the batch has one.
    Storage::Inline { at: LogPosition { log: LogId(0), offset: 0 }, crc: crc32c::crc32c(body) }
}

/// Everything written and flushed, so that a record may name it.
async fn flushed(stripes: ExtentWriter<ShardAllocator>) -> Result<Written<ShardAllocator>> {
    let mut written = stripes.finish().await?;
    written.flush().await?;
    Ok(written)
}

/// Has the owner of a shard `decide` on a record that is to name an extent. The extent comes back when the owner never
/// hears of it, since its inbox may be full; from the decision on it is the owner's.
pub async fn hand_over<T, F>(
    core: &Core,
    shard: ShardId,
    extent: Option<Extent>,
    decide: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + 'static,
{
    let lend = |extent| Loan::new(&core.peers, shard, move |home| home.space.release_extent(&extent));
    let loan = extent.map(lend);
    let decide = move |home: Rc<Shard>| {
        loan.into_iter().for_each(Loan::keep);
        decide(home)
    };
    core.on_shard_whole(shard, decide).await
}

/// Space for the stripes of one object, from the shard of its key.
pub struct ShardAllocator {
    pub core: Rc<Core>,
    pub shard: ShardId,
    pub purpose: Purpose,
}

impl Allocator for ShardAllocator {
    async fn place(&self, chunk_bytes: u32) -> std::result::Result<Stripe, PoolError> {
        let purpose = self.purpose;
        if let Some(shard) = self.core.local(self.shard) {
            return shard.space.place_stripe(chunk_bytes, purpose).await;
        }
        let (peers, id) = (self.core.peers.clone(), self.shard);
        let placed = self.core.on_shard(id, move |shard| async move {
            let stripe = shard.space.place_stripe(chunk_bytes, purpose).await?;
            let lent = stripe.clone();
            let undo = move |shard: &Rc<Shard>| {
                for address in lent.chunks.iter().flatten() {
                    shard.space.release(*address, u64::from(chunk_bytes));
                }
            };
            Ok((stripe, Loan::new(&peers, id, undo)))
        });
        let (stripe, loan) = placed.await.map_err(back_to_pool)?;
        loan.keep();
        Ok(stripe)
    }

    fn release(&self, address: Address, bytes: u32) {
        self.core.tell(self.shard, move |shard| shard.space.release(address, u64::from(bytes)));
    }
}

/// An owner's refusal in the words of the layer that asked through us.
pub(in crate::object) fn back_to_pool(error: ObjectError) -> PoolError {
    match error {
        ObjectError::NotWritable => PoolError::NotWritable { good: 0, needed: 1 },
        ObjectError::StorageFull => PoolError::Full,
        ObjectError::SlowDown => PoolError::Busy,
        ObjectError::Unreadable(text) => PoolError::NoSpaceMap(text),
        other => PoolError::NoSpaceMap(other.to_string()),
    }
}
