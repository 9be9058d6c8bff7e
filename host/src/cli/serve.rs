//! `portcullis serve`.

use clap::Args;

use super::{CliError, exit, start_error, with_causes};
use crate::{config::Config, mcp, service::Service, signals::exit_code};

/// Serves MCP on standard input and output, until its client closes it or a signal comes; then every job is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
An agent's client starts it. For Claude Code:
  claude mcp add portcullis -- portcullis serve
Standard output carries the protocol and nothing else; the log is on standard error.")]
pub struct Serve {}

impl Serve {
    pub(super) async fn execute(self, config: &Config) -> Result<u8, CliError> {
        let (service, loading) = Service::open(config).map_err(start_error)?;
        tracing::info!(configuration = %config.origin, policies = config.policies.len(), "serving MCP on standard input and output");
        let ended = mcp::serve_stdio(service, loading).await.map_err(|error| match error {
            mcp::ServeError::Policies(error) => start_error(error.into()),
            error => CliError::Failed(with_causes(&error)),
        })?;
        Ok(match ended {
            mcp::Ended::ByClient => exit::OK,
            mcp::Ended::BySignal(signal) => exit_code(signal),
        })
    }
}
