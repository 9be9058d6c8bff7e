//! `portcullis policy inspect`.

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{CliError, exit, settings_lines, with_causes},
    config::{Apply, ComponentSource, Grants, Limits, Mode, OnFault, PolicyEntry},
    policy::{self, Engine, Import, InspectError, Inspected, LoadError, Loaded, printable},
    policy_test,
};

/// Shows what a component is: what it says of itself, what it judges, what it wants, what its settings are. Nothing of it runs, but
/// with `--load`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown, 3 it is no component that could be loaded.

  portcullis policy inspect builtin:redact
  portcullis policy inspect --wit forbid.wasm
  portcullis policy inspect --load --settings forbid.toml forbid.wasm")]
pub struct Inspect {
    /// `builtin:NAME`, or the file of a component.
    #[arg(value_name = "COMPONENT")]
    component: String,
    /// Prints its interface as WIT, and nothing else.
    #[arg(long, conflicts_with_all = ["load", "json"])]
    wit: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Makes it ready as the server would, and tells what that takes and whether decisions can start from an image.
    #[arg(long)]
    load: bool,
    /// Settings for `--load`, as TOML; default: what a built-in is told by default, else none.
    #[arg(long, value_name = "FILE", requires = "load")]
    settings: Option<PathBuf>,
}

impl Inspect {
    pub(super) async fn execute(self) -> Result<u8, CliError> {
        let source = match self.component.strip_prefix("builtin:") {
            Some(name) => ComponentSource::Builtin(name.to_owned()),
            None => ComponentSource::File(PathBuf::from(&self.component)),
        };
        let wrong = |error: InspectError| CliError::Cases(format!("{}: {}", self.component, with_causes(&error)));
        let text = if self.wit {
            policy::interface(&source).map_err(wrong)?
        } else {
            let inspected = policy::inspect(&source).map_err(wrong)?;
            let loaded = if self.load { Some(self.loaded(&source).await?) } else { None };
            if self.json { self.object(&inspected, loaded.as_ref()) } else { self.page(&inspected, loaded.as_ref()) }
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
        Ok(exit::OK)
    }

    async fn loaded(&self, source: &ComponentSource) -> Result<Loaded, CliError> {
        let wrong = |what: String| CliError::Cases(format!("{}: {what}", self.component));
        let settings = match &self.settings {
            Some(file) => policy_test::from_file(file).map_err(|what| wrong(format!("{} {what}", file.display())))?,
            None => policy_test::default_settings(source).map_err(wrong)?,
        };
        let engine = Engine::new(&Limits::built_in()).map_err(|error| wrong(with_causes(&error)))?;
        let loaded = policy::load(&engine, &entry(source, settings)).await;
        loaded.map_err(|error| match error {
            InspectError::Load(LoadError::Settings(errors)) => {
                CliError::Cases(settings_lines(&format!("{}: settings", self.component), &errors).join("\n"))
            }
            error => wrong(with_causes(&error)),
        })
    }

    fn page(&self, inspected: &Inspected, loaded: Option<&Loaded>) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| _ = writeln!(text, "{key:12} {}", printable(value));
        line("component", &self.component);
        inspected.metadata.iter().for_each(|(key, value)| line(key, value));
        line("size", &format!("{} KiB", inspected.bytes.div_ceil(1024)));
        line("judges", &judges(inspected));
        if !inspected.has_settings {
            line("settings", "can not be told any, so it is no policy of this contract");
        } else if let Some(schema) = &inspected.schema {
            line("settings", &keys(schema));
        } else {
            line("settings", "without a schema: only the policy knows them");
        }
        for (index, import) in inspected.imports.iter().enumerate() {
            let sign = if import.is_offered { "" } else { "REFUSED  " };
            line(if index == 0 { "imports" } else { "" }, &format!("{sign}{}: {}", import.name, import.gives));
        }
        for export in &inspected.other_exports {
            line("exports too", export);
        }
        if let Some(loaded) = loaded {
            line("compiled", &format!("in {} ms", loaded.compiling.as_millis()));
            match (&loaded.freezing, loaded.image_bytes) {
                (Ok(time), Some(bytes)) => {
                    line("frozen", &format!("in {} ms, to an image of {} KiB", time.as_millis(), bytes.div_ceil(1024)));
                }
                (Ok(_), None) => {}
                (Err(why), _) => line("not frozen", &format!("{why}; it is configured anew for each decision")),
            }
        }
        text
    }

    fn object(&self, inspected: &Inspected, loaded: Option<&Loaded>) -> String {
        let metadata: serde_json::Map<String, Value> =
            inspected.metadata.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect();
        let import = |import: &Import| json!({ "name": import.name, "offered": import.is_offered, "gives": import.gives });
        let mut object = json!({
            "component": self.component,
            "bytes": inspected.bytes,
            "metadata": metadata,
            "hooks": inspected.hooks,
            "other_exports": inspected.other_exports,
            "imports": inspected.imports.iter().map(import).collect::<Vec<_>>(),
            "settings_schema": inspected.schema,
        });
        if let Some(loaded) = loaded {
            let millis = |time: &std::time::Duration| time.as_secs_f64() * 1000.0;
            object["load"] = json!({
                "compile_ms": millis(&loaded.compiling),
                "freeze_ms": loaded.freezing.as_ref().ok().map(millis),
                "image_bytes": loaded.image_bytes,
                "not_frozen": loaded.freezing.as_ref().err(),
            });
        }
        format!("{object}\n")
    }
}

fn judges(inspected: &Inspected) -> String {
    match inspected.hooks.as_slice() {
        [] => "nothing: it exports none of portcullis:policy/command, input and output @0.1.0".to_owned(),
        hooks => hooks.join(", "),
    }
}

/// The keys at the top, with what the schema says of each.
fn keys(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let keys: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    if keys.is_empty() { "takes none".to_owned() } else { format!("{} (`--json` prints the schema)", keys.join(", ")) }
}

fn entry(source: &ComponentSource, settings: Value) -> PolicyEntry {
    let name = match source {
        ComponentSource::Builtin(name) => name.clone(),
        ComponentSource::File(path) => path.file_stem().unwrap_or(Path::new("policy").as_os_str()).to_string_lossy().into_owned(),
    };
    PolicyEntry {
        name,
        component: source.clone(),
        sha256: None,
        mode: Mode::Enforce,
        may_rewrite: true,
        apply: Apply::Stream,
        on_fault: OnFault::default(),
        grants: Grants::default(),
        settings,
    }
}
