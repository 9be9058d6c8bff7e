//! Where a guest's log lines and its standard output and error end: a bounded list, emptied by the host after each call.
//!
//! Nothing goes from here to a log by itself: a line may hold what the output filters have yet to remove.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use super::{bindings::log::Level, limits::Fault};

/// What is added for each line to its bytes, so that a flood of empty lines is bounded too.
const LINE_COST: usize = 16;

/// One line of a policy's log.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: String,
}

/// The list, shared by the store and the guest's standard streams.
#[derive(Clone)]
pub(super) struct LogSink(Arc<Mutex<Lines>>);

struct Lines {
    lines: Vec<Line>,
    left: usize,
    most: usize,
}

impl LogSink {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Lines { lines: Vec::new(), left: most, most })))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Gives the full allowance for the next call.
    pub(super) fn renew(&self) {
        let mut lines = self.lines();
        lines.left = lines.most;
    }

    /// Adds a line, or says that the allowance is used up.
    pub(super) fn write(&self, level: Level, bytes: &[u8]) -> Result<(), Fault> {
        let mut lines = self.lines();
        lines.left = lines.left.checked_sub(bytes.len() + LINE_COST).ok_or(Fault::Log(lines.most))?;
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        lines.lines.push(Line { level, text });
        Ok(())
    }

    pub(super) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines().lines)
    }

    /// A standard stream that ends here.
    pub(super) fn stream(&self, level: Level) -> Stream {
        Stream { sink: self.clone(), level }
    }
}

/// A guest's standard output or error.
#[derive(Clone)]
pub(super) struct Stream {
    sink: LogSink,
    level: Level,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.sink.write(self.level, &bytes).map_err(|fault| StreamError::Trap(fault.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // The most a guest may make the host allocate for one write; the allowance itself is checked on writing.
        Ok(4096)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.sink.write(self.level, bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
