//! One batch of the log: the records that one write makes durable.
//!
//! While the batch before it is in flight a batch gathers records; then it is closed, given its
//! place in the log and written. `Batch` is the buffer under construction; `Outcome` is what the
//! tasks whose records it carries wait for. Layout: `docs/FORMAT.md`, section Log batch.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::record::{Head, Operation, Sequence};
use super::value::LogPosition;
use crate::base::ids::{LogId, PoolId, ShardId};
use crate::base::limits::{BATCH_BYTES, PAGE};
use crate::codec::wire::{self, Put, SEAL_BYTES, Take};
use crate::io::buffer::AlignedBuf;

pub const MAGIC: u32 = u32::from_le_bytes(*b"BLOG");
pub const VERSION: u32 = 1;
/// Seal, then pool (low half) u64, log u64, offset u32, number of records u32.
const HEAD_BYTES: usize = SEAL_BYTES + 24;

/// A record whose turn to be applied comes when its batch is durable.
pub struct Pending {
    pub shard: ShardId,
    pub sequence: Sequence,
    pub operations: Vec<Operation>,
    /// Offset of the body from the start of the batch.
    pub body_at: u32,
}

/// A batch under construction.
pub struct Batch {
    buffer: AlignedBuf,
    len: usize,
    pub records: Vec<Pending>,
    pub outcome: Rc<Outcome>,
}

/// Whether a batch became durable, and where.
#[derive(Default)]
pub struct Outcome(RefCell<State>);

#[derive(Default)]
struct State {
    done: Option<Result<LogPosition, Failed>>,
    waiting: Vec<Waker>,
}

/// Why a batch did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// There is no safe set of drives. What became of it only a start finds out.
    Lost,
    /// There was no room for it, and nothing of it was written.
    Full,
}

