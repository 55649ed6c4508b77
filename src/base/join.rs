//! Waiting for a few futures at once, without spawning a task for each.
//!
//! For fans as wide as a stripe or a mirror set. A wake polls every future that is not ready yet, so this is
//! not for hundreds. Dropping the joined future drops all of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::base::limits::FOLDED_STEPS_MAX;
use crate::base::rest::Stint;

/// The outputs of all futures, in their order, when the last one is ready.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut slots: Vec<Slot<F>> = futures.into_iter().map(|future| Slot::Pending(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut pending = false;
        for slot in &mut slots {
            if let Slot::Pending(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Slot::Ready(output),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let output = |slot| match slot {
        Slot::Ready(output) => output,
        Slot::Pending(_) => unreachable!("every future was ready"),
    };
    slots.into_iter().map(output).collect()
}

/// Works on all items, `at_once` at a time, with a rest now and then between groups. All of a group are worked on
/// even when one fails.
pub async fn join_groups<'a, T, F, E>(
    items: &'a [T],
    at_once: usize,
    work: impl Fn(&'a T) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut stint = Stint::new(FOLDED_STEPS_MAX);
    for group in items.chunks(at_once) {
        stint.step(group.len()).await;
        join_all(group.iter().map(&work)).await.into_iter().collect::<Result<(), E>>()?;
    }
    Ok(())
}

enum Slot<F: Future> {
    Pending(Pin<Box<F>>),
    Ready(F::Output),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn outputs_keep_their_order_whoever_is_ready_first() {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel::<u32>()).unzip();
        let joined = join_all(receivers.into_iter().map(|receiver| async { receiver.await.unwrap() }));
        let send = async {
            for (n, sender) in senders.into_iter().enumerate().rev() {
                sender.send(n as u32).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (outputs, ()) = tokio::join!(joined, send);
        assert_eq!(outputs, [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_ready_future_is_not_polled_again() {
        let polls = Rc::new(Cell::new(0));
        let count = |polls: Rc<Cell<u32>>| async move { polls.set(polls.get() + 1) };
        join_all([count(polls.clone()), count(polls.clone())]).await;
        assert_eq!(polls.get(), 2);
        assert!(join_all(Vec::<std::future::Ready<()>>::new()).await.is_empty());
    }
}
