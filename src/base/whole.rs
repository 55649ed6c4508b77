//! Work that is done whole once it is begun, whoever goes away meanwhile.
//!
//! Owns [`Whole`], which does the work where it is awaited and has a task go on with it when it is dropped before its
//! end. Nearly nobody goes away, and a task for each would cost more than to wait for one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::task;

/// Begun with the first poll. Who has begun it awaits it or drops it: in between it stands still, with all that it has
/// locked. To be dropped inside a `LocalSet`, which has it end.
pub struct Whole<F: Future + 'static> {
    /// Boxed, because it moves when it is left behind.
    work: Option<Pin<Box<F>>>,
    begun: bool,
}

impl<F: Future + 'static> Whole<F> {
    pub fn new(work: F) -> Self {
        Whole { work: Some(Box::pin(work)), begun: false }
    }
}

impl<F: Future + 'static> Future for Whole<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.begun = true;
        // Out of its place meanwhile, so that nobody goes on with work that panicked.
        let mut work = self.work.take().expect("not awaited behind its end");
        let poll = work.as_mut().poll(context);
        if poll.is_pending() {
            self.work = Some(work);
        }
        poll
    }
}

impl<F: Future + 'static> Drop for Whole<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take().filter(|_| self.begun) {
            task::spawn(async move {
                work.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::task::Waker;

    use tokio::sync::Notify;
    use tokio::task::{LocalSet, yield_now};

    /// Counts how far it came: 1 when it began, 2 when it went on behind the notice.
    fn work(notice: Rc<Notify>, steps: Rc<Cell<u32>>) -> Whole<impl Future<Output = u32>> {
        Whole::new(async move {
            steps.set(1);
            notice.notified().await;
            steps.set(2);
            7
        })
    }

    async fn poll_once<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *work).poll(context))).await
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits_any_more() {
        let local = LocalSet::new();
        let (notice, steps) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        local
            .run_until(async {
                let mut begun = work(notice.clone(), steps.clone());
                assert!(poll_once(&mut begun).await.is_pending());
                drop(begun);
                notice.notify_one();
                while steps.get() < 2 {
                    yield_now().await;
                }
            })
            .await;
    }

    #[tokio::test]
    async fn what_was_not_begun_is_not_done() {
        let local = LocalSet::new();
        let (notice, steps) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        local
            .run_until(async {
                drop(work(notice.clone(), steps.clone()));
                yield_now().await;
            })
            .await;
        local.await;
        assert_eq!(steps.get(), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_what_comes_of_it() {
        let (notice, steps) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        notice.notify_one();
        // No task is needed, so there need not be a place for one.
        assert_eq!(work(notice, steps).await, 7);
    }

    #[test]
    fn nobody_goes_on_with_work_that_panicked() {
        let mut work = Whole::new(async { panic!("on purpose") });
        let mut context = Context::from_waker(Waker::noop());
        let poll = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut work).poll(&mut context).is_ready()));
        assert!(poll.is_err());
        drop(work);
    }

    #[tokio::test]
    async fn a_set_of_tasks_that_ends_takes_it_along() {
        let local = LocalSet::new();
        let (notice, steps) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let begun = work(notice.clone(), steps.clone());
        local
            .run_until(async {
                tokio::task::spawn_local(begun);
                yield_now().await;
            })
            .await;
        assert_eq!(steps.get(), 1);
        drop(local);
        assert_eq!((steps.get(), Rc::strong_count(&notice)), (1, 1));
    }
}
