//! Questions to a person, and what their answers are worth.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use uuid::Uuid;

use super::Service;
use crate::{
    audit::{Asked, AuditError, Reply, Subject, Way},
    config,
    policy::{Answer, Consent, Denial, Form, asking, types::Client},
    principal::Principal,
};

/// Most things that are remembered of each principal to which a person said yes for as long as the server runs; more are asked
/// about each time. An agent that makes up commands could else fill the memory, if a person says so to all of them.
const MOST_STANDING: usize = 1000;
/// Most bytes of what was sent that are shown beside what would be done.
const MOST_SENT_BYTES: usize = 1024;
/// Most bytes of a question: nobody reads more, and what is not shown could be anything.
const MOST_ASKED_BYTES: usize = 8192;

const HIDDEN: &str = "what a person would have to approve has something in it that the output policies hide and that the client did not send \
as it is; nobody approves what they can not be shown";

/// What a person is asked.
#[derive(Clone)]
pub struct Question {
    /// Names it.
    pub id: Uuid,
    subject: Subject,
    /// The job that would get the input, if it is about input.
    job_id: Option<String>,
    /// What would be done, in its final form, filtered; for the record.
    runs: String,
    /// As the person reads it; none where they could not be shown all of it.
    text: Option<String>,
    /// Who asks, and why; at least one.
    reasons: Vec<Denial>,
    /// Whose client wants it done. The answer is worth something to no other.
    principal: Principal,
    /// Who wants it done, as the client says of itself.
    client: String,
    form: Form,
}

/// What a person is to be asked about.
pub(super) struct What {
    pub(super) subject: Subject,
    pub(super) job_id: Option<String>,
    /// For the record, filtered.
    pub(super) runs: String,
    /// For the person. None where the output policies hide something of it that the client did not send: that is shown to nobody,
    /// and nobody approves what they are not shown.
    pub(super) seen: Option<Seen>,
}

/// What a person reads of what would be done; hidden characters and line ends are escapes in it. What the client sent is not
/// redacted: it knows these bytes, and what is left out could be the very thing that a person would refuse.
pub(super) struct Seen {
    /// What was sent, where the policies made something else of it.
    pub(super) sent: Option<String>,
    /// What would be done, in its final form.
    pub(super) runs: String,
    /// Where and how: a directory, or for input a job.
    pub(super) place: String,
}

/// What people said yes to for as long as the server runs, and the question it was; each to what its principal does.
#[derive(Default)]
pub(super) struct Standing(Mutex<HashMap<Principal, HashMap<Form, Uuid>>>);

impl Standing {
    /// The yes that stands for this form.
    pub(super) fn of(&self, principal: &Principal, form: Form) -> Option<Consent> {
        self.forms().get(principal)?.get(&form).map(|&question| Consent { question, form })
    }

    fn keep(&self, principal: &Principal, consent: Consent) {
        let mut all = self.forms();
        let forms = all.entry(principal.clone()).or_default();
        if forms.len() < MOST_STANDING {
            forms.insert(consent.form, consent.question);
        } else {
            tracing::warn!("a person has said yes for good to {MOST_STANDING} things, and more is not remembered");
        }
    }

    fn forms(&self) -> MutexGuard<'_, HashMap<Principal, HashMap<Form, Uuid>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl std::fmt::Debug for Question {
    /// Without its text, which is not filtered.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Question {
    /// About what policies said in this `trail`, the first of them for this `reason`.
    pub(super) fn new(
        what: What,
        (principal, client): (&Principal, &str),
        reason: &Denial,
        trail: &[Answer],
        form: Form,
    ) -> Self {
        let mut reasons = asking(trail);
        if reasons.is_empty() {
            reasons.push(reason.clone());
        }
        let What { subject, job_id, runs, seen } = what;
        let text = seen.map(|seen| seen.text(subject, client, &reasons));
        let (id, principal, client) = (Uuid::new_v4(), principal.clone(), client.to_owned());
        Self { id, subject, job_id, runs, text, reasons, principal, client, form }
    }

