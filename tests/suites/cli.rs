//! The command line: exit codes, what stands on standard output and what on standard error, the audit log, help.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    process::Stdio,
    time::Duration,
};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    golden::assert_golden,
    gone,
    scene::{COMMIT, OPEN, Running, Scene},
    secret, within,
};

const BROKEN: &str = "[jobs]\nmax_running = 0\n";

// ── check ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::allowed(&["git status"], 0)]
#[case::rewritten(&["git log -3"], 0)]
#[case::denied(&["rm -rf x"], 1)]
#[case::no_such_program(&["no-such-program-here"], 1)]
#[case::empty(&[""], 1)]
#[case::not_shell_text(&["git 'status"], 1)]
#[case::allowed_then_denied(&["git status", "rm x"], 1)]
#[case::denied_then_allowed(&["rm x", "git status"], 1)]
#[case::all_allowed(&["git status", "ls", "cat notes.txt"], 0)]
fn check_says_by_its_exit_code_what_would_be_decided(#[case] scripts: &[&str], #[case] code: i32) {
    Scene::new().portcullis(["check"].iter().chain(scripts)).expect(code);
}

#[rstest]
#[case::asked(&["git status"], 10)]
#[case::asked_then_denied(&["git status", "rm x"], 1)]
#[case::denied_then_asked(&["rm x", "git status"], 1)]
fn check_says_that_a_policy_asks(#[case] scripts: &[&str], #[case] code: i32) {
    let scene = Scene::with_guest(r#"{ command = "ask" }"#);
    scene.portcullis(["check"].iter().chain(scripts)).expect(code);
}

#[test]
fn check_lets_the_default_ask() {
    let scene = Scene::configured(&OPEN.replace(r#""allow""#, r#""ask""#));
    scene.portcullis(["check", "ls"]).expect(10);
}

#[test]
fn check_runs_nothing_and_records_nothing() {
    let scene = Scene::open("");
    scene.portcullis(["check", "touch made"]).expect(0);
    assert!(!scene.root().join("made").exists());
    assert!(scene.audit().is_empty());
}

#[test]
fn check_json_has_exactly_the_promised_keys() {
    let scene = Scene::new();
    let done = scene.portcullis(["check", "--json", "git log -1", "rm x", "ls |"]).expect(1);
    let findings = json_lines(&done.stdout());
    assert_eq!(findings.len(), 3);
    for finding in &findings {
        assert_eq!(keys(finding), ["code", "command", "decision", "message", "policies", "policy", "runs", "set"], "{finding}");
        for answer in finding["policies"].as_array().unwrap() {
            assert_eq!(keys(answer), ["code", "message", "micros", "mode", "policy", "round", "verdict"], "{answer}");
        }
    }
    let [allowed, denied, unparsed] = findings.as_slice() else { unreachable!() };
    assert_eq!((&allowed["command"], &allowed["decision"]), (&"git log -1".into(), &"allow".into()));
    assert!(allowed["runs"].as_str().unwrap().contains("--no-pager"), "{allowed}");
    assert_eq!((&allowed["policy"], &allowed["code"], &allowed["message"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&denied["decision"], &denied["runs"], &denied["policy"]), (&"deny".into(), &Value::Null, &"allowlist".into()));
    assert_eq!(denied["code"], "program-not-allowed");
    assert!(denied["message"].as_str().unwrap().contains("rm"), "{denied}");
    assert_eq!((&unparsed["decision"], &unparsed["policy"]), (&"deny".into(), &Value::Null));
    assert_eq!(unparsed["policies"].as_array().unwrap().len(), 0);
}

#[test]
fn check_json_shows_what_would_run_if_a_person_agreed() {
    let scene = Scene::with_guest(r#"{ command = "ask" }"#);
    let finding = &json_lines(&scene.portcullis(["check", "--json", "ls"]).expect(10).stdout())[0];
    assert_eq!(
        (&finding["decision"], &finding["policy"], &finding["code"]),
        (&"ask".into(), &"guest".into(), &"misbehaving".into())
    );
    assert!(finding["runs"].as_str().unwrap().ends_with("/ls"), "{finding}");
}

#[test]
fn check_reads_a_script_per_line() {
    let scene = Scene::new();
    let done = scene.portcullis_reading(["check", "--json", "-"], "git status\n\n  \nrm x\nls").expect(1);
    let commands: Vec<_> = json_lines(&done.stdout()).into_iter().map(|finding| finding["command"].clone()).collect();
    assert_eq!(commands, ["git status", "rm x", "ls"]);
    scene.portcullis_reading(["check", "-"], "git status\nls\n").expect(0);
    scene.portcullis_reading(["check", "-"], "").expect(0);
}

#[test]
fn check_takes_a_line_too_long_to_be_judged_for_one_script() {
    let scene = Scene::new();
    let lines = format!("ls {}\nls\n", "x".repeat(200_000));
    let findings = json_lines(&scene.portcullis_reading(["check", "--json", "-"], &lines).expect(1).stdout());
    let seen: Vec<_> = findings.iter().map(|finding| (finding["decision"].as_str().unwrap(), finding["code"].as_str())).collect();
    assert_eq!(seen, [("deny", Some("too-long")), ("allow", None)]);
}

#[test]
fn a_script_that_hardening_makes_too_long_for_the_shell_is_denied() {
    let scene = Scene::new();
    let script = "git status; ".repeat(230);
    let finding = &json_lines(&scene.portcullis(["check", "--json", &script]).expect(1).stdout())[0];
    assert_eq!((&finding["policy"], &finding["code"]), (&Value::Null, &"too-long".into()), "{finding}");
}

#[test]
fn check_explains() {
    let scene = Scene::new();
    let shown = scene.portcullis(["check", "--explain", "git log -1", "rm x"]).expect(1).stdout();
    for part in [
        "git log -1",
        "git log -1  = /",
        "round 1",
        "round 2",
        "harden",
        "rewrite",
        "allowlist",
        "µs",
        "⇒ allow  runs without a shell: ",
        "--no-pager",
        "⇒ deny ",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
}

// ── run ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::success("true", 0)]
#[case::failure("false", 1)]
#[case::the_commands_own("sh -c \"exit 7\"", 7)]
#[case::largest("sh -c \"exit 255\"", 255)]
#[case::the_commands_own_looks_like_one_of_ours("sh -c \"exit 126\"", 126)]
#[case::killed("sh -c 'kill -KILL $$'", 128 + 9)]
#[case::terminated("sh -c 'kill -TERM $$'", 128 + 15)]
#[case::not_found("no-such-program-here", 127)]
#[case::not_found_there("./no-such-program-here", 127)]
#[case::empty("", 126)]
#[case::pipeline("ls | wc", 0)]
#[case::pipeline_fails("ls | grep -q no-such-line", 1)]
#[case::construct("a=(1 2)", 126)]
fn run_gives_the_exit_code_of_the_table(#[case] script: &str, #[case] code: i32) {
    Scene::open("").portcullis(["run", "-c", script]).expect(code);
}

#[test]
fn run_denied() {
    let scene = Scene::new();
    let done = scene.portcullis(["run", "--", "rm", "-rf", "notes.txt"]).expect(126);
    assert!(done.stdout.is_empty());
    assert!(done.stderr.contains("denied by policy \"allowlist\" [program-not-allowed]"), "{}", done.stderr);
    assert!(scene.root().join("notes.txt").exists());
}

#[test]
fn run_can_not_ask_and_denies() {
    let done = Scene::with_guest(r#"{ command = "ask" }"#).portcullis(["run", "--", "ls"]).expect(126);
    assert!(done.stdout.is_empty());
    assert!(done.stderr.contains("a person would have to approve"), "{}", done.stderr);
    assert!(done.stderr.contains("policy \"guest\" [misbehaving]: this guest asks"), "{}", done.stderr);
}

#[rstest]
#[case::sleep(&["sleep", "1000"])]
#[case::tail(&["tail", "-f", "notes.txt"])]
fn run_times_out(#[case] words: &[&str]) {
    let scene = Scene::configured(
        r#"
        [jobs]
        timeout_s = 1
        [[policies]]
        name = "allowlist"
        component = "builtin:allowlist"
        [policies.settings.programs.sleep]
        operands = { kind = "integer", max = 1 }
        [policies.settings.programs.tail]
        flags = ["-f"]
        operands = { kind = "path" }
        "#,
    );
    scene.portcullis(["run", "--"].iter().chain(words)).expect(124);
    assert_eq!(scene.audit().last().unwrap()["state"], "timed_out");
}

#[test]
fn run_says_when_portcullis_itself_fails() {
    let scene = Scene::configured(&format!("[audit]\npath = \"/proc/none/audit.jsonl\"\n{OPEN}"));
    let done = scene.portcullis(["run", "--", "touch", "made"]).expect(125);
    assert!(done.stderr.contains("could not write the audit log /proc/none/audit.jsonl"), "{}", done.stderr);
    assert!(!scene.root().join("made").exists());
}

#[rstest]
#[case::no_verb(&[])]
#[case::unknown_verb(&["jump"])]
#[case::unknown_option(&["run", "--jump", "--", "ls"])]
#[case::nothing_to_run(&["run"])]
#[case::words_and_script(&["run", "-c", "ls", "--", "ls"])]
#[case::nothing_to_check(&["check"])]
#[case::json_and_explanation(&["check", "--json", "--explain", "ls"])]
#[case::half_a_verb(&["config"])]
fn wrong_usage(#[case] args: &[&str]) {
    let done = Scene::new().portcullis(args).expect(3);
    assert!(done.stdout.is_empty());
    assert!(done.stderr.contains("Usage: portcullis"), "{}", done.stderr);
}

#[rstest]
#[case::run(&["run", "--", "touch", "made"])]
#[case::check(&["check", "ls"])]
#[case::config_check(&["config", "check"])]
#[case::serve(&["serve"])]
fn nothing_starts_with_a_wrong_configuration(#[case] args: &[&str]) {
    let scene = Scene::configured(&format!("{BROKEN}{OPEN}"));
    let done = scene.portcullis(args).expect(3);
    assert!(done.stdout.is_empty());
    assert!(done.stderr.contains("jobs.max_running"), "{}", done.stderr);
    assert!(!scene.root().join("made").exists());
}

#[test]
fn run_prints_the_filtered_output_and_nothing_else() {
    let scene = Scene::new();
    let done = scene.portcullis(["run", "--", "cat", "notes.txt"]).expect(0);
    assert_eq!(done.stdout, fs::read(scene.root().join("notes.txt")).unwrap());
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("portcullis: allowed by allowlist in "), "{}", done.stderr);
}

#[test]
fn run_says_what_the_policies_did() {
    let done = Scene::new().portcullis(["run", "--", "git", "log", "-3"]).expect(0);
    assert!(done.stdout().contains(COMMIT), "{}", done.stdout());
    assert!(done.stderr.contains("allowed by allowlist, rewritten by harden in "), "{}", done.stderr);
    assert!(done.stderr.contains("--no-pager"), "{}", done.stderr);
}

#[test]
fn run_takes_words_as_they_are_and_a_script_as_shell_text() {
    let scene = Scene::new();
    let words = scene.portcullis(["run", "--", "echo", "a  b", "$HOME", "*", "'"]).expect(0);
    assert_eq!(words.stdout(), "a  b $HOME * '\n");
    let script = scene.portcullis(["run", "-c", r#"echo "a  b" '$HOME' \* "'""#]).expect(0);
    assert_eq!(script.stdout(), words.stdout());
}

#[test]
fn run_keeps_bytes_and_the_two_streams_apart() {
    let scene = Scene::open("");
    let done = scene.portcullis(["run", "-c", r#"sh -c 'printf "a\rb\377\000"; printf "c\n" >&2'"#]).expect(0);
    assert_eq!(done.stdout, b"a\rb\xff\0");
    assert!(done.stderr.ends_with("\nc\n"), "{}", done.stderr);
}

#[test]
fn run_gives_the_command_an_empty_standard_input() {
    let scene = Scene::open("");
    let done = scene.portcullis_reading(["run", "--", "cat"], "not for the job").expect(0);
    assert!(done.stdout.is_empty());
}

#[test]
fn run_refuses_a_word_that_is_not_utf_8() {
    let word = std::ffi::OsString::from_vec(b"notes\xff.txt".to_vec());
    let done = Scene::new().portcullis(["run".into(), "--".into(), "cat".into(), word]).expect(126);
    assert!(done.stderr.contains("[not-utf-8]"), "{}", done.stderr);
}

#[test]
fn check_refuses_a_script_that_is_not_utf_8() {
    let script = std::ffi::OsString::from_vec(b"cat notes\xff.txt".to_vec());
    Scene::new().portcullis(["check".into(), script]).expect(3);
}

#[test]
fn run_does_not_hand_a_file_without_an_interpreter_to_a_shell() {
    let scene = Scene::open("");
    let program = scene.program("tool", "echo a shell ran this\n");
    let done = scene.portcullis(["run".as_ref(), "--".as_ref(), program.as_os_str()]).expect(126);
    assert!(done.stdout.is_empty(), "{}", done.stdout());
}

// ── secrets ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_planted_secret_is_redacted() {
    let scene = Scene::new();
    let done = scene.portcullis(["run", "--", "cat", "secrets.env"]).expect(0);
    assert!(done.stdout().starts_with("# keys\nTOKEN=[redacted: "), "{}", done.stdout());
    assert!(done.stdout().ends_with("]\nCOLOR=blue\n"), "{}", done.stdout());
    assert!(!done.stdout().contains(&secret()));
}

#[rstest]
#[case::allowed(&["run", "--", "echo", "TOKEN"])]
#[case::allowed_script(&["run", "-c", "cat TOKEN"])]
#[case::denied(&["run", "--", "rm", "TOKEN"])]
#[case::denied_operand(&["run", "--", "cat", "/TOKEN"])]
#[case::no_such_program(&["run", "--", "TOKEN"])]
#[case::no_such_program_there(&["run", "--", "./TOKEN"])]
#[case::construct(&["run", "-c", "cat TOKEN | wc"])]
#[case::syntax(&["run", "-c", "cat 'TOKEN"])]
#[case::assignment(&["run", "-c", "KEY=TOKEN git status"])]
#[case::check(&["check", "echo TOKEN", "rm TOKEN", "echo 'TOKEN", "TOKEN", "cat /TOKEN"])]
#[case::check_json(&["check", "--json", "echo TOKEN", "rm TOKEN", "echo 'TOKEN", "TOKEN", "cat /TOKEN"])]
#[case::check_explain(&["check", "--explain", "echo TOKEN", "rm TOKEN", "echo 'TOKEN", "TOKEN", "cat /TOKEN", "KEY=TOKEN git status"])]
fn a_secret_in_a_command_reaches_no_stream_and_no_log(#[case] args: &[&str]) {
    let scene = Scene::new();
    let args: Vec<_> = args.iter().map(|arg| arg.replace("TOKEN", &secret())).collect();
    let done = Running::start(scene.command(&args).env("PORTCULLIS_LOG", "debug")).done();
    let audit = fs::read_to_string(scene.audit_file()).unwrap_or_default();
    for (what, text) in [("standard output", done.stdout()), ("standard error", done.stderr), ("the audit log", audit)] {
        assert!(!text.contains(&secret()), "in {what}: {text}");
    }
}

// ── audit ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const DECISION_KEYS: [&str; 18] = [
    "client",
    "code",
    "decision",
    "event",
    "job_id",
    "message",
    "number",
    "policies",
    "policy",
    "previous",
    "principal",
    "question",
    "request",
    "runs",
    "sent",
    "set",
    "subject",
    "time",
];
const END_KEYS: [&str; 17] = [
    "command",
    "ended",
    "event",
    "exit_code",
    "fault",
    "job_id",
    "number",
    "previous",
    "principal",
    "redacted",
    "signal",
    "started",
    "state",
    "stderr_bytes",
    "stdout_bytes",
    "submitted",
    "time",
];

#[test]
fn allow_and_deny_are_recorded_with_the_same_fields() {
    let scene = Scene::new();
    scene.portcullis(["run", "--", "git", "log", "-1"]).expect(0);
    scene.portcullis(["run", "--", "rm", "x"]).expect(126);
    scene.portcullis(["run", "-c", "ls |"]).expect(126);
    let audit = scene.audit();
    let [allowed, ended, denied, unparsed] = audit.as_slice() else { panic!("{audit:?}") };
    for line in [allowed, denied, unparsed] {
        assert_eq!(keys(line), DECISION_KEYS);
        assert_eq!(
            (&line["event"], &line["subject"], &line["client"]),
            (&"decision".into(), &"command".into(), &"portcullis".into())
        );
    }
    assert_eq!(
        (&allowed["decision"], &allowed["sent"], &allowed["policy"]),
        (&"allow".into(), &"git log -1".into(), &Value::Null)
    );
    assert!(allowed["runs"].as_str().unwrap().contains("--no-pager"), "{allowed}");
    let verdicts: BTreeSet<_> = allowed["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["round"].as_u64(), answer["policy"].as_str(), answer["verdict"].as_str()))
        .collect();
    assert!(verdicts.contains(&(Some(1), Some("harden"), Some("rewrite"))), "{allowed}");
    assert_eq!(keys(ended), END_KEYS);
    assert_eq!(
        (&ended["event"], &ended["job_id"], &ended["state"]),
        (&"job_end".into(), &allowed["job_id"], &"completed".into())
    );
    assert_eq!((&ended["exit_code"], &ended["signal"]), (&0.into(), &Value::Null));
    assert!(ended["stdout_bytes"].as_u64().unwrap() > 0, "{ended}");
    assert_eq!((&denied["decision"], &denied["job_id"]), (&"deny".into(), &Value::Null));
    assert_eq!((&denied["policy"], &denied["code"]), (&"allowlist".into(), &"program-not-allowed".into()));
    assert_eq!((&unparsed["decision"], &unparsed["policy"], &unparsed["runs"]), (&"deny".into(), &Value::Null, &Value::Null));
}

#[test]
fn a_decision_is_recorded_before_its_effect() {
    let scene = Scene::open("");
    let done = scene.portcullis(["run".as_ref(), "--".as_ref(), "cat".as_ref(), scene.audit_file().as_os_str()]).expect(0);
    let seen = json_lines(&done.stdout());
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0]["event"], &seen[0]["decision"]), (&"decision".into(), &"allow".into()));
    assert_eq!(scene.audit()[0], seen[0]);
}

#[test]
fn the_audit_log_is_for_its_owner_alone() {
    let scene = Scene::new();
    scene.portcullis(["run", "--", "true"]).expect(0);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scene.audit_file()), 0o600);
    assert_eq!(mode(scene.audit_file().parent().unwrap()), 0o700);
}

#[test]
fn what_can_not_be_recorded_does_not_happen() {
    let scene = Scene::configured(&format!("[audit]\nmax_bytes = 0\n{OPEN}"));
    let done = Running::start(&mut scene.command_with_a_full_log(&["run", "--", "touch", "made"])).done().expect(126);
    assert!(done.stderr.contains("[audit-unavailable]"), "{}", done.stderr);
    assert!(done.stderr.contains("audit.jsonl: File too large"), "{}", done.stderr);
    assert!(!scene.root().join("made").exists());
}

// ── signals and broken pipes ───────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::interrupt(Signal::INT, 128 + 2)]
#[case::terminate(Signal::TERM, 128 + 15)]
fn a_signal_to_run_stops_the_command(#[case] signal: Signal, #[case] code: i32) {
    let scene = Scene::open("");
    let mut running = start_and_read(&scene, "sh -c 'echo $$; exec sleep 1000'");
    let job = running.pid();
    running.process.signal(signal);
    running.process.done().expect(code);
    gone(job);
    assert_eq!(scene.audit().last().unwrap()["state"], "killed");
}

#[test]
fn a_signal_just_after_the_start_stops_the_command_too() {
    let scene = Scene::open("");
    for _ in 0..10 {
        let mut command = scene.command(["run", "--", "sleep", "1000"]);
        let mut process = Running::start_unread(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.child().stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("allowed"), "{line}");
        process.signal(Signal::TERM);
        process.done().expect(128 + 15);
        scene.deserted();
    }
}

#[test]
fn run_stops_the_command_when_nobody_reads_any_more() {
    let scene = Scene::open("");
    let mut running = start_and_read(&scene, "sh -c 'echo $$; exec yes'");
    let job = running.pid();
    drop(running.stdout);
    running.process.done().expect(128 + 13);
    gone(job);
}

#[rstest]
#[case::run(&["run", "--", "echo", "hello"], "hello\n")]
#[case::denied(&["check", "ls"], "allow")]
fn a_full_standard_error_is_no_failure(#[case] args: &[&str], #[case] expected: &str) {
    let scene = Scene::open("");
    let out = scene.base().join("out");
    let mut command = scene.command(args);
    command.stdout(File::create(&out).unwrap()).stderr(File::options().write(true).open("/dev/full").unwrap());
    Running::start_unread(&mut command).done().expect(0);
    assert!(fs::read_to_string(out).unwrap().starts_with(expected));
}

#[rstest]
#[case::run_denied(&["run", "--", "rm", "x"], 126)]
#[case::run_not_found(&["run", "--", "no-such-program-here"], 127)]
#[case::wrong_usage(&["jump"], 3)]
#[case::wrong_configuration(&["--config", "/nowhere.toml", "config", "check"], 3)]
fn a_full_standard_error_does_not_change_the_exit_code(#[case] args: &[&str], #[case] code: i32) {
    let scene = Scene::new();
    let mut command = scene.command(args);
    command.stdout(Stdio::null()).stderr(File::options().write(true).open("/dev/full").unwrap());
    Running::start_unread(&mut command).done().expect(code);
}

#[rstest]
#[case::check(&["check", "ls"], 125)]
#[case::config_check(&["config", "check"], 125)]
fn a_result_that_can_not_be_written_is_a_failure_of_portcullis(#[case] args: &[&str], #[case] code: i32) {
    let scene = Scene::new();
    let mut command = scene.command(args);
    command.stdout(File::options().write(true).open("/dev/full").unwrap()).stderr(Stdio::null());
    Running::start_unread(&mut command).done().expect(code);
}

// ── help ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::portcullis("help/portcullis.txt", &[])]
#[case::serve("help/serve.txt", &["serve"])]
#[case::run("help/run.txt", &["run"])]
#[case::check("help/check.txt", &["check"])]
#[case::config("help/config.txt", &["config"])]
#[case::config_check("help/config-check.txt", &["config", "check"])]
#[case::audit("help/audit.txt", &["audit"])]
#[case::audit_show("help/audit-show.txt", &["audit", "show"])]
#[case::audit_verify("help/audit-verify.txt", &["audit", "verify"])]
#[case::audit_replay("help/audit-replay.txt", &["audit", "replay"])]
#[case::policy("help/policy.txt", &["policy"])]
#[case::config_schema("help/config-schema.txt", &["config", "schema"])]
#[case::policy_test("help/policy-test.txt", &["policy", "test"])]
#[case::policy_inspect("help/policy-inspect.txt", &["policy", "inspect"])]
#[case::policy_bench("help/policy-bench.txt", &["policy", "bench"])]
#[case::policy_new("help/policy-new.txt", &["policy", "new"])]
#[case::policy_build("help/policy-build.txt", &["policy", "build"])]
#[case::policy_import("help/policy-import.txt", &["policy", "import"])]
fn help_teaches(#[case] golden: &str, #[case] verb: &[&str]) {
    // Broken, since help must be had where it is needed.
    let done = Scene::configured(BROKEN).portcullis(verb.iter().chain(&["--help"])).expect(0);
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    assert_golden(golden, &done.stdout());
}

// ── small things ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// `portcullis run` of a script whose output the test reads.
struct Reading {
    process: Running,
    stdout: BufReader<std::process::ChildStdout>,
}

fn start_and_read(scene: &Scene, script: &str) -> Reading {
    let mut process = Running::start_unread(scene.command(["run", "-c", script]).stdout(Stdio::piped()).stderr(Stdio::null()));
    let stdout = BufReader::new(process.child().stdout.take().unwrap());
    Reading { process, stdout }
}

impl Reading {
    /// The process id that the script prints first.
    fn pid(&mut self) -> u32 {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| {
            let mut rest = String::new();
            drop(self.stdout.read_to_string(&mut rest));
            panic!("{line}{rest}")
        })
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn run_passes_all_output_on_however_slow_its_reader_is() {
    let scene = Scene::open("");
    let lines: String = (0..250_000).map(|line| format!("{line:07}\n")).collect();
    std::fs::write(scene.root().join("lines"), &lines).unwrap();
    let mut command = scene.command(["run", "--", "cat", "lines"]);
    let mut process = Running::start_unread(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut stdout = process.child().stdout.take().unwrap();
    // Until the command has long ended but for what it could not pass on.
    within(Duration::from_secs(10), "the command ends", || {
        scene.processes().iter().all(|pid| *pid == process.child().id()).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500));
    let mut read = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut read).unwrap();
    assert_eq!(read.len(), lines.len());
    process.done().expect(0);
}

#[test]
fn a_signal_stops_run_though_nobody_reads() {
    let scene = Scene::open("");
    let mut command = scene.command(["run", "--", "yes"]);
    let mut process = Running::start_unread(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(process.child().stderr.take().unwrap()).read_line(&mut line).unwrap();
    process.signal(Signal::TERM);
    process.done().expect(128 + 15);
    scene.deserted();
}

#[test]
fn inherited_descriptors_do_not_reach_the_command() {
    let scene = Scene::open("");
    let program = env!("CARGO_BIN_EXE_portcullis");
    let command = scene.command(["run", "--", "ls", "/proc/self/fd"]);
    let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_os_string).collect();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 9>/dev/null; exec \"$@\"", "sh", program]).args(args);
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    let done = shell.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // 3 is the directory that `ls` itself has open.
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "0\n1\n2\n3\n");
}

#[test]
fn a_damaged_cache_is_compiled_again() {
    let scene = Scene::new();
    let cache = scene.base().join("own-cache");
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&cache).unwrap();
    scene.configure(&format!("[cache]\npath = {cache:?}\n{OPEN}"));
    scene.portcullis(["check", "ls"]).expect(0);
    for file in std::fs::read_dir(&cache).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let done = scene.portcullis(["check", "ls"]).expect(0);
    assert!(done.stderr.contains("damaged"), "{}", done.stderr);
}

#[test]
fn an_audit_log_that_was_moved_away_is_begun_anew() {
    let scene = Scene::open("");
    let mut wire = crate::support::wire::Wire::open(&scene);
    let job = wire.execute("true");
    wire.ended(&job);
    let is_end = |line: &serde_json::Value| line["event"] == "job_end";
    crate::support::eventually("its end is recorded", || scene.audit().iter().any(is_end).then_some(()));
    std::fs::rename(scene.audit_file(), scene.base().join("old.jsonl")).unwrap();
    wire.execute("echo again");
    assert_eq!(scene.audit()[0]["sent"], "echo again");
}
