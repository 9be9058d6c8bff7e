//! What files say, what is made of it, and that it never allows more.

use std::fmt::Write;

use proptest::prelude::*;
use rstest::rstest;

use super::{Imported, Kind, cases, import, read, source::Effect, words};

fn imported(kind: Kind, text: &str) -> Imported {
    let source = read(kind, "file", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    import(&source)
}

fn claude(allow: &[&str], refuse: &[&str]) -> Imported {
    imported(Kind::Claude, &permissions(allow, refuse))
}

fn permissions(allow: &[&str], refuse: &[&str]) -> String {
    serde_json::json!({ "permissions": { "allow": allow, "deny": refuse } }).to_string()
}

fn mistakes(kind: Kind, text: &str) -> Vec<String> {
    read(kind, "file", text).err().into_iter().flatten().map(|mistake| mistake.to_string()).collect()
}

/// `allow`, `deny`, or `unknown` where only the allowlist can tell.
fn says(imported: &Imported, command: &str) -> &'static str {
    match cases::verdict(&imported.grammar, &words::split(command).unwrap()) {
        Some(Effect::Allow) => "allow",
        Some(_) => "deny",
        None => "unknown",
    }
}

fn notes(imported: &Imported) -> String {
    imported.summary().join("\n")
}

#[rstest]
#[case::exact("Bash(npm run build)", "npm run build", "allow")]
#[case::exact_and_more("Bash(npm run build)", "npm run build x", "deny")]
#[case::exact_and_less("Bash(npm run build)", "npm run", "deny")]
#[case::prefix_alone("Bash(npm run test:*)", "npm run test", "allow")]
#[case::prefix_with_what_a_pack_knows("Bash(npm run test:*)", "npm run test --silent", "allow")]
#[case::prefix_with_what_it_does_not("Bash(npm run test:*)", "npm run test --script-shell=x", "deny")]
#[case::another_script("Bash(npm run test:*)", "npm run publish", "deny")]
#[case::longer_word("Bash(npm run test:*)", "npm run test:unit", "deny")]
#[case::any_sub_command_that_packs_know("Bash(git *)", "git log --oneline", "allow")]
#[case::and_no_other("Bash(git *)", "git push", "deny")]
#[case::pack_with_sub_command("Bash(git status:*)", "git status --short", "allow")]
#[case::no_other_sub_command("Bash(git status:*)", "git log", "deny")]
#[case::no_pack("Bash(eslint:*)", "eslint src/a.js", "allow")]
#[case::no_pack_no_options("Bash(eslint:*)", "eslint --fix", "deny")]
#[case::wildcard_wants_a_word("Bash(eslint *)", "eslint", "deny")]
#[case::wildcard_behind_a_word("Bash(eslint*)", "eslint src", "allow")]
#[case::wildcard_behind_a_word_is_a_whole_word("Bash(eslint*)", "eslintx", "deny")]
#[case::quoted("Bash(git commit -m 'a b')", "git commit -m 'a b'", "allow")]
#[case::quoted_otherwise("Bash(git commit -m 'a b')", "git commit -m 'a c'", "deny")]
#[case::cd("Bash(cd:*)", "cd web", "allow")]
fn allowing_rules_of_claude(#[case] rule: &str, #[case] command: &str, #[case] expected: &str) {
    assert_eq!(says(&claude(&[rule], &[]), command), expected);
}

#[rstest]
#[case::everything("Bash", "no list")]
#[case::everything_too("Bash(*)", "no list")]
#[case::beginning("Bash(* --version)", "in front of fixed text")]
#[case::middle("Bash(git * main)", "in front of fixed text")]
#[case::list("Bash(cd web && npm test)", "shell syntax")]
#[case::expansion("Bash(echo $HOME)", "expansion")]
#[case::variable("Bash(CI=1 npm test)", "variable")]
#[case::shell("Bash(bash:*)", "runs what it is told")]
#[case::wrapper("Bash(timeout 5:*)", "runs what it is told")]
#[case::builtin("Bash(source:*)", "builtin")]
#[case::other_tool("WebFetch(domain:example.org)", "another tool")]
#[case::home("Bash(~/bin/x)", "means something to the shell")]
#[case::condition("Bash(test *)", "is a condition")]
fn what_can_not_be_imported_is_named(#[case] rule: &str, #[case] why: &str) {
    let imported = claude(&[rule], &[]);
    assert!(imported.grammar.programs.is_empty());
    let notes = notes(&imported);
    assert!(notes.contains(rule) && notes.contains(why) && notes.contains("left out"), "{notes}");
}

