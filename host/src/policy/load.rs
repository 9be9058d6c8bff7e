//! From a component's bytes to a policy that is ready to decide: checked, configured once, frozen, compiled, cached.

use std::path::{Path, PathBuf};

use wasmtime::{
    Store,
    component::{Component, Instance, InstancePre},
};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

use super::{
    bindings::{command, input, output, settings},
    cache::{Cache, CacheError, Form, Key},
    conditions::{Image, World},
    engine::Engine,
    limits::{Fault, Guest},
    schema::{Schema, SchemaError},
    triggers::{Trigger, TriggerError, Triggers},
};
use crate::{
    config::{Apply, Builtin, ComponentSource, Grants, Mode, OnFault, PolicyEntry},
    digest::Digest,
    files,
};

/// Largest component file, in bytes: policies made from interpreted languages have about 20 MB.
const MOST_COMPONENT_BYTES: u64 = 64 << 20;
/// The contract, as its package is named in components.
const CONTRACT: &str = "portcullis:policy@0.1.0";
/// Most errors of one policy's settings that are shown.
const MOST_SETTINGS_ERRORS: usize = 64;

/// A policy that is part of this program: its component, compiled by the build script from `policies/`, and the settings it gets
/// where its entry has none.
struct BuiltIn {
    name: &'static str,
    component: &'static [u8],
    default_settings: &'static str,
}

const BUILTINS: [BuiltIn; 4] = [
    BuiltIn {
        name: "allowlist",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-allowlist.wasm")),
        default_settings: include_str!("../../../policies/allowlist/default.toml"),
    },
    BuiltIn {
        name: "harden",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-harden.wasm")),
        default_settings: "",
    },
    BuiltIn {
        name: "redact",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-redact.wasm")),
        default_settings: "",
    },
    BuiltIn { name: "tidy", component: include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-tidy.wasm")), default_settings: "" },
];

/// The built-in policies, as the configuration needs to know them.
pub fn builtins() -> Vec<Builtin> {
    BUILTINS.iter().map(|one| Builtin { name: one.name, default_settings: one.default_settings }).collect()
}

/// The schemas of the built-in policies' settings, by name.
pub fn builtin_schemas() -> Vec<(&'static str, serde_json::Value)> {
    let schema = |one: &BuiltIn| {
        let schema = Schema::of(one.component).ok().flatten().expect("the build script gives each its schema");
        (one.name, schema.value().clone())
    };
    BUILTINS.iter().map(schema).collect()
}

/// The rules in the settings of an entry, by their places, as far as the policy says what its rules are.
///
/// # Errors
///
/// The component can not be read, or its schema can not be used.
pub fn rules(entry: &PolicyEntry) -> Result<Vec<String>, LoadError> {
    let Some(schema) = Schema::of(&component_bytes(&entry.component)?)? else { return Ok(Vec::new()) };
    Ok(schema.rules(&entry.settings)?)
}

/// A policy, ready to be instantiated.
pub(super) struct Policy {
    pub(super) name: String,
    /// Of its component.
    pub(super) sha256: Digest,
    pub(super) mode: Mode,
    pub(super) may_rewrite: bool,
    pub(super) apply: Apply,
    pub(super) on_fault: OnFault,
    /// What it exports besides `settings`.
    pub(super) hooks: Hooks,
    /// What its output filter waits for; `None` if it has no output hook.
    pub(super) triggers: Option<Triggers>,
    engine: Engine,
    pre: InstancePre<Guest>,
    grants: Grants,
    /// Settings to give to each instance, for a policy that could not be frozen.
    unfrozen: Option<(settings::GuestIndices, String)>,
}

/// The hooks a component exports.
pub(super) struct Hooks {
    pub(super) command: Option<command::GuestIndices>,
    pub(super) input: Option<input::GuestIndices>,
    pub(super) output: Option<output::GuestIndices>,
}

/// Why a policy could not be made ready. The server does not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such built-in.
    #[error("there is no built-in policy \"{0}\"; there are {names}", names = names())]
    UnknownBuiltin(String),
    /// The file could not be read.
    #[error("could not read the component {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the component {path} has more than {} MiB", MOST_COMPONENT_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not the component that was meant.
    #[error(
        "the component has the sha256 {found}, and `sha256` pins {pinned}; bring back the pinned one, or, if the new one is meant, pin it: `portcullis config check --pin`"
    )]
    Pinned {
        /// What the entry says.
        pinned: Digest,
        /// What the component has.
        found: Digest,
    },
    /// The bytes are no component.
    #[error("not a WebAssembly component ({0}); build the policy for wasm32-wasip2")]
    NotAComponent(String),
    /// It imports what nobody granted.
    #[error("imports {}, which portcullis does not offer; a policy may import portcullis:policy/log and WASI 0.2", .0.join(", "))]
    SurplusImports(Vec<String>),
    /// It was made for another version of the contract.
    #[error("is made for {found}, and this portcullis speaks {CONTRACT}; build the policy with the SDK of this version")]
    OtherVersion {
        /// The package and version that it names.
        found: String,
    },
    /// It lacks the exports of the contract.
    #[error("does not implement the contract: {0}")]
    Contract(String),
    /// It did not survive its own `configure`, or what followed.
    #[error("{during}: {fault}")]
    Fault {
        /// What it was doing.
        during: &'static str,
        /// What ended it.
        #[source]
        fault: Fault,
    },
    /// It refused its settings.
    #[error("refused its settings")]
    Settings(Vec<settings::SettingsError>),
    /// What it says of its settings can not be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It is to be applied to what is read, and filters nothing.
    #[error("has no output hook, so `apply = \"reads\"` means nothing; remove the key")]
    NothingToApply,
    /// The variable holds bytes that no policy can be given.
    #[error(
        "is granted the variable {0}, whose value is not UTF-8, so it could not be given to a policy; unset it or do not grant it"
    )]
    NotUtf8(String),
    /// Its triggers break the contract.
    #[error(transparent)]
    Triggers(#[from] TriggerError),
    /// The cache is unusable.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn names() -> String {
    BUILTINS.map(|one| one.name).join(", ")
}

