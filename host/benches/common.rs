//! What the benchmarks share: the default configuration in a scratch folder.

#![allow(dead_code, reason = "each benchmark takes what it needs")]

use std::path::Path;

use portcullis::{
    config::{self, Config, Surroundings},
    policy::{Chain, Request, builtins, types},
    script::{Script, Site},
};

/// A multi-threaded runtime with two threads, as on the two cores the figures are for.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// The embedded configuration, with job root, cache and audit log below `folder`.
pub fn config(folder: &Path) -> Config {
    let root = folder.join("root");
    std::fs::create_dir_all(&root).expect("a root");
    // What git would read is judged with every call of git.
    let is_made = std::process::Command::new("git").args(["init", "--quiet"]).current_dir(&root).status();
    assert!(is_made.is_ok_and(|status| status.success()), "a repository in the root");
    let mut surroundings = Surroundings::from_process(builtins());
    surroundings.cwd = Ok(root);
    surroundings.administrators_file = folder.join("no-such-file");
    for (name, below) in [("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"), ("XDG_CONFIG_HOME", "config")] {
        surroundings.variables.insert(name.into(), folder.join(below).into());
    }
    config::load(None, &surroundings).expect("the embedded configuration")
}

/// With one more pack of the allowlist.
pub fn with_pack(mut config: Config, pack: &str) -> Config {
    let allowlist = config.policies.iter_mut().find(|entry| entry.name == "allowlist").expect("the allowlist");
    let packs = allowlist.settings["include"].as_array_mut().expect("packs");
    packs.push(pack.into());
    config
}

/// With scripts that may write files inside the roots.
pub fn writing(mut config: Config) -> Config {
    let allowlist = config.policies.iter_mut().find(|entry| entry.name == "allowlist").expect("the allowlist");
    allowlist.settings["scripts"] = serde_json::json!({ "constructs": ["redirect-write"] });
    config
}

/// What names are resolved against.
pub fn site(config: &Config) -> Site {
    Site { roots: config.jobs.roots.clone(), path: config.jobs.path.clone() }
}

/// A request under this configuration.
pub async fn request(chain: &Chain, config: &Config, command: &str) -> Request {
    let site = site(config);
    let cwd = site.directory(&config.jobs.cwd).expect("a directory");
    let tree = chain.parser().parse(command).await.expect("a script");
    Request {
        script: Script::new(command.to_owned(), tree, &site, &cwd).expect("a script"),
        cwd,
        env: config.jobs.env.clone(),
        timeout: None,
        client: types::Client { principal: "local".to_owned(), name: "bench".to_owned(), version: String::new() },
    }
}

/// About `bytes` bytes of lines as builds and tests print them, without a trigger of the default filters.
pub fn log_lines(bytes: usize) -> Vec<u8> {
    const LINES: [&str; 8] = [
        "   Compiling serde_derive v1.0.229 (/usr/src/serde/serde_derive)\n",
        "test policy::stream::tests::a_partial_line_shows_at_once ... ok\n",
        "warning: unused variable: `count` in src/lib.rs:1042:17, use `_count` instead\n",
        "[2026-11-20 21:37:22.104] INFO  worker-3 finished batch 8812 of 10000 in 0.412 s\n",
        "drwxr-xr-x  12 root root     4096 Nov 20 21:29 include/x86_64-linux-gnu/openssl\n",
        "+        assert_eq!(found.len(), expected.len(), \"in {line}\");\n",
        "commit 8a3b16c17e4d813c65823a4c908070f6cf6e2f50 (HEAD -> main, origin/main)\n",
        "PASS src/components/list/list.test.tsx (5.114 s), 14 passed, 0 failed, 14 total\n",
    ];
    LINES.iter().cycle().flat_map(|line| line.bytes()).take(bytes).collect()
}
