//! Control groups (version 2), where the user may have some: all of a job ends in one step of the kernel, whoever's rights it runs
//! with and however fast it forks.
//!
//! ```text
//! the server's own cgroup
//! └─ portcullis-<server>    made by the server, removed by the keeper
//!    ├─ 1                   a warden and its job: made, killed and removed by the keeper
//!    └─ 2
//! ```
//!
//! Nobody depends on them: a job of the same user can move itself out. Only a limit on processes needs them; it holds for who forks
//! without end, not for who means to get around it. Wardens are born into theirs, since moving a process takes the kernel
//! milliseconds.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{Access, Mode, OFlags, access, getxattr, open},
    process::getpid,
};

/// Names of the server's groups begin with this, and end with its process id.
const PREFIX: &str = "portcullis-";

/// Where the keeper makes groups.
pub struct Groups {
    folder: PathBuf,
    /// Most processes and threads of a job.
    processes: Option<u64>,
    made: u64,
    /// Of wardens that have ended, with something in them that has not.
    left: Vec<PathBuf>,
}

/// The group of a warden and its job, as long as it takes to put it there.
pub struct Group {
    path: PathBuf,
    handle: OwnedFd,
}

/// Makes the server's folder for groups below its own cgroup, and takes away what servers left that were killed.
///
/// # Errors
///
/// There is no such cgroup, the user may not use it, or the kernel can not kill by it (Linux before 5.14).
pub fn prepare() -> io::Result<PathBuf> {
    make_folder(&own_group()?)
}

/// The same where the kernel counts the processes of each group: not below the server's own cgroup, since what holds processes
/// itself can not have those of its children counted, unless it is the top of all; but beside it, where the group above both was
/// handed over to the user. Else jobs would not be in what bounds the server.
///
/// # Errors
///
/// Those of [`prepare`], or they can not be counted there.
pub fn prepare_counting() -> io::Result<PathBuf> {
    let own = own_group()?;
    // The top of all is the one cgroup that has no type.
    let base = if own.join("cgroup.type").exists() { above(&own)? } else { &own };
    count(base)?;
    let folder = make_folder(base)?;
    count(&folder).and_then(|()| try_group(&folder)).inspect_err(|_| remove(&folder))?;
    Ok(folder)
}

/// The group above this one, if systemd marked it as handed over.
fn above(own: &Path) -> io::Result<&Path> {
    let is_delegated = |group: &Path| {
        let is_set = |mark: &str| {
            let mut value = [0; 1];
            getxattr(group, mark, &mut value).is_ok_and(|length| length == 1) && value == *b"1"
        };
        is_set("user.delegate") || is_set("trusted.delegate")
    };
    let above = own.parent().filter(|above| is_delegated(above));
    above.ok_or_else(|| io::Error::other(format!("the cgroup above {} is not delegated", own.display())))
}

/// Has the kernel count the processes of each group directly below this one.
fn count(group: &Path) -> io::Result<()> {
    let failed =
        |why: &str| io::Error::other(format!("the processes of groups below {} can not be counted: {why}", group.display()));
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.split_ascii_whitespace().any(|controller| controller == "pids") {
        return Err(failed("there is no controller `pids`"));
    }
    fs::write(group.join("cgroup.subtree_control"), "+pids").map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => failed("it holds processes itself"),
        _ => failed(&error.to_string()),
    })
}

/// Makes a group as for a job, and sees whether its processes would be counted.
fn try_group(folder: &Path) -> io::Result<()> {
    let group = folder.join("0");
    fs::create_dir(&group)?;
    let kind = fs::read_to_string(group.join("cgroup.type"));
    let limited = fs::write(group.join("pids.max"), "1");
    _ = fs::remove_dir(&group);
    limited?;
    if kind?.trim_end() == "domain" { Ok(()) } else { Err(io::Error::other("the kernel lets nobody into groups there")) }
}

fn own_group() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    own(&mounts, &fs::read_to_string("/proc/self/cgroup")?).ok_or_else(|| io::Error::other("no cgroup of version 2"))
}

fn make_folder(base: &Path) -> io::Result<PathBuf> {
    // Who makes a group may not yet be allowed to put anybody in: this is what the kernel asks for.
    access(base.join("cgroup.procs"), Access::WRITE_OK)?;
    // A process that has made none yet finds one of its number only where another had that number before.
    sweep(base, !HAS_MADE.swap(true, Ordering::Relaxed));
    let folder = base.join(format!("{PREFIX}{}", getpid()));
    fs::create_dir(&folder)?;
    match fs::read_to_string(folder.join("cgroup.type")) {
        Ok(kind) if kind.trim_end() == "domain" && folder.join("cgroup.kill").exists() => Ok(folder),
        _ => {
            remove(&folder);
            Err(io::Error::other("the kernel can not kill by this cgroup"))
        }
    }
}

/// The cgroup of this process, as its mounts and its line of `/proc/self/cgroup` say.
fn own(mounts: &str, groups: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A backslash stands for what can not stand there; nobody mounts a cgroup at such a place.
        let is_usable = kind.starts_with("cgroup2 ") && !point.contains('\\');
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| is_usable)?;
        Some(Path::new(point).join(below))
    })
}

/// Whether this process has made its group, or has tried to.
static HAS_MADE: AtomicBool = AtomicBool::new(false);

/// Removes the groups of servers that are gone, unless something still runs there. `is_first`: one that had this very number is
/// gone.
fn sweep(own: &Path, is_first: bool) {
    for folder in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = folder.file_name();
        let server = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse::<u32>().ok());
        let is_gone = |server: u32| is_first && server == std::process::id() || !Path::new(&format!("/proc/{server}")).exists();
        if server.is_some_and(is_gone) {
            remove(&folder.path());
        }
    }
}

