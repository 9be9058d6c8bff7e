//! What the suite wants to find in a server, in front of the real one. Wherever portcullis has a thing of the kind, the real server
//! does it: tools are commands that it judges, asks about, runs and makes tasks of, resources are what such commands printed. Only
//! what it never says, such as pictures, is made up here.

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities, CompleteRequestParams,
        CompleteResult, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, GetTaskParams, GetTaskResult,
        InputRequiredResult, InputResponses, JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        ResourceContents, ServerConfig, ServerRequest, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The program that a person is asked about: it is told how many seconds to take, and what to print then.
pub const ASKED: &str = "slowly";

/// How long a call waits for its command, in milliseconds.
const WAIT_MS: u32 = 60_000;
/// What the real server calls its question.
const QUESTION: &str = "answer";
/// A picture of one dot.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// A sound of no length.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// A tool that has one of its arguments in a header too.
const IN_HEADER: &str = "test_argument_in_header";

/// A handler with the fixtures in front.
#[derive(Clone)]
pub struct Fixtures<S>(pub S);

/// What a tool of the suite does.
enum Deed {
    /// Runs a command.
    Runs(String),
    /// Runs a command about which a person is asked: the suite's name for the question, and what the command is told.
    Asks(&'static str, &'static str),
    /// Answers this content.
    Says(Value),
    /// Sends the client this request and answers what came of it; in the revisions that have such requests.
    Requests(Value),
    /// Demands these inputs before it answers, a round after the other.
    Demands(Vec<Value>),
    /// Needs what the client did not declare.
    Lacks,
}

/// What the tool of this call does, if it is one of the suite's.
fn deed(call: &CallToolRequestParams) -> Option<Deed> {
    let argument = |name: &str| call.arguments.as_ref().and_then(|arguments| arguments.get(name));
    Some(match call.name.as_ref() {
        // To the letter, which no command's result is.
        "greet" => {
            let name = argument("name").and_then(Value::as_str).unwrap_or_default();
            Deed::Says(json!([text(&format!("Hello, {name}!"))]))
        }
        "test_simple_text" | "test_logging_tool" | IN_HEADER => Deed::Runs("echo Hello".to_owned()),
        // Which no rule allows.
        "test_error_handling" => Deed::Runs("cat notes.txt".to_owned()),
        // A wait is told of once a second; the suite wants to be told three times.
        "test_tool_with_progress" => Deed::Runs("sleep 4".to_owned()),
        "slow_compute" => Deed::Runs(format!("sleep {}", argument("seconds").and_then(Value::as_u64).unwrap_or(0))),
        // The suite would have the stream broken off, and reads what came of the call on another; here it lasts as long as the
        // call.
        "test_reconnection" => Deed::Runs("sleep 1".to_owned()),
        "failing_job" | "protocol_error_job" => Deed::Runs("sleep 1; sleep forever".to_owned()),
        "test_elicitation"
        | "test_streaming_elicitation"
        | "test_input_required_result_capabilities"
        | "confirm_delete"
        | "multi_input" => Deed::Asks(QUESTION, "0 Hello"),
        "test_input_required_result_elicitation" => Deed::Asks("user_name", "0 Hello"),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            Deed::Asks("confirm", "0 state-ok")
        }
        // The name is the answer that the suite gives.
        "test_tool_with_task" => Deed::Asks("user_name", "1 Alice"),
        "test_input_required_result_sampling" => Deed::Demands(vec![json!({ "capital_question": sampling() })]),
        "test_input_required_result_list_roots" => Deed::Demands(vec![json!({ "client_roots": roots() })]),
        "test_input_required_result_multiple_inputs" => {
            Deed::Demands(vec![json!({ "user_name": form("name"), "greeting": sampling(), "client_roots": roots() })])
        }
        "test_input_required_result_multi_round" => {
            Deed::Demands(vec![json!({ "step1": form("name") }), json!({ "step2": form("color") })])
        }
        "test_sampling" => Deed::Requests(sampling()),
        "test_elicitation_sep1034_defaults" => Deed::Requests(defaults()),
        "test_elicitation_sep1330_enums" => Deed::Requests(choices()),
        "test_image_content" => Deed::Says(json!([picture()])),
        "test_audio_content" => Deed::Says(json!([{ "type": "audio", "data": SOUND, "mimeType": "audio/wav" }])),
        "test_embedded_resource" => Deed::Says(json!([embedded("test://embedded-resource")])),
        "test_multiple_content_types" => {
            Deed::Says(json!([text("All kinds:"), picture(), embedded("test://mixed-content-resource")]))
        }
        "test_missing_capability" => Deed::Lacks,
        _ => return None,
    })
}

/// What stands behind the address of a resource: the command that prints it.
fn printed_at(uri: &str) -> Option<String> {
    let id = |uri: &str| uri.strip_prefix("test://template/")?.strip_suffix("/data")?.parse::<u32>().ok();
    match uri {
        "test://static-text" => Some("echo Hello".to_owned()),
        "test://watched-resource" => Some("sleep 1".to_owned()),
        _ => id(uri).map(|id| format!("echo {id}")),
    }
}

