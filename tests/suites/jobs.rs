//! What mcp-background-job gets wrong and what is right here: a test per row of the list of its behaviours, named after the row,
//! with real processes. Elsewhere: 4 (scripts) in `corpora`, more of 12 (terminals, keys) and 15 (the queue), 22 (paging) and 23
//! (order) in `output`, SIGKILL of 9 in `history` and `start`; 29 is a benchmark.

use std::{
    fs,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    eventually, gone,
    scene::{Running, Scene},
    secret, signal,
    wire::Wire,
    within,
};

/// What "within milliseconds" means on a slow machine that runs many tests, beside a wait of five seconds.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Ignores TERM, says its id, and goes on for ever.
const STUBBORN: &str = "trap \"\" TERM; echo $$; while :; do sleep 1000; done";

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn time(value: &Value) -> DateTime<Utc> {
    text(value).parse().unwrap()
}

#[test]
fn row_01_jobs_start_in_the_configured_directory() {
    let scene = Scene::new();
    let project = scene.root().join("project");
    fs::create_dir(&project).unwrap();
    scene.configure(&format!("[jobs]\nroots = [{:?}]\ncwd = {project:?}\n{}", scene.root(), crate::support::scene::OPEN));
    let mut wire = Wire::open(&scene);
    let job = wire.execute("pwd");
    wire.ended(&job);
    assert_eq!(wire.output(&job)["stdout"], format!("{}\n", project.display()));
}

#[test]
fn row_01_the_seeds_variable_is_heeded() {
    let scene = Scene::new();
    let project = scene.root().join("project");
    fs::create_dir(&project).unwrap();
    let mut command = scene.command(["run", "--", "pwd"]);
    let done = Running::start(command.env("MCP_BG_WORKING_DIR", &project)).done().expect(0);
    assert_eq!(done.stdout(), format!("{}\n", project.display()));
}

#[test]
fn row_02_a_job_past_its_time_is_stopped() {
    let scene = Scene::open("timeout_s = 1\ngrace_ms = 100");
    let mut wire = Wire::open(&scene);
    let (meek, stubborn) = (wire.execute("sleep 1000"), wire.sh(STUBBORN));
    for (job, signal) in [(meek, 15), (stubborn, 9)] {
        let status = wire.ended(&job);
        assert_eq!((&status["status"], &status["signal"]), (&"timed_out".into(), &signal.into()), "{status}");
        assert!((1000..5000).contains(&number(&status["duration_ms"])), "{status}");
        assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "already_terminated");
    }
}

#[test]
fn row_02_the_seeds_timeout_is_heeded() {
    let scene = Scene::new();
    let mut command = scene.command(["run", "--", "git", "cat-file", "--batch"]);
    let status = Running::start(command.env("MCP_BG_JOB_TIMEOUT", "-1")).done().expect(3);
    assert!(status.stderr.contains("MCP_BG_JOB_TIMEOUT"), "{}", status.stderr);
    let mut wire = Wire::start_with(&scene, &[("MCP_BG_JOB_TIMEOUT", "1")]);
    wire.initialize();
    let job = wire.execute("cat");
    assert_eq!(wire.ended(&job)["status"], "timed_out");
}