#[rstest]
#[case::sub_command("Bash(git *)", "Bash(git log:*)", "git log", "git status")]
#[case::sub_command_of_sub_command("Bash(git *)", "Bash(git stash push:*)", "git stash push", "git stash list")]
#[case::flag("Bash(git log:*)", "Bash(git log --all:*)", "git log --all", "git log --oneline")]
#[case::flag_elsewhere("Bash(git log:*)", "Bash(git log --all:*)", "git log --oneline --all", "git log --oneline")]
#[case::operand("Bash(eslint:*)", "Bash(eslint dist:*)", "eslint dist", "eslint src")]
#[case::exact("Bash(eslint:*)", "Bash(eslint)", "eslint", "eslint src")]
#[case::part_of_a_word("Bash(git *)", "Bash(git l*)", "git log", "git status")]
#[case::program("Bash(git status)", "Bash(npm:*)", "npm test", "git status")]
#[case::program_by_path("Bash(git *)", "Bash(/usr/bin/git log:*)", "git log", "git status")]
#[case::pattern_in_the_middle("Bash(git *)", "Bash(git log * --all)", "git log", "git status")]
#[case::pattern_at_the_beginning("Bash(git status)", "Bash(* log)", "git log", "git status")]
#[case::unreadable("Bash(git status)", "Bash(rm \"$X)", "rm x", "git status")]
#[case::file_elsewhere("Bash(eslint src)", "Read(./secrets/**)", "eslint secrets", "eslint src")]
fn refusing_rules_take_away(#[case] allow: &str, #[case] refuse: &str, #[case] denied: &str, #[case] allowed: &str) {
    let imported = claude(&[allow, "Bash(git status)"], &[refuse]);
    assert_eq!((says(&imported, denied), says(&imported, allowed)), ("deny", "allow"));
}

#[rstest]
#[case::whole("Bash(git log:*)", "Bash(git:*)")]
#[case::same("Bash(git log:*)", "Bash(git log:*)")]
#[case::letters("Bash(rm -rf x)", "Bash(rm*)")]
#[case::any_text("Bash(eslint:*)", "Bash(*--fix*)")]
#[case::exact_by_any_text("Bash(eslint --fix)", "Bash(* --fix)")]
#[case::in_a_runner("Bash(timeout 5 rm x)", "Bash(rm:*)")]
#[case::hidden_file("Bash(cat .env)", "Read(./.env)")]
#[case::condition("Bash(test *)", "Bash(test -f:*)")]
fn what_is_refused_wholly_is_left_out_and_named(#[case] allow: &str, #[case] refuse: &str) {
    let imported = claude(&[allow], &[refuse]);
    assert!(imported.grammar.programs.is_empty(), "{}", imported.settings());
    assert!(notes(&imported).contains(allow));
}

#[rstest]
#[case::by_a_pack("Bash(npm run test:*)", "what follows is what `npm` would allow there")]
#[case::without_a_pack("Bash(gh pr view:*)", "paths inside the roots and no options: no pack knows this program")]
#[case::beside_a_pack("Bash(docker compose up:*)", "`docker-read` would not allow it")]
#[case::in_its_hardened_form("Bash(git push origin main)", "only in the form that `harden` gives it")]
#[case::longer_words("Bash(npm run test*)", "also matched longer words")]
fn what_is_narrowed_is_named(#[case] rule: &str, #[case] why: &str) {
    let imported = claude(&[rule], &[]);
    let notes = notes(&imported);
    assert!(imported.grammar.programs.len() == 1 && notes.contains("narrowed") && notes.contains(why), "{notes}");
}

