//! One shard: its index, its space, its part of the log, and what a record means to all of them.
//!
//! `apply` is the only place where state follows from records; it runs when a record is durable and
//! again when the record is replayed. `checkpoint` writes what changed into runs, so that the log in
//! front of it no longer matters to this shard. Everything here belongs to one core.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::background::Foreman;
use super::core::Bulletin;
use super::error::ObjectError;
use super::keylock::KeyLocks;
use super::pins::Pins;
use super::pressure::Pressure;
use super::runs::ShardRuns;
use crate::base::ids::ShardId;
use crate::catalog::cache::BlockCache;
use crate::catalog::index::{Cached, Index};
use crate::catalog::key;
use crate::catalog::log::Log;
use crate::catalog::record::{Operation, Sequence};
use crate::catalog::replay::ShardReplay;
use crate::catalog::value::{LogPosition, PackValue, PartValue, Storage, Version};
use crate::pool::Pool;
use crate::pool::manifest::Manifest;
use crate::pool::place::ShardSpace;
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
    packs: RefCell<BTreeMap<u64, PackValue>>,
    dirty_packs: RefCell<BTreeSet<u64>>,
    manifest: RefCell<Manifest>,
    applied: Cell<Sequence>,
    /// Records up to this one are in runs that a durable manifest names.
    flushed: Cell<Sequence>,
    /// What was applied when the memtable being flushed was frozen.
    frozen_at: Cell<Sequence>,
    pub pressure: Rc<Pressure>,
    /// One checkpoint at a time, one merge beside it, and one of them at a time writes the manifest.
    flushing: tokio::sync::Mutex<()>,
    merging: tokio::sync::Mutex<()>,
    naming: tokio::sync::Mutex<()>,
}

impl Shard {
    /// Opens a shard as the drives have it, applies the tail of its log and begins a new epoch.
    pub async fn open(
        pool: Rc<Pool>,
        log: Rc<Log>,
        bulletin: Rc<Bulletin>,
        cache: Rc<BlockCache>,
        (foreman, pressure): (Rc<Foreman>, Rc<Pressure>),
        replay: ShardReplay,
    ) -> Result<Rc<Self>, ObjectError> {
        let id = replay.manifest.shard;
        let space = Rc::new(ShardSpace::new(pool.clone(), id));
        replay.segments.iter().for_each(|(drive, segment)| space.add_segment(*drive, *segment));
        let runs = ShardRuns::new(pool.clone(), space.clone(), foreman, pressure.clone());
        let index = Index::open(runs, cache, id, &replay.manifest.levels).await?;
        let flushed = Sequence(replay.manifest.flushed);
        let shard = Rc::new(Shard {
            id,
            pool,
            log,
            index,
            pins: Pins::new(space.clone()),
            space,
            locks: KeyLocks::default(),
            bulletin,
            packs: RefCell::default(),
            dirty_packs: RefCell::default(),
            manifest: RefCell::new(replay.manifest),
            applied: Cell::new(flushed),
            flushed: Cell::new(flushed),
            frozen_at: Cell::new(flushed),
            pressure,
            flushing: tokio::sync::Mutex::new(()),
            merging: tokio::sync::Mutex::new(()),
            naming: tokio::sync::Mutex::new(()),
        });
        shard.load().await?;
        for record in replay.records {
            shard.apply_replayed(record.sequence, record.operations, record.body);
        }
        shard.begin_epoch().await?;
        Ok(shard)
    }

    /// Reads free space and packs out of the catalog.
    async fn load(&self) -> Result<(), ObjectError> {
        let (start, end) = key::spaces();
        let mut scan = self.index.scan(start, end);
        while let Some((key, bitmap)) = scan.next().await? {
            let (drive, segment) = key::parse_space(&key).ok_or_else(|| damaged("space key"))?;
            if !self.space.load(drive, segment, &bitmap) {
                return Err(damaged("space map"));
            }
        }
        let (start, end) = key::packs();
        let mut scan = self.index.scan(start, end);
        while let Some((key, value)) = scan.next().await? {
            let id = key::parse_pack(&key).ok_or_else(|| damaged("pack key"))?;
            let pack = PackValue::decode(&value).ok_or_else(|| damaged("pack"))?;
            self.packs.borrow_mut().insert(id, pack);
        }
        Ok(())
    }

    /// From here on only records of this epoch follow; older ones that nobody has seen are void. What
    /// was replayed goes into runs first: a record that was found on one mirror only is then as safe
    /// as any, and one that turns up later with a drive that was away is behind what is flushed.
    async fn begin_epoch(&self) -> Result<(), ObjectError> {
        self.space.settle();
        for extent in self.index.extents() {
            if !self.space.occupy(&extent) {
                return Err(damaged("run extent"));
            }
        }
        self.space.end_recovery().await;
        let applied = self.applied.get();
        {
            let mut manifest = self.manifest.borrow_mut();
            manifest.epoch = self.pool.epoch;
            manifest.accepted = applied.0;
        }
        if applied > self.flushed() {
            self.write_runs().await?;
        }
        self.write_manifest().await?;
        self.log.begin_shard(self.id, Sequence::first(self.pool.epoch));
        Ok(())
    }

