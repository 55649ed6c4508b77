//! How fast work nobody waits for may go: a bound in bytes a second, and never more than half of the time.
//!
//! Jobs of data cores have another pace (`object::pace`): they go as fast as they can while no client is there, because
//! somebody may soon wait for them. Nobody ever waits for a scrub. The second rule makes it yield: when clients keep
//! the drives busy, each step takes longer, and so does the pause behind it. While a drive is being filled again or
//! emptied the bound is a higher one.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::limits::{REBUILD_BYTES_PER_SECOND, SCRUB_BYTES_PER_SECOND};
use crate::base::metrics::Evacuation;
use crate::object::core::Core;

pub struct Pace {
    core: Rc<Core>,
    /// End of the last pause.
    since: Instant,
}

impl Pace {
    pub fn new(core: Rc<Core>) -> Self {
        Pace { core, since: Instant::now() }
    }

    /// Pauses behind a step that moved `bytes`.
    pub async fn step(&mut self, bytes: u64) {
        let is_urgent = self
            .core
            .pool
            .drives
            .iter()
            .map(|drive| drive.shared())
            .any(|drive| drive.is_rebuilding() || drive.evacuation() == Evacuation::UnderWay);
        let rate = if is_urgent { REBUILD_BYTES_PER_SECOND } else { SCRUB_BYTES_PER_SECOND };
        let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        tokio::time::sleep(due.max(self.since.elapsed())).await;
        self.since = Instant::now();
    }
}
