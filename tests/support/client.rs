//! A server and rmcp's own client, in either era of the protocol.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient, ServiceError,
    model::{
        CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult,
        ElicitationAction, Implementation, ProtocolVersion,
    },
    service::{RequestContext, RunningService},
    transport::{
        StreamableHttpClientTransport, TokioChildProcess, UnixSocketHttpClient,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};

use super::{DEADLINE, scene::Scene};

/// How a client begins.
#[derive(Clone, Copy, Debug)]
pub enum Era {
    /// `initialize`, as until 2025-11-25.
    Initialize,
    /// `server/discover` and no state, since 2026-07-28.
    Discover,
}

/// A connected client, and the server it started.
pub struct Client {
    service: RunningService<RoleClient, Person>,
    /// The server's process.
    pub pid: u32,
}

/// Who is behind a client, and what they say when they are asked.
#[derive(Clone, Default)]
pub struct Person {
    /// Whether the client says that it can ask.
    can_be_asked: bool,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a person does with a question.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Sends the form with this in it.
    Says(&'static str),
    /// Sends no form.
    Declines,
    /// Closes it.
    Cancels,
    /// Never comes back.
    Sleeps,
}

impl Person {
    /// Gives these answers, one after the other.
    pub fn who(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        Self { can_be_asked: true, answers, asked: Arc::default() }
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder();
        let capabilities = if self.can_be_asked { capabilities.enable_elicitation().build() } else { capabilities.build() };
        ClientConfig::new(capabilities, Implementation::new("tester", "1"))
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = asked else { panic!("no form") };
        self.asked.lock().unwrap().push(message);
        let answer = self.answers.lock().unwrap().pop_front().expect("a question that nobody expected");
        match answer {
            Answer::Says(said) => Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "answer": said }))),
            Answer::Declines => Ok(ElicitResult::new(ElicitationAction::Decline)),
            Answer::Cancels => Ok(ElicitResult::new(ElicitationAction::Cancel)),
            Answer::Sleeps => std::future::pending().await,
        }
    }
}

impl Client {
    /// Starts a server in the scene and begins.
    pub async fn connect(scene: &Scene, era: Era) -> Self {
        Self::connect_for(scene, era, Person::default()).await
    }

    /// The same with somebody behind the client.
    pub async fn connect_for(scene: &Scene, era: Era, person: Person) -> Self {
        Self::connect_over(scene, scene.command(["serve"]), era, person).await
    }

    /// Connects to the server that this command starts.
    pub async fn connect_over(scene: &Scene, command: std::process::Command, era: Era, person: Person) -> Self {
        let command = tokio::process::Command::from(command);
        let log = std::fs::File::create(scene.base().join("serve.stderr")).unwrap();
        let (transport, _) = TokioChildProcess::builder(command).stderr(log).spawn().unwrap();
        let pid = transport.id().unwrap();
        let service = person.serve_with_lifecycle(transport, era.lifecycle()).await.unwrap();
        Self { service, pid }
    }

    /// Connects to a server, of this process, that listens at a socket.
    pub async fn connect_at(socket: &Path, token: Option<&str>, era: Era, person: Person, pid: u32) -> Self {
        let config = StreamableHttpClientTransportConfig::with_uri("http://localhost/mcp");
        let config = token.into_iter().fold(config, |config, token| config.auth_header(token));
        let client = UnixSocketHttpClient::new(socket.to_str().unwrap(), "http://localhost/mcp");
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let service = person.serve_with_lifecycle(transport, era.lifecycle()).await.unwrap();
        Self { service, pid }
    }

    /// What the server says of itself.
    pub fn server(&self) -> Implementation {
        self.service.peer_info().unwrap().server_info.clone().unwrap()
    }

    /// The tools as they come over the wire.
    pub async fn tools(&self) -> Value {
        serde_json::to_value(self.service.list_all_tools().await.unwrap()).unwrap()
    }

    /// Calls a tool.
    pub async fn try_call(&self, tool: &str, arguments: Value) -> Result<CallToolResult, ServiceError> {
        let arguments = arguments.as_object().unwrap().clone();
        let call = self.service.call_tool(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments));
        tokio::time::timeout(DEADLINE, call).await.unwrap()
    }

    /// Calls a tool, which answers with a result, be it an error result.
    pub async fn call(&self, tool: &str, arguments: Value) -> CallToolResult {
        self.try_call(tool, arguments).await.unwrap()
    }

    /// Calls a tool that is to succeed: its structured content.
    pub async fn tell(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments).await;
        assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
        result.structured_content.unwrap()
    }

    /// Calls a tool that is to fail: its text.
    pub async fn refused(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result.is_error, Some(true), "{tool}: {result:?}");
        text(&result)
    }

    /// Starts a command that is to be allowed.
    pub async fn execute(&self, command: &str) -> String {
        let started = self.tell("execute_command", serde_json::json!({ "command": command })).await;
        started["job_id"].as_str().unwrap().to_owned()
    }

    /// Asks for a job's status until it is final.
    pub async fn ended(&self, job: &str) -> Value {
        let began = Instant::now();
        loop {
            let status = self.tell("get_job_status", serde_json::json!({ "job_id": job })).await;
            if status["status"] != "running" {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "{status}");
        }
    }

    /// Closes the connection as a client does that is done.
    pub async fn close(mut self) {
        self.service.close().await.unwrap();
    }
}

impl Era {
    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Self::Initialize => ClientLifecycleMode::Initialize,
            Self::Discover => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
        }
    }
}

/// The text a model reads in a result.
pub fn text(result: &CallToolResult) -> String {
    serde_json::to_value(&result.content).unwrap()[0]["text"].as_str().unwrap().to_owned()
}
