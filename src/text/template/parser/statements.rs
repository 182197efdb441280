//! Text, tags and their bodies.

use std::sync::Arc;

use super::Parser;
use crate::text::template::ast::{
    Expression, ExpressionKind, FilterCall, For, Macro, Statement, StatementKind, Target,
};
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::lexer::Token;

impl Parser {
    /// Statements up to a block tag named in `ends`, whose name is returned and taken.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Outcome<(Vec<Statement>, Option<Arc<str>>)> {
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
}
