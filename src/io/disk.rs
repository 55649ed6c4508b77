//! Files on drives: reads, durable writes, allocation.
//!
//! Owns [`File`], the only way above `io` to reach bytes on a drive. Uses the backends below it
//! (`ring`, `threads`, `sim`), which perform single operations; here arguments are checked, short transfers
//! are continued and file systems that refuse an operation are helped.
//!
//! Invariants: every offset and length of a transfer is a multiple of a page, whatever the backend, so
//! that what works on a simulated or memory file system works on a drive; a buffer is returned or
//! dropped only after the kernel is done with it, also when the caller stops waiting.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::buffer::AlignedBuf;
use super::kernel;
use super::operation::Operation;
use super::ring::Ring;
use super::sim::SimFile;
use super::threads::Pool;
use crate::base::limits::{PAGE, ZERO_WRITE_BYTES};

/// Whether the file system or a quota has no room for this; the drive itself is sound.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How a file is opened. All of them bypass the page cache where the file system allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    /// A write is durable after the next [`File::sync`] that starts when the write is complete.
    Direct,
    /// A write is durable when it is complete.
    DirectSync,
}

/// Where a file lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Device number of the block device itself, or of the file system that holds the file.
    pub device: u64,
    pub is_block_device: bool,
    /// The disk may hold acknowledged writes in volatile memory; true when unknown.
    pub write_cache: bool,
}

/// An open file or block device. Cheap to clone; closed with the last clone and operation.
#[derive(Clone)]
pub struct File(Rc<Inner>);

enum Inner {
    Real(RealFile),
    Sim(SimFile),
}

impl File {
    /// Fills the buffer from `offset` on; holes and everything past the end of the file read as zeros.
    /// The buffer comes back in any case; its content is unspecified after an error.
    pub async fn read_at(&self, buf: AlignedBuf, offset: u64) -> (io::Result<()>, AlignedBuf) {
        if let Err(error) = check_transfer(offset, buf.len()) {
            return (Err(error), buf);
        }
        match &*self.0 {
            Inner::Real(file) => file.read_at(buf, offset).await,
            Inner::Sim(file) => file.read_at(buf, offset).await,
        }
    }

    /// Writes `buf[range]` at `offset`, all of it or an error (then any part of it may have been
    /// written). Errors of the system keep their `raw_os_error`.
    pub async fn write_at(&self, buf: Arc<AlignedBuf>, range: Range<usize>, offset: u64) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= buf.len(), "the range lies in the buffer");
        check_transfer(offset, range.len())?;
        check_transfer(range.start as u64, range.len())?;
        match &*self.0 {
            Inner::Real(file) => file.write_at(buf, range, offset).await,
            Inner::Sim(file) => file.write_at(buf, range, offset).await,
        }
    }

    /// Makes all writes durable that were complete when this was called, through any handle of the file.
    pub async fn sync(&self) -> io::Result<()> {
        match &*self.0 {
            Inner::Real(file) => file.sync().await,
            Inner::Sim(file) => file.sync().await,
        }
    }

    /// Reserves space and extends the file to at least `offset + len`. A block device has its space.
    pub async fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        check_transfer(offset, usize::try_from(len).map_err(|_| invalid())?)?;
        match &*self.0 {
            Inner::Real(file) => file.preallocate(offset, len).await,
            Inner::Sim(file) => file.preallocate(offset, len).await,
        }
    }

    /// Keeps space in which nothing is written, behind all that is; `discard` lets it go. An error where
    /// the file system cannot do that, and on a block device, which has its space.
    pub async fn hold(&self, offset: u64, len: u64) -> io::Result<()> {
        check_transfer(offset, usize::try_from(len).map_err(|_| invalid())?)?;
        match &*self.0 {
            Inner::Real(file) => file.hold(offset, len).await,
            Inner::Sim(file) => file.hold(offset, len).await,
        }
    }

    /// Makes a range read as zeros and its extents written, durably: a later overwrite changes no
    /// metadata of the file system.
    pub async fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        check_transfer(offset, usize::try_from(len).map_err(|_| invalid())?)?;
        match &*self.0 {
            Inner::Real(file) => file.write_zeroes(offset, len).await,
            Inner::Sim(file) => file.write_zeroes(offset, len).await,
        }
    }

    /// Tells the drive that a range is of no use any more. Best effort: afterwards it reads as zeros or
    /// as before.
    pub async fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_transfer(offset, usize::try_from(len).map_err(|_| invalid())?)?;
        match &*self.0 {
            Inner::Real(file) => file.discard(offset, len).await,
            Inner::Sim(file) => file.discard(offset, len).await,
        }
    }

    /// Bytes of the file or block device.
    pub fn len(&self) -> io::Result<u64> {
        match &*self.0 {
            Inner::Real(file) => kernel::size(&file.fd),
            Inner::Sim(file) => file.len(),
        }
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the file was deleted while it is open: what is written to it then is gone with the process.
    pub fn is_unlinked(&self) -> io::Result<bool> {
        match &*self.0 {
            Inner::Real(file) => kernel::is_unlinked(&file.fd),
            Inner::Sim(_) => Ok(false),
        }
    }

    pub fn id(&self) -> FileIdentity {
        match &*self.0 {
            Inner::Real(file) => file.id,
            Inner::Sim(file) => file.id(),
        }
    }

    pub(super) fn simulated(file: SimFile) -> File {
        File(Rc::new(Inner::Sim(file)))
    }

    pub(super) fn real(fd: OwnedFd, backend: Backend) -> io::Result<File> {
        let id = kernel::identity(&fd)?;
        Ok(File(Rc::new(Inner::Real(RealFile { fd: Arc::new(fd), backend, id }))))
    }
}

