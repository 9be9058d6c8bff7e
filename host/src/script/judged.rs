//! The tree as the contract's table of nodes.

use std::{collections::HashMap, ffi::OsStr, path::Path, sync::Arc};

use portcullis_shell::{
    Assignment, Kind, Mode, Node as Syntax, Operation, Piece, Redirect as Redirection, Renderer, Resolved, Role as Part,
    TestPart, Tree, Word,
};

use super::{Lookups, course::Lead, renderer};
use crate::{
    fence::Fence,
    policy::types::{Argument, Constructs, Expansion, Node, NodeKind, Place, Redirect, RedirectMode, Role, Word as Judged},
};

/// One node per node of the tree, and which constructs occur.
pub(super) fn table<'a>(
    tree: &'a Tree,
    leads: &'a [Lead],
    fences: &[Option<Arc<Fence>>],
    site: &'a Lookups<'a>,
) -> (Vec<Node>, Constructs) {
    let renderer = renderer(tree, leads, Resolved::Program);
    let mut table = Table { renderer, site, constructs: Constructs::empty(), known: HashMap::new() };
    let mut node = |((node, lead), fence): ((&'a Syntax, &'a Lead), &Option<Arc<Fence>>)| Node {
        executes: fence.as_ref().and_then(|fence| fence.bounds().executes.clone()),
        opens: fence.as_ref().and_then(|fence| fence.bounds().opens.clone()),
        ..table.node(node, lead)
    };
    let nodes = tree.nodes.iter().zip(leads).zip(fences).map(&mut node).collect();
    (nodes, table.constructs)
}

struct Table<'a, R> {
    renderer: Renderer<'a, R>,
    site: &'a Lookups<'a>,
    constructs: Constructs,
    /// Where words lead, by the directory they are read in. The same words come again and again, and each costs calls to the
    /// system.
    known: HashMap<(&'a OsStr, &'a str), Vec<Place>>,
}

impl<'a, R: Fn(portcullis_shell::Id) -> Resolved<'a>> Table<'a, R> {
    fn node(&mut self, node: &'a Syntax, lead: &'a Lead) -> Node {
        let (kind, constructs) = kind(&node.kind);
        self.constructs |= constructs;
        let before = self.constructs;
        let (program, args, assignments) = self.words(&node.kind, lead);
        if matches!(node.kind, Kind::Case { .. } | Kind::Test(_)) {
            // Patterns there are compared with words and find no files.
            self.constructs &= before | !Constructs::GLOB;
        }
        let redirects = node.redirects.iter().map(|redirect| self.redirect(redirect, lead)).collect();
        Node {
            parent: node.parent,
            role: role(node.role),
            kind,
            directory: lead.at().to_string_lossy().into_owned(),
            program,
            resolved: match lead {
                Lead::Program { found, .. } => Some(found.program.clone()),
                _ => None,
            },
            builtin: matches!(lead, Lead::Builtin { .. } | Lead::Directory { .. }),
            args,
            assignments,
            redirects,
            executes: None,
            opens: None,
        }
    }

    fn words(&mut self, kind: &'a Kind, lead: &'a Lead) -> (Option<Judged>, Vec<Argument>, Vec<(String, Judged)>) {
        match kind {
            Kind::Command { assignments, words } => {
                let program = words.first().map(|word| self.word(word));
                let args = words.iter().skip(1).map(|word| self.argument(word, lead)).collect();
                let assignments = assignments.iter().map(|one| self.assignment(one)).collect();
                (program, args, assignments)
            }
            Kind::For { name, words, .. } => {
                let any = Expansion { source: String::new(), prefix: String::new(), one_word: true };
                let args = words.iter().map(|word| self.argument(word, lead)).collect();
                (None, args, vec![(name.clone(), Judged::Dynamic(any))])
            }
            Kind::Test(parts) => (None, parts.iter().map(|part| self.test(part, lead)).collect(), Vec::new()),
            Kind::Arithmetic(expression) => {
                let expansion = Expansion { source: expression.clone(), prefix: String::new(), one_word: true };
                (None, vec![Argument { word: Judged::Dynamic(expansion), places: Vec::new() }], Vec::new())
            }
            kind => (None, kind.words().into_iter().map(|word| self.argument(word, lead)).collect(), Vec::new()),
        }
    }

    fn assignment(&mut self, assignment: &Assignment) -> (String, Judged) {
        self.constructs |= Constructs::ASSIGNMENT;
        (assignment.name.clone(), self.word(&assignment.value))
    }

    fn test(&mut self, part: &'a TestPart, lead: &'a Lead) -> Argument {
        match part {
            TestPart::Operator(operator) => Argument { word: Judged::Literal(operator.clone()), places: Vec::new() },
            TestPart::Operand(word) => self.argument(word, lead),
        }
    }

    fn argument(&mut self, word: &'a Word, lead: &'a Lead) -> Argument {
        let places = word.text().map(|text| self.places(text, lead.at())).unwrap_or_default();
        Argument { word: self.word(word), places }
    }

    fn places(&mut self, text: &'a str, at: &'a Path) -> Vec<Place> {
        self.known.entry((at.as_os_str(), text)).or_insert_with(|| self.site.places(text, at)).clone()
    }

    fn word(&mut self, word: &Word) -> Judged {
        if let Some(text) = word.text() {
            return Judged::Literal(text.to_owned());
        }
        word.0.iter().for_each(|piece| self.constructs |= constructs(piece));
        Judged::Dynamic(Expansion { source: self.renderer.word(word), prefix: word.prefix().to_owned(), one_word: word.is_one() })
    }

    fn redirect(&mut self, redirect: &Redirection, lead: &Lead) -> Redirect {
        let (mode, construct) = mode(redirect.mode);
        self.constructs |= construct;
        let mut target = self.word(&redirect.target);
        let is_file = !matches!(mode, RedirectMode::Text | RedirectMode::DuplicateRead | RedirectMode::DuplicateWrite);
        let path = redirect.target.text().filter(|_| is_file);
        if let (RedirectMode::Text, Judged::Literal(text)) = (mode, &mut target) {
            text.push('\n');
        }
        Redirect { fd: redirect.fd, mode, target, place: path.and_then(|path| self.site.place_of(path, lead.at())) }
    }
}

