//! MD5, computed side by side for the bodies that arrive at one core at the same time.
//!
//! MD5 is the ceiling of an upload (decisions/cipher.md), and it cannot be hurried: but while the MD5 of one body is
//! computed a core can compute those of seven others nearly for nothing (`simd`). So what a body brings may wait in a
//! lane until there is as much of others, at most `MD5_LANE_BYTES`; then all lanes advance together. Owns the lanes of
//! a core and the hasher that uses them. The bytes of a body that is alone never wait, nor do any where processors
//! have no lanes. Invariant: a hasher's state is that of all its bytes but those that wait in its lane and its tail.

mod compress;
#[cfg(target_arch = "x86_64")]
mod simd;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::limits::{MD5_IDLE_LANE_BYTES, MD5_LANE_BYTES, MD5_WAIT_BYTES_MIN};
use compress::{BLOCK_BYTES, Compression, INITIAL, Job, LANES, State};
use smallvec::SmallVec;

/// The lanes of one core: a mebibyte while they are in use. A clone is the same lanes.
#[derive(Clone, Default)]
pub struct Md5Lanes(Rc<RefCell<Lanes>>);

struct Lanes {
    /// `None`: one message at a time.
    side_by_side: Option<Compression>,
    lanes: Vec<Lane>,
    hashers: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        let side_by_side = simd::compressions().next();
        #[cfg(not(target_arch = "x86_64"))]
        let side_by_side = None;
        Lanes { side_by_side, lanes: Vec::new(), hashers: 0 }
    }
}

struct Lane {
    /// The state of the hasher that had this lane last.
    state: Rc<Cell<State>>,
    /// Whole blocks, the first `hashed` bytes of which are in the state.
    blocks: Vec<u8>,
    hashed: usize,
}

const _: () = assert!(MD5_LANE_BYTES.is_multiple_of(BLOCK_BYTES));

/// The MD5 of one body.
pub struct BodyMd5 {
    lanes: Md5Lanes,
    state: Rc<Cell<State>>,
    length: u64,
    /// The first `length % 64` bytes of a block.
    tail: [u8; BLOCK_BYTES],
}

impl BodyMd5 {
    pub fn new(lanes: &Md5Lanes) -> BodyMd5 {
        lanes.0.borrow_mut().hashers += 1;
        BodyMd5 {
            lanes: lanes.clone(),
            state: Rc::new(Cell::new(INITIAL)),
            length: 0,
            tail: [0; BLOCK_BYTES],
        }
    }

    pub fn update(&mut self, mut data: &[u8]) {
        let mut lanes = self.lanes.0.borrow_mut();
        let filled = self.length as usize % BLOCK_BYTES;
        self.length += data.len() as u64;
        if filled > 0 {
            let (first, rest) = data.split_at(data.len().min(BLOCK_BYTES - filled));
            self.tail[filled..filled + first.len()].copy_from_slice(first);
            if filled + first.len() < BLOCK_BYTES {
                return;
            }
            lanes.take(&self.state, &self.tail);
            data = rest;
        }
        let (blocks, rest) = data.split_at(data.len() / BLOCK_BYTES * BLOCK_BYTES);
        blocks.chunks(MD5_LANE_BYTES).for_each(|blocks| lanes.take(&self.state, blocks));
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    /// Whether others should have their turn first, so that they may bring something: the `next` bytes (none: the end)
    /// would have this body hashed while there is room beside it.
    pub fn would_hash_alone(&self, next: Option<usize>) -> bool {
        let lanes = self.lanes.0.borrow();
        let waits = lanes.waiting(&self.state);
        let in_company = lanes.lanes.iter().filter(|lane| !lane.waiting().is_empty()).count();
        let is_due = match next {
            Some(next) if waits == 0 => lanes.hashers == 1 && next >= MD5_WAIT_BYTES_MIN,
            Some(next) => waits + next > MD5_LANE_BYTES,
            None => waits > 0 && in_company < lanes.hashers,
        };
        is_due && in_company < LANES && lanes.side_by_side.is_some()
    }

    /// RFC 1321, 3.1, 3.2 and 3.5.
    pub fn finish(self) -> [u8; 16] {
        let filled = self.length as usize % BLOCK_BYTES;
        let mut end = [0; 2 * BLOCK_BYTES];
        end[..filled].copy_from_slice(&self.tail[..filled]);
        end[filled] = 0x80;
        let end = if filled < BLOCK_BYTES - 8 { &mut end[..BLOCK_BYTES] } else { &mut end[..] };
        let (_, length) = end.split_last_chunk_mut::<8>().expect("a block is longer");
        *length = self.length.wrapping_mul(8).to_le_bytes();
        self.lanes.0.borrow_mut().catch_up(&self.state, 0);
        let mut state = self.state.get();
        compress::compress(&mut state, end);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }
}

impl Drop for BodyMd5 {
    fn drop(&mut self) {
        let mut lanes = self.lanes.0.borrow_mut();
        lanes.hashers -= 1;
        if let Some(place) = lanes.place_of(&self.state) {
            lanes.lanes[place].clear();
        }
        if lanes.hashers == 0 {
            lanes.lanes.retain(|lane| lane.blocks.capacity() <= MD5_IDLE_LANE_BYTES);
        }
    }
}

impl Lane {
    fn waiting(&self) -> &[u8] {
        &self.blocks[self.hashed..]
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.hashed = 0;
    }

