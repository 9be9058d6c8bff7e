//! Judging a script: every node by its kind, every redirection, every variable.

use std::{cell::RefCell, collections::BTreeSet};

use portcullis_sdk::{Argument, Node, NodeKind, Reason, Redirect, RedirectMode, Request, Word, literal};

use crate::{
    condition::{self, Form},
    feed::{Feed, trace},
    input::Input,
    loops::Loops,
    packs,
    reader::{self, Scope},
    rule::{self, Objection, Rule, shown},
    settings::{Construct, Program, Settings},
    value::Part,
    variable::Variables,
};

/// What a descriptor may be redirected to without any rule, and from.
const NULL: &str = "/dev/null";

/// One script before these settings.
struct Judge<'a> {
    settings: &'a Settings,
    variables: Variables<'a>,
    /// The script tells the shell first of all that nothing becomes names of files.
    is_noglob: bool,
    /// Rules that were named to the host.
    named: RefCell<BTreeSet<*const Program>>,
}

/// Judges a request.
///
/// # Errors
///
/// The first thing that is denied; else, that something waits for another policy.
pub fn judge(settings: &Settings, request: &Request) -> Result<(), Objection> {
    let judge = Judge::new(settings, &request.env, &request.nodes);
    let flagged = Construct::FLAGGED.iter().filter(|(_, flag)| request.constructs.contains(*flag));
    for (construct, _) in flagged {
        judge.construct(*construct)?;
    }
    let mut is_complete = true;
    let loops = Loops::new(&request.nodes);
    for (at, feed) in trace(&request.nodes).into_iter().enumerate() {
        for node in loops.instances(at) {
            match judge.node(&node, feed) {
                Err(Objection::NotYet) => is_complete = false,
                other => other?,
            }
        }
    }
    if is_complete { Ok(()) } else { Err(Objection::NotYet) }
}

/// Judges what would be written to the standard input of a job that these nodes describe.
///
/// # Errors
///
/// Why it may not be.
pub fn judge_input(settings: &Settings, nodes: &[Node], pending: &[u8], data: &[u8]) -> Result<(), Reason> {
    let judge = Judge::new(settings, &[], nodes);
    let loops = Loops::new(nodes);
    let readers = || (0..nodes.len()).zip(trace(nodes)).filter(|(at, feed)| *feed == Feed::Job && reads(&nodes[*at]));
    // Another one, or the same again, could take a part of a line and leave the rest.
    let shares = |node: &Node| matches!(node.kind, NodeKind::Loop | NodeKind::ForLoop | NodeKind::ProcessSubstitution);
    let is_shared = readers().count() > 1 || nodes.iter().any(shares);
    let mut is_read = false;
    for node in readers().flat_map(|(at, _)| loops.instances(at)) {
        is_read = true;
        let rules = judge.rules(&node).map_err(|objection| match objection {
            Objection::Denied(reason) => reason,
            Objection::NotYet => Reason::new("input-not-allowed", "no rule allows the command that would read this"),
        })?;
        if is_shared && matches!(input(&rules), Input::Lines(_)) {
            let off = "lines can be judged only for a job with one reader, in no loop, beside no process substitution";
            return Err(input_denied(&rules, off));
        }
        judge.input(&rules, pending, data)?;
    }
    if is_read { Ok(()) } else { Err(Reason::new("input-not-allowed", "nothing in this job reads its standard input")) }
}

/// Whether a node runs something that may read its standard input.
fn reads(node: &Node) -> bool {
    node.program.is_some() && (!node.builtin || node.program.as_ref().and_then(literal) == Some("read"))
}

impl<'a> Judge<'a> {
    fn new(settings: &'a Settings, env: &'a [(String, String)], nodes: &[Node]) -> Self {
        let variables = Variables::new(&settings.scripts, env);
        Self { settings, variables, is_noglob: is_noglob(nodes), named: RefCell::default() }
    }

    fn node(&self, node: &Node, feed: Feed) -> Result<(), Objection> {
        if let Some(construct) = construct(node.kind) {
            self.construct(construct)?;
        }
        for redirect in &node.redirects {
            self.redirect(redirect)?;
        }
        self.arithmetic(node)?;
        match node.kind {
            NodeKind::Command if node.program.is_some() => self.command(node, feed),
            NodeKind::Command => Ok(self.assignments(node)?),
            NodeKind::ForLoop => Ok(self.for_loop(node)?),
            NodeKind::Test => Ok(condition::judge(node, Form::Keyword)
                .map_err(|(code, off)| Reason::new(code, format!("{off} is not allowed in a script's conditions")))?),
            _ => Ok(()),
        }
    }

