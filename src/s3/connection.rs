//! One TCP connection from accept to close.
//!
//! Runs hyper's HTTP/1.1 over a tokio socket: pipelining, keep-alive, half-close. Bounds what a
//! client can hold: the request head by time and size, the buffers by memory (`room`), an answer that is not
//! read by a pace, the close after a refused upload by time and bytes. May use `s3::{link, room}`,
//! `base::limits`.
//!
//! Invariants: one timer a connection for all of this; a connection whose client is silent between
//! requests is a socket and nothing else; a panic in a handler costs its connection and is counted, never
//! the core.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Shared;
use super::link::{Busy, LOOK, Leave, Link, Socket, WINDOW};
use super::response::Body;
use crate::base::limits::{
    CONNECTION_BUFFER_BYTES_MAX, IDLE_AWAKE_MS, REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX,
};

/// The watch looks at a connection once in the time a head may take, but no more often than this.
const WATCH_MIN: Duration = Duration::from_millis(500);
const IDLE_AWAKE: Duration = Duration::from_millis(IDLE_AWAKE_MS);

/// Serves `stream` until it ends. When `shutdown` completes, the request in flight is finished and
/// the connection closed.
pub(super) async fn serve(shared: Rc<Shared>, stream: TcpStream, shutdown: impl Future<Output = ()>) {
    let _open = Open::new(&shared);
    // Fails only on a socket that is already dead, which the first read will tell.
    let _ = stream.set_nodelay(true);
    let link = Rc::new(Link::new(stream, shared.room.clone()));
    let mut shutdown = std::pin::pin!(shutdown);
    while wait(&shared, &link, shutdown.as_mut()).await {
        let Ok(seat) = tokio::time::timeout(shared.settings.head_timeout, shared.room.enter(&link)).await
        else {
            shared.stats.connections.timed_out.increment();
            link.refuse();
            break;
        };
        // Boxed, so that nothing of it is there while there is nothing to do.
        let end = Box::pin(live(&shared, &link, shutdown.as_mut())).await;
        drop(seat);
        match end {
            End::Sleeps => {}
            End::Refused => {
                shared.stats.connections.timed_out.increment();
                link.refuse();
                break;
            }
            End::Over => break,
        }
    }
    if link.lingers() {
        // The bound on time is for clients that neither send nor close.
        let _ = tokio::time::timeout(WINDOW, link.drain()).await;
    }
}

/// Why a connection is given up for now or for ever.
enum End {
    Over,
    Sleeps,
    Refused,
}

/// Waits for the client to send something. False when the connection is over.
async fn wait(shared: &Shared, link: &Rc<Link>, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> bool {
    let _place = shared.room.await_client(link);
    let readable = poll_fn(|cx| match link.poll_readable(cx) {
        Poll::Ready(goes_on) => Poll::Ready(goes_on),
        Poll::Pending => shutdown.as_mut().poll(cx).map(|()| false),
    });
    match tokio::time::timeout(link.patience(shared), readable).await {
        Ok(readable) => readable,
        Err(_) => {
            shared.stats.connections.timed_out.increment();
            false
        }
    }
}

/// Serves requests until the client pauses or the connection ends.
async fn live(shared: &Rc<Shared>, link: &Rc<Link>, shutdown: Pin<&mut impl Future<Output = ()>>) -> End {
    let service = service_fn({
        let (shared, link) = (shared.clone(), link.clone());
        move |request: Request<Incoming>| {
            let (shared, link) = (shared.clone(), link.clone());
            async move {
                let busy = Busy::new(link.clone());
                let mut response = shared.handle(request, &link).await;
                link.answers_object(matches!(response.body(), Body::Stream(_)));
                response.body_mut().keep(busy);
                Ok::<Response<Body>, Infallible>(response)
            }
        }
    });
    let mut connection = builder().serve_connection(Socket(link.clone()), service);
    let end = run(shared, link, &mut connection, shutdown).await;
    let unused = match end {
        End::Sleeps => connection.take_unused(),
        End::Over | End::Refused => Bytes::new(),
    };
    link.sleep(unused);
    end
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
async fn run<C>(
    shared: &Shared,
    link: &Link,
    connection: &mut C,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
) -> End
where
    C: Future<Output = hyper::Result<()>> + Conversation + Unpin,
{
    let shortest = shared.settings.head_timeout.min(shared.settings.idle_timeout);
    let pause = shortest.clamp(WATCH_MIN, LOOK);
    let mut watch = std::pin::pin!(tokio::time::sleep(pause));
    let (mut stopping, mut known) = (false, false);
    poll_fn(|cx| {
        if !std::mem::replace(&mut known, true) {
            link.wake(cx.waker());
        }
        if !stopping && shutdown.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.stop();
        }
        let mut rests = false;
        while watch.as_mut().poll(cx).is_ready() {
            if link.is_overdue(shared) {
                shared.stats.connections.timed_out.increment();
                return Poll::Ready(End::Over);
            }
            rests = link.is_idle_for(IDLE_AWAKE);
            watch.as_mut().reset(Instant::now() + pause);
        }
        // What a panic leaves behind inside the connection is dropped with it and never looked at.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *connection).poll(cx))) {
            Ok(Poll::Pending) => poll_leaving(shared, link, rests, stopping),
            Ok(Poll::Ready(result)) => {
                note_end(link, result);
                Poll::Ready(End::Over)
            }
            Err(_) => {
                shared.stats.connections.panics.increment();
                tracing::error!("a broken invariant cost a connection");
                Poll::Ready(End::Over)
            }
        }
    })
    .await
}

/// Whether the connection makes room: because it rests, because others wait, or because it was asked to.
fn poll_leaving(shared: &Shared, link: &Link, rests: bool, stopping: bool) -> Poll<End> {
    if !stopping && link.is_idle() && (rests || shared.room.is_awaited()) {
        return Poll::Ready(End::Sleeps);
    }
    match link.leaves() {
        None | Some(Leave::Sleep) => Poll::Pending,
        Some(Leave::Refused) => Poll::Ready(End::Refused),
        Some(Leave::Cut) => {
            shared.stats.connections.timed_out.increment();
            Poll::Ready(End::Over)
        }
    }
}

fn note_end(link: &Link, result: hyper::Result<()>) {
    let Err(error) = result else { return };
    if error.is_parse() {
        // hyper has answered, and the client may still be sending.
        link.linger_after_answer();
    }
    tracing::debug!(%error, "connection ended");
}

/// What of hyper's connection does not depend on the service.
trait Conversation {
    /// Ends it with the request in flight.
    fn stop(&mut self);

    /// Ends it between two requests; what was read of the next one.
    fn take_unused(self) -> Bytes;
}

impl<S> Conversation for http1::Connection<Socket, S>
where
    S: HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn stop(&mut self) {
        Pin::new(self).graceful_shutdown();
    }

    fn take_unused(self) -> Bytes {
        self.into_parts().read_buf
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
