//! The verdict `ask`: who is asked and how, what an answer is worth, and what is none.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use rmcp::model::CallToolResult;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    client::{
        Answer::{self, Cancels, Declines, Says, Sleeps},
        Client, Era, Person, text,
    },
    golden::assert_golden,
    scene::{ASKING, OPEN, Scene},
    secret,
    wire::Wire,
};

/// Of a client that can ask.
fn able() -> Value {
    json!({ "elicitation": { "form": {} } })
}

fn code(result: &CallToolResult) -> Value {
    let result = serde_json::to_value(result).unwrap();
    result["_meta"]["portcullis/denial"]["code"].clone()
}

/// The events of the log in their order, with what decides them.
fn events(scene: &Scene) -> Vec<String> {
    let event = |line: &Value| match line["event"].as_str().unwrap() {
        "decision" => Some(line["decision"].as_str().unwrap().to_owned()),
        "question" => Some("question".to_owned()),
        "answer" => Some(format!("answer {}", line["answer"].as_str().unwrap())),
        _ => None,
    };
    scene.audit().iter().filter_map(event).collect()
}

// ── asked and answered ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[tokio::test]
async fn what_a_person_allows_once_runs_once(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("once"), Says("once")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    for _ in 0..2 {
        let ran = client.tell("execute_command", json!({ "command": "cat notes.txt", "wait_ms": 30_000 })).await;
        assert_eq!(ran["output"]["stdout"], "one\ntwo\nthree\n", "{ran}");
    }
    assert_eq!(person.asked().len(), 2);
    assert_eq!(events(&scene), ["ask", "question", "answer once", "allow"].repeat(2));
    client.close().await;
}

