//! Limits that the kernel keeps by counting the processes of a group. Where these run has to be a group that was handed over, with
//! the controller `pids`, so they are left out until `tests/kernel/run` names them: it boots a kernel of its own for them.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::start::keeper_of;
use crate::support::{DEADLINE, eventually, gone, is_alive, scene::Scene, signal, signal_if_there, wire::Wire};

/// Most processes of a job in these scenes.
const MOST: u64 = 8;
/// Says its group, has a shell make processes until it may not, and lives on.
const FILL: &str = "cat /proc/self/cgroup; (while sleep 1000 & do echo made; done); echo enough; exec sleep 1000";
/// How many that shell gets: it and the job's first process count too.
const MADE: usize = 6;

/// A scene where each job has at most [`MOST`] processes. Its policies have the time that an emulated processor takes.
fn counted(jobs: &str) -> Scene {
    Scene::open(&format!("grace_ms = 0\nlimits.processes = {MOST}\n{jobs}\n[limits]\ndecision_ms = 60000"))
}

/// The group of a warden and its job.
struct Group(PathBuf);

impl Group {
    /// What a job says that begins with `cat /proc/self/cgroup`.
    #[track_caller]
    fn said_by(wire: &mut Wire, job: &str) -> Self {
        let printed = wire.printed(job, |stdout| stdout.lines().next().is_some_and(|line| stdout.len() > line.len()));
        let path = printed.lines().find_map(|line| line.trim().strip_prefix("0::/")).unwrap().to_owned();
        let own = Self(PathBuf::from("/sys/fs/cgroup").join(path));
        let below = format!("portcullis-{}/", wire.pid());
        assert!(own.0.to_str().unwrap().contains(&below), "{}", own.0.display());
        own
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default().trim().to_owned()
    }

    /// How many processes and threads there are, the warden too.
    fn count(&self) -> u64 {
        self.read("pids.current").parse().unwrap()
    }

    /// How often the kernel refused another.
    fn refused(&self) -> u64 {
        self.read("pids.events").strip_prefix("max ").unwrap().parse().unwrap()
    }

    #[track_caller]
    fn is_removed(&self) {
        eventually("its group is removed", || (!self.0.exists()).then_some(()));
    }
}

/// Starts a job that makes as many processes as it may: the job and its group.
#[track_caller]
fn fill(wire: &mut Wire, more: &Value) -> (String, Group) {
    let mut arguments = json!({ "command": format!("sh -c '{FILL}'") });
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let job = wire.tell("execute_command", arguments)["job_id"].as_str().unwrap().to_owned();
    (job.clone(), filled(wire, &job))
}

/// Waits until such a job was refused another process, and sees what it saw.
#[track_caller]
fn filled(wire: &mut Wire, job: &str) -> Group {
    let stdout = wire.printed(job, |stdout| stdout.contains("enough"));
    let group = Group::said_by(wire, job);
    let told = format!("{stdout}{}", wire.output(job)["stderr"].as_str().unwrap());
    assert_eq!(stdout.matches("made").count(), MADE, "{told}");
    assert!(told.to_lowercase().contains("fork"), "{told}");
    assert_eq!(group.read("pids.max"), (MOST + 1).to_string());
    assert!(group.refused() > 0 && group.count() <= MOST + 1);
    println!("made {MADE} beside two shells, then: {}", told.lines().find(|line| line.to_lowercase().contains("fork")).unwrap());
    group
}

