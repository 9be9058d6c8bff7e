//! What server and keeper say to each other, over sockets that nobody else holds.
//!
//! ```text
//! server ─▶ keeper   one byte with a socket, for whichever warden waits: a job is wanted
//! warden ─▶ server   Report::Ready
//! server ─▶ warden   an Order with its handles, once; then one byte for each signal
//! warden ─▶ server   other reports; the end of the stream: nobody of the job is left
//! ```
//!
//! The order is sent only to a warden that said who it is, so that no job ever runs whose warden the server could not kill, and no
//! order lies in a queue when the server has given up on it.
//!
//! Orders and reports are framed by their length, four bytes, little end first.

use std::{
    ffi::CString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
        sendmsg,
    },
    process::Signal,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{config::JobLimits, script::Identity};

/// Longest order, in bytes: Linux starts no program with more than 6 MiB of arguments and variables. The configuration of jobs
/// decides how much of it there is.
pub const MOST_ORDER_BYTES: usize = 8 << 20;
/// Most handles that come with an order: directory, three streams, program, rules, overseer.
const MOST_HANDLES: usize = 7;
/// Bytes of a frame's length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// What a job starts with. With it go these handles, in this order: directory, standard input, output and error, the program if
/// it is executed by handle, the rules if it is confined by such, and the socket of its overseer if it has one.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// The program.
    pub execution: Execution,
    /// What each of its processes may use up.
    pub limits: JobLimits,
    /// What its three streams are.
    pub streams: StreamKind,
}

/// What a job's streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// Whatever they are, the job has no terminal.
    Pipes,
    /// The job's own side of a terminal, each of them; it becomes the terminal of the job's session.
    Terminal,
}

/// A program and what it is given.
#[derive(Serialize, Deserialize)]
pub struct Execution {
    /// What is executed.
    pub target: Target,
    /// Arguments; the first is the program's name.
    pub args: Vec<CString>,
    /// Variables, as `NAME=value`.
    pub env: Vec<CString>,
    /// Of a program that is executed by its path: what that must still lead to.
    pub unchanged: Option<(PathBuf, Identity)>,
    /// Of a program that is kept in what it executes: the number that lets itself be executed, hard to guess.
    pub key: Option<u64>,
    /// Whether it is kept to rules of Landlock.
    pub is_ruled: bool,
    /// Whether an overseer is asked about what else it executes; nothing else passes otherwise.
    pub is_overseen: bool,
}

/// How the program is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// By the handle that was opened when it was judged.
    Handle,
    /// By its path, since the kernel hands this to an interpreter.
    Path(CString),
}

/// What a warden says of its job.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// There is no job yet, but a warden that waits for the order.
    Ready {
        /// Process id of the warden.
        warden: u32,
    },
    /// It runs.
    Started {
        /// Process id of its leader.
        leader: u32,
    },
    /// It does not run, and never did.
    Refused(Fault),
    /// Its leader has ended.
    Exited {
        /// What `wait` says of it.
        status: i32,
        /// Whether nobody of the job was left then.
        is_last: bool,
    },
}

/// Why a job was not started.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The order is no order.
    #[error("what it should start with did not arrive whole")]
    Order,
    /// Something else is at that path by now.
    #[error("{} is not what it was when the command was judged; send the command again", .0.display())]
    Changed(PathBuf),
    /// The system refused a step.
    #[error("{step}: {}", io::Error::from_raw_os_error(*.errno))]
    System {
        /// The step.
        step: Step,
        /// What the system said.
        errno: i32,
    },
}

/// The steps of a start, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A new process.
    Process,
    /// A session of its own, and an end when its warden ends.
    Session,
    /// Entering the directory.
    Directory,
    /// Standard streams, and nothing else.
    Streams,
    /// Limits of what it can use up.
    Limits,
    /// Limits of what it can execute.
    Confinement,
    /// Executing the program.
    Execute,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Process => "making a process",
            Self::Session => "making a session",
            Self::Directory => "entering its directory",
            Self::Streams => "connecting its streams",
            Self::Limits => "limiting what it can use up",
            Self::Confinement => "confining what it can execute",
            Self::Execute => "executing it",
        })
    }
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of the job, whatever groups and sessions it made.
    All,
    /// The group that the job's leader leads: whom control-C would reach at a terminal.
    Leader,
}

/// The bit of a signal's byte that says it is for the leader's group; numbers of signals end at 64.
const FOR_LEADER: u8 = 0x80;

/// A signal as the byte that goes to a warden.
pub fn signal_to_byte(signal: Signal, reach: Reach) -> u8 {
    let number = u8::try_from(signal.as_raw()).expect("numbers of named signals end at 64");
    match reach {
        Reach::All => number,
        Reach::Leader => number | FOR_LEADER,
    }
}

/// What such a byte says; none: it is no signal.
pub fn signal_of_byte(byte: u8) -> Option<(Signal, Reach)> {
    let reach = if byte & FOR_LEADER == 0 { Reach::All } else { Reach::Leader };
    Signal::from_named_raw(i32::from(byte & !FOR_LEADER)).map(|signal| (signal, reach))
}

/// A message as it goes over a socket.
///
/// # Errors
///
/// It is longer than [`MOST_ORDER_BYTES`].
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = postcard::to_allocvec(message).map_err(io::Error::other)?;
    if body.len() > MOST_ORDER_BYTES {
        return Err(io::Error::other(format!("{} bytes of arguments and variables are too many", body.len())));
    }
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), &*body].concat())
}

