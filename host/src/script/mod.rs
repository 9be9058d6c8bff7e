//! From the tree of a script to what is judged, and from what was judged to what is executed.
//!
//! The sandboxed parser makes the tree. Here its words are resolved to the files they lead to, patterns become the files that they
//! match, and it is shown to policies as the contract's table of nodes; edits change the tree; what is executed is rendered from
//! it. The text that a client sent is kept for messages and for nothing else.

mod builtins;
mod course;
mod held;
mod judged;
mod patterns;
mod place;
mod plan;
mod program;

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    path::Path,
    sync::Arc,
};

use portcullis_shell::{
    Assignment, Id, Kind, Node as Syntax, Renderer, Resolved, Role, Tree, Word, is_shells_own, is_variable_name,
    refuse_double_reading,
};

use course::{Course, Lead};
pub use held::Identity;
use place::Lookups;
pub use place::{Directory, Site};
pub use plan::{MOST_SHELL_BYTES, Plan};
pub use portcullis_shell::Refusal;
use program::Found;
pub use program::{ProgramFile, ProgramKind};

use crate::{
    fence::{Bounds, Fence},
    policy::types::{Constructs, Launch, Node},
};

/// Longest command, in bytes of text or of all words together.
pub const MOST_COMMAND_BYTES: usize = 64 * 1024;
/// Most words of one command.
const MOST_WORDS: usize = 4096;

/// Most files and directories that the confinements of one script hold open.
const MOST_HELD: usize = 256;

/// The code of a refusal whose cause is that there is no such program.
pub const PROGRAM_NOT_FOUND: &str = "program-not-found";

/// What stands in front of a script that changes its directory: the shell goes where the directory was judged to be, without
/// following links, or ends. A `cd` that fails would leave later words in a place they were not judged in.
const GOING: &str = "cd() { builtin cd -P -- \"$1\" && [[ $PWD == \"$1\" ]] || exit 1; }; readonly -f cd\n";

/// A judged script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    source: String,
    tree: Tree,
    /// Of each node where it runs and what it leads to.
    leads: Vec<Lead>,
    /// Of each node what it is confined to.
    fences: Vec<Option<Arc<Fence>>>,
    nodes: Vec<Node>,
    constructs: Constructs,
}

/// A change of one node.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Index of the node.
    pub node: u32,
    /// Another program.
    pub program: Option<String>,
    /// All arguments.
    pub args: Option<Vec<Edited>>,
    /// Variables to set.
    pub assignments: Vec<(String, String)>,
    /// What to keep it to.
    pub bounds: Bounds,
}

/// What becomes of one argument.
#[derive(Clone, Debug)]
pub enum Edited {
    /// The argument of this index, whatever it is.
    Keep(u32),
    /// This text.
    Literal(String),
}

impl Script {
    /// Resolves what the words of a tree lead to, and puts names of files in the place of patterns. `cwd` is where it will start:
    /// absolute, links followed.
    ///
    /// # Errors
    ///
    /// What can not be judged, such as a program that is not there, or a directory that only the shell can tell.
    pub fn new(source: String, tree: Tree, site: &Site, cwd: &Path) -> Result<Self, Refusal> {
        Self::confined(source, tree, &[], site, cwd)
    }

    /// [`Self::new`], with what each node is kept to already; those behind the last of them are not.
    ///
    /// # Errors
    ///
    /// The same, or the kernel can not confine so.
    pub fn confined(source: String, tree: Tree, bounds: &[Bounds], site: &Site, cwd: &Path) -> Result<Self, Refusal> {
        refuse_double_reading(&tree)?;
        let lookups = Lookups::new(site);
        let script = Self::resolved(source, tree, bounds, &lookups, cwd);
        lookups.check()?;
        script
    }

    fn resolved(source: String, mut tree: Tree, bounds: &[Bounds], site: &Lookups, cwd: &Path) -> Result<Self, Refusal> {
        let leads = Course::new(&tree, site, cwd).follow()?;
        patterns::expand(&mut tree, &leads, site)?;
        let fences = fences(tree.nodes.len(), bounds, site)?;
        let (nodes, constructs) = judged::table(&tree, &leads, &fences, site);
        Ok(Self { source, tree, leads, fences, nodes, constructs })
    }

