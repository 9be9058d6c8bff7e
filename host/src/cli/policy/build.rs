//! `portcullis policy build`.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use portcullis_policy_build::with_section;
use serde_json::Value;

use crate::{
    cli::{CliError, exit, with_causes},
    config::ComponentSource,
    policy::{self, Inspected, printable},
};

/// What Rust policies are compiled for.
const TARGET: &str = "wasm32-wasip2";
/// The schema of a policy's settings, beside its manifest, if it has one.
const SCHEMA_FILE: &str = "settings.schema.json";
/// The custom section that holds it.
const SCHEMA_SECTION: &str = "portcullis:settings-schema";
/// The package that makes components of JavaScript.
const COMPONENTIZE_JS: &str = "@bytecodealliance/componentize-js";
/// Run by node in the project, so that packages are found as the project's own code finds them.
const JAVASCRIPT: &str = include_str!("build/componentize.mjs");

/// Makes the component of a policy's project with the tool of its language, and holds it against the contract.
#[derive(Debug, Args)]
#[command(after_help = "\
The language is told by the manifest; name, version, description and licence in it, and settings.schema.json beside it, go into the
component. It becomes NAME.wasm there.

  Cargo.toml      cargo, for wasm32-wasip2, in the profile `release`
  package.json    node and @bytecodealliance/componentize-js in node_modules; `main` is the module, `portcullis.world` the world
  pyproject.toml  componentize-py in .venv or on the PATH; app.py is the module, `tool.portcullis.world` the world; what unit tests and
                  editors need is written to bindings/

Worlds are those of wit/: policy, command-policy, input-policy, output-policy, or one of your own.

Exit codes: 0 built, 1 the language's tool failed, or what it made is no policy, 3 no such project, or a tool is not there.

  portcullis policy build
  portcullis policy build policies/forbid && portcullis policy test policies/forbid")]
pub struct Build {
    /// The project.
    #[arg(value_name = "DIR", default_value = ".")]
    project: PathBuf,
}

/// What became of a step: the rest, or why there is none, which has been said.
enum BuildError {
    /// Something that is needed is not there, with what to do about it.
    Missing(String),
    /// What was made, or was to be made, is no policy.
    Failed(String),
}

