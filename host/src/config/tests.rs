//! Every scene has a directory of its own with a home, a project to work in and an administrator's corner; nothing of the process's
//! state is touched.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// The least a file needs.
const POLICY: &str = "[[policies]]\nname = 'a'\ncomponent = 'builtin:allowlist'\n";

struct Scene {
    directory: TempDir,
    surroundings: Surroundings,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let surroundings = Surroundings {
            variables: [("PATH".into(), root.join("bin").into())].into(),
            cwd: Ok(root.join("project")),
            home: Some(root.join("home")),
            uid,
            administrators_file: root.join("etc/config.toml"),
            administrator: uid,
            builtins: builtins(),
        };
        let scene = Self { directory, surroundings };
        scene.chmod("", 0o700);
        for below in ["home/.config/portcullis", "home/src", "project", "etc", "bin"] {
            scene.directory(below);
        }
        scene
    }

    /// A directory, parents included, that only its owner can write whatever the umask is.
    fn directory(&self, below: &str) {
        let mut made = PathBuf::new();
        for part in Path::new(below) {
            made.push(part);
            let path = self.path("").join(&made);
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(below)
    }

    fn file(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        fs::write(&path, text).unwrap();
        self.chmod(below, 0o644);
        path
    }

    fn chmod(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).unwrap();
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.surroundings.variables.insert(name.into(), value.into());
    }

    fn load(&self) -> Result<Config, Mistakes> {
        load(None, &self.surroundings)
    }

    /// What `text` in the user's file means.
    fn read(&self, text: &str) -> Result<Config, Mistakes> {
        self.file("home/.config/portcullis/config.toml", text);
        self.load()
    }

    /// The mistakes as they are shown, without the name of the file; `DIR` stands for the scene's directory.
    fn mistakes(&self, result: Result<Config, Mistakes>) -> Vec<String> {
        let directory = self.path("").display().to_string();
        let directory = directory.trim_end_matches('/');
        let shown = |mut mistake: Mistake| {
            mistake.file = None;
            mistake.to_string().replace(directory, "DIR")
        };
        match result {
            Ok(_) => Vec::new(),
            Err(Mistakes(list)) => list.into_iter().map(shown).collect(),
        }
    }

    /// Makes `below` belong to someone who is neither root nor the user of the scene.
    fn give_away(&mut self, below: &str) {
        if rustix::process::geteuid().is_root() {
            chown(self.path(below), Some(4243), None).unwrap();
        } else {
            // Who can not give a file away is declared to be someone else.
            self.surroundings.uid = 4243;
            self.surroundings.administrator = 4243;
        }
    }
}

fn builtins() -> Vec<Builtin> {
    let builtin = |name, default_settings| Builtin { name, default_settings };
    vec![
        builtin("allowlist", "[programs.git]\nflags = ['--version']"),
        builtin("harden", ""),
        builtin("redact", "patterns = ['a+']"),
        builtin("tidy", ""),
    ]
}

fn variable<'c>(config: &'c Config, name: &str) -> Option<&'c str> {
    let mut env = config.jobs.env.iter();
    env.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

// The example, which is the built-in configuration.

#[test]
fn works_without_any_file() {
    let mut scene = Scene::new();
    scene.set("HOME", scene.path("home"));
    let config = scene.load().unwrap();

    assert_eq!(config.origin, Origin::Embedded);
    assert_eq!(config.jobs.roots, [scene.path("project")]);
    assert_eq!(config.jobs.cwd, scene.path("project"));
    assert_eq!(config.jobs.path, [scene.path("bin")]);
    assert_eq!(variable(&config, "PATH"), scene.path("bin").to_str());
    assert_eq!(variable(&config, "HOME"), scene.path("home").to_str());
    assert_eq!(variable(&config, "TERM"), Some("dumb"));
    assert_eq!(config.audit.path, scene.path("home/.local/state/portcullis/audit.jsonl"));
    assert_eq!(config.cache, scene.path("home/.cache/portcullis"));
    assert_eq!(config.default_verdict, DefaultVerdict::Deny);
    assert_eq!(config.ask, Ask { trust_client: false, timeout: Duration::from_secs(120) });
    assert!(config.overridden.is_empty());

    let policies: Vec<_> =
        config.policies.iter().map(|entry| (entry.name.as_str(), &entry.component, entry.may_rewrite)).collect();
    let builtin = |name: &str| ComponentSource::Builtin(name.to_owned());
    let expected = [
        ("allowlist", &builtin("allowlist"), false),
        ("harden", &builtin("harden"), true),
        ("redact", &builtin("redact"), false),
        ("tidy", &builtin("tidy"), false),
    ];
    assert_eq!(policies, expected);
    let applied: Vec<_> = config.policies.iter().map(|entry| (entry.apply, entry.on_fault)).collect();
    let stream = (Apply::Stream, OnFault::Withhold);
    assert_eq!(applied, [stream, stream, stream, (Apply::Reads, OnFault::Withhold)]);
    assert!(config.policies.iter().all(|entry| entry.mode == Mode::Enforce && entry.sha256.is_none()));
    assert!(!config.watch && config.files.is_empty());
}

/// The example without the values it states means the same.
#[test]
fn example_states_the_defaults() {
    let scene = Scene::new();
    let stated = scene.load().unwrap();
    let policies = &EMBEDDED[EMBEDDED.find("\n[[policies]]").unwrap()..];
    let left_out = scene.read(policies).unwrap();

    assert_eq!(format!("{:?}", stated.jobs), format!("{:?}", left_out.jobs));
    assert_eq!(stated.jobs.env, left_out.jobs.env);
    assert_eq!(stated.limits, left_out.limits);
    assert_eq!(stated.default_verdict, left_out.default_verdict);
    assert_eq!(stated.audit, left_out.audit);
    assert_eq!(stated.cache, left_out.cache);
    assert_eq!((stated.http, stated.principals), (left_out.http, left_out.principals));
}

