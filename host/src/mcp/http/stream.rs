//! A connection that does not wait for ever for a client that reads nothing, and tells when its client sends nothing more.

use std::{
    io::{self, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_util::either::Either;

use super::door::Stream;

/// How long a client may take none of the bytes that wait for it: its connection, and what it has asked for, could else stay for
/// good.
const STALLED: Duration = Duration::from_secs(20);

/// A connection whose writes fail if nothing was taken for [`STALLED`]. Where nothing is to be written, nothing is late.
pub(super) struct Impatient {
    stream: Shared,
    /// Set while bytes wait.
    end: Option<Pin<Box<Sleep>>>,
}

/// The same connection for who looks whether its client is still there.
pub(super) struct Watch(Shared);

/// Both are of one task, so that neither ever waits for the other.
type Shared = Arc<Mutex<Stream>>;

fn locked(stream: &Shared) -> MutexGuard<'_, Stream> {
    stream.lock().expect("no holder of this lock panics")
}

impl Watch {
    /// Whether the client has closed its side, or all, even if something it sent before is not read yet.
    pub(super) fn is_closed(&self) -> bool {
        let stream = locked(&self.0);
        let socket = match &*stream {
            Either::Left(tcp) => tcp.as_fd(),
            Either::Right(unix) => unix.as_fd(),
        };
        let mut looked = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
        poll(&mut looked, Some(&Timespec::default())).is_ok() && !looked[0].revents().is_empty()
    }
}

impl Impatient {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), end: None }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(self.stream.clone())
    }

    /// What came of a write, unless it waits for too long.
    fn in_time(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        end.as_mut().poll(context).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *locked(&self.stream)).poll_read(context, read)
    }
}

/// Only writes wait: what was written to a socket is flushed.
impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *locked(&self.stream)).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *locked(&self.stream)).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        locked(&self.stream).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *locked(&self.stream)).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *locked(&self.stream)).poll_shutdown(context)
    }
}
