//! Sessions and principals over HTTP: how many there may be, what ends with a session and with a token, and whose turn it is.

use std::{collections::HashSet, fs, thread};

use rstest::rstest;
use serde_json::{Value, json};

use super::http::{ADA, BOB, Stream, borrowed, listen, scene, scene_with, status, tokens};
use crate::support::{
    DEADLINE, eventually,
    http::{Way, Web, stateless},
    scene::{ASKING, OPEN, Scene, keeping},
};

/// Another token of Ada's.
const SPARE: &str = "ada-ada-ada-ada-ada-ada-ada-ada-spare";
/// Most sessions, calls in progress, and addresses a principal is told of.
const MOST_SESSIONS: usize = 256;
const MOST_CALLS: usize = 128;
const MOST_ADDRESSES: usize = 1024;
const FAST: &str = "[principals]\nrequests_per_s = 100000";

/// Whoever Ada was, she has both tokens from now on.
fn give_spare(scene: &Scene) {
    tokens(scene, &format!("ada {ADA}\nada {SPARE}\nbob {BOB}\n"));
}

/// Begins a session of a client that can ask its user: its id.
fn begin(web: &Web, token: &str) -> String {
    let able = json!({ "elicitation": {} });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": able, "clientInfo": { "name": "web", "version": "0" } });
    let reply = web.post(token, &[], &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let session = reply.header("mcp-session-id").unwrap().to_owned();
    web.post(token, &of(&session), &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    session
}

/// The headers of what belongs to a session.
fn of(session: &str) -> [(&str, &str); 2] {
    [("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")]
}

fn lives(web: &Web, token: &str, session: &str) -> bool {
    let reply = web.post(token, &of(session), &json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }));
    assert!([200, 404].contains(&reply.status), "{reply:?}");
    reply.status == 200
}

fn end(web: &Web, token: &str, session: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [&of(session)[..], &[("Authorization", bearer.as_str())]].concat();
    assert_eq!(web.request("DELETE", "/mcp", &headers, b"").status, 202);
}

/// Sends a request and does not wait for its answer.
fn send(web: &Web, token: &str, headers: &[(&str, &str)], message: &Value) -> Box<dyn Way> {
    let bearer = format!("Bearer {token}");
    let headers = [headers, &[("Authorization", bearer.as_str())]].concat();
    let (mut way, body) = (web.connect(), message.to_string());
    way.write_all((web.head("POST", "/mcp", &headers, body.len()) + &body).as_bytes()).unwrap();
    way
}

