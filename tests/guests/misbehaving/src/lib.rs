//! A policy that misbehaves as its settings say, to show that the host survives it: `{"command": "loop"}` and the like, a
//! behaviour per hook and one for `configure`. A hook without a behaviour abstains, passes, or succeeds.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use portcullis_sdk::{
    Action, Boundary, CommandPolicy, Edit, Edited, Emission, Filter, Finding, InputPolicy, InputVerdict, Job, Launch, Node,
    OutputPolicy, Policy, Reason, Request, SettingsError, SettingsErrors, StreamKind, Trigger, Verdict, export, literal, log,
};
use serde::Deserialize;

/// More than any limit of the host, in bytes.
const FLOOD: usize = 1 << 26;

/// Counts the decisions of this memory, which must always be one.
static DECISIONS: AtomicU32 = AtomicU32::new(0);

/// The settings: what to do where.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    configure: Option<Deed>,
    command: Option<CommandDeed>,
    input: Option<InputDeed>,
    output: Option<OutputDeed>,
    /// Triggers of the output hook; none unless told.
    triggers: Vec<String>,
    /// The command hook misbehaves for this program only, and allows all others.
    only: Option<String>,
}

/// What can go wrong anywhere.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    /// Never returns.
    Loop,
    /// Panics.
    Trap,
    /// Takes memory without end.
    Allocate,
    /// Calls itself without end.
    Recurse,
    /// Writes more log lines than are allowed.
    FloodLog,
    /// Writes more to standard output than is allowed.
    FloodStdout,
    /// Sleeps for an hour.
    Sleep,
    /// Two errors (only of `configure`).
    Errors,
    /// Prints, and so keeps a stream of the host open.
    Prints,
}

/// What `evaluate` does with a command.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CommandDeed {
    Loop,
    Trap,
    Allocate,
    Recurse,
    FloodLog,
    FloodStdout,
    Sleep,
    Prints,
    /// Denies with a reason of many megabytes.
    HugeReason,
    /// Denies with a code that is none.
    BadCode,
    /// Edits a node that does not exist.
    BadEdit,
    /// Keeps an argument that does not exist.
    BadKeep,
    /// Adds an argument each time.
    RewriteForever,
    /// A rewrite that changes nothing.
    RewriteNothing,
    /// Replaces the program.
    RewriteProgram(String),
    /// Adds this argument once, at the end.
    RewriteAppend(String),
    /// Sets the variable `PORTCULLIS_TEST` to this.
    RewriteVariable(String),
    /// Allows all, and confines commands with programs to these paths, wherever they stand in a script; those of `only` alone, if
    /// told.
    Confine(Vec<String>),
    /// The same, but keeps them in the roots, and to reading these paths.
    KeepInRoots(Vec<String>),
    /// The same as `Confine`, but leaves alone what the host starts itself, as it does each program of a script.
    ConfineInScripts(Vec<String>),
    Allow,
    Deny,
    Ask,
    Abstain,
    /// Allows, and denies if this memory has decided before.
    Remembers,
    /// Denies with the value of this variable as the message; allows if there is none.
    ReadEnv(String),
    /// Denies with the content of this file as the message; allows if it can not be read.
    ReadFile(String),
    /// Denies and shows the time in seconds and a random number.
    Now,
    /// Denies and shows the client's name, the directory and the time limit.
    Echo,
}

/// What `evaluate` does with input.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InputDeed {
    Loop,
    Trap,
    Allocate,
    Sleep,
    Allow,
    Deny,
    Ask,
    Abstain,
    /// Upper case instead; allows what is upper case.
    Upper,
    /// Another letter behind it each time.
    RewriteForever,
    /// A rewrite of many megabytes.
    HugeRewrite,
    /// Denies if `pending` with `data` contains `secret`.
    DenySecret,
    /// Panics if it begins with `hello`; allows all else.
    TrapHello,
}

/// What `push` does with a piece of output.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutputDeed {
    Loop,
    Trap,
    /// Panics at a piece that says `trap here`.
    TrapHere,
    Allocate,
    Sleep,
    FloodLog,
    /// Holds everything, except at the end.
    HoldForever,
    /// Holds everything, at the end too.
    HoldAtEnd,
    /// Replaces each piece by many megabytes.
    Flood,
    /// Replaces each piece by less than may take its place, and more than all of them may become.
    FloodPieces,
    /// Passes, and counts two kinds of things.
    Count,
    /// Passes, and counts something that has no name.
    CountNonsense,
    /// Passes, and counts too many kinds of things.
    FloodFindings,
    /// Holds more than it was given.
    BadHold,
    /// Stops the stream.
    Stop,
    /// Upper case instead.
    Upper,
    /// Nothing instead.
    Drop,
    /// Passes, and stays engaged.
    Engaged,
    /// `<`, the piece, `|`, its boundary, `>`.
    Show,
}

