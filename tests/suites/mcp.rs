//! The server as a client sees it: rmcp's own, over a child process, in both eras of the protocol.

use std::{
    fs,
    time::{Duration, Instant},
};

use rmcp::model::CallToolResult;
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    client::{Client, Era, text},
    golden::assert_golden_json,
    gone, is_alive,
    scene::{COMMIT, Scene},
    secret, signal,
    wire::Wire,
};

/// What "at once" means beside a wait of seconds, on a slow machine.
const AT_ONCE: Duration = Duration::from_secs(1);

// ── the surface ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn the_tools_are_the_promised_ones(#[case] era: Era) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    let server = client.server();
    assert_eq!((server.name.as_str(), server.version.as_str()), ("portcullis", env!("CARGO_PKG_VERSION")));
    assert_golden_json("tools.json", &client.tools().await);
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn the_life_of_a_command(#[case] era: Era) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    let started = client.tell("execute_command", json!({ "command": "git log -3" })).await;
    assert!(started["runs"].as_str().unwrap().contains("--no-pager"), "{started}");
    assert_eq!(started["rewritten"], true);
    let job = started["job_id"].as_str().unwrap();
    let status = client.ended(job).await;
    assert_eq!((&status["status"], &status["exit_code"], &status["job_id"]), (&"completed".into(), &0.into(), &job.into()));
    assert_eq!(status["command"], started["runs"]);
    for tool in ["get_job_output", "tail_job_output"] {
        let output = client.tell(tool, json!({ "job_id": job })).await;
        assert!(output["stdout"].as_str().unwrap().contains(COMMIT), "{output}");
        assert_eq!((&output["stderr"], &output["lossy"], &output["status"]), (&"".into(), &false.into(), &"completed".into()));
    }
    assert_eq!(client.tell("kill_job", json!({ "job_id": job })).await, json!({ "status": "already_terminated" }));
    assert_eq!(scene.audit()[0]["client"], "tester");
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn a_denial_can_be_read_by_model_and_program(#[case] era: Era) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    let result = client.call("execute_command", json!({ "command": "rm -rf notes.txt" })).await;
    assert_eq!(result.is_error, Some(true));
    assert_eq!(result.structured_content, None);
    let denial = denial(&result);
    assert_eq!((&denial["policy"], &denial["code"]), (&"allowlist".into(), &"program-not-allowed".into()));
    let message = denial["message"].as_str().unwrap();
    assert_eq!(text(&result), format!("denied by policy \"allowlist\" [program-not-allowed]: {message}"));
    assert!(message.contains("`rm`"), "{message}");
    assert!(scene.root().join("notes.txt").exists());
    assert_eq!(client.tell("list_jobs", json!({})).await, json!({ "jobs": [] }));
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn what_would_have_to_be_asked_is_denied(#[case] era: Era) {
    let scene = Scene::with_guest(r#"{ command = "ask" }"#);
    let client = Client::connect(&scene, era).await;
    let result = client.call("execute_command", json!({ "command": "ls" })).await;
    assert_eq!(result.is_error, Some(true));
    assert_eq!(denial(&result), json!({ "policy": "guest", "code": "misbehaving", "message": "this guest asks" }));
    assert!(text(&result).contains("needs a person's approval"), "{}", text(&result));
    client.close().await;
}

// ── bad input ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::empty("", "empty-command")]
#[case::blank(" \n\t", "empty-command")]
#[case::comment("# nothing", "empty-command")]
#[case::nul("ls \0", "nul-byte")]
#[case::no_such_program("no-such-program-here -x", "program-not-found")]
#[case::directory_as_program("./", "program-not-found")]
#[case::file_that_is_no_program("./notes.txt", "not-a-program")]
#[case::endless_for_the_tokenizer("<<'' $(", "too-complex")]
#[case::evaluated_twice("eval ls", "never-allowed")]
#[case::hidden_program("$HOME/x", "never-allowed")]
#[case::array("a=(1 2)", "construct-not-supported")]
#[case::directory_by_chance("true && cd sub; ls", "directory-unknown")]
#[case::directory_outside("cd / && ls", "bad-directory")]
#[case::unfinished("ls '", "syntax-error")]
#[tokio::test]
async fn a_command_that_is_refused_before_any_policy(
    #[case] command: &str,
    #[case] code: &str,
    #[values(Era::Initialize, Era::Discover)] era: Era,
) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    let result = client.call("execute_command", json!({ "command": command })).await;
    assert_eq!(result.is_error, Some(true), "{result:?}");
    assert_eq!((&denial(&result)["policy"], &denial(&result)["code"]), (&Value::Null, &code.into()), "{result:?}");
    assert!(text(&result).starts_with(&format!("denied by portcullis itself [{code}]: ")), "{}", text(&result));
    assert_eq!(scene.audit()[0]["decision"], "deny");
    assert_serves(&client).await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn a_command_of_two_megabytes(#[case] era: Era) {
    let scene = Scene::open("");
    let client = Client::connect(&scene, era).await;
    let result = client.call("execute_command", json!({ "command": format!("echo {}", "x".repeat(2 << 20)) })).await;
    assert_eq!(denial(&result)["code"], "too-long", "{result:?}");
    assert!(text(&result).len() < 1000);
    assert!(fs::metadata(scene.audit_file()).unwrap().len() < 10_000);
    assert_serves(&client).await;
}

#[rstest]
#[case::wrong_type("execute_command", json!({ "command": 7 }))]
#[case::missing("execute_command", json!({}))]
#[case::null("execute_command", json!({ "command": null }))]
#[case::list("execute_command", json!({ "command": ["ls"] }))]
#[case::unknown_field("execute_command", json!({ "command": "ls", "policy": "none" }))]
#[case::surplus("list_jobs", json!({ "all": true }))]
#[case::job_of_wrong_type("get_job_status", json!({ "job_id": 7 }))]
#[case::no_lines("tail_job_output", json!({ "job_id": "x", "lines": 0 }))]
#[case::too_many_lines("tail_job_output", json!({ "job_id": "x", "lines": 1001 }))]
#[case::negative_lines("tail_job_output", json!({ "job_id": "x", "lines": -1 }))]
#[case::half_a_line("tail_job_output", json!({ "job_id": "x", "lines": 1.5 }))]
#[case::wait_too_long("interact_with_job", json!({ "job_id": "x", "input": "", "wait_ms": 600_001 }))]
#[case::no_bytes("get_job_output", json!({ "job_id": "x", "max_bytes": 0 }))]
#[case::too_many_bytes("get_job_output", json!({ "job_id": "x", "max_bytes": 1_048_577 }))]
#[case::unknown_stream("get_job_output", json!({ "job_id": "x", "stream": "stdin" }))]
#[case::rubbish_for_a_cursor("get_job_output", json!({ "job_id": "x", "cursor": "7" }))]
#[case::rubbish_for_a_time("get_job_output", json!({ "job_id": "x", "since": "yesterday" }))]
#[case::two_beginnings("get_job_output", json!({ "job_id": "x", "cursor": "00000000-o0", "since": "2026-01-01T00:00:00Z" }))]
#[case::merged_lines("tail_job_output", json!({ "job_id": "x", "stream": "merged" }))]
#[case::rubbish_for_a_pattern("search_job_output", json!({ "job_id": "x", "pattern": "(" }))]
#[case::endless_pattern("search_job_output", json!({ "job_id": "x", "pattern": "x".repeat(1025) }))]
#[case::pattern_that_is_too_large("search_job_output", json!({ "job_id": "x", "pattern": "(a{100}){100}{100}" }))]
#[case::no_matches_wanted("search_job_output", json!({ "job_id": "x", "pattern": "x", "limit": 0 }))]
#[case::much_context("search_job_output", json!({ "job_id": "x", "pattern": "x", "context": 11 }))]
#[case::two_ends("wait_for_job", json!({ "job_id": "x", "pattern": "x", "silence_ms": 1 }))]
#[case::no_silence("wait_for_job", json!({ "job_id": "x", "silence_ms": 0 }))]
#[case::no_time("execute_command", json!({ "command": "true", "timeout_s": 0 }))]
#[case::more_time_than_there_is("execute_command", json!({ "command": "true", "timeout_s": 3601 }))]
#[case::text_of_wrong_type("interact_with_job", json!({ "job_id": "x", "input": 7 }))]
#[case::unknown_key("interact_with_job", json!({ "job_id": "x", "key": "ctrl-alt-delete" }))]
#[case::terminal_and_no_input("execute_command", json!({ "command": "true", "stdin": "closed", "terminal": { "rows": 24, "cols": 80 } }))]
#[case::terminal_without_lines("execute_command", json!({ "command": "true", "terminal": { "rows": 0, "cols": 80 } }))]
#[case::unknown_signal("kill_job", json!({ "job_id": "x", "signal": "STOP" }))]
#[case::much_grace("kill_job", json!({ "job_id": "x", "grace_ms": 60_001 }))]
#[tokio::test]
async fn arguments_that_are_wrong(
    #[case] tool: &str,
    #[case] arguments: Value,
    #[values(Era::Initialize, Era::Discover)] era: Era,
) {
    let scene = Scene::open("");
    let client = Client::connect(&scene, era).await;
    let said = client.refused(tool, arguments).await;
    assert!(!said.contains("there is no job"), "{said}");
    assert!(scene.audit().is_empty());
    assert_serves(&client).await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol(#[case] era: Era) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    let error = client.try_call("set_policy", json!({})).await.unwrap_err();
    let rmcp::ServiceError::McpError(error) = error else { panic!("{error}") };
    assert_eq!(error.code.0, -32602);
    assert_serves(&client).await;
}

#[rstest]
#[case::no_map("tools/call", json!({ "name": "list_jobs", "inputResponses": [] }), -32602)]
#[case::no_text("tools/call", json!({ "name": "list_jobs", "requestState": 5 }), -32602)]
#[case::no_object("tools/call", json!({ "name": "list_jobs", "arguments": [1] }), -32602)]
#[case::no_name("prompts/get", json!({}), -32602)]
#[case::no_method("tools/recall", json!({}), -32601)]
fn parameters_that_do_not_fit(#[case] method: &str, #[case] params: Value, #[case] code: i64) {
    let scene = Scene::open("");
    let answer = Wire::open(&scene).request(method, params);
    assert_eq!(answer["error"]["code"], code, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(method), "{answer}");
}

#[rstest]
#[case::malformed("job-1")]
#[case::empty("")]
#[case::well_formed("00000000-0000-4000-8000-000000000000")]
#[tokio::test]
async fn an_unknown_job(#[case] job: &str, #[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::new();
    let client = Client::connect(&scene, era).await;
    for tool in ["get_job_status", "get_job_output", "tail_job_output"] {
        let said = client.refused(tool, json!({ "job_id": job })).await;
        assert!(said.starts_with(&format!("there is no job {job}")), "{said}");
    }
    let said = client.refused("interact_with_job", json!({ "job_id": job, "input": "x" })).await;
    assert!(said.contains("there is no job"), "{said}");
    let killed = client.call("kill_job", json!({ "job_id": job })).await;
    assert_eq!(killed.is_error, Some(true));
    assert_eq!(killed.structured_content, Some(json!({ "status": "not_found" })));
    client.close().await;
}

#[tokio::test]
async fn a_secret_for_a_job_id_is_not_repeated() {
    let scene = Scene::new();
    let client = Client::connect(&scene, Era::Discover).await;
    let said = client.refused("get_job_status", json!({ "job_id": secret() })).await;
    assert!(!said.contains(&secret()), "{said}");
    client.close().await;
}

#[tokio::test]
async fn a_directory_that_is_gone() {
    let scene = Scene::open("");
    let client = Client::connect(&scene, Era::Discover).await;
    fs::rename(scene.root(), scene.base().join("moved")).unwrap();
    let result = client.call("execute_command", json!({ "command": "true" })).await;
    assert_eq!(denial(&result)["code"], "bad-directory", "{result:?}");
    fs::rename(scene.base().join("moved"), scene.root()).unwrap();
    assert_serves(&client).await;
}

#[rstest]
#[case::loops("loop", "policy-deadline")]
#[case::traps("trap", "policy-trap")]
#[case::allocates("allocate", "policy-memory")]
#[tokio::test]
async fn a_policy_that_misbehaves_denies_and_the_server_lives(#[case] deed: &str, #[case] code: &str) {
    let scene = Scene::with_guest(&format!("{{ command = \"{deed}\", only = \"ls\" }}"));
    let client = Client::connect(&scene, Era::Discover).await;
    for _ in 0..2 {
        let result = client.call("execute_command", json!({ "command": "ls" })).await;
        assert_eq!((&denial(&result)["policy"], &denial(&result)["code"]), (&"guest".into(), &code.into()));
    }
    client.close().await;
}

// ── jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn jobs_are_listed_newest_first(#[case] era: Era) {
    let scene = Scene::open("");
    let client = Client::connect(&scene, era).await;
    let first = client.execute("echo first").await;
    let second = client.execute("sleep 1000").await;
    let third = client.execute("false").await;
    client.ended(&first).await;
    client.ended(&third).await;
    let list = client.tell("list_jobs", json!({})).await;
    let jobs: Vec<_> = list["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["job_id"].as_str().unwrap(), job["status"].as_str().unwrap()))
        .collect();
    assert_eq!(jobs, [(third.as_str(), "failed"), (&second, "running"), (&first, "completed")]);
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn interaction_gives_exactly_the_answer(#[case] era: Era) {
    let scene = Scene::open("");
    let client = Client::connect(&scene, era).await;
    let job = client.execute("cat").await;
    for (input, newline, answer) in
        [("one", true, "one\n"), ("two\nthree", true, "two\nthree\n"), ("", true, "\n"), ("four\n", false, "four\n")]
    {
        let output = client.tell("interact_with_job", json!({ "job_id": job, "input": input, "newline": newline })).await;
        assert_eq!((&output["stdout"], &output["stderr"]), (&answer.into(), &"".into()), "{output}");
    }
    client.tell("interact_with_job", json!({ "job_id": job, "input": "five", "newline": false, "close": true })).await;
    assert_eq!(client.ended(&job).await["status"], "completed");
    assert_eq!(client.tell("get_job_output", json!({ "job_id": job })).await["stdout"], "one\ntwo\nthree\n\nfour\nfive");
    let said = client.refused("interact_with_job", json!({ "job_id": job, "input": "six" })).await;
    assert!(said.contains("takes no more input"), "{said}");
    client.close().await;
}

#[rstest]
#[case::denied(r#"{ command = "allow", input = "deny" }"#, "something against this input")]
#[case::asked(r#"{ command = "allow", input = "ask" }"#, "needs a person's approval")]
#[case::traps(r#"{ command = "allow", input = "trap-hello" }"#, "policy-trap")]
#[tokio::test]
async fn input_goes_through_the_policies(#[case] settings: &str, #[case] said: &str) {
    let scene = Scene::with_guest(settings);
    let client = Client::connect(&scene, Era::Discover).await;
    let job = client.execute("cat").await;
    let refused = client.refused("interact_with_job", json!({ "job_id": job, "input": "hello" })).await;
    assert!(refused.contains("policy \"guest\"") && refused.contains(said), "{refused}");
    assert_eq!(client.tell("get_job_output", json!({ "job_id": job })).await["stdout"], "");
    let recorded = scene.audit().pop().unwrap();
    assert_eq!(
        (&recorded["subject"], &recorded["job_id"], &recorded["sent"]),
        (&"input".into(), &job.into(), &r"hello\n".into())
    );
    client.close().await;
}

#[tokio::test]
async fn a_line_of_input_can_not_be_smuggled_in_pieces() {
    let scene = Scene::with_guest(r#"{ command = "allow", input = "deny-secret" }"#);
    let client = Client::connect(&scene, Era::Discover).await;
    let job = client.execute("cat").await;
    let piece = |text: &str| json!({ "job_id": job, "input": text, "newline": false, "wait_ms": 0 });
    client.tell("interact_with_job", piece("sec")).await;
    let refused = client.refused("interact_with_job", piece("ret\n")).await;
    assert!(refused.contains("policy \"guest\" [misbehaving]"), "{refused}");
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn a_job_is_killed(#[case] era: Era) {
    let scene = Scene::open("");
    let client = Client::connect(&scene, era).await;
    let job = client.execute("sleep 1000").await;
    let pid = pid(&client.tell("get_job_status", json!({ "job_id": job })).await);
    assert_eq!(client.tell("kill_job", json!({ "job_id": job })).await, json!({ "status": "killed" }));
    assert!(!is_alive(pid));
    let status = client.tell("get_job_status", json!({ "job_id": job })).await;
    assert_eq!((&status["status"], &status["signal"]), (&"killed".into(), &15.into()));
    assert_eq!(client.tell("kill_job", json!({ "job_id": job })).await, json!({ "status": "already_terminated" }));
    client.close().await;
}

#[rstest]
#[case::initialize(Era::Initialize)]
#[case::discover(Era::Discover)]
#[tokio::test]
async fn the_limit_counts_what_runs(#[case] era: Era) {
    let scene = Scene::open("max_running = 2\nmax_queued = 0");
    let client = Client::connect(&scene, era).await;
    let done = client.execute("true").await;
    client.ended(&done).await;
    let first = client.execute("sleep 1000").await;
    client.execute("sleep 1000").await;
    let said = client.refused("execute_command", json!({ "command": "sleep 1000" })).await;
    assert!(said.contains("2 jobs are running already") && said.contains("jobs.max_running"), "{said}");
    client.tell("kill_job", json!({ "job_id": first })).await;
    client.execute("sleep 1000").await;
    client.close().await;
}

// ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// How a server is made to end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its standard input ends.
    HangUp,
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl End {
    /// The exit code that says why.
    fn code(self) -> i32 {
        match self {
            Self::HangUp => 0,
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }

    fn happen(self, wire: &mut Wire) {
        match self {
            Self::HangUp => wire.hang_up(),
            Self::Terminate => signal(wire.pid(), Signal::TERM),
            Self::Interrupt => signal(wire.pid(), Signal::INT),
        }
    }
}

#[rstest]
fn the_server_ends_and_with_it_every_job(#[values(End::HangUp, End::Terminate, End::Interrupt)] end: End) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let jobs = [wire.sh("echo $$; exec sleep 1000"), wire.sh("sleep 1000 & echo $!; wait"), wire.sh("echo $$; exec cat")];
    let pids: Vec<_> = jobs.iter().map(|job| wire.printed_pid(job)).collect();
    end.happen(&mut wire);
    assert_eq!(wire.exit_within(AT_ONCE).code(), Some(end.code()), "{}", wire.stderr());
    for pid in pids {
        gone(pid);
    }
    let ends = scene.audit().iter().filter(|line| line["event"] == "job_end" && line["state"] == "killed").count();
    assert_eq!(ends, jobs.len());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let scene = Scene::open("grace_ms = 60000");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("trap : TERM; echo $$; while :; do sleep 1000; done");
    let pid = wire.printed_pid(&job);
    signal(wire.pid(), Signal::INT);
    // The first is taken once nothing is answered any more.
    std::thread::sleep(Duration::from_millis(300));
    signal(wire.pid(), Signal::TERM);
    assert_eq!(wire.exit_within(AT_ONCE).code(), Some(128 + 15), "{}", wire.stderr());
    gone(pid);
}

#[rstest]
fn the_server_ends_while_a_call_waits(
    #[values(End::HangUp, End::Terminate)] end: End,
    #[values("kill_job", "interact_with_job")] tool: &str,
) {
    let scene = Scene::open("grace_ms = 300");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("trap : TERM; echo $$; while :; do sleep 1000; done");
    let pid = wire.printed_pid(&job);
    let arguments = match tool {
        "interact_with_job" => json!({ "job_id": job, "input": "", "wait_ms": 60_000 }),
        _ => json!({ "job_id": job }),
    };
    let _asked = wire.begin(tool, arguments);
    // Requests are taken in order, so the one that waits has been taken when this is answered.
    wire.status(&job);
    end.happen(&mut wire);
    assert_eq!(wire.exit_within(2 * AT_ONCE).code(), Some(end.code()), "{}", wire.stderr());
    gone(pid);
}

#[rstest]
fn the_server_ends_while_a_policy_thinks(#[values(End::HangUp, End::Terminate)] end: End) {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&format!(
        "[limits]\ndecision_ms = 60000\n[[policies]]\nname = \"guest\"\ncomponent = {guest:?}\nsettings = {{ command = \"loop\" }}\n"
    ));
    let mut wire = Wire::open(&scene);
    let _asked = wire.begin("execute_command", json!({ "command": "true" }));
    wire.tell("list_jobs", json!({}));
    end.happen(&mut wire);
    assert_eq!(wire.exit_within(2 * AT_ONCE).code(), Some(end.code()), "{}", wire.stderr());
}

#[tokio::test]
async fn the_server_ends_when_its_client_is_done() {
    let scene = Scene::open("");
    let client = Client::connect(&scene, Era::Discover).await;
    let (server, job) = (client.pid, client.execute("sleep 1000").await);
    let job = pid(&client.tell("get_job_status", json!({ "job_id": job })).await);
    let began = Instant::now();
    client.close().await;
    assert!(began.elapsed() < 2 * AT_ONCE, "{:?}", began.elapsed());
    gone(server);
    gone(job);
}

// ── small things ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a program reads in a denial.
fn denial(result: &CallToolResult) -> Value {
    serde_json::to_value(result).unwrap()["_meta"]["portcullis/denial"].clone()
}

fn pid(status: &Value) -> u32 {
    u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
}

async fn assert_serves(client: &Client) {
    let job = client.execute("true").await;
    assert_eq!(client.ended(&job).await["status"], "completed");
}
