//! From rules on first words to the allowlist's grammars of programs.
//!
//! What the grammars allow is what the source allows and no rule of it refuses. Where it allows any words to follow, they are those
//! that a pack knows for the same words; without a pack, paths inside the roots and no options but those of the source's own
//! examples.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{
    cases, packs,
    source::{Effect, MOST_WORDS, Scope, Source, Then, hides_elsewhere},
    words,
};

/// Programs that run what they are told: a rule that lets them be told anything allows everything.
const RUNNERS: &[&str] = &[
    "ash",
    "bash",
    "bun",
    "bunx",
    "chroot",
    "command",
    "csh",
    "dash",
    "deno",
    "doas",
    "env",
    "exec",
    "expect",
    "fish",
    "flock",
    "gdb",
    "ionice",
    "ksh",
    "lua",
    "nice",
    "node",
    "nodejs",
    "nohup",
    "npx",
    "nsenter",
    "osascript",
    "parallel",
    "perl",
    "php",
    "pkexec",
    "pnpx",
    "pwsh",
    "python2",
    "runuser",
    "ruby",
    "screen",
    "script",
    "setsid",
    "sh",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "tclsh",
    "time",
    "timeout",
    "tmux",
    "tsx",
    "unshare",
    "uvx",
    "watch",
    "xargs",
    "zsh",
];
/// What only the shell itself runs. `cd` can be imported.
const BUILTINS: &[&str] = &[
    ".", ":", "alias", "bg", "bind", "builtin", "caller", "compgen", "complete", "declare", "dirs", "disown", "enable", "eval",
    "exec", "exit", "export", "fc", "fg", "getopts", "hash", "history", "jobs", "let", "local", "mapfile", "popd", "pushd",
    "read", "readonly", "return", "set", "shift", "shopt", "source", "suspend", "times", "trap", "type", "typeset", "ulimit",
    "umask", "unalias", "unset", "wait",
];

/// What changes for a sub-command of git that no pack has.
const IN_HARDENED_FORM: &str = "it runs only in the form that `harden` gives it, without hooks, editors and network";

/// Settings of the allowlist in the making.
#[derive(Debug, Default)]
pub struct Grammar {
    /// Per program its rule.
    pub programs: Table,
    /// The rule of the builtin `cd`, if the source allows that.
    pub cd: Option<Table>,
}

/// What becomes of the scope of an allowing rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, as it was.
    Kept,
    /// It is there, and allows less, for this reason.
    Narrowed(String),
    /// It is not there, for this reason.
    LeftOut(String),
}

/// What is allowed behind the same words.
#[derive(Debug, Default, Clone)]
struct Node {
    children: BTreeMap<String, Self>,
    /// The command may end here.
    ends: bool,
    /// More words may follow, whatever they are.
    goes_on: bool,
    /// Words that the source says may follow.
    examples: Vec<Vec<String>>,
}

/// Whether words may name files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// They may, inside the roots.
    Named,
    /// The source hides some, and any path could be one.
    Hidden,
}

/// What is left of a refusing rule behind the same words.
#[derive(Clone, Copy)]
struct Refusal<'a> {
    words: &'a [String],
    then: &'a Then,
}

impl Grammar {
    /// What a source allows, and what became of each scope of its allowing rules, in their order.
    pub fn of(source: &Source) -> (Self, Vec<Outcome>) {
        let refusals: Vec<&Scope> =
            source.rules.iter().filter(|rule| rule.effect != Effect::Allow).flat_map(|rule| &rule.scopes).collect();
        let allowing = || source.rules.iter().filter(|rule| rule.effect == Effect::Allow);
        let mut programs: BTreeMap<String, Node> = BTreeMap::new();
        let mut objections = Vec::new();
        for (rule, scope) in allowing().flat_map(|rule| rule.scopes.iter().map(move |scope| (rule, scope))) {
            let objection = objection(scope, &refusals).or_else(|| hidden(scope, &source.hidden));
            if objection.is_none() {
                let program = programs.entry(key(&scope.words[0])).or_default();
                program.insert(&scope.words[1..], &scope.then, &rule.examples, scope.words.len());
            }
            objections.push(objection);
        }
        let mut grammar = Self::default();
        let files = if source.hidden.iter().all(|rule| hides_elsewhere(rule)) { Files::Named } else { Files::Hidden };
        for (name, node) in &programs {
            grammar.program(name, node, &refusals, files);
        }
        let scopes = allowing().flat_map(|rule| &rule.scopes);
        let outcomes = scopes.zip(objections).map(|(scope, objection)| match objection {
            Some(why) => Outcome::LeftOut(why),
            None => grammar.outcome(scope, files),
        });
        let outcomes = outcomes.collect();
        (grammar, outcomes)
    }

