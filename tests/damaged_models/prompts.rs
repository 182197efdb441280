//! Prompts that are empty, endless, or of nothing but oddities.

use edgeslm::session::{GenerateOptions, Prompt, Session, SessionOptions, generate_batch};
use edgeslm::text::Message;
use edgeslm::{Error, ErrorKind, Model};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{data, load};

const MODEL: &str = "models/llama-3.2-1b-int4";

fn model() -> Model {
    load(&data(MODEL)).unwrap()
}

fn session(model: &Model) -> Session {
    model.session(SessionOptions::default()).unwrap()
}

fn short() -> GenerateOptions {
    GenerateOptions { max_tokens: 2, ignore_stop_tokens: true, ..GenerateOptions::default() }
}

fn expect_kind<T>(result: edgeslm::Result<T>, kind: ErrorKind) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{error:?}")),
        Ok(_) => Err("is answered".to_owned()),
    }
}

fn expect_answer(session: &mut Session, prompt: impl Into<Prompt>) -> Result<(), String> {
    let answer = session.generate(prompt, &short()).map_err(|error| format!("{error:?}"))?;
    if answer.tokens.len() == 2 { Ok(()) } else { Err(format!("{answer:?}")) }
}

#[test]
fn empty_prompts() {
    let model = model();
    let mut cases = Cases::new("empty prompts");
    let empty: [(&str, Prompt); 4] = [
        ("no text", "".into()),
        ("no tokens", Vec::<u32>::new().into()),
        ("no messages", Vec::<Message>::new().into()),
        ("no text in a batch", String::new().into()),
    ];
    for (what, prompt) in empty {
        cases.run(what, || {
            let mut session = session(&model);
            expect_kind(session.generate(prompt.clone(), &short()), ErrorKind::InvalidArgument)?;
            expect_kind(session.classify(prompt.clone(), &["a", "b"]), ErrorKind::InvalidArgument)?;
            let batch = generate_batch(vec![(&mut session, prompt, short())]);
            expect_kind(batch.into_iter().next().unwrap(), ErrorKind::InvalidArgument)?;
            expect_answer(&mut session, vec![5, 6])
        });
    }
    cases.run("an empty message", || {
        let mut session = session(&model);
        session
            .chat("", &short())
            .and_then(|stream| stream.into_answer())
            .map(drop)
            .map_err(|error| error.to_string())
    });
    cases.finish();
}

#[test]
fn odd_prompts() {
    let model = model();
    let mut cases = Cases::new("odd prompts");
    let tokenizer = model.text().tokenizer();
    let special: Vec<u32> = tokenizer.special_ids().to_vec();
    cases.run("special tokens only", || expect_answer(&mut session(&model), special.clone()));
    let spelled: String = special.iter().filter_map(|id| tokenizer.token_text(*id)).collect();
    for (what, text) in [
        ("special tokens spelled out", spelled),
        ("zero bytes", "\0".repeat(50)),
        ("noncharacters", ('\u{FDD0}'..='\u{FDEF}').collect()),
        ("private and unassigned characters", "\u{E000}\u{10FFFF}\u{FFFF}\u{FFFE}\u{378}".to_owned()),
        (
            "what lossy decoding puts for half a surrogate pair",
            String::from_utf8_lossy(b"\xed\xa0\x80").into_owned(),
        ),
        ("marks without a letter", "\u{301}".repeat(100)),
        ("right-to-left overrides", "\u{202E}\u{202D}\u{2066}".repeat(10)),
        ("line ends of all kinds", "\r\n\r\u{85}\u{2028}\u{2029}\u{B}\u{C}".repeat(5)),
        ("braces of templates", "{{ 1/0 }}{% raw %}{#".repeat(5)),
    ] {
        cases.run(format!("{what}, raw"), || expect_answer(&mut session(&model), text.as_str()));
        cases.run(format!("{what}, in a message"), || {
            let mut session = session(&model);
            let result = session.chat(text.as_str(), &short()).and_then(|stream| stream.into_answer());
            match result {
                Ok(answer) if answer.tokens.len() == 2 => Ok(()),
                Err(error) if error.kind() == ErrorKind::InvalidArgument && what == "noncharacters" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    let entries = u32::try_from(model.info().vocabulary_size).unwrap();
    for token in [entries, entries + 1, 1 << 20, u32::MAX] {
        cases.run(format!("token {token}"), || {
            let mut session = session(&model);
            expect_kind(session.generate(vec![5, token], &short()), ErrorKind::InvalidArgument)?;
            expect_kind(session.classify(vec![5, token], &["a", "b"]), ErrorKind::InvalidArgument)?;
            expect_answer(&mut session, vec![5, entries - 1])
        });
    }
    cases.finish();
}

#[test]
fn prompts_longer_than_the_context() {
    let model = model();
    let context = model.info().context_length;
    let mut cases = Cases::new("long prompts");
    cases.run("as long as the context", || {
        let answer =
            session(&model).generate(vec![7; context], &short()).map_err(|error| error.to_string())?;
        if answer.tokens.is_empty() { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    cases.run("one token less", || {
        let answer =
            session(&model).generate(vec![7; context - 1], &short()).map_err(|error| error.to_string())?;
        if answer.tokens.len() == 1 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    for length in [context + 1, 10 * context, 1_000_000] {
        cases.run(format!("{length} tokens"), || {
            let mut session = session(&model);
            expect_kind(session.generate(vec![7; length], &short()), ErrorKind::ContextLength)?;
            expect_kind(session.classify(vec![7; length], &["a", "b"]), ErrorKind::ContextLength)?;
            expect_answer(&mut session, vec![5])
        });
    }
    cases.run("a label that does not fit", || {
        let label = "a b ".repeat(200);
        let mut session = session(&model);
        let result = session.classify(vec![7; context - 10], &[&label, "b"]);
        expect_kind(result, ErrorKind::ContextLength)
    });
    cases.finish();
}

/// A megabyte of one character, in a raw prompt and in a message. The tokenizer takes some 200 bytes for each.
#[test]
fn a_megabyte_of_one_character() {
    let limits = Limits { largest: 192 << 20, peak: 768 << 20, ..LIMITS };
    let mut cases = Cases::within("a megabyte of one character", limits);
    let model = model();
    for character in ['a', ' ', '\n', '\0', '<', '1', 'é', '\u{3000}', '🦀', '\u{301}'] {
        let text: String = std::iter::repeat_n(character, (1 << 20) / character.len_utf8()).collect();
        cases.run(format!("{character:?} raw"), || {
            expect_kind(session(&model).generate(text.as_str(), &short()), ErrorKind::ContextLength)
        });
        cases.run(format!("{character:?} in a message"), || {
            let mut session = session(&model);
            let result = session.chat(text.as_str(), &short()).map(drop);
            match result.as_ref().map_err(Error::kind) {
                Err(ErrorKind::ContextLength) => Ok(()),
                // A template may say that it makes too much of so long a message.
                Err(ErrorKind::Template) => Ok(()),
                _ => Err(format!("{result:?}")),
            }
        });
    }
    cases.run("two megabytes and a byte", || {
        let text = "a".repeat((2 << 20) + 1);
        expect_kind(session(&model).generate(text.as_str(), &short()), ErrorKind::InvalidArgument)
    });
    cases.finish();
}
