//! One shard: its index, its space, its part of the log, and what a record means to all of them.
//!
//! `apply` is the only place where state follows from records; it runs when a record is durable and
//! again when the record is replayed. `checkpoint` writes what changed into runs, so that the log in
//! front of it no longer matters to this shard. Everything here belongs to one core.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::content::pins::Pins;
use super::core::Bulletin;
use super::decisions::events::Events;
use super::decisions::keylock::KeyLocks;
use super::decisions::traffic::Traffic;
use super::error::ObjectError;
use super::lifecycle::witness::Witness;
use super::packing::packs::Packs;
use super::registry::usage::Ledger;
use super::repair::holdings::extent_of;
use super::tending::background::Foreman;
use super::tending::pressure::Pressure;
use super::tending::runs::ShardRuns;
use crate::base::ids::{DriveId, ShardId};
use crate::base::join::join_groups;
use crate::base::limits::SPACE_MAPS_SAVED_AT_ONCE;
use crate::catalog::cache::BlockCache;
use crate::catalog::index::{Cached, Index};
use crate::catalog::key;
use crate::catalog::log::Log;
use crate::catalog::record::{Operation, Sequence};
use crate::catalog::replay::ShardReplay;
use crate::catalog::value::{LogPosition, Version};
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::manifest::Manifest;
use crate::pool::place::{MapReader, ShardSpace};
use crate::pool::stripe::Extent;

pub struct Shard {
    pub id: ShardId,
    pub pool: Rc<Pool>,
    pub log: Rc<Log>,
    pub index: Index<ShardRuns>,
    pub space: Rc<ShardSpace>,
    pub pins: Rc<Pins>,
    pub locks: KeyLocks,
    pub bulletin: Rc<Bulletin>,
    pub packs: Packs,
    pub ledger: Ledger,
    pub events: Events,
    pub witness: Witness,
    manifest: RefCell<Manifest>,
    applied: Cell<Sequence>,
    /// Records up to this one are in runs that a durable manifest names.
    flushed: Cell<Sequence>,
    /// What was applied when the memtable being flushed was frozen.
    frozen_at: Cell<Sequence>,
    /// What records have put and taken away since the start.
    pub traffic: Traffic,
    pub pressure: Rc<Pressure>,
    /// One checkpoint at a time, one merge beside it, and one of them at a time writes the manifest.
    flushing: tokio::sync::Mutex<()>,
    merging: tokio::sync::Mutex<()>,
    naming: tokio::sync::Mutex<()>,
}

impl Shard {
    /// Opens a shard as the drives have it, applies the tail of its log and takes over all space that it then names.
    /// Claims none and writes no record: that comes with `begin_epoch`.
    pub async fn open(
        pool: Rc<Pool>,
        log: Rc<Log>,
        bulletin: Rc<Bulletin>,
        cache: Rc<BlockCache>,
        (foreman, pressure): (Rc<Foreman>, Rc<Pressure>),
        replay: ShardReplay,
        maps_bytes: usize,
    ) -> Result<Rc<Self>, ObjectError> {
        let id = replay.manifest.shard;
        replay.manifest.complete(&pool).await?;
        let space = Rc::new(ShardSpace::new(pool.clone(), id, maps_bytes));
        replay.segments.iter().for_each(|(drive, segment)| space.add_segment(*drive, *segment));
        let runs = ShardRuns::new(pool.clone(), space.clone(), foreman, pressure.clone());
        let index = Index::open(runs, cache, id, &replay.manifest.levels).await?;
        let flushed = Sequence(replay.manifest.flushed);
        let shard = Rc::new(Shard {
            id,
            log,
            index,
            pins: Pins::new(space.clone()),
            space,
            locks: KeyLocks::default(),
            events: Events::new(pool.epoch, usize::from(id.0), bulletin.peers.bells.clone()),
            witness: Witness::default(),
            pool,
            bulletin,
            packs: Packs::default(),
            ledger: Ledger::default(),
            manifest: RefCell::new(replay.manifest),
            applied: Cell::new(flushed),
            flushed: Cell::new(flushed),
            frozen_at: Cell::new(flushed),
            traffic: Traffic::default(),
            pressure,
            flushing: tokio::sync::Mutex::new(()),
            merging: tokio::sync::Mutex::new(()),
            naming: tokio::sync::Mutex::new(()),
        });
        shard.space.read_maps_with(map_reader(&shard));
        shard.load().await?;
        shard.load_events().await?;
        for record in replay.records {
            shard.apply_replayed(record.sequence, record.operations, record.body);
        }
        shard.space.settle();
        match shard.index.extents().iter().all(|extent| shard.space.occupy(extent)) {
            true => Ok(shard),
            false => Err(damaged("run extent")),
        }
    }

