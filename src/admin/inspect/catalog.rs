//! The catalog as one drive has it: manifests, the runs they name, and the records in them.
//!
//! A run is mirrored on some drives of the pool, piece by piece, so this drive may lack the whole of
//! it or parts; both are said, and what is here is shown. A key stands in every run that knows it,
//! newest run first, and is shown as often. The tail of the log is not part of this: see `log`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::media::Media;
use super::output::Output;
use super::run::{Entry, OneDrive, Opened, Span};
use super::{Drive, text};
use crate::admin::table::{grouped, size};
use crate::base::ids::ShardId;
use crate::base::limits::MANIFEST_BYTES;
use crate::catalog::key;
use crate::catalog::levels::Encoded;
use crate::catalog::record::Sequence;
use crate::catalog::run::entries::Form;
use crate::catalog::run::reader::RunRef;
use crate::drive::bitmap;
use crate::drive::device::Area;
use crate::drive::segment;
use crate::drive::superblock::Superblock;
use crate::pool::manifest::Manifest;

/// A shard and its two manifest slots; `None` is a slot that was never written or is damaged.
pub struct Shard {
    pub id: ShardId,
    slots: [Option<Manifest>; 2],
}

/// Bytes of data segments that objects and runs own.
#[derive(Default)]
pub struct Usage {
    segments: BTreeMap<u32, u64>,
    /// Shards of which this drive does not know everything.
    partial: BTreeSet<ShardId>,
}

impl Shard {
    pub fn newest(&self) -> Option<&Manifest> {
        self.slots.iter().flatten().max_by_key(|manifest| manifest.generation)
    }
}

pub async fn read_manifests(media: &Media, superblock: &Superblock, out: &mut Output<'_>) -> Vec<Shard> {
    let mut shards = Vec::new();
    for id in (0..superblock.geometry.shards).map(ShardId) {
        let mut slots = [None, None];
        for (turn, slot) in (0..).zip(&mut slots) {
            let offset = Manifest::offset(id, turn);
            let place = media.place(Area::Meta, offset);
            let what = match media.read(Area::Meta, MANIFEST_BYTES, offset).await {
                Err(error) => format!("cannot be read: {error}"),
                Ok(bytes) => {
                    *slot = Manifest::decode(&bytes, superblock.geometry.pool, id);
                    if slot.is_some() || bytes.iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    "damaged, or of another shard or pool".to_owned()
                }
            };
            out.damaged(&place, &format!("manifest of shard {id}: {what}"));
        }
        shards.push(Shard { id, slots });
    }
    shards
}

/// A line for each shard.
pub fn summary(drive: &Drive, out: &mut Output<'_>) -> io::Result<()> {
    let head = ["SHARD", "MANIFEST", "EPOCH", "IN RUNS UP TO", "OLDER EPOCHS UP TO", "RUNS", "HERE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for shard in &drive.shards {
        let Some(manifest) = shard.newest() else {
            rows.push(vec![shard.id.to_string(), "none".to_owned()]);
            continue;
        };
        let (runs, here) = match runs(shard.id, manifest) {
            Err(error) => (error, "-".to_owned()),
            Ok(runs) => {
                let here = runs.iter().filter(|(.., root)| is_here(drive, root)).count();
                (runs.len().to_string(), here.to_string())
            }
        };
        rows.push(vec![
            shard.id.to_string(),
            manifest.generation.to_string(),
            manifest.epoch.to_string(),
            Sequence(manifest.flushed).to_string(),
            ends(manifest),
            runs,
            here,
        ]);
    }
    out.table(&rows)
}

fn runs(shard: ShardId, manifest: &Manifest) -> Result<Vec<(u8, u16, RunRef)>, String> {
    Encoded::decode(&manifest.levels, shard).map(|encoded| encoded.runs).map_err(|error| error.to_string())
}

/// Up to where older epochs have records that are in no runs.
fn ends(manifest: &Manifest) -> String {
    let ends: Vec<String> = manifest.ends.iter().map(|end| Sequence(*end).to_string()).collect();
    if ends.is_empty() { "-".to_owned() } else { ends.join(" ") }
}

fn is_here(drive: &Drive, root: &RunRef) -> bool {
    root.extent.copies.iter().any(|copy| copy.drive == drive.superblock.drive)
}

/// Every shard with its manifest, runs and records.
pub async fn list(drive: &Drive, out: &mut Output<'_>) -> io::Result<()> {
    for shard in &drive.shards {
        let Some(manifest) = shard.newest() else {
            out.title(&format!("SHARD {}  no manifest on this drive", shard.id))?;
            continue;
        };
        let place = drive.media.place(Area::Meta, Manifest::offset(shard.id, manifest.generation));
        out.title(&format!(
            "SHARD {}  manifest {} of epoch {} at {place}, runs hold records up to {}",
            shard.id,
            manifest.generation,
            manifest.epoch,
            Sequence(manifest.flushed)
        ))?;
        match runs(shard.id, manifest) {
            Err(error) => {
                out.damaged(&place, &format!("manifest of shard {}: {error}", shard.id));
                out.line(&format!("  DAMAGED: {error}"))?;
            }
            Ok(runs) if runs.is_empty() => out.line("  no runs")?,
            Ok(runs) => {
                for run in runs {
                    list_run(drive, shard.id, run, out).await?;
                }
            }
        }
    }
    Ok(())
}

