//! `policy test`, `policy inspect`, `policy bench` and `config schema`: what authors of policies see.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rstest::rstest;
use serde_json::Value;

use crate::support::{
    eventually,
    scene::{Done, Running, Scene},
    within,
};

/// Denies some commands by a policy that is built in.
const CASES: &str = r#"
[[policies]]
component = "builtin:allowlist"
[policies.settings.programs.ls]
flags = ["-l"]
[policies.settings.programs.cat]
operands = { kind = "path" }
[policies.settings.programs.never]

[[case]]
name = "listing"
commands = ["ls", "ls -l"]
decision = "allow"

[[case]]
name = "paths outside"
command = "cat /etc/passwd"
decision = "deny"
code = "path-not-allowed"
policy = "allowlist"
message = "inside the working roots"
"#;

fn test(scene: &Scene, cases: &str, args: &[&str]) -> Done {
    let file = scene.outside("a.cases.toml", cases);
    let file = file.to_str().unwrap();
    scene.portcullis([&["policy", "test"], args, &[file]].concat())
}

fn inspect(scene: &Scene, args: &[&str]) -> Done {
    scene.portcullis([&["policy", "inspect"], args].concat())
}

// ── the built-in policies ───────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::allowlist("allowlist")]
#[case::harden("harden")]
#[case::redact("redact")]
#[case::tidy("tidy")]
fn the_cases_beside_a_built_in_policy_hold(#[case] policy: &str) {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(policy).join("tests");
    let files = files(&cases);
    assert!(!files.is_empty(), "{}", cases.display());
    // One by one: all packs of the allowlist are compiled, which takes seconds each.
    for file in files {
        let scene = Scene::new();
        let mut command = scene.command(["policy".as_ref(), "test".as_ref(), file.as_os_str()]);
        let mut running = Running::start(&mut command);
        within(Duration::from_secs(300), "the cases are tried", || running.child().try_wait().unwrap());
        running.done().expect(0);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

// ── what came of cases ──────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn cases_that_hold_are_counted() {
    let done = test(&Scene::new(), CASES, &[]).expect(0);
    assert_eq!(done.stdout(), "3 passed, 0 failed\n");
}

#[test]
fn a_case_that_does_not_hold_is_shown_with_what_came_instead() {
    let cases = CASES.replace(r#"code = "path-not-allowed""#, r#"code = "flag-not-allowed""#);
    let shown = test(&Scene::new(), &cases, &[]).expect(1).stdout();
    for part in
        ["FAILED  paths outside: cat /etc/passwd", "code: expected flag-not-allowed, got path-not-allowed", "2 passed, 1 failed"]
    {
        assert!(shown.contains(part), "{shown}");
    }
}

#[rstest]
#[case::decision("command = \"ls\"\ndecision = \"deny\"", "decision: expected deny, got allow")]
#[case::one_of("command = \"rm x\"\ndecision = [\"allow\", \"ask\"]", "decision: expected allow or ask, got deny by allowlist")]
#[case::policy("command = \"rm x\"\npolicy = \"redact\"", "policy: expected redact, got allowlist")]
#[case::message("command = \"rm x\"\nmessage = \"blue\"", "message: expected \"blue\" in it")]
#[case::runs("command = \"ls  -l\"\nruns = \"ls -la\"", "runs:")]
#[case::verdicts("command = \"ls\"\nverdicts = { allowlist = \"deny\" }", "verdict of allowlist: expected deny, got allow")]
#[case::input(
    "job = \"cat\"\ninput = \"x\\n\"\ndecision = \"allow\"",
    "decision: expected allow, got deny by allowlist [input-not-allowed]"
)]
#[case::output("output = \"a\\nb\\n\"\nbecomes = \"a\\nc\\n\"", "   2 - c")]
#[case::lacks("output = \"a secret\\n\"\nlacks = [\"secret\"]", "it is still there")]
#[case::findings("output = \"a\\n\"\nfindings = { token = 1 }", "findings: expected")]
fn each_expectation_is_held_against_what_came(#[case] case: &str, #[case] difference: &str) {
    let done = test(&Scene::new(), &format!("{CASES}[[case]]\n{case}\n"), &[]).expect(1);
    assert!(done.stdout().contains(difference), "{}", done.stdout());
}

