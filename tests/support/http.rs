//! A server over HTTP, spoken to in bytes: for what a library's client would not send.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{DEADLINE, eventually, scene::Scene, within};

/// A server, and where it listens.
pub struct Web {
    child: Child,
    /// Its socket, or a port of 127.0.0.1.
    at: Result<PathBuf, u16>,
    stderr: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A way to a server.
pub trait Way: Read + Write + Send {
    /// Says that nothing more will be sent.
    fn close(&self);
}

impl Way for TcpStream {
    fn close(&self) {
        drop(self.shutdown(Shutdown::Write));
    }
}

impl Way for UnixStream {
    fn close(&self) {
        drop(self.shutdown(Shutdown::Write));
    }
}

impl Web {
    /// Starts a server at a port of its own.
    pub fn start(scene: &Scene) -> Self {
        Self::over(scene, scene.command(["serve", "--http", "127.0.0.1:0"]))
    }

    /// Starts a server at a unix socket.
    pub fn start_at_socket(scene: &Scene) -> Self {
        let address = format!("unix:{}", scene.socket().display());
        Self::over(scene, scene.command(["serve", "--http", &address]))
    }

    /// Waits until the server that this command starts says where it listens.
    pub fn over(scene: &Scene, mut command: Command) -> Self {
        let stderr = scene.base().join("serve.stderr");
        command.stdout(Stdio::null()).stderr(File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let at = eventually("the server listens", || {
            let said = fs::read_to_string(&stderr).unwrap();
            let ended = child.try_wait().unwrap();
            let at =
                said.lines().find_map(|line| line.split_once("serving MCP on ")?.1.split_whitespace().next().map(str::to_owned));
            assert!(ended.is_none(), "the server ended: {said}");
            let at = at?;
            Some(match at.strip_prefix("unix:") {
                Some(path) => Ok(path.into()),
                None => Err(at.rsplit(':').next()?.parse().unwrap()),
            })
        });
        Self { child, at, stderr }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.at.clone().unwrap_err()
    }

    /// A new connection.
    pub fn connect(&self) -> Box<dyn Way> {
        match &self.at {
            Ok(path) => {
                let way = UnixStream::connect(path).unwrap();
                way.set_read_timeout(Some(DEADLINE)).unwrap();
                Box::new(way)
            }
            Err(port) => {
                let way = TcpStream::connect(("127.0.0.1", *port)).unwrap();
                way.set_read_timeout(Some(DEADLINE)).unwrap();
                Box::new(way)
            }
        }
    }

    /// Sends bytes and reads until the server closes the connection.
    pub fn exchange(&self, bytes: &[u8]) -> Reply {
        let mut way = self.connect();
        // Who is refused early may be hung up on while it sends.
        drop(way.write_all(bytes));
        Reply::read(&mut way)
    }

    /// Sends a request; `headers` are beside those that every request has, or in the place of them.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.exchange(&[self.head(method, path, headers, body.len()).as_bytes(), body].concat())
    }

    /// The head of a request.
    pub fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
        let host = self.at.as_ref().map_or_else(|port| format!("127.0.0.1:{port}"), |_| "localhost".to_owned());
        let length = length.to_string();
        let usual = [
            ("Host", host.as_str()),
            ("Connection", "close"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("Content-Length", &length),
        ];
        let usual = usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        let lines: String = usual.chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} HTTP/1.1\r\n{lines}\r\n")
    }

    /// Posts a message as the holder of a token.
    pub fn post(&self, token: &str, headers: &[(&str, &str)], message: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [&[("Authorization", bearer.as_str())], headers].concat();
        self.request("POST", "/mcp", &headers, message.to_string().as_bytes())
    }

    /// Sends a request of the stateless revision: the whole answer.
    #[track_caller]
    pub fn ask(&self, token: &str, method: &str, params: Value) -> Value {
        let (message, headers) = stateless(method, params);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = self.post(token, &headers, &message);
        reply.message().unwrap_or_else(|| panic!("{reply:?}"))
    }

    /// Calls a tool: its result, be it an error result.
    #[track_caller]
    pub fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let answer = self.ask(token, "tools/call", json!({ "name": tool, "arguments": arguments }));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Calls a tool that is to succeed: its structured content.
    #[track_caller]
    pub fn tell(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let result = self.call(token, tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// Starts a command that is to be allowed.
    #[track_caller]
    pub fn execute(&self, token: &str, command: &str) -> String {
        self.tell(token, "execute_command", json!({ "command": command }))["job_id"].as_str().unwrap().to_owned()
    }

    /// What the server wrote to standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        super::signal(self.child.id(), signal);
    }

    /// Waits for the server's end.
    #[track_caller]
    pub fn exit_within(&mut self, deadline: Duration) -> ExitStatus {
        within(deadline, "the server ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // A server that is asked stops its jobs; one that is killed can not.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(rustix::process::Signal::TERM);
            drop(self.child.wait());
        }
    }
}

impl Reply {
    /// Reads an answer whose end is that of the connection.
    pub fn read(way: &mut (impl Read + ?Sized)) -> Self {
        let mut bytes = Vec::new();
        match way.read_to_end(&mut bytes) {
            Ok(_) => {}
            // Who was refused before all was read is reset afterwards.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&bytes)),
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        Self { status, head: head.to_owned(), body: if is_chunked { joined(body) } else { body.to_owned() } }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The last message in it, be it JSON or an event.
    pub fn message(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok().or_else(|| {
            let mut data = self.body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok());
            data.next_back()
        })
    }
}

/// A message of the stateless revision, and the headers that must go with it.
pub fn stateless(method: &str, mut params: Value) -> (Value, Vec<(&'static str, String)>) {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    if meta["io.modelcontextprotocol/clientCapabilities"].is_null() {
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "web", "version": "0" });
    let mut headers = vec![("MCP-Protocol-Version", "2026-07-28".to_owned()), ("Mcp-Method", method.to_owned())];
    let name = params["name"].as_str().or_else(|| params["uri"].as_str()).or_else(|| params["taskId"].as_str());
    headers.extend(name.map(|name| ("Mcp-Name", name.to_owned())));
    (json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }), headers)
}

/// A body without the sizes of its chunks.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n")
        && let Ok(size) = usize::from_str_radix(size, 16)
        && let Some(chunk) = rest.get(..size)
    {
        body.push_str(chunk);
        chunks = rest.get(size + 2..).unwrap_or_default();
    }
    body
}
