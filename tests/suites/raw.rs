//! The server in lines of JSON over its real pipes: what no well-behaved client sends, and what must not come back.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    scene::{Running, Scene},
    wire::Wire,
    within,
};

const SOON: Duration = Duration::from_secs(10);

/// What a request of 2026-07-28 carries.
fn meta(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "0" },
    })
}

/// The server answers a request of its era.
#[track_caller]
fn assert_serves(wire: &mut Wire) {
    let status = wire.refused("get_job_status", json!({ "job_id": "none" }));
    assert!(status.contains("there is no job"), "{status}");
}

#[rstest]
#[case::cancelled(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } }))]
#[case::initialized(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))]
#[case::unknown(json!({ "jsonrpc": "2.0", "method": "notifications/of-no-kind", "params": {} }))]
#[case::response(json!({ "jsonrpc": "2.0", "id": 7, "result": {} }))]
#[case::error(json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": -32000, "message": "no" } }))]
fn a_stray_message_before_initialize(#[case] stray: Value) {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    wire.send(&stray);
    wire.initialize();
    assert_serves(&mut wire);
}

#[rstest]
#[case::before_initialize(true)]
#[case::afterwards(false)]
fn lines_that_are_no_messages(#[case] is_first: bool) {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    if !is_first {
        wire.initialize();
    }
    for line in [
        &b"garbage"[..],
        b"",
        b"{",
        b"[]",
        b"null",
        b"\"text\"",
        b"{\"jsonrpc\":\"1.0\"}",
        b"\xff\xfe\x00",
        b"{\"jsonrpc\":\"2.0\",\"id\":{}}",
    ] {
        wire.send_line(line);
    }
    if is_first {
        wire.initialize();
    }
    assert_serves(&mut wire);
}

/// They are JSON by its grammar, and some clients write such.
#[rstest]
#[case::half_a_pair(r#"{"jsonrpc":"2.0","id":"S","method":"tools/call","params":{"name":"list_jobs","arguments":{"x":"\ud800"}}}"#, json!("S"))]
#[case::huge(r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":1e999}"#, json!(7))]
#[case::answer(r#"{"jsonrpc":"2.0","id":7,"result":"\ud800"}"#, Value::Null)]
#[case::no_object(r#""\udfff""#, Value::Null)]
fn a_line_that_can_not_be_read_is_answered(#[case] line: &str, #[case] id: Value) {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    wire.send_line(line.as_bytes());
    let told = wire.message().unwrap();
    assert_eq!((&told["id"], &told["error"]["code"]), (&id, &json!(-32700)), "{told}");
    assert_serves(&mut wire);
}

#[test]
fn an_initialize_that_is_too_long_begins_nothing() {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    let client = json!({ "name": "x".repeat(70_000), "version": "0" });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let told = wire.request("initialize", hello);
    assert_eq!(told["error"]["code"], -32600, "{told}");
    wire.initialize();
    assert_serves(&mut wire);
}

#[test]
fn initialize_names_the_server() {
    let scene = Scene::new();
    let result = Wire::start(&scene).initialize()["result"].clone();
    assert_eq!(result["serverInfo"]["name"], "portcullis");
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(
        result["capabilities"],
        json!({ "completions": {}, "prompts": {}, "resources": { "subscribe": true }, "tools": {} })
    );
    assert!(result["instructions"].as_str().unwrap().contains("execute_command"));
}

