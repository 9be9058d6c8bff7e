//! Plays the host for native unit tests of policies: requests from words or whole scripts, rewrites applied, streams cut into
//! pieces.

mod item;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

pub use item::{Item, dynamic, dynamic_words};
pub use schema::{check_schema, schema};

use crate::{
    Action, Argument, Boundary, Client, Constructs, Edited, Emission, Filter, Job, Launch, Node, OutputPolicy, Place, Policy,
    Program, Redirect, RedirectMode, Request, Rewrite, Role, SettingsErrors, StreamKind, Trigger, Word, literal, read_settings,
    verdict::lies_below,
};

/// Most new bytes in one piece of output.
const PIECE: usize = 64 * 1024;

/// How many bytes of context stand before a piece.
const CONTEXT: usize = 16;

/// How what sets colours begins, which may part a trigger.
const ESCAPE: u8 = 0x1b;

/// Reads settings and configures, as the host does at load.
///
/// # Errors
///
/// What the settings' reader or the policy found wrong.
pub fn configure<P: Policy>(settings: &str) -> Result<P, SettingsErrors> {
    P::configure(read_settings(settings)?)
}

thread_local! {
    static VARIABLES: std::cell::RefCell<Vec<(String, String)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Does something in which these variables are granted and set.
pub fn with_variables<R>(variables: &[(&str, &str)], act: impl FnOnce() -> R) -> R {
    let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let before = VARIABLES.replace(owned);
    let result = act();
    VARIABLES.set(before);
    result
}

/// The variables that are granted; none outside of [`with_variables`].
pub fn variables() -> Vec<(String, String)> {
    VARIABLES.with_borrow(Clone::clone)
}

/// A small stand-in for a machine: jobs are confined to `/work`, where everything exists; programs lie in `/usr/bin`.
#[derive(Debug, Clone, Default)]
pub struct World {
    links: BTreeMap<String, String>,
}

impl World {
    /// The directory that commands start in, and the only root.
    pub const ROOT: &str = "/work";

    /// A world without links.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a symbolic link; both paths absolute.
    pub fn link(mut self, from: &str, to: &str) -> Self {
        self.links.insert(from.to_owned(), to.to_owned());
        self
    }

    /// One simple command, its words given literally: leading `NAME=value` words are assignments.
    pub fn request(&self, words: &[&str]) -> Request {
        self.script(Item::command(words))
    }

    /// A script from its items. It is launched directly if it is one program with literal words and nothing redirected, as the
    /// host does.
    pub fn script(&self, item: Item) -> Request {
        let source = item.source();
        let (mut nodes, mut constructs) = (Vec::new(), Constructs::empty());
        self.lay_out(item, None, Role::Root, Self::ROOT, &mut nodes, &mut constructs);
        let is_direct = nodes.len() == 1 && nodes[0].resolved.is_some() && nodes[0].simple(0).is_some();
        Request {
            source,
            launch: if is_direct { Launch::Direct } else { Launch::Shell },
            constructs,
            nodes,
            cwd: Self::ROOT.to_owned(),
            env: vec![("PATH".to_owned(), "/usr/bin".to_owned())],
            timeout_ms: None,
            client: Client { principal: "local".to_owned(), name: "harness".to_owned(), version: String::new() },
        }
    }

    /// The job that an approved request becomes.
    pub fn job(&self, request: &Request) -> Job {
        Job { id: "harness".to_owned(), launch: request.launch, nodes: request.nodes.clone(), cwd: request.cwd.clone() }
    }

    fn lay_out(
        &self,
        item: Item,
        parent: Option<u32>,
        role: Role,
        directory: &str,
        nodes: &mut Vec<Node>,
        constructs: &mut Constructs,
    ) {
        let directory = item.directory.clone().unwrap_or_else(|| directory.to_owned());
        *constructs |= item.constructs();
        let index = u32::try_from(nodes.len()).expect("scripts of tests are short");
        nodes.push(self.node(&item, parent, role, &directory));
        for (role, child) in item.children {
            self.lay_out(child, Some(index), role, &directory, nodes, constructs);
        }
    }

    fn node(&self, item: &Item, parent: Option<u32>, role: Role, directory: &str) -> Node {
        let program = item.program.clone();
        let name = program.as_ref().and_then(literal).filter(|_| !item.builtin);
        Node {
            parent,
            role,
            kind: item.kind,
            directory: directory.to_owned(),
            resolved: name.map(|name| self.program(name, directory)),
            program,
            builtin: item.builtin,
            args: item.args.iter().map(|word| self.argument(word, directory)).collect(),
            assignments: item.assignments.clone(),
            redirects: item.redirects.iter().map(|(fd, mode, target)| self.redirect(*fd, *mode, target, directory)).collect(),
            executes: None,
            opens: None,
        }
    }

    fn redirect(&self, fd: u32, mode: RedirectMode, target: &Word, directory: &str) -> Redirect {
        let is_path = !matches!(mode, RedirectMode::Text | RedirectMode::DuplicateRead | RedirectMode::DuplicateWrite);
        let place = literal(target).filter(|_| is_path).map(|text| self.place(text, 0, directory));
        Redirect { fd, mode, target: target.clone(), place }
    }

    /// What the host would judge next, after this rewrite.
    pub fn apply(&self, request: &Request, rewrite: &Rewrite) -> Request {
        let mut next = request.clone();
        for edit in &rewrite.edits {
            let node = &mut next.nodes[edit.node as usize];
            if let Some(program) = &edit.program {
                node.program = Some(Word::Literal(program.clone()));
                node.resolved = Some(self.program(program, &node.directory));
            }
            if let Some(args) = &edit.args {
                let old = &request.nodes[edit.node as usize];
                node.args = args.iter().map(|arg| self.edited(old, arg)).collect();
            }
            for (name, value) in &edit.assignments {
                node.assignments.retain(|(known, _)| known != name);
                node.assignments.push((name.clone(), Word::Literal(value.clone())));
            }
            for (own, to) in [(&mut node.executes, &edit.executes), (&mut node.opens, &edit.opens)] {
                if let Some(paths) = to {
                    *own = Some(confined(own.as_deref(), paths));
                }
            }
        }
        next
    }

    fn edited(&self, node: &Node, edited: &Edited) -> Argument {
        match edited {
            Edited::Keep(index) => node.args[*index as usize].clone(),
            Edited::Literal(text) => self.argument(&Word::Literal(text.clone()), &node.directory),
        }
    }

    /// Names with a slash from the directory in force, others from `/usr/bin`.
    fn program(&self, name: &str, directory: &str) -> Program {
        let name = if name.contains('/') { absolute(name, directory) } else { format!("/usr/bin/{name}") };
        let path = self.follow(&name);
        let looked_up = name.strip_prefix("/usr/bin/").is_some_and(|rest| !rest.contains('/'));
        Program { inside_roots: is_inside(&path) || is_inside(&name), looked_up, path, name, interpreter: None }
    }

    fn argument(&self, word: &Word, directory: &str) -> Argument {
        let Some(text) = literal(word) else { return Argument { word: word.clone(), places: Vec::new() } };
        let behind_flag =
            (text.starts_with('-') && text.len() > 2 && !text.starts_with("--") && text.is_char_boundary(2)).then_some(2);
        let behind_equals = text.find('=').map(|at| at + 1);
        let mut starts: Vec<_> = [Some(0), behind_flag, behind_equals].into_iter().flatten().collect();
        starts.sort_unstable();
        starts.dedup();
        let starts = starts.into_iter().filter(|start| *start < text.len());
        let mut places: Vec<_> = starts.map(|start| self.place(text, start, directory)).collect();
        if let Some((front, _)) = text.split_once("::").filter(|(front, _)| !front.is_empty()) {
            places.insert(1, self.place(front, 0, directory));
        }
        Argument { places, word: word.clone() }
    }

    fn place(&self, text: &str, start: usize, directory: &str) -> Place {
        let named = absolute(&text[start..], directory);
        let path = self.follow(&named);
        let start = u32::try_from(start).expect("words of tests are short");
        Place { start, inside_roots: is_inside(&path), exists: true, via_link: path != named, path }
    }

    fn follow(&self, path: &str) -> String {
        self.links
            .iter()
            .find_map(|(from, to)| behind(path, from).map(|rest| format!("{to}{rest}")))
            .unwrap_or_else(|| path.to_owned())
    }
}

/// What may be executed when a command that may execute `own` is confined to `paths`.
fn confined(own: Option<&[String]>, paths: &[String]) -> Vec<String> {
    let Some(own) = own else { return paths.to_vec() };
    let below = |some: &[String], others: &[String]| {
        some.iter().filter(|path| others.iter().any(|other| lies_below(path, other))).cloned().collect::<Vec<_>>()
    };
    [below(own, paths), below(paths, own)].concat().into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    })
}

