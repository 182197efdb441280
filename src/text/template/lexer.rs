//! Splits a template into text and tokens, with Jinja's whitespace rules.
//!
//! `trim_blocks` and `lstrip_blocks` are on, as chat templates expect: a line break after a block tag and blanks
//! before one vanish; `-` strips all whitespace on its side, `+` keeps it.

use std::sync::Arc;

use super::failure::{Failure, Outcome};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Template text outside tags.
    Text(Arc<str>),
    OutputBegin,
    OutputEnd,
    BlockBegin,
    BlockEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i64),
    Float(f64),
    Operator(&'static str),
    End,
}

/// Longer operators come before their prefixes.
const OPERATORS: [&str; 26] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Splits `source` into tokens with their lines, counted from 1.
pub(super) fn tokenize(source: &str) -> Outcome<Vec<(Token, u32)>> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { rest: &source, line: 1, at_line_start: true, tokens: Vec::new() };
    lexer.run()?;
    let line = lexer.line;
    let mut tokens = lexer.tokens;
    tokens.push((Token::End, line));
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    /// Whether the text that follows begins a line of its own.
    at_line_start: bool,
    tokens: Vec<(Token, u32)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Output,
    Block,
    Comment,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Outcome<()> {
        while !self.rest.is_empty() {
            let Some((text, tag)) = self.find_tag() else {
                let rest = self.rest;
                self.push_text(rest);
                self.advance(rest.len());
                break;
            };
            self.advance(text.len() + 2);
            let sign = self.take_sign();
            let text = match sign {
                Some('-') => text.trim_end_matches(is_space),
                None if tag != Tag::Output => self.strip_indent(text),
                _ => text,
            };
            self.push_text(text);
            self.at_line_start = false;
            match tag {
                Tag::Comment => self.comment()?,
                Tag::Block if self.raw()? => {}
                Tag::Block => self.tag(Token::BlockBegin, Token::BlockEnd, "%}")?,
                Tag::Output => self.tag(Token::OutputBegin, Token::OutputEnd, "}}")?,
            }
        }
        Ok(())
    }

    /// The text up to the next tag, and the tag's kind.
    fn find_tag(&self) -> Option<(&'a str, Tag)> {
        let mut from = 0;
        loop {
            let brace = from + self.rest.get(from..)?.find('{')?;
            let tag = match self.rest.as_bytes().get(brace + 1)? {
                b'{' => Tag::Output,
                b'%' => Tag::Block,
                b'#' => Tag::Comment,
                _ => {
                    from = brace + 1;
                    continue;
                }
            };
            return Some((self.rest.get(..brace)?, tag));
        }
    }

    /// `lstrip_blocks`: blanks between the line's start and a block tag vanish.
    fn strip_indent(&self, text: &'a str) -> &'a str {
        let line_start = text.rfind('\n').map(|index| index + 1);
        let indent = text.get(line_start.unwrap_or(0)..).unwrap_or_default();
        if (line_start.is_some() || self.at_line_start) && indent.chars().all(is_space) {
            text.get(..line_start.unwrap_or(0)).unwrap_or_default()
        } else {
            text
        }
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.tokens.push((Token::Text(text.into()), self.line));
        }
    }

    fn advance(&mut self, length: usize) {
        let (done, rest) = self.rest.split_at(length);
        self.line += u32::try_from(done.matches('\n').count()).unwrap_or(0);
        self.rest = rest;
    }

    fn take_sign(&mut self) -> Option<char> {
        let sign = self.rest.chars().next().filter(|sign| matches!(sign, '-' | '+'))?;
        self.advance(1);
        Some(sign)
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start_matches(is_space).len();
        self.advance(space);
    }

    /// Takes the end of a tag, if it comes now.
    fn take_end(&mut self, end: &str, trims_line_break: bool) -> bool {
        let (sign, length) = if self.rest.starts_with(end) {
            (None, end.len())
        } else if self.rest.get(1..).is_some_and(|rest| rest.starts_with(end)) {
            let sign = self.rest.chars().next();
            (sign, end.len() + 1)
        } else {
            return false;
        };
        let may_end = match sign {
            None | Some('-') => true,
            Some('+') => trims_line_break,
            Some(_) => false,
        };
        if !may_end {
            return false;
        }
        self.advance(length);
        self.at_line_start = false;
        let before = self.rest;
        if sign == Some('-') {
            self.skip_space();
        } else if sign.is_none() && trims_line_break && self.rest.starts_with('\n') {
            self.advance(1);
        }
        let skipped = before.len() - self.rest.len();
        self.at_line_start = before.get(..skipped).is_some_and(|skipped| skipped.ends_with('\n'));
        true
    }

    fn comment(&mut self) -> Outcome<()> {
        let line = self.line;
        let Some(end) = self.rest.find("#}") else {
            return Err(Failure::syntax(line, "a comment is not closed"));
        };
        let signed = matches!(self.rest.as_bytes().get(end.wrapping_sub(1)), Some(b'-' | b'+'));
        self.advance(if signed { end - 1 } else { end });
        self.take_end("#}", true);
        Ok(())
    }

    /// Takes `{% raw %} ... {% endraw %}`, if that comes now.
    fn raw(&mut self) -> Outcome<bool> {
        let Some(rest) = self.rest.trim_start_matches(is_space).strip_prefix("raw") else { return Ok(false) };
        let rest = rest.trim_start_matches(is_space);
        let body = if let Some(rest) = rest.strip_prefix("-%}") {
            rest.trim_start_matches(is_space)
        } else if let Some(rest) = rest.strip_prefix("%}") {
            rest
        } else {
            return Ok(false);
        };
        let line = self.line;
        self.advance(self.rest.len() - body.len());
        let mut from = 0;
        while let Some(index) = self.rest.get(from..).and_then(|rest| rest.find("{%")) {
            let start = from + index;
            let text = self.rest.get(..start).unwrap_or_default();
            let after = self.rest.get(start + 2..).unwrap_or_default();
            let (sign, name) = match after.chars().next() {
                Some(sign @ ('-' | '+')) => (Some(sign), after.get(1..).unwrap_or_default()),
                _ => (None, after),
            };
            from = start + 2;
            let Some(end) = name.trim_start_matches(is_space).strip_prefix("endraw") else { continue };
            let end = end.trim_start_matches(is_space);
            let text = match sign {
                Some('-') => text.trim_end_matches(is_space),
                None => self.strip_indent(text),
                _ => text,
            };
            let begin_line = self.line;
            let length = self.rest.len() - end.len();
            self.tokens.extend((!text.is_empty()).then(|| (Token::Text(text.into()), begin_line)));
            self.advance(length);
            if self.take_end("%}", true) {
                return Ok(true);
            }
            return Err(Failure::syntax(self.line, "endraw is not closed"));
        }
        Err(Failure::syntax(line, "a raw block is not closed"))
    }

    /// The tokens of a tag, up to its end.
    fn tag(&mut self, begin: Token, end: Token, end_text: &str) -> Outcome<()> {
        let line = self.line;
        self.tokens.push((begin, line));
        let mut open = Vec::new();
        loop {
            self.skip_space();
            if open.is_empty() && self.take_end(end_text, end == Token::BlockEnd) {
                self.tokens.push((end, self.line));
                return Ok(());
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(Failure::syntax(line, "a tag is not closed"));
            };
            let token = match first {
                '0'..='9' => self.number()?,
                '\'' | '"' => self.string(first)?,
                _ if is_name_character(first) => {
                    let name = self.rest.split(|c| !is_name_character(c)).next().unwrap_or_default();
                    self.advance(name.len());
                    Token::Name(name.into())
                }
                _ => self.operator(first, &mut open)?,
            };
            self.tokens.push((token, self.line));
        }
    }

    fn operator(&mut self, first: char, open: &mut Vec<&'static str>) -> Outcome<Token> {
        let found = OPERATORS.iter().find(|operator| self.rest.starts_with(**operator));
        let Some(operator) = found.copied() else {
            return Err(Failure::syntax(self.line, format!("unexpected character '{first}'")));
        };
        match operator {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(operator) => {
                return Err(Failure::syntax(self.line, format!("unexpected '{operator}'")));
            }
            _ => {}
        }
        self.advance(operator.len());
        Ok(Token::Operator(operator))
    }

    fn number(&mut self) -> Outcome<Token> {
        let bytes = self.rest.as_bytes();
        let digits =
            |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit() || **b == b'_').count();
        let is_digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
        let radix = match (bytes.first(), bytes.get(1)) {
            (Some(b'0'), Some(b'x' | b'X')) => 16,
            (Some(b'0'), Some(b'o' | b'O')) => 8,
            (Some(b'0'), Some(b'b' | b'B')) => 2,
            _ => 10,
        };
        let mut length = digits(0);
        let mut is_float = false;
        if radix != 10 {
            length =
                2 + bytes.iter().skip(2).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        } else {
            // After a dot digits are an index (`a.0.1`), not a fraction.
            let follows_dot = matches!(self.tokens.last(), Some((Token::Operator("."), _)));
            if !follows_dot && bytes.get(length) == Some(&b'.') && is_digit(length + 1) {
                is_float = true;
                length += 1 + digits(length + 1);
            }
            if matches!(bytes.get(length), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
                if is_digit(length + 1 + sign) {
                    is_float = true;
                    length += 1 + sign + digits(length + 1 + sign);
                }
            }
        }
        let text = self.rest.get(..length).unwrap_or_default().replace('_', "");
        let token = if is_float {
            text.parse().ok().map(Token::Float)
        } else if radix != 10 {
            i64::from_str_radix(text.get(2..).unwrap_or_default(), radix).ok().map(Token::Int)
        } else {
            text.parse().ok().map(Token::Int)
        };
        self.advance(length);
        token.ok_or_else(|| Failure::syntax(self.line, format!("'{text}' is not a number that fits")))
    }

    fn string(&mut self, quote: char) -> Outcome<Token> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((index, character)) = chars.next() {
            if character == quote {
                self.advance(index + 1);
                return Ok(Token::Str(text.into()));
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            let Some((index, escaped)) = chars.next() else { break };
            let after = self.rest.get(index..).unwrap_or_default();
            match unescape(escaped, after) {
                Some((length, decoded)) => {
                    text.extend(decoded);
                    for _ in 1..length {
                        chars.next();
                    }
                }
                None => text.extend(['\\', escaped]),
            }
        }
        Err(Failure::syntax(line, "a string is not closed"))
    }
}

/// What the escape that begins with `escaped` stands for, and its length in characters; `None` if it is none.
fn unescape(escaped: char, rest: &str) -> Option<(usize, Option<char>)> {
    let hexadecimal = |digits: usize| {
        let text = rest.get(1..1 + digits)?;
        let code =
            text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16))?.ok()?;
        // Half of a surrogate pair is no character.
        Some((1 + digits, Some(char::from_u32(code).unwrap_or('\u{FFFD}'))))
    };
    let simple = match escaped {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{C}',
        'v' => '\u{B}',
        '\\' | '\'' | '"' => escaped,
        '\n' => return Some((1, None)),
        'x' => return hexadecimal(2),
        'u' => return hexadecimal(4),
        'U' => return hexadecimal(8),
        '0'..='7' => {
            let digits = rest.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let code = u32::from_str_radix(rest.get(..digits)?, 8).ok()?;
            return Some((digits, char::from_u32(code)));
        }
        _ => return None,
    };
    Some((1, Some(simple)))
}

/// Python's notion of whitespace.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
