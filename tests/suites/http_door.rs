//! The door of HTTP: strangers, clients that read nothing, requests that two would read differently, bodies that are no messages,
//! files of tokens that others could reach.

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::http::{ADA, BOB, SOON, assert_serves, borrowed, listen, ping, scene, status, tokens};
use crate::support::{
    DEADLINE, eventually,
    http::{Reply, Web, stateless},
    scene::Scene,
    within,
};

/// Sockets of the server: those of its clients, and a few of its own.
fn sockets(web: &Web) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", web.pid())).unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// A request that every server answers, as its sender would go on after it.
fn kept_alive(web: &Web, path: &str, headers: &[(&str, &str)]) -> String {
    let (message, standard) = ping();
    let headers = [&borrowed(&standard)[..], &[("Connection", "keep-alive")], headers].concat();
    let body = message.to_string();
    web.head("POST", path, &headers, body.len()) + &body
}

// ── connections ────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::no_token("/mcp", &[], 401)]
#[case::other_token("/mcp", &[("Authorization", "Bearer x")], 401)]
#[case::nothing_there("/x", &[], 404)]
#[case::probe("/healthz", &[], 405)]
#[case::other_name("/mcp", &[("Host", "evil.example.com")], 403)]
#[case::twice("/mcp", &[("Host", "localhost"), ("Host", "localhost")], 400)]
fn who_shows_no_token_is_answered_once(#[case] path: &str, #[case] headers: &[(&str, &str)], #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let reply = web.exchange(kept_alive(&web, path, headers).repeat(3).as_bytes());
    assert_eq!((reply.status, reply.header("connection")), (expected, Some("close")), "{reply:?}");
    assert!(!reply.body.contains("HTTP/1.1"), "{reply:?}");
    // Who shows one is answered as long as it asks.
    let mut way = web.connect();
    let bearer = format!("Bearer {ADA}");
    let known = kept_alive(&web, "/mcp", &[("Authorization", &bearer)]);
    way.write_all((known.repeat(2) + &kept_alive(&web, "/healthz", &[])).as_bytes()).unwrap();
    let reply = Reply::read(&mut way);
    assert_eq!((reply.status, reply.body.matches("HTTP/1.1 200").count()), (200, 1), "{reply:?}");
}

