//! `portcullis serve`.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use super::{CliError, exit, reload::Reloader, start_error, with_causes};
use crate::{
    config::Config,
    mcp,
    service::{Execution, Service},
    signals::{Signals, exit_code},
};

/// Serves MCP on standard input and output, or over HTTP, until its client closes it or a signal comes; then every job is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
An agent's client starts it. For Claude Code:
  claude mcp add portcullis -- portcullis serve
Over HTTP, clients send a token, except at a unix socket: docs/http.md says which.
Standard output carries the protocol and nothing else; the log is on standard error. SIGHUP has it read its configuration again:
policies, limits and the default are changed while it runs, or stay as they are if anything is wrong with them.")]
pub struct Serve {
    /// Judges and records every command, and executes none: an answer says what would have run.
    #[arg(long)]
    dry_run: bool,
    /// Listens for HTTP instead, at /mcp: 127.0.0.1:8080, [::1]:0 (a port that the system chooses; the log says which) or
    /// unix:/path/of/a/socket.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<mcp::Address>,
}

impl Serve {
    /// `explicit` is the file that `--config` named, for reading it again.
    pub(super) async fn execute(self, config: Config, explicit: Option<PathBuf>) -> Result<u8, CliError> {
        // Before anything is told of that it serves: who reads that may send one at once.
        let caught = Signals::catch().and_then(|ending| Ok((ending, signal(SignalKind::hangup())?)));
        let (signals, reload) = caught.map_err(|error| CliError::Failed(format!("could not wait for signals: {error}")))?;
        let execution = if self.dry_run { Execution::Dry } else { Execution::Real };
        let door = self.http.as_ref().map(|address| open(address, &config)).transpose()?;
        let keys = door.as_ref().map(|(_, keys)| keys.clone());
        let service = Service::open(&config, execution).map_err(start_error)?;
        // Jobs have what this process had before: programs are written for as few as that.
        open_as_many_as_may_be();
        let at = door.as_ref().map_or_else(|| "standard input and output".to_owned(), |(door, _)| door.address().to_string());
        tracing::info!(configuration = %config.origin, policies = config.policies.len(), "serving MCP on {at}");
        if self.dry_run {
            tracing::warn!("dry run: commands are judged and recorded, and none is executed");
        }
        let loading = {
            let (service, config) = (service.clone(), config.clone());
            async move { service.adopt(&config).await }
        };
        let reloader = Reloader::new(service.clone(), config.clone(), explicit, keys);
        let _reloading = AbortOnDropHandle::new(tokio::spawn(reloader.run(reload)));
        let ended = match door {
            None => mcp::serve_stdio(service, loading, signals).await,
            Some((door, keys)) => mcp::serve_http(service, door, keys, &config, loading, signals, |server| server).await,
        };
        let ended = ended.map_err(|error| match error {
            mcp::ServeError::Policies(error) => start_error(error.into()),
            error => CliError::Failed(with_causes(&error)),
        })?;
        Ok(match ended {
            mcp::Ended::ByClient => exit::OK,
            mcp::Ended::BySignal(signal) => exit_code(signal),
        })
    }
}

/// What waits to be started holds the files that it was judged by, and all clients' is held here.
fn open_as_many_as_may_be() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::info!(%error, "no more files than usual can be open");
    }
}

fn open(address: &mcp::Address, config: &Config) -> Result<(mcp::Door, Arc<mcp::Keys>), CliError> {
    let keys = mcp::Keys::of(address, &config.http).map_err(|error| CliError::Config(with_causes(&error)))?;
    let door = mcp::Door::open(address, &config.jobs.roots).map_err(|error| CliError::Failed(with_causes(&error)))?;
    if let (mcp::Address::Tcp(_), None, Some(path)) = (address, &config.http.tokens, &config.http.own_token) {
        tracing::info!("no tokens are configured: clients need the one in {}", path.display());
    }
    Ok((door, Arc::new(keys)))
}
