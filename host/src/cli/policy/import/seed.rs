//! `MCP_BG_ALLOWED_COMMANDS` of mcp-background-job: regular expressions, separated by commas, of which one must match anywhere in
//! the command.
//!
//! What can be imported of an expression is the fixed words it begins with, and whether anything may follow. An expression that
//! would match anywhere counts for the beginning of the command only.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind, Look, Repetition},
};
use serde_json::Value;

use super::{
    Mistake,
    source::{Effect, Rule, Scope, Source, Then},
    words,
};

/// The variable.
pub const VARIABLE: &str = "MCP_BG_ALLOWED_COMMANDS";
/// Longest expression, in bytes.
const MOST_PATTERN_BYTES: usize = 4096;
/// Most texts that one expression may begin with.
const MOST_TEXTS: usize = 256;
/// Most characters of a class whose every character is tried.
const MOST_CHARACTERS: usize = 16;
/// Deepest nesting of an expression.
const MOST_NESTING: u32 = 32;
/// What Python reads otherwise than this reader does.
const READ_OTHERWISE: [&str; 4] = ["[[", r"\<", r"\>", r"\b{"];
/// The same where there are classes.
const READ_OTHERWISE_IN_CLASSES: [&str; 3] = ["&&", "~~", "--"];

/// Reads the value of the variable, by itself, in `NAME=value`, or in JSON that has it as a key.
///
/// # Errors
///
/// Why there is no such value.
pub fn read(file: &str, text: &str) -> Result<Source, Vec<Mistake>> {
    // It starts programs without a shell.
    let mut source = Source { has_lists: false, ..Source::new() };
    for (line, value) in values(file, text)? {
        for pattern in value.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()) {
            expression(&format!("{file}:{line}"), pattern, &mut source);
        }
    }
    if source.rules.is_empty() && source.notes.is_empty() {
        return Err(vec![Mistake::new(file, 1, "holds no pattern; without any, mcp-background-job allowed everything")]);
    }
    Ok(source)
}

fn values(file: &str, text: &str) -> Result<Vec<(usize, String)>, Vec<Mistake>> {
    if text.trim_start().starts_with('{') {
        let json: Value =
            serde_json::from_str(text).map_err(|error| vec![Mistake::new(file, error.line(), format!("is no JSON: {error}"))])?;
        let line = text.lines().position(|line| line.contains(VARIABLE)).map_or(1, |at| at + 1);
        let found = in_json(&json).ok_or_else(|| vec![Mistake::new(file, 1, format!("does not hold `{VARIABLE}`"))])?;
        return Ok(vec![(line, found)]);
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let named: Vec<_> = lines.clone().filter_map(|(at, line)| Some((at, assigned(line)?))).collect();
    let all = || lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(at, line)| (at, line.to_owned()));
    Ok(if named.is_empty() { all().collect() } else { named })
}

/// The value in `NAME=value`, without the quotes around it.
fn assigned(line: &str) -> Option<String> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let value = line.strip_prefix(VARIABLE)?.trim_start().strip_prefix('=')?.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(unquoted.unwrap_or(value).to_owned())
}

fn in_json(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => {
            let own = map.get(VARIABLE).and_then(Value::as_str).map(str::to_owned);
            own.or_else(|| map.values().find_map(in_json))
        }
        Value::Array(values) => values.iter().find_map(in_json),
        _ => None,
    }
}

fn expression(place: &str, pattern: &str, source: &mut Source) {
    if pattern.len() > MOST_PATTERN_BYTES {
        let begin: String = pattern.chars().take(40).collect();
        return source.leave_out(place, &begin, format!("is longer than {MOST_PATTERN_BYTES} bytes"));
    }
    let in_classes = READ_OTHERWISE_IN_CLASSES.iter().filter(|_| pattern.contains('['));
    if let Some(what) = READ_OTHERWISE.iter().chain(in_classes).find(|what| pattern.contains(**what)) {
        return source.leave_out(place, pattern, format!("holds `{what}`, which may mean something else to Python"));
    }
    let parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(MOST_NESTING).build().parse(pattern);
    let hir = match parser {
        Ok(hir) => hir,
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            return source.leave_out(place, pattern, format!("can not be read as a regular expression: {why}"));
        }
    };
    let texts = walk(&hir, vec![Text::default()]);
    if texts.len() > MOST_TEXTS {
        return source.leave_out(place, pattern, format!("stands for more than {MOST_TEXTS} texts"));
    }
    if texts.is_empty() {
        return source.leave_out(place, pattern, "matches nothing");
    }
    let mut scopes = Vec::new();
    let mut changes = Vec::new();
    for text in texts {
        match text.scope(&mut changes) {
            Ok(scope) => scopes.push(scope),
            Err(why) => source.leave_out(place, pattern, why),
        }
    }
    if !scopes.is_empty() {
        changes.sort_unstable();
        changes.dedup();
        let changed = (!changes.is_empty()).then(|| changes.join("; "));
        source.rules.push(Rule { changed, ..Rule::new(place, pattern, Effect::Allow, scopes) });
    }
}

/// What a command matches if it begins with this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Text {
    text: String,
    end: End,
    /// `^` was read.
    is_anchored: bool,
    /// `\b` was read: what follows must not be part of the last word.
    breaks: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// More may be read.
    #[default]
    Open,
    /// `.*`; at least one character: `.+`.
    Anything { is_some: bool },
    /// `$`.
    Closed,
    /// Something that is neither fixed nor anything.
    Constrained,
}

