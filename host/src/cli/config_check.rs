//! `portcullis config check`.

use std::{collections::BTreeMap, fmt::Write as _, io::Write};

use clap::Args;

use super::{CliError, chain_error, exit, pin, with_causes};
use crate::{
    config::{ComponentSource, Config, Origin, PolicyEntry},
    digest::Digest,
    policy::Chain,
    service,
};

/// Loads the configuration, every policy, and tries each; reports all mistakes, and runs nothing. Exit 0: all is well; 3: it is
/// not.
#[derive(Debug, Args)]
pub struct ConfigCheck {
    /// Writes the SHA-256 of every component that is a file into the configuration file, in the place of pins that are there: from
    /// then on nothing else is loaded. Nothing is written if anything is wrong.
    #[arg(long)]
    pin: bool,
}

impl ConfigCheck {
    pub(super) async fn execute(self, config: Config) -> Result<u8, CliError> {
        let mut config = config;
        let has_pin: Vec<bool> = config.policies.iter().map(|entry| entry.sha256.is_some()).collect();
        if self.pin {
            config.policies.iter_mut().for_each(|entry| entry.sha256 = None);
        }
        let chain = service::load_chain(&config).await.map_err(|error| chain_error(&error))?;
        let pins: BTreeMap<&str, Digest> = chain
            .components()
            .zip(config.policies.iter().zip(has_pin))
            .filter(|(_, (entry, has_pin))| *has_pin || self.pin && is_file(entry))
            .map(|(component, _)| component)
            .collect();
        if self.pin {
            write_pins(&config.origin, &pins)?;
        }
        let failed = |error| CliError::Failed(format!("could not write the result: {error}"));
        std::io::stdout().write_all(report(&config, &chain, &pins).as_bytes()).map_err(failed)?;
        Ok(exit::OK)
    }
}

/// A built-in policy changes with this program only, and a pin of it would be in the way of every new version.
fn is_file(entry: &PolicyEntry) -> bool {
    matches!(entry.component, ComponentSource::File(_))
}

fn write_pins(origin: &Origin, pins: &BTreeMap<&str, Digest>) -> Result<(), CliError> {
    match origin {
        Origin::Administrator(file) | Origin::File(file) => {
            pin::write(file, pins).map_err(|error| CliError::Failed(with_causes(&error)))
        }
        Origin::Embedded => {
            let text = "there is no file to write pins into; copy config.toml to ~/.config/portcullis/config.toml first";
            Err(CliError::Config(text.to_owned()))
        }
    }
}

/// A line per policy, with the digest of its component where that may change or must not.
fn report(config: &Config, chain: &Chain, pins: &BTreeMap<&str, Digest>) -> String {
    let mut text = format!("{} is in order\n", config.origin);
    for ((line, (name, digest)), entry) in chain.describe().zip(chain.components()).zip(&config.policies) {
        let shown = match pins.contains_key(name) {
            true => format!("; pinned to sha256 {digest}"),
            false if is_file(entry) => format!("; sha256 {digest}"),
            false => String::new(),
        };
        writeln!(text, "  {line}{shown}").expect("a string takes all");
    }
    writeln!(text, "  set {}", chain.digest()).expect("a string takes all");
    text
}