/// The example with every commented-out line put back.
fn uncommented() -> String {
    let is_code = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    EMBEDDED.lines().map(|line| line.strip_prefix('#').filter(|l| is_code(l)).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn example_comments_only_keys_that_are_known() {
    let scene = Scene::new();
    let text = uncommented();
    assert_eq!(text.matches("[[policies]]\n").count(), 5, "{text}");

    scene.file("home/.config/portcullis/house-rules.wasm", "");
    for below in ["home/src/portcullis", "home/.local/state", "home/.cache"] {
        scene.directory(below);
    }
    scene.file("home/.config/portcullis/tokens", &format!("ada {}", "a".repeat(32)));
    scene.chmod("home/.config/portcullis/tokens", 0o600);
    let there = scene.path("").display().to_string();
    let text = text.replace("/usr/share/dict", &there);
    let config = scene.read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.policies[4].settings["max_files"], 20);
    assert_eq!(config.jobs.cwd, scene.path("home/src/portcullis"));
}

#[test]
fn example_leaves_no_key_out() {
    let has = |table: &toml::Table, keys: Vec<&str>| {
        for key in keys {
            assert!(table.contains_key(key), "{key} is not in config.toml");
        }
    };
    let whole: toml::Table = toml::from_str(&uncommented()).unwrap();
    has(&whole, raw::keys::<raw::RawConfig>());
    has(whole["jobs"].as_table().unwrap(), raw::keys::<raw::RawJobs>());
    let env = whole["jobs"]["env"].as_table().unwrap();
    has(env, raw::keys::<raw::RawEnv>());
    has(whole["jobs"]["limits"].as_table().unwrap(), raw::keys::<raw::RawJobLimits>());
    let limits = whole["limits"].as_table().unwrap();
    has(limits, raw::keys::<raw::RawLimits>());
    let decision = whole["decision"].as_table().unwrap();
    has(decision, raw::keys::<raw::RawDecision>());
    has(whole["ask"].as_table().unwrap(), raw::keys::<raw::RawAsk>());
    has(whole["audit"].as_table().unwrap(), raw::keys::<raw::RawAudit>());
    has(whole["http"].as_table().unwrap(), raw::keys::<raw::RawHttp>());
    has(whole["principals"].as_table().unwrap(), raw::keys::<raw::RawPrincipals>());
    has(whole["cache"].as_table().unwrap(), raw::keys::<raw::RawCache>());
    let own = whole["policies"][4].as_table().unwrap();
    has(own, raw::keys::<raw::RawPolicy>());
    has(own["grants"].as_table().unwrap(), raw::keys::<raw::RawGrants>());
}

// Values.

#[test]
fn a_principal_has_its_share_and_never_more_than_all() {
    let scene = Scene::new();
    let read = |text: &str| scene.read(&format!("{text}\n{POLICY}")).unwrap().principals;
    let all = read("[jobs]\nmax_running = 3\nmax_queued = 4\noutput_total_bytes = 70000");
    assert_eq!(all, Principals { max_running: 3, max_queued: 4, output_bytes: 70_000, requests_per_s: 500 });
    let share =
        read("jobs.max_running = 3\n[principals]\nmax_running = 2\nmax_queued = 200\noutput_bytes = 1\nrequests_per_s = 7");
    assert_eq!(share, Principals { max_running: 2, max_queued: 100, output_bytes: 1, requests_per_s: 7 });
    // Where several can come, none can fill the queue.
    scene.file("home/tokens", &format!("ada {}", "a".repeat(32)));
    scene.chmod("home/tokens", 0o600);
    let queued =
        |said| read(&format!("http.tokens = '~/tokens'\njobs.max_queued = 5\nprincipals.max_queued = {said}")).max_queued;
    assert_eq!([0, 4, 9].map(queued), [3, 4, 5]);
}

#[test]
fn who_may_come_in() {
    let scene = Scene::new();
    let token = "a".repeat(32);
    scene.file("home/tokens", &format!("ada {token}"));
    scene.chmod("home/tokens", 0o600);
    let text =
        "[http]\ntokens = '~/tokens'\nhosts = ['jobs.example.com', 'x:80']\norigins = ['https://a.example', 'http://b:81']";
    let http = scene.read(&format!("{text}\n{POLICY}")).unwrap().http;
    assert_eq!(http.tokens.unwrap().holder(token.as_bytes()).unwrap().as_str(), "ada");
    assert_eq!(http.own_token, None);
    assert_eq!(http.hosts, ["jobs.example.com", "x:80"].map(|host| host.parse().unwrap()));
    assert_eq!(http.origins, ["https://a.example:443", "http://b:81"].map(|origin| origin.parse().unwrap()));
    let http = scene.read(POLICY).unwrap().http;
    assert_eq!((http.tokens, http.own_token), (None, Some(scene.path("home/.local/state/portcullis/http-token"))));
}

#[rstest]
#[case("http.tokens = '~/nothing'", "http.tokens: DIR/home/nothing: No such file")]
#[case("http.tokens = 'tokens'", "http.tokens: `tokens` is a relative path")]
#[case("http.tokens = 1", "http.tokens: found a whole number")]
#[case("http.hosts = ['a b']", "http.hosts[0]: `a b` is no host")]
#[case("http.hosts = ['http://a']", "http.hosts[0]: `http://a` is no host")]
#[case("http.hosts = ['']", "http.hosts[0]: `` is no host")]
#[case("http.origins = ['a.example']", "http.origins[0]: `a.example` is no origin")]
#[case("http.origins = ['https://a.example/x']", "http.origins[0]: `https://a.example/x` is no origin")]
#[case("http.origins = ['*']", "http.origins[0]: `*` is no origin")]
#[case("principals.max_running = -1", "principals.max_running: -1 is out of range")]
#[case("principals.requests_per_s = 0", "principals.requests_per_s: 0 is out of range")]
fn who_can_not_come_in_so(#[case] text: &str, #[case] expected: &str) {
    let scene = Scene::new();
    let mistakes = scene.mistakes(scene.read(&format!("{text}\n{POLICY}")));
    assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{mistakes:?}");
}

#[test]
fn values_get_their_units() {
    let scene = Scene::new();
    let config = scene
        .read(&format!(
            "[jobs]\nmax_running = 3\ntimeout_s = 0\ngrace_ms = 250\noutput_bytes = 1024\nkeep_finished = 7\nkeep_finished_s = 9\n\
             [jobs.limits]\nopen_files = 64\nmemory_mib = 4096\ncpu_s = 10\nprocesses = 100\n\
             [limits]\ndecision_ms = 5\nmemory_mib = 4096\ntable_elements = 8\nstack_kib = 64\nhostcall_mib = 2\nlog_bytes = 0\n\
             [decision]\ndefault = 'ask'\n[ask]\ntrust_client = true\ntimeout_s = 7\n[reload]\nwatch = true\n{POLICY}may_rewrite = true\nmode = 'monitor'\nsha256 = '{}'\ngrants = {{ env = ['CI'], read = ['~'] }}",
            "Ab".repeat(32)
        ))
        .unwrap();

    assert_eq!(config.jobs.max_running, 3);
    assert_eq!(config.jobs.timeout, None);
    assert_eq!(config.jobs.grace, Duration::from_millis(250));
    assert_eq!(config.jobs.output_bytes, 1024);
    assert_eq!(config.jobs.keep_finished, 7);
    assert_eq!(config.jobs.keep_for, Duration::from_secs(9));
    let limits =
        JobLimits { open_files: Some(64), memory_bytes: Some(4 << 30), cpu_s: Some(10), file_bytes: None, processes: Some(100) };
    assert_eq!(config.jobs.limits, limits);
    let limits = Limits {
        decision: Duration::from_millis(5),
        memory_bytes: 4 << 30,
        table_elements: 8,
        stack_bytes: 64 << 10,
        hostcall_bytes: 2 << 20,
        log_bytes: 0,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.default_verdict, DefaultVerdict::Ask);
    assert_eq!(config.ask, Ask { trust_client: true, timeout: Duration::from_secs(7) });
    assert!(config.policies[0].may_rewrite && config.watch);
    assert_eq!(config.policies[0].mode, Mode::Monitor);
    assert_eq!(config.policies[0].sha256.unwrap().to_string(), "ab".repeat(32));
    let grants = Grants { env: vec!["CI".to_owned()], read: vec![scene.path("home")] };
    assert_eq!(config.policies[0].grants, grants);
}

#[test]
fn patterns_pass_no_variable_that_is_passed_by_name_only() {
    let mut scene = Scene::new();
    for name in
        ["LC_TIME", "LESSOPEN", "LD_PRELOAD", "LANGUAGE", "LOCPATH", "PYTHONPATH", "BASH_FUNC_ls%%", "PATH_INFO", "XDG_DATA_DIRS"]
    {
        scene.set(name, "C.UTF-8");
    }
    let every_letter: Vec<String> = ('A'..='Z').map(|letter| format!("{letter}*")).collect();
    let config =
        scene.read(&format!("jobs.env.pass = ['LESSOPEN']\njobs.env.pass_matching = {every_letter:?}\n{POLICY}")).unwrap();
    let passed: Vec<&str> =
        config.jobs.env.iter().filter(|(_, value)| value == "C.UTF-8").map(|(name, _)| name.as_str()).collect();
    assert_eq!(passed, ["LANGUAGE", "LC_TIME", "LESSOPEN", "PATH_INFO", "XDG_DATA_DIRS"]);
}

#[test]
fn the_shell_is_the_first_bash_of_the_path_unless_told() {
    let scene = Scene::new();
    let shell = |text: &str| scene.read(&format!("{text}\n{POLICY}")).unwrap().jobs.shell;
    assert_eq!(shell("jobs.path = ['/nowhere', '/usr/bin', '/bin']"), Some("/usr/bin/bash".into()));
    assert_eq!(shell("jobs.path = ['/nowhere']"), None);
    assert_eq!(shell("jobs.shell = '/bin/bash'"), Some("/bin/bash".into()));
    assert_eq!(shell("jobs.shell = false"), None);
    // One that jobs could write is none.
    std::os::unix::fs::symlink("/usr/bin/bash", scene.path("project/bash")).unwrap();
    assert_eq!(
        scene.mistakes(scene.read(&format!("jobs.shell = '{}'\n{POLICY}", scene.path("project/bash").display()))).len(),
        1
    );
}

#[test]
fn roots_can_be_granted_by_one_word() {
    let scene = Scene::new();
    let config = scene
        .read(&format!("[jobs]\nroots = ['{}']\n{POLICY}grants = {{ read = ['roots', '~'] }}", scene.path("project").display()))
        .unwrap();
    assert_eq!(config.policies[0].grants.read, [scene.path("project"), scene.path("home")]);
}

#[rstest]
#[case::too_few("jobs.max_running", "0", "1000")]
#[case::too_many("jobs.max_running", "1001", "1000")]
#[case("jobs.timeout_s", "-1", "604800")]
#[case("jobs.timeout_s", "604801", "604800")]
#[case("jobs.grace_ms", "60001", "60000")]
#[case("jobs.output_bytes", "1023", "1073741824")]
#[case("jobs.output_bytes", "1073741825", "1073741824")]
#[case("jobs.keep_finished", "0", "10000")]
#[case("jobs.keep_finished", "10001", "10000")]
#[case("jobs.keep_finished_s", "0", "604800")]
#[case("jobs.keep_finished_s", "604801", "604800")]
#[case("jobs.limits.open_files", "-1", "1048576")]
#[case("jobs.limits.open_files", "1048577", "1048576")]
#[case("jobs.limits.memory_mib", "1048577", "1048576")]
#[case("jobs.limits.cpu_s", "604801", "604800")]
#[case("jobs.limits.file_mib", "1048577", "1048576")]
#[case("jobs.limits.processes", "4194305", "4194304")]
#[case("limits.decision_ms", "0", "60000")]
#[case("limits.decision_ms", "60001", "60000")]
#[case("limits.memory_mib", "4097", "4096")]
#[case("limits.table_elements", "0", "10000000")]
#[case("limits.stack_kib", "63", "8192")]
#[case("limits.stack_kib", "8193", "8192")]
#[case("limits.hostcall_mib", "1025", "1024")]
#[case("limits.log_bytes", "16777217", "16777216")]
#[case::largest_of_all("limits.memory_mib", "9223372036854775807", "4096")]
fn numbers_out_of_range(#[case] key: &str, #[case] value: &str, #[case] max: &str) {
    let scene = Scene::new();
    let mistakes = scene.mistakes(scene.read(&format!("{key} = {value}\n{POLICY}")));
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let begin = format!("{key}: {value} is out of range; must be a whole number of ");
    assert!(mistakes[0].starts_with(&begin), "{}", mistakes[0]);
    assert!(mistakes[0].contains(&format!(" to {max}")), "{}", mistakes[0]);
}

/// The text of a file, without policies, and the one mistake in it.
#[rstest]
#[case::string_for_number(
    "jobs.timeout_s = '1h'",
    "jobs.timeout_s: found a string; must be a whole number of seconds from 0 to 604800 (0: no limit)"
)]
#[case::fraction_for_number(
    "jobs.max_running = 1.5",
    "jobs.max_running: found a number with a fraction; must be a whole number of jobs from 1 to 1000"
)]
#[case::number_for_table("jobs = 3", "jobs: found a whole number; must be a table")]
#[case::list_for_table("limits = []", "limits: found a list; must be a table")]
#[case::date_for_string(
    "audit.path = 1979-05-27",
    "audit.path: found a date or time; must be a path as a string, absolute or `~/…`"
)]
#[case::unit_left_off("jobs.timeout = 3", "jobs.timeout: unknown key; did you mean `timeout_s`?")]
#[case::mistyped("limits.memroy_mib = 3", "limits.memroy_mib: unknown key; did you mean `memory_mib`?")]
#[case::top_level("job.max_running = 3", "job: unknown key; did you mean `jobs`?")]
#[case::nothing_near("audit.zzzzzzzz = 1", "audit.zzzzzzzz: unknown key; known here: path, max_bytes, keep")]
#[case::odd_key("jobs.env.'a b' = 1", r#"jobs.env."a b": unknown key; known here: pass, pass_matching, set"#)]
#[case::verdict("decision.default = 'maybe'", r#"decision.default: found a string; must be "deny", "ask" or "allow""#)]
#[case::roots_no_list("jobs.roots = '/'", "jobs.roots: found a string; must be a list of strings")]
#[case::root_no_string("jobs.roots = ['~/src', 1]", "jobs.roots[1]: found a whole number; must be a string")]
#[case::root_relative("jobs.roots = ['.']", "jobs.roots[0]: `.` is a relative path; must be a path, absolute or `~/…`")]
#[case::root_of_another_user(
    "jobs.roots = ['~root']",
    "jobs.roots[0]: `~root` is a relative path; must be a path, absolute or `~/…`"
)]
#[case::root_missing(
    "jobs.roots = ['~/none']",
    "jobs.roots[0]: DIR/home/none: No such file or directory (os error 2); must be an existing directory"
)]
#[case::root_empty("jobs.roots = ['']", "jobs.roots[0]: is empty; must be a path, absolute or `~/…`")]
#[case::root_nul(r#"jobs.roots = ["/\u0000"]"#, "jobs.roots[0]: contains a NUL character; must be a path, absolute or `~/…`")]
#[case::cwd_outside("jobs.cwd = '~'", "jobs.cwd: DIR/home is outside every root; must lie in one of `jobs.roots`")]
#[case::cwd_file(
    "jobs.cwd = '~/.config/portcullis/config.toml'",
    "jobs.cwd: DIR/home/.config/portcullis/config.toml is no directory; must be an existing directory"
)]
#[case::path_empty("jobs.path = []", "jobs.path: is empty; must name at least one directory, or be left out")]
#[case::path_relative("jobs.path = ['bin']", "jobs.path[0]: `bin` is a relative path; must be a path, absolute or `~/…`")]
#[case::path_colon("jobs.path = ['/a:/b']", "jobs.path[0]: /a:/b can not stand in PATH; must be UTF-8 without a colon")]
#[case::path_file(
    "jobs.path = ['~/.config/portcullis/config.toml']",
    "jobs.path[0]: DIR/home/.config/portcullis/config.toml is no directory; must be a directory"
)]
#[case::pass_pattern(
    "jobs.env.pass = ['GIT_*']",
    r#"jobs.env.pass[0]: "GIT_*" is no name of a variable; must be one exact name of letters, digits and `_`; patterns are not taken"#
)]
#[case::matching_no_pattern(
    "jobs.env.pass_matching = ['LANG']",
    r#"jobs.env.pass_matching[0]: "LANG" is no pattern; must be the beginning of names and a `*`, such as `LC_*`; exact names belong into `jobs.env.pass`"#
)]
#[case::matching_everything(
    "jobs.env.pass_matching = ['*']",
    r#"jobs.env.pass_matching[0]: "*" is no pattern for names of variables; must be the beginning of names and a `*`, such as `LC_*`"#
)]
#[case::matching_elsewhere(
    "jobs.env.pass_matching = ['*_KEY']",
    r#"jobs.env.pass_matching[0]: "*_KEY" is no pattern; must be the beginning of names and a `*`, such as `LC_*`; exact names belong into `jobs.env.pass`"#
)]
#[case::matching_loaders(
    "jobs.env.pass_matching = ['LD_*']",
    "jobs.env.pass_matching[0]: `LD_*` would pass what no pattern may: the loader maps what they name into every program; \
     write each exact name that you mean into `jobs.env.pass`"
)]
#[case::matching_part_of_a_hazard(
    "jobs.env.pass_matching = ['GIT_SSH*']",
    "jobs.env.pass_matching[0]: `GIT_SSH*` would pass what no pattern may: git runs what they name, and reads and writes where \
     they say; write each exact name that you mean into `jobs.env.pass`"
)]
#[case::shell_relative("jobs.shell = 'bash'", "jobs.shell: `bash` is a relative path; must be a path, absolute or `~/…`")]
#[case::shell_true(
    "jobs.shell = true",
    "jobs.shell: `true` names no shell; must be the path of a bash, or `false`, which refuses all scripts"
)]
#[case::shell_number(
    "jobs.shell = 1",
    "jobs.shell: found a whole number; must be the path of a bash, or `false`, which refuses all scripts"
)]
#[case::shell_of_another_grammar(
    "jobs.shell = '/usr/bin/env'",
    "jobs.shell: /usr/bin/env is no bash; must be the path of a bash, or `false`, which refuses all scripts"
)]
#[case::shell_missing(
    "jobs.shell = '/nowhere/bash'",
    "jobs.shell: /nowhere/bash: No such file or directory (os error 2); must be the path of a bash, or `false`, which refuses all scripts"
)]
#[case::pass_path("jobs.env.pass = ['PATH']", "jobs.env.pass[0]: `PATH` is made of `jobs.path`; write the directories there")]
#[case::set_path("jobs.env.set.PATH = '/bin'", "jobs.env.set.PATH: `PATH` is made of `jobs.path`; write the directories there")]
#[case::set_number("jobs.env.set.A = 1", "jobs.env.set.A: found a whole number; must be a string")]
#[case::set_name(
    "jobs.env.set.'1=A' = 'x'",
    r#"jobs.env.set."1=A": "1=A" is no name of a variable; must be one exact name of letters, digits and `_`; patterns are not taken"#
)]
#[case::set_nul(r#"jobs.env.set.A = "\u0000""#, "jobs.env.set.A: contains a NUL character; must be without")]
#[case::set_date(
    "jobs.env.set = 1979-05-27",
    "jobs.env.set: found a date or time; must be a table of strings: { NAME = \"value\" }"
)]
#[case::pass_and_set(
    "jobs.env = { pass = ['A'], set = { A = '1' } }",
    "jobs.env.pass[0]: `A` stands in `jobs.env.set` too; choose one"
)]
#[case::audit_directory("audit.path = '~'", "audit.path: DIR/home is a directory; must be a file, or not exist yet")]
#[case::audit_relative(
    "audit.path = 'audit.jsonl'",
    "audit.path: `audit.jsonl` is a relative path; must be a path, absolute or `~/…`"
)]
#[case::cache_file(
    "cache.path = '~/.config/portcullis/config.toml'",
    "cache.path: DIR/home/.config/portcullis/config.toml is no directory; must be a directory, or not exist yet"
)]
#[case::cache_up_from_nowhere(
    "cache.path = '~/none/../cache'",
    "cache.path: DIR/home/none/../cache can not be resolved: entity not found; must be a path the server's user can follow"
)]
fn one_mistake(#[case] text: &str, #[case] expected: &str) {
    let scene = Scene::new();
    let text = format!("{text}\n{POLICY}");
    assert_eq!(scene.mistakes(scene.read(&text)), [expected]);
}