    fn program(&mut self, name: &str, node: &Node, refusals: &[&Scope], files: Files) {
        let refusals: Vec<_> = refusals.iter().filter_map(|scope| Refusal::of_program(scope, name)).collect();
        let mut known = if name == "cd" { Some(cd()) } else { packs::rule(name) };
        if files == Files::Hidden {
            known.iter_mut().for_each(without_paths);
        }
        match node.settle(known.as_ref(), &refusals, files) {
            Some(rule) if name == "cd" => self.cd = Some(rule),
            Some(rule) => _ = self.programs.insert(name.to_owned(), Value::Table(rule)),
            None => {}
        }
    }

    /// What became of a scope that nothing was said against.
    fn outcome(&self, scope: &Scope, files: Files) -> Outcome {
        let known = known(&scope.words);
        let is_there = self.rule(&scope.words).is_some()
            && (scope.then != Then::Nothing || cases::verdict(self, &scope.words) != Some(Effect::Deny));
        if !is_there {
            let is_condition = known.is_some_and(|rule| rule.contains_key("condition"));
            let whole = "is a condition, which can be allowed only as a whole: `Bash(test:*)`, and no rule that refuses any";
            return Outcome::LeftOut(
                if is_condition { whole } else { "other rules of the source refuse what it allows" }.to_owned(),
            );
        }
        match scope.then {
            Then::Nothing if is_only_hardened(&scope.words) => Outcome::Narrowed(IN_HARDENED_FORM.to_owned()),
            Then::Nothing => Outcome::Kept,
            _ => Outcome::Narrowed(narrowed(scope, known.is_some(), files)),
        }
    }

    /// The rule of a program.
    pub fn program_rule(&self, program: &str) -> Option<&Table> {
        let name = key(program);
        if name == "cd" { self.cd.as_ref() } else { self.programs.get(&name)?.as_table() }
    }

    /// The rule at the end of these words.
    fn rule(&self, words: &[String]) -> Option<&Table> {
        let rule = words[1..]
            .iter()
            .try_fold(self.program_rule(&words[0])?, |rule, word| rule.get("commands")?.get(word)?.as_table())?;
        (!rule.contains_key("forbid")).then_some(rule)
    }
}

/// Why and how far an open scope is narrowed.
fn narrowed(scope: &Scope, is_known: bool, files: Files) -> String {
    let names = packs::names(&key(&scope.words[0]));
    let paths = if files == Files::Named { "paths inside the roots" } else { "no paths" };
    let mut why = match is_known {
        true if names.is_empty() => "what follows is what the pack `shell` would allow there".to_owned(),
        true => format!("what follows is what {names} would allow there"),
        false if names.is_empty() => format!("what follows is {paths} and no options: no pack knows this program"),
        false => format!("what follows is {paths} and no options: {names} would not allow it"),
    };
    if is_only_hardened(&scope.words) {
        why = format!("{why}; {IN_HARDENED_FORM}");
    }
    if files == Files::Hidden {
        why.push_str("; without paths, since the source hides files from its other tools, and any path could name one");
    }
    why
}

/// Whether a program passes only in the form that `harden` gives it, and no pack says that the sub-command works so.
fn is_only_hardened(words: &[String]) -> bool {
    let is_known = known(&words[..words.len().min(2)]).is_some();
    !is_known && packs::rule(&key(&words[0])).is_some_and(|rule| rule.contains_key("prefix"))
}

/// The key of a program in settings: a relative path is one from where it is called.
pub fn key(program: &str) -> String {
    let is_relative = program.contains('/') && !program.starts_with('/') && !program.starts_with("./");
    if is_relative { format!("./{program}") } else { program.to_owned() }
}

