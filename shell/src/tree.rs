//! The tree of a script: what was judged, and all that rendering needs.

use serde::{Deserialize, Serialize};

/// Index of a node in [`Tree::nodes`].
pub type Id = u32;

/// A script. Nodes stand in source order, parents before children; the first is the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// At least one.
    pub nodes: Vec<Node>,
}

/// A command or a construct around commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What contains it; none for the root.
    pub parent: Option<Id>,
    /// What it is to its parent.
    pub role: Role,
    /// What it is.
    pub kind: Kind,
    /// In their order.
    pub redirects: Vec<Redirect>,
}

/// What a node is to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The whole script.
    Root,
    /// One of a sequence, or what a wrapper is about.
    Item,
    /// One of a pipeline.
    Stage,
    /// The side of `&&` or `||` that runs always.
    Left,
    /// The side that may run.
    Right,
    /// What decides.
    Condition,
    /// What is run if it decides so.
    Body,
    /// What is run if not.
    Alternative,
    /// Inside a word of the parent.
    Word,
}

/// What a node is. Where a list of commands can stand there is one child: the only command, or a [`Kind::Sequence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A simple command. The first word names the program; there may be none.
    Command {
        /// `NAME=value` in front.
        assignments: Vec<Assignment>,
        /// Program and arguments.
        words: Vec<Word>,
    },
    /// `a | b`, two or more.
    Pipeline(Vec<Id>),
    /// `left && right`.
    And(Id, Id),
    /// `left || right`.
    Or(Id, Id),
    /// `a; b`, two or more.
    Sequence(Vec<Id>),
    /// `a &`.
    Background(Id),
    /// `! a`.
    Negation(Id),
    /// `time a`.
    Timing {
        /// What is timed.
        item: Id,
        /// Whether `-p` was given.
        posix: bool,
    },
    /// `{ a; }`.
    Group(Id),
    /// `( a )`.
    Subshell(Id),
    /// `if a; then b; else c; fi`.
    Conditional {
        /// Decides.
        condition: Id,
        /// Run if it succeeds.
        body: Id,
        /// Run if it fails.
        alternative: Option<Id>,
    },
    /// `while a; do b; done`.
    Loop {
        /// Decides.
        condition: Id,
        /// Run again and again.
        body: Id,
        /// Whether it goes on while the condition fails.
        until: bool,
    },
    /// `for name in words; do body; done`.
    For {
        /// The variable.
        name: String,
        /// What it goes over.
        words: Vec<Word>,
        /// Run for each.
        body: Id,
    },
    /// `case subject in … esac`.
    Case {
        /// What is compared.
        subject: Word,
        /// In their order.
        arms: Vec<Arm>,
    },
    /// `[[ … ]]`.
    Test(Vec<TestPart>),
    /// `((…))`, canonical.
    Arithmetic(String),
    /// `$(a)`.
    CommandSubstitution(Id),
    /// `<(a)` or `>(a)`.
    ProcessSubstitution {
        /// The commands.
        item: Id,
        /// Which way the bytes go.
        direction: Direction,
    },
}

/// Which end of a process substitution the shell hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// `<(…)`: its output is read.
    Read,
    /// `>(…)`: its input is written.
    Write,
}

/// One arm of a `case`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Alternatives, at least one.
    pub patterns: Vec<Word>,
    /// What is run.
    pub body: Option<Id>,
}

/// A piece of `[[ … ]]`, in source order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TestPart {
    /// An operator or bracket, as it is written.
    Operator(String),
    /// A word that is compared or tested.
    Operand(Word),
}

/// `name=value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// One word, whatever is in it: the shell does not split it.
    pub value: Word,
}

/// A redirection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// The descriptor, 0 to 9.
    pub fd: u32,
    /// What is done with it.
    pub mode: Mode,
    /// File, descriptor number, or text without its last newline.
    pub target: Word,
}

/// What a redirection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// `<`.
    Read,
    /// `>`.
    Write,
    /// `>>`.
    Append,
    /// `<>`.
    ReadWrite,
    /// `>|`.
    Clobber,
    /// `<&`.
    DuplicateRead,
    /// `>&`.
    DuplicateWrite,
    /// A here-document or here-string.
    Text,
}

