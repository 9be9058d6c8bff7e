//! What is written: settings, cases, and what the person must know.

use std::fmt::Write;

use toml::{Table, Value};

use super::{
    cases::Case,
    grammar::Grammar,
    source::{Effect, Fate, Note},
};
use crate::policy::printable;

/// Constructs of scripts in which each command is judged by itself, in the sources as in the allowlist.
const LISTS: [&str; 3] = ["sequence", "and-or", "pipeline"];

/// All that came of an import.
#[derive(Debug)]
pub struct Imported {
    /// What is allowed.
    pub grammar: Grammar,
    /// Commands and what is said to them.
    pub cases: Vec<Case>,
    /// What was narrowed or left out.
    pub notes: Vec<Note>,
    /// Whether lists and pipes are allowed.
    pub has_lists: bool,
}

impl Imported {
    /// The allowlist's entry of a configuration, with the notes in front.
    pub fn settings(&self) -> String {
        let mut text = String::from(
            "# Settings of the allowlist, imported. They allow no more than their source did; what it asked or denied is denied.\n\
             # What may follow the words of a rule is a copy of what the packs of this version allow there.\n",
        );
        for fate in [Fate::LeftOut, Fate::Narrowed] {
            let notes: Vec<_> = self.notes.iter().filter(|note| note.fate == fate).collect();
            if !notes.is_empty() {
                let head = if fate == Fate::LeftOut { "Left out:" } else { "Narrowed:" };
                _ = write!(text, "#\n# {head}\n{}", notes.iter().map(|note| format!("#   {}\n", line(note))).collect::<String>());
            }
        }
        text.push('\n');
        text.push_str(&toml(&self.entry()));
        text
    }

    fn entry(&self) -> Table {
        let mut settings = Table::from_iter([("programs".to_owned(), Value::Table(self.grammar.programs.clone()))]);
        let mut scripts = Table::new();
        if self.has_lists {
            scripts.insert("constructs".to_owned(), Value::from(LISTS.to_vec()));
        }
        if let Some(cd) = &self.grammar.cd {
            scripts.insert("builtins".to_owned(), Value::Table(Table::from_iter([("cd".to_owned(), Value::Table(cd.clone()))])));
        }
        settings.insert("scripts".to_owned(), Value::Table(scripts));
        let entry = [
            ("name", Value::from("allowlist")),
            ("component", Value::from("builtin:allowlist")),
            ("settings", Value::Table(settings)),
        ];
        let entry: Table = entry.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Table::from_iter([("policies".to_owned(), Value::Array(vec![Value::Table(entry)]))])
    }

    /// The test cases.
    pub fn cases(&self) -> String {
        let mut text = String::from("# Commands, and what imported settings of the allowlist say to them beside `harden`.\n");
        for case in &self.cases {
            let decision = if case.is_allowed { "allow" } else { "deny" };
            let entry = [
                ("name", format!("{}: {}", case.place, printable(&case.shown))),
                ("command", case.command.clone()),
                ("decision", decision.to_owned()),
            ];
            let entry: Table = entry.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
            if let (Effect::Allow | Effect::Ask, false) = (case.source, case.is_allowed) {
                let said = if case.source == Effect::Allow { "allowed" } else { "asked a person" };
                _ = write!(text, "\n# The source {said}.");
            }
            text.push('\n');
            text.push_str(&toml(&Table::from_iter([("case".to_owned(), Value::Array(vec![Value::Table(entry)]))])));
        }
        text
    }

    /// The notes and a count, a line each.
    pub fn summary(&self) -> Vec<String> {
        let word = |fate| if fate == Fate::LeftOut { "left out" } else { "narrowed" };
        let mut lines: Vec<_> = self.notes.iter().map(|note| format!("{}  {}", word(note.fate), line(note))).collect();
        let count = |fate| self.notes.iter().filter(|note| note.fate == fate).count();
        lines.push(format!(
            "{} programs in the settings; {} times narrowed, {} left out; look at each before you use them",
            self.grammar.programs.len(),
            count(Fate::Narrowed),
            count(Fate::LeftOut)
        ));
        lines
    }
}

fn line(note: &Note) -> String {
    printable(&format!("{} `{}`: {}", note.place, note.shown, note.why))
}

fn toml(table: &Table) -> String {
    toml::to_string(table).expect("tables of texts, numbers and lists are always TOML")
}
