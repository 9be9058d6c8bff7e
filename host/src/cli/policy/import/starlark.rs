//! The part of Starlark that files of rules consist of: calls at top level, with texts and lists of texts.
//!
//! Not `starlark_syntax`: it brings 130 packages, some of them in versions that are here already, for a grammar of which rules use
//! calls, texts and lists. Whatever else a file holds is a mistake with its line, so nothing is read otherwise than Codex does.

use super::Mistake;

/// Deepest list in lists.
const MOST_DEPTH: usize = 4;
/// Most mistakes that are looked for in one file.
const MOST_MISTAKES: usize = 1024;

/// A call of a function.
#[derive(Debug)]
pub struct Call {
    /// Of which.
    pub name: String,
    /// In which line it begins.
    pub line: usize,
    /// What it is given, with the names it is given by.
    pub args: Vec<(Option<String>, Value)>,
}

/// A value that is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
}

/// Reads all calls of a file.
///
/// # Errors
///
/// What is not such a call, with its line.
pub fn read(file: &str, text: &str) -> Result<Vec<Call>, Vec<Mistake>> {
    let mut reader = Reader { rest: text, line: 1 };
    let (mut calls, mut mistakes) = (Vec::new(), Vec::new());
    while mistakes.len() < MOST_MISTAKES && reader.has_more() {
        match reader.call() {
            Ok(call) => calls.push(call),
            Err(what) => {
                mistakes.push(Mistake::new(file, reader.line, what));
                reader.skip_to_call();
            }
        }
    }
    if mistakes.is_empty() { Ok(calls) } else { Err(mistakes) }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Whether anything follows but blanks and comments.
    fn has_more(&mut self) -> bool {
        self.blanks();
        !self.rest.is_empty()
    }

    fn blanks(&mut self) {
        loop {
            match self.rest.chars().next() {
                Some('#') => self.take(self.rest.find('\n').unwrap_or(self.rest.len())),
                Some(c) if c.is_whitespace() => self.take(c.len_utf8()),
                _ => return,
            };
        }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn accept(&mut self, c: char) -> bool {
        self.blanks();
        let is_there = self.rest.starts_with(c);
        if is_there {
            self.take(c.len_utf8());
        }
        is_there
    }

    fn expect(&mut self, c: char, what: &str) -> Result<(), String> {
        if self.accept(c) { Ok(()) } else { Err(format!("expected `{c}` {what}, and found {}", self.found())) }
    }

    fn found(&self) -> String {
        match self.rest.chars().next() {
            Some(c) => format!("`{}`", c.escape_default()),
            None => "the end of the file".to_owned(),
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        self.blanks();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let is_name = end > 0 && !self.rest.starts_with(|c: char| c.is_ascii_digit());
        is_name.then(|| self.take(end))
    }

    fn call(&mut self) -> Result<Call, String> {
        let Some(name) = self.name() else {
            return Err(format!("expected a call such as `prefix_rule(…)`, and found {}", self.found()));
        };
        let line = self.line;
        let only = "only calls with texts and lists that are written out can be imported";
        if !self.accept('(') {
            return Err(format!("`{name}` is no call; {only}"));
        }
        let mut args = Vec::new();
        while !self.accept(')') {
            args.push(self.argument()?);
            if !self.accept(',') {
                self.expect(')', &format!("at the end of `{name}`"))?;
                break;
            }
        }
        Ok(Call { name: name.to_owned(), line, args })
    }

    fn argument(&mut self) -> Result<(Option<String>, Value), String> {
        self.blanks();
        let (before, line) = (self.rest, self.line);
        if let Some(name) = self.name() {
            if self.accept('=') {
                return Ok((Some(name.to_owned()), self.value(0)?));
            }
            (self.rest, self.line) = (before, line);
        }
        Ok((None, self.value(0)?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.blanks();
        match self.rest.chars().next() {
            Some('[') if depth < MOST_DEPTH => self.list(depth),
            Some('"' | '\'') => self.text().map(Value::Text),
            _ => Err(format!("expected a text or a list that is written out, and found {}", self.found())),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        self.take(1);
        let mut values = Vec::new();
        while !self.accept(']') {
            values.push(self.value(depth + 1)?);
            if !self.accept(',') {
                self.expect(']', "at the end of a list")?;
                break;
            }
        }
        Ok(Value::List(values))
    }

    fn text(&mut self) -> Result<String, String> {
        if self.rest.starts_with("\"\"\"") || self.rest.starts_with("'''") {
            return Err("texts in three quotes can not be imported".to_owned());
        }
        let quote = self.rest.chars().next();
        self.take(1);
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if Some(c) == quote => {
                    self.take(at + 1);
                    return Ok(text);
                }
                '\n' => break,
                '\\' => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, c @ ('\\' | '"' | '\''))) => c,
                    _ => return Err("only the escapes \\n, \\t, \\\\, \\\" and \\' can be imported".to_owned()),
                }),
                c => text.push(c),
            }
        }
        Err("a text is not closed".to_owned())
    }

    /// Goes on at the next line that could begin a call.
    fn skip_to_call(&mut self) {
        loop {
            let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
            self.take(end);
            if self.rest.is_empty() || self.rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                return;
            }
        }
    }
}