/// The whole entry, behind `[[policies]]`, and the one mistake in it.
#[rstest]
#[case::no_name(
    "component = 'builtin:redact'",
    "policies[0].name: is missing; must be 1 to 64 characters of `a-z`, `0-9` and `-`"
)]
#[case::bad_name(
    "name = 'My policy'\ncomponent = 'builtin:redact'",
    r#"policies[0].name: "My policy" is no name; must be 1 to 64 characters of `a-z`, `0-9` and `-`"#
)]
#[case::taken_name(
    "name = 'a'\ncomponent = 'builtin:redact'\n[[policies]]\nname = 'a'\ncomponent = 'builtin:harden'",
    "policies[1].name: `a` is the name of policies[0] too; names must be unique"
)]
#[case::no_component("name = 'a'", "policies[0].component: is missing; must be `builtin:NAME` or a path")]
#[case::unknown_builtin(
    "name = 'a'\ncomponent = 'builtin:redcat'",
    r#"policies[0].component: "redcat" is no built-in policy; did you mean `redact`?"#
)]
#[case::builtin_without_prefix(
    "name = 'a'\ncomponent = 'redact'",
    "policies[0].component: DIR/home/.config/portcullis/redact does not exist; did you mean `builtin:redact`?"
)]
#[case::missing_file(
    "name = 'a'\ncomponent = 'x.wasm'",
    "policies[0].component: DIR/home/.config/portcullis/x.wasm does not exist; must be a component's file, or one of `builtin:NAME`"
)]
#[case::directory("name = 'a'\ncomponent = '~'", "policies[0].component: DIR/home is no regular file; must be a component")]
#[case::flag(
    "name = 'a'\ncomponent = 'builtin:redact'\nmay_rewrite = 'yes'",
    "policies[0].may_rewrite: found a string; must be true or false"
)]
#[case::apply(
    "name = 'a'\ncomponent = 'builtin:redact'\napply = 'input'",
    "policies[0].apply: found a string; must be \"stream\" or \"reads\""
)]
#[case::on_fault(
    "name = 'a'\ncomponent = 'builtin:redact'\non_fault = true",
    "policies[0].on_fault: found true or false; must be \"withhold\" or \"stop-job\""
)]
#[case::mode(
    "name = 'a'\ncomponent = 'builtin:redact'\nmode = 'watch'",
    "policies[0].mode: found a string; must be \"enforce\" or \"monitor\""
)]
#[case::pin(
    "name = 'a'\ncomponent = 'builtin:redact'\nsha256 = 'abc'",
    "policies[0].sha256: \"abc\" is not 64 hexadecimal digits; must be 64 hexadecimal digits; `portcullis config check --pin` writes them"
)]
#[case::unknown_key(
    "name = 'a'\ncomponent = 'builtin:redact'\nrewrite = true",
    "policies[0].rewrite: unknown key; did you mean `may_rewrite`?"
)]
#[case::unknown_grant(
    "name = 'a'\ncomponent = 'builtin:redact'\ngrants.net = true",
    "policies[0].grants.net: unknown key; known here: env, read"
)]
#[case::grant_pattern(
    "name = 'a'\ncomponent = 'builtin:redact'\ngrants.env = ['*']",
    r#"policies[0].grants.env[0]: "*" is no name of a variable; must be one exact name of letters, digits and `_`; patterns are not taken"#
)]
#[case::grant_relative(
    "name = 'a'\ncomponent = 'builtin:redact'\ngrants.read = ['src']",
    "policies[0].grants.read[0]: `src` is a relative path; must be a path, absolute or `~/…`"
)]
#[case::settings_list(
    "name = 'a'\ncomponent = 'builtin:redact'\nsettings = []",
    "policies[0].settings: found a list; must be a table"
)]
#[case::settings_date(
    "name = 'a'\ncomponent = 'builtin:redact'\nsettings.x = [{ since = 1979-05-27 }]",
    "policies[0].settings.x[0].since: found a date or time, which JSON does not have; write it as a string"
)]
#[case::settings_nan(
    "name = 'a'\ncomponent = 'builtin:redact'\nsettings.rate = nan",
    "policies[0].settings.rate: NaN is a number JSON does not have; must be finite"
)]
#[case::settings_infinite(
    "name = 'a'\ncomponent = 'builtin:redact'\nsettings.'a.b' = -inf",
    r#"policies[0].settings."a.b": -inf is a number JSON does not have; must be finite"#
)]
fn one_mistake_in_a_policy(#[case] entry: &str, #[case] expected: &str) {
    let scene = Scene::new();
    let text = format!("[[policies]]\n{entry}");
    assert_eq!(scene.mistakes(scene.read(&text)), [expected]);
}

