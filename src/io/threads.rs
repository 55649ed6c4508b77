//! The backend for places that deny io_uring: a fixed pool of threads that perform blocking calls.
//!
//! Owns the threads and the queue to them. One pool serves one runtime. The queue is bounded: an
//! operation that finds it full waits for its turn. A job owns its buffer and descriptor, so a caller
//! that stops waiting leaves nothing behind but the finished job.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::{io, thread};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::operation::{Flight, Operation, Ticket};
use crate::base::limits::{IO_THREAD_OPERATIONS_MAX, IO_THREADS};

pub(super) struct Pool {
    /// `None` only while the pool is dropped, which ends the threads.
    jobs: Option<mpsc::Sender<Job>>,
    slots: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
    pub flight: Flight,
}

struct Job {
    fd: Arc<OwnedFd>,
    operation: Operation,
    answer: oneshot::Sender<(io::Result<usize>, Operation)>,
    ticket: Ticket,
    slot: OwnedSemaphorePermit,
}

impl Pool {
    pub fn start() -> io::Result<Pool> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::with_capacity(IO_THREADS);
        for n in 0..IO_THREADS {
            let queue = queue.clone();
            let name = format!("basalt-io-{n}");
            threads.push(thread::Builder::new().name(name).spawn(move || serve(&queue))?);
        }
        let slots = Arc::new(Semaphore::new(IO_THREAD_OPERATIONS_MAX));
        Ok(Pool { jobs: Some(jobs), slots, threads, flight: Flight::default() })
    }

    /// Performs one operation; gives it back with the bytes transferred.
    pub async fn perform(&self, fd: &Arc<OwnedFd>, operation: Operation) -> (io::Result<usize>, Operation) {
        let ticket = self.flight.board();
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (answer, done) = oneshot::channel();
        let job = Job { fd: fd.clone(), operation, answer, ticket, slot };
        let jobs = self.jobs.as_ref().expect("present until the pool is dropped");
        assert!(jobs.send(job).is_ok(), "the threads live as long as the pool");
        done.await.expect("a thread answers every job")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("a pool thread does not panic");
        }
    }
}

fn serve(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting: the other idle threads queue up behind it.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        let result = job.operation.perform(&job.fd);
        // Before the answer: whoever receives it finds the operation no longer in flight.
        drop((job.ticket, job.slot, job.fd));
        // Nobody waits any more when the caller was cancelled; its buffer is dropped here.
        let _ = job.answer.send((result, job.operation));
    }
}
