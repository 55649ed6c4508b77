//! The socket of a connection, as hyper, the handler and the watch share it.
//!
//! Owns [`Link`]: the TCP stream, where in the life of a request it stands, and what is known about the pace
//! of the client; [`Socket`], through which hyper reads and writes it; [`Busy`], which marks a request being
//! answered. May use `io::socket`, `s3::room`, `base::limits`.
//!
//! Invariants: hyper reads no more at once than the connection has memory for (`Reach`), so its buffers stay
//! as small; a head that needs more than there is leaves the connection to be refused.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Shared;
use super::room::{Reach, Room};
use crate::base::limits::{
    BODY_WINDOW_BYTES_MIN, BODY_WINDOW_SECONDS, BUFFER_LOOK_BYTES_MIN, BUFFER_LOOK_SECONDS, LINGER_BYTES_MAX,
    ROOM_HEAD_MS, ROOM_PACE_BYTES_MIN, ROOM_PACE_MS,
};
use crate::io::socket;

pub(super) const WINDOW: Duration = Duration::from_secs(BODY_WINDOW_SECONDS);
pub(super) const LOOK: Duration = Duration::from_secs(BUFFER_LOOK_SECONDS);
const HEAD_PATIENCE: Duration = Duration::from_millis(ROOM_HEAD_MS);
const PACE: Duration = Duration::from_millis(ROOM_PACE_MS);

/// What the socket, the handler and the watch share.
pub(super) struct Link {
    /// Where the client is.
    pub(super) peer: Option<std::net::IpAddr>,
    stream: RefCell<TcpStream>,
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
    /// Bytes of the head that is expected.
    head_bytes: Cell<usize>,
    /// Bytes the client took in this window, and when it began.
    sent: Cell<u64>,
    window: Cell<Instant>,
    /// An answer waits for the client to read.
    write_blocked: Cell<bool>,
    /// A handler waits for the client to send.
    read_awaited: Cell<bool>,
    /// The answer is an object, which takes memory of transfers while the client reads it.
    streams: Cell<bool>,
    /// Or a document, which takes so much of the memory for documents.
    document_bytes: Cell<usize>,
    /// The request moves the bytes of a large object.
    transfers: Cell<bool>,
    /// When it was last looked at whether that memory is wanted elsewhere, and what the client took since.
    looked: Cell<Instant>,
    taken: Cell<u64>,
    /// A body was left unread: read on after the answer, so that it arrives.
    linger: Cell<bool>,
    room: Rc<Room>,
    reach: RefCell<Reach>,
    /// The last read found as much as it may read.
    filled: Cell<bool>,
    /// What was read and not used when the parser was given up.
    unused: RefCell<Bytes>,
    /// Bytes that moved either way, and what they were at the first look of a round of who makes room.
    moved: Cell<u64>,
    judged: Cell<Option<Judged>>,
    /// Asked to make room.
    leave: Cell<Option<Leave>>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
struct Judged {
    round: u64,
    at: Instant,
    moved: u64,
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

/// How a connection makes room, the gentlest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leave {
    /// It goes on when the client does.
    Sleep,
    /// The head is answered with an error.
    Refused,
    /// The client is too slow.
    Cut,
}

impl Link {
    pub(super) fn new(stream: TcpStream, room: Rc<Room>) -> Self {
        let now = Instant::now();
        Link {
            peer: stream.peer_addr().ok().map(|address| address.ip()),
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::Head),
            since: Cell::new(now),
            head_bytes: Cell::new(0),
            sent: Cell::new(0),
            window: Cell::new(now),
            write_blocked: Cell::new(false),
            read_awaited: Cell::new(false),
            streams: Cell::new(false),
            document_bytes: Cell::new(0),
            transfers: Cell::new(false),
            looked: Cell::new(now),
            taken: Cell::new(0),
            linger: Cell::new(false),
            room,
            reach: RefCell::default(),
            filled: Cell::new(false),
            unused: RefCell::default(),
            moved: Cell::new(0),
            judged: Cell::new(None),
            leave: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    pub(super) fn linger_after_answer(&self) {
        self.linger.set(true);
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.get()
    }

    pub(super) fn answers_object(&self, streams: bool) {
        self.streams.set(streams);
    }

    /// How much memory for documents the answer holds.
    pub(super) fn answers_document(&self, bytes: usize) {
        self.document_bytes.set(bytes);
    }

    /// A handler waits for bytes of the client, or no longer.
    pub(super) fn awaits_body(&self, awaits: bool) {
        self.read_awaited.set(awaits);
    }

    /// To be asked before the bytes of a large object are moved; not when too many of those are.
    pub(super) fn begin_transfer(&self) -> bool {
        let begun = self.transfers.get() || self.room.begin_transfer();
        self.transfers.set(begun);
        begun
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
        self.head_bytes.set(0);
    }

    // ---- Waiting for the client without memory ----

    /// Until the client sends something or is gone. False when others need the place.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.leave.take() == Some(Leave::Cut) {
            return Poll::Ready(false);
        }
        if !self.unused.borrow().is_empty() {
            return Poll::Ready(true);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.stream.borrow().poll_read_ready(cx).map(|_| true)
    }

    /// How long the client may wait with its request, from now.
    pub(super) fn patience(&self, shared: &Shared) -> Duration {
        let whole = match self.phase.get() {
            Phase::Head => shared.settings.head_timeout,
            Phase::Busy | Phase::Idle => shared.settings.idle_timeout,
        };
        whole.saturating_sub(self.since.get().elapsed())
    }

    /// It has a seat: what follows is watched from `waker`'s task.
    pub(super) fn wake(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
        self.leave.set(None);
        if self.phase.get() == Phase::Head && self.head_bytes.get() == 0 {
            // Waiting for a seat was not the client's fault.
            self.since.set(Instant::now());
        }
    }

