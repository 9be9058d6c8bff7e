//! Keeps secrets out of what jobs print: a value that looks like a secret is replaced by `[redacted: RULE]`.
//!
//! The result does not depend on how a stream was cut, and filtered text filters to itself.

mod code;
mod colours;
mod filter;
mod joints;
mod keys;
mod named;
mod places;
mod text;
mod tokens;
mod values;

use std::cmp::Reverse;

use portcullis_sdk::{Job, OutputPolicy, Policy, SettingsError, SettingsErrors, StreamKind, Trigger, export, log, variables};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::{REACH, Redaction};
use crate::places::Program;
use crate::text::{Found, Text};
use crate::tokens::{TOKENS, Token};
use crate::values::{Form, Stand};

/// Most bytes of an exception; longer values are never held whole.
const MAX_ALLOWED: usize = 4096;

/// Most patterns of an operator, and most beginnings of one.
const MAX_PATTERNS: usize = 32;

/// Most memory of one compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 256 * 1024;

/// The settings of this policy's entry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    /// Values that are no secrets, such as the password of a test database. Exact.
    allow: Vec<String>,
    /// The same by regular expressions, each for a whole value.
    allow_matching: Vec<String>,
    /// Secrets of the operator's own kinds.
    #[schemars(extend("x-rules" = true))]
    patterns: Vec<Pattern>,
}

/// One kind of secret of the operator's own.
#[derive(Debug, Deserialize, JsonSchema)]
struct Pattern {
    /// Stands in the replacement: `a-z`, `0-9`, `-`.
    name: String,
    /// How it begins, literally; 3 to 64 bytes each.
    triggers: Vec<String>,
    /// The whole of it, from the trigger on; bytes, without Unicode classes.
    regex: String,
}