#[rstest]
#[tokio::test]
async fn every_line_of_the_log_names_the_question(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let client = Client::connect_for(&scene, era, Person::who([Says("once")])).await;
    client.execute("true").await;
    let audit = scene.audit();
    let way = if matches!(era, Era::Initialize) { "elicitation" } else { "input_required" };
    assert_eq!(audit[0]["question"], Value::Null);
    assert_eq!((&audit[1]["way"], &audit[1]["client"], &audit[1]["subject"]), (&way.into(), &"tester".into(), &"command".into()));
    assert_eq!((&audit[1]["runs"], &audit[2]["question"]), (&audit[0]["runs"], &audit[1]["question"]));
    let allowed = &audit[3];
    assert_eq!((&allowed["question"], &allowed["code"]), (&audit[1]["question"], &"no-policy-allows".into()));
    assert!(allowed["job_id"].is_string(), "{allowed}");
    client.close().await;
    let shown = scene.portcullis(["audit", "show"]).expect(0).stdout();
    assert!(shown.contains("question") && shown.contains("a person said yes"), "{shown}");
    let replayed = scene.portcullis(["audit", "replay", "--json"]).expect(0).stdout();
    assert!(replayed.contains(r#""same":2"#), "{replayed}");
    scene.portcullis(["audit", "verify"]).expect(0);
}

#[rstest]
#[tokio::test]
async fn what_a_person_allows_for_good_is_not_asked_again(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("always"), Says("no")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    client.execute("cat notes.txt").await;
    client.execute("cat  'notes.txt'").await;
    assert_eq!(person.asked().len(), 1);
    assert_eq!(events(&scene), ["ask", "question", "answer always", "allow", "allow"]);
    let question = scene.audit()[1]["question"].clone();
    let allowed: Vec<_> = scene.audit().into_iter().filter(|line| line["decision"] == "allow").collect();
    assert!(allowed.iter().all(|line| line["question"] == question), "{allowed:?}");
    // Of another command nothing was said.
    client.refused("execute_command", json!({ "command": "cat notes.txt secrets.env" })).await;
    client.close().await;
}

/// Each of them is judged once more when it starts, and would be asked about by itself.
#[rstest]
#[tokio::test]
async fn a_yes_to_a_script_is_one_to_its_programs(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("once")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    let script = json!({ "command": "cat notes.txt | head -n 1; tail -n 1 notes.txt", "wait_ms": 30_000 });
    let ran = client.tell("execute_command", script).await;
    assert_eq!(ran["output"]["stdout"], "one\nthree\n", "{ran}");
    client.close().await;
    assert_eq!(person.asked().len(), 1);
    let audit = scene.audit();
    let starts: Vec<_> = audit.iter().filter(|line| line["subject"] == "start").collect();
    let is_by_it = |line: &&Value| line["decision"] == "allow" && line["question"] == audit[1]["question"];
    assert!(starts.len() == 3 && starts.iter().all(is_by_it), "{starts:?}");
}

#[rstest]
#[case::no(Says("no"), "said no", "answer no")]
#[case::declined(Declines, "said no", "answer no")]
#[case::cancelled(Cancels, "said no", "answer no")]
#[case::not_offered(Says("certainly"), "no answer came", "answer none")]
#[tokio::test]
async fn what_a_person_does_not_allow_is_denied(
    #[case] answer: Answer,
    #[case] said: &str,
    #[case] event: &str,
    #[values(Era::Initialize, Era::Discover)] era: Era,
) {
    let scene = Scene::configured(ASKING);
    let client = Client::connect_for(&scene, era, Person::who([answer])).await;
    let result = client.call("execute_command", json!({ "command": "touch made" })).await;
    assert_eq!(result.is_error, Some(true));
    assert!(text(&result).contains(said), "{}", text(&result));
    assert_eq!(code(&result), "no-policy-allows");
    assert!(!scene.root().join("made").exists());
    assert_eq!(events(&scene), ["ask", "question", event]);
    client.close().await;
}

#[tokio::test]
async fn a_person_who_does_not_answer_in_time() {
    let scene = Scene::configured(&ASKING.replace("[decision]", "timeout_s = 1\n[decision]"));
    let client = Client::connect_for(&scene, Era::Initialize, Person::who([Sleeps])).await;
    let said = client.refused("execute_command", json!({ "command": "touch made" })).await;
    assert!(said.contains("no answer came in time"), "{said}");
    assert_eq!(events(&scene), ["ask", "question", "answer none"]);
    client.close().await;
}

#[rstest]
#[tokio::test]
async fn input_is_asked_about_too(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("once"), Says("once"), Says("no")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    let job = client.execute("cat").await;
    let echoed = client.tell("interact_with_job", json!({ "job_id": job, "input": "hello" })).await;
    assert_eq!(echoed["stdout"], "hello\n");
    let said = client.refused("interact_with_job", json!({ "job_id": job, "input": "again" })).await;
    assert!(said.contains("said no"), "{said}");
    let asked = person.asked();
    assert!(asked[1].contains("send as input") && asked[1].contains("hello\\n") && asked[1].contains(&job), "{asked:?}");
    assert_eq!(client.tell("get_job_output", json!({ "job_id": job })).await["stdout"], "hello\n");
    client.close().await;
}

#[rstest]
#[tokio::test]
async fn the_question_shows_the_final_form_and_what_was_sent(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::with_guest(r#"{ command = "ask" }"#);
    let config = fs::read_to_string(scene.config_file()).unwrap();
    scene.configure(&format!("[ask]\ntrust_client = true\n{config}"));
    let person = Person::who([Says("no")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    client.refused("execute_command", json!({ "command": "git log -3" })).await;
    let asked = person.asked();
    assert!(asked[0].contains("--no-pager"), "{}", asked[0]);
    assert!(asked[0].starts_with("tester wants to run:\n\n    "), "{}", asked[0]);
    assert!(asked[0].contains("(the policies made this of: git log -3)"), "{}", asked[0]);
    assert!(asked[0].contains("Asked for by policy \"guest\" [misbehaving]: this guest asks"), "{}", asked[0]);
    client.close().await;
}

#[rstest]
#[tokio::test]
async fn the_question_shows_nothing_that_deceives(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("no")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    let unseen = [
        '\u{202e}',
        '\u{a0}',
        '\u{34f}',
        '\u{115f}',
        '\u{180b}',
        '\u{2003}',
        '\u{2800}',
        '\u{3000}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{e0100}',
    ];
    let command = format!("cat 'notes.txt\u{1b}[2J\r{}'", String::from_iter(unseen));
    client.refused("execute_command", json!({ "command": command })).await;
    let asked = person.asked();
    let hidden = |c: char| c != '\n' && (c.is_control() || unseen.contains(&c));
    assert!(!asked[0].contains(hidden), "{:?}", asked[0]);
    assert!(unseen.iter().all(|c| asked[0].contains(&c.escape_default().to_string())), "{:?}", asked[0]);
    client.close().await;
}

/// What the output policies hide could be the very thing that a person would refuse. The client knows it: it sent it.
#[rstest]
#[case::between_the_ends_of_a_key("echo '-----BEGIN RSA PRIVATE KEY-----'; touch made; echo '-----END RSA PRIVATE KEY-----'")]
#[case::in_a_value("echo 'password=\"'; touch made; echo '\"'")]
#[case::in_an_element("echo '<password>'; touch made; echo '</password>'")]
#[tokio::test]
async fn the_question_shows_all_that_was_sent(#[case] command: &str, #[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("no")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    client.refused("execute_command", json!({ "command": command })).await;
    let asked = person.asked();
    assert!(asked[0].contains("touch made"), "{}", asked[0]);
    // The record is for more people.
    let audit = scene.audit();
    for line in &audit[..2] {
        let runs = line["runs"].as_str().unwrap();
        assert!(runs.contains("[redacted: ") && !runs.contains("touch"), "{line}");
    }
    client.close().await;
}

#[rstest]
#[tokio::test]
async fn the_question_shows_all_of_the_input(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = Scene::configured(ASKING);
    let person = Person::who([Says("once"), Says("no"), Says("once")]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    let job = client.execute(&format!("cat - {}", secret())).await;
    let sent = json!({ "job_id": job, "input": "export PASSWORD=abc123;touch${IFS}made", "close": true });
    client.refused("interact_with_job", sent).await;
    let asked = person.asked();
    assert!(asked[1].contains("PASSWORD=abc123;touch${IFS}made\\n"), "{}", asked[1]);
    assert!(
        asked[1].ends_with("what nobody allows is not done") && asked[1].contains("\nafter which its input ends\n"),
        "{}",
        asked[1]
    );
    assert!(asked[1].contains(&format!("to the job {job}: /usr/bin/cat - {}", secret())), "{}", asked[1]);
    assert!(!scene.audit().iter().any(|line| line.to_string().contains("abc123")));
    client.close().await;
}

/// A scene in which a policy puts this behind every command, and all is asked about.
fn adding(text: &str) -> Scene {
    let scene = Scene::new();
    let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
    let settings = format!("{{ command = {{ rewrite-append = {text:?} }} }}");
    scene.configure(&format!(
        "{ASKING}\n[[policies]]\nname = \"guest\"\ncomponent = {guest:?}\nmay_rewrite = true\nsettings = {settings}\n"
    ));
    scene
}

#[rstest]
#[tokio::test]
async fn what_a_policy_adds_and_another_hides_is_not_asked(#[values(Era::Initialize, Era::Discover)] era: Era) {
    let scene = adding(&secret());
    let person = Person::who([]);
    let client = Client::connect_for(&scene, era, person.clone()).await;
    let result = client.call("execute_command", json!({ "command": "echo one" })).await;
    assert_eq!(code(&result), "hidden-from-person", "{}", text(&result));
    assert!(person.asked().is_empty());
    assert_eq!(events(&scene), ["ask"]);
    client.close().await;
}

#[test]
fn what_was_sent_is_cut_with_a_mark() {
    let scene = adding("more");
    let mut wire = Wire::start(&scene);
    let asked = execute(&mut wire, &json!({ "command": format!("echo {}", "x".repeat(2000)) }), None);
    let message = asked["inputRequests"]["answer"]["params"]["message"].as_str().unwrap();
    assert!(message.contains("xxx…)") && message.contains("xxx more\n"), "{message}");
}

#[tokio::test]
async fn what_is_too_long_to_be_read_is_not_asked() {
    let scene = Scene::configured(ASKING);
    let client = Client::connect_for(&scene, Era::Discover, Person::who([])).await;
    // The whole question counts.
    for length in [10_000, 8_150] {
        let command = format!("echo {}", "x".repeat(length));
        let result = client.call("execute_command", json!({ "command": command })).await;
        assert_eq!(code(&result), "too-long-to-ask", "{}", text(&result));
    }
    client.close().await;
}

// ── nobody to ask ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::untrusted(&ASKING.replace("trust_client = true", ""), true, "`ask.trust_client = true`")]
#[case::unable(ASKING, false, "no elicitation")]
#[tokio::test]
async fn where_nobody_can_be_asked_it_is_denied(
    #[case] config: &str,
    #[case] can_be_asked: bool,
    #[case] why: &str,
    #[values(Era::Initialize, Era::Discover)] era: Era,
) {
    let scene = Scene::configured(config);
    let person = if can_be_asked { Person::who([]) } else { Person::default() };
    let client = Client::connect_for(&scene, era, person).await;
    let said = client.refused("execute_command", json!({ "command": "touch made" })).await;
    assert!(said.contains("needs a person's approval") && said.contains(why), "{said}");
    assert!(!scene.root().join("made").exists());
    assert_eq!(events(&scene), ["ask"]);
    client.close().await;
}

#[test]
fn on_a_dry_run_nobody_is_asked() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::over(&scene, scene.command(["serve", "--dry-run"]));
    let result = execute(&mut wire, &json!({ "command": "touch made" }), None);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("on a dry run nobody is asked"), "{result}");
    assert_eq!(events(&scene), ["ask"]);
}

#[tokio::test]
async fn what_can_not_be_recorded_is_not_asked() {
    let scene = Scene::configured(ASKING);
    let command = scene.command_with_a_full_log(&["serve"]);
    let client = Client::connect_over(&scene, command, Era::Initialize, Person::who([])).await;
    let result = client.call("execute_command", json!({ "command": "touch made" })).await;
    assert_eq!(code(&result), "audit-unavailable");
    client.close().await;
}

// ── answers that are none ──────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_record_of_an_answer_that_is_none_is_bounded() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let params = json!({
        "name": "execute_command", "arguments": { "command": "true" }, "requestState": "x",
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": able(),
            "io.modelcontextprotocol/clientInfo": { "name": "x".repeat(1_000_000), "version": "0" },
        },
    });
    assert_eq!(wire.request("tools/call", params)["error"]["code"], -32602);
    assert_eq!(scene.audit()[0]["client"].as_str().unwrap().len(), 256);
}

