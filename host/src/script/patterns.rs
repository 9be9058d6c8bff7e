//! Names of files in the place of patterns: `ls *.rs` is judged, and runs, with the very files.
//!
//! The host does what the shell would do, when the script is judged, so that policies see every name. It does so where nothing of
//! the script can have changed files before; behind other commands a pattern stays for the shell, and policies see that it is one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use portcullis_shell::{Id, Kind, Piece, Refusal, Tree, Word};

use super::{Lookups, course::Lead, held};

/// Most files and directories that the patterns of a script are compared with: a pattern could walk a whole disk.
const MOST_LOOKED_AT: usize = 10_000;
/// Most words that the patterns of a script become.
const MOST_NAMES: usize = 1_000;
/// Most bytes of these words together.
const MOST_NAME_BYTES: usize = 64 * 1024;
/// Most names in the path of a pattern, which is as deep as the search goes.
const MOST_PARTS: usize = 32;
/// Longest part of a pattern between two slashes that is compared here; comparing takes its length times that of a name.
const MOST_ELEMENTS: usize = 64;

/// Puts the files in the place of the patterns among the arguments of programs and the words of `for`.
///
/// # Errors
///
/// A pattern that leads out of the roots, or to more files than can be judged.
pub(super) fn expand(tree: &mut Tree, leads: &[Lead], site: &Lookups) -> Result<(), Refusal> {
    if !tree.nodes.iter().flat_map(|node| node.kind.words()).any(is_pattern) {
        return Ok(());
    }
    let is_first = First::of(tree, leads);
    let mut search = Search { site, looked_at: 0, names: 0, bytes: 0 };
    for (at, node) in tree.nodes.iter_mut().enumerate() {
        let is_program = matches!(leads[at], Lead::Program { .. });
        let (words, is_expanded) = match &mut node.kind {
            Kind::Command { words, .. } => (words, is_program && is_first[at]),
            Kind::For { words, .. } => (words, is_first[at]),
            _ => continue,
        };
        if words.iter().any(is_pattern) {
            *words = search.words(std::mem::take(words), leads[at].at(), is_expanded)?;
        }
    }
    Ok(())
}

fn is_pattern(word: &Word) -> bool {
    let is_text = |piece: &Piece| matches!(piece, Piece::Literal(_) | Piece::Pattern(_));
    word.0.iter().all(is_text) && word.0.iter().any(|piece| matches!(piece, Piece::Pattern(_)))
}

/// Of every node whether nothing of the script can have changed a file or an option of the shell when its words are expanded.
struct First<'a> {
    tree: &'a Tree,
    leads: &'a [Lead],
    found: Vec<bool>,
}

impl<'a> First<'a> {
    fn of(tree: &'a Tree, leads: &'a [Lead]) -> Vec<bool> {
        let mut first = Self { tree, leads, found: vec![false; tree.nodes.len()] };
        first.visit(0, true);
        first.found
    }

    /// Says the same of what comes behind the node.
    fn visit(&mut self, id: Id, is_first: bool) -> bool {
        let tree = self.tree;
        let node = tree.node(id);
        let words = node.kind.words().into_iter().chain(node.redirects.iter().map(|redirect| &redirect.target));
        let inner: Vec<Id> = words.flat_map(Word::nodes).collect();
        let is_first = self.one_by_one(&inner, is_first);
        let redirects = !node.redirects.is_empty();
        let is_command = matches!(node.kind, Kind::Command { .. });
        // Those of a command are made when its words are there, those of a construct before.
        let is_first = is_first && (is_command || !redirects);
        self.found[id as usize] = is_first;
        match &node.kind {
            Kind::Command { .. } => {
                is_first && !redirects && matches!(self.leads[id as usize], Lead::Directory { .. } | Lead::Nothing { .. })
            }
            Kind::Pipeline(stages) => stages.iter().fold(is_first, |all, stage| self.visit(*stage, is_first) && all),
            Kind::Conditional { condition, body, alternative } => {
                let behind = self.visit(*condition, is_first);
                let body = self.visit(*body, behind);
                alternative.map_or(behind, |alternative| self.visit(alternative, behind)) && body
            }
            Kind::Case { arms, .. } => {
                arms.iter().filter_map(|arm| arm.body).fold(is_first, |all, body| self.visit(body, is_first) && all)
            }
            // What runs again comes behind itself.
            kind @ (Kind::Loop { .. } | Kind::For { .. }) => self.one_by_one(&kind.children(), false),
            kind => self.one_by_one(&kind.children(), is_first),
        }
    }

