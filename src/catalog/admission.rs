//! Which records a log takes while segments for it are short.
//!
//! Whatever is committed takes room in the log, and only emptying old segments (packing) gives room back, which commits
//! records itself. So what adds bytes stops first, then what gives space back, and what packing commits never does:
//!
//! | what is known ([`Known`], [`Fill`]) | adds bytes | gives space back | packing |
//! |---|---|---|---|
//! | two more segments may be begun, and can be | taken | taken | taken |
//! | the supply is scarce or denied, or one more may be begun | waits | taken | taken |
//! | none may be begun beside those there are | waits | waits | taken |
//! | emptying is stuck, and the log half full, the supply scarce or the reserve spent | refused | taken | taken |
//! | emptying is stuck, and none may be begun | refused | refused | taken |
//! | emptying was not tried since a start that found the reserve spent | refused | as while it works | taken |
//! | the file systems are full (`Pool::is_short`) | refused | as above | taken |
//!
//! What was taken finds a segment, though more be taken at once than fits: there is always one more to be begun for it
//! (`log::next`). With the supply denied even a batch that was taken is refused whole (`log`), as long as nothing of it
//! was written.
//! Invariant: whoever waits is woken by every change that may let it in (`relieve`).

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::pool::Pool;

/// What becomes of a record that asks to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// Until a segment is emptied.
    Waits,
    Refused,
}

/// Whether a next segment could be begun, when that was last tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supply {
    #[default]
    Ample,
    /// None, or only one of those that are kept for a core without any.
    Scarce,
    /// Not even one of those, and the core has none.
    Denied,
}

/// Whether the oldest segment can be emptied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Emptying {
    #[default]
    Works,
    /// It was not tried since the start, and the reserve may be spent.
    Doubtful,
    /// It could not when that was last tried.
    Stuck,
}

/// How many segments of one log hold records, of those that may.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub live: usize,
    pub max: usize,
}

impl Fill {
    /// Whether fewer segments than that may be begun.
    fn lacks(self, segments: usize) -> bool {
        self.live + segments > self.max
    }
}

/// What is known of the room for one log.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    supply: Supply,
    /// The reserve of the drives, their last segments, was needed and has not come back.
    is_spent: bool,
    emptying: Emptying,
    /// The file systems under the drives are full.
    is_short: bool,
}

impl Known {
    /// For a record that adds bytes to the store.
    fn adding(self, fill: Fill) -> Verdict {
        match () {
            () if self.is_full(fill) => Verdict::Refused,
            () if self.lacks_two(fill) => Verdict::Waits,
            () => Verdict::Taken,
        }
    }

    /// For a record that gives space back. The last segment is for those that packing commits: without room for them
    /// nothing is ever emptied.
    fn freeing(self, fill: Fill) -> Verdict {
        match () {
            () if !fill.lacks(1) => Verdict::Taken,
            () if self.emptying == Emptying::Stuck => Verdict::Refused,
            () => Verdict::Waits,
        }
    }

    /// Whether records that add bytes are refused.
    pub fn is_full(self, fill: Fill) -> bool {
        let is_crammed = self.is_spent || self.lacks_two(fill) || self.wants_retiring(fill);
        self.is_short || self.may_be_stuck() && is_crammed
    }

    /// Whether the oldest segments should be emptied: half of those there may be hold records, or
    /// there are no more.
    pub fn wants_retiring(self, fill: Fill) -> bool {
        fill.live > fill.max / 2 || self.is_scarce()
    }

    /// Whether little is left before records that add bytes have to wait.
    pub fn is_crowded(self, fill: Fill) -> bool {
        fill.live > fill.max * 3 / 4 || self.is_scarce() || self.may_be_stuck()
    }

    fn lacks_two(self, fill: Fill) -> bool {
        self.is_scarce() || fill.lacks(2)
    }

    fn may_be_stuck(self) -> bool {
        self.emptying != Emptying::Works
    }

    /// Whether no segment could be begun, or only with room that is kept for what gives space back.
    fn is_scarce(self) -> bool {
        self.supply != Supply::Ample || self.is_short
    }
}

/// Finds out what is known, and wakes whoever waits for it to change.
pub struct Admission {
    pool: Rc<Pool>,
    supply: Cell<Supply>,
    is_spent: Cell<bool>,
    emptying: Cell<Emptying>,
    relieved: Notify,
}

impl Admission {
    pub fn new(pool: Rc<Pool>) -> Self {
        Admission {
            pool,
            supply: Cell::default(),
            is_spent: Cell::default(),
            emptying: Cell::default(),
            relieved: Notify::new(),
        }
    }

