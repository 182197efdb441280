//! Days and times of day as texts write them.

use std::ops::Range;

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
}

/// A day in a text, with what it may mean: `03/04/2025` is in March or in April.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) place: Range<usize>,
    pub(super) days: Vec<Day>,
}

/// The beginnings of months' names in English, German, French, Spanish, Italian, Portuguese and Dutch, in lower case.
const MONTHS: [(&str, u32); 42] = [
    ("jan", 1),
    ("jän", 1),
    ("ene", 1),
    ("gen", 1),
    ("feb", 2),
    ("fév", 2),
    ("fev", 2),
    ("mar", 3),
    ("mär", 3),
    ("mrz", 3),
    ("maa", 3),
    ("mrt", 3),
    ("apr", 4),
    ("avr", 4),
    ("abr", 4),
    ("may", 5),
    ("mai", 5),
    ("mag", 5),
    ("mei", 5),
    ("mayo", 5),
    ("juin", 6),
    ("jun", 6),
    ("giu", 6),
    ("juil", 7),
    ("jul", 7),
    ("lug", 7),
    ("aug", 8),
    ("aoû", 8),
    ("aou", 8),
    ("ago", 8),
    ("sep", 9),
    ("set", 9),
    ("oct", 10),
    ("okt", 10),
    ("ott", 10),
    ("out", 10),
    ("nov", 11),
    ("dec", 12),
    ("dez", 12),
    ("déc", 12),
    ("dic", 12),
    ("maio", 5),
];

impl Day {
    fn new(year: u32, month: u32, day: u32) -> Option<Self> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u32::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        (year > 0 && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// Reads `2025-03-04`, alone or before a time.
    pub(super) fn from_iso(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        if !(rest.is_empty() || rest.starts_with(['T', 't', ' '])) {
            return None;
        }
        let mut parts = date.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let lengths = (year.len(), month.len(), day.len());
        if lengths != (4, 2, 2) || parts.next().is_some() {
            return None;
        }
        Self::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
    }
}

/// A part of a text that dates are made of.
#[derive(Debug, Clone, Copy)]
enum Part {
    Number { value: u32, digits: usize },
    Month(u32),
}

#[derive(Debug, Clone)]
struct Placed {
    part: Part,
    place: Range<usize>,
}

/// All days of a text.
pub(super) fn mentions(text: &str) -> Vec<Mention> {
    let parts = parts(text);
    let mut mentions: Vec<Mention> = Vec::new();
    for three in parts.windows(3) {
        let [first, second, third] = three else { continue };
        let between =
            |left: &Placed, right: &Placed| text.get(left.place.end..right.place.start).unwrap_or("\n");
        if !is_joint(between(first, second)) || !is_joint(between(second, third)) {
            continue;
        }
        let days = meanings(first.part, second.part, third.part);
        if !days.is_empty() {
            mentions.push(Mention { place: first.place.start..third.place.end, days });
        }
    }
    // Without separators, as in 20250304.
    for part in &parts {
        if let Part::Number { value, digits: 8 } = part.part
            && let Some(day) = Day::new(value / 10_000, value / 100 % 100, value % 100)
        {
            mentions.push(Mention { place: part.place.clone(), days: vec![day] });
        }
    }
    mentions
}

/// Where `day` stands.
pub(super) fn find(day: Day, mentions: &[Mention]) -> Option<Range<usize>> {
    mentions.iter().find(|mention| mention.days.contains(&day)).map(|mention| mention.place.clone())
}

/// Whether the hour and minute of an RFC 3339 time stand in a text, on a clock of 24 or 12 hours.
pub(super) fn has_time(text: &str, hour: u32, minute: u32) -> bool {
    let lower = text.to_lowercase();
    let bytes = lower.as_bytes();
    lower.match_indices([':', '.', 'h']).any(|(at, _)| {
        let before = bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let after = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=2).contains(&before) || after != 2 {
            return false;
        }
        let number = |range: Range<usize>| lower.get(range).and_then(|digits| digits.parse::<u32>().ok());
        let (Some(hours), Some(minutes)) = (number(at - before..at), number(at + 1..at + 3)) else {
            return false;
        };
        let rest = lower.get(at + 3..).unwrap_or_default();
        let rest = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit() || c == ' ');
        let on_clock = match (
            rest.starts_with("p.m") || rest.starts_with("pm"),
            rest.starts_with("a.m") || rest.starts_with("am"),
        ) {
            (true, _) => hours % 12 + 12,
            (_, true) => hours % 12,
            _ => hours,
        };
        (on_clock, minutes) == (hour, minute)
    })
}

/// What may stand between the parts of a date.
fn is_joint(text: &str) -> bool {
    let text = text.trim_matches([' ', '\u{A0}']);
    matches!(
        text,
        "" | "."
            | "/"
            | "-"
            | ","
            | "–"
            | ".-"
            | "st"
            | "nd"
            | "rd"
            | "th"
            | "st,"
            | "nd,"
            | "rd,"
            | "th,"
            | "de"
            | "of"
            | "th of"
    )
}

