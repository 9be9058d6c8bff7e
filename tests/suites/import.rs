//! `policy import`: what it writes is loaded by the real allowlist, which says to the cases what they promise.

use std::fs;

use rstest::rstest;
use toml::{Table, Value};

use crate::support::scene::{Done, Scene};

const CODEX: &str = r#"
prefix_rule(
    pattern = ["git", ["status", "log"]],
    match = [["git", "status"], "git log --oneline"],
    not_match = ["git push"],
)
prefix_rule(pattern = ["git", "log", "--all"], decision = "prompt")
prefix_rule(pattern = ["npm", "run", ["test", "lint"]], match = ["npm run test --silent", "npm run lint"])
prefix_rule(pattern = ["cp"], match = ["cp -r a b", "cp --backup=none a b"])
prefix_rule(pattern = ["rm"], decision = "forbidden", match = ["rm -rf /"])
prefix_rule(pattern = ["bash"])
"#;

const CLAUDE: &str = r#"{
  "permissions": {
    "allow": [
      "Bash(git *)", "Bash(git diff:*)", "Bash(git commit -m 'a b')", "Bash(npm run build)", "Bash(npm run test:*)", "Bash(ls:*)",
      "Bash(eslint)", "Bash(eslint --fix src)", "Bash(cargo test:*)", "Bash(cargo --version)", "Bash(cd:*)", "Bash(./gradlew build)",
      "Bash(* --help)", "WebFetch(domain:example.org)"
    ],
    "ask": ["Bash(git commit:*)"],
    "deny": ["Bash(git log --all:*)", "Bash(rm:*)"],
    "defaultMode": "default"
  }
}"#;

const SEED: &str = r#"MCP_BG_ALLOWED_COMMANDS="^npm (test|ci)$,^git status,^ls ,^pwd$,echo,^cat .*,.*,^npm run [a-z]+$""#;

