//! Configurations that must not start anything: every mistake is named at its place, all at once.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rstest::rstest;
use sha2::{Digest, Sha256};

use crate::support::scene::{Done, OPEN, Running, Scene};

/// A module, which is WebAssembly and no component: magic number and version.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// `config check` of a configuration that is wrong: what it says.
#[track_caller]
fn complaint(scene: &Scene) -> String {
    let Done { stdout, stderr, .. } = scene.portcullis(["config", "check"]).expect(3);
    assert!(stdout.is_empty());
    assert!(stderr.ends_with("nothing was started; mend the configuration and try again\n"), "{stderr}");
    stderr
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn the_built_in_configuration_is_in_order() {
    let done = Scene::new().portcullis(["config", "check"]).expect(0);
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    assert_says(
        &done.stdout(),
        &["the built-in configuration is in order", "allowlist: judges command", "harden: ", "redact: judges output; frozen"],
    );
}

#[test]
fn the_documented_example_is_in_order() {
    let scene = Scene::configured(include_str!("../../config.toml"));
    let done = scene.portcullis(["config", "check"]).expect(0);
    assert_says(&done.stdout(), &[&format!("{} is in order", scene.config_file().display())]);
}

#[test]
fn all_mistakes_are_named_at_once() {
    let scene = Scene::configured(
        r#"
        unknown = 1
        [jobs]
        timeout = 5
        max_running = 0
        output_bytes = "4 MiB"
        roots = ["/nowhere-at-all"]
        [jobs.env]
        pass = ["GIT_*"]
        [limits]
        memory_mib = 1.5
        [decision]
        default = "maybe"
        [audit]
        path = "log/audit.jsonl"
        [[policies]]
        name = "One"
        component = "builtin:allowlst"
        [[policies]]
        name = "two"
        component = "two.wasm"
        [[policies]]
        name = "two"
        component = "builtin:redact"
        grants = { env = ["A B"], read = ["/nowhere-at-all"] }
        settings = { number = nan }
        "#,
    );
    let places = [
        "unknown: ",
        "jobs.timeout: unknown key; did you mean `timeout_s`?",
        "jobs.max_running: 0 is out of range",
        "jobs.output_bytes: found a string",
        "jobs.roots[0]: ",
        "jobs.env.pass[0]: ",
        "limits.memory_mib: found a number with a fraction",
        "decision.default: ",
        "audit.path: `log/audit.jsonl` is a relative path",
        "policies[0].name: ",
        "policies[0].component: ",
        "policies[1].component: ",
        "policies[2].name: `two` is the name of policies[1] too",
        "policies[2].grants.env[0]: ",
        "policies[2].grants.read[0]: ",
        "policies[2].settings.number: ",
    ];
    let said = complaint(&scene);
    assert_says(&said, &places);
    assert_eq!(said.lines().count(), places.len() + 1, "{said}");
    let file = scene.config_file();
    assert!(said.lines().take(places.len()).all(|line| line.contains(&format!("{}: ", file.display()))), "{said}");
}

#[rstest]
#[case::not_toml("jobs = [", "line 1, column ")]
#[case::no_policy("", "policies: there is no policy")]
#[case::secret_is_not_quoted("[jobs]\nmax_running = hunter2hunter2", "line 2, column ")]
fn a_file_that_can_not_be_read_as_a_whole(#[case] config: &str, #[case] said: &str) {
    let complaint = complaint(&Scene::configured(config));
    assert_says(&complaint, &[said]);
    assert!(!complaint.contains("hunter2"), "{complaint}");
}

#[rstest]
#[case::option(&["--config", "/nowhere.toml"], &[], "--config: /nowhere.toml does not exist")]
#[case::variable(&[], &[("PORTCULLIS_CONFIG", "/nowhere.toml")], "PORTCULLIS_CONFIG: /nowhere.toml does not exist")]
#[case::relative_variable(&[], &[("PORTCULLIS_CONFIG", "c.toml")], "PORTCULLIS_CONFIG: `c.toml` is a relative path")]
#[case::seed_number(&[], &[("MCP_BG_MAX_JOBS", "many")], "MCP_BG_MAX_JOBS: `many` is no whole number")]
#[case::seed_patterns(&[], &[("MCP_BG_ALLOWED_COMMANDS", "^ls")], "MCP_BG_ALLOWED_COMMANDS: ")]
fn what_is_given_beside_the_file_is_named_too(#[case] args: &[&str], #[case] variables: &[(&str, &str)], #[case] said: &str) {
    let scene = Scene::new();
    let mut command = scene.command(args.iter().chain(&["config", "check"]));
    let done = Running::start(command.envs(variables.iter().copied())).done().expect(3);
    assert_says(&done.stderr, &[said]);
}

#[test]
fn nothing_is_taken_from_the_working_directory() {
    let scene = Scene::new();
    for name in ["config.toml", "portcullis.toml", ".portcullis.toml"] {
        fs::write(scene.root().join(name), "broken").unwrap();
    }
    scene.portcullis(["check", "ls"]).expect(0);
}

// ── who else could write ───────────────────────────────────────────────────────────────────────────────────────────────────

#[rstest]
#[case::file("portcullis/config.toml", 0o666)]
#[case::group("portcullis/config.toml", 0o664)]
#[case::directory("portcullis", 0o775)]
#[case::directory_above(".", 0o777)]
fn a_configuration_that_others_can_write(#[case] what: &str, #[case] mode: u32) {
    let scene = Scene::configured(OPEN);
    let path = scene.base().join("config").join(what);
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let path = path.canonicalize().unwrap();
    assert_says(&complaint(&scene), &["others can write", &format!("chmod go-w {}", path.display())]);
}

#[test]
fn a_cache_that_others_can_enter() {
    let scene = Scene::configured(OPEN);
    let home = scene.base().join("fresh");
    let cache = home.join("portcullis");
    let check = || Running::start(scene.command(["check", "ls"]).env("XDG_CACHE_HOME", &home)).done();
    check().expect(0);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    assert_says(&check().expect(3).stderr, &[&format!("chmod 700 {}", cache.display())]);
}

#[test]
fn a_compiled_policy_that_others_can_write() {
    let scene = Scene::configured(OPEN);
    let home = scene.base().join("fresh");
    let check = || Running::start(scene.command(["check", "ls"]).env("XDG_CACHE_HOME", &home)).done();
    check().expect(0);
    let artifact = fs::read_dir(home.join("portcullis")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&artifact, Permissions::from_mode(0o666)).unwrap();
    assert_says(&check().expect(3).stderr, &[&artifact.display().to_string(), "is open to other users"]);
}

#[rstest]
#[case::damaged(|_: &[u8]| b"no code".to_vec())]
#[case::of_another_engine(of_another_engine)]
fn a_compiled_policy_that_is_of_no_use_is_compiled_again(#[case] spoil: fn(&[u8]) -> Vec<u8>) {
    let scene = Scene::configured(OPEN);
    let home = scene.base().join("fresh");
    let check = || Running::start(scene.command(["check", "ls"]).env("XDG_CACHE_HOME", &home)).done();
    check().expect(0);
    let artifact = fs::read_dir(home.join("portcullis")).unwrap().next().unwrap().unwrap().path();
    let compiled = fs::read(&artifact).unwrap();
    fs::write(&artifact, spoil(&compiled)).unwrap();
    check().expect(0);
    assert_eq!(fs::read(&artifact).unwrap().len(), compiled.len());
    assert!(fs::read(&artifact).unwrap() != spoil(&compiled));
}

/// A whole artifact, which says that another version of the engine made it.
fn of_another_engine(compiled: &[u8]) -> Vec<u8> {
    let mut code = compiled[32..].to_vec();
    // The length of the version and its two digits stand in front of the target's name and that one's length.
    let is_version = |at: &usize| code[at - 4] == 2 && code[at - 3..at - 1].iter().all(u8::is_ascii_digit);
    let target = memchr::memmem::find_iter(&code, std::env::consts::ARCH).find(is_version).unwrap();
    code[target - 3..target - 1].copy_from_slice(b"01");
    [Sha256::digest(&code).as_slice(), &code].concat()
}

// ── what an agent could write ──────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_root_that_holds_configuration_audit_log_and_cache() {
    let scene = Scene::configured(OPEN);
    let mut command = scene.command(["config", "check"]);
    command.current_dir(scene.base()).env("XDG_CACHE_HOME", scene.base().join("cache"));
    let said = Running::start(&mut command).done().expect(3).stderr;
    let root = format!("lies in the job root {}", scene.base().display());
    assert_says(
        &said,
        &[&root, "audit.path: ", "history.path: ", "cache.path: ", &format!("{} lies in", scene.config_file().display())],
    );
    assert_eq!(said.matches(&root).count(), 4, "{said}");
}

