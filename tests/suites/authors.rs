//! `policy new` and `policy build`: projects are written, built and tested; what is missing is named, with how to get it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rstest::rstest;
use serde_json::Value;

use crate::support::{
    scene::{Done, Running, Scene},
    within,
};

/// Longer than a loaded machine takes to compile the SDK.
const LONG: Duration = Duration::from_secs(500);

/// The program in a scene, as an author uses it: in the directory of projects, with this PATH or the test's own.
fn author(scene: &Scene, args: &[&str], path: Option<&Path>) -> Command {
    let mut command = scene.command(args);
    command.current_dir(scene.root());
    // Where cargo and its toolchain are; what is fetched already is enough. Between runs the SDK stays compiled.
    for name in ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let home = std::env::var_os("HOME").unwrap_or_default();
    command.envs([("CARGO_TARGET_DIR", target()), ("CARGO_NET_OFFLINE", "true".into())]).env("HOME", home);
    command.envs(path.map(|path| ("PATH", path)));
    command
}

/// Below the target directory in use, which only the program's own place tells.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_portcullis")).ancestors().nth(2).unwrap().join("authors/target")
}

fn done(command: &mut Command) -> Done {
    let mut running = Running::start(command);
    within(LONG, "it ends", || running.child().try_wait().unwrap());
    running.done()
}

/// A project of this language.
fn project(scene: &Scene, lang: &str) -> PathBuf {
    done(&mut author(scene, &["policy", "new", "house", "--lang", lang], None)).expect(0);
    let project = scene.root().join("house");
    // The versions that this workspace is tested with, which are on this machine.
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), project.join("Cargo.lock")).unwrap();
    project
}

#[test]
fn a_new_project_in_rust_builds_and_its_cases_hold() {
    let scene = Scene::new();
    let project = project(&scene, "rust");
    let built = done(&mut author(&scene, &["policy", "build", "house"], None)).expect(0).stdout();
    assert!(built.starts_with("house/house.wasm: judges command; with a schema of its settings; "), "{built}");
    let tested = done(&mut author(&scene, &["policy", "test", "house"], None)).expect(0).stdout();
    assert_eq!(tested, "5 passed, 0 failed\n");
    let shown = done(&mut author(&scene, &["policy", "inspect", "house/house.wasm"], None)).expect(0).stdout();
    for part in ["version      0.1.0", "description  Refuses programs", "settings     programs"] {
        assert!(shown.contains(part), "{shown}");
    }

    // Functions are counted where there are names; what the optimiser leaves of them, it leaves.
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap().replace("Verdict::deny(\"forbidden\", ", "forbidden(");
    let forbidden =
        "\n#[inline(never)]\nfn forbidden(message: String) -> Verdict {\n    Verdict::deny(\"forbidden\", message)\n}\n";
    fs::write(project.join("src/lib.rs"), source + forbidden).unwrap();
    let mut build = author(&scene, &["policy", "build", "house"], None);
    done(build.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")).expect(0);
    let coverage = |filter: &str, format: &str| {
        let args = ["policy", "test", "house", "--coverage", "--filter", filter, "--format", format];
        done(&mut author(&scene, &args, None)).expect(0).stdout()
    };
    let (all, other) = (coverage(".", "pretty"), coverage("any other", "pretty"));
    assert!(all.contains(" functions of house reached\n") && !all.contains("house::forbidden"), "{all}");
    assert!(other.contains("\n  not reached: house::forbidden\n"), "{other}");
    let report: Value = serde_json::from_str(&coverage("any other", "json")).unwrap();
    let counted = &report["coverage"]["functions"][0];
    assert_eq!(counted["policy"], "house");
    assert!(counted["functions"].is_number(), "{counted}");
    assert!(counted["not_reached"].as_array().unwrap().contains(&"house::forbidden".into()), "{counted}");

    // What does not compile leaves the component that was there.
    fs::write(project.join("src/lib.rs"), "nonsense").unwrap();
    let failed = done(&mut author(&scene, &["policy", "build", "house"], None)).expect(1);
    assert!(failed.stderr.contains("error: ") && failed.stderr.contains("cargo failed"), "{}", failed.stderr);
    assert!(project.join("house.wasm").exists());

    // And so does what compiles and is no policy.
    fs::write(project.join("src/lib.rs"), "").unwrap();
    let failed = done(&mut author(&scene, &["policy", "build", "house"], None)).expect(1);
    assert!(failed.stderr.contains("what was built is no policy: "), "{}", failed.stderr);
    let left: Vec<_> = fs::read_dir(&project).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().any(|name| name == "house.wasm") && !left.iter().any(|name| name == "house.wasm.new"), "{left:?}");
}