/// Takes the first message out of what was read; none if it is not complete yet.
///
/// # Errors
///
/// It is no message of this kind.
pub fn unframe<M: DeserializeOwned>(read: &mut Vec<u8>) -> io::Result<Option<M>> {
    let Some((length, rest)) = read.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = body_length(*length)?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let message = postcard::from_bytes(body).map_err(io::Error::other)?;
    read.drain(..LENGTH_BYTES + length);
    Ok(Some(message))
}

fn body_length(length: [u8; LENGTH_BYTES]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > MOST_ORDER_BYTES { Err(io::Error::other("a message of an impossible length")) } else { Ok(length) }
}

/// Sends bytes, as many as there is room for, and with the first of them handles. Says how many were sent.
///
/// # Errors
///
/// Nothing was sent: nobody is at the other end, or there is no room.
pub fn send(socket: impl AsFd, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDLES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(io::Error::other("too many handles"));
    }
    Ok(retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL))?)
}

/// Receives what is there, waiting if nothing is, and the handles that came with it. 0: the other end is closed.
///
/// # Errors
///
/// The socket failed.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], handles: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDLES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            handles.extend(came);
        }
    }
    Ok(received.bytes)
}

/// Waits for a framed message and its handles. None: whoever wanted to send it is gone.
///
/// # Errors
///
/// It is no message of this kind, or the socket failed.
pub fn receive_message<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut handles = Vec::new();
    let mut length = [0; LENGTH_BYTES];
    if !fill(&socket, &mut length, &mut handles)? {
        return Ok(None);
    }
    let mut body = vec![0; body_length(length)?];
    if !fill(&socket, &mut body, &mut handles)? {
        return Ok(None);
    }
    Ok(Some((postcard::from_bytes(&body).map_err(io::Error::other)?, handles)))
}

/// Whether all of it came before the other end was closed.
fn fill(socket: impl AsFd, bytes: &mut [u8], handles: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < bytes.len() {
        match receive(&socket, &mut bytes[filled..], handles)? {
            0 => return Ok(false),
            received => filled += received,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    fn order(bytes: usize) -> Order {
        let args = vec![c"tool".to_owned(), CString::new(vec![b'x'; bytes]).unwrap()];
        let execution = Execution {
            target: Target::Path(c"/bin/tool".to_owned()),
            args,
            env: vec![c"A=\xff".to_owned()],
            unchanged: None,
            key: None,
            is_ruled: false,
            is_overseen: false,
        };
        Order { execution, limits: JobLimits::default(), streams: StreamKind::Pipes }
    }

    #[test]
    fn an_order_arrives_with_its_handles_however_it_is_cut() {
        let (mut ours, its) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let framed = frame(&order(1 << 20)).unwrap();
        let sender = std::thread::spawn(move || {
            let sent = send(&ours, &framed[..3], &[writer.as_fd()]).unwrap();
            ours.write_all(&framed[sent..]).unwrap();
        });
        let (order, handles) = receive_message::<Order>(&its).unwrap().unwrap();
        sender.join().unwrap();
        assert_eq!((order.execution.args[1].as_bytes().len(), order.execution.env[0].as_bytes()), (1 << 20, &b"A=\xff"[..]));
        assert!(rustix::io::fcntl_getfd(&handles[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let [handle] = <[OwnedFd; 1]>::try_from(handles).unwrap();
        std::fs::File::from(handle).write_all(b"here").unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "here");
    }

    #[test]
    fn half_an_order_is_none() {
        let (mut ours, its) = UnixStream::pair().unwrap();
        let framed = frame(&order(10)).unwrap();
        ours.write_all(&framed[..framed.len() - 1]).unwrap();
        drop(ours);
        assert!(receive_message::<Order>(&its).unwrap().is_none());
    }

    #[test]
    fn what_is_no_order_is_an_error() {
        for bytes in [&[255, 255, 255, 255, 0][..], &[1, 0, 0, 0, 7]] {
            let (mut ours, its) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            assert!(receive_message::<Order>(&its).is_err(), "{bytes:?}");
        }
        assert!(frame(&order(MOST_ORDER_BYTES)).is_err());
    }

    #[test]
    fn a_byte_says_which_signal_and_for_whom() {
        for signal in [Signal::TERM, Signal::KILL, Signal::SYS] {
            for reach in [Reach::All, Reach::Leader] {
                assert_eq!(signal_of_byte(signal_to_byte(signal, reach)), Some((signal, reach)));
            }
        }
        assert_eq!((signal_of_byte(0), signal_of_byte(65), signal_of_byte(FOR_LEADER)), (None, None, None));
    }

    #[test]
    fn reports_are_taken_one_by_one() {
        let reports = [Report::Ready { warden: 2 }, Report::Started { leader: 1 }, Report::Exited { status: 256, is_last: true }];
        let sent: Vec<u8> = reports.iter().flat_map(|report| frame(report).unwrap()).collect();
        let (mut read, mut found) = (Vec::new(), Vec::new());
        for byte in sent {
            read.push(byte);
            found.extend(unframe::<Report>(&mut read).unwrap());
        }
        assert!(matches!(
            found[..],
            [Report::Ready { warden: 2 }, Report::Started { leader: 1 }, Report::Exited { status: 256, is_last: true }]
        ));
        assert!(unframe::<Report>(&mut vec![1, 0, 0, 0, 9]).is_err());
    }
}