#[rstest]
#[case("", "policies: there is no policy; add a [[policies]] table with `name` and `component`")]
#[case("policies = []", "policies: there is no policy; add a [[policies]] table with `name` and `component`")]
#[case("policies = 'all'", "policies: found a string; must be one or more [[policies]] tables")]
#[case("policies = [1]", "policies[0]: found a whole number; must be a table")]
fn policies_are_required(#[case] text: &str, #[case] expected: &str) {
    let scene = Scene::new();
    assert_eq!(scene.mistakes(scene.read(text)), [expected]);
}

#[test]
fn too_many_policies() {
    let scene = Scene::new();
    let entry = |n| format!("[[policies]]\nname = 'p{n}'\ncomponent = 'builtin:redact'\n");
    let text: String = (0..65).map(entry).collect();
    let expected = ["policies: there are 65; must be at most 64"];
    assert_eq!(scene.mistakes(scene.read(&text)), expected);
}

#[test]
fn all_mistakes_at_once() {
    let scene = Scene::new();
    let result = scene.read(
        r#"
        colour = "red"
        policies = [{ name = "a", component = "builtin:none" }, { name = "a", settings = { at = 1979-05-27 } }]
        [jobs]
        max_running = 0
        timeout_s = "1h"
        cwd = "src"
        env.pass = ["LD_*"]
        [limits]
        memory_mib = 1e3
        [decision]
        default = true
        [audit]
        path = 3
        "#,
    );
    let paths: Vec<String> = result.unwrap_err().0.into_iter().map(|m| m.path).collect();
    let expected = [
        "colour",
        "jobs.cwd",
        "jobs.env.pass[0]",
        "jobs.max_running",
        "jobs.timeout_s",
        "limits.memory_mib",
        "decision.default",
        "audit.path",
        "policies[0].component",
        "policies[1].component",
        "policies[1].settings.at",
        "policies[1].name",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn all_errors_of_syntax_at_once_and_none_quotes_the_file() {
    let scene = Scene::new();
    let result = scene.read("[jobs\nmax_running = 1\n[jobs.env]\nset = { TOKEN = hunter2 }\n");
    let mistakes = scene.mistakes(result);
    assert!(mistakes.len() >= 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("line 1, column "), "{mistakes:?}");
    assert!(mistakes.iter().any(|m| m.starts_with("line 4, column ")), "{mistakes:?}");
    assert!(!mistakes.concat().contains("hunter2"), "{mistakes:?}");
}

#[test]
fn what_is_nested_too_deeply_is_a_mistake_like_any_other() {
    let scene = Scene::new();
    let keys = vec!["a"; 70].join(".");
    let text = format!("[{keys}]\n{keys} = 'hunter2'");
    let expected = ["found values nested too deeply; must be a table"];
    assert_eq!(scene.mistakes(scene.read(&text)), expected);

    for text in ["[".repeat(100_000), format!("a{} = 1", ".a".repeat(100_000))] {
        let text = format!("limits = {text}");
        let mistakes = scene.mistakes(scene.read(&text));
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|m| m.starts_with("line ")), "{mistakes:?}");
    }
}

