//! From an approval to what the keeper is told to start.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{CString, NulError},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::unix::pipe,
};

use super::{
    SpawnError,
    intake::PIPE_BYTES,
    keeper::{Child, Execution, Keeper, Order, StartError, StreamKind, Target},
    overseer::Overseer,
    terminal::{Screen, Size, Terminal},
};
use crate::{
    config,
    fence::Bars,
    policy::{Approved, Request},
    script::{Directory, MOST_SHELL_BYTES, Plan, ProgramFile, ProgramKind},
};

/// What the shell is told before the text: to read no file and take no function or option from its variables when it starts, to
/// keep no history, and to leave braces alone, which are expanded in the judged tree already.
const SHELL_OPTIONS: [&str; 9] = ["--noprofile", "--norc", "-p", "+B", "+H", "+o", "history", "-c", "--"];

/// What a job reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe that approved input is written to.
    Pipe,
    /// Nothing.
    Null,
}

/// What a job's three streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// A pipe each, standard input as said.
    Pipes(Stdin),
    /// A terminal of the job's own: whatever it writes to either is its standard output, echo of its input included.
    Terminal(Size),
}

/// The server's ends of a job's streams.
pub(super) struct Pipes {
    pub(super) stdin: Writer,
    pub(super) stdout: Reader,
    pub(super) stderr: Reader,
}

/// Writes to a job.
pub(super) enum Writer {
    /// There is nothing to write to.
    Nothing,
    Pipe(pipe::Sender),
    Terminal(Arc<Terminal>),
}

/// Reads from a job.
pub(super) enum Reader {
    /// There is nothing to read.
    Nothing,
    Pipe(pipe::Receiver),
    Terminal(Screen),
}

/// The job's ends of its streams.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Pipes {
    /// The terminal, if that is what they are.
    pub(super) fn terminal(&self) -> Option<&Arc<Terminal>> {
        match &self.stdin {
            Writer::Terminal(terminal) => Some(terminal),
            Writer::Nothing | Writer::Pipe(_) => None,
        }
    }
}

impl Writer {
    /// Writes all of it, however long the job takes to read it.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Nothing => Err(io::ErrorKind::BrokenPipe.into()),
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => terminal.write(bytes).await,
        }
    }

    /// Ends the job's input. A pipe is closed; a terminal goes on.
    pub(super) async fn end(self) -> Self {
        match self {
            Self::Nothing | Self::Pipe(_) => Self::Nothing,
            Self::Terminal(terminal) => {
                if let Err(error) = terminal.end_input().await {
                    tracing::warn!(%error, "could not end a job's input");
                }
                Self::Terminal(terminal)
            }
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(Ok(())),
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Self::Terminal(screen) => Pin::new(screen).poll_read(context, buffer),
        }
    }
}

/// Starts what was approved. `starter` is what starts the programs of a script.
pub(super) async fn start(
    keeper: &Keeper,
    approved: &Approved,
    starter: &str,
    streams: Streams,
    jobs: &config::Jobs,
) -> Result<(Child, Pipes), SpawnError> {
    let request = approved.request();
    let launch = Launch::planned(request.script.plan(starter), &request.env, jobs.shell.as_deref())?;
    let failed = |source: StartError| SpawnError::Start { program: launch.program.name().display().to_string(), source };
    if !request.cwd.is_in_place() {
        return Err(SpawnError::Moved(request.cwd.to_path_buf()));
    }
    let (pipes, ends) = streams.open().map_err(|error| failed(StartError::Streams(error)))?;
    let order = launch.order(streams.kind(), jobs.limits).map_err(|error| failed(io::Error::from(error).into()))?;
    let handles = launch.handles(&request.cwd, &ends);
    let child = keeper.start_job(&order, &handles).await.map_err(failed)?;
    launch.overseer.map(|overseer| tokio::spawn(overseer.watch()));
    Ok((child, pipes))
}

/// One program to start, be it the shell.
struct Launch<'a> {
    program: Arc<ProgramFile>,
    args: Vec<Cow<'a, str>>,
    env: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    key: Option<u64>,
    rules: Option<OwnedFd>,
    overseer: Option<Overseer>,
}

/// What is executed of an approved program that a script starts.
pub(super) struct Inner {
    /// Its variables are those in front of it.
    pub(super) execution: Execution,
    /// What go with it.
    pub(super) handles: Vec<OwnedFd>,
    /// Of one that is overseen.
    pub(super) overseer: Option<Overseer>,
}

