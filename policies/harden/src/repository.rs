//! Judges the repository that git would use, by its own files.
//!
//! The hardened form overrides single settings. What has a name of the repository's own choice, such as a filter, or leads git
//! elsewhere, such as an include or a `.git` file, can not be overridden, so git is denied where it is found.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    config::{self, Setting},
    files::{Files, Kind, Trouble},
    harmless::{Says, allowed, danger, only_executes},
    index::{Fault, Index},
};

/// Most bytes of a configuration file. One with a thousand branches has about 100 KiB.
const MOST_CONFIG_BYTES: usize = 256 * 1024;
/// Most bytes of a file that holds a path or a few.
const MOST_POINTER_BYTES: usize = 8 * 1024;
/// Most entries of a directory that is listed. `objects` has 258, `pack` as many as there are packs.
const MOST_ENTRIES: usize = 4096;
/// Most files and directories of a repository, without its single objects and the repositories in it. References and their logs are
/// most of them.
const MOST_PARTS: usize = 16_384;
/// Most directories in one another of a repository, such as those of a reference with as many slashes.
const MOST_DEPTH: usize = 32;
/// The socket of git's own watcher of files, which the hardened form does not ask.
const SOCKET: &str = "fsmonitor--daemon.ipc";
/// Directories of a repository in which git has files of its own.
const OF_GIT: &[&str] = &[
    "branches",
    "info",
    "lfs",
    "logs",
    "modules",
    "objects",
    "rebase-apply",
    "rebase-merge",
    "refs",
    "reftable",
    "remotes",
    "rr-cache",
    "sequencer",
    "worktrees",
];
/// Most bytes a directory may take itself, which the host lists as a whole: an agent could fill one with millions of entries.
const MOST_DIRECTORY_BYTES: u64 = 1 << 20;
/// Most bytes of an index: that of about ninety thousand files.
const MOST_INDEX_BYTES: usize = 8 << 20;
/// Most repositories inside working trees.
const MOST_INNER: usize = 256;
/// Most directories of working trees that are looked through.
const MOST_LOOKED: usize = 16_384;
/// Most files in one of them.
const MOST_FILES: usize = 16_384;
/// Most object directories, one borrowing from the other.
const MOST_ALTERNATES: usize = 16;
/// Most characters of a name or path from a repository that are shown.
const MOST_SHOWN: usize = 120;

/// Why git is not let near a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Code of the reason.
    pub code: &'static str,
    /// Its message.
    pub message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn unreadable(path: &str, what: &str) -> Self {
        let message = format!("git would read {}, which {what}, so nobody can say what it makes git do", shown(path));
        Self::new("repository-unreadable", message)
    }

    fn outside(path: &str, what: &str) -> Self {
        let message = format!("{} {what}; git is denied where its repository leads out of the roots", shown(path));
        Self::new("repository-outside", message)
    }

    fn link(path: &str) -> Self {
        let message = format!("{} is a symbolic link; git is denied where parts of its repository are links", shown(path));
        Self::new("repository-link", message)
    }

    fn of(path: &str, trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotGranted => Self::outside(path, "lies outside the roots"),
            Trouble::Escapes => Self::outside(path, "leads out of the roots"),
            Trouble::TooLarge => Self::unreadable(path, "is too large"),
            Trouble::Failed(error) => Self::unreadable(path, &format!("can not be read ({error})")),
        }
    }
}

type Judged<T = ()> = Result<T, Refusal>;

/// A file or directory of a repository: its path in there, or its name in the directory that is listed.
type Part = (String, Kind);

/// How far git goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It stays in the repository that it finds.
    #[default]
    Own,
    /// It enters the repositories inside the working tree too, where none of its options count.
    Inner,
}

/// Where repositories are looked for that the index does not name yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Look {
    /// None can become part of this one.
    #[default]
    Nowhere,
    /// At and below these paths.
    Below(BTreeSet<String>),
    /// In the whole working tree.
    Everywhere,
}

impl Look {
    /// Looks where another one does too.
    pub fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Nowhere) | (Self::Everywhere, _) => {}
            (Self::Below(paths), Self::Below(more)) => paths.extend(more),
            (_, other) => *self = other,
        }
    }
}

/// What git can execute there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Executes {
    /// Programs.
    #[default]
    Something,
    /// The kernel keeps it from executing anything.
    Nothing,
}

