//! The sessions of a principal: how many there may be, and what ends with one.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;
use rmcp::{
    RoleServer,
    model::{ClientJsonRpcMessage, JsonRpcMessage, RequestId, ServerJsonRpcMessage},
    transport::{
        Transport,
        streamable_http_server::{
            SessionManager,
            session::{
                ServerSseMessage, SessionId,
                local::{LocalSessionManager, LocalSessionManagerError, SessionTransport},
            },
        },
    },
};
use tokio_util::either::Either;

use crate::mcp::{server::Session, transport::Calls};

/// Most sessions of a principal. Where one more begins, that ends of which nothing was heard for the longest time.
const MOST: usize = 256;
/// How long a session lasts of which nothing is heard; the longest wait for a job is shorter, and a question that is open for
/// longer is withdrawn.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// rmcp's sessions, with three differences: there are never more than [`MOST`], the calls of one that ends do not wait on, and a
/// request does not take away the answer of another of its id.
pub(super) struct Sessions {
    inner: LocalSessionManager,
    living: Mutex<HashMap<SessionId, Living>>,
}

struct Living {
    session: Session,
    calls: Arc<Calls>,
    /// When something was heard of it last.
    heard: Instant,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.keep_alive = Some(IDLE);
        Self { inner, living: Mutex::default() }
    }

    fn living(&self) -> MutexGuard<'_, HashMap<SessionId, Living>> {
        self.living.lock().expect("no holder of this lock panics")
    }

    /// Takes note of a new session, in the place of another where there are as many as may be.
    fn begin(&self, id: SessionId, session: Session, calls: Arc<Calls>) {
        let mut living = self.living();
        if living.len() >= MOST {
            let stalest = living.iter().min_by_key(|(_, living)| living.heard).map(|(id, _)| id.clone());
            if let Some(ended) = stalest.and_then(|id| living.remove(&id)) {
                ended.session.end();
            }
        }
        living.insert(id, Living { session, calls, heard: Instant::now() });
    }

    /// Whether there is no session of this id, or only until what it leaves is cleared away.
    pub(super) fn has_ended(&self, id: &str) -> bool {
        self.living().get(id).is_none_or(|living| living.session.has_ended())
    }

    /// The session of this id, if it lives, of which something is heard now.
    fn hear(&self, id: &SessionId) -> Option<(Session, Arc<Calls>)> {
        let mut living = self.living();
        let living = living.get_mut(id)?;
        living.heard = Instant::now();
        Some((living.session.clone(), living.calls.clone()))
    }
}

/// rmcp's end of a session, which tells what was answered.
pub(super) struct Answering {
    inner: SessionTransport,
    calls: Arc<Calls>,
}

impl Transport<RoleServer> for Answering {
    type Error = <SessionTransport as Transport<RoleServer>>::Error;

    fn send(&mut self, item: ServerJsonRpcMessage) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.calls.told(&item);
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.inner.receive().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

/// A request that is noted and not handed on yet. Dropped before, it is forgotten.
struct Noted {
    calls: Arc<Calls>,
    id: Option<RequestId>,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.id.iter().for_each(|id| self.calls.end(id));
    }
}

/// A stream of one message.
struct Only(Option<ServerSseMessage>);

impl Stream for Only {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<ServerSseMessage>> {
        Poll::Ready(self.0.take())
    }
}

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = Answering;

    /// # Cancel safety
    ///
    /// Either there is no new session, or it is counted.
    async fn create_session(&self) -> Result<(SessionId, Answering), Self::Error> {
        let (id, inner) = self.inner.create_session().await?;
        let calls = Arc::<Calls>::default();
        // Nothing is awaited between the two: who asked may be gone at any such point, and with them this call.
        self.begin(id.clone(), Session::until(inner.cancel_token()), calls.clone());
        Ok((id, Answering { inner, calls }))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.hear(id).is_some())
    }

    /// Called however a session ends.
    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        if let Some(ended) = self.living().remove(id) {
            ended.session.end();
        }
        self.inner.close_session(id).await
    }

    /// Hands a request on as one of this session, unless one of its id is in progress.
    async fn create_stream(
        &self,
        id: &SessionId,
        mut message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let (session, calls) = self.hear(id).ok_or_else(|| LocalSessionManagerError::SessionNotFound(id.clone()))?;
        let asked = if let JsonRpcMessage::Request(request) = &message { Some(request.id.clone()) } else { None };
        if let Some(Err(refusal)) = asked.as_ref().map(|id| calls.begin(id)) {
            let refusal = ServerSseMessage::from_message(JsonRpcMessage::error(refusal, asked));
            return Ok(Either::Left(Only(Some(refusal))));
        }
        let mut noted = Noted { calls, id: asked };
        message.insert_extension(session);
        let stream = self.inner.create_stream(id, message).await?;
        noted.id = None;
        Ok(Either::Right(stream))
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        if let Some((_, calls)) = self.hear(id) {
            calls.heard(&message);
        }
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.resume(id, last_event_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_never_too_many_whatever_becomes_of_who_began_them() {
        let sessions = Sessions::new();
        let (first, _held) = sessions.create_session().await.unwrap();
        let (second, _held) = sessions.create_session().await.unwrap();
        assert!(sessions.has_session(&first).await.unwrap());
        for _ in 2..MOST {
            // Their transports are dropped at once, as if the task that serves one had ended.
            sessions.create_session().await.unwrap();
        }
        let last = sessions.create_session().await.unwrap();
        assert_eq!(sessions.living().len(), MOST);
        let [has_first, has_second] = [&first, &second].map(|id| sessions.living().contains_key(id));
        // The first was heard of after the second began.
        assert!(has_first && !has_second);
        sessions.close_session(&last.0).await.unwrap();
        assert!(last.1.inner.cancel_token().is_cancelled());
        assert_eq!(sessions.living().len(), MOST - 1);
        assert!(sessions.has_ended(&last.0) && !sessions.has_ended(&first));
        // It is known for a moment longer than it lives.
        sessions.living()[&first].session.end();
        assert!(sessions.has_ended(&first));
    }
}
