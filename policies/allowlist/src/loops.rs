//! What `"$f"` is inside of `for f in a.txt b.txt`: each of these words in turn, with the place it leads to.
//!
//! A command with such words is judged once for each of them, as if they stood there. When it starts, the host has it judged once
//! more, by what they have become.

use std::{borrow::Cow, collections::BTreeMap};

use portcullis_sdk::{Argument, Node, NodeKind, RedirectMode, Role, Word, literal};

use crate::variable::{is_arithmetic, is_name, names_in};

/// Most times that one command is judged: an agent chooses how many words its loops have, and how they nest.
const MOST_INSTANCES: usize = 1000;

/// Builtins that set no variable, whatever they are told.
const SETTING_NOTHING: &[&str] = &[":", "break", "cd", "command", "continue", "exit", "set", "shift", "umask", "wait"];

/// The loops of a script whose variables have known values.
pub struct Loops<'a> {
    nodes: &'a [Node],
    known: BTreeMap<usize, Known<'a>>,
}

/// What the variable of a loop can be.
struct Known<'a> {
    values: &'a [Argument],
    /// Without quotes each of them stays the one word that it is, too.
    are_plain: bool,
}

impl<'a> Loops<'a> {
    /// The loops of these nodes.
    pub fn new(nodes: &'a [Node]) -> Self {
        let loops = nodes.iter().enumerate().filter(|(_, node)| node.kind == NodeKind::ForLoop);
        let known = loops.filter_map(|(at, node)| Some((at, known(nodes, at, node)?))).collect();
        Self { nodes, known }
    }

    /// The node with this index, once for each of the values that its words can have; as it is where they are not known.
    pub fn instances(&self, at: usize) -> Vec<Cow<'a, Node>> {
        let node = &self.nodes[at];
        let words = node.args.iter().map(|arg| &arg.word).chain(node.redirects.iter().map(|redirect| &redirect.target));
        let names = words.filter_map(|word| Some((Variable::of(word)?.name, self.values(at, word)?)));
        let variables: BTreeMap<&str, &[Argument]> = if self.known.is_empty() { BTreeMap::new() } else { names.collect() };
        let count = variables.values().try_fold(1_usize, |count, values| count.checked_mul(values.len()));
        if variables.is_empty() || count.is_none_or(|count| count > MOST_INSTANCES) {
            return vec![Cow::Borrowed(node)];
        }
        let mut instances = vec![node.clone()];
        for (name, values) in variables {
            instances = instances.iter().flat_map(|node| values.iter().map(|value| self.with(node, at, name, value))).collect();
        }
        instances.into_iter().map(Cow::Owned).collect()
    }

    /// The node with this value for this variable, wherever that is known to be all that a word becomes.
    fn with(&self, node: &Node, at: usize, name: &str, value: &Argument) -> Node {
        let is_it =
            |word: &Word| Variable::of(word).is_some_and(|variable| variable.name == name) && self.values(at, word).is_some();
        let mut node = node.clone();
        node.args.iter_mut().filter(|arg| is_it(&arg.word)).for_each(|arg| *arg = value.clone());
        // What is written to is looked at by others, who see no place there.
        for redirect in node.redirects.iter_mut().filter(|one| one.mode == RedirectMode::Read && is_it(&one.target)) {
            redirect.target = value.word.clone();
            redirect.place = value.places.iter().find(|place| place.start == 0).cloned();
        }
        node
    }

    /// What a word of this node can be, if it is the variable of a known loop that stands around it in the same directory.
    fn values(&self, at: usize, word: &Word) -> Option<&'a [Argument]> {
        let variable = Variable::of(word)?;
        let around = self.around(at).find(|around| name(&self.nodes[*around]) == Some(variable.name))?;
        let known = self.known.get(&around).filter(|known| variable.is_one_word || known.are_plain)?;
        (self.nodes[around].directory == self.nodes[at].directory).then_some(known.values)
    }

    /// The loops in whose bodies a node stands, the innermost first.
    fn around(&self, at: usize) -> impl Iterator<Item = usize> {
        let is_in_body = |at: &usize| self.nodes[*at].role == Role::Body;
        let bodies = above(self.nodes, at).filter(is_in_body);
        bodies.filter_map(|body| parent(self.nodes, body)).filter(|at| self.nodes[*at].kind == NodeKind::ForLoop)
    }
}

