//! What a job starts with, that it is what was judged, and that nothing of it is left, whoever dies.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    config::{self, DefaultVerdict, JobLimits},
    jobs::{Job, Judge, Keeper, Order, Registry, Stdin, StreamName, Streams, Unwanted, Wanted, output::Part},
    policy::{Approved, Chain, Decision, Engine, Request, types},
    script::{Directory, Script, Site, source_of, tree_of_program},
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::guests::limits;
use crate::support::{
    eventually, gone, is_alive, named_pipe, once_read,
    scene::{OPEN, Scene},
    signal,
    wire::Wire,
};

/// Forks twice, into a session of its own each time, has its parents gone, ignores TERM and says its id.
const DAEMON: &str =
    "setsid -f setsid -f sh -c \"trap \\\"\\\" TERM; echo \\$\\$ >>daemons; while :; do sleep 0.05; done\" >/dev/null 2>&1";

fn processes() -> Vec<(u32, u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stat = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (id, parent) = (stat.split(' ').next()?.parse().ok()?, stat.rsplit(')').next()?.split(' ').nth(2)?.parse().ok()?);
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        Some((id, parent, line))
    };
    entries.filter_map(stat).collect()
}

/// The keeper below the server, or the wardens below the keeper.
fn keepers_below(parent: u32) -> Vec<u32> {
    let is_one = |(_, its, line): &&(u32, u32, String)| *its == parent && line.ends_with("\0keep-jobs\0");
    processes().iter().filter(is_one).map(|(id, ..)| *id).collect()
}

pub(super) fn keeper_of(server: u32) -> u32 {
    eventually("there is a keeper", || keepers_below(server).first().copied())
}

/// The ids that daemons said, once there are so many.
#[track_caller]
fn daemons(scene: &Scene, count: usize) -> Vec<u32> {
    eventually("the daemons are up", || {
        let said = fs::read_to_string(scene.root().join("daemons")).unwrap_or_default();
        (said.lines().count() == count).then(|| said.lines().map(|line| line.parse().unwrap()).collect())
    })
}

#[rstest]
#[case::usual("022", "0022")]
#[case::lax("000", "0022")]
#[case::strict("077", "0077")]
#[case::group("002", "0022")]
fn new_files_are_never_writable_by_others(#[case] servers: &str, #[case] jobs: &str) {
    let scene = Scene::open("");
    let mut command = scene.command_behind(&format!("umask {servers}"), ["run", "--", "sh", "-c", "umask"]);
    let done = crate::support::scene::Running::start(&mut command).done().expect(0);
    assert_eq!(done.stdout().trim(), jobs);
}

#[test]
fn a_job_leads_its_own_session_and_inherits_nothing() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("cat /proc/self/stat /proc/self/status");
    let pid = wire.ended(&job)["pid"].to_string();
    let output = wire.output(&job)["stdout"].as_str().unwrap().to_owned();
    let fields: Vec<_> = output.lines().next().unwrap().rsplit(')').next().unwrap().split(' ').collect();
    // Behind the name: state, parent, group, session, terminal.
    assert_eq!((fields[3], fields[4], fields[5]), (&*pid, &*pid, "0"), "{output}");
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "SigCgt:\t0000000000000000"] {
        assert!(output.contains(line), "{output}");
    }
    let job = wire.execute("ls /proc/self/fd");
    wire.ended(&job);
    // The fourth is the one `ls` reads the directory with.
    assert_eq!(wire.output(&job)["stdout"], "0\n1\n2\n3\n");
    let job = wire.sh("exec 3</dev/tty");
    assert_eq!(wire.ended(&job)["status"], "failed");
}

/// What a job may use up, as the system says it: soft and hard limit of each line of its table.
fn limits_of(table: &str) -> Vec<(String, String, String)> {
    let line = |line: &str| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut fields = rest.split_whitespace().map(str::to_owned);
        Some((name.trim().to_owned(), fields.next()?, fields.next()?))
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[rstest]
#[case::nothing_said("", &[])]
#[case::each(
    "open_files = 64\nmemory_mib = 512\ncpu_s = 10\nfile_mib = 3",
    &[
        ("Max open files", "64", "64"),
        ("Max address space", "536870912", "536870912"),
        ("Max cpu time", "10", "11"),
        ("Max file size", "3145728", "3145728"),
    ]
)]
#[case::more_than_the_server("open_files = 1048576\nfile_mib = 1048576", &[("Max file size", "1099511627776", "1099511627776")])]
fn a_job_may_use_up_what_is_configured(#[case] limits: &str, #[case] expected: &[(&str, &str, &str)]) {
    let scene = Scene::open(&format!("[jobs.limits]\n{limits}"));
    let done = scene.portcullis(["run", "--", "cat", "/proc/self/limits"]).expect(0);
    let mut own = limits_of(&fs::read_to_string("/proc/self/limits").unwrap());
    for (name, soft, hard) in expected.iter().chain(&[("Max core file size", "1", "1")]) {
        let limit = own.iter_mut().find(|(known, ..)| known == name).unwrap();
        *limit = ((*name).to_owned(), (*soft).to_owned(), (*hard).to_owned());
    }
    if limits.contains("open_files = 1048576") {
        let files = own.iter_mut().find(|(known, ..)| known == "Max open files").unwrap();
        let most = files.2.parse::<u64>().unwrap().min(1 << 20).to_string();
        (files.1, files.2) = (most.clone(), most);
    }
    assert_eq!(limits_of(&done.stdout()), own);
}

