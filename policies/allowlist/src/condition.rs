//! Conditions: the words of `[ … ]`, `test …` and `[[ … ]]`. They tell whether files exist, so paths in them lie inside the roots.

use portcullis_sdk::{Argument, Node, Word};

use crate::value::{Part, Value};

/// Operators in front of a path.
const FILE: [&str; 19] =
    ["-G", "-L", "-N", "-O", "-S", "-b", "-c", "-d", "-e", "-f", "-g", "-h", "-k", "-p", "-r", "-s", "-u", "-w", "-x"];
/// Operators in front of a text or a descriptor.
const TEXT: [&str; 3] = ["-n", "-t", "-z"];
/// Operators between two paths.
const FILES: [&str; 3] = ["-ef", "-nt", "-ot"];
/// Operators between two texts or numbers.
const TEXTS: [&str; 11] = ["!=", "-eq", "-ge", "-gt", "-le", "-lt", "-ne", "<", "=", "==", ">"];
/// Operators that look at the shell's own state and take names apart to do so, or mean several things.
const REFUSED: [&str; 4] = ["-R", "-a", "-o", "-v"];

/// Who reads the words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A program, which tells operators from texts by where they stand.
    Program,
    /// The shell, for which only what stands in the script is an operator.
    Keyword,
}

/// A code, and what is off.
pub type Objection = (&'static str, String);

/// Judges the words of a condition.
///
/// # Errors
///
/// What is off.
pub fn judge(node: &Node, form: Form) -> Result<(), Objection> {
    match form {
        Form::Program => program(node),
        Form::Keyword => keyword(&node.args),
    }
}

/// Only forms of at most three words: POSIX says how those are read whatever the words turn out to be.
fn program(node: &Node) -> Result<(), Objection> {
    let mut args = node.args.as_slice();
    let is_bracket = node.resolved.as_ref().is_some_and(|file| file.name.ends_with('['));
    if let Some((last, rest)) = args.split_last().filter(|_| is_bracket) {
        args = if last.text() == Some("]") { rest } else { return Err(("condition-not-allowed", "`[` without `]`".to_owned())) };
    }
    if args.iter().any(|arg| matches!(&arg.word, Word::Dynamic(expansion) if !expansion.one_word)) {
        return Err(("dynamic-words", "an expansion without double quotes, which may become many words,".to_owned()));
    }
    if let [first, rest @ ..] = args
        && first.text() == Some("!")
        && !rest.is_empty()
        && rest.len() != 2
    {
        args = rest;
    }
    match args {
        [] | [_] => Ok(()),
        [operator, _] if is_any(operator, &TEXT) || operator.text() == Some("!") => Ok(()),
        [operator, path] if is_any(operator, &FILE) => check_path(path),
        [left, operator, right] if is_any(operator, &FILES) => check_path(left).and_then(|()| check_path(right)),
        [_, operator, _] if is_any(operator, &TEXTS) => Ok(()),
        [not, operator, _] if not.text() == Some("!") && is_any(operator, &TEXT) => Ok(()),
        [not, operator, path] if not.text() == Some("!") && is_any(operator, &FILE) => check_path(path),
        _ => Err(("condition-not-allowed", "a condition that is no single comparison".to_owned())),
    }
}

/// Every word that could be an operator is taken for one.
fn keyword(args: &[Argument]) -> Result<(), Objection> {
    for (at, arg) in args.iter().enumerate() {
        if is_any(arg, &REFUSED) {
            return Err(("condition-not-allowed", "a condition with `-R`, `-a`, `-o` or `-v`".to_owned()));
        }
        if is_any(arg, &FILES) {
            at.checked_sub(1).and_then(|before| args.get(before)).map_or(Ok(()), check_path)?;
        }
        if is_any(arg, &FILE) || is_any(arg, &FILES) {
            args.get(at + 1).map_or(Ok(()), check_path)?;
        }
    }
    Ok(())
}

fn is_any(arg: &Argument, operators: &[&str]) -> bool {
    arg.text().is_some_and(|text| operators.contains(&text))
}

fn check_path(arg: &Argument) -> Result<(), Objection> {
    let part = Part::of(arg, 0);
    match part {
        _ if Value::Path.fits(part) => Ok(()),
        Part::Dynamic(_) => Err(("dynamic-path", format!("`{}`, a path that only the shell can tell,", part.shown()))),
        Part::Literal { .. } => {
            Err(("path-not-allowed", format!("`{}`, which is no path inside the working roots,", part.shown())))
        }
    }
}
