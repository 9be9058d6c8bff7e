//! A judgement, drawn for a person: the tree that was judged, what each policy said to it in each round, and what would run.

use anstyle::{AnsiColor, Style};

use crate::{
    config::Mode,
    digest::Digest,
    policy::{
        Answer, Chain, VerdictKind,
        types::{Launch, Node, NodeKind, Redirect, RedirectMode, Role, Word},
    },
    script::Script,
};

pub(super) const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const OTHER: Style = AnsiColor::Yellow.on_default();

/// One line of the drawing; only the text comes from the command.
struct Line {
    branches: String,
    label: &'static str,
    text: String,
}

/// The judged tree, a line per node, filtered.
pub(super) async fn tree(chain: &Chain, script: &Script) -> Vec<String> {
    let nodes = script.nodes();
    let mut children = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        if let Some(parent) = node.parent {
            children[parent as usize].push(at);
        }
    }
    let mut lines = Vec::new();
    draw(nodes, &children, 0, "", "", &mut lines);
    let mut drawn = Vec::new();
    for Line { branches, label, text } in lines {
        let text = chain.scrub(&text).await;
        drawn.push(format!("  {FAINT}{branches}{label}{FAINT:#}{text}"));
    }
    drawn
}

/// One answer of one policy.
pub(super) fn answer(answer: &Answer) -> String {
    let style = match answer.verdict {
        VerdictKind::Allow => GOOD,
        VerdictKind::Deny | VerdictKind::Fault => BAD,
        VerdictKind::Ask | VerdictKind::Rewrite => OTHER,
        VerdictKind::Abstain => FAINT,
    };
    let reason = answer.reason.as_ref().map_or(String::new(), |(code, message)| format!("  [{code}] {message}"));
    let (verdict, micros) = (answer.verdict.name(), answer.took.as_micros());
    let effect = match answer.mode {
        Mode::Enforce => "",
        Mode::Monitor => "  (monitored: without effect)",
    };
    format!("  round {}  {:12} {style}{verdict:8}{style:#} {micros:>6} µs{effect}{reason}", answer.round, answer.policy)
}

/// Which policies decided.
pub(super) fn set(digest: Digest) -> String {
    format!("  {FAINT}by the policies of set {}{FAINT:#}", digest.short())
}

/// The outcome, with what would run or why nothing would.
pub(super) fn outcome(name: &str, what: &str) -> String {
    let style = match name {
        "allow" => GOOD,
        "deny" => BAD,
        _ => OTHER,
    };
    format!("  {style}{BOLD}⇒ {name}{BOLD:#}{style:#}  {what}")
}

/// How it would be started.
pub(super) fn launch(launch: Launch) -> &'static str {
    match launch {
        Launch::Direct => "runs without a shell",
        Launch::Shell => "runs in the shell",
    }
}

fn draw(nodes: &[Node], children: &[Vec<usize>], at: usize, first: &str, rest: &str, lines: &mut Vec<Line>) {
    let node = &nodes[at];
    let inherited = node.parent.map(|parent| nodes[parent as usize].directory.as_str());
    lines.push(Line { branches: first.to_owned(), label: role(node.role), text: described(node, inherited) });
    let last = children[at].last();
    for child in &children[at] {
        let (branch, below) = if Some(child) == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(nodes, children, *child, &format!("{rest}{branch}"), &format!("{rest}{below}"), lines);
    }
}

fn described(node: &Node, inherited: Option<&str>) -> String {
    let kind = kind(node.kind).map(str::to_owned);
    let assignments = node.assignments.iter().map(|(name, word)| format!("{name}={}", shown(word)));
    let words = node.program.iter().chain(node.args.iter().map(|arg| &arg.word)).map(shown);
    let redirects = node.redirects.iter().map(redirected);
    let mut text = kind.into_iter().chain(assignments).chain(words).chain(redirects).collect::<Vec<_>>().join(" ");
    if let Some(program) = &node.resolved {
        text.push_str(&format!("  = {}", program.path));
    }
    if node.builtin {
        text.push_str("  (the shell's own)");
    }
    if inherited.is_some_and(|inherited| inherited != node.directory) {
        text.push_str(&format!("  in {}", node.directory));
    }
    text
}

fn shown(word: &Word) -> String {
    match word {
        Word::Literal(text) => portcullis_shell::quote(text),
        Word::Dynamic(expansion) if expansion.source.is_empty() => "…".to_owned(),
        Word::Dynamic(expansion) => format!("⟨{}⟩", expansion.source),
    }
}

fn redirected(redirect: &Redirect) -> String {
    let sign = match redirect.mode {
        RedirectMode::Read => "<",
        RedirectMode::Write => ">",
        RedirectMode::Append => ">>",
        RedirectMode::ReadWrite => "<>",
        RedirectMode::Clobber => ">|",
        RedirectMode::DuplicateRead => "<&",
        RedirectMode::DuplicateWrite => ">&",
        RedirectMode::Text => "<<",
    };
    format!("{}{sign}{}", redirect.fd, shown(&redirect.target))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Root | Role::Item => "",
        Role::Stage => "stage: ",
        Role::Left => "first: ",
        Role::Right => "then: ",
        Role::Condition => "condition: ",
        Role::Body => "body: ",
        Role::Alternative => "else: ",
        Role::Word => "in a word: ",
    }
}

/// What a construct is called; a command is shown by its words.
fn kind(kind: NodeKind) -> Option<&'static str> {
    Some(match kind {
        NodeKind::Command => return None,
        NodeKind::Pipeline => "pipeline",
        NodeKind::And => "and (&&)",
        NodeKind::Or => "or (||)",
        NodeKind::Sequence => "sequence",
        NodeKind::Background => "in the background (&)",
        NodeKind::Negation => "not (!)",
        NodeKind::Timing => "time",
        NodeKind::Group => "group { }",
        NodeKind::Subshell => "subshell ( )",
        NodeKind::Conditional => "if",
        NodeKind::Loop => "loop",
        NodeKind::ForLoop => "for",
        NodeKind::Case => "case",
        NodeKind::Test => "test [[ ]]",
        NodeKind::Arithmetic => "arithmetic (( ))",
        NodeKind::CommandSubstitution => "command substitution $( )",
        NodeKind::ProcessSubstitution => "process substitution <( )",
    })
}