#[test]
fn mistakes_name_the_file_one_on_a_line() {
    let scene = Scene::new();
    let mistakes = scene.read("a = 1\nb = 1").unwrap_err();
    let file = scene.path("home/.config/portcullis/config.toml");
    let lines: Vec<String> = mistakes.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert!(line.starts_with(&format!("{}: ", file.display())), "{line}");
    }
}

// Settings.

#[test]
fn settings_left_out_are_the_built_in_ones_and_an_empty_table_is_none() {
    let scene = Scene::new();
    let config = scene
        .read(&format!(
            "{POLICY}[[policies]]\nname = 'b'\ncomponent = 'builtin:allowlist'\nsettings = {{}}\n\
             [[policies]]\nname = 'c'\ncomponent = 'builtin:harden'\n"
        ))
        .unwrap();
    let settings: Vec<_> = config.policies.iter().map(|p| p.settings.clone()).collect();
    let defaults = json!({ "programs": { "git": { "flags": ["--version"] } } });
    assert_eq!(settings, [defaults, json!({}), json!({})]);
}

#[test]
fn settings_become_json() {
    let scene = Scene::new();
    let text = format!("{POLICY}settings = {{ a = [1, 2.5, true, 'x', {{ b = {{}} }}], 'c.d' = -3 }}");
    let config = scene.read(&text).unwrap();
    let expected = json!({ "a": [1, 2.5, true, "x", { "b": {} }], "c.d": -3 });
    assert_eq!(config.policies[0].settings, expected);
}

