//! Policies pinned, changed while the server runs, and tried without effect.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use portcullis::digest::Digest;
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    scene::{OPEN, Running, Scene},
    secret, signal,
    wire::Wire,
};

/// Denies `ls` and allows all else.
const NO_LS: &str = r#"{ command = "deny", only = "ls" }"#;
/// Allows everything.
const ALL: &str = r#"{ command = "allow", input = "allow" }"#;

/// The misbehaving guest with a mark of its own, so that it is another component which does the same.
fn guest(mark: &str) -> Vec<u8> {
    let name = [&[u8::try_from(mark.len()).unwrap()], mark.as_bytes()].concat();
    let section = [&[0, u8::try_from(name.len()).unwrap()], name.as_slice()].concat();
    [portcullis_guests::MISBEHAVING, &section].concat()
}

/// An entry of the configuration.
fn entry(name: &str, component: &Path, settings: &str) -> String {
    format!("[[policies]]\nname = {name:?}\ncomponent = {component:?}\nmay_rewrite = true\nsettings = {settings}\n")
}

/// A scene with one guest, and where its component lies.
fn scene(settings: &str) -> (Scene, PathBuf) {
    let scene = Scene::new();
    let component = scene.outside("guest.wasm", portcullis_guests::MISBEHAVING);
    scene.configure(&entry("guest", &component, settings));
    (scene, component)
}

/// A server that has loaded its policies.
fn server(scene: &Scene) -> Wire {
    let mut wire = Wire::open(scene);
    wire.execute("true");
    wire
}

/// Tells the server to reload, and waits until it says this once more than before.
#[track_caller]
fn reload(wire: &Wire, expected: &str) {
    let count = || wire.stderr().matches(expected).count();
    let before = count();
    signal(wire.pid(), Signal::HUP);
    eventually(&format!("{expected:?} is said"), || (count() > before).then_some(()));
}

const CHANGED: &str = "other policies are in force";
const STAY: &str = "the policies in force stay";

#[track_caller]
fn is_denied(wire: &mut Wire, command: &str) -> bool {
    wire.call("execute_command", json!({ "command": command }))["isError"] == true
}

