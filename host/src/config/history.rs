//! `[history]`: whether it is kept, where, and how much output with it.

use std::path::PathBuf;

use super::History;
use super::mistakes::{Report, Span};
use super::places::Own;
use super::raw::{RawHistory, Section};
use super::surroundings::Surroundings;

const SPILL_BYTES: Span =
    Span { unit: "bytes per stream", min: 0, max: 64 << 30, default: 0, zero: Some("output is not kept in files") };

/// What `[history]` says, defaults where it says nothing.
pub(super) fn mean(
    report: &mut Report,
    section: &Section<RawHistory>,
    roots: &[PathBuf],
    surroundings: &Surroundings,
) -> Option<History> {
    let absent = RawHistory::default();
    let raw = report.section("history", section).unwrap_or(&absent);
    let keep = report.leaf("history.keep", &raw.keep, "must be true or false").copied().unwrap_or(true);
    let spill_bytes = report.number("history.spill_bytes", &raw.spill_bytes, &SPILL_BYTES).unsigned_abs();
    let place = Own { path: "history.path", directory: true, roots };
    keep.then(|| History { path: place.mean(report, &raw.path, || surroundings.state_directory(), surroundings), spill_bytes })
}
