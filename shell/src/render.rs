//! The tree as text that the shell reads as this very tree.

use crate::{
    Arm, Direction, Id, Kind, Mode, Operation, Piece, Redirect, TestPart, Tree, Word,
    quote::{in_pattern, quote, quote_program, single},
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
        self.node(0)
    }

    /// One word, as an argument.
    pub fn word(&self, word: &Word) -> String {
        let has_pattern = word.0.iter().any(|piece| matches!(piece, Piece::Pattern(_)));
        self.written(word, |text| if has_pattern || text.is_empty() { single(text) } else { quote(text) })
    }

    fn written(&self, word: &Word, literal: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        let mut after_tilde = false;
        for piece in &word.0 {
            match piece {
                // A quoted slash would not end the tilde's name.
                Piece::Literal(text) if after_tilde && text.starts_with('/') => {
                    out.push('/');
                    if text.len() > 1 {
                        out.push_str(&single(&text[1..]));
                    }
                }
                Piece::Literal(text) => out.push_str(&literal(text)),
                piece => out.push_str(&self.piece(piece)),
            }
            after_tilde = matches!(piece, Piece::Tilde(_));
        }
        out
    }

    fn node(&self, id: Id) -> String {
        let node = self.tree.node(id);
        let text = self.kind(id, &node.kind);
        let redirects = node.redirects.iter().map(|redirect| self.redirect(redirect));
        let is_bare = text.is_empty();
        let parts = (!is_bare).then_some(text).into_iter().chain(redirects);
        parts.collect::<Vec<_>>().join(" ")
    }

    fn kind(&self, id: Id, kind: &Kind) -> String {
        match kind {
            Kind::Command { assignments, words } => {
                let assignments = assignments.iter().map(|one| format!("{}={}", one.name, self.word(&one.value)));
                assignments.chain(self.words(id, words)).collect::<Vec<_>>().join(" ")
            }
            Kind::Pipeline(stages) => self.joined(stages, " | "),
            Kind::And(left, right) => self.joined(&[*left, *right], " && "),
            Kind::Or(left, right) => self.joined(&[*left, *right], " || "),
            Kind::Sequence(items) => self.sequence(items),
            Kind::Background(item) => format!("{} &", self.node(*item)),
            Kind::Negation(item) => format!("! {}", self.node(*item)),
            Kind::Timing { item, posix } => format!("time {}{}", if *posix { "-p " } else { "" }, self.node(*item)),
            Kind::Group(item) => format!("{{ {} }}", self.terminated(*item)),
            Kind::Subshell(item) => format!("( {} )", self.enclosed(*item)),
            Kind::Conditional { condition, body, alternative } => self.conditional(*condition, *body, *alternative),
            Kind::Loop { condition, body, until } => {
                let word = if *until { "until" } else { "while" };
                format!("{word} {} do {} done", self.terminated(*condition), self.terminated(*body))
            }
            Kind::For { name, words, body } => {
                let words = words.iter().map(|word| format!(" {}", self.word(word))).collect::<String>();
                format!("for {name} in{words}; do {} done", self.terminated(*body))
            }
            Kind::Case { subject, arms } => self.case(subject, arms),
            Kind::Test(parts) => self.test(parts),
            Kind::Arithmetic(expression) => format!("(( {expression} ))"),
            Kind::CommandSubstitution(item) => format!("$( {} )", self.enclosed(*item)),
            Kind::ProcessSubstitution { item, direction } => {
                let sign = match direction {
                    Direction::Read => '<',
                    Direction::Write => '>',
                };
                format!("{sign}( {} )", self.enclosed(*item))
            }
        }
    }

    fn words(&self, id: Id, words: &[Word]) -> Vec<String> {
        let written = |words: &[Word]| words.iter().map(|word| self.word(word)).collect::<Vec<_>>();
        let Some((program, args)) = words.split_first() else { return Vec::new() };
        match (self.resolved)(id) {
            Resolved::AsWritten => {
                let program = program.text().map_or_else(|| self.word(program), quote_program);
                [vec![program], written(args)].concat()
            }
            Resolved::Program(path) => [vec![quote_program(path)], written(args)].concat(),
            Resolved::Numbered(text) => [vec![format!("{text}{id}")], written(args)].concat(),
            Resolved::Directory(path) => vec!["cd".to_owned(), quote(path)],
        }
    }

    fn joined(&self, items: &[Id], between: &str) -> String {
        items.iter().map(|item| self.node(*item)).collect::<Vec<_>>().join(between)
    }

    fn sequence(&self, items: &[Id]) -> String {
        let Some((last, before)) = items.split_last() else { return String::new() };
        let before = before.iter().map(|item| self.terminated(*item) + " ").collect::<String>();
        before + &self.node(*last)
    }

    /// With what ends a command, so that something else can follow.
    fn terminated(&self, id: Id) -> String {
        let text = self.node(id);
        if self.ends_in_background(id) { text } else { text + ";" }
    }

    /// Inside round brackets, where the parser wants something between `esac` and the bracket.
    fn enclosed(&self, id: Id) -> String {
        let text = self.node(id);
        if text.ends_with("esac") { text + ";" } else { text }
    }

    fn ends_in_background(&self, id: Id) -> bool {
        match &self.tree.node(id).kind {
            Kind::Background(_) => true,
            Kind::Sequence(items) => items.last().is_some_and(|last| self.ends_in_background(*last)),
            _ => false,
        }
    }

    fn conditional(&self, condition: Id, body: Id, alternative: Option<Id>) -> String {
        let alternative = alternative.map(|id| format!(" else {}", self.terminated(id))).unwrap_or_default();
        format!("if {} then {}{alternative} fi", self.terminated(condition), self.terminated(body))
    }

    fn case(&self, subject: &Word, arms: &[Arm]) -> String {
        let arm = |arm: &Arm| {
            let patterns = arm.patterns.iter().map(|pattern| self.pattern(pattern)).collect::<Vec<_>>().join(" | ");
            let body = arm.body.map(|body| self.node(body)).unwrap_or_default();
            format!("({patterns}) {body};; ")
        };
        format!("case {} in {}esac", self.word(subject), arms.iter().map(arm).collect::<String>())
    }

    fn test(&self, parts: &[TestPart]) -> String {
        let part = |part: &TestPart| match part {
            TestPart::Operator(operator) => operator.clone(),
            TestPart::Operand(word) => self.pattern(word),
        };
        format!("[[ {} ]]", parts.iter().map(part).collect::<Vec<_>>().join(" "))
    }

    fn redirect(&self, redirect: &Redirect) -> String {
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
        let fd = if redirect.fd == usual { String::new() } else { redirect.fd.to_string() };
        // Without the blank a process substitution would make another operator of it.
        let blank = if matches!(redirect.target.0.first(), Some(Piece::Process(_))) { " " } else { "" };
        format!("{fd}{sign}{blank}{}", self.word(&redirect.target))
    }

    /// A word whose literals must not be taken for patterns or reserved words.
    fn pattern(&self, word: &Word) -> String {
        self.written(word, single)
    }

    fn piece(&self, piece: &Piece) -> String {
        match piece {
            Piece::Literal(text) => quote(text),
            Piece::Pattern(text) => text.clone(),
            Piece::Tilde(user) => format!("~{user}"),
            Piece::Process(node) => self.node(*node),
            Piece::Parameter { quoted, .. } | Piece::Command { quoted, .. } | Piece::Arithmetic { quoted, .. } => {
                let text = self.expansion(piece);
                if *quoted { format!("\"{text}\"") } else { text }
            }
        }
    }

    fn expansion(&self, piece: &Piece) -> String {
        match piece {
            Piece::Parameter { quoted, name, operation } => self.parameter(name, operation, *quoted),
            Piece::Command { node, .. } => self.node(*node),
            Piece::Arithmetic { expression, .. } => format!("$(( {expression} ))"),
            other => self.piece(other),
        }
    }

    fn parameter(&self, name: &str, operation: &Operation, quoted: bool) -> String {
        match operation {
            // The parser takes no braces around some of the special ones.
            Operation::Value if !name.contains(|c: char| c.is_alphanumeric() || c == '_') => format!("${name}"),
            Operation::Value => format!("${{{name}}}"),
            Operation::Length => format!("${{#{name}}}"),
            Operation::Default(sign, word) => {
                let piece = |piece: &Piece| match piece {
                    // No escape is safe in there; what would need one is refused.
                    Piece::Literal(text) if quoted => text.clone(),
                    piece if quoted => self.expansion(piece),
                    piece => self.piece(piece),
                };
                format!("${{{name}{sign}{}}}", word.0.iter().map(piece).collect::<String>())
            }
            Operation::Trim(sign, pattern) => format!("${{{name}{sign}{}}}", escaped_pattern(pattern)),
            Operation::Replace(sign, pattern, with) => {
                format!("${{{name}{sign}{}/{}}}", escaped_pattern(pattern), with.prefix())
            }
            Operation::Transform(sign) => format!("${{{name}{sign}}}"),
            Operation::Substring(offset, length) => {
                let part = |number: i64| if number < 0 { format!(": {number}") } else { format!(":{number}") };
                format!("${{{name}{}{}}}", part(*offset), length.map(part).unwrap_or_default())
            }
        }
    }
}

fn escaped_pattern(pattern: &Word) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Literal(text) => in_pattern(text),
        Piece::Pattern(text) => text.clone(),
        _ => String::new(),
    };
    pattern.0.iter().map(piece).collect()
}