/// What git does where it is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visit {
    /// How far it goes.
    pub reach: Reach,
    /// Where it may find repositories that nobody knew.
    pub look: Look,
    /// Whether it may end a merge.
    pub is_commit: bool,
    /// Whether it may change files of the working tree.
    pub changes_files: bool,
    /// Whether it may take over that a file it knows has become a repository.
    pub takes_changes: bool,
    /// Whether it may move repositories inside the working tree, or have git do that on the way.
    pub moves_repositories: bool,
    /// What it can execute.
    pub executes: Executes,
}

impl Visit {
    /// This one and another one.
    pub fn and(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    /// Does what another one does too.
    pub fn add(&mut self, other: Self) {
        self.reach = self.reach.max(other.reach);
        self.look.add(other.look);
        self.is_commit |= other.is_commit;
        self.changes_files |= other.changes_files;
        self.takes_changes |= other.takes_changes;
        self.moves_repositories |= other.moves_repositories;
        if other.executes == Executes::Something {
            self.executes = Executes::Something;
        }
    }
}

/// Judges every repository that git could choose when it is started in `directory`, which is absolute and has no links: those there
/// and in the directories above, as far as the grants go. Also those that git would leave for a nearer one: what makes it leave one
/// is for git to know.
pub fn judge(files: &impl Files, directory: &str, visit: &Visit) -> Judged {
    if directory.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Refusal::unreadable(directory, "has a name that is no UTF-8"));
    }
    match files.kind(directory) {
        Ok(Kind::Directory(_)) => {}
        Err(Trouble::NotGranted) => {
            let message = format!(
                "it may not read {}, so nobody can say what the repository there makes git do; an operator gives this policy `grants = {{ read = [\"roots\"] }}`",
                shown(directory)
            );
            return Err(Refusal::new("not-granted", message));
        }
        Ok(_) => return Err(Refusal::unreadable(directory, "is no directory")),
        Err(trouble) => return Err(Refusal::of(directory, trouble)),
    }
    let judge = Judge { files, visit, inner: RefCell::default() };
    if let Look::Below(paths) = &visit.look {
        paths.iter().try_for_each(|path| judge.look(path))?;
    }
    let mut next = Some(directory);
    while let Some(directory) = next {
        match files.kind(directory) {
            Ok(_) => judge.directory(directory)?,
            Err(Trouble::NotGranted) => break,
            Err(trouble) => return Err(Refusal::of(directory, trouble)),
        }
        next = parent(directory);
    }
    judge.inner()
}

/// Whether a path lies in a directory that git would take for a repository, as far as can be looked at.
pub fn is_of_git(files: &impl Files, path: &str) -> bool {
    let is_there = |directory: &str, name: &str| !matches!(files.kind(&join(directory, name)), Ok(Kind::Missing) | Err(_));
    let has_parts =
        |directory: &&str| is_there(directory, "HEAD") && (is_there(directory, "objects") || is_there(directory, "commondir"));
    std::iter::successors(parent(path), |directory| parent(directory)).any(|directory| has_parts(&directory))
}

/// Judges a configuration file that is the user's own, for calls that do all this, if it lies where jobs could write it.
pub fn judge_own(files: &impl Files, path: &str, visit: &Visit) -> Judged {
    if files.kind(path) == Err(Trouble::NotGranted) {
        return Ok(());
    }
    let judge = Judge { files, visit, inner: RefCell::default() };
    judge.is_apart(parent(path).unwrap_or("/"))?;
    judge.all_settings(&[path.to_owned()], &Place { repository: path, tree: None }).map(drop)
}

/// Judges a list of patterns that is the user's own, if it lies where jobs could write it: git shows its lines, wherever a link
/// leads.
pub fn judge_own_list(files: &impl Files, path: &str) -> Judged {
    match files.kind(path) {
        Ok(Kind::Missing | Kind::File(_)) | Err(Trouble::NotGranted) => Ok(()),
        Ok(Kind::Link) => Err(Refusal::link(path)),
        Ok(_) => Err(Refusal::unreadable(path, "is no regular file")),
        Err(trouble) => Err(Refusal::of(path, trouble)),
    }
}

struct Judge<'a, F> {
    files: &'a F,
    visit: &'a Visit,
    /// Directories of repositories inside working trees, judged and waiting.
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    known: BTreeSet<String>,
    waiting: Vec<String>,
    /// Directories that were looked through.
    looked: usize,
}

/// Where the settings of a file count from.
struct Place<'a> {
    /// The repository's own directory, mostly `.git`.
    repository: &'a str,
    /// The working tree it was found from; none for a bare one.
    tree: Option<&'a str>,
}

