//! What clients have besides tools: jobs as resources, word of what changes, progress, waits that are given up, prompts and
//! completion.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    scene::Scene,
    secret,
    wire::{Asked, Wire},
};

/// A connection of one of the two eras.
struct Talk {
    wire: Wire,
    is_stateless: bool,
}

impl Talk {
    fn open(scene: &Scene, is_stateless: bool) -> Self {
        let wire = if is_stateless { Wire::start(scene) } else { Wire::open(scene) };
        Self { wire, is_stateless }
    }

    fn ask(&mut self, method: &str, params: Value) -> Asked {
        if self.is_stateless { self.wire.ask_stateless(method, params, json!({})) } else { self.wire.ask(method, params) }
    }

    #[track_caller]
    fn request(&mut self, method: &str, params: Value) -> Value {
        let asked = self.ask(method, params);
        self.wire.answer(asked)
    }

    /// The result of a request that is to succeed.
    #[track_caller]
    fn result(&mut self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params);
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    #[track_caller]
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// A job that runs this in a shell; `script` may hold no single quote.
    #[track_caller]
    fn sh(&mut self, script: &str) -> String {
        let started = self.call("execute_command", json!({ "command": format!("sh -c '{script}'") }));
        started["structuredContent"]["job_id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn read(&mut self, uri: &str) -> Value {
        self.result("resources/read", json!({ "uri": uri }))["contents"][0].clone()
    }

    #[track_caller]
    fn ended(&mut self, job: &str) {
        self.call("wait_for_job", json!({ "job_id": job }));
        eventually("the job ends", || {
            self.read(&format!("job://{job}/record"))["text"].as_str().unwrap().contains("ended").then_some(())
        });
    }
}

// ── resources ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
fn every_part_of_a_job_can_be_read(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let job = talk.sh("echo out; echo err >&2");
    talk.ended(&job);
    let at = |part: &str| format!("job://{job}/{part}");
    assert_eq!(
        (talk.read(&at("stdout"))["text"].as_str(), talk.read(&at("stderr"))["text"].as_str()),
        (Some("out\n"), Some("err\n"))
    );
    let merged = talk.read(&at("merged"));
    assert_eq!(merged["text"].as_str().unwrap().len(), 8, "{merged}");
    assert_eq!((&merged["mimeType"], &merged["uri"]), (&"text/plain".into(), &at("merged").into()));
    let record = talk.read(&at("record"));
    assert_eq!(record["mimeType"], "application/json");
    let record: Value = serde_json::from_str(record["text"].as_str().unwrap()).unwrap();
    assert_eq!((&record["job_id"], &record["exit_code"]), (&job.as_str().into(), &0.into()));

    let listed = talk.result("resources/list", json!({}))["resources"].clone();
    let listed: Vec<_> =
        listed.as_array().unwrap().iter().map(|resource| (resource["uri"].clone(), resource["size"].clone())).collect();
    let of = |part: &str, size: Value| (json!(at(part)), size);
    assert_eq!(listed, [of("stdout", json!(4)), of("stderr", json!(4)), of("merged", json!(8)), of("record", Value::Null)]);
    let templates = talk.result("resources/templates/list", json!({}))["resourceTemplates"].clone();
    let templates: Vec<_> =
        templates.as_array().unwrap().iter().map(|template| template["uriTemplate"].as_str().unwrap()).collect();
    let paged = |part: &str| format!("job://{{job_id}}/{part}{{?cursor}}");
    assert_eq!(templates, [paged("stdout"), paged("stderr"), paged("merged"), "job://{job_id}/record".to_owned()]);
}

#[rstest]
#[case("stdout", 200_000)]
#[case("merged", 200_000)]
#[case("stderr", 0)]
fn pages_lead_from_one_to_the_next(#[case] part: &str, #[case] bytes: usize, #[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let job = talk.sh("yes 123456789 | head -c 200000");
    talk.ended(&job);
    let (mut text, mut uri) = (String::new(), format!("job://{job}/{part}"));
    loop {
        let page = talk.read(&uri);
        let got = page["text"].as_str().unwrap();
        assert!(got.len() <= 64 << 10);
        text.push_str(got);
        uri = page["_meta"]["portcullis/next"].as_str().unwrap().to_owned();
        if page["_meta"]["portcullis/truncated"] == false {
            break;
        }
    }
    assert_eq!(text, "123456789\n".repeat(bytes / 10));
    assert_eq!(talk.read(&uri)["text"], "");
}

#[rstest]
fn the_list_has_pages(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("max_running = 30");
    let mut talk = Talk::open(&scene, is_stateless);
    let jobs: Vec<_> = (0..26).map(|_| talk.sh("true")).collect();
    let first = talk.result("resources/list", json!({}));
    assert_eq!(first["resources"].as_array().unwrap().len(), 100);
    let cursor = first["nextCursor"].as_str().unwrap();
    let last = talk.result("resources/list", json!({ "cursor": cursor }));
    assert_eq!(last["resources"][0]["uri"], format!("job://{}/stdout", jobs[0]));
    assert_eq!((last["resources"].as_array().unwrap().len(), &last["nextCursor"]), (4, &Value::Null));
    let wrong = talk.request("resources/list", json!({ "cursor": "7" }));
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
}

#[rstest]
#[case("job://@/stdin")]
#[case("job://@/../stdout")]
#[case("job://@/stdout?cursor=0")]
#[case("job://00000000-0000-4000-8000-000000000000/stdout")]
#[case("file:///etc/passwd")]
#[case("")]
fn what_is_not_there(#[case] uri: &str, #[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let job = talk.sh("true");
    let answer = talk.request("resources/read", json!({ "uri": uri.replace('@', &job) }));
    assert_eq!(answer["error"]["code"], if is_stateless { -32602 } else { -32002 }, "{answer}");
    let secret = talk.request("resources/read", json!({ "uri": format!("job://{}/{}", secret(), "x".repeat(100_000)) }));
    assert!(!secret.to_string().contains(&self::secret()) && secret.to_string().len() < 1000, "{secret}");
}

#[test]
fn what_is_read_is_filtered() {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, true);
    let job = talk.sh("cat secrets.env");
    talk.ended(&job);
    for part in ["stdout", "merged"] {
        let text = talk.read(&format!("job://{job}/{part}"))["text"].as_str().unwrap().to_owned();
        assert!(text.contains("[redacted") && !text.contains(&secret()), "{text}");
    }
}

