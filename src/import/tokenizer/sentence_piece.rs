//! SentencePiece's BPE (`llama`): pieces of text with scores, and single bytes for characters that have no piece.
//!
//! SentencePiece joins the two neighbours whose union has the best score, the leftmost first, until none is a piece.
//! `tokenizer.json` lists pairs instead: every way to cut a piece into two others becomes a merge, and merges are
//! sorted by the score of what they make. transformers converts such vocabularies in the same way.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::Sections;
use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::{Error, ErrorKind, Result};
use crate::import::gguf::{self, Gguf};

/// What SentencePiece writes for a space.
const SPACE: &str = "▁";

/// The longest piece, in bytes. Trainers stop at 16 characters by default; published vocabularies have runs of up to 31
/// spaces. Finding the cuts of a piece takes the square of its length.
const LONGEST_PIECE: usize = 256;

/// The sections of a SentencePiece tokenizer.
///
/// # Errors
/// [`ErrorKind::Tokenizer`], naming the key, for a vocabulary without a score for each token, or with a piece that is
/// too long.
pub(super) fn sections(
    gguf: &Gguf<'_>,
    vocabulary: &Vocabulary<'_>,
    unknown: Option<u32>,
) -> Result<Sections> {
    let space_first = gguf.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    let normalizer = if space_first {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, spaces] })
    } else {
        spaces
    };
    let scores = scores(gguf, vocabulary)?;
    Ok(Sections {
        normalizer,
        pre_tokenizer: Value::Null,
        post_processor: None,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown.and_then(|id| vocabulary.entry(id)).map(|(_, token)| token),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": vocabulary.used().any(|(_, _, kind)| kind == TokenKind::Byte),
            "ignore_merges": false,
            "vocab": vocabulary.ids(),
            "merges": merges(vocabulary, &scores)?,
        }),
        // By another name onnxruntime-genai splits text at spaces first, and loses tokens that span several.
        class: "GemmaTokenizer",
        space_first,
    })
}

/// One score a token.
fn scores(gguf: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Result<Vec<f64>> {
    let key = "tokenizer.ggml.scores";
    let fault = |message: &str| Error::new(ErrorKind::Tokenizer, message).with_node(key);
    let array = gguf.array(key).ok_or_else(|| fault("the scores of the pieces are missing"))?;
    if array.len() != vocabulary.len() {
        return Err(fault(&format!("{} tokens but {} scores", vocabulary.len(), array.len())));
    }
    let score = |value| match value {
        // Minus zero is no less than zero.
        gguf::Value::Float(score) if score.is_finite() => Ok(score + 0.0),
        gguf::Value::Signed(score) => Ok(score as f64),
        _ => Err(fault("a score is not a finite number")),
    };
    array.values().map(score).collect()
}

/// A way to make a piece of two others.
struct Merge<'a> {
    left: &'a str,
    right: &'a str,
    score: f64,
    /// What is first among merges of one score: the longer left part, then the longer right one, in characters; then
    /// the lower ids of the piece and its parts.
    order: (Reverse<usize>, Reverse<usize>, [u32; 3]),
}

fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f64]) -> Result<Vec<[&'a str; 2]>> {
    // Others are never made by merging: they are found in the text beforehand, or stand for single bytes.
    let pieces = || vocabulary.used().filter(|&(_, _, kind)| kind == TokenKind::Normal);
    let ids: HashMap<&str, u32> = pieces().map(|(id, piece, _)| (piece, id)).collect();
    let mut merges = Vec::new();
    for (id, piece, _) in pieces() {
        if piece.len() > LONGEST_PIECE {
            let message = format!("a piece of {} bytes, above the limit of {LONGEST_PIECE}", piece.len());
            return Err(Error::new(ErrorKind::Tokenizer, message).with_node("tokenizer.ggml.tokens"));
        }
        let score = usize::try_from(id).ok().and_then(|id| scores.get(id)).copied().unwrap_or(0.0);
        for (cut, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(cut);
            if let (Some(&left_id), Some(&right_id)) = (ids.get(left), ids.get(right)) {
                let order =
                    (Reverse(left.chars().count()), Reverse(right.chars().count()), [id, left_id, right_id]);
                merges.push(Merge { left, right, score, order });
            }
        }
    }
    merges.sort_by(|one, other| other.score.total_cmp(&one.score).then_with(|| one.order.cmp(&other.order)));
    Ok(merges.into_iter().map(|merge| [merge.left, merge.right]).collect())
}
