//! How many of something are under way, and a wait for the last of them.
//!
//! Owns [`WaitGroup`] and its [`Member`]s. A member counts itself out when it is dropped, whatever ended it. One at a
//! time waits. Of one thread.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

#[derive(Default)]
pub struct WaitGroup {
    members: Cell<usize>,
    fewer: Notify,
}

/// One of them, until it is dropped.
pub struct Member(Rc<WaitGroup>);

impl WaitGroup {
    pub fn join(self: &Rc<Self>) -> Member {
        self.members.set(self.members.get() + 1);
        Member(self.clone())
    }

    /// Waits until none is left.
    pub async fn none(&self) {
        while self.members.get() > 0 {
            self.fewer.notified().await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.set(self.0.members.get() - 1);
        self.0.fewer.notify_one();
    }
}