#[rstest]
fn what_is_not_all_is_linked(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let started = talk.call("execute_command", json!({ "command": "sleep 1000" }));
    let job = started["structuredContent"]["job_id"].as_str().unwrap();
    let link = &started["content"][1];
    assert_eq!((&link["type"], &link["uri"]), (&"resource_link".into(), &format!("job://{job}/merged").into()), "{started}");
    let done = talk.call("execute_command", json!({ "command": "echo all", "wait_ms": 30_000 }));
    assert_eq!(done["content"].as_array().unwrap().len(), 1, "{done}");
    let cut = talk.call("execute_command", json!({ "command": "seq 1000", "wait_ms": 30_000, "max_bytes": 100 }));
    let size = (1..=1000).map(|number: u32| number.to_string().len() as u64 + 1).sum::<u64>();
    assert_eq!((&cut["content"][1]["type"], &cut["content"][1]["size"]), (&"resource_link".into(), &size.into()), "{cut}");
}

// ── word of what changes ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_subscriber_of_before_is_told() {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, false);
    let job = talk.sh("cat");
    let (stdout, record) = (format!("job://{job}/stdout"), format!("job://{job}/record"));
    for uri in [&stdout, &record] {
        talk.result("resources/subscribe", json!({ "uri": uri }));
    }
    talk.call("interact_with_job", json!({ "job_id": job, "input": "x", "wait_ms": 0 }));
    assert_eq!(talk.wire.notified("notifications/resources/updated")["uri"], stdout.as_str());
    talk.result("resources/unsubscribe", json!({ "uri": stdout }));
    talk.call("interact_with_job", json!({ "job_id": job, "close": true }));
    assert_eq!(talk.wire.notified("notifications/resources/updated")["uri"], record.as_str());
    assert_eq!(talk.wire.unawaited().filter(|message| message["method"] == "notifications/resources/updated").count(), 0);
    let unknown = talk.request("resources/subscribe", json!({ "uri": "job://x/stdout" }));
    assert_eq!(unknown["error"]["code"], -32002, "{unknown}");
}

