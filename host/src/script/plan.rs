//! How an approved script is started.

use std::sync::Arc;

use super::ProgramFile;
use crate::fence::Fence;

/// Longest text the shell can be given, in bytes: what Linux takes as one argument.
pub const MOST_SHELL_BYTES: usize = 128 * 1024 - 1;

/// What is started. No `Debug`: arguments and variables may be secret.
#[derive(Clone)]
pub enum Plan {
    /// One program, started by the host itself. Its first argument, the name it is told, is [`ProgramFile::name`].
    Direct {
        /// The file.
        program: Arc<ProgramFile>,
        /// Arguments behind the name.
        args: Vec<String>,
        /// Variables over those of the request.
        env: Vec<(String, String)>,
        /// What it is confined to.
        fence: Option<Arc<Fence>>,
    },
    /// Text rendered from the judged tree, for the configured shell. It names no program, but what asks once more for each.
    Shell(String),
}
