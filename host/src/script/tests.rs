//! Scripts as they are judged and started, parsed in the real sandbox.

use std::{path::PathBuf, sync::OnceLock};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::Limits,
    policy::{Cache, Engine, Parser, types},
};

pub(super) struct Scene {
    folder: tempfile::TempDir,
    pub(super) site: Site,
    pub(super) root: PathBuf,
}

pub(super) fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap().join("root");
    std::fs::create_dir_all(root.join("web/src")).unwrap();
    std::fs::create_dir_all(root.join("docs")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", root.join("dangling")).unwrap();
    let site = Site { roots: vec![root.clone()], path: vec!["/usr/bin".into(), "/bin".into()] };
    Scene { folder, site, root }
}

fn parser() -> &'static (tokio::runtime::Runtime, Parser) {
    static PARSER: OnceLock<(tokio::runtime::Runtime, Parser)> = OnceLock::new();
    PARSER.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            decision: std::time::Duration::from_secs(2),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            stack_bytes: 512 << 10,
            hostcall_bytes: 16 << 20,
            log_bytes: 0,
        };
        let engine = Engine::new(&limits).unwrap();
        let parser = Parser::load(&engine, &Cache::open(&folder.path().join("cache")).unwrap()).unwrap();
        (runtime, parser)
    })
}

pub(super) fn tree(text: &str) -> Result<Tree, Refusal> {
    check_text(text)?;
    let (runtime, parser) = parser();
    runtime.block_on(parser.parse(text))
}

impl Scene {
    pub(super) fn script(&self, text: &str) -> Result<Script, Refusal> {
        Script::new(text.to_owned(), tree(text)?, &self.site, &self.root)
    }

    /// The directories of the commands, relative to the root.
    fn directories(&self, text: &str) -> Result<Vec<String>, String> {
        let script = self.script(text).map_err(|refusal| refusal.code)?;
        let below = |node: &Node| node.directory.strip_prefix(self.root.to_str().unwrap()).map(str::to_owned);
        let commands = script.nodes().iter().filter(|node| node.resolved.is_some());
        Ok(commands.map(|node| below(node).unwrap()).collect())
    }
}

#[rstest]
#[case("ls -la", Launch::Direct, "/usr/bin/ls -la")]
#[case("A=1 ls 'a b'", Launch::Direct, "A=1 /usr/bin/ls 'a b'")]
#[case("ls; ls", Launch::Shell, "/usr/bin/ls; /usr/bin/ls")]
#[case("ls > f", Launch::Shell, "/usr/bin/ls >f")]
#[case("ls $x", Launch::Shell, "/usr/bin/ls ${x}")]
#[case("A=$x ls", Launch::Shell, "A=\"${x}\" /usr/bin/ls")]
#[case("A=1", Launch::Shell, "A=1")]
#[case("cd web && ls", Launch::Shell, "cd ROOT/web && /usr/bin/ls")]
#[case("echo \"$(ls | wc -l)\"", Launch::Shell, "/usr/bin/echo \"$( /usr/bin/ls | /usr/bin/wc -l )\"")]
#[case("[ -f x ] && true", Launch::Shell, "'/usr/bin/[' -f x ']' && /usr/bin/true")]
fn what_runs_is_written_with_paths(#[case] text: &str, #[case] launch: Launch, #[case] canonical: &str) {
    let scene = scene();
    let script = scene.script(text).unwrap();
    assert_eq!(script.launch(), launch);
    assert_eq!(script.canonical(), canonical.replace("ROOT", scene.root.to_str().unwrap()));
}

