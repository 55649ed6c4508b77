//! Places that a reader found damaged, queued for repair on the core that read them.
//!
//! A spot names the value by its key, not its space: the repair looks the value up again and pins what it finds, so a
//! spot of an object that is gone by then costs nothing. Bounded: spots beyond the bound are dropped and counted, and
//! the next scrub finds them again.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::base::ids::ShardId;
use crate::base::limits::REPAIR_QUEUE_MAX;
use crate::base::metrics::Counter;

/// One row of the extent that a value of a shard names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub shard: ShardId,
    /// Catalog key of the version, part or pack.
    pub key: Vec<u8>,
    pub row: u32,
}

#[derive(Default)]
pub struct Spots {
    waiting: RefCell<VecDeque<Spot>>,
    arrived: Notify,
    dropped: Counter,
}

impl Spots {
    pub fn push(&self, spot: Spot) {
        let mut waiting = self.waiting.borrow_mut();
        // A row with several damaged blocks is mended at once; they are reported one behind the other.
        if waiting.back() == Some(&spot) {
            return;
        }
        if waiting.len() >= REPAIR_QUEUE_MAX {
            self.dropped.increment();
            return;
        }
        waiting.push_back(spot);
        self.arrived.notify_one();
    }

    pub fn pop(&self) -> Option<Spot> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Wakes whoever waits for an arrival.
    pub fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Returns when a spot may have arrived.
    pub async fn arrival(&self) {
        self.arrived.notified().await;
    }

    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spots that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_what_is_said_twice_is_kept_once() {
        let spots = Spots::default();
        for row in 0..REPAIR_QUEUE_MAX as u32 + 3 {
            spots.push(Spot { shard: ShardId(1), key: vec![7], row });
            spots.push(Spot { shard: ShardId(1), key: vec![7], row: row.min(REPAIR_QUEUE_MAX as u32 - 1) });
        }
        assert_eq!((spots.len(), spots.dropped()), (REPAIR_QUEUE_MAX, 3));
        assert_eq!(spots.pop().map(|spot| spot.row), Some(0));
    }
}