    fn one_by_one(&mut self, ids: &[Id], is_first: bool) -> bool {
        ids.iter().fold(is_first, |is_first, id| self.visit(*id, is_first))
    }
}

/// A pattern for paths.
struct Pattern {
    /// As it is written, without quotes: the word if no file matches.
    text: String,
    /// What stands in front of the first name with a pattern in it.
    fixed: String,
    /// The names behind it; none where the shell might read them otherwise than is known here.
    parts: Option<Vec<Part>>,
}

/// What stands between two slashes.
enum Part {
    Name(String),
    Match(Vec<Element>),
}

#[derive(Debug, PartialEq)]
enum Element {
    Exactly(char),
    One,
    Any,
    /// One of these ranges, or none of them.
    Set {
        ranges: Vec<(char, char)>,
        is_negated: bool,
    },
}

impl Pattern {
    fn of(word: &Word) -> Self {
        let chars = |piece: &Piece| match piece {
            Piece::Literal(text) => text.chars().map(|c| (c, false)).collect::<Vec<_>>(),
            Piece::Pattern(text) => text.chars().map(|c| (c, true)).collect(),
            _ => Vec::new(),
        };
        let chars: Vec<(char, bool)> = word.0.iter().flat_map(chars).collect();
        let text: String = chars.iter().map(|(c, _)| *c).collect();
        let first = chars.iter().position(|(c, is_open)| *is_open && "*?[".contains(*c)).unwrap_or(chars.len());
        let fixed = chars[..first].iter().rposition(|(c, _)| *c == '/').map_or(0, |slash| slash + 1);
        let parts: Option<Vec<Part>> = chars[fixed..].split(|(c, _)| *c == '/').map(part).collect();
        let is_plain = |parts: &Vec<Part>| {
            let has_gap = parts.iter().rev().skip(1).any(|part| matches!(part, Part::Name(name) if name.is_empty()));
            parts.len() <= MOST_PARTS && !has_gap
        };
        Self { fixed: chars[..fixed].iter().map(|(c, _)| *c).collect(), parts: parts.filter(is_plain), text }
    }

    /// Whether it goes back up behind a name that nobody knows yet.
    fn goes_up(&self) -> bool {
        self.text[self.fixed.len()..].split('/').any(|name| name == "..")
    }
}

/// Of characters, and whether each is open to be read as part of a pattern.
fn part(chars: &[(char, bool)]) -> Option<Part> {
    let mut elements = Vec::new();
    let mut rest = chars;
    while let Some(((c, is_open), behind)) = rest.split_first() {
        rest = behind;
        elements.push(match c {
            '*' if *is_open => Element::Any,
            '?' if *is_open => Element::One,
            '[' if *is_open && behind.iter().any(|(c, _)| *c == ']') => {
                let (set, behind) = set(behind)?;
                rest = behind;
                set
            }
            c => Element::Exactly(*c),
        });
    }
    let exactly = |element: &Element| match element {
        Element::Exactly(c) => Some(*c),
        _ => None,
    };
    match elements.iter().map(exactly).collect::<Option<String>>() {
        Some(name) => Some(Part::Name(name)),
        None => (elements.len() <= MOST_ELEMENTS).then_some(Part::Match(elements)),
    }
}

