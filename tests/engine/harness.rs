//! A store on a simulated world, and the model it is compared with.
//!
//! The store is the real engine with all its cores, one to three of them and another number at each start; only
//! the drives and the clock are simulated. Cores are tasks of one thread here: what they share is what threads
//! share, since everything else of a core is `Rc` and goes nowhere without its inbox. Requests go to the cores
//! in turn, so most of them land beside the owner of their key. Memtables are tiny, so that checkpoints, merges
//! and packing happen within a few hundred operations.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use basalt::base::ids::ShardId;
use basalt::base::join::join_all;
use basalt::io::sim::SimWorld;
use basalt::object::core::Core;
use basalt::object::decisions::condition::Conditions;
use basalt::object::error::ObjectError;
use basalt::object::open::{self, MemoryPlan, Opened, Running, Shared};
use basalt::object::shard::Shard;
use basalt::object::store::{Commit, ListEntry, ListQuery, Store, VersionQuery};
use basalt::object::tending::background::{Background, open_background};
use basalt::pool::format::Request;
use basalt::upkeep::{self, Patience};
use bytes::Bytes;
use tokio::task::LocalSet;

pub const BUCKET: &str = "bucket";
pub const MEMORY: MemoryPlan = MemoryPlan {
    memtable: 64 << 10,
    blocks: 1 << 20,
    bodies: 64 << 10,
    buffers: 32 << 20,
    background: 8 << 20,
    maps: 1 << 10,
};
/// Room for two shards.
pub const CAPACITY: u64 = 640 << 20;
/// Room for four.
pub const CAPACITY_WIDE: u64 = 1100 << 20;

/// Runs a test in simulated time.
pub fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(test));
}

pub fn paths(drives: usize) -> Vec<PathBuf> {
    (0..drives).map(|drive| PathBuf::from(format!("/d{drive}"))).collect()
}

pub fn world(seed: u64, drives: usize) -> SimWorld {
    let sim = SimWorld::new(seed);
    paths(drives).into_iter().for_each(|path| sim.add_disk(path, 4 << 30));
    sim
}

pub fn request(drives: usize, parity: u8) -> Request {
    Request { paths: paths(drives), parity: Some(parity), capacity: Some(CAPACITY), shards: 4, adopt: false }
}

/// The same on drives large enough for a shard on every core.
pub fn wide_request(drives: usize, parity: u8) -> Request {
    Request { capacity: Some(CAPACITY_WIDE), ..request(drives, parity) }
}

/// A store that runs until it is stopped or the world is cut.
pub struct Server {
    pub shared: Shared,
    pub cores: Vec<Running>,
    /// One beside each of the cores.
    pub background: Vec<Background>,
    stores: Vec<Store>,
    turn: Cell<usize>,
}

/// Starts a store on blank drives, with the bucket of the tests.
pub async fn fresh_on(sim: &SimWorld, request: &Request) -> Server {
    with_bucket(start(sim, request).await.expect("a fresh pool")).await
}

/// A world of four drives, and a store on them that survives the loss of two.
pub async fn fresh_pool(seed: u64) -> (SimWorld, Server) {
    let sim = world(seed, 4);
    let server = fresh_on(&sim, &request(4, 2)).await;
    (sim, server)
}

/// The same with so many cores.
pub async fn fresh_on_cores(sim: &SimWorld, request: &Request, cores: usize) -> Server {
    with_bucket(start_on_cores(sim, request, cores).await.expect("a fresh pool")).await
}

async fn with_bucket(server: Server) -> Server {
    server.store().create_bucket(BUCKET, "r", "o").await.expect("a bucket");
    server
}

/// Starts a store; an error when the world does not let it. How many cores it has follows from the seed of
/// the world.
pub async fn start(sim: &SimWorld, request: &Request) -> Result<Server, String> {
    let cores = 1 + sim.world().random_u64() as usize % CORES_MAX;
    start_on_cores(sim, request, cores).await
}

pub const CORES_MAX: usize = 3;

pub async fn start_on_cores(sim: &SimWorld, request: &Request, cores: usize) -> Result<Server, String> {
    start_with(sim, request, cores, Patience::default()).await
}

pub async fn start_with(
    sim: &SimWorld,
    request: &Request,
    cores: usize,
    patience: Patience,
) -> Result<Server, String> {
    eprintln!("a start with {cores} cores");
    let opening = open::find(&sim.world(), request, &|_, _| {}).await.map_err(|error| error.to_string())?;
    let dealt = open::deal(opening, cores);
    let shared = dealt.cores[0].shared.clone();
    let background: Vec<Background> =
        dealt.background.into_iter().map(|seed| open_background(&sim.world(), seed, MEMORY)).collect();
    let world = sim.world();
    let opened = join_all(dealt.cores.into_iter().map(|seed| open::open_core(&world, seed, MEMORY))).await;
    let opened: Result<Vec<Opened>, ObjectError> = opened.into_iter().collect();
    let opened = opened.map_err(|error| error.to_string())?;
    let begun = join_all(opened.into_iter().map(Opened::begin)).await;
    let begun: Result<Vec<Running>, ObjectError> = begun.into_iter().collect();
    let mut cores = begun.map_err(|error| error.to_string())?;
    let announced = join_all(cores.iter().map(Running::announce_buckets)).await;
    announced.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())?;
    cores.iter_mut().for_each(upkeep::start);
    upkeep::start_for_all(&mut cores[0], shared.clone(), patience);
    let stores = cores.iter().map(|running| Store::new(running.core.clone())).collect();
    Ok(Server { shared, cores, background, stores, turn: Cell::default() })
}

