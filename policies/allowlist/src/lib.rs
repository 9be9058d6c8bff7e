//! Lets through the commands that its rules describe, word by word, and denies everything else.
//!
//! A rule is a grammar of one program: flags, options with the kind of their values, sub-commands, operands. It is read the
//! way the program reads its own arguments; where the two could differ, the word is denied. `default.toml` has rules for
//! read-only commands of developers.

mod judge;
mod settings;

use portcullis_sdk::{CommandPolicy, Policy, Request, SettingsErrors, Verdict, export};

use crate::settings::Settings;

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
        judge::judge(&self.0, &command).map_or_else(Verdict::Deny, |()| Verdict::Allow)
    }
}

export!(Allowlist: command);

#[cfg(test)]
mod tests;
