use std::{cell::RefCell, fs, os::unix::fs::symlink, path::Path};

use portcullis_sdk::{
    Expansion, Word,
    harness::{World, configure},
};
use tempfile::TempDir;

use super::{
    config::{Setting, parse},
    files::{Kind, Trouble, native::Grants},
    git::{PREFIX, VARIABLES, switches},
    harmless::{allowed, only_executes},
    index::{Fault, Index},
    repository::{Executes, Look, Reach},
    *,
};

fn policy(settings: &str) -> Harden {
    configure(settings).unwrap()
}

fn no_files() -> Grants {
    Grants::new(Vec::new())
}

/// Repositories are not looked at here, which is told apart from a refusal of the command.
fn verdict(policy: &Harden, request: &Request) -> Verdict {
    match policy.judge(request, no_files) {
        Err(refusal) if refusal.code == "not-granted" => Verdict::Abstain,
        verdict => verdict.unwrap_or_else(|refusal| Verdict::deny(refusal.code, refusal.message)),
    }
}

fn rewritten(policy: &Harden, request: Request) -> Request {
    match verdict(policy, &request) {
        Verdict::Rewrite(rewrite) => World::new().apply(&request, &rewrite),
        Verdict::Abstain => request,
        other => panic!("{other:?}"),
    }
}

fn hardened(command: &[&str]) -> Request {
    rewritten(&policy("{}"), World::new().request(command))
}

fn words(request: &Request) -> Vec<String> {
    let args = request.nodes[0].args.iter();
    args.map(|arg| arg.text().map_or_else(|| "?".to_owned(), str::to_owned)).collect()
}

fn behind_prefix(command: &[&str]) -> Vec<String> {
    let words = words(&hardened(command));
    assert_eq!(&words[..PREFIX.len()], PREFIX);
    words[PREFIX.len()..].to_vec()
}

fn denied(settings: &str, request: &Request) -> String {
    match verdict(&policy(settings), request) {
        Verdict::Deny(reason) => reason.code,
        other => panic!("{other:?}"),
    }
}

fn dynamic(request: &mut Request, at: usize) {
    let expansion = Expansion { source: "\"$B\"".to_owned(), prefix: String::new(), one_word: true };
    request.nodes[0].args[at].word = Word::Dynamic(expansion);
    request.nodes[0].args[at].places.clear();
}

// The form.

#[test]
fn git_gets_the_prefix_and_its_switches() {
    assert_eq!(behind_prefix(&["git", "log", "-3"]), ["log", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "-3"]);
    assert_eq!(behind_prefix(&["git", "rev-parse", "HEAD"]), ["rev-parse", "HEAD"]);
    assert_eq!(behind_prefix(&["git"]), [""; 0]);
    assert_eq!(hardened(&["git", "status"]).nodes[0].assignments.len(), VARIABLES.len());
}

#[test]
fn what_is_hardened_is_left_alone() {
    for command in [
        &["git", "log", "-3"][..],
        &["git"],
        &["git", "--version"],
        &["git", "--no-pager", "log"],
        &["git", "--no-pager", "--no-pager", "diff"],
        &["git", "commit", "-m", "log"],
        &["GIT_PAGER=x", "git", "show"],
        &["cargo", "--version"],
    ] {
        assert_eq!(verdict(&policy("{}"), &hardened(command)), Verdict::Abstain, "{command:?}");
    }
}

fn executes(request: &Request) -> Option<Vec<&str>> {
    request.nodes[0].executes.as_ref().map(|paths| paths.iter().map(String::as_str).collect())
}

#[test]
fn git_executes_git_alone_and_only_where_it_must() {
    let own = Some(vec!["/usr/lib/git-core/git", "/usr/libexec/git-core/git"]);
    for (command, expected) in [
        (&["git", "status"][..], Some(vec![])),
        (&["git", "--no-pager", "log", "-3"], Some(vec![])),
        (&["git", "branch", "-a"], Some(vec![])),
        (&["git", "--version"], Some(vec![])),
        (&["git"], Some(vec![])),
        (&["git", "diff", "--submodule"], own.clone()),
        (&["git", "commit", "-m", "x"], own.clone()),
        (&["git", "stash", "pop"], own.clone()),
        (&["git", "no-such-command"], own.clone()),
        (&["ls", "git"], None),
    ] {
        assert_eq!(executes(&hardened(command)), expected, "{command:?}");
    }
}

