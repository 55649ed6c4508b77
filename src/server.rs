//! Builds every layer bottom-up and runs the cores until told to stop.
//!
//! The main thread finds the pool, starts one pinned thread a core, waits until all of them serve,
//! and then accepts connections and hands each to the core that has the fewest. On SIGTERM or
//! SIGINT it stops accepting, lets the cores finish what is in flight within a bound, and only when
//! all of them have, lets them write everything out: until then a core may need another one.

/// Takes connections and deals them out.
mod accept;
/// One data thread.
mod core;
/// One background thread.
mod background;
/// Whether it can serve and commit.
pub mod readiness;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::admin::credentials::{self, CredentialsError, Established};
use crate::admin::notify;
use crate::admin::progress::Progress;
use crate::base::limits::{ACCEPT_QUEUE_MAX, MEMTABLE_BYTES_MAX, MEMTABLE_BYTES_MIN, SPACE_MAPS_SHARE};
use crate::base::metrics::RecoveryMetrics;
use crate::base::time::Nanos;
use crate::catalog::identity::KeyValue;
use crate::config::{Config, Cores, CredentialsChoice};
use crate::io::runtime::{self, IoKind};
use crate::io::topology;
use crate::io::world::World;
use crate::object::open::{self, BackgroundSeed, CoreSeed, MemoryPlan, Opening};
use crate::pool::format::{AssembleError, Assembly, Request};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; {}", how_to_listen(.source))]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("disk I/O does not work: {0}; try --io threads")]
    Io(std::io::Error),
    #[error(transparent)]
    Pool(#[from] AssembleError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("processor {asked} is not one this process may run on, which are {}; change --cores", listed(.allowed))]
    Core { asked: usize, allowed: Vec<usize> },
    #[error(
        "core {index} could not open what is stored: {reason}; start with every drive of the pool, or bring it back from a copy"
    )]
    Open { index: usize, reason: String },
    #[error("a thread could not be started: {0}; raise the limit of processes, or lower --cores")]
    Thread(std::io::Error),
}

fn how_to_listen(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another program listens there: stop it, or choose another with --listen"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one it has with --listen"
        }
        std::io::ErrorKind::PermissionDenied => "this user may not: choose a port above 1023 with --listen",
        _ => "choose another address with --listen",
    }
}

fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// Where the life of the server stands; every core follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Each core finds what is its own.
    Opening,
    /// All have; each begins its epoch.
    Beginning,
    Serving,
    /// No new requests; those in flight are finished.
    Draining,
    /// Everything is written out.
    Closing,
}

/// What every core is told of the process.
#[derive(Clone)]
pub struct Facts {
    pub config: Arc<Config>,
    pub root: credentials::Credentials,
    /// The same as a key of its account, which all cores share.
    pub root_key: KeyValue,
    pub io: IoKind,
    pub cores: usize,
    pub started: Instant,
    pub startup_us: Arc<std::sync::atomic::AtomicU64>,
    pub recovery: RecoveryMetrics,
    pub memory: MemoryPlan,
    /// Open connections of each core.
    pub connections: Arc<[AtomicUsize]>,
    pub refused: Arc<AtomicUsize>,
    /// How many of its connections a core is to close.
    pub crowded: Arc<[Semaphore]>,
    pub phase: watch::Receiver<Phase>,
}