/// What is left of `path` behind `dir`, if it is `dir` or lies below.
fn behind<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    path.strip_prefix(dir).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_inside(path: &str) -> bool {
    behind(path, World::ROOT).is_some()
}

fn absolute(path: &str, directory: &str) -> String {
    let from_root = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts = Vec::new();
    for part in from_root.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part)
        }
    }
    format!("/{}", parts.join("/"))
}

/// Sends a stream through a new filter of the policy, arriving in these chunks, and returns what comes out. A stream that the
/// filter stops ends with `[stopped: CODE]`.
///
/// # Panics
///
/// If an answer breaks the contract, such as a hold at the end.
pub fn filter<P: OutputPolicy>(policy: &'static P, chunks: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::new(policy.triggers(), policy.filter(None, StreamKind::Stdout));
    for chunk in chunks {
        stream.waiting.extend_from_slice(chunk);
        stream.advance(Arrival::More);
    }
    stream.advance(Arrival::End);
    stream.out
}

/// Whether bytes may still arrive.
#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    More,
    End,
}

/// One stream on its way through a filter, cut as the contract says.
struct Stream<F> {
    triggers: Vec<Trigger>,
    filter: F,
    /// Arrived and not looked at.
    waiting: Vec<u8>,
    held: Vec<u8>,
    /// The end of what was passed on in this line.
    context: Vec<u8>,
    /// The filter sees the rest of this line.
    in_line: bool,
    engaged: bool,
    was_asked: bool,
    /// The filter is given no more.
    stopped: bool,
    out: Vec<u8>,
}

