//! From drives to running cores: finds the pool, deals out shards and logs, opens each core.
//!
//! `find` runs once; what it gives is dealt into one seed a core, sent to the cores, and opened
//! there. Only when all are open does any begin: a shard that claims space must not meet one that has not yet said what
//! is its own. The number of cores may be another one at each start: shards and old log segments are
//! dealt out anew, nothing is rewritten.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::content::cache::BodyCache;
use super::core::{Bulletin, Common, Core, Job, Peers, Role};
use super::error::ObjectError;
use super::registry::buckets::BUCKET_SHARD;
use super::repair::board::Board;
use super::repair::spots::Spots;
use super::shard::Shard;
use super::tending::background::{Background, Duty, Foreman, Pulse};
use super::tending::pace::Urgency;
use super::tending::pressure::Pressure;
use super::tending::tend;
use crate::base::budget::BufferBudget;
use crate::base::ids::ShardId;
use crate::base::limits::{
    BACKGROUND_QUEUE_MAX, BLOCK_BYTES, CHUNK_BLOCKS, CHUNK_BLOCKS_MAX, CORE_QUEUE_MAX, LOG_BYTES_MAX,
    LOG_SEGMENTS_MIN, SYSTEM_SEGMENTS,
};
use crate::base::task;
use crate::catalog::cache::BlockCache;
use crate::catalog::log::{Apply, Log, Sealed};
use crate::catalog::record::{Operation, Sequence};
use crate::catalog::replay::{self, Recovered, ShardReplay};
use crate::catalog::usage::Usage;
use crate::catalog::value::LogPosition;
use crate::codec::erasure::ErasureCoder;
use crate::drive::device::{Drive, DriveShared, Drives};
use crate::drive::superblock::Geometry;
use crate::io::disk::Access;
use crate::io::world::World;
use crate::pool::Pool;
use crate::pool::format::{self, AssembleError, Assembly, Member, Request};
use crate::pool::logs::{LogDirectory, Logs};
use crate::pool::read::{Damage, ReadPath};
use crate::pool::segments::{SegmentTable, Slot};
use crate::pool::write::WritePath;

/// What the memory of one core is spent on, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPlan {
    /// Memtable of one shard, before it is written out.
    pub memtable: usize,
    /// Blocks of the catalog.
    pub blocks: u64,
    /// Bodies of small objects.
    pub bodies: u64,
    /// Buffers of requests under way.
    pub buffers: usize,
    /// Maps of free space, of all its shards.
    pub maps: usize,
    /// Buffers of the background core beside it.
    pub background: usize,
}

/// What all cores share; plain and cheap to clone.
#[derive(Clone)]
pub struct Shared {
    pub geometry: Geometry,
    pub epoch: u32,
    pub members: Arc<[Member]>,
    pub drives: Arc<[Arc<DriveShared>]>,
    pub tables: Arc<[SegmentTable]>,
    pub directory: LogDirectory,
    pub board: Arc<Board>,
}

/// The pool as it was found, before cores exist.
pub struct Opening {
    pub assembly: Assembly,
    pub shared: Shared,
    pub recovered: Recovered,
}

/// What one core begins with.
pub struct CoreSeed {
    pub index: usize,
    pub shared: Shared,
    pub peers: Peers,
    shards: Vec<ShardReplay>,
    sealed: Vec<Sealed>,
    inbox: mpsc::Receiver<Job>,
    news: mpsc::UnboundedReceiver<Job>,
}

/// What one background core begins with.
pub struct BackgroundSeed {
    pub index: usize,
    pub shared: Shared,
    pub peers: Peers,
    jobs: mpsc::Receiver<Job>,
}

/// What `deal` makes of a pool.
pub struct Dealt {
    pub assembly: Assembly,
    pub cores: Vec<CoreSeed>,
    /// One for each core.
    pub background: Vec<BackgroundSeed>,
}

/// A core whose shards have said which space is theirs, and have written nothing yet.
pub struct Opened {
    core: Rc<Core>,
    log: Rc<Log>,
    blocks: Rc<BlockCache>,
    inbox: mpsc::Receiver<Job>,
    news: mpsc::UnboundedReceiver<Job>,
}

/// A core at work.
pub struct Running {
    pub core: Rc<Core>,
    pub log: Rc<Log>,
    pub blocks: Rc<BlockCache>,
    writer: JoinHandle<()>,
    preparer: JoinHandle<()>,
    /// Ends by itself when the log is closed; a write it began must not be left behind.
    upkeep: Vec<JoinHandle<()>>,
    peers: JoinHandle<()>,
}

