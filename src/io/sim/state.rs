//! The state of a simulated machine between operations: files, disks, plans, power.
//!
//! Owns [`State`], [`Chance`] (the one source of randomness) and the error of a power cut. No waiting happens
//! here: `file` waits and then changes this state in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

use super::media::{Media, Page};
use super::{Fault, OpKind};
use crate::base::time::Nanos;
use crate::io::operation::Flight;

pub(super) struct State {
    pub chance: Chance,
    /// Grows with every crash; handles of an earlier one are dead.
    pub generation: u64,
    pub is_cut: bool,
    pub writes: u64,
    pub cut_at_write: Option<u64>,
    /// Order of completed writes and begun syncs.
    pub time: u64,
    pub files: BTreeMap<PathBuf, SimNode>,
    pub directories: BTreeSet<PathBuf>,
    pub locks: BTreeMap<PathBuf, u64>,
    pub plan: Vec<Planned>,
    pub dead: BTreeSet<PathBuf>,
    pub frozen: BTreeSet<PathBuf>,
    pub hung: BTreeMap<PathBuf, Rc<Notify>>,
    /// Writes begun and not complete, in the order they began.
    pub in_flight: BTreeMap<u64, WriteInFlight>,
    pub flight: Flight,
    pub clock: Clock,
    disks: Vec<Disk>,
    next_number: u64,
}

/// A file or block device.
pub(super) struct SimNode {
    pub media: Media,
    pub is_block_device: bool,
    /// Position of its disk in `disks`.
    pub disk: usize,
    /// Space kept behind the end: bytes by offset.
    held: BTreeMap<u64, u64>,
}

struct Disk {
    path: PathBuf,
    capacity: u64,
    write_cache: bool,
}

pub(super) struct WriteInFlight {
    pub path: PathBuf,
    pub first: u64,
    pub pages: Vec<Page>,
}

pub(super) struct Planned {
    pub path: PathBuf,
    pub kind: OpKind,
    pub nth: u64,
    pub fault: Fault,
}

impl State {
    pub fn new(seed: u64) -> Self {
        let root = Disk { path: PathBuf::from("/"), capacity: u64::MAX, write_cache: true };
        State {
            chance: Chance(seed),
            generation: 0,
            is_cut: false,
            writes: 0,
            cut_at_write: None,
            time: 0,
            files: BTreeMap::new(),
            directories: BTreeSet::from([PathBuf::from("/")]),
            locks: BTreeMap::new(),
            plan: Vec::new(),
            dead: BTreeSet::new(),
            frozen: BTreeSet::new(),
            hung: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            flight: Flight::default(),
            clock: Clock::new(),
            disks: vec![root],
            next_number: 0,
        }
    }

    pub fn add_disk(&mut self, path: PathBuf, capacity: u64, write_cache: bool) {
        self.directories.extend(path.ancestors().map(Path::to_path_buf));
        self.disks.push(Disk { path, capacity, write_cache });
    }

    pub fn add_block_device(&mut self, path: PathBuf, bytes: u64) {
        self.add_disk(path.clone(), bytes, true);
        self.directories.remove(&path);
        let node = SimNode {
            media: Media::of_size(bytes),
            is_block_device: true,
            disk: self.disks.len() - 1,
            held: BTreeMap::new(),
        };
        self.files.insert(path, node);
    }

    pub fn crash(&mut self) {
        self.generation += 1;
        self.is_cut = false;
        self.cut_at_write = None;
        self.locks.clear();
        self.clock.stop();
        // From everything lost to everything kept, so that whole writes and torn ones both occur.
        let kept_of_8 = [0, 1, 4, 7, 8][self.chance.below(5) as usize];
        let mut in_flight: BTreeMap<PathBuf, Vec<_>> = BTreeMap::new();
        for write in std::mem::take(&mut self.in_flight).into_values() {
            in_flight.entry(write.path).or_default().push((write.first, write.pages));
        }
        for (path, node) in &mut self.files {
            node.media.crash(in_flight.remove(path).unwrap_or_default(), kept_of_8, &mut self.chance);
        }
    }

    /// The bytes of a file the test names.
    pub fn media(&mut self, path: &Path) -> &mut Media {
        let node = self.files.get_mut(path);
        &mut node.unwrap_or_else(|| panic!("no simulated file {}", path.display())).media
    }

    pub fn create_file(&mut self, path: &Path) {
        let disk = self.disk_of(path);
        let node = SimNode { media: Media::default(), is_block_device: false, disk, held: BTreeMap::new() };
        self.files.insert(path.to_path_buf(), node);
    }

