//! For build scripts: compiles policy crates of this workspace to components and puts them where `include_bytes!` finds them.
//!
//! A build script calls [`embed`] once:
//!
//! ```no_run
//! # use portcullis_policy_build::{Package, embed};
//! embed(&[Package { name: "portcullis-redact", dir: "policies/redact" }]);
//! ```
//!
//! and the crate it belongs to says `include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-redact.wasm"))`. So no binary is
//! committed and none is older than its source. Every failure ends the build with one line that says what to do.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// What policies are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// The file with the JSON Schema of a policy's settings, beside its `Cargo.toml`, if it has one.
const SCHEMA_FILE: &str = "settings.schema.json";

/// The custom section of a component that holds it.
const SCHEMA_SECTION: &str = "portcullis:settings-schema";

/// The workspace's profile for policies.
const PROFILE: &str = "policy";

/// What every policy is made of besides its own folder, relative to the workspace.
const COMMON_SOURCES: [&str; 6] = ["Cargo.toml", "Cargo.lock", "wit", "policies/arena", "policies/sdk", "policies/build"];

/// A package of this workspace that compiles to one component.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    /// The package's name; the component becomes `<name>.wasm`.
    pub name: &'a str,
    /// Its folder, relative to the root of the workspace.
    pub dir: &'a str,
}

/// Compiles the packages and copies the components to `OUT_DIR/<name>.wasm`; returns these paths, in order.
///
/// Tells cargo to run the build script again when the packages, the SDK or the contract change. Compiles in
/// `policies` below the target directory in use, so that it never waits for a lock of the cargo that called it. Adds the
/// compilation target with `rustup` if it is missing.
///
/// Ends the process, with one line for the user, if anything fails.
pub fn embed(packages: &[Package]) -> Vec<PathBuf> {
    match compile(packages) {
        Ok(paths) => {
            watch(packages);
            paths
        }
        Err(message) => {
            println!("cargo::error={message}");
            process::exit(1)
        }
    }
}

fn compile(packages: &[Package]) -> Result<Vec<PathBuf>, String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = own_target_dir(&out)?;
    ensure_target()?;
    build(packages, &target_dir)?;
    let built = target_dir.join(TARGET).join(PROFILE);
    packages.iter().map(|package| publish(package, &built, &out)).collect()
}

/// The root of the workspace that this crate is part of.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn watch(packages: &[Package]) {
    let root = workspace();
    for source in packages.iter().map(|package| package.dir).chain(COMMON_SOURCES) {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
}

/// `OUT_DIR` is `<target>/<profile>/build/<package>/out`, or one level deeper when cargo compiles for a named target; either
/// way the folder four levels up is cargo's own.
fn own_target_dir(out: &Path) -> Result<PathBuf, String> {
    let target = out.ancestors().nth(4).ok_or_else(|| format!("OUT_DIR is not one of cargo's: {}", out.display()))?;
    Ok(target.join("policies"))
}

fn ensure_target() -> Result<(), String> {
    if has_target()? {
        return Ok(());
    }
    // Whether it worked is seen in what is there afterwards; what it printed would bury the one line that helps.
    let _ = clean(&mut Command::new("rustup")).args(["target", "add", TARGET]).output();
    if has_target()? {
        return Ok(());
    }
    Err(format!("policies need the compilation target {TARGET}, which this toolchain lacks; type: rustup target add {TARGET}"))
}

fn has_target() -> Result<bool, String> {
    let rustc = variable("RUSTC")?;
    let output = clean(&mut Command::new(&rustc)).args(["--print", "target-libdir", "--target", TARGET]).output();
    let output = output.map_err(|error| failure("asking rustc for its targets", &error))?;
    let dir = String::from_utf8_lossy(&output.stdout);
    Ok(fs::read_dir(dir.trim()).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_std(&file.file_name())))))
}

fn is_std(file: &OsStr) -> bool {
    file.to_string_lossy().starts_with("libstd-")
}

