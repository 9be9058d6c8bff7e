//! Refuses commands that change what is in production while the calendar says that nothing changes. All other commands, and all
//! other times, are none of its business: it abstains.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset};
use portcullis_sdk::{
    CommandPolicy, Invocation, Match, Policy, Request, SettingsError, SettingsErrors, Verdict, export, log,
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

/// Most characters of a reason.
const MOST_WHY: usize = 500;

/// The settings of this policy's entry.
#[derive(Deserialize, JsonSchema)]
struct Settings {
    /// Commands that change something, each as its words: `["git", "push"]` is found in `git -C web push origin`. Words that only the
    /// shell can tell count as if they were these.
    changes: Vec<Vec<String>>,
    /// When nothing changes.
    #[schemars(extend("x-rules" = true))]
    freezes: Vec<Freeze>,
}

/// A time in which nothing changes.
#[derive(Deserialize, JsonSchema)]
struct Freeze {
    /// Its beginning, such as `2026-12-18T18:00:00+01:00`.
    #[schemars(with = "String")]
    from: DateTime<FixedOffset>,
    /// Its end; it is over then.
    #[schemars(with = "String")]
    until: DateTime<FixedOffset>,
    /// What it is for, and whom to ask; the agent is told.
    why: String,
}

struct ChangeFreeze(Settings);

impl Policy for ChangeFreeze {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        let changes = settings.changes.iter().enumerate().filter(|(_, words)| words.iter().all(String::is_empty));
        let mut errors: SettingsErrors =
            changes.map(|(index, _)| SettingsError::new(format!("changes.{index}"), "must name a program")).collect();
        for (index, freeze) in settings.freezes.iter().enumerate() {
            let mut wrong = |key, what: String| errors.push(SettingsError::new(format!("freezes.{index}.{key}"), what));
            if freeze.until <= freeze.from {
                wrong("until", format!("must be later than `from`, which is {}", freeze.from));
            }
            if freeze.why.is_empty() || freeze.why.chars().count() > MOST_WHY {
                wrong("why", format!("must have 1 to {MOST_WHY} characters"));
            }
        }
        if errors.is_empty() { Ok(Self(settings)) } else { Err(errors) }
    }
}

impl CommandPolicy for ChangeFreeze {
    fn evaluate(&self, request: &Request) -> Verdict {
        let Some((index, freeze)) = self.freeze_at(now()) else { return Verdict::Abstain };
        let Some((words, found)) = request.invocations().find_map(|one| self.change(one)) else { return Verdict::Abstain };
        log::rule(&format!("freezes[{index}]"));
        let what = words.join(" ");
        let what = if found == Match::Yes { format!("`{what}` changes something") } else { format!("this may be `{what}`") };
        Verdict::deny("change-freeze", format!("{what}, and nothing changes until {}: {}", freeze.until.to_rfc3339(), freeze.why))
    }
}

impl ChangeFreeze {
    /// The freeze at a time, in seconds since 1970, with its index.
    fn freeze_at(&self, now: i64) -> Option<(usize, &Freeze)> {
        let is_on = |freeze: &Freeze| (freeze.from.timestamp()..freeze.until.timestamp()).contains(&now);
        self.0.freezes.iter().enumerate().find(|(_, freeze)| is_on(freeze))
    }

    /// The change that a command makes, or may make.
    fn change(&self, invocation: Invocation) -> Option<(&[String], Match)> {
        let changes = self.0.changes.iter().map(|words| (words.as_slice(), invocation.matches(words)));
        changes.max_by_key(|(_, found)| *found).filter(|(_, found)| *found != Match::No)
    }
}

/// Seconds since 1970. Asked for each decision: what `configure` reads is frozen.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock of a machine that judges is not before 1970");
    i64::try_from(since.as_secs()).expect("fits for longer than there will be clocks")
}

export!(ChangeFreeze: command);

#[cfg(test)]
mod tests {
    use portcullis_sdk::harness::{Item, World, check_schema, configure, dynamic};

    use super::*;

    const CHANGES: &str = r#""changes": [["git", "push"], ["kubectl", "apply"]]"#;

    /// With a freeze that began long ago and ends then.
    fn until(until: &str) -> ChangeFreeze {
        let freeze = format!(r#"{{ "from": "1990-01-01T00:00:00Z", "until": "{until}", "why": "a big day" }}"#);
        configure(&format!(r#"{{ {CHANGES}, "freezes": [{freeze}] }}"#)).unwrap()
    }

    fn code(policy: &ChangeFreeze, item: Item) -> String {
        match policy.evaluate(&World::new().script(item)) {
            Verdict::Deny(reason) => reason.code,
            Verdict::Abstain => "abstain".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changes_are_refused_while_a_freeze_lasts() {
        let (on, over) = (until("2990-01-01T00:00:00+01:00"), until("1991-01-01T00:00:00Z"));
        for item in [
            Item::command(&["git", "-C", "web", "push"]),
            Item::command(&["ls"]).and(Item::command(&["kubectl", "apply", "-f", "x"])),
            Item::command(&["git"]).word(dynamic("", "\"$verb\"")),
        ] {
            assert_eq!(code(&on, item.clone()), "change-freeze");
            assert_eq!(code(&over, item), "abstain");
        }
        assert_eq!(code(&on, Item::command(&["git", "log"])), "abstain");
    }

    #[test]
    fn a_freeze_holds_from_its_beginning_to_just_before_its_end() {
        let policy = until("2990-01-01T00:00:00+01:00");
        let (from, until) = (policy.0.freezes[0].from.timestamp(), policy.0.freezes[0].until.timestamp());
        for (at, is_on) in [(from - 1, false), (from, true), (until - 1, true), (until, false)] {
            assert_eq!(policy.freeze_at(at).is_some(), is_on, "{at}");
        }
    }

    #[test]
    fn settings_that_can_not_work_are_refused_with_their_places() {
        let settings =
            r#"{ "changes": [[]], "freezes": [{ "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z", "why": "" }] }"#;
        let errors = configure::<ChangeFreeze>(settings).err().unwrap();
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["changes.0", "freezes.0.until", "freezes.0.why"]);
        let settings = format!(r#"{{ {CHANGES}, "freezes": [{{ "from": "tomorrow", "until": "x", "why": "x" }}] }}"#);
        assert_eq!(configure::<ChangeFreeze>(&settings).err().unwrap()[0].path, "freezes.0.from");
    }

    #[test]
    fn the_schema_beside_the_policy_is_that_of_its_settings() {
        check_schema::<Settings>(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"));
    }
}
