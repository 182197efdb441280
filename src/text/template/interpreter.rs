//! Runs a template.

use std::sync::Arc;

use super::ast::{
    Arguments, BinaryOperator, ComparisonOperator, Expression, ExpressionKind, FilterCall, For, Macro,
    Statement, StatementKind, Target,
};
use super::budget::Budget;
use super::date::DateTime;
use super::failure::{Failure, FailureKind, Outcome};
use super::value::{Function, Items, Loop, Value};
use super::{filters, methods, operators, predicates};

/// Deepest recursion of statements, expressions and macro calls together.
const MAX_RECURSION: u32 = 250;

/// Most elements of a `range`, as in Jinja's sandbox.
const MAX_RANGE: u64 = 100_000;

type Scope = Vec<(Arc<str>, Value)>;

pub(super) struct Interpreter {
    /// Variables, innermost scope last. The first holds the variables of the caller, the second the template's own.
    scopes: Vec<Scope>,
    namespaces: Vec<Scope>,
    /// Scopes that call blocks were written in.
    captured: Vec<Vec<Scope>>,
    output: String,
    pub(super) budget: Budget,
    recursion: u32,
    date: DateTime,
    loop_name: Arc<str>,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// The values of a call's arguments.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Call {
    /// The arguments by the names of the parameters.
    pub(super) fn bind<const N: usize>(
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
    pub(super) fn new(variables: Vec<(Arc<str>, Value)>, budget: Budget, date: DateTime) -> Self {
        Self {
            scopes: vec![variables, Vec::new()],
            namespaces: Vec::new(),
            captured: Vec::new(),
            output: String::new(),
            budget,
            recursion: 0,
            date,
            loop_name: "loop".into(),
        }
    }

    pub(super) fn run(mut self, template: &[Statement]) -> Outcome<String> {
        if self.statements(template)? != Flow::Next {
            return Err(Failure::runtime("break or continue outside a loop"));
        }
        Ok(self.output)
    }

    fn statements(&mut self, statements: &[Statement]) -> Outcome<Flow> {
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

    fn capture(&mut self, scope: Scope, body: &[Statement]) -> Outcome<String> {
        let outer = std::mem::take(&mut self.output);
        let flow = self.in_scope(scope, |interpreter| interpreter.statements(body))?;
        if flow != Flow::Next {
            return Err(Failure::runtime("break or continue outside a loop"));
        }
        Ok(std::mem::replace(&mut self.output, outer))
    }

    fn in_scope<T>(&mut self, scope: Scope, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.scopes.push(scope);
        let result = work(self);
        self.scopes.pop();
        result
    }

    fn recurse<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.recursion >= MAX_RECURSION {
            return Err(Failure::limit(format!(
                "the template recurses more than {MAX_RECURSION} levels deep"
            )));
        }
        self.recursion += 1;
        let result = work(self);
        self.recursion -= 1;
        result
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
                self.budget.steps(operators::search_cost(self.namespace(index).len(), attribute.len()))?;
                if let Some(namespace) = self.namespaces.get_mut(index) {
                    set_variable(namespace, attribute, value);
                }
            }
        }
        Ok(())
    }

    fn bind(&mut self, name: &Arc<str>, value: Value) -> Outcome<()> {
        if let Some(scope) = self.scopes.last_mut() {
            self.budget.steps(operators::search_cost(scope.len(), name.len()))?;
            set_variable(scope, name, value);
        }
        Ok(())
    }

    fn lookup(&mut self, name: &Arc<str>) -> Outcome<Value> {
        let variables = self.scopes.iter().map(Vec::len).sum();
        self.budget.steps(operators::search_cost(variables, name.len()))?;
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
                let text = operators::to_text(self, value)?;
                self.output.push_str(&text);
                Ok(())
            }
        }
    }

    /// The elements that a loop over `value` sees.
    pub(super) fn iterate(&mut self, value: &Value) -> Outcome<Arc<Items>> {
        let values = match value {
            Value::List(items) | Value::Tuple(items) => return Ok(Arc::clone(items)),
            Value::Undefined(_) => Vec::new(),
            Value::Dict(dict) => {
                self.budget.bytes(dict.entries.len() * size_of::<Value>())?;
                dict.entries.iter().map(|(key, _)| key.clone()).collect()
            }
            Value::Str(text) => {
                // Each character is a string of its own.
                self.budget.bytes(text.len().saturating_mul(64))?;
                text.chars().map(|character| Value::str(character.encode_utf8(&mut [0; 4]))).collect()
            }
            _ => return Err(Failure::runtime(format!("a {} cannot be iterated", value.type_name()))),
        };
        Ok(Arc::new(Items::new(values)?))
    }

    /// A new string.
    pub(super) fn new_str(&mut self, text: impl AsRef<str>) -> Outcome<Value> {
        self.budget.bytes(text.as_ref().len())?;
        Ok(Value::str(text))
    }

    /// A new list.
    pub(super) fn new_list(&mut self, values: Vec<Value>) -> Outcome<Value> {
        self.budget.bytes(values.len() * size_of::<Value>())?;
        Value::list(values)
    }

    pub(super) fn namespace(&self, index: usize) -> &[(Arc<str>, Value)] {
        self.namespaces.get(index).map_or(&[], Vec::as_slice)
    }

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
            ExpressionKind::Negative(value) => operators::negate(&self.evaluate(value)?),
            ExpressionKind::Positive(value) => operators::positive(&self.evaluate(value)?),
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
                operators::item(self, &value, &index)
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

    fn evaluate_all(&mut self, expressions: &[Expression]) -> Outcome<Vec<Value>> {
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

    /// A dict of entries whose keys may occur more than once.
    fn unique_dict(&mut self, entries: Vec<(Value, Value)>) -> Outcome<Value> {
        for (key, _) in &entries {
            self.budget.reads(key.as_str().map_or(0, str::len))?;
        }
        Value::dict(entries)
    }

    fn binary(&mut self, operator: BinaryOperator, operands: &[Expression; 2]) -> Outcome<Value> {
        let [left, right] = operands;
        let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
        operators::binary(self, operator, &left, &right)
    }

    fn concatenation(&mut self, operands: &[Expression]) -> Outcome<Value> {
        let mut text = String::new();
        for operand in operands {
            let value = self.evaluate(operand)?;
            text.push_str(&operators::to_text(self, &value)?);
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
            if !operators::compare(self, *operator, &left, &right)? {
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
        operators::slice(self, &value, bounds)
    }

    /// `value.name`: a method or attribute, else the item of that name.
    pub(super) fn attribute(&mut self, value: &Value, name: &str) -> Outcome<Value> {
        if methods::find(value, name).is_some() {
            return Ok(Value::Method);
        }
        self.budget.steps(match value {
            Value::Namespace(index) => operators::search_cost(self.namespace(*index).len(), name.len()),
            _ => operators::lookup_cost(value, name),
        })?;
        let found = match value {
            Value::Undefined(missing) => return Err(operators::undefined(missing)),
            Value::Dict(dict) => dict.get(name).cloned(),
            Value::Namespace(index) => self
                .namespace(*index)
                .iter()
                .find(|(known, _)| &**known == name)
                .map(|(_, value)| value.clone()),
            Value::Loop(state) => operators::loop_attribute(state, name),
            Value::Macro(definition) if name == "name" => Some(Value::Str(Arc::clone(&definition.name))),
            _ => None,
        };
        Ok(found.unwrap_or_else(|| Value::Undefined(name.into())))
    }

    fn arguments(&mut self, arguments: &Arguments) -> Outcome<Call> {
        let positional = self.evaluate_all(&arguments.positional)?;
        let mut named = Vec::with_capacity(arguments.named.len());
        for (name, value) in &arguments.named {
            named.push((Arc::clone(name), self.evaluate(value)?));
        }
        Ok(Call { positional, named })
    }

    fn call(&mut self, function: &Expression, arguments: &Arguments) -> Outcome<Value> {
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
                let message = operators::to_text(self, &message)?;
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
            Value::Undefined(name) => Err(operators::undefined(name)),
            _ => Err(Failure::runtime(format!("a {} cannot be called", function.type_name()))),
        }
    }

    /// Runs a macro in the template's own scope, or in the scopes in which a call block was written.
    fn call_macro(
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

    fn range(&mut self, call: Call) -> Outcome<Value> {
        let numbers: Vec<i64> = call
            .positional
            .iter()
            .map(|value| value.as_int().ok_or_else(|| Failure::runtime("range needs whole numbers")))
            .collect::<Outcome<_>>()?;
        let (start, stop, step) = match *numbers {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return Err(Failure::runtime("range needs one to three numbers, and a step that is not 0")),
        };
        let distance = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
        let count = match distance {
            Some(distance) if distance <= 0 => 0,
            Some(distance) => distance.unsigned_abs().div_ceil(step.unsigned_abs()),
            None => u64::MAX,
        };
        if count > MAX_RANGE {
            return Err(Failure::limit(format!("a range has more than {MAX_RANGE} elements")));
        }
        let values = (0..count).filter_map(|index| {
            let offset = i64::try_from(index).ok()?.checked_mul(step)?;
            start.checked_add(offset).map(Value::Int)
        });
        self.new_list(values.collect())
    }

    fn new_namespace(&mut self, call: Call) -> Outcome<Value> {
        let mut attributes = self.entries_of("namespace", call.positional)?;
        for (name, value) in call.named {
            self.budget.steps(operators::search_cost(attributes.len(), name.len()))?;
            set_variable(&mut attributes, &name, value);
        }
        self.budget.bytes(64 + attributes.len() * size_of::<(Arc<str>, Value)>())?;
        self.namespaces.push(attributes);
        Ok(Value::Namespace(self.namespaces.len() - 1))
    }

    fn new_dict(&mut self, call: Call) -> Outcome<Value> {
        let mut entries = self.entries_of("dict", call.positional)?;
        entries.extend(call.named);
        self.budget.bytes(entries.len() * size_of::<(Value, Value)>())?;
        self.unique_dict(entries.into_iter().map(|(name, value)| (Value::Str(name), value)).collect())
    }

    /// The entries of the dict that may be passed to `dict` and `namespace`.
    fn entries_of(&mut self, function: &str, positional: Vec<Value>) -> Outcome<Scope> {
        match positional.as_slice() {
            [] => Ok(Vec::new()),
            [Value::Dict(dict)] => {
                self.budget.bytes(dict.entries.len() * size_of::<(Value, Value)>())?;
                let entry = |(key, value): &(Value, Value)| match key {
                    Value::Str(name) => Ok((Arc::clone(name), value.clone())),
                    _ => Err(Failure::runtime(format!("{function} needs names that are strings"))),
                };
                dict.entries.iter().map(entry).collect()
            }
            _ => Err(Failure::runtime(format!("{function} takes one dict and named arguments"))),
        }
    }
}

fn get_variable<'a>(scope: &'a Scope, name: &str) -> Option<&'a Value> {
    scope.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
}

fn set_variable(scope: &mut Scope, name: &Arc<str>, value: Value) {
    match scope.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => scope.push((Arc::clone(name), value)),
    }
}