fn call(id: usize, tool: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

// ── how many sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn there_are_never_more_sessions_than_may_be() {
    let scene = scene(FAST);
    let web = Web::start(&scene);
    let begun: Vec<_> = thread::scope(|threads| {
        let many = || (0..20).map(|_| begin(&web, ADA)).collect::<Vec<_>>();
        let all: Vec<_> = (0..20).map(|_| threads.spawn(many)).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(begun.len(), 400);
    assert_eq!(begun.iter().filter(|session| lives(&web, ADA, session)).count(), MOST_SESSIONS);
    assert!(lives(&web, BOB, &begin(&web, BOB)));
}

// ── what ends with a session ───────────────────────────────────────────────────────────────────────────────────────────────

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Said,
    Displaced,
    TokenGone,
}

#[rstest]
#[case::said(End::Said)]
#[case::displaced(End::Displaced)]
#[case::token_gone(End::TokenGone)]
fn the_calls_of_a_session_do_not_outlive_it(#[case] how: End) {
    let scene = scene(FAST);
    give_spare(&scene);
    let web = Web::start(&scene);
    let job = web.execute(SPARE, "sleep 600");
    let session = begin(&web, ADA);
    let wait = |id| call(id, "wait_for_job", json!({ "job_id": job, "wait_ms": 600_000 }));
    // Some more, whose places the listing below may have for a moment.
    let waiting: Vec<_> = (0..MOST_CALLS + 4).map(|id| send(&web, ADA, &of(&session), &wait(id))).collect();
    let list = || web.ask(SPARE, "tools/call", json!({ "name": "list_jobs", "arguments": {} }));
    eventually("as many calls are in progress as may be", || list()["error"].is_object().then_some(()));
    drop(waiting);
    match how {
        End::Said => end(&web, ADA, &session),
        End::Displaced => (0..MOST_SESSIONS).for_each(|_| drop(begin(&web, ADA))),
        End::TokenGone => {
            tokens(&scene, &format!("ada {SPARE}\n"));
            web.signal(rustix::process::Signal::HUP);
        }
    }
    eventually("their places are free", || list()["result"].is_object().then_some(()));
    assert_eq!(web.tell(SPARE, "get_job_status", json!({ "job_id": job }))["status"], "running");
}

#[test]
fn the_questions_of_a_session_do_not_outlive_it() {
    const AT_ONCE: usize = 4;
    let scene = scene_with(ASKING);
    let web = Web::start(&scene);
    let run = |id: usize| call(id, "execute_command", json!({ "command": format!("echo {id}") }));
    let session = begin(&web, ADA);
    for id in 0..AT_ONCE {
        let mut stream = Stream::of(send(&web, ADA, &of(&session), &run(id)));
        stream.says("elicitation/create");
    }
    let other = begin(&web, ADA);
    let refused = web.post(ADA, &of(&other), &run(9)).message().unwrap();
    assert!(text(&refused["result"]).contains("too many questions"), "{refused}");
    end(&web, ADA, &session);
    eventually("a question can be asked", || {
        Stream::of(send(&web, ADA, &of(&other), &run(9))).says("data: {").contains("elicitation/create").then_some(())
    });
    let answers: Vec<_> = scene.audit().into_iter().filter(|line| line["event"] == "answer").collect();
    assert_eq!(answers.len(), AT_ONCE);
    assert!(answers.iter().all(|line| line["answer"] == "none" && line["principal"] == "ada"), "{answers:?}");
}

/// With the session's name in it too, a request that stands for itself is none of that session's.
#[rstest]
fn who_can_not_answer_is_not_asked(#[values(false, true)] names_a_session: bool) {
    let scene = scene_with(ASKING);
    let web = Web::start(&scene);
    let session = begin(&web, ADA);
    let (mut message, _) = stateless("tools/call", json!({ "name": "execute_command", "arguments": { "command": "true" } }));
    let meta = &mut message["params"]["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2025-11-25");
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": {} });
    let headers =
        [&of(&session)[usize::from(!names_a_session)..], &[("Mcp-Method", "tools/call"), ("Mcp-Name", "execute_command")]];
    let refused = web.post(ADA, &headers.concat(), &message).message().unwrap();
    assert!(text(&refused["result"]).contains("can not ask its user"), "{refused}");
    assert!(scene.audit().iter().all(|line| line["event"] != "question"));
}

// ── what ends with a token ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_was_begun_with_a_token_lasts_as_long_as_the_token() {
    let scene = scene_with(ASKING);
    let web = Web::start(&scene);
    let able = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } } });
    let mut asking = json!({ "name": "execute_command", "arguments": { "command": "sleep 600" }, "_meta": able });
    let asked = web.ask(ADA, "tools/call", asking.clone())["result"].clone();
    asking["requestState"] = asked["requestState"].clone();
    asking["inputResponses"] = json!({ "answer": { "action": "accept", "content": { "answer": "once" } } });
    let old = begin(&web, ADA);

    // A new one ends nothing, and neither does another order.
    tokens(&scene, &format!("ada {SPARE}\nbob {BOB}\nada {ADA}\n"));
    web.signal(rustix::process::Signal::HUP);
    let new = eventually("the new token is known", || {
        (web.post(SPARE, &of(&old), &json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" })).status == 200)
            .then(|| begin(&web, SPARE))
    });
    assert!(lives(&web, ADA, &old));
    let job = web.ask(ADA, "tools/call", asking)["result"]["structuredContent"]["job_id"].as_str().unwrap().to_owned();
    let [old_stream, mut new_stream] = [ADA, SPARE].map(|token| listen(&web, token, &[format!("job://{job}/record")]));

    // The end of one ends what was begun with it, and no more.
    tokens(&scene, &format!("ada {SPARE}\nbob {BOB}\n"));
    web.signal(rustix::process::Signal::HUP);
    old_stream.ended();
    eventually("the old session has ended", || (!lives(&web, SPARE, &old)).then_some(()));
    assert!(lives(&web, SPARE, &new));
    web.tell(SPARE, "kill_job", json!({ "job_id": job, "grace_ms": 0 }));
    new_stream.says("notifications/resources/updated");
}

// ── what a principal is told of ────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn as_many_addresses_as_are_acknowledged_are_told_of() {
    const JOBS: usize = 16;
    let scene = scene_with(&format!("[jobs]\nmax_running = {JOBS}\n{OPEN}"));
    let web = Web::start(&scene);
    let jobs: Vec<_> = (0..JOBS).map(|_| web.execute(ADA, "sh -c 'echo out; sleep 600'")).collect();
    for job in &jobs {
        web.tell(ADA, "wait_for_job", json!({ "job_id": job, "pattern": "out", "wait_ms": 30_000 }));
    }
    let parts = ["stdout", "stderr", "merged", "record"];
    let each: Vec<_> = jobs.iter().flat_map(|job| parts.map(|part| format!("job://{job}/{part}"))).collect();
    // Each asks for everything, and says it twice.
    let twice = [&each[..], &each].concat();
    let asked = json!({ "notifications": { "resourceSubscriptions": twice } });
    let (message, headers) = stateless("subscriptions/listen", asked);
    let ask = || Stream::of(send(&web, ADA, &borrowed(&headers), &message));
    let mut streams: Vec<_> = (0..=MOST_ADDRESSES / each.len()).map(|_| ask()).collect();
    let mut sum = 0;
    for stream in &mut streams {
        let line = stream.says("acknowledged");
        let said: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
        let uris = said["params"]["notifications"]["resourceSubscriptions"].as_array().cloned().unwrap_or_default();
        let uris: HashSet<_> = uris.iter().map(|uri| uri.as_str().unwrap()).collect();
        sum += uris.len();
        // Of what is there already each is told at once, and once.
        let there = uris.iter().filter(|uri| uri.ends_with("/stdout") || uri.ends_with("/merged"));
        let told: HashSet<_> = there.clone().map(|_| stream.says("notifications/resources/updated")).collect();
        assert_eq!(told.len(), there.count());
    }
    assert_eq!(sum, MOST_ADDRESSES);
}

