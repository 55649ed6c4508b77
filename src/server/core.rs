//! One data thread: opens its share of the store, serves its connections, reports its figures.
//!
//! Pinned to one processor, with a runtime and a ring of its own. It follows the phase that main
//! announces: it serves, finishes what is in flight, and writes everything out when all cores have.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Facts, Phase, readiness};
use crate::admin::access::Access;
use crate::admin::operator::{AccountDoer, Act, BucketDoer, Operator, Order};
use crate::admin::{accounts, buckets};
use crate::base::ids::DriveId;
use crate::base::limits::{
    ACCESS_LOG_BYTES_MAX, ACCESS_LOG_BYTES_MIN, ACCESS_LOG_SHARE, CONNECTIONS_SHARE, DOCUMENTS_SHARE, GIB,
    ROOM_LOOK_MS, SETTINGS_BYTES_MIN, SETTINGS_SHARE, XML_BODY_BYTES_MAX,
};
use crate::base::metrics::{
    BucketMetrics, CacheMetrics, CoreSnapshot, DriveMetrics, NotificationMetrics, QueueMetrics, Snapshot,
};
use crate::base::task;
use crate::base::wait_group::WaitGroup;
use crate::iam::accounts::root_account;
use crate::iam::delivery::admits_report;
use crate::io::buffer;
use crate::io::runtime;
use crate::io::topology;
use crate::io::world::World;
use crate::object::core::Core;
use crate::object::open::{self, CoreSeed, Running};
use crate::object::registry::buckets::Bucket;
use crate::object::store::Store;
use crate::s3::{self, Edge, EdgeSettings, Stats};
use crate::upkeep::{self, Patience};

/// The core's ends of the channels to main.
pub struct Links {
    pub incoming: mpsc::Receiver<std::net::TcpStream>,
    pub opened: oneshot::Sender<Result<(), String>>,
    pub begun: oneshot::Sender<Result<(), String>>,
    pub announced: oneshot::Sender<Result<(), String>>,
    pub drained: oneshot::Sender<()>,
}

/// The whole life of the thread.
pub fn run(facts: Facts, seed: CoreSeed, links: Links, processor: usize) {
    if let Err(error) = topology::pin(processor) {
        tracing::warn!(processor, %error, "not pinned");
    }
    buffer::keep_some_of(facts.memory.buffers);
    runtime::run(facts.io, |world| live(world, facts, seed, links));
}

async fn live(world: World, facts: Facts, seed: CoreSeed, links: Links) {
    let (index, shared) = (seed.index, seed.shared.clone());
    let mut phase = facts.phase.clone();
    let opened = match open::open_core(&world, seed, facts.memory).await {
        Ok(opened) => opened,
        Err(error) => {
            let _ = links.opened.send(Err(error.to_string()));
            return;
        }
    };
    let _ = links.opened.send(Ok(()));
    if phase.wait_for(|phase| *phase >= Phase::Beginning).await.is_err() {
        return;
    }
    let mut running = match opened.begin().await {
        Ok(running) => running,
        Err(error) => {
            let _ = links.begun.send(Err(error.to_string()));
            return;
        }
    };
    let (id, account) = root_account(running.core.pool.geometry.pool.0, facts.root_key.clone());
    running.core.common.identities.install_root(id, account);
    running.core.common.buckets.bound_settings(settings_bytes(&facts));
    let events = facts.config.webhook_queue.div_ceil(usize::from(running.core.shard_count()));
    running.core.shards.iter().flatten().for_each(|shard| shard.events.set_bound(events));
    let _ = links.begun.send(Ok(()));
    if phase.wait_for(|phase| *phase >= Phase::Serving).await.is_err() {
        return;
    }
    let announced = running.announce_buckets().await.map_err(|error| error.to_string());
    let _ = links.announced.send(announced);
    upkeep::start(&mut running);
    if index == 0 {
        let some = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let (scrub, evacuate) = (some(facts.config.scrub_interval), some(facts.config.evacuate_after));
        upkeep::start_for_all(&mut running, shared, Patience { scrub, evacuate });
        upkeep::lifecycle::start(&mut running, facts.config.lifecycle_day);
        upkeep::inventory::start(&mut running, facts.config.lifecycle_day, admits_reports(&facts));
        upkeep::notify::start(&mut running, facts.config.webhooks.clone());
    }
    let edge = build_edge(&world, &facts, &running);
    let logs = task::spawn(edge.deliver_logs(facts.config.access_log_interval));
    let connections = Rc::<WaitGroup>::default();
    let crowding = task::spawn(thin_out(facts.clone(), index, edge.clone()));
    take_connections(&facts, index, &edge, links.incoming, &connections, phase.clone()).await;
    crowding.abort();
    tokio::select! {
        () = connections.none() => {}
        // Main has waited long enough.
        _ = phase.wait_for(|phase| *phase >= Phase::Closing) => {}
    }
    // While the other cores still take what it writes.
    edge.finish_logs();
    let _ = logs.await;
    let _ = links.drained.send(());
    if phase.wait_for(|phase| *phase >= Phase::Closing).await.is_ok() {
        connections.none().await;
        drop(edge);
        running.shut_down().await;
    }
}