fn file_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Why a scope can not be imported whatever the packs say.
fn objection(scope: &Scope, refusals: &[&Scope]) -> Option<String> {
    let program = &scope.words[0];
    let name = file_name(program);
    if scope.words.len() > MOST_WORDS {
        return Some(format!("has more than {MOST_WORDS} words"));
    }
    if scope.words.iter().any(|word| word.is_empty() || word.chars().any(char::is_control)) {
        return Some("has a word that is empty or holds control characters".to_owned());
    }
    if name.is_empty() || program.contains("/../") || program.starts_with("../") || program.contains("//") {
        return Some("names a program by a path that can not be a key of the settings".to_owned());
    }
    if BUILTINS.contains(&program.as_str()) {
        return Some("is a builtin of the shell; those that scripts may use stand in the pack `shell`".to_owned());
    }
    if RUNNERS.contains(&name) && scope.then != Then::Nothing {
        return Some(format!("`{name}` runs what it is told, so any words behind it allow everything"));
    }
    refused(scope, refusals)
}

/// Why a scope must be left out for rules that no grammar can keep.
fn refused(scope: &Scope, refusals: &[&Scope]) -> Option<String> {
    let name = file_name(&scope.words[0]);
    let is_named = |refusal: &Scope| {
        let program = refusal.words.first().map_or("", |program| file_name(program));
        scope.words[1..].iter().any(|word| word.contains(program))
    };
    if RUNNERS.contains(&name) && refusals.iter().any(|refusal| is_named(refusal)) {
        return Some(format!("`{name}` runs what it is told, and that may be what another rule refuses"));
    }
    let is_open = scope.then != Then::Nothing;
    let text = scope.words.join(" ");
    let may_match = |refusal: &Scope| match &refusal.then {
        Then::Text(pattern) => is_open || words::is_glob_match(pattern, &text),
        _ => false,
    };
    let what = if is_open { "could refuse some of what it allows, and no grammar can leave that out" } else { "refuses it" };
    refusals.iter().any(|refusal| may_match(refusal)).then(|| format!("a rule that is no list of words {what}"))
}

/// Why a scope must be left out for the files that its words may name.
fn hidden(scope: &Scope, rules: &[String]) -> Option<String> {
    let names = |rule: &str| {
        let inner = rule.split_once('(').map_or("", |(_, inner)| inner.trim_end_matches(')'));
        // What every path that such a rule is about holds.
        let fixed = inner.split(['/', '*', '?', '[', ']', '{', '}', ',']).filter(|part| !matches!(*part, "" | "." | ".." | "~"));
        let longest = fixed.max_by_key(|part| part.len()).unwrap_or_default().to_owned();
        scope.words[1..].iter().any(|word| word.contains(&longest))
    };
    rules.iter().find(|rule| names(rule)).map(|rule| format!("may name a file that `{rule}` is about"))
}

/// What packs know behind these words.
fn known(words: &[String]) -> Option<Table> {
    let program = if words[0] == "cd" { Some(cd()) } else { packs::rule(&key(&words[0])) }?;
    words[1..].iter().try_fold(program, |rule, word| step(&rule, word))
}

/// As in the pack `shell`.
fn cd() -> Table {
    let operands = table([("kind", Value::from("path")), ("min", Value::from(1)), ("max", Value::from(1))]);
    Table::from_iter([("operands".to_owned(), operands)])
}

/// The rest of a rule behind one more word, if that is known: a sub-command, a flag, an operand.
fn step(rule: &Table, word: &str) -> Option<Table> {
    if let Some(command) = rule.get("commands").and_then(|commands| commands.get(word)) {
        return command.as_table().cloned();
    }
    let mut rest = rule.clone();
    for key in ["commands", "prefix", "prefix-env", "requires"] {
        rest.remove(key);
    }
    if word.starts_with('-') {
        return packs::option_names(rule, "flags").any(|flag| flag == word).then_some(rest);
    }
    let mut operands = rule.get("operands")?.as_table()?.clone();
    if ["rest", "first-unless"].iter().any(|key| operands.contains_key(*key)) {
        return None;
    }
    operands.remove("first");
    let less = |operands: &mut Table, key: &str| {
        let number = operands.get(key).and_then(Value::as_integer)?;
        operands.insert(key.to_owned(), Value::from((number - 1).max(0)));
        Some(number - 1)
    };
    less(&mut operands, "min");
    let is_full = less(&mut operands, "max").is_some_and(|most| most <= 0);
    rest.remove("operands");
    if !is_full {
        rest.insert("operands".to_owned(), Value::Table(operands));
    }
    Some(rest)
}

impl<'a> Refusal<'a> {
    /// What a refusing scope says of a program, however that is called.
    fn of_program(scope: &'a Scope, program: &str) -> Option<Self> {
        match (scope.words.split_first(), &scope.then) {
            (Some((name, words)), then) => (file_name(name) == file_name(program)).then_some(Self { words, then }),
            (None, Then::Beginning(text)) => {
                file_name(program).starts_with(file_name(text)).then_some(Self { words: &[], then: &Then::Anything })
            }
            (None, _) => None,
        }
    }