#[test]
fn row_02_finished_jobs_are_forgotten_after_the_configured_time() {
    let scene = Scene::open("keep_finished_s = 1");
    let mut wire = Wire::open(&scene);
    let (finished, running) = (wire.execute("true"), wire.execute("sleep 1000"));
    wire.ended(&finished);
    // Asking for it must not be what keeps it, nor must it take a call of another tool to lose it.
    within(Duration::from_secs(10), "the job is forgotten", || {
        let answer = wire.call("get_job_status", json!({ "job_id": finished }));
        (answer["isError"] == true).then_some(())
    });
    assert_eq!(wire.status(&running)["status"], "running");
    assert_eq!(wire.tell("list_jobs", json!({}))["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn row_02_finished_jobs_are_forgotten_beyond_the_configured_count() {
    let scene = Scene::open("keep_finished = 2");
    let mut wire = Wire::open(&scene);
    let running = wire.execute("sleep 1000");
    let jobs: Vec<_> = (0..4)
        .map(|number| {
            let job = wire.execute(&format!("echo {number}"));
            wire.ended(&job);
            job
        })
        .collect();
    let listed = wire.tell("list_jobs", json!({}));
    let listed: Vec<_> = listed["jobs"].as_array().unwrap().iter().map(|job| text(&job["job_id"])).collect();
    assert_eq!(listed, [&jobs[3], &jobs[2], &running]);
}

#[test]
fn row_03_one_bad_variable_stops_the_start() {
    let scene = Scene::new();
    let mut command = scene.command(["serve"]);
    command.envs([("MCP_BG_MAX_JOBS", "0"), ("MCP_BG_MAX_OUTPUT_SIZE", "lots"), ("MCP_BG_JOB_TIMEOUT", "5")]);
    let done = Running::start(&mut command).done().expect(3);
    assert!(done.stdout.is_empty());
    for name in ["MCP_BG_MAX_JOBS: ", "MCP_BG_MAX_OUTPUT_SIZE: "] {
        assert!(done.stderr.contains(name), "{}", done.stderr);
    }
}

#[rstest]
#[case::list("echo one && echo two || echo three", "one\ntwo\n")]
#[case::pipe("printf \"%s\\n\" b a | sort", "a\nb\n")]
#[case::redirection("echo kept >kept.log; cat <kept.log", "kept\n")]
#[case::variable("echo $PLACE", "here\n")]
#[case::pattern("echo *.txt", "notes.txt\n")]
#[case::substitution("echo $(echo inner)", "inner\n")]
fn row_04_shell_commands_have_a_shell(#[case] command: &str, #[case] printed: &str) {
    let scene = Scene::open("env.set = { PLACE = \"here\" }");
    let mut wire = Wire::open(&scene);
    let job = wire.execute(command);
    assert_eq!(wire.ended(&job)["status"], "completed");
    assert_eq!(wire.output(&job)["stdout"], printed);
}

#[test]
fn row_05_a_byte_that_is_not_utf_8_hangs_nothing() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("printf \"a\\377b\\n\"; head -c 300000 /dev/zero | tr \"\\000\" \"\\376\"; echo; echo end");
    assert_eq!(wire.ended(&job)["status"], "completed");
    let output = wire.output(&job);
    assert_eq!(output["lossy"], true);
    let stdout = text(&output["stdout"]);
    assert!(stdout.starts_with("a\u{fffd}b\n\u{fffd}") && stdout.ends_with("\u{fffd}\nend\n"));
    assert_eq!(stdout.matches('\u{fffd}').count(), 300_001);
    let clean = wire.execute("echo é");
    wire.ended(&clean);
    assert_eq!((&wire.output(&clean)["stdout"], &wire.output(&clean)["lossy"]), (&"é\n".into(), &false.into()));
}

#[test]
fn row_06_other_calls_answer_during_a_kill() {
    let scene = Scene::open("grace_ms = 5000");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(STUBBORN);
    let pid = wire.printed_pid(&job);
    let killing = wire.begin("kill_job", json!({ "job_id": job }));
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(wire.request("ping", json!({}))["result"], json!({}));
        assert_eq!(wire.status(&job)["status"], "running");
        let other = wire.execute("true");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        wire.ended(&other);
    }
    let killed = wire.result(killing);
    assert_eq!(killed["structuredContent"]["status"], "killed");
    gone(pid);
    assert_eq!(wire.status(&job)["signal"], 9);
}

#[test]
fn row_07_the_whole_tree_is_stopped() {
    let scene = Scene::open("grace_ms = 200");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("sh -c \"sleep 1000 & echo \\$!; wait\" & trap \"\" TERM; sleep 1000 & echo $!; echo $$; wait; wait");
    let printed = wire.printed(&job, |stdout| stdout.lines().count() == 3);
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
    for pid in printed.lines() {
        gone(pid.parse().unwrap());
    }
}