impl Policy {
    /// Makes the policy of one entry ready. Costs the compiler's time (a second for a megabyte) unless the cache has it.
    pub(super) async fn load(engine: &Engine, entry: &PolicyEntry, cache: &Cache) -> Result<Self, LoadError> {
        check_variables(engine, entry)?;
        let bytes = component_bytes(&entry.component)?;
        let sha256 = Digest::of(&bytes);
        check_pin(entry, sha256)?;
        let settings = entry.settings.to_string();
        let counted = engine.conditions().functions.as_ref().and_then(|functions| functions.counted(&entry.name, &bytes));
        let (component, form) = match counted {
            // Which functions `configure` reaches is seen only while it runs, so this is not kept.
            Some(counted) => prepare(engine, entry, &counted, &settings).await?,
            None => kept_or_prepared(engine, entry, &bytes, &settings, cache).await?,
        };
        Self::ready(engine, entry, sha256, &component, form, settings).await
    }

    async fn ready(
        engine: &Engine,
        entry: &PolicyEntry,
        sha256: Digest,
        component: &Component,
        form: Form,
        settings: String,
    ) -> Result<Self, LoadError> {
        let pre = engine.linker().instantiate_pre(component).map_err(contract)?;
        let configurable = settings::GuestIndices::new(&pre).map_err(contract)?;
        let mut policy = Self {
            name: entry.name.clone(),
            sha256,
            mode: entry.mode,
            may_rewrite: entry.may_rewrite,
            apply: entry.apply,
            on_fault: entry.on_fault,
            hooks: Hooks::of(&pre)?,
            triggers: None,
            engine: engine.clone(),
            pre,
            grants: entry.grants.clone(),
            unfrozen: (form == Form::Plain).then_some((configurable, settings)),
        };
        if policy.apply == Apply::Reads && policy.hooks.output.is_none() {
            return Err(LoadError::NothingToApply);
        }
        policy.try_settings().await?;
        policy.triggers = policy.ask_triggers().await?;
        Ok(policy)
    }

    /// Settings of a policy that is not frozen are judged at each load: what they mean may depend on the variables it is granted.
    async fn try_settings(&self) -> Result<(), LoadError> {
        let Some((configurable, settings)) = &self.unfrozen else { return Ok(()) };
        let mut store = self.store();
        let configured = async |store: &mut Store<Guest>| {
            let instance = self.pre.instantiate_async(&mut *store).await?;
            configure(store, &instance, configurable, settings).await
        };
        self.engine.bounded_at_load(&mut store, configured).await.map_err(while_configured)?.map_err(refused)
    }

