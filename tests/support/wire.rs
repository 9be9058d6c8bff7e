//! A server, spoken to in lines of JSON over its real pipes: for what a library's client would not send, and for scenes that need
//! nothing of the protocol but tools.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{DEADLINE, eventually, scene::Scene, within};

/// A server and its pipes.
pub struct Wire {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Messages that came while another was awaited.
    early: VecDeque<Value>,
    last_id: u64,
    stderr: PathBuf,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Asked(u64);

impl Asked {
    /// The id it was asked by.
    pub fn id(&self) -> u64 {
        self.0
    }
}

impl Wire {
    /// Starts a server and says nothing.
    pub fn start(scene: &Scene) -> Self {
        Self::start_with(scene, &[])
    }

    /// Starts a server with more variables.
    pub fn start_with(scene: &Scene, variables: &[(&str, &str)]) -> Self {
        let mut command = scene.command(["serve"]);
        command.envs(variables.iter().copied());
        Self::over(scene, command)
    }

    /// Talks to a server that this command starts.
    pub fn over(scene: &Scene, mut command: Command) -> Self {
        let stderr = scene.base().join("serve.stderr");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, lines, early: VecDeque::new(), last_id: 0, stderr }
    }

    /// Starts a server and begins as clients of 2025-11-25 do.
    pub fn open(scene: &Scene) -> Self {
        let mut wire = Self::start(scene);
        wire.initialize();
        wire
    }

    /// `initialize` and what follows it.
    #[track_caller]
    pub fn initialize(&mut self) -> Value {
        let answer = self.request(
            "initialize",
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "wire", "version": "0" } }),
        );
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }

    /// Sends a request of the stateless revision, with these capabilities of the client, and waits for the whole answer.
    #[track_caller]
    pub fn stateless(&mut self, method: &str, params: Value, capabilities: Value) -> Value {
        let asked = self.ask_stateless(method, params, capabilities);
        self.answer(asked)
    }

    /// The same without waiting.
    pub fn ask_stateless(&mut self, method: &str, mut params: Value, capabilities: Value) -> Asked {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "wire", "version": "0" });
        self.ask(method, params)
    }

    /// Writes a line as it is. A server that is gone is no mistake here: what it did shows elsewhere.
    pub fn send_line(&mut self, line: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        drop(stdin.write_all(line).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush()));
    }

    /// Writes a message.
    pub fn send(&mut self, message: &Value) {
        self.send_line(message.to_string().as_bytes());
    }

    /// Sends a request and does not wait.
    pub fn ask(&mut self, method: &str, params: Value) -> Asked {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        Asked(id)
    }

    /// Waits for the answer to a request: the message with `result` or `error`.
    #[track_caller]
    pub fn answer(&mut self, Asked(id): Asked) -> Value {
        let is_it = |message: &Value| message["id"] == json!(id);
        if let Some(at) = self.early.iter().position(is_it) {
            return self.early.remove(at).unwrap();
        }
        loop {
            let message = self.message().unwrap_or_else(|| panic!("no answer; the server says: {}", self.stderr()));
            if is_it(&message) {
                return message;
            }
            self.early.push_back(message);
        }
    }

    /// Waits for a notification of this method: its parameters.
    #[track_caller]
    pub fn notified(&mut self, method: &str) -> Value {
        let is_it = |message: &Value| message["method"] == method && message["id"].is_null();
        if let Some(at) = self.early.iter().position(is_it) {
            return self.early.remove(at).unwrap()["params"].clone();
        }
        loop {
            let message = self.message().unwrap_or_else(|| panic!("no {method}; the server says: {}", self.stderr()));
            if is_it(&message) {
                return message["params"].clone();
            }
            self.early.push_back(message);
        }
    }

    /// Messages that came and were not awaited.
    pub fn unawaited(&self) -> impl Iterator<Item = &Value> {
        self.early.iter()
    }

    /// The next message; none at the end of the server's output. A line that is no JSON-RPC is a failure.
    #[track_caller]
    pub fn message(&mut self) -> Option<Value> {
        let line = match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}; the server says: {}", self.stderr()),
        };
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in the line {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        Some(message)
    }

    /// Sends a request and waits for the whole answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let asked = self.ask(method, params);
        self.answer(asked)
    }

    /// Calls a tool and does not wait.
    pub fn begin(&mut self, tool: &str, arguments: Value) -> Asked {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Waits for the result of a tool, be it an error result.
    #[track_caller]
    pub fn result(&mut self, asked: Asked) -> Value {
        let answer = self.answer(asked);
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Calls a tool.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let asked = self.begin(tool, arguments);
        self.result(asked)
    }

    /// Calls a tool that is to succeed: its structured content.
    #[track_caller]
    pub fn tell(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that is to fail: its text.
    #[track_caller]
    pub fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Starts a command that is to be allowed.
    #[track_caller]
    pub fn execute(&mut self, command: &str) -> String {
        self.tell("execute_command", json!({ "command": command }))["job_id"].as_str().unwrap().to_owned()
    }

    /// Starts `script` in a shell; it may hold no single quote.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        assert!(!script.contains('\''), "{script}");
        self.execute(&format!("sh -c '{script}'"))
    }

    /// A job's status.
    #[track_caller]
    pub fn status(&mut self, job: &str) -> Value {
        self.tell("get_job_status", json!({ "job_id": job }))
    }

    /// A job's status once it is final.
    #[track_caller]
    pub fn ended(&mut self, job: &str) -> Value {
        eventually("the job ends", || Some(self.status(job)).filter(|status| !status["ended"].is_null()))
    }

    /// A job's output.
    #[track_caller]
    pub fn output(&mut self, job: &str) -> Value {
        self.tell("get_job_output", json!({ "job_id": job, "max_bytes": 1 << 20 }))
    }

    /// A job's standard output once it satisfies a condition.
    #[track_caller]
    pub fn printed(&mut self, job: &str, is_enough: impl Fn(&str) -> bool) -> String {
        eventually("the job prints it", || {
            let stdout = self.output(job)["stdout"].as_str().unwrap().to_owned();
            is_enough(&stdout).then_some(stdout)
        })
    }

    /// The process id a job prints as its first line.
    #[track_caller]
    pub fn printed_pid(&mut self, job: &str) -> u32 {
        let printed = self.printed(job, |stdout| stdout.contains('\n'));
        printed.lines().next().unwrap().trim().parse().unwrap()
    }

    /// What the server wrote to standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the server's standard input.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Closes the server's standard input and waits until it has ended well.
    #[track_caller]
    pub fn close(&mut self) {
        self.hang_up();
        let ended = self.exit_within(DEADLINE);
        assert!(ended.success(), "{ended}: {}", self.stderr());
    }

    /// Waits for the server's end.
    #[track_caller]
    pub fn exit_within(&mut self, deadline: Duration) -> ExitStatus {
        within(deadline, "the server ends", || self.child.try_wait().unwrap())
    }

    /// Whether the server has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A server that is asked stops its jobs; one that is killed can not.
        self.hang_up();
        let asked = std::time::Instant::now();
        while asked.elapsed() < DEADLINE && self.is_running() {
            thread::yield_now();
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
