//! `portcullis policy bench`.

use std::{fmt::Write as _, io::Write, path::Path, path::PathBuf, time::Duration};

use clap::Args;
use regex::Regex;
use serde_json::json;

use super::test::{configured, files};
use crate::{
    cli::{CliError, exit},
    policy::{Image, printable},
    policy_test::{self, Figures, Measured},
};

/// Measures how long policies take to decide the commands of cases, and how fast their filters are.
#[derive(Debug, Args)]
#[command(after_help = "\
Each command is decided again and again, as the server decides it: with policies whose decisions start from the image of their configured
memory (`frozen`), and with the same configured anew for each decision. Output of all cases is sent through the filters as one stream.

  portcullis policy bench tests
  portcullis policy bench --filter 'git log' --count 10000 tests/git.cases.toml")]
pub struct Bench {
    /// Files of cases, or directories: in them all that are called `*.cases.toml`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only cases whose name or command matches this regular expression.
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,
    /// How often each command is decided, 1 to 1000000.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Prints one JSON object a file.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) async fn execute(self, explicit: Option<&Path>) -> Result<u8, CliError> {
        let wants = |name: &str| self.filter.as_ref().is_none_or(|filter| filter.is_match(name));
        let mut is_empty = true;
        for file in files(&self.paths).map_err(CliError::Cases)? {
            let measured = policy_test::bench(&file, &|| configured(explicit), wants, self.count as usize).await;
            let measured = measured.map_err(|mistake| CliError::Cases(mistake.to_string()))?;
            if measured.commands == 0 && measured.bytes_per_second.is_none() {
                continue;
            }
            is_empty = false;
            let text = if self.json { object(&file, &measured) } else { page(&file, &measured) };
            std::io::stdout()
                .write_all(text.as_bytes())
                .map_err(|error| CliError::Failed(format!("could not write the result: {error}")))?;
        }
        match is_empty {
            true => {
                Err(CliError::Cases("there is no command and no output in these cases, or the filter matches none".to_owned()))
            }
            false => Ok(exit::OK),
        }
    }
}

fn page(file: &Path, measured: &Measured) -> String {
    let mut text = format!("{}: {} commands\n", printable(&file.display().to_string()), measured.commands);
    if !measured.decisions.is_empty() {
        _ = writeln!(text, "  {:32} {:10} {:>9} {:>9} {:>9} {:>9}", "", "", "p50", "p90", "p99", "longest");
    }
    for Figures { what, image, p50, p90, p99, longest } in &measured.decisions {
        let (p50, p90, p99, longest) = (shown(*p50), shown(*p90), shown(*p99), shown(*longest));
        _ = writeln!(text, "  {:32} {:10} {p50:>9} {p90:>9} {p99:>9} {longest:>9}", printable(what), name(*image));
    }
    if let Some(bytes) = measured.bytes_per_second {
        _ = writeln!(text, "  {:32} {:.1} MB/s", "output through the filters", bytes / 1e6);
    }
    text
}

fn object(file: &Path, measured: &Measured) -> String {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let figures = |one: &Figures| {
        json!({
            "what": one.what, "image": name(one.image),
            "p50_us": micros(one.p50), "p90_us": micros(one.p90), "p99_us": micros(one.p99), "longest_us": micros(one.longest),
        })
    };
    let object = json!({
        "file": file,
        "commands": measured.commands,
        "decisions": measured.decisions.iter().map(figures).collect::<Vec<_>>(),
        "filter_bytes_per_second": measured.bytes_per_second,
    });
    format!("{object}\n")
}

fn name(image: Image) -> &'static str {
    match image {
        Image::Frozen => "frozen",
        Image::Never => "configured",
    }
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() * 1e6 {
        micros if micros < 1000.0 => format!("{micros:.0} µs"),
        micros => format!("{:.1} ms", micros / 1000.0),
    }
}