/// Destinations of inventories are judged as they are when a report is due.
fn admits_reports(facts: &Facts) -> upkeep::inventory::Admits {
    let region = facts.config.region.clone();
    Rc::new(move |core, order| {
        let destination = core.common.buckets.get(&order.destination.name);
        let identities = &core.common.identities;
        destination.is_some_and(|bucket| admits_report(identities, &bucket, order, &region))
    })
}

/// Serves what main deals to this core until draining begins.
async fn take_connections(
    facts: &Facts,
    index: usize,
    edge: &Edge,
    mut incoming: mpsc::Receiver<std::net::TcpStream>,
    connections: &Rc<WaitGroup>,
    phase: watch::Receiver<Phase>,
) {
    let mut draining = phase.clone();
    loop {
        let stream = tokio::select! {
            stream = incoming.recv() => stream,
            _ = draining.wait_for(|phase| *phase >= Phase::Draining) => None,
        };
        let Some(stream) = stream else { return };
        let Ok(stream) = TcpStream::from_std(stream) else {
            facts.connections[index].fetch_sub(1, Ordering::Relaxed);
            continue;
        };
        let connection = connections.join();
        edge.stats().connections.accepted.increment();
        let mut stop = phase.clone();
        let shutdown = async move {
            // An error means that main is gone, which is as good a reason to stop.
            let _ = stop.wait_for(|phase| *phase >= Phase::Draining).await;
        };
        let (edge, all) = (edge.clone(), facts.connections.clone());
        let mut over = phase.clone();
        task::spawn(async move {
            tokio::select! {
                () = edge.serve(stream, shutdown) => {}
                // Time is up: whatever is in flight is cut, and what it holds is given back.
                _ = over.wait_for(|phase| *phase >= Phase::Closing) => {}
            }
            drop(edge);
            all[index].fetch_sub(1, Ordering::Relaxed);
            drop(connection);
        });
    }
}

/// Closes as many connections of silent clients as this core is told to. It may not close as many as are too many:
/// another core may be told at the same time, and those that were closed are counted for a while yet. Where none is
/// silent, or none is taken over yet, it waits for one, unless there is room by then.
async fn thin_out(facts: Facts, index: usize, edge: Edge) {
    let open = || facts.connections.iter().map(|open| open.load(Ordering::Relaxed)).sum::<usize>();
    while let Ok(one) = facts.crowded[index].acquire().await {
        one.forget();
        while open() > facts.config.connections_max && !edge.close_one() {
            tokio::time::sleep(Duration::from_millis(ROOM_LOOK_MS)).await;
        }
    }
}

fn build_edge(world: &World, facts: &Facts, running: &Running) -> Edge {
    let config = &facts.config;
    let settings = EdgeSettings {
        region: config.region.clone(),
        domains: config.domains.clone(),
        website_domains: config.website_domains.clone(),
        root: s3::Credentials {
            access_key: facts.root.access_key.clone(),
            secret_key: facts.root.secret_key.clone(),
        },
        new_buckets: config.new_buckets,
        head_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        document_bytes: document_bytes(facts),
        connection_bytes: (facts.config.memory_bytes / CONNECTIONS_SHARE / facts.cores as u64) as usize,
        access_log_bytes: access_log_bytes(facts),
        host_id: "basalt".to_owned(),
        webhooks: config.webhooks.clone(),
        request_seed: world.random_u64(),
    };
    let stats = Rc::new(Stats::default());
    let operator = operator(world, facts, running);
    let edge = Edge::new(Store::new(running.core.clone()), settings, stats.clone(), Some(operator));
    report_into(running, stats, edge.memory());
    edge
}

