//! `[ask]`: what becomes of the verdict `ask`.

use std::time::Duration;

use super::Ask;
use super::mistakes::{Report, Span};
use super::raw::{RawAsk, Section};

const TIMEOUT: Span = Span { unit: "seconds", min: 1, max: 3600, default: 120, zero: None };

/// What `[ask]` says, defaults where it says nothing.
pub(super) fn mean(report: &mut Report, section: &Section<RawAsk>) -> Ask {
    let absent = RawAsk::default();
    let raw = report.section("ask", section).unwrap_or(&absent);
    let trust_client = report.leaf("ask.trust_client", &raw.trust_client, "must be true or false").copied().unwrap_or_default();
    let timeout = report.number("ask.timeout_s", &raw.timeout_s, &TIMEOUT).unsigned_abs();
    Ask { trust_client, timeout: Duration::from_secs(timeout) }
}
