//! Makes what jobs print short to read, for readers who pay for every word: no control sequences, a progress bar as it ended,
//! repeated lines counted, endless lines without their middle.
//!
//! Meant for `apply = "reads"`: what is kept of the output stays as it came, and who wants it so can read it so. The result does
//! not depend on how the bytes were cut.

mod fold;
mod line;

use portcullis_sdk::{
    Action, Boundary, Emission, Filter, Job, OutputPolicy, Policy, SettingsError, SettingsErrors, StreamKind, Trigger, export,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::fold::Fold;
use crate::line::{Line, MAX_SHOWN};

/// The shortest line that can be cut: with less there is no room for both ends and the marker.
const MIN_LINE: usize = 80;

/// Most equal lines that are shown one by one.
const MAX_FOLD: usize = 1000;

/// The settings of this policy's entry.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(default)]
struct Settings {
    /// Whether control sequences (colours, titles, links, cursor moves) and control characters are removed.
    controls: bool,
    /// Whether a line that was written over (`\r`, backspace, erasing) is shown in its last state.
    progress: bool,
    /// How many equal lines in a row are shown before the rest is counted; 0: all are shown.
    fold_after: usize,
    /// Longest line that is shown whole, in bytes; 0: all are.
    max_line_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { controls: true, progress: true, fold_after: 2, max_line_bytes: 2000 }
    }
}

/// The policy.
struct Tidy(Settings);

/// The filter of one stream.
struct Tidying {
    line: Line,
    fold: Fold,
}

impl Policy for Tidy {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        let mut errors = Vec::new();
        if settings.fold_after > MAX_FOLD {
            errors.push(SettingsError::new("fold_after", format!("must be 0 (off) to {MAX_FOLD}")));
        }
        if settings.max_line_bytes != 0 && !(MIN_LINE..=MAX_SHOWN).contains(&settings.max_line_bytes) {
            errors.push(SettingsError::new("max_line_bytes", format!("must be 0 (off) or {MIN_LINE} to {MAX_SHOWN}")));
        }
        if errors.is_empty() { Ok(Self(settings)) } else { Err(errors) }
    }
}

impl OutputPolicy for Tidy {
    type Filter = Tidying;

    /// None: any line may equal the one before.
    fn triggers(&self) -> Vec<Trigger> {
        Vec::new()
    }

    fn filter(&'static self, _job: Option<Job>, _stream: StreamKind) -> Tidying {
        Tidying { line: Line::new(self.0), fold: Fold::new(self.0.fold_after) }
    }
}

impl Filter for Tidying {
    fn push(&mut self, _before: &[u8], bytes: &[u8], boundary: Boundary) -> Action {
        let mut out = Vec::with_capacity(bytes.len());
        match bytes.strip_suffix(b"\n").filter(|_| boundary == Boundary::Line) {
            Some(rest) => {
                self.line.take(rest);
                self.fold.line(&self.line.finish(), true, &mut out);
            }
            None => {
                self.line.take(bytes);
                // A line that is never cut can not be kept either.
                out.extend(self.line.overflow());
            }
        }
        if boundary == Boundary::End {
            self.fold.line(&self.line.finish(), false, &mut out);
        }
        Action::new(match out {
            out if out == bytes => Emission::Pass,
            out if out.is_empty() => Emission::Drop,
            out => Emission::Replace(out),
        })
    }
}

export!(Tidy: output);

#[cfg(test)]
mod tests;
