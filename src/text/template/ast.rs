//! The syntax tree of a template.

use std::sync::Arc;

use super::value::Value;

#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) kind: StatementKind,
}

#[derive(Debug)]
pub(super) enum StatementKind {
    Text(Arc<str>),
    Output(Vec<Expression>),
    If {
        branches: Vec<(Expression, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    For(Box<For>),
    Set {
        target: Target,
        value: Expression,
    },
    SetBlock {
        target: Target,
        filters: Vec<FilterCall>,
        body: Vec<Statement>,
    },
    Macro(Arc<Macro>),
    CallBlock {
        call: Expression,
        body: Arc<Macro>,
    },
    FilterBlock {
        filters: Vec<FilterCall>,
        body: Vec<Statement>,
    },
    With {
        variables: Vec<(Target, Expression)>,
        body: Vec<Statement>,
    },
    /// Statements that only have a name around them (`block`, `generation`, `autoescape`).
    Group(Vec<Statement>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) items: Expression,
    pub(super) condition: Option<Expression>,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expression>)>,
    pub(super) body: Vec<Statement>,
}

/// What an assignment or loop binds.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    /// An attribute of a namespace.
    Attribute(Arc<str>, Arc<str>),
}

/// An expression; `depth` bounds the recursion of everything that walks the tree.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) depth: u32,
    pub(super) kind: ExpressionKind,
}

#[derive(Debug)]
pub(super) enum ExpressionKind {
    Constant(Value),
    Name(Arc<str>),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Not(Box<Expression>),
    Binary(BinaryOperator, Box<[Expression; 2]>),
    Concatenation(Vec<Expression>),
    Comparison(Box<Expression>, Vec<(ComparisonOperator, Expression)>),
    And(Box<[Expression; 2]>),
    Or(Box<[Expression; 2]>),
    Conditional { condition: Box<Expression>, then: Box<Expression>, otherwise: Option<Box<Expression>> },
    Attribute(Box<Expression>, Arc<str>),
    Item(Box<[Expression; 2]>),
    Slice(Box<Expression>, [Option<Box<Expression>>; 3]),
    Call(Box<Expression>, Arguments),
    Filter(Box<Expression>, FilterCall),
    Test(Box<Expression>, Arc<str>, Arguments),
}

#[derive(Debug)]
pub(super) struct FilterCall {
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expression>,
    pub(super) named: Vec<(Arc<str>, Expression)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ComparisonOperator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}
