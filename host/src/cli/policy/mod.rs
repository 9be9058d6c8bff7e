//! `portcullis policy`: what authors and operators of policies need.

mod import;

use clap::{Args, Subcommand};

use super::CliError;

/// For those who write policies and their settings.
#[derive(Debug, Args)]
pub struct PolicyVerbs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, Subcommand)]
enum PolicyVerb {
    Import(import::Import),
}

impl PolicyVerbs {
    /// Does what was asked and gives the exit code. Needs no configuration.
    pub(super) fn execute(self) -> Result<u8, CliError> {
        match self.verb {
            PolicyVerb::Import(verb) => verb.execute(),
        }
    }
}
