//! The sockets by which clients come in, and who can reach them.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::config;

/// Clients that may wait to be let in.
const MOST_WAITING: i32 = 256;
/// How an address is written.
const RIGHT: &str = "write an address and a port, such as 127.0.0.1:8080 or [::1]:0, or unix:/path/of/a/socket";

/// A connection.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// Where to listen: `127.0.0.1:8080`, `[::1]:0`, `unix:/run/user/1000/portcullis.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port; port 0 is one that the system chooses.
    Tcp(SocketAddr),
    /// The absolute path of a socket.
    Unix(PathBuf),
}

/// Why no client can come in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Whoever can reach the address could use it.
    #[error(
        "{0} can be reached from other machines, and no tokens are configured; name a file of tokens in `http.tokens`, or listen on \
         127.0.0.1, [::1] or a unix socket"
    )]
    Open(SocketAddr),
    /// There is no place for a token.
    #[error(
        "no tokens are configured, and there is no place for one of its own: the state directory is not known, or lies where jobs \
         could read it; name a file of tokens in `http.tokens`, or set XDG_STATE_HOME"
    )]
    NoPlace,
    /// The token of its own can not be used.
    #[error("the token for this server can not be used: {0}")]
    Token(String),
    /// Others could replace the socket, or it lies where jobs write.
    #[error("the socket can not be there: {0}")]
    Place(String),
    /// Something else has this name.
    #[error("{0} is there and is no socket of this user; remove it, or name another path")]
    Taken(PathBuf),
    /// A server is there.
    #[error("a server listens on {0} already")]
    InUse(PathBuf),
    /// The system could not.
    #[error("could not listen on {0}")]
    Io(String, #[source] io::Error),
}

/// An open door.
#[derive(Debug)]
pub struct Door(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf, Identity),
}

/// Device and inode: what tells a file from one that was put in its place.
type Identity = (u64, u64);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(_) => Err(format!("the path of a socket must be absolute; {RIGHT}")),
            None => text.parse().map(Self::Tcp).map_err(|_| RIGHT.to_owned()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Door {
    /// Listens. A unix socket can be connected to by its owner alone; one that a server left behind which is gone is replaced.
    ///
    /// # Errors
    ///
    /// Nobody can or must come in so.
    pub fn open(address: &Address, roots: &[PathBuf]) -> Result<Self, DoorError> {
        let failed = |error| DoorError::Io(address.to_string(), error);
        match address {
            Address::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = TcpListener::from_std(listener).map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok(Self(Kind::Tcp(listener, address)))
            }
            Address::Unix(path) => {
                let path = config::place_of_socket(path, roots).map_err(DoorError::Place)?;
                make_room(&path)?;
                let listener = listen_for_owner(&path).map_err(failed)?;
                let meta = fs::symlink_metadata(&path).map_err(failed)?;
                Ok(Self(Kind::Unix(listener, path, identity(&meta))))
            }
        }
    }

    /// Where clients come in, with the port that the system chose.
    pub fn address(&self) -> Address {
        match &self.0 {
            Kind::Tcp(_, address) => Address::Tcp(*address),
            Kind::Unix(_, path, _) => Address::Unix(path.clone()),
        }
    }

    /// The next client.
    ///
    /// # Cancel safety
    ///
    /// No client is lost when this is dropped.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match &self.0 {
            Kind::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and whole; waiting for more to send would only slow them.
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
            Kind::Unix(listener, ..) => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}

impl Drop for Door {
    /// Takes the socket away, unless another was put in its place.
    fn drop(&mut self) {
        if let Kind::Unix(_, path, made) = &self.0
            && fs::symlink_metadata(path).is_ok_and(|meta| identity(&meta) == *made)
        {
            // It may be gone meanwhile; then there is nothing to do.
            _ = fs::remove_file(path);
        }
    }
}

fn identity(meta: &fs::Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

/// Removes a socket that nobody listens on any more.
fn make_room(path: &Path) -> Result<(), DoorError> {
    let failed = |error| DoorError::Io(format!("unix:{}", path.display()), error);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(failed)?,
    };
    if !meta.file_type().is_socket() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(DoorError::Taken(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(DoorError::InUse(path.to_owned())),
    }
}

/// Nobody else can connect, not even in the moment after its making: the mode is that of the socket before it has a name.
fn listen_for_owner(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    let mode = fs::symlink_metadata(path)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        _ = fs::remove_file(path);
        return Err(io::Error::other(format!("others could connect to it (mode {mode:04o})")));
    }
    listen(&socket, MOST_WAITING)?;
    UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:8080", "http://127.0.0.1:8080")]
    #[case("[::1]:0", "http://[::1]:0")]
    #[case("unix:/run/x.sock", "unix:/run/x.sock")]
    fn an_address(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("")]
    #[case("8080")]
    #[case("127.0.0.1")]
    #[case("::1:80")]
    #[case("127.0.0.1:99999")]
    #[case("http://127.0.0.1:80")]
    #[case("unix:")]
    #[case("unix:relative.sock")]
    fn no_address(#[case] text: &str) {
        assert!(text.parse::<Address>().unwrap_err().contains("such as"));
    }
}
