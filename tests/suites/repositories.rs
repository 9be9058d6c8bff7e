//! Hostile repositories: each trick is shown to work with git alone, and to work no more through portcullis. And ordinary ones,
//! which look through portcullis as they do without.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rstest::rstest;

use crate::support::{
    eventually, named_pipe, once_read,
    scene::{Done, Running, Scene},
};

/// Everything is allowed that `harden` does not deny, so that it stands alone.
const HARDENED: &str = r#"
[jobs]
roots = [ROOT]

[decision]
default = "allow"

[[policies]]
name = "harden"
component = "builtin:harden"
may_rewrite = true
grants = { read = ["roots"] }

[[policies]]
name = "redact"
component = "builtin:redact"
"#;

/// What lies outside and must not be seen.
const HIDDEN: &str = "hidden-from-agents";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.configure(&HARDENED.replace("ROOT", &format!("{:?}", scene.root())));
    scene
}

/// Where the kernel does not confine git.
fn unconfined_scene() -> Scene {
    let scene = Scene::new();
    let grants = "grants = { read = [\"roots\"] }\n";
    let config = HARDENED.replace(grants, &format!("{grants}settings = {{ confine = false }}\n"));
    scene.configure(&config.replace("ROOT", &format!("{:?}", scene.root())));
    scene
}

/// A scene with git alone in it.
struct Repository<'a>(&'a Scene);

impl Repository<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.root().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn executable(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Adds to the repository's configuration; `PWN` there is what leaves a trace.
    fn config(&self, text: &str) {
        let path = self.path(".git/config");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{before}\n{}\n", self.filled(text))).unwrap();
    }

    fn filled(&self, text: &str) -> String {
        let outside = self.0.base().join("outside");
        let texts =
            [("PWN", self.pwn()), ("ROOT", self.path("").display().to_string()), ("OUTSIDE", outside.display().to_string())];
        texts.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value.trim_end_matches('/')))
    }

    fn pwn(&self) -> String {
        format!("touch {}", self.trace().display())
    }

    fn trace(&self) -> PathBuf {
        self.0.base().join("home/trace")
    }

    /// git alone, as a developer would call it.
    fn git(&self, directory: &str, args: &[&str]) -> Output {
        let mut git = Command::new("git");
        git.args(args).current_dir(self.path(directory)).env_clear();
        git.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.0.base().join("home"));
        git.envs(WHO).output().unwrap()
    }

    #[track_caller]
    fn done(&self, args: &[&str]) {
        let output = self.git("", args);
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The same command through portcullis.
    fn gated(&self, directory: &str, args: &[&str]) -> Done {
        let mut command = self.0.command(["run", "--", "git"].iter().chain(args));
        command.current_dir(self.path(directory));
        Running::start(&mut command).done()
    }
}

/// As an organisation would have it that lets agents commit.
const GATED: &str = r#"
[jobs]
roots = [ROOT]

[[policies]]
name = "harden"
component = "builtin:harden"
may_rewrite = true
grants = { read = ["roots"] }

[[policies]]
name = "allowlist"
component = "builtin:allowlist"

[policies.settings]
include = ["shell", "coreutils-read", "git-read", "git-write"]

[[policies]]
name = "redact"
component = "builtin:redact"
"#;

fn gated_scene() -> Scene {
    let scene = Scene::new();
    scene.configure(&GATED.replace("ROOT", &format!("{:?}", scene.root())));
    scene
}

const WHO: [(&str, &str); 6] = [
    ("GIT_AUTHOR_NAME", "Ada"),
    ("GIT_AUTHOR_EMAIL", "ada@example.invalid"),
    ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z"),
    ("GIT_COMMITTER_NAME", "Ada"),
    ("GIT_COMMITTER_EMAIL", "ada@example.invalid"),
    ("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z"),
];

/// Changes a tracked file, so that git has to look at its content.
fn changed(repository: &Repository) {
    repository.write("notes.txt", "one\nTWO\nthree\n");
}

fn filter(repository: &Repository, config: &str) {
    repository.write(".git/info/attributes", "*.txt filter=x\n");
    repository.config(config);
    changed(repository);
}

fn driver(repository: &Repository, config: &str) {
    repository.write(".gitattributes", "*.txt diff=x merge=x\n");
    repository.config(config);
    changed(repository);
}

/// A commit that claims to be signed.
fn signed(repository: &Repository) {
    let tree = repository.git("", &["rev-parse", "HEAD^{tree}"]).stdout;
    let who = "Ada <ada@example.invalid> 1767323045 +0000";
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n aGVsbG8=\n -----END PGP SIGNATURE-----";
    let tree = String::from_utf8(tree).unwrap();
    let commit = format!("tree {}\nauthor {who}\ncommitter {who}\n{signature}\n\nsigned\n", tree.trim());
    repository.write("commit", &commit);
    let id = repository.git("", &["hash-object", "-t", "commit", "-w", "commit"]).stdout;
    repository.done(&["reset", "--quiet", "--soft", String::from_utf8(id).unwrap().trim()]);
}

/// Two branches that change the same line.
fn diverged(repository: &Repository) {
    repository.done(&["checkout", "--quiet", "-b", "other"]);
    repository.write("notes.txt", "one\n2\nthree\n");
    repository.done(&["commit", "--quiet", "--all", "--message", "2"]);
    repository.done(&["checkout", "--quiet", "main"]);
    changed(repository);
    repository.done(&["commit", "--quiet", "--all", "--message", "TWO"]);
}

/// A second repository inside the root, whose own files are as hostile as can be.
fn second(repository: &Repository, name: &str) {
    repository.done(&["init", "--quiet", name]);
    repository.write(&format!("{name}/.git/info/attributes"), "* filter=x\n");
    repository.write(&format!("{name}/a"), "a");
    repository.done(&["-C", name, "add", "a"]);
    let config =
        format!("[core]\nrepositoryformatversion = 0\nbare = false\n{}", repository.filled("[filter \"x\"]\nclean = PWN; cat\n"));
    repository.write(&format!("{name}/.git/config"), &config);
    repository.write(&format!("{name}/a"), "b");
}

/// A second repository that the first one tracks, so that git asks it for its changes.
fn inner(repository: &Repository) {
    repository.done(&["init", "--quiet", "two"]);
    repository.write("two/a", "a");
    repository.done(&["-C", "two", "add", "a"]);
    repository.done(&["-C", "two", "commit", "--quiet", "--message", "a"]);
    repository.done(&["add", "two"]);
    repository.done(&["commit", "--quiet", "--message", "two"]);
    repository.write("two/.git/info/attributes", "* filter=x\n");
    let config = fs::read_to_string(repository.path("two/.git/config")).unwrap();
    repository.write("two/.git/config", &repository.filled(&format!("{config}[filter \"x\"]\nclean = PWN\n")));
    repository.write("two/a", "b");
    changed(repository);
}

/// A repository in `directory` whose own one lies among its files; `pointer` is the way there.
fn settings_among_files(r: &Repository, directory: &str, own: &str, pointer: &str) {
    fs::create_dir_all(r.path(&format!("{directory}/{own}")).parent().unwrap()).unwrap();
    assert!(r.git(directory, &["init", "--quiet", "--separate-git-dir", own]).status.success());
    tracked_settings(r, directory, &format!("{own}/config"));
    r.write(&format!("{directory}/.git"), &r.filled(&format!("gitdir: {pointer}\n")));
}

/// The same with what working trees share, and the way there in `commondir`.
fn shared_among_files(r: &Repository, own: &str, pointer: &str) {
    fs::create_dir_all(r.path(&format!("a/{own}"))).unwrap();
    assert!(r.git("a", &["init", "--quiet"]).status.success());
    for name in ["config", "objects", "refs"] {
        fs::rename(r.path(&format!("a/.git/{name}")), r.path(&format!("a/{own}/{name}"))).unwrap();
    }
    r.write("a/.git/commondir", &r.filled(&format!("{pointer}\n")));
    tracked_settings(r, "a", &format!("{own}/config"));
}

/// The only repository, in `directory`, knows a file of settings that git reads: its commit has some that run a program, its index
/// and its working tree have harmless ones.
fn tracked_settings(r: &Repository, directory: &str, settings: &str) {
    fs::remove_dir_all(r.path(".git")).unwrap();
    r.write(&format!("{directory}/f"), "one\n");
    r.write(&format!("{directory}/.gitattributes"), "* filter=x\n");
    let git = |args: &[&str]| {
        let output = r.git(directory, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let file = format!("{directory}/{settings}");
    let before = fs::read_to_string(r.path(&file)).unwrap_or_default();
    let harmless = format!("{before}[user]\nname = Ada\nemail = ada@example.invalid\n");
    r.write(&file, &harmless);
    git(&["add", "f", ".gitattributes"]);
    git(&["commit", "--quiet", "--message", "f"]);
    let staged = |text: &str| {
        r.write("settings", text);
        let id = git(&["hash-object", "-w", "--no-filters", r.path("settings").to_str().unwrap()]);
        git(&["update-index", "--add", "--cacheinfo", &format!("100644,{id},{settings}")]);
    };
    staged(&r.filled(&format!("{harmless}[filter \"x\"]\nsmudge = PWN; cat\nclean = PWN; cat\n")));
    git(&["commit", "--quiet", "--message", "settings"]);
    staged(&harmless);
    r.write(&format!("{directory}/f"), "two\n");
    git(&["add", "f"]);
}

/// A second repository `n` in the first, with a filter.
fn inside(r: &Repository) -> String {
    fs::remove_file(r.path("n")).ok();
    r.write("n/f", "one\n");
    r.write("n/.gitattributes", "* filter=x\n");
    for args in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "n"]] {
        assert!(r.git("n", args).status.success());
    }
    r.write("n/f", "two\n");
    let id = String::from_utf8(r.git("n", &["rev-parse", "HEAD"]).stdout).unwrap().trim().to_owned();
    let config = fs::read_to_string(r.path("n/.git/config")).unwrap();
    r.write("n/.git/config", &format!("{config}{}", r.filled("[filter \"x\"]\nclean = PWN; cat\n")));
    id
}