    fn push(&mut self, blocks: &[u8]) {
        self.blocks.drain(..self.hashed);
        self.hashed = 0;
        if self.blocks.len() + blocks.len() > MD5_IDLE_LANE_BYTES {
            self.blocks.reserve_exact(MD5_LANE_BYTES - self.blocks.len());
        }
        self.blocks.extend_from_slice(blocks);
    }

    fn job(&self, bytes: usize) -> Job<'_> {
        Job { state: self.state.get(), blocks: &self.waiting()[..bytes] }
    }

    fn skip(&mut self, bytes: usize) {
        self.hashed += bytes;
        if self.waiting().is_empty() {
            self.clear();
        }
    }
}

impl Lanes {
    fn place_of(&self, state: &Rc<Cell<State>>) -> Option<usize> {
        self.lanes.iter().position(|lane| Rc::ptr_eq(&lane.state, state))
    }

    /// Bytes of this body that wait.
    fn waiting(&self, state: &Rc<Cell<State>>) -> usize {
        self.place_of(state).map_or(0, |place| self.lanes[place].waiting().len())
    }

    /// The next whole blocks of a body, at most `MD5_LANE_BYTES`.
    fn take(&mut self, state: &Rc<Cell<State>>, blocks: &[u8]) {
        // Who has hashed what waited does not hash these at once too: that would be two steps in one.
        let waits = self.waiting(state) > 0;
        self.catch_up(state, MD5_LANE_BYTES - blocks.len());
        let may_wait = self.hashers > 1 && blocks.len() >= MD5_WAIT_BYTES_MIN && self.side_by_side.is_some();
        if waits || may_wait {
            self.place(state).push(blocks);
        } else {
            let mut next = state.get();
            compress::compress(&mut next, blocks);
            state.set(next);
        }
    }

    /// Hashes until no more than `bytes` wait of this body.
    fn catch_up(&mut self, state: &Rc<Cell<State>>, bytes: usize) {
        while self.waiting(state) > bytes {
            self.step();
        }
    }

    /// The lane of this body, or one where nothing waits.
    fn place(&mut self, state: &Rc<Cell<State>>) -> &mut Lane {
        let idle = |lanes: &[Lane]| lanes.iter().position(|lane| lane.waiting().is_empty());
        let found = self.place_of(state).or_else(|| idle(&self.lanes));
        let place = found.unwrap_or_else(|| {
            if self.lanes.len() < LANES {
                self.lanes.push(Lane { state: state.clone(), blocks: Vec::new(), hashed: 0 });
                return self.lanes.len() - 1;
            }
            self.step();
            idle(&self.lanes).expect("the shortest lane is empty after a step")
        });
        let lane = &mut self.lanes[place];
        lane.state = state.clone();
        lane
    }

