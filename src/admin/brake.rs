//! The log does not run away: what one place in the code says again and again is said about once a second.
//!
//! Owns [`Brake`], a layer of the log that every event passes. Each place may say some lines at once, then one a
//! second (`base::limits`); with the next line of the place stands how many were left out before it. Figures of
//! everything that may go wrong often are in the metrics as well. What is asked for by its level (debug, trace) is not
//! slowed down: whoever asks for that wants all of it.
//!
//! Invariants: memory is one entry for each place in the code; the lock is held for a few instructions, by threads that
//! are about to write a line and take a lock for that anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::base::limits::{LOG_LINE_SECONDS, LOG_LINES_AT_ONCE};

/// A layer that leaves out lines of places that say too many.
#[derive(Default)]
pub struct Brake {
    places: Mutex<HashMap<Identifier, Place>>,
}

/// What one place has said.
struct Place {
    /// Lines that it may say now, and since when it may say them.
    allowed: u32,
    since: Instant,
    /// Lines left out since the last one that was said.
    left_out: u64,
}

impl<S: Subscriber> Layer<S> for Brake {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let place = event.metadata();
        // What is left out is said once for each line that is said.
        let is_free = *place.level() > Level::INFO || place.target() == module_path!();
        is_free || self.takes(place.callsite(), Instant::now())
    }

    /// Runs when the line itself is written.
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let lines = self.left_out(event.metadata().callsite());
        if lines > 0 {
            tracing::warn!(
                lines,
                place = event.metadata().name(),
                "lines of one place were left out: they came faster than one a second"
            );
        }
    }
}

impl Brake {
    /// Whether a place may say a line at this moment.
    fn takes(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place =
            places.entry(place).or_insert(Place { allowed: LOG_LINES_AT_ONCE, since: now, left_out: 0 });
        let earned = now.saturating_duration_since(place.since).as_secs() / LOG_LINE_SECONDS;
        if earned > 0 {
            place.allowed =
                place.allowed.saturating_add(earned.min(u64::from(u32::MAX)) as u32).min(LOG_LINES_AT_ONCE);
            place.since = now;
        }
        let takes = place.allowed > 0;
        place.allowed = place.allowed.saturating_sub(1);
        place.left_out += u64::from(!takes);
        takes
    }

    /// How many lines were left out before the one that is said now.
    fn left_out(&self, place: Identifier) -> u64 {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get_mut(&place).map(|place| std::mem::take(&mut place.left_out)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::time::Duration;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written by `say`.
    fn said(brake: Brake, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().with(brake);
        tracing::subscriber::with_default(log, say);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    fn one_place(n: u64) {
        tracing::warn!(n, "a flood");
    }

    #[test]
    fn a_place_that_never_stops_is_slowed_down_and_others_are_not() {
        let text = said(Brake::default(), || {
            (0..10_000).for_each(one_place);
            tracing::error!("another place");
        });
        let flood = text.lines().filter(|line| line.contains("a flood")).count();
        assert!((LOG_LINES_AT_ONCE as usize..LOG_LINES_AT_ONCE as usize + 60).contains(&flood), "{flood}");
        assert!(text.contains("another place"));
    }

    #[test]
    fn lines_are_earned_with_time_and_never_more_than_some() {
        let (brake, begin) = (Brake::default(), Instant::now());
        let place = tracing::callsite::Identifier(Box::leak(Box::new(Nowhere)));
        let taken =
            |at: Duration, asked: u32| (0..asked).filter(|_| brake.takes(place.clone(), begin + at)).count();
        assert_eq!(taken(Duration::ZERO, 1000), LOG_LINES_AT_ONCE as usize);
        assert_eq!(brake.left_out(place.clone()), 1000 - u64::from(LOG_LINES_AT_ONCE));
        assert_eq!(taken(Duration::from_secs(3), 10), 3);
        assert_eq!((brake.left_out(place.clone()), brake.left_out(place.clone())), (7, 0));
        assert_eq!(taken(Duration::from_secs(86_400), 1000), LOG_LINES_AT_ONCE as usize);
    }

    struct Nowhere;

    impl tracing::Callsite for Nowhere {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &tracing::Metadata<'_> {
            unreachable!("nobody asks")
        }
    }
}
