//! The tools: arguments to calls of the service, outcomes to results, nothing else.

mod arguments;
mod read;
mod results;
mod run;

use results::Told;
pub(super) use results::{JobOutput, JobStatus};

use std::sync::Arc;

use rmcp::{
    RoleServer,
    handler::server::router::tool::ToolRouter,
    model::{CallToolResult, ContentBlock, MetaObject},
    service::RequestContext,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) use arguments::whole;

use super::{
    resources::Part,
    server::{Server, Session},
};
use crate::{
    jobs::Job,
    policy::{Denial, types::Client},
};

/// What is said to calls that are in progress when the server ends.
const ENDING: &str = "the server is ending, and with it every job";

impl Server {
    /// The tools, with schemas that every client's validator knows.
    pub(super) fn tools() -> ToolRouter<Self> {
        let mut tools = Self::running_tools() + Self::reading_tools();
        for route in tools.map.values_mut() {
            route.attr.title = route.attr.annotations.as_ref().and_then(|hints| hints.title.clone());
            route.attr.description = route.attr.description.as_deref().map(|text| one_line(text).into());
            route.attr.input_schema = Arc::new(portable(&route.attr.input_schema));
            route.attr.output_schema = route.attr.output_schema.as_deref().map(|schema| Arc::new(portable(schema)));
        }
        tools
    }

    /// Who calls: whose connection it is, and what the client says of itself.
    pub(in crate::mcp) fn client(&self, context: &RequestContext<RoleServer>) -> Client {
        let info = context.meta.client_info().or_else(|| context.client_info());
        let (name, version) = info.map(|info| (info.name.clone(), info.version.clone())).unwrap_or_default();
        Client { principal: self.principal.to_string(), name, version }
    }

    /// Does something that may take long, until the client cancels the call, ends its session or is gone.
    async fn attended<T, E: From<CallToolResult>>(
        &self,
        context: &RequestContext<RoleServer>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            done = work => done,
            // The end cancels the calls too, which nobody asked for.
            () = self.gone.cancelled() => Err(error(ENDING.to_owned()).into()),
            () = Session::ended(context) => Err(error("the session has ended".to_owned()).into()),
            () = context.ct.cancelled() => Err(error("cancelled".to_owned()).into()),
        }
    }

    /// The job of this id, or what is said where there is none.
    async fn job(&self, job_id: &str) -> Result<Arc<Job>, CallToolResult> {
        const MOST_SHOWN_BYTES: usize = 64;
        if let Some(job) = job_id.parse::<Uuid>().ok().and_then(|id| self.find(id)) {
            return Ok(job);
        }
        let shown = self.service.scrub(&job_id[..job_id.floor_char_boundary(MOST_SHOWN_BYTES)]).await;
        Err(error(format!("there is no job {shown}: it never was, or it ended long ago and is forgotten; see list_jobs")))
    }
}

/// What a tool answers: a result, or what went wrong as a result that says so.
fn answer(result: Result<CallToolResult, CallToolResult>) -> CallToolResult {
    result.unwrap_or_else(|error| error)
}

/// A result as structure for programs and as text for models.
fn ok(result: &(impl Serialize + Told)) -> CallToolResult {
    let mut answer = CallToolResult::structured(json!(result));
    answer.content = vec![ContentBlock::text(result.told())];
    answer
}

/// A result, and where all of the job's output is, if there is or may come more of it than is answered.
fn linked(mut result: CallToolResult, job: &Job, is_all: bool) -> CallToolResult {
    if !is_all {
        result.content.push(ContentBlock::resource_link(Part::Merged.link(job)));
    }
    result
}

fn error(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// A refusal is text that the model can read; clients that validate structured content against the output schema would drop it. For
/// programs the same stands in `_meta`.
pub(super) fn denied(what: &str, denial: &Denial) -> CallToolResult {
    let mut meta = MetaObject::new();
    let details = json!({ "policy": denial.policy, "code": denial.code, "message": denial.message });
    meta.insert("portcullis/denial".to_owned(), details);
    error(format!("{what} {denial}")).with_meta(Some(meta))
}

/// A refusal of portcullis itself.
pub(super) fn denied_by_host(code: &str, message: String) -> CallToolResult {
    denied("denied", &Denial::by_host(code, message))
}

/// Lines that were broken for the source's sake joined again.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without Rust's names for the sizes of integers, which are no formats of JSON Schema and make validators warn, and without null
/// as the default of what can not be null; descriptions on one line.
fn portable(schema: &serde_json::Map<String, Value>) -> serde_json::Map<String, Value> {
    fn clean(value: &Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(portable(map)),
            Value::Array(values) => Value::Array(values.iter().map(clean).collect()),
            other => other.clone(),
        }
    }
    let is_size = |key: &str, value: &Value| key == "format" && value.as_str().is_some_and(|format| format.contains("int"));
    let member = |(key, value): (&String, &Value)| match value.as_str() {
        Some(text) if key == "description" => (key.clone(), Value::String(one_line(text))),
        _ => (key.clone(), clean(value)),
    };
    let is_nothing = |key: &str, value: &Value| key == "default" && value.is_null();
    schema.iter().filter(|(key, value)| !is_size(key, value) && !is_nothing(key, value)).map(member).collect()
}