// ── whose turn it is ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn turns_go_round_the_principals() {
    let scene = scene_with(&format!("[jobs]\nmax_running = 1\nmax_queued = 6\n{OPEN}"));
    let web = Web::start(&scene);
    let behind = |token: &str, job: &str| web.tell(token, "get_job_status", json!({ "job_id": job }))["queued_behind"].clone();
    let running = web.execute(ADA, "sleep 600");
    let [first, second, third] = [0; 3].map(|_| web.execute(ADA, "sleep 600"));
    // Half of the queue is as much as one of several may fill.
    let refused = web.call(ADA, "execute_command", json!({ "command": "sleep 600" }));
    assert!(text(&refused).contains("`principals.max_queued`"), "{refused}");
    let [his, his_next] = [0; 2].map(|_| web.execute(BOB, "sleep 600"));
    // He has nothing that runs.
    assert_eq!([&his, &his_next].map(|job| behind(BOB, job)), [0, 2]);
    assert_eq!([&first, &second, &third].map(|job| behind(ADA, job)), [1, 3, 4]);
    let listed = web.tell(ADA, "list_jobs", json!({}))["jobs"].clone();
    assert_eq!(listed[0]["queued_behind"], 4);
    for (token, ends, next) in [(ADA, &running, (BOB, &his)), (BOB, &his, (ADA, &first)), (ADA, &first, (BOB, &his_next))] {
        web.tell(token, "kill_job", json!({ "job_id": ends, "grace_ms": 0 }));
        let (token, job) = next;
        eventually("the next has its turn", || {
            (web.tell(token, "get_job_status", json!({ "job_id": job }))["status"] == "running").then_some(())
        });
    }
    assert_eq!(behind(ADA, &second), 0);
}