/// The policy.
struct Misbehaving(Settings);

/// The filter of one stream.
struct Misfilter(Option<OutputDeed>);

impl Deed {
    fn happen(self) {
        match self {
            Self::Loop => repeat(|| {}),
            Self::Trap => panic!("this guest traps"),
            Self::Allocate => allocate(),
            Self::Recurse => drop(std::hint::black_box(recurse(1))),
            Self::FloodLog => (0..FLOOD / 1024).for_each(|_| log::info(&"x".repeat(1024))),
            Self::FloodStdout => (0..FLOOD / 1024).for_each(|_| println!("{}", "x".repeat(1023))),
            Self::Sleep => std::thread::sleep(Duration::from_secs(3600)),
            Self::Prints => println!("a guest prints"),
            Self::Errors => {}
        }
    }
}

fn repeat(mut step: impl FnMut()) {
    while std::hint::black_box(true) {
        step();
    }
}

fn allocate() {
    let mut kept = Vec::new();
    repeat(|| kept.push(std::hint::black_box(vec![1_u8; 1 << 16])));
}

#[allow(unconditional_recursion, reason = "that is its misdeed")]
fn recurse(depth: u64) -> Vec<u64> {
    let mut deeper = recurse(std::hint::black_box(depth + 1));
    deeper.push(depth);
    deeper
}

impl Policy for Misbehaving {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, SettingsErrors> {
        if let Some(deed) = settings.configure {
            deed.happen();
        }
        if let Some(Deed::Errors) = settings.configure {
            let errors = [("first.0", "the first thing is wrong"), ("second", "the second thing is wrong")];
            return Err(errors.map(|(path, message)| SettingsError::new(path, message)).to_vec());
        }
        Ok(Self(settings))
    }
}

impl CommandPolicy for Misbehaving {
    fn evaluate(&self, request: &Request) -> Verdict {
        let before = DECISIONS.fetch_add(1, Ordering::Relaxed);
        let Some(deed) = &self.0.command else { return Verdict::Abstain };
        match deed {
            CommandDeed::Confine(paths) => return self.confine(request, |node| executing(node, paths)),
            CommandDeed::KeepInRoots(paths) => return self.confine(request, |node| opening(node, paths)),
            CommandDeed::ConfineInScripts(paths) if request.launch == Launch::Shell => {
                return self.confine(request, |node| executing(node, paths));
            }
            CommandDeed::ConfineInScripts(_) => return Verdict::Allow,
            _ => {}
        }
        let is_for = |only: &String| request.command().is_some_and(|command| command.program == only);
        if !self.0.only.as_ref().is_none_or(is_for) {
            return Verdict::Allow;
        }
        match deed {
            CommandDeed::Loop => after(Deed::Loop),
            CommandDeed::Trap => after(Deed::Trap),
            CommandDeed::Allocate => after(Deed::Allocate),
            CommandDeed::Recurse => after(Deed::Recurse),
            CommandDeed::FloodLog => after(Deed::FloodLog),
            CommandDeed::FloodStdout => after(Deed::FloodStdout),
            CommandDeed::Sleep => after(Deed::Sleep),
            CommandDeed::Prints => after(Deed::Prints),
            CommandDeed::Allow => Verdict::Allow,
            CommandDeed::Abstain => Verdict::Abstain,
            CommandDeed::Deny => Verdict::deny("misbehaving", "this guest denies"),
            CommandDeed::Ask => Verdict::ask("misbehaving", "this guest asks"),
            CommandDeed::HugeReason => Verdict::deny("misbehaving", "x".repeat(FLOOD / 16)),
            CommandDeed::BadCode => Verdict::deny("No Code\n", "this guest denies with nonsense"),
            CommandDeed::Remembers if before > 0 => Verdict::deny("remembered", format!("decision {before} is still known")),
            CommandDeed::Remembers => Verdict::Allow,
            CommandDeed::ReadEnv(name) => std::env::var(name).map_or(Verdict::Allow, |value| Verdict::deny("read-env", value)),
            CommandDeed::ReadFile(path) => {
                std::fs::read_to_string(path).map_or(Verdict::Allow, |text| Verdict::deny("read-file", text))
            }
            CommandDeed::Now => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                Verdict::deny("now", format!("{now} {}", RandomState::new().hash_one(0)))
            }
            CommandDeed::Echo => {
                Verdict::deny("echo", format!("{} {} {:?}", request.client.name, request.cwd, request.timeout_ms))
            }
            rewrite => self.rewrite(rewrite, request),
        }
    }
}

