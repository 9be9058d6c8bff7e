//! Lets through the commands that its rules describe, word by word, and denies everything else.
//!
//! A rule is a grammar of one program: flags, options with the kind of their values, sub-commands, operands. It is read the
//! way the program reads its own arguments; where the two could differ, the word is denied. `default.toml` has rules for
//! read-only commands of developers.

mod judge;
mod settings;

use portcullis_sdk::{CommandPolicy, InputPolicy, InputVerdict, Job, Policy, Reason, Request, SettingsErrors, Verdict, export};

use crate::{judge::Objection, settings::Settings};

/// The policy.
struct Allowlist(Settings);

impl Policy for Allowlist {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        let mistakes = settings.mistakes();
        if mistakes.is_empty() { Ok(Self(settings)) } else { Err(mistakes) }
    }
}

impl CommandPolicy for Allowlist {
    fn evaluate(&self, request: &Request) -> Verdict {
        let Some(command) = request.command() else {
            return Verdict::deny(
                "construct-not-allowed",
                "only one simple command of plain words is allowed: no shell constructs, no redirections",
            );
        };
        match judge::judge(&self.0, &command) {
            Ok(()) => Verdict::Allow,
            Err(Objection::NotYet) => Verdict::Abstain,
            Err(Objection::Denied(reason)) => Verdict::Deny(reason),
        }
    }
}

impl InputPolicy for Allowlist {
    /// What is typed into a program matters as little or as much as the program: the rule that allowed it says so.
    fn evaluate(&self, job: &Job, _pending: &[u8], _data: &[u8]) -> InputVerdict {
        let rule = job.command().and_then(|command| judge::find(&self.0, &command).ok().map(|(_, rule)| rule.input));
        match rule {
            Some(true) => InputVerdict::Allow,
            _ => InputVerdict::Deny(Reason::new(
                "input-not-allowed",
                "the rule of this program allows no input; an operator who wants it adds `input = true` to the rule",
            )),
        }
    }
}

export!(Allowlist: command, input);

#[cfg(test)]
mod tests;