/// Finds or makes the pool and reads what recovery needs.
/// `progress` hears of bytes done and to do while new drives are zero-filled.
pub async fn find(
    world: &World,
    request: &Request,
    progress: &dyn Fn(u64, u64),
) -> Result<Opening, AssembleError> {
    let assembly = format::assemble(world, request, progress).await?;
    let seated = |path: &PathBuf| assembly.members.iter().any(|member| member.path.as_ref() == Some(path));
    let name = |member: &Member| match (&member.path, request.paths.get(usize::from(member.drive.0))) {
        (Some(path), _) => path.display().to_string(),
        // Drives are usually named in the order of the first start.
        (None, Some(path)) if !seated(path) => format!("{} (missing)", path.display()),
        _ => format!("drive {} (missing)", member.drive),
    };
    let drives: Arc<[Arc<DriveShared>]> = assembly
        .members
        .iter()
        .map(|member| DriveShared::new(member.drive, name(member), member.condition))
        .collect();
    let members: Arc<[Member]> = assembly.members.clone().into();
    for (member, drive) in members.iter().zip(drives.iter()) {
        member.superblock.iter().for_each(|superblock| drive.identify(superblock.uuid));
        member.trouble.iter().for_each(|trouble| drive.health.explain(trouble));
    }
    let shared = Shared {
        geometry: assembly.geometry,
        epoch: assembly.epoch,
        members,
        drives,
        tables: Arc::new([]),
        directory: LogDirectory::default(),
        board: Arc::default(),
    };
    let pool = open_pool(world, &shared);
    let mut scans = Vec::new();
    for member in assembly.members.iter().filter(|member| !member.condition.is_missing()) {
        let segments = member.superblock.as_ref().map_or(0, |superblock| superblock.segments);
        scans.push(replay::scan_drive(&pool, member.drive, segments, member.is_device).await);
    }
    let recovered = replay::recover(&pool, &mut scans).await?;
    shared.board.remember(assembly.scrubbed);
    let mirrors = (usize::from(pool.geometry.parity_chunks) + 1).min(pool.in_service().count());
    let is_thin = recovered.logs.iter().any(|(_, found)| found.len() < mirrors);
    if is_thin || recovered.is_thin || members_rebuild(&assembly) {
        shared.board.demand();
    }
    for (sealed, mirrors) in &recovered.logs {
        shared.directory.insert(sealed.id, mirrors.clone().into());
    }
    let slots = |member: &Member| {
        let scan = scans.iter().find(|scan| scan.drive == member.drive);
        let mut slots = scan.map(|scan| scan.slots.clone()).unwrap_or_default();
        if member.condition.is_rebuilding() {
            keep_for_owners(&mut slots);
        }
        SegmentTable::new(member.drive, slots, SYSTEM_SEGMENTS)
    };
    let tables = assembly.members.iter().map(slots).collect();
    let shared = Shared { tables, ..shared };
    Ok(Opening { assembly, shared, recovered })
}

/// On a drive that is filled again headers are missing from segments that shards own. Nobody may claim one before all
/// shards have said what is theirs.
fn keep_for_owners(slots: &mut [Slot]) {
    slots.iter_mut().filter(|slot| **slot == Slot::Untouched).for_each(|slot| *slot = Slot::Damaged);
}

fn members_rebuild(assembly: &Assembly) -> bool {
    assembly.members.iter().any(|member| member.condition.is_rebuilding())
}

/// One core's handles on the drives. A drive that cannot be opened is lost: it was there a moment ago. One that can be
/// opened for reading alone, as on a file system that has become read-only, is latched and read.
fn open_pool(world: &World, shared: &Shared) -> Pool {
    let open = |(member, state): (&Member, &Arc<DriveShared>)| {
        let Some(path) = member.path.as_ref().filter(|_| !member.condition.is_missing()) else {
            return Drive::missing(state.clone());
        };
        let (meta, data) = format::files(path, member.is_device);
        let files = |of_meta: Access, of_data: Access| -> std::io::Result<_> {
            Ok((world.open(&meta, false, of_meta)?, world.open(&data, false, of_data)?))
        };
        match files(Access::DirectSync, Access::Direct) {
            Ok((meta, data)) => Drive::new(state.clone(), meta, data),
            Err(error) => match files(Access::ReadOnly, Access::ReadOnly) {
                Ok((meta, data)) => {
                    state.health.latch(&format!("it cannot be opened for writing: {error}"));
                    Drive::new(state.clone(), meta, data)
                }
                Err(_) => {
                    state.health.lose(&error.to_string());
                    Drive::missing(state.clone())
                }
            },
        }
    };
    let drives = Drives::new(shared.members.iter().zip(shared.drives.iter()).map(open).collect());
    Pool {
        geometry: shared.geometry,
        epoch: shared.epoch,
        drives,
        tables: shared.tables.clone(),
        world: world.clone(),
    }
}

