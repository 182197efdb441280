use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::session::fake::{FakeEngine, shared};
use crate::session::fake_text::{ASSISTANT, text, text_without_template};
use crate::session::{CancelToken, SessionOptions};

const RECEIPT: &str = "CORNER CAFE\n12.03.2025\n2 x Espresso 5,00\nTotal EUR 1.005,00";

fn schema() -> String {
    json!({
        "type": "object",
        "properties": {
            "shop": {"type": "string", "description": "name of the shop"},
            "date": {"type": "string", "format": "date"},
            "total": {"type": "number"},
            "phone": {"type": "string"},
            "currency": {"enum": ["EUR", "USD"]},
            "items": {"type": "array", "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "price": {"type": "number"}}}},
        },
    })
    .to_string()
}

/// A session whose model answers every chat with `answer`.
fn session(answer: &Value) -> Session {
    let tokens = answer.to_string().bytes().map(u32::from).collect();
    let (_, engine) = shared(FakeEngine::scripted(ASSISTANT, tokens));
    Session::new(engine, text(), SessionOptions::default()).unwrap()
}

fn extractor(session: &Session) -> Extractor {
    Extractor::new(&schema(), session.text()).unwrap()
}

#[derive(Debug, Deserialize, PartialEq)]
struct Receipt {
    shop: String,
    date: Option<String>,
    total: Option<f64>,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Item {
    name: Option<String>,
    price: f64,
}

#[test]
fn invented_values_are_taken_out_and_named() {
    let answer = json!({
        "shop": "Corner Cafe", "date": "2025-03-12", "total": 99.5, "phone": null, "currency": "USD",
        "items": [{"name": "Espresso", "price": 5}, {"name": "Water", "price": null}],
    });
    let mut session = session(&answer);
    let extractor = extractor(&session);
    let found = session.extract(&extractor, RECEIPT, &GenerateOptions::default()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&found.text).unwrap(), answer, "{}", found.text);
    assert_eq!(
        found.value,
        json!({
            "shop": "Corner Cafe", "date": "2025-03-12", "total": null, "phone": null, "currency": "USD",
            "items": [{"name": "Espresso", "price": 5}],
        })
    );
    let unsupported: Vec<&str> = found.unsupported().map(|field| field.path.as_str()).collect();
    assert_eq!(unsupported, ["/total", "/items/1/name"]);
    let field = |path: &str| found.fields.iter().find(|field| field.path == path).unwrap();
    assert_eq!(field("/phone").support, Support::Missing);
    assert_eq!(field("/currency").support, Support::Chosen);
    assert_eq!(&RECEIPT[field("/shop").place.clone().unwrap()], "CORNER CAFE");
    assert_eq!(&RECEIPT[field("/date").place.clone().unwrap()], "12.03.2025");
    assert_eq!(found.outcome.completion, Completion::Complete);

    let receipt: Receipt = found.typed().unwrap();
    assert_eq!(
        receipt,
        Receipt {
            shop: "Corner Cafe".to_owned(),
            date: Some("2025-03-12".to_owned()),
            total: None,
            items: vec![Item { name: Some("Espresso".to_owned()), price: 5.0 }],
        }
    );
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it cannot be made")]
    struct Needy {
        total: f64,
    }
    let error = found.typed::<Needy>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Grammar);
    assert!(error.hint().is_some_and(|hint| hint.contains("/total")), "{error}");
    assert!(session.history().is_empty());
}

#[test]
fn the_prompt_names_the_fields_and_is_kept_between_texts() {
    let mut session = session(&json!({
        "shop": null, "date": null, "total": null, "phone": null, "currency": null, "items": [],
    }));
    let example = json!({"shop": "Bakery", "total": 2.5});
    let extractor =
        extractor(&session).with_instructions("Read the receipt.").with_example("BAKERY\n2.50", &example);
    let Prompt::Chat(messages) = extractor.prompt(RECEIPT, session.text()).unwrap() else { panic!("a chat") };
    assert_eq!(messages.len(), 3);
    assert!(
        messages[0].content.starts_with("Read the receipt.\n\nFields:\n- shop (string): name of the shop\n")
    );
    assert_eq!(messages[1].content, example.to_string());
    assert_eq!(messages[2].content, format!("Text:\n{RECEIPT}"));

    let options = GenerateOptions::default();
    let first = session.extract(&extractor, RECEIPT, &options).unwrap();
    assert_eq!(first.outcome.statistics.reused_tokens, 0);
    let second = session.extract(&extractor, "something else", &options).unwrap();
    assert!(second.outcome.statistics.reused_tokens > messages[0].content.len());
    assert!(second.fields.iter().all(|field| field.support == Support::Missing));
}

#[test]
fn a_model_without_template_is_asked_in_plain_text() {
    let (_, engine) = shared(FakeEngine::default());
    let text = Arc::new(text_without_template(&[]));
    let mut session = Session::new(engine, text, SessionOptions::default()).unwrap();
    let extractor = extractor(&session);
    let Prompt::Tokens(tokens) = extractor.prompt("<end> is text", session.text()).unwrap() else {
        panic!("tokens")
    };
    let special = |id: &&u32| session.text().tokenizer().is_special(**id);
    assert_eq!(tokens.iter().filter(special).count(), 1, "the beginning alone");
    let options = GenerateOptions { max_tokens: 200, ..GenerateOptions::default() };
    let found = session.extract(&extractor, RECEIPT, &options).unwrap();
    assert!(found.value.is_object(), "whatever it says, it parses: {}", found.text);
}

#[test]
fn what_has_no_whole_answer_is_an_error() {
    let mut session = session(&json!({}));
    let extractor = extractor(&session);
    let cancel = CancelToken::new();
    cancel.cancel();
    for (options, kind) in [
        (GenerateOptions { cancel: Some(cancel), ..GenerateOptions::default() }, ErrorKind::Cancelled),
        (
            GenerateOptions { deadline: Some(Duration::ZERO), ..GenerateOptions::default() },
            ErrorKind::DeadlineExceeded,
        ),
        (GenerateOptions { max_tokens: 5, ..GenerateOptions::default() }, ErrorKind::InvalidArgument),
        (GenerateOptions { max_tokens: 0, ..GenerateOptions::default() }, ErrorKind::Grammar),
        (
            GenerateOptions { grammar: Some(extractor.grammar().clone()), ..GenerateOptions::default() },
            ErrorKind::InvalidArgument,
        ),
    ] {
        assert_eq!(session.extract(&extractor, RECEIPT, &options).unwrap_err().kind(), kind);
    }
    for (schema, kind) in [
        ("{", ErrorKind::Grammar),
        ("true", ErrorKind::InvalidArgument),
        (r#"{"properties": {"a": {"not": {}}}}"#, ErrorKind::Unsupported),
    ] {
        assert_eq!(Extractor::new(schema, session.text()).unwrap_err().kind(), kind, "{schema}");
    }
}

#[cfg(feature = "schemars")]
#[test]
fn a_rust_type_is_its_own_schema() {
    #[derive(Debug, Deserialize, PartialEq, schemars::JsonSchema)]
    struct Total {
        /// The sum at the end.
        total: Option<f64>,
        shop: Option<String>,
    }
    let mut session = session(&json!({"total": 1005, "shop": "Elsewhere"}));
    let extractor = Extractor::of::<Total>(session.text()).unwrap();
    let found = session.extract(&extractor, RECEIPT, &GenerateOptions::default()).unwrap();
    assert_eq!(found.typed::<Total>().unwrap(), Total { total: Some(1005.0), shop: None });
}
