//! The server in lines of JSON over its real pipes: what no well-behaved client sends, and what must not come back.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{scene::Scene, wire::Wire};

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

#[test]
fn initialize_names_the_server() {
    let scene = Scene::new();
    let result = Wire::start(&scene).initialize()["result"].clone();
    assert_eq!(result["serverInfo"]["name"], "portcullis");
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["capabilities"], json!({ "tools": {} }));
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
#[case("prompts/list")]
#[case("resources/list")]
#[case("resources/templates/list")]
#[case("no/such/method")]
fn what_is_not_offered_is_not_there(#[case] method: &str) {
    let scene = Scene::new();
    let answer = Wire::open(&scene).request(method, json!({}));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}

#[test]
fn a_line_that_is_too_long() {
    let scene = Scene::new();
    let mut wire = Wire::open(&scene);
    let _asked = wire.begin("execute_command", json!({ "command": "x".repeat(5 << 20) }));
    // Whatever becomes of the line, the server tells or passes it over, and serves on.
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