fn build(packages: &[Package], target_dir: &Path) -> Result<(), String> {
    let mut cargo = Command::new(variable("CARGO")?);
    // The lock file is in step: the cargo that runs this script has just resolved the same workspace.
    clean(&mut cargo).current_dir(workspace()).args(["build", "--quiet", "--locked"]);
    cargo.args(["--profile", PROFILE, "--target", TARGET, "--target-dir"]).arg(target_dir);
    for package in packages {
        cargo.args(["--package", package.name]);
    }
    let output = cargo.output().map_err(|error| failure("starting cargo for the policies", &error))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("compiling the policies for {TARGET} failed ({}); the compiler's messages stand below", output.status))
}

fn publish(package: &Package, built: &Path, out: &Path) -> Result<PathBuf, String> {
    let from = built.join(format!("{}.wasm", package.name.replace('-', "_")));
    let to = out.join(format!("{}.wasm", package.name));
    let copied = |error| failure(&format!("copying {}", from.display()), &error);
    let mut component = fs::read(&from).map_err(copied)?;
    let schema = workspace().join(package.dir).join(SCHEMA_FILE);
    if schema.exists() {
        let schema = fs::read_to_string(&schema).map_err(|error| failure(&format!("reading {}", schema.display()), &error))?;
        component = with_section(component, SCHEMA_SECTION, &schema);
    }
    for (name, content) in metadata(&workspace().join(package.dir))? {
        component = with_section(component, name, &content);
    }
    fs::write(&to, component).map_err(copied)?;
    Ok(to)
}

/// What the standard sections of a component say of it, from its package.
fn metadata(dir: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let manifest = dir.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| failure(&format!("reading {}", manifest.display()), &error))?;
    let description = text.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'));
    let mut known = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("licenses", env!("CARGO_PKG_LICENSE").to_owned())];
    known.extend(description.map(|text| ("description", text.to_owned())));
    Ok(known)
}

/// A component that carries a text in a custom section at its end, such as the JSON Schema of its settings in
/// `portcullis:settings-schema`: there the host finds it without running anything. The same for any language, since nothing of the
/// component itself is touched.
pub fn with_section(mut component: Vec<u8>, name: &str, text: &str) -> Vec<u8> {
    let mut content = length(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(text.as_bytes());
    component.push(0);
    component.extend(length(content.len()));
    component.extend(content);
    component
}

/// A length in LEB128, as WebAssembly writes it.
fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Takes away what the outer cargo, clippy or rustdoc set for their own run, and leaves what belongs to the user: where
/// crates come from and which toolchain is meant.
fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if !is_kept(&name) {
            command.env_remove(&name);
        }
    }
    command
}

fn is_kept(name: &OsString) -> bool {
    const OF_THE_USER: [&str; 6] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "RUSTUP_"];
    const OF_THE_OUTER_RUN: [&str; 4] = ["CARGO", "RUST", "CLIPPY_", "__CARGO"];
    let name = name.to_string_lossy();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    name == "RUSTC" || starts(&OF_THE_USER) || !starts(&OF_THE_OUTER_RUN)
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set; this runs in build scripts only"))
}

fn failure(doing: &str, error: &dyn Display) -> String {
    format!("{doing}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_below_the_outer_one_and_not_the_same() {
        let own = own_target_dir(Path::new("/t/debug/build/portcullis-0123/out")).unwrap();
        assert_eq!(own, Path::new("/t/policies"));
        let own = own_target_dir(Path::new("/t/x86_64-unknown-linux-gnu/release/build/p-0/out")).unwrap();
        assert_eq!(own, Path::new("/t/x86_64-unknown-linux-gnu/policies"));
        assert!(own_target_dir(Path::new("/out")).is_err());
    }

    #[test]
    fn a_section_stands_behind_everything_else() {
        let component = with_section(b"\0asm".to_vec(), SCHEMA_SECTION, &"x".repeat(200));
        assert!(component.starts_with(b"\0asm\0\xe3\x01\x1aportcullis:settings-schemaxx"));
        assert_eq!(component.len(), 4 + 1 + 2 + 1 + SCHEMA_SECTION.len() + 200);
    }

    #[test]
    fn settings_of_the_outer_run_are_taken_away() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "CLIPPY_ARGS",
            "CARGO_PKG_NAME",
        ] {
            assert!(!is_kept(&name.into()), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "RUSTC", "CARGO_NET_OFFLINE", "RUSTUP_AUTO_INSTALL"] {
            assert!(is_kept(&name.into()), "{name}");
        }
    }
}