fn executing((node, index): (&Node, u32), paths: &[String]) -> Option<Edit> {
    (!node.is_confined_to(paths)).then(|| Edit::new(index).confine(paths))
}

fn opening((node, index): (&Node, u32), besides: &[String]) -> Option<Edit> {
    (!node.stays_in_the_roots(besides)).then(|| Edit::new(index).keep_in_the_roots(besides))
}

impl Misbehaving {
    /// `narrowed` gives the edit of a node that is not kept to it yet, of which it is told the index.
    fn confine(&self, request: &Request, narrowed: impl Fn((&Node, u32)) -> Option<Edit>) -> Verdict {
        let is_meant = |node: &Node| {
            let name = node.program.as_ref().and_then(literal);
            node.resolved.is_some() && self.0.only.as_ref().is_none_or(|only| name == Some(only))
        };
        let edits: Vec<Edit> = request.nodes.iter().zip(0..).filter(|(node, _)| is_meant(node)).filter_map(narrowed).collect();
        if edits.is_empty() { Verdict::Allow } else { Verdict::rewrite(edits, "confined", "this guest confines") }
    }

    fn rewrite(&self, deed: &CommandDeed, request: &Request) -> Verdict {
        let Some(command) = request.command() else { return Verdict::Abstain };
        let edit = Edit::new(command.index);
        let keep = || (0..).zip(command.args).map(|(at, _)| Edited::Keep(at));
        let append = |text: &str| keep().chain([Edited::Literal(text.to_owned())]);
        let edit = match deed {
            CommandDeed::BadEdit => Edit::new(4711).set("A", "b"),
            CommandDeed::BadKeep => edit.args([Edited::Keep(4711)]),
            CommandDeed::RewriteForever => edit.args(append("more")),
            CommandDeed::RewriteProgram(name) => Edit { program: Some(name.clone()), ..edit },
            CommandDeed::RewriteAppend(text) if command.words().last() == Some(text) => return Verdict::Abstain,
            CommandDeed::RewriteAppend(text) => edit.args(append(text)),
            CommandDeed::RewriteVariable(value) => edit.set("PORTCULLIS_TEST", value),
            _ => edit.args(keep()),
        };
        Verdict::rewrite(vec![edit], "misbehaving", "this guest rewrites")
    }
}

/// What is left to say after a deed that returned.
fn after(deed: Deed) -> Verdict {
    deed.happen();
    Verdict::Allow
}

impl InputPolicy for Misbehaving {
    fn evaluate(&self, _job: &Job, pending: &[u8], data: &[u8]) -> InputVerdict {
        let reason = || Reason::new("misbehaving", "this guest has something against this input");
        match self.0.input {
            None | Some(InputDeed::Abstain) => InputVerdict::Abstain,
            Some(InputDeed::Loop) => after_input(Deed::Loop),
            Some(InputDeed::Trap) => after_input(Deed::Trap),
            Some(InputDeed::Allocate) => after_input(Deed::Allocate),
            Some(InputDeed::Sleep) => after_input(Deed::Sleep),
            Some(InputDeed::Allow) => InputVerdict::Allow,
            Some(InputDeed::Deny) => InputVerdict::Deny(reason()),
            Some(InputDeed::Ask) => InputVerdict::Ask(reason()),
            Some(InputDeed::Upper) if data.iter().any(u8::is_ascii_lowercase) => InputVerdict::Rewrite(data.to_ascii_uppercase()),
            Some(InputDeed::Upper) => InputVerdict::Allow,
            Some(InputDeed::RewriteForever) => InputVerdict::Rewrite([data, b"x"].concat()),
            Some(InputDeed::HugeRewrite) => InputVerdict::Rewrite(vec![b'x'; FLOOD / 16]),
            Some(InputDeed::DenySecret) if [pending, data].concat().windows(6).any(|part| part == b"secret") => {
                InputVerdict::Deny(reason())
            }
            Some(InputDeed::TrapHello) if data.starts_with(b"hello") => after_input(Deed::Trap),
            Some(InputDeed::DenySecret | InputDeed::TrapHello) => InputVerdict::Allow,
        }
    }
}

