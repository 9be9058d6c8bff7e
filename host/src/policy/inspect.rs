//! What a component is, without running anything of it; and what making it ready costs.

use std::time::{Duration, Instant};

use serde_json::Value;
use wasmparser::{ComponentName, KnownCustom, Name, Parser, Payload};
use wit_component::{DecodedWasm, WitPrinter, decode};

use super::{
    engine::{Engine, EngineError},
    load::{Frozen, LoadError, check_settings, compile, component_bytes, freeze, is_offered},
    schema::Schema,
};
use crate::config::{ComponentSource, PolicyEntry};

/// Longest text of a section that is shown, in characters.
const MOST_SHOWN: usize = 1000;

/// What a component says of itself, and what it wants.
#[derive(Debug)]
pub struct Inspected {
    /// Bytes of the component.
    pub bytes: usize,
    /// What the standard sections say, each with its name; only what is there.
    pub metadata: Vec<(&'static str, String)>,
    /// The hooks that it exports, without `settings`.
    pub hooks: Vec<&'static str>,
    /// Other exports of its own.
    pub other_exports: Vec<String>,
    /// Whether it can be told its settings.
    pub has_settings: bool,
    /// What it imports, in order.
    pub imports: Vec<Import>,
    /// The schema of its settings, if it carries one.
    pub schema: Option<Value>,
}

/// One thing a component imports.
#[derive(Debug)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// What the policy gets by it.
    pub gives: &'static str,
    /// Whether a component with it is loaded.
    pub is_offered: bool,
}

/// What making a policy ready came to.
#[derive(Debug)]
pub struct Loaded {
    /// Time to compile the component as it is.
    pub compiling: Duration,
    /// Time to configure it, to take the image and to compile that; none if there can be no image, with the reason.
    pub freezing: Result<Duration, &'static str>,
    /// Bytes of the component with the image in it, if there is one.
    pub image_bytes: Option<usize>,
}

/// Why a component can not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It can not be read, or made ready.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is something else.
    #[error("{0}")]
    NotAPolicy(String),
}

/// Looks at a component; nothing of it runs.
///
/// # Errors
///
/// It can not be read, or is no component.
pub fn inspect(source: &ComponentSource) -> Result<Inspected, InspectError> {
    let bytes = component_bytes(source)?;
    let decoded = decoded(&bytes)?;
    let resolve = decoded.resolve();
    let world =
        &resolve.worlds[resolve.select_world(&[decoded.package()], None).map_err(|error| not_a_policy(&error.to_string()))?];
    let name = |key| resolve.name_world_key(key);
    let exports: Vec<String> = world.exports.keys().map(name).collect();
    let hooks = ["command", "input", "output"];
    let has = |hook: &str| exports.iter().any(|export| *export == exported(hook));
    let own = |export: &String| hooks.iter().chain(&["settings"]).any(|hook| *export == exported(hook));
    Ok(Inspected {
        bytes: bytes.len(),
        metadata: metadata(&bytes),
        hooks: hooks.into_iter().filter(|hook| has(hook)).collect(),
        other_exports: exports.iter().filter(|export| !own(export)).cloned().collect(),
        has_settings: has("settings"),
        imports: world.imports.keys().map(|key| Import::of(name(key))).collect(),
        schema: Schema::of(&bytes).map_err(LoadError::from)?.map(|schema| schema.value().clone()),
    })
}

/// The interface of a component, as WIT; nothing of it runs.
///
/// # Errors
///
/// It can not be read, or is no component.
pub fn interface(source: &ComponentSource) -> Result<String, InspectError> {
    let bytes = component_bytes(source)?;
    let decoded = decoded(&bytes)?;
    let (resolve, main) = (decoded.resolve(), decoded.package());
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, main, &others).map_err(|error| not_a_policy(&error.to_string()))?;
    Ok(printer.output.to_string())
}