/// Of all buckets.
fn settings_bytes(facts: &Facts) -> usize {
    let share = facts.config.memory_bytes / SETTINGS_SHARE;
    usize::try_from(share).unwrap_or(usize::MAX).max(SETTINGS_BYTES_MIN)
}

/// Of this core, and at least one document.
fn document_bytes(facts: &Facts) -> usize {
    let share = facts.config.memory_bytes / DOCUMENTS_SHARE / facts.cores as u64;
    usize::try_from(share).unwrap_or(usize::MAX).clamp(XML_BODY_BYTES_MAX, GIB as usize)
}

/// Of this core.
fn access_log_bytes(facts: &Facts) -> usize {
    let share = facts.config.memory_bytes / ACCESS_LOG_SHARE / facts.cores as u64;
    usize::try_from(share).unwrap_or(usize::MAX).clamp(ACCESS_LOG_BYTES_MIN, ACCESS_LOG_BYTES_MAX)
}

// ---- The operator's side ----

fn operator(world: &World, facts: &Facts, running: &Running) -> s3::Operator {
    let (core, gathered) = (running.core.clone(), facts.clone());
    let snapshot = Rc::new(move || -> Pin<Box<dyn Future<Output = Snapshot>>> {
        Box::pin(gather(core.clone(), gathered.clone()))
    });
    let core = running.core.clone();
    let ready = Rc::new(move || readiness::of(&core));
    let clock = world.clone();
    let access = Access::new(facts.root.clone(), facts.config.region.clone(), Rc::new(move || clock.now()));
    let core = running.core.clone();
    let act: Act = Rc::new(move |order| {
        let core = core.clone();
        Box::pin(async move {
            match order {
                Order::Readmit(drive) => upkeep::readmit::readmit(&core, DriveId(drive)).await,
                Order::Scrub => {
                    core.board.demand();
                    Ok("a full scrub follows".to_owned())
                }
            }
        })
    });
    let store = Store::new(running.core.clone());
    let accounts: AccountDoer = Rc::new(move |command| {
        let store = store.clone();
        Box::pin(async move { accounts::run(&store, command).await })
    });
    let store = Store::new(running.core.clone());
    let buckets: BucketDoer = Rc::new(move |command| {
        let store = store.clone();
        Box::pin(async move { buckets::run(&store, command).await })
    });
    let operator = Rc::new(Operator::new(snapshot, ready, act, access, accounts, buckets));
    Rc::new(move |request: Request<Incoming>| {
        let operator = operator.clone();
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            operator.handle(&parts).await.map(s3::Body::full)
        })
    })
}

/// Asks every core for its figures.
async fn gather(core: Rc<Core>, facts: Facts) -> Snapshot {
    let mut totals = core.report();
    let others = core.peers.inboxes.iter().enumerate().filter(|(index, _)| *index != core.index);
    for inbox in others.map(|(_, inbox)| inbox).chain(core.peers.background.iter()) {
        let (tell, told) = oneshot::channel();
        let job: crate::object::core::Job = Box::new(move |core| {
            let _ = tell.send(core.report());
        });
        if inbox.send(job).await.is_ok()
            && let Ok(figures) = told.await
        {
            totals.merge(figures);
        }
    }
    let geometry = core.pool.geometry;
    totals.buckets = core.common.buckets.len() as u64;
    totals.connections.refused += facts.refused.load(Ordering::Relaxed) as u64;
    Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        io: facts.io.name(),
        cores: facts.cores as u64,
        shards: u64::from(geometry.shards),
        data: u64::from(geometry.data_chunks),
        parity: u64::from(geometry.parity_chunks),
        uptime_seconds: facts.started.elapsed().as_secs(),
        startup_us: facts.startup_us.load(Ordering::Relaxed),
        recovery: facts.recovery,
        memory_bytes_max: facts.config.memory_bytes,
        scrub: core.board.metrics(),
        bucket_usages: core
            .common
            .buckets
            .largest(facts.config.bucket_metrics)
            .iter()
            .map(usage_of)
            .collect(),
        lifecycle: core.board.lifecycle.metrics(),
        inventories: core.board.inventories.metrics(),
        process: Default::default(),
        totals,
    }
}