    async fn ask_triggers(&self) -> Result<Option<Triggers>, LoadError> {
        let Some(hook) = &self.hooks.output else { return Ok(None) };
        let fault = |fault| LoadError::Fault { during: "while it named its triggers", fault };
        let (mut store, instance) = self.instantiate().await.map_err(fault)?;
        let listed = self
            .engine
            .bounded(&mut store, async |store| hook.load(&mut *store, &instance)?.call_triggers(store).await)
            .await
            .map_err(fault)?;
        let listed = listed.into_iter().map(|one| Trigger { text: one.text, ignore_case: one.ignore_case });
        Ok(Some(Triggers::new(listed.collect())?))
    }

    /// A fresh instance, configured, in a store of its own, with all that is granted.
    pub(super) async fn instantiate(&self) -> Result<(Store<Guest>, Instance), Fault> {
        let mut store = self.store();
        if let Some(reached) = &self.engine.conditions().reached {
            store.data_mut().note(reached.clone(), &self.name);
        }
        let instance = self.engine.bounded(&mut store, async |store| self.pre.instantiate_async(store).await).await?;
        if let Some((configurable, settings)) = &self.unfrozen {
            let configured = async |store: &mut Store<Guest>| configure(store, &instance, configurable, settings).await;
            self.engine
                .bounded(&mut store, configured)
                .await?
                .map_err(|_| Fault::BadAnswer("refused settings that it took at load".to_owned()))?;
        }
        self.engine.open_directories(&mut store, &self.grants)?;
        Ok((store, instance))
    }