async fn list_run(
    drive: &Drive,
    shard: ShardId,
    (level, tier, root): (u8, u16, RunRef),
    out: &mut Output<'_>,
) -> io::Result<()> {
    let title = format!("  run {} of level {level}, tier {tier}", root.id);
    if !is_here(drive, &root) {
        let copies: Vec<_> = root.extent.copies.iter().map(|copy| copy.drive).collect();
        return out.line(&format!("{title}: not on this drive, but on {}", text::drives(&copies)));
    }
    let Some(mut run) = Opened::open(OneDrive::new(drive), shard, root, out).await else {
        return out.line(&format!("{title}: DAMAGED footer"));
    };
    let footer = run.footer();
    let (entries, deleted) = (grouped(footer.entries), grouped(footer.tombstones));
    out.line(&format!("{title}: entries {entries}, of them deletions {deleted}, {}", size(footer.bytes)))?;
    out.line(&format!("    first {}", text::key(&footer.first_key)))?;
    out.line(&format!("    last  {}", text::key(&footer.last_key)))?;
    let mut families: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut show = |out: &mut Output<'_>, entry: &Entry<'_>| {
        let (live, deleted) = families.entry(key::family(entry.key).unwrap_or("unknown")).or_default();
        *(if entry.form == Form::Tombstone { deleted } else { live }) += 1;
        out.line(&format!("      {}", entry_text(entry)))
    };
    let walked = run.walk(&Span::all(), out, &mut show).await?;
    let counts = families.iter().map(|(family, (live, deleted))| match deleted {
        0 => format!("{family} {}", grouped(*live)),
        deleted => format!("{family} {} and {} deleted", grouped(*live), grouped(*deleted)),
    });
    out.line(&format!("    read: {}", counts.collect::<Vec<_>>().join(", ")))?;
    match walked.elsewhere {
        0 => Ok(()),
        blocks => out.line(&format!("    not on this drive: {}", text::count(blocks, "block"))),
    }
}

fn entry_text(entry: &Entry<'_>) -> String {
    let key = text::key(entry.key);
    match (entry.form, &entry.value) {
        (Form::Tombstone, _) => format!("{key}: deleted"),
        (_, None) => format!("{key}: a large value that is not whole on this drive"),
        (_, Some(value)) => match text::value(entry.key, value) {
            Some(value) => format!("{key}: {value}"),
            None => format!("{key}: {} bytes that do not decode", value.len()),
        },
    }
}

// ---- How full segments are ----

/// What the catalog on this drive says of the space on it, as of the last checkpoint.
pub async fn usage(drive: &Drive, out: &mut Output<'_>) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for shard in &drive.shards {
        let runs = shard.newest().map(|manifest| runs(shard.id, manifest));
        let Some(Ok(runs)) = runs else {
            usage.partial.insert(shard.id);
            continue;
        };
        let mut maps: BTreeMap<u32, u64> = BTreeMap::new();
        for (.., root) in runs {
            if !usage.add_run(drive, shard.id, root, &mut maps, out).await? {
                usage.partial.insert(shard.id);
            }
        }
        for (segment, bytes) in maps {
            usage.add(segment, bytes);
        }
    }
    Ok(usage)
}

impl Usage {
    /// In words.
    pub fn of(&self, shard: ShardId, segment: u32) -> String {
        let known = size(self.segments.get(&segment).copied().unwrap_or(0));
        if self.partial.contains(&shard) { format!("at least {known}") } else { known }
    }

    fn add(&mut self, segment: u32, bytes: u64) {
        let sum = self.segments.entry(segment).or_default();
        *sum = sum.saturating_add(bytes);
    }

    /// Counts the run's own space and notes the space maps in it that no newer run had; false when
    /// not all of this could be read here.
    async fn add_run(
        &mut self,
        drive: &Drive,
        shard: ShardId,
        root: RunRef,
        maps: &mut BTreeMap<u32, u64>,
        out: &mut Output<'_>,
    ) -> io::Result<bool> {
        if !is_here(drive, &root) {
            return Ok(false);
        }
        let own = drive.superblock.drive;
        let Some(mut run) = Opened::open(OneDrive::new(drive), shard, root, out).await else {
            return Ok(false);
        };
        for extent in run.extents() {
            for copy in extent.copies.iter().filter(|copy| copy.drive == own) {
                if let Some(index) = segment::of_offset(copy.offset, drive.superblock.geometry.segment_bytes)
                {
                    self.add(index, extent.len.into());
                }
            }
        }
        let mut note = |_: &mut Output<'_>, entry: &Entry<'_>| {
            if let Some((_, index)) = key::parse_space(entry.key).filter(|(drive, _)| *drive == own) {
                let pages = entry.value.as_deref().and_then(bitmap::pages_marked).unwrap_or(0);
                maps.entry(index).or_insert(pages.saturating_mul(crate::base::limits::PAGE as u64));
            }
            Ok(())
        };
        let (start, end) = key::spaces();
        let walked = run.walk(&Span::between(start, end), out, &mut note).await?;
        Ok(walked.elsewhere == 0 && !walked.damaged)
    }
}
