//! Principals, and what each has here: a service of its own, so that nobody's session can be another's, and limits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    header::{AUTHORIZATION, HeaderValue},
};
use rmcp::{
    ServerHandler,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::{SessionManager, session::local::LocalSessionManager},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{gate::Answer, pace::Pace};
use crate::{
    config::Tokens,
    digest::Digest,
    mcp::server::{ServeError, Server},
    principal::Principal,
};

/// Requests of a principal that may be in progress, streams of events among them: half of the connections there may be.
const MOST_REQUESTS: usize = 256;
/// Sessions of a principal. Where there are more, those end of which nothing was heard for the longest time.
const MOST_SESSIONS: usize = 256;
/// How long a session lasts of which nothing is heard; the longest wait of a call is shorter.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// Tokens as they are now; none: nobody needs one.
pub(super) type Known = watch::Receiver<Option<Arc<Tokens>>>;

/// Makes of a server what answers a connection of its principal.
pub(super) type Front<H> = Arc<dyn Fn(Server) -> H + Send + Sync>;

/// Whoever has come so far. As many as there are names in the tokens, and no more.
pub(super) struct Members<H> {
    /// What all handlers have in common.
    server: Server,
    front: Front<H>,
    config: StreamableHttpServerConfig,
    requests_per_s: usize,
    tokens: Known,
    all: Mutex<HashMap<Principal, Arc<Member<H>>>>,
}

/// A principal that has come.
pub(super) struct Member<H> {
    mcp: StreamableHttpService<H, LocalSessionManager>,
    sessions: Sessions,
    pace: Pace,
    requests: Arc<Semaphore>,
    /// What it showed to be let in, and what may show it still.
    tokens: Vec<Digest>,
    /// Ends its sessions and streams.
    streams: CancellationToken,
}

/// The sessions of a principal and when each was used last.
struct Sessions {
    manager: Arc<LocalSessionManager>,
    used: Mutex<HashMap<String, Instant>>,
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

    fn all(&self) -> MutexGuard<'_, HashMap<Principal, Arc<Member<H>>>> {
        self.all.lock().expect("no holder of this lock panics")
    }

    /// Who sends this; none: it is nobody who is known.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Result<Option<Arc<Member<H>>>, ServeError> {
        let tokens = self.tokens.borrow().clone();
        let principal = match &tokens {
            None => Some(Principal::local()),
            Some(tokens) => bearer(request.headers().get(AUTHORIZATION)).and_then(|token| tokens.holder(token)).cloned(),
        };
        let Some(principal) = principal else { return Ok(None) };
        let tokens = tokens.map(|tokens| tokens.of(&principal)).unwrap_or_default();
        let mut all = self.all();
        if let Some(member) = all.get(&principal).filter(|member| member.tokens == tokens) {
            return Ok(Some(member.clone()));
        }
        let member = Arc::new(self.member(&principal, tokens)?);
        if let Some(earlier) = all.insert(principal, member.clone()) {
            earlier.streams.cancel();
        }
        Ok(Some(member))
    }

    fn member(&self, principal: &Principal, tokens: Vec<Digest>) -> Result<Member<H>, ServeError> {
        let (server, front) = (self.server.of(principal.clone())?, self.front.clone());
        let streams = self.config.cancellation_token.child_token();
        let mut manager = LocalSessionManager::default();
        manager.session_config.keep_alive = Some(IDLE);
        let (manager, config) = (Arc::new(manager), self.config.clone().with_cancellation_token(streams.clone()));
        Ok(Member {
            mcp: StreamableHttpService::new(move || Ok(front(server.for_another())), manager.clone(), config),
            sessions: Sessions { manager, used: Mutex::default() },
            pace: Pace::new(self.requests_per_s),
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            tokens,
            streams,
        })
    }

    /// Ends what was begun with tokens that are none any more, for ever.
    pub(super) async fn part(&self) {
        let mut tokens = self.tokens.clone();
        while tokens.changed().await.is_ok() {
            let now = tokens.borrow_and_update().clone();
            self.all().retain(|principal, member| {
                let stays = member.tokens == now.as_ref().map(|now| now.of(principal)).unwrap_or_default();
                if !stays {
                    member.streams.cancel();
                }
                stays
            });
        }
        std::future::pending().await
    }
}

impl<H: ServerHandler> Member<H> {
    /// Lets a request begin, for as long as what it gives is held; not if there are too many.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        if self.pace.admit() { self.requests.clone().try_acquire_owned().ok() } else { None }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, mut request: Request<Full<Bytes>>) -> Answer {
        // Handlers see the headers, and need not see this one.
        request.headers_mut().remove(AUTHORIZATION);
        if let Some(id) = session(request.headers().get(SESSION)) {
            self.sessions.touch(id);
            return self.mcp.handle(request).await;
        }
        let answer = self.mcp.handle(request).await;
        if let Some(id) = session(answer.headers().get(SESSION)) {
            self.sessions.began(id).await;
        }
        answer
    }
}

impl Sessions {
    fn used(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.used.lock().expect("no holder of this lock panics")
    }

    fn touch(&self, id: &str) {
        if let Some(used) = self.used().get_mut(id) {
            *used = Instant::now();
        }
    }

    /// Takes note of a new session, and ends the stalest where there are too many.
    async fn began(&self, id: &str) {
        let living: Vec<_> = self.manager.sessions.read().await.keys().map(|id| id.to_string()).collect();
        let stalest = {
            let mut used = self.used();
            used.insert(id.to_owned(), Instant::now());
            used.retain(|id, _| living.contains(id));
            let stalest = used.iter().min_by_key(|(_, used)| **used).map(|(id, _)| id.clone());
            stalest.filter(|_| used.len() > MOST_SESSIONS)
        };
        if let Some(id) = stalest
            && let Err(error) = self.manager.close_session(&id.into()).await
        {
            tracing::debug!(%error, "a session could not be ended");
        }
    }
}

fn session(header: Option<&HeaderValue>) -> Option<&str> {
    header?.to_str().ok()
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
