//! Numbers as texts write them.
//!
//! A number in a text is digits with `.` `,` `'` or a space between them. What separates thousands and what the decimals is a
//! matter of the country, so that some spellings have two values: `1,234` and `1.234`.

use std::ops::Range;

/// A decimal number: digits without leading and trailing zeros, and the power of ten of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a JSON number.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_negative = whole.starts_with('-');
        Self::new(is_negative, whole.trim_start_matches('-'), decimals, exponent)
    }

    fn new(is_negative: bool, whole: &str, decimals: &str, exponent: i64) -> Option<Self> {
        let all = format!("{whole}{decimals}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self { is_negative: false, digits: "0".to_owned(), exponent: 0 });
        }
        let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
        let decimals = i64::try_from(decimals.len()).ok()?;
        let exponent = exponent.checked_sub(decimals)?.checked_add(dropped)?;
        Some(Self { is_negative, digits: significant.to_owned(), exponent })
    }

    fn negated(mut self) -> Self {
        self.is_negative = !self.is_negative && self.digits != "0";
        self
    }

    fn hundredth(mut self) -> Self {
        if self.digits != "0" {
            self.exponent -= 2;
        }
        self
    }
}

/// A number in a text, with the values that it may mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) place: Range<usize>,
    pub(super) values: Vec<Decimal>,
}

/// All numbers of a text.
pub(super) fn mentions(text: &str) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find(|c: char| c.is_ascii_digit())) {
        let start = from + start;
        let end = end_of_number(text, start);
        if let Some(mention) = mention(text, start..end) {
            mentions.push(mention);
        }
        from = end;
    }
    mentions
}

/// Where `value` stands in a text whose numbers are `mentions`.
pub(super) fn find(value: &Decimal, mentions: &[Mention]) -> Option<Range<usize>> {
    mentions.iter().find(|mention| mention.values.contains(value)).map(|mention| mention.place.clone())
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\u{A0}' | '\u{202F}' | '\u{2009}')
}

fn is_separator(character: char) -> bool {
    matches!(character, '.' | ',' | '\'' | '’') || is_space(character)
}

/// The end of the digits and separators that begin at `start`. A space only separates where three digits follow.
fn end_of_number(text: &str, start: usize) -> usize {
    let mut end = start;
    for (index, character) in text.get(start..).unwrap_or_default().char_indices() {
        if character.is_ascii_digit() {
            end = start + index + 1;
            continue;
        }
        let after = text.get(start + index + character.len_utf8()..).unwrap_or_default();
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let goes_on = if is_space(character) { digits == 3 } else { digits > 0 };
        if !is_separator(character) || !goes_on {
            break;
        }
    }
    end
}

fn mention(text: &str, place: Range<usize>) -> Option<Mention> {
    let number = text.get(place.clone())?;
    let mut values = values(number);
    if values.is_empty() {
        return None;
    }
    let before = text.get(..place.start)?;
    let after = text.get(place.end..)?;
    if is_negative(before, after) {
        values = values.into_iter().map(Decimal::negated).collect();
    }
    if let Some(after) = after.trim_start_matches(is_space).chars().next()
        && matches!(after, '%' | '٪' | '％')
    {
        let parts: Vec<Decimal> = values.iter().cloned().map(Decimal::hundredth).collect();
        values.extend(parts);
    }
    Some(Mention { place, values })
}

/// A minus before the number, also with a currency sign between, or behind it as ledgers have it, or round brackets.
fn is_negative(before: &str, after: &str) -> bool {
    let is_sign = |character: char| matches!(character, '-' | '−' | '–');
    let is_currency = |character: char| "$€£¥₹₽₩₺₫".contains(character) || is_space(character);
    let ahead = before.trim_end_matches(is_currency);
    if let Some(earlier) = ahead.strip_suffix(is_sign) {
        // Between two words or numbers it is a dash: 3-5, A-7.
        let is_joint = earlier.chars().next_back().is_some_and(|c| c.is_alphanumeric() || is_sign(c));
        return !is_joint;
    }
    let behind = after.trim_start_matches(is_currency);
    let ends_with_sign =
        after.starts_with('-') && !after.get(1..).is_some_and(|rest| rest.starts_with(char::is_alphanumeric));
    ahead.ends_with('(') && behind.starts_with(')') || ends_with_sign
}

