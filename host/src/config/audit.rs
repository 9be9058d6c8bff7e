//! `[audit]`: where the record of decisions is kept, and how much of it.

use std::path::PathBuf;

use super::Audit;
use super::mistakes::{Report, Span};
use super::places::Own;
use super::raw::{RawAudit, Section};
use super::surroundings::Surroundings;

const MAX_BYTES: Span =
    Span { unit: "bytes per file", min: 0, max: 64 << 30, default: 64 << 20, zero: Some("one file that grows for ever") };
const KEEP: Span = Span { unit: "files", min: 1, max: 100, default: 10, zero: None };

/// What `[audit]` says, defaults where it says nothing.
pub(super) fn mean(report: &mut Report, section: &Section<RawAudit>, roots: &[PathBuf], surroundings: &Surroundings) -> Audit {
    let absent = RawAudit::default();
    let raw = report.section("audit", section).unwrap_or(&absent);
    let place = Own { path: "audit.path", directory: false, roots };
    let default = || surroundings.state_directory().map(|dir| dir.join("audit.jsonl"));
    let path = place.mean(report, &raw.path, default, surroundings);
    let max_bytes = report.number("audit.max_bytes", &raw.max_bytes, &MAX_BYTES).unsigned_abs();
    let keep = report.number("audit.keep", &raw.keep, &KEEP);
    let keep = u32::try_from(keep).expect("the span is small");
    Audit { path, max_bytes: (max_bytes > 0).then_some(max_bytes), keep }
}