#[test]
fn a_table_says_in_each_row_what_is_different() {
    let scene = Scene::new();
    scene.outside("rows.tsv", "what\tcommand\tcode\nworse\trm x\tprogram-not-allowed\nleft out\tls\t\n");
    let cases = format!(
        "{CASES}[[case]]\ncode = \"path-not-allowed\"\nrows = [{{ command = \"cat ../x\" }}, {{ command = \"ls -R\", code = \"flag-not-allowed\" }}]
        [[case]]\ncorpus = {{ file = \"rows.tsv\", take = {{ command = \"command\", code = \"code\" }}, except = [\"ls\"] }}\n"
    );
    assert_eq!(test(&scene, &cases, &[]).expect(0).stdout(), "6 passed, 0 failed\n");
}

#[test]
fn settings_of_one_case_replace_those_of_all() {
    let case = "[[case]]\ncommand = \"rm x\"\ndecision = \"allow\"\nsettings = { programs = { rm = { operands = { kind = \"path\" } } } }\n";
    assert_eq!(test(&Scene::new(), &format!("{CASES}{case}"), &[]).expect(0).stdout(), "4 passed, 0 failed\n");
}

#[test]
fn commands_find_the_files_and_programs_that_the_world_has() {
    let world = "[world]\nfiles = { \"sub/a.txt\" = \"x\" }\nlinks = { out = \"/etc/passwd\" }\nmissing = [\"ls\"]\n";
    let cases = format!(
        "{world}{CASES}[[case]]\nrows = [{{ command = \"cat {{root}}/sub/a.txt\", decision = \"allow\", runs = \"cat {{root}}/sub/a.txt\" }},
         {{ command = \"cat out\", code = \"path-not-allowed\" }}, {{ command = \"ls\", code = \"program-not-found\", policy = \"portcullis\" }}]\n"
    );
    let done = test(&Scene::new(), &cases, &["--filter", "cat|^ls$"]).expect(0);
    assert_eq!(done.stdout(), "4 passed, 0 failed\n");
}

/// Cases may come from anywhere, and those who run them expect nothing to be made outside of the world.
#[test]
fn nothing_is_made_through_a_link_of_the_world() {
    let scene = Scene::new();
    let victim = scene.outside("victim", "");
    fs::remove_file(&victim).unwrap();
    fs::create_dir(&victim).unwrap();
    let links = format!("[world]\nlinks = {{ a = {victim:?}, \"a/b/.profile\" = \"/etc/passwd\" }}\n");
    let files = format!("[world]\nfiles = {{ \"x/y\" = \"text\", \"x/y/z\" = \"text\" }}\nlinks = {{ a = {victim:?} }}\n");
    for world in [links, files] {
        let told = test(&scene, &format!("{world}{CASES}"), &[]);
        assert!(format!("{}{}", told.stdout(), told.stderr).contains("is no directory"), "{}", told.stderr);
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }
}

#[test]
fn a_filter_that_depends_on_cuts_is_found_out() {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    let cases = format!(
        "[[policies]]\ncomponent = {guest:?}\nsettings = {{ output = \"count\" }}\n[[case]]\noutput = \"a line\\nand another\\n\"\nunchanged = true\n"
    );
    assert_eq!(test(&scene, &cases, &[]).expect(0).stdout(), "1 passed, 0 failed\n");
    let cut = cases.replace("\"count\"", "\"show\"").replace("unchanged = true", "lacks = []");
    let shown = test(&scene, &cut, &[]).expect(1).stdout();
    assert!(shown.contains("what comes out depends on how the stream is cut: cut at "), "{shown}");
}

#[test]
fn a_clock_stands_still_and_random_numbers_are_the_same() {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    let cases = format!(
        "[[policies]]\ncomponent = {guest:?}\nsettings = {{ command = \"now\" }}\n[[case]]\ncommand = \"ls\"\nmessage = \"1767268800 \"\n"
    );
    test(&scene, &cases, &[]).expect(0);
    let random = |done: Done| done.stdout().split_once("got ").unwrap().1.to_owned();
    let other = cases.replace("1767268800 ", "never");
    assert_eq!(random(test(&scene, &other, &[]).expect(1)), random(test(&scene, &other, &[]).expect(1)));
}

#[test]
fn cases_without_policies_are_put_to_the_configuration() {
    let scene = Scene::configured(
        "[[policies]]\nname = \"allowlist\"\ncomponent = \"builtin:allowlist\"\n[policies.settings.programs.blue]\n",
    );
    let imported = "[[case]]\nname = \"rules:1\"\ncommand = \"blue\"\ndecision = \"allow\"\n\n[[case]]\nname = \"rules:2\"\ncommand = \"ls\"\ndecision = \"deny\"\n";
    assert_eq!(test(&scene, imported, &[]).expect(0).stdout(), "2 passed, 0 failed\n");
}

// ── how it is told ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn programs_read_json() {
    let report: Value = serde_json::from_slice(&test(&Scene::new(), CASES, &["--format", "json"]).expect(0).stdout).unwrap();
    assert_eq!((&report["passed"], &report["failed"]), (&3.into(), &0.into()));
    assert_eq!(report["cases"][2]["name"], "paths outside: cat /etc/passwd");
}

#[test]
fn ci_reads_junit() {
    let cases = format!("{CASES}[[case]]\ncommand = \"rm <&> 'x'\"\ndecision = \"allow\"\n");
    let report = test(&Scene::new(), &cases, &["--format", "junit"]).expect(1).stdout();
    assert!(report.contains("tests=\"4\" failures=\"1\""), "{report}");
    assert!(report.contains("name=\"rm &lt;&amp;&gt; 'x'\""), "{report}");
    assert!(report.contains("<failure message=\"decision: expected allow"), "{report}");
}

#[test]
fn rules_that_no_case_reached_are_told() {
    let shown = test(&Scene::new(), CASES, &["--coverage"]).expect(0).stdout();
    assert!(shown.contains("2 of 3 rules reached\n"), "{shown}");
    assert!(shown.contains("programs.never of allowlist"), "{shown}");
    assert!(shown.contains("functions of allowlist are not counted: "), "{shown}");
}

#[test]
fn a_change_of_the_cases_tries_them_again() {
    let scene = Scene::new();
    let file = scene.outside("a.cases.toml", CASES);
    let out = scene.base().join("out");
    let mut command = scene.command(["policy", "test", "--watch", file.to_str().unwrap()]);
    let mut running = Running::start_unread(command.stdout(fs::File::create(&out).unwrap()));
    let shown = |text: &str| fs::read_to_string(&out).unwrap().contains(text).then_some(());
    eventually("the cases are tried", || shown("3 passed, 0 failed\n"));
    // Written until it is seen: the first change may come before anything is watched.
    eventually("they are tried again", || {
        scene.outside("a.cases.toml", CASES.replace("path-not-allowed", "other"));
        shown("2 passed, 1 failed\n")
    });
    running.child().kill().unwrap();
}

// ── what is no test ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::syntax("[[case]\n", "a.cases.toml: line 1, column")]
#[case::unknown_key(
    "[[case]]\ncommand = \"ls\"\n\ndecison = \"allow\"\n",
    "a.cases.toml: line 4, column 1: unknown field `decison`"
)]
#[case::unknown_key_in_a_row(
    "[[case]]\nrows = [{ comand = \"ls\" }]\n",
    "a.cases.toml: line 2, column 11: unknown field `comand`"
)]
#[case::no_subject("[[case]]\ndecision = \"allow\"\n", "case[0]: needs one of `command`, `input` and `output`")]
#[case::no_expectation("[[case]]\ncommand = \"ls\"\n", "case[0]: expects nothing")]
#[case::bad_decision("[[case]]\ncommand = \"ls\"\ndecision = \"yes\"\n", "line 3, column 12: must be \"allow\"")]
#[case::no_corpus(
    "[[case]]\ndecision = \"deny\"\ncorpus = { file = \"no\", take = { command = \"line\" } }\n",
    "case[0].corpus: no could not be read"
)]
#[case::no_case("[[policies]]\ncomponent = \"builtin:redact\"\n", "there is no case in them")]
#[case::unknown_builtin(
    "[[policies]]\ncomponent = \"builtin:blue\"\n[[case]]\ncommand = \"ls\"\ndecision = \"deny\"\n",
    "there is no built-in policy \"blue\""
)]
#[case::bad_settings(
    "[[policies]]\ncomponent = \"builtin:tidy\"\nsettings = { fold_after = \"x\" }\n[[case]]\noutput = \"\"\nbecomes = \"\"\n",
    "policies[0].settings.fold_after: must be a whole number, and is a string"
)]
#[case::outside_the_world(
    "[world]\nfiles = { \"../x\" = \"\" }\n[[policies]]\ncomponent = \"builtin:tidy\"\n[[case]]\noutput = \"\"\nbecomes = \"\"\n",
    "must be a path below the root"
)]
fn what_can_not_be_tried_is_an_error(#[case] cases: &str, #[case] said: &str) {
    let done = test(&Scene::new(), cases, &[]).expect(3);
    assert!(done.stderr.contains(said), "{}", done.stderr);
    assert_eq!(done.stdout(), "");
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    let done = test(&Scene::new(), CASES, &["--filter", "no such case"]).expect(3);
    assert!(done.stderr.contains("no case has a name that the filter matches"), "{}", done.stderr);
}