    fn construct(&self, construct: Construct) -> Result<(), Reason> {
        if self.settings.scripts.constructs.contains(&construct) {
            return Ok(());
        }
        let name = construct.name();
        let is_packed = packs::read("shell").is_ok_and(|pack| pack.scripts.constructs.contains(&construct));
        let packed = if is_packed { ", or `include = [\"shell\"]` for what is used daily" } else { "" };
        let message = format!(
            "scripts may not use the construct `{name}` here; an operator who wants it adds `scripts.constructs = [\"{name}\"]`{packed}"
        );
        Err(Reason::new("construct-not-allowed", message))
    }

    fn arithmetic(&self, node: &Node) -> Result<(), Reason> {
        let targets = node.redirects.iter().map(|redirect| &redirect.target);
        let values = node.assignments.iter().map(|(_, value)| value);
        let mut words = node.args.iter().map(|arg| &arg.word).chain(targets).chain(values);
        match words.find(|word| !self.variables.spares_exported(word, node.kind)) {
            None => Ok(()),
            Some(_) => Err(Reason::new(
                "assignment-not-allowed",
                "arithmetic may not name a variable that scripts may export; use another one there",
            )),
        }
    }

    fn rules<'n>(&'n self, node: &'n Node) -> Result<Vec<Rule<'n>>, Objection> {
        let rule = rule::find(self.settings, node)?;
        let scope = Scope { variables: &self.variables, constructs: &self.settings.scripts.constructs, named: &self.named };
        reader::read(scope, rule, node)
    }

    fn command(&self, node: &Node, feed: Feed) -> Result<(), Objection> {
        let rules = self.rules(node)?;
        match feed {
            Feed::Job | Feed::Nothing => Ok(()),
            _ if !reads(node) => Ok(()),
            // A text that is given to several commands could be taken in parts.
            Feed::Text(_) if matches!(input(&rules), Input::Lines(_)) && !node.redirects.iter().any(|one| one.fd == 0) => {
                Err(input_denied(&rules, "lines can be judged only in a text that is given to this command alone").into())
            }
            Feed::Text(text) => Ok(self.input(&rules, &[], text.as_bytes())?),
            Feed::Other if matches!(input(&rules), Input::Anything) => Ok(()),
            Feed::Other => Err(input_denied(&rules, "the rule of this program takes nothing from pipes and files").into()),
        }
    }

    fn input(&self, rules: &[Rule], pending: &[u8], data: &[u8]) -> Result<(), Reason> {
        input(rules).judge(pending, data).map_err(|off| input_denied(rules, off))
    }

    /// A command without a program: variables of the shell, and redirections.
    fn assignments(&self, node: &Node) -> Result<(), Reason> {
        if !node.assignments.is_empty() {
            self.construct(Construct::Assignment)?;
        }
        node.assignments
            .iter()
            .try_for_each(|(name, value)| if self.variables.may_set_to(name, value) { Ok(()) } else { Err(not_assignable(name)) })
    }

    fn for_loop(&self, node: &Node) -> Result<(), Reason> {
        if let Some((name, _)) = node.assignments.iter().find(|(name, _)| !self.variables.may_set(name)) {
            return Err(not_assignable(name));
        }
        let splits = |arg: &&Argument| matches!(&arg.word, Word::Dynamic(expansion) if !expansion.one_word);
        let has_glob = self.settings.scripts.constructs.contains(&Construct::Glob);
        match node.args.iter().find(splits) {
            Some(arg) if !has_glob && !self.is_noglob && !are_numbers(&arg.word) => {
                let message = format!(
                    "`{}` may become names of files; put it in double quotes, or `set -f;` at the beginning of the script if it is to \
                     become several words",
                    shown(Part::of(arg, 0).shown())
                );
                Err(Reason::new("construct-not-allowed", message))
            }
            _ => Ok(()),
        }
    }

    fn redirect(&self, redirect: &Redirect) -> Result<(), Reason> {
        if redirect.fd > 2 {
            let message = format!("descriptor {} can not be redirected; only 0, 1 and 2 can", redirect.fd);
            return Err(Reason::new("redirect-not-allowed", message));
        }
        match redirect.mode {
            RedirectMode::Text => self.construct(Construct::HereDocument),
            RedirectMode::DuplicateRead | RedirectMode::DuplicateWrite => duplicate(&redirect.target),
            _ if redirect.place.as_ref().is_some_and(|place| place.path == NULL) => Ok(()),
            RedirectMode::Read => self.construct(Construct::RedirectRead).and_then(|()| file(redirect)),
            RedirectMode::Write | RedirectMode::Append | RedirectMode::Clobber => {
                self.construct(Construct::RedirectWrite)?;
                file(redirect).and_then(|()| outside_git(redirect))
            }
            RedirectMode::ReadWrite => {
                self.construct(Construct::RedirectRead)?;
                self.construct(Construct::RedirectWrite)?;
                file(redirect).and_then(|()| outside_git(redirect))
            }
        }
    }
}

