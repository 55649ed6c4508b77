//! MD5, computed side by side for the bodies that arrive at one core at the same time.
//!
//! MD5 is the ceiling of an upload (decisions/cipher.md), and it cannot be hurried: but while the MD5 of one body is
//! computed a core can compute those of seven others nearly for nothing (`simd`). So what a body brings waits in its
//! backlog until it must be hashed, because the backlog is full or the body is complete and on its drives; then it
//! and those of which most waits advance together. Owns the backlogs of a core and the hasher that uses them. No byte
//! begins a backlog where there is no other body or the processor has no lanes. Invariant: the state of a body is that
//! of all its bytes but those in its backlog and its tail.

mod compress;
#[cfg(target_arch = "x86_64")]
mod simd;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::base::limits::{
    HASH_STEP_BYTES_MAX, MD5_BACKLOG_BYTES_MAX, MD5_BACKLOGS_BYTES_MAX, MD5_PIECE_BYTES, MD5_SPARE_PIECES,
    MD5_WAIT_BYTES_MIN, MD5_WAITING_BODIES_MAX,
};
use compress::{BLOCK_BYTES, Compression, INITIAL, Job, LANES, State};
use slab::Slab;
use smallvec::SmallVec;

/// The bodies that are hashed at one core. A clone is the same core's.
#[derive(Clone, Default)]
pub struct Md5Lanes(Rc<RefCell<Lanes>>);

struct Lanes {
    /// `None`: one message at a time.
    side_by_side: Option<Compression>,
    bodies: Slab<Body>,
    /// The bodies that have a backlog, and the bytes of all backlogs.
    waiting: Vec<usize>,
    waiting_bytes: usize,
    spare: Spare,
}

/// Empty pieces of backlogs, no more than backlogs may be long.
#[derive(Default)]
struct Spare(Vec<Vec<u8>>);

impl Default for Lanes {
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        let side_by_side = simd::compressions().next();
        #[cfg(not(target_arch = "x86_64"))]
        let side_by_side = None;
        Lanes {
            side_by_side,
            bodies: Slab::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            spare: Spare::default(),
        }
    }
}

struct Body {
    state: State,
    /// Whole blocks, in pieces of `MD5_PIECE_BYTES` of which the last may lack some. Of the first, `hashed` bytes are
    /// in the state; `backlog` are not.
    pieces: VecDeque<Vec<u8>>,
    hashed: usize,
    backlog: usize,
}

const _: () =
    assert!(MD5_PIECE_BYTES.is_multiple_of(BLOCK_BYTES) && HASH_STEP_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () =
    assert!(HASH_STEP_BYTES_MAX <= MD5_BACKLOG_BYTES_MAX && MD5_BACKLOG_BYTES_MAX <= MD5_BACKLOGS_BYTES_MAX);

/// The MD5 of one body.
pub struct BodyMd5 {
    lanes: Md5Lanes,
    body: usize,
    length: u64,
    /// The first `length % 64` bytes of a block.
    tail: [u8; BLOCK_BYTES],
}

impl BodyMd5 {
    pub fn new(lanes: &Md5Lanes) -> BodyMd5 {
        let body = Body { state: INITIAL, pieces: VecDeque::new(), hashed: 0, backlog: 0 };
        let body = lanes.0.borrow_mut().bodies.insert(body);
        BodyMd5 { lanes: lanes.clone(), body, length: 0, tail: [0; BLOCK_BYTES] }
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
            lanes.take(self.body, &self.tail);
            data = rest;
        }
        let (blocks, rest) = data.split_at(data.len() / BLOCK_BYTES * BLOCK_BYTES);
        blocks.chunks(HASH_STEP_BYTES_MAX).for_each(|blocks| lanes.take(self.body, blocks));
        self.tail[..rest.len()].copy_from_slice(rest);
    }

    /// Whether others should have their turn first, so that they may bring something: the `next` bytes (none: the end)
    /// would have this body hashed while there is room beside it.
    pub fn would_hash_alone(&self, next: Option<usize>) -> bool {
        let lanes = self.lanes.0.borrow();
        let backlog = lanes.bodies[self.body].backlog;
        let (bodies, in_company) = (lanes.bodies.len(), lanes.waiting.len());
        let is_due = match next {
            Some(next) if backlog == 0 => bodies == 1 && next >= MD5_WAIT_BYTES_MIN,
            Some(next) => backlog + next > MD5_BACKLOG_BYTES_MAX,
            None => backlog > 0 && in_company < bodies,
        };
        is_due && in_company < LANES && lanes.side_by_side.is_some()
    }

    /// Hashes of what waits as much as a core may hash in one step; whether something is left.
    pub fn catch_up(&mut self) -> bool {
        let mut lanes = self.lanes.0.borrow_mut();
        let left = lanes.bodies[self.body].backlog.saturating_sub(HASH_STEP_BYTES_MAX);
        lanes.catch_up(self.body, left);
        left > 0
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
        let mut lanes = self.lanes.0.borrow_mut();
        lanes.catch_up(self.body, 0);
        let mut state = lanes.bodies[self.body].state;
        drop(lanes);
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
        self.lanes.0.borrow_mut().remove(self.body);
    }
}

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(MD5_PIECE_BYTES))
    }

    fn keep(&mut self, mut piece: Vec<u8>) {
        if self.0.len() < MD5_BACKLOGS_BYTES_MAX / MD5_PIECE_BYTES {
            piece.clear();
            self.0.push(piece);
        }
    }
}

