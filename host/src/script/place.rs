//! Where the paths that words may name really lead.

use std::{
    cell::Cell,
    collections::VecDeque,
    ffi::OsString,
    fs::{self, File},
    io,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{
    Refusal,
    held::{self, Identity},
};
use crate::policy::types::Place;

/// Links followed before a path counts as leading nowhere: what Linux follows.
const MOST_LINKS: usize = 40;
/// How much may be looked up for one script: a unit for each name of a path, and one more for each of these bytes that its path has
/// by then. Links that lead to long paths, each through the next, would have the host look for minutes.
const MOST_LOOKUPS: usize = 200_000;
const BYTES_PER_LOOKUP: usize = 64;

/// What names are resolved against.
#[derive(Clone, Debug)]
pub struct Site {
    /// Directories that jobs are confined to: absolute, links followed.
    pub roots: Vec<PathBuf>,
    /// Directories that programs are looked up in, in order.
    pub path: Vec<PathBuf>,
}

/// A directory that was judged, and is held open since: who enters it by this handle enters that very directory, wherever its path
/// leads by then. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    handle: Arc<File>,
    identity: Identity,
}

impl Directory {
    /// Opens what the path leads to; links are followed, and the path it has afterwards is that of what is open.
    fn open(path: &Path) -> io::Result<Self> {
        Self::of(held::open(path)?)
    }

    fn of(handle: File) -> io::Result<Self> {
        let meta = handle.metadata()?;
        if !meta.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let directory = Self { path: held::path_of(&handle)?, identity: Identity::of(&meta), handle: Arc::new(handle) };
        if directory.is_in_place() { Ok(directory) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether its path still leads to it: it was neither moved nor removed.
    pub fn is_in_place(&self) -> bool {
        Identity::at(&self.path).is_ok_and(|found| found.is_same_file(&self.identity))
            && held::path_of(&self.handle).is_ok_and(|path| path == self.path)
    }
}

/// Its path: absolute, without links, as it was when it was opened.
impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.identity.is_same_file(&other.identity)
    }
}

impl Site {
    /// Whether a resolved path lies in the roots.
    pub fn contains(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// A directory to start in: exists, and lies inside the roots after links are followed.
    pub fn directory(&self, path: &Path) -> Result<Directory, Refusal> {
        let opened =
            Directory::open(path).map_err(|error| bad_directory(&format!("the directory {}: {error}", path.display())))?;
        self.inside(opened, path)
    }

    /// [`Self::directory`], for one that a process stands in.
    pub fn directory_of(&self, handle: File) -> Result<Directory, Refusal> {
        let opened = Directory::of(handle).map_err(|error| bad_directory(&format!("the directory there: {error}")))?;
        let path = opened.path.clone();
        self.inside(opened, &path)
    }

    fn inside(&self, directory: Directory, asked: &Path) -> Result<Directory, Refusal> {
        if !self.contains(&directory) {
            let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
            return Err(bad_directory(&format!("{}: it leads outside of {}", asked.display(), roots.join(", "))));
        }
        Ok(directory)
    }
}

fn bad_directory(why: &str) -> Refusal {
    Refusal::new("bad-directory", format!("can not start in {why}"))
}

/// What one script looks up in a site, which is bounded.
pub(super) struct Lookups<'a> {
    site: &'a Site,
    left: Cell<usize>,
}

impl Deref for Lookups<'_> {
    type Target = Site;

    fn deref(&self) -> &Site {
        self.site
    }
}

impl<'a> Lookups<'a> {
    pub(super) fn new(site: &'a Site) -> Self {
        Self { site, left: Cell::new(MOST_LOOKUPS) }
    }

