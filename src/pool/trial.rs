//! The data path on trial: writer and reader against a vector of bytes, on simulated disks.
//!
//! The allocator here is the naive model: a set of handed-out pages that asserts that space is released once
//! and only when no operation is in flight.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;
use smallvec::SmallVec;
use tokio::task::LocalSet;

use crate::base::budget::BufferBudget;
use crate::base::ids::{DriveId, PoolId};
use crate::base::limits::{BLOCK_BYTES, BLOCK_PAYLOAD_BYTES, MIB, PAGE};
use crate::codec::erasure::ErasureCoder;
use crate::drive::device::{Drive, DriveError, DriveShared, Drives};
use crate::drive::health::Condition;
use crate::io::disk::Access;
use crate::io::sim::{Fault, OpKind, SimWorld};
use crate::io::world::World;
use crate::pool::error::PoolError;
use crate::pool::extent::Address;
use crate::pool::mend::{self, Mended};
use crate::pool::read::{Damage, ReadPath};
use crate::pool::stripe::{Extent, Stripe};
use crate::pool::write::{Allocator, ExtentWriter, WritePath};

const SCHEMES: [(usize, usize); 5] = [(1, 0), (1, 1), (2, 1), (2, 2), (4, 2)];

/// Runs a test in simulated time.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), test)
}

/// A pool on simulated disks.
struct Rig {
    sim: SimWorld,
    world: World,
    drives: Drives,
    pages: Rc<Pages>,
    writes: Rc<WritePath>,
    reads: Rc<ReadPath>,
    damages: Rc<RefCell<Vec<Damage>>>,
}

fn path_of(drive: usize) -> PathBuf {
    format!("/d{drive}/data").into()
}

impl Rig {
    fn new(seed: u64, (k, m): (usize, usize), chunk_blocks: u16) -> Self {
        let sim = SimWorld::new(seed);
        let world = sim.world();
        let open = |index: usize| {
            sim.add_disk(format!("/d{index}"), 1 << 40);
            let shared = DriveShared::new(DriveId(index as u16), format!("/d{index}"), Condition::WHOLE);
            let meta = world.open(format!("/d{index}/meta").as_ref(), true, Access::DirectSync).unwrap();
            Drive::new(shared, meta, world.open(&path_of(index), true, Access::Direct).unwrap())
        };
        let drives = Drives::new((0..k + m).map(open).collect());
        let pages = Rc::new(Pages::new(drives.clone(), world.clone(), k + m));
        let damages = Rc::new(RefCell::new(Vec::new()));
        Rig {
            sim,
            world,
            writes: WritePath::new(
                drives.clone(),
                coder(k, m),
                PoolId(7),
                chunk_blocks,
                BufferBudget::new(8 * MIB),
            ),
            reads: reads(&drives, (k, m), &damages),
            drives,
            pages,
            damages,
        }
    }

    fn writer(&self, size: Option<u64>) -> ExtentWriter<Rc<Pages>> {
        self.writes.extent(self.pages.clone(), 99, size)
    }

    /// Writes and flushes.
    async fn put(&self, data: &[u8], size: Option<u64>, step: usize) -> Result<Extent, PoolError> {
        let mut writer = self.writer(size);
        for piece in data.chunks(step.max(1)) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        let mut written = writer.finish().await?;
        written.flush().await?;
        let extent = written.into_extent();
        self.pages.check_owned(&extent);
        Ok(extent)
    }

    async fn get(&self, extent: &Rc<Extent>, range: std::ops::Range<u64>) -> Result<Vec<u8>, PoolError> {
        let mut reader = self.reads.read_range(extent.clone(), range);
        let mut bytes = Vec::new();
        while let Some(piece) = reader.next().await {
            bytes.extend_from_slice(&piece?);
        }
        assert!(reader.next().await.is_none());
        Ok(bytes)
    }