    /// What the client sent; for messages.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The table of nodes, parents before children; none while it is lent.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The table itself, since a long one takes its time to copy: for as long as it is judged, to be given back with
    /// [`Self::take_back`], or for good to the job, once nothing is left to be judged.
    pub(crate) fn lend(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.nodes)
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&mut self, nodes: Vec<Node>) {
        self.nodes = nodes;
    }

    /// Which constructs occur.
    pub fn constructs(&self) -> Constructs {
        self.constructs
    }

    /// How it will be started.
    pub fn launch(&self) -> Launch {
        if self.direct().is_some() { Launch::Direct } else { Launch::Shell }
    }

    /// What is started. Where that is the shell, `starter` and the number of the command stand in the place of each program.
    pub fn plan(&self, starter: &str) -> Plan {
        self.direct().unwrap_or_else(|| {
            let goes = self.leads.iter().any(|lead| matches!(lead, Lead::Directory { .. }));
            let script = renderer(&self.tree, &self.leads, |_| Resolved::Numbered(starter)).script();
            Plan::Shell(format!("{}{script}", if goes { GOING } else { "" }))
        })
    }

    /// The text of what will be executed: from the tree, programs by their absolute paths, every word quoted as it must be.
    pub fn canonical(&self) -> String {
        renderer(&self.tree, &self.leads, Resolved::Program).script()
    }

    /// [`Self::canonical`], and behind it what confines its commands: a comment to the shell, if it were one to it.
    pub fn shown(&self) -> String {
        self.with_confinement(self.canonical())
    }

    /// [`Self::shown`] of the canonical text.
    pub fn with_confinement(&self, canonical: String) -> String {
        let mut shown = canonical;
        let confined = self.leads.iter().zip(&self.fences).filter_map(|(lead, fence)| confined(lead, fence.as_deref()?));
        let confined: BTreeSet<String> = confined.collect();
        for (at, confined) in confined.iter().enumerate() {
            shown.extend([if at == 0 { " # " } else { "; " }, confined]);
        }
        shown
    }

    /// Makes all changes of one round, and resolves anew what all words lead to, from `cwd`.
    ///
    /// # Errors
    ///
    /// A change that can not be made, or whose result can not be judged.
    pub fn rewrite(&mut self, edits: &[Edit], site: &Site, cwd: &Path) -> Result<(), Refusal> {
        let mut tree = self.tree.clone();
        let own = |fence: &Option<Arc<Fence>>| fence.as_ref().map(|fence| fence.bounds().clone()).unwrap_or_default();
        let mut bounds: Vec<Bounds> = self.fences.iter().map(own).collect();
        for edit in edits {
            self.edit(&mut tree, edit)?;
            let narrowed = bounds[edit.node as usize].narrow(&edit.bounds);
            narrowed.map_err(|what| Refusal::new("bad-edit", format!("it {what}")))?;
        }
        let mut kept = tree.compact().into_iter();
        bounds.retain(|_| kept.next().unwrap_or(false));
        check_size(&tree, MOST_SHELL_BYTES)?;
        *self = Self::confined(std::mem::take(&mut self.source), tree, &bounds, site, cwd)?;
        Ok(())
    }

    fn edit(&self, tree: &mut Tree, edit: &Edit) -> Result<(), Refusal> {
        let bad = |message: String| Refusal::new("bad-edit", message);
        let at = edit.node as usize;
        let count = tree.nodes.len();
        let (Some(lead), Some(node)) = (self.leads.get(at), tree.nodes.get_mut(at)) else {
            return Err(bad(format!("it edits node {at}, of {count}")));
        };
        let (Lead::Program { .. }, Kind::Command { assignments, words }) = (lead, &mut node.kind) else {
            return Err(bad(format!("it edits node {at}, which is no command with a program")));
        };
        if let Some(program) = &edit.program {
            if builtins::is_builtin(program) {
                return Err(bad(format!("it makes node {at} the shell's own `{program}`")));
            }
            words[0] = Word::literal(program);
        }
        if let Some(args) = &edit.args {
            // As the policy saw them, not as another one has left them.
            let seen = self.tree.node(edit.node).kind.args();
            let kept = edited(args, seen).map_err(|message| bad(format!("of node {at} it {message}")))?;
            words.truncate(1);
            words.extend(kept);
        }
        edit.assignments.iter().try_for_each(|(name, value)| assign(assignments, name, value))
    }

    /// What is started, if that is one program.
    fn direct(&self) -> Option<Plan> {
        let ([node], [Lead::Program { found, .. }]) = (&*self.tree.nodes, &*self.leads) else { return None };
        let Kind::Command { assignments, words } = &node.kind else { return None };
        let text = |word: &Word| word.text().map(str::to_owned);
        let args = words.iter().skip(1).map(text).collect::<Option<_>>()?;
        let env = assignments.iter().map(|one| Some((one.name.clone(), text(&one.value)?))).collect::<Option<_>>()?;
        let fence = self.fences.first().cloned().flatten();
        node.redirects.is_empty().then(|| Plan::Direct { program: found.file.clone(), args, env, fence })
    }
}

