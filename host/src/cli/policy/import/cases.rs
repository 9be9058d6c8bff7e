//! Test cases for imported settings: commands of which the source and the grammar tell what they say.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{
    grammar::Grammar,
    source::{Effect, Source, Then},
    words,
};

/// A command and what the imported settings say to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where the rule stands that it comes from.
    pub place: String,
    /// That rule, as its source has it.
    pub shown: String,
    /// The command as shell text.
    pub command: String,
    /// Whether the settings allow it; they ask nobody.
    pub is_allowed: bool,
    /// What the source says to it.
    pub source: Effect,
}

/// Cases of all rules: what each fixes, and its examples. Left out is what nothing here can tell for certain.
pub fn of(source: &Source, grammar: &Grammar) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for rule in &source.rules {
        let fixed = rule.scopes.iter().filter(|scope| !scope.words.is_empty() && scope.then != Then::Something);
        let fixed = fixed.filter(|scope| !matches!(scope.then, Then::Beginning(_))).map(|scope| &scope.words);
        for command in fixed.chain(&rule.examples).chain(&rule.counter_examples) {
            let Some(verdict) = verdict(grammar, command) else { continue };
            if seen.insert(command) && !command.iter().any(|word| word.chars().any(char::is_control)) {
                cases.push(Case {
                    place: rule.place.clone(),
                    shown: rule.shown.clone(),
                    command: words::join(command),
                    is_allowed: verdict == Effect::Allow,
                    source: source.judge(command),
                });
            }
        }
    }
    cases
}

/// What a grammar says to a command in the form in which it is sent, before `harden`; none where only the allowlist can tell.
pub fn verdict(grammar: &Grammar, command: &[String]) -> Option<Effect> {
    let (program, words) = command.split_first()?;
    let Some(rule) = grammar.program_rule(program) else {
        // A path may lead to a program that has a rule by its name.
        return (!program.contains('/')).then_some(Effect::Deny);
    };
    let is_allowed = Reader { rule, operands: 0, options: BTreeSet::new() }.read(words)?;
    Some(if is_allowed { Effect::Allow } else { Effect::Deny })
}

/// Reads words as the allowlist does, as far as that is plain.
struct Reader<'a> {
    rule: &'a Table,
    operands: i64,
    options: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn read(mut self, words: &'a [String]) -> Option<bool> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_fine = if let Some(command) = self.command(word) {
                (self.rule, self.options) = (command, BTreeSet::new());
                !command.contains_key("forbid")
            } else if self.has("flags", word) {
                self.options.insert(word);
                true
            } else if word.len() > 1 && word.starts_with('-') {
                self.option(word, &mut words)?
            } else {
                self.operand(word)?
            };
            if !is_fine {
                return Some(false);
            }
        }
        self.ends()
    }

    fn command(&self, word: &str) -> Option<&'a Table> {
        let commands = self.rule.get("commands")?;
        commands.get(word)?.as_table().filter(|_| self.operands == 0)
    }

    fn has(&self, key: &str, name: &str) -> bool {
        super::packs::option_names(self.rule, key).any(|known| known == name)
    }

    fn option(&mut self, word: &'a str, words: &mut std::slice::Iter<'a, String>) -> Option<bool> {
        let is_plain = !["dashed", "single-dash", "condition"].iter().any(|key| self.rule.contains_key(*key));
        if !is_plain || word == "--" {
            return None;
        }
        let value = |key: &str, name: &str| self.rule.get(key)?.get(name);
        match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((name, text)) => {
                self.options.insert(name);
                value("options", name).or_else(|| value("equals", name)).map_or(Some(false), |kind| fits(kind, text))
            }
            None if value("options", word).is_some() => {
                self.options.insert(word);
                let kind = value("options", word)?;
                words.next().map_or(Some(false), |text| fits(kind, text).filter(|_| !text.starts_with('-')))
            }
            None if word.starts_with("--") => Some(false),
            None => {
                // Letters together, or a number: not unless the first is known.
                let letter: String = word.chars().take(2).collect();
                let may_be =
                    self.rule.contains_key("number") || self.has("flags", &letter) || value("options", &letter).is_some();
                if may_be { None } else { Some(false) }
            }
        }
    }

    fn operand(&mut self, word: &str) -> Option<bool> {
        let Some(operands) = self.rule.get("operands").and_then(Value::as_table) else { return Some(false) };
        if ["first", "rest"].iter().any(|key| operands.contains_key(*key)) || self.rule.contains_key("condition") {
            return None;
        }
        self.operands += 1;
        let most = operands.get("max").and_then(Value::as_integer);
        if most.is_some_and(|most| self.operands > most) {
            return Some(false);
        }
        operands.get("kind").map_or(Some(false), |kind| fits(kind, word))
    }

    fn ends(&self) -> Option<bool> {
        let operands = self.rule.get("operands").and_then(Value::as_table);
        if operands.is_some_and(|operands| operands.contains_key("first-unless")) || self.rule.contains_key("condition") {
            return None;
        }
        let fewest = operands.and_then(|operands| operands.get("min")?.as_integer()).unwrap_or_default();
        let mut required = super::packs::option_names(self.rule, "requires").peekable();
        let has_required = required.peek().is_none() || required.any(|name| self.options.contains(name));
        let has_commands = self.rule.get("commands").and_then(Value::as_table).is_some_and(|commands| !commands.is_empty());
        let has_flags = super::packs::option_names(self.rule, "flags").next().is_some();
        Some(self.operands >= fewest && has_required && (!has_commands || has_flags || operands.is_some()))
    }
}

/// Whether a text fits a kind of value, where no file system and no regular expression is needed to tell.
fn fits(kind: &Value, text: &str) -> Option<bool> {
    match kind {
        Value::String(kind) => match kind.as_str() {
            "any" | "text" | "words" => Some(true),
            "integer" => Some(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())),
            "path" | "source" if text.starts_with(['/', '~', '@']) || text.split('/').any(|part| part == "..") => None,
            "path" | "source" => Some(true),
            _ => None,
        },
        Value::Table(kind) => kind.get("one-of")?.as_array().map(|texts| texts.iter().any(|known| known.as_str() == Some(text))),
        _ => None,
    }
}
