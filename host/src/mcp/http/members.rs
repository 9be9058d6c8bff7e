//! Principals, and what each has here: a service of its own, so that nobody's session can be another's, and limits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use rmcp::{
    ServerHandler,
    transport::{StreamableHttpServerConfig, StreamableHttpService},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{gate::Answer, pace::Pace, sessions::Sessions, unsent::Unsent};
use crate::{
    config::Tokens,
    digest::Digest,
    mcp::server::{ServeError, Server},
    principal::Principal,
};

/// Requests of a principal that may be in progress, streams of events among them: half of the connections there may be.
const MOST_REQUESTS: usize = 256;

/// Tokens as they are now; none: nobody needs one.
pub(super) type Known = watch::Receiver<Option<Arc<Tokens>>>;

/// Makes of a server what answers a connection of its principal.
pub(super) type Front<H> = Arc<dyn Fn(Server) -> H + Send + Sync>;

/// Who comes, and the token that lets them in; none: they need none.
type Key = (Principal, Option<Digest>);

/// Whoever has come so far. As many as there are tokens, and no more.
pub(super) struct Members<H> {
    /// What all handlers have in common.
    server: Server,
    front: Front<H>,
    config: StreamableHttpServerConfig,
    requests_per_s: usize,
    tokens: Known,
    all: Mutex<HashMap<Key, Arc<Member<H>>>>,
}

/// A principal that has come with one of its tokens.
pub(super) struct Member<H> {
    own: Arc<Own>,
    mcp: StreamableHttpService<H, Sessions>,
    /// Ends the sessions and streams that were begun with this token.
    streams: CancellationToken,
}

/// What a principal has, whichever of its tokens it comes with.
struct Own {
    server: Server,
    sessions: Arc<Sessions>,
    pace: Pace,
    requests: Arc<Semaphore>,
    unsent: Unsent,
}

impl<H: ServerHandler> Members<H> {
    pub(super) fn new(
        server: Server,
        front: Front<H>,
        config: StreamableHttpServerConfig,
        requests_per_s: usize,
        tokens: Known,
    ) -> Self {
        Self { server, front, config, requests_per_s, tokens, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Arc<Member<H>>>> {
        self.all.lock().expect("no holder of this lock panics")
    }

    /// Who sends this; none: it is nobody who is known.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Result<Option<Arc<Member<H>>>, ServeError> {
        let Some(key) = key(self.tokens.borrow().as_deref(), request.headers()) else { return Ok(None) };
        let mut all = self.all();
        if let Some(member) = all.get(&key) {
            return Ok(Some(member.clone()));
        }
        // Whoever had the token may have parted since, and what began now would not end with it.
        if !is_held(self.tokens.borrow().as_deref(), &key) {
            return Ok(None);
        }
        let own = match all.iter().find(|((principal, _), _)| *principal == key.0) {
            Some((_, member)) => member.own.clone(),
            None => Arc::new(self.own(&key.0)?),
        };
        let member = Arc::new(self.member(own));
        all.insert(key, member.clone());
        Ok(Some(member))
    }

    fn own(&self, principal: &Principal) -> Result<Own, ServeError> {
        Ok(Own {
            server: self.server.of(principal.clone())?,
            sessions: Arc::new(Sessions::new()),
            pace: Pace::new(self.requests_per_s),
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            unsent: Unsent::new(),
        })
    }

    fn member(&self, own: Arc<Own>) -> Member<H> {
        let (server, front) = (own.server.clone(), self.front.clone());
        let streams = self.config.cancellation_token.child_token();
        let config = self.config.clone().with_cancellation_token(streams.clone());
        let mcp = StreamableHttpService::new(move || Ok(front(server.for_another())), own.sessions.clone(), config);
        Member { own, mcp, streams }
    }

    /// Ends what was begun with tokens that are none any more, for ever.
    pub(super) async fn part(&self) {
        let mut tokens = self.tokens.clone();
        while tokens.changed().await.is_ok() {
            let mut all = self.all();
            let now = tokens.borrow_and_update().clone();
            for (_, parted) in all.extract_if(|key, _| !is_held(now.as_deref(), key)) {
                parted.streams.cancel();
            }
        }
        std::future::pending().await
    }
}

impl<H: ServerHandler> Member<H> {
    pub(super) fn principal(&self) -> &Principal {
        &self.own.server.principal
    }

    pub(super) fn unsent(&self) -> &Unsent {
        &self.own.unsent
    }

    /// Lets a request begin, for as long as what it gives is held; not if there are too many.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let Own { pace, requests, .. } = &*self.own;
        if pace.admit() { requests.clone().try_acquire_owned().ok() } else { None }
    }

    /// Whether a session is none, or none any more.
    pub(super) fn has_ended(&self, session: &HeaderValue) -> bool {
        session.to_str().map_or(true, |id| self.own.sessions.has_ended(id))
    }

    /// Answers a request.
    pub(super) async fn answer(&self, mut request: Request<Full<Bytes>>) -> Answer {
        // Handlers see the headers, and need not see this one.
        request.headers_mut().remove(AUTHORIZATION);
        self.mcp.handle(request).await
    }
}

/// Who shows what these tokens demand.
fn key(tokens: Option<&Tokens>, headers: &HeaderMap) -> Option<Key> {
    let Some(tokens) = tokens else { return Some((Principal::local(), None)) };
    let token = bearer(headers.get(AUTHORIZATION))?;
    Some((tokens.holder(token)?.clone(), Some(Digest::of(token))))
}

/// Whether who came so could come so now.
fn is_held(tokens: Option<&Tokens>, (principal, digest): &Key) -> bool {
    match (tokens, digest) {
        (Some(tokens), Some(digest)) => tokens.of(principal).contains(digest),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(header: Option<&HeaderValue>) -> Option<&[u8]> {
    let (scheme, token) = header?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer abc", Some("abc"))]
    #[case("Bearer ", Some(""))]
    #[case("Bearer", None)]
    #[case("Basic abc", None)]
    #[case("abc", None)]
    fn a_token_of_a_header(#[case] header: &'static str, #[case] token: Option<&str>) {
        let header = HeaderValue::from_static(header);
        assert_eq!(bearer(Some(&header)), token.map(str::as_bytes));
    }
}