/// Calls `execute_command` as a client of the stateless revision that can ask.
fn execute(wire: &mut Wire, arguments: &Value, answer: Option<(&str, &str)>) -> Value {
    answered(wire, arguments, answer)["result"].clone()
}

/// The same with the error that comes in the place of a result.
fn answered(wire: &mut Wire, arguments: &Value, answer: Option<(&str, &str)>) -> Value {
    let mut params = json!({ "name": "execute_command", "arguments": arguments });
    if let Some((state, said)) = answer {
        params["requestState"] = json!(state);
        params["inputResponses"] = json!({ "answer": { "action": "accept", "content": { "answer": said } } });
    }
    wire.stateless("tools/call", params, able())
}

fn state(result: &Value) -> String {
    assert_eq!(result["resultType"], "input_required", "{result}");
    result["requestState"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_void(result: &Value, why: &str) {
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["portcullis/denial"]["code"], "answer-not-valid");
    assert!(result["content"][0]["text"].as_str().unwrap().contains(why), "{result}");
}

/// An error of the protocol, as it has it for a state that the server did not give out for this call.
#[track_caller]
fn assert_forged(answer: &Value) {
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("none that this server gave out for this call") && text.contains("asked anew"), "{text}");
}

#[test]
fn an_answer_counts_once() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "cat notes.txt" });
    let state = state(&execute(&mut wire, &arguments, None));
    let ran = execute(&mut wire, &json!({ "command": "cat notes.txt" }), Some((&state, "once")));
    assert!(ran["structuredContent"]["job_id"].is_string(), "{ran}");
    assert_void(&execute(&mut wire, &arguments, Some((&state, "once"))), "answered before");
    assert_eq!(events(&scene), ["ask", "question", "answer once", "allow", "answer void"]);
}

