//! Requests one by one: to whom, for which address, whose, how much.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
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
    members::{Front, Known, Members},
    room::{Asked, Place},
    unsent::{Unsent, Waiting},
};
use crate::{
    config::{Authority, Config, NoName, WebOrigin},
    mcp::{
        message::{Excess, MOST_BYTES, bounded, is_greeting, is_json, is_long, no_json, no_message},
        server::{Line, Server},
    },
    service::Service,
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Headers of which there is one: who reads the first of two and who reads the last would read different requests.
const SINGLE: [HeaderName; 6] =
    [AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName::from_static("mcp-protocol-version"), SESSION, ORIGIN];
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

    /// Answers a request that came over a connection. It takes a token to be answered more than once: all other connections are for
    /// whoever comes next.
    pub(super) async fn answer(&self, request: Request<Incoming>, place: &Place) -> Answer {
        let (asked, method, headers) = (place.asked(), request.method(), request.headers());
        let refusal = doubled(headers).or_else(|| self.foreign_host(&request)).or_else(|| self.foreign_origin(headers));
        match (refusal, request.uri().path()) {
            (Some(refusal), _) => last(refusal),
            (None, "/mcp") => self.mcp(request, place, asked).await.unwrap_or_else(|refusal| refusal),
            (None, "/healthz") => last(told(method, true)),
            (None, "/readyz") => last(told(method, self.service.is_ready())),
            (None, _) => last(plain(StatusCode::NOT_FOUND, "there is nothing here; MCP is at /mcp")),
        }
    }

    /// Refuses a name that leads here by chance or by malice, be it in `Host` or, as for a proxy, in the first line.
    fn foreign_host(&self, request: &Request<Incoming>) -> Option<Answer> {
        let said = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let called = [said].into_iter().chain(request.uri().authority().map(|authority| authority.as_str()));
        match called.map(str::parse).collect::<Result<Vec<Authority>, _>>() {
            Ok(called) if called.iter().all(|called| self.hosts.iter().any(|host| host.is(called))) => None,
            Ok(_) => Some(plain(StatusCode::FORBIDDEN, "this server has other names; `http.hosts` can give it more")),
            Err(NoName) => {
                let text = "a request has a `Host`, which is a name or an address, with a port or without";
                Some(plain(StatusCode::BAD_REQUEST, text))
            }
        }
    }

    /// Refuses the pages of others.
    fn foreign_origin(&self, headers: &HeaderMap) -> Option<Answer> {
        match headers.get(ORIGIN)?.to_str().map(str::parse::<WebOrigin>) {
            Ok(Ok(origin)) if self.origins.contains(&origin) => None,
            _ => Some(plain(StatusCode::FORBIDDEN, "a page of this `Origin` may not ask here; `http.origins` can let it")),
        }
    }

    async fn mcp(&self, mut request: Request<Incoming>, place: &Place, asked: Asked) -> Result<Answer, Answer> {
        let member = self.members.of(&request).map_err(|error| {
            tracing::error!(%error, "a client could not be let in");
            last(plain(StatusCode::INTERNAL_SERVER_ERROR, "the server can not serve you now; its log says why"))
        })?;
        let member = member.ok_or_else(unknown)?;
        // Who is not admitted keeps no place.
        let turn = member.admit().ok_or_else(|| {
            let text =
                "too many requests: as many of yours as may be are in progress, or came within a second; wait and send it again";
            last(with(plain(StatusCode::TOO_MANY_REQUESTS, text), RETRY_AFTER, "1"))
        })?;
        if !place.settle(member.principal()) {
            let text = "as many connections as may be are open; close one, or wait and send it again";
            return Err(last(with(plain(StatusCode::SERVICE_UNAVAILABLE, text), RETRY_AFTER, "1")));
        }
        let [shown, session] = [AUTHORIZATION, SESSION].map(|name| request.headers().get(name).cloned());
        request.extensions_mut().insert(Line::until(place.left().clone()));
        let answer = member.answer(whole(request).await?).await;
        let answer = match answer.status() {
            // Its type was right, so it was not what its type says.
            StatusCode::UNSUPPORTED_MEDIA_TYPE => wrong(no_message()),
            StatusCode::INTERNAL_SERVER_ERROR if session.is_some_and(|id| member.has_ended(&id)) => {
                plain(StatusCode::NOT_FOUND, "this session has ended; begin another with `initialize`")
            }
            StatusCode::INTERNAL_SERVER_ERROR => self.cut_short(shown),
            _ => answer,
        };
        let unsent = member.unsent().clone();
        // Of a stream each event is looked at when it is its turn.
        let size = answer.body().size_hint().exact().unwrap_or_default();
        let waiting = unsent.hold(usize::try_from(size).unwrap_or(usize::MAX)).ok_or_else(|| {
            let text = "this was done, but too much of what you were answered before waits to be taken: read that, and ask again \
                        for what came of this";
            with(plain(StatusCode::SERVICE_UNAVAILABLE, text), RETRY_AFTER, "1")
        })?;
        Ok(answer.map(|body| Held { body, waiting, unsent, is_begun: false, _turn: turn, _asked: asked }.boxed()))
    }

    /// What is said to who showed this token, where a request was not answered.
    fn cut_short(&self, token: Option<HeaderValue>) -> Answer {
        if self.streams.is_cancelled() {
            return last(plain(StatusCode::SERVICE_UNAVAILABLE, "the server is ending"));
        }
        let mut again = Request::new(());
        again.headers_mut().extend(token.map(|token| (AUTHORIZATION, token)));
        match self.members.of(&again) {
            Ok(None) => unknown(),
            _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "this was not answered; the log of the server says why"),
        }
    }
}

