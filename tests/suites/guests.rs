//! Policies that misbehave: each is a real component, each gets the exact cause of its denial, and after each the next command is
//! judged as if nothing had been.

use std::{path::PathBuf, time::Duration};

use portcullis::{
    config::{Apply, ComponentSource, DefaultVerdict, Grants, Limits, Mode, OnFault, PolicyEntry},
    policy::{Chain, ChainError, Decision, Engine, Fault, InputDecision, Judgement, LoadError, Request, types},
    script::{Script, Site, tree_of_words},
};
use rstest::rstest;
use serde_json::{Value, json};

/// A policy under test: the misbehaving guest with these settings.
pub fn guest(settings: Value) -> PolicyEntry {
    PolicyEntry {
        name: "guest".to_owned(),
        component: ComponentSource::File(written("misbehaving", portcullis_guests::MISBEHAVING)),
        sha256: None,
        mode: Mode::Enforce,
        may_rewrite: true,
        apply: Apply::Stream,
        on_fault: OnFault::Withhold,
        grants: Grants::default(),
        settings,
    }
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}-{}.wasm", std::process::id()));
    if !path.exists() {
        let draft = tempfile::NamedTempFile::new_in(folder).unwrap();
        std::fs::write(draft.path(), bytes).unwrap();
        draft.persist(&path).unwrap();
    }
    path
}

pub fn limits() -> Limits {
    Limits {
        decision: Duration::from_millis(1000),
        memory_bytes: 16 << 20,
        table_elements: 20_000,
        stack_bytes: 512 << 10,
        hostcall_bytes: 16 << 20,
        log_bytes: 16 << 10,
    }
}

pub fn site() -> Site {
    Site { roots: vec![cwd()], path: vec!["/usr/bin".into(), "/bin".into()] }
}