/// Makes a policy ready and measures it: configures it with the settings of the entry, and takes the image, without a cache.
///
/// # Errors
///
/// What loading it would find wrong.
pub async fn load(engine: &Engine, entry: &PolicyEntry) -> Result<Loaded, InspectError> {
    let bytes = component_bytes(&entry.component)?;
    check_settings(&bytes, &entry.settings)?;
    let began = Instant::now();
    compile(engine, &bytes)?;
    let compiling = began.elapsed();
    let began = Instant::now();
    match freeze(engine, entry, &bytes, &entry.settings.to_string()).await? {
        Frozen::Not(why) => Ok(Loaded { compiling, freezing: Err(why), image_bytes: None }),
        Frozen::Image(image) => {
            compile(engine, &image)?;
            Ok(Loaded { compiling, freezing: Ok(began.elapsed()), image_bytes: Some(image.len()) })
        }
    }
}

impl Import {
    fn of(name: String) -> Self {
        let gives = match name.as_str() {
            name if !is_offered(name) => "nothing: nobody can grant it, so the policy is refused",
            name if name.starts_with("portcullis:policy/log@") => "the host's log",
            name if name.starts_with("portcullis:policy/") => "names of types",
            name if name.starts_with("wasi:filesystem/") => "the directories that `grants.read` names; without it none",
            name if name.starts_with("wasi:cli/environment@") => "the variables that `grants.env` names; without it none",
            name if name.starts_with("wasi:cli/stdin@") => "standard input with nothing in it",
            name if name.starts_with("wasi:cli/std") => "standard streams that end in the host's log",
            name if name.starts_with("wasi:clocks/") => "clocks",
            name if name.starts_with("wasi:random/") => "random numbers",
            name if name.starts_with("wasi:sockets/") => "no addresses",
            _ => "nothing of the world outside",
        };
        Self { gives, is_offered: is_offered(&name), name }
    }
}

fn exported(hook: &str) -> String {
    format!("portcullis:policy/{hook}@0.1.0")
}

fn not_a_policy(why: &str) -> InspectError {
    InspectError::NotAPolicy(why.to_owned())
}

fn decoded(bytes: &[u8]) -> Result<DecodedWasm, InspectError> {
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(not_a_policy("is a core module, not a component; build the policy for wasm32-wasip2"));
    }
    let decoded =
        decode(bytes).map_err(|error| not_a_policy(&format!("is no WebAssembly component that is whole: {error:#}")))?;
    match decoded {
        DecodedWasm::Component(..) => Ok(decoded),
        DecodedWasm::WitPackage(..) => Err(not_a_policy("is an interface, not a component")),
    }
}

/// What the standard sections say: of the component, and where it says nothing, of what is in it.
fn metadata(bytes: &[u8]) -> Vec<(&'static str, String)> {
    const SECTIONS: [(&str, &str); 7] = [
        ("version", "version"),
        ("description", "description"),
        ("authors", "authors"),
        ("licenses", "licences"),
        ("source", "source"),
        ("homepage", "homepage"),
        ("revision", "revision"),
    ];
    let (mut found, mut depth) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(Payload::CustomSection(section)) => {
                let text = |data| String::from_utf8_lossy(data).chars().take(MOST_SHOWN).collect::<String>();
                let known =
                    SECTIONS.iter().find(|(name, _)| *name == section.name()).map(|(_, key)| (*key, text(section.data())));
                let name = || Some(("name", text(name(section.as_known())?.as_bytes())));
                found.extend(known.or_else(name).map(|(key, value)| (depth, key, value)));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let of = |wanted: &'static str| {
        let outermost = found.iter().filter(|(_, key, _)| *key == wanted).min_by_key(|(depth, ..)| *depth)?;
        Some((wanted, outermost.2.clone()))
    };
    ["name"].into_iter().chain(SECTIONS.map(|(_, key)| key)).filter_map(of).collect()
}

/// The name in a section of names.
fn name(section: KnownCustom<'_>) -> Option<&str> {
    match section {
        KnownCustom::ComponentName(names) => names.into_iter().flatten().find_map(|name| match name {
            ComponentName::Component { name, .. } => Some(name),
            _ => None,
        }),
        KnownCustom::Name(names) => names.into_iter().flatten().find_map(|name| match name {
            Name::Module { name, .. } => Some(name),
            _ => None,
        }),
        _ => None,
    }
}
