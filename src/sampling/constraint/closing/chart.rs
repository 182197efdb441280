//! An Earley chart of the text so far.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lexemes::{IMPOSSIBLE, Lexemes, State};
use super::rules::{Rules, Symbol, sum};

/// The most rows and items of a text, far above what a context's worth of text needs.
const MOST_ITEMS: usize = 4_000_000;

/// A rule of which the symbols before `dot` have been seen since row `origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    rule: u32,
    dot: u32,
    origin: u32,
}

/// A place in the text where a lexeme may have ended.
#[derive(Debug, Default)]
struct Row {
    items: Vec<Item>,
    /// By symbol that some item waits for: what the text needs at least after it, and the item.
    after: HashMap<usize, (u32, Item)>,
    /// The least number of bytes to the text's end, and the item that they begin with.
    rest: (u32, Option<Item>),
}

/// A lexeme that began at row `origin` and has come to `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Thread {
    lexeme: u32,
    state: State,
    origin: u32,
    is_ignored: bool,
}

/// Follows a text byte by byte.
pub(crate) struct Chart {
    rules: Arc<Rules>,
    lexemes: Arc<Mutex<Lexemes>>,
    rows: Vec<Row>,
    items: usize,
    threads: Vec<Thread>,
    /// The row that the text so far has made, if any.
    here: Option<u32>,
    /// For a text that it has lost: nothing more is known of its end.
    is_lost: bool,
}

/// A point that a chart can go back to.
pub(crate) struct Mark {
    rows: usize,
    items: usize,
    threads: Vec<Thread>,
    here: Option<u32>,
    is_lost: bool,
}

