//! Policies made ready in a world of their own, under the conditions of a test.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::{
    STREAM, Said,
    cases::{self, BUILTIN, Cases, Decision, Entry},
    json,
    world::World,
};
use crate::{
    config::{self, Apply, ComponentSource, Config, DefaultVerdict, Grants, Limits, Mode, OnFault, PolicyEntry, Surroundings},
    policy::{
        self, Answer, Chain, Conditions, Denial, Engine, Findings, Functions, InputDecision, Judgement, Piece, Reached, Request,
        types::{Client, Job},
    },
    script::{Script, Site},
    service::{self, Command},
};

/// How many times its time a call may take here: on a machine that is busy with other tests it is not the policy that is slow.
const PATIENCE: u32 = 10;

/// Gives the policies of the configuration, where cases name none.
pub type Configured<'a> = &'a dyn Fn() -> Result<Policies, String>;

/// The policies that cases are put to.
#[derive(Clone)]
pub struct Policies {
    /// In their order. What reads the roots reads those of the world.
    pub entries: Vec<PolicyEntry>,
    /// What holds when all abstain.
    pub default: DefaultVerdict,
    /// What one call may use up.
    pub limits: Limits,
}

impl Policies {
    /// Those of a configuration.
    pub fn configured(config: &Config) -> Self {
        let mut entries = config.policies.clone();
        for entry in &mut entries {
            // Stands for the roots, until it is known where the world is.
            if entry.grants.read.iter().any(|directory| config.jobs.roots.contains(directory)) {
                entry.grants.read = vec![ROOTS.into()];
            }
        }
        Self { entries, default: config.default_verdict, limits: config.limits.clone() }
    }

    /// Those that a file of cases names, else those of the configuration.
    pub(super) fn of(cases: &Cases, file: &Path, configured: Configured, settings: Option<&toml::Table>) -> Result<Self, String> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let entry = |(index, entry): (usize, &Entry)| entry.meant(folder).map_err(|what| format!("policies[{index}].{what}"));
        let mut policies = match cases.policies.is_empty() {
            true => configured()?,
            false => {
                let entries = cases.policies.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
                Self { entries, default: DefaultVerdict::Deny, limits: Limits::built_in() }
            }
        };
        if let (Some(settings), Some(first)) = (settings, policies.entries.first_mut()) {
            first.settings = json(settings)?;
        }
        Ok(policies)
    }
}

/// In the grants of an entry: the root of the world.
const ROOTS: &str = "roots";

impl Entry {
    fn meant(&self, folder: &Path) -> Result<PolicyEntry, String> {
        let (component, name) = match self.component.strip_prefix(BUILTIN) {
            Some(name) => (ComponentSource::Builtin(name.to_owned()), name.to_owned()),
            None => {
                let path = folder.join(&self.component);
                let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                (ComponentSource::File(path), stem)
            }
        };
        if let Some(other) = self.grants.read.iter().find(|directory| *directory != ROOTS) {
            return Err(format!("grants.read: {other:?}; only \"{ROOTS}\" can be read in a test"));
        }
        Ok(PolicyEntry {
            name: self.name.clone().unwrap_or(name),
            settings: self.settings(folder, &component)?,
            component,
            sha256: None,
            mode: Mode::Enforce,
            may_rewrite: self.may_rewrite,
            apply: Apply::Stream,
            on_fault: OnFault::default(),
            grants: Grants { env: self.grants.env.clone(), read: self.grants.read.iter().map(Into::into).collect() },
        })
    }

    fn settings(&self, folder: &Path, component: &ComponentSource) -> Result<Value, String> {
        match (&self.settings, &self.settings_file) {
            (Some(_), Some(_)) => Err("settings: stand beside `settings_file`; say one of them".to_owned()),
            (Some(settings), None) => json(settings),
            (None, Some(file)) => {
                from_file(&folder.join(file)).map_err(|what| format!("settings_file: {} {what}", file.display()))
            }
            (None, None) => default_settings(component),
        }
    }
}

/// What a component is told where nothing else is said.
pub fn default_settings(component: &ComponentSource) -> Result<Value, String> {
    let ComponentSource::Builtin(name) = component else { return Ok(Value::Object(serde_json::Map::new())) };
    let builtin = policy::builtins().into_iter().find(|builtin| builtin.name == name);
    let text = builtin.map_or("", |builtin| builtin.default_settings);
    json(&toml::from_str(text).map_err(|error| error.message().to_owned())?)
}

