//! How words are read by a rule.

use portcullis_sdk::harness::{Item, World, dynamic, dynamic_words};
use portcullis_sdk::{CommandPolicy, Program, Verdict, Word};

use super::{code, rules, said, script, verdict};

#[test]
fn the_grammar_reads_as_programs_do() {
    let rules = rules(
        r#"
        [programs.p]
        terminator = true
        flags = ["-a", "-b", "--all", "-"]
        options = { "-n" = "integer", "--name" = "any", "-f" = "path", "--file" = "path" }
        equals = { "--color" = { one-of = ["never"] } }
        operands = { kind = "path", min = 1, max = 2 }
        [programs.s.commands.go]
        [programs.d]
        number = true
        combine = false
        flags = ["-ab", "-c"]
        operands = { kind = { pattern = "[a-z]+" } }
    "#,
    );
    for (line, expected) in [
        ("p x", "allow"),
        ("p -ab x", "allow"),
        ("p -an5 x", "allow"),
        ("p -an 5 x", "allow"),
        ("p -n -5 x", "allow"),
        ("p --name=-x x", "allow"),
        ("p --name -x x", "value-not-allowed"),
        ("p -abc x", "flag-not-allowed"),
        ("p --al x", "flag-not-allowed"),
        ("p --all=x x", "flag-not-allowed"),
        ("p --color never x", "flag-not-allowed"),
        ("p --color=never x", "allow"),
        ("p --color=always x", "value-not-allowed"),
        ("p -fx x", "allow"),
        ("p -f../x x", "path-not-allowed"),
        ("p --file=../x x", "path-not-allowed"),
        ("p -af../x x", "path-not-allowed"),
        ("p -afx x", "path-not-allowed"),
        ("p", "operand-missing"),
        ("p x y z", "operand-not-allowed"),
        ("p -- x", "allow"),
        ("p -- -x", "operand-not-allowed"),
        ("p -- /etc", "path-not-allowed"),
        ("p -n", "value-missing"),
        ("p lnk", "path-not-allowed"),
        ("p -", "operand-missing"),
        ("p -5 x", "flag-not-allowed"),
        ("p -é x", "flag-not-allowed"),
        ("/usr/bin/p x", "allow"),
        ("./p x", "program-inside-roots"),
        ("/opt/p x", "program-not-allowed"),
        ("X=1 p x", "assignment-not-allowed"),
        ("q", "program-not-allowed"),
        ("s", "sub-command-missing"),
        ("s go", "allow"),
        ("s go x", "operand-not-allowed"),
        ("s g", "sub-command-not-allowed"),
        ("s -- go", "flag-not-allowed"),
        ("d -ab abc -5", "allow"),
        ("d -ca", "flag-not-allowed"),
        ("d A", "value-not-allowed"),
    ] {
        assert_eq!(code(&rules, line), expected, "{line}");
    }
    let newline = ["p".to_owned(), "a\nb".to_owned()];
    assert!(matches!(verdict(&rules, &newline), Verdict::Deny(reason) if reason.code == "control-character"));
}