fn cwd() -> PathBuf {
    std::fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub async fn load(entries: &[PolicyEntry], limits: &Limits) -> Result<Chain, ChainError> {
    let cache = cwd().join("cache");
    Chain::load(&Engine::new(limits).unwrap(), entries, &cache, DefaultVerdict::Deny, site()).await
}

pub async fn chain(settings: Value) -> Chain {
    load(&[guest(settings)], &limits()).await.unwrap()
}

pub fn request(command: &str) -> Request {
    let words: Vec<_> = command.split(' ').map(std::ffi::OsString::from).collect();
    let cwd = site().directory(&cwd()).unwrap();
    Request {
        script: Script::new(command.to_owned(), tree_of_words(&words).unwrap(), &site(), &cwd).unwrap(),
        cwd,
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        timeout: None,
        client: types::Client { principal: "local".to_owned(), name: "a test".to_owned(), version: String::new() },
    }
}

fn told(judgement: &Judgement) -> (&'static str, Option<&str>, &str, &str) {
    match &judgement.decision {
        Decision::Approved(_) => ("approved", None, "", ""),
        Decision::Asks(pending) => {
            let denial = pending.reason();
            ("asks", denial.policy.as_deref(), &denial.code, &denial.message)
        }
        Decision::Denied(denial) => ("denied", denial.policy.as_deref(), &denial.code, &denial.message),
    }
}

#[rstest]
#[case::deadline(json!("loop"), "policy-deadline", "ran out of time (1000 ms)")]
#[case::sleep(json!("sleep"), "policy-deadline", "ran out of time (1000 ms)")]
#[case::trap(json!("trap"), "policy-trap", "wasm `unreachable` instruction executed")]
#[case::memory(json!("allocate"), "policy-memory", "ran out of memory (16 MiB)")]
#[case::stack(json!("recurse"), "policy-stack", "ran out of stack")]
#[case::log(json!("flood-log"), "policy-log", "logged more than 16384 bytes")]
#[case::stdout(json!("flood-stdout"), "policy-log", "logged more than 16384 bytes")]
#[case::code(json!("bad-code"), "policy-bad-answer", "the code of its reason")]
#[case::node(json!("bad-edit"), "bad-rewrite", "edits node 4711")]
#[case::argument(json!("bad-keep"), "bad-rewrite", "keeps argument 4711")]
#[case::program(json!({"rewrite-program": "no-such-program"}), "bad-rewrite", "no-such-program")]
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_denies_and_the_next_command_is_unaffected(#[case] deed: Value, #[case] code: &str, #[case] message: &str) {
    let chain = chain(json!({"command": deed, "only": "id"})).await;
    for _ in 0..2 {
        let judgement = chain.decide(request("id")).await;
        let (outcome, policy, found, text) = told(&judgement);
        assert_eq!((outcome, policy, found), ("denied", Some("guest"), code), "{text}");
        assert!(text.contains(message), "{text}");
        assert_eq!(told(&chain.decide(request("true")).await).0, "approved");
    }
}

/// Its table of nodes is the job's by then, and where there are none there is nothing that a policy could refuse.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_is_not_judged_again() {
    let chain = chain(json!({"command": "allow"})).await;
    let Decision::Approved(approved) = chain.decide(request("true")).await.decision else { panic!("not approved") };
    assert_eq!(approved.job().nodes, request("true").script.nodes());
    let judgement = chain.decide(approved.request().clone()).await;
    assert_eq!(told(&judgement).2, "judged-already");
    assert!(judgement.trail.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_reason_is_cut() {
    let judgement = chain(json!({"command": "huge-reason"})).await.decide(request("true")).await;
    let (outcome, _, code, message) = told(&judgement);
    assert_eq!((outcome, code, message.len()), ("denied", "misbehaving", 4096));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_beyond_the_limit_of_a_host_call_is_a_fault() {
    let limits = Limits { hostcall_bytes: 1 << 20, ..limits() };
    let chain = load(&[guest(json!({"command": "huge-reason"}))], &limits).await.unwrap();
    assert_eq!(told(&chain.decide(request("true")).await).2, "policy-host-call");
}

#[tokio::test(flavor = "multi_thread")]
async fn rewriting_without_end_is_denied() {
    let judgement = chain(json!({"command": "rewrite-forever"})).await.decide(request("true")).await;
    let (outcome, policy, code, _) = told(&judgement);
    assert_eq!((outcome, policy, code), ("denied", None, "does-not-converge"));
    assert_eq!(judgement.trail.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn rewriting_needs_the_permission() {
    let entry = PolicyEntry { may_rewrite: false, ..guest(json!({"command": {"rewrite-append": "x"}})) };
    let chain = load(&[entry], &limits()).await.unwrap();
    let judgement = chain.decide(request("true")).await;
    assert_eq!(told(&judgement).2, "policy-bad-answer");
    assert!(told(&judgement).3.contains("may_rewrite"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_is_judged_again_by_all_and_is_what_runs() {
    let entries = [
        guest(json!({"command": {"rewrite-append": "more"}})),
        PolicyEntry { name: "other".to_owned(), ..guest(json!({"command": "allow"})) },
    ];
    let judgement = load(&entries, &limits()).await.unwrap().decide(request("echo one")).await;
    assert_eq!(judgement.shown, "/usr/bin/echo one more");
    let Decision::Approved(approved) = judgement.decision else { panic!("not approved") };
    assert_eq!(approved.job().nodes[0].args.len(), 2);
    let seen: Vec<_> =
        judgement.trail.iter().map(|answer| (answer.round, answer.policy.as_str(), answer.verdict.name())).collect();
    assert_eq!(seen, [(1, "guest", "rewrite"), (1, "other", "allow"), (2, "guest", "abstain"), (2, "other", "allow")]);
}

#[rstest]
#[case::a_denial_stands(json!({"rewrite-append": "x"}), json!("deny"), "denied", "misbehaving")]
#[case::an_ask_stands(json!({"rewrite-append": "x"}), json!("ask"), "asks", "misbehaving")]
#[case::different_rewrites_conflict(json!({"rewrite-append": "x"}), json!({"rewrite-append": "y"}), "denied", "conflicting-rewrites")]
#[case::different_values_conflict(json!({"rewrite-variable": "x"}), json!({"rewrite-variable": "y"}), "denied", "conflicting-rewrites")]
#[case::nobody_allows(json!("abstain"), json!("abstain"), "denied", "no-policy-allows")]
#[case::no_rewrite_is_no_opinion(json!("rewrite-nothing"), json!("abstain"), "denied", "no-policy-allows")]
#[case::ask_beats_allow(json!("allow"), json!("ask"), "asks", "misbehaving")]
#[case::deny_beats_ask(json!("ask"), json!("deny"), "denied", "misbehaving")]
#[case::a_fault_beats_all(json!("allow"), json!("trap"), "denied", "policy-trap")]
#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_joined(#[case] first: Value, #[case] second: Value, #[case] outcome: &str, #[case] code: &str) {
    let entries =
        [guest(json!({"command": first})), PolicyEntry { name: "other".to_owned(), ..guest(json!({"command": second})) }];
    let judgement = load(&entries, &limits()).await.unwrap().decide(request("echo one")).await;
    assert_eq!((told(&judgement).0, told(&judgement).2), (outcome, code));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_remembers_nothing() {
    let chain = chain(json!({"command": "remembers"})).await;
    for _ in 0..3 {
        assert_eq!(told(&chain.decide(request("true")).await).0, "approved");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_is_seen_only_where_granted() {
    let settings = json!({"command": {"read-env": "PATH"}});
    assert_eq!(told(&chain(settings.clone()).await.decide(request("true")).await).0, "approved");
    let grants = Grants { env: vec!["PATH".to_owned()], read: Vec::new() };
    let granted = load(&[PolicyEntry { grants, ..guest(settings) }], &limits()).await.unwrap();
    assert_eq!(told(&granted.decide(request("true")).await).3, std::env::var("PATH").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_only_where_granted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("granted.txt");
    std::fs::write(&file, "what the file says").unwrap();
    let settings = json!({"command": {"read-file": file}});
    assert_eq!(told(&chain(settings.clone()).await.decide(request("true")).await).0, "approved");
    let grants = Grants { env: Vec::new(), read: vec![folder.path().to_owned()] };
    let granted = load(&[PolicyEntry { grants, ..guest(settings) }], &limits()).await.unwrap();
    assert_eq!(told(&granted.decide(request("true")).await).3, "what the file says");
    assert!(granted.describe().next().unwrap().ends_with("; frozen"));
    std::fs::write(&file, "what it says now").unwrap();
    assert_eq!(told(&granted.decide(request("true")).await).3, "what it says now");
    drop(folder);
    assert_eq!(told(&granted.decide(request("true")).await).2, "policy-grant");
}

/// An agent can exchange a file that a policy has looked at: one who waited there would hold up a thread of the server's.
#[tokio::test]
async fn nobody_waits_for_who_writes_to_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    crate::support::named_pipe(&pipe);
    let grants = Grants { env: Vec::new(), read: vec![folder.path().to_owned()] };
    let granted = load(&[PolicyEntry { grants, ..guest(json!({"command": {"read-file": pipe}})) }], &limits()).await.unwrap();
    assert_eq!(told(&granted.decide(request("true")).await).0, "approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_holds_a_resource_after_configure_works_unfrozen() {
    let chain = chain(json!({"configure": "prints", "command": "remembers"})).await;
    assert!(chain.describe().next().unwrap().contains("configured anew for each decision"));
    for _ in 0..2 {
        assert_eq!(told(&chain.decide(request("true")).await).0, "approved");
    }
}

fn only_error(result: Result<Chain, ChainError>) -> LoadError {
    match result {
        Err(ChainError::Policies(mut errors)) if errors.len() == 1 => errors.remove(0).error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[rstest]
#[case::deadline("loop", Fault::Deadline(10_000))]
#[case::trap("trap", Fault::Trap("wasm trap: wasm `unreachable` instruction executed".to_owned()))]
#[case::memory("allocate", Fault::Memory(16))]
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_configure_is_told_at_load(#[case] deed: &str, #[case] expected: Fault) {
    let error = only_error(load(&[guest(json!({"configure": deed}))], &limits()).await);
    let LoadError::Fault { fault, .. } = error else { panic!("{error}") };
    assert_eq!(fault, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_limited() {
    let error = only_error(load(&[guest(json!({}))], &Limits { table_elements: 3, ..limits() }).await);
    assert!(matches!(error, LoadError::Fault { fault: Fault::Table(3), .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_of_all_settings_are_told_at_once() {
    let entries =
        [guest(json!({"configure": "errors"})), PolicyEntry { name: "other".to_owned(), ..guest(json!({"no-such-key": 1})) }];
    let Err(ChainError::Policies(errors)) = load(&entries, &limits()).await else { panic!("it was loaded") };
    let paths: Vec<_> = errors
        .iter()
        .flat_map(|entry| match &entry.error {
            LoadError::Settings(errors) => errors.iter().map(|error| (entry.index, error.path.as_str())).collect::<Vec<_>>(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(paths, [(0, "first.0"), (0, "second"), (1, "no-such-key")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surplus_import_is_refused_by_name() {
    let component = ComponentSource::File(written("surplus", portcullis_guests::SURPLUS));
    let error = only_error(load(&[PolicyEntry { component, ..guest(json!({})) }], &limits()).await);
    assert!(matches!(&error, LoadError::SurplusImports(names) if names == &["evil:host/shell@1.0.0"]), "{error}");
}

#[rstest]
#[case::text(b"this is no component".to_vec(), "not a WebAssembly component")]
#[case::module(b"\0asm\x01\0\0\0".to_vec(), "not a WebAssembly component")]
#[case::empty(Vec::new(), "not a WebAssembly component")]
#[case::truncated(portcullis_guests::MISBEHAVING[..portcullis_guests::MISBEHAVING.len() / 2].to_vec(), "not a WebAssembly component")]
#[case::empty_component(b"\0asm\x0d\0\x01\0".to_vec(), "does not implement the contract")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_policy_is_refused(#[case] bytes: Vec<u8>, #[case] message: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let component = ComponentSource::File(file.path().to_owned());
    let error = only_error(load(&[PolicyEntry { component, ..guest(json!({})) }], &limits()).await);
    assert!(error.to_string().contains(message), "{error}");
}

async fn judged_input(settings: Value, pending: &[u8], data: &[u8]) -> (&'static str, String) {
    let chain = chain(settings).await;
    let Decision::Approved(approved) = chain.decide(request("cat")).await.decision else { panic!("not approved") };
    match chain.decide_input(approved.job(), pending, data.to_vec()).await.decision {
        InputDecision::Approved(input) => ("approved", String::from_utf8_lossy(input.bytes()).into_owned()),
        InputDecision::Asks(pending) => ("asks", pending.reason().code.clone()),
        InputDecision::Denied(denial) => ("denied", denial.code),
    }
}

#[rstest]
#[case::allowed("allow", "", "ls\n", "approved", "ls\n")]
#[case::rewritten("upper", "", "ls\n", "approved", "LS\n")]
#[case::denied("deny", "", "ls\n", "denied", "misbehaving")]
#[case::asked("ask", "", "ls\n", "asks", "misbehaving")]
#[case::nobody("abstain", "", "ls\n", "denied", "no-policy-allows")]
#[case::pieces_are_seen_together("deny-secret", "sec", "ret\n", "denied", "misbehaving")]
#[case::deadline("loop", "", "x", "denied", "policy-deadline")]
#[case::sleep("sleep", "", "x", "denied", "policy-deadline")]
#[case::trap("trap", "", "x", "denied", "policy-trap")]
#[case::memory("allocate", "", "x", "denied", "policy-memory")]
#[case::no_end("rewrite-forever", "", "x", "denied", "does-not-converge")]
#[case::huge("huge-rewrite", "", "x", "denied", "bad-rewrite")]
#[tokio::test(flavor = "multi_thread")]
async fn input_is_judged(
    #[case] deed: &str,
    #[case] pending: &str,
    #[case] data: &str,
    #[case] outcome: &str,
    #[case] told: &str,
) {
    let settings = json!({"command": "allow", "input": deed});
    let judged = judged_input(settings, pending.as_bytes(), data.as_bytes()).await;
    assert_eq!(
        judged,
        (
            match outcome {
                "approved" => "approved",
                "asks" => "asks",
                _ => "denied",
            },
            told.to_owned()
        )
    );
}
