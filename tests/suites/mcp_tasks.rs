//! Calls that become tasks, and what models read of results.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    eventually, gone, is_alive,
    scene::{Scene, keeping},
    secret,
    wire::Wire,
};

/// Of a client that knows tasks.
fn able() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

/// Calls `execute_command` as such a client.
#[track_caller]
fn execute(wire: &mut Wire, command: &str, wait_ms: u32) -> Value {
    let arguments = json!({ "command": command, "wait_ms": wait_ms });
    let answer = wire.stateless("tools/call", json!({ "name": "execute_command", "arguments": arguments }), able());
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

#[track_caller]
fn task(wire: &mut Wire, id: &str) -> Value {
    let answer = wire.stateless("tasks/get", json!({ "taskId": id }), able());
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

// ── who is told of tasks ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn to_clients_that_begin_with_initialize_there_are_none() {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let client = json!({ "name": "wire", "version": "0" });
    let begun =
        wire.request("initialize", json!({ "protocolVersion": "2025-11-25", "capabilities": able(), "clientInfo": client }));
    assert!(begun["result"]["capabilities"]["tools"].is_object(), "{begun}");
    assert!(begun["result"]["capabilities"]["extensions"].is_null(), "{begun}");
    wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let job = wire.execute("sleep 1000");
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let answer = wire.request(method, json!({ "taskId": job, "inputResponses": {} }));
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    assert_eq!(wire.status(&job)["status"], "running");
}

// ── tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_command_that_takes_long_becomes_a_task_with_the_result_of_the_call() {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let created = execute(&mut wire, "sh -c 'echo begun; read -r line; echo got $line; exit 3'", 600_000);
    assert_eq!((&created["resultType"], &created["status"]), (&"task".into(), &"working".into()), "{created}");
    let id = created["taskId"].as_str().unwrap().to_owned();
    assert_eq!(task(&mut wire, &id)["status"], "working");
    // Its id is the job's.
    let input = json!({ "name": "interact_with_job", "arguments": { "job_id": id, "input": "it" } });
    wire.stateless("tools/call", input, able());
    let done = eventually("the task is completed", || Some(task(&mut wire, &id)).filter(|task| task["status"] == "completed"));
    let result = &done["result"];
    assert_ne!(result["isError"], true, "{done}");
    let output = &result["structuredContent"]["output"];
    assert_eq!((&output["stdout"], &output["exit_code"]), (&"begun\ngot it\n".into(), &3.into()), "{done}");
    assert_eq!(result["structuredContent"]["job_id"], id.as_str());
    assert!(done["ttlMs"].is_u64(), "{done}");
    let acknowledged = wire.stateless("tasks/update", json!({ "taskId": id, "inputResponses": {} }), able());
    assert!(acknowledged["result"].is_object(), "{acknowledged}");
}

#[test]
fn a_task_that_is_cancelled_is_a_job_that_is_stopped() {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let created = execute(&mut wire, "sleep 1000", 1);
    let id = created["taskId"].as_str().unwrap().to_owned();
    let status = wire.stateless("tools/call", json!({ "name": "get_job_status", "arguments": { "job_id": id } }), able());
    let pid = u32::try_from(status["result"]["structuredContent"]["pid"].as_u64().unwrap()).unwrap();
    assert!(is_alive(pid));
    for _ in 0..2 {
        let cancelled = wire.stateless("tasks/cancel", json!({ "taskId": id }), able());
        assert!(cancelled["result"].is_object(), "{cancelled}");
    }
    gone(pid);
    let ended = eventually("the task is cancelled", || Some(task(&mut wire, &id)).filter(|task| task["status"] != "working"));
    assert_eq!((&ended["status"], &ended["result"]), (&"cancelled".into(), &Value::Null), "{ended}");
}

#[test]
fn what_ends_at_once_and_what_is_not_waited_for_is_no_task() {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let done = eventually("a command ends at once", || {
        Some(execute(&mut wire, "echo x", 600_000)).filter(|done| done["taskId"].is_null())
    });
    assert_eq!(done["structuredContent"]["output"]["stdout"], "x\n", "{done}");
    let started = execute(&mut wire, "sleep 1000", 0);
    assert_eq!((&started["resultType"], &started["taskId"]), (&"complete".into(), &Value::Null), "{started}");
}