#[rstest]
#[case::files("open_files = 20", "ulimit -n 21", "failed", None)]
#[case::memory("memory_mib = 64", "exec dd if=/dev/zero of=/dev/null bs=200M count=1", "failed", None)]
#[case::file("file_mib = 1", "exec head -c 3000000 /dev/zero >big", "failed", Some(Signal::XFSZ))]
#[case::processor("cpu_s = 1", "while :; do :; done", "failed", Some(Signal::XCPU))]
#[case::processor_ignored("cpu_s = 1", "trap \"\" XCPU; while :; do :; done", "failed", Some(Signal::KILL))]
fn who_meets_a_limit_is_told_by_the_system(
    #[case] limit: &str,
    #[case] script: &str,
    #[case] state: &str,
    #[case] by: Option<Signal>,
) {
    let scene = Scene::open(&format!("[jobs.limits]\n{limit}"));
    let mut wire = Wire::open(&scene);
    let job = wire.sh(script);
    let status = wire.ended(&job);
    assert_eq!((&status["status"], &status["signal"]), (&state.into(), &json!(by.map(Signal::as_raw))), "{status}");
    if by == Some(Signal::XFSZ) {
        assert_eq!(fs::metadata(scene.root().join("big")).unwrap().len(), 1 << 20);
    }
}

/// The group whose children the kernel would count the processes of, as docs/security.md says, and whether it can.
fn counts_processes() -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let Some(mount) = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")) else { return false };
    let own = Path::new(mount.split(' ').nth(1).unwrap()).join(own);
    let base = if own.join("cgroup.type").exists() { own.parent().unwrap() } else { &own };
    let offered = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    offered.split_whitespace().any(|controller| controller == "pids")
}

/// A limit that can not be kept stops the start: an operator who sets one relies on it. That it is kept is seen by the suite `kernel`.
#[test]
fn the_number_of_processes_is_limited_or_nothing_starts() {
    let scene = Scene::open("limits.processes = 10");
    let done = scene.portcullis(["run", "--", "true"]);
    if counts_processes() && done.code() == 0 {
        return;
    }
    let done = done.expect(3);
    assert!(done.stderr.contains("jobs.limits.processes: is 10, which can not be kept: "), "{}", done.stderr);
    assert!(done.stderr.contains("nothing was started"), "{}", done.stderr);
    assert!(scene.audit().is_empty());
    scene.configure(OPEN);
    scene.portcullis(["run", "--", "true"]).expect(0);
}

/// Where the user may have cgroups each job has its own, below the server's; else it is in the server's. The log says which.
#[rstest]
#[case::asked(None)]
#[case::killed(Some("server"))]
#[case::without_a_keeper(Some("keeper"))]
fn a_job_has_a_cgroup_where_there_are_any_and_none_is_left(#[case] dying: Option<&str>) {
    let scene = Scene::open("grace_ms = 0");
    let mut wire = Wire::start_with(&scene, &[("PORTCULLIS_LOG", "info")]);
    wire.initialize();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let unified = |text: &str| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned));
    let job = wire.sh("cat /proc/self/cgroup; exec sleep 1000");
    let printed = wire.printed(&job, |stdout| stdout.contains("0::"));
    let said = eventually("it is logged", || Some(wire.stderr()).filter(|said| said.contains("cgroups of their own")));
    let folder = said
        .lines()
        .find_map(|line| line.split_once("jobs get cgroups of their own folder="))
        .map(|(_, folder)| PathBuf::from(folder));
    let Some(folder) = folder else {
        assert_eq!(unified(&printed), unified(&of("self")));
        return;
    };
    let its = unified(&printed).unwrap();
    assert!(its.contains(&format!("/portcullis-{}/", wire.pid())), "{its}");
    assert!(folder.exists());
    match dying {
        Some("server") => signal(wire.pid(), Signal::KILL),
        Some(_) => signal(keeper_of(wire.pid()), Signal::KILL),
        None => wire.hang_up(),
    }
    eventually("its cgroups are removed", || (!folder.exists()).then_some(()));
    scene.deserted();
}

