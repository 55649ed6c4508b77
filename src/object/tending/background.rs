//! Background cores: where work runs that nobody waits for, or that would keep a data thread from its clients.
//!
//! A background core is a `Core` that owns no shards: a niced thread with a runtime, a ring and files of its
//! own, one beside each data core. It reaches shards as any core does, through the inbox of their owner.
//! Owns [`Foreman`] (how a data core hands out work), [`Duty`] (what a background core knows of the work it
//! does) and [`Background`] (such a core at work). Work comes as jobs through a bounded queue
//! (`Foreman::hire`), long work such as a scrub too: it steps at a pace and ends when the core is to end.
//! Invariants: a job that is given up or whose asker went away leaves nothing behind, because what shards lend
//! it is a `Loan`; no data thread waits for a background thread with a client behind it, except where memory
//! or log would grow beyond their bound; when the background has gone, whoever would hire does the work itself.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::base::budget::BufferBudget;
use crate::base::metrics::{Deliveries, JobCounters, JobKind, JobMetrics, QueueMetrics};
use crate::base::task;
use crate::base::wait_group::WaitGroup;
use crate::io::world::World;
use crate::object::core::{Core, Job, Peers};
use crate::object::open::{self, BackgroundSeed, MemoryPlan};

/// A data core's sign of life, on a cache line of its own: counts what clients ask of it, and says
/// whether its log takes what they send.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Pulse {
    asked: AtomicU64,
    full: AtomicBool,
}

impl Pulse {
    /// Called by the one thread whose pulse it is.
    #[inline]
    pub fn beat(&self) {
        self.asked.store(self.asked.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether records that add bytes are refused.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// Hands the work of one data core to the background core beside it.
pub struct Foreman {
    peers: Peers,
    index: usize,
    open: Cell<bool>,
}

impl Foreman {
    /// Of data core `index`; nobody is hired before `open`.
    pub fn new(peers: Peers, index: usize) -> Rc<Self> {
        Rc::new(Foreman { peers, index, open: Cell::new(false) })
    }

    /// From here on this core answers its inbox, which background work needs.
    pub fn open(&self) {
        self.open.set(true);
    }

    pub fn close(&self) {
        self.open.set(false);
    }

    /// Whether there is anybody to hire.
    pub fn is_open(&self) -> bool {
        self.open.get() && !self.jobs().is_closed()
    }

    /// Has `work` done on the background core; waits for room in its queue. `None` when that core has ended
    /// before it answered. Once begun, `work` goes on to its end whatever becomes of the caller, so what it
    /// answers must put itself right when it is dropped.
    pub async fn hire<T, F, W>(&self, work: W) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |core| {
            let (core, engaged) = (core.clone(), core.duty.engaged.join());
            task::spawn(async move {
                // One who went away does not want the answer.
                let _ = answer.send(work(core).await);
                drop(engaged);
            });
        });
        self.jobs().send(job).await.ok()?;
        wait.await.ok()
    }

    /// Lets the background core drop what takes long to drop.
    pub fn discard(&self, what: impl Send + 'static) {
        let _ = self.jobs().try_send(Box::new(move |_| drop(what)));
    }

    pub fn queue(&self) -> QueueMetrics {
        let (jobs, depth_max) = (self.jobs(), self.jobs().max_capacity());
        let depth = depth_max - jobs.capacity();
        QueueMetrics { name: "background", depth: depth as u64, depth_max: depth_max as u64, refused: 0 }
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        &self.peers.background[self.index]
    }
}

/// What a background core knows of its work.
pub struct Duty {
    over: Cell<bool>,
    ended: Notify,
    /// Jobs that have begun and not ended.
    engaged: Rc<WaitGroup>,
    /// One flush at a time, and one small merge.
    pub flushing: tokio::sync::Mutex<()>,
    pub merging_small: tokio::sync::Mutex<()>,
    /// Memory of large merges.
    pub merging: BufferBudget,
    /// What this core told to whom.
    pub deliveries: Deliveries,
    counters: [JobCounters; JobKind::ALL.len()],
}

impl Duty {
    /// `merging` is the memory that merges may take, in bytes.
    pub fn new(merging: usize) -> Self {
        Duty {
            over: Cell::default(),
            ended: Notify::new(),
            engaged: Rc::default(),
            flushing: tokio::sync::Mutex::new(()),
            merging_small: tokio::sync::Mutex::new(()),
            merging: BufferBudget::new(merging),
            deliveries: Deliveries::default(),
            counters: Default::default(),
        }
    }

    /// The core is to end: work stops at its next step.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    pub fn counters(&self, kind: JobKind) -> &JobCounters {
        &self.counters[kind as usize]
    }

    /// The figures of every kind of work that was done.
    pub fn metrics(&self) -> Vec<JobMetrics> {
        let all = JobKind::ALL.into_iter().map(|kind| self.counters(kind).snapshot(kind));
        all.filter(|metrics| *metrics != JobMetrics { kind: metrics.kind, ..Default::default() }).collect()
    }

    async fn over(&self) {
        while !self.over.get() {
            self.ended.notified().await;
        }
    }

    fn end(&self) {
        self.over.set(true);
        self.ended.notify_waiters();
    }
}

impl Core {
    /// Has `work` done on the background core beside this one, or here where there is none. `None` when that
    /// core ended first.
    pub async fn in_background<T, F, W>(self: &Rc<Self>, work: W) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        match self.foreman.is_open() {
            true => self.foreman.hire(work).await,
            false => Some(work(self.clone()).await),
        }
    }

    /// Ends when the background core is to end.
    pub async fn retired(&self) {
        self.duty.over().await;
    }
}

/// A background core at work.
pub struct Background {
    pub core: Rc<Core>,
    jobs: JoinHandle<()>,
}

impl Background {
    /// How many of the background's bytes of memory merges may take; the rest is for readers and writers.
    pub fn merging(memory: &MemoryPlan) -> usize {
        memory.background / 2
    }
}

/// Opens the files of a background core and begins to take jobs.
pub fn open_background(world: &World, seed: BackgroundSeed, memory: MemoryPlan) -> Background {
    let (core, inbox) = open::build_background(world, seed, memory);
    let jobs = task::spawn_vital("background jobs", take_jobs(core.clone(), inbox));
    Background { core, jobs }
}

async fn take_jobs(core: Rc<Core>, mut inbox: mpsc::Receiver<Job>) {
    while let Some(job) = inbox.recv().await {
        job(&core);
    }
}

impl Background {
    /// Ends all work at its next step. What was not begun is not begun any more.
    pub async fn shut_down(self) {
        self.core.duty.end();
        self.jobs.abort();
        let _ = self.jobs.await;
        self.core.duty.engaged.none().await;
    }
}
