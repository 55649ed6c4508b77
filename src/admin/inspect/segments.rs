//! The segments of a drive: whose they are by their headers, and how full they are.
//!
//! Headers are judged as recovery judges them, but told apart: a page that is no header is free space,
//! one that was a header is damage. What the log holds is found by walking it, what objects and
//! runs hold is in the catalog, as of its last checkpoint, as far as this drive has a copy of it.

use std::collections::BTreeMap;
use std::io;

use super::media::Media;
use super::output::Output;
use super::{Drive, catalog, log, text};
use crate::admin::table::{grouped, size};
use crate::base::join::join_all;
use crate::base::limits::{HEADERS_READ_AT_ONCE, PAGE};
use crate::codec::wire::Broken;
use crate::drive::device::Area;
use crate::drive::segment::{self, Header, Owner};
use crate::drive::superblock::Superblock;
use crate::io::buffer::AlignedBuf;

/// A segment that is not free.
pub struct Segment {
    pub index: u32,
    pub area: Area,
    /// The header, or what is wrong with it.
    pub header: Result<Header, String>,
}

impl Drive {
    pub fn segment_offset(&self, index: u32) -> u64 {
        segment::offset(index, self.superblock.geometry.segment_bytes)
    }
}

/// All segments that are not free, by index.
pub async fn read(media: &Media, superblock: &Superblock, out: &mut Output<'_>) -> Vec<Segment> {
    if let Some(error) = media.data_error() {
        out.damaged(&media.place(Area::Data, 0), &format!("cannot be opened: {error}"));
    }
    let bytes = superblock.geometry.segment_bytes;
    let mut found: BTreeMap<u32, Segment> = BTreeMap::new();
    for area in media.areas() {
        let inside = media.len(*area).saturating_sub(segment::SEGMENTS_OFFSET).div_ceil(bytes);
        let count = u32::try_from(inside).unwrap_or(u32::MAX).min(superblock.segments);
        for start in (0..count).step_by(HEADERS_READ_AT_ONCE) {
            let indexes: Vec<u32> =
                (start..count.min(start.saturating_add(HEADERS_READ_AT_ONCE as u32))).collect();
            let reads = indexes.iter().map(|index| media.read(*area, PAGE, segment::offset(*index, bytes)));
            for (index, page) in indexes.iter().zip(join_all(reads).await) {
                let Some(header) = judge(media, superblock, *area, *index, page) else { continue };
                if let Err(what) = &header {
                    let place = media.place(*area, segment::offset(*index, bytes));
                    out.damaged(&place, &format!("header of segment {index}: {what}"));
                }
                let segment = Segment { index: *index, area: *area, header };
                // Damage in one file does not hide an owner in the other one.
                if segment.header.is_ok() || !found.contains_key(index) {
                    found.insert(*index, segment);
                }
            }
        }
    }
    found.into_values().collect()
}

/// `None` is free space.
fn judge(
    media: &Media,
    superblock: &Superblock,
    area: Area,
    index: u32,
    page: io::Result<AlignedBuf>,
) -> Option<Result<Header, String>> {
    let page = match page {
        Ok(page) => page,
        Err(error) => return Some(Err(format!("cannot be read: {error}"))),
    };
    let header = match Header::decode(&page) {
        Ok(header) => header,
        // A device keeps what stood there before it was formatted.
        Err(Broken::Magic) if media.is_device || page.iter().all(|byte| *byte == 0) => return None,
        Err(Broken::Magic) => return Some(Err("something else stands here".to_owned())),
        Err(reason) => return Some(Err(text::broken(reason))),
    };
    let is_data = matches!(header.owner, Owner::Data { .. });
    if header.pool != superblock.geometry.pool {
        return (!media.is_device).then(|| Err(format!("of another pool, {}", header.pool)));
    }
    Some(if (header.drive, header.segment) != (superblock.drive, index) {
        Err(format!("that of drive {} segment {} stands here", header.drive, header.segment))
    } else if !media.is_device && is_data != (area == Area::Data) {
        Err("stands in the wrong file".to_owned())
    } else {
        Ok(header)
    })
}

/// How many segments each owner has.
pub fn summary(drive: &Drive, out: &mut Output<'_>) -> io::Result<()> {
    let mut owners: BTreeMap<(u8, u16), (String, u64)> = BTreeMap::new();
    for segment in &drive.segments {
        let (order, name) = match &segment.header {
            Ok(Header { owner: Owner::Log { .. }, .. }) => ((0, 0), "log".to_owned()),
            Ok(Header { owner: Owner::Spare, .. }) => ((1, 0), "log, spare".to_owned()),
            Ok(Header { owner: Owner::Data { shard }, .. }) => ((2, shard.0), format!("shard {shard}")),
            Err(_) => ((3, 0), "damaged header".to_owned()),
        };
        owners.entry(order).or_insert((name, 0)).1 += 1;
    }
    let free = u64::from(drive.superblock.segments).saturating_sub(drive.segments.len() as u64);
    owners.insert((4, 0), ("free".to_owned(), free));
    let mut rows = vec![["OWNER", "SEGMENTS", "SPACE"].map(str::to_owned).to_vec()];
    rows.extend(owners.into_values().map(|(name, count)| {
        let bytes = count.saturating_mul(drive.superblock.geometry.segment_bytes);
        vec![name, grouped(count), size(bytes)]
    }));
    out.table(&rows)
}

/// A line for each segment that is not free.
pub async fn list(drive: &Drive, out: &mut Output<'_>) -> io::Result<()> {
    let usage = catalog::usage(drive, out).await?;
    let mut rows = vec![["SEGMENT", "ADDRESS", "EPOCH", "USED", "OWNER"].map(str::to_owned).to_vec()];
    for segment in &drive.segments {
        let place = drive.media.place(segment.area, drive.segment_offset(segment.index));
        let (epoch, used, owner) = match &segment.header {
            Err(what) => ("-".to_owned(), "-".to_owned(), format!("header: {what}")),
            Ok(header) => {
                let used = match &header.owner {
                    Owner::Spare => "-".to_owned(),
                    Owner::Log { id, .. } => size(log::end(drive, *id, segment.index).await.into()),
                    Owner::Data { shard } => usage.of(*shard, segment.index),
                };
                (header.epoch.to_string(), used, owner_text(&header.owner))
            }
        };
        rows.push(vec![segment.index.to_string(), place, epoch, used, owner]);
    }
    out.table(&rows)?;
    let free = u64::from(drive.superblock.segments).saturating_sub(drive.segments.len() as u64);
    out.line(&format!("and {} free", grouped(free)))
}

fn owner_text(owner: &Owner) -> String {
    match owner {
        Owner::Spare => "log, spare".to_owned(),
        Owner::Log { id, mirrors } => format!("log {} on {}", text::log(*id), log::mirrors_text(mirrors)),
        Owner::Data { shard } => format!("shard {shard}"),
    }
}
