//! Standard input and output as an MCP transport that survives rude clients and tells when its client is gone.

use std::future::Future;

use rmcp::{
    RoleServer,
    model::JsonRpcMessage,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{StdioReader, StdioWriter, Transport, async_rw::AsyncRwTransport, stdio_pipes},
};
use tokio_util::sync::CancellationToken;

/// Longest line of the protocol that is read, in bytes. A command has at most 64 KiB, input 256 KiB, JSON may double that and more; an
/// abuser could make the server hold one such line.
const MOST_LINE_BYTES: usize = 4 << 20;

/// rmcp's transport over pipes, with two differences: it passes over notifications and responses before the first request, at which
/// rmcp would end the server; and it cancels a token when standard input ends, so that calls in progress end at once, where rmcp
/// would wait for them for five seconds.
pub(super) struct Stdio {
    inner: AsyncRwTransport<RoleServer, StdioReader, StdioWriter>,
    is_begun: bool,
    gone: CancellationToken,
}

impl Stdio {
    pub(super) fn new(gone: CancellationToken) -> Self {
        let (reader, writer) = stdio_pipes();
        let inner = AsyncRwTransport::new_server(reader, writer).with_max_line_length(MOST_LINE_BYTES);
        Self { inner, is_begun: false, gone }
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = std::io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            match self.inner.receive().await {
                Some(message) if self.is_begun || matches!(message, JsonRpcMessage::Request(_)) => {
                    self.is_begun = true;
                    return Some(message);
                }
                Some(_) => tracing::warn!("passed over a message that came before any request"),
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
