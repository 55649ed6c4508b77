//! What a shard knows of its packs beside the catalog, in bounded memory.
//!
//! A pack is a value of the catalog and nothing else: its extent is looked up there, through the
//! block cache, when one of its objects is read. Objects that leave a pack are only counted; before
//! the memtable is frozen the counts are folded into the values, and a pack that nobody lives in
//! any more is deleted and its space freed. Invariants: the value of a pack less what is counted
//! here is what is alive in it, at every moment; at the moment of a freeze nothing is counted, so
//! what the log replays behind it is exactly what the values lack. No record says when a pack goes:
//! a start that replays the counts deletes it once more, behind all that the log has. So its space is
//! nobody else's before the manifest is durable that knows of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use quick_cache::unsync::Cache;

use crate::base::join::join_groups;
use crate::base::limits::{
    PACK_CHANGE_BYTES, PACK_EXTENTS_CACHED, PACKS_FOLDED_AT_ONCE, PACKS_SPARSE_MAX, PACKS_WALKED_AT_ONCE,
};
use crate::catalog::key;
use crate::catalog::value::PackValue;
use crate::object::error::ObjectError;
use crate::object::shard::{Shard, damaged};
use crate::pool::stripe::Extent;

pub struct Packs {
    /// What left since the values were written, by pack.
    left: RefCell<BTreeMap<u64, Left>>,
    /// Where packs are that were read lately. Ids are never used again, so nothing has to be forgotten.
    extents: RefCell<Cache<u64, Extent>>,
    /// Deleted from the catalog by the checkpoint under way.
    emptied: RefCell<Vec<Extent>>,
    /// Packs that were seen to be sparse.
    sparse: RefCell<BTreeSet<u64>>,
    /// Packs whose objects must move whatever lives in them.
    weak: RefCell<BTreeSet<u64>>,
    /// Where the walk over all packs goes on; `None` when it is through.
    walk: RefCell<Option<Vec<u8>>>,
    /// A sparse pack was not remembered: another walk is due.
    forgot: Cell<bool>,
}

#[derive(Clone, Copy, Default)]
struct Left {
    objects: u32,
    bytes: u32,
}

impl Default for Packs {
    fn default() -> Self {
        Packs {
            left: RefCell::default(),
            emptied: RefCell::default(),
            extents: RefCell::new(Cache::new(PACK_EXTENTS_CACHED)),
            sparse: RefCell::default(),
            weak: RefCell::default(),
            walk: RefCell::new(Some(key::packs().0)),
            forgot: Cell::new(false),
        }
    }
}

impl Packs {
    /// Objects are not in the pack any more.
    pub fn leave(&self, pack: u64, objects: u32, bytes: u32) {
        let mut left = self.left.borrow_mut();
        let left = left.entry(pack).or_default();
        left.objects = left.objects.saturating_add(objects);
        left.bytes = left.bytes.saturating_add(bytes);
    }

    /// Memory taken by what is not in the catalog yet.
    pub fn unsaved_bytes(&self) -> usize {
        self.left.borrow().len() * PACK_CHANGE_BYTES
    }

    pub fn is_saved(&self) -> bool {
        self.left.borrow().is_empty()
    }

    /// Sparse packs were forgotten: look for them again.
    pub fn walk_again(&self) {
        self.forgot.set(true);
    }

    /// The next compaction empties this pack: it lacks chunks.
    pub fn empty_next(&self, pack: u64) {
        self.weak.borrow_mut().insert(pack);
    }

    fn remember(&self, pack: u64) {
        let mut sparse = self.sparse.borrow_mut();
        if sparse.len() < PACKS_SPARSE_MAX {
            sparse.insert(pack);
        } else if !sparse.contains(&pack) {
            self.walk_again();
        }
    }

    /// What is alive in a pack whose value is known.
    fn current(&self, pack: u64, value: &PackValue) -> PackValue {
        let left = self.left.borrow().get(&pack).copied().unwrap_or_default();
        PackValue {
            live: value.live.saturating_sub(left.objects),
            live_bytes: value.live_bytes.saturating_sub(left.bytes),
            ..value.clone()
        }
    }
}

impl Shard {
    /// Where a pack is that a version names.
    pub async fn pack_extent(&self, pack: u64) -> Result<Extent, ObjectError> {
        let known = self.packs.extents.borrow().get(&pack).cloned();
        if let Some(extent) = known {
            return Ok(extent);
        }
        let value = self.pack_value(pack).await?.ok_or_else(|| damaged("pack reference"))?;
        self.packs.extents.borrow_mut().insert(pack, value.extent.clone());
        Ok(value.extent)
    }

