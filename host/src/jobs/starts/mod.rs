//! The start of each program of a script.
//!
//! The shell of a job is given no program, but in the place of each this very program as a *starter*, with the number of the
//! command behind it. It tells the server what the words have become, and in which directory and with which variables; the policies
//! judge that, and the starter becomes what they approved. So nothing that happens between the judgement of a script and its
//! programs' starts is left unseen: other files, links, repositories, what a variable holds.
//!
//! ```text
//! starter ─▶ server   a Call, with the directory's handle
//! server ─▶ starter   an Answer, with the handles of the program, its rules and its overseer, as far as it has them
//! ```

mod starter;

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixListener as StdListener},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use starter::start_program;

use super::{
    SpawnError,
    keeper::{Execution, frame, receive, send, unframe},
    process::{Inner, execution},
};
use crate::{
    fence::Bounds,
    policy::{Approved, types},
};

/// Starters of one job that are heard at the same time; others wait.
const MOST_AT_ONCE: usize = 8;
/// Programs of one job that are overseen at the same time, each of which takes a descriptor of the server's; more are refused, since
/// one that waited could be who another waits for.
const MOST_OVERSEEN: usize = 64;
/// How long a starter may take to say what it wants.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Pause where the system has no descriptor left for a starter.
const PAUSE: Duration = Duration::from_millis(10);
/// Exit codes of a starter, as a shell would have them for what it can not start.
const NOT_ALLOWED: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Decides, for a job that runs or waits, what can be decided only by then.
pub trait Judge: Send + Sync + 'static {
    /// On the command of a job that had to wait, once more; `earlier` is what was decided before.
    fn again(&self, earlier: &Approved) -> impl Future<Output = Result<Approved, String>> + Send;

    /// On a program that the shell of a job is about to start.
    fn program(&self, job: &types::Job, wanted: Wanted) -> impl Future<Output = Result<Approved, Unwanted>> + Send;
}

/// A program that is about to be started.
#[derive(Debug)]
pub struct Wanted {
    /// Its name, as it stands in the script, and its arguments, as they have become.
    pub words: Vec<String>,
    /// The variables in front of it, as they have become.
    pub assignments: Vec<(String, String)>,
    /// All other variables.
    pub env: Vec<(String, String)>,
    /// What it was kept to with the script.
    pub bounds: Bounds,
    /// The directory it would start in.
    pub directory: File,
    /// Regular files and directories that it would find open, as they lie now.
    pub open: Vec<PathBuf>,
}

/// Why a program is not started.
#[derive(Debug)]
pub struct Unwanted {
    /// For a person; passes the filters as a part of the job's output.
    pub text: String,
    /// Whether that is because there is no such program.
    pub is_missing: bool,
}

/// What a starter sends.
#[derive(Serialize, Deserialize)]
struct Call {
    /// Number of the command.
    node: u32,
    args: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What it is answered.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// To become this, with these variables over its own.
    Start(Execution),
    /// To say this, and end with this code.
    Refuse { text: String, code: u8 },
}

/// Answers the starters of one job, until it is dropped.
pub(super) struct Starts {
    name: String,
    _answering: AbortOnDropHandle<()>,
}

impl Starts {
    /// Listens for the starters of this job.
    pub(super) fn open<J: Judge>(job: Arc<types::Job>, judge: Arc<J>) -> io::Result<Self> {
        // In no directory, so that there is nothing to be removed after a server that died.
        let name = Uuid::new_v4().simple().to_string()[..16].to_owned();
        let listener = StdListener::bind_addr(&address(&name)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let script = Script { job, judge, overseen: Arc::new(Semaphore::new(MOST_OVERSEEN)) };
        Ok(Self { name, _answering: AbortOnDropHandle::new(tokio::spawn(listen(listener, script.into()))) })
    }

    /// What stands in a script in the place of a program, but for the number of the command.
    pub(super) fn starter(&self, program: &Path) -> String {
        format!("{} {MARK}{}.", portcullis_shell::quote(&program.to_string_lossy()), self.name)
    }
}

/// A job whose programs are started.
struct Script<J> {
    job: Arc<types::Job>,
    judge: Arc<J>,
    /// Turns of those that are overseen.
    overseen: Arc<Semaphore>,
}

/// What the one argument of a starter begins with.
const MARK: char = ':';

fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("portcullis.{name}"))
}

async fn listen<J: Judge>(listener: UnixListener, script: Arc<Script<J>>) {
    let mut answering = JoinSet::new();
    let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
    loop {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        while answering.try_join_next().is_some() {}
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let script = script.clone();
        answering.spawn(async move {
            if let Err(error) = answer(socket, &script).await {
                tracing::warn!(job = script.job.id, %error, "a program of a script was not started");
            }
            drop(turn);
        });
    }
}