impl Chart {
    /// At the start of a text. Charts of the same rules may share lexemes.
    pub(crate) fn new(rules: Arc<Rules>, lexemes: Arc<Mutex<Lexemes>>) -> Self {
        let mut chart = Self {
            rules,
            lexemes: Arc::clone(&lexemes),
            rows: Vec::new(),
            items: 0,
            threads: Vec::new(),
            here: None,
            is_lost: false,
        };
        let start = chart.rules_of(chart.rules.start);
        let items: Vec<Item> = start.iter().map(|rule| Item { rule: *rule, dot: 0, origin: 0 }).collect();
        chart.add_row(items, &mut refuelled(&lexemes));
        chart
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            rows: self.rows.len(),
            items: self.items,
            threads: self.threads.clone(),
            here: self.here,
            is_lost: self.is_lost,
        }
    }

    pub(crate) fn go_back(&mut self, mark: Mark) {
        self.rows.truncate(mark.rows);
        self.items = mark.items;
        self.threads = mark.threads;
        self.here = mark.here;
        self.is_lost = mark.is_lost;
    }

    /// Goes on with the bytes of a token.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let shared = Arc::clone(&self.lexemes);
        let mut lexemes = refuelled(&shared);
        for byte in bytes {
            self.push_byte(*byte, &mut lexemes);
        }
    }

    /// The least number of bytes to the text's end; `None` where it is not known.
    pub(crate) fn distance(&mut self) -> Option<usize> {
        let (distance, _) = self.best()?;
        usize::try_from(distance).ok()
    }

    /// The shortest rest of the text; `None` where it is not known.
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
        let (_, way) = self.best()?;
        let shared = Arc::clone(&self.lexemes);
        let mut lexemes = refuelled(&shared);
        let mut text = Vec::new();
        match way {
            Way::Here => {}
            Way::Through(thread) => {
                lexemes.finish(thread.state, &mut text)?;
                if thread.is_ignored {
                    let item = self.rows.get(thread.origin as usize)?.rest.1;
                    self.spell_rest(item, &mut lexemes, &mut text)?;
                } else {
                    let (_, item) = self.after_lexeme(thread.origin, thread.lexeme)?;
                    self.spell_rest(Some(Item { dot: item.dot + 1, ..item }), &mut lexemes, &mut text)?;
                }
            }
        }
        Some(text)
    }

    fn best(&mut self) -> Option<(u32, Way)> {
        if self.is_lost {
            return None;
        }
        let mut best = (IMPOSSIBLE, Way::Here);
        if let Some(row) = self.here.and_then(|here| self.rows.get(here as usize))
            && row.rest.0 == 0
        {
            return Some((0, Way::Here));
        }
        let shared = Arc::clone(&self.lexemes);
        let mut lexemes = refuelled(&shared);
        for thread in &self.threads {
            let after = if thread.is_ignored {
                self.rows.get(thread.origin as usize)?.rest.0
            } else {
                self.after_lexeme(thread.origin, thread.lexeme).map_or(IMPOSSIBLE, |way| way.0)
            };
            let cost = lexemes.distance(thread.state).saturating_add(after);
            if cost < best.0 {
                best = (cost, Way::Through(*thread));
            }
        }
        (best.0 != IMPOSSIBLE).then_some(best)
    }

    /// Of the items of a row that wait for a lexeme, the one with the least after it.
    fn after_lexeme(&self, row: u32, lexeme: u32) -> Option<(u32, Item)> {
        let row = self.rows.get(row as usize)?;
        let waits = |symbol: &usize| matches!(self.rules.symbols.get(*symbol), Some(Symbol::Lexeme { lexeme: of, .. }) if *of == lexeme);
        let ways = row.after.iter().filter(|(symbol, _)| waits(symbol)).map(|(_, way)| *way);
        ways.min_by_key(|(cost, item)| (*cost, item.rule, item.dot, item.origin))
    }

    /// Appends what follows an item's dot, and then what follows in the rules that wait for its symbol, to the text's end.
    fn spell_rest(&self, item: Option<Item>, lexemes: &mut Lexemes, text: &mut Vec<u8>) -> Option<()> {
        let mut next = item;
        while let Some(item) = next {
            let rule = self.rules.rules.get(item.rule as usize)?;
            for symbol in rule.right.get(item.dot as usize..)? {
                self.rules.spell(*symbol, lexemes, text)?;
            }
            if item.origin == 0 && rule.left == self.rules.start {
                // Whatever could still follow here is longer.
                break;
            }
            let (_, waiting) = self.rows.get(item.origin as usize)?.after.get(&rule.left)?;
            next = Some(Item { dot: waiting.dot + 1, ..*waiting });
        }
        Some(())
    }

    fn rules_of(&self, symbol: usize) -> Vec<u32> {
        match self.rules.symbols.get(symbol) {
            Some(Symbol::Rules { rules, .. }) => {
                rules.iter().filter_map(|rule| u32::try_from(*rule).ok()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn push_byte(&mut self, byte: u8, lexemes: &mut Lexemes) {
        if self.is_lost {
            return;
        }
        let mut ended = Vec::new();
        let mut threads = Vec::with_capacity(self.threads.len());
        for thread in std::mem::take(&mut self.threads) {
            if let Some(state) = lexemes.advance(thread.state, byte) {
                let thread = Thread { state, ..thread };
                if lexemes.is_end(state) {
                    ended.push(thread);
                }
                threads.push(thread);
            }
        }
        self.threads = threads;
        self.here = None;
        let mut items = Vec::new();
        for thread in ended {
            let Some(row) = self.rows.get(thread.origin as usize) else { continue };
            if thread.is_ignored {
                items.extend_from_slice(&row.items);
            } else {
                items.extend(row.items.iter().filter_map(|item| {
                    let symbol = self.next_symbol(*item)?;
                    let is_it = matches!(self.rules.symbols.get(symbol), Some(Symbol::Lexeme { lexeme, .. }) if *lexeme == thread.lexeme);
                    is_it.then_some(Item { dot: item.dot + 1, ..*item })
                }));
            }
        }
        if !items.is_empty() {
            self.add_row(items, lexemes);
        }
        self.is_lost = self.threads.is_empty() && self.here.is_none()
            || self.items > MOST_ITEMS
            || lexemes.is_exhausted();
    }

    fn next_symbol(&self, item: Item) -> Option<usize> {
        self.rules.rules.get(item.rule as usize)?.right.get(item.dot as usize).copied()
    }

    /// Adds a row that begins with `items`, and the threads that begin there.
    fn add_row(&mut self, items: Vec<Item>, lexemes: &mut Lexemes) {
        let Ok(index) = u32::try_from(self.rows.len()) else {
            self.is_lost = true;
            return;
        };
        let mut row =
            Row { items: self.closure(items, index), after: HashMap::new(), rest: (IMPOSSIBLE, None) };
        self.items += row.items.len();
        self.find_after(&mut row, index);
        let mut begun = HashSet::new();
        for item in &row.items {
            let Some(Symbol::Lexeme { lexeme, ignored }) =
                self.next_symbol(*item).and_then(|symbol| self.rules.symbols.get(symbol))
            else {
                continue;
            };
            for (lexeme, is_ignored) in [(*lexeme, false), (*ignored, true)] {
                if begun.insert((lexeme, is_ignored)) {
                    let state = lexemes.start(lexeme);
                    if !state.is_dead() {
                        self.threads.push(Thread { lexeme, state, origin: index, is_ignored });
                    }
                }
            }
        }
        self.rows.push(row);
        self.here = Some(index);
    }

    /// The items and all that follow from them without another byte.
    fn closure(&self, items: Vec<Item>, here: u32) -> Vec<Item> {
        let mut seen: HashSet<Item> = HashSet::new();
        let mut all: Vec<Item> = Vec::new();
        let mut queue = items;
        while let Some(item) = queue.pop() {
            if !seen.insert(item) {
                continue;
            }
            all.push(item);
            match self.next_symbol(item) {
                None => {
                    let Some(rule) = self.rules.rules.get(item.rule as usize) else { continue };
                    // What has come to its end here without a byte is covered by its symbol being one that may be empty.
                    let origin = self.rows.get(item.origin as usize).map_or(&[][..], |row| &row.items);
                    let waiting =
                        origin.iter().filter(|waiting| self.next_symbol(**waiting) == Some(rule.left));
                    queue.extend(waiting.map(|waiting| Item { dot: waiting.dot + 1, ..*waiting }));
                }
                Some(symbol) => match self.rules.symbols.get(symbol) {
                    Some(Symbol::Rules { may_be_empty, .. }) => {
                        let predicted = self.rules_of(symbol);
                        queue.extend(predicted.into_iter().map(|rule| Item { rule, dot: 0, origin: here }));
                        if *may_be_empty {
                            queue.push(Item { dot: item.dot + 1, ..item });
                        }
                    }
                    // A lexeme that may be empty.
                    Some(Symbol::Lexeme { .. }) if self.rules.costs.get(symbol) == Some(&0) => {
                        queue.push(Item { dot: item.dot + 1, ..item });
                    }
                    _ => {}
                },
            }
        }
        all
    }

    /// What the text needs after each symbol that an item of the row waits for, and from the row on.
    fn find_after(&self, row: &mut Row, here: u32) {
        // Items that begin in this row depend on others of it, so that costs fall until they no longer change.
        loop {
            let mut changed = false;
            for item in &row.items {
                let Some(symbol) = self.next_symbol(*item) else { continue };
                let cost = self.cost_of(Item { dot: item.dot + 1, ..*item }, &row.after, here);
                let known = row.after.get(&symbol).map_or(IMPOSSIBLE, |way| way.0);
                if cost < known {
                    row.after.insert(symbol, (cost, *item));
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        for item in &row.items {
            let cost = self.cost_of(*item, &row.after, here);
            if cost < row.rest.0 {
                row.rest = (cost, Some(*item));
            }
        }
    }

    /// What the text needs from an item's dot on.
    fn cost_of(&self, item: Item, after_here: &HashMap<usize, (u32, Item)>, here: u32) -> u32 {
        let Some(rule) = self.rules.rules.get(item.rule as usize) else { return IMPOSSIBLE };
        let rest = rule.right.get(item.dot as usize..).unwrap_or_default();
        let own = sum(rest.iter().map(|symbol| self.rules.costs.get(*symbol).copied().unwrap_or(IMPOSSIBLE)));
        if item.origin == 0 && rule.left == self.rules.start {
            return own;
        }
        let after = if item.origin == here {
            Some(after_here)
        } else {
            self.rows.get(item.origin as usize).map(|row| &row.after)
        };
        let parent = after.and_then(|after| after.get(&rule.left)).map_or(IMPOSSIBLE, |way| way.0);
        own.saturating_add(parent)
    }
}

fn refuelled(lexemes: &Mutex<Lexemes>) -> MutexGuard<'_, Lexemes> {
    // After a panic of the crate it has at most learnt less.
    let mut lexemes = lexemes.lock().unwrap_or_else(PoisonError::into_inner);
    lexemes.refuel();
    lexemes
}

/// How the shortest way begins.
enum Way {
    /// The text may end here.
    Here,
    /// With the rest of a lexeme.
    Through(Thread),
}