#[test]
fn row_07_what_a_job_leaves_behind_ends_with_it() {
    let scene = Scene::open("grace_ms = 200");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("sleep 1000 >/dev/null 2>&1 & echo $!; (trap \"\" TERM; echo behind; exec sleep 1000) & exit 3");
    let pid = wire.printed_pid(&job);
    let status = wire.ended(&job);
    assert_eq!((&status["status"], &status["exit_code"]), (&"failed".into(), &3.into()));
    gone(pid);
    scene.deserted();
}

#[rstest]
#[case::left_behind("exit 0", "completed")]
#[case::killed("wait", "killed")]
fn row_07_children_have_the_grace_period_too(#[case] leader: &str, #[case] state: &str) {
    let scene = Scene::open("grace_ms = 5000");
    let mut wire = Wire::open(&scene);
    // Several, since what comes first, the end of the leader or of its output, is chance.
    let jobs: Vec<_> = (0..5)
        .map(|number| {
            let child = format!("exec >/dev/null 2>&1; trap \"sleep 0.3; echo x >tidy{number}; exit\" TERM; echo x >up{number}; while :; do sleep 0.05; done");
            wire.sh(&format!("({child}) & while [ ! -e up{number} ]; do sleep 0.01; done; {leader}"))
        })
        .collect();
    for (number, job) in jobs.iter().enumerate() {
        eventually("the child is up", || scene.root().join(format!("up{number}")).exists().then_some(()));
        if state == "killed" {
            wire.tell("kill_job", json!({ "job_id": job }));
        }
        assert_eq!(wire.ended(job)["status"], state);
        assert!(scene.root().join(format!("tidy{number}")).exists(), "child {number} was killed before its time was up");
    }
}

#[test]
fn row_07_a_kill_takes_no_longer_than_the_tree_does() {
    let scene = Scene::open("grace_ms = 20000");
    let mut wire = Wire::open(&scene);
    for _ in 0..5 {
        let job = wire.sh("sleep 1000 & echo $!; wait");
        wire.printed_pid(&job);
        let asked = Instant::now();
        assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

#[test]
fn row_08_all_jobs_are_stopped_at_once() {
    let scene = Scene::open("grace_ms = 1000");
    let mut wire = Wire::open(&scene);
    let jobs: Vec<_> = (0..6).map(|_| wire.sh(STUBBORN)).collect();
    let pids: Vec<_> = jobs.iter().map(|job| wire.printed_pid(job)).collect();
    wire.hang_up();
    // One after another they would take six times the grace period.
    assert!(wire.exit_within(Duration::from_secs(3)).success(), "{}", wire.stderr());
    pids.into_iter().for_each(gone);
}

#[rstest]
#[case::standard_input_ends(None, 0)]
#[case::terminated(Some(Signal::TERM), 128 + 15)]
fn row_09_no_process_outlives_the_server(#[case] by: Option<Signal>, #[case] code: i32) {
    let scene = Scene::open("grace_ms = 300");
    let mut wire = Wire::open(&scene);
    let stubborn = wire.sh(STUBBORN);
    let tree = wire.sh("sleep 1000 & echo $!; sleep 1000");
    let pids = [wire.printed_pid(&stubborn), wire.printed_pid(&tree)];
    match by {
        None => wire.hang_up(),
        Some(by) => signal(wire.pid(), by),
    }
    assert_eq!(wire.exit_within(Duration::from_secs(2)).code(), Some(code), "{}", wire.stderr());
    pids.into_iter().for_each(gone);
    scene.deserted();
}

#[rstest]
#[case::many_lines("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", 18_890)]
#[case::one_line("head -c 100000 /dev/zero | tr \"\\000\" x", 100_000)]
#[case::exactly("head -c 1024 /dev/zero | tr \"\\000\" x", 1024)]
#[case::one_more("head -c 1025 /dev/zero | tr \"\\000\" x", 1025)]
fn row_10_limits_are_bytes(#[case] script: &str, #[case] printed: u64) {
    let scene = Scene::open("output_bytes = 1024");
    let mut wire = Wire::open(&scene);
    let (out, err) = (wire.sh(script), wire.sh(&format!("({script}) >&2")));
    for (job, stream) in [(out, "stdout"), (err, "stderr")] {
        wire.ended(&job);
        let output = wire.output(&job);
        assert_eq!((number(&output["total_bytes"]), number(&output["dropped_bytes"])), (printed, printed - 1024));
        let marker = format!("[portcullis: {} bytes with ", printed - 1024);
        assert_eq!(text(&output[stream]).contains(&marker), printed > 1024, "{output}");
    }
}

#[test]
fn row_10_the_end_is_what_is_kept() {
    let scene = Scene::open("output_bytes = 1024");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("seq 5000");
    wire.ended(&job);
    let all = wire.output(&job);
    assert!(text(&all["stdout"]).ends_with("\n4999\n5000\n"));
    let tail = wire.tell("tail_job_output", json!({ "job_id": job, "lines": 2 }));
    assert_eq!((&tail["stdout"], &tail["dropped_bytes"], &tail["truncated"]), (&"4999\n5000\n".into(), &0.into(), &true.into()));
    let more = wire.tell("tail_job_output", json!({ "job_id": job, "lines": 1000 }));
    assert!(text(&more["stdout"]).starts_with("[portcullis: "), "{more}");
    assert_eq!((&more["dropped_bytes"], &more["next_cursor"]), (&all["dropped_bytes"], &all["next_cursor"]));
}

#[test]
fn row_11_a_prompt_is_visible() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("printf \"name? \"; read name; printf \"hello %s\\n\" $name");
    assert_eq!(wire.printed(&job, |stdout| !stdout.is_empty()), "name? ");
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "input": "Ada" }));
    assert_eq!(answer["stdout"], "hello Ada\n");
}

