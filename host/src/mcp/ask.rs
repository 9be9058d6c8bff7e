//! Questions to the person behind a client: with a request to the client in the revisions that have one, else with a result that
//! demands the call once more, with the answer and a seal in it.
//!
//! The seal shows that the question is this server's, is about this very call and is not too old; the table of open questions, that
//! it was not answered before. What is done then is judged anew: a yes is worth something for the form it was given to and for no
//! other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use hyper::http;
use rmcp::{
    ErrorData, RoleServer,
    handler::server::{common::FromContextPart, tool::ToolCallContext},
    model::{
        CallToolResponse, CallToolResult, CancelledNotificationParam, ClientResult, ElicitRequest, ElicitRequestParams,
        ElicitResult, ElicitationAction, InputRequest, InputRequiredResult, InputResponses, RequestId, RequestStateCodec,
        RequestStateError, SealOptions, ServerRequest,
    },
    service::{Peer, PeerRequestOptions, RequestContext},
};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    server::{Server, Session},
    tools::{denied, denied_by_host},
};
use crate::{
    audit::{Reply, Subject, Way},
    policy::Consent,
    service::{Execution, Question, Service},
};

/// Questions that may be open at a time; an agent could else bury the person in them.
const MOST_OPEN: usize = 64;
/// Of these, how many a client may be asked at a time.
const MOST_AT_ONCE: usize = 4;
/// The name of the question, and of the answer in it.
const ANSWER: &str = "answer";

const UNTRUSTED: &str = "needs a person's approval, and over MCP nobody can be asked here: an answer would be the client's word, which \
counts only with `ask.trust_client = true` in the owner's configuration; have the user do it at a terminal, or find a way that needs no \
approval: denied";
const UNABLE: &str = "needs a person's approval, and this client can not ask its user (it declares no elicitation of forms, or has no session \
in which to answer); have the user \
do it at a terminal, or find a way that needs no approval: denied";
const DRY: &str = "needs a person's approval, and on a dry run nobody is asked: denied";
const MANY: &str =
    "needs a person's approval, and too many questions to that person are open already; wait until they are answered: denied";
const CHANGED: &str = "needs a person's approval: what the person said was about something else than what would be done now, since what the \
command names or what the policies say has changed meanwhile; send it again: denied";
const REFUSED: &str = "a person was asked and said no: denied. Do not try the same in another way; ask the user what to do instead. It was asked for";
const SILENT: &str = "needs a person's approval, and no answer came in time that could be understood: denied";

/// What the server knows of its questions.
pub(super) struct Asking {
    codec: RequestStateCodec,
    open: Mutex<HashMap<Uuid, Open>>,
    at_once: Semaphore,
}

/// A question that was given to a client to bring back answered.
struct Open {
    question: Question,
    until: Instant,
}

/// One call of a tool: what a person's answer to it is bound to, and the answer it brings.
pub(super) struct Call {
    pub(super) context: RequestContext<RoleServer>,
    /// Tool, arguments and principal, written the same however the client wrote them.
    binding: Vec<u8>,
    state: Option<String>,
    answers: InputResponses,
}

/// What is answered to a call that is not done.
pub(super) enum Refusal {
    /// A result that the model reads.
    Result(CallToolResult),
    /// The client broke the protocol.
    Error(ErrorData),
}

/// Why an answer that was brought back does not count.
#[derive(Clone, Copy)]
enum Void {
    Forged,
    Late,
    Used,
}

/// What came of asking.
pub(super) enum Said {
    /// A person said yes.
    Yes(Consent),
    /// The client is to bring the call again with an answer.
    Later(InputRequiredResult),
}

impl From<CallToolResult> for Refusal {
    fn from(result: CallToolResult) -> Self {
        Self::Result(result)
    }
}

impl Refusal {
    /// As an answer.
    pub(super) fn answer(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Result(result) => Ok(result.into()),
            Self::Error(error) => Err(error),
        }
    }
}

impl Void {
    fn why(self) -> &'static str {
        match self {
            Self::Forged => "its `requestState` is none that this server gave out for this call",
            Self::Late => "it came too late",
            Self::Used => "its question was answered before",
        }
    }
}

impl FromContextPart<ToolCallContext<'_, Server>> for Call {
    /// To be taken before the arguments are.
    fn from_context_part(call: &mut ToolCallContext<'_, Server>) -> Result<Self, ErrorData> {
        let arguments = call.arguments.clone().map_or(Value::Null, Value::Object);
        let binding = json!([call.name, canonical(&arguments), call.service.principal.as_str()]).to_string().into_bytes();
        let (state, answers) = (call.request_state.take(), call.input_responses.take().unwrap_or_default());
        Ok(Self { context: call.request_context.clone(), binding, state, answers })
    }
}

