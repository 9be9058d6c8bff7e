//! Paths: what is written, where it leads, who else can write there.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::mistakes::{Fault, Report};
use super::raw::Checked;
use super::surroundings::Surroundings;

/// Where links lead to what a process has open, so each process elsewhere.
const PROCESSES: &str = "/proc";
/// How many links are followed on one way; what Linux does too. A file's author could else make a circle.
const MAX_LINKS: usize = 40;

/// The way the kernel takes to a path, written down.
pub(super) struct Trail {
    /// Everything that exists on the way, from `/` on: directories, links, the thing itself.
    pub steps: Vec<Step>,
    /// Where it leads, without links; the last parts may not exist.
    pub end: PathBuf,
}

/// Something on the way to a path.
pub(super) struct Step {
    /// Its name; no link in front of the last part.
    pub path: PathBuf,
    /// Of itself; a link is not followed.
    pub meta: Metadata,
}

/// Whose files are trusted: this user's and root's.
pub(super) struct Trust {
    pub owner: u32,
}

/// A place the server itself writes.
pub(super) struct Own<'a> {
    /// The key that names it.
    pub path: &'a str,
    /// Whether it is a directory, not a file.
    pub directory: bool,
    pub roots: &'a [PathBuf],
}

impl Trail {
    /// Whether the end exists, and what it is.
    pub(super) fn found(&self) -> Option<&Metadata> {
        self.steps.last().filter(|step| step.path == self.end).map(|step| &step.meta)
    }
}

impl Trust {
    /// Where the way to a path leads, which nobody who is not trusted could change.
    pub(super) fn end(&self, path: &Path) -> Result<PathBuf, Fault> {
        let trail = trail(path)?;
        self.trusts(&trail).map(|()| trail.end)
    }

    /// The first of [`Self::faults`], if there is one.
    fn trusts(&self, trail: &Trail) -> Result<(), Fault> {
        self.faults(trail).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything on the way that someone who is not trusted could change or replace.
    pub(super) fn faults(&self, trail: &Trail) -> Vec<Fault> {
        let mut seen = HashSet::new();
        trail.steps.iter().filter(|step| seen.insert(&step.path)).filter_map(|step| self.check(step).err()).collect()
    }

    fn check(&self, step: &Step) -> Result<(), Fault> {
        let Self { owner } = self;
        let Step { path, meta } = step;
        if meta.uid() != *owner && meta.uid() != 0 {
            let who = if *owner == 0 { "root".to_owned() } else { format!("uid {owner} or root") };
            return Err(Fault::new(
                format!("{} belongs to uid {}", path.display(), meta.uid()),
                format!("must belong to {who}; type: chown {owner} {}", quoted(path)),
            ));
        }
        // In a sticky directory others can not replace what is not theirs, and whose it is the next step tells. A link has no
        // mode of its own.
        let is_harmless = meta.is_symlink() || (meta.is_dir() && meta.mode() & 0o1000 != 0);
        if meta.mode() & 0o022 != 0 && !is_harmless {
            let mode = meta.mode() & 0o7777;
            return Err(Fault::new(
                format!("others can write {} (mode {mode:04o})", path.display()),
                format!("type: chmod go-w {}", quoted(path)),
            ));
        }
        Ok(())
    }
}

impl Own<'_> {
    /// The place that is written, or the default, resolved and out of reach of jobs.
    pub(super) fn mean(
        &self,
        report: &mut Report,
        written: &Checked<String>,
        default: impl FnOnce() -> Option<PathBuf>,
        surroundings: &Surroundings,
    ) -> PathBuf {
        let right = "must be a path as a string, absolute or `~/…`";
        let path = match (report.leaf(self.path, written, right), written) {
            (Some(text), _) => absolute(Path::new(text), surroundings.home()),
            (None, Checked::Absent) => default().ok_or_else(|| {
                let wrong = "no default, since the home directory is not known";
                Fault::new(wrong, "name a path here, or set HOME")
            }),
            (None, _) => return PathBuf::new(),
        };
        report.keep(self.path, path.and_then(|path| self.check(&path))).unwrap_or_default()
    }