/// Deals shards and old log segments out to `cores` cores, each with a background core beside it.
pub fn deal(opening: Opening, cores: usize) -> Dealt {
    assert!(cores > 0);
    let Opening { assembly, shared, recovered } = opening;
    let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(CORE_QUEUE_MAX)).unzip();
    let (news, heard): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::unbounded_channel()).unzip();
    let (background, jobs): (Vec<_>, Vec<_>) =
        (0..cores).map(|_| mpsc::channel(BACKGROUND_QUEUE_MAX)).unzip();
    let shards = usize::from(shared.geometry.shards);
    let owners = (0..shards).map(|shard| shard % cores).collect();
    let bells = (0..shards).map(|_| Notify::new()).collect();
    let pulses = (0..cores).map(|_| Pulse::default()).collect();
    let (inboxes, background) = (inboxes.into(), background.into());
    let begun = tokio::time::Instant::now();
    let peers = Peers { inboxes, background, pulses, news: news.into(), owners, bells, begun };
    let seed = |(index, (inbox, news))| CoreSeed {
        index,
        shared: shared.clone(),
        peers: peers.clone(),
        shards: Vec::new(),
        sealed: Vec::new(),
        inbox,
        news,
    };
    let mut seeds: Vec<CoreSeed> = receivers.into_iter().zip(heard).enumerate().map(seed).collect();
    for (shard, replay) in recovered.shards {
        seeds[peers.owners[usize::from(shard.0)]].shards.push(replay);
    }
    // A core without shards is asked for nothing, so nobody would learn what its log segments lack. Those with room
    // go round first: on full drives every core may need one (`catalog::log::resume`).
    let mut sealed: Vec<Sealed> = recovered.logs.into_iter().map(|(sealed, _)| sealed).collect();
    sealed.sort_by_key(|sealed| (!sealed.is_whole, sealed.bytes));
    for (index, sealed) in sealed.into_iter().enumerate() {
        seeds[peers.owners[index % shards]].sealed.push(sealed);
    }
    seeds.iter_mut().for_each(|seed| seed.sealed.sort_by_key(|sealed| sealed.id));
    let background = |(index, jobs)| {
        let (shared, peers) = (shared.clone(), peers.clone());
        BackgroundSeed { index, shared, peers, jobs }
    };
    let background = jobs.into_iter().enumerate().map(background).collect();
    Dealt { assembly, cores: seeds, background }
}

/// Opens the shards of a core, as the drives and the log have them.
pub async fn open_core(world: &World, seed: CoreSeed, memory: MemoryPlan) -> Result<Opened, ObjectError> {
    let pool = Rc::new(open_pool(world, &seed.shared));
    let geometry = pool.geometry;
    let logs = Logs::new(pool.clone(), seed.shared.directory.clone());
    let segments_max = log_segments_max(&pool, seed.peers.inboxes.len());
    let log = Log::new(pool.clone(), logs, seed.index as u8, seed.sealed, segments_max);
    let common = Common::default();
    let (index, peers) = (seed.index, seed.peers);
    let bulletin = Rc::new(Bulletin { index, peers: peers.clone(), common: common.clone() });
    let blocks = BlockCache::new(memory.blocks);
    let foreman = Foreman::new(peers.clone(), index);
    let mut shards: Vec<Option<Rc<Shard>>> = (0..geometry.shards).map(|_| None).collect();
    let maps = memory.maps / seed.shards.len().max(1);
    for replay in seed.shards {
        let at = usize::from(replay.manifest.shard.0);
        let upkeep = (foreman.clone(), Pressure::new(memory.memtable));
        let (log, blocks) = (log.clone(), blocks.clone());
        let opened = Shard::open(pool.clone(), log, bulletin.clone(), blocks, upkeep, replay, maps);
        shards[at] = Some(opened.await?);
    }
    let home = Home { index, role: Role::Data, peers, foreman, shards, common };
    let core = build_core(home, pool, &seed.shared, memory.buffers, memory.bodies, 0);
    Ok(Opened { core, log, blocks, inbox: seed.inbox, news: seed.news })
}

