//! Where the standard input of each node comes from.

use portcullis_sdk::{Node, NodeKind, RedirectMode, Role, Word};

/// Where standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed<'a> {
    /// From the client, if it sends something to the job.
    Job,
    /// From nowhere.
    Nothing,
    /// From this text of the script.
    Text(&'a str),
    /// From another program, a file, or what only the shell can tell.
    Other,
}

/// The feeds of one node.
#[derive(Clone, Copy)]
struct Fed<'a> {
    /// Before its own redirections, which what stands in its words does not share.
    outer: Feed<'a>,
    /// With them.
    inner: Feed<'a>,
    /// It is a pipeline, and its first stage was seen.
    is_begun: bool,
    /// What stands in its words shares `inner`: the shell makes the redirections of a construct before it looks at its words.
    is_construct: bool,
    /// An earlier redirection of its input is in force while a later one is expanded.
    is_fed_twice: bool,
}

/// Traces standard input through the tree; parents stand before their children.
pub fn trace(nodes: &[Node]) -> Vec<Feed<'_>> {
    let mut all: Vec<Fed> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let parent = node.parent.and_then(|parent| all.get_mut(usize::try_from(parent).ok()?));
        let outer = parent.map_or(Feed::Job, |parent| inherited(parent, node));
        let inner =
            node.redirects.iter().filter(|redirect| redirect.fd == 0).fold(outer, |before, redirect| match redirect.mode {
                RedirectMode::Read if redirect.place.as_ref().is_some_and(|place| place.path == "/dev/null") => Feed::Nothing,
                RedirectMode::Text => match &redirect.target {
                    Word::Literal(text) => Feed::Text(text),
                    Word::Dynamic(_) => Feed::Other,
                },
                RedirectMode::DuplicateRead | RedirectMode::DuplicateWrite if is_zero(&redirect.target) => before,
                _ => Feed::Other,
            });
        let is_fed_twice = node.redirects.iter().filter(|redirect| redirect.fd == 0).count() > 1;
        all.push(Fed { outer, inner, is_begun: false, is_construct: node.kind != NodeKind::Command, is_fed_twice });
    }
    all.into_iter().map(|fed| fed.inner).collect()
}

fn inherited<'a>(parent: &mut Fed<'a>, node: &Node) -> Feed<'a> {
    let is_behind = node.role == Role::Stage && std::mem::replace(&mut parent.is_begun, true);
    match node.role {
        Role::Stage if is_behind => Feed::Other,
        // What `>(…)` runs reads what the other writes.
        _ if node.kind == NodeKind::ProcessSubstitution => Feed::Other,
        Role::Word if parent.is_fed_twice => Feed::Other,
        Role::Word if parent.is_construct => parent.inner,
        Role::Word => parent.outer,
        _ => parent.inner,
    }
}

fn is_zero(word: &Word) -> bool {
    matches!(word, Word::Literal(text) if text == "0")
}
