//! Recovery, first half: what the drives say, before any shard is opened.
//!
//! Reads every segment header, every manifest and the whole of the live log, and deals the records
//! out to their shards in order. Runs once, on one thread; what it gives is plain and may be sent
//! to the cores. A record counts when its batch is whole on any mirror, its sequence is behind what
//! the manifest has in runs, and, if it is of an older epoch, the start that followed has seen it: what came
//! back with a drive that was away does not count. What a start has seen and left in the log has to be there still.
//!
//! Batches are written one after the other and records numbered without gaps, so a record is
//! acknowledged only when all before it are. Hence the records of an epoch that count have no gap behind what is
//! flushed, nor has a segment one before a whole batch. A gap is a loss and an error, never skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch;
use super::log::Sealed;
use super::record::{Operation, Sequence};
use super::value::LogPosition;
use crate::base::ids::{DriveId, LogId, ShardId};
use crate::base::join::join_all;
use crate::base::limits::{HEADERS_READ_AT_ONCE, LOG_WINDOW_BYTES, PAGE};
use crate::codec::wire::Broken;
use crate::drive::device::Area;
use crate::drive::segment::{self, Header, Mirror, Owner};
use crate::io::buffer::AlignedBuf;
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::pool::manifest::Manifest;
use crate::pool::segments::Slot;

/// What the headers say of one drive.
#[derive(Clone, Debug)]
pub struct DriveScan {
    pub drive: DriveId,
    pub slots: Vec<Slot>,
    pub data: Vec<(u32, ShardId)>,
    pub logs: Vec<(LogId, Vec<Mirror>)>,
}

/// A record to apply again.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub sequence: Sequence,
    pub operations: Vec<Operation>,
    pub body: LogPosition,
}

/// What one shard begins with.
#[derive(Debug)]
pub struct ShardReplay {
    pub manifest: Manifest,
    pub records: Vec<Replayed>,
    pub segments: Vec<(DriveId, u32)>,
}

/// Everything recovery found.
#[derive(Debug)]
pub struct Recovered {
    pub shards: BTreeMap<ShardId, ShardReplay>,
    pub logs: Vec<(Sealed, Vec<Mirror>)>,
    pub log_bytes: u64,
    /// A batch at the end of a log segment is not on all of its mirrors: the power failed under it, and one of them is
    /// out of service.
    pub is_thin: bool,
}

/// Reads the headers of all segments of one drive.
pub async fn scan_drive(pool: &Pool, drive: DriveId, segments: u32, is_device: bool) -> DriveScan {
    let mut scan = DriveScan {
        drive,
        slots: vec![Slot::Untouched; segments as usize],
        data: Vec::new(),
        logs: Vec::new(),
    };
    let areas: &[Area] = if is_device { &[Area::Meta] } else { &[Area::Meta, Area::Data] };
    for area in areas {
        let indexes: Vec<u32> = (0..touched(pool, drive, *area, segments)).collect();
        for group in indexes.chunks(HEADERS_READ_AT_ONCE) {
            let headers = join_all(group.iter().map(|index| read_header(pool, drive, *area, *index))).await;
            for (index, header) in group.iter().zip(headers) {
                match header {
                    Ok(header) => header.into_iter().for_each(|header| scan.note(header)),
                    // What one file says of it the other does not hide.
                    Err(Unreadable) if matches!(scan.slots[*index as usize], Slot::Untouched) => {
                        scan.slots[*index as usize] = Slot::Damaged;
                    }
                    Err(Unreadable) => {}
                }
            }
        }
    }
    scan
}

/// Segments that can have a header: those inside the file.
fn touched(pool: &Pool, drive: DriveId, area: Area, segments: u32) -> u32 {
    let file = pool.drives.get(drive).ok().and_then(|drive| drive.file(area).cloned());
    let bytes = file.and_then(|file| file.len().ok()).unwrap_or(0);
    let inside = bytes.saturating_sub(segment::SEGMENTS_OFFSET).div_ceil(pool.geometry.segment_bytes);
    u32::try_from(inside).unwrap_or(u32::MAX).min(segments)
}

/// There may be a header, and there is no telling what it says.
struct Unreadable;

