//! `portcullis config schema`.

use std::io::Write;

use clap::Args;

use super::{CliError, exit};
use crate::{config, policy};

/// Prints the JSON Schema of the configuration file, settings of the built-in policies included, for editors to complete it by.
#[derive(Debug, Args)]
#[command(after_help = "\
  portcullis config schema > portcullis.schema.json

Editors that know TOML (Even Better TOML, Taplo, JetBrains) take it from a first line `#:schema ./portcullis.schema.json`.")]
pub struct ConfigSchema {}

impl ConfigSchema {
    /// Needs no configuration.
    pub(super) fn execute(self) -> Result<u8, CliError> {
        let schema = config::schema(policy::builtin_schemas());
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
        writeln!(std::io::stdout(), "{text}")
            .map_err(|error| CliError::Failed(format!("could not write the schema: {error}")))?;
        Ok(exit::OK)
    }
}
