//! The server over HTTP: who is let in, whose jobs are whose, what no well-behaved client sends, and how it ends.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE,
    client::{Answer::Says, Client, Era, Person},
    eventually,
    http::{Reply, Way, Web, stateless},
    scene::{ASKING, OPEN, Scene},
    wire::Wire,
};

pub(super) const ADA: &str = "ada-ada-ada-ada-ada-ada-ada-ada-ada";
pub(super) const BOB: &str = "bob-bob-bob-bob-bob-bob-bob-bob-bob";
pub(super) const SOON: Duration = Duration::from_secs(10);

/// With tokens for two, and everything allowed; `more` stands behind them, in `[http]`.
pub(super) fn scene(more: &str) -> Scene {
    scene_with(&format!("{more}\n{OPEN}"))
}

/// The same with other policies.
pub(super) fn scene_with(rest: &str) -> Scene {
    let scene = Scene::new();
    let tokens = tokens(&scene, &format!("# people\nada {ADA}\nbob {BOB}\n"));
    scene.configure(&format!("[http]\ntokens = {tokens:?}\n{rest}"));
    scene
}

pub(super) fn tokens(scene: &Scene, text: &str) -> PathBuf {
    let file = scene.outside("tokens", text);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

/// A request that every server answers.
pub(super) fn ping() -> (Value, Vec<(&'static str, String)>) {
    stateless("tools/list", json!({}))
}

pub(super) fn borrowed<'h>(headers: &'h [(&'static str, String)]) -> Vec<(&'h str, &'h str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The status of a request that would be answered, with these headers besides.
pub(super) fn status(web: &Web, token: &str, more: &[(&str, &str)]) -> u16 {
    let (message, headers) = ping();
    web.post(token, &[&borrowed(&headers)[..], more].concat(), &message).status
}

#[track_caller]
pub(super) fn assert_serves(web: &Web) {
    assert_eq!(status(web, ADA, &[]), 200);
}

// ── who is let in ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::none(&[])]
#[case::wrong(&[("Authorization", "Bearer ada-ada-ada-ada-ada-ada-ada-ada-adb")])]
#[case::part(&[("Authorization", "Bearer ada-ada-ada-ada-ada-ada-ada-ada-ad")])]
#[case::empty(&[("Authorization", "Bearer ")])]
#[case::name(&[("Authorization", "Bearer ada")])]
#[case::other_scheme(&[("Authorization", "Basic ada-ada-ada-ada-ada-ada-ada-ada-ada")])]
fn without_a_token_nobody_is_let_in(#[case] header: &[(&str, &str)]) {
    let scene = scene("");
    let web = Web::start(&scene);
    let (message, headers) = ping();
    let headers = [&borrowed(&headers)[..], header].concat();
    let reply = web.request("POST", "/mcp", &headers, message.to_string().as_bytes());
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{reply:?}");
    assert_serves(&web);
    assert!(!web.stderr().contains("ada-ada"), "{}", web.stderr());
}

#[test]
fn a_port_has_a_token_of_its_own_where_none_is_configured() {
    let scene = Scene::open("");
    let file = scene.base().join("state/portcullis/http-token");
    for _ in 0..2 {
        let web = Web::start(&scene);
        assert_eq!(status(&web, ADA, &[]), 401);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        let token = text.lines().find_map(|line| line.strip_prefix("local ")).unwrap();
        assert_eq!(status(&web, token, &[]), 200);
        let said = web.stderr();
        assert!(said.contains("http-token") && !said.contains(token), "{said}");
    }
}

#[rstest]
#[case::everywhere("0.0.0.0:0")]
#[case::everywhere_else("[::]:0")]
fn what_others_can_reach_needs_tokens(#[case] address: &str) {
    let done = Scene::open("").portcullis(["serve", "--http", address]).expect(3);
    assert!(done.stderr.contains("`http.tokens`") && done.stderr.contains("127.0.0.1"), "{}", done.stderr);
}

#[rstest]
#[case::readable(0o644, "ada ada-ada-ada-ada-ada-ada-ada-ada-ada", "chmod 600")]
#[case::short(0o600, "ada short", "32")]
#[case::empty(0o600, "# nobody", "no token")]
fn tokens_that_are_none(#[case] mode: u32, #[case] text: &str, #[case] said: &str) {
    let scene = scene("");
    fs::set_permissions(tokens(&scene, text), Permissions::from_mode(mode)).unwrap();
    let done = scene.portcullis(["serve", "--http", "127.0.0.1:0"]).expect(3);
    assert!(done.stderr.contains("http.tokens: ") && done.stderr.contains(said), "{}", done.stderr);
    assert!(!done.stderr.contains("ada-ada"), "{}", done.stderr);
}

#[test]
fn tokens_change_while_the_server_runs() {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sleep 600");
    let stream = listen(&web, ADA, &[format!("job://{job}/record")]);
    tokens(&scene, &format!("ada {BOB}\n"));
    web.signal(rustix::process::Signal::HUP);
    eventually("the old token is none any more", || (status(&web, ADA, &[]) == 401).then_some(()));
    // What was begun with it has ended, and the jobs are still those of the same principal.
    stream.ended();
    assert_eq!(web.tell(BOB, "get_job_status", json!({ "job_id": job }))["status"], "running");
}

#[rstest]
#[case::none(None, 200)]
#[case::own(Some("http://127.0.0.1:PORT"), 200)]
#[case::own_name(Some("http://localhost:PORT"), 200)]
#[case::configured(Some("https://chat.example.com"), 200)]
#[case::foreign(Some("https://evil.example.com"), 403)]
#[case::other_port(Some("http://localhost:1"), 403)]
#[case::other_scheme(Some("https://127.0.0.1:PORT"), 403)]
#[case::null(Some("null"), 403)]
#[case::garbage(Some("\u{fc}"), 403)]
fn pages_of_others_are_kept_out(#[case] origin: Option<&str>, #[case] expected: u16) {
    let scene = scene("origins = ['https://chat.example.com']");
    let web = Web::start(&scene);
    let origin = origin.map(|origin| origin.replace("PORT", &web.port().to_string()));
    let header: Vec<_> = origin.iter().map(|origin| ("Origin", origin.as_str())).collect();
    assert_eq!(status(&web, ADA, &header), expected);
}

#[rstest]
#[case::name("localhost", 200)]
#[case::configured("jobs.example.com:8443", 200)]
#[case::rebound("evil.example.com", 403)]
#[case::other_port("jobs.example.com:1", 403)]
#[case::begins_so("localhost.example.com", 403)]
#[case::no_host("", 403)]
fn names_of_others_are_kept_out(#[case] host: &str, #[case] expected: u16) {
    let scene = scene("hosts = ['jobs.example.com:8443']");
    let web = Web::start(&scene);
    let status = status(&web, ADA, &[("Host", host)]);
    assert!(status == expected || (expected == 403 && status == 400), "{status}");
}

// ── a unix socket ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_tools_at_a_socket(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::open("");
    let web = Web::start_at_socket(&scene);
    assert_eq!(fs::metadata(scene.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let client = Client::connect_at(&scene.socket(), None, era, Person::default(), web.pid()).await;
    assert_eq!(client.server().name, "portcullis");
    let job = client.execute("sh -c 'echo out; cat'").await;
    let answer = client.tell("interact_with_job", json!({ "job_id": job, "input": "in", "close": true })).await;
    assert!(answer["stdout"].as_str().unwrap().ends_with("in\n"), "{answer}");
    assert_eq!(client.ended(&job).await["exit_code"], 0);
    let output = client.tell("get_job_output", json!({ "job_id": job })).await;
    assert_eq!(client.tell("tail_job_output", json!({ "job_id": job })).await["stdout"], output["stdout"]);
    assert_eq!(output["stdout"], "out\nin\n");
    let found = client.tell("search_job_output", json!({ "job_id": job, "pattern": "^in$" })).await;
    assert_eq!(found["matches"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(client.tell("wait_for_job", json!({ "job_id": job })).await["status"], "completed");
    assert_eq!(client.tell("kill_job", json!({ "job_id": job })).await["status"], "already_terminated");
    assert_eq!(client.tell("list_jobs", json!({})).await["jobs"][0]["job_id"], job);
    assert!(client.refused("execute_command", json!({ "command": "eval x" })).await.contains("denied"));
    client.close().await;
    let audit = scene.audit();
    assert!(audit.iter().all(|line| line["principal"] == "local" || line["event"] == "not_started"), "{audit:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_over_http(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let web = Web::start_at_socket(&scene);
    let person = Person::who([Says("once"), Says("no")]);
    let client = Client::connect_at(&scene.socket(), None, era, person.clone(), web.pid()).await;
    let ran = client.tell("execute_command", json!({ "command": "cat notes.txt", "wait_ms": 30_000 })).await;
    assert_eq!(ran["output"]["stdout"], "one\ntwo\nthree\n");
    assert!(client.refused("execute_command", json!({ "command": "true" })).await.contains("said no"));
    assert_eq!(person.asked().len(), 2);
    client.close().await;
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_another_is_not() {
    let scene = Scene::open("");
    let mut first = Web::start_at_socket(&scene);
    let address = format!("unix:{}", scene.socket().display());
    let second = scene.portcullis(["serve", "--http", &address]).expect(125);
    assert!(second.stderr.contains("a server listens"), "{}", second.stderr);
    first.signal(rustix::process::Signal::KILL);
    first.exit_within(SOON);
    assert!(fs::metadata(scene.socket()).unwrap().file_type().is_socket());
    let mut third = Web::start_at_socket(&scene);
    // It answers, so it heeds signals.
    assert_eq!(third.request("GET", "/healthz", &[], b"").status, 200);
    third.signal(rustix::process::Signal::TERM);
    third.exit_within(SOON);
    assert!(!scene.socket().exists());
}

#[test]
fn a_socket_is_where_nobody_else_could_put_one() {
    let scene = Scene::open("");
    let said = |path: &Path| scene.portcullis(["serve", "--http", &format!("unix:{}", path.display())]).expect(125).stderr;
    assert!(said(&scene.root().join("a.sock")).contains("job root"));
    let shared = scene.base().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    assert!(said(&shared.join("a.sock")).contains("others can write"));
    let file = scene.outside("a.sock", "precious");
    assert!(said(&file).contains("no socket"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(said(&scene.base().join("nowhere/a.sock")).contains("no directory"));
}

// ── whose is whose ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn nobody_has_anything_of_anothers() {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sh -c 'echo secret; sleep 600'");
    let unknown = uuid::Uuid::new_v4().to_string();
    assert_eq!(web.tell(BOB, "list_jobs", json!({}))["jobs"], json!([]));
    // Of another's job is said what is said of one that never was.
    let same = |theirs: Value, nobodys: Value| assert_eq!(theirs.to_string().replace(&job, &unknown), nobodys.to_string());
    for (tool, more) in [
        ("get_job_status", json!({})),
        ("get_job_output", json!({})),
        ("tail_job_output", json!({})),
        ("wait_for_job", json!({ "wait_ms": 0 })),
        ("search_job_output", json!({ "pattern": "x" })),
        ("interact_with_job", json!({ "input": "x" })),
        ("kill_job", json!({})),
    ] {
        let about = |id: &str| {
            let mut arguments = more.clone();
            arguments["job_id"] = id.into();
            web.call(BOB, tool, arguments)
        };
        let theirs = about(&job);
        assert_eq!(theirs["isError"], true, "{tool}: {theirs}");
        same(theirs, about(&unknown));
    }
    for part in ["stdout", "stderr", "merged", "record"] {
        let about = |id: &str| web.ask(BOB, "resources/read", json!({ "uri": format!("job://{id}/{part}") }));
        same(about(&job), about(&unknown));
    }
    for method in ["tasks/get", "tasks/cancel"] {
        let meta =
            json!({ "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } });
        let about = |id: &str| web.ask(BOB, method, json!({ "taskId": id, "_meta": meta }));
        let theirs = about(&job);
        assert!(theirs["error"].is_object(), "{theirs}");
        same(theirs, about(&unknown));
    }
    let asked = json!({ "ref": { "type": "ref/resource", "uri": "job://{job_id}/stdout" }, "argument": { "name": "job_id", "value": "" } });
    let completed = |token| web.ask(token, "completion/complete", asked.clone())["result"]["completion"]["values"].clone();
    assert_eq!((completed(ADA), completed(BOB)), (json!([job]), json!([])));
    assert_eq!(web.ask(BOB, "resources/list", json!({}))["result"]["resources"], json!([]));
    let explain = json!({ "name": "explain_job", "arguments": { "job_id": job } });
    assert!(web.ask(BOB, "prompts/get", explain)["error"].is_object());
    assert_eq!(web.tell(ADA, "get_job_status", json!({ "job_id": job }))["status"], "running");
    let decisions = scene.audit();
    assert_eq!((&decisions[0]["principal"], &decisions[0]["client"]), (&"ada".into(), &"web".into()));
}

#[test]
fn a_session_is_its_principals() {
    let scene = scene("");
    let web = Web::start(&scene);
    let session = begin_session(&web);
    let of_it = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    assert_eq!(web.post(BOB, &of_it, &list).status, 404);
    let bearer = format!("Bearer {BOB}");
    let of_bob = [&of_it[..], &[("Authorization", bearer.as_str())]].concat();
    assert_eq!(web.request("GET", "/mcp", &of_bob, b"").status, 404);
    web.request("DELETE", "/mcp", &of_bob, b"");
    let listed = web.post(ADA, &of_it, &list).message().unwrap();
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    // And ends when its own says so.
    let bearer = format!("Bearer {ADA}");
    let of_ada = [&of_it[..], &[("Authorization", bearer.as_str())]].concat();
    assert_eq!(web.request("DELETE", "/mcp", &of_ada, b"").status, 202);
    assert_eq!(web.post(ADA, &of_it, &list).status, 404);
}

#[test]
fn the_history_is_each_ones_own() {
    let scene = scene("");
    let job = {
        let web = Web::start(&scene);
        let job = web.execute(ADA, "true");
        eventually("the job ends", || {
            (web.tell(ADA, "get_job_status", json!({ "job_id": job }))["status"] == "completed").then_some(())
        });
        job
    };
    let web = Web::start(&scene);
    assert_eq!(web.tell(ADA, "list_jobs", json!({}))["jobs"][0]["job_id"], job);
    assert_eq!(web.tell(BOB, "list_jobs", json!({}))["jobs"], json!([]));
    drop(web);
    let mut wire = Wire::open(&scene);
    assert_eq!(wire.tell("list_jobs", json!({}))["jobs"], json!([]));
}

#[test]
fn an_answer_is_worth_something_to_who_was_asked_alone() {
    let scene = scene_with(ASKING);
    let web = Web::start(&scene);
    let able = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
    let call = |more: Value| {
        let mut params = json!({ "name": "execute_command", "arguments": { "command": "true" }, "_meta": able });
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let asked = web.ask(ADA, "tools/call", call(json!({})))["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let answer = json!({
        "requestState": asked["requestState"],
        "inputResponses": { "answer": { "action": "accept", "content": { "answer": "always" } } },
    });
    let stolen = web.ask(BOB, "tools/call", call(answer.clone()));
    assert_eq!(stolen["error"]["code"], -32602, "{stolen}");
    assert_ne!(web.ask(ADA, "tools/call", call(answer))["result"]["isError"], true);
    // What stands for good stands for who said it.
    assert_ne!(web.ask(ADA, "tools/call", call(json!({})))["result"]["resultType"], "input_required");
    assert_eq!(web.ask(BOB, "tools/call", call(json!({})))["result"]["resultType"], "input_required");
}

#[test]
fn who_has_many_jobs_leaves_room_for_others() {
    let scene = scene("[principals]\nmax_running = 1\nmax_queued = 1\noutput_bytes = 65536");
    let web = Web::start(&scene);
    web.execute(ADA, "sleep 600");
    let queued = web.execute(ADA, "sleep 600");
    assert_eq!(web.tell(ADA, "get_job_status", json!({ "job_id": queued }))["status"], "queued");
    let refused = web.call(ADA, "execute_command", json!({ "command": "sleep 600" }));
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("`principals.max_running`") && text.contains("`principals.max_queued`"), "{text}");
    let kept = |job: &str| {
        web.tell(BOB, "wait_for_job", json!({ "job_id": job, "wait_ms": 30_000 }));
        web.call(BOB, "get_job_status", json!({ "job_id": job }))["isError"] != true
    };
    let first = web.execute(BOB, "sh -c 'head -c 60000 /dev/zero | tr \"\\0\" x'");
    assert!(kept(&first));
    let second = web.execute(BOB, "sh -c 'head -c 60000 /dev/zero | tr \"\\0\" y'");
    assert!(kept(&second));
    // Only one of his fits.
    assert_eq!(web.call(BOB, "get_job_status", json!({ "job_id": first }))["isError"], true);
}

#[test]
fn too_many_requests_of_one_are_none_of_anothers() {
    let scene = scene("[principals]\nrequests_per_s = 3");
    let web = Web::start(&scene);
    let refused = eventually("there are too many", || {
        let (message, headers) = ping();
        Some(web.post(ADA, &borrowed(&headers), &message)).filter(|reply| reply.status == 429)
    });
    assert_eq!(refused.header("retry-after"), Some("1"), "{refused:?}");
    assert_eq!(status(&web, BOB, &[]), 200);
}

// ── what no well-behaved client sends ──────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::accept(b"{}", &[("Accept", "text/html")], 406)]
#[case::declared_too_long(b"", &[("Content-Length", "99999999999")], 413)]
#[case::other_version(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, &[("MCP-Protocol-Version", "2099-01-01")], 400)]
#[case::without_session(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &[], 400)]
#[case::session_of_nobody(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &[("Mcp-Session-Id", "../../x")], 404)]
fn bodies_and_headers_that_are_wrong(#[case] body: &[u8], #[case] headers: &[(&str, &str)], #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let bearer = format!("Bearer {ADA}");
    let headers = [&[("Authorization", bearer.as_str())], headers].concat();
    let reply = web.request("POST", "/mcp", &headers, body);
    assert_eq!(reply.status, expected, "{reply:?}");
    assert_serves(&web);
}

#[rstest]
#[case::method("PUT", "/mcp", 405)]
#[case::options("OPTIONS", "/mcp", 405)]
#[case::other_address("POST", "/mcp/", 404)]
#[case::around("POST", "/x/../mcp", 404)]
#[case::encoded("POST", "/%6dcp", 404)]
#[case::twice("POST", "//mcp", 404)]
#[case::files("GET", "/../../etc/passwd", 404)]
#[case::post_to_a_probe("POST", "/healthz", 405)]
fn methods_and_addresses_that_are_wrong(#[case] method: &str, #[case] path: &str, #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let bearer = format!("Bearer {ADA}");
    let reply = web.request(method, path, &[("Authorization", &bearer)], b"");
    assert_eq!(reply.status, expected, "{reply:?}");
    assert_serves(&web);
}

#[rstest]
#[case::no_http(b"\0\0\0\0\r\n\r\n".to_vec(), 400)]
#[case::two_lengths(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(), 400)]
#[case::long_header([b"GET /healthz HTTP/1.1\r\nX: ", &[b'x'; 70_000][..], b"\r\n\r\n"].concat(), 431)]
#[case::many_headers([b"GET /healthz HTTP/1.1\r\n", &b"X: x\r\n".repeat(100)[..], b"\r\n"].concat(), 431)]
#[case::long_address([b"GET /", &[b'x'; 70_000][..], b" HTTP/1.1\r\n\r\n"].concat(), 414)]
fn what_is_no_request(#[case] bytes: Vec<u8>, #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let status = web.exchange(&bytes).status;
    // An address that is too long may be found to be so as part of the headers.
    assert!(status == expected || (expected == 414 && status == 431), "{status}");
    assert_serves(&web);
}

#[test]
fn requests_that_are_too_long_or_too_deep() {
    let scene = scene("");
    let web = Web::start(&scene);
    let command = "x".repeat(10 << 20);
    let (message, headers) = stateless("tools/call", json!({ "name": "execute_command", "arguments": { "command": command } }));
    assert_eq!(web.post(ADA, &borrowed(&headers), &message).status, 413);
    // Short, but of more values than a call has.
    let (mut message, headers) = stateless("tools/call", json!({ "name": "list_jobs", "arguments": {} }));
    message["params"]["_meta"]["com.example/x"] = json!(vec![json!({}); 15_000]);
    assert_eq!(web.post(ADA, &borrowed(&headers), &message).status, 413);
    // The same without saying how long it is.
    let bearer = format!("Bearer {ADA}");
    let head = web.head("POST", "/mcp", &[("Authorization", &bearer), ("Transfer-Encoding", "chunked")], 0);
    let head = head.replace("Content-Length: 0\r\n", "");
    let chunk = [b"100000\r\n", &[b' '; 1 << 20][..], b"\r\n"].concat();
    assert_eq!(web.exchange(&[head.as_bytes(), &chunk.repeat(5)].concat()).status, 413);
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"list_jobs","arguments":{{"x":{deep}}}}}}}"#);
    assert_eq!(web.request("POST", "/mcp", &[("Authorization", &bearer)], deep.as_bytes()).status, 400);
    assert_serves(&web);
}

#[rstest]
#[case::no_meta(json!({}), 400)]
#[case::half_a_meta(json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } }), 400)]
#[case::other_version_than_the_header(json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2025-11-25" } }), 400)]
fn a_stateless_request_needs_its_meta(#[case] params: Value, #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params });
    let headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list")];
    let reply = web.post(ADA, &headers, &message);
    assert_eq!(reply.status, expected, "{reply:?}");
    assert!(reply.message().unwrap()["error"]["code"].is_i64(), "{reply:?}");
    assert_serves(&web);
}

#[rstest]
#[case("job://../../etc/passwd")]
#[case("file:///etc/passwd")]
#[case("job://%2e%2e/stdout")]
fn addresses_of_resources_that_are_none(#[case] uri: &str) {
    let scene = scene("");
    let web = Web::start(&scene);
    let answer = web.ask(ADA, "resources/read", json!({ "uri": uri }));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

// ── many, slow, and the end ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_hundred_clients_at_once() {
    let scene = scene("");
    let web = Web::start(&scene);
    let ask = |number: usize| {
        let token = if number.is_multiple_of(2) { ADA } else { BOB };
        let ran = web.tell(token, "execute_command", json!({ "command": format!("echo {number}"), "wait_ms": 30_000 }));
        assert_eq!(ran["output"]["stdout"], format!("{number}\n"), "{ran}");
    };
    std::thread::scope(|threads| (0..100).for_each(|number| drop(threads.spawn(move || ask(number)))));
    let count = |token| web.tell(token, "list_jobs", json!({}))["jobs"].as_array().unwrap().len();
    assert_eq!((count(ADA), count(BOB)), (50, 50));
}

/// A stream of events that is open: what it says so far, and its end.
pub(super) struct Stream(BufReader<Box<dyn Way>>);

pub(super) fn listen(web: &Web, token: &str, uris: &[String]) -> Stream {
    let (message, headers) = stateless("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": uris } }));
    let bearer = format!("Bearer {token}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str())]].concat();
    let (mut way, body) = (web.connect(), message.to_string());
    way.write_all((web.head("POST", "/mcp", &headers, body.len()) + &body).as_bytes()).unwrap();
    let mut stream = Stream::of(way);
    assert!(stream.says("HTTP/1.1").contains("200"));
    stream.says("acknowledged");
    stream
}

impl Stream {
    pub(super) fn of(way: Box<dyn Way>) -> Self {
        Self(BufReader::new(way))
    }

    /// The next line with this in it.
    pub(super) fn says(&mut self, what: &str) -> String {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended before it said {what}");
        }
        line
    }

    /// Waits for its end.
    pub(super) fn ended(mut self) {
        self.0.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn who_reads_nothing_holds_up_nobody_else() {
    const BYTES: usize = 200_000;
    let scene = scene("");
    let web = Web::start(&scene);
    let ran = json!({ "command": format!("sh -c 'head -c {BYTES} /dev/zero | tr \"\\0\" x'"), "wait_ms": 30_000 });
    let job = web.tell(ADA, "execute_command", ran)["job_id"].as_str().unwrap().to_owned();
    // Each asks for more than its socket takes, and reads none of it.
    let asked = json!({ "name": "get_job_output", "arguments": { "job_id": job, "max_bytes": BYTES } });
    let (message, headers) = stateless("tools/call", asked);
    let bearer = format!("Bearer {ADA}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str()), ("Connection", "keep-alive")]].concat();
    let body = message.to_string();
    let request = web.head("POST", "/mcp", &headers, body.len()) + &body;
    let deaf: Vec<_> = (0..10)
        .map(|_| {
            let mut way = web.connect();
            way.write_all(request.repeat(30).as_bytes()).unwrap();
            way
        })
        .collect();
    for token in [ADA, BOB] {
        let ran = web.tell(token, "execute_command", json!({ "command": "echo out", "wait_ms": 30_000 }));
        assert_eq!(ran["output"]["stdout"], "out\n");
    }
    drop(deaf);
}

#[test]
fn who_listens_is_told() {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sh -c 'cat; sleep 600'");
    // Another's are as good as none.
    let mut stream = listen(&web, ADA, &[format!("job://{job}/stdout")]);
    let mut of_bob = listen(&web, BOB, &[format!("job://{job}/record")]);
    web.call(ADA, "interact_with_job", json!({ "job_id": job, "input": "x" }));
    assert!(stream.says("notifications/resources/updated").contains(&job));
    web.tell(ADA, "kill_job", json!({ "job_id": job, "grace_ms": 0 }));
    stream.says("notifications/resources/updated");
    let own = web.execute(BOB, "true");
    drop((own, stream));
    of_bob.0.get_mut().close();
}

#[rstest]
#[case::stateless(true)]
#[case::session(false)]
fn open_streams_and_calls_do_not_hold_up_the_end(#[case] is_stateless: bool) {
    let scene = scene("");
    let mut web = Web::start(&scene);
    let job = web.execute(ADA, "sleep 600");
    let waits = if is_stateless { listen(&web, ADA, &[format!("job://{job}/stdout")]) } else { session_stream(&web) };
    // A call that waits for ten minutes.
    let asked = json!({ "name": "wait_for_job", "arguments": { "job_id": job, "wait_ms": 600_000 } });
    let (message, headers) = stateless("tools/call", asked);
    let bearer = format!("Bearer {ADA}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str())]].concat();
    let (mut way, body) = (web.connect(), message.to_string());
    way.write_all((web.head("POST", "/mcp", &headers, body.len()) + &body).as_bytes()).unwrap();
    // And one that is never whole.
    let mut half = web.connect();
    half.write_all(b"POST /mcp HTTP/1.1\r\nHost: x").unwrap();
    web.tell(BOB, "list_jobs", json!({}));
    let began = Instant::now();
    web.signal(rustix::process::Signal::TERM);
    assert_eq!(web.exit_within(SOON).code(), Some(143));
    // Alone it takes less than a second; this machine may be busy.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    scene.deserted();
    waits.ended();
    let reply = Reply::read(&mut *way);
    assert!(reply.body.contains("the server is ending") || reply.body.contains("killed"), "{reply:?}");
}

/// The stream of a session, as clients open it with GET.
fn session_stream(web: &Web) -> Stream {
    let session = begin_session(web);
    let bearer = format!("Bearer {ADA}");
    let headers = [("Authorization", bearer.as_str()), ("Mcp-Session-Id", &session), ("MCP-Protocol-Version", "2025-11-25")];
    let mut way = web.connect();
    way.write_all(web.head("GET", "/mcp", &headers, 0).as_bytes()).unwrap();
    let mut stream = Stream::of(way);
    assert!(stream.says("HTTP/1.1").contains("200"));
    stream
}

/// A session of Ada's.
fn begin_session(web: &Web) -> String {
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "web", "version": "0" } });
    let reply = web.post(ADA, &[], &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let session = reply.header("mcp-session-id").unwrap().to_owned();
    let headers = [("Mcp-Session-Id", session.as_str()), ("MCP-Protocol-Version", "2025-11-25")];
    assert_eq!(web.post(ADA, &headers, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).status, 202);
    session
}

#[test]
fn where_there_are_too_many_sessions_the_stalest_ends() {
    const MOST: usize = 256;
    let scene = scene("[principals]\nrequests_per_s = 10000");
    let web = Web::start(&scene);
    let sessions: Vec<_> = (0..=MOST).map(|_| begin_session(&web)).collect();
    let status = |session: &str| {
        let headers = [("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")];
        web.post(ADA, &headers, &json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" })).status
    };
    eventually("the first has ended", || (status(&sessions[0]) == 404).then_some(()));
    assert_eq!((status(&sessions[1]), status(&sessions[MOST])), (200, 200));
}

#[test]
fn it_is_ready_when_its_policies_are_loaded() {
    let scene = scene("");
    let mut web = Web::start(&scene);
    let get = |path: &str| web.request("GET", path, &[], b"");
    let live = get("/healthz");
    assert_eq!((live.status, live.body.as_str()), (200, "yes\n"));
    eventually("the policies are loaded", || (get("/readyz").status == 200).then_some(()));
    assert_eq!(web.request("HEAD", "/readyz", &[], b"").status, 200);
    web.signal(rustix::process::Signal::INT);
    assert_eq!(web.exit_within(SOON).code(), Some(130));
}

/// The guest takes as long as it may, and then some.
#[test]
fn it_lives_before_it_is_ready_and_ends_if_it_never_is() {
    let scene = Scene::with_guest("{ configure = 'loop' }");
    let mut web = Web::start_at_socket(&scene);
    let get = |path: &str| web.request("GET", path, &[], b"").status;
    assert_eq!((get("/healthz"), get("/readyz")), (200, 503));
    assert_eq!(web.exit_within(2 * DEADLINE).code(), Some(3));
    assert!(!scene.socket().exists());
}
