use super::*;
use proptest::prelude::*;
use serde_json::json;

/// The tokenizer of the golden models: byte-level BPE with 512 tokens.
pub(crate) fn fixture() -> Tokenizer {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4");
    Tokenizer::load(&directory.join("tokenizer.json"), Some(&directory.join("tokenizer_config.json")))
        .unwrap()
}

fn byte_tokens(first: u32) -> impl Iterator<Item = (String, u32)> {
    (0u32..=255).map(move |byte| (format!("<0x{byte:02X}>"), first + byte))
}

/// A SentencePiece-like tokenizer as Phi-3.5 has: byte fallback, a space put before the text, `rstrip` on markup.
pub(crate) fn sentencepiece_like() -> Value {
    let mut vocab: serde_json::Map<String, Value> = ["<unk>", "<s>", "</s>"]
        .iter()
        .zip(0..)
        .map(|(token, id)| ((*token).to_owned(), json!(id)))
        .collect();
    vocab.extend(byte_tokens(3).map(|(token, id)| (token, json!(id))));
    for (token, id) in ["▁", "a", "b", "▁a", "ab", "▁ab", "é"].iter().zip(259..) {
        vocab.insert((*token).to_owned(), json!(id));
    }
    let added = |id: u32, content: &str, rstrip: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": rstrip,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0,
            "direction": "Right"}, "padding": null,
        "added_tokens": [added(0, "<unk>", false), added(1, "<s>", false), added(2, "</s>", false),
                         added(300, "<|end|>", true)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": 0.5, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                  "vocab": vocab, "merges": ["▁ a", ["a", "b"], "▁a b"]}
    })
}

fn build(file: &Value) -> Result<Tokenizer> {
    Tokenizer::from_bytes(file.to_string().as_bytes(), None)
}

#[test]
fn special_tokens_in_the_text_are_recognised_and_bos_is_added_on_request() {
    let tokenizer = build(&sentencepiece_like()).unwrap();
    // Truncation to two tokens and dropout, settings for training, are not applied.
    assert_eq!(tokenizer.encode("ab a", SpecialTokens::None).unwrap(), [264, 262]);
    assert_eq!(tokenizer.encode("ab a", SpecialTokens::Add).unwrap(), [1, 264, 262]);
    // rstrip swallows the line break after the token.
    assert_eq!(tokenizer.encode("</s>a<|end|>\nb", SpecialTokens::None).unwrap(), [2, 262, 300, 259, 261]);
    assert_eq!(tokenizer.encode("", SpecialTokens::Add).unwrap(), [1]);
}

#[test]
fn plain_encoding_keeps_spelled_out_markup_as_text() {
    let tokenizer = build(&sentencepiece_like()).unwrap();
    let text = "a<|end|>\n</s><s><|end|>";
    let ids = tokenizer.encode_plain(text).unwrap();
    assert!(ids.iter().all(|id| !tokenizer.is_special(*id)), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, true), text);
    let noncharacters = "\u{FDD0}<s>\u{FDD1}";
    assert_eq!(tokenizer.decode(&tokenizer.encode_plain(noncharacters).unwrap(), true), noncharacters);
    let every_noncharacter: String = ('\u{FDD0}'..='\u{FDEF}').collect();
    assert_eq!(tokenizer.encode_plain(&every_noncharacter).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn unknown_characters_fall_back_to_bytes() {
    let tokenizer = build(&sentencepiece_like()).unwrap();
    let ids = tokenizer.encode("€", SpecialTokens::None).unwrap();
    assert_eq!(ids, [259, 3 + 0xE2, 3 + 0x82, 3 + 0xAC]);
    assert_eq!(tokenizer.decode(&ids, false), "€");
    assert_eq!(tokenizer.token_bytes(3 + 0xE2), Some(&[0xE2][..]));
    assert_eq!(tokenizer.token_text(262).as_deref(), Some(" a"));
}

#[test]
fn added_tokens_have_the_ids_of_the_file() {
    let tokenizer = build(&sentencepiece_like()).unwrap();
    assert_eq!(tokenizer.id_of("<|end|>"), Some(300));
    assert_eq!(tokenizer.vocabulary_size(), 301);
    assert!(!tokenizer.has_token(299) && tokenizer.has_token(300) && !tokenizer.has_token(301));
    assert_eq!(tokenizer.special_ids(), [0, 1, 2, 300]);
    assert_eq!(tokenizer.id_of("<|no such token|>"), None);
}

#[test]
fn named_tokens_are_strings_or_objects() {
    let file = sentencepiece_like().to_string();
    let config = json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
                        "unk_token": "<nowhere>"});
    let tokenizer = Tokenizer::from_bytes(file.as_bytes(), Some(&config)).unwrap();
    let named = |text: &str, id| NamedToken { text: text.to_owned(), id };
    assert_eq!(tokenizer.bos(), Some(&named("<s>", Some(1))));
    assert_eq!(tokenizer.eos(), Some(&named("</s>", Some(2))));
    assert_eq!(tokenizer.pad(), None);
    assert_eq!(tokenizer.unk(), Some(&named("<nowhere>", None)));
}