    fn behind(self, word: &str) -> Option<Self> {
        let (first, words) = self.words.split_first()?;
        (first == word).then_some(Self { words, ..self })
    }

    /// Whether it refuses, without more fixed words, what follows so.
    fn is(self, then: &Then) -> bool {
        self.words.is_empty() && self.then == then
    }

    fn beginning(self) -> Option<&'a str> {
        match self.then {
            Then::Beginning(text) if self.words.is_empty() => Some(text),
            _ => None,
        }
    }
}

impl Node {
    fn insert(&mut self, words: &[String], then: &Then, examples: &[Vec<String>], fixed: usize) {
        if let Some((word, rest)) = words.split_first() {
            return self.children.entry(word.clone()).or_default().insert(rest, then, examples, fixed);
        }
        self.ends |= *then != Then::Something;
        self.goes_on |= *then != Then::Nothing;
        self.examples.extend(examples.iter().filter_map(|words| words.get(fixed..)).map(<[_]>::to_vec));
    }

    /// The rule for what follows these words, if anything or nothing may; `known` is what packs say of it.
    fn settle(&self, known: Option<&Table>, refusals: &[Refusal], files: Files) -> Option<Table> {
        let is_refused = |then: &Then| refusals.iter().any(|refusal| refusal.is(then));
        if is_refused(&Then::Anything) {
            return None;
        }
        let ends = self.ends && !is_refused(&Then::Nothing);
        let goes_on = self.goes_on && !is_refused(&Then::Something);
        let mut rule = if goes_on { self.open(known, files) } else { skeleton(known) };
        if rule.contains_key("condition") && (!ends || !refusals.is_empty()) {
            // Nothing else in the rule of a condition counts.
            return None;
        }
        let of_pack = match rule.remove("commands") {
            Some(Value::Table(commands)) => commands,
            _ => Table::new(),
        };
        let commands =
            if is_refused(&Then::Something) { Table::new() } else { self.commands(goes_on, &of_pack, known, refusals, files) };
        if goes_on {
            refuse_options(&mut rule, refusals);
        }
        let has_commands = commands.values().any(|command| command.get("forbid").is_none());
        if !commands.is_empty() {
            rule.insert("commands".to_owned(), Value::Table(commands));
        }
        match (ends, goes_on) {
            (false, true) => needs_more(&mut rule).or(has_commands.then_some(()))?,
            (false, false) if !has_commands => return None,
            (true, false) if has_commands => {
                // Without operands a rule with sub-commands would need one of them.
                rule.insert("operands".to_owned(), table([("max", Value::from(0))]));
            }
            _ => {}
        }
        Some(rule)
    }

    /// The rules for words that may come next, and for those that are refused there.
    fn commands(&self, goes_on: bool, of_pack: &Table, known: Option<&Table>, refusals: &[Refusal], files: Files) -> Table {
        let mut names: BTreeSet<&str> = self.children.keys().map(String::as_str).collect();
        if goes_on {
            names.extend(of_pack.keys().map(String::as_str));
            names.extend(refusals.iter().filter_map(|refusal| refusal.words.first()).map(String::as_str));
        }
        let mut commands = Table::new();
        for name in names {
            let rest = known.and_then(|known| step(known, name));
            let mut child = self.children.get(name).cloned().unwrap_or_default();
            if goes_on && (of_pack.contains_key(name) || self.children.contains_key(name) && rest.is_some()) {
                (child.ends, child.goes_on) = (true, true);
            }
            let is_begun = refusals.iter().filter_map(|refusal| refusal.beginning()).any(|text| name.starts_with(text));
            let inner: Vec<_> = refusals.iter().filter_map(|refusal| refusal.behind(name)).collect();
            match child.settle(rest.as_ref(), &inner, files).filter(|_| !is_begun) {
                Some(rule) => _ = commands.insert(name.to_owned(), Value::Table(rule)),
                // What is no sub-command could be an operand or a flag.
                None if goes_on => _ = commands.insert(name.to_owned(), table([("forbid", Value::from(true))])),
                None => {}
            }
        }
        commands
    }

