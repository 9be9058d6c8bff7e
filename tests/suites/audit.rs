//! The audit log as evidence: the chain of its lines, several writers, rotation, and the verbs that read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use rstest::rstest;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{
    eventually,
    scene::{Done, OPEN, Running, Scene},
    secret,
    wire::Wire,
};

/// A scene whose log holds these commands, and for each that it ended.
fn recorded(commands: &[&str]) -> Scene {
    let scene = Scene::open("");
    run(&scene, commands);
    scene
}

fn run(scene: &Scene, commands: &[&str]) {
    for command in commands {
        scene.portcullis(["run", "-c", command]).expect(0);
    }
}

fn audit(scene: &Scene, args: &[&str]) -> Done {
    scene.portcullis(["audit"].iter().chain(args))
}

fn verify(scene: &Scene, code: i32) -> String {
    audit(scene, &["verify"]).expect(code).stdout()
}

fn head(scene: &Scene) -> String {
    let out = audit(scene, &["verify"]).stdout();
    out.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn rotated(scene: &Scene, number: u32) -> PathBuf {
    scene.audit_file().with_extension(format!("jsonl.{number}"))
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// ── the chain ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn each_line_holds_the_hash_of_the_one_before() {
    let scene = recorded(&["echo one", "echo two"]);
    let mut previous = "0".repeat(64);
    for (index, line) in lines(&scene.audit_file()).iter().enumerate() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&record["number"], &record["previous"]), (&(index as u64 + 1).into(), &previous.as_str().into()));
        previous = Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect();
    }
    let out = verify(&scene, 0);
    assert!(out.contains("unbroken: numbers 1 to 4 in 1 file\n"), "{out}");
    assert_eq!(head(&scene), format!("4:{previous}"));
}

