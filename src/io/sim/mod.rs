//! The simulated world: files in memory on disks that tear, lose, misdirect, flip, stall and fail.
//!
//! Owns [`SimWorld`], the hand of the test: it makes worlds, plans faults and cuts the power. The engine
//! under test sees an ordinary [`World`].
//!
//! Everything is decided by one seed, provided that the test runs on a current-thread runtime with
//! paused time, inside a `LocalSet` (operations go on after their caller stops waiting, so they are tasks).
//!
//! What a disk promises here, and no more: a write is durable once it is complete on a `DirectSync` handle,
//! or once a `sync` is complete that began after it. Everything else is decided at the crash, for each
//! 512-byte sector on its own: any of the versions written since the last durable one, or that one.
//! Names of files are durable at once (the real `open` syncs the directory). A failed sync promises
//! nothing about the writes before it, ever. Faults name a path and apply to everything below it.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::world::World;
use crate::base::limits::PAGE;

pub(super) use self::file::SimFile;
pub(super) use self::handle::{SimHandle, SimLock};
pub use self::state::is_power_cut;
use self::state::{Planned, State};

mod file;
mod handle;
mod media;
mod state;

#[cfg(test)]
mod tests;

/// A simulated machine. Clones are the same machine.
#[derive(Clone)]
pub struct SimWorld(Rc<RefCell<State>>);

/// Kinds of operation a fault can wait for. Zeroing and discarding count as writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Read,
    Write,
    Sync,
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this number (`libc::EIO`). A failing write may have written any of its sectors.
    Fail(i32),
    /// A write is reported done and nothing was written.
    Lose,
    /// A write lands at this offset of the same file instead, which it does not report.
    Misdirect(u64),
    /// It takes this much longer.
    Stall(Duration),
}

impl SimWorld {
    /// A machine with an empty root directory and no limit on space.
    pub fn new(seed: u64) -> Self {
        SimWorld(Rc::new(RefCell::new(State::new(seed))))
    }

    /// The world of the machine as it runs now; it and its files end with the next crash.
    pub fn world(&self) -> World {
        World::on_sim(SimHandle::new(self.0.clone()))
    }

    /// Makes `path` a directory that is a disk of its own, of this many bytes.
    pub fn add_disk(&self, path: impl Into<PathBuf>, capacity: u64) {
        self.0.borrow_mut().add_disk(path.into(), capacity, true);
    }

    /// The same, of a disk that has no volatile cache, which `FileIdentity` tells the engine. Its
    /// writes are then durable when they are complete.
    pub fn add_disk_without_cache(&self, path: impl Into<PathBuf>, capacity: u64) {
        self.0.borrow_mut().add_disk(path.into(), capacity, false);
    }

    /// Makes a block device.
    pub fn add_block_device(&self, path: impl Into<PathBuf>, bytes: u64) {
        assert!(bytes.is_multiple_of(PAGE as u64));
        self.0.borrow_mut().add_block_device(path.into(), bytes);
    }

    /// Cuts the power and switches the machine on again: decides what of the unsynced writes is left,
    /// releases locks and ends all worlds made so far, whose operations fail from now on.
    pub fn crash(&self) {
        self.0.borrow_mut().crash();
    }

    /// Cuts the power at a write to come, `nth` from now (0 is the next one): it and everything after
    /// it fails, until `crash` decides what is left and switches the machine on again.
    pub fn crash_at_write(&self, nth: u64) {
        let mut state = self.0.borrow_mut();
        state.cut_at_write = Some(state.writes + nth);
    }

    /// Whether the write of `crash_at_write` has been reached.
    pub fn is_cut(&self) -> bool {
        self.0.borrow().is_cut
    }

    /// Writes issued so far, on all files: the range for `crash_at_write`.
    pub fn writes(&self) -> u64 {
        self.0.borrow().writes
    }

    /// Plans a fault for the `nth` operation of this kind from now on (0 is the next one).
    pub fn inject(&self, path: impl Into<PathBuf>, kind: OpKind, nth: u64, fault: Fault) {
        self.0.borrow_mut().plan.push(Planned { path: path.into(), kind, nth, fault });
    }

    /// Faults planned and not yet met.
    pub fn pending_faults(&self) -> usize {
        self.0.borrow().plan.len()
    }

    /// Everything fails with EIO from now on, opening included; operations in flight too.
    pub fn kill(&self, path: impl Into<PathBuf>) {
        self.0.borrow_mut().dead.insert(path.into());
    }

    pub fn revive(&self, path: impl AsRef<Path>) {
        self.0.borrow_mut().dead.remove(path.as_ref());
    }

    /// From now on nothing can be written and no file opened for writing, as on a file system that the kernel has made
    /// read-only after an error. Reads go on.
    pub fn freeze(&self, path: impl Into<PathBuf>) {
        self.0.borrow_mut().frozen.insert(path.into());
    }

    pub fn thaw(&self, path: impl AsRef<Path>) {
        self.0.borrow_mut().frozen.remove(path.as_ref());
    }

    /// Operations that begin from now on do not finish before `release`.
    pub fn hang(&self, path: impl Into<PathBuf>) {
        self.0.borrow_mut().hung.entry(path.into()).or_default();
    }

    pub fn release(&self, path: impl AsRef<Path>) {
        if let Some(hung) = self.0.borrow_mut().hung.remove(path.as_ref()) {
            hung.notify_waiters();
        }
    }

    /// Replaces a disk by an empty one: the files below `path` are gone.
    pub fn wipe(&self, path: impl AsRef<Path>) {
        self.0.borrow_mut().files.retain(|name, _| !name.starts_with(path.as_ref()));
    }

    /// Writes over everything that stands on a disk, durably.
    pub fn spoil(&self, path: impl AsRef<Path>) {
        let mut state = self.0.borrow_mut();
        let below = state.files.iter_mut().filter(|(name, _)| name.starts_with(path.as_ref()));
        below.for_each(|(_, file)| file.media.spoil());
    }

    /// The same of one file.
    pub fn spoil_file(&self, path: impl AsRef<Path>) {
        self.0.borrow_mut().media(path.as_ref()).spoil();
    }

    /// Flips the bits of `mask` in one byte at rest.
    pub fn flip(&self, path: impl AsRef<Path>, offset: u64, mask: u8) {
        let mut byte = self.peek(path.as_ref(), offset, 1);
        byte[0] ^= mask;
        self.poke(path, offset, &byte);
    }

    /// Reads that touch the range fail with EIO, until it is written again.
    pub fn latent_error(&self, path: impl AsRef<Path>, range: Range<u64>) {
        self.0.borrow_mut().media(path.as_ref()).fail_reads(range);
    }

    /// What a read would see, without faults.
    pub fn peek(&self, path: impl AsRef<Path>, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.borrow_mut().media(path.as_ref()).read(offset, &mut bytes);
        bytes
    }

    /// Changes bytes at rest, durably.
    pub fn poke(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) {
        self.0.borrow_mut().media(path.as_ref()).poke(offset, bytes);
    }

    /// All files and block devices.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.borrow().files.keys().cloned().collect()
    }
}
