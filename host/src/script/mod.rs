//! From the text a client sends to the tree that is judged, and from the judged tree to what is executed.
//!
//! For now a script is one simple command whose words are all literal; everything else is refused with the reason. The tree is the
//! contract's own table of nodes, so that policies judge, and edits change, the very thing that is started.

mod held;
mod parse;
mod place;
mod plan;
mod program;
mod quote;

use std::{ffi::OsString, path::Path, sync::Arc};

pub use held::Identity;
pub use place::{Directory, Site};
pub use plan::{MOST_SHELL_BYTES, Plan};
use program::{Found, resolve as resolve_program};
pub use program::{ProgramFile, ProgramKind};

use crate::policy::types::{Argument, Constructs, Launch, Node, NodeKind, Role, Word};

/// Longest command, in bytes of text or of all words together.
pub const MOST_COMMAND_BYTES: usize = 64 * 1024;
/// Most words of one command.
const MOST_WORDS: usize = 4096;

/// The code of a refusal whose cause is that there is no such program.
pub const PROGRAM_NOT_FOUND: &str = "program-not-found";

/// Why a text was refused before any policy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable name.
    pub code: &'static str,
    /// For a person: what is wrong and what would be right.
    pub message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A judged script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    source: String,
    nodes: Vec<Node>,
    /// Of each node the file that its program was resolved to.
    files: Vec<Option<Arc<ProgramFile>>>,
    constructs: Constructs,
}

/// A change of one node, its kept arguments put in their places.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Index of the node.
    pub node: usize,
    /// Another program.
    pub program: Option<String>,
    /// All arguments.
    pub args: Option<Vec<Word>>,
    /// Variables to set.
    pub assignments: Vec<(String, String)>,
}

/// A simple command before its names are resolved.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    assignments: Vec<(String, String)>,
    program: String,
    args: Vec<String>,
}

impl Script {
    /// Parses shell text. `cwd` is where it will start: absolute, links followed.
    pub fn parse(text: &str, site: &Site, cwd: &Path) -> Result<Self, Refusal> {
        check_size(text.len(), text.contains('\0'))?;
        Self::new(text.to_owned(), parse::parse(text)?, site, cwd)
    }

    /// Takes a command that is split into words already, as a command line hands it over.
    pub fn from_words(words: &[OsString], site: &Site, cwd: &Path) -> Result<Self, Refusal> {
        let words: Option<Vec<String>> = words.iter().map(|word| word.to_str().map(str::to_owned)).collect();
        let words = words.ok_or_else(|| {
            Refusal::new(
                "not-utf-8",
                "a word of the command is not UTF-8; policies judge text, so rename the file or pass it on differently",
            )
        })?;
        check_size(words.iter().map(String::len).sum(), words.iter().any(|word| word.contains('\0')))?;
        let Some((program, args)) = words.split_first() else { return Err(empty()) };
        let source = words.iter().map(|word| quote::word(word)).collect::<Vec<_>>().join(" ");
        let words = Words { assignments: Vec::new(), program: program.clone(), args: args.to_vec() };
        Self::new(source, words, site, cwd)
    }

    fn new(source: String, words: Words, site: &Site, cwd: &Path) -> Result<Self, Refusal> {
        if words.args.len() >= MOST_WORDS {
            return Err(Refusal::new("too-long", format!("the command has more than {MOST_WORDS} words")));
        }
        let Found { program, file } = resolve_program(&words.program, site, cwd)?;
        let constructs = if words.assignments.is_empty() { Constructs::empty() } else { Constructs::ASSIGNMENT };
        let node = Node {
            parent: None,
            role: Role::Root,
            kind: NodeKind::Command,
            directory: cwd.to_string_lossy().into_owned(),
            program: Some(Word::Literal(words.program)),
            resolved: Some(program),
            builtin: false,
            args: words.args.into_iter().map(|text| argument(Word::Literal(text), site, cwd)).collect(),
            assignments: words.assignments.into_iter().map(|(name, value)| (name, Word::Literal(value))).collect(),
            redirects: Vec::new(),
        };
        Ok(Self { source, nodes: vec![node], files: vec![Some(file)], constructs })
    }

    /// What the client sent; for messages.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The table of nodes, parents before children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Which constructs occur.
    pub fn constructs(&self) -> Constructs {
        self.constructs
    }

    /// How it will be started.
    pub fn launch(&self) -> Launch {
        Launch::Direct
    }

    /// What is started, if this form can be: for now one program whose words are all literal.
    pub fn plan(&self) -> Option<Plan> {
        let ([node], [Some(file)]) = (&*self.nodes, &*self.files) else { return None };
        let args = node.args.iter().map(|argument| literal(&argument.word)).collect::<Option<_>>()?;
        let env = node.assignments.iter().map(|(name, word)| Some((name.clone(), literal(word)?))).collect::<Option<_>>()?;
        Some(Plan::Direct { program: file.clone(), args, env })
    }

