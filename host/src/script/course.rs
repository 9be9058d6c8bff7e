//! The course of a script through directories: where each command runs, and which files it names there.
//!
//! A `cd` that is certain to run moves what follows it. Where a script could be in one directory or another, depending on what
//! happens, and something is to be judged there, it is refused.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_shell::{Id, Kind, Refusal, Tree, Word};

use super::{
    Lookups,
    builtins::is_builtin,
    program::{Found, resolve},
};

/// Most programs that one script can name: each is held open from judging to the start, and systems usually let a process open 1024
/// files.
const MOST_PROGRAMS: usize = 256;

/// What a node of the script leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lead {
    /// A program.
    Program {
        /// Directory in force.
        at: Arc<Path>,
        /// The file.
        found: Found,
    },
    /// One of the shell's own commands.
    Builtin {
        /// Directory in force.
        at: Arc<Path>,
    },
    /// Another directory.
    Directory {
        /// Directory in force before.
        at: Arc<Path>,
        /// Absolute, links followed.
        to: String,
    },
    /// A construct, or a command without a program.
    Nothing {
        /// Directory in force.
        at: Arc<Path>,
    },
}

impl Lead {
    /// The directory in force.
    pub(super) fn at(&self) -> &Path {
        match self {
            Self::Program { at, .. } | Self::Builtin { at } | Self::Directory { at, .. } | Self::Nothing { at } => at,
        }
    }
}

/// Where the shell is.
#[derive(Clone, Debug, PartialEq)]
enum Here {
    /// In this directory.
    In(Arc<Path>),
    /// In one of several, depending on what happened.
    Unsure,
    /// Nowhere: it has ended by then. The directory is that of before, for what is judged all the same.
    Ended(Arc<Path>),
}

impl Here {
    /// After one of two courses.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ended(_), other) => other,
            (one, Self::Ended(_)) => one,
            (one, other) if one == other => one,
            _ => Self::Unsure,
        }
    }
}

/// Where the shell is after a command, by how that went.
#[derive(Clone, Debug, PartialEq)]
struct After {
    success: Here,
    failure: Here,
}

impl After {
    fn both(here: Here) -> Self {
        Self { success: here.clone(), failure: here }
    }

    /// The same where a redirection may fail: then nothing happened, not even an end, and that counts as a failure.
    fn or_not_at_all(self, here: &Here) -> Self {
        let failure = match self.failure {
            Here::Ended(_) => here.clone(),
            failure => failure.or(here.clone()),
        };
        Self { failure, ..self }
    }

    fn either(self) -> Here {
        self.success.or(self.failure)
    }
}

type Step = Result<After, Refusal>;