/// Settings from a file of TOML.
pub fn from_file(file: &Path) -> Result<Value, String> {
    let text = String::from_utf8(cases::bytes(file)?).map_err(|_| "is not in UTF-8".to_owned())?;
    json(&toml::from_str(&text).map_err(|error| cases::with_place(&text, &error))?)
}

/// Policies that are ready, and their world.
pub struct Rig {
    chain: Chain,
    config: Config,
    world: World,
    conditions: Conditions,
}

/// What was decided about a command.
pub struct Judged {
    /// The decision and its reason.
    pub said: Said,
    /// What would run.
    pub runs: Option<String>,
    /// Each policy's verdict in each round.
    pub verdicts: Vec<(String, &'static str)>,
}

impl Rig {
    /// Makes the policies ready, with a clock that stands still and the same random numbers each time.
    ///
    /// # Errors
    ///
    /// All that is wrong with them.
    pub async fn new(policies: Policies, world: &cases::World, functions: Option<Functions>) -> Result<Self, String> {
        let reached = Some(Reached::default());
        let conditions = Conditions { world: policy::World::Fixed, reached, functions, ..Conditions::default() };
        Self::under(policies, world, conditions, PATIENCE).await
    }

    /// The same as they work in production.
    pub(super) async fn under(
        policies: Policies,
        world: &cases::World,
        conditions: Conditions,
        patience: u32,
    ) -> Result<Self, String> {
        let env = &world.env;
        let world = World::new(world)?;
        let env: BTreeMap<_, _> = env.iter().map(|(name, value)| (name.clone(), world.placed(value))).collect();
        let mut config = configuration(&world, &env)?;
        config.limits = policies.limits;
        config.limits.decision = config.limits.decision.saturating_mul(patience);
        config.default_verdict = policies.default;
        config.policies = policies.entries;
        for entry in &mut config.policies {
            for directory in entry.grants.read.iter_mut().filter(|directory| directory.as_os_str() == ROOTS) {
                *directory = world.root();
            }
        }
        let conditions = Conditions { variables: Some(env), ..conditions };
        let engine = Engine::under(&config.limits, conditions.clone()).map_err(|error| error.to_string())?;
        let loading = Chain::load(&engine, &config.policies, &config.cache, config.default_verdict, site(&config));
        let chain = loading.await.map_err(|error| crate::cli::chain_error(&error).to_string())?;
        Ok(Self { chain, config, world, conditions })
    }

    /// The policies, ready.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The rules of all settings, each with its policy.
    pub(super) fn rules(&self) -> Result<Vec<(String, String)>, String> {
        let mut all = Vec::new();
        for entry in &self.config.policies {
            let rules = policy::rules(entry).map_err(|error| crate::cli::with_causes(&error))?;
            all.extend(rules.into_iter().map(|rule| (entry.name.clone(), rule)));
        }
        Ok(all)
    }

    /// Those that a case reached.
    pub(super) fn reached(&self) -> BTreeSet<(String, String)> {
        self.conditions.reached.as_ref().map(Reached::all).unwrap_or_default()
    }

    /// The functions of each policy's own code, and whether they ran, if that was asked.
    pub(super) fn functions(&self) -> BTreeMap<String, BTreeMap<String, bool>> {
        self.conditions.functions.as_ref().map(Functions::all).unwrap_or_default()
    }

    /// Judges a command.
    pub(super) async fn judge(&self, command: &str) -> Result<Judged, String> {
        match self.check(command).await? {
            Err(denial) => Ok(Judged { said: self.refused(Decision::Deny, &denial), runs: None, verdicts: Vec::new() }),
            Ok((_, Judgement { decision, shown, trail })) => {
                let said = match &decision {
                    policy::Decision::Approved(_) => allowed(),
                    policy::Decision::Asks(pending) => self.refused(Decision::Ask, pending.reason()),
                    policy::Decision::Denied(denial) => self.refused(Decision::Deny, denial),
                };
                let runs = (said.decision == Decision::Allow).then(|| self.world.shown(&shown));
                let verdict = |answer: Answer| (answer.policy, answer.verdict.name());
                Ok(Judged { said, runs, verdicts: trail.into_iter().map(verdict).collect() })
            }
        }
    }