fn after_input(deed: Deed) -> InputVerdict {
    deed.happen();
    InputVerdict::Allow
}

impl OutputPolicy for Misbehaving {
    type Filter = Misfilter;

    fn triggers(&self) -> Vec<Trigger> {
        self.0.triggers.iter().map(|text| Trigger { text: text.clone().into_bytes(), ignore_case: false }).collect()
    }

    fn filter(&'static self, _job: Option<Job>, _stream: StreamKind) -> Misfilter {
        Misfilter(self.0.output)
    }
}

impl Filter for Misfilter {
    fn push(&mut self, before: &[u8], bytes: &[u8], boundary: Boundary) -> Action {
        let all = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let is_end = boundary == Boundary::End;
        let emit = Action::new;
        let hold = |hold| Action { hold, ..emit(Emission::Drop) };
        match self.0 {
            Some(OutputDeed::Loop) => after_output(Deed::Loop),
            Some(OutputDeed::Trap) => after_output(Deed::Trap),
            Some(OutputDeed::TrapHere) if bytes.windows(9).any(|part| part == b"trap here") => after_output(Deed::Trap),
            Some(OutputDeed::Allocate) => after_output(Deed::Allocate),
            Some(OutputDeed::Sleep) => after_output(Deed::Sleep),
            Some(OutputDeed::FloodLog) => after_output(Deed::FloodLog),
            Some(OutputDeed::HoldForever) if !is_end => hold(all),
            Some(OutputDeed::HoldAtEnd) => hold(all),
            Some(OutputDeed::BadHold) => hold(all.saturating_add(1)),
            Some(OutputDeed::Flood) => emit(Emission::Replace(vec![b'x'; FLOOD / 16])),
            Some(OutputDeed::Stop) => emit(Emission::Stop(Reason::new("misbehaving", "this guest stops the stream"))),
            Some(OutputDeed::Upper) => emit(Emission::Replace(bytes.to_ascii_uppercase())),
            Some(OutputDeed::Drop) => emit(Emission::Drop),
            Some(OutputDeed::Engaged) => Action { engaged: true, ..emit(Emission::Pass) },
            Some(OutputDeed::FloodPieces) => emit(Emission::Replace(vec![b'x'; 200 << 10])),
            Some(OutputDeed::Count) => {
                Action { findings: vec![finding("thing", 2), finding("other-thing", 1)], ..emit(Emission::Pass) }
            }
            Some(OutputDeed::CountNonsense) => Action { findings: vec![finding("No Code\n", 1)], ..emit(Emission::Pass) },
            Some(OutputDeed::FloodFindings) => {
                Action { findings: (0..65).map(|at| finding(&format!("kind-{at}"), 1)).collect(), ..emit(Emission::Pass) }
            }
            Some(OutputDeed::Show) => emit(Emission::Replace(shown(before, bytes, boundary))),
            None | Some(OutputDeed::HoldForever | OutputDeed::TrapHere) => emit(Emission::Pass),
        }
    }
}

fn finding(kind: &str, count: u32) -> Finding {
    Finding { kind: kind.to_owned(), count }
}

fn shown(before: &[u8], bytes: &[u8], boundary: Boundary) -> Vec<u8> {
    format!("<{}|{}|{boundary:?}>", before.escape_ascii(), bytes.escape_ascii()).into_bytes()
}

fn after_output(deed: Deed) -> Action {
    deed.happen();
    Action::new(Emission::Pass)
}

export!(Misbehaving: command, input, output);

#[cfg(test)]
mod tests {
    use portcullis_sdk::harness::{World, configure, filter};

    use super::*;

    fn guest(settings: &str) -> &'static Misbehaving {
        Box::leak(Box::new(configure(settings).unwrap()))
    }

    #[test]
    fn settings_choose_the_deed() {
        let request = World::new().request(&["ls", "x"]);
        assert_eq!(CommandPolicy::evaluate(guest("{}"), &request), Verdict::Abstain);
        assert_eq!(CommandPolicy::evaluate(guest(r#"{"command":"allow"}"#), &request), Verdict::Allow);
        assert!(matches!(CommandPolicy::evaluate(guest(r#"{"command":{"read-file":"/nowhere"}}"#), &request), Verdict::Allow));
        assert_eq!(configure::<Misbehaving>(r#"{"configure":"errors"}"#).err().map(|errors| errors.len()), Some(2));
        assert_eq!(filter(guest(r#"{"output":"upper"}"#), &[b"ab", b"c\n"]), b"ABC\n");
    }
}
