//! What the calls of git in a script do where they stand, and what the script writes by itself.
//!
//! Each is judged by the repository as it is now. When it starts, the host has it judged once more, by what it finds then.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_sdk::{Argument, Node, NodeKind, Redirect, RedirectMode, Request, Word};

use crate::{
    git::{HARMLESS, PREFIX, STAYING, is_about_others, parts, reach, switches},
    repository::{Executes, Look, Reach, Refusal, Visit},
};

/// Flags of `add` that do not change what its operands mean.
const PLAIN_FLAGS: &[&str] = &["--", "--all", "--verbose", "-A", "-f", "-v"];
/// Options of `commit` with which it takes no more than what git knows, as whole words and as letters of one.
const COMMITTED: &[&str] =
    &["--", "--all", "--allow-empty", "--amend", "--dry-run", "--no-edit", "--no-verify", "--quiet", "--signoff", "--verbose"];
const COMMITTED_LETTERS: &str = "anqsv";
/// Options of `add` with which it looks at what git knows alone.
const UPDATE: &[&str] = &["-u", "--update"];
/// Options of `stash` with which it leaves alone what is not tracked.
const TRACKED: &[&str] = &["--keep-index", "--message", "--quiet", "--staged", "-S", "-k", "-m", "-q"];

/// Options of `rm` and `mv` that take no value, and with which they only tell what they would do.
const REHEARSED: &[&str] = &["--cached", "--force", "--quiet", "--verbose", "-f", "-k", "-q", "-r", "-v"];
const REHEARSING: &[&str] = &["--dry-run", "-n"];

/// What is to be judged for calls of git, by the directories they stand in.
pub fn visits<'a>(request: &'a Request, calls: &[usize]) -> BTreeMap<&'a str, Visit> {
    let mut visits: BTreeMap<&str, Visit> = BTreeMap::new();
    for git in calls.iter().map(|at| &request.nodes[*at]) {
        let visit = Visit {
            reach: reach(git),
            look: looks_for(git),
            is_commit: parts(git).0 == Some("commit"),
            changes_files: changes_files(git),
            takes_changes: takes_changes(git),
            moves_repositories: moves_repositories(git),
            executes: executes(git),
        };
        visits.entry(git.directory.as_str()).and_modify(|known| known.add(visit.clone())).or_insert(visit);
    }
    visits
}

/// Refuses scripts that change files by git where something else opens some that were judged before: the shell itself, and programs
/// that run beside it. What programs open that start behind it is judged by then.
pub fn nothing_is_opened(request: &Request, calls: &[usize]) -> Result<(), Refusal> {
    let changing: Vec<usize> = calls.iter().copied().filter(|at| changes_files(&request.nodes[*at])).collect();
    if changing.is_empty() {
        return Ok(());
    }
    let is_apart = |kind: NodeKind| matches!(kind, NodeKind::Background | NodeKind::ProcessSubstitution);
    let is_beside = |at: usize| above(request, at).any(|kind| is_apart(kind) || kind == NodeKind::Pipeline);
    let what = if request.nodes.iter().any(|node| is_apart(node.kind)) || changing.into_iter().any(is_beside) {
        Some("something runs beside it")
    } else {
        request.nodes.iter().find_map(opens)
    };
    match what {
        Some(what) => {
            let message = format!(
                "a call of git in this script changes files, and {what}, which may look for files where links lie by then; send them one after another"
            );
            Err(Refusal { code: "read-after-git", message })
        }
        None => Ok(()),
    }
}

/// The kinds of what is around a node.
fn above(request: &Request, at: usize) -> impl Iterator<Item = NodeKind> {
    let parent = |at: &usize| request.nodes[*at].parent.map(|parent| parent as usize);
    std::iter::successors(parent(&at), parent).map(|at| request.nodes[at].kind)
}

