//! The figures of a run, and what is compared with what.

use super::contestant::Class;
use super::figures::{Quantity, Rounds, median};
use super::processor::Instructions;

/// What has been measured of one model.
pub(super) struct ModelResult {
    pub(super) name: String,
    /// Bytes of the directory's files.
    pub(super) bytes: u64,
    /// Bytes of weights that edgeslm reads for a token.
    pub(super) weight_bytes: f64,
    /// What `Model::estimate` says of the private memory at the first length.
    pub(super) estimate: f64,
    pub(super) lengths: Vec<Length>,
    pub(super) together: Option<Together>,
}

/// The contestants' figures for one length of the prompt.
pub(super) struct Length {
    pub(super) prompt_tokens: usize,
    /// Bytes per second at which memory can be read, once a round.
    pub(super) bandwidth: Vec<f64>,
    pub(super) rows: Vec<Row>,
}

/// One contestant's figures.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) class: Class,
    pub(super) is_ours: bool,
    /// The rounds, or why there are none.
    pub(super) outcome: Result<Rounds, String>,
}

/// Answers to several prompts together beside one, with edgeslm: tokens a second, once a round.
pub(super) struct Together {
    pub(super) prompt_tokens: usize,
    pub(super) sequences: usize,
    pub(super) one: Vec<f64>,
    pub(super) all: Vec<f64>,
}

/// One figure in terms of another.
#[derive(Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) what: String,
    pub(super) value: f64,
}

impl Row {
    pub(super) fn median(&self, quantity: Quantity) -> Option<f64> {
        self.outcome.as_ref().ok().map(|rounds| rounds.median(quantity))
    }
}

impl Length {
    /// edgeslm with the kernels that a peer of `class` is compared with. Where the best are those, there is no other row.
    fn ours(&self, class: Class) -> Option<&Row> {
        let of = |class| self.rows.iter().find(|row| row.is_ours && row.class == class);
        of(class).or_else(|| of(Class::Best))
    }

    /// edgeslm's figure divided by the peer's; `None` for edgeslm's own rows and peers without figures.
    pub(super) fn ratio(&self, row: &Row, quantity: Quantity) -> Option<f64> {
        if row.is_ours {
            return None;
        }
        Some(self.ours(row.class)?.median(quantity)? / row.median(quantity)?)
    }

    /// The peers that use all of the processor, with edgeslm's figure divided by theirs.
    fn ratios(&self, quantity: Quantity) -> impl Iterator<Item = (&Row, f64)> {
        let best = self.rows.iter().filter(|row| row.class == Class::Best);
        best.filter_map(move |row| Some((row, self.ratio(row, quantity)?)))
    }
}

impl ModelResult {
    /// The ratios that the library is judged by.
    pub(super) fn ratios(&self) -> Vec<Ratio> {
        let mut all = Vec::new();
        let mut add = |what: String, value: f64| all.push(Ratio { what, value });
        for length in &self.lengths {
            let tokens = length.prompt_tokens;
            for (peer, ratio) in length.ratios(Quantity::Decode) {
                add(format!("decode after {tokens} tokens / {}", peer.name), ratio);
            }
            let prefill = length.ratios(Quantity::Prefill);
            if let Some((peer, ratio)) = prefill.min_by(|(_, a), (_, b)| a.total_cmp(b)) {
                add(format!("prefill of {tokens} tokens / best peer, {}", peer.name), ratio);
            }
            // Rows for fewer instructions than the processor has.
            for row in length.rows.iter().filter(|row| row.class != Class::Best) {
                if let (Some(ratio), Some(ours)) =
                    (length.ratio(row, Quantity::Prefill), length.ours(row.class))
                {
                    add(format!("prefill of {tokens} tokens, {} / {}", ours.name, row.name), ratio);
                }
            }
            if let Some(decode) = length.ours(Class::Best).and_then(|row| row.median(Quantity::Decode)) {
                let share = decode * self.weight_bytes / median(&length.bandwidth);
                add(
                    format!("weights read a second, decoding after {tokens} tokens / memory bandwidth"),
                    share,
                );
            }
        }
        if let Some(first) = self.lengths.first() {
            for quantity in [Quantity::Load, Quantity::PeakResident, Quantity::Private] {
                for (peer, ratio) in first.ratios(quantity) {
                    add(format!("{} / {}", quantity.name(), peer.name), ratio);
                }
            }
            if let Some(peak) = first.ours(Class::Best).and_then(|row| row.median(Quantity::PeakResident)) {
                add("peak RSS / files + 150 MB".to_owned(), peak / (self.bytes as f64 + 150e6));
            }
        }
        if let Some(Together { prompt_tokens, sequences, one, all }) = &self.together {
            add(
                format!("decode of {sequences} sequences together / one, after {prompt_tokens} tokens each"),
                median(all) / median(one),
            );
        }
        all
    }
}