impl Body {
    fn push(&mut self, mut blocks: &[u8], spare: &mut Spare) {
        self.backlog += blocks.len();
        while !blocks.is_empty() {
            if self.pieces.back().is_none_or(|last| last.len() == MD5_PIECE_BYTES) {
                self.pieces.push_back(spare.take());
            }
            let last = self.pieces.back_mut().expect("there is one with room");
            let (now, later) = blocks.split_at(blocks.len().min(MD5_PIECE_BYTES - last.len()));
            last.extend_from_slice(now);
            blocks = later;
        }
    }

    /// What of the backlog lies in one piece.
    fn next(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |first| &first[self.hashed..])
    }

    /// The first `bytes` of `next` are in `state`.
    fn advance(&mut self, state: State, bytes: usize, spare: &mut Spare) {
        self.state = state;
        self.hashed += bytes;
        self.backlog -= bytes;
        if self.next().is_empty()
            && let Some(done) = self.pieces.pop_front()
        {
            self.hashed = 0;
            spare.keep(done);
        }
    }
}

impl Lanes {
    /// The next whole blocks of a body, at most `HASH_STEP_BYTES_MAX`.
    fn take(&mut self, id: usize, blocks: &[u8]) {
        // Who has hashed what waited does not hash these at once too: that would be two steps in one.
        let waits = self.bodies[id].backlog > 0;
        self.catch_up(id, MD5_BACKLOG_BYTES_MAX - blocks.len());
        let is_alone = self.bodies.len() == 1 || blocks.len() < MD5_WAIT_BYTES_MIN;
        if !waits && (is_alone || self.side_by_side.is_none()) {
            return compress::compress(&mut self.bodies[id].state, blocks);
        }
        while self.waiting_bytes + blocks.len() > MD5_BACKLOGS_BYTES_MAX {
            self.step(None);
        }
        if self.bodies[id].backlog == 0 {
            self.begin_backlog(id);
        }
        self.waiting_bytes += blocks.len();
        self.bodies[id].push(blocks, &mut self.spare);
    }

    /// Pieces that are partly filled are not counted, so few bodies may have one.
    fn begin_backlog(&mut self, id: usize) {
        if self.waiting.len() >= MD5_WAITING_BODIES_MAX {
            let least = self.waiting.iter().copied().min_by_key(|id| self.bodies[*id].backlog);
            self.catch_up(least.expect("there are many"), 0);
        }
        self.waiting.push(id);
    }

    /// Hashes until no more than `bytes` wait of this body.
    fn catch_up(&mut self, id: usize, bytes: usize) {
        while self.bodies[id].backlog > bytes {
            self.step(Some(id));
        }
    }

