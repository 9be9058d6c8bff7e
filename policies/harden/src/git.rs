//! The form that git is given, and what can not be given it.
//!
//! Fixed options stand directly behind `git` and win over every file; switches stand behind the sub-commands that know them;
//! variables stand in front. The form is canonical: a command has it or has it not, and what has it is left alone.

use portcullis_sdk::{Argument, Edit, Edited, Node, Request, Word, literal};

use crate::{
    command::with_variables,
    repository::{Reach, Refusal},
    visit,
};

/// What stands directly behind `git`, in this order. Each is here because a repository's own files could say otherwise.
pub const PREFIX: &[&str] = &[
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.pager=cat",
    "-c",
    "core.sshCommand=false",
    "-c",
    "core.askPass=",
    "-c",
    "credential.helper=",
    "-c",
    "diff.external=",
    "-c",
    "gpg.program=false",
    "-c",
    "gpg.ssh.program=false",
    "-c",
    "gpg.x509.program=false",
    "-c",
    "log.showSignature=false",
    // With the programs above switched off a signature would fail, and an agent does not sign in its user's name.
    "-c",
    "commit.gpgSign=false",
    "-c",
    "tag.gpgSign=false",
    "-c",
    "protocol.allow=never",
    "-c",
    "submodule.recurse=false",
    // The index holds it, with names of directories that git lists unasked, `../out` among them.
    "-c",
    "core.untrackedCache=false",
    // With more than one thread git reads entries wherever the end of the index says that they stand, and not one behind the other.
    "-c",
    "index.threads=1",
    // It names packs, anywhere.
    "-c",
    "core.multiPackIndex=false",
    // A list of the repository names files, anywhere, whose conflicts `commit` would record, and write over.
    "-c",
    "rerere.enabled=false",
    // What tidies up is git once more, which would read its settings anew, whatever they are by then.
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    // Files of a branch, checked out, would be a repository to whoever stands among them. git 2.38 and later know it.
    "-c",
    "safe.bareRepository=explicit",
    "-c",
    "color.ui=false",
];

/// What stands directly behind the sub-commands that know it: no external diff programs, no text converters, no look into
/// submodules, whose own configuration would count. And no word on what a new state of the files looks like, for which those are
/// entered that came with it.
const SWITCHES: &[(&str, &[&str])] = &[
    ("log", DIFF),
    ("show", DIFF),
    ("diff", DIFF),
    ("whatchanged", DIFF),
    ("diff-tree", DIFF),
    ("diff-index", DIFF),
    ("diff-files", DIFF),
    ("blame", &["--no-textconv"]),
    ("grep", &["--no-textconv"]),
    ("status", &["--ignore-submodules=all"]),
    ("switch", QUIET),
    ("checkout", QUIET),
];

const QUIET: &[&str] = &["--quiet"];

/// What `stash` is told that ends with such a word.
const STASHED: &[&str] = &["apply", "branch", "pop"];

const DIFF: &[&str] = &["--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];

/// Sub-commands that never enter a repository inside the working tree, besides those with `--ignore-submodules=all`. All others
/// may: `add`, `commit` and `stash` run `git status` there, with that repository's own configuration.
pub const STAYING: &[&str] = &[
    "blame",
    "branch",
    "cat-file",
    "check-attr",
    "check-ignore",
    "cherry",
    "config",
    "count-objects",
    "for-each-ref",
    "grep",
    "ls-files",
    "ls-tree",
    "merge-base",
    "name-rev",
    "reflog",
    "remote",
    "rev-list",
    "rev-parse",
    "shortlog",
    "show-ref",
    "symbolic-ref",
    "tag",
    "var",
    "version",
];

/// What is set in front of the command.
///
/// A repository can say that its objects lie elsewhere, and how to fetch them; no protocol is allowed for that, whatever the
/// repository's `protocol.*.allow` says. An editor would wait for a person; `:` is git's own word for taking texts as they are.
pub const VARIABLES: &[(&str, &str)] = &[
    ("GIT_ALLOW_PROTOCOL", ""),
    ("GIT_EDITOR", ":"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_SEQUENCE_EDITOR", ":"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("PAGER", "cat"),
];

/// Options in front of a sub-command that only make git tell something of itself.
pub const HARMLESS: &[&str] = &["--version", "-v", "--help", "-h"];

/// Variables beside [`VARIABLES`] that a call may set: they say who and when, not where and how.
const OWN_VARIABLES: &[&str] = &[
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
];

/// The edit that gives the node with this index, a call of git, the hardened form; none if it has it. `kept` says what it is kept
/// to, if it is.
///
/// # Errors
///
/// What the form can not make harmless: another repository, other configuration, a sub-command that nobody can read.
pub fn hardened(git: &Node, index: u32, kept: Option<&Kept>) -> Result<Option<Edit>, Refusal> {
    own_variables(git)?;
    let edit = with_form(git, index)?;
    let Some(kept) = kept else { return Ok(edit) };
    let formed = edit.as_ref().and_then(|edit| edit.args.as_ref()).map(|args| edited(git, args));
    let (executes, opens) = (kept.programs.of(formed.as_ref().unwrap_or(git)), kept.read_by(git));
    if git.is_confined_to(&executes) && git.stays_in_the_roots(&opens) {
        return Ok(edit);
    }
    Ok(Some(edit.unwrap_or_else(|| Edit::new(index)).confine(executes).keep_in_the_roots(opens)))
}

/// What a call of git is kept to.
#[derive(Debug)]
pub struct Kept<'a> {
    /// What it may execute.
    pub programs: &'a Programs,
    /// What it may read outside of the roots, besides what is git's own.
    pub reads: Vec<String>,
}

impl Kept<'_> {
    fn read_by(&self, git: &Node) -> Vec<String> {
        let places = git.resolved.iter().flat_map(|program| [&program.path, &program.name]);
        let own = places.flat_map(|program| around(program, &["etc/gitconfig", "lib", "lib64", "share"]));
        self.reads.iter().cloned().chain(["/etc/gitconfig".to_owned()]).chain(own).collect()
    }
}