    /// Judges input to a job, and says what would be written.
    pub(super) async fn judge_input(&self, job: &str, pending: &[u8], data: &[u8]) -> Result<(Said, Option<Vec<u8>>), String> {
        let (script, _) = self.check(job).await?.map_err(|denial| format!("the job can not be judged: {denial}"))?;
        let job = Job {
            id: "test".to_owned(),
            launch: script.launch(),
            nodes: script.nodes().to_vec(),
            cwd: self.config.jobs.cwd.to_string_lossy().into_owned(),
        };
        Ok(match self.chain.decide_input(&job, pending, data.to_vec()).await.decision {
            InputDecision::Approved(input) => (allowed(), Some(input.bytes().to_vec())),
            InputDecision::Asks(pending) => (self.refused(Decision::Ask, pending.reason()), None),
            InputDecision::Denied(denial) => (self.refused(Decision::Deny, &denial), None),
        })
    }

    /// What comes out of the filters when a stream comes in these pieces.
    pub(super) async fn filtered(&self, pieces: &[&[u8]], pauses: bool, findings: &Arc<Findings>) -> Vec<u8> {
        let mut filter = self.chain.output_filter(STREAM, findings);
        let mut out = Vec::new();
        for piece in pieces {
            // As a pipe is read.
            for piece in piece.chunks(64 * 1024) {
                out.extend_from_slice(filter.push(Piece::from(piece.to_vec())).await.bytes());
            }
            if pauses {
                out.extend_from_slice(filter.silence().await.bytes());
            }
        }
        out.extend_from_slice(filter.end().await.bytes());
        out
    }

    /// A command to be judged again and again.
    pub(super) async fn request(&self, command: &str) -> Result<Request, String> {
        let command = self.world.placed(command);
        let site = site(&self.config);
        let refused = |refusal: crate::script::Refusal| refusal.message;
        let cwd = site.directory(&self.config.jobs.cwd).map_err(refused)?;
        let tree = self.chain.parser().parse(&command).await.map_err(refused)?;
        self.world.plant_programs(&tree)?;
        let script = Script::new(command, tree, &site, &cwd).map_err(refused)?;
        Ok(Request { script, cwd, env: self.config.jobs.env.clone(), timeout: None, client: client() })
    }

    async fn check(&self, command: &str) -> Result<Result<(Script, Judgement), Denial>, String> {
        let command = self.world.placed(command);
        if let Ok(tree) = self.chain.parser().parse(&command).await {
            self.world.plant_programs(&tree)?;
        }
        Ok(service::check(&self.chain, &self.config, &Command::Text(command), &client()).await)
    }

    fn refused(&self, decision: Decision, denial: &Denial) -> Said {
        let nobody = denial.policy.is_none() && denial.code == "no-policy-allows";
        Said {
            decision: if nobody && decision == Decision::Deny { Decision::Abstain } else { decision },
            policy: denial.policy.clone().unwrap_or_else(|| "portcullis".to_owned()),
            code: denial.code.clone(),
            message: self.world.shown(&denial.message),
        }
    }
}

fn allowed() -> Said {
    Said { decision: Decision::Allow, policy: String::new(), code: String::new(), message: String::new() }
}

fn client() -> Client {
    Client { principal: "local".to_owned(), name: "policy test".to_owned(), version: String::new() }
}

fn site(config: &Config) -> Site {
    Site { roots: config.jobs.roots.clone(), path: config.jobs.path.clone() }
}

/// The built-in configuration in this world; only compiled policies are kept where they always are.
fn configuration(world: &World, env: &BTreeMap<String, String>) -> Result<Config, String> {
    let mut surroundings = Surroundings::from_process(policy::builtins());
    let cache = surroundings.variables.remove(std::ffi::OsStr::new("XDG_CACHE_HOME"));
    let cache = cache.or_else(|| Some(surroundings.home.as_ref()?.join(".cache").into_os_string()));
    surroundings.variables = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    surroundings.variables.insert("PATH".into(), world.bin().into());
    surroundings.variables.insert("HOME".into(), world.home().into());
    surroundings.variables.extend(cache.map(|cache| ("XDG_CACHE_HOME".into(), cache)));
    surroundings.cwd = Ok(world.root());
    surroundings.home = Some(world.home());
    surroundings.administrators_file = world.home().join("no-such-file");
    let mut config = config::load(None, &surroundings).map_err(|mistakes| mistakes.to_string())?;
    config.jobs.env.extend(env.clone());
    config.jobs.env.sort();
    config.jobs.env.dedup_by(|left, right| left.0 == right.0);
    config.jobs.timeout = Some(Duration::from_secs(600));
    Ok(config)
}