/// What has the shell itself look for files.
fn opens(node: &Node) -> Option<&'static str> {
    let is_opened = |redirect: &Redirect| redirect.place.as_ref().is_none_or(|place| place.path != "/dev/null");
    match node.kind {
        _ if node.redirects.iter().filter(|redirect| is_of_file(redirect.mode)).any(is_opened) => Some("there is a redirection"),
        NodeKind::Test => Some("there is `[[`"),
        _ if node.args.iter().any(is_pattern) => Some("there is a pattern, or another word that can become many"),
        _ => None,
    }
}

/// Whether a call may change files that are not git's own.
pub fn changes_files(git: &Node) -> bool {
    let (command, rest) = parts(git);
    let is_loud = |word: &Option<&str>| !matches!(word, Some("-q" | "--quiet"));
    let words: Vec<Option<&str>> = rest.iter().map(Argument::text).filter(is_loud).collect();
    match (command, words.as_slice()) {
        (None, _) => git.args.len() > PREFIX.len(),
        (Some("config"), [Some("--get" | "--get-all" | "--list" | "-l" | "get" | "list"), ..]) => false,
        (Some("config"), [Some(name)]) if !name.starts_with('-') => false,
        // A new name for the commit that is checked out. `checkout -b` is none: it looks at `sparse-checkout` anew.
        (Some("switch"), [Some("-c" | "--create"), Some(_)]) => false,
        (Some("stash"), _) => !only_tells_stashes(rest),
        (Some("worktree"), [Some("list"), ..]) => false,
        (Some("add" | "commit" | "describe" | "push"), _) => false,
        (Some("mv" | "rm"), _) if only_rehearses(rest) => false,
        (Some("rm"), _) => moves_repositories(git),
        (Some("checkout" | "reset" | "restore" | "switch"), _) => true,
        (Some(command), _) => !(STAYING.contains(&command) || HARMLESS.contains(&command)) && switches(command).is_empty(),
    }
}

/// Whether a call of `rm` or `mv` only tells what it would do.
fn only_rehearses(args: &[Argument]) -> bool {
    let words = args.iter().map(Argument::text).take_while(|word| *word != Some("--"));
    let options: Vec<Option<&str>> = words.filter(|word| word.is_none_or(|word| word.starts_with('-'))).collect();
    let is_in = |list: &[&str], word: &Option<&str>| word.is_some_and(|word| list.contains(&word));
    options.iter().any(|word| is_in(REHEARSING, word))
        && options.iter().all(|word| is_in(REHEARSING, word) || is_in(REHEARSED, word))
}

/// What a call can execute in the form that it has. What enters other repositories counts as something: it is to work.
fn executes(git: &Node) -> Executes {
    let is_confined = git.executes.as_ref().is_some_and(Vec::is_empty);
    if is_confined && reach(git) == Reach::Own { Executes::Nothing } else { Executes::Something }
}

/// Whether a call may take over what became of the files that git knows.
fn takes_changes(git: &Node) -> bool {
    let (command, rest) = parts(git);
    match command {
        Some("add") => has(rest, UPDATE),
        Some("commit") => rest.iter().filter_map(Argument::text).any(is_all),
        Some("stash") => !only_tells_stashes(rest),
        _ => false,
    }
}

/// Whether a call may move repositories of submodules: `rm` does so before it looks whether it is only to tell. What switches
/// between commits leaves them where they are, unless it is told.
fn moves_repositories(git: &Node) -> bool {
    let (command, rest) = parts(git);
    let has_no = |arg: &Argument| arg.text().is_none_or(|word| word.starts_with("--no"));
    match command {
        Some("rm") => rest.iter().any(has_no) || !has(rest, &["--cached"]),
        Some("checkout" | "reset" | "restore" | "stash" | "switch") => rest.iter().any(is_about_others),
        _ => changes_files(git),
    }
}

/// The places that a script writes to by itself.
pub fn written(request: &Request) -> impl Iterator<Item = &str> {
    let redirects = request.nodes.iter().flat_map(|node| &node.redirects).filter(|redirect| is_write(redirect.mode));
    redirects.filter_map(|redirect| redirect.place.as_ref()).filter(|place| place.inside_roots).map(|place| place.path.as_str())
}

