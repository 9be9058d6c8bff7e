//! Which commands of a script may run before others, or beside them.

use portcullis_sdk::{Argument, Node, NodeKind, RedirectMode, Role, Word};

use crate::command::name;

/// Its nodes, by their places in the table.
pub struct Script<'a>(pub &'a [Node]);

impl<'a> Script<'a> {
    /// Whether one node may run before another begins, or beside it; before itself, where it is repeated.
    pub fn may_precede(&self, one: usize, other: usize) -> bool {
        if one == other || self.is_repeated(one, other) {
            return self.is_repeated(one, other);
        }
        let is_beside = self.is_apart(one) || self.is_apart(other) || self.shared_pipeline(one, other).is_some();
        is_beside || !self.makes_words_of(other, one) && (self.makes_words_of(one, other) || one < other)
    }

    /// Whether one node is in a later stage of a pipeline than the other, which feeds it, and runs neither again nor before it.
    pub fn takes_from(&self, one: usize, other: usize) -> bool {
        let is_later = self.shared_pipeline(one, other).is_some_and(|(one, other)| one > other);
        is_later && !self.is_repeated(one, other) && !self.is_apart(one) && !self.is_apart(other)
    }

    /// Whether what the node reads is what an earlier stage of a pipeline prints, or a text of the script.
    pub fn is_fed(&self, at: usize) -> bool {
        let first = |pipeline: usize| (0..self.0.len()).find(|child| self.parent(*child) == Some(pipeline));
        let input = |node: usize| self.0[node].redirects.iter().rev().find(|redirect| redirect.fd == 0);
        if let Some(redirect) = input(at) {
            return redirect.mode == RedirectMode::Text;
        }
        for (child, above) in self.around(at) {
            match input(child) {
                // Another descriptor may be the job's own input, or its terminal.
                Some(redirect) => return redirect.mode == RedirectMode::Text,
                None if self.0[above].kind == NodeKind::Pipeline && first(above) != Some(child) => return true,
                None => {}
            }
        }
        false
    }

    /// How often the node runs; none where only the shell can tell.
    pub fn times(&self, at: usize) -> Option<usize> {
        let is_one = |arg: &Argument| match &arg.word {
            Word::Literal(_) => true,
            Word::Dynamic(expansion) => expansion.one_word,
        };
        let loops = self.around(at).filter(|(child, above)| self.repeats(*child, *above)).map(|(_, above)| &self.0[above]);
        loops.into_iter().try_fold(1_usize, |times, node| {
            let is_known = node.kind == NodeKind::ForLoop && node.args.iter().all(is_one);
            is_known.then(|| times.saturating_mul(node.args.len().max(1)))
        })
    }

    /// Whether a loop goes on for as long as there is something to `read`.
    pub fn reads_on(&self, at: usize) -> bool {
        let is_condition = |node: &&Node| node.role == Role::Condition && node.parent.is_some_and(|above| above as usize == at);
        self.0.iter().find(is_condition).is_some_and(|condition| name(condition) == Some("read"))
    }

    fn parent(&self, at: usize) -> Option<usize> {
        self.0.get(at)?.parent.map(|above| above as usize).filter(|above| *above < at)
    }

    /// What stands around a node, from the inside out, each with the node through which it does.
    fn around(&self, at: usize) -> impl Iterator<Item = (usize, usize)> {
        std::iter::successors(self.parent(at).map(|above| (at, above)), |(_, child)| Some((*child, self.parent(*child)?)))
    }

    /// Whether a loop runs this child of it again and again: it makes its words once.
    fn repeats(&self, child: usize, around: usize) -> bool {
        match self.0[around].kind {
            NodeKind::Loop => true,
            NodeKind::ForLoop => self.0[child].role != Role::Word,
            _ => false,
        }
    }

    /// Whether both run in turns of one loop.
    fn is_repeated(&self, one: usize, other: usize) -> bool {
        let loops = |at: usize| self.around(at).filter(|(child, above)| self.repeats(*child, *above)).map(|(_, above)| above);
        loops(one).any(|around| loops(other).any(|other| other == around))
    }

    /// The stages of one pipeline that they stand in, if those are two.
    fn shared_pipeline(&self, one: usize, other: usize) -> Option<(usize, usize)> {
        let pipelines = |at: usize| self.around(at).filter(|(_, above)| self.0[*above].kind == NodeKind::Pipeline);
        let stages = pipelines(one).flat_map(|(stage, around)| {
            pipelines(other).filter(move |(_, above)| *above == around).map(move |(other, _)| (stage, other))
        });
        stages.into_iter().find(|(one, other)| one != other)
    }

    /// Whether it goes its own way: in the background, or at the other end of a file's name.
    fn is_apart(&self, at: usize) -> bool {
        let kinds = self.around(at).map(|(_, above)| self.0[above].kind);
        kinds.into_iter().any(|kind| matches!(kind, NodeKind::Background | NodeKind::ProcessSubstitution))
    }

    /// Whether one is a substitution's in the words of the other, which are made before it runs.
    fn makes_words_of(&self, one: usize, other: usize) -> bool {
        let is_simple = matches!(self.0[other].kind, NodeKind::Command | NodeKind::Test | NodeKind::Arithmetic);
        is_simple && self.around(one).any(|(_, above)| above == other)
    }
}