fn parts(text: &str) -> Vec<Placed> {
    let mut parts = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((start, character)) = rest.next() {
        let is_kind = |other: char| {
            if character.is_ascii_digit() { other.is_ascii_digit() } else { other.is_alphabetic() }
        };
        if !character.is_ascii_digit() && !character.is_alphabetic() {
            continue;
        }
        let mut end = start + character.len_utf8();
        while let Some((index, other)) = rest.next_if(|(_, other)| is_kind(*other)) {
            end = index + other.len_utf8();
        }
        let Some(word) = text.get(start..end) else { continue };
        let part = if character.is_ascii_digit() {
            if word.len() > 8 {
                continue;
            }
            word.parse().ok().map(|value| Part::Number { value, digits: word.len() })
        } else {
            month(word).map(Part::Month)
        };
        if let Some(part) = part {
            parts.push(Placed { part, place: start..end });
        }
    }
    parts
}

fn month(word: &str) -> Option<u32> {
    let lower = word.to_lowercase();
    if lower.chars().count() > 10 {
        return None;
    }
    // The longest beginning that fits: `juin` is no `jui...` of July.
    let fitting = MONTHS.iter().filter(|(beginning, _)| lower.starts_with(beginning));
    fitting.max_by_key(|(beginning, _)| beginning.len()).map(|(_, month)| *month)
}

/// The days that three parts may mean in the orders that are in use.
fn meanings(first: Part, second: Part, third: Part) -> Vec<Day> {
    let mut days = Vec::new();
    let mut add = |day: Option<Day>| {
        if let Some(day) = day
            && !days.contains(&day)
        {
            days.push(day);
        }
    };
    match (first, second, third) {
        (
            Part::Number { value: a, digits: da },
            Part::Number { value: b, .. },
            Part::Number { value: c, digits: dc },
        ) => {
            if da == 4 {
                add(Day::new(a, b, c));
            } else if let Some(year) = year(c, dc) {
                add(Day::new(year, b, a));
                add(Day::new(year, a, b));
            }
            // Two digits throughout, the year first.
            if da == 2 && dc == 2 {
                add(year(a, da).and_then(|year| Day::new(year, b, c)));
            }
        }
        (Part::Number { value: day, digits: 1 | 2 }, Part::Month(month), Part::Number { value, digits })
        | (Part::Month(month), Part::Number { value: day, digits: 1 | 2 }, Part::Number { value, digits }) => {
            add(year(value, digits).and_then(|year| Day::new(year, month, day)));
        }
        (Part::Number { value, digits: 4 }, Part::Month(month), Part::Number { value: day, .. }) => {
            add(Day::new(value, month, day));
        }
        _ => {}
    }
    days
}

/// Years of two digits are those from 1970 to 2069.
fn year(value: u32, digits: usize) -> Option<u32> {
    match digits {
        4 => Some(value),
        2 if value < 70 => Some(2000 + value),
        2 => Some(1900 + value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(day: &str, text: &str) -> bool {
        find(Day::from_iso(day).unwrap(), &mentions(text)).is_some()
    }

    #[test]
    fn days_are_found_as_people_write_them() {
        for text in [
            "2025-03-04",
            "2025-03-04T10:00:00Z",
            "20250304",
            "4.3.2025",
            "04.03.25",
            "04/03/2025",
            "03/04/2025",
            "4-3-2025",
            "4 March 2025",
            "March 4, 2025",
            "Mar 4 2025",
            "4th of March 2025",
            "March 4th, 2025",
            "4. März 2025",
            "4 mars 2025",
            "4 de marzo de 2025",
            "04-MAR-2025",
            "2025/03/04",
            "25-03-04",
            "am 4. Mrz. 2025",
        ] {
            let text = format!("Date: {text}, total 12.50");
            assert!(is_in("2025-03-04", &text), "{text}");
        }
    }

    #[test]
    fn other_days_are_not() {
        for text in [
            "2025-03-05",
            "4 March 2024",
            "March 2025",
            "4.3.",
            "32.13.2025 4",
            "v4.3.2025x7 1",
            "",
            "4\n3\n2025 5 7",
        ] {
            assert!(!is_in("2025-03-06", text), "{text}");
        }
        assert!(!is_in("2025-03-04", "4 pieces, 3 boxes, 2025 grams"));
        assert_eq!(Day::from_iso("2023-02-29"), None);
        assert_eq!(Day::from_iso("2025-03-041"), None);
        assert_eq!(Day::from_iso("2025-3-04"), None);
        assert_eq!(Day::from_iso("é025-03-04"), None);
    }

    #[test]
    fn times_are_found_on_both_clocks() {
        for text in ["at 14:05", "14:05:33", "14.05 Uhr", "14h05", "2:05 pm", "02:05 P.M."] {
            assert!(has_time(text, 14, 5), "{text}");
        }
        for text in ["at 14:06", "2:05", "2:05 am", "114:05", "14:055"] {
            assert!(!has_time(text, 14, 5), "{text}");
        }
        assert!(has_time("12:30 am", 0, 30) && has_time("12:30 pm", 12, 30));
    }

    #[test]
    fn places_cover_the_whole_day() {
        let text = "paid on 4 March 2025.";
        assert_eq!(&text[mentions(text)[0].place.clone()], "4 March 2025");
    }
}
