//! Reading the words of one command by its rule, the way the program reads them. Whatever the rule does not name is denied.

use std::{cell::RefCell, collections::BTreeSet};

use portcullis_sdk::{Argument, Expansion, Node, Reason, Word, literal, log};

use crate::{
    condition::{self, Form},
    rule::{Objection, Rule, shown, toml_text},
    settings::{Construct, Operands, Program},
    value::{Part, Value, is_digits, is_printable},
    variable::Variables,
};

/// What the words are read by besides their rule.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Which variables scripts may set.
    pub variables: &'a Variables<'a>,
    /// Constructs that may occur.
    pub constructs: &'a BTreeSet<Construct>,
    /// Which rules were named to the host: once is enough.
    pub named: &'a RefCell<BTreeSet<*const Program>>,
}

/// Reads one command.
struct Reader<'a> {
    scope: Scope<'a>,
    node: &'a Node,
    /// The rules that led here: of the program, its sub-command, that one's sub-command.
    rules: Vec<Rule<'a>>,
    rest: std::slice::Iter<'a, Argument>,
    operands: usize,
    /// An option was read that takes the place of the first operand.
    first_is_given: bool,
    /// An option was read of which the rule wants one.
    has_required: bool,
}

/// Reads the words of a command; returns the rules that led through it, the program's first.
///
/// # Errors
///
/// Why it is denied: the nearest rule, the word that is off, and what would allow it.
pub fn read<'a>(scope: Scope<'a>, rule: Rule<'a>, node: &'a Node) -> Result<Vec<Rule<'a>>, Objection> {
    let mut reader = Reader {
        scope,
        node,
        rules: Vec::new(),
        rest: node.args.iter(),
        operands: 0,
        first_is_given: false,
        has_required: false,
    };
    reader.enter(rule)?;
    reader.words()?;
    reader.assignments()?;
    Ok(reader.rules)
}