#[test]
fn a_character_without_token_is_an_error_and_not_left_out() {
    let file = json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}});
    let tokenizer = build(&file).unwrap();
    assert_eq!(tokenizer.encode("aa", SpecialTokens::None).unwrap(), [0, 0]);
    for text in ["é", "aéa", "aé", "éa"] {
        let error = tokenizer.encode(text, SpecialTokens::None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tokenizer);
        assert!(error.message().contains("U+00E9"), "{error}");
    }
}

#[test]
fn without_decoder_tokens_are_separated_by_spaces() {
    let file = json!({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}});
    assert_eq!(build(&file).unwrap().decode(&[0, 1, 7, 0], false), "a b a");
}

#[test]
fn the_metaspace_decoder_drops_the_first_tokens_spaces() {
    for (scheme, text) in [("always", "a b"), ("first", "a b"), ("never", " a b")] {
        let file = json!({"decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme},
                          "model": {"type": "BPE", "vocab": {"▁a": 0, "▁b": 1}, "merges": []}});
        assert_eq!(build(&file).unwrap().decode(&[0, 1], false), text, "{scheme}");
    }
}

#[test]
fn a_unigram_model_picks_the_likeliest_pieces() {
    let file = json!({"decoder": {"type": "Metaspace", "replacement": "▁"},
                      "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
                      "model": {"type": "Unigram", "unk_id": 0,
                                "vocab": [["<unk>", 0.0], ["▁", -3.0], ["a", -3.0], ["▁a", -2.0], ["b", -3.0]]}});
    let tokenizer = build(&file).unwrap();
    assert_eq!(tokenizer.encode("ab a", SpecialTokens::None).unwrap(), [3, 4, 3]);
    assert_eq!(tokenizer.decode(&[3, 4, 3], false), "ab a");
}

#[test]
fn the_golden_models_tokenizer_gives_text_back() {
    let tokenizer = fixture();
    assert_eq!(tokenizer.bos().unwrap().id, Some(1));
    for text in ["", " ", "Is the door open?\n", "naïve — 汉字 🦀\u{0}\r\n\t", "<s>x</s>"] {
        let ids = tokenizer.encode(text, SpecialTokens::None).unwrap();
        assert_eq!(tokenizer.decode(&ids, false), text);
    }
    let ids = tokenizer.encode("<s>x</s>", SpecialTokens::None).unwrap();
    assert_eq!((ids[0], ids[2], ids.len()), (1, 2, 3));
    assert_eq!(tokenizer.decode(&ids, true), "x");
}

