//! Reading a TCP stream, or one of TLS over it, straight into the buffer of the HTTP parser.
//!
//! hyper hands out uninitialised memory and takes back how much of it was filled; saying so is
//! `unsafe`, and unsafe code lives in this layer. Sockets are tokio's (readiness), never io_uring's:
//! see `docs/decisions/`. May use nothing of the project.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

/// Reads what is there into the free part of `into`, at most `most` bytes, and tells how many that were; none
/// at the end of the stream.
pub fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    mut into: ReadBufCursor<'_>,
    most: usize,
) -> Poll<io::Result<usize>> {
    // SAFETY: tokio's ReadBuf only ever writes initialised bytes into the slice.
    let free = unsafe { into.as_mut() };
    let most = most.min(free.len());
    let mut free = ReadBuf::uninit(&mut free[..most]);
    ready!(Pin::new(stream).poll_read(cx, &mut free))?;
    let filled = free.filled().len();
    // SAFETY: tokio's ReadBuf vouches that its first `filled` bytes, which are ours, are initialised.
    unsafe { into.advance(filled) };
    Poll::Ready(Ok(filled))
}
