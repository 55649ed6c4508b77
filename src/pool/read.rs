//! Reading an extent: the blocks that cover a range, verified, restored through parity where needed.
//!
//! Owns [`ReadPath`] (what all readers of a core share) and [`RangeReader`] (a range as a stream of pieces, some
//! groups of rows ahead of its consumer). One group is read by `pool::gather`.
//!
//! Invariants: pieces come in order and are slices of the buffers that were read, without a copy; no byte
//! is delivered that its block's checksum and identity do not confirm; memory counts against the budget
//! until the last piece of it is dropped, so a consumer must not hoard pieces while it asks for more; a
//! caller may stop waiting at any time and ask again.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::base::budget::BufferBudget;
use crate::base::ids::PoolId;
use crate::base::limits::{BLOCK_BYTES, GROUP_ROWS_MAX, READ_GROUPS_MAX, SLOW_GROUP_SECONDS};
use crate::base::metrics::Counter;
use crate::codec::erasure::ErasureCoder;
use crate::codec::frame::FrameError;
use crate::drive::device::{DriveError, Drives};
use crate::pool::error::PoolError;
use crate::pool::extent::Address;
pub use crate::pool::gather::Hearer;
use crate::pool::gather::{self, Suspects};
use crate::pool::stripe::{Extent, Group};

const SLOW: Duration = Duration::from_secs(SLOW_GROUP_SECONDS);

/// What the readers of one core share.
pub struct ReadPath {
    pub(super) drives: Drives,
    pub(super) coder: Rc<ErasureCoder>,
    pub(super) pool: u64,
    pub(super) budget: BufferBudget,
    pub(super) counters: ReadCounters,
    on_damage: Box<dyn Fn(&Damage)>,
}

/// A block that is not what it must be, for repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the block.
    pub address: Address,
    /// Of the extent.
    pub nonce: u64,
    pub row: u32,
    pub column: usize,
    pub cause: DamageCause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageCause {
    /// The drive did not deliver it.
    Drive(DriveError),
    /// It delivered something else.
    Frame(FrameError),
}

#[derive(Debug, Default)]
pub struct ReadCounters {
    /// Groups in which at least one block had to be restored.
    pub degraded_groups: Counter,
    /// Blocks restored through parity.
    pub restored_blocks: Counter,
    /// Groups that could not be delivered.
    pub unreadable_groups: Counter,
}

/// The bytes of a range, piece by piece. Dropped, it reads no further.
pub struct RangeReader {
    path: Rc<ReadPath>,
    extent: Rc<Extent>,
    groups: Box<dyn Iterator<Item = Group>>,
    /// Of the first group that is not asked for yet.
    upcoming: Option<Group>,
    /// Groups asked for, in order.
    ahead: VecDeque<Ahead>,
    pieces: VecDeque<Bytes>,
    /// When these came, and whether those before them were taken slowly.
    gathered: Option<Instant>,
    slow: bool,
    suspects: Suspects,
    /// Ended by an error.
    failed: bool,
}

type Gathered = Result<Vec<Bytes>, PoolError>;

enum Ahead {
    /// A single group is read by whoever asks for it.
    Here(Pin<Box<dyn Future<Output = Gathered>>>),
    /// Several are read by tasks, ended with the reader.
    Task(Task),
}

