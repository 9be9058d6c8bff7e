//! Standard input and output as an MCP transport that survives rude clients and tells when its client is gone.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use rmcp::{
    RoleServer,
    model::{ClientNotification, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{StdioReader, StdioWriter, Transport, async_rw::AsyncRwTransport, stdio_pipes},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longest line of the protocol that is read, in bytes. A command has at most 64 KiB, input 256 KiB, JSON may double that and more; an
/// abuser could make the server hold one such line.
const MOST_LINE_BYTES: usize = 4 << 20;

/// Requests that may be without an answer at a time: a client that asks without reading could else make the server hold any number
/// of answers. Beyond, nothing more is read until one has left.
const MOST_IN_FLIGHT: usize = 32;

/// rmcp's transport over pipes, with three differences: it passes over notifications and responses before the first request, at which
/// rmcp would end the server; it reads no more than so many requests ahead of their answers; and it cancels a token when standard
/// input ends, so that calls in progress end at once, where rmcp would wait for them for five seconds.
pub(super) struct Stdio {
    inner: AsyncRwTransport<RoleServer, StdioReader, StdioWriter>,
    is_begun: bool,
    in_flight: Arc<InFlight>,
    gone: CancellationToken,
}

/// The requests that have no answer yet, one by one: a rude client may use an id twice.
#[derive(Default)]
struct InFlight {
    ids: Mutex<Vec<RequestId>>,
    changed: Notify,
}

impl InFlight {
    fn add(&self, id: RequestId) {
        self.ids().push(id);
    }

    fn remove(&self, id: &RequestId) {
        let mut ids = self.ids();
        if let Some(at) = ids.iter().position(|waiting| waiting == id) {
            ids.swap_remove(at);
        }
        self.changed.notify_one();
    }

    async fn room(&self) {
        while self.ids().len() >= MOST_IN_FLIGHT {
            self.changed.notified().await;
        }
    }

    fn ids(&self) -> MutexGuard<'_, Vec<RequestId>> {
        self.ids.lock().expect("no holder of this lock panics")
    }
}

impl Stdio {
    pub(super) fn new(gone: CancellationToken) -> Self {
        let (reader, writer) = stdio_pipes();
        let inner = AsyncRwTransport::new_server(reader, writer).with_max_line_length(MOST_LINE_BYTES);
        Self { inner, is_begun: false, in_flight: Arc::default(), gone }
    }

    /// Keeps the books of what was asked; says whether the message is for the server.
    fn admit(&mut self, message: &RxJsonRpcMessage<RoleServer>) -> bool {
        match message {
            JsonRpcMessage::Request(request) => {
                self.in_flight.add(request.id.clone());
                self.is_begun = true;
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    // It will have no answer.
                    self.in_flight.remove(id);
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        self.is_begun
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = std::io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answered = match &item {
            JsonRpcMessage::Response(response) => Some(response.id.clone()),
            JsonRpcMessage::Error(error) => error.id.clone(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let (in_flight, sending) = (self.in_flight.clone(), self.inner.send(item));
        async move {
            let sent = sending.await;
            if let Some(id) = answered {
                in_flight.remove(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            self.in_flight.room().await;
            match self.inner.receive().await {
                Some(message) if self.admit(&message) => return Some(message),
                Some(_) => tracing::debug!("passed over a message that came before any request"),
                None => {
                    self.gone.cancel();
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