    pub(super) async fn write_manifest(&self) -> Result<(), ObjectError> {
        let _naming = self.naming.lock().await;
        let manifest = {
            let mut manifest = self.manifest.borrow_mut();
            manifest.generation += 1;
            manifest.levels = self.index.encode_levels();
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

    /// As `apply`, before anybody can read: what is freed needs no waiting, `settle` takes it all.
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
                }
                self.own(&key, &value);
                self.index.apply(&key, Some(&value));
                None
            }
            Operation::Delete { key } => {
                self.index.apply(&key, None);
                None
            }
            Operation::Free(extent) => self.disown(extent),
            Operation::Unpack { pack } => self.unpack(pack),
            Operation::Repack { pack, from, to } => self.repack(pack, from, to),
        }
    }

    /// Space that a value names has an owner now.
    fn own(&self, key: &[u8], value: &[u8]) {
        let extent = if key::parse_pack(key).is_some() {
            let pack = PackValue::decode(value);
            let id = key::parse_pack(key).expect("asked above");
            pack.map(|pack| {
                self.packs.borrow_mut().insert(id, pack.clone());
                pack.extent
            })
        } else if key::parse_part(key).is_some() {
            PartValue::decode(value).and_then(|part| part.extent)
        } else if key::is_version(key) && Version::is_striped(value) {
            match Version::decode_storage(value) {
                Some(Storage::Striped(extent)) => Some(extent),
                _ => None,
            }
        } else {
            None
        };
        if let Some(extent) = extent {
            self.check_space(self.space.commit(&extent));
        }
    }

    fn unpack(&self, id: u64) -> Option<Extent> {
        let mut packs = self.packs.borrow_mut();
        let pack = packs.get_mut(&id)?;
        pack.live = pack.live.saturating_sub(1);
        if pack.live > 0 {
            self.dirty_packs.borrow_mut().insert(id);
            return None;
        }
        let extent = packs.remove(&id)?.extent;
        self.dirty_packs.borrow_mut().remove(&id);
        self.index.apply(&key::pack(id), None);
        self.disown(extent)
    }

    fn repack(&self, id: u64, from: Extent, to: Extent) -> Option<Extent> {
        let mut packs = self.packs.borrow_mut();
        // A pack that is gone leaves the copy to nobody: it was handed out and is given back.
        let Some(pack) = packs.get_mut(&id).filter(|pack| pack.extent == from) else { return Some(to) };
        self.check_space(self.space.commit(&to));
        pack.extent = to;
        self.index.apply(&key::pack(id), Some(&pack.encode()));
        self.disown(from)
    }

    /// Gives the extent back if it was the shard's: what is not can only be left alone.
    fn disown(&self, extent: Extent) -> Option<Extent> {
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
            Cached::NeedsIo => Ok(self.index.get(key).await?),
        }
    }

    pub async fn version(&self, key: &[u8]) -> Result<Option<Version>, ObjectError> {
        match self.get(key).await? {
            None => Ok(None),
            Some(value) => Version::decode(&value).map(Some).ok_or_else(|| damaged("version")),
        }
    }

    pub fn pack_extent(&self, id: u64) -> Result<Extent, ObjectError> {
        let packs = self.packs.borrow();
        packs.get(&id).map(|pack| pack.extent.clone()).ok_or_else(|| damaged("pack reference"))
    }

    pub fn packs(&self) -> usize {
        self.packs.borrow().len()
    }

    pub fn applied(&self) -> Sequence {
        self.applied.get()
    }

    /// Records up to this one are in runs that a durable manifest names.
    pub fn flushed(&self) -> Sequence {
        self.flushed.get()
    }

    // ---- Checkpoint ----

    /// Held by whoever replaces runs.
    pub(super) async fn merging(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.merging.lock().await
    }

    /// Puts everything applied so far into runs and names them in the manifest.
    pub async fn checkpoint(&self) -> Result<(), ObjectError> {
        let _flushing = self.flushing.lock().await;
        if self.index.frozen_bytes() == 0 && self.applied.get() == self.flushed() {
            return Ok(());
        }
        self.write_runs().await?;
        self.write_manifest().await
    }

    /// The memtable as runs, which the next manifest names. What an earlier attempt had frozen comes
    /// first.
    async fn write_runs(&self) -> Result<(), ObjectError> {
        if self.index.frozen_bytes() == 0 {
            self.save_maps();
            self.index.freeze();
            self.frozen_at.set(self.applied.get());
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

    /// Free space and packs, as of what is applied, become part of the memtable that is frozen next.
    fn save_maps(&self) {
        for (drive, segment, bitmap) in self.space.drain_dirty() {
            self.index.apply(&key::space(drive, segment), Some(&bitmap));
        }
        let packs = self.packs.borrow();
        for id in self.dirty_packs.take() {
            if let Some(pack) = packs.get(&id) {
                self.index.apply(&key::pack(id), Some(&pack.encode()));
            }
        }
    }
}

pub fn damaged(what: &str) -> ObjectError {
    ObjectError::Unreadable(format!("the catalog holds a damaged {what}"))
}
