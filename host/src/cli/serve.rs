//! `portcullis serve`.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{CliError, exit, reload::Reloader, start_error, with_causes};
use crate::{
    config::Config,
    mcp,
    service::{Execution, Service},
    signals::exit_code,
};

/// Serves MCP on standard input and output, until its client closes it or a signal comes; then every job is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
An agent's client starts it. For Claude Code:
  claude mcp add portcullis -- portcullis serve
Standard output carries the protocol and nothing else; the log is on standard error. SIGHUP has it read its configuration again:
policies, limits and the default are changed while it runs, or stay as they are if anything is wrong with them.")]
pub struct Serve {
    /// Judges and records every command, and executes none: an answer says what would have run.
    #[arg(long)]
    dry_run: bool,
}

impl Serve {
    /// `explicit` is the file that `--config` named, for reading it again.
    pub(super) async fn execute(self, config: Config, explicit: Option<PathBuf>) -> Result<u8, CliError> {
        let execution = if self.dry_run { Execution::Dry } else { Execution::Real };
        let service = Service::open(&config, execution).map_err(start_error)?;
        tracing::info!(configuration = %config.origin, policies = config.policies.len(), "serving MCP on standard input and output");
        if self.dry_run {
            tracing::warn!("dry run: commands are judged and recorded, and none is executed");
        }
        let reload = Arc::new(Notify::new());
        let loading = {
            let (service, config) = (service.clone(), config.clone());
            async move { service.adopt(&config).await }
        };
        let reloader = Reloader::new(service.clone(), config, explicit);
        let _reloading = AbortOnDropHandle::new(tokio::spawn(reloader.run(reload.clone())));
        let ended = mcp::serve_stdio(service, loading, reload).await.map_err(|error| match error {
            mcp::ServeError::Policies(error) => start_error(error.into()),
            error => CliError::Failed(with_causes(&error)),
        })?;
        Ok(match ended {
            mcp::Ended::ByClient => exit::OK,
            mcp::Ended::BySignal(signal) => exit_code(signal),
        })
    }
}