impl Asking {
    /// With a key of its own, from the system's randomness, for as long as it lives.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut key = [0; 32];
        if getrandom(&mut key, GetRandomFlags::empty())? != key.len() {
            return Err(std::io::Error::other("it gave less than was asked for"));
        }
        let codec = RequestStateCodec::try_new(key).map_err(std::io::Error::other)?;
        Ok(Self { codec, open: Mutex::default(), at_once: Semaphore::new(MOST_AT_ONCE) })
    }

    /// The questions that can still be answered.
    fn open(&self) -> MutexGuard<'_, HashMap<Uuid, Open>> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        let now = Instant::now();
        open.retain(|_, open| open.until > now);
        open
    }

    /// Whether a client may take one more away.
    fn has_room(&self) -> bool {
        self.open().len() < MOST_OPEN
    }

    /// Lets a client take a question away; says nothing if as many as may be are open.
    fn lend(&self, question: Question, text: String, call: &Call, longest: Duration) -> Option<InputRequiredResult> {
        let id = question.id;
        let form = InputRequest::Elicitation(ElicitRequest::new(form(text)));
        {
            let mut open = self.open();
            if open.len() >= MOST_OPEN {
                return None;
            }
            open.insert(id, Open { question, until: Instant::now() + longest });
        }
        let sealed = self.codec.seal_with(id.as_bytes(), &SealOptions::new().associated_data(&call.binding).ttl(longest));
        Some(InputRequiredResult::new(Some([(ANSWER.to_owned(), form)].into()), Some(sealed)))
    }

    /// The question that a client brings back, which is open no more.
    fn take_back(&self, sealed: &str, call: &Call) -> Result<Question, Void> {
        let opened = self.codec.open_with(sealed, &call.binding).map_err(|fault| match fault {
            RequestStateError::Expired => Void::Late,
            _ => Void::Forged,
        })?;
        let id = Uuid::from_slice(&opened).map_err(|_| Void::Forged)?;
        let taken = self.open().remove(&id);
        taken.map(|open| open.question).ok_or(Void::Used)
    }
}

impl Server {
    /// What a person's answer is worth that came with the call, if one did.
    pub(super) async fn brought(&self, call: &Call, subject: Subject) -> Result<Option<Consent>, Refusal> {
        let Some(sealed) = &call.state else { return Ok(None) };
        match self.asking.take_back(sealed, call) {
            Ok(question) => match call.answers.get(ANSWER) {
                Some(answer) => {
                    let answer = serde_json::from_value(answer.clone());
                    let said = answer.map_or(Reply::None, |answer| reply(&answer));
                    Ok(Some(self.settled(&question, Way::InputRequired, said)?))
                }
                // Brought back without an answer, it is asked anew.
                None => Ok(None),
            },
            Err(void) => {
                let why = void.why();
                let client = self.client(&call.context);
                let recorded = self.service.answered_in_vain(&client, subject, Way::InputRequired, why).await;
                recorded.map_err(|denial| denied("denied", &denial))?;
                let text = format!(
                    "the answer does not count, since {why}; send the call again without it, and the person is asked anew"
                );
                // A state that does not open is the client's fault, not the model's: the protocol wants an error of its own for it.
                Err(match void {
                    Void::Forged => Refusal::Error(ErrorData::invalid_params(text, None)),
                    Void::Late | Void::Used => denied_by_host("answer-not-valid", text).into(),
                })
            }
        }
    }

    /// Asks a person; `earlier` is what one said before, which was not enough for what would be done now.
    pub(super) async fn said(&self, call: &Call, question: Question, earlier: Option<Consent>) -> Result<Said, CallToolResult> {
        if earlier.is_some() {
            return Err(denied(CHANGED, question.reason()));
        }
        let way = self.way(call).map_err(|why| denied(why, question.reason()))?;
        let too_many = denied(MANY, question.reason());
        let asks = || self.service.asks(&question, way).map(str::to_owned).map_err(|denial| denied("not asked:", &denial));
        if way == Way::Elicitation {
            let Ok(_turn) = self.asking.at_once.try_acquire() else { return Err(too_many) };
            let text = asks()?;
            return self.elicited(question, text, call).await.map(Said::Yes);
        }
        if !self.asking.has_room() {
            return Err(too_many);
        }
        let text = asks()?;
        let lent = self.asking.lend(question, text, call, self.service.ask().timeout);
        lent.map(Said::Later).ok_or(too_many)
    }