#[rstest]
#[case::changed(|lines: &mut Vec<String>| lines[2] = lines[2].replace("two", "TWO"), ":3: number 3 was changed")]
#[case::missing(|lines: &mut Vec<String>| drop(lines.remove(2)), ":3: number 3 is missing before this line")]
#[case::several_missing(|lines: &mut Vec<String>| drop(lines.drain(1..4)), ":2: numbers 2 to 4 are missing before this line")]
#[case::reordered(|lines: &mut Vec<String>| lines.swap(1, 2), ":3: number 2 stands behind number 3: out of order")]
#[case::doubled(|lines: &mut Vec<String>| lines.insert(2, lines[1].clone()), ":3: number 2 stands behind number 2: out of order")]
#[case::inserted(|lines: &mut Vec<String>| lines.insert(3, "{}".to_owned()), ":4: this is no record")]
#[case::garbage(|lines: &mut Vec<String>| lines[3] = "\u{0}\u{1b}[2J".to_owned(), ":4: this is no record")]
#[case::begun_anew(|lines: &mut Vec<String>| lines.push(lines[0].clone()), ":7: the chain begins anew")]
#[case::too_long(|lines: &mut Vec<String>| lines.insert(1, "x".repeat(20 << 20)), ":2: this is no record")]
#[case::first_relinked(|lines: &mut Vec<String>| lines[0] = lines[0].replacen("000", "111", 1), ":1: the line before it is missing")]
#[case::cut_within_a_line(|lines: &mut Vec<String>| lines[5].truncate(40), ":6: this is no record")]
fn what_was_changed_is_found(#[case] change: impl Fn(&mut Vec<String>), #[case] told: &str) {
    let scene = recorded(&["echo one", "echo two", "echo three"]);
    let path = scene.audit_file();
    let mut all = lines(&path);
    change(&mut all);
    write_lines(&path, &all);
    let out = verify(&scene, 1);
    assert!(out.contains(&format!("audit.jsonl{told}")), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn a_cut_end_is_seen_against_a_head_kept_elsewhere() {
    let scene = recorded(&["echo one", "echo two"]);
    let kept = head(&scene);
    run(&scene, &["echo three"]);
    let out = audit(&scene, &["verify", "--head", &kept]).expect(0).stdout();
    assert!(out.contains("all is there that was at number 4\n"), "{out}");
    let all = lines(&scene.audit_file());
    write_lines(&scene.audit_file(), &all[..2]);
    verify(&scene, 0);
    let out = audit(&scene, &["verify", "--head", &kept]).expect(1).stdout();
    assert!(out.contains(":2: the log ends here, before number 4 of the head: its end was cut off"), "{out}");
}

#[test]
fn a_log_that_was_written_anew_is_seen_against_a_head_kept_elsewhere() {
    let (scene, other) = (recorded(&["echo one"]), recorded(&["echo two"]));
    let kept = head(&scene);
    fs::copy(other.audit_file(), scene.audit_file()).unwrap();
    verify(&scene, 0);
    let out = audit(&scene, &["verify", "--head", &kept]).expect(1).stdout();
    assert!(out.contains(":2: number 2 is not the line that the head names"), "{out}");
    audit(&scene, &["verify", "--head", "2:abc"]).expect(3);
}

#[test]
fn several_servers_write_one_chain() {
    let scene = Scene::open("");
    let mut servers = [Wire::open(&scene), Wire::open(&scene)];
    for _ in 0..10 {
        let jobs = servers.each_mut().map(|server| server.execute("true"));
        for (server, job) in servers.iter_mut().zip(jobs) {
            server.ended(&job);
        }
    }
    eventually("all ends are recorded", || (scene.audit().len() == 40).then_some(()));
    let out = verify(&scene, 0);
    assert!(out.contains("unbroken: numbers 1 to 40 in 1 file\n"), "{out}");
}

#[test]
fn whoever_holds_the_lock_stops_decisions_and_nothing_else() {
    let scene = recorded(&["echo one"]);
    let holder = File::open(scene.audit_file()).unwrap();
    holder.lock().unwrap();
    let done = scene.portcullis(["run", "--", "touch", "made"]).expect(126);
    assert!(done.stderr.contains("[audit-unavailable]") && done.stderr.contains("holds its lock"), "{}", done.stderr);
    assert!(!scene.root().join("made").exists());
    holder.unlock().unwrap();
    run(&scene, &["touch made"]);
    assert!(verify(&scene, 0).contains("numbers 1 to 4"));
}

// ── torn and foreign ends ──────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::nothing_of_a_record("x", 1)]
#[case::part_of_a_record("{\"number\":3,\"previous\":\"", 1)]
#[case::binary("\u{0}\u{1}\u{ffff}", 1)]
#[case::twice("torn\nand again", 2)]
fn a_torn_line_is_told_and_the_chain_goes_on(#[case] torn: &str, #[case] count: usize) {
    let scene = recorded(&["echo one"]);
    append(&scene.audit_file(), torn.as_bytes());
    let out = verify(&scene, 1);
    assert!(out.contains(":3: "), "{out}");
    run(&scene, &["echo two"]);
    let out = verify(&scene, 0);
    assert_eq!(out.matches("a torn line, which the next one goes on from").count(), count, "{out}");
    assert!(out.contains(&format!("numbers 1 to {} in 1 file", 4 + count)), "{out}");
    let done = audit(&scene, &["show"]).expect(0);
    assert!(done.stderr.contains("no records, the first of them"), "{}", done.stderr);
    assert_eq!(done.stdout().lines().count(), 4);
}

#[test]
fn a_missing_newline_is_no_loss() {
    let scene = recorded(&["echo one"]);
    let text = fs::read_to_string(scene.audit_file()).unwrap();
    fs::write(scene.audit_file(), text.trim_end()).unwrap();
    run(&scene, &["echo two"]);
    assert!(verify(&scene, 0).starts_with("unbroken: numbers 1 to 4 in 1 file\n"));
}

#[test]
fn what_the_chain_can_not_go_on_from_is_set_aside() {
    let scene = recorded(&["echo one"]);
    append(&scene.audit_file(), &b"garbage ".repeat(2 << 20));
    let done = scene.portcullis(["run", "--", "true"]).expect(0);
    assert!(done.stderr.contains("set aside"), "{}", done.stderr);
    assert_eq!(scene.audit()[0]["number"], 1);
    let out = verify(&scene, 1);
    assert!(out.contains("audit.jsonl.1:3: this is no record"), "{out}");
    assert!(out.contains("audit.jsonl:1: the chain begins anew"), "{out}");
}

#[test]
fn a_log_without_a_chain_is_gone_on_from() {
    let scene = Scene::open("");
    run(&scene, &["true"]);
    fs::write(scene.audit_file(), "{\"event\":\"decision\"}\n").unwrap();
    run(&scene, &["true"]);
    assert_eq!(scene.audit()[1]["number"], 2);
    assert!(verify(&scene, 0).contains("audit.jsonl:1: a torn line"));
}

#[rstest]
#[case::directory(|path: &Path| fs::create_dir(path).unwrap())]
#[case::pipe(|path: &Path| rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap())]
fn what_is_no_file_is_refused(#[case] make: impl Fn(&Path)) {
    let scene = Scene::open("");
    fs::create_dir_all(scene.audit_file().parent().unwrap()).unwrap();
    make(&scene.audit_file());
    let done = scene.portcullis(["run", "--", "touch", "made"]);
    assert!([3, 125].contains(&done.code()), "{done:?}");
    assert!(!scene.root().join("made").exists());
    for verb in ["show", "verify", "replay"] {
        let done = audit(&scene, &[verb]);
        assert!([3, 125].contains(&done.code()) && done.stderr.contains("audit.jsonl"), "{done:?}");
        let done = audit(&scene, &[verb, scene.audit_file().to_str().unwrap()]).expect(125);
        assert!(done.stderr.contains("it is no regular file"), "{}", done.stderr);
    }
}

#[test]
fn a_log_that_is_not_there_is_no_empty_log() {
    let scene = Scene::open("");
    for args in [&["show"][..], &["verify"], &["replay"], &["verify", "/nowhere/audit.jsonl"]] {
        let done = audit(&scene, args).expect(125);
        assert!(done.stderr.contains("could not read the audit log"), "{}", done.stderr);
    }
}

// ── rotation ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_log_is_rotated_by_size_and_the_chain_goes_on() {
    let scene = Scene::configured(&format!("[audit]\nmax_bytes = 4000\nkeep = 3\n{OPEN}"));
    let mut wire = Wire::open(&scene);
    for _ in 0..20 {
        let job = wire.execute("true");
        wire.ended(&job);
    }
    drop(wire);
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    assert!((1..=3).all(|number| (1000..=4000).contains(&length(&rotated(&scene, number)))));
    assert!(!rotated(&scene, 4).exists());
    let out = verify(&scene, 0);
    assert!(out.contains(" in 4 files; those before are not there\n"), "{out}");
    // The order of the table is that of time.
    let shown = json_lines(&audit(&scene, &["show", "--json"]).expect(0).stdout());
    let numbers: Vec<_> = shown.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert!(numbers.len() > 10 && numbers.is_sorted(), "{numbers:?}");
    // With less to keep, what is beyond goes at the next rotation.
    scene.configure(&format!("[audit]\nmax_bytes = 1000\nkeep = 1\n{OPEN}"));
    run(&scene, &["true"]);
    assert!(rotated(&scene, 1).exists() && !rotated(&scene, 2).exists() && !rotated(&scene, 3).exists());
    verify(&scene, 0);
    fs::remove_file(rotated(&scene, 1)).unwrap();
    verify(&scene, 0);
}

#[test]
fn a_file_that_is_missing_between_others_is_told() {
    let scene = Scene::configured(&format!("[audit]\nmax_bytes = 1000\nkeep = 20\n{OPEN}"));
    run(&scene, &["true", "true", "true"]);
    assert!(rotated(&scene, 3).exists());
    fs::remove_file(rotated(&scene, 2)).unwrap();
    let out = verify(&scene, 1);
    assert!(out.contains("audit.jsonl.1:1: number"), "{out}");
}

#[test]
fn a_log_that_was_moved_away_goes_on_from_nothing() {
    let scene = recorded(&["echo one"]);
    let old = scene.base().join("old.jsonl");
    fs::rename(scene.audit_file(), &old).unwrap();
    run(&scene, &["echo two"]);
    assert_eq!((&scene.audit()[0]["number"], scene.audit().len()), (&1.into(), 2));
    verify(&scene, 0);
    audit(&scene, &["verify", old.to_str().unwrap()]).expect(0);
}

// ── what is recorded ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_decision_holds_what_it_depended_on() {
    let scene = Scene::open("timeout_s = 7\nenv.set = { PLAIN = 'value' }");
    run(&scene, &["echo one\necho $'\\e[1m'"]);
    scene.portcullis(["run", "-c", "ls |"]).expect(126);
    let audit = scene.audit();
    let request = &audit[0]["request"];
    assert_eq!(request["script"], "echo one\necho $'\\e[1m'");
    assert_eq!((&request["altered"], &request["timeout_ms"]), (&Value::Null, &7000.into()));
    assert_eq!(request["cwd"], scene.root().to_str().unwrap());
    assert!(request["env"].as_array().unwrap().contains(&"PLAIN".into()), "{request}");
    assert!(!audit[0].to_string().contains("value"), "{request}");
    let unparsed = audit.iter().find(|line| line["decision"] == "deny").unwrap();
    assert_eq!((&unparsed["request"]["script"], &unparsed["request"]["altered"]), (&Value::Null, &Value::Null));
    let set = audit[0]["set"].as_str().unwrap().to_owned();
    assert_eq!((set.len(), &unparsed["set"]), (64, &audit[0]["set"]));
    scene.configure(&OPEN.replace("\"redact\"", "\"other\""));
    run(&scene, &["true"]);
    let audit = scene.audit();
    assert_ne!(audit.iter().rfind(|line| line["event"] == "decision").unwrap()["set"], set);
}