/// A bracket expression of letters, digits, `_`, `.` and ranges of letters or digits. What else there is depends on the language,
/// or on the shell.
fn set(chars: &[(char, bool)]) -> Option<(Element, &[(char, bool)])> {
    let is_negated = matches!(chars.first(), Some(('!' | '^', _)));
    let chars = &chars[usize::from(is_negated)..];
    let end = chars.iter().position(|(c, _)| *c == ']')?;
    if !chars[..=end].iter().all(|(_, is_open)| *is_open) {
        return None;
    }
    let inner: Vec<char> = chars[..end].iter().map(|(c, _)| *c).collect();
    let mut ranges = Vec::new();
    let mut rest = &inner[..];
    loop {
        rest = match rest {
            [] => break,
            [from, '-', to, behind @ ..] if is_range(*from, *to) => {
                ranges.push((*from, *to));
                behind
            }
            [c, behind @ ..] if c.is_ascii_alphanumeric() || "_.".contains(*c) => {
                ranges.push((*c, *c));
                behind
            }
            _ => return None,
        };
    }
    (!ranges.is_empty()).then_some((Element::Set { ranges, is_negated }, &chars[end + 1..]))
}

fn is_range(from: char, to: char) -> bool {
    let are = |is: fn(&char) -> bool| is(&from) && is(&to);
    from <= to && (are(char::is_ascii_digit) || are(char::is_ascii_lowercase) || are(char::is_ascii_uppercase))
}

/// Whether a name matches; one with a dot in front does only where the pattern has it.
fn matches(elements: &[Element], name: &str) -> bool {
    if name.starts_with('.') && elements.first() != Some(&Element::Exactly('.')) {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut next) = (0, 0);
    // The last `*`, and up to where it reaches.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match elements.get(next) {
            Some(Element::Any) => {
                star = Some((next, at));
                next += 1;
            }
            Some(element) if element.is_one(name[at]) => (at, next) = (at + 1, next + 1),
            _ => match &mut star {
                None => return false,
                Some((any, reached)) => {
                    *reached += 1;
                    (at, next) = (*reached, *any + 1);
                }
            },
        }
    }
    elements[next..].iter().all(|element| *element == Element::Any)
}

impl Element {
    fn is_one(&self, c: char) -> bool {
        match self {
            Self::Exactly(own) => *own == c,
            Self::One => true,
            Self::Any => false,
            Self::Set { ranges, is_negated } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *is_negated,
        }
    }
}

/// What was looked at and found for one script.
struct Search<'a> {
    site: &'a Lookups<'a>,
    looked_at: usize,
    names: usize,
    bytes: usize,
}