/// What is executed of an approved program that a script starts.
pub(super) fn execution(request: &Request) -> Result<Inner, SpawnError> {
    let launch = Launch::planned(request.script.plan(""), &[], None)?;
    let failed =
        |error: io::Error| SpawnError::Start { program: launch.program.name().display().to_string(), source: error.into() };
    let execution = launch.execution().map_err(|error| failed(error.into()))?;
    let handles = launch.rest().map(|handle| handle.try_clone_to_owned()).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Inner { execution, handles, overseer: launch.overseer })
}

impl<'a> Launch<'a> {
    fn planned(plan: Plan, env: &'a [(String, String)], shell: Option<&Path>) -> Result<Self, SpawnError> {
        let mut env: BTreeMap<Cow<'a, str>, Cow<'a, str>> =
            env.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        match plan {
            Plan::Direct { program, args, env: assignments, fence } => {
                env.extend(assignments.into_iter().map(|(name, value)| (name.into(), value.into())));
                let name = program.name().to_string_lossy().into_owned();
                let failed = |source| SpawnError::Start { program: name.clone(), source: StartError::Confinement(source) };
                let bars = fence.map(|fence| fence.bars(program.name(), || program.executed())).transpose().map_err(failed)?;
                let Bars { key, rules, passes } = bars.unwrap_or_default();
                let overseer = passes.map(Overseer::new).transpose().map_err(failed)?;
                let args = [name].into_iter().chain(args).map(Cow::Owned).collect();
                Ok(Self { program, args, env, key, rules, overseer })
            }
            Plan::Shell(text) => {
                if text.len() > MOST_SHELL_BYTES {
                    return Err(SpawnError::TooLong(text.len()));
                }
                let shell = shell.ok_or(SpawnError::NoShell)?;
                let opened = ProgramFile::open(shell).map_err(|error| SpawnError::Shell(shell.to_owned(), error))?;
                let args = ["bash"].into_iter().chain(SHELL_OPTIONS).map(Cow::Borrowed).chain([text.into()]).collect();
                Ok(Self { program: Arc::new(opened), args, env, key: None, rules: None, overseer: None })
            }
        }
    }

    fn order(&self, streams: StreamKind, limits: config::JobLimits) -> Result<Order, NulError> {
        Ok(Order { execution: self.execution()?, limits, streams })
    }

    fn execution(&self) -> Result<Execution, NulError> {
        let path = self.program.name();
        let (target, unchanged) = match self.program.kind() {
            ProgramKind::Binary => (Target::Handle, None),
            ProgramKind::Interpreted => {
                let identity = (path.to_owned(), self.program.identity());
                (Target::Path(CString::new(path.as_os_str().as_bytes())?), Some(identity))
            }
        };
        Ok(Execution {
            target,
            args: self.args.iter().map(|arg| CString::new(arg.as_bytes())).collect::<Result<_, _>>()?,
            env: self.env.iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect::<Result<_, _>>()?,
            unchanged,
            key: self.key,
            is_ruled: self.rules.is_some(),
            is_overseen: self.overseer.is_some(),
        })
    }

    fn handles<'h>(&'h self, cwd: &'h Directory, ends: &'h Ends) -> Vec<BorrowedFd<'h>> {
        let mut handles = vec![cwd.as_fd(), ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
        handles.extend(self.rest());
        handles
    }

    /// The program's, if it is executed by that, that of its rules, if it is confined by such, and its overseer's, if it has one.
    fn rest(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let program = (self.program.kind() == ProgramKind::Binary).then(|| self.program.as_fd());
        let overseer = self.overseer.as_ref().map(|overseer| overseer.its.as_fd());
        program.into_iter().chain(self.rules.as_ref().map(AsFd::as_fd)).chain(overseer)
    }
}

impl Streams {
    fn kind(self) -> StreamKind {
        match self {
            Self::Pipes(_) => StreamKind::Pipes,
            Self::Terminal(_) => StreamKind::Terminal,
        }
    }

    fn open(self) -> io::Result<(Pipes, Ends)> {
        match self {
            Self::Pipes(stdin) => {
                let (stdin, its_stdin) = input(stdin)?;
                let (stdout, its_stdout) = output()?;
                let (stderr, its_stderr) = output()?;
                Ok((Pipes { stdin, stdout, stderr }, Ends { stdin: its_stdin, stdout: its_stdout, stderr: its_stderr }))
            }
            Self::Terminal(size) => {
                let (terminal, its) = Terminal::open(size)?;
                let terminal = Arc::new(terminal);
                let (stdin, stdout) = (Writer::Terminal(terminal.clone()), Reader::Terminal(Screen(terminal)));
                let ends = Ends { stdin: its.try_clone()?, stdout: its.try_clone()?, stderr: its };
                Ok((Pipes { stdin, stdout, stderr: Reader::Nothing }, ends))
            }
        }
    }
}

