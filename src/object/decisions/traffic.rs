//! Which objects versions came to, and which they went from, since some moment.
//!
//! A scan passes the versions of an object newest first, and may wait on its way. Only if meanwhile one came where it
//! had passed and another went where it had not, it may have missed that the object had a version throughout. Objects
//! share slots by a hash, so an answer is sure when it says that nothing happened, and may be wrong when it says that
//! something did. State of one thread, of a fixed size, forgotten with a restart.

use std::cell::Cell;

use crate::catalog::key::{self, ORDER_UNVERSIONED};
use crate::catalog::run::filter;

/// Slots: 4 KiB a shard, and one object in 256 is taken for another.
const SLOTS: usize = 256;

/// A place in the sequence of all that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// When something last happened to the objects of each slot.
pub struct Traffic {
    now: Cell<Moment>,
    came: [Cell<Moment>; SLOTS],
    went: [Cell<Moment>; SLOTS],
}

impl Default for Traffic {
    fn default() -> Self {
        let slots = || std::array::from_fn(|_| Cell::default());
        Traffic { now: Cell::default(), came: slots(), went: slots() }
    }
}

impl Traffic {
    /// The moment before whatever happens next.
    pub fn now(&self) -> Moment {
        self.now.get()
    }

    /// A version was put. One of order 0 stands behind all others, where no scan has passed.
    pub fn come(&self, version: &[u8]) {
        if key::order_of(version) != Some(ORDER_UNVERSIONED) {
            self.note(&self.came, version);
        }
    }

    /// A version was taken away.
    pub fn go(&self, version: &[u8]) {
        self.note(&self.went, version);
    }

    /// Whether a version may have come to the object of this version since.
    pub fn has_come(&self, version: &[u8], since: Moment) -> bool {
        self.came[slot(version)].get() > since
    }

    /// Whether one may have gone.
    pub fn has_gone(&self, version: &[u8], since: Moment) -> bool {
        self.went[slot(version)].get() > since
    }

    fn note(&self, slots: &[Cell<Moment>; SLOTS], version: &[u8]) {
        let now = Moment(self.now.get().0 + 1);
        self.now.set(now);
        slots[slot(version)].set(now);
    }
}

fn slot(version: &[u8]) -> usize {
    filter::hash(key::object_of(version)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_to_an_object_is_known_whichever_version_is_named() {
        let traffic = Traffic::default();
        let at = |name: &str, order| key::version(1, name, order);
        let before = traffic.now();
        assert!(!traffic.has_come(&at("a", 5), before) && !traffic.has_gone(&at("a", 5), before));
        traffic.come(&at("a", 7));
        assert!(traffic.has_come(&at("a", 5), before) && !traffic.has_gone(&at("a", 5), before));
        let between = traffic.now();
        traffic.go(&at("a", 5));
        assert!(!traffic.has_come(&at("a", 9), between) && traffic.has_gone(&at("a", 9), between));
    }

    #[test]
    fn other_objects_are_rarely_taken_for_it_and_an_only_version_is_none_that_comes() {
        let traffic = Traffic::default();
        let before = traffic.now();
        (0..1000).for_each(|n| traffic.come(&key::version(1, &format!("plain {n}"), ORDER_UNVERSIONED)));
        assert_eq!(traffic.now(), before);
        traffic.come(&key::version(1, "a", 1));
        let taken = |n: &usize| traffic.has_come(&key::version(1, &format!("other {n}"), 1), before);
        assert!((0..1000).filter(taken).count() < 20);
    }
}
