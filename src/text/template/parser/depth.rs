//! How deep an expression tree may be, so that evaluating it ends before the stack does.

use super::Parser;
use crate::text::template::ast::{Arguments, Expression, ExpressionKind};
use crate::text::template::failure::{Failure, Outcome};

/// Deepest expression tree. A chain of `+` counts one level for each operator.
const MAX_EXPRESSION_DEPTH: u32 = 150;

impl Parser {
    pub(super) fn expression_of(&self, kind: ExpressionKind) -> Outcome<Expression> {
        let depth = 1 + deepest_child(&kind);
        if depth > MAX_EXPRESSION_DEPTH {
            let message = format!("an expression is more than {MAX_EXPRESSION_DEPTH} levels deep");
            return Err(Failure::syntax(self.line(), message));
        }
        Ok(Expression { depth, kind })
    }
}

fn deepest_child(kind: &ExpressionKind) -> u32 {
    fn deepest<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> u32 {
        expressions.into_iter().map(|expression| expression.depth).max().unwrap_or(0)
    }
    let arguments = |arguments: &Arguments| {
        deepest(arguments.positional.iter().chain(arguments.named.iter().map(|(_, value)| value)))
    };
    match kind {
        ExpressionKind::Constant(_) | ExpressionKind::Name(_) => 0,
        ExpressionKind::List(items) | ExpressionKind::Tuple(items) | ExpressionKind::Concatenation(items) => {
            deepest(items)
        }
        ExpressionKind::Dict(entries) => deepest(entries.iter().flat_map(|(key, value)| [key, value])),
        ExpressionKind::Negative(value)
        | ExpressionKind::Positive(value)
        | ExpressionKind::Not(value)
        | ExpressionKind::Attribute(value, _) => value.depth,
        ExpressionKind::Binary(_, operands)
        | ExpressionKind::And(operands)
        | ExpressionKind::Or(operands)
        | ExpressionKind::Item(operands) => deepest(operands.iter()),
        ExpressionKind::Comparison(first, rest) => {
            first.depth.max(deepest(rest.iter().map(|(_, value)| value)))
        }
        ExpressionKind::Conditional { condition, then, otherwise } => {
            deepest([&**condition, &**then].into_iter().chain(otherwise.as_deref()))
        }
        ExpressionKind::Slice(value, parts) => {
            value.depth.max(deepest(parts.iter().filter_map(|part| part.as_deref())))
        }
        ExpressionKind::Call(function, call) => function.depth.max(arguments(call)),
        ExpressionKind::Filter(value, call) => value.depth.max(arguments(&call.arguments)),
        ExpressionKind::Test(value, _, call) => value.depth.max(arguments(call)),
    }
}