/// The body of an answer, what of it waits to be taken, and its request's turn, which lasts until all of it was handed on.
struct Held {
    body: BoxBody<Bytes, Infallible>,
    waiting: Waiting,
    unsent: Unsent,
    is_begun: bool,
    _turn: OwnedSemaphorePermit,
    _asked: Asked,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Who asks for more has sent what was given before.
        if std::mem::replace(&mut self.is_begun, true) {
            self.waiting = Waiting::nothing();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && self.waiting.is_nothing()
        {
            match self.unsent.hold(frame.data_ref().map_or(0, Bytes::len)) {
                Some(waiting) => self.waiting = waiting,
                // It has too much to read already, and loses this.
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(frame)
    }

    /// What waits is not at its end, or it would be forgotten before it is sent.
    fn is_end_stream(&self) -> bool {
        self.waiting.is_nothing() && self.body.is_end_stream()
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
        Ok(_) if is_posted && !is_json(&body) => Err(wrong(no_json())),
        Ok(values) if is_long(&body, values) && serde_json::from_slice(&body).is_ok_and(|message| is_greeting(&message)) => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, Excess::Greeting.to_string()))
        }
        Ok(_) => Ok(Request::from_parts(head, Full::new(body))),
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
    match tokio::time::timeout(BODY, gathered(body)).await {
        Ok(Ok(body)) => body.ok_or_else(too_long),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the request ended early")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, format!("a request must be whole within {} s", BODY.as_secs()))),
    }
}

/// All of a body in one buffer; none: it is too long. Pieces that are kept as they come would take many times their size where a
/// client sends them byte by byte.
async fn gathered(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if whole.len() + piece.len() > MOST_BYTES {
            return Ok(None);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Some(whole.freeze()))
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

/// Refuses two headers of which there is one.
fn doubled(headers: &HeaderMap) -> Option<Answer> {
    let name = SINGLE.into_iter().find(|name| headers.get_all(name).iter().count() > 1)?;
    Some(plain(StatusCode::BAD_REQUEST, format!("a request has at most one `{name}`")))
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
    last(with(plain(StatusCode::UNAUTHORIZED, text), WWW_AUTHENTICATE, "Bearer"))
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
