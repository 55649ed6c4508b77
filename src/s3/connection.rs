//! One TCP connection from accept to close.
//!
//! Runs hyper's HTTP/1.1 over a tokio socket: pipelining, keep-alive, half-close. Bounds what a
//! client can hold: the request head by time and size, the buffers by size, an answer that is not
//! read by a pace, the close after a refused upload by time and bytes. May use `io::socket`,
//! `base::limits`.
//!
//! Invariants: one timer a connection for all of this; a panic in a handler costs its connection
//! and is counted, never the core.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Shared;
use super::response::Body;
use crate::base::limits::{
    BODY_WINDOW_BYTES_MIN, BODY_WINDOW_SECONDS, BUFFER_LOOK_BYTES_MIN, BUFFER_LOOK_SECONDS,
    CONNECTION_BUFFER_BYTES_MAX, KIB, LINGER_BYTES_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX,
};
use crate::io::socket;

const WINDOW: Duration = Duration::from_secs(BODY_WINDOW_SECONDS);
const LOOK: Duration = Duration::from_secs(BUFFER_LOOK_SECONDS);
/// The watch looks at a connection once in the time a head may take, but no more often than this.
const WATCH_MIN: Duration = Duration::from_millis(500);

/// Serves `stream` until it ends. When `shutdown` completes, the request in flight is finished and
/// the connection closed.
pub(super) async fn serve(shared: Rc<Shared>, stream: TcpStream, shutdown: impl Future<Output = ()>) {
    let _open = Open::new(&shared);
    // Fails only on a socket that is already dead, which the first read will tell.
    let _ = stream.set_nodelay(true);
    let link = Rc::new(Link::new(stream));
    let socket = Socket(link.clone());
    let service = service_fn({
        let (shared, link) = (shared.clone(), link.clone());
        move |request: Request<Incoming>| {
            let (shared, link) = (shared.clone(), link.clone());
            async move {
                let busy = Busy::new(link.clone());
                let mut response = shared.handle(request, &link).await;
                link.streams.set(matches!(response.body(), Body::Stream(_)));
                response.body_mut().keep(busy);
                Ok::<Response<Body>, Infallible>(response)
            }
        }
    });
    let connection = builder().serve_connection(socket, service);
    run(&shared, &link, connection, shutdown).await;
    if link.linger.get() {
        // The bound on time is for clients that neither send nor close.
        let _ = tokio::time::timeout(WINDOW, link.drain()).await;
    }
}

/// Time is watched here and not by hyper, which would set a timer for every request.
fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
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
    let shortest = shared.settings.head_timeout.min(shared.settings.idle_timeout);
    let pause = shortest.clamp(WATCH_MIN, LOOK);
    let mut watch = std::pin::pin!(tokio::time::sleep(pause));
    let mut stopping = false;
    poll_fn(|cx| {
        if !stopping && shutdown.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().stop();
        }
        while watch.as_mut().poll(cx).is_ready() {
            if link.is_overdue(shared) {
                shared.stats.connections.timed_out.increment();
                return Poll::Ready(());
            }
            watch.as_mut().reset(Instant::now() + pause);
        }
        // What a panic leaves behind inside the connection is dropped with it and never looked at.
        match catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(cx))) {
            Ok(polled) => polled.map(|result| note_end(link, result)),
            Err(_) => {
                shared.stats.connections.panics.increment();
                tracing::error!("a broken invariant cost a connection");
                Poll::Ready(())
            }
        }
    })
    .await;
}

fn note_end(link: &Link, result: hyper::Result<()>) {
    let Err(error) = result else { return };
    if error.is_parse() {
        // hyper has answered, and the client may still be sending.
        link.linger_after_answer();
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
        shared.stats.connections.open.add(1);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats.connections.open.sub(1);
    }
}

/// What the socket, the handler and the watch share.
pub(super) struct Link {
    /// Where the client is.
    pub(super) peer: Option<std::net::IpAddr>,
    stream: RefCell<TcpStream>,
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
    /// Bytes the client took in this window, and when it began.
    sent: Cell<u64>,
    window: Cell<Instant>,
    /// An answer waits for the client to read.
    write_blocked: Cell<bool>,
    /// The answer is an object, which takes memory of transfers while the client reads it.
    streams: Cell<bool>,
    /// When it was last looked at whether that memory is wanted elsewhere, and what the client took since.
    looked: Cell<Instant>,
    taken: Cell<u64>,
    /// A body was left unread: read on after the answer, so that it arrives.
    linger: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// A head is expected or has begun to arrive.
    Head,
    /// A request is being answered.
    Busy,
    /// Between two requests.
    Idle,
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        let now = Instant::now();
        Link {
            peer: stream.peer_addr().ok().map(|address| address.ip()),
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::Head),
            since: Cell::new(now),
            sent: Cell::new(0),
            window: Cell::new(now),
            write_blocked: Cell::new(false),
            streams: Cell::new(false),
            looked: Cell::new(now),
            taken: Cell::new(0),
            linger: Cell::new(false),
        }
    }

    pub(super) fn linger_after_answer(&self) {
        self.linger.set(true);
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    /// Is the client slower than the bounds allow, or than others who wait for its memory can bear?
    fn is_overdue(&self, shared: &Shared) -> bool {
        let now = Instant::now();
        if now - self.window.get() >= WINDOW {
            self.window.set(now);
            let sent = self.sent.replace(0);
            if self.write_blocked.get() && sent < BODY_WINDOW_BYTES_MIN {
                return true;
            }
        }
        if now - self.looked.get() >= LOOK {
            self.looked.set(now);
            let is_slow = self.taken.replace(0) < BUFFER_LOOK_BYTES_MIN;
            if self.write_blocked.get() && self.streams.get() && is_slow && shared.store.reading_gives_way() {
                return true;
            }
        }
        let elapsed = now - self.since.get();
        match self.phase.get() {
            Phase::Head => elapsed >= shared.settings.head_timeout,
            Phase::Idle => elapsed >= shared.settings.idle_timeout && !self.write_blocked.get(),
            Phase::Busy => false,
        }
    }

    fn note_read(&self, bytes: usize) {
        if bytes > 0 && self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.write_blocked.set(polled.is_pending());
        if let Poll::Ready(Ok(sent)) = polled {
            self.sent.set(self.sent.get() + *sent as u64);
            self.taken.set(self.taken.get() + *sent as u64);
        }
    }

    /// Closes our side, and reads until the client closes its own or a bound is reached.
    async fn drain(&self) {
        let mut scratch = vec![0; 8 * KIB];
        let mut dropped = 0;
        let closed = poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)).await;
        while closed.is_ok() && dropped < LINGER_BYTES_MAX {
            let mut into = ReadBuf::new(&mut scratch);
            let read = poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut into)).await;
            match into.filled().len() {
                0 => return,
                _ if read.is_err() => return,
                bytes => dropped += bytes as u64,
            }
        }
    }
}

/// From the head of a request to the last byte of its answer.
pub(super) struct Busy(Rc<Link>);

impl Busy {
    fn new(link: Rc<Link>) -> Self {
        link.enter(Phase::Busy);
        Busy(link)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The TCP stream as hyper reads and writes it.
struct Socket(Rc<Link>);

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = socket::poll_read(&mut self.0.stream.borrow_mut(), cx, into);
        polled.map_ok(|bytes| self.0.note_read(bytes))
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, data);
        self.0.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, data);
        self.0.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}