fn input(stdin: Stdin) -> io::Result<(Writer, OwnedFd)> {
    match stdin {
        Stdin::Pipe => {
            let (its, ours) = io::pipe()?;
            Ok((Writer::Pipe(pipe::Sender::from_owned_fd(ours.into())?), its.into()))
        }
        Stdin::Null => Ok((Writer::Nothing, File::open("/dev/null")?.into())),
    }
}

fn output() -> io::Result<(Reader, OwnedFd)> {
    let (ours, its) = io::pipe()?;
    // Refused beyond the system's allowance for the user; the pipe then stays as it was.
    _ = rustix::pipe::fcntl_setpipe_size(&ours, PIPE_BYTES);
    Ok((Reader::Pipe(pipe::Receiver::from_owned_fd(ours.into())?), its.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rstest::rstest;

    use super::*;
    use crate::jobs::keeper::execute;

    /// What bash prints when it is given this text, started as jobs are but without keeper and warden.
    fn in_shell(text: &str, env: &[(&str, &str)]) -> Result<String, String> {
        let env: Vec<_> = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let plan = Plan::Shell(text.to_owned());
        let launch = Launch::planned(plan, &env, Some("/bin/bash".as_ref())).map_err(|error| error.to_string())?;
        let folder = std::fs::canonicalize(std::env::temp_dir()).unwrap();
        let site = crate::script::Site { roots: vec![folder.clone()], path: Vec::new() };
        let directory = site.directory(&folder).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let null = || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        let ends = Ends { stdin: null(), stdout: writer.into(), stderr: null() };
        let handles: Vec<OwnedFd> =
            launch.handles(&directory, &ends).iter().map(|handle| handle.try_clone_to_owned().unwrap()).collect();
        drop(ends);
        let order = launch.order(StreamKind::Pipes, config::JobLimits::default()).unwrap();
        let pid = execute(&order, &handles).map_err(|fault| fault.to_string())?;
        drop(handles);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        Ok(output)
    }

    #[rstest]
    #[case::two("echo one; echo two", "one\ntwo\n")]
    #[case::like_an_option("-x; echo $-", "hpc\n")]
    #[case::like_another("+B; echo $0", "bash\n")]
    #[case::like_the_end("--; echo $#", "0\n")]
    #[case::braces_are_text("echo {a,b} {1..3}", "{a,b} {1..3}\n")]
    #[case::no_history("echo '!!'; set -o | grep -c 'hist.*on'", "!!\n0\n")]
    // The last is the one that the shell lists the directory with.
    #[case::no_descriptors("echo /proc/self/fd/*", "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n")]
    fn the_shell_reads_nothing_but_the_text(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(in_shell(text, &[("PATH", "/usr/bin:/bin")]).unwrap(), expected);
    }

    #[test]
    fn the_shell_takes_nothing_from_its_variables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "echo startup file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let env = [
            ("PATH", "/usr/bin:/bin"),
            ("BASH_ENV", path),
            ("ENV", path),
            ("BASH_FUNC_echo%%", "() { printf 'a function\\n'; }"),
            ("SHELLOPTS", "xtrace:noglob"),
            ("BASHOPTS", "extglob"),
            ("CDPATH", "/"),
            ("PS4", "$(printf 'expanded\\n' >&1)"),
        ];
        assert_eq!(
            in_shell("echo text; shopt extglob; cd etc || echo stayed", &env).unwrap(),
            "text\nextglob        \toff\nstayed\n"
        );
    }

    #[test]
    fn a_text_longer_than_an_argument_is_refused() {
        let echo = |bytes: usize| format!("echo {}", "x".repeat(bytes - "echo ".len()));
        let most = in_shell(&echo(MOST_SHELL_BYTES), &[]).unwrap();
        assert_eq!(most.len(), MOST_SHELL_BYTES - "echo ".len() + 1);
        let refused = in_shell(&echo(MOST_SHELL_BYTES + 1), &[]).unwrap_err();
        assert!(refused.contains("131072 bytes"), "{refused}");
    }

    #[test]
    fn without_a_shell_scripts_are_refused() {
        let plan = Plan::Shell("true; true".to_owned());
        assert!(matches!(Launch::planned(plan, &[], None), Err(SpawnError::NoShell)));
    }
}