/// What a command is confined to, for a person.
fn confined(lead: &Lead, fence: &Fence) -> Option<String> {
    let Lead::Program { found: Found { program, .. }, .. } = lead else { return None };
    let name = program.name.rsplit('/').next().unwrap_or(&program.name);
    let executes = fence.bounds().executes.as_deref().map(|paths| match paths {
        [] => "executes nothing else".to_owned(),
        paths => format!("executes nothing else but in {}", paths.join(", ")),
    });
    let opens = fence.bounds().opens.as_ref().map(|_| "stays in the roots".to_owned());
    let kept: Vec<String> = executes.into_iter().chain(opens).collect();
    (!kept.is_empty()).then(|| format!("{name} {}", kept.join(" and ")))
}

/// What each of so many nodes is confined to, held open; those that are confined alike share it.
fn fences(count: usize, bounds: &[Bounds], site: &Site) -> Result<Vec<Option<Arc<Fence>>>, Refusal> {
    let mut known: HashMap<&Bounds, Arc<Fence>> = HashMap::new();
    let mut fences = Vec::with_capacity(count);
    for bounds in bounds.iter().take(count) {
        fences.push(match known.get(bounds) {
            _ if bounds.are_none() => None,
            Some(fence) => Some(fence.clone()),
            None => {
                let fence = Fence::open(bounds, &site.roots)?;
                known.insert(bounds, fence.clone());
                Some(fence)
            }
        });
    }
    if known.values().map(|fence| fence.held()).sum::<usize>() > MOST_HELD {
        return Err(Refusal::new("bad-edit", format!("its commands are confined to more than {MOST_HELD} paths together")));
    }
    fences.resize(count, None);
    Ok(fences)
}

/// The tree of a program that the shell is about to start, with what its words and the variables in front of it have become.
///
/// # Errors
///
/// Too much of it, or what no policy can judge.
pub fn tree_of_program(assignments: &[(String, String)], words: &[String]) -> Result<Tree, Refusal> {
    let assignment = |(name, value): &(String, String)| Assignment { name: name.clone(), value: Word::literal(value) };
    let tree = simple(assignments.iter().map(assignment).collect(), words.iter().map(Word::literal).collect());
    check_size(&tree, MOST_SHELL_BYTES)?;
    Ok(tree)
}

/// The tree of a command that is split into words already, as a command line hands it over.
///
/// # Errors
///
/// No words, too many, or such as no policy can judge.
pub fn tree_of_words(words: &[OsString]) -> Result<Tree, Refusal> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let words = words.ok_or_else(|| {
        Refusal::new(
            "not-utf-8",
            "a word of the command is not UTF-8; policies judge text, so rename the file or pass it on differently",
        )
    })?;
    if words.is_empty() {
        return Err(Refusal::new("empty-command", "there is no command in it; send one such as `git status`"));
    }
    let tree = simple(Vec::new(), words.into_iter().map(Word::literal).collect());
    check_size(&tree, MOST_COMMAND_BYTES)?;
    Ok(tree)
}

