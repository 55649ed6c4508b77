//! What one core knows of the store: its own shards, the way to the others', the data path.
//!
//! A decision about a key is made by the core that owns its shard. `on_shard` runs a closure there
//! and brings its result back: at once when the shard is at home, through the owner's bounded
//! inbox when it is not. Bytes never travel this way, except those small enough for the log.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::content::cache::BodyCache;
use super::error::ObjectError;
use super::registry::buckets::{Buckets, Change};
use super::registry::identities::{Identities, IdentityChange};
use super::repair::board::Board;
use super::repair::spots::Spots;
use super::shard::Shard;
use super::tending::background::{Duty, Foreman, Pulse};
use crate::base::ids::ShardId;
use crate::base::metrics::CoreSnapshot;
use crate::base::task;
use crate::base::whole::Whole;
use crate::pool::Pool;
use crate::pool::logs::LogDirectory;
use crate::pool::read::ReadPath;
use crate::pool::write::WritePath;

/// Work for another core: it is handed that core and does the rest.
pub type Job = Box<dyn FnOnce(&Rc<Core>) + Send>;

/// How to reach the cores, by index.
#[derive(Clone)]
pub struct Peers {
    pub inboxes: Arc<[mpsc::Sender<Job>]>,
    /// Of the background cores, one beside each of the others.
    pub background: Arc<[mpsc::Sender<Job>]>,
    /// What clients ask of each data core.
    pub pulses: Arc<[Pulse]>,
    /// For what must arrive and asks for nothing: giving back what was lent, so never more than is
    /// lent out.
    pub news: Arc<[mpsc::UnboundedSender<Job>]>,
    /// The core that owns each shard, by shard.
    pub owners: Arc<[usize]>,
    /// Rung when a shard has events to tell, by shard.
    pub bells: Arc<[Notify]>,
    /// When the cores began: the grid of their ticks.
    pub begun: Instant,
}

impl Peers {
    /// Another number whenever a client has asked any core for something.
    pub fn pulse(&self) -> u64 {
        self.pulses.iter().fold(0, |sum, pulse| sum.wrapping_add(pulse.count()))
    }

    fn tell(&self, shard: ShardId, news: impl FnOnce(&Rc<Shard>) + Send + 'static) {
        let owner = self.owners[usize::from(shard.0)];
        let job: Job = Box::new(move |core| {
            if let Some(shard) = core.local(shard) {
                news(shard);
            }
        });
        // A core that is gone has given everything back.
        let _ = self.news[owner].send(job);
    }
}

/// Something a shard lent to whoever holds this, on any core: dropped, it goes back.
pub struct Loan {
    peers: Peers,
    shard: ShardId,
    undo: Option<Undo>,
}

type Undo = Box<dyn FnOnce(&Rc<Shard>) + Send>;

impl Loan {
    pub fn new(peers: &Peers, shard: ShardId, undo: impl FnOnce(&Rc<Shard>) + Send + 'static) -> Self {
        Loan { peers: peers.clone(), shard, undo: Some(Box::new(undo)) }
    }

    /// It belongs to the holder for good.
    pub fn keep(mut self) {
        self.undo = None;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            self.peers.tell(self.shard, undo);
        }
    }
}

/// What every core has to hear.
#[derive(Clone, Debug)]
pub enum News {
    Bucket(Change),
    Identity(IdentityChange),
}

impl From<Change> for News {
    fn from(change: Change) -> News {
        News::Bucket(change)
    }
}

/// What every core knows, about which the owner of `BUCKET_SHARD` decides.
#[derive(Clone, Default)]
pub struct Common {
    pub buckets: Rc<Buckets>,
    pub identities: Rc<Identities>,
}

impl Common {
    fn learn(&self, news: News) {
        match news {
            News::Bucket(change) => self.buckets.apply(change),
            News::Identity(change) => self.identities.apply(change),
        }
    }
}

/// Tells every core of changes to buckets and identities. Only the owner of `BUCKET_SHARD` does, under the lock of
/// the bucket or of the identities, so that all cores hear the same news in the same order.
pub struct Bulletin {
    pub index: usize,
    pub peers: Peers,
    pub common: Common,
}

impl Bulletin {
    /// Returns when every core knows.
    pub async fn announce(&self, news: impl Into<News>) {
        let news = news.into();
        self.common.learn(news.clone());
        for (index, inbox) in self.peers.inboxes.iter().enumerate().filter(|(index, _)| *index != self.index)
        {
            let (told, wait) = oneshot::channel();
            let news = news.clone();
            let job: Job = Box::new(move |core| {
                core.common.learn(news);
                let _ = told.send(());
            });
            if inbox.send(job).await.is_err() || wait.await.is_err() {
                tracing::debug!(core = index, "is shutting down and was not told the news");
            }
        }
    }
}

