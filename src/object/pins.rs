//! Who reads what may be freed: space of a deleted version is reused only when no reader that could
//! have seen it is left.
//!
//! Readers are counted by generation, not by object. What is freed waits under the generation in
//! which it was freed and is released when no reader of that generation or an older one is left.
//! Invariant: a reader that pinned after the deletion was applied never delays its release.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::pool::place::ShardSpace;
use crate::pool::stripe::Extent;

pub struct Pins {
    space: Rc<ShardSpace>,
    generation: Cell<u64>,
    readers: RefCell<BTreeMap<u64, usize>>,
    limbo: RefCell<VecDeque<(u64, Extent)>>,
    left: Notify,
}

/// Keeps what its holder has looked up readable.
pub struct Pin {
    pins: Rc<Pins>,
    generation: u64,
}

impl Pins {
    pub fn new(space: Rc<ShardSpace>) -> Rc<Self> {
        Rc::new(Pins {
            space,
            generation: Cell::new(0),
            readers: RefCell::default(),
            limbo: RefCell::default(),
            left: Notify::new(),
        })
    }

    pub fn pin(self: &Rc<Self>) -> Pin {
        Pin { pins: self.clone(), generation: self.enter() }
    }

    /// Pins for a reader elsewhere, who gives the generation back to `leave`.
    pub fn enter(&self) -> u64 {
        let generation = self.generation.get();
        *self.readers.borrow_mut().entry(generation).or_default() += 1;
        generation
    }

    /// No record names the extent any more; its space is released when nobody reads it.
    pub fn retire(&self, extent: Extent) {
        let generation = self.advance();
        self.limbo.borrow_mut().push_back((generation, extent));
        self.collect();
    }

    /// Waits until every reader that pinned before this call is gone.
    pub async fn barrier(&self) {
        let generation = self.advance();
        loop {
            let left = self.left.notified();
            if self.oldest().is_none_or(|oldest| oldest > generation) {
                return;
            }
            left.await;
        }
    }

    /// Extents that wait for readers.
    pub fn waiting(&self) -> usize {
        self.limbo.borrow().len()
    }

    fn advance(&self) -> u64 {
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        generation
    }

    fn oldest(&self) -> Option<u64> {
        self.readers.borrow().keys().next().copied()
    }

    fn collect(&self) {
        let oldest = self.oldest().unwrap_or(u64::MAX);
        let mut limbo = self.limbo.borrow_mut();
        while limbo.front().is_some_and(|(generation, _)| *generation < oldest) {
            let (_, extent) = limbo.pop_front().expect("there is a front");
            self.space.release_extent(&extent);
        }
    }

    pub fn leave(&self, generation: u64) {
        {
            let mut readers = self.readers.borrow_mut();
            let count = readers.get_mut(&generation).expect("a pin is counted until it is dropped");
            *count -= 1;
            if *count > 0 {
                return;
            }
            readers.remove(&generation);
        }
        self.collect();
        self.left.notify_waiters();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.leave(self.generation);
    }
}
