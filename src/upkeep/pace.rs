//! How fast background work that nobody waits for may go: a bound in bytes a second, and at most half of the time.
//!
//! Jobs of data cores have a pace of their own (`object::tending::pace`): they run at full speed while there are no
//! clients, because a client may soon wait for their result. Nobody ever waits for a scrub. Resting as long as each
//! step took makes it yield: when clients keep the drives busy, each step takes longer, and so does the pause after it.
//! While a drive is being rebuilt or evacuated the bound in bytes is higher.

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
            .map(|drive| drive.condition())
            .any(|drive| drive.is_being_filled() || drive.evacuation() == Evacuation::UnderWay);
        let rate = if is_urgent { REBUILD_BYTES_PER_SECOND } else { SCRUB_BYTES_PER_SECOND };
        let due = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        tokio::time::sleep(due.max(self.since.elapsed())).await;
        self.since = Instant::now();
    }
}
