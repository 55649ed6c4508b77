//! What a bucket holds in one shard: versions, their bytes, and bytes of uploads that are not complete.
//!
//! One type for three uses: the value of the family of usages, what an operation of a record adds to that,
//! and sums over shards. A delete marker counts as nothing. Figures of a change may be below zero. Sums
//! saturate, since what stands on a drive may be anything. Layout: `docs/FORMAT.md`, sections Log record and
//! Usage.

use std::ops::{Add, AddAssign, Sub};

use crate::codec::wire::{Put, Take};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Versions that are not delete markers.
    pub objects: i64,
    /// Of these versions.
    pub bytes: i64,
    /// Of parts whose upload is neither complete nor aborted.
    pub uploading: i64,
}

const LAYOUT: u8 = 1;

impl Usage {
    pub const NONE: Usage = Usage { objects: 0, bytes: 0, uploading: 0 };

    /// One version of so many bytes.
    pub fn version(bytes: u64) -> Usage {
        Usage { objects: 1, bytes: whole(bytes), uploading: 0 }
    }

    /// Bytes of parts.
    pub fn parts(bytes: u64) -> Usage {
        Usage { uploading: whole(bytes), ..Usage::NONE }
    }

    /// All bytes, whatever they are.
    pub fn stored(&self) -> i64 {
        self.bytes.saturating_add(self.uploading)
    }

    /// Whether some figure gets smaller.
    pub fn takes_away(&self) -> bool {
        self.objects < 0 || self.stored() < 0 || self.uploading < 0
    }

    /// Without what is below zero, which only damage can have brought about.
    pub fn clamped(self) -> Usage {
        Usage { objects: self.objects.max(0), bytes: self.bytes.max(0), uploading: self.uploading.max(0) }
    }

    /// As a value; below zero counts as nothing.
    pub fn encode(&self) -> Vec<u8> {
        let mut put = Put::default();
        let figure = |figure: i64| figure.max(0) as u64;
        put.u8(LAYOUT).u64(figure(self.objects)).u64(figure(self.bytes)).u64(figure(self.uploading));
        put.0
    }

    /// Of a value; none of its figures is below zero.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.u8()? != LAYOUT {
            return None;
        }
        let mut figure = || i64::try_from(take.u64()?).ok();
        Some(Usage { objects: figure()?, bytes: figure()?, uploading: figure()? })
    }

    /// As an operation of a record has it.
    pub(super) fn put(&self, put: &mut Put) {
        put.signed(self.objects).signed(self.bytes).signed(self.uploading);
    }

    pub(super) fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Usage { objects: take.signed()?, bytes: take.signed()?, uploading: take.signed()? })
    }
}

/// No object is as large as that; a drive may say that one is.
fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            objects: self.objects.saturating_add(other.objects),
            bytes: self.bytes.saturating_add(other.bytes),
            uploading: self.uploading.saturating_add(other.uploading),
        }
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, other: Usage) -> Usage {
        Usage {
            objects: self.objects.saturating_sub(other.objects),
            bytes: self.bytes.saturating_sub(other.bytes),
            uploading: self.uploading.saturating_sub(other.uploading),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_and_changes_come_back(objects: i64, bytes: i64, uploading: i64) {
            let usage = Usage { objects, bytes, uploading };
            let mut put = Put::default();
            usage.put(&mut put);
            prop_assert_eq!(Usage::take(&mut Take(&put.0)), Some(usage));
            let clamped = usage.clamped();
            prop_assert_eq!(Usage::decode(&clamped.encode()), Some(clamped));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = (Usage::decode(&bytes), Usage::take(&mut Take(&bytes)));
        }
    }
}
