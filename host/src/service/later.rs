//! What of an approved command is judged only after it came in: itself once more when its turn comes, and the programs that its
//! script starts.

use std::{ffi::OsString, path::Path, sync::Arc};

use tokio::sync::Semaphore;

use super::{About, Asked, Command, Refused, Service, Yes, manner};
use crate::{
    jobs::{Judge, Unwanted, Wanted},
    policy::{Approved, Denial, Request, types},
    script::{PROGRAM_NOT_FOUND, Refusal, Script, Site, source_of, tree_of_program},
};

/// Judges what can be judged only later.
pub(super) struct Later {
    service: Arc<Service>,
    asked: Asked,
    yes: Option<Yes>,
    /// Of the programs that this script starts at a time, one waits to be judged with those of others; the rest wait here, so that
    /// no script stands before another more than once.
    turn: Semaphore,
}

impl Later {
    pub(super) fn new(service: Arc<Service>, asked: Asked, yes: Option<Yes>) -> Self {
        Self { service, asked, yes, turn: Semaphore::new(1) }
    }
}

impl Judge for Later {
    async fn again(&self, earlier: &Approved) -> Result<Approved, String> {
        let judged = self.service.judge(&self.asked, About::Again(earlier)).await;
        judged.map(|judged| judged.approved).map_err(|refused| refused.to_string())
    }

    async fn program(&self, job: &types::Job, wanted: Wanted) -> Result<Approved, Unwanted> {
        let Asked { client, timeout, streams, .. } = &self.asked;
        let (service, about) = (&self.service, About::Program { job, yes: self.yes });
        let _own = self.turn.acquire().await.expect("it is never closed");
        // So that no script keeps the server from judging what else comes in.
        let _turn = service.starts.acquire().await.expect("it is never closed");
        let chain = service.chain().await;
        let words = Command::Words(wanted.words.iter().map(OsString::from).collect());
        let judged = match program(wanted, job, &self.asked, &service.site) {
            Ok(request) => service.decide(&chain, request, manner(*streams), None, about).await,
            Err(denial) => Err(service.refuse_unparsed(&chain, &words, client, *timeout, denial, about).await),
        };
        match judged {
            Ok(judged) => Ok(judged.approved),
            Err(refused) => {
                let is_missing = matches!(&refused, Refused::Denied(denial) if denial.code == PROGRAM_NOT_FOUND);
                Err(Unwanted { text: refused.to_string(), is_missing })
            }
        }
    }
}

/// The command that a program of a job's script is by itself.
fn program(wanted: Wanted, job: &types::Job, asked: &Asked, site: &Site) -> Result<Request, Denial> {
    let refused = |refusal: Refusal| Denial::by_host(&refusal.code, refusal.message);
    let Wanted { words, assignments, env, bounds, directory, open } = wanted;
    if let Some(file) = open.iter().find(|file| !site.contains(file) && !is_judged(file, job)) {
        let message = format!(
            "a redirection leads to {}, outside of the working roots, where it did not lead when the script was judged",
            file.display()
        );
        return Err(Denial::by_host("redirection-outside", message));
    }
    let cwd = site.directory_of(directory).map_err(refused)?;
    let tree = tree_of_program(&assignments, &words).map_err(refused)?;
    let judged = || Script::confined(source_of(&tree), tree, &[bounds], site, &cwd);
    let script = tokio::task::block_in_place(judged).map_err(refused)?;
    Ok(Request { script, cwd, env, timeout: asked.timeout, client: asked.client.clone() })
}

/// Whether a redirection of the job's script led here when it was judged, as far as that could be told then.
fn is_judged(file: &Path, job: &types::Job) -> bool {
    let redirects = job.nodes.iter().flat_map(|node| &node.redirects);
    redirects.into_iter().any(|redirect| match (&redirect.place, &redirect.target) {
        (Some(place), _) => Path::new(&place.path) == file,
        (None, types::Word::Dynamic(_)) => redirect.mode != types::RedirectMode::Text,
        (None, types::Word::Literal(_)) => false,
    })
}