/// Reads an expression behind each of these texts. More than [`MOST_TEXTS`] come back where there are too many.
fn walk(hir: &Hir, before: Vec<Text>) -> Vec<Text> {
    if before.len() > MOST_TEXTS {
        return before;
    }
    match hir.kind() {
        HirKind::Empty => before,
        HirKind::Literal(literal) => {
            let literal = String::from_utf8_lossy(&literal.0);
            before.into_iter().filter_map(|text| text.then(&literal)).collect()
        }
        HirKind::Class(class) => each(&characters(class), before),
        HirKind::Look(look) => before.into_iter().filter_map(|text| text.look(*look)).collect(),
        HirKind::Repetition(repetition) => repeated(repetition, before),
        HirKind::Capture(capture) => walk(&capture.sub, before),
        HirKind::Concat(parts) => parts.iter().fold(before, |before, part| walk(part, before)),
        HirKind::Alternation(parts) => parts.iter().flat_map(|part| walk(part, before.clone())).take(MOST_TEXTS + 1).collect(),
    }
}

/// One of these characters; with none of them, something that is not known.
fn each(characters: &[char], before: Vec<Text>) -> Vec<Text> {
    if characters.is_empty() {
        return before.into_iter().map(Text::constrained).collect();
    }
    let longer = |text: Text| characters.iter().filter_map(move |c| text.clone().then(c.encode_utf8(&mut [0; 4])));
    before.into_iter().flat_map(longer).take(MOST_TEXTS + 1).collect()
}

fn repeated(repetition: &Repetition, before: Vec<Text>) -> Vec<Text> {
    let sub = &repetition.sub;
    if let HirKind::Class(class) = sub.kind() {
        if is_anything(class) && repetition.max.is_none() && repetition.min <= 1 {
            return before.into_iter().map(|text| text.anything(repetition.min == 1)).collect();
        }
        if characters(class) == [' '] && repetition.min <= 1 {
            // One blank is as good as many: a command is judged by its words.
            let with_blank = each(&[' '], before.clone());
            return if repetition.min == 1 { with_blank } else { [before, with_blank].concat() };
        }
    }
    match (repetition.min, repetition.max) {
        (0, Some(1)) => [before.clone(), walk(sub, before)].concat(),
        (min, Some(max)) if min == max && max <= 4 => (0..max).fold(before, |before, _| walk(sub, before)),
        _ => before.into_iter().map(Text::constrained).collect(),
    }
}

/// The printable characters of a small class; of blanks the one that stands between words.
fn characters(class: &Class) -> Vec<char> {
    let Class::Bytes(class) = class else { return Vec::new() };
    let all: Vec<u8> =
        class.iter().flat_map(|range| range.start()..=range.end()).filter(|byte| (b' '..=b'~').contains(byte)).collect();
    if all.len() > MOST_CHARACTERS { Vec::new() } else { all.into_iter().map(char::from).collect() }
}

fn is_anything(class: &Class) -> bool {
    let Class::Bytes(class) = class else { return false };
    class.iter().any(|range| range.start() <= b' ' && range.end() >= b'~')
}

impl Text {
    /// With more text behind it; none if that can not be.
    fn then(mut self, more: &str) -> Option<Self> {
        match self.end {
            End::Closed => None,
            End::Anything { .. } | End::Constrained => Some(self.constrained()),
            End::Open if self.breaks && more.starts_with(is_word) => None,
            End::Open => {
                self.breaks &= more.is_empty();
                self.text.push_str(more);
                Some(self)
            }
        }
    }

    fn look(mut self, look: Look) -> Option<Self> {
        match look {
            Look::Start if self.text.is_empty() => self.is_anchored = true,
            Look::Start => return None,
            Look::End if self.end == End::Open => self.end = End::Closed,
            Look::End => {}
            Look::WordAscii | Look::WordEndAscii if self.end == End::Open && self.text.ends_with(is_word) => self.breaks = true,
            _ => return Some(self.constrained()),
        }
        Some(self)
    }

    fn anything(mut self, is_some: bool) -> Self {
        self.end = match self.end {
            End::Open => End::Anything { is_some },
            End::Anything { is_some: before } => End::Anything { is_some: before || is_some },
            end => end,
        };
        self
    }

    fn constrained(mut self) -> Self {
        self.end = End::Constrained;
        self
    }

    /// The commands that match for certain, and how they are fewer than all that do.
    fn scope(&self, changes: &mut Vec<String>) -> Result<Scope, String> {
        if self.end == End::Constrained {
            return Err(format!("what follows `{}` is given by a pattern; only fixed words and `.*` can be imported", self.text));
        }
        if self.text.trim().is_empty() {
            return Err("matches every command, which is no list".to_owned());
        }
        let words = words::split(&self.text).map_err(|why| format!("`{}` can not be a rule of one program: {why}", self.text))?;
        if !self.is_anchored {
            changes.push("it matched anywhere in a command; now only at its beginning".to_owned());
        }
        let ends_word = self.text.ends_with(' ');
        let then = match self.end {
            End::Closed => Then::Nothing,
            End::Anything { is_some: true } => Then::Something,
            _ if ends_word => Then::Something,
            _ => Then::Anything,
        };
        if then != Then::Nothing && !ends_word && !self.breaks {
            changes.push("it also matched longer words; now only whole ones count".to_owned());
        }
        Ok(Scope { words, then })
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
