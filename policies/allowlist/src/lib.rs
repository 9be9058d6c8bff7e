//! Lets through the commands that its rules describe, word by word, and denies everything else.
//!
//! A rule is a grammar of one program: flags, options with the kind of their values, sub-commands, operands. It is read the
//! way the program reads its own arguments; where the two could differ, the word is denied. Scripts are judged node by node: what
//! they run by rules, what they are made of by the constructs that the settings name. `packs/` has rules to include.

mod condition;
mod feed;
mod input;
mod judge;
mod loops;
mod packs;
mod reader;
mod rule;
mod settings;
mod value;
mod variable;

use portcullis_sdk::{CommandPolicy, InputPolicy, InputVerdict, Job, Policy, Request, SettingsErrors, Verdict, export};

use crate::{rule::Objection, settings::Settings};

/// A decision takes one call of a fresh instance.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ARENA: portcullis_arena::Arena = portcullis_arena::Arena::new();

/// The policy.
struct Allowlist(Settings);

impl Policy for Allowlist {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        settings.compose().map(Self)
    }
}

impl CommandPolicy for Allowlist {
    fn evaluate(&self, request: &Request) -> Verdict {
        match judge::judge(&self.0, request) {
            Ok(()) => Verdict::Allow,
            Err(Objection::NotYet) => Verdict::Abstain,
            Err(Objection::Denied(reason)) => Verdict::Deny(reason),
        }
    }
}

impl InputPolicy for Allowlist {
    /// What is typed into a program matters as little or as much as the program: the rule that allowed it says so.
    fn evaluate(&self, job: &Job, pending: &[u8], data: &[u8]) -> InputVerdict {
        match judge::judge_input(&self.0, &job.nodes, pending, data) {
            Ok(()) => InputVerdict::Allow,
            Err(reason) => InputVerdict::Deny(reason),
        }
    }
}

export!(Allowlist: command, input);

#[cfg(test)]
mod tests;
