//! The files of one drive, open for reading, and how places on it are called.
//!
//! A directory drive is two files with one address space, a block device is both at once. A missing
//! data file does not stop a look at the other one. Holds the lock that keeps a server away while
//! the drive is being looked at.

use std::io;
use std::path::{Path, PathBuf};

use super::InspectError;
use crate::base::limits::PAGE;
use crate::drive::device::Area;
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{Access, File};
use crate::io::world::{Lock, Place, World};
use crate::pool::format::{self, DATA_FILE, META_FILE};

pub struct Media {
    pub path: PathBuf,
    pub is_device: bool,
    meta: File,
    data: io::Result<File>,
    _lock: Lock,
}

impl Media {
    pub fn open(world: &World, path: &Path) -> Result<Self, InspectError> {
        let io = |source| InspectError::Io { path: path.to_owned(), source };
        // Asked first, because taking the lock would make a missing file.
        match world.place(path).map_err(io)? {
            Place::Absent => return Err(InspectError::Absent(path.to_owned())),
            Place::Other(kind) => {
                let reason = format!("it is {kind}");
                return Err(InspectError::NotADrive { path: path.to_owned(), reason });
            }
            Place::Drive => {}
        }
        let lock = world.lock(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => InspectError::InUse(path.to_owned()),
            _ => io(error),
        })?;
        let is_device = format::is_device(world, path);
        let (meta, data) = format::files(path, is_device);
        if !world.exists(&meta) {
            let reason = match world.exists(&data) {
                true => format!("{META_FILE} is gone, only {DATA_FILE} is here"),
                false => format!("there is no {META_FILE} in it"),
            };
            return Err(InspectError::NotADrive { path: path.to_owned(), reason });
        }
        let meta = world.open(&meta, false, Access::ReadOnly).map_err(io)?;
        let data = world.open(&data, false, Access::ReadOnly);
        Ok(Media { path: path.to_owned(), is_device, meta, data, _lock: lock })
    }

    pub fn describe(&self) -> String {
        let kind = if self.is_device { "block device" } else { "directory" };
        format!("{}, a {kind}", self.path.display().to_string().escape_debug())
    }

    /// Why the data file cannot be read, if it cannot.
    pub fn data_error(&self) -> Option<&io::Error> {
        self.data.as_ref().err()
    }

    /// Files with addresses of their own.
    pub fn areas(&self) -> &'static [Area] {
        if self.is_device { &[Area::Meta] } else { &[Area::Meta, Area::Data] }
    }

    /// Bytes of the file, 0 when it is not there.
    pub fn len(&self, area: Area) -> u64 {
        self.file(area).and_then(File::len).unwrap_or(0)
    }

    /// `len` and `offset` in pages; past the end there are zeros.
    pub async fn read(&self, area: Area, len: usize, offset: u64) -> io::Result<AlignedBuf> {
        let (result, buffer) = self.file(area)?.read_at(AlignedBuf::uninit_for_read(len), offset).await;
        result.map(|()| buffer)
    }

    /// As `read`, with zeros for the pages that cannot be read, and their offsets.
    pub async fn salvage(&self, area: Area, len: usize, offset: u64) -> (AlignedBuf, Vec<(u64, io::Error)>) {
        if let Ok(buffer) = self.read(area, len, offset).await {
            return (buffer, Vec::new());
        }
        let mut whole = AlignedBuf::zeroed(len);
        let mut lost = Vec::new();
        for (index, page) in whole.chunks_mut(PAGE).enumerate() {
            let at = offset + (index * PAGE) as u64;
            match self.read(area, PAGE, at).await {
                Ok(found) => page.copy_from_slice(&found),
                Err(error) => lost.push((at, error)),
            }
        }
        (whole, lost)
    }

    /// A place as a person finds it again: file and offset.
    pub fn place(&self, area: Area, offset: u64) -> String {
        match (self.is_device, area) {
            (true, _) => format!("{offset:#x}"),
            (false, Area::Meta) => format!("{META_FILE}+{offset:#x}"),
            (false, Area::Data) => format!("{DATA_FILE}+{offset:#x}"),
        }
    }

    fn file(&self, area: Area) -> io::Result<&File> {
        match (area, &self.data) {
            (Area::Meta, _) => Ok(&self.meta),
            (Area::Data, Ok(data)) => Ok(data),
            (Area::Data, Err(error)) => Err(error.kind().into()),
        }
    }
}