#[test]
fn who_does_not_know_tasks_waits() {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "sleep 0.8", "wait_ms": 600_000 });
    let answer = wire.stateless("tools/call", json!({ "name": "execute_command", "arguments": arguments }), json!({}));
    assert_eq!(answer["result"]["structuredContent"]["output"]["status"], "completed", "{answer}");
    let refused = wire.stateless("tasks/get", json!({ "taskId": "x" }), json!({}));
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
}

#[rstest]
#[case("tasks/get")]
#[case("tasks/update")]
#[case("tasks/cancel")]
fn a_task_that_is_none(#[case] method: &str, #[values("x", "00000000-0000-4000-8000-000000000000")] id: &str) {
    let scene = Scene::open("");
    let mut wire = Wire::start(&scene);
    let answer = wire.stateless(method, json!({ "taskId": id, "inputResponses": {} }), able());
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

// ── texts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_a_model_reads_of_results() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let mut text = |tool: &str, arguments: Value| {
        let result = wire.call(tool, arguments);
        (result["content"][0]["text"].as_str().unwrap().to_owned(), result["structuredContent"].clone())
    };
    assert_eq!(text("list_jobs", json!({})).0, "there are no jobs");
    let script = r#"sh -c 'echo "a \"b\""; echo c >&2; exit 3'"#;
    let (told, result) = text("execute_command", json!({ "command": script, "wait_ms": 30_000 }));
    let (job, runs) = (result["job_id"].as_str().unwrap(), result["runs"].as_str().unwrap());
    let output = "failed, exit code 3, 8 bytes printed\n--- stdout ---\na \"b\"\n\n--- stderr ---\nc\n";
    assert_eq!(told, format!("job {job} runs: {runs}\n{output}"));
    assert_eq!(text("get_job_output", json!({ "job_id": job })).0, output);
    assert_eq!(text("wait_for_job", json!({ "job_id": job })).0, format!("the job has ended: {output}"));
    let (told, _) = text("search_job_output", json!({ "job_id": job, "pattern": "b" }));
    assert_eq!(told, "1 line matches\nstdout:1: a \"b\"");
    assert_eq!(text("kill_job", json!({ "job_id": job })).0, "the job had ended before");
    let (told, status) = text("get_job_status", json!({ "job_id": job }));
    assert!(told.starts_with(&format!("job {job}: failed, exit code 3, {} ms since 2", status["duration_ms"])), "{told}");
    assert_eq!(text("list_jobs", json!({})).0, told);
    let (told, started) = text("execute_command", json!({ "command": "sleep 1000" }));
    let job = started["job_id"].as_str().unwrap();
    assert!(told.starts_with(&format!("job {job} is started: ")), "{told}");
    let (told, tail) = text("tail_job_output", json!({ "job_id": job }));
    let cursor = tail["next_cursor"].as_str().unwrap();
    assert_eq!(told, format!("running, 0 bytes printed; what comes later: next_cursor {cursor}"));
}

#[test]
fn lines_around_a_match_have_their_numbers() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("seq 100");
    wire.ended(&job);
    let found = wire.call("search_job_output", json!({ "job_id": job, "pattern": "^50$", "context": 1 }));
    assert_eq!(found["content"][0]["text"], "1 line matches\nstdout:49- 49\nstdout:50: 50\nstdout:51- 51");
}

#[test]
fn a_job_of_an_earlier_server_shows_no_more_in_a_task_than_elsewhere() {
    let scene = Scene::configured(&keeping("one", "component = \"builtin:tidy\"\napply = \"reads\""));
    let mut wire = Wire::open(&scene);
    let job = wire.execute(&format!("echo {}", secret()));
    wire.ended(&job);
    wire.close();
    scene.configure(&keeping("one", "component = \"builtin:redact\""));
    let mut wire = Wire::start(&scene);
    let shown = task(&mut wire, &job).to_string();
    assert!(shown.contains("redacted") && !shown.contains(&secret()), "{shown}");
}
