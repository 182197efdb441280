//! Lexemes as automata over bytes, and the shortest way to the end of each.

use std::collections::{HashMap, VecDeque};

use llguidance::api::ParserLimits;
use llguidance::derivre::StateID;
use llguidance::earley::lexerspec::{LexemeIdx, LexerSpec};
use llguidance::earley::regexvec::{LexemeSet, RegexVec};

/// The most states that are looked at for one shortest way.
const SEARCH: usize = 50_000;

/// The cost of what cannot be reached.
pub(super) const IMPOSSIBLE: u32 = u32::MAX;

/// A place in a lexeme. Not comparable between different [`Lexemes`].
pub(super) type State = StateID;

/// Learns states as they are asked for.
pub(crate) struct Lexemes {
    automata: RegexVec,
    fuel: u64,
    most_states: usize,
    starts: HashMap<u32, State>,
    /// The least number of bytes to the end, and the first of them.
    ways: HashMap<State, (u32, Option<u8>)>,
    /// Bytes in the order in which they are preferred.
    order: Vec<u8>,
}

impl Lexemes {
    pub(super) fn new(spec: &LexerSpec, limits: &ParserLimits) -> Option<Self> {
        let mut limits = limits.clone();
        let automata = spec.to_regex_vec(&mut limits).ok()?;
        let preferred = b"\"}])0 aA1-";
        let mut order = preferred.to_vec();
        order.extend((0x20..=0xFF).chain(0..0x20).filter(|byte| !preferred.contains(byte)));
        Some(Self {
            automata,
            fuel: limits.initial_lexer_fuel,
            most_states: limits.max_lexer_states,
            starts: HashMap::new(),
            ways: HashMap::new(),
            order,
        })
    }

    /// Whether it can no longer say anything, since the lexemes are too complex.
    pub(super) fn is_exhausted(&self) -> bool {
        self.automata.has_error()
    }

    /// Whether it has learnt so many states that a fresh one is better.
    pub(crate) fn is_full(&self) -> bool {
        self.is_exhausted() || self.automata.stats().num_states > self.most_states / 2
    }

    /// Allows work for another step.
    pub(super) fn refuel(&mut self) {
        self.automata.set_fuel(self.fuel);
    }

    pub(super) fn start(&mut self, lexeme: u32) -> State {
        if let Some(state) = self.starts.get(&lexeme) {
            return *state;
        }
        let count = self.automata.lazy_regexes().len().max(lexeme as usize + 1);
        let mut set = LexemeSet::new(count);
        set.add(LexemeIdx::new(lexeme as usize));
        let state = self.automata.initial_state(&set);
        self.starts.insert(lexeme, state);
        state
    }

    /// `None` where no text of the lexeme goes on so.
    pub(super) fn advance(&mut self, state: State, byte: u8) -> Option<State> {
        let next = self.automata.transition(state, byte);
        (!next.is_dead() && !self.is_exhausted()).then_some(next)
    }

    /// Whether the lexeme may end here.
    pub(super) fn is_end(&self, state: State) -> bool {
        let state = self.automata.state_desc(state);
        state.greedy_accepting.is_some() || state.lazy_accepting.is_some()
    }

    /// The least number of bytes to the lexeme's end.
    pub(super) fn distance(&mut self, state: State) -> u32 {
        if !self.ways.contains_key(&state) {
            self.search(state);
        }
        self.ways.get(&state).map_or(IMPOSSIBLE, |way| way.0)
    }

    /// Appends the shortest rest of the lexeme.
    pub(super) fn finish(&mut self, mut state: State, text: &mut Vec<u8>) -> Option<()> {
        let mut left = self.distance(state);
        if left == IMPOSSIBLE {
            return None;
        }
        while left > 0 {
            let byte = self.ways.get(&state)?.1?;
            text.push(byte);
            state = self.advance(state, byte)?;
            left -= 1;
            if self.distance(state) != left {
                return None;
            }
        }
        Some(())
    }

    /// Breadth first from `from` to the nearest state whose way is known.
    fn search(&mut self, from: State) {
        // Each state found, with the one that it was found from and the byte between.
        let mut found: HashMap<State, Option<(State, u8)>> = HashMap::from([(from, None)]);
        let mut queue = VecDeque::from([from]);
        let order = std::mem::take(&mut self.order);
        let mut target = None;
        // The nearest by breadth and what is known of its own way need not agree, so that only ends and ways that the
        // breadth allows are taken: all states of one breadth are looked at before the next.
        let mut best = IMPOSSIBLE;
        let mut breadth: HashMap<State, u32> = HashMap::from([(from, 0)]);
        while let Some(state) = queue.pop_front() {
            let depth = breadth.get(&state).copied().unwrap_or(0);
            if depth >= best || found.len() > SEARCH || self.is_exhausted() {
                break;
            }
            let known = if self.is_end(state) { Some(0) } else { self.ways.get(&state).map(|way| way.0) };
            if let Some(rest) = known {
                let total = depth.saturating_add(rest);
                if total < best {
                    best = total;
                    target = Some((state, rest));
                }
                continue;
            }
            for byte in &order {
                if let Some(next) = self.advance(state, *byte)
                    && !found.contains_key(&next)
                {
                    found.insert(next, Some((state, *byte)));
                    breadth.insert(next, depth + 1);
                    queue.push_back(next);
                }
            }
        }
        self.order = order;
        let Some((mut state, mut distance)) = target else {
            self.ways.insert(from, (IMPOSSIBLE, None));
            return;
        };
        if distance == 0 {
            self.ways.insert(state, (0, None));
        }
        // Every state on a shortest way is on its own shortest way.
        while let Some(Some((before, byte))) = found.get(&state) {
            distance = distance.saturating_add(1);
            self.ways.insert(*before, (distance, Some(*byte)));
            state = *before;
        }
    }
}
