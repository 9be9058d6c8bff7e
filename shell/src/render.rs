//! The tree as text that the shell reads as this very tree.

use crate::{
    Arm, Assignment, Direction, Id, Kind, Mode, Operation, Piece, Redirect, TestPart, Tree, Word,
    quote::{in_pattern, push_program, push_quoted, push_single},
};

/// What a command's words lead to, to be written in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// The words as they are.
    AsWritten,
    /// The path of the program that the first word names.
    Program(&'a str),
    /// In the place of the first word this text, with the number of the command behind it.
    Numbered(&'a str),
    /// `cd` and the directory that it leads to.
    Directory(&'a str),
}

/// Writes trees.
pub struct Renderer<'a, R> {
    tree: &'a Tree,
    resolved: R,
}

impl<'a, R: Fn(Id) -> Resolved<'a>> Renderer<'a, R> {
    /// `resolved` is asked about each command with words.
    pub fn new(tree: &'a Tree, resolved: R) -> Self {
        Self { tree, resolved }
    }

    /// The whole script.
    pub fn script(&self) -> String {
        let mut out = String::new();
        self.node(0, &mut out);
        out
    }

    /// One word, as an argument.
    pub fn word(&self, word: &Word) -> String {
        let mut out = String::new();
        self.argument(word, &mut out);
        out
    }

    fn argument(&self, word: &Word, out: &mut String) {
        let has_pattern = word.0.iter().any(|piece| matches!(piece, Piece::Pattern(_)));
        self.written(word, out, if has_pattern { push_single } else { push_quoted });
    }

    fn written(&self, word: &Word, out: &mut String, literal: fn(&str, &mut String)) {
        let mut after_tilde = false;
        for piece in &word.0 {
            match piece {
                // A quoted slash would not end the tilde's name.
                Piece::Literal(text) if after_tilde && text.starts_with('/') => {
                    out.push('/');
                    if text.len() > 1 {
                        push_single(&text[1..], out);
                    }
                }
                Piece::Literal(text) => literal(text, out),
                piece => self.piece(piece, out),
            }
            after_tilde = matches!(piece, Piece::Tilde(_));
        }
    }

    fn node(&self, id: Id, out: &mut String) {
        let node = self.tree.node(id);
        let begin = out.len();
        self.kind(id, &node.kind, out);
        for redirect in &node.redirects {
            if out.len() > begin {
                out.push(' ');
            }
            self.redirect(redirect, out);
        }
    }

    fn kind(&self, id: Id, kind: &Kind, out: &mut String) {
        match kind {
            Kind::Command { assignments, words } => self.command(id, assignments, words, out),
            Kind::Pipeline(stages) => joined(out, " | ", stages, |stage, out| self.node(*stage, out)),
            Kind::And(left, right) => joined(out, " && ", [left, right], |side, out| self.node(*side, out)),
            Kind::Or(left, right) => joined(out, " || ", [left, right], |side, out| self.node(*side, out)),
            Kind::Sequence(items) => self.sequence(items, out),
            Kind::Background(item) => {
                self.node(*item, out);
                out.push_str(" &");
            }
            Kind::Negation(item) => {
                out.push_str("! ");
                self.node(*item, out);
            }
            Kind::Timing { item, posix } => {
                out.push_str(if *posix { "time -p " } else { "time " });
                self.node(*item, out);
            }
            Kind::Group(item) => self.between("{ ", *item, " }", out),
            Kind::Subshell(item) => self.enclosed("( ", *item, out),
            Kind::Conditional { condition, body, alternative } => self.conditional(*condition, *body, *alternative, out),
            Kind::Loop { condition, body, until } => {
                self.between(if *until { "until " } else { "while " }, *condition, " do ", out);
                self.between("", *body, " done", out);
            }
            Kind::For { name, words, body } => {
                out.extend(["for ", name, " in"]);
                for word in words {
                    out.push(' ');
                    self.argument(word, out);
                }
                self.between("; do ", *body, " done", out);
            }
            Kind::Case { subject, arms } => self.case(subject, arms, out),
            Kind::Test(parts) => self.test(parts, out),
            Kind::Arithmetic(expression) => out.extend(["(( ", expression, " ))"]),
            Kind::CommandSubstitution(item) => self.enclosed("$( ", *item, out),
            Kind::ProcessSubstitution { item, direction: Direction::Read } => self.enclosed("<( ", *item, out),
            Kind::ProcessSubstitution { item, direction: Direction::Write } => self.enclosed(">( ", *item, out),
        }
    }

    fn command(&self, id: Id, assignments: &[Assignment], words: &[Word], out: &mut String) {
        joined(out, " ", assignments, |one, out| {
            out.extend([&one.name, "="]);
            self.argument(&one.value, out);
        });
        let Some((program, args)) = words.split_first() else { return };
        if !assignments.is_empty() {
            out.push(' ');
        }
        match (self.resolved)(id) {
            Resolved::AsWritten => match program.text() {
                Some(text) => push_program(text, out),
                None => self.argument(program, out),
            },
            Resolved::Program(path) => push_program(path, out),
            Resolved::Numbered(text) => out.extend([text, &id.to_string()]),
            Resolved::Directory(path) => {
                out.push_str("cd ");
                return push_quoted(path, out);
            }
        }
        for word in args {
            out.push(' ');
            self.argument(word, out);
        }
    }

    fn sequence(&self, items: &[Id], out: &mut String) {
        let Some((last, before)) = items.split_last() else { return };
        for item in before {
            self.between("", *item, " ", out);
        }
        self.node(*last, out);
    }

    /// A command with what ends it, so that something else can follow, between two texts.
    fn between(&self, before: &str, id: Id, behind: &str, out: &mut String) {
        out.push_str(before);
        self.node(id, out);
        if !self.ends_in_background(id) {
            out.push(';');
        }
        out.push_str(behind);
    }

    /// Inside round brackets, where the parser wants something between `esac` and the bracket.
    fn enclosed(&self, opening: &str, id: Id, out: &mut String) {
        out.push_str(opening);
        self.node(id, out);
        out.push_str(if out.ends_with("esac") { "; )" } else { " )" });
    }

    fn ends_in_background(&self, id: Id) -> bool {
        match &self.tree.node(id).kind {
            Kind::Background(_) => true,
            Kind::Sequence(items) => items.last().is_some_and(|last| self.ends_in_background(*last)),
            _ => false,
        }
    }

    fn conditional(&self, condition: Id, body: Id, alternative: Option<Id>, out: &mut String) {
        self.between("if ", condition, " then ", out);
        self.between("", body, "", out);
        if let Some(id) = alternative {
            self.between(" else ", id, "", out);
        }
        out.push_str(" fi");
    }

    fn case(&self, subject: &Word, arms: &[Arm], out: &mut String) {
        out.push_str("case ");
        self.argument(subject, out);
        out.push_str(" in ");
        for arm in arms {
            out.push('(');
            joined(out, " | ", &arm.patterns, |pattern, out| self.pattern(pattern, out));
            out.push_str(") ");
            if let Some(body) = arm.body {
                self.node(body, out);
            }
            out.push_str(";; ");
        }
        out.push_str("esac");
    }

    fn test(&self, parts: &[TestPart], out: &mut String) {
        out.push_str("[[ ");
        joined(out, " ", parts, |part, out| match part {
            TestPart::Operator(operator) => out.push_str(operator),
            TestPart::Operand(word) => self.pattern(word, out),
        });
        out.push_str(" ]]");
    }

    fn redirect(&self, redirect: &Redirect, out: &mut String) {
        let (sign, usual) = match redirect.mode {
            Mode::Read => ("<", 0),
            Mode::Write => (">", 1),
            Mode::Append => (">>", 1),
            Mode::ReadWrite => ("<>", 0),
            Mode::Clobber => (">|", 1),
            Mode::DuplicateRead => ("<&", 0),
            Mode::DuplicateWrite => (">&", 1),
            Mode::Text => ("<<<", 0),
        };
        if redirect.fd != usual {
            out.push_str(&redirect.fd.to_string());
        }
        out.push_str(sign);
        // Without the blank a process substitution would make another operator of it.
        if matches!(redirect.target.0.first(), Some(Piece::Process(_))) {
            out.push(' ');
        }
        self.argument(&redirect.target, out);
    }

    /// A word whose literals must not be taken for patterns or reserved words.
    fn pattern(&self, word: &Word, out: &mut String) {
        self.written(word, out, push_single);
    }

    fn piece(&self, piece: &Piece, out: &mut String) {
        match piece {
            Piece::Literal(text) => push_quoted(text, out),
            Piece::Pattern(text) => out.push_str(text),
            Piece::Tilde(user) => out.extend(["~", user]),
            Piece::Process(node) => self.node(*node, out),
            Piece::Parameter { quoted: true, .. }
            | Piece::Command { quoted: true, .. }
            | Piece::Arithmetic { quoted: true, .. } => {
                out.push('"');
                self.expansion(piece, out);
                out.push('"');
            }
            Piece::Parameter { .. } | Piece::Command { .. } | Piece::Arithmetic { .. } => self.expansion(piece, out),
        }
    }

    fn expansion(&self, piece: &Piece, out: &mut String) {
        match piece {
            Piece::Parameter { quoted, name, operation } => self.parameter(name, operation, *quoted, out),
            Piece::Command { node, .. } => self.node(*node, out),
            Piece::Arithmetic { expression, .. } => out.extend(["$(( ", expression, " ))"]),
            other => self.piece(other, out),
        }
    }

    fn parameter(&self, name: &str, operation: &Operation, quoted: bool, out: &mut String) {
        match operation {
            // The parser takes no braces around some of the special ones.
            Operation::Value if !name.contains(|c: char| c.is_alphanumeric() || c == '_') => out.extend(["$", name]),
            Operation::Value => out.extend(["${", name, "}"]),
            Operation::Length => out.extend(["${#", name, "}"]),
            Operation::Default(sign, word) => {
                out.extend(["${", name, sign]);
                for piece in &word.0 {
                    match piece {
                        // No escape is safe in there; what would need one is refused.
                        Piece::Literal(text) if quoted => out.push_str(text),
                        piece if quoted => self.expansion(piece, out),
                        piece => self.piece(piece, out),
                    }
                }
                out.push('}');
            }
            Operation::Trim(sign, pattern) => out.extend(["${", name, sign, &escaped_pattern(pattern), "}"]),
            Operation::Replace(sign, pattern, with) => {
                out.extend(["${", name, sign, &escaped_pattern(pattern), "/", with.prefix(), "}"]);
            }
            Operation::Transform(sign) => out.extend(["${", name, sign, "}"]),
            Operation::Substring(offset, length) => {
                let part = |number: i64| if number < 0 { format!(": {number}") } else { format!(":{number}") };
                out.extend(["${", name, &part(*offset), &length.map(part).unwrap_or_default(), "}"]);
            }
        }
    }
}

/// Writes all of them, with a text between each two.
fn joined<T>(out: &mut String, between: &str, items: impl IntoIterator<Item = T>, write: impl Fn(T, &mut String)) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        write(item, out);
    }
}

fn escaped_pattern(pattern: &Word) -> String {
    let (mut out, mut is_behind_pattern) = (String::new(), false);
    for piece in &pattern.0 {
        match piece {
            Piece::Literal(text) => {
                let escaped = in_pattern(text);
                // Else it would be read as more of the pattern.
                out.push_str(if is_behind_pattern && !escaped.starts_with('\\') { "\\" } else { "" });
                out.push_str(&escaped);
            }
            Piece::Pattern(text) => out.push_str(text),
            _ => {}
        }
        is_behind_pattern = matches!(piece, Piece::Pattern(_));
    }
    out
}