impl Opened {
    /// Begins the epoch and starts the log and its upkeep. All cores must be opened by then: what is written here takes
    /// space that belongs to nobody, so all shards must have said what is theirs.
    pub async fn begin(self) -> Result<Running, ObjectError> {
        let Opened { core, log, blocks, inbox, news } = self;
        core.pool.tables.iter().for_each(SegmentTable::settle);
        log.admission().begin();
        for shard in core.shards.iter().flatten() {
            shard.begin_epoch().await?;
        }
        let writer = task::spawn_vital("log writer", write_log(log.clone(), core.clone()));
        let peers = task::spawn_vital("inbox", core.clone().serve_peers(inbox, news));
        let preparer = task::spawn_vital("log segments", log.clone().prepare_segments());
        let packing = Urgency::default();
        let mut upkeep = vec![
            task::spawn_vital("emptying", tend::tend_log(core.clone(), log.clone(), packing.clone())),
            task::spawn_vital("pressure", tend::tend_pressure(core.clone(), log.clone(), packing)),
            task::spawn_vital("packs", tend::tend_packs(core.clone(), log.clone())),
        ];
        for shard in core.shards.iter().flatten() {
            upkeep.push(task::spawn_vital("garbage", tend::tend_garbage(shard.clone())));
            upkeep.push(task::spawn_vital("checkpoints", tend::tend_memtable(shard.clone())));
            upkeep.push(task::spawn_vital("merges", tend::tend_runs(shard.clone())));
        }
        core.foreman.open();
        Ok(Running { core, log, blocks, writer, preparer, upkeep, peers })
    }
}

/// Blocks in a chunk of a large object: less where segments are small, since what is left of a segment behind its
/// last chunk is for smaller objects only.
fn large_chunk_blocks(segment_bytes: u64) -> usize {
    let sixteenth = segment_bytes as usize / BLOCK_BYTES / 16;
    sixteenth.clamp(CHUNK_BLOCKS, CHUNK_BLOCKS_MAX)
}

/// Log segments one core may fill: what recovery reads quickly, and no more than a quarter of the
/// drives.
fn log_segments_max(pool: &Pool, cores: usize) -> usize {
    let segments: usize = pool.tables.iter().map(SegmentTable::len).sum();
    let mirrors = usize::from(pool.geometry.parity_chunks) + 1;
    let quick = (LOG_BYTES_MAX / pool.geometry.segment_bytes) as usize;
    quick.min(segments / 4 / mirrors / cores).max(LOG_SEGMENTS_MIN)
}

/// A core without shards, and its queue.
pub(super) fn build_background(
    world: &World,
    seed: BackgroundSeed,
    memory: MemoryPlan,
) -> (Rc<Core>, mpsc::Receiver<Job>) {
    let BackgroundSeed { index, shared, peers, jobs } = seed;
    let pool = Rc::new(open_pool(world, &shared));
    let shards = (0..pool.geometry.shards).map(|_| None).collect();
    let foreman = Foreman::new(peers.clone(), index);
    let home = Home { index, role: Role::Background, peers, foreman, shards, common: Common::default() };
    let merging = Background::merging(&memory);
    let core = build_core(home, pool, &shared, memory.background - merging, 0, merging);
    (core, jobs)
}

/// What makes a core this one.
struct Home {
    index: usize,
    role: Role,
    peers: Peers,
    foreman: Rc<Foreman>,
    shards: Vec<Option<Rc<Shard>>>,
    common: Common,
}

/// Says what readers find, not more often than once a second: a drive that fails does so at every block. Holes of
/// a drive that is filled again are as expected.
fn damage_teller(drives: Drives) -> Box<dyn Fn(&Damage)> {
    let told = Cell::new(None::<Instant>);
    let unsaid = Cell::new(0u64);
    Box::new(move |damage| {
        let Damage { address, row, cause, .. } = damage;
        let is_expected = drives.get(address.drive).is_ok_and(|drive| drive.condition().is_rebuilding());
        let is_soon = told.get().is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if is_expected || is_soon {
            tracing::debug!(?address, row, ?cause, "damaged block");
            unsaid.set(unsaid.get() + u64::from(!is_expected));
            return;
        }
        told.set(Some(Instant::now()));
        tracing::warn!(?address, row, ?cause, others = unsaid.replace(0), "damaged block");
    })
}