    /// The place, resolved.
    pub(super) fn check(&self, path: &Path) -> Result<PathBuf, Fault> {
        let trail = trail(path)?;
        out_of_reach(&trail, self.roots)?;
        match trail.found() {
            Some(meta) if self.directory && !meta.is_dir() => {
                Err(Fault::new(format!("{} is no directory", trail.end.display()), "must be a directory, or not exist yet"))
            }
            Some(meta) if !self.directory && meta.is_dir() => {
                Err(Fault::new(format!("{} is a directory", trail.end.display()), "must be a file, or not exist yet"))
            }
            _ => Ok(trail.end),
        }
    }
}

/// The way to a place in which neither jobs nor other users can put something else.
fn own_trail(path: &Path, roots: &[PathBuf]) -> Result<Trail, Fault> {
    let trail = trail(path)?;
    out_of_reach(&trail, roots)?;
    let owner = rustix::process::geteuid().as_raw();
    (Trust { owner }).trusts(&trail).map(|()| trail)
}

/// Where a socket is to be that only its owner connects to: in a directory that exists, where neither jobs nor other users can put
/// another in its place.
///
/// # Errors
///
/// What is wrong with the path, and what would be right.
pub fn place_of_socket(path: &Path, roots: &[PathBuf]) -> Result<PathBuf, String> {
    let told = |fault: Fault| format!("{}; {}", fault.wrong, fault.right);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(format!("{} is no path of a file", path.display()));
    };
    let trail = own_trail(folder, roots).map_err(told)?;
    match trail.found() {
        Some(meta) if meta.is_dir() && meta.mode() & 0o022 == 0 => Ok(trail.end.join(name)),
        Some(meta) if meta.is_dir() => Err(format!("others can write {}; make a directory of your own", trail.end.display())),
        _ => Err(format!("{} is no directory", trail.end.display())),
    }
}

/// Where programs lie that a confined command may execute, links followed: neither jobs nor other users can put others there, nor
/// below it as far as its own mode says. None: nothing is there.
///
/// # Errors
///
/// What is wrong with the path.
pub fn place_of_programs(path: &Path, roots: &[PathBuf]) -> Result<Option<PathBuf>, String> {
    let trail = own_trail(path, roots).map_err(|fault| fault.wrong)?;
    if trail.steps.iter().any(|step| step.path.starts_with(PROCESSES)) {
        return Err(format!("the way to it leads through {PROCESSES}, where each process finds something else"));
    }
    if let Some(root) = roots.iter().find(|root| root.starts_with(&trail.end)) {
        return Err(format!("the job root {} lies in it, where an agent could write programs", root.display()));
    }
    match trail.found() {
        // That others can not replace what is not theirs, in a sticky directory, does not keep them from adding to it.
        Some(meta) if meta.mode() & 0o022 != 0 => Err(format!("others can write {}", trail.end.display())),
        Some(_) => Ok(Some(trail.end)),
        None => Ok(None),
    }
}

/// What of somebody's own lies at a path, links followed, if neither jobs nor other users could lead it elsewhere.
pub fn place_to_read(path: &Path, roots: &[PathBuf]) -> Option<PathBuf> {
    let trail = trail(path).ok()?;
    out_of_reach(&trail, roots).ok()?;
    let owner = rustix::process::geteuid().as_raw();
    let is_own = trail.steps.iter().all(|step| [owner, 0].contains(&step.meta.uid()));
    (is_own && trail.found().is_some()).then_some(trail.end)
}

/// The path that is written, `~/` replaced by the home directory. Relative ones are refused: they would lead to whatever lies in
/// the directory the server was started in, which is where agents write.
pub(super) fn absolute(path: &Path, home: Option<&Path>) -> Result<PathBuf, Fault> {
    let right = "must be a path, absolute or `~/…`";
    if path.as_os_str().is_empty() {
        return Err(Fault::new("is empty", right));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Fault::new("contains a NUL character", right));
    }
    if let Ok(below) = path.strip_prefix("~") {
        let unknown = || Fault::new("the home directory is not known", "write an absolute path");
        return home.map(|home| home.join(below)).ok_or_else(unknown);
    }
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(Fault::new(format!("`{}` is a relative path", path.display()), right))
    }
}