/// Whether a script begins with `set -f` and never takes it back.
fn is_noglob(nodes: &[Node]) -> bool {
    let sets = |node: &Node| node.builtin && node.program.as_ref().and_then(literal) == Some("set");
    let mut commands = nodes.iter().filter(|node| !matches!(node.kind, NodeKind::Sequence | NodeKind::And));
    let first = commands.next().filter(|node| sets(node) && node.redirects.is_empty() && node.assignments.is_empty());
    first.is_some_and(|node| matches!(node.args.as_slice(), [arg] if arg.text() == Some("-f"))) && !commands.any(sets)
}

/// Whether all that a word can become are numbers: it is `$(seq …)` and nothing else.
fn are_numbers(word: &Word) -> bool {
    let Word::Dynamic(expansion) = word else { return false };
    let inner = expansion.source.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    let Some((program, words)) = inner.and_then(|inner| inner.trim().split_once(' ')) else { return false };
    (program == "seq" || program.starts_with('/') && program.ends_with("/seq"))
        && words.bytes().all(|byte| byte.is_ascii_digit() || b" -'".contains(&byte))
}

/// What may be sent to a command: the innermost rule that says something counts.
fn input<'a>(rules: &[Rule<'a>]) -> &'a Input {
    rules.iter().rev().find_map(|rule| rule.program.input.as_ref()).unwrap_or(&Input::Nothing)
}

fn input_denied(rules: &[Rule], off: &str) -> Reason {
    let message = format!("{off}; an operator who wants it sets `{} = true`", rules[0].key(&["input"]));
    Reason::new("input-not-allowed", message)
}

fn not_assignable(name: &str) -> Reason {
    let message = format!(
        "scripts may not set the variable `{}`: no pattern of `scripts.variables` names it, or programs and the shell read it",
        shown(name)
    );
    Reason::new("assignment-not-allowed", message)
}

fn duplicate(target: &Word) -> Result<(), Reason> {
    match literal(target) {
        Some("0" | "1" | "2") => Ok(()),
        _ => Err(Reason::new("redirect-not-allowed", "a descriptor can be made a copy of 0, 1 or 2 only")),
    }
}

fn file(redirect: &Redirect) -> Result<(), Reason> {
    match (&redirect.place, literal(&redirect.target)) {
        (Some(place), _) if place.inside_roots => Ok(()),
        (_, Some(path)) => Err(Reason::new(
            "path-not-allowed",
            format!("the redirection to or from `{}` leads out of the working roots", shown(path)),
        )),
        (_, None) => Err(Reason::new(
            "dynamic-path",
            "a redirection whose path only the shell can tell can not be judged; write the path out",
        )),
    }
}

/// What git runs is named by files in there.
fn outside_git(redirect: &Redirect) -> Result<(), Reason> {
    if redirect.place.as_ref().is_some_and(|place| place.path.split('/').any(|name| name == ".git")) {
        return Err(Reason::new("path-not-allowed", "redirections never write to a `.git`, where programs to run can be named"));
    }
    Ok(())
}

/// The construct that a kind of node is.
fn construct(kind: NodeKind) -> Option<Construct> {
    Some(match kind {
        NodeKind::Command => return None,
        NodeKind::Pipeline => Construct::Pipeline,
        NodeKind::And | NodeKind::Or => Construct::AndOr,
        NodeKind::Sequence => Construct::Sequence,
        NodeKind::Background => Construct::Background,
        NodeKind::Negation => Construct::Negation,
        NodeKind::Timing => Construct::Timing,
        NodeKind::Group => Construct::Group,
        NodeKind::Subshell => Construct::Subshell,
        NodeKind::Conditional => Construct::Conditional,
        NodeKind::Loop | NodeKind::ForLoop => Construct::Loop,
        NodeKind::Case => Construct::Case,
        NodeKind::Test => Construct::Test,
        NodeKind::Arithmetic => Construct::Arithmetic,
        NodeKind::CommandSubstitution => Construct::CommandSubstitution,
        NodeKind::ProcessSubstitution => Construct::ProcessSubstitution,
    })
}
