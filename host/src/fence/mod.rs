//! What the kernel keeps a command to, and all that descends from it: it executes, and opens, nothing but what its policies name.
//!
//! What it executes is a matter of seccomp: one execution passes, that of the program itself, told by a number that nobody else
//! knows. Others are refused or, where paths are named, asked about: whether what they name lies there. Landlock looks at the files
//! besides; alone it would not do, since it has to let pass whatever the kernel opens to execute a program, and so the loader, which
//! loads what it is told.

mod landlock;

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_shell::Refusal;

use self::landlock::{EXECUTE, MOVE, OPEN, READ, Rules, WRITE_FILE};
use crate::config::{place_of_programs, place_to_read};

/// Most paths of one confinement, and longest of them in bytes: each is looked up and held open.
const MOST_PATHS: usize = 64;
const MOST_PATH_BYTES: usize = 4096;

/// The code of a denial where the kernel can not confine.
pub const UNAVAILABLE: &str = "confinement-unavailable";
/// The code of a denial where a path of a confinement is none to be relied on.
pub const REFUSED: &str = "confinement-refused";

/// What the kernel calls the machine whose system calls can be filtered (`AUDIT_ARCH_…`).
pub const MACHINE: Option<u32> =
    match (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"), cfg!(target_arch = "riscv64")) {
        (true, ..) => Some(0xc000_003e),
        (_, true, _) => Some(0xc000_00b7),
        (.., true) => Some(0xc000_00f3),
        _ => None,
    };

/// What programs need of the system: their libraries and data, and to know of users, times, languages, machines, certificates.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/gnu/store",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys",
    "/sys/devices/system/cpu",
];
/// What they may write to besides.
const DEVICES: &[&str] = &["/dev/full", "/dev/null", "/dev/tty", "/dev/zero"];

/// What a command is kept to, if it is: paths in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// What it may execute besides its own program.
    pub executes: Option<Vec<String>>,
    /// What it may read besides the roots, in which it may write too, and the system's own.
    pub opens: Option<Vec<String>>,
}

/// [`Bounds`] with what lies there, held open since the command was judged.
#[derive(Debug)]
pub struct Fence {
    bounds: Bounds,
    passes: Passes,
    programs: Vec<File>,
    reads: Vec<File>,
    roots: Vec<File>,
}

/// How a process is confined, made before it exists.
#[derive(Default)]
pub struct Bars {
    /// With this number it executes its program; without, only what passes.
    pub key: Option<u64>,
    /// What passes without; none: nothing does.
    pub passes: Option<Passes>,
    /// Rules of Landlock.
    pub rules: Option<OwnedFd>,
}

/// Where lies what a confined process may execute.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    places: Vec<PathBuf>,
    /// No way leads through these.
    roots: Vec<PathBuf>,
}

impl Bounds {
    /// Whether it is kept to nothing.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn execute_nothing(&self) -> bool {
        self.executes.as_ref().is_some_and(Vec::is_empty)
    }

    fn execute_something(&self) -> bool {
        self.executes.as_ref().is_some_and(|paths| !paths.is_empty())
    }

    /// Whether they are a matter of Landlock.
    fn are_of_files(&self) -> bool {
        self.opens.is_some() || self.execute_something()
    }

    /// Keeps it to what both allow.
    ///
    /// # Errors
    ///
    /// Too many paths, or one that is not absolute and plain.
    pub fn narrow(&mut self, to: &Self) -> Result<(), String> {
        for (own, to) in [(&mut self.executes, &to.executes), (&mut self.opens, &to.opens)] {
            if let Some(paths) = to {
                *own = Some(within(own.as_deref(), paths)?);
            }
        }
        Ok(())
    }
}

impl Fence {
    /// Opens what lies at the paths; what leads nowhere is left out.
    ///
    /// # Errors
    ///
    /// The kernel can not confine so, or what may be executed could be put there by an agent.
    pub fn open(bounds: &Bounds, roots: &[PathBuf]) -> Result<Arc<Self>, Refusal> {
        let Bounds { executes, opens } = bounds;
        if bounds.execute_nothing() {
            seccomp_offers(libc::SECCOMP_RET_ERRNO)?;
        }
        if bounds.execute_something() {
            seccomp_offers(libc::SECCOMP_RET_USER_NOTIF)?;
        }
        if bounds.are_of_files() {
            landlock_is_offered()?;
        }
        let found = executes.iter().flatten().filter_map(|path| program(path, roots).transpose());
        let (places, programs) = found.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let passes = Passes { places, roots: roots.to_owned() };
        let reads = opens.iter().flatten().filter_map(|path| read(path, roots).transpose()).collect::<Result<_, _>>()?;
        let roots = if opens.is_some() { outermost(roots).map(held_root).collect::<Result<_, _>>()? } else { Vec::new() };
        Ok(Arc::new(Self { bounds: bounds.clone(), passes, programs, reads, roots }))
    }

