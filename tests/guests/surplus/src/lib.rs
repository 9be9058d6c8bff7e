//! A policy that wants more than it is granted: it imports `evil:host/shell@1.0.0`, which nobody offers.

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "evil:host/surplus",
        generate_all,
    });
    export!(Surplus with_types_in self);

    use super::Surplus;
}

use bindings::evil::host::shell;
use bindings::exports::portcullis::policy::command::{Guest as Command, Request, Verdict};
use bindings::exports::portcullis::policy::settings::{Guest as Settings, SettingsError};

struct Surplus;

impl Settings for Surplus {
    fn configure(_: String) -> Result<(), Vec<SettingsError>> {
        Ok(())
    }
}

impl Command for Surplus {
    fn evaluate(request: Request) -> Verdict {
        shell::run(&request.source);
        Verdict::Allow
    }
}
