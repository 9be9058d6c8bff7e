//! The corpora, executed for real: what a bypass would do does not happen, what is benign works as it does without portcullis.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
    thread,
};

use rstest::rstest;

use crate::support::scene::Scene;

const BYPASSES: &str = include_str!("../corpora/bypasses.tsv");
const BENIGN: &str = include_str!("../corpora/benign.txt");
const WRITING: &str = include_str!("../corpora/benign-writing.txt");

/// What lies outside of the roots and must not be seen.
const SECRET: &str = "CANARY-outside-the-roots";
/// The default rules, git hardened.
const CONFIG: &str = "[jobs]\ntimeout_s = 10\n\n[[policies]]\nname = \"allowlist\"\ncomponent = \"builtin:allowlist\"\n[[policies]]\nname = \"harden\"\ncomponent = \"builtin:harden\"\nmay_rewrite = true\ngrants = { read = [\"roots\"] }\n";
/// Classes whose effects can be let happen without harm, to show that they would.
const HARMLESS: [&str; 6] = ["separator", "substitution", "heredoc", "quoting", "variable", "wrapper"];

/// A repository in which all that the corpora speak of is planted.
fn planted() -> Scene {
    let scene = Scene::configured(CONFIG);
    fs::write(scene.base().join("home/.gitconfig"), "[user]\nname = a\nemail = a@b.invalid\n").unwrap();
    let root = scene.root();
    let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(root.join("src")).unwrap();
    write("a.txt", "hello\na|b\nTODO\n");
    write("victim.txt", "victim\n");
    write("sub/b.txt", "b\n");
    write("src/lib.rs", "// TODO\n");
    write("evil.sh", "#!/bin/sh\ntouch PWNED\n");
    fs::set_permissions(root.join("evil.sh"), Permissions::from_mode(0o755)).unwrap();
    write(
        "package.json",
        r#"{"name":"x","version":"1.0.0","scripts":{"x":"touch PWNED","test":"touch PWNED","start":"touch PWNED"}}"#,
    );
    fs::write(scene.base().join("outside/secret"), SECRET).unwrap();
    symlink("../outside/secret", root.join("lnk")).unwrap();
    // A directory that is another for each process.
    symlink("/proc/self/cwd", root.join("own")).unwrap();
    write("name", "harmless\n");
    symlink("../../outside/secret", root.join("sub/name")).unwrap();
    let done = plainly(
        &root,
        "tar cf t.tar a.txt && git add a.txt victim.txt && git -c user.name=a -c user.email=a@b.invalid commit -qm two && echo more >> a.txt && git -c user.name=a -c user.email=a@b.invalid commit -qam three",
    );
    assert!(done.status.success(), "{done:?}");
    scene
}

/// What a hostile repository configures, and other files that make innocent commands run a program.
fn plant_configuration(root: &Path) {
    let config = fs::read_to_string(root.join(".git/config")).unwrap();
    let evil = "[core]\n\tpager = touch PWNED;cat\n\tfsmonitor = touch PWNED;false\n[alias]\n\tst = !touch PWNED\n[diff \"d\"]\n\tcommand = touch PWNED;:\n\ttextconv = touch PWNED;cat\n";
    fs::write(root.join(".git/config"), format!("{config}{evil}")).unwrap();
    fs::write(root.join(".gitattributes"), "* diff=d\n").unwrap();
    fs::write(root.join(".npmrc"), "node-options=--require ./evil.js\nscript-shell=./evil.sh\n").unwrap();
    fs::write(root.join("evil.js"), "require('fs').writeFileSync('PWNED','')\n").unwrap();
    fs::create_dir_all(root.join(".cargo")).unwrap();
    fs::write(root.join(".cargo/config.toml"), "[alias]\nmeta = \"metadata\"\n[build]\nrustc-wrapper = \"./evil.sh\"\n").unwrap();
    fs::write(root.join("-delete"), "").unwrap();
}

fn plainly(root: &Path, script: &str) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", script]).current_dir(root).env_clear();
    bash.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", root.parent().unwrap().join("home"));
    bash.env("GIT_CONFIG_NOSYSTEM", "1").env("TERM", "dumb").output().unwrap()
}

