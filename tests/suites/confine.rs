//! Commands that the kernel keeps from executing what their policies did not name. The policy here does nothing but confine, so
//! that what a repository plants is as if it had been planted after every look at it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use rstest::rstest;
use serde_json::Value;

use crate::support::{
    eventually,
    scene::{Running, Scene},
};

/// Nothing but the program.
const NOTHING: &[&str] = &[];
/// What git is made of, wherever it was installed.
const GITS_OWN: &[&str] =
    &["/usr/local/libexec/git-core", "/usr/local/lib/git-core", "/usr/libexec/git-core", "/usr/lib/git-core"];

/// The policies of a configuration that allow all, and confine calls of `program` to these paths, one of them for each list.
fn confining(scene: &Scene, program: &str, lists: &[&[&str]]) {
    let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
    let policy = |(at, paths): (usize, &&[&str])| {
        format!(
            "[[policies]]\nname = \"guest-{at}\"\ncomponent = {guest:?}\nmay_rewrite = true\n\
             settings = {{ only = {program:?}, command = {{ confine = {paths:?} }} }}\n"
        )
    };
    let policies: String = lists.iter().enumerate().map(policy).collect();
    scene.configure(&format!("[jobs]\nroots = [{:?}]\n[decision]\ndefault = \"allow\"\n{policies}", scene.root()));
}

fn confined(program: &str, paths: &[&str]) -> Scene {
    let scene = Scene::new();
    confining(&scene, program, &[paths]);
    scene
}

fn trace(scene: &Scene) -> PathBuf {
    scene.root().join("trace")
}

