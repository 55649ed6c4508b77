//! The world as the engine sees it: clock, randomness, files. Passed in everywhere.
//!
//! Owns nothing itself; a [`World`] is a cheap handle to the real system of this thread or to a
//! simulated one. It belongs to one thread: `runtime::run` makes one for each. Time passes through
//! tokio's timers in both, so a simulated world under paused time is deterministic.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use super::disk::{Access, Backend, File};
use super::kernel;
use super::ring::Ring;
use super::sim::{SimHandle, SimLock};
use super::threads::Pool;
use crate::base::time::Nanos;

/// What performs the disk operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    Uring,
    Threads,
    Sim,
}

impl IoKind {
    /// As operators read it in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            IoKind::Uring => "uring",
            IoKind::Threads => "threads",
            IoKind::Sim => "sim",
        }
    }
}

#[derive(Clone)]
pub struct World(Kind);

#[derive(Clone)]
enum Kind {
    Real(Backend),
    Sim(SimHandle),
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Absent,
    /// A directory or a block device.
    Drive,
    /// Something that cannot be a drive, with an article.
    Other(&'static str),
}

/// An exclusive lock on a path, held until dropped.
pub struct Lock {
    _held: Held,
}

enum Held {
    Real { _fd: OwnedFd },
    Sim { _lock: SimLock },
}

impl World {
    pub(super) fn on_ring(ring: Rc<Ring>) -> World {
        World(Kind::Real(Backend::Ring(ring)))
    }

    pub(super) fn on_pool(pool: Rc<Pool>) -> World {
        World(Kind::Real(Backend::Pool(pool)))
    }

    pub(super) fn on_sim(sim: SimHandle) -> World {
        World(Kind::Sim(sim))
    }

    /// Wall clock.
    pub fn now(&self) -> Nanos {
        match &self.0 {
            Kind::Real(_) => wall_clock(),
            Kind::Sim(sim) => sim.now(),
        }
    }

    /// Fills `bytes` with random numbers fit for keys.
    pub fn random(&self, bytes: &mut [u8]) {
        match &self.0 {
            Kind::Real(_) => kernel::random(bytes),
            Kind::Sim(sim) => sim.random(bytes),
        }
    }

    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Opens a file or block device. With `create` a missing file is made, durably as a name.
    pub fn open(&self, path: &Path, create: bool, access: Access) -> io::Result<File> {
        match &self.0 {
            Kind::Real(backend) => File::real(kernel::open(path, create, access)?, backend.clone()),
            Kind::Sim(sim) => sim.open(path, create, access).map(File::simulated),
        }
    }

    pub fn exists(&self, path: &Path) -> bool {
        match &self.0 {
            Kind::Real(_) => path.exists(),
            Kind::Sim(sim) => sim.exists(path),
        }
    }

    /// What is at `path`, found without opening it. An error when that cannot be told.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        match &self.0 {
            Kind::Real(_) => kernel::place(path),
            Kind::Sim(sim) => Ok(if sim.exists(path) { Place::Drive } else { Place::Absent }),
        }
    }

    /// Whether two paths lead to the same place.
    pub fn is_same(&self, a: &Path, b: &Path) -> bool {
        match &self.0 {
            Kind::Real(_) => kernel::is_same(a, b),
            Kind::Sim(_) => a == b,
        }
    }

    /// Makes a directory and its parents, durably as names.
    pub fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match &self.0 {
            Kind::Real(_) => kernel::create_dir_all(path),
            Kind::Sim(sim) => sim.create_dir_all(path),
        }
    }

    /// Bytes that can still be allocated below `path`; of a block device, its size.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match &self.0 {
            Kind::Real(_) => kernel::free_bytes(path),
            Kind::Sim(sim) => sim.free_bytes(path),
        }
    }

    /// The file system that holds a directory, as a number that others do not have.
    pub fn device_of(&self, path: &Path) -> io::Result<u64> {
        match &self.0 {
            Kind::Real(_) => kernel::device_of(path),
            Kind::Sim(sim) => sim.device_of(path),
        }
    }

    /// Takes an exclusive advisory lock on a file (made if missing), directory or block device.
    /// `WouldBlock` when it is taken, by this process or another one.
    pub fn lock(&self, path: &Path) -> io::Result<Lock> {
        let held = match &self.0 {
            Kind::Real(_) => Held::Real { _fd: kernel::lock(path)? },
            Kind::Sim(sim) => Held::Sim { _lock: sim.lock(path)? },
        };
        Ok(Lock { _held: held })
    }

    pub fn io_kind(&self) -> IoKind {
        match &self.0 {
            Kind::Real(Backend::Ring(_)) => IoKind::Uring,
            Kind::Real(Backend::Pool(_)) => IoKind::Threads,
            Kind::Sim(_) => IoKind::Sim,
        }
    }

    /// Disk operations submitted and not yet complete.
    pub fn inflight(&self) -> usize {
        match &self.0 {
            Kind::Real(Backend::Ring(ring)) => ring.flight.count(),
            Kind::Real(Backend::Pool(pool)) => pool.flight.count(),
            Kind::Sim(sim) => sim.inflight(),
        }
    }
}

fn wall_clock() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