    /// Advances the bodies of which most waits, and `first` in any case, by what all of them have in one piece.
    fn step(&mut self, first: Option<usize>) {
        let others = self.waiting.iter().copied().filter(|id| Some(*id) != first);
        let mut ids: SmallVec<[usize; 4 * LANES]> = others.collect();
        let room = LANES - usize::from(first.is_some());
        if ids.len() > room {
            ids.select_nth_unstable_by_key(room, |id| Reverse(self.bodies[*id].backlog));
            ids.truncate(room);
        }
        ids.extend(first);
        let bytes = ids.iter().map(|id| self.bodies[*id].next().len()).min().unwrap_or(0);
        let job = |id: &usize| {
            let body = &self.bodies[*id];
            Job { state: body.state, blocks: &body.next()[..bytes] }
        };
        let mut jobs: SmallVec<[Job<'_>; LANES]> = ids.iter().map(job).collect();
        match (self.side_by_side, &mut jobs[..]) {
            (Some(compress), several @ [_, _, ..]) => compress(several),
            (_, jobs) => jobs.iter_mut().for_each(|job| compress::compress(&mut job.state, job.blocks)),
        }
        let states: SmallVec<[State; LANES]> = jobs.into_iter().map(|job| job.state).collect();
        for (id, state) in ids.iter().zip(states) {
            self.bodies[*id].advance(state, bytes, &mut self.spare);
        }
        self.waiting_bytes -= bytes * ids.len();
        self.waiting.retain(|id| self.bodies[*id].backlog > 0);
    }

    fn remove(&mut self, id: usize) {
        let body = self.bodies.remove(id);
        if body.backlog > 0 {
            self.waiting.retain(|waiting| *waiting != id);
            self.waiting_bytes -= body.backlog;
        }
        body.pieces.into_iter().for_each(|piece| self.spare.keep(piece));
        if self.bodies.is_empty() {
            self.spare.0.truncate(MD5_SPARE_PIECES);
        }
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
        md5.update(&[7; HASH_STEP_BYTES_MAX]);
        assert_eq!(lanes.0.borrow().waiting_bytes, 0);
    }

    #[test]
    fn little_memory_is_kept_when_nothing_is_hashed() {
        let lanes = Md5Lanes::default();
        let mut bodies: Vec<_> = (0..2 * LANES).map(|_| BodyMd5::new(&lanes)).collect();
        bodies.iter_mut().for_each(|md5| md5.update(&[7; 2 * MD5_BACKLOG_BYTES_MAX]));
        let waits = lanes.0.borrow().waiting_bytes;
        assert!(waits <= MD5_BACKLOGS_BYTES_MAX, "{waits} bytes wait");
        drop(bodies);
        let lanes = lanes.0.borrow();
        assert!(lanes.waiting_bytes == 0 && lanes.waiting.is_empty());
        assert!(lanes.spare.0.len() <= MD5_SPARE_PIECES);
    }

    #[test]
    fn many_bodies_that_end_nowhere_hold_little_memory() {
        let lanes = Md5Lanes::default();
        let mut bodies: Vec<_> = (0..1000).map(|_| BodyMd5::new(&lanes)).collect();
        for (at, md5) in bodies.iter_mut().enumerate() {
            md5.update(&[7; 4 * MD5_PIECE_BYTES][..MD5_WAIT_BYTES_MIN + at % 97 * BLOCK_BYTES]);
            let lanes = lanes.0.borrow();
            let held: usize = lanes.bodies.iter().map(|(_, body)| body.pieces.len()).sum();
            assert!(lanes.waiting.len() <= MD5_WAITING_BODIES_MAX && held <= 2 * MD5_WAITING_BODIES_MAX);
        }
        drop(bodies);
        assert!(lanes.0.borrow().spare.0.len() <= MD5_SPARE_PIECES);
    }

    #[test]
    fn a_body_catches_up_in_steps_of_a_core() {
        let lanes = Md5Lanes::default();
        let mut bodies = [BodyMd5::new(&lanes), BodyMd5::new(&lanes)];
        bodies.iter_mut().for_each(|md5| md5.update(&[7; 2 * HASH_STEP_BYTES_MAX + BLOCK_BYTES]));
        let [mut md5, _other] = bodies;
        if lanes.0.borrow().side_by_side.is_some() {
            assert!(md5.catch_up() && md5.catch_up());
            assert_eq!(lanes.0.borrow().waiting_bytes, 2 * BLOCK_BYTES, "the other came along");
        }
        assert!(!md5.catch_up());
        assert_eq!(lanes.0.borrow().waiting_bytes, 0);
    }

    #[test]
    fn others_have_their_turn_where_they_could_fill_lanes() {
        let would = |mine: usize, others: usize, bodies: usize, next: Option<usize>| {
            let lanes = Md5Lanes::default();
            let bodies: Vec<_> = (0..bodies).map(|_| BodyMd5::new(&lanes)).collect();
            let mut inner = lanes.0.borrow_mut();
            let backlogs = std::iter::once(mine).chain(vec![BLOCK_BYTES; others]);
            for (md5, backlog) in bodies.iter().zip(backlogs).filter(|(_, backlog)| *backlog > 0) {
                inner.bodies[md5.body].backlog = backlog;
                inner.waiting.push(md5.body);
                inner.waiting_bytes += backlog;
            }
            drop(inner);
            bodies[0].would_hash_alone(next)
        };
        if Lanes::default().side_by_side.is_none() {
            return assert!(!would(MD5_BACKLOG_BYTES_MAX, 0, 2, None));
        }
        // Alone, and not small.
        assert!(would(0, 0, 1, Some(MD5_WAIT_BYTES_MIN)));
        assert!(!would(0, 0, 1, Some(MD5_WAIT_BYTES_MIN - 1)));
        // Room in the backlog, or none.
        assert!(!would(0, 0, 2, Some(HASH_STEP_BYTES_MAX)));
        assert!(!would(BLOCK_BYTES, 0, 2, Some(MD5_BACKLOG_BYTES_MAX - BLOCK_BYTES)));
        assert!(would(BLOCK_BYTES, 0, 2, Some(MD5_BACKLOG_BYTES_MAX)));
        // All lanes have something.
        assert!(would(MD5_BACKLOG_BYTES_MAX, LANES - 2, LANES + 1, Some(1)));
        assert!(!would(MD5_BACKLOG_BYTES_MAX, LANES - 1, LANES + 1, Some(1)));
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
            events in proptest::collection::vec((0..24_usize, 0..40_000_usize, 0..30_u8), 0..160)
        ) {
            check(events, 24)?;
        }
    }

    proptest! {
        // Each case hashes some 8 MiB twice.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn more_than_backlogs_hold_hashes_as_each_alone(
            events in proptest::collection::vec((0..6_usize, 0..MD5_BACKLOG_BYTES_MAX, 0..20_u8), 0..16)
        ) {
            check(events, 6)?;
        }
    }
}