    fn store(&self) -> Store<Guest> {
        store(&self.engine, &self.name, &self.grants)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// One line for an operator: name, hooks, and what is special about it.
    pub(super) fn describe(&self) -> String {
        let hooks = [
            self.hooks.command.as_ref().map(|_| "command"),
            self.hooks.input.as_ref().map(|_| "input"),
            self.hooks.output.as_ref().map(|_| match self.apply {
                Apply::Stream => "output",
                Apply::Reads => "output as it is read",
            }),
        ];
        let hooks: Vec<_> = hooks.into_iter().flatten().collect();
        let frozen = if self.unfrozen.is_some() { "configured anew for each decision" } else { "frozen" };
        let mode = match self.mode {
            Mode::Enforce => "",
            Mode::Monitor => "; in monitor mode, so that its verdicts have no effect",
        };
        format!("{}: judges {}; {frozen}{mode}", self.name, hooks.join(", "))
    }
}

impl Hooks {
    fn of(pre: &InstancePre<Guest>) -> Result<Self, LoadError> {
        let component = pre.component();
        let has = |interface: &str| component.get_export_index(None, interface).is_some();
        let hooks = Self {
            command: exported(has("portcullis:policy/command@0.1.0"), || command::GuestIndices::new(pre))?,
            input: exported(has("portcullis:policy/input@0.1.0"), || input::GuestIndices::new(pre))?,
            output: exported(has("portcullis:policy/output@0.1.0"), || output::GuestIndices::new(pre))?,
        };
        if hooks.command.is_none() && hooks.input.is_none() && hooks.output.is_none() {
            return Err(LoadError::Contract("it exports none of command, input and output".to_owned()));
        }
        Ok(hooks)
    }
}

fn exported<T>(is_there: bool, find: impl FnOnce() -> wasmtime::Result<T>) -> Result<Option<T>, LoadError> {
    is_there.then(find).transpose().map_err(contract)
}

fn contract(error: wasmtime::Error) -> LoadError {
    LoadError::Contract(format!("{error:#}"))
}

pub(super) fn component_bytes(source: &ComponentSource) -> Result<Vec<u8>, LoadError> {
    match source {
        ComponentSource::Builtin(wanted) => BUILTINS
            .iter()
            .find(|one| one.name == wanted)
            .map(|one| one.component.to_vec())
            .ok_or_else(|| LoadError::UnknownBuiltin(wanted.clone())),
        ComponentSource::File(path) => read_component(path),
    }
}

fn read_component(path: &Path) -> Result<Vec<u8>, LoadError> {
    files::read(path, MOST_COMPONENT_BYTES).map_err(|source| match source.kind() {
        std::io::ErrorKind::FileTooLarge => LoadError::TooLarge { path: path.to_owned() },
        _ => LoadError::Read { path: path.to_owned(), source },
    })
}

/// Holds an entry's pin against the digest of the very bytes that will be compiled.
fn check_pin(entry: &PolicyEntry, found: Digest) -> Result<(), LoadError> {
    match entry.sha256 {
        Some(pinned) if pinned != found => Err(LoadError::Pinned { pinned, found }),
        _ => Ok(()),
    }
}

/// All that what is kept depends on. Not files, and not variables: of a policy that is granted any no image is kept.
fn cache_key(engine: &Engine, entry: &PolicyEntry, bytes: &[u8], settings: &str) -> Key {
    let conditions = engine.conditions();
    let is_frozen = entry.grants.env.is_empty() && conditions.image == Image::Frozen;
    let form: &[u8] = if is_frozen { b"frozen" } else { b"plain" };
    // What `configure` left under a clock that stands still is not for production.
    let world: &[&[u8]] = if conditions.world == World::Real { &[] } else { &[b"fixed world"] };
    Key::of(engine, &[&[bytes, settings.as_bytes(), form], world].concat())
}

/// A variable that is not set may be meant to be, which nobody would notice: what it would hold is not looked for.
fn check_variables(engine: &Engine, entry: &PolicyEntry) -> Result<(), LoadError> {
    for name in &entry.grants.env {
        match engine.conditions().variable(name) {
            Ok(_) => {}
            Err(std::env::VarError::NotPresent) => {
                tracing::warn!(policy = entry.name, variable = name, "a variable that is granted is not set");
            }
            Err(std::env::VarError::NotUnicode(_)) => return Err(LoadError::NotUtf8(name.clone())),
        }
    }
    Ok(())
}

fn while_configured(fault: Fault) -> LoadError {
    LoadError::Fault { during: "while it took its settings", fault }
}

fn refused(mut errors: Vec<settings::SettingsError>) -> LoadError {
    errors.truncate(MOST_SETTINGS_ERRORS);
    LoadError::Settings(errors)
}

async fn kept_or_prepared(
    engine: &Engine,
    entry: &PolicyEntry,
    bytes: &[u8],
    settings: &str,
    cache: &Cache,
) -> Result<(Component, Form), LoadError> {
    let key = cache_key(engine, entry, bytes, settings);
    if let Some(kept) = cache.find(engine, &key)? {
        return Ok(kept);
    }
    tracing::info!(policy = entry.name, "compiling; later starts take the result from the cache");
    let (component, form) = prepare(engine, entry, bytes, settings).await?;
    cache.keep(&key, form, &component)?;
    Ok((component, form))
}

async fn prepare(engine: &Engine, entry: &PolicyEntry, bytes: &[u8], settings: &str) -> Result<(Component, Form), LoadError> {
    check_settings(bytes, &entry.settings)?;
    match freeze(engine, entry, bytes, settings).await? {
        Frozen::Image(image) => Ok((compile(engine, &image)?, Form::Frozen)),
        Frozen::Not(reason) => {
            if engine.conditions().image == Image::Frozen {
                tracing::warn!(policy = entry.name, reason, "not frozen: it is configured anew for each decision");
            }
            Ok((compile(engine, bytes)?, Form::Plain))
        }
    }
}

/// Before anything of the policy runs. What comes from the cache was checked when it got there.
pub(super) fn check_settings(component: &[u8], settings: &serde_json::Value) -> Result<(), LoadError> {
    let Some(schema) = Schema::of(component)? else { return Ok(()) };
    match schema.mistakes(settings)? {
        mistakes if mistakes.is_empty() => Ok(()),
        mistakes => Err(LoadError::Settings(mistakes)),
    }
}

pub(super) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    Component::from_binary(engine.wasmtime(), bytes).map_err(|error| LoadError::NotAComponent(format!("{error:#}")))
}

