//! What else may stand in a script that calls git.
//!
//! In front of git and beside it: what ends at once, since a repository that was judged long ago may be another by then. Behind calls
//! that change files: what opens none, since a link may lie by then where a path was judged. Both are positive lists: nobody can
//! name all that waits, or all that reads.

use portcullis_sdk::{Argument, Node, NodeKind, Place, Redirect, RedirectMode, Request, Word, literal};

use crate::{
    command::name,
    files::{Files, Kind},
    git::parts,
    order::{Change, change},
    repository::Refusal,
    script::Script,
};

/// Most commands that run before the last call of git, counted as often as loops run them: each takes its time.
const MOST_BEFORE: usize = 256;
/// Most bytes that a command reads before git is called.
const MOST_BYTES: u64 = 1 << 20;
/// Longest of what stands between `%` and its letter in a format of `printf`, which says how much to print.
const MOST_WIDTH: usize = 6;

/// What neither waits nor opens a file.
const PLAIN: &[&str] = &[
    ":", "basename", "break", "cd", "command", "continue", "dirname", "echo", "exit", "export", "false", "pwd", "printf",
    "readonly", "set", "shift", "true", "umask", "unset",
];
/// What does not wait besides, whatever it is told.
const PROMPT: &[&str] = &["[", "id", "ls", "test", "uname", "which", "whoami"];
/// What opens nothing besides, whatever it is told.
const PATHLESS: &[&str] = &["read", "wait"];
/// What reads the files that it is told, or else its input, and the letters of its flags that take no value and change nothing of that.
const READERS: &[(&str, &str)] = &[
    ("cat", "AbeEnstTuv"),
    ("grep", "abcEFGhHiIlLnoqsvwxyz"),
    ("head", "qvz"),
    ("sort", "bdfghiMnrRsuVz"),
    ("tail", "qvz"),
    ("wc", "clLmw"),
];
/// What may take what git prints, and hand it on as long as it comes.
const STREAMERS: &[&str] = &["awk", "column", "cut", "fold", "grep", "nl", "read", "rev", "sed", "tac", "tr", "uniq"];

/// Options of git with patterns that can take as long to compare as their author likes.
const SEARCHES: &[&str] =
    &["-G", "-I", "-L", "--aut", "--color-words", "--comm", "--grep", "--ignore-m", "--pickaxe-r", "--word-diff-r", ":/"];
/// Sub-commands that can ask a person, or read a file or their input for what they are told elsewhere.
const ASKING: &[&str] = &["add", "checkout", "commit", "reset", "restore", "rm", "stash", "tag"];

/// Refuses scripts in which something may keep git waiting: what was judged may be long gone by then.
pub fn nothing_waits(request: &Request, script: &Script, calls: &[usize], files: &impl Files) -> Result<(), Refusal> {
    let mut before: usize = 0;
    for (at, node) in request.nodes.iter().enumerate() {
        let later: Vec<usize> = calls.iter().copied().filter(|call| script.may_precede(at, *call)).collect();
        let is_call = calls.contains(&at);
        if (is_call || !later.is_empty()) && !node.redirects.iter().all(|redirect| opens_at_once(redirect, files)) {
            return Err(waiting(node));
        }
        if later.is_empty() {
            continue;
        }
        let takes = later.iter().all(|call| script.takes_from(at, *call));
        let is_fine = match is_call {
            true => !asks(node) && !searches(node),
            false => is_prompt(script, at, node, files) || takes && streams(script, at, node, files),
        };
        let times = if takes { Some(1) } else { script.times(at) };
        let times = times.filter(|_| is_fine).ok_or_else(|| waiting(node))?;
        before = before.saturating_add(if node.kind == NodeKind::Command { times } else { 0 });
        if before > MOST_BEFORE {
            let message = format!(
                "more than {MOST_BEFORE} commands run before a call of git in this script, and its repository may be another by then; send them in parts"
            );
            return Err(Refusal { code: "git-after-wait", message });
        }
    }
    Ok(())
}

