//! Variables by name: scopes, which nest, and the attributes of namespaces.

use std::sync::Arc;

use super::Interpreter;
use crate::text::template::budget::search_cost;
use crate::text::template::failure::Outcome;
use crate::text::template::value::{Function, Value};

pub(super) type Scope = Vec<(Arc<str>, Value)>;

impl Interpreter {
    pub(super) fn in_scope<T>(
        &mut self,
        scope: Scope,
        work: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        self.scopes.push(scope);
        let result = work(self);
        self.scopes.pop();
        result
    }

    pub(super) fn bind(&mut self, name: &Arc<str>, value: Value) -> Outcome<()> {
        if let Some(scope) = self.scopes.last_mut() {
            self.budget.steps(search_cost(scope.len(), name.len()))?;
            set_variable(scope, name, value);
        }
        Ok(())
    }

    pub(super) fn lookup(&mut self, name: &Arc<str>) -> Outcome<Value> {
        let variables = self.scopes.iter().map(Vec::len).sum();
        self.budget.steps(search_cost(variables, name.len()))?;
        let found = self.scopes.iter().rev().find_map(|scope| get_variable(scope, name));
        if let Some(value) = found {
            return Ok(value.clone());
        }
        Ok(match &**name {
            "range" => Value::Function(Function::Range),
            "namespace" => Value::Function(Function::Namespace),
            "dict" => Value::Function(Function::Dict),
            "raise_exception" => Value::Function(Function::RaiseException),
            "strftime_now" => Value::Function(Function::StrftimeNow),
            _ => Value::Undefined(Arc::clone(name)),
        })
    }

    pub(super) fn namespace(&self, index: usize) -> &[(Arc<str>, Value)] {
        self.namespaces.get(index).map_or(&[], Vec::as_slice)
    }
}

fn get_variable<'a>(scope: &'a Scope, name: &str) -> Option<&'a Value> {
    scope.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
}

pub(super) fn set_variable(scope: &mut Scope, name: &Arc<str>, value: Value) {
    match scope.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => scope.push((Arc::clone(name), value)),
    }
}
