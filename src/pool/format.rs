//! From paths to a pool: tells blank drives from members, formats, refuses by name; `pool::join` assembles.
//!
//! Runs once, before any core does. A path is a block device or a directory that stands for one.
//! Paths may come in any order; the superblocks say who is who. What is refused is refused before
//! anything is written: a drive of another pool, of a newer format, too small, in use, or holding
//! something else.
//!
//! A new pool's drives say *joining* until all of them are prepared, so a formatting that was cut off is begun
//! anew by the next start: what only ever joined cannot hold anything.

use std::path::{Path, PathBuf};

use crate::base::ids::{DriveId, PoolId};
use crate::base::limits::{
    self, DRIVE_BYTES_MIN, MIB, PAGE, POOL_DRIVES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    STRIPE_CHUNKS_MAX,
};
use crate::base::time::Nanos;
use crate::codec::wire::Broken;
use crate::drive::health::Condition;
use crate::drive::segment::{self, SEGMENTS_OFFSET};
use crate::drive::superblock::{self, Geometry, Standing, Superblock};
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{Access, File};
use crate::io::world::{Lock, Place, World};
use crate::pool::error::PoolError;
use crate::pool::foreign;
use crate::pool::join;

/// Files of a directory drive.
pub const META_FILE: &str = "basalt.meta";
pub const DATA_FILE: &str = "basalt.data";

/// What the operator asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub paths: Vec<PathBuf>,
    /// Parity chunks of a new pool; `None` chooses by the number of drives.
    pub parity: Option<u8>,
    /// Bytes a directory may grow to, each; `None` is most of what is free.
    pub capacity: Option<u64>,
    pub shards: u16,
    /// Take blank drives into an existing pool: for those that are missing first, then as further ones.
    pub adopt: bool,
}

/// A drive of the pool and where it is; a missing one has no path.
#[derive(Clone, Debug)]
pub struct Member {
    pub drive: DriveId,
    pub path: Option<PathBuf>,
    pub is_device: bool,
    pub condition: Condition,
    pub superblock: Option<Superblock>,
    /// Why it is latched.
    pub trouble: Option<String>,
}

impl Member {
    /// What is written in the epoch that begins may be missing on it, now or when it is back.
    pub fn lacks(&self) -> bool {
        self.condition.is_rebuilding() || self.condition.is_missing()
    }
}

/// Everything a core needs to open the pool, and the locks that keep a second server away.
pub struct Assembly {
    pub geometry: Geometry,
    /// The epoch that begins with this start.
    pub epoch: u32,
    pub members: Vec<Member>,
    /// The pool was formatted just now.
    pub fresh: bool,
    /// End of the last full scrub, or when the pool was made.
    pub scrubbed: Nanos,
    /// Paths that were given and hold no drive of the pool, with the reason.
    pub strangers: Vec<String>,
    pub locks: Vec<Lock>,
}

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error(
        "{path} cannot be a drive: {source}; give a directory or a block device that this user may read and write"
    )]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} cannot be a drive: it is {kind}; give a directory or a block device")]
    NoDrive { path: PathBuf, kind: &'static str },
    #[error("{0} is used by another server; stop that first, or give another drive")]
    InUse(PathBuf),
    #[error(
        "{path} belongs to pool {found}, and {other} to pool {expected}; give only drives of one pool, or empty this \
         one to use it anew"
    )]
    OtherPool { path: PathBuf, found: PoolId, other: PathBuf, expected: PoolId },
    #[error(
        "{path} has format version {version}, and this Basalt knows none above {}; start it with the newer Basalt that \
         wrote it",
        superblock::VERSION
    )]
    Newer { path: PathBuf, version: u32 },
    #[error(
        "{path} has room for {} MiB, and a drive needs {} MiB: give a larger one, or make room", .bytes / MIB as u64,
        .needed / MIB as u64
    )]
    TooSmall { path: PathBuf, bytes: u64, needed: u64 },
    #[error(
        "{path} cannot become a drive of a new pool: {reason}; if nothing on it is wanted, wipe it (wipefs -a, or remove \
         the files); if it belongs to a pool, give the other drives of that too"
    )]
    NotBlank { path: PathBuf, reason: String },
    #[error("{a} is given twice, the second time as {b}; leave one out")]
    Twice { a: PathBuf, b: PathBuf },
    #[error("{a} and {b} are both drive {drive} of the pool; leave out the copy")]
    Duplicate { drive: DriveId, a: PathBuf, b: PathBuf },
    #[error(
        "{} of {drives} drives cannot be relied on, and the pool survives the loss of {parity}: {}. Mount or connect \
         them, name all drives of the pool and start again; nothing was changed on those that are there",
        .out.len(), all_of(.out, .strangers)
    )]
    TooManyMissing {
        /// What is wrong with each.
        out: Vec<String>,
        /// Paths that were given and hold no drive of the pool.
        strangers: Vec<String>,
        drives: usize,
        parity: usize,
    },
    #[error(
        "{path} was about to stand in for a lost drive of a pool, and none of that pool's drives is given; give all of \
         them, or wipe it to use it anew"
    )]
    Alone { path: PathBuf },
    #[error(
        "the pool has {parity} parity chunks, and --parity {asked} cannot change that; leave --parity out"
    )]
    ParityFixed { parity: u8, asked: u8 },
    #[error(
        "the log or the catalog cannot be read, so what was stored cannot be told: {0}. Start with every drive of the \
         pool, or bring the pool back from a copy"
    )]
    Recovery(#[from] PoolError),
    #[error("{0}")]
    Request(String),
}