    /// The pool as it is found when some drives are not there.
    fn without(&self, missing: &[usize]) -> Rc<ReadPath> {
        let open = |index: usize| {
            let id = DriveId(index as u16);
            if missing.contains(&index) {
                return Drive::missing(DriveShared::new(id, "gone", Condition::MISSING));
            }
            self.drives.get(id).unwrap().clone()
        };
        let drives = Drives::new((0..self.drives.len()).map(open).collect());
        let scheme = (self.reads.coder.data_shards(), self.reads.coder.parity_shards());
        reads(&drives, scheme, &self.damages)
    }

    /// Cuts the power and opens the drives again.
    fn power_cut(&mut self) {
        self.sim.crash();
        self.world = self.sim.world();
        let open = |index: usize| {
            let shared = DriveShared::new(DriveId(index as u16), format!("/d{index}"), Condition::WHOLE);
            let meta = self.world.open(format!("/d{index}/meta").as_ref(), true, Access::DirectSync).unwrap();
            Drive::new(shared, meta, self.world.open(&path_of(index), true, Access::Direct).unwrap())
        };
        self.drives = Drives::new((0..self.drives.len()).map(open).collect());
        self.reads = reads(&self.drives, self.reads.scheme(), &self.damages);
    }

    /// Until nothing is in flight and every task has seen it.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            if self.world.inflight() == 0 && self.writes.budget().bytes_used() == 0 {
                return;
            }
        }
        panic!("something is in flight for ever");
    }
}

fn coder(k: usize, m: usize) -> Rc<ErasureCoder> {
    Rc::new(ErasureCoder::new(k, m))
}

fn reads(drives: &Drives, (k, m): (usize, usize), damages: &Rc<RefCell<Vec<Damage>>>) -> Rc<ReadPath> {
    let heard = damages.clone();
    let hook = Box::new(move |damage: &Damage| heard.borrow_mut().push(damage.clone()));
    ReadPath::new(drives.clone(), coder(k, m), PoolId(7), BufferBudget::new(16 * MIB), hook)
}

/// The naive allocator: next address of each drive, and what is handed out.
struct Pages {
    drives: Drives,
    world: World,
    width: usize,
    next: Cell<u64>,
    turn: Cell<usize>,
    /// Others use the drives, so that something is always in flight.
    is_shared: Cell<bool>,
    /// First page and pages, by address.
    taken: RefCell<BTreeMap<Address, u32>>,
}

impl Pages {
    fn new(drives: Drives, world: World, width: usize) -> Self {
        let (next, turn) = (Cell::new(16), Cell::new(0));
        Pages { drives, world, width, next, turn, is_shared: Cell::new(false), taken: RefCell::default() }
    }

    /// Exactly the extent's space is handed out.
    fn check_owned(&self, extent: &Extent) {
        let owned: BTreeMap<Address, u32> = extent.spans().collect();
        assert_eq!(*self.taken.borrow(), owned);
    }
}

impl Allocator for Pages {
    async fn place(&self, chunk_bytes: u32) -> Result<Stripe, PoolError> {
        assert!(chunk_bytes > 0 && chunk_bytes.is_multiple_of(PAGE as u32));
        let pages = chunk_bytes / PAGE as u32;
        let offset = self.next.get() * PAGE as u64;
        self.next.set(self.next.get() + u64::from(pages));
        self.turn.set(self.turn.get() + 1);
        let place = |column: usize| {
            let drive = DriveId(((column + self.turn.get()) % self.width) as u16);
            let address = Address { drive, offset };
            self.drives.is_in_service(drive).then_some(address)
        };
        let chunks: SmallVec<[Option<Address>; 4]> = (0..self.width).map(place).collect();
        self.taken.borrow_mut().extend(chunks.iter().flatten().map(|address| (*address, pages)));
        Ok(Stripe { chunks })
    }

