//! Several sorted sources as one: the newest entry of each key, in key order.
//!
//! Owns the order of the sources by their current keys. With few sources, mostly in favour of one,
//! a sorted list beats a heap: the common step costs one comparison. Sources are given newest first;
//! of equal keys the newest wins and the others are passed over. Tombstones are entries like others.
//! Invariant: `order` holds exactly the sources that stand on an entry, sorted by key, then age.

use std::cmp::Ordering;
use std::rc::Rc;

use bytes::Bytes;

use crate::catalog::error::Result;
use crate::catalog::memtable::TableCursor;
use crate::catalog::run::cursor::{Step, TierCursor};
use crate::catalog::run::entries::Form;
use crate::catalog::run::reader::Run;
use crate::catalog::run::store::RunStore;

pub enum Source<S: RunStore> {
    Table(TableSource),
    Tier(Box<TierCursor<S>>),
}

/// A table cursor that steps like the others: onto its first entry first.
pub struct TableSource {
    cursor: TableCursor,
    entered: bool,
}

pub struct Union<S: RunStore> {
    sources: Vec<Source<S>>,
    order: Vec<usize>,
    /// Sources at the front of `order` whose entry has been given out or passed over.
    spent: usize,
    started: bool,
}

/// Value of the current entry.
pub enum Value<'a, S: RunStore> {
    Tombstone,
    Inline(&'a [u8]),
    /// References to value blocks of a run.
    Large(&'a Rc<Run<S>>, &'a [u8]),
}

impl<S: RunStore> Union<S> {
    /// `sources`, newest first, are not on an entry yet.
    pub fn new(sources: Vec<Source<S>>) -> Self {
        Union { order: Vec::with_capacity(sources.len()), sources, spent: 0, started: false }
    }

    /// Moves to the next key; false at the end.
    pub async fn next(&mut self) -> Result<bool> {
        if !self.started {
            self.started = true;
            for id in 0..self.sources.len() {
                self.enter(id).await?;
            }
        }
        for at in (0..self.spent).rev() {
            self.step(at).await?;
        }
        self.spent = self.equal_at_front();
        Ok(self.spent > 0)
    }

    /// Makes `next` move to the first key at or after `key`, which is beyond the current one.
    pub async fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.spent = 0;
        if !self.started {
            self.started = true;
            self.order.extend(0..self.sources.len());
        }
        let behind = |id: &usize| self.sources[*id].key().is_none_or(|current| current < key);
        let moved: Vec<usize> = self.order.extract_if(.., |id| behind(id)).collect();
        for id in moved {
            self.sources[id].seek(key).await?;
            self.enter(id).await?;
        }
        Ok(())
    }

    pub fn key(&self) -> &[u8] {
        self.head().and_then(Source::key).unwrap_or_default()
    }

    pub fn value(&self) -> Value<'_, S> {
        self.head().map_or(Value::Tombstone, Source::value)
    }

    /// The current value if it is inline, as a piece of the memory it stands in.
    pub fn inline_bytes(&self) -> Option<Bytes> {
        match self.head()? {
            Source::Table(table) => table.cursor.entry()?.value(),
            Source::Tier(tier) => (tier.form() == Form::Inline).then(|| tier.value_bytes()),
        }
    }

    fn head(&self) -> Option<&Source<S>> {
        self.order.first().map(|id| &self.sources[*id])
    }

    /// Steps a source that is not in `order` and puts it there.
    async fn enter(&mut self, id: usize) -> Result<()> {
        if self.sources[id].next().await? {
            self.order.insert(0, id);
            self.sift(0);
        }
        Ok(())
    }

    #[inline]
    async fn step(&mut self, at: usize) -> Result<()> {
        let source = &mut self.sources[self.order[at]];
        let alive = match source.step()? {
            Step::Entry => true,
            Step::End => false,
            Step::Load => source.next().await?,
        };
        if alive {
            self.sift(at);
        } else {
            self.order.remove(at);
        }
        Ok(())
    }

    /// Moves the source at `at` back to its place; those behind it are in order.
    #[inline]
    fn sift(&mut self, mut at: usize) {
        while at + 1 < self.order.len() && self.cmp(self.order[at], self.order[at + 1]) == Ordering::Greater {
            self.order.swap(at, at + 1);
            at += 1;
        }
    }

    #[inline]
    fn cmp(&self, a: usize, b: usize) -> Ordering {
        self.sources[a].key().cmp(&self.sources[b].key()).then(a.cmp(&b))
    }

    fn equal_at_front(&self) -> usize {
        let Some((first, others)) = self.order.split_first() else { return 0 };
        let key = self.sources[*first].key();
        1 + others.iter().take_while(|id| self.sources[**id].key() == key).count()
    }
}

impl<S: RunStore> Source<S> {
    pub fn table(cursor: TableCursor) -> Self {
        Source::Table(TableSource { cursor, entered: false })
    }

    pub fn tier(cursor: TierCursor<S>) -> Self {
        Source::Tier(Box::new(cursor))
    }

    /// Key of the current entry; `None` before the first and after the last.
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Table(table) if !table.entered => None,
            Source::Table(table) => table.cursor.entry().map(|entry| entry.key()),
            Source::Tier(tier) => tier.key(),
        }
    }

    fn value(&self) -> Value<'_, S> {
        match self {
            Source::Table(table) => table
                .cursor
                .entry()
                .and_then(|entry| entry.value_slice())
                .map_or(Value::Tombstone, Value::Inline),
            Source::Tier(tier) => match (tier.form(), tier.run()) {
                (Form::Inline, _) => Value::Inline(tier.value()),
                (Form::Large, Some(run)) => Value::Large(run, tier.value()),
                (Form::Tombstone, _) | (Form::Large, None) => Value::Tombstone,
            },
        }
    }

    #[inline]
    fn step(&mut self) -> Result<Step> {
        match self {
            Source::Table(table) => {
                if std::mem::replace(&mut table.entered, true) {
                    table.cursor.advance();
                }
                Ok(if table.cursor.entry().is_some() { Step::Entry } else { Step::End })
            }
            Source::Tier(tier) => tier.step(),
        }
    }

    async fn next(&mut self) -> Result<bool> {
        loop {
            match (self.step()?, &mut *self) {
                (Step::Entry, _) => return Ok(true),
                (Step::Load, Source::Tier(tier)) => tier.load().await?,
                (Step::End, _) | (Step::Load, Source::Table(_)) => return Ok(false),
            }
        }
    }

    async fn seek(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Source::Table(table) => {
                table.cursor.seek(key);
                table.entered = false;
                Ok(())
            }
            Source::Tier(tier) => tier.seek(key).await,
        }
    }
}