/// What stands at a trigger.
enum Rule {
    Token(&'static Token),
    JsonWebToken,
    Keyword,
    Bearer,
    Address,
    Cookie,
    /// The string behind the words of a statement.
    Statement,
    /// The password behind an option of a program.
    Argument(&'static Program),
    Curl,
    Machine,
    Login,
    PrivateKey,
    Putty,
    /// A private key in base64.
    EncodedKey,
    /// Index of a form of a variable's value.
    Value(usize),
    /// Index of an operator's pattern.
    Own(usize),
}

/// A trigger and what it begins.
struct Beginning {
    text: Vec<u8>,
    ignore_case: bool,
    rule: Rule,
}

/// The policy.
struct Redact {
    allow: Vec<Vec<u8>>,
    allow_matching: Vec<Regex>,
    own: Vec<(String, Regex)>,
    values: Vec<Form>,
    beginnings: Vec<Beginning>,
    /// Per byte: the beginnings that may start with it.
    by_byte: Vec<Vec<u16>>,
}

impl Policy for Redact {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        let mut errors = Vec::new();
        let values = values::forms(variables(), &mut errors);
        // In front of all others: what is known exactly is called by its name.
        let mut beginnings: Vec<_> = values.iter().enumerate().map(|(at, form)| exact(form.trigger(), Rule::Value(at))).collect();
        beginnings.extend(built_in());
        let mut own = Vec::new();
        check_allowed(&settings.allow, &mut errors);
        let allow_matching = compile_allowed(&settings.allow_matching, &mut errors);
        if settings.patterns.len() > MAX_PATTERNS {
            errors.push(SettingsError::new("patterns", format!("{} patterns; at most {MAX_PATTERNS}", settings.patterns.len())));
        }
        for (at, pattern) in settings.patterns.into_iter().enumerate().take(MAX_PATTERNS) {
            beginnings.extend(pattern.triggers.iter().map(|text| beginning(text, false, Rule::Own(at))));
            match pattern.compile() {
                Ok(compiled) => own.push(compiled),
                Err((key, message)) => errors.push(SettingsError::new(format!("patterns.{at}.{key}"), message)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let by_byte = index(&beginnings);
        let allow = settings.allow.into_iter().map(String::into_bytes).collect();
        Ok(Self { allow, allow_matching, own, values, beginnings, by_byte })
    }
}

impl OutputPolicy for Redact {
    type Filter = Redaction;

    /// Without those that begin with another trigger, which finds their lines too. What sets colours may part any of them, and in
    /// UTF-16 the first character of each stands between zeros.
    fn triggers(&self) -> Vec<Trigger> {
        let covered = |this: usize, text: &[u8]| {
            self.beginnings.iter().enumerate().any(|(at, other)| at != this && other.text != text && other.is_prefix_of(text))
        };
        let colour = |text: &&str| Trigger { text: text.as_bytes().to_vec(), ignore_case: false };
        let mut triggers: Vec<Trigger> = colours::TRIGGERS.iter().map(colour).collect();
        let is_first = |byte: &u8| !self.by_byte[usize::from(*byte)].is_empty();
        triggers.extend((1..=u8::MAX).filter(is_first).map(|byte| Trigger { text: vec![0, byte, 0], ignore_case: false }));
        for (at, beginning) in self.beginnings.iter().enumerate() {
            if !covered(at, &beginning.text) && !triggers.iter().any(|known| known.text == beginning.text) {
                triggers.push(Trigger { text: beginning.text.clone(), ignore_case: beginning.ignore_case });
            }
        }
        triggers
    }

    fn filter(&'static self, _job: Option<Job>, _stream: StreamKind) -> Redaction {
        Redaction::new(self)
    }
}

impl Pattern {
    fn compile(self) -> Result<(String, Regex), (&'static str, String)> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(is_name) {
            return Err(("name", "must be 1 to 64 of a-z, 0-9 and -".to_owned()));
        }
        let is_trigger = |text: &String| (3..=64).contains(&text.len()) && !text.contains(['\n', '\x1b']);
        if self.triggers.is_empty() || self.triggers.len() > MAX_PATTERNS || !self.triggers.iter().all(is_trigger) {
            return Err((
                "triggers",
                format!(
                    "must be 1 to {MAX_PATTERNS} texts of 3 to 64 bytes without a newline and an escape: how the secret begins"
                ),
            ));
        }
        Ok((self.name, compiled(&format!(r"\A(?:{})", self.regex)).map_err(|message| ("regex", message))?))
    }
}

impl Beginning {
    fn is_prefix_of(&self, text: &[u8]) -> bool {
        text.get(..self.text.len()).is_some_and(|text| self.is(text))
    }

    /// Whether a text that ends too early may turn out to begin like this.
    fn may_begin(&self, text: &[u8]) -> bool {
        self.text.get(..text.len()).is_some_and(|own| if self.ignore_case { own.eq_ignore_ascii_case(text) } else { own == text })
    }

    fn is(&self, text: &[u8]) -> bool {
        if self.ignore_case { self.text.eq_ignore_ascii_case(text) } else { self.text == text }
    }
}

fn compiled(regex: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(regex).unicode(false).size_limit(MAX_PATTERN_SIZE).build();
    let regex = regex.map_err(|error| format!("is not a regular expression on bytes: {error}"))?;
    // What the first match allocates is then part of the image that filters start from.
    regex.is_match(b"");
    Ok(regex)
}

fn compile_allowed(patterns: &[String], errors: &mut SettingsErrors) -> Vec<Regex> {
    if patterns.len() > MAX_PATTERNS {
        errors.push(SettingsError::new("allow_matching", format!("{} patterns; at most {MAX_PATTERNS}", patterns.len())));
    }
    let mut regexes = Vec::new();
    for (at, pattern) in patterns.iter().enumerate().take(MAX_PATTERNS) {
        match compiled(&format!(r"\A(?:{pattern})\z")) {
            Ok(regex) if regex.is_match(b"") => {
                errors
                    .push(SettingsError::new(format!("allow_matching.{at}"), "matches even nothing, so it would allow too much"));
            }
            Ok(regex) => regexes.push(regex),
            Err(message) => errors.push(SettingsError::new(format!("allow_matching.{at}"), message)),
        }
    }
    regexes
}

fn check_allowed(allow: &[String], errors: &mut SettingsErrors) {
    for (at, value) in allow.iter().enumerate() {
        if value.is_empty() || value.len() > MAX_ALLOWED {
            errors.push(SettingsError::new(format!("allow.{at}"), format!("must be 1 to {MAX_ALLOWED} bytes")));
        }
    }
}

fn beginning(text: &str, ignore_case: bool, rule: Rule) -> Beginning {
    Beginning { text: text.as_bytes().to_vec(), ignore_case, rule }
}

fn exact(text: &[u8], rule: Rule) -> Beginning {
    Beginning { text: text.to_vec(), ignore_case: false, rule }
}

fn built_in() -> Vec<Beginning> {
    let mut all: Vec<_> = TOKENS.iter().map(|token| beginning(token.text, false, Rule::Token(token))).collect();
    all.extend(named::KEYWORDS.iter().map(|word| beginning(word, true, Rule::Keyword)));
    all.extend(named::SHORT_KEYWORDS.iter().map(|word| beginning(word, false, Rule::Keyword)));
    all.push(beginning("bearer", true, Rule::Bearer));
    all.push(beginning("eyJ", false, Rule::JsonWebToken));
    all.push(beginning("://", false, Rule::Address));
    // As JSON may write it.
    all.push(beginning(r":\/\/", false, Rule::Address));
    all.push(beginning("ookie: ", false, Rule::Cookie));
    all.push(beginning("IDENTIFIED BY ", true, Rule::Statement));
    all.extend(places::PROGRAMS.iter().map(|program| beginning(program.begins, false, Rule::Argument(program))));
    all.push(beginning("curl", false, Rule::Curl));
    all.push(beginning("machine ", false, Rule::Machine));
    all.push(beginning("login ", false, Rule::Login));
    // `-----BEGIN ` in base64, but for what of it the next word decides.
    all.push(beginning("LS0tLS1CRUdJTi", false, Rule::EncodedKey));
    all.push(beginning("BEGIN ", false, Rule::PrivateKey));
    all.push(beginning("Private-Lines: ", false, Rule::Putty));
    all
}

fn index(beginnings: &[Beginning]) -> Vec<Vec<u16>> {
    let mut by_byte = vec![Vec::new(); 256];
    for (at, beginning) in (0..).zip(beginnings) {
        let first = beginning.text[0];
        by_byte[usize::from(first)].push(at);
        if beginning.ignore_case && first.is_ascii_alphabetic() {
            by_byte[usize::from(first ^ b' ')].push(at);
        }
    }
    by_byte
}

impl Redact {
    /// What the operator's pattern finds at `at`.
    fn own(&self, pattern: usize, text: Text, at: usize) -> Option<Found<'_>> {
        let (name, regex) = self.own.get(pattern)?;
        // Only what is one is followed to its end.
        let near = regex.find(text.until(at + REACH).from(at))?.end();
        let end = at + if near < REACH { near } else { regex.find(text.from(at))?.end() };
        log::rule(&format!("patterns[{pattern}]"));
        (end > at).then_some(Found { start: at, end, rule: name })
    }

    /// The longest value of a variable that stands at `at`: another may begin it.
    fn value_at(&self, text: Text, at: usize) -> Option<Found<'_>> {
        let all = self.values_at(text, at).filter_map(|form| match form.stand(text, at) {
            Stand::All(end) => Some(Found { start: at, end, rule: form.kind() }),
            Stand::Beginning | Stand::Nothing => None,
        });
        all.min_by_key(|found| Reverse(found.end))
    }

    /// The forms of values that may stand at `at`.
    fn values_at(&self, text: Text, at: usize) -> impl Iterator<Item = &Form> {
        let byte = text.byte(at).unwrap_or_default();
        // They are in front of all others.
        self.by_byte[usize::from(byte)].iter().map_while(|index| match self.beginnings[usize::from(*index)].rule {
            Rule::Value(form) => self.values.get(form),
            _ => None,
        })
    }

    fn is_allowed(&self, value: &[u8]) -> bool {
        self.allow.iter().any(|allowed| allowed == value) || self.allow_matching.iter().any(|allowed| allowed.is_match(value))
    }
}

export!(Redact: output);

#[cfg(test)]
mod tests;
