//! Starts a thread's runtime together with the world that belongs to it.
//!
//! Owns the choice between io_uring and the pool of threads. Uses `ring`, `threads` and `world`.
//! Each data, control or background thread calls [`run`] once; inside it, tasks are spawned with tokio's
//! `spawn_local`, and sockets, timers and channels are tokio's.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use tokio::task::LocalSet;

use super::buffer::AlignedBuf;
use super::disk::Access;
use super::ring;
use super::threads::Pool;
pub use super::world::IoKind;
use super::world::World;
use crate::base::limits::PAGE;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where a real operation works, else threads.
    Auto,
    Uring,
    Threads,
}

/// Decides by performing a real io_uring write and read. Only `IoChoice::Uring` can fail.
pub fn probe(choice: IoChoice) -> io::Result<IoKind> {
    match choice {
        IoChoice::Threads => Ok(IoKind::Threads),
        IoChoice::Uring => probe_uring().map(|()| IoKind::Uring).map_err(not_here),
        IoChoice::Auto => Ok(probe_uring().map(|()| IoKind::Uring).unwrap_or_else(|reason| {
            tracing::warn!(%reason, "io_uring does not work here: disk I/O goes through threads");
            IoKind::Threads
        })),
    }
}

fn not_here(reason: io::Error) -> io::Error {
    io::Error::new(reason.kind(), format!("io_uring does not work here: {reason}; use --io threads or auto"))
}

/// Whether io_uring works here; the error says why not.
pub fn probe_uring() -> io::Result<()> {
    let (answer, result) = mpsc::channel();
    // On a thread of its own: the caller may be inside a runtime, and a sandbox that neither performs nor
    // refuses the operation must not hold up the start.
    thread::Builder::new().name("basalt-probe".into()).spawn(move || {
        let _ = answer.send(ring::run(|ring| write_and_read(World::on_ring(ring))).flatten());
    })?;
    let silent =
        |_| io::Error::new(io::ErrorKind::TimedOut, "io_uring accepts operations but does not finish them");
    result.recv_timeout(PROBE_PATIENCE).map_err(silent)?
}

/// Runs a future and everything it spawns on this thread until the future is done.
///
/// Panics when the runtime cannot be started, which `probe` would have told, or when this thread is
/// already inside a runtime. `IoKind::Sim` has no runtime of its own: see `io::sim`.
pub fn run<F: Future>(kind: IoKind, make: impl FnOnce(World) -> F) -> F::Output {
    let result = match kind {
        IoKind::Uring => ring::run(|ring| make(World::on_ring(ring))),
        IoKind::Threads => run_on_threads(make),
        IoKind::Sim => panic!("a simulated world runs on the runtime of its test"),
    };
    result.unwrap_or_else(|error| panic!("cannot start the {kind:?} runtime: {error}"))
}

const PROBE_PATIENCE: Duration = Duration::from_secs(5);

fn run_on_threads<F: Future>(make: impl FnOnce(World) -> F) -> io::Result<F::Output> {
    let pool = Rc::new(Pool::start()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    Ok(tasks.block_on(&runtime, async { make(World::on_pool(pool)).await }))
}

/// Writes a page to memory through the world and reads it back.
async fn write_and_read(world: World) -> io::Result<()> {
    let memory: OwnedFd = rustix::fs::memfd_create("basalt-probe", MemfdFlags::CLOEXEC)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let file = world.open(&path, false, Access::Direct)?;
    let mut page = AlignedBuf::zeroed(PAGE);
    world.random(&mut page);
    let page = Arc::new(page);
    file.write_at(page.clone(), 0..PAGE, 0).await?;
    file.sync().await?;
    let (result, back) = file.read_at(AlignedBuf::zeroed(PAGE), 0).await;
    result?;
    if back[..] == page[..] { Ok(()) } else { Err(io::Error::other("io_uring answered wrong bytes")) }
}
