//! Expressions: operators by how strongly they bind, literals, calls, subscripts, filters and tests.

use super::Parser;
use crate::text::template::ast::{
    Arguments, BinaryOperator, ComparisonOperator, Expression, ExpressionKind, FilterCall,
};
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::lexer::Token;
use crate::text::template::value::Value;

// How strongly operators bind, weakest first.
const OR: u8 = 1;
const AND: u8 = 2;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const CONCATENATION: u8 = 6;
const PRODUCT: u8 = 7;
const POWER: u8 = 8;

impl Parser {
    /// One expression, or several with commas between, which are a tuple.
    pub(super) fn tuple(&mut self, with_conditional: bool) -> Outcome<Expression> {
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

    pub(super) fn expression(&mut self) -> Outcome<Expression> {
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

    pub(super) fn filter_call(&mut self) -> Outcome<FilterCall> {
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
}
