use std::path::Path;

use super::*;
use serde_json::json;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models");

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/data/text/chat.json")).unwrap()
}

fn messages(conversation: &Value) -> Vec<Message> {
    serde_json::from_value(conversation.clone()).unwrap()
}

fn file(path: &Path) -> TextFile {
    TextFile { path: path.to_path_buf(), text: std::fs::read(path).unwrap() }
}

/// The text side of a golden model, with `edit` applied to its files.
fn load(edit: impl FnOnce(&mut TextFiles<'_>)) -> Result<Text> {
    let directory = Path::new(MODELS).join("llama-3.2-1b-int4");
    let mut files = TextFiles {
        tokenizer_config: Some(file(&directory.join("tokenizer_config.json"))),
        chat_template_jinja: Some(file(&directory.join("chat_template.jinja"))),
        ..TextFiles::new(file(&directory.join("tokenizer.json")))
    };
    edit(&mut files);
    Text::load(files)
}

/// A text side with a hand-made tokenizer: one token for each byte, special tokens as given, and a BOS token that the
/// post-processor adds.
fn byte_text(added: &[(&str, bool)], template: &str) -> Text {
    let bytes = (0..0x200).filter_map(char::from_u32).filter(|c| tokenizer::byte_of_char(*c).is_some());
    let vocab: serde_json::Map<String, Value> =
        bytes.zip(0..).map(|(character, id)| (character.to_string(), json!(id))).collect();
    let added: Vec<Value> = (256..)
        .zip([("<s>", true)].iter().chain(added))
        .map(|(id, (token, special))| json!({"id": id, "content": token, "special": special, "normalized": false}))
        .collect();
    let tokenizer = json!({
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    });
    let tokenizer = TextFile { path: "tokenizer.json".into(), text: tokenizer.to_string().into() };
    let text = Text::load(TextFiles::new(tokenizer)).unwrap();
    text.with_chat_template(ChatTemplate::from_source(template, TemplateTokens::default()).unwrap()).unwrap()
}

#[test]
fn templates_of_every_family_render_as_in_transformers() {
    let golden = golden();
    let tokens = TemplateTokens {
        bos: Some("<s>".to_owned()),
        eos: Some("</s>".to_owned()),
        ..TemplateTokens::default()
    };
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let source = match golden["styles"][name].as_str() {
            Some(style) => style.to_owned(),
            None => std::fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("src/text/families").join(name),
            )
            .unwrap(),
        };
        let template = ChatTemplate::from_source(&source, tokens.clone()).unwrap();
        let which = case["conversation"].as_str().unwrap();
        let messages = messages(&golden["conversations"][which]);
        let options = RenderOptions {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            tools: case["tools"].as_bool().unwrap().then(|| golden["tools"].clone()),
            date: DateTime::from_ymd(2025, 3, 9),
            ..RenderOptions::default()
        };
        let rendered = template.render(&messages, &options);
        let right = match (&case["text"], &rendered) {
            (Value::String(text), Ok(rendered)) => text == rendered,
            // A refused system role is no error here: the text goes to the user message.
            (Value::Null, Ok(_)) => which.contains("system") && template.merges_system(),
            (Value::Null, Err(error)) => Some(error.message()) == case["error"].as_str(),
            _ => false,
        };
        if !right {
            wrong.push(format!("{case}\n  rendered {rendered:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} conversations differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn only_gemma_lets_the_system_text_move() {
    let golden = golden();
    let conversation = messages(&golden["conversations"]["system and turns"]);
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/text/families")).unwrap() {
        let path = file.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let template = ChatTemplate::from_source(&source, TemplateTokens::default()).unwrap();
        assert_eq!(template.merges_system(), path.ends_with("gemma2.jinja"), "{}", path.display());
        let text = template.render(&conversation, &RenderOptions::default()).unwrap();
        assert!(text.contains("Be brief."), "{}", path.display());
        if template.merges_system() {
            let start =
                "<bos><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\nHello!";
            assert!(text.starts_with(start), "{text}");
        }
    }
}

#[test]
fn tokens_of_conversations_and_texts_are_those_of_transformers() {
    let golden = golden();
    let text = load(|_| {}).unwrap();
    for case in golden["chats"].as_array().unwrap() {
        let messages = messages(&golden["conversations"][case["conversation"].as_str().unwrap()]);
        let ids = text.chat_tokens(&messages, &RenderOptions::default()).unwrap();
        assert_eq!(json!(ids), case["ids"], "{}", case["conversation"]);
    }
    for case in golden["encodings"].as_array().unwrap() {
        let ids = text.tokenizer().encode(case["text"].as_str().unwrap(), SpecialTokens::None).unwrap();
        assert_eq!(json!(ids), case["ids"], "{}", case["text"]);
    }
}

#[test]
fn every_golden_model_loads() {
    for directory in std::fs::read_dir(MODELS).unwrap() {
        let directory = directory.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        let genai: Value =
            serde_json::from_slice(&std::fs::read(directory.join("genai_config.json")).unwrap()).unwrap();
        let text = Text::load(TextFiles {
            tokenizer_config: Some(file(&directory.join("tokenizer_config.json"))),
            chat_template_jinja: Some(file(&directory.join("chat_template.jinja"))),
            model_type: genai["model"]["type"].as_str(),
            eos_token_ids: &[2],
            ..TextFiles::new(file(&directory.join("tokenizer.json")))
        })
        .unwrap();
        let (messages, options) = ([Message::system("S"), Message::user("U")], RenderOptions::default());
        assert_eq!(text.render(&messages, &options).unwrap(), "<s>[system]S</s>[user]U</s>[assistant]");
        let ids = text.chat_tokens(&messages, &options).unwrap();
        assert_eq!(ids.iter().filter(|id| **id == 1).count(), 1);
        assert_eq!(ids.iter().filter(|id| **id == 2).count(), 2);
        assert!(text.stop_ids().contains(&2) && text.chat_template().is_some());
    }
}

#[test]
fn markup_in_messages_stays_text_unless_asked_for() {
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}";
    let added = [("<|user|>", true), ("<|end|>", true), ("<|tool|>", false), ("<table>", false)];
    let text = byte_text(&added, template);
    let [user, end, tool, table] = [257, 258, 259, 260];
    let written = "a<|end|><|user|>é<|tool|><table> \u{FDD0}";
    let options = RenderOptions::default();
    let ids = text.chat_tokens(&[Message::user(written)], &options).unwrap();
    assert_eq!((ids[0], *ids.last().unwrap()), (user, end));
    let inner = &ids[1..ids.len() - 1];
    assert!(inner.iter().all(|id| ![user, end].contains(id)), "{inner:?}");
    // The template does not write these two, so they are the message's own.
    assert!(inner.contains(&tool) && inner.contains(&table));
    assert_eq!(text.tokenizer().decode(inner, false), written);

    let options = RenderOptions { special_tokens_in_content: true, ..RenderOptions::default() };
    let ids = text.chat_tokens(&[Message::user(written)], &options).unwrap();
    assert_eq!((ids[2], ids[3]), (end, user));

    let with_tools =
        "{{ '<|tool|>' if tools }}{% for m in messages %}({{ m.role }}){{ m.content }}{% endfor %}";
    let text = byte_text(&added, with_tools);
    let options = RenderOptions::default();
    for (message, recognised) in [
        (Message::user("<|tool|>"), false),
        (Message::tool("<|tool|>"), false),
        (Message::assistant("<|tool|>"), true),
        (Message::assistant("<|end|>"), false),
    ] {
        let ids = text.chat_tokens(std::slice::from_ref(&message), &options).unwrap();
        assert_eq!(ids.contains(&tool) || ids.contains(&end), recognised, "{message:?}");
    }
}

#[test]
fn the_beginning_of_text_is_never_doubled() {
    let bos = 256;
    let text = byte_text(&[], "<s>{{ messages[0].content }}");
    let count = |ids: Vec<u32>| ids.iter().take_while(|id| **id == bos).count();
    assert_eq!(count(text.raw_tokens("x").unwrap()), 1);
    assert_eq!(count(text.raw_tokens("<s>x").unwrap()), 1);
    assert_eq!(count(text.raw_tokens("<s><s>x").unwrap()), 2);
    assert_eq!(text.raw_tokens("").unwrap(), [bos]);
    let options = RenderOptions::default();
    assert_eq!(count(text.chat_tokens(&[Message::user("x")], &options).unwrap()), 1);
    // As in transformers: a template without BOS gets none.
    let text = byte_text(&[], "{{ messages[0].content }}");
    assert_eq!(count(text.chat_tokens(&[Message::user("x")], &options).unwrap()), 0);
}

#[test]
fn a_model_without_template_says_so() {
    let tokenizer = file(&Path::new(MODELS).join("llama-3.2-1b-int4/tokenizer.json"));
    let text = Text::load(TextFiles::new(tokenizer)).unwrap();
    assert!(text.chat_template().is_none() && text.family().is_none());
    let error = text.chat_tokens(&[Message::user("x")], &RenderOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Template);
    assert!(error.hint().is_some());
}

#[test]
fn the_configurations_bos_serves_where_the_tokenizer_names_none() {
    let text = load(|files| {
        files.tokenizer_config = None;
        files.bos_token_id = Some(1);
    })
    .unwrap();
    let prompt = text.render(&[Message::user("x")], &RenderOptions::default()).unwrap();
    assert_eq!(prompt, "<s>[user]x[assistant]");
}

#[test]
fn the_end_of_text_is_found_wherever_the_directory_names_it() {
    let written = |name: &str, text: &str| Some(TextFile { path: name.into(), text: text.into() });
    let map =
        written("special_tokens_map.json", r#"{"bos_token": "<unk>", "eos_token": {"content": "</s>"}}"#);
    let config = written("tokenizer_config.json", r#"{"bos_token": "<s>", "eos_token": null}"#);
    let messages = [Message::system("S"), Message::user("x")];
    let prompt = "<s>[system]S</s>[user]x</s>[assistant]";
    let golden = Path::new(MODELS).join("llama-3.2-1b-int4");
    let files = TextFiles {
        tokenizer_config: config,
        chat_template_jinja: Some(file(&golden.join("chat_template.jinja"))),
        ..TextFiles::new(file(&golden.join("tokenizer.json")))
    };
    let from_map = TextFiles { special_tokens_map: map, ..files.clone() };
    let from_ids = TextFiles { eos_token_ids: &[2], ..files };
    for files in [from_map, from_ids] {
        assert_eq!(Text::load(files).unwrap().render(&messages, &RenderOptions::default()).unwrap(), prompt);
    }
}

#[test]
fn a_damaged_template_is_an_error_only_where_it_is_used() {
    let path = Path::new("models/chat_template.jinja");
    let template = TextFile { path: path.to_path_buf(), text: b"{% for m in messages %}".to_vec() };
    let tokenizer = file(&Path::new(MODELS).join("llama-3.2-1b-int4/tokenizer.json"));
    let files = TextFiles { chat_template_jinja: Some(template), ..TextFiles::new(tokenizer) };
    let text = Text::load(files).unwrap();
    assert!(!text.raw_tokens("x").unwrap().is_empty());
    assert!(text.chat_template().is_none());
    for _ in 0..2 {
        let error = text.chat_tokens(&[Message::user("x")], &RenderOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.file()), (ErrorKind::Template, Some(path)));
    }
}

#[test]
fn text_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Text>();
    fn sendable<T: Send + 'static>() {}
    sendable::<(StreamDecoder, StopMatcher)>();
}