/// Whether the effect of a bypass is there.
fn harm(scene: &Scene, output: &[u8]) -> Option<String> {
    let root = scene.root();
    let planted =
        [root.join("PWNED"), scene.base().join("PWNED"), scene.base().join("outside/PWNED"), scene.base().join("home/PWNED")];
    let grown = fs::read_dir(scene.base().join("outside")).unwrap().count() != 1
        || fs::read_to_string(scene.base().join("home/.gitconfig")).unwrap().lines().count() != 3;
    let refs = plainly(
        &root,
        "git -c core.fsmonitor=false -c core.pager=cat for-each-ref --format='%(refname)'; git -c core.fsmonitor=false rev-list --count HEAD; git -c core.fsmonitor=false stash list",
    );
    match () {
        () if planted.iter().any(|file| file.exists()) => Some("PWNED exists".to_owned()),
        () if fs::read_to_string(root.join("victim.txt")).ok().as_deref() != Some("victim\n") => {
            Some("victim.txt changed".to_owned())
        }
        () if String::from_utf8_lossy(output).contains(SECRET) => Some("the secret outside was shown".to_owned()),
        () if grown => Some("something was written outside".to_owned()),
        () if refs.stdout != b"refs/heads/main\n3\n" => {
            Some(format!("the repository changed: {}", String::from_utf8_lossy(&refs.stdout)))
        }
        () => None,
    }
}

fn bypasses() -> impl Iterator<Item = (&'static str, String)> {
    let lines = BYPASSES.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(|line| {
        let mut fields = line.split('\t');
        (fields.next().unwrap(), fields.next().unwrap().replace('␊', "\n").replace('␉', "\t"))
    })
}