    /// Changes a node and resolves anew what its words name.
    pub fn edit(&mut self, edit: &Edit, site: &Site, cwd: &Path) -> Result<(), Refusal> {
        let bad = |message: String| Refusal::new("bad-edit", message);
        let count = self.nodes.len();
        let node = self.nodes.get_mut(edit.node).ok_or_else(|| bad(format!("it edits node {}, of {count}", edit.node)))?;
        if node.kind != NodeKind::Command || node.program.is_none() {
            return Err(bad(format!("it edits node {}, which is no command with a program", edit.node)));
        }
        if let Some(program) = &edit.program {
            let found = resolve_program(program, site, cwd)?;
            node.resolved = Some(found.program);
            self.files[edit.node] = Some(found.file);
            node.program = Some(Word::Literal(program.clone()));
        }
        if let Some(args) = &edit.args {
            node.args = args.iter().map(|word| argument(word.clone(), site, cwd)).collect();
        }
        for (name, value) in &edit.assignments {
            assign(node, name, value)?;
        }
        if node.assignments.is_empty() {
            self.constructs &= !Constructs::ASSIGNMENT;
        } else {
            self.constructs |= Constructs::ASSIGNMENT;
        }
        self.check()
    }

    /// Resolves anew what all words name, from another directory.
    pub fn relocate(&mut self, site: &Site, cwd: &Path) -> Result<(), Refusal> {
        for (node, file) in self.nodes.iter_mut().zip(&mut self.files) {
            node.directory = cwd.to_string_lossy().into_owned();
            if let (Some(Word::Literal(program)), Some(_)) = (&node.program, &node.resolved) {
                let found = resolve_program(program, site, cwd)?;
                node.resolved = Some(found.program);
                *file = Some(found.file);
            }
            for arg in &mut node.args {
                *arg = argument(arg.word.clone(), site, cwd);
            }
        }
        Ok(())
    }

    /// What has to hold of the words of every command, wherever they come from.
    fn check(&self) -> Result<(), Refusal> {
        let node = &self.nodes[0];
        let words =
            || node.args.iter().map(|argument| text(&argument.word)).chain(node.assignments.iter().map(|(_, word)| text(word)));
        if node.args.len() >= MOST_WORDS {
            return Err(Refusal::new("too-long", format!("the command has more than {MOST_WORDS} words")));
        }
        check_size(words().map(str::len).sum(), words().any(|word| word.contains('\0')))
    }

    /// The text of what will be executed: assignments, the program's absolute path, its arguments, quoted as the shell would need
    /// it.
    pub fn canonical(&self) -> String {
        let node = &self.nodes[0];
        let assignments = node.assignments.iter().map(|(name, word)| format!("{name}={}", quote::word(text(word))));
        let program = node.resolved.iter().map(|program| quote::word(&program.name));
        let args = node.args.iter().map(|argument| quote::word(text(&argument.word)));
        assignments.chain(program).chain(args).collect::<Vec<_>>().join(" ")
    }
}

fn text(word: &Word) -> &str {
    match word {
        Word::Literal(text) => text,
        Word::Dynamic(expansion) => &expansion.source,
    }
}

fn literal(word: &Word) -> Option<String> {
    match word {
        Word::Literal(text) => Some(text.clone()),
        Word::Dynamic(_) => None,
    }
}

fn argument(word: Word, site: &Site, cwd: &Path) -> Argument {
    let places = match &word {
        Word::Literal(text) => site.places(text, cwd),
        Word::Dynamic(_) => Vec::new(),
    };
    Argument { word, places }
}

fn assign(node: &mut Node, name: &str, value: &str) -> Result<(), Refusal> {
    if !is_variable_name(name) {
        return Err(Refusal::new("bad-edit", format!("it sets {name:?}, which is no name of a variable")));
    }
    let word = Word::Literal(value.to_owned());
    match node.assignments.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => *old = word,
        None => node.assignments.push((name.to_owned(), word)),
    }
    Ok(())
}

/// Whether the shell would take this as the name of a variable.
fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn check_size(bytes: usize, has_nul: bool) -> Result<(), Refusal> {
    if bytes > MOST_COMMAND_BYTES {
        return Err(Refusal::new(
            "too-long",
            format!("the command has {bytes} bytes; at most {MOST_COMMAND_BYTES} are judged; put long data into a file"),
        ));
    }
    if has_nul {
        return Err(Refusal::new("nul-byte", "the command holds a NUL byte, which no program can be given"));
    }
    Ok(())
}

fn empty() -> Refusal {
    Refusal::new("empty-command", "there is no command in it; send one such as `git status`")
}

#[cfg(test)]
mod tests;