#[test]
fn hidden_files_take_paths_away() {
    let imported = claude(&["Bash(cat:*)", "Bash(eslint *)", "Bash(git log:*)"], &["Read(./.env)"]);
    assert_eq!(says(&imported, "cat .env"), "deny");
    assert_eq!(says(&imported, "git log .env"), "deny");
    assert_eq!(says(&imported, "git log --oneline"), "allow");
    assert!(!imported.settings().contains("\"path\""), "{}", imported.settings());
    assert!(notes(&imported).contains("hides files"));
}

#[test]
fn files_hidden_in_a_home_count_for_fixed_words() {
    let imported = claude(&["Bash(cat:*)", "Bash(cat /home/ada/.ssh/key)"], &["Read(~/.ssh/**)"]);
    assert_eq!((says(&imported, "cat notes.txt"), says(&imported, "cat /home/ada/.ssh/key")), ("allow", "unknown"));
    assert!(!imported.settings().contains("commands"), "{}", imported.settings());
    assert!(notes(&imported).contains("counts for fixed words only"));
}

#[test]
fn asking_is_left_out_and_counts_as_refusing() {
    let text = r#"{ "permissions": { "allow": ["Bash(git *)"],
        "ask": ["Bash(git log:*)"] } }"#;
    let imported = imported(Kind::Claude, text);
    assert_eq!((says(&imported, "git log"), says(&imported, "git status")), ("deny", "allow"));
    assert!(notes(&imported).contains("file:2 `Bash(git log:*)`: asks a person"), "{}", notes(&imported));
}

const RULES: &str = r#"
# Looking is fine.
prefix_rule(
    pattern = ["git", ["status", "log"]],
    match = [["git", "status"], "git log --oneline"],
    not_match = ["git push"],
)
prefix_rule(pattern = ["cp"], match = ["cp -r a b", "cp --backup=none a b"])
prefix_rule(["rm"], "forbidden", justification = "no")
prefix_rule(pattern = ["git", "log", "--all"], decision = "prompt")
network_rule(host = "example.org", protocol = "https", decision = "allow")
"#;

#[rstest]
#[case::alternative("git status", "allow")]
#[case::other_alternative("git log --oneline", "allow")]
#[case::no_alternative("git push", "deny")]
#[case::prompted("git log --all", "deny")]
#[case::forbidden("rm x", "deny")]
#[case::flag_of_an_example("cp -r a b", "allow")]
#[case::value_of_an_example("cp --backup=none a b", "allow")]
#[case::another_value("cp --backup=all a b", "deny")]
#[case::flag_of_no_example("cp --link a b", "deny")]
fn rules_of_codex(#[case] command: &str, #[case] expected: &str) {
    let imported = imported(Kind::Codex, RULES);
    assert_eq!(says(&imported, command), expected, "{}", imported.settings());
    assert!(notes(&imported).contains("file:11 `network_rule`"), "{}", notes(&imported));
}

#[rstest]
#[case::not_closed("prefix_rule(pattern = [\"a\"]", "file:1: expected `)`")]
#[case::variable("\nX = [\"a\"]\n", "file:2: `X` is no call")]
#[case::name_as_value("prefix_rule(pattern = X)", "file:1: expected a text or a list")]
#[case::sum("prefix_rule(pattern = [\"a\"] + [\"b\"])", "file:1: expected `)`")]
#[case::no_pattern("prefix_rule(decision = \"allow\")", "needs a `pattern`")]
#[case::empty_pattern("prefix_rule(pattern = [])", "must be a list of words")]
#[case::empty_alternatives("prefix_rule(pattern = [\"a\", []])", "must be a list of words")]
#[case::decision("prefix_rule(pattern = [\"a\"], decision = \"yes\")", "not `yes`")]
#[case::unknown_parameter("prefix_rule(pattern = [\"a\"], why = \"\")", "does not take `why`")]
#[case::twice("prefix_rule([\"a\"], pattern = [\"b\"])", "given twice")]
#[case::unknown_rule("suffix_rule(pattern = [\"a\"])", "there is no rule `suffix_rule`")]
#[case::false_example("prefix_rule(pattern = [\"a\"], match = [\"b\"])", "does not match")]
#[case::false_counter_example("prefix_rule(pattern = [\"a\"], not_match = [\"a b\"])", "matches")]
#[case::too_many(
    "prefix_rule(pattern = [[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"], [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"], [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"], [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"], [\"a\", \"b\"]])",
    "more than 4096"
)]
#[case::deep("prefix_rule([[[[[[[[\"a\"]]]]]]]])", "expected a text or a list")]
fn mistakes_of_codex_have_their_line(#[case] text: &str, #[case] expected: &str) {
    let mistakes = mistakes(Kind::Codex, text);
    assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}");
}