/// Bytes that tell which object and which write of it they belong to.
pub fn body(key: &str, version: u64, size: usize) -> Bytes {
    let mut state = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ size as u64;
    key.bytes().for_each(|byte| state = state.rotate_left(7) ^ u64::from(byte));
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out.into()
}

impl Server {
    /// The store as the next core has it.
    pub fn store(&self) -> &Store {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        &self.stores[turn % self.stores.len()]
    }

    /// One of the data cores.
    pub fn core(&self) -> &Rc<Core> {
        &self.cores[0].core
    }

    /// The shards of all cores.
    pub fn shards(&self) -> impl Iterator<Item = &Rc<Shard>> {
        self.cores.iter().flat_map(|running| running.core.shards.iter().flatten())
    }

    /// The core that owns a shard, and that shard.
    pub fn owner(&self, shard: ShardId) -> (&Rc<Core>, &Rc<Shard>) {
        let cores = self.cores.iter().map(|running| &running.core);
        cores.filter_map(|core| Some((core, core.local(shard)?))).next().expect("every shard has an owner")
    }

    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), ObjectError> {
        let mut writer = self.store().put(BUCKET, key, Some(body.len() as u64)).await?;
        for start in (0..body.len()).step_by(100_000) {
            writer.write(body.slice(start..(start + 100_000).min(body.len()))).await?;
        }
        writer.commit(Commit::default()).await.map(drop)
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let object = match self.store().open(BUCKET, key).await {
            Ok(object) => object,
            Err(ObjectError::NoSuchKey) => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = object.meta().size;
        let mut stream = object.stream(0..size);
        let mut out = Vec::new();
        while let Some(bytes) = stream.next().await {
            out.extend_from_slice(&bytes?);
        }
        Ok(Some(out.into()))
    }

    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.store().delete(BUCKET, key, Conditions::default()).await.map(drop)
    }

    /// All keys with their sizes, in several pages.
    pub async fn keys(&self) -> Vec<(String, u64)> {
        self.try_keys(7).await.expect("a listing")
    }

    /// The same with `limit` keys a page.
    pub async fn try_keys(&self, limit: usize) -> Result<Vec<(String, u64)>, ObjectError> {
        let (mut keys, mut after) = (Vec::new(), String::new());
        loop {
            let query = ListQuery {
                bucket: BUCKET.into(),
                prefix: String::new(),
                delimiter: String::new(),
                after: after.clone(),
                limit,
            };
            let page = self.store().list(query).await?;
            for entry in page.entries {
                let ListEntry::Object(object) = entry else { panic!("no delimiter was given") };
                after.clone_from(&object.key);
                keys.push((object.key, object.size));
            }
            if !page.truncated {
                return Ok(keys);
            }
        }
    }

    /// Everything in the model is there and nothing else.
    pub async fn check(&self, model: &BTreeMap<String, Bytes>) {
        let expected: Vec<(String, u64)> =
            model.iter().map(|(key, body)| (key.clone(), body.len() as u64)).collect();
        assert_eq!(self.keys().await, expected);
        for (key, body) in model {
            let found = self.get(key).await.unwrap_or_else(|error| panic!("{key}: {error}"));
            assert!(found.as_ref() == Some(body), "{key} reads back wrong");
        }
    }

    /// Waits for a full scrub that begins after now.
    pub async fn scrub(&self) {
        self.shared.board.demand();
        self.scrubbed().await;
    }

    /// Waits until no scrub is owed or under way, and no drive is being rebuilt.
    pub async fn scrubbed(&self) {
        let (board, drives) = (&self.shared.board, &self.shared.drives);
        let is_done = || {
            let is_idle = !board.is_demanded() && !board.is_running();
            is_idle && !drives.iter().any(|drive| drive.is_rebuilding())
        };
        until("the scrub to end", is_done).await;
        let no_spots = || self.cores.iter().all(|running| running.core.spots.is_empty());
        until("repairs to end", no_spots).await;
    }

    pub async fn stop(self) {
        let Server { cores, background, stores, .. } = self;
        drop(stores);
        let cores = join_all(cores.into_iter().map(Running::shut_down));
        let background = join_all(background.into_iter().map(Background::shut_down));
        tokio::join!(cores, background);
    }
}

/// Lets simulated time pass until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tick.tick().await;
    }
    panic!("waited in vain for {what}");
}

/// All versions of a bucket, so many a page.
pub fn versions_of(bucket: &str, limit: usize) -> VersionQuery {
    VersionQuery {
        bucket: bucket.into(),
        prefix: String::new(),
        delimiter: String::new(),
        key_marker: String::new(),
        version_id_marker: String::new(),
        limit,
    }
}

/// A small deterministic source of choices.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Sizes around every boundary of the format.
    pub fn size(&mut self) -> usize {
        let sizes = [0, 1, 100, 4096, 16_384, 16_385, 65_456, 65_457, 130_912, 131_000, 700_000, 2_200_000];
        sizes[self.below(sizes.len() as u64) as usize]
    }
}