#[test]
fn a_job_has_exactly_the_configured_variables() {
    let scene = Scene::open("[jobs.env]\npass = [\"COLOR\"]\npass_matching = [\"LC_*\", \"L*\"]\nset = { LC_TIME = \"C\" }");
    let server = [
        ("COLOR", "blue"),
        ("LC_ALL", "C"),
        ("LC_TIME", "POSIX"),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("LOCPATH", "/"),
        ("XLC_A", "x"),
    ];
    let mut wire = Wire::start_with(&scene, &server);
    wire.initialize();
    let job = wire.execute("LC_PAPER=C env -u PATH -u GIT_CEILING_DIRECTORIES");
    wire.ended(&job);
    let output = wire.output(&job)["stdout"].as_str().unwrap().to_owned();
    assert_eq!(output, "COLOR=blue\nLC_ALL=C\nLC_PAPER=C\nLC_TIME=C\n");
}

/// Whoever is ended, at once and without being asked: nothing that the job started is left, its daemons included.
#[rstest]
#[case::server(&["server"])]
#[case::keeper(&["keeper"])]
#[case::warden(&["warden"])]
#[case::server_and_keeper(&["server", "keeper"])]
#[case::keeper_and_warden(&["keeper", "warden"])]
#[case::server_and_warden(&["warden", "server"])]
fn nothing_outlives_who_watches_it(#[case] dying: &[&str]) {
    let scene = Scene::open("grace_ms = 60000");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(&format!("{DAEMON}; {DAEMON}; trap \"\" TERM; while :; do sleep 0.05; done"));
    let daemons = daemons(&scene, 2);
    let keeper = keeper_of(wire.pid());
    let warden = keepers_below(keeper)[0];
    for who in dying {
        let id = match *who {
            "server" => wire.pid(),
            "keeper" => keeper,
            _ => warden,
        };
        signal(id, Signal::KILL);
    }
    daemons.into_iter().for_each(gone);
    scene.deserted();
    gone(warden);
    if dying.contains(&"server") {
        gone(keeper);
    } else {
        let status = wire.ended(&job);
        assert_eq!((&status["status"], &status["exit_code"]), (&"failed".into(), &json!(null)), "{status}");
    }
}

#[test]
fn without_a_keeper_nothing_starts_and_it_is_said() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let jobs: Vec<_> = (0..3).map(|_| wire.execute("sleep 1000")).collect();
    signal(keeper_of(wire.pid()), Signal::KILL);
    for job in jobs {
        wire.ended(&job);
    }
    let said = wire.refused("execute_command", json!({ "command": "true" }));
    assert!(said.contains("the process that starts jobs is gone"), "{said}");
    // A thread of its own writes the log.
    eventually("it is logged", || {
        wire.stderr().contains("the process that starts jobs is gone: all jobs are stopped").then_some(())
    });
    scene.deserted();
    assert!(scene.audit().iter().any(|line| line.to_string().contains("the process that starts jobs is gone")));
}

#[test]
fn a_stopped_warden_hinders_no_kill() {
    let scene = Scene::open("grace_ms = 0");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(&format!("{DAEMON}; while :; do sleep 0.05; done"));
    let daemons = daemons(&scene, 1);
    signal(keepers_below(keeper_of(wire.pid()))[0], Signal::STOP);
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    daemons.into_iter().for_each(gone);
    scene.deserted();
}

/// Whichever of the two is faster, the job or the report of its start: what the server does not list does not run.
#[test]
fn a_job_that_stops_its_warden_at_once_is_listed_or_killed() {
    let scene = Scene::open("grace_ms = 0");
    let mut wire = Wire::open(&scene);
    let script = "sh -c 'kill -STOP $PPID; exec setsid -w sleep 1000'";
    let asked: Vec<_> = (0..8).map(|_| wire.begin("execute_command", json!({ "command": script }))).collect();
    let mut kills = Vec::new();
    for asked in asked {
        let result = wire.result(asked);
        if result["isError"] == true {
            assert!(result.to_string().contains("it took longer than"), "{result}");
        } else {
            kills.push(wire.begin("kill_job", json!({ "job_id": result["structuredContent"]["job_id"] })));
        }
    }
    for kill in kills {
        assert_eq!(wire.result(kill)["structuredContent"]["status"], "killed");
    }
    scene.deserted();
}

