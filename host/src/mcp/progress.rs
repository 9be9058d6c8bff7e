//! What a client is told while its call waits for a job.

use std::time::{Duration, Instant};

use rmcp::{
    RoleServer,
    model::{NumberOrString, ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};

use super::{
    resources::Part,
    server::{Line, Server},
};
use crate::jobs::Job;

/// How often a client is told how far a wait is.
const EVERY: Duration = Duration::from_secs(1);

/// Longest token of a call that is told of, in bytes: it is sent back each time.
const MOST_TOKEN_BYTES: usize = 256;

impl Server {
    /// Waits for something of a job, at most so long, and tells the client how far it is if that wants to know. None: the client
    /// has closed its side of the connection, and waits no more.
    pub(super) async fn reported<T>(
        &self,
        context: &RequestContext<RoleServer>,
        job: &Job,
        longest: Duration,
        wait: impl Future<Output = T>,
    ) -> Option<T> {
        let told = async {
            match context.meta.get_progress_token().filter(is_short) {
                Some(token) => report(context, token, job, longest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = Line::left(context) => None,
            never = told => match never {},
        }
    }
}

fn is_short(token: &ProgressToken) -> bool {
    match &token.0 {
        NumberOrString::String(token) => token.len() <= MOST_TOKEN_BYTES,
        NumberOrString::Number(_) => true,
    }
}

async fn report(
    context: &RequestContext<RoleServer>,
    token: ProgressToken,
    job: &Job,
    longest: Duration,
) -> std::convert::Infallible {
    let began = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let bytes = Part::Merged.size(job).unwrap_or_default();
        let text = format!("{}, {bytes} bytes of output", job.state().name());
        let progress = ProgressNotificationParam::new(token.clone(), began.elapsed().min(longest).as_secs_f64());
        let progress = progress.with_total(longest.as_secs_f64()).with_message(text);
        if let Err(error) = context.peer.notify_progress(progress).await {
            tracing::debug!(%error, "a client could not be told how far its call is");
        }
    }
}
