//! For authors of portcullis policies.
//!
//! A policy is a type that is made from its settings and answers the hooks it names; `wit/policy.wit` is the contract.
//!
//! ```
//! use portcullis_sdk::{CommandPolicy, Policy, Request, SettingsErrors, Verdict, export};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Settings { forbidden: String }
//! struct Forbid(String);
//!
//! impl Policy for Forbid {
//!     type Settings = Settings;
//!     fn configure(settings: Settings) -> Result<Self, SettingsErrors> { Ok(Self(settings.forbidden)) }
//! }
//! impl CommandPolicy for Forbid {
//!     fn evaluate(&self, request: &Request) -> Verdict {
//!         match request.command() {
//!             Some(command) if command.program == self.0 => Verdict::deny("forbidden", format!("{} is forbidden here", self.0)),
//!             _ => Verdict::Abstain,
//!         }
//!     }
//! }
//! export!(Forbid: command);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib` compiled for `wasm32-wasip2`. Its unit tests are ordinary native tests; [`harness`] plays the host.
//!
//! `configure` runs once and its memory is the image that every decision starts from: compile and precompute there, prefer
//! `BTreeMap` (a `HashMap` asks for random numbers), and do not print, since that keeps a stream of the host open and the
//! policy is then configured anew for each decision; use [`log`].

pub mod bindings;
pub mod glue;
#[cfg(not(target_family = "wasm"))]
pub mod harness;
pub mod log;
mod matching;
mod settings;
mod variables;
mod verdict;

use serde::de::DeserializeOwned;

pub use bindings::command::exports::portcullis::policy::command::{Edit, Edited, Rewrite, Verdict};
pub use bindings::common::exports::portcullis::policy::settings::SettingsError;
pub use bindings::common::portcullis::policy::types::{
    Argument, Client, Constructs, Expansion, Job, Launch, Node, NodeKind, Place, Program, Reason, Redirect, RedirectMode,
    Request, Role, Word,
};
pub use bindings::input::exports::portcullis::policy::input::InputVerdict;
pub use bindings::output::exports::portcullis::policy::output::{Action, Boundary, Emission, Finding, StreamKind, Trigger};
pub use matching::{Invocation, Match};
pub use schemars;
pub use settings::read as read_settings;
pub use variables::variables;
pub use verdict::{Simple, literal};

/// All that is wrong with a policy's settings.
pub type SettingsErrors = Vec<SettingsError>;

/// What every policy is: something made from settings.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The settings of the policy's entry. Keys that it does not know are refused without further ado; use `()`-like empty
    /// structs for a policy without settings.
    type Settings: DeserializeOwned;

    /// Makes the policy; called once, at load. Do all that is costly here, and leave nothing of the host open.
    ///
    /// # Errors
    ///
    /// All that is wrong at once, each with its path; the server then does not start.
    fn configure(settings: Self::Settings) -> Result<Self, SettingsErrors>;
}

/// A policy that judges commands.
pub trait CommandPolicy: Policy {
    /// Judges one form of one command; must depend on nothing but settings and request. A panic denies.
    fn evaluate(&self, request: &Request) -> Verdict;
}

/// A policy that judges what is written to a job's standard input.
pub trait InputPolicy: Policy {
    /// `pending` is what was sent since the last newline, `data` what would be written now. A panic denies.
    fn evaluate(&self, job: &Job, pending: &[u8], data: &[u8]) -> InputVerdict;
}

/// A policy that filters output.
pub trait OutputPolicy: Policy {
    /// One per stream of a job.
    type Filter: Filter;

    /// Byte strings that a line must contain to be of interest, at most 1024; empty: the filter sees everything.
    fn triggers(&self) -> Vec<Trigger>;

    /// A filter for a new stream; `job` is none for texts of the host, such as reasons and log lines.
    fn filter(&'static self, job: Option<Job>, stream: StreamKind) -> Self::Filter;
}

/// The state of one filtered stream.
pub trait Filter: 'static {
    /// Judges the next piece; the contract's `filter.push`. A panic withholds the output.
    fn push(&mut self, before: &[u8], bytes: &[u8], boundary: Boundary) -> Action;
}

/// Makes a policy the exports of this component: `export!(Harden: command)`, or any of `command`, `input` and `output` with
/// commas between them. Once per crate.
#[macro_export]
macro_rules! export {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        const _: () = {
            #[allow(unsafe_code, reason = "symbols that the component model calls")]
            mod exported {
                use super::*;

                #[cfg(target_family = "wasm")]
                type Exports = $crate::glue::Exports<$policy>;

                impl $crate::glue::Configured for $policy {
                    fn slot() -> &'static ::std::sync::OnceLock<Self> {
                        static SLOT: ::std::sync::OnceLock<$policy> = ::std::sync::OnceLock::new();
                        &SLOT
                    }
                }

                // Elsewhere their names are none that a linker takes; the policy counts as used all the same.
                #[cfg(not(target_family = "wasm"))]
                const _: fn(<$policy as $crate::Policy>::Settings) -> Result<$policy, $crate::SettingsErrors> =
                    <$policy as $crate::Policy>::configure;
                #[cfg(target_family = "wasm")]
                $crate::bindings::common::export_settings!(Exports with_types_in $crate::bindings::common);
                $(
                    #[cfg(target_family = "wasm")]
                    $crate::export_hook!($hook);
                )+
            }
        };
    };
}

/// One hook of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    (command) => { $crate::bindings::command::export_command!(Exports with_types_in $crate::bindings::command); };
    (input) => { $crate::bindings::input::export_input!(Exports with_types_in $crate::bindings::input); };
    (output) => { $crate::bindings::output::export_output!(Exports with_types_in $crate::bindings::output); };
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
