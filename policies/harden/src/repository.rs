//! Judges the repository that git would use, by its own files.
//!
//! The hardened form overrides single settings. What has a name of the repository's own choice, such as a filter, or leads git
//! elsewhere, such as an include or a `.git` file, can not be overridden, so git is denied where it is found.

use std::{cell::RefCell, collections::BTreeSet};

use crate::{
    config::{self, Setting},
    files::{Files, Kind, Trouble},
    harmless::{Says, allowed, danger},
    index::gitlinks,
};

/// Most bytes of a configuration file. One with a thousand branches has about 100 KiB.
const MOST_CONFIG_BYTES: usize = 256 * 1024;
/// Most bytes of a file that holds a path or a few.
const MOST_POINTER_BYTES: usize = 8 * 1024;
/// Most entries of a directory that is listed. `objects` has 258, `pack` as many as there are packs.
const MOST_ENTRIES: usize = 4096;
/// Most bytes a directory may take itself, which the host lists as a whole: an agent could fill one with millions of entries.
const MOST_DIRECTORY_BYTES: u64 = 1 << 20;
/// Most bytes of an index: that of about ninety thousand files.
const MOST_INDEX_BYTES: usize = 8 << 20;
/// Most repositories inside working trees.
const MOST_INNER: usize = 256;
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

/// How far git goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It stays in the repository that it finds.
    Own,
    /// It enters the repositories inside the working tree too, where none of its options count.
    Inner,
}

