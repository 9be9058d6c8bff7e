//! This program in the place of one that a script starts, until it becomes that.

use std::{
    collections::BTreeMap,
    ffi::{CString, NulError, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::OpenOptionsExt, net::UnixStream},
    },
    process::ExitCode,
};

use rustix::{net::sockopt::socket_peercred, process::geteuid};

use super::{Answer, Call, MARK, NOT_ALLOWED, address};
use crate::jobs::keeper::{Execution, Fault, become_it, default_of_pipes, frame, receive_message, send};

/// The variable in which the shell tells a program where it found it.
const FOUND: &[u8] = b"_";

type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Becomes a program of a script, if this program was started as its starter; gives the exit code where it can not. To be called
/// before anything else, like [`keep`](crate::jobs::keep).
pub fn start_program() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let first = args.next()?;
    let (name, node) = first.to_str()?.strip_prefix(MARK)?.split_once('.')?;
    let env: Variables = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect();
    let (text, code) = match ask(name, node, args, &env) {
        Ok((Answer::Start(execution), handles)) => {
            (format!("could not start it: {}", start(execution, &handles, env)), NOT_ALLOWED)
        }
        Ok((Answer::Refuse { text, code }, _)) => (text, code),
        Err(error) => (format!("could not ask whether it may start: {error}"), NOT_ALLOWED),
    };
    // If nobody can read it there is nobody to tell that either.
    _ = writeln!(io::stderr(), "portcullis: {text}");
    Some(ExitCode::from(code))
}

fn ask(name: &str, node: &str, args: impl Iterator<Item = OsString>, env: &Variables) -> io::Result<(Answer, Vec<OwnedFd>)> {
    let gone = || io::Error::other("the server is gone, or busy beyond measure");
    let node = node.parse().map_err(|_| io::Error::other("this is for portcullis itself to call"))?;
    let socket = UnixStream::connect_addr(&address(name)?)?;
    // Who took the name of a server that is gone is not believed.
    if socket_peercred(&socket)?.uid != geteuid() {
        return Err(gone());
    }
    let directory = File::options().read(true).custom_flags(libc::O_PATH).open(".")?;
    let env = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let call = frame(&Call { node, args: args.map(OsString::into_vec).collect(), env })?;
    let sent = send(&socket, &call, &[directory.as_fd()])?;
    (&socket).write_all(&call[sent..])?;
    receive_message(&socket)?.ok_or_else(gone)
}

/// Gives back why it could not be started.
fn start(execution: Execution, handles: &[OwnedFd], mut env: Variables) -> Fault {
    if let (Some(found), Some(name)) = (env.get_mut(FOUND), execution.args.first()) {
        *found = name.as_bytes().to_vec();
    }
    for variable in &execution.env {
        let (name, value) = split(variable.as_bytes());
        env.insert(name.to_vec(), value.to_vec());
    }
    let texts = env.into_iter().map(|(name, value)| CString::new([name, value].join(&b'=')));
    let Ok(env) = texts.collect::<Result<_, NulError>>() else { return Fault::Order };
    default_of_pipes();
    let Err(fault) = become_it(&Execution { env, ..execution }, handles);
    fault
}

fn split(variable: &[u8]) -> (&[u8], &[u8]) {
    let at = variable.iter().position(|byte| *byte == b'=').unwrap_or(variable.len());
    (&variable[..at], variable.get(at + 1..).unwrap_or_default())
}