#[rstest]
#[case("ls; cd web; ls", &["", "/web"])]
#[case("cd web && ls && cd src && ls", &["/web", "/web/src"])]
#[case("cd web/src; cd ../..; ls", &[""])]
#[case("(cd web; ls); ls", &["/web", ""])]
#[case("cd web | ls; ls", &["", ""])]
#[case("echo $(cd web; ls) ; ls", &["", "/web", ""])]
#[case("mkdir x && cd web && ls", &["", "/web"])]
#[case("cd web || exit 1; ls", &["/web"])]
#[case("if cd web; then ls; fi; ls", &["/web", "/web"])]
#[case("{ cd web; }; ls", &["/web"])]
#[case("for x in a; do (cd web; ls); done; ls", &["/web", ""])]
#[case("cd new/one && ls", &["/new/one"])]
#[case("cd -- web; ls", &["/web"])]
#[case("! cd web; ls", &["/web"])]
#[case("exit 0; ls", &[""])]
#[case("cd web <f && ls", &["/web"])]
#[case("cd web || exit $?; ls", &["/web"])]
#[case("for x in 1; do true && break; done; cd web; ls", &["", "/web"])]
fn paths_are_judged_from_where_the_script_is(#[case] text: &str, #[case] expected: &[&str]) {
    assert_eq!(scene().directories(text).unwrap(), expected, "{text}");
}

#[rstest]
#[case("true && cd web; ls", "directory-unknown")]
#[case("mkdir x && cd x; ls", "directory-unknown")]
#[case("if true; then cd web; fi; ls", "directory-unknown")]
#[case("case x in a) cd web;; esac; ls", "directory-unknown")]
#[case("cd web || cd docs; true && cd web; ls", "directory-unknown")]
#[case("for x in a; do cd web; done", "directory-unknown")]
#[case("while cd web; do ls; done", "directory-unknown")]
#[case("cd web <f; ls", "directory-unknown")]
#[case("{ cd web; } <f; ls", "directory-unknown")]
#[case("if true; then cd web; exit <f; fi; ls", "directory-unknown")]
#[case("if true; then cd web; break; fi; ls", "construct-not-supported")]
#[case("for x in 1; do ( if true; then cd web; break; fi; ls ); done", "construct-not-supported")]
#[case("if true; then cd web; exit \"$h\"; fi; ls", "construct-not-supported")]
#[case("if true; then cd web; exit --help; fi; ls", "construct-not-supported")]
#[case("x=1 cd web; ls", "construct-not-supported")]
#[case("unset cd; cd web; ls", "never-allowed")]
#[case("cd $x", "directory-unknown")]
#[case("cd", "directory-unknown")]
#[case("cd -", "directory-unknown")]
#[case("cd -P web", "directory-unknown")]
#[case("cd ~", "directory-unknown")]
#[case("cd a b", "directory-unknown")]
#[case("cd ..", "bad-directory")]
#[case("cd out", "bad-directory")]
#[case("cd /", "bad-directory")]
#[case("no-such-program x", PROGRAM_NOT_FOUND)]
#[case("ls | pushd web", PROGRAM_NOT_FOUND)]
#[case("ls \0", "nul-byte")]
fn what_has_no_certain_meaning_is_refused(#[case] text: &str, #[case] code: &str) {
    assert_eq!(scene().script(text).unwrap_err().code, code, "{text:?}");
}

#[rstest]
#[case(&["eval", "ls"], "never-allowed")]
#[case(&["export", "a[$(ls)]=1"], "construct-not-supported")]
#[case(&["no-such-program"], PROGRAM_NOT_FOUND)]
#[case(&["ls", "\0"], "nul-byte")]
#[case(&[], "empty-command")]
fn words_of_a_command_line_are_held_to_the_same(#[case] words: &[&str], #[case] code: &str) {
    let scene = scene();
    let words: Vec<_> = words.iter().map(OsString::from).collect();
    let refusal = tree_of_words(&words).and_then(|tree| Script::new(String::new(), tree, &scene.site, &scene.root));
    assert_eq!(refusal.unwrap_err().code, code);
}