#[test]
fn an_answer_counts_for_its_call_alone() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let given = state(&execute(&mut wire, &json!({ "command": "cat notes.txt", "wait_ms": 1 }), None));
    for other in [
        json!({ "command": "cat secrets.env", "wait_ms": 1 }),
        json!({ "command": "cat notes.txt", "wait_ms": 2 }),
        json!({ "command": "cat notes.txt" }),
    ] {
        assert_forged(&answered(&mut wire, &other, Some((&given, "once"))));
    }
    // The order of the arguments is the client's own affair, and the question is still open.
    let ran = execute(&mut wire, &json!({ "wait_ms": 1, "command": "cat notes.txt" }), Some((&given, "once")));
    assert!(ran["structuredContent"]["job_id"].is_string(), "{ran}");
}

#[test]
fn what_the_server_did_not_seal_is_no_answer() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "touch made" });
    let given = state(&execute(&mut wire, &arguments, None));
    let middle = given.len() / 2;
    let other = if given.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let altered = format!("{}{other}{}", &given[..middle], &given[middle + 1..]);
    for forged in [altered.as_str(), "", "rs1", "x", &given[..given.len() - 1], &"x".repeat(100_000)] {
        assert_forged(&answered(&mut wire, &arguments, Some((forged, "once"))));
    }
    // Another server has another key.
    let mut other = Wire::start(&scene);
    assert_forged(&answered(&mut other, &arguments, Some((&given, "once"))));
    assert_eq!(events(&scene).iter().filter(|event| *event == "answer void").count(), 7);
    // An answer without a question is none at all.
    let params = json!({
        "name": "execute_command", "arguments": arguments,
        "inputResponses": { "answer": { "action": "accept", "content": { "answer": "once" } } },
    });
    state(&wire.stateless("tools/call", params, able())["result"]);
    assert!(!scene.root().join("made").exists());
}