    /// Reads free space out of the catalog.
    async fn load(&self) -> Result<(), ObjectError> {
        let (start, end) = key::spaces();
        let mut scan = self.index.scan(start, end);
        while let Some((key, map)) = scan.next().await? {
            let (drive, segment) = key::parse_space(&key).ok_or_else(|| damaged("space key"))?;
            if !self.space.note(drive, segment, &map) {
                return Err(damaged("space map"));
            }
        }
        Ok(())
    }

    /// From here on only records of this epoch follow; older ones that nobody has seen are void. The manifest says so
    /// before anything else is written: a start that is cut off behind that has settled what the shard is, and a drive
    /// that it did without tells nothing else when it is back. What was replayed goes into runs then: a record that was
    /// found on one mirror only is as safe as any there. Where the drives are too full for that the log still has it,
    /// and a checkpoint follows when there is room.
    pub async fn begin_epoch(&self) -> Result<(), ObjectError> {
        self.space.end_recovery().await;
        let applied = self.applied.get();
        {
            let mut manifest = self.manifest.borrow_mut();
            manifest.epoch = self.pool.epoch;
            if manifest.ends.last() != Some(&applied.0) {
                manifest.ends.push(applied.0);
            }
        }
        self.write_manifest().await?;
        self.space.let_go();
        if applied <= self.flushed() || self.write_replayed().await? {
            self.free_emptied_packs();
        }
        self.log.begin_shard(self.id, Sequence::first(self.pool.epoch));
        Ok(())
    }

    /// What was replayed, as runs that the manifest names, if the drives have room for them.
    async fn write_replayed(&self) -> Result<bool, ObjectError> {
        match self.write_runs_on_others().await {
            Err(ObjectError::StorageFull) => {
                tracing::warn!(shard = %self.id, "the drives have no room for what was replayed: it stays in the log");
                Ok(false)
            }
            Err(error) => Err(error),
            Ok(()) => self.write_manifest().await.map(|()| true),
        }
    }

    /// As `write_runs`, and again as often as a drive fails under it, since nothing else tries again while a start is
    /// under way: the others take what that drive did not.
    async fn write_runs_on_others(&self) -> Result<(), ObjectError> {
        loop {
            let failed = self.pool.failed();
            match self.write_runs().await {
                Err(error) if self.pool.failed() > failed => {
                    tracing::warn!(shard = %self.id, %error, "what was replayed is written again to other drives");
                }
                written => return written,
            }
        }
    }

    pub(super) async fn write_manifest(&self) -> Result<(), ObjectError> {
        let _naming = self.naming.lock().await;
        let manifest = {
            let mut manifest = self.manifest.borrow_mut();
            manifest.generation += 1;
            manifest.levels = self.index.encode_levels();
            let flushed = manifest.flushed;
            manifest.ends.retain(|end| *end > flushed);
            manifest.clone()
        };
        manifest.write(&self.pool).await?;
        self.index.installed();
        self.flushed.set(Sequence(manifest.flushed));
        Ok(())
    }

    // ---- What records mean ----

    /// Applies a durable record. `body` is where the bytes that came with it stand.
    pub fn apply(&self, sequence: Sequence, operations: Vec<Operation>, body: LogPosition) {
        assert!(sequence > self.applied.get(), "records are applied once and in order");
        for operation in operations {
            self.apply_operation(operation, body).into_iter().for_each(|extent| self.pins.retire(extent));
        }
        self.applied.set(sequence);
    }

    /// As `apply`, before anybody can read: what is freed waits for the manifest, `let_go` takes it all.
    fn apply_replayed(&self, sequence: Sequence, operations: Vec<Operation>, body: LogPosition) {
        for operation in operations {
            let _ = self.apply_operation(operation, body);
        }
        self.applied.set(sequence);
    }

    /// Gives back the extent that lost its owner, if one did.
    fn apply_operation(&self, operation: Operation, body: LogPosition) -> Option<Extent> {
        match operation {
            Operation::Put { key, mut value } => {
                if key::is_version(&key) {
                    Version::patch_location(&mut value, body);
                    self.traffic.come(&key);
                }
                self.own(&key, &value);
                if key::is_event(&key) {
                    self.events.note(&key);
                }
                self.index.apply(&key, Some(&value));
                None
            }
            Operation::Delete { key } => {
                if key::is_version(&key) {
                    self.traffic.go(&key);
                } else if key::is_event(&key) {
                    self.events.forget(&key);
                }
                self.index.apply(&key, None);
                None
            }
            Operation::Free(extent) => self.disown(extent),
            Operation::Unpack { pack, objects, bytes } => {
                self.packs.leave(pack, objects, bytes);
                None
            }
            Operation::Charge { bucket, usage } => {
                self.ledger.note(bucket, usage);
                // While records are replayed no bucket is known: the meters begin with the sums of all shards.
                self.bulletin.common.buckets.settle(bucket, usage);
                None
            }
        }
    }

    /// Space that a value names has an owner now.
    fn own(&self, key: &[u8], value: &[u8]) {
        if let Some(extent) = extent_of(key, value) {
            self.check_space(self.space.commit(&extent));
        }
    }