#[track_caller]
fn killed(wire: &mut Wire, job: &str, group: &Group) {
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    group.is_removed();
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn who_makes_one_too_many_is_told_and_lives() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    let (job, group) = fill(&mut wire, &json!({}));
    let status = wire.status(&job);
    assert_eq!(status["status"], "running");
    assert!(is_alive(u32::try_from(status["pid"].as_u64().unwrap()).unwrap()));
    // It counts for itself alone.
    let other = wire.sh("cat /proc/self/cgroup; sh -c true && echo fine; exec sleep 1000");
    wire.printed(&other, |stdout| stdout.contains("fine"));
    assert_eq!(Group::said_by(&mut wire, &other).refused(), 0);
    killed(&mut wire, &job, &group);
    assert_eq!(wire.status(&other)["status"], "running");
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn what_forks_without_end_is_held_until_it_is_killed() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    // Shells end when they are refused a process; this program waits for one of its own to end, and tries again.
    let job = wire.sh("cat /proc/self/cgroup; yes 0.05 | xargs -P 0 -n 1 sleep; exec sleep 1000");
    let group = Group::said_by(&mut wire, &job);
    let mut most = 0;
    eventually("it is refused again and again", || {
        most = most.max(group.count());
        assert!(most <= MOST + 1, "{most}");
        (group.refused() >= 20).then_some(())
    });
    assert_eq!(wire.status(&job)["status"], "running");
    println!("at most {most} with its warden, {} refused", group.refused());
    killed(&mut wire, &job, &group);
    scene.deserted();
}

/// git's: those it searches in, and the one that waits for them.
#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn threads_count_too() {
    let scene = counted("");
    let search = |threads: u64| scene.portcullis(["run", "--", "git", "grep", &format!("--threads={threads}"), "two"]);
    assert_eq!(search(MOST - 1).expect(0).stdout(), "notes.txt:two\n");
    let refused = search(MOST).expect(128).stderr;
    let told = refused.lines().find(|line| line.contains("create thread")).unwrap();
    println!("{} were made, then: {told}", MOST - 1);
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn a_job_that_ends_leaves_no_group() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("cat /proc/self/cgroup; read line");
    let group = Group::said_by(&mut wire, &job);
    assert!(group.0.exists());
    wire.tell("interact_with_job", json!({ "job_id": job, "input": "go\n" }));
    wire.ended(&job);
    group.is_removed();
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn a_terminal_makes_no_difference() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    let (job, group) = fill(&mut wire, &json!({ "terminal": { "rows": 24, "cols": 80 } }));
    killed(&mut wire, &job, &group);
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn who_waited_has_a_group_of_its_own() {
    let scene = counted("max_running = 1");
    let mut wire = Wire::open(&scene);
    let (first, group) = fill(&mut wire, &json!({}));
    let second = wire.sh(FILL);
    assert_eq!(wire.status(&second)["status"], "queued");
    killed(&mut wire, &first, &group);
    assert_ne!(filled(&mut wire, &second).0, group.0);
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn servers_do_not_count_for_each_other() {
    let scene = counted("");
    let mut wires = [Wire::open(&scene), Wire::open(&scene)];
    let [(_, one), (job, other)] = wires.each_mut().map(|wire| fill(wire, &json!({})));
    signal(wires[0].pid(), Signal::KILL);
    one.is_removed();
    eventually("the folder of its groups is removed", || (!one.0.parent().unwrap().exists()).then_some(()));
    assert_eq!(wires[1].status(&job)["status"], "running");
    killed(&mut wires[1], &job, &other);
}

#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn what_a_server_left_the_next_takes_away() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    let (_, group) = fill(&mut wire, &json!({}));
    let keeper = keeper_of(wire.pid());
    signal(wire.pid(), Signal::KILL);
    signal_if_there(keeper, Signal::KILL);
    gone(keeper);
    scene.deserted();
    // A zombie would still be there.
    wire.exit_within(DEADLINE);
    let folder = group.0.parent().unwrap();
    println!("its folder is {}", if folder.exists() { "left" } else { "gone" });
    let _next = Wire::open(&scene);
    eventually("it takes the folder away", || (!folder.exists()).then_some(()));
}

/// `setpriv` is root's there, and begins with root's rights whoever starts it.
#[test]
#[ignore = "for the kernel of tests/kernel/run"]
fn what_took_the_rights_of_root_is_killed_by_its_group() {
    let scene = counted("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("cat /proc/self/cgroup; exec setpriv --reuid 0 --regid 0 --clear-groups sleep 1000");
    let group = Group::said_by(&mut wire, &job);
    let pid = u32::try_from(wire.status(&job)["pid"].as_u64().unwrap()).unwrap();
    let of_root = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("\nUid:\t0\t0\t0\t0");
    eventually("it is root's", || of_root().then_some(()));
    killed(&mut wire, &job, &group);
    gone(pid);
}
