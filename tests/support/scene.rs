//! A place of its own for each test: a job root with a small repository, a home, a configuration, and the built program.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::{self, JoinHandle},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, secret};

/// The answers of clients count, and there is nothing that is not asked about.
pub const ASKING: &str = r#"
[ask]
trust_client = true
[decision]
default = "ask"
[[policies]]
name = "redact"
component = "builtin:redact"
"#;

/// Allows every command, keeps output in files, and has this one policy.
pub fn keeping(name: &str, policy: &str) -> String {
    format!("[decision]\ndefault = \"allow\"\n[history]\nspill_bytes = 1048576\n[[policies]]\nname = {name:?}\n{policy}\n")
}

/// Allows every command and all input, and redacts: for tests of what runs, not of what may.
pub const OPEN: &str = r#"
[decision]
default = "allow"

[[policies]]
name = "redact"
component = "builtin:redact"
"#;

/// What the only commit of the repository says.
pub const COMMIT: &str = "Plant the first tree";

/// A temporary directory:
/// ```text
/// root/     the job root, where the program is started: a git repository, notes.txt, and secrets.env with a planted secret
/// home/     HOME
/// config/   XDG_CONFIG_HOME
/// state/    XDG_STATE_HOME
/// outside/  what lies out of a job's reach
/// ```
/// Compiled policies are kept in one directory for all scenes, since compiling takes seconds.
pub struct Scene {
    base: TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A run of the program that has not ended.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Scene {
    /// With no configuration file, so that the built-in configuration holds.
    pub fn new() -> Self {
        let scene = Self { base: tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap() };
        for directory in ["root", "home", "config/portcullis", "state", "outside"] {
            fs::create_dir_all(scene.at(directory)).unwrap();
        }
        for directory in ["root", "home", "config", "config/portcullis", "state", "outside"] {
            fs::set_permissions(scene.at(directory), Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(scene.root().join("notes.txt"), "one\ntwo\nthree\n").unwrap();
        fs::write(scene.root().join("secrets.env"), format!("# keys\nTOKEN={}\nCOLOR=blue\n", secret())).unwrap();
        scene.plant_repository();
        scene
    }

    /// With this as the user's configuration file.
    pub fn configured(config: &str) -> Self {
        let scene = Self::new();
        scene.configure(config);
        scene
    }

    /// With [`OPEN`] and these `[jobs]`.
    pub fn open(jobs: &str) -> Self {
        Self::configured(&format!("[jobs]\n{jobs}\n{OPEN}"))
    }

    /// Open, with a filter behind the others that fails where a job prints `trap here`.
    pub fn with_failing_filter(on_fault: &str) -> Self {
        let scene = Self::new();
        let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
        scene.configure(&format!(
            "{OPEN}
            [[policies]]
            name = \"guest\"
            component = {guest:?}
            on_fault = {on_fault:?}
            settings = {{ output = \"trap-here\", triggers = [\"trap\"] }}"
        ));
        scene
    }

    /// With the built-in policies and the misbehaving guest behind them, told `settings` (an inline TOML table).
    pub fn with_guest(settings: &str) -> Self {
        let scene = Self::new();
        let guest = scene.outside("misbehaving.wasm", portcullis_guests::MISBEHAVING);
        scene.configure(&format!(
            r#"
            [[policies]]
            name = "allowlist"
            component = "builtin:allowlist"
            [[policies]]
            name = "harden"
            component = "builtin:harden"
            may_rewrite = true
            grants = {{ read = ["roots"] }}
            [[policies]]
            name = "redact"
            component = "builtin:redact"
            [[policies]]
            name = "guest"
            component = {guest:?}
            may_rewrite = true
            settings = {settings}
            "#
        ));
        scene
    }

    /// Writes the user's configuration file.
    pub fn configure(&self, config: &str) {
        write(&self.config_file(), config.as_bytes());
    }

    /// Writes a file that jobs can not reach, and says where.
    pub fn outside(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at("outside").join(name);
        write(&path, content.as_ref());
        path
    }

    /// Writes a program that jobs can not change, and says where.
    pub fn program(&self, name: &str, content: &str) -> PathBuf {
        let path = self.outside(name, content);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The whole scene.
    pub fn base(&self) -> PathBuf {
        self.base.path().canonicalize().unwrap()
    }

    /// The job root, without links.
    pub fn root(&self) -> PathBuf {
        self.at("root")
    }

    /// Where [`Scene::configure`] writes.
    pub fn config_file(&self) -> PathBuf {
        self.at("config/portcullis/config.toml")
    }

    /// Where a server can have a socket.
    pub fn socket(&self) -> PathBuf {
        self.at("state/portcullis.sock")
    }

    /// Where the audit log is by default.
    pub fn audit_file(&self) -> PathBuf {
        self.at("state/portcullis/audit.jsonl")
    }

    /// The lines of the audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The program with these arguments: started in the root, with a clean environment.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.at("home"))
            .env("XDG_CONFIG_HOME", self.at("config"))
            .env("XDG_STATE_HOME", self.at("state"))
            .env("XDG_CACHE_HOME", cache())
            .stdin(Stdio::null());
        command
    }

    /// The same, started by a shell that has done this first.
    pub fn command_behind<A: AsRef<OsStr>>(&self, shell: &str, args: impl IntoIterator<Item = A>) -> Command {
        let command = self.command(args);
        let mut behind = Command::new("sh");
        behind.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
        behind.current_dir(self.root()).env_clear().stdin(Stdio::null());
        behind.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        behind
    }

    /// The program with these arguments, where the audit log has no room for another byte: its last record ends where the system
    /// allows no file of this user to grow further. The configuration must not have it rotated.
    pub fn command_with_a_full_log(&self, args: &[&str]) -> Command {
        const BLOCKS: u64 = 32 << 11;
        let record = format!("\n{{\"number\":1,\"previous\":\"{}\"}}\n", "0".repeat(64));
        fs::create_dir_all(self.audit_file().parent().unwrap()).unwrap();
        let mut log = File::create(self.audit_file()).unwrap();
        log.set_len(BLOCKS * 512 - record.len() as u64).unwrap();
        log.seek(SeekFrom::End(0)).and_then(|_| log.write_all(record.as_bytes())).unwrap();
        self.command_behind(&format!("trap '' XFSZ; ulimit -f {BLOCKS}"), args)
    }

    /// Runs the program with these arguments to its end.
    pub fn portcullis<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Done {
        Running::start(&mut self.command(args)).done()
    }

    /// Runs the program with these arguments and this on standard input.
    pub fn portcullis_reading<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, input: &str) -> Done {
        let path = self.outside("stdin", input);
        Running::start(self.command(args).stdin(File::open(path).unwrap())).done()
    }

    /// The processes, but for servers, whose working directory is the root: jobs and what they left behind.
    pub fn processes(&self) -> Vec<u32> {
        let root = self.root();
        let is_job = |process: &Path| {
            let is_server =
                || fs::read_link(process.join("exe")).is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_portcullis")));
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == root) && !is_server()
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(|process| is_job(process));
        processes.filter_map(|process| process.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// Waits until nothing works in the root any more.
    #[track_caller]
    pub fn deserted(&self) {
        eventually("nothing works in the root", || self.processes().is_empty().then_some(()));
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base().join(name)
    }

    fn plant_repository(&self) {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.git(&["add", "notes.txt"]);
        self.git(&["commit", "--quiet", "--message", COMMIT]);
    }

    fn git(&self, args: &[&str]) {
        let mut git = Command::new("git");
        git.args(args).current_dir(self.root()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        git.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", "/nowhere")]);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.invalid");
            git.env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
        }
        let Output { status, stderr, .. } = git.output().unwrap();
        assert!(status.success(), "git {args:?}: {}", String::from_utf8_lossy(&stderr));
    }
}

impl Done {
    /// The exit code.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by signal {:?}: {}", self.status.signal(), self.stderr))
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Expects an exit code, and shows what was said if it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout: {}\nstderr: {}", self.stdout(), self.stderr);
        self
    }
}

impl Running {
    /// Starts a command. What it prints is read, unless the command says where it goes.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
        Self { child, stdout, stderr }
    }

    /// Starts a command whose output the test reads, or where the command says it goes.
    pub fn start_unread(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap(), stdout: None, stderr: None }
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        super::signal(self.child.id(), signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn done(mut self) -> Done {
        let status = eventually("the program ends", || self.child.try_wait().unwrap());
        let read = |reader: Option<JoinHandle<Vec<u8>>>| reader.map_or(Vec::new(), |reader| reader.join().unwrap());
        let (stdout, stderr) = (read(self.stdout.take()), read(self.stderr.take()));
        Done { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An asked program stops its jobs; a killed one can not.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(rustix::process::Signal::TERM);
            drop(self.child.wait());
        }
    }
}

impl Drop for Scene {
    /// Ends what a failing test left running in the root.
    fn drop(&mut self) {
        for process in self.processes() {
            super::signal_if_there(process, rustix::process::Signal::KILL);
        }
    }
}

/// Shared by all scenes of a user; portcullis makes its own directory in it, for its owner alone.
fn cache() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cache-of-scenes-{user}"))
}

fn write(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.set_permissions(Permissions::from_mode(0o644)).unwrap();
    file.write_all(content).unwrap();
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
