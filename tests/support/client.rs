//! A server and rmcp's own client, in either era of the protocol.

use std::time::Instant;

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceError,
    model::{CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion},
    service::RunningService,
    transport::TokioChildProcess,
};
use serde_json::Value;

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
    service: RunningService<RoleClient, ClientConfig>,
    /// The server's process.
    pub pid: u32,
}

impl Client {
    /// Starts a server in the scene and begins.
    pub async fn connect(scene: &Scene, era: Era) -> Self {
        let command = tokio::process::Command::from(scene.command(["serve"]));
        let log = std::fs::File::create(scene.base().join("serve.stderr")).unwrap();
        let (transport, _) = TokioChildProcess::builder(command).stderr(log).spawn().unwrap();
        let pid = transport.id().unwrap();
        let me = ClientConfig::new(ClientCapabilities::default(), Implementation::new("tester", "1"));
        let service = me.serve_with_lifecycle(transport, era.lifecycle()).await.unwrap();
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