#[test]
fn row_11_an_endless_line_is_shown_and_bounded() {
    let scene = Scene::open("output_bytes = 65536");
    let mut wire = Wire::open(&scene);
    // No beginning of a secret: such a one would be held back.
    let job = wire.sh("head -c 5000000 /dev/zero | tr \"\\000\" .; exec sleep 1000");
    let output = eventually("all of the line is taken in", || {
        let output = wire.output(&job);
        (number(&output["total_bytes"]) == 5_000_000).then_some(output)
    });
    assert_eq!(number(&output["dropped_bytes"]), 5_000_000 - 65536);
    assert_eq!(text(&output["stdout"]).bytes().filter(|byte| *byte == b'.').count(), 65536);
}

#[test]
fn row_11_bytes_are_not_changed() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("printf \"10%%\\r20%%\\r\\n\\033[1mbold\\033[0m\\ttab\\000\\001end\"");
    wire.ended(&job);
    assert_eq!(wire.output(&job)["stdout"], "10%\r20%\r\n\u{1b}[1mbold\u{1b}[0m\ttab\0\u{1}end");
}

#[test]
fn row_12_interaction_returns_when_the_output_falls_silent() {
    let scene = Scene::open("output_bytes = 1024");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("seq 1000; while read line; do echo got $line; echo err $line >&2; done");
    wire.printed(&job, |stdout| stdout.ends_with("1000\n"));
    let asked = Instant::now();
    // The buffer is full; what comes after the input is given all the same, and nothing else.
    for word in ["one", "two"] {
        let answer = wire.tell("interact_with_job", json!({ "job_id": job, "input": word, "wait_ms": 30_000 }));
        assert_eq!((&answer["stdout"], &answer["stderr"]), (&format!("got {word}\n").into(), &format!("err {word}\n").into()));
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn row_12_a_wait_ends_when_nothing_comes() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "input": "x", "wait_ms": 50 }));
    assert_eq!((&answer["stdout"], &answer["status"]), (&"".into(), &"running".into()));
}