#[test]
fn broken_built_in_settings_do_not_start() {
    let mut scene = Scene::new();
    scene.surroundings.builtins[0].default_settings = "= 1";
    let mistakes = scene.mistakes(scene.read(POLICY));
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("policies[0].settings: "), "{mistakes:?}");
}

// Sources and their order.

#[test]
fn the_first_source_holds() {
    let mut scene = Scene::new();
    let users = scene.file("home/.config/portcullis/config.toml", POLICY);
    assert_eq!(scene.load().unwrap().origin, Origin::File(users.clone()));

    scene.directory("xdg/portcullis");
    scene.set("XDG_CONFIG_HOME", scene.path("xdg"));
    assert_eq!(scene.load().unwrap().origin, Origin::Embedded);
    let users = scene.file("xdg/portcullis/config.toml", POLICY);
    assert_eq!(scene.load().unwrap().origin, Origin::File(users.clone()));

    let named = scene.file("named.toml", POLICY);
    scene.set("PORTCULLIS_CONFIG", &named);
    assert_eq!(scene.load().unwrap().origin, Origin::File(named.clone()));

    let explicit = scene.file("explicit.toml", POLICY);
    let load = |scene: &Scene| load(Some(&explicit), &scene.surroundings).unwrap();
    let config = load(&scene);
    assert_eq!(config.origin, Origin::File(explicit.clone()));
    assert!(config.overridden.is_empty());

    scene.set("MCP_BG_MAX_JOBS", "3");
    let administrators = scene.file("etc/config.toml", POLICY);
    let config = load(&scene);
    assert_eq!(config.origin, Origin::Administrator(administrators));
    let overridden = [
        format!("--config {}", explicit.display()),
        format!("PORTCULLIS_CONFIG={}", named.display()),
        users.display().to_string(),
        "MCP_BG_MAX_JOBS".to_owned(),
    ];
    assert_eq!(config.overridden, overridden);
}

#[test]
fn a_named_file_that_is_not_there_is_a_mistake() {
    let mut scene = Scene::new();
    scene.file("home/.config/portcullis/config.toml", POLICY);
    let none = scene.path("none.toml");
    let result = load(Some(&none), &scene.surroundings);
    let expected = ["--config: DIR/none.toml does not exist; must name an existing file"];
    assert_eq!(scene.mistakes(result), expected);

    scene.set("PORTCULLIS_CONFIG", none);
    let expected = ["PORTCULLIS_CONFIG: DIR/none.toml does not exist; must name an existing file"];
    assert_eq!(scene.mistakes(scene.load()), expected);

    scene.set("PORTCULLIS_CONFIG", "");
    let expected = ["PORTCULLIS_CONFIG: is empty; must be a path, absolute or `~/…`"];
    assert_eq!(scene.mistakes(scene.load()), expected);
}

#[test]
fn nothing_comes_from_the_working_directory() {
    let mut scene = Scene::new();
    for below in ["config.toml", "portcullis.toml", ".portcullis.toml"] {
        scene.file(&format!("project/{below}"), "broken");
    }
    scene.directory("project/portcullis");
    scene.file("project/portcullis/config.toml", "broken");
    for relative in ["", ".", "../project"] {
        scene.set("XDG_CONFIG_HOME", relative);
        scene.set("XDG_STATE_HOME", relative);
        scene.set("XDG_CACHE_HOME", relative);
        let config = scene.load().unwrap();
        assert_eq!(config.origin, Origin::Embedded);
        assert!(config.audit.path.starts_with(scene.path("home")));
        assert!(config.cache.starts_with(scene.path("home")));
    }
    scene.set("PORTCULLIS_CONFIG", "config.toml");
    let expected = ["PORTCULLIS_CONFIG: `config.toml` is a relative path; must be a path, absolute or `~/…`"];
    assert_eq!(scene.mistakes(scene.load()), expected);
}

#[test]
fn a_relative_option_is_taken_from_the_current_directory() {
    let scene = Scene::new();
    let file = scene.file("beside.toml", POLICY);
    let result = load(Some(Path::new("../beside.toml")), &scene.surroundings);
    let Origin::File(path) = result.unwrap().origin else {
        panic!("not from the file");
    };
    assert_eq!(path.canonicalize().unwrap(), file);
}

#[test]
fn relative_home_counts_as_none() {
    let mut scene = Scene::new();
    scene.surroundings.home = Some("home".into());
    let mistakes = scene.mistakes(scene.load());
    let expected = "no default, since the home directory is not known; name a path here, or set HOME";
    let expected = ["audit.path", "history.path", "cache.path"].map(|path| format!("{path}: {expected}"));
    assert_eq!(mistakes, expected);
}

#[rstest]
#[case::directory(|path: &Path| fs::create_dir(path).unwrap(), "it is no regular file")]
#[case::dangling_link(|path: &Path| symlink("none", path).unwrap(), "No such file or directory")]
#[case::endless_link(|path: &Path| symlink("config.toml", path).unwrap(), "too many links")]
#[case::pipe(|path: &Path| mkfifo(path), "it is no regular file")]
#[case::not_utf8(|path: &Path| fs::write(path, b"a = '\xff'").unwrap(), "is not UTF-8 at byte 5")]
#[case::too_long(|path: &Path| fs::write(path, vec![b'#'; (1 << 20) + 1]).unwrap(), "too long")]
fn an_administrators_file_that_can_not_be_read_is_not_passed_over(#[case] make: fn(&Path), #[case] expected: &str) {
    let scene = Scene::new();
    let path = scene.path("etc/config.toml");
    make(&path);
    if path.exists() {
        scene.chmod("etc/config.toml", 0o755);
    }
    let Mistakes(list) = scene.load().unwrap_err();
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list[0].to_string().contains(expected), "{}", list[0]);
    assert_eq!(list[0].file, Some(path));
}

fn mkfifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_hidden_administrators_file_is_not_absent() {
    if rustix::process::geteuid().is_root() {
        // Nothing is hidden from root; the error's way is the same for a name that is too long.
        let mut scene = Scene::new();
        scene.surroundings.administrators_file = scene.path(&"x".repeat(300));
        assert_eq!(scene.load().unwrap_err().0.len(), 1);
        return;
    }
    let scene = Scene::new();
    scene.chmod("etc", 0o000);
    let mistakes = scene.load().unwrap_err().to_string();
    scene.chmod("etc", 0o755);
    assert!(mistakes.contains("exists can not be told"), "{mistakes}");
}

// Who else can write.

#[rstest]
#[case::group("etc/config.toml", 0o664)]
#[case::others("etc/config.toml", 0o646)]
#[case::directory("etc", 0o775)]
#[case::sticky_does_not_help_a_file("etc/config.toml", 0o1666)]
fn an_administrators_file_others_can_write_does_not_start(#[case] below: &str, #[case] mode: u32) {
    let scene = Scene::new();
    scene.file("etc/config.toml", POLICY);
    scene.chmod(below, mode);
    let expected = format!("others can write DIR/{below} (mode {mode:04o}); type: chmod go-w DIR/{below}");
    assert_eq!(scene.mistakes(scene.load()), [expected]);
}

