//! From paths to a pool: tells blank drives from members, formats, assembles, refuses by name.
//!
//! Runs once, before any core does. A path is a block device or a directory that stands for one.
//! Paths may come in any order; the superblocks say who is who. What is refused is refused before
//! anything is written: a drive of another pool, of a newer format, too small, in use, or holding
//! something else.

use std::path::{Path, PathBuf};

use crate::base::ids::{DriveId, PoolId};
use crate::base::limits::{
    self, DRIVE_BYTES_MIN, MIB, PAGE, POOL_DRIVES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    STRIPE_CHUNKS_MAX,
};
use crate::base::metrics::DriveState;
use crate::codec::wire::Broken;
use crate::drive::segment::SEGMENTS_OFFSET;
use crate::drive::superblock::{self, Geometry, Superblock};
use crate::io::buffer::AlignedBuf;
use crate::io::disk::{Access, File};
use crate::io::world::{Lock, World};
use crate::pool::error::PoolError;

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
}

/// A drive of the pool and where it is; a missing one has no path.
#[derive(Clone, Debug)]
pub struct Member {
    pub drive: DriveId,
    pub path: Option<PathBuf>,
    pub is_device: bool,
    pub state: DriveState,
    pub superblock: Option<Superblock>,
}

/// Everything a core needs to open the pool, and the locks that keep a second server away.
pub struct Assembly {
    pub geometry: Geometry,
    /// The epoch that begins with this start.
    pub epoch: u32,
    pub members: Vec<Member>,
    /// The pool was formatted just now.
    pub fresh: bool,
    pub locks: Vec<Lock>,
}

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}: another server uses this drive; stop it first")]
    InUse(PathBuf),
    #[error(
        "{path}: belongs to pool {found}, the others to pool {expected}; give only drives of one pool, \
         or empty this one to use it anew"
    )]
    OtherPool { path: PathBuf, found: PoolId, expected: PoolId },
    #[error(
        "{path}: format version {version} is newer than this Basalt understands; start it with a newer one"
    )]
    Newer { path: PathBuf, version: u32 },
    #[error("{path}: {bytes} bytes are too few for a drive; it needs at least {DRIVE_BYTES_MIN}")]
    TooSmall { path: PathBuf, bytes: u64 },
    #[error(
        "{path}: cannot become a drive of a new pool: {reason}; if nothing on it is wanted, wipe it \
         (wipefs -a, or remove the files)"
    )]
    NotBlank { path: PathBuf, reason: String },
    #[error("{0}: given twice")]
    Twice(PathBuf),
    #[error("drive {drive} of the pool is both {a} and {b}; leave out the copy")]
    Duplicate { drive: DriveId, a: PathBuf, b: PathBuf },
    #[error(
        "{missing} of {drives} drives are missing or unreadable, and the pool survives the loss of {parity}"
    )]
    TooManyMissing { missing: usize, drives: usize, parity: usize },
    #[error("the pool has {parity} parity chunks; --parity {asked} cannot change that")]
    ParityFixed { parity: u8, asked: u8 },
    #[error("the log or the catalog cannot be read, so what was stored cannot be told: {0}")]
    Recovery(#[from] PoolError),
    #[error("{0}")]
    Request(String),
}

type Result<T> = std::result::Result<T, AssembleError>;

/// What a path turned out to be.
struct Examined {
    path: PathBuf,
    is_device: bool,
    found: Found,
}

enum Found {
    Blank,
    Member(Superblock),
    /// It was a member once, or cannot be read now.
    Unusable(String),
}

/// Finds the pool behind the paths, or makes one of blank drives, and begins a new epoch.
/// `progress` hears of bytes done and to do while drives are prepared.
pub async fn assemble(world: &World, request: &Request, progress: &dyn Fn(u64, u64)) -> Result<Assembly> {
    check_request(request)?;
    let mut locks = Vec::new();
    let mut examined = Vec::new();
    for path in &request.paths {
        let drive = examine(world, path, &mut locks).await?;
        examined.push(drive);
    }
    let pool = examined.iter().find_map(|drive| match &drive.found {
        Found::Member(superblock) => Some(superblock.geometry.pool),
        _ => None,
    });
    let mut assembly = match pool {
        Some(pool) => join(examined, pool, request)?,
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
        if request.paths[..index].contains(path) {
            return Err(AssembleError::Twice(path.clone()));
        }
    }
    Ok(())
}

