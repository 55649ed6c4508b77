//! Walks over a run, and over the runs of a tier, in key order.
//!
//! Owns reading ahead: what follows in one extent is read in operations that double in size, up to
//! `limits::RUN_READ_BYTES_MAX` and never beyond the walk's end. A scan goes through the block cache;
//! a merge always reads the drives, so that it leaves the cache alone and waits for real I/O often.
//! Stepping within what is in memory is synchronous and allocates nothing; `Step::Load` asks for
//! `load`, which is where a walk may wait. Invariant: a walk only goes forward.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::base::limits;
use crate::catalog::error::Result;
use crate::catalog::run::block::{BlockRef, Kind};
use crate::catalog::run::entries::{EntriesCursor, Form};
use crate::catalog::run::footer::Partition;
use crate::catalog::run::reader::{Reading, Run};
use crate::catalog::run::store::RunStore;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The cursor stands on an entry.
    Entry,
    /// Nothing follows.
    End,
    /// What follows is not in memory: call `load` and step again.
    Load,
}

/// Walks the runs of a tier: sorted and disjoint.
pub struct TierCursor<S: RunStore> {
    runs: Rc<[Rc<Run<S>>]>,
    /// The run that `cursor` walks, or that comes next when there is none.
    at: usize,
    cursor: Option<RunCursor<S>>,
    reading: Reading,
    end: Option<Rc<[u8]>>,
}

struct RunCursor<S: RunStore> {
    run: Rc<Run<S>>,
    reading: Reading,
    end: Option<Rc<[u8]>>,
    root: EntriesCursor,
    /// The partition being walked; stands on the last block that was planned or is pending.
    index: Option<EntriesCursor>,
    data: Option<EntriesCursor>,
    /// Blocks in memory behind `data`.
    ahead: VecDeque<Bytes>,
    /// A block the index has given that was not planned yet.
    pending: Option<BlockRef>,
    /// Bytes of the next read.
    window: usize,
    /// The index has nothing more before `end`.
    exhausted: bool,
}

type Plan = SmallVec<[BlockRef; 8]>;

impl<S: RunStore> TierCursor<S> {
    /// Before the first entry. Blocks that hold only keys at or after `end` are not read.
    pub fn new(runs: Rc<[Rc<Run<S>>]>, reading: Reading, end: Option<Rc<[u8]>>) -> Self {
        TierCursor { runs, at: 0, cursor: None, reading, end }
    }

    pub fn step(&mut self) -> Result<Step> {
        loop {
            let Some(cursor) = &mut self.cursor else {
                return Ok(if self.next_run().is_some() { Step::Load } else { Step::End });
            };
            match cursor.step()? {
                Step::End => {
                    self.cursor = None;
                    self.at += 1;
                }
                step => return Ok(step),
            }
        }
    }

    pub async fn load(&mut self) -> Result<()> {
        if self.cursor.is_none()
            && let Some(run) = self.next_run()
        {
            self.cursor = Some(RunCursor::new(run, self.reading, self.end.clone()));
        }
        match &mut self.cursor {
            Some(cursor) => cursor.load().await,
            None => Ok(()),
        }
    }

    /// Makes the next `step` go to the first entry at or after `key`. `key` is beyond the current
    /// entry, if there is one.
    pub async fn seek(&mut self, key: &[u8]) -> Result<()> {
        let at = self.runs.partition_point(|run| run.footer().last_key < key);
        if at != self.at {
            self.cursor = None;
            self.at = at;
        }
        if self.cursor.is_none()
            && let Some(run) = self.next_run()
            && run.footer().first_key < key
        {
            self.cursor = Some(RunCursor::new(run, self.reading, self.end.clone()));
        }
        match &mut self.cursor {
            Some(cursor) => cursor.seek(key).await,
            None => Ok(()),
        }
    }

    /// Key of the current entry; `None` when no `step` has led to one.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.data().map(EntriesCursor::key)
    }

    pub fn form(&self) -> Form {
        self.data().map_or(Form::Tombstone, EntriesCursor::form)
    }

    /// The current entry's value, or references to its value blocks.
    pub fn value(&self) -> &[u8] {
        self.data().map(EntriesCursor::value).unwrap_or_default()
    }

    /// As `value`, as a piece of the block.
    pub fn value_bytes(&self) -> Bytes {
        self.data().map(EntriesCursor::value_bytes).unwrap_or_default()
    }

    /// The run the current entry is of.
    pub fn run(&self) -> Option<&Rc<Run<S>>> {
        self.cursor.as_ref().map(|cursor| &cursor.run)
    }

    fn data(&self) -> Option<&EntriesCursor> {
        self.cursor.as_ref()?.data.as_ref()
    }

    fn next_run(&self) -> Option<Rc<Run<S>>> {
        let run = self.runs.get(self.at)?;
        let before_end = self.end.as_ref().is_none_or(|end| run.footer().first_key < end[..]);
        before_end.then(|| run.clone())
    }
}

impl<S: RunStore> RunCursor<S> {
    fn new(run: Rc<Run<S>>, reading: Reading, end: Option<Rc<[u8]>>) -> Self {
        let window = match reading {
            Reading::Cached => 1,
            Reading::Direct => limits::RUN_READ_BYTES_MAX,
        };
        RunCursor {
            root: run.footer().root(),
            run,
            reading,
            end,
            index: None,
            data: None,
            ahead: VecDeque::new(),
            pending: None,
            window,
            exhausted: false,
        }
    }