#[test]
fn all_mistakes_are_told() {
    let text = "x\nprefix_rule(pattern = [])\ny()\nprefix_rule(pattern = [\"a\"])\n";
    assert_eq!(mistakes(Kind::Codex, text).len(), 1);
    let text = "prefix_rule(pattern = [])\ny()\nprefix_rule(pattern = [\"a\"])\n";
    assert_eq!(mistakes(Kind::Codex, text).len(), 2);
    let text = "{ \"permissions\": {\n \"allow\": [1,\n \"Bash(\"], \"deny\": 2 } }";
    assert_eq!(mistakes(Kind::Claude, text).len(), 3, "{:?}", mistakes(Kind::Claude, text));
}

#[rstest]
#[case::no_json("{", "file:1: is no JSON")]
#[case::no_permissions("{}", "no table `permissions`")]
#[case::not_a_list("{\"permissions\": {\n\"allow\": 1}}", "file:2: `allow` must be a list")]
#[case::not_a_text("{\"permissions\": {\"allow\": [1]}}", "must be a text")]
#[case::not_a_rule("{\"permissions\": {\"allow\": [\"Bash(x\"]}}", "is no rule")]
fn mistakes_of_claude_have_their_line(#[case] text: &str, #[case] expected: &str) {
    let mistakes = mistakes(Kind::Claude, text);
    assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}");
}

#[rstest]
#[case::whole("^npm test$", "npm test", "allow")]
#[case::whole_and_more("^npm test$", "npm test x", "deny")]
#[case::beginning("^git status", "git status --short", "allow")]
#[case::beginning_that_ends_in_a_blank("^git ", "git status", "allow")]
#[case::which_is_trimmed("^eslint ", "eslint", "allow")]
#[case::which_wants_a_word("^eslint .+", "eslint", "deny")]
#[case::anywhere("eslint", "eslint src", "allow")]
#[case::anything("^eslint .*$", "eslint src", "allow")]
#[case::alternatives("^(npm|yarn) (test|install)$", "yarn install", "allow")]
#[case::other_alternatives("^(npm|yarn) (test|install)$", "yarn publish", "deny")]
#[case::optional("^npm test( --silent)?$", "npm test --silent", "allow")]
#[case::without_the_optional("^npm test( --silent)?$", "npm test", "allow")]
#[case::blanks(r"^npm\s+test$", "npm test", "allow")]
#[case::boundary(r"^eslint\b", "eslint src", "allow")]
#[case::no_boundary_there(r"^es\blint", "eslint src", "deny")]
#[case::class("^ls -[al]$", "ls -a", "allow")]
#[case::other_class("^ls -[al]$", "ls -R", "deny")]
#[case::longer_word("^ls", "lsof", "deny")]
#[case::second("^ls$,^pwd$", "pwd", "allow")]
#[case::variable("export MCP_BG_ALLOWED_COMMANDS=\"^ls$,^pwd$\"", "pwd", "allow")]
#[case::json("{\"env\": {\"MCP_BG_ALLOWED_COMMANDS\": \"^ls$,^pwd$\"}}", "pwd", "allow")]
fn patterns_of_the_seed(#[case] text: &str, #[case] command: &str, #[case] expected: &str) {
    assert_eq!(says(&imported(Kind::Seed, text), command), expected);
}

