//! `[http]`: who may come in over HTTP. `[principals]`: what each of them may use of what all may.

use std::path::{Path, PathBuf};

use super::limits::size;
use super::mistakes::{Fault, Report, Span};
use super::names::{Authority, NoName, WebOrigin};
use super::places::Own;
use super::raw::{Checked, RawHttp, RawPrincipals, Section};
use super::surroundings::Surroundings;
use super::{Http, Jobs, Principals, Tokens, places};

/// Where a token is kept that was not configured, in the state directory.
const OWN_TOKEN: &str = "http-token";

const AS_ALL: Option<&str> = Some("as many as all together");
const RUNNING: Span = Span { unit: "jobs", min: 0, max: 1000, default: 0, zero: AS_ALL };
const QUEUED: Span = Span {
    unit: "jobs",
    min: 0,
    max: 10_000,
    default: 0,
    zero: Some("as many as all together, or half of them where `http.tokens` says who may come"),
};
const OUTPUT: Span = Span { unit: "bytes", min: 0, max: 64 << 30, default: 0, zero: AS_ALL };
const REQUESTS: Span = Span { unit: "requests per second", min: 1, max: 1_000_000, default: 500, zero: None };

/// What `[http]` says, defaults where it says nothing.
pub(super) fn mean(report: &mut Report, section: &Section<RawHttp>, roots: &[PathBuf], surroundings: &Surroundings) -> Http {
    let absent = RawHttp::default();
    let raw = report.section("http", section).unwrap_or(&absent);
    let place = Own { path: "http.tokens", directory: false, roots };
    let (tokens, own_token) = match &raw.tokens {
        // Who needs none is not kept from anything where there is no place for one.
        Checked::Absent => {
            let own = surroundings.state_directory().map(|dir| dir.join(OWN_TOKEN));
            (None, own.filter(|path| place.check(path).is_ok()))
        }
        written => {
            let path = place.mean(report, written, || None, surroundings);
            let is_right = path.is_absolute();
            (is_right.then(|| report.keep("http.tokens", read(&path, surroundings))).flatten(), None)
        }
    };
    let hosts = names(report, "http.hosts", &raw.hosts, host);
    let origins = names(report, "http.origins", &raw.origins, origin);
    Http { tokens, own_token, hosts, origins }
}

/// What `[principals]` says, defaults where it says nothing.
pub(super) fn principals(report: &mut Report, section: &Section<RawPrincipals>, jobs: &Jobs, http: &Http) -> Principals {
    let absent = RawPrincipals::default();
    let raw = report.section("principals", section).unwrap_or(&absent);
    let mut said = |path: &str, leaf: &Checked<i64>, span: &Span, unsaid: usize| match size(report.number(path, leaf, span)) {
        0 => unsaid,
        most => most,
    };
    // Where several can come, none can fill the queue.
    let queue = if http.tokens.is_some() { jobs.max_queued.div_ceil(2) } else { jobs.max_queued };
    Principals {
        max_running: said("principals.max_running", &raw.max_running, &RUNNING, jobs.max_running).min(jobs.max_running),
        max_queued: said("principals.max_queued", &raw.max_queued, &QUEUED, queue).min(jobs.max_queued),
        output_bytes: said("principals.output_bytes", &raw.output_bytes, &OUTPUT, jobs.output_total_bytes)
            .min(jobs.output_total_bytes),
        requests_per_s: size(report.number("principals.requests_per_s", &raw.requests_per_s, &REQUESTS)),
    }
}

fn read(path: &Path, surroundings: &Surroundings) -> Result<Tokens, Fault> {
    let end = (places::Trust { owner: surroundings.uid }).end(path)?;
    Tokens::read(&end)
        .map_err(|wrong| Fault::new(wrong, "each line is a name and a token of at least 32 characters; see docs/http.md"))
}

fn names<T>(report: &mut Report, path: &str, leaf: &Checked<Vec<Checked<String>>>, read: fn(&str) -> Result<T, Fault>) -> Vec<T> {
    let written = report.strings(path, leaf).unwrap_or_default();
    written.into_iter().filter_map(|(path, text)| report.keep(path, read(text))).collect()
}

/// A name as it stands in `Host`, with a port or without.
fn host(text: &str) -> Result<Authority, Fault> {
    let right = "must be a name as clients call this server by, such as `jobs.example.com` or `jobs.example.com:8443`";
    text.parse().map_err(|NoName| Fault::new(format!("`{text}` is no host"), right))
}

/// An origin as browsers write it.
fn origin(text: &str) -> Result<WebOrigin, Fault> {
    let right = "must be such as `https://chat.example.com`, without a path";
    text.parse().map_err(|NoName| Fault::new(format!("`{text}` is no origin"), right))
}