#[rstest]
#[case::older("2024-11-05", "2024-11-05")]
#[case::future("2099-01-01", "2025-11-25")]
#[case::stateless("2026-07-28", "2025-11-25")]
fn initialize_agrees_on_a_version(#[case] asked: &str, #[case] given: &str) {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    let client = json!({ "name": "raw", "version": "0" });
    let answer = wire.request("initialize", json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": client }));
    assert_eq!(answer["result"]["protocolVersion"], given);
}

#[test]
fn discover_then_initialize() {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    let discovered = wire.request("server/discover", json!({ "_meta": meta("2026-07-28") }));
    assert!(discovered["result"]["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{discovered}");
    assert!(wire.initialize()["result"].is_object());
    assert_serves(&mut wire);
}

#[test]
fn a_stateless_request_stands_alone() {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    let params = json!({ "name": "execute_command", "arguments": { "command": "rm x" }, "_meta": meta("2026-07-28") });
    let answer = wire.request("tools/call", params);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(scene.audit()[0]["client"], "raw");
}

#[rstest]
#[case::without_meta(json!({}), -32602)]
#[case::half_a_meta(json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } }), -32602)]
#[case::unknown_version(json!({ "_meta": meta("2099-01-01") }), -32022)]
fn a_stateless_request_that_is_wrong(#[case] params: Value, #[case] code: i64) {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    wire.request("server/discover", json!({ "_meta": meta("2026-07-28") }));
    let answer = wire.request("tools/list", params);
    assert_eq!(answer["error"]["code"], code, "{answer}");
    assert!(wire.request("tools/list", json!({ "_meta": meta("2026-07-28") }))["result"]["tools"].is_array());
}

#[test]
fn an_unknown_version_is_told_what_is_supported() {
    let scene = Scene::new();
    let answer = Wire::start(&scene).request("server/discover", json!({ "_meta": meta("2099-01-01") }));
    assert_eq!(answer["error"]["code"], -32022, "{answer}");
    assert!(answer["error"]["data"]["supported"].as_array().unwrap().contains(&json!("2026-07-28")), "{answer}");
}

#[test]
fn ping_is_of_the_older_era() {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    assert_eq!(wire.request("ping", json!({}))["result"], json!({}));
    let mut wire = Wire::start(&scene);
    wire.request("tools/list", json!({ "_meta": meta("2026-07-28") }));
    assert_eq!(wire.request("ping", json!({ "_meta": meta("2026-07-28") }))["error"]["code"], -32601);
}

#[rstest]
#[case("subscriptions/listen")]
#[case("roots/list")]
#[case("no/such/method")]
fn what_is_not_offered_is_not_there(#[case] method: &str) {
    let scene = Scene::new();
    let answer = Wire::open(&scene).request(method, json!({}));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}

#[rstest]
#[case::long("x".repeat(4 << 20), "4194304 bytes")]
#[case::many(vec!["{}"; 10_001].join(","), "20000 objects")]
#[case::deep("[".repeat(125) + &"]".repeat(125), "127 deep")]
#[case::no_json("[".repeat(200), "127 deep")]
fn a_line_of_which_something_is_too_much(#[case] value: String, #[case] limit: &str) {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    let value = if limit.ends_with("bytes") { format!("\"{value}\"") } else { format!("[{value}]") };
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_jobs","arguments":{"x":VALUE}}}"#;
    wire.send_line(call.replace("VALUE", &value).as_bytes());
    let told = wire.message().unwrap();
    assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &json!(-32600)), "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains(limit), "{told}");
    assert_serves(&mut wire);
}

#[test]
fn a_line_as_long_deep_and_full_as_may_be() {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    for value in [json!("x".repeat((4 << 20) - 200)), json!(vec![0; 19_000]), (0..123).fold(json!([]), |inner, _| json!([inner]))]
    {
        let told = wire.request("tools/call", json!({ "name": "list_jobs", "arguments": { "x": value } }));
        assert!(told["result"].is_object() || told["error"]["code"] == -32602, "{told}");
    }
    assert_serves(&mut wire);
}

#[test]
fn standard_output_carries_nothing_but_the_protocol() {
    let scene = Scene::open("");
    let mut wire = Wire::start_with(&scene, &[("PORTCULLIS_LOG", "debug"), ("RUST_LOG", "trace")]);
    wire.send_line(b"garbage");
    wire.initialize();
    let job = wire.sh("echo out; echo err >&2; exit 3");
    wire.ended(&job);
    wire.refused("execute_command", json!({ "command": "ls |" }));
    wire.hang_up();
    // Every line is checked to be a message as it is read.
    while wire.message().is_some() {}
    assert!(wire.exit_within(SOON).success());
    assert!(!wire.stderr().is_empty());
}

#[test]
fn a_job_does_not_inherit_the_wire() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.sh("for fd in /proc/self/fd/*; do readlink $fd; done");
    wire.ended(&job);
    let printed = wire.output(&job)["stdout"].as_str().unwrap().to_owned();
    let server: Vec<_> = ["0", "1"].map(|fd| std::fs::read_link(format!("/proc/{}/fd/{fd}", wire.pid())).unwrap()).into();
    for line in printed.lines() {
        assert!(!server.iter().any(|pipe| pipe.to_string_lossy() == line), "{printed}");
    }
}

#[test]
fn end_of_input_before_any_request() {
    let scene = Scene::new();
    let mut wire = Wire::start(&scene);
    wire.hang_up();
    assert!(wire.exit_within(SOON).success(), "{}", wire.stderr());
}

/// A server, what its client writes to, and what it never reads.
fn deaf(scene: &Scene) -> (Running, ChildStdin, ChildStdout) {
    let mut command = scene.command(["serve"]);
    let mut server = Running::start_unread(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()));
    let (stdin, stdout) = (server.child().stdin.take().unwrap(), server.child().stdout.take().unwrap());
    (server, stdin, stdout)
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_jobs_alive() {
    let scene = Scene::open("");
    let (server, mut stdin, _unread) = deaf(&scene);
    let mut send = |message: Value| stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    send(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "deaf", "version": "0"}}}));
    send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    send(
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "execute_command", "arguments": {"command": "sleep 1000"}}}),
    );
    eventually("the job runs", || (!scene.processes().is_empty()).then_some(()));
    for id in 3..40 {
        send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}));
    }
    server.signal(rustix::process::Signal::TERM);
    server.done();
    scene.deserted();
}

#[test]
fn the_protocol_is_spoken_before_the_policies_are_ready_and_nothing_is_let_through() {
    let scene = Scene::open("");
    let mut command = scene.command(["serve"]);
    // Nothing is compiled there yet, which takes seconds.
    command.env("XDG_CACHE_HOME", scene.base().join("cold"));
    let mut wire = Wire::over(&scene, command);
    wire.initialize();
    let begun = wire.begin("execute_command", json!({ "command": "echo now", "wait_ms": 30_000 }));
    assert!(wire.request("tools/list", json!({}))["result"]["tools"].is_array());
    assert!(scene.audit().is_empty() && scene.processes().is_empty());
    assert_eq!(wire.result(begun)["structuredContent"]["output"]["stdout"], "now\n");
}

