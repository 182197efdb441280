//! Statements: what they write, assign and repeat.

use std::sync::Arc;

use super::Interpreter;
use super::scopes::{Scope, set_variable};
use crate::text::template::ast::{
    Expression, ExpressionKind, FilterCall, For, Macro, Statement, StatementKind, Target,
};
use crate::text::template::budget::search_cost;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::filters;
use crate::text::template::printing;
use crate::text::template::value::{Items, Loop, Value};

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Interpreter {
    pub(super) fn statements(&mut self, statements: &[Statement]) -> Outcome<Flow> {
        self.recurse(|interpreter| {
            for statement in statements {
                let flow = interpreter.statement(&statement.kind).map_err(|mut failure| {
                    if failure.line == 0 {
                        failure.line = statement.line;
                    }
                    failure
                })?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&mut self, statement: &StatementKind) -> Outcome<Flow> {
        self.budget.steps(1)?;
        match statement {
            StatementKind::Text(text) => self.write(text)?,
            StatementKind::Output(values) => {
                for value in values {
                    let value = self.evaluate(value)?;
                    self.write_value(&value)?;
                }
            }
            StatementKind::If { branches, otherwise } => return self.if_statement(branches, otherwise),
            StatementKind::For(statement) => return self.for_statement(statement),
            StatementKind::Set { target, value } => {
                let value = self.evaluate(value)?;
                self.assign(target, value)?;
            }
            StatementKind::SetBlock { target, filters, body } => {
                let value = self.filtered_block(filters, body)?;
                self.assign(target, value)?;
            }
            StatementKind::Macro(definition) => {
                self.bind(&definition.name, Value::Macro(Arc::clone(definition)))?;
            }
            StatementKind::CallBlock { call, body } => self.call_block(call, body)?,
            StatementKind::FilterBlock { filters, body } => {
                let value = self.filtered_block(filters, body)?;
                self.write_value(&value)?;
            }
            StatementKind::With { variables, body } => return self.with_statement(variables, body),
            StatementKind::Group(body) => return self.statements(body),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn if_statement(
        &mut self,
        branches: &[(Expression, Vec<Statement>)],
        otherwise: &[Statement],
    ) -> Outcome<Flow> {
        for (condition, body) in branches {
            if self.evaluate(condition)?.is_true() {
                return self.statements(body);
            }
        }
        self.statements(otherwise)
    }

    fn for_statement(&mut self, statement: &For) -> Outcome<Flow> {
        let items = self.evaluate(&statement.items)?;
        let mut items = self.iterate(&items)?;
        if let Some(condition) = &statement.condition {
            let mut kept = Vec::new();
            for item in &items.values {
                self.budget.steps(1)?;
                let keeps = self.in_scope(Vec::new(), |interpreter| {
                    interpreter.assign(&statement.target, item.clone())?;
                    Ok(interpreter.evaluate(condition)?.is_true())
                })?;
                if keeps {
                    kept.push(item.clone());
                }
            }
            items = Arc::new(Items::new(kept)?);
        }
        if items.values.is_empty() {
            return self.in_scope(Vec::new(), |interpreter| interpreter.statements(&statement.otherwise));
        }
        for (index, item) in items.values.iter().enumerate() {
            self.budget.steps(1)?;
            let state = Loop { items: Arc::clone(&items), index };
            let scope = vec![(Arc::clone(&self.loop_name), Value::Loop(Arc::new(state)))];
            let flow = self.in_scope(scope, |interpreter| {
                interpreter.assign(&statement.target, item.clone())?;
                interpreter.statements(&statement.body)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn with_statement(&mut self, variables: &[(Target, Expression)], body: &[Statement]) -> Outcome<Flow> {
        let values: Vec<Value> =
            variables.iter().map(|(_, value)| self.evaluate(value)).collect::<Outcome<_>>()?;
        self.in_scope(Vec::new(), |interpreter| {
            for ((target, _), value) in variables.iter().zip(values) {
                interpreter.assign(target, value)?;
            }
            interpreter.statements(body)
        })
    }

    fn call_block(&mut self, call: &Expression, body: &Arc<Macro>) -> Outcome<()> {
        let ExpressionKind::Call(function, arguments) = &call.kind else {
            return Err(Failure::runtime("a call block needs a call"));
        };
        self.budget
            .bytes(self.scopes.iter().map(|scope| scope.len() * size_of::<(Arc<str>, Value)>()).sum())?;
        self.captured.push(self.scopes.clone());
        let caller = Value::Caller(Arc::clone(body), self.captured.len() - 1);
        let function = self.evaluate(function)?;
        let Value::Macro(definition) = function else {
            return Err(Failure::runtime(format!("a call block cannot call a {}", function.type_name())));
        };
        let arguments = self.arguments(arguments)?;
        let result = self.call_macro(&definition, arguments, Some(caller), None)?;
        self.write_value(&result)
    }

    /// What `body` writes, after `filters`.
    fn filtered_block(&mut self, filters: &[FilterCall], body: &[Statement]) -> Outcome<Value> {
        let mut value = Value::str(self.capture(Vec::new(), body)?);
        for filter in filters {
            let arguments = self.arguments(&filter.arguments)?;
            value = filters::apply(self, &filter.name, value, arguments)?;
        }
        Ok(value)
    }

    pub(super) fn capture(&mut self, scope: Scope, body: &[Statement]) -> Outcome<String> {
        let outer = std::mem::take(&mut self.output);
        let flow = self.in_scope(scope, |interpreter| interpreter.statements(body))?;
        if flow != Flow::Next {
            return Err(Failure::runtime("break or continue outside a loop"));
        }
        Ok(std::mem::replace(&mut self.output, outer))
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => self.bind(name, value)?,
            Target::Tuple(targets) => {
                let items = self.iterate(&value)?;
                if items.values.len() != targets.len() {
                    let (wanted, given) = (targets.len(), items.values.len());
                    return Err(Failure::runtime(format!("cannot assign {given} values to {wanted} names")));
                }
                for (target, value) in targets.iter().zip(&items.values) {
                    self.assign(target, value.clone())?;
                }
            }
            Target::Attribute(name, attribute) => {
                let Value::Namespace(index) = self.lookup(name)? else {
                    return Err(Failure::runtime(format!("{name} is not a namespace")));
                };
                self.budget.steps(search_cost(self.namespace(index).len(), attribute.len()))?;
                if let Some(namespace) = self.namespaces.get_mut(index) {
                    set_variable(namespace, attribute, value);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        self.budget.bytes(text.len())?;
        self.output.push_str(text);
        Ok(())
    }

    fn write_value(&mut self, value: &Value) -> Outcome<()> {
        match value {
            Value::Str(text) => self.write(text),
            Value::Undefined(_) => Ok(()),
            _ => {
                let text = printing::to_text(self, value)?;
                self.output.push_str(&text);
                Ok(())
            }
        }
    }
}