struct Task(JoinHandle<Gathered>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ReadPath {
    /// `on_damage` hears of every block that was not as it must be; it must not wait.
    pub fn new(
        drives: Drives,
        coder: Rc<ErasureCoder>,
        pool: PoolId,
        budget: BufferBudget,
        on_damage: Box<dyn Fn(&Damage)>,
    ) -> Rc<Self> {
        let counters = ReadCounters::default();
        Rc::new(ReadPath { drives, coder, pool: pool.0 as u64, budget, counters, on_damage })
    }

    /// The bytes `range` of an extent, which must lie inside it. Nothing is read before it is polled.
    pub fn read_range(self: &Rc<Self>, extent: Rc<Extent>, range: Range<u64>) -> RangeReader {
        assert!(range.start <= range.end && range.end <= extent.size, "checked against the size before");
        let mut groups = Box::new(extent.layout().groups(range));
        RangeReader {
            path: self.clone(),
            extent,
            upcoming: groups.next(),
            groups,
            ahead: VecDeque::new(),
            pieces: VecDeque::new(),
            gathered: None,
            slow: false,
            suspects: Suspects::default(),
            failed: false,
        }
    }

    /// A few bytes, as of an object inside a pack, in one piece; a copy only if they cross a block.
    pub async fn read_small(
        self: &Rc<Self>,
        extent: &Rc<Extent>,
        offset: u64,
        len: usize,
        hearer: Hearer,
    ) -> Result<Bytes, PoolError> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= extent.size);
        let end = end.ok_or(PoolError::Damaged("a range beyond its extent"))?;
        let mut reader = self.read_range(extent.clone(), offset..end).heard_by(hearer);
        let Some(first) = reader.next().await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() == len {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(len);
        whole.extend_from_slice(&first);
        drop(first);
        while let Some(piece) = reader.next().await {
            whole.extend_from_slice(&piece?);
        }
        assert_eq!(whole.len(), len);
        Ok(whole.freeze())
    }

    /// Data and parity chunks of what can be read here.
    pub(super) fn scheme(&self) -> (usize, usize) {
        (self.coder.data_shards(), self.coder.parity_shards())
    }

    pub fn counters(&self) -> &ReadCounters {
        &self.counters
    }

    pub fn drives(&self) -> &Drives {
        &self.drives
    }

    pub fn budget(&self) -> &BufferBudget {
        &self.budget
    }

    /// Whether what a slow client keeps from being used again is to be given up for others who wait for memory.
    pub fn gives_way(&self) -> bool {
        self.budget.gives_way(self.scheme().0 * GROUP_ROWS_MAX as usize * BLOCK_BYTES)
    }

    pub(super) fn report(&self, damage: &Damage) {
        if let (DamageCause::Frame(_), Ok(drive)) = (&damage.cause, self.drives.get(damage.address.drive)) {
            drive.count_corrupt();
        }
        (self.on_damage)(damage);
    }
}

impl RangeReader {
    /// Tells `hearer` of every damaged block on the way. To be called before the first piece.
    pub fn heard_by(self, hearer: Hearer) -> Self {
        RangeReader { suspects: Suspects::heard_by(hearer), ..self }
    }

    /// The next piece: the wanted bytes of one block. `None` at the end; nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, PoolError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`next`](Self::next), for whoever is a stream itself.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, PoolError>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if self.failed {
                return Poll::Ready(None);
            }
            self.slow = self.gathered.take().map_or(self.slow, |gathered| gathered.elapsed() >= SLOW);
            self.look_ahead();
            let Some(first) = self.ahead.front_mut() else { return Poll::Ready(None) };
            let gathered = ready!(first.poll(context));
            self.ahead.pop_front();
            match gathered {
                Ok(pieces) => {
                    self.pieces = pieces.into();
                    self.gathered = Some(Instant::now());
                }
                Err(error) => {
                    self.failed = true;
                    self.ahead.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    /// Asks for groups until enough are on their way. For a consumer that is slow one row is enough: it waits for
    /// nothing, and others get the memory.
    fn look_ahead(&mut self) {
        let (most, rows) = if self.slow { (1, 1) } else { (READ_GROUPS_MAX, u32::MAX) };
        while self.ahead.len() < most
            && let Some(group) = self.upcoming.take()
        {
            let (group, rest) = group.cut(&self.extent.layout(), rows);
            self.upcoming = rest.or_else(|| self.groups.next());
            let (path, extent) = (self.path.clone(), self.extent.clone());
            let gather = gather::gather(path, extent, group, self.suspects.clone());
            let is_only = self.ahead.is_empty() && (self.upcoming.is_none() || self.slow);
            self.ahead.push_back(match is_only {
                true => Ahead::Here(Box::pin(gather)),
                false => Ahead::Task(Task(tokio::task::spawn_local(gather))),
            });
        }
    }
}

impl Ahead {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Gathered> {
        match self {
            Ahead::Here(gather) => gather.as_mut().poll(context),
            Ahead::Task(Task(handle)) => match ready!(Pin::new(handle).poll(context)) {
                Ok(gathered) => Poll::Ready(gathered),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Poll::Ready(Err(PoolError::Stopped)),
                },
            },
        }
    }
}