    /// Gives up what was kept for reading. `unused` comes first when the parser is there again.
    pub(super) fn sleep(&self, unused: Bytes) {
        self.waker.borrow_mut().take();
        self.reach.take();
        self.filled.set(false);
        *self.unused.borrow_mut() = unused;
    }

    /// Between two requests, and nothing of the last answer is left to write.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle && !self.write_blocked.get() && !self.linger.get()
    }

    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.is_idle() && self.since.get().elapsed() >= time
    }

    // ---- Making room ----

    /// What was asked for, if it still is what the connection can do.
    pub(super) fn leaves(&self) -> Option<Leave> {
        let fits = |leave: &Leave| match leave {
            Leave::Sleep => self.is_idle(),
            Leave::Refused => self.phase.get() == Phase::Head,
            Leave::Cut => self.write_blocked.get() || self.read_awaited.get(),
        };
        self.leave.take().filter(fits)
    }

    pub(super) fn ask_to_leave(&self, leave: Leave) {
        self.leave.set(Some(leave));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// How this connection could make room for others, and since when it has been so.
    pub(super) fn may_leave(&self, now: Instant, round: u64) -> Option<(Leave, Instant)> {
        if self.leave.get().is_some() {
            return None;
        }
        let since = self.since.get();
        if self.is_idle() {
            return Some((Leave::Sleep, since));
        }
        if self.phase.get() == Phase::Head {
            return (now - since >= HEAD_PATIENCE).then_some((Leave::Refused, since));
        }
        if !self.write_blocked.get() && !self.read_awaited.get() {
            self.judged.set(None);
            return None;
        }
        let moved = self.moved.get();
        match self.judged.get().filter(|judged| judged.round == round) {
            Some(judged) if now - judged.at < PACE => None,
            Some(judged) if moved - judged.moved < ROOM_PACE_BYTES_MIN => Some((Leave::Cut, judged.at)),
            _ => {
                self.judged.set(Some(Judged { round, at: now, moved }));
                None
            }
        }
    }

    /// Is the client slower than the bounds allow, or than others who wait for its memory can bear?
    pub(super) fn is_overdue(&self, shared: &Shared) -> bool {
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
            if self.write_blocked.get() && is_slow && self.is_in_the_way(shared) {
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

    /// Others wait for the memory of what this client does not read.
    fn is_in_the_way(&self, shared: &Shared) -> bool {
        let document = self.document_bytes.get();
        (self.streams.get() && shared.store.reading_gives_way())
            || (document > 0 && shared.documents.gives_way(document))
    }

    fn note_read(&self, bytes: usize, most: usize) {
        self.filled.set(bytes >= most);
        self.moved.set(self.moved.get() + bytes as u64);
        if bytes > 0 && self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
        self.head_bytes.set(self.head_bytes.get() + bytes);
    }

    fn note_write(&self, polled: &Poll<io::Result<usize>>) {
        self.write_blocked.set(polled.is_pending());
        if let Poll::Ready(Ok(sent)) = polled {
            self.sent.set(self.sent.get() + *sent as u64);
            self.taken.set(self.taken.get() + *sent as u64);
            self.moved.set(self.moved.get() + *sent as u64);
        }
    }

    /// Bytes that may be read now; none for a head for which there is no memory.
    fn reach(&self) -> Option<usize> {
        let mut reach = self.reach.borrow_mut();
        let is_long = self.phase.get() == Phase::Head && self.head_bytes.get() >= reach.bytes();
        if self.filled.get() || is_long {
            reach.extend(&self.room);
            if is_long && reach.is_least() {
                return None;
            }
        }
        Some(reach.bytes())
    }

    // ---- The end ----

    /// Says so without hyper, as far as the socket takes it at once.
    pub(super) fn refuse(&self) {
        let _ = self.stream.borrow().try_write(REFUSAL);
        self.linger.set(true);
    }

    /// Closes our side, and reads until the client closes its own or a bound is reached.
    pub(super) async fn drain(&self) {
        let mut dropped = 0;
        let closed = poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)).await;
        while closed.is_ok() && dropped < LINGER_BYTES_MAX {
            let read = poll_fn(|cx| {
                let mut scratch = self.room.scratch();
                let mut into = ReadBuf::new(&mut scratch);
                let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut into);
                polled.map_ok(|()| into.filled().len())
            });
            match read.await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => dropped += bytes as u64,
            }
        }
    }
}

/// Nothing is known of the request, so there is no document.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Slow Down\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// From the head of a request to the last byte of its answer.
pub(super) struct Busy(Rc<Link>);

impl Busy {
    pub(super) fn new(link: Rc<Link>) -> Self {
        link.enter(Phase::Busy);
        Busy(link)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.read_awaited.set(false);
        if self.0.transfers.replace(false) {
            self.0.room.end_transfer();
        }
        self.0.enter(Phase::Idle);
    }
}

/// The TCP stream as hyper reads and writes it.
pub(super) struct Socket(pub(super) Rc<Link>);

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let link = &self.0;
        let Some(most) = link.reach() else {
            link.ask_to_leave(Leave::Refused);
            return Poll::Pending;
        };
        let mut unused = link.unused.borrow_mut();
        if !unused.is_empty() {
            let bytes = unused.len().min(into.remaining());
            into.put_slice(&unused[..bytes]);
            unused.advance(bytes);
            link.note_read(bytes, most);
            return Poll::Ready(Ok(()));
        }
        let bytes = ready!(socket::poll_read(&mut *link.stream.borrow_mut(), cx, into, most))?;
        link.note_read(bytes, most);
        Poll::Ready(Ok(()))
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