/// What a manifest says of a policy.
struct Manifest {
    name: String,
    /// The standard sections, in order.
    metadata: Vec<(&'static str, String)>,
    /// The world of its component; none for Rust, where the code says it.
    world: String,
    /// The module that is its entry, where the manifest names it.
    main: String,
}

impl Build {
    pub(super) fn execute(self) -> Result<u8, CliError> {
        match build(&self.project) {
            Ok((file, inspected)) => {
                write!(io::stdout(), "{}", summary(&file, &inspected))
                    .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
                Ok(exit::OK)
            }
            Err(BuildError::Missing(what)) => Err(CliError::Cases(what)),
            Err(BuildError::Failed(what)) => {
                crate::cli::say(&what);
                Ok(exit::DENIED)
            }
        }
    }
}

fn build(project: &Path) -> Result<(PathBuf, Inspected), BuildError> {
    let shown = project.display();
    let project = project.canonicalize().map_err(|error| missing(format!("{shown}: could not be opened: {error}")))?;
    let (manifest, mut component) = tool_of(&project)?(&project)?;
    let schema = project.join(SCHEMA_FILE);
    if schema.exists() {
        component = with_section(component, SCHEMA_SECTION, &read(&schema)?);
    }
    for (name, text) in &manifest.metadata {
        component = with_section(component, name, text);
    }
    publish(&project.join(format!("{}.wasm", manifest.name)), &component)
}

/// What makes a component of a project.
type Tool = fn(&Path) -> Result<(Manifest, Vec<u8>), BuildError>;

/// That of the project's language, which its manifest tells.
fn tool_of(project: &Path) -> Result<Tool, BuildError> {
    let tools: [(&str, Tool); 3] = [("Cargo.toml", rust), ("package.json", javascript), ("pyproject.toml", python)];
    let found: Vec<_> = tools.into_iter().filter(|(manifest, _)| project.join(manifest).exists()).collect();
    let shown = project.display();
    match found[..] {
        [(_, tool)] => Ok(tool),
        [] => Err(missing(format!(
            "{shown}: there is no Cargo.toml, package.json or pyproject.toml; `portcullis policy new` writes a project"
        ))),
        [(one, _), (other, _), ..] => {
            Err(missing(format!("{shown}: has {one} and {other}, so which language the policy is in can not be told")))
        }
    }
}

/// Holds the component against the contract, and only then puts it in the place of the one before.
fn publish(file: &Path, component: &[u8]) -> Result<(PathBuf, Inspected), BuildError> {
    let new = file.with_extension("wasm.new");
    let result = fs::write(&new, component)
        .map_err(|error| failed(format!("{}: could not be written: {error}", new.display())))
        .and_then(|()| checked(&new))
        .and_then(|inspected| {
            let renamed = fs::rename(&new, file);
            renamed.map_err(|error| failed(format!("{}: could not be replaced: {error}", file.display())))?;
            Ok((file.to_owned(), inspected))
        });
    if result.is_err() {
        _ = fs::remove_file(&new);
    }
    result
}

/// Nothing of it runs; what settings it takes is for `policy test` and `config check`.
fn checked(file: &Path) -> Result<Inspected, BuildError> {
    let wrong = |what: &str| failed(format!("what was built is no policy: {what}"));
    let inspected = policy::inspect(&ComponentSource::File(file.to_owned())).map_err(|error| wrong(&with_causes(&error)))?;
    let refused: Vec<_> = inspected.imports.iter().filter(|one| !one.is_offered).map(|one| one.name.as_str()).collect();
    if !refused.is_empty() {
        let refused = refused.join(", ");
        return Err(wrong(&format!(
            "it imports {refused}, which nobody can grant; a policy may import portcullis:policy/log and WASI 0.2"
        )));
    }
    if !inspected.has_settings || inspected.hooks.is_empty() {
        return Err(wrong("it must export portcullis:policy/settings@0.1.0, and of command, input and output at least one"));
    }
    Ok(inspected)
}

fn summary(file: &Path, inspected: &Inspected) -> String {
    let shown = env::current_dir().ok().and_then(|here| file.strip_prefix(here).ok()).unwrap_or(file).display().to_string();
    let schema = if inspected.schema.is_some() { "with" } else { "without" };
    let (hooks, size) = (inspected.hooks.join(", "), inspected.bytes.div_ceil(1024));
    format!("{}: judges {hooks}; {schema} a schema of its settings; {size} KiB\n", printable(&shown))
}

// ── Rust ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn rust(project: &Path) -> Result<(Manifest, Vec<u8>), BuildError> {
    let (cargo, rustc) = (tool("CARGO", "cargo"), tool("RUSTC", "rustc"));
    let get = "it comes with Rust: https://rustup.rs";
    let targets = quiet(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]), project, get)?;
    let has_target = fs::read_dir(targets.trim()).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    });
    if !has_target {
        return Err(missing(format!("Rust has no compilation target {TARGET} here; type: rustup target add {TARGET}")));
    }
    let metadata = quiet(Command::new(&cargo).args(["metadata", "--no-deps", "--format-version", "1"]), project, get)?;
    let metadata: Value = parsed(&metadata, "what cargo says of the project")?;
    let path = project.join("Cargo.toml");
    let is_it = |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(path.as_path());
    let package = metadata["packages"].as_array().into_iter().flatten().find(is_it);
    let package = package.ok_or_else(|| missing(format!("{} is a workspace and no package", path.display())))?;
    let manifest = Manifest::of(package, &path)?;
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics", "--package"]);
    let messages = quiet(build.arg(&manifest.name), project, get)?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_package = artifacts.filter(|message| is_it(&message));
    let files: Vec<String> = of_package
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().filter(|file| file.ends_with(".wasm")).map(str::to_owned))
        .collect();
    let [file] = &files[..] else {
        let what = "it has to make one component: `[lib] crate-type = [\"cdylib\"]`, and no binaries";
        return Err(failed(format!("{} makes {} of them; {what}", path.display(), files.len())));
    };
    Ok((manifest, bytes(Path::new(file))?))
}

// ── JavaScript ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn javascript(project: &Path) -> Result<(Manifest, Vec<u8>), BuildError> {
    let path = project.join("package.json");
    let package: Value = parsed(&read(&path)?, &path.display().to_string())?;
    let mut manifest = Manifest::of(&package, &path)?;
    manifest.world = world(&package["portcullis"]["world"], &path, "\"portcullis\": { \"world\": \"command-policy\" }")?;
    manifest.main = package["main"].as_str().unwrap_or("index.js").to_owned();
    let get =
        format!("JavaScript is built with Node 20 or newer: https://nodejs.org, then: npm install --save-dev {COMPONENTIZE_JS}");
    quiet(Command::new("node").arg("--version"), project, &get)?;
    // As node looks for packages.
    if !project.ancestors().any(|directory| directory.join("node_modules").join(COMPONENTIZE_JS).is_dir()) {
        return Err(missing(format!(
            "{COMPONENTIZE_JS}, which makes components of JavaScript, is not in node_modules; in {}, type: npm install",
            project.display()
        )));
    }
    let out = Scratch::new()?;
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", JAVASCRIPT, "--"]).arg(project.join(&manifest.main)).arg(project.join("wit"));
    loud(node.arg(&manifest.world).arg(out.file()), project, &get)?;
    Ok((manifest, bytes(&out.file())?))
}

// ── Python ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