#[test]
fn an_answer_that_comes_too_late() {
    let scene = Scene::configured(&ASKING.replace("[decision]", "timeout_s = 1\n[decision]"));
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "touch made" });
    let given = state(&execute(&mut wire, &arguments, None));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_void(&execute(&mut wire, &arguments, Some((&given, "once"))), "too late");
    assert!(!scene.root().join("made").exists());
}

#[test]
fn a_question_that_is_brought_back_unanswered_is_asked_anew() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let params = json!({ "name": "execute_command", "arguments": { "command": "cat notes.txt" } });
    let given = state(&wire.stateless("tools/call", params.clone(), able())["result"]);
    let mut again = params;
    again["requestState"] = json!(given);
    let anew = state(&wire.stateless("tools/call", again, able())["result"]);
    assert_ne!(anew, given);
}

#[test]
fn what_changed_since_the_question_is_not_done() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "cat notes.txt" });
    let given = state(&execute(&mut wire, &arguments, None));
    scene.configure(&ASKING.replace("[decision]", "[limits]\ndecision_ms = 900\n[decision]"));
    crate::support::signal(wire.pid(), rustix::process::Signal::HUP);
    crate::support::eventually("the policies are changed", || wire.stderr().contains("in force").then_some(()));
    let result = execute(&mut wire, &arguments, Some((&given, "once")));
    assert_eq!(result["isError"], true, "{result}");
    assert!(result["content"][0]["text"].as_str().unwrap().contains("changed meanwhile"), "{result}");
    assert_eq!(events(&scene), ["ask", "question", "answer once", "ask"]);
}