#[rstest]
#[case::js("js", &["package.json", "src/policy.js", "src/portcullis.js", "tests/policy.test.js"])]
#[case::python("python", &["pyproject.toml", "app.py", "portcullis.py", "tests/test_policy.py"])]
#[case::rust("rust", &["Cargo.toml", "src/lib.rs", "sdk/wit/policy.wit"])]
fn a_new_project_has_its_rule_its_tests_and_a_readme(#[case] lang: &str, #[case] files: &[&str]) {
    let scene = Scene::new();
    let project = project(&scene, lang);
    for file in files.iter().chain(&["README.md", "settings.schema.json", "tests/house.cases.toml", ".gitignore"]) {
        let text = fs::read_to_string(project.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!text.contains("NAME_OF_POLICY"), "{file}");
    }
    let again = done(&mut author(&scene, &["policy", "new", "house", "--lang", lang], None)).expect(3);
    assert!(again.stderr.contains("house: could not be written: File exists"), "{}", again.stderr);
}

#[rstest]
#[case::no_cargo("rust", &[], "rustc is not there; it comes with Rust: https://rustup.rs")]
#[case::no_target(
    "rust",
    &[("rustc", "echo /nowhere")],
    "Rust has no compilation target wasm32-wasip2 here; type: rustup target add wasm32-wasip2"
)]
#[case::no_node("js", &[], "node is not there; JavaScript is built with Node 20 or newer")]
#[case::no_package("js", &[("node", "echo v20")], "is not in node_modules; in ")]
#[case::no_componentize_py("python", &[], ".venv/bin/pip install componentize-py")]
fn a_tool_that_is_not_there_is_named_with_how_to_get_it(#[case] lang: &str, #[case] tools: &[(&str, &str)], #[case] said: &str) {
    let scene = Scene::new();
    project(&scene, lang);
    let path = scene.base().join("tools");
    fs::create_dir(&path).unwrap();
    for (name, does) in tools {
        let program = scene.program(name, &format!("#!/bin/sh\n{does}\n"));
        fs::rename(program, path.join(name)).unwrap();
    }
    let mut command = author(&scene, &["policy", "build", "house"], Some(&path));
    let done = done(command.env_remove("CARGO").env_remove("RUSTC")).expect(3);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[rstest]
#[case::nothing(&[], "there is no Cargo.toml, package.json or pyproject.toml")]
#[case::two(&[("package.json", "{}"), ("pyproject.toml", "")], "has package.json and pyproject.toml, so which language")]
#[case::no_json(&[("package.json", "{")], "package.json: is no JSON")]
#[case::no_name(&[("package.json", "{}")], "package.json: `name` must be there, and be 1 to 64 of a-z")]
#[case::a_path_for_a_name(&[("package.json", r#"{"name": "../x"}"#)], "package.json: `name` must be there")]
#[case::no_world(&[("package.json", r#"{"name": "x"}"#)], "does not say which world of wit/ the policy is made for")]
#[case::no_toml(&[("pyproject.toml", "[project")], "pyproject.toml: ")]
#[case::no_world_of_python(&[("pyproject.toml", "[project]\nname = \"x\"\n")], "[tool.portcullis] world = \"command-policy\"")]
fn what_is_no_project_is_told(#[case] files: &[(&str, &str)], #[case] said: &str) {
    let scene = Scene::new();
    let project = scene.root().join("house");
    fs::create_dir(&project).unwrap();
    for (name, text) in files {
        fs::write(project.join(name), text).unwrap();
    }
    let done = done(&mut author(&scene, &["policy", "build", "house"], None)).expect(3);
    assert!(done.stderr.contains(said), "{}", done.stderr);
}

#[rstest]
#[case("../house")]
#[case("House")]
#[case("a_b")]
#[case("9")]
fn a_name_that_can_not_be_one_is_refused(#[case] name: &str) {
    let scene = Scene::new();
    let done = done(&mut author(&scene, &["policy", "new", name, "--lang", "js"], None)).expect(3);
    assert!(done.stderr.contains("can not be the name of a policy: it must be 1 to 64 of a-z"), "{}", done.stderr);
}
