//! The server that the official conformance suite looks at: the real one over HTTP, with [`fixtures`] in front of it, since the
//! suite calls tools, resources and prompts by names of its own.
//!
//! ```text
//! conformance DIRECTORY
//! ```
//!
//! DIRECTORY is empty and outside of the working directory, which is the root of all jobs. It gets the configuration and what
//! belongs to it, and a file `address` that says where the server is, once it is there.

mod fixtures;

use std::{
    error::Error,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use portcullis::{
    config::{self, Surroundings},
    jobs, mcp, policy,
    service::{Execution, Service},
    signals::Signals,
};

use fixtures::{ASKED, Fixtures};

/// The program that a person is asked about: takes so many seconds, and prints the rest of what it is told.
const PROGRAM: &str = "#!/bin/sh\nsleep \"$1\"; shift; echo \"$*\"\n";
/// Lets through what the fixtures run and nothing else, and asks about [`PROGRAM`].
const CONFIG: &str = r#"
[jobs]
path = ["DIRECTORY/bin", "/usr/bin", "/bin"]

[ask]
trust_client = true

[[policies]]
name = "allowlist"
component = "builtin:allowlist"
[policies.settings]
scripts.constructs = ["sequence"]
programs.echo.operands = { kind = "any" }
programs.ASKED.operands = { kind = "any" }
programs.sleep.operands = { kind = "any" }

[[policies]]
name = "asking"
component = "asking.wasm"
settings = { command = "ask", only = "ASKED" }

[[policies]]
name = "redact"
component = "builtin:redact"
"#;

fn main() -> ExitCode {
    if let Some(code) = jobs::keep().or_else(jobs::start_program) {
        return code;
    }
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("name a directory outside of this one for the configuration; tests/conformance/run does");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("there are threads");
    let served = runtime.block_on(serve(Path::new(&directory)));
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes.
async fn serve(directory: &Path) -> Result<(), Box<dyn Error>> {
    let (bin, file) = (directory.join("bin"), directory.join("config.toml"));
    fs::create_dir(&bin)?;
    fs::write(bin.join(ASKED), PROGRAM)?;
    fs::set_permissions(bin.join(ASKED), Permissions::from_mode(0o755))?;
    fs::write(directory.join("asking.wasm"), portcullis_guests::MISBEHAVING)?;
    fs::write(&file, CONFIG.replace("ASKED", ASKED).replace("DIRECTORY", &directory.to_string_lossy()))?;
    let config =
        config::load(Some(&file), &Surroundings::from_process(policy::builtins())).map_err(|mistakes| mistakes.to_string())?;
    let service = Service::open(&config, Execution::Real)?;
    let address = "127.0.0.1:0".parse()?;
    let (keys, door) = (Arc::new(mcp::Keys::of(&address, &config.http)?), mcp::Door::open(&address, &config.jobs.roots)?);
    service.adopt(&config).await?;
    fs::write(directory.join("address"), format!("{}/mcp\n", door.address()))?;
    mcp::serve_http(service, door, keys, &config, async { Ok(()) }, Signals::catch()?, Fixtures).await?;
    Ok(())
}