/// The existing directory that is written, without links.
pub(super) fn directory(path: &Path, home: Option<&Path>) -> Result<PathBuf, Fault> {
    let path = absolute(path, home)?;
    let right = "must be an existing directory";
    let end = fs::canonicalize(&path).map_err(|error| Fault::new(format!("{}: {error}", path.display()), right))?;
    if end.is_dir() { Ok(end) } else { Err(Fault::new(format!("{} is no directory", path.display()), right)) }
}

/// The root that holds `path`, which has no links.
pub(super) fn root_of<'r>(path: &Path, roots: &'r [PathBuf]) -> Option<&'r Path> {
    roots.iter().find(|root| path.starts_with(root)).map(PathBuf::as_path)
}

/// Refuses what a job could write or redirect: a way that ends in a root, or passes something below one. A root that is only passed
/// (`project/../file`) is no danger: what it is named in lies outside.
pub(super) fn out_of_reach(trail: &Trail, roots: &[PathBuf]) -> Result<(), Fault> {
    let is_in = |root: &&PathBuf| {
        let is_below = |step: &Step| step.path.starts_with(root) && step.path != **root;
        trail.end.starts_with(root) || trail.steps.iter().any(is_below)
    };
    match roots.iter().find(is_in) {
        None => Ok(()),
        Some(root) => {
            let end = trail.end.display();
            let shown = root.display();
            let wrong = if trail.end.starts_with(root) {
                format!("{end} lies in the job root {shown}, where an agent could write it")
            } else {
                format!("the way to {end} leads through the job root {shown}, where an agent could change it")
            };
            let right = "choose a narrower root in `jobs.roots`, start in a project directory, or keep it elsewhere";
            Err(Fault::new(wrong, right))
        }
    }
}

/// [`follow`], with its error as a fault.
pub(super) fn trail(path: &Path) -> Result<Trail, Fault> {
    follow(path).map_err(|error| {
        Fault::new(format!("{} can not be resolved: {error}", path.display()), "must be a path the server's user can follow")
    })
}

/// Goes the way to an absolute path as the kernel does, link by link. Unlike `fs::canonicalize` it takes what does not exist, also
/// at the end of a dangling link, and remembers what it passed.
fn follow(path: &Path) -> io::Result<Trail> {
    let mut todo = Vec::new();
    push(&mut todo, path);
    let mut trail = Trail { steps: Vec::new(), end: PathBuf::from("/") };
    let mut links = 0;
    let mut is_missing = false;
    while let Some(part) = todo.pop() {
        match part {
            Part::Root => trail.enter(PathBuf::from("/"))?,
            Part::Up if is_missing => return Err(io::ErrorKind::NotFound.into()),
            Part::Up => {
                trail.end.pop();
                trail.enter(trail.end.clone())?;
            }
            Part::Down(name) if is_missing => trail.end.push(name),
            Part::Down(name) => {
                let next = trail.end.join(name);
                match fs::symlink_metadata(&next) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        is_missing = true;
                        trail.end = next;
                    }
                    Err(error) => return Err(error),
                    Ok(meta) if meta.is_symlink() => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(io::Error::other("too many links"));
                        }
                        push(&mut todo, &fs::read_link(&next)?);
                        trail.steps.push(Step { path: next, meta });
                    }
                    Ok(_) => trail.enter(next)?,
                }
            }
        }
    }
    Ok(trail)
}

/// A part of a path that is still to go.
enum Part {
    Root,
    Up,
    Down(OsString),
}

/// Puts the parts of `path` on the stack, first part on top.
fn push(todo: &mut Vec<Part>, path: &Path) {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    todo.extend(parts);
}

impl Trail {
    fn enter(&mut self, path: PathBuf) -> io::Result<()> {
        let meta = fs::symlink_metadata(&path)?;
        self.end.clone_from(&path);
        self.steps.push(Step { path, meta });
        Ok(())
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
