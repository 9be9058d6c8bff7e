//! What the tests share: rules from TOML, commands from lines, and the form that `harden` gives to git.

mod corpora;
mod grammar;
mod packs;
mod scripts;
mod settings;

use portcullis_sdk::harness::{Item, World, configure};
use portcullis_sdk::{CommandPolicy, Request, Verdict};

use crate::Allowlist;

fn rules(toml: &str) -> Allowlist {
    let settings: serde_json::Value = toml::from_str(toml).expect("the rules are TOML");
    configure(&settings.to_string()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn defaults() -> Allowlist {
    rules(include_str!("../../default.toml"))
}

fn world() -> World {
    World::new().link("/work/lnk", "/outside/secret")
}

/// The words of a line without shell constructs; none for one that has them.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next().filter(|c| *c != '␊')?),
            (None, ' ') => words.extend(word.take()),
            (None, '␊' | '␉' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '#' | '*' | '?') => return None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let expands = words.first()?.starts_with('{') || words.iter().any(|word| word.starts_with('~'));
    (quote.is_none() && !expands).then_some(words)
}

/// What `harden` makes of git: the rule's own prefixes and variables, put where they belong.
fn harden(rules: &Allowlist, words: Vec<String>) -> Vec<String> {
    let is_front = |words: &[String]| words.iter().all(|word| word.contains('='));
    let Some(at) = words.iter().position(|word| word == "git").filter(|at| is_front(&words[..*at])) else {
        return with_toolchain(without_messages(words));
    };
    let Some(git) = rules.0.programs.get("git") else { return words };
    let mut rest = words[at + 1..].iter().skip_while(|word| *word == "--no-pager").cloned();
    let kept = words[..at].iter().filter(|word| !git.prefix_env.contains_key(word.split('=').next().unwrap()));
    let mut hardened: Vec<_> = kept.cloned().collect();
    hardened.extend(git.prefix_env.iter().map(|(name, value)| format!("{name}={value}")));
    hardened.push("git".to_owned());
    hardened.extend(git.prefix.iter().flatten().cloned());
    if let Some(command) = rest.next() {
        let switches = git.commands.get(&command).and_then(|command| command.prefix.clone());
        hardened.push(command);
        hardened.extend(switches.into_iter().flatten());
    }
    hardened.extend(rest);
    hardened
}

/// What `harden` makes of a search.
fn without_messages(mut words: Vec<String>) -> Vec<String> {
    if words.first().is_some_and(|word| word == "rg") {
        words.insert(1, "--no-ignore-messages".to_owned());
    }
    words
}

/// What `harden` makes of a question for a version.
fn with_toolchain(words: Vec<String>) -> Vec<String> {
    let asks = words.len() == 2
        && ["cargo", "rustc"].contains(&words[0].as_str())
        && ["--version", "-V", "-vV"].contains(&words[1].as_str());
    let front: &[&str] = if asks { &["RUSTUP_AUTO_INSTALL=0", "RUSTUP_TOOLCHAIN=stable"] } else { &[] };
    front.iter().map(|word| (*word).to_owned()).chain(words).collect()
}

fn verdict(rules: &Allowlist, words: &[String]) -> Verdict {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    rules.evaluate(&world().request(&words))
}

fn judged(rules: &Allowlist, request: &Request) -> Verdict {
    rules.evaluate(request)
}

/// `allow`, `abstain` or the code of a denial.
fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(reason) => reason.code,
        Verdict::Abstain => "abstain".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn code(rules: &Allowlist, line: &str) -> String {
    said(verdict(rules, &split(line).unwrap_or_else(|| panic!("{line} is no simple command"))))
}

/// The same for the form that `harden` gives to the line.
fn hardened_code(rules: &Allowlist, line: &str) -> String {
    let words = split(line).unwrap_or_else(|| panic!("{line} is no simple command"));
    said(verdict(rules, &harden(rules, words)))
}

fn script(item: Item) -> Request {
    world().script(item)
}