async fn answer<J: Judge>(mut socket: UnixStream, script: &Script<J>) -> io::Result<()> {
    let peer = socket.peer_cred()?;
    if peer.uid() != geteuid().as_raw() {
        return Err(io::Error::other("another user asked for it"));
    }
    let (call, handles) = timeout(CALL_DEADLINE, receive_call(&socket)).await??;
    let open = open_files(peer.pid().ok_or(io::ErrorKind::NotFound)?)?;
    let name = name_of(&call, &script.job).unwrap_or_else(|| "it".to_owned());
    let (answer, handles) = match start(call, handles, open, script).await {
        Ok((execution, handles)) => (Answer::Start(execution), handles),
        Err(Unwanted { text, is_missing }) => {
            let code = if is_missing { NOT_FOUND } else { NOT_ALLOWED };
            (Answer::Refuse { text: format!("{name} was not started: {text}"), code }, Vec::new())
        }
    };
    let framed = frame(&answer)?;
    let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
    let sent = socket.async_io(Interest::WRITABLE, || send(&socket, &framed, &handles)).await?;
    socket.write_all(&framed[sent..]).await
}

async fn receive_call(socket: &UnixStream) -> io::Result<(Call, Vec<OwnedFd>)> {
    let (mut read, mut handles, mut buffer) = (Vec::new(), Vec::new(), vec![0; 64 * 1024]);
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket, &mut buffer, &mut handles)).await?;
        read.extend_from_slice(&buffer[..received]);
        match unframe(&mut read)? {
            Some(call) => return Ok((call, handles)),
            None if handles.len() > 1 => return Err(io::Error::other("it sends more than its directory")),
            None if received == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

async fn start<J: Judge>(
    call: Call,
    handles: Vec<OwnedFd>,
    open: Vec<PathBuf>,
    script: &Script<J>,
) -> Result<(Execution, Vec<OwnedFd>), Unwanted> {
    let refused = |text: &str| Unwanted { text: text.to_owned(), is_missing: false };
    let Script { job, judge, overseen } = script;
    let [directory] = <[OwnedFd; 1]>::try_from(handles).map_err(|_| refused("its starter does not make sense"))?;
    let wanted = wanted(call, directory.into(), open, job).map_err(refused)?;
    let approved = judge.program(job, wanted).await?;
    let Inner { execution, handles, overseer } = execution(approved.request()).map_err(|error| match error {
        SpawnError::NoShell => refused("there is no such program any more"),
        error => refused(&error.to_string()),
    })?;
    if let Some(overseer) = overseer {
        let turn = overseen.clone().try_acquire_owned().map_err(|_| refused(&busy()))?;
        tokio::spawn(async move {
            overseer.watch().await;
            drop(turn);
        });
    }
    Ok((execution, handles))
}

fn busy() -> String {
    format!(
        "{MOST_OVERSEEN} programs of the script run that are confined like it; wait for some of them, or send several commands"
    )
}

/// The program of a call, as it stands in the job's script.
fn name_of(call: &Call, job: &types::Job) -> Option<String> {
    match &job.nodes.get(usize::try_from(call.node).ok()?)?.program {
        Some(types::Word::Literal(program)) => Some(program.clone()),
        _ => None,
    }
}

/// What a call is about, by the job's script.
fn wanted(call: Call, directory: File, open: Vec<PathBuf>, job: &types::Job) -> Result<Wanted, &'static str> {
    const NOT_TEXT: &str = "a word of it is not UTF-8; policies judge text, so rename the file or pass it on differently";
    let program = name_of(&call, job).ok_or("there is no such program in its script")?;
    let node = &job.nodes[call.node as usize];
    let assigned = &node.assignments;
    let bounds = Bounds { executes: node.executes.clone(), opens: node.opens.clone() };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| NOT_TEXT);
    let args = call.args.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let (mut assignments, mut env) = (Vec::new(), Vec::new());
    for (name, value) in call.env {
        let name = String::from_utf8_lossy(&name).into_owned();
        if assigned.iter().any(|(assigned, _)| *assigned == name) {
            assignments.push((name, text(value)?));
        } else {
            env.push((name, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    let words = [vec![program], args].concat();
    Ok(Wanted { words, assignments, env, bounds, directory, open })
}

/// The regular files and directories that a process has open, where they have names.
fn open_files(pid: i32) -> io::Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let descriptor = entry?.path();
        // What lies behind it by then, not the link.
        let meta = fs::metadata(&descriptor)?;
        if (meta.is_file() || meta.is_dir()) && meta.nlink() > 0 {
            open.push(fs::read_link(&descriptor)?);
        }
    }
    Ok(open)
}