/// A word in pieces. No two literal pieces stand side by side; an empty list is no word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word(pub Vec<Piece>);

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Exactly this text.
    Literal(String),
    /// Unquoted text with a special meaning in patterns: `*`, `?`, a bracket expression.
    Pattern(String),
    /// `~` or `~user`, at the beginning.
    Tilde(String),
    /// `$x`, `${x…}`.
    Parameter {
        /// Whether it stands in double quotes, so that it stays one word.
        quoted: bool,
        /// Variable or special parameter, with its subscript if there is one.
        name: String,
        /// What is made of its value.
        operation: Operation,
    },
    /// `$(…)`.
    Command {
        /// Whether it stands in double quotes.
        quoted: bool,
        /// The node.
        node: Id,
    },
    /// `<(…)`, `>(…)`.
    Process(Id),
    /// `$((…))`, canonical.
    Arithmetic {
        /// Whether it stands in double quotes.
        quoted: bool,
        /// What is computed.
        expression: String,
    },
}

/// What `${…}` makes of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// The value itself.
    Value,
    /// `${#x}`.
    Length,
    /// `:-`, `-`, `:+`, `+`, `:?`, `?` and their word, of text and plain parameters only.
    Default(String, Word),
    /// `%`, `%%`, `#`, `##` and their pattern.
    Trim(String, Word),
    /// `/`, `//`, `/#`, `/%`, pattern, replacement.
    Replace(String, Word, Word),
    /// `^`, `^^`, `,`, `,,`, `@Q`, `@U`, `@u`, `@L`.
    Transform(String),
    /// Offset and length.
    Substring(i64, Option<i64>),
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable name.
    pub code: String,
    /// For a person: what is wrong and what would be right.
    pub message: String,
}

impl Tree {
    /// The node of this index.
    ///
    /// # Panics
    ///
    /// If there is none: indices come from the same tree.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}

impl Tree {
    /// Whether there is a root, all indices lead to nodes, and children stand behind their parents.
    pub fn is_sound(&self) -> bool {
        let count = self.nodes.len();
        let mut nodes = self.nodes.iter().enumerate();
        count > 0
            && nodes.all(|(at, node)| {
                node.parent.is_none_or(|id| (id as usize) < at)
                    && node.nodes().into_iter().all(|id| (at + 1..count).contains(&(id as usize)))
            })
    }

    /// Drops nodes that nothing leads to any more, such as a substitution in a word that was replaced. Says of each whether it is
    /// kept.
    pub fn compact(&mut self) -> Vec<bool> {
        let mut is_kept = vec![false; self.nodes.len()];
        let mut pending = vec![0];
        while let Some(id) = pending.pop() {
            is_kept[id as usize] = true;
            pending.extend(self.node(id).nodes());
        }
        let mut kept = 0;
        let renumbered: Vec<Id> = is_kept.iter().map(|is_kept| (kept, kept += Id::from(*is_kept)).0).collect();
        let mut keeps = is_kept.iter();
        self.nodes.retain(|_| *keeps.next().unwrap_or(&false));
        for node in &mut self.nodes {
            node.parent = node.parent.map(|id| renumbered[id as usize]);
            node.for_each_id(&mut |id| *id = renumbered[*id as usize]);
        }
        is_kept
    }
}

impl Node {
    /// All nodes directly in it, also those in its words.
    pub fn nodes(&self) -> Vec<Id> {
        let words = self.kind.words().into_iter().chain(self.redirects.iter().map(|redirect| &redirect.target));
        words.flat_map(Word::nodes).chain(self.kind.children()).collect()
    }

