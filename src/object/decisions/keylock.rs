//! One writer at a time for each key of a shard, or several that do not touch each other's.
//!
//! A mutation reads the current state, decides, and commits while it holds the lock, so conditions
//! are exact and what a write replaces is freed exactly once. All versions of an object have one lock,
//! whichever of them is named. Those that change different parts of what a lock stands for share it, so that their
//! records travel together: each holds a lock of its own beneath for its part. Waiters are served in order. Pure
//! state of one thread; nothing is kept for a key that nobody locks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::catalog::key::lock_of;

#[derive(Clone, Debug, Default)]
pub struct KeyLocks(Rc<RefCell<HashMap<Vec<u8>, Lock>>>);

/// A key that somebody holds.
#[derive(Debug, Default)]
struct Lock {
    /// How many share it; none where one has it alone.
    sharers: usize,
    waiting: VecDeque<Waiter>,
}

/// Waiters are sent the guard itself, so that one who goes away after it was sent and before looking drops
/// it, which passes it on.
#[derive(Debug)]
struct Waiter {
    mode: Mode,
    turn: oneshot::Sender<KeyGuard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Alone,
    Shared,
}

/// Holds the lock of one key until dropped.
#[derive(Debug)]
pub struct KeyGuard {
    locks: KeyLocks,
    key: Vec<u8>,
    mode: Mode,
    /// Nobody took it over: there is nothing to pass on.
    void: bool,
}

impl KeyLocks {
    pub async fn lock(&self, key: &[u8]) -> KeyGuard {
        self.acquire(lock_of(key), Mode::Alone).await
    }

    /// Beside others who share the key, and beside nobody who has it alone.
    pub async fn share(&self, key: &[u8]) -> KeyGuard {
        self.acquire(lock_of(key), Mode::Shared).await
    }

    /// One version, beside others of the same object. It is not of order 0, whose key the lock of all has.
    pub async fn lock_version(&self, version: &[u8]) -> [KeyGuard; 2] {
        assert!(lock_of(version) != version);
        let object = self.share(version).await;
        [object, self.acquire(version.to_vec(), Mode::Alone).await]
    }

    async fn acquire(&self, key: Vec<u8>, mode: Mode) -> KeyGuard {
        match self.enter(&key, mode) {
            Some(turn) => turn.await.expect("a holder passes the lock on before its entry goes away"),
            None => self.guard(key, mode),
        }
    }

    /// Takes the lock, or a place among those who wait for it.
    fn enter(&self, key: &[u8], mode: Mode) -> Option<oneshot::Receiver<KeyGuard>> {
        let mut held = self.0.borrow_mut();
        let Some(lock) = held.get_mut(key) else {
            held.insert(key.to_vec(), Lock { sharers: usize::from(mode == Mode::Shared), ..Lock::default() });
            return None;
        };
        if mode == Mode::Shared && lock.sharers > 0 && lock.waiting.is_empty() {
            lock.sharers += 1;
            return None;
        }
        let (turn, receiver) = oneshot::channel();
        lock.waiting.push_back(Waiter { mode, turn });
        Some(receiver)
    }

    fn guard(&self, key: Vec<u8>, mode: Mode) -> KeyGuard {
        KeyGuard { locks: self.clone(), key, mode, void: false }
    }

    /// The next one whose turn it is, counted among those who share if it does; nobody holds the key any more
    /// when there is none and nobody shares it.
    fn next(&self, key: &[u8]) -> Option<Waiter> {
        let mut held = self.0.borrow_mut();
        let lock = held.get_mut(key)?;
        match lock.waiting.front().map(|waiter| waiter.mode) {
            Some(Mode::Alone) if lock.sharers > 0 => return None,
            Some(Mode::Shared) => lock.sharers += 1,
            Some(Mode::Alone) => {}
            None if lock.sharers > 0 => return None,
            None => {
                held.remove(key);
                return None;
            }
        }
        lock.waiting.pop_front()
    }

    /// One who shared the key does no longer; whether nobody does.
    fn leave(&self, key: &[u8]) -> bool {
        self.0.borrow_mut().get_mut(key).is_some_and(|lock| {
            lock.sharers -= 1;
            lock.sharers == 0
        })
    }

    /// Has those in whose turn it is, now that nobody has the key alone.
    fn pass_on(&self, key: &[u8]) {
        while let Some(Waiter { mode, turn }) = self.next(key) {
            match turn.send(self.guard(key.to_vec(), mode)) {
                Ok(()) if mode == Mode::Alone => return,
                Ok(()) => {}
                // One who stopped waiting is passed over.
                Err(mut back) => {
                    back.void = true;
                    if mode == Mode::Shared {
                        self.leave(key);
                    }
                }
            }
        }
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
        if self.void || self.mode == Mode::Shared && !self.locks.leave(&self.key) {
            return;
        }
        self.locks.pass_on(&self.key);
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

    #[tokio::test]
    async fn those_who_share_a_key_are_together_and_never_beside_one_who_has_it_alone() {
        let (locks, inside) = (KeyLocks::default(), Rc::new(Cell::new((0, 0, 0))));
        let local = tokio::task::LocalSet::new();
        for turn in 0..60 {
            let (locks, inside) = (locks.clone(), inside.clone());
            local.spawn_local(async move {
                let alone = turn % 5 == 0;
                let _guard = if alone { locks.lock(b"k").await } else { locks.share(b"k").await };
                let (shared, single, most) = inside.get();
                let (shared, single) = if alone { (shared, single + 1) } else { (shared + 1, single) };
                assert!(single == 0 || (shared, single) == (0, 1), "{shared} beside {single}");
                inside.set((shared, single, most.max(shared)));
                tokio::task::yield_now().await;
                let (shared, single, most) = inside.get();
                inside.set(if alone { (shared, single - 1, most) } else { (shared - 1, single, most) });
            });
        }
        local.await;
        assert_eq!(inside.get(), (0, 0, 4), "those between two who are alone");
        assert!(locks.is_empty());
    }

    #[tokio::test]
    async fn one_who_waits_alone_is_not_overtaken_and_waiters_that_go_away_are_passed_over() {
        let locks = KeyLocks::default();
        let held = locks.share(b"k").await;
        let (mut alone, mut gone) = (Box::pin(locks.lock(b"k")), Box::pin(locks.share(b"k")));
        let mut last = Box::pin(locks.share(b"k"));
        assert!(futures_poll_once(&mut alone).await);
        assert!(futures_poll_once(&mut gone).await && futures_poll_once(&mut last).await);
        drop((held, gone));
        assert!(futures_poll_once(&mut last).await, "it is the turn of the one who waits alone");
        assert!(!futures_poll_once(&mut alone).await);
        assert!(!futures_poll_once(&mut last).await, "nobody holds the lock");
        drop(last);
        assert!(locks.is_empty());
    }

    #[tokio::test]
    async fn versions_are_locked_beside_each_other_and_not_beside_the_object() {
        let (locks, at) = (KeyLocks::default(), crate::catalog::key::version);
        let held = (locks.lock_version(&at(1, "k", 7)).await, locks.lock_version(&at(1, "k", 8)).await);
        assert!(futures_poll_once(&mut Box::pin(locks.lock_version(&at(1, "k", 8)))).await, "it has another");
        assert!(
            futures_poll_once(&mut Box::pin(locks.lock(&at(1, "k", 9)))).await,
            "it has the object alone"
        );
        drop(held);
        drop(locks.lock(&at(1, "k", 8)).await);
        assert!(locks.is_empty());
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
