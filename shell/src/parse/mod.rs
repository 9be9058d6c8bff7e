//! Shell text to the tree, by `brush-parser`'s grammar.
//!
//! What the grammar takes with a lenient reading and what this tree has no node for is refused. Runs in a sandbox, which bounds its
//! time, memory and stack.

mod arithmetic;
mod braces;
mod commands;
mod words;

use brush_parser::{ParserOptions, TokenizerOptions, ast};

use crate::{Id, Kind, Node, Redirect, Refusal, Role, Tree};

/// Most levels of anything inside anything. Rendering and judging recurse as deep.
const MOST_DEPTH: usize = 100;
/// Most nodes of one script.
const MOST_NODES: usize = 20_000;
/// Most words of one script, after brace expansion.
const MOST_WORDS: usize = 20_000;

/// Takes a script apart.
///
/// # Errors
///
/// Why it is refused.
pub fn parse(text: &str) -> Result<Tree, Refusal> {
    let mut builder = Builder::default();
    let items = commands::items(text)?;
    if items.is_empty() {
        return Err(Refusal::new("empty-command", "there is no command in it; send one such as `git status`"));
    }
    builder.list(items, None, Role::Root)?;
    Ok(Tree { nodes: builder.nodes })
}

/// The tree as far as it is made.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    depth: usize,
    words: usize,
}

impl Builder {
    /// Adds a node: first its place in the table, then what `make` finds in it.
    fn add(
        &mut self,
        parent: Option<Id>,
        role: Role,
        make: impl FnOnce(&mut Self, Id) -> Result<(Kind, Vec<Redirect>), Refusal>,
    ) -> Result<Id, Refusal> {
        if self.depth >= MOST_DEPTH {
            return Err(Refusal::new("too-deep", format!("the script nests deeper than {MOST_DEPTH} levels; write it flatter")));
        }
        if self.nodes.len() >= MOST_NODES {
            return Err(Refusal::new("too-long", format!("the script has more than {MOST_NODES} commands and constructs")));
        }
        let id = Id::try_from(self.nodes.len()).expect("the limit on nodes is smaller");
        self.nodes.push(Node { parent, role, kind: Kind::Sequence(Vec::new()), redirects: Vec::new() });
        self.depth += 1;
        let made = make(self, id);
        self.depth -= 1;
        let node = &mut self.nodes[id as usize];
        (node.kind, node.redirects) = made?;
        Ok(id)
    }
}

fn options() -> ParserOptions {
    ParserOptions { enable_extended_globbing: false, ..ParserOptions::default() }
}

fn program(text: &str) -> Result<ast::Program, Refusal> {
    // The grammar overlooks the blank, and newer shells run what follows.
    let opens_so = |behind: &str| behind.strip_prefix('{').is_some_and(|rest| rest.starts_with([' ', '\t', '\n', '|']));
    if text.split('$').skip(1).any(opens_so) {
        return Err(syntax_error("a blank or `|` follows `${`"));
    }
    let options = TokenizerOptions { enable_extended_globbing: false, ..TokenizerOptions::default() };
    let tokens = brush_parser::uncached_tokenize_str(text, &options).map_err(|error| syntax_error(&error.to_string()))?;
    brush_parser::parse_tokens(&tokens, &self::options()).map_err(|error| syntax_error(&error.to_string()))
}

fn syntax_error(what: &str) -> Refusal {
    Refusal::new("syntax-error", format!("this is not a script that bash could parse: {what}"))
}