    fn for_each_id(&mut self, change: &mut impl FnMut(&mut Id)) {
        self.redirects.iter_mut().for_each(|redirect| redirect.target.for_each_id(change));
        match &mut self.kind {
            Kind::Command { assignments, words } => {
                assignments.iter_mut().for_each(|one| one.value.for_each_id(change));
                words.iter_mut().for_each(|word| word.for_each_id(change));
            }
            Kind::Test(parts) => {
                for part in parts {
                    if let TestPart::Operand(word) = part {
                        word.for_each_id(change);
                    }
                }
            }
            Kind::Arithmetic(_) => {}
            Kind::Pipeline(items) | Kind::Sequence(items) => items.iter_mut().for_each(change),
            Kind::And(left, right) | Kind::Or(left, right) => [left, right].into_iter().for_each(change),
            Kind::Background(item)
            | Kind::Negation(item)
            | Kind::Timing { item, .. }
            | Kind::Group(item)
            | Kind::Subshell(item)
            | Kind::CommandSubstitution(item)
            | Kind::ProcessSubstitution { item, .. } => change(item),
            Kind::Conditional { condition, body, alternative } => {
                [condition, body].into_iter().chain(alternative).for_each(change);
            }
            Kind::Loop { condition, body, .. } => [condition, body].into_iter().for_each(change),
            Kind::For { words, body, .. } => {
                words.iter_mut().for_each(|word| word.for_each_id(change));
                change(body);
            }
            Kind::Case { subject, arms } => {
                subject.for_each_id(change);
                for arm in arms {
                    arm.patterns.iter_mut().for_each(|word| word.for_each_id(change));
                    arm.body.iter_mut().for_each(&mut *change);
                }
            }
        }
    }
}

impl Kind {
    /// The children that are not inside words, with their roles, in source order.
    pub fn children(&self) -> Vec<Id> {
        match self {
            Self::Command { .. } | Self::Test(_) | Self::Arithmetic(_) => Vec::new(),
            Self::Pipeline(items) | Self::Sequence(items) => items.clone(),
            Self::And(left, right) | Self::Or(left, right) => vec![*left, *right],
            Self::Background(item)
            | Self::Negation(item)
            | Self::Timing { item, .. }
            | Self::Group(item)
            | Self::Subshell(item)
            | Self::CommandSubstitution(item)
            | Self::ProcessSubstitution { item, .. } => vec![*item],
            Self::Conditional { condition, body, alternative } => [*condition, *body].into_iter().chain(*alternative).collect(),
            Self::Loop { condition, body, .. } => vec![*condition, *body],
            Self::For { body, .. } => vec![*body],
            Self::Case { arms, .. } => arms.iter().filter_map(|arm| arm.body).collect(),
        }
    }

    /// The words behind the program of a command.
    pub fn args(&self) -> &[Word] {
        match self {
            Self::Command { words, .. } => words.get(1..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The words that stand in it, in source order, without those of redirections.
    pub fn words(&self) -> Vec<&Word> {
        match self {
            Self::Command { assignments, words } => assignments.iter().map(|one| &one.value).chain(words).collect(),
            Self::For { words, .. } => words.iter().collect(),
            Self::Case { subject, arms } => std::iter::once(subject).chain(arms.iter().flat_map(|arm| &arm.patterns)).collect(),
            Self::Test(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    TestPart::Operand(word) => Some(word),
                    TestPart::Operator(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl Word {
    /// A word that is exactly this text.
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Piece::Literal(text.into())])
    }

    /// Its text, if nothing in it is left to the shell.
    pub fn text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it certainly begins with.
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether it becomes exactly one word.
    pub fn is_one(&self) -> bool {
        self.0.iter().all(Piece::is_one)
    }

    /// The nodes of the substitutions in it, in source order.
    pub fn nodes(&self) -> Vec<Id> {
        self.0.iter().flat_map(Piece::nodes).collect()
    }
}

impl Word {
    fn for_each_id(&mut self, change: &mut impl FnMut(&mut Id)) {
        for piece in &mut self.0 {
            match piece {
                Piece::Command { node, .. } | Piece::Process(node) => change(node),
                _ => {}
            }
        }
    }
}

impl Piece {
    /// Whether it makes a word even if it becomes nothing.
    #[cfg(any(test, target_family = "wasm", feature = "unconfined"))]
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Pattern(_)) || self.is_one()
    }

    fn is_one(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Tilde(_) | Self::Process(_) => true,
            Self::Pattern(_) => false,
            // Numbers: the script can not change what words are split at.
            Self::Arithmetic { .. } | Self::Parameter { operation: Operation::Length, .. } => true,
            Self::Parameter { name, operation: Operation::Value, .. } if matches!(name.as_str(), "?" | "#" | "$") => true,
            Self::Parameter { quoted, name, .. } => *quoted && name != "@" && !name.ends_with("[@]"),
            Self::Command { quoted, .. } => *quoted,
        }
    }

    fn nodes(&self) -> Vec<Id> {
        match self {
            Self::Command { node, .. } | Self::Process(node) => vec![*node],
            _ => Vec::new(),
        }
    }
}

impl Refusal {
    /// A refusal; `code` is stable.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}