/// Drives and what is wrong with each, in one sentence.
fn all_of(out: &[String], strangers: &[String]) -> String {
    let out = out.join("; ");
    match strangers.is_empty() {
        true => out,
        false => format!("{out}. Given, but none of them: {}", strangers.join("; ")),
    }
}

pub(super) type Result<T> = std::result::Result<T, AssembleError>;

/// What a path turned out to be.
pub(super) struct Examined {
    pub path: PathBuf,
    pub is_device: bool,
    pub found: Found,
}

pub(super) enum Found {
    Blank,
    /// On its way into a pool: nothing was ever stored on it.
    Joining(Superblock),
    Member(Superblock),
    /// It was a member once, or cannot be read now.
    Unusable(String),
    /// There is no such place, or nobody may lock it.
    Closed(std::io::Error),
}

/// Finds the pool behind the paths, or makes one of blank drives, and begins a new epoch.
/// `progress` hears of bytes done and to do while drives are prepared.
pub async fn assemble(world: &World, request: &Request, progress: &dyn Fn(u64, u64)) -> Result<Assembly> {
    check_request(request)?;
    let mut locks = Vec::new();
    let mut examined = Vec::new();
    for path in &request.paths {
        let drive = examine(world, path, &examined, &mut locks).await?;
        examined.push(drive);
    }
    let pool = examined.iter().find_map(|drive| match &drive.found {
        Found::Member(superblock) if superblock.standing == Standing::Member => {
            Some(superblock.geometry.pool)
        }
        _ => None,
    });
    let mut assembly = match pool {
        Some(pool) => join::join(world, examined, pool, request).await?,
        None => format(world, examined, request, progress).await?,
    };
    assembly.locks = locks;
    begin_epoch(world, &mut assembly).await?;
    Ok(assembly)
}

fn check_request(request: &Request) -> Result<()> {
    let count = request.paths.len();
    if count == 0 || count > POOL_DRIVES_MAX {
        return Err(AssembleError::Request(format!("give 1 to {POOL_DRIVES_MAX} drives, not {count}")));
    }
    for (index, path) in request.paths.iter().enumerate() {
        if let Some(same) = request.paths[..index].iter().find(|other| *other == path) {
            return Err(AssembleError::Twice { a: same.clone(), b: path.clone() });
        }
    }
    Ok(())
}

async fn examine(world: &World, path: &Path, before: &[Examined], locks: &mut Vec<Lock>) -> Result<Examined> {
    if let Ok(Place::Other(kind)) = world.place(path) {
        return Err(AssembleError::NoDrive { path: path.to_owned(), kind });
    }
    let is_device = is_device(world, path);
    let found = match lock(world, path) {
        Ok(lock) => {
            locks.push(lock);
            identify(world, path, is_device).await?
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let same = before.iter().find(|other| world.is_same(&other.path, path));
            return Err(match same {
                Some(other) => AssembleError::Twice { a: other.path.clone(), b: path.to_owned() },
                None => AssembleError::InUse(path.to_owned()),
            });
        }
        // One drive that cannot even be locked is a drive that is out; the pool may do without.
        Err(error) => Found::Closed(error),
    };
    Ok(Examined { path: path.to_owned(), is_device, found })
}

/// Locks a drive; a directory that does not exist is made. Not where devices are: a name that is not there belongs
/// to one that is gone or was mistyped, and a directory in its place would stand in memory and keep it from coming
/// back.
fn lock(world: &World, path: &Path) -> std::io::Result<Lock> {
    if world.place(path)? == Place::Absent {
        if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
            return Err(std::io::Error::from_raw_os_error(libc::ENODEV));
        }
        world.create_dir_all(path)?;
    }
    world.lock(path)
}