#[test]
fn a_policy_in_a_root() {
    let scene = Scene::new();
    let component = scene.root().join("policy.wasm");
    fs::write(&component, portcullis_guests::MISBEHAVING).unwrap();
    scene.configure(&entry(&component));
    assert_says(&complaint(&scene), &["policies[0].component: ", "lies in the job root"]);
}

#[test]
fn a_configuration_in_a_root() {
    let scene = Scene::new();
    fs::write(scene.root().join("c.toml"), OPEN).unwrap();
    let done = scene.portcullis(["--config", "c.toml", "config", "check"]).expect(3);
    assert_says(&done.stderr, &["c.toml lies in the job root"]);
}

// ── policies that can not be loaded ────────────────────────────────────────────────────────────────────────────────────────

fn entry(component: &Path) -> String {
    format!("[[policies]]\nname = \"house\"\ncomponent = {component:?}\n")
}

#[rstest]
#[case::text(b"a policy, surely", &["policies[0] (house): not a WebAssembly component"])]
#[case::nothing(b"", &["policies[0] (house): not a WebAssembly component"])]
#[case::module(CORE_MODULE, &["policies[0] (house): not a WebAssembly component", "wasm32-wasip2"])]
#[case::truncated(&portcullis_guests::MISBEHAVING[..10_000], &["policies[0] (house): not a WebAssembly component"])]
#[case::other_world(b"\0asm\x0d\0\x01\0", &["policies[0] (house): does not implement the contract"])]
#[case::surplus_import(portcullis_guests::SURPLUS, &["policies[0] (house): imports evil:host/shell@1.0.0, which portcullis does not offer"])]
fn a_policy_that_is_none(#[case] content: &[u8], #[case] said: &[&str]) {
    let scene = Scene::new();
    let component = scene.outside("policy.wasm", content);
    scene.configure(&entry(&component));
    assert_says(&complaint(&scene), said);
}