async fn read_header(
    pool: &Pool,
    drive: DriveId,
    area: Area,
    index: u32,
) -> Result<Option<Header>, Unreadable> {
    let offset = segment::offset(index, pool.geometry.segment_bytes);
    let Ok(handle) = pool.drives.get(drive) else { return Ok(None) };
    let read = handle.read(area, AlignedBuf::uninit_for_read(PAGE), offset).await;
    match Header::decode(&read.map_err(|_| Unreadable)?) {
        Ok(header) => {
            let ours = header.pool == pool.geometry.pool && header.drive == drive && header.segment == index;
            let fits = matches!(header.owner, Owner::Data { .. }) == (area == Area::Data)
                || handle.file(Area::Meta).is_some_and(|file| file.id().is_block_device);
            Ok((ours && fits).then_some(header))
        }
        Err(Broken::Magic) => Ok(None),
        Err(reason) => {
            tracing::warn!(%drive, segment = index, ?reason, "segment header is not readable");
            Err(Unreadable)
        }
    }
}

impl DriveScan {
    fn note(&mut self, header: Header) {
        let slot = match header.owner {
            Owner::Spare => Slot::Spare,
            Owner::Log { id, mirrors } => {
                self.logs.push((id, mirrors));
                Slot::Log
            }
            Owner::Data { shard } => {
                self.data.push((header.segment, shard));
                Slot::Data(shard)
            }
        };
        self.slots[header.segment as usize] = slot;
    }
}

