//! `[limits]`: the spans and what they mean.

use std::time::Duration;

use super::Limits;
use super::mistakes::{Report, Span};
use super::raw::{RawLimits, Section};

const DECISION_MS: Span = Span { unit: "milliseconds", min: 1, max: 60_000, default: 1000, zero: None };
const MEMORY_MIB: Span = Span { unit: "MiB", min: 1, max: 4096, default: 64, zero: None };
const TABLE_ELEMENTS: Span = Span { unit: "elements", min: 1, max: 10_000_000, default: 20_000, zero: None };
const STACK_KIB: Span = Span { unit: "KiB", min: 64, max: 8192, default: 512, zero: None };
const HOSTCALL_MIB: Span = Span { unit: "MiB", min: 1, max: 1024, default: 16, zero: None };
const LOG_BYTES: Span = Span { unit: "bytes", min: 0, max: 16 << 20, default: 16_384, zero: Some("policies can not log") };

/// What `[limits]` says, defaults where it says nothing.
pub(super) fn mean(report: &mut Report, section: &Section<RawLimits>) -> Limits {
    let absent = RawLimits::default();
    let raw = report.section("limits", section).unwrap_or(&absent);
    let decision = report.number("limits.decision_ms", &raw.decision_ms, &DECISION_MS);
    let memory = report.number("limits.memory_mib", &raw.memory_mib, &MEMORY_MIB);
    let table = report.number("limits.table_elements", &raw.table_elements, &TABLE_ELEMENTS);
    let stack = report.number("limits.stack_kib", &raw.stack_kib, &STACK_KIB);
    let hostcall = report.number("limits.hostcall_mib", &raw.hostcall_mib, &HOSTCALL_MIB);
    let log = report.number("limits.log_bytes", &raw.log_bytes, &LOG_BYTES);
    Limits {
        decision: Duration::from_millis(decision.unsigned_abs()),
        memory_bytes: size(memory << 20),
        table_elements: size(table),
        stack_bytes: size(stack << 10),
        hostcall_bytes: size(hostcall << 20),
        log_bytes: size(log),
    }
}

impl Limits {
    /// Those that hold where nothing is said.
    pub fn built_in() -> Self {
        mean(&mut Report::default(), &Section::Absent)
    }
}

/// A number out of a span as a size.
pub(super) fn size(number: i64) -> usize {
    usize::try_from(number).expect("every span ends below 4 GiB + 1 and machines have 64 bits")
}
