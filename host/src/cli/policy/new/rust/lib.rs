//! Refuses programs that are not for agents. What it has nothing against is for other policies to allow: it abstains.

use std::collections::BTreeSet;

use portcullis_sdk::{
    CommandPolicy, Policy, Request, SettingsError, SettingsErrors, Verdict, export,
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

/// The settings of this policy's entry in the configuration. Their schema, settings.schema.json, goes into the component.
#[derive(Deserialize, JsonSchema)]
struct Settings {
    /// Names of programs that are not for agents.
    programs: BTreeSet<String>,
}

/// The policy: what is left of the settings when they were read.
struct Forbid(BTreeSet<String>);

impl Policy for Forbid {
    type Settings = Settings;

    /// Once, at load. Do here what is costly: every decision starts from the memory that this leaves.
    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        match settings.programs.iter().find(|name| name.is_empty() || name.contains('/')) {
            Some(name) => Err(vec![SettingsError::new("programs", format!("{name:?} is no name of a program"))]),
            None => Ok(Self(settings.programs)),
        }
    }
}

impl CommandPolicy for Forbid {
    /// For each command, in a fresh instance. A panic denies.
    fn evaluate(&self, request: &Request) -> Verdict {
        match request.invocations().flat_map(|one| one.names()).find(|name| self.0.contains(*name)) {
            Some(name) => Verdict::deny("forbidden", format!("`{name}` is not for agents; ask a person to run it.")),
            None => Verdict::Abstain,
        }
    }
}

export!(Forbid: command);

/// Native tests, without host and sandbox: `cargo test`.
#[cfg(test)]
mod tests {
    use portcullis_sdk::harness::{Item, World, check_schema, configure};

    use super::*;

    #[test]
    fn a_forbidden_program_is_denied_by_any_name() {
        let policy: Forbid = configure(r#"{ "programs": ["find"] }"#).unwrap();
        for words in [["find", "."], ["/usr/bin/find", "."], ["./find", "x"]] {
            let verdict = policy.evaluate(&World::new().request(&words));
            assert!(matches!(verdict, Verdict::Deny(reason) if reason.code == "forbidden"), "{words:?}");
        }
        let piped = Item::pipeline([Item::command(&["find"]), Item::command(&["head"])]);
        assert!(matches!(policy.evaluate(&World::new().script(piped)), Verdict::Deny(_)));
        assert!(matches!(policy.evaluate(&World::new().request(&["ls", "find"])), Verdict::Abstain));
    }

    #[test]
    fn settings_that_can_not_work_are_refused() {
        assert_eq!(configure::<Forbid>(r#"{ "programs": ["/bin/find"] }"#).err().unwrap()[0].path, "programs");
    }

    /// `BLESS=1 cargo test` writes the file when the settings have changed.
    #[test]
    fn the_schema_beside_the_policy_is_that_of_its_settings() {
        check_schema::<Settings>(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"));
    }
}