/// Runs `each` for all of them, on as many threads as there are parts.
fn in_parts<T: Send>(all: Vec<T>, each: impl Fn(T) -> Option<String> + Sync) -> Vec<String> {
    let mut parts: Vec<Vec<T>> = (0..4).map(|_| Vec::new()).collect();
    for (at, one) in all.into_iter().enumerate() {
        parts[at % 4].push(one);
    }
    thread::scope(|scope| {
        let each = &each;
        let running: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || part.into_iter().filter_map(each).collect::<Vec<_>>())).collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

#[test]
fn no_bypass_has_its_effect() {
    let all: Vec<_> = bypasses().collect();
    assert_eq!(all.len(), 145);
    let holes = in_parts(all, |(class, command)| {
        let scene = planted();
        if matches!(class, "cwd-config" | "glob" | "path") {
            plant_configuration(&scene.root());
        }
        let done = scene.portcullis(["run", "-c", &command]);
        harm(&scene, &done.stdout).map(|harm| format!("{class}: {command:?}: {harm} (exit {}, {})", done.status, done.stderr))
    });
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}

#[test]
fn the_bypasses_would_have_their_effect() {
    let all: Vec<_> = bypasses().filter(|(class, command)| HARMLESS.contains(class) && !command.contains("ssh")).collect();
    let count = all.len();
    let effective = in_parts(all, |(_, command)| {
        let scene = planted();
        let done = plainly(&scene.root(), &format!("timeout 5 bash -c {} < /dev/null", portcullis_shell::quote(&command)));
        harm(&scene, &done.stdout)
    });
    assert!(effective.len() * 10 >= count * 7, "only {} of {count} do anything even without portcullis", effective.len());
}

#[test]
fn what_is_benign_works_as_without_portcullis() {
    let commands: Vec<_> = BENIGN.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 92);
    let wrong = in_parts(commands, |command| {
        let scene = planted();
        let plain = plainly(&scene.root(), &format!("export GIT_PAGER=cat; {command}"));
        let done = scene.portcullis(["run", "-c", command]);
        let same = done.status.code() == plain.status.code() && done.stdout == plain.stdout;
        (!same).then(|| {
            format!("{command:?}: {}\n{}\ninstead of\n{}", done.stderr, done.stdout(), String::from_utf8_lossy(&plain.stdout))
        })
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the same commands leave behind, and show.
#[test]
fn what_is_benign_changes_what_it_does_without_portcullis() {
    let commands: Vec<_> = WRITING.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 20);
    let wrong = in_parts(commands, |command| {
        let scenes = [planted(), planted()];
        for scene in &scenes {
            let root = scene.root();
            let done = plainly(&root, "rm own lnk sub/name; git add . && git commit -qm all && git branch other");
            assert!(done.status.success(), "{done:?}");
            fs::write(root.join("a.txt"), "changed\n").unwrap();
            fs::write(root.join("new.txt"), "new\n").unwrap();
            fs::write(scene.config_file(), CONFIG.replace("\n[[policies]]\nname = \"harden\"", "\n[policies.settings]\ninclude = [\"shell\", \"coreutils-read\", \"git-read\", \"git-write\"]\n[[policies]]\nname = \"harden\"")).unwrap();
        }
        let plain = plainly(&scenes[0].root(), command);
        let done = scenes[1].portcullis(["run", "-c", command]);
        let look = |scene: &Scene| {
            let left = "git status -sb; git log --format=%s --topo-order --branches; git branch; git tag; git stash list --format=%gd; git ls-files; cat a.txt";
            String::from_utf8_lossy(&plainly(&scene.root(), left).stdout).into_owned()
        };
        let (wanted, left) = (look(&scenes[0]), look(&scenes[1]));
        let is_same = done.status.code() == plain.status.code() && wanted == left;
        (!is_same).then(|| format!("{command:?}: {} {}\n{left}\ninstead of {}\n{wanted}", done.status, done.stderr, plain.status))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Members of the classes that the corpus only samples.
#[rstest]
#[case::separator_crlf("ls\r\ntouch PWNED")]
#[case::substitution_in_a_pattern("case x in $(touch PWNED)) ls;; esac")]
#[case::substitution_in_a_trim("x=a; echo \"${x%$(touch PWNED)}\"")]
#[case::substitution_in_a_replacement("x=a; echo \"${x/a/$(touch PWNED)}\"")]
#[case::substitution_in_a_test("[[ -n $(touch PWNED) ]]")]
#[case::substitution_in_an_assignment("x=$(touch PWNED)")]
#[case::substitution_in_a_for("for x in $(touch PWNED); do ls; done")]
#[case::substitution_in_a_redirect("ls > $(touch PWNED; echo /dev/null)")]
#[case::backticks_in_quotes("echo \"`touch PWNED`\"")]
#[case::process_in_a_redirect("ls > >(touch PWNED)")]
#[case::redirect_of_a_loop("for x in a; do ls; done > PWNED")]
#[case::redirect_of_a_test("[[ x ]] > PWNED")]
#[case::redirect_alone("> PWNED")]
#[case::redirect_append(">> victim.txt echo x")]
#[case::redirect_both("ls &> PWNED")]
#[case::redirect_read_write("cat <> PWNED")]
#[case::redirect_descriptor("echo x 3> PWNED >&3")]
#[case::here_document_delimiter("cat <<\"$(touch PWNED)\"\nx\n$(touch PWNED)\n")]
#[case::arithmetic_subscript("x='a[$(touch PWNED)]'; (( x ))")]
#[case::arithmetic_in_a_test("x='a[$(touch PWNED)]'; [[ $x -eq 0 ]]")]
#[case::arithmetic_in_a_slice("x='a[$(touch PWNED)]'; y=abc; echo ${y:x}")]
#[case::arithmetic_in_an_export("export x='a[$(touch PWNED)]'; echo $((x))")]
#[case::prompt("PS4='$(touch PWNED)'; set -x; ls")]
#[case::name_reference("declare -n x='a[$(touch PWNED)]'; echo $x")]
#[case::read_subscript("read 'a[$(touch PWNED)]' < a.txt")]
#[case::unset_subscript("unset 'a[$(touch PWNED)]'")]
#[case::printf_v("builtin printf -v 'a[$(touch PWNED)]' x")]
#[case::mapfile("mapfile -C 'touch PWNED #' -c 1 < a.txt")]
#[case::exec("exec touch PWNED")]
#[case::background("touch PWNED & wait")]
#[case::until_loop("until touch PWNED; do ls; done")]
#[case::tilde_program("~/../root/evil.sh")]
#[case::relative_program("./evil.sh")]
#[case::program_in_sub("cd sub && ../evil.sh")]
#[case::directory_by_link("cd sub; cat ../lnk")]
#[case::directory_outside("cd ..; cat outside/secret")]
#[case::directory_twice("cd sub; cd ..; cat ../outside/secret")]
#[case::directory_by_chance("true || cd sub; cat ../outside/secret")]
#[case::interpreter("awk 'BEGIN{system(\"touch PWNED\")}'")]
#[case::sort_program("sort --compress-program=./evil.sh a.txt")]
#[case::sort_output("sort -o PWNED a.txt")]
#[case::tee("echo x | tee PWNED")]
#[case::find_quoted("find . -maxdepth 0 '-exe''c' touch PWNED ';'")]
#[case::find_print("find . -fprint PWNED")]
#[case::git_output("git diff --output=PWNED HEAD~1")]
#[case::git_alias("git -c alias.x='!touch PWNED' x")]
#[case::git_variable("GIT_EXTERNAL_DIFF='touch PWNED;:' git diff HEAD~1")]
#[case::git_dynamic("git log \"$OPTS\"")]
#[case::git_difftool("git difftool -x 'touch PWNED;:' HEAD~1")]
#[case::quote_in_a_default("y=${x:-\"'\"}; echo '}\"; touch PWNED #'")]
#[case::bracket_in_a_default("y=${x:-\">(\"}; echo \"x\\\" ) }\\\"; touch PWNED #\"")]
#[case::bracket_in_a_quoted_default("echo \"${x:->(}\"; echo \"x\\\" ) }\\\"; touch PWNED #\"")]
#[case::quote_in_a_pattern("x=a; y=${x%\"'\"}; echo '}\"; touch PWNED #'")]
#[case::directory_unset("unset cd; cd sub/a/b; cat ../../../outside/secret")]
#[case::directory_redirected("cd sub/a <nofile; cat ../../outside/secret")]
#[case::directory_redirected_group("{ cd sub/a; } <nofile; cat ../../outside/secret")]
#[case::directory_left_by_break("if true; then cd sub/a; break; fi; cat ../../outside/secret")]
#[case::directory_left_by_exit("h=--help; if true; then cd sub/a; exit \"$h\"; fi; cat ../../outside/secret")]
#[case::name_of_a_loop("for x$(touch PWNED) in c; do ls; done")]
#[case::locale_quotes("$\"touch\" PWNED")]
#[case::ansi_quotes("$'\\x74ouch' PWNED")]
#[case::brace_program("{touch,PWNED};")]
#[case::zero_width("ls \u{200b}; touch PWNED")]
#[case::blank_that_is_none("touch\u{a0}PWNED")]
#[case::command_v("command -p touch PWNED")]
#[case::env_dynamic("env -i touch PWNED")]
#[case::loop_over_a_link("for f in a.txt lnk; do cat \"$f\"; done")]
#[case::loop_over_a_pattern("for f in *; do cat $f; done")]
#[case::loop_and_an_assignment("for f in a.txt; do f=../outside/secret; cat \"$f\"; done")]
#[case::loop_and_read("for f in a.txt; do read -r f <<< ../outside/secret; cat \"$f\"; done")]
#[case::loop_in_a_loop("for f in a.txt; do for f in ../outside/secret; do ls; done; cat \"$f\"; done")]
#[case::loop_elsewhere("for f in name; do (cd sub && cat \"$f\"); done")]
#[case::loop_redirected("for f in lnk; do cat < \"$f\"; done")]
#[case::loop_taken_apart("for f in 'a.txt lnk'; do cat $f; done")]
#[case::loop_of_a_pattern("for f in 'ln?'; do cat $f; done")]
#[case::loop_of_programs("for f in 'evil.sh'; do ./$f; done")]
#[case::loop_of_options("for o in --output=PWNED; do git diff \"$o\" HEAD~1; done")]
#[case::loop_of_sub_commands("for c in 'stash' tag; do git $c x; done")]
#[case::head_through_a_pipe("echo 'touch PWNED' | sh")]
#[case::sed_write("sed 'w PWNED' a.txt")]
#[case::sed_in_place("sed -i s/victim/x/ victim.txt")]
#[case::xargs_in_a_pipe("ls | xargs -I{} touch PWNED")]
fn members_of_the_classes_have_no_effect_either(#[case] command: &str) {
    let scene = planted();
    let done = scene.portcullis(["run", "-c", command]);
    assert_eq!(harm(&scene, &done.stdout), None, "{command:?}: exit {}, {}", done.status, done.stderr);
}
