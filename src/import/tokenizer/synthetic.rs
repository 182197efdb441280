//! A vocabulary of single bytes and made-up words, for models without one.

use super::vocabulary::TokenKind;
use crate::error::{Error, ErrorKind, Result};

/// A chat template for models that nobody trained.
pub(super) const TEMPLATE: &str = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}\
    {% if add_generation_prompt %}[assistant] {% endif %}";

/// `count` tokens: three control tokens, the 256 bytes, and words.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] when `count` has no room for the bytes.
pub(super) fn tokens(count: usize) -> Result<Vec<(String, TokenKind)>> {
    const CONTROL: [&str; 3] = ["<unk>", "<s>", "</s>"];
    let fixed = CONTROL.len() + 256;
    if count < fixed {
        let message = format!("a vocabulary of {count} has no room for 256 bytes");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let control = CONTROL.iter().map(|&token| (token.to_owned(), TokenKind::Control));
    let words = byte_characters().map(String::from).chain((0..count - fixed).map(made_up_word));
    Ok(control.chain(words.map(|word| (word, TokenKind::Normal))).collect())
}

/// The characters by which byte-level BPE spells the bytes 0 to 255: printable Latin-1 stands for itself, the others
/// follow from U+0100 on (`bytes_to_unicode` of GPT-2).
fn byte_characters() -> impl Iterator<Item = char> {
    let mut next = 0x100_u32;
    (0_u8..=255).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    })
}

/// A word of its own for each number, with a space in front (`Ġ`).
fn made_up_word(number: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "zo", "ku", "cha",
        "she", "thi", "sto", "bru",
    ];
    let mut syllables = Vec::new();
    let mut rest = number;
    loop {
        syllables.extend(SYLLABLES.get(rest % SYLLABLES.len()));
        rest /= SYLLABLES.len();
        if rest == 0 {
            break;
        }
    }
    syllables.push("Ġ");
    syllables.into_iter().rev().collect()
}