fn simple(assignments: Vec<Assignment>, words: Vec<Word>) -> Tree {
    let kind = Kind::Command { assignments, words };
    Tree { nodes: vec![Syntax { parent: None, role: Role::Root, kind, redirects: Vec::new() }] }
}

/// The text of such a tree, for messages.
pub fn source_of(tree: &Tree) -> String {
    Renderer::new(tree, |_| Resolved::AsWritten).script()
}

/// Refuses a text that is not worth the parser's time.
///
/// # Errors
///
/// It is too long, or holds a NUL byte.
pub fn check_text(text: &str) -> Result<(), Refusal> {
    check_bytes(text.len(), MOST_COMMAND_BYTES, text.contains('\0'))
}

/// `program` says how a program of this path is written.
fn renderer<'a>(
    tree: &'a Tree,
    leads: &'a [Lead],
    program: impl Fn(&'a str) -> Resolved<'a>,
) -> Renderer<'a, impl Fn(Id) -> Resolved<'a>> {
    Renderer::new(tree, move |id| match &leads[id as usize] {
        Lead::Program { found, .. } => program(&found.program.name),
        Lead::Directory { to, .. } => Resolved::Directory(to),
        Lead::Builtin { .. } | Lead::Nothing { .. } => Resolved::AsWritten,
    })
}

/// Puts the arguments that are kept in their places. One with commands in it can not be kept twice: they would run twice.
fn edited(args: &[Edited], old: &[Word]) -> Result<Vec<Word>, String> {
    let mut used = vec![false; old.len()];
    let place = |arg: &Edited| match arg {
        Edited::Literal(text) => Ok(Word::literal(text)),
        Edited::Keep(index) => {
            let at = *index as usize;
            let word = old.get(at).ok_or_else(|| format!("keeps argument {at}, of {}", old.len()))?;
            if std::mem::replace(&mut used[at], true) && !word.nodes().is_empty() {
                return Err(format!("keeps argument {at}, which holds commands, twice"));
            }
            Ok(word.clone())
        }
    };
    args.iter().map(place).collect()
}

fn assign(assignments: &mut Vec<Assignment>, name: &str, value: &str) -> Result<(), Refusal> {
    if !is_variable_name(name) || is_shells_own(name) {
        return Err(Refusal::new("bad-edit", format!("it sets {name:?}, which is no variable that a policy may set")));
    }
    let value = Word::literal(value);
    match assignments.iter_mut().find(|one| one.name == name) {
        Some(one) => one.value = value,
        None => assignments.push(Assignment { name: name.to_owned(), value }),
    }
    Ok(())
}

/// What has to hold of the words of every command, wherever they come from. What policies add may go beyond what a client may send.
fn check_size(tree: &Tree, most: usize) -> Result<(), Refusal> {
    let mut bytes = 0;
    for node in &tree.nodes {
        let words = node.kind.words();
        if words.len() > MOST_WORDS {
            return Err(Refusal::new("too-long", format!("the command has more than {MOST_WORDS} words")));
        }
        let has_nul = words.iter().any(|word| word.prefix().contains('\0'));
        bytes += words.iter().map(|word| word.prefix().len()).sum::<usize>();
        check_bytes(bytes, most, has_nul)?;
    }
    Ok(())
}

fn check_bytes(bytes: usize, most: usize, has_nul: bool) -> Result<(), Refusal> {
    if bytes > most {
        return Err(Refusal::new(
            "too-long",
            format!("the command has {bytes} bytes; at most {most} are judged; put long data into a file"),
        ));
    }
    if has_nul {
        return Err(Refusal::new("nul-byte", "the command holds a NUL byte, which no program can be given"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
