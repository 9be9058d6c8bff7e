//! `portcullis policy new`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::cli::{CliError, exit};

/// What names of policies are, as [`is_name`] has them.
pub(super) const NAMES: &str = "1 to 64 of a-z, 0-9 and -, with a letter first";
/// Longest name, in bytes.
const MOST_NAME: usize = 64;
/// What stands for the name in files, and in their paths.
const NAME: &str = "NAME_OF_POLICY";

/// Writes the project of a policy: one rule, its tests, and all that building it needs besides the language's own tools.
#[derive(Debug, Args)]
#[command(after_help = "\
The policy refuses programs that its settings name; README.md in it says what is what. What a newcomer does next:

  portcullis policy new forbid --lang rust
  cd forbid
  portcullis policy build
  portcullis policy test tests

Exit codes: 0 written, 3 there is something of that name already, or it is no name.")]
pub struct New {
    /// Its name, and that of the directory: 1 to 64 of a-z, 0-9 and -, with a letter first.
    #[arg(value_name = "NAME")]
    name: String,
    /// The language.
    #[arg(long, value_enum)]
    lang: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Rust,
    Js,
    Python,
}

/// A file of a project: its path in it, and what is in it.
type File = (&'static str, &'static str);

/// The contract, as the tools of all languages want it.
const CONTRACT: &str = include_str!("../../../../wit/policy.wit");
const LICENCE: &str = include_str!("../../../../LICENSE");

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("new/", $path))
    };
}
macro_rules! sdk {
    ($($path:literal),+ $(,)?) => {
        [$((concat!("sdk/", $path), include_str!(concat!("../../../../policies/sdk/", $path)))),+]
    };
}

const RUST: [File; 6] = [
    ("Cargo.toml", template!("rust/Cargo.toml.template")),
    ("src/lib.rs", template!("rust/lib.rs")),
    ("settings.schema.json", template!("rust/settings.schema.json")),
    ("tests/NAME_OF_POLICY.cases.toml", template!("cases.toml")),
    ("README.md", template!("rust/README.md")),
    (".gitignore", "/target\n/*.wasm\n"),
];

/// The SDK has no registry to come from: it comes with the project, as it is in this program's own sources.
const SDK: [File; 13] = sdk![
    "Cargo.toml",
    "README.md",
    "src/bindings.rs",
    "src/glue.rs",
    "src/harness.rs",
    "src/harness/item.rs",
    "src/harness/schema.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/matching.rs",
    "src/settings.rs",
    "src/variables.rs",
    "src/verdict.rs",
];

const JAVASCRIPT: [File; 9] = [
    ("package.json", template!("javascript/package.json")),
    ("src/policy.js", template!("javascript/policy.js")),
    ("src/portcullis.js", include_str!("../../../../policies/examples/commit-ticket/src/portcullis.js")),
    ("settings.schema.json", template!("javascript/settings.schema.json")),
    ("tests/host.js", include_str!("../../../../policies/examples/commit-ticket/tests/host.js")),
    ("tests/policy.test.js", template!("javascript/policy.test.js")),
    ("tests/NAME_OF_POLICY.cases.toml", template!("cases.toml")),
    ("README.md", template!("javascript/README.md")),
    (".gitignore", "node_modules/\n/*.wasm\n"),
];

const PYTHON: [File; 10] = [
    ("pyproject.toml", template!("python/pyproject.toml")),
    ("requirements.txt", include_str!("../../../../policies/examples/customer-names/requirements.txt")),
    ("app.py", template!("python/app.py")),
    ("portcullis.py", include_str!("../../../../policies/examples/customer-names/portcullis.py")),
    ("settings.schema.json", template!("python/settings.schema.json")),
    ("tests/harness.py", include_str!("../../../../policies/examples/customer-names/tests/harness.py")),
    ("tests/test_policy.py", template!("python/test_policy.py")),
    ("tests/NAME_OF_POLICY.cases.toml", template!("cases.toml")),
    ("README.md", template!("python/README.md")),
    (".gitignore", ".venv/\n__pycache__/\nbindings/\n/*.wasm\n"),
];

impl New {
    pub(super) fn execute(self) -> Result<u8, CliError> {
        if !is_name(&self.name) {
            return Err(CliError::Cases(format!("{:?} can not be the name of a policy: it must be {NAMES}", self.name)));
        }
        let project = PathBuf::from(&self.name);
        write(&project, &self.name, self.lang.files())
            .map_err(|error| CliError::Cases(format!("{}: could not be written: {error}", self.name)))?;
        let next = self.lang.next().replace(NAME, &self.name);
        _ = writeln!(io::stdout(), "{}/ is written; README.md in it says what is what\n\n  cd {}\n{next}", self.name, self.name);
        Ok(exit::OK)
    }
}

impl Language {
    fn files(self) -> Vec<File> {
        match self {
            Self::Rust => {
                RUST.into_iter().chain(SDK).chain([("sdk/wit/policy.wit", CONTRACT), ("sdk/LICENSE", LICENCE)]).collect()
            }
            Self::Js => JAVASCRIPT.into_iter().chain([("wit/policy.wit", CONTRACT)]).collect(),
            Self::Python => PYTHON.into_iter().chain([("wit/policy.wit", CONTRACT)]).collect(),
        }
    }

    /// What to type next.
    fn next(self) -> &'static str {
        match self {
            Self::Rust => template!("rust/next.txt"),
            Self::Js => template!("javascript/next.txt"),
            Self::Python => template!("python/next.txt"),
        }
    }
}

/// Whether this can name a policy, its directory and its component.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= MOST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Into a directory that was not there before.
fn write(project: &Path, name: &str, files: Vec<File>) -> io::Result<()> {
    fs::create_dir(project)?;
    for (path, text) in files {
        let file = project.join(path.replace(NAME, name));
        fs::create_dir_all(file.parent().unwrap_or(project))?;
        OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.replace(NAME, name).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_project_gets_all_of_the_sdk() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/sdk");
        let mut found = BTreeSet::new();
        let mut waiting = vec![sdk.join("src")];
        while let Some(directory) = waiting.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { waiting.push(path) } else { _ = found.insert(path.strip_prefix(&sdk).unwrap().to_owned()) }
            }
        }
        let written = SDK.iter().map(|(path, _)| PathBuf::from(path.strip_prefix("sdk/").unwrap()));
        assert_eq!(written.filter(|path| path.starts_with("src")).collect::<BTreeSet<_>>(), found);
    }

    #[test]
    fn names_are_fit_for_files_and_crates() {
        for name in ["forbid", "a", "no-push-2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-x", "2x", "No", "a_b", "a/b", "..", "ä", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
