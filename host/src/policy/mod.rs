//! Policies: sandboxed components that judge commands and input and filter output.
//!
//! [`Chain`] asks them all and joins what they say. It alone makes the proofs that the rest of the program demands: [`Approved`]
//! to start anything, [`ApprovedInput`] to write to it, [`Chunk`] to show what it prints.

mod bindings;
mod cache;
mod chain;
mod conditions;
mod consent;
mod coverage;
mod decision;
mod engine;
mod files;
mod findings;
mod inspect;
mod limits;
mod load;
mod log_sink;
mod parser;
mod piece;
mod schema;
mod stream;
mod triggers;

pub use bindings::{output::StreamKind, settings::SettingsError, types};
pub use cache::{Cache, CacheError};
pub use chain::{Chain, ChainError, EntryError, MOST_INPUT_BYTES, asking, is_rewritten};
pub use conditions::{Conditions, Image, Reached, World};
pub use consent::{Consent, Form, Pending};
pub use coverage::Functions;
pub use decision::{
    Answer, Approved, ApprovedInput, Decision, Denial, InputDecision, InputJudgement, Judgement, Request, VerdictKind,
};
pub use engine::{Engine, EngineError};
pub use findings::Findings;
pub use inspect::{Import, InspectError, Inspected, Loaded, inspect, interface, load};
pub use limits::Fault;
pub use load::{LoadError, builtin_schemas, builtins, rules};
pub use parser::Parser;
pub use piece::{PIECE_BYTES, Piece};
pub use schema::SchemaError;
pub use stream::{Chunk, OutputFilter, is_hidden, printable, printable_bytes};
pub use triggers::{Trigger, TriggerError, Triggers};