impl<F: Filter> Stream<F> {
    fn new(triggers: Vec<Trigger>, filter: F) -> Self {
        let (waiting, held, context, out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { triggers, filter, waiting, held, context, in_line: false, engaged: false, was_asked: false, stopped: false, out }
    }

    fn advance(&mut self, arrival: Arrival) {
        while !self.stopped
            && if self.in_line || self.engaged || self.triggers.is_empty() { self.show(arrival) } else { self.skip(arrival) }
        {
        }
    }

    /// Gives the filter the next piece; false if it has not arrived yet.
    fn show(&mut self, arrival: Arrival) -> bool {
        let line = self.waiting.iter().take(PIECE).position(|byte| *byte == b'\n');
        let (count, boundary) = match line {
            Some(at) => (at + 1, Boundary::Line),
            None if self.waiting.len() >= PIECE => (PIECE, Boundary::Cut),
            None if arrival == Arrival::End && (self.was_asked || !self.waiting.is_empty()) => {
                (self.waiting.len(), Boundary::End)
            }
            None => return false,
        };
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend(self.waiting.drain(..count));
        let action = self.filter.push(&self.context, &bytes, boundary);
        self.was_asked = true;
        self.obey(bytes, action, boundary);
        true
    }

    fn obey(&mut self, mut bytes: Vec<u8>, action: Action, boundary: Boundary) {
        let kept = bytes.len().checked_sub(action.hold as usize).expect("no more is held than was given");
        assert!(boundary != Boundary::End || action.hold == 0, "held bytes at the end of the stream");
        self.held = bytes.split_off(kept);
        self.context = if boundary == Boundary::Line { Vec::new() } else { tail(&bytes) };
        match action.emit {
            Emission::Pass => self.out.extend(bytes),
            Emission::Replace(bytes) => self.out.extend(bytes),
            Emission::Drop => {}
            Emission::Stop(reason) => {
                self.out.extend(format!("[stopped: {}]", reason.code).bytes());
                self.stopped = true;
            }
        }
        self.engaged = action.engaged;
        self.in_line = boundary == Boundary::Cut;
        self.stopped |= boundary == Boundary::End;
    }

    /// Passes on what lies before the next trigger; false if nothing more can be said of what has arrived.
    fn skip(&mut self, arrival: Arrival) -> bool {
        let line = self.waiting.iter().position(|byte| *byte == b'\n');
        let end = line.map_or(self.waiting.len(), |at| at + 1);
        let at = |test: fn(&Trigger, &[u8]) -> bool| {
            (0..end).find(|at| self.triggers.iter().any(|trigger| test(trigger, &self.waiting[*at..])))
        };
        let found = at(matches);
        // A longer trigger that began earlier may still turn up.
        let partial = at(begins).filter(|at| arrival == Arrival::More && found.is_none_or(|found| *at < found));
        let stop = partial.or(found).unwrap_or(end);
        let escape = self.waiting[stop..end].iter().position(|byte| *byte == ESCAPE).map(|at| stop + at);
        let is_parted = |at: &usize, to| self.triggers.iter().any(|trigger| begins(trigger, &self.waiting[*at..to]));
        let count = escape.and_then(|to| (0..stop).find(|at| is_parted(at, to))).unwrap_or(stop);
        let passed: Vec<_> = self.waiting.drain(..count).collect();
        self.context.extend(&passed);
        self.context = tail(&self.context);
        if count == end && line.is_some() {
            self.context.clear();
        }
        self.out.extend(passed);
        self.in_line = found.is_some() && partial.is_none();
        self.in_line || (line.is_some() && count == end)
    }
}

fn tail(bytes: &[u8]) -> Vec<u8> {
    bytes[bytes.len().saturating_sub(CONTEXT)..].to_vec()
}

fn same(trigger: &Trigger, left: &[u8], right: &[u8]) -> bool {
    if trigger.ignore_case { left.eq_ignore_ascii_case(right) } else { left == right }
}

fn matches(trigger: &Trigger, bytes: &[u8]) -> bool {
    bytes.get(..trigger.text.len()).is_some_and(|bytes| same(trigger, &trigger.text, bytes))
}

/// Whether these bytes, the last that arrived, may turn out to begin with the trigger.
fn begins(trigger: &Trigger, bytes: &[u8]) -> bool {
    trigger.text.get(..bytes.len()).is_some_and(|text| same(trigger, text, bytes))
}
