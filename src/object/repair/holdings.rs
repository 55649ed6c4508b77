//! Which values of a shard name extents on the drives, for scrub, repair and evacuation; and moving one.
//!
//! Versions, parts and packs hold extents; runs are the index's own business. `hold` looks a value up and pins it, so
//! that its space is not used for anything else while its blocks are checked and rewritten. A move of a version or a
//! part is one record, decided under the lock of the key: it takes place only while the value still names the extent
//! that was copied.

use std::rc::Rc;

use crate::base::limits::HOLDINGS_LOOKED_AT;
use crate::catalog::key;
use crate::catalog::record::Operation;
use crate::catalog::value::{PackValue, PartValue, Storage, Version};
use crate::object::content::pins::Held;
use crate::object::core::{Loan, Peers};
use crate::object::error::ObjectError;
use crate::object::shard::{Shard, damaged};
use crate::pool::stripe::{Extent, Stripe};

/// An extent and the value that names it, readable until dropped.
pub struct Holding {
    pub key: Vec<u8>,
    /// As it is recorded.
    pub extent: Extent,
    /// Without the chunks whose segments belong to somebody else by now: nothing may be written there.
    pub held: Extent,
    #[expect(dead_code, reason = "held for its Drop")]
    loan: Loan,
}

/// Keys of values that name extents, and where to go on.
pub struct Page {
    pub keys: Vec<Vec<u8>>,
    /// `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Shard {
    /// Keys from `from` on whose values name extents.
    pub async fn holdings(self: Rc<Self>, from: Vec<u8>) -> Result<Page, ObjectError> {
        let mut scan = self.index.scan(from, key::packs().1);
        let mut keys = Vec::new();
        for _ in 0..HOLDINGS_LOOKED_AT {
            let Some((at, value)) = scan.next().await? else { return Ok(Page { keys, next: None }) };
            if extent_of(&at, &value).is_some() {
                keys.push(at.to_vec());
            }
        }
        let last = scan.next().await?;
        Ok(Page { keys, next: last.map(|(at, _)| at.to_vec()) })
    }

    /// The extent a value names now; `None` when there is no such value any more.
    pub async fn hold(self: Rc<Self>, at: Vec<u8>, peers: Peers) -> Result<Option<Holding>, ObjectError> {
        let _pin = self.pins.pin();
        let Some(value) = self.get(&at).await? else { return Ok(None) };
        let Some(extent) = extent_of(&at, &value) else { return Ok(None) };
        let held = self.space.held(&extent);
        let loan = self.pins.lend(Held::Extent(extent.nonce), &peers, self.id);
        Ok(Some(Holding { key: at, extent, held, loan }))
    }

    /// Puts `to`, a durable copy of `from`, in the place of `from`, if the value at `at` still names that.
    /// The space of `to` is the shard's from the call on, whether it succeeds or not.
    pub async fn relocate(
        self: Rc<Self>,
        at: Vec<u8>,
        from: Extent,
        to: Extent,
    ) -> Result<bool, ObjectError> {
        if let Err(error) = self.log.admit().await {
            self.space.release_extent(&to);
            return Err(error.into());
        }
        let _guard = self.locks.lock(&at).await;
        let operations = match self.moved(&at, from, &to).await {
            Ok(Some(operations)) => operations,
            unmoved => {
                self.space.release_extent(&to);
                return unmoved.map(|_| false);
            }
        };
        let result = self.commit_internal(operations).await;
        if let Err(error) = &result {
            self.abandon(&to, error);
        }
        result.map(|()| true)
    }

    /// The record that moves a value; `None` when it names another extent by now.
    async fn moved(
        &self,
        at: &[u8],
        from: Extent,
        to: &Extent,
    ) -> Result<Option<Vec<Operation>>, ObjectError> {
        let Some(value) = self.get(at).await? else { return Ok(None) };
        if extent_of(at, &value).as_ref() != Some(&from) {
            return Ok(None);
        }
        let value = replaced(at, &value, to).ok_or_else(|| damaged("value"))?;
        Ok(Some(vec![Operation::Put { key: at.to_vec(), value }, Operation::Free(from)]))
    }
}

/// The extent that a value names, if it names one.
pub fn extent_of(at: &[u8], value: &[u8]) -> Option<Extent> {
    if key::is_version(at) {
        return match Version::is_striped(value).then(|| Version::decode_storage(value))? {
            Some(Storage::Striped(extent)) => Some(extent),
            _ => None,
        };
    }
    if key::parse_part(at).is_some() {
        return PartValue::decode(value)?.extent;
    }
    key::parse_pack(at)?;
    Some(PackValue::decode(value)?.extent)
}

fn replaced(at: &[u8], value: &[u8], to: &Extent) -> Option<Vec<u8>> {
    if key::is_version(at) {
        let version = Version::decode(value)?;
        return Some(Version { storage: Storage::Striped(to.clone()), ..version }.encode());
    }
    let part = PartValue::decode(value)?;
    Some(PartValue { extent: Some(to.clone()), ..part }.encode())
}

/// Chunks in the stripe of an extent that has the fewest.
pub fn chunks_least(extent: &Extent) -> usize {
    extent.stripes.iter().map(Stripe::good).min().unwrap_or(usize::MAX)
}