/// Some send nothing, others never a whole request.
#[test]
fn strangers_shut_out_nobody() {
    const MOST: usize = 128;
    let scene = scene("");
    let web = Web::start(&scene);
    let own = sockets(&web);
    let mut strangers: Vec<_> = (0..3 * MOST)
        .map(|number| {
            let mut way = web.connect();
            way.write_all(&b"GET /healthz HTTP/1.1\r\nHo"[..number % 2 * 25]).unwrap();
            way
        })
        .collect();
    for _ in 0..20 {
        assert_serves(&web);
    }
    // It came after all of them.
    assert!(sockets(&web) <= own + MOST + 1, "{} and {own}", sockets(&web));
    // The last are still there, the first are not.
    let mut last = strangers.pop().unwrap();
    last.write_all(b"st: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(Reply::read(&mut last).status, 200);
    assert!(matches!(strangers[0].read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn who_reads_nothing_is_hung_up_on() {
    const BYTES: usize = 200_000;
    let scene = scene("");
    let web = Web::start(&scene);
    let ran = json!({ "command": format!("sh -c 'head -c {BYTES} /dev/zero | tr \"\\0\" x'"), "wait_ms": 30_000 });
    let job = web.tell(ADA, "execute_command", ran)["job_id"].as_str().unwrap().to_owned();
    let other = web.execute(ADA, "sleep 600");
    // To whom nothing is said for long is not concerned.
    let mut stream = listen(&web, ADA, &[format!("job://{other}/record")]);
    let before = sockets(&web);
    let (message, headers) =
        stateless("tools/call", json!({ "name": "get_job_output", "arguments": { "job_id": job, "max_bytes": BYTES } }));
    let bearer = format!("Bearer {ADA}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str()), ("Connection", "keep-alive")]].concat();
    let body = message.to_string();
    let request = web.head("POST", "/mcp", &headers, body.len()) + &body;
    let mut deaf = web.connect();
    deaf.write_all(request.repeat(60).as_bytes()).unwrap();
    eventually("it is answered", || (sockets(&web) > before).then_some(()));
    within(3 * DEADLINE, "it is hung up on", || (sockets(&web) == before).then_some(()));
    web.tell(ADA, "kill_job", json!({ "job_id": other, "grace_ms": 0 }));
    stream.says("notifications/resources/updated");
}

// ── requests that two would read differently ───────────────────────────────────────────────────────────────────────────────

#[rstest]
fn there_is_one_of_each_header(
    #[values("Authorization", "Host", "Origin", "Mcp-Session-Id", "MCP-Protocol-Version", "Content-Type")] name: &str,
    #[values("/mcp", "/healthz")] path: &str,
) {
    let scene = scene("");
    let web = Web::start(&scene);
    let (bearer, origin) = (format!("Bearer {ADA}"), format!("http://localhost:{}", web.port()));
    let value = match name {
        "Authorization" => &bearer,
        "Host" => "localhost",
        "Origin" => &origin,
        "MCP-Protocol-Version" => "2026-07-28",
        "Content-Type" => "application/json",
        _ => "x",
    };
    let reply = web.request("POST", path, &[("Authorization", &bearer), (name, value), (name, value)], b"{}");
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.body.contains(&name.to_lowercase()), "{reply:?}");
}

#[rstest]
#[case::foreign_host(&[("Host", "evil.example.com")], 403)]
#[case::foreign_origin(&[("Origin", "http://evil.example.com")], 403)]
#[case::no_page(&[("Origin", "null")], 403)]
#[case::empty_origin(&[("Origin", "")], 403)]
#[case::empty_host(&[("Host", "")], 400)]
fn names_are_looked_at_before_all_else(
    #[case] headers: &[(&str, &str)],
    #[case] expected: u16,
    #[values("/mcp", "/healthz", "/readyz", "/x")] path: &str,
) {
    let scene = scene("");
    let web = Web::start(&scene);
    let reply = web.request("GET", path, headers, b"");
    assert_eq!(reply.status, expected, "{reply:?}");
}

#[rstest]
#[case::own("/mcp", &[("Host", "LOCALHOST:1")], 200)]
#[case::whole("http://localhost/mcp", &[], 200)]
#[case::whole_and_foreign("http://evil.example.com/mcp", &[("Host", "localhost")], 403)]
#[case::whole_of_a_user("http://evil@localhost/mcp", &[], 400)]
#[case::foreign("http://localhost/mcp", &[("Host", "evil.example.com")], 403)]
#[case::user("/mcp", &[("Host", "evil@localhost")], 400)]
#[case::no_port("/mcp", &[("Host", "localhost:abc")], 400)]
#[case::signed_port("/mcp", &[("Host", "localhost:+80")], 400)]
#[case::list("/mcp", &[("Host", "localhost, evil.example.com")], 400)]
#[case::page("/mcp", &[("Origin", "http://localhost:PORT")], 200)]
#[case::page_of_a_user("/mcp", &[("Origin", "http://evil@localhost:PORT")], 403)]
#[case::page_with_a_path("/mcp", &[("Origin", "http://localhost:PORT/")], 403)]
#[case::pages("/mcp", &[("Origin", "http://localhost:PORT, http://evil.example.com")], 403)]
fn names_mean_what_they_say(#[case] path: &str, #[case] headers: &[(&'static str, &str)], #[case] expected: u16) {
    let scene = scene("");
    let web = Web::start(&scene);
    let port = web.port().to_string();
    let own: Vec<_> = headers.iter().map(|(name, value)| (*name, value.replace("PORT", &port))).collect();
    let (message, standard) = ping();
    let bearer = format!("Bearer {ADA}");
    let headers = [&borrowed(&standard)[..], &borrowed(&own), &[("Authorization", bearer.as_str())]].concat();
    let reply = web.request("POST", path, &headers, message.to_string().as_bytes());
    assert_eq!(reply.status, expected, "{reply:?}");
}

// ── bodies that are no messages ────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::garbage(b"garbage", -32700)]
#[case::nothing(b"", -32700)]
#[case::half(br#"{"jsonrpc":"2.0","id":1"#, -32700)]
#[case::no_text(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700)]
#[case::batch(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600)]
#[case::empty_batch(b"[]", -32600)]
#[case::null(b"null", -32600)]
#[case::empty(b"{}", -32600)]
#[case::other_version(br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600)]
#[case::id_null(br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600)]
#[case::id_part(br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600)]
#[case::id_object(br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600)]
#[case::id_huge(br#"{"jsonrpc":"2.0","id":99999999999999999999999999,"method":"ping"}"#, -32600)]
fn a_body_that_is_no_message(#[case] body: &[u8], #[case] code: i64) {
    let scene = scene("");
    let web = Web::start(&scene);
    let bearer = format!("Bearer {ADA}");
    let reply = web.request("POST", "/mcp", &[("Authorization", &bearer)], body);
    assert_eq!((reply.status, reply.header("content-type")), (400, Some("application/json")), "{reply:?}");
    let message = reply.message().unwrap();
    assert_eq!((&message["error"]["code"], &message["id"]), (&json!(code), &Value::Null), "{message}");
    assert_serves(&web);
}

#[rstest]
#[case::none("")]
#[case::text("text/plain")]
#[case::other("application/jsonx")]
fn a_body_says_that_it_is_json(#[case] kind: &str) {
    let scene = scene("");
    let web = Web::start(&scene);
    assert_eq!(status(&web, ADA, &[("Content-Type", "Application/JSON; charset=utf-8")]), 200);
    let (message, headers) = ping();
    let reply = web.post(ADA, &[&borrowed(&headers)[..], &[("Content-Type", kind)]].concat(), &message);
    assert_eq!(reply.status, 415);
    assert!(reply.body.contains("application/json"), "{reply:?}");
}

#[test]
fn who_nests_too_deep_is_told_how_deep_is_right() {
    let scene = scene("");
    let web = Web::start(&scene);
    let deep = "[".repeat(128) + &"]".repeat(128);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{deep}}}"#);
    let reply = web.request("POST", "/mcp", &[("Authorization", &format!("Bearer {ADA}"))], body.as_bytes());
    let error = reply.message().unwrap()["error"].clone();
    assert!(reply.status == 400 && error["message"].as_str().unwrap().contains("127"), "{reply:?}");
}

// ── tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_call_whose_token_goes_is_told_so() {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sleep 600");
    let (message, headers) =
        stateless("tools/call", json!({ "name": "wait_for_job", "arguments": { "job_id": job, "wait_ms": 600_000 } }));
    let bearer = format!("Bearer {ADA}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str())]].concat();
    let (mut way, body) = (web.connect(), message.to_string());
    way.write_all((web.head("POST", "/mcp", &headers, body.len()) + &body).as_bytes()).unwrap();
    tokens(&scene, &format!("bob {BOB}\n"));
    // It may not have begun to wait; then it is told the same.
    web.signal(Signal::HUP);
    let reply = Reply::read(&mut way);
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{reply:?}");
    assert_eq!(status(&web, BOB, &[]), 200);
}

/// The file of the server's own token, and what became of it before the server starts.
#[rstest]
#[case::lax_directory(|_: &Scene, file: &Path| {
    fs::set_permissions(file.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
}, "others can write")]
#[case::dangling_link(|scene: &Scene, file: &Path| symlink(scene.base().join("nowhere"), file).unwrap(), "is a link")]
#[case::link(|scene: &Scene, file: &Path| symlink(secret(scene), file).unwrap(), "is a link")]
#[case::second_name(|scene: &Scene, file: &Path| fs::hard_link(secret(scene), file).unwrap(), "2 names")]
fn a_token_of_its_own_is_where_nobody_else_reaches(#[case] spoil: fn(&Scene, &Path), #[case] said: &str) {
    let scene = Scene::open("");
    let file = scene.base().join("state/portcullis/http-token");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    spoil(&scene, &file);
    let done = scene.portcullis(["serve", "--http", "127.0.0.1:0"]).expect(3);
    assert!(done.stderr.contains(said) && !done.stderr.contains("ada-ada"), "{}", done.stderr);
    assert!(!scene.base().join("nowhere").exists());
}

