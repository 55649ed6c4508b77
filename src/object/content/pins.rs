//! Who still reads what may be freed: the space of a deleted version is reused only when no reader is left that could
//! have seen it.
//!
//! A reader is counted twice. While it looks a version up it pins the current generation (`pin`), because nobody knows
//! yet what it will find. What it found it then holds by name (`hold`) for as long as it reads, and lets go of the
//! generation. So a slow reader keeps what it reads and nothing else. What is freed waits for the lookups of its own
//! and older generations, and then for those who hold it by name. Invariants: a lookup that began after the deletion
//! was applied never delays the release; lookups do not wait for clients.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::base::ids::{LogId, ShardId};
use crate::object::core::{Loan, Peers};
use crate::pool::place::ShardSpace;
use crate::pool::stripe::Extent;

pub struct Pins {
    space: Rc<ShardSpace>,
    generation: Cell<u64>,
    /// Lookups under way, by generation.
    lookups: RefCell<BTreeMap<u64, usize>>,
    held: RefCell<HashMap<Held, usize>>,
    /// Freed, and perhaps being looked up.
    limbo: RefCell<VecDeque<(u64, Extent)>>,
    /// Freed, looked up by nobody any more, and held.
    kept: RefCell<HashMap<u64, Extent>>,
    /// Something is held no more, or a generation is over.
    left: Notify,
    /// There may be garbage that nobody holds any more.
    pub garbage: Notify,
}

/// What a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// An extent, by its nonce.
    Extent(u64),
    /// The parts of an upload.
    Upload(u128),
    /// A body in a segment of the log.
    Log(LogId),
}

/// Keeps whatever its holder looks up from being freed.
pub struct Pin {
    pins: Rc<Pins>,
    generation: u64,
}

/// Keeps what its holder reads from being freed.
pub struct Hold {
    pins: Rc<Pins>,
    held: Held,
}

impl Pins {
    pub fn new(space: Rc<ShardSpace>) -> Rc<Self> {
        Rc::new(Pins {
            space,
            generation: Cell::new(0),
            lookups: RefCell::default(),
            held: RefCell::default(),
            limbo: RefCell::default(),
            kept: RefCell::default(),
            left: Notify::new(),
            garbage: Notify::new(),
        })
    }

    /// For a lookup, which ends soon.
    pub fn pin(self: &Rc<Self>) -> Pin {
        Pin { pins: self.clone(), generation: self.enter() }
    }

    /// For what a lookup found; its pin is still there.
    pub fn hold(self: &Rc<Self>, held: Held) -> Hold {
        self.take(held);
        Hold { pins: self.clone(), held }
    }

    /// As `hold`, for a reader on any core; `shard` is the one these are of.
    pub fn lend(&self, held: Held, peers: &Peers, shard: ShardId) -> Loan {
        self.take(held);
        Loan::new(peers, shard, move |home| home.pins.give(held))
    }

    fn take(&self, held: Held) {
        *self.held.borrow_mut().entry(held).or_default() += 1;
    }

    fn enter(&self) -> u64 {
        let generation = self.generation.get();
        *self.lookups.borrow_mut().entry(generation).or_default() += 1;
        generation
    }

    pub fn is_held(&self, held: Held) -> bool {
        self.held.borrow().contains_key(&held)
    }

    /// No record names the extent any more; its space is released when nobody reads it.
    pub fn retire(&self, extent: Extent) {
        let generation = self.advance();
        self.limbo.borrow_mut().push_back((generation, extent));
        self.collect();
    }

    /// Waits until every lookup that began before this call is over: from then on nobody comes to hold
    /// what no record named when this was called.
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

    /// Waits until nobody reads what no record names any more.
    pub async fn gone(&self, held: Held) {
        self.barrier().await;
        loop {
            let left = self.left.notified();
            if !self.is_held(held) {
                return;
            }
            left.await;
        }
    }

    /// Extents that wait for readers.
    pub fn waiting(&self) -> usize {
        self.limbo.borrow().len() + self.kept.borrow().len()
    }

    fn advance(&self) -> u64 {
        let generation = self.generation.get();
        self.generation.set(generation + 1);
        generation
    }

    fn oldest(&self) -> Option<u64> {
        self.lookups.borrow().keys().next().copied()
    }

    fn collect(&self) {
        let oldest = self.oldest().unwrap_or(u64::MAX);
        let mut limbo = self.limbo.borrow_mut();
        while limbo.front().is_some_and(|(generation, _)| *generation < oldest) {
            let (_, extent) = limbo.pop_front().expect("there is a front");
            match self.is_held(Held::Extent(extent.nonce)) {
                true => drop(self.kept.borrow_mut().insert(extent.nonce, extent)),
                false => self.space.release_extent(&extent),
            }
        }
    }

    fn leave(&self, generation: u64) {
        {
            let mut lookups = self.lookups.borrow_mut();
            let count = lookups.get_mut(&generation).expect("a pin is counted until it is dropped");
            *count -= 1;
            if *count > 0 {
                return;
            }
            lookups.remove(&generation);
        }
        self.collect();
        self.left.notify_waiters();
    }

    fn give(&self, held: Held) {
        {
            let mut all = self.held.borrow_mut();
            let count = all.get_mut(&held).expect("what is held is counted until it is given back");
            *count -= 1;
            if *count > 0 {
                return;
            }
            all.remove(&held);
        }
        match held {
            Held::Extent(nonce) => {
                let kept = self.kept.borrow_mut().remove(&nonce);
                kept.into_iter().for_each(|extent| self.space.release_extent(&extent));
            }
            Held::Upload(_) => self.garbage.notify_one(),
            Held::Log(_) => {}
        }
        self.left.notify_waiters();
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.leave(self.generation);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.pins.give(self.held);
    }
}
