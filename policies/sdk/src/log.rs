//! Notes for the operator, one line each. They go to the host's log, never to the agent; in native tests to standard error.
//!
//! All lines of one call together may hold as many bytes as the configuration says (16 KiB unless told); more is a trap.

use crate::bindings::common::portcullis::policy::log::Level;

/// Of interest to those who write the policy.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Of interest to those who run the host.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something an operator should look at.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something an operator must mend.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Names a rule of the settings that applies to what is judged, by its place, such as `programs.git`. `portcullis policy test`
/// tells which rules no case reached, of those that the schema of the settings marks: `x-rules` of a table or a list is true.
pub fn rule(place: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::common::portcullis::policy::log::rule(place);
    #[cfg(not(target_family = "wasm"))]
    let _ = place;
}

#[cfg(target_family = "wasm")]
fn write(level: Level, message: &str) {
    crate::bindings::common::portcullis::policy::log::write(level, message);
}

#[cfg(not(target_family = "wasm"))]
fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
