//! portcullis: the gate between AI agents and an organisation's machines.
//!
//! ```text
//! command   mcp::tools ─▶ service ─▶ policy::Parser ─▶ script ─▶ policy::Chain::decide ─▶ jobs::Registry::submit ─▶ keeper ─▶ process
//! output    mcp::tools ◀─ service ◀─ jobs::output ◀─ pump task: read ≤ 64 KiB ─▶ OutputFilter ⇒ Chunk
//! input     mcp::tools ─▶ service ─▶ policy::Chain::decide_input ─▶ jobs: stdin
//! ```
//!
//! Calls go one way: `cli, mcp → service → {script, policy, jobs, audit}`, and `policy` asks `script` to apply edits. Only `policy`
//! can make an [`policy::Approved`], an [`policy::ApprovedInput`] and a [`policy::Chunk`]; `jobs` starts, writes and keeps nothing
//! else. Leaving a policy out does not compile.

pub mod audit;
pub mod cli;
pub mod config;
pub mod digest;
pub mod fence;
pub mod files;
pub mod jobs;
pub mod mcp;
pub mod policy;
pub mod policy_test;
pub mod principal;
pub mod script;
pub mod service;
pub mod signals;
