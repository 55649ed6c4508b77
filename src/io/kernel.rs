//! Synchronous calls into the kernel about files: opening, identity, size, locks, randomness.
//!
//! Owns the flags with which files are opened and the fallbacks where a file system refuses them.
//! All of these are rare or cheap (no transfer of data), so they run on the calling thread.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, IFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::disk::{Access, FileIdentity};
use super::world::Place;

/// Opens a file for direct I/O, or buffered where the file system knows no direct I/O (then `DirectSync`
/// keeps O_DSYNC, so that each write is still durable when it returns). A file that is created is
/// durable as a name: its directory has been synced.
pub(super) fn open(path: &Path, create: bool, access: Access) -> io::Result<OwnedFd> {
    check_openable(path)?;
    match open_direct(path, flags_of(access)) {
        Err(error) if create && error == Errno::NOENT && access != Access::ReadOnly => {
            let fd = open_direct(path, flags_of(access) | OFlags::CREATE)?;
            overwrite_in_place(&fd);
            sync_directory_of(path)?;
            Ok(fd)
        }
        result => Ok(result?),
    }
}

fn flags_of(access: Access) -> OFlags {
    match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::Direct => OFlags::RDWR,
        Access::DirectSync => OFlags::RDWR | OFlags::DSYNC,
    }
}

/// Opening a FIFO waits for somebody at its other end.
fn check_openable(path: &Path) -> io::Result<()> {
    match place(path) {
        Ok(Place::Other(kind)) if kind == FIFO => {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is {kind}")))
        }
        _ => Ok(()),
    }
}

fn open_direct(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = flags | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
        Err(Errno::INVAL) => rustix::fs::open(path, flags, mode),
        result => result,
    }
}

/// Asks for overwrites that need no new space, so that they succeed on a full file system and space that was allocated
/// stays allocated. It is btrfs that has to be asked, while the file is empty; others do so anyway, cannot, or do not
/// know the flag, and any answer is good.
fn overwrite_in_place(fd: &OwnedFd) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd) {
        let _ = rustix::fs::ioctl_setflags(fd, flags | IFlags::NOCOW);
    }
}

/// Creates a directory and its parents, each durable as a name.
pub(super) fn create_dir_all(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    fs::create_dir_all(path)?;
    missing.iter().rev().try_for_each(|made| sync_directory_of(made))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    fs::File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Bytes of a file, or of a block device (where seeking to the end answers its size).
pub(super) fn size(fd: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::seek(fd, SeekFrom::End(0))?)
}

/// Bytes that can still be written below `path`; of a block device, all of it.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if is_block_device(&fd)? {
        return size(&fd);
    }
    let stat = rustix::fs::fstatvfs(&fd)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What is at `path`. Nothing is opened.
pub(super) fn place(path: &Path) -> io::Result<Place> {
    let stat = match rustix::fs::stat(path) {
        Err(Errno::NOENT) if rustix::fs::lstat(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link that leads nowhere"));
        }
        Err(Errno::NOENT) => return Ok(Place::Absent),
        stat => stat?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory | FileType::BlockDevice => Place::Drive,
        FileType::RegularFile => Place::Other("a file"),
        FileType::Fifo => Place::Other(FIFO),
        FileType::Socket => Place::Other("a socket"),
        FileType::CharacterDevice => Place::Other("a character device"),
        _ => Place::Other("neither a directory nor a block device"),
    })
}

const FIFO: &str = "a FIFO";

/// Device number of the file system that holds `path`.
pub(super) fn device_of(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::stat(path)?.st_dev)
}

/// Whether the last name of an open file is gone: it lives as long as it is open, and no longer.
pub(super) fn is_unlinked(fd: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(fd)?.st_nlink == 0)
}

pub(super) fn identity(fd: &OwnedFd) -> io::Result<FileIdentity> {
    let stat = rustix::fs::fstat(fd)?;
    let is_block_device = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
    let device = if is_block_device { stat.st_rdev } else { stat.st_dev };
    Ok(FileIdentity { device, is_block_device, write_cache: has_write_cache(device) })
}

fn is_block_device(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::BlockDevice)
}

/// Whether the disk below may lose acknowledged writes with the power; true when it does not say.
fn has_write_cache(device: u64) -> bool {
    match device_attribute(device, "queue/write_cache") {
        Some(text) => text.trim() != "write through",
        None => true,
    }
}

/// An attribute of a block device in sysfs; a partition has those of its disk.
fn device_attribute(device: u64, name: &str) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let base = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let whole = fs::read_to_string(base.join(name));
    whole.or_else(|_| fs::read_to_string(base.join("..").join(name))).ok()
}

/// Whether two paths lead to the same place; false when one leads nowhere.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(a).zip(real(b)).is_some_and(|(a, b)| a == b)
}

/// An exclusive advisory lock on a file, directory or block device; a missing file is created.
/// `WouldBlock` when another process or another handle holds it.
pub(super) fn lock(path: &Path) -> io::Result<OwnedFd> {
    check_openable(path)?;
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, read, Mode::empty()) {
        Err(Errno::NOENT) => rustix::fs::open(path, read | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?,
        result => result?,
    };
    rustix::fs::flock(fd.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

/// Fills `bytes` with random numbers fit for keys.
pub(super) fn random(bytes: &mut [u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the pointer and the length are those of one exclusively borrowed slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => rest = &mut rest[got..],
            Err(_) => {
                let error = io::Error::last_os_error();
                assert_eq!(error.kind(), io::ErrorKind::Interrupted, "no random numbers: {error}");
            }
        }
    }
}
