//! One operation on a file as both real backends perform it.
//!
//! Owns [`Operation`] (what to do, with the buffer it needs) and [`Ticket`] (the proof that it is in
//! flight). An operation owns its buffer until the kernel is done: a backend takes it by value and gives
//! it back with the result, or drops it after completion when nobody waits any more.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, mem};

use rustix::fs::FallocateFlags;

use super::buffer::AlignedBuf;

/// What to do, once: transfers may end short, the caller continues them.
pub(super) enum Operation {
    /// Fill `buf[from..]` from `offset` on.
    Read { buf: AlignedBuf, from: usize, offset: u64 },
    /// Write `buf[range]` at `offset`.
    Write { buf: Arc<AlignedBuf>, range: Range<usize>, offset: u64 },
    /// fdatasync.
    Sync,
    /// fallocate.
    Allocate { mode: FallocateFlags, offset: u64, len: u64 },
}

impl Operation {
    /// Performs it on the calling thread. Answers the bytes transferred.
    pub fn perform(&mut self, fd: &OwnedFd) -> io::Result<usize> {
        let done = match self {
            Operation::Read { buf, from, offset } => rustix::io::pread(fd, &mut buf[*from..], *offset)?,
            Operation::Write { buf, range, offset } => rustix::io::pwrite(fd, &buf[range.clone()], *offset)?,
            Operation::Sync => rustix::fs::fdatasync(fd).map(|()| 0)?,
            Operation::Allocate { mode, offset, len } => {
                rustix::fs::fallocate(fd, *mode, *offset, *len).map(|()| 0)?
            }
        };
        Ok(done)
    }
}

/// Counts the operations in flight of one world.
#[derive(Clone, Default)]
pub(super) struct Flight(Arc<AtomicUsize>);

impl Flight {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more in flight until the ticket is dropped.
    pub fn board(&self) -> Ticket {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ticket(self.clone())
    }
}

/// Held by an operation until it is complete.
pub(super) struct Ticket(Flight);

impl Drop for Ticket {
    fn drop(&mut self) {
        let before = self.0.0.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "more operations completed than were submitted");
    }
}

const _: () = assert!(mem::size_of::<Operation>() <= 64, "moved several times for each operation");