/// Who performs the operations on real files.
#[derive(Clone)]
pub(super) enum Backend {
    Ring(Rc<Ring>),
    Pool(Rc<Pool>),
}

impl Backend {
    async fn perform(&self, fd: &Arc<OwnedFd>, operation: Operation) -> (io::Result<usize>, Operation) {
        match self {
            Backend::Ring(ring) => ring.perform(fd, operation).await,
            Backend::Pool(pool) => pool.perform(fd, operation).await,
        }
    }
}

struct RealFile {
    fd: Arc<OwnedFd>,
    backend: Backend,
    id: FileIdentity,
}

impl RealFile {
    async fn read_at(&self, mut buf: AlignedBuf, offset: u64) -> (io::Result<()>, AlignedBuf) {
        let mut from = 0;
        while from < buf.len() {
            let operation = Operation::Read { buf, from, offset: offset + from as u64 };
            let (result, operation) = self.backend.perform(&self.fd, operation).await;
            let Operation::Read { buf: back, .. } = operation else { unreachable!("a read stays a read") };
            buf = back;
            match result {
                Ok(got) => from += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return (Err(error), buf),
            }
            // A transfer ends inside a sector only at the end of the file.
            if result.is_ok_and(|got| got == 0 || got % SECTOR != 0) {
                buf[from..].fill(0);
                break;
            }
        }
        (Ok(()), buf)
    }

    async fn write_at(&self, buf: Arc<AlignedBuf>, range: Range<usize>, offset: u64) -> io::Result<()> {
        let mut from = range.start;
        while from < range.end {
            let offset = offset + (from - range.start) as u64;
            let operation = Operation::Write { buf: buf.clone(), range: from..range.end, offset };
            match self.backend.perform(&self.fd, operation).await.0 {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(done) => from += done,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        self.backend.perform(&self.fd, Operation::Sync).await.0.map(drop)
    }

    async fn preallocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or_else(invalid)?;
        let size = kernel::size(&self.fd)?;
        if self.id.is_block_device {
            return if end <= size { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOSPC)) };
        }
        match self.allocate(FallocateFlags::empty(), offset, len).await {
            Err(error) if is_unsupported(&error) && end > size => {
                let from = size.max(offset).next_multiple_of(PAGE as u64);
                self.write_zero_pages(from..end).await
            }
            Err(error) if is_unsupported(&error) => Ok(()),
            result => result,
        }
    }

    async fn hold(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.id.is_block_device {
            true => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            // Within the length of the file: behind it ext4 digs no holes, so the space would never come back.
            false => self.allocate(FallocateFlags::empty(), offset, len).await,
        }
    }

    async fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or_else(invalid)?;
        match self.allocate(FallocateFlags::from_bits_retain(FALLOC_FL_WRITE_ZEROES), offset, len).await {
            Err(error) if is_unsupported(&error) => self.write_zero_pages(offset..end).await?,
            result => result?,
        }
        self.sync().await
    }

    async fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        // On a block device the kernel turns the hole into an unmapping write of zeros, where the drive
        // has one. A plain BLKDISCARD would be an ioctl, which blocks the thread.
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match self.allocate(mode, offset, len).await {
            Err(error) if is_unsupported(&error) => Ok(()),
            result => result,
        }
    }

    async fn allocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        loop {
            match self.backend.perform(&self.fd, Operation::Allocate { mode, offset, len }).await.0 {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(drop),
            }
        }
    }

    async fn write_zero_pages(&self, range: Range<u64>) -> io::Result<()> {
        let zeros = Arc::new(AlignedBuf::zeroed(ZERO_WRITE_BYTES));
        let mut offset = range.start;
        while offset < range.end {
            let len = (range.end - offset).min(ZERO_WRITE_BYTES as u64);
            self.write_at(zeros.clone(), 0..len as usize, offset).await?;
            offset += len;
        }
        Ok(())
    }
}

/// Smallest unit in which a drive transfers.
const SECTOR: usize = 512;

/// Linux 6.17, `linux/falloc.h`: zero the range and leave its extents written.
const FALLOC_FL_WRITE_ZEROES: u32 = 0x80;

/// How kernels and file systems say that they do not know an fallocate mode.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS))
}

fn check_transfer(offset: u64, len: usize) -> io::Result<()> {
    let aligned = offset.is_multiple_of(PAGE as u64) && len.is_multiple_of(PAGE);
    let end = offset.checked_add(len as u64).filter(|end| i64::try_from(*end).is_ok());
    if aligned && end.is_some() { Ok(()) } else { Err(invalid()) }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}