/// Whether the drive at `path` is a block device, not a directory.
pub fn is_device(world: &World, path: &Path) -> bool {
    let file = world.open(path, false, Access::ReadOnly);
    !world.exists(&path.join(META_FILE)) && file.is_ok_and(|file| file.id().is_block_device)
}

async fn identify(world: &World, path: &Path, is_device: bool) -> Result<Found> {
    let meta = if is_device { path.to_owned() } else { path.join(META_FILE) };
    if !world.exists(&meta) {
        let leftover = world.exists(&path.join(DATA_FILE));
        return Ok(if leftover { Found::Unusable(format!("{META_FILE} is gone")) } else { Found::Blank });
    }
    let file = match world.open(&meta, false, Access::ReadOnly) {
        Ok(file) => file,
        Err(error) => return Ok(Found::Unusable(error.to_string())),
    };
    let mut pages = Vec::new();
    for copy in 0..superblock::COPIES {
        let page = file.read_at(AlignedBuf::zeroed(PAGE), Superblock::offset(copy)).await;
        pages.push(if page.0.is_ok() { page.1.to_vec() } else { Vec::new() });
    }
    let unborn = (is_device || is_empty(world, &path.join(DATA_FILE))) && is_unborn(&file, &pages).await;
    match Superblock::elect(&pages) {
        Ok(superblock) if superblock.standing == Standing::Joining => Ok(Found::Joining(superblock)),
        Ok(superblock) if is_device && is_cut_off(&file, &superblock) => {
            Ok(Found::Unusable("it is smaller than the drive that it was".into()))
        }
        Ok(superblock) => Ok(Found::Member(superblock)),
        Err(Broken::Newer(version)) => Err(AssembleError::Newer { path: path.to_owned(), version }),
        Err(_) if unborn && !is_device => Ok(Found::Blank),
        Err(Broken::Magic | Broken::Damaged) if is_device && (unborn || !is_ours(&pages)) => {
            foreigner(&file, unborn).await
        }
        Err(Broken::Damaged) => Ok(Found::Unusable("every superblock is damaged".into())),
        Err(Broken::Magic) if !is_device => Ok(Found::Unusable("no superblock".into())),
        Err(Broken::Magic) => Ok(Found::Unusable(SOMETHING.into())),
    }
}

const SOMETHING: &str = "something else is on it";

fn is_ours(pages: &[Vec<u8>]) -> bool {
    pages.iter().any(|page| page.starts_with(&superblock::MAGIC.to_le_bytes()))
}

/// What a device is on which no superblock of ours is: blank only when nothing of others is found at its end either.
async fn foreigner(file: &File, is_unborn: bool) -> Result<Found> {
    Ok(match foreign::found(file).await {
        Ok(Some(name)) => Found::Unusable(format!("{SOMETHING}: {name}")),
        Ok(None) if is_unborn => Found::Blank,
        Ok(None) => Found::Unusable(SOMETHING.into()),
        Err(error) => Found::Unusable(error.to_string()),
    })
}

/// Whether a device ends before its last segment: somebody made it smaller, or it is a copy on a smaller one.
fn is_cut_off(file: &File, superblock: &Superblock) -> bool {
    let end = segment::offset(superblock.segments, superblock.geometry.segment_bytes);
    file.len().is_ok_and(|bytes| bytes < end)
}

fn is_empty(world: &World, data: &Path) -> bool {
    let file = world.open(data, false, Access::ReadOnly);
    !world.exists(data) || file.is_ok_and(|file| file.is_empty().unwrap_or(false))
}

/// Nothing in the first megabytes, where partition tables, file systems and volume labels begin, and manifests
/// stand: blank, or left by a formatting that did not get as far as a whole superblock. One page may be torn:
/// that of the first copy, which is written first.
async fn is_unborn(file: &File, copies: &[Vec<u8>]) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_ours = copies[0].starts_with(&superblock::MAGIC.to_le_bytes()) || is_zero(&copies[0]);
    for offset in (0..SEGMENTS_OFFSET).step_by(MIB) {
        let (result, piece) = file.read_at(AlignedBuf::zeroed(MIB), offset).await;
        let skip = if offset == 0 && is_ours { PAGE } else { 0 };
        if result.is_err() || !is_zero(&piece[skip..]) {
            return false;
        }
    }
    true
}

fn copy_of(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(number) => std::io::Error::from_raw_os_error(number),
        None => std::io::Error::new(error.kind(), error.to_string()),
    }
}

// ---- A new pool ----

