//! Where bytes stand: an address on one drive, and a piece of space mirrored on several drives.
//!
//! Plain values that stand in manifests and footers of runs. `pool::place` hands them out and `pool::mirror` reads and
//! writes them; an address from a drive is checked by whoever uses it.

use smallvec::SmallVec;

use crate::base::ids::DriveId;

/// A page-aligned byte offset on one drive. Persisted as 8 bytes: drive in the upper 16 bits,
/// offset in pages in the lower 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub drive: DriveId,
    /// Bytes from the start of the drive; a multiple of `limits::PAGE`.
    pub offset: u64,
}

/// The same bytes at several addresses, on distinct drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredExtent {
    /// Bytes; a multiple of `limits::PAGE`.
    pub len: u32,
    pub copies: SmallVec<[Address; 4]>,
}

impl Address {
    pub const ENCODED_BYTES: usize = 8;

    pub fn encode(self) -> u64 {
        assert!(self.offset.is_multiple_of(crate::base::limits::PAGE as u64));
        let pages = self.offset / crate::base::limits::PAGE as u64;
        assert!(pages < 1 << 48);
        u64::from(self.drive.0) << 48 | pages
    }

    pub fn decode(word: u64) -> Self {
        let pages = word & ((1 << 48) - 1);
        Address { drive: DriveId((word >> 48) as u16), offset: pages * crate::base::limits::PAGE as u64 }
    }
}