/// A file that git knows has become a repository. With `is_old`, the last commit has it as one already.
fn became_a_repository(r: &Repository, is_old: bool) {
    r.config("[user]\nname = Ada\nemail = ada@example.invalid");
    r.write("n", "1\n");
    r.done(&["add", "."]);
    r.done(&["commit", "--quiet", "--message", "n"]);
    let file = String::from_utf8(r.git("", &["rev-parse", ":n"]).stdout).unwrap();
    let id = inside(r);
    if is_old {
        r.done(&["update-index", "--cacheinfo", &format!("160000,{id},n")]);
        r.done(&["commit", "--quiet", "--message", "repository"]);
        r.done(&["update-index", "--cacheinfo", &format!("100644,{},n", file.trim())]);
    }
}

/// The last commit has a repository that the index does not know.
fn left_a_repository(r: &Repository) {
    became_a_repository(r, true);
    r.done(&["update-index", "--force-remove", "n"]);
}

/// A submodule `n` with its repository inside, to be taken to `.git/modules/NAME`.
fn unabsorbed(r: &Repository, name: &str) {
    r.write(".gitmodules", &format!("[submodule \"{name}\"]\n\tpath = n\n\turl = ./n\n"));
    let id = inside(r);
    r.write("n/f", "one\n");
    let config = fs::read_to_string(r.path("n/.git/config")).unwrap();
    r.write("n/.git/config", config.split_once("[filter").unwrap().0);
    r.done(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},n")]);
    r.done(&["add", ".gitmodules"]);
    r.done(&["commit", "--quiet", "--message", "n"]);
    fs::create_dir_all(r.path(".git/modules")).unwrap();
}

/// What it shares with others lies elsewhere once it has been moved.
fn absorbed_into_another(r: &Repository) {
    unabsorbed(r, "moved");
    r.write("n/.git/commondir", "../shared\n");
    fs::create_dir(r.path("n/shared")).unwrap();
    for name in ["config", "objects", "refs"] {
        fs::rename(r.path(&format!("n/.git/{name}")), r.path(&format!("n/shared/{name}"))).unwrap();
    }
    Command::new("cp").arg("-r").args([r.path("n/shared"), r.path(".git/modules/shared")]).status().unwrap();
    let config = fs::read_to_string(r.path("n/shared/config")).unwrap();
    r.write(".git/modules/shared/config", &format!("{config}{}", r.filled("[filter \"x\"]\nclean = PWN; cat\n")));
    r.write("n/.gitignore", "shared/\n");
    r.write("n/f", "two\n");
}

