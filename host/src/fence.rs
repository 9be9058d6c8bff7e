//! What the kernel keeps a command to, and all that descends from it: it executes, and opens, nothing but what its policies name.
//!
//! That it executes nothing at all is a matter of seccomp: one execution passes, that of the program itself, told by a number that
//! nobody else knows. What lies at some paths is a matter of Landlock, which looks at the files: so it has to let pass what the
//! kernel opens to execute the program itself, its interpreter and its loader.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_shell::Refusal;

use crate::config::{place_of_programs, place_to_read};

/// Most paths of one confinement, and longest of them in bytes: each is looked up and held open.
const MOST_PATHS: usize = 64;
const MOST_PATH_BYTES: usize = 4096;

/// The code of a denial where the kernel can not confine.
pub const UNAVAILABLE: &str = "confinement-unavailable";
/// The code of a denial where a path of a confinement is none to be relied on.
pub const REFUSED: &str = "confinement-refused";

/// Versions of Landlock: from which on what it confines may move files to other directories, and from which on it can forbid to
/// truncate what is not open for writing.
const LANDLOCK_MOVES: libc::c_long = 2;
const LANDLOCK_TRUNCATES: libc::c_long = 3;
/// What the kernel calls the machine whose system calls can be filtered (`AUDIT_ARCH_…`).
pub const MACHINE: Option<u32> =
    match (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"), cfg!(target_arch = "riscv64")) {
        (true, ..) => Some(0xc000_003e),
        (_, true, _) => Some(0xc000_00b7),
        (.., true) => Some(0xc000_00f3),
        _ => None,
    };
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: libc::c_uint = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const BELOW_PATH: libc::c_int = 1;
/// `LANDLOCK_ACCESS_FS_…`.
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
/// Removing and making files and directories of all kinds.
const CHANGE_DIRECTORY: u64 = 0b1_1111_1111 << 4;
/// Moving to another directory, which a set of rules forbids unless it is named and allowed.
const MOVE: u64 = 1 << 13;
/// Of a file that is open for nothing else; from the third version on.
const TRUNCATE: u64 = 1 << 14;
const READ: u64 = READ_FILE | READ_DIRECTORY;
const OPEN: u64 = READ | WRITE_FILE | CHANGE_DIRECTORY | MOVE | TRUNCATE;
/// What of it can be said of a file.
const OF_FILES: u64 = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE;

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
    programs: Vec<File>,
    reads: Vec<File>,
    roots: Vec<File>,
}

/// How a process is confined, made before it exists.
pub struct Bars {
    /// With this number it executes its program, and nothing without.
    pub key: Option<u64>,
    /// Rules of Landlock.
    pub rules: Option<OwnedFd>,
}