impl Search<'_> {
    /// The words with files in the place of patterns, or, if they are not expanded, those that the shell may expand.
    fn words(&mut self, words: Vec<Word>, at: &Path, is_expanded: bool) -> Result<Vec<Word>, Refusal> {
        let mut all = Vec::new();
        for word in words {
            if !is_pattern(&word) {
                all.push(word);
                continue;
            }
            let pattern = Pattern::of(&word);
            let directory = self.directory(&pattern, at)?;
            match &pattern.parts {
                Some(parts) if is_expanded => all.extend(self.files(&pattern, parts, directory)?.into_iter().map(Word::literal)),
                _ => all.push(word),
            }
        }
        Ok(all)
    }

    /// The directory in which the pattern begins, if there is one.
    fn directory(&self, pattern: &Pattern, at: &Path) -> Result<Option<PathBuf>, Refusal> {
        if pattern.goes_up() {
            return Err(outside(&pattern.text));
        }
        let beginning = if pattern.fixed.is_empty() { "." } else { &pattern.fixed };
        match self.site.place_of(beginning, at) {
            Some(place) if place.inside_roots => Ok(place.exists.then(|| place.path.into())),
            _ => Err(outside(&pattern.text)),
        }
    }

    fn files(&mut self, pattern: &Pattern, parts: &[Part], directory: Option<PathBuf>) -> Result<Vec<String>, Refusal> {
        let mut found = Vec::new();
        if let Some(directory) = directory {
            self.below(pattern, parts, &directory, &pattern.fixed, &mut found)?;
        }
        // As the shell does.
        if found.is_empty() {
            found.push(pattern.text.clone());
        }
        self.names += found.len();
        self.bytes += found.iter().map(String::len).sum::<usize>();
        if self.names > MOST_NAMES || self.bytes > MOST_NAME_BYTES {
            return Err(too_many(&format!("become more than {MOST_NAMES} names, or {MOST_NAME_BYTES} bytes")));
        }
        Ok(found)
    }

    /// What matches in a directory, whose path has no links, by the path as the script would write it.
    fn below(
        &mut self,
        pattern: &Pattern,
        parts: &[Part],
        directory: &Path,
        written: &str,
        found: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        let names = match part {
            Part::Name(name) => vec![name.clone()],
            Part::Match(elements) => self.matching(elements, directory)?,
        };
        for name in names {
            let path = format!("{written}{name}");
            if matches!(rest, [Part::Name(last)] if last.is_empty()) {
                // A slash at the end asks for directories, of which nothing else is looked at.
                if directory.join(&name).is_dir() {
                    found.push(path + "/");
                }
            } else if !rest.is_empty() {
                if let Some(next) = self.next(pattern, directory, &name)? {
                    self.below(pattern, rest, &next, &format!("{path}/"), found)?;
                }
            } else if directory.join(&name).symlink_metadata().is_ok() {
                found.push(path);
            }
            if found.len() > MOST_NAMES {
                break;
            }
        }
        Ok(())
    }

    /// The directory of this name, if it is one.
    fn next(&mut self, pattern: &Pattern, directory: &Path, name: &str) -> Result<Option<PathBuf>, Refusal> {
        self.look(1)?;
        match self.site.place_of(name, directory) {
            Some(place) if place.inside_roots => {
                let path = PathBuf::from(place.path);
                Ok(path.is_dir().then_some(path))
            }
            _ => Err(outside(&pattern.text)),
        }
    }

    /// The names in a directory that match, sorted.
    fn matching(&mut self, elements: &[Element], directory: &Path) -> Result<Vec<String>, Refusal> {
        let mut names = Vec::new();
        for name in self.entries(directory)? {
            let shown = name.to_string_lossy();
            if !matches(elements, &shown) {
                continue;
            }
            let Some(name) = name.to_str() else {
                let message =
                    format!("a pattern matches {shown:?}, a name that is not UTF-8, and policies judge text; rename the file");
                return Err(Refusal::new("not-utf-8", message));
            };
            names.push(name.to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn entries(&mut self, directory: &Path) -> Result<Vec<OsString>, Refusal> {
        self.look(1)?;
        let mut names = Vec::new();
        let Ok(entries) = listed(directory) else { return Ok(names) };
        for entry in entries.flatten() {
            self.look(1)?;
            names.push(entry.file_name());
        }
        Ok(names)
    }

    fn look(&mut self, more: usize) -> Result<(), Refusal> {
        self.looked_at += more;
        if self.looked_at > MOST_LOOKED_AT {
            return Err(too_many(&format!("are compared with more than {MOST_LOOKED_AT} files")));
        }
        Ok(())
    }
}

/// Lists the very directory of this path: if a link has taken its place meanwhile, none.
fn listed(directory: &Path) -> io::Result<fs::ReadDir> {
    let handle = File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(directory)?;
    if held::path_of(&handle)? != directory {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::read_dir(held::in_proc(&handle))
}

fn outside(pattern: &str) -> Refusal {
    Refusal::new(
        "pattern-outside",
        format!(
            "the pattern `{pattern}` leads out of the working roots, or goes up behind a pattern; name the files that are meant"
        ),
    )
}

fn too_many(what: &str) -> Refusal {
    Refusal::new(
        "too-many-files",
        format!("the patterns of the script {what}; name fewer, or let a program such as `find` search"),
    )
}

#[cfg(test)]
mod tests;
