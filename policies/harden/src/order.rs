//! What the calls of git in one script do to each other: one may change what was judged for another, before that one finds it.
//!
//! Most do not. What `add` makes part of a repository is looked for and judged beforehand; where `switch` and its like put files,
//! nothing that git reads as its own may lie. What is left is refused.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_sdk::{Argument, Node, Redirect, RedirectMode, Request, literal};

use crate::{
    company::{self, asks},
    files::Files,
    git::{self, Commit, HARMLESS, STAYING, commit_of, parts, reach, switches},
    repository::{Look, Reach, Refusal, Visit},
    script::Script,
};

/// What a call may change of what others find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Objects, references and what branches follow.
    Nothing,
    /// Which files and repositories the index names.
    Index,
    /// Files of the working tree besides; never what lies in a `.git`.
    Files,
    /// Where whole directories of it lie, with the repositories in them.
    Places,
    /// Anything.
    Anything,
}

/// Sub-commands that may follow others which change files: they neither read, write nor remove a file of the working tree by a path that
/// may lead through a link by now, as `mv` and `rm` do. Of `commit` see [`follows`].
const FOLLOWING: &[&str] = &[
    "add",
    "branch",
    "checkout",
    "cherry",
    "describe",
    "diff",
    "for-each-ref",
    "log",
    "ls-tree",
    "merge-base",
    "reflog",
    "remote",
    "reset",
    "restore",
    "rev-list",
    "rev-parse",
    "shortlog",
    "show",
    "show-ref",
    "stash",
    "status",
    "switch",
    "symbolic-ref",
    "tag",
    "version",
];

/// Flags of `add` that do not change what its operands mean.
const PLAIN_FLAGS: &[&str] = &["--", "--all", "--verbose", "-A", "-f", "-v"];
/// Options of `stash` with which it leaves alone what is not tracked.
const TRACKED: &[&str] = &["--keep-index", "--message", "--quiet", "--staged", "-S", "-k", "-m", "-q"];

/// What is to be judged for the calls of a script, by the directories they stand in.
///
/// # Errors
///
/// Where a call may change what was judged for another one or for another command, or where what was judged may change before a call.
pub fn visits<'a>(request: &'a Request, calls: &[usize], files: &impl Files) -> Result<BTreeMap<&'a str, Visit>, Refusal> {
    let script = Script(&request.nodes);
    nothing_is_written(request)?;
    company::nothing_waits(request, &script, calls, files)?;
    let mut visits: BTreeMap<&str, Visit> = BTreeMap::new();
    for at in calls {
        let earlier = calls.iter().filter(|call| script.may_precede(**call, *at)).map(|call| &request.nodes[*call]);
        let git = &request.nodes[*at];
        let visit = visit(git, &earlier.collect::<Vec<_>>())?;
        visits.entry(git.directory.as_str()).or_default().add(visit);
    }
    company::nothing_is_read(request, &script, calls)?;
    Ok(visits)
}

/// What a call may change.
pub fn change(git: &Node) -> Change {
    let (command, rest) = parts(git);
    let is_loud = |word: &Option<&str>| !matches!(word, Some("-q" | "--quiet"));
    let words: Vec<Option<&str>> = rest.iter().map(Argument::text).filter(is_loud).collect();
    match (command, words.as_slice()) {
        (None, _) if git.args.len() <= git::PREFIX.len() => Change::Nothing,
        (None, _) => Change::Anything,
        (Some("config"), [Some("--get" | "--get-all" | "--list" | "-l" | "get" | "list"), ..]) => Change::Nothing,
        (Some("config"), [Some(name)]) if !name.starts_with('-') => Change::Nothing,
        (Some("config"), _) => Change::Anything,
        // A new name for the commit that is checked out. `checkout -b` is none: it looks at `sparse-checkout` anew.
        (Some("switch"), [Some("-c" | "--create"), Some(_)]) => Change::Nothing,
        (Some("stash"), [Some("list" | "show"), ..]) => Change::Nothing,
        (Some("describe" | "push"), _) => Change::Nothing,
        (Some("commit"), _) if commit_of(rest) == Some(Commit::Index) => Change::Nothing,
        (Some("add" | "commit"), _) => Change::Index,
        (Some("checkout" | "reset" | "restore" | "rm" | "stash" | "switch"), _) => Change::Files,
        (Some("mv"), _) => Change::Places,
        (Some(command), _) if STAYING.contains(&command) || HARMLESS.contains(&command) => Change::Nothing,
        (Some(command), _) if !switches(command).is_empty() => Change::Nothing,
        (Some(_), _) => Change::Anything,
    }
}