#[test]
fn a_policy_is_found_beside_the_file_that_names_it() {
    let scene =
        Scene::configured("[[policies]]\nname = \"house\"\ncomponent = \"house.wasm\"\nsettings = { command = \"allow\" }\n");
    let beside = scene.config_file().with_file_name("house.wasm");
    fs::copy(scene.outside("house.wasm", portcullis_guests::MISBEHAVING), beside).unwrap();
    scene.portcullis(["check", "ls"]).expect(0);
}

#[test]
fn settings_that_policies_reject_are_named_by_their_paths() {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&format!(
        r#"
        [[policies]]
        name = "allowlist"
        component = "builtin:allowlist"
        [policies.settings.programs.git]
        flags = ["-v", 3]
        [[policies]]
        name = "guest"
        component = {guest:?}
        settings = {{ configure = "errors" }}
        [[policies]]
        name = "redact"
        component = "builtin:redact"
        settings = {{ alow = [], patern = 1 }}
        "#
    ));
    let said = complaint(&scene);
    assert_says(
        &said,
        &[
            "policies[0].settings.programs.git.flags[1]: must be a string, and is a whole number",
            "policies[1].settings.first.0: the first thing is wrong",
            "policies[1].settings.second: the second thing is wrong",
            "policies[2].settings.alow: unknown key; did you mean `allow`?",
            "policies[2].settings.patern: unknown key",
        ],
    );
    assert_eq!(said.lines().count(), 6, "{said}");
}

#[rstest]
#[case::loops("loop")]
#[case::traps("trap")]
#[case::allocates("allocate")]
#[case::recurses("recurse")]
fn a_policy_that_does_not_survive_its_settings(#[case] deed: &str) {
    let scene = Scene::new();
    let guest = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&format!("{}settings = {{ configure = \"{deed}\" }}\n", entry(&guest)));
    assert_says(&complaint(&scene), &["policies[0] (house): while it took its settings: "]);
}