    async fn pack_value(&self, pack: u64) -> Result<Option<PackValue>, ObjectError> {
        match self.get(&key::pack(pack)).await? {
            None => Ok(None),
            Some(value) => PackValue::decode(&value).map(Some).ok_or_else(|| damaged("pack")),
        }
    }

    /// Whether objects live in a pack.
    pub async fn is_inhabited(self: std::rc::Rc<Self>, pack: u64) -> Result<bool, ObjectError> {
        let value = self.pack_value(pack).await?;
        Ok(value.is_some_and(|value| self.packs.current(pack, &value).live > 0))
    }

    /// Puts what left packs into their values. True when there was something, so that more may have
    /// come meanwhile; false at once when there was not.
    pub(in crate::object) async fn fold_packs(&self) -> Result<bool, ObjectError> {
        let packs: Vec<u64> = self.packs.left.borrow().keys().copied().collect();
        join_groups(&packs, PACKS_FOLDED_AT_ONCE, |pack| self.fold_pack(*pack)).await?;
        Ok(!packs.is_empty())
    }

    async fn fold_pack(&self, pack: u64) -> Result<(), ObjectError> {
        let value = self.get(&key::pack(pack)).await?;
        // From here to the end nothing waits: the count and the value change in one step.
        let value = value.and_then(|value| PackValue::decode(&value));
        let value = value.map(|value| self.packs.current(pack, &value));
        self.packs.left.borrow_mut().remove(&pack);
        match value {
            None => {
                tracing::error!(shard = %self.id, pack, "an object left a pack that is missing or damaged")
            }
            Some(value) if value.live == 0 => {
                self.index.apply(&key::pack(pack), None);
                self.packs.emptied.borrow_mut().extend(self.disown(value.extent));
            }
            Some(value) => {
                self.index.apply(&key::pack(pack), Some(&value.encode()));
                if value.is_sparse() {
                    self.packs.remember(pack);
                }
            }
        }
        Ok(())
    }

    /// Gives back the space of packs that went; what is durable does not know them any more.
    pub(in crate::object) fn free_emptied_packs(&self) {
        self.packs.emptied.take().into_iter().for_each(|extent| self.pins.retire(extent));
    }

    /// Whether a pack is known that may be worth compacting, after one step of the walk where none is.
    pub async fn has_sparse(&self) -> Result<bool, ObjectError> {
        let is_known = !self.packs.weak.borrow().is_empty() || !self.packs.sparse.borrow().is_empty();
        Ok(is_known || self.walk_packs().await?)
    }

    /// A pack that is worth compacting; `None` when none is known now.
    pub async fn next_sparse(&self) -> Result<Option<(u64, PackValue)>, ObjectError> {
        loop {
            let weak = self.packs.weak.borrow_mut().pop_first();
            if let Some(pack) = weak {
                let Some(value) = self.pack_value(pack).await? else { continue };
                let value = self.packs.current(pack, &value);
                if value.live > 0 {
                    return Ok(Some((pack, value)));
                }
                continue;
            }
            let next = self.packs.sparse.borrow_mut().pop_first();
            let Some(pack) = next else {
                if !self.walk_packs().await? {
                    return Ok(None);
                }
                continue;
            };
            let Some(value) = self.pack_value(pack).await? else { continue };
            let value = self.packs.current(pack, &value);
            if value.live > 0 && value.is_sparse() {
                return Ok(Some((pack, value)));
            }
        }
    }

    /// One step of the walk over all packs; true when a sparse one is known behind it.
    async fn walk_packs(&self) -> Result<bool, ObjectError> {
        let packs = &self.packs;
        let Some(start) = packs.walk.borrow().clone() else {
            let again = packs.forgot.replace(false);
            *packs.walk.borrow_mut() = again.then(|| key::packs().0);
            return Ok(false);
        };
        let mut scan = self.index.scan(start, key::packs().1);
        for _ in 0..PACKS_WALKED_AT_ONCE {
            let Some((at, value)) = scan.next().await? else {
                *packs.walk.borrow_mut() = None;
                break;
            };
            let Some(pack) = key::parse_pack(&at) else { continue };
            if PackValue::decode(&value).is_some_and(|value| value.is_sparse()) {
                packs.remember(pack);
            }
            *packs.walk.borrow_mut() = pack.checked_add(1).map(key::pack);
        }
        Ok(!packs.sparse.borrow().is_empty())
    }
}