impl Class {
    /// The name in records; `None` where there is no limit.
    pub(super) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Best => None,
            Self::Limited(instructions) => Some(Instructions::name(instructions)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench_peers::figures::Figures;

    /// A row with one round.
    fn row(name: &str, is_ours: bool, class: Class, prefill: f64, decode: f64) -> Row {
        let output = json!({"prefill_tokens_per_s": prefill, "decode_tokens_per_s": decode, "load_s": 0.5,
            "peak_rss_bytes": 300e6, "anonymous_bytes": 100e6});
        let mut rounds = Rounds::default();
        rounds.push(Figures::of_peer(&output).unwrap());
        Row { name: name.to_owned(), class, is_ours, outcome: Ok(rounds) }
    }

    /// A run with each kind of row.
    pub(in crate::bench_peers) fn example() -> ModelResult {
        let avx2 = Class::Limited(Instructions::Avx2);
        let rows = vec![
            row("edgeslm (best)", true, Class::Best, 100.0, 30.0),
            row("edgeslm (avx2)", true, avx2, 60.0, 29.0),
            row("a", false, Class::Best, 50.0, 20.0),
            row("b & c", false, Class::Best, 80.0, 40.0),
            row("b (avx2)", false, avx2, 40.0, 25.0),
            Row {
                name: "d".to_owned(),
                class: Class::Best,
                is_ours: false,
                outcome: Err("it is missing".to_owned()),
            },
        ];
        ModelResult {
            name: "model".to_owned(),
            bytes: 250_000_000,
            weight_bytes: 200e6,
            estimate: 90e6,
            lengths: vec![Length { prompt_tokens: 512, bandwidth: vec![8e9, 7e9, 9e9], rows }],
            together: Some(Together { prompt_tokens: 128, sequences: 8, one: vec![30.0], all: vec![90.0] }),
        }
    }

    #[test]
    fn peers_are_compared_with_kernels_of_their_class() {
        let mut example = example();
        let ratios = example.ratios();
        let value = |what: &str| ratios.iter().find(|ratio| ratio.what == what).map(|ratio| ratio.value);
        for (what, expected) in [
            ("decode after 512 tokens / a", 1.5),
            ("decode after 512 tokens / b & c", 0.75),
            ("prefill of 512 tokens / best peer, b & c", 1.25),
            ("prefill of 512 tokens, edgeslm (avx2) / b (avx2)", 1.5),
            ("weights read a second, decoding after 512 tokens / memory bandwidth", 0.75),
            ("load s / a", 1.0),
            ("peak RSS / files + 150 MB", 0.75),
            ("decode of 8 sequences together / one, after 128 tokens each", 3.0),
        ] {
            assert_eq!(value(what), Some(expected), "{what}: {ratios:?}");
        }
        assert!(ratios.iter().all(|ratio| !ratio.what.ends_with(" d")), "{ratios:?}");
        // Where the best kernels are those for AVX2, they are compared with a build for AVX2.
        example.lengths[0].rows.remove(1);
        let length = &example.lengths[0];
        let peer = length.rows.iter().find(|row| row.name == "b (avx2)").unwrap();
        assert_eq!(length.ratio(peer, Quantity::Prefill), Some(2.5));
    }
}