#[test]
fn what_is_confined_is_confined_no_less() {
    let hardened = |own: &[&str], settings: &str| {
        let mut request = World::new().request(&["git", "stash"]);
        request.nodes[0].executes = Some(own.iter().map(|path| (*path).to_owned()).collect());
        rewritten(&policy(settings), request).nodes[0].executes.clone().unwrap()
    };
    assert_eq!(hardened(&[], "{}"), [""; 0]);
    assert_eq!(hardened(&["/usr/lib"], "{}"), ["/usr/lib/git-core/git"]);
    assert_eq!(hardened(&["/usr/lib/git-core/git"], "{}"), ["/usr/lib/git-core/git"]);
    assert_eq!(hardened(&["/opt"], r#"{"exec_paths":["/usr/bin"]}"#), [""; 0]);
}

#[test]
fn git_stays_in_the_roots_but_for_what_is_its_own() {
    let opens = |settings: &str, home: &str| {
        let mut request = World::new().request(&["git", "status"]);
        request.env = vec![("HOME".to_owned(), home.to_owned())];
        rewritten(&policy(settings), request).nodes[0].opens.clone()
    };
    let own = opens(r#"{"read_paths":["/srv/ca.pem"]}"#, "/home//ada/").unwrap();
    for path in [
        "/etc/gitconfig",
        "/home/ada/.gitconfig",
        "/home/ada/.config/git/ignore",
        "/home/ada/.gitignore_global",
        "/srv/ca.pem",
        "/usr/share",
    ] {
        assert!(own.iter().any(|known| known == path), "{path}: {own:?}");
    }
    assert!(!own.iter().any(|path| ["/", "/home/ada", "/home/ada/.config"].contains(&path.as_str())), "{own:?}");
    assert!(opens("{}", "/home/../x").unwrap().iter().all(|path| !path.contains("..")));
    assert_eq!(opens(r#"{"confine":false}"#, "/home/ada"), None);
    assert_eq!(configure::<Harden>(r#"{"read_paths":["x"]}"#).err().unwrap()[0].path, "read_paths.0");
}

#[test]
fn what_git_executes_is_as_the_settings_say() {
    let confined =
        |settings: &str| rewritten(&policy(settings), World::new().request(&["git", "status"])).nodes[0].executes.clone();
    assert_eq!(confined(r#"{"confine":false}"#), None);
    assert_eq!(confined(r#"{"exec_paths":["/usr/bin/git-lfs"]}"#), Some(vec!["/usr/bin/git-lfs".to_owned()]));
    for path in ["bin", "/usr/../bin", "/usr//bin", "/usr/bin/", "/", ""] {
        let errors = configure::<Harden>(&format!(r#"{{"exec_paths":["/bin",{path:?}]}}"#)).err().unwrap();
        assert_eq!(errors[0].path, "exec_paths.1", "{path}");
    }
}

#[test]
fn half_a_prefix_or_half_the_switches_are_not_the_form() {
    assert_eq!(behind_prefix(&["git", "--no-pager", "log"])[..2], ["log", "--no-ext-diff"]);
    assert_eq!(
        behind_prefix(&["git", "log", "--no-ext-diff"])[1..],
        ["--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--no-ext-diff"]
    );
    let with_prefix: Vec<_> = ["git"].iter().chain(PREFIX).chain(&["show"]).copied().collect();
    assert_eq!(behind_prefix(&with_prefix), ["show", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"]);
}

#[test]
fn arguments_that_only_the_shell_can_tell_are_kept_by_index() {
    let mut request = World::new().request(&["git", "log", "-3", "$B"]);
    dynamic(&mut request, 2);
    let Verdict::Rewrite(rewrite) = verdict(&policy("{}"), &request) else { panic!() };
    let next = World::new().apply(&request, &rewrite);
    assert_eq!(words(&next)[PREFIX.len()..], ["log", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "-3", "?"]);
    assert_eq!(verdict(&policy("{}"), &next), Verdict::Abstain);
}

#[test]
fn redirections_change_nothing() {
    let mut request = World::new().request(&["git", "log"]);
    request.nodes[0].redirects.push(portcullis_sdk::Redirect {
        fd: 1,
        mode: portcullis_sdk::RedirectMode::Write,
        target: Word::Literal("log.txt".to_owned()),
        place: None,
    });
    assert!(matches!(verdict(&policy("{}"), &request), Verdict::Rewrite(_)));
}

#[test]
fn what_leads_git_elsewhere_is_denied() {
    for command in [
        &["git", "-C", "/tmp", "log"][..],
        &["git", "-c", "core.fsmonitor=x", "status"],
        &["git", "--git-dir=/tmp/x", "log"],
        &["git", "--no-pager", "--work-tree", "/", "status"],
        &["git", "--exec-path=/work", "log"],
        &["git", "-p", "log"],
    ] {
        assert_eq!(denied("{}", &World::new().request(command)), "git-option", "{command:?}");
    }
    let with_more: Vec<_> = ["git"].iter().chain(PREFIX).chain(&["-c", "core.fsmonitor=x", "status"]).copied().collect();
    assert_eq!(denied("{}", &World::new().request(&with_more)), "git-option");
    for variable in
        ["GIT_DIR=x", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_GLOBAL=x", "HOME=/work", "XDG_CONFIG_HOME=/work", "PATH=/work"]
    {
        assert_eq!(denied("{}", &World::new().request(&[variable, "git", "log"])), "git-variable", "{variable}");
    }
    assert!(matches!(
        verdict(&policy("{}"), &World::new().request(&["GIT_AUTHOR_NAME=Ada", "git", "commit", "-m", "x"])),
        Verdict::Rewrite(_)
    ));
    let mut request = World::new().request(&["git", "log"]);
    dynamic(&mut request, 0);
    assert_eq!(denied("{}", &request), "git-option");
}

#[test]
fn what_leads_git_elsewhere_from_another_command_is_denied() {
    let world = World::new();
    let script = |words: &[&str]| {
        let mut request = world.request(words);
        request.nodes[0].builtin = true;
        request.nodes[0].resolved = None;
        request.nodes.extend(world.request(&["git", "log"]).nodes);
        request
    };
    assert_eq!(denied("{}", &script(&["export", "GIT_DIR=x"])), "git-variable");
    assert_eq!(denied("{}", &script(&["export", "HOME"])), "git-variable");
    assert!(matches!(verdict(&policy("{}"), &script(&["export", "B=GIT_DIR"])), Verdict::Rewrite(_)));
    let mut request = script(&["true"]);
    request.nodes[0].program = None;
    request.nodes[0].assignments.push(("HOME".to_owned(), Word::Literal("x".to_owned())));
    assert_eq!(denied("{}", &request), "git-variable");
}

#[test]
fn variables_of_the_client_are_replaced() {
    let request = hardened(&["GIT_PAGER=touch x", "git", "log"]);
    assert!(!request.nodes[0].assignments.iter().any(|(_, value)| *value == Word::Literal("touch x".to_owned())));
}

#[test]
fn other_programs_are_not_touched() {
    assert_eq!(verdict(&policy("{}"), &World::new().request(&["ls", "git"])), Verdict::Abstain);
    assert_eq!(verdict(&policy("{}"), &World::new().request(&["npm", "ci"])), Verdict::Abstain);
    let own = World::new().request(&["./git", "status"]);
    assert_eq!(verdict(&policy("{}"), &own), Verdict::Abstain, "the allowlist refuses it");
}

#[test]
fn searches_show_nothing_of_lists_of_files() {
    const FORM: &str = "--no-ignore-messages";
    for (command, expected) in [
        (&["rg", "x"][..], &[FORM, "x"][..]),
        (&["rg"], &[FORM]),
        (&["rg", FORM, "x"], &[FORM, "x"]),
        (&["rg", "-n", FORM, "x"], &[FORM, "-n", FORM, "x"]),
        (&["rg", "--", "x"], &[FORM, "--", "x"]),
    ] {
        let hardened = hardened(command);
        assert_eq!(words(&hardened), expected, "{command:?}");
        assert_eq!(verdict(&policy("{}"), &hardened), Verdict::Abstain, "{command:?}");
    }
    for command in [&["rg", "--ignore-messages", "x"][..], &["rg", FORM, "x", "--ignore-messages"]] {
        assert_eq!(denied("{}", &World::new().request(command)), "ignore-messages", "{command:?}");
    }
    let pack: toml::Table = include_str!("../../allowlist/packs/coreutils-read.toml").parse().unwrap();
    assert_eq!(pack["programs"]["rg"]["prefix"], toml::Value::from(vec![FORM]));
}

#[test]
fn the_packs_of_the_allowlist_want_this_very_form() {
    const READ: &str = include_str!("../../allowlist/packs/git-read.toml");
    const WRITE: &str = include_str!("../../allowlist/packs/git-write.toml");
    for pack in [READ, WRITE] {
        let pack: toml::Table = pack.parse().unwrap();
        let git = &pack["programs"]["git"];
        assert_eq!(git["prefix"], toml::Value::from(PREFIX.to_vec()));
        let variables: toml::Table = VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        assert_eq!(git["prefix-env"], toml::Value::from(variables));
        for (name, command) in git["commands"].as_table().unwrap() {
            let parts = command.get("with").into_iter().flat_map(|with| with.as_array().unwrap());
            let rules = parts.map(|part| &pack["parts"][part.as_str().unwrap()]).chain([command]);
            let wanted = rules
                .filter_map(|rule| rule.get("prefix"))
                .next_back()
                .map_or(Vec::new(), |prefix| prefix.as_array().unwrap().clone());
            assert_eq!(toml::Value::from(wanted), toml::Value::from(switches(name).to_vec()), "{name}");
        }
    }
}

// Settings.

#[test]
fn settings_say_what_is_hardened() {
    assert!(configure::<Harden>(r#"{"gti":false}"#).is_err());
    assert!(configure::<Harden>(r#"{"ignore_scripts":["bun"]}"#).is_err());
    assert_eq!(verdict(&policy(r#"{"git":false}"#), &World::new().request(&["git", "-C", "x", "log"])), Verdict::Abstain);
}

#[test]
fn scripts_of_packages_are_ignored_where_asked() {
    let asked = policy(r#"{"ignore_scripts":["npm","pnpm","yarn"]}"#);
    for (command, wanted) in [
        (&["npm", "ci"][..], &["ci", "--ignore-scripts"][..]),
        (&["npm", "--silent", "i", "left-pad"], &["--silent", "i", "--ignore-scripts", "left-pad"]),
        (&["npm", "test"], &["test"]),
        (&["pnpm", "install", "--frozen-lockfile"], &["install", "--ignore-scripts", "--frozen-lockfile"]),
        (&["yarn"], &["--ignore-scripts"]),
        (&["yarn", "add", "x"], &["add", "--ignore-scripts", "x"]),
    ] {
        let next = rewritten(&asked, World::new().request(command));
        assert_eq!(words(&next), wanted);
        assert_eq!(next.nodes[0].assignments.len(), 1, "{command:?}");
        assert_eq!(verdict(&asked, &next), Verdict::Abstain, "{command:?}");
    }
    for command in [
        &["npm", "ci", "--no-ignore-scripts"][..],
        &["npm", "ci", "--ignore-scripts=false"],
        &["npm", "ci", "--ignore-scripts", "false"],
        &["npm", "ci", "--no-ignore-sc"],
    ] {
        assert_eq!(denied(r#"{"ignore_scripts":["npm"]}"#, &World::new().request(command)), "scripts-ignored", "{command:?}");
    }
}

#[test]
fn programs_are_kept_quiet_where_asked() {
    let asked = policy(r#"{"quiet":true}"#);
    let mut request = World::new().request(&["CI=0", "make"]);
    request.env.push(("NO_COLOR".to_owned(), "1".to_owned()));
    let next = rewritten(&asked, request);
    let value = |name: &str| next.nodes[0].assignments.iter().find(|(known, _)| known == name).map(|(_, word)| word.clone());
    assert_eq!(value("CI"), Some(Word::Literal("1".to_owned())));
    assert_eq!(value("DEBIAN_FRONTEND"), Some(Word::Literal("noninteractive".to_owned())));
    assert_eq!(value("NO_COLOR"), None, "the configuration sets it");
    assert_eq!(verdict(&asked, &next), Verdict::Abstain);
    let git = rewritten(&asked, World::new().request(&["git", "log"]));
    assert_eq!(verdict(&asked, &git), Verdict::Abstain);
}

// The grammar of git's configuration.

fn names(text: &str) -> Result<Vec<(String, Option<String>)>, usize> {
    Ok(parse(text.as_bytes())?.into_iter().map(|setting| (setting.name(), setting.value)).collect())
}

#[test]
fn settings_are_seen_as_git_sees_them() {
    for (text, name, value) in [
        ("[core]\n\tbare = false\n", "core.bare", Some("false")),
        ("[Core]BARE=false", "core.bare", Some("false")),
        ("[core] bare\n", "core.bare", None),
        ("\u{feff}[core]bare", "core.bare", None),
        ("[a.B]c=d", "a.b.c", Some("d")),
        ("[a \"B.c\\\"\\d\"]e=f", "a.B.c\"d.e", Some("f")),
        ("[a.B \"C\"]e=f", "a.b.C.e", Some("f")),
        ("[a]\r\nb = c\r\n", "a.b", Some("c")),
        ("[a]b=\" c \" d # e", "a.b", Some(" c  d")),
        ("[a]b=c\\\n  d", "a.b", Some("c  d")),
        ("[a]b=\\t\\n\\\\\\\"", "a.b", Some("\t\n\\\"")),
        ("[a]b=\"c;d\";e", "a.b", Some("c;d")),
        ("[a] # [b]\nc=d", "a.c", Some("d")),
        ("[a]b=c d\t ", "a.b", Some("c d")),
    ] {
        assert_eq!(names(text), Ok(vec![(name.to_owned(), value.map(str::to_owned))]), "{text:?}");
    }
    assert_eq!(names("[x]a=1 [y]b=2\n[y]b=3").unwrap().len(), 2, "a bracket in a value is no section");
    assert_eq!(names("[x][y]b=2\n").unwrap()[0].0, "y.b", "sections may share a line");
    assert_eq!(names("# a\n;b\n\n").unwrap(), []);
}

#[test]
fn what_git_can_not_parse_is_refused() {
    for text in
        ["[a", "[a \"b]c=d", "[a]=b", "[a]b c", "[a]b=\"c\n", "[a]b=\\x", "=", "[a \"b\"c]", "[a_b]", "[a]b=c\0d", "[a]\u{b}b=c"]
    {
        assert!(names(text).is_err(), "{text:?}");
    }
    assert_eq!(names("[a]\nb=c\n!\n"), Err(3));
}

/// What git itself sees in the text, as `git config` lists it; none if it refuses.
fn seen_by_git(file: &Path) -> Option<Vec<(String, Option<String>)>> {
    let mut git = std::process::Command::new("git");
    let output = git.args(["config", "--list", "--null", "--no-includes", "--file"]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let entry = |entry: &str| match entry.split_once('\n') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (entry.to_owned(), None),
    };
    output.status.success().then(|| text.split_terminator('\0').map(entry).collect())
}

/// Texts made of what matters to the grammar, in any order: what this sees and what git sees is the same.
#[test]
fn git_sees_no_setting_that_is_not_seen_here() {
    const PIECES: [&str; 30] = [
        "[",
        "]",
        "[a]",
        "[a \"b\"]",
        "[a.b]",
        "\"",
        "\\",
        "\\\n",
        "\n",
        "\r",
        "\r\n",
        " ",
        "\t",
        "=",
        "#",
        ";",
        "k",
        "K-1",
        "k=v\n",
        "v",
        ".",
        "\\t",
        "\\x",
        "\u{feff}",
        "[A \"\\",
        "k = \"",
        "\nk=",
        "\nx = a b \\\n",
        "\nq=\"a;b\"",
        "\n[n]y",
    ];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config");
    let (mut state, mut accepted) = (7_u64, 0);
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..1500 {
        let count = 1 + random(9);
        let text: String = ["[s]"].into_iter().chain((0..count).map(|_| PIECES[random(PIECES.len())])).collect();
        fs::write(&file, &text).unwrap();
        let git = seen_by_git(&file);
        accepted += usize::from(git.is_some());
        assert!(git.is_none() || names(&text).ok() == git, "{text:?}: {git:?} and {:?}", names(&text));
    }
    assert!(accepted > 300, "{accepted} of the texts are configuration at all");
}

fn setting(name: &str) -> Setting {
    let (text, value) = name.split_once('=').map_or((name, None), |(text, value)| (text, Some(value.to_owned())));
    let (section, rest) = text.split_once('.').unwrap();
    let (subsection, key) = rest.rsplit_once('.').map_or((None, rest), |(subsection, key)| (Some(subsection.to_owned()), key));
    Setting { section: section.to_owned(), subsection, key: key.to_owned(), value }
}

/// What git 2.47 documents as naming programs or files, and what is like it.
#[test]
fn settings_that_run_programs_are_not_harmless() {
    for name in [
        "alias.st",
        "browser.x.cmd",
        "browser.x.path",
        "bundle.x.uri",
        "commit.x.template",
        "core.alternaterefscommand",
        "core.gitproxy",
        "core.x.fsmonitor",
        "credential.x.helper",
        "credential.https://a.b.helper",
        "diff.external",
        "diff.orderfile",
        "diff.submodule",
        "diff.tool",
        "diff.x.command",
        "diff.x.textconv",
        "difftool.x.cmd",
        "difftool.x.path",
        "extensions.x",
        "fetch.bundleuri",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "filter.x.required",
        "filter.lfs.clean=evil",
        "filter.lfs.process",
        "fsck.skiplist",
        "fsmonitor.socketdir",
        "gc.recentobjectshook",
        "gpg.format",
        "gpg.program",
        "gpg.ssh.program",
        "gpg.ssh.defaultkeycommand",
        "gpg.ssh.allowedsignersfile",
        "guitool.x.cmd",
        "help.autocorrect",
        "help.browser",
        "hook.x.command",
        "http.proxy",
        "http.cookiefile",
        "http.x.proxy",
        "http.sslcert",
        "imap.tunnel",
        "include.path",
        "includeif.gitdir:/.path",
        "init.templatedir",
        "instaweb.httpd",
        "interactive.difffilter",
        "lfs.customtransfer.x.path",
        "lfs.extension.x.clean",
        "lfs.standalonetransferagent",
        "lfs.url",
        "man.x.cmd",
        "man.x.path",
        "merge.tool",
        "merge.x.driver",
        "mergetool.x.cmd",
        "mergetool.x.path",
        "pack.packobjectshook",
        "protocol.ext.allow",
        "receive.procreceiverefs",
        "remote.x.proxy",
        "remote.x.receivepack",
        "remote.x.uploadpack",
        "remote.x.vcs",
        "remote.x.serveroption",
        "safe.x.directory",
        "sendemail.smtpserver",
        "sendemail.tocmd",
        "sequence.editor",
        "ssh.variant",
        "submodule.x.command",
        "tar.x.command",
        "trailer.x.cmd",
        "trailer.x.command",
        "transfer.credentialsinurl",
        "uploadpack.packobjectshook",
        "url.x.insteadof",
        "url.x.pushinsteadof",
        "web.browser",
        "unknown.key",
        "core.unknown",
        "remote.unknown",
        "branch.x.mergeoptions",
        "core.hookspath.x",
    ] {
        assert_eq!(allowed(&setting(name)), None, "{name}");
    }
}

// Repositories. That git behaves as supposed here is shown by the suite `repositories`, with git itself.

struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        scene.repository("root/.git");
        scene.repository("outside/.git");
        scene
    }

    fn path(&self, name: &str) -> String {
        self.0.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn repository(&self, name: &str) {
        self.write(&format!("{name}/HEAD"), "ref: refs/heads/main\n");
        self.write(&format!("{name}/config"), "[core]\n\tbare = false\n");
        for directory in ["objects/pack", "objects/info", "refs", "info"] {
            fs::create_dir_all(self.path(&format!("{name}/{directory}"))).unwrap();
        }
    }

    fn link(&self, from: &str, to: &str) {
        let path = self.path(from);
        fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).ok();
        symlink(to, path).unwrap();
    }

    fn judge(&self, directory: &str) -> Result<(), Refusal> {
        self.judge_as(directory, Reach::Inner)
    }

    fn judge_as(&self, directory: &str, reach: Reach) -> Result<(), Refusal> {
        self.visit(directory, Visit { reach, ..Visit::default() })
    }

    fn visit(&self, directory: &str, visit: Visit) -> Result<(), Refusal> {
        repository::judge(&Grants::new(vec![self.path("root")]), &self.path(directory), &visit)
    }

    fn judge_listed(&self, list: impl Fn(&str, Vec<(String, Kind)>) -> Vec<(String, Kind)>) -> Result<(), Refusal> {
        let files = Listed { files: Grants::new(vec![self.path("root")]), list };
        repository::judge(&files, &self.path("root"), &Visit::default())
    }

    fn code(&self) -> &'static str {
        self.judge("root").map_or_else(|refusal| refusal.code, |()| "fine")
    }
}

#[test]
fn ordinary_repositories_are_fine() {
    let scene = Scene::new();
    assert_eq!(scene.code(), "fine");
    scene.write("root/src/main.rs", "");
    assert_eq!(scene.judge("root/src"), Ok(()));
    // A worktree, as `git worktree add` makes it.
    scene.write("root/tree/.git", format!("gitdir: {}\n", scene.path("root/.git/worktrees/tree")));
    scene.write("root/.git/worktrees/tree/commondir", "../..\n");
    scene.write("root/.git/worktrees/tree/HEAD", "ref: refs/heads/tree\n");
    scene.write("root/.git/worktrees/tree/config.worktree", "[core]\nsparseCheckout = true\n");
    assert_eq!(scene.judge("root/tree"), Ok(()));
    // A submodule, as `git submodule add` makes it.
    scene.repository("root/.git/modules/sub");
    scene.write("root/.git/modules/sub/config", "[core]\nworktree = ../../../sub\n");
    scene.write("root/sub/.git", "gitdir: ../.git/modules/sub\n");
    assert_eq!(scene.judge("root/sub"), Ok(()));
    // One that git works in: a watcher's socket, and a working tree beside a bare repository.
    let _socket = std::os::unix::net::UnixListener::bind(scene.path("root/.git/fsmonitor--daemon.ipc")).unwrap();
    scene.write("root/.git/rr-cache/1/preimage", "");
    scene.write("root/.git/topic/tree/.git", "gitdir: ../../worktrees/tree\n");
    scene.link("root/.git/topic/tree/link", "/etc/passwd");
    assert_eq!(scene.code(), "fine");
    // A bare one, and one that borrows.
    scene.repository("root/bare.git");
    assert_eq!(scene.judge("root/bare.git"), Ok(()));
    scene.write(
        "root/.git/objects/info/alternates",
        format!("# near\n{}\n../../bare.git/objects\n", scene.path("root/bare.git/objects")),
    );
    assert_eq!(scene.code(), "fine");
    scene.link("root/.git/hooks", "../hooks");
    scene.write(
        "root/.git/config",
        "[i18n]commitEncoding=ISO-8859-1\nlogOutputEncoding=utf-8\n[blame]ignoreRevsFile=.ignore\n[filter \"lfs\"]\nclean = git-lfs clean -- %f\n[pager]log=false\n",
    );
    assert_eq!(scene.code(), "fine");
}

#[test]
fn a_place_that_is_not_granted_is_denied() {
    let scene = Scene::new();
    assert_eq!(scene.judge("outside").unwrap_err().code, "not-granted");
    assert!(scene.judge("root/gone").is_err());
    assert!(scene.judge("root/\u{fffd}").is_err());
}

#[test]
fn hostile_repositories_are_denied() {
    let outside = |scene: &Scene, below: &str| scene.path(&format!("outside/{below}"));
    type Plant = fn(&Scene, &dyn Fn(&Scene, &str) -> String);
    let cases: &[(&str, &str, Plant)] = &[
        ("filter", "repository-config", |scene, _| scene.write("root/.git/config", "[filter \"x\"]clean=touch PWNED")),
        ("include", "repository-config", |scene, _| scene.write("root/.git/config", "[include]path=x")),
        ("config.worktree", "repository-config", |scene, _| scene.write("root/.git/config.worktree", "[alias]x=!y")),
        ("worktree", "repository-config", |scene, at| {
            scene.write("root/.git/config", format!("[core]worktree={}", at(scene, "")))
        }),
        ("worktree above", "repository-config", |scene, _| scene.write("root/.git/config", "[core]worktree=../..")),
        ("worktree by a link", "repository-config", |scene, _| {
            scene.link("root/out", "../outside");
            scene.write("root/.git/config", "[core]worktree=../out");
        }),
        ("mailmap", "repository-config", |scene, _| scene.write("root/.git/config", "[mailmap]file=/etc/passwd")),
        ("mailmap above", "repository-config", |scene, _| scene.write("root/.git/config", "[mailmap]file=a/../../x")),
        ("mailmap by a link", "repository-config", |scene, _| {
            scene.link("root/out", "../outside");
            scene.write("root/.git/config", "[mailmap]file=out/x");
        }),
        ("update", "repository-config", |scene, _| scene.write("root/.git/config", "[submodule \"a\"]update=!x")),
        ("a rare charset", "repository-config", |scene, _| {
            scene.write("root/.git/config", "[i18n]logOutputEncoding=ISO-2022-CN-EXT");
        }),
        ("pager", "repository-config", |scene, _| scene.write("root/.git/config", "[pager]log=evil")),
        ("no configuration", "repository-unreadable", |scene, _| scene.write("root/.git/config", "[core")),
        ("a large one", "repository-unreadable", |scene, _| scene.write("root/.git/config", "#\n".repeat(200_000))),
        ("a directory", "repository-unreadable", |scene, _| {
            scene.write("root/.git/config.worktree/x", "");
        }),
        ("config elsewhere", "repository-link", |scene, _| scene.link("root/.git/config", "../../outside/.git/config")),
        (".git elsewhere", "repository-link", |scene, _| scene.link("root/.git", "../outside/.git")),
        ("gitdir elsewhere", "repository-outside", |scene, at| {
            fs::remove_dir_all(scene.path("root/.git")).unwrap();
            scene.write("root/.git", format!("gitdir: {}\n", at(scene, ".git")));
        }),
        ("gitdir above", "repository-outside", |scene, _| {
            fs::remove_dir_all(scene.path("root/.git")).unwrap();
            scene.write("root/.git", "gitdir: ../outside/.git\n");
        }),
        ("gitdir nonsense", "repository-unreadable", |scene, _| {
            fs::remove_dir_all(scene.path("root/.git")).unwrap();
            scene.write("root/.git", "gitdir ../outside/.git\n");
        }),
        ("commondir", "repository-outside", |scene, _| scene.write("root/.git/commondir", "../../outside/.git\n")),
        ("alternates", "repository-outside", |scene, at| {
            scene.write("root/.git/objects/info/alternates", at(scene, ".git/objects\n"))
        }),
        ("alternates of alternates", "repository-outside", |scene, _| {
            scene.repository("root/bare");
            scene.write("root/.git/objects/info/alternates", "../../bare/objects\n");
            scene.write("root/bare/objects/info/alternates", "../../../outside/.git/objects\n");
        }),
        ("quoted alternates", "repository-outside", |scene, _| {
            scene.write("root/.git/objects/info/alternates", "\"../../bare/objects\"\n")
        }),
        ("objects elsewhere", "repository-link", |scene, _| scene.link("root/.git/objects", "../../outside/.git/objects")),
        ("packs elsewhere", "repository-link", |scene, _| {
            scene.link("root/.git/objects/pack", "../../../outside/.git/objects/pack")
        }),
        ("a pack elsewhere", "repository-link", |scene, _| scene.link("root/.git/objects/pack/a.pack", "/x")),
        ("info elsewhere", "repository-link", |scene, _| scene.link("root/.git/info/attributes", "/etc/passwd")),
        ("a message elsewhere", "repository-link", |scene, _| scene.link("root/.git/MERGE_MSG", "/etc/passwd")),
        ("a part of a worktree elsewhere", "repository-link", |scene, _| {
            scene.write("root/.git/worktrees/x/HEAD", "");
            scene.link("root/.git/worktrees/x/gitdir", "/etc/passwd");
        }),
        ("a part of a rebase elsewhere", "repository-link", |scene, _| {
            scene.write("root/.git/rebase-merge/.git", "");
            scene.link("root/.git/rebase-merge/head-name", "/etc/passwd");
        }),
        ("a remote elsewhere", "repository-link", |scene, _| {
            scene.write("root/.git/remotes/y", "");
            scene.link("root/.git/remotes/x", "/etc/passwd");
        }),
        ("what borrowed objects know elsewhere", "repository-link", |scene, _| {
            scene.repository("root/bare");
            scene.write("root/bare/objects/info/commit-graphs/x", "");
            scene.link("root/bare/objects/info/commit-graphs/chain", "/etc/passwd");
            scene.write("root/.git/objects/info/alternates", "../../bare/objects\n");
        }),
        ("deeper than anything", "repository-unreadable", |scene, _| {
            scene.write(&format!("root/.git/refs/{}x", "d/".repeat(40)), "")
        }),
        ("references in no directory", "repository-unreadable", |scene, _| {
            fs::remove_dir(scene.path("root/.git/refs")).unwrap();
            scene.write("root/.git/refs", "");
        }),
        ("more than anything", "repository-unreadable", |scene, _| {
            for at in 0..17_000 {
                scene.write(&format!("root/.git/refs/{}/{at}", at / 2000), "");
            }
        }),
        ("a file without a working tree", "repository-config", |scene, _| {
            scene.write("root/.git/config", "[core]bare=true\n[core]excludesFile=x\n")
        }),
        ("bare around", "repository-config", |scene, _| {
            fs::remove_dir_all(scene.path("root/.git")).unwrap();
            scene.repository("root");
            scene.write("root/config", "[core]gitProxy=x");
        }),
    ];
    for (name, code, plant) in cases {
        let scene = Scene::new();
        plant(&scene, &outside);
        assert_eq!(scene.code(), *code, "{name}");
    }
}

/// With git itself, in each version of the index: what `git ls-files` shows to be a repository is found.
#[test]
fn repositories_inside_are_found_in_every_index() {
    for (format, version) in [("sha1", "2"), ("sha1", "4"), ("sha256", "2"), ("sha256", "4")] {
        let folder = TempDir::new().unwrap();
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            let output = git.args(args).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "--quiet", "--object-format", format]);
        let id = git(&["hash-object", "-t", "tree", "--stdin"]);
        for at in 0..20 {
            fs::create_dir_all(folder.path().join("deep")).unwrap();
            fs::write(folder.path().join("deep").join("x".repeat(at + 1)), "").unwrap();
        }
        git(&["add", "deep"]);
        for at in ["0", "100", "150", "50"] {
            git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},deep/{at}/inner", id.trim())]);
        }
        git(&["update-index", "--index-version", version, "--force-write-index"]);
        let bytes = fs::read(folder.path().join(".git/index")).unwrap();
        let id_bytes = if format == "sha1" { 20 } else { 32 };
        let wanted = ["deep/0/inner", "deep/100/inner", "deep/150/inner", "deep/50/inner"];
        let found = Index::read(&bytes, id_bytes).unwrap();
        assert_eq!(found.repositories, wanted, "{format} {version}");
        let directories = ["deep", "deep/0", "deep/100", "deep/150", "deep/50"];
        assert_eq!(found.directories, directories.map(str::to_owned).into(), "{format} {version}");
        assert_eq!(Index::read(&bytes[..bytes.len() / 2], id_bytes), Err(Fault::Unreadable));
        assert!(Index::read(&bytes, 52 - id_bytes).is_err());
        git(&["update-index", "--split-index"]);
        assert_eq!(Index::read(&fs::read(folder.path().join(".git/index")).unwrap(), id_bytes), Err(Fault::Unreadable));
    }
}

/// An index of the second version with these paths, as git reads one whatever they are.
fn index_of(paths: &[&str]) -> Vec<u8> {
    let count = u32::try_from(paths.len()).unwrap();
    let mut bytes = [b"DIRC".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
    for path in paths {
        let mut entry = vec![0; 62];
        entry[24..28].copy_from_slice(&0o100_644_u32.to_be_bytes());
        entry[60..].copy_from_slice(&u16::try_from(path.len().min(0xfff)).unwrap().to_be_bytes());
        entry.extend(path.as_bytes());
        entry.resize((entry.len() + 1).next_multiple_of(8), 0);
        bytes.extend(entry);
    }
    bytes.extend([0; 20]);
    bytes
}

#[test]
fn paths_of_an_index_stay_in_the_working_tree() {
    for path in [
        "../out/secret",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "./a",
        "a/",
        "a/.git/config",
        ".GIT/config",
        "..",
        &"a/b".repeat(2000),
    ] {
        assert!(matches!(Index::read(&index_of(&["a", path]), 20), Err(Fault::Path(_))), "{path}");
    }
    assert!(Index::read(&index_of(&["..a/b", ".github/x", "a/.gitignore", "a.git/x", "..."]), 20).is_ok());
    for reach in [Reach::Own, Reach::Inner] {
        let scene = Scene::new();
        scene.write("root/.git/index", index_of(&["../outside/.git/HEAD"]));
        assert_eq!(scene.judge_as("root", reach).unwrap_err().code, "repository-outside");
    }
}

/// A file's own name matters to nobody here.
#[test]
fn directories_of_an_index_are_text() {
    let bytes = |path: &str| index_of(&[path]).into_iter().map(|byte| if byte == b'#' { 0xe9 } else { byte }).collect::<Vec<_>>();
    assert_eq!(Index::read(&bytes("d#/f"), 20), Err(Fault::NoText("d\u{fffd}".to_owned())));
    assert!(Index::read(&bytes("d/f#"), 20).is_ok());
    let scene = Scene::new();
    scene.write("root/.git/index", bytes("d#/f"));
    assert_eq!(scene.judge_as("root", Reach::Own).unwrap_err().code, "repository-unreadable");
}

/// git takes as many bytes for a path as the entry says, whatever is in them.
#[test]
fn a_path_of_an_index_is_as_long_as_it_says() {
    let index = index_of(&["a.txt", "b.txt"]);
    assert!(Index::read(&index, 20).is_ok());
    for length in [0_u16, 4, 6, 72, 0xffe] {
        let mut index = index.clone();
        index[12 + 60..12 + 62].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Index::read(&index, 20), Err(Fault::Unreadable), "{length}");
    }
    let mut to_the_nul = index;
    to_the_nul[12 + 60..12 + 62].copy_from_slice(&0xfff_u16.to_be_bytes());
    assert!(Index::read(&to_the_nul, 20).is_ok());
}

/// git looks at the kind alone.
#[test]
fn entries_of_other_modes_are_not_read() {
    for (mode, wanted) in [
        (0o100_644_u32, Ok(())),
        (0o100_755, Ok(())),
        (0o120_000, Ok(())),
        (0o160_000, Ok(())),
        (0o160_644, Err(Fault::Unreadable)),
        (0o040_000, Err(Fault::Unreadable)),
        (0o100_664, Err(Fault::Unreadable)),
        (0o1_160_000, Err(Fault::Unreadable)),
    ] {
        let mut index = index_of(&["a", "b"]);
        index[12 + 24..12 + 28].copy_from_slice(&mode.to_be_bytes());
        assert_eq!(Index::read(&index, 20).map(drop), wanted, "{mode:o}");
    }
}

/// With another length of names git finds other entries.
#[test]
fn the_length_of_names_is_read_where_git_reads_it() {
    let long = "[extensions]\n\tobjectformat = sha256\n";
    for (config, worktree, wanted) in [
        ("[core]\n\trepositoryformatversion = 0\n", long, "repository-config"),
        ("[core]\n\trepositoryformatversion = 0\n[extensions]\n\tobjectformat = sha256\n", "", "repository-unreadable"),
        (long, "", "repository-unreadable"),
        ("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha257\n", "", "repository-unreadable"),
        ("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha1\n", "", "fine"),
        ("", "", "fine"),
    ] {
        let scene = Scene::new();
        scene.write("root/.git/index", index_of(&["a"]));
        scene.write("root/.git/config", config);
        scene.write("root/.git/config.worktree", worktree);
        assert_eq!(scene.code(), wanted, "{config}");
    }
}

#[test]
fn files_are_not_reached_through_links() {
    let scene = Scene::new();
    scene.write("root/.git/index", index_of(&["a/b/c", "d/e/f", "x", "y/z/file"]));
    scene.write("root/a/b/c", "");
    scene.write("root/d", "no directory any more");
    scene.link("root/x", "/etc/passwd");
    assert_eq!(scene.judge_as("root", Reach::Own), Ok(()), "git shows where a link of its own leads, and does not follow it");
    for name in ["root/a/b", "root/a", "root/y"] {
        scene.link(name, "../outside");
        assert_eq!(scene.judge_as("root", Reach::Own).unwrap_err().code, "repository-link", "{name}");
        fs::remove_file(scene.path(name)).unwrap();
    }
}

#[test]
fn git_enters_inner_repositories_unless_it_is_known_not_to() {
    for (command, wanted) in [
        (&["git", "status"][..], Reach::Own),
        (&["git", "log", "-p"], Reach::Own),
        (&["git", "diff", "--submodule=log"], Reach::Inner),
        (&["git", "diff", "--ignore-sub=none"], Reach::Inner),
        (&["git", "grep", "--recurse-submodules", "x"], Reach::Inner),
        (&["git", "blame", "x"], Reach::Own),
        (&["git", "--version"], Reach::Own),
        (&["git", "add", "x"], Reach::Inner),
        (&["git", "commit", "-m", "x"], Reach::Inner),
        (&["git", "switch", "x"], Reach::Inner),
        (&["git", "describe", "--dirty"], Reach::Inner),
        (&["git", "unheard-of"], Reach::Inner),
    ] {
        assert_eq!(git::reach(&hardened(command).nodes[0]), wanted, "{command:?}");
    }
}

#[test]
fn files_of_a_repository_are_not_named_where_files_change() {
    let code = |command: &str| {
        let words: Vec<&str> = ["git"].into_iter().chain(command.split(' ')).collect();
        match policy("{}").judge(&hardened(&words), no_files) {
            Err(refusal) => refusal.code,
            Ok(_) => "fine",
        }
    };
    for (command, wanted) in [
        ("mv x .git/commondir", "git-operand"),
        ("mv x sub/.GIT/config", "git-operand"),
        ("mv x own/commondir", "git-operand"),
        ("restore -- .git/config", "git-operand"),
        ("unheard-of .git", "git-operand"),
        ("switch --no-quiet x", "git-option"),
        ("stash pop --no-q", "git-option"),
        // As far as it comes without files.
        ("mv x config", "not-granted"),
        ("rm .git/config", "git-operand"),
        ("rm --cached .git/config", "not-granted"),
        ("worktree list .git", "not-granted"),
        ("diff -- .git/config", "not-granted"),
        ("config --get alias..git", "not-granted"),
        ("switch -c .git", "not-granted"),
    ] {
        assert_eq!(code(command), wanted, "{command}");
    }
}

#[test]
fn what_becomes_part_of_a_repository_is_looked_for() {
    let below = |names: &[&str]| Look::Below(names.iter().map(|name| format!("/work/{name}")).collect());
    for (commands, wanted) in [
        (&["add src a.txt"][..], below(&["src", "a.txt"])),
        (&["add -A"], Look::Everywhere),
        (&["add -u"], Look::Nowhere),
        (&["add *.rs"], Look::Everywhere),
        (&["add :/"], Look::Everywhere),
        (&["add --pathspec-from-file=x"], Look::Everywhere),
        (&["stash"], Look::Nowhere),
        (&["stash push -u"], Look::Everywhere),
        (&["stash list"], Look::Nowhere),
        (&["commit -am x"], Look::Nowhere),
        (&["diff --submodule=diff HEAD~1 HEAD"], Look::Everywhere),
        (&["commit -q -s --amend --no-edit --author=x"], Look::Nowhere),
        (&["commit -aqm x --"], Look::Nowhere),
        (&["commit -m x a.txt"], Look::Everywhere),
        (&["commit -m x -- a.txt"], Look::Everywhere),
        (&["commit -m"], Look::Everywhere),
        (&["commit -om x"], Look::Everywhere),
        (&["commit --pathspec-from-file=x -m x"], Look::Everywhere),
        (&["add a", "add b"], below(&["a", "b"])),
        (&["add a", "commit -m x"], below(&["a"])),
    ] {
        let mut request = World::new().request(&["true"]);
        let nodes = commands.iter().map(|one| ["git"].into_iter().chain(one.split(' ')).collect::<Vec<_>>());
        request.nodes = nodes.flat_map(|words| hardened(&words).nodes).collect();
        let calls: Vec<usize> = (0..request.nodes.len()).collect();
        let visits = visit::visits(&request, &calls);
        assert_eq!(visits["/work"].look, wanted, "{commands:?}");
    }
    let mut request = hardened(&["git", "commit", "-m", "$B"]);
    let last = request.nodes[0].args.len() - 1;
    dynamic(&mut request, last);
    assert_eq!(visit::visits(&request, &[0])["/work"].look, Look::Nowhere);
    dynamic(&mut request, last - 1);
    assert_eq!(visit::visits(&request, &[0])["/work"].look, Look::Everywhere);
    let scene = Scene::new();
    scene.write("root/a/b/.git", format!("gitdir: {}\n", scene.path("outside/.git")));
    scene.write("root/c/d", "");
    let look = |paths: &[&str]| Look::Below(paths.iter().map(|path| scene.path(path)).collect());
    for (look, wanted) in [
        (Look::Nowhere, "fine"),
        (Look::Everywhere, "repository-outside"),
        (look(&["root/a"]), "repository-outside"),
        (look(&["root/c", "root/c/d"]), "fine"),
        (look(&["root"]), "repository-outside"),
    ] {
        let visit = Visit { look: look.clone(), ..Visit::default() };
        assert_eq!(scene.visit("root", visit).map_or_else(|refusal| refusal.code, |()| "fine"), wanted, "{look:?}");
    }
}

/// A file that git knows has become a repository.
#[test]
fn what_became_of_files_is_looked_at() {
    let scene = Scene::new();
    scene.write("root/.git/index", index_of(&["a/b/c", "gone/x", "n"]));
    scene.write("root/a/b/c", "");
    for (name, wanted) in [("n", "repository-config"), ("a/b/c", "repository-config"), ("other/deep/n", "fine")] {
        fs::remove_file(scene.path(&format!("root/{name}"))).ok();
        scene.repository(&format!("root/{name}/.git"));
        scene.write(&format!("root/{name}/.git/config"), "[alias]x=!y");
        let visit = |takes_changes| Visit { takes_changes, ..Visit::default() };
        assert_eq!(scene.visit("root", visit(false)), Ok(()));
        assert_eq!(scene.visit("root", visit(true)).map_or_else(|refusal| refusal.code, |()| "fine"), wanted, "{name}");
        fs::remove_dir_all(scene.path(&format!("root/{name}"))).unwrap();
    }
}

#[test]
fn calls_are_told_apart_by_what_they_do_to_repositories_inside() {
    for (command, takes, moves) in [
        ("add -u", true, false),
        ("commit -m x", false, false),
        ("commit -qam x", true, false),
        ("commit --all --message x", true, false),
        ("stash push -k", true, false),
        ("stash list", false, false),
        ("rm n", false, true),
        ("rm --cached n", false, false),
        ("rm --cached --no-c n", false, true),
        ("rm -n n", false, true),
        ("mv n m", false, true),
        ("mv -n n m", false, false),
        ("switch x", false, false),
        ("switch --recurse-submodules x", false, true),
        ("restore --no-recurse-submodules x", false, false),
        ("submodule absorbgitdirs", false, true),
        ("worktree list", false, false),
        ("status", false, false),
    ] {
        let words: Vec<&str> = ["git"].into_iter().chain(command.split(' ')).collect();
        let request = hardened(&words);
        let visits = visit::visits(&request, &[0]);
        assert_eq!((visits["/work"].takes_changes, visits["/work"].moves_repositories), (takes, moves), "{command}");
    }
}

#[test]
fn calls_are_told_apart_by_whether_they_change_files() {
    for (command, changes) in [
        ("rm n", true),
        ("rm -n n", false),
        ("rm -r -q --dry-run -- -x", false),
        ("rm -n --no-dry-run n", true),
        ("rm --pathspec-from-file -n n", true),
        ("rm -- -n", true),
        ("rm -rn n", true),
        ("mv n m", true),
        ("mv -k -v -n n m", false),
        ("mv -n --sparse n m", true),
        // It writes wherever references lead, which may be symbolic.
        ("reset --soft HEAD~1", true),
    ] {
        let words: Vec<&str> = ["git"].into_iter().chain(command.split(' ')).collect();
        assert_eq!(visit::changes_files(&hardened(&words).nodes[0]), changes, "{command}");
    }
    let mut request = World::new().request(&["git", "mv", "-n", "x", "y"]);
    dynamic(&mut request, 2);
    assert!(visit::changes_files(&rewritten(&policy("{}"), request).nodes[0]));
}

#[test]
fn a_repository_among_files_is_not_changed() {
    let scene = Scene::new();
    scene.repository("root/own");
    scene.repository("root/n/.git");
    scene.write("root/inner/.git", format!("gitdir: {}\n", scene.path("root/own")));
    scene.write("root/.git/index", index_of(&["own/config"]));
    let code = |directory: &str, changes_files| {
        let visit = Visit { changes_files, ..Visit::default() };
        scene.visit(directory, visit).map_or_else(|refusal| refusal.code, |()| "fine")
    };
    assert_eq!((code("root/inner", false), code("root/inner", true)), ("fine", "repository-inside"));
    assert_eq!((code("root/n", true), code("root", true)), ("fine", "fine"));
    // However the way to it is written.
    scene.link("root/way", "own");
    fs::create_dir_all(scene.path("root/z/.git")).unwrap();
    for (way, wanted) in [
        ("z/.git/../../own", "repository-inside"),
        ("./own/../own/", "repository-inside"),
        ("way", "repository-link"),
        ("way/../own", "repository-link"),
    ] {
        scene.write("root/inner/.git", format!("gitdir: {}\n", scene.path(&format!("root/{way}"))));
        assert_eq!(code("root/inner", true), wanted, "{way}");
    }
    // A working tree below a `.git`, one that is a `.git`, and what it borrows.
    scene.repository("root/z/.git/tree/own");
    scene.write("root/z/.git/tree/.git", "gitdir: own\n");
    assert_eq!((code("root/z/.git/tree", false), code("root/z/.git/tree", true)), ("fine", "repository-inside"));
    scene.repository("root/k/.git");
    scene.write("root/k/.git/worktrees/tree/commondir", "../..\n");
    scene.write("root/k/.git/.git", "gitdir: worktrees/tree\n");
    assert_eq!((code("root/k", false), code("root/k", true)), ("fine", "repository-inside"));
    scene.write("root/n/.git/objects/info/alternates", "../../../own/objects\n");
    assert_eq!((code("root/n", false), code("root/n", true)), ("fine", "repository-inside"));
}

/// What could be moved with its repository, or make git move it.
#[test]
fn submodules_are_moved_only_as_git_makes_them() {
    let scene = Scene::new();
    let mut index = index_of(&["n"]);
    index[12 + 24..12 + 28].copy_from_slice(&0o160_000_u32.to_be_bytes());
    scene.write("root/.git/index", index);
    let code = |moves_repositories| {
        let visit = Visit { moves_repositories, reach: Reach::Inner, changes_files: true, ..Visit::default() };
        scene.visit("root", visit).map_or_else(|refusal| refusal.code, |()| "fine")
    };
    fs::create_dir_all(scene.path("root/n")).unwrap();
    assert_eq!(code(true), "fine");
    scene.repository("root/n/.git");
    assert_eq!((code(false), code(true)), ("fine", "repository-moved"));
    fs::rename(scene.path("root/n/.git"), scene.path("root/.git/own")).unwrap();
    scene.write("root/n/.git", "gitdir: ../.git/own\n");
    assert_eq!((code(false), code(true)), ("fine", "repository-moved"));
    scene.repository("root/.git/modules/a/n");
    scene.write("root/n/.git", "gitdir: ../.git/modules/a/n\n");
    assert_eq!((code(false), code(true)), ("fine", "fine"));
    for link in ["root/.git/modules/x", "root/.git/modules/a/n/modules/objects/ab/x", "root/.gitmodules"] {
        scene.write(link, "");
        scene.link(link, "/etc");
        scene.write("root/.git/modules/a/n/modules/objects/ab/.git", "");
        assert_eq!((code(false), code(true)), ("fine", "repository-link"), "{link}");
        fs::remove_file(scene.path(link)).unwrap();
    }
    fs::remove_dir_all(scene.path("root/n")).unwrap();
    scene.link("root/n", "tree");
    assert_eq!(code(false), "repository-link");
}

#[test]
fn other_working_trees_share_the_same_repository() {
    let scene = Scene::new();
    scene.write("root/.git/worktrees/tree/commondir", "../..\n");
    scene.write("root/.git/worktrees/other/HEAD", "ref: refs/heads/main\n");
    assert_eq!(scene.code(), "fine");
    scene.repository("root/two/.git");
    for (commondir, wanted) in
        [(scene.path("outside/.git"), "repository-outside"), (scene.path("root/two/.git"), "repository-outside")]
    {
        scene.write("root/.git/worktrees/tree/commondir", commondir);
        assert_eq!(scene.code(), wanted);
    }
}

/// What actions/checkout and its like leave behind.
#[test]
fn settings_of_checkouts_are_harmless() {
    for name in ["http.https://github.com/.extraheader=AUTHORIZATION: basic x", "core.packedrefstimeout=5", "http.postbuffer=1"] {
        let setting = match name.split_once('=').unwrap() {
            ("http.https://github.com/.extraheader", value) => Setting {
                section: "http".to_owned(),
                subsection: Some("https://github.com/".to_owned()),
                key: "extraheader".to_owned(),
                value: Some(value.to_owned()),
            },
            _ => setting(name),
        };
        assert!(allowed(&setting).is_some(), "{name}");
    }
}

#[test]
fn lists_of_files_lead_nowhere() {
    let scene = Scene::new();
    scene.write("root/.git/reftable/tables.list", "0x1-0x1-a.ref\n");
    assert_eq!(scene.code(), "fine");
    scene.write("root/.git/reftable/tables.list", "0x1-0x1-a.ref\n../../../outside/x.ref\n");
    assert_eq!(scene.code(), "repository-outside");
}

/// git would count their paths from where it is started.
#[test]
fn settings_with_files_are_not_for_starts_inside_a_repository() {
    let scene = Scene::new();
    scene.write("root/.git/config", "[core]excludesFile=x\n");
    assert_eq!(scene.code(), "fine");
    for directory in ["root/.git", "root/.git/refs"] {
        assert_eq!(scene.judge(directory).unwrap_err().code, "repository-config", "{directory}");
    }
}

#[test]
fn a_reference_stands_for_references_alone() {
    for (file, text, is_fine) in [
        ("HEAD", "ref: refs/heads/other\n", true),
        ("HEAD", "ref: hooks/x\n", false),
        ("HEAD", "ref: refs/../commondir\n", false),
        ("ORIG_HEAD", "ref: commondir\n", false),
        ("ORIG_HEAD", "ref:commondir                            \n", false),
        ("ORIG_HEAD", "0123456789012345678901234567890123456789\n", true),
        ("ORIG_HEAD", "ref: refs/heads/x/commondir\n", false),
        ("NOTES_MERGE_REF", "ref: refs/notes/commits\n", true),
        ("refs/stash", "ref: refs/heads/x\n", false),
        ("AUTO_MERGE", "ref:\tcommondir", false),
        ("COMMIT_EDITMSG", "ref: [#12] a message may say so\n", true),
        ("description", "ref: anything\n", true),
        ("refs/remotes/origin/HEAD", "ref: refs/remotes/origin/main\n", true),
        ("refs/stash", "ref: hooks/d/x\n", false),
        ("refs/heads/deep/er", "ref: worktrees/x/commondir\n", false),
    ] {
        let scene = Scene::new();
        scene.write(&format!("root/.git/{file}"), text);
        let code = scene.judge("root").map_err(|refusal| refusal.code);
        assert_eq!(code, if is_fine { Ok(()) } else { Err("repository-outside") }, "{file}: {text}");
    }
}

/// Files whose directories are listed by way of a test.
struct Listed<L> {
    files: Grants,
    list: L,
}

impl<L: Fn(&str, Vec<(String, Kind)>) -> Vec<(String, Kind)>> Files for Listed<L> {
    fn kind(&self, path: &str) -> Result<Kind, Trouble> {
        self.files.kind(path)
    }

    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Trouble> {
        self.files.read(path, most)
    }

    fn entries(&self, path: &str, most: usize) -> Result<Vec<(String, Kind)>, Trouble> {
        Ok((self.list)(path, self.files.entries(path, most)?))
    }
}

#[test]
fn directories_of_references_are_listed_once() {
    let scene = Scene::new();
    scene.write("root/.git/refs/heads/deep/er", "");
    let listed = RefCell::new(BTreeMap::<String, u32>::new());
    scene
        .judge_listed(|path, entries| {
            *listed.borrow_mut().entry(path.to_owned()).or_default() += 1;
            entries
        })
        .unwrap();
    for directory in ["root/.git", "root/.git/refs", "root/.git/refs/heads", "root/.git/refs/heads/deep"] {
        assert_eq!(listed.borrow().get(&scene.path(directory)), Some(&1), "{directory}");
    }
}

/// As on a file system that makes no difference between cases.
#[test]
fn references_that_are_listed_under_another_name_are_refused() {
    let renamed = |(name, kind): (String, Kind)| (if name == "refs" { "REFS".to_owned() } else { name }, kind);
    let judged = Scene::new().judge_listed(|_, entries| entries.into_iter().map(renamed).collect());
    assert_eq!(judged.unwrap_err().code, "repository-unreadable");
}

#[test]
fn a_repository_does_not_lie_among_references() {
    for (directory, is_fine) in [
        ("other/logs/refs/heads/x", false),
        ("other/refs/heads/x", false),
        ("other/LOGS/x", false),
        ("other/worktrees/x", true),
        ("other/modules/refs", true),
        ("logs/x", true),
    ] {
        let scene = Scene::new();
        for name in ["root/other", &format!("root/{directory}")] {
            scene.repository(name);
        }
        fs::remove_dir_all(scene.path("root/.git")).unwrap();
        scene.write("root/.git", format!("gitdir: {directory}\n"));
        let code = scene.judge("root").map_err(|refusal| refusal.code);
        assert_eq!(code, if is_fine { Ok(()) } else { Err("repository-outside") }, "{directory}");
        scene.repository("root/plain");
        scene.write("root/plain/commondir", format!("../{directory}\n"));
        scene.write("root/.git", "gitdir: plain\n");
        assert_eq!(scene.judge("root").is_ok(), is_fine, "by way of commondir: {directory}");
    }
}

#[test]
fn repositories_above_are_judged_too() {
    let scene = Scene::new();
    scene.repository("root/inner/.git");
    scene.write("root/.git/config", "[filter \"x\"]clean=x");
    assert_eq!(scene.judge("root/inner").unwrap_err().code, "repository-config");
}

#[test]
fn configuration_of_the_user_is_judged_where_jobs_can_write_it() {
    let scene = Scene::new();
    let files = Grants::new(vec![scene.path("root")]);
    scene.write("outside/.gitconfig", "[alias]x=!y");
    assert_eq!(repository::judge_own(&files, &scene.path("outside/.gitconfig"), &Visit::default()), Ok(()));
    let own = |path: &str, changes_files| {
        repository::judge_own(&files, &scene.path(path), &Visit { changes_files, ..Visit::default() })
            .map_or_else(|refusal| refusal.code, |()| "fine")
    };
    assert_eq!((own("root/.gitconfig", false), own("root/.gitconfig", true)), ("fine", "repository-inside"));
    fs::remove_dir_all(scene.path("root/.git")).unwrap();
    assert_eq!((own("root/.gitconfig", true), own("root/home/.config/git/config", true)), ("fine", "fine"));
    scene.repository("root/dotfiles/.git");
    fs::create_dir_all(scene.path("root/dotfiles/config")).unwrap();
    fs::create_dir_all(scene.path("root/home")).unwrap();
    scene.link("root/home/.config", "../dotfiles/config");
    assert_eq!(own("root/home/.config/git/config", true), "repository-link");
    scene.write("root/.gitconfig", "[alias]x=!y");
    assert_eq!(own("root/.gitconfig", false), "repository-config");
}

#[test]
fn the_schema_beside_the_policy_is_that_of_its_settings() {
    portcullis_sdk::harness::check_schema::<Settings>(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"));
}

/// A call that executes nothing is not asked what it would execute; one that could lead git elsewhere, or goes on with something
/// else, is.
#[test]
fn settings_that_only_execute_are_told_apart() {
    for name in [
        "alias.st",
        "diff.x.textconv",
        "diff.external",
        "merge.x.driver",
        "gpg.program",
        "gpg.ssh.program",
        "pager.log",
        "mergetool.x.cmd",
    ] {
        assert!(only_executes(&setting(name)), "{name}");
    }
    for name in [
        "alias.log",
        "alias.whatchanged",
        "alias.x.command",
        "core.worktree",
        "diff.orderfile",
        "diff.x.cachetextconv",
        "diff.x.xfuncname",
        "filter.x.clean",
        "filter.x.process",
        "filter.x.required",
        "gpg.ssh.allowedsignersfile",
        "gpg.ssh.revocationfile",
        "include.path",
        "merge.x.command",
        "protocol.ext.allow",
        "remote.x.proxy",
        "url.x.insteadof",
        "core.unknown",
    ] {
        assert!(!only_executes(&setting(name)), "{name}");
    }
    let scene = Scene::new();
    let judged =
        |executes| scene.visit("root", Visit { executes, ..Visit::default() }).map_or_else(|refusal| refusal.code, |()| "fine");
    for (text, expected) in [
        ("[alias]st=!x\n[diff \"x\"]textconv=x\n[pager]log=less", "fine"),
        ("[alias]st=!x\n[filter \"x\"]clean=x", "repository-config"),
        ("[pager]log=less\n[include]path=x", "repository-config"),
    ] {
        scene.write("root/.git/config", text);
        assert_eq!((judged(Executes::Nothing), judged(Executes::Something)), (expected, "repository-config"), "{text}");
    }
}

#[test]
fn only_calls_that_stay_and_are_confined_execute_nothing() {
    for (settings, command, expected) in [
        ("{}", "status", Executes::Nothing),
        ("{}", "cat-file -p HEAD", Executes::Nothing),
        ("{}", "--version", Executes::Nothing),
        ("{}", "commit -m x", Executes::Something),
        ("{}", "diff --submodule", Executes::Something),
        ("{}", "st", Executes::Something),
        (r#"{"confine":false}"#, "status", Executes::Something),
        (r#"{"exec_paths":["/usr/bin/x"]}"#, "status", Executes::Something),
        (r#"{"exec_paths":[]}"#, "status", Executes::Nothing),
        (r#"{"exec_paths":[]}"#, "st", Executes::Something),
    ] {
        let words: Vec<&str> = ["git"].into_iter().chain(command.split(' ')).collect();
        let request = rewritten(&policy(settings), World::new().request(&words));
        assert_eq!(visit::visits(&request, &[0])["/work"].executes, expected, "{settings} {command}");
    }
    let mut both = Visit { executes: Executes::Nothing, ..Visit::default() };
    both.add(Visit { executes: Executes::Nothing, ..Visit::default() });
    assert_eq!(both.executes, Executes::Nothing);
    assert_eq!(both.and(Visit::default()).executes, Executes::Something);
}

#[test]
fn lists_of_the_user_are_no_links_where_jobs_can_write_them() {
    let scene = Scene::new();
    let files = Grants::new(vec![scene.path("root")]);
    let code =
        |path: &str| repository::judge_own_list(&files, &scene.path(path)).map_or_else(|refusal| refusal.code, |()| "fine");
    scene.write("outside/ignore", "x\n");
    scene.write("root/ignore", "x\n");
    scene.link("root/link", "../outside/ignore");
    scene.link("root/elsewhere", "../outside");
    let wanted = [
        ("outside/ignore", "fine"),
        ("root/ignore", "fine"),
        ("root/none", "fine"),
        ("root/link", "repository-link"),
        ("root/elsewhere/ignore", "repository-outside"),
        ("root/.git", "repository-unreadable"),
    ];
    wanted.into_iter().for_each(|(path, wanted)| assert_eq!(code(path), wanted, "{path}"));
}
