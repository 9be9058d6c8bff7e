//! Scripts: constructs, redirections, variables, builtins, conditions, and what is sent to programs.

use portcullis_sdk::harness::{Item, World, configure, dynamic, dynamic_words};
use portcullis_sdk::{InputPolicy, InputVerdict, NodeKind, RedirectMode, Role, Verdict, Word};

use super::{defaults, harden, judged, rules, said, script, split};
use crate::Allowlist;

fn command(line: &str) -> Item {
    let words = split(line).unwrap_or_else(|| panic!("{line} is simple"));
    Item::command(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn builtin(line: &str) -> Item {
    let words = split(line).unwrap_or_else(|| panic!("{line} is simple"));
    Item::builtin(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn git(line: &str) -> Item {
    let words = harden(&defaults(), split(line).unwrap());
    Item::command(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn literal(text: &str) -> Word {
    Word::Literal(text.to_owned())
}

fn say(rules: &Allowlist, item: Item) -> String {
    said(judged(rules, &script(item)))
}

#[test]
fn what_agents_write_daily_passes() {
    let rules = defaults();
    let x = || dynamic("", "\"$x\"");
    for item in [
        builtin("cd sub").and(git("git log --oneline").at("/work/sub")),
        Item::pipeline([git("git log --oneline"), command("head -5")]),
        Item::pipeline([command("find . -name x"), command("sort"), command("uniq -c"), command("wc -l")]),
        command("grep -rn TODO src").or(command("echo none")),
        command("ls").to(2, "/dev/null"),
        Item::pipeline([command("ls").redirect(2, RedirectMode::DuplicateWrite, literal("1")), command("tail -20")]),
        command("cat").from("a.txt"),
        command("grep x").redirect(0, RedirectMode::Text, literal("some\nlines\n")),
        Item::sequence([
            Item::command(&[])
                .assign("x", dynamic("", "$(git rev-parse HEAD)"))
                .part(Role::Word, git("git rev-parse HEAD").inside(NodeKind::CommandSubstitution)),
            command("echo").word(x()),
            command("printf '%s\\n'").word(x()),
        ]),
        Item::compound(NodeKind::Conditional, Role::Condition, [command("[ -f a.txt ]")]).part(Role::Body, command("cat a.txt")),
        Item::compound(NodeKind::ForLoop, Role::Body, [command("echo").word(x())])
            .assign("x", dynamic("", "x"))
            .word(literal("a"))
            .word(literal("b")),
        Item::pipeline([
            command("ls"),
            Item::compound(NodeKind::Loop, Role::Condition, [builtin("IFS= read -r x")])
                .part(Role::Body, command("echo").word(x())),
        ]),
        Item::compound(NodeKind::Test, Role::Root, []).word(literal("-f")).word(literal("a.txt")),
        Item::compound(NodeKind::Case, Role::Body, [command("echo a")]).word(x()).word(dynamic_words("", "*.txt")),
        Item::sequence([builtin("set -euo pipefail"), builtin("export CI=1"), command("ls")]),
        command("ls").inside(NodeKind::Negation),
        command("ls").inside(NodeKind::Subshell).inside(NodeKind::Timing),
        command("echo").substituted(dynamic("", "\"$(pwd)\""), command("pwd")),
        command("grep -e").word(x()).word(literal("a.txt")),
    ] {
        assert_eq!(say(&rules, item.clone()), "allow", "{item:#?}");
    }
}

/// `for f in VALUES; do BODY; done`.
fn over(name: &str, values: &[&str], body: Item) -> Item {
    let head = Item::compound(NodeKind::ForLoop, Role::Body, [body]).assign(name, dynamic("", "x"));
    values.iter().fold(head, |item, value| item.word(literal(value)))
}

#[test]
fn the_variable_of_a_loop_is_each_of_its_words() {
    let rules = defaults();
    let f = || dynamic("", "\"${f}\"");
    let bare = || dynamic_words("", "${f}");
    let head = |word: Word| command("head").word(word);
    for (item, expected) in [
        (over("f", &["a.txt", "b.txt"], head(f())), "allow"),
        (over("f", &["a.txt", "b.txt"], head(bare())), "allow"),
        (over("f", &["1", "2"], command("echo").word(bare())), "allow"),
        (over("f", &["a b"], head(f())), "allow"),
        (over("f", &["a.txt"], command("echo").substituted(dynamic("", "\"$(head \"${f}\")\""), head(f()))), "allow"),
        (over("f", &["a.txt"], Item::pipeline([head(f()), command("grep -n x").word(f())])), "allow"),
        (over("f", &["a.txt"], command("wc -l").redirect(0, RedirectMode::Read, f())), "allow"),
        (over("f", &["a.txt"], command("[ -f").word(f()).word(literal("]"))), "allow"),
        (over("f", &["a.txt"], Item::compound(NodeKind::Test, Role::Root, []).word(literal("-f")).word(f())), "allow"),
        (over("f", &["a.txt"], over("g", &["x", "y"], command("grep -e").word(dynamic("", "\"${g}\"")).word(f()))), "allow"),
        (over("f", &["HEAD", "main"], git("git show --stat").word(bare())), "allow"),
        // One of them leads out.
        (over("f", &["a.txt", "../outside/secret"], head(f())), "path-not-allowed"),
        (over("f", &["a.txt", "/etc/passwd"], head(bare())), "path-not-allowed"),
        (over("f", &["lnk"], head(f())), "path-not-allowed"),
        (over("f", &[""], head(f())), "path-not-allowed"),
        (over("f", &["/etc/passwd"], command("wc -l").redirect(0, RedirectMode::Read, f())), "path-not-allowed"),
        (over("f", &["/etc/passwd"], command("[ -f").word(f()).word(literal("]"))), "path-not-allowed"),
        (
            over("f", &["a.txt"], over("g", &["x", "../y"], command("cat").word(f()).word(dynamic("", "\"${g}\"")))),
            "path-not-allowed",
        ),
        // What looks like an option is none of these.
        (over("f", &["a.txt", "-q"], head(f())), "dynamic-path"),
        (over("f", &["a.txt", "-q"], command("head --").word(f())), "dynamic-path"),
        // Without quotes they would be taken apart, or become names of files.
        (over("f", &["a b"], head(bare())), "dynamic-path"),
        (over("f", &["*"], head(bare())), "dynamic-path"),
        (over("f", &["[a]"], command("echo").word(bare())), "dynamic-words"),
        (over("f", &[""], command("echo").word(bare())), "dynamic-words"),
        // It is not all of the word, another variable, or behind the loop.
        (over("f", &["a.txt"], head(dynamic("", "\"${f}\"/x"))), "dynamic-path"),
        (over("f", &["a.txt"], head(dynamic("", "\"${g}\""))), "dynamic-path"),
        (over("f", &["a.txt"], head(dynamic("", "\"${f#a}\""))), "dynamic-path"),
        (Item::sequence([over("f", &["a.txt"], command("ls")), head(f())]), "dynamic-path"),
        (over("f", &["a.txt"], command("ls")).word(f()).part(Role::Word, head(f())), "dynamic-path"),
        // Another directory.
        (over("f", &["a.txt"], head(f()).at("/work/sub")), "dynamic-path"),
        // Something else sets it.
        (over("f", &["a.txt"], Item::sequence([Item::command(&["f=/etc/passwd"]), head(f())])), "dynamic-path"),
        (Item::sequence([Item::command(&["f=x"]), over("f", &["a.txt"], head(f()))]), "dynamic-path"),
        (over("f", &["a.txt"], Item::sequence([builtin("read -r f"), head(f())])), "dynamic-path"),
        (over("f", &["a.txt"], Item::sequence([builtin("unset f"), head(f())])), "dynamic-path"),
        (over("REPLY", &["a.txt"], Item::sequence([builtin("read"), head(dynamic("", "\"${REPLY}\""))])), "dynamic-path"),
        (over("f", &["a.txt"], Item::sequence([over("f", &["b.txt"], command("ls")), head(f())])), "dynamic-path"),
        (
            over("f", &["1", "2"], Item::sequence([command("echo").word(dynamic("", "\"$((f = 7))\"")), head(f())])),
            "dynamic-path",
        ),
        (over("f", &["1", "2"], Item::sequence([command("echo").word(dynamic("", "\"$((f++))\"")), head(f())])), "dynamic-path"),
        (over("f", &["1", "2"], Item::sequence([command("echo").word(dynamic("", "\"$((f + 1))\"")), head(f())])), "allow"),
        (
            over(
                "f",
                &["1", "2"],
                over("g", &["1"], head(f())).word(dynamic("", "\"$((f = 7))\"")).redirect(
                    0,
                    RedirectMode::Read,
                    literal("a.txt"),
                ),
            ),
            "dynamic-path",
        ),
        (Item::sequence([over("f", &["a.txt"], head(f())), over("f", &["b.txt"], head(f()))]), "allow"),
        // Words that only the shell can tell, or none.
        (over("f", &["a.txt"], head(f())).word(dynamic("", "\"$(ls)\"")).part(Role::Word, command("ls")), "dynamic-path"),
        (over("f", &[], head(f())), "dynamic-path"),
    ] {
        assert_eq!(say(&rules, item.clone()), expected, "{item:#?}");
    }
    // The sub-command is one of the words; and what is sent to a program is for the rule of each of them to allow.
    let rules = self::rules("include = ['shell', 'npm']\n[programs.t.commands.a]\ninput = true\n[programs.t.commands.b]");
    let run = || command("npm run").word(dynamic("", "\"${f}\""));
    assert_eq!(say(&rules, over("f", &["lint", "test"], run())), "allow");
    assert_eq!(say(&rules, over("f", &["lint", "../x"], run())), "value-not-allowed");
    let fed = || Item::pipeline([command("npm test"), command("t").word(dynamic("", "\"${f}\""))]);
    assert_eq!(say(&rules, over("f", &["a"], fed())), "allow");
    assert_eq!(say(&rules, over("f", &["a", "b"], fed())), "input-not-allowed");
}

#[test]
fn a_command_is_judged_a_bounded_number_of_times() {
    let rules = defaults();
    let values: Vec<String> = (0..40).map(|number| format!("x{number}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let word = |name: &str| dynamic("", &format!("\"${{{name}}}\""));
    let two = over("a", &values[..25], over("b", &values, command("cat").word(word("a")).word(word("b"))));
    assert_eq!(say(&rules, two), "allow");
    let two = over("a", &values, over("b", &values, command("cat").word(word("a")).word(word("b"))));
    assert_eq!(say(&rules, two), "dynamic-path");
}

#[test]
fn every_node_is_judged() {
    let rules = defaults();
    let bad = || command("rm x");
    let constructs = [
        NodeKind::Sequence,
        NodeKind::Subshell,
        NodeKind::Group,
        NodeKind::Negation,
        NodeKind::Timing,
        NodeKind::Loop,
        NodeKind::Conditional,
        NodeKind::Case,
        NodeKind::CommandSubstitution,
    ];
    for kind in constructs {
        assert_eq!(say(&rules, Item::sequence([command("ls"), bad().inside(kind)])), "program-not-allowed", "{kind:?}");
    }
    for item in [
        Item::pipeline([command("ls"), bad()]),
        command("ls").and(bad()),
        command("ls").or(bad()),
        command("echo").substituted(dynamic("", "\"$(rm x)\""), bad()),
        Item::command(&[]).assign("x", dynamic("", "$(rm x)")).part(Role::Word, bad()),
        command("cat").redirect(0, RedirectMode::Text, dynamic("", "$(rm x)")).part(Role::Word, bad()),
    ] {
        assert_eq!(say(&rules, item.clone()), "program-not-allowed", "{item:#?}");
    }
}

#[test]
fn a_script_waits_for_its_git_and_is_denied_for_the_rest() {
    let rules = defaults();
    assert_eq!(say(&rules, command("ls").and(command("git status"))), "abstain");
    assert_eq!(say(&rules, command("git status").and(command("rm x"))), "program-not-allowed");
    assert_eq!(say(&rules, command("ls").and(git("git status"))), "allow");
}

#[test]
fn constructs_that_are_not_named_are_denied() {
    let rules = rules("[programs.ls]\noperands = { kind = 'words' }");
    let kinds = [
        NodeKind::Pipeline,
        NodeKind::And,
        NodeKind::Or,
        NodeKind::Sequence,
        NodeKind::Background,
        NodeKind::Negation,
        NodeKind::Timing,
        NodeKind::Group,
        NodeKind::Subshell,
        NodeKind::Conditional,
        NodeKind::Loop,
        NodeKind::ForLoop,
        NodeKind::Case,
        NodeKind::Test,
        NodeKind::Arithmetic,
        NodeKind::CommandSubstitution,
        NodeKind::ProcessSubstitution,
    ];
    for kind in kinds {
        assert_eq!(say(&rules, Item::compound(kind, Role::Item, [command("ls")])), "construct-not-allowed", "{kind:?}");
    }
    for item in [
        command("ls").word(dynamic("", "\"$x\"")),
        command("ls").word(dynamic_words("", "~")),
        Item::command(&["x=1"]),
        command("ls").from("a.txt"),
        command("ls").to(1, "a.txt"),
        command("ls").redirect(0, RedirectMode::Text, literal("x\n")),
    ] {
        assert_eq!(say(&rules, item.clone()), "construct-not-allowed", "{item:?}");
    }
    let defaults = defaults();
    for item in [
        command("ls").inside(NodeKind::Background),
        command("cat").inside(NodeKind::ProcessSubstitution),
        Item::compound(NodeKind::ForLoop, Role::Body, [command("ls")]).word(dynamic_words("", "*.txt")),
    ] {
        assert_eq!(say(&defaults, item.clone()), "construct-not-allowed", "{item:?}");
    }
}

#[test]
fn redirections_stay_inside() {
    let reading = defaults();
    let writing = rules("include = ['shell', 'coreutils-read']\n[scripts]\nconstructs = ['redirect-write']");
    let to = |mode, target: &str| command("ls").redirect(1, mode, literal(target));
    use RedirectMode::{Append, Clobber, DuplicateRead, DuplicateWrite, Read, ReadWrite, Write};
    for (item, in_reading, in_writing) in [
        (to(Write, "/dev/null"), "allow", "allow"),
        (to(Append, "/dev/null"), "allow", "allow"),
        (to(Write, "out.txt"), "construct-not-allowed", "allow"),
        (to(Clobber, "out.txt"), "construct-not-allowed", "allow"),
        (to(ReadWrite, "out.txt"), "construct-not-allowed", "allow"),
        (to(Write, "../out.txt"), "construct-not-allowed", "path-not-allowed"),
        (to(Write, "lnk"), "construct-not-allowed", "path-not-allowed"),
        (to(Write, "/dev/tcp/198.51.100.7/80"), "construct-not-allowed", "path-not-allowed"),
        (to(Write, "/dev/stdout"), "construct-not-allowed", "path-not-allowed"),
        (to(Write, "/proc/self/fd/1"), "construct-not-allowed", "path-not-allowed"),
        (to(Write, ".git/config"), "construct-not-allowed", "path-not-allowed"),
        (to(Append, "sub/.git/hooks/post-commit"), "construct-not-allowed", "path-not-allowed"),
        (to(Read, "a.txt"), "allow", "allow"),
        (to(Read, "../outside/secret"), "path-not-allowed", "path-not-allowed"),
        (to(DuplicateWrite, "2"), "allow", "allow"),
        (to(DuplicateRead, "0"), "allow", "allow"),
        (to(DuplicateWrite, "3"), "redirect-not-allowed", "redirect-not-allowed"),
        (to(DuplicateWrite, "-"), "redirect-not-allowed", "redirect-not-allowed"),
        (command("ls").to(3, "/dev/null"), "redirect-not-allowed", "redirect-not-allowed"),
        (command("ls").redirect(1, Write, dynamic("", "\"$x\"")), "construct-not-allowed", "dynamic-path"),
        (command("ls").redirect(0, Read, dynamic("", "\"$x\"")), "dynamic-path", "dynamic-path"),
        (Item::command(&[]).to(1, "out.txt"), "construct-not-allowed", "allow"),
        (Item::command(&[]).from("../outside/secret"), "path-not-allowed", "path-not-allowed"),
        (command("ls").inside(NodeKind::Group).to(1, "../x"), "construct-not-allowed", "path-not-allowed"),
    ] {
        assert_eq!(say(&reading, item.clone()), in_reading, "{item:?}");
        assert_eq!(say(&writing, item.clone()), in_writing, "with redirect-write: {item:?}");
    }
}

#[test]
fn variables_of_the_shell_and_of_jobs_are_not_set() {
    let rules = defaults();
    for (name, expected) in [
        ("x", "allow"),
        ("BRANCH", "allow"),
        ("IFS", "assignment-not-allowed"),
        ("PATH", "assignment-not-allowed"),
        ("HOME", "assignment-not-allowed"),
        ("BASH_ENV", "assignment-not-allowed"),
        ("LD_PRELOAD", "assignment-not-allowed"),
        ("PS4", "assignment-not-allowed"),
        ("a[0]", "assignment-not-allowed"),
        ("_", "assignment-not-allowed"),
        ("IN_JOBS", "assignment-not-allowed"),
    ] {
        let value = || dynamic("", "\"$y\"");
        for item in [
            Item::command(&[]).assign(name, value()),
            Item::compound(NodeKind::ForLoop, Role::Body, [command("ls")]).assign(name, value()),
            builtin(&format!("read -r {name}")),
            builtin(&format!("unset {name}")),
        ] {
            let mut request = World::new().script(item.clone());
            request.env.push(("IN_JOBS".to_owned(), "1".to_owned()));
            let code = said(judged(&rules, &request));
            assert_eq!(code, expected, "{item:?}");
        }
    }
    for item in [
        command("echo").word(dynamic("", "\"$((CI = 7))\"")),
        Item::compound(NodeKind::Arithmetic, Role::Root, []).word(dynamic("", "(CI = 7)")),
        Item::command(&[]).assign("x", dynamic("", "$((CI++))")),
    ] {
        assert_eq!(say(&rules, item.clone()), "assignment-not-allowed", "{item:?}");
    }
    assert_eq!(say(&rules, command("echo").word(dynamic("", "\"$((x + 1))\""))), "allow");
    // What may be exported has the values that `export` allows, wherever it is set.
    for (item, expected) in [
        (Item::command(&["CI=1"]), "allow"),
        (Item::command(&["CI=evil"]), "assignment-not-allowed"),
        (Item::command(&[]).assign("CI", dynamic("", "\"$y\"")), "assignment-not-allowed"),
        (builtin("read CI"), "assignment-not-allowed"),
        (builtin("export CI=1"), "allow"),
        (builtin("export CI=evil"), "assignment-not-allowed"),
        (builtin("export CI"), "assignment-not-allowed"),
        (builtin("export x=1"), "assignment-not-allowed"),
        (builtin("export PATH=."), "assignment-not-allowed"),
        (builtin("export -f CI=1"), "flag-not-allowed"),
        (builtin("export").word(dynamic("CI=", "CI=\"$x\"")), "assignment-not-allowed"),
        (builtin("export").word(dynamic("", "\"$x\"")), "assignment-not-allowed"),
    ] {
        assert_eq!(say(&rules, item.clone()), expected, "{item:?}");
    }
}

#[test]
fn builtins_have_rules_like_programs() {
    let rules = defaults();
    for (item, expected) in [
        (builtin("cd sub"), "allow"),
        (builtin("cd .."), "path-not-allowed"),
        (builtin("cd"), "operand-missing"),
        (builtin("cd -P sub"), "flag-not-allowed"),
        (builtin("set -e"), "allow"),
        (builtin("set -a"), "flag-not-allowed"),
        (builtin("set -- x"), "flag-not-allowed"),
        (builtin("set -x"), "flag-not-allowed"),
        (builtin("set -eo pipefail"), "allow"),
        (builtin("command -v git"), "allow"),
        (builtin("command rm x"), "operand-not-allowed"),
        (builtin("set x"), "operand-not-allowed"),
        (builtin("set -o posix"), "value-not-allowed"),
        (builtin("exit 3"), "allow"),
        (builtin("exit").word(dynamic("", "\"$?\"")), "allow"),
        (builtin("umask 000"), "operand-not-allowed"),
        (builtin("ulimit -c unlimited"), "builtin-not-allowed"),
        (builtin("IFS=x read y"), "assignment-not-allowed"),
        (builtin("read -a y"), "flag-not-allowed"),
        (Item::command(&["sub"]).program(literal("cd")), "program-not-allowed"),
    ] {
        assert_eq!(say(&rules, item.clone()), expected, "{item:?}");
    }
}

#[test]
fn conditions_ask_for_paths_inside_only() {
    let rules = defaults();
    let x = || dynamic("", "\"$x\"");
    let keyword =
        |words: &[&str]| words.iter().fold(Item::compound(NodeKind::Test, Role::Root, []), |item, word| item.word(literal(word)));
    for (item, expected) in [
        (command("[ -f a.txt ]"), "allow"),
        (command("[ ! -d sub ]"), "allow"),
        (command("test -e a.txt"), "allow"),
        (command("[ a = b ]"), "allow"),
        (command("[ ! a = b ]"), "allow"),
        (command("[ a.txt -nt b.txt ]"), "allow"),
        (command("[ x ]"), "allow"),
        (command("[ ! x ]"), "allow"),
        (command("[ -f ../outside/secret ]"), "path-not-allowed"),
        (command("[ ! -f /etc/shadow ]"), "path-not-allowed"),
        (command("[ a.txt -nt /etc/shadow ]"), "path-not-allowed"),
        (command("[ /etc/shadow -ef a.txt ]"), "path-not-allowed"),
        (command("test -f lnk"), "path-not-allowed"),
        (command("[ -f a.txt"), "condition-not-allowed"),
        (command("[ a -a b ]"), "condition-not-allowed"),
        (command("[ -v x ]"), "condition-not-allowed"),
        (command("[ -f a -o -f /etc/shadow ]"), "condition-not-allowed"),
        (command("[ -n").word(x()).word(literal("]")), "allow"),
        (command("[ -f").word(x()).word(literal("]")), "dynamic-path"),
        (command("[").word(x()).word(x()).word(literal("]")), "condition-not-allowed"),
        (command("[").word(x()).word(literal("=")).word(x()).word(literal("]")), "allow"),
        (command("[ -n").word(dynamic_words("", "$x")).word(literal("]")), "dynamic-words"),
        (keyword(&["-f", "a.txt"]), "allow"),
        (keyword(&["-f", "/etc/shadow"]), "path-not-allowed"),
        (keyword(&["!", "-e", "/etc/shadow"]), "path-not-allowed"),
        (keyword(&["a", "==", "b", "&&", "(", "-s", "/etc/shadow", ")"]), "path-not-allowed"),
        (keyword(&["/etc/shadow", "-nt", "a"]), "path-not-allowed"),
        (keyword(&["-v", "x"]), "condition-not-allowed"),
        (keyword(&["-a", "/etc/shadow"]), "condition-not-allowed"),
        (keyword(&["-f"]).word(x()), "dynamic-path"),
        (keyword(&["-n"]).word(x()), "allow"),
    ] {
        assert_eq!(say(&rules, item.clone()), expected, "{item:?}");
    }
}

#[test]
fn what_a_program_reads_is_for_its_rule_to_allow() {
    let rules = rules(
        r#"
        include = ["shell"]
        [programs.ls]
        [programs.cat]
        input = true
        operands = { kind = "path" }
        [programs.python3]
        [programs.psql]
        input = { lines = ["SELECT [a-z ]+;"] }
        "#,
    );
    let python = || command("python3");
    let text = |item: Item, text: &str| item.redirect(0, RedirectMode::Text, literal(text));
    for (item, expected) in [
        (Item::pipeline([command("cat"), command("cat")]), "allow"),
        (Item::pipeline([python(), command("cat")]), "allow"),
        (Item::pipeline([command("cat"), python()]), "input-not-allowed"),
        (Item::pipeline([command("cat"), Item::sequence([command("cat"), python()])]), "input-not-allowed"),
        (Item::pipeline([command("cat"), python().inside(NodeKind::Subshell)]), "input-not-allowed"),
        (Item::pipeline([command("cat"), python().from("/dev/null")]), "allow"),
        (python().from("a.py"), "input-not-allowed"),
        (python().redirect(0, RedirectMode::DuplicateRead, literal("2")), "input-not-allowed"),
        (python().redirect(0, RedirectMode::DuplicateRead, literal("0")), "allow"),
        (text(python(), "import os\n"), "input-not-allowed"),
        (python().inside(NodeKind::Group).from("a.py"), "input-not-allowed"),
        (text(command("psql"), "SELECT a;\nSELECT b;\n"), "allow"),
        (text(command("psql"), "SELECT a;\nDROP b;\n"), "input-not-allowed"),
        (command("psql").redirect(0, RedirectMode::Text, dynamic("", "$x\n")), "input-not-allowed"),
        (Item::pipeline([command("cat"), command("psql")]), "input-not-allowed"),
        (command("cat").substituted(dynamic("", "\"$(python3)\""), python()).from("/dev/null"), "dynamic-path"),
    ] {
        assert_eq!(say(&rules, item.clone()), expected, "{item:?}");
    }
}

/// What `<(…)` runs reads the job's input too, and could leave the rest of a line to another.
#[test]
fn lines_are_not_judged_beside_process_substitutions() {
    let rules = rules(
        r#"
        include = ["shell"]
        scripts.constructs = ["process-substitution"]
        [programs.cat]
        input = true
        [programs.psql]
        input = { lines = ["SELECT [a-z ]+;"] }
        "#,
    );
    let read = command("cat").inside(NodeKind::ProcessSubstitution);
    let aside = builtin(":").word(dynamic("", "<(cat)")).part(Role::Word, read);
    for (item, is_allowed) in [(command("psql"), true), (Item::sequence([aside, command("psql")]), false)] {
        let job = World::new().job(&script(item.clone()));
        let verdict = InputPolicy::evaluate(&rules, &job, b"", b"SELECT a;\n");
        assert_eq!(verdict == InputVerdict::Allow, is_allowed, "{item:?}: {verdict:?}");
    }
}

#[test]
fn input_from_the_client_reaches_only_what_may_read_it() {
    let rules = rules(
        r#"
        include = ["shell"]
        [programs.cat]
        input = true
        operands = { kind = "words" }
        [programs.python3]
        [programs.tool]
        input = true
        commands.repl = { input = false }
        commands.ask = { input = { lines = ["y|n", "[a-z]{2,8}"] } }
        "#,
    );
    let python = || command("python3");
    let ask = || command("tool ask");
    let substituted = command("cat").substituted(dynamic("", "\"$(python3)\""), python()).from("/dev/null");
    for (item, pending, data, allowed) in [
        (command("cat"), "", "\u{1b}anything", true),
        (python(), "", "x\n", false),
        (command("tool"), "", "x", false),
        (command("tool repl"), "", "x\n", false),
        (Item::pipeline([command("cat"), python().from("/dev/null")]), "", "x\n", true),
        (command("cat").and(python()), "", "x\n", false),
        (python().from("/dev/null"), "", "x\n", false),
        (substituted, "", "x\n", false),
        (Item::sequence([builtin("read x"), builtin("cd sub")]), "", "x\n", true),
        (ask(), "", "y\n", true),
        (ask(), "", "abc\ny\n", true),
        (ask(), "", "\n", false),
        (ask(), "", "y", false),
        (ask(), "", "toolonganswer\n", false),
        (ask(), "to", "ol\n", true),
        (ask(), "rm -rf /", "\u{15}y\n", false),
        (ask(), "", "x\u{8}y\n", false),
        (ask(), "", "y\t\n", false),
        (ask(), "", "y\r\n", false),
        (ask(), "", "\u{1b}[Ay\n", false),
        (ask(), "", "y\u{85}n\n", false),
        (ask(), "!", "y\n", false),
    ] {
        let job = World::new().job(&script(item.clone()));
        let verdict = InputPolicy::evaluate(&rules, &job, pending.as_bytes(), data.as_bytes());
        assert_eq!(verdict == InputVerdict::Allow, allowed, "{pending:?} {data:?} {item:?}: {verdict:?}");
    }
    let job = World::new().job(&script(ask()));
    assert_ne!(InputPolicy::evaluate(&rules, &job, b"", b"\xff\n"), InputVerdict::Allow);
    assert_ne!(InputPolicy::evaluate(&rules, &job, &[b'a'; 64 * 1024], b"\n"), InputVerdict::Allow);
}

#[test]
fn a_large_script_takes_time_in_proportion() {
    let rules = defaults();
    let time = |count: usize| {
        let item = Item::sequence((0..count).map(|_| Item::pipeline([command("ls -la sub"), command("head -5")])));
        let request = script(item);
        let began = std::time::Instant::now();
        assert_eq!(judged(&rules, &request), Verdict::Allow);
        began.elapsed()
    };
    time(100);
    let (small, large) = (time(500), time(8000));
    assert!(large < small * 16 * 8, "{small:?} {large:?}");
}

#[test]
fn nothing_is_allowed_without_rules() {
    let rules: Allowlist = configure("{}").unwrap();
    for item in [command("ls"), builtin("cd x"), Item::command(&["x=1"]), Item::sequence([])] {
        assert_ne!(say(&rules, item.clone()), "allow", "{item:?}");
    }
}