/// Refuses scripts that open files where a call of git may have put others, or links, since their paths were judged.
pub fn nothing_is_read(request: &Request, script: &Script, calls: &[usize]) -> Result<(), Refusal> {
    let moving: Vec<usize> = calls.iter().copied().filter(|call| change(&request.nodes[*call]) >= Change::Files).collect();
    for (at, node) in request.nodes.iter().enumerate() {
        if !moving.iter().any(|call| script.may_precede(*call, at)) {
            continue;
        }
        let opens = match node.kind {
            NodeKind::Test => true,
            NodeKind::Command => !calls.contains(&at) && !is_pathless(node) || node.args.iter().any(is_pattern),
            _ => node.args.iter().any(is_pattern),
        };
        if opens || node.redirects.iter().any(|redirect| is_of_file(redirect) && !is_null(redirect)) {
            let message = format!(
                "a call of git in this script changes files, and {} may open one that is another by then, or a link; send the two commands one after another",
                shown(node)
            );
            return Err(Refusal { code: "read-after-git", message });
        }
    }
    Ok(())
}

/// Whether a call of git may wait for its input, or take what it is told from a file.
pub fn asks(git: &Node) -> bool {
    let (command, rest) = parts(git);
    let words = || rest.iter().filter_map(Argument::text);
    let begins =
        |words: &[&str]| words.iter().any(|begin| rest.iter().filter_map(Argument::text).any(|word| word.starts_with(begin)));
    match (command, rest.first().and_then(Argument::text)) {
        // Without a revision it reads a log from its input.
        (Some("shortlog"), _) => true,
        // Outside of a repository it compares files, and `-` is its input.
        (Some("diff"), _) if words().any(|word| word == "-") => true,
        (Some("stash"), Some("list" | "show")) => false,
        (Some(command), _) if ASKING.contains(&command) => {
            let is_cluster = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.contains(['e', 'i', 'F', 'p']);
            words().any(is_cluster) || begins(&["--ed", "--fi", "--int", "--pa", "--te"])
        }
        _ => begins(&["-O", "--batch", "--no-ind", "--out", "--pathspec-f", "--std"]),
    }
}

/// Whether a call of git compares much with a pattern that it is told.
fn searches(git: &Node) -> bool {
    let (command, rest) = parts(git);
    let is_pattern = |word: &str| SEARCHES.iter().any(|begin| word.starts_with(begin)) || word.contains("^{/");
    command == Some("grep") || rest.iter().filter_map(Argument::text).any(is_pattern)
}

/// Whether a command ends at once, and what stands around others does not keep them.
fn is_prompt(script: &Script, at: usize, node: &Node, files: &impl Files) -> bool {
    if node.kind != NodeKind::Command {
        return !matches!(node.kind, NodeKind::Loop);
    }
    match (name(node), read(node)) {
        (None, _) => node.resolved.is_none(),
        (Some("printf"), _) => node.args.first().and_then(Argument::text).is_some_and(is_short),
        (Some(name), _) if PLAIN.contains(&name) || PROMPT.contains(&name) => true,
        (_, Some(operands)) if operands.is_empty() => script.is_fed(at) || reads_small(node, files),
        (_, Some(operands)) => are_small(&operands, files),
        _ => false,
    }
}

fn is_pathless(node: &Node) -> bool {
    match (name(node), read(node)) {
        (None, _) => node.resolved.is_none(),
        (Some("ls"), _) => node.args.iter().all(|arg| arg.text().is_some_and(|word| word.starts_with('-'))),
        (Some(name), _) if PLAIN.contains(&name) || PATHLESS.contains(&name) => true,
        (_, operands) => operands.is_some_and(|operands| operands.is_empty()),
    }
}

/// The files that a reader is told, if its words say it plainly; none for what is no reader.
fn read(node: &Node) -> Option<Vec<&Argument>> {
    let (name, letters) = READERS.iter().find(|(known, _)| name(node) == Some(known))?;
    let has_amount = matches!(*name, "head" | "tail");
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_flag = |word: &str| {
        let is_amount = has_amount && is_number(word.strip_prefix(['n', 'c']).unwrap_or(word));
        is_amount || !word.is_empty() && word.chars().all(|c| letters.contains(c))
    };
    let (mut args, mut operands) = (node.args.iter(), Vec::new());
    while let Some(arg) = args.next() {
        match (arg.text()?, arg.text()?.strip_prefix('-')) {
            (_, None) => operands.push(arg),
            ("-n" | "-c", _) if has_amount => {
                args.next()?.text().map(|word| word.trim_start_matches(['+', '-'])).filter(|word| is_number(word))?;
            }
            (_, Some(flag)) => is_flag(flag).then_some(())?,
        }
    }
    if *name == "grep" {
        // What takes long to be compared with is no better than what waits.
        let pattern = operands.first()?.text()?;
        let is_slow = pattern.contains('{')
            || pattern.split('\\').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '{'));
        operands.remove(0);
        return (!is_slow).then_some(operands);
    }
    Some(operands)
}