/// Judges every repository that git could choose when it is started in `directory`, which is absolute and has no links: those there
/// and in the directories above, as far as the grants go. Also those that git would leave for a nearer one: what makes it leave one
/// is for git to know.
pub fn judge(files: &impl Files, directory: &str, reach: Reach) -> Judged {
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
    let judge = Judge { files, reach, inner: RefCell::default() };
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

/// Judges a configuration file that is the user's own, if it lies where jobs could write it.
pub fn judge_own(files: &impl Files, path: &str) -> Judged {
    if files.kind(path) == Err(Trouble::NotGranted) {
        return Ok(());
    }
    let judge = Judge { files, reach: Reach::Own, inner: RefCell::default() };
    judge.settings(path, &Place { repository: path, tree: None }).map(drop)
}

struct Judge<'a, F> {
    files: &'a F,
    reach: Reach,
    /// Directories of repositories inside working trees, judged and waiting.
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    known: BTreeSet<String>,
    waiting: Vec<String>,
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
            if self.kind(&directory)? != Kind::Missing {
                self.directory(&directory)?;
            }
        }
    }

    /// Notes the repositories inside a working tree.
    fn find_inner(&self, place: &Place, settings: &[Setting]) -> Judged {
        let (Reach::Inner, Some(tree)) = (self.reach, place.tree) else { return Ok(()) };
        let index = join(place.repository, "index");
        match self.kind(&index)? {
            Kind::Missing => return Ok(()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(&index, "is no regular file")),
        }
        let bytes = self.files.read(&index, MOST_INDEX_BYTES).map_err(|trouble| Refusal::of(&index, trouble))?;
        let is_format = |setting: &&Setting| (setting.section.as_str(), setting.key.as_str()) == ("extensions", "objectformat");
        let is_long = settings.iter().rfind(is_format).is_some_and(|setting| setting.value.as_deref() == Some("sha256"));
        let links = gitlinks(&bytes, if is_long { 32 } else { 20 });
        let links = links.ok_or_else(|| Refusal::unreadable(&index, "does not show which repositories lie inside"))?;
        let mut inner = self.inner.borrow_mut();
        for directory in links.iter().map(|link| join(tree, link)) {
            if inner.known.insert(directory.clone()) {
                inner.waiting.push(directory);
            }
        }
        if inner.known.len() > MOST_INNER { Err(Refusal::unreadable(&index, "names too many repositories")) } else { Ok(()) }
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
        let repository = join(directory, path);
        match self.kind(&repository)? {
            Kind::Directory(_) => Ok(repository),
            _ => Err(Refusal::outside(git, "names no directory that can be looked at")),
        }
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
        self.no_links(own)?;
        let common = self.common(own)?;
        if common != own {
            self.no_links(&common)?;
        }
        let mut settings = self.settings(&join(&common, "config"), place)?;
        settings.extend(self.settings(&join(own, "config.worktree"), place)?);
        self.find_inner(place, &settings)?;
        self.no_links(&join(&common, "info"))?;
        self.objects(join(&common, "objects"))
    }

    /// Where the repository keeps what its working trees share.
    fn common(&self, own: &str) -> Judged<String> {
        let pointer = join(own, "commondir");
        match self.kind(&pointer)? {
            Kind::Missing => Ok(own.to_owned()),
            Kind::File(_) => {
                let common = join(own, &self.pointer(&pointer)?);
                match self.kind(&common)? {
                    Kind::Directory(_) => Ok(common),
                    _ => Err(Refusal::outside(&pointer, "names no directory that can be looked at")),
                }
            }
            _ => Err(Refusal::unreadable(&pointer, "is no regular file")),
        }
    }

    /// A directory of the repository has no links in it: git follows them anywhere. Hooks do not run.
    fn no_links(&self, path: &str) -> Judged {
        match self.kind(path)? {
            Kind::Missing => return Ok(()),
            Kind::Directory(bytes) if bytes <= MOST_DIRECTORY_BYTES => {}
            Kind::Directory(_) => return Err(Refusal::unreadable(path, "is too large")),
            Kind::Link => return Err(Refusal::link(path)),
            Kind::File(_) | Kind::Other => return Err(Refusal::unreadable(path, "is no directory")),
        }
        let entries = self.files.entries(path, MOST_ENTRIES).map_err(|trouble| Refusal::of(path, trouble))?;
        match entries.iter().find(|(name, kind)| *kind == Kind::Link && name != "hooks") {
            Some((name, _)) => Err(Refusal::link(&join(path, name))),
            None => Ok(()),
        }
    }

    /// Object directories, this one and those it borrows from.
    fn objects(&self, first: String) -> Judged {
        let (mut known, mut waiting) = (BTreeSet::new(), vec![first]);
        while let Some(path) = waiting.pop() {
            if known.len() == MOST_ALTERNATES {
                return Err(Refusal::unreadable(&path, "is one of too many directories of objects"));
            }
            for directory in ["", "pack", "info"] {
                self.no_links(&join(&path, directory))?;
            }
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
            let path = join(objects, line);
            match self.kind(&path)? {
                Kind::Directory(_) if !line.starts_with('"') => Ok(path),
                _ => Err(Refusal::outside(&list, "borrows objects from where this policy can not look")),
            }
        };
        lines.map(there).collect()
    }

    /// The settings of a file, all of them harmless.
    fn settings(&self, path: &str, place: &Place) -> Judged<Vec<Setting>> {
        match self.kind(path)? {
            Kind::Missing => return Ok(Vec::new()),
            Kind::File(_) => {}
            _ => return Err(Refusal::unreadable(path, "is no regular file")),
        }
        let bytes = self.files.read(path, MOST_CONFIG_BYTES).map_err(|trouble| Refusal::of(path, trouble))?;
        let settings =
            config::parse(&bytes).map_err(|line| Refusal::unreadable(path, &format!("git can not parse (line {line})")))?;
        settings.iter().try_for_each(|setting| self.setting(setting, path, place))?;
        Ok(settings)
    }

    fn setting(&self, setting: &Setting, path: &str, place: &Place) -> Judged {
        let value = setting.value.as_deref().unwrap_or_default();
        let why = match allowed(setting) {
            Some(Says::Anything) => return Ok(()),
            Some(Says::OneOf(known)) if known.iter().any(|known| known.eq_ignore_ascii_case(value)) => return Ok(()),
            Some(Says::OneOf(_)) => "says what is not known to be harmless",
            Some(Says::File) if self.is_inside(value, place)? => return Ok(()),
            Some(Says::File) => "names a file that is not inside the working tree",
            Some(Says::WorkTree) if self.is_tree(value, place)? => return Ok(()),
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

    /// Whether a path in a setting is plainly below the working tree, and no link is what it names.
    fn is_inside(&self, value: &str, place: &Place) -> Judged<bool> {
        let is_odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
        let is_plain = !value.starts_with(['/', '~', '%', ':']) && !value.contains(is_odd);
        if !is_plain || value.split('/').any(|part| part == "..") {
            return Ok(false);
        }
        let path = join(place.tree.unwrap_or(place.repository), value);
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
    fn is_tree(&self, value: &str, place: &Place) -> Judged<bool> {
        let Some(tree) = place.tree else { return Ok(false) };
        if value.is_empty() || value.starts_with(['~', '%']) || value.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(false);
        }
        match self.files.is_same(&join(place.repository, value), tree) {
            Ok(is_same) => Ok(is_same),
            Err(Trouble::NotGranted | Trouble::Escapes) => Ok(false),
            Err(trouble) => Err(Refusal::of(value, trouble)),
        }
    }
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
