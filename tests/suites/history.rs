//! What outlives the server of its jobs: records, and output where it is spilled.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use rstest::rstest;
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Resource, Rlimit, Signal, prlimit},
};
use serde_json::{Value, json};

use crate::support::{
    eventually, gone,
    scene::{Scene, keeping},
    secret,
    wire::Wire,
};

const SPILLING: &str = "output_bytes = 1024\n[history]\nspill_bytes = 1048576";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn count(most: u32) -> String {
    (1..=most).map(|line| format!("{line}\n")).collect()
}

#[test]
fn records_survive_a_restart() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("echo one; exit 3");
    let before = wire.ended(&job);
    wire.close();
    let mut wire = Wire::open(&scene);
    let listed = wire.tell("list_jobs", json!({}))["jobs"][0].clone();
    for key in ["job_id", "status", "command", "started", "ended", "exit_code"] {
        assert_eq!(listed[key], before[key], "{listed}");
    }
    let output = wire.output(&job);
    assert_eq!((&output["dropped_bytes"], &output["total_bytes"]), (&4.into(), &4.into()), "{output}");
    assert!(text(&output["stdout"]).contains("4 bytes"), "{output}");
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "already_terminated");
    let refused = wire.refused("interact_with_job", json!({ "job_id": job, "input": "x" }));
    assert!(refused.contains("takes no more input"), "{refused}");
}

#[test]
fn why_a_job_was_stopped_survives_a_restart() {
    let scene = Scene::with_failing_filter("stop-job");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("echo trap here; exec sleep 1000");
    let before = wire.ended(&job);
    assert!(text(&before["fault"]).contains("\"guest\" trapped"), "{before}");
    wire.close();
    let mut wire = Wire::open(&scene);
    let after = wire.status(&job);
    assert_eq!((&after["status"], &after["fault"]), (&before["status"], &before["fault"]));
}

/// Whether the database, or what is yet to be moved into it, holds the id of a job.
fn is_recorded(scene: &Scene, job: &str) -> bool {
    let files = ["history.db", "history.db-wal"].map(|name| scene.audit_file().with_file_name(name));
    files.iter().filter_map(|file| fs::read(file).ok()).any(|bytes| memchr::memmem::find(&bytes, job.as_bytes()).is_some())
}

#[test]
fn row_09_what_ran_when_the_server_was_killed_is_lost_and_gone() {
    let scene = Scene::open("[history]\nspill_bytes = 1048576");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("echo $$; exec sleep 1000");
    let pid = wire.printed_pid(&job);
    // Nobody waits for the disk when a job is started.
    eventually("a record that it runs", || is_recorded(&scene, &job).then_some(()));
    crate::support::signal(wire.pid(), Signal::KILL);
    gone(pid);
    let mut wire = Wire::open(&scene);
    let status = wire.status(&job);
    assert_eq!((&status["status"], &status["pid"]), (&"lost".into(), &Value::Null));
    assert_eq!(wire.output(&job)["stdout"], format!("{pid}\n"));
}

