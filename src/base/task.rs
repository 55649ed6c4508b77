//! Tasks of a core's thread.
//!
//! Owns [`spawn`], and [`spawn_vital`] for those that a core cannot go on without. A request that trips an assertion
//! ends alone; but where one of the loops ends that write the log, answer other cores or empty what fills up, the rest
//! of the process would go on half dead and call itself ready. So the process ends, whoever watches over it starts it
//! anew, and the start goes by the log.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};

use tokio::task::JoinHandle;

/// Spawns it on this thread. Boxed first: a kind of task of its own for every future made a sixth of all symbols of
/// the program, which take their time to compile.
pub fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(task);
    tokio::task::spawn_local(task)
}

/// The same; a broken invariant in it ends the process.
pub fn spawn_vital(name: &'static str, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    spawn(vital(name, task))
}

async fn vital(name: &'static str, task: impl Future<Output = ()>) {
    let mut task = pin!(task);
    poll_fn(|context| {
        // Nothing of the task is looked at afterwards.
        catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!(task = name, "a broken invariant ends the process");
            std::process::abort()
        })
    })
    .await;
}