#[test]
fn hidden_characters_stand_in_the_file_as_escapes() {
    let scene = Scene::open("");
    scene.portcullis(["run", "--", "echo", "a\u{202e}b\u{9b}31m"]).expect(0);
    let text = fs::read_to_string(scene.audit_file()).unwrap();
    assert!(!text.chars().any(|c| c == '\u{202e}' || (c.is_control() && c != '\n')), "{text:?}");
    assert!(scene.audit()[0]["request"]["script"].as_str().unwrap().contains('\u{202e}'));
}

// ── show ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::all(&[], 5)]
#[case::denied(&["--decision", "deny"], 1)]
#[case::allowed(&["--decision", "allow"], 2)]
#[case::policy(&["--policy", "allowlist"], 1)]
#[case::code(&["--code", "program-not-allowed"], 1)]
#[case::other_code(&["--code", "program-not-allowed", "--policy", "harden"], 0)]
#[case::client(&["--client", "portcullis"], 3)]
#[case::nobody(&["--client", "nobody"], 0)]
#[case::recent(&["--since", "1h"], 5)]
#[case::long_ago(&["--until", "2020-01-01"], 0)]
fn lines_are_chosen(#[case] args: &[&str], #[case] count: usize) {
    let scene = Scene::new();
    scene.portcullis(["run", "--", "git", "log", "-1"]).expect(0);
    scene.portcullis(["run", "--", "rm", "x"]).expect(126);
    scene.portcullis(["run", "--", "ls"]).expect(0);
    for json in [&[][..], &["--json"]] {
        let done = audit(&scene, &[&["show"], args, json].concat()).expect(0);
        assert_eq!(done.stdout().lines().count(), count, "{}", done.stdout());
    }
}

