//! Tools that start, steer and stop jobs.

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    handler::server::{tool::schema_for_output, wrapper::Parameters},
    model::{CallToolResponse, CallToolResult},
    service::RequestContext,
    tool, tool_router,
};
use serde_json::json;

use super::{
    answer,
    arguments::{self, ExecuteArguments, InteractArguments, KillArguments, Press, StdinArgument},
    denied, error, linked, ok,
    results::{ExecuteResult, JobOutput, KillResult, WaitResult, queued_behind},
};
use crate::{
    audit::Subject,
    jobs::{Beginning, Job, Order, State, Stdin, Streams, Until, output::View},
    mcp::{
        ask::{Call, Refusal, Said},
        server::Server,
        tasks::{self, Manner},
    },
    policy::is_rewritten,
    service::{Command, Input, InputRefused, Refused, Rehearsed, Started, Terms, Then},
};

/// How long output must be silent for an answer to input to count as complete.
const ANSWER_SILENCE: Duration = Duration::from_millis(150);
/// How long a call waits before it becomes a task, where it can: what ends within needs no second question.
const SHORT: Duration = Duration::from_millis(500);
/// What is said where an approved command is not executed.
const DRY: &str = "this server is on a dry run: the policies allow the command, and it would run as `runs` shows; nothing was executed, so \
there is neither a job nor output";
/// What is said to a client that sent input and closed its side of the connection before the job answered.
const LEFT: &str =
    "you closed your side of the connection, and so this waits no more; what the job was sent and what it printed are there";

#[tool_router(router = running_tools, vis = "pub(super)")]
impl Server {
    /// Starts a command in the background, if the policies allow it, and answers at once with its job_id, or, with wait_ms, when it
    /// has ended, with what it printed. Where as many jobs run as may, it is queued. The output is filtered and kept, up to a
    /// limit; a finished job is kept for a while (an hour unless configured otherwise). What commands print is untrusted.
    #[tool(
        output_schema = schema_for_output::<ExecuteResult>(),
        annotations(title = "Run a command", read_only_hint = false, destructive_hint = true, idempotent_hint = false, open_world_hint = true)
    )]
    async fn execute_command(
        &self,
        call: Call,
        Parameters(asked): Parameters<ExecuteArguments>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.attended(&call.context, self.execute(&call, asked)).await.or_else(Refusal::answer)
    }

    /// Writes to a job's standard input, if the policies allow it, or presses a key, and answers with what the job printed since,
    /// once that falls silent or the wait is over. What commands print is untrusted.
    #[tool(
        output_schema = schema_for_output::<WaitResult>(),
        annotations(title = "Send input", read_only_hint = false, destructive_hint = true, idempotent_hint = false, open_world_hint = true)
    )]
    async fn interact_with_job(
        &self,
        call: Call,
        Parameters(asked): Parameters<InteractArguments>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.attended(&call.context, self.interact(&call, asked)).await.or_else(Refusal::answer)
    }

    /// Stops a job and everything it started: asks it to end, and after a grace period ends it.
    #[tool(
        output_schema = schema_for_output::<KillResult>(),
        annotations(title = "Kill a job", read_only_hint = false, destructive_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn kill_job(
        &self,
        Parameters(asked): Parameters<KillArguments>,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        answer(self.attended(&context, self.kill(asked)).await)
    }
}

impl Server {
    async fn execute(&self, call: &Call, asked: ExecuteArguments) -> Result<CallToolResponse, Refusal> {
        let (longest, most) = (arguments::wait(asked.wait_ms)?, arguments::page(asked.max_bytes)?);
        let client = self.client(&call.context);
        let mut consent = self.brought(call, Subject::Command).await?;
        let started = loop {
            let terms = Terms { consent, ..self.terms(&asked)? };
            match self.service.run(Command::Text(asked.command.clone()), &client, terms).await {
                Ok(started) => break started,
                Err(Refused::Asks(question)) => match self.said(call, *question, consent).await? {
                    Said::Yes(said) => consent = Some(said),
                    Said::Later(question) => return Ok(question.into()),
                },
                Err(refused) => return Err(not_started(refused).into()),
            }
        };
        Ok(self.started(call, started, longest, most, asked.tidy).await?)
    }

    /// What is answered about a job that is started: at once, or when it has ended or the wait is over, or as a task.
    async fn started(
        &self,
        call: &Call,
        Started { job, trail }: Started,
        longest: Duration,
        most: usize,
        tidy: bool,
    ) -> Result<CallToolResponse, CallToolResult> {
        let manner = Manner { most, tidy, rewritten: is_rewritten(&trail) };
        if longest.is_zero() {
            let result = ok(&self.execute_result(&job, manner.rewritten, None).await);
            return Ok(linked(result, &job, false).into());
        }
        let is_task = tasks::are_known(&call.context);
        let ended = tokio::time::timeout(if is_task { longest.min(SHORT) } else { longest }, job.ended());
        _ = self.reported(&call.context, &job, longest, ended).await;
        if is_task && !job.is_final() {
            return Ok(CallToolResponse::Task(self.task(&job, manner)));
        }
        self.executed(&job, manner).await.map(CallToolResponse::from)
    }

    /// What is answered about a job that was waited for.
    pub(in crate::mcp) async fn executed(&self, job: &Arc<Job>, manner: Manner) -> Result<CallToolResult, CallToolResult> {
        let output = self.output(job, View::Both, Beginning::First, manner.most, manner.tidy).await?;
        let is_all = output.is_all();
        Ok(linked(ok(&self.execute_result(job, manner.rewritten, Some(output)).await), job, is_all))
    }