    /// Refuses what was more than is looked up: the rest of it was not.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self.left.get() {
            0 => Err(Refusal::new(
                "too-complex",
                "the paths in it lead through more directories and links than are looked at; name fewer at a time",
            )),
            _ => Ok(()),
        }
    }

    /// The paths a literal word may name, as its readers might read it.
    pub(super) fn places(&self, word: &str, cwd: &Path) -> Vec<Place> {
        let behind_equals = word.find('=').map(|at| at + 1);
        let behind_flag = is_short_flag_with_value(word).then_some(2);
        let mut starts = [Some(0), behind_flag, behind_equals].into_iter().flatten().collect::<Vec<_>>();
        starts.sort_unstable();
        starts.dedup();
        let mut places: Vec<_> = starts.into_iter().filter_map(|start| self.place(word, start, cwd)).collect();
        let front = word.split_once("::").filter(|_| places.first().is_some_and(|whole| whole.start == 0));
        if let Some(front) = front.and_then(|(front, _)| self.place(front, 0, cwd)) {
            places.insert(1, front);
        }
        places
    }

    /// Where a `cd` leads: inside the roots, and a directory as far as it is there.
    pub(super) fn destination(&self, name: &str, cwd: &Path) -> Result<String, Refusal> {
        let bad = |what: &str| Refusal::new("bad-directory", format!("can not go to the directory {name}: {what}"));
        let place = self.place(name, 0, cwd).ok_or_else(|| bad("its path leads nowhere"))?;
        if !place.inside_roots {
            return Err(bad("it leads outside of the working roots"));
        }
        if place.exists && !Path::new(&place.path).is_dir() {
            return Err(bad("it is no directory"));
        }
        Ok(place.path)
    }

    /// Where a path leads.
    pub(super) fn place_of(&self, path: &str, cwd: &Path) -> Option<Place> {
        self.place(path, 0, cwd)
    }

    fn place(&self, word: &str, start: usize, cwd: &Path) -> Option<Place> {
        let text = word.get(start..).filter(|text| !text.is_empty())?;
        let resolved = self.resolve(Path::new(text), cwd).ok()?;
        Some(Place {
            start: u32::try_from(start).ok()?,
            inside_roots: self.contains(&resolved.path),
            exists: resolved.exists,
            via_link: resolved.via_link,
            path: resolved.path.to_str()?.to_owned(),
        })
    }

    /// Follows a path as the kernel would, link by link, and where nothing exists any more by its names. `cwd` is free of links.
    /// What leads through a link of `/proc` leads nowhere, and so does what is too much, and `..` behind a link or what does not
    /// exist: many programs strike out both names, and are elsewhere than the kernel.
    fn resolve(&self, path: &Path, cwd: &Path) -> io::Result<Resolved> {
        let mut resolved = Resolved { path: cwd.to_owned(), exists: true, via_link: false };
        let mut pending = names(path);
        // How many of the names are those of links' targets.
        let (mut links, mut of_links) = (0, 0_usize);
        while let Some(name) = pending.pop_front() {
            let is_written = of_links == 0;
            of_links = of_links.saturating_sub(1);
            match name.to_str() {
                Some("/") => resolved.path = PathBuf::from("/"),
                Some(".") => {}
                Some("..") if is_written && (resolved.via_link || !resolved.exists) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                Some("..") => _ = resolved.path.pop(),
                _ => {
                    let next = resolved.path.join(&name);
                    self.spend(&next)?;
                    match fs::symlink_metadata(&next) {
                        Ok(found) if found.is_symlink() => {
                            links += 1;
                            if links > MOST_LINKS || is_of_processes(&resolved.path)? {
                                return Err(io::Error::from(io::ErrorKind::TooManyLinks));
                            }
                            resolved.via_link = true;
                            let mut target = names(&fs::read_link(&next)?);
                            of_links += target.len();
                            target.append(&mut pending);
                            pending = target;
                        }
                        Ok(_) => resolved.path = next,
                        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                            resolved.exists = false;
                            resolved.path = next;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(resolved)
    }

    /// Counts looking for this path.
    fn spend(&self, path: &Path) -> io::Result<()> {
        let left = self.left.get().saturating_sub(1 + path.as_os_str().len() / BYTES_PER_LOOKUP);
        self.left.set(left);
        if left == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

fn is_short_flag_with_value(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() > 2 && bytes[0] == b'-' && bytes[1].is_ascii() && bytes[1] != b'-'
}

struct Resolved {
    path: PathBuf,
    exists: bool,
    via_link: bool,
}

/// Whether links in this directory lead each process elsewhere, such as `/proc/self/cwd`: where a job will find itself nobody can
/// say now.
fn is_of_processes(directory: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(directory)?.f_type == libc::PROC_SUPER_MAGIC)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components().map(|component: Component<'_>| component.as_os_str().to_owned()).collect()
}
