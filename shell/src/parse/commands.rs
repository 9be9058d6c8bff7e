//! Commands and the constructs around them.

use brush_parser::ast::{
    self, AssignmentName, AssignmentValue, BinaryPredicate, CommandPrefixOrSuffixItem as Item, CompoundListItem,
    IoFileRedirectKind as File, IoFileRedirectTarget as Target, SeparatorOperator, UnaryPredicate,
};

use super::{Builder, arithmetic, program, syntax_error, words::Use};
use crate::{
    Arm, Assignment, Direction, Id, Kind, Mode, Piece, Redirect, Refusal, Role, TestPart, Word,
    refuse::{never, unsupported},
};

/// Builtins whose arguments of the form `NAME=value` the shell reads as assignments.
const DECLARING: [&str; 2] = ["export", "readonly"];
/// What a node is made of, without its place in the table.
type Made = Result<(Kind, Vec<Redirect>), Refusal>;

/// The commands of a text, one after the other.
pub(super) fn items(text: &str) -> Result<Vec<CompoundListItem>, Refusal> {
    Ok(program(text)?.complete_commands.into_iter().flat_map(|list| list.0).collect())
}

impl Builder {
    /// A list of commands: the only one, or a sequence.
    pub(super) fn list(&mut self, items: Vec<CompoundListItem>, parent: Option<Id>, role: Role) -> Result<Id, Refusal> {
        let mut items = items.into_iter();
        match (items.next(), items.len()) {
            (None, _) => Err(syntax_error("a list of commands is empty")),
            (Some(only), 0) => self.item(only, parent, role),
            (Some(first), _) => self.add(parent, role, |builder, id| {
                let items = std::iter::once(first).chain(items);
                let items = items.map(|item| builder.item(item, Some(id), Role::Item)).collect::<Result<_, _>>()?;
                Ok((Kind::Sequence(items), Vec::new()))
            }),
        }
    }

    fn item(&mut self, item: CompoundListItem, parent: Option<Id>, role: Role) -> Result<Id, Refusal> {
        let CompoundListItem(list, separator) = item;
        match separator {
            SeparatorOperator::Sequence => self.and_or(list.first, list.additional, parent, role),
            SeparatorOperator::Async => self.add(parent, role, |builder, id| {
                Ok((Kind::Background(builder.and_or(list.first, list.additional, Some(id), Role::Item)?), Vec::new()))
            }),
        }
    }

    fn and_or(&mut self, first: ast::Pipeline, mut rest: Vec<ast::AndOr>, parent: Option<Id>, role: Role) -> Result<Id, Refusal> {
        let Some(last) = rest.pop() else { return self.pipeline(first, parent, role) };
        self.add(parent, role, |builder, id| {
            let left = builder.and_or(first, rest, Some(id), Role::Left)?;
            let kind = match last {
                ast::AndOr::And(right) => Kind::And(left, builder.pipeline(right, Some(id), Role::Right)?),
                ast::AndOr::Or(right) => Kind::Or(left, builder.pipeline(right, Some(id), Role::Right)?),
            };
            Ok((kind, Vec::new()))
        })
    }

    fn pipeline(&mut self, mut pipeline: ast::Pipeline, parent: Option<Id>, role: Role) -> Result<Id, Refusal> {
        if pipeline.seq.is_empty() {
            return Err(unsupported("`!` or `time` without a command"));
        }
        if let Some(timed) = pipeline.timed.take() {
            let posix = matches!(timed, ast::PipelineTimed::TimedWithPosixOutput(_));
            return self.add(parent, role, |builder, id| {
                Ok((Kind::Timing { item: builder.pipeline(pipeline, Some(id), Role::Item)?, posix }, Vec::new()))
            });
        }
        if std::mem::take(&mut pipeline.bang) {
            return self.add(parent, role, |builder, id| {
                Ok((Kind::Negation(builder.pipeline(pipeline, Some(id), Role::Item)?), Vec::new()))
            });
        }
        if pipeline.seq.len() == 1 {
            return self.command(pipeline.seq.remove(0), parent, role);
        }
        self.add(parent, role, |builder, id| {
            let stages = pipeline.seq.into_iter().map(|stage| builder.command(stage, Some(id), Role::Stage));
            Ok((Kind::Pipeline(stages.collect::<Result<_, _>>()?), Vec::new()))
        })
    }

