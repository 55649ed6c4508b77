//! The log segments of a drive: their batches and records, and where the log of each ends.
//!
//! Walks each segment as recovery does, batch by batch. Recovery stops at the first place without a
//! whole batch, because another mirror may go on; a look at one drive goes on to the next batch of
//! the same log instead and names the gap. Nothing but a damaged drive makes such a gap: what an
//! earlier log left in the segment has another identity.

use std::io;

use super::output::Output;
use super::{Drive, text};
use crate::admin::table::grouped;
use crate::base::ids::LogId;
use crate::base::limits::{BATCH_BYTES, LOG_WINDOW_BYTES, PAGE};
use crate::catalog::batch::{self, Found};
use crate::catalog::record::Head;
use crate::catalog::replay::Fate;
use crate::drive::device::Area;
use crate::drive::segment::{Mirror, Owner};
use crate::io::buffer::AlignedBuf;

/// What a walk meets, with offsets from the start of the segment.
enum Piece {
    Batch {
        offset: u32,
        bytes: usize,
        records: Vec<Found>,
    },
    /// No whole batch, and later there is one.
    Gap {
        from: u32,
        to: u32,
    },
    /// The last batch began here and is not whole.
    Torn {
        offset: u32,
    },
    Unreadable {
        offset: u32,
        error: io::Error,
    },
}

/// A position in a log segment and the bytes around it.
struct Walk<'a> {
    drive: &'a Drive,
    id: LogId,
    start: u64,
    len: u32,
    window: AlignedBuf,
    window_at: u32,
    at: u32,
    /// Where the batch begins that is missing or not whole, and whether it had begun.
    gap: Option<(u32, bool)>,
}

/// Every batch and record of every log segment, in the order in which they were written.
pub async fn list(drive: &Drive, out: &mut Output<'_>) -> io::Result<()> {
    let mut logs: Vec<(LogId, u32, &[Mirror])> = Vec::new();
    for segment in &drive.segments {
        if let Ok(Owner::Log { id, mirrors }) = segment.header.as_ref().map(|header| &header.owner) {
            logs.push((*id, segment.index, mirrors));
        }
    }
    logs.sort_by_key(|(id, ..)| *id);
    if logs.is_empty() {
        out.title("LOG  no segment of the log on this drive")?;
    }
    for (id, index, mirrors) in logs {
        let place = drive.media.place(Area::Meta, drive.segment_offset(index));
        let on = mirrors_text(mirrors);
        out.title(&format!("LOG {}  segment {index} at {place}, mirrored on {on}", text::log(id)))?;
        let mut walk = Walk::new(drive, id, index);
        let (mut batches, mut records) = (0u64, 0u64);
        loop {
            let pieces = walk.step().await;
            if pieces.is_empty() {
                break;
            }
            for piece in pieces {
                if let Piece::Batch { records: found, .. } = &piece {
                    batches += 1;
                    records += found.len() as u64;
                }
                print(&walk, piece, out)?;
            }
        }
        let (batches, records) = (
            if batches == 1 { "1 batch".to_owned() } else { format!("{} batches", grouped(batches)) },
            text::count(records, "record"),
        );
        out.line(&format!("  {batches}, {records}"))?;
    }
    Ok(())
}

/// Bytes of the log in a segment, up to the first place without a whole batch.
pub async fn end(drive: &Drive, id: LogId, index: u32) -> u32 {
    let mut walk = Walk::new(drive, id, index);
    let mut end = walk.at;
    loop {
        match walk.step().await.first() {
            Some(Piece::Batch { offset, bytes, .. }) if *offset == end => {
                end = end.saturating_add(u32::try_from(*bytes).unwrap_or(u32::MAX));
            }
            _ => return end,
        }
    }
}

pub fn mirrors_text(mirrors: &[Mirror]) -> String {
    let each = mirrors.iter().map(|mirror| format!("drive {} segment {}", mirror.drive, mirror.segment));
    each.collect::<Vec<_>>().join(", ")
}