async fn format(
    world: &World,
    examined: Vec<Examined>,
    request: &Request,
    progress: &dyn Fn(u64, u64),
) -> Result<Assembly> {
    for drive in &examined {
        let path = drive.path.clone();
        match &drive.found {
            Found::Closed(error) => return Err(AssembleError::Io { path, source: copy_of(error) }),
            Found::Unusable(reason) => return Err(AssembleError::NotBlank { path, reason: reason.clone() }),
            Found::Member(_) => return Err(AssembleError::Alone { path }),
            Found::Blank | Found::Joining(_) => {}
        }
    }
    let mut capacities = Vec::new();
    for drive in &examined {
        capacities.push(capacity(world, drive, &examined, request)?);
    }
    let geometry = new_geometry(world, request, &capacities)?;
    let (mut members, total) = (Vec::new(), examined.len() as u64 * SEGMENTS_OFFSET);
    let scrubbed = world.now();
    for (index, (drive, capacity)) in examined.into_iter().zip(capacities).enumerate() {
        let blank = blank_superblock(world, geometry, DriveId(index as u16), capacity);
        let superblock = Superblock { scrubbed, ..blank };
        progress(index as u64 * SEGMENTS_OFFSET, total);
        prepare(world, &drive).await?;
        members.push(Member {
            drive: superblock.drive,
            path: Some(drive.path),
            is_device: drive.is_device,
            condition: Condition::WHOLE,
            superblock: Some(superblock),
            trouble: None,
        });
    }
    progress(total, total);
    // All of them say that they are joining before the first one says that it is a member.
    for member in &members {
        introduce(world, member).await?;
    }
    let (strangers, locks) = (Vec::new(), Vec::new());
    Ok(Assembly { geometry, epoch: 0, members, fresh: true, scrubbed, strangers, locks })
}

/// What a drive says of itself before it is a member.
pub(super) fn blank_superblock(
    world: &World,
    geometry: Geometry,
    drive: DriveId,
    capacity: u64,
) -> Superblock {
    let mut uuid = [0; 16];
    world.random(&mut uuid);
    Superblock {
        geometry,
        drive,
        uuid: u128::from_le_bytes(uuid),
        node: 0,
        segments: (capacity.saturating_sub(SEGMENTS_OFFSET) / geometry.segment_bytes) as u32,
        epoch: 0,
        generation: 0,
        latched: Vec::new(),
        standing: Standing::Joining,
        rebuilding: Vec::new(),
        scrubbed: Nanos::default(),
    }
}

/// Writes the first superblock of a drive that is prepared.
pub(super) async fn introduce(world: &World, member: &Member) -> Result<()> {
    let (Some(path), Some(superblock)) = (&member.path, &member.superblock) else { return Ok(()) };
    let (meta, _) = files(path, member.is_device);
    let io = |source| AssembleError::Io { path: path.clone(), source };
    write_superblock(world, &meta, superblock).await.map_err(io)
}

/// Bytes the drive may use. Directories of one file system share what is free there; those of others have it alone.
pub(super) fn capacity(world: &World, drive: &Examined, all: &[Examined], request: &Request) -> Result<u64> {
    let io = |source| AssembleError::Io { path: drive.path.clone(), source };
    let mut free = world.free_bytes(&drive.path).map_err(io)?;
    if !drive.is_device {
        let device = world.device_of(&drive.path).map_err(io)?;
        let directories = all.iter().filter(|other| !other.is_device);
        let shares = |other: &&Examined| world.device_of(&other.path).is_ok_and(|same| same == device);
        free /= (directories.filter(shares).count() as u64).max(1);
    }
    let bytes = match (drive.is_device, request.capacity) {
        (true, _) => free,
        // A bound may be beyond what is free now, but not where there is no room for the least.
        (false, Some(asked)) if free >= DRIVE_BYTES_MIN => asked,
        (false, Some(_)) => free,
        (false, None) => free / 10 * 9,
    };
    if bytes < DRIVE_BYTES_MIN {
        return Err(AssembleError::TooSmall { path: drive.path.clone(), bytes, needed: DRIVE_BYTES_MIN });
    }
    Ok(bytes)
}