#[test]
fn a_job_is_found_by_how_its_id_begins() {
    let scene = recorded(&["echo one", "false || true"]);
    let id = scene.audit()[0]["job_id"].as_str().unwrap().to_owned();
    let shown = audit(&scene, &["show", "--job", &id[..8]]).expect(0).stdout();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("echo' 'one'") || shown.contains("echo one"), "{shown}");
    assert!(shown.contains("completed") && shown.contains("exit code 0"), "{shown}");
}

#[test]
fn json_is_shown_as_it_was_recorded() {
    let scene = recorded(&["echo one"]);
    assert_eq!(audit(&scene, &["show", "--json"]).expect(0).stdout(), fs::read_to_string(scene.audit_file()).unwrap());
}

#[test]
fn what_was_planted_in_a_log_does_not_steer_the_terminal() {
    let scene = recorded(&["echo one"]);
    let evil =
        r#"{"time":"\u001b[2J","event":"\u001b[2J","message":"x","sent":"@","decision":"@"}"#.replace('@', "\u{9b}2J\u{202e}");
    append(&scene.audit_file(), format!("{evil}\n").as_bytes());
    for args in [&["show"][..], &["show", "--json"], &["replay"]] {
        let shown = audit(&scene, args).stdout();
        assert!(!shown.chars().any(|c| c == '\u{202e}' || (c.is_control() && c != '\n')), "{shown:?}");
    }
}