// A trick: how it is planted, where git is called, what with, and how portcullis meets it: with this code of a denial, or "" where
// it runs without the effect.
#[rstest]
#[case::fsmonitor(|r: &Repository| r.config("[core]\nfsmonitor = PWN; false"), "", &["status"], "")]
#[case::hook(|r: &Repository| r.executable(".git/hooks/pre-commit", &r.filled("#!/bin/sh\nPWN\n")), "", &["commit", "--allow-empty", "-m", "x"], "")]
#[case::hooks_path(|r: &Repository| { r.config("[core]\nhooksPath = .husky"); r.executable(".husky/pre-commit", &r.filled("#!/bin/sh\nPWN\n")) }, "", &["commit", "--allow-empty", "-m", "x"], "")]
#[case::editor(|r: &Repository| r.config("[core]\neditor = PWN;:"), "", &["commit", "--allow-empty"], "")]
#[case::ssh(|r: &Repository| r.config("[core]\nsshCommand = PWN;:"), "", &["ls-remote", "ssh://example.invalid/x"], "")]
#[case::external_diff(|r: &Repository| { r.config("[diff]\nexternal = PWN;:"); changed(r) }, "", &["diff"], "")]
#[case::diff_command(|r: &Repository| driver(r, "[diff \"x\"]\ncommand = PWN;:"), "", &["diff"], "")]
#[case::textconv(|r: &Repository| driver(r, "[diff \"x\"]\ntextconv = PWN;cat"), "", &["diff"], "")]
#[case::textconv_blame(|r: &Repository| driver(r, "[diff \"x\"]\ntextconv = PWN;cat"), "", &["blame", "notes.txt"], "")]
#[case::signature(|r: &Repository| { signed(r); r.executable("gpg", &r.filled("#!/bin/sh\nPWN\n")); r.config("[log]\nshowSignature = true\n[gpg]\nprogram = ROOT/gpg") }, "", &["log"], "")]
#[case::signing(|r: &Repository| { r.executable("gpg", &r.filled("#!/bin/sh\nPWN\n")); r.config("[gpg \"ssh\"]\nprogram = ROOT/gpg\n[gpg]\nformat = ssh\n[user]\nsigningKey = x\n[commit]\ngpgSign = true") }, "", &["commit", "--allow-empty", "-m", "x"], "repository-config")]
#[case::textconv_of_an_object(|r: &Repository| driver(r, "[diff \"x\"]\ntextconv = PWN;cat"), "", &["cat-file", "--textconv", "HEAD:notes.txt"], "")]
#[case::key_command(|r: &Repository| r.config("[gpg]\nformat = ssh\n[gpg \"ssh\"]\ndefaultKeyCommand = PWN"), "", &["tag", "-s", "-m", "x", "v1"], "")]
#[case::merge_driver_again(|r: &Repository| { diverged(r); r.done(&["merge", "--quiet", "--strategy", "ours", "other"]); driver(r, "[merge \"x\"]\ndriver = PWN") }, "", &["log", "--remerge-diff", "-1"], "")]
#[case::clean(|r: &Repository| filter(r, "[filter \"x\"]\nclean = PWN;cat"), "", &["status"], "repository-config")]
#[case::clean_diff(|r: &Repository| filter(r, "[filter \"x\"]\nclean = PWN;cat"), "", &["diff"], "repository-config")]
#[case::clean_blame(|r: &Repository| filter(r, "[filter \"x\"]\nclean = PWN;cat"), "", &["blame", "notes.txt"], "repository-config")]
#[case::clean_modified(|r: &Repository| filter(r, "[filter \"x\"]\nclean = PWN;cat"), "", &["ls-files", "-m"], "repository-config")]
#[case::clean_add(|r: &Repository| filter(r, "[filter \"x\"]\nclean = PWN;cat"), "", &["add", "notes.txt"], "repository-config")]
#[case::process(|r: &Repository| filter(r, "[filter \"x\"]\nprocess = PWN"), "", &["status"], "repository-config")]
#[case::smudge(|r: &Repository| filter(r, "[filter \"x\"]\nsmudge = PWN;cat"), "", &["checkout", "--", "notes.txt"], "repository-config")]
#[case::clean_attributes(|r: &Repository| { r.write(".gitattributes", "* filter=x"); r.config("[filter \"x\"]\nclean = PWN;cat"); changed(r) }, "", &["status"], "repository-config")]
#[case::not_quite_lfs(|r: &Repository| { r.write(".gitattributes", "* filter=lfs"); r.config("[filter \"lfs\"]\nclean = PWN;cat"); changed(r) }, "", &["status"], "repository-config")]
#[case::include(|r: &Repository| { r.write("more", &r.filled("[filter \"x\"]\nclean = PWN;cat")); filter(r, "[include]\npath = ../more") }, "", &["status"], "repository-config")]
#[case::include_if(|r: &Repository| { r.write("more", &r.filled("[filter \"x\"]\nclean = PWN;cat")); filter(r, "[includeIf \"gitdir:**\"]\npath = ../more") }, "", &["status"], "repository-config")]
#[case::config_worktree(|r: &Repository| { r.write(".git/config.worktree", &r.filled("[filter \"x\"]\nclean = PWN;cat")); filter(r, "[extensions]\nworktreeConfig = true") }, "", &["status"], "repository-config")]
#[case::odd_spelling(|r: &Repository| filter(r, "[FILTER.x] ; [core]\n CLEAN=\"PWN;\"\\\n cat # bare"), "", &["status"], "repository-config")]
#[case::behind_a_comment(|r: &Repository| filter(r, "# \\\n[filter \"x\"] clean=PWN;cat"), "", &["status"], "repository-config")]
#[case::carriage_return(|r: &Repository| filter(r, "# \r[core]\r\n[filter \"x\"]\rclean=PWN;cat"), "", &["status"], "repository-config")]
#[case::alias(|r: &Repository| r.config("[alias]\nst = !PWN"), "", &["st"], "repository-config")]
#[case::merge_driver(|r: &Repository| { diverged(r); driver(r, "[merge \"x\"]\ndriver = PWN"); r.done(&["checkout", "--quiet", "notes.txt"]) }, "", &["merge", "other"], "repository-config")]
#[case::trailer(|r: &Repository| r.config("[trailer \"x\"]\ncmd = PWN"), "", &["commit", "--allow-empty", "-m", "x", "--trailer", "x: 1"], "repository-config")]
#[case::sequence_editor(|r: &Repository| r.config("[sequence]\neditor = PWN;:"), "", &["rebase", "-i", "--root"], "repository-config")]
#[case::ext(|r: &Repository| r.config("[protocol \"ext\"]\nallow = always"), "", &["ls-remote", "ext::PWN"], "repository-config")]
#[case::ext_remote(|r: &Repository| r.config("[protocol \"ext\"]\nallow = always\n[remote \"x\"]\nurl = ext::PWN"), "", &["ls-remote", "x"], "repository-config")]
#[case::instead_of(|r: &Repository| r.config("[protocol]\nallow = always\n[url \"ext::PWN x\"]\ninsteadOf = https:"), "", &["ls-remote", "https:"], "repository-config")]
#[case::upload_pack(|r: &Repository| r.config("[remote \"x\"]\nurl = ROOT\nuploadpack = PWN;:"), "", &["ls-remote", "x"], "repository-config")]
#[case::git_proxy(|r: &Repository| { r.executable("proxy", &r.filled("#!/bin/sh\nPWN\n")); r.config("[core]\ngitProxy = ROOT/proxy") }, "", &["ls-remote", "git://example.invalid/x"], "repository-config")]
#[case::git_file(|r: &Repository| { second(r, "two"); r.write("sub/.git", "gitdir: ../two/.git\n"); r.write("sub/a", "b") }, "sub", &["status"], "repository-config")]
#[case::common_directory(|r: &Repository| { second(r, "two"); r.write(".git/commondir", "../two/.git\n"); r.write(".gitattributes", "* filter=x"); changed(r) }, "", &["status"], "repository-config")]
#[case::link(|r: &Repository| { second(r, "two"); fs::create_dir(r.path("sub")).unwrap(); symlink("../two/.git", r.path("sub/.git")).unwrap(); r.write("sub/a", "b") }, "sub", &["status"], "repository-link")]
#[case::bare(|r: &Repository| { second(r, "two"); fs::rename(r.path("two/.git"), r.path("bare")).unwrap(); let text = fs::read_to_string(r.path("bare/config")).unwrap(); r.write("bare/config", &format!("{text}[core]\nworktree = .\n")); r.write("bare/a", "b") }, "bare", &["status"], "repository-config")]
#[case::inner_add(|r: &Repository| inner(r), "", &["add", "--update"], "repository-config")]
#[case::inner_commit(|r: &Repository| inner(r), "", &["commit", "--all", "-m", "x"], "repository-config")]
#[case::inner_stash(|r: &Repository| inner(r), "", &["stash"], "repository-config")]
#[case::inner_diff_files(|r: &Repository| inner(r), "", &["diff-files"], "")]
#[case::inner_status(|r: &Repository| inner(r), "", &["status"], "")]
#[case::inner_diff(|r: &Repository| inner(r), "", &["diff"], "")]
#[case::nested(|r: &Repository| second(r, "two"), "two", &["status"], "repository-config")]
#[case::config_link(|r: &Repository| { filter(r, "[filter \"x\"]\nclean = PWN;cat"); fs::rename(r.path(".git/config"), r.path("config")).unwrap(); symlink("../config", r.path(".git/config")).unwrap() }, "", &["status"], "repository-link")]
#[case::among_files(|r: &Repository| settings_among_files(r, "a", "own", "own"), "a", &["stash", "push", "-k"], "repository-inside")]
#[case::among_files_by_a_way_back(|r: &Repository| { r.write("z/.git/x", ""); settings_among_files(r, "a", "own", "ROOT/z/.git/../../a/own") }, "a", &["stash", "push", "-k"], "repository-inside")]
#[case::among_files_by_a_link(|r: &Repository| { symlink("a/s", r.path("way")).unwrap(); settings_among_files(r, "a", "s/own", "ROOT/way/own") }, "a", &["stash", "push", "-k"], "repository-link")]
#[case::among_files_below_a_git(|r: &Repository| settings_among_files(r, "z/.git/a", "own", "own"), "z/.git/a", &["stash", "push", "-k"], "git-operand")]
#[case::shared_among_files(|r: &Repository| shared_among_files(r, "own", "../own"), "a", &["stash", "push", "-k"], "repository-inside")]
#[case::shared_among_files_by_a_way_back(|r: &Repository| shared_among_files(r, "own", "ROOT/a/.git/../own"), "a", &["stash", "push", "-k"], "repository-inside")]
#[case::became_one_all(|r: &Repository| became_a_repository(r, false), "", &["commit", "-a", "--dry-run", "-m", "x"], "repository-config")]
#[case::became_one_path(|r: &Repository| became_a_repository(r, false), "", &["commit", "-m", "x", "--dry-run", "n"], "repository-config")]
#[case::became_one_again(|r: &Repository| became_a_repository(r, true), "", &["commit", "-am", "x"], "repository-config")]
#[case::became_one_again_quietly(|r: &Repository| became_a_repository(r, true), "", &["commit", "-q", "-am", "x"], "repository-config")]
#[case::became_one_again_path(|r: &Repository| became_a_repository(r, true), "", &["commit", "-m", "x", "n"], "repository-config")]
#[case::left_behind(left_a_repository, "", &["commit", "--dry-run", "-m", "x", "notes.txt"], "repository-config")]
#[case::absorbed_into_another(absorbed_into_another, "", &["rm", "n"], "repository-moved")]
#[case::option(|_: &Repository| (), "", &["-c", "alias.st=!PWN", "st"], "git-option")]
#[case::exec_path(|r: &Repository| r.executable("git-x", &r.filled("#!/bin/sh\nPWN\n")), "", &["--exec-path=.", "x"], "git-option")]
fn a_repository_runs_nothing(#[case] plant: fn(&Repository), #[case] directory: &str, #[case] args: &[&str], #[case] code: &str) {
    let (alone, gated) = (scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    plant(&alone);
    let args_of = |repository: &Repository| args.iter().map(|arg| repository.filled(arg)).collect::<Vec<_>>();
    let said = alone.git(directory, &args_of(&alone).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(alone.trace().exists(), "the trick does not work with git alone: {}", String::from_utf8_lossy(&said.stderr));

    plant(&gated);
    // What git did while the trap was set counts for nothing.
    fs::remove_file(gated.trace()).ok();
    let done = gated.gated(directory, &args_of(&gated).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!gated.trace().exists(), "{}", done.stderr);
    if code.is_empty() {
        assert!(done.code() != 126, "{}", done.stderr);
    } else {
        assert!(done.stderr.contains(&format!("\"harden\" [{code}]")), "{}", done.stderr);
        done.expect(126);
    }
}

/// What is moved into `.git/modules` goes where links there lead, as does what is written there.
#[rstest]
#[case::its_directory(|r: &Repository| { unabsorbed(r, "x/moved"); r.write("n/.git/authorized_keys", "key"); symlink(r.0.base().join("outside"), r.path(".git/modules/x")).unwrap() }, &["rm", "n"], "repository-moved")]
#[case::those_of_another(|r: &Repository| { unabsorbed(r, "n"); fs::rename(r.path("n/.git"), r.path(".git/modules/n")).unwrap(); r.write("n/.git", "gitdir: ../.git/modules/n\n"); nested_with_a_link(r) }, &["mv", "n", "m"], "repository-link")]
fn a_submodule_is_moved_nowhere_else(#[case] plant: fn(&Repository), #[case] args: &[&str], #[case] code: &str) {
    let (alone, gated) = (scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    let all = |repository: &Repository| {
        let found = Command::new("find").arg(repository.0.base().join("outside")).arg("-type").arg("f").output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    for repository in [&alone, &gated] {
        plant(repository);
    }
    let before = all(&alone);
    let said = alone.git("", args);
    assert!(all(&alone) > before, "the trick does not work with git alone: {}", String::from_utf8_lossy(&said.stderr));
    let done = gated.gated("", args).expect(126);
    assert!(done.stderr.contains(&format!("\"harden\" [{code}]")), "{}", done.stderr);
    assert_eq!(all(&gated), before);
}

/// A submodule of the submodule `n`, for which a link stands in the `modules` there.
fn nested_with_a_link(r: &Repository) {
    let outside = r.0.base().join("outside/y");
    r.write("n/.gitmodules", "[submodule \"x/y\"]\n\tpath = k\n\turl = ./k\n");
    r.write("n/k/g", "g");
    for args in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "k"]] {
        assert!(r.git("n/k", args).status.success());
    }
    assert!(r.git("n", &["add", "k", ".gitmodules"]).status.success());
    assert!(r.git("n", &["commit", "--quiet", "--message", "k"]).status.success());
    fs::create_dir_all(r.path(".git/modules/n/modules")).unwrap();
    fs::rename(r.path("n/k/.git"), r.path(".git/modules/n/modules/k")).unwrap();
    r.write("n/k/.git", "gitdir: ../../.git/modules/n/modules/k\n");
    fs::create_dir(&outside).unwrap();
    symlink(r.0.base().join("outside"), r.path(".git/modules/n/modules/x")).unwrap();
    assert!(r.git("n", &["config", "submodule.x/y.url", "./k"]).status.success());
    r.done(&["add", "n"]);
    r.done(&["commit", "--quiet", "--message", "n"]);
}

/// A working tree that is named by a link, which the call itself makes another.
#[test]
fn a_working_tree_stays_where_it_is() {
    let (alone, gated) = (scene(), scene());
    for (scene, is_gated) in [(&alone, false), (&gated, true)] {
        let r = Repository(scene);
        let outside = scene.base().join("outside");
        fs::rename(r.path(".git"), r.path("own")).unwrap();
        fs::create_dir(r.path("a")).unwrap();
        fs::remove_file(r.path("notes.txt")).unwrap();
        r.write("a/.git", "gitdir: ../own\n");
        let git = |args: &[&str]| assert!(r.git("a", args).status.success(), "{args:?}");
        git(&["config", "user.name", "Ada"]);
        git(&["config", "user.email", "ada@example.invalid"]);
        r.write("a/f", "one\n");
        symlink(&outside, r.path("a/way")).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "--quiet", "--message", "f"]);
        replaced(&r, "a/way", ".");
        r.write("a/f", "written\n");
        git(&["add", "."]);
        git(&["config", "core.worktree", "../a/way"]);
        let args = ["stash", "push", "-k"];
        let said = if is_gated {
            let done = r.gated("a", &args).expect(126);
            assert!(done.stderr.contains("\"harden\" [repository-config]"), "{}", done.stderr);
            done.stderr
        } else {
            String::from_utf8(r.git("a", &args).stderr).unwrap()
        };
        assert_eq!(outside.join("f").exists(), !is_gated, "{said}");
    }
}

/// The user's own settings, where they are files of a repository.
#[rstest]
#[case("")]
#[case(".config/git")]
fn settings_of_the_user_are_not_written(#[case] directory: &str) {
    let (alone, gated) = (scene(), scene());
    for (scene, is_gated) in [(&alone, false), (&gated, true)] {
        let r = Repository(scene);
        let work = Path::new("a").join(directory);
        fs::create_dir_all(r.path(work.to_str().unwrap())).unwrap();
        assert!(r.git(work.to_str().unwrap(), &["init", "--quiet"]).status.success());
        tracked_settings(&r, work.to_str().unwrap(), if directory.is_empty() { ".gitconfig" } else { "config" });
        let args = ["stash", "push", "-k"];
        let (home, work) = (r.path("a"), r.path(work.to_str().unwrap()));
        if is_gated {
            let mut command = scene.command(["run", "--", "git"].iter().chain(&args));
            let done = Running::start(command.current_dir(work).env("HOME", home)).done().expect(126);
            assert!(done.stderr.contains("\"harden\" [repository-inside]"), "{}", done.stderr);
        } else {
            Command::new("git").args(args).current_dir(work).env("HOME", home).env_remove("XDG_CONFIG_HOME").output().unwrap();
        }
        assert_eq!(r.trace().exists(), !is_gated, "{directory}");
    }
}