#[test]
fn a_stopped_keeper_is_given_up_and_starts_nothing_later() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    wire.execute("sleep 1000");
    let keeper = keeper_of(wire.pid());
    let wardens = eventually("there is a spare warden", || Some(keepers_below(keeper)).filter(|wardens| wardens.len() == 2));
    wardens.iter().chain([&keeper]).for_each(|id| signal(*id, Signal::STOP));
    let asked = [(); 2].map(|()| wire.begin("execute_command", json!({ "command": "touch made" })));
    for asked in asked {
        let result = wire.result(asked).to_string();
        assert!(result.contains("the process that starts jobs is gone"), "{result}");
    }
    let began = Instant::now();
    wire.refused("execute_command", json!({ "command": "touch made" }));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    wardens.into_iter().chain([keeper]).for_each(gone);
    scene.deserted();
    assert!(!scene.root().join("made").exists());
}

/// A program of the same name in a later directory would be another program.
#[test]
fn who_can_open_no_more_files_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::open(&format!("path = [{:?}]", folder.path()));
    let names: Vec<_> = (0..200).map(|number| format!("tool-{number}")).collect();
    names.iter().for_each(|name| symlink("/usr/bin/env", folder.path().join(name)).unwrap());
    let mut command = scene.command_behind("ulimit -n 100", ["check", &names.join("; ")]);
    let done = crate::support::scene::Running::start(&mut command).done();
    let said = format!("{}{}", done.stdout(), done.stderr);
    assert!(said.contains("could not open") && said.contains("Too many open files"), "{said}");
}

/// A client whose jobs wait with all that they were judged by leaves the others room.
#[test]
fn the_server_opens_as_many_files_as_it_may_and_jobs_as_usual() {
    let scene = Scene::open("");
    let mut wire = Wire::over(&scene, scene.command_behind("ulimit -S -n 300", ["serve"]));
    wire.initialize();
    let job = wire.sh("ulimit -S -n");
    wire.ended(&job);
    assert_eq!(wire.output(&job)["stdout"], "300\n");
    let limits = limits_of(&fs::read_to_string(format!("/proc/{}/limits", wire.pid())).unwrap());
    let (_, soft, hard) = limits.into_iter().find(|(name, ..)| name == "Max open files").unwrap();
    assert!(soft == hard && soft != "300", "{soft} of {hard}");
    wire.close();
}

#[test]
fn a_kill_finds_what_left_group_and_session() {
    let scene = Scene::open("grace_ms = 200");
    let mut wire = Wire::open(&scene);
    let other = wire.execute("sleep 1000");
    let job = wire.sh(&format!("for i in 1 2 3 4 5; do {DAEMON}; done; while :; do sleep 0.05; done"));
    let daemons = daemons(&scene, 5);
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    assert!(!daemons.into_iter().any(is_alive), "a final job has nothing left");
    assert_eq!(wire.status(&other)["status"], "running");
}

#[test]
fn what_left_its_session_ends_with_its_job() {
    let scene = Scene::open("grace_ms = 200");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(&format!("{DAEMON}; while [ ! -s daemons ]; do sleep 0.01; done; exit 4"));
    let status = wire.ended(&job);
    assert_eq!((&status["status"], &status["exit_code"]), (&"failed".into(), &4.into()));
    assert!(!daemons(&scene, 1).into_iter().any(is_alive));
}

#[test]
fn what_forks_without_end_is_killed() {
    let scene = Scene::open("grace_ms = 100");
    let mut wire = Wire::open(&scene);
    let fork = "f() { while :; do (trap \"\" TERM; setsid sleep 1000 & sleep 0.2) & sleep 0.002; done; }; f & f & f";
    let job = wire.sh(fork);
    eventually("it forks", || (scene.processes().len() > 50).then_some(()));
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    assert_eq!(scene.processes(), Vec::<u32>::new());
}

/// A folder with programs, a root, and everything that starts what is approved there, without a policy.
pub(super) struct Bench {
    folder: TempDir,
    pub(super) chain: Arc<Chain>,
    site: Site,
    registry: Arc<Registry>,
}

/// Judges like its [`Bench`], and nothing twice.
struct Later {
    chain: Arc<Chain>,
    site: Site,
}

impl Judge for Later {
    async fn again(&self, _: &Approved) -> Result<Approved, String> {
        unreachable!("nothing waits here")
    }