/// Follows a script.
pub(super) struct Course<'a> {
    tree: &'a Tree,
    site: &'a Lookups<'a>,
    start: Arc<Path>,
    leads: Vec<Option<Lead>>,
    /// What names were found to be, by directory for those with a slash.
    found: HashMap<(Option<PathBuf>, &'a str), Found>,
    /// Whether what is followed now runs again and again in the same shell.
    in_loop: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(tree: &'a Tree, site: &'a Lookups<'a>, cwd: &Path) -> Self {
        let leads = tree.nodes.iter().map(|_| None).collect();
        Self { tree, site, start: Arc::from(cwd), leads, found: HashMap::new(), in_loop: false }
    }

    /// What every node leads to.
    pub(super) fn follow(mut self) -> Result<Vec<Lead>, Refusal> {
        self.node(0, &Here::In(self.start.clone()))?;
        let start = self.start;
        // The tree is sound, so nothing is left out; what were would name no file.
        Ok(self.leads.into_iter().map(|lead| lead.unwrap_or(Lead::Nothing { at: start.clone() })).collect())
    }

    fn node(&mut self, id: Id, here: &Here) -> Step {
        let tree = self.tree;
        let node = tree.node(id);
        let at = match here {
            Here::In(at) | Here::Ended(at) => at.clone(),
            Here::Unsure => return Err(unsure()),
        };
        for redirect in &node.redirects {
            self.substitutions(&redirect.target, here)?;
        }
        for word in node.kind.words() {
            self.substitutions(word, here)?;
        }
        let after = if let Kind::Command { words, .. } = &node.kind {
            let (lead, after) = self.command(words, at, here)?;
            self.leads[id as usize] = Some(lead);
            after
        } else {
            self.leads[id as usize] = Some(Lead::Nothing { at });
            self.construct(&node.kind, here)?
        };
        Ok(if node.redirects.is_empty() { after } else { after.or_not_at_all(here) })
    }

    /// Substitutions run in shells of their own.
    fn substitutions(&mut self, word: &Word, here: &Here) -> Result<(), Refusal> {
        word.nodes().into_iter().try_for_each(|id| self.apart(id, here).map(drop))
    }

    /// What runs in a shell of its own leaves this one where it is.
    fn apart(&mut self, id: Id, here: &Here) -> Step {
        let in_loop = std::mem::take(&mut self.in_loop);
        let done = self.node(id, here);
        self.in_loop = in_loop;
        done.map(|_| After::both(here.clone()))
    }

    fn construct(&mut self, kind: &Kind, here: &Here) -> Step {
        match kind {
            Kind::Command { .. } | Kind::Test(_) | Kind::Arithmetic(_) => Ok(After::both(here.clone())),
            Kind::Pipeline(stages) => {
                stages.iter().try_for_each(|stage| self.apart(*stage, here).map(drop))?;
                Ok(After::both(here.clone()))
            }
            Kind::Background(item)
            | Kind::Subshell(item)
            | Kind::CommandSubstitution(item)
            | Kind::ProcessSubstitution { item, .. } => self.apart(*item, here),
            Kind::Group(item) | Kind::Timing { item, .. } => self.node(*item, here),
            Kind::Negation(item) => {
                let After { success, failure } = self.node(*item, here)?;
                Ok(After { success: failure, failure: success })
            }
            Kind::And(left, right) => {
                let left = self.node(*left, here)?;
                let right = self.node(*right, &left.success)?;
                Ok(After { success: right.success, failure: left.failure.or(right.failure) })
            }
            Kind::Or(left, right) => {
                let left = self.node(*left, here)?;
                let right = self.node(*right, &left.failure)?;
                Ok(After { success: left.success.or(right.success), failure: right.failure })
            }
            Kind::Sequence(items) => self.sequence(items, here),
            Kind::Conditional { condition, body, alternative } => {
                let condition = self.node(*condition, here)?;
                let body = self.node(*body, &condition.success)?.either();
                let other = match alternative {
                    Some(alternative) => self.node(*alternative, &condition.failure)?.either(),
                    None => condition.failure,
                };
                Ok(After::both(body.or(other)))
            }
            Kind::Loop { condition, body, .. } => self.repeated(&[*condition, *body], here),
            Kind::For { body, .. } => self.repeated(&[*body], here),
            Kind::Case { arms, .. } => {
                let mut after = here.clone();
                for body in arms.iter().filter_map(|arm| arm.body) {
                    after = after.or(self.node(body, here)?.either());
                }
                Ok(After::both(after))
            }
        }
    }

    fn sequence(&mut self, items: &[Id], here: &Here) -> Step {
        let mut after = After::both(here.clone());
        for item in items {
            after = self.node(*item, &after.either())?;
        }
        Ok(after)
    }

    /// No directory changes in there, so that every turn begins and ends where the first one did.
    fn repeated(&mut self, items: &[Id], here: &Here) -> Step {
        let in_loop = std::mem::replace(&mut self.in_loop, true);
        let done = items.iter().try_for_each(|item| self.node(*item, here).map(drop));
        self.in_loop = in_loop;
        done.map(|()| After::both(here.clone()))
    }

    fn command(&mut self, words: &'a [Word], at: Arc<Path>, here: &Here) -> Result<(Lead, After), Refusal> {
        let stays = After::both(here.clone());
        let Some(name) = words.first().and_then(Word::text) else { return Ok((Lead::Nothing { at }, stays)) };
        match name {
            "cd" => self.change(&words[1..], at),
            "break" | "continue" if !self.in_loop => Err(Refusal::new(
                "construct-not-supported",
                format!("`{name}` outside of a loop of the same shell does nothing; leave it out"),
            )),
            "exit" | "break" | "continue" => Ok((Lead::Builtin { at: at.clone() }, After::both(Here::Ended(at)))),
            name if is_builtin(name) => Ok((Lead::Builtin { at }, stays)),
            name => {
                let found = self.program(name, &at)?;
                Ok((Lead::Program { at, found }, stays))
            }
        }
    }

    fn program(&mut self, name: &'a str, at: &Path) -> Result<Found, Refusal> {
        let key = (name.contains('/').then(|| at.to_owned()), name);
        if let Some(found) = self.found.get(&key) {
            return Ok(found.clone());
        }
        if self.found.len() >= MOST_PROGRAMS {
            return Err(Refusal::new(
                "too-long",
                format!("the script names more than {MOST_PROGRAMS} programs; send it in parts"),
            ));
        }
        let found = resolve(name, self.site, at)?;
        self.found.insert(key, found.clone());
        Ok(found)
    }

    fn change(&mut self, args: &[Word], at: Arc<Path>) -> Result<(Lead, After), Refusal> {
        let refused = |message: &str| Refusal::new("directory-unknown", message);
        if self.in_loop {
            return Err(refused("a `cd` in a loop can not be judged; put the loop's body into `( … )`"));
        }
        let mut names = args.iter().map(Word::text).filter(|arg| *arg != Some("--"));
        let (Some(Some(name)), None) = (names.next(), names.next()) else {
            return Err(refused("a `cd` can be judged only with one directory, written out, and no options"));
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(refused("a `cd` can be judged only with a directory that is written out"));
        }
        let to = self.site.destination(name, &at)?;
        let after = After { success: Here::In(Arc::from(Path::new(&to))), failure: Here::Ended(at.clone()) };
        Ok((Lead::Directory { at, to }, after))
    }
}

fn unsure() -> Refusal {
    Refusal::new(
        "directory-unknown",
        "it depends on what happens before in which directory this runs; join it with && to the `cd`, or put that into `( … )`",
    )
}
