//! What other systems leave on a device, so that such a device is not taken for a blank one, and is refused by name.
//!
//! A blank device has zeros in its first megabytes (`pool::format`), where most systems begin. Some keep data
//! elsewhere: the second GUID partition table and old RAID labels stand at the end, labels of ZFS at both ends, copies
//! of the superblocks of btrfs and ext4 in between. One of those is enough to restore what is on the device, and may be
//! all that shows that there is something. Offsets and magics are those of the formats' own documents; `wipefs` knows
//! the same ones.
//! Only reads. Bytes come from a drive: nothing here trusts them.

use std::io;

use crate::base::limits::{MIB, PAGE};
use crate::io::buffer::AlignedBuf;
use crate::io::disk::File;

/// Where a magic stands, in bytes.
enum At {
    Begin(u64),
    /// So many before the end.
    End(u64),
    /// The same, rounded down to a page.
    EndPage(u64),
    /// The last whole piece of so many.
    LastOf(u64),
}

use At::{Begin, End, EndPage, LastOf};

const RAID: &str = "a member of a RAID array";
const GPT: &str = "a GUID partition table";
const GPT_COPY: &str = "the copy of a GUID partition table, at its end";

const MAGICS: &[(&str, At, &[u8])] = &[
    ("a LUKS volume", Begin(0), b"LUKS\xba\xbe"),
    ("a file system (XFS)", Begin(0), b"XFSB"),
    (GPT, Begin(512), b"EFI PART"),
    (GPT, Begin(4096), b"EFI PART"),
    ("an LVM volume", Begin(512), b"LABELONE"),
    ("an LVM volume", Begin(0), b"LABELONE"),
    (RAID, Begin(0), b"\xfc\x4e\x2b\xa9"),
    (RAID, Begin(4096), b"\xfc\x4e\x2b\xa9"),
    ("a file system (ext)", Begin(1024 + 56), b"\x53\xef"),
    ("swap space", Begin(4086), b"SWAPSPACE2"),
    ("a file system (btrfs)", Begin((64 << 10) + 64), b"_BHRfS_M"),
    ("a partition table or a boot sector", Begin(510), b"\x55\xaa"),
    // Behind what formatting asks for to be zeros.
    ("a file system (btrfs), a copy of its superblock at 64 MiB", Begin((64 << 20) + 64), b"_BHRfS_M"),
    ("a file system (btrfs), a copy of its superblock at 256 GiB", Begin((256 << 30) + 64), b"_BHRfS_M"),
    ("a file system (ext), a copy of its superblock at 128 MiB", Begin((128 << 20) + 56), b"\x53\xef"),
    // In the last sector, whatever the size of a sector is.
    (GPT_COPY, End(512), b"EFI PART"),
    (GPT_COPY, End(4096), b"EFI PART"),
    // mdraid 0.90 is of the byte order of the machine that made it.
    (RAID, LastOf(64 << 10), b"\xfc\x4e\x2b\xa9"),
    (RAID, LastOf(64 << 10), b"\xa9\x2b\x4e\xfc"),
    (RAID, EndPage(8 << 10), b"\xfc\x4e\x2b\xa9"),
    // Labels of the firmware of disk controllers.
    (RAID, End(1024), b"Intel Raid ISM Cfg Sig. "),
    (RAID, End(512), b"\xde\x11\xde\x11"),
    (RAID, End(1024), b"NVIDIA"),
];

/// ZFS keeps two of its four labels at each end; the second half of a label is a ring of uberblocks, each with a magic
/// in the byte order of the machine.
const ZFS_LABEL: u64 = 256 << 10;
const ZFS_RING: u64 = 128 << 10;
const ZFS_SLOT: usize = 1 << 10;
const ZFS_MAGICS: [[u8; 8]; 2] = [0x00ba_b10c_u64.to_le_bytes(), 0x00ba_b10c_u64.to_be_bytes()];

