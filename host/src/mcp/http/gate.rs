//! Requests one by one: which address, whose, how long.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService, streamable_http_server::session::local::LocalSessionManager,
};
use tokio_util::sync::CancellationToken;

use super::door::{Address, Door};
use crate::{mcp::server::Server, service::Service};

/// Bytes of a request's body, as many as of a line on standard input.
const MOST_BODY_BYTES: usize = 4 << 20;
/// How long a client may take to send a body.
const BODY: Duration = Duration::from_secs(30);
/// How long a session lasts of which nothing is heard; the longest wait of a call is shorter.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// An answer.
pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What all requests pass.
pub(super) struct Gate {
    service: Arc<Service>,
    mcp: StreamableHttpService<Server, LocalSessionManager>,
    /// Ends what would go on as long as its client listens.
    streams: CancellationToken,
}

impl Gate {
    pub(super) fn new(server: Server, door: &Door) -> Self {
        let streams = CancellationToken::new();
        let service = server.service.clone();
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.keep_alive = Some(IDLE);
        let config = StreamableHttpServerConfig::default()
            .with_allowed_origins(origins(&door.address()))
            .enforce_origin_validation()
            .with_json_response(true)
            .with_max_request_body_bytes(MOST_BODY_BYTES)
            .with_cancellation_token(streams.clone());
        let mcp = StreamableHttpService::new(move || Ok(server.for_another()), Arc::new(sessions), config);
        Self { service, mcp, streams }
    }

    /// Ends all streams of events.
    pub(super) fn end_streams(&self) {
        self.streams.cancel();
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/mcp" => self.mcp(request).await,
            "/healthz" => told(request.method(), true),
            "/readyz" => told(request.method(), self.service.is_ready()),
            _ => plain(StatusCode::NOT_FOUND, "there is nothing here; MCP is at /mcp"),
        }
    }

    async fn mcp(&self, request: Request<Incoming>) -> Answer {
        match whole(request).await {
            Ok(request) => self.mcp.handle(request).await,
            Err(refusal) => refusal,
        }
    }
}

/// The same request with all of its body.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    let too_long = || {
        let text = format!("a request has at most {MOST_BODY_BYTES} bytes");
        plain(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if body.size_hint().lower() > MOST_BODY_BYTES as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY, Limited::new(body, MOST_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Full::new(body.to_bytes()))),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the request ended early")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, format!("a request must be whole within {} s", BODY.as_secs()))),
    }
}

/// Pages that may send requests: those of this very server, of which there are none yet.
fn origins(address: &Address) -> Vec<String> {
    match address {
        Address::Tcp(address) => {
            let port = address.port();
            ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("http://{host}:{port}")).into()
        }
        Address::Unix(_) => Vec::new(),
    }
}

/// What who looks after the server is told.
fn told(method: &Method, is_so: bool) -> Answer {
    match (method, is_so) {
        (&Method::GET | &Method::HEAD, true) => plain(StatusCode::OK, "yes"),
        (&Method::GET | &Method::HEAD, false) => plain(StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        _ => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        }
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::from(text.into() + "\n").boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
