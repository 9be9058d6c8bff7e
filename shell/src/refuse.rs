//! What is refused whatever policies say: all that makes the shell read a text a second time, or hides what runs. Asked of every
//! tree, wherever it comes from: a text, words of a command line, a policy's edit.

use std::collections::BTreeSet;

use crate::{Assignment, Kind, Operation, Piece, Refusal, TestPart, Tree, Word, is_shells_own, is_variable_name};

/// Builtins that run text or change what later text means.
const NEVER: [&str; 15] = [
    ".",
    "alias",
    "bind",
    "coproc",
    "declare",
    "enable",
    "eval",
    "getopts",
    "let",
    "local",
    "mapfile",
    "readarray",
    "source",
    "trap",
    "typeset",
];
/// Options of `set` that change nothing about what text means.
const SET_OPTIONS: [&str; 12] = ["-e", "-u", "-f", "-eu", "-ue", "-euo", "-eo", "-uo", "-o", "+e", "+u", "+f"];
const SET_NAMES: [&str; 4] = ["errexit", "noglob", "nounset", "pipefail"];

/// Refuses a tree that holds any of it.
///
/// # Errors
///
/// What it holds.
pub fn refuse_double_reading(tree: &Tree) -> Result<(), Refusal> {
    let mut numbers = Numbers::default();
    for node in &tree.nodes {
        match &node.kind {
            Kind::Command { assignments, words } => {
                // What `read` splits a line at concerns nothing else.
                let reads = words.first().and_then(Word::text) == Some("read");
                assignments.iter().filter(|one| !reads || one.name != "IFS").try_for_each(|one| numbers.assigned(one))?;
                command(words, &mut numbers)?;
            }
            Kind::For { name, words, .. } => {
                let all = words.iter().all(is_number);
                numbers.set(name, all)?;
            }
            Kind::Arithmetic(expression) => numbers.used_by(expression)?,
            Kind::Test(parts) => numbers.compared(parts)?,
            _ => {}
        }
        let words = node.kind.words().into_iter().chain(node.redirects.iter().map(|redirect| &redirect.target));
        words.flat_map(|word| &word.0).try_for_each(|piece| numbers.piece(piece))?;
    }
    numbers.check()
}

fn command(words: &[Word], numbers: &mut Numbers) -> Result<(), Refusal> {
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let Some(name) = program.text() else { return Err(never("a program whose name only the shell can tell")) };
    match name {
        name if NEVER.contains(&name) => Err(never(&format!("`{name}`"))),
        "export" | "readonly" => args.iter().try_for_each(|arg| declared(name, arg, numbers)),
        "read" | "unset" => args.iter().try_for_each(|arg| named(name, arg, numbers)),
        "set" => set(args),
        "wait" | "command" | "umask" | "ulimit" | "shift" | "break" | "continue"
            if args.iter().any(|arg| arg.text().is_none()) =>
        {
            Err(unsupported(&format!("`{name}` with a word that only the shell can tell")))
        }
        "wait" if args.iter().any(|arg| arg.text().is_some_and(|text| text.starts_with('-'))) => {
            Err(unsupported("`wait` with options"))
        }
        "command" if !matches!(args.first().and_then(Word::text), Some("-v" | "-V")) => Err(unsupported("`command` but with -v")),
        _ => Ok(()),
    }
}

/// `export NAME`, `export NAME=value`.
fn declared(builtin: &str, arg: &Word, numbers: &mut Numbers) -> Result<(), Refusal> {
    let known = arg.prefix();
    match known.split_once('=') {
        Some((name, value)) if is_variable_name(name) && arg.is_one() => numbers.set(name, arg.0.len() == 1 && is_decimal(value)),
        None if arg.text().is_some_and(is_variable_name) => shells_own(known),
        _ => Err(unsupported(&format!("`{builtin}` with anything but names and NAME=value"))),
    }
}

/// `read -r NAME`, `unset NAME`: the shell evaluates subscripts in these names.
fn named(builtin: &str, arg: &Word, numbers: &mut Numbers) -> Result<(), Refusal> {
    match arg.text() {
        Some("-r" | "-s" | "-v") => Ok(()),
        Some(name) if is_variable_name(name) => numbers.set(name, false),
        _ => Err(unsupported(&format!("`{builtin}` with anything but names of variables and -r, -s or -v"))),
    }
}

