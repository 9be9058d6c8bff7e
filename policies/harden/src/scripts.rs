//! Package managers that are told to leave the scripts of packages alone.

use portcullis_sdk::{Argument, Edit, Node};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    command::{with_variables, with_word},
    repository::Refusal,
};

const FLAG: &str = "--ignore-scripts";

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// `npm`.
    Npm,
    /// `pnpm`.
    Pnpm,
    /// `yarn`, of the first generation: later ones do not know the flag.
    Yarn,
}

/// Its sub-commands that put packages in place, under all their names.
const INSTALLING: &[(Manager, &[&str])] = &[
    (
        Manager::Npm,
        &[
            "add",
            "ci",
            "cit",
            "clean-install",
            "clean-install-test",
            "ddp",
            "dedupe",
            "i",
            "ic",
            "in",
            "ins",
            "inst",
            "insta",
            "instal",
            "install",
            "install-ci-test",
            "install-clean",
            "install-test",
            "isnt",
            "isnta",
            "isntal",
            "isntall",
            "isntall-clean",
            "it",
            "link",
            "ln",
            "prune",
            "r",
            "rb",
            "rebuild",
            "remove",
            "rm",
            "sit",
            "un",
            "uninstall",
            "unlink",
            "udpate",
            "up",
            "update",
            "upgrade",
        ],
    ),
    (
        Manager::Pnpm,
        &[
            "add",
            "ci",
            "dedupe",
            "fetch",
            "i",
            "install",
            "link",
            "prune",
            "rb",
            "rebuild",
            "remove",
            "rm",
            "un",
            "uninstall",
            "up",
            "update",
            "upgrade",
        ],
    ),
    (Manager::Yarn, &["add", "install", "link", "remove", "upgrade"]),
];

/// What is set besides: where the flag is not known, or another sub-command installs on the way.
const VARIABLES: &[(&str, &str)] = &[("npm_config_ignore_scripts", "true")];

impl Manager {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        }
    }

    /// The edit that makes this call leave scripts alone; none if it does.
    ///
    /// # Errors
    ///
    /// Where the call itself says that scripts are to run, since the last word on it wins.
    pub fn hardened(self, node: &Node, index: u32) -> Result<Option<Edit>, Refusal> {
        let words: Vec<Option<&str>> = node.args.iter().map(Argument::text).collect();
        refuse_contrary(&words)?;
        let edit = with_variables(node, index, VARIABLES);
        let Some(behind) = self.behind_command(&words).filter(|at| words.get(*at) != Some(&Some(FLAG))) else {
            return Ok(edit);
        };
        Ok(Some(edit.unwrap_or_else(|| Edit::new(index)).args(with_word(node, behind, FLAG))))
    }

    /// The place behind the sub-command that installs; `yarn` alone installs too.
    fn behind_command(self, words: &[Option<&str>]) -> Option<usize> {
        if self == Self::Yarn && words.iter().all(|word| word.is_some_and(|word| word.starts_with('-'))) {
            return Some(0);
        }
        let (_, installing) = INSTALLING.iter().find(|(manager, _)| *manager == self)?;
        words.iter().position(|word| word.is_some_and(|word| installing.contains(&word))).map(|at| at + 1)
    }
}

fn refuse_contrary(words: &[Option<&str>]) -> Result<(), Refusal> {
    // npm takes abbreviations.
    let is_contrary = |at: usize, word: &str| {
        let is_told = word.starts_with("--ig") && words.get(at + 1).is_some_and(|next| *next == Some("false"));
        word.starts_with("--no-ig") || word.starts_with("--ig") && word.contains('=') && !word.ends_with("=true") || is_told
    };
    match words.iter().enumerate().find(|(at, word)| word.is_some_and(|word| is_contrary(*at, word))) {
        Some((_, word)) => Err(Refusal {
            code: "scripts-ignored",
            message: format!("`{}` would let scripts of packages run; leave it out", word.unwrap_or_default()),
        }),
        None => Ok(()),
    }
}
