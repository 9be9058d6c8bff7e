//! The command line: one file per verb, and the exit codes they share.

mod ask;
mod audit;
mod check;
mod config_check;
mod config_schema;
mod explain;
mod pin;
mod policy;
mod reload;
mod run;
mod serve;
mod watch;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{self, Surroundings},
    jobs::KeeperError,
    policy::{self as policies, ChainError, EntryError, LoadError, types::Client},
    principal::Principal,
    service::StartError,
};

/// Exit codes. `run` besides gives the command's own, and 128 + n for a command that signal n ended.
pub mod exit {
    /// Allowed, or done.
    pub const OK: u8 = 0;
    /// `check`: denied.
    pub const DENIED: u8 = 1;
    /// `audit verify`: the log is not as it was written.
    pub const BROKEN: u8 = 1;
    /// `audit replay`: something would be decided otherwise.
    pub const DIFFERS: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 3;
    /// `audit verify`: what is there of the log is as it was written, but its beginning is missing.
    pub const INCOMPLETE: u8 = 4;
    /// `check`: a person would be asked.
    pub const ASKS: u8 = 10;
    /// `run`: the command's time was up.
    pub const TIMED_OUT: u8 = 124;
    /// portcullis itself failed.
    pub const FAILED: u8 = 125;
    /// `run`: denied, or a person would have to be asked, or the program could not be started.
    pub const NOT_RUN: u8 = 126;
    /// `run`: there is no such program.
    pub const NOT_FOUND: u8 = 127;
}

/// The gate between AI agents and this machine: every command is judged by sandboxed policies, rewritten where they say so, run,
/// and its output filtered.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    after_help = "\
Try it:
  portcullis run -- git log -3            judged, run, its output filtered
  portcullis check 'rm -rf x'             judged only; the exit code tells: 0 allowed, 1 denied, 10 asks
  portcullis check --explain 'git status' each policy's verdict, and what would run
  portcullis serve                        an MCP server on standard input and output, for an agent to start

The first of these that exists configures it: /etc/portcullis/config.toml (which then nothing can override), --config,
PORTCULLIS_CONFIG, ~/.config/portcullis/config.toml, and else what is built in: read-only developer commands, hardened git,
secrets redacted. PORTCULLIS_LOG sets how much is logged on standard error: error, warn, info or debug."
)]
pub struct Cli {
    /// Configuration file. Ignored where an administrator's file exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Run(run::Run),
    Check(check::Check),
    /// Looks at the configuration.
    Config(ConfigVerbs),
    Policy(policy::PolicyVerbs),
    Audit(audit::AuditVerbs),
}

#[derive(Debug, Args)]
struct ConfigVerbs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    Check(config_check::ConfigCheck),
    Schema(config_schema::ConfigSchema),
}

/// Why a verb could not do its work; what it found out is an exit code instead.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong; every mistake, one a line.
    #[error("{0}\nnothing was started; mend the configuration and try again")]
    Config(String),
    /// Files can not be imported; every mistake, one a line.
    #[error("{0}\nnothing was imported; mend the files, or take out of them what can not be imported")]
    Import(String),
    /// Policies can not be tested or looked at; every mistake, one a line.
    #[error("{0}")]
    Cases(String),
    /// portcullis failed.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// What is wrong, without what that means for this run of the program.
    fn wrong(self) -> String {
        match self {
            Self::Config(text) | Self::Import(text) | Self::Cases(text) | Self::Failed(text) => text,
        }
    }

    /// The exit code that says so.
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Import(_) | Self::Cases(_) => exit::USAGE,
            Self::Failed(_) => exit::FAILED,
        }
    }
}