#[test]
fn the_grammar_has_more_words_for_more_programs() {
    let rules = rules(
        r#"
        [programs.e]
        operands = { first = "text", first-unless = ["-e"], kind = "path", min = 1 }
        flags = ["-v"]
        options = { "-e" = "text" }
        [programs.r]
        flags = ["-u"]
        commands.go = { requires = ["-m"], options = { "-m" = "any" } }
        operands = { kind = "file", rest = "any", min = 1 }
        [programs.o]
        passed-on = "any"
        [programs.g]
        single-dash = true
        flags = ["-v"]
        options = { "-run" = "any", "-o" = "path" }
        [programs.f]
        forbid = true
        [programs.a]
        env = { CC = { one-of = ["cc"] } }
        operands = { kind = "assignment" }
        [programs.d]
        dashed = { pattern = "--+" }
        operands = { kind = "any" }
        [programs.i]
        prefix-env = { SAFE = "1" }
        commands."--version" = { prefix-env = { VERY = "1" } }
        "#,
    );
    for (line, expected) in [
        ("e ../x a", "allow"),
        ("e ../x ../a", "path-not-allowed"),
        ("e -e ../x a", "allow"),
        ("e -e x ../a", "path-not-allowed"),
        ("e -ve x ../a", "path-not-allowed"),
        ("e -vex ../a", "path-not-allowed"),
        ("e ../a -e x", "option-too-late"),
        ("e ../a -vex", "option-too-late"),
        ("e -e x", "allow"),
        ("e", "operand-missing"),
        ("r go -m x", "allow"),
        ("r go", "option-missing"),
        ("r x.py --any -thing go", "allow"),
        ("r -u x.py", "allow"),
        ("r -c x.py", "flag-not-allowed"),
        ("r ../x.py", "path-not-allowed"),
        ("r", "operand-missing"),
        ("o -- -x --y", "allow"),
        ("o -x -- y", "flag-not-allowed"),
        ("g -run=x -v", "allow"),
        ("g -run x", "allow"),
        ("g -o=x", "allow"),
        ("g -o=../x", "path-not-allowed"),
        ("g -o ../x", "path-not-allowed"),
        ("g -o../x", "flag-not-allowed"),
        ("g -vrun", "flag-not-allowed"),
        ("g --run=x", "flag-not-allowed"),
        ("f", "forbidden"),
        ("a CC=cc", "allow"),
        ("a CC=evil", "assignment-not-allowed"),
        ("a CFLAGS=x", "assignment-not-allowed"),
        ("d --- x", "allow"),
        ("d --x", "flag-not-allowed"),
        ("SAFE=1 VERY=1 i --version", "allow"),
        ("SAFE=1 i --version", "abstain"),
        ("VERY=1 i --version", "abstain"),
        ("SAFE=1 VERY=1 SAFE=0 i --version", "assignment-not-allowed"),
    ] {
        assert_eq!(code(&rules, line), expected, "{line}");
    }
}

#[test]
fn words_that_only_the_shell_can_tell_stand_where_a_rule_takes_them() {
    let strict = r#"
        [programs.t]
        terminator = true
        flags = ["-a"]
        options = { "-m" = "text", "--message" = "text", "-n" = "integer", "--file" = "path" }
        operands = { kind = "text" }
        [programs.w]
        operands = { kind = "words" }
        [programs.p]
        operands = { kind = "path" }
        [programs.y]
        operands = { kind = "any" }
        [programs.c]
        operands = { kind = "text" }
        commands.go = { operands = { kind = "text", max = 1 } }
        [programs.n]
        env = { A = "text", B = "any" }
        passed-on = "text"
    "#;
    let (strict, loose) = (rules(strict), rules(&format!("{strict}\n[scripts]\nconstructs = ['glob']")));
    let x = || dynamic("", "\"$x\"");
    let xs = || dynamic_words("", "$x");
    for (item, in_strict, in_loose) in [
        (Item::command(&["t", "-m"]).word(x()), "allow", "allow"),
        (Item::command(&["t", "-m"]).word(xs()), "value-not-allowed", "value-not-allowed"),
        (Item::command(&["t"]).word(dynamic("--message=", "--message=\"$x\"")), "allow", "allow"),
        (Item::command(&["t"]).word(dynamic_words("--message=", "--message=$x")), "value-not-allowed", "value-not-allowed"),
        (Item::command(&["t"]).word(dynamic("-m", "-m\"$x\"")), "dynamic-option", "dynamic-option"),
        (Item::command(&["t"]).word(dynamic("--file=", "--file=\"$x\"")), "path-not-allowed", "path-not-allowed"),
        (Item::command(&["t"]).word(dynamic("--fi", "--fi\"$x\"")), "dynamic-option", "dynamic-option"),
        (Item::command(&["t", "-n"]).word(x()), "value-not-allowed", "value-not-allowed"),
        (Item::command(&["t"]).word(x()), "dynamic-word", "dynamic-word"),
        (Item::command(&["t"]).word(dynamic("a", "a\"$x\"")), "allow", "allow"),
        (Item::command(&["t", "--"]).word(x()), "allow", "allow"),
        (Item::command(&["t", "--"]).word(xs()), "dynamic-words", "dynamic-words"),
        (Item::command(&["w"]).word(x()), "allow", "allow"),
        (Item::command(&["w"]).word(xs()), "dynamic-words", "allow"),
        (Item::command(&["p"]).word(x()), "dynamic-path", "dynamic-path"),
        (Item::command(&["p"]).word(dynamic("src/", "src/\"$x\"")), "dynamic-path", "dynamic-path"),
        (Item::command(&["p"]).word(dynamic_words("", "*.txt")), "dynamic-path", "dynamic-path"),
        (Item::command(&["y"]).word(x()), "value-not-allowed", "value-not-allowed"),
        (Item::command(&["c"]).word(dynamic("g", "g\"$x\"")), "dynamic-word", "dynamic-word"),
        (Item::command(&["c", "go"]).word(dynamic("g", "g\"$x\"")), "allow", "allow"),
        (Item::command(&["n"]).assign("A", x()), "allow", "allow"),
        (Item::command(&["n"]).assign("B", x()), "assignment-not-allowed", "assignment-not-allowed"),
        (Item::command(&["n", "--"]).word(x()), "allow", "allow"),
        (Item::command(&["n", "--"]).word(xs()), "value-not-allowed", "value-not-allowed"),
        (Item::command(&[]).program(x()), "program-not-literal", "program-not-literal"),
    ] {
        let mut request = script(item.clone());
        request.constructs.remove(portcullis_sdk::Constructs::PARAMETER);
        assert_eq!(said(strict.evaluate(&request)), in_strict, "{item:?}");
        assert_eq!(said(loose.evaluate(&request)), in_loose, "with glob: {item:?}");
    }
}

