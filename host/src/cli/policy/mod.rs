//! `portcullis policy`: what authors and operators of policies need.

mod bench;
mod build;
mod import;
mod inspect;
mod new;
mod test;

use std::path::Path;

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
    New(new::New),
    Build(build::Build),
    Import(import::Import),
    Test(test::Test),
    Inspect(inspect::Inspect),
    Bench(bench::Bench),
}

impl PolicyVerbs {
    /// Does what was asked and gives the exit code. The configuration is read only where it is what is looked at.
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        match self.verb {
            PolicyVerb::New(verb) => verb.execute(),
            PolicyVerb::Build(verb) => verb.execute(),
            PolicyVerb::Import(verb) => verb.execute(),
            PolicyVerb::Test(verb) => verb.execute(explicit).await,
            PolicyVerb::Inspect(verb) => verb.execute().await,
            PolicyVerb::Bench(verb) => verb.execute(explicit).await,
        }
    }
}