    /// Who asks first, and why.
    pub fn reason(&self) -> &Denial {
        &self.reasons[0]
    }

    fn asked(&self, way: Way) -> Asked<'_> {
        Asked {
            question: Some(self.id),
            subject: self.subject,
            job_id: self.job_id.clone(),
            principal: self.principal.as_str(),
            client: &self.client,
            way,
        }
    }
}

impl Seen {
    /// The question as a person reads it.
    fn text(&self, subject: Subject, client: &str, reasons: &[Denial]) -> String {
        let Self { runs, place, sent } = self;
        let client = if client.is_empty() { "the agent" } else { client };
        let what = if subject == Subject::Input { "send as input" } else { "run" };
        let reasons = reasons.iter().map(|reason| format!("Asked for {reason}"));
        let reasons = reasons.collect::<Vec<_>>().join("\n");
        let sent = sent.as_deref().map(|sent| format!("\n(the policies made this of: {})", cut(sent))).unwrap_or_default();
        format!("{client} wants to {what}:\n\n    {runs}\n\n{place}{sent}\n\n{reasons}")
    }
}

/// The beginning of what was sent, marked as such where it is not all of it.
fn cut(sent: &str) -> String {
    let end = sent.floor_char_boundary(MOST_SENT_BYTES);
    format!("{}{}", &sent[..end], if end < sent.len() { "…" } else { "" })
}

impl Service {
    /// What becomes of the verdict `ask`.
    pub fn ask(&self) -> config::Ask {
        self.ask
    }

    /// Records a question, and gives the text of it that is put to a person after that.
    ///
    /// # Errors
    ///
    /// Why it must not be put.
    pub fn asks<'a>(&self, question: &'a Question, way: Way) -> Result<&'a str, Denial> {
        let Some(text) = &question.text else { return Err(Denial::by_host("hidden-from-person", HIDDEN)) };
        if text.len() > MOST_ASKED_BYTES {
            let why = format!("the question to a person has {} bytes; nobody is shown more than {MOST_ASKED_BYTES}", text.len());
            return Err(Denial::by_host("too-long-to-ask", why));
        }
        self.kept(|| self.audit.asked(&question.asked(way), &question.runs))?;
        Ok(text)
    }

    /// Records what a person said, and gives what a yes is worth; none: it was no yes.
    ///
    /// # Errors
    ///
    /// It could not be recorded, and so is worth nothing.
    pub fn answered(&self, question: &Question, way: Way, reply: Reply) -> Result<Option<Consent>, Denial> {
        self.kept(|| self.audit.answered(&question.asked(way), reply, None))?;
        let consent = Consent { question: question.id, form: question.form };
        match reply {
            Reply::Once => Ok(Some(consent)),
            Reply::Always => {
                self.standing.keep(&question.principal, consent);
                Ok(Some(consent))
            }
            Reply::No | Reply::None | Reply::Void => Ok(None),
        }
    }

    /// Withdraws a question in this way, and records that no answer came.
    pub fn withdrawn(self: &Arc<Self>, question: Question, way: Way, withdrawal: impl Future<Output = ()> + Send + 'static) {
        let service = self.clone();
        self.recorders.spawn(async move {
            if let Err(denial) = service.answered(&question, way, Reply::None) {
                tracing::error!(%denial, "that a question was withdrawn is not recorded");
            }
            withdrawal.await;
        });
    }

    /// Records an answer that does not count, and why.
    pub async fn answered_in_vain(&self, by: &Client, subject: Subject, way: Way, why: &str) -> Result<(), Denial> {
        let client = self.scrub(&super::bounded(by).name).await;
        let asked = Asked { question: None, subject, job_id: None, principal: &by.principal, client: &client, way };
        self.kept(|| self.audit.answered(&asked, Reply::Void, Some(why)))
    }

    fn kept(&self, record: impl FnOnce() -> Result<(), AuditError>) -> Result<(), Denial> {
        tokio::task::block_in_place(record).map_err(super::unavailable)
    }
}