/// A yes is about the files that were named by then, too.
#[rstest]
#[case::an_argument("cat link", "link")]
#[case::a_redirection("cat < link", "link")]
#[case::the_program("./tool", "tool")]
fn a_link_that_leads_elsewhere_since_the_question(#[case] command: &str, #[case] name: &str) {
    let scene = Scene::configured(ASKING);
    let link = scene.root().join(name);
    let leads_to = |program: &str| {
        let script = scene.root().join(program);
        fs::write(&script, "#!/bin/sh\necho it\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        _ = fs::remove_file(&link);
        symlink(program, &link).unwrap();
    };
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": command, "wait_ms": 30_000 });
    leads_to("good");
    let given = state(&execute(&mut wire, &arguments, None));
    leads_to("bad");
    let result = execute(&mut wire, &arguments, Some((&given, "once")));
    assert!(result["content"][0]["text"].as_str().unwrap().contains("changed meanwhile"), "{result}");
    // Nor does it stand for good.
    let given = state(&execute(&mut wire, &arguments, None));
    assert_ne!(execute(&mut wire, &arguments, Some((&given, "always")))["isError"], true);
    assert_ne!(execute(&mut wire, &arguments, None)["isError"], true);
    leads_to("good");
    state(&execute(&mut wire, &arguments, None));
}

/// Programs do more at a terminal, and what reads can be told more.
#[test]
fn a_yes_is_for_the_streams_that_were_shown() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let of = |mut manner: Value| {
        manner["command"] = json!("cat notes.txt");
        manner
    };
    let closed = of(json!({ "stdin": "closed" }));
    let asked = execute(&mut wire, &closed, None);
    assert!(asked.to_string().contains("without input, in "), "{asked}");
    assert_ne!(execute(&mut wire, &closed, Some((&state(&asked), "always")))["isError"], true);
    assert_ne!(execute(&mut wire, &closed, None)["isError"], true);
    for (manner, shown) in
        [(json!({}), "with its input open, in "), (json!({ "terminal": { "rows": 24, "cols": 80 } }), "at a terminal, in ")]
    {
        let asked = execute(&mut wire, &of(manner), None);
        assert!(!state(&asked).is_empty() && asked.to_string().contains(shown), "{asked}");
    }
}

/// A yes to a script is one to its programs, by the policies that asked.
#[test]
fn what_a_script_starts_under_other_policies_is_not_allowed_by_a_yes() {
    let scene = Scene::configured(ASKING);
    crate::support::named_pipe(&scene.root().join("pipe"));
    let mut wire = Wire::start(&scene);
    let arguments = json!({ "command": "cat pipe; touch made" });
    let given = state(&execute(&mut wire, &arguments, None));
    let ran = execute(&mut wire, &arguments, Some((&given, "once")));
    let job = ran["structuredContent"]["job_id"].as_str().unwrap().to_owned();
    let pipe = crate::support::once_read(&scene.root().join("pipe"));
    scene.configure(&ASKING.replace("[decision]", "[limits]\ndecision_ms = 900\n[decision]"));
    crate::support::signal(wire.pid(), rustix::process::Signal::HUP);
    crate::support::eventually("the policies are changed", || wire.stderr().contains("in force").then_some(()));
    drop(pipe);
    let wait = json!({ "name": "wait_for_job", "arguments": { "job_id": job, "wait_ms": 30_000 } });
    let ended = wire.stateless("tools/call", wait, able());
    assert!(ended.to_string().contains("a person would have to approve"), "{ended}");
    assert!(!scene.root().join("made").exists());
}

#[test]
fn questions_of_one_moment_are_all_asked() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let ask = |wire: &mut Wire, number: u32| {
        let arguments = json!({ "command": format!("echo {number}") });
        wire.ask_stateless("tools/call", json!({ "name": "execute_command", "arguments": arguments }), able())
    };
    let asked: Vec<_> = (0..40).map(|number| ask(&mut wire, number)).collect();
    for asked in asked {
        state(&wire.answer(asked)["result"]);
    }
}

#[test]
fn the_question_of_a_call_that_is_cancelled_is_withdrawn() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": able(), "clientInfo": { "name": "wire", "version": "0" } });
    wire.request("initialize", params);
    wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    // More than may be open at a time.
    for _ in 0..6 {
        let call = wire.begin("execute_command", json!({ "command": "touch made" }));
        let asked = loop {
            let message = wire.message().unwrap();
            if message["method"] == "elicitation/create" {
                break message["id"].clone();
            }
        };
        let cancelled = json!({ "requestId": call.id() });
        wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }));
        assert_eq!(wire.notified("notifications/cancelled")["requestId"], asked);
    }
    let all = ["ask", "question", "answer none"].repeat(6);
    crate::support::eventually("all is recorded", || (events(&scene) == all).then_some(()));
}