impl<S: ServerHandler> Fixtures<S> {
    async fn run(&self, mut call: CallToolRequestParams, command: &str, context: RequestContext<RoleServer>) -> Answer {
        let arguments = json!({ "command": command, "wait_ms": WAIT_MS });
        call.name = "execute_command".into();
        call.arguments = arguments.as_object().cloned();
        self.0.call_tool(call, context).await
    }

    /// Has a person asked, under the name and with the answers that the suite has for it.
    async fn ask(&self, mut call: CallToolRequestParams, name: &str, told: &str, context: RequestContext<RoleServer>) -> Answer {
        call.input_responses = call.input_responses.map(|answers| understood(answers, name));
        let mut response = self.run(call, &format!("{ASKED} {told}"), context).await?;
        if let CallToolResponse::InputRequired(InputRequiredResult { input_requests: Some(requests), .. }) = &mut response
            && let Some(question) = requests.remove(QUESTION)
        {
            requests.insert(name.to_owned(), question);
        }
        Ok(response)
    }

    /// The address of a new job's output.
    async fn printed(&self, command: &str, context: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let call = CallToolRequestParams::new("execute_command");
        let CallToolResponse::Complete(result) = self.run(call, command, context).await? else {
            return Err(ErrorData::internal_error("the command did not end at once", None));
        };
        let job = result.structured_content.as_ref().and_then(|result| result["job_id"].as_str());
        job.map(|job| format!("job://{job}/stdout")).ok_or_else(|| ErrorData::internal_error("there is no job", None))
    }
}

type Answer = Result<CallToolResponse, ErrorData>;

/// The suite's yes as one that the real server offers. What is no yes stays what it is.
fn understood(mut answers: InputResponses, name: &str) -> InputResponses {
    if let Some(mut answer) = answers.remove(name) {
        if answer["action"] == "accept" {
            answer["content"] = json!({ QUESTION: "once" });
        }
        answers.insert(QUESTION.to_owned(), answer);
    }
    answers
}

/// The next round of inputs, or none if all were brought. The state is the number of the round that is answered.
fn demanded(rounds: &[Value], answers: Option<&InputResponses>, state: Option<&str>) -> Option<InputRequiredResult> {
    let at = state.and_then(|state| state.parse().ok()).unwrap_or(0);
    let asked = rounds.get(at).and_then(Value::as_object);
    let is_answered =
        asked.is_some_and(|asked| asked.keys().all(|name| answers.is_some_and(|answers| answers.contains_key(name))));
    let next = at + usize::from(is_answered);
    rounds.get(next).map(|round| InputRequiredResult::new(Some(as_the_model_has_it(round.clone())), Some(next.to_string())))
}

fn as_the_model_has_it<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("the fixtures are written as the protocol says")
}

fn says(content: Value) -> CallToolResponse {
    CallToolResult::success(as_the_model_has_it::<Vec<ContentBlock>>(content)).into()
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn picture() -> Value {
    json!({ "type": "image", "data": PICTURE, "mimeType": "image/png" })
}

fn embedded(uri: &str) -> Value {
    json!({ "type": "resource", "resource": { "uri": uri, "mimeType": "text/plain", "text": "Hello" } })
}

fn sampling() -> Value {
    let messages = json!([{ "role": "user", "content": text("Say hello.") }]);
    json!({ "method": "sampling/createMessage", "params": { "messages": messages, "maxTokens": 100 } })
}

fn roots() -> Value {
    json!({ "method": "roots/list", "params": {} })
}

/// A form with one field for a word.
fn form(field: &str) -> Value {
    elicitation(json!({ field: { "type": "string" } }))
}

fn elicitation(properties: Value) -> Value {
    let schema = json!({ "type": "object", "properties": properties });
    json!({ "method": "elicitation/create", "params": { "mode": "form", "message": "Say something.", "requestedSchema": schema } })
}

/// A form with each type that can have a default.
fn defaults() -> Value {
    elicitation(json!({
        "name": { "type": "string", "default": "John Doe" },
        "age": { "type": "integer", "default": 30 },
        "score": { "type": "number", "default": 95.5 },
        "status": { "type": "string", "enum": ["active", "inactive", "pending"], "default": "active" },
        "verified": { "type": "boolean", "default": true },
    }))
}

/// A form with each way to offer a choice.
fn choices() -> Value {
    let names = json!(["option1", "option2", "option3"]);
    let titled = json!([{ "const": "value1", "title": "First" }, { "const": "value2", "title": "Second" }]);
    elicitation(json!({
        "untitledSingle": { "type": "string", "enum": names },
        "titledSingle": { "type": "string", "oneOf": titled },
        "legacyEnum": { "type": "string", "enum": names, "enumNames": ["One", "Two", "Three"] },
        "untitledMulti": { "type": "array", "items": { "type": "string", "enum": names } },
        "titledMulti": { "type": "array", "items": { "anyOf": titled } },
    }))
}

/// Tools whose schemas the suite wants to see; with the real ones they are all that is listed.
fn listed() -> [Tool; 2] {
    let full = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
        } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    });
    let header = json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
    let tool = |name, schema: Value| Tool::new(name, "Only the suite calls it.", as_the_model_has_it::<JsonObject>(schema));
    [tool("json_schema_2020_12_tool", full), tool(IN_HEADER, header)]
}