impl<'a> Walk<'a> {
    fn new(drive: &'a Drive, id: LogId, index: u32) -> Self {
        let len = u32::try_from(drive.superblock.geometry.segment_bytes).unwrap_or(u32::MAX);
        let (start, window) = (drive.segment_offset(index), AlignedBuf::zeroed(0));
        Walk { drive, id, start, len, window, window_at: 0, at: PAGE as u32, gap: None }
    }

    /// Up to the next batch, what there is; nothing at the end of the segment.
    async fn step(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while self.at < self.len {
            self.fill(&mut pieces).await;
            let pool = self.drive.superblock.geometry.pool;
            let bytes = self.window.get((self.at - self.window_at) as usize..).unwrap_or_default();
            if let Some((records, bytes)) = batch::read(bytes, pool, self.id, self.at) {
                let offset = self.at;
                pieces.extend(self.gap.take().map(|(from, _)| Piece::Gap { from, to: offset }));
                pieces.push(Piece::Batch { offset, bytes, records });
                self.at = self.at.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
                return pieces;
            }
            let begun = batch::begins(bytes, pool, self.id, self.at);
            self.gap.get_or_insert((self.at, begun));
            self.at += PAGE as u32;
        }
        if let Some((offset, true)) = self.gap.take() {
            pieces.push(Piece::Torn { offset });
        }
        pieces
    }

    /// Makes the window hold any batch that may begin here.
    async fn fill(&mut self, pieces: &mut Vec<Piece>) {
        let left = (self.len - self.at) as usize;
        let held = (self.window_at as usize + self.window.len()).saturating_sub(self.at as usize);
        if held >= left.min(BATCH_BYTES) {
            return;
        }
        let (len, offset) = (left.min(LOG_WINDOW_BYTES), self.start + u64::from(self.at));
        let (window, lost) = self.drive.media.salvage(Area::Meta, len, offset).await;
        pieces.extend(lost.into_iter().map(|(at, error)| Piece::Unreadable {
            offset: u32::try_from(at - self.start).unwrap_or(u32::MAX),
            error,
        }));
        (self.window, self.window_at) = (window, self.at);
    }
}

fn print(walk: &Walk<'_>, piece: Piece, out: &mut Output<'_>) -> io::Result<()> {
    let place = |offset: u32| walk.drive.media.place(Area::Meta, walk.start + u64::from(offset));
    let log = text::log(walk.id);
    let mut damage = |offset: u32, what: String| {
        out.damaged(&place(offset), &format!("log {log}: {what}"));
        out.line(&format!("  {offset:#010x}  DAMAGED: {what}"))
    };
    match piece {
        Piece::Gap { from, to } => damage(from, format!("no whole batch in {} bytes", to - from)),
        Piece::Torn { offset } => {
            damage(offset, "the last batch is torn: cut off while it was written, or damaged".to_owned())
        }
        Piece::Unreadable { offset, error } => damage(offset, format!("cannot be read: {error}")),
        Piece::Batch { offset, bytes, records } => {
            let count = text::count(records.len() as u64, "record");
            out.line(&format!("  {offset:#010x}  batch of {count}, {bytes} bytes"))?;
            records.iter().try_for_each(|record| print_record(walk.drive, record, out))
        }
    }
}

fn print_record(drive: &Drive, record: &Found, out: &mut Output<'_>) -> io::Result<()> {
    let head = &record.head;
    let fate = fate(drive, head);
    let (shard, sequence, body) = (head.shard, head.sequence, head.body);
    out.line(&format!("    shard {shard} record {sequence}, body of {body} bytes, {fate}"))?;
    record
        .operations
        .iter()
        .try_for_each(|operation| out.line(&format!("      {}", text::operation(operation))))
}

/// What the next start will do with a record, by the manifest on this drive.
fn fate(drive: &Drive, head: &Head) -> &'static str {
    let shard = drive.shards.iter().find(|shard| shard.id == head.shard);
    let Some(manifest) = shard.and_then(|shard| shard.newest()) else {
        return "to be replayed: its shard has no manifest here";
    };
    match Fate::of(head.sequence, manifest) {
        Fate::InRuns => "in the catalog",
        Fate::Replayed => "to be replayed",
        Fate::Void => "void: a later start has not seen it",
    }
}