    fn release(&self, address: Address, bytes: u32) {
        if std::thread::panicking() {
            return;
        }
        if !self.is_shared.get() {
            assert_eq!(self.world.inflight(), 0, "space is given back before its writes are complete");
        }
        let mut taken = self.taken.borrow_mut();
        let (start, pages) = taken.range(..=address).next_back().map(|(a, p)| (*a, *p)).expect("handed out");
        let before = ((address.offset - start.offset) / PAGE as u64) as u32;
        assert_eq!((start.drive, before * PAGE as u32 + bytes), (address.drive, pages * PAGE as u32));
        taken.remove(&start);
        if before > 0 {
            taken.insert(start, before);
        }
    }
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sizes around every boundary of a scheme with `chunk_blocks` rows in a stripe.
fn sizes(k: usize, chunk_blocks: u16) -> impl Strategy<Value = usize> {
    let row = k * BLOCK_PAYLOAD_BYTES;
    let edges = vec![
        0,
        1,
        2 * k,
        48 * k,
        PAGE,
        16 * 1024,
        BLOCK_PAYLOAD_BYTES,
        row,
        7 * row,
        8 * row,
        9 * row,
        16 * row,
        usize::from(chunk_blocks) * row,
        2 * usize::from(chunk_blocks) * row,
    ];
    prop_oneof![
        (prop::sample::select(edges), -2i64..=2)
            .prop_map(|(edge, nudge)| (edge as i64 + nudge).max(0) as usize),
        0..20 * row,
        0..row,
    ]
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    scheme: (usize, usize),
    chunk_blocks: u16,
    size: usize,
    /// Bytes announced beyond the size; `None` when the size is not announced.
    surplus: Option<u64>,
    step: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let surplus = prop_oneof![3 => Just(Some(0)), 1 => Just(None), 1 => (1u64..3_000_000).prop_map(Some)];
    (any::<u64>(), prop::sample::select(&SCHEMES[..]), 1u16..20, surplus, 1usize..300_000).prop_flat_map(
        |(seed, scheme, chunk_blocks, surplus, step)| {
            sizes(scheme.0, chunk_blocks).prop_map(move |size| {
                let step = step.max(size / 100);
                Case { seed, scheme, chunk_blocks, size, surplus, step }
            })
        },
    )
}

impl Case {
    fn rig(&self) -> Rig {
        Rig::new(self.seed, self.scheme, self.chunk_blocks)
    }

    fn data(&self) -> Vec<u8> {
        bytes(self.size, self.seed)
    }

    fn announced(&self) -> Option<u64> {
        self.surplus.map(|surplus| self.size as u64 + surplus)
    }
}

/// What is done to a drive before reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Missing,
    Latched,
    Dead,
    Wiped,
    /// One bit of each chunk.
    Flipped,
    /// Sectors that cannot be read, somewhere in the first chunk.
    Latent,
    /// Each chunk holds the bytes of the one before it on the same drive.
    Misdirected,
}

impl Harm {
    /// Whether the drive's blocks cannot be used at all.
    fn is_total(self) -> bool {
        matches!(self, Harm::Missing | Harm::Dead | Harm::Wiped)
    }

    fn inflict(self, rig: &Rig, extent: &Extent, drive: usize, seed: u64) {
        let chunks: Vec<(Address, u32)> =
            extent.spans().filter(|(address, _)| usize::from(address.drive.0) == drive).collect();
        let path = path_of(drive);
        match self {
            Harm::Missing => {}
            Harm::Latched => rig.drives.get(DriveId(drive as u16)).unwrap().health().latch("test"),
            Harm::Dead => rig.sim.kill(format!("/d{drive}")),
            Harm::Wiped => {
                for (address, pages) in chunks {
                    rig.sim.poke(&path, address.offset, &vec![0; pages as usize * PAGE]);
                }
            }
            Harm::Flipped => {
                for (address, pages) in chunks {
                    let blocks = u64::from(pages) * PAGE as u64 / BLOCK_BYTES as u64;
                    let at = address.offset + seed % blocks.max(1) * BLOCK_BYTES as u64 + seed % 60;
                    rig.sim.flip(&path, at, 1 << (seed % 8));
                }
            }
            Harm::Latent => {
                for (address, pages) in chunks.into_iter().take(1) {
                    let at = address.offset + seed % u64::from(pages) * PAGE as u64;
                    rig.sim.latent_error(&path, at..at + 512);
                }
            }
            Harm::Misdirected => {
                for pair in chunks.windows(2) {
                    let bytes = rig.sim.peek(&path, pair[0].0.offset, pair[1].1 as usize * PAGE);
                    rig.sim.poke(&path, pair[1].0.offset, &bytes);
                }
            }
        }
    }
}