/// What digits with separators may mean.
fn values(number: &str) -> Vec<Decimal> {
    let parts: Vec<&str> = number.split(is_separator).collect();
    let separators: Vec<char> = number.chars().filter(|c| is_separator(*c)).collect();
    let mut values = Vec::new();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return values };
    let Some(last_separator) = separators.last() else {
        add(&mut values, number, "");
        return values;
    };
    // All separators part thousands (or lakhs), the same one throughout.
    let are_groups = |parts: &[&str], separators: &[char]| {
        separators.iter().all(|separator| Some(separator) == separators.first())
            && parts.iter().skip(1).all(|part| part.len() == 3 || part.len() == 2)
            && parts.last().is_none_or(|last| parts.len() == 1 || last.len() == 3)
            && (1..=3).contains(&first.len())
    };
    if are_groups(&parts, &separators) {
        add(&mut values, &parts.concat(), "");
    }
    // The last one parts the decimals.
    let (whole, earlier) = (&parts[..parts.len() - 1], &separators[..separators.len() - 1]);
    let is_point = matches!(last_separator, '.' | ',');
    if is_point && !earlier.contains(last_separator) && (earlier.is_empty() || are_groups(whole, earlier)) {
        add(&mut values, &whole.concat(), last);
    }
    // Dates, versions and the like: each part for itself.
    if values.is_empty() {
        for part in parts {
            add(&mut values, part, "");
        }
    }
    values
}

fn add(values: &mut Vec<Decimal>, whole: &str, decimals: &str) {
    if let Some(value) = Decimal::new(false, whole, decimals, 0)
        && !values.contains(&value)
    {
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(value: &str, text: &str) -> bool {
        find(&Decimal::from_json(value).unwrap(), &mentions(text)).is_some()
    }

    #[test]
    fn numbers_are_found_in_the_formats_of_many_countries() {
        for (value, text) in [
            ("1234.5", "Total: 1,234.50 EUR"),
            ("1234.5", "Summe: 1.234,50 €"),
            ("1234.5", "Total : 1 234,50 €"),
            ("1234.5", "Total : 1\u{202F}234,50 €"),
            ("1234.5", "CHF 1'234.50"),
            ("1234567", "12,34,567 rupees"),
            ("1234567", "1.234.567"),
            ("12.5", "$12.50"),
            ("12.5", "12,5%"),
            ("0.125", "12,5 %"),
            ("-7", "-7 degrees"),
            ("-7", "−7 °C"),
            ("-12.5", "-$12.50"),
            ("-12.5", "(12.50)"),
            ("-12.5", "12,50-"),
            ("5", "3-5 days"),
            ("3", "3-5 days"),
            ("7", "model A-7"),
            ("0", "0.00"),
            ("1e3", "1000"),
            ("1.0", "1 item"),
            ("2024", "on 31.12.2024"),
            ("3", "v1.2.3"),
            ("1234", "1,234"),
            ("1.234", "1,234"),
            ("00.50", "costs 0.5"),
        ] {
            assert!(is_in(value, text), "{value} in {text}");
        }
    }

    #[test]
    fn other_numbers_are_not() {
        for (value, text) in [
            ("12", "no number"),
            ("12", "123"),
            ("12.5", "1250"),
            ("7", "-7"),
            ("-7", "7"),
            ("-5", "3-5 days"),
            ("34", "12,34"),
            ("0.12", "12 pieces"),
            ("1234.5", "1,234.05"),
        ] {
            assert!(!is_in(value, text), "{value} in {text}");
        }
    }

    #[test]
    fn places_are_those_of_the_digits() {
        let text = "é €1.234,50!";
        let mentions = mentions(text);
        assert_eq!(&text[mentions[0].place.clone()], "1.234,50");
        assert_eq!(Decimal::from_json("1e99999999999999999999"), None);
        assert_eq!(Decimal::from_json("abc"), None);
    }
}