#[test]
fn control_characters_pass_in_text_only() {
    let rules = rules("[programs.p]\nflags = ['-a']\noptions = { '-m' = 'text' }\noperands = { kind = 'any' }");
    for (words, expected) in [
        (&["p", "a\nb"][..], "control-character"),
        (&["p", "a\u{1b}[2K"], "control-character"),
        (&["p", "-m", "a\nb\tc"], "allow"),
        (&["p", "-m", "a\r\u{1b}[2K"], "allow"),
        (&["p", "-a\n"], "flag-not-allowed"),
    ] {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(said(verdict(&rules, &words)), expected, "{words:?}");
    }
}

#[test]
fn programs_inside_roots_are_named_by_their_path() {
    let rules = rules(
        r#"
        [programs.gradlew]
        [programs."./gradlew"]
        operands = { kind = { one-of = ["test"] } }
        [programs."/work/bin/tool"]
        [programs."/opt/x/tool"]
        "#,
    );
    for (item, expected) in [
        (Item::command(&["./gradlew", "test"]), "allow"),
        (Item::command(&["./gradlew", "publish"]), "value-not-allowed"),
        (Item::command(&["/work/gradlew", "test"]), "allow"),
        (Item::command(&["./gradlew", "test"]).at("/work/sub"), "allow"),
        (Item::command(&["sub/gradlew", "test"]), "program-inside-roots"),
        (Item::command(&["../gradlew", "test"]).at("/work/sub"), "program-inside-roots"),
        (Item::command(&["bin/tool"]), "allow"),
        (Item::command(&["../bin/tool"]).at("/work/sub"), "allow"),
        (Item::command(&["./tool"]), "program-inside-roots"),
        (Item::command(&["/opt/x/tool"]), "allow"),
        (Item::command(&["/opt/y/tool"]), "program-not-allowed"),
        (Item::command(&["gradlew"]), "allow"),
    ] {
        assert_eq!(said(rules.evaluate(&script(item.clone()))), expected, "{item:?}");
    }
}

#[test]
fn an_interpreter_is_named_by_its_whole_path() {
    let rules = rules("[programs.tool]");
    for (interpreter, expected) in [("/usr/bin/env", "allow"), ("bin/sh", "interpreter-not-absolute")] {
        let mut request = World::new().request(&["tool"]);
        let file = request.nodes[0].resolved.take().unwrap();
        request.nodes[0].resolved = Some(Program { interpreter: Some(interpreter.to_owned()), ..file });
        assert_eq!(said(rules.evaluate(&request)), expected, "{interpreter}");
    }
}

