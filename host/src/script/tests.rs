//! Words as bash would have them, or a refusal.

use std::{path::PathBuf, process::Command};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn site() -> (Site, PathBuf) {
    let root = std::fs::canonicalize(std::env::temp_dir()).expect("a folder for scratch files");
    (Site { roots: vec![root.clone()], path: vec!["/usr/bin".into(), "/bin".into()] }, root)
}

fn parsed(text: &str) -> Result<Vec<String>, &'static str> {
    let (site, cwd) = site();
    let script = Script::parse(text, &site, &cwd).map_err(|refusal| refusal.code)?;
    let node = &script.nodes()[0];
    let assignments = node.assignments.iter().map(|(name, word)| format!("{name}={}", super::text(word)));
    let words = node.program.iter().chain(node.args.iter().map(|argument| &argument.word));
    Ok(assignments.chain(words.map(|word| super::text(word).to_owned())).collect())
}

#[rstest]
#[case("ls -la", &["ls", "-la"])]
#[case("  ls\t-la  # a comment", &["ls", "-la"])]
#[case("ls;", &["ls"])]
#[case("ls\n", &["ls"])]
#[case(r#"echo "a b" 'c d' e\ f g''h"#, &["echo", "a b", "c d", "e f", "gh"])]
#[case(r#"echo "\$x \\ \" \a" '\'"#, &["echo", "$x \\ \" \\a", "\\"])]
#[case("echo a\\\nb", &["echo", "ab"])]
#[case("echo 'a\nb'", &["echo", "a\nb"])]
#[case("echo '*' \"{a,b}\" '~' {} a~b HEAD~1", &["echo", "*", "{a,b}", "~", "{}", "a~b", "HEAD~1"])]
#[case("A=1 B='x y' ls if=x", &["A=1", "B=x y", "ls", "if=x"])]
#[case("ls\u{a0}-la", &[])]
fn words_are_what_bash_would_pass(#[case] text: &str, #[case] expected: &[&str]) {
    match expected {
        [] => assert_eq!(parsed(text), Err(PROGRAM_NOT_FOUND)),
        expected => assert_eq!(parsed(text).unwrap(), expected),
    }
}

#[rstest]
#[case("", "empty-command")]
#[case("# nothing", "empty-command")]
#[case("ls 'x", "syntax-error")]
#[case("ls;;ls", "construct-not-supported")]
#[case("ls; ls", "construct-not-supported")]
#[case("ls\nls", "construct-not-supported")]
#[case("ls | cat", "construct-not-supported")]
#[case("ls && ls", "construct-not-supported")]
#[case("ls &", "construct-not-supported")]
#[case("ls > x", "construct-not-supported")]
#[case("(ls)", "construct-not-supported")]
#[case("! ls", "construct-not-supported")]
#[case("if ls; then ls; fi", "construct-not-supported")]
#[case("echo $x", "construct-not-supported")]
#[case("echo \"$x\"", "construct-not-supported")]
#[case("echo `ls`", "construct-not-supported")]
#[case("echo ${}", "construct-not-supported")]
#[case("echo \"${ x}\"", "construct-not-supported")]
#[case("echo *", "construct-not-supported")]
#[case("echo {a,b}", "construct-not-supported")]
#[case("echo ~", "construct-not-supported")]
#[case("A=~ ls", "construct-not-supported")]
#[case("a=(1) ls", "construct-not-supported")]
#[case("A=1", "construct-not-supported")]
#[case("<<'' $(", "construct-not-supported")]
#[case("eval ls", "never-allowed")]
#[case(". x", "never-allowed")]
#[case("no-such-program x", PROGRAM_NOT_FOUND)]
#[case("ls \0", "nul-byte")]
fn what_is_not_one_literal_command_is_refused(#[case] text: &str, #[case] code: &str) {
    assert_eq!(parsed(text), Err(code), "{text:?}");
}

#[rstest]
#[case("(", 30_000)]
#[case("a[", 30_000)]
#[case("$[", 20_000)]
#[case("$(", 30_000)]
#[case("`", 60_000)]
#[case("${x:-", 10_000)]
#[case("case x in a) ", 1000)]
#[case("if ", 20_000)]
#[case("{ ", 30_000)]
#[case("<<a ", 10_000)]
fn deep_nesting_is_refused_in_time(#[case] piece: &str, #[case] times: usize) {
    let began = std::time::Instant::now();
    let mut text = format!("echo {}", piece.repeat(times));
    text.truncate(MOST_COMMAND_BYTES);
    assert!(parsed(&text).is_err());
    assert!(parsed(&piece.repeat(900)).is_err());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn two_megabytes_are_refused() {
    assert_eq!(parsed(&format!("echo {}", "x".repeat(2 << 20))), Err("too-long"));
}

#[test]
fn places_follow_links() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap().join("root");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", root.join("dangling")).unwrap();
    let site = Site { roots: vec![root.clone()], path: Vec::new() };
    let inside = |word: &str| site.places(word, &root).iter().map(|place| (place.start, place.inside_roots)).collect::<Vec<_>>();
    assert_eq!(inside("a/b"), [(0, true)]);
    assert_eq!(inside("out/passwd"), [(0, false)]);
    assert_eq!(inside("out/../x"), [(0, false)]);
    assert_eq!(inside("dangling"), [(0, true)]);
    assert_eq!(inside("../x"), [(0, false)]);
    assert_eq!(inside("--file=../x"), [(0, true), (7, false)]);
    assert_eq!(inside("-f/etc/passwd"), [(0, true), (2, false)]);
    assert_eq!(inside(""), []);
}

/// What bash makes of a text, if it takes it without a complaint: the words that `printf` is given.
fn in_bash(words: &str) -> Option<Vec<String>> {
    let done = Command::new("bash").args(["--norc", "-c", &format!("printf '%s\\0' {words}")]).output().ok()?;
    let words = String::from_utf8(done.stdout).ok()?;
    (done.status.success() && done.stderr.is_empty()).then(|| words.split_terminator('\0').map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is not refused has the very words that bash would pass.
    #[test]
    fn words_are_those_of_bash(words in "x[ab '\"\\\\$~=:,.{}#!%*?\\[\\]-]{0,14}") {
        if let Ok(ours) = parsed(&format!("printf {words}")) {
            prop_assert_eq!(Some(ours[1..].to_vec()), in_bash(&words), "{}", words);
        }
    }

    /// What the canonical text says is what bash would run.
    #[test]
    fn canonical_text_says_the_same_words(args in proptest::collection::vec("[ -~é\n\t]{0,12}", 0..5)) {
        let (site, cwd) = site();
        let words: Vec<OsString> = ["printf".to_owned()].into_iter().chain(args.clone()).map(OsString::from).collect();
        let script = Script::from_words(&words, &site, &cwd).unwrap();
        let canonical = script.canonical();
        let rest = canonical.split_once(' ').map_or("", |(_, rest)| rest);
        if !args.is_empty() {
            prop_assert_eq!(in_bash(rest), Some(args));
        }
    }
}
