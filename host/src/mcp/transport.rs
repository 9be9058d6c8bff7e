//! Standard input and output as an MCP transport that survives rude clients and tells when its client is gone.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use rmcp::{
    ErrorData, RoleServer,
    model::{ClientNotification, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{
        StdioReader, StdioWriter, Transport,
        async_rw::{AsyncRwTransport, JsonRpcMessageCodec, JsonRpcMessageCodecError},
        stdio_pipes,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Empty},
    sync::Notify,
};
use tokio_util::{codec::Decoder, sync::CancellationToken};

use super::message::{Excess, MOST_BYTES, bounded, id, is_greeting, is_json, is_long, no_message, no_text};

/// Calls that may be in progress at a time; a request beyond them is refused, and all else is still heard.
pub(super) const MOST_CALLS: usize = 128;
/// Answers that may wait for the client to read: one that asks without reading could else make the server hold any number of them.
/// Beyond, nothing more is read until one has left.
const MOST_UNREAD: usize = 32;
/// How often, while nothing is read, it is looked whether the client has closed its end.
const LOOK: Duration = Duration::from_millis(200);

/// rmcp's transport over pipes, with five differences: it bounds messages before it reads them, and says so, where rmcp would pass
/// them over; it passes over notifications and responses before the first request, at which rmcp would end the server; it bounds
/// the calls in progress, which have an id each, and the answers that nobody reads; and it cancels a token when standard input
/// ends, so that calls in progress end at once, where rmcp would wait for them for five seconds.
pub(super) struct Stdio {
    lines: Lines,
    /// Writes; what there is to read is in `lines`.
    inner: AsyncRwTransport<RoleServer, Empty, StdioWriter>,
    is_begun: bool,
    books: Arc<Books>,
    gone: CancellationToken,
}

/// The lines of standard input.
struct Lines {
    reader: BufReader<StdioReader>,
    /// What there is of the line that is being read.
    line: BytesMut,
    /// Whether that has become too long, so that its rest is passed over.
    is_too_long: bool,
}

/// What was asked and is not answered, by ids, of which each is in use once at a time.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashSet<RequestId>>);

/// What was asked and is not answered, and what was answered and is not read.
#[derive(Default)]
struct Books {
    calls: Calls,
    unread: AtomicUsize,
    changed: Notify,
}

impl Lines {
    /// The next line, with its end; none where the input ends, be it in the middle of a line.
    ///
    /// # Cancel safety
    ///
    /// What was read of a line is kept when this is dropped.
    async fn next(&mut self) -> Option<Result<BytesMut, Excess>> {
        loop {
            let read = self.reader.fill_buf().await.inspect_err(|error| tracing::error!(%error, "could not read")).ok()?;
            if read.is_empty() {
                return None;
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(read.len(), |end| end + 1);
            if self.line.len() + taken > MOST_BYTES {
                self.is_too_long = true;
                self.line = BytesMut::new();
            }
            if !self.is_too_long {
                self.line.extend_from_slice(&read[..taken]);
            }
            self.reader.consume(taken);
            if end.is_some() {
                let line = self.line.split();
                return Some(if std::mem::take(&mut self.is_too_long) { Err(Excess::Bytes) } else { Ok(line) });
            }
        }
    }
}

/// Why a line is refused, and the request that it was, as far as that can be told.
struct Refusal {
    error: ErrorData,
    id: Option<RequestId>,
}

impl<E: Into<ErrorData>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { error: error.into(), id: None }
    }
}

/// Reads a message. What is no JSON is passed over in silence, as other servers do: two that answer each other's errors would never
/// end.
fn message(line: BytesMut) -> Result<Option<RxJsonRpcMessage<RoleServer>>, Refusal> {
    let values = bounded(&line)?;
    match JsonRpcMessageCodec::default().decode(&mut line.clone()) {
        Err(JsonRpcMessageCodecError::Serde(error)) if error.is_syntax() || error.is_eof() => {
            if is_json(&line) {
                return Err(Refusal { error: no_text(), id: id(&line) });
            }
            tracing::debug!(%error, "a line is no JSON");
            Ok(None)
        }
        Ok(Some(message)) if is_long(&line, values) && is_greeting(&message) => {
            Err(Refusal { error: Excess::Greeting.into(), id: id(&line) })
        }
        read => Ok(read.map_err(|_| no_message())?),
    }
}