impl<F: Files> Judge<'_, F> {
    fn kind(&self, path: &str) -> Judged<Kind> {
        self.files.kind(path).map_err(|trouble| Refusal::of(path, trouble))
    }

    /// Judges the repositories that were found inside others, and those inside of these.
    fn inner(&self) -> Judged {
        loop {
            let Some(directory) = self.inner.borrow_mut().waiting.pop() else { return Ok(()) };
            match self.kind(&directory)? {
                Kind::Missing => {}
                Kind::Link => return Err(Refusal::link(&directory)),
                _ => self.directory(&directory)?,
            }
        }
    }

    /// Judges the ways on which git would reach the files of a working tree, and notes the repositories inside.
    fn tree(&self, place: &Place, common: &str, settings: &[Setting]) -> Judged {
        let Some(tree) = place.tree else { return Ok(()) };
        if self.visit.look == Look::Everywhere && self.inner.borrow_mut().known.insert(format!("{tree}/")) {
            self.look(tree)?;
        }
        let index = join(place.repository, "index");
        match self.kind(&index)? {
            Kind::Missing => return Ok(()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(&index, "is no regular file")),
        }
        let bytes = self.files.read(&index, MOST_INDEX_BYTES).map_err(|trouble| Refusal::of(&index, trouble))?;
        let id_bytes = id_bytes(settings).ok_or_else(|| {
            Refusal::unreadable(&join(place.repository, "config"), "does not plainly say how long names of objects are")
        })?;
        let found = Index::read(&bytes, id_bytes).map_err(|fault| match fault {
            Fault::Unreadable => Refusal::unreadable(&index, "does not show which files git would look at"),
            Fault::Path(path) => Refusal::outside(&index, &format!("names `{}`, no path in the working tree", shown(&path))),
            Fault::NoText(path) => {
                Refusal::unreadable(&index, &format!("names the directory `{}`, which is no UTF-8", shown(&path)))
            }
        })?;
        let directories = self.no_links_on_the_way(tree, &found)?;
        if self.visit.takes_changes && self.visit.look != Look::Everywhere {
            self.beside(tree, &directories)?;
        }
        if self.visit.moves_repositories && !found.repositories.is_empty() {
            self.nothing_is_absorbed(tree, &found.repositories, [place.repository, common])?;
        }
        if self.visit.reach == Reach::Inner { self.note(tree, &found.repositories, &index) } else { Ok(()) }
    }

    /// Notes the repositories right below directories that git knows: where a file was, git would take one for part of this one,
    /// and enter it at once.
    fn beside(&self, tree: &str, directories: &[&str]) -> Judged {
        for directory in [""].iter().chain(directories) {
            let path = join(tree, directory);
            let Kind::Directory(bytes) = self.kind(&path)? else { continue };
            for (name, kind) in self.listed_tree(&path, bytes)? {
                let path = join(&path, &name);
                if matches!(kind, Kind::Directory(_)) && name != ".git" && self.kind(&join(&path, ".git"))? != Kind::Missing {
                    self.note_one(path, tree)?;
                }
            }
        }
        Ok(())
    }

    /// Where git moves a submodule, or removes it, it first takes one that has its repository inside to where the others are,
    /// through whatever lies there, and goes on in it: as another one, where paths count from elsewhere.
    fn nothing_is_absorbed(&self, tree: &str, submodules: &[String], own: [&str; 2]) -> Judged {
        let refused = |path: &str, what: &str| {
            let message = format!(
                "{} {what}; git is denied where it could move that repository. `git rm --cached` leaves it alone",
                shown(path)
            );
            Err(Refusal::new("repository-moved", message))
        };
        for submodule in submodules {
            let directory = join(tree, submodule);
            let git = join(&directory, ".git");
            match self.kind(&git)? {
                Kind::Missing => continue,
                Kind::File(_) => {}
                _ => return refused(&git, "is no file that leads to the repository of a submodule"),
            }
            let repository = self.pointed(&git, &directory)?;
            if !own.iter().any(|own| repository.starts_with(&format!("{own}/modules/"))) {
                return refused(&git, "leads to a repository that is not in the `modules` of the one around it");
            }
        }
        let names = join(tree, ".gitmodules");
        if self.kind(&names)? == Kind::Link {
            return Err(Refusal::link(&names));
        }
        own.iter().try_for_each(|own| self.no_links(own, is_single).map(drop))
    }

    /// A directory of the working tree that has become a link: git reads what it leads to as the files that it knows.
    /// Returns those that are there.
    fn no_links_on_the_way<'a>(&self, tree: &str, index: &'a Index) -> Judged<Vec<&'a str>> {
        let (mut there, mut without) = (Vec::new(), BTreeSet::new());
        for directory in &index.directories {
            let above = directory.rsplit_once('/').map_or("", |(above, _)| above);
            if without.contains(above) {
                without.insert(directory.as_str());
                continue;
            }
            let path = join(tree, directory);
            match self.kind(&path)? {
                Kind::Directory(_) => there.push(directory.as_str()),
                Kind::Link => {
                    let message = format!(
                        "{} is a symbolic link where git has a directory; git is denied where it would read files through a link",
                        shown(&path)
                    );
                    return Err(Refusal::new("repository-link", message));
                }
                Kind::Missing | Kind::File(_) | Kind::Other => {
                    without.insert(directory.as_str());
                }
            }
        }
        Ok(there)
    }

    fn note(&self, tree: &str, repositories: &[String], index: &str) -> Judged {
        for directory in repositories {
            self.note_one(join(tree, directory), index)?;
        }
        Ok(())
    }

    /// Has a directory judged later, if it was not.
    fn note_one(&self, directory: String, whence: &str) -> Judged {
        let mut inner = self.inner.borrow_mut();
        if inner.known.insert(directory.clone()) {
            inner.waiting.push(directory);
        }
        if inner.known.len() > MOST_INNER { Err(Refusal::unreadable(whence, "names too many repositories")) } else { Ok(()) }
    }

    /// Notes the repositories at and below a path, whatever git knows of them. Links are not followed: git does not.
    fn look(&self, path: &str) -> Judged {
        let mut waiting = match self.kind(path)? {
            Kind::Directory(bytes) => vec![(path.to_owned(), bytes)],
            _ => return Ok(()),
        };
        while let Some((directory, bytes)) = waiting.pop() {
            for (name, kind) in self.listed_tree(&directory, bytes)? {
                match kind {
                    _ if name.eq_ignore_ascii_case(".git") => self.note_one(directory.clone(), path)?,
                    Kind::Directory(bytes) => waiting.push((join(&directory, &name), bytes)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The entries of a directory of a working tree.
    fn listed_tree(&self, directory: &str, bytes: u64) -> Judged<Vec<Part>> {
        self.inner.borrow_mut().looked += 1;
        if self.inner.borrow().looked > MOST_LOOKED || bytes > MOST_DIRECTORY_BYTES {
            let message = format!(
                "{} has too many files or directories to look for repositories in them; name the files to `git add`, and run git one command at a time",
                shown(directory)
            );
            return Err(Refusal::new("tree-too-large", message));
        }
        self.files.entries(directory, MOST_FILES).map_err(|trouble| Refusal::of(directory, trouble))
    }

    /// Looks where git looks for a repository.
    fn directory(&self, directory: &str) -> Judged {
        let git = join(directory, ".git");
        match self.kind(&git)? {
            Kind::Missing => {}
            Kind::Directory(_) => self.repository(&Place { repository: &git, tree: Some(directory) })?,
            Kind::File(_) => {
                let repository = self.pointed(&git, directory)?;
                self.repository(&Place { repository: &repository, tree: Some(directory) })?;
            }
            Kind::Link => return Err(Refusal::link(&git)),
            Kind::Other => return Err(Refusal::unreadable(&git, "is neither a file nor a directory")),
        }
        let has = |name: &str| Ok(self.kind(&join(directory, name))? != Kind::Missing);
        if has("HEAD")? && (has("objects")? || has("commondir")?) {
            self.repository(&Place { repository: directory, tree: None })?;
        }
        Ok(())
    }

    /// The directory that a `.git` file names.
    fn pointed(&self, git: &str, directory: &str) -> Judged<String> {
        let text = self.pointer(git)?;
        let path =
            text.strip_prefix("gitdir: ").ok_or_else(|| Refusal::unreadable(git, "does not say where the repository is"))?;
        self.resolved(&join(directory, path), git)
    }

    /// The directory that a path in a file of the repository leads to, plainly: without `..`, and without links on the way, which
    /// may lead elsewhere by the time git goes there.
    fn resolved(&self, path: &str, whence: &str) -> Judged<String> {
        let nowhere = || Refusal::outside(whence, "names no directory that can be looked at");
        let mut way = String::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                // What is above the grants is known by its name alone, so there is no way back from there.
                ".." if self.kind(&way).is_err() => return Err(nowhere()),
                ".." => way.truncate(way.rfind('/').unwrap_or_default()),
                part => {
                    way = format!("{way}/{part}");
                    match self.files.kind(&way) {
                        Ok(Kind::Directory(_)) | Err(Trouble::NotGranted) => {}
                        Ok(Kind::Link) => return Err(Refusal::link(&way)),
                        _ => return Err(nowhere()),
                    }
                }
            }
        }
        if self.files.kind(&way).is_ok() { Ok(way) } else { Err(nowhere()) }
    }

    /// The text of a file that holds a path, its line end taken off.
    fn pointer(&self, path: &str) -> Judged<String> {
        let text = self.text(path)?;
        match text.trim_end_matches(['\n', '\r']) {
            "" => Err(Refusal::unreadable(path, "names no path")),
            text => Ok(text.to_owned()),
        }
    }

    fn text(&self, path: &str) -> Judged<String> {
        let bytes = self.files.read(path, MOST_POINTER_BYTES).map_err(|trouble| Refusal::of(path, trouble))?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        text.ok_or_else(|| Refusal::unreadable(path, "is no text"))
    }

    fn repository(&self, place: &Place) -> Judged {
        let own = place.repository;
        self.is_no_reference(own)?;
        let mut seen = vec![(own, self.no_links(own, is_passed)?)];
        self.nothing_put_back(own)?;
        let common = self.common(own)?;
        self.is_no_reference(&common)?;
        self.is_apart(own)?;
        if common != own {
            seen.push((&common, self.no_links(&common, is_passed)?));
            self.is_apart(&common)?;
        }
        self.worktrees(&common)?;
        seen.iter().try_for_each(|(repository, parts)| self.references(repository, parts))?;
        let settings = self.all_settings(&[join(&common, "config"), join(own, "config.worktree")], place)?;
        self.listed(own, "reftable", "tables.list")?;
        self.listed(&common, "reftable", "tables.list")?;
        self.tree(place, &common, &settings)?;
        self.objects(join(&common, "objects"))
    }

    /// A directory that may lie among the files of a repository: git changes those and starts itself anew on the way, which would
    /// read as settings what it has just written. What lies in a `.git` below its working tree it never writes as a file.
    fn is_apart(&self, path: &str) -> Judged {
        if !self.visit.changes_files {
            return Ok(());
        }
        for directory in std::iter::successors(Some(path), |directory| parent(directory)) {
            if self.files.kind(directory) == Ok(Kind::Link) {
                return Err(Refusal::link(directory));
            }
            match self.files.kind(&join(directory, ".git")) {
                Ok(Kind::Missing) => {}
                Err(Trouble::NotGranted) => break,
                _ => {
                    let message = format!(
                        "{}, which git reads, may lie among the files of the repository in {}; git is denied where it could write its own settings",
                        shown(path),
                        shown(directory)
                    );
                    return Err(Refusal::new("repository-inside", message));
                }
            }
            if directory.ends_with("/.git") {
                break;
            }
        }
        Ok(())
    }

    /// Where a repository keeps its references and their logs git writes files under names of anybody's choice, `commondir` among
    /// them.
    fn is_no_reference(&self, path: &str) -> Judged {
        for (at, _) in path.match_indices('/') {
            let (above, below) = (&path[..at], &path[at + 1..]);
            let first = below.split('/').next().unwrap_or_default();
            let is_kept = ["logs", "refs"].iter().any(|name| first.eq_ignore_ascii_case(name));
            if is_kept && !matches!(self.files.kind(&join(above, "objects")), Ok(Kind::Missing) | Err(Trouble::NotGranted)) {
                return Err(Refusal::outside(path, "lies among the references of a repository, where git writes"));
            }
        }
        Ok(())
    }

    /// What a merge has set aside, or who writes there in its place, comes back with the commit that ends it, over any file.
    fn nothing_put_back(&self, own: &str) -> Judged {
        let aside = join(own, "MERGE_AUTOSTASH");
        if !self.visit.is_commit || self.kind(&aside)? == Kind::Missing {
            return Ok(());
        }
        let message = format!("`commit` would put back over the files what {} names; a person ends this merge", shown(&aside));
        Err(Refusal::new("repository-merge", message))
    }

    /// A reference that stands for another names one below `refs/`: git takes any path in its directory for the name of a
    /// reference, and would write into that file, such as `commondir`, whatever it has been told to write. Those that git writes by
    /// itself stand for no other.
    fn references(&self, repository: &str, parts: &[Part]) -> Judged {
        let refs = join(repository, "refs");
        match parts.iter().find(|(path, _)| path == "refs") {
            Some((_, Kind::Directory(_))) => {}
            Some(_) => return Err(Refusal::unreadable(&refs, "is no directory")),
            None if self.kind(&refs)? == Kind::Missing => {}
            // As where a file system makes no difference between cases: its files were not seen as references.
            None => return Err(Refusal::unreadable(&refs, "is listed under another name")),
        }
        let is_one = |(path, kind): &&Part| matches!(kind, Kind::File(_)) && is_reference(path);
        parts.iter().filter(is_one).try_for_each(|(path, _)| self.reference(&join(repository, path)))
    }

    fn reference(&self, path: &str) -> Judged {
        let bytes = self.files.read(path, MOST_CONFIG_BYTES).map_err(|trouble| Refusal::of(path, trouble))?;
        let Some(named) = bytes.strip_prefix(b"ref:") else { return Ok(()) };
        let (named, name) = (named.trim_ascii(), path.rsplit('/').next().unwrap_or_default());
        if name == "stash" || is_top_reference(name) && !["HEAD", "NOTES_MERGE_REF"].contains(&name) {
            return Err(Refusal::outside(path, "stands for another reference, which git would write instead"));
        }
        match named.starts_with(b"refs/") && !named.split(|byte| *byte == b'/').any(|part| part == b"..") {
            true => Ok(()),
            false => Err(Refusal::outside(path, "stands for what is no reference")),
        }
    }

    /// Names in a list of files lead nowhere but into the directory of the list.
    fn listed(&self, above: &str, directory: &str, name: &str) -> Judged {
        let list = join(&join(above, directory), name);
        match self.kind(&list)? {
            Kind::Missing => return Ok(()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(&list, "is no regular file")),
        }
        let bytes = self.files.read(&list, MOST_CONFIG_BYTES).map_err(|trouble| Refusal::of(&list, trouble))?;
        match bytes.contains(&b'/') {
            true => Err(Refusal::outside(&list, "names files elsewhere")),
            false => Ok(()),
        }
    }

    /// Where the repository keeps what its working trees share.
    fn common(&self, own: &str) -> Judged<String> {
        let pointer = join(own, "commondir");
        match self.kind(&pointer)? {
            Kind::Missing => Ok(own.to_owned()),
            Kind::File(_) => {
                let common = join(own, &self.pointer(&pointer)?);
                self.resolved(&common, &pointer)
            }
            _ => Err(Refusal::unreadable(&pointer, "is no regular file")),
        }
    }

    /// Other working trees of the repository share the same directory: git asks each what is checked out there.
    fn worktrees(&self, common: &str) -> Judged {
        let worktrees = join(common, "worktrees");
        for (name, _) in self.parts(&worktrees)? {
            let own = join(&worktrees, &name);
            if matches!(self.kind(&own)?, Kind::Directory(_)) && ![own.as_str(), common].contains(&self.common(&own)?.as_str()) {
                return Err(Refusal::outside(&join(&own, "commondir"), "names another repository"));
            }
        }
        Ok(())
    }

    /// Nothing at or below the path is a link, which git follows anywhere, or a pipe, which it would wait for. Hooks do not run and
    /// are not looked at; nor are the directories that are passed by their paths from there. Returns what else was seen.
    fn no_links(&self, root: &str, is_passed: fn(&str) -> bool) -> Judged<Vec<Part>> {
        let (mut seen, mut waiting, mut count) = (Vec::new(), vec![String::new()], 0);
        while let Some(below) = waiting.pop() {
            let entries = self.parts(&join(root, &below))?;
            count += entries.len();
            if count > MOST_PARTS || below.split('/').count() > MOST_DEPTH {
                return Err(Refusal::unreadable(root, "has too many files or directories"));
            }
            if is_working_tree(&below, &entries) {
                continue;
            }
            for (name, kind) in entries {
                let path = if below.is_empty() { name } else { format!("{below}/{name}") };
                match kind {
                    _ if path == "hooks" || path == SOCKET && kind == Kind::Other => continue,
                    Kind::Link => return Err(Refusal::link(&join(root, &path))),
                    Kind::Other => return Err(Refusal::unreadable(&join(root, &path), "is neither a file nor a directory")),
                    Kind::Directory(_) if !is_passed(&path) => waiting.push(path.clone()),
                    Kind::Directory(_) | Kind::File(_) | Kind::Missing => {}
                }
                seen.push((path, kind));
            }
        }
        Ok(seen)
    }

    /// The entries of a directory of the repository; none if it is missing.
    fn parts(&self, path: &str) -> Judged<Vec<Part>> {
        match self.kind(path)? {
            Kind::Missing => return Ok(Vec::new()),
            Kind::Directory(bytes) if bytes <= MOST_DIRECTORY_BYTES => {}
            Kind::Directory(_) => return Err(Refusal::unreadable(path, "is too large")),
            Kind::Link => return Err(Refusal::link(path)),
            Kind::File(_) | Kind::Other => return Err(Refusal::unreadable(path, "is no directory")),
        }
        self.files.entries(path, MOST_ENTRIES).map_err(|trouble| Refusal::of(path, trouble))
    }

    /// The object directories that this one, which has been looked at with its repository, borrows from.
    fn objects(&self, first: String) -> Judged {
        let mut waiting = self.alternates(&first)?;
        let mut known = BTreeSet::from([first]);
        while let Some(path) = waiting.pop() {
            if known.len() == MOST_ALTERNATES {
                return Err(Refusal::unreadable(&path, "is one of too many directories of objects"));
            }
            self.is_no_reference(&path)?;
            self.no_links(&path, is_loose)?;
            self.is_apart(&path)?;
            waiting.extend(self.alternates(&path)?.into_iter().filter(|other| !known.contains(other)));
            known.insert(path);
        }
        Ok(())
    }

    fn alternates(&self, objects: &str) -> Judged<Vec<String>> {
        let list = join(objects, "info/alternates");
        match self.kind(&list)? {
            Kind::Missing => return Ok(Vec::new()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(&list, "is no regular file")),
        }
        let text = self.text(&list)?;
        let lines = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
        let there = |line: &str| {
            // A quoted one is for names that no ordinary repository has.
            match line.starts_with('"') {
                true => Err(Refusal::outside(&list, "borrows objects from where this policy can not look")),
                false => self.resolved(&join(objects, line), &list),
            }
        };
        lines.map(there).collect()
    }

    /// The settings of the files, all of them harmless; returns those of the first, where alone git looks for extensions.
    fn all_settings(&self, paths: &[String], place: &Place) -> Judged<Vec<Setting>> {
        let mut found = paths.iter().map(|path| Ok((path, self.settings(path)?))).collect::<Judged<Vec<_>>>()?;
        // git has no working tree then, and paths count from wherever it is started.
        let is_bare = found.iter().flat_map(|(_, settings)| settings).any(says_bare);
        let place = Place { repository: place.repository, tree: place.tree.filter(|_| !is_bare) };
        for (path, settings) in &found {
            settings.iter().try_for_each(|setting| self.setting(setting, path, &place))?;
        }
        if let Some((path, _)) = found[1..].iter().find(|(_, settings)| settings.iter().any(|one| one.section == "extensions")) {
            let message = format!("{} sets `extensions`, which git reads in the shared `config` alone", shown(path));
            return Err(Refusal::new("repository-config", message));
        }
        Ok(found.swap_remove(0).1)
    }

    /// The settings of a file.
    fn settings(&self, path: &str) -> Judged<Vec<Setting>> {
        match self.kind(path)? {
            Kind::Missing => return Ok(Vec::new()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(path, "is no regular file")),
        }
        let bytes = self.files.read(path, MOST_CONFIG_BYTES).map_err(|trouble| Refusal::of(path, trouble))?;
        config::parse(&bytes).map_err(|line| Refusal::unreadable(path, &format!("git can not parse (line {line})")))
    }

    fn setting(&self, setting: &Setting, path: &str, place: &Place) -> Judged {
        let value = setting.value.as_deref().unwrap_or_default();
        if self.visit.executes == Executes::Nothing && only_executes(setting) {
            return Ok(());
        }
        let why = match allowed(setting) {
            Some(Says::Anything) => return Ok(()),
            Some(Says::OneOf(known)) if known.iter().any(|known| known.eq_ignore_ascii_case(value)) => return Ok(()),
            Some(Says::OneOf(_)) => "says what is not known to be harmless",
            Some(Says::File) if self.is_inside(value, place)? => return Ok(()),
            Some(Says::File) => "names a file that is not inside the working tree",
            Some(Says::WorkTree) if self.is_tree(value, place) => return Ok(()),
            Some(Says::WorkTree) => "makes git work on another directory",
            None => danger(setting),
        };
        let message = format!(
            "{} sets `{}`, which {why}; git is denied here until a person has removed it",
            shown(path),
            shown(&setting.name())
        );
        Err(Refusal::new("repository-config", message))
    }

    /// Whether a path in a setting is plainly below the working tree, and no link is what it names. Without a working tree it
    /// counts from wherever git is started.
    fn is_inside(&self, value: &str, place: &Place) -> Judged<bool> {
        let Some(tree) = place.tree else { return Ok(false) };
        let is_odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
        let is_plain = !value.starts_with(['/', '~', '%', ':']) && !value.contains(is_odd);
        if !is_plain || value.split('/').any(|part| part == "..") {
            return Ok(false);
        }
        let path = join(tree, value);
        // Each part of the way, since git follows links anywhere.
        let first = path.len() - value.len();
        for (end, _) in path.match_indices('/').filter(|(at, _)| *at >= first).chain([(path.len(), "")]) {
            if self.kind(&path[..end])? == Kind::Link {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a working tree that is named is the one the repository was found from, as in a submodule.
    fn is_tree(&self, value: &str, place: &Place) -> bool {
        let Some(tree) = place.tree else { return false };
        let is_plain = !value.is_empty() && !value.starts_with(['~', '%']) && !value.contains(char::REPLACEMENT_CHARACTER);
        is_plain && self.resolved(&join(place.repository, value), value).is_ok_and(|path| path == tree)
    }
}

/// Whether git takes a file at this path in a repository for a reference by itself.
fn is_reference(path: &str) -> bool {
    path.starts_with("refs/") || !path.contains('/') && is_top_reference(path)
}

/// Whether git uses a file of the repository's own directory as a reference, by itself (`is_root_ref` of git's refs.c). Others it
/// does if it is told their name, such as a message that begins with `ref:`.
fn is_top_reference(name: &str) -> bool {
    const ODD: &[&str] = &["AUTO_MERGE", "BISECT_EXPECTED_REV", "MERGE_AUTOSTASH", "NOTES_MERGE_PARTIAL", "NOTES_MERGE_REF"];
    name == "HEAD" || name.ends_with("_HEAD") || ODD.contains(&name)
}

/// The directories of a repository that are not looked at: repositories of submodules are judged where git enters them, and for
/// single objects see [`is_loose`].
fn is_passed(below: &str) -> bool {
    match below.split('/').collect::<Vec<_>>()[..] {
        ["modules"] | ["worktrees", _, "modules"] => true,
        _ => is_single(below),
    }
}

/// The directories of a repository that hold single objects.
fn is_single(below: &str) -> bool {
    below.strip_prefix("objects/").is_some_and(is_loose)
}

/// Whether a directory of objects holds single ones: there are many, and who links one has to know its id.
fn is_loose(name: &str) -> bool {
    name.len() == 2
}

/// Whether a directory in a repository is a working tree, as beside a bare repository, and its name is none that git reads below.
fn is_working_tree(below: &str, entries: &[Part]) -> bool {
    let first = below.split('/').next().unwrap_or_default();
    !first.is_empty() && !OF_GIT.contains(&first) && entries.iter().any(|(name, _)| name == ".git")
}

/// The length of the names of objects, if the settings say it as git reads it: later lines win, and a repository of an older
/// version has no extensions.
fn id_bytes(settings: &[Setting]) -> Option<usize> {
    let last = |section: &str, key: &str| {
        let is_it = |one: &&Setting| (&*one.section, one.subsection.as_deref(), &*one.key) == (section, None, key);
        settings.iter().rfind(is_it).map(|setting| setting.value.as_deref().unwrap_or_default())
    };
    match (last("extensions", "objectformat"), last("core", "repositoryformatversion")) {
        (None | Some("sha1"), _) => Some(20),
        (Some("sha256"), Some("1")) => Some(32),
        _ => None,
    }
}

/// Whether a setting says that there is no working tree. What is no plain "no" is taken for a yes.
fn says_bare(setting: &Setting) -> bool {
    let is_no = |value: &str| ["", "0", "false", "no", "off"].iter().any(|no| no.eq_ignore_ascii_case(value));
    (setting.section.as_str(), setting.subsection.as_deref(), setting.key.as_str()) == ("core", None, "bare")
        && !setting.value.as_deref().is_some_and(is_no)
}

/// As git joins them: an absolute path stands for itself.
fn join(directory: &str, path: &str) -> String {
    match path {
        "" => directory.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}

fn parent(directory: &str) -> Option<&str> {
    let (parent, _) = directory.rsplit_once('/').filter(|_| directory != "/")?;
    Some(if parent.is_empty() { "/" } else { parent })
}

/// A text from a repository, cut: it may be as long as its author likes.
fn shown(text: &str) -> String {
    let cut = text.char_indices().nth(MOST_SHOWN).map_or(text.len(), |(at, _)| at);
    if cut < text.len() { format!("{}…", &text[..cut]) } else { text.to_owned() }
}