    async fn program(&self, _: &types::Job, wanted: Wanted) -> Result<Approved, Unwanted> {
        let tree = tree_of_program(&wanted.assignments, &wanted.words).unwrap();
        let cwd = self.site.directory_of(wanted.directory).unwrap();
        let script = Script::confined(source_of(&tree), tree, &[wanted.bounds], &self.site, &cwd);
        let script = script.map_err(|refusal| Unwanted { text: refusal.message, is_missing: false })?;
        Ok(approve(&self.chain, request(script, cwd, wanted.env)).await)
    }
}

fn request(script: Script, cwd: Directory, env: Vec<(String, String)>) -> Request {
    let client = types::Client { principal: "local".to_owned(), name: String::new(), version: String::new() };
    Request { script, cwd, env, timeout: None, client }
}

async fn approve(chain: &Chain, request: Request) -> Approved {
    match chain.decide(request).await.decision {
        Decision::Approved(approved) => *approved,
        _ => panic!("nobody denies here"),
    }
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with_shell(None).await
    }

    async fn with_shell(shell: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for below in ["root/project", "bin", "cache"] {
            fs::create_dir_all(base.join(below)).unwrap();
            fs::set_permissions(base.join(below), Permissions::from_mode(0o700)).unwrap();
        }
        let jobs = config::Jobs {
            roots: vec![base.join("root")],
            cwd: base.join("root"),
            path: vec![base.join("bin")],
            shell: shell.map(PathBuf::from),
            env: Vec::new(),
            max_running: 10,
            max_queued: 0,
            groups: BTreeMap::new(),
            timeout: Some(Duration::from_secs(20)),
            grace: Duration::from_millis(100),
            output_bytes: 1 << 20,
            output_total_bytes: 1 << 30,
            keep_finished: 10,
            keep_for: Duration::from_secs(60),
            limits: JobLimits::default(),
        };
        let each = config::Principals { max_running: 10, max_queued: 0, output_bytes: 1 << 30, requests_per_s: 1 };
        let engine = Engine::new(&limits()).unwrap();
        let site = Site { roots: jobs.roots.clone(), path: jobs.path.clone() };
        let chain = Chain::load(&engine, &[], &base.join("cache"), DefaultVerdict::Allow, site.clone()).await.unwrap();
        let keeper = Keeper::start(Path::new(env!("CARGO_BIN_EXE_portcullis")), None).unwrap();
        Self { registry: Registry::new(jobs, each, keeper, None), chain: Arc::new(chain), site, folder }
    }

    pub(super) fn at(&self, below: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(below)
    }

    /// Puts a program in the place of what is there, as `mv` does.
    fn install(&self, name: &str, content: &[u8]) {
        let (draft, new) = (self.at("bin").join(format!(".{name}.draft")), self.at("bin").join(format!(".{name}")));
        fs::write(&draft, content).unwrap();
        // By a process of its own: a file that this one had open for writing could not be executed while another test forks.
        assert!(std::process::Command::new("cp").arg(&draft).arg(&new).status().unwrap().success());
        fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.at("bin").join(name)).unwrap();
    }

    pub(super) async fn approve(&self, command: &str, cwd: &str) -> Approved {
        let cwd = self.site.directory(&self.at(cwd)).unwrap();
        let tree = self.chain.parser().parse(command).await.unwrap();
        let script = Script::new(command.to_owned(), tree, &self.site, &cwd).unwrap();
        approve(&self.chain, request(script, cwd, vec![("KEY".to_owned(), "value".to_owned())])).await
    }

    async fn start(&self, approved: Approved) -> Result<Arc<Job>, String> {
        self.start_with(approved, Streams::Pipes(Stdin::Null)).await
    }

    pub(super) async fn start_with(&self, approved: Approved, streams: Streams) -> Result<Arc<Job>, String> {
        let order = Order { streams, outlet: None, group: None };
        let later = Arc::new(Later { chain: self.chain.clone(), site: self.site.clone() });
        self.registry.submit(approved, order, later).await.map_err(|error| error.to_string())
    }

    /// What an approved command prints.
    async fn output(&self, approved: Approved) -> Result<String, String> {
        let job = self.start(approved).await?;
        job.ended().await;
        let excerpt = job.output().track(StreamName::Stdout).read(0, usize::MAX);
        let [Part::Bytes(bytes)] = &excerpt.parts[..] else { return Ok(String::new()) };
        Ok(String::from_utf8(bytes.clone()).unwrap())
    }
}