#[rstest]
#[case::everything(".*", "every command")]
#[case::constrained("^npm run [a-z]+$", "given by a pattern")]
#[case::behind_anything("^npm .* test$", "given by a pattern")]
#[case::lookahead("^(?!rm)", "regular expression")]
#[case::split_by_a_comma("^a{1,3}$", "regular expression")]
#[case::otherwise("^[a--b]$", "something else to Python")]
#[case::shell("^ls \\|", "shell syntax")]
#[case::many("^[ab][ab][ab][ab][ab][ab][ab][ab][ab]$", "more than 256")]
#[case::runner("^python2 ", "runs what it is told")]
fn what_can_not_be_imported_of_the_seed_is_named(#[case] pattern: &str, #[case] why: &str) {
    let imported = imported(Kind::Seed, pattern);
    assert!(imported.grammar.programs.is_empty(), "{}", imported.settings());
    assert!(notes(&imported).contains(why), "{}", notes(&imported));
}

#[rstest]
#[case::codex("default.rules", "prefix_rule()", Kind::Codex)]
#[case::claude("settings.json", "{}", Kind::Claude)]
#[case::seed("x", "^ls", Kind::Seed)]
#[case::seed_in_json("x.json", "{\"env\": {\"MCP_BG_ALLOWED_COMMANDS\": \"\"}}", Kind::Seed)]
#[case::codex_on_standard_input("-", "\nprefix_rule(…", Kind::Codex)]
fn kinds_are_guessed(#[case] path: &str, #[case] text: &str, #[case] expected: Kind) {
    assert_eq!(Kind::of(path.as_ref(), text), expected);
}

#[test]
fn what_is_shown_is_escaped() {
    let imported = imported(Kind::Codex, "prefix_rule(pattern = [\"a\\n[[policies]]\", \"\u{1b}[2J\"])");
    for text in [imported.settings(), imported.cases(), notes(&imported)] {
        assert!(!text.contains('\u{1b}') && !text.contains("\n[[policies]]\"") && !text.contains("a\n"), "{text}");
    }
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "git",
        "log",
        "status",
        "stash",
        "list",
        "push",
        "--all",
        "--oneline",
        "-p",
        "-n",
        "5",
        "npm",
        "run",
        "test",
        "build",
        "--silent",
        "--",
        "cat",
        "a",
        "b",
        "-rf",
        "-r",
        "x/y",
        "--color=never",
        "eslint",
        "cargo",
        "-q",
        "test",
        "[",
    ])
    .prop_map(str::to_owned)
}

fn rule() -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["", ":*", " *", "*"]);
    (prop::collection::vec(word(), 1..4), end).prop_map(|(words, end)| format!("Bash({}{end})", words.join(" ")))
}

proptest! {
    /// Whatever the rules are, no command is allowed that the source does not allow.
    #[test]
    fn imports_never_allow_more(
        allow in prop::collection::vec(rule(), 1..6),
        refuse in prop::collection::vec(rule(), 0..4),
        commands in prop::collection::vec(prop::collection::vec(word(), 1..6), 32),
    ) {
        let text = serde_json::json!({ "permissions": { "allow": allow, "deny": refuse } }).to_string();
        let source = read(Kind::Claude, "file", &text).unwrap();
        let imported = import(&source);
        for command in commands {
            if cases::verdict(&imported.grammar, &command) == Some(Effect::Allow) {
                let mut shown = String::new();
                write!(shown, "{allow:?} {refuse:?} {command:?}\n{}", imported.settings()).unwrap();
                prop_assert_eq!(source.judge(&command), Effect::Allow, "{}", shown);
            }
        }
    }

    /// No text makes the readers panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\](){}\"'*^$|.,:=#\\\\a-c \n-]{0,64}") {
        for kind in [Kind::Codex, Kind::Claude, Kind::Seed] {
            if let Ok(source) = read(kind, "file", &text) {
                import(&source).settings();
            }
        }
        let rules = serde_json::json!({ "permissions": { "allow": [format!("Bash({text})")], "deny": [format!("Bash({text})")] } });
        let source = read(Kind::Claude, "file", &rules.to_string()).unwrap();
        prop_assert!(import(&source).grammar.programs.is_empty());
    }
}