#[test]
fn row_12_the_newline_is_optional_and_input_can_be_closed() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("wc -c");
    wire.tell("interact_with_job", json!({ "job_id": job, "input": "12345", "newline": false, "wait_ms": 0 }));
    let answer = wire.tell("interact_with_job", json!({ "job_id": job, "input": "", "newline": false, "close": true }));
    assert_eq!(text(&answer["stdout"]).trim(), "5");
    assert_eq!(wire.ended(&job)["status"], "completed");
}

#[test]
fn row_13_input_to_a_job_that_does_not_read_blocks_nobody() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let writing = wire.begin("interact_with_job", json!({ "job_id": job, "input": "x".repeat(200_000) }));
    for _ in 0..3 {
        let asked = Instant::now();
        wire.status(&job);
        let other = wire.execute("true");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        wire.ended(&other);
    }
    let refused = wire.result(writing);
    assert_eq!(refused["isError"], true);
    assert!(text(&refused["content"][0]["text"]).contains("did not read its input"), "{refused}");
    assert_eq!(wire.tell("kill_job", json!({ "job_id": job }))["status"], "killed");
}

#[test]
fn row_13_input_beyond_what_can_be_sent_is_refused() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("cat");
    let refused = wire.refused("interact_with_job", json!({ "job_id": job, "input": "x".repeat(300_000) }));
    assert!(refused.contains("[too-long]"), "{refused}");
    assert_eq!(wire.output(&job)["stdout"], "");
}

#[test]
fn row_14_every_input_goes_through_the_policies() {
    // The shipped policies allow no shell, and a policy that is asked sees each input.
    let scene = Scene::new();
    Wire::open(&scene).refused("execute_command", json!({ "command": "bash" }));
    let scene = Scene::with_guest(r#"{ input = "deny" }"#);
    let mut wire = Wire::open(&scene);
    let job = wire.execute("cat");
    let refused = wire.refused("interact_with_job", json!({ "job_id": job, "input": "rm -rf /" }));
    assert!(refused.contains("policy \"guest\" [misbehaving]"), "{refused}");
    assert_eq!(wire.output(&job)["stdout"], "");
}

#[test]
fn row_15_a_finished_job_does_not_count() {
    let scene = Scene::open("max_running = 1");
    let mut wire = Wire::open(&scene);
    for number in 0..5 {
        wire.sh(&format!("echo x >done{number}"));
        // Nobody asks for the job; the next one starts as soon as the system says this one ended.
        eventually("the job is done", || scene.root().join(format!("done{number}")).exists().then_some(()));
        eventually("there is room again", || {
            let answer = wire.call("execute_command", json!({ "command": "true" }));
            (answer["isError"] != true).then_some(())
        });
        eventually("there is room again", || {
            let list = wire.tell("list_jobs", json!({}));
            list["jobs"].as_array().unwrap().iter().all(|job| job["status"] != "running").then_some(())
        });
    }
}

#[test]
fn row_16_a_final_state_never_changes() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let killed = wire.execute("sleep 1000");
    wire.tell("kill_job", json!({ "job_id": killed }));
    let obliging = wire.sh("trap \"exit 0\" TERM; echo up; while :; do sleep 0.01; done");
    wire.printed(&obliging, |stdout| stdout == "up\n");
    wire.tell("kill_job", json!({ "job_id": obliging }));
    let failed = wire.execute("false");
    let first = [(&killed, "killed"), (&obliging, "killed"), (&failed, "failed")].map(|(job, state)| {
        let status = wire.ended(job);
        assert_eq!(status["status"], state, "{status}");
        status
    });
    for _ in 0..3 {
        for status in &first {
            let job = text(&status["job_id"]);
            wire.tell("kill_job", json!({ "job_id": job }));
            wire.output(job);
            assert_eq!(&wire.status(job), status);
        }
    }
}

#[test]
fn row_16_death_by_anothers_signal_is_a_failure() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let pid = u32::try_from(number(&wire.status(&job)["pid"])).unwrap();
    signal(pid, Signal::TERM);
    let status = wire.ended(&job);
    assert_eq!((&status["status"], &status["signal"], &status["exit_code"]), (&"failed".into(), &15.into(), &Value::Null));
}