impl Calls {
    /// Takes a request in, or says why not.
    pub(super) fn begin(&self, id: &RequestId) -> Result<(), ErrorData> {
        let mut calls = self.all();
        if calls.contains(id) {
            let text = "a request of this id is in progress; each needs one of its own";
            return Err(ErrorData::invalid_request(text, None));
        }
        if calls.len() >= MOST_CALLS {
            return Err(too_many_calls());
        }
        calls.insert(id.clone());
        Ok(())
    }

    pub(super) fn end(&self, id: &RequestId) {
        self.all().remove(id);
    }

    /// Takes note of what the server says: what it answers is in progress no more.
    pub(super) fn told(&self, message: &TxJsonRpcMessage<RoleServer>) {
        match message {
            JsonRpcMessage::Response(response) => self.end(&response.id),
            JsonRpcMessage::Error(error) => error.id.iter().for_each(|id| self.end(id)),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => {}
        }
    }

    /// Takes note of what a client says besides its requests: what it cancels will have no answer, and ends at once.
    pub(super) fn heard(&self, message: &RxJsonRpcMessage<RoleServer>) {
        if let JsonRpcMessage::Notification(notification) = message
            && let ClientNotification::CancelledNotification(cancelled) = &notification.notification
            && let Some(id) = &cancelled.params.request_id
        {
            self.end(id);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Books {
    /// Waits until the client has read enough. Says whether it has; else it closed its end.
    async fn are_read(&self) -> bool {
        while self.unread.load(Ordering::Relaxed) >= MOST_UNREAD {
            if tokio::time::timeout(LOOK, self.changed.notified()).await.is_err() && is_hung_up() {
                return false;
            }
        }
        true
    }
}

/// What is said to a call beyond [`MOST_CALLS`].
pub(super) fn too_many_calls() -> ErrorData {
    let text = format!("{MOST_CALLS} calls are in progress, as many as may be; cancel one, or wait for one to end");
    ErrorData::internal_error(text, None)
}

/// Whether the client has closed its end of standard input, even if something is left to be read in it.
fn is_hung_up() -> bool {
    let stdin = std::io::stdin();
    let mut looked = [PollFd::new(&stdin, PollFlags::empty())];
    poll(&mut looked, Some(&Timespec::default())).is_ok() && looked[0].revents().contains(PollFlags::HUP)
}

impl Stdio {
    pub(super) fn new(gone: CancellationToken) -> Self {
        let (reader, writer) = stdio_pipes();
        let lines = Lines { reader: BufReader::new(reader), line: BytesMut::new(), is_too_long: false };
        let inner = AsyncRwTransport::new_server(tokio::io::empty(), writer);
        Self { lines, inner, is_begun: false, books: Arc::default(), gone }
    }

    /// Keeps the books of what was asked; says whether the message is for the server.
    fn admit(&mut self, message: &RxJsonRpcMessage<RoleServer>) -> bool {
        if let JsonRpcMessage::Request(request) = message {
            if let Err(error) = self.books.calls.begin(&request.id) {
                // It ends no call, not even one of the same id.
                self.refuse(Refusal { error, id: Some(request.id.clone()) });
                return false;
            }
            self.is_begun = true;
        }
        self.books.calls.heard(message);
        self.is_begun
    }

    fn refuse(&mut self, refusal: Refusal) {
        tokio::spawn(self.write(JsonRpcMessage::error(refusal.error, refusal.id)));
    }

    /// Writes a message, which is unread until then.
    fn write(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        self.books.unread.fetch_add(1, Ordering::Relaxed);
        let (books, sending) = (self.books.clone(), self.inner.send(item));
        async move {
            let sent = sending.await;
            books.unread.fetch_sub(1, Ordering::Relaxed);
            books.changed.notify_one();
            sent
        }
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = std::io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.books.calls.told(&item);
        self.write(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        while self.books.are_read().await
            && let Some(line) = self.lines.next().await
        {
            match line.map_err(Refusal::from).and_then(message) {
                Ok(Some(message)) if self.admit(&message) => return Some(message),
                Ok(_) => {}
                Err(refusal) => self.refuse(refusal),
            }
        }
        self.gone.cancel();
        None
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