fn usage_of((name, bucket): &(String, Rc<Bucket>)) -> BucketMetrics {
    let (usage, quota) = (bucket.meter.read(), bucket.settings.quota.unwrap_or_default());
    BucketMetrics {
        bucket: name.clone(),
        objects: usage.objects.unsigned_abs(),
        bytes: usage.bytes.unsigned_abs(),
        uploading_bytes: usage.uploading.unsigned_abs(),
        quota_bytes: quota.max_bytes,
        quota_objects: quota.max_objects,
    }
}

/// Tells the core how to report itself.
fn report_into(
    running: &Running,
    stats: Rc<Stats>,
    memory: impl Fn() -> [(&'static str, usize, usize); 2] + 'static,
) {
    let (core, log, blocks) = (Rc::downgrade(&running.core), running.log.clone(), running.blocks.clone());
    running.core.report_with(Rc::new(move || {
        let Some(core) = core.upgrade() else { return CoreSnapshot::default() };
        let found = blocks.stats();
        let block_cache = CacheMetrics {
            name: "block",
            hits: found.hits,
            misses: found.misses,
            bytes: found.bytes,
            bytes_max: found.capacity,
            entries: found.entries,
        };
        log.counters.segments_live.set(log.segments.live() as u64);
        CoreSnapshot {
            drives: core.pool.drives.iter().map(|drive| drive_metrics(&core, drive)).collect(),
            log: log.counters.snapshot(),
            caches: vec![block_cache, core.bodies.metrics()],
            queues: [core.foreman.queue(), buffers(&core)].into_iter().chain(memory().map(taken)).collect(),
            jobs: Vec::new(),
            notifications: notifications(&core),
            operations: stats.operations(),
            connections: stats.connections(),
            access_log: stats.access_log(),
            buckets: 0,
        }
    }));
}

/// How a background core reports itself: what it moved, and the work it did.
pub fn background_reporter(core: &Rc<Core>) -> impl Fn() -> CoreSnapshot + use<> {
    let core = Rc::downgrade(core);
    move || {
        let Some(core) = core.upgrade() else { return CoreSnapshot::default() };
        let budget = core.writes.budget();
        let (depth, depth_max) = (budget.bytes_used() as u64, budget.bytes_max() as u64);
        CoreSnapshot {
            drives: core.pool.drives.iter().map(|drive| drive_metrics(&core, drive)).collect(),
            queues: vec![QueueMetrics { name: "background_buffer", depth, depth_max, refused: 0 }],
            jobs: core.duty.metrics(),
            notifications: core.duty.deliveries.metrics(),
            ..CoreSnapshot::default()
        }
    }
}

/// What waits in the shards of a core.
fn notifications(core: &Core) -> Vec<NotificationMetrics> {
    let mut all = CoreSnapshot::default();
    for shard in core.shards.iter().flatten() {
        all.merge(CoreSnapshot { notifications: shard.events.metrics(), ..CoreSnapshot::default() });
    }
    all.notifications
}

fn buffers(core: &Core) -> QueueMetrics {
    let budget = core.writes.budget();
    QueueMetrics {
        name: "buffer",
        depth: budget.bytes_used() as u64,
        depth_max: budget.bytes_max() as u64,
        refused: 0,
    }
}

fn taken((name, used, max): (&'static str, usize, usize)) -> QueueMetrics {
    QueueMetrics { name, depth: used as u64, depth_max: max as u64, refused: 0 }
}

fn drive_metrics(core: &Core, drive: &crate::drive::device::Drive) -> DriveMetrics {
    let table = core.pool.table(drive.id());
    let segment_bytes = core.pool.geometry.segment_bytes;
    let objects: u64 =
        core.shards.iter().flatten().map(|shard| shard.space.committed_bytes(drive.id())).sum();
    DriveMetrics {
        capacity_bytes: table.len() as u64 * segment_bytes,
        used_bytes: objects,
        ..drive.metrics()
    }
}