#[test]
fn policies_that_can_not_be_used_end_the_server() {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", "no component");
    scene.configure(&format!("[[policies]]\nname = \"guest\"\ncomponent = {guest:?}\n"));
    let mut wire = Wire::start(&scene);
    assert_eq!(wire.exit_within(SOON).code(), Some(3));
    assert!(wire.stderr().contains("policies[0] (guest): not a WebAssembly component"), "{}", wire.stderr());
}

#[test]
fn a_client_that_asks_without_reading_is_made_to_wait() {
    let scene = Scene::open("");
    let (server, mut stdin, _unread) = deaf(&scene);
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    let asking = std::thread::spawn(move || {
        // One id again and again: what is waited for is not told by it.
        while stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/list\"}\n").is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let mut before = usize::MAX;
    within(Duration::from_secs(60), "the server reads no more", || {
        let now = sent.load(std::sync::atomic::Ordering::Relaxed);
        let is_still = now > 0 && std::mem::replace(&mut before, now) == now;
        std::thread::sleep(Duration::from_millis(500));
        is_still.then_some(())
    });
    // What fits into the pipe, and little more.
    assert!(before < 10_000, "{before}");
    server.signal(rustix::process::Signal::KILL);
    server.done();
    asking.join().unwrap();
}

#[rstest]
#[case::more_answers_than_may_wait(200)]
#[case::fewer(10)]
fn a_client_that_is_gone_is_noticed_whatever_it_left_unread(#[case] requests: u32) {
    let scene = Scene::open("");
    let (server, mut stdin, _unread) = deaf(&scene);
    let mut send = |message: Value| stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    let run = json!({ "name": "execute_command", "arguments": { "command": "sleep 1000" } });
    send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "deaf", "version": "0" } } }));
    send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": run }));
    eventually("the job runs", || (!scene.processes().is_empty()).then_some(()));
    // More than the pipe of answers holds, and less than that of requests.
    for id in 2..requests {
        send(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }));
    }
    drop(stdin);
    server.done();
    scene.deserted();
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_server() {
    let scene = Scene::open("");
    let mut command = scene.command(["serve"]);
    command.env("PORTCULLIS_LOG", "debug");
    let mut server = Running::start_unread(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (mut stdin, stdout) = (server.child().stdin.take().unwrap(), server.child().stdout.take().unwrap());
    for _ in 0..20_000 {
        stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/early\"}\n").unwrap();
    }
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "deaf", "version": "0"}}});
    stdin.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stdout).read_line(&mut answer).unwrap();
    assert!(answer.contains("portcullis"), "{answer}");
    drop(stdin);
    server.done();
}

#[test]
fn input_that_was_not_sent_is_no_part_of_a_line() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let job = wire.execute("sleep 1000");
    let send = |input: &str| json!({"job_id": job, "input": input, "newline": false, "wait_ms": 0});
    for input in ["A".repeat(200_000).as_str(), "B"] {
        let blocked = wire.refused("interact_with_job", send(input));
        assert!(blocked.contains("did not read"), "{blocked}");
    }
    let refused = wire.refused("interact_with_job", send("\n"));
    assert!(refused.contains("nothing was sent"), "{refused}");
    let _asked = wire.begin("interact_with_job", send("rest"));
    let judged = eventually("it is judged", || {
        scene.audit().into_iter().rfind(|line| line["sent"].as_str().is_some_and(|sent| sent.ends_with("rest")))
    });
    assert!(judged["sent"].as_str().unwrap().ends_with("ABrest"), "{judged}");
}

/// Languages with one kind of number write whole ones with a point.
#[rstest]
#[case::top_level(json!({ "command": "echo one", "wait_ms": 20_000.0, "timeout_s": 5.0, "max_bytes": 1e3 }))]
#[case::nested(json!({ "command": "echo one", "wait_ms": 20_000, "terminal": { "rows": 24.0, "cols": 80.0 } }))]
fn whole_numbers_may_have_a_point(#[case] arguments: Value) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let done = wire.tell("execute_command", arguments);
    assert_eq!(done["output"]["stdout"].as_str().unwrap().trim_end(), "one");
}

#[rstest]
#[case::fraction("wait_ms", json!(5.5), "floating point `5.5`, expected u32")]
#[case::negative("wait_ms", json!(-5.0), "integer `-5`, expected u32")]
#[case::too_large("timeout_s", json!(1e300), "floating point `1e+300`, expected u64")]
fn other_numbers_are_refused_with_words(#[case] name: &str, #[case] number: Value, #[case] said: &str) {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    let mut arguments = json!({ "command": "touch made" });
    arguments[name] = number;
    let answer = wire.request("tools/call", json!({ "name": "execute_command", "arguments": arguments }));
    assert!(answer.to_string().contains(said), "{answer}");
    assert!(!scene.root().join("made").exists());
}
