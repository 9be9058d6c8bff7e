//! Requests one by one: to whom, for which address, whose, how much.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header::{
        ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
    },
    http::HeaderMap,
};
use rmcp::{
    ErrorData, ServerHandler,
    model::{JsonRpcMessage, ServerJsonRpcMessage},
    transport::StreamableHttpServerConfig,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    door::{Address, Door},
    members::{Front, Known, Member, Members},
    room::Place,
};
use crate::{
    config::{Authority, Config, WebOrigin},
    mcp::{
        message::{Excess, MOST_BYTES, bounded, is_json, no_json, no_message},
        server::Server,
    },
    service::Service,
};

/// Headers of which there is one: who reads the first of two and who reads the last would read different requests.
const SINGLE: [&str; 6] = ["authorization", "content-type", "host", "mcp-protocol-version", "mcp-session-id", "origin"];
/// How long a client may take to send a body.
const BODY: Duration = Duration::from_secs(30);

/// An answer.
pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What all requests pass.
pub(super) struct Gate<H> {
    service: Arc<Service>,
    members: Members<H>,
    /// What clients may call this server.
    hosts: Vec<Authority>,
    /// The pages that may send requests.
    origins: Vec<WebOrigin>,
    /// Ends what would go on as long as its client listens.
    streams: CancellationToken,
}

impl<H: ServerHandler> Gate<H> {
    pub(super) fn new(server: Server, front: Front<H>, door: &Door, config: &Config, tokens: Known) -> Self {
        let (http, pace) = (&config.http, config.principals.requests_per_s);
        let (service, streams, address) = (server.service.clone(), CancellationToken::new(), door.address());
        let config = StreamableHttpServerConfig::default()
            // That is looked at here, for all addresses.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            .with_max_request_body_bytes(MOST_BYTES)
            .with_cancellation_token(streams.clone());
        Self {
            service,
            members: Members::new(server, front, config, pace, tokens),
            hosts: hosts(&address).into_iter().chain(http.hosts.iter().cloned()).collect(),
            origins: origins(&address).into_iter().chain(http.origins.iter().cloned()).collect(),
            streams,
        }
    }

    /// Ends all streams of events.
    pub(super) fn end_streams(&self) {
        self.streams.cancel();
    }

    /// Ends what was begun with tokens that are none any more, for ever.
    pub(super) async fn part(&self) {
        self.members.part().await;
    }

    /// Answers a request that came over a connection.
    pub(super) async fn answer(&self, request: Request<Incoming>, place: &Place) -> Answer {
        match self.enter(&request, place) {
            Ok(member) => self.serve(&member, request).await.unwrap_or_else(|refusal| refusal),
            Err(answer) => last(answer),
        }
    }

    /// Whose request for MCP this is. All else is answered at once, and is the last answer of its connection: it takes no token to ask
    /// for it.
    fn enter(&self, request: &Request<Incoming>, place: &Place) -> Result<Arc<Member<H>>, Answer> {
        let headers = request.headers();
        if let Some(name) = SINGLE.iter().find(|name| headers.get_all(**name).iter().count() > 1) {
            return Err(plain(StatusCode::BAD_REQUEST, format!("a request has at most one `{name}`")));
        }
        self.check_host(request)?;
        self.check_origin(headers)?;
        match request.uri().path() {
            "/mcp" => self.member(request, place),
            "/healthz" => Err(told(request.method(), true)),
            "/readyz" => Err(told(request.method(), self.service.is_ready())),
            _ => Err(plain(StatusCode::NOT_FOUND, "there is nothing here; MCP is at /mcp")),
        }
    }

    /// Refuses a name that leads here by chance or by malice, be it in `Host` or, as for a proxy, in the first line.
    fn check_host(&self, request: &Request<Incoming>) -> Result<(), Answer> {
        let no_name = || plain(StatusCode::BAD_REQUEST, "`Host` must be a name or an address, with a port or without");
        let host = request.headers().get(HOST).ok_or_else(no_name)?.to_str().map_err(|_| no_name())?;
        for called in [host].into_iter().chain(request.uri().authority().map(|authority| authority.as_str())) {
            let called: Authority = called.parse().map_err(|_| no_name())?;
            if !self.hosts.iter().any(|host| host.is(&called)) {
                return Err(plain(StatusCode::FORBIDDEN, "this server has other names; `http.hosts` can give it more"));
            }
        }
        Ok(())
    }