impl<'a> Reader<'a> {
    fn rule(&self) -> &Rule<'a> {
        self.rules.last().expect("the program's rule comes first")
    }

    fn program(&self) -> &'a Program {
        self.rule().program
    }

    /// Goes on by another rule, if what it wants in front is there.
    fn enter(&mut self, rule: Rule<'a>) -> Result<(), Objection> {
        if self.scope.named.borrow_mut().insert(rule.program) {
            log::rule(&rule.key(&[]));
        }
        if rule.program.forbid == Some(true) {
            let message = format!("the rule `{}` forbids it", rule.key(&[]));
            return Err(Reason::new("forbidden", message).into());
        }
        let is_set = |name: &str, value: &str| {
            self.node.assignments.iter().any(|(known, word)| known == name && literal(word) == Some(value))
        };
        let mut prefix = rule.program.prefix.iter().flatten();
        let is_prefixed = prefix.all(|expected| self.rest.next().and_then(Argument::text) == Some(expected))
            && rule.program.prefix_env.iter().all(|(name, value)| is_set(name, value));
        self.rules.push(rule);
        if is_prefixed { Ok(()) } else { Err(Objection::NotYet) }
    }

    fn words(&mut self) -> Result<(), Objection> {
        if self.program().condition == Some(true) {
            return Ok(
                condition::judge(self.node, Form::Program).map_err(|(code, off)| self.rule().denied(code, &off, "nothing"))?
            );
        }
        while let Some(arg) = self.rest.next() {
            match &arg.word {
                Word::Dynamic(expansion) => self.dynamic(arg, expansion)?,
                Word::Literal(word) if word == "--" && self.ends_options() => return Ok(self.behind_terminator()?),
                Word::Literal(word) => self.literal(arg, word)?,
            }
        }
        Ok(self.finish()?)
    }

    fn ends_options(&self) -> bool {
        self.program().passed_on.is_some() || self.program().terminator == Some(true) && self.program().commands.is_empty()
    }

    fn literal(&mut self, arg: &'a Argument, word: &'a str) -> Result<(), Objection> {
        if let Some(rest) = self.rest_kind() {
            return Ok(self.free_word(rest, arg)?);
        }
        if let Some(command) = self.rule().command(word).filter(|_| self.operands == 0) {
            return self.enter(command);
        }
        if self.program().flags.contains(word) {
            return Ok(self.note(word)?);
        }
        let is_dashed = word.len() > 1 && word.starts_with('-');
        if is_dashed && !self.program().dashed.as_ref().is_some_and(|kind| kind.fits(Part::of(arg, 0))) {
            return Ok(self.option(arg, word)?);
        }
        let has_names = self.program().commands.keys().any(|name| !name.starts_with('-'));
        if self.operands == 0 && has_names && !self.program().takes_operands() {
            let add = format!("`[{}]`", self.rule().key(&["commands", word]));
            if let Some(reason) = self.rule().instead("sub-command-not-allowed", word) {
                return Err(reason.into());
            }
            return Err(self.rule().denied("sub-command-not-allowed", &format!("sub-command `{}`", shown(word)), &add).into());
        }
        Ok(self.operand(arg)?)
    }

    /// The kind of all further words, where an operand has ended the options.
    fn rest_kind(&self) -> Option<&'a Value> {
        let operands = self.program().operands.as_ref()?;
        operands.rest.as_ref().filter(|_| self.operands > 0)
    }

    fn behind_terminator(&mut self) -> Result<(), Reason> {
        if let Some(kind) = &self.program().passed_on {
            return self.rest.clone().try_for_each(|arg| self.free_word(kind, arg));
        }
        while let Some(arg) = self.rest.next() {
            match &arg.word {
                Word::Dynamic(expansion) => self.dynamic_operand(arg, expansion, Standing::BehindTerminator)?,
                Word::Literal(word) => {
                    no_dash(word, "behind `--`")?;
                    self.operand(arg)?;
                }
            }
        }
        self.finish()
    }

    /// A word where no options are read any more.
    fn free_word(&self, kind: &Value, arg: &'a Argument) -> Result<(), Reason> {
        let part = Part::of(arg, 0);
        if let Part::Literal { text, .. } = part
            && kind.is_path()
        {
            no_dash(text, "there")?;
        }
        let fits = match part {
            Part::Dynamic(expansion) if !expansion.one_word => matches!(kind, Value::Words) && self.allows_globs(),
            _ => self.fits(kind, part),
        };
        if fits { Ok(()) } else { Err(self.misfit(&format!("`{}`", shown(part.shown())), kind, &self.operands_key())) }
    }

    fn finish(&self) -> Result<(), Reason> {
        let program = self.program();
        if !program.commands.is_empty() && program.flags.is_empty() && !program.takes_operands() {
            let names = program.commands.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("the rule `{}` needs one of its sub-commands: {}", self.rule().key(&[]), shown(&names));
            return Err(Reason::new("sub-command-missing", message));
        }
        if !program.requires.is_empty() && !self.has_required {
            if let Some(said) = program.instead.get("") {
                return Err(Reason::new(
                    "option-missing",
                    format!("the rule `{}` does not allow this: {said}", self.rule().key(&[])),
                ));
            }
            let names = program.requires.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Reason::new("option-missing", format!("the rule `{}` needs one of {names}", self.rule().key(&[]))));
        }
        let fewest = program.operands.as_ref().map_or(0, |operands| operands.min);
        let fewest = if self.first_is_given { fewest.saturating_sub(1) } else { fewest };
        if self.operands >= fewest {
            return Ok(());
        }
        let message =
            format!("the rule `{}` needs at least {fewest} operands, and there are {}", self.rule().key(&[]), self.operands);
        Err(Reason::new("operand-missing", message))
    }

    /// Every variable that is set in front must be named by one of the rules that led here.
    fn assignments(&self) -> Result<(), Reason> {
        for (name, word) in &self.node.assignments {
            let fits = |program: &Program| {
                program.prefix_env.get(name).is_some_and(|value| literal(word) == Some(value))
                    || program.env.get(name).is_some_and(|kind| self.fits(kind, Part::value(word)))
            };
            if !self.rules.iter().any(|rule| fits(rule.program)) {
                // Without the value, which may be a secret: what is said goes to logs too.
                let off = format!("`{}=…` in front of it", shown(name));
                let add = format!("`{} = \"any\"`, or a narrower kind", self.rules[0].key(&["env", name]));
                return Err(self.rules[0].denied("assignment-not-allowed", &off, &add));
            }
        }
        Ok(())
    }

    fn operand_kind(&self) -> Option<(&'a Operands, &'a Value)> {
        let operands = self.program().operands.as_ref()?;
        let first = operands.first.as_ref().filter(|_| self.operands == 0 && !self.first_is_given);
        Some((operands, first.unwrap_or(&operands.kind)))
    }

    fn operand(&mut self, arg: &'a Argument) -> Result<(), Reason> {
        let part = Part::of(arg, 0);
        let off = || format!("operand `{}`", shown(part.shown()));
        let kind = self.next_operand(off)?;
        if self.fits(kind, part) { Ok(()) } else { Err(self.misfit(&off(), kind, &self.operands_key())) }
    }

    fn operands_key(&self) -> String {
        self.rule().key(&["operands"])
    }

    /// What the next operand must be, if there may be one; counts it.
    fn next_operand(&mut self, off: impl Fn() -> String) -> Result<&'a Value, Reason> {
        let room = self
            .operand_kind()
            .filter(|(operands, kind)| !matches!(kind, Value::Nothing) && operands.max.is_none_or(|max| self.operands < max));
        let Some((_, kind)) = room else {
            let add = format!("room for it to `{}`", self.operands_key());
            return Err(self.rule().denied("operand-not-allowed", &off(), &add));
        };
        self.operands += 1;
        Ok(kind)
    }

    /// A word that only the shell can tell, where options are read.
    fn dynamic(&mut self, arg: &'a Argument, expansion: &'a Expansion) -> Result<(), Reason> {
        if let Some(rest) = self.rest_kind() {
            return self.free_word(rest, arg);
        }
        let is_option = |name: &str| name.starts_with("--") || name.starts_with('-') && self.has_single_dashes();
        let joined = expansion.prefix.split_once('=').filter(|(name, _)| is_option(name));
        let program = self.program();
        if let Some((name, _)) = joined
            && let Some(kind) = program.options.get(name).or_else(|| program.equals.get(name))
        {
            self.note(name)?;
            return self.value(name, kind, Part::Dynamic(expansion));
        }
        if expansion.prefix.starts_with('-') {
            let off = format!("`{}`, an option that only the shell can tell,", shown(&expansion.source));
            return Err(self.rule().denied(
                "dynamic-option",
                &off,
                "nothing: write the option out, with its value behind it or after `=`",
            ));
        }
        self.dynamic_operand(arg, expansion, Standing::AmongOptions)
    }

    fn dynamic_operand(&mut self, arg: &'a Argument, expansion: &'a Expansion, standing: Standing) -> Result<(), Reason> {
        let source = shown(&expansion.source);
        let off = || format!("`{source}`, which only the shell can tell,");
        let is_harmless = || matches!(self.operand_kind(), Some((_, Value::Words)));
        if self.operands == 0 && self.program().commands.keys().any(|name| !name.starts_with('-') || !is_harmless()) {
            return Err(self.rule().denied("dynamic-word", &off(), "nothing: write the sub-command out"));
        }
        let kind = self.next_operand(off)?;
        let is_bounded = self.program().operands.as_ref().is_some_and(|operands| operands.max.is_some());
        let may_be_option = standing == Standing::AmongOptions && expansion.prefix.is_empty() && !is_absolute(expansion);
        match kind {
            Value::Words if expansion.one_word || self.allows_globs() && !is_bounded => Ok(()),
            Value::Text | Value::Words if !expansion.one_word => {
                let message = format!("`{source}` may become many words, and file names; put it in double quotes");
                Err(Reason::new("dynamic-words", message))
            }
            Value::Text if may_be_option => {
                let message = format!(
                    "`{source}` may look like an option; write `--` in front of it if the program knows that, or something that is no \
                     dash at its beginning. The rule `{}` takes it only so",
                    self.rule().key(&[])
                );
                Err(Reason::new("dynamic-word", message))
            }
            Value::Text => Ok(()),
            Value::Assignment if self.fits(kind, Part::of(arg, 0)) => Ok(()),
            Value::Path | Value::File | Value::Source => {
                let (off, key) = (off(), self.operands_key());
                let message = format!("{off} is no path that can be judged; write paths out, as the rule `{key}` wants them");
                Err(Reason::new("dynamic-path", message))
            }
            _ => Err(self.misfit(&off(), kind, &self.operands_key())),
        }
    }

    /// An unquoted expansion may become names of files, so it needs what patterns need.
    fn allows_globs(&self) -> bool {
        self.scope.constructs.contains(&Construct::Glob)
    }

    /// Takes note of an option that was read.
    fn note(&mut self, name: &str) -> Result<(), Reason> {
        self.has_required |= self.program().requires.contains(name);
        let takes_place = self.program().operands.as_ref().is_some_and(|operands| operands.first_unless.contains(name));
        if takes_place && self.operands > 0 {
            let message = format!("`{name}` must stand in front of the operands: it changes what the first one means");
            return Err(Reason::new("option-too-late", message));
        }
        self.first_is_given |= takes_place;
        Ok(())
    }

    fn option(&mut self, arg: &'a Argument, word: &'a str) -> Result<(), Reason> {
        let program = self.program();
        let joined = word.split_once('=').filter(|_| word.starts_with("--") || self.has_single_dashes());
        let name = joined.map_or(word, |(name, _)| name);
        let with_value = program.options.get(name);
        match (joined, with_value.or_else(|| program.equals.get(name).filter(|_| joined.is_some()))) {
            (Some(_), Some(kind)) => {
                self.note(name)?;
                self.value(name, kind, Part::of(arg, name.len() + 1))
            }
            (None, Some(kind)) => self.separate(name, kind),
            (_, None) if program.number == Some(true) && is_digits(&word[1..]) => Ok(()),
            (_, None) if !word.starts_with("--") && !self.has_single_dashes() => self.letters(arg, word),
            (_, None) => Err(self.unknown(word)),
        }
    }

    fn has_single_dashes(&self) -> bool {
        self.program().single_dash == Some(true)
    }

    /// `-la`, `-n5`, `-ln5`, `-ln 5`.
    fn letters(&mut self, arg: &'a Argument, word: &'a str) -> Result<(), Reason> {
        for (at, letter) in word.char_indices().skip(1) {
            let flag = format!("-{letter}");
            let behind = at + letter.len_utf8();
            let is_first = at == 1;
            if self.program().combine == Some(false) && !is_first {
                return Err(self.unknown(word));
            }
            if let Some(kind) = self.program().options.get(&flag) {
                if behind == word.len() {
                    return self.separate(&flag, kind);
                }
                self.note(&flag)?;
                // Some programs drop that sign, and others take it for a part of the path.
                if word[behind..].starts_with('=') && kind.is_path() {
                    let message = format!("`{}` is read in two ways; write `{flag}` and its path as two words", shown(word));
                    return Err(Reason::new("value-not-allowed", message));
                }
                return self.value(&flag, kind, Part::of(arg, behind));
            }
            if !self.program().flags.contains(&flag) {
                let said = self.rule().instead("flag-not-allowed", &flag);
                return Err(said.unwrap_or_else(|| self.unknown(if is_first { word } else { &flag })));
            }
            self.note(&flag)?;
        }
        Ok(())
    }

    fn separate(&mut self, name: &str, kind: &Value) -> Result<(), Reason> {
        self.note(name)?;
        let Some(arg) = self.rest.next() else {
            return Err(Reason::new("value-missing", format!("`{}` needs a value behind it", shown(name))));
        };
        let part = Part::of(arg, 0);
        // Where program and rule disagree on whether this option takes a value, the next option must not pass unread.
        let may_look_like_an_option = matches!(kind, Value::Integer | Value::OneOf(_) | Value::Pattern(_));
        if matches!(part, Part::Literal { text, .. } if text.starts_with('-')) && !may_look_like_an_option {
            let off = format!("`{}` as the value of `{name}`", shown(part.shown()));
            return Err(self.rule().denied(
                "value-not-allowed",
                &off,
                &format!("a pattern to `{}`", self.rule().key(&["options", name])),
            ));
        }
        self.value(name, kind, part)
    }

    fn value(&self, name: &str, kind: &Value, part: Part) -> Result<(), Reason> {
        if self.fits(kind, part) {
            return Ok(());
        }
        let table = if self.program().options.contains_key(name) { "options" } else { "equals" };
        let off = format!("`{}` as the value of `{}`", shown(part.shown()), shown(name));
        Err(self.misfit(&off, kind, &self.rule().key(&[table, name])))
    }

    fn fits(&self, kind: &Value, part: Part) -> bool {
        match (kind, part) {
            (Value::Variable, Part::Literal { text, .. }) => self.scope.variables.may_set(text),
            (Value::Assignment, Part::Literal { text, .. }) => text
                .split_once('=')
                .is_some_and(|(name, text)| self.env_kind(name).is_some_and(|kind| kind.fits(Part::text(text)))),
            (Value::Assignment, Part::Dynamic(expansion)) => {
                expansion.prefix.split_once('=').is_some_and(|(name, _)| self.env_kind(name).is_some_and(|kind| kind.fits(part)))
            }
            _ => kind.fits(part),
        }
    }

    fn env_kind(&self, name: &str) -> Option<&'a Value> {
        self.program().env.get(name)
    }

    fn misfit(&self, off: &str, kind: &Value, key: &str) -> Reason {
        let code = match kind {
            _ if !is_printable(off) && !kind.takes_dynamic() => "control-character",
            Value::Path | Value::File | Value::Source => "path-not-allowed",
            Value::Assignment | Value::Variable => "assignment-not-allowed",
            _ => "value-not-allowed",
        };
        Reason::new(code, format!("{off} is not what `{key}` takes: {}", kind.wanted()))
    }

    fn unknown(&self, word: &str) -> Reason {
        if let Some(reason) = self.rule().instead("flag-not-allowed", word) {
            return reason;
        }
        let name = word.split_once('=').filter(|_| word.starts_with("--")).map_or(word, |(name, _)| name);
        let add = match name == word {
            true => format!("`{} = [{}]`, or to `options` if it takes a value", self.rule().key(&["flags"]), toml_text(word)),
            false => format!("`{} = {{ one-of = […] }}`", self.rule().key(&["equals", name])),
        };
        self.rule().denied("flag-not-allowed", &format!("`{}`", shown(word)), &add)
    }
}

/// Refuses what looks like an option where options have ended: some programs read them there all the same, and none needs such a
/// word, since `./-x` names the file.
fn no_dash(word: &str, standing: &str) -> Result<(), Reason> {
    if word.len() < 2 || !word.starts_with('-') {
        return Ok(());
    }
    let word = shown(word);
    let message = format!("`{word}` {standing} could be read as an option; write `./{word}` if it is a file");
    Err(Reason::new("operand-not-allowed", message))
}

/// Whether a word that only the shell can tell begins with the directory it stands in, which no script sets and which begins with
/// `/`.
fn is_absolute(expansion: &Expansion) -> bool {
    let behind = expansion.source.strip_prefix("\"$PWD").is_some_and(|rest| rest.starts_with(['"', '/']));
    behind || expansion.source.starts_with("\"${PWD}")
}

/// Where an operand stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// What begins with a dash is an option.
    AmongOptions,
    /// Behind `--`, which the program takes for the end of its options.
    BehindTerminator,
}