#[test]
fn edits_keep_what_only_the_shell_can_tell() {
    let scene = scene();
    let mut script = scene.script("git log \"$(git rev-parse \"$B\")\" x; ls $y").unwrap();
    let at = |name: &str, script: &Script| {
        let is = |node: &Node| node.program == Some(types::Word::Literal(name.to_owned()));
        u32::try_from(script.nodes().iter().position(is).unwrap()).unwrap()
    };
    let edits = [
        Edit {
            node: at("git", &script),
            program: None,
            args: Some(vec![Edited::Literal("--no-pager".to_owned()), Edited::Keep(0), Edited::Keep(1)]),
            assignments: vec![("GIT_PAGER".to_owned(), "cat".to_owned())],
            bounds: Bounds::default(),
        },
        Edit {
            node: at("ls", &script),
            program: Some("echo".to_owned()),
            args: None,
            assignments: Vec::new(),
            bounds: Bounds::default(),
        },
    ];
    script.rewrite(&edits, &scene.site, &scene.root).unwrap();
    assert_eq!(
        script.canonical(),
        "GIT_PAGER=cat /usr/bin/git --no-pager log \"$( /usr/bin/git rev-parse \"${B}\" )\"; /usr/bin/echo ${y}"
    );
    let dropped = [Edit {
        node: at("git", &script),
        program: None,
        args: Some(vec![Edited::Keep(1)]),
        assignments: Vec::new(),
        bounds: Bounds::default(),
    }];
    script.rewrite(&dropped, &scene.site, &scene.root).unwrap();
    assert_eq!(script.nodes().len(), 3, "the substitution in the dropped word is gone with it");
}

#[test]
fn edits_that_would_change_the_meaning_are_refused() {
    let scene = scene();
    let script = scene.script("cd web; echo \"$(ls)\"").unwrap();
    let echo = u32::try_from(script.nodes().iter().position(|node| node.resolved.is_some()).unwrap()).unwrap();
    let edit = |node, program: Option<&str>, args: Option<Vec<Edited>>, variable: Option<&str>| Edit {
        node,
        program: program.map(str::to_owned),
        args,
        assignments: variable.map(|name| (name.to_owned(), String::new())).into_iter().collect(),
        bounds: Bounds::default(),
    };
    for (edit, what) in [
        (edit(0, None, None, None), "a sequence"),
        (edit(1, None, Some(Vec::new()), None), "a builtin"),
        (edit(99, None, None, None), "no node"),
        (edit(echo, Some("cd"), None, None), "a builtin for a program"),
        (edit(echo, Some("no-such-program"), None, None), "no program"),
        (edit(echo, None, Some(vec![Edited::Keep(0), Edited::Keep(0)]), None), "twice the same commands"),
        (edit(echo, None, Some(vec![Edited::Keep(1)]), None), "no argument"),
        (edit(echo, None, Some(vec![Edited::Literal("\0".to_owned())]), None), "a NUL"),
        (edit(echo, None, None, Some("BASH_ENV")), "a variable of the shell's"),
        (edit(echo, None, None, Some("a-b")), "no variable"),
    ] {
        let mut script = script.clone();
        assert!(script.rewrite(&[edit], &scene.site, &scene.root).is_err(), "{what}");
    }
}

#[test]
fn a_script_that_moves_is_started_so_that_it_can_not_stray() {
    let scene = scene();
    let Plan::Shell(text) = scene.script("cd web && ls").unwrap().plan("/bin/ls; : ") else { panic!("it needs the shell") };
    assert!(text.starts_with(GOING));
    let run = |text: &str| std::process::Command::new("bash").args(["-p", "-c", text]).current_dir(&scene.root).output().unwrap();
    assert_eq!(run(&format!("{text}; /bin/pwd")).stdout, format!("src\n{}\n", scene.root.join("web").display()).into_bytes());
    std::fs::rename(scene.root.join("web"), scene.root.join("was")).unwrap();
    assert_eq!(run(&format!("{text}; echo still here")).stdout, b"");
    std::os::unix::fs::symlink(scene.folder.path(), scene.root.join("web")).unwrap();
    let strayed = run(&format!("{text}; echo still here"));
    assert_eq!((strayed.stdout.as_slice(), strayed.status.code()), (&b""[..], Some(1)));
}

