//! Asking requests and building answers.

use crate::{
    Action, Argument, Edit, Edited, Emission, Job, Launch, Node, NodeKind, Program, Reason, Request, Rewrite, Verdict, Word,
};

/// A simple command whose words are all literal.
#[derive(Debug, Clone)]
pub struct Simple<'a> {
    /// Its index in the request's nodes, for edits.
    pub index: u32,
    /// The program as written.
    pub program: &'a str,
    /// The file that will be started; none for builtins.
    pub resolved: Option<&'a Program>,
    /// Arguments with the paths they may name; their words are literal.
    pub args: &'a [Argument],
    /// Variables set in front of the command.
    pub assignments: Vec<(&'a str, &'a str)>,
}

/// The text of a word that is exactly its text.
pub fn literal(word: &Word) -> Option<&str> {
    match word {
        Word::Literal(text) => Some(text),
        Word::Dynamic(_) => None,
    }
}

/// Whether a path is this one or lies below it. Both are absolute and have neither `.` nor `..`.
pub(crate) fn lies_below(path: &str, above: &str) -> bool {
    let above = above.trim_end_matches('/');
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether something is kept to what lies below these paths, or to less.
fn is_within(own: Option<&[String]>, paths: &[impl AsRef<str>]) -> bool {
    let is_below = |path: &String| paths.iter().any(|above| lies_below(path, above.as_ref()));
    own.is_some_and(|own| own.iter().all(is_below))
}

impl Request {
    /// The command, if the request is one simple command of literal words that the host starts itself.
    pub fn command(&self) -> Option<Simple<'_>> {
        match self.nodes.as_slice() {
            [node] if self.launch == Launch::Direct => node.simple(0),
            _ => None,
        }
    }
}

impl Job {
    /// The command it runs, if that is one simple command of literal words that the host started itself.
    pub fn command(&self) -> Option<Simple<'_>> {
        match self.nodes.as_slice() {
            [node] if self.launch == Launch::Direct => node.simple(0),
            _ => None,
        }
    }
}

impl Node {
    /// Whether it is confined already to what is or lies below one of these paths, or to less.
    pub fn is_confined_to(&self, paths: &[impl AsRef<str>]) -> bool {
        is_within(self.executes.as_deref(), paths)
    }

    /// Whether it stays in the roots already, and reads besides at most what is or lies below one of these paths.
    pub fn stays_in_the_roots(&self, besides: &[impl AsRef<str>]) -> bool {
        is_within(self.opens.as_deref(), besides)
    }

    /// This node, whose index is given, as a simple command: of kind `command`, with a program, all words literal, nothing
    /// redirected.
    pub fn simple(&self, index: u32) -> Option<Simple<'_>> {
        if self.kind != NodeKind::Command || !self.redirects.is_empty() || self.args.iter().any(|arg| arg.text().is_none()) {
            return None;
        }
        let assignments = self.assignments.iter().map(|(name, value)| Some((name.as_str(), literal(value)?)));
        Some(Simple {
            index,
            program: literal(self.program.as_ref()?)?,
            resolved: self.resolved.as_ref(),
            args: &self.args,
            assignments: assignments.collect::<Option<_>>()?,
        })
    }
}

impl Argument {
    /// The argument's text, if it is literal.
    pub fn text(&self) -> Option<&str> {
        literal(&self.word)
    }
}

impl<'a> Simple<'a> {
    /// The texts of the arguments.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        self.args.iter().map(|arg| arg.text().unwrap_or_default())
    }

    /// Whether the program is the one that looking this name up leads to, however it was written. A rule that allows must ask
    /// this: `./git` and `/tmp/git` are other programs than `git`.
    pub fn is_program(&self, name: &str) -> bool {
        self.resolved.is_some_and(|resolved| resolved.looked_up && resolved.name.rsplit('/').next() == Some(name))
    }
}

impl Reason {
    /// `code`: 1 to 64 of `a-z`, `0-9`, `-`; `message`: one or two sentences for a person.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl Verdict {
    /// Refused, whatever other policies say.
    pub fn deny(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Deny(Reason::new(code, message))
    }

    /// A person must approve.
    pub fn ask(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Ask(Reason::new(code, message))
    }

    /// Not in this form but with these edits, at most one per node.
    pub fn rewrite(edits: Vec<Edit>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Rewrite(Rewrite { edits, cwd: None, timeout_ms: None, reason: Reason::new(code, message) })
    }
}

impl Action {
    /// Of a piece becomes this; nothing is held, the next line is of no interest without a trigger.
    pub fn new(emit: Emission) -> Self {
        Self { emit, hold: 0, engaged: false, findings: Vec::new() }
    }
}

impl Edit {
    /// A change of the node with this index that changes nothing yet.
    pub fn new(node: u32) -> Self {
        Self { node, program: None, args: None, assignments: Vec::new(), executes: None, opens: None }
    }

    /// With these arguments instead.
    pub fn args(mut self, args: impl IntoIterator<Item = Edited>) -> Self {
        self.args = Some(args.into_iter().collect());
        self
    }

    /// With this variable set in front of the command, instead of another value it may have there.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.assignments.push((name.into(), value.into()));
        self
    }

    /// Confined by the kernel: it and all that descends from it may execute nothing but its own program and what is or lies below
    /// one of these absolute paths; with none of them, nothing once it has started. It can not be taken back, only be made
    /// stricter.
    pub fn confine(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.executes = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Kept in the roots by the kernel: it and all that descends from it open no file elsewhere, wherever links lead, but what
    /// programs need of the system and what is or lies below one of these absolute paths, and that only to read. It can not be
    /// taken back, only be made stricter.
    pub fn keep_in_the_roots(mut self, besides: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.opens = Some(besides.into_iter().map(Into::into).collect());
        self
    }
}
