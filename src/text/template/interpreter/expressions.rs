//! Expressions to values.

use std::sync::Arc;

use super::Interpreter;
use crate::text::template::ast::{BinaryOperator, ComparisonOperator, Expression, ExpressionKind};
use crate::text::template::budget::search_cost;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::value::Value;
use crate::text::template::{arithmetic, comparison, filters, indexing, methods, predicates, printing};

impl Interpreter {
    pub(super) fn evaluate(&mut self, expression: &Expression) -> Outcome<Value> {
        self.budget.steps(1)?;
        self.recurse(|interpreter| interpreter.evaluate_kind(&expression.kind))
    }

    fn evaluate_kind(&mut self, expression: &ExpressionKind) -> Outcome<Value> {
        match expression {
            ExpressionKind::Constant(value) => Ok(value.clone()),
            ExpressionKind::Name(name) => self.lookup(name),
            ExpressionKind::List(items) => {
                let values = self.evaluate_all(items)?;
                self.new_list(values)
            }
            ExpressionKind::Tuple(items) => {
                let values = self.evaluate_all(items)?;
                self.budget.bytes(values.len() * size_of::<Value>())?;
                Value::tuple(values)
            }
            ExpressionKind::Dict(entries) => self.dict(entries),
            ExpressionKind::Negative(value) => arithmetic::negate(&self.evaluate(value)?),
            ExpressionKind::Positive(value) => arithmetic::positive(&self.evaluate(value)?),
            ExpressionKind::Not(value) => Ok(Value::Bool(!self.evaluate(value)?.is_true())),
            ExpressionKind::Binary(operator, operands) => self.binary(*operator, operands),
            ExpressionKind::Concatenation(operands) => self.concatenation(operands),
            ExpressionKind::Comparison(first, rest) => self.comparison(first, rest),
            ExpressionKind::And(operands) => self.and_or(operands, false),
            ExpressionKind::Or(operands) => self.and_or(operands, true),
            ExpressionKind::Conditional { condition, then, otherwise } => {
                if self.evaluate(condition)?.is_true() {
                    self.evaluate(then)
                } else {
                    otherwise.as_ref().map_or_else(|| Ok(Value::Undefined("".into())), |it| self.evaluate(it))
                }
            }
            ExpressionKind::Attribute(value, name) => {
                let value = self.evaluate(value)?;
                self.attribute(&value, name)
            }
            ExpressionKind::Item(operands) => {
                let [value, index] = &**operands;
                let (value, index) = (self.evaluate(value)?, self.evaluate(index)?);
                indexing::item(self, &value, &index)
            }
            ExpressionKind::Slice(value, parts) => self.slice(value, parts),
            ExpressionKind::Call(function, arguments) => self.call(function, arguments),
            ExpressionKind::Filter(value, call) => {
                let value = self.evaluate(value)?;
                let arguments = self.arguments(&call.arguments)?;
                filters::apply(self, &call.name, value, arguments)
            }
            ExpressionKind::Test(value, name, arguments) => {
                let value = self.evaluate(value)?;
                let arguments = self.arguments(arguments)?;
                predicates::holds(self, name, &value, arguments).map(Value::Bool)
            }
        }
    }

    pub(super) fn evaluate_all(&mut self, expressions: &[Expression]) -> Outcome<Vec<Value>> {
        expressions.iter().map(|expression| self.evaluate(expression)).collect()
    }

    fn dict(&mut self, entries: &[(Expression, Expression)]) -> Outcome<Value> {
        self.budget.bytes(entries.len() * size_of::<(Value, Value)>())?;
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            values.push((self.evaluate(key)?, self.evaluate(value)?));
        }
        self.unique_dict(values)
    }

    fn binary(&mut self, operator: BinaryOperator, operands: &[Expression; 2]) -> Outcome<Value> {
        let [left, right] = operands;
        let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
        arithmetic::binary(self, operator, &left, &right)
    }

    fn concatenation(&mut self, operands: &[Expression]) -> Outcome<Value> {
        let mut text = String::new();
        for operand in operands {
            let value = self.evaluate(operand)?;
            text.push_str(&printing::to_text(self, &value)?);
        }
        self.new_str(text)
    }

    fn comparison(
        &mut self,
        first: &Expression,
        rest: &[(ComparisonOperator, Expression)],
    ) -> Outcome<Value> {
        let mut left = self.evaluate(first)?;
        for (operator, right) in rest {
            let right = self.evaluate(right)?;
            if !comparison::compare(self, *operator, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// The first operand if it is true (for `or`) or false (for `and`), else the second.
    fn and_or(&mut self, operands: &[Expression; 2], settles: bool) -> Outcome<Value> {
        let [first, second] = operands;
        let first = self.evaluate(first)?;
        if first.is_true() == settles { Ok(first) } else { self.evaluate(second) }
    }

    fn slice(&mut self, value: &Expression, parts: &[Option<Box<Expression>>; 3]) -> Outcome<Value> {
        let value = self.evaluate(value)?;
        let mut bounds = [None, None, None];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = match self.evaluate(part)? {
                    Value::None => None,
                    other => {
                        Some(other.as_int().ok_or_else(|| Failure::runtime("a slice needs whole numbers"))?)
                    }
                };
            }
        }
        indexing::slice(self, &value, bounds)
    }

    /// `value.name`: a method or attribute, else the item of that name.
    pub(in crate::text::template) fn attribute(&mut self, value: &Value, name: &str) -> Outcome<Value> {
        if methods::find(value, name).is_some() {
            return Ok(Value::Method);
        }
        self.budget.steps(match value {
            Value::Namespace(index) => search_cost(self.namespace(*index).len(), name.len()),
            _ => indexing::lookup_cost(value, name),
        })?;
        let found = match value {
            Value::Undefined(missing) => return Err(Failure::undefined(missing)),
            Value::Dict(dict) => dict.get(name).cloned(),
            Value::Namespace(index) => self
                .namespace(*index)
                .iter()
                .find(|(known, _)| &**known == name)
                .map(|(_, value)| value.clone()),
            Value::Loop(state) => state.attribute(name),
            Value::Macro(definition) if name == "name" => Some(Value::Str(Arc::clone(&definition.name))),
            _ => None,
        };
        Ok(found.unwrap_or_else(|| Value::Undefined(name.into())))
    }
}