impl<S: ServerHandler> ServerHandler for Fixtures<S> {
    async fn call_tool(&self, call: CallToolRequestParams, context: RequestContext<RoleServer>) -> Answer {
        match deed(&call) {
            None => self.0.call_tool(call, context).await,
            Some(Deed::Runs(command)) => self.run(call, &command, context).await,
            Some(Deed::Asks(name, told)) => self.ask(call, name, told, context).await,
            Some(Deed::Says(content)) => Ok(says(content)),
            Some(Deed::Requests(request)) => {
                let request = as_the_model_has_it::<ServerRequest>(request);
                let answer = context.peer.send_request(request).await;
                Ok(says(json!([text(&format!("{answer:?}"))])))
            }
            Some(Deed::Demands(rounds)) => {
                let demanded = demanded(&rounds, call.input_responses.as_ref(), call.request_state.as_deref());
                Ok(demanded.map_or_else(|| says(json!([text("That was all.")])), CallToolResponse::from))
            }
            Some(Deed::Lacks) => {
                let needed = as_the_model_has_it::<ClientCapabilities>(json!({ "sampling": {} }));
                Err(ErrorData::missing_required_client_capability(needed))
            }
        }
    }

    async fn list_tools(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.0.list_tools(asked, context).await?;
        list.tools.extend(listed());
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.get_tool(name).or_else(|| listed().into_iter().find(|tool| tool.name == name))
    }

    async fn get_prompt(
        &self,
        mut asked: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let told = |name: &str| asked.arguments.as_ref().and_then(|told| told.get(name)?.as_str()).unwrap_or_default();
        let content = match asked.name.as_str() {
            "test_prompt_with_arguments" => text(&format!("{} and {}", told("arg1"), told("arg2"))),
            "test_prompt_with_embedded_resource" => embedded(told("resourceUri")),
            "test_prompt_with_image" => picture(),
            "test_input_required_result_prompt" => {
                let rounds = [json!({ "user_context": form("context") })];
                match demanded(&rounds, asked.input_responses.as_ref(), asked.request_state.as_deref()) {
                    Some(round) => return Ok(round.into()),
                    None => text("That was all."),
                }
            }
            name => {
                if name == "test_simple_prompt" {
                    asked.name = "run_commands".to_owned();
                }
                return self.0.get_prompt(asked, context).await;
            }
        };
        let messages = json!([{ "role": "user", "content": content }]);
        Ok(GetPromptResult::new(as_the_model_has_it(messages)).into())
    }

    async fn read_resource(
        &self,
        mut asked: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if asked.uri == "test://static-binary" {
            let picture = ResourceContents::blob(PICTURE, asked.uri).with_mime_type("image/png");
            return Ok(ReadResourceResult::new(vec![picture]).into());
        }
        if let Some(command) = printed_at(&asked.uri) {
            asked.uri = self.printed(&command, context.clone()).await?;
        }
        self.0.read_resource(asked, context).await
    }

    #[expect(deprecated, reason = "of the revisions that begin with `initialize`, which the suite looks at too")]
    async fn subscribe(&self, mut asked: SubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        if let Some(command) = printed_at(&asked.uri) {
            asked.uri = self.printed(&command, context.clone()).await?;
        }
        self.0.subscribe(asked, context).await
    }

    // What follows is the real server's alone.

    fn get_info(&self) -> ServerConfig {
        self.0.get_info()
    }

    async fn list_prompts(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.0.list_prompts(asked, context).await
    }

    async fn complete(
        &self,
        asked: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.0.complete(asked, context).await
    }

    async fn list_resources(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.0.list_resources(asked, context).await
    }

    async fn list_resource_templates(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.0.list_resource_templates(asked, context).await
    }

    fn accepted_subscription_filter(&self, asked: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.0.accepted_subscription_filter(asked)
    }

    async fn listen(&self, listener: SubscriptionContext) -> Result<(), ErrorData> {
        self.0.listen(listener).await
    }

    #[expect(deprecated, reason = "as of `subscribe`")]
    async fn unsubscribe(&self, asked: UnsubscribeRequestParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.0.unsubscribe(asked, context).await
    }

    async fn get_task(&self, asked: GetTaskParams, context: RequestContext<RoleServer>) -> Result<GetTaskResult, ErrorData> {
        self.0.get_task(asked, context).await
    }

    async fn update_task(&self, asked: UpdateTaskParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.0.update_task(asked, context).await
    }

    async fn cancel_task(&self, asked: CancelTaskParams, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.0.cancel_task(asked, context).await
    }
}