#[test]
fn memory_is_counted_from_the_file() {
    let mut vocab: serde_json::Map<String, Value> =
        ('a'..='h').zip(0..).map(|(letter, id)| (letter.to_string(), json!(id))).collect();
    vocab.insert("ab".to_owned(), json!(8));
    let file = json!({"model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]]}});
    // 9 strings of 32 bytes in each of two tables, whose 16 places have 33 bytes; 10 bytes of text, 4 and 1 a token for ends and
    // flags; a table of merges with 2 places of 17 bytes.
    let expected = 2 * (9 * 32 + 16 * 33) + 10 + 9 * 5 + 2 * 17;
    assert_eq!(build(&file).unwrap().memory_bytes(), expected);
    let mut file = TextFile { path: "tokenizer.json".into(), text: file.to_string().into() };
    assert_eq!(Tokenizer::estimate_memory(&file).unwrap(), expected);
    file.text = b"{".to_vec();
    let error = Tokenizer::estimate_memory(&file).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Tokenizer, Some(&*file.path)));
}

#[test]
fn too_long_a_text_is_refused_before_it_is_encoded() {
    let text = "a".repeat(MAX_TEXT_BYTES + 1);
    assert_eq!(fixture().encode(&text, SpecialTokens::None).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn contradictory_files_are_errors() {
    let cases: [(&str, Value); 9] = [
        ("/model/vocab/a", json!(u64::from(u32::MAX) + 1)),
        ("/model/vocab/a", json!(u32::MAX)),
        ("/model/vocab/a", json!(261)),
        ("/model/merges", json!([["▁ab", "▁ab"]])),
        ("/model/merges", json!(["a b c"])),
        ("/model/unk_token", json!("<nowhere>")),
        ("/added_tokens/3/id", json!(u32::MAX)),
        ("/post_processor/single/0/SpecialToken/id", json!("<nowhere>")),
        ("/post_processor/special_tokens/<s>/ids/0", json!(299)),
    ];
    for (place, value) in cases {
        let mut file = sentencepiece_like();
        *file.pointer_mut(place).unwrap() = value.clone();
        let error = build(&file).expect_err(place);
        assert_eq!(error.kind(), ErrorKind::Tokenizer, "{place} = {value}: {error}");
    }
    let mut file = sentencepiece_like();
    file["model"]["continuing_subword_prefix"] = json!("é");
    assert_eq!(build(&file).unwrap_err().kind(), ErrorKind::Tokenizer);
    let empty = json!({"model": {"type": "BPE", "vocab": {}, "merges": []}});
    assert_eq!(build(&empty).unwrap_err().kind(), ErrorKind::Tokenizer);
}

#[test]
fn missing_and_damaged_files_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    assert_eq!(Tokenizer::load(&path, None).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(&path, b"{\"model\": 3}").unwrap();
    let error = Tokenizer::load(&path, None).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Tokenizer, Some(path.as_path())));
    std::fs::write(&path, sentencepiece_like().to_string()).unwrap();
    let config = directory.path().join("tokenizer_config.json");
    std::fs::write(&config, b"\xFF").unwrap();
    let error = Tokenizer::load(&path, Some(&config)).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Tokenizer, Some(config.as_path())));
}

/// Every file cut short, and many with one byte changed, is an error or a tokenizer that works: never a panic.
#[test]
fn damaged_files_never_panic() {
    let good = sentencepiece_like().to_string().into_bytes();
    let try_it = |bytes: &[u8]| {
        if let Ok(tokenizer) = Tokenizer::from_bytes(bytes, None) {
            let _ = tokenizer.encode("a b<|end|>é\n", SpecialTokens::Add);
            let _ = tokenizer.encode_plain("a b<|end|>é\n");
            let _ = tokenizer.decode(&(0..310).collect::<Vec<u32>>(), false);
        }
    };
    for length in (0..good.len()).step_by(37) {
        assert!(Tokenizer::from_bytes(&good[..length], None).is_err(), "cut at {length}");
    }
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..2 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (seed >> 33) as usize % bytes.len();
            bytes[index] = b"\"{}[],:0919-eaxn<>\xE2\\"[(seed >> 20) as usize % 20];
        }
        try_it(&bytes);
    }
}

