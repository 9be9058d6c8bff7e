//! MCP over HTTP: `/mcp` for the stateless revision and for those with sessions, and two addresses that tell whether the server
//! lives and is ready.
//!
//! ```text
//! Door: who can connect ─▶ connection: headers, times ─▶ Gate: which address, who, how much ─▶ rmcp ─▶ Server
//! ```

mod door;
mod gate;
mod members;
mod pace;
mod room;
mod sessions;
mod stream;
mod unsent;

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rmcp::ServerHandler;
use tokio::sync::watch;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::server::{Ended, LAST_ANSWERS, ServeError, Server, until_ended};
use crate::{
    config::{self, Tokens},
    policy::ChainError,
    principal::Principal,
    service::Service,
    signals::Signals,
};
use door::Stream;
pub use door::{Address, Door, DoorError};
use gate::Gate;
use room::{Place, Room};
use stream::{Impatient, Watch};

/// Bytes of a request's first line and headers that are held before more is asked for, which may be as many again; and how many
/// headers it may have.
const MOST_HEADER_BYTES: usize = 32 << 10;
const MOST_HEADERS: usize = 64;
/// How often, while something is being answered, it is looked whether the client is still there. HTTP itself would not notice: it
/// reads nothing then, and does not tell one that sends no more from one that is gone.
const LOOK: Duration = Duration::from_millis(200);
/// How long a client that sends nothing more is answered.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long nobody is let in after the system could not.
const PAUSE: Duration = Duration::from_millis(100);

/// The tokens that clients at this address need, which can be others from one moment to the next; none: they need no token.
pub struct Keys {
    address: Address,
    tokens: watch::Sender<Option<Arc<Tokens>>>,
}

impl Keys {
    /// Where a network address is concerned, the tokens that are configured, or one of portcullis's own if only programs of this
    /// machine can connect: a port has no owner, so any user of the machine could. A unix socket has one, and needs tokens only if
    /// they are configured.
    ///
    /// # Errors
    ///
    /// There are none, or the file can not be read or made.
    pub fn of(address: &Address, http: &config::Http) -> Result<Self, DoorError> {
        let tokens = watch::Sender::new(tokens(address, http)?);
        Ok(Self { address: address.clone(), tokens })
    }

    /// Takes over other tokens. What was begun with one that is none any more ends.
    ///
    /// # Errors
    ///
    /// As of [`Self::of`]; the tokens stay.
    pub fn renew(&self, http: &config::Http) -> Result<(), DoorError> {
        let new = tokens(&self.address, http)?;
        self.tokens.send_if_modified(|old| {
            let is_new = *old != new;
            *old = new;
            is_new
        });
        Ok(())
    }
}

fn tokens(address: &Address, http: &config::Http) -> Result<Option<Arc<Tokens>>, DoorError> {
    match (address, &http.tokens) {
        (_, Some(tokens)) => Ok(Some(Arc::new(tokens.clone()))),
        (Address::Unix(_), None) => Ok(None),
        (Address::Tcp(at), None) if !at.ip().is_loopback() => Err(DoorError::Open(*at)),
        (Address::Tcp(_), None) => {
            let path = http.own_token.as_ref().ok_or(DoorError::NoPlace)?;
            Tokens::read_or_make(path).map(|tokens| Some(Arc::new(tokens))).map_err(DoorError::Token)
        }
    }
}

/// Serves whoever comes in by this door until SIGTERM or SIGINT comes, then stops all jobs: [`serve_stdio`](super::serve_stdio) for
/// many clients. `front` makes of a server what answers a connection: the server itself, unless a test has something in front of
/// it.
pub async fn serve_http<H: ServerHandler>(
    service: Arc<Service>,
    door: Door,
    keys: Arc<Keys>,
    config: &config::Config,
    loading: impl Future<Output = Result<(), ChainError>> + Send + 'static,
    signals: Signals,
    front: impl Fn(Server) -> H + Send + Sync + 'static,
) -> Result<Ended, ServeError> {
    let gone = CancellationToken::new();
    let server = Server::new(service.clone(), Principal::local(), &gone)?;
    let gate = Arc::new(Gate::new(server, Arc::new(front), &door, config, keys.tokens.subscribe()));
    until_ended(service, serve(door, gate, gone.clone()), gone, loading, signals).await
}

async fn serve(door: Door, gate: Arc<Gate<impl ServerHandler>>, gone: CancellationToken) -> Result<(), ServeError> {
    let (room, connections) = (Arc::new(Room::new()), TaskTracker::new());
    let partings = {
        let gate = gate.clone();
        tokio::spawn(async move { gate.part().await })
    };
    let _partings = AbortOnDropHandle::new(partings);
    loop {
        let came = tokio::select! {
            () = gone.cancelled() => break,
            came = door.accept() => came,
        };
        match came {
            Ok(stream) => {
                let place = room.enter().await;
                connections.spawn(attend(stream, place, gate.clone(), gone.clone()));
                // Who has sent a token is known by it before another comes in.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::error!(%error, "a client could not be let in");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(door);
    connections.close();
    // Calls in progress are answered by then; streams of events would last for ever.
    _ = tokio::time::timeout(LAST_ANSWERS / 2, connections.wait()).await;
    gate.end_streams();
    connections.wait().await;
    Ok(())
}

/// Answers the requests of one connection, one after the other, until it is closed, its place is over or the server ends.
async fn attend(stream: Stream, place: Place, gate: Arc<Gate<impl ServerHandler>>, gone: CancellationToken) {
    let (gate, place) = (&gate, &place);
    let answer = service_fn(|request| async move { Ok::<_, Infallible>(gate.answer(request, place).await) });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(MOST_HEADER_BYTES).max_headers(MOST_HEADERS).half_close(true);
    let stream = Impatient::new(stream);
    let watch = stream.watch();
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.over() => return,
        () = left(place, &watch) => return,
        () = gone.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until a client has closed its side while something was being answered, and then, since it may only have said all it wants
/// to say, for its last answers: waits end at once.
async fn left(place: &Place, watch: &Watch) {
    loop {
        place.answers().await;
        tokio::time::sleep(LOOK).await;
        if place.is_asked() && watch.is_closed() {
            break;
        }
    }
    place.left().cancel();
    tokio::time::sleep(LAST_WORDS).await;
}
