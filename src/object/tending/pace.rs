//! The pace of background jobs: full speed while there are no clients, half of that or less beside them.
//!
//! Owns [`Pace`], which a job asks for leave between two steps (a step moves some hundred KiB), and [`Urgency`], by
//! which the data core that wants the job says that it cannot wait. Uses the pulses of the data cores, which tell
//! whether clients ask for anything. Invariant: a job waits only between steps, when it holds nothing that a client may
//! want.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::limits::PACE_REST_MS_MAX;
use crate::base::metrics::JobKind;
use crate::object::core::Core;

/// Whether work may take its time; set by whoever wants it, on any thread.
#[derive(Clone, Debug, Default)]
pub struct Urgency(Arc<AtomicBool>);

impl Urgency {
    pub fn set(&self, urgent: bool) {
        self.0.store(urgent, Ordering::Relaxed);
    }

    pub fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The background core is ending: the work stops where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub struct GivenUp;

/// The pace of one job. Counts what the job does until it is dropped.
pub struct Pace {
    core: Rc<Core>,
    kind: JobKind,
    urgency: Urgency,
    /// The pulse of all data cores when the step began.
    pulse: Cell<u64>,
    begun: Cell<Instant>,
}

impl Pace {
    pub fn new(core: &Rc<Core>, kind: JobKind, urgency: Urgency) -> Self {
        let pulse = Cell::new(core.peers.pulse());
        Pace { core: core.clone(), kind, urgency, pulse, begun: Cell::new(Instant::now()) }
    }

    /// Ends a step in which `bytes` were written and waits until the next one may begin: at once when the
    /// work is urgent or nobody asked for anything meanwhile, else for as long as the step took.
    pub async fn step(&self, bytes: u64) -> Result<(), GivenUp> {
        self.step_and_rest(bytes, 1).await
    }

    /// As `step`, with a rest of `times` what the step took: for work that is cheap enough to take its time.
    pub async fn step_and_rest(&self, bytes: u64, times: u32) -> Result<(), GivenUp> {
        let took = self.count(bytes);
        if self.core.duty.is_over() {
            return Err(GivenUp);
        }
        let pulse = self.core.peers.pulse();
        let busy = self.pulse.replace(pulse) != pulse;
        if busy && !self.urgency.is_urgent() {
            let rest = (took * times).min(Duration::from_millis(PACE_REST_MS_MAX));
            tokio::select! {
                biased;
                () = tokio::time::sleep(rest) => {}
                () = self.core.retired() => {}
            }
        }
        self.begun.set(Instant::now());
        Ok(())
    }

    fn count(&self, bytes: u64) -> Duration {
        let took = self.begun.get().elapsed();
        let counters = self.core.duty.counters(self.kind);
        counters.busy_us.add(took.as_micros() as u64);
        counters.bytes.add(bytes);
        took
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.count(0);
        self.core.duty.counters(self.kind).jobs.increment();
    }
}
