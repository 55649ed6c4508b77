//! A bound on the memory that one kind of thing may take on one core: buffers of transfers, connections, documents.
//!
//! Owns [`BufferBudget`], a fair semaphore over pages. Waiting for it is the backpressure of the data path.
//! Invariant against deadlock: whoever holds a permit while waiting for another one holds it only for operations that
//! end by themselves. Reading and writing have separate budgets, because a copy waits for its own writer while it holds
//! what its reader delivered. A client does not end by itself, so whoever holds a permit for one asks now and then
//! whether to [give way](BufferBudget::gives_way).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::limits::PAGE;

#[derive(Clone, Debug)]
pub struct BufferBudget {
    free: Arc<Semaphore>,
    pages: u32,
    queue: Rc<Queue>,
}

/// Pages that are waited for, and how many of these holders have promised to give back.
#[derive(Debug, Default)]
struct Queue {
    wanted: Cell<u64>,
    promised: Cell<u64>,
}

/// A place in the queue, also when its owner stops waiting.
struct Waiting<'a>(&'a Queue, u64);

impl<'a> Waiting<'a> {
    fn new(queue: &'a Queue, pages: u32) -> Self {
        queue.wanted.set(queue.wanted.get() + u64::from(pages));
        Waiting(queue, u64::from(pages))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Queue { wanted, promised } = self.0;
        wanted.set(wanted.get() - self.1);
        // What was promised and not needed frees nobody from giving way to those who come later.
        promised.set(if wanted.get() == 0 { 0 } else { promised.get().saturating_sub(self.1) });
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Permit(Option<OwnedSemaphorePermit>);

impl BufferBudget {
    pub fn new(bytes: usize) -> Self {
        let pages = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX).max(1);
        BufferBudget { free: Arc::new(Semaphore::new(pages as usize)), pages, queue: Rc::default() }
    }

    /// Waits for `bytes`, first come, first served. What is larger than the whole budget waits for the
    /// whole budget.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let pages = pages_of(bytes).min(self.pages);
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(pages) {
            return Permit(Some(permit));
        }
        let _waiting = Waiting::new(&self.queue, pages);
        Permit(self.free.clone().acquire_many_owned(pages).await.ok())
    }

    /// The same, or nothing where one would have to wait.
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let pages = pages_of(bytes).min(self.pages);
        self.free.clone().try_acquire_many_owned(pages).ok().map(|permit| Permit(Some(permit)))
    }

    /// The same, if the half of the budget that is kept for those who wait stays free.
    pub fn try_acquire_spare(&self, bytes: usize) -> Option<Permit> {
        let spare = (self.free.available_permits()).saturating_sub(self.pages as usize / 2);
        if pages_of(bytes) as usize > spare || self.is_awaited() {
            return None;
        }
        self.try_acquire(bytes)
    }

    /// Somebody waits.
    pub fn is_awaited(&self) -> bool {
        self.queue.wanted.get() > 0
    }

    /// To be asked by who holds `bytes` for a client that takes its time: whether others wait for more than has been
    /// promised to them. If so this is a promise.
    pub fn gives_way(&self, bytes: usize) -> bool {
        let Queue { wanted, promised } = &*self.queue;
        let is_asked = wanted.get() > promised.get();
        if is_asked {
            promised.set(promised.get() + u64::from(pages_of(bytes)));
        }
        is_asked
    }

    /// Less than a quarter is left.
    pub fn is_scarce(&self) -> bool {
        self.free.available_permits() < self.pages as usize / 4
    }

    pub fn bytes_max(&self) -> usize {
        self.pages as usize * PAGE
    }

    pub fn bytes_used(&self) -> usize {
        self.bytes_max() - self.free.available_permits() * PAGE
    }
}

impl Permit {
    /// A share of the budget that is not one: for memory that the budget does not cover.
    pub fn none() -> Self {
        Permit(None)
    }

    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.num_permits() * PAGE)
    }

    /// Adds what another permit of the same budget holds.
    pub fn merge(&mut self, more: Permit) {
        match (&mut self.0, more.0) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
    }

    /// Takes `bytes` out of this permit, or as much as there is.
    pub fn split(&mut self, bytes: usize) -> Permit {
        let pages = (pages_of(bytes) as usize).min(self.0.as_ref().map_or(0, |held| held.num_permits()));
        Permit(self.0.as_mut().and_then(|held| held.split(pages)))
    }
}

fn pages_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_is_a_share_and_comes_back_in_pieces() {
        let budget = BufferBudget::new(10 * PAGE);
        let mut permit = budget.acquire(8 * PAGE).await;
        let piece = permit.split(5 * PAGE);
        assert_eq!(budget.bytes_used(), 8 * PAGE);
        drop(permit);
        assert_eq!(budget.bytes_used(), 5 * PAGE);
        drop(piece);
        let whole = budget.acquire(100 * PAGE).await;
        assert_eq!(budget.bytes_used(), 10 * PAGE, "more than everything is everything");
        drop(whole);
        assert_eq!(budget.bytes_used(), 0);
    }

    #[tokio::test]
    async fn no_more_give_way_than_are_waited_for() {
        let budget = BufferBudget::new(4 * PAGE);
        let held = [budget.acquire(2 * PAGE).await, budget.acquire(2 * PAGE).await];
        assert!(!budget.gives_way(2 * PAGE), "nobody waits");
        let mut waiter = std::pin::pin!(budget.acquire(PAGE));
        assert!(is_waiting(waiter.as_mut()));
        assert!(budget.gives_way(2 * PAGE) && !budget.gives_way(2 * PAGE), "one is enough");
        drop(held);
        drop(waiter.await);
        assert_eq!((budget.queue.wanted.get(), budget.queue.promised.get()), (0, 0));
        let all = budget.acquire(4 * PAGE).await;
        {
            let mut left = std::pin::pin!(budget.acquire(3 * PAGE));
            assert!(is_waiting(left.as_mut()) && budget.gives_way(PAGE));
        }
        assert!(!budget.gives_way(PAGE), "who waited has left");
        drop(all);
    }

    #[tokio::test]
    async fn half_is_kept_for_those_who_wait() {
        let budget = BufferBudget::new(8 * PAGE);
        let spare = budget.try_acquire_spare(4 * PAGE).expect("half is spare");
        assert!(budget.try_acquire_spare(PAGE).is_none());
        let mut seat = budget.try_acquire(3 * PAGE).expect("the other half");
        assert!(budget.try_acquire(2 * PAGE).is_none());
        seat.merge(budget.try_acquire(PAGE).expect("the last page"));
        assert_eq!((seat.bytes(), budget.bytes_used()), (4 * PAGE, 8 * PAGE));
        let mut waiter = std::pin::pin!(budget.acquire(PAGE));
        assert!(is_waiting(waiter.as_mut()) && budget.is_awaited());
        drop((spare, seat));
        assert!(!is_waiting(waiter.as_mut()));
        assert!(!budget.is_awaited());
    }

    fn is_waiting<T>(waiting: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        waiting.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
    }
}