#[test]
fn the_log_is_shown_whatever_else_is_wrong_and_wherever() {
    let scene = recorded(&["echo one"]);
    scene.configure("[jobs]\nmax_running = 0\n");
    for verb in ["show", "verify"] {
        Running::start(scene.command(["audit", verb]).current_dir(scene.base().join("home"))).done().expect(0);
    }
    scene.configure("[audit]\nmax_bytes = -1\nkeep = 0\n");
    let done = audit(&scene, &["show"]).expect(3);
    assert!(done.stderr.contains("audit.max_bytes: -1 is out of range"), "{}", done.stderr);
    assert!(done.stderr.contains("audit.keep: 0 is out of range"), "{}", done.stderr);
}

#[test]
fn a_followed_log_goes_on_over_its_rotation() {
    let scene = Scene::configured(&format!("[audit]\nmax_bytes = 1500\nkeep = 50\n{OPEN}"));
    run(&scene, &["true"]);
    let mut command = scene.command(["audit", "show", "--follow", "--json", "--decision", "allow"]);
    let mut following = Running::start_unread(command.stdout(Stdio::piped()));
    let mut shown = BufReader::new(following.child().stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&shown.next().unwrap().unwrap()).unwrap()["sent"].clone();
    assert_eq!(next(), "true");
    let sent: Vec<_> = (0..8).map(|number| format!("echo {number}")).collect();
    for command in &sent {
        run(&scene, &[command]);
    }
    assert!(rotated(&scene, 2).exists());
    for command in sent {
        assert_eq!(next(), command);
    }
    following.signal(rustix::process::Signal::KILL);
}

