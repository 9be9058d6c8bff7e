//! Requests one by one: which address, whose, how much.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use rmcp::{ServerHandler, transport::StreamableHttpServerConfig};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    door::{Address, Door},
    members::{Front, Known, Members},
};
use crate::{
    config::Config,
    mcp::{server::Server, transport::MOST_LINE_BYTES},
    service::Service,
};

/// Bytes of a request's body, as many as of a line on standard input.
const MOST_BODY_BYTES: usize = MOST_LINE_BYTES;
/// Most objects, lists and members of them in a body. Each takes a hundred times its size once it is read; a call has some dozens.
const MOST_VALUES: usize = 20_000;
/// How long a client may take to send a body.
const BODY: Duration = Duration::from_secs(30);

/// An answer.
pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What all requests pass.
pub(super) struct Gate<H> {
    service: Arc<Service>,
    members: Members<H>,
    /// Ends what would go on as long as its client listens.
    streams: CancellationToken,
}

impl<H: ServerHandler> Gate<H> {
    pub(super) fn new(server: Server, front: Front<H>, door: &Door, config: &Config, tokens: Known) -> Self {
        let (http, pace) = (&config.http, config.principals.requests_per_s);
        let (service, streams, address) = (server.service.clone(), CancellationToken::new(), door.address());
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(hosts(&address).into_iter().chain(http.hosts.iter().cloned()))
            .with_allowed_origins(origins(&address).into_iter().chain(http.origins.iter().cloned()))
            .enforce_origin_validation()
            .with_json_response(true)
            .with_max_request_body_bytes(MOST_BODY_BYTES)
            .with_cancellation_token(streams.clone());
        Self { service, members: Members::new(server, front, config, pace, tokens), streams }
    }

    /// Ends all streams of events.
    pub(super) fn end_streams(&self) {
        self.streams.cancel();
    }

    /// Ends what was begun with tokens that are none any more, for ever.
    pub(super) async fn part(&self) {
        self.members.part().await;
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/mcp" => self.mcp(request).await.unwrap_or_else(|refusal| refusal),
            "/healthz" => told(request.method(), true),
            "/readyz" => told(request.method(), self.service.is_ready()),
            _ => plain(StatusCode::NOT_FOUND, "there is nothing here; MCP is at /mcp"),
        }
    }

    async fn mcp(&self, request: Request<Incoming>) -> Result<Answer, Answer> {
        let member = self.members.of(&request).map_err(|error| {
            tracing::error!(%error, "a client could not be let in");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the server can not serve you now; its log says why")
        })?;
        let member = member.ok_or_else(|| {
            let text = "a token is needed that this server knows, as `Authorization: Bearer TOKEN`";
            with(plain(StatusCode::UNAUTHORIZED, text), WWW_AUTHENTICATE, "Bearer")
        })?;
        let turn = member.admit().ok_or_else(|| {
            let text =
                "too many requests: as many of yours as may be are in progress, or came within a second; wait and send it again";
            with(plain(StatusCode::TOO_MANY_REQUESTS, text), RETRY_AFTER, "1")
        })?;
        let answer = member.answer(whole(request).await?).await;
        Ok(answer.map(|body| Held { body, _turn: turn }.boxed()))
    }
}

/// The body of an answer, and the turn of its request, which lasts until all of it was sent.
struct Held {
    body: BoxBody<Bytes, Infallible>,
    _turn: OwnedSemaphorePermit,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The same request with all of its body.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {MOST_BODY_BYTES} bytes"));
    if body.size_hint().lower() > MOST_BODY_BYTES as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY, Limited::new(body, MOST_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            if values(&body) > MOST_VALUES {
                let text = format!("a request has at most {MOST_VALUES} values");
                return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            Ok(Request::from_parts(head, Full::new(body)))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the request ended early")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, format!("a request must be whole within {} s", BODY.as_secs()))),
    }
}

/// How many objects, lists and further members of them a text in JSON has; of any other text, about as many.
fn values(body: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' | b',' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// What clients may call this server by: a name that leads here by chance or by malice is none of them.
fn hosts(address: &Address) -> Vec<String> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let own = match address {
        Address::Tcp(address) if !address.ip().is_unspecified() => Some(address.ip().to_string()),
        _ => None,
    };
    local.into_iter().chain(own).collect()
}

/// Pages that may send requests unless others are configured: those of this very server, of which there are none yet.
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
        _ => with(plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"), ALLOW, "GET, HEAD"),
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::from(text.into() + "\n").boxed());
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::values;

    #[rstest]
    #[case(r#"{"a":1}"#, 1)]
    #[case(r#"[1,2,{"":[]}]"#, 5)]
    #[case(r#"{"command":"a, [b] {c} \", d"}"#, 1)]
    #[case(r#"{"a":"\\","b":1}"#, 2)]
    #[case(r#""[[["#, 0)]
    fn what_stands_in_texts_is_no_value(#[case] body: &str, #[case] count: usize) {
        assert_eq!(values(body.as_bytes()), count);
    }
}