/// Main's ends of the channels to one core.
struct CoreHandle {
    index: usize,
    streams: mpsc::Sender<std::net::TcpStream>,
    opened: oneshot::Receiver<Result<(), String>>,
    begun: oneshot::Receiver<Result<(), String>>,
    announced: oneshot::Receiver<Result<(), String>>,
    drained: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

/// All threads that work, and how they are told what time it is.
struct Threads {
    handles: Vec<CoreHandle>,
    background: Vec<std::thread::JoinHandle<()>>,
    phase: watch::Sender<Phase>,
}

/// Serves until told to stop.
pub fn run(config: Config) -> Result<(), StartError> {
    let started = Instant::now();
    let io = runtime::probe(config.io).map_err(StartError::Io)?;
    tracing::info!(io = io.name(), "disk I/O is ready");
    let processors = processors(&config.cores)?;
    let listen = |source| StartError::Listen { address: config.listen, source };
    let socket = accept::bind(config.listen).map_err(listen)?;
    let (opening, established) = find(io, &config)?;
    describe(&opening, started);
    let recovery = recovery_metrics(&opening, started);
    let open::Dealt { assembly, cores, background } = open::deal(opening, processors.len());
    let (phase, follow) = watch::channel(Phase::Opening);
    let facts = Facts {
        memory: plan(&config, processors.len(), usize::from(assembly.geometry.shards)),
        config: Arc::new(config),
        root: established.credentials.clone(),
        root_key: root_key(&established.credentials),
        io,
        cores: processors.len(),
        started,
        startup_us: Arc::default(),
        recovery,
        connections: processors.iter().map(|_| AtomicUsize::new(0)).collect(),
        refused: Arc::default(),
        crowded: processors.iter().map(|_| Semaphore::new(0)).collect(),
        phase: follow,
    };
    let background = start_background(&facts, background, &processors)?;
    let handles = start_cores(&facts, cores, &processors)?;
    let cores = Threads { handles, background, phase };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    runtime.block_on(serve(facts, cores, socket, established, assembly))
}

fn processors(cores: &Cores) -> Result<Vec<usize>, StartError> {
    let allowed = topology::cores_by_queue();
    match cores {
        Cores::All => Ok(allowed),
        Cores::Count(count) => Ok(allowed.into_iter().take(*count).collect()),
        Cores::List(list) => match list.iter().find(|core| !allowed.contains(core)) {
            Some(core) => Err(StartError::Core { asked: *core, allowed }),
            None => Ok(list.clone()),
        },
    }
}

fn find(io: IoKind, config: &Config) -> Result<(Opening, Established), StartError> {
    let request = Request {
        paths: config.drives.clone(),
        parity: config.parity,
        capacity: config.capacity_bytes,
        shards: config.shards,
        adopt: config.adopt,
    };
    runtime::run(io, |world: World| async move {
        let progress = Progress::new("zero-filling the drives", std::io::stderr().is_terminal());
        let report = |done, total| progress.report(done, total);
        let opening = open::find(&world, &request, &report).await?;
        drop(progress);
        let established = match &config.credentials {
            CredentialsChoice::Given(given) => {
                Established { credentials: given.clone(), path: Default::default(), created: false }
            }
            CredentialsChoice::File(path) => {
                credentials::establish(std::slice::from_ref(path), &mut |bytes| world.random(bytes))?
            }
            CredentialsChoice::WithDrives => {
                credentials::establish(&credentials::places(&config.drives), &mut |bytes| {
                    world.random(bytes)
                })?
            }
        };
        Ok((opening, established))
    })
}

/// The key of the server's own root.
fn root_key(root: &credentials::Credentials) -> KeyValue {
    KeyValue::new(root.access_key.clone(), root.secret_key.clone(), Nanos(0))
}

/// A line a step, and what the pool protects against.
fn describe(opening: &Opening, started: Instant) {
    let geometry = &opening.shared.geometry;
    let (data, parity) = (geometry.data_chunks, geometry.parity_chunks);
    let missing = opening.shared.members.iter().filter(|m| !m.condition.is_in_service()).count();
    let what = if opening.assembly.fresh { "formatted a new pool" } else { "found the pool" };
    tracing::info!(pool = %geometry.pool, drives = geometry.drives, missing, "{what}: {data}+{parity}");
    match parity {
        0 => tracing::warn!("no redundancy: the loss of one drive loses everything on it"),
        m => tracing::info!("survives power loss and the loss of any {m} of {} drives", geometry.drives),
    }
    let records: usize = opening.recovered.shards.values().map(|shard| shard.records.len()).sum();
    let (segments, bytes) = (opening.recovered.logs.len(), opening.recovered.log_bytes);
    let elapsed_ms = started.elapsed().as_millis() as u64;
    tracing::info!(segments, bytes, records, elapsed_ms, "read the log");
}

fn recovery_metrics(opening: &Opening, started: Instant) -> RecoveryMetrics {
    let records: usize = opening.recovered.shards.values().map(|shard| shard.records.len()).sum();
    RecoveryMetrics {
        log_segments: opening.recovered.logs.len() as u64,
        records_replayed: records as u64,
        bytes_read: opening.recovered.log_bytes,
        duration_us: started.elapsed().as_micros() as u64,
    }
}

/// Spends the memory, in sixteenths: two on memtables (two of each shard), three on blocks of the catalog, three on
/// buffers of transfers, one on those of background work, and a sixth of all on bodies unless said otherwise. Maps of
/// free space, documents, connections and lines of access logs have their shares in `base::limits`.
fn plan(config: &Config, cores: usize, shards: usize) -> MemoryPlan {
    let memory = config.memory_bytes;
    let each = cores as u64;
    let memtable = (memory / 16 / shards as u64).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
    MemoryPlan {
        memtable: memtable as usize,
        blocks: memory / 16 * 3 / each,
        bodies: config.read_cache_bytes / each,
        buffers: (memory / 16 * 3 / each) as usize,
        maps: (memory / SPACE_MAPS_SHARE / each) as usize,
        background: (memory / 16 / each) as usize,
    }
}

fn start_cores(
    facts: &Facts,
    seeds: Vec<CoreSeed>,
    processors: &[usize],
) -> Result<Vec<CoreHandle>, StartError> {
    let mut handles = Vec::new();
    for (seed, processor) in seeds.into_iter().zip(processors.iter().copied()) {
        let index = seed.index;
        let (streams, incoming) = mpsc::channel(ACCEPT_QUEUE_MAX);
        let (tell_opened, opened) = oneshot::channel();
        let (tell_begun, begun) = oneshot::channel();
        let (tell_announced, announced) = oneshot::channel();
        let (tell_drained, drained) = oneshot::channel();
        let links = core::Links {
            incoming,
            opened: tell_opened,
            begun: tell_begun,
            announced: tell_announced,
            drained: tell_drained,
        };
        let facts = facts.clone();
        let thread = std::thread::Builder::new()
            .name(format!("core-{index}"))
            .spawn(move || core::run(facts, seed, links, processor))
            .map_err(StartError::Thread)?;
        handles.push(CoreHandle { index, streams, opened, begun, announced, drained, thread });
    }
    Ok(handles)
}

fn start_background(
    facts: &Facts,
    seeds: Vec<BackgroundSeed>,
    processors: &[usize],
) -> Result<Vec<std::thread::JoinHandle<()>>, StartError> {
    let start = |seed: BackgroundSeed| {
        let (facts, processors) = (facts.clone(), processors.to_vec());
        let name = format!("background-{}", seed.index);
        std::thread::Builder::new().name(name).spawn(move || background::run(facts, seed, &processors))
    };
    seeds.into_iter().map(start).collect::<Result<_, _>>().map_err(StartError::Thread)
}

async fn serve(
    facts: Facts,
    mut cores: Threads,
    socket: socket2::Socket,
    established: Established,
    assembly: Assembly,
) -> Result<(), StartError> {
    let config = facts.config.clone();
    let listening = bring_up(&mut cores).await.and_then(|()| {
        accept::listen(socket).map_err(|source| StartError::Listen { address: config.listen, source })
    });
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => {
            // Cores may be writing still, so the locks on the drives go with the process.
            std::mem::forget(assembly);
            return Err(error);
        }
    };
    let stop = stop_signal();
    let address = listener.local_addr().unwrap_or(config.listen);
    let startup = facts.started.elapsed();
    facts.startup_us.store(startup.as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
    tracing::info!(%address, startup_ms = startup.as_millis() as u64, cores = facts.cores, "serving");
    if established.created {
        let welcome = credentials::welcome(&established, &format!("http://{address}"), &config.region);
        // Nobody may be reading; the keys are in their file all the same.
        let _ = std::io::stdout().write_all(welcome.as_bytes());
    }
    let notify = notify::Notify::new(config.notify_socket.as_deref());
    notify.ready();
    let senders = cores.handles.iter().map(|handle| handle.streams.clone()).collect();
    let accepting = accept::run(listener, senders, &facts);
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
    notify.stopping();
    drain(cores, config.drain).await;
    drop(assembly);
    tracing::info!("stopped");
    Ok(())
}

/// Leads all cores from one phase to the next, each when all have come to its end.
async fn bring_up(cores: &mut Threads) -> Result<(), StartError> {
    for handle in &mut cores.handles {
        hear(handle.index, &mut handle.opened).await?;
    }
    cores.phase.send_replace(Phase::Beginning);
    for handle in &mut cores.handles {
        hear(handle.index, &mut handle.begun).await?;
    }
    cores.phase.send_replace(Phase::Serving);
    for handle in &mut cores.handles {
        hear(handle.index, &mut handle.announced).await?;
    }
    Ok(())
}

async fn hear(index: usize, from: &mut oneshot::Receiver<Result<(), String>>) -> Result<(), StartError> {
    let heard = from.await.unwrap_or_else(|_| Err("its thread ended".into()));
    heard.map_err(|reason| StartError::Open { index, reason })
}

/// Begins to listen for the signals at once; the future ends when one comes.
fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (term, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut term), Ok(mut interrupt)) = (term, interrupt) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Lets requests in flight finish, then lets every core write out.
async fn drain(cores: Threads, bound: Duration) {
    let Threads { handles, background, phase } = cores;
    tracing::info!(bound_s = bound.as_secs(), "draining");
    phase.send_replace(Phase::Draining);
    let deadline = tokio::time::Instant::now() + bound;
    let mut threads = Vec::new();
    for handle in handles {
        drop(handle.streams);
        if tokio::time::timeout_at(deadline, handle.drained).await.is_err() {
            tracing::warn!(core = handle.index, "requests still in flight are cut off");
        }
        threads.push(handle.thread);
    }
    phase.send_replace(Phase::Closing);
    for thread in threads.into_iter().chain(background) {
        if thread.join().is_err() {
            tracing::error!("a core ended by a broken invariant");
        }
    }
}