    /// What it was made from.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// How many files and directories are held open.
    pub fn held(&self) -> usize {
        self.programs.len() + self.reads.len() + self.roots.len()
    }

    /// What confines a process to this and to its own program, which lies at `path` and takes the files that `own` gives.
    ///
    /// # Errors
    ///
    /// Those of `own`, or what the kernel says.
    pub fn bars(&self, path: &Path, own: impl FnOnce() -> io::Result<Vec<File>>) -> io::Result<Bars> {
        let bounds = &self.bounds;
        Ok(Bars {
            key: bounds.executes.is_some().then(|| uuid::Uuid::new_v4().as_u64_pair().0),
            passes: bounds.execute_something().then(|| self.passes.clone().and(path)),
            rules: if bounds.are_of_files() { Some(self.rules(own()?)?) } else { None },
        })
    }

    fn rules(&self, own: Vec<File>) -> io::Result<OwnedFd> {
        let executed = if self.bounds.execute_something() { EXECUTE } else { 0 };
        let opened = if self.bounds.opens.is_some() { OPEN } else { MOVE };
        let rules = Rules::new(executed | opened)?;
        own.iter().chain(&self.programs).try_for_each(|file| rules.allow(file, executed | READ))?;
        if self.bounds.opens.is_none() {
            rules.allow(&handle(Path::new("/"))?, MOVE)?;
            return Ok(rules.set);
        }
        self.roots.iter().try_for_each(|root| rules.allow(root, OPEN))?;
        self.reads.iter().try_for_each(|file| rules.allow(file, READ))?;
        for (paths, allowed) in [(SYSTEM, READ), (DEVICES, READ | WRITE_FILE)] {
            // What is not there is not needed either.
            let mut files = paths.iter().filter_map(|path| if_there(following(Path::new(path))).transpose());
            files.try_for_each(|file| rules.allow(&file?, allowed))?;
        }
        Ok(rules.set)
    }
}

impl Passes {
    /// Those, and the program at a path, if nobody can put another there.
    fn and(mut self, path: &Path) -> Self {
        self.places.extend(place_of_programs(path, &self.roots).ok().flatten());
        self
    }

    /// Whether a process may execute what a path leads to.
    pub fn let_pass(&self, path: &Path) -> bool {
        let place = place_of_programs(path, &self.roots).ok().flatten();
        path.is_absolute() && place.is_some_and(|place| self.places.iter().any(|allowed| place.starts_with(allowed)))
    }
}

impl PartialEq for Fence {
    fn eq(&self, other: &Self) -> bool {
        self.bounds == other.bounds
    }
}

/// What lies in `paths` and, where those are, in `own`: in order, each once.
fn within(own: Option<&[String]>, paths: &[String]) -> Result<Vec<String>, String> {
    if paths.len() > MOST_PATHS {
        return Err(format!("confines a command to {} paths; at most {MOST_PATHS} are allowed", paths.len()));
    }
    if let Some(path) = paths.iter().find(|path| !is_plain(path)) {
        return Err(format!("confines a command to {path:?}, which is no absolute path without `.` and `..`"));
    }
    let Some(own) = own else { return Ok(in_order(paths.iter())) };
    let is_below = |path: &&String, others: &[String]| others.iter().any(|other| Path::new(path).starts_with(other));
    let both = own.iter().filter(|path| is_below(path, paths)).chain(paths.iter().filter(|path| is_below(path, own)));
    Ok(in_order(both))
}

