//! Events that wait to be told: the queue of one shard, and how an event comes into it.
//!
//! An event is one more operation of the record that commits the change it tells of, so neither is ever there
//! without the other. Which rule wants it is decided by the owner of the key under the settings that hold at
//! commit. The catalog holds the events; [`Events`] knows which there are, by target, and follows from records
//! like everything else (`Shard::apply`, and a scan at start).
//! Invariants: events of a key have ascending sequences in the order of their changes, over restarts too (versions
//! that are deleted by their ids at the same time are in no order); nobody
//! is shown an event while one with a lower sequence may still come; no
//! target has more events waiting in a shard than its bound, places of changes under way ([`Ticket`])
//! included, and whoever finds none is refused before anything changes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::commit::BucketRef;
use crate::base::limits::EVENTS_DEFAULT;
use crate::base::metrics::NotificationMetrics;
use crate::catalog::event::{EventKind, EventValue};
use crate::catalog::key;
use crate::catalog::meta::ObjectMeta;
use crate::catalog::record::{Operation, Sequence};
use crate::object::error::ObjectError;
use crate::object::registry::buckets::Bucket;
use crate::object::shard::{Shard, damaged};

/// What is told of a change beyond the change itself.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub cause: Cause,
    /// `None` where nobody asked, or nobody wanted to know when the request came in.
    pub asked: Option<Box<Asked>>,
}

/// How a change came about, where its operation alone does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    #[default]
    Plain,
    /// An object came as a form.
    Post,
    /// An object came from another one.
    Copy,
    /// Tags were deleted, rather than replaced by none.
    Untag,
    /// A lifecycle rule.
    Expiration,
}

/// The request behind a change.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub request: String,
    pub source: String,
    pub principal: String,
}

impl Cause {
    pub fn of_put(self) -> EventKind {
        match self {
            Cause::Post => EventKind::CreatedPost,
            Cause::Copy => EventKind::CreatedCopy,
            _ => EventKind::CreatedPut,
        }
    }

    pub fn of_removal(self, marks: bool) -> EventKind {
        match (self, marks) {
            (Cause::Expiration, false) => EventKind::ExpiredDelete,
            (Cause::Expiration, true) => EventKind::ExpiredMarker,
            (_, false) => EventKind::RemovedDelete,
            (_, true) => EventKind::RemovedMarker,
        }
    }

    pub fn of_tags(self) -> EventKind {
        match self {
            Cause::Untag => EventKind::TaggingDelete,
            _ => EventKind::TaggingPut,
        }
    }
}

/// What an event is about.
pub struct Subject<'a> {
    pub named: &'a BucketRef,
    pub key: &'a str,
    pub version_id: Option<&'a str>,
    /// The object, where it is there behind the change.
    pub meta: Option<&'a ObjectMeta>,
}

/// Which events wait in a shard.
pub struct Events {
    targets: RefCell<BTreeMap<String, Waiting>>,
    last: Cell<Sequence>,
    bound: Cell<usize>,
    /// Rung when there may be something to tell.
    bells: Arc<[Notify]>,
    shard: usize,
}

#[derive(Default)]
struct Waiting {
    sequences: BTreeSet<u64>,
    /// Of changes that are not durable yet.
    reserved: BTreeSet<u64>,
    refused: u64,
}

impl Waiting {
    fn look(&mut self, bound: usize) -> Result<(), ObjectError> {
        if self.sequences.len() + self.reserved.len() < bound {
            return Ok(());
        }
        self.refused += 1;
        Err(ObjectError::SlowDown)
    }
}

/// A place in the queue, held until the event is in it.
pub struct Ticket<'e> {
    events: &'e Events,
    target: String,
    sequence: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.events.targets.borrow_mut().get_mut(&self.target) {
            waiting.reserved.remove(&self.sequence);
        }
        // What this change brought may be shown now, and what came behind it.
        if let Some(bell) = self.events.bells.get(self.events.shard) {
            bell.notify_one();
        }
    }
}