/// git asks every working tree of a repository what is checked out there, by what it says it shares.
#[test]
fn another_working_tree_shows_nothing_from_outside() {
    let scene = scene();
    let repository = Repository(&scene);
    let id = hiding(&repository);
    repository.write(".git/worktrees/w/HEAD", "ref: refs/heads/main\n");
    repository.write(".git/worktrees/w/gitdir", &repository.filled("ROOT/w/.git\n"));
    repository.write(".git/worktrees/w/commondir", &repository.filled("OUTSIDE/.git\n"));
    let args = ["worktree", "list", "--porcelain"];
    let alone = repository.git("", &args).stdout;
    assert!(String::from_utf8_lossy(&alone).contains(id.trim()), "the trick does not work with git alone");
    let done = repository.gated("", &args).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-outside]"), "{}", done.stderr);
}

/// Ordinary submodules and working trees are moved, removed and recorded as ever.
#[rstest]
#[case("git mv library books && git commit -qm moved", "ls-files")]
#[case("git mv notes.txt n && git rm -q other && git commit -qm moved", "ls-files")]
#[case("git commit -qam x && git commit -q --amend --no-edit", "log")]
#[case("git commit -qm x notes.txt", "status")]
#[case("git stash -q && git switch -q -c y && git stash pop -q", "status")]
#[case("cd library && git commit -qam x && cd .. && git add -u && git commit -qm y", "status")]
#[case("cd tree && git commit -qam x && git rm -q other && git stash push -q -u", "log")]
fn submodules_and_worktrees_are_as_ever(#[case] script: &str, #[case] look: &str) {
    leads_to_the_same(&scene(), script, look);
}

/// git looks into it with a script of its own, for which it needs a shell.
#[test]
fn submodules_are_removed_as_ever_where_git_is_not_confined() {
    let script = "cd library && git restore notes.txt && cd .. && git rm -q library && git commit -qm gone";
    leads_to_the_same(&unconfined_scene(), script, "ls-files");
}