fn in_order<'a>(paths: impl Iterator<Item = &'a String>) -> Vec<String> {
    paths.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

fn is_plain(path: &str) -> bool {
    let names = path.strip_prefix('/').filter(|names| path.len() <= MOST_PATH_BYTES && !names.contains('\0'));
    names.is_some_and(|names| names.is_empty() || names.split('/').all(|name| !["", ".", ".."].contains(&name)))
}

/// None: there is nothing.
fn program(path: &str, roots: &[PathBuf]) -> Result<Option<(PathBuf, File)>, Refusal> {
    let refused = |why: String| {
        let message = format!("a policy confines the command to what lies at {path}, which nobody can rely on: {why}");
        Refusal::new(REFUSED, message)
    };
    let Some(place) = place_of_programs(Path::new(path), roots).map_err(refused)? else { return Ok(None) };
    let file = handle(&place).map_err(|error| refused(error.to_string()))?;
    Ok(Some((place, file)))
}

/// None: there is nothing, or what nobody can rely on.
fn read(path: &str, roots: &[PathBuf]) -> Result<Option<File>, Refusal> {
    let Some(place) = place_to_read(Path::new(path), roots) else { return Ok(None) };
    let refused =
        |error| Refusal::new(REFUSED, format!("what a policy lets the command read, {path}, can not be opened: {error}"));
    if_there(handle(&place)).map_err(refused)
}

/// None: there is nothing that this user could open. Other errors are the system's, and mean nothing of the kind.
pub fn if_there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened.map_err(|error| (error.kind(), error)) {
        Ok(opened) => Ok(Some(opened)),
        Err((io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied, _)) => Ok(None),
        Err((_, error)) => Err(error),
    }
}

/// A root inside of another is allowed with that, and could be a link to elsewhere by now.
fn outermost(roots: &[PathBuf]) -> impl Iterator<Item = &Path> {
    let is_inside = |root: &Path| roots.iter().any(|outer| outer != root && root.starts_with(outer));
    roots.iter().map(PathBuf::as_path).filter(move |root| !is_inside(root))
}

fn held_root(path: &Path) -> Result<File, Refusal> {
    handle(path).map_err(|error| Refusal::new(REFUSED, format!("the root {} can not be opened: {error}", path.display())))
}

fn handle(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

/// What a link leads to, for places of the system alone.
fn following(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH).open(path)
}

fn unavailable(what: &str) -> Refusal {
    let message = format!(
        "a policy has the kernel confine this command, and {what}; an operator can have the kernel offer it, or the policy do \
         without (`confine = false` in the settings of harden)"
    );
    Refusal::new(UNAVAILABLE, message)
}

fn landlock_is_offered() -> Result<(), Refusal> {
    let what = "the kernel offers no Landlock that it takes (Linux 5.13 or later, with `landlock` among its security modules)";
    if landlock::version() > 0 { Ok(()) } else { Err(unavailable(what)) }
}

fn seccomp_offers(action: u32) -> Result<(), Refusal> {
    #[expect(unsafe_code, reason = "no safe function asks for seccomp")]
    // SAFETY: the call reads the action, which lives through it.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0 as libc::c_uint, std::ptr::from_ref(&action))
    };
    let is_offered = answer == 0 && MACHINE.is_some();
    if is_offered { Ok(()) } else { Err(unavailable("the kernel offers no filters of system calls (seccomp)")) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::first(None, "/b /a /b", Some("/a /b"))]
    #[case::the_same(Some("/a"), "/a", Some("/a"))]
    #[case::less(Some("/usr"), "/usr/bin /opt", Some("/usr/bin"))]
    #[case::more(Some("/usr/bin"), "/usr", Some("/usr/bin"))]
    #[case::all(Some("/usr/bin"), "/", Some("/usr/bin"))]
    #[case::a_beginning(Some("/usr/bin"), "/usr/b", Some(""))]
    #[case::nothing(Some(""), "/usr", Some(""))]
    #[case::relative(None, "usr", None)]
    #[case::up(None, "/usr/../etc", None)]
    #[case::dot(None, "/usr/./bin", None)]
    #[case::twice(None, "//usr", None)]
    #[case::slash(None, "/usr/", None)]
    #[case::nul(None, "/usr\0", None)]
    fn a_confinement_never_becomes_less(#[case] own: Option<&str>, #[case] paths: &str, #[case] expected: Option<&str>) {
        let list = |text: &str| text.split(' ').filter(|path| !path.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(within(own.map(list).as_deref(), &list(paths)).ok(), expected.map(list));
    }

    #[test]
    fn roots_inside_of_others_are_left_out() {
        let roots = ["/a", "/a/b", "/ab", "/c/d"].map(PathBuf::from);
        assert_eq!(outermost(&roots).collect::<Vec<_>>(), ["/a", "/ab", "/c/d"].map(Path::new));
    }

    #[test]
    fn its_paths_are_bounded() {
        assert!(within(None, &vec!["/a".to_owned(); MOST_PATHS + 1]).is_err());
        assert!(within(None, &["/".to_owned() + &"a".repeat(MOST_PATH_BYTES)]).is_err());
    }
}