/// A word that is the value of a variable and nothing else, in the form in which the host writes it.
struct Variable<'a> {
    name: &'a str,
    /// It is not taken apart, and becomes no names of files.
    is_one_word: bool,
}

impl<'a> Variable<'a> {
    fn of(word: &'a Word) -> Option<Self> {
        let Word::Dynamic(expansion) = word else { return None };
        let source = expansion.source.as_str();
        let inner = source.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(source);
        let name = inner.strip_prefix("${")?.strip_suffix('}').filter(|name| is_name(name))?;
        Some(Self { name, is_one_word: expansion.one_word })
    }
}

/// What the variable of a loop can be, if that is written out and nothing else sets it.
fn known<'a>(nodes: &'a [Node], at: usize, node: &'a Node) -> Option<Known<'a>> {
    let name = name(node)?;
    let values: Vec<&str> = node.args.iter().map(Argument::text).collect::<Option<_>>()?;
    // Programs would read some of these as options, and none is needed: `./*` makes paths of them.
    let has_dashes = values.iter().any(|value| value.starts_with('-'));
    let is_set_by = |(other, node): (usize, &Node)| match node.kind {
        NodeKind::ForLoop => {
            let is_inside = other != at && above(nodes, other).any(|above| above == at);
            is_inside && self::name(node) == Some(name) || counts_anywhere(node, name)
        }
        _ => sets(node, name),
    };
    if values.is_empty() || has_dashes || nodes.iter().enumerate().any(is_set_by) {
        return None;
    }
    let is_plain = |value: &&str| !value.is_empty() && !value.contains([' ', '\t', '\n', '*', '?', '[', '\\']);
    Some(Known { values: &node.args, are_plain: values.iter().all(is_plain) })
}

/// Whether a node that is no loop over words may give this variable a value.
fn sets(node: &Node, name: &str) -> bool {
    let is_named = |arg: &Argument| match &arg.word {
        Word::Literal(text) => text.split(['=', '+']).next() == Some(name),
        Word::Dynamic(expansion) => expansion.prefix.split_once('=').is_none_or(|(known, _)| known == name),
    };
    let builtin = node.program.as_ref().filter(|_| node.builtin).map(|program| literal(program).unwrap_or_default());
    let is_told = builtin.is_some_and(|builtin| {
        // Without a name `read` sets this one.
        !SETTING_NOTHING.contains(&builtin) && (node.args.iter().any(is_named) || name == "REPLY")
    });
    is_told || node.assignments.iter().any(|(known, _)| known == name) || counts_anywhere(node, name)
}

/// Whether any word of a node is arithmetic with this variable that may set it.
fn counts_anywhere(node: &Node, name: &str) -> bool {
    let targets = node.redirects.iter().map(|redirect| &redirect.target);
    let assigned = node.assignments.iter().map(|(_, value)| value);
    let mut words = node.args.iter().map(|arg| &arg.word).chain(targets).chain(assigned);
    words.any(|word| counts(word, node.kind, name))
}

/// Whether a word is arithmetic with this variable that may set it.
fn counts(word: &Word, kind: NodeKind, name: &str) -> bool {
    let Word::Dynamic(expansion) = word else { return false };
    let source = expansion.source.as_str();
    is_arithmetic(source, kind)
        && names_in(source).any(|known| known == name)
        && ["=", "++", "--"].iter().any(|sign| source.contains(sign))
}

fn name(node: &Node) -> Option<&str> {
    node.assignments.first().map(|(name, _)| name.as_str())
}

fn parent(nodes: &[Node], at: usize) -> Option<usize> {
    nodes[at].parent.and_then(|parent| usize::try_from(parent).ok()).filter(|parent| *parent < at)
}

/// A node and all that it stands in.
fn above(nodes: &[Node], at: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(at), |at| parent(nodes, *at))
}