#[test]
fn a_sticky_directory_is_no_danger() {
    let scene = Scene::new();
    scene.file("etc/config.toml", POLICY);
    scene.chmod("etc", 0o1777);
    scene.load().unwrap();
}

#[rstest]
#[case("etc/config.toml")]
#[case("home/.config/portcullis/config.toml")]
fn a_file_of_someone_else_does_not_start(#[case] below: &str) {
    let mut scene = Scene::new();
    scene.file(below, POLICY);
    scene.give_away(below);
    let mistakes = scene.mistakes(scene.load());
    let uid = fs::metadata(scene.path(below)).unwrap().uid();
    let expected = format!("DIR/{below} belongs to uid {uid}; must belong to ");
    assert!(mistakes.iter().any(|m| m.starts_with(&expected)), "{mistakes:?}");
}

#[test]
fn a_users_file_others_can_write_is_refused_along_with_its_other_mistakes() {
    let scene = Scene::new();
    scene.file("home/.config/portcullis/config.toml", "jobs.max_running = 0");
    scene.chmod("home/.config/portcullis/config.toml", 0o666);
    scene.chmod("home/.config", 0o777);
    let mistakes = scene.mistakes(scene.load());
    assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    assert!(mistakes[0].ends_with("type: chmod go-w DIR/home/.config"));
    assert!(mistakes[1].ends_with("type: chmod go-w DIR/home/.config/portcullis/config.toml"));
    assert!(mistakes[2].starts_with("jobs.max_running: "));
    assert!(mistakes[3].starts_with("policies: "));
}

#[test]
fn a_link_is_judged_by_where_it_leads_and_what_it_passes() {
    let scene = Scene::new();
    scene.directory("dot files");
    scene.file("dot files/p.toml", POLICY);
    let link = scene.path("home/.config/portcullis/config.toml");
    symlink("../../../dot files/p.toml", &link).unwrap();
    assert_eq!(scene.load().unwrap().origin, Origin::File(link));

    scene.chmod("dot files", 0o757);
    let expected = ["others can write DIR/dot files (mode 0757); type: chmod go-w 'DIR/dot files'"];
    assert_eq!(scene.mistakes(scene.load()), expected);
}

#[test]
fn a_component_others_can_write_is_refused() {
    let scene = Scene::new();
    scene.file("home/x.wasm", "");
    let text = "[[policies]]\nname = 'x'\ncomponent = '~/x.wasm'";
    let component = scene.read(text).unwrap().policies.remove(0).component;
    assert_eq!(component, ComponentSource::File(scene.path("home/x.wasm")));

    scene.chmod("home/x.wasm", 0o666);
    let expected = ["policies[0].component: others can write DIR/home/x.wasm (mode 0666); type: chmod go-w DIR/home/x.wasm"];
    assert_eq!(scene.mistakes(scene.read(text)), expected);
}

// What an agent could write.

#[test]
fn nothing_that_steers_the_server_lies_in_a_root() {
    let mut scene = Scene::new();
    scene.surroundings.cwd = Ok(scene.path("home"));
    scene.file("home/x.wasm", "");
    let text = "[[policies]]\nname = 'x'\ncomponent = '~/x.wasm'\n[jobs]\npath = ['~/bin']";
    let right = "choose a narrower root in `jobs.roots`, start in a project directory, or keep it elsewhere";
    let expected = [
        ("jobs.path[0]: ", "bin"),
        ("", ".config/portcullis/config.toml"),
        ("audit.path: ", ".local/state/portcullis/audit.jsonl"),
        ("history.path: ", ".local/state/portcullis"),
        ("cache.path: ", ".cache/portcullis"),
        ("policies[0].component: ", "x.wasm"),
    ]
    .map(|(path, below)| format!("{path}DIR/home/{below} lies in the job root DIR/home, where an agent could write it; {right}"));
    assert_eq!(scene.mistakes(scene.read(text)), expected);
}

#[rstest]
#[case::link_into_the_root("home/in", "project", "home/in/audit.jsonl")]
#[case::dangling_link_into_the_root("home/a.jsonl", "project/none", "home/a.jsonl")]
#[case::upwards("unused", "home", "home/../project/audit.jsonl")]
fn links_do_not_hide_a_root(#[case] link: &str, #[case] target: &str, #[case] audit: &str) {
    let scene = Scene::new();
    symlink(scene.path(target), scene.path(link)).unwrap();
    let audit = scene.path(audit);
    let text = format!("audit.path = '{}'\n{POLICY}", audit.display());
    let mistakes = scene.mistakes(scene.read(&text));
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].contains("lies in the job root DIR/project"), "{mistakes:?}");
}

#[test]
fn a_link_inside_a_root_leads_nowhere_safe() {
    let scene = Scene::new();
    symlink(scene.path("home"), scene.path("project/out")).unwrap();
    let audit = scene.path("project/out/audit.jsonl");
    let text = format!("audit.path = '{}'\n{POLICY}", audit.display());
    let mistakes = scene.mistakes(scene.read(&text));
    let expected =
        "audit.path: the way to DIR/home/audit.jsonl leads through the job root DIR/project, where an agent could change it; ";
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with(expected), "{mistakes:?}");
}

#[test]
fn a_root_is_known_by_its_canonical_name() {
    let mut scene = Scene::new();
    symlink(scene.path("home"), scene.path("alias")).unwrap();
    scene.surroundings.cwd = Ok(scene.path("alias"));
    let Mistakes(list) = scene.load().unwrap_err();
    let paths: Vec<_> = list.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["audit.path", "history.path", "cache.path"]);
}

#[test]
fn a_neighbour_of_a_root_is_outside() {
    let scene = Scene::new();
    let text = format!("audit.path = '{}'\n{POLICY}", scene.path("project-audit.jsonl").display());
    scene.read(&text).unwrap();
}

// Where jobs run and what with.

#[test]
fn jobs_start_where_the_server_did_if_a_root_holds_it() {
    let mut scene = Scene::new();
    for below in ["src/one", "src/two"] {
        scene.directory(below);
    }
    let text = format!("jobs.roots = ['{}', '{}']\n{POLICY}", scene.path("src").display(), scene.path("project").display());
    let config = scene.read(&text).unwrap();
    assert_eq!(config.jobs.roots, [scene.path("src"), scene.path("project")]);
    assert_eq!(config.jobs.cwd, scene.path("project"));

    scene.surroundings.cwd = Ok(scene.path("src/two"));
    assert_eq!(scene.load().unwrap().jobs.cwd, scene.path("src/two"));

    scene.surroundings.cwd = Ok(scene.path("etc"));
    assert_eq!(scene.load().unwrap().jobs.cwd, scene.path("src"));
}

#[test]
fn empty_roots_are_as_good_as_none() {
    let scene = Scene::new();
    let config = scene.read(&format!("jobs.roots = []\n{POLICY}")).unwrap();
    assert_eq!(config.jobs.roots, [scene.path("project")]);
}

