//! One writer at a time for each key of a shard.
//!
//! A mutation reads the current state, decides, and commits while it holds the lock, so conditions
//! are exact and what a write replaces is freed exactly once. All versions of an object have one lock,
//! whichever of them is named. Waiters are served in order. Pure
//! state of one thread; nothing is kept for a key that nobody locks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::catalog::key::lock_of;

#[derive(Clone, Debug, Default)]
pub struct KeyLocks(Rc<RefCell<HashMap<Vec<u8>, Queue>>>);

/// Those who wait for a key, in order. They are sent the guard itself, so that one who goes away after
/// it was sent and before looking drops it, which passes it on.
type Queue = VecDeque<oneshot::Sender<KeyGuard>>;

/// Holds the lock of one key until dropped.
#[derive(Debug)]
pub struct KeyGuard {
    locks: KeyLocks,
    key: Vec<u8>,
    /// Nobody took it over: there is nothing to pass on.
    void: bool,
}

impl KeyLocks {
    pub async fn lock(&self, key: &[u8]) -> KeyGuard {
        let key = lock_of(key);
        let wait = {
            let mut held = self.0.borrow_mut();
            match held.get_mut(&key) {
                None => {
                    held.insert(key.clone(), VecDeque::new());
                    None
                }
                Some(queue) => {
                    let (sender, receiver) = oneshot::channel();
                    queue.push_back(sender);
                    Some(receiver)
                }
            }
        };
        match wait {
            Some(turn) => turn.await.expect("a holder passes the lock on before its entry goes away"),
            None => self.guard(key),
        }
    }

    fn guard(&self, key: Vec<u8>) -> KeyGuard {
        KeyGuard { locks: self.clone(), key, void: false }
    }

    /// The next one who waits for a key; if there is none, nobody holds it any more.
    fn next(&self, key: &[u8]) -> Option<oneshot::Sender<KeyGuard>> {
        let mut held = self.0.borrow_mut();
        let next = held.get_mut(key)?.pop_front();
        if next.is_none() {
            held.remove(key);
        }
        next
    }

    /// Locks several keys, in an order in which no two callers can wait for each other.
    pub async fn lock_all(&self, mut keys: Vec<Vec<u8>>) -> Vec<KeyGuard> {
        keys.iter_mut().for_each(|key| *key = lock_of(key));
        keys.sort();
        keys.dedup();
        let mut guards = Vec::with_capacity(keys.len());
        for key in keys {
            guards.push(self.lock(&key).await);
        }
        guards
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        let mut key = std::mem::take(&mut self.key);
        while !self.void
            && let Some(next) = self.locks.next(&key)
        {
            // One who stopped waiting is passed over.
            let Err(mut back) = next.send(self.locks.guard(key)) else { return };
            back.void = true;
            key = std::mem::take(&mut back.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn holders_of_a_key_exclude_each_other_and_nothing_stays() {
        let (locks, inside) = (KeyLocks::default(), Rc::new(Cell::new(0)));
        let local = tokio::task::LocalSet::new();
        for turn in 0..20 {
            let (locks, inside) = (locks.clone(), inside.clone());
            local.spawn_local(async move {
                let _guard = locks.lock(&[turn % 3]).await;
                let other = locks.lock_all(vec![vec![9], vec![8], vec![9]]).await;
                inside.set(inside.get() + 1);
                assert_eq!(inside.get(), 1);
                tokio::task::yield_now().await;
                inside.set(inside.get() - 1);
                drop(other);
            });
        }
        local.await;
        assert!(locks.is_empty());
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_passes_the_lock_on() {
        let locks = KeyLocks::default();
        let held = locks.lock(b"k").await;
        let mut gone = Box::pin(locks.lock(b"k"));
        assert!(futures_poll_once(&mut gone).await);
        drop(gone);
        drop(held);
        drop(locks.lock(b"k").await);
        assert!(locks.is_empty());
    }

    #[tokio::test]
    async fn one_who_goes_away_when_its_turn_has_come_passes_the_lock_on() {
        let locks = KeyLocks::default();
        let held = locks.lock(b"k").await;
        let (mut gone, mut next) = (Box::pin(locks.lock(b"k")), Box::pin(locks.lock(b"k")));
        assert!(futures_poll_once(&mut gone).await && futures_poll_once(&mut next).await);
        drop(held);
        drop(gone);
        assert!(!futures_poll_once(&mut next).await, "nobody holds the lock");
        drop(next);
        assert!(locks.is_empty());
    }

    #[tokio::test]
    async fn versions_of_an_object_have_one_lock_and_objects_their_own() {
        let (locks, at) = (KeyLocks::default(), crate::catalog::key::version);
        let held = locks.lock_all(vec![at(1, "k", 0), at(1, "k", 7), at(1, "k", 9)]).await;
        assert_eq!(held.len(), 1);
        let other = locks.lock(&at(1, "l", 7)).await;
        assert!(futures_poll_once(&mut Box::pin(locks.lock(&at(1, "k", 8)))).await);
        drop((held, other));
        assert!(locks.is_empty());
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
