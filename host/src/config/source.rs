//! Which text is the configuration, and whether it can be trusted.

use std::io;
use std::path::{Path, PathBuf};

use super::mistakes::{Fault, Report};
use super::places::{self, Trail, Trust};
use super::surroundings::Surroundings;
use super::{EMBEDDED, Origin, seed};
use crate::files;

/// Names the file where there is no `--config`.
const VARIABLE: &str = "PORTCULLIS_CONFIG";

/// Bytes of a file. Against a mistyped path: what is longer is no configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The text that holds.
pub(super) struct Source {
    pub origin: Origin,
    pub text: String,
    /// The way to the file; none for the built-in configuration.
    pub trail: Option<Trail>,
    /// What does not count because of this one.
    pub overridden: Vec<String>,
}

/// Chooses the source and reads it. A file that can be read but not be trusted is reported and read all the same, so that its other
/// mistakes show too.
pub(super) fn choose(explicit: Option<&Path>, surroundings: &Surroundings, report: &mut Report) -> Option<Source> {
    let origin = origin(explicit, surroundings, report)?;
    let overridden = overridden(&origin, explicit, surroundings);
    let (path, owner) = match &origin {
        Origin::Administrator(path) => (path, surroundings.administrator),
        Origin::File(path) => (path, surroundings.uid),
        Origin::Embedded => {
            return Some(Source { origin, text: EMBEDDED.to_owned(), trail: None, overridden });
        }
    };
    report.file = Some(path.clone());
    let trail = report.keep("", places::trail(path))?;
    report.depends_on(&trail);
    for fault in (Trust { owner }).faults(&trail) {
        report.add("", fault);
    }
    let text = report.keep("", read(&trail.end))?;
    Some(Source { origin, text, trail: Some(trail), overridden })
}

/// The first source there is. One that is named and does not exist is a mistake, not a reason to take the next.
fn origin(explicit: Option<&Path>, surroundings: &Surroundings, report: &mut Report) -> Option<Origin> {
    let administrators = &surroundings.administrators_file;
    if is_there(report, administrators)? {
        return Some(Origin::Administrator(administrators.clone()));
    }
    if let Some(path) = explicit {
        let path = report.keep("--config", from_cwd(path, surroundings))?;
        return named(report, "--config", path);
    }
    if let Some(value) = surroundings.variable(VARIABLE) {
        let path = places::absolute(Path::new(value), surroundings.home());
        let path = report.keep(VARIABLE, path)?;
        return named(report, VARIABLE, path);
    }
    match users_file(surroundings) {
        Some(path) if is_there(report, &path)? => Some(Origin::File(path)),
        _ => Some(Origin::Embedded),
    }
}

fn named(report: &mut Report, by: &str, path: PathBuf) -> Option<Origin> {
    if is_there(report, &path)? {
        return Some(Origin::File(path));
    }
    let wrong = format!("{} does not exist", path.display());
    report.add(by, Fault::new(wrong, "must name an existing file"));
    None
}

fn users_file(surroundings: &Surroundings) -> Option<PathBuf> {
    surroundings.config_directory().map(|dir| dir.join("config.toml"))
}

fn from_cwd(path: &Path, surroundings: &Surroundings) -> Result<PathBuf, Fault> {
    if path.as_os_str().is_empty() {
        return Err(Fault::new("is empty", "must name an existing file"));
    }
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    match &surroundings.cwd {
        Ok(cwd) => Ok(cwd.join(path)),
        Err(error) => Err(Fault::new(format!("the current directory is not known: {error}"), "must be an absolute path")),
    }
}

/// Whether something has this name, be it a dangling link; none and a mistake where that can not be told, since a file that is
/// hidden must not count as absent.
fn is_there(report: &mut Report, path: &Path) -> Option<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Some(true),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Some(false),
            _ => {
                let wrong = format!("whether {} exists can not be told: {error}", path.display());
                let right = "its directories must be such that the server's user can enter them";
                report.add("", Fault::new(wrong, right));
                None
            }
        },
    }
}

/// What someone may expect to count and does not.
fn overridden(origin: &Origin, explicit: Option<&Path>, surroundings: &Surroundings) -> Vec<String> {
    let mut list = Vec::new();
    if let Origin::Administrator(_) = origin {
        list.extend(explicit.map(|path| format!("--config {}", path.display())));
        let variable = surroundings.variable(VARIABLE);
        list.extend(variable.map(|value| format!("{VARIABLE}={}", value.display())));
        let users = users_file(surroundings).filter(|path| path.exists());
        list.extend(users.map(|path| path.display().to_string()));
    }
    if *origin != Origin::Embedded {
        let set = seed::NAMES.iter().filter(|name| surroundings.variable(name).is_some());
        list.extend(set.map(|name| (*name).to_owned()));
    }
    list
}

fn read(path: &Path) -> Result<String, Fault> {
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            Fault::new("is too long for a configuration", format!("must be at most {MAX_FILE_BYTES} bytes"))
        }
        _ => Fault::new(format!("can not be read: {error}"), "must be a regular file that the server's user can read"),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Fault::new(format!("is not UTF-8 at byte {at}"), "must be UTF-8")
    })
}