fn executable(scene: &Scene, name: &str, content: impl AsRef<[u8]>) {
    let path = scene.root().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Adds to the repository's configuration, where `PWN` leaves a trace.
fn config(scene: &Scene, text: &str) {
    let path = scene.root().join(".git/config");
    let pwn = format!("touch {}", trace(scene).display());
    fs::write(&path, fs::read_to_string(&path).unwrap() + "\n" + &text.replace("PWN", &pwn)).unwrap();
}

fn attributes(scene: &Scene, text: &str) {
    fs::write(scene.root().join(".git/info/attributes"), text).unwrap();
    fs::write(scene.root().join("notes.txt"), "one\nTWO\nthree\n").unwrap();
}

/// What a repository can have git execute, and the call that would.
type Trick = (fn(&Scene), &'static str);

const HOOK: Trick = (
    |scene| {
        _ = fs::create_dir(scene.root().join(".git/hooks"));
        executable(scene, ".git/hooks/post-commit", format!("#!/bin/sh\ntouch {}\n", trace(scene).display()));
    },
    "git -c user.name=Ada -c user.email=ada@example.invalid commit --quiet --allow-empty -m x",
);
const FILTER: Trick = (
    |scene| {
        attributes(scene, "*.txt filter=x\n");
        config(scene, "[filter \"x\"]\nclean = PWN; cat");
    },
    "git add notes.txt",
);
const FSMONITOR: Trick = (
    |scene| {
        executable(scene, "watch", format!("#!/bin/sh\ntouch {}\n", trace(scene).display()));
        config(scene, "[core]\nfsmonitor = ./watch");
    },
    "git status --short",
);
const TEXTCONV: Trick = (
    |scene| {
        attributes(scene, "*.txt diff=x\n");
        config(scene, "[diff \"x\"]\ntextconv = PWN; cat");
    },
    "git diff",
);
const EXTERNAL_DIFF: Trick = (
    |scene| {
        attributes(scene, "");
        config(scene, "[diff]\nexternal = PWN;:");
    },
    "git diff",
);
const ALIAS: Trick = (|scene| config(scene, "[alias]\nx = !PWN"), "git x");
const HELPER: Trick = (
    |scene| {
        config(scene, "[credential]\nhelper = !PWN;:");
        fs::write(scene.root().join("asked"), "protocol=https\nhost=example.invalid\n\n").unwrap();
    },
    "git credential fill <asked",
);

#[rstest]
fn what_a_repository_plants_is_not_executed(
    #[values(HOOK, FILTER, FSMONITOR, TEXTCONV, EXTERNAL_DIFF, ALIAS, HELPER)] (plant, call): Trick,
    #[values(NOTHING, GITS_OWN)] paths: &[&str],
    #[values("", "true && ")] before: &str,
) {
    let scene = Scene::open("");
    plant(&scene);
    let call = format!("{before}{call}");
    scene.portcullis(["run", "-c", &call]);
    assert!(trace(&scene).exists(), "it does nothing anyway: {call}");
    let scene = confined("git", paths);
    plant(&scene);
    scene.portcullis(["run", "-c", &call]);
    assert!(!trace(&scene).exists(), "{call}");
    let log = scene.portcullis(["run", "-c", &format!("{before}git log --oneline")]).expect(0);
    assert!(log.stdout().contains(crate::support::scene::COMMIT), "{}", log.stdout());
}

/// `stash` starts git anew, again and again, and moves files about.
#[test]
fn git_executes_git_where_that_is_named() {
    let scene = confined("git", GITS_OWN);
    fs::write(scene.root().join("notes.txt"), "one\nTWO\nthree\n").unwrap();
    let stash =
        "git -c user.name=Ada -c user.email=ada@example.invalid stash --quiet && git stash pop --quiet && git status --short";
    assert!(scene.portcullis(["run", "-c", stash]).expect(0).stdout().starts_with(" M notes.txt"));
    let scene = confined("git", NOTHING);
    fs::write(scene.root().join("notes.txt"), "one\nTWO\nthree\n").unwrap();
    assert_ne!(scene.portcullis(["run", "-c", stash]).code(), 0);
}

/// A configuration that allows all, and keeps calls of `sh` in the roots, and to reading these paths.
fn keeping_in_the_roots(scene: &Scene, reads: &[PathBuf]) {
    let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&format!(
        "[jobs]\nroots = [{:?}]\n[decision]\ndefault = \"allow\"\n[[policies]]\nname = \"guest\"\ncomponent = {guest:?}\n\
         may_rewrite = true\nsettings = {{ only = \"sh\", command = {{ keep-in-roots = {reads:?} }} }}\n",
        scene.root()
    ));
}

/// A file in a directory of its own, outside of the roots.
fn elsewhere(scene: &Scene, name: &str, content: &str) -> PathBuf {
    let place = scene.root().with_file_name("elsewhere");
    fs::create_dir(&place).unwrap();
    fs::write(place.join(name), content).unwrap();
    place.join(name)
}

/// Links, names, and what descends from the program lead no further; what the program needs of the system is there.
#[rstest]
#[case::reads("cat FILE", false)]
#[case::reads_through_a_link("cat link/secret", false)]
#[case::lists("ls link/", false)]
#[case::writes("echo x >link/new", false)]
#[case::makes("mkdir link/new", false)]
#[case::moves("mv link/secret here", false)]
#[case::removes("rm link/secret", false)]
#[case::truncates("truncate -s 0 link/secret", false)]
#[case::links("ln link/secret here", false)]
#[case::in_a_child("(env sh -c 'cat link/secret')", false)]
#[case::of_processes("cat /proc/self/environ", false)]
#[case::in_the_roots("mkdir -p a/b && echo x >a/b/c && mv a/b/c d && cat d && rm -r a && ls . && ln -s d e && cat e", true)]
#[case::of_the_system("ls /usr/bin >/dev/null && cat /etc/passwd </dev/null >/dev/null && date", true)]
fn what_is_kept_in_the_roots_opens_nothing_elsewhere(
    #[case] text: &str,
    #[case] is_done: bool,
    #[values("", "true; ")] before: &str,
) {
    let scene = Scene::new();
    keeping_in_the_roots(&scene, &[]);
    let secret = elsewhere(&scene, "secret", "hunter2");
    std::os::unix::fs::symlink(secret.parent().unwrap(), scene.root().join("link")).unwrap();
    let text = text.replace("FILE", &secret.display().to_string());
    let run = scene.portcullis(["run", "-c", &format!("{before}sh -c {}", portcullis_shell::quote(&text))]);
    assert_eq!(run.code() == 0, is_done, "{}{}", run.stdout(), run.stderr);
    assert!(!run.stdout().contains("hunter2") && !run.stdout().contains("PATH="), "{}", run.stdout());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hunter2");
    assert_eq!(fs::read_dir(secret.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_else_may_be_read_is_read_and_not_written() {
    let scene = Scene::new();
    let file = elsewhere(&scene, "shared", "for all");
    keeping_in_the_roots(&scene, std::slice::from_ref(&file));
    let run = |text: &str| scene.portcullis(["run", "-c", &format!("sh -c '{text} {}'", file.display())]);
    assert_eq!(run("cat").expect(0).stdout(), "for all");
    assert_ne!(run("echo x >>").code(), 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "for all");
}

/// What a policy says of a command of a script holds when that starts, whatever is said of it then.
#[rstest]
#[case::alone("sh -c 'touch trace'", true)]
#[case::in_a_script("true; sh -c 'touch trace'", false)]
fn what_is_confined_with_its_script_starts_confined(#[case] text: &str, #[case] is_touched: bool) {
    let scene = Scene::new();
    let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&format!(
        "[jobs]\nroots = [{:?}]\n[decision]\ndefault = \"allow\"\n[[policies]]\nname = \"guest\"\ncomponent = {guest:?}\n\
         may_rewrite = true\nsettings = {{ only = \"sh\", command = {{ confine-in-scripts = [] }} }}\n",
        scene.root()
    ));
    scene.portcullis(["run", "-c", text]);
    assert_eq!(trace(&scene).exists(), is_touched);
}

/// In a session of its own, of a parent that is gone.
const FAR_AWAY: &str = "setsid -f sh -c 'touch trace; (touch trace); exec touch trace' >/dev/null 2>&1; echo here > here; wait";

#[rstest]
#[case::nothing(NOTHING, "touch trace 2>/dev/null; echo here > here")]
#[case::the_loader(NOTHING, "/lib64/ld-linux-x86-64.so.2 /usr/bin/touch trace 2>/dev/null; echo here > here")]
#[case::the_loader_beside_programs(&["/usr/bin/setsid"], "/lib64/ld-linux-x86-64.so.2 /usr/bin/touch trace 2>/dev/null; echo here > here")]
#[case::the_loader_by_a_link(&["/usr/bin/setsid"], "ln -s /lib64/ld-linux-x86-64.so.2 l; ./l /usr/bin/touch trace 2>/dev/null; echo here > here")]
#[case::by_a_link_of_its_own(&["/usr/bin/touch"], "/proc/self/root/usr/bin/touch trace 2>/dev/null; echo here > here")]
#[case::by_a_way_from_here(&["/usr/bin/touch"], "(cd /usr/bin; ./touch $OLDPWD/trace 2>/dev/null); echo here > here")]
#[case::listed(&["/usr/bin/setsid", "/bin/sh"], FAR_AWAY)]
#[case::a_folder_beside(&["/usr/bin/setsid", "/usr/lib"], "/usr/bin/touch trace 2>/dev/null; echo here > here")]
fn nothing_that_descends_executes_more(#[case] paths: &[&str], #[case] text: &str) {
    let scene = confined("sh", paths);
    scene.portcullis(["run", "--", "sh", "-c", text]).expect(0);
    assert_eq!(fs::read_to_string(scene.root().join("here")).unwrap(), "here\n");
    scene.deserted();
    assert!(!trace(&scene).exists());
}

/// Executes what lies in no directory, which would leave a trace.
const FROM_MEMORY: &str = "
import os, shutil
copy = os.memfd_create('copy')
with open('/usr/bin/touch', 'rb') as tool, open(copy, 'wb', closefd=False) as place: shutil.copyfileobj(tool, place)
try: os.execve(copy, ['touch', 'trace'], {})
except PermissionError: print('refused')
";

#[rstest]
fn nothing_is_executed_from_memory(#[values(NOTHING, &["/usr/bin"])] paths: &[&str], #[values("", "true; ")] before: &str) {
    // What `python3` is by name may be a script that looks for the one to be used.
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]).output().unwrap();
    let python = fs::canonicalize(String::from_utf8(found.stdout).unwrap()).unwrap().display().to_string();
    let scene = confined(&python, paths);
    let call = format!("{before}{python} -c {}", portcullis_shell::quote(FROM_MEMORY));
    assert_eq!(scene.portcullis(["run", "-c", &call]).expect(0).stdout(), "refused\n");
    assert!(!trace(&scene).exists());
}

/// The server holds a descriptor for each.
#[test]
fn a_script_has_so_many_overseen_programs_at_a_time() {
    let scene = confined("sh", &["/usr/bin/sleep", "/bin/sleep"]);
    let text = "for i in {1..70}; do (sh -c 'echo x >>began; sleep 1000' || echo x >>refused) & done; wait";
    let running = Running::start(&mut scene.command(["run", "-c", text]));
    let lines = |name: &str| fs::read_to_string(scene.root().join(name)).unwrap_or_default().lines().count();
    eventually("each has begun or was refused", || (lines("began") + lines("refused") == 70).then_some(()));
    assert_eq!((lines("began"), lines("refused")), (64, 6));
    running.signal(rustix::process::Signal::TERM);
    let said = running.done().stderr;
    assert_eq!(said.matches("sh was not started: 64 programs of the script run that are confined like it").count(), 6, "{said}");
}

#[rstest]
#[case::nothing(NOTHING, "ran\n")]
#[case::something(&["/usr/bin/id"], "ran\n")]
#[case::what_it_does(&["/usr/bin/touch"], "ran\ntouched\n")]
fn an_interpreter_is_executed_for_its_program(
    #[case] paths: &[&str],
    #[case] expected: &str,
    #[values("", "true; ")] before: &str,
) {
    let scene = confined("./tool", paths);
    executable(&scene, "tool", "#!/bin/sh\necho ran\ntouch trace 2>/dev/null && echo touched\ntrue\n");
    assert_eq!(scene.portcullis(["run", "-c", &format!("{before}./tool")]).expect(0).stdout(), expected);
}

/// A binary without a loader: it ends with 42.
#[cfg(target_arch = "x86_64")]
#[rstest]
fn what_is_linked_statically_is_executed(#[values(NOTHING, GITS_OWN)] paths: &[&str]) {
    let scene = confined("./tool", paths);
    // A header, one part that is the whole file, and: the call `exit` with 42.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for number in [0x40_0078_u64, 64, 0] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend(b"\x01\0\0\0\x05\0\0\0");
    for number in [0_u64, 0x40_0000, 0x40_0000, 132, 132, 0x1000] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend(b"\xbf\x2a\0\0\0\xb8\x3c\0\0\0\x0f\x05");
    executable(&scene, "tool", elf);
    scene.portcullis(["run", "--", "./tool"]).expect(42);
}

#[test]
fn what_is_confined_gains_no_rights() {
    let line = "while read name value; do [ $name != NoNewPrivs: ] || echo $value; done </proc/self/status";
    assert_eq!(confined("sh", NOTHING).portcullis(["run", "--", "sh", "-c", line]).expect(0).stdout(), "1\n");
    assert_eq!(Scene::open("").portcullis(["run", "--", "sh", "-c", line]).expect(0).stdout(), "0\n");
}

fn checked(scene: &Scene, command: &str) -> Value {
    serde_json::from_str(scene.portcullis(["check", "--json", command]).stdout().lines().next().unwrap()).unwrap()
}

#[rstest]
#[case::in_the_roots(|scene: &Scene| scene.root().display().to_string(), "confinement-refused")]
#[case::by_way_of_the_roots(
    |scene: &Scene| {
        std::os::unix::fs::symlink("/usr/bin", scene.root().join("bin")).unwrap();
        scene.root().join("bin/id").display().to_string()
    },
    "confinement-refused"
)]
#[case::open_to_others(
    |scene: &Scene| {
        let path = scene.outside("tool", "");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path.display().to_string()
    },
    "confinement-refused"
)]
#[case::others_can_add(
    |scene: &Scene| {
        let path = scene.base().join("shared");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
        path.display().to_string()
    },
    "confinement-refused"
)]
#[case::above_the_roots(|scene: &Scene| scene.base().display().to_string(), "confinement-refused")]
#[case::relative(|_: &Scene| "bin".to_owned(), "bad-rewrite")]
#[case::up(|_: &Scene| "/usr/../bin".to_owned(), "bad-rewrite")]
fn what_nobody_can_rely_on_confines_nothing(#[case] path: fn(&Scene) -> String, #[case] code: &str) {
    let scene = Scene::new();
    let path = path(&scene);
    confining(&scene, "id", &[&[&path]]);
    let answer = checked(&scene, "id");
    assert_eq!((&answer["decision"], &answer["code"]), (&"deny".into(), &code.into()), "{answer}");
}

#[rstest]
#[case::both(&["/usr/bin", "/usr/sbin/x"], &["/usr/bin/id", "/usr/sbin"], " # id executes nothing else but in /usr/bin/id, /usr/sbin/x\n")]
#[case::in_another_order(&["/usr/bin/id"], &["/usr/bin"], " # id executes nothing else but in /usr/bin/id\n")]
#[case::none_in_common(&["/usr/bin/id"], &["/usr/bin/ls"], " # id executes nothing else\n")]
#[case::a_name_that_begins_alike(&["/usr/bin"], &["/usr/bin2"], " # id executes nothing else\n")]
fn policies_confine_together(#[case] one: &[&str], #[case] other: &[&str], #[case] expected: &str) {
    let scene = Scene::new();
    confining(&scene, "id", &[one, other]);
    let shown = scene.portcullis(["check", "--explain", "id; true"]).expect(0).stdout();
    assert!(shown.contains(expected), "{shown}");
}