    /// Whether a world of this generation still runs and the disk below `path` answers.
    pub fn check_alive(&self, generation: u64, path: &Path) -> io::Result<()> {
        if !self.is_running(generation) {
            return Err(power_cut());
        }
        if self.dead.iter().any(|dead| path.starts_with(dead)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    /// The same, and whether it may be written.
    pub fn check_writable(&self, generation: u64, path: &Path) -> io::Result<()> {
        self.check_alive(generation, path)?;
        match self.frozen.iter().any(|frozen| path.starts_with(frozen)) {
            true => Err(io::Error::from_raw_os_error(libc::EROFS)),
            false => Ok(()),
        }
    }

    pub fn is_running(&self, generation: u64) -> bool {
        !self.is_cut && generation == self.generation
    }

    /// The fault planned for this operation, if it is its turn.
    pub fn take_fault(&mut self, path: &Path, kind: OpKind) -> Option<Fault> {
        let mut found = None;
        for (n, planned) in self.plan.iter_mut().enumerate() {
            if planned.kind != kind || !path.starts_with(&planned.path) {
                continue;
            }
            match planned.nth.checked_sub(1) {
                Some(less) => planned.nth = less,
                None => found = found.or(Some(n)),
            }
        }
        found.map(|n| self.plan.remove(n).fault)
    }

    pub fn hung_below(&self, path: &Path) -> Option<Rc<Notify>> {
        self.hung.iter().find(|(hung, _)| path.starts_with(hung)).map(|(_, hung)| hung.clone())
    }

    /// Refuses a growth beyond the disk.
    pub fn check_space(&self, node: &SimNode, end: u64) -> io::Result<()> {
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let growth = end.saturating_sub(node.media.len);
        let fits = if node.is_block_device { growth == 0 } else { growth <= self.free_on(node.disk) };
        if fits { Ok(()) } else { Err(full()) }
    }

    /// Keeps space behind the end of a file.
    pub fn hold(&mut self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        let node = self.files.get(path).filter(|node| !node.is_block_device);
        let disk = node.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?.disk;
        let free = self.free_on(disk);
        let held = self.files.get_mut(path).map(|node| &mut node.held);
        match held {
            Some(held) if !held.contains_key(&offset) && len > free => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            held => {
                held.map(|held| held.insert(offset, len));
                Ok(())
            }
        }
    }

    pub fn let_go(&mut self, path: &Path, offset: u64) {
        if let Some(node) = self.files.get_mut(path) {
            node.held.remove(&offset);
        }
    }

    pub fn free_below(&self, path: &Path) -> u64 {
        match self.files.get(path) {
            Some(node) if node.is_block_device => node.media.len,
            _ => self.free_on(self.disk_of(path)),
        }
    }

    fn free_on(&self, disk: usize) -> u64 {
        let nodes = self.files.values().filter(|node| node.disk == disk);
        let taken = nodes.map(|node| node.media.len + node.held.values().sum::<u64>()).sum();
        self.disks[disk].capacity.saturating_sub(taken)
    }

    pub fn has_write_cache(&self, disk: usize) -> bool {
        self.disks[disk].write_cache
    }

    pub fn disk_of(&self, path: &Path) -> usize {
        let below = self.disks.iter().enumerate().filter(|(_, disk)| path.starts_with(&disk.path));
        below.max_by_key(|(_, disk)| disk.path.components().count()).map_or(0, |(n, _)| n)
    }

    pub fn next_time(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    pub fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// The wall clock: starts at a fixed date, follows tokio's time, never goes back.
pub(super) struct Clock {
    last: Nanos,
    anchor: Option<(tokio::time::Instant, Nanos)>,
}

impl Clock {
    fn new() -> Self {
        // 2026-01-01T00:00:00Z
        Clock { last: Nanos::from_seconds(1_767_225_600), anchor: None }
    }

    pub fn now(&mut self) -> Nanos {
        let now = tokio::time::Instant::now();
        let (anchor, base) = *self.anchor.get_or_insert((now, self.last));
        let passed = u64::try_from(now.duration_since(anchor).as_nanos()).unwrap_or(u64::MAX);
        self.last = self.last.max(Nanos(base.0.saturating_add(passed)));
        self.last
    }

    /// The next runtime may count its time from elsewhere: go on from here.
    fn stop(&mut self) {
        self.anchor = None;
        self.last = Nanos(self.last.0 + Nanos::PER_SECOND);
    }
}

/// Pseudo-random numbers (SplitMix64): all that happens in a simulation follows from the seed.
pub(super) struct Chance(u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; the tiny bias does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What operations fail with once the simulated power is cut.
#[derive(Debug)]
struct PowerCut;

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated power is cut")
    }
}

impl std::error::Error for PowerCut {}

/// Whether an error says that the simulated power was cut.
pub fn is_power_cut(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<PowerCut>())
}

pub(super) fn power_cut() -> io::Error {
    io::Error::other(PowerCut)
}