fn visit(git: &Node, earlier: &[&Node]) -> Result<Visit, Refusal> {
    let most = earlier.iter().map(|git| change(git)).max().unwrap_or(Change::Nothing);
    let reach = reach(git);
    let is_moving = most >= Change::Files;
    if most == Change::Anything || most == Change::Places && reach == Reach::Inner {
        return Err(refused("a call of git in this script can change what another one finds; run them one command at a time"));
    }
    if is_moving && !follows(git) {
        return Err(refused("a call of git in this script changes files that this one reads; run them one command at a time"));
    }
    if is_moving && earlier.iter().any(|other| other.directory != git.directory) {
        let message = "a call of git in this script changes files, and another one runs in another directory; run them one command at a time";
        return Err(refused(message));
    }
    let mut look = looks_for(git);
    if reach == Reach::Inner {
        earlier.iter().for_each(|git| look.add(brings(git)));
    }
    Ok(Visit { reach, look, is_moving, is_commit: parts(git).0 == Some("commit") })
}

/// Whether a call goes through no link that was put somewhere in the working tree.
fn follows(git: &Node) -> bool {
    match parts(git) {
        _ if asks(git) => false,
        (Some("commit"), rest) => commit_of(rest).is_some(),
        // What lies elsewhere it compares by its path, without the repository.
        (Some("diff"), rest) => !rest.iter().any(leads_elsewhere),
        (command, _) => command.is_some_and(|command| FOLLOWING.contains(&command)),
    }
}

/// Whether an operand may be a path that leads out of the repository.
fn leads_elsewhere(arg: &Argument) -> bool {
    arg.text().is_none_or(|word| word.starts_with('/') || word.split('/').any(|part| part == ".."))
}

fn refused(message: &str) -> Refusal {
    Refusal { code: "git-after-git", message: message.to_owned() }
}

/// Where a call finds repositories that nobody knew: it reads which commit is checked out there.
fn looks_for(git: &Node) -> Look {
    let (command, rest) = parts(git);
    let has = |names: &[&str]| rest.iter().any(|arg| arg.text().is_some_and(|word| names.contains(&word)));
    let is_odd = |arg: &Argument| arg.text().is_none_or(|word| word.starts_with('-') && !TRACKED.contains(&word));
    match command {
        Some("add") if has(&["-u", "--update"]) => Look::Nowhere,
        Some("add") => operands(rest),
        Some("stash") if change(git) > Change::Nothing && rest.iter().any(is_odd) => Look::Everywhere,
        _ => Look::Nowhere,
    }
}

/// Where the repositories lie that a call may have made part of this one.
fn brings(git: &Node) -> Look {
    match (change(git), parts(git)) {
        (Change::Nothing, _) => Look::Nowhere,
        (Change::Index, (Some("add"), rest)) => operands(rest),
        _ => Look::Everywhere,
    }
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

/// Refuses scripts that write what may be a repository's own.
fn nothing_is_written(request: &Request) -> Result<(), Refusal> {
    let redirects = request.nodes.iter().flat_map(|node| &node.redirects);
    match redirects.filter(|redirect| is_write(redirect.mode)).find(|redirect| steers_git(redirect)) {
        Some(_) => {
            let message = "the script writes a file that git may read as its own, and calls git; do it in two commands";
            Err(Refusal { code: "git-after-write", message: message.to_owned() })
        }
        None => Ok(()),
    }
}

/// The places that a script writes to by itself.
pub fn written(request: &Request) -> impl Iterator<Item = &str> {
    let redirects = request.nodes.iter().flat_map(|node| &node.redirects).filter(|redirect| is_write(redirect.mode));
    redirects.filter_map(|redirect| redirect.place.as_ref()).filter(|place| place.inside_roots).map(|place| place.path.as_str())
}

fn is_write(mode: RedirectMode) -> bool {
    matches!(mode, RedirectMode::Write | RedirectMode::Append | RedirectMode::ReadWrite | RedirectMode::Clobber)
}

/// Whether what is written, by its name or where links lead, may be part of a repository that leads git somewhere.
fn steers_git(redirect: &Redirect) -> bool {
    const NAMES: &[&str] = &[".git", "HEAD", "alternates", "commondir", "config", "config.worktree", "index"];
    let is_named = |path: &str| path.split('/').any(|part| NAMES.contains(&part));
    let leads = redirect.place.as_ref().is_some_and(|place| is_named(&place.path));
    leads || literal(&redirect.target).is_none_or(is_named)
}