    fn command(&mut self, command: ast::Command, parent: Option<Id>, role: Role) -> Result<Id, Refusal> {
        self.add(parent, role, |builder, id| match command {
            ast::Command::Simple(command) => builder.simple(command, id),
            ast::Command::Compound(command, redirects) => {
                let kind = builder.compound(command, id)?;
                Ok((kind, builder.redirects(redirects.map_or(Vec::new(), |list| list.0), id)?))
            }
            ast::Command::ExtendedTest(command, redirects) => {
                let mut parts = Vec::new();
                builder.test(command.expr, id, &mut parts)?;
                Ok((Kind::Test(parts), builder.redirects(redirects.map_or(Vec::new(), |list| list.0), id)?))
            }
            ast::Command::Function(_) => Err(never("a function definition")),
        })
    }

    /// Words first and redirections behind them, as they are rendered, so that nodes inside them stand in that order.
    fn simple(&mut self, command: ast::SimpleCommand, id: Id) -> Made {
        let (mut assignments, mut words, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for item in command.prefix.into_iter().flat_map(|prefix| prefix.0) {
            match item {
                Item::AssignmentWord(assignment, _) => assignments.push(self.assignment(assignment, id)?),
                Item::IoRedirect(redirect) => unread.push(redirect),
                Item::Word(_) | Item::ProcessSubstitution(..) => return Err(syntax_error("a word stands before the program")),
            }
        }
        if let Some(program) = command.word_or_name {
            self.words(&program.value, id, &mut words)?;
            if words.is_empty() {
                return Err(unsupported("a command whose first word is nothing"));
            }
        }
        let declares = words.first().and_then(Word::text).is_some_and(|program| DECLARING.contains(&program));
        for item in command.suffix.into_iter().flat_map(|suffix| suffix.0) {
            match item {
                Item::AssignmentWord(assignment, _) if declares => words.push(self.declaration(assignment, id)?),
                Item::AssignmentWord(_, word) | Item::Word(word) => self.words(&word.value, id, &mut words)?,
                Item::IoRedirect(redirect) => unread.push(redirect),
                Item::ProcessSubstitution(kind, commands) => words.push(self.process(kind, commands, id)?),
            }
        }
        let redirects = self.redirects(unread, id)?;
        Ok((Kind::Command { assignments, words }, redirects))
    }

    fn assignment(&mut self, assignment: ast::Assignment, id: Id) -> Result<Assignment, Refusal> {
        match assignment {
            ast::Assignment {
                name: AssignmentName::VariableName(name),
                value: AssignmentValue::Scalar(value),
                append: false,
                ..
            } => Ok(Assignment { name, value: self.word(&value.value, Use::Value, id)? }),
            _ => Err(unsupported("an assignment to an array, or with `+=`,")),
        }
    }

    /// `NAME=value` behind `export`.
    fn declaration(&mut self, assignment: ast::Assignment, id: Id) -> Result<Word, Refusal> {
        let Assignment { name, value } = self.assignment(assignment, id)?;
        let mut pieces = vec![Piece::Literal(format!("{name}="))];
        for piece in value.0 {
            match (pieces.last_mut(), piece) {
                (_, Piece::Tilde(_)) => return Err(unsupported("a tilde in a declaration")),
                (Some(Piece::Literal(before)), Piece::Literal(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
        Ok(Word(pieces))
    }

    fn compound(&mut self, command: ast::CompoundCommand, id: Id) -> Result<Kind, Refusal> {
        let parent = Some(id);
        Ok(match command {
            ast::CompoundCommand::Arithmetic(command) => Kind::Arithmetic(arithmetic::canonical(&command.expr.value)?),
            ast::CompoundCommand::BraceGroup(group) => Kind::Group(self.list(group.list.0, parent, Role::Item)?),
            ast::CompoundCommand::Subshell(group) => {
                let item = self.list(group.list.0, parent, Role::Item)?;
                // Its canonical text could be read as arithmetic.
                if matches!(self.nodes[item as usize].kind, Kind::Subshell(_)) {
                    return Err(unsupported("a subshell that is nothing but a subshell"));
                }
                Kind::Subshell(item)
            }
            ast::CompoundCommand::ForClause(clause) => self.for_clause(clause, id)?,
            ast::CompoundCommand::CaseClause(clause) => self.case_clause(clause, id)?,
            ast::CompoundCommand::IfClause(clause) => {
                let alternatives = clause.elses.unwrap_or_default();
                self.conditional(clause.condition, clause.then, alternatives, id)?
            }
            ast::CompoundCommand::WhileClause(clause) => self.while_clause(clause, false, id)?,
            ast::CompoundCommand::UntilClause(clause) => self.while_clause(clause, true, id)?,
            ast::CompoundCommand::ArithmeticForClause(_) => return Err(unsupported("`for ((…))`")),
            ast::CompoundCommand::Coprocess(_) => return Err(never("`coproc`")),
        })
    }

    fn for_clause(&mut self, clause: ast::ForClauseCommand, id: Id) -> Result<Kind, Refusal> {
        let values = clause.values.ok_or_else(|| unsupported("a `for` without `in`"))?;
        let mut words = Vec::new();
        for value in values {
            self.words(&value.value, id, &mut words)?;
        }
        Ok(Kind::For { name: clause.variable_name, words, body: self.list(clause.body.list.0, Some(id), Role::Body)? })
    }

    fn case_clause(&mut self, clause: ast::CaseClauseCommand, id: Id) -> Result<Kind, Refusal> {
        let subject = self.word(&clause.value.value, Use::Value, id)?;
        let mut arms = Vec::new();
        for case in clause.cases {
            if !matches!(case.post_action, ast::CaseItemPostAction::ExitCase) {
                return Err(unsupported("a `case` with `;&` or `;;&`"));
            }
            let patterns = case.patterns.iter().map(|pattern| self.word(&pattern.value, Use::Pattern, id));
            let patterns = patterns.collect::<Result<_, _>>()?;
            let body = case.cmd.map(|body| self.list(body.0, Some(id), Role::Alternative)).transpose()?;
            arms.push(Arm { patterns, body });
        }
        Ok(Kind::Case { subject, arms })
    }

    fn while_clause(&mut self, clause: ast::WhileOrUntilClauseCommand, until: bool, id: Id) -> Result<Kind, Refusal> {
        let condition = self.list(clause.0.0, Some(id), Role::Condition)?;
        let body = self.list(clause.1.list.0, Some(id), Role::Body)?;
        Ok(Kind::Loop { condition, body, until })
    }

    /// `elif` becomes a conditional in the alternative.
    fn conditional(
        &mut self,
        condition: ast::CompoundList,
        body: ast::CompoundList,
        mut alternatives: Vec<ast::ElseClause>,
        id: Id,
    ) -> Result<Kind, Refusal> {
        let parent = Some(id);
        let condition = self.list(condition.0, parent, Role::Condition)?;
        let body = self.list(body.0, parent, Role::Body)?;
        if alternatives.is_empty() {
            return Ok(Kind::Conditional { condition, body, alternative: None });
        }
        let rest = alternatives.split_off(1);
        let alternative = match alternatives.remove(0) {
            ast::ElseClause { condition: None, body } => self.list(body.0, parent, Role::Alternative)?,
            ast::ElseClause { condition: Some(condition), body } => self.add(parent, Role::Alternative, |builder, id| {
                Ok((builder.conditional(condition, body, rest, id)?, Vec::new()))
            })?,
        };
        Ok(Kind::Conditional { condition, body, alternative: Some(alternative) })
    }

    fn process(&mut self, kind: ast::ProcessSubstitutionKind, commands: ast::SubshellCommand, id: Id) -> Result<Word, Refusal> {
        self.count_words(1)?;
        let direction = match kind {
            ast::ProcessSubstitutionKind::Read => Direction::Read,
            ast::ProcessSubstitutionKind::Write => Direction::Write,
        };
        let node = self.add(Some(id), Role::Word, |builder, id| {
            let item = builder.list(commands.list.0, Some(id), Role::Item)?;
            Ok((Kind::ProcessSubstitution { item, direction }, Vec::new()))
        })?;
        Ok(Word(vec![Piece::Process(node)]))
    }
}

/// Redirections.
impl Builder {
    fn redirects(&mut self, redirects: Vec<ast::IoRedirect>, id: Id) -> Result<Vec<Redirect>, Refusal> {
        let mut made = Vec::new();
        for redirect in redirects {
            self.redirect(redirect, id, &mut made)?;
        }
        Ok(made)
    }

    fn redirect(&mut self, redirect: ast::IoRedirect, id: Id, made: &mut Vec<Redirect>) -> Result<(), Refusal> {
        match redirect {
            ast::IoRedirect::File(fd, kind, target) => self.file(fd, kind, target, id, made)?,
            ast::IoRedirect::OutputAndError(target, append) => self.output_and_error(&target.value, append, id, made)?,
            ast::IoRedirect::HereString(fd, word) => {
                let target = self.word(&word.value, Use::Value, id)?;
                made.push(Redirect { fd: descriptor(fd, 0)?, mode: Mode::Text, target });
            }
            ast::IoRedirect::HereDocument(fd, document) => {
                let fd = descriptor(fd, 0)?;
                made.push(match document.doc.value.strip_suffix('\n') {
                    None if document.doc.value.is_empty() => {
                        Redirect { fd, mode: Mode::Read, target: Word::literal("/dev/null") }
                    }
                    text => {
                        let text = text.unwrap_or(&document.doc.value);
                        let target =
                            if document.requires_expansion { self.word(text, Use::Document, id)? } else { Word::literal(text) };
                        Redirect { fd, mode: Mode::Text, target }
                    }
                });
            }
        }
        Ok(())
    }

    fn file(&mut self, fd: Option<i32>, kind: File, target: Target, id: Id, made: &mut Vec<Redirect>) -> Result<(), Refusal> {
        let (mode, usual) = match kind {
            File::Read => (Mode::Read, 0),
            File::Write => (Mode::Write, 1),
            File::Append => (Mode::Append, 1),
            File::ReadAndWrite => (Mode::ReadWrite, 0),
            File::Clobber => (Mode::Clobber, 1),
            File::DuplicateInput => (Mode::DuplicateRead, 0),
            File::DuplicateOutput => (Mode::DuplicateWrite, 1),
        };
        let target = match target {
            Target::Filename(word) => self.word(&word.value, Use::File, id)?,
            Target::Fd(number) => Word::literal(number.to_string()),
            Target::ProcessSubstitution(kind, commands) => self.process(kind, commands, id)?,
            Target::Duplicate(word) if mode == Mode::DuplicateWrite && fd.is_none() && !is_descriptor(&word.value) => {
                return self.output_and_error(&word.value, false, id, made);
            }
            Target::Duplicate(word) if is_descriptor(&word.value) => Word::literal(word.value),
            Target::Duplicate(_) => return Err(unsupported("a copy of a descriptor that is no number from 0 to 9")),
        };
        made.push(Redirect { fd: descriptor(fd, usual)?, mode, target });
        Ok(())
    }

    /// `&>file` is `>file 2>&1`.
    fn output_and_error(&mut self, file: &str, append: bool, id: Id, made: &mut Vec<Redirect>) -> Result<(), Refusal> {
        let target = self.word(file, Use::File, id)?;
        if target.text().is_none() {
            return Err(unsupported("`>&` or `&>` and a word that only the shell can tell"));
        }
        made.push(Redirect { fd: 1, mode: if append { Mode::Append } else { Mode::Write }, target });
        made.push(Redirect { fd: 2, mode: Mode::DuplicateWrite, target: Word::literal("1") });
        Ok(())
    }
}

fn is_descriptor(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9'] | [b'-'])
}

/// The shell keeps descriptors from 10 on for itself.
fn descriptor(given: Option<i32>, usual: u32) -> Result<u32, Refusal> {
    match given {
        None => Ok(usual),
        Some(fd) => u32::try_from(fd).ok().filter(|fd| *fd <= 9).ok_or_else(|| unsupported("a descriptor above 9")),
    }
}

/// `[[ … ]]`.
impl Builder {
    fn test(&mut self, expression: ast::ExtendedTestExpr, id: Id, parts: &mut Vec<TestPart>) -> Result<(), Refusal> {
        if self.depth >= super::MOST_DEPTH {
            return Err(unsupported("a test that nests so deep"));
        }
        self.depth += 1;
        let done = self.test_here(expression, id, parts);
        self.depth -= 1;
        done
    }

    fn test_here(&mut self, expression: ast::ExtendedTestExpr, id: Id, parts: &mut Vec<TestPart>) -> Result<(), Refusal> {
        let operator = |text: &str| TestPart::Operator(text.to_owned());
        match expression {
            ast::ExtendedTestExpr::And(left, right) => self.joined(*left, "&&", *right, id, parts)?,
            ast::ExtendedTestExpr::Or(left, right) => self.joined(*left, "||", *right, id, parts)?,
            ast::ExtendedTestExpr::Not(inner) => {
                parts.push(operator("!"));
                self.bracketed(*inner, id, parts)?;
            }
            ast::ExtendedTestExpr::Parenthesized(inner) => self.test(*inner, id, parts)?,
            ast::ExtendedTestExpr::UnaryTest(predicate, word) => {
                parts.push(operator(unary(&predicate)?));
                parts.push(TestPart::Operand(self.word(&word.value, Use::Value, id)?));
            }
            ast::ExtendedTestExpr::BinaryTest(predicate, left, right) => {
                let (text, usage) = binary(&predicate)?;
                parts.push(TestPart::Operand(self.word(&left.value, Use::Value, id)?));
                parts.push(operator(text));
                parts.push(TestPart::Operand(self.word(&right.value, usage, id)?));
            }
        }
        Ok(())
    }

    fn joined(
        &mut self,
        left: ast::ExtendedTestExpr,
        operator: &str,
        right: ast::ExtendedTestExpr,
        id: Id,
        parts: &mut Vec<TestPart>,
    ) -> Result<(), Refusal> {
        self.bracketed(left, id, parts)?;
        parts.push(TestPart::Operator(operator.to_owned()));
        self.bracketed(right, id, parts)
    }

    /// With brackets around all that is more than one test, so that no precedence has to be remembered.
    fn bracketed(&mut self, inner: ast::ExtendedTestExpr, id: Id, parts: &mut Vec<TestPart>) -> Result<(), Refusal> {
        let mut inner = inner;
        while let ast::ExtendedTestExpr::Parenthesized(within) = inner {
            inner = *within;
        }
        let is_single = matches!(inner, ast::ExtendedTestExpr::UnaryTest(..) | ast::ExtendedTestExpr::BinaryTest(..));
        if is_single {
            return self.test(inner, id, parts);
        }
        parts.push(TestPart::Operator("(".to_owned()));
        self.test(inner, id, parts)?;
        parts.push(TestPart::Operator(")".to_owned()));
        Ok(())
    }
}

fn unary(predicate: &UnaryPredicate) -> Result<&'static str, Refusal> {
    Ok(match predicate {
        UnaryPredicate::FileExists => "-e",
        UnaryPredicate::FileExistsAndIsBlockSpecialFile => "-b",
        UnaryPredicate::FileExistsAndIsCharSpecialFile => "-c",
        UnaryPredicate::FileExistsAndIsDir => "-d",
        UnaryPredicate::FileExistsAndIsRegularFile => "-f",
        UnaryPredicate::FileExistsAndIsSetgid => "-g",
        UnaryPredicate::FileExistsAndIsSymlink => "-h",
        UnaryPredicate::FileExistsAndHasStickyBit => "-k",
        UnaryPredicate::FileExistsAndIsFifo => "-p",
        UnaryPredicate::FileExistsAndIsReadable => "-r",
        UnaryPredicate::FileExistsAndIsNotZeroLength => "-s",
        UnaryPredicate::FdIsOpenTerminal => "-t",
        UnaryPredicate::FileExistsAndIsSetuid => "-u",
        UnaryPredicate::FileExistsAndIsWritable => "-w",
        UnaryPredicate::FileExistsAndIsExecutable => "-x",
        UnaryPredicate::FileExistsAndOwnedByEffectiveGroupId => "-G",
        UnaryPredicate::FileExistsAndModifiedSinceLastRead => "-N",
        UnaryPredicate::FileExistsAndOwnedByEffectiveUserId => "-O",
        UnaryPredicate::FileExistsAndIsSocket => "-S",
        UnaryPredicate::StringHasZeroLength => "-z",
        UnaryPredicate::StringHasNonZeroLength => "-n",
        UnaryPredicate::ShellOptionEnabled => return Err(unsupported("`[[ -o … ]]`")),
        UnaryPredicate::ShellVariableIsSetAndAssigned | UnaryPredicate::ShellVariableIsSetAndNameRef => {
            return Err(never("a test with `-v` or `-R`"));
        }
    })
}

fn binary(predicate: &BinaryPredicate) -> Result<(&'static str, Use), Refusal> {
    Ok(match predicate {
        BinaryPredicate::FilesReferToSameDeviceAndInodeNumbers => ("-ef", Use::Value),
        BinaryPredicate::LeftFileIsNewerOrExistsWhenRightDoesNot => ("-nt", Use::Value),
        BinaryPredicate::LeftFileIsOlderOrDoesNotExistWhenRightDoes => ("-ot", Use::Value),
        BinaryPredicate::StringExactlyMatchesPattern | BinaryPredicate::StringExactlyMatchesString => ("==", Use::Pattern),
        BinaryPredicate::StringDoesNotExactlyMatchPattern | BinaryPredicate::StringDoesNotExactlyMatchString => {
            ("!=", Use::Pattern)
        }
        BinaryPredicate::LeftSortsBeforeRight => ("<", Use::Value),
        BinaryPredicate::LeftSortsAfterRight => (">", Use::Value),
        BinaryPredicate::ArithmeticEqualTo => ("-eq", Use::Value),
        BinaryPredicate::ArithmeticNotEqualTo => ("-ne", Use::Value),
        BinaryPredicate::ArithmeticLessThan => ("-lt", Use::Value),
        BinaryPredicate::ArithmeticLessThanOrEqualTo => ("-le", Use::Value),
        BinaryPredicate::ArithmeticGreaterThan => ("-gt", Use::Value),
        BinaryPredicate::ArithmeticGreaterThanOrEqualTo => ("-ge", Use::Value),
        BinaryPredicate::StringMatchesRegex | BinaryPredicate::StringContainsSubstring => {
            return Err(unsupported("a regular expression in `[[ … =~ … ]]`"));
        }
    })
}