fn new_geometry(world: &World, request: &Request, capacities: &[u64]) -> Result<Geometry> {
    let drives = capacities.len();
    let parity = request.parity.unwrap_or(match drives {
        1 => 0,
        2 | 3 => 1,
        _ => 2,
    });
    let width = drives.min(STRIPE_CHUNKS_MAX);
    let Some(data) = width.checked_sub(usize::from(parity)).filter(|data| *data > 0) else {
        let needed = usize::from(parity) + 1;
        let text = format!(
            "--parity {parity} needs at least {needed} drives, and {drives} are given: give more, or less parity"
        );
        return Err(AssembleError::Request(text));
    };
    let mut pool = [0; 16];
    world.random(&mut pool);
    let smallest = capacities.iter().copied().min().unwrap_or(DRIVE_BYTES_MIN);
    // About 4,096 segments on the smallest drive: fine enough to share, few enough to scan.
    let segment_bytes = (smallest / 4096).next_power_of_two().clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let shards_max =
        (smallest / segment_bytes / limits::SHARD_SEGMENTS_MIN).clamp(1, limits::SHARDS_MAX.into());
    Ok(Geometry {
        pool: PoolId(u128::from_le_bytes(pool)),
        drives: drives as u16,
        data_chunks: data as u8,
        parity_chunks: parity,
        shards: request.shards.clamp(1, shards_max as u16),
        segment_bytes,
    })
}

/// Makes the files of a directory drive and clears the head, where superblocks and manifests go.
pub(super) async fn prepare(world: &World, drive: &Examined) -> Result<()> {
    let io = |source| AssembleError::Io { path: drive.path.clone(), source };
    let (meta, data) = files(&drive.path, drive.is_device);
    let meta = world.open(&meta, true, Access::DirectSync).map_err(io)?;
    world.open(&data, true, Access::Direct).map_err(io)?;
    if !drive.is_device {
        meta.preallocate(0, SEGMENTS_OFFSET).await.map_err(io)?;
    }
    meta.write_zeroes(0, SEGMENTS_OFFSET).await.map_err(io)?;
    meta.sync().await.map_err(io)
}

/// The two files of a drive; of a block device both are the device.
pub fn files(path: &Path, is_device: bool) -> (PathBuf, PathBuf) {
    match is_device {
        true => (path.to_owned(), path.to_owned()),
        false => (path.join(META_FILE), path.join(DATA_FILE)),
    }
}

// ---- The epoch ----

/// Writes the superblocks of every drive that is there with an epoch above any it has seen. Drives that are
/// joining come last: when they say that they are members, all others know of them.
async fn begin_epoch(world: &World, assembly: &mut Assembly) -> Result<()> {
    let superblocks = || assembly.members.iter().filter_map(|member| member.superblock.as_ref());
    let epoch = superblocks().map(|superblock| superblock.epoch).max().unwrap_or(0);
    let generation = superblocks().map(|superblock| superblock.generation).max().unwrap_or(0);
    assembly.epoch = epoch + 1;
    let chosen = |choose: &dyn Fn(&Member) -> bool| -> Vec<DriveId> {
        assembly.members.iter().filter(|member| choose(member)).map(|member| member.drive).collect()
    };
    let latched = chosen(&|member| member.condition.is_latched());
    let rebuilding = chosen(&|member| member.lacks());
    let is_joining = |member: &Member| {
        member.superblock.as_ref().is_some_and(|superblock| superblock.standing == Standing::Joining)
    };
    let (last, first): (Vec<usize>, Vec<usize>) =
        (0..assembly.members.len()).partition(|index| is_joining(&assembly.members[*index]));
    for index in first.into_iter().chain(last) {
        let member = &mut assembly.members[index];
        let (Some(path), Some(superblock)) = (&member.path, &mut member.superblock) else { continue };
        superblock.geometry = assembly.geometry;
        superblock.epoch = assembly.epoch;
        // The same for all, so that no drive that is out is ahead of those that go on counting.
        superblock.generation = generation + 1;
        superblock.latched.clone_from(&latched);
        superblock.rebuilding.clone_from(&rebuilding);
        superblock.scrubbed = assembly.scrubbed;
        if superblock.standing == Standing::Joining {
            superblock.standing = Standing::Member;
        }
        let (meta, _) = files(path, member.is_device);
        if let Err(source) = write_superblock(world, &meta, superblock).await {
            tracing::error!(path = %path.display(), error = %source, "cannot be written and counts as latched");
            member.condition = member.condition.latched();
            member.trouble = Some(format!("cannot be written: {source}"));
        }
    }
    join::check_unusable(assembly, &|condition| !condition.is_in_service())
}

/// Half of the copies first, then the others, so that two that agree are intact at any moment.
pub async fn write_superblock(world: &World, meta: &Path, superblock: &Superblock) -> std::io::Result<()> {
    let file = world.open(meta, false, Access::DirectSync)?;
    let mut page = AlignedBuf::zeroed(PAGE);
    page.copy_from_slice(&superblock.encode());
    let page = std::sync::Arc::new(page);
    for copy in 0..superblock::COPIES {
        file.write_at(page.clone(), 0..PAGE, Superblock::offset(copy)).await?;
    }
    Ok(())
}