fn python(project: &Path) -> Result<(Manifest, Vec<u8>), BuildError> {
    let path = project.join("pyproject.toml");
    let text = read(&path)?;
    let table: Value = toml::from_str(&text).map_err(|error| missing(format!("{}: {}", path.display(), error.message())))?;
    let mut manifest = Manifest::of(&table["project"], &path)?;
    let key = "[tool.portcullis] world = \"command-policy\"";
    manifest.world = world(&table["tool"]["portcullis"]["world"], &path, key)?;
    let get = "Python is built with componentize-py, which is neither in .venv nor on the PATH; type: \
               python3 -m venv .venv && .venv/bin/pip install componentize-py";
    let own = project.join(".venv/bin/componentize-py");
    let componentize = if own.exists() { own } else { PathBuf::from("componentize-py") };
    let tool = || {
        let mut tool = Command::new(&componentize);
        tool.args(["--quiet", "--wit-path", "wit", "--world", &manifest.world]);
        tool
    };
    // They are added to what is there, and those of an older contract would stay. A folder of somebody else does.
    if project.join("bindings/componentize_py_types.py").exists() {
        _ = fs::remove_dir_all(project.join("bindings"));
    }
    loud(tool().args(["bindings", "bindings"]), project, get)?;
    let out = Scratch::new()?;
    loud(tool().args(["componentize", "app", "--output"]).arg(out.file()), project, get)?;
    let component = bytes(&out.file())?;
    Ok((manifest, component))
}

// ── what they share ─────────────────────────────────────────────────────────────────────────────────────────────────────────

impl Manifest {
    /// The keys are called the same in all three.
    fn of(package: &Value, file: &Path) -> Result<Self, BuildError> {
        let text = |key: &str| package[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let name = text("name").filter(|name| super::new::is_name(name)).ok_or_else(|| {
            missing(format!(
                "{}: `name` must be there, and be {}, since it names the component",
                file.display(),
                super::new::NAMES
            ))
        })?;
        let known = [("version", "version"), ("description", "description"), ("licenses", "license")];
        let metadata = known.into_iter().filter_map(|(section, key)| Some((section, text(key)?))).collect();
        Ok(Self { name, metadata, world: String::new(), main: String::new() })
    }
}

fn world(value: &Value, file: &Path, example: &str) -> Result<String, BuildError> {
    let world = value.as_str().filter(|world| super::new::is_name(world)).map(str::to_owned);
    world.ok_or_else(|| {
        missing(format!("{}: does not say which world of wit/ the policy is made for, such as {example}", file.display()))
    })
}

/// A place for what a tool writes, gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, BuildError> {
        let directory = env::temp_dir().join(format!("portcullis-build-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&directory).map_err(|error| failed(format!("{}: could not be made: {error}", directory.display())))?;
        Ok(Self(directory))
    }

    fn file(&self) -> PathBuf {
        self.0.join("policy.wasm")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn tool(variable: &str, name: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| name.into())
}

/// Runs a tool and gives what it prints.
fn quiet(command: &mut Command, project: &Path, get: &str) -> Result<String, BuildError> {
    let output = command.stderr(Stdio::inherit()).stdin(Stdio::null()).current_dir(project).output();
    let output = output.map_err(|error| not_started(command, &error, get))?;
    if !output.status.success() {
        return Err(tool_failed(command, &output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| failed(format!("{} prints what is not UTF-8", name(command))))
}

/// Runs a tool; what it prints is for people.
fn loud(command: &mut Command, project: &Path, get: &str) -> Result<(), BuildError> {
    let status = command.stdout(io::stderr()).stdin(Stdio::null()).current_dir(project).status();
    let status = status.map_err(|error| not_started(command, &error, get))?;
    if status.success() { Ok(()) } else { Err(tool_failed(command, &status)) }
}

fn not_started(command: &Command, error: &io::Error, get: &str) -> BuildError {
    missing(match error.kind() {
        io::ErrorKind::NotFound => format!("{} is not there; {get}", name(command)),
        _ => format!("{} could not be started: {error}", name(command)),
    })
}

fn tool_failed(command: &Command, status: &std::process::ExitStatus) -> BuildError {
    failed(format!("{} failed ({status}); what it said stands above", name(command)))
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

fn missing(what: String) -> BuildError {
    BuildError::Missing(printable(&what))
}

fn failed(what: String) -> BuildError {
    BuildError::Failed(printable(&what))
}

fn read(file: &Path) -> Result<String, BuildError> {
    fs::read_to_string(file).map_err(|error| missing(format!("{}: could not be read: {error}", file.display())))
}

fn bytes(file: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(file).map_err(|error| failed(format!("{}: could not be read: {error}", file.display())))
}

fn parsed(text: &str, what: &str) -> Result<Value, BuildError> {
    serde_json::from_str(text).map_err(|error| missing(format!("{what}: is no JSON: {error}")))
}
