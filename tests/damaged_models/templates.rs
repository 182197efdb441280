//! Chat templates that run, grow or recurse without end, raise, or are no templates, from the model's file to `chat`.

use edgeslm::ErrorKind;
use edgeslm::session::{GenerateOptions, SessionOptions};
use serde_json::{Value, json};

use super::cases::{Cases, Limits};
use super::fixtures::{Copy, load};

const MODEL: &str = "models/llama-3.2-1b-int4";

/// A template may create 32 MiB of text, of which lists take many times the bytes that count.
const TEMPLATE_LIMITS: Limits = Limits { seconds: 20.0, largest: 64 << 20, peak: 160 << 20 };

/// Loads the model with a template and chats: the prompt's tokens, or the error of loading or of chatting.
fn chat(copy: &Copy, message: &str) -> edgeslm::Result<usize> {
    let model = load(copy.path())?;
    let mut session = model.session(SessionOptions::default())?;
    let options = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
    let answer = session.chat(message, &options)?.into_answer()?;
    Ok(answer.outcome.statistics.prompt_tokens)
}

fn chat_with(template: &str, message: &str) -> edgeslm::Result<usize> {
    let copy = Copy::of(MODEL);
    copy.write("chat_template.jinja", template);
    chat(&copy, message)
}

fn is_template_error(result: edgeslm::Result<usize>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == ErrorKind::Template => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn hostile_templates() {
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let many_variables: String = (0..20_000).map(|index| format!("{{% set v{index} = 1 %}}")).collect();
    let names_alike: String =
        ["a", "b"].map(|end| format!("{{% set {}{end} = 1 %}}", "n".repeat(100_000))).concat();
    let long_name = "n".repeat(100_000);
    let repeated_key = format!("{{{}}}", "s: 1, ".repeat(1_000));
    let templates: Vec<(&str, String)> = vec![
        ("loops in loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".into()),
        ("a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into()),
        (
            "macros that call each other twice",
            "{% macro a() %}{{ b() }}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}".into(),
        ),
        (
            "a string that doubles",
            "{% set ns = namespace(s='x' * 10) %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".into(),
        ),
        ("a gigabyte at once", "{{ 'a' * 10 ** 9 }}".into()),
        ("a gigabyte bit by bit", "{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}".into()),
        ("a gigabyte of the message", "{% for i in range(100000) %}{{ messages[0].content * 1000 }}{% endfor %}".into()),
        ("it raises", "{{ raise_exception('no') }}".into()),
        ("it raises a megabyte", "{{ raise_exception('no' * 500000) }}".into()),
        ("an unknown function", "{{ open('/etc/passwd') }}".into()),
        ("an unknown method", "{{ messages.__class__.__mro__() }}".into()),
        ("an unknown filter", "{{ messages | unheard_of }}".into()),
        ("an unknown test", "{{ messages is unheard_of }}".into()),
        ("an unknown tag", "{% unheard_of %}".into()),
        ("another template", "{% include '/etc/passwd' %}".into()),
        ("deep brackets", format!("{{{{ {} }}}}", nested("(", "1", ")", 100_000))),
        ("deep blocks", nested("{% if 1 %}", "1", "{% endif %}", 20_000)),
        ("a long sum", format!("{{{{ 1{} }}}}", " + 1".repeat(100_000))),
        ("deep lists", "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}".into()),
        ("a block that is not closed", "{% for a in messages %}".repeat(20_000)),
        ("division by zero", "{{ 1 // 0 }}".into()),
        ("a number that overflows", "{{ 9223372036854775807 * 9223372036854775807 }}".into()),
        ("something undefined", "{{ nothing.of.the.kind }}".into()),
        ("longer than its limit", "x".repeat((512 << 10) + 1)),
        // Work that a step of the interpreter must not hide.
        (
            "many variables, looked up again and again",
            format!("{many_variables}{{% for i in range(100000) %}}{{{{ v0 }}}}{{{{ w }}}}{{{{ w }}}}{{% endfor %}}"),
        ),
        (
            "long names that differ at their end",
            format!("{names_alike}{{% for i in range(100000) %}}{{% if {long_name}c %}}{{% endif %}}{{% endfor %}}"),
        ),
        (
            "a key of a megabyte, a thousand times over",
            format!("{{% set s = 'a' * 1000000 %}}{{% for i in range(900) %}}{{% set d = {repeated_key} %}}{{% endfor %}}"),
        ),
        (
            "keys of a megabyte that differ at their end",
            "{% set s = 'a' * 1000000 %}{% set d = {s ~ 'b': 1, s ~ 'c': 1, s ~ 'd': 1} %}{% set k = s ~ 'x' %}\
             {% for i in range(100000) %}{{ d[k] }}{{ d.get(k) }}{{ k in d }}{% endfor %}".into(),
        ),
        (
            "characters to strip by the hundred thousand",
            "{% set s = 'a' * 1000000 %}{% set c = 'b' * 500000 ~ 'a' %}{% for i in range(100) %}{{ s.strip(c) }}{% endfor %}".into(),
        ),
        (
            "a filter that strips by the hundred thousand",
            "{% set s = 'a' * 1000000 %}{% set c = 'b' * 500000 ~ 'a' %}{% for i in range(100) %}{{ s | trim(c) }}{% endfor %}".into(),
        ),
        (
            "beginnings by the ten thousand",
            "{% set s = 'a' * 1000000 %}{% set p = s ~ 'b' %}{% set t = (s ~ 'c') %}\
             {% for i in range(10000) %}{{ t.startswith((p, p, p, p, p, p, p, p, p, p)) }}{% endfor %}".into(),
        ),
        (
            "ends by the ten thousand",
            "{% set s = 'a' * 1000000 %}{% set p = 'b' ~ s %}{% set t = 'c' ~ s %}\
             {% for i in range(10000) %}{{ t.endswith((p, p, p, p, p, p, p, p, p, p)) }}{% endfor %}".into(),
        ),
    ];
    let mut cases = Cases::within("hostile templates", TEMPLATE_LIMITS);
    for (what, template) in templates {
        cases.run(what, || is_template_error(chat_with(&template, "Is the door open?")));
    }
    cases.finish();
}

/// What is not hostile, if odd, makes a prompt.
#[test]
fn odd_templates_that_work() {
    let shuffled: Vec<String> = (0..300_u64).map(|index| (index * 7_919 % 301).to_string()).collect();
    let with_nan: Vec<String> = shuffled
        .iter()
        .enumerate()
        .map(|(index, n)| if index % 3 == 0 { "n".to_owned() } else { n.clone() })
        .collect();
    let mut cases = Cases::within("odd templates", TEMPLATE_LIMITS);
    for (what, template) in [
        ("no message", "Answer: ".to_owned()),
        ("a sorted list", format!("{{% set l = [{}] | sort %}}{{{{ l[:3] }}}}", shuffled.join(", "))),
        // Numbers that do not compare have no order; the list keeps them all the same.
        (
            "a sorted list with numbers that are none",
            format!(
                "{{% set n = 'nan' | float %}}{{% set l = [{}] | sort %}}{{{{ l | length }}}}",
                with_nan.join(", ")
            ),
        ),
        (
            "a long list of messages",
            "{% for i in range(1000) %}{{ messages[0].role[0] }}{% endfor %}".to_owned(),
        ),
    ] {
        cases.run(what, || match chat_with(&template, "Is the door open?") {
            Ok(tokens) if tokens > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    // Sorting ends with the first pair that does not compare, wherever that is.
    for place in [0, 20, 50, 150, 299] {
        cases.run(format!("a list to sort with a string at {place}"), || {
            let mut mixed = shuffled.clone();
            mixed[place] = "'a'".to_owned();
            let template = format!("{{{{ [{}] | sort }}}}", mixed.join(", "));
            is_template_error(chat_with(&template, "Is the door open?"))
        });
    }
    cases.run("a template that gives nothing", || match chat_with("", "Is the door open?") {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cases.finish();
    // Of which most is the tokenizer's, for a prompt of a megabyte and a half.
    let limits = Limits { largest: 128 << 20, peak: 512 << 20, ..TEMPLATE_LIMITS };
    let mut cases = Cases::within("templates of long messages", limits);
    cases.run("the message of a megabyte", || {
        let template =
            "{% for m in messages %}{{ m.content | trim | upper | replace('A', 'bb') }}{% endfor %}";
        match chat_with(template, &"a ".repeat(1 << 19)) {
            Err(error) if matches!(error.kind(), ErrorKind::ContextLength | ErrorKind::Template) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.finish();
}

/// Files that hold no template.
#[test]
fn damaged_template_files() {
    let mut cases = Cases::within("damaged template files", TEMPLATE_LIMITS);
    for bytes in [&b"\xff\xfe{{ messages }}"[..], b"{{ \xed\xa0\x80 }}", b"{{", b"{% raw %}", b"{#"] {
        cases.run(format!("{bytes:?}"), || {
            let copy = Copy::of(MODEL);
            copy.write("chat_template.jinja", bytes);
            is_template_error(chat(&copy, "Is the door open?"))
        });
    }
    let odd: [Value; 8] = [
        json!(5),
        json!([]),
        json!({}),
        json!([1, 2]),
        json!({"default": 5}),
        json!([{"name": "tool_use", "template": "x"}]),
        json!({"default": "{% if %}"}),
        json!(true),
    ];
    for value in odd {
        cases.run(format!("chat_template.json with {value}"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file("chat_template.jinja")).unwrap();
            copy.write("chat_template.json", json!({"chat_template": value}).to_string());
            is_template_error(chat(&copy, "Is the door open?"))
        });
        cases.run(format!("tokenizer_config.json with {value}"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file("chat_template.jinja")).unwrap();
            copy.edit_json("tokenizer_config.json", |json| json["chat_template"] = value.clone());
            is_template_error(chat(&copy, "Is the door open?"))
        });
    }
    cases.run("a surrogate without its other half", || {
        let copy = Copy::of(MODEL);
        std::fs::remove_file(copy.file("chat_template.jinja")).unwrap();
        copy.write("chat_template.json", r#"{"chat_template": "\ud83e {{ messages }}"}"#);
        match chat(&copy, "Is the door open?") {
            Err(error) if error.file().is_some_and(|file| file.ends_with("chat_template.json")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.run("a file of more than its limit", || {
        let copy = Copy::of(MODEL);
        copy.write("chat_template.jinja", " ".repeat(5 << 20));
        match chat(&copy, "Is the door open?") {
            Err(error) if error.file().is_some_and(|file| file.ends_with("chat_template.jinja")) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.finish();
}
