//! `portcullis config check`.

use std::io::Write;

use clap::Args;

use super::{CliError, chain_error, exit};
use crate::{config::Config, service};

/// Loads the configuration and every policy, reports all mistakes, and runs nothing. Exit 0: all is well; 3: it is not.
#[derive(Debug, Args)]
pub struct ConfigCheck {}

impl ConfigCheck {
    pub(super) async fn execute(self, config: &Config) -> Result<u8, CliError> {
        let chain = service::load_chain(config).await.map_err(|error| chain_error(&error))?;
        let policies: String = chain.describe().map(|policy| format!("  {policy}\n")).collect();
        write!(std::io::stdout(), "{} is in order\n{policies}", config.origin)
            .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
        Ok(exit::OK)
    }
}
