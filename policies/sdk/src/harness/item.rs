//! Scripts for tests, put together from their parts instead of parsed.

use crate::{Constructs, Expansion, NodeKind, RedirectMode, Role, Word};

/// A part of a script, with the parts inside it; [`World::script`](super::World::script) makes a request of the outermost.
///
/// ```
/// # use portcullis_sdk::harness::{Item, World, dynamic};
/// // cd web && git log "$branch" 2>/dev/null | head
/// let log = Item::command(&["git", "log"]).word(dynamic("", "\"$branch\"")).to(2, "/dev/null");
/// let script = Item::builtin(&["cd", "web"]).and(Item::pipeline([log, Item::command(&["head"])]).at("/work/web"));
/// assert_eq!(World::new().script(script).nodes.len(), 5);
/// ```
#[derive(Debug, Clone)]
pub struct Item {
    pub(super) kind: NodeKind,
    pub(super) directory: Option<String>,
    pub(super) program: Option<Word>,
    pub(super) builtin: bool,
    pub(super) args: Vec<Word>,
    pub(super) assignments: Vec<(String, Word)>,
    pub(super) redirects: Vec<(u32, RedirectMode, Word)>,
    pub(super) children: Vec<(Role, Item)>,
}

/// A word that becomes exactly one, such as `"--file=$x"`: what it certainly begins with, and its source.
pub fn dynamic(prefix: &str, source: &str) -> Word {
    Word::Dynamic(Expansion { source: source.to_owned(), prefix: prefix.to_owned(), one_word: true })
}

/// A word that may become none or many, such as `$x` or `*.txt`: what the first certainly begins with, and its source.
pub fn dynamic_words(prefix: &str, source: &str) -> Word {
    Word::Dynamic(Expansion { source: source.to_owned(), prefix: prefix.to_owned(), one_word: false })
}

impl Item {
    /// A simple command of literal words: leading `NAME=value` words are assignments, and it may consist of these alone or of
    /// nothing, for redirections.
    pub fn command(words: &[&str]) -> Self {
        let count = words.iter().take_while(|word| super::is_assignment(word)).count();
        let (assignments, rest) = words.split_at(count);
        let mut rest = rest.iter().map(|word| Word::Literal((*word).to_owned()));
        let mut item = Self::compound(NodeKind::Command, Role::Word, []);
        item.program = rest.next();
        item.args = rest.collect();
        let pairs = assignments.iter().filter_map(|word| word.split_once('='));
        item.assignments = pairs.map(|(name, value)| (name.to_owned(), Word::Literal(value.to_owned()))).collect();
        item
    }

    /// The same, run by the shell itself.
    pub fn builtin(words: &[&str]) -> Self {
        Self { builtin: true, ..Self::command(words) }
    }

    /// A compound of any kind whose parts all have this role.
    pub fn compound(kind: NodeKind, role: Role, items: impl IntoIterator<Item = Item>) -> Self {
        Self {
            kind,
            directory: None,
            program: None,
            builtin: false,
            args: Vec::new(),
            assignments: Vec::new(),
            redirects: Vec::new(),
            children: items.into_iter().map(|item| (role, item)).collect(),
        }
    }

    /// `a | b | …`.
    pub fn pipeline(stages: impl IntoIterator<Item = Item>) -> Self {
        Self::compound(NodeKind::Pipeline, Role::Stage, stages)
    }

    /// `a; b; …`.
    pub fn sequence(items: impl IntoIterator<Item = Item>) -> Self {
        Self::compound(NodeKind::Sequence, Role::Item, items)
    }

    /// `self && right`.
    pub fn and(self, right: Item) -> Self {
        let mut item = Self::compound(NodeKind::And, Role::Left, [self]);
        item.children.push((Role::Right, right));
        item
    }

    /// `self || right`.
    pub fn or(self, right: Item) -> Self {
        Self { kind: NodeKind::Or, ..self.and(right) }
    }

    /// Inside something of one item: a subshell, a group, `!`, `time`, `&`, a substitution.
    pub fn inside(self, kind: NodeKind) -> Self {
        Self::compound(kind, Role::Item, [self])
    }

    /// With one more argument.
    pub fn word(mut self, word: Word) -> Self {
        self.args.push(word);
        self
    }

    /// With one more argument that contains commands: a substitution.
    pub fn substituted(mut self, word: Word, inner: Item) -> Self {
        self.args.push(word);
        self.children.push((Role::Word, inner.inside(NodeKind::CommandSubstitution)));
        self
    }