/// What was approved is a job, or it is recorded why it is none.
#[test]
fn of_what_a_cancelled_call_had_approved_there_is_a_record() {
    let scene = Scene::open("");
    let mut wire = Wire::open(&scene);
    for _ in 0..50 {
        let call = wire.begin("execute_command", json!({ "command": "true", "wait_ms": 30_000 }));
        let cancelled = json!({ "requestId": call.id() });
        wire.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }));
    }
    wire.execute("true");
    wire.close();
    let audit = scene.audit();
    let ids = |is_it: fn(&Value) -> bool| -> BTreeSet<_> {
        audit.iter().filter(|line| is_it(line)).map(|line| line["job_id"].as_str().unwrap().to_owned()).collect()
    };
    let approved = ids(|line| line["decision"] == "allow");
    assert!(!approved.is_empty());
    assert_eq!(approved, ids(|line| line["event"] == "job_end" || line["event"] == "not_started"));
}

#[test]
fn so_many_questions_are_open_and_no_more() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let results: Vec<_> =
        (0..65).map(|number| execute(&mut wire, &json!({ "command": format!("echo {number}") }), None)).collect();
    assert!(results[..64].iter().all(|result| result["resultType"] == "input_required"));
    assert!(results[64]["content"][0]["text"].as_str().unwrap().contains("too many questions"), "{}", results[64]);
}

// ── at the terminal ────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn run_does_not_ask_without_a_terminal() {
    let scene = Scene::configured(ASKING);
    let done = scene.portcullis(["run", "--", "touch", "made"]).expect(126);
    assert!(done.stderr.contains("nobody can be asked here"), "{}", done.stderr);
    assert!(!scene.root().join("made").exists());
    assert_eq!(events(&scene), ["ask"]);
}

#[rstest]
#[case::yes("y", 0, "answer once", true)]
#[case::yes_in_full("YES", 0, "answer once", true)]
#[case::no("n", 126, "answer no", false)]
#[case::anything("y es", 126, "answer no", false)]
#[case::more_than_is_read(&format!("y{}x", " ".repeat(300)), 126, "answer no", false)]
fn run_asks_at_its_terminal(#[case] typed: &str, #[case] code: i64, #[case] event: &str, #[case] is_done: bool) {
    // A server's job has a terminal, and `portcullis run` in it another configuration.
    let scene = Scene::configured(&format!(
        "[jobs]\nenv.pass = [\"HOME\", \"XDG_CACHE_HOME\", \"XDG_CONFIG_HOME\", \"XDG_STATE_HOME\"]\n{OPEN}"
    ));
    let asking = scene.outside("asking.toml", ASKING.replace("trust_client = true", ""));
    let mut wire = Wire::open(&scene);
    let command = format!("{} --config {} run -- touch made", env!("CARGO_BIN_EXE_portcullis"), asking.display());
    let started = wire.tell("execute_command", json!({ "command": command, "terminal": { "rows": 24, "cols": 200 } }));
    let job = started["job_id"].as_str().unwrap();
    let shown = wire.printed(job, |stdout| stdout.contains("[y/N]") || stdout.contains("denied"));
    assert!(shown.contains("wants to run:") && shown.contains("touch made"), "{shown}");
    wire.tell("interact_with_job", json!({ "job_id": job, "input": typed }));
    assert_eq!(wire.ended(job)["exit_code"], code, "{}", wire.output(job));
    assert_eq!(scene.root().join("made").exists(), is_done);
    assert!(events(&scene).contains(&event.to_owned()), "{:?}", events(&scene));
}

#[test]
fn the_question_as_a_client_gets_it() {
    let scene = Scene::configured(ASKING);
    let mut wire = Wire::start(&scene);
    let asked = execute(&mut wire, &json!({ "command": ":" }), None);
    let form = serde_json::to_string_pretty(&asked["inputRequests"]).unwrap();
    assert_golden("question.json", &format!("{}\n", form.replace(&*scene.root().to_string_lossy(), "ROOT")));
}