pub struct Core {
    /// Of a background core, that of the data core beside it.
    pub index: usize,
    pub role: Role,
    pub peers: Peers,
    /// By shard; `None` for those of other cores.
    pub shards: Vec<Option<Rc<Shard>>>,
    pub common: Common,
    pub pool: Rc<Pool>,
    pub logs: LogDirectory,
    pub reads: Rc<ReadPath>,
    /// For objects of ordinary size, and for large ones in longer chunks.
    pub writes: Rc<WritePath>,
    pub writes_large: Rc<WritePath>,
    pub bodies: BodyCache,
    /// What readers of this core found damaged.
    pub spots: Spots,
    pub board: Arc<Board>,
    pub turn: Cell<usize>,
    pub foreman: Rc<Foreman>,
    pub duty: Duty,
    pub(super) reporter: RefCell<Option<Reporter>>,
}

/// What a core is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves clients; owns shards.
    Data,
    /// Does what nobody waits for; owns no shards.
    Background,
}

/// Gathers the figures of a core.
pub type Reporter = Rc<dyn Fn() -> CoreSnapshot>;

impl Core {
    pub fn shard_count(&self) -> u16 {
        self.shards.len() as u16
    }

    pub fn local(&self, shard: ShardId) -> Option<&Rc<Shard>> {
        self.shards[usize::from(shard.0)].as_ref()
    }

    /// Runs `work` where the shard lives. The caller may go away; `work` then is dropped if the
    /// shard is at home and goes on if not, so it must bear both: see `on_shard_whole`.
    pub async fn on_shard<T, F, W>(&self, shard: ShardId, work: W) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ObjectError>> + 'static,
        W: FnOnce(Rc<Shard>) -> F + Send + 'static,
    {
        self.beat();
        match self.local(shard) {
            Some(shard) => work(shard.clone()).await,
            None => self.send(shard, work, false).await,
        }
    }

    /// A client asks for something or goes on with it: background work takes its time.
    #[inline]
    pub fn beat(&self) {
        if self.role == Role::Data {
            self.peers.pulses[self.index].beat();
        }
    }

    /// As `on_shard`, and once begun it goes on to its end whatever becomes of the caller.
    pub async fn on_shard_whole<T, F, W>(&self, shard: ShardId, work: W) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ObjectError>> + 'static,
        W: FnOnce(Rc<Shard>) -> F + Send + 'static,
    {
        self.beat();
        match self.local(shard) {
            Some(shard) => Whole::new(work(shard.clone())).await,
            None => self.send(shard, work, false).await,
        }
    }

    /// As `on_shard_whole`, for what must follow on something that was done: it waits where others are told to come
    /// back. Whoever serves an inbox waits for nothing, so it ends.
    pub async fn on_shard_surely<T, F, W>(&self, shard: ShardId, work: W) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ObjectError>> + 'static,
        W: FnOnce(Rc<Shard>) -> F + Send + 'static,
    {
        match self.local(shard) {
            Some(shard) => Whole::new(work(shard.clone())).await,
            None => self.send(shard, work, true).await,
        }
    }

    async fn send<T, F, W>(&self, shard: ShardId, work: W, waits: bool) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ObjectError>> + 'static,
        W: FnOnce(Rc<Shard>) -> F + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |core| {
            let Some(shard) = core.local(shard).cloned() else { return };
            task::spawn(async move {
                // One who went away does not want the answer.
                let _ = answer.send(work(shard).await);
            });
        });
        // For background work nobody waits, so it waits.
        match waits || self.role == Role::Background {
            true => self.inbox(shard).send(job).await.map_err(|_| ObjectError::SlowDown)?,
            false => self.inbox(shard).try_send(job).map_err(|_| ObjectError::SlowDown)?,
        }
        wait.await.unwrap_or(Err(ObjectError::SlowDown))
    }

    /// Tells the owner of a shard something that must arrive, with nobody waiting.
    pub fn tell(&self, shard: ShardId, news: impl FnOnce(&Rc<Shard>) + Send + 'static) {
        match self.local(shard) {
            Some(shard) => news(shard),
            None => self.peers.tell(shard, news),
        }
    }

    fn inbox(&self, shard: ShardId) -> &mpsc::Sender<Job> {
        &self.peers.inboxes[self.peers.owners[usize::from(shard.0)]]
    }

    /// Does the work other cores send, until it is dropped.
    pub async fn serve_peers(
        self: Rc<Self>,
        mut inbox: mpsc::Receiver<Job>,
        mut news: mpsc::UnboundedReceiver<Job>,
    ) {
        loop {
            tokio::select! {
                biased;
                Some(job) = news.recv() => job(&self),
                Some(job) = inbox.recv() => job(&self),
                else => return,
            }
        }
    }

    /// How this core's figures are gathered: by whoever built what has them.
    pub fn report_with(&self, reporter: Reporter) {
        *self.reporter.borrow_mut() = Some(reporter);
    }

    pub fn report(&self) -> CoreSnapshot {
        let reporter = self.reporter.borrow().clone();
        reporter.map(|reporter| reporter()).unwrap_or_default()
    }

    /// A number that is another one each time, to spread reads over mirrors.
    pub fn next_turn(&self) -> usize {
        self.turn.set(self.turn.get().wrapping_add(1));
        self.turn.get()
    }
}