fn pieces(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut decoder = tokenizer.stream_decoder(skip_special);
    let mut text: String = ids.iter().map(|id| decoder.push(*id)).collect();
    text.push_str(&decoder.finish());
    text
}

/// What the tokenizer crate itself gives for all ids at once.
fn reference(tokenizer: &Tokenizer, file: &[u8], ids: &[u32], skip_special: bool) -> String {
    assert!(ids.iter().all(|id| tokenizer.has_token(*id)));
    tokenizers::Tokenizer::from_bytes(file).unwrap().decode(ids, skip_special).unwrap()
}

proptest! {
    #[test]
    fn pieces_joined_are_the_decoded_whole(ids in prop::collection::vec(0u32..520, 0..60), skip in any::<bool>()) {
        let file = include_bytes!("../../../tests/data/models/llama-3.2-1b-int4/tokenizer.json");
        let tokenizer = fixture();
        let whole = tokenizer.decode(&ids, skip);
        prop_assert_eq!(&pieces(&tokenizer, &ids, skip), &whole);
        let known: Vec<u32> = ids.into_iter().filter(|id| tokenizer.has_token(*id)).collect();
        prop_assert_eq!(&reference(&tokenizer, file, &known, skip), &whole);
    }

    #[test]
    fn sentencepiece_pieces_joined_are_the_decoded_whole(text in "[ab <>é€🦀▁]{0,20}", skip in any::<bool>()) {
        // The crate wants one form of merges, and numbers added tokens in its own way: this one follows the vocabulary.
        let mut file = sentencepiece_like();
        file["model"]["merges"] = json!(["▁ a", "a b", "▁a b"]);
        file["added_tokens"][3]["id"] = json!(266);
        let tokenizer = build(&file).unwrap();
        let mut ids = tokenizer.encode(&text, SpecialTokens::Add).unwrap();
        ids.push(266);
        ids.extend(tokenizer.encode(&text, SpecialTokens::None).unwrap());
        let whole = reference(&tokenizer, file.to_string().as_bytes(), &ids, skip);
        prop_assert_eq!(&tokenizer.decode(&ids, skip), &whole);
        prop_assert_eq!(&pieces(&tokenizer, &ids, skip), &whole);
    }

    #[test]
    fn random_fallback_bytes_stream_as_they_decode(ids in prop::collection::vec(0u32..301, 0..40)) {
        let tokenizer = build(&sentencepiece_like()).unwrap();
        prop_assert_eq!(pieces(&tokenizer, &ids, false), tokenizer.decode(&ids, false));
    }

    #[test]
    fn any_text_survives_encoding_and_decoding(text in any::<String>()) {
        let tokenizer = fixture();
        let ids = tokenizer.encode_plain(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, true), text);
    }
}

#[test]
fn characters_appear_whole_and_as_soon_as_they_are_complete() {
    let tokenizer = build(&sentencepiece_like()).unwrap();
    let mut decoder = tokenizer.stream_decoder(true);
    let steps = [(259, ""), (3 + 0xE2, ""), (3 + 0x82, ""), (3 + 0xAC, "€"), (263, "ab"), (262, " a")];
    for (id, text) in steps {
        assert_eq!(decoder.push(id), text, "id {id}");
    }
    assert!(!decoder.has_pending());
    assert_eq!(decoder.push(3 + 0xE2), "");
    assert!(decoder.has_pending());
    // A broken character counts by its bytes, its intact neighbours stay.
    assert_eq!(decoder.push(260), "\u{FFFD}a");
    assert_eq!(decoder.push(3 + 0xF0), "");
    assert_eq!(decoder.push(3 + 0x9F), "");
    assert_eq!(decoder.push(3 + b'x' as u32), "\u{FFFD}\u{FFFD}x");
    assert_eq!(decoder.push(3 + 0xE2), "");
    assert_eq!(decoder.finish(), "\u{FFFD}");
    // After the end it starts afresh: the space at the start vanishes again.
    assert_eq!(decoder.push(262), "a");
}