    /// The rule where the source allows any words.
    fn open(&self, known: Option<&Table>, files: Files) -> Table {
        if let Some(known) = known {
            return known.clone();
        }
        let mut rule = Table::new();
        if files == Files::Named {
            rule.insert("operands".to_owned(), table([("kind", Value::from("path"))]));
        }
        let (mut flags, mut equals) = (BTreeSet::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
        for word in self.examples.iter().flatten().filter(|word| word.len() > 1 && word.starts_with('-') && *word != "--") {
            match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") && name.len() > 2 => {
                    _ = equals.entry(name).or_default().insert(value)
                }
                Some(_) => {}
                None => _ = flags.insert(word.as_str()),
            }
        }
        // A flag of an example counts as it is written there, not letter by letter.
        rule.insert("combine".to_owned(), Value::from(false));
        if !flags.is_empty() {
            rule.insert("flags".to_owned(), Value::from(flags.into_iter().collect::<Vec<_>>()));
        }
        if !equals.is_empty() {
            let one_of = |values: BTreeSet<&str>| table([("one-of", Value::from(values.into_iter().collect::<Vec<_>>()))]);
            rule.insert("equals".to_owned(), table(equals.into_iter().map(|(name, values)| (name, one_of(values)))));
        }
        rule
    }
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// What a rule wants in front and takes as input, without any words.
fn skeleton(known: Option<&Table>) -> Table {
    let keys = ["prefix", "prefix-env", "input", "env"];
    let kept = |(key, _): &(&String, &Value)| keys.contains(&key.as_str());
    known.into_iter().flatten().filter(kept).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Takes options away that are refused as the next word, wherever they stand.
fn refuse_options(rule: &mut Table, refusals: &[Refusal]) {
    for refusal in refusals {
        match (refusal.words, refusal.beginning()) {
            ([word, ..], _) if word == "--" => drop_keys(rule, &["passed-on", "terminator"]),
            ([word], _) if word.starts_with('-') => retain(rule, |name| name != word),
            (_, Some(text)) => refuse_beginning(rule, text),
            _ => {}
        }
    }
}

/// Takes away whatever may begin so.
fn refuse_beginning(rule: &mut Table, text: &str) {
    if !text.starts_with('-') {
        return drop_keys(rule, &["operands", "passed-on", "terminator"]);
    }
    // Of letters written together the first alone tells: `-rf` begins like `-r`.
    let letter = text.chars().nth(1).filter(|c| *c != '-').map(|c| format!("-{c}"));
    retain(rule, |name| !name.starts_with(text) && letter.as_deref() != Some(name));
    drop_keys(rule, &["dashed", "number", "passed-on", "terminator"]);
}

fn retain(rule: &mut Table, stays: impl Fn(&str) -> bool) {
    for key in ["flags", "options", "equals", "requires"] {
        packs::retain_options(rule, key, &stays);
    }
}

fn drop_keys(rule: &mut Table, keys: &[&str]) {
    rule.retain(|key, _| !keys.contains(&key));
}

/// Makes a rule want at least one word; none if it could not be given any.
fn needs_more(rule: &mut Table) -> Option<()> {
    if let Some(Value::Table(operands)) = rule.get_mut("operands") {
        let fewest = operands.get("min").and_then(Value::as_integer).unwrap_or_default().max(1);
        operands.insert("min".to_owned(), Value::from(fewest));
        return Some(());
    }
    if packs::option_names(rule, "requires").next().is_some() {
        return Some(());
    }
    let all = ["flags", "options", "equals"].iter().flat_map(|key| packs::option_names(rule, key));
    let all: BTreeSet<String> = all.map(str::to_owned).collect();
    if all.is_empty() {
        return None;
    }
    rule.insert("requires".to_owned(), Value::from(all.into_iter().collect::<Vec<_>>()));
    Some(())
}

/// Takes away all that may name a file.
fn without_paths(rule: &mut Table) {
    let is_path = |value: &Value| matches!(value.as_str(), Some("path" | "file" | "source"));
    let names_files = |operands: &Value| ["first", "kind", "rest"].iter().any(|key| operands.get(*key).is_some_and(is_path));
    if rule.get("operands").is_some_and(names_files) {
        rule.remove("operands");
    }
    for key in ["options", "equals"] {
        if let Some(Value::Table(options)) = rule.get_mut(key) {
            options.retain(|_, value| !is_path(value));
        }
    }
    for (_, command) in rule.get_mut("commands").and_then(Value::as_table_mut).into_iter().flatten() {
        if let Value::Table(command) = command {
            without_paths(command);
        }
    }
}