    /// With one more part.
    pub fn part(mut self, role: Role, item: Item) -> Self {
        self.children.push((role, item));
        self
    }

    /// With another program.
    pub fn program(mut self, word: Word) -> Self {
        self.program = Some(word);
        self
    }

    /// With `name=word` in front.
    pub fn assign(mut self, name: &str, word: Word) -> Self {
        self.assignments.push((name.to_owned(), word));
        self
    }

    /// With a redirection.
    pub fn redirect(mut self, fd: u32, mode: RedirectMode, target: Word) -> Self {
        self.redirects.push((fd, mode, target));
        self
    }

    /// With `fd> path`.
    pub fn to(self, fd: u32, path: &str) -> Self {
        self.redirect(fd, RedirectMode::Write, Word::Literal(path.to_owned()))
    }

    /// With `< path`.
    pub fn from(self, path: &str) -> Self {
        self.redirect(0, RedirectMode::Read, Word::Literal(path.to_owned()))
    }

    /// With this absolute directory in force, here and inside.
    pub fn at(mut self, directory: &str) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Something like what a client would have sent; for messages only.
    pub(super) fn source(&self) -> String {
        let words = self.program.iter().chain(&self.args).map(text).collect::<Vec<_>>().join(" ");
        let items = self.children.iter().map(|(_, item)| item.source()).collect::<Vec<_>>().join("; ");
        if items.is_empty() { words } else { format!("{words}({items})") }
    }

    /// What the part itself, without those inside it, adds to the constructs of the script.
    pub(super) fn constructs(&self) -> Constructs {
        let redirected = self.redirects.iter().map(|(_, mode, _)| match mode {
            RedirectMode::Read | RedirectMode::DuplicateRead => Constructs::REDIRECT_READ,
            RedirectMode::ReadWrite => Constructs::REDIRECT_READ | Constructs::REDIRECT_WRITE,
            RedirectMode::Text => Constructs::HERE_DOCUMENT,
            _ => Constructs::REDIRECT_WRITE,
        });
        let targets = self.redirects.iter().map(|(_, _, word)| word);
        let values = self.assignments.iter().map(|(_, word)| word);
        let words = self.program.iter().chain(&self.args).chain(targets).chain(values).map(of_word);
        let assigned = if self.assignments.is_empty() { Constructs::empty() } else { Constructs::ASSIGNMENT };
        redirected.chain(words).fold(of_kind(self.kind) | assigned, |all, one| all | one)
    }
}

fn text(word: &Word) -> &str {
    match word {
        Word::Literal(text) => text,
        Word::Dynamic(expansion) => &expansion.source,
    }
}

fn of_word(word: &Word) -> Constructs {
    let Word::Dynamic(expansion) = word else { return Constructs::empty() };
    let source = &expansion.source;
    let flag = |is: bool, flag| if is { flag } else { Constructs::empty() };
    flag(source.contains('$') && !source.contains("$("), Constructs::PARAMETER)
        | flag(!expansion.one_word && source.contains(['*', '?', '[']), Constructs::GLOB)
        | flag(source.starts_with('~'), Constructs::TILDE)
}

fn of_kind(kind: NodeKind) -> Constructs {
    match kind {
        NodeKind::Command => Constructs::empty(),
        NodeKind::Pipeline => Constructs::PIPELINE,
        NodeKind::And | NodeKind::Or => Constructs::AND_OR,
        NodeKind::Sequence => Constructs::SEQUENCE,
        NodeKind::Background => Constructs::BACKGROUND,
        NodeKind::Negation => Constructs::NEGATION,
        NodeKind::Timing => Constructs::TIMING,
        NodeKind::Group => Constructs::GROUP,
        NodeKind::Subshell => Constructs::SUBSHELL,
        NodeKind::Conditional => Constructs::CONDITIONAL,
        NodeKind::Loop | NodeKind::ForLoop => Constructs::LOOP,
        NodeKind::Case => Constructs::CASE,
        NodeKind::Test => Constructs::TEST,
        NodeKind::Arithmetic => Constructs::ARITHMETIC,
        NodeKind::CommandSubstitution => Constructs::COMMAND_SUBSTITUTION,
        NodeKind::ProcessSubstitution => Constructs::PROCESS_SUBSTITUTION,
    }
}
