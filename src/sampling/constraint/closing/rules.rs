//! The grammar's rules, and the least length of each symbol.

use std::collections::HashMap;

use llguidance::api::ParserLimits;
use llguidance::earley::lexerspec::LexerSpec;
use llguidance::earley::{CGrammar, CSymIdx};

use super::lexemes::{IMPOSSIBLE, Lexemes};

/// A symbol of the grammar.
#[derive(Debug)]
pub(super) enum Symbol {
    /// A lexeme, and the one that may stand before it and be ignored.
    Lexeme { lexeme: u32, ignored: u32 },
    /// Some symbols in a row, by one of these rules; none of them for the empty rule.
    Rules { rules: Vec<usize>, may_be_empty: bool },
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) left: usize,
    pub(super) right: Vec<usize>,
}

/// What is known of a grammar's texts.
pub(crate) enum Reading {
    /// Their rules.
    Rules(Box<Rules>),
    /// None of them ends.
    Endless,
    /// Nothing, since the lexemes are beyond the limits.
    TooComplex,
    /// Nothing of how they end, since there is more to them than rules and lexemes.
    Unknown,
}

/// Rules of a grammar that a [`Chart`](super::Chart) can follow.
pub(crate) struct Rules {
    pub(super) symbols: Vec<Symbol>,
    pub(super) rules: Vec<Rule>,
    pub(super) start: usize,
    /// The least number of bytes of each symbol.
    pub(super) costs: Vec<u32>,
    /// The rule of each symbol that gives it; `None` for the empty one.
    pub(super) cheapest: Vec<Option<usize>>,
    spec: LexerSpec,
    limits: ParserLimits,
}

impl Rules {
    /// Reads the rules of a compiled grammar.
    pub(crate) fn read(grammar: &CGrammar, limits: &ParserLimits) -> Reading {
        let spec = grammar.lexer_spec();
        // With parameters, or lexemes that end at other lexemes, after some tokens or at the text's end.
        if grammar.parametric() || !spec.can_rollback() {
            return Reading::Unknown;
        }
        let mut reader = Reader { grammar, places: HashMap::new(), found: Vec::new() };
        let start = reader.place(grammar.start());
        let (mut symbols, mut rules) = (Vec::new(), Vec::new());
        while let Some(index) = reader.found.get(symbols.len()).copied() {
            let symbol = reader.symbol(symbols.len(), index, &mut rules);
            symbols.push(symbol);
        }
        // Begun by nothing else, so that its end is the text's.
        let may_be_empty = grammar.sym_data(grammar.start()).is_nullable;
        symbols.push(Symbol::Rules { rules: vec![rules.len()], may_be_empty });
        rules.push(Rule { left: symbols.len() - 1, right: vec![start] });
        let start = symbols.len() - 1;
        let mut rules = Self {
            costs: vec![IMPOSSIBLE; symbols.len()],
            cheapest: vec![None; symbols.len()],
            symbols,
            rules,
            start,
            spec: spec.clone(),
            limits: limits.clone(),
        };
        match rules.find_costs() {
            None => Reading::TooComplex,
            Some(IMPOSSIBLE) => Reading::Endless,
            Some(_) => Reading::Rules(Box::new(rules)),
        }
    }

    /// The grammar's lexemes, of which nothing has been learnt yet. `None` where they are too complex.
    pub(crate) fn lexemes(&self) -> Option<Lexemes> {
        Lexemes::new(&self.spec, &self.limits)
    }

    /// The cost of the start symbol; `None` where the lexemes are too complex.
    fn find_costs(&mut self) -> Option<u32> {
        let mut lexemes = self.lexemes()?;
        for (symbol, cost) in self.symbols.iter().zip(&mut self.costs) {
            match symbol {
                Symbol::Lexeme { lexeme, .. } => {
                    lexemes.refuel();
                    let start = lexemes.start(*lexeme);
                    *cost = lexemes.distance(start);
                    if lexemes.is_exhausted() {
                        return None;
                    }
                }
                Symbol::Rules { may_be_empty: true, .. } => *cost = 0,
                Symbol::Rules { .. } => {}
            }
        }
        // Costs only fall, and each round settles at least one symbol.
        loop {
            let mut changed = false;
            for (index, rule) in self.rules.iter().enumerate() {
                let cost = sum(rule.right.iter().map(|symbol| self.costs[*symbol]));
                if cost < self.costs[rule.left] {
                    self.costs[rule.left] = cost;
                    self.cheapest[rule.left] = Some(index);
                    changed = true;
                }
            }
            if !changed {
                break self.costs.get(self.start).copied();
            }
        }
    }

    /// Appends the shortest text of a symbol.
    pub(super) fn spell(&self, symbol: usize, lexemes: &mut Lexemes, text: &mut Vec<u8>) -> Option<()> {
        // Symbols that are still to be spelled, last first. What is cheapest does not contain itself.
        let mut left = vec![symbol];
        while let Some(symbol) = left.pop() {
            match self.symbols.get(symbol)? {
                Symbol::Lexeme { lexeme, .. } => {
                    lexemes.refuel();
                    let start = lexemes.start(*lexeme);
                    lexemes.finish(start, text)?;
                }
                Symbol::Rules { .. } => {
                    if let Some(rule) = self.cheapest.get(symbol)? {
                        left.extend(self.rules.get(*rule)?.right.iter().rev());
                    }
                }
            }
        }
        Some(())
    }
}

/// Costs together; impossible if one is.
pub(super) fn sum(costs: impl Iterator<Item = u32>) -> u32 {
    costs.fold(0, u32::saturating_add)
}

/// Numbers the symbols that the start symbol needs.
struct Reader<'a> {
    grammar: &'a CGrammar,
    places: HashMap<CSymIdx, usize>,
    found: Vec<CSymIdx>,
}

impl Reader<'_> {
    fn place(&mut self, index: CSymIdx) -> usize {
        *self.places.entry(index).or_insert_with(|| {
            self.found.push(index);
            self.found.len() - 1
        })
    }

    fn symbol(&mut self, left: usize, index: CSymIdx, rules: &mut Vec<Rule>) -> Symbol {
        let data = self.grammar.sym_data(index);
        let spec = self.grammar.lexer_spec();
        if let Some(lexeme) = data.lexeme {
            let ignored = spec.skip_id(spec.lexeme_spec(lexeme).class());
            return Symbol::Lexeme { lexeme: lexeme.0, ignored: ignored.0 };
        }
        let mut own = Vec::with_capacity(data.rules.len());
        for rule in &data.rules {
            let right = self.grammar.rule_rhs(*rule).0.iter().map(|symbol| self.place(*symbol)).collect();
            own.push(rules.len());
            rules.push(Rule { left, right });
        }
        Symbol::Rules { rules: own, may_be_empty: data.is_nullable }
    }
}