    /// Gives the extent back if it was the shard's: what is not can only be left alone.
    pub(super) fn disown(&self, extent: Extent) -> Option<Extent> {
        let inside = self.space.uncommit(&extent);
        self.check_space(inside);
        inside.then_some(extent)
    }

    fn check_space(&self, inside: bool) {
        if !inside {
            tracing::error!(shard = %self.id, "a record names space outside of the shard: it is damaged");
        }
    }

    // ---- Lookups ----

    pub async fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, ObjectError> {
        match self.index.get_cached(key) {
            Cached::Found(value) => Ok(value),
            // Apart: what waits for drives is larger than all else that a lookup is made of.
            Cached::NeedsIo => Ok(Box::pin(self.index.get(key)).await?),
        }
    }

    pub async fn version(&self, key: &[u8]) -> Result<Option<Version>, ObjectError> {
        match self.get(key).await? {
            None => Ok(None),
            Some(value) => Version::decode(&value).map(Some).ok_or_else(|| damaged("version")),
        }
    }

    pub fn applied(&self) -> Sequence {
        self.applied.get()
    }

    /// Records up to this one are in runs that a durable manifest names.
    pub fn flushed(&self) -> Sequence {
        self.flushed.get()
    }

    // ---- Checkpoint ----

    /// Memory that a checkpoint makes free: the memtable, and what it would get before it is frozen.
    pub fn unsaved_bytes(&self) -> usize {
        let counts = self.packs.unsaved_bytes() + self.ledger.unsaved_bytes();
        self.index.memtable_bytes() + counts + self.space.unsaved_bytes()
    }

    /// Objects left packs that the catalog still counts.
    pub fn owes_packs(&self) -> bool {
        !self.packs.is_saved()
    }

    /// Held by whoever replaces runs.
    pub(super) async fn merging(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.merging.lock().await
    }

    /// No checkpoint begins while this is held, and none is under way.
    pub(super) async fn no_checkpoint(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.flushing.lock().await
    }

    /// Puts everything applied so far into runs and names them in the manifest.
    pub async fn checkpoint(&self) -> Result<(), ObjectError> {
        let _flushing = self.no_checkpoint().await;
        if self.index.frozen_bytes() == 0 && self.applied.get() == self.flushed() {
            return Ok(());
        }
        self.write_runs().await?;
        self.write_manifest().await?;
        self.free_emptied_packs();
        Ok(())
    }

    /// The memtable as runs, which the next manifest names. What an earlier attempt had frozen comes
    /// first.
    async fn write_runs(&self) -> Result<(), ObjectError> {
        if self.index.frozen_bytes() == 0 {
            // What came while the last turn waited is folded by another; a turn that finds nothing does
            // not wait, so that nothing comes between it and the freeze.
            while self.fold_packs().await? || self.fold_usages().await? || self.save_maps().await? {}
            self.index.freeze();
            self.frozen_at.set(self.applied.get());
            self.space.send_away();
        }
        self.index.flush().await?;
        self.manifest.borrow_mut().flushed = self.frozen_at.get().0;
        Ok(())
    }

    /// Merges runs while there is something to merge and the core is not to end.
    pub async fn merge(&self) -> Result<(), ObjectError> {
        let _merging = self.merging.lock().await;
        while self.index.needs_merge() && !self.log.is_over() {
            self.index.merge().await?;
            self.write_manifest().await?;
        }
        Ok(())
    }

    /// Puts changed space maps into the memtable. True when there was one, so that more may have changed
    /// meanwhile; false at once when there was not.
    async fn save_maps(&self) -> Result<bool, ObjectError> {
        let changed = self.space.changed();
        let save = |(drive, segment): &(DriveId, u32)| {
            let (drive, segment) = (*drive, *segment);
            let put = move |map: &[u8]| self.index.apply(&key::space(drive, segment), Some(map));
            self.space.save(drive, segment, put)
        };
        join_groups(&changed, SPACE_MAPS_SAVED_AT_ONCE, save).await?;
        Ok(!changed.is_empty())
    }
}

/// How the shard's space reads its maps: in the catalog, which stands in that space.
fn map_reader(shard: &Rc<Shard>) -> MapReader {
    let shard = Rc::downgrade(shard);
    Box::new(move |drive, segment| {
        let shard = shard.clone();
        Box::pin(async move {
            let shard = shard.upgrade().ok_or(PoolError::Stopped)?;
            let found = shard.get(&key::space(drive, segment)).await;
            found.map_err(|error| {
                tracing::warn!(shard = %shard.id, %drive, segment, %error, "a space map is not readable");
                PoolError::Damaged("space map")
            })
        })
    })
}

pub fn damaged(what: &str) -> ObjectError {
    ObjectError::Unreadable(format!("the catalog holds a damaged {what}"))
}