    /// Refuses the pages of others.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        match origin.to_str().map(str::parse::<WebOrigin>) {
            Ok(Ok(origin)) if self.origins.contains(&origin) => Ok(()),
            _ => Err(plain(StatusCode::FORBIDDEN, "a page of this `Origin` may not ask here; `http.origins` can let it")),
        }
    }

    /// Who sends this.
    fn member(&self, request: &Request<Incoming>, place: &Place) -> Result<Arc<Member<H>>, Answer> {
        let member = self.members.of(request).map_err(|error| {
            tracing::error!(%error, "a client could not be let in");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the server can not serve you now; its log says why")
        })?;
        let member = member.ok_or_else(unknown)?;
        if place.settle() {
            Ok(member)
        } else {
            let text = "as many connections as may be are open; close one, or wait and send it again";
            Err(with(plain(StatusCode::SERVICE_UNAVAILABLE, text), RETRY_AFTER, "1"))
        }
    }

    async fn serve(&self, member: &Member<H>, request: Request<Incoming>) -> Result<Answer, Answer> {
        let turn = member.admit().ok_or_else(|| {
            let text =
                "too many requests: as many of yours as may be are in progress, or came within a second; wait and send it again";
            with(plain(StatusCode::TOO_MANY_REQUESTS, text), RETRY_AFTER, "1")
        })?;
        let shown = request.headers().get(AUTHORIZATION).cloned();
        let answer = member.answer(whole(request).await?).await;
        let answer = match answer.status() {
            // Its type was right, so it was not what its type says.
            StatusCode::UNSUPPORTED_MEDIA_TYPE => wrong(no_message()),
            StatusCode::INTERNAL_SERVER_ERROR => self.cut_short(shown),
            _ => answer,
        };
        Ok(answer.map(|body| Held { body, _turn: turn }.boxed()))
    }

    /// What is said to who showed this token, where a request was not answered.
    fn cut_short(&self, token: Option<HeaderValue>) -> Answer {
        if self.streams.is_cancelled() {
            return last(plain(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
        }
        let mut again = Request::new(());
        again.headers_mut().extend(token.map(|token| (AUTHORIZATION, token)));
        match self.members.of(&again) {
            Ok(None) => last(unknown()),
            _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "this was not answered; the log of the server says why"),
        }
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

/// The same request with all of its body, which is JSON if it is posted.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    let is_posted = head.method == Method::POST;
    if is_posted && !says_json(&head.headers) {
        let text = "the body of a request is JSON, and `Content-Type` must say so: application/json";
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let body = collected(body).await?;
    match bounded(&body) {
        Err(excess @ Excess::Levels) => Err(wrong(excess.into())),
        Err(excess) => Err(plain(StatusCode::PAYLOAD_TOO_LARGE, excess.to_string())),
        Ok(()) if is_posted && !is_json(&body) => Err(wrong(no_json())),
        Ok(()) => Ok(Request::from_parts(head, Full::new(body))),
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    said.split(';').next().is_some_and(|said| said.trim().eq_ignore_ascii_case("application/json"))
}

async fn collected(body: Incoming) -> Result<Bytes, Answer> {
    let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, Excess::Bytes.to_string());
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY, Limited::new(body, MOST_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the request ended early")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, format!("a request must be whole within {} s", BODY.as_secs()))),
    }
}

/// What clients may call this server by unless more is configured.
fn hosts(address: &Address) -> Vec<Authority> {
    let own = match address {
        Address::Tcp(address) if !address.ip().is_unspecified() => Some(match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }),
        _ => None,
    };
    let names = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).into_iter().chain(own);
    names.map(|name| name.parse().expect("a name or an address is one")).collect()
}

/// Pages that may send requests unless others are configured: those of this very server, of which there are none yet.
fn origins(address: &Address) -> Vec<WebOrigin> {
    match address {
        Address::Tcp(address) => {
            let origin = |host| format!("http://{host}:{}", address.port()).parse().expect("it is written like one");
            ["localhost", "127.0.0.1", "[::1]"].map(origin).into()
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

/// What is said to who shows no token that is one.
fn unknown() -> Answer {
    let text = "a token is needed that this server knows, as `Authorization: Bearer TOKEN`";
    with(plain(StatusCode::UNAUTHORIZED, text), WWW_AUTHENTICATE, "Bearer")
}

/// What is said to a body that is no message.
fn wrong(error: ErrorData) -> Answer {
    let message: ServerJsonRpcMessage = JsonRpcMessage::error(error, None);
    let text = serde_json::to_vec(&message).expect("texts and numbers can be written");
    with(answer(StatusCode::BAD_REQUEST, text), CONTENT_TYPE, "application/json")
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    with(answer(status, text.into() + "\n"), CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::from(body.into()).boxed());
    *answer.status_mut() = status;
    answer
}

/// Closes the connection once this was said.
fn last(answer: Answer) -> Answer {
    with(answer, CONNECTION, "close")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
