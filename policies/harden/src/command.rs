//! What is asked of any command, and set in front of it.

use portcullis_sdk::{Edit, Edited, Node, literal};

/// What a command runs: a builtin of this name, or the program that looking this name up leads to.
pub fn name(node: &Node) -> Option<&str> {
    match &node.resolved {
        Some(program) => program.name.rsplit('/').next().filter(|_| program.looked_up),
        None => node.program.as_ref().filter(|_| node.builtin).and_then(literal),
    }
}

/// Whether the node runs the program that looking this name up leads to, whatever its arguments are.
pub fn runs(node: &Node, program: &str) -> bool {
    node.resolved.is_some() && name(node) == Some(program)
}

/// The edit that sets what is not set so in front of the node already, if anything.
pub fn with_variables(node: &Node, index: u32, variables: &[(&str, &str)]) -> Option<Edit> {
    let is_set = |(name, value): &&(&str, &str)| {
        node.assignments.iter().any(|(known, word)| known == name && literal(word) == Some(*value))
    };
    let missing = variables.iter().filter(|variable| !is_set(variable));
    let edit = missing.fold(Edit::new(index), |edit, (name, value)| edit.set(*name, *value));
    (!edit.assignments.is_empty()).then_some(edit)
}

/// The arguments of a node, with one more that stands at this index.
pub fn with_word(node: &Node, at: usize, word: &str) -> Vec<Edited> {
    let mut args: Vec<Edited> = (0..node.args.len()).filter_map(|at| u32::try_from(at).ok()).map(Edited::Keep).collect();
    args.insert(at, Edited::Literal(word.to_owned()));
    args
}