#[test]
fn spilled_output_is_whole_and_survives() {
    let scene = Scene::open(SPILLING);
    let mut wire = Wire::open(&scene);
    let job = wire.execute("seq 5000");
    wire.ended(&job);
    let output = wire.output(&job);
    assert!(output["stdout"] == count(5000) && output["dropped_bytes"] == 0, "{output}");
    let tail = wire.tell("tail_job_output", json!({ "job_id": job, "lines": 1000 }));
    assert_eq!(tail["stdout"], (4001..=5000).map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(tail["truncated"], true);
    wire.close();
    let mut wire = Wire::open(&scene);
    assert!(wire.output(&job)["stdout"] == count(5000));
}

#[test]
fn spilled_output_is_searched_and_waited_for() {
    let scene = Scene::open(SPILLING);
    let mut wire = Wire::open(&scene);
    let job = wire.sh("seq 20000; exec sleep 1000");
    eventually("all is printed", || (wire.output(&job)["total_bytes"] == count(20000).len()).then_some(()));
    let waited = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^10000$" }));
    assert_eq!(waited["met"], "matched", "{waited}");
    let search = json!({ "job_id": job, "pattern": "^(1|9999|19999)$", "context": 1 });
    let found = wire.tell("search_job_output", search.clone());
    assert_eq!(
        found,
        json!({ "truncated": false, "dropped_bytes": 0, "matches": [
            { "stream": "stdout", "line": 1, "text": "1", "after": ["2"] },
            { "stream": "stdout", "line": 9999, "text": "9999", "before": ["9998"], "after": ["10000"] },
            { "stream": "stdout", "line": 19999, "text": "19999", "before": ["19998"], "after": ["20000"] },
        ] })
    );
    wire.tell("kill_job", json!({ "job_id": job }));
    wire.close();
    let mut wire = Wire::open(&scene);
    assert_eq!(wire.tell("search_job_output", search), found);
    let waited = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": "^10000$" }));
    assert_eq!(waited["met"], "matched");
}

/// Whoever reads chooses where a page begins, and so may not choose where the filters do.
#[test]
fn what_an_earlier_server_kept_passes_the_filters_of_now_as_a_whole() {
    let scene = Scene::configured(&keeping("one", "component = \"builtin:tidy\"\napply = \"reads\""));
    let key = (0..40).map(|line| format!("{line:02}{}\n", "QWxhZGRpbjpvcGVuIHNlc2FtZQ".repeat(2))).collect::<String>();
    let marked = |kind: &str| format!("-----{kind} RSA PRIVATE KEY-----\n");
    fs::write(scene.root().join("key"), format!("first\n{}{key}{}last\n", marked("BEGIN"), marked("END"))).unwrap();
    let mut wire = Wire::open(&scene);
    let [leaky, plain] = ["cat key", "seq 100"].map(|command| {
        let job = wire.execute(command);
        wire.ended(&job);
        job
    });
    wire.close();
    let folder = scene.audit_file().parent().unwrap().join("jobs");
    let file = |job: &str| folder.join(format!("{job}.stdout"));
    let untouched = fs::metadata(file(&plain)).unwrap().ino();
    scene.configure(&keeping("one", "component = \"builtin:redact\""));
    let mut wire = Wire::open(&scene);
    let (mut cursor, mut pages) = (Value::Null, String::new());
    loop {
        let mut asked = json!({ "job_id": leaky, "stream": "stdout", "max_bytes": 16 });
        if !cursor.is_null() {
            asked["cursor"] = cursor;
        }
        let page = wire.tell("get_job_output", asked);
        pages += text(&page["stdout"]);
        if page["truncated"] == false {
            break;
        }
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(pages, "first\n-----[redacted: private-key]\nlast\n");
    assert_eq!(fs::read_to_string(file(&leaky)).unwrap(), pages);
    let tail = wire.tell("tail_job_output", json!({ "job_id": leaky, "lines": 2 }));
    assert_eq!(tail["stdout"], "-----[redacted: private-key]\nlast\n");
    let found = wire.tell("search_job_output", json!({ "job_id": leaky, "pattern": "QWxh" }));
    assert_eq!(found, json!({ "truncated": false, "dropped_bytes": 0, "matches": [] }));
    assert_eq!(wire.output(&plain)["stdout"], count(100));
    assert_eq!(fs::metadata(file(&plain)).unwrap().ino(), untouched);
    let left = fs::read_dir(&folder).unwrap();
    assert!(left.map(|file| file.unwrap().file_name()).all(|name| !name.to_str().unwrap().ends_with(".new")));
}

#[test]
fn what_somebody_cut_from_a_file_is_counted() {
    let scene = Scene::open(SPILLING);
    let mut wire = Wire::open(&scene);
    let job = wire.execute("seq 20000");
    wire.ended(&job);
    let file = scene.audit_file().parent().unwrap().join(format!("jobs/{job}.stdout"));
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1000).unwrap();
    let found = wire.tell("search_job_output", json!({ "job_id": job, "pattern": "^(20|10000|20000)$" }));
    // Memory holds the first 256 and the last 768 of 1024 bytes.
    assert_eq!(found["dropped_bytes"], count(20000).len() - 1000 - 768, "{found}");
}

#[test]
fn a_file_that_is_full_leaves_a_gap_that_is_counted() {
    let scene = Scene::open("output_bytes = 1024\n[history]\nspill_bytes = 4096");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("seq 20000");
    wire.ended(&job);
    let found = wire.tell("search_job_output", json!({ "job_id": job, "pattern": "^(900|10000|20000)$" }));
    let lines: Vec<_> = found["matches"].as_array().unwrap().iter().map(|found| found["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [900, 20000], "{found}");
    // The last 768 bytes, and the first 4096.
    assert_eq!(found["dropped_bytes"], count(20000).len() - 4096 - 768);
    for (pattern, met) in [("^900$", "matched"), ("^20000$", "matched"), ("^10000$", "ended")] {
        let waited = wire.tell("wait_for_job", json!({ "job_id": job, "pattern": pattern }));
        assert_eq!(waited["met"], met, "{pattern}");
    }
}

#[test]
fn nothing_of_it_is_readable_for_others_or_holds_a_secret() {
    let scene = Scene::open(SPILLING);
    let mut wire = Wire::open(&scene);
    let job = wire.execute(&format!("echo {}", secret()));
    wire.ended(&job);
    wire.close();
    let folder = scene.audit_file().parent().unwrap().to_owned();
    let jobs = folder.join("jobs");
    assert_eq!(fs::metadata(&jobs).unwrap().permissions().mode() & 0o777, 0o700);
    let files = fs::read_dir(&jobs).unwrap().chain(fs::read_dir(&folder).unwrap()).map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(&secret()), "{file:?}");
    }
}

#[test]
fn what_is_forgotten_leaves_no_file() {
    let scene = Scene::open(&format!("keep_finished = 1\n{SPILLING}"));
    let mut wire = Wire::open(&scene);
    for _ in 0..3 {
        let job = wire.execute("seq 10");
        wire.ended(&job);
    }
    let jobs = scene.audit_file().parent().unwrap().join("jobs");
    eventually("the files of forgotten jobs are gone", || {
        wire.tell("list_jobs", json!({}));
        (fs::read_dir(&jobs).unwrap().count() == 1).then_some(())
    });
}

#[test]
fn a_disk_that_takes_no_more_loses_nothing_without_a_word() {
    let scene = Scene::open(SPILLING);
    // No signal for a file that is too long: writing fails as on a full disk.
    let mut wire = Wire::over(&scene, scene.command_behind("trap '' XFSZ", ["serve"]));
    wire.initialize();
    let first = wire.execute("true");
    wire.ended(&first);
    let limit = Rlimit { current: Some(20_000), maximum: Some(20_000) };
    prlimit(Pid::from_raw(i32::try_from(wire.pid()).unwrap()), Resource::Fsize, limit).unwrap();
    let job = wire.execute("seq 20000");
    assert_eq!(wire.ended(&job)["status"], "completed");
    let mut next = json!({ "job_id": job, "max_bytes": 1 << 20 });
    let (mut kept, mut dropped) = (0, 0);
    let total = count(20000).len() as u64;
    loop {
        let page = wire.tell("get_job_output", next);
        dropped += page["dropped_bytes"].as_u64().unwrap();
        kept +=
            text(&page["stdout"]).lines().filter(|line| !line.starts_with('[')).map(|line| line.len() as u64 + 1).sum::<u64>();
        if page["truncated"] == false {
            break;
        }
        next = json!({ "job_id": job, "cursor": page["next_cursor"], "max_bytes": 1 << 20 });
    }
    assert!(kept > 1024 * 2 && dropped > 0, "{kept} {dropped}");
    // A line that is parted counts twice or not at all.
    assert!((kept + dropped).abs_diff(total) <= 2, "{kept} {dropped} {total}");
}

#[test]
fn a_history_that_can_not_be_kept_stops_nobody() {
    let scene = Scene::open("");
    let folder = scene.audit_file().parent().unwrap().to_owned();
    fs::create_dir_all(folder.join("history.db")).unwrap();
    let mut wire = Wire::open(&scene);
    let job = wire.execute("true");
    assert_eq!(wire.ended(&job)["status"], "completed");
    assert!(wire.stderr().contains("no history of jobs is kept"), "{}", wire.stderr());
}

/// A scene in which an earlier server kept this output of a job.
fn kept(output: &str) -> (Scene, String) {
    let scene = Scene::configured(&keeping("one", "component = \"builtin:tidy\"\napply = \"reads\""));
    fs::write(scene.root().join("kept"), output).unwrap();
    let mut wire = Wire::open(&scene);
    let job = wire.execute("cat kept");
    wire.ended(&job);
    wire.close();
    (scene, job)
}

const REDACT: &str = "component = \"builtin:redact\"";

#[test]
fn what_was_taken_out_of_a_file_is_not_counted_by_the_next_server() {
    let output = format!("TOKEN={}\n", secret()).repeat(100) + "last\n";
    let (scene, job) = kept(&output);
    let masked = output.replace(&secret(), "[redacted: github-token]");
    assert_ne!(masked.len(), output.len());
    scene.configure(&keeping("two", REDACT));
    for _ in 0..2 {
        let mut wire = Wire::open(&scene);
        let shown = wire.output(&job);
        let whole = text(&shown["stdout"]).to_owned();
        assert!(whole.ends_with("last\n") && !whole.contains(&secret()), "{shown}");
        assert_eq!((&shown["total_bytes"], &shown["dropped_bytes"]), (&whole.len().into(), &0.into()), "{shown}");
        let tail = wire.tell("tail_job_output", json!({ "job_id": job, "lines": 1 }));
        assert_eq!(tail["stdout"], "last\n");
        wire.close();
    }
}

#[test]
fn two_servers_that_filter_the_same_file_both_show_it() {
    let (scene, job) = kept(&"password=hunter2hunter2\n".repeat(20));
    scene.configure(&keeping("two", REDACT));
    let mut wires = [Wire::open(&scene), Wire::open(&scene)];
    // Both know of the job before either has looked at it.
    wires.iter_mut().for_each(|wire| drop(wire.tell("get_job_status", json!({ "job_id": job }))));
    let shown = wires.each_mut().map(|wire| wire.output(&job)["stdout"].clone());
    assert_eq!(shown[0], shown[1]);
    assert!(text(&shown[0]).contains("redacted") && !text(&shown[0]).contains("hunter2"), "{shown:?}");
}

#[test]
fn a_filter_that_fails_takes_nothing_from_a_file() {
    let (scene, job) = kept("one\ntrap here\nthree\n");
    let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&keeping(
        "two",
        &format!("component = {guest:?}\nsettings = {{ output = \"trap-here\", triggers = [\"trap\"] }}"),
    ));
    let mut wire = Wire::open(&scene);
    let answer = wire.call("get_job_output", json!({ "job_id": job }));
    assert_eq!(answer["isError"], true, "{answer}");
    let told = text(&answer["content"][0]["text"]);
    assert!(
        told.starts_with("what an earlier server kept of its output can not be filtered, and so not be shown: policy \"two\""),
        "{told}"
    );
    wire.close();
    scene.configure(&keeping("two", REDACT));
    let mut wire = Wire::open(&scene);
    assert_eq!(wire.output(&job)["stdout"], "one\ntrap here\nthree\n");
}