/// What calls of git may execute besides git.
#[derive(Debug)]
pub enum Programs {
    /// Git, and only where it enters other repositories, for which it starts itself anew.
    Own,
    /// What lies at these paths.
    Listed(Vec<String>),
}

impl Programs {
    /// The paths for a call that has the hardened form.
    fn of(&self, git: &Node) -> Vec<String> {
        match self {
            Self::Listed(paths) => paths.clone(),
            Self::Own if reach(git) == Reach::Own => Vec::new(),
            Self::Own => git.resolved.iter().flat_map(|program| around(&program.path, &OWN_PROGRAMS)).collect(),
        }
    }
}

/// As what git starts itself: wherever it was installed, one of these, and sometimes both. What lies beside it speaks to networks.
const OWN_PROGRAMS: [&str; 2] = ["lib/git-core/git", "libexec/git-core/git"];

/// What was installed with a program, by the place of its `bin`.
fn around<'a>(program: &str, parts: &'a [&str]) -> impl Iterator<Item = String> + use<'a> {
    let above = program.rsplitn(3, '/').nth(2).unwrap_or_default().to_owned();
    parts.iter().map(move |part| format!("{above}/{part}"))
}

/// The node with these arguments.
fn edited(git: &Node, args: &[Edited]) -> Node {
    let argument = |arg: &Edited| match arg {
        Edited::Keep(at) => git.args[*at as usize].clone(),
        Edited::Literal(text) => Argument { word: Word::Literal(text.clone()), places: Vec::new() },
    };
    Node { args: args.iter().map(argument).collect(), ..git.clone() }
}

fn with_form(git: &Node, index: u32) -> Result<Option<Edit>, Refusal> {
    let words: Vec<Option<&str>> = git.args.iter().map(Argument::text).collect();
    let is_prefixed = begins(&words, PREFIX);
    // The client's own `--no-pager` says nothing that the prefix does not.
    let own = if is_prefixed { PREFIX.len() } else { words.iter().take_while(|word| **word == Some("--no-pager")).count() };
    let switches = sub_command(words.get(own).copied())?;
    let is_stashed =
        words.get(own) == Some(&Some("stash")) && matches!(words.get(own + 1), Some(Some(word)) if STASHED.contains(word));
    let (behind, switches) = if is_stashed { (own + 2, QUIET) } else { (own + 1, switches) };
    let is_switched = words.get(behind..).is_none_or(|rest| begins(rest, switches));
    let edit = with_variables(git, index, VARIABLES);
    if is_prefixed && is_switched {
        return Ok(edit);
    }
    let split = if is_switched { own } else { behind };
    let added: &[&str] = if is_switched { &[] } else { switches };
    let text = |word: &&str| Edited::Literal((*word).to_owned());
    let keep = |range: std::ops::Range<usize>| range.filter_map(|at| u32::try_from(at).ok()).map(Edited::Keep);
    let args = PREFIX.iter().map(text).chain(keep(own..split)).chain(added.iter().map(text)).chain(keep(split..words.len()));
    Ok(Some(edit.unwrap_or_else(|| Edit::new(index)).args(args)))
}

/// How far a call that has the hardened form goes.
pub fn reach(git: &Node) -> Reach {
    let (command, rest) = parts(git);
    let own = rest.get(command.map_or(0, |command| switches(command).len())..).unwrap_or_default();
    match may_enter(git) {
        false if !own.iter().any(is_about_others) => Reach::Own,
        _ => Reach::Inner,
    }
}

/// Whether a word may say something of the repositories inside: options can be cut short, and a later one wins.
pub fn is_about_others(arg: &Argument) -> bool {
    arg.text().is_none_or(|word| ["--ig", "--rec", "--sub"].iter().any(|option| word.starts_with(option)))
}

/// The sub-command of a call that has the hardened form, and what stands behind it.
pub fn parts(git: &Node) -> (Option<&str>, &[Argument]) {
    match git.args.get(PREFIX.len()..) {
        Some([command, rest @ ..]) => (command.text(), rest),
        _ => (None, &[]),
    }
}