impl Bounds {
    /// Whether it is kept to nothing.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
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
        if executes.as_ref().is_some_and(Vec::is_empty) {
            seccomp_is_offered()?;
        }
        if opens.is_some() || executes.as_ref().is_some_and(|paths| !paths.is_empty()) {
            landlock_is_offered()?;
        }
        let programs = executes.iter().flatten().filter_map(|path| program(path, roots).transpose()).collect::<Result<_, _>>()?;
        let reads = opens.iter().flatten().filter_map(|path| handle(&place_to_read(Path::new(path), roots)?).ok()).collect();
        let roots = if opens.is_some() { outermost(roots).map(held_root).collect::<Result<_, _>>()? } else { Vec::new() };
        Ok(Arc::new(Self { bounds: bounds.clone(), programs, reads, roots }))
    }

    /// What it was made from.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// How many files and directories are held open.
    pub fn held(&self) -> usize {
        self.programs.len() + self.reads.len() + self.roots.len()
    }

    /// What confines a process to this and to its own program, which takes the files that `own` gives.
    ///
    /// # Errors
    ///
    /// Those of `own`, or what the kernel says.
    pub fn bars(&self, own: impl FnOnce() -> io::Result<Vec<File>>) -> io::Result<Bars> {
        let Bounds { executes, opens } = &self.bounds;
        let executes_nothing = executes.as_ref().is_some_and(Vec::is_empty);
        let executed = if executes.is_some() && !executes_nothing { EXECUTE } else { 0 };
        let opened = if opens.is_some() { OPEN } else { MOVE };
        let is_ruled = executed != 0 || opens.is_some();
        Ok(Bars {
            key: executes_nothing.then(|| uuid::Uuid::new_v4().as_u64_pair().0),
            rules: if is_ruled { Some(self.rules(executed, opened, own()?)?) } else { None },
        })
    }

    fn rules(&self, executed: u64, opened: u64, own: Vec<File>) -> io::Result<OwnedFd> {
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
            paths.iter().filter_map(|path| following(Path::new(path)).ok()).try_for_each(|file| rules.allow(&file, allowed))?;
        }
        Ok(rules.set)
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
fn program(path: &str, roots: &[PathBuf]) -> Result<Option<File>, Refusal> {
    let refused = |why: String| {
        let message = format!("a policy confines the command to what lies at {path}, which nobody can rely on: {why}");
        Refusal::new(REFUSED, message)
    };
    match place_of_programs(Path::new(path), roots).map_err(refused)? {
        Some(place) => handle(&place).map(Some).map_err(|error| refused(error.to_string())),
        None => Ok(None),
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
    if landlock() > 0 { Ok(()) } else { Err(unavailable(what)) }
}

/// Which version of Landlock the kernel offers; -1: none.
fn landlock() -> libc::c_long {
    #[expect(unsafe_code, reason = "no safe function asks for Landlock")]
    // SAFETY: with this flag the call reads no memory.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0_usize, ASK_VERSION)
    }
}

fn seccomp_is_offered() -> Result<(), Refusal> {
    let action = libc::SECCOMP_RET_ERRNO;
    #[expect(unsafe_code, reason = "no safe function asks for seccomp")]
    // SAFETY: the call reads the action, which lives through it.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0 as libc::c_uint, std::ptr::from_ref(&action))
    };
    let is_offered = answer == 0 && MACHINE.is_some();
    if is_offered { Ok(()) } else { Err(unavailable("the kernel offers no filters of system calls (seccomp)")) }
}

/// A set of rules of Landlock that nobody has entered yet.
struct Rules {
    set: OwnedFd,
    /// What it forbids but where a rule allows it.
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: i32,
}

impl Rules {
    fn new(wanted: u64) -> io::Result<Self> {
        let version = landlock();
        let later = [(MOVE, LANDLOCK_MOVES), (TRUNCATE, LANDLOCK_TRUNCATES)];
        let handled = later.iter().filter(|(_, since)| version < *since).fold(wanted, |all, (one, _)| all & !one);
        #[expect(unsafe_code, reason = "no safe function makes rules of Landlock")]
        // SAFETY: the kernel reads as many bytes as are told, which live through the call. What it gives, and -1 is none, is a
        // descriptor that is nobody else's.
        let set = unsafe {
            let made = libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::from_ref(&handled),
                size_of::<u64>(),
                0 as libc::c_uint,
            );
            match i32::try_from(made) {
                Ok(descriptor) if descriptor >= 0 => OwnedFd::from_raw_fd(descriptor),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        Ok(Self { set, handled })
    }

    /// Allows of this, at and below the file, what the set is about.
    fn allow(&self, file: &File, allowed: u64) -> io::Result<()> {
        let fitting = if file.metadata()?.is_dir() { allowed } else { allowed & OF_FILES };
        let rule = Rule { allowed: fitting & self.handled, parent: file.as_raw_fd() };
        // The kernel takes no rule that allows nothing.
        if rule.allowed == 0 {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "no safe function adds a rule of Landlock")]
        // SAFETY: the kernel reads the rule, which is laid out as it has it and lives through the call.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.set.as_raw_fd(),
                BELOW_PATH,
                std::ptr::from_ref(&rule),
                0 as libc::c_uint,
            )
        };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
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