#[test]
fn who_has_seen_enough_ends_it_quietly() {
    let scene = recorded(&["echo one"]);
    let all = fs::read_to_string(scene.audit_file()).unwrap();
    append(&scene.audit_file(), all.repeat(500).as_bytes());
    let mut command = scene.command(["audit", "show", "--json"]);
    let mut running = Running::start_unread(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    drop(running.child().stdout.take());
    running.done().expect(0);
}

// ── replay ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const REFUSING: &str = r#"
[[policies]]
name = "allowlist"
component = "builtin:allowlist"
[[policies]]
name = "redact"
component = "builtin:redact"
"#;

fn replay(scene: &Scene, config: &str, args: &[&str], code: i32) -> String {
    let path = scene.outside("new.toml", config);
    let before = fs::read(scene.audit_file()).unwrap();
    let done = audit(scene, &[&["replay", "--config", path.to_str().unwrap()], args].concat()).expect(code);
    assert_eq!(fs::read(scene.audit_file()).unwrap(), before);
    done.stdout()
}

#[test]
fn the_same_policies_say_the_same() {
    let scene = Scene::new();
    scene.portcullis(["run", "--", "git", "log", "-1"]).expect(0);
    scene.portcullis(["run", "--", "rm", "x"]).expect(126);
    scene.portcullis(["run", "-c", "ls |"]).expect(126);
    scene.portcullis(["run", "-c", "echo one\necho two"]).expect(0);
    let out = audit(&scene, &["replay"]).expect(0).stdout();
    assert_eq!(out, "commands: 4; the same: 4, different: 0, indeterminate: 0\n");
}

#[test]
fn what_another_set_would_say_is_told_with_both_reasons() {
    let scene = recorded(&["touch made", "ls", "echo 'two lines\nof text'"]);
    fs::remove_file(scene.root().join("made")).unwrap();
    let out = replay(&scene, REFUSING, &[], 1);
    assert!(out.contains("commands: 3; the same: 2, different: 1, indeterminate: 0\n       1  allow → deny"), "{out}");
    assert!(out.contains("number 1  ") && out.contains("touch made"), "{out}");
    assert!(out.contains("  then  allow  /"), "{out}");
    assert!(out.contains("  now   deny   by policy \"allowlist\" [program-not-allowed]: "), "{out}");
    assert!(!scene.root().join("made").exists());
    let json = json_lines(&replay(&scene, REFUSING, &["--json"], 1));
    let [differs, counts] = json.as_slice() else { panic!("{json:?}") };
    assert_eq!((&differs["number"], &differs["command"]), (&1.into(), &"touch made".into()));
    assert_eq!((&differs["then"]["decision"], &differs["now"]["decision"]), (&"allow".into(), &"deny".into()));
    assert_eq!(differs["now"]["code"], "program-not-allowed");
    assert_ne!(differs["then"]["set"], differs["now"]["set"]);
    assert_eq!((&counts["commands"], &counts["differ"]["allow → deny"]), (&3.into(), &1.into()));
    assert_eq!(replay(&scene, REFUSING, &["--until", "1h"], 0), "commands: 0; the same: 0, different: 0, indeterminate: 0\n");
}

#[test]
fn what_was_masked_is_indeterminate() {
    let scene = Scene::open("");
    scene.portcullis(["run", "--", "echo", &secret()]).expect(0);
    let out = replay(&scene, REFUSING, &[], 0);
    assert!(out.contains("1  indeterminate: masked"), "{out}");
    assert!(!out.contains(&secret()), "{out}");
}

#[test]
fn what_is_gone_is_indeterminate() {
    let scene = Scene::open("");
    let program = scene.program("tool", "#!/bin/sh\n");
    run(&scene, &[program.to_str().unwrap(), "ls", "true"]);
    fs::remove_file(program).unwrap();
    let path = scene.audit_file();
    let gone: Vec<_> = lines(&path).iter().map(|line| line.replace("\"cwd\":\"/", "\"cwd\":\"/gone/")).collect();
    let mut all = lines(&path);
    all[2].clone_from(&gone[2]);
    all[4] = all[4].replace("\"request\":{", "\"other\":{");
    write_lines(&path, &all);
    let out = replay(&scene, OPEN, &[], 0);
    for reason in ["a program is gone", "its directory is gone", "recorded without its request"] {
        assert!(out.contains(&format!("1  indeterminate: {reason}")), "{out}");
    }
}

#[test]
fn a_configuration_that_is_wrong_is_not_tried() {
    let scene = recorded(&["ls"]);
    for wrong in ["[jobs]\nmax_running = 0\n", "[[policies]]\nname = 'x'\ncomponent = '/nowhere.wasm'\n"] {
        let path = scene.outside("new.toml", wrong);
        audit(&scene, &["replay", "--config", path.to_str().unwrap()]).expect(3);
    }
    audit(&scene, &["replay", "--config", "/nowhere.toml"]).expect(3);
}
