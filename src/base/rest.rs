//! Rests in long computations on a data thread: rule R1.
//!
//! Owns [`rest`], a wait for a timer, and [`Stint`], which counts the steps of a computation that never waits for
//! anything else and says when a rest is due. Giving up one's turn alone is no rest: a task that is ready again at
//! once keeps the thread from its clients and its ring. May use timers and nothing else.

use std::time::Duration;

use crate::base::limits::REST_MS;

/// A pause in a long computation, for the other tasks of the core.
pub async fn rest() {
    tokio::time::sleep(Duration::from_millis(REST_MS)).await;
}

/// Steps taken since the last rest.
#[derive(Debug)]
pub struct Stint {
    taken: usize,
    max: usize,
}

impl Stint {
    /// `max` steps take well below a millisecond.
    pub fn new(max: usize) -> Self {
        assert!(max > 0);
        Stint { taken: 0, max }
    }

    /// Counts steps that were taken; whether a rest is due, which the caller takes.
    #[inline]
    pub fn take(&mut self, steps: usize) -> bool {
        self.taken += steps;
        if self.taken < self.max {
            return false;
        }
        self.taken = 0;
        true
    }

    /// Counts steps that were taken, and rests when enough have been. A timer is large and a rest is rare: it is
    /// kept out of the futures of those who step.
    #[inline]
    pub async fn step(&mut self, steps: usize) {
        if self.take(steps) {
            Box::pin(rest()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rest_waits_for_a_timer_and_comes_as_often_as_it_should() {
        let begun = tokio::time::Instant::now();
        let mut stint = Stint::new(100);
        for _ in 0..99 {
            stint.step(1).await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 99..1000 {
            stint.step(1).await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(10 * REST_MS));
        assert!(!stint.take(50) && stint.take(50) && !stint.take(99));
    }
}
