//! All integration tests of the host, in one binary: the built program, real policies, real processes. Offline, in parallel.

// What the suites share: scenes, servers, golden files.
mod support;

mod suites {
    // Projects of policies: written, built, and what is said where a tool is not there.
    mod authors;
    // The audit log: its chain, several writers, rotation, and the verbs that read it.
    mod audit;
    // The command line: exit codes, streams, the audit log, signals, help.
    mod cli;
    // Commands that must not do what they would, executed for real, and commands that must just work.
    mod corpora;
    // Commands that execute nothing but what policies name, by the kernel.
    mod confine;
    // What a job is told while it runs: input, signals, stops, the size of its terminal.
    mod control;
    // Configurations that must not start anything, and what is said about them.
    mod config;
    // What outlives the server of its jobs.
    mod history;
    // The server over HTTP: who is let in, whose jobs are whose, limits, and its end.
    mod http;
    // Its door: strangers, clients that read nothing, requests that two would read differently, files of tokens.
    mod http_door;
    // Its sessions and principals: how many there may be, what ends with a session or a token, whose turn it is.
    mod http_members;
    // Rules of other gates as settings of the real allowlist.
    mod import;
    // Output on its way through real filters.
    mod filters;
    // Policies that misbehave, and the exact cause of each denial.
    mod guests;
    // What mcp-background-job gets wrong and what is right here, a test per row.
    mod jobs;
    // The server through rmcp's own client, in both eras of the protocol.
    mod mcp;
    // The verdict `ask`: who is asked, how, and what an answer is worth.
    mod mcp_ask;
    // Jobs as resources, subscriptions, progress, cancelled waits, prompts and completion.
    mod mcp_resources;
    // Calls that become tasks, and the texts that models read.
    mod mcp_tasks;
    // What authors of policies see: cases, components, figures, schemas.
    mod policy_test;
    // Reading what jobs print, and jobs that wait for their turn.
    mod output;
    // The server in lines of JSON: what no well-behaved client sends.
    mod raw;
    // Many jobs at once, read and killed at random.
    mod soak;
    // What only a kernel keeps that counts the processes of groups.
    mod kernel;
    // What a job starts with, and that nothing of it is left.
    mod start;
    // Policies pinned, changed while the server runs, and tried without effect.
    mod reload;
    // Hostile and ordinary repositories, with git itself.
    mod repositories;
}

/// New projects and the examples in all languages, as their authors build and test them; that in Rust is in `suites::authors` too.
#[test]
#[ignore = "needs Node, Python and their component tools: left to .ci/run, which runs tests/authors/run"]
fn policies_of_authors() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/authors/run");
    assert!(std::process::Command::new(run).arg(env!("CARGO_BIN_EXE_portcullis")).status().unwrap().success());
}

/// The clients of others speak for themselves: Python's `mcp` and the MCP inspector.
#[test]
#[ignore = "needs Python, Node and their MCP clients: left to .ci/run, which runs tests/clients/run"]
fn clients_of_others() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/run");
    assert!(std::process::Command::new(run).arg(env!("CARGO_BIN_EXE_portcullis")).status().unwrap().success());
}
