//! The rules as an operator writes them.

use std::collections::BTreeMap;

use portcullis_sdk::{SettingsError, SettingsErrors};
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de::Error};

/// Most memory of one compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 256 * 1024;

/// The settings of this policy's entry.
#[derive(Debug, Default, Deserialize)]
pub struct Settings {
    /// Per program, by the name of its file: what it may be told. A program that is not here is denied.
    #[serde(default)]
    pub programs: BTreeMap<String, Program>,
}

/// What one program may be told.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Program {
    /// Variables that may be set in front of the command, and to what.
    pub env: BTreeMap<String, Value>,
    /// Words that must stand directly behind the program, exactly; without them the policy has no opinion, so that another may
    /// put them there.
    pub prefix: Vec<String>,
    /// Whether a job of this program may be sent input. Only for programs, not for sub-commands, and never for one that runs
    /// what it reads.
    pub input: bool,
    /// Flags without a value, as written: `-l`, `--all`, or a word such as `!`.
    pub flags: Vec<String>,
    /// Options with a value: `-n 5`, `-n5`, `--lines 5`, `--lines=5`.
    pub options: BTreeMap<String, Value>,
    /// Options whose value is joined to them and nothing else: `--pretty=oneline`. Where it may be missing, the name is a flag too.
    pub equals: BTreeMap<String, Value>,
    /// Whether `-5` is a flag.
    pub number: bool,
    /// Whether flags of one letter may be written together; say `false` for programs that read `-name` as one option.
    pub combine: Combine,
    /// Whether `--` ends the options. Not all programs agree: `find` reads its tests behind it.
    pub terminator: bool,
    /// Words that are no options; without this none may stand there.
    pub operands: Operands,
    /// Sub-commands; where there are some, the first word that is no option must be one of them.
    pub commands: BTreeMap<String, Program>,
}

/// Whether `-la` is `-l -a`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// It is.
    #[default]
    Letters,
    /// It is one option.
    Words,
}

/// Words that are no options.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Operands {
    /// What the first one must be, if not the same as the others.
    pub first: Option<Value>,
    /// What they must be.
    pub kind: Value,
    /// Fewest.
    pub min: usize,
    /// Most; no limit if this is not given.
    pub max: Option<usize>,
}

/// What a value or an operand must be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Nothing fits.
    Nothing,
    /// Any text. Never for what the program may take for a path.
    Any,
    /// A decimal number with or without sign.
    Integer,
    /// A path inside the roots, links followed.
    Path,
    /// Like `path`, something that exists, and without `:`, which some programs take for the end of a host's name.
    File,
    /// One of these.
    OneOf(Vec<String>),
    /// What this regular expression (bytes, no Unicode classes) matches from beginning to end.
    Pattern(Pattern),
}

/// A regular expression that matches the whole of a text.
#[derive(Debug)]
pub struct Pattern(pub Regex);

impl Default for Operands {
    fn default() -> Self {
        Self { first: None, kind: Value::Nothing, min: 0, max: None }
    }
}

impl<'de> Deserialize<'de> for Combine {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(if bool::deserialize(from)? { Self::Letters } else { Self::Words })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let source = String::deserialize(from)?;
        let whole = format!(r"\A(?:{source})\z");
        let regex = RegexBuilder::new(&whole).unicode(false).size_limit(MAX_PATTERN_SIZE).build();
        let regex = regex.map_err(|error| D::Error::custom(format!("not a regular expression on bytes: {error}")))?;
        // What the first match allocates is then part of the image that decisions start from.
        regex.is_match(b"");
        Ok(Self(regex))
    }
}

impl Settings {
    /// What is wrong although it has the right shape.
    pub fn mistakes(&self) -> SettingsErrors {
        let mut errors = Vec::new();
        for (name, program) in &self.programs {
            let path = format!("programs.{name}");
            if name.is_empty() || name.contains('/') {
                errors.push(SettingsError::new(path.as_str(), "must be the name of a program's file, without a folder"));
            }
            program.mistakes(&path, &mut errors);
        }
        errors.truncate(64);
        errors
    }
}

impl Program {
    fn mistakes(&self, path: &str, errors: &mut SettingsErrors) {
        let names = |key: &'static str, table: &BTreeMap<String, Value>| -> Vec<_> {
            table.keys().map(|name| (key, name.clone())).collect()
        };
        for (key, name) in names("options", &self.options).into_iter().chain(names("equals", &self.equals)) {
            if !name.starts_with('-') || name.len() < 2 || name.contains('=') {
                errors.push(SettingsError::new(
                    format!("{path}.{key}.{name}"),
                    "must be an option as it is written, such as `-n` or `--lines`",
                ));
            }
            if self.flags.contains(&name) && key == "options" {
                errors.push(SettingsError::new(
                    format!("{path}.options.{name}"),
                    "stands in `flags` too; say whether it takes a value",
                ));
            }
        }
        let has_operands = self.operands.first.is_some() || !matches!(self.operands.kind, Value::Nothing);
        if has_operands && !self.commands.is_empty() {
            errors
                .push(SettingsError::new(format!("{path}.operands"), "a program with `commands` has operands only behind these"));
        }
        for (name, command) in &self.commands {
            command.mistakes(&format!("{path}.commands.{name}"), errors);
        }
    }
}