fn harms() -> impl Strategy<Value = Harm> {
    prop::sample::select(vec![
        Harm::Missing,
        Harm::Latched,
        Harm::Dead,
        Harm::Wiped,
        Harm::Flipped,
        Harm::Latent,
        Harm::Misdirected,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_written_is_read(case in cases(), ranges in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 4)) {
        run(async {
            let (rig, data) = (case.rig(), case.data());
            let extent = Rc::new(rig.put(&data, case.announced(), case.step).await.unwrap());
            assert_eq!(extent.size, data.len() as u64);
            assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
            for (a, b) in ranges {
                let (a, b) = (a.index(data.len() + 1), b.index(data.len() + 1));
                let (a, b) = (a.min(b), a.max(b));
                assert!(rig.get(&extent, a as u64..b as u64).await.unwrap() == data[a..b], "{a}..{b}");
                let small = rig.reads.read_small(&extent, a as u64, (b - a).min(100_000), Rc::new(|_| {})).await.unwrap();
                assert!(small[..] == data[a..b.min(a + 100_000)]);
            }
            assert!(rig.damages.borrow().is_empty());
            assert_eq!(rig.reads.counters().degraded_groups.get(), 0);
            rig.settle().await;
            assert_eq!(rig.reads.budget().bytes_used(), 0);
        });
    }

    #[test]
    fn up_to_m_harmed_drives_hide_nothing(
        case in cases(),
        harm in prop::collection::vec((harms(), any::<u64>()), 2),
        first in any::<prop::sample::Index>(),
        range in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        run(async {
            let (rig, data) = (case.rig(), case.data());
            let (k, m) = case.scheme;
            let extent = Rc::new(rig.put(&data, case.announced(), case.step).await.unwrap());
            let first = first.index(k + m);
            let harmed: Vec<(usize, (Harm, u64))> =
                harm.into_iter().take(m).enumerate().map(|(n, harm)| ((first + n) % (k + m), harm)).collect();
            harmed.iter().for_each(|(drive, (harm, seed))| harm.inflict(&rig, &extent, *drive, *seed));
            let missing: Vec<usize> = harmed.iter().filter(|h| h.1.0 == Harm::Missing).map(|h| h.0).collect();
            let rig = Rig { reads: rig.without(&missing), ..rig };
            assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
            let (a, b) = (range.0.index(data.len() + 1), range.1.index(data.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            assert!(rig.get(&extent, a as u64..b as u64).await.unwrap() == data[a..b]);
            // One more, and it fails clean: no wrong byte, no hanging.
            if harmed.iter().all(|(_, (harm, _))| harm.is_total()) {
                rig.sim.kill(format!("/d{}", (first + m) % (k + m)));
                match rig.get(&extent, 0..extent.size).await {
                    Ok(bytes) => assert!(bytes == data, "the drive held no wanted byte"),
                    Err(error) => assert!(matches!(error, PoolError::Unreadable { .. })),
                }
            }
            rig.settle().await;
            assert_eq!(rig.reads.budget().bytes_used(), 0);
        });
    }

    #[test]
    fn dropped_at_any_point_nothing_stays(case in cases(), polls in 0usize..400, hung: bool) {
        run(async {
            let (rig, data) = (case.rig(), case.data());
            if hung {
                rig.sim.inject("/d0", OpKind::Write, 1, Fault::Stall(std::time::Duration::from_millis(500)));
            }
            let is_done = {
                let mut put = pin!(async {
                    let mut writer = rig.writer(case.announced());
                    for piece in data.chunks(case.step) {
                        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    let mut written = writer.finish().await.unwrap();
                    // A flush in flight is nothing to wait for.
                    rig.pages.is_shared.set(true);
                    written.flush().await.unwrap();
                });
                let mut left = polls;
                std::future::poll_fn(|context| match put.as_mut().poll(context) {
                    std::task::Poll::Pending if left > 0 => {
                        left -= 1;
                        std::task::Poll::Pending
                    }
                    poll => std::task::Poll::Ready(poll.is_ready()),
                })
                .await
            };
            rig.settle().await;
            assert!(rig.pages.taken.borrow().is_empty(), "finished: {is_done}");
        });
    }

    #[test]
    fn failing_writes_and_flushes_become_holes_or_an_error(
        case in cases(),
        faults in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![OpKind::Write, OpKind::Sync]), 0u64..4), 0..4),
    ) {
        run(async {
            let (rig, data) = (case.rig(), case.data());
            let (k, m) = case.scheme;
            for (drive, kind, nth) in faults {
                let nth = if kind == OpKind::Sync { 0 } else { nth };
                rig.sim.inject(path_of(drive.index(k + m)), kind, nth, Fault::Fail(libc::EIO));
            }
            let result = rig.put(&data, case.announced(), case.step).await;
            let out = rig.drives.out();
            match result {
                Ok(extent) => {
                    assert!(out.len() <= m);
                    for chunk in extent.stripes.iter().flat_map(|stripe| stripe.chunks.iter().flatten()) {
                        assert!(!out.contains(chunk.drive), "a chunk on a drive that lost a write or a flush");
                    }
                    assert!(extent.stripes.iter().all(|stripe| stripe.good() >= k + m - out.len()));
                    let extent = Rc::new(extent);
                    assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
                }
                Err(error) => {
                    assert!(matches!(error, PoolError::NotWritable { .. }), "{error}");
                    assert!(out.len() > m);
                    rig.settle().await;
                    assert!(rig.pages.taken.borrow().is_empty());
                }
            }
        });
    }
}

#[test]
fn a_full_drive_is_not_a_failed_one() {
    run(async {
        let rig = Rig::new(1, (2, 2), 64);
        rig.sim.inject("/d1", OpKind::Write, 0, Fault::Fail(libc::ENOSPC));
        let error = rig.put(&bytes(3 * MIB, 1), Some(3 << 20), 100_000).await.unwrap_err();
        assert_eq!(error, PoolError::Full);
        assert!(rig.drives.out().is_empty());
        rig.settle().await;
        assert!(rig.pages.taken.borrow().is_empty());
    });
}

#[test]
fn more_than_announced_is_refused() {
    run(async {
        let rig = Rig::new(1, (1, 1), 4);
        assert_eq!(rig.put(&[1; 11], Some(10), 6).await, Err(PoolError::Overrun(10)));
        rig.settle().await;
        assert!(rig.pages.taken.borrow().is_empty());
    });
}

#[test]
fn a_range_reads_just_its_blocks_in_few_operations() {
    run(async {
        let rig = Rig::new(3, (2, 2), 64);
        let data = bytes(4 * MIB, 3);
        let extent = Rc::new(rig.put(&data, Some(4 << 20), MIB).await.unwrap());
        let figures = |rig: &Rig| {
            let reads = rig.drives.iter().map(|drive| drive.metrics().reads);
            reads.fold((0, 0), |sum, reads| (sum.0 + reads.operations, sum.1 + reads.bytes))
        };
        rig.get(&extent, 10..20).await.unwrap();
        assert_eq!(figures(&rig), (1, BLOCK_BYTES as u64));
        let at = BLOCK_PAYLOAD_BYTES as u64;
        rig.get(&extent, at - 1..at + 1).await.unwrap();
        assert_eq!(figures(&rig), (3, 3 * BLOCK_BYTES as u64));
        rig.get(&extent, 0..8 * 2 * at).await.unwrap();
        assert_eq!(figures(&rig), (5, 19 * BLOCK_BYTES as u64));
    });
}

#[test]
fn damage_is_reported_block_by_block_and_the_drive_is_asked_last_afterwards() {
    run(async {
        let rig = Rig::new(4, (2, 2), 64);
        let data = bytes(4 * MIB, 4);
        let extent = Rc::new(rig.put(&data, None, MIB).await.unwrap());
        let victim = extent.block_address(3, 0).unwrap();
        rig.sim.flip(path_of(usize::from(victim.drive.0)), victim.offset + 1000, 4);
        assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
        let damages = rig.damages.borrow().clone();
        assert_eq!(damages.len(), 1);
        assert_eq!((damages[0].address, damages[0].row, damages[0].column), (victim, 3, 0));
        assert_eq!(rig.drives.get(victim.drive).unwrap().metrics().corrupt_blocks, 1);
        assert!(rig.reads.counters().degraded_groups.get() >= 1);
    });
}

/// Mends everything, as a scrub does.
async fn mend_all(rig: &Rig, extent: &Extent) -> Mended {
    let mut all = Mended::default();
    for group in mend::groups(extent, None) {
        all += mend::mend(&rig.reads, extent, group).await;
    }
    rig.drives.flush(&all.written).await;
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn what_was_mended_survives_the_loss_of_any_m_drives(
        case in cases(),
        harm in prop::collection::vec((prop::sample::select(vec![Harm::Wiped, Harm::Flipped, Harm::Latent, Harm::Misdirected]), any::<u64>()), 2),
        first in any::<prop::sample::Index>(),
        lost in any::<prop::sample::Index>(),
        crash: bool,
    ) {
        run(async {
            let (mut rig, data) = (case.rig(), case.data());
            let (k, m) = case.scheme;
            let extent = Rc::new(rig.put(&data, case.announced(), case.step).await.unwrap());
            let (first, lost) = (first.index(k + m), lost.index(k + m));
            for (n, (harm, seed)) in harm.into_iter().take(m).enumerate() {
                harm.inflict(&rig, &extent, (first + n) % (k + m), seed);
            }
            let found = mend_all(&rig, &extent).await;
            assert_eq!((found.repaired, found.unrepairable), (found.damaged, 0));
            if crash {
                rig.power_cut();
            }
            let again = mend_all(&rig, &extent).await;
            assert_eq!((again.checked, again.damaged), (found.checked, 0));
            (0..m).for_each(|n| rig.sim.kill(format!("/d{}", (lost + n) % (k + m))));
            assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
        });
    }
}

#[test]
fn too_much_damage_is_counted_and_nothing_is_written() {
    run(async {
        let rig = Rig::new(12, (2, 1), 4);
        let extent = rig.put(&bytes(300_000, 12), None, MIB).await.unwrap();
        for column in [0, 2] {
            let at = extent.block_address(0, column).unwrap();
            rig.sim.flip(path_of(usize::from(at.drive.0)), at.offset + 100, 1);
        }
        let writes = rig.sim.writes();
        let found = mend_all(&rig, &extent).await;
        assert_eq!((found.damaged, found.repaired, found.unrepairable), (2, 0, 2));
        assert_eq!(rig.sim.writes(), writes);
    });
}

#[test]
fn a_drive_that_is_out_helps_and_is_not_written() {
    run(async {
        let rig = Rig::new(13, (2, 1), 4);
        let extent = rig.put(&bytes(300_000, 13), None, MIB).await.unwrap();
        let (harmed, latched) = (extent.block_address(0, 0).unwrap(), extent.block_address(0, 1).unwrap());
        for at in [harmed, latched] {
            rig.sim.flip(path_of(usize::from(at.drive.0)), at.offset + 100, u8::from(at == harmed));
        }
        rig.drives.get(latched.drive).unwrap().health().latch("test");
        let found = mend_all(&rig, &extent).await;
        assert_eq!((found.damaged, found.repaired), (1, 1));
        assert!(!found.written.contains(latched.drive));
    });
}

#[test]
fn a_reader_that_is_dropped_gives_its_memory_back() {
    run(async {
        let rig = Rig::new(5, (2, 1), 64);
        let data = bytes(8 * MIB, 5);
        let extent = Rc::new(rig.put(&data, None, MIB).await.unwrap());
        let mut reader = rig.reads.read_range(extent.clone(), 0..extent.size);
        let piece = reader.next().await.unwrap().unwrap();
        drop(reader);
        rig.settle().await;
        assert!(rig.reads.budget().bytes_used() > 0, "a piece is still held");
        assert!(data.starts_with(&piece));
        drop(piece);
        assert_eq!(rig.reads.budget().bytes_used(), 0);
    });
}

#[test]
fn an_impatient_reader_misses_nothing() {
    run(async {
        let rig = Rig::new(6, (2, 2), 16);
        let data = bytes(5 * MIB, 6);
        let extent = Rc::new(rig.put(&data, None, MIB).await.unwrap());
        for until in [100_000, extent.size] {
            let mut reader = rig.reads.read_range(extent.clone(), 0..until);
            let mut read = Vec::new();
            loop {
                let patience = std::time::Duration::from_micros(100);
                match tokio::time::timeout(patience, reader.next()).await {
                    Ok(Some(piece)) => read.extend_from_slice(&piece.unwrap()),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            assert!(read == data[..until as usize]);
        }
    });
}

#[test]
fn many_writers_share_a_budget_smaller_than_their_need() {
    run(async {
        let rig = Rc::new(Rig::new(7, (4, 2), 8));
        rig.pages.is_shared.set(true);
        let writers: Vec<_> = (0..12u64)
            .map(|n| {
                let rig = rig.clone();
                tokio::task::spawn_local(async move {
                    let data = bytes(3 * MIB, n);
                    let mut writer = rig.writer(None);
                    writer.write(Bytes::from(data.clone())).await.unwrap();
                    let extent = Rc::new(writer.finish().await.unwrap().into_extent());
                    assert!(rig.get(&extent, 0..extent.size).await.unwrap() == data);
                    assert!(rig.writes.budget().bytes_used() <= rig.writes.budget().bytes_max());
                    extent
                })
            })
            .collect();
        let mut addresses = BTreeSet::new();
        for writer in writers {
            let extent = writer.await.unwrap();
            assert!(extent.spans().all(|(address, _)| addresses.insert(address)));
        }
    });
}

#[test]
fn a_record_of_another_scheme_is_refused() {
    run(async {
        let rig = Rig::new(8, (2, 1), 4);
        let extent = rig.put(&[1; 100], None, 100).await.unwrap();
        let other = Rc::new(Extent { k: 1, m: 2, ..extent });
        assert!(matches!(rig.get(&other, 0..100).await, Err(PoolError::Damaged(_))));
    });
}

#[test]
fn an_unknown_drive_is_a_hole() {
    run(async {
        let rig = Rig::new(9, (2, 1), 4);
        let mut extent = rig.put(&[1; 100], None, 100).await.unwrap();
        extent.stripes[0].chunks[0] = Some(Address { drive: DriveId(200), offset: 0 });
        assert_eq!(rig.get(&Rc::new(extent), 0..100).await.unwrap(), [1; 100]);
        assert_eq!(rig.drives.get(DriveId(200)).err(), Some(DriveError::Out(DriveId(200))));
    });
}