// ── reload ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_hang_up_changes_the_policies_and_running_jobs_keep_their_filters() {
    let (scene, component) = scene(r#"{ command = "allow", input = "allow", output = "upper" }"#);
    let mut wire = server(&scene);
    let answer = |wire: &mut Wire, job: &str| {
        wire.tell("interact_with_job", json!({ "job_id": job, "input": "a word", "until": "word", "wait_ms": 20_000 }));
        wire.printed(job, |stdout| stdout.to_lowercase().ends_with("a word\n"))
    };
    let old = wire.execute("cat");
    assert_eq!(answer(&mut wire, &old), "A WORD\n");
    scene.configure(&entry("guest", &component, ALL));
    reload(&wire, CHANGED);
    assert_eq!(answer(&mut wire, &old), "A WORD\nA WORD\n");
    let new = wire.execute("cat");
    assert_eq!(answer(&mut wire, &new), "a word\n");
    scene.configure(&entry("guest", &component, r#"{ command = "allow", input = "deny" }"#));
    reload(&wire, CHANGED);
    let denied = wire.refused("interact_with_job", json!({ "job_id": old, "input": "x" }));
    assert!(denied.contains("policy \"guest\" [misbehaving]"), "{denied}");
    reload(&wire, "read again and are the same");
    assert!(wire.is_running());
}

#[test]
fn limits_and_the_default_are_reloaded_and_the_rest_needs_a_restart() {
    let (scene, component) = scene(r#"{ command = "abstain" }"#);
    let with = |tables: &str| scene.configure(&format!("{tables}\n{}", entry("guest", &component, r#"{ command = "abstain" }"#)));
    with("decision.default = \"allow\"");
    let mut wire = server(&scene);
    with("decision.default = \"deny\"");
    reload(&wire, CHANGED);
    assert!(is_denied(&mut wire, "true"));
    with("decision.default = \"allow\"\nlimits.decision_ms = 900\njobs.max_running = 3\nhistory.keep = false");
    reload(&wire, CHANGED);
    assert!(!is_denied(&mut wire, "true"));
    for table in ["[jobs]", "[history]"] {
        assert!(
            wire.stderr().contains(&format!("{table} has changed, which counts from the next start on")),
            "{}",
            wire.stderr()
        );
    }
    with(&format!("decision.default = \"deny\"\njobs.roots = [{:?}]", scene.base().join("home")));
    reload(&wire, STAY);
    assert!(wire.stderr().contains("jobs.roots has changed"), "{}", wire.stderr());
    assert!(!is_denied(&mut wire, "true"));
}

#[test]
fn a_reload_is_recorded() {
    let (scene, component) = scene(ALL);
    let mut wire = server(&scene);
    let reloads = || scene.audit().into_iter().filter(|line| line["event"] == "reload").collect::<Vec<_>>();
    let set = |wire: &mut Wire| {
        wire.execute("true");
        scene.audit().into_iter().rfind(|line| line["event"] == "decision").unwrap()["set"].clone()
    };
    let old = set(&mut wire);
    scene.configure(&entry("guest", &component, NO_LS));
    reload(&wire, CHANGED);
    let new = set(&mut wire);
    assert_ne!(old, new);
    let (secret, wrong) = (secret(), "policies[0].settings.no-such-key");
    scene.configure(&entry("guest", &component, &format!("{{ no-such-key = \"{secret}\" }}")));
    reload(&wire, STAY);
    assert_eq!(set(&mut wire), new);
    let [changed, failed] = reloads().try_into().unwrap();
    assert_eq!((&changed["before"], &changed["set"], &changed["message"]), (&old, &new, &Value::Null));
    assert_eq!((&failed["before"], &failed["set"]), (&new, &Value::Null));
    assert!(failed["message"].as_str().unwrap().contains(wrong) && !failed.to_string().contains(&secret), "{failed}");
    let said = wire.stderr();
    assert!(!said.contains("nothing was started") && said.contains(wrong), "{said}");
    let shown = scene.portcullis(["audit", "show"]).expect(0).stdout();
    assert!(shown.contains(&format!("set {} ⇒ {}", &old.as_str().unwrap()[..12], &new.as_str().unwrap()[..12])), "{shown}");
    assert!(shown.contains(&format!("set {} stays  ⇐ {wrong}", &new.as_str().unwrap()[..12])), "{shown}");
    scene.portcullis(["audit", "verify"]).expect(0);
    scene.portcullis(["audit", "replay", "--config", scene.outside("new.toml", OPEN).to_str().unwrap()]).expect(0);
}

#[test]
fn policies_whose_change_can_not_be_recorded_do_not_come_into_force() {
    let (scene, component) = scene(ALL);
    let mut wire = server(&scene);
    let away = scene.audit_file().with_extension("away");
    fs::rename(scene.audit_file(), &away).unwrap();
    symlink("/dev/null", scene.audit_file()).unwrap();
    scene.configure(&entry("guest", &component, NO_LS));
    reload(&wire, STAY);
    assert!(wire.stderr().contains("nothing is done that can not be recorded"), "{}", wire.stderr());
    fs::rename(&away, scene.audit_file()).unwrap();
    assert!(!is_denied(&mut wire, "ls"));
    reload(&wire, CHANGED);
    assert!(is_denied(&mut wire, "ls"));
}

#[test]
fn a_policy_that_passes_its_trial_and_loops_afterwards_meets_the_limits() {
    let (scene, component) = scene(ALL);
    let mut wire = server(&scene);
    scene.configure(&entry("guest", &component, r#"{ command = "loop", only = "ls" }"#));
    reload(&wire, CHANGED);
    let denied = wire.refused("execute_command", json!({ "command": "ls" }));
    assert!(denied.contains("[policy-deadline]"), "{denied}");
    assert!(!is_denied(&mut wire, "true"));
    scene.configure(&entry("guest", &component, ALL));
    reload(&wire, CHANGED);
    assert!(!is_denied(&mut wire, "ls"));
}

/// The guest, as if made for the next version of the contract.
fn of_another_version() -> Vec<u8> {
    let mut bytes = portcullis_guests::MISBEHAVING.to_vec();
    let found = memchr::memmem::find_iter(portcullis_guests::MISBEHAVING, "@0.1.0").collect::<Vec<_>>();
    for at in found {
        bytes[at..at + 6].copy_from_slice(b"@0.2.0");
    }
    bytes
}

fn file(bytes: impl Into<Vec<u8>>) -> impl FnOnce(&Path) {
    let bytes = bytes.into();
    move |path| fs::write(path, bytes).unwrap()
}

fn too_large(path: &Path) {
    File::create(path).unwrap().set_len(200 << 20).unwrap();
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[rstest]
#[case::text(file("no component"), "{}", "not a WebAssembly component")]
#[case::core_module(file(*b"\0asm\x01\0\0\0"), "{}", "not a WebAssembly component")]
#[case::truncated(file(&portcullis_guests::MISBEHAVING[..100_000]), "{}", "not a WebAssembly component")]
#[case::another_version(
    file(of_another_version()),
    "{}",
    "is made for portcullis:policy@0.2.0, and this portcullis speaks portcullis:policy@0.1.0"
)]
#[case::another_world(file(portcullis_guests::SURPLUS), "{}", "imports evil:host/shell@1.0.0")]
#[case::too_large(too_large, "{}", "has more than 64 MiB")]
#[case::nothing(|_: &Path| (), "{}", "new.wasm does not exist")]
#[case::directory(|path: &Path| fs::create_dir(path).unwrap(), "{}", "is no regular file")]
#[case::pipe(pipe, "{}", "is no regular file")]
#[case::settings(file(guest("s")), "{ no-such-key = 1 }", "policies[0].settings.no-such-key: ")]
#[case::configure(file(guest("s")), r#"{ configure = "trap" }"#, "while it took its settings")]
#[case::command(file(guest("s")), r#"{ command = "trap" }"#, "when it was tried with a command: trapped")]
#[case::input(file(guest("s")), r#"{ input = "trap" }"#, "when it was tried with input: trapped")]
#[case::output(file(guest("s")), r#"{ output = "trap", triggers = ["never there"] }"#, "when it was tried with output: trapped")]
#[case::not_toml(file(guest("s")), "{", "must be TOML")]
fn a_set_that_fails_changes_nothing(#[case] make: impl FnOnce(&Path), #[case] settings: &str, #[case] said: &str) {
    let (scene, component) = scene(NO_LS);
    let mut wire = server(&scene);
    let new = scene.base().join("outside/new.wasm");
    make(&new);
    scene.configure(&entry("new", &new, settings));
    reload(&wire, STAY);
    assert!(wire.stderr().contains(said), "{said:?} is not in:\n{}", wire.stderr());
    assert!(is_denied(&mut wire, "ls") && !is_denied(&mut wire, "true"));
    scene.configure(&entry("guest", &component, ALL));
    reload(&wire, CHANGED);
    assert!(!is_denied(&mut wire, "ls"));
}

#[test]
fn only_what_changed_is_compiled() {
    let scene = Scene::new();
    let mark = scene.base().file_name().unwrap().to_str().unwrap().to_owned();
    let component =
        |index: usize, version: &str| scene.outside(&format!("policy-{index}.wasm"), guest(&format!("{mark} {index} {version}")));
    let components: Vec<_> = (0..10).map(|index| component(index, "old")).collect();
    let entries = components.iter().enumerate().map(|(index, path)| entry(&format!("policy-{index}"), path, ALL));
    scene.configure(&entries.collect::<String>());
    let wire = server(&scene);
    let compiled =
        |wire: &Wire| wire.stderr().lines().filter(|line| line.contains("compiling")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(compiled(&wire).len(), 10);
    component(7, "new");
    reload(&wire, CHANGED);
    let compiled = compiled(&wire);
    assert_eq!(compiled.len(), 11);
    assert!(compiled[10].contains("policy-7"), "{compiled:?}");
}

#[test]
fn what_is_damaged_in_the_cache_is_compiled_again() {
    let (scene, _) = scene(NO_LS);
    let mut command = scene.command(["serve"]);
    let cache = scene.base().join("cache");
    command.env("XDG_CACHE_HOME", &cache);
    let mut wire = Wire::over(&scene, command);
    wire.initialize();
    assert!(is_denied(&mut wire, "ls"));
    for artifact in fs::read_dir(cache.join("portcullis")).unwrap() {
        let path = artifact.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    reload(&wire, "read again and are the same");
    assert!(wire.stderr().contains("a cached policy is damaged and is compiled again"), "{}", wire.stderr());
    assert!(is_denied(&mut wire, "ls") && !is_denied(&mut wire, "true"));
}

/// Of compiled policies that nobody uses the newest are kept, in bounds; those in use always are, and what is none is not touched.
#[test]
fn what_was_not_used_for_long_goes_from_the_cache() {
    let (scene, _) = scene(ALL);
    let check =
        || Running::start(scene.command(["check", "true"]).env("XDG_CACHE_HOME", scene.base().join("cache"))).done().expect(0);
    check();
    let folder = scene.base().join("cache/portcullis");
    let in_use = listed(&folder);
    let days = |days: u64| SystemTime::now() - Duration::from_hours(24 * days);
    let put = |name: &str, bytes: u64, used: SystemTime| {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(bytes).and_then(|()| file.set_modified(used)).unwrap();
    };
    for artifact in &in_use {
        File::open(folder.join(artifact)).unwrap().set_modified(days(50)).unwrap();
    }
    put("README", 0, days(50));
    put("old.frozen.cwasm", 1, days(31));
    put("young.plain.cwasm", 600 << 20, days(1));
    put("other.plain.cwasm", 600 << 20, days(2));
    let keeps = |names: &[&str]| {
        check();
        let expected: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).chain(in_use.clone()).collect();
        assert_eq!(listed(&folder), expected);
    };
    keeps(&["README", "young.plain.cwasm"]);
    fs::remove_file(folder.join("young.plain.cwasm")).unwrap();
    let many: Vec<_> = (0..501).map(|number| format!("{number}.cwasm")).collect();
    many.iter().zip(0..).for_each(|(name, minutes)| put(name, 1, SystemTime::now() - Duration::from_mins(minutes)));
    let newest: Vec<_> = many[..500].iter().map(String::as_str).chain(["README"]).collect();
    keeps(&newest);
}

fn listed(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

// ── watching ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const WATCH: &str = "reload.watch = true\n";

/// Puts a file in the place of another in one step.
fn put(scene: &Scene, path: &Path, content: &[u8]) {
    let draft = scene.outside("draft", content);
    fs::rename(draft, path).unwrap();
}

#[test]
fn what_is_watched_is_taken_over_without_being_told() {
    let (scene, component) = scene(NO_LS);
    let config = |settings: &str| format!("{WATCH}{}", entry("guest", &component, settings));
    scene.configure(&config(NO_LS));
    let mut wire = server(&scene);
    assert!(is_denied(&mut wire, "ls"));
    // Written in place.
    scene.configure(&config(ALL));
    eventually("the new policies are in force", || (!is_denied(&mut wire, "ls")).then_some(()));
    // Replaced.
    put(&scene, &scene.config_file(), config(NO_LS).as_bytes());
    eventually("the old policies are in force", || is_denied(&mut wire, "ls").then_some(()));
    // A mistake, and its end.
    scene.configure("not TOML");
    eventually("the mistake is told", || wire.stderr().contains(STAY).then_some(()));
    assert!(is_denied(&mut wire, "ls"));
    scene.configure(&config(ALL));
    eventually("the policies are in force again", || (!is_denied(&mut wire, "ls")).then_some(()));
    // No more watching.
    scene.configure(&entry("guest", &component, NO_LS));
    eventually("the last change is seen", || is_denied(&mut wire, "ls").then_some(()));
    scene.configure(&config(ALL));
    wire.execute("true");
    assert!(is_denied(&mut wire, "ls"));
}

#[test]
fn a_component_behind_a_link_is_watched_and_so_is_the_link() {
    let (scene, _) = scene(ALL);
    let [one, two] = ["one", "two"].map(|name| scene.outside(&format!("{name}.wasm"), guest(name)));
    let link = scene.base().join("outside/current.wasm");
    symlink(&one, &link).unwrap();
    scene.configure(&format!("{WATCH}{}", entry("guest", &link, ALL)));
    let wire = server(&scene);
    let changes = |count: usize| {
        eventually("the policies change", || (wire.stderr().matches(CHANGED).count() == count).then_some(()));
    };
    put(&scene, &one, &guest("one, changed"));
    changes(1);
    let next = scene.base().join("outside/next");
    symlink(&two, &next).unwrap();
    fs::rename(&next, &link).unwrap();
    changes(2);
}

#[test]
fn of_a_storm_of_changes_the_last_is_in_force() {
    const CHANGES: usize = 400;
    let (scene, component) = scene(ALL);
    let config = |settings: &str| format!("{WATCH}{}", entry("guest", &component, settings));
    scene.configure(&config(ALL));
    let mut wire = server(&scene);
    let began = Instant::now();
    for change in 0..CHANGES {
        scene.configure(&config([NO_LS, ALL, "{ not TOML"][change % 3]));
        assert!(!is_denied(&mut wire, "true"), "a decision by half of a set");
    }
    scene.configure(&config(NO_LS));
    eventually("the last change is in force", || is_denied(&mut wire, "ls").then_some(()));
    let said = wire.stderr();
    let turns = [CHANGED, STAY, "are the same"].map(|end| said.matches(end).count()).iter().sum::<usize>();
    // One after another, and not sooner than the changes before it have come together.
    let most = began.elapsed().as_millis() / 200 + 1;
    assert!((2..=most).contains(&(turns as u128)), "{turns} turns for {CHANGES} changes in {:?}", began.elapsed());
}

#[test]
fn a_pin_holds_while_the_file_is_swapped() {
    let (scene, component) = scene(ALL);
    let pinned =
        format!("{WATCH}{}sha256 = \"{}\"\n", entry("guest", &component, ALL), Digest::of(portcullis_guests::MISBEHAVING));
    scene.configure(&pinned);
    let mut wire = server(&scene);
    for turn in 0..40 {
        put(&scene, &component, &guest(&format!("turn {turn}")));
        signal(wire.pid(), Signal::HUP);
        wire.execute("true");
        put(&scene, &component, portcullis_guests::MISBEHAVING);
    }
    reload(&wire, "are the same");
    assert!(!wire.stderr().contains(CHANGED), "{}", wire.stderr());
}

// ── pins ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn pins_are_written_held_and_renewed() {
    let (scene, component) = scene(ALL);
    let config = format!(
        "# mine\n{}\n[[policies]]\nname = \"redact\" # secrets\ncomponent = \"builtin:redact\"\n",
        entry("guest", &component, ALL)
    );
    scene.configure(&config);
    fs::set_permissions(scene.config_file(), Permissions::from_mode(0o600)).unwrap();
    let [old, new] = [portcullis_guests::MISBEHAVING.to_vec(), guest("new")];
    let [old_digest, new_digest] = [&old, &new].map(|bytes| Digest::of(bytes).to_string());

    let shown = scene.portcullis(["config", "check"]).expect(0).stdout();
    assert!(shown.contains(&format!("; sha256 {old_digest}\n")), "{shown}");
    let shown = scene.portcullis(["config", "check", "--pin"]).expect(0).stdout();
    assert!(shown.contains(&format!("; pinned to sha256 {old_digest}\n")), "{shown}");
    let text = fs::read_to_string(scene.config_file()).unwrap();
    assert_eq!(text.replace(&format!("sha256 = \"{old_digest}\"\n"), ""), config);
    assert_eq!(text.matches("sha256").count(), 1, "{text}");
    assert_eq!(fs::metadata(scene.config_file()).unwrap().mode() & 0o777, 0o600);
    scene.portcullis(["check", "true"]).expect(0);

    put(&scene, &component, &new);
    let refused = scene.portcullis(["check", "true"]).expect(3).stderr;
    for part in [old_digest.as_str(), &new_digest, "config check --pin", "policies[0] (guest): "] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    scene.portcullis(["config", "check"]).expect(3);
    scene.portcullis(["config", "check", "--pin"]).expect(0);
    assert_eq!(fs::read_to_string(scene.config_file()).unwrap(), text.replace(&old_digest, &new_digest));
    scene.portcullis(["check", "true"]).expect(0);
}

#[test]
fn nothing_is_pinned_where_anything_is_wrong() {
    let (scene, component) = scene(ALL);
    let config = format!("{}{}", entry("guest", &component, ALL), entry("other", &component, "{ no-such-key = 1 }"));
    scene.configure(&config);
    scene.portcullis(["config", "check", "--pin"]).expect(3);
    assert_eq!(fs::read_to_string(scene.config_file()).unwrap(), config);
    let refused = Scene::new().portcullis(["config", "check", "--pin"]).expect(3).stderr;
    assert!(refused.contains("there is no file to write pins into"), "{refused}");
}

#[rstest]
#[case::short("\"abc\"", "is not 64 hexadecimal digits")]
#[case::number("5", "found a whole number")]
#[case::wrong(&format!("{:?}", "0".repeat(64)), "pins 0000")]
fn a_pin_that_is_wrong_stops_the_start(#[case] pin: &str, #[case] said: &str) {
    let scene = Scene::configured(&format!("[[policies]]\nname = \"redact\"\ncomponent = \"builtin:redact\"\nsha256 = {pin}\n"));
    let refused = scene.portcullis(["check", "true"]).expect(3).stderr;
    assert!(refused.contains(said), "{refused}");
}

// ── without effect ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The finding of `check --json` where a guest that does this is monitored, behind one that allows everything.
fn monitored(scene: &Scene, component: &Path, settings: &str) -> Value {
    scene.configure(&format!("{}{}mode = \"monitor\"\n", entry("open", component, ALL), entry("guest", component, settings)));
    serde_json::from_str(&scene.portcullis(["check", "--json", "echo one"]).expect(0).stdout()).unwrap()
}

#[rstest]
#[case::denies(r#"{ command = "deny", only = "echo" }"#, "deny", "misbehaving")]
#[case::asks(r#"{ command = "ask", only = "echo" }"#, "ask", "misbehaving")]
#[case::rewrites(r#"{ command = { rewrite-append = "more" }, only = "echo" }"#, "rewrite", "misbehaving")]
#[case::never_settles(r#"{ command = "rewrite-forever", only = "echo" }"#, "rewrite", "misbehaving")]
#[case::traps(r#"{ command = "trap", only = "echo" }"#, "fault", "policy-trap")]
#[case::loops(r#"{ command = "loop", only = "echo" }"#, "fault", "policy-deadline")]
fn a_monitored_verdict_is_recorded_and_has_no_effect(#[case] settings: &str, #[case] verdict: &str, #[case] code: &str) {
    let (scene, component) = scene(ALL);
    let finding = monitored(&scene, &component, settings);
    assert_eq!((&finding["decision"], &finding["policy"]), (&"allow".into(), &Value::Null), "{finding}");
    assert_eq!(finding["runs"], "/usr/bin/echo one");
    let answers: Vec<_> =
        finding["policies"].as_array().unwrap().iter().map(|answer| (&answer["policy"], &answer["mode"])).collect();
    assert_eq!(answers, [(&json!("open"), &json!("enforce")), (&json!("guest"), &json!("monitor"))]);
    let answer = &finding["policies"][1];
    assert_eq!((&answer["verdict"], &answer["code"]), (&verdict.into(), &code.into()), "{answer}");
    let explained = scene.portcullis(["check", "--explain", "echo one"]).expect(0).stdout();
    assert!(explained.contains("(monitored: without effect)"), "{explained}");
    let set = finding["set"].as_str().unwrap();
    assert!(explained.contains(&format!("set {}", &set[..12])), "{explained}");
    scene.portcullis(["run", "--", "echo", "one"]).expect(0);
    let recorded = &scene.audit()[0];
    assert_eq!((&recorded["decision"], &recorded["policies"][1]["verdict"]), (&"allow".into(), &verdict.into()), "{recorded}");
    assert_eq!(recorded["policies"][1]["mode"], "monitor");
}

#[test]
fn an_allowance_that_is_monitored_allows_nothing() {
    let (scene, component) = scene(ALL);
    scene.configure(&format!("{}mode = \"monitor\"\n", entry("guest", &component, ALL)));
    let denied = scene.portcullis(["check", "true"]).expect(1).stdout();
    assert!(denied.contains("[no-policy-allows]"), "{denied}");
}

#[test]
fn monitored_input_is_recorded_and_a_monitored_filter_acts() {
    let (scene, component) = scene(ALL);
    let guest = r#"{ command = "allow", input = "deny", output = "upper" }"#;
    scene.configure(&format!("{}{}mode = \"monitor\"\n", entry("open", &component, ALL), entry("guest", &component, guest)));
    let mut wire = server(&scene);
    let job = wire.execute("cat");
    wire.tell("interact_with_job", json!({ "job_id": job, "input": "hello", "until": "HELLO", "wait_ms": 20_000 }));
    assert_eq!(wire.printed(&job, |stdout| stdout.ends_with('\n')), "HELLO\n");
    let recorded = scene.audit().into_iter().find(|line| line["subject"] == "input").unwrap();
    assert_eq!(recorded["decision"], "allow");
    let answers: Vec<_> =
        recorded["policies"].as_array().unwrap().iter().map(|answer| (&answer["mode"], &answer["verdict"])).collect();
    assert_eq!(answers, [(&json!("enforce"), &json!("allow")), (&json!("monitor"), &json!("deny"))]);
}

/// A server on a dry run.
fn dry(scene: &Scene) -> Wire {
    let mut wire = Wire::over(scene, scene.command(["serve", "--dry-run"]));
    let told = wire.initialize();
    assert!(told["result"]["instructions"].as_str().unwrap().starts_with("This server is on a dry run"), "{told}");
    wire
}

#[test]
fn a_dry_run_says_what_would_run() {
    let scene = Scene::new();
    let mut wire = dry(&scene);
    let would = wire.tell("execute_command", json!({ "command": "git log -1", "wait_ms": 1000 }));
    assert_eq!((&would["rewritten"], &would["job_id"], &would["output"]), (&json!(true), &Value::Null, &Value::Null));
    assert!(would["runs"].as_str().unwrap().contains("--no-pager"), "{would}");
    assert!(would["not_executed"].as_str().unwrap().contains("dry run"), "{would}");
    let denied = wire.refused("execute_command", json!({ "command": "rm x" }));
    assert!(denied.starts_with("denied by policy \"allowlist\""), "{denied}");
}

#[test]
fn a_dry_run_refuses_a_group_that_is_not_there() {
    let scene = Scene::open("groups = { build = 1 }");
    for mut wire in [dry(&scene), Wire::open(&scene)] {
        let refused = wire.refused("execute_command", json!({ "command": "true", "group": "nobody" }));
        assert!(refused.contains("there is no group \"nobody\""), "{refused}");
        wire.tell("execute_command", json!({ "command": "true", "group": "build" }));
    }
    let not_started = scene.audit().into_iter().filter(|line| line["event"] == "not_started");
    assert_eq!(not_started.filter(|line| line["message"].as_str().unwrap().contains("there is no group")).count(), 2);
}

#[test]
fn a_dry_run_executes_nothing_and_records_that() {
    let scene = Scene::open("");
    let mut wire = dry(&scene);
    wire.tell("execute_command", json!({ "command": "touch made", "wait_ms": 1000 }));
    assert_eq!(wire.tell("list_jobs", json!({}))["jobs"], json!([]));
    assert!(!scene.root().join("made").exists());
    let audit = scene.audit();
    let [decision, not_started] = audit.as_slice() else { panic!("{audit:?}") };
    assert_eq!((&decision["event"], &decision["decision"]), (&json!("decision"), &json!("allow")));
    assert_eq!((&not_started["event"], &not_started["job_id"]), (&json!("not_started"), &decision["job_id"]));
    assert_eq!(not_started["message"], "dry run: nothing is executed");
}