#[test]
fn a_listener_is_told_of_what_it_asked_for_and_what_is_there() {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, true);
    let job = talk.sh("cat");
    let stdout = format!("job://{job}/stdout");
    let wanted = json!({ "notifications": { "resourceSubscriptions": [stdout, "job://x/stdout", "file:///etc/passwd"] } });
    let listening = talk.ask("subscriptions/listen", wanted);
    let accepted = talk.wire.notified("notifications/subscriptions/acknowledged");
    assert_eq!(accepted["notifications"]["resourceSubscriptions"], json!([stdout]), "{accepted}");
    talk.call("interact_with_job", json!({ "job_id": job, "input": "x", "wait_ms": 0 }));
    let updated = talk.wire.notified("notifications/resources/updated");
    assert_eq!(updated["uri"], stdout.as_str());
    assert_eq!(updated["_meta"]["io.modelcontextprotocol/subscriptionId"], listening.id());
    talk.call("interact_with_job", json!({ "job_id": job, "close": true }));
    assert_eq!(talk.wire.notified("notifications/resources/updated")["uri"], stdout.as_str());
}

#[test]
fn what_comes_within_a_moment_is_told_once() {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, true);
    let job = talk.sh("read -r line; for i in 1 2 3 4 5 6 7 8 9 10; do seq 1000; sleep 0.02; done");
    let uri = format!("job://{job}/stdout");
    let _listening = talk.ask("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": [uri] } }));
    talk.wire.notified("notifications/subscriptions/acknowledged");
    talk.call("interact_with_job", json!({ "job_id": job, "input": "go", "wait_ms": 0 }));
    talk.ended(&job);
    let size = talk.read(&format!("job://{job}/record"));
    // The last word comes after the end, and what was told before is bounded by time, not by output: at most four times a second.
    let began = talk.wire.notified("notifications/resources/updated");
    assert_eq!(began["uri"], uri, "{size}");
    let told = 1 + talk.wire.unawaited().filter(|message| message["method"] == "notifications/resources/updated").count();
    let record: Value = serde_json::from_str(size["text"].as_str().unwrap()).unwrap();
    let most = 2 + usize::try_from(record["duration_ms"].as_u64().unwrap() / 250).unwrap();
    assert!(told <= most, "{told} times in {record}");
}

#[rstest]
fn who_listens_keeps_no_server_alive(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let job = talk.sh("cat");
    let uri = format!("job://{job}/stdout");
    if is_stateless {
        let _listening = talk.ask("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": [uri] } }));
        talk.wire.notified("notifications/subscriptions/acknowledged");
    } else {
        talk.result("resources/subscribe", json!({ "uri": uri }));
    }
    talk.wire.hang_up();
    assert!(talk.wire.exit_within(Duration::from_secs(4)).success());
}

// ── waits ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::wait("wait_for_job", json!({ "wait_ms": 600_000 }))]
#[case::interact("interact_with_job", json!({ "wait_ms": 600_000 }))]
fn a_wait_tells_how_far_it_is(#[case] tool: &str, #[case] arguments: Value, #[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let job = talk.sh("sleep 1000");
    let mut arguments = arguments;
    arguments["job_id"] = json!(job);
    let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "far" } });
    let waiting = talk.ask("tools/call", params);
    let [first, second] = [(); 2].map(|()| talk.wire.notified("notifications/progress"));
    assert_eq!((&first["progressToken"], &first["total"]), (&"far".into(), &json!(600.0)), "{first}");
    assert!(second["progress"].as_f64() > first["progress"].as_f64(), "{first} {second}");
    assert_eq!(first["message"], "running, 0 bytes of output");
    // Given up, the wait ends without an answer, and the job goes on.
    talk.wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": waiting.id() } }));
    let status = talk.call("get_job_status", json!({ "job_id": job }));
    assert_eq!(status["structuredContent"]["status"], "running");
    assert!(talk.wire.unawaited().all(|message| message["id"] != json!(waiting.id())));
}