impl Events {
    /// Of shard number `shard`, in an epoch; sequences continue behind those of every earlier one.
    pub fn new(epoch: u32, shard: usize, bells: Arc<[Notify]>) -> Self {
        let (last, bound) = (Cell::new(Sequence::first(epoch)), Cell::new(EVENTS_DEFAULT));
        Events { targets: RefCell::default(), last, bound, bells, shard }
    }

    /// Events that may wait for one target.
    pub fn set_bound(&self, bound: usize) {
        self.bound.set(bound);
    }

    /// An event is in the catalog.
    pub fn note(&self, at: &[u8]) {
        let Some((target, sequence)) = key::parse_event(at) else { return };
        let mut targets = self.targets.borrow_mut();
        match targets.get_mut(target) {
            Some(waiting) => waiting.sequences.insert(sequence),
            None => targets.entry(target.to_owned()).or_default().sequences.insert(sequence),
        };
    }

    /// An event left the catalog.
    pub fn forget(&self, at: &[u8]) {
        let Some((target, sequence)) = key::parse_event(at) else { return };
        if let Some(waiting) = self.targets.borrow_mut().get_mut(target) {
            waiting.sequences.remove(&sequence);
        }
    }

    /// Whether a target has a place left now; who finds none counts as refused.
    pub fn look(&self, target: &str) -> Result<(), ObjectError> {
        match self.targets.borrow_mut().get_mut(target) {
            Some(waiting) => waiting.look(self.bound.get()),
            None => Ok(()),
        }
    }

    fn reserve(&self, target: &str) -> Result<Ticket<'_>, ObjectError> {
        let mut targets = self.targets.borrow_mut();
        let waiting = targets.entry(target.to_owned()).or_default();
        waiting.look(self.bound.get())?;
        self.last.set(self.last.get().next());
        let sequence = self.last.get().0;
        waiting.reserved.insert(sequence);
        Ok(Ticket { events: self, target: target.to_owned(), sequence })
    }

    /// The targets for which something waits.
    pub fn targets(&self) -> Vec<String> {
        let targets = self.targets.borrow();
        let busy = targets.iter().filter(|(_, waiting)| !waiting.sequences.is_empty());
        busy.map(|(target, _)| target.clone()).collect()
    }

    /// Sequences of what waits for a target behind `after`, oldest first, up to a change that is under way: what
    /// its key brings next must not come before it.
    fn behind(&self, target: &str, after: u64, limit: usize) -> Vec<u64> {
        let targets = self.targets.borrow();
        let Some(waiting) = targets.get(target) else { return Vec::new() };
        let end = waiting.reserved.first().copied().unwrap_or(u64::MAX);
        let shown =
            waiting.sequences.range(after.saturating_add(1)..).take_while(|sequence| **sequence < end);
        shown.take(limit).copied().collect()
    }

    pub fn metrics(&self) -> Vec<NotificationMetrics> {
        let figures = |(target, waiting): (&String, &Waiting)| NotificationMetrics {
            target: target.clone(),
            queued: waiting.sequences.len() as u64,
            refused: waiting.refused,
            ..NotificationMetrics::default()
        };
        self.targets.borrow().iter().map(figures).collect()
    }
}