/// Whether a call may enter other repositories; unknown sub-commands may.
fn may_enter(git: &Node) -> bool {
    let Some(command) = parts(git).0 else { return git.args.len() > PREFIX.len() };
    let stays = STAYING.contains(&command) || HARMLESS.contains(&command);
    !(stays || switches(command).contains(&"--ignore-submodules=all"))
}

/// Whether this is a sub-command that [`reach`] knows. Later versions of git take aliases for some of them that are hardly used.
pub fn is_known(command: &str) -> bool {
    STAYING.contains(&command) || HARMLESS.contains(&command) || !switches(command).is_empty()
}

/// Refuses what takes [`QUIET`] back.
pub fn is_told_quietly(git: &Node) -> Result<(), Refusal> {
    let (command, rest) = parts(git);
    let is_loud = |arg: &&Argument| arg.text().is_some_and(|word| word.starts_with("--no-q"));
    match rest.iter().find(is_loud).filter(|_| matches!(command, Some("checkout" | "stash" | "switch"))) {
        Some(_) => Err(Refusal {
            code: "git-option",
            message: "`--no-quiet` has git enter repositories that came with a change; leave it out".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Refuses calls that move files to where a repository has its own: git moves first and complains afterwards.
pub fn files_of_the_repository(git: &Node) -> Result<(), Refusal> {
    const NAMES: &[&str] = &[".git", "alternates", "commondir", "config.worktree"];
    let is_named = |path: &str| path.split('/').any(|part| NAMES.iter().any(|name| part.eq_ignore_ascii_case(name)));
    let (command, rest) = parts(git);
    let is_own = |arg: &&Argument| match arg.text() {
        Some(word) => is_named(word) || arg.places.iter().any(|place| is_named(&place.path)),
        None => command == Some("mv"),
    };
    match rest.iter().find(is_own).filter(|_| visit::changes_files(git)) {
        Some(_) => {
            let message =
                "a call of git that changes files may not name what can be a repository's own, or what only the shell can tell";
            Err(Refusal { code: "git-operand", message: message.to_owned() })
        }
        None => Ok(()),
    }
}

/// Refuses what sets, anywhere in the script, a variable by which git finds its repository or its configuration.
pub fn variables_of_the_script(request: &Request) -> Result<(), Refusal> {
    let nodes = request.nodes.iter().filter(|node| node.builtin || node.program.is_none());
    let words = |node: &Node| node.args.iter().filter_map(|arg| name(&arg.word)).collect::<Vec<_>>();
    for node in nodes {
        let assigned = node.assignments.iter().map(|(name, _)| name.clone());
        let told = if node.builtin { words(node) } else { Vec::new() };
        if let Some(name) = assigned.chain(told).find(|name| leads_git(name)) {
            return Err(variable(&name));
        }
    }
    Ok(())
}

/// What the sub-command is told, if this is one that knows it.
pub fn switches(command: &str) -> &'static [&'static str] {
    SWITCHES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, switches)| switches)
}

/// The switches for the word where a sub-command is expected, if it can stand there.
fn sub_command(word: Option<Option<&str>>) -> Result<&'static [&'static str], Refusal> {
    let refused = |message: String| Refusal { code: "git-option", message };
    match word {
        None => Ok(&[]),
        Some(None) => Err(refused("the sub-command of git is not written out, so nobody can say what it does".to_owned())),
        Some(Some(option)) if option.starts_with('-') && !HARMLESS.contains(&option) => Err(refused(format!(
            "`{option}` in front of git's sub-command can lead git to another repository or configuration; leave it out, and use `cd` for another directory"
        ))),
        Some(Some(word)) => Ok(switches(word)),
    }
}

fn begins(words: &[Option<&str>], with: &[&str]) -> bool {
    words.len() >= with.len() && words.iter().zip(with).all(|(word, with)| *word == Some(*with))
}

fn own_variables(git: &Node) -> Result<(), Refusal> {
    let is_known = |name: &str| OWN_VARIABLES.contains(&name) || VARIABLES.iter().any(|(known, _)| *known == name);
    match git.assignments.iter().find(|(name, _)| leads_git(name) && !is_known(name)) {
        Some((name, _)) => Err(variable(name)),
        None => Ok(()),
    }
}

fn variable(name: &str) -> Refusal {
    let message = format!("the variable {name} can lead git to another repository or configuration; leave it out");
    Refusal { code: "git-variable", message }
}

/// Whether a variable says which repository, configuration or programs git uses.
fn leads_git(name: &str) -> bool {
    name.starts_with("GIT_") || ["HOME", "XDG_CONFIG_HOME", "PATH", "SSH_ASKPASS"].contains(&name)
}

/// The variable that a word of `export` or the like names.
fn name(word: &Word) -> Option<String> {
    let text = match word {
        Word::Dynamic(expansion) => &expansion.prefix,
        word => literal(word)?,
    };
    Some(text.split_once('=').map_or(text, |(name, _)| name).trim_end_matches('+').to_owned())
}