#[rstest]
#[case::success("exit 0", "completed", json!(0), Value::Null)]
#[case::failure("exit 3", "failed", json!(3), Value::Null)]
#[case::signal("kill -SEGV $$", "failed", Value::Null, json!(11))]
fn row_17_everything_about_an_end_can_be_asked_for(
    #[case] script: &str,
    #[case] state: &str,
    #[case] exit_code: Value,
    #[case] signal: Value,
) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh(script);
    let status = wire.ended(&job);
    assert_eq!((&status["status"], &status["exit_code"], &status["signal"]), (&state.into(), &exit_code, &signal));
    assert!(number(&status["pid"]) > 1, "{status}");
    let took = time(&status["ended"]) - time(&status["started"]);
    assert!((took.num_milliseconds() - status["duration_ms"].as_i64().unwrap()).abs() <= 1, "{status}");
    assert_eq!(wire.tell("list_jobs", json!({}))["jobs"], json!([status]));
}

#[test]
fn row_18_the_end_is_the_moment_of_the_exit() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("date +%s.%N");
    wire.ended(&job);
    let exit: f64 = text(&wire.output(&job)["stdout"]).trim().parse().unwrap();
    // Asked again later it is the same.
    let status = wire.status(&job);
    let ended = time(&status["ended"]).timestamp_micros() as f64 / 1e6;
    assert!((exit - 0.001..exit + 0.5).contains(&ended), "{exit} {status}");
}

#[test]
fn row_18_what_a_job_leaves_behind_does_not_delay_its_end() {
    let scene = Scene::open("grace_ms = 3000");
    let mut wire = Wire::open(&scene);
    // The output ends before the job does, and a process stays in its group.
    let job = wire.sh("trap \"\" TERM; sleep 1000 >/dev/null 2>&1 & exec >/dev/null 2>&1; sleep 0.3; date +%s.%N >exit");
    let status = wire.ended(&job);
    let exit: f64 = fs::read_to_string(scene.root().join("exit")).unwrap().trim().parse().unwrap();
    let ended = time(&status["ended"]).timestamp_micros() as f64 / 1e6;
    assert!((exit - 0.001..exit + 1.0).contains(&ended), "ended {:.3} s after the exit: {status}", ended - exit);
}

#[test]
fn row_19_a_final_job_has_all_its_output() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    for round in 0..60 {
        let job = wire.sh("seq 2000; echo err >&2; echo last");
        wire.ended(&job);
        let output = wire.output(&job);
        assert!(text(&output["stdout"]).ends_with("\n2000\nlast\n"), "round {round}");
        assert_eq!(output["stderr"], "err\n", "round {round}");
    }
}

#[test]
fn row_19_output_of_a_child_that_outlives_its_parent_is_waited_for() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("trap \"\" TERM; (sleep 0.3; echo late) & echo early");
    wire.ended(&job);
    assert_eq!(wire.output(&job)["stdout"], "early\nlate\n");
}

#[test]
fn row_20_record_and_output_are_forgotten_together() {
    let scene = Scene::open("keep_finished = 1");
    let mut wire = Wire::open(&scene);
    let first = wire.execute("echo first");
    wire.ended(&first);
    assert_eq!(wire.output(&first)["stdout"], "first\n");
    let second = wire.execute("echo second");
    wire.ended(&second);
    wire.tell("list_jobs", json!({}));
    for tool in ["get_job_status", "get_job_output", "tail_job_output"] {
        let said = wire.refused(tool, json!({ "job_id": first }));
        assert!(said.contains("forgotten"), "{said}");
    }
}

