//! When upkeep looks for work: often while clients are active, seldom when none are.
//!
//! Owns [`Rhythm`], one for each task of `tend`. The ticks of all tasks fall on one grid, so that a core wakes up once
//! for all of them. A long tick counts as the number of short ticks it is made of, so looking seldom does not change
//! what is due after so many ticks. May use the pulses of the cores. Invariant: the first request after a quiet time is
//! noticed within one long tick.

use std::time::Duration;

use crate::base::limits::{QUIET_TICKS, TEND_TICK_MS, TICKS_WHEN_QUIET};
use crate::object::core::Peers;

/// Of one task.
pub struct Rhythm {
    peers: Peers,
    /// Ticks on the grid that have passed.
    now: u64,
    /// What clients had asked for when it was last another number, and the tick of that.
    pulse: u64,
    stirred: u64,
}

impl Rhythm {
    pub fn new(peers: &Peers) -> Self {
        let pulse = peers.pulse();
        let mut rhythm = Rhythm { peers: peers.clone(), now: 0, pulse, stirred: 0 };
        rhythm.now = rhythm.passed();
        rhythm.stirred = rhythm.now;
        rhythm
    }

    /// Waits for the next tick. Answers which ticks have passed since the last one.
    pub async fn tick(&mut self) -> Ticks {
        let (before, step) = (self.now, if self.is_quiet() { TICKS_WHEN_QUIET } else { 1 });
        let next = (before / step + 1) * step;
        tokio::time::sleep_until(self.peers.begun + Duration::from_millis(next * TEND_TICK_MS)).await;
        self.now = self.passed().max(next);
        Ticks { before, now: self.now }
    }

    fn is_quiet(&mut self) -> bool {
        let pulse = self.peers.pulse();
        if pulse != self.pulse {
            (self.pulse, self.stirred) = (pulse, self.now);
        }
        self.now - self.stirred >= QUIET_TICKS
    }

    fn passed(&self) -> u64 {
        self.peers.begun.elapsed().as_millis() as u64 / TEND_TICK_MS
    }
}

/// From one tick to another.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    before: u64,
    now: u64,
}

impl Ticks {
    /// Whether something that is due every so many ticks was due in between.
    pub fn is_due(self, every: u32) -> bool {
        self.now / u64::from(every) > self.before / u64::from(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{COMPACT_TICKS, FOLD_TICKS};
    use crate::object::tending::background::Pulse;
    use std::sync::Arc;
    use tokio::time::Instant;

    fn peers() -> Peers {
        Peers {
            inboxes: Arc::new([]),
            background: Arc::new([]),
            pulses: Arc::new([Pulse::default(), Pulse::default()]),
            news: Arc::new([]),
            owners: Arc::new([]),
            bells: Arc::new([]),
            begun: Instant::now(),
        }
    }

    /// Turns of a task in a minute, and how often what is due was.
    async fn minute(rhythm: &mut Rhythm) -> (u64, u64, u64) {
        let end = Instant::now() + Duration::from_secs(60);
        let (mut turns, mut compacted, mut folded) = (0, 0, 0);
        while Instant::now() < end {
            let ticks = rhythm.tick().await;
            turns += 1;
            compacted += u64::from(ticks.is_due(COMPACT_TICKS));
            folded += u64::from(ticks.is_due(FOLD_TICKS));
        }
        (turns, compacted, folded)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_core_looks_seldom_and_everything_is_due_as_often() {
        let peers = peers();
        let mut rhythm = Rhythm::new(&peers);
        let (busy, ..) = minute(&mut rhythm).await;
        let (turns, compacted, folded) = minute(&mut rhythm).await;
        assert_eq!((turns, compacted, folded), (240, 240, 12));
        assert!((400..800).contains(&(busy - 200)), "ten seconds of it were not quiet yet: {busy}");
        // A client of another core.
        peers.pulses[1].beat();
        let begun = Instant::now();
        rhythm.tick().await;
        assert!(begun.elapsed() <= Duration::from_millis(TICKS_WHEN_QUIET * TEND_TICK_MS));
        let begun = Instant::now();
        rhythm.tick().await;
        rhythm.tick().await;
        assert!(begun.elapsed() <= Duration::from_millis(3 * TEND_TICK_MS));
    }
}
