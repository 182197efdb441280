//! Sizes, times and lists as people write them.

use std::time::Duration;

/// Bytes from text such as `512MB`, `1.5GiB` or `4096`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("", 1.0),
        ("b", 1.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("kib", 1024.0),
        ("mib", 1_048_576.0),
        ("gib", 1_073_741_824.0),
    ];
    let (number, unit) = split(text)?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit.to_ascii_lowercase()).map(|(_, factor)| factor);
    let factor = factor
        .ok_or_else(|| format!("the unit {unit:?} is unknown; write B, KB, MB, GB, KiB, MiB or GiB"))?;
    let bytes = number * factor;
    if bytes > 2_f64.powi(63) {
        return Err("the size is too large".to_owned());
    }
    Ok(bytes.round() as u64)
}

/// A time from text such as `5s`, `250ms`, `1.5m` or `5`, which are seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 5] = [("", 1.0), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = split(text)?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let factor = factor.ok_or_else(|| format!("the unit {unit:?} is unknown; write ms, s, m or h"))?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

/// Numbers of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Processors(pub(crate) Vec<usize>);

/// Processors from text such as `0-3,6`.
pub(crate) fn parse_processors(text: &str) -> Result<Processors, String> {
    let number = |text: &str| {
        let number: Option<u16> = text.trim().parse().ok();
        number.map(usize::from).ok_or_else(|| format!("{text:?} is not the number of a processor"))
    };
    let mut processors = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = number(first)?..=number(last)?;
        if range.is_empty() {
            return Err(format!("{part:?} ends before it begins"));
        }
        processors.extend(range);
    }
    Ok(Processors(processors))
}

/// The number at the beginning and the unit after it.
fn split(text: &str) -> Result<(f64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| "it does not begin with a number".to_owned())?;
    Ok((number, unit.trim()))
}

/// Bytes with three digits and a decimal unit.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{} {unit}", three_digits(value)) }
}

/// A time with three digits.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.9995 {
        format!("{} ms", three_digits(seconds * 1e3))
    } else {
        format!("{} s", three_digits(seconds))
    }
}

/// A positive number with at least three digits.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("512MB", 512_000_000),
            ("512 mb", 512_000_000),
            ("1.5GiB", 1_610_612_736),
            ("3KiB", 3072),
            ("10b", 10),
        ] {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "MB", "-1MB", "1XB", "1.2.3GB", "1e3", "99999999999GB", "1G"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("5", 5000), ("5s", 5000), ("250ms", 250), ("1.5m", 90_000), ("0", 0), ("2h", 7_200_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1s", "5 parsecs", "99999999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_processors() {
        for (text, expected) in [("3", vec![3]), ("0-3,6", vec![0, 1, 2, 3, 6]), ("2-2, 1", vec![2, 1])] {
            assert_eq!(parse_processors(text), Ok(Processors(expected)), "{text}");
        }
        for text in ["", ",", "a", "-1", "3-", "3-1", "0,,1", "0-99999999999"] {
            assert!(parse_processors(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_for_people() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 KB"),
            (12_345, "12.3 KB"),
            (999_999, "1.00 MB"),
            (2_400_000_000, "2.40 GB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!(duration(Duration::from_micros(12_340)), "12.3 ms");
        assert_eq!(duration(Duration::from_micros(999_900)), "1.00 s");
        assert_eq!(duration(Duration::from_secs(123)), "123 s");
    }
}
