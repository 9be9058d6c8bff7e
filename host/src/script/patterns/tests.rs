use std::{fs, os::unix::ffi::OsStrExt};

use proptest::prelude::*;
use rstest::rstest;

use crate::{
    policy::types::Word as Judged,
    script::{
        Script,
        tests::{Scene, scene, tree},
    },
};

/// With files of all kinds of names.
fn planted() -> Scene {
    let scene = scene();
    for name in [
        "b.rs",
        "a.rs",
        ".hidden.rs",
        "-rf",
        "a b.rs",
        "new\nline",
        "[x]",
        "x",
        "A1",
        "z9",
        "é.txt",
        "src/m.rs",
        "src/deep/n.rs",
        "empty/.keep",
        "it's",
        "$HOME",
        "~",
    ] {
        let path = scene.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    scene
}

/// The arguments of the last program that is not in another's words, as far as they are literal.
fn arguments(scene: &Scene, text: &str) -> Result<Vec<Option<String>>, String> {
    let script = scene.script(text).map_err(|refusal| refusal.code)?;
    let last = script
        .nodes()
        .iter()
        .rfind(|node| node.resolved.is_some() && node.program != Some(Judged::Literal("touch".to_owned())))
        .unwrap();
    let text = |word: &Judged| match word {
        Judged::Literal(text) => Some(text.clone()),
        Judged::Dynamic(_) => None,
    };
    Ok(last.args.iter().map(|arg| text(&arg.word)).collect())
}

#[rstest]
#[case("ls *.rs", &["a b.rs", "a.rs", "b.rs"])]
#[case("ls .*.rs", &[".hidden.rs"])]
#[case("ls -* ./-*", &["-rf", "./-rf"])]
#[case("ls src/*", &["src/deep", "src/m.rs"])]
#[case("ls s*/*/n.rs */", &["src/deep/n.rs", "docs/", "empty/", "out/", "src/", "web/"])]
#[case("ls [a-c].rs [!a-z][0-9] [xyz]", &["a.rs", "b.rs", "A1", "x"])]
#[case("ls '[x'] [[]x]", &["[x]", "[[]x]"])]
#[case("ls nothing* --include=*.c", &["nothing*", "--include=*.c"])]
#[case("ls new*", &["new\nline"])]
#[case("ls 'a '*", &["a b.rs"])]
#[case("cd src && ls *", &["deep", "m.rs"])]
#[case("cd src && ls ../*.rs", &["../a b.rs", "../a.rs", "../b.rs"])]
#[case("cat [ab].rs | wc -l *.rs", &["-l", "a b.rs", "a.rs", "b.rs"])]
#[case("A=1; ls [ab].rs > out.txt", &["a.rs", "b.rs"])]
fn patterns_become_files(#[case] text: &str, #[case] expected: &[&str]) {
    let scene = planted();
    let found = arguments(&scene, text).unwrap();
    // `[[]x]` has a bracket in its brackets, which is left to the shell.
    let expected: Vec<_> = expected.iter().map(|name| (*name != "[[]x]").then(|| (*name).to_owned())).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn a_loop_goes_over_files() {
    let scene = planted();
    let script = scene.script("for f in [ab].rs; do cat \"$f\"; done").unwrap();
    assert_eq!(script.canonical(), "for f in a.rs b.rs; do /usr/bin/cat \"${f}\"; done");
    let again = Script::new(String::new(), tree(&script.canonical()).unwrap(), &scene.site, &scene.root).unwrap();
    assert_eq!(again.canonical(), script.canonical());
}

/// What was there when it was judged may not be what the shell would find.
#[rstest]
#[case("touch c.rs; ls *.rs")]
#[case("touch c.rs && ls *.rs")]
#[case("set -f; ls *.rs")]
#[case("ls $(touch c.rs) *.rs")]
#[case("> c.rs; ls *.rs")]
#[case("{ ls *.rs; } > c.rs")]
#[case("touch c.rs & ls *.rs")]
#[case("if touch c.rs; then ls *.rs; fi")]
#[case("while true; do ls *.rs; done")]
#[case("for x in 1 2; do ls *.rs; done")]
#[case("(touch c.rs); ls *.rs")]
#[case("x=1; ls \"$x\"*.rs")]
#[case("ls [[:alpha:]]*")]
#[case("ls [a'-'z].rs")]
#[case("ls */*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*")]
fn patterns_are_left_to_the_shell_where_files_may_have_changed(#[case] text: &str) {
    let found = arguments(&planted(), text).unwrap();
    assert_eq!(found.last(), Some(&None), "{text}");
}

#[rstest]
#[case("ls ../*")]
#[case("ls /etc/*")]
#[case("ls out/*")]
#[case("ls */passwd")]
#[case("ls s*/../../x")]
#[case("ls own/*")]
#[case("touch c; ls /etc/*")]
#[case("for f in /root/.*; do echo \"$f\"; done")]
fn patterns_do_not_leave_the_roots(#[case] text: &str) {
    let scene = planted();
    std::os::unix::fs::symlink("/proc/self/cwd", scene.root.join("own")).unwrap();
    assert_eq!(arguments(&scene, text), Err("pattern-outside".to_owned()), "{text}");
}

#[test]
fn names_that_are_no_text_are_refused_where_they_match() {
    let scene = planted();
    fs::write(scene.root.join(std::ffi::OsStr::from_bytes(b"q\xff")), "").unwrap();
    assert_eq!(arguments(&scene, "ls q*"), Err("not-utf-8".to_owned()));
    assert_eq!(arguments(&scene, "ls *.rs").unwrap().len(), 3);
}

#[test]
fn patterns_find_so_many_files_and_no_more() {
    let scene = scene();
    for number in 0..1000 {
        fs::write(scene.root.join(format!("web/{number}")), "").unwrap();
    }
    assert_eq!(arguments(&scene, "ls web/[0-9]*").unwrap().len(), 1000);
    fs::write(scene.root.join("web/1000"), "").unwrap();
    assert_eq!(arguments(&scene, "ls web/[0-9]*"), Err("too-many-files".to_owned()));
    assert_eq!(arguments(&scene, &format!("ls{}", " web/1".repeat(900))).unwrap().len(), 900);
    assert_eq!(arguments(&scene, &format!("ls{}", " web/x*".repeat(20))), Err("too-many-files".to_owned()));
    // A directory that leads to itself.
    std::os::unix::fs::symlink(".", scene.root.join("docs/l")).unwrap();
    assert_eq!(arguments(&scene, &format!("ls docs{}", "/*".repeat(30))).unwrap().len(), 1);
}

/// What bash makes of the same words in the same place.
fn in_bash(scene: &Scene, words: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' {words}");
    let mut bash = std::process::Command::new("bash");
    let output = bash
        .args(["--norc", "-p", "-c", &script])
        .current_dir(&scene.root)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

/// Words with patterns in them.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "*", "?", "[a-c]", "[!a]", "[^.]", "a", "b", "x", ".", ".rs", "/", "src", "'*'", "'a b'", "-", "[", "]", "\\[", "new",
        "é", "1", "[A-Z0]", "..",
    ]);
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where files are put in the place of patterns they are those that bash finds, but for `.` and `..`.
    #[test]
    fn bash_finds_the_same_files(words in prop::collection::vec(pattern(), 1..3)) {
        let scene = planted();
        let words = words.join(" ");
        let Ok(found) = arguments(&scene, &format!("ls {words}")) else { return Ok(()) };
        let Some(found) = found.into_iter().collect::<Option<Vec<_>>>() else { return Ok(()) };
        let expected = in_bash(&scene, &words);
        let is_dots = |name: &String| name.rsplit('/').find(|part| !part.is_empty()).is_some_and(|part| matches!(part, "." | ".."));
        prop_assume!(!expected.iter().any(is_dots));
        prop_assert_eq!(found, expected, "{}", words);
    }
}
