//! Questions to a person, and what their answers are worth.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use uuid::Uuid;

use super::Service;
use crate::{
    audit::{Asked, AuditError, Reply, Subject, Way},
    config,
    jobs::Job,
    policy::{Answer, Consent, Denial, Form, VerdictKind, asking, types::Client},
    principal::Principal,
};

/// Most things that are remembered of each principal to which a person said yes for as long as the server runs; more are asked about each time. An agent that makes up commands could
/// else fill the memory, if a person says so to all of them.
const MOST_STANDING: usize = 1000;
/// Most bytes of what was sent that are shown beside what would be done.
const MOST_SENT_BYTES: usize = 1024;
/// Most bytes of what a person is asked about: nobody reads more, and what is not shown could be anything.
pub const MOST_ASKED_BYTES: usize = 8192;

/// What a person is asked. All texts are filtered, and have hidden characters and line ends as escapes.
#[derive(Clone, Debug)]
pub struct Question {
    /// Names it.
    pub id: Uuid,
    /// What it is about.
    pub subject: Subject,
    /// What would be done, in its final form.
    pub runs: String,
    /// What was sent, where the policies made something else of it.
    pub sent: Option<String>,
    /// Where it would be done: a directory, or for input a job.
    pub place: Place,
    /// Who asks, and why; at least one.
    pub reasons: Vec<Denial>,
    /// Whose client wants it done. The answer is worth something to no other.
    pub principal: Principal,
    /// Who wants it done, as the client says of itself.
    pub client: String,
    form: Form,
}

/// What a person is to be asked about; all texts filtered.
pub(super) struct What {
    pub(super) subject: Subject,
    pub(super) sent: String,
    pub(super) runs: String,
    pub(super) place: Place,
}

/// Where something would be done.
#[derive(Clone, Debug)]
pub enum Place {
    /// A command, in this directory.
    Directory(String),
    /// Input, to the job of this id, which runs this command.
    Job(String, String),
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
        let is_rewritten = trail.iter().any(|answer| answer.counts_as(VerdictKind::Rewrite));
        let What { subject, sent, runs, place } = what;
        let sent = is_rewritten.then(|| sent[..sent.floor_char_boundary(MOST_SENT_BYTES)].to_owned());
        Self {
            id: Uuid::new_v4(),
            subject,
            runs,
            sent,
            place,
            reasons,
            principal: principal.clone(),
            client: client.to_owned(),
            form,
        }
    }

    /// Who asks first, and why.
    pub fn reason(&self) -> &Denial {
        &self.reasons[0]
    }

    /// The question as a person reads it.
    pub fn text(&self) -> String {
        let client = if self.client.is_empty() { "the agent" } else { &self.client };
        let (what, place) = match &self.place {
            Place::Directory(cwd) => ("run", format!("in {cwd}")),
            Place::Job(id, command) => ("send as input", format!("to the job {id}: {command}")),
        };
        let reasons = self.reasons.iter().map(|reason| format!("Asked for {reason}"));
        let reasons = reasons.collect::<Vec<_>>().join("\n");
        let sent = self.sent.as_ref().map(|sent| format!("\n(the policies made this of: {sent})")).unwrap_or_default();
        format!("{client} wants to {what}:\n\n    {}\n\n{place}{sent}\n\n{reasons}", self.runs)
    }

    fn asked(&self, way: Way) -> Asked<'_> {
        let job_id = match &self.place {
            Place::Directory(_) => None,
            Place::Job(id, _) => Some(id.clone()),
        };
        Asked {
            question: Some(self.id),
            subject: self.subject,
            job_id,
            principal: self.principal.as_str(),
            client: &self.client,
            way,
        }
    }
}

impl Place {
    pub(super) fn of(job: &Job) -> Self {
        Self::Job(job.id().to_string(), job.shown().to_owned())
    }
}

impl Service {
    /// What becomes of the verdict `ask`.
    pub fn ask(&self) -> config::Ask {
        self.ask
    }

    /// Records a question, which is put to a person after that.
    ///
    /// # Errors
    ///
    /// Why it must not be put.
    pub fn asks(&self, question: &Question, way: Way) -> Result<(), Denial> {
        if question.runs.len() > MOST_ASKED_BYTES {
            let text = format!(
                "what a person would have to approve has {} bytes; nobody is shown more than {MOST_ASKED_BYTES}",
                question.runs.len()
            );
            return Err(Denial::by_host("too-long-to-ask", text));
        }
        self.kept(|| self.audit.asked(&question.asked(way), &question.runs))
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

    /// Records an answer that does not count, and why.
    pub async fn answered_in_vain(&self, by: &Client, subject: Subject, way: Way, why: &str) -> Result<(), Denial> {
        let client = self.scrub(&by.name).await;
        let asked = Asked { question: None, subject, job_id: None, principal: &by.principal, client: &client, way };
        self.kept(|| self.audit.answered(&asked, Reply::Void, Some(why)))
    }

    fn kept(&self, record: impl FnOnce() -> Result<(), AuditError>) -> Result<(), Denial> {
        tokio::task::block_in_place(record).map_err(super::unavailable)
    }
}