#[test]
fn who_asks_with_a_token_of_pages_is_told_nothing() {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, true);
    let job = talk.sh("sleep 1000");
    let wait = |token: String| {
        let arguments = json!({ "job_id": job, "wait_ms": 2_500 });
        json!({ "name": "wait_for_job", "arguments": arguments, "_meta": { "progressToken": token } })
    };
    for length in [257, 256] {
        let waiting = talk.ask("tools/call", wait("x".repeat(length)));
        assert_eq!(talk.wire.answer(waiting)["result"]["structuredContent"]["met"], "time_up");
    }
    let mut told = talk.wire.unawaited().filter(|message| message["method"] == "notifications/progress").peekable();
    assert!(told.peek().is_some());
    for message in told {
        let progress = &message["params"];
        assert_eq!(progress["progressToken"].as_str().unwrap().len(), 256);
        assert!(progress["progress"].as_f64() <= progress["total"].as_f64(), "{progress}");
    }
}

#[rstest]
fn a_command_that_is_waited_for_outlives_the_wait(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let arguments = json!({ "command": "sleep 1000", "wait_ms": 600_000 });
    let waiting =
        talk.ask("tools/call", json!({ "name": "execute_command", "arguments": arguments, "_meta": { "progressToken": 7 } }));
    assert_eq!(talk.wire.notified("notifications/progress")["progressToken"], 7);
    talk.wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": waiting.id() } }));
    let jobs = talk.call("list_jobs", json!({}))["structuredContent"]["jobs"].clone();
    assert_eq!(jobs[0]["status"], "running", "{jobs}");
}

// ── prompts and completion ─────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
fn prompts_show_how_to_work_here(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let prompts = talk.result("prompts/list", json!({}))["prompts"].clone();
    let names: Vec<_> = prompts.as_array().unwrap().iter().map(|prompt| prompt["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run_commands", "explain_job"]);
    let work = talk.result("prompts/get", json!({ "name": "run_commands" }));
    assert!(work["messages"][0]["content"]["text"].as_str().unwrap().contains("execute_command"), "{work}");
    let job = talk.sh("exit 3");
    let explain = talk.result("prompts/get", json!({ "name": "explain_job", "arguments": { "job_id": job } }));
    assert!(explain["messages"][0]["content"]["text"].as_str().unwrap().contains(&job), "{explain}");
    for wrong in [
        json!({ "name": "explain_job" }),
        json!({ "name": "explain_job", "arguments": { "job_id": "x" } }),
        json!({ "name": "x" }),
    ] {
        let answer = talk.request("prompts/get", wrong);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
}

#[rstest]
fn ids_of_jobs_are_completed(#[values(false, true)] is_stateless: bool) {
    let scene = Scene::open("");
    let mut talk = Talk::open(&scene, is_stateless);
    let [first, second] = [(); 2].map(|()| talk.sh("true"));
    let mut complete = |reference: Value, name: &str, value: &str| {
        let asked = json!({ "ref": reference, "argument": { "name": name, "value": value } });
        talk.result("completion/complete", asked)["completion"]["values"].clone()
    };
    for reference in [
        json!({ "type": "ref/prompt", "name": "explain_job" }),
        json!({ "type": "ref/resource", "uri": "job://{job_id}/stdout{?cursor}" }),
    ] {
        assert_eq!(complete(reference.clone(), "job_id", ""), json!([second, first]));
        assert_eq!(complete(reference.clone(), "job_id", &first), json!([first]));
        assert_eq!(complete(reference.clone(), "job_id", "x"), json!([]));
        assert_eq!(complete(reference, "cursor", ""), json!([]));
    }
}