/// `buffers`, `bodies` and `merging` are bytes of memory.
fn build_core(
    home: Home,
    pool: Rc<Pool>,
    shared: &Shared,
    buffers: usize,
    bodies: u64,
    merging: usize,
) -> Rc<Core> {
    let Home { index, role, peers, foreman, shards, common } = home;
    let geometry = pool.geometry;
    let (k, m) = (usize::from(geometry.data_chunks), usize::from(geometry.parity_chunks));
    let coder = Rc::new(ErasureCoder::new(k, m));
    // A reader holds what a slow client has not taken; it must not starve writers.
    let (writing, reading) = (BufferBudget::new(buffers / 2), BufferBudget::new(buffers / 2));
    let on_damage = damage_teller(pool.drives.clone());
    let (drives, id) = (pool.drives.clone(), geometry.pool);
    let writer =
        |blocks: usize| WritePath::new(drives.clone(), coder.clone(), id, blocks as u16, writing.clone());
    Rc::new(Core {
        index,
        role,
        foreman,
        duty: Duty::new(merging),
        peers,
        shards,
        common,
        reads: ReadPath::new(drives.clone(), coder.clone(), id, reading, on_damage),
        writes: writer(CHUNK_BLOCKS),
        writes_large: writer(large_chunk_blocks(geometry.segment_bytes)),
        logs: shared.directory.clone(),
        bodies: BodyCache::new(bodies),
        spots: Spots::default(),
        board: shared.board.clone(),
        turn: Cell::default(),
        reporter: RefCell::default(),
        pool,
    })
}

/// Writes the log; it has ended when no safe set of drives is left.
async fn write_log(log: Rc<Log>, core: Rc<Core>) {
    log.clone().run(core.clone()).await;
    if log.is_stopped() {
        core.board.stop();
    }
}

impl Apply for Core {
    fn apply(&self, shard: ShardId, sequence: Sequence, operations: Vec<Operation>, body: LogPosition) {
        let shard = self.local(shard).expect("a core's log holds records of its own shards");
        shard.apply(sequence, operations, body);
    }
}

impl Running {
    /// Whether this core decides about buckets.
    fn has_buckets(&self) -> bool {
        self.core.local(BUCKET_SHARD).is_some()
    }

    /// Tells every core which buckets and identities there are. All cores must be at work by then.
    pub async fn announce_buckets(&self) -> Result<(), ObjectError> {
        if !self.has_buckets() {
            return Ok(());
        }
        let shard = self.core.local(BUCKET_SHARD).expect("asked above").clone();
        shard.announce_identities().await?;
        // No bucket is known yet, so nothing changes meanwhile.
        shard.announce_buckets(&self.usages().await?).await
    }

    /// What buckets hold in all shards, by id; of one moment only while nobody writes.
    pub async fn usages(&self) -> Result<BTreeMap<u64, Usage>, ObjectError> {
        let mut sums: BTreeMap<u64, Usage> = BTreeMap::new();
        for shard in (0..self.core.shard_count()).map(ShardId) {
            let mut after = None;
            loop {
                let page = self.core.on_shard(shard, move |shard| shard.usages(after)).await?;
                let Some(last) = page.keys().next_back() else { break };
                after = Some(*last);
                page.into_iter().for_each(|(bucket, usage)| *sums.entry(bucket).or_default() += usage);
            }
        }
        Ok(sums)
    }

    /// Adds work that ends by itself when the board says that the server stops.
    pub fn tend(&mut self, work: impl Future<Output = ()> + 'static) {
        self.upkeep.push(task::spawn(work));
    }

    /// Writes everything out and ends. Nothing may be asked of this core any more. Upkeep goes
    /// first, because it commits; then the shards, and the log last.
    pub async fn shut_down(self) {
        self.log.close();
        self.core.board.close();
        self.core.spots.wake();
        for task in self.upkeep {
            let _ = task.await;
        }
        self.core.foreman.close();
        for shard in self.core.shards.iter().flatten() {
            while shard.flushed() < shard.applied() {
                if let Err(error) = shard.checkpoint().await {
                    tracing::warn!(shard = %shard.id, %error, "not checkpointed: the next start replays its log");
                    break;
                }
            }
        }
        self.log.finish();
        let _ = self.writer.await;
        let _ = self.preparer.await;
        self.peers.abort();
    }
}
