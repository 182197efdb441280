//! Builds the syntax tree of a template, after Jinja's grammar.

mod depth;
mod expressions;
mod statements;

use std::sync::Arc;

use super::ast::Statement;
use super::failure::{Failure, Outcome};
use super::lexer::{Token, tokenize};

/// Deepest nesting of statements and of brackets. Published templates stay below 20.
const MAX_NESTING: u32 = 60;

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
}
