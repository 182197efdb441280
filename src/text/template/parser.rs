//! Builds the syntax tree of a template, after Jinja's grammar.

use std::sync::Arc;

use super::ast::{
    Arguments, BinaryOperator, ComparisonOperator, Expression, ExpressionKind, FilterCall, For, Macro,
    Statement, StatementKind, Target,
};
use super::failure::{Failure, Outcome};
use super::lexer::{Token, tokenize};
use super::value::Value;

/// Deepest nesting of statements and of brackets. Published templates stay below 20.
const MAX_NESTING: u32 = 60;

/// Deepest expression tree. A chain of `+` counts one level for each operator.
const MAX_EXPRESSION_DEPTH: u32 = 150;

const OR: u8 = 1;
const AND: u8 = 2;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const CONCATENATION: u8 = 6;
const PRODUCT: u8 = 7;
const POWER: u8 = 8;

pub(super) fn parse(source: &str) -> Outcome<Vec<Statement>> {
    let mut parser = Parser { tokens: tokenize(source)?, position: 0, nesting: 0 };
    let (body, end) = parser.statements(&[])?;
    debug_assert!(end.is_none());
    Ok(body)
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    position: usize,
    nesting: u32,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.position + ahead).map_or(&Token::End, |(token, _)| token)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(0, |(_, line)| *line)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn is_name(&self, name: &str) -> bool {
        self.is_name_at(0, name)
    }

    fn is_name_at(&self, ahead: usize, name: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Name(found) if &**found == name)
    }

    fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Token::Operator(found) if *found == operator)
    }

    fn take_name(&mut self, name: &str) -> bool {
        let taken = self.is_name(name);
        self.position += usize::from(taken);
        taken
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        let taken = self.is_operator(operator);
        self.position += usize::from(taken);
        taken
    }

    fn expect_operator(&mut self, operator: &str) -> Outcome<()> {
        if self.take_operator(operator) { Ok(()) } else { Err(self.unexpected(&format!("'{operator}'"))) }
    }

    fn expect_name(&mut self) -> Outcome<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = Arc::clone(name);
                self.position += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn expect(&mut self, token: &Token) -> Outcome<()> {
        if self.peek() == token {
            self.position += 1;
            return Ok(());
        }
        Err(self.unexpected("the end of the tag"))
    }

    fn unexpected(&self, expected: &str) -> Failure {
        let found = match self.peek() {
            Token::Text(_) | Token::OutputBegin | Token::BlockBegin => "template text".to_owned(),
            Token::OutputEnd | Token::BlockEnd => "the end of the tag".to_owned(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Operator(operator) => format!("'{operator}'"),
            Token::End => "the end of the template".to_owned(),
        };
        Failure::syntax(self.line(), format!("expected {expected}, found {found}"))
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.nesting >= MAX_NESTING {
            return Err(Failure::syntax(self.line(), format!("nested more than {MAX_NESTING} levels deep")));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// Statements up to a block tag named in `ends`, whose name is returned and taken.
    fn statements(&mut self, ends: &[&str]) -> Outcome<(Vec<Statement>, Option<Arc<str>>)> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                Token::Text(text) => body.push(Statement { line, kind: StatementKind::Text(text) }),
                Token::OutputBegin => {
                    let value = self.tuple(true)?;
                    self.expect(&Token::OutputEnd)?;
                    body.push(Statement { line, kind: StatementKind::Output(vec![value]) });
                }
                Token::BlockBegin => {
                    let name = self.expect_name()?;
                    if ends.contains(&&*name) {
                        return Ok((body, Some(name)));
                    }
                    let kind = self.nested(|parser| parser.statement(&name, line))?;
                    body.push(Statement { line, kind });
                }
                Token::End if ends.is_empty() => return Ok((body, None)),
                Token::End => {
                    let ends = ends.join("' or '");
                    return Err(Failure::syntax(
                        line,
                        format!("'{ends}' is missing at the end of the template"),
                    ));
                }
                _ => {
                    self.position -= 1;
                    return Err(self.unexpected("text or a tag"));
                }
            }
        }
    }

    /// The body of a block that ends with `end`.
    fn body(&mut self, end: &str) -> Outcome<Vec<Statement>> {
        self.expect(&Token::BlockEnd)?;
        let (body, _) = self.statements(&[end])?;
        // Jinja allows the block's name to be repeated.
        if end == "endblock" && matches!(self.peek(), Token::Name(_)) {
            self.position += 1;
        }
        self.expect(&Token::BlockEnd)?;
        Ok(body)
    }

    fn statement(&mut self, name: &str, line: u32) -> Outcome<StatementKind> {
        let kind = match name {
            "if" => return self.if_statement(),
            "for" => return self.for_statement(),
            "set" => return self.set_statement(),
            "macro" => {
                let name = self.expect_name()?;
                let parameters = self.parameters()?;
                let body = self.body("endmacro")?;
                return Ok(StatementKind::Macro(Arc::new(Macro { name, parameters, body })));
            }
            "call" => {
                let parameters = if self.is_operator("(") { self.parameters()? } else { Vec::new() };
                let call = self.expression()?;
                if !matches!(call.kind, ExpressionKind::Call(..)) {
                    return Err(Failure::syntax(line, "a call block needs a call"));
                }
                let body = self.body("endcall")?;
                let body = Arc::new(Macro { name: "caller".into(), parameters, body });
                return Ok(StatementKind::CallBlock { call, body });
            }
            "filter" => {
                let filters = self.filters()?;
                return Ok(StatementKind::FilterBlock { filters, body: self.body("endfilter")? });
            }
            "with" => {
                let mut variables = Vec::new();
                while *self.peek() != Token::BlockEnd {
                    if !variables.is_empty() {
                        self.expect_operator(",")?;
                    }
                    let target = self.target(false)?;
                    self.expect_operator("=")?;
                    variables.push((target, self.expression()?));
                }
                return Ok(StatementKind::With { variables, body: self.body("endwith")? });
            }
            "generation" => return Ok(StatementKind::Group(self.body("endgeneration")?)),
            "autoescape" => {
                self.expression()?;
                return Ok(StatementKind::Group(self.body("endautoescape")?));
            }
            "block" => {
                self.expect_name()?;
                return Ok(StatementKind::Group(self.body("endblock")?));
            }
            "print" => StatementKind::Output(vec![self.tuple(true)?]),
            "break" => StatementKind::Break,
            "continue" => StatementKind::Continue,
            "include" | "import" | "from" | "extends" => {
                return Err(Failure::syntax(
                    line,
                    format!("'{name}' needs other templates, of which there are none"),
                ));
            }
            _ => return Err(Failure::syntax(line, format!("unknown tag '{name}'"))),
        };
        self.expect(&Token::BlockEnd)?;
        Ok(kind)
    }

    fn if_statement(&mut self) -> Outcome<StatementKind> {
        let mut branches = Vec::new();
        let mut condition = self.tuple(false)?;
        loop {
            self.expect(&Token::BlockEnd)?;
            let (body, end) = self.statements(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end.as_deref() {
                Some("elif") => condition = self.tuple(false)?,
                Some("else") => {
                    return Ok(StatementKind::If { branches, otherwise: self.body("endif")? });
                }
                _ => {
                    self.expect(&Token::BlockEnd)?;
                    return Ok(StatementKind::If { branches, otherwise: Vec::new() });
                }
            }
        }
    }

    fn for_statement(&mut self) -> Outcome<StatementKind> {
        let target = self.target(true)?;
        if !self.take_name("in") {
            return Err(self.unexpected("'in'"));
        }
        let items = self.tuple(false)?;
        let condition = if self.take_name("if") { Some(self.expression()?) } else { None };
        if self.is_name("recursive") {
            return Err(Failure::syntax(self.line(), "recursive loops are not supported"));
        }
        self.expect(&Token::BlockEnd)?;
        let (body, end) = self.statements(&["endfor", "else"])?;
        let otherwise = if end.as_deref() == Some("else") {
            self.body("endfor")?
        } else {
            self.expect(&Token::BlockEnd)?;
            Vec::new()
        };
        Ok(StatementKind::For(Box::new(For { target, items, condition, body, otherwise })))
    }

    fn set_statement(&mut self) -> Outcome<StatementKind> {
        let target = self.target(true)?;
        if self.take_operator("=") {
            let value = self.tuple(true)?;
            self.expect(&Token::BlockEnd)?;
            return Ok(StatementKind::Set { target, value });
        }
        let filters = if self.take_operator("|") { self.filters()? } else { Vec::new() };
        Ok(StatementKind::SetBlock { target, filters, body: self.body("endset")? })
    }

    /// `name(arguments) | name(arguments) ...`
    fn filters(&mut self) -> Outcome<Vec<FilterCall>> {
        let mut filters = vec![self.filter_call()?];
        while self.take_operator("|") {
            filters.push(self.filter_call()?);
        }
        Ok(filters)
    }

    fn parameters(&mut self) -> Outcome<Vec<(Arc<str>, Option<Expression>)>> {
        self.expect_operator("(")?;
        let mut parameters: Vec<(Arc<str>, Option<Expression>)> = Vec::new();
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.expect_name()?;
            let default = if self.take_operator("=") { Some(self.expression()?) } else { None };
            parameters.push((name, default));
        }
        self.expect_operator(")")?;
        Ok(parameters)
    }

    fn target(&mut self, with_tuple: bool) -> Outcome<Target> {
        let mut targets = Vec::new();
        loop {
            let target = if self.take_operator("(") {
                let target = self.nested(|parser| parser.target(true))?;
                self.expect_operator(")")?;
                target
            } else {
                let name = self.expect_name()?;
                if self.take_operator(".") {
                    Target::Attribute(name, self.expect_name()?)
                } else {
                    Target::Name(name)
                }
            };
            if !(with_tuple && self.take_operator(",")) {
                if targets.is_empty() {
                    return Ok(target);
                }
                targets.push(target);
                return Ok(Target::Tuple(targets));
            }
            targets.push(target);
            if self.is_name("in") || self.is_operator("=") || self.is_operator(")") {
                return Ok(Target::Tuple(targets));
            }
        }
    }

    /// One expression, or several with commas between, which are a tuple.
    fn tuple(&mut self, with_conditional: bool) -> Outcome<Expression> {
        let parse = |parser: &mut Self| {
            if with_conditional { parser.expression() } else { parser.nested(|parser| parser.operators(OR)) }
        };
        let first = parse(self)?;
        if !self.is_operator(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_operator(",") {
            if matches!(self.peek(), Token::OutputEnd | Token::BlockEnd | Token::Operator(")")) {
                break;
            }
            items.push(parse(self)?);
        }
        self.expression_of(ExpressionKind::Tuple(items))
    }

    fn expression(&mut self) -> Outcome<Expression> {
        self.nested(|parser| {
            let mut value = parser.operators(OR)?;
            while parser.take_name("if") {
                let condition = Box::new(parser.operators(OR)?);
                let otherwise =
                    if parser.take_name("else") { Some(Box::new(parser.expression()?)) } else { None };
                value = parser.expression_of(ExpressionKind::Conditional {
                    condition,
                    then: Box::new(value),
                    otherwise,
                })?;
            }
            Ok(value)
        })
    }

    /// Binary operators that bind at least as strongly as `minimum`.
    fn operators(&mut self, minimum: u8) -> Outcome<Expression> {
        let mut left = if self.take_name("not") {
            let operand = self.nested(|parser| parser.operators(COMPARISON))?;
            self.expression_of(ExpressionKind::Not(Box::new(operand)))?
        } else {
            self.unary(true)?
        };
        loop {
            let level = self.operator_level();
            if level == 0 || level < minimum {
                return Ok(left);
            }
            let kind = match level {
                COMPARISON => {
                    let mut operands = Vec::new();
                    while let Some(operator) = self.take_comparison() {
                        operands.push((operator, self.operators(SUM)?));
                    }
                    ExpressionKind::Comparison(Box::new(left), operands)
                }
                CONCATENATION => {
                    let mut operands = vec![left];
                    while self.take_operator("~") {
                        operands.push(self.operators(PRODUCT)?);
                    }
                    ExpressionKind::Concatenation(operands)
                }
                OR | AND => {
                    self.position += 1;
                    let operands = Box::new([left, self.operators(level + 1)?]);
                    if level == OR { ExpressionKind::Or(operands) } else { ExpressionKind::And(operands) }
                }
                _ => {
                    let operator = match self.next() {
                        Token::Operator("+") => BinaryOperator::Add,
                        Token::Operator("-") => BinaryOperator::Subtract,
                        Token::Operator("*") => BinaryOperator::Multiply,
                        Token::Operator("/") => BinaryOperator::Divide,
                        Token::Operator("//") => BinaryOperator::FloorDivide,
                        Token::Operator("%") => BinaryOperator::Modulo,
                        _ => BinaryOperator::Power,
                    };
                    ExpressionKind::Binary(operator, Box::new([left, self.operators(level + 1)?]))
                }
            };
            left = self.expression_of(kind)?;
        }
    }

    /// How strongly the operator that comes next binds; 0 if none comes.
    fn operator_level(&self) -> u8 {
        match self.peek() {
            Token::Operator("**") => POWER,
            Token::Operator("*" | "/" | "//" | "%") => PRODUCT,
            Token::Operator("~") => CONCATENATION,
            Token::Operator("+" | "-") => SUM,
            Token::Operator("==" | "!=" | "<" | "<=" | ">" | ">=") => COMPARISON,
            Token::Name(name) => match &**name {
                "in" => COMPARISON,
                "not" if self.is_name_at(1, "in") => COMPARISON,
                "and" => AND,
                "or" => OR,
                _ => 0,
            },
            _ => 0,
        }
    }

    fn take_comparison(&mut self) -> Option<ComparisonOperator> {
        let operator = match self.peek() {
            Token::Operator("==") => ComparisonOperator::Equal,
            Token::Operator("!=") => ComparisonOperator::NotEqual,
            Token::Operator("<") => ComparisonOperator::Less,
            Token::Operator("<=") => ComparisonOperator::LessEqual,
            Token::Operator(">") => ComparisonOperator::Greater,
            Token::Operator(">=") => ComparisonOperator::GreaterEqual,
            Token::Name(name) if &**name == "in" => ComparisonOperator::In,
            Token::Name(name) if &**name == "not" && self.is_name_at(1, "in") => {
                self.position += 1;
                ComparisonOperator::NotIn
            }
            _ => return None,
        };
        self.position += 1;
        Some(operator)
    }

    fn unary(&mut self, with_filters: bool) -> Outcome<Expression> {
        let mut value = if self.take_operator("-") {
            let operand = Box::new(self.nested(|parser| parser.unary(false))?);
            self.expression_of(ExpressionKind::Negative(operand))?
        } else if self.take_operator("+") {
            let operand = Box::new(self.nested(|parser| parser.unary(false))?);
            self.expression_of(ExpressionKind::Positive(operand))?
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if !with_filters {
            return Ok(value);
        }
        loop {
            value = if self.take_operator("|") {
                let call = self.filter_call()?;
                self.expression_of(ExpressionKind::Filter(Box::new(value), call))?
            } else if self.take_name("is") {
                self.test(value)?
            } else if self.is_operator("(") {
                let arguments = self.arguments()?;
                self.expression_of(ExpressionKind::Call(Box::new(value), arguments))?
            } else {
                return Ok(value);
            };
        }
    }

    fn primary(&mut self) -> Outcome<Expression> {
        let kind = match self.peek().clone() {
            Token::Name(name) => {
                self.position += 1;
                match &*name {
                    "true" | "True" => ExpressionKind::Constant(Value::Bool(true)),
                    "false" | "False" => ExpressionKind::Constant(Value::Bool(false)),
                    "none" | "None" => ExpressionKind::Constant(Value::None),
                    _ => ExpressionKind::Name(name),
                }
            }
            Token::Str(first) => {
                self.position += 1;
                let mut text = first;
                // Adjacent strings are one.
                while let Token::Str(next) = self.peek() {
                    text = format!("{text}{next}").into();
                    self.position += 1;
                }
                ExpressionKind::Constant(Value::Str(text))
            }
            Token::Int(number) => {
                self.position += 1;
                ExpressionKind::Constant(Value::Int(number))
            }
            Token::Float(number) => {
                self.position += 1;
                ExpressionKind::Constant(Value::Float(number))
            }
            Token::Operator("(") => {
                self.position += 1;
                if self.take_operator(")") {
                    ExpressionKind::Tuple(Vec::new())
                } else {
                    let inner = self.tuple(true)?;
                    self.expect_operator(")")?;
                    return Ok(inner);
                }
            }
            Token::Operator("[") => {
                self.position += 1;
                ExpressionKind::List(self.items("]", Self::expression)?)
            }
            Token::Operator("{") => {
                self.position += 1;
                ExpressionKind::Dict(self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_operator(":")?;
                    Ok((key, parser.expression()?))
                })?)
            }
            _ => return Err(self.unexpected("an expression")),
        };
        self.expression_of(kind)
    }

    /// Items with commas between, up to and with `end`.
    fn items<T>(&mut self, end: &str, parse: impl Fn(&mut Self) -> Outcome<T>) -> Outcome<Vec<T>> {
        let mut items = Vec::new();
        while !self.take_operator(end) {
            if !items.is_empty() {
                self.expect_operator(",")?;
                if self.take_operator(end) {
                    break;
                }
            }
            items.push(parse(self)?);
        }
        Ok(items)
    }

    fn postfix(&mut self, mut value: Expression) -> Outcome<Expression> {
        loop {
            let kind = if self.take_operator(".") {
                match self.next() {
                    Token::Name(name) => ExpressionKind::Attribute(Box::new(value), name),
                    Token::Int(index) => {
                        let index = self.expression_of(ExpressionKind::Constant(Value::Int(index)))?;
                        ExpressionKind::Item(Box::new([value, index]))
                    }
                    _ => {
                        self.position -= 1;
                        return Err(self.unexpected("a name or a number"));
                    }
                }
            } else if self.take_operator("[") {
                self.subscript(value)?
            } else if self.is_operator("(") {
                let arguments = self.arguments()?;
                ExpressionKind::Call(Box::new(value), arguments)
            } else {
                return Ok(value);
            };
            value = self.expression_of(kind)?;
        }
    }

    /// The index or slice after `[`.
    fn subscript(&mut self, value: Expression) -> Outcome<ExpressionKind> {
        let mut parts: [Option<Box<Expression>>; 3] = [None, None, None];
        let mut colons = 0;
        for part in &mut parts {
            if !self.is_operator(":") && !self.is_operator("]") {
                *part = Some(Box::new(self.expression()?));
            }
            if colons == 2 || !self.take_operator(":") {
                break;
            }
            colons += 1;
        }
        self.expect_operator("]")?;
        if colons > 0 {
            return Ok(ExpressionKind::Slice(Box::new(value), parts));
        }
        match parts {
            [Some(index), ..] => Ok(ExpressionKind::Item(Box::new([value, *index]))),
            _ => Err(self.unexpected("an index")),
        }
    }

    fn arguments(&mut self) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        self.expect_operator("(")?;
        let mut first = true;
        while !self.take_operator(")") {
            if !first {
                self.expect_operator(",")?;
                if self.take_operator(")") {
                    break;
                }
            }
            first = false;
            if self.is_operator("*") || self.is_operator("**") {
                return Err(Failure::syntax(self.line(), "arguments cannot be unpacked"));
            }
            let is_named = matches!(
                (self.peek(), self.peek_at(1)),
                (Token::Name(_), Token::Operator(operator)) if *operator == "="
            );
            if is_named {
                let name = self.expect_name()?;
                self.expect_operator("=")?;
                arguments.named.push((name, self.expression()?));
            } else if arguments.named.is_empty() {
                arguments.positional.push(self.expression()?);
            } else {
                return Err(self.unexpected("a named argument"));
            }
        }
        Ok(arguments)
    }

    fn filter_call(&mut self) -> Outcome<FilterCall> {
        let name = self.expect_name()?;
        let arguments = if self.is_operator("(") { self.arguments()? } else { Arguments::default() };
        Ok(FilterCall { name, arguments })
    }

    /// What follows `is`.
    fn test(&mut self, value: Expression) -> Outcome<Expression> {
        let negated = self.take_name("not");
        let name = self.expect_name()?;
        let arguments = if self.is_operator("(") {
            self.arguments()?
        } else {
            let has_operand = match self.peek() {
                Token::Name(name) => !matches!(&**name, "else" | "or" | "and" | "if" | "is" | "in" | "not"),
                Token::Str(_) | Token::Int(_) | Token::Float(_) => true,
                Token::Operator(operator) => matches!(*operator, "[" | "{"),
                _ => false,
            };
            let mut arguments = Arguments::default();
            if has_operand {
                let operand = self.primary()?;
                arguments.positional.push(self.postfix(operand)?);
            }
            arguments
        };
        let test = self.expression_of(ExpressionKind::Test(Box::new(value), name, arguments))?;
        if negated { self.expression_of(ExpressionKind::Not(Box::new(test))) } else { Ok(test) }
    }

    fn expression_of(&self, kind: ExpressionKind) -> Outcome<Expression> {
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
