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

/// Variables that tell what the shell was given, which is not what the script says.
const TELLING: [&str; 3] = ["BASH_COMMAND", "BASH_EXECUTION_STRING", "_"];

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
                state_alone(assignments, words)?;
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
        "exit" | "break" | "continue" => counted(name, args),
        "wait" | "command" | "umask" | "ulimit" | "shift" if args.iter().any(|arg| arg.text().is_none()) => {
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
        // Without a variable of that name the function would go that keeps `cd` where it was judged.
        Some("cd") => Err(never(&format!("`{builtin} cd`"))),
        Some(name) if is_variable_name(name) => numbers.set(name, false),
        _ => Err(unsupported(&format!("`{builtin}` with anything but names of variables and -r, -s or -v"))),
    }
}

/// `exit`, `exit 1`, `exit $?`: with any other argument it might not happen.
fn counted(builtin: &str, args: &[Word]) -> Result<(), Refusal> {
    let is_status = |word: &Word| matches!(word.0.as_slice(), [Piece::Parameter { name, operation: Operation::Value, .. }] if name == "?" && builtin == "exit");
    let is_count = |word: &Word| word.text().is_some_and(|text| is_decimal(text) && text.len() <= 3 && !text.starts_with('-'));
    match args {
        [] => Ok(()),
        [arg] if is_count(arg) || is_status(arg) => Ok(()),
        _ => Err(unsupported(&format!("`{builtin}` with anything but a number"))),
    }
}

/// An assignment that fails could keep these from happening.
fn state_alone(assignments: &[Assignment], words: &[Word]) -> Result<(), Refusal> {
    let name = words.first().and_then(Word::text).unwrap_or_default();
    if !assignments.is_empty() && matches!(name, "cd" | "exit" | "break" | "continue") {
        return Err(unsupported(&format!("an assignment in front of `{name}`")));
    }
    Ok(())
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

/// What may stand inside `${x:-…}`: plain variables and text of few characters. In double quotes the shell looks for quotes and
/// substitutions in there by rules of its own, which no escape takes away without staying in the value.
fn plain_default(word: &Word) -> Result<(), Refusal> {
    let is_plain = |c: char| c.is_alphanumeric() || " _.,:@%+=/-".contains(c);
    let is_known = |piece: &Piece| match piece {
        Piece::Literal(text) => text.chars().all(is_plain),
        Piece::Parameter { operation: Operation::Value, name, .. } => name != "$" && !TELLING.contains(&name.as_str()),
        _ => false,
    };
    if word.0.iter().all(is_known) { Ok(()) } else { Err(unsupported("more than plain text and variables inside `${x:-…}`")) }
}

/// What may replace a pattern: newer shells put what was matched in the place of `&`.
fn plain_replacement(word: &Word) -> Result<(), Refusal> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.,:@%+=-".contains(c);
    if word.text().is_some_and(|text| text.chars().all(is_plain)) {
        Ok(())
    } else {
        Err(unsupported("a replacement in `${x/…}` of other than letters, digits and `_.,:@%+=-`"))
    }
}

/// What may stand in a pattern inside `${x…}`: the same, for the same reason, and what means something in patterns.
fn plain_pattern(word: &Word) -> Result<(), Refusal> {
    let is_plain = |c: char| c.is_alphanumeric() || " _.,:@%+=/#*?![]^~-".contains(c);
    let is_known = |piece: &Piece| match piece {
        Piece::Literal(text) | Piece::Pattern(text) => text.chars().all(is_plain),
        _ => false,
    };
    let has_bracket = word.0.iter().any(|piece| matches!(piece, Piece::Pattern(text) if text.contains('[')));
    // Quoted text inside a bracket expression is read differently in different places.
    if word.0.iter().all(is_known) && !(has_bracket && word.0.len() > 2) {
        Ok(())
    } else {
        Err(unsupported("a pattern of more than plain text, `*`, `?` and one `[…]` inside `${x…}`"))
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
        if !is_variable_name(name) {
            return Err(unsupported(&format!("a variable of the name {name:?}")));
        }
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
            Piece::Parameter { name, .. } if TELLING.contains(&name.as_str()) => Err(unsupported(&format!("`${name}`"))),
            Piece::Arithmetic { expression, .. } => self.used_by(expression),
            Piece::Parameter { operation: Operation::Default(_, word), .. } => plain_default(word),
            Piece::Parameter { operation: Operation::Trim(_, pattern), .. } => plain_pattern(pattern),
            Piece::Parameter { operation: Operation::Replace(_, pattern, with), .. } => {
                plain_replacement(with)?;
                plain_pattern(pattern)
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