// ── one id, one request ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_request_does_not_take_away_the_answer_of_another() {
    let scene = scene("");
    let web = Web::start(&scene);
    let job = web.execute(ADA, "sleep 600");
    let session = begin(&web, ADA);
    let wait = |job: &str| {
        let wait = call(9, "wait_for_job", json!({ "job_id": job, "wait_ms": 600_000 }));
        let mut stream = Stream::of(send(&web, ADA, &of(&session), &wait));
        assert!(stream.says("HTTP/1.1").contains("200"));
        stream
    };
    let list = |id| web.post(ADA, &of(&session), &call(id, "list_jobs", json!({}))).message().unwrap();
    let mut first = wait(&job);
    let refused = list(9);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(9), &json!(-32600)), "{refused}");
    assert!(list(10)["result"].is_object());
    web.tell(ADA, "kill_job", json!({ "job_id": job, "grace_ms": 0 }));
    let answer = first.says("\"result\"");
    assert!(answer.contains("\"id\":9") && answer.contains("\"met\":\"ended\""), "{answer}");
    // It was answered, and what is cancelled will never be: their id is free again.
    assert!(list(9)["result"].is_object());
    let _unread = wait(&web.execute(ADA, "sleep 600"));
    assert_eq!(list(9)["error"]["code"], -32600);
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 9 } });
    assert_eq!(web.post(ADA, &of(&session), &cancel).status, 202);
    assert!(list(9)["result"].is_object());
}

// ── what an earlier server kept ────────────────────────────────────────────────────────────────────────────────────────────

/// Hers is longer than anyone filters in this time; no disk holds the nothing it is of.
#[test]
fn ones_earlier_output_does_not_hold_up_anothers() {
    let scene = scene_with(&keeping("one", "component = \"builtin:tidy\"\napply = \"reads\""));
    let jobs = {
        let mut web = Web::start(&scene);
        let jobs = [(ADA, "echo endless"), (BOB, "echo harmless")].map(|(token, command)| {
            let ran = web.tell(token, "execute_command", json!({ "command": command, "wait_ms": 60_000 }));
            ran["job_id"].as_str().unwrap().to_owned()
        });
        web.signal(rustix::process::Signal::TERM);
        web.exit_within(DEADLINE);
        jobs
    };
    let hers = scene.audit_file().parent().unwrap().join(format!("jobs/{}.stdout", jobs[0]));
    fs::OpenOptions::new().write(true).open(hers).unwrap().set_len(1 << 40).unwrap();
    let redacting = keeping("two", "component = \"builtin:redact\"");
    scene.configure(&format!("[http]\ntokens = {:?}\n{redacting}", scene.base().join("outside/tokens")));
    let web = Web::start(&scene);
    let (message, headers) = stateless("tools/call", json!({ "name": "get_job_output", "arguments": { "job_id": jobs[0] } }));
    let _unread = send(&web, ADA, &borrowed(&headers), &message);
    assert_eq!(status(&web, ADA, &[]), 200);
    assert_eq!(web.tell(BOB, "get_job_output", json!({ "job_id": jobs[1] }))["stdout"], "harmless\n");
}