fn leads_to_the_same(gated: &Scene, script: &str, look: &str) {
    let alone = scene();
    let (alone, gated) = (Repository(&alone), Repository(gated));
    for repository in [&alone, &gated] {
        fs::write(repository.0.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
        repository.write("other", "");
        repository.done(&["add", "other"]);
        submodule(repository);
        repository.done(&["commit", "--quiet", "--all", "--message", "other"]);
        repository.done(&["worktree", "add", "--quiet", "tree"]);
        for name in ["notes.txt", "library/notes.txt", "tree/notes.txt"] {
            repository.write(name, "changed\n");
        }
    }
    let mut bash = Command::new("bash");
    bash.args(["-ec", script]).current_dir(alone.path("")).env("HOME", alone.0.base().join("home"));
    assert!(bash.status().unwrap().success(), "{script}");
    let done = gated.0.portcullis(["run", "-c", script]);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    let args: &[&str] = if look == "log" { &["log", "--format=%s", "--branches", "--stat"] } else { &[look] };
    let seen = |repository: &Repository| String::from_utf8(repository.git("", args).stdout).unwrap();
    assert_eq!(seen(&alone), seen(&gated));
}

/// A repository outside with something to hide, and the id of its commit.
fn hiding(repository: &Repository) -> String {
    let outside = repository.0.base().join("outside");
    fs::write(outside.join(HIDDEN), format!("{HIDDEN}\n")).unwrap();
    let git = |args: &[&str]| {
        let mut all = vec!["-C", outside.to_str().unwrap()];
        all.extend(args);
        repository.git("", &all)
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", HIDDEN]);
    git(&["commit", "--quiet", "--message", HIDDEN]);
    String::from_utf8(git(&["rev-parse", "HEAD"]).stdout).unwrap()
}

fn replaced(repository: &Repository, name: &str, target: &str) {
    let path = repository.path(name);
    fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).ok();
    symlink(repository.filled(target), path).unwrap();
}

/// A directory with a file that git knows has become a link to where another file has the same name.
fn linked_directory(repository: &Repository) {
    repository.write(&format!("d/{HIDDEN}"), "hi\n");
    repository.done(&["add", "d"]);
    repository.done(&["commit", "--quiet", "--message", "d"]);
    replaced(repository, "d", "OUTSIDE");
}

/// An index, without a checksum, whose one entry has this path.
fn index(repository: &Repository, path: &str) {
    write_index(repository, 1, &entry(repository, &repository.filled(path)));
}

/// Its first entry says that its path goes on behind the NUL, over what looks like another entry and an extension of the length of
/// what git takes for the second.
fn index_of_long_paths(repository: &Repository) {
    let path = repository.filled(&format!("OUTSIDE/{HIDDEN}"));
    let outer = entry(repository, &path);
    let hiding = [b"AAAA".as_slice(), &u32::try_from(outer.len()).unwrap().to_be_bytes()].concat();
    let mut first = [entry(repository, "notes.txt"), entry(repository, "x"), hiding].concat();
    // As long as it can be for the next entry to begin where this one ends.
    let length = u16::try_from(first.len() - 62 - 1).unwrap();
    first[60..62].copy_from_slice(&length.to_be_bytes());
    write_index(repository, 2, &[first, outer].concat());
}

/// What looks like an extension holds the entry that the index's own table of entries leads several threads to.
fn index_of_threads(repository: &Repository) {
    repository.config("[index]\nthreads = 4");
    let outer = entry(repository, &repository.filled(&format!("OUTSIDE/{HIDDEN}")));
    let mut body = entry(repository, "notes.txt");
    let numbers =
        |numbers: &[usize]| numbers.iter().flat_map(|number| u32::try_from(*number).unwrap().to_be_bytes()).collect::<Vec<_>>();
    body.extend([b"AAAA".as_slice(), &numbers(&[outer.len()])].concat());
    let at = 12 + body.len();
    body.extend(outer);
    let extensions = 12 + body.len();
    body.extend([b"IEOT".as_slice(), &numbers(&[12, 1, at, 1])].concat());
    // The name of `IEOT` and 12, as git checks them.
    let id = "1d8a838c8468913c1e0b5591673d4f27315502d5";
    body.extend([b"EOIE".as_slice(), &numbers(&[24, extensions]), &from_hex(id)].concat());
    write_index(repository, 1, &body);
}

/// A plain file of no content.
fn entry(repository: &Repository, path: &str) -> Vec<u8> {
    let empty = repository.git("", &["hash-object", "-w", "--stdin"]).stdout;
    let mut bytes = vec![0; 62];
    bytes[24..28].copy_from_slice(&0o100_644_u32.to_be_bytes());
    bytes[40..60].copy_from_slice(&from_hex(str::from_utf8(&empty[..40]).unwrap()));
    bytes[60..].copy_from_slice(&u16::try_from(path.len()).unwrap().to_be_bytes());
    bytes.extend(path.as_bytes());
    bytes.resize((bytes.len() + 1).next_multiple_of(8), 0);
    bytes
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// No checksum: git does without where it is all zeros.
fn write_index(repository: &Repository, count: u32, body: &[u8]) {
    let head = [b"DIRC".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
    fs::write(repository.path(".git/index"), [&head, body, &[0; 20]].concat()).unwrap();
}

/// A part of the repository that is a link to the file outside.
fn linked_part(repository: &Repository, name: &str) {
    repository.write(name, "");
    replaced(repository, name, &format!("OUTSIDE/{HIDDEN}"));
}

#[rstest]
#[case::linked_directory(linked_directory, &["grep", "-h", "hidden"], "repository-link")]
#[case::index_above(|r: &Repository| index(r, &format!("../outside/{HIDDEN}")), &["grep", "-h", "hidden"], "repository-outside")]
#[case::index_absolute(|r: &Repository| index(r, &format!("OUTSIDE/{HIDDEN}")), &["grep", "-h", "hidden"], "repository-outside")]
#[case::index_diff(|r: &Repository| index(r, &format!("../outside/{HIDDEN}")), &["diff"], "repository-outside")]
#[case::index_of_long_paths(index_of_long_paths, &["diff"], "repository-unreadable")]
#[case::of_a_worktree(|r: &Repository| { r.done(&["worktree", "add", "--quiet", "tree"]); linked_part(r, ".git/worktrees/tree/gitdir") }, &["worktree", "list", "--porcelain"], "repository-link")]
#[case::of_a_lock(|r: &Repository| { r.done(&["worktree", "add", "--quiet", "tree"]); linked_part(r, ".git/worktrees/tree/locked") }, &["worktree", "list", "--porcelain"], "repository-link")]
#[case::of_a_rebase(|r: &Repository| { linked_part(r, ".git/rebase-merge/head-name"); linked_part(r, ".git/rebase-merge/onto") }, &["status"], "repository-link")]
#[case::of_a_remote(|r: &Repository| { fs::write(r.0.base().join("outside").join(HIDDEN), format!("URL: {HIDDEN}\n")).unwrap(); linked_part(r, ".git/remotes/x") }, &["remote", "get-url", "x"], "repository-link")]
#[case::of_a_branch(|r: &Repository| linked_part(r, ".git/branches/x"), &["remote", "get-url", "x"], "repository-link")]
#[case::ignored_revisions_in_a_bare_one(|r: &Repository| { r.config("[core]\nbare = true\n[blame]\nignoreRevsFile = x"); replaced(r, "x", &format!("OUTSIDE/{HIDDEN}")) }, &["blame", "HEAD", "--", "notes.txt"], "repository-config")]
#[case::worktree(|r: &Repository| r.config("[core]\nworktree = OUTSIDE"), &["status"], "repository-config")]
#[case::git_file(|r: &Repository| { fs::remove_dir_all(r.path(".git")).unwrap(); r.write(".git", &r.filled("gitdir: OUTSIDE/.git\n")) }, &["log"], "repository-outside")]
#[case::git_link(|r: &Repository| replaced(r, ".git", "OUTSIDE/.git"), &["log"], "repository-link")]
#[case::common_directory(|r: &Repository| r.write(".git/commondir", "../../outside/.git"), &["log", "main"], "repository-outside")]
#[case::alternates(|r: &Repository| { let id = hiding(r); r.write(".git/objects/info/alternates", &r.filled("OUTSIDE/.git/objects\n")); r.write(".git/refs/heads/x", &id) }, &["log", "x"], "repository-outside")]
#[case::objects(|r: &Repository| { let id = hiding(r); replaced(r, ".git/objects", "OUTSIDE/.git/objects"); r.write(".git/refs/heads/x", &id) }, &["log", "x"], "repository-link")]
#[case::object_directory(|r: &Repository| { let id = hiding(r); let two = &id[..2]; replaced(r, &format!(".git/objects/{two}"), &format!("OUTSIDE/.git/objects/{two}")); r.write(".git/refs/heads/x", &id) }, &["log", "x"], "repository-link")]
#[case::ignored_revisions(|r: &Repository| r.config(&format!("[blame]\nignoreRevsFile = OUTSIDE/{HIDDEN}")), &["blame", "notes.txt"], "repository-config")]
#[case::message(|r: &Repository| replaced(r, ".git/MERGE_MSG", &format!("OUTSIDE/{HIDDEN}")), &["commit", "--allow-empty", "--no-edit"], "repository-link")]
#[case::excludes(|r: &Repository| r.config(&format!("[core]\nexcludesFile = OUTSIDE/{HIDDEN}")), &["check-ignore", "-v", "hidden-from-agents"], "repository-config")]
#[case::attributes(|r: &Repository| { fs::write(r.0.base().join("outside/attributes"), format!("* {HIDDEN}\n")).unwrap(); replaced(r, ".git/info/attributes", "OUTSIDE/attributes") }, &["check-attr", "-a", "notes.txt"], "repository-link")]
fn a_repository_shows_nothing_from_outside(#[case] plant: fn(&Repository), #[case] args: &[&str], #[case] code: &str) {
    let (alone, gated) = (scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    for repository in [&alone, &gated] {
        hiding(repository);
        plant(repository);
    }
    let Output { stdout, stderr, .. } = alone.git("", args);
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(said.contains(HIDDEN), "the trick does not work with git alone: {said}");
    let done = gated.gated("", args);
    assert!(done.stderr.contains(&format!("\"harden\" [{code}]")), "{}", done.stderr);
    assert!(!done.stdout().contains(HIDDEN));
    done.expect(126);
}

/// What a tree names that is checked out no more, through a link that lies in its place.
fn tree_behind_a_link(r: &Repository) {
    r.write(&format!("d/{HIDDEN}"), "hi\n");
    r.done(&["add", "d"]);
    r.done(&["commit", "--quiet", "--message", "d"]);
    r.done(&["rm", "--quiet", "--cached", "-r", "d"]);
    replaced(r, "d", "OUTSIDE");
}

/// A tree that names a file by its absolute path, which no git makes.
fn tree_of_an_absolute_path(r: &Repository) {
    let blob = from_hex(&made(r, &["hash-object", "-w", "--stdin"], b"hi\n"));
    let entry = [r.filled(&format!("100644 OUTSIDE/{HIDDEN}\0")).into_bytes(), blob].concat();
    let tree = made(r, &["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &entry);
    let commit = made(r, &["commit-tree", &tree], b"x");
    r.done(&["update-ref", "refs/heads/main", &commit]);
}

/// What git says to this.
fn made(repository: &Repository, args: &[&str], input: &[u8]) -> String {
    let mut git = Command::new("git");
    git.args(args).current_dir(repository.path("")).env("HOME", repository.0.base().join("home")).envs(WHO);
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(input).unwrap();
    let output = git.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// No look at the files finds these: the kernel keeps git in the roots.
#[rstest]
#[case::behind_a_link(tree_behind_a_link)]
#[case::by_an_absolute_path(tree_of_an_absolute_path)]
fn what_a_tree_names_outside_is_not_committed(#[case] plant: fn(&Repository)) {
    let is_taken = |repository: &Repository| {
        let blob = made(repository, &["hash-object", "--stdin"], format!("{HIDDEN}\n").as_bytes());
        repository.git("", &["cat-file", "-e", &blob]).status.success()
    };
    let (alone, gated) = (unconfined_scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    for repository in [&alone, &gated] {
        hiding(repository);
        plant(repository);
        fs::write(repository.0.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
        repository.gated("", &["commit", "--quiet", "--message", "x", "."]);
    }
    assert!(is_taken(&alone), "the trick does not work without the kernel");
    assert!(!is_taken(&gated));
}

/// git takes any path in a repository's own directory for the name of a reference.
#[test]
fn a_link_among_hooks_tells_nothing_from_outside() {
    let (alone, gated) = (unconfined_scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    let said = [&alone, &gated].map(|repository| {
        let id = hiding(repository);
        fs::create_dir_all(repository.path(".git/hooks")).unwrap();
        replaced(repository, ".git/hooks/x", "OUTSIDE/.git/refs/heads/main");
        repository.gated("", &["rev-parse", "hooks/x"]).stdout().contains(id.trim())
    });
    assert_eq!(said, [true, false]);
}

/// It would also write there: into another file of its own, which says where its settings are, and begins anew with those.
#[test]
fn a_reference_that_is_none_is_not_written() {
    let scene = scene();
    let repository = Repository(&scene);
    changed(&repository);
    repository.write(".git/ORIG_HEAD", "ref: commondir\n");
    let done = repository.gated("", &["stash", "--keep-index"]).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-outside]"), "{}", done.stderr);
    assert!(!repository.path(".git/commondir").exists());
}

/// The form that git is given keeps it from looking where the index says.
#[test]
fn an_index_for_threads_shows_nothing_from_outside() {
    let scene = scene();
    let repository = Repository(&scene);
    hiding(&repository);
    index_of_threads(&repository);
    let alone = repository.git("", &["diff"]);
    assert!(String::from_utf8_lossy(&alone.stdout).contains(HIDDEN), "the trick does not work with git alone: {alone:?}");
    let done = repository.gated("", &["diff"]).expect(0);
    assert!(!done.stdout().contains(HIDDEN));
}

/// The built-in configuration meets a filter, which is what it could not before.
#[test]
fn the_default_configuration_denies_a_filter() {
    let scene = Scene::new();
    let repository = Repository(&scene);
    filter(&repository, "[filter \"x\"]\nclean = PWN;cat");
    for args in [&["status"][..], &["diff"], &["ls-files", "-m"], &["log", "-1"]] {
        let done = repository.gated("", args).expect(126);
        assert!(done.stderr.contains("sets `filter.x.clean`, which names a program"), "{}", done.stderr);
    }
    assert!(!repository.trace().exists());
}

/// In scripts every call is hardened, and judged where it stands.
#[rstest]
#[case::from_below("cd two && git status", "repository-config")]
#[case::in_a_substitution("echo \"$(cd two; git status)\"", "repository-config")]
#[case::in_a_loop("for i in 1 2; do git add two; done", "repository-config")]
#[case::one_adds_and_one_enters("git add two && git commit -a -m x", "repository-config")]
#[case::one_changes_files_first("git rm --quiet notes.txt && cd two && git status", "repository-config")]
#[case::moved_into_the_repository("git mv notes.txt .git/commondir", "git-operand")]
#[case::moved_through_a_link("git mv notes.txt innocent", "git-operand")]
#[case::by_a_variable("export GIT_DIR=two/.git; git status", "git-variable")]
#[case::by_a_shell_variable("HOME=two; git status", "git-variable")]
#[case::without_the_ceiling("unset GIT_CEILING_DIRECTORIES; git status", "git-variable")]
#[case::written_first("echo '[core]' > .git/config; git status", "git-directory")]
#[case::written_through_a_link("echo '[core]' > innocent; git status", "git-directory")]
#[case::by_an_unknown_word("x=-C; git $x two status", "git-option")]
fn a_script_runs_nothing(#[case] script: &str, #[case] code: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    second(&repository, "two");
    symlink(".git/config", repository.path("innocent")).unwrap();
    fs::remove_file(repository.trace()).ok();
    let done = scene.portcullis(["run", "-c", script]);
    assert!(done.stderr.contains(&format!("\"harden\" [{code}]")), "{}", done.stderr);
    done.expect(126);
    assert!(!repository.trace().exists());
}

/// A directory of a branch that is a repository to whoever stands in it, and what leads to it.
fn repository_of_a_branch(repository: &Repository) {
    for name in ["d/notes", "old/x"] {
        repository.write(name, "one\n");
    }
    repository.done(&["add", "d", "old"]);
    repository.done(&["commit", "--quiet", "--message", "d"]);
    repository.done(&["switch", "--quiet", "-c", "evil"]);
    repository.done(&["rm", "--quiet", "-r", "d", "old"]);
    let config = "[core]\nrepositoryformatversion = 0\nbare = false\nworktree = ../wt\n[filter \"x\"]\nclean = PWN; cat\n";
    for (name, text) in [
        ("d/HEAD", "ref: refs/heads/main\n"),
        ("d/config", &repository.filled(config)),
        ("d/objects/x", ""),
        ("d/refs/x", ""),
        ("d/info/attributes", "* filter=x\n"),
        ("wt/g", "12345\n"),
    ] {
        repository.write(name, text);
    }
    symlink(repository.0.base().join("outside"), repository.path("old")).unwrap();
    let tree = ["--git-dir=d", "--work-tree=wt", "-c", "filter.x.clean=cat", "add", "g"];
    repository.done(&tree);
    repository.write("wt/g", "54321\n");
    repository.done(&["add", "."]);
    repository.done(&["commit", "--quiet", "--message", "evil"]);
    repository.done(&["switch", "--quiet", "main"]);
    fs::remove_file(repository.trace()).ok();
}

/// What a branch holds can be a repository, once it is checked out: a call is judged by what is there when it starts.
#[rstest]
#[case::by_switch("git switch --quiet evil && cd d && git status")]
#[case::by_checkout("git checkout --quiet evil; cd d; git diff")]
#[case::by_restore("git restore --source=evil d wt && cd d && git status")]
#[case::through_a_group("{ git switch --quiet evil; } && (cd d && git status)")]
#[case::turned_round("for i in 1 2; do (cd d && git status); git switch --quiet evil; done")]
#[case::from_below("cd d && git switch --quiet evil && git status")]
fn a_branch_that_is_a_repository_runs_nothing(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    repository_of_a_branch(&repository);
    let done = scene.portcullis(["run", "-c", script]);
    assert!(done.stderr.contains("git was not started: denied: by policy \"harden\" [repository-config]"), "{}", done.stderr);
    assert!(!repository.trace().exists());
    repository.done(&["switch", "--quiet", "--force", "main"]);
    let script = format!("cd '{}' && {{ {script}\n}}", repository.path("").display());
    let mut alone = Command::new("bash");
    alone.args(["-c", &script]).env("HOME", scene.base().join("home")).output().unwrap();
    assert!(repository.trace().exists(), "the trick does not work with git alone");
}

/// What ends with a look at all files, a repository inside among them, which has its own settings.
#[rstest]
#[case::nothing_to_commit(&["commit", "-m", "x"], "repository-config")]
#[case::quietly(&["commit", "-q", "-m", "x"], "repository-config")]
#[case::switched(&["switch", "other"], "repository-config")]
#[case::popped(&["stash", "pop"], "repository-config")]
fn a_last_look_at_the_files_runs_nothing(#[case] args: &[&str], #[case] code: &str) {
    let (alone, gated) = (scene(), scene());
    for (scene, is_gated) in [(&alone, false), (&gated, true)] {
        let repository = Repository(scene);
        repository.config("[user]\nname = Ada\nemail = ada@example.invalid");
        repository.write("n/f", "one\n");
        for args in [&["init", "--quiet"][..], &["add", "f"], &["commit", "--quiet", "--message", "n"]] {
            assert!(repository.git("n", args).status.success());
        }
        repository.done(&["add", "."]);
        repository.done(&["commit", "--quiet", "--message", "n"]);
        repository.done(&["branch", "other"]);
        repository.write("notes.txt", "changed\n");
        repository.done(&["stash", "--quiet"]);
        repository.write("n/.gitattributes", "* filter=x\n");
        repository.write("n/f", "two\n");
        let config = fs::read_to_string(repository.path("n/.git/config")).unwrap();
        repository.write("n/.git/config", &format!("{config}[filter \"x\"]\nclean = {}; cat\n", repository.pwn()));
        if is_gated {
            let done = repository.gated("", args).expect(126);
            assert!(done.stderr.contains(&format!("[{code}]")), "{}", done.stderr);
        } else {
            repository.git("", args);
        }
        assert_eq!(repository.trace().exists(), !is_gated, "{args:?}");
    }
}

/// The settings of a repository that are files of another one.
#[rstest]
#[case(&["switch", "--force", "evil"])]
#[case(&["restore", "--source=evil", "own/config"])]
#[case(&["stash", "pop"])]
fn a_repository_among_files_is_not_written(#[case] args: &[&str]) {
    let scene = scene();
    let repository = Repository(&scene);
    repository.write("n/f", "one\n");
    for args in [&["init", "--quiet", "--separate-git-dir=../own"][..], &["add", "f"], &["commit", "--quiet", "--message", "n"]] {
        assert!(repository.git("n", args).status.success());
    }
    repository.done(&["add", "own/config"]);
    repository.done(&["add", "."]);
    repository.done(&["commit", "--quiet", "--message", "n"]);
    repository.gated("", &["status"]).expect(0);
    let done = repository.gated("", args).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-inside]"), "{}", done.stderr);
}

/// The form alone keeps git from what lies there when it comes, judged or not.
#[test]
fn a_bare_repository_is_not_found_by_standing_in_it() {
    let scene = scene();
    let repository = Repository(&scene);
    repository.done(&["clone", "--quiet", "--bare", ".", "bare.git"]);
    let done = repository.gated("bare.git", &["log"]).expect(128);
    assert!(done.stderr.contains("safe.bareRepository"), "{}", done.stderr);
}

/// Files that a link in their way leads outside are not read in the same script.
#[test]
fn a_restored_link_shows_nothing_from_outside() {
    let scene = scene();
    let repository = Repository(&scene);
    repository_of_a_branch(&repository);
    fs::write(scene.base().join("outside/x"), HIDDEN).unwrap();
    let done = scene.portcullis(["run", "-c", "git restore --source=evil old && git grep -h hidden"]);
    assert!(done.stderr.contains("\"harden\" [repository-link]"), "{}", done.stderr);
    let done = scene.portcullis(["run", "-c", "git restore --source=evil old && git diff && git status && git add old/x"]);
    assert!(!done.stdout().contains(HIDDEN), "{}", done.stdout());
}

/// Whatever waits in front of git or beside it gives an agent time to make another repository of the one that was judged: each call
/// is judged by what it finds when it starts.
#[rstest]
#[case("until [ -e go ]; do sleep 0.05; done; git diff --stat")]
#[case("cat pipe; git diff --stat")]
#[case("git log -1 --format=%h | while read -r x; do cat pipe; git diff --stat; done")]
#[case("true | git diff --stat $(cat pipe; echo notes.txt)")]
#[case("x=$(cat pipe) && git diff --stat")]
#[case("for call in 1; do cat pipe; git diff --stat; done")]
fn a_repository_that_changed_while_git_waited_is_judged_again(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    named_pipe(&repository.path("pipe"));
    let running = Running::start(&mut scene.command(["run", "-c", &format!(": > begun; {script}")]));
    eventually("the script runs", || repository.path("begun").exists().then_some(()));
    let pipe = script.contains("pipe").then(|| once_read(&repository.path("pipe")));
    filter(&repository, "[filter \"x\"]\nclean = PWN;cat");
    repository.write("go", "");
    if let Some(mut pipe) = pipe {
        pipe.write_all(b"go\n").unwrap();
    }
    let done = running.done();
    assert!(done.stderr.contains("git was not started: denied: by policy \"harden\" [repository-config]"), "{}", done.stderr);
    assert!(!repository.trace().exists());
}

/// The trick with git alone: while the script waits, a filter is put into the repository.
#[test]
fn what_waits_lets_a_repository_become_another() {
    let scene = scene();
    let repository = Repository(&scene);
    let script = format!("cd '{}'; read -r x; git diff --stat", repository.path("").display());
    let mut alone = Command::new("bash");
    alone.args(["-c", &script]).env("HOME", scene.base().join("home")).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut alone = alone.spawn().unwrap();
    filter(&repository, "[filter \"x\"]\nclean = PWN;cat");
    alone.stdin.take().unwrap().write_all(b"go\n").unwrap();
    alone.wait().unwrap();
    assert!(repository.trace().exists(), "the trick does not work with git alone");
}

/// What ends at once may stand before git, beside it and behind it.
#[rstest]
#[case("echo '== status'; git status --short; echo '== diff'; git diff --stat")]
#[case("pwd && ls -la && git log --oneline -5")]
#[case("cat notes.txt && head -n 2 notes.txt && tail -n +2 notes.txt && wc -l notes.txt && git status")]
#[case("grep -n one notes.txt; git diff --stat")]
#[case("wc -l < notes.txt; whoami; git status --short")]
#[case("git add -A && git commit -q -m \"$(cat <<'EOF'\nPlant a tree\n\nIt had none.\nEOF\n)\" && git status --short")]
#[case("git commit -q --allow-empty -m \"$(cat <<< 'Plant a tree')\"")]
#[case("git log --oneline | head -5; git status --short | grep -c notes; git diff --stat | wc -l")]
#[case("git ls-files | sort -r | uniq -c | awk '{print $2}' | sed 's/x/y/'")]
#[case("git ls-files | while read -r file; do echo \"$file\"; done")]
#[case("test -f notes.txt && git diff --name-only 2>/dev/null > out.txt; cat out.txt")]
#[case("if git diff --quiet; then echo clean; else cat notes.txt; fi")]
#[case("for name in one two; do git log -1 --format=%h; printf '%-10s|\\n' \"$name\"; done")]
#[case("git switch -q -c x && cat notes.txt && sleep 0")]
#[case("git log --oneline --grep plant; git status; git grep -n one; git status")]
#[case("grep -rn one . | wc -l; find . -name '*.rs' | wc -l; date; sed -n 1,20p notes.txt; stat notes.txt; git status --short")]
#[case("git log --oneline | awk '{print $1}' | tr a-f A-F | cut -c1-7 | sort | uniq; git diff --stat")]
#[case("git stash -q && grep -n one notes.txt && git diff --stat && sort -k 1 notes.txt && git mv notes.txt n && git rm -q n")]
#[case("git stash -q && git log --oneline | grep -i plant | head -n 3 && ls && cd src && pwd")]
fn git_has_company(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    fs::write(scene.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
    repository.write("src/main.rs", "");
    changed(&repository);
    let done = scene.portcullis(["check", script]);
    assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout(), done.stderr);
}

/// A branch `evil` with a link where others have a file or nothing, one `other` with a file below that link, and what lies behind
/// it.
fn links_of_a_branch(repository: &Repository) {
    let outside = repository.0.base().join("outside");
    fs::write(outside.join("hidden"), format!("{HIDDEN}\n")).unwrap();
    repository.done(&["switch", "--quiet", "-c", "other"]);
    repository.write("d/hidden", "x\n");
    repository.done(&["add", "d"]);
    repository.done(&["commit", "--quiet", "--message", "other"]);
    repository.done(&["switch", "--quiet", "-c", "evil", "main"]);
    replaced(repository, "notes.txt", "OUTSIDE/hidden");
    replaced(repository, "d", "OUTSIDE");
    repository.write("payload", "payload\n");
    repository.done(&["add", "."]);
    repository.done(&["commit", "--quiet", "--message", "evil"]);
    repository.done(&["switch", "--quiet", "main"]);
}

/// What a call of git puts somewhere may be a link. Whatever names it is judged by where it leads when that starts; what the shell
/// would open by itself is refused with the script.
#[rstest]
#[case("git switch -q evil && cat notes.txt", "allowlist")]
#[case("git switch -q evil; head -1 notes.txt", "allowlist")]
#[case("git checkout -q -b x evil && cat notes.txt", "allowlist")]
#[case("for i in 1 2; do cat notes.txt; git switch -q evil; done", "allowlist")]
#[case("git switch -q evil && grep -h hidden notes.txt", "allowlist")]
#[case("git switch -q evil && ls d", "allowlist")]
#[case("git switch -q evil && git mv payload d/written", "allowlist")]
#[case("git reset -q other && git commit -q -m x d/hidden && git show HEAD:d/hidden", "allowlist")]
#[case("git switch -q evil && git reset -q other && git mv d/hidden stolen && cat stolen", "harden")]
#[case("git restore -q --source=evil . ; while read -r l; do echo \"$l\"; done < notes.txt", "read-after-git")]
#[case("git switch -q evil && { cat; } < notes.txt", "read-after-git")]
#[case("git switch -q evil && x=$(<notes.txt) && echo \"$x\"", "read-after-git")]
#[case("git switch -q evil && git log -1 > d/written", "read-after-git")]
#[case("git switch -q evil | cat - notes.txt", "read-after-git")]
#[case("{ git switch -q evil; sleep 1; } | cat - notes.txt", "read-after-git")]
#[case("cat <(git switch -q evil; sleep 1) notes.txt", "read-after-git")]
#[case("{ sleep 1; cat notes.txt; } & git switch -q evil; wait", "read-after-git")]
#[case("git switch -q evil && echo d/*", "read-after-git")]
#[case("git switch -q evil && x='d/*' && echo $x", "read-after-git")]
fn a_link_of_a_branch_leads_nowhere(#[case] script: &str, #[case] by: &str) {
    let (alone, gated) = (scene(), if by == "read-after-git" { scene() } else { gated_scene() });
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    for repository in [&alone, &gated] {
        links_of_a_branch(repository);
        fs::write(repository.0.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
        if script.contains("reset -q other && git commit") {
            replaced(repository, "d", "OUTSIDE");
        }
    }
    let outside = |repository: &Repository| repository.0.base().join("outside");
    let is_whole = |repository: &Repository| {
        let names = fs::read_dir(outside(repository)).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names == ["hidden"]
    };
    let mut bash = Command::new("bash");
    let said = bash.args(["-c", script]).current_dir(alone.path("")).env("HOME", alone.0.base().join("home")).output().unwrap();
    let shown = String::from_utf8_lossy(&said.stdout);
    let does_it = shown.contains("hidden") || !is_whole(&alone);
    assert!(does_it, "the trick does not work with git alone: {said:?}");

    let done = gated.0.portcullis(["run", "-c", script]);
    let said = match by {
        "read-after-git" => "\"harden\" [read-after-git]".to_owned(),
        policy => format!("by policy \"{policy}\""),
    };
    assert!(done.stderr.contains(&said), "{}", done.stderr);
    assert!(is_whole(&gated) && !done.stdout().contains("hidden"));
}

/// What only tells what it would do may stand beside what reads.
#[rstest]
#[case("git rm -n notes.txt | cat")]
#[case("git rm -n -r d; cat < notes.txt")]
#[case("git mv -n notes.txt d/y && { cat; } < notes.txt")]
fn what_is_rehearsed_changes_nothing(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    repository.write("d/x", "x");
    repository.done(&["add", "d"]);
    let seen =
        || (repository.git("", &["status", "--porcelain"]).stdout, fs::read_to_string(repository.path("notes.txt")).unwrap());
    let before = seen();
    scene.portcullis(["run", "-c", script]).expect(0);
    assert_eq!(seen(), before);
}

/// A list of conflicts that names a file outside.
fn recorded(repository: &Repository, path: &str) {
    let id = "0123456789abcdef0123456789abcdef01234567";
    repository.write(&format!(".git/rr-cache/{id}/preimage"), "x\n");
    repository.write(".git/MERGE_RR", &format!("{id}\t{}\0", repository.filled(path)));
}

/// `commit` would record how a conflict there was resolved.
#[rstest]
#[case("OUTSIDE/hidden")]
#[case("../outside/hidden")]
fn a_list_of_conflicts_shows_nothing_from_outside(#[case] path: &str) {
    let (alone, gated) = (scene(), scene());
    let (alone, gated) = (Repository(&alone), Repository(&gated));
    let of = |repository: &Repository| {
        let entry = fs::read_dir(repository.path(".git/rr-cache")).unwrap().next().unwrap().unwrap();
        fs::read_to_string(entry.path().join("postimage")).unwrap_or_default()
    };
    for repository in [&alone, &gated] {
        fs::write(repository.0.base().join("outside/hidden"), HIDDEN).unwrap();
        recorded(repository, path);
    }
    alone.done(&["commit", "--quiet", "--allow-empty", "--message", "x"]);
    assert_eq!(of(&alone), HIDDEN, "the trick does not work with git alone");
    gated.config("[user]\nname = Ada\nemail = ada@example.invalid");
    gated.gated("", &["commit", "--quiet", "--allow-empty", "-m", "x"]).expect(0);
    assert_eq!(of(&gated), "");
}

/// What a merge set aside comes back with the commit, and may be a link.
#[test]
fn a_commit_puts_nothing_back() {
    let scene = scene();
    let repository = Repository(&scene);
    links_of_a_branch(&repository);
    repository.config("[user]\nname = Ada\nemail = ada@example.invalid");
    repository.write("more", "");
    repository.done(&["add", "more"]);
    repository.done(&["commit", "--quiet", "--message", "more"]);
    replaced(&repository, "notes.txt", "OUTSIDE/hidden");
    let stash = String::from_utf8(repository.git("", &["stash", "create"]).stdout).unwrap();
    repository.done(&["restore", "."]);
    let id = |name: &str| String::from_utf8(repository.git("", &["rev-parse", name]).stdout).unwrap();
    let plant = || {
        repository.write(".git/MERGE_AUTOSTASH", &stash);
        repository.write(".git/MERGE_HEAD", &id("HEAD~1"));
        repository.write(".git/MERGE_MSG", "m\n");
    };
    plant();
    let script = "git commit -q -m x && cat notes.txt";
    let done = scene.portcullis(["run", "-c", script]).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-merge]"), "{}", done.stderr);
    repository.gated("", &["status"]).expect(0);
    repository.done(&["commit", "--quiet", "--message", "x"]);
    assert!(
        fs::read_to_string(repository.path("notes.txt")).unwrap().contains("hidden"),
        "the trick does not work with git alone"
    );
}

/// Which files a branch has is looked at anew by `checkout -b` where not all are checked out.
#[test]
fn a_new_branch_brings_no_links() {
    let scene = gated_scene();
    let repository = Repository(&scene);
    fs::write(scene.base().join("outside/hidden"), HIDDEN).unwrap();
    symlink(scene.base().join("outside/hidden"), repository.path("l")).unwrap();
    repository.done(&["add", "."]);
    repository.done(&["commit", "--quiet", "--message", "l"]);
    repository.done(&["config", "core.sparseCheckout", "true"]);
    repository.write(".git/info/sparse-checkout", "/*\n!/l\n");
    repository.done(&["read-tree", "-mu", "HEAD"]);
    repository.write(".git/info/sparse-checkout", "/*\n");
    assert!(!repository.path("l").exists());
    repository.done(&["switch", "--quiet", "-c", "x"]);
    assert!(!repository.path("l").exists(), "`switch -c` changes no file");
    let done = scene.portcullis(["run", "-c", "git checkout -q -b y && cat l"]).expect(126);
    assert!(done.stderr.contains("cat was not started: denied: by policy \"allowlist\""), "{}", done.stderr);
    assert!(repository.path("l").exists(), "the trick does not work with git alone");
}

/// One directory with more files than anyone lists: `add` says so instead of taking its time.
#[test]
fn a_crowded_directory_is_not_listed() {
    let scene = scene();
    let repository = Repository(&scene);
    fs::create_dir(repository.path("crowd")).unwrap();
    let name = "x".repeat(240);
    (0..17_000).for_each(|at| drop(fs::File::create(repository.path(&format!("crowd/{name}{at}"))).unwrap()));
    let done = repository.gated("", &["add", "."]).expect(126);
    assert!(done.stderr.contains("\"harden\" [tree-too-large]") || done.stderr.contains("too large"), "{}", done.stderr);
}

/// What an agent does daily, one call behind the other.
#[rstest]
#[case("git switch -c x && git add . && git commit -m y", "git log --format=%s -2", "y\nPlant the first tree\n")]
#[case("git checkout -b feat && git add -A && git commit -qm x && git status --short", "git log --format=%s -1", "x\n")]
#[case("git add notes.txt && git add src && git status", "git diff --cached --name-only", "notes.txt\nsrc/new\n")]
#[case("git stash && git switch other", "git branch --show-current", "other\n")]
#[case("git stash push && git switch other && git log -1 --oneline", "git stash list --format=%gs", "WIP on main: 1\n")]
#[case("git stash && git stash pop && git diff --stat", "git stash list", "")]
#[case("git status && git diff", "git diff --name-only", "notes.txt\n")]
#[case("git mv notes.txt n.txt && git commit -m moved", "git log --format=%s -1", "moved\n")]
#[case("git rm -q --cached notes.txt && git status --short && git commit -m gone", "git ls-files", "")]
#[case("git restore notes.txt && git status --short | head -5", "git diff", "")]
#[case("git add . && git commit -am all && git log -1", "git status --short", "")]
#[case("for f in notes.txt src; do git add \"$f\"; done", "git diff --cached --name-only", "notes.txt\nsrc/new\n")]
fn calls_may_follow_each_other(#[case] script: &str, #[case] look: &str, #[case] wanted: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    fs::write(scene.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
    repository.done(&["branch", "other"]);
    changed(&repository);
    repository.write("src/new", "");
    let done = scene.portcullis(["run", "-c", script]);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    let output = repository.git("", &look.split(' ').skip(1).collect::<Vec<_>>());
    let output = String::from_utf8(output.stdout).unwrap();
    let is_stash = |text: &str| text.starts_with("WIP on main: ") && wanted.starts_with("WIP on main: ");
    assert!(output == wanted || is_stash(&output), "{output}");
}

/// The files of a repository by any name: the user's own git would run what they say.
#[rstest]
#[case("echo x >> .bare/config")]
#[case("echo x > .bare/hooks/post-commit")]
#[case("ls > .bare/worktrees/tree/config.worktree")]
#[case("cd .bare && echo x > config")]
fn nothing_is_written_into_a_repository(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    repository.done(&["clone", "--quiet", "--bare", ".", ".bare"]);
    repository.done(&["-C", ".bare", "worktree", "add", "--quiet", "tree", "main"]);
    let done = scene.portcullis(["run", "-c", script]).expect(126);
    assert!(done.stderr.contains("\"harden\" [git-directory]"), "{}", done.stderr);
    scene.portcullis(["run", "-c", "mkdir -p objects && echo x > objects/HEAD"]).expect(0);
}

/// The index of several packs names packs anywhere, with git alone.
#[test]
fn an_index_of_packs_shows_nothing_from_outside() {
    let scene = scene();
    let repository = Repository(&scene);
    let id = hiding(&repository);
    let outside = scene.base().join("outside").display().to_string();
    repository.done(&["-C", &outside, "repack", "-adq"]);
    repository.done(&["-C", &outside, "multi-pack-index", "write"]);
    let packs = scene.base().join("outside/.git/objects/pack");
    let index = fs::read(packs.join("multi-pack-index")).unwrap();
    let index = with_packs_in(&index, "../../../../outside/.git/objects/pack/");
    fs::write(repository.path(".git/objects/pack/multi-pack-index"), index).unwrap();
    let args = ["cat-file", "-p", id.trim()];
    let alone = repository.git("", &args);
    assert!(String::from_utf8_lossy(&alone.stdout).contains(HIDDEN), "the trick does not work with git alone: {alone:?}");
    let done = repository.gated("", &args).expect(128);
    assert!(!done.stdout().contains(HIDDEN));
}

/// The index of packs with this in front of the name of its only one.
fn with_packs_in(index: &[u8], directory: &str) -> Vec<u8> {
    let count = usize::from(index[6]);
    let number = |at: usize| usize::try_from(u64::from_be_bytes(index[at..at + 8].try_into().unwrap())).unwrap();
    let chunk = |at: usize| (&index[12 + 12 * at..16 + 12 * at], number(16 + 12 * at));
    let (mut table, mut body) = (index[..12].to_vec(), Vec::new());
    let start = 12 + 12 * (count + 1);
    let place = |body: &Vec<u8>| u64::try_from(start + body.len()).unwrap().to_be_bytes();
    for at in 0..count {
        let (name, from) = chunk(at);
        table.extend([name, place(&body).as_slice()].concat());
        let content = &index[from..chunk(at + 1).1];
        if name == b"PNAM" {
            body.extend([directory.as_bytes(), content].concat());
            body.resize(body.len().next_multiple_of(4), 0);
        } else {
            body.extend(content);
        }
    }
    table.extend([[0; 4].as_slice(), place(&body).as_slice()].concat());
    [table, body, vec![0; 20]].concat()
}

/// git would say which commit is checked out there, and with it how to read it.
#[rstest]
#[case("git add -A")]
#[case("git add sub")]
#[case("git add .")]
#[case("git stash push --include-untracked")]
fn a_directory_that_leads_outside_is_not_added(#[case] script: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    hiding(&repository);
    repository.write("sub/.git", &repository.filled("gitdir: OUTSIDE/.git\n"));
    let done = scene.portcullis(["run", "-c", script]).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-outside]"), "{}", done.stderr);
}

#[rstest]
#[case("B=HEAD; git log --oneline \"$B\" | wc -l", "1\n")]
#[case("for i in HEAD main; do git rev-parse --abbrev-ref \"$i\"; done", "main\nmain\n")]
#[case(
    "git add notes.txt && git commit --quiet -m \"$(printf 'a b')\" && git log -1 --format=%s > out.txt; cat out.txt",
    "a b\n"
)]
fn a_script_with_git_does_what_it_says(#[case] script: &str, #[case] output: &str) {
    let scene = scene();
    let repository = Repository(&scene);
    changed(&repository);
    fs::write(scene.base().join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.invalid\n").unwrap();
    let done = scene.portcullis(["run", "-c", script]).expect(0);
    assert_eq!(done.stdout(), output, "{}", done.stderr);
}

/// A pipe where a file is expected: looked at, never opened.
#[test]
fn a_pipe_in_the_repository_is_not_waited_for() {
    let scene = scene();
    let repository = Repository(&scene);
    fs::remove_file(repository.path(".git/config")).unwrap();
    named_pipe(&repository.path(".git/config"));
    let done = repository.gated("", &["status"]).expect(126);
    assert!(done.stderr.contains("\"harden\" [repository-unreadable]"), "{}", done.stderr);
}

#[test]
fn a_policy_without_its_grant_denies_git_and_says_so() {
    let scene = scene();
    scene.configure(&fs::read_to_string(scene.config_file()).unwrap().replace("grants = { read = [\"roots\"] }\n", ""));
    let done = Repository(&scene).gated("", &["status"]).expect(126);
    assert!(done.stderr.contains("[not-granted]") && done.stderr.contains("grants = { read"), "{}", done.stderr);
}

/// A filter as git-lfs has one, in the user's own configuration.
fn own_filter(r: &Repository) {
    let config = "[filter \"lfs\"]\nclean = tr a-z A-Z\nsmudge = tr A-Z a-z\nrequired = true\n[alias]\nst = status\n[core]\npager = less\n";
    fs::write(r.0.base().join("home/.gitconfig"), config).unwrap();
    r.write(".gitattributes", "*.big filter=lfs\n");
    r.write("a.big", "content\n");
    r.done(&["add", "a.big", ".gitattributes"]);
    r.done(&["commit", "--quiet", "--message", "large"]);
    r.write("a.big", "changed\n");
}

fn submodule(r: &Repository) {
    let from = r.path("").display().to_string();
    r.done(&["clone", "--quiet", "--bare", &from, "library.git"]);
    r.done(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./library.git", "library"]);
    r.done(&["commit", "--quiet", "--message", "library", "library", ".gitmodules"]);
}

fn configured_daily(r: &Repository) {
    for setting in [
        ["core.autocrlf", "input"],
        ["core.hooksPath", ".husky/_"],
        ["core.fsmonitor", "true"],
        ["remote.origin.url", "git@example.invalid:a/b.git"],
        ["remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"],
        ["remote.origin.gh-resolved", "base"],
        ["branch.main.remote", "origin"],
        ["branch.main.merge", "refs/heads/main"],
        ["branch.main.vscode-merge-base", "origin/main"],
        ["user.email", "ada@example.invalid"],
        ["pull.rebase", "true"],
        ["rerere.enabled", "true"],
        ["blame.ignoreRevsFile", ".git-blame-ignore-revs"],
        ["filter.lfs.clean", "git-lfs clean -- %f"],
        ["filter.lfs.process", "git-lfs filter-process"],
        ["lfs.repositoryformatversion", "0"],
        ["commit.gpgSign", "false"],
        ["color.diff.meta", "yellow bold"],
        ["http.https://github.com/.extraheader", "AUTHORIZATION: basic eDp4"],
    ] {
        r.done(&["config", setting[0], setting[1]]);
    }
    r.write(".git-blame-ignore-revs", "");
    r.executable(".git/hooks/pre-commit", "#!/bin/sh\nexit 1\n");
    changed(r);
}

#[rstest]
#[case::plain(|r: &Repository| changed(r), "")]
#[case::below(|r: &Repository| { r.write("src/deep/file", "x"); changed(r) }, "src/deep")]
#[case::configured_daily(configured_daily, "")]
#[case::worktree(|r: &Repository| { r.done(&["worktree", "add", "--quiet", "tree"]); r.write("tree/notes.txt", "other\n") }, "tree")]
#[case::with_worktrees(|r: &Repository| { r.done(&["config", "extensions.worktreeConfig", "true"]); r.done(&["worktree", "add", "--quiet", "tree"]); r.done(&["config", "--worktree", "core.sparseCheckout", "false"]); changed(r) }, "")]
#[case::submodule(|r: &Repository| { submodule(r); r.write("library/notes.txt", "other\n") }, "library")]
#[case::borrowed_objects(|r: &Repository| { r.done(&["clone", "--quiet", "--shared", ".", "copy"]); r.write("copy/notes.txt", "other\n") }, "copy")]
#[case::packed(|r: &Repository| { r.done(&["gc", "--quiet"]); changed(r) }, "")]
fn an_ordinary_repository_looks_as_it_does_without(#[case] plant: fn(&Repository), #[case] directory: &str) {
    looks_the_same(&scene(), plant, directory);
}

#[test]
fn filters_of_the_user_run_where_git_is_not_confined() {
    looks_the_same(&unconfined_scene(), own_filter, "");
}

fn looks_the_same(scene: &Scene, plant: fn(&Repository), directory: &str) {
    let repository = Repository(scene);
    plant(&repository);
    let commands = [
        &["log", "--stat"][..],
        &["status", "--short"],
        &["diff"],
        &["show", "HEAD"],
        &["blame", "HEAD", "--", "notes.txt"],
        &["branch", "-a"],
    ];
    for args in commands {
        let alone = repository.git(directory, args);
        let done = repository.gated(directory, args).expect(alone.status.code().unwrap());
        assert_eq!(done.stdout(), String::from_utf8_lossy(&alone.stdout), "git {args:?}");
    }
}

/// What developers have there daily, and what only has git execute something.
const EXECUTING: &str = "
[alias]\nst = status\nlg = !git log
[credential \"https://example.invalid\"]\nhelper = store
[core]\nalternateRefsCommand = true
[diff]\ntool = vimdiff
[diff \"x\"]\ntextconv = cat
[difftool]\nprompt = false
[gpg]\nprogram = gpg2
[merge]\ntool = vimdiff
[merge \"x\"]\ndriver = true
[mergetool \"vimdiff\"]\ncmd = vimdiff
[pager]\nlog = less
[sequence]\neditor = vim
";

/// Where git executes nothing, it may be told what to execute.
#[test]
fn settings_that_only_execute_are_fine_where_nothing_can_be() {
    let scene = scene();
    looks_the_same(&scene, |repository| driver(repository, EXECUTING), "");
    for args in [&["commit", "-m", "x"][..], &["stash"], &["st"], &["diff", "--submodule"]] {
        let done = Repository(&scene).gated("", args).expect(126);
        assert!(done.stderr.contains("\"harden\" [repository-config]"), "git {args:?}: {}", done.stderr);
    }
    let script = "git status; git add notes.txt";
    assert!(scene.portcullis(["run", "-c", script]).expect(126).stderr.contains("repository-config"));
}

#[test]
fn settings_that_only_execute_are_denied_where_git_is_not_confined() {
    for line in EXECUTING.lines().filter(|line| line.starts_with('[')) {
        let scene = unconfined_scene();
        let (section, rest) = EXECUTING.split_once(line).map(|(_, rest)| (line, rest)).unwrap();
        let settings = rest.trim_start().lines().take_while(|line| !line.starts_with('[')).collect::<Vec<_>>().join("\n");
        Repository(&scene).config(&format!("{section}\n{settings}"));
        let done = Repository(&scene).gated("", &["log"]).expect(126);
        assert!(done.stderr.contains("\"harden\" [repository-config]"), "{line}: {}", done.stderr);
    }
}

/// Where there is no repository there is nothing to judge, and git says so itself.
#[test]
fn no_repository_is_no_reason_to_deny() {
    let scene = scene();
    let repository = Repository(&scene);
    fs::remove_dir_all(repository.path(".git")).unwrap();
    let done = repository.gated("", &["status"]).expect(128);
    assert!(done.stderr.contains("not a git repository"), "{}", done.stderr);
    assert!(Path::new(&repository.path("notes.txt")).exists());
}