async fn examine(world: &World, path: &Path, locks: &mut Vec<Lock>) -> Result<Examined> {
    let is_device = is_device(world, path);
    let found = match lock(world, path) {
        Ok(lock) => {
            locks.push(lock);
            identify(world, path, is_device).await?
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(AssembleError::InUse(path.to_owned()));
        }
        // One drive that cannot even be locked is a drive that is out; the pool may do without.
        Err(error) => Found::Unusable(error.to_string()),
    };
    Ok(Examined { path: path.to_owned(), is_device, found })
}

/// Locks a drive; a directory that does not exist is made.
fn lock(world: &World, path: &Path) -> std::io::Result<Lock> {
    if !world.exists(path) {
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
    match Superblock::elect(&pages) {
        Ok(superblock) => Ok(Found::Member(superblock)),
        Err(Broken::Newer(version)) => Err(AssembleError::Newer { path: path.to_owned(), version }),
        Err(Broken::Damaged) => Ok(Found::Unusable("every superblock is damaged".into())),
        Err(Broken::Magic) if !is_device => Ok(Found::Unusable("no superblock".into())),
        Err(Broken::Magic) if is_blank(&file).await => Ok(Found::Blank),
        Err(Broken::Magic) => Ok(Found::Unusable("something else is on it".into())),
    }
}

/// Nothing in the first megabytes: partition tables, file systems and volume labels all begin there.
async fn is_blank(file: &File) -> bool {
    let head = file.read_at(AlignedBuf::zeroed(MIB), 0).await;
    head.0.is_ok() && head.1.iter().all(|byte| *byte == 0)
}

// ---- An existing pool ----

fn join(examined: Vec<Examined>, pool: PoolId, request: &Request) -> Result<Assembly> {
    let geometry = geometry_of(&examined, pool)?;
    if let Some(asked) = request.parity.filter(|asked| *asked != geometry.parity_chunks) {
        return Err(AssembleError::ParityFixed { parity: geometry.parity_chunks, asked });
    }
    let member = |index| Member {
        drive: DriveId(index),
        path: None,
        is_device: false,
        state: DriveState::Missing,
        superblock: None,
    };
    let mut members: Vec<Member> = (0..geometry.drives).map(member).collect();
    for drive in examined {
        seat(&mut members, drive)?;
    }
    let newest = members.iter().filter_map(|m| m.superblock.as_ref()).max_by_key(|s| (s.epoch, s.generation));
    let latched = newest.map(|superblock| superblock.latched.clone()).unwrap_or_default();
    for member in members.iter_mut().filter(|member| latched.contains(&member.drive)) {
        if member.state == DriveState::Healthy {
            member.state = DriveState::Latched;
            tracing::warn!(drive = %member.drive, "was latched before and stays out of service for writes");
        }
    }
    check_missing(&members, &geometry)?;
    Ok(Assembly { geometry, epoch: 0, members, fresh: false, locks: Vec::new() })
}

fn geometry_of(examined: &[Examined], pool: PoolId) -> Result<Geometry> {
    let mut geometry = None;
    for drive in examined {
        let Found::Member(superblock) = &drive.found else { continue };
        if superblock.geometry.pool != pool {
            let (path, found) = (drive.path.clone(), superblock.geometry.pool);
            return Err(AssembleError::OtherPool { path, found, expected: pool });
        }
        geometry = Some(superblock.geometry);
    }
    Ok(geometry.expect("the pool was found in one of them"))
}

fn seat(members: &mut [Member], drive: Examined) -> Result<()> {
    match drive.found {
        Found::Member(superblock) => {
            let seat = &mut members[usize::from(superblock.drive.0)];
            if let Some(taken) = &seat.path {
                let (a, b) = (taken.clone(), drive.path);
                return Err(AssembleError::Duplicate { drive: superblock.drive, a, b });
            }
            seat.path = Some(drive.path);
            seat.is_device = drive.is_device;
            seat.state = DriveState::Healthy;
            seat.superblock = Some(superblock);
        }
        Found::Blank => tracing::warn!(
            path = %drive.path.display(),
            "is empty, and is not taken for a member of the pool: it may be a mount that is missing"
        ),
        Found::Unusable(reason) => {
            tracing::error!(path = %drive.path.display(), reason, "cannot be used and counts as missing");
        }
    }
    Ok(())
}

fn check_missing(members: &[Member], geometry: &Geometry) -> Result<()> {
    let missing = members.iter().filter(|member| member.state == DriveState::Missing).count();
    let (drives, parity) = (members.len(), usize::from(geometry.parity_chunks));
    if missing > parity {
        return Err(AssembleError::TooManyMissing { missing, drives, parity });
    }
    Ok(())
}

// ---- A new pool ----

async fn format(
    world: &World,
    examined: Vec<Examined>,
    request: &Request,
    progress: &dyn Fn(u64, u64),
) -> Result<Assembly> {
    for drive in &examined {
        if let Found::Unusable(reason) = &drive.found {
            let (path, reason) = (drive.path.clone(), reason.clone());
            return Err(AssembleError::NotBlank { path, reason });
        }
    }
    let mut capacities = Vec::new();
    for drive in &examined {
        capacities.push(capacity(world, drive, &examined, request)?);
    }
    let geometry = new_geometry(world, request, &capacities)?;
    let (mut members, total) = (Vec::new(), examined.len() as u64 * SEGMENTS_OFFSET);
    for (index, (drive, capacity)) in examined.into_iter().zip(capacities).enumerate() {
        let segments = (capacity.saturating_sub(SEGMENTS_OFFSET) / geometry.segment_bytes) as u32;
        let mut uuid = [0; 16];
        world.random(&mut uuid);
        let superblock = Superblock {
            geometry,
            drive: DriveId(index as u16),
            uuid: u128::from_le_bytes(uuid),
            node: 0,
            segments,
            epoch: 0,
            generation: 0,
            latched: Vec::new(),
        };
        progress(index as u64 * SEGMENTS_OFFSET, total);
        prepare(world, &drive).await?;
        members.push(Member {
            drive: superblock.drive,
            path: Some(drive.path),
            is_device: drive.is_device,
            state: DriveState::Healthy,
            superblock: Some(superblock),
        });
    }
    progress(total, total);
    Ok(Assembly { geometry, epoch: 0, members, fresh: true, locks: Vec::new() })
}

/// Bytes the drive may use. Directories of one file system share what is free there.
fn capacity(world: &World, drive: &Examined, all: &[Examined], request: &Request) -> Result<u64> {
    let io = |source| AssembleError::Io { path: drive.path.clone(), source };
    let free = world.free_bytes(&drive.path).map_err(io)?;
    let bytes = match (drive.is_device, request.capacity) {
        (true, _) => free,
        (false, Some(asked)) => asked,
        (false, None) => {
            let sharing = all.iter().filter(|other| !other.is_device).count() as u64;
            free / 10 * 9 / sharing.max(1)
        }
    };
    if bytes < DRIVE_BYTES_MIN {
        return Err(AssembleError::TooSmall { path: drive.path.clone(), bytes });
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
        let text = format!("--parity {parity} needs at least {} drives", usize::from(parity) + 1);
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
async fn prepare(world: &World, drive: &Examined) -> Result<()> {
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

/// Writes the superblocks of every drive that is there with an epoch above any it has seen.
async fn begin_epoch(world: &World, assembly: &mut Assembly) -> Result<()> {
    let epoch = assembly.members.iter().filter_map(|m| m.superblock.as_ref()).map(|s| s.epoch).max();
    assembly.epoch = epoch.unwrap_or(0) + 1;
    let latched: Vec<DriveId> =
        assembly.members.iter().filter(|m| m.state == DriveState::Latched).map(|m| m.drive).collect();
    for member in &mut assembly.members {
        let (Some(path), Some(superblock)) = (&member.path, &mut member.superblock) else { continue };
        superblock.epoch = assembly.epoch;
        superblock.generation += 1;
        superblock.latched.clone_from(&latched);
        let (meta, _) = files(path, member.is_device);
        if let Err(source) = write_superblock(world, &meta, superblock).await {
            tracing::error!(path = %path.display(), error = %source, "cannot be written and counts as latched");
            member.state = DriveState::Latched;
        }
    }
    let unusable = assembly.members.iter().filter(|m| m.state != DriveState::Healthy).count();
    let (drives, parity) = (assembly.members.len(), usize::from(assembly.geometry.parity_chunks));
    if unusable > parity {
        return Err(AssembleError::TooManyMissing { missing: unusable, drives, parity });
    }
    Ok(())
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