impl Shard {
    /// Adds to `operations` what has a change told to whom the bucket's configuration names. The ticket, if
    /// there is one, is kept until the record is applied. The caller holds the lock of the key,
    /// or a share of it.
    pub fn tell(
        &self,
        operations: &mut Vec<Operation>,
        bucket: &Bucket,
        kind: EventKind,
        subject: Subject<'_>,
        origin: &Origin,
    ) -> Result<Option<Ticket<'_>>, ObjectError> {
        let Some(notification) = &bucket.settings.notification else { return Ok(None) };
        let Some(rule) = notification.matching(kind.name(), subject.key) else { return Ok(None) };
        let ticket = self.events.reserve(rule.target())?;
        // Where there are no versions, an object has no id worth telling.
        let version = subject.version_id.filter(|_| bucket.settings.versioning.is_some());
        let asked = origin.asked.as_deref().cloned().unwrap_or_default();
        let event = EventValue {
            kind,
            time: self.pool.world.now(),
            bucket: subject.named.name.clone(),
            owner: bucket.value.owner.clone(),
            region: bucket.value.region.clone(),
            rule: rule.id.clone(),
            key: subject.key.to_owned(),
            version: version.unwrap_or_default().to_owned(),
            object: subject.meta.map(|meta| (meta.size, meta.etag)),
            request: asked.request,
            source: asked.source,
            principal: asked.principal,
        };
        let at = key::event(rule.target(), ticket.sequence);
        operations.push(Operation::Put { key: at, value: event.encode() });
        Ok(Some(ticket))
    }

    /// Events that wait for a target behind sequence `after`, oldest first, as they are stored.
    pub async fn event_page(
        self: Rc<Self>,
        target: String,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, ObjectError> {
        let mut page = Vec::new();
        for sequence in self.events.behind(&target, after, limit) {
            // One that was told meanwhile is not there any more.
            if let Some(value) = self.get(&key::event(&target, sequence)).await? {
                page.push((sequence, value.to_vec()));
            }
        }
        Ok(page)
    }

    /// Deletes events that were told.
    pub async fn forget_events(
        self: Rc<Self>,
        target: String,
        sequences: Vec<u64>,
    ) -> Result<(), ObjectError> {
        self.log.admit_freeing().await?;
        let delete = |sequence: &u64| Operation::Delete { key: key::event(&target, *sequence) };
        self.commit_internal(sequences.iter().map(delete).collect()).await
    }

    /// Learns at start which events the catalog holds.
    pub(in crate::object) async fn load_events(&self) -> Result<(), ObjectError> {
        let (start, end) = key::events();
        let mut scan = self.index.scan(start, end);
        while let Some((at, _)) = scan.next().await? {
            key::parse_event(&at).ok_or_else(|| damaged("event key"))?;
            self.events.note(&at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bound: usize) -> Events {
        let events = Events::new(3, 0, Arc::new([Notify::new()]));
        events.set_bound(bound);
        events
    }

    #[test]
    fn a_place_is_taken_from_its_reservation_until_the_event_is_told() {
        let events = events(2);
        let first = events.reserve("t").expect("there is room");
        let (sequence, at) = (first.sequence, key::event("t", first.sequence));
        let second = events.reserve("t").expect("there is room");
        assert!(second.sequence > sequence && events.reserve("t").is_err());
        assert!(events.look("t").is_err() && events.look("another").is_ok());
        assert!(events.reserve("another").is_ok(), "targets do not take each other's places");
        drop(second);
        events.note(&at);
        drop(first);
        assert_eq!(events.targets(), ["t"]);
        assert_eq!(events.behind("t", 0, 9), [sequence]);
        assert_eq!(events.behind("t", sequence, 9), [0; 0]);
        let second = events.reserve("t").expect("the second place was given back");
        assert!(events.reserve("t").is_err());
        drop(second);
        events.forget(&at);
        assert!(events.reserve("t").is_ok() && events.targets().is_empty());
        assert_eq!(events.metrics().iter().map(|of| of.refused).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn what_overtook_a_change_under_way_is_not_shown_before_it() {
        let events = events(9);
        let [first, second, third] = [(); 3].map(|()| events.reserve("t").expect("there is room"));
        let sequences = [&first, &second, &third].map(|ticket| ticket.sequence);
        events.note(&key::event("t", sequences[0]));
        drop(first);
        events.note(&key::event("t", sequences[2]));
        drop(third);
        assert_eq!(events.behind("t", 0, 9), sequences[..1]);
        assert_eq!(events.behind("t", sequences[0], 9), [0; 0]);
        events.note(&key::event("t", sequences[1]));
        drop(second);
        assert_eq!(events.behind("t", sequences[0], 9), sequences[1..]);
        assert_eq!(events.behind("t", 0, 2), sequences[..2]);
    }

    #[test]
    fn keys_that_are_none_are_passed() {
        let events = events(1);
        events.note(&[0x58, 9, b'x']);
        events.forget(&[0x58]);
        assert!(events.targets().is_empty());
    }
}
