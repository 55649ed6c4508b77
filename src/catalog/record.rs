//! One record of the log: what changes in one shard, whole or not at all.
//!
//! A record is a list of operations and, for a small object, its bytes behind them. Applying the
//! records of a shard in the order of their sequence numbers is the whole meaning of the log: the
//! same function applies them when they are committed and when they are replayed.
//! Layout: `docs/FORMAT.md`, section Log record.

use std::fmt;

use super::usage::Usage;
use super::value::{extent_bytes, extent_from};
use crate::base::ids::ShardId;
use crate::base::limits::{EPOCHS_MAX, INDEX_KEY_BYTES_MAX, INDEX_VALUE_BYTES_MAX};
use crate::codec::wire::{Put, Take};
use crate::pool::stripe::Extent;

/// The sequence number of a record in its shard: the epoch of the writer in the upper 24 bits, a
/// counter in the lower 40. A counter of 40 bits lasts 300 days at 40,000 records a second within
/// one epoch, and `Sequence::next` refuses to wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

const COUNTER_BITS: u32 = 40;

impl Sequence {
    pub fn first(epoch: u32) -> Self {
        assert!(epoch <= EPOCHS_MAX, "checked in the superblock");
        Sequence(u64::from(epoch) << COUNTER_BITS)
    }

    pub fn epoch(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32
    }

    pub fn next(self) -> Self {
        let next = Sequence(self.0 + 1);
        assert!(next.epoch() == self.epoch(), "the records of one epoch fit its counter");
        next
    }

    /// Whether nothing lies between `before` and this: the next of its epoch, or the first of a
    /// later one.
    pub fn follows(self, before: Self) -> bool {
        let base = if self.epoch() == before.epoch() { before } else { Sequence::first(self.epoch()) };
        self > before && self.0 - base.0 == 1
    }
}

/// Epoch and number in it.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch(), self.0 - Sequence::first(self.epoch()).0)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The key has this value now. Space that the value names becomes owned.
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        key: Vec<u8>,
    },
    /// The extent has no owner any more.
    Free(Extent),
    /// Objects less that live in the pack, and bytes; at none the pack itself is deleted and freed.
    Unpack {
        pack: u64,
        objects: u32,
        bytes: u32,
    },
    /// The bucket holds so much more in this shard, or less.
    Charge {
        bucket: u64,
        usage: Usage,
    },
}

impl Operation {
    /// Whether the catalog takes it: what is in the log is applied, now and at every start.
    pub fn fits(&self) -> bool {
        match self {
            Operation::Put { key, value } => {
                key.len() <= INDEX_KEY_BYTES_MAX && value.len() <= INDEX_VALUE_BYTES_MAX
            }
            Operation::Delete { key } => key.len() <= INDEX_KEY_BYTES_MAX,
            Operation::Free(_) | Operation::Unpack { .. } | Operation::Charge { .. } => true,
        }
    }
}

/// The head of a record, in front of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub shard: ShardId,
    pub sequence: Sequence,
    /// Bytes of the operations.
    pub operations: u32,
    /// Bytes of the body behind them.
    pub body: u32,
}

impl Head {
    pub const BYTES: usize = 18;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..2].copy_from_slice(&self.shard.0.to_le_bytes());
        out[2..10].copy_from_slice(&self.sequence.0.to_le_bytes());
        out[10..14].copy_from_slice(&self.operations.to_le_bytes());
        out[14..].copy_from_slice(&self.body.to_le_bytes());
        out
    }

    pub fn take(take: &mut Take<'_>) -> Option<Self> {
        let (shard, sequence) = (ShardId(take.u16()?), Sequence(take.u64()?));
        Some(Head { shard, sequence, operations: take.u32()?, body: take.u32()? })
    }
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const FREE: u8 = 3;
const UNPACK: u8 = 4;
const CHARGE: u8 = 5;

pub fn encode(operations: &[Operation]) -> Vec<u8> {
    let mut put = Put(Vec::with_capacity(256));
    for operation in operations {
        match operation {
            Operation::Put { key, value } => put.u8(PUT).bytes(key).bytes(value),
            Operation::Delete { key } => put.u8(DELETE).bytes(key),
            Operation::Free(extent) => put.u8(FREE).bytes(&extent_bytes(extent)),
            Operation::Unpack { pack, objects, bytes } => put.u8(UNPACK).u64(*pack).u32(*objects).u32(*bytes),
            Operation::Charge { bucket, usage } => {
                usage.put(put.u8(CHARGE).u64(*bucket));
                &mut put
            }
        };
    }
    put.0
}

pub fn decode(bytes: &[u8]) -> Option<Vec<Operation>> {
    let mut take = Take(bytes);
    let mut operations = Vec::new();
    while !take.is_empty() {
        operations.push(match take.u8()? {
            PUT => {
                let key = take.bytes()?.to_vec();
                Operation::Put { key, value: take.bytes()?.to_vec() }
            }
            DELETE => Operation::Delete { key: take.bytes()?.to_vec() },
            FREE => Operation::Free(extent_from(take.bytes()?)?),
            UNPACK => Operation::Unpack { pack: take.u64()?, objects: take.u32()?, bytes: take.u32()? },
            CHARGE => Operation::Charge { bucket: take.u64()?, usage: Usage::take(&mut take)? },
            _ => return None,
        });
    }
    Some(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn operations_come_back(pairs: Vec<(Vec<u8>, Option<Vec<u8>>)>, packs: Vec<(u64, u32, u32)>, charges: Vec<(u64, i64)>) {
            let change = |(key, value): (Vec<u8>, Option<Vec<u8>>)| match value {
                Some(value) => Operation::Put { key, value },
                None => Operation::Delete { key },
            };
            let unpack = |(pack, objects, bytes)| Operation::Unpack { pack, objects, bytes };
            let charge = |(bucket, bytes)| Operation::Charge { bucket, usage: Usage { bytes, ..Usage::NONE } };
            let packs = packs.into_iter().map(unpack).chain(charges.into_iter().map(charge));
            let operations: Vec<Operation> = pairs.into_iter().map(change).chain(packs).collect();
            prop_assert_eq!(decode(&encode(&operations)), Some(operations));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = Head::take(&mut Take(&bytes));
        }
    }

    #[test]
    fn a_later_epoch_sorts_behind_all_of_an_earlier_one() {
        assert!(Sequence::first(2) > Sequence(Sequence::first(1).0 + (1 << 39)));
        assert_eq!(Sequence::first(7).next().epoch(), 7);
    }
}
