//! What the kernel holds a command to: it and all that descends from it execute nothing but what its policies name.
//!
//! Nothing at all is a matter of seccomp: one execution passes, that of the program itself, told by a number that nobody else
//! knows. What lies at some paths is a matter of Landlock, which looks at the files: so it has to let pass what the kernel opens to
//! execute the program itself, its interpreter and its loader.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_shell::Refusal;

use crate::config::place_of_programs;

/// Most paths of one confinement, and longest of them in bytes: each is looked up and held open.
const MOST_PATHS: usize = 64;
const MOST_PATH_BYTES: usize = 4096;

/// The code of a denial where the kernel can not confine.
pub const UNAVAILABLE: &str = "confinement-unavailable";
/// The code of a denial where a path of a confinement is none to be relied on.
pub const REFUSED: &str = "confinement-refused";

/// Version of Landlock from which on files can be moved to other directories by what it confines. Confinement is no word against
/// that.
const LANDLOCK: libc::c_long = 2;
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
/// `LANDLOCK_ACCESS_FS_EXECUTE`.
const EXECUTE: u64 = 1;
/// `LANDLOCK_ACCESS_FS_REFER`: what a set of rules forbids unless it is named and allowed.
const MOVE: u64 = 1 << 13;

/// What a command may execute besides its own program, held open since it was judged.
#[derive(Debug)]
pub struct Fence {
    paths: Vec<String>,
    open: Vec<File>,
}

/// How a process is confined, made before it exists.
pub enum Bars {
    /// It executes nothing but its program, with this number.
    Key(u64),
    /// Rules of Landlock.
    Rules(OwnedFd),
}

impl Fence {
    /// Opens what lies at these paths; what leads nowhere is left out.
    ///
    /// # Errors
    ///
    /// The kernel can not confine so, or something could be put there by an agent.
    pub fn open(paths: &[String], roots: &[PathBuf]) -> Result<Arc<Self>, Refusal> {
        if paths.is_empty() {
            seccomp_is_offered()?
        } else {
            landlock_is_offered()?
        }
        let open = paths.iter().filter_map(|path| open(path, roots).transpose()).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { paths: paths.to_vec(), open }))
    }

    /// The paths, in order.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// How many files and directories are held open.
    pub fn held(&self) -> usize {
        self.open.len()
    }

    /// What confines a process to this and to its own program, which takes the files that `own` gives.
    ///
    /// # Errors
    ///
    /// Those of `own`, or what the kernel says.
    pub fn bars(&self, own: impl FnOnce() -> io::Result<Vec<File>>) -> io::Result<Bars> {
        if self.paths.is_empty() {
            return Ok(Bars::Key(uuid::Uuid::new_v4().as_u64_pair().0));
        }
        let rules = new_rules()?;
        let root = handle(Path::new("/"))?;
        add(&rules, root.as_fd(), MOVE)?;
        own()?.iter().chain(&self.open).try_for_each(|file| add(&rules, file.as_fd(), EXECUTE))?;
        Ok(Bars::Rules(rules))
    }
}

impl PartialEq for Fence {
    fn eq(&self, other: &Self) -> bool {
        self.paths == other.paths
    }
}

/// What may be executed by what is confined to `paths` and was to `own` before: in order, each once.
///
/// # Errors
///
/// Too many paths, or one that is not absolute and plain.
pub fn within(own: Option<&[String]>, paths: &[String]) -> Result<Vec<String>, String> {
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
fn open(path: &str, roots: &[PathBuf]) -> Result<Option<File>, Refusal> {
    let refused = |why: String| {
        let message = format!("a policy confines the command to what lies at {path}, which nobody can rely on: {why}");
        Refusal::new(REFUSED, message)
    };
    match place_of_programs(Path::new(path), roots).map_err(refused)? {
        Some(place) => handle(&place).map(Some).map_err(|error| refused(error.to_string())),
        None => Ok(None),
    }
}

fn handle(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

fn unavailable(what: &str) -> Refusal {
    let message = format!(
        "a policy has the kernel confine what this command executes, and {what}; an operator can have the kernel offer it, or the policy do \
         without (`confine = false` in the settings of harden)"
    );
    Refusal::new(UNAVAILABLE, message)
}

fn landlock_is_offered() -> Result<(), Refusal> {
    #[expect(unsafe_code, reason = "no safe function asks for Landlock")]
    // SAFETY: with this flag the call reads no memory.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0_usize, ASK_VERSION) };
    let what = "the kernel offers no Landlock that it takes (Linux 5.19 or later, with `landlock` among its security modules)";
    if version >= LANDLOCK { Ok(()) } else { Err(unavailable(what)) }
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

fn new_rules() -> io::Result<OwnedFd> {
    let handled = EXECUTE | MOVE;
    #[expect(unsafe_code, reason = "no safe function makes rules of Landlock")]
    // SAFETY: the kernel reads as many bytes as are told, which live through the call. What it gives, and -1 is none, is a
    // descriptor that is nobody else's.
    unsafe {
        let made =
            libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(&handled), size_of::<u64>(), 0 as libc::c_uint);
        match i32::try_from(made) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Rule {
    allowed: u64,
    parent: i32,
}

fn add(rules: &OwnedFd, file: BorrowedFd<'_>, allowed: u64) -> io::Result<()> {
    let rule = Rule { allowed, parent: file.as_raw_fd() };
    #[expect(unsafe_code, reason = "no safe function adds a rule of Landlock")]
    // SAFETY: the kernel reads the rule, which is laid out as it has it and lives through the call.
    let added = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), BELOW_PATH, std::ptr::from_ref(&rule), 0 as libc::c_uint)
    };
    if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    fn its_paths_are_bounded() {
        assert!(within(None, &vec!["/a".to_owned(); MOST_PATHS + 1]).is_err());
        assert!(within(None, &["/".to_owned() + &"a".repeat(MOST_PATH_BYTES)]).is_err());
    }
}