impl Batch {
    pub fn new(buffer: AlignedBuf) -> Self {
        assert!(buffer.len() == BATCH_BYTES);
        Batch { buffer, len: HEAD_BYTES, records: Vec::new(), outcome: Rc::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record of encoded `operations` and `body` still fits.
    pub fn has_room(&self, operations: usize, body: usize) -> bool {
        self.len + Head::BYTES + operations + body <= BATCH_BYTES
    }

    /// Adds a record; `encoded` is `operations` as bytes. The caller has asked `has_room`.
    pub fn push(
        &mut self,
        shard: ShardId,
        sequence: Sequence,
        operations: Vec<Operation>,
        encoded: &[u8],
        body: &[u8],
    ) {
        assert!(self.has_room(encoded.len(), body.len()));
        let head = Head { shard, sequence, operations: encoded.len() as u32, body: body.len() as u32 };
        self.put(&head.encode());
        self.put(encoded);
        let body_at = self.len as u32;
        self.put(body);
        self.records.push(Pending { shard, sequence, operations, body_at });
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Bytes the batch takes in the log.
    pub fn padded_len(&self) -> usize {
        self.len.next_multiple_of(PAGE)
    }

    /// Fills the head for a place in the log and the padding behind the records.
    pub fn close(&mut self, pool: PoolId, log: LogId, offset: u32) {
        let mut head = Put(Vec::with_capacity(24));
        head.u64(pool.0 as u64).u64(log.0).u32(offset).u32(self.records.len() as u32);
        self.buffer[SEAL_BYTES..HEAD_BYTES].copy_from_slice(&head.0);
        let padded = self.padded_len();
        self.buffer[self.len..padded].fill(0);
        wire::seal_in_place(&mut self.buffer[..self.len], MAGIC, VERSION);
    }

    /// Lends the closed bytes to the writes in flight; `restore_buffer` brings them back.
    pub fn take_buffer(&mut self) -> AlignedBuf {
        std::mem::replace(&mut self.buffer, AlignedBuf::zeroed(0))
    }

    pub fn restore_buffer(&mut self, buffer: AlignedBuf) {
        assert!(self.buffer.is_empty() && buffer.len() == BATCH_BYTES);
        self.buffer = buffer;
    }

    pub fn into_parts(self) -> (Vec<Pending>, Rc<Outcome>) {
        (self.records, self.outcome)
    }
}

impl Outcome {
    /// Waits for the batch; the position is that of its first byte.
    pub async fn wait(&self) -> Result<LogPosition, Failed> {
        let mut place = None;
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            if let Some(done) = state.done {
                return Poll::Ready(done);
            }
            let waker = context.waker();
            match place {
                Some(at) => Waker::clone_from(&mut state.waiting[at], waker),
                None => {
                    place = Some(state.waiting.len());
                    state.waiting.push(waker.clone());
                }
            }
            Poll::Pending
        })
        .await
    }

    pub fn settle(&self, done: Result<LogPosition, Failed>) {
        let waiting = {
            let mut state = self.0.borrow_mut();
            assert!(state.done.is_none(), "a batch is settled once");
            state.done = Some(done);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A record as it is read back.
pub struct Found {
    pub head: Head,
    pub operations: Vec<Operation>,
    /// Offset of the body from the start of the batch.
    pub body_at: u32,
}

/// Reads the batch that begins `bytes`, which may go on behind it. `None` where no whole batch of
/// this log stands at this offset: the end of the log. Also gives the padded length.
pub fn read(bytes: &[u8], pool: PoolId, log: LogId, offset: u32) -> Option<(Vec<Found>, usize)> {
    let (_, body) = wire::open(bytes, MAGIC, VERSION).ok()?;
    let mut take = Take(body);
    if !take_identity(&mut take, pool, log, offset)? {
        return None;
    }
    let count = take.u32()?;
    let total = SEAL_BYTES + body.len();
    let mut records = Vec::new();
    for _ in 0..count {
        let head = Head::take(&mut take)?;
        let operations = super::record::decode(take.raw(head.operations as usize)?)?;
        let body_at = (total - take.0.len()) as u32;
        take.raw(head.body as usize)?;
        records.push(Found { head, operations, body_at });
    }
    Some((records, total.next_multiple_of(PAGE)))
}

/// Whether `bytes` begin with the head of a batch of this place, whole or not: what `read` refuses
/// then was torn or damaged.
pub fn begins(bytes: &[u8], pool: PoolId, log: LogId, offset: u32) -> bool {
    let mut take = Take(bytes);
    let magic = take.u32() == Some(MAGIC) && take.raw(SEAL_BYTES - 4).is_some();
    magic && take_identity(&mut take, pool, log, offset) == Some(true)
}

fn take_identity(take: &mut Take<'_>, pool: PoolId, log: LogId, offset: u32) -> Option<bool> {
    Some(take.u64()? == pool.0 as u64 && take.u64()? == log.0 && take.u32()? == offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(bodies: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::new(AlignedBuf::zeroed(BATCH_BYTES));
        for (index, body) in bodies.iter().enumerate() {
            let operations = vec![Operation::Delete { key: vec![index as u8] }];
            let encoded = super::super::record::encode(&operations);
            batch.push(ShardId(1), Sequence(index as u64), operations, &encoded, body);
        }
        batch
    }

    proptest! {
        #[test]
        fn records_come_back_with_their_bodies(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20)
        ) {
            let mut batch = batch(&bodies);
            batch.close(PoolId(4), LogId(9), 8192);
            let padded = batch.padded_len();
            let buffer = batch.take_buffer();
            let (found, len) = read(&buffer, PoolId(4), LogId(9), 8192).expect("it is whole");
            prop_assert_eq!(len, padded);
            for (record, body) in found.iter().zip(&bodies) {
                let at = record.body_at as usize;
                prop_assert_eq!(&buffer[at..at + body.len()], &body[..]);
            }
            prop_assert!(read(&buffer, PoolId(4), LogId(9), 4096).is_none(), "misdirected");
            prop_assert!(read(&buffer, PoolId(4), LogId(8), 8192).is_none(), "stale");
            prop_assert!(read(&buffer, PoolId(5), LogId(9), 8192).is_none(), "of another pool");
        }

        #[test]
        fn a_torn_batch_is_no_batch(cut in 41usize..500, flip: u8) {
            let mut batch = batch(&[vec![7; 600]]);
            batch.close(PoolId(4), LogId(9), 0);
            let mut buffer = batch.take_buffer();
            buffer[cut] ^= flip | 1;
            prop_assert!(read(&buffer, PoolId(4), LogId(9), 0).is_none());
            prop_assert!(begins(&buffer, PoolId(4), LogId(9), 0), "and still told from the end");
        }
    }
}
