//! `basalt inspect`: what stands on one stopped drive, for a person to read.
//!
//! Owns opening the drive and the order of the report; the files below own a section each. Reads the
//! structures with the code that the server reads them with, and everything through `io`. Nothing is
//! written: files are opened for reading only, and the lock is taken on what exists already.
//! Invariants: a drive that a server uses is refused; a damaged piece is named with its address and
//! does not stop the rest; text that comes from the drive is escaped before it is printed.

/// Manifests, runs and their records.
mod catalog;
/// Batches and records.
mod log;
/// The files of the drive.
mod media;
/// Lines, tables and the list of damage.
mod output;
/// One run, read from one drive alone.
mod run;
/// Segment headers and how full the segments are.
mod segments;
/// Keys, values and operations in words.
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::base::limits::PAGE;
use crate::base::time::Nanos;
use crate::codec::wire::Broken;
use crate::drive::device::Area;
use crate::drive::superblock::{self, Superblock};
use crate::io::runtime::{self, IoChoice};
use crate::io::world::World;
use catalog::Shard;
use media::Media;
use output::Output;
use segments::Segment;

/// Which sections to print; none of them is the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub segments: bool,
    pub log: bool,
    pub catalog: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{path} cannot be looked at: {source}; name a drive that this user may read")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not there; name the directory or the device of one drive")]
    Absent(PathBuf),
    #[error("{0} is used by a running server; stop it first, or ask it with `basalt status`")]
    InUse(PathBuf),
    #[error("{path} is not a Basalt drive: {reason}; name the directory or the device of one drive")]
    NotADrive { path: PathBuf, reason: String },
    #[error(
        "{path} has format version {version}, and this Basalt knows none above {}; look at it with the newer Basalt that \
         wrote it",
        superblock::VERSION
    )]
    Newer { path: PathBuf, version: u32 },
    #[error(
        "{path} has no readable superblock ({reason}), and without it nothing else can be found; to use the pool, start it \
         with its other drives, and with an empty one in place of this and --adopt"
    )]
    NoSuperblock { path: PathBuf, reason: String },
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// What the sections need to know of the drive.
struct Drive {
    media: Rc<Media>,
    superblock: Superblock,
    segments: Vec<Segment>,
    shards: Vec<Shard>,
}

/// Prints a report of the drive at `path` to `out`.
pub fn run(path: &Path, choice: Choice, out: &mut dyn io::Write) -> Result<(), InspectError> {
    let io = runtime::probe(IoChoice::Auto)?;
    runtime::run(io, |world| async move { inspect(&world, path, choice, out).await })
}

/// As `run`, in a world that is there already.
pub async fn inspect(
    world: &World,
    path: &Path,
    choice: Choice,
    out: &mut dyn io::Write,
) -> Result<(), InspectError> {
    let mut out = Output::new(out);
    let media = Media::open(world, path)?;
    out.field("drive", &media.describe())?;
    let superblock = superblocks(&media, &mut out).await?;
    let segments = segments::read(&media, &superblock, &mut out).await;
    let shards = catalog::read_manifests(&media, &superblock, &mut out).await;
    let drive = Drive { media: Rc::new(media), superblock, segments, shards };
    if choice == Choice::default() {
        segments::summary(&drive, &mut out)?;
        catalog::summary(&drive, &mut out)?;
    }
    if choice.segments {
        segments::list(&drive, &mut out).await?;
    }
    if choice.log {
        log::list(&drive, &mut out).await?;
    }
    if choice.catalog {
        catalog::list(&drive, &mut out).await?;
    }
    Ok(out.finish()?)
}

/// Prints identity and copies, and gives the superblock that the copies stand for.
async fn superblocks(media: &Media, out: &mut Output<'_>) -> Result<Superblock, InspectError> {
    let mut pages = Vec::new();
    for copy in 0..superblock::COPIES {
        pages.push(media.read(Area::Meta, PAGE, Superblock::offset(copy)).await);
    }
    let readable: Vec<Vec<u8>> = pages.iter().flatten().map(|page| page.to_vec()).collect();
    let elected = Superblock::elect(&readable);
    if let Ok(superblock) = &elected {
        identity(superblock, out)?;
    }
    let mut rows = vec![vec!["SUPERBLOCK", "ADDRESS", "STATE", "GENERATION", "EPOCH", "LATCHED"]];
    let cells: Vec<[String; 6]> = pages
        .iter()
        .enumerate()
        .map(|(copy, page)| copy_row(media, copy, page, elected.as_ref().ok(), out))
        .collect();
    rows.extend(cells.iter().map(|row| row.iter().map(String::as_str).collect()));
    out.table(&rows)?;
    elected.map_err(|reason| {
        if let Broken::Newer(version) = reason {
            return InspectError::Newer { path: media.path.clone(), version };
        }
        let reason = match (readable.is_empty(), reason) {
            (true, _) => "no copy can be read".to_owned(),
            (false, Broken::Magic) => "none was ever written".to_owned(),
            (false, reason) => text::broken(reason),
        };
        InspectError::NoSuperblock { path: media.path.clone(), reason }
    })
}

fn identity(superblock: &Superblock, out: &mut Output<'_>) -> io::Result<()> {
    let g = &superblock.geometry;
    let bytes = u64::from(superblock.segments).saturating_mul(g.segment_bytes);
    out.field("pool", &g.pool.to_string())?;
    out.field("place", &format!("drive {} of {}, node {}", superblock.drive, g.drives, superblock.node))?;
    out.field("uuid", &format!("{:032x}", superblock.uuid))?;
    let (data, parity) = (g.data_chunks, g.parity_chunks);
    out.field("geometry", &format!("{data}+{parity} chunks, {} shards", g.shards))?;
    let (total, each) = (super::table::size(bytes), super::table::size(g.segment_bytes));
    out.field("segments", &format!("{} of {each}, {total}", superblock.segments))?;
    out.field("epoch", &superblock.epoch.to_string())?;
    out.field("latched", &text::drives(&superblock.latched))
}

fn copy_row(
    media: &Media,
    copy: usize,
    page: &io::Result<crate::io::buffer::AlignedBuf>,
    elected: Option<&Superblock>,
    out: &mut Output<'_>,
) -> [String; 6] {
    let place = media.place(Area::Meta, Superblock::offset(copy));
    let decoded = match page {
        Ok(page) => Superblock::decode(page).map_err(text::broken),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match decoded {
        Ok(found) => {
            let state = if Some(&found) == elected { "intact" } else { "intact, outvoted" };
            let (generation, epoch) = (found.generation.to_string(), found.epoch.to_string());
            [copy.to_string(), place, state.into(), generation, epoch, text::drives(&found.latched)]
        }
        Err(state) => {
            out.damaged(&place, &format!("superblock copy {copy}: {state}"));
            [copy.to_string(), place, state, "-".into(), "-".into(), "-".into()]
        }
    }
}

/// A time of the catalog.
fn moment(time: Nanos) -> String {
    crate::codec::date::iso8601_ms(time).as_str().to_owned()
}

#[cfg(test)]
mod tests;
