//! Reading a command's words by its rule. Whatever a rule does not name is denied.

use portcullis_sdk::{Argument, Reason, Simple};

use crate::settings::{Combine, Program, Settings, Value};

/// A word and what it stands for: the argument and the offset at which a value begins in it.
#[derive(Clone, Copy)]
struct Part<'a> {
    arg: &'a Argument,
    at: usize,
}

/// Why a command is not allowed.
pub enum Objection {
    /// A rule, or the lack of one, refuses it.
    Denied(Reason),
    /// It lacks the words its rule wants in front, which another policy may yet put there: no opinion about this form.
    NotYet,
}

impl From<Reason> for Objection {
    fn from(reason: Reason) -> Self {
        Self::Denied(reason)
    }
}

/// Reads the words of one command by one rule.
struct Reader<'a> {
    /// Where the rule stands in the settings, for messages.
    path: String,
    rule: &'a Program,
    rest: std::slice::Iter<'a, Argument>,
    operands: usize,
}

/// Judges one simple command.
///
/// # Errors
///
/// Why it is denied: the nearest rule, the word that is off, and what would allow it.
pub fn judge(settings: &Settings, command: &Simple) -> Result<(), Objection> {
    let (name, rule) = find(settings, command)?;
    let path = format!("programs.{name}");
    for (variable, value) in &command.assignments {
        let allowed = rule.env.get(*variable).is_some_and(|rule| fits_text(rule, value) && is_printable(value));
        if !allowed {
            let word = format!("`{variable}={value}`");
            return Err(denied("assignment-not-allowed", &path, &word, "its `env` with this value").into());
        }
    }
    let reader = Reader { path, rule, rest: command.args.iter(), operands: 0 };
    reader.read()
}

/// The rule for a command's program, and its name.
///
/// # Errors
///
/// Why there is none.
pub fn find<'s>(settings: &'s Settings, command: &Simple) -> Result<(&'s str, &'s Program), Reason> {
    let Some(resolved) = command.resolved else {
        return Err(Reason::new(
            "program-not-allowed",
            format!("`{}` is run by the shell itself; only programs have rules", command.program),
        ));
    };
    if resolved.inside_roots {
        let message =
            format!("`{}` lies inside the working roots, where it can be changed; use an installed program", command.program);
        return Err(Reason::new("program-inside-roots", message));
    }
    let found = settings.programs.iter().find(|(name, _)| command.is_program(name));
    found.map(|(name, rule)| (name.as_str(), rule)).ok_or_else(|| {
        let message = format!(
            "no rule allows `{}`; an operator can add one as `programs.NAME` for programs called by their name",
            command.program
        );
        Reason::new("program-not-allowed", message)
    })
}