#[test]
fn a_denial_names_the_rule_the_word_and_what_to_add() {
    let rules = rules(
        "[programs.ls]\nflags = ['-l']\nequals = { '--color' = { one-of = ['never'] } }\n[programs.git]\nflags = ['-v']\ncommands.log = {}",
    );
    for (line, expected) in [
        (
            "ls -R",
            r#"`-R` is not allowed by the rule `programs.ls`; an operator who wants it adds `programs.ls.flags = ["-R"]`, or to `options` if it takes a value"#,
        ),
        ("ls --color=always", "`always` as the value of `--color` is not what `programs.ls.equals.--color` takes: one of never"),
        (
            "git push",
            "sub-command `push` is not allowed by the rule `programs.git`; an operator who wants it adds `[programs.git.commands.push]`",
        ),
        (
            "git log x",
            "operand `x` is not allowed by the rule `programs.git.commands.log`; an operator who wants it adds room for it to `programs.git.commands.log.operands`",
        ),
        ("rm x", "no rule allows `rm`; an operator who wants it adds a rule `[programs.rm]`"),
        (
            "./x",
            "`./x` lies inside the working roots, where it can be changed; use an installed program. An operator who wants it all the same names it by its path: `[programs.\"./x\"]`",
        ),
        (
            "DB_PASSWORD=hunter2secret9 ls",
            r#"`DB_PASSWORD=…` in front of it is not allowed by the rule `programs.ls`; an operator who wants it adds `programs.ls.env.DB_PASSWORD = "any"`, or a narrower kind"#,
        ),
    ] {
        let words = super::split(line).unwrap();
        let Verdict::Deny(reason) = verdict(&rules, &words) else { panic!("{line} is denied") };
        assert_eq!(reason.message, expected, "{line}");
    }
}

#[test]
fn what_is_long_or_strange_is_shown_short_and_escaped() {
    let rules = rules("[programs.ls]");
    let words = ["ls".to_owned(), format!("-{}", "é\n".repeat(5000))];
    let Verdict::Deny(reason) = verdict(&rules, &words) else { panic!("it is denied") };
    assert!(reason.message.len() < 1000, "{}", reason.message.len());
    assert!(reason.message.contains(r#"["-é\u000A"#), "{}", reason.message);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    /// A dash and anything passes only if the rule names it letter by letter, or as it is.
    #[test]
    fn no_flag_passes_that_is_not_named(word in "-{1,2}[a-z=-]{1,6}") {
        let rules = rules("[programs.p]\nflags = ['-a', '-b', '--all']\noptions = { '-n' = 'any', '--name' = 'any' }");
        let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
        let is_named = word == "--all"
            || word.starts_with("--name=")
            || letters.is_some_and(|letters| {
                let flags = letters.trim_start_matches(['a', 'b']);
                flags.is_empty() || flags.starts_with('n') && flags.len() > 1
            });
        let got = verdict(&rules, &["p".to_owned(), word.clone()]);
        proptest::prop_assert_eq!(got == Verdict::Allow, is_named, "{}", word);
    }

    /// No path passes that leads out, however it is joined to an option.
    #[test]
    fn no_path_passes_that_leads_out(option in "-f|--file|--file=|-af|-a -f", up in "(\\.\\./){1,3}|/etc/|lnk/") {
        let rules = rules("[programs.p]\nflags = ['-a']\noptions = { '-f' = 'path', '--file' = 'path' }\noperands = { kind = 'path' }");
        for line in [format!("p {option} {up}x"), format!("p {option}{up}x"), format!("p {up}x")] {
            proptest::prop_assert_ne!(code(&rules, &line), "allow", "{}", line);
        }
    }
}

#[test]
fn literal_words_are_the_only_ones_compared() {
    let rules = rules("[programs.p]\nprefix = ['-s']\nflags = ['-x']");
    let request = script(Item::command(&["p"]).word(dynamic("-s", "-s\"\"")).word(Word::Literal("-x".to_owned())));
    assert_eq!(said(rules.evaluate(&request)), "abstain");
}