/// With programs that need not be installed.
fn scene() -> Scene {
    let scene = Scene::new();
    for name in ["npm", "eslint", "cargo"] {
        scene.program(name, "#!/bin/sh\n");
    }
    fs::write(scene.root().join("gradlew"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(scene.root().join("gradlew"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    scene
}

/// Imports a text, and configures what came of it beside the other built-in policies.
fn import(scene: &Scene, name: &str, text: &str) -> (Done, Vec<Case>) {
    let (file, cases) = (scene.outside(name, text), scene.base().join("cases.toml"));
    let done = scene.portcullis(["policy".as_ref(), "import".as_ref(), "--cases".as_ref(), cases.as_os_str(), file.as_os_str()]);
    let done = done.expect(0);
    let outside = scene.base().join("outside");
    scene.configure(&format!(
        "[jobs]\npath = [{outside:?}, \"/usr/local/bin\", \"/usr/bin\", \"/bin\"]\n{}
        [[policies]]\nname = \"harden\"\ncomponent = \"builtin:harden\"\nmay_rewrite = true\ngrants = {{ read = [\"roots\"] }}
        [[policies]]\nname = \"redact\"\ncomponent = \"builtin:redact\"",
        done.stdout()
    ));
    let cases: Table = fs::read_to_string(cases).unwrap().parse().unwrap();
    let field = |case: &Value, key: &str| case[key].as_str().unwrap().to_owned();
    let cases = cases["case"].as_array().unwrap().iter();
    (done, cases.map(|case| (field(case, "name"), field(case, "command"), field(case, "decision"))).collect())
}

/// Its name, the command, the decision.
type Case = (String, String, String);

fn decisions(scene: &Scene, commands: &str) -> Vec<(String, String)> {
    let done = scene.portcullis_reading(["check", "--json", "-"], commands);
    let findings = done.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let finding = |line| serde_json::from_slice::<serde_json::Value>(line).unwrap();
    findings.map(finding).map(|finding| (finding["decision"].as_str().unwrap().to_owned(), finding.to_string())).collect()
}

#[rstest]
#[case::codex("default.rules", CODEX, 8)]
#[case::claude("settings.json", CLAUDE, 10)]
#[case::seed("seed.env", SEED, 5)]
fn what_is_imported_loads_and_its_cases_hold(#[case] name: &str, #[case] text: &str, #[case] fewest: usize) {
    let scene = scene();
    let (_, cases) = import(&scene, name, text);
    scene.portcullis(["config", "check"]).expect(0);
    let commands: Vec<_> = cases.iter().map(|(_, command, _)| command.as_str()).collect();
    let found = decisions(&scene, &commands.join("\n"));
    assert_eq!(found.len(), cases.len());
    for ((name, command, expected), (decision, finding)) in cases.iter().zip(&found) {
        assert_eq!(decision, expected, "{name}: {command}: {finding}");
    }
    assert!(cases.len() >= fewest, "{cases:?}");
    assert!(cases.iter().filter(|(_, _, decision)| decision == "allow").count() * 2 >= fewest, "{cases:?}");
}

#[rstest]
#[case::narrowed_by_a_pack(CLAUDE, "git log --oneline", "allow")]
#[case::not_in_the_pack(CLAUDE, "git push", "deny")]
#[case::refused(CLAUDE, "git log --all", "deny")]
#[case::refused_in_another_place(CLAUDE, "git log --oneline --all", "deny")]
#[case::asked(CLAUDE, "git commit -m 'a b'", "deny")]
#[case::handed_on(CLAUDE, "npm run test -- --watch=false", "allow")]
#[case::exact_with_more(CLAUDE, "npm run build --silent", "deny")]
#[case::list_and_pipe(CLAUDE, "git status; npm run build && ls | ls", "allow")]
#[case::part_of_a_list(CLAUDE, "npm run build && rm x", "deny")]
#[case::variable_in_front(CLAUDE, "NODE_OPTIONS=x npm run build", "deny")]
#[case::rewritten_variable(CLAUDE, "CI=1 npm run build", "deny")]
#[case::path_outside(CLAUDE, "ls /etc", "deny")]
#[case::inside_the_roots(CLAUDE, "./gradlew build", "allow")]
#[case::inside_the_roots_and_more(CLAUDE, "./gradlew publish", "deny")]
#[case::directory(CLAUDE, "cd .. && ls", "deny")]
#[case::substitution(CLAUDE, "ls $(npm run build)", "deny")]
#[case::no_lists(SEED, "pwd; pwd", "deny")]
#[case::search(SEED, "rm -r x # echo", "deny")]
#[case::beginning(SEED, "lsof", "deny")]
#[case::letters_together(CODEX, "cp -rf a b", "deny")]
#[case::forbidden(CODEX, "rm -rf x", "deny")]
#[case::runner(CODEX, "bash -c ls", "deny")]
fn imported_settings_decide(#[case] text: &str, #[case] command: &str, #[case] expected: &str) {
    let scene = scene();
    import(&scene, if text == CODEX { "default.rules" } else { "file" }, text);
    let found = decisions(&scene, command);
    assert_eq!(found[0].0, expected, "{}", found[0].1);
}

/// Words that options, sub-commands, values and operands are made of.
const WORDS: [&str; 20] = [
    "status",
    "log",
    "commit",
    "diff",
    "run",
    "test",
    "build",
    "--all",
    "--oneline",
    "--fix",
    "-a",
    "-n",
    "-rf",
    "--",
    "--version",
    "src",
    "notes.txt",
    "/etc",
    "5",
    "--output=x",
];

/// What [`CLAUDE`] says to a command, read once more.
fn claude_allows(command: &str) -> bool {
    let begins = |prefix: &&str| command == *prefix || command.starts_with(&format!("{prefix} "));
    let exact = ["npm run build", "eslint", "eslint --fix src", "cargo --version", "./gradlew build"];
    let refused = ["git commit", "git log --all", "rm"];
    let allowed = ["git", "npm run test", "ls", "cargo test", "cd"];
    !refused.iter().any(begins) && (exact.contains(&command) || allowed.iter().any(begins) && command != "git")
}

#[test]
fn nothing_is_allowed_that_was_not() {
    let scene = scene();
    import(&scene, "settings.json", CLAUDE);
    let programs = ["git", "npm", "npm run", "ls", "eslint", "cargo", "cargo test", "./gradlew", "git log", "rm", "cd"];
    let second = |first: &str| WORDS.map(|word| format!("{first} {word}"));
    let all = programs
        .iter()
        .flat_map(|program| second(program))
        .flat_map(|line| [vec![line.clone()], second(&line).to_vec()].concat());
    let all: Vec<_> = programs.iter().map(|program| (*program).to_owned()).chain(all).collect();
    let found = decisions(&scene, &all.join("\n"));
    assert_eq!(found.len(), all.len());
    let allowed: Vec<_> =
        all.iter().zip(found).filter(|(_, (decision, _))| decision == "allow").map(|(command, _)| command).collect();
    assert!(allowed.len() > 100, "{allowed:?}");
    for command in allowed {
        assert!(claude_allows(command), "{command}");
    }
}

#[test]
fn every_rule_that_changed_is_named_in_the_settings_and_on_standard_error() {
    let scene = scene();
    let (done, _) = import(&scene, "settings.json", CLAUDE);
    let file = scene.base().join("outside/settings.json");
    for said in [done.stdout(), done.stderr.clone()] {
        for (line, rule) in
            [(4, "Bash(git *)"), (6, "Bash(* --help)"), (6, "WebFetch(domain:example.org)"), (8, "Bash(git commit:*)")]
        {
            let named = format!("{}:{line} `{rule}`: ", file.display());
            assert!(said.contains(&named), "{named} is not in\n{said}");
        }
    }
}

#[test]
fn several_files_count_together() {
    let scene = scene();
    let allow = scene.outside("a.json", r#"{ "permissions": { "allow": ["Bash(git log:*)", "Bash(git status)"] } }"#);
    let deny = scene.outside("b.json", r#"{ "permissions": { "deny": ["Bash(git log)", "Bash(git log *)"] } }"#);
    let done = scene.portcullis(["policy".as_ref(), "import".as_ref(), allow.as_os_str(), deny.as_os_str()]).expect(0);
    assert!(done.stdout().contains("status") && !done.stdout().contains("commands.log"), "{}", done.stdout());
}

#[rstest]
#[case::no_file(&["no-such-file"], "", "could not be read")]
#[case::mistakes(&["-"], "prefix_rule(pattern = [])\nprefix_rule(\"a\")\n", "standard input:2: ")]
#[case::kind(&["--from", "codex", "-"], "{}", "standard input:1: ")]
#[case::empty(&["--from", "seed", "-"], "", "holds no pattern")]
fn what_can_not_be_read_is_said_and_nothing_is_written(#[case] args: &[&str], #[case] input: &str, #[case] expected: &str) {
    let scene = Scene::new();
    let done = scene.portcullis_reading(["policy", "import"].iter().chain(args), input).expect(3);
    assert!(done.stdout.is_empty() && done.stderr.contains(expected), "{}", done.stderr);
}

#[test]
fn too_long_a_file_is_refused() {
    let scene = Scene::new();
    let done = scene.portcullis_reading(["policy", "import", "-"], &"#".repeat(2 * 1024 * 1024)).expect(3);
    assert!(done.stderr.contains("is longer than"), "{}", done.stderr);
}

#[test]
fn cases_overwrite_nothing() {
    let scene = Scene::new();
    let notes = scene.root().join("notes.txt");
    let args = ["policy", "import", "--from", "seed", "--cases", notes.to_str().unwrap(), "-"];
    let done = scene.portcullis_reading(args, "^ls$").expect(3);
    assert!(done.stdout.is_empty() && done.stderr.contains("could not write"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(notes).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn importing_needs_no_configuration() {
    let scene = Scene::configured("[jobs]\nmax_running = 0\n");
    scene.portcullis_reading(["policy", "import", "--from", "seed", "-"], "^ls$").expect(0);
}