fn denied(code: &str, path: &str, word: &str, missing: &str) -> Reason {
    Reason::new(code, format!("{word} is not allowed by the rule `{path}`; an operator who wants it adds {missing}"))
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<(), Objection> {
        let is_prefixed = self.rule.prefix.iter().all(|expected| self.rest.next().map(text) == Some(expected));
        if !is_prefixed {
            return Err(Objection::NotYet);
        }
        while let Some(arg) = self.rest.next() {
            let word = text(arg);
            if !is_printable(word) {
                return Err(denied(
                    "control-character",
                    &self.path,
                    "a word with a control character",
                    "nothing: such words are never allowed",
                )
                .into());
            }
            if word == "--" && self.rule.terminator && self.rule.commands.is_empty() {
                return Ok(self.only_operands()?);
            }
            let is_option = word.len() > 1 && word.starts_with('-');
            match self.rule.flags.iter().any(|flag| flag == word) {
                true => {}
                false if is_option => self.option(arg, word)?,
                false if !self.rule.commands.is_empty() => return self.command(word),
                false => self.operand(arg)?,
            }
        }
        Ok(self.finish()?)
    }

    fn command(self, name: &str) -> Result<(), Objection> {
        let rule = self.rule.commands.get(name);
        let rule = rule
            .ok_or_else(|| denied("sub-command-not-allowed", &self.path, &format!("sub-command `{name}`"), "it to `commands`"))?;
        Reader { path: format!("{}.commands.{name}", self.path), rule, rest: self.rest, operands: 0 }.read()
    }

    fn only_operands(mut self) -> Result<(), Reason> {
        while let Some(arg) = self.rest.next() {
            if !is_printable(text(arg)) {
                return Err(denied(
                    "control-character",
                    &self.path,
                    "a word with a control character",
                    "nothing: such words are never allowed",
                ));
            }
            // Some programs read options there all the same, and none needs such a word: `./-x` names the file.
            if text(arg).len() > 1 && text(arg).starts_with('-') {
                let message = format!("`{}` behind `--` could be read as an option; write `./{0}` if it is a file", text(arg));
                return Err(Reason::new("operand-not-allowed", message));
            }
            self.operand(arg)?;
        }
        self.finish()
    }

    fn finish(self) -> Result<(), Reason> {
        let is_complete = self.operands >= self.rule.operands.min;
        if !self.rule.commands.is_empty() && self.rule.flags.is_empty() {
            return Err(Reason::new("sub-command-missing", format!("the rule `{}` needs one of its sub-commands", self.path)));
        }
        if is_complete {
            return Ok(());
        }
        let message = format!(
            "the rule `{}` needs at least {} operands, and there are {}",
            self.path, self.rule.operands.min, self.operands
        );
        Err(Reason::new("operand-missing", message))
    }

    fn operand(&mut self, arg: &'a Argument) -> Result<(), Reason> {
        let rule = &self.rule.operands;
        let kind = rule.first.as_ref().filter(|_| self.operands == 0).unwrap_or(&rule.kind);
        self.operands += 1;
        let word = format!("operand `{}`", text(arg));
        if rule.max.is_some_and(|max| self.operands > max) || matches!(kind, Value::Nothing) {
            return Err(denied("operand-not-allowed", &self.path, &word, "room for it to `operands`"));
        }
        if fits(kind, Part { arg, at: 0 }) { Ok(()) } else { Err(self.misfit(&word, kind)) }
    }

    fn option(&mut self, arg: &'a Argument, word: &'a str) -> Result<(), Reason> {
        let joined = word.split_once('=').filter(|_| word.starts_with("--"));
        let name = joined.map_or(word, |(name, _)| name);
        let with_value = self.rule.options.get(name);
        match (joined, with_value.or_else(|| self.rule.equals.get(name).filter(|_| joined.is_some()))) {
            (Some(_), Some(kind)) => self.value(name, kind, Part { arg, at: name.len() + 1 }),
            (None, Some(kind)) => self.separate(name, kind),
            (_, None) if self.rule.number && is_digits(&word[1..]) => Ok(()),
            (_, None) if !word.starts_with("--") => self.letters(arg, word),
            (_, None) => Err(self.unknown(word)),
        }
    }

    /// `-la`, `-n5`, `-ln5`, `-ln 5`.
    fn letters(&mut self, arg: &'a Argument, word: &'a str) -> Result<(), Reason> {
        for (at, letter) in word.char_indices().skip(1) {
            let flag = format!("-{letter}");
            let behind = at + letter.len_utf8();
            let is_first = at == 1;
            if self.rule.combine == Combine::Words && !is_first {
                return Err(self.unknown(word));
            }
            if let Some(kind) = self.rule.options.get(&flag) {
                let attached = behind < word.len();
                return if attached { self.value(&flag, kind, Part { arg, at: behind }) } else { self.separate(&flag, kind) };
            }
            if !self.rule.flags.contains(&flag) {
                return Err(self.unknown(if is_first { word } else { &flag }));
            }
        }
        Ok(())
    }

    fn separate(&mut self, name: &str, kind: &Value) -> Result<(), Reason> {
        let Some(arg) = self.rest.next() else {
            return Err(Reason::new("value-missing", format!("`{name}` needs a value behind it")));
        };
        // Where program and rule disagree on whether this option takes a value, the next option must not pass unread.
        let may_look_like_an_option = matches!(kind, Value::Integer | Value::OneOf(_) | Value::Pattern(_));
        if text(arg).starts_with('-') && !may_look_like_an_option {
            return Err(denied(
                "value-not-allowed",
                &self.path,
                &format!("`{}` as the value of `{name}`", text(arg)),
                "a pattern for it",
            ));
        }
        self.value(name, kind, Part { arg, at: 0 })
    }

    fn value(&self, name: &str, kind: &Value, part: Part) -> Result<(), Reason> {
        let word = format!("`{}` as the value of `{name}`", part.text());
        if is_printable(part.text()) && fits(kind, part) { Ok(()) } else { Err(self.misfit(&word, kind)) }
    }

    fn misfit(&self, word: &str, kind: &Value) -> Reason {
        match kind {
            Value::Path | Value::File => {
                let message = format!("{word} is no path inside the working roots, as the rule `{}` wants it", self.path);
                Reason::new("path-not-allowed", message)
            }
            _ => denied("value-not-allowed", &self.path, word, "this value"),
        }
    }

    fn unknown(&self, word: &str) -> Reason {
        denied("flag-not-allowed", &self.path, &format!("`{word}`"), "it to `flags` (or `options`, if it takes a value)")
    }
}

fn text(arg: &Argument) -> &str {
    arg.text().unwrap_or_default()
}

fn is_digits(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'a> Part<'a> {
    fn text(self) -> &'a str {
        text(self.arg).get(self.at..).unwrap_or_default()
    }

    fn place(self) -> Option<&'a portcullis_sdk::Place> {
        self.arg.places.iter().find(|place| usize::try_from(place.start) == Ok(self.at))
    }
}

fn fits(kind: &Value, part: Part) -> bool {
    match kind {
        Value::Path => part.place().is_some_and(|place| place.inside_roots),
        Value::File => part.place().is_some_and(|place| place.inside_roots && place.exists) && !part.text().contains(':'),
        _ => fits_text(kind, part.text()),
    }
}

/// Paths never fit here: only an argument says where they lead.
fn fits_text(kind: &Value, text: &str) -> bool {
    match kind {
        Value::Nothing | Value::Path | Value::File => false,
        Value::Any => true,
        Value::Integer => is_digits(text.strip_prefix(['-', '+']).unwrap_or(text)),
        Value::OneOf(texts) => texts.iter().any(|known| known == text),
        Value::Pattern(pattern) => pattern.0.is_match(text.as_bytes()),
    }
}