    /// What is free is known from here on. Where the reserve may be spent, nothing is added before the oldest segment
    /// was tried, and what gives space back waits for that rather than being refused.
    pub fn begin(&self) {
        self.look_at_reserve();
        self.emptying.set(if self.is_spent.get() { Emptying::Doubtful } else { Emptying::Works });
    }

    /// For a record that adds bytes to the store.
    pub fn adding(&self, fill: Fill) -> Verdict {
        self.known().adding(fill)
    }

    /// For a record that gives space back.
    pub fn freeing(&self, fill: Fill) -> Verdict {
        self.known().freeing(fill)
    }

    pub fn known(&self) -> Known {
        Known {
            supply: self.supply.get(),
            is_spent: self.is_spent.get(),
            emptying: self.emptying.get(),
            is_short: self.pool.is_short(),
        }
    }

    pub fn supply(&self) -> Supply {
        self.supply.get()
    }

    /// Whether there was no segment at all to be begun, and is no room for another one yet.
    pub fn is_at_last(&self) -> bool {
        self.supply() != Supply::Ample && self.is_spent.get()
    }

    /// What whoever tried to begin a segment found; what it was before.
    pub fn set_supply(&self, supply: Supply) -> Supply {
        let before = self.supply.replace(supply);
        if supply == Supply::Ample {
            self.relieve();
        }
        before
    }

    /// Whether the oldest segment could be emptied, as whoever tried it found.
    pub fn set_stuck(&self, is_stuck: bool) {
        self.emptying.set(if is_stuck { Emptying::Stuck } else { Emptying::Works });
        self.relieve();
    }

    /// Looks whether the reserve of the drives was needed, or has come back.
    pub fn look_at_reserve(&self) {
        let is_spent = self.pool.is_spent();
        if self.is_spent.replace(is_spent) != is_spent {
            self.relieve();
        }
    }

    /// Wakes whoever waits: something may be taken now, or never will be.
    pub fn relieve(&self) {
        self.relieved.notify_waiters();
    }

    /// Hears of whatever changes from this call on.
    pub fn relieved(&self) -> Notified<'_> {
        self.relieved.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Refused, Taken, Waits};

    const MAX: usize = 8;

    fn known() -> Known {
        Known { supply: Supply::Ample, is_spent: false, emptying: Emptying::Works, is_short: false }
    }

    fn verdicts(known: Known, live: usize) -> (Verdict, Verdict) {
        let fill = Fill { live, max: MAX };
        (known.adding(fill), known.freeing(fill))
    }

    /// The table of the page, line by line.
    #[test]
    fn what_adds_bytes_stops_before_what_gives_space_back() {
        let stuck = Known { emptying: Emptying::Stuck, ..known() };
        let all = [known(), Known { is_spent: true, ..known() }];
        for known in all {
            assert_eq!(verdicts(known, MAX - 2), (Taken, Taken));
            assert_eq!(verdicts(known, MAX - 1), (Waits, Taken));
            assert_eq!(verdicts(known, MAX), (Waits, Waits));
        }
        for supply in [Supply::Scarce, Supply::Denied] {
            assert_eq!(verdicts(Known { supply, ..known() }, 1), (Waits, Taken));
            assert_eq!(verdicts(Known { supply, ..stuck }, 1), (Refused, Taken));
        }
        assert_eq!(verdicts(stuck, MAX / 2), (Taken, Taken));
        assert_eq!(verdicts(stuck, MAX / 2 + 1), (Refused, Taken));
        assert_eq!(verdicts(Known { is_spent: true, ..stuck }, 1), (Refused, Taken));
        assert_eq!(verdicts(stuck, MAX), (Refused, Refused));
        let doubtful = Known { emptying: Emptying::Doubtful, is_spent: true, ..known() };
        assert_eq!(verdicts(doubtful, 1), (Refused, Taken));
        assert_eq!(verdicts(doubtful, MAX), (Refused, Waits));
        let short = Known { is_short: true, ..known() };
        assert_eq!(verdicts(short, 1), (Refused, Taken));
        assert_eq!(verdicts(short, MAX), (Refused, Waits));
    }

    #[test]
    fn the_log_is_emptied_before_anybody_waits() {
        let at = |live| Fill { live, max: MAX };
        assert_eq!([MAX / 2, MAX / 2 + 1].map(|live| known().wants_retiring(at(live))), [false, true]);
        assert_eq!([MAX * 3 / 4, MAX * 3 / 4 + 1].map(|live| known().is_crowded(at(live))), [false, true]);
        let scarce = Known { supply: Supply::Scarce, ..known() };
        assert!(scarce.wants_retiring(at(1)) && scarce.is_crowded(at(1)));
    }
}