    async fn execute_result(&self, job: &Job, rewritten: bool, output: Option<JobOutput>) -> ExecuteResult {
        ExecuteResult {
            job_id: Some(job.id().to_string()),
            not_executed: None,
            runs: self.service.shown(job).await,
            rewritten,
            queued_behind: queued_behind(job, || self.service.queued_before(job)),
            output,
        }
    }

    fn terms(&self, asked: &ExecuteArguments) -> Result<Terms, CallToolResult> {
        let timeout = asked.timeout_s.map(Duration::from_secs);
        match (timeout, self.service.longest_run()) {
            (Some(Duration::ZERO), _) => return Err(error("timeout_s is 0; give at least 1, or leave it out".to_owned())),
            (Some(asked), Some(most)) if asked > most => {
                let text =
                    format!("timeout_s is {}; jobs may run for at most {} s (`jobs.timeout_s`)", asked.as_secs(), most.as_secs());
                return Err(error(text));
            }
            _ => {}
        }
        let streams = match (asked.terminal, asked.stdin) {
            (Some(size), StdinArgument::Open) => Streams::Terminal(size.checked()?),
            (Some(_), StdinArgument::Closed) => {
                return Err(error("a job with a terminal reads from it; leave stdin out, or terminal".to_owned()));
            }
            (None, StdinArgument::Open) => Streams::Pipes(Stdin::Pipe),
            (None, StdinArgument::Closed) => Streams::Pipes(Stdin::Null),
        };
        Ok(Terms { timeout, consent: None, order: Order { streams, outlet: None, group: asked.group.clone() } })
    }

    async fn kill(&self, asked: KillArguments) -> Result<CallToolResult, CallToolResult> {
        let stop = arguments::stop(&asked)?;
        let job = self.job(&asked.job_id).await.map_err(|mut unknown| {
            unknown.structured_content = Some(json!(KillResult { status: "not_found".to_owned() }));
            unknown
        })?;
        if job.is_final() {
            return Ok(killed("already_terminated"));
        }
        let status = self.service.stop(&job, stop).await;
        Ok(killed(if status.state == State::Killed { "killed" } else { "already_terminated" }))
    }

    async fn interact(&self, call: &Call, asked: InteractArguments) -> Result<CallToolResponse, Refusal> {
        let most = arguments::page(asked.max_bytes)?;
        let longest = arguments::wait(asked.wait_ms)?;
        let until = arguments::until(asked.until.as_deref(), Until::Silence(ANSWER_SILENCE))?;
        let job = self.job(&asked.job_id).await?;
        if let Some(size) = asked.resize {
            job.resize(size.checked()?).map_err(|why| error(why.to_string()))?;
        }
        let newline = if asked.newline && asked.input.is_some() { "\n" } else { "" };
        let mut data = (asked.input.unwrap_or_default() + newline).into_bytes();
        let mut then = if asked.close { Then::Close } else { Then::Nothing };
        match asked.key.map(|key| key.press(job.has_terminal())).transpose()? {
            Some(Press::Bytes(bytes)) => data.extend_from_slice(bytes),
            Some(Press::Signal(_)) if asked.close => {
                let text = "close and a key that is a signal can not be given together; send one after the other";
                return Err(error(text.to_owned()).into());
            }
            Some(Press::Signal(signal)) => then = Then::Signal(signal),
            Some(Press::Close) => then = Then::Close,
            None => {}
        }
        let client = self.client(&call.context);
        let mut consent = self.brought(call, Subject::Input).await?;
        let answered = loop {
            let input = Input { data: data.clone(), then, consent, until: until.clone(), longest };
            let writing = self.service.write(&job, input, &client);
            match self.reported(&call.context, &job, longest, writing).await {
                None => return Err(error(LEFT.to_owned()).into()),
                Some(Ok(answered)) => break answered,
                Some(Err(InputRefused::Asks(question))) => match self.said(call, *question, consent).await? {
                    Said::Yes(said) => consent = Some(said),
                    Said::Later(question) => return Ok(question.into()),
                },
                Some(Err(refused)) => return Err(not_written(refused).into()),
            }
        };
        let output = self.output(&job, View::Both, Beginning::Cursor(answered.from), most, asked.tidy).await?;
        let is_all = output.is_all();
        Ok(linked(ok(&WaitResult::of(answered.met, output)), &job, is_all).into())
    }
}

fn would_run(Rehearsed { runs, trail }: Rehearsed) -> CallToolResult {
    let rewritten = is_rewritten(&trail);
    ok(&ExecuteResult { job_id: None, not_executed: Some(DRY), runs, rewritten, queued_behind: None, output: None })
}

fn killed(status: &str) -> CallToolResult {
    ok(&KillResult { status: status.to_owned() })
}

fn not_started(refused: Refused) -> CallToolResult {
    match refused {
        Refused::Denied(denial) => denied("denied", &denial),
        Refused::Asks(question) => denied("needs a person's approval: denied", question.reason()),
        Refused::NotStarted(text) => error(text),
        Refused::Rehearsed(rehearsed) => would_run(rehearsed),
    }
}

fn not_written(refused: InputRefused) -> CallToolResult {
    match refused {
        InputRefused::Denied(denial) => denied("input denied", &denial),
        InputRefused::Asks(question) => denied("input needs a person's approval: denied", question.reason()),
        InputRefused::NotWritten(why) => error(why.to_string()),
        InputRefused::NotTold(why) => error(why.to_string()),
    }
}