#[rstest]
#[case("(", 30_000)]
#[case("( ", 900)]
#[case("a[", 30_000)]
#[case("$[", 20_000)]
#[case("$(", 10_000)]
#[case("`", 60_000)]
#[case("\"$(", 10_000)]
#[case("${x:-", 10_000)]
#[case("case x in a) ", 1000)]
#[case("case x in a) ", 40)]
#[case("if ", 20_000)]
#[case("{ ", 30_000)]
#[case("{a,", 20_000)]
#[case("<<a ", 10_000)]
#[case("<<a $(", 1000)]
#[case("! ", 20_000)]
#[case("[[ ! ( ", 5000)]
#[case("ls && ", 9000)]
fn deep_nesting_is_refused_in_time(#[case] piece: &str, #[case] times: usize) {
    let began = std::time::Instant::now();
    let mut text = format!("echo; {}", piece.repeat(times));
    text.truncate(MOST_COMMAND_BYTES);
    assert!(tree(&text).is_err());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn two_megabytes_are_refused() {
    assert_eq!(tree(&format!("echo {}", "x".repeat(2 << 20))).unwrap_err().code, "too-long");
}

#[test]
fn a_script_names_so_many_programs_and_no_more() {
    let scene = scene();
    for number in 0..=256 {
        std::os::unix::fs::symlink("/usr/bin/env", scene.root.join(format!("tool-{number}"))).unwrap();
    }
    let text = |count: usize| (0..count).map(|number| format!("./tool-{number}; ./tool-{number}\n")).collect::<String>();
    scene.script(&text(256)).unwrap();
    assert_eq!(scene.script(&text(257)).unwrap_err().code, "too-long");
}

#[test]
fn places_follow_links() {
    let Scene { site, root, folder: _folder } = scene();
    let inside = |word: &str| {
        Lookups::new(&site).places(word, &root).iter().map(|place| (place.start, place.inside_roots)).collect::<Vec<_>>()
    };
    assert_eq!(inside("a/b"), [(0, true)]);
    assert_eq!(inside("out/passwd"), [(0, false)]);
    // What programs that go by the text take for another place than the kernel does.
    assert_eq!(inside("out/../x"), []);
    assert_eq!(inside("missing/../x"), []);
    assert_eq!(inside("--out=missing/../x"), []);
    assert_eq!(inside("dangling"), [(0, true)]);
    assert_eq!(inside("../x"), [(0, false)]);
    assert_eq!(inside("--file=../x"), [(0, true), (7, false)]);
    assert_eq!(inside("-f/etc/passwd"), [(0, true), (2, false)]);
    assert_eq!(inside("a::b"), [(0, true), (0, true)]);
    assert_eq!(inside("out::b"), [(0, true), (0, false)]);
    assert_eq!(inside("out/x::b"), [(0, false), (0, false)]);
    assert_eq!(inside("a::/../x"), []);
    assert_eq!(inside("out/..::b"), [(0, false)]);
    assert_eq!(inside("::b"), [(0, true)]);
    assert_eq!(inside(""), []);
}

/// Each of forty links leads to the next one by a long way round.
#[test]
fn long_ways_are_not_followed_to_their_ends() {
    let scene = scene();
    std::fs::create_dir(scene.root.join("a")).unwrap();
    for link in 0..38 {
        let target = format!("{}l{}", "a/../".repeat(800), link + 1);
        std::os::unix::fs::symlink(target, scene.root.join(format!("l{link}"))).unwrap();
    }
    scene.script("cat l37/x").unwrap();
    let words: String = (0..1000).map(|word| format!(" l0/{word}")).collect();
    for script in
        [format!("cat{words}"), format!("cat <l0{}", words.replace(' ', " <")), "(cd l0); ".repeat(9), "ls l0/*; ".repeat(9)]
    {
        assert_eq!(scene.script(&script).unwrap_err().code, "too-complex", "{:.20}", script);
    }
}

/// `/proc/self` is another for the job.
#[test]
fn links_that_lead_each_process_elsewhere_lead_nowhere() {
    let scene = scene();
    for (name, target) in [("own", "/proc/self/cwd"), ("first", "/dev/stdin"), ("root", "/proc/self/root")] {
        std::os::unix::fs::symlink(target, scene.root.join(name)).unwrap();
    }
    for word in ["own", "own/x", "own/../x", "first", "root/etc", "/proc/self/cwd/../../../etc", "/dev/fd/0", "/proc/mounts"] {
        assert_eq!(Lookups::new(&scene.site).places(word, &scene.root).len(), 0, "{word}");
        assert_eq!(scene.script(&format!("cd {word}")).unwrap_err().code, "bad-directory", "{word}");
    }
    assert_eq!(scene.script("root/usr/bin/env").unwrap_err().code, PROGRAM_NOT_FOUND);
}

/// What a script's commands are given, by the table that policies judge.
fn judged_words(script: &Script) -> Vec<Vec<String>> {
    let text = |word: &types::Word| match word {
        types::Word::Literal(text) => text.clone(),
        types::Word::Dynamic(expansion) => panic!("{} is not literal", expansion.source),
    };
    let probes = script.nodes().iter().filter(|node| node.resolved.is_some());
    probes.map(|node| node.args.iter().map(|arg| text(&arg.word)).collect()).collect()
}

/// What the commands of a text are given, by bash: each writes its arguments to standard output.
fn run_words(text: &str) -> Vec<Vec<String>> {
    let output = std::process::Command::new("bash").args(["-p", "-c", text]).env_clear().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{text}");
    let all = String::from_utf8(output.stdout).unwrap();
    let calls = all.split_terminator("\u{1}");
    calls.map(|call| call.split_terminator('\0').map(str::to_owned).collect()).collect()
}

/// Literal scripts in which every command runs, once and in its order.
fn literal_script() -> impl Strategy<Value = String> {
    let quoted = "[ -~é]{0,8}".prop_map(|text| format!("'{}'", text.replace('\'', r"'\''")));
    let double = "[ #%&()*+,./:;<=>?@\\[\\]^_{|}~a-z0-9'-]{0,8}".prop_map(|text| format!("\"{text}\""));
    let escaped = "[ -~]{1,4}".prop_map(|text| text.chars().map(|c| format!("\\{c}")).collect::<String>());
    let piece = prop_oneof![
        quoted,
        double,
        escaped,
        "[a-zA-Z0-9_@%+:,./-]{1,6}",
        Just("$'a\\tb\\x41'".to_owned()),
        Just("{a,b}".to_owned())
    ];
    let word = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let command = prop::collection::vec(word, 0..4).prop_map(|words| format!("probe {}", words.join(" ")));
    command.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{left}; {right}")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{{ {left}\n}} && {{ {right}; }}")),
            inner.clone().prop_map(|inner| format!("( {inner} )")),
            inner.clone().prop_map(|inner| format!("if {inner}; then {inner}; fi")),
            inner.clone().prop_map(|inner| format!("for x in 1; do {inner}; done")),
            inner.clone().prop_map(|inner| format!("{{ case a in b) probe no;; a) {inner};; esac; }}")),
            inner.prop_map(|inner| format!("! {{ {inner}; }} || probe 'not so'")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// What bash executes under the canonical text is what the tree says, argument by argument.
    #[test]
    fn bash_runs_the_words_that_were_judged(source in literal_script()) {
        let scene = scene();
        let (draft, probe) = (scene.folder.path().join("draft"), scene.folder.path().join("probe"));
        std::fs::write(&draft, "#!/bin/sh\n[ $# = 0 ] || printf '%s\\0' \"$@\"\nprintf '\\1'\n").unwrap();
        std::fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // By a process of its own: a file that this one had open for writing could not be executed while another test forks.
        assert!(std::process::Command::new("cp").arg(&draft).arg(&probe).status().unwrap().success());
        let site = Site { path: vec![scene.folder.path().to_owned()], ..scene.site.clone() };
        // The grammar takes two brackets for arithmetic, whatever stands between them.
        prop_assume!(!source.contains("( ("));
        // The tokenizer takes a dollar in front of a quote for the beginning of `$'…'` though it is escaped, and then finds no end.
        prop_assume!(!source.contains("\\$'"));
        let tree = tree(&source).map_err(|refusal| TestCaseError::fail(format!("{source:?}: {}", refusal.message)))?;
        let script = Script::new(source.clone(), tree, &site, &scene.root).unwrap();
        let mut judged = judged_words(&script);
        judged.retain(|words| *words != ["no"]);
        prop_assert_eq!(run_words(&script.canonical()), judged, "{}", source);
    }
}