/// What became of an attempt to keep the memory that `configure` leaves behind.
pub(super) enum Frozen {
    /// A component that starts configured.
    Image(Vec<u8>),
    /// Why there can be none.
    Not(&'static str),
}

/// Configures one instance and takes a snapshot of it.
pub(super) async fn freeze(engine: &Engine, entry: &PolicyEntry, bytes: &[u8], settings: &str) -> Result<Frozen, LoadError> {
    // The instrumented form adds exports and nothing else, so all checks hold for both and one compilation is saved.
    let wizer = Wizer::new();
    let instrumented = wizer.instrument_component(bytes);
    let checked = compile(engine, instrumented.as_ref().map_or(bytes, |(_, bytes)| bytes))?;
    refuse_other_versions(engine, &checked)?;
    refuse_surplus_imports(engine, &checked)?;
    let pre = engine.linker().instantiate_pre(&checked).map_err(contract)?;
    let configurable = settings::GuestIndices::new(&pre).map_err(contract)?;
    if engine.conditions().image == Image::Never {
        return Ok(Frozen::Not("it is to be configured each time"));
    }
    if !entry.grants.env.is_empty() {
        return Ok(Frozen::Not("it is granted variables, whose values must not get to the disk in an image of its memory"));
    }
    let mut store = store(engine, &entry.name, &entry.grants);
    let instantiated = engine.bounded_at_load(&mut store, async |store| pre.instantiate_async(store).await).await;
    let instance = instantiated.map_err(while_configured)?;
    let configured = async |store: &mut Store<Guest>| configure(store, &instance, &configurable, settings).await;
    engine.bounded_at_load(&mut store, configured).await.map_err(while_configured)?.map_err(refused)?;
    if store.data().holds_resources() {
        return Ok(Frozen::Not("it still holds resources of the host after configure, such as standard output or a directory"));
    }
    let Ok((context, _)) = instrumented else {
        return Ok(Frozen::Not("its memory can not be captured from outside"));
    };
    // The snapshot is read through calls of the host's own; the limit on memory bounds it.
    store.set_hostcall_fuel(usize::MAX);
    let image = engine
        .bounded_at_load(&mut store, async |store| {
            wizer.snapshot_component(&context, &mut WasmtimeWizerComponent { store, instance }).await
        })
        .await;
    Ok(image.map_or(Frozen::Not("its memory can not be written as an image"), Frozen::Image))
}

/// What is made for another version is told as that, not as what it seems to lack or to want.
fn refuse_other_versions(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let types = component.component_type();
    let imports = types.imports(engine.wasmtime()).map(|(name, _)| name);
    let exports = types.exports(engine.wasmtime()).map(|(name, _)| name);
    let package = |name: &str| {
        let (path, version) = name.strip_prefix("portcullis:policy/")?.split_once('@')?;
        (!path.is_empty()).then(|| format!("portcullis:policy@{version}"))
    };
    match imports.chain(exports).filter_map(package).find(|package| package != CONTRACT) {
        Some(found) => Err(LoadError::OtherVersion { found }),
        None => Ok(()),
    }
}

/// Whether there is an import of this name.
pub(super) fn is_offered(name: &str) -> bool {
    let wasi = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
    name == "portcullis:policy/log@0.1.0"
        || name == "portcullis:policy/types@0.1.0"
        || wasi.iter().any(|prefix| name.starts_with(prefix)) && name.contains("@0.2.")
}

fn refuse_surplus_imports(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let imports = component.component_type();
    let surplus: Vec<String> =
        imports.imports(engine.wasmtime()).map(|(name, _)| name.to_owned()).filter(|name| !is_offered(name)).collect();
    if surplus.is_empty() { Ok(()) } else { Err(LoadError::SurplusImports(surplus)) }
}

/// A store for the policy that is called so; which of its functions run in it is noted where that is asked.
fn store(engine: &Engine, policy: &str, grants: &Grants) -> Store<Guest> {
    let mut store = engine.store(grants);
    if let Some(functions) = &engine.conditions().functions {
        store.data_mut().count(functions.clone(), policy);
    }
    store
}

async fn configure(
    store: &mut Store<Guest>,
    instance: &Instance,
    configurable: &settings::GuestIndices,
    settings: &str,
) -> wasmtime::Result<Result<(), Vec<settings::SettingsError>>> {
    configurable.load(&mut *store, instance)?.call_configure(store, settings).await
}
