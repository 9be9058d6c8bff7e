//! Calls that a client does not want to wait for itself, as tasks of the extension `io.modelcontextprotocol/tasks`: a task is a
//! job, its id the job's, and its result what the call would have answered at the job's end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, ConstString, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload, TaskStatus},
    service::RequestContext,
};
use serde_json::Value;
use uuid::Uuid;

use super::{resources::Part, server::Server};
use crate::{
    audit::stamp,
    jobs::{Job, State, Stop},
};

/// How often a client should look, in milliseconds.
const LOOK_MS: u64 = 1000;
/// Bytes of each stream in the result of a task of which it is not known how it was asked for.
const PAGE_BYTES: usize = 64 << 10;

/// How the call was that started a job.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Bytes of each stream it wants.
    pub(super) most: usize,
    pub(super) tidy: bool,
    /// Whether a policy changed its command.
    pub(super) rewritten: bool,
}

/// How the calls were whose jobs are tasks.
#[derive(Default)]
pub(super) struct Tasks(Mutex<HashMap<Uuid, Manner>>);

/// Whether a call may be answered with a task: the client must know of them, and their results have no form before 2026-07-28.
pub(super) fn are_known(context: &RequestContext<RoleServer>) -> bool {
    let is_declared = context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks());
    is_declared && context.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// Refuses a request about a task to a client of a revision that has other ones, or none.
pub(super) fn must_be_known<M: ConstString>(context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
    if is_stateless(context) { Ok(()) } else { Err(ErrorData::method_not_found::<M>()) }
}

/// Whether a request is of a revision that has no `initialize`, as far as it is known.
pub(super) fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_none_or(|version| !version.has_initialize())
}

impl Tasks {
    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Manner>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Server {
    /// Makes a task of a job.
    pub(super) fn task(&self, job: &Job, manner: Manner) -> CreateTaskResult {
        let jobs: HashSet<_> = self.jobs().iter().map(|job| job.id().0).collect();
        let mut all = self.tasks.all();
        // As many as there are jobs, and no more.
        all.retain(|id, _| jobs.contains(id));
        all.insert(job.id().0, manner);
        CreateTaskResult::new(self.as_task(job, TaskStatus::Working))
    }

    /// How a task stands, and its result.
    pub(super) async fn task_now(&self, id: &str) -> Result<GetTaskResult, ErrorData> {
        let job = self.job_of(id)?;
        let payload = match job.state() {
            State::Queued | State::Running => TaskPayload::Working,
            State::Killed => TaskPayload::Cancelled,
            State::Completed | State::Failed | State::TimedOut | State::Lost => self.result(&job).await?,
        };
        Ok(GetTaskResult::new(DetailedTask::new(self.as_task(&job, payload.status()), payload)))
    }

    /// Stops the job of a task, if it has not ended.
    pub(super) fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        self.job_of(id).map(|job| job.stop(Stop::default()))
    }

    /// The job that a task is.
    pub(super) fn job_of(&self, id: &str) -> Result<Arc<Job>, ErrorData> {
        let job = id.parse().ok().and_then(|id| self.find(id));
        job.ok_or_else(|| {
            ErrorData::invalid_params("there is no task of this id: it never was, or it ended long ago and is forgotten", None)
        })
    }

    async fn result(&self, job: &Arc<Job>) -> Result<TaskPayload, ErrorData> {
        let known = self.tasks.all().get(&job.id().0).copied();
        let manner = known.unwrap_or(Manner { most: PAGE_BYTES, tidy: false, rewritten: false });
        let result: CallToolResult = self.executed(job, manner).await.unwrap_or_else(|error| error);
        match serde_json::to_value(result) {
            Ok(Value::Object(result)) => Ok(TaskPayload::Completed { result }),
            _ => Err(ErrorData::internal_error("the result can not be written", None)),
        }
    }

    fn as_task(&self, job: &Job, status: TaskStatus) -> Task {
        let (now, bytes) = (job.status(), Part::Merged.size(job).unwrap_or_default());
        let changed = now.ended.or(now.started).unwrap_or(now.submitted);
        let task = Task::new(job.id().to_string(), status, stamp(now.submitted), stamp(changed));
        let task =
            task.with_status_message(format!("{}, {bytes} bytes of output", now.state.name())).with_poll_interval_ms(LOOK_MS);
        match now.ended {
            // A job that has not ended is not forgotten.
            None => task,
            Some(ended) => {
                let ran = (ended - now.submitted).to_std().unwrap_or_default();
                task.with_ttl_ms(u64::try_from((ran + self.service.keeps_for()).as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}