fn system(program: &str) -> Vec<u8> {
    fs::read(Path::new("/usr/bin").join(program)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_that_was_swapped_runs_as_it_was_judged() {
    let bench = Bench::new().await;
    bench.install("tool", &system("echo"));
    let approved = bench.approve("tool one two", "root").await;
    bench.install("tool", &system("env"));
    assert_eq!(bench.output(approved).await.unwrap(), "one two\n");
    let approved = bench.approve("tool", "root").await;
    fs::remove_file(bench.at("bin/tool")).unwrap();
    assert_eq!(bench.output(approved).await.unwrap(), "KEY=value\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_that_became_a_script_does_not_start() {
    let bench = Bench::new().await;
    bench.install("tool", &system("echo"));
    let approved = bench.approve("tool", "root").await;
    fs::write(bench.at("bin/tool"), "#!/bin/sh\necho other\n").unwrap();
    let refused = bench.start(approved).await.unwrap_err();
    assert!(refused.contains("executing it"), "{refused}");
}

#[rstest]
#[case::as_it_was(|_: &Bench| (), Ok("judged\n"))]
#[case::swapped(|bench: &Bench| bench.install("tool", b"#!/bin/sh\necho other_\n"), Err("is not what it was"))]
#[case::rewritten(|bench: &Bench| rewrite(&bench.at("bin/tool"), b"#!/bin/sh\necho other_\n"), Err("is not what it was"))]
#[case::removed(|bench: &Bench| fs::remove_file(bench.at("bin/tool")).unwrap(), Err("is not what it was"))]
#[case::linked(
    |bench: &Bench| {
        fs::remove_file(bench.at("bin/tool")).unwrap();
        symlink("/usr/bin/env", bench.at("bin/tool")).unwrap();
    },
    Err("is not what it was")
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_script_starts_only_as_it_was_judged(#[case] meanwhile: fn(&Bench), #[case] expected: Result<&str, &str>) {
    let bench = Bench::new().await;
    bench.install("tool", b"#!/bin/sh\necho judged\n");
    let approved = bench.approve("tool", "root").await;
    meanwhile(&bench);
    match (bench.output(approved).await, expected) {
        (Ok(output), Ok(expected)) => assert_eq!(output, expected),
        (Err(refused), Err(expected)) => assert!(refused.contains(expected), "{refused}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_starts_is_what_it_names_by_then() {
    let bench = Bench::with_shell(Some("/bin/bash")).await;
    bench.install("tool", &system("echo"));
    let script = "tool one && (tool two; tool $KEY)";
    let approved = bench.approve(script, "root").await;
    assert_eq!(bench.output(approved).await.unwrap(), "one\ntwo\nvalue\n");
    let approved = bench.approve(script, "root").await;
    fs::remove_file(bench.at("bin/tool")).unwrap();
    assert_eq!(bench.output(approved).await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_shell_only_direct_commands_start() {
    let bench = Bench::new().await;
    bench.install("tool", &system("echo"));
    let approved = bench.approve("tool one; tool two", "root").await;
    let refused = bench.start(approved).await.unwrap_err();
    assert!(refused.contains("`jobs.shell`"), "{refused}");
    let approved = bench.approve("tool one", "root").await;
    assert_eq!(bench.output(approved).await.unwrap(), "one\n");
}

/// Same length, and the same time of modification as before.
fn rewrite(file: &Path, content: &[u8]) {
    let before = fs::metadata(file).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    fs::write(file, content).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

#[rstest]
#[case::as_it_was(|_: &Bench| (), None)]
#[case::moved(|bench: &Bench| fs::rename(bench.at("root/project"), bench.at("elsewhere")).unwrap(), Some("moved or removed"))]
#[case::removed(|bench: &Bench| fs::remove_dir(bench.at("root/project")).unwrap(), Some("moved or removed"))]
#[case::replaced_by_a_link(
    |bench: &Bench| {
        fs::rename(bench.at("root/project"), bench.at("elsewhere")).unwrap();
        symlink("/etc", bench.at("root/project")).unwrap();
    },
    Some("moved or removed")
)]
#[case::replaced_by_a_link_to_itself(
    |bench: &Bench| {
        fs::rename(bench.at("root/project"), bench.at("elsewhere")).unwrap();
        symlink("../elsewhere", bench.at("root/project")).unwrap();
    },
    Some("moved or removed")
)]
#[case::the_root_vanished(|bench: &Bench| fs::remove_dir_all(bench.at("root")).unwrap(), Some("moved or removed"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_job_starts_in_the_directory_that_was_judged(#[case] meanwhile: fn(&Bench), #[case] refusal: Option<&str>) {
    let bench = Bench::new().await;
    bench.install("pwd", &system("pwd"));
    let approved = bench.approve("pwd", "root/project").await;
    meanwhile(&bench);
    match (bench.output(approved).await, refusal) {
        (Ok(output), None) => assert_eq!(output, format!("{}\n", bench.at("root/project").display())),
        (Err(refused), Some(expected)) => assert!(refused.contains(expected), "{refused}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn a_root_that_vanished_is_told() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("true");
    wire.ended(&job);
    fs::rename(scene.root(), scene.base().join("gone")).unwrap();
    let refused = wire.refused("execute_command", json!({ "command": "true" }));
    assert!(refused.contains("can not start in the directory"), "{refused}");
    fs::rename(scene.base().join("gone"), scene.root()).unwrap();
    wire.execute("true");
}

#[test]
fn who_types_what_starts_a_keeper_is_told() {
    let done = Scene::new().portcullis(["keep-jobs"]).expect(3);
    assert!(done.stderr.contains("what portcullis starts for itself"), "{}", done.stderr);
}

// ── the programs of a script, when they start ──────────────────────────────────────────────────────────────────────────────

#[test]
fn a_path_of_a_script_is_judged_where_it_leads_when_it_is_read() {
    let scene = Scene::new();
    fs::write(scene.base().join("outside/hidden"), "hidden\n").unwrap();
    named_pipe(&scene.root().join("pipe"));
    let mut wire = Wire::open(&scene);
    let job = wire.execute("cat pipe; cat notes.txt; ls -d .");
    let mut pipe = once_read(&scene.root().join("pipe"));
    fs::remove_file(scene.root().join("notes.txt")).unwrap();
    symlink(scene.base().join("outside/hidden"), scene.root().join("notes.txt")).unwrap();
    pipe.write_all(b"go\n").unwrap();
    drop(pipe);
    wire.ended(&job);
    let output = wire.output(&job);
    assert_eq!(output["stdout"], "go\n.\n");
    let said = output["stderr"].as_str().unwrap();
    assert!(said.starts_with("portcullis: cat was not started: denied: by policy \"allowlist\" [path-not-allowed]"), "{said}");
}

/// The shell opens the file, and no program gets it.
#[rstest]
#[case("cat pipe; cat < notes.txt; ls -d .")]
#[case("cat pipe; { head -n 1; } < notes.txt; ls -d .")]
#[case("cat pipe; for i in 1; do cat <&3; done 3< notes.txt; ls -d .")]
fn a_redirection_leads_no_program_elsewhere_than_it_did(#[case] script: &str) {
    let scene = Scene::open("");
    fs::write(scene.base().join("outside/hidden"), "hidden\n").unwrap();
    named_pipe(&scene.root().join("pipe"));
    let mut wire = Wire::open(&scene);
    let job = wire.execute(script);
    let mut pipe = once_read(&scene.root().join("pipe"));
    fs::remove_file(scene.root().join("notes.txt")).unwrap();
    symlink(scene.base().join("outside/hidden"), scene.root().join("notes.txt")).unwrap();
    pipe.write_all(b"go\n").unwrap();
    drop(pipe);
    wire.ended(&job);
    let output = wire.output(&job);
    assert_eq!(output["stdout"], "go\n.\n");
    assert!(output["stderr"].as_str().unwrap().contains("was not started: denied: by portcullis itself [redirection-outside]"));
}

#[test]
fn a_redirection_that_was_judged_leads_where_it_leads() {
    let scene = Scene::open("");
    let hidden = scene.outside("hidden", "hidden\n");
    let script = format!(
        "cat < {0}; x={0}; cat < \"$x\"; cat <<< text; head -c 3 <<EOF\n{1}\nEOF",
        hidden.display(),
        "y".repeat(90_000 / 2)
    );
    let done = scene.portcullis(["run", "-c", &script]).expect(0);
    assert_eq!(done.stdout(), "hidden\nhidden\ntext\nyyy");
}

#[test]
fn every_start_is_recorded_with_what_its_words_have_become() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("x='two words'; KEY=\"$x\" printf '%s\\n' \"$x\" $x");
    wire.ended(&job);
    assert_eq!(wire.output(&job)["stdout"], "two words\ntwo\nwords\n");
    let start = scene.audit().into_iter().rfind(|line| line["subject"] == "start").unwrap();
    assert_eq!((&start["job_id"], &start["decision"]), (&json!(job), &json!("allow")));
    assert_eq!(start["runs"], "KEY='two words' /usr/bin/printf '%s\\n' 'two words' two words");
}

#[rstest]
#[case::no_text("cat \"$(printf '\\377')\"", 126, "cat was not started", "not UTF-8")]
#[case::too_many_words("echo $(seq 1 5000)", 126, "echo was not started", "more than 4096 words")]
#[case::too_long("x=$(seq 1 20000); echo \"$x\" \"$x\"", 126, "echo was not started", "at most 131071")]
#[case::directory_gone("cd d && rmdir ../d; ls", 126, "ls was not started", "can not start in")]
#[case::program_gone("rm ./tool; ./tool", 127, "./tool was not started", "there is no program")]
#[case::no_program_any_more("echo text > tool; ./tool", 126, "./tool was not started", "can not be run")]
fn what_can_not_be_judged_is_not_started(#[case] script: &str, #[case] code: i32, #[case] what: &str, #[case] why: &str) {
    let scene = Scene::open("");
    fs::create_dir(scene.root().join("d")).unwrap();
    fs::copy("/bin/true", scene.root().join("tool")).unwrap();
    let done = scene.portcullis(["run", "-c", script]).expect(code);
    assert!(done.stderr.contains(what) && done.stderr.contains(why), "{}", done.stderr);
}

/// What a word becomes is data, and no person's to read.
#[test]
fn lines_of_a_file_can_be_printed_one_by_one() {
    let scene = Scene::new();
    fs::write(scene.root().join("lines"), "one\r\n\u{1b}[1mtwo\n\n").unwrap();
    let done = scene.portcullis(["run", "-c", "while IFS= read -r line; do echo \"$line\"; done < lines"]).expect(0);
    assert_eq!(done.stdout(), "one\r\n\u{1b}[1mtwo\n\n");
}

/// However much a script starts, the record keeps its measure.
#[test]
fn the_record_of_a_start_is_bounded() {
    let scene = Scene::open("");
    scene.portcullis(["run", "-c", "x=$(seq 1 15000); echo \"$x\" | wc -c"]).expect(0);
    let is_echo = |line: &serde_json::Value| line["subject"] == "start" && line["sent"].as_str().unwrap().starts_with("echo");
    let start = scene.audit().into_iter().find(is_echo).unwrap();
    assert_eq!((start["sent"].as_str().unwrap().len(), &start["request"]["altered"]), (4096, &json!("cut")));
    assert!(start.to_string().len() < 16 * 1024);
}

#[test]
fn a_program_of_a_script_finds_what_it_would_without_portcullis() {
    let scene = Scene::open("");
    let done =
        scene.portcullis(["run", "-c", "yes | head -n 1; export A=1; B=2 env; ls /proc/self/fd; grep SigIgn /proc/self/status"]);
    let out = done.expect(0).stdout();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "y");
    for line in ["A=1", "B=2", "_=/usr/bin/env", "SigIgn:\t0000000000000000"] {
        assert!(lines.contains(&line), "{line}: {out}");
    }
    assert!(!out.to_lowercase().contains("portcullis") && !out.contains("/exe"), "{out}");
    assert!(out.contains("\n0\n1\n2\n3\nSigIgn"), "no descriptors but its streams, and that of the directory: {out}");
}

#[rstest]
#[case(&[":0123456789abcdef.1"], "could not ask whether it may start")]
#[case(&[":0123456789abcdef.x", "ls"], "this is for portcullis itself to call")]
fn who_calls_a_starter_is_told(#[case] args: &[&str], #[case] expected: &str) {
    let done = Scene::new().portcullis(args).expect(126);
    assert!(done.stderr.contains(expected), "{}", done.stderr);
}

/// Whoever calls the starter of a job is told what the policies say of it, and gets nothing that they do not approve.
#[test]
fn a_starter_called_by_a_program_of_the_job_starts_nothing_else() {
    let scene = Scene::configured(
        "[[policies]]\nname = 'allowlist'\ncomponent = 'builtin:allowlist'\n[policies.settings]\n\
         include = ['shell', 'coreutils-read']\nprograms.sh.options = { '-c' = 'any' }\n\
         [[policies]]\nname = 'redact'\ncomponent = 'builtin:redact'",
    );
    // The shell's own words name the starter.
    let look = "set -- $(tr '\\0' '\\n' < /proc/$PPID/cmdline | grep -o '/proc/[0-9]*/exe :[0-9a-f]*' | head -n 1)";
    let call = "for node in 1 2 9; do $1 $2.$node /etc/passwd; done; $1 $2.2 notes.txt; wait";
    let script = format!("sh -c {}; cat notes.txt", portcullis_shell::quote(&format!("{look}; {call}")));
    let done = scene.portcullis(["run", "-c", &script]);
    assert!(done.stderr.contains("cat was not started: denied: by policy \"allowlist\""), "{}", done.stderr);
    assert!(done.stderr.contains("it was not started: there is no such program in its script"), "{}", done.stderr);
    assert!(!done.stdout().contains("root:"), "{}", done.stdout());
    let notes = fs::read_to_string(scene.root().join("notes.txt")).unwrap();
    assert_eq!(done.stdout(), notes.repeat(2), "what they approve it gets");
}
