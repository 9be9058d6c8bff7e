//! What the configuration takes from outside the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A policy that is part of the binary.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// What follows `builtin:` in a file.
    pub name: &'static str,
    /// TOML of the settings it gets where its entry has no `settings` key; empty for none.
    pub default_settings: &'static str,
}

/// What the configuration takes from outside the file, given by value, so that tests change no state of the process. `Debug` shows
/// no values of variables.
pub struct Surroundings {
    /// The server's own variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The directory the server was started in, or why it can not be told.
    pub cwd: io::Result<PathBuf>,
    /// The user's home directory, if it is known.
    pub home: Option<PathBuf>,
    /// The user the server runs as.
    pub uid: u32,
    /// The file that overrides every other.
    pub administrators_file: PathBuf,
    /// The user who must own the administrator's file.
    pub administrator: u32,
    /// The policies that `builtin:NAME` can name.
    pub builtins: Vec<Builtin>,
}

impl Surroundings {
    /// Those of this process: its variables, directory and effective user, `/etc/portcullis/config.toml` owned by root.
    pub fn from_process(builtins: Vec<Builtin>) -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            cwd: std::env::current_dir(),
            home: std::env::home_dir(),
            uid: rustix::process::geteuid().as_raw(),
            administrators_file: PathBuf::from("/etc/portcullis/config.toml"),
            administrator: 0,
            builtins,
        }
    }

    /// A variable as it is.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The home directory, unless it is relative: then it would lead into whatever directory the server was started in.
    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref().filter(|home| home.is_absolute())
    }

    /// `$XDG_CONFIG_HOME/portcullis` or `~/.config/portcullis`.
    pub(super) fn config_directory(&self) -> Option<PathBuf> {
        self.user_directory("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_STATE_HOME/portcullis` or `~/.local/state/portcullis`.
    pub(super) fn state_directory(&self) -> Option<PathBuf> {
        self.user_directory("XDG_STATE_HOME", ".local/state")
    }

    /// `$XDG_CACHE_HOME/portcullis` or `~/.cache/portcullis`.
    pub(super) fn cache_directory(&self) -> Option<PathBuf> {
        self.user_directory("XDG_CACHE_HOME", ".cache")
    }

    /// A relative `XDG_…` counts as not set: the XDG specification wants that, and nothing may come from the working directory.
    fn user_directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from);
        named
            .filter(|dir| dir.is_absolute())
            .or_else(|| self.home().map(|home| home.join(below_home)))
            .map(|dir| dir.join("portcullis"))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("variables", &self.variables.keys())
            .field("cwd", &self.cwd)
            .field("home", &self.home)
            .field("uid", &self.uid)
            .field("administrators_file", &self.administrators_file)
            .field("administrator", &self.administrator)
            .field("builtins", &self.builtins)
            .finish()
    }
}
