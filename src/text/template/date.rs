//! The date that templates may write into a prompt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date and time of day, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl DateTime {
    /// Midnight of a day in the Gregorian calendar, years 1 to 9999; `None` if there is no such day.
    ///
    /// ```
    /// use edgeslm::text::DateTime;
    /// assert_eq!(DateTime::from_ymd(2024, 7, 26).unwrap().format("%d %b %Y"), "26 Jul 2024");
    /// assert!(DateTime::from_ymd(2023, 2, 29).is_none());
    /// ```
    #[must_use]
    pub fn from_ymd(year: i32, month: u8, day: u8) -> Option<Self> {
        let valid = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        valid.then_some(Self { year, month, day, hour: 0, minute: 0, second: 0 })
    }

    /// The same day at another time; `None` if there is no such time.
    #[must_use]
    pub fn at(self, hour: u8, minute: u8, second: u8) -> Option<Self> {
        (hour < 24 && minute < 60 && second < 60).then_some(Self { hour, minute, second, ..self })
    }

    /// A point in time, in UTC. Times outside the years 1970 to 9999 are moved to the nearer end.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Self {
        let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        // 9999-12-31 23:59:59.
        let seconds = elapsed.as_secs().min(253_402_300_799);
        let (mut days, time_of_day) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        // Whole cycles of 400 years have 146,097 days.
        year += 400 * i32::try_from(days / 146_097).unwrap_or(0);
        days %= 146_097;
        while days >= u64::from(days_in_year(year)) {
            days -= u64::from(days_in_year(year));
            year += 1;
        }
        let mut month = 1;
        while days >= u64::from(days_in_month(year, month)) {
            days -= u64::from(days_in_month(year, month));
            month += 1;
        }
        let small = |value: u64| u8::try_from(value).unwrap_or(0);
        Self {
            year,
            month,
            day: small(days + 1),
            hour: small(time_of_day / 3600),
            minute: small(time_of_day / 60 % 60),
            second: small(time_of_day % 60),
        }
    }

    /// The system clock's time, in UTC.
    #[must_use]
    pub fn now() -> Self {
        Self::from_system_time(SystemTime::now())
    }

    /// The date in the notation of C's `strftime`, with English names.
    ///
    /// Known directives: `%a %A %b %B %c %d %D %e %F %H %I %j %m %M %p %S %T %u %w %x %X %y %Y %Z %%`, and `%-d` and
    /// the like without leading zeros. Anything else is copied.
    #[must_use]
    pub fn format(&self, format: &str) -> String {
        let mut text = String::with_capacity(format.len() + 16);
        let mut chars = format.chars();
        while let Some(character) = chars.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut ahead = chars.clone();
            let (unpadded, directive) = match ahead.next() {
                Some('-') => (true, ahead.next()),
                directive => (false, directive),
            };
            match directive.and_then(|directive| self.directive(directive)) {
                Some(value) if unpadded => {
                    let stripped = value.trim_start_matches(['0', ' ']);
                    text.push_str(if stripped.is_empty() { "0" } else { stripped });
                    chars = ahead;
                }
                Some(value) => {
                    text.push_str(&value);
                    chars = ahead;
                }
                None => text.push('%'),
            }
        }
        text
    }

    fn directive(&self, directive: char) -> Option<String> {
        let two = |value: u8| format!("{value:02}");
        let name = |names: &[&str], index: usize, length: usize| {
            names.get(index).map(|name| name.chars().take(length).collect::<String>())
        };
        let month = usize::from(self.month) - 1;
        let hour12 = match self.hour % 12 {
            0 => 12,
            hour => hour,
        };
        Some(match directive {
            'a' => name(&WEEKDAYS, self.weekday(), 3)?,
            'A' => name(&WEEKDAYS, self.weekday(), 9)?,
            'b' | 'h' => name(&MONTHS, month, 3)?,
            'B' => name(&MONTHS, month, 9)?,
            'c' => self.format("%a %b %e %H:%M:%S %Y"),
            'd' => two(self.day),
            'D' | 'x' => self.format("%m/%d/%y"),
            'e' => format!("{:2}", self.day),
            'F' => self.format("%Y-%m-%d"),
            'H' => two(self.hour),
            'I' => two(hour12),
            'j' => format!("{:03}", self.day_of_year()),
            'm' => two(self.month),
            'M' => two(self.minute),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
            'S' => two(self.second),
            'T' | 'X' => self.format("%H:%M:%S"),
            'u' => ((self.weekday() + 6) % 7 + 1).to_string(),
            'w' => self.weekday().to_string(),
            'y' => format!("{:02}", self.year % 100),
            'Y' => format!("{:04}", self.year),
            'Z' => String::new(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }

    fn day_of_year(&self) -> u32 {
        (1..self.month).map(|month| u32::from(days_in_month(self.year, month))).sum::<u32>()
            + u32::from(self.day)
    }

    /// 0 is Sunday.
    fn weekday(&self) -> usize {
        let before = self.year - 1;
        let days = before * 365 + before / 4 - before / 100 + before / 400;
        // 1 January of year 1 was a Monday.
        usize::try_from((i64::from(days) + i64::from(self.day_of_year())) % 7).unwrap_or(0)
    }
}

fn is_leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_year(year: i32) -> u32 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_times_are_calendar_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 Thursday 001"),
            (951_782_399, "2000-02-28 23:59:59 Monday 059"),
            (951_868_800, "2000-03-01 00:00:00 Wednesday 061"),
            (1_721_996_645, "2024-07-26 12:24:05 Friday 208"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday 060"),
            (253_402_300_799, "9999-12-31 23:59:59 Friday 365"),
            (u64::from(u32::MAX) << 8, "9999-12-31 23:59:59 Friday 365"),
        ] {
            let time = DateTime::from_system_time(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(time.format("%Y-%m-%d %H:%M:%S %A %j"), date, "{seconds}");
        }
        assert_eq!(
            DateTime::from_system_time(UNIX_EPOCH - Duration::from_secs(9)).format("%F"),
            "1970-01-01"
        );
    }

    #[test]
    fn directives_follow_strftime() {
        let date = DateTime::from_ymd(2026, 3, 5).unwrap().at(15, 4, 9).unwrap();
        for (format, text) in [
            ("%d %b %Y", "05 Mar 2026"),
            ("%B %-d, %y at %I:%M %p", "March 5, 26 at 03:04 PM"),
            ("%a %e %H%M%S %u %w", "Thu  5 150409 4 4"),
            ("%c|%D|%T|%Z|%%", "Thu Mar  5 15:04:09 2026|03/05/26|15:04:09||%"),
            ("%q %- %", "%q %- %"),
        ] {
            assert_eq!(date.format(format), text, "{format}");
        }
        assert_eq!(DateTime::from_ymd(2023, 1, 1).unwrap().format("%u %w %-H"), "7 0 0");
    }

    #[test]
    fn only_real_days_and_times_are_accepted() {
        assert!(DateTime::from_ymd(2024, 2, 29).is_some());
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2023, 0, 1), (2023, 13, 1), (0, 1, 1), (2023, 4, 31)]
        {
            assert!(DateTime::from_ymd(year, month, day).is_none(), "{year}-{month}-{day}");
        }
        assert!(DateTime::from_ymd(2023, 1, 1).unwrap().at(24, 0, 0).is_none());
    }
}