fn set(args: &[Word]) -> Result<(), Refusal> {
    let is_known = |arg: &Word| arg.text().is_some_and(|text| SET_OPTIONS.contains(&text) || SET_NAMES.contains(&text));
    if args.is_empty() || !args.iter().all(is_known) {
        return Err(unsupported("`set` with anything but -e, -u, -f and -o errexit, nounset, noglob or pipefail"));
    }
    Ok(())
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=18).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

fn is_number(word: &Word) -> bool {
    match word.0.as_slice() {
        [Piece::Literal(text)] => is_decimal(text),
        [Piece::Arithmetic { .. }] => true,
        _ => false,
    }
}

fn shells_own(name: &str) -> Result<(), Refusal> {
    if is_shells_own(name) { Err(never(&format!("setting the shell's own variable {name}"))) } else { Ok(()) }
}

/// Which variables hold numbers, wherever the script sets them, and which must: the shell evaluates the value of a variable in
/// arithmetic as an expression of its own.
#[derive(Default)]
struct Numbers {
    numeric: BTreeSet<String>,
    other: BTreeSet<String>,
    used: BTreeSet<String>,
}

impl Numbers {
    fn set(&mut self, name: &str, is_number: bool) -> Result<(), Refusal> {
        shells_own(name)?;
        if is_number {
            self.numeric.insert(name.to_owned())
        } else {
            self.other.insert(name.to_owned())
        };
        Ok(())
    }

    fn assigned(&mut self, assignment: &Assignment) -> Result<(), Refusal> {
        self.set(&assignment.name, is_number(&assignment.value))
    }

    fn used_by(&mut self, expression: &str) -> Result<(), Refusal> {
        let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| is_variable_name(word));
        for name in names {
            shells_own(name)?;
            self.used.insert(name.to_owned());
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), Refusal> {
        match piece {
            Piece::Arithmetic { expression, .. } => self.used_by(expression),
            Piece::Parameter { operation: Operation::Default(_, word), .. } => {
                word.0.iter().try_for_each(|piece| self.piece(piece))
            }
            _ => Ok(()),
        }
    }

    /// The operands of `-eq` and its like are arithmetic.
    fn compared(&mut self, parts: &[TestPart]) -> Result<(), Refusal> {
        for window in parts.windows(3) {
            let [TestPart::Operand(left), TestPart::Operator(operator), TestPart::Operand(right)] = window else { continue };
            if matches!(operator.as_str(), "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge") {
                self.operand(left)?;
                self.operand(right)?;
            }
        }
        Ok(())
    }

    fn operand(&mut self, word: &Word) -> Result<(), Refusal> {
        match word.0.as_slice() {
            [Piece::Parameter { operation: Operation::Length, .. }] => Ok(()),
            [Piece::Parameter { operation: Operation::Value, name, .. }] if matches!(name.as_str(), "#" | "?") => Ok(()),
            [Piece::Parameter { operation: Operation::Value, name, .. }] if is_variable_name(name) => {
                self.used.insert(name.clone());
                Ok(())
            }
            _ if is_number(word) => Ok(()),
            _ => Err(never("a comparison of numbers in `[[ … ]]` on anything but numbers and plain variables")),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        let odd = self.used.iter().find(|name| !self.numeric.contains(*name) || self.other.contains(*name));
        odd.map_or(Ok(()), |name| Err(never(&format!("arithmetic on {name}, which the script does not set to numbers only,"))))
    }
}

/// A refusal of what no policy can judge.
pub(crate) fn unsupported(what: &str) -> Refusal {
    Refusal::new("construct-not-supported", format!("{what} can not be judged; write it without"))
}

/// A refusal of what no policy could allow.
pub(crate) fn never(what: &str) -> Refusal {
    Refusal::new(
        "never-allowed",
        format!("{what} makes the shell read a text a second time or hides what runs, and is refused always"),
    )
}
