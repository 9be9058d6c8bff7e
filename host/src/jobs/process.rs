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
    sync::Arc,
};

use tokio::net::unix::pipe;

use super::{
    SpawnError,
    keeper::{Child, Keeper, Order, StartError, Target},
};
use crate::{
    policy::{Approved, Request},
    script::{Directory, MOST_SHELL_BYTES, Plan, ProgramFile, ProgramKind},
};

/// What the shell is told before the text: to read no file and take no function or option from its variables when it starts, to keep no
/// history, and to leave braces alone, which are expanded in the judged tree already.
const SHELL_OPTIONS: [&str; 9] = ["--noprofile", "--norc", "-p", "+B", "+H", "+o", "history", "-c", "--"];

/// What a job reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe that approved input is written to.
    Pipe,
    /// Nothing.
    Null,
}

/// The server's ends of a job's streams.
pub(super) struct Pipes {
    /// None: there is nothing to write to.
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// The job's ends of its streams.
struct Streams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Starts what was approved. `shell` is the one that scripts are given to, if they are at all.
pub(super) async fn start(
    keeper: &Keeper,
    approved: &Approved,
    stdin: Stdin,
    shell: Option<&Path>,
) -> Result<(Child, Pipes), SpawnError> {
    let request = approved.request();
    let launch = Launch::of(request, shell)?;
    let failed = |source: StartError| SpawnError::Start { program: launch.program.name().display().to_string(), source };
    if !request.cwd.is_in_place() {
        return Err(SpawnError::Moved(request.cwd.to_path_buf()));
    }
    let (pipes, streams) = streams(stdin).map_err(|error| failed(error.into()))?;
    let order = launch.order().map_err(|error| failed(io::Error::from(error).into()))?;
    let handles = launch.handles(&request.cwd, &streams);
    let child = keeper.start_job(&order, &handles).await.map_err(failed)?;
    Ok((child, pipes))
}

/// One program to start, be it the shell.
struct Launch<'a> {
    program: Arc<ProgramFile>,
    args: Vec<Cow<'a, str>>,
    env: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// What is executed by its path, in the end.
    unchanged: Vec<Arc<ProgramFile>>,
}

impl<'a> Launch<'a> {
    fn of(request: &'a Request, shell: Option<&Path>) -> Result<Self, SpawnError> {
        let mut env: BTreeMap<Cow<'a, str>, Cow<'a, str>> =
            request.env.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        match request.script.plan().ok_or(SpawnError::NoForm)? {
            Plan::Direct { program, args, env: assignments } => {
                env.extend(assignments.into_iter().map(|(name, value)| (name.into(), value.into())));
                let name = program.name().to_string_lossy().into_owned();
                let unchanged = if program.kind() == ProgramKind::Interpreted { vec![program.clone()] } else { Vec::new() };
                Ok(Self { args: [name].into_iter().chain(args).map(Cow::Owned).collect(), program, env, unchanged })
            }
            Plan::Shell { text, programs } => {
                if text.len() > MOST_SHELL_BYTES {
                    return Err(SpawnError::TooLong(text.len()));
                }
                let shell = shell.ok_or(SpawnError::NoShell)?;
                let opened = ProgramFile::open(shell).map_err(|error| SpawnError::Shell(shell.to_owned(), error))?;
                let args = ["bash"].into_iter().chain(SHELL_OPTIONS).map(Cow::Borrowed).chain([text.into()]).collect();
                Ok(Self { program: Arc::new(opened), args, env, unchanged: programs })
            }
        }
    }

    fn order(&self) -> Result<Order, NulError> {
        let path = self.program.name().as_os_str().as_bytes();
        Ok(Order {
            target: if self.is_by_handle() { Target::Handle } else { Target::Path(CString::new(path)?) },
            args: self.args.iter().map(|arg| CString::new(arg.as_bytes())).collect::<Result<_, _>>()?,
            env: self.env.iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect::<Result<_, _>>()?,
            unchanged: self.unchanged.iter().map(|program| (program.name().to_owned(), program.identity())).collect(),
        })
    }

    fn handles<'h>(&'h self, cwd: &'h Directory, streams: &'h Streams) -> Vec<BorrowedFd<'h>> {
        let mut handles = vec![cwd.as_fd(), streams.stdin.as_fd(), streams.stdout.as_fd(), streams.stderr.as_fd()];
        handles.extend(self.is_by_handle().then(|| self.program.as_fd()));
        handles
    }

    fn is_by_handle(&self) -> bool {
        self.program.kind() == ProgramKind::Binary
    }
}

fn streams(stdin: Stdin) -> io::Result<(Pipes, Streams)> {
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    let (stdin_reader, stdin) = match stdin {
        Stdin::Pipe => {
            let (reader, writer) = io::pipe()?;
            (reader.into(), Some(pipe::Sender::from_owned_fd(writer.into())?))
        }
        Stdin::Null => (File::open("/dev/null")?.into(), None),
    };
    let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
    let stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
    let streams = Streams { stdin: stdin_reader, stdout: stdout_writer.into(), stderr: stderr_writer.into() };
    Ok((Pipes { stdin, stdout, stderr }, streams))
}