/// What somebody else has on a device, if it is anything that is known here.
pub(super) async fn found(file: &File) -> io::Result<Option<&'static str>> {
    let bytes = file.len()?;
    for (name, at, magic) in MAGICS {
        let Some(place) = at.place(bytes) else { continue };
        if read(file, place, magic.len()).await? == *magic {
            return Ok(Some(name));
        }
    }
    let ends = bytes / ZFS_LABEL * ZFS_LABEL;
    for label in
        [0, 1].map(|n| n * ZFS_LABEL).into_iter().chain([2, 1].map(|n| ends.saturating_sub(n * ZFS_LABEL)))
    {
        let ring = read(file, label + ZFS_RING, ZFS_RING as usize).await?;
        if ring.chunks(ZFS_SLOT).any(|slot| ZFS_MAGICS.iter().any(|magic| slot.starts_with(magic))) {
            return Ok(Some("a member of a ZFS pool"));
        }
    }
    Ok(None)
}

impl At {
    /// `None` on a device that is too small for it.
    fn place(&self, bytes: u64) -> Option<u64> {
        match *self {
            Begin(at) => (at < bytes).then_some(at),
            End(before) => bytes.checked_sub(before),
            EndPage(before) => Some(bytes.checked_sub(before)? / PAGE as u64 * PAGE as u64),
            LastOf(piece) => (bytes / piece * piece).checked_sub(piece),
        }
    }
}

/// Any bytes of a device; behind its end there are zeros.
async fn read(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    assert!(len <= MIB, "a magic or a label");
    let first = offset / PAGE as u64 * PAGE as u64;
    let skip = (offset - first) as usize;
    let (result, page) = file.read_at(AlignedBuf::zeroed((skip + len).next_multiple_of(PAGE)), first).await;
    result?;
    Ok(page.get(skip..skip + len).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::Access;
    use crate::io::sim::SimWorld;
    use tokio::task::LocalSet;

    const BYTES: u64 = 300 << 20;

    fn found_with(bytes: u64, at: u64, magic: &[u8]) -> Option<&'static str> {
        let sim = SimWorld::new(1);
        sim.add_block_device("/dev/disk", bytes);
        sim.poke("/dev/disk", at, magic);
        let file = sim.world().open("/dev/disk".as_ref(), false, Access::ReadOnly).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        LocalSet::new().block_on(&runtime.unwrap(), found(&file)).unwrap()
    }

    #[test]
    fn what_stands_at_the_end_alone_is_found() {
        for (at, magic, name) in [
            (BYTES - 512, &b"EFI PART"[..], "GUID"),
            (BYTES - 4096, b"EFI PART", "GUID"),
            (BYTES - (64 << 10), b"\xfc\x4e\x2b\xa9", "RAID"),
            (BYTES - (64 << 10), b"\xa9\x2b\x4e\xfc", "RAID"),
            (BYTES - (8 << 10), b"\xfc\x4e\x2b\xa9", "RAID"),
            (BYTES - 512, b"\xde\x11\xde\x11", "RAID"),
            (BYTES - 1024, b"Intel Raid ISM Cfg Sig. 1.0", "RAID"),
            (BYTES - (512 << 10) + (128 << 10) + (7 << 10), &ZFS_MAGICS[0], "ZFS"),
            (BYTES - (256 << 10) + (128 << 10), &ZFS_MAGICS[1], "ZFS"),
            ((64 << 20) + 64, b"_BHRfS_M", "btrfs"),
            ((128 << 20) + 56, b"\x53\xef", "ext"),
        ] {
            let found = found_with(BYTES, at, magic);
            assert!(found.is_some_and(|found| found.contains(name)), "{name} at {at}: {found:?}");
        }
    }

    #[test]
    fn places_count_from_the_end_that_is_there() {
        // mdraid(4): 0.90 stands in the last whole 64 KiB, 1.0 at least 8 KiB and less than 12 KiB before the end.
        let odd = BYTES + (40 << 10);
        assert!(found_with(odd, BYTES - (64 << 10), b"\xfc\x4e\x2b\xa9").is_some());
        let odd = BYTES + (12 << 10);
        assert!(found_with(odd, BYTES + (4 << 10), b"\xfc\x4e\x2b\xa9").is_some());
        assert!(found_with(odd, BYTES - (256 << 10), b"\x00").is_none());
    }

    #[test]
    fn a_blank_device_and_a_tiny_one_hold_nothing() {
        for bytes in [0, PAGE as u64, 64 << 10, BYTES] {
            assert_eq!(found_with(bytes, 0, b""), None);
        }
        assert_eq!(found_with(BYTES, BYTES / 2, b"EFI PART"), None);
    }
}