#[test]
fn another_file_in_its_place_is_filtered_too() {
    let (scene, job) = kept("harmless\n");
    scene.configure(&keeping("two", REDACT));
    let mut wire = Wire::open(&scene);
    assert_eq!(wire.output(&job)["stdout"], "harmless\n");
    let folder = scene.audit_file().parent().unwrap().join("jobs");
    fs::write(folder.join("other"), format!("{}\n", secret())).unwrap();
    fs::rename(folder.join("other"), folder.join(format!("{job}.stdout"))).unwrap();
    let shown = wire.output(&job);
    assert!(text(&shown["stdout"]).contains("redacted"), "{shown}");
    // What a server that was killed left half made goes with the next one.
    let abandoned = folder.join(format!("{job}.stdout.{}.new", i32::MAX));
    fs::write(&abandoned, "half").unwrap();
    wire.close();
    let _next = Wire::open(&scene);
    eventually("it is removed", || (!abandoned.exists()).then_some(()));
}

/// What stands under the name of the file that is being made: a way to another file, or nothing that could ever be opened.
#[rstest]
#[case::link(|name: &Path, victim: &Path| symlink(victim, name).unwrap())]
#[case::pipe(|name: &Path, _: &Path| mknodat(CWD, name, FileType::Fifo, Mode::RWXU, 0).unwrap())]
#[case::file(|name: &Path, victim: &Path| fs::hard_link(victim, name).unwrap())]
fn what_stands_in_the_way_of_filtering_is_neither_followed_nor_waited_for(#[case] stand: fn(&Path, &Path)) {
    let (scene, job) = kept(&format!("{}\nlast\n", secret()));
    scene.configure(&keeping("two", REDACT));
    let victim = scene.outside("victim", "untouched");
    let file = scene.audit_file().parent().unwrap().join(format!("jobs/{job}.stdout"));
    let mut wire = Wire::open(&scene);
    stand(&file.with_file_name(format!("{job}.stdout.{}.new", wire.pid())), &victim);
    for _ in 0..2 {
        let shown = wire.output(&job)["stdout"].clone();
        assert!(text(&shown).contains("redacted") && text(&shown).ends_with("last\n"), "{shown}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
}