#[test]
fn an_unknown_current_directory_matters_only_without_roots() {
    let mut scene = Scene::new();
    scene.surroundings.cwd = Err(io::ErrorKind::NotFound.into());
    let expected = [
        "jobs.roots: no default, since the current directory is not known: entity not found; name the directories jobs may work in",
    ];
    assert_eq!(scene.mistakes(scene.load()), expected);

    let text = format!("jobs.roots = ['{}']\n{POLICY}", scene.path("project").display());
    assert_eq!(scene.read(&text).unwrap().jobs.cwd, scene.path("project"));
}

#[test]
fn the_servers_path_loses_what_an_agent_could_fill() {
    let mut scene = Scene::new();
    for below in ["project/bin", "home/bin"] {
        scene.directory(below);
    }
    symlink(scene.path("project/bin"), scene.path("to-project")).unwrap();
    let entries = ["bin", "project/bin", "to-project", "none", "home/bin", "bin"];
    let entries = entries.map(|below| scene.path(below));
    let relative = ["", ".", "bin"].map(PathBuf::from);
    let all = std::env::join_paths(entries.iter().chain(&relative)).unwrap();
    scene.set("PATH", all);
    let expected = [scene.path("bin"), scene.path("home/bin")];
    assert_eq!(scene.load().unwrap().jobs.path, expected);

    scene.set("PATH", ".:bin");
    let mistakes = scene.mistakes(scene.load());
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("jobs.path: no default"), "{mistakes:?}");
}

#[test]
fn jobs_get_only_what_is_passed_or_set() {
    let mut scene = Scene::new();
    for name in ["LANG", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "TERM", "EXTRA"] {
        scene.set(name, format!("server's {name}"));
    }
    scene.set("TZ", OsString::from_vec(b"\xff".to_vec()));
    let names = |config: &Config| {
        let env = config.jobs.env.iter();
        env.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };

    let config = scene.read(POLICY).unwrap();
    let expected = ["CI", "DEBIAN_FRONTEND", "GIT_PAGER", "GIT_TERMINAL_PROMPT", "LANG", "NO_COLOR", "PAGER", "PATH", "TERM"];
    assert_eq!(names(&config), expected);
    assert_eq!(variable(&config, "TERM"), Some("dumb"));

    let text = format!("jobs.env.pass = ['EXTRA', 'TERM', 'NONE']\n{POLICY}");
    let config = scene.read(&text).unwrap();
    assert_eq!(variable(&config, "EXTRA"), Some("server's EXTRA"));
    assert_eq!(variable(&config, "TERM"), Some("server's TERM"));
    assert_eq!(variable(&config, "LANG"), None);

    let config = scene.read(&format!("jobs.env.set = {{ LANG = 'C' }}\n{POLICY}")).unwrap();
    assert_eq!(names(&config), ["LANG", "PATH"]);
    assert_eq!(variable(&config, "LANG"), Some("C"));
}

/// A shell that reads other characters in the same bytes reads another script.
#[rstest]
#[case("de_DE.UTF-8", "de_DE.UTF-8")]
#[case("en_US.utf8@euro", "en_US.utf8@euro")]
#[case("C", "C")]
#[case("", "")]
#[case("zh_CN.GBK", "C.UTF-8")]
#[case("zh_CN", "C.UTF-8")]
#[case("ja_JP.SJIS@x.UTF-8", "C.UTF-8")]
fn locales_have_the_character_set_of_the_judges(#[case] given: &str, #[case] got: &str) {
    let mut scene = Scene::new();
    for name in ["LANG", "LC_ALL", "LC_TIME"] {
        scene.set(name, given);
    }
    let config = scene.read(&format!("jobs.env.pass_matching = ['LC_*']\n{POLICY}")).unwrap();
    for name in ["LANG", "LC_ALL", "LC_TIME"] {
        assert_eq!(variable(&config, name), Some(got), "{name}");
    }
    assert_eq!(scene.read(&format!("jobs.env.set.LC_CTYPE = {given:?}\n{POLICY}")).is_ok(), given == got);
}

#[test]
fn debug_shows_no_values() {
    let mut scene = Scene::new();
    scene.set("LANG", "hunter2");
    let text = format!("jobs.env.set.TOKEN = 'hunter2'\n{POLICY}settings = {{ secret = 'hunter2' }}");
    let config = scene.read(&text).unwrap();
    let shown = format!("{config:?} {:?}", scene.surroundings);
    assert!(shown.contains("TOKEN"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

// The seed's variables.

#[test]
fn the_seeds_variables_count_where_no_file_is() {
    let mut scene = Scene::new();
    let variables = [
        ("MCP_BG_MAX_JOBS", "3"),
        ("MCP_BG_MAX_OUTPUT_SIZE", "2048"),
        ("MCP_BG_JOB_TIMEOUT", "60"),
        ("MCP_BG_CLEANUP_INTERVAL", "30"),
        ("MCP_BG_ALLOWED_COMMANDS", ""),
    ];
    for (name, value) in variables {
        scene.set(name, value);
    }
    scene.directory("work");
    scene.set("MCP_BG_WORKING_DIR", scene.path("work"));
    let config = scene.load().unwrap();
    assert_eq!(config.jobs.max_running, 3);
    assert_eq!(config.jobs.output_bytes, 2048);
    assert_eq!(config.jobs.timeout, Some(Duration::from_secs(60)));
    assert_eq!(config.jobs.keep_for, Duration::from_secs(30));
    assert_eq!(config.jobs.roots, [scene.path("work")]);
    assert_eq!(config.jobs.cwd, scene.path("work"));

    let config = scene.read(POLICY).unwrap();
    assert_eq!(config.jobs.max_running, 10);
    assert_eq!(config.jobs.roots, [scene.path("project")]);
    assert_eq!(config.overridden.len(), 6);
}

#[test]
fn bad_variables_of_the_seed_are_all_named() {
    let mut scene = Scene::new();
    let variables = [
        ("MCP_BG_MAX_JOBS", "many"),
        ("MCP_BG_MAX_OUTPUT_SIZE", "10"),
        ("MCP_BG_JOB_TIMEOUT", ""),
        ("MCP_BG_CLEANUP_INTERVAL", "-1"),
        ("MCP_BG_WORKING_DIR", "src"),
        ("MCP_BG_ALLOWED_COMMANDS", "^ls"),
    ];
    for (name, value) in variables {
        scene.set(name, value);
    }
    let expected = [
        "MCP_BG_WORKING_DIR: `src` is a relative path; must be a path, absolute or `~/…`",
        "MCP_BG_MAX_JOBS: `many` is no whole number; must be a whole number of jobs from 1 to 1000",
        "MCP_BG_MAX_OUTPUT_SIZE: 10 is out of range; must be a whole number of bytes per stream from 1024 to 1073741824",
        "MCP_BG_JOB_TIMEOUT: `` is no whole number; must be a whole number of seconds from 0 to 604800 (0: no limit)",
        "MCP_BG_CLEANUP_INTERVAL: -1 is out of range; must be a whole number of seconds from 1 to 604800",
    ];
    let mistakes = scene.mistakes(scene.load());
    assert_eq!(mistakes[..5], expected);
    assert_eq!(mistakes.len(), 6);
    assert!(mistakes[5].starts_with("MCP_BG_ALLOWED_COMMANDS: is set, and "));
    assert!(mistakes[5].contains("portcullis policy import"));
}
