//! Mistakes, and the one place that collects them.

use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::places::Trail;
use super::raw::{self, Checked, Section};

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file it stands in; none for variables, options and the built-in configuration.
    pub file: Option<PathBuf>,
    /// Where: `jobs.timeout_s`, `policies[1].component`, the name of a variable or an option; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right, or what to do.
    pub right: String,
}

/// All that is wrong with a configuration; shown one per line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

/// What is wrong and what would be right, before it is known where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub wrong: String,
    pub right: String,
}

/// Which whole numbers a key takes.
pub(super) struct Span {
    /// What is counted, such as `seconds`.
    pub unit: &'static str,
    pub min: i64,
    pub max: i64,
    pub default: i64,
    /// What 0 means, where it is not just a small number.
    pub zero: Option<&'static str>,
}

/// Collects mistakes while the reading goes on.
#[derive(Default)]
pub(super) struct Report {
    /// The file that is being read.
    pub file: Option<PathBuf>,
    /// What the result depends on: files, and the links on the way to them.
    pub depends_on: Vec<PathBuf>,
    mistakes: Vec<Mistake>,
}

impl Fault {
    pub(super) fn new(wrong: impl Into<String>, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }
}

impl Span {
    /// `number`, if it is in the span.
    pub(super) fn check(&self, number: i64) -> Result<i64, Fault> {
        if (self.min..=self.max).contains(&number) {
            Ok(number)
        } else {
            Err(Fault::new(format!("{number} is out of range"), self.to_string()))
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, path: impl Into<String>, fault: Fault) {
        self.mistakes.push(Mistake { file: self.file.clone(), path: path.into(), wrong: fault.wrong, right: fault.right });
    }

    /// Remembers a file that is read, and the links on the way to it.
    pub(super) fn depends_on(&mut self, trail: &Trail) {
        let links = trail.steps.iter().filter(|step| step.meta.is_symlink()).map(|step| step.path.clone());
        self.depends_on.extend(links.chain([trail.end.clone()]));
    }

    /// The value, or none and a mistake more.
    pub(super) fn keep<T>(&mut self, path: impl Into<String>, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(path, fault)).ok()
    }

    /// What is written at a leaf; none where nothing is or where it is of the wrong kind.
    pub(super) fn leaf<'r, T>(&mut self, path: &str, leaf: &'r Checked<T>, right: &str) -> Option<&'r T> {
        match leaf {
            Checked::Absent => None,
            Checked::Good(value) => Some(value),
            Checked::Bad(found) => {
                self.add(path, Fault::new(format!("found {found}"), right));
                None
            }
        }
    }

    /// The number written at a leaf, or the default where it is absent or wrong.
    pub(super) fn number(&mut self, path: &str, leaf: &Checked<i64>, span: &Span) -> i64 {
        self.leaf(path, leaf, &span.to_string()).and_then(|&number| self.keep(path, span.check(number))).unwrap_or(span.default)
    }

    /// The strings of a list with their paths; none where the list is absent or is no list.
    pub(super) fn strings<'r>(&mut self, path: &str, leaf: &'r Checked<Vec<Checked<String>>>) -> Option<Vec<(String, &'r str)>> {
        let list = self.leaf(path, leaf, "must be a list of strings")?;
        let mut strings = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Some(text) = self.leaf(&path, item, "must be a string") {
                strings.push((path, text.as_str()));
            }
        }
        Some(strings)
    }

    /// What is written in a table; its unknown keys are mistakes. None where it is absent or is no table.
    pub(super) fn section<'r, T: DeserializeOwned>(&mut self, path: &str, section: &'r Section<T>) -> Option<&'r T> {
        match section {
            Section::Absent => None,
            Section::Bad(found) => {
                self.add(path, Fault::new(format!("found {found}"), "must be a table"));
                None
            }
            Section::Good { value, unknown } => {
                for key in unknown {
                    let right = suggestion(key, &raw::keys::<T>());
                    self.add(join(path, key), Fault::new("unknown key", right));
                }
                Some(value)
            }
        }
    }

    /// The configuration if nothing was wrong.
    pub(super) fn conclude<T>(self, config: Option<T>) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(config.expect("whoever gives up on a configuration reports why"))
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

/// `key` below `path`, quoted where TOML would quote it.
pub(super) fn join(path: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// What to say to someone who wrote `name` where one of `known` belongs.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (distance(name, known), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4 || is_part(name, known))
        .min();
    match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Whether someone may have left off the unit or the qualifier: `timeout` for `timeout_s`.
fn is_part(name: &str, known: &str) -> bool {
    name.len() >= 3 && (known.starts_with(name) || known.ends_with(name) || name.starts_with(known))
}

/// Levenshtein's distance. A name longer than any key is cut, since the file's author chooses its length.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().take(LONGEST).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, min, max, .. } = self;
        write!(f, "must be a whole number of {unit} from {min} to {max}")?;
        match self.zero {
            Some(zero) => write!(f, " (0: {zero})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.wrong, self.right)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}
