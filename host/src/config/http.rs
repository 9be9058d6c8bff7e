//! `[http]`: who may come in over HTTP. `[principals]`: what each of them may use of what all may.

use std::path::PathBuf;

use super::limits::size;
use super::mistakes::{Fault, Report, Span};
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
        Checked::Absent => (None, surroundings.state_directory().and_then(|dir| place.check(&dir.join(OWN_TOKEN)).ok())),
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

fn read(path: &std::path::Path, surroundings: &Surroundings) -> Result<Tokens, Fault> {
    let trail = places::trail(path)?;
    if let Some(fault) = (places::Trust { owner: surroundings.uid }).faults(&trail).into_iter().next() {
        return Err(fault);
    }
    Tokens::read(&trail.end)
        .map_err(|wrong| Fault::new(wrong, "each line is a name and a token of at least 32 characters; see docs/http.md"))
}

fn names(
    report: &mut Report,
    path: &str,
    leaf: &Checked<Vec<Checked<String>>>,
    check: fn(&str) -> Result<String, Fault>,
) -> Vec<String> {
    let written = report.strings(path, leaf).unwrap_or_default();
    written.into_iter().filter_map(|(path, text)| report.keep(path, check(text))).collect()
}

/// A name as it stands in `Host`, with a port or without.
fn host(text: &str) -> Result<String, Fault> {
    let is_host = text.parse::<hyper::http::uri::Authority>().is_ok_and(|host| !text.contains('@') && !host.host().is_empty());
    let right = "must be a name as clients call this server by, such as `jobs.example.com` or `jobs.example.com:8443`";
    if is_host { Ok(text.to_owned()) } else { Err(Fault::new(format!("`{text}` is no host"), right)) }
}

/// An origin as browsers write it.
fn origin(text: &str) -> Result<String, Fault> {
    let wrong = || Fault::new(format!("`{text}` is no origin"), "must be such as `https://chat.example.com`, without a path");
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    host(authority).map_err(|_| wrong())?;
    let port = match (scheme, authority.parse::<hyper::http::uri::Authority>().ok().and_then(|host| host.port_u16())) {
        (_, Some(_)) => "",
        ("http", None) => ":80",
        ("https", None) => ":443",
        _ => return Err(wrong()),
    };
    Ok(format!("{text}{port}"))
}