fn role(role: Part) -> Role {
    match role {
        Part::Root => Role::Root,
        Part::Item => Role::Item,
        Part::Stage => Role::Stage,
        Part::Left => Role::Left,
        Part::Right => Role::Right,
        Part::Condition => Role::Condition,
        Part::Body => Role::Body,
        Part::Alternative => Role::Alternative,
        Part::Word => Role::Word,
    }
}

fn kind(kind: &Kind) -> (NodeKind, Constructs) {
    match kind {
        Kind::Command { .. } => (NodeKind::Command, Constructs::empty()),
        Kind::Pipeline(_) => (NodeKind::Pipeline, Constructs::PIPELINE),
        Kind::And(..) => (NodeKind::And, Constructs::AND_OR),
        Kind::Or(..) => (NodeKind::Or, Constructs::AND_OR),
        Kind::Sequence(_) => (NodeKind::Sequence, Constructs::SEQUENCE),
        Kind::Background(_) => (NodeKind::Background, Constructs::BACKGROUND),
        Kind::Negation(_) => (NodeKind::Negation, Constructs::NEGATION),
        Kind::Timing { .. } => (NodeKind::Timing, Constructs::TIMING),
        Kind::Group(_) => (NodeKind::Group, Constructs::GROUP),
        Kind::Subshell(_) => (NodeKind::Subshell, Constructs::SUBSHELL),
        Kind::Conditional { .. } => (NodeKind::Conditional, Constructs::CONDITIONAL),
        Kind::Loop { .. } => (NodeKind::Loop, Constructs::LOOP),
        Kind::For { .. } => (NodeKind::ForLoop, Constructs::LOOP),
        Kind::Case { .. } => (NodeKind::Case, Constructs::CASE),
        Kind::Test(_) => (NodeKind::Test, Constructs::TEST),
        Kind::Arithmetic(_) => (NodeKind::Arithmetic, Constructs::ARITHMETIC),
        Kind::CommandSubstitution(_) => (NodeKind::CommandSubstitution, Constructs::COMMAND_SUBSTITUTION),
        Kind::ProcessSubstitution { .. } => (NodeKind::ProcessSubstitution, Constructs::PROCESS_SUBSTITUTION),
    }
}

fn mode(mode: Mode) -> (RedirectMode, Constructs) {
    match mode {
        Mode::Read => (RedirectMode::Read, Constructs::REDIRECT_READ),
        Mode::Write => (RedirectMode::Write, Constructs::REDIRECT_WRITE),
        Mode::Append => (RedirectMode::Append, Constructs::REDIRECT_WRITE),
        Mode::ReadWrite => (RedirectMode::ReadWrite, Constructs::REDIRECT_WRITE),
        Mode::Clobber => (RedirectMode::Clobber, Constructs::REDIRECT_WRITE),
        Mode::DuplicateRead => (RedirectMode::DuplicateRead, Constructs::REDIRECT_READ),
        Mode::DuplicateWrite => (RedirectMode::DuplicateWrite, Constructs::REDIRECT_WRITE),
        Mode::Text => (RedirectMode::Text, Constructs::HERE_DOCUMENT),
    }
}

fn constructs(piece: &Piece) -> Constructs {
    match piece {
        // A node of its own says the same of commands.
        Piece::Literal(_) | Piece::Command { .. } | Piece::Process(_) => Constructs::empty(),
        Piece::Pattern(_) => Constructs::GLOB,
        Piece::Tilde(_) => Constructs::TILDE,
        Piece::Parameter { operation: Operation::Default(_, word), .. } => {
            word.0.iter().fold(Constructs::PARAMETER, |all, piece| all | constructs(piece))
        }
        Piece::Parameter { .. } => Constructs::PARAMETER,
        Piece::Arithmetic { .. } => Constructs::ARITHMETIC,
    }
}