#[test]
fn a_directory_without_cases_is_an_error() {
    let scene = Scene::new();
    let done = scene.portcullis(["policy", "test", scene.base().join("home").to_str().unwrap()]).expect(3);
    assert!(done.stderr.contains("has no file that is called *.cases.toml"), "{}", done.stderr);
}

// ── settings schemas ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The misbehaving guest with a schema that says of its settings what the policy itself does not.
fn guest_with(schema: &str) -> Vec<u8> {
    let mut component = portcullis_guests::MISBEHAVING.to_vec();
    let name = b"portcullis:settings-schema";
    let length = |length: usize| [u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()];
    component.push(0);
    component.extend(length(2 + name.len() + schema.len()));
    component.extend(length(name.len()));
    component.extend(name);
    component.extend(schema.as_bytes());
    component
}

#[rstest]
#[case::fits(r#"{"properties": {"command": {"enum": ["loop"]}}}"#, "while it took its settings: ran out of time")]
#[case::against(r#"{"properties": {"configure": {"enum": ["trap"]}}}"#, "policies[0].settings.configure: must be \"trap\"")]
#[case::nonsense(
    r#"{"properties": 3}"#,
    "policies[0] (house): the schema that it carries of its settings says of `properties` what can not be said"
)]
#[case::no_json("{", "the schema that it carries of its settings is no JSON")]
#[case::endless(r##"{"$ref": "#"}"##, "is nested too deeply, or made of itself")]
fn settings_are_held_against_the_schema_before_the_policy_runs(#[case] schema: &str, #[case] said: &str) {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", guest_with(schema));
    // It never returns from `configure`: whatever else is said is said before.
    scene.configure(&format!("[[policies]]\nname = \"house\"\ncomponent = {guest:?}\nsettings = {{ configure = \"loop\" }}\n"));
    let done = scene.portcullis(["config", "check"]).expect(3);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[test]
fn the_schema_of_the_configuration_knows_all_keys_and_the_settings_of_built_in_policies() {
    let done = Scene::new().portcullis(["config", "schema"]).expect(0);
    let schema: Value = serde_json::from_slice(&done.stdout).unwrap();
    let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
    assert_eq!(at("/additionalProperties"), false);
    assert_eq!(at("/$defs/RawLimits/properties/decision_ms/type"), "integer");
    assert_eq!(at("/$defs/RawPolicy/properties/component/type"), "string");
    let cases = at("/$defs/RawPolicy/allOf").as_array().unwrap();
    let builtins: Vec<_> = cases.iter().map(|case| case.pointer("/if/properties/component/const").unwrap()).collect();
    assert_eq!(builtins, ["builtin:allowlist", "builtin:harden", "builtin:redact", "builtin:tidy"]);
    assert_eq!(at("/$defs/allowlist.Program/properties/commands/additionalProperties/$ref"), "#/$defs/allowlist.Program");
    let mut references = Vec::new();
    collect(&schema, &mut references);
    for reference in references {
        at(reference.strip_prefix('#').unwrap());
    }
}

/// All references in a schema.
fn collect(schema: &Value, references: &mut Vec<String>) {
    match schema {
        Value::Object(members) => members.iter().for_each(|(key, value)| match value {
            Value::String(text) if key == "$ref" => references.push(text.clone()),
            value => collect(value, references),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

// ── inspect and bench ───────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_component_tells_what_it_is_and_wants() {
    let shown = inspect(&Scene::new(), &["builtin:harden"]).expect(0).stdout();
    for part in [
        "version      0.1.0",
        "licences     Apache-2.0",
        "judges       command",
        "settings     confine, exec_paths, git, ignore_scripts, quiet",
        "wasi:filesystem/types@0.2",
        "the directories that `grants.read` names; without it none",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn programs_read_what_a_component_is() {
    let done = inspect(&Scene::new(), &["--json", "--load", "builtin:tidy"]).expect(0);
    let object: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(object["hooks"], serde_json::json!(["output"]));
    assert_eq!(object["settings_schema"]["properties"]["fold_after"]["type"], "integer");
    assert!(object["load"]["freeze_ms"].as_f64().unwrap() > 0.0 && object["load"]["compile_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_interface_is_shown_as_wit() {
    let shown = inspect(&Scene::new(), &["--wit", "builtin:allowlist"]).expect(0).stdout();
    assert!(shown.contains("export portcullis:policy/command@0.1.0;"), "{shown}");
    assert!(shown.contains("evaluate: func(request: request) -> verdict;"), "{shown}");
}

#[test]
fn a_policy_that_can_not_be_frozen_says_why() {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    let settings = scene.outside("guest.toml", "configure = \"prints\"\n");
    let args = ["--load", "--settings", settings.to_str().unwrap(), guest.to_str().unwrap()];
    let shown = inspect(&scene, &args).expect(0).stdout();
    assert!(shown.contains("not frozen   it still holds resources of the host after configure"), "{shown}");
}

#[rstest]
#[case::nothing(b"", "is no WebAssembly component that is whole")]
#[case::text(b"a policy, surely", "is no WebAssembly component that is whole")]
#[case::core_module(b"\0asm\x01\0\0\0", "is a core module, not a component; build the policy for wasm32-wasip2")]
#[case::truncated(&portcullis_guests::MISBEHAVING[..10_000], "is no WebAssembly component that is whole")]
fn what_is_no_component_is_told(#[case] bytes: &[u8], #[case] said: &str) {
    let scene = Scene::new();
    let file = scene.outside("x.wasm", bytes);
    for args in [&["--json"][..], &["--wit"]] {
        let done = inspect(&scene, &[args, &[file.to_str().unwrap()]].concat()).expect(3);
        assert!(done.stderr.contains(said), "{}", done.stderr);
    }
}

#[test]
fn a_component_of_another_world_is_told() {
    let scene = Scene::new();
    let file = scene.outside("x.wasm", b"\0asm\x0d\0\x01\0");
    let shown = inspect(&scene, &[file.to_str().unwrap()]).expect(0).stdout();
    assert!(
        shown.contains("judges       nothing: it exports none of portcullis:policy/command, input and output @0.1.0"),
        "{shown}"
    );
    assert!(shown.contains("can not be told any, so it is no policy of this contract"), "{shown}");
}

#[test]
fn a_huge_file_is_not_read() {
    let scene = Scene::new();
    let file = scene.outside("x.wasm", b"\0asm\x0d\0\x01\0");
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(200 << 20).unwrap();
    let done = inspect(&scene, &[file.to_str().unwrap()]).expect(3);
    assert!(done.stderr.contains("has more than 64 MiB"), "{}", done.stderr);
}

#[test]
fn an_import_that_nobody_grants_is_told() {
    let scene = Scene::new();
    let file = scene.outside("surplus.wasm", portcullis_guests::SURPLUS);
    let shown = inspect(&scene, &[file.to_str().unwrap()]).expect(0).stdout();
    assert!(shown.contains("REFUSED  evil:host/shell@1.0.0"), "{shown}");
}

#[test]
fn decisions_and_filters_are_measured() {
    let scene = Scene::new();
    let cases = scene.outside("a.cases.toml", format!("{CASES}[[case]]\noutput = \"a line\\n\"\nunchanged = true\n"));
    let done = scene.portcullis(["policy", "bench", "--count", "5", "--json", cases.to_str().unwrap()]).expect(0);
    let object: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(object["commands"], 3);
    let figures = object["decisions"].as_array().unwrap();
    let what: Vec<_> = figures.iter().map(|one| (one["what"].as_str().unwrap(), one["image"].as_str().unwrap())).collect();
    assert_eq!(
        what,
        [("all policies", "frozen"), ("allowlist", "frozen"), ("all policies", "configured"), ("allowlist", "configured")]
    );
    assert!(figures.iter().all(|one| one["p50_us"].as_f64() <= one["p99_us"].as_f64() && one["p50_us"].as_f64() > Some(0.0)));
    assert!(object["filter_bytes_per_second"].as_f64().unwrap() > 0.0);
    scene.portcullis(["policy", "bench", "--filter", "no such", cases.to_str().unwrap()]).expect(3);
}
