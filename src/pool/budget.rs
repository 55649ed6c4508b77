//! The bound on memory that block buffers of one core may take.
//!
//! Owns [`BufferBudget`], a fair semaphore over pages. Waiting for it is the backpressure of the data path.
//! Invariant against deadlock: whoever holds a permit and waits for another one holds it only for
//! operations that end by themselves. Reading and writing use a budget each, because a copy waits for
//! its own writer while it holds what its reader delivered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::limits::PAGE;

#[derive(Clone, Debug)]
pub struct BufferBudget {
    free: Arc<Semaphore>,
    pages: u32,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Permit(Option<OwnedSemaphorePermit>);

impl BufferBudget {
    pub fn new(bytes: usize) -> Self {
        let pages = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX).max(1);
        BufferBudget { free: Arc::new(Semaphore::new(pages as usize)), pages }
    }

    /// Waits for `bytes`, first come, first served. What is larger than the whole budget waits for the
    /// whole budget.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let pages = pages_of(bytes).min(self.pages);
        Permit(self.free.clone().acquire_many_owned(pages).await.ok())
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
}