    /// Advances all lanes by what the shortest holds.
    fn step(&mut self) {
        let mut waiting: SmallVec<[&mut Lane; LANES]> =
            self.lanes.iter_mut().filter(|lane| !lane.waiting().is_empty()).collect();
        let bytes = waiting.iter().map(|lane| lane.waiting().len()).min().unwrap_or(0);
        let mut jobs: SmallVec<[Job<'_>; LANES]> = waiting.iter().map(|lane| lane.job(bytes)).collect();
        match (self.side_by_side, &mut jobs[..]) {
            (Some(compress), several @ [_, _, ..]) => compress(several),
            (_, jobs) => jobs.iter_mut().for_each(|job| compress::compress(&mut job.state, job.blocks)),
        }
        waiting.iter().zip(&jobs).for_each(|(lane, job)| lane.state.set(job.state));
        drop(jobs);
        waiting.iter_mut().for_each(|lane| lane.skip(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest as _;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_hashed_as_the_rfc_says() {
        let hashed = |text: &str| {
            let mut md5 = BodyMd5::new(&Md5Lanes::default());
            md5.update(text.as_bytes());
            hex::encode(md5.finish())
        };
        // RFC 1321, A.5.
        assert_eq!(hashed(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hashed("abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hashed(&"1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a",);
    }

    #[test]
    fn a_body_that_is_alone_waits_for_nobody() {
        let lanes = Md5Lanes::default();
        let mut md5 = BodyMd5::new(&lanes);
        md5.update(&[7; MD5_LANE_BYTES]);
        assert!(lanes.0.borrow().lanes.is_empty());
    }

    #[test]
    fn lanes_keep_little_memory_when_nobody_uses_them() {
        let lanes = Md5Lanes::default();
        let mut hashers = [BodyMd5::new(&lanes), BodyMd5::new(&lanes)];
        hashers.iter_mut().for_each(|md5| md5.update(&[7; MD5_LANE_BYTES]));
        drop(hashers);
        assert!(lanes.0.borrow().lanes.iter().all(|lane| lane.blocks.capacity() <= MD5_IDLE_LANE_BYTES));
    }

    #[test]
    fn others_have_their_turn_where_they_could_fill_lanes() {
        let would = |mine: usize, others: usize, hashers: usize, next: Option<usize>| {
            let lanes = Md5Lanes::default();
            let md5 = BodyMd5::new(&lanes);
            let lane = |state, bytes: usize| Lane { state, blocks: vec![0; bytes], hashed: 0 };
            let mut inner = lanes.0.borrow_mut();
            inner.hashers = hashers;
            inner.lanes.push(lane(md5.state.clone(), mine));
            inner.lanes.extend((0..others).map(|_| lane(Rc::default(), BLOCK_BYTES)));
            drop(inner);
            let would = md5.would_hash_alone(next);
            lanes.0.borrow_mut().hashers = 1;
            would
        };
        if Lanes::default().side_by_side.is_none() {
            return assert!(!would(MD5_LANE_BYTES, 0, 2, None));
        }
        // Alone, and not small.
        assert!(would(0, 0, 1, Some(MD5_WAIT_BYTES_MIN)));
        assert!(!would(0, 0, 1, Some(MD5_WAIT_BYTES_MIN - 1)));
        // Room in the lane, or none.
        assert!(!would(0, 0, 2, Some(MD5_LANE_BYTES)));
        assert!(!would(BLOCK_BYTES, 0, 2, Some(MD5_LANE_BYTES - BLOCK_BYTES)));
        assert!(would(BLOCK_BYTES, 0, 2, Some(MD5_LANE_BYTES)));
        // All lanes have something.
        assert!(would(MD5_LANE_BYTES, LANES - 2, LANES + 1, Some(1)));
        assert!(!would(MD5_LANE_BYTES, LANES - 1, LANES + 1, Some(1)));
        // At the end: nothing to hash, others to come, all there.
        assert!(!would(0, 1, 3, None));
        assert!(would(BLOCK_BYTES, 1, 3, None));
        assert!(!would(BLOCK_BYTES, 2, 3, None));
    }

    /// A body, how many bytes come of it, and with 0 or 1 that it ends with them, with 2 that it is given up.
    fn check(events: Vec<(usize, usize, u8)>, bodies: usize) -> Result<(), TestCaseError> {
        let lanes = Md5Lanes::default();
        let fresh = || (BodyMd5::new(&lanes), md5::Md5::new());
        let mut bodies: Vec<_> = (0..bodies).map(|_| fresh()).collect();
        for (at, (body, length, fate)) in events.into_iter().enumerate() {
            let data: Vec<u8> = (0..length).map(|i| (i * 31 + at * 7 + (i >> 8)) as u8).collect();
            let (hasher, want) = &mut bodies[body];
            hasher.update(&data);
            want.update(&data);
            if fate < 3 {
                let (hasher, want) = std::mem::replace(&mut bodies[body], fresh());
                if fate < 2 {
                    prop_assert_eq!(hasher.finish(), <[u8; 16]>::from(want.finalize()));
                }
            }
        }
        for (hasher, want) in bodies {
            prop_assert_eq!(hasher.finish(), <[u8; 16]>::from(want.finalize()));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn more_bodies_than_lanes_hash_as_each_alone(
            events in proptest::collection::vec((0..12_usize, 0..40_000_usize, 0..20_u8), 0..120)
        ) {
            check(events, 12)?;
        }

        #[test]
        fn pieces_beyond_a_lane_hash_as_each_alone(
            events in proptest::collection::vec((0..3_usize, 0..3 * MD5_LANE_BYTES, 0..20_u8), 0..16)
        ) {
            check(events, 3)?;
        }
    }
}
