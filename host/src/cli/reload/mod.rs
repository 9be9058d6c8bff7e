//! Policies changed while the server runs: the configuration is read again, its policies are made ready and tried beside those in
//! force, and put in their place whole. With anything wrong, all stays as it is; the log and the record say why.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::Signal;

use super::{start_error, watch::Watch};
use crate::{
    config::{self, Config, Http, Surroundings},
    mcp::Keys,
    policy::builtins,
    service::{Reloaded, Service},
};

/// How long changes are let come together: whoever writes one file often writes another, and who writes or signals without end,
/// which a job may do, must not keep the server busy.
const SETTLING: Duration = Duration::from_millis(200);

/// Reads the configuration again when it is told to, or sees that it changed. One at a time: what comes meanwhile is one more turn.
pub(super) struct Reloader {
    service: Arc<Service>,
    /// What is in force.
    config: Config,
    /// The file that `--config` named.
    explicit: Option<PathBuf>,
    /// The tokens of clients, over HTTP.
    keys: Option<Arc<Keys>>,
}

impl Reloader {
    pub(super) fn new(service: Arc<Service>, config: Config, explicit: Option<PathBuf>, keys: Option<Arc<Keys>>) -> Self {
        Self { service, config, explicit, keys }
    }

    /// Reloads at each of these signals, and when a file has changed, for ever.
    pub(super) async fn run(mut self, mut asked: Signal) {
        self.service.chain().await;
        let mut watch = self.watch(Watch::default(), &self.config);
        // What changed between the reading and the watching.
        let mut is_due = self.config.watch;
        loop {
            tokio::select! {
                () = std::future::ready(()), if is_due => {}
                _ = asked.recv() => {}
                () = watch.changed() => {}
            }
            is_due = false;
            tokio::time::sleep(SETTLING).await;
            watch = self.reload(watch).await;
        }
    }

    /// Gives what to watch from now on. The old watch ends when the files that the new one watches were read.
    async fn reload(&mut self, old: Watch) -> Watch {
        let surroundings = Surroundings::from_process(builtins());
        let new = match config::load(self.explicit.as_deref(), &surroundings) {
            Ok(new) => new,
            Err(mistakes) => {
                self.stays(&mistakes.to_string()).await;
                return old;
            }
        };
        let watch = self.watch(old, &new);
        if let Err(why) = self.adopt(new).await {
            self.stays(&why).await;
        }
        watch
    }

    /// Takes over the policies, limits and default of a configuration, or says why not.
    async fn adopt(&mut self, new: Config) -> Result<(), String> {
        // What lies in a root an agent could write, and it is the old roots that jobs are in.
        if new.jobs.roots != self.config.jobs.roots {
            return Err("jobs.roots has changed, and the policies with it; that needs a restart".to_owned());
        }
        // Before the policies, which take longer: a token that was taken away is worth nothing any more, whatever else is wrong.
        if let Some(keys) = &self.keys {
            keys.renew(&new.http).map_err(|error| error.to_string())?;
        }
        for table in needs_restart(&self.config, &new) {
            tracing::warn!("[{table}] has changed, which counts from the next start on");
        }
        let config = Config {
            limits: new.limits,
            default_verdict: new.default_verdict,
            watch: new.watch,
            policies: new.policies,
            files: new.files,
            origin: new.origin,
            http: Http { tokens: new.http.tokens, ..self.config.http.clone() },
            ..self.config.clone()
        };
        let Reloaded { before, now } = self.service.reload(&config).await.map_err(|error| start_error(error).wrong())?;
        self.config = config;
        if now == before {
            tracing::info!(set = now.short(), "the policies were read again and are the same");
        } else {
            tracing::info!(set = now.short(), before = before.short(), "other policies are in force");
        }
        Ok(())
    }

    /// A watch of the files of `new`, if they are to be watched. Where there can be none, the old one stays.
    fn watch(&self, old: Watch, new: &Config) -> Watch {
        if !new.watch {
            return Watch::default();
        }
        Watch::of_files(&new.files).unwrap_or_else(|error| {
            tracing::error!(%error, "changes of the configuration can not be watched for: send SIGHUP");
            old
        })
    }

    async fn stays(&self, why: &str) {
        why.lines().for_each(|line| tracing::error!("{line}"));
        tracing::error!("the policies in force stay");
        self.service.record_failed_reload(why).await;
    }
}

/// The tables that are read at the start only and have changed.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let tables = [
        ("jobs", old.jobs == new.jobs),
        ("audit", old.audit == new.audit),
        ("history", old.history == new.history),
        ("http", (&old.http.hosts, &old.http.origins) == (&new.http.hosts, &new.http.origins)),
        ("principals", old.principals == new.principals),
        ("cache", old.cache == new.cache),
    ];
    tables.into_iter().filter(|(_, is_same)| !is_same).map(|(table, _)| table).collect()
}
