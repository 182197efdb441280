//! The list of cases: reading it, and writing its expectations anew. `tests/data/behaviour.txt` describes the format.

use std::path::{Path, PathBuf};

/// How much a probability or the logarithm of one may differ.
pub(crate) const TOLERANCE: f64 = 1e-6;

/// What one case says or gives: keys with their values.
pub(crate) type Lines = Vec<(String, String)>;

/// One case of the list.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What to do. A value is bytes, which need not be a text.
    given: Vec<(String, Vec<u8>)>,
    pub(crate) expected: Lines,
}

impl Case {
    /// What to do, or `None` where a value is no UTF-8 and cannot be said in Rust.
    pub(crate) fn given(&self) -> Option<Given> {
        let lines = self.given.iter().map(|(key, value)| {
            let value = String::from_utf8(value.clone()).ok()?;
            Some((key.clone(), value))
        });
        Some(Given(lines.collect::<Option<_>>()?))
    }
}

/// What a case says to do.
pub(crate) struct Given(Lines);

impl Given {
    /// The values of a key that may occur several times.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key, if the case has it.
    pub(crate) fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether the case has a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key that the case must have.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.find(key).unwrap_or_else(|| panic!("the case has no {key}"))
    }

    /// The numbers in the values of a key.
    pub(crate) fn numbers<T: std::str::FromStr>(&self, key: &str) -> Vec<T> {
        let words = self.all(key).flat_map(str::split_whitespace);
        words.map(|word| word.parse().unwrap_or_else(|_| panic!("{word:?} is no {key}"))).collect()
    }

    /// The number of a key, if the case has it.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.numbers(key).into_iter().next()
    }
}

/// The file that holds the list.
pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/behaviour.txt")
}

/// Reads the list.
pub(crate) fn read() -> Vec<Case> {
    let text = std::fs::read_to_string(path()).expect("the list of cases");
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let (expectation, line) = match line.strip_prefix("= ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = unescape(value);
        match (key, cases.last_mut()) {
            ("", _) => {}
            ("case", _) => cases.push(Case { name: utf8(value), given: Vec::new(), expected: Vec::new() }),
            (_, None) => panic!("line {}: no case begins before it", number + 1),
            (_, Some(case)) if expectation => case.expected.push((key.to_owned(), utf8(value))),
            (_, Some(case)) => case.given.push((key.to_owned(), value)),
        }
    }
    cases
}

/// Writes the list with the lines of `found`, one entry a case; `None` keeps what the case has.
pub(crate) fn write(found: &[Option<Lines>]) {
    let text = std::fs::read_to_string(path()).expect("the list of cases");
    let mut blocks = Vec::new();
    let mut found = found.iter();
    for block in text.trim_end().split("\n\n") {
        let results = if block.lines().any(|line| line.starts_with("case ")) { found.next() } else { None };
        let Some(Some(results)) = results else {
            blocks.push(block.to_owned());
            continue;
        };
        let given = block.lines().filter(|line| !line.starts_with("= ")).map(str::to_owned);
        let lines =
            results.iter().map(|(key, value)| format!("= {key} {}", escape(value)).trim_end().to_owned());
        blocks.push(given.chain(lines).collect::<Vec<_>>().join("\n"));
    }
    std::fs::write(path(), blocks.join("\n\n") + "\n").expect("the list can be written");
}

/// Whether a case gave what was expected.
pub(crate) fn same(found: &Lines, expected: &Lines, tolerance: f64) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|((key, value), (expected_key, expected))| {
            key == expected_key
                && (value == expected || key.ends_with("probabilities") && near(value, expected, tolerance))
        })
}

fn near(found: &str, expected: &str, tolerance: f64) -> bool {
    let numbers = |text: &str| text.split(' ').map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
    match (numbers(found), numbers(expected)) {
        (Ok(found), Ok(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= tolerance)
        }
        _ => false,
    }
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("names and expectations are UTF-8")
}

fn unescape(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, length) = match escaped.as_bytes().first() {
            Some(b'n') => (b'\n', 1),
            Some(b't') => (b'\t', 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'x') => {
                let digits = escaped.get(1..3).expect("two digits after \\x");
                (u8::from_str_radix(digits, 16).expect("hexadecimal digits after \\x"), 3)
            }
            _ => panic!("an unknown escape: {value:?}"),
        };
        bytes.push(byte);
        rest = &escaped[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Leaves what an editor shows and keeps.
fn escape(value: &str) -> String {
    let mut text = String::new();
    let last = value.char_indices().last().map(|(index, _)| index);
    for (index, character) in value.char_indices() {
        match character {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            ' ' if Some(index) != last => text.push(' '),
            character if character.is_ascii_graphic() || character.is_alphanumeric() => text.push(character),
            character => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    text
}

#[test]
fn values_survive_being_written() {
    for value in ["", " a ", "\\n", "a\tb\n\0\r", "ü🙂\u{fffd}\u{200b}", "\\x41"] {
        assert_eq!(unescape(&escape(value)), value.as_bytes(), "{value:?}");
    }
    assert_eq!(unescape("\\xff\\x41b"), [0xff, b'A', b'b']);
}

#[test]
fn what_differs_is_seen() {
    let line = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let expected = line("probabilities", "0.25 0.75");
    assert!(same(&line("probabilities", "0.2500009 0.75"), &expected, TOLERANCE));
    for other in ["0.250002 0.75", "0.25", "0.25 0.75 0", "0.25 x", "NaN 0.75"] {
        assert!(!same(&line("probabilities", other), &expected, TOLERANCE), "{other}");
    }
    assert!(!same(&line("tokens", "1.0"), &line("tokens", "1"), TOLERANCE));
    assert!(!same(&line("text", "a"), &line("tokens", "a"), TOLERANCE));
    assert!(!same(&Vec::new(), &line("text", ""), TOLERANCE));
}