    /// How the person behind this call can be asked, or why not.
    fn way(&self, call: &Call) -> Result<Way, &'static str> {
        let declared = call.context.client_capabilities().and_then(|capabilities| capabilities.elicitation);
        // Declared without a mode it means forms.
        let has_forms = declared.is_some_and(|modes| modes.form.is_some() || modes.url.is_none());
        match call.context.protocol_version() {
            _ if self.service.execution() == Execution::Dry => Err(DRY),
            _ if !self.service.ask().trust_client => Err(UNTRUSTED),
            _ if !has_forms => Err(UNABLE),
            Some(version) if version.has_initialize() => can_answer(&call.context).then_some(Way::Elicitation).ok_or(UNABLE),
            _ => Ok(Way::InputRequired),
        }
    }

    /// Asks the person by a request to the client, and waits. Dropped while it does, it withdraws the question.
    async fn elicited(&self, question: Question, text: String, call: &Call) -> Result<Consent, CallToolResult> {
        let request = ServerRequest::ElicitRequest(ElicitRequest::new(form(text)));
        let options = PeerRequestOptions::with_timeout(self.service.ask().timeout);
        let mut put = Put::new(self.service.clone(), call.context.peer.clone(), question);
        let answered = match put.peer.send_request_with_option(request, options).await {
            Ok(asked) => {
                put.request = Some(asked.id.clone());
                asked.await_response().await
            }
            Err(error) => Err(error),
        };
        let question = put.taken_back();
        let said = match answered {
            Ok(ClientResult::ElicitResult(answer)) => reply(&answer),
            Ok(_) => Reply::None,
            Err(error) => {
                tracing::debug!(%error, "a question to a person was not answered");
                Reply::None
            }
        };
        self.settled(&question, Way::Elicitation, said)
    }

    /// Records what the person said, and makes of it a consent or a refusal.
    fn settled(&self, question: &Question, way: Way, said: Reply) -> Result<Consent, CallToolResult> {
        let consent = self.service.answered(question, way, said).map_err(|denial| denied("denied", &denial))?;
        consent.ok_or_else(|| denied(if said == Reply::No { REFUSED } else { SILENT }, question.reason()))
    }
}

/// Whether a client's answer to a request of the server would come in: over HTTP it does in a session only, and standard input is
/// one.
fn can_answer(context: &RequestContext<RoleServer>) -> bool {
    Session::of(context).is_some() || context.extensions.get::<http::request::Parts>().is_none()
}

/// A question that is before a person. Dropped, since the call that it is for has ended, it is withdrawn, and recorded as not
/// answered.
struct Put {
    service: Arc<Service>,
    peer: Peer<RoleServer>,
    question: Option<Question>,
    /// The request to the client, once it is sent.
    request: Option<RequestId>,
}

impl Put {
    fn new(service: Arc<Service>, peer: Peer<RoleServer>, question: Question) -> Self {
        Self { service, peer, question: Some(question), request: None }
    }

    /// Takes the question from the person, who has answered or will not.
    fn taken_back(mut self) -> Question {
        self.question.take().expect("it is taken once")
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        let Some(question) = self.question.take() else { return };
        let (peer, request) = (self.peer.clone(), self.request.take());
        self.service.withdrawn(question, Way::Elicitation, async move {
            if request.is_none() {
                return;
            }
            let reason = Some("the call that it was for has ended".to_owned());
            let withdrawn = CancelledNotificationParam::new(request, reason);
            if let Err(error) = peer.notify_cancelled(withdrawn).await {
                tracing::debug!(%error, "a question to a person could not be withdrawn");
            }
        });
    }
}

/// The question as clients show it.
fn form(text: String) -> ElicitRequestParams {
    let schema = json!({
        "type": "object",
        "properties": { ANSWER: {
            "type": "string", "title": "Do it?", "enum": ["no", "once", "always"], "default": "no",
            "description": "once: this time. always: also if exactly the same is wanted again while the server runs. no: it is not done.",
        } },
        "required": [ANSWER],
    });
    let requested_schema = serde_json::from_value(schema).expect("it is a schema of a form");
    ElicitRequestParams::FormElicitationParams { meta: None, message: text, requested_schema }
}

/// What the person said. What was not offered is no answer.
fn reply(answer: &ElicitResult) -> Reply {
    let said = answer.content.as_ref().and_then(|content| content[ANSWER].as_str());
    match (&answer.action, said) {
        (ElicitationAction::Accept, Some("once")) => Reply::Once,
        (ElicitationAction::Accept, Some("always")) => Reply::Always,
        (ElicitationAction::Accept, Some("no")) | (ElicitationAction::Decline | ElicitationAction::Cancel, _) => Reply::No,
        _ => Reply::None,
    }
}

/// The same JSON with the keys of every object in their order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