    #[inline]
    fn step(&mut self) -> Result<Step> {
        loop {
            if let Some(data) = &mut self.data {
                match data.advance() {
                    Some(true) => return Ok(Step::Entry),
                    Some(false) => {}
                    None => return Err(self.run.corrupt("data block")),
                }
            }
            if !self.enter_ahead()? {
                return Ok(if self.exhausted { Step::End } else { Step::Load });
            }
        }
    }

    /// Brings the next blocks into memory, or finds that there are none.
    async fn load(&mut self) -> Result<()> {
        let Some(first) = self.next_block().await? else {
            self.exhausted = true;
            return Ok(());
        };
        if self.reading == Reading::Cached
            && let Some(payload) = self.run.cache().get(self.run.cache_key(first))
        {
            self.ahead.push_back(payload);
            return Ok(());
        }
        let plan = self.plan(first)?;
        self.window = (self.window * 2).clamp(2 * limits::RUN_BLOCK_BYTES, limits::RUN_READ_BYTES_MAX);
        match (self.reading, &plan[..]) {
            (Reading::Cached, [only]) => self.ahead.push_back(self.run.fetch(Kind::Data, *only).await?),
            (Reading::Cached, _) => {
                let payloads = self.run.read_span(&plan).await?;
                self.keep(&plan, payloads);
            }
            (Reading::Direct, _) => self.ahead.extend(self.run.read_span(&plan).await?),
        }
        Ok(())
    }

    async fn seek(&mut self, key: &[u8]) -> Result<()> {
        loop {
            if let Some(data) = &mut self.data
                && data.seek(key).ok_or(self.run.corrupt("data block"))?
            {
                return Ok(());
            }
            if !self.enter_ahead()? {
                break;
            }
        }
        let mut root = self.run.footer().root();
        if root.seek_back(key) != Some(true) {
            return Err(self.run.corrupt("root index"));
        }
        self.root = root;
        self.enter_partition().await?;
        self.pending = None;
        self.exhausted = false;
        let found = self.index.as_mut().and_then(|index| index.seek_back(key));
        if found != Some(true) {
            return Err(self.run.corrupt("index block"));
        }
        self.pending = Some(self.block_here()?);
        self.window = if self.reading == Reading::Cached { 1 } else { self.window };
        self.data = None;
        self.load().await?;
        if self.enter_ahead()?
            && let Some(data) = &mut self.data
        {
            data.seek(key).ok_or(self.run.corrupt("data block"))?;
        }
        Ok(())
    }

    fn enter_ahead(&mut self) -> Result<bool> {
        let Some(payload) = self.ahead.pop_front() else { return Ok(false) };
        let entered = match &mut self.data {
            Some(data) => data.replace(payload),
            data => EntriesCursor::new(payload).map(|cursor| *data = Some(cursor)),
        };
        entered.ok_or(self.run.corrupt("data block"))?;
        Ok(true)
    }

    /// The blocks of one read that begins with `first`.
    fn plan(&mut self, first: BlockRef) -> Result<Plan> {
        let mut plan = Plan::from_slice(&[first]);
        let mut bytes = first.bytes();
        while let Some(block) = self.next_in_partition()? {
            let last = plan[plan.len() - 1];
            let behind = block.extent == last.extent
                && block.offset() as usize == last.offset() as usize + last.bytes();
            if !behind || bytes + block.bytes() > self.window {
                self.pending = Some(block);
                break;
            }
            bytes += block.bytes();
            plan.push(block);
        }
        Ok(plan)
    }

    /// Puts what one read brought into the cache, each block in memory of its own: a piece would
    /// keep the whole read alive.
    fn keep(&mut self, plan: &Plan, payloads: Vec<Bytes>) {
        for (block, payload) in plan.iter().zip(payloads) {
            let payload = Bytes::copy_from_slice(&payload);
            self.run.cache().insert(self.run.cache_key(*block), payload.clone());
            self.ahead.push_back(payload);
        }
    }

    async fn next_block(&mut self) -> Result<Option<BlockRef>> {
        if let Some(block) = self.pending.take() {
            return Ok(Some(block));
        }
        while !self.exhausted {
            if let Some(block) = self.next_in_partition()? {
                return Ok(Some(block));
            }
            if self.exhausted || !self.root.advance().ok_or(self.run.corrupt("root index"))? {
                break;
            }
            self.enter_partition().await?;
        }
        Ok(None)
    }

    /// The next block of the open partition, unless all its keys are at or after the end.
    fn next_in_partition(&mut self) -> Result<Option<BlockRef>> {
        let Some(index) = &mut self.index else { return Ok(None) };
        match index.advance() {
            Some(true) if self.end.as_ref().is_some_and(|end| index.key() >= &end[..]) => {
                self.exhausted = true;
                Ok(None)
            }
            Some(true) => self.block_here().map(Some),
            Some(false) => Ok(None),
            None => Err(self.run.corrupt("index block")),
        }
    }

    /// The block the index stands on.
    fn block_here(&self) -> Result<BlockRef> {
        let block = self.index.as_ref().and_then(|index| BlockRef::decode(index.value()));
        block.ok_or(self.run.corrupt("index block"))
    }

    /// Reads the index block that the root stands on.
    async fn enter_partition(&mut self) -> Result<()> {
        let partition = Partition::decode(self.root.value()).ok_or(self.run.corrupt("root index"))?;
        let payload = self.run.fetch(Kind::Index, partition.index).await?;
        self.index = Some(EntriesCursor::new(payload).ok_or(self.run.corrupt("index block"))?);
        Ok(())
    }
}