/// Where a call finds repositories that nobody knew: it reads which commit is checked out there.
fn looks_for(git: &Node) -> Look {
    let (command, rest) = parts(git);
    let is_odd = |arg: &Argument| arg.text().is_none_or(|word| word.starts_with('-') && !TRACKED.contains(&word));
    match command {
        Some("add") if has(rest, UPDATE) => Look::Nowhere,
        Some("add") => operands(rest),
        // It begins with the repositories of the commit before, which nobody can tell here.
        Some("commit") if names_files(rest) => Look::Everywhere,
        Some("stash") if !only_tells_stashes(rest) && rest.iter().any(is_odd) => Look::Everywhere,
        // What it shows of commits can be repositories that the index does not name.
        _ if rest.iter().filter_map(Argument::text).any(|word| word.starts_with("--rec") || word.starts_with("--sub")) => {
            Look::Everywhere
        }
        _ => Look::Nowhere,
    }
}

/// Whether `commit` may be told files.
fn names_files(args: &[Argument]) -> bool {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(word) = arg.text() else { return true };
        if is_message(word) {
            if args.next().is_none_or(is_pattern) {
                return true;
            }
        } else if !is_of_commit(word) {
            return true;
        }
    }
    false
}

/// Whether a word takes the one behind it for a message.
fn is_message(word: &str) -> bool {
    word == "--message" || word.strip_prefix('-').and_then(|letters| letters.strip_suffix('m')).is_some_and(are_plain)
}

/// Whether a word may have `commit` take all changes.
fn is_all(word: &str) -> bool {
    word == "--all" || word.starts_with('-') && !word.starts_with("--") && word.contains('a')
}

/// Whether a word has `commit` take no more than what git knows.
fn is_of_commit(word: &str) -> bool {
    COMMITTED.contains(&word)
        || ["--author=", "--date=", "--message="].iter().any(|option| word.starts_with(option))
        || word.strip_prefix('-').is_some_and(|letters| !letters.is_empty() && are_plain(letters))
}

fn are_plain(letters: &str) -> bool {
    letters.chars().all(|letter| COMMITTED_LETTERS.contains(letter))
}

fn has(args: &[Argument], names: &[&str]) -> bool {
    args.iter().any(|arg| arg.text().is_some_and(|word| names.contains(&word)))
}

fn only_tells_stashes(args: &[Argument]) -> bool {
    matches!(args.first().and_then(Argument::text), Some("list" | "show"))
}

/// The places that `add` is told; everywhere, unless they are plainly written out.
fn operands(args: &[Argument]) -> Look {
    let place = |arg: &Argument| {
        let word = arg.text()?;
        let is_plain = !word.starts_with([':', '-']) && !word.contains(['*', '?', '[', '\\']);
        is_plain.then(|| arg.places.iter().find(|place| place.start == 0)).flatten().map(|place| place.path.clone())
    };
    let operands = args.iter().filter(|arg| !arg.text().is_some_and(|word| PLAIN_FLAGS.contains(&word)));
    match operands.map(place).collect::<Option<BTreeSet<String>>>() {
        Some(places) if !places.is_empty() => Look::Below(places),
        _ => Look::Everywhere,
    }
}

/// Whether the shell may make names of files of a word.
fn is_pattern(arg: &Argument) -> bool {
    match &arg.word {
        Word::Literal(_) => false,
        Word::Dynamic(expansion) => !expansion.one_word,
    }
}

fn is_of_file(mode: RedirectMode) -> bool {
    is_write(mode) || mode == RedirectMode::Read
}

fn is_write(mode: RedirectMode) -> bool {
    matches!(mode, RedirectMode::Write | RedirectMode::Append | RedirectMode::ReadWrite | RedirectMode::Clobber)
}
