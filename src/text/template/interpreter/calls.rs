//! Calls of methods, macros and functions, and how arguments reach parameters.

use std::sync::Arc;

use super::Interpreter;
use crate::text::template::ast::{Arguments, Expression, ExpressionKind, Macro};
use crate::text::template::failure::{Failure, FailureKind, Outcome};
use crate::text::template::value::{Function, Value};
use crate::text::template::{methods, printing};

/// The values of a call's arguments.
#[derive(Debug, Default)]
pub(in crate::text::template) struct Call {
    pub(in crate::text::template) positional: Vec<Value>,
    pub(in crate::text::template) named: Vec<(Arc<str>, Value)>,
}

impl Call {
    /// The arguments by the names of the parameters.
    pub(in crate::text::template) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
    ) -> Outcome<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            return Err(Failure::runtime(format!("{function} takes at most {N} arguments")));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let slot = names.iter().position(|known| **known == *name).and_then(|index| bound.get_mut(index));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                Some(_) => return Err(Failure::runtime(format!("{function} gets {name} twice"))),
                None => return Err(Failure::runtime(format!("{function} has no parameter {name}"))),
            }
        }
        Ok(bound)
    }
}

impl Interpreter {
    pub(super) fn arguments(&mut self, arguments: &Arguments) -> Outcome<Call> {
        let positional = self.evaluate_all(&arguments.positional)?;
        let mut named = Vec::with_capacity(arguments.named.len());
        for (name, value) in &arguments.named {
            named.push((Arc::clone(name), self.evaluate(value)?));
        }
        Ok(Call { positional, named })
    }

    pub(super) fn call(&mut self, function: &Expression, arguments: &Arguments) -> Outcome<Value> {
        if let ExpressionKind::Attribute(receiver, name) = &function.kind {
            let receiver = self.evaluate(receiver)?;
            if let Some(method) = methods::find(&receiver, name) {
                let arguments = self.arguments(arguments)?;
                return methods::call(self, &receiver, method, arguments);
            }
            let function = self.attribute(&receiver, name)?;
            if matches!(function, Value::Undefined(_)) {
                let kind = receiver.type_name();
                return Err(Failure::runtime(format!("a {kind} has no method '{name}'")));
            }
            let arguments = self.arguments(arguments)?;
            return self.call_value(&function, arguments);
        }
        let function = self.evaluate(function)?;
        let arguments = self.arguments(arguments)?;
        self.call_value(&function, arguments)
    }

    fn call_value(&mut self, function: &Value, call: Call) -> Outcome<Value> {
        match function {
            Value::Macro(definition) => self.call_macro(definition, call, None, None),
            Value::Caller(body, scopes) => self.call_macro(body, call, None, Some(*scopes)),
            Value::Function(Function::Range) => self.range(call),
            Value::Function(Function::Namespace) => self.new_namespace(call),
            Value::Function(Function::Dict) => self.new_dict(call),
            Value::Function(Function::RaiseException) => {
                let [message] = call.bind("raise_exception", ["message"])?;
                let message = message.unwrap_or(Value::None);
                let message = printing::to_text(self, &message)?;
                Err(Failure::new(FailureKind::Raised, message))
            }
            Value::Function(Function::StrftimeNow) => {
                let [format] = call.bind("strftime_now", ["format"])?;
                let format = format.as_ref().and_then(Value::as_str);
                let format = format.ok_or_else(|| Failure::runtime("strftime_now needs a format"))?;
                // The longest directive gives 24 bytes for two.
                self.budget.bytes(format.len().saturating_mul(12))?;
                let text = self.date.format(format);
                self.new_str(text)
            }
            Value::Undefined(name) => Err(Failure::undefined(name)),
            _ => Err(Failure::runtime(format!("a {} cannot be called", function.type_name()))),
        }
    }

    /// Runs a macro in the template's own scope, or in the scopes in which a call block was written.
    pub(super) fn call_macro(
        &mut self,
        definition: &Arc<Macro>,
        call: Call,
        caller: Option<Value>,
        captured: Option<usize>,
    ) -> Outcome<Value> {
        let scopes = match captured.and_then(|index| self.captured.get(index)) {
            Some(scopes) => scopes.clone(),
            None => self.scopes.iter().take(2).cloned().collect(),
        };
        self.budget.bytes(scopes.iter().map(|scope| scope.len() * size_of::<(Arc<str>, Value)>()).sum())?;
        let given = call.positional.len();
        if given > definition.parameters.len() {
            let (name, count) = (&definition.name, definition.parameters.len());
            return Err(Failure::runtime(format!("macro {name} takes {count} arguments, got {given}")));
        }
        let outer = std::mem::replace(&mut self.scopes, scopes);
        let result = self.in_scope(Vec::new(), |interpreter| {
            let mut named = call.named;
            let mut positional = call.positional.into_iter();
            for (name, default) in &definition.parameters {
                let by_name = named.iter().position(|(given, _)| given == name);
                let value = match (positional.next(), by_name, default) {
                    (Some(value), None, _) => value,
                    (None, Some(index), _) => named.swap_remove(index).1,
                    (None, None, Some(default)) => interpreter.evaluate(default)?,
                    (None, None, None) => Value::Undefined(Arc::clone(name)),
                    (Some(_), Some(_), _) => {
                        return Err(Failure::runtime(format!("macro {} gets {name} twice", definition.name)));
                    }
                };
                interpreter.bind(name, value)?;
            }
            if let Some((name, _)) = named.first() {
                let message = format!("macro {} has no parameter {name}", definition.name);
                return Err(Failure::runtime(message));
            }
            if let Some(caller) = caller {
                interpreter.bind(&"caller".into(), caller)?;
            }
            interpreter.capture(Vec::new(), &definition.body)
        });
        self.scopes = outer;
        result.map(Value::str)
    }
}