/// A file of tokens as good as any, at another place.
fn secret(scene: &Scene) -> std::path::PathBuf {
    let file = scene.outside("secret", format!("local {ADA}\n"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

#[test]
fn a_file_of_tokens_has_one_name() {
    let scene = scene("");
    fs::hard_link(scene.base().join("outside/tokens"), scene.root().join("tokens")).unwrap();
    let done = scene.portcullis(["serve", "--http", "127.0.0.1:0"]).expect(3);
    assert!(done.stderr.contains("2 names") && !done.stderr.contains("ada-ada"), "{}", done.stderr);
}

// ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Again and again, since when policies are loaded is the machine's.
#[test]
fn who_is_ended_while_it_loads_ends_without_a_word() {
    let scene = scene("");
    for _ in 0..8 {
        let mut web = Web::start(&scene);
        // It answers, so it heeds signals.
        assert_eq!(web.request("GET", "/healthz", &[], b"").status, 200);
        web.signal(Signal::TERM);
        assert_eq!(web.exit_within(SOON).code(), Some(143));
        assert!(!web.stderr().contains("panicked"), "{}", web.stderr());
    }
}

// ── what a client that is known may take ───────────────────────────────────────────────────────────────────────────────────

/// Most memory that the server had since it was forgotten last, in KiB.
fn peak(web: &Web) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", web.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn forget_peak(web: &Web) {
    fs::write(format!("/proc/{}/clear_refs", web.pid()), "5").unwrap();
}

#[test]
fn a_body_takes_its_size_however_it_is_cut() {
    const PIECES: usize = 400_000;
    let scene = scene("");
    let web = Web::start(&scene);
    // The policies are loaded by then, which takes memory too.
    web.tell(ADA, "execute_command", json!({ "command": "true", "wait_ms": 60_000 }));
    let bearer = format!("Bearer {ADA}");
    let head = web.head("POST", "/mcp", &[("Authorization", &bearer), ("Transfer-Encoding", "chunked")], 0);
    let head = head.replace("Content-Length: 0\r\n", "");
    let send = |pieces| {
        let reply = web.exchange(format!("{head}{}0\r\n\r\n", "1\r\nx\r\n".repeat(pieces)).as_bytes());
        assert_eq!((reply.status, reply.message().unwrap()["error"]["code"].as_i64()), (400, Some(-32700)), "{reply:?}");
    };
    // The program itself is read into memory as it is needed.
    send(1000);
    forget_peak(&web);
    let before = peak(&web);
    send(PIECES);
    let taken = (peak(&web) - before) * 1024;
    assert!(taken < 16 * PIECES as u64, "{taken} bytes");
}

/// A request that its sender could go on after, of one who is known.
fn asked(web: &Web, token: &str, tool: &str, arguments: Value) -> String {
    let (message, headers) = stateless("tools/call", json!({ "name": tool, "arguments": arguments }));
    let bearer = format!("Bearer {token}");
    let headers = [&borrowed(&headers)[..], &[("Authorization", bearer.as_str()), ("Connection", "keep-alive")]].concat();
    let body = message.to_string();
    web.head("POST", "/mcp", &headers, body.len()) + &body
}

#[test]
fn one_principal_keeps_no_other_out() {
    const MOST: usize = 384;
    let scene = scene("[principals]\nrequests_per_s = 100000");
    let web = Web::start(&scene);
    let request = asked(&web, ADA, "list_jobs", json!({}));
    let ways: Vec<_> = (0..MOST)
        .map(|_| {
            let mut way = web.connect();
            way.write_all(request.as_bytes()).unwrap();
            assert_ne!(way.read(&mut [0; 4096]).unwrap(), 0);
            way
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(status(&web, BOB, &[]), 200);
    }
    drop(ways);
}

#[test]
fn who_is_not_admitted_keeps_no_connection() {
    let scene = scene("[principals]\nrequests_per_s = 1");
    let web = Web::start(&scene);
    let mut way = web.connect();
    // The first may be admitted; of the others, of which none comes a second later, some are not.
    way.write_all(asked(&web, ADA, "list_jobs", json!({})).repeat(60).as_bytes()).unwrap();
    let mut text = String::new();
    drop(way.read_to_string(&mut text));
    let last = &text[text.rfind("HTTP/1.1").unwrap()..];
    assert!(last.starts_with("HTTP/1.1 429") && last.contains("connection: close"), "{last}");
    assert_eq!(text.matches("HTTP/1.1 429").count(), 1, "{text}");
}

/// Something lies behind their requests, which nobody reads before they are answered.
#[rstest]
#[case::nothing("")]
#[case::a_byte("P")]
#[case::a_request("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")]
fn who_is_gone_waits_for_nothing(#[case] behind: &str) {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sleep 600");
    let before = sockets(&web);
    let request = asked(&web, ADA, "wait_for_job", json!({ "job_id": job, "wait_ms": 600_000 })) + behind;
    let list = || web.ask(ADA, "tools/call", json!({ "name": "list_jobs", "arguments": {} }));
    let mut ways = Vec::new();
    eventually("as many calls are in progress as may be", || {
        let mut way = web.connect();
        way.write_all(request.as_bytes()).unwrap();
        ways.push(way);
        list()["error"].is_object().then_some(())
    });
    drop(ways);
    eventually("their places are free", || list()["result"].is_object().then_some(()));
    eventually("their connections are closed", || (sockets(&web) <= before).then_some(()));
    assert_eq!(web.tell(ADA, "get_job_status", json!({ "job_id": job }))["status"], "running");
}

#[rstest]
#[case::at_a_port(Web::start)]
#[case::at_a_socket(Web::start_at_socket)]
fn who_sends_nothing_more_is_answered(#[case] start: fn(&Scene) -> Web) {
    let scene = scene("");
    let web = start(&scene);
    let last = |tool: &str, arguments: Value| {
        let mut way = web.connect();
        way.write_all(asked(&web, ADA, tool, arguments).as_bytes()).unwrap();
        way.close();
        let reply = Reply::read(&mut way);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.message().unwrap()["result"]["structuredContent"].clone()
    };
    let ran = last("execute_command", json!({ "command": "sh -c 'echo out > made; exec sleep 600'", "wait_ms": 600_000 }));
    eventually("it ran", || scene.root().join("made").exists().then_some(()));
    let waited = last("wait_for_job", json!({ "job_id": ran["job_id"], "wait_ms": 600_000 }));
    assert_eq!((&waited["met"], &waited["status"]), (&json!("time_up"), &json!("running")), "{waited}");
    assert_eq!(last("list_jobs", json!({}))["jobs"][0]["status"], "running");
}

/// What is read late is not lost: only what is too much is not sent, and all of it can be asked for again.
#[test]
fn what_nobody_reads_takes_so_much_and_no_more() {
    const BYTES: usize = 1 << 20;
    const CLIENTS: usize = 60;
    let scene = scene("[jobs]\noutput_bytes = 4194304");
    fs::write(scene.root().join("big"), vec![1; BYTES]).unwrap();
    let web = Web::start(&scene);
    let ran = web.tell(ADA, "execute_command", json!({ "command": "cat big", "wait_ms": 60_000, "max_bytes": 10 }));
    let page = |tidy: usize| json!({ "job_id": ran["job_id"], "max_bytes": BYTES - tidy });
    let request = asked(&web, ADA, "get_job_output", page(0)).replace("keep-alive", "close");
    let alone = web.exchange(request.as_bytes());
    assert_eq!(alone.status, 200, "{}", alone.head);
    forget_peak(&web);
    let before = peak(&web);
    let mut ways: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut way = web.connect();
            way.write_all(request.as_bytes()).unwrap();
            way
        })
        .collect();
    let statuses: Vec<_> = ways.iter_mut().map(|way| Reply::read(way).status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    let taken = (peak(&web) - before) * 1024;
    assert!(taken < (CLIENTS * alone.body.len() / 2) as u64, "{taken} bytes, {} each", alone.body.len());
    assert_eq!(status(&web, BOB, &[]), 200);
}

#[rstest]
#[case::bytes(json!("x".repeat(70_000)))]
#[case::values(json!(vec![0; 2000]))]
fn a_session_begins_with_few_words(#[case] more: Value) {
    let scene = scene("");
    let web = Web::start(&scene);
    let begin = |more: &Value| {
        let able = json!({ "experimental": { "x": { "y": more } } });
        let hello =
            json!({ "protocolVersion": "2025-11-25", "capabilities": able, "clientInfo": { "name": "web", "version": "0" } });
        web.post(ADA, &[], &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }))
    };
    let refused = begin(&more);
    assert!(refused.status == 413 && refused.body.contains("`initialize`"), "{refused:?}");
    assert_eq!(begin(&json!("x".repeat(60_000))).status, 200);
}