/// Whether a stage of a pipeline hands on what git prints and waits for nothing else.
fn streams(script: &Script, at: usize, node: &Node, files: &impl Files) -> bool {
    let opens = |arg: &Argument| {
        arg.places.iter().all(|place| !place.exists || place.path == "/dev/null" || is_plain(&place.path, files))
    };
    match node.kind {
        NodeKind::Loop => script.reads_on(at),
        NodeKind::Command => name(node).is_some_and(|name| STREAMERS.contains(&name)) && node.args.iter().all(opens),
        _ => false,
    }
}

/// Whether a format makes `printf` print no more than it is given, and little beside.
fn is_short(format: &str) -> bool {
    let widths = format.split('%').skip(1).map(|rest| rest.split(char::is_alphabetic).next().unwrap_or_default());
    widths.into_iter().all(|width| width.len() <= MOST_WIDTH && !width.contains('*'))
}

/// Whether the node's input is a regular file that is not large.
fn reads_small(node: &Node, files: &impl Files) -> bool {
    let input = node.redirects.iter().rev().find(|redirect| redirect.fd == 0);
    let place = input.filter(|redirect| redirect.mode == RedirectMode::Read).and_then(|redirect| redirect.place.as_ref());
    bytes_of(place, files).is_some_and(|bytes| bytes <= MOST_BYTES)
}

/// Whether these are regular files, and not large.
fn are_small(operands: &[&Argument], files: &impl Files) -> bool {
    let bytes = |arg: &&Argument| bytes_of(arg.places.iter().find(|place| place.start == 0), files);
    let all = operands.iter().try_fold(0_u64, |all, arg| all.checked_add(bytes(arg)?));
    all.is_some_and(|bytes| bytes <= MOST_BYTES)
}

/// The size of what lies there, if it is a regular file.
fn bytes_of(place: Option<&Place>, files: &impl Files) -> Option<u64> {
    match files.kind(&place?.path) {
        Ok(Kind::File(bytes)) => Some(bytes),
        _ => None,
    }
}

fn is_plain(path: &str, files: &impl Files) -> bool {
    matches!(files.kind(path), Ok(Kind::File(_) | Kind::Directory(_) | Kind::Missing))
}

/// Whether opening what a redirection names takes no time, as it does with a pipe.
fn opens_at_once(redirect: &Redirect, files: &impl Files) -> bool {
    let is_file = |path: &str| matches!(files.kind(path), Ok(Kind::File(_) | Kind::Missing));
    !is_of_file(redirect) || is_null(redirect) || redirect.place.as_ref().is_some_and(|place| is_file(&place.path))
}

fn is_of_file(redirect: &Redirect) -> bool {
    !matches!(redirect.mode, RedirectMode::Text | RedirectMode::DuplicateRead | RedirectMode::DuplicateWrite)
}

fn is_null(redirect: &Redirect) -> bool {
    redirect.place.as_ref().is_some_and(|place| place.path == "/dev/null")
}

/// Whether the shell may make names of files of a word.
fn is_pattern(arg: &Argument) -> bool {
    match &arg.word {
        Word::Literal(_) => false,
        Word::Dynamic(expansion) => !expansion.one_word,
    }
}

fn waiting(node: &Node) -> Refusal {
    let message = format!(
        "{} may keep git waiting in this script until its repository is another than the one that was judged; send the two commands one after another",
        shown(node)
    );
    Refusal { code: "git-after-wait", message }
}

/// The command as a message has it.
fn shown(node: &Node) -> String {
    match node.program.as_ref().and_then(literal) {
        Some(program) => format!("`{program}`"),
        None => "a part of it".to_owned(),
    }
}
