//! The default rules against the corpora, behind what `harden` makes of a command, and the grammar itself.

use portcullis_sdk::harness::{World, configure};
use portcullis_sdk::{CommandPolicy, Verdict};

use crate::Allowlist;

const BYPASSES: &str = include_str!("../../../tests/corpora/bypasses.tsv");
const BENIGN: &str = include_str!("../../../tests/corpora/benign.txt");

fn rules(toml: &str) -> Allowlist {
    let settings: serde_json::Value = toml::from_str(toml).expect("the rules are TOML");
    configure(&settings.to_string()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn defaults() -> Allowlist {
    rules(include_str!("../default.toml"))
}

fn world() -> World {
    World::new().link("/work/lnk", "/outside/secret")
}

/// The words of a line without shell constructs; none for one that has them, which the host refuses or the next issue brings.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next().filter(|c| *c != '␊')?),
            (None, ' ') => words.extend(word.take()),
            (None, '␊' | '␉' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '#' | '*' | '?') => return None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let expands = words.first()?.starts_with('{') || words.iter().any(|word| word.starts_with('~'));
    (quote.is_none() && !expands).then_some(words)
}

/// What `harden` makes of git: the rule's own prefixes, put where they belong.
fn harden(rules: &Allowlist, words: Vec<String>) -> Vec<String> {
    let Some(at) = words.iter().position(|word| word == "git").filter(|at| words[..*at].iter().all(|word| word.contains('=')))
    else {
        return words;
    };
    let git = &rules.0.programs["git"];
    let mut rest = words[at + 1..].iter().skip_while(|word| *word == "--no-pager").cloned();
    let mut hardened = words[..=at].to_vec();
    hardened.extend(git.prefix.iter().cloned());
    if let Some(command) = rest.next() {
        let switches = git.commands.get(&command).map(|command| command.prefix.clone());
        hardened.push(command);
        hardened.extend(switches.into_iter().flatten());
    }
    hardened.extend(rest);
    hardened
}

fn verdict(rules: &Allowlist, words: &[String]) -> Verdict {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    rules.evaluate(&world().request(&words))
}

fn code(rules: &Allowlist, line: &str) -> String {
    match verdict(rules, &split(line).expect("a simple command")) {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(reason) => reason.code,
        Verdict::Abstain => "abstain".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_benign_command_passes() {
    let rules = defaults();
    let simple: Vec<_> = BENIGN.lines().filter_map(|line| Some((line, split(line)?))).collect();
    assert!(simple.len() >= 25, "{} lines", simple.len());
    for (line, words) in simple {
        assert_eq!(verdict(&rules, &harden(&rules, words)), Verdict::Allow, "{line}");
    }
}

#[test]
fn no_bypass_passes() {
    /// What becomes harmless by hardening, where the planted file is what would have run.
    const HARDENED: [&str; 2] = ["git diff HEAD~1", "git log -p"];
    /// Judged by other means: it prints without end, and to itself.
    const OTHERS: [&str; 1] = ["cat /dev/zero"];
    let rules = defaults();
    let mut judged = 0;
    for row in BYPASSES.lines().skip(1) {
        let line = row.split('\t').nth(1).expect("three columns");
        let Some(words) = split(line) else { continue };
        if HARDENED.contains(&line) || words.len() == 1 && words[0].contains('=') {
            continue;
        }
        judged += 1;
        assert_ne!(verdict(&rules, &harden(&rules, words.clone())), Verdict::Allow, "{line}");
        assert!(OTHERS.contains(&line) || verdict(&rules, &words) != Verdict::Allow, "{line}");
    }
    assert!(judged >= 80, "{judged} rows");
}

#[test]
fn relatives_of_the_bypasses_do_not_pass_either() {
    let rules = defaults();
    for line in [
        "sort -o PWNED a.txt",
        "sort --output=PWNED a.txt",
        "sort -nro PWNED a.txt",
        "sort --compress-program=./x a.txt",
        "sort -T /tmp a.txt",
        "sort --files0-from=x",
        "wc --files0-from=../outside/x",
        "uniq a.txt PWNED",
        "grep -e x ../outside/secret",
        "grep -f a.txt b.txt",
        "grep -rf a.txt b.txt",
        "grep -R x .",
        "find -L .",
        "find . -fprint PWNED",
        "find . -fprintf PWNED x",
        "find . -okdir x",
        "find -files0-from a.txt",
        "find . -follow",
        "find . -newer ../outside/secret",
        "find -- . -maxdepth 0 -exec sh -c x",
        "find -- -delete",
        "git blame -- a.txt --output=PWNED",
        "git blame -- a.txt -O/etc/passwd",
        "git log -- --output=PWNED",
        "cat -- -n",
        "git status -v",
        "tar tf -- x",
        "GIT_ALLOW_PROTOCOL=ext git log",
        "tar tvf x:y",
        "tar -xf t.tar",
        "tar tvIf x t.tar",
        "tar tvf t.tar -I x",
        "tar tvf ../outside/t.tar",
        "date 01010000",
        "date -s now",
        "date -f ../outside/secret",
        "file -f a.txt",
        "file -m x a.txt",
        "sha256sum -c a.txt",
        "diff -r . x",
        "diff --to-file=/etc/passwd a.txt",
        "ls -L lnk",
        "ls ../outside",
        "head -n5 /etc/passwd",
        "tail -f a.txt",
        "cat -- ../outside/secret",
        "stat -L lnk",
        "rg --pre ./x y .",
        "rg -f ../x y",
        "npm --version install",
        "cargo +x --version",
        "python3 --version -c x",
        "node --version -e x",
        "which ../x",
        "./ls",
        "/work/ls",
        "tr a b c",
        "rg --hostname-bin=x y",
        "git --no-pager log --output=PWNED",
        "git diff --no-index a.txt /etc/passwd",
        "git branch -D main",
        "git branch --list x",
        "git tag -d x",
        "git remote add x y",
        "git remote show origin",
        "git log --ext-diff",
        "git log --textconv",
        "git show --show-signature",
        "git blame --contents=x a.txt",
        "git ls-files -X ../outside/x",
        "git grep -Ox y",
        "git diff --outp=PWNED",
        "git log --outp=x",
        "git rev-parse --parseopt",
        "git ls-files --exclude-from=/etc/passwd",
        "git diff /etc/passwd a.txt",
        "git log -O../x",
        "git cat-file --textconv HEAD:a.txt",
        "git status --column",
        "git --no-pager --exec-path=x status",
        "GIT_DIR=x git status",
        "GIT_PAGER=x git log",
        "LD_PRELOAD=x ls",
    ] {
        let words = split(line).unwrap_or_else(|| panic!("{line} is simple"));
        let verdict = verdict(&rules, &harden(&rules, words));
        assert!(matches!(verdict, Verdict::Deny(_) | Verdict::Abstain), "{line}");
    }
}

#[test]
fn git_passes_only_in_the_hardened_form() {
    let rules = defaults();
    assert_eq!(code(&rules, "git status"), "abstain");
    let mut words = harden(&rules, split("git status").unwrap());
    words.insert(2, "-c".to_owned());
    assert_ne!(verdict(&rules, &words), Verdict::Allow);
    let with_variables: Vec<_> =
        ["GIT_PAGER=cat".to_owned()].into_iter().chain(harden(&rules, split("git status").unwrap())).collect();
    assert_eq!(verdict(&rules, &with_variables), Verdict::Allow);
}

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
fn what_is_no_simple_command_is_denied() {
    let mut request = world().request(&["ls"]);
    request.nodes.push(request.nodes[0].clone());
    assert!(matches!(defaults().evaluate(&request), Verdict::Deny(reason) if reason.code == "construct-not-allowed"));
}

#[test]
fn mistakes_in_rules_are_named() {
    let errors = |json: &str| {
        configure::<Allowlist>(json).err().expect("they are wrong").into_iter().map(|error| error.path).collect::<Vec<_>>()
    };
    assert_eq!(errors(r#"{"programs":{"a":{"flag":[]}}}"#), ["programs.a.flag"]);
    assert_eq!(errors(r#"{"programs":{"a":{"options":{"-n":"number"}}}}"#), ["programs.a.options.-n"]);
    assert_eq!(errors(r#"{"programs":{"a":{"operands":{"kind":{"pattern":"("}}}}}"#), ["programs.a.operands.kind.pattern"]);
    assert_eq!(errors(r#"{"programs":{"a/b":{},"c":{"options":{"n":"any"}}}}"#), ["programs.a/b", "programs.c.options.n"]);
}
