//! Arithmetic in one canonical form: fully in brackets, and nothing in it but numbers, plain variables and operators.

use brush_parser::ast::{
    ArithmeticExpr as Expr, ArithmeticTarget as Target, BinaryOperator, UnaryAssignmentOperator, UnaryOperator,
};

use super::syntax_error;
use crate::{
    Refusal, is_variable_name,
    refuse::{never, unsupported},
};

/// Longest expression, in bytes: brackets double its length with every reading.
const MOST_BYTES: usize = 1024;

/// The canonical text of an expression.
pub(super) fn canonical(source: &str) -> Result<String, Refusal> {
    if source.len() > MOST_BYTES {
        return Err(Refusal::new("too-long", format!("arithmetic of more than {MOST_BYTES} bytes")));
    }
    let source = without_dollars(source)?;
    if has_odd_number(&source) {
        return Err(unsupported("a number with leading zeros or a base in arithmetic"));
    }
    let expression = brush_parser::arithmetic::parse(&source).map_err(|error| syntax_error(&error.to_string()))?;
    written(&expression)
}

/// `$x` and `${x}` are `x` there; anything else that is expanded could become any text, which would then be evaluated.
fn without_dollars(source: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let braced = behind.strip_prefix('{');
        let from = braced.unwrap_or(behind);
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(from.len());
        let name = &from[..end];
        let closes = braced.is_none() || from[end..].starts_with('}');
        if !is_variable_name(name) || !closes {
            return Err(never("arithmetic on anything but numbers and plain variables"));
        }
        out.push(' ');
        out.push_str(name);
        out.push(' ');
        rest = &from[end + usize::from(braced.is_some())..];
    }
    out.push_str(rest);
    if out.contains(['`', '"', '\'', '\\', '[']) {
        return Err(never("arithmetic on anything but numbers and plain variables"));
    }
    Ok(out)
}

/// A number that shell and parser could read in different bases.
fn has_odd_number(source: &str) -> bool {
    let mut words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '#');
    words.any(|word| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && (!word.bytes().all(|byte| byte.is_ascii_digit()) || (word.len() > 1 && word.starts_with('0')))
    })
}

fn written(expression: &Expr) -> Result<String, Refusal> {
    Ok(match expression {
        Expr::Literal(number) => number.to_string(),
        Expr::Reference(target) => variable(target)?.to_owned(),
        Expr::UnaryOp(operator, inner) => format!("({} {})", unary(operator), written(inner)?),
        Expr::BinaryOp(operator, left, right) => format!("({} {} {})", written(left)?, binary(operator), written(right)?),
        Expr::Conditional(test, yes, no) => format!("({} ? {} : {})", written(test)?, written(yes)?, written(no)?),
        Expr::Assignment(target, value) => format!("({} = {})", variable(target)?, written(value)?),
        Expr::BinaryAssignment(operator, target, value) => {
            format!("({} {}= {})", variable(target)?, binary(operator), written(value)?)
        }
        Expr::UnaryAssignment(operator, target) => {
            let name = variable(target)?;
            match operator {
                UnaryAssignmentOperator::PrefixIncrement => format!("(++{name})"),
                UnaryAssignmentOperator::PrefixDecrement => format!("(--{name})"),
                UnaryAssignmentOperator::PostfixIncrement => format!("({name}++)"),
                UnaryAssignmentOperator::PostfixDecrement => format!("({name}--)"),
            }
        }
    })
}

fn variable(target: &Target) -> Result<&str, Refusal> {
    match target {
        Target::Variable(name) => Ok(name),
        Target::ArrayElement(..) => Err(never("arithmetic on an element of an array")),
    }
}

fn unary(operator: &UnaryOperator) -> &'static str {
    match operator {
        UnaryOperator::UnaryPlus => "+",
        UnaryOperator::UnaryMinus => "-",
        UnaryOperator::BitwiseNot => "~",
        UnaryOperator::LogicalNot => "!",
    }
}

fn binary(operator: &BinaryOperator) -> &'static str {
    match operator {
        BinaryOperator::Power => "**",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::Comma => ",",
        BinaryOperator::Add => "+",
        BinaryOperator::Subtract => "-",
        BinaryOperator::ShiftLeft => "<<",
        BinaryOperator::ShiftRight => ">>",
        BinaryOperator::LessThan => "<",
        BinaryOperator::LessThanOrEqualTo => "<=",
        BinaryOperator::GreaterThan => ">",
        BinaryOperator::GreaterThanOrEqualTo => ">=",
        BinaryOperator::Equals => "==",
        BinaryOperator::NotEquals => "!=",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::BitwiseXor => "^",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::LogicalAnd => "&&",
        BinaryOperator::LogicalOr => "||",
    }
}