/// Reads manifests and logs, and deals out the records.
pub async fn recover(pool: &Pool, scans: &mut [DriveScan]) -> Result<Recovered, PoolError> {
    let mut shards = BTreeMap::new();
    for shard in (0..pool.geometry.shards).map(ShardId) {
        let manifest = Manifest::read(pool, shard).await?.unwrap_or_else(|| Manifest::empty(shard));
        let owned = scans.iter().flat_map(|scan| {
            let ours = scan.data.iter().filter(move |(_, owner)| *owner == shard);
            ours.map(|(segment, _)| (scan.drive, *segment))
        });
        let segments = owned.collect();
        shards.insert(shard, ShardReplay { manifest, records: Vec::new(), segments });
    }
    let mut recovered = Recovered { shards, logs: Vec::new(), log_bytes: 0, is_thin: false };
    let mut void = Vec::new();
    for (id, found) in log_segments(scans) {
        let (mirrors, wanted) = (found.mirrors.clone(), recovered.wanted());
        let (sealed, last) = match read_log(pool, id, &mirrors, &mut recovered.shards).await {
            Ok(read) => read,
            Err(error) if recovered.wanted() == wanted && found.is_void(pool, scans) => {
                tracing::warn!(log = %id, %error, "what is left of a retired log segment cannot be read");
                void.extend(mirrors);
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_complete = match last {
            Some(last) => complete(pool, id, &mirrors, last, sealed.bytes).await,
            None => true,
        };
        recovered.is_thin |= !is_complete;
        recovered.log_bytes += u64::from(sealed.bytes);
        let is_whole = is_complete && found.begun.iter().all(|mirror| mirrors.contains(mirror));
        recovered.logs.push((Sealed { is_whole, ..sealed }, mirrors));
    }
    recovered.shards.values_mut().try_for_each(ShardReplay::order)?;
    give_up(pool, scans, &void).await;
    Ok(recovered)
}

/// A log segment as the headers have it.
#[derive(Default)]
struct Found {
    /// Mirrors that still name it.
    mirrors: Vec<Mirror>,
    /// All that any of them names.
    begun: Vec<Mirror>,
}

/// Log segments in the order in which they were begun.
fn log_segments(scans: &[DriveScan]) -> BTreeMap<LogId, Found> {
    let mut segments: BTreeMap<LogId, Found> = BTreeMap::new();
    for scan in scans {
        for (id, mirrors) in &scan.logs {
            let found = segments.entry(*id).or_default();
            found.mirrors.extend(mirrors.iter().filter(|mirror| mirror.drive == scan.drive));
            found.begun.extend(mirrors);
        }
    }
    segments
}

impl Found {
    /// Whether a drive that lacks nothing says by a header of today that it has the place for something else. All
    /// headers stand before the first batch is acknowledged, and the first one goes when no record counts any more: so
    /// this is what is left of a segment that was being begun or had been retired.
    fn is_void(&self, pool: &Pool, scans: &[DriveScan]) -> bool {
        let mut others = self.begun.iter().filter(|mirror| !self.mirrors.contains(mirror));
        others.any(|mirror| {
            let drive = pool.drives.get(mirror.drive);
            let is_whole = drive.is_ok_and(|drive| drive.condition().is_proven());
            let scan = scans.iter().find(|scan| scan.drive == mirror.drive);
            let slot = scan.and_then(|scan| scan.slots.get(mirror.segment as usize));
            is_whole && slot.is_some_and(|slot| matches!(slot, Slot::Spare | Slot::Log | Slot::Data(_)))
        })
    }
}

/// Makes what is left of log segments spares, so that the next start does not ask again.
async fn give_up(pool: &Pool, scans: &mut [DriveScan], mirrors: &[Mirror]) {
    for Mirror { drive, segment } in mirrors {
        let Ok(handle) = pool.drives.get(*drive) else { continue };
        let header = pool.header(*drive, *segment, Owner::Spare).encode();
        let offset = segment::offset(*segment, pool.geometry.segment_bytes);
        let is_told =
            handle.is_in_service() && pool.write_page(handle, Area::Meta, header, offset).await.is_ok();
        let scan = scans.iter_mut().find(|scan| scan.drive == *drive).filter(|_| is_told);
        scan.into_iter().for_each(|scan| scan.slots[*segment as usize] = Slot::Spare);
    }
}

impl Recovered {
    /// Records that have to be applied again, as far as the log has been read.
    fn wanted(&self) -> usize {
        self.shards.values().map(|shard| shard.records.len()).sum()
    }
}

impl ShardReplay {
    /// A record that was written again after a failure is found twice; the later place counts.
    fn order(&mut self) -> Result<(), PoolError> {
        self.records.sort_by_key(|record| (record.sequence, std::cmp::Reverse(record.body.log)));
        self.records.dedup_by_key(|record| record.sequence);
        let mut last = Sequence(self.manifest.flushed);
        for record in &self.records {
            let next = record.sequence;
            // An epoch has records only after its manifest was written.
            if !next.follows(last) || next.epoch() > self.manifest.epoch {
                let shard = self.manifest.shard;
                return Err(PoolError::LogLost(format!("of shard {shard}, between {last} and {next}")));
            }
            last = next;
        }
        self.reaches_ends()
    }

    /// A start that found no room for runs left what it had seen in the log: all of that is still there.
    fn reaches_ends(&self) -> Result<(), PoolError> {
        let is_there = |end: u64| self.records.binary_search_by_key(&end, |record| record.sequence.0).is_ok();
        match self.manifest.ends.iter().find(|end| !is_there(**end)) {
            None => Ok(()),
            Some(end) => {
                let shard = self.manifest.shard;
                Err(PoolError::LogLost(format!("of shard {shard}, at {}", Sequence(*end))))
            }
        }
    }
}

/// What a record of the log is to the start that finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    InRuns,
    Replayed,
    /// The start that followed has not seen it: it is no part of the shard's history.
    Void,
}

impl Fate {
    pub fn of(sequence: Sequence, manifest: &Manifest) -> Self {
        let ends = || manifest.ends.iter().copied().map(Sequence);
        let was_seen = || ends().any(|end| end.epoch() == sequence.epoch() && sequence <= end);
        match () {
            () if sequence.0 <= manifest.flushed => Fate::InRuns,
            () if sequence.epoch() >= manifest.epoch || was_seen() => Fate::Replayed,
            () => Fate::Void,
        }
    }
}

/// The segment, and where its last batch begins.
async fn read_log(
    pool: &Pool,
    id: LogId,
    mirrors: &[Mirror],
    shards: &mut BTreeMap<ShardId, ShardReplay>,
) -> Result<(Sealed, Option<u32>), PoolError> {
    let mut sealed = Sealed { id, bytes: PAGE as u32, last: BTreeMap::new(), is_whole: false };
    let mut last_batch = None;
    while let Some(window) = read_window(pool, id, mirrors, sealed.bytes).await? {
        let mut at = 0;
        while let Some((records, len)) = batch::read(&window[at..], pool.geometry.pool, id, sealed.bytes) {
            for record in records {
                let head = record.head;
                let Some(shard) = shards.get_mut(&head.shard) else { continue };
                let fate = Fate::of(head.sequence, &shard.manifest);
                if fate == Fate::Void {
                    continue;
                }
                let last = sealed.last.entry(head.shard).or_default();
                *last = head.sequence.max(*last);
                let body = LogPosition { log: id, offset: sealed.bytes + record.body_at };
                if fate == Fate::Replayed {
                    let operations = record.operations;
                    shard.records.push(Replayed { sequence: head.sequence, operations, body });
                }
            }
            at += len;
            last_batch = Some(sealed.bytes);
            sealed.bytes += len as u32;
            if at >= window.len() {
                break;
            }
        }
    }
    Ok((sealed, last_batch))
}

/// Puts the last batch of a segment, at `last`, on the mirrors that do not have it; whether all of them do then. It
/// counts since it is whole somewhere, though nobody was told, and what it replaced is gone with it. So its bodies must
/// be as safe as any before somebody reads them, or before the drive that has it fails.
async fn complete(pool: &Pool, id: LogId, mirrors: &[Mirror], last: u32, end: u32) -> bool {
    let mut is_complete = true;
    for mirror in mirrors {
        if matches!(read_window(pool, id, &[*mirror], last).await, Ok(Some(_))) {
            continue;
        }
        let copied = copy_to(pool, id, mirrors, *mirror, end).await.is_some();
        tracing::info!(log = %id, drive = %mirror.drive, copied, "a mirror lacked the last batch of a log segment");
        is_complete &= copied;
    }
    is_complete
}

/// Writes the batches up to `end` that one mirror lacks: the last one, and those before it that its drive may have
/// lost. A write that the power cuts leaves what was there: nothing.
async fn copy_to(pool: &Pool, id: LogId, mirrors: &[Mirror], mirror: Mirror, end: u32) -> Option<()> {
    let mut offset = PAGE as u32;
    while offset < end {
        if let Ok(Some(window)) = read_window(pool, id, &[mirror], offset).await {
            offset += batches_bytes(&window, pool, id, offset) as u32;
            continue;
        }
        let window = read_window(pool, id, mirrors, offset).await.ok()??;
        // One after the other, as they were written first: one that is torn has none behind it.
        let (_, bytes) = batch::read(&window, pool.geometry.pool, id, offset)?;
        let at = segment::offset(mirror.segment, pool.geometry.segment_bytes) + u64::from(offset);
        let drive = pool.drives.get(mirror.drive).ok()?;
        drive.write(Area::Meta, Arc::new(window), 0..bytes, at).await.ok()?;
        offset += bytes as u32;
    }
    Some(())
}

/// Bytes of the whole batches that a window begins with.
fn batches_bytes(window: &[u8], pool: &Pool, id: LogId, offset: u32) -> usize {
    let mut at = 0;
    while let Some((_, len)) = batch::read(&window[at..], pool.geometry.pool, id, offset + at as u32) {
        at += len;
    }
    at
}

/// Bytes of the log from `offset` on, from a mirror that has a whole batch there; `None` at the end.
/// A batch that was acknowledged is on every mirror, so one readable mirror without it shows the
/// end; when none is readable nobody knows, and that is an error. So is a whole batch behind the
/// place: it was written after the one that should stand there was acknowledged.
pub async fn read_window(
    pool: &Pool,
    id: LogId,
    mirrors: &[Mirror],
    offset: u32,
) -> Result<Option<AlignedBuf>, PoolError> {
    let left = pool.geometry.segment_bytes.saturating_sub(u64::from(offset));
    let len = LOG_WINDOW_BYTES.min(left as usize);
    if len == 0 {
        return Ok(None);
    }
    let (mut readable, mut behind) = (0, None);
    for mirror in mirrors {
        let Ok(drive) = pool.drives.get(mirror.drive) else { continue };
        let at = segment::offset(mirror.segment, pool.geometry.segment_bytes) + u64::from(offset);
        let Ok(window) = drive.read(Area::Meta, AlignedBuf::uninit_for_read(len), at).await else { continue };
        if batch::read(&window, pool.geometry.pool, id, offset).is_some() {
            return Ok(Some(window));
        }
        readable += 1;
        behind = behind.or_else(|| batch_behind(&window, pool, id, offset));
    }
    match behind {
        _ if readable == 0 => {
            Err(PoolError::NoCopy { copies: mirrors.len(), first: mirrors.first().map(|m| m.drive) })
        }
        Some(next) => Err(PoolError::LogLost(format!("log {id} has a batch at {next} and none at {offset}"))),
        None => Ok(None),
    }
}

/// Where the next whole batch begins that any mirror can give, behind one that none can; `end` when there is none.
pub async fn next_batch(pool: &Pool, id: LogId, mirrors: &[Mirror], offset: u32, end: u32) -> u32 {
    let mut from = offset;
    while from < end {
        let left = pool.geometry.segment_bytes.saturating_sub(u64::from(from));
        let len = LOG_WINDOW_BYTES.min(left as usize);
        let mut found = None;
        for mirror in mirrors {
            let Ok(drive) = pool.drives.get(mirror.drive) else { continue };
            let at = segment::offset(mirror.segment, pool.geometry.segment_bytes) + u64::from(from);
            let read = drive.read(Area::Meta, AlignedBuf::uninit_for_read(len), at).await;
            let behind = read.ok().and_then(|window| batch_behind(&window, pool, id, from));
            found = behind.into_iter().chain(found).min();
        }
        match found {
            Some(next) => return next.min(end),
            // Of a batch that begins in the second half the window may not hold all.
            None => from = from.saturating_add(LOG_WINDOW_BYTES as u32 / 2),
        }
    }
    end
}

/// Where the next whole batch begins in a window without one at its start. Every batch that may be
/// missing is shorter than the window by a whole batch.
fn batch_behind(window: &[u8], pool: &Pool, id: LogId, offset: u32) -> Option<u32> {
    let mut pages = (PAGE..window.len()).step_by(PAGE).map(|at| (at, offset.saturating_add(at as u32)));
    let is_batch = |at: usize, offset: u32| {
        let bytes = window.get(at..).unwrap_or_default();
        batch::read(bytes, pool.geometry.pool, id, offset).is_some()
    };
    pages.find(|(at, offset)| is_batch(*at, *offset)).map(|(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(epoch: u32, flushed: Sequence, records: &[Sequence]) -> ShardReplay {
        replay_with(manifest(epoch, flushed, &[]), records)
    }

    fn manifest(epoch: u32, flushed: Sequence, ends: &[Sequence]) -> Manifest {
        let ends = ends.iter().map(|end| end.0).collect();
        Manifest { epoch, flushed: flushed.0, ends, ..Manifest::empty(ShardId(1)) }
    }

    fn replay_with(manifest: Manifest, records: &[Sequence]) -> ShardReplay {
        let record = |sequence: &Sequence| Replayed {
            sequence: *sequence,
            operations: Vec::new(),
            body: LogPosition { log: LogId(1), offset: 0 },
        };
        ShardReplay { manifest, records: records.iter().map(record).collect(), segments: Vec::new() }
    }

    fn at(epoch: u32, number: u64) -> Sequence {
        Sequence(Sequence::first(epoch).0 + number)
    }

    #[test]
    fn records_follow_each_other_and_what_is_flushed() {
        let whole: [(Sequence, &[Sequence]); 5] = [
            (at(2, 7), &[]),
            (at(2, 7), &[at(2, 8), at(2, 9)]),
            (at(2, 7), &[at(2, 9), at(2, 8), at(2, 8), at(2, 9), at(2, 10)]),
            (at(2, 7), &[at(3, 1), at(3, 2)]),
            (Sequence(0), &[at(3, 1)]),
        ];
        for (flushed, records) in whole {
            replay(3, flushed, records).order().expect("no gap");
        }
        let gaps: [(Sequence, &[Sequence], &str); 5] = [
            (at(2, 7), &[at(2, 9)], "of shard 1, between 2:7 and 2:9"),
            (at(2, 7), &[at(2, 8), at(2, 11), at(2, 12)], "between 2:8 and 2:11"),
            (at(2, 7), &[at(3, 2)], "between 2:7 and 3:2"),
            (at(2, 7), &[at(2, 8), at(3, 1), at(3, 3)], "between 3:1 and 3:3"),
            (at(2, 7), &[at(4, 1)], "between 2:7 and 4:1"),
        ];
        for (flushed, records, text) in gaps {
            let error = replay(3, flushed, records).order().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    /// Two starts found no room for runs: of both epochs before them the end is known.
    #[test]
    fn what_starts_have_seen_and_left_in_the_log_has_to_be_there() {
        let ends = [at(2, 9), at(4, 1)];
        let replay = |records: &[Sequence]| replay_with(manifest(5, at(2, 7), &ends), records);
        let whole: [&[Sequence]; 2] =
            [&[at(2, 8), at(2, 9), at(4, 1)], &[at(2, 8), at(2, 9), at(4, 1), at(5, 1)]];
        for records in whole {
            replay(records).order().expect("nothing is missing");
        }
        let lost: [(&[Sequence], &str); 4] = [
            (&[], "of shard 1, at 2:9"),
            (&[at(2, 8), at(4, 1)], "of shard 1, at 2:9"),
            (&[at(2, 8), at(2, 9)], "of shard 1, at 4:1"),
            (&[at(2, 8), at(2, 9), at(5, 1)], "of shard 1, at 4:1"),
        ];
        for (records, text) in lost {
            let error = replay(records).order().expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn what_no_start_has_seen_does_not_come_back() {
        let manifest = manifest(5, at(2, 7), &[at(2, 9), at(4, 1)]);
        let fates =
            |records: &[Sequence]| records.iter().map(|at| Fate::of(*at, &manifest)).collect::<Vec<_>>();
        assert_eq!(fates(&[at(1, 99), at(2, 7)]), [Fate::InRuns; 2]);
        assert_eq!(fates(&[at(2, 8), at(2, 9), at(4, 1), at(5, 1), at(6, 1)]), [Fate::Replayed; 5]);
        assert_eq!(fates(&[at(2, 10), at(3, 1), at(4, 2)]), [Fate::Void; 3]);
    }
}
