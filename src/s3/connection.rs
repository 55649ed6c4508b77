//! One TCP connection from accept to close.
//!
//! Runs hyper's HTTP/1.1 over a tokio socket: pipelining, keep-alive, half-close. Bounds what a
//! client can hold: the request head by time and size, the buffers by size, an answer that is not
//! read by a pace, the close after a refused upload by time and bytes. May use `io::socket`,
//! `base::limits`.
//!
//! Invariants: one timer a connection for all of this; a panic in a handler costs its connection
//! and is counted, never the core.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Shared;
use super::response::Body;
use crate::base::limits::{
    BODY_WINDOW_BYTES_MIN, BODY_WINDOW_SECONDS, CONNECTION_BUFFER_BYTES_MAX, KIB, LINGER_BYTES_MAX,
    REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX,
};
use crate::io::socket;

const WINDOW: Duration = Duration::from_secs(BODY_WINDOW_SECONDS);

/// Serves `stream` until it ends. When `shutdown` completes, the request in flight is finished and
/// the connection closed.
pub(super) async fn serve(shared: Rc<Shared>, stream: TcpStream, shutdown: impl Future<Output = ()>) {
    let _open = Open::new(&shared);
    // Fails only on a socket that is already dead, which the first read will tell.
    let _ = stream.set_nodelay(true);
    let link = Rc::new(Link::default());
    let socket = Socket { stream, link: link.clone(), dropped: 0 };
    let service = service_fn({
        let (shared, link) = (shared.clone(), link.clone());
        move |request: Request<Incoming>| {
            let (shared, link) = (shared.clone(), link.clone());
            async move { Ok::<Response<Body>, Infallible>(shared.handle(request, &link).await) }
        }
    });
    let connection = builder(&shared).serve_connection(socket, service);
    run(&shared, &link, connection, shutdown).await;
}

fn builder(shared: &Shared) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer)
        .header_read_timeout(shared.settings.head_timeout)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .max_header_size(REQUEST_HEAD_BYTES_MAX)
        .max_headers(REQUEST_HEADERS_MAX)
        .keep_alive(true)
        .half_close(true)
        .writev(true);
    builder
}

/// Polls the connection, the request to stop, and the watch over the pace of the client.
async fn run<C>(shared: &Shared, link: &Link, connection: C, shutdown: impl Future<Output = ()>)
where
    C: Future<Output = hyper::Result<()>> + GracefulShutdown,
{
    let (mut connection, mut shutdown) = (std::pin::pin!(connection), std::pin::pin!(shutdown));
    let mut watch = std::pin::pin!(tokio::time::sleep(WINDOW));
    let mut stopping = false;
    std::future::poll_fn(|cx| {
        if !stopping && shutdown.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().stop();
        }
        while watch.as_mut().poll(cx).is_ready() {
            if link.is_stalled() {
                shared.stats.connections.timed_out.increment();
                return Poll::Ready(());
            }
            watch.as_mut().reset(tokio::time::Instant::now() + WINDOW);
        }
        // What a panic leaves behind inside the connection is dropped with it and never looked at.
        match catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(cx))) {
            Ok(polled) => polled.map(|result| note_end(shared, result)),
            Err(_) => {
                shared.stats.connections.panics.increment();
                tracing::error!("a broken invariant cost a connection");
                Poll::Ready(())
            }
        }
    })
    .await;
}

/// Clients come and go; only the one who was too slow is counted.
fn note_end(shared: &Shared, result: hyper::Result<()>) {
    let Err(error) = result else { return };
    if error.is_timeout() {
        shared.stats.connections.timed_out.increment();
    }
    tracing::debug!(%error, "connection ended");
}

trait GracefulShutdown {
    fn stop(self: Pin<&mut Self>);
}

impl<S> GracefulShutdown for http1::Connection<Socket, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn stop(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Counts a connection as open while it lives.
struct Open<'s>(&'s Shared);

impl<'s> Open<'s> {
    fn new(shared: &'s Shared) -> Self {
        shared.stats.connections.accepted.increment();
        shared.stats.connections.open.add(1);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats.connections.open.sub(1);
    }
}

/// What the socket, the handler and the watch tell each other.
#[derive(Default)]
pub(super) struct Link {
    /// Bytes the client took since the last look of the watch.
    sent: Cell<u64>,
    /// An answer waits for the client to read.
    write_blocked: Cell<bool>,
    /// A body was left unread: read on after the answer, so that it arrives.
    linger: Cell<bool>,
    /// Windows spent lingering.
    lingering: Cell<bool>,
}

impl Link {
    pub(super) fn linger_after_answer(&self) {
        self.linger.set(true);
    }

    /// Once a window: did the client read too little, or linger through a whole one?
    fn is_stalled(&self) -> bool {
        let slow = self.write_blocked.get() && self.sent.replace(0) < BODY_WINDOW_BYTES_MIN;
        slow || (self.linger.get() && self.lingering.replace(true))
    }
}

/// The TCP stream as hyper reads and writes it.
struct Socket {
    stream: TcpStream,
    link: Rc<Link>,
    /// Bytes read and thrown away at the end.
    dropped: u64,
}

impl Socket {
    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.link.write_blocked.set(polled.is_pending());
        if let Poll::Ready(Ok(sent)) = polled {
            self.link.sent.set(self.link.sent.get() + *sent as u64);
        }
    }

    /// Reads until the client closes its side or a bound is reached.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 8 * KIB];
        while self.dropped < LINGER_BYTES_MAX {
            let mut into = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into));
            if read.is_err() || into.filled().is_empty() {
                break;
            }
            self.dropped += into.filled().len() as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        socket::poll_read(&mut self.stream, cx, into).map_ok(drop)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.link.linger.get() { self.poll_linger(cx) } else { Poll::Ready(Ok(())) }
    }
}

/// hyper's clock, on tokio's.
#[derive(Clone, Copy)]
struct TokioTimer;

struct TokioSleep(Pin<Box<tokio::time::Sleep>>);

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(TokioSleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(TokioSleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<TokioSleep>() {
            Some(mut sleep) => sleep.0.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

impl Future for TokioSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for TokioSleep {}