#[test]
fn row_21_no_descriptor_is_left_and_no_thread_per_job() {
    let scene = Scene::open("max_running = 40\nkeep_finished = 1000");
    let mut wire = Wire::open(&scene);
    let count = |wire: &Wire, what: &str| fs::read_dir(format!("/proc/{}/{what}", wire.pid())).unwrap().count();
    let warm = wire.execute("true");
    wire.ended(&warm);
    let descriptors = count(&wire, "fd");
    for _ in 0..30 {
        let job = wire.execute("true");
        wire.ended(&job);
    }
    eventually("all descriptors of finished jobs are closed", || (count(&wire, "fd") <= descriptors).then_some(()));
    let threads = count(&wire, "task");
    for _ in 0..30 {
        wire.execute("sleep 1000");
    }
    eventually("30 running jobs take no thread each", || (count(&wire, "task") < threads + 10).then_some(()));
}

#[test]
fn row_24_a_command_is_judged_as_it_is_parsed() {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    for command in ["rm -fr /", "find / -delete", "find . -delete", "find . -exec rm {} +", "git clean -fdx"] {
        wire.refused("execute_command", json!({ "command": command }));
    }
    for command in ["git log --grep=fdisk", "grep -rn rm notes.txt", "echo rm /"] {
        let job = wire.execute(command);
        wire.ended(&job);
    }
}

#[test]
fn row_25_a_rule_is_no_substring() {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    for command in [
        "rm -r x # echo",
        "lsof",
        "lsblk",
        "echo x; rm -r x",
        "echo `rm -r x`",
        "\"echo \" x",
        "./ls",
        "git -c alias.log=!sh log",
    ] {
        wire.refused("execute_command", json!({ "command": command }));
    }
}

#[test]
fn row_26_a_job_gets_only_the_configured_environment() {
    let scene = Scene::open("[jobs.env]\npass = [\"COLOR\"]\nset = { MODE = \"test\" }");
    let mut wire = Wire::start_with(&scene, &[("COLOR", "blue"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("LD_PRELOAD_OF_MINE", "x")]);
    wire.initialize();
    let job = wire.execute("env");
    wire.ended(&job);
    let output = wire.output(&job);
    let mut names: Vec<_> = text(&output["stdout"]).lines().map(|line| line.split_once('=').unwrap()).collect();
    // These two are the gate's own: where programs are looked up, and how far up git may look for a repository.
    names.retain(|(name, _)| !["PATH", "GIT_CEILING_DIRECTORIES"].contains(name));
    names.sort_unstable();
    assert_eq!(names, [("COLOR", "blue"), ("MODE", "test")]);
}

#[test]
fn row_27_logs_pass_the_output_filters() {
    let scene = Scene::open("");
    let mut wire = Wire::start_with(&scene, &[("PORTCULLIS_LOG", "debug")]);
    wire.initialize();
    let started = wire.tell("execute_command", json!({ "command": format!("echo {}", secret()) }));
    let job = text(&started["job_id"]).to_owned();
    wire.ended(&job);
    let cat = wire.execute("cat");
    let echoed = wire.tell("interact_with_job", json!({ "job_id": cat, "input": secret() }));
    let refused = wire.refused("execute_command", json!({ "command": format!("no-such-{}", secret()) }));
    let all = [started.to_string(), wire.output(&job).to_string(), echoed.to_string(), refused];
    let lists = wire.tell("list_jobs", json!({})).to_string();
    wire.close();
    let audit = fs::read_to_string(scene.audit_file()).unwrap();
    for text in all.iter().chain([&lists, &audit, &wire.stderr()]) {
        assert!(!text.contains(&secret()), "{text}");
    }
    assert!(audit.contains("[redacted: "), "{audit}");
}

#[test]
fn row_28_tools_are_annotated() {
    let scene = Scene::new();
    let tools = Wire::open(&scene).request("tools/list", json!({}))["result"]["tools"].clone();
    for tool in tools.as_array().unwrap() {
        let reads = !["execute_command", "interact_with_job", "kill_job"].contains(&text(&tool["name"]));
        let notes = &tool["annotations"];
        assert_eq!((&notes["readOnlyHint"], &notes["destructiveHint"]), (&reads.into(), &(!reads).into()), "{tool}");
        assert!(notes["title"].is_string() && tool["outputSchema"].is_object() && tool["description"].is_string(), "{tool}");
    }
}