impl Cli {
    /// How much is logged unless `PORTCULLIS_LOG` says otherwise.
    pub fn log_level(&self) -> &'static str {
        if matches!(self.verb, Verb::Serve(_)) { "info" } else { "warn" }
    }

    /// Does what was asked and gives the exit code.
    pub async fn execute(self) -> Result<u8, CliError> {
        // Also where the configuration is what is yet to be written.
        let explicit = self.config.as_deref();
        let verb = match self.verb {
            Verb::Policy(verb) => return verb.execute(explicit).await,
            Verb::Audit(verb) => return verb.execute(explicit).await,
            Verb::Config(ConfigVerbs { verb: ConfigVerb::Schema(verb) }) => return verb.execute(),
            verb => verb,
        };
        let config = config::load(explicit, &Surroundings::from_process(policies::builtins()))
            .map_err(|mistakes| CliError::Config(mistakes.to_string()))?;
        for what in &config.overridden {
            tracing::warn!("{what} does not count, since {} does", config.origin);
        }
        for (root, top) in config.jobs.roots.iter().filter_map(|root| Some((root, repository_around(root)?))) {
            let (root, top) = (root.display(), top.display());
            tracing::warn!(
                "{root} lies inside the repository {top}, which git does not look for above a root; begin at its top instead"
            );
        }
        match verb {
            Verb::Serve(verb) => verb.execute(config, self.config).await,
            Verb::Run(verb) => verb.execute(&config).await,
            Verb::Check(verb) => verb.execute(&config).await,
            Verb::Config(ConfigVerbs { verb: ConfigVerb::Check(verb) }) => verb.execute(config).await,
            Verb::Config(ConfigVerbs { verb: ConfigVerb::Schema(verb) }) => verb.execute(),
            Verb::Policy(verb) => verb.execute(explicit).await,
            Verb::Audit(verb) => verb.execute(explicit).await,
        }
    }
}

/// The top of the repository that a root lies in, if it has none itself.
fn repository_around(root: &Path) -> Option<&Path> {
    let has_git = |directory: &&Path| directory.join(".git").exists();
    root.ancestors().find(has_git).filter(|top| *top != root)
}

/// Who asks, when it is a person at a command line.
fn this_client() -> Client {
    Client {
        principal: Principal::local().to_string(),
        name: "portcullis".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Writes a line to standard error. If nobody can read it there is nobody to tell that either.
pub fn say(text: &str) {
    _ = writeln!(std::io::stderr(), "portcullis: {text}");
}

fn start_error(error: StartError) -> CliError {
    match error {
        StartError::Chain(error) => chain_error(&error),
        StartError::Keeper(KeeperError::Processes { .. }) => CliError::Config(error.to_string()),
        StartError::Keeper(KeeperError::Io(_)) => CliError::Failed(error.to_string()),
        StartError::Audit(error) => CliError::Failed(format!("{error}; nothing is done that can not be recorded")),
    }
}

/// Policies that could not be loaded are mistakes of the configuration, each with its place in it.
pub(crate) fn chain_error(error: &ChainError) -> CliError {
    match error {
        ChainError::Policies(entries) => {
            let lines = entries.iter().flat_map(entry_lines);
            CliError::Config(lines.collect::<Vec<_>>().join("\n"))
        }
        ChainError::Cache(error) => CliError::Config(with_causes(error)),
        ChainError::Engine(_) | ChainError::Ended => CliError::Failed(with_causes(error)),
    }
}

fn entry_lines(entry: &EntryError) -> Vec<String> {
    let EntryError { index, name, error } = entry;
    match error {
        LoadError::Settings(errors) => settings_lines(&format!("policies[{index}].settings"), errors),
        other => vec![format!("policies[{index}] ({name}): {}", with_causes(other))],
    }
}

/// Each with its place as it is found in the file, below where the settings stand.
fn settings_lines(place: &str, errors: &[policies::SettingsError]) -> Vec<String> {
    let line = |error: &policies::SettingsError| {
        let dot = if error.path.is_empty() || error.path.starts_with('[') { "" } else { "." };
        policies::printable(&format!("{place}{dot}{}: {}", error.path, error.message))
    };
    errors.iter().map(line).collect()
}

/// An error and what caused it, on one line. Texts that hold their cause already are not followed by it again.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