/// Removes a group and those directly below it, as far as nobody is in them.
pub fn remove(folder: &Path) {
    for group in fs::read_dir(folder).into_iter().flatten().flatten() {
        // The files of a group are not removed; the kernel refuses.
        _ = fs::remove_dir(group.path());
    }
    _ = fs::remove_dir(folder);
}

fn is_populated(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events")).is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Kills everything in a group and below it.
pub fn kill(group: &Path) {
    // It may be gone already.
    _ = fs::write(group.join("cgroup.kill"), "1");
}

impl Groups {
    /// In the folder that the server made, each for so many processes of a job.
    pub fn new(folder: PathBuf, processes: Option<u64>) -> Self {
        Self { folder, processes, made: 0, left: Vec::new() }
    }

    /// Whether they limit what nothing else does.
    pub fn are_needed(&self) -> bool {
        self.processes.is_some()
    }

    /// A new group.
    pub fn make(&mut self) -> io::Result<Group> {
        self.made += 1;
        let path = self.folder.join(self.made.to_string());
        fs::create_dir(&path)?;
        if let Some(processes) = self.processes {
            // And the warden.
            fs::write(path.join("pids.max"), (processes + 1).to_string()).inspect_err(|_| remove(&path))?;
        }
        let handle = open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Group { path, handle })
    }

    /// Makes an end of a group whose warden has ended.
    pub fn end(&mut self, group: PathBuf) {
        self.left.push(group);
        self.look();
    }

    /// Kills what is left in groups of wardens that have ended, and removes those where nobody is. Says whether anybody is left.
    pub fn look(&mut self) -> bool {
        self.left.retain(|group| {
            kill(group);
            // Groups that the job itself made may be in the way. They stay, but nobody is in them.
            remove(group);
            is_populated(group)
        });
        !self.left.is_empty()
    }

    /// Kills every warden and every job.
    pub fn kill_all(&self) {
        kill(&self.folder);
    }

    /// Removes them all; to be called when nobody is left.
    pub fn remove(&self) {
        remove(&self.folder);
    }
}

impl Group {
    /// What is remembered of it.
    pub fn into_path(self) -> PathBuf {
        self.path
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UNIFIED: &str =
        "30 1 0:2 / / rw - ext4 /dev/vda rw\n36 30 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str =
        "36 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n37 30 0:30 /box /cg rw - cgroup2 none rw\n";

    #[rstest]
    #[case::at_the_top(UNIFIED, "0::/\n", Some("/sys/fs/cgroup/"))]
    #[case::below(UNIFIED, "0::/user.slice/a b\n", Some("/sys/fs/cgroup/user.slice/a b"))]
    #[case::both_versions(HYBRID, "3:pids:/x\n0::/box/in\n", Some("/cg/in"))]
    #[case::not_in_what_is_mounted(HYBRID, "0::/elsewhere\n", None)]
    #[case::only_the_old(HYBRID, "3:pids:/x\n", None)]
    #[case::odd_place("37 30 0:30 / /c\\040g rw - cgroup2 none rw\n", "0::/\n", None)]
    fn the_cgroup_of_a_process_is_where_it_is_mounted(
        #[case] mounts: &str,
        #[case] groups: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(own(mounts, groups), expected.map(PathBuf::from));
    }

    #[test]
    fn what_a_gone_server_left_is_removed() {
        let own = tempfile::tempdir().unwrap();
        let of = |id: u32| own.path().join(format!("{PREFIX}{id}"));
        // No process has the first number, and one that had that of this process is gone.
        let gone = [of(u32::MAX), of(std::process::id())];
        let others = [of(std::os::unix::process::parent_id()), own.path().join("portcullis-x")];
        for folder in gone.iter().chain(&others) {
            fs::create_dir_all(folder.join("1")).unwrap();
        }
        sweep(own.path(), true);
        assert!(!gone.iter().any(|folder| folder.exists()) && others.iter().all(|folder| folder.exists()));
    }

    /// Directories in the shape of groups.
    #[test]
    fn the_processes_of_a_group_are_limited_and_its_warden_is_none_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let group = Groups::new(folder.path().to_owned(), Some(7)).make().unwrap();
        assert_eq!(fs::read_to_string(group.into_path().join("pids.max")).unwrap(), "8");
    }

    #[rstest]
    #[case::offered("cpu memory pids\n", Some("+pids"))]
    #[case::not_offered("cpu memory\n", None)]
    #[case::another("cpupids\n", None)]
    fn processes_are_counted_where_that_is_offered(#[case] controllers: &str, #[case] enabled: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        assert_eq!(count(folder.path()).is_ok(), enabled.is_some());
        assert_eq!(fs::read_to_string(folder.path().join("cgroup.subtree_control")).ok().as_deref(), enabled);
    }

    /// Directories in the shape of groups.
    #[test]
    fn a_group_is_killed_until_nobody_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut groups = Groups::new(folder.path().to_owned(), None);
        let [empty, full] = [(); 2].map(|()| groups.make().unwrap().into_path());
        let events = |populated: u8| fs::write(full.join("cgroup.events"), format!("populated {populated}\nfrozen 0\n")).unwrap();
        groups.end(empty.clone());
        assert!(!groups.look() && !empty.join("cgroup.events").exists());
        events(1);
        groups.end(full.clone());
        assert!(groups.look());
        assert_eq!(fs::read_to_string(full.join("cgroup.kill")).unwrap(), "1");
        events(0);
        assert!(!groups.look());
    }
}
